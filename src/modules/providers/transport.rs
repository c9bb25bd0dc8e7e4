//! What an answer is by its transport and its status alone, whoever sent it and whatever was asked.

use std::time::Duration;

use serde_json::Value;

use super::outcome::{Failure, Repeat};
use crate::platform::exchange::{Answer, AnswerBody, Lost, NotSent};

/// Without `Retry-After`, a 429 holds the account this long.
const THROTTLED_FOR: Duration = Duration::from_secs(5);

/// An answer before anybody reads its words.
#[derive(Debug)]
pub enum Transport<'a> {
    /// Provably not executed: not sent, or throttled.
    NotDone(Failure, Repeat),
    /// 401, 403, or no credentials to send.
    Unauthorized(Failure),
    /// Nothing can be concluded: lost, 1xx, 3xx, 5xx, or not JSON.
    Unclear(Failure),
    /// JSON with a 2xx, or with a 4xx that is none of the above: the provider's own words.
    Json(u16, &'a Value),
}

/// Sorts an answer. Every adapter begins here, so that what was sent and not answered counts the same everywhere.
#[must_use]
pub fn transport(answer: &Answer) -> Transport<'_> {
    let unclear = |code, text: &str| Transport::Unclear(Failure::new(code, text));
    match answer {
        Answer::NotSent(NotSent::NotConnected) => Transport::NotDone(
            Failure::new("exchange.not_connected", "No connection to the provider."),
            Repeat::NotConnected,
        ),
        Answer::NotSent(NotSent::NoTime) => Transport::NotDone(
            Failure::new("exchange.no_time", "The lease would not have outlasted the call."),
            Repeat::NotConnected,
        ),
        Answer::NotSent(NotSent::NoCredentials) => {
            Transport::Unauthorized(Failure::new("provider.no_credentials", "The account's credentials can't be used."))
        }
        Answer::Lost(Lost::TimedOut) => unclear("exchange.timed_out", "No answer within the deadline."),
        Answer::Lost(Lost::ConnectionLost) => {
            unclear("exchange.connection_lost", "The connection broke before the answer.")
        }
        Answer::Lost(Lost::TooLarge) => unclear("exchange.answer_too_large", "The answer was over the limit."),
        Answer::Http { status: 429, retry_after, .. } => Transport::NotDone(
            Failure::new("provider.throttled", "Too many requests."),
            Repeat::Throttled(retry_after.unwrap_or(THROTTLED_FOR)),
        ),
        Answer::Http { status: status @ (401 | 403), .. } => Transport::Unauthorized(Failure::new(
            "provider.unauthorized",
            format!("The credentials were refused ({status})."),
        )),
        Answer::Http { status: status @ 500.., .. } => unclear("provider.server_error", &format!("Answered {status}.")),
        Answer::Http { status: status @ (..=199 | 300..=399), .. } => {
            unclear("provider.unexpected_status", &format!("Answered {status}."))
        }
        Answer::Http { body: AnswerBody::NotJson, status, .. } => {
            unclear("provider.not_json", &format!("Answered {status} with a body that is not JSON."))
        }
        Answer::Http { body: AnswerBody::Json(body), status, .. } => Transport::Json(*status, body),
    }
}

/// JSON in a shape that nobody agreed upon.
#[must_use]
pub fn unexpected(status: u16) -> Failure {
    Failure::new("provider.unexpected_answer", format!("Answered {status} in an unknown shape."))
}
