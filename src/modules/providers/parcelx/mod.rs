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
    Carrier, Operation, OrderToPlace, Outcome, PlacedShipment, Provider,
    reading::{flag, part, sentences},
    transport::{json, unexpected},
};
use crate::platform::exchange::{Answer, Credentials, Outbound};

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
}

impl Carrier for ParcelX {
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

    fn read_create(&self, order_id: &str, answer: &Answer) -> Outcome<PlacedShipment> {
        reply(answer).and_then(|reply| match reply {
            Ok(body) => about(order_id, wire::placed(body), "Accepted without a shipment number."),
            Err(message) if message.names_shipment => contradiction(),
            Err(message) if message.asks_for_look_up() => Outcome::unknown("provider.already_exists", message.text),
            Err(message) if message.is_vague() => vague(message),
            Err(message) => refused(message),
        })
    }

    fn read_cancel(&self, answer: &Answer) -> Outcome<()> {
        reply(answer).and_then(|reply| match reply {
            Ok(_) => Outcome::Done(()),
            Err(message) if message.says_cancelled_before() => Outcome::Done(()),
            Err(message) if message.is_vague() => vague(message),
            Err(message) => refused(message),
        })
    }

    fn read_look_up(&self, order_id: &str, answer: &Answer) -> Outcome<Option<PlacedShipment>> {
        // These two are about the question.
        let is_misunderstood = matches!(answer, Answer::Http { status: 400 | 422, .. });
        reply(answer).and_then(|reply| match reply {
            Ok(body) => about(order_id, wire::tracked(body), "Found without a shipment number.").map(Some),
            Err(message) if message.names_shipment => contradiction(),
            Err(message) if message.says_no_record() && !message.is_vague() && !is_misunderstood => Outcome::Done(None),
            Err(message) => Outcome::unknown("provider.look_up_refused", message.text),
        })
    }
}

/// What they say: a body with `status: true`, or why not, which counts on a 2xx and on any 4xx. A 400 and a 422 are refusals
/// without a `status` too.
fn reply(answer: &Answer) -> Outcome<Result<&serde_json::Value, wire::Message>> {
    json(answer).and_then(|(status, body)| {
        let body = part(body);
        match (flag(body, "status"), status) {
            (Some(true), 200..=299) => Outcome::Done(Ok(body)),
            (Some(false), 200..=299 | 400..=499) | (None, 400 | 422) => match (sentences(body), status) {
                (Some(text), _) => Outcome::Done(Err(wire::Message::new(text, body))),
                (None, 400 | 422) => {
                    let text = format!("Refused with {status}, without a reason.");
                    Outcome::Done(Err(wire::Message::new(text, body)))
                }
                (None, _) => Outcome::unknown("provider.no_reason", "Refused without a reason."),
            },
            _ => unexpected(status),
        }
    })
}

fn contradiction<T>() -> Outcome<T> {
    Outcome::unknown("provider.contradiction", "Refused, and yet with a shipment.")
}

fn vague<T>(message: wire::Message) -> Outcome<T> {
    Outcome::unknown("provider.vague_refusal", message.text)
}

fn refused<T>(message: wire::Message) -> Outcome<T> {
    Outcome::refused("provider.refused", message.text)
}

/// The shipment of an answer, if it has one, names no order but ours, and says whether it is alive.
fn about(order_id: &str, named: Option<wire::Named>, without: &'static str) -> Outcome<PlacedShipment> {
    match named {
        None => Outcome::unknown("provider.no_awb", without),
        Some(named) if named.order.as_deref().is_some_and(|id| id != order_id) => {
            Outcome::unknown("provider.wrong_order", "The answer is about another order.")
        }
        Some(named) => named.shipment().map_or_else(
            || Outcome::unknown("provider.unclear_status", "Whether the shipment is cancelled can't be told."),
            Outcome::Done,
        ),
    }
}
