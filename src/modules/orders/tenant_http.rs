//! Orders of a tenant's members, for its manager.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    http::{OrderResponse, PAGE, filter_of},
    request::ListOrdersQuery,
    store::OrderStore,
};
use crate::{
    modules::tenants,
    platform::{
        error::{AppError, Problem},
        http::{ApiPath, ApiQuery},
        identity::TenantReader,
    },
};

pub fn tenant_router(store: OrderStore) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_tenant_orders)).with_state(store)
}

/// An order of a member.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TenantOrderResponse {
    /// The owner.
    user_id: String,
    #[serde(flatten)]
    order: OrderResponse,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TenantOrderListResponse {
    items: Vec<TenantOrderResponse>,
    /// Send it as `cursor` for the next page; null on the last one. With a filter a page may have fewer than asked for, or none,
    /// before the last one.
    next_cursor: Option<String>,
}

/// Orders of members that were created while they belonged to the tenant, newest first. Reading is recorded.
#[utoipa::path(get, path = "/tenants/{tenantId}/orders", tag = "tenants", security(("bearer" = [])),
    params(("tenantId" = String, Path, description = "`ten_...`"), ListOrdersQuery),
    responses(
        (status = 200, body = TenantOrderListResponse),
        (status = 404, description = "No such tenant, or not yours.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_tenant_orders(
    State(store): State<OrderStore>,
    reader: TenantReader,
    ApiPath(tenant_id): ApiPath<String>,
    ApiQuery(query): ApiQuery<ListOrdersQuery>,
) -> Result<Json<TenantOrderListResponse>, AppError> {
    tenants::ensure_readable(&reader, &tenant_id)?;
    let filter = filter_of(&query)?;
    let limit = query.limit.unwrap_or(PAGE);
    let page = store.list_of_tenant(&tenant_id, &filter, query.cursor.as_deref(), limit).await?;
    let items =
        page.shown.into_iter().map(|order| TenantOrderResponse { user_id: order.user_id.clone(), order: order.into() });
    Ok(Json(TenantOrderListResponse { items: items.collect(), next_cursor: page.next }))
}
