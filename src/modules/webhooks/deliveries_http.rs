//! `/webhook-deliveries` and `/webhook-events`.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    model::{Delivery, DeliveryAttempt, DeliveryStatus},
    owner::{Owner, is_tenant},
    payload,
    requests::{ListDeliveriesQuery, ListWebhookEventsQuery},
    service::WebhookService,
    store::DeliveryFilter,
};
use crate::{
    modules::events::Event,
    platform::{
        clock::Rfc3339Time,
        error::{AppError, Problem},
        http::{ApiPath, ApiQuery, NoQuery},
    },
};

const PAGE: usize = 20;

pub(super) fn router() -> OpenApiRouter<WebhookService> {
    OpenApiRouter::new()
        .routes(routes!(list_deliveries))
        .routes(routes!(get_delivery))
        .routes(routes!(retry_delivery))
        .routes(routes!(list_events))
}

/// A delivery, as answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveryResponse {
    delivery_id: String,
    endpoint_id: String,
    /// The `webhook-id`.
    event_id: String,
    #[serde(rename = "type")]
    #[schema(example = "order.confirmed")]
    kind: String,
    status: DeliveryStatus,
    /// The latest thirty, oldest first.
    attempts: Vec<AttemptResponse>,
    /// Time of the next attempt; null where none will be made.
    next_attempt_at: Option<Rfc3339Time>,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

/// An attempt that ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AttemptResponse {
    at: Rfc3339Time,
    /// Null where nothing was answered.
    http_status: Option<i32>,
    #[schema(example = "webhooks.timed_out")]
    error: Option<String>,
    latency_ms: Option<i64>,
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeliveryListResponse {
    items: Vec<DeliveryResponse>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// An event, as it is posted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventResponse {
    /// The `webhook-id`.
    event_id: String,
    /// The body: `type`, `timestamp` and `data`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    body: Value,
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventListResponse {
    items: Vec<EventResponse>,
    /// Send it as `cursor` for the next page; null at the end. A page may have fewer than asked for, or none, before.
    next_cursor: Option<String>,
}

impl From<DeliveryAttempt> for AttemptResponse {
    fn from(DeliveryAttempt { at, http_status, error, latency_ms }: DeliveryAttempt) -> Self {
        Self { at: Rfc3339Time(at), http_status, error, latency_ms }
    }
}

impl From<Delivery> for DeliveryResponse {
    fn from(delivery: Delivery) -> Self {
        Self {
            delivery_id: delivery.id,
            endpoint_id: delivery.endpoint_id,
            event_id: delivery.event_id,
            kind: delivery.kind,
            status: delivery.status,
            attempts: delivery.attempts.into_iter().map(Into::into).collect(),
            next_attempt_at: delivery.next_attempt_at.map(Rfc3339Time),
            created_at: Rfc3339Time(delivery.created_at),
            updated_at: Rfc3339Time(delivery.updated_at),
        }
    }
}

/// Your deliveries, those of the newest events first. They are kept for 30 days after their last attempt.
#[utoipa::path(get, path = "/webhook-deliveries", tag = "webhooks", security(("bearer" = [])), params(ListDeliveriesQuery),
    responses(
        (status = 200, body = DeliveryListResponse),
        (status = 404, description = "`webhooks.no_tenant`: a manager without a tenant.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_deliveries(
    State(service): State<WebhookService>,
    owner: Owner,
    ApiQuery(query): ApiQuery<ListDeliveriesQuery>,
) -> Result<Json<DeliveryListResponse>, AppError> {
    let filter = DeliveryFilter { endpoint_id: query.endpoint_id, status: query.status, before: query.cursor };
    let page = service.list_deliveries(&owner, &filter, query.limit.unwrap_or(PAGE)).await?;
    Ok(Json(DeliveryListResponse { items: page.shown.into_iter().map(Into::into).collect(), next_cursor: page.next }))
}

/// One of your deliveries.
#[utoipa::path(get, path = "/webhook-deliveries/{deliveryId}", tag = "webhooks", security(("bearer" = [])),
    params(("deliveryId" = String, Path, description = "`whd_...`")), responses(
        (status = 200, body = DeliveryResponse),
        (status = 404, description = "No such delivery of yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_delivery(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
    ApiPath(delivery_id): ApiPath<String>,
) -> Result<Json<DeliveryResponse>, AppError> {
    Ok(Json(service.get_delivery(&owner, &delivery_id).await?.into()))
}

/// Makes a delivery now, whatever its status; the body is the same.
#[utoipa::path(post, path = "/webhook-deliveries/{deliveryId}/retry", tag = "webhooks", security(("bearer" = [])),
    params(("deliveryId" = String, Path, description = "`whd_...`")), responses(
        (status = 202, description = "An attempt is made at once.", body = DeliveryResponse),
        (status = 404, description = "No such delivery of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The endpoint is disabled (`webhooks.endpoint_disabled`) or was deleted (`webhooks.endpoint_deleted`).", body = Problem, content_type = "application/problem+json"),
    ))]
async fn retry_delivery(
    State(service): State<WebhookService>,
    owner: Owner,
    _: NoQuery,
    ApiPath(delivery_id): ApiPath<String>,
) -> Result<(StatusCode, Json<DeliveryResponse>), AppError> {
    let delivery = service.retry(&owner, delivery_id).await?;
    Ok((StatusCode::ACCEPTED, Json(delivery.into())))
}

/// Events as they are posted to endpoints that want all of them, the oldest first; no endpoint is needed. An API key gets what it reads elsewhere
/// too: events of orders with `orders:read`, of top-ups with `wallet:read`, of checkouts with `checkouts:read`, of products with
/// `catalog:read`, a manager's with `tenants:read`. An event may come to light up to
/// 20 seconds after younger ones, so who follows looks back for so long.
#[utoipa::path(get, path = "/webhook-events", tag = "webhooks", security(("bearer" = [])), params(ListWebhookEventsQuery),
    responses(
        (status = 200, body = EventListResponse),
        (status = 404, description = "`webhooks.no_tenant`: a manager without a tenant.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_events(
    State(service): State<WebhookService>,
    owner: Owner,
    ApiQuery(query): ApiQuery<ListWebhookEventsQuery>,
) -> Result<Json<EventListResponse>, AppError> {
    let (from, limit) = (query.from.map(|from| from.0), query.limit.unwrap_or(PAGE));
    let (found, next_cursor) = service.list_events(&owner, from, query.cursor.as_deref(), limit).await?;
    let readable = service.readable(&owner).await?;
    let item = |event: Event| {
        readable.check(payload::outside(&event.kind)?).ok()?;
        Some(EventResponse { body: payload::of(&event, is_tenant(&owner.id))?, event_id: event.id })
    };
    Ok(Json(EventListResponse { items: found.into_iter().filter_map(item).collect(), next_cursor }))
}
