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

use std::sync::Arc;

use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{
    modules::providers::{
        AccountSecrets, CredentialField, Outcome, Provider, Secret, ServiceDeclaration,
        objection::reply,
        payments::{
            Callback, CallbackRefused, LOOK_UP_PAYMENT, Payment, PaymentGateway, PaymentToStart, START_PAYMENT,
        },
        transport::{unexpected, unusable},
    },
    platform::{
        exchange::{Answer, Credentials, Outbound},
        money::Money,
    },
};

/// As in top-ups and logs.
const NAME: &str = "paygate";
/// The field of its accounts' credentials.
const API_KEY: &str = "apiKey";

/// What PayGate says of itself.
pub static DECLARATION: ServiceDeclaration<dyn PaymentGateway> = ServiceDeclaration {
    name: NAME,
    title: "PayGate",
    without: "Without it wallets can't be topped up; everything else works",
    stand_in: "/paygate/v1",
    credential_fields: &[CredentialField { name: API_KEY, env: "API_KEY" }],
    operations: &[(START_PAYMENT, &wire::START), (LOOK_UP_PAYMENT, &wire::LOOK_UP)],
    secrets: &[Secret { name: WEBHOOK_SECRET, bytes_min: 16, help: "Signs PayGate's callbacks; at least 16 bytes" }],
    adapter: |settings| {
        let secret = settings.secret(WEBHOOK_SECRET).cloned().unwrap_or_default();
        Arc::new(PayGate::new(&settings.base_url(), &secret))
    },
};

const WEBHOOK_SECRET: &str = "WEBHOOK_SECRET";

/// The adapter.
#[derive(Debug)]
pub struct PayGate {
    base_url: String,
    webhook_secret: SecretString,
}

impl PayGate {
    /// An adapter for the API under `base_url` (`https://.../v1`) and the secret that signs its callbacks.
    #[must_use]
    pub fn new(base_url: &str, webhook_secret: &SecretString) -> Self {
        Self { base_url: base_url.trim_end_matches('/').to_owned(), webhook_secret: webhook_secret.clone() }
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

impl PaymentGateway for PayGate {
    fn start_request(&self, payment: &PaymentToStart<'_>) -> Outbound {
        Outbound {
            provider: NAME,
            operation: START_PAYMENT,
            method: Method::POST,
            url: format!("{}/payments", self.base_url),
            body: Some(wire::start_body(payment)),
            redaction: &wire::START,
        }
    }

    fn look_up_request(&self, reference: &str) -> Outbound {
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

    fn read_start(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<Payment> {
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

    fn read_look_up(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<Option<Payment>> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => ours(reference, amount, status, body).map(Some),
            Err(error) => match error.status {
                404 if error.code == wire::PAYMENT_NOT_FOUND => Outcome::Done(None),
                400 | 422 => Outcome::unknown("provider.look_up_refused", error.explanation()),
                status => unexpected(status),
            },
        })
    }

    fn verify_callback(&self, signature: Option<&str>, body: &[u8], now_ms: i64) -> Result<Callback, CallbackRefused> {
        callback::verify(self.webhook_secret.expose_secret().as_bytes(), signature, body, now_ms)
    }

    fn signature_header(&self) -> &'static str {
        callback::SIGNATURE_HEADER
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
