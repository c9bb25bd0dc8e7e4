//! Requests, answers and routes of what links in letters do, and of which letters somebody wants. A form that a page of ours
//! sends is answered with a page, JSON with JSON.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::{
    http::{Auth, AuthJson, BODY_BYTES_MAX, SecretField},
    mail_topics::{MailChange, MailTopics},
    model::{check_email, check_new_password, check_presented_token},
    pages,
    service::AuthService,
};
use crate::platform::{
    error::{AppError, Problem},
    http::{ApiJson, ApiQuery, JsonOrForm, NoQuery},
    identity::{Caller, CurrentUser},
    text,
};

pub fn mail_router(service: Arc<AuthService>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(forgot_password))
        .routes(routes!(show_password_reset, reset_password_by_link))
        .routes(routes!(show_verification, verify_email))
        .routes(routes!(send_verification))
        .routes(routes!(get_mail, change_mail))
        .routes(routes!(show_unsubscribe, unsubscribe))
        .with_state(service)
}

/// The address of the account whose password is forgotten.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ForgotPasswordRequest {
    /// Case and surrounding white space don't count. Before `@` only ASCII; the domain in any script.
    #[serde(deserialize_with = "text::read_email")]
    #[validate(custom(function = "check_email"))]
    #[schema(format = Email, max_length = 254, example = "asha@example.com")]
    email: String,
}

/// The link that was sent, and another password.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResetPasswordRequest {
    /// `token` of the link.
    #[validate(custom(function = "check_presented_token"))]
    #[schema(value_type = String, min_length = 1, max_length = 512)]
    token: SecretField,
    #[validate(custom(function = "check_new_password"))]
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 128)]
    password: SecretField,
    /// Whether your API keys are left; by default they are revoked, because somebody else may have known the password.
    #[serde(default)]
    keep_api_keys: bool,
}

/// The link that was sent.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerifyEmailRequest {
    /// `token` of the link.
    #[validate(custom(function = "check_presented_token"))]
    #[schema(value_type = String, min_length = 1, max_length = 512)]
    token: SecretField,
}

/// The query of a link in a letter.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LinkQuery {
    /// The token of the link.
    #[validate(custom(function = "check_presented_token"))]
    #[param(value_type = String, min_length = 1, max_length = 512)]
    token: SecretField,
}

/// Letters that the user wants; what is left out stays as it is.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MailTopicsRequest {
    orders: Option<bool>,
    payments: Option<bool>,
    kyc: Option<bool>,
    webhooks: Option<bool>,
    sales: Option<bool>,
    stock: Option<bool>,
    reports: Option<bool>,
}

/// Letters that the user wants. Those about the account itself are always sent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MailTopicsResponse {
    /// An order failed or needs attention; what you have bought.
    orders: bool,
    /// Money came in.
    payments: bool,
    /// Decisions about the application.
    kyc: bool,
    /// An endpoint was disabled.
    webhooks: bool,
    /// A customer has bought something of yours.
    sales: bool,
    /// Little is left of a product of yours.
    stock: bool,
    /// Reports by the calendar.
    reports: bool,
}

impl From<MailTopics> for MailTopicsResponse {
    fn from(MailTopics { orders, payments, kyc, webhooks, sales, stock, reports }: MailTopics) -> Self {
        Self { orders, payments, kyc, webhooks, sales, stock, reports }
    }
}

/// Ask for a letter with a link to set another password. The answer is the same whether or not there is such an account.
#[utoipa::path(post, path = "/auth/password/forgot", tag = "auth", request_body = ForgotPasswordRequest, responses(
    (status = 204, description = "A letter follows where there is such an account; its link is good for an hour, once."),
    (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
))]
async fn forgot_password(
    State(auth): Auth,
    caller: Caller,
    _: NoQuery,
    ApiJson(request): AuthJson<ForgotPasswordRequest>,
) -> Result<StatusCode, AppError> {
    auth.request_password_reset(&request.email, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A page that asks for another password, to which the link in the letter leads
#[utoipa::path(get, path = "/auth/password/reset", tag = "auth", params(LinkQuery), responses(
    (status = 200, description = "The page. Opening it changes nothing.", body = String, content_type = "text/html"),
    (status = 422, description = "There is no token. Where the link is not good any more, a page says so.", body = Problem, content_type = "application/problem+json"),
))]
async fn show_password_reset(State(auth): Auth, ApiQuery(query): ApiQuery<LinkQuery>) -> Result<Response, AppError> {
    match auth.user_to_reset(&query.token).await {
        Ok(_) => pages::new_password(query.token.expose_secret(), None),
        Err(error) => pages::refused(&error.into()),
    }
}

