//! The gateway's words, in both directions, and what of them may be stored.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{
    modules::providers::{
        Extract, NamedFile, Outcome, Progress,
        reading::{field, id, text},
        transport::unusable,
    },
    platform::exchange::Redaction,
};

const FILES_MAX: usize = 100;
const FILE_ID_CHARS_MAX: usize = 200;
/// Of names and types of files; what is longer is cut.
const NAME_CHARS_MAX: usize = 300;

const NOT_PERSONAL: &[&str] = &["requestId", "docflowId", "state", "options.type"];

/// The stored part of a create. Which object it is about, but not what the register says of it.
pub(super) static CREATE: Redaction = Redaction {
    not_personal: NOT_PERSONAL,
    request: &["options.cadastralNumber"],
    response: &[],
    free_text: &["message"],
    query: &[],
};
pub(super) static LOOK_UP: Redaction = Redaction {
    not_personal: &["items[].docflowId", "items[].requestId", "items[].state"],
    request: &[],
    response: &[],
    free_text: &["message"],
    query: &["requestId"],
};
/// Of a poll. Names of files may name owners.
pub(super) static POLL: Redaction = Redaction {
    not_personal: NOT_PERSONAL,
    request: &[],
    response: &["files[].id", "files[].contentType"],
    free_text: &["message", "error"],
    query: &[],
};
/// Of a file: of what is none, the words.
pub(super) static FETCH: Redaction =
    Redaction { not_personal: &[], request: &[], response: &[], free_text: &["message"], query: &[] };

pub(super) fn create_body(order_id: &str, extract: &Extract) -> Value {
    json!({
        "requestId": order_id,
        "options": { "type": extract.kind.as_str(), "cadastralNumber": extract.cadastral_number },
    })
}

pub(super) fn docflow_id(body: &Value) -> Option<String> {
    id(body, "docflowId")
}

/// The docflow of our request among those that a look-up found; none is a clear "no record".
pub(super) fn found(order_id: &str, body: &Value) -> Outcome<Option<String>> {
    let Some(items) = field(body, "items").and_then(Value::as_array) else { return unusable(200, "list of items") };
    let is_ours = |item: &&Value| text(item, "requestId").is_none_or(|id| id == order_id);
    let ours: Vec<&Value> = items.iter().filter(is_ours).collect();
    match ours[..] {
        [] if items.is_empty() => Outcome::Done(None),
        [] => Outcome::unknown("provider.wrong_order", "The answer is about other requests."),
        [item] => docflow_id(item).map_or_else(|| unusable(200, "docflowId"), |id| Outcome::Done(Some(id))),
        _ => Outcome::unknown("provider.contradiction", "The answer has several docflows for one request."),
    }
}

/// How a docflow is getting on.
pub(super) fn progress(body: &Value) -> Outcome<Progress> {
    Outcome::Done(match text(body, "state").map(|state| state.trim().to_ascii_lowercase()).as_deref() {
        Some("queued") => Progress::Waiting,
        Some("sent" | "suspended") => Progress::Working,
        Some(state @ ("completed" | "verified")) => match files(body) {
            // Nothing to deliver yet.
            Some(files) if files.is_empty() => Progress::Working,
            Some(files) => Progress::Complete { files, last: state == "verified" },
            None => return unusable(200, "list of files"),
        },
        Some("error") => {
            let said = text(body, "error").map(str::trim).filter(|text| !text.is_empty());
            Progress::Failed(said.unwrap_or("The register gave no reason.").to_owned())
        }
        _ => Progress::Unclear,
    })
}

/// None where one of them can't be asked for.
fn files(body: &Value) -> Option<Vec<NamedFile>> {
    let listed = match field(body, "files") {
        Some(files) => files.as_array()?,
        None => return Some(Vec::new()),
    };
    if listed.len() > FILES_MAX {
        return None;
    }
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for file in listed {
        let id = match field(file, "id")? {
            Value::String(id) => id.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        // Steps in a path, and not names in it.
        if id.is_empty() || id.chars().count() > FILE_ID_CHARS_MAX || matches!(&*id, "." | "..") {
            return None;
        }
        let said = |name| text(file, name).unwrap_or_default().chars().take(NAME_CHARS_MAX).collect();
        if seen.insert(id.clone()) {
            files.push(NamedFile { id, name: said("name"), content_type: said("contentType") });
        }
    }
    Some(files)
}
