//! `/audit/events`: who did what, and who looked at what.

use axum::{Extension, Json, extract::State};
use mongodb::Database;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::{
    order_story::{ActorResponse, json},
    paging::{ListOrder, PagePosition, RangeResponse, scope_of},
    trail::{TrailFilter, list_trail},
};
use crate::{
    modules::audit::{AuditEvent, AuditOutcome},
    platform::{
        clock::{Clock, Rfc3339Time},
        error::{AppError, Problem},
        http::ApiQuery,
        identity::{About, AdminReader},
        walk::{Direction, TimeRange},
    },
};

const PAGE: usize = 20;

/// State of the route.
#[derive(Clone, Debug)]
pub struct AuditTrail {
    /// Where events and audit events are.
    pub db: Database,
    /// Time.
    pub clock: Clock,
}

/// The route.
pub fn audit_event_router(trail: AuditTrail) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_audit_events)).with_state(trail)
}

/// `GET /audit/events`
#[derive(Clone, Debug, Deserialize, Serialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListEventsQuery {
    /// Events on a page.
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
    /// Done to, or read of, this: an id, or a route.
    #[validate(length(min = 1, max = 300))]
    resource_id: Option<String>,
    /// Done in, or following from, the request with this id (`X-Request-Id`).
    #[validate(length(min = 1, max = 128))]
    request_id: Option<String>,
    /// Done by this user, worker, provider or command.
    #[validate(length(min = 1, max = 128))]
    actor_id: Option<String>,
    /// Concerning what is this user's.
    #[validate(length(min = 1, max = 128))]
    user_id: Option<String>,
    /// Action: `kyc.approved`, `request.read`, ...; or type of event: `OrderCreated`, ...
    #[validate(length(min = 1, max = 64))]
    action: Option<String>,
    /// Outcome.
    #[param(inline)]
    outcome: Option<AuditOutcome>,
    /// Start of the period, RFC 3339.
    #[param(value_type = Option<String>)]
    from: Option<Rfc3339Time>,
    /// Before then, RFC 3339.
    #[param(value_type = Option<String>)]
    to: Option<Rfc3339Time>,
}

/// A page of audit events.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditEventListResponse {
    items: Vec<AuditEventResponse>,
    /// Send it as `cursor`, with the same filters, for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Whether there may be more although this page is not full: looking ended here. Go on with the cursor.
    partial: bool,
    /// A day at most unless resource, request, actor or user is given.
    range: RangeResponse,
}

/// An audit event: something that was done or read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditEventResponse {
    /// `aud_...`, or `evt_...` of an event. A change of an application has both: their ids differ in this prefix only.
    event_id: String,
    at: Rfc3339Time,
    actor: ActorResponse,
    /// Module and verb, `request.read`; of an event its type, `OrderCreated`.
    #[schema(example = "kyc.approved")]
    action: String,
    /// `order`, `topup`, `kyc_application`, `route`, ...
    #[schema(example = "order")]
    resource_type: String,
    resource_id: String,
    /// The user that it is about, where that is known.
    user_id: Option<String>,
    outcome: AuditOutcome,
    reason: Option<String>,
    /// Changed fields before; null for an event.
    #[schema(value_type = Option<Object>)]
    before: Option<serde_json::Value>,
    /// The same fields after; of a request what it was, of an event ids and states.
    #[schema(value_type = Option<Object>)]
    after: Option<serde_json::Value>,
}

impl From<AuditEvent> for AuditEventResponse {
    fn from(event: AuditEvent) -> Self {
        Self {
            event_id: event.id,
            at: Rfc3339Time(event.at),
            actor: event.actor.into(),
            action: event.action,
            resource_type: event.resource_type,
            resource_id: event.resource_id,
            user_id: event.user_id,
            outcome: event.outcome,
            reason: event.reason,
            before: event.before.map(json),
            after: event.after.map(json),
        }
    }
}

impl ListEventsQuery {
    fn filter(&self) -> TrailFilter {
        TrailFilter {
            resource_id: self.resource_id.clone(),
            request_id: self.request_id.clone(),
            actor_id: self.actor_id.clone(),
            user_id: self.user_id.clone(),
            action: self.action.clone(),
            outcome: self.outcome,
            range: TimeRange { from: self.from.map(|time| time.0), to: self.to.map(|time| time.0) },
        }
    }
}

/// Lists who did what and who looked at what: audit events, and the events of orders, top-ups and applications, in one order.
/// Filters hold together. Without resource, request, actor or user a page stays within a day, and says so in `range`. An order's
/// calls and money are in its story, `/audit/orders/{orderId}`.
#[utoipa::path(get, path = "/audit/events", tag = "audit", security(("bearer" = [])), params(ListEventsQuery),
    responses(
        (status = 200, body = AuditEventListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_audit_events(
    State(trail): State<AuditTrail>,
    AdminReader(reader): AdminReader,
    ApiQuery(query): ApiQuery<ListEventsQuery>,
) -> Result<(Extension<About>, Json<AuditEventListResponse>), AppError> {
    let order: Direction = query.order.into();
    let mut filter = query.filter();
    let scope = scope_of("audit events", &reader.user_id, &ListEventsQuery { limit: None, ..query.clone() });
    let place = PagePosition::open(&scope, query.cursor.as_deref(), filter.range)?;
    filter.range = match &place {
        Some(place) => place.range,
        None if filter.is_selective() => filter.range,
        None => filter.range.a_day(order, trail.clock.now()),
    };
    let after = place.as_ref().map(|place| &*place.id);
    let found = list_trail(&trail.db, &filter, order, after, query.limit.unwrap_or(PAGE)).await?;
    let shown = found.records.iter().map(|record| (Some(&*record.resource_id), record.user_id.as_deref()));
    let about = About::shared(shown).or(About::new(filter.resource_id.as_deref(), filter.user_id.as_deref()));
    let page = AuditEventListResponse {
        items: found.records.into_iter().map(Into::into).collect(),
        next_cursor: found.next.map(|id| PagePosition { range: filter.range, id }.seal(&scope)),
        partial: found.partial,
        range: filter.range.into(),
    };
    Ok((Extension(about), Json(page)))
}
