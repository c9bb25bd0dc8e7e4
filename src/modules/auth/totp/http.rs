//! `/auth/totp`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::super::{
    http::{Auth, AuthJson, SecretField},
    model::{check_otp, check_presented_password},
    service::AuthService,
};
use crate::platform::{
    error::{AppError, Problem},
    http::{ApiJson, NoQuery},
    identity::CurrentUser,
};

pub fn totp_router(service: Arc<AuthService>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(begin_totp, remove_totp))
        .routes(routes!(confirm_totp))
        .routes(routes!(renew_recovery_codes))
        .with_state(service)
}

/// The password, before a second factor begins.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BeginTotpRequest {
    #[validate(custom(function = "check_presented_password"))]
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 512)]
    current_password: SecretField,
}

/// The first code.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfirmTotpRequest {
    /// The authenticator's code.
    #[validate(custom(function = "check_otp"))]
    #[schema(value_type = String, min_length = 1, max_length = 64, example = "081804")]
    code: SecretField,
}

/// Password and code, before a second factor is changed.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecondFactorRequest {
    #[validate(custom(function = "check_presented_password"))]
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 512)]
    current_password: SecretField,
    /// A code of the authenticator, or a recovery code.
    #[validate(custom(function = "check_otp"))]
    #[schema(value_type = String, min_length = 1, max_length = 64, example = "081804")]
    code: SecretField,
}

/// The secret for an authenticator; it is shown here only.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BeginTotpResponse {
    /// Secret to type in, base 32: SHA-1, six digits, thirty seconds.
    #[schema(pattern = "^[A-Z2-7]{32}$")]
    secret: String,
    /// Address to show as a QR code.
    #[schema(
        example = "otpauth://totp/Waybill:asha%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Waybill"
    )]
    uri: String,
}

/// Codes for a lost authenticator; they are shown here only.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RecoveryCodesResponse {
    /// Each is good once, in place of a code.
    recovery_codes: Vec<String>,
}

impl From<Vec<SecretString>> for RecoveryCodesResponse {
    fn from(codes: Vec<SecretString>) -> Self {
        Self { recovery_codes: codes.iter().map(|code| code.expose_secret().to_owned()).collect() }
    }
}

/// Begin with a second factor: a secret for an authenticator app. Nothing is asked for before it is confirmed; doing it again
/// gives another secret.
#[utoipa::path(post, path = "/auth/totp", tag = "auth", security(("bearer" = [])), request_body = BeginTotpRequest, responses(
    (status = 200, description = "The secret. Confirm it within an hour.", body = BeginTotpResponse),
    (status = 403, description = "`auth.account_disabled`, `auth.not_with_key`", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`auth.totp_on`: codes are asked for already.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "`auth.wrong_password`, or some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
))]
async fn begin_totp(
    State(auth): Auth,
    user: CurrentUser,
    _: NoQuery,
    ApiJson(request): AuthJson<BeginTotpRequest>,
) -> Result<Json<BeginTotpResponse>, AppError> {
    let begun = auth.begin_totp(&user, &request.current_password).await?;
    let (secret, uri) = (begun.secret.expose_secret().to_owned(), begun.uri.expose_secret().to_owned());
    Ok(Json(BeginTotpResponse { secret, uri }))
}

/// Confirm the second factor by a first code. Signs out everywhere: the next sign-in asks for `otp`.
#[utoipa::path(post, path = "/auth/totp/confirm", tag = "auth", security(("bearer" = [])),
    request_body = ConfirmTotpRequest, responses(
    (status = 200, description = "Codes are asked for from now on. Keep the recovery codes.", body = RecoveryCodesResponse),
    (status = 403, description = "`auth.account_disabled`, `auth.not_with_key`", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`auth.totp_on`; `auth.totp_not_begun`: begin (again).", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "`auth.wrong_code`, or some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
))]
async fn confirm_totp(
    State(auth): Auth,
    user: CurrentUser,
    _: NoQuery,
    ApiJson(request): AuthJson<ConfirmTotpRequest>,
) -> Result<Json<RecoveryCodesResponse>, AppError> {
    Ok(Json(auth.confirm_totp(&user, &request.code).await?.into()))
}

/// Get other recovery codes, where those of before are lost or used up; they are void then. Sessions go on.
#[utoipa::path(post, path = "/auth/totp/recovery-codes", tag = "auth", security(("bearer" = [])),
    request_body = SecondFactorRequest, responses(
    (status = 200, description = "The codes, which are shown once. Where this answer is lost, ask again with the next code.", body = RecoveryCodesResponse),
    (status = 403, description = "`auth.account_disabled`, `auth.not_with_key`", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`auth.totp_off`: no codes are asked for.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "`auth.wrong_password`, `auth.wrong_code`, or some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
))]
async fn renew_recovery_codes(
    State(auth): Auth,
    user: CurrentUser,
    _: NoQuery,
    ApiJson(request): AuthJson<SecondFactorRequest>,
) -> Result<Json<RecoveryCodesResponse>, AppError> {
    let codes = auth.renew_recovery_codes(&user, &request.current_password, &request.code).await?;
    Ok(Json(codes.into()))
}

/// Do without a second factor again. Signs out everywhere.
#[utoipa::path(delete, path = "/auth/totp", tag = "auth", security(("bearer" = [])), request_body = SecondFactorRequest, responses(
    (status = 204, description = "No codes are asked for any more; recovery codes are void."),
    (status = 403, description = "`auth.account_disabled`, `auth.not_with_key`", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`auth.totp_off`: no codes are asked for.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "`auth.wrong_password`, `auth.wrong_code`, or some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
))]
async fn remove_totp(
    State(auth): Auth,
    user: CurrentUser,
    _: NoQuery,
    ApiJson(request): AuthJson<SecondFactorRequest>,
) -> Result<StatusCode, AppError> {
    auth.remove_totp(&user, &request.current_password, &request.code).await?;
    Ok(StatusCode::NO_CONTENT)
}
