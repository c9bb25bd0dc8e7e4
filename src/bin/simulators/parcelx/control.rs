//! Books to read and knobs to turn; not part of the carrier's API, and open to anybody who can reach
//! the port.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, books::Status, faults::NewRule};

/// Routes under `_books` and `_control`.
pub fn router(carrier: Shared) -> Router {
    Router::new()
        .route("/_books", get(read_totals).delete(clear_books))
        .route("/_books/orders", get(list_orders))
        .route("/_books/orders/{client_order_id}", get(read_order))
        .route("/_books/invoices/{invoice_number}", get(read_invoice))
        .route("/_control/rules", get(list_rules).post(add_rule).delete(clear_rules))
        .route("/_control/shipments/{awb}", post(set_shipment))
        .route("/_control/token", post(set_token))
        .with_state(carrier)
}

async fn read_totals(State(carrier): State<Shared>) -> Json<Value> {
    Json(carrier.lock().books.totals())
}

async fn clear_books(State(carrier): State<Shared>) -> StatusCode {
    carrier.lock().books.clear();
    StatusCode::NO_CONTENT
}

async fn list_orders(State(carrier): State<Shared>) -> Json<Vec<Value>> {
    Json(carrier.lock().books.orders())
}

async fn read_order(State(carrier): State<Shared>, Path(client_order_id): Path<String>) -> Response {
    found(carrier.lock().books.order(&client_order_id), "no create call carried this client_order_id")
}

async fn read_invoice(State(carrier): State<Shared>, Path(invoice_number): Path<String>) -> Json<Vec<Value>> {
    Json(carrier.lock().books.invoice(&invoice_number))
}

async fn list_rules(State(carrier): State<Shared>) -> Response {
    Json(carrier.lock().rules.list()).into_response()
}

async fn add_rule(State(carrier): State<Shared>, Json(rule): Json<NewRule>) -> Response {
    match carrier.lock().rules.add(rule) {
        Ok(rule) => (StatusCode::CREATED, Json(rule)).into_response(),
        Err(problem) => failed(StatusCode::UNPROCESSABLE_ENTITY, &problem),
    }
}

async fn clear_rules(State(carrier): State<Shared>) -> StatusCode {
    carrier.lock().rules.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetShipment {
    status: Status,
}

async fn set_shipment(
    State(carrier): State<Shared>,
    Path(awb): Path<String>,
    Json(asked): Json<SetShipment>,
) -> Response {
    found(carrier.lock().books.set_status(&awb, asked.status), "no shipment has this AWB")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetToken {
    /// The `access-token` header in full, or the `key:secret` in it; null accepts any.
    expected: Option<String>,
}

async fn set_token(State(carrier): State<Shared>, Json(asked): Json<SetToken>) -> StatusCode {
    carrier.lock().expected_token = asked.expected;
    StatusCode::NO_CONTENT
}

fn found(value: Option<Value>, otherwise: &str) -> Response {
    match value {
        Some(value) => Json(value).into_response(),
        None => failed(StatusCode::NOT_FOUND, otherwise),
    }
}

fn failed(status: StatusCode, problem: &str) -> Response {
    (status, Json(json!({"error": problem}))).into_response()
}
