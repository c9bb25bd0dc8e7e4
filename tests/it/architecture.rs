//! Who may use whom, held by reading the sources; each failure names the line to fix. The table is ARCHITECTURE.md's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use waybill::modules::providers::registry::{PAYMENT_GATEWAY, PROVIDERS, VERIFIER};

/// Modules and what they may use besides `platform`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("audit", &[]),
    ("alerts", &["audit", "events", "providers"]),
    ("queue", &[]),
    ("events", &["queue"]),
    ("auth", &["audit", "events", "queue"]),
    ("catalog", &["audit", "events"]),
    ("providers", &["audit", "queue"]),
    ("kyc", &["audit", "auth", "events", "providers", "queue"]),
    ("tenants", &["audit", "auth", "events"]),
    ("wallet", &["audit", "auth", "events", "kyc", "providers", "queue", "tenants"]),
    ("orders", &["audit", "auth", "events", "kyc", "providers", "queue", "tenants", "wallet"]),
    ("checkout", &["audit", "auth", "catalog", "events", "kyc", "orders", "providers", "queue", "wallet"]),
    ("schedules", &["audit", "auth", "events", "queue"]),
    ("webhooks", &["audit", "auth", "events", "providers", "queue"]),
    (
        "notifications",
        &[
            "alerts",
            "audit",
            "auth",
            "catalog",
            "checkout",
            "events",
            "kyc",
            "orders",
            "providers",
            "queue",
            "wallet",
            "webhooks",
        ],
    ),
    ("admin", &["auth", "queue"]),
    (
        "inspection",
        &[
            "alerts",
            "audit",
            "auth",
            "catalog",
            "checkout",
            "events",
            "kyc",
            "providers",
            "queue",
            "wallet",
            "orders",
            "schedules",
            "tenants",
            "webhooks",
            "notifications",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The folders of providers' stand-ins, with the providers' names.
pub fn stand_ins() -> Vec<(String, PathBuf)> {
    let folders = fs::read_dir(root().join("src/modules/providers")).unwrap().map(|entry| entry.unwrap());
    let folders =
        folders.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path().join("stand_in")));
    folders.filter(|(_, folder)| folder.is_dir()).collect()
}

/// Lines of code, with their number; comments are left out.
fn code_lines(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect()
}

/// Names of modules that a file mentions: `modules::x`, or `x` inside the braces of `modules::{ ... }`.
fn modules_used(path: &Path) -> Vec<(usize, String)> {
    let names: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let mut used = Vec::new();
    let mut depth = 0_i32;
    for (number, line) in code_lines(path) {
        let mut rest = line.as_str();
        if depth == 0 {
            let Some(start) = rest.find("modules::") else { continue };
            rest = &rest[start + "modules::".len()..];
            if !rest.starts_with('{') {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                used.push((number, name));
                continue;
            }
        }
        let mut word = String::new();
        for c in rest.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if depth == 1 && names.contains(&word.as_str()) {
                used.push((number, word.clone()));
            }
            word.clear();
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && c == '}' {
                break;
            }
        }
    }
    used
}

#[test]
fn every_module_is_in_the_table() {
    for entry in fs::read_dir(root().join("src/modules")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().replace(".rs", "");
        assert!(name == "mod" || ALLOWED.iter().any(|(known, _)| *known == name), "{name} is not in the table");
    }
}

#[test]
fn the_table_in_architecture_is_this_one() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = page.split("### Who may use whom").nth(1).unwrap().split("\n#").next().unwrap();
    let names = |cell: &str| cell.split(',').map(|name| name.trim().to_owned()).collect::<BTreeSet<_>>();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let mut printed = BTreeMap::new();
    for (modules, used) in rows {
        for module in names(modules) {
            printed.insert(module, if used == "nothing" { BTreeSet::new() } else { names(used) });
        }
    }
    for (module, allowed) in ALLOWED {
        let allowed: BTreeSet<String> = allowed.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(printed.get(*module), Some(&allowed), "{module} in the table of ARCHITECTURE.md");
    }
}

#[test]
fn modules_use_only_what_they_may() {
    let mut seen = 0;
    for (module, allowed) in ALLOWED {
        for path in sources(&root().join("src/modules").join(module)) {
            for (line, used) in modules_used(&path) {
                seen += 1;
                assert!(
                    used == *module || allowed.contains(&used.as_str()),
                    "{}:{line}: {module} may not use {used}",
                    path.display()
                );
            }
        }
    }
    assert!(seen > 20, "the check no longer finds imports: {seen}");
}

#[test]
fn the_platform_knows_no_module() {
    for path in sources(&root().join("src/platform")) {
        for (line, code) in code_lines(&path) {
            assert!(!code.contains("crate::modules"), "{}:{line}: the platform may not use modules", path.display());
        }
    }
}

/// Asserts that `words` appear in no file under `src` but those whose path contains one of `only`.
fn only_in(words: &str, only: &[&str]) {
    let mut found = false;
    for path in sources(&root().join("src")) {
        let name = path.display().to_string();
        for (line, code) in code_lines(&path) {
            if code.contains(words) {
                found = true;
                assert!(
                    only.iter().any(|allowed| name.contains(allowed)),
                    "{name}:{line}: `{words}` belongs in {only:?} only"
                );
            }
        }
    }
    assert!(found, "`{words}` appears nowhere: the check checks nothing");
}

