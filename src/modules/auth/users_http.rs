//! Requests, answers and routes of `/users`, for administrators.

use axum::{Json, extract::State, http::StatusCode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    model::User,
    store::UserFilter,
    users::{Requester, Users},
};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, Problem},
    http::{ApiJson, ApiPath, ApiQuery, NoQuery, cursor},
    identity::{About, Admin, Role},
    text,
};

const PAGE: usize = 20;
const BODY_BYTES_MAX: usize = 8 * 1024;

pub fn users_router(users: Users) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_users))
        .routes(routes!(get_user, update_user))
        .routes(routes!(end_sessions))
        .routes(routes!(reset_password))
        .routes(routes!(reset_totp))
        .with_state(users)
}

/// `GET /users`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListUsersQuery {
    /// Users on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "user_cursor"))]
    cursor: Option<String>,
    /// The user with this address.
    #[serde(default, deserialize_with = "text::read_email_if_any")]
    #[validate(length(min = 1, max = 254))]
    email: Option<String>,
    /// Role.
    #[param(inline)]
    role: Option<Role>,
    /// Disabled users, or the others; all by default.
    disabled: Option<bool>,
}

fn user_cursor(cursor: &str) -> Result<(), ValidationError> {
    cursor::check_id("usr", cursor)
}

/// Changes by an administrator; what is left out stays as it is.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateUserRequest {
    /// Another role ends every session.
    role: Option<Role>,
    /// True ends every session, and nobody signs in; false lets the user sign in again.
    disabled: Option<bool>,
}

/// A user, as administrators see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserResponse {
    /// `usr_...`
    user_id: String,
    email: String,
    name: String,
    role: Role,
    /// The tenant that it belongs to.
    tenant_id: Option<String>,
    disabled: bool,
    disabled_at: Option<Rfc3339Time>,
    /// Time at which the user confirmed the address; null where it was not asked to, or has not.
    email_verified_at: Option<Rfc3339Time>,
    /// Time since which signing in asks for a code; null where it doesn't.
    totp_since: Option<Rfc3339Time>,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

/// A page of users.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UserListResponse {
    /// Newest first.
    items: Vec<UserResponse>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// `POST /users/{userId}/reset-password`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ResetPasswordQuery {
    /// Send the user a link to set a password, good for an hour, instead of showing a temporary one here.
    #[param(default = false)]
    send_link: Option<bool>,
}

/// A user's new password.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ResetPasswordResponse {
    /// `usr_...`
    user_id: String,
    /// A password for the user, who should change it at `/auth/password`; it is shown here only. Null where a link is sent.
    temporary_password: Option<String>,
    /// Whether the user is sent a link to set one.
    link_sent: bool,
}

impl From<User> for UserResponse {
    fn from(user: User) -> Self {
        Self {
            user_id: user.id,
            email: user.email,
            name: user.name,
            role: user.role,
            tenant_id: user.tenant_id,
            disabled: user.disabled_at.is_some(),
            disabled_at: user.disabled_at.map(Rfc3339Time),
            email_verified_at: user.email_verified_at.map(Rfc3339Time),
            totp_since: user.totp_since.map(Rfc3339Time),
            created_at: Rfc3339Time(user.created_at),
            updated_at: Rfc3339Time(user.updated_at),
        }
    }
}

/// Users, newest first. Reading is recorded.
#[utoipa::path(get, path = "/users", tag = "users", security(("bearer" = [])), params(ListUsersQuery), responses(
    (status = 200, body = UserListResponse),
    (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
))]
async fn list_users(
    State(users): State<Users>,
    _: Admin,
    ApiQuery(query): ApiQuery<ListUsersQuery>,
) -> Result<Json<UserListResponse>, AppError> {
    let filter = UserFilter {
        email: query.email,
        role: query.role,
        disabled: query.disabled,
        after: query.cursor,
        ..UserFilter::default()
    };
    let page = users.list(&filter, query.limit.unwrap_or(PAGE)).await?;
    Ok(Json(UserListResponse { items: page.shown.into_iter().map(Into::into).collect(), next_cursor: page.next }))
}

