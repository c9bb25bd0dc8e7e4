//! The gateway's answers, in its own words.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::books::Payment;

/// An answer with nothing wrong about it: a payment, or a refusal with a reason.
pub struct Natural {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON.
    pub body: Value,
}

impl IntoResponse for Natural {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// `error` with a code for programs and a message for people.
#[derive(Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned() }
    }

    /// No payment has the reference.
    pub fn payment_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "payment_not_found", "No payment has this reference")
    }

    /// Another payment has the reference.
    pub fn reference_conflict() -> Self {
        Self::new(StatusCode::CONFLICT, "reference_conflict", "A payment of another amount has this reference")
    }

    /// As it is sent.
    pub fn body(&self) -> Value {
        json!({"error": {"code": self.code, "message": self.message}})
    }
}

/// The refusal of a token.
pub fn invalid_token() -> Response {
    Refusal::new(StatusCode::UNAUTHORIZED, "invalid_token", "The access token is not valid").into_response()
}

/// A path that does not exist.
pub fn not_found() -> Response {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here").into_response()
}

/// A defect of the stand-in; no fault rule answers 501.
pub fn simulator_failed() -> Response {
    Refusal::new(StatusCode::NOT_IMPLEMENTED, "simulator_failed", "the simulator itself failed").into_response()
}

/// A payment as it stands. `base` is where the gateway's pages are.
pub fn payment(payment: &Payment, base: &str) -> Value {
    json!({
        "paymentId": payment.id,
        "reference": payment.create.reference,
        "status": payment.status().word(),
        "amount": payment.create.amount,
        "currency": payment.create.currency,
        "paymentUrl": format!("{base}/pay/{}", payment.id),
        "expiresAt": payment.create.expires_at_text,
    })
}
