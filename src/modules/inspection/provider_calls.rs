//! `/audit/provider-requests` and `/audit/provider-responses`: every call to a provider, with what was sent and answered.

use axum::{Extension, Json, extract::State};
use bson::{Bson, Document};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::paging::{ListOrder, PagePosition, RangeResponse, scope_of};
use crate::{
    modules::audit::{
        CallFilter, CallSearch, CallWithAnswers, ErrorClass, ListedCall, ProviderRequestLog, ProviderResponseLog,
    },
    platform::{
        clock::{Clock, Rfc3339Time},
        error::{AppError, ErrorKind, Problem},
        http::{ApiPath, ApiQuery, NoQuery},
        identity::{About, AdminReader},
        walk::TimeRange,
    },
};

const PAGE: usize = 20;

/// State of the routes.
#[derive(Clone, Debug)]
pub struct ProviderCalls {
    /// Finds calls.
    pub search: CallSearch,
    /// Time.
    pub clock: Clock,
}

/// The routes.
pub fn provider_call_router(calls: ProviderCalls) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_provider_requests))
        .routes(routes!(get_provider_request))
        .routes(routes!(get_provider_response))
        .routes(routes!(list_exchanges))
        .with_state(calls)
}

/// `GET /audit/provider-requests`
#[derive(Clone, Debug, Deserialize, Serialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListCallsQuery {
    /// Calls on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before, with the same filters.
    #[serde(skip_serializing)]
    cursor: Option<String>,
    /// Newest or oldest first.
    #[serde(default)]
    #[param(inline)]
    order: ListOrder,
    /// About this order.
    #[validate(length(min = 1, max = 128))]
    order_id: Option<String>,
    /// User.
    #[validate(length(min = 1, max = 128))]
    user_id: Option<String>,
    /// About the order that its merchant calls so.
    #[validate(length(min = 1, max = 128))]
    client_order_id: Option<String>,
    /// Following from the request with this id (`X-Request-Id`).
    #[validate(length(min = 1, max = 128))]
    correlation_id: Option<String>,
    /// Answered with this shipment.
    #[validate(length(min = 1, max = 128))]
    awb: Option<String>,
    /// Provider: `parcelx`, `paygate`, `idcheck`.
    #[validate(length(min = 1, max = 64))]
    provider: Option<String>,
    /// Operation: `create_order`, `start_payment`, `verify_pan`, ...
    #[validate(length(min = 1, max = 64))]
    operation: Option<String>,
    /// Account: `parcelx/default`, ...
    #[validate(length(min = 1, max = 128))]
    account_id: Option<String>,
    /// Outcome: `done`, `found`, `absent`, `retryable`, `unknown`, `fatal`.
    #[validate(length(min = 1, max = 64))]
    outcome: Option<String>,
    /// Class of the error.
    #[param(inline)]
    error_class: Option<ErrorClass>,
    /// Answered with this status.
    #[validate(range(min = 100, max = 599))]
    #[param(minimum = 100, maximum = 599)]
    http_status: Option<i32>,
    /// Start of the period, RFC 3339; by the time that the list is ordered by.
    #[param(value_type = Option<String>)]
    from: Option<Rfc3339Time>,
    /// Before then, RFC 3339.
    #[param(value_type = Option<String>)]
    to: Option<Rfc3339Time>,
}

/// A page of calls.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallListResponse {
    items: Vec<CallSummary>,
    /// Send it as `cursor`, with the same filters, for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Whether there may be more although this page is not full: looking ended here. Go on with the cursor.
    partial: bool,
    /// The time that was looked at: a day at most unless order, user, clientOrderId, AWB or correlation id is given.
    range: RangeResponse,
}

/// A call in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallSummary {
    #[serde(flatten)]
    keys: CallKeys,
    /// None while it runs.
    responses: Vec<AnswerSummary>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AnswerSummary {
    response_ref_id: String,
    outcome: String,
    error_class: Option<ErrorClass>,
    error_code: Option<String>,
    /// Null where there was no answer.
    http_status: Option<i32>,
    awb: Option<String>,
    latency_ms: i64,
    /// Whether it came after its worker had lost the job; nothing followed from it then.
    late: bool,
    received_at: Rfc3339Time,
}

/// A call with what was sent, redacted as it is stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallResponse {
    #[serde(flatten)]
    keys: CallKeys,
    method: String,
    url: String,
    #[schema(value_type = Object)]
    headers: serde_json::Value,
    #[schema(value_type = Object)]
    body: serde_json::Value,
    responses: Vec<AnswerResponse>,
}

/// The keys of a call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CallKeys {
    request_ref_id: String,
    order_id: Option<String>,
    user_id: String,
    client_order_id: Option<String>,
    /// The subject, where it is no order: a top-up, an application.
    resource_id: Option<String>,
    provider: String,
    operation: String,
    account_id: String,
    attempt: i32,
    job_id: String,
    worker_id: String,
    correlation_id: String,
    /// Null in a list where the request was purged and an answer to it was not yet.
    sent_at: Option<Rfc3339Time>,
}