/// Everything else takes providers as they come, from the list.
#[test]
fn only_its_folder_and_the_list_name_a_provider() {
    const STAND_INS_AND_DEMO: [&str; 2] = ["src/bin/simulators", "src/commands/demo"];
    let orders = PROVIDERS.iter().map(|provider| provider.name);
    for provider in orders.chain([PAYMENT_GATEWAY.name, VERIFIER.name]) {
        let folder = format!("modules/providers/{provider}/");
        let mut named_in_folder = false;
        for path in sources(&root().join("src")) {
            let name = path.display().to_string();
            if STAND_INS_AND_DEMO.iter().any(|part| name.contains(part)) || name.contains("tests") {
                continue;
            }
            let code = code_lines(&path);
            let tests = code.iter().position(|(_, line)| line.trim() == "mod tests {").unwrap_or(code.len());
            for (line, code) in &code[..tests] {
                if !code.to_lowercase().contains(provider) || is_example(code) {
                    continue;
                }
                named_in_folder |= name.contains(&folder);
                assert!(
                    name.contains(&folder) || name.ends_with("providers/registry.rs"),
                    "{name}:{line}: takes {provider} for granted"
                );
            }
        }
        assert!(named_in_folder, "{folder} does not name it: the check checks nothing");
    }
}

/// A line that shows readers of the API an example.
fn is_example(code: &str) -> bool {
    code.contains("example = ")
}

#[test]
fn only_the_exchange_sends() {
    only_in(
        "Client::builder()",
        &[
            "platform/exchange/client.rs",
            "commands/demo/client.rs", // plays a merchant
            "providers/paygate/stand_in/callbacks.rs",
        ],
    );
}

/// What callers of the API use is no way out for the service.
#[test]
fn only_commands_use_the_client_of_the_api() {
    only_in("waybill_client", &["src/commands/"]);
}

#[test]
fn only_the_exchange_talks_to_mail_servers() {
    only_in("AsyncSmtpConnection", &["platform/exchange/smtp.rs"]);
}

#[test]
fn only_audit_lets_a_request_be_sent() {
    only_in("Logged::after_append", &["modules/audit/record.rs"]);
}

/// Records and events that are written past it would wait for neither sealer nor relay.
#[test]
fn only_the_journal_inserts_sealed_records_and_events() {
    // Anything else is inserted by `view.insert`, or by an upsert of its id, which may run twice.
    const OTHER_COLLECTIONS: &[&str] = &[
        "modules/audit/retention/guard.rs", // the guard
        "modules/audit/seals/store.rs",     // seals
        "platform/kept_secret.rs",          // secrets that the service makes for itself
        "modules/wallet/rates/store.rs",    // rate cards
        "modules/queue/sequence.rs",        // jobs
        "modules/orders/files.rs",          // sealed contents of files
        "modules/webhooks/consumer.rs",     // deliveries
        "modules/events/effects.rs",        // what handlers of tests count
        "commands/demo/audit.rs",           // what somebody does who changes the database by hand
    ];
    for words in ["insert_one(", "insert_many("] {
        only_in(words, &[OTHER_COLLECTIONS, &["platform/batch/journal.rs"]].concat());
    }
    only_in("cstr!(\"insert\")", &["platform/batch/write.rs"]);
}

#[test]
fn only_the_configuration_reads_the_environment() {
    for path in sources(&root().join("src")) {
        let name = path.display().to_string();
        for (line, code) in code_lines(&path) {
            let reads = code.contains("env::var") || code.contains("try_from_default_env");
            assert!(
                !reads || name.contains("config.rs") || name.contains("bin/simulators"),
                "{name}:{line}: read it in config.rs"
            );
        }
    }
}

#[test]
fn the_stand_ins_share_no_code() {
    let folders = stand_ins();
    assert!(folders.len() >= PROVIDERS.len(), "the check no longer finds them: {folders:?}");
    let shared = sources(&root().join("src/bin/simulators"));
    for path in folders.iter().flat_map(|(_, folder)| sources(folder)).chain(shared) {
        for (line, code) in code_lines(&path) {
            assert!(
                ["waybill::", "modules::", "platform::"].iter().all(|other| !code.contains(other)),
                "{}:{line}: a stand-in that shares our code shares our bugs",
                path.display()
            );
        }
    }
}

/// A name that is longer tells a story that belongs into the test.
#[test]
fn names_of_functions_are_short() {
    const CHARS_MAX: usize = 69;
    for folder in ["src", "tests", "benches"] {
        for path in sources(&root().join(folder)) {
            for (line, code) in code_lines(&path) {
                let Some((_, after)) = code.split_once("fn ") else { continue };
                let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                assert!(name.len() <= CHARS_MAX, "{}:{line}: {name} has {} characters", path.display(), name.len());
            }
        }
    }
}

#[test]
fn nothing_unfinished_is_left() {
    for folder in ["src", "tests"] {
        for path in sources(&root().join(folder)) {
            if path.ends_with("architecture.rs") {
                continue;
            }
            for (line, code) in code_lines(&path) {
                for mark in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"] {
                    assert!(!code.contains(mark), "{}:{line}: {mark}", path.display());
                }
            }
        }
    }
}
