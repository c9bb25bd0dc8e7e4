//! API keys, as far as a request shows one in place of an access token. Who knows them is `modules::auth`.

use std::net::IpAddr;

use async_trait::async_trait;
use axum::http::Method;

use super::tokens::AccessToken;
use crate::platform::error::AppError;

/// How every key begins: access tokens begin otherwise, and scanners for secrets find it.
pub const API_KEY_PREFIX: &str = "wb_live_";

/// A request with an API key.
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
    /// The content that an access token of the user would have now.
    pub access: AccessToken,
}

#[async_trait]
pub trait ApiKeys: std::fmt::Debug + Send + Sync {
    /// The user of `key`.
    ///
    /// # Errors
    /// 401 where it is no key (any more), 403 where it may not do what is asked or its user may not come in.
    async fn user_of(&self, key: &str, asked: KeyRequest<'_>) -> Result<ApiKeyUser, AppError>;
}
