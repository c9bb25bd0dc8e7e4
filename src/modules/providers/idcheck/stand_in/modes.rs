//! Findings other than the usual one, and answers of this provider that go wrong.

use serde::{Deserialize, Serialize};

use super::{
    answers::{Finding, Standing},
    contract::{Operation, Request},
};
use crate::rules::{Fault, OwnMode, Work};

const OTHER_NAME: &str = "VIKRAM CHAUDHARY";

/// The effect of a rule on a call. Unless it says otherwise, the call is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Found not to exist.
    Invalid,
    /// Found deactivated, cancelled or blocked.
    Inactive,
    /// Found suspended. For GSTINs.
    Suspended,
    /// Found blocked. For penny drops, like the four that follow.
    Blocked,
    /// Found to be an NRE account.
    Nre,
    /// Not done, which the answer says with 200: the bank is offline.
    BankOffline,
    /// Not done, which the answer says with 200: NPCI is unavailable.
    NpciUnavailable,
    /// Found not to exist, in words nobody agreed upon.
    OddMessage,
    /// Found good, with no name on record.
    NoName,
    /// Found good, under the name that is the rule's message, or some other.
    NameMismatch,
    /// Not done; 422 for the identifier.
    Unprocessable,
    /// The answer is about another reference.
    WrongReference,
    /// Not done; 400 with a message that repeats what was sent.
    EchoPan,
}

impl OwnMode for Mode {
    type Operation = Operation;

    fn work(self) -> Work {
        if matches!(self, Self::Unprocessable | Self::EchoPan) { Work::LeftOut } else { Work::Needed }
    }

    fn only_for(self) -> Option<Operation> {
        use Mode::{BankOffline, Blocked, NpciUnavailable, Nre, OddMessage};
        match self {
            Self::Suspended => Some(Operation::Gstin),
            Blocked | Nre | BankOffline | NpciUnavailable | OddMessage => Some(Operation::PennyDrop),
            _ => None,
        }
    }
}

/// The finding, where there was none before.
pub fn finding(fault: &Fault<Mode>, request: &Request) -> Finding {
    let mode = fault.own();
    let standing = match mode {
        Some(Mode::Invalid) => Standing::Absent,
        Some(Mode::Inactive | Mode::Blocked) => Standing::Inactive,
        Some(Mode::Suspended) => Standing::Suspended,
        Some(Mode::Nre) => Standing::Nre,
        Some(Mode::BankOffline) => Standing::BankOffline,
        Some(Mode::NpciUnavailable) => Standing::NpciUnavailable,
        Some(Mode::OddMessage) => Standing::Odd,
        _ => Standing::Good,
    };
    let name = match mode {
        Some(Mode::NoName) => None,
        Some(Mode::NameMismatch) => Some(fault.message.clone().unwrap_or_else(|| OTHER_NAME.to_owned())),
        _ => Some(request.name.to_uppercase()),
    };
    Finding { standing, name }
}
