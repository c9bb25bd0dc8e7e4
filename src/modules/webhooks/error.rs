//! How a use case of webhooks may fail.

use super::model::ENDPOINTS_MAX;
use crate::{
    modules::auth::{AuthError, Scope},
    platform::{
        batch::LaneError,
        error::{AppError, ErrorKind, FieldError},
        exchange::UrlFault,
        sealing::OpenError,
    },
};

/// Each variant is a decision for the caller.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The endpoint is absent, or somebody else's.
    #[error("there is no such endpoint")]
    NoEndpoint,
    /// The delivery is absent, or somebody else's.
    #[error("there is no such delivery")]
    NoDelivery,
    /// The owner has as many endpoints as anybody may have.
    #[error("there are too many endpoints")]
    TooMany,
    /// The API key that asks does not read what would be posted.
    #[error("the API key lacks the scope {}", .0.as_str())]
    NoScope(Scope),
    /// Nothing may be posted there.
    #[error("the URL is not acceptable")]
    Url(UrlFault),
    /// The endpoint is disabled: enable it first.
    #[error("the endpoint is disabled")]
    Disabled,
    /// The endpoint of the delivery was deleted.
    #[error("the endpoint was deleted")]
    Deleted,
    /// A replay is under way: wait for its end.
    #[error("a replay is under way")]
    ReplayUnderWay,
    /// The secrets were changed by somebody else at the same time: ask again.
    #[error("the secrets were changed meanwhile")]
    RotatedMeanwhile,
    /// Unique indexes are missing. Run `waybill migrate`.
    #[error("required indexes are missing")]
    NotReady,
    /// The endpoint's secrets can't be opened.
    #[error(transparent)]
    Sealed(#[from] OpenError),
    /// The batch lane could not carry it out.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
}

impl From<WebhookError> for AppError {
    fn from(error: WebhookError) -> Self {
        let conflict = |code, detail: &'static str| Self::new(ErrorKind::Conflict, code, detail);
        match error {
            WebhookError::NoEndpoint => {
                Self::new(ErrorKind::NotFound, "webhooks.no_endpoint", "There is no such endpoint.")
            }
            WebhookError::NoScope(scope) => AuthError::NoScope(scope).into(),
            WebhookError::NoDelivery => {
                Self::new(ErrorKind::NotFound, "webhooks.no_delivery", "There is no such delivery.")
            }
            WebhookError::TooMany => Self::new(
                ErrorKind::Conflict,
                "webhooks.too_many_endpoints",
                format!("There are {ENDPOINTS_MAX} endpoints already; delete one first."),
            ),
            WebhookError::Url(fault) => {
                let code = if fault == UrlFault::Address { "webhooks.address_refused" } else { "format" };
                Self::invalid(vec![FieldError::new("url", code, fault.sentence())])
            }
            WebhookError::Disabled => {
                conflict("webhooks.endpoint_disabled", "The endpoint is disabled; enable it first.")
            }
            WebhookError::Deleted => {
                conflict("webhooks.endpoint_deleted", "The endpoint of this delivery was deleted.")
            }
            WebhookError::ReplayUnderWay => {
                conflict("webhooks.replay_under_way", "A replay to this endpoint is under way; wait for its end.")
            }
            WebhookError::RotatedMeanwhile => {
                conflict("webhooks.rotated_meanwhile", "The secret was changed by somebody else at the same time.")
            }
            WebhookError::NotReady => Self::not_migrated(),
            WebhookError::Sealed(error) => Self::internal(error),
            WebhookError::Lane(error) => error.into(),
            WebhookError::Database(error) => error.into(),
        }
    }
}
