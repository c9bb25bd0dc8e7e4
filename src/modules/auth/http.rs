//! Requests, answers and routes of `/auth`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::{
    model::{
        User, check_email, check_name, check_new_password, check_otp, check_presented_password, check_presented_token,
    },
    service::{AuthService, Tokens},
};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, Problem},
    http::{ApiJson, NoQuery},
    identity::{Caller, CurrentUser, Role, tokens::ACCESS_TOKEN_TTL},
    text,
};

pub fn router(service: Arc<AuthService>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(change_password))
        .routes(routes!(get_me, update_me))
        .with_state(service)
}

/// Bodies here hold a handful of short fields, and most come from people who are not signed in.
pub(super) const BODY_BYTES_MAX: usize = 8 * 1024;

pub(super) type Auth = State<Arc<AuthService>>;
pub(super) type AuthJson<T> = ApiJson<T, BODY_BYTES_MAX>;

/// A secret in a body. The validator wants to keep the values that it refuses, so this one serialises to nothing.
pub(super) struct SecretField(SecretString);

impl std::ops::Deref for SecretField {
    type Target = SecretString;

    fn deref(&self) -> &SecretString {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::verbatim::<String, D>(deserializer).map(|text| Self(SecretString::from(text)))
    }
}

impl Serialize for SecretField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// The role of a new account.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OwnRole {
    /// Sends parcels and sells.
    Merchant,
    /// Buys.
    Customer,
}

/// A new merchant or customer.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RegisterRequest {
    /// Case and surrounding white space don't count. Before `@` only ASCII; the domain in any script.
    #[serde(deserialize_with = "text::read_email")]
    #[validate(custom(function = "check_email"))]
    #[schema(format = Email, max_length = 254, example = "asha@example.com")]
    email: String,
    #[validate(custom(function = "check_new_password"))]
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 128)]
    password: SecretField,
    #[validate(custom(function = "check_name"))]
    #[schema(min_length = 1, max_length = 120, example = "Asha Rao")]
    name: String,
    /// By default `merchant`.
    role: Option<OwnRole>,
}

/// Credentials.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoginRequest {
    /// Case and surrounding white space don't count. Before `@` only ASCII; the domain in any script.
    #[serde(deserialize_with = "text::read_email")]
    #[validate(custom(function = "check_email"))]
    #[schema(format = Email, max_length = 254, example = "asha@example.com")]
    email: String,
    #[validate(custom(function = "check_presented_password"))]
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 512)]
    password: SecretField,
    /// A code of the authenticator, or a recovery code; only where `auth.otp_required` asks for it.
    #[validate(custom(function = "check_otp"))]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, example = "081804")]
    otp: Option<SecretField>,
}

/// A refresh token to exchange.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RefreshRequest {
    #[validate(custom(function = "check_presented_token"))]
    #[schema(value_type = String, min_length = 1, max_length = 512)]
    refresh_token: SecretField,
}

/// A refresh token whose session should end.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogoutRequest {
    #[validate(custom(function = "check_presented_token"))]
    #[schema(value_type = String, min_length = 1, max_length = 512)]
    refresh_token: SecretField,
}

/// The old password and the new one.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChangePasswordRequest {
    #[validate(custom(function = "check_presented_password"))]
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 512)]
    current_password: SecretField,
    #[validate(custom(function = "check_new_password"))]
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 128)]
    new_password: SecretField,
    /// Whether your API keys are revoked too; by default they are left. Say so where somebody else may have known the password.
    #[serde(default)]
    revoke_api_keys: bool,
}

/// Changes to one's own account.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateMeRequest {
    #[validate(custom(function = "check_name"))]
    #[schema(min_length = 1, max_length = 120, example = "Asha Rao")]
    name: String,
}

/// The proof of having signed in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TokenResponse {
    /// `usr_...`
    user_id: String,
    /// Send as `Authorization: Bearer ...`.
    access_token: String,
    /// Good once, at `/auth/refresh`, until 30 days after signing in; repeating a refresh within 30 seconds gives the same answer.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
    /// Null, or the only routes that the access token opens, by what their paths begin with: `/auth/totp` where you have to have a
    /// second factor, and have none yet.
    only: Option<&'static str>,
}

