//! `/tenants`: who belongs together. Administrators write; a manager reads the own one.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::{
    model::{Tenant, TenantSettings, check_name, check_settings, check_slug},
    service::{TenantService, ensure_readable},
};
use crate::{
    modules::auth::User,
    platform::{
        clock::Rfc3339Time,
        error::{AppError, FieldError, Problem},
        http::{ApiJson, ApiPath, ApiQuery, NoQuery},
        identity::{About, Admin, Role, TenantReader},
        ids::is_id,
        walk::paged,
    },
};

const PAGE: usize = 20;
const BODY_BYTES_MAX: usize = 8 * 1024;

pub fn router(service: TenantService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create_tenant, list_tenants))
        .routes(routes!(get_tenant, update_tenant))
        .routes(routes!(list_members))
        .routes(routes!(add_member, remove_member))
        .with_state(service)
}

/// `POST /tenants`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateTenantRequest {
    /// A short name for addresses of pages; it can't be changed.
    #[validate(custom(function = "check_slug"))]
    #[schema(example = "kiran-stores", min_length = 2, max_length = 40)]
    slug: String,
    #[validate(length(min = 1, max = 120), custom(function = "check_name"))]
    name: String,
    #[validate(custom(function = "check_settings"))]
    settings: Option<TenantSettings>,
}

