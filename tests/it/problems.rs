//! The table of problem codes is the source's: what a client may be answered, it can look up.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use axum::http::StatusCode;
use waybill::app::{PROBLEM_CODES, problem_code, problem_table};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["tests", "simulators"].contains(&name) {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "problems.rs" {
            found.push(path);
        }
    }
}

/// Status of a variant of `ErrorKind`.
fn status_of(kind: &str) -> u16 {
    let status = match kind {
        "Unreadable" => StatusCode::BAD_REQUEST,
        "Unauthenticated" => StatusCode::UNAUTHORIZED,
        "InsufficientFunds" => StatusCode::PAYMENT_REQUIRED,
        "Forbidden" => StatusCode::FORBIDDEN,
        "NotFound" => StatusCode::NOT_FOUND,
        "MethodNotAllowed" => StatusCode::METHOD_NOT_ALLOWED,
        "Conflict" => StatusCode::CONFLICT,
        "TooLarge" => StatusCode::PAYLOAD_TOO_LARGE,
        "UnsupportedMediaType" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Invalid" => StatusCode::UNPROCESSABLE_ENTITY,
        "RateLimited" => StatusCode::TOO_MANY_REQUESTS,
        "Internal" => StatusCode::INTERNAL_SERVER_ERROR,
        "Unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        other => panic!("{other} is a new kind"),
    };
    status.as_u16()
}

/// Texts of a source that have the form of a code, with what stands before each.
fn codes(source: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_code = |text: &str| {
        let letters = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        text == "internal" || text.split_once('.').is_some_and(|(module, reason)| letters(module) && letters(reason))
    };
    let quotes = source.match_indices('"').map(|(at, _)| at);
    let texts =
        quotes.filter_map(|at| source[at + 1..].split_once('"').map(|(text, _)| (source[..at].trim_end(), text)));
    texts.filter(move |(_, text)| is_code(text))
}

/// The status that a code is answered with, as what stands before it says; none where it is no code of a problem, or that is said
/// elsewhere.
fn status_before(before: &str) -> Option<u16> {
    for (call, status) in [("unavailable(", 503), ("conflict(", 409), ("unreadable(", 400)] {
        if before.ends_with(call) {
            return Some(status);
        }
    }
    let (_, kind) = before.strip_suffix(',')?.rsplit_once("ErrorKind::")?;
    kind.bytes().all(|b| b.is_ascii_alphabetic()).then(|| status_of(kind))
}

#[test]
fn every_code_of_the_source_is_in_the_table_with_its_status() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let (mut checked, mut named) = (0, HashSet::new());
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (before, code) in codes(source) {
            named.insert(code.to_owned());
            let Some(status) = status_before(before) else { continue };
            let listed = problem_code(code).map(|known| known.status);
            assert_eq!(listed, Some(status), "{code} of {} is to be in app/problems.rs", file.display());
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} codes were found");
    let unused: Vec<_> = PROBLEM_CODES.iter().filter(|known| !named.contains(known.code)).collect();
    assert!(unused.is_empty(), "nothing answers {unused:?}");
}

#[test]
fn the_page_for_clients_has_the_table() {
    let page = include_str!("../../docs/clients.md");
    assert!(page.contains(&problem_table()), "put this into docs/clients.md:\n{}", problem_table());
}
