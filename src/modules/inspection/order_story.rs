//! `/audit/orders/{orderId}`: all that happened to one order, in time order, from every book there is.

use axum::{Extension, Json, extract::State};
use bson::{Bson, DateTime, Document, doc};
use mongodb::Database;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    modules::{
        audit::{AuditEvent, AuditStore, ProviderRequestLog, ProviderResponseLog},
        events::{Event, EventStore},
        orders::{ORDERS, Order, OrderStatus, ProviderSyncStatus},
        wallet::{LedgerTransaction, WalletStore},
    },
    platform::{
        clock::Rfc3339Time,
        error::{AppError, ErrorKind, Problem},
        http::{ApiPath, NoQuery},
        identity::{About, Actor, AdminReader},
        mongo::{Latest, READ_TIME_MAX},
    },
};

/// State of the route.
#[derive(Clone, Debug)]
pub struct OrderStories {
    /// Orders themselves.
    pub db: Database,
    /// Changes of their state.
    pub events: EventStore,
    /// Calls about them, and what people did to them.
    pub audit: AuditStore,
    /// Money.
    pub wallets: WalletStore,
}

/// The route.
pub fn order_story_router(stories: OrderStories) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(get_order_story)).with_state(stories)
}

/// An order and its story.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StoryResponse {
    order_id: String,
    order_number: String,
    user_id: String,
    client_order_id: String,
    provider: String,
    status: OrderStatus,
    provider_sync_status: ProviderSyncStatus,
    awb: Option<String>,
    /// An operator's note.
    comment: Option<String>,
    /// The job that places it.
    job_id: String,
    /// Everything, oldest first.
    entries: Vec<StoryEntry>,
    /// Whether there is more, and older: of each source only the latest 500 are shown.
    truncated: bool,
}

/// An entry of the story.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StoryEntry {
    at: Rfc3339Time,
    /// `event`: a change of state; `request`, `response`: a call; `ledger`: money; `audit`: a person looked or acted.
    #[schema(example = "event")]
    source: &'static str,
    /// `evt_...`, `req_...`, `res_...`, `txn_...`, `aud_...`
    record_id: String,
    /// `OrderCreated`, `create_order`, `freight_hold`, ...
    name: String,
    /// The actor; null for a call.
    actor: Option<ActorResponse>,
    /// Further details: states, outcomes, lines.
    #[schema(value_type = Object)]
    detail: serde_json::Value,
}

/// An actor.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActorResponse {
    /// `user`, `worker`, `provider`, `command_line`, `system`.
    kind: String,
    id: String,
    role: Option<String>,
    address: Option<String>,
    /// `X-Request-Id` of the request behind it.
    request_id: Option<String>,
    /// `key_...` of the API key with which the user asked; null where it was none.
    key_id: Option<String>,
}

impl From<Actor> for ActorResponse {
    fn from(actor: Actor) -> Self {
        let Actor { kind, id, role, address, request_id, key_id } = actor;
        Self { kind, id, role, address, request_id, key_id }
    }
}

pub(super) fn json(document: Document) -> serde_json::Value {
    Bson::Document(document).into_relaxed_extjson()
}

fn entry(
    at: DateTime,
    source: &'static str,
    record_id: String,
    name: String,
    actor: Option<Actor>,
    detail: Document,
) -> StoryEntry {
    StoryEntry { at: Rfc3339Time(at), source, record_id, name, actor: actor.map(Into::into), detail: json(detail) }
}

impl From<Event> for StoryEntry {
    fn from(event: Event) -> Self {
        entry(event.at, "event", event.id, event.kind, Some(event.actor), event.data)
    }
}

impl From<ProviderRequestLog> for StoryEntry {
    fn from(request: ProviderRequestLog) -> Self {
        let detail = doc! {
            "attempt": request.attempt,
            "jobId": request.job_id,
            "workerId": request.worker_id,
            "accountId": request.account_id,
            "correlationId": request.correlation_id,
        };
        entry(request.sent_at, "request", request.id, request.operation, None, detail)
    }
}