/// The signed-in user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MeResponse {
    /// `usr_...`
    user_id: String,
    email: String,
    name: String,
    role: Role,
    /// Time at which the user confirmed the address (`/auth/email/verify`); null where it has not.
    email_verified_at: Option<Rfc3339Time>,
    /// Time since which signing in asks for a code (`/auth/totp`); null where it doesn't.
    totp_since: Option<Rfc3339Time>,
    created_at: Rfc3339Time,
}

/// Open an account
#[utoipa::path(post, path = "/auth/register", tag = "auth", request_body = RegisterRequest, responses(
    (status = 201, description = "Account opened and signed in.", body = TokenResponse),
    (status = 409, description = "`auth.email_taken`", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
))]
async fn register(
    State(auth): Auth,
    caller: Caller,
    _: NoQuery,
    ApiJson(request): AuthJson<RegisterRequest>,
) -> Result<impl IntoResponse, AppError> {
    let role = match request.role {
        None | Some(OwnRole::Merchant) => Role::Merchant,
        Some(OwnRole::Customer) => Role::Customer,
    };
    let tokens = auth.register(&request.email, &request.password, &request.name, role, &caller).await?;
    Ok((StatusCode::CREATED, answer(&tokens)?))
}

/// Sign in. A browser's cookie of an earlier sign-in, or the user's access token, keeps others' wrong passwords from shutting
/// the user out.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = LoginRequest, responses(
    (status = 200, description = "Signed in.", body = TokenResponse),
    (status = 401, description = "`auth.invalid_credentials`; after the right password `auth.otp_required` or `auth.wrong_otp`", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "`auth.account_disabled`", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
))]
async fn login(
    State(auth): Auth,
    caller: Caller,
    headers: HeaderMap,
    _: NoQuery,
    ApiJson(request): AuthJson<LoginRequest>,
) -> Result<Response, AppError> {
    let otp = request.otp.as_deref();
    answer(&auth.login(&request.email, &request.password, otp, &headers, &caller).await?)
}

/// Exchange a refresh token
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = RefreshRequest, responses(
    (status = 200, description = "The next pair of tokens.", body = TokenResponse),
    (status = 401, description = "`auth.invalid_refresh`, `auth.refresh_reused`", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "`auth.account_disabled`", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
))]
async fn refresh(
    State(auth): Auth,
    caller: Caller,
    _: NoQuery,
    ApiJson(request): AuthJson<RefreshRequest>,
) -> Result<Response, AppError> {
    answer(&auth.refresh(&request.refresh_token, &caller).await?)
}

/// Sign out
#[utoipa::path(post, path = "/auth/logout", tag = "auth", request_body = LogoutRequest, responses(
    (status = 204, description = "Signed out, or not signed in to begin with."),
    (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
))]
async fn logout(
    State(auth): Auth,
    caller: Caller,
    _: NoQuery,
    ApiJson(request): AuthJson<LogoutRequest>,
) -> Result<StatusCode, AppError> {
    auth.logout(&request.refresh_token, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change the password; signs out everywhere. API keys are left, unless you say so.
#[utoipa::path(post, path = "/auth/password", tag = "auth", request_body = ChangePasswordRequest,
    security(("bearer" = [])), responses(
    (status = 204, description = "Changed; every refresh token and access token of the user has ended."),
    (status = 401, description = "No valid access token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "`auth.account_disabled`", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "`auth.wrong_password`, or some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
))]
async fn change_password(
    State(auth): Auth,
    user: CurrentUser,
    _: NoQuery,
    ApiJson(request): AuthJson<ChangePasswordRequest>,
) -> Result<StatusCode, AppError> {
    let ChangePasswordRequest { current_password, new_password, revoke_api_keys } = request;
    auth.change_password(&user, &current_password, &new_password, revoke_api_keys).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The signed-in user
#[utoipa::path(get, path = "/auth/me", tag = "auth", security(("bearer" = [])), responses(
    (status = 200, description = "The signed-in user.", body = MeResponse),
    (status = 401, description = "No valid access token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "`auth.account_disabled`", body = Problem, content_type = "application/problem+json"),
))]
async fn get_me(State(auth): Auth, user: CurrentUser, _: NoQuery) -> Result<Json<MeResponse>, AppError> {
    Ok(Json(auth.me(&user.user_id).await?.into()))
}

