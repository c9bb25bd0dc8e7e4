//! Answers of this gateway that go wrong.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    answers::{payment_not_found, refund_not_found, refusal},
    contract::Operation,
};
use crate::{
    answer::Answer,
    rules::{OwnMode, Work},
};

/// The effect of a rule on a call. It is done only where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// 422 with a data error.
    Refuse,
    /// 400 with a data error.
    #[serde(rename = "refuse_400")]
    Refuse400,
    /// 409 `reference_conflict`.
    Conflict,
    /// 404 `payment_not_found`; of refunds `refund_not_found`.
    NotFound,
    /// Done; the answer is about another reference.
    WrongReference,
    /// Done; the answer names another amount.
    WrongAmount,
    /// Done; the answer names an amount with a fraction.
    FractionalAmount,
    /// Done; the answer has a status nobody agreed upon.
    UnknownStatus,
    /// Done; the answer has no `paymentUrl`.
    NoPage,
    /// Done; paid and called back before the answer, which says `paid`. For creates.
    CallbackBeforeAnswer,
    /// The same, but the answer says `created`: it was written before. For creates.
    CallbackBeforeStaleAnswer,
    /// Done; the answer says `pending`: the payer's bank takes its time. For refunds and their look-ups.
    RefundPending,
    /// Not done, and never will be: the payer's bank does not take it. For refunds.
    RefundFailed,
}

/// The content of an answer that comes after its callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallsBack {
    /// The state by then.
    ThenAnswers,
    /// The state before.
    ThenAnswersAsBefore,
}

impl Mode {
    /// Whether the payment is paid and called back within the call.
    pub fn calls_back(self) -> Option<CallsBack> {
        match self {
            Self::CallbackBeforeAnswer => Some(CallsBack::ThenAnswers),
            Self::CallbackBeforeStaleAnswer => Some(CallsBack::ThenAnswersAsBefore),
            _ => None,
        }
    }
}

impl OwnMode for Mode {
    type Operation = Operation;

    fn work(self) -> Work {
        match self {
            Self::Refuse | Self::Refuse400 | Self::Conflict | Self::NotFound => Work::LeftOut,
            _ => Work::Needed,
        }
    }

    fn only_for(self) -> Option<Operation> {
        match self {
            Self::RefundFailed => Some(Operation::Refund),
            _ => self.calls_back().map(|_| Operation::Create),
        }
    }
}

/// The answer to a call that goes wrong. `worked` is the proper one, where the work was done.
pub fn reply(mode: Mode, is_refund: bool, message: Option<&str>, worked: Option<Answer>) -> Answer {
    let refuse = |status, code, words: &str| refusal(status, code, message.unwrap_or(words));
    let absent = || if is_refund { refund_not_found(message) } else { payment_not_found(message) };
    let proper = || worked.unwrap_or_else(absent);
    let amount = |change: fn(&Value) -> Value| move |body: &mut Value| body["amount"] = change(&body["amount"]);
    match mode {
        Mode::Refuse => refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_data", "The payer's bank is not supported"),
        Mode::Refuse400 => refuse(StatusCode::BAD_REQUEST, "invalid_request", "Invalid amount"),
        Mode::Conflict => {
            refuse(StatusCode::CONFLICT, "reference_conflict", "A payment of another amount has this reference")
        }
        Mode::NotFound => absent(),
        Mode::WrongReference => proper().with_field("reference", json!("top_of-somebody-else")),
        Mode::WrongAmount => proper().with(amount(|is| json!(is.as_i64().unwrap_or_default() + 1))),
        Mode::FractionalAmount => proper().with(amount(|is| json!(is.as_f64().unwrap_or_default() + 0.5))),
        Mode::UnknownStatus => proper().with_field("status", json!("under_review")),
        Mode::NoPage => proper().with_field("paymentUrl", Value::Null),
        Mode::RefundPending => proper().with_field("status", json!("pending")),
        Mode::CallbackBeforeAnswer | Mode::CallbackBeforeStaleAnswer | Mode::RefundFailed => proper(),
    }
}
