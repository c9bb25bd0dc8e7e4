//! Books to read and knobs to turn; not part of the gateway's API, and open to anybody who can reach the port.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Number, Value, json};

use super::{
    Shared,
    books::Deed,
    callbacks::{self, Plan, Sign, Target},
    faults::NewRule,
};

/// Deliveries of one event; more than that prove nothing new.
const TIMES_MAX: u32 = 100;

/// Routes under `_books` and `_control`.
pub fn router(shared: Shared) -> Router {
    Router::new()
        .route("/_books", get(read_totals).delete(clear_books))
        .route("/_books/payments", get(list_payments))
        .route("/_books/payments/{reference}", get(read_payment))
        .route("/_control/rules", get(list_rules).post(add_rule).delete(clear_rules))
        .route("/_control/token", post(set_token))
        .route("/_control/callback", post(set_callback))
        .route("/_control/auto", post(set_auto))
        .route("/_control/payments/{reference}", post(change_payment))
        .with_state(shared)
}

async fn read_totals(State(shared): State<Shared>) -> Json<Value> {
    Json(shared.lock().books.totals())
}

async fn clear_books(State(shared): State<Shared>) -> StatusCode {
    shared.lock().books.clear();
    StatusCode::NO_CONTENT
}

async fn list_payments(State(shared): State<Shared>) -> Json<Vec<Value>> {
    Json(shared.lock().books.entries())
}

async fn read_payment(State(shared): State<Shared>, Path(reference): Path<String>) -> Response {
    match shared.lock().books.entry(&reference) {
        Some(entry) => Json(entry).into_response(),
        None => failed(StatusCode::NOT_FOUND, "no create call carried this reference"),
    }
}

async fn list_rules(State(shared): State<Shared>) -> Response {
    Json(shared.lock().rules.list()).into_response()
}

async fn add_rule(State(shared): State<Shared>, Json(rule): Json<NewRule>) -> Response {
    match shared.lock().rules.add(rule) {
        Ok(rule) => (StatusCode::CREATED, Json(rule)).into_response(),
        Err(problem) => failed(StatusCode::UNPROCESSABLE_ENTITY, &problem),
    }
}

async fn clear_rules(State(shared): State<Shared>) -> StatusCode {
    shared.lock().rules.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetToken {
    /// What follows `Bearer`; null accepts any.
    expected: Option<String>,
}

async fn set_token(State(shared): State<Shared>, Json(asked): Json<SetToken>) -> StatusCode {
    shared.lock().expected_token = asked.expected;
    StatusCode::NO_CONTENT
}

async fn set_callback(State(shared): State<Shared>, Json(target): Json<Target>) -> Response {
    if !reqwest::Url::parse(&target.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        return failed(StatusCode::UNPROCESSABLE_ENTITY, "url must be an absolute http or https address");
    }
    if target.secret.is_empty() {
        return failed(StatusCode::UNPROCESSABLE_ENTITY, "secret must not be empty");
    }
    shared.lock().callbacks = Some(target);
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetAuto {
    /// Null pays nothing by itself.
    delay_ms: Option<u64>,
}

async fn set_auto(State(shared): State<Shared>, Json(asked): Json<SetAuto>) -> StatusCode {
    shared.lock().auto_after = asked.delay_ms.map(Duration::from_millis);
    StatusCode::NO_CONTENT
}

/// What is to happen to a payment. Absent and null mean the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Change {
    #[serde(rename = "do")]
    deed: Deed,
    times: Option<u32>,
    at_once: Option<bool>,
    sign: Option<Sign>,
    amount: Option<Number>,
    deliver: Option<bool>,
    event_id: Option<String>,
    retry: Option<bool>,
    signed_at_seconds: Option<i64>,
}

async fn change_payment(
    State(shared): State<Shared>,
    Path(reference): Path<String>,
    Json(change): Json<Change>,
) -> Response {
    let times = change.times.unwrap_or(1);
    if !(1..=TIMES_MAX).contains(&times) {
        return failed(StatusCode::UNPROCESSABLE_ENTITY, &format!("times must be between 1 and {TIMES_MAX}"));
    }
    let sign = change.sign.unwrap_or(Sign::Valid);
    let plan = Plan {
        deed: change.deed,
        deliver: change.deliver.unwrap_or(true),
        sign,
        times,
        at_once: change.at_once.unwrap_or(false),
        // A bad signature stays bad: trying it again would only make its test slow.
        retry: change.retry.unwrap_or(sign == Sign::Valid),
        amount: change.amount,
        event_id: change.event_id,
        signed_at_seconds: change.signed_at_seconds,
    };
    match callbacks::carry_out(&shared, &reference, plan).await {
        Ok(told) => Json(told).into_response(),
        Err(problem) => failed(problem.status(), problem.text()),
    }
}

fn failed(status: StatusCode, problem: &str) -> Response {
    (status, Json(json!({"error": problem}))).into_response()
}
