//! Checks of merchants' numbers, in our own words, and what a verification provider's adapter has to do.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Failure, Outcome, Provider};
use crate::platform::exchange::{Answer, Outbound};

/// Asks the register of PANs; as in logs.
pub const VERIFY_PAN: &str = "verify_pan";
/// Asks the register of GSTINs; as in logs.
pub const VERIFY_GSTIN: &str = "verify_gstin";
/// Sends a rupee to a bank account; as in logs.
pub const PENNY_DROP: &str = "penny_drop";

/// The kind of a check.
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

    /// The operation, as in logs.
    #[must_use]
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Pan => VERIFY_PAN,
            Self::Gstin => VERIFY_GSTIN,
            Self::BankAccount => PENNY_DROP,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inquiry<'a> {
    Pan { pan: &'a str },
    Gstin { gstin: &'a str },
    BankAccount { account_number: &'a str, ifsc: &'a str },
}

impl Inquiry<'_> {
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

/// One check at the verification provider.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CheckRequest<'a> {
    /// Our id of the check: its idempotency key.
    pub reference: &'a str,
    /// The holder's name, as the applicant writes it.
    pub name: &'a str,
    pub inquiry: Inquiry<'a>,
}

/// Without the name and the numbers, so that no log line can hold them.
impl fmt::Debug for CheckRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("reference", &self.reference)
            .field("inquiry", &self.inquiry)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
pub enum CheckFinding {
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
impl fmt::Debug for CheckFinding {
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

pub trait Verifier: Provider {
    /// The request that asks `question`, for the first time or again.
    fn request(&self, question: &CheckRequest<'_>) -> Outbound;

    /// Reads the answer to a question of this kind about the check `reference`.
    fn read(&self, kind: CheckKind, reference: &str, answer: &Answer) -> Outcome<CheckFinding>;
}
