//! The usual shape in which a provider says what it did not do: `{"error": {"code", "message"}}`.

use serde_json::Value;

/// Longest id of theirs that we store.
const ID_CHARS_MAX: usize = 64;

/// A provider's own account of what it did not do.
pub(super) struct Objection {
    /// For programs.
    pub(super) code: String,
    message: String,
}

impl Objection {
    /// `error` of an answer, where it has a code.
    pub(super) fn of(body: &Value) -> Option<Self> {
        let error = body.get("error")?;
        let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
        Some(Self { code: id(error, "code")?, message: message.to_owned() })
    }

    /// For people.
    pub(super) fn explanation(&self) -> String {
        if self.message.trim().is_empty() { self.code.clone() } else { format!("{}: {}", self.code, self.message) }
    }
}

/// An id of theirs: printable ASCII without blanks, of sane length.
pub(super) fn id(object: &Value, name: &str) -> Option<String> {
    let text = object.get(name)?.as_str()?;
    let sane = (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    sane.then(|| text.to_owned())
}
