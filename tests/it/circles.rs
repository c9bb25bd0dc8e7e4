//! No circle between files: what a file uses by `use` or by a path never leads back to it. A type that two files need has a file of its
//! own. Re-exports (`pub use`) and `mod` lines are a module's table of contents and no use of it; tests may use what they test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

use crate::architecture::stand_ins;

/// Nested re-exports that are followed.
const DEPTH_MAX: usize = 12;

#[derive(Default)]
struct Module {
    parent: Option<usize>,
    file: PathBuf,
    is_test: bool,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    /// Names that `use` brings, with the paths that they stand for.
    names: Vec<(String, Vec<String>)>,
    globs: Vec<Vec<String>>,
    /// Paths that count as use.
    used: Vec<Vec<String>>,
}

/// All modules of a crate; the first is its root.
#[derive(Default)]
struct Tree(Vec<Module>);

#[derive(Clone, Copy)]
enum Found<'a> {
    Module(usize),
    Item(&'a Path),
}

/// A `use` under way: where it begins, and what it counts as.
struct Import {
    prefix: Vec<String>,
    is_reexport: bool,
    is_test: bool,
}

impl Tree {
    /// `listed` are modules of its root that `build.rs` adds.
    fn of(root: &str, listed: &[(String, PathBuf)]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        let mut tree = Self::default();
        tree.read(None, &root, root.parent().unwrap(), false);
        for (name, folder) in listed {
            let child = tree.read(Some(0), &folder.join("mod.rs"), folder, false);
            tree.0[0].children.insert(name.clone(), child);
        }
        tree
    }

    /// Reads a file as a module; `folder` is where its children lie.
    fn read(&mut self, parent: Option<usize>, file: &Path, folder: &Path, is_test: bool) -> usize {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let module = self.add(parent, file, is_test);
        self.walk(module, tokens, folder);
        module
    }

    fn add(&mut self, parent: Option<usize>, file: &Path, is_test: bool) -> usize {
        self.0.push(Module { parent, file: file.into(), is_test, ..Module::default() });
        self.0.len() - 1
    }

