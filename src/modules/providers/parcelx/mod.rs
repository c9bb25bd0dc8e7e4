//! ParcelX, an Indian carrier (wire contract v3).
//!
//! It answers failures with any status and `status: false`, knows no idempotency key, and can be asked for an order by
//! our reference. So after a create whose answer is missing or unclear, only a look-up tells what happened.

mod wire;

/// Another program's, see `build.rs`; here for `cargo fmt`.
#[cfg(false)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};

use crate::{
    modules::providers::{
        AccountLimits, AccountSecrets, CancellableOrders, CredentialField, Declaration, Operation, OrderProvider,
        OrderToPlace, Outcome, Placed, PlacedOrder, PricedBy, Provider, ProviderKind, QueuePolicy, Testing,
        reading::{flag, part, sentences},
        transport::{json, unexpected},
    },
    platform::exchange::{Answer, Credentials, Outbound},
};

/// As in orders and logs.
pub const NAME: &str = "parcelx";

/// Declaration of ParcelX.
pub static DECLARATION: Declaration = Declaration {
    name: NAME,
    title: "ParcelX",
    kind: ProviderKind::Carrier,
    create_queue: "parcelx-orders-queue",
    cancel_queue: "parcelx-order-cancellation-queue",
    queue_policy: QueuePolicy::SAME,
    call_deadline: None,
    priced_by: PricedBy::RateCard(include_str!("../../../../data/rate-cards/parcelx-1.json")),
    operations: &[
        (Operation::Create, &wire::CREATE),
        (Operation::Cancel, &wire::CANCEL),
        (Operation::LookUp, &wire::LOOK_UP),
    ],
    base_url: Some("https://app.parcelx.in/api/v3"),
    stand_in: "/parcelx/api/v3",
    credential_fields: &[
        CredentialField { name: ACCESS_KEY, env: "ACCESS_KEY" },
        CredentialField { name: SECRET_KEY, env: "SECRET_KEY" },
    ],
    limits: AccountLimits { concurrency: None, rate_per_second: None, open_orders: None },
    settings: &[],
    adapter: |settings| Arc::new(ParcelX::new(&settings.base_url())),
};

const ACCESS_KEY: &str = "accessKey";
const SECRET_KEY: &str = "secretKey";

#[derive(Debug)]
pub struct ParcelX {
    base_url: String,
}

impl ParcelX {
    /// An adapter for the API under `base_url` (`https://.../api/v3`).
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        Self { base_url: base_url.trim_end_matches('/').to_owned() }
    }

    fn outbound(&self, operation: Operation, method: Method, path: &str, body: Option<serde_json::Value>) -> Outbound {
        DECLARATION.outbound(operation, method, format!("{}{path}", self.base_url), body)
    }
}

impl Provider for ParcelX {
    fn name(&self) -> &'static str {
        NAME
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        &["access-token"]
    }

    fn sign(&self, secrets: &AccountSecrets) -> Option<Credentials> {
        let token = STANDARD.encode(format!("{}:{}", secrets.get(ACCESS_KEY)?, secrets.get(SECRET_KEY)?));
        let mut value = HeaderValue::from_str(&token).ok()?;
        value.set_sensitive(true);
        Some(vec![(HeaderName::from_static("access-token"), value)])
    }
}

impl OrderProvider for ParcelX {
    fn create_request(&self, order: &OrderToPlace<'_>) -> Option<Outbound> {
        let body = wire::create_body(order, order.detail.shipment()?);
        Some(self.outbound(Operation::Create, Method::POST, "/order/create_order", Some(body)))
    }

    fn look_up_request(&self, order_id: &str) -> Outbound {
        // Our ids are made of letters, digits and `_`: nothing to escape.
        self.outbound(Operation::LookUp, Method::GET, &format!("/track_order?channel_order_no={order_id}"), None)
    }

    fn cancelling(&self) -> Option<&dyn CancellableOrders> {
        Some(self)
    }

    fn read_create(&self, order_id: &str, answer: &Answer) -> Outcome<Placed> {
        reply(answer).and_then(|reply| match reply {
            Ok(body) => about(order_id, wire::placed(body), "Accepted without a shipment number."),
            Err(message) if message.names_shipment => contradiction(),
            Err(message) if message.asks_for_look_up() => Outcome::unknown("provider.already_exists", message.text),
            Err(message) if message.is_not_about_data() => vague(message),
            Err(message) => refused(message),
        })
    }

    fn read_look_up(&self, order_id: &str, answer: &Answer) -> Outcome<Option<Placed>> {
        // These two are about the question.
        let is_misunderstood = matches!(answer, Answer::Http { status: 400 | 422, .. });
        reply(answer).and_then(|reply| match reply {
            Ok(body) => about(order_id, wire::tracked(body), "Found without a shipment number.").map(Some),
            Err(message) if message.names_shipment => contradiction(),
            Err(message) if message.says_no_record() && !message.is_not_about_data() && !is_misunderstood => {
                Outcome::Done(None)
            }
            Err(message) => Outcome::unknown("provider.look_up_refused", message.text),
        })
    }

    fn testing(&self) -> Option<&dyn Testing> {
        Some(self)
    }
}

impl Testing for ParcelX {}

impl CancellableOrders for ParcelX {
    fn cancel_request(&self, order: &PlacedOrder<'_>) -> Option<Outbound> {
        let body = serde_json::json!({ "awb": order.reference? });
        Some(self.outbound(Operation::Cancel, Method::POST, "/order/cancel_order", Some(body)))
    }

    fn read_cancel(&self, answer: &Answer) -> Outcome<()> {
        reply(answer).and_then(|reply| match reply {
            Ok(_) => Outcome::Done(()),
            Err(message) if message.says_cancelled_before() => Outcome::Done(()),
            Err(message) if message.is_not_about_data() => vague(message),
            Err(message) => refused(message),
        })
    }
}

/// Reads an answer: a body with `status: true`, or a refusal, which counts on a 2xx and on any 4xx. A 400 and a 422 are refusals
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
fn about(order_id: &str, named: Option<wire::NamedShipment>, without: &'static str) -> Outcome<Placed> {
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
