//! Books to read and knobs to turn; not part of the provider's API, and open to anybody who can reach the port.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, faults::NewRule};

/// Routes under `_books` and `_control`.
pub fn router(shared: Shared) -> Router {
    Router::new()
        .route("/_books", get(read_totals).delete(clear_books))
        .route("/_books/checks", get(list_checks))
        .route("/_books/checks/{reference}", get(read_check))
        .route("/_control/rules", get(list_rules).post(add_rule).delete(clear_rules))
        .route("/_control/key", post(set_key))
        .with_state(shared)
}

async fn read_totals(State(shared): State<Shared>) -> Json<Value> {
    Json(shared.lock().books.totals())
}

async fn clear_books(State(shared): State<Shared>) -> StatusCode {
    shared.lock().books.clear();
    StatusCode::NO_CONTENT
}

async fn list_checks(State(shared): State<Shared>) -> Json<Vec<Value>> {
    Json(shared.lock().books.checks())
}

async fn read_check(State(shared): State<Shared>, Path(reference): Path<String>) -> Response {
    match shared.lock().books.check(&reference) {
        Some(check) => Json(check).into_response(),
        None => failed(StatusCode::NOT_FOUND, "no call carried this reference"),
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
struct SetKey {
    /// The `X-Api-Key` header; null accepts any.
    expected: Option<String>,
}

async fn set_key(State(shared): State<Shared>, Json(asked): Json<SetKey>) -> StatusCode {
    shared.lock().expected_key = asked.expected;
    StatusCode::NO_CONTENT
}

fn failed(status: StatusCode, problem: &str) -> Response {
    (status, Json(json!({"error": problem}))).into_response()
}