/// An answer, or the statement that there was none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AnswerResponse {
    #[serde(flatten)]
    summary: AnswerSummary,
    request_ref_id: String,
    order_id: Option<String>,
    user_id: String,
    client_order_id: Option<String>,
    resource_id: Option<String>,
    provider: String,
    operation: String,
    attempt: i32,
    correlation_id: String,
    error_message: Option<String>,
    #[schema(value_type = Object)]
    headers: serde_json::Value,
    #[schema(value_type = Object)]
    body: serde_json::Value,
}

impl From<ProviderRequestLog> for CallKeys {
    fn from(request: ProviderRequestLog) -> Self {
        Self {
            request_ref_id: request.id,
            order_id: request.order_id,
            user_id: request.user_id,
            client_order_id: request.client_order_id,
            resource_id: request.resource_id,
            provider: request.provider,
            operation: request.operation,
            account_id: request.account_id,
            attempt: request.attempt,
            job_id: request.job_id,
            worker_id: request.worker_id,
            correlation_id: request.correlation_id,
            sent_at: Some(Rfc3339Time(request.sent_at)),
        }
    }
}

/// Of a request that was purged: its answer has the same keys.
impl From<&ProviderResponseLog> for CallKeys {
    fn from(answer: &ProviderResponseLog) -> Self {
        Self {
            request_ref_id: answer.request_ref_id.clone(),
            order_id: answer.order_id.clone(),
            user_id: answer.user_id.clone(),
            client_order_id: answer.client_order_id.clone(),
            resource_id: answer.resource_id.clone(),
            provider: answer.provider.clone(),
            operation: answer.operation.clone(),
            account_id: answer.account_id.clone(),
            attempt: answer.attempt,
            job_id: answer.job_id.clone(),
            worker_id: answer.worker_id.clone(),
            correlation_id: answer.correlation_id.clone(),
            sent_at: None,
        }
    }
}