/// Change one's name
#[utoipa::path(patch, path = "/auth/me", tag = "auth", request_body = UpdateMeRequest, security(("bearer" = [])), responses(
    (status = 200, description = "The user with the new name.", body = MeResponse),
    (status = 401, description = "No valid access token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "`auth.account_disabled`", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
))]
async fn update_me(
    State(auth): Auth,
    user: CurrentUser,
    _: NoQuery,
    ApiJson(request): AuthJson<UpdateMeRequest>,
) -> Result<Json<MeResponse>, AppError> {
    Ok(Json(auth.rename(&user, &request.name).await?.into()))
}

impl From<User> for MeResponse {
    fn from(user: User) -> Self {
        Self {
            user_id: user.id,
            email: user.email,
            name: user.name,
            role: user.role,
            email_verified_at: user.email_verified_at.map(Rfc3339Time),
            totp_since: user.totp_since.map(Rfc3339Time),
            created_at: Rfc3339Time(user.created_at),
        }
    }
}

/// Tokens must not be kept by anybody on the way (RFC 6749, 5.1).
fn answer(tokens: &Tokens) -> Result<Response, AppError> {
    let body = TokenResponse {
        user_id: tokens.user_id.clone(),
        access_token: tokens.access.expose_secret().to_owned(),
        refresh_token: tokens.refresh.expose_secret().to_owned(),
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_TTL.as_secs(),
        only: tokens.only,
    };
    let mut response = ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response();
    if let Some(cookie) = &tokens.device_cookie {
        let cookie = HeaderValue::from_str(cookie).map_err(AppError::internal)?;
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{error::FieldError, http::read_json};

    /// Faults of a body, as `field code`.
    fn wrong<T: serde::de::DeserializeOwned + Validate>(body: serde_json::Value) -> Vec<String> {
        let fields: Vec<FieldError> =
            read_json::<T>(body.to_string().as_bytes()).err().map(|error| error.fields).unwrap_or_default();
        fields.iter().map(|error| format!("{} {}", error.field, error.code)).collect()
    }

    #[test]
    fn a_body_is_normalised_before_it_is_checked() {
        let body = serde_json::json!({"email": " Asha@Example.COM ", "password": " 0123456789 ", "name": " Asha "});
        let request: RegisterRequest = read_json(body.to_string().as_bytes()).expect("well-formed");
        assert_eq!((request.email.as_str(), request.name.as_str()), ("asha@example.com", "Asha"));
        assert_eq!(request.password.expose_secret(), " 0123456789 ", "passwords are taken as they are");
    }

    #[test]
    fn wrong_fields_are_named_as_the_client_wrote_them() {
        use serde_json::json;
        let register = wrong::<RegisterRequest>;
        assert_eq!(
            register(json!({"email": "nobody", "password": "short", "name": " "})),
            ["email email", "name length", "password length"]
        );
        assert_eq!(register(json!({"email": "a@example.com", "name": "A"})), ["password required"]);
        assert_eq!(register(json!({"email": "a@example.com", "password": 1, "name": "A"})), ["password type"]);
        assert_eq!(
            register(json!({"email": "a@example.com", "role": "admin"})),
            ["name required", "password required", "role unknown_value"]
        );
        assert_eq!(
            wrong::<ChangePasswordRequest>(json!({"currentPassword": "", "newPassword": "short"})),
            ["currentPassword length", "newPassword length"]
        );
        assert_eq!(wrong::<RefreshRequest>(json!({"refreshToken": ""})), ["refreshToken length"]);
        assert_eq!(
            wrong::<RefreshRequest>(json!({"refresh_token": "x"})),
            ["refreshToken required", "refresh_token unknown"]
        );
        assert_eq!(wrong::<LoginRequest>(json!({"email": "a@example.com", "password": "x"})), Vec::<String>::new());
    }
}
