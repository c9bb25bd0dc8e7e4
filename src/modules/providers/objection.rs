//! The usual shape in which a provider says what it did not do: `{"error": {"code", "message"}}`.

use serde_json::Value;

use super::{
    outcome::Outcome,
    transport::{json, unexpected},
};
use crate::platform::exchange::Answer;

/// Longest id of theirs that we store.
const ID_CHARS_MAX: usize = 64;

/// A provider's own account of what it did not do.
pub(super) struct Objection {
    /// A 4xx.
    pub(super) status: u16,
    /// For programs.
    pub(super) code: String,
    message: String,
}

impl Objection {
    /// `error` of an answer, where it has a code.
    fn of(status: u16, body: &Value) -> Option<Self> {
        let error = body.get("error")?;
        let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
        Some(Self { status, code: id(error, "code")?, message: message.to_owned() })
    }

    /// For people.
    pub(super) fn explanation(&self) -> String {
        if self.message.trim().is_empty() { self.code.clone() } else { format!("{}: {}", self.code, self.message) }
    }
}

/// A status and JSON where it is a 2xx, else the objection. An objection is final, so it must come from the provider,
/// not from something in front of it.
pub(super) fn reply(answer: &Answer) -> Outcome<Result<(u16, &Value), Objection>> {
    json(answer).and_then(|(status, body)| match status {
        200..=299 => Outcome::Done(Ok((status, body))),
        _ => Objection::of(status, body).map_or_else(|| unexpected(status), |objection| Outcome::Done(Err(objection))),
    })
}

/// An id of theirs: printable ASCII without blanks, of sane length.
pub(super) fn id(object: &Value, name: &str) -> Option<String> {
    let text = object.get(name)?.as_str()?;
    let sane = (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    sane.then(|| text.to_owned())
}
