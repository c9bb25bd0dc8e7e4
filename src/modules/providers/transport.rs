//! Classifies answers by transport and status alone, the same for every provider and operation.

use std::{fmt::Write, time::Duration};

use serde_json::Value;

use super::outcome::{Failure, Outcome, Retry};
use crate::platform::exchange::{Answer, AnswerBody, Lost, NotSent};

/// Without `Retry-After`, a 429 holds the account this long.
const THROTTLED_FOR: Duration = Duration::from_secs(5);

/// The provider's own words: JSON with a 2xx, or with a 4xx that says nothing of the request by itself, and that status. Every
/// adapter begins here, so that what was sent and not answered counts the same everywhere.
#[must_use]
pub fn json(answer: &Answer) -> Outcome<(u16, &Value)> {
    let not_executed = |code, text, retry| Outcome::Retryable(Failure::new(code, text), retry);
    let unauthorized = |code, text: &str| Outcome::Unauthorized(Failure::new(code, text));
    match answer {
        Answer::NotSent(NotSent::NotConnected | NotSent::NotPublic) => {
            not_executed("exchange.not_connected", "No connection to the provider.", Retry::Deferred)
        }
        Answer::NotSent(NotSent::NoTime) => {
            not_executed("exchange.no_time", "The lease would not have outlasted the call.", Retry::Deferred)
        }
        Answer::NotSent(NotSent::NoCredentials) => {
            unauthorized("provider.no_credentials", "The account's credentials can't be used.")
        }
        Answer::Lost(Lost::TimedOut) => Outcome::unknown("exchange.timed_out", "No answer within the deadline."),
        Answer::Lost(Lost::ConnectionLost) => {
            Outcome::unknown("exchange.connection_lost", "The connection broke before the answer.")
        }
        Answer::Lost(Lost::TooLarge) => Outcome::unknown("exchange.answer_too_large", "The answer was over the limit."),
        Answer::Lost(Lost::NotKept) => Outcome::unknown("exchange.not_kept", "The file could not be stored here."),
        Answer::Http { status: 429, retry_after, .. } => not_executed(
            "provider.throttled",
            "Too many requests.",
            Retry::Throttled(retry_after.unwrap_or(THROTTLED_FOR)),
        ),
        // A firewall or a proxy said so, and perhaps after the provider had done the work.
        Answer::Http { status: 403, body: AnswerBody::NotJson, .. } => {
            Outcome::unknown("provider.blocked", "Answered 403 with a page: not the provider's own words.")
        }
        Answer::Http { status: status @ (401 | 403), .. } => {
            unauthorized("provider.unauthorized", &format!("The credentials were refused ({status})."))
        }
        Answer::Http { status: status @ 500.., .. } => {
            Outcome::unknown("provider.server_error", format!("Answered {status}."))
        }
        Answer::Http { status: status @ (..=199 | 300..=399 | 408 | 425), .. } => {
            Outcome::unknown("provider.unexpected_status", format!("Answered {status}."))
        }
        Answer::Http { body: AnswerBody::NotJson | AnswerBody::File(_), status, .. } => {
            Outcome::unknown("provider.not_json", format!("Answered {status} with a body that is not JSON."))
        }
        Answer::Http { body: AnswerBody::Contradictory, status, .. } => Outcome::unknown(
            "provider.contradiction",
            format!("Answered {status} with a body that contradicts itself."),
        ),
        Answer::Http { body: AnswerBody::Json(body), status, .. } => Outcome::Done((*status, body)),
    }
}

/// JSON in a shape that nobody agreed upon.
#[must_use]
pub fn unexpected<T>(status: u16) -> Outcome<T> {
    Outcome::unknown("provider.unexpected_answer", format!("Answered {status} in an unknown shape."))
}

/// JSON in which `field` can't be used.
#[must_use]
pub fn unusable<T>(status: u16, field: &str) -> Outcome<T> {
    Outcome::unknown("provider.unexpected_answer", format!("Answered {status} without a usable {field}."))
}

/// A part of a path: letters, digits, `-`, `_`, `.` and `~` as they are (RFC 3986, section 2.3), everything else escaped.
#[must_use]
pub fn segment(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
