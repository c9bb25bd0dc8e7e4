//! The provider's answers, in its own words.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::contract::{Operation, Request};
use crate::answer::Answer;

/// `error` with a code for programs and a message for people.
pub fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::json(status, json!({"error": {"code": code, "message": message}}))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Good,
    /// There is none.
    Absent,
    /// No longer in use.
    Inactive,
    /// For now not in use. GSTINs only.
    Suspended,
    /// An account that takes no rupee transfers. Accounts only, like all that follow.
    Nre,
    /// Its bank cannot be reached.
    BankOffline,
    /// The network between the banks is down.
    NpciUnavailable,
    /// The bank said something that the contract does not list.
    Odd,
}

impl Standing {
    /// Whether anything was found out, so that it is answered the same from now on.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::BankOffline | Self::NpciUnavailable)
    }

    fn of_pan(self) -> &'static str {
        match self {
            Self::Good => "valid",
            Self::Absent => "invalid",
            _ => "inactive",
        }
    }

    fn of_gstin(self) -> &'static str {
        match self {
            Self::Good => "active",
            Self::Absent => "not_found",
            Self::Suspended => "suspended",
            _ => "cancelled",
        }
    }

    fn of_account(self) -> &'static str {
        match self {
            Self::Good => "Verified",
            Self::Absent => "Account does not exist",
            Self::Inactive | Self::Suspended => "Account is blocked",
            Self::Nre => "NRE account",
            Self::BankOffline => "Beneficiary bank offline",
            Self::NpciUnavailable => "NPCI unavailable",
            Self::Odd => "Remitter response M7",
        }
    }
}

pub struct Finding {
    pub standing: Standing,
    pub name: Option<String>,
}

impl Finding {
    /// Whether a rupee is deposited to find it.
    pub fn costs(&self, operation: Operation) -> bool {
        operation == Operation::PennyDrop && self.standing == Standing::Good
    }
}

pub fn found(request: &Request, finding: &Finding) -> Value {
    let (reference, standing, name) = (&request.reference, finding.standing, finding.name.as_deref());
    match request.operation {
        Operation::Pan => json!({
            "reference": reference,
            "status": standing.of_pan(),
            "registered_name": name.filter(|_| standing == Standing::Good),
        }),
        Operation::Gstin => {
            let name = name.filter(|_| standing != Standing::Absent);
            json!({"reference": reference, "status": standing.of_gstin(), "legal_name": name, "trade_name": name})
        }
        Operation::PennyDrop => {
            let exists = standing == Standing::Good;
            json!({
                "reference": reference,
                "account_exists": exists,
                "name_at_bank": name.filter(|_| exists),
                "utr": exists.then(|| format!("IDCH{}", hex::encode(rand::random::<[u8; 8]>()))),
                "amount_deposited": if exists { json!(1.0) } else { json!(0) },
                "message": standing.of_account(),
            })
        }
    }
}