impl From<CallWithAnswers> for CallResponse {
    fn from(CallWithAnswers { request, responses }: CallWithAnswers) -> Self {
        Self {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: json(request.headers.clone()),
            body: request.body.clone().into_relaxed_extjson(),
            keys: request.into(),
            responses: responses.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<&ProviderResponseLog> for AnswerSummary {
    fn from(answer: &ProviderResponseLog) -> Self {
        Self {
            response_ref_id: answer.id.clone(),
            outcome: answer.outcome.clone(),
            error_class: answer.error_class,
            error_code: answer.error_code.clone(),
            http_status: answer.http_status,
            awb: answer.awb.clone(),
            latency_ms: answer.latency_ms,
            late: answer.late,
            received_at: Rfc3339Time(answer.received_at),
        }
    }
}

impl From<ProviderResponseLog> for AnswerResponse {
    fn from(answer: ProviderResponseLog) -> Self {
        Self {
            summary: (&answer).into(),
            request_ref_id: answer.request_ref_id,
            order_id: answer.order_id,
            user_id: answer.user_id,
            client_order_id: answer.client_order_id,
            resource_id: answer.resource_id,
            provider: answer.provider,
            operation: answer.operation,
            attempt: answer.attempt,
            correlation_id: answer.correlation_id,
            error_message: answer.error_message,
            headers: json(answer.headers),
            body: answer.body.into_relaxed_extjson(),
        }
    }
}

impl CallSummary {
    /// None for a call of which nothing is left.
    fn of(ListedCall { request, responses }: ListedCall) -> Option<Self> {
        let keys = request.map(Into::into).or_else(|| responses.first().map(Into::into))?;
        Some(Self { keys, responses: responses.iter().map(Into::into).collect() })
    }
}

fn json(document: Document) -> serde_json::Value {
    Bson::Document(document).into_relaxed_extjson()
}

impl ListCallsQuery {
    fn filter(&self) -> CallFilter {
        CallFilter {
            order_id: self.order_id.clone(),
            user_id: self.user_id.clone(),
            client_order_id: self.client_order_id.clone(),
            correlation_id: self.correlation_id.clone(),
            awb: self.awb.clone(),
            provider: self.provider.clone(),
            operation: self.operation.clone(),
            account_id: self.account_id.clone(),
            outcome: self.outcome.clone(),
            error_class: self.error_class,
            http_status: self.http_status,
            range: TimeRange { from: self.from.map(|time| time.0), to: self.to.map(|time| time.0) },
        }
    }

    /// The scope of a list: a cursor goes with the filters under which it was given.
    fn scope(&self, reader: &str) -> String {
        scope_of("provider calls", reader, &Self { limit: None, ..self.clone() })
    }
}

/// Lists calls to providers, each once. Filters hold together. Without order, user, clientOrderId, AWB or correlation id a page
/// stays within a day, and says so in `range`. Order, `from` and `to` are by the time of the request; but with an AWB, and with
/// outcome, error class or HTTP status where none of these keys is given, by the time of the answer: of several that match the
/// newest counts in a list from the newest, the oldest in one from the oldest.
#[utoipa::path(get, path = "/audit/provider-requests", tag = "audit", security(("bearer" = [])), params(ListCallsQuery),
    responses(
        (status = 200, body = CallListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_provider_requests(
    State(calls): State<ProviderCalls>,
    AdminReader(reader): AdminReader,
    ApiQuery(query): ApiQuery<ListCallsQuery>,
) -> Result<(Extension<About>, Json<CallListResponse>), AppError> {
    let mut filter = query.filter();
    let order = query.order.into();
    let scope = query.scope(&reader.user_id);
    let place = PagePosition::open(&scope, query.cursor.as_deref(), filter.range)?;
    // The range of the first page is that of all: it would move with the time otherwise.
    filter = match &place {
        Some(place) => CallFilter { range: place.range, ..filter },
        None => filter.bounded(order, calls.clock.now()),
    };
    let after = place.as_ref().map(|place| &*place.id);
    let found = calls.search.list(&filter, order, after, query.limit.unwrap_or(PAGE)).await?;
    let next_cursor = found.next.map(|id| PagePosition { range: filter.range, id }.seal(&scope));
    let shown = found.calls.iter().filter_map(ListedCall::concerns);
    let about = About::shared(shown).or(About::new(query.order_id.as_deref(), query.user_id.as_deref()));
    let page = CallListResponse {
        items: found.calls.into_iter().filter_map(CallSummary::of).collect(),
        next_cursor,
        partial: found.partial,
        range: filter.range.into(),
    };
    Ok((Extension(about), Json(page)))
}

/// Calls about an order whose headers and bodies are shown together.
const EXCHANGES_MAX: usize = 50;

/// The calls about an order, whole.
#[derive(Debug, Serialize, ToSchema)]
struct ExchangeListResponse {
    /// Oldest first.
    items: Vec<CallResponse>,
    /// Whether there are older ones: only the latest 50 are shown.
    truncated: bool,
}

/// The calls about an order with all their answers: what was sent and what came back, as far as it may be stored.
#[utoipa::path(get, path = "/audit/orders/{orderId}/exchanges", tag = "audit", security(("bearer" = [])),
    params(("orderId" = String, Path, description = "`ord_...`")),
    responses((status = 200, description = "None where there is no such order.", body = ExchangeListResponse)))]
async fn list_exchanges(
    State(calls): State<ProviderCalls>,
    _: AdminReader,
    _: NoQuery,
    ApiPath(order_id): ApiPath<String>,
) -> Result<(Extension<About>, Json<ExchangeListResponse>), AppError> {
    let (exchanges, truncated) = calls.search.calls_of_order(&order_id, EXCHANGES_MAX).await?;
    let user_id = exchanges.first().map(|exchange| exchange.request.user_id.clone());
    let about = About::new(Some(&order_id), user_id.as_deref());
    let items = exchanges.into_iter().map(Into::into).collect();
    Ok((Extension(about), Json(ExchangeListResponse { items, truncated })))
}

/// One call with all its answers: request and responses, as far as they may be stored.
#[utoipa::path(get, path = "/audit/provider-requests/{requestRefId}", tag = "audit", security(("bearer" = [])),
    params(("requestRefId" = String, Path, description = "`req_...`")),
    responses(
        (status = 200, body = CallResponse),
        (status = 404, description = "No such call.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_provider_request(
    State(calls): State<ProviderCalls>,
    _: AdminReader,
    _: NoQuery,
    ApiPath(request_ref_id): ApiPath<String>,
) -> Result<(Extension<About>, Json<CallResponse>), AppError> {
    let call = calls.search.find(&request_ref_id).await?.ok_or_else(not_found)?;
    let about = About::new(call.request.order_id.as_deref(), Some(&call.request.user_id));
    Ok((Extension(about), Json(call.into())))
}

/// One answer.
#[utoipa::path(get, path = "/audit/provider-responses/{responseRefId}", tag = "audit", security(("bearer" = [])),
    params(("responseRefId" = String, Path, description = "`res_...`")),
    responses(
        (status = 200, body = AnswerResponse),
        (status = 404, description = "No such answer.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_provider_response(
    State(calls): State<ProviderCalls>,
    _: AdminReader,
    _: NoQuery,
    ApiPath(response_ref_id): ApiPath<String>,
) -> Result<(Extension<About>, Json<AnswerResponse>), AppError> {
    let answer = calls.search.find_response(&response_ref_id).await?.ok_or_else(not_found)?;
    let about = About::new(answer.order_id.as_deref(), Some(&answer.user_id));
    Ok((Extension(about), Json(answer.into())))
}

fn not_found() -> AppError {
    AppError::new(ErrorKind::NotFound, "audit.not_found", "There is no such record.")
}