    /// The items of a module, one after the other.
    fn walk(&mut self, module: usize, tokens: TokenStream, folder: &Path) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let (mut at, mut is_test, mut is_pub, mut path) = (0, false, false, None);
        while let Some(token) = tokens.get(at) {
            let next = tokens.get(at + 1);
            match (token, next) {
                (TokenTree::Punct(mark), Some(TokenTree::Group(attribute))) if mark.as_char() == '#' => {
                    let attribute = attribute.stream().to_string();
                    // A stand-in is no part of the library, whose list of files has it.
                    let is_elsewhere = attribute.contains("test") || attribute.contains("false");
                    is_test |= attribute.starts_with("cfg") && is_elsewhere;
                    path = path.or(attribute.strip_prefix("path = ").map(|path| path.trim_matches('"').to_owned()));
                    at += 2;
                    continue;
                }
                (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "mod" => {
                    self.child(module, &name.to_string(), tokens.get(at + 2), folder, (path.take(), is_test));
                    at += 3;
                }
                (TokenTree::Ident(word), next) if word == "use" && is_import(next) => {
                    let end = end_of(&tokens, at);
                    let import = Import { prefix: Vec::new(), is_reexport: is_pub, is_test };
                    self.import(module, &tokens[at + 1..end], import);
                    at = end + 1;
                }
                (TokenTree::Ident(word), _) if word == "pub" => {
                    is_pub = true;
                    at += 1;
                    continue;
                }
                (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if is_item(&word.to_string()) => {
                    self.0[module].items.insert(name.to_string());
                    at += 1;
                    continue;
                }
                (TokenTree::Group(group), _) => {
                    self.paths(module, group.stream(), is_test);
                    at += 1;
                    if group.delimiter() != Delimiter::Brace {
                        continue;
                    }
                }
                (TokenTree::Punct(mark), _) if mark.as_char() == ';' => at += 1,
                _ => {
                    at += self.path(module, &tokens[at..], is_test).max(1);
                    continue;
                }
            }
            (is_test, is_pub, path) = (false, false, None);
        }
    }

    fn child(
        &mut self,
        module: usize,
        name: &str,
        body: Option<&TokenTree>,
        folder: &Path,
        (path, is_test): (Option<String>, bool),
    ) {
        let is_test = is_test || self.0[module].is_test;
        let file = self.0[module].file.clone();
        let child = match body {
            Some(TokenTree::Group(body)) => {
                let child = self.add(Some(module), &file, is_test);
                self.walk(child, body.stream(), &folder.join(name));
                child
            }
            _ => {
                let file = match path {
                    Some(path) => file.parent().unwrap().join(path),
                    None => Some(folder.join(format!("{name}.rs")))
                        .filter(|file| file.exists())
                        .unwrap_or_else(|| folder.join(name).join("mod.rs")),
                };
                let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
                let parent = file.parent().unwrap();
                let below = if stem == "mod" { parent.to_path_buf() } else { parent.join(stem) };
                self.read(Some(module), &file, &below, is_test)
            }
        };
        self.0[module].children.insert(name.to_owned(), child);
    }

    /// A tree of a `use`, without its `;`.
    fn import(&mut self, module: usize, tokens: &[TokenTree], mut import: Import) {
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    let alias = tokens[at + 1].to_string();
                    return self.imported(module, import, alias);
                }
                TokenTree::Ident(word) => import.prefix.push(word.to_string()),
                TokenTree::Punct(mark) if mark.as_char() == '*' => {
                    self.0[module].globs.push(import.prefix);
                    return;
                }
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',');
                    for part in inner.split(is_comma).filter(|part| !part.is_empty()) {
                        let Import { ref prefix, is_reexport, is_test } = import;
                        self.import(module, part, Import { prefix: prefix.clone(), is_reexport, is_test });
                    }
                    return;
                }
                _ => {}
            }
        }
        if import.prefix.last().is_some_and(|last| last == "self") {
            import.prefix.pop();
        }
        if let Some(alias) = import.prefix.last().cloned() {
            self.imported(module, import, alias);
        }
    }

    fn imported(&mut self, module: usize, import: Import, alias: String) {
        let module = &mut self.0[module];
        if !import.is_reexport && !import.is_test {
            module.used.push(import.prefix.clone());
        }
        module.names.push((alias, import.prefix));
    }

    /// Everything that is used in the body of an item.
    fn paths(&mut self, module: usize, tokens: TokenStream, is_test: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Group(group) => self.paths(module, group.stream(), is_test),
                TokenTree::Ident(word) if word == "use" && is_import(tokens.get(at + 1)) => {
                    let end = end_of(&tokens, at);
                    let import = Import { prefix: Vec::new(), is_reexport: false, is_test };
                    self.import(module, &tokens[at + 1..end], import);
                    at = end;
                }
                _ => {}
            }
            at += self.path(module, &tokens[at..], is_test).max(1);
        }
    }

    /// A path of several parts at the beginning of `tokens`; gives its length in tokens.
    fn path(&mut self, module: usize, tokens: &[TokenTree], is_test: bool) -> usize {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(TokenTree::Ident(part)) = tokens.get(at) {
            parts.push(part.to_string());
            at += 1;
            if !is_path_mark(&tokens[at..]) || !matches!(tokens.get(at + 2), Some(TokenTree::Ident(_))) {
                break;
            }
            at += 2;
        }
        if parts.len() > 1 && !is_test {
            self.0[module].used.push(parts);
        }
        at
    }

    /// What a path stands for in a module, with all that it leads through.
    fn resolve(&self, module: usize, path: &[String], depth: usize) -> Vec<Found<'_>> {
        let Some((first, rest)) = path.split_first().filter(|_| depth < DEPTH_MAX) else { return Vec::new() };
        let mut found = match first.as_str() {
            "crate" => vec![Found::Module(0)],
            "self" => vec![Found::Module(module)],
            "super" => self.0[module].parent.map(Found::Module).into_iter().collect(),
            name => self.look_up(module, name, depth),
        };
        for name in rest {
            found = found
                .into_iter()
                .flat_map(|found| match found {
                    Found::Module(module) if name == "super" => {
                        self.0[module].parent.map(Found::Module).into_iter().collect()
                    }
                    Found::Module(module) => self.look_up(module, name, depth),
                    // What belongs to an item: a variant, a function.
                    item @ Found::Item(_) => vec![item],
                })
                .collect();
        }
        found
    }

    fn look_up(&self, at: usize, name: &str, depth: usize) -> Vec<Found<'_>> {
        let module = &self.0[at];
        let mut found: Vec<Found<'_>> =
            module.children.get(name).map(|child| Found::Module(*child)).into_iter().collect();
        if module.items.contains(name) {
            found.push(Found::Item(&module.file));
        }
        for (_, path) in module.names.iter().filter(|(alias, _)| alias == name) {
            found.extend(self.resolve(at, path, depth + 1));
        }
        if found.is_empty() {
            for glob in &module.globs {
                for inside in self.resolve(at, glob, depth + 1) {
                    if let Found::Module(inside) = inside {
                        found.extend(self.look_up(inside, name, depth + 1));
                    }
                }
            }
        }
        found
    }

    /// Files with the files that they use, and by which name.
    fn uses(&self) -> BTreeMap<&Path, BTreeMap<&Path, String>> {
        let mut uses: BTreeMap<&Path, BTreeMap<&Path, String>> = BTreeMap::new();
        for (at, module) in self.0.iter().enumerate().filter(|(_, module)| !module.is_test) {
            for path in &module.used {
                for found in self.resolve(at, path, 0) {
                    if let Found::Item(file) = found
                        && file != module.file
                    {
                        uses.entry(&module.file).or_default().insert(file, path.join("::"));
                    }
                }
            }
        }
        uses
    }
}

