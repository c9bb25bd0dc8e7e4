//! Authentication: the extractors by which a handler says which roles it serves.

mod about;
mod api_keys;
mod caller;
mod revocations;
pub mod tokens;
mod user;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{HeaderMap, header, request::Parts},
};

use super::{
    error::{AppError, ErrorKind},
    rate_limit::{CountedLimits, LimitedClient, RequestLimits},
};
use tokens::{AccessToken, TokenKeys};

pub use about::About;
pub use api_keys::{API_KEY_PREFIX, ApiKeyUser, ApiKeys, KeyRequest};
pub use caller::Caller;
pub use revocations::Revocations;
pub use user::{Actor, CurrentUser, Role};

/// Everything that the extractors need; the composition root puts it into every request's extensions.
#[derive(Clone)]
pub struct Gate {
    pub tokens: Arc<TokenKeys>,
    /// Tokens that are void before they expire.
    pub revocations: Revocations,
    /// Says who asks with an API key; none where nobody can.
    pub api_keys: Option<Arc<dyn ApiKeys>>,
    /// Limits requests; absent with `RATE_LIMIT=off`.
    pub limits: Option<RequestLimits>,
}

impl Gate {
    /// The user of the access token or API key of a request, and the key's id.
    async fn user_of(
        &self,
        token: &str,
        parts: &Parts,
        address: Option<IpAddr>,
    ) -> Result<(AccessToken, Option<String>), AppError> {
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        if let Some(keys) = self.api_keys.as_ref().filter(|_| token.starts_with(API_KEY_PREFIX)) {
            let asked = KeyRequest { method: &parts.method, route, address };
            let ApiKeyUser { key_id, access } = keys.user_of(token, asked).await?;
            return Ok((access, Some(key_id)));
        }
        let access = self.tokens.verify(token)?;
        if self.revocations.void(&access.user_id, access.access_version) {
            return Err(token_revoked());
        }
        match access.only.as_deref().filter(|only| !is_beneath(route, only)) {
            None => Ok((access, None)),
            Some(only) => Err(AppError::new(
                ErrorKind::Forbidden,
                "auth.token_limited",
                format!("This access token opens nothing but {only}; finish that, and sign in again."),
            )),
        }
    }
}

fn is_beneath(route: &str, only: &str) -> bool {
    route.strip_prefix(only).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where a layer around the routes finds who asked, once somebody has looked at the token.
#[derive(Clone, Debug, Default)]
pub struct SeenUser(Arc<OnceLock<CurrentUser>>);

impl SeenUser {
    /// The user; none where no token was good, or none was checked.
    #[must_use]
    pub fn get(&self) -> Option<&CurrentUser> {
        self.0.get()
    }
}

/// The access token of a request.
#[must_use]
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// 401: the token was good, and its user has signed out, been disabled or got another role since.
#[must_use]
pub fn token_revoked() -> AppError {
    let detail = "The access token is not good any more; refresh it or sign in again.";
    AppError::new(ErrorKind::Unauthenticated, "auth.token_revoked", detail)
}

impl<S: Send + Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let gate =
            parts.extensions.get::<Gate>().cloned().ok_or_else(|| {
                AppError::new(ErrorKind::Internal, "internal", "The router was built without a gate.")
            })?;
        let Ok(Caller { address, request_id }) = Caller::from_request_parts(parts, state).await;
        let token = bearer_token(&parts.headers).ok_or_else(|| {
            AppError::new(
                ErrorKind::Unauthenticated,
                "auth.required",
                "Send an access token or an API key as `Authorization: Bearer ...`.",
            )
        })?;
        let (access, key_id) = gate.user_of(token, parts, address).await?;
        let AccessToken { user_id, role, access_version, tenant_id, .. } = access;
        if let Some(limits) = &gate.limits {
            let counted = parts.extensions.get::<CountedLimits>();
            limits.count(LimitedClient::User(&user_id), counted)?;
            if let Some(key_id) = &key_id {
                limits.count(LimitedClient::Key(key_id), counted)?;
            }
        }
        let user = Self { user_id, role, access_version, tenant_id, key_id, address, request_id };
        if let Some(seen) = parts.extensions.get::<SeenUser>() {
            let _ = seen.0.set(user.clone());
        }
        Ok(user)
    }
}

fn only(user: CurrentUser, roles: &[Role]) -> Result<CurrentUser, AppError> {
    if roles.contains(&user.role) {
        Ok(user)
    } else {
        Err(AppError::new(ErrorKind::Forbidden, "auth.forbidden", "Your role does not allow this."))
    }
}

#[derive(Clone, Debug)]
pub struct Merchant(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for Merchant {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Merchant]).map(Self)
    }
}

#[derive(Clone, Debug)]
pub struct Customer(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for Customer {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Customer]).map(Self)
    }
}

/// A merchant or a customer, about its own money and what it buys.
#[derive(Clone, Debug)]
pub struct MerchantOrCustomer(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for MerchantOrCustomer {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Merchant, Role::Customer]).map(Self)
    }
}

/// A merchant, about its own data, or a manager, about the own tenant's.
#[derive(Clone, Debug)]
pub struct MerchantOrManager(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for MerchantOrManager {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Merchant, Role::Manager]).map(Self)
    }
}

/// Finance, about everybody's money.
#[derive(Clone, Debug)]
pub struct Finance(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for Finance {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Finance]).map(Self)
    }
}

/// Finance or an auditor, who may read everybody's money.
#[derive(Clone, Debug)]
pub struct FinanceReader(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for FinanceReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Finance, Role::Auditor]).map(Self)
    }
}

/// An administrator or an auditor, who may read everybody's applications.
#[derive(Clone, Debug)]
pub struct AdminReader(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for AdminReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Admin, Role::Auditor]).map(Self)
    }
}

/// A merchant, about its own data, or an administrator, about everybody's.
#[derive(Clone, Debug)]
pub struct MerchantOrAdmin(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for MerchantOrAdmin {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Merchant, Role::Admin]).map(Self)
    }
}

/// A merchant, about its own data, or somebody who may read everybody's.
#[derive(Clone, Debug)]
pub struct MerchantOrReader(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for MerchantOrReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let user = CurrentUser::from_request_parts(parts, state).await?;
        only(user, &[Role::Merchant, Role::Admin, Role::Auditor]).map(Self)
    }
}

/// A manager, about the own tenant, or an administrator, about every tenant.
#[derive(Clone, Debug)]
pub struct TenantReader(pub CurrentUser);

impl TenantReader {
    /// Whether `tenant_id` is one that it may read.
    #[must_use]
    pub fn reads(&self, tenant_id: &str) -> bool {
        self.0.role == Role::Admin || self.0.tenant_id.as_deref() == Some(tenant_id)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TenantReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Manager, Role::Admin]).map(Self)
    }
}

/// A merchant, about its own orders, a manager, about the tenant's, or finance or an administrator, about everybody's.
#[derive(Clone, Debug)]
pub struct SumsReader(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for SumsReader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let user = CurrentUser::from_request_parts(parts, state).await?;
        only(user, &[Role::Merchant, Role::Manager, Role::Finance, Role::Admin]).map(Self)
    }
}

#[derive(Clone, Debug)]
pub struct Admin(pub CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        only(CurrentUser::from_request_parts(parts, state).await?, &[Role::Admin]).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_token_opens_its_routes_alone() {
        for (route, opened) in
            [("/auth/totp", true), ("/auth/totp/confirm", true), ("/auth/totps", false), ("/auth", false), ("", false)]
        {
            assert_eq!(is_beneath(route, "/auth/totp"), opened, "{route}");
        }
    }
}
