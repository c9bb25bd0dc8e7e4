//! How a use case of orders may fail.

use crate::{
    modules::{kyc::NotVerified, wallet::LedgerRefusal},
    platform::{
        batch::LaneError,
        error::{AppError, ErrorKind, FieldError},
        http::transfers,
        sealing::OpenError,
    },
};

/// Each variant is a decision for the caller.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The id stands for an order with another meaning: use a new one.
    #[error("the clientOrderId stands for another order")]
    IdempotencyMismatch,
    /// Fields of the request that don't fit together; nothing is stored.
    #[error("fields of the request don't fit together")]
    Contradictory(Vec<FieldError>),
    /// The merchant may not do business; nothing is stored, and the id may be used again.
    #[error(transparent)]
    NotVerified(#[from] NotVerified),
    /// The wallet has too little money; nothing is stored, and the id may be used again.
    #[error(transparent)]
    Unpaid(LedgerRefusal),
    /// There is no rate card, or it can't price this parcel.
    #[error("there is no price for this order")]
    NoRates,
    /// Absent, or somebody else's.
    #[error("there is no such order")]
    NotFound,
    /// It is on its way, or has ended: nothing can be taken back.
    #[error("the order can't be cancelled in the status {0}")]
    NotCancellable(&'static str),
    /// It does not need attention, or something is under way: nobody says yet that it came to nothing.
    #[error("the order can't be marked as failed in the status {0}")]
    NotMarkable(&'static str),
    /// The charge can't be given back as the books stand: nothing is changed, and it may be tried again.
    #[error("what the order cost can't be given back")]
    NotSettled,
    /// It was sent to a provider that takes nothing back.
    #[error("the provider may have the order and takes nothing back")]
    Sent,
    /// It has no such file, or its content was erased.
    #[error("there is no such file")]
    NoFile,
    /// Too many files are on their way.
    #[error("too many files are on their way")]
    Busy,
    /// A file can't be opened: a key is not configured, or it is damaged.
    #[error(transparent)]
    Sealed(#[from] OpenError),
    /// Unique indexes are missing: a duplicate could slip in. Run `waybill migrate`.
    #[error("required indexes are missing")]
    NotReady,
    /// The batch lane could not carry it out.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
}

impl From<transfers::Busy> for OrderError {
    fn from(_: transfers::Busy) -> Self {
        Self::Busy
    }
}

impl From<OrderError> for AppError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::IdempotencyMismatch => Self::new(
                ErrorKind::Invalid,
                "orders.idempotency_mismatch",
                "This clientOrderId was used for an order with another content; use a new one for a new order.",
            ),
            OrderError::Contradictory(fields) => Self::invalid(fields),
            OrderError::NotVerified(refusal) => refusal.into(),
            OrderError::Unpaid(refusal) => refusal.into(),
            OrderError::NoRates => Self::unavailable(
                "rates.unavailable",
                "There is no price list for this provider yet; an operator has to run `waybill migrate`.",
            ),
            OrderError::NotFound => Self::new(ErrorKind::NotFound, "orders.not_found", "There is no such order."),
            OrderError::NotCancellable(status) => Self::new(
                ErrorKind::Conflict,
                "orders.not_cancellable",
                format!("An order in the status {status} can't be cancelled."),
            ),
            OrderError::NotSettled => Self::new(
                ErrorKind::Conflict,
                "orders.not_settled",
                "What it cost can't be given back as the books stand, so nothing was changed. `waybill ledger check` \
                 says what is wrong with them; then try again.",
            ),
            OrderError::NotMarkable(status) => Self::new(
                ErrorKind::Conflict,
                "orders.not_markable",
                format!(
                    "Only an order that needs attention, and about which nothing is under way, can be marked as failed; this one is {status}."
                ),
            ),
            OrderError::Sent => Self::new(
                ErrorKind::Conflict,
                "orders.not_cancellable",
                "The order was sent, and its provider takes nothing back.",
            ),
            OrderError::NoFile => Self::new(ErrorKind::NotFound, "orders.no_file", "The order has no such file."),
            OrderError::Busy => Self::unavailable("orders.files_busy", "Too many files are on their way; try again."),
            OrderError::Sealed(error) => Self::internal(error),
            OrderError::NotReady => Self::not_migrated(),
            OrderError::Lane(error) => error.into(),
            OrderError::Database(error) => error.into(),
        }
    }
}