/// `PATCH /tenants/{tenantId}`: what is left out stays as it is; settings are replaced as a whole.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateTenantRequest {
    #[validate(length(min = 1, max = 120), custom(function = "check_name"))]
    name: Option<String>,
    #[validate(custom(function = "check_settings"))]
    settings: Option<TenantSettings>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TenantResponse {
    #[schema(example = "ten_0198f0c2b1e07c3e8a41b5d0f3a2c4e6")]
    tenant_id: String,
    slug: String,
    name: String,
    settings: TenantSettings,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

impl From<Tenant> for TenantResponse {
    fn from(tenant: Tenant) -> Self {
        Self {
            tenant_id: tenant.id,
            slug: tenant.slug,
            name: tenant.name,
            settings: tenant.settings,
            created_at: Rfc3339Time(tenant.created_at),
            updated_at: Rfc3339Time(tenant.updated_at),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TenantListResponse {
    /// Newest first.
    items: Vec<TenantResponse>,
    next_cursor: Option<String>,
}

/// A user who belongs to the tenant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MemberResponse {
    user_id: String,
    email: String,
    name: String,
    role: Role,
    disabled: bool,
    joined_at: Option<Rfc3339Time>,
}

impl From<User> for MemberResponse {
    fn from(user: User) -> Self {
        Self {
            user_id: user.id,
            email: user.email,
            name: user.name,
            role: user.role,
            disabled: user.disabled_at.is_some(),
            joined_at: user.tenant_since.map(Rfc3339Time),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MemberListResponse {
    /// Newest users first.
    items: Vec<MemberResponse>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Entries of a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    /// The id after which the page begins, and its length.
    fn place(self, prefix: &str) -> Result<(Option<String>, usize), AppError> {
        if self.cursor.as_deref().is_some_and(|cursor| !is_id(prefix, cursor)) {
            let wrong = FieldError::new("cursor", "format", "must be the nextCursor of the page before");
            return Err(AppError::invalid(vec![wrong]));
        }
        Ok((self.cursor, self.limit.unwrap_or(PAGE)))
    }
}

/// Creates a tenant.
#[utoipa::path(post, path = "/tenants", tag = "tenants", security(("bearer" = [])), request_body = CreateTenantRequest,
    responses(
        (status = 201, body = TenantResponse),
        (status = 409, description = "`tenants.slug_taken`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create_tenant(
    State(service): State<TenantService>,
    Admin(admin): Admin,
    _: NoQuery,
    ApiJson(request): ApiJson<CreateTenantRequest, BODY_BYTES_MAX>,
) -> Result<(StatusCode, Json<TenantResponse>), AppError> {
    let settings = request.settings.unwrap_or_default();
    let tenant = service.create(&admin, request.slug, request.name, settings).await?;
    Ok((StatusCode::CREATED, Json(tenant.into())))
}

/// Tenants, newest first; a manager's is the own one.
#[utoipa::path(get, path = "/tenants", tag = "tenants", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, body = TenantListResponse)))]
async fn list_tenants(
    State(service): State<TenantService>,
    reader: TenantReader,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<TenantListResponse>, AppError> {
    let (after, limit) = query.place("ten")?;
    let tenants = service.list(&reader, after.as_deref(), limit + 1).await?;
    let page = paged(tenants, limit, None, |tenant| &tenant.id);
    Ok(Json(TenantListResponse { items: page.shown.into_iter().map(Into::into).collect(), next_cursor: page.next }))
}

/// One tenant.
#[utoipa::path(get, path = "/tenants/{tenantId}", tag = "tenants", security(("bearer" = [])),
    params(("tenantId" = String, Path, description = "`ten_...`")),
    responses(
        (status = 200, body = TenantResponse),
        (status = 404, description = "No such tenant, or not yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_tenant(
    State(service): State<TenantService>,
    reader: TenantReader,
    _: NoQuery,
    ApiPath(tenant_id): ApiPath<String>,
) -> Result<Json<TenantResponse>, AppError> {
    Ok(Json(service.get(&reader, &tenant_id).await?.into()))
}

/// Changes the name or the settings of a tenant.
#[utoipa::path(patch, path = "/tenants/{tenantId}", tag = "tenants", security(("bearer" = [])),
    params(("tenantId" = String, Path, description = "`ten_...`")), request_body = UpdateTenantRequest,
    responses(
        (status = 200, body = TenantResponse),
        (status = 404, description = "No such tenant.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn update_tenant(
    State(service): State<TenantService>,
    Admin(admin): Admin,
    _: NoQuery,
    ApiPath(tenant_id): ApiPath<String>,
    ApiJson(request): ApiJson<UpdateTenantRequest, BODY_BYTES_MAX>,
) -> Result<Json<TenantResponse>, AppError> {
    Ok(Json(service.update(&admin, tenant_id, request.name, request.settings).await?.into()))
}

/// Members of a tenant. Reading is recorded.
#[utoipa::path(get, path = "/tenants/{tenantId}/members", tag = "tenants", security(("bearer" = [])),
    params(("tenantId" = String, Path, description = "`ten_...`"), PageQuery),
    responses(
        (status = 200, body = MemberListResponse),
        (status = 404, description = "No such tenant, or not yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_members(
    State(service): State<TenantService>,
    reader: TenantReader,
    ApiPath(tenant_id): ApiPath<String>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<MemberListResponse>, AppError> {
    ensure_readable(&reader, &tenant_id)?;
    let (after, limit) = query.place("usr")?;
    let page = service.users.members(&tenant_id, after, limit).await?;
    Ok(Json(MemberListResponse { items: page.shown.into_iter().map(Into::into).collect(), next_cursor: page.next }))
}

/// Adds a user to a tenant. The user signs in again. Safe to repeat.
#[utoipa::path(put, path = "/tenants/{tenantId}/members/{userId}", tag = "tenants", security(("bearer" = [])),
    params(("tenantId" = String, Path, description = "`ten_...`"), ("userId" = String, Path, description = "`usr_...`")),
    responses(
        (status = 200, body = MemberResponse),
        (status = 404, description = "No such tenant or user.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`tenants.other_tenant`, `tenants.full`, `users.own_account`", body = Problem,
            content_type = "application/problem+json"),
    ))]
async fn add_member(
    State(service): State<TenantService>,
    Admin(admin): Admin,
    _: NoQuery,
    ApiPath((tenant_id, user_id)): ApiPath<(String, String)>,
) -> Result<(Extension<About>, Json<MemberResponse>), AppError> {
    let member = service.join(&admin, &tenant_id, &user_id).await?;
    Ok((Extension(About::new(None, Some(&member.id))), Json(member.into())))
}

/// Removes a member from a tenant. What the member created there stays there.
#[utoipa::path(delete, path = "/tenants/{tenantId}/members/{userId}", tag = "tenants", security(("bearer" = [])),
    params(("tenantId" = String, Path, description = "`ten_...`"), ("userId" = String, Path, description = "`usr_...`")),
    responses(
        (status = 204),
        (status = 404, description = "No member of it.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`users.own_account`", body = Problem, content_type = "application/problem+json"),
    ))]
async fn remove_member(
    State(service): State<TenantService>,
    Admin(admin): Admin,
    _: NoQuery,
    ApiPath((tenant_id, user_id)): ApiPath<(String, String)>,
) -> Result<StatusCode, AppError> {
    service.leave(&admin, &tenant_id, &user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