/// Set another password by the link of a letter; signs out everywhere, and revokes API keys unless you say otherwise. The link is
/// good once.
#[utoipa::path(post, path = "/auth/password/reset", tag = "auth",
    request_body(content((ResetPasswordRequest = "application/json"), (ResetPasswordRequest = "application/x-www-form-urlencoded"))),
    responses(
    (status = 200, description = "The same for a form.", body = String, content_type = "text/html"),
    (status = 204, description = "Set; every refresh token and access token of the user has ended."),
    (status = 422, description = "`auth.invalid_link`, or some fields are not acceptable. A page where a form was sent.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
))]
async fn reset_password_by_link(
    State(auth): Auth,
    caller: Caller,
    _: NoQuery,
    body: JsonOrForm<ResetPasswordRequest, BODY_BYTES_MAX>,
) -> Result<Response, AppError> {
    let (request, is_form) = match body {
        JsonOrForm::Json(request) => (request, false),
        JsonOrForm::Form(Ok(request)) => (request, true),
        JsonOrForm::Form(Err(error)) => return pages::refused(&error),
    };
    let mut response =
        match auth.reset_password(&request.token, &request.password, !request.keep_api_keys, &caller).await {
            Ok(cookie) => {
                let done = if is_form { pages::password_set()? } else { StatusCode::NO_CONTENT.into_response() };
                (done, Some(cookie))
            }
            Err(error) if is_form => {
                let error = AppError::from(error);
                // The link is still good where only the password is not.
                let is_password = error.fields.iter().any(|field| field.field == "password");
                let token = request.token.expose_secret();
                let page = if is_password { pages::new_password(token, Some(&error)) } else { pages::refused(&error) };
                (page?, None)
            }
            Err(error) => return Err(error.into()),
        };
    if let Some(cookie) = response.1 {
        let cookie = HeaderValue::from_str(&cookie).map_err(AppError::internal)?;
        response.0.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response.0)
}

/// A page that asks whether an address is the reader's, to which the link in the letter leads
#[utoipa::path(get, path = "/auth/email/verify", tag = "auth", params(LinkQuery), responses(
    (status = 200, description = "The page. Opening it changes nothing.", body = String, content_type = "text/html"),
    (status = 422, description = "There is no token. Where the link is not good any more, a page says so.", body = Problem, content_type = "application/problem+json"),
))]
async fn show_verification(State(auth): Auth, ApiQuery(query): ApiQuery<LinkQuery>) -> Result<Response, AppError> {
    match auth.user_to_verify(&query.token).await {
        Ok(user) if user.email_verified_at.is_some() => pages::email_confirmed(),
        Ok(_) => pages::confirm_email(query.token.expose_secret()),
        Err(error) => pages::refused(&error.into()),
    }
}

