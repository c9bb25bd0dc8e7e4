//! Effects on a call that only this carrier has.

use serde::{Deserialize, Serialize};

use super::contract::Operation;
use crate::rules::{OwnMode, Work};

/// The effect of a rule on a call. It is done only where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// 200 `status:false` with a data error as text.
    Refuse,
    /// The same with the message as an array.
    RefuseArray,
    /// 400 `status:false`.
    #[serde(rename = "refuse_400")]
    Refuse400,
    /// 422 `status:false`.
    #[serde(rename = "refuse_422")]
    Refuse422,
    /// Done; the answer says the order is cancelled, and it is.
    AlreadyCancelled,
    /// Done; the answer is about another order and another shipment.
    WrongOrder,
    /// `status:false`, "Order already exists".
    AlreadyExists,
    /// Done, then the same.
    AlreadyExistsAfterWork,
    /// Done; a second create of a reference answers with the first shipment, as it stands.
    Deduplicate,
    /// 200 `status:false` that says nothing.
    SomethingWentWrong,
    /// Done; the answer is a success without an `awb_number`.
    NoAwb,
    /// 404 `status:false`.
    NotFound,
}

impl OwnMode for Mode {
    type Operation = Operation;

    fn work(self) -> Work {
        match self {
            Self::AlreadyCancelled | Self::WrongOrder | Self::Deduplicate | Self::NoAwb => Work::Needed,
            Self::AlreadyExistsAfterWork => Work::Done,
            _ => Work::LeftOut,
        }
    }
}
