//! API keys, as far as a request shows one in place of an access token. Who knows them is `modules::auth`.

use std::net::IpAddr;

use async_trait::async_trait;
use axum::{
    extract::MatchedPath,
    http::{Method, request::Parts},
};

use super::{AccessToken, Gate, token_revoked};
use crate::platform::error::{AppError, ErrorKind};

/// How every key begins: access tokens begin otherwise, and scanners for secrets find it.
pub const API_KEY_PREFIX: &str = "wb_live_";

/// What a request that shows a key asks for.
#[derive(Clone, Copy, Debug)]
pub struct KeyRequest<'a> {
    pub method: &'a Method,
    /// Route as the router knows it, `/orders/{orderId}`; empty where it knows none.
    pub route: &'a str,
    /// The client's address.
    pub address: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyUser {
    /// `key_...`
    pub key_id: String,
    /// What an access token of the user's would say now.
    pub access: AccessToken,
}

#[async_trait]
pub trait ApiKeys: std::fmt::Debug + Send + Sync {
    /// Whom `key` stands for.
    ///
    /// # Errors
    /// 401 where it is no key (any more), 403 where it may not do what is asked or its user may not come in.
    async fn user_of(&self, key: &str, asked: KeyRequest<'_>) -> Result<ApiKeyUser, AppError>;
}

impl Gate {
    /// Whom the access token or API key of a request stands for, and which key it is.
    pub(super) async fn user_of(
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
