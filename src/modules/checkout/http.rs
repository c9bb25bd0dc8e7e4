//! Routes of checkouts.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    commands::CheckoutReply,
    model::{
        Checkout, CheckoutItem, CheckoutStatus, Customer, PaymentMethod, PaymentStatus, Priority, ShippingAddress,
    },
    requests::{CancelCheckoutRequest, CheckoutRequest, ListCheckoutsQuery},
    service::CheckoutService,
    store::CheckoutFilter,
};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, Problem},
    http::{ApiJson, ApiPath, ApiQuery, NoQuery, answered},
    identity::MerchantOrCustomer,
    money::Money,
};

const PAGE: usize = 20;
/// A cart of a hundred lines, with the longest names.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The routes of checkouts.
pub(super) fn router() -> OpenApiRouter<CheckoutService> {
    OpenApiRouter::new()
        .routes(routes!(check_out))
        .routes(routes!(cancel_checkout))
        .routes(routes!(list_checkouts))
        .routes(routes!(get_checkout))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckoutItemResponse {
    product_id: String,
    sku: String,
    product_name: String,
    quantity: i64,
    /// Minor units each, when it was bought.
    unit_price: i64,
    /// Minor units.
    total_price: i64,
}

impl From<CheckoutItem> for CheckoutItemResponse {
    fn from(item: CheckoutItem) -> Self {
        Self {
            total_price: item.quantity.saturating_mul(item.unit_price),
            product_id: item.product_id,
            sku: item.sku,
            product_name: item.product_name,
            quantity: item.quantity,
            unit_price: item.unit_price,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct BuyerResponse {
    name: String,
    email: String,
    phone: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShippingAddressResponse {
    name: Option<String>,
    phone: Option<String>,
    line1: String,
    line2: Option<String>,
    city: String,
    state: Option<String>,
    postcode: String,
    country: String,
}

impl From<ShippingAddress> for ShippingAddressResponse {
    fn from(address: ShippingAddress) -> Self {
        let ShippingAddress { name, phone, line1, line2, city, state, postcode, country } = address;
        Self { name, phone, line1, line2, city, state, postcode, country }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckoutPaymentResponse {
    method: PaymentMethod,
    status: PaymentStatus,
    /// Of an external payment.
    payment_id: Option<String>,
    /// Where to pay; null where there is nothing to pay any more.
    url: Option<String>,
}

/// A checkout.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckoutResponse {
    #[schema(example = "chk_0198f0c2b1e07c3e8a41b5d0f3a2c4e6")]
    checkout_id: String,
    order_number: String,
    client_order_id: String,
    /// The merchant.
    seller_id: String,
    status: CheckoutStatus,
    priority: Priority,
    total: Money,
    items: Vec<CheckoutItemResponse>,
    /// Null once it is erased.
    customer: Option<BuyerResponse>,
    /// Null once it is erased.
    shipping_address: Option<ShippingAddressResponse>,
    payment: CheckoutPaymentResponse,
    /// Orders that carry it out, `ord_...`.
    orders: Vec<String>,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

impl From<Checkout> for CheckoutResponse {
    fn from(checkout: Checkout) -> Self {
        Self {
            total: checkout.money(),
            checkout_id: checkout.id,
            order_number: checkout.order_number,
            client_order_id: checkout.client_order_id,
            seller_id: checkout.seller_id,
            status: checkout.status,
            priority: checkout.priority,
            items: checkout.items.into_iter().map(Into::into).collect(),
            customer: checkout.customer.map(|Customer { name, email, phone }| BuyerResponse { name, email, phone }),
            shipping_address: checkout.shipping_address.map(Into::into),
            payment: CheckoutPaymentResponse {
                method: checkout.payment.method,
                status: checkout.payment.status,
                payment_id: checkout.payment.payment_id,
                url: None,
            },
            orders: Vec::new(),
            created_at: Rfc3339Time(checkout.created_at),
            updated_at: Rfc3339Time(checkout.updated_at),
        }
    }
}

/// A page of checkouts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckoutListResponse {
    /// Newest first.
    items: Vec<CheckoutResponse>,
    /// Send it as `cursor` for the next page; null on the last one. With a filter a page may have fewer than asked for, or none,
    /// before the last one.
    next_cursor: Option<String>,
}

fn answer(CheckoutReply { checkout, replayed }: CheckoutReply) -> Response {
    answered(replayed, StatusCode::ACCEPTED, CheckoutResponse::from(checkout))
}

/// Buys all of a cart or nothing, at the catalog's prices. Safe to repeat with the same `clientOrderId`. Customers pay from their wallet;
/// a merchant's server checks out its own products for customers that it names and that have paid elsewhere.
#[utoipa::path(post, path = "/checkout", tag = "checkout", security(("bearer" = [])), request_body = CheckoutRequest,
    responses(
        (status = 202, description = "Bought; what follows is under way.", body = CheckoutResponse),
        (status = 200, description = "Replay: the checkout as it stands, with `Idempotent-Replayed: true`.", body = CheckoutResponse),
        (status = 402, description = "`wallet.insufficient_funds`; nothing was taken.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`checkout.out_of_stock` with `items` (`productId`, `requested`, `available`), `checkout.payment_used`, `checkout.seller_not_verified`.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not acceptable, or the id stands for another checkout.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again with the same id.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn check_out(
    State(service): State<CheckoutService>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    _: NoQuery,
    ApiJson(request): ApiJson<CheckoutRequest, BODY_BYTES_MAX>,
) -> Result<Response, AppError> {
    Ok(answer(service.create(&user, request.into_checkout()?).await?))
}

/// Takes back a checkout that you asked for, before it is completed: its stock comes back, and what was taken from your wallet. What was
/// paid elsewhere the merchant gives back. Safe to repeat.
#[utoipa::path(post, path = "/checkout/cancel", tag = "checkout", security(("bearer" = [])), request_body = CancelCheckoutRequest,
    responses(
        (status = 202, description = "Cancelled.", body = CheckoutResponse),
        (status = 200, description = "It was cancelled before.", body = CheckoutResponse),
        (status = 404, description = "No such checkout of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`checkout.not_cancellable`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn cancel_checkout(
    State(service): State<CheckoutService>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    _: NoQuery,
    ApiJson(request): ApiJson<CancelCheckoutRequest, BODY_BYTES_MAX>,
) -> Result<Response, AppError> {
    Ok(answer(service.cancel(&user, request.client_order_id, request.reason).await?))
}

/// Checkouts, newest first: a customer's own, a merchant's those of its products.
#[utoipa::path(get, path = "/checkouts", tag = "checkout", security(("bearer" = [])), params(ListCheckoutsQuery),
    responses(
        (status = 200, body = CheckoutListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_checkouts(
    State(service): State<CheckoutService>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    ApiQuery(query): ApiQuery<ListCheckoutsQuery>,
) -> Result<Json<CheckoutListResponse>, AppError> {
    let filter = CheckoutFilter { client_order_id: query.client_order_id, status: query.status };
    let page = service.list(&user, &filter, query.cursor.as_deref(), query.limit.unwrap_or(PAGE)).await?;
    Ok(Json(CheckoutListResponse { items: page.shown.into_iter().map(Into::into).collect(), next_cursor: page.next }))
}

/// One checkout: a customer's own, or one of a merchant's products.
#[utoipa::path(get, path = "/checkouts/{checkoutId}", tag = "checkout", security(("bearer" = [])),
    params(("checkoutId" = String, Path, description = "`chk_...`")),
    responses(
        (status = 200, body = CheckoutResponse),
        (status = 404, description = "No such checkout of yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_checkout(
    State(service): State<CheckoutService>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    _: NoQuery,
    ApiPath(checkout_id): ApiPath<String>,
) -> Result<Json<CheckoutResponse>, AppError> {
    Ok(Json(service.get(&user, &checkout_id).await?.into()))
}
