//! How a use case of top-ups may fail.

use crate::{
    modules::{kyc::NotVerified, providers::payments::CallbackRefused},
    platform::{
        batch::LaneError,
        error::{AppError, ErrorKind},
        money::Money,
    },
};

/// Errors of a merchant's request; each variant is a decision for the caller.
#[derive(Debug, thiserror::Error)]
pub enum TopupError {
    /// There is no payment gateway.
    #[error("no payment gateway is configured")]
    NotConfigured,
    /// The id stands for a top-up of another amount: use a new one.
    #[error("the clientTopupId stands for another top-up")]
    IdempotencyMismatch,
    /// The merchant may not do business; nothing is stored, and the id may be used again.
    #[error(transparent)]
    NotVerified(#[from] NotVerified),
    /// A customer who is not verified may not have so much in the wallet; nothing is stored, and the id may be used again.
    #[error("over what an unverified customer's wallet may come to")]
    OverLimit {
        /// The limit.
        limit: Money,
    },
    /// Absent, or somebody else's.
    #[error("there is no such top-up")]
    NotFound,
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

impl From<TopupError> for AppError {
    fn from(error: TopupError) -> Self {
        match error {
            TopupError::NotConfigured => Self::unavailable(
                "topups.not_configured",
                "Wallets can't be topped up here: no payment gateway is configured.",
            ),
            TopupError::IdempotencyMismatch => Self::new(
                ErrorKind::Invalid,
                "topups.idempotency_mismatch",
                "This clientTopupId was used for a top-up of another amount; use a new one for a new top-up.",
            ),
            TopupError::NotVerified(refusal) => refusal.into(),
            TopupError::OverLimit { limit } => Self::new(
                ErrorKind::Forbidden,
                "topups.over_limit",
                format!("Your wallet may come to {limit} by top-ups; spend some of it first."),
            )
            .with("limit", limit),
            TopupError::NotFound => Self::new(ErrorKind::NotFound, "topups.not_found", "There is no such top-up."),
            TopupError::NotReady => Self::not_migrated(),
            TopupError::Lane(error) => error.into(),
            TopupError::Database(error) => error.into(),
        }
    }
}

/// Errors of a callback.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// No gateway of this name calls here.
    #[error("no such gateway")]
    UnknownProvider,
    /// Not believed, or not understood. Nothing is stored.
    #[error(transparent)]
    Refused(#[from] CallbackRefused),
    /// It is about no top-up of ours.
    #[error("there is no such payment")]
    UnknownPayment,
    /// Unique indexes are missing: an event could be taken twice.
    #[error("required indexes are missing")]
    NotReady,
    /// The batch lane could not carry it out; the gateway tells it again.
    #[error(transparent)]
    Lane(#[from] LaneError),
}

impl From<CallbackError> for AppError {
    fn from(error: CallbackError) -> Self {
        match error {
            CallbackError::UnknownProvider => {
                Self::new(ErrorKind::NotFound, "webhooks.unknown_provider", "No gateway of this name calls here.")
            }
            // One answer for both: how far a forged signature got is nobody's business.
            CallbackError::Refused(CallbackRefused::Unsigned | CallbackRefused::BadSignature) => {
                Self::new(ErrorKind::Unauthenticated, "webhooks.bad_signature", "The signature is missing or wrong.")
            }
            CallbackError::Refused(CallbackRefused::Stale) => Self::new(
                ErrorKind::Unauthenticated,
                "webhooks.stale",
                "The signature's time is too far from ours; sign it again.",
            ),
            CallbackError::Refused(CallbackRefused::Unreadable(part)) => Self::new(
                ErrorKind::Invalid,
                "webhooks.unreadable",
                format!("The callback is signed, but its {part} can't be used."),
            ),
            CallbackError::UnknownPayment => {
                Self::new(ErrorKind::NotFound, "webhooks.unknown_payment", "There is no such payment.")
            }
            CallbackError::NotReady => Self::not_migrated(),
            // Also what is our own fault: the gateway has to tell it again.
            CallbackError::Lane(error @ (LaneError::Busy | LaneError::Away | LaneError::Failed(_))) => {
                Self::unavailable("webhooks.not_taken", "This could not be written down at the moment; send it again.")
                    .caused_by(error)
            }
        }
    }
}
