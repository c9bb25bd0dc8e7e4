//! The gateway's refusals, in its own words.

use axum::http::StatusCode;
use serde_json::json;

use crate::answer::Answer;

/// `error` with a code for programs and a message for people.
pub fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::json(status, json!({"error": {"code": code, "message": message}}))
}

pub fn refund_not_found(message: Option<&str>) -> Answer {
    refusal(StatusCode::NOT_FOUND, "refund_not_found", message.unwrap_or("No refund has this reference"))
}

pub fn payment_not_found(message: Option<&str>) -> Answer {
    refusal(StatusCode::NOT_FOUND, "payment_not_found", message.unwrap_or("No payment has this reference"))
}
