//! Routes of top-ups.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use super::{
    super::http::AmountRequest,
    model::{Topup, TopupStatus},
    service::{NewTopup, TopupService},
};
use crate::{
    modules::providers::StoredFailure,
    platform::{
        clock::Rfc3339Time,
        error::{AppError, Problem},
        http::{ApiJson, ApiPath, ApiQuery, NoQuery, answered, checks::client_id, cursor},
        identity::MerchantOrCustomer,
        money::Money,
    },
};

const PAGE: usize = 20;

pub fn router(service: TopupService) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(request_topup, list_topups)).routes(routes!(get_topup)).with_state(service)
}

/// `POST /wallet/topups`
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TopupRequest {
    /// Your id of the top-up: the same id is the same top-up, for ever.
    #[validate(custom(function = "client_id"))]
    #[schema(example = "t-1001", min_length = 1, max_length = 128)]
    client_topup_id: String,
    /// Amount to pay.
    #[validate(nested)]
    amount: AmountRequest,
}

/// `GET /wallet/topups`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListTopupsQuery {
    /// Top-ups on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "topup_cursor"))]
    cursor: Option<String>,
    /// Status.
    status: Option<TopupStatus>,
}

fn topup_cursor(cursor: &str) -> Result<(), ValidationError> {
    cursor::check_id("top", cursor)
}

/// A top-up, as answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TopupResponse {
    topup_id: String,
    client_topup_id: String,
    status: TopupStatus,
    amount: Money,
    /// Page on which to pay while it is `pending`; null before and after. Anybody with its address may pay.
    payment_url: Option<String>,
    failure: Option<StoredFailure>,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
    /// End of the time in which it can be paid.
    expires_at: Rfc3339Time,
}

/// A page of top-ups.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TopupListResponse {
    items: Vec<TopupResponse>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl From<Topup> for TopupResponse {
    fn from(topup: Topup) -> Self {
        Self {
            amount: topup.money(),
            topup_id: topup.id,
            client_topup_id: topup.client_topup_id,
            status: topup.status,
            // What has ended is not to be paid again.
            payment_url: topup.payment_url.filter(|_| topup.status == TopupStatus::Pending),
            failure: topup.failure,
            created_at: Rfc3339Time(topup.created_at),
            updated_at: Rfc3339Time(topup.updated_at),
            expires_at: Rfc3339Time(topup.expires_at),
        }
    }
}

/// Asks for a top-up of your wallet; its `paymentUrl` is there a moment later. Safe to repeat with the same
/// `clientTopupId`.
#[utoipa::path(post, path = "/wallet/topups", tag = "wallet", security(("bearer" = [])), request_body = TopupRequest,
    responses(
        (status = 201, description = "Acknowledged; it is stored and the payment will be started.", body = TopupResponse),
        (status = 200, description = "Replay: the top-up as it stands, with `Idempotent-Replayed: true`.", body = TopupResponse),
        (status = 422, description = "Some fields are not acceptable, or the id stands for another amount.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No payment gateway is configured (`topups.not_configured`), or try again with the same id.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn request_topup(
    State(service): State<TopupService>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    _: NoQuery,
    ApiJson(request): ApiJson<TopupRequest>,
) -> Result<Response, AppError> {
    let new = NewTopup { client_topup_id: request.client_topup_id, money: request.amount.money() };
    let (topup, replayed) = service.request(&user, new).await?;
    Ok(answered(replayed, StatusCode::CREATED, TopupResponse::from(topup)))
}

/// Lists your top-ups, newest first.
#[utoipa::path(get, path = "/wallet/topups", tag = "wallet", security(("bearer" = [])), params(ListTopupsQuery),
    responses(
        (status = 200, body = TopupListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_topups(
    State(service): State<TopupService>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    ApiQuery(query): ApiQuery<ListTopupsQuery>,
) -> Result<Json<TopupListResponse>, AppError> {
    let limit = query.limit.unwrap_or(PAGE);
    let page = service.list(&user, query.status, query.cursor.as_deref(), limit).await?;
    Ok(Json(TopupListResponse { items: page.shown.into_iter().map(Into::into).collect(), next_cursor: page.next }))
}

/// One of your top-ups.
#[utoipa::path(get, path = "/wallet/topups/{topupId}", tag = "wallet", security(("bearer" = [])),
    params(("topupId" = String, Path, description = "`top_...`")),
    responses(
        (status = 200, body = TopupResponse),
        (status = 404, description = "No such top-up of yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_topup(
    State(service): State<TopupService>,
    MerchantOrCustomer(user): MerchantOrCustomer,
    _: NoQuery,
    ApiPath(topup_id): ApiPath<String>,
) -> Result<Json<TopupResponse>, AppError> {
    Ok(Json(service.get(&user, &topup_id).await?.into()))
}
