//! `/auth/api-keys`, and `/users/{userId}/api-keys` for administrators.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, State},
    http::StatusCode,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    super::{
        http::SecretField,
        model::{check_otp, check_presented_password},
        service::AuthService,
        users::Requester,
    },
    model::{ApiKey, NAME_CHARS_MAX},
    ring::KeyRing,
    scopes::Scope,
};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, Problem},
    http::{
        ApiJson, ApiPath, NoQuery,
        checks::{ensure, fault, harmless},
    },
    identity::{About, Admin, CurrentUser},
    text::holds_unseen,
};

const BODY_BYTES_MAX: usize = 8 * 1024;

/// Keys, and who makes one shows who it is.
#[derive(Clone)]
struct ApiKeyState {
    keys: KeyRing,
    auth: Arc<AuthService>,
}

impl FromRef<ApiKeyState> for KeyRing {
    fn from_ref(parts: &ApiKeyState) -> Self {
        parts.keys.clone()
    }
}

pub fn api_keys_router(keys: KeyRing, auth: Arc<AuthService>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create_api_key, list_api_keys))
        .routes(routes!(revoke_api_key))
        .routes(routes!(list_user_api_keys))
        .routes(routes!(revoke_user_api_key))
        .with_state(ApiKeyState { keys, auth })
}

/// A new API key.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateApiKeyRequest {
    /// A name of your choice; no personal data and no secrets.
    #[validate(custom(function = "check_name"))]
    #[schema(min_length = 1, max_length = 60, example = "Warehouse server")]
    name: String,
    /// Permissions of the key. A scope opens nothing that your role doesn't.
    #[validate(length(min = 1, max = 50))]
    #[schema(min_items = 1, max_items = 50, example = json!(["orders:read", "orders:write"]))]
    scopes: Vec<Scope>,
    /// Time at which it expires; without it, it is good until it is revoked.
    expires_at: Option<Rfc3339Time>,
    /// Once more: the key outlives your session.
    #[validate(custom(function = "check_presented_password"))]
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 512)]
    current_password: SecretField,
    /// A code of the authenticator, or a recovery code; where you have a second factor.
    #[validate(custom(function = "check_otp"))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, example = "081804")]
    code: Option<SecretField>,
}

/// An API key, without what is secret of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApiKeyResponse {
    #[schema(example = "key_0198f0c2b1e07c3e8a41b5d0f3a2c4e6")]
    key_id: String,
    name: String,
    scopes: Vec<Scope>,
    /// Time at which it expires; null where it is good until it is revoked.
    expires_at: Option<Rfc3339Time>,
    /// Time of the last use, to about a minute; null where it was never used.
    last_used_at: Option<Rfc3339Time>,
    created_at: Rfc3339Time,
}

/// A new API key, as it is shown once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewApiKeyResponse {
    /// Send it as `Authorization: Bearer wb_live_...`. It is not to be had again.
    #[schema(pattern = "^wb_live_[0-9a-f]{32}_[0-9a-z]{60}$")]
    key: String,
    #[serde(flatten)]
    described: ApiKeyResponse,
}

/// API keys.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApiKeyListResponse {
    /// Newest first; those that are revoked are not among them.
    items: Vec<ApiKeyResponse>,
    /// Always null: there are few.
    next_cursor: Option<String>,
}

impl From<ApiKey> for ApiKeyResponse {
    fn from(key: ApiKey) -> Self {
        Self {
            key_id: key.id,
            name: key.name,
            scopes: key.scopes,
            expires_at: key.expires_at.map(Rfc3339Time),
            last_used_at: key.last_used_at.map(Rfc3339Time),
            created_at: Rfc3339Time(key.created_at),
        }
    }
}

impl From<Vec<ApiKey>> for ApiKeyListResponse {
    fn from(keys: Vec<ApiKey>) -> Self {
        Self { items: keys.into_iter().map(Into::into).collect(), next_cursor: None }
    }
}

