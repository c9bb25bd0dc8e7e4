//! PayGate, a payment gateway: it takes the money of a wallet's top-up and calls back when it has it.
//!
//! A payment is started under our reference, which is its idempotency key: starting it again is the same as starting it
//! once. So an answer that is missing or unclear is never a reason to give up, only to ask again.
//!
//! Invariants: a payment counts as ours only if it names our reference, amount and currency. Nothing of a callback is
//! believed, not even its time, before its signature is verified. A payment's page is a capability: who has the address
//! may pay, so it is in no log.

mod callback;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;

use bson::DateTime;
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{
    AccountSecrets, Outcome, Provider,
    objection::reply,
    transport::{unexpected, unusable},
};
use crate::platform::{
    exchange::{Answer, Credentials, Outbound, Redaction},
    money::Money,
};

pub use callback::{Callback, CallbackKind, CallbackRefused, SIGNATURE_HEADER, SIGNATURE_TOLERANCE};

/// As in top-ups and logs.
pub const NAME: &str = "paygate";
/// The field of its accounts' credentials.
pub const API_KEY: &str = "apiKey";
/// Starts a payment; as in logs.
pub const START_PAYMENT: &str = "start_payment";
/// Asks for a payment by our reference; as in logs.
pub const LOOK_UP_PAYMENT: &str = "look_up_payment";

/// What may be stored, by operation.
pub const REDACTIONS: [(&str, &Redaction); 2] = [(START_PAYMENT, &wire::START), (LOOK_UP_PAYMENT, &wire::LOOK_UP)];

/// The adapter.
#[derive(Debug)]
pub struct PayGate {
    base_url: String,
    webhook_secret: SecretString,
}

/// What the gateway is told of a payment.
#[derive(Clone, Copy, Debug)]
pub struct PaymentToStart<'a> {
    /// Our id: its idempotency key, and the name by which we look it up again.
    pub reference: &'a str,
    /// How much.
    pub amount: Money,
    /// What the payer is shown; more than 200 characters are cut.
    pub description: &'a str,
    /// From then on it can't be paid any more.
    pub expires_at: DateTime,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Waits for the payer.
    Created,
    /// The gateway has the money.
    Paid,
    /// The payer tried in vain.
    Failed,
    /// Nobody paid in time.
    Expired,
    /// A word that we don't know.
    Unknown,
}

/// A payment that exists at the gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct Payment {
    /// The gateway's name for it.
    pub payment_id: String,
    /// Where it stands.
    pub status: PaymentStatus,
    /// How much.
    pub amount: Money,
    /// The page on which it is paid, where the gateway names one that a browser may be sent to.
    pub payment_url: Option<String>,
}

/// Without the page's address, so that no log line can hold it.
impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payment")
            .field("payment_id", &self.payment_id)
            .field("status", &self.status)
            .field("amount", &self.amount)
            .field("payment_url", &self.payment_url.as_ref().map(|_| "[capability]"))
            .finish()
    }
}

impl PayGate {
    /// An adapter for the API under `base_url` (`https://.../v1`) and the secret that signs its callbacks.
    #[must_use]
    pub fn new(base_url: &str, webhook_secret: &SecretString) -> Self {
        Self { base_url: base_url.trim_end_matches('/').to_owned(), webhook_secret: webhook_secret.clone() }
    }

    /// The request that starts a payment, or finds the one that was started before.
    #[must_use]
    pub fn start_request(&self, payment: &PaymentToStart<'_>) -> Outbound {
        Outbound {
            provider: NAME,
            operation: START_PAYMENT,
            method: Method::POST,
            url: format!("{}/payments", self.base_url),
            body: Some(wire::start_body(payment)),
            redaction: &wire::START,
        }
    }

    /// The request that asks for a payment by our reference.
    #[must_use]
    pub fn look_up_request(&self, reference: &str) -> Outbound {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("reference", reference).finish();
        Outbound {
            provider: NAME,
            operation: LOOK_UP_PAYMENT,
            method: Method::GET,
            url: format!("{}/payments?{query}", self.base_url),
            body: None,
            redaction: &wire::LOOK_UP,
        }
    }

    /// What the answer to a start means for the payment of `amount` under `reference`: done where it exists, now or
    /// since an earlier start.
    #[must_use]
    pub fn read_start(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<Payment> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => ours(reference, amount, status, body),
            // Our reference has one amount for ever, so asking again can't change this.
            Err(error) if error.status == 409 && error.code == wire::REFERENCE_CONFLICT => {
                Outcome::refused("provider.reference_conflict", error.explanation())
            }
            // Nobody asked for it.
            Err(error) if error.code == wire::PAYMENT_NOT_FOUND && error.status == 404 => unexpected(error.status),
            Err(error) => Outcome::refused("provider.refused", error.explanation()),
        })
    }

    /// What the answer to a look-up means for the payment of `amount` under `reference`; none is a clear "no such
    /// payment".
    #[must_use]
    pub fn read_look_up(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<Option<Payment>> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => ours(reference, amount, status, body).map(Some),
            Err(error) => match error.status {
                404 if error.code == wire::PAYMENT_NOT_FOUND => Outcome::Done(None),
                400 | 422 => Outcome::unknown("provider.look_up_refused", error.explanation()),
                status => unexpected(status),
            },
        })
    }

    /// Reads a callback, if the gateway sent it just now. `signature_header` is `Paygate-Signature`, `body` what came,
    /// byte by byte.
    ///
    /// # Errors
    /// Why it is not believed or not understood. Only [`CallbackRefused::Unreadable`] was signed by the gateway.
    pub fn verify_callback(
        &self,
        signature_header: Option<&str>,
        body: &[u8],
        now_ms: i64,
    ) -> Result<Callback, CallbackRefused> {
        callback::verify(self.webhook_secret.expose_secret().as_bytes(), signature_header, body, now_ms)
    }
}

impl Provider for PayGate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        &["authorization"]
    }

    fn sign(&self, secrets: &AccountSecrets) -> Option<Credentials> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", secrets.get(API_KEY)?)).ok()?;
        value.set_sensitive(true);
        Some(vec![(AUTHORIZATION, value)])
    }
}

/// The payment of an answer, if it is the one that we asked for.
fn ours(reference: &str, amount: Money, status: u16, body: &Value) -> Outcome<Payment> {
    match (wire::reference(body), wire::payment(body)) {
        (Err(field), _) => unusable(status, field),
        (Ok(named), _) if named != reference => {
            Outcome::unknown("provider.wrong_reference", "The answer is about another payment.")
        }
        (Ok(_), Err(field)) => unusable(status, field),
        (Ok(_), Ok(payment)) if payment.amount != amount => {
            Outcome::unknown("provider.wrong_amount", "The payment is over another amount.")
        }
        (Ok(_), Ok(payment)) => Outcome::Done(payment),
    }
}
