//! The usual shape in which a provider says what it did not do: `{"error": {"code", "message"}}`, or words anywhere.

use serde_json::Value;

use super::{
    outcome::Outcome,
    reading::{object, part, sentences, text},
    transport::{json, unexpected},
};
use crate::platform::exchange::Answer;

/// Longest code of theirs.
const CODE_CHARS_MAX: usize = 64;

/// A provider's own account of what it did not do.
pub(super) struct ProviderRefusal {
    /// A 4xx.
    pub(super) status: u16,
    /// For programs; empty where there are words only.
    pub(super) code: String,
    message: String,
}

impl ProviderRefusal {
    /// `error` of an answer, where it has a code; on a 400 and a 422, which are about what was sent, words are enough.
    pub(super) fn of(status: u16, body: &Value) -> Option<Self> {
        let code = object(body, "error").and_then(|error| text(error, "code")).filter(|code| is_code(code));
        match (code, sentences(body)) {
            (None, Some(message)) if matches!(status, 400 | 422) => Some(Self { status, code: String::new(), message }),
            (None, _) => None,
            (Some(code), message) => {
                // Where nothing else is said, that is the code again.
                let message = message.filter(|message| *message != format!("code: {code}")).unwrap_or_default();
                Some(Self { status, code: code.to_owned(), message })
            }
        }
    }

    /// A sentence for people.
    pub(super) fn explanation(&self) -> String {
        let parts = [&*self.code, &*self.message];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }
}

/// A status and JSON where it is a 2xx, else the refusal. A refusal is final, so it must come from the provider,
/// not from something in front of it.
pub(super) fn reply(answer: &Answer) -> Outcome<Result<(u16, &Value), ProviderRefusal>> {
    json(answer).and_then(|(status, body)| match status {
        200..=299 => Outcome::Done(Ok((status, part(body)))),
        _ => {
            ProviderRefusal::of(status, body).map_or_else(|| unexpected(status), |refusal| Outcome::Done(Err(refusal)))
        }
    })
}

/// Printable ASCII without blanks.
fn is_code(text: &str) -> bool {
    (1..=CODE_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
