//! PayGate, a payment gateway: it takes the money of a wallet's top-up or of a checkout, calls back when it has it, and gives it back.
//!
//! A payment is started under our reference, which is its idempotency key: starting it again is the same as starting it
//! once. So an answer that is missing or unclear is never a reason to give up, only to ask again.
//!
//! Invariants: a payment counts as ours only if it names our reference, amount and currency. Nothing of a callback is
//! believed, not even its time, before its signature is verified. A payment's page is a capability: who has the address
//! may pay, so it is in no log.

mod callback;
mod wire;

/// Another program's, see `build.rs`; here for `cargo fmt`.
#[cfg(false)]
mod stand_in;
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
        AccountSecrets, CredentialField, Outcome, Provider, SecretDeclaration, ServiceDeclaration,
        payments::{
            Callback, CallbackRefused, GatewayPayment, GatewayRefund, LOOK_UP_PAYMENT, LOOK_UP_REFUND, PaymentGateway,
            PaymentToStart, REFUND_PAYMENT, RefundToSend, START_PAYMENT,
        },
        refusal::{ProviderRefusal, reply},
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

/// Declaration of PayGate.
pub static DECLARATION: ServiceDeclaration<dyn PaymentGateway> = ServiceDeclaration {
    name: NAME,
    title: "PayGate",
    without: "Without it wallets can't be topped up, nor checkouts paid at a gateway; everything else works",
    stand_in: "/paygate/v1",
    credential_fields: &[CredentialField { name: API_KEY, env: "API_KEY" }],
    operations: &[
        (START_PAYMENT, &wire::START),
        (LOOK_UP_PAYMENT, &wire::LOOK_UP),
        (REFUND_PAYMENT, &wire::REFUND),
        (LOOK_UP_REFUND, &wire::LOOK_UP_REFUND),
    ],
    secrets: &[SecretDeclaration {
        name: WEBHOOK_SECRET,
        bytes_min: 16,
        help: "Signs PayGate's callbacks; at least 16 bytes",
    }],
    adapter: |settings| {
        let secret = settings.secret(WEBHOOK_SECRET).cloned().unwrap_or_default();
        Arc::new(PayGate::new(&settings.base_url(), &secret))
    },
};

const WEBHOOK_SECRET: &str = "WEBHOOK_SECRET";

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

    /// The address under which things of a kind are found by our reference.
    fn by_reference(&self, things: &str, reference: &str) -> String {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("reference", reference).finish();
        format!("{}/{things}?{query}", self.base_url)
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
        Outbound {
            provider: NAME,
            operation: LOOK_UP_PAYMENT,
            method: Method::GET,
            url: self.by_reference("payments", reference),
            body: None,
            redaction: &wire::LOOK_UP,
        }
    }

    fn refund_request(&self, refund: &RefundToSend<'_>) -> Outbound {
        Outbound {
            provider: NAME,
            operation: REFUND_PAYMENT,
            method: Method::POST,
            url: format!("{}/refunds", self.base_url),
            body: Some(wire::refund_body(refund)),
            redaction: &wire::REFUND,
        }
    }

    fn look_up_refund_request(&self, reference: &str) -> Outbound {
        Outbound {
            provider: NAME,
            operation: LOOK_UP_REFUND,
            method: Method::GET,
            url: self.by_reference("refunds", reference),
            body: None,
            redaction: &wire::LOOK_UP_REFUND,
        }
    }

    fn read_start(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<GatewayPayment> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => ours(reference, amount, status, body, payment),
            // Nobody asked for it.
            Err(error) if error.code == wire::PAYMENT_NOT_FOUND && error.status == 404 => unexpected(error.status),
            Err(error) => refused(&error),
        })
    }

    fn read_look_up(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<Option<GatewayPayment>> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => ours(reference, amount, status, body, payment).map(Some),
            Err(error) => absent(&error, wire::PAYMENT_NOT_FOUND),
        })
    }

    fn read_refund(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<GatewayRefund> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => ours(reference, amount, status, body, wire::refund),
            // Nobody asked for it.
            Err(error) if error.code == wire::REFUND_NOT_FOUND && error.status == 404 => unexpected(error.status),
            Err(error) => refused(&error),
        })
    }

    fn read_refund_look_up(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<Option<GatewayRefund>> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => ours(reference, amount, status, body, wire::refund).map(Some),
            Err(error) => absent(&error, wire::REFUND_NOT_FOUND),
        })
    }

    fn verify_callback(&self, signature: Option<&str>, body: &[u8], now_ms: i64) -> Result<Callback, CallbackRefused> {
        callback::verify(self.webhook_secret.expose_secret().as_bytes(), signature, body, now_ms)
    }

    fn signature_header(&self) -> &'static str {
        callback::SIGNATURE_HEADER
    }
}

/// The payment or refund of an answer, if it is the one that we asked for.
fn ours<T>(
    reference: &str,
    amount: Money,
    status: u16,
    body: &Value,
    read: impl FnOnce(&Value) -> Result<(T, Money), &'static str>,
) -> Outcome<T> {
    match (wire::reference(body), read(body)) {
        (Err(field), _) => unusable(status, field),
        (Ok(named), _) if named != reference => {
            Outcome::unknown("provider.wrong_reference", "The answer is about another payment.")
        }
        (Ok(_), Err(field)) => unusable(status, field),
        (Ok(_), Ok((_, found))) if found != amount => {
            Outcome::unknown("provider.wrong_amount", "The payment is over another amount.")
        }
        (Ok(_), Ok((ours, _))) => Outcome::Done(ours),
    }
}

fn payment(body: &Value) -> Result<(GatewayPayment, Money), &'static str> {
    wire::payment(body).map(|payment| (payment.clone(), payment.amount))
}

/// Refused for good: our reference has one amount for ever, so asking again can't change a conflict.
fn refused<T>(error: &ProviderRefusal) -> Outcome<T> {
    let is_conflict = error.status == 409 && error.code == wire::REFERENCE_CONFLICT;
    Outcome::refused(if is_conflict { "provider.reference_conflict" } else { "provider.refused" }, error.explanation())
}

/// Reads a refused look-up: the payment is absent only by the agreed code.
fn absent<T>(error: &ProviderRefusal, not_found: &str) -> Outcome<Option<T>> {
    match error.status {
        404 if error.code == not_found => Outcome::Done(None),
        400 | 422 => Outcome::unknown("provider.look_up_refused", error.explanation()),
        status => unexpected(status),
    }
}
