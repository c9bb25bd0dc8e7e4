//! ParcelX, an Indian carrier (wire contract v3).
//!
//! It answers failures with any status and `status: false`, knows no idempotency key, and can be asked for an order by
//! our reference. So after a create whose answer is missing or unclear, only a look-up tells what happened.

mod wire;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    CancelOutcome, CreateOutcome, Failure, LookUpOutcome, Operation, OrderToPlace, PlacedShipment, Provider, Repeat,
    transport::{Transport, transport, unexpected},
};
use crate::platform::{
    exchange::{Answer, Credentials, Outbound},
    scrub::scrub,
};

pub use wire::redaction;

/// As in orders and logs.
pub const NAME: &str = "parcelx";

/// The adapter.
#[derive(Debug)]
pub struct ParcelX {
    base_url: String,
    token: SecretString,
}

impl ParcelX {
    /// An adapter for the API under `base_url` (`https://.../api/v3`) with the account's key pair.
    #[must_use]
    pub fn new(base_url: &str, access_key: &SecretString, secret_key: &SecretString) -> Self {
        let token = STANDARD.encode(format!("{}:{}", access_key.expose_secret(), secret_key.expose_secret()));
        Self { base_url: base_url.trim_end_matches('/').to_owned(), token: token.into() }
    }

    fn outbound(&self, operation: Operation, method: Method, path: &str, body: Option<serde_json::Value>) -> Outbound {
        Outbound {
            provider: NAME,
            operation: operation.as_str(),
            method,
            url: format!("{}{path}", self.base_url),
            body,
            redaction: redaction(operation),
        }
    }
}

#[async_trait]
impl Provider for ParcelX {
    fn name(&self) -> &'static str {
        NAME
    }

    fn account_id(&self) -> &str {
        "parcelx/default"
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        &["access-token"]
    }

    async fn credentials(&self) -> Option<Credentials> {
        let mut value = HeaderValue::from_str(self.token.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(vec![(HeaderName::from_static("access-token"), value)])
    }

    fn create_request(&self, order: &OrderToPlace<'_>) -> Outbound {
        self.outbound(Operation::Create, Method::POST, "/order/create_order", Some(wire::create_body(order)))
    }

    fn cancel_request(&self, awb: &str) -> Outbound {
        let body = serde_json::json!({ "awb": awb });
        self.outbound(Operation::Cancel, Method::POST, "/order/cancel_order", Some(body))
    }

    fn look_up_request(&self, order_id: &str) -> Outbound {
        // Our ids are made of letters, digits and `_`: nothing to escape.
        self.outbound(Operation::LookUp, Method::GET, &format!("/track_order?channel_order_no={order_id}"), None)
    }

    fn read_create(&self, order_id: &str, answer: &Answer) -> CreateOutcome {
        match judge(answer) {
            Judged::NotDone(failure, repeat) => CreateOutcome::Retryable(failure, repeat),
            Judged::Unauthorized(failure) => CreateOutcome::Unauthorized(failure),
            Judged::Unclear(failure) => CreateOutcome::Unknown(failure),
            Judged::Refused(message) if message.asks_for_look_up() => {
                CreateOutcome::Unknown(Failure::new("provider.already_exists", message.text))
            }
            Judged::Refused(message) if message.is_vague() => {
                CreateOutcome::Unknown(Failure::new("provider.vague_refusal", message.text))
            }
            Judged::Refused(message) => CreateOutcome::Refused(Failure::new("provider.refused", message.text)),
            Judged::Accepted(body) => match wire::placed(body) {
                Some((_, Some(id))) if id != order_id => {
                    CreateOutcome::Unknown(Failure::new("provider.wrong_order", "The answer is about another order."))
                }
                Some((shipment, _)) => CreateOutcome::Placed(shipment),
                None => CreateOutcome::Unknown(Failure::new("provider.no_awb", "Accepted without a shipment number.")),
            },
        }
    }

    fn read_cancel(&self, answer: &Answer) -> CancelOutcome {
        match judge(answer) {
            Judged::NotDone(failure, repeat) => CancelOutcome::Retryable(failure, repeat),
            Judged::Unauthorized(failure) => CancelOutcome::Unauthorized(failure),
            Judged::Unclear(failure) => CancelOutcome::Retryable(failure, Repeat::Counted),
            Judged::Refused(message) if message.says_cancelled_before() => CancelOutcome::Cancelled,
            Judged::Refused(message) if message.is_vague() => {
                CancelOutcome::Retryable(Failure::new("provider.vague_refusal", message.text), Repeat::Counted)
            }
            Judged::Refused(message) => CancelOutcome::Refused(Failure::new("provider.refused", message.text)),
            Judged::Accepted(_) => CancelOutcome::Cancelled,
        }
    }

    fn read_look_up(&self, order_id: &str, answer: &Answer) -> LookUpOutcome {
        let ok = matches!(answer, Answer::Http { status: 200..=299, .. });
        match judge(answer) {
            Judged::NotDone(failure, repeat) => LookUpOutcome::Failed(failure, repeat),
            Judged::Unauthorized(failure) => LookUpOutcome::Unauthorized(failure),
            Judged::Unclear(failure) => LookUpOutcome::Failed(failure, Repeat::Counted),
            Judged::Refused(message) if ok && message.says_no_record() => LookUpOutcome::Absent,
            Judged::Refused(message) => {
                LookUpOutcome::Failed(Failure::new("provider.look_up_refused", message.text), Repeat::Counted)
            }
            Judged::Accepted(body) => match wire::tracked(body) {
                Some((_, Some(id))) if id != order_id => LookUpOutcome::Failed(
                    Failure::new("provider.wrong_order", "The answer is about another order."),
                    Repeat::Counted,
                ),
                Some((shipment, _)) => LookUpOutcome::Found(shipment),
                None => LookUpOutcome::Failed(
                    Failure::new("provider.no_awb", "Found without a shipment number."),
                    Repeat::Counted,
                ),
            },
        }
    }
}