fn is_item(word: &str) -> bool {
    matches!(word, "struct" | "enum" | "trait" | "union" | "type" | "fn" | "const" | "static")
}

fn is_path_mark(tokens: &[TokenTree]) -> bool {
    let is_colon = |token: Option<&TokenTree>, joined: bool| {
        matches!(token, Some(TokenTree::Punct(mark))
            if mark.as_char() == ':' && (!joined || mark.spacing() == Spacing::Joint))
    };
    is_colon(tokens.first(), true) && is_colon(tokens.get(1), false)
}

/// Whether what follows a `use` is a path: `use<..>` names what a type captures.
fn is_import(next: Option<&TokenTree>) -> bool {
    !matches!(next, Some(TokenTree::Punct(mark)) if mark.as_char() == '<')
}

/// The `;` that ends what begins at `at`.
fn end_of(tokens: &[TokenTree], at: usize) -> usize {
    let is_end = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ';');
    at + tokens[at..].iter().position(is_end).expect("it ends")
}

/// Takes away, again and again, the files that use none of the others or that none of the others uses: circles are left.
fn circles<'a>(uses: &BTreeMap<&'a Path, BTreeMap<&'a Path, String>>) -> Vec<String> {
    let mut left: BTreeSet<&Path> = uses.keys().copied().collect();
    loop {
        let uses_one = |file: &Path| uses.get(file).is_some_and(|used| used.keys().any(|used| left.contains(used)));
        let is_used = |file: &Path| left.iter().any(|other| uses[other].contains_key(file));
        let kept: BTreeSet<&Path> = left.iter().copied().filter(|file| uses_one(file) && is_used(file)).collect();
        if kept.len() == left.len() {
            break;
        }
        left = kept;
    }
    let within = |file: &Path| file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(file).display().to_string();
    let edges = left.iter().flat_map(|file| {
        let used = uses[file].iter().filter(|(used, _)| left.contains(*used));
        used.map(|(used, name)| format!("{} uses {name} of {}", within(file), within(used))).collect::<Vec<_>>()
    });
    edges.collect()
}

#[test]
fn no_circle_between_files() {
    for (root, listed) in [("src/lib.rs", Vec::new()), ("src/bin/simulators/main.rs", stand_ins())] {
        let tree = Tree::of(root, &listed);
        let uses = tree.uses();
        let edges: usize = uses.values().map(BTreeMap::len).sum();
        assert!(edges > 100, "{root}: the check no longer finds what files use: {edges}");
        assert_eq!(circles(&uses), Vec::<String>::new(), "{root}: give what they share a file of its own");
    }
}