/// One user. Reading is recorded.
#[utoipa::path(get, path = "/users/{userId}", tag = "users", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`")), responses(
    (status = 200, body = UserResponse),
    (status = 404, description = "No such user.", body = Problem, content_type = "application/problem+json"),
))]
async fn get_user(
    State(users): State<Users>,
    _: Admin,
    _: NoQuery,
    ApiPath(user_id): ApiPath<String>,
) -> Result<(axum::Extension<About>, Json<UserResponse>), AppError> {
    let user = users.get(&user_id).await?;
    Ok((axum::Extension(About::new(None, Some(&user.id))), Json(user.into())))
}

/// Gives a user another role, disables the user, or lets it in again. Safe to repeat.
#[utoipa::path(patch, path = "/users/{userId}", tag = "users", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`")), request_body = UpdateUserRequest, responses(
    (status = 200, description = "The user as it is now. What was taken away is gone within seconds.", body = UserResponse),
    (status = 404, description = "No such user.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`users.own_account`", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
))]
async fn update_user(
    State(users): State<Users>,
    Admin(admin): Admin,
    _: NoQuery,
    ApiPath(user_id): ApiPath<String>,
    ApiJson(request): ApiJson<UpdateUserRequest, BODY_BYTES_MAX>,
) -> Result<Json<UserResponse>, AppError> {
    Ok(Json(users.update(Requester::User(&admin), &user_id, request.role, request.disabled).await?.into()))
}

/// Ends every session of a user: whoever is signed in has to sign in again.
#[utoipa::path(post, path = "/users/{userId}/end-sessions", tag = "users", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`")), responses(
    (status = 204, description = "The sessions have ended; access tokens open nothing within seconds."),
    (status = 404, description = "No such user.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`users.own_account`", body = Problem, content_type = "application/problem+json"),
))]
async fn end_sessions(
    State(users): State<Users>,
    Admin(admin): Admin,
    _: NoQuery,
    ApiPath(user_id): ApiPath<String>,
) -> Result<StatusCode, AppError> {
    users.end_sessions(Requester::User(&admin), &user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a user a random password in place of the own one, and ends every session. The password is answered, or (`sendLink`)
/// nobody learns it and the user is sent a link to set another one.
#[utoipa::path(post, path = "/users/{userId}/reset-password", tag = "users", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`"), ResetPasswordQuery), responses(
    (status = 200, description = "The new password, or that a link is sent.", body = ResetPasswordResponse),
    (status = 404, description = "No such user.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`users.own_account`; `users.no_mail` where a link was asked for and no mail server is set up", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "`auth.busy`", body = Problem, content_type = "application/problem+json"),
))]
async fn reset_password(
    State(users): State<Users>,
    Admin(admin): Admin,
    ApiPath(user_id): ApiPath<String>,
    ApiQuery(query): ApiQuery<ResetPasswordQuery>,
) -> Result<Json<ResetPasswordResponse>, AppError> {
    let link_sent = query.send_link.unwrap_or(false);
    let password = users.reset_password(Requester::User(&admin), &user_id, link_sent).await?;
    let temporary_password = (!link_sent).then(|| password.expose_secret().to_owned());
    Ok(Json(ResetPasswordResponse { user_id, temporary_password, link_sent }))
}

/// Takes away the second factor of a user who has lost it, with its recovery codes, and ends every session. Safe to repeat.
#[utoipa::path(delete, path = "/users/{userId}/totp", tag = "users", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`")), responses(
    (status = 204, description = "The next sign-in asks for the password alone, until the user begins with another one."),
    (status = 404, description = "No such user.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "`users.own_account`", body = Problem, content_type = "application/problem+json"),
))]
async fn reset_totp(
    State(users): State<Users>,
    Admin(admin): Admin,
    _: NoQuery,
    ApiPath(user_id): ApiPath<String>,
) -> Result<StatusCode, AppError> {
    users.reset_totp(Requester::User(&admin), &user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
