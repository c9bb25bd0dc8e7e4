//! Owners of endpoints and deliveries: a merchant, or a tenant, whose manager looks after them.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::platform::{
    error::{AppError, ErrorKind},
    identity::{CurrentUser, MerchantOrManager, Role},
    ids::is_id,
};

/// The caller, and the owner of the endpoints.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) user: CurrentUser,
    /// `usr_...`, or `ten_...`.
    pub(super) id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Owner {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let MerchantOrManager(user) = MerchantOrManager::from_request_parts(parts, state).await?;
        let id = match user.role {
            Role::Manager => user.tenant_id.clone(),
            _ => Some(user.user_id.clone()),
        };
        let detail = "You look after no tenant, whose endpoints these would be.";
        let id = id.ok_or_else(|| AppError::new(ErrorKind::NotFound, "webhooks.no_tenant", detail))?;
        Ok(Self { user, id })
    }
}

pub(super) fn is_tenant(owner_id: &str) -> bool {
    is_id("ten", owner_id)
}

pub(super) fn tenant_of(owner_id: &str) -> Option<&str> {
    Some(owner_id).filter(|id| is_tenant(id))
}

pub(super) fn user_of(owner_id: &str) -> Option<&str> {
    Some(owner_id).filter(|id| !is_tenant(id))
}
