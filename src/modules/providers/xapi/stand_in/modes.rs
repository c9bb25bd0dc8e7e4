//! Effects on a call that only this ERP has, and its refusals.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::contract::{NUMBER, Operation};
use crate::{
    answer::Answer,
    rules::{OwnMode, Work},
};

/// The effect of a rule on a call. It is done only where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// 400 with the message's code, or `BadRequest_InvalidItem`.
    Refuse,
    /// 409, as if the number were taken.
    Duplicate,
    /// A look-up finds nothing, whatever there is.
    Absent,
    /// Done; the number comes back in capitals.
    Capitals,
    /// Done; the order is cancelled at once. For creates.
    Cancelled,
    /// Done; the answer is about another order.
    OtherOrder,
    /// Done; a look-up shows another order in front of the one that was asked for.
    OtherOrderToo,
    /// Done; the answer has no `orderNo`.
    NoOrderNo,
    /// Done; the answer has a status that nobody agreed upon.
    OddStatus,
}

impl OwnMode for Mode {
    type Operation = Operation;

    fn work(self) -> Work {
        match self {
            Self::Refuse | Self::Duplicate | Self::Absent => Work::LeftOut,
            _ => Work::Needed,
        }
    }

    fn only_for(self) -> Option<Operation> {
        match self {
            Self::Duplicate | Self::Cancelled => Some(Operation::Create),
            Self::Absent | Self::OtherOrderToo => Some(Operation::LookUp),
            _ => None,
        }
    }
}

/// `error` with a code for programs and words for people. A message in their place may begin with a code of its own.
pub fn refusal(status: StatusCode, code: &str, words: &str, message: Option<&str>) -> Answer {
    let is_code = |(code, _): &(&str, &str)| code.contains('_') && !code.contains(' ');
    let (code, words) = match message {
        Some(message) => message.split_once(": ").filter(is_code).unwrap_or((code, message)),
        None => (code, words),
    };
    Answer::json(status, json!({"error": {"code": code, "message": words}}))
}

/// The refusal of a number that is taken.
pub fn duplicate() -> Answer {
    let words = "An order with this external document number exists";
    refusal(StatusCode::CONFLICT, "Application_DuplicateDocument", words, None)
}

/// The answer to a call that goes wrong. `worked` is the proper one.
pub fn reply(mode: Mode, message: Option<&str>, worked: Answer) -> Answer {
    match mode {
        Mode::Refuse => refusal(StatusCode::BAD_REQUEST, "BadRequest_InvalidItem", "The item does not exist", message),
        Mode::Duplicate => duplicate(),
        Mode::Absent => Answer::ok(json!({"value": []})),
        Mode::OtherOrderToo => worked.with(|body| {
            if let Some(found) = body.get_mut("value").and_then(Value::as_array_mut) {
                found.insert(0, other_order());
            }
        }),
        _ => worked.with_each("value", "orderNo", |order| change(mode, order)),
    }
}

fn change(mode: Mode, order: &mut Value) {
    match mode {
        Mode::Capitals => order[NUMBER] = json!(order[NUMBER].as_str().map(str::to_uppercase)),
        Mode::OtherOrder => *order = other_order(),
        Mode::NoOrderNo => {
            order.as_object_mut().map(|order| order.remove("orderNo"));
        }
        Mode::OddStatus => order["status"] = json!("Pending Prepayment"),
        _ => {}
    }
}

fn other_order() -> Value {
    json!({"orderNo": "SO-7-OTHER", NUMBER: "7-of-somebody-else", "status": "Open"})
}
