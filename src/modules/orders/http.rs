//! Routes of orders.

mod sale;

use std::collections::HashMap;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use sale::SaleResponse;

use super::{
    commands::OrderReply,
    file_http::{self, OrderFileResponse},
    model::{CancellationStatus, Order, OrderStatus, ProviderSyncStatus},
    placing::no_detail,
    request::{CancelOrderRequest, CreateOrderRequest, ListOrdersQuery},
    service::{History, OrderService},
    store::OrderFilter,
};
use crate::{
    modules::providers::{Detail, Extract, ExtractType, Party, PaymentMode, Service, Shipment, StoredFailure},
    platform::{
        clock::Rfc3339Time,
        error::{AppError, FieldError, Problem},
        http::{ApiJson, ApiPath, ApiQuery, NoQuery, answered},
        identity::Merchant,
        money::Money,
        walk::TimeRange,
    },
};

pub(super) const PAGE: usize = 20;

pub fn router(service: OrderService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create_order))
        .routes(routes!(cancel_order))
        .routes(routes!(list_orders))
        .routes(routes!(get_order))
        .routes(routes!(get_timeline))
        .merge(file_http::router())
        .with_state(service)
}

/// An order, as answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderResponse {
    order_id: String,
    /// A number for people to read out.
    order_number: String,
    client_order_id: String,
    /// The checkout that it carries out.
    checkout_id: Option<String>,
    provider: String,
    status: OrderStatus,
    provider_sync_status: ProviderSyncStatus,
    provider_request_ref_id: Option<String>,
    provider_response_ref_id: Option<String>,
    /// The account with which it was sent.
    account_id: Option<String>,
    /// The provider's name for it, once it has one: a waybill number, an order number, ...
    reference: Option<String>,
    #[serde(flatten)]
    detail: DetailResponse,
    /// Files of the order, of providers that answer with files.
    files: Option<Vec<OrderFileResponse>>,
    /// The charge: held at the create, owed once the provider has it (an extract: once it is delivered), given back where it
    /// comes to nothing.
    charge: Option<Money>,
    cancellation: Option<CancellationResponse>,
    failure: Option<StoredFailure>,
    attempts: i32,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