/// Administrators read it too.
fn check_name(name: &str) -> Result<(), ValidationError> {
    if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
        return Err(fault("length", format!("must have between 1 and {NAME_CHARS_MAX} characters")));
    }
    let unseen = "must not hold control characters or others that nobody can see";
    ensure(!holds_unseen(name), "characters", unseen)?;
    harmless(name)
}

/// Make an API key for a server. The key is in this answer and nowhere else. A token alone makes none: the password is asked for,
/// and a code where you have a second factor. Not with an API key.
#[utoipa::path(post, path = "/auth/api-keys", tag = "auth", security(("bearer" = [])),
    request_body = CreateApiKeyRequest, responses(
        (status = 201, description = "The key, which is shown once.", body = NewApiKeyResponse),
        (status = 409, description = "`auth.too_many_keys`: twenty are there already.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`auth.wrong_password`, `auth.wrong_code`, or some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create_api_key(
    State(ApiKeyState { keys, auth }): State<ApiKeyState>,
    user: CurrentUser,
    _: NoQuery,
    ApiJson(request): ApiJson<CreateApiKeyRequest, BODY_BYTES_MAX>,
) -> Result<(StatusCode, Json<NewApiKeyResponse>), AppError> {
    let expires_at = request.expires_at.map(|at| at.0);
    let second_factor = auth.show_again(&user, &request.current_password, request.code.as_deref()).await?;
    let (key, described) = keys.make(&user, second_factor, request.name, request.scopes, expires_at).await?;
    let body = NewApiKeyResponse { key: key.expose_secret().to_owned(), described: described.into() };
    Ok((StatusCode::CREATED, Json(body)))
}

/// Your API keys. Not with an API key.
#[utoipa::path(get, path = "/auth/api-keys", tag = "auth", security(("bearer" = [])),
    responses((status = 200, body = ApiKeyListResponse)))]
async fn list_api_keys(
    State(keys): State<KeyRing>,
    user: CurrentUser,
    _: NoQuery,
) -> Result<Json<ApiKeyListResponse>, AppError> {
    Ok(Json(keys.list(&user.user_id).await?.into()))
}

/// Revoke an API key of yours. Safe to repeat. Not with an API key.
#[utoipa::path(delete, path = "/auth/api-keys/{keyId}", tag = "auth", security(("bearer" = [])),
    params(("keyId" = String, Path, description = "`key_...`")), responses(
        (status = 204, description = "The key opens nothing within seconds."),
        (status = 404, description = "`auth.no_such_key`", body = Problem, content_type = "application/problem+json"),
    ))]
async fn revoke_api_key(
    State(keys): State<KeyRing>,
    user: CurrentUser,
    _: NoQuery,
    ApiPath(key_id): ApiPath<String>,
) -> Result<StatusCode, AppError> {
    keys.revoke(Requester::User(&user), &user.user_id, &key_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A user's API keys. Reading is recorded.
#[utoipa::path(get, path = "/users/{userId}/api-keys", tag = "users", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`")), responses(
        (status = 200, body = ApiKeyListResponse),
        (status = 404, description = "No such user.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_user_api_keys(
    State(keys): State<KeyRing>,
    _: Admin,
    _: NoQuery,
    ApiPath(user_id): ApiPath<String>,
) -> Result<(axum::Extension<About>, Json<ApiKeyListResponse>), AppError> {
    let found = keys.list_of_user(&user_id).await?;
    Ok((axum::Extension(About::new(None, Some(&user_id))), Json(found.into())))
}

/// Revokes a user's API key. Safe to repeat.
#[utoipa::path(delete, path = "/users/{userId}/api-keys/{keyId}", tag = "users", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`"), ("keyId" = String, Path, description = "`key_...`")),
    responses(
        (status = 204, description = "The key opens nothing within seconds."),
        (status = 404, description = "`auth.no_such_key`", body = Problem, content_type = "application/problem+json"),
    ))]
async fn revoke_user_api_key(
    State(keys): State<KeyRing>,
    Admin(admin): Admin,
    _: NoQuery,
    ApiPath((user_id, key_id)): ApiPath<(String, String)>,
) -> Result<StatusCode, AppError> {
    keys.revoke(Requester::User(&admin), &user_id, &key_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