impl From<ProviderResponseLog> for StoryEntry {
    fn from(answer: ProviderResponseLog) -> Self {
        let detail = doc! {
            "requestRefId": answer.request_ref_id,
            "outcome": answer.outcome,
            "errorClass": answer.error_class.map(crate::modules::audit::ErrorClass::as_str),
            "errorCode": answer.error_code,
            "errorMessage": answer.error_message,
            "httpStatus": answer.http_status,
            "awb": answer.awb,
            "latencyMs": answer.latency_ms,
            "late": answer.late,
        };
        entry(answer.received_at, "response", answer.id, answer.operation, None, detail)
    }
}

impl From<LedgerTransaction> for StoryEntry {
    fn from(booked: LedgerTransaction) -> Self {
        let lines: Vec<Document> = booked
            .lines
            .iter()
            .map(|line| doc! { "account": line.account.to_string(), "amount": line.amount })
            .collect();
        let detail = doc! {
            "currency": booked.currency.code(),
            "lines": lines,
            "referenceId": booked.reference_id,
            "holdId": booked.hold_id,
            "reverses": booked.reverses,
            "reason": booked.reason,
        };
        entry(booked.at, "ledger", booked.id, booked.kind.as_str().into(), Some(booked.actor), detail)
    }
}

impl From<AuditEvent> for StoryEntry {
    fn from(event: AuditEvent) -> Self {
        let detail = doc! { "reason": event.reason, "before": event.before, "after": event.after };
        entry(event.at, "audit", event.id, event.action, Some(event.actor), detail)
    }
}

/// The entries of one source, and whether there are older ones.
fn told<T: Into<StoryEntry>>(source: Latest<T>) -> (Vec<StoryEntry>, bool) {
    (source.records.into_iter().map(Into::into).collect(), source.truncated)
}

/// Everything that happened to one order: who asked for what, changes of its state, calls and answers, money.
#[utoipa::path(get, path = "/audit/orders/{orderId}", tag = "audit", security(("bearer" = [])),
    params(("orderId" = String, Path, description = "`ord_...`")),
    responses(
        (status = 200, body = StoryResponse),
        (status = 404, description = "No such order.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_order_story(
    State(stories): State<OrderStories>,
    _: AdminReader,
    _: NoQuery,
    ApiPath(order_id): ApiPath<String>,
) -> Result<(Extension<About>, Json<StoryResponse>), AppError> {
    let order: Option<Order> =
        stories.db.collection(ORDERS).find_one(doc! { "_id": &order_id }).max_time(READ_TIME_MAX).await?;
    let order =
        order.ok_or_else(|| AppError::new(ErrorKind::NotFound, "audit.not_found", "There is no such order."))?;
    let about = About::new(Some(&order.id), Some(&order.user_id));
    Ok((Extension(about), Json(stories.tell(order).await?)))
}

impl OrderStories {
    async fn tell(&self, order: Order) -> mongodb::error::Result<StoryResponse> {
        let (events, requests, responses, booked, acts) = tokio::try_join!(
            self.events.list_for(&order.id),
            self.audit.list_requests(&order.id),
            self.audit.list_responses(&order.id),
            self.wallets.transactions_about("order", &order.id),
            self.audit.list_events(&order.id),
        )?;
        let (mut entries, mut truncated) = (Vec::new(), false);
        let mut add = |(told, more): (Vec<StoryEntry>, bool)| {
            entries.extend(told);
            truncated |= more;
        };
        add(told(events));
        add(told(requests));
        add(told(responses));
        add(told(booked));
        add(told(acts));
        // What shares a millisecond stays in the order in which one thing leads to the next.
        entries.sort_by_key(|entry| entry.at);
        Ok(StoryResponse {
            order_id: order.id,
            order_number: order.order_number,
            user_id: order.user_id,
            client_order_id: order.client_order_id,
            provider: order.provider,
            status: order.status,
            provider_sync_status: order.provider_sync_status,
            awb: order.reference,
            comment: order.comment,
            job_id: order.job_id,
            entries,
            truncated,
        })
    }
}
