//! The pages: links lead somewhere, what is named is there, every page can be found, and the first ones stay short.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use waybill::platform::crash::{OF_JOBS, OF_PURGING, OF_RELAYING, OF_SEALING};

use crate::openapi::ROUTES;

/// Most words of a page, as `wc -w` counts them.
const WORDS_MAX: [(&str, usize); 2] = [("README.md", 700), ("ARCHITECTURE.md", 3_000)];
/// What a path of ours begins with, where a page names it.
const FOLDERS: [&str; 8] = ["src/", "tests/", "scripts/", "docs/", "deploy/", "benches/", "data/", "clients/"];
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files under a folder of the project, by their path in it.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(files(&name));
        } else {
            found.push(name);
        }
    }
    found
}

/// Every page with its text, by its path in the project. What was true once may stand in the changelog.
fn pages() -> BTreeMap<String, String> {
    let at_root = ["README.md", "ARCHITECTURE.md", "WORKFLOW.md", "CHANGELOG.md"].map(str::to_owned);
    let in_docs = files("docs").into_iter().filter(|name| name.ends_with(".md"));
    let read = |name: String| (name.clone(), fs::read_to_string(root().join(&name)).unwrap());
    at_root.into_iter().chain(in_docs).map(read).collect()
}

/// Lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    })
}

/// What stands between backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Where the links of a page, and its pictures, lead within the project.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let line: String = line.split('`').step_by(2).collect();
        for (mark, end) in [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')] {
            found.extend(line.split(mark).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0.to_owned())));
        }
    }
    found.retain(|target| !target.contains("://") && !target.starts_with("mailto:"));
    found
}

/// The page's headings, as they are linked to.
fn anchors(text: &str) -> BTreeSet<String> {
    let slug = |heading: &str| {
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    prose(text).filter(|line| line.starts_with('#')).map(|line| slug(line.trim_start_matches('#'))).collect()
}

/// `path` as seen from the folder of `page`, by its path in the project.
fn resolved(page: &str, path: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut followed = 0;
    for (page, text) in &pages {
        for link in links(text) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { page.clone() } else { resolved(page, path) };
            assert!(root().join(&target).exists(), "{page}: {link} leads nowhere");
            if !anchor.is_empty() {
                let there = pages.get(&target).map(|text| anchors(text)).unwrap_or_default();
                assert!(there.contains(anchor), "{page}: {target} has no heading #{anchor}");
            }
            followed += 1;
        }
    }
    assert!(followed > 60, "links are not read any more: {followed}");
}

#[test]
fn every_page_can_be_found_from_the_first_one() {
    let pages = pages();
    let mut found = BTreeSet::new();
    let mut to_read = vec!["README.md".to_owned()];
    while let Some(page) = to_read.pop() {
        if let Some(text) = pages.get(&page)
            && found.insert(page.clone())
        {
            to_read.extend(links(text).iter().map(|link| resolved(&page, link.split('#').next().unwrap_or_default())));
        }
    }
    let lost: Vec<&String> = pages.keys().filter(|page| !found.contains(*page)).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

#[test]
fn the_first_pages_are_short() {
    let pages = pages();
    for (page, most) in WORDS_MAX {
        let words = pages[page].split_whitespace().count();
        assert!(words < most, "{page} has {words} words of {most}");
    }
}

/// Folders, files, and files of ours named by the end of their path.
#[test]
fn files_that_pages_name_are_there() {
    let sources: Vec<String> = ["src", "tests", "benches"].into_iter().flat_map(files).collect();
    let mut looked_up = 0;
    for (page, text) in pages().iter().filter(|(page, _)| *page != "CHANGELOG.md") {
        for span in code_spans(text) {
            let is_path = span.chars().all(|c| c.is_alphanumeric() || "_-./@".contains(c));
            if is_path && FOLDERS.iter().any(|folder| span.starts_with(folder)) {
                assert!(root().join(span).exists(), "{page}: there is no {span}");
                looked_up += 1;
            } else if is_path && span.ends_with(".rs") && span.len() > ".rs".len() {
                let end = format!("/{span}");
                let is_there = sources.iter().any(|source| source.ends_with(&end)) || root().join(span).exists();
                assert!(is_there, "{page}: there is no {span}");
                looked_up += 1;
            }
        }
    }
    assert!(looked_up > 60, "names of files are not read any more: {looked_up}");
}

/// Whether a page means this described path: names in braces may differ, and a page may fill them in.
fn is_meant(named: &str, described: &str) -> bool {
    let (named, described): (Vec<&str>, Vec<&str>) = (named.split('/').collect(), described.split('/').collect());
    named.len() == described.len()
        && named.iter().zip(described).all(|(named, described)| *named == described || described.starts_with('{'))
}

#[test]
fn routes_that_pages_name_are_there() {
    let is_there = |method: &str, named: &str| {
        ROUTES.iter().any(|(of, path, _)| of.eq_ignore_ascii_case(method) && is_meant(named, path))
    };
    let mut looked_up = 0;
    for (page, text) in pages().iter().filter(|(page, _)| *page != "CHANGELOG.md") {
        for span in code_spans(text) {
            let Some((methods, rest)) = span.split_once(" /") else { continue };
            let methods: Vec<&str> = methods.split(", ").collect();
            if !methods.iter().all(|method| METHODS.contains(method)) || rest.contains("...") {
                continue;
            }
            let path = format!("/{}", rest.split([' ', '?']).next().unwrap_or_default());
            for method in methods {
                assert!(is_there(method, &path), "{page}: there is no {method} {path}");
                looked_up += 1;
            }
        }
    }
    assert!(looked_up > 60, "routes are not read any more: {looked_up}");
}

#[test]
fn settings_that_pages_name_are_there() {
    let mut known = String::new();
    let named_in: [PathBuf; 2] = [".env.example", "docker-compose.yml"].map(|name| root().join(name));
    let sources = ["src", "tests", "scripts"].into_iter().flat_map(files).map(|name| root().join(name));
    for path in sources.chain(named_in) {
        known.push_str(&fs::read_to_string(path).unwrap_or_default());
    }
    let pages = pages();
    // Each name once: most are in many pages, and what is known is long.
    let mut named = BTreeMap::new();
    for (page, text) in pages.iter().filter(|(page, _)| *page != "CHANGELOG.md") {
        for span in code_spans(text) {
            let name = span.split('=').next().unwrap_or_default();
            let is_name =
                name.contains('_') && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            // Others' standard names, which libraries read.
            let is_others = name.starts_with("OTEL_");
            if is_name && !is_others {
                named.insert(name, page);
            }
        }
    }
    assert!(named.len() > 50, "{named:?}");
    for (name, page) in named {
        assert!(known.contains(name), "{page}: nothing knows {name}");
    }
}

#[test]
fn what_follows_a_crash_is_told_of_every_point() {
    let pages = pages();
    for point in [OF_JOBS, OF_RELAYING, OF_SEALING, OF_PURGING].into_iter().flatten() {
        let is_told =
            ["docs/queue.md", "docs/audit.md"].iter().any(|page| code_spans(&pages[*page]).any(|s| s == *point));
        assert!(is_told, "neither page says what follows where a process dies at {point}");
    }
}
