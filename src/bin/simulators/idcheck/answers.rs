//! The provider's answers, in its own words.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::contract::{Operation, Request};

/// An answer with nothing wrong about it: what was found, or a refusal with a reason.
pub struct Natural {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON.
    pub body: Value,
}

impl IntoResponse for Natural {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// `error` with a code for programs and a message for people.
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned() }
    }

    /// Another verification has the reference.
    pub fn reference_conflict() -> Self {
        Self::new(StatusCode::CONFLICT, "reference_conflict", "A verification of something else has this reference")
    }

    /// Something broke.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
    }
}

impl From<Refusal> for Natural {
    fn from(refusal: Refusal) -> Self {
        let body = json!({"error": {"code": refusal.code, "message": refusal.message}});
        Self { status: refusal.status, body }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Natural::from(self).into_response()
    }
}

/// The refusal of a key.
pub fn invalid_key() -> Response {
    Refusal::new(StatusCode::UNAUTHORIZED, "invalid_key", "The API key is not valid").into_response()
}

/// A path that does not exist.
pub fn not_found() -> Response {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here").into_response()
}

/// A defect of the stand-in; no fault rule answers 501.
pub fn simulator_failed() -> Response {
    Refusal::new(StatusCode::NOT_IMPLEMENTED, "simulator_failed", "the simulator itself failed").into_response()
}

/// How an identifier stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In use.
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

/// What a verification finds.
pub struct Finding {
    /// How the identifier stands.
    pub standing: Standing,
    /// The name on record.
    pub name: Option<String>,
}

impl Finding {
    /// Whether a rupee is deposited to find it.
    pub fn costs(&self, operation: Operation) -> bool {
        operation == Operation::PennyDrop && self.standing == Standing::Good
    }
}

/// The answer that tells a finding.
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
