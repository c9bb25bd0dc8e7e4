//! Effects on a call that only this gateway has, and its refusals.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::contract::Operation;
use crate::{
    answer::Answer,
    rules::{OwnMode, Work},
};

/// The effect of a rule on a call. It is done only where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// 400.
    Refuse,
    /// 409, as if the request id were taken.
    Duplicate,
    /// A look-up finds nothing, whatever there is.
    Absent,
    /// 404.
    NotFound,
    /// Done; the answer is about another docflow.
    OtherDocflow,
    /// Done; the answer has no `docflowId`.
    NoDocflowId,
    /// Done; the answer has a state that nobody agreed upon.
    OddState,
    /// Done; the file has the same length and another content than without this mode.
    ChangedFile,
}

impl OwnMode for Mode {
    type Operation = Operation;

    fn work(self) -> Work {
        match self {
            Self::Refuse | Self::Duplicate | Self::Absent | Self::NotFound => Work::LeftOut,
            _ => Work::Needed,
        }
    }

    fn only_for(self) -> Option<Operation> {
        match self {
            Self::Duplicate => Some(Operation::Place),
            Self::Absent => Some(Operation::LookUp),
            Self::ChangedFile => Some(Operation::Download),
            _ => None,
        }
    }
}

pub fn refusal(status: StatusCode, message: &str) -> Answer {
    Answer::json(status, json!({"message": message}))
}

/// The refusal of a request id that is taken.
pub fn duplicate() -> Answer {
    refusal(StatusCode::CONFLICT, "A docflow with this requestId exists")
}

pub fn not_found(message: Option<&str>) -> Answer {
    refusal(StatusCode::NOT_FOUND, message.unwrap_or("There is no such docflow or file"))
}

/// The answer to a call that goes wrong. `worked` is the proper one.
pub fn reply(mode: Mode, message: Option<&str>, worked: Answer) -> Answer {
    match mode {
        Mode::Refuse => refusal(StatusCode::BAD_REQUEST, message.unwrap_or("The object is not in the register")),
        Mode::Duplicate => duplicate(),
        Mode::Absent => Answer::ok(json!({"items": []})),
        Mode::NotFound => not_found(message),
        _ => worked.with_each("items", "docflowId", |docflow| change(mode, docflow)),
    }
}

fn change(mode: Mode, docflow: &mut Value) {
    match mode {
        Mode::OtherDocflow => {
            for (field, other) in [("docflowId", "df-7-of-somebody-else"), ("requestId", "7-of-somebody-else")] {
                docflow.get_mut(field).into_iter().for_each(|value| *value = json!(other));
            }
        }
        Mode::NoDocflowId => {
            docflow.as_object_mut().map(|docflow| docflow.remove("docflowId"));
        }
        Mode::OddState => docflow["state"] = json!("on_the_way"),
        _ => {}
    }
}
