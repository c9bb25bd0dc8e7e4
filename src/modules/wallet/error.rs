//! How a booking may fail, as clients are told.

use super::ledger::LedgerRefusal;
use crate::{
    modules::auth::Revoked,
    platform::{
        batch::LaneError,
        error::{AppError, ErrorKind, FieldError},
    },
};

impl From<LedgerRefusal> for AppError {
    fn from(refusal: LedgerRefusal) -> Self {
        match refusal {
            LedgerRefusal::Insufficient { needed, available } => Self::new(
                ErrorKind::InsufficientFunds,
                "wallet.insufficient_funds",
                format!("This takes {needed} and the wallet has {available}; top it up and try again."),
            )
            .with("needed", needed)
            .with("available", available),
            LedgerRefusal::Amount => {
                Self::invalid(vec![FieldError::new("amount.amount", "range", "is not an amount that can be booked")])
            }
            LedgerRefusal::Overflow => {
                Self::new(ErrorKind::Conflict, "wallet.too_large", "The wallet can't hold that much money.")
            }
            LedgerRefusal::NoHold | LedgerRefusal::HoldState(_) | LedgerRefusal::Shares => {
                Self::new(ErrorKind::Conflict, "wallet.hold_closed", "The money was captured or given back before.")
            }
            LedgerRefusal::NotReversible => Self::new(
                ErrorKind::Conflict,
                "finance.not_reversible",
                "Only recharges and adjustments can be reversed; what orders book, orders take back.",
            ),
        }
    }
}

/// How a use case of wallets may fail; each variant is a decision for the caller.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The client's reference stands for something else: use a new one.
    #[error("the reference stands for another transaction")]
    Mismatch,
    /// There is no such user; the field that names it.
    #[error("there is no such user")]
    NoUser(&'static str),
    /// There is no such transaction.
    #[error("there is no such transaction")]
    NotFound,
    /// It was reversed before, by this transaction.
    #[error("reversed before, by {0}")]
    ReversedBefore(String),
    /// The ledger refuses.
    #[error(transparent)]
    Refused(#[from] LedgerRefusal),
    /// Unique indexes are missing. Run `waybill migrate`.
    #[error("required indexes are missing")]
    NotReady,
    /// The batch lane could not carry it out.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The caller's access was revoked in the meantime.
    #[error(transparent)]
    Revoked(#[from] Revoked),
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
}

impl From<WalletError> for AppError {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::Mismatch => Self::new(
                ErrorKind::Invalid,
                "finance.idempotency_mismatch",
                "This clientReference was used for another transaction; use a new one for a new transaction.",
            ),
            WalletError::NoUser(field) => Self::invalid(vec![FieldError::new(field, "unknown_value", "names no user")]),
            WalletError::NotFound => {
                Self::new(ErrorKind::NotFound, "finance.not_found", "There is no such transaction.")
            }
            WalletError::ReversedBefore(by) => Self::new(
                ErrorKind::Conflict,
                "finance.already_reversed",
                format!("This transaction was reversed before, by {by}."),
            )
            .with("transactionId", by),
            WalletError::Refused(refusal) => refusal.into(),
            WalletError::NotReady => Self::not_migrated(),
            WalletError::Lane(error) => error.into(),
            WalletError::Revoked(revoked) => revoked.into(),
            WalletError::Database(error) => error.into(),
        }
    }
}