/// The detail object, under the name of its kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum DetailResponse {
    Shipment(ShipmentResponse),
    Sale(SaleResponse),
    Extract(ExtractResponse),
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ExtractResponse {
    cadastral_number: String,
    #[serde(rename = "type")]
    kind: ExtractType,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ShipmentResponse {
    service: Service,
    payment_mode: PaymentMode,
    currency: String,
    cod_amount: i64,
    weight_grams: i64,
    dimensions_cm: DimensionsResponse,
    consignee: PartyResponse,
    pickup: PartyResponse,
    items: Vec<ItemResponse>,
    /// The carrier's number of the parcel, once it has one.
    awb: Option<String>,
    courier_name: Option<String>,
    provider_order_id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DimensionsResponse {
    length: i32,
    width: i32,
    height: i32,
}

#[derive(Debug, Serialize, ToSchema)]
struct PartyResponse {
    name: String,
    phone: String,
    email: Option<String>,
    line1: String,
    line2: Option<String>,
    city: String,
    state: String,
    pincode: String,
    country: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ItemResponse {
    sku: String,
    name: String,
    quantity: i64,
    unit_price: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CancellationResponse {
    status: CancellationStatus,
    reason: Option<String>,
    requested_at: Rfc3339Time,
    request_ref_id: Option<String>,
    response_ref_id: Option<String>,
    /// Reason for which it was refused or given up.
    failure: Option<StoredFailure>,
}

/// A page of orders.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OrderListResponse {
    items: Vec<OrderResponse>,
    /// Send it as `cursor` for the next page; null on the last one. By provider a page may have fewer than asked for, or none,
    /// before the last one.
    next_cursor: Option<String>,
}

/// The history of an order, oldest first.
#[derive(Debug, Serialize, ToSchema)]
struct TimelineResponse {
    items: Vec<TimelineEntry>,
    /// Whether there is more, and older: of changes and of calls only the latest 500 are shown.
    truncated: bool,
}

/// A change of state, or a call to the provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TimelineEntry {
    at: Rfc3339Time,
    /// `event` or `call`.
    kind: &'static str,
    /// `OrderCreated`, ...; for a call its operation.
    name: String,
    /// Status after an event.
    status: Option<String>,
    /// Attempt of a call.
    attempt: Option<i32>,
    /// Outcome of a call; null while it runs.
    outcome: Option<String>,
    /// Milliseconds from sending to the answer.
    latency_ms: Option<i64>,
}

impl From<Order> for OrderResponse {
    fn from(order: Order) -> Self {
        let files = order.files().iter().map(Into::into).collect();
        Self {
            order_id: order.id,
            order_number: order.order_number,
            client_order_id: order.client_order_id,
            checkout_id: order.checkout_id,
            provider: order.provider,
            status: order.status,
            provider_sync_status: order.provider_sync_status,
            provider_request_ref_id: order.provider_request_ref_id,
            provider_response_ref_id: order.provider_response_ref_id,
            account_id: order.account_id,
            files: order.detail.extract().map(|_| files),
            detail: match order.detail {
                Detail::Shipment(shipment) => DetailResponse::Shipment(ShipmentResponse {
                    awb: order.reference.clone(),
                    courier_name: order.refs.courier_name,
                    provider_order_id: order.refs.provider_order_id,
                    ..shipment.into()
                }),
                Detail::Sale(sale) => DetailResponse::Sale(sale.into()),
                Detail::Extract(Extract { cadastral_number, kind }) => {
                    DetailResponse::Extract(ExtractResponse { cadastral_number, kind })
                }
            },
            reference: order.reference,
            charge: order.charge,
            cancellation: order.cancellation.map(|cancellation| CancellationResponse {
                // What is still to be checked is no news yet.
                failure: cancellation.failure.filter(|_| !cancellation.status.is_pending()),
                status: cancellation.status,
                reason: cancellation.reason,
                requested_at: Rfc3339Time(cancellation.requested_at),
                request_ref_id: cancellation.request_ref_id,
                response_ref_id: cancellation.response_ref_id,
            }),
            failure: order.failure,
            attempts: order.attempts,
            created_at: Rfc3339Time(order.created_at),
            updated_at: Rfc3339Time(order.updated_at),
        }
    }
}

impl From<Shipment> for ShipmentResponse {
    fn from(shipment: Shipment) -> Self {
        Self {
            service: shipment.service,
            payment_mode: shipment.payment_mode,
            currency: shipment.currency,
            cod_amount: shipment.cod_amount,
            weight_grams: shipment.weight_grams,
            dimensions_cm: DimensionsResponse {
                length: shipment.dimensions_cm.length,
                width: shipment.dimensions_cm.width,
                height: shipment.dimensions_cm.height,
            },
            consignee: shipment.consignee.into(),
            pickup: shipment.pickup.into(),
            items: shipment
                .items
                .into_iter()
                .map(|item| ItemResponse {
                    sku: item.sku,
                    name: item.name,
                    quantity: item.quantity,
                    unit_price: item.unit_price,
                })
                .collect(),
            awb: None,
            courier_name: None,
            provider_order_id: None,
        }
    }
}

impl From<Party> for PartyResponse {
    fn from(party: Party) -> Self {
        let Party { name, phone, email, line1, line2, city, state, pincode, country } = party;
        Self { name, phone, email, line1, line2, city, state, pincode, country }
    }
}

fn answer(OrderReply { order, replayed, .. }: OrderReply, status: StatusCode) -> Response {
    answered(replayed, status, OrderResponse::from(order))
}

/// Creates an order. Safe to repeat with the same `clientOrderId`.
#[utoipa::path(post, path = "/orders/create", tag = "orders", security(("bearer" = [])), request_body = CreateOrderRequest,
    responses(
        (status = 201, description = "Acknowledged; it is stored and will be placed.", body = OrderResponse),
        (status = 200, description = "Replay: the order as it stands, with `Idempotent-Replayed: true`.", body = OrderResponse),
        (status = "4XX", description = "Refused; nothing is stored.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again with the same id.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create_order(
    State(service): State<OrderService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiJson(request): ApiJson<CreateOrderRequest>,
) -> Result<Response, AppError> {
    let new = request.into_order().ok_or_else(no_detail)?;
    Ok(answer(service.create(&user, new).await?, StatusCode::CREATED))
}

/// Cancels an order: at once where it was not sent yet, else by asking the provider. Safe to repeat.
#[utoipa::path(post, path = "/orders/cancel", tag = "orders", security(("bearer" = [])), request_body = CancelOrderRequest,
    responses(
        (status = 202, description = "Accepted; see `cancellation`.", body = OrderResponse),
        (status = 200, description = "Asked for before; see `cancellation`.", body = OrderResponse),
        (status = 404, description = "No such order of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The order can't be cancelled any more.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn cancel_order(
    State(service): State<OrderService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiJson(request): ApiJson<CancelOrderRequest>,
) -> Result<Response, AppError> {
    let answered = service.cancel(&user, request.client_order_id, request.reason).await?;
    Ok(answer(answered, StatusCode::ACCEPTED))
}

/// The filter of a query.
///
/// # Errors
/// 422 for a range that ends before it begins.
pub(super) fn filter_of(query: &ListOrdersQuery) -> Result<OrderFilter, AppError> {
    if let (Some(from), Some(to)) = (query.from, query.to)
        && from > to
    {
        return Err(AppError::invalid(vec![FieldError::new("from", "range", "must not be after `to`")]));
    }
    Ok(OrderFilter {
        client_order_id: query.client_order_id.clone(),
        status: query.status,
        provider: query.provider.map(|provider| provider.as_str().to_owned()),
        created: TimeRange { from: query.from.map(|time| time.0), to: query.to.map(|time| time.0) },
    })
}

/// Lists your orders, newest first.
#[utoipa::path(get, path = "/orders", tag = "orders", security(("bearer" = [])), params(ListOrdersQuery),
    responses(
        (status = 200, body = OrderListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_orders(
    State(service): State<OrderService>,
    Merchant(user): Merchant,
    ApiQuery(query): ApiQuery<ListOrdersQuery>,
) -> Result<Json<OrderListResponse>, AppError> {
    let filter = filter_of(&query)?;
    let page = service.list(&user, &filter, query.cursor.as_deref(), query.limit.unwrap_or(PAGE)).await?;
    Ok(Json(OrderListResponse { items: page.shown.into_iter().map(Into::into).collect(), next_cursor: page.next }))
}

/// One of your orders.
#[utoipa::path(get, path = "/orders/{orderId}", tag = "orders", security(("bearer" = [])),
    params(("orderId" = String, Path, description = "`ord_...`")),
    responses(
        (status = 200, body = OrderResponse),
        (status = 404, description = "No such order of yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_order(
    State(service): State<OrderService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiPath(order_id): ApiPath<String>,
) -> Result<Json<OrderResponse>, AppError> {
    Ok(Json(service.get(&user, &order_id).await?.into()))
}

/// Events and calls of one of your orders, oldest first.
#[utoipa::path(get, path = "/orders/{orderId}/timeline", tag = "orders", security(("bearer" = [])),
    params(("orderId" = String, Path, description = "`ord_...`")),
    responses(
        (status = 200, body = TimelineResponse),
        (status = 404, description = "No such order of yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_timeline(
    State(service): State<OrderService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiPath(order_id): ApiPath<String>,
) -> Result<Json<TimelineResponse>, AppError> {
    Ok(Json(timeline(service.history(&user, &order_id).await?)))
}

fn timeline(history: History) -> TimelineResponse {
    // An answer that came late belongs to a call that was closed already.
    let answers: HashMap<_, _> = history
        .responses
        .into_iter()
        .filter(|response| !response.late)
        .map(|response| (response.request_ref_id.clone(), response))
        .collect();
    let events = history.events.into_iter().map(|event| TimelineEntry {
        at: Rfc3339Time(event.at),
        kind: "event",
        status: event.data.get_str("status").ok().map(str::to_owned),
        name: event.kind,
        attempt: None,
        outcome: None,
        latency_ms: None,
    });
    let calls = history.requests.into_iter().map(|request| {
        let answer = answers.get(&request.id);
        TimelineEntry {
            at: Rfc3339Time(request.sent_at),
            kind: "call",
            name: request.operation,
            status: None,
            attempt: Some(request.attempt),
            outcome: answer.map(|answer| answer.outcome.clone()),
            latency_ms: answer.map(|answer| answer.latency_ms),
        }
    });
    let mut items: Vec<_> = events.chain(calls).collect();
    items.sort_by_key(|entry| entry.at);
    TimelineResponse { items, truncated: history.truncated }
}