/// What an answer is, whatever was asked.
enum Judged<'a> {
    /// Provably not executed: not sent, or throttled.
    NotDone(Failure, Repeat),
    /// 401, 403.
    Unauthorized(Failure),
    /// Nothing can be concluded.
    Unclear(Failure),
    /// `status: false` with a message, on any status that does not say more.
    Refused(wire::Message),
    /// `status: true`.
    Accepted(&'a serde_json::Value),
}

fn judge(answer: &Answer) -> Judged<'_> {
    let (status, body) = match transport(answer) {
        Transport::NotDone(failure, repeat) => return Judged::NotDone(failure, repeat),
        Transport::Unauthorized(failure) => return Judged::Unauthorized(failure),
        Transport::Unclear(failure) => return Judged::Unclear(failure),
        Transport::Json(status, body) => (status, body),
    };
    match (wire::status(body), status) {
        (Some(true), 200..=299) => Judged::Accepted(body),
        (Some(false), 200..=299) | (Some(false) | None, 400 | 422) => match wire::message(body) {
            Some(message) => Judged::Refused(message),
            None if status >= 400 => {
                Judged::Refused(wire::Message::new(format!("Refused with {status}, without a reason.")))
            }
            None => Judged::Unclear(Failure::new("provider.no_reason", "Refused without a reason.")),
        },
        _ => Judged::Unclear(unexpected(status)),
    }
}

/// Reads a status code of theirs: whether the shipment is cancelled.
const fn is_cancelled(code: u32) -> bool {
    code == 227
}

/// Keeps `PlacedShipment` in one place for both answers.
fn shipment(awb: &str, courier: Option<&str>, number: Option<&str>, status_code: Option<u32>) -> PlacedShipment {
    PlacedShipment {
        awb: awb.to_owned(),
        courier_name: courier.map(scrub).filter(|text| !text.is_empty()),
        provider_order_id: number.filter(|text| !text.is_empty()).map(str::to_owned),
        cancelled: status_code.is_some_and(is_cancelled),
    }
}
