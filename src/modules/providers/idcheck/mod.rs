//! IDCheck, a verification provider: it asks the tax registers and the banks whether a number is somebody's, and whose.
//!
//! A check is asked under our reference, which is its idempotency key: asking again is the same as asking once, a
//! deposit too. So an answer that is missing or unclear is never a reason to give up, only to ask again.
//!
//! Invariants: an answer counts only if it names our reference. Nothing is confirmed or refuted but by words that the
//! contract knows; other words are for a person. Names and numbers are personal data: they are in no log.

mod wire;

#[cfg(test)]
mod tests;

use std::fmt;

use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    AccountSecrets, Failure, Outcome, Provider,
    objection::{Objection, reply},
    reading,
    transport::unusable,
};
use crate::platform::exchange::{Answer, Credentials, Outbound, Redaction};

/// As in checks and logs.
pub const NAME: &str = "idcheck";
/// The field of its accounts' credentials.
pub const API_KEY: &str = "apiKey";
/// Asks the register of PANs; as in logs.
pub const VERIFY_PAN: &str = "verify_pan";
/// Asks the register of GSTINs; as in logs.
pub const VERIFY_GSTIN: &str = "verify_gstin";
/// Sends a rupee to a bank account; as in logs.
pub const PENNY_DROP: &str = "penny_drop";

/// The header that carries the key.
const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// What may be stored, whatever is checked.
pub const REDACTION: &Redaction = &wire::VERIFICATION;

/// The adapter.
#[derive(Debug)]
pub struct IdCheck {
    base_url: String,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// A person's or a company's tax number.
    Pan,
    /// A business' registration for the goods and services tax.
    Gstin,
    /// A bank account.
    BankAccount,
}

impl CheckKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Pan, Self::Gstin, Self::BankAccount];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pan => "pan",
            Self::Gstin => "gstin",
            Self::BankAccount => "bank_account",
        }
    }

    /// What the provider is asked to do; as in logs.
    #[must_use]
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Pan => VERIFY_PAN,
            Self::Gstin => VERIFY_GSTIN,
            Self::BankAccount => PENNY_DROP,
        }
    }
}

/// What is to be checked, with its numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inquiry<'a> {
    /// A PAN.
    Pan {
        /// The number.
        pan: &'a str,
    },
    /// A GSTIN.
    Gstin {
        /// The number.
        gstin: &'a str,
    },
    /// A bank account.
    BankAccount {
        /// The number.
        account_number: &'a str,
        /// The branch.
        ifsc: &'a str,
    },
}

impl Inquiry<'_> {
    /// What is checked.
    #[must_use]
    pub const fn kind(&self) -> CheckKind {
        match self {
            Self::Pan { .. } => CheckKind::Pan,
            Self::Gstin { .. } => CheckKind::Gstin,
            Self::BankAccount { .. } => CheckKind::BankAccount,
        }
    }
}

/// Without the numbers, so that no log line can hold them.
impl fmt::Debug for Inquiry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inquiry({})", self.kind().as_str())
    }
}

/// What the provider is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// Our id of the check: its idempotency key.
    pub reference: &'a str,
    /// Whose it is said to be, as the applicant writes it.
    pub name: &'a str,
    /// What is to be checked.
    pub inquiry: Inquiry<'a>,
}

/// Without the name and the numbers, so that no log line can hold them.
impl fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("reference", &self.reference)
            .field("inquiry", &self.inquiry)
            .finish_non_exhaustive()
    }
}

/// What a check came to.
#[derive(Clone, PartialEq, Eq)]
pub enum Finding {
    /// The register (or the bank) knows it, under this name.
    Confirmed {
        /// As the register or the bank writes it; at most 200 characters.
        name: String,
        /// The transfer's number (UTR), where there was a transfer and its number is usable.
        transfer: Option<String>,
    },
    /// No good, for good.
    Refuted(Failure),
    /// An answer that nobody can judge by rule: a person has to look.
    Inconclusive(Failure),
}

/// Without the name, so that no log line can hold it.
impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confirmed { transfer, .. } => {
                f.debug_struct("Confirmed").field("transfer", transfer).finish_non_exhaustive()
            }
            Self::Refuted(failure) => f.debug_tuple("Refuted").field(failure).finish(),
            // In their words, which may name somebody.
            Self::Inconclusive(failure) => f.debug_tuple("Inconclusive").field(&failure.code).finish(),
        }
    }
}

impl IdCheck {
    /// An adapter for the API under `base_url` (`https://.../idcheck/v1`).
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        Self { base_url: base_url.trim_end_matches('/').to_owned() }
    }

    /// The request that asks `question`, for the first time or again.
    #[must_use]
    pub fn request(&self, question: &Question<'_>) -> Outbound {
        let kind = question.inquiry.kind();
        Outbound {
            provider: NAME,
            operation: kind.operation(),
            method: Method::POST,
            url: format!("{}/{}", self.base_url, wire::resource(kind)),
            body: Some(wire::body(question)),
            redaction: REDACTION,
        }
    }

    /// What the answer to a question of this kind means for the check `reference`.
    #[must_use]
    pub fn read(&self, kind: CheckKind, reference: &str, answer: &Answer) -> Outcome<Finding> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => accepted(kind, reference, status, body),
            Err(objection) => objected(kind, &objection),
        })
    }
}

impl Provider for IdCheck {
    fn name(&self) -> &'static str {
        NAME
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        &["x-api-key"]
    }

    fn sign(&self, secrets: &AccountSecrets) -> Option<Credentials> {
        let mut value = HeaderValue::from_str(secrets.get(API_KEY)?).ok()?;
        value.set_sensitive(true);
        Some(vec![(API_KEY_HEADER, value)])
    }
}

/// 2xx with JSON.
fn accepted(kind: CheckKind, reference: &str, status: u16, body: &Value) -> Outcome<Finding> {
    match reading::reference(body, "reference") {
        Some(named) if named == reference => {}
        Some(_) => return Outcome::unknown("provider.wrong_reference", "The answer is about another check."),
        None => return unusable(status, "reference"),
    }
    let found = match kind {
        CheckKind::Pan => wire::pan(body),
        CheckKind::Gstin => wire::gstin(body),
        CheckKind::BankAccount => wire::bank_account(body),
    };
    found.unwrap_or_else(|field| unusable(status, field))
}

/// Another 4xx in which they explain themselves.
fn objected(kind: CheckKind, objection: &Objection) -> Outcome<Finding> {
    match (objection.status, kind, &*objection.code) {
        (400 | 422, CheckKind::BankAccount, "invalid_ifsc") => {
            refuted("bank.invalid_ifsc", "There is no such bank branch.")
        }
        (400 | 422, CheckKind::BankAccount, "invalid_account") => {
            refuted("bank.invalid_account", "That can't be an account's number.")
        }
        // Our reference has one content for ever, so asking again can't change this.
        _ => odd(objection.explanation()),
    }
}

fn refuted(code: &'static str, message: &str) -> Outcome<Finding> {
    Outcome::Done(Finding::Refuted(Failure::new(code, message)))
}

fn odd(message: impl AsRef<str>) -> Outcome<Finding> {
    Outcome::Done(Finding::Inconclusive(Failure::new("idcheck.odd_answer", message)))
}
