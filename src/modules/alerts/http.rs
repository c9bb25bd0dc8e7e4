//! `/alerts`: what somebody has to look at.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::{
    model::{Alert, AlertState, AlertStore},
    rules::{Rule, Severity},
};
use crate::platform::{
    clock::Rfc3339Time,
    error::{AppError, Problem},
    http::ApiQuery,
    identity::Admin,
};

const LISTED_MAX: i64 = 200;

/// State of the routes.
#[derive(Clone, Debug)]
pub struct AlertBoard {
    /// Reads.
    pub store: AlertStore,
}

/// The routes.
pub fn router(board: AlertBoard) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_alerts)).with_state(board)
}

#[derive(Debug, Serialize, ToSchema)]
struct AlertListResponse {
    /// Alerts, those that fire first; of each state the latest first, 200 in all at most.
    items: Vec<AlertResponse>,
}

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AlertResponse {
    #[schema(example = "jobs-die:mail-queue")]
    alert_id: String,
    /// The rule; docs/operate.md lists them.
    #[schema(example = "jobs-die")]
    rule: String,
    /// The queue, provider, account or schedule.
    #[schema(example = "mail-queue")]
    about: String,
    severity: Severity,
    state: AlertState,
    /// Time since which it is in this state.
    since: Rfc3339Time,
    /// Time at which somebody was last told.
    fired_at: Option<Rfc3339Time>,
    /// The value now, or when it was last seen: jobs, orders, seconds, a share. 0 while it is pending.
    value: f64,
    /// A sentence on the state now; empty while it is pending.
    message: String,
    /// The remedy.
    advice: String,
    /// Channels that have not taken the latest news yet.
    undelivered: Vec<String>,
}

impl From<Alert> for AlertResponse {
    fn from(alert: Alert) -> Self {
        Self {
            advice: Rule::named(&alert.rule).map(|rule| rule.advice(&alert.about)).unwrap_or_default(),
            alert_id: alert.id,
            rule: alert.rule,
            about: alert.about,
            severity: alert.severity,
            state: alert.state,
            since: Rfc3339Time(alert.since),
            fired_at: alert.fired_at.map(Rfc3339Time),
            value: alert.value,
            message: alert.message,
            undelivered: alert.news.into_iter().map(|news| news.channel).collect(),
        }
    }
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListAlertsQuery {
    /// State.
    state: Option<AlertState>,
}

/// Alerts, firing and resolved.
#[utoipa::path(get, path = "/alerts", tag = "queues", params(ListAlertsQuery), security(("bearer" = [])),
    responses((status = 200, body = AlertListResponse),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
async fn list_alerts(
    State(board): State<AlertBoard>,
    _: Admin,
    ApiQuery(query): ApiQuery<ListAlertsQuery>,
) -> Result<Json<AlertListResponse>, AppError> {
    let items = board.store.list(query.state, LISTED_MAX).await?;
    Ok(Json(AlertListResponse { items: items.into_iter().map(Into::into).collect() }))
}