/// Verify the e-mail address by the link of a letter. Safe to repeat.
#[utoipa::path(post, path = "/auth/email/verify", tag = "auth",
    request_body(content((VerifyEmailRequest = "application/json"), (VerifyEmailRequest = "application/x-www-form-urlencoded"))),
    responses(
    (status = 200, description = "The same for a form.", body = String, content_type = "text/html"),
    (status = 204, description = "Verified, now or before."),
    (status = 422, description = "`auth.invalid_link`, or some fields are not acceptable. A page where a form was sent.", body = Problem, content_type = "application/problem+json"),
))]
async fn verify_email(
    State(auth): Auth,
    caller: Caller,
    _: NoQuery,
    body: JsonOrForm<VerifyEmailRequest, BODY_BYTES_MAX>,
) -> Result<Response, AppError> {
    match body {
        JsonOrForm::Json(request) => {
            auth.verify_email(&request.token, &caller).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        JsonOrForm::Form(Ok(request)) => match auth.verify_email(&request.token, &caller).await {
            Ok(()) => pages::email_confirmed(),
            Err(error) => pages::refused(&error.into()),
        },
        JsonOrForm::Form(Err(error)) => pages::refused(&error),
    }
}

/// Ask for another letter with a link to verify the e-mail address
#[utoipa::path(post, path = "/auth/email/send-verification", tag = "auth", security(("bearer" = [])), responses(
    (status = 204, description = "A letter follows; its link is good for seven days."),
    (status = 401, description = "No valid access token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "`auth.account_disabled`", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`auth.email_verified`", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "`auth.too_many_attempts`", body = Problem, content_type = "application/problem+json"),
))]
async fn send_verification(State(auth): Auth, user: CurrentUser, _: NoQuery) -> Result<StatusCode, AppError> {
    auth.request_verification(&user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Letters that the user wants
#[utoipa::path(get, path = "/auth/me/mail", tag = "auth", security(("bearer" = [])), responses(
    (status = 200, body = MailTopicsResponse),
    (status = 401, description = "No valid access token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "`auth.account_disabled`", body = Problem, content_type = "application/problem+json"),
))]
async fn get_mail(State(auth): Auth, user: CurrentUser, _: NoQuery) -> Result<Json<MailTopicsResponse>, AppError> {
    Ok(Json(auth.mail_topics(&user.user_id).await?.into()))
}

/// Choose which letters to get; what is left out stays as it is. Those about the account itself are always sent.
#[utoipa::path(put, path = "/auth/me/mail", tag = "auth", request_body = MailTopicsRequest, security(("bearer" = [])), responses(
    (status = 200, description = "The letters that the user wants now.", body = MailTopicsResponse),
    (status = 401, description = "No valid access token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "`auth.account_disabled`", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
))]
async fn change_mail(
    State(auth): Auth,
    user: CurrentUser,
    _: NoQuery,
    ApiJson(request): AuthJson<MailTopicsRequest>,
) -> Result<Json<MailTopicsResponse>, AppError> {
    let MailTopicsRequest { orders, payments, kyc, webhooks, sales, stock, reports } = request;
    let change = MailChange { orders, payments, kyc, webhooks, sales, stock, reports };
    Ok(Json(auth.change_mail(&user, change).await?.into()))
}

/// A page that asks whether somebody wants no more letters, to which the link in a letter leads
#[utoipa::path(get, path = "/unsubscribe", tag = "auth", params(LinkQuery), responses(
    (status = 200, description = "The page. Opening it changes nothing.", body = String, content_type = "text/html"),
    (status = 422, description = "There is no token. Where the link is not good, a page says so.", body = Problem, content_type = "application/problem+json"),
))]
async fn show_unsubscribe(State(auth): Auth, ApiQuery(query): ApiQuery<LinkQuery>) -> Result<Response, AppError> {
    match auth.topic_to_unsubscribe(&query.token) {
        Ok(topic) => pages::confirm_unsubscribe(topic),
        Err(error) => pages::refused(&error.into()),
    }
}

/// Get no more letters about what the link in a letter says, with one click and without signing in (RFC 8058). Safe to repeat.
/// The body is not read.
#[utoipa::path(post, path = "/unsubscribe", tag = "auth", params(LinkQuery), responses(
    (status = 200, description = "A page that says so.", body = String, content_type = "text/html"),
    (status = 422, description = "There is no token. Where the link is not good, a page says so.", body = Problem, content_type = "application/problem+json"),
))]
async fn unsubscribe(
    State(auth): Auth,
    caller: Caller,
    ApiQuery(query): ApiQuery<LinkQuery>,
) -> Result<Response, AppError> {
    match auth.unsubscribe(&query.token, &caller).await {
        Ok(topic) => pages::unsubscribed(topic),
        Err(error) => pages::refused(&error.into()),
    }
}
