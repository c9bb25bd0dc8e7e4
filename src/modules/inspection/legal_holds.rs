//! `/audit/legal-holds`: what must not be purged or erased.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Json, extract::State, http::StatusCode, response::Response};
use mongodb::Database;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::{Validate, ValidationError};

use crate::{
    modules::{
        audit::retention::{
            HoldKind, HoldPlaced, LegalHold, LegalHoldState, PlaceHold, ReleaseHold, Released, list_holds,
        },
        auth::{AsUser, user_key},
        kyc::identifiers::no_secrets,
        orders::ORDERS,
    },
    platform::{
        batch::{Key, Lane},
        clock::Rfc3339Time,
        error::{AppError, ErrorKind, Problem},
        http::{ApiJson, ApiPath, ApiQuery, NoQuery, answered, cursor},
        identity::{Actor, Admin, AdminReader},
        ids::new_id,
        text::holds_unseen,
    },
};

const PAGE: usize = 20;

/// State of the routes.
#[derive(Clone, Debug)]
pub struct LegalHolds {
    /// Where holds are.
    pub db: Database,
    /// Places and releases them.
    pub lane: Lane,
    /// Whether the unique indexes are there: without them an order could have two holds.
    pub indexes_present: Arc<AtomicBool>,
}

/// The routes.
pub fn legal_hold_router(holds: LegalHolds) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_legal_holds, place_legal_hold))
        .routes(routes!(release_legal_hold))
        .with_state(holds)
}

/// `POST /audit/legal-holds`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlaceHoldRequest {
    kind: HoldKind,
    /// `ord_...` or `usr_...`
    #[validate(length(min = 1, max = 128))]
    id: String,
    /// The reason; it is recorded.
    #[validate(length(min = 3, max = 300), custom(function = "reason"))]
    reason: String,
}

/// `DELETE /audit/legal-holds/{holdId}`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReleaseHoldRequest {
    /// The reason; it is recorded.
    #[validate(length(min = 3, max = 300), custom(function = "reason"))]
    reason: String,
}

fn reason(text: &str) -> Result<(), ValidationError> {
    if holds_unseen(text) {
        return Err(ValidationError::new("format").with_message("must hold no control characters".into()));
    }
    no_secrets(text)
}

/// `GET /audit/legal-holds`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListHoldsQuery {
    /// Holds on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "hold_cursor"))]
    cursor: Option<String>,
    /// State of the holds: in force or released; all by default.
    #[param(inline)]
    state: Option<LegalHoldState>,
}

fn hold_cursor(cursor: &str) -> Result<(), ValidationError> {
    cursor::check_id("lgh", cursor)
}

/// A page of holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HoldListResponse {
    /// Newest first.
    items: Vec<HoldResponse>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A legal hold: while it is in force, records that name the order or the user are neither purged nor erased.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HoldResponse {
    #[schema(example = "lgh_0198f0c2b1e07c3e8a41b5d0f3a2c4e6")]
    hold_id: String,
    kind: HoldKind,
    /// The order or the user.
    id: String,
    /// The user, or whose order it is.
    user_id: String,
    state: LegalHoldState,
    reason: String,
    /// User id of who placed it.
    placed_by: String,
    placed_at: Rfc3339Time,
    /// User id of who released it; null while it is in force.
    released_by: Option<String>,
    released_at: Option<Rfc3339Time>,
    release_reason: Option<String>,
}

impl From<LegalHold> for HoldResponse {
    fn from(hold: LegalHold) -> Self {
        Self {
            state: hold.state(),
            hold_id: hold.id,
            kind: hold.kind,
            id: hold.subject_id,
            user_id: hold.user_id,
            reason: hold.reason,
            placed_by: hold.placed_by,
            placed_at: Rfc3339Time(hold.placed_at),
            released_by: hold.released_by,
            released_at: hold.released_at.map(Rfc3339Time),
            release_reason: hold.release_reason,
        }
    }
}

fn not_found(detail: &'static str) -> AppError {
    AppError::new(ErrorKind::NotFound, "audit.not_found", detail)
}

impl LegalHolds {
    fn ready(&self) -> Result<(), AppError> {
        if self.indexes_present.load(Ordering::Relaxed) { Ok(()) } else { Err(AppError::not_migrated()) }
    }
}

/// Legal holds, newest first.
#[utoipa::path(get, path = "/audit/legal-holds", tag = "audit", security(("bearer" = [])), params(ListHoldsQuery),
    responses(
        (status = 200, body = HoldListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_legal_holds(
    State(holds): State<LegalHolds>,
    _: AdminReader,
    ApiQuery(query): ApiQuery<ListHoldsQuery>,
) -> Result<Json<HoldListResponse>, AppError> {
    let limit = query.limit.unwrap_or(PAGE);
    let page = list_holds(&holds.db, query.state, query.cursor.as_deref(), limit).await?;
    Ok(Json(HoldListResponse { items: page.shown.into_iter().map(Into::into).collect(), next_cursor: page.next }))
}

/// Places a legal hold on an order or a user. Where one is in force already, that one is the answer.
#[utoipa::path(post, path = "/audit/legal-holds", tag = "audit", security(("bearer" = [])), request_body = PlaceHoldRequest,
    responses(
        (status = 201, description = "In force from now on.", body = HoldResponse),
        (status = 200, description = "In force already.", body = HoldResponse),
        (status = 404, description = "No such order or user.", body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    ))]
async fn place_legal_hold(
    State(holds): State<LegalHolds>,
    Admin(user): Admin,
    _: NoQuery,
    ApiJson(request): ApiJson<PlaceHoldRequest>,
) -> Result<Response, AppError> {
    holds.ready()?;
    let subject = match request.kind {
        HoldKind::Order => Key::id(ORDERS, &*request.id),
        HoldKind::User => user_key(&request.id),
    };
    let command = PlaceHold {
        hold_id: new_id("lgh"),
        kind: request.kind,
        subject,
        subject_id: request.id,
        reason: request.reason,
        actor: Actor::from(&user),
    };
    let (before, hold) = match holds.lane.submit(AsUser::new(&user, command)).await?? {
        HoldPlaced::New(hold) => (false, hold),
        HoldPlaced::Before(hold) => (true, hold),
        HoldPlaced::NoSubject => return Err(not_found("There is no such order or user.")),
    };
    Ok(answered(before, StatusCode::CREATED, HoldResponse::from(*hold)))
}

/// Releases a legal hold: what it kept may be purged and erased again. The hold itself stays on record.
#[utoipa::path(delete, path = "/audit/legal-holds/{holdId}", tag = "audit", security(("bearer" = [])),
    params(("holdId" = String, Path, description = "`lgh_...`")), request_body = ReleaseHoldRequest,
    responses(
        (status = 200, description = "Released, now or before.", body = HoldResponse),
        (status = 404, description = "No such hold.", body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    ))]
async fn release_legal_hold(
    State(holds): State<LegalHolds>,
    Admin(user): Admin,
    _: NoQuery,
    ApiPath(hold_id): ApiPath<String>,
    ApiJson(request): ApiJson<ReleaseHoldRequest>,
) -> Result<Response, AppError> {
    holds.ready()?;
    let command = ReleaseHold { hold_id, reason: request.reason, actor: Actor::from(&user), event_id: new_id("aud") };
    let (before, hold) = match holds.lane.submit(AsUser::new(&user, command)).await?? {
        Released::Now(hold) => (false, hold),
        Released::Before(hold) => (true, hold),
        Released::NotFound => return Err(not_found("There is no such legal hold.")),
    };
    Ok(answered(before, StatusCode::OK, HoldResponse::from(*hold)))
}
