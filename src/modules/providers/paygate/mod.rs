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
    Failure, Repeat,
    objection::Objection,
    transport::{Transport, transport, unexpected},
};
use crate::platform::{
    exchange::{Answer, Credentials, Outbound, Redaction},
    money::Money,
};

pub use callback::{Callback, CallbackKind, CallbackRefused, SIGNATURE_HEADER, SIGNATURE_TOLERANCE};

/// As in top-ups and logs.
pub const NAME: &str = "paygate";
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
    api_key: SecretString,
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

/// What became of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// It exists, now or since an earlier start: our reference, our amount.
    Started(Payment),
    /// Not known or not done; starting it again is safe.
    Retryable(Failure, Repeat),
    /// Refused for good.
    Refused(Failure),
    /// Our credentials were refused.
    Unauthorized(Failure),
}

/// What a look-up says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentLookUp {
    /// It exists: our reference, our amount.
    Found(Payment),
    /// A clear "no such payment".
    Absent,
    /// The look-up itself failed and says nothing about the payment.
    Failed(Failure, Repeat),
    /// Our credentials were refused.
    Unauthorized(Failure),
}

impl PayGate {
    /// An adapter for the API under `base_url` (`https://.../v1`) with the account's key and the secret that signs its
    /// callbacks.
    #[must_use]
    pub fn new(base_url: &str, api_key: &SecretString, webhook_secret: &SecretString) -> Self {
        Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            api_key: api_key.clone(),
            webhook_secret: webhook_secret.clone(),
        }
    }

    /// The account that is used, as in logs.
    #[must_use]
    pub const fn account_id(&self) -> &'static str {
        "paygate/default"
    }

    /// Names of the headers that [`PayGate::credentials`] will bring.
    #[must_use]
    pub const fn credential_headers(&self) -> &'static [&'static str] {
        &["authorization"]
    }

    /// Proof of who we are, made right before sending. `None` where it can't be had; nothing is sent then.
    pub async fn credentials(&self) -> Option<Credentials> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.api_key.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(vec![(AUTHORIZATION, value)])
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

    /// What the answer to a start means for the payment of `amount` under `reference`.
    #[must_use]
    pub fn read_start(&self, reference: &str, amount: Money, answer: &Answer) -> StartOutcome {
        match judge(answer) {
            Judged::NotDone(failure, repeat) => StartOutcome::Retryable(failure, repeat),
            Judged::Unauthorized(failure) => StartOutcome::Unauthorized(failure),
            Judged::Unclear(failure) => StartOutcome::Retryable(failure, Repeat::Counted),
            Judged::Objected(400 | 422, error) => {
                StartOutcome::Refused(Failure::new("provider.refused", error.explanation()))
            }
            // Our reference has one amount for ever, so asking again can't change this.
            Judged::Objected(409, error) if error.code == wire::REFERENCE_CONFLICT => {
                StartOutcome::Refused(Failure::new("provider.reference_conflict", error.explanation()))
            }
            Judged::Objected(status, _) => StartOutcome::Retryable(unexpected(status), Repeat::Counted),
            Judged::Accepted(status, body) => match ours(reference, amount, status, body) {
                Ok(payment) => StartOutcome::Started(payment),
                Err(failure) => StartOutcome::Retryable(failure, Repeat::Counted),
            },
        }
    }

    /// What the answer to a look-up means for the payment of `amount` under `reference`.
    #[must_use]
    pub fn read_look_up(&self, reference: &str, amount: Money, answer: &Answer) -> PaymentLookUp {
        match judge(answer) {
            Judged::NotDone(failure, repeat) => PaymentLookUp::Failed(failure, repeat),
            Judged::Unauthorized(failure) => PaymentLookUp::Unauthorized(failure),
            Judged::Unclear(failure) => PaymentLookUp::Failed(failure, Repeat::Counted),
            Judged::Objected(404, error) if error.code == wire::PAYMENT_NOT_FOUND => PaymentLookUp::Absent,
            Judged::Objected(400 | 422, error) => {
                PaymentLookUp::Failed(Failure::new("provider.look_up_refused", error.explanation()), Repeat::Counted)
            }
            Judged::Objected(status, _) => PaymentLookUp::Failed(unexpected(status), Repeat::Counted),
            Judged::Accepted(status, body) => match ours(reference, amount, status, body) {
                Ok(payment) => PaymentLookUp::Found(payment),
                Err(failure) => PaymentLookUp::Failed(failure, Repeat::Counted),
            },
        }
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

/// What an answer is, whatever was asked.
enum Judged<'a> {
    /// Provably not executed: not sent, or throttled.
    NotDone(Failure, Repeat),
    /// 401, 403, or no credentials to send.
    Unauthorized(Failure),
    /// Nothing can be concluded.
    Unclear(Failure),
    /// Another 4xx whose body explains itself.
    Objected(u16, Objection),
    /// 2xx with JSON.
    Accepted(u16, &'a Value),
}

fn judge(answer: &Answer) -> Judged<'_> {
    match transport(answer) {
        Transport::NotDone(failure, repeat) => Judged::NotDone(failure, repeat),
        Transport::Unauthorized(failure) => Judged::Unauthorized(failure),
        Transport::Unclear(failure) => Judged::Unclear(failure),
        Transport::Json(status @ 200..=299, body) => Judged::Accepted(status, body),
        // A refusal is final, so it must come from the gateway, not from something in front of it.
        Transport::Json(status, body) => match Objection::of(body) {
            Some(objection) => Judged::Objected(status, objection),
            None => Judged::Unclear(unexpected(status)),
        },
    }
}

/// The payment of an answer, if it is the one that we asked for.
fn ours(reference: &str, amount: Money, status: u16, body: &Value) -> Result<Payment, Failure> {
    let named = wire::reference(body).map_err(|field| unusable(status, field))?;
    if named != reference {
        return Err(Failure::new("provider.wrong_reference", "The answer is about another payment."));
    }
    let payment = wire::payment(body).map_err(|field| unusable(status, field))?;
    if payment.amount != amount {
        return Err(Failure::new("provider.wrong_amount", "The payment is over another amount."));
    }
    Ok(payment)
}

fn unusable(status: u16, field: &str) -> Failure {
    Failure::new("provider.unexpected_answer", format!("Answered {status} without a usable {field}."))
}
