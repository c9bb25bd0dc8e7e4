//! `/audit/orders`: everybody's orders, for staff; and having one that stands still tried again, with the reason on record.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    queue_changes::RetryOrder,
    queues::{QueueBoard, answer_retry},
};
use crate::{
    modules::{
        kyc::identifiers::no_secrets,
        orders::{Order, OrderFilter, OrderStatus, ProviderSyncStatus},
        queue::JobState,
    },
    platform::{
        clock::Rfc3339Time,
        error::{AppError, ErrorKind, Problem},
        http::{ApiJson, ApiPath, ApiQuery, NoQuery, cursor},
        identity::{About, Admin, AdminReader},
        ids::new_id,
        money::Money,
        text::lines,
        walk::TimeRange,
    },
};

const PAGE: usize = 20;
const BODY_BYTES_MAX: usize = 8 * 1024;

/// The routes.
pub fn order_list_router(board: QueueBoard) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_all_orders)).routes(routes!(retry_order)).with_state(board)
}

/// `GET /audit/orders`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListAllOrdersQuery {
    /// Orders on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before, with the same filters.
    #[validate(custom(function = "order_cursor"))]
    cursor: Option<String>,
    /// Status.
    status: Option<OrderStatus>,
    /// User.
    #[validate(length(min = 1, max = 128))]
    user_id: Option<String>,
    /// Called so by its merchant.
    #[validate(length(min = 1, max = 128))]
    client_order_id: Option<String>,
    /// At this provider.
    #[validate(length(min = 1, max = 64))]
    provider: Option<String>,
    /// Created at or after (RFC 3339).
    #[param(value_type = Option<String>)]
    from: Option<Rfc3339Time>,
    /// Created before (RFC 3339).
    #[param(value_type = Option<String>)]
    to: Option<Rfc3339Time>,
}

fn order_cursor(text: &str) -> Result<(), ValidationError> {
    cursor::check_id("ord", text)
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AllOrdersResponse {
    items: Vec<StaffOrder>,
    /// Send it as `cursor`, with the same filters, for the next page; null on the last one. With a filter a page may have fewer than
    /// asked for, or none, before the last one.
    next_cursor: Option<String>,
}

/// An order without what is in it: who gets what is the merchant's.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StaffOrder {
    order_id: String,
    order_number: String,
    user_id: String,
    client_order_id: String,
    provider: String,
    account_id: Option<String>,
    status: OrderStatus,
    provider_sync_status: ProviderSyncStatus,
    reference: Option<String>,
    charge: Option<Money>,
    failure_code: Option<String>,
    /// A create may have been executed, and nobody knows: it is looked up before anything else.
    is_in_doubt: bool,
    job_id: String,
    /// An operator's note.
    comment: Option<String>,
    attempts: i32,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

impl From<Order> for StaffOrder {
    fn from(order: Order) -> Self {
        Self {
            is_in_doubt: order.uncertain.is_some(),
            order_id: order.id,
            order_number: order.order_number,
            user_id: order.user_id,
            client_order_id: order.client_order_id,
            provider: order.provider,
            account_id: order.account_id,
            status: order.status,
            provider_sync_status: order.provider_sync_status,
            reference: order.reference,
            charge: order.charge,
            failure_code: order.failure.map(|failure| failure.code),
            job_id: order.job_id,
            comment: order.comment,
            attempts: order.attempts,
            created_at: Rfc3339Time(order.created_at),
            updated_at: Rfc3339Time(order.updated_at),
        }
    }
}

/// Everybody's orders, newest first, without what is in them.
#[utoipa::path(get, path = "/audit/orders", tag = "audit", security(("bearer" = [])), params(ListAllOrdersQuery),
    responses(
        (status = 200, body = AllOrdersResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_all_orders(
    State(board): State<QueueBoard>,
    _: AdminReader,
    ApiQuery(query): ApiQuery<ListAllOrdersQuery>,
) -> Result<(Extension<About>, Json<AllOrdersResponse>), AppError> {
    let filter = OrderFilter {
        client_order_id: query.client_order_id,
        status: query.status,
        provider: query.provider,
        created: TimeRange { from: query.from.map(|time| time.0), to: query.to.map(|time| time.0) },
    };
    let (user_id, after) = (query.user_id.as_deref(), query.cursor.as_deref());
    let page = board.orders.list_any(user_id, &filter, after, query.limit.unwrap_or(PAGE)).await?;
    let about = About::new(None, user_id);
    let items = page.shown.into_iter().map(Into::into).collect();
    Ok((Extension(about), Json(AllOrdersResponse { items, next_cursor: page.next })))
}

/// `POST /orders/{orderId}/retry`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RetryOrderRequest {
    /// The reason; it is recorded.
    #[serde(deserialize_with = "lines")]
    #[validate(length(min = 3, max = 300), custom(function = "harmless"))]
    #[schema(example = "The carrier is back.")]
    reason: String,
}

fn harmless(text: &str) -> Result<(), ValidationError> {
    no_secrets(text)
}

/// An order that is tried again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RetriedOrder {
    order_id: String,
    /// The job that is ready again.
    job_id: String,
    #[schema(value_type = String, example = "ready")]
    job_state: JobState,
}

/// Runs the dead job of an order again, with the reason. Where an earlier create may have been executed the order is looked up, and
/// sent again only where the provider surely does not have it.
#[utoipa::path(post, path = "/orders/{orderId}/retry", tag = "orders", security(("bearer" = [])),
    params(("orderId" = String, Path, description = "`ord_...`")), request_body = RetryOrderRequest,
    responses(
        (status = 200, body = RetriedOrder),
        (status = 404, description = "No such order, or its job is gone.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Its job isn't dead, or the order does not allow it.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is missing, or holds personal data or secrets.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn retry_order(
    State(board): State<QueueBoard>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(order_id): ApiPath<String>,
    ApiJson(request): ApiJson<RetryOrderRequest, BODY_BYTES_MAX>,
) -> Result<Json<RetriedOrder>, AppError> {
    let order = board.orders.find_any(&order_id).await?;
    let not_found = || AppError::new(ErrorKind::NotFound, "orders.not_found", "There is no such order.");
    let order = order.ok_or_else(not_found)?;
    // A cancellation that stands still is what there is to go on with.
    let cancelling = order.cancellation.as_ref().and_then(|cancellation| cancellation.job_id.clone());
    let job_id = cancelling.unwrap_or_else(|| order.job_id.clone());
    let (user_id, reason) = (order.user_id, request.reason);
    let event_id = new_id("aud");
    let wanted = |retry| RetryOrder { retry, order_id: order.id, user_id, reason, event_id };
    let job = answer_retry(board.retry_with(&job_id, &user, wanted).await?)?;
    Ok(Json(RetriedOrder { order_id, job_id: job.id, job_state: job.state }))
}
