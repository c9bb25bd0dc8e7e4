//! Routes of checkouts.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    commands::CheckoutReply,
    fulfilment::{Part, PartKind, PartStatus},
    model::{
        Checkout, CheckoutCancellation, CheckoutCancellationStatus, CheckoutCustomer, CheckoutItem, CheckoutStatus,
        PaymentMethod, PaymentStatus, Priority, ShippingAddress,
    },
    requests::{CancelCheckoutRequest, CheckoutRequest, ListCheckoutsQuery},
    service::CheckoutService,
    store::CheckoutFilter,
};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, Problem},
    http::{ApiJson, ApiPath, ApiQuery, NoQuery, answered},
    identity::{CurrentUser, MerchantOrCustomer},
    money::Money,
};

const PAGE: usize = 20;
/// A cart of a hundred lines, with the longest names.
const BODY_BYTES_MAX: usize = 64 * 1024;

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
    /// The merchant's id of an external payment.
    payment_id: Option<String>,
    /// Page on which to pay, for the user who asked for the checkout; null before the gateway has a page, and where there is nothing to pay any more.
    url: Option<String>,
    /// End of the time in which it can be paid; null where there is nothing to pay any more.
    expires_at: Option<Rfc3339Time>,
}

/// Reason of a part's status.
#[derive(Debug, Serialize, ToSchema)]
struct PartReasonResponse {
    /// `wallet.insufficient_funds`, `checkout.not_acceptable`, `provider.refused`, ...
    code: String,
    message: Option<String>,
}

/// A part of what follows from a checkout.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PartResponse {
    part: PartKind,
    provider: String,
    status: PartStatus,
    /// The order that carries it out now.
    order_id: Option<String>,
    /// Reason for which it failed, or was not taken back; for the merchant alone.
    reason: Option<PartReasonResponse>,
}

impl From<Part> for PartResponse {
    fn from(part: Part) -> Self {
        let reason = part.failure.map(|failure| PartReasonResponse { code: failure.code, message: failure.message });
        Self { part: part.kind, provider: part.provider, status: part.status, order_id: part.order_id, reason }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckoutCancellationResponse {
    status: CheckoutCancellationStatus,
    requested_at: Rfc3339Time,
}

/// A checkout.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckoutResponse {
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
    /// Its parts at the ERP and at the carrier, by the merchant's fulfilment settings; empty until they are sent.
    parts: Vec<PartResponse>,
    /// All orders that were made for it, `ord_...`.
    orders: Vec<String>,
    /// The last cancellation that had to wait for orders; a refused one leaves the checkout as it is.
    cancellation: Option<CheckoutCancellationResponse>,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

impl CheckoutResponse {
    /// As `user` may see it: who has the page may pay, so only who asked for the checkout is shown it; why parts failed is for the
    /// merchant.
    pub(super) fn of(mut checkout: Checkout, user: &CurrentUser) -> Self {
        let url = checkout.payment.url.take().filter(|_| checkout.user_id == user.user_id);
        if checkout.seller_id != user.user_id {
            checkout.parts.iter_mut().for_each(|part| part.failure = None);
        }
        Self {
            total: checkout.money(),
            checkout_id: checkout.id,
            order_number: checkout.order_number,
            client_order_id: checkout.client_order_id,
            seller_id: checkout.seller_id,
            status: checkout.status,
            priority: checkout.priority,
            items: checkout.items.into_iter().map(Into::into).collect(),
            customer: checkout.customer.map(|CheckoutCustomer { name, email, phone }| BuyerResponse {
                name,
                email,
                phone,
            }),
            shipping_address: checkout.shipping_address.map(Into::into),
            payment: CheckoutPaymentResponse {
                method: checkout.payment.method,
                status: checkout.payment.status,
                payment_id: checkout.payment.payment_id,
                url,
                expires_at: checkout.payment.expires_at.map(Rfc3339Time),
            },
            orders: checkout.parts.iter().flat_map(|part| part.orders.iter().cloned()).collect(),
            parts: checkout.parts.into_iter().map(Into::into).collect(),
            cancellation: checkout.cancellation.map(|CheckoutCancellation { status, requested_at }| {
                CheckoutCancellationResponse { status, requested_at: Rfc3339Time(requested_at) }
            }),
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

fn answer(CheckoutReply { checkout, replayed }: CheckoutReply, user: &CurrentUser) -> Response {
    answered(replayed, StatusCode::ACCEPTED, CheckoutResponse::of(checkout, user))
}

/// Buys all of a cart or nothing, at the catalog's prices. Safe to repeat with the same `clientOrderId`. Customers pay from their wallet or
/// at the gateway, whose page is in `payment.url` a moment later; a merchant's server checks out its own products for customers that it
/// names, who have paid elsewhere or pay at the gateway.
#[utoipa::path(post, path = "/checkout", tag = "checkout", security(("bearer" = [])), request_body = CheckoutRequest,
    responses(
        (status = 202, description = "Bought, or waiting for its payment; what follows is under way.", body = CheckoutResponse),
        (status = 200, description = "Replay: the checkout as it stands, with `Idempotent-Replayed: true`.", body = CheckoutResponse),
        (status = 402, description = "`wallet.insufficient_funds`; nothing was taken.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`checkout.out_of_stock` with `items` (`productId`, `requested`, `available`), `checkout.payment_used`, `checkout.seller_not_verified`.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable, or the id stands for another checkout.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again with the same id.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn check_out(
    State(service): State<CheckoutService>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    _: NoQuery,
    ApiJson(request): ApiJson<CheckoutRequest, BODY_BYTES_MAX>,
) -> Result<Response, AppError> {
    Ok(answer(service.create(&user, request.into_checkout()).await?, &user))
}

/// Takes back a checkout that you asked for: its stock comes back, and what was taken from your wallet. Where orders carry it out, these are
/// cancelled first (`cancelling`); what was shipped can't be taken back. What was paid
/// at the gateway goes back from there; what was paid elsewhere the merchant gives back. Safe to repeat.
#[utoipa::path(post, path = "/checkout/cancel", tag = "checkout", security(("bearer" = [])), request_body = CancelCheckoutRequest,
    responses(
        (status = 202, description = "Cancelled, or its orders are being cancelled: see `status`.", body = CheckoutResponse),
        (status = 200, description = "Asked for before.", body = CheckoutResponse),
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
    Ok(answer(service.cancel(&user, request.client_order_id, request.reason).await?, &user))
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
    let items = page.shown.into_iter().map(|checkout| CheckoutResponse::of(checkout, &user)).collect();
    Ok(Json(CheckoutListResponse { items, next_cursor: page.next }))
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
    Ok(Json(CheckoutResponse::of(service.get(&user, &checkout_id).await?, &user)))
}
