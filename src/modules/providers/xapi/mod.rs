//! X-API, the order endpoint of an ERP (Microsoft Dynamics NAV): a custom contract.
//!
//! It knows no idempotency key, but an order of ours has one number there, and can be asked for by it. So after a create
//! whose answer is missing or unclear, only a look-up tells what happened. What it has taken it does not give back: there is
//! no cancel.

mod wire;

/// Another program's, see `build.rs`; here for `cargo fmt`.
#[cfg(false)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::Value;

use crate::{
    modules::{
        providers::{
            AccountLimits, AccountSecrets, CredentialField, Declaration, Failure, Operation, OrderProvider,
            OrderToPlace, Outcome, Placed, PricedBy, Provider, ProviderKind, QueuePolicy, Testing,
            reading::field,
            refusal::{self, ProviderRefusal},
            transport::unexpected,
        },
        queue::Backoff,
    },
    platform::exchange::{Answer, AnswerBody, Credentials, Outbound},
};

use wire::Cause;

/// Declaration of X-API.
pub static DECLARATION: Declaration = Declaration {
    name: "xapi",
    title: "X-API",
    kind: ProviderKind::Erp,
    create_queue: "xapi-orders-queue",
    cancel_queue: "xapi-order-cancellation-queue",
    queue_policy: QueuePolicy {
        max_attempts: Some(5),
        // 1, 3, 9 and 27 s between five creates; what is only asked again goes on to wait longer.
        backoff: Some(Backoff { base: Duration::from_secs(1), factor: 3, max: Duration::from_secs(300) }),
        timeout: Some(Duration::from_secs(60)),
        keep_done_count: Some(1_000),
    },
    call_deadline: Some(Duration::from_secs(30)),
    priced_by: PricedBy::Nothing,
    operations: &[(Operation::Create, &wire::CREATE), (Operation::LookUp, &wire::LOOK_UP)],
    base_url: None,
    stand_in: "/xapi/api",
    credential_fields: &[
        CredentialField { name: USERNAME, env: "USERNAME" },
        CredentialField { name: PASSWORD, env: "PASSWORD" },
    ],
    limits: AccountLimits { concurrency: Some(5), rate_per_second: Some(10), open_orders: None },
    settings: &[],
    adapter: |settings| Arc::new(XApi::new(&settings.base_url())),
};

const USERNAME: &str = "username";
const PASSWORD: &str = "password";

#[derive(Debug)]
pub struct XApi {
    base_url: String,
}

impl XApi {
    /// An adapter for the API under `base_url`.
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        Self { base_url: base_url.trim_end_matches('/').to_owned() }
    }

    fn outbound(&self, operation: Operation, method: Method, query: &str, body: Option<Value>) -> Outbound {
        DECLARATION.outbound(operation, method, format!("{}/orders{query}", self.base_url), body)
    }
}

impl Provider for XApi {
    fn name(&self) -> &'static str {
        DECLARATION.name
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        &["authorization"]
    }

    fn sign(&self, secrets: &AccountSecrets) -> Option<Credentials> {
        secrets.basic(USERNAME, PASSWORD)
    }
}

impl OrderProvider for XApi {
    fn create_request(&self, order: &OrderToPlace<'_>) -> Option<Outbound> {
        let body = wire::create_body(order.order_id, order.detail.sale()?);
        Some(self.outbound(Operation::Create, Method::POST, "", Some(body)))
    }

    fn look_up_request(&self, order_id: &str) -> Outbound {
        // Our ids are made of letters, digits and `_`: nothing to escape.
        let query = format!("?{}={}", wire::NUMBER, wire::document_number(order_id));
        self.outbound(Operation::LookUp, Method::GET, &query, None)
    }

    fn read_create(&self, order_id: &str, answer: &Answer) -> Outcome<Placed> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => wire::order(order_id, status, body),
            Err(refusal) => match wire::cause(&refusal.code) {
                _ if names_order(answer) => contradiction(),
                Some(Cause::Data) => Outcome::refused("provider.refused", refusal.explanation()),
                Some(Cause::Duplicate) => Outcome::unknown("provider.already_exists", refusal.explanation()),
                cause => not_about_the_order(cause, &refusal),
            },
        })
    }

    fn read_look_up(&self, order_id: &str, answer: &Answer) -> Outcome<Option<Placed>> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => wire::found(order_id, status, body),
            Err(refusal) => match wire::cause(&refusal.code) {
                Some(Cause::Data | Cause::Duplicate) => {
                    Outcome::unknown("provider.look_up_refused", refusal.explanation())
                }
                cause => not_about_the_order(cause, &refusal),
            },
        })
    }

    fn testing(&self) -> Option<&dyn Testing> {
        Some(self)
    }
}

impl Testing for XApi {}

/// Reads an answer: a 2xx, or a refusal. Their code says more than a 401 or a 403 does.
fn reply(answer: &Answer) -> Outcome<Result<(u16, &Value), ProviderRefusal>> {
    if let Answer::Http { status: status @ (401 | 403), body: AnswerBody::Json(body), .. } = answer
        && let Some(refusal) = ProviderRefusal::of(*status, body)
        && wire::cause(&refusal.code).is_some()
    {
        return Outcome::Done(Err(refusal));
    }
    refusal::reply(answer).and_then(|reply| match reply {
        Ok((_, body)) if field(body, "error").is_some() => contradiction(),
        reply => Outcome::Done(reply),
    })
}

/// A refusal that says nothing about what was sent.
fn not_about_the_order<T>(cause: Option<Cause>, refusal: &ProviderRefusal) -> Outcome<T> {
    match cause {
        Some(Cause::Credentials) => Outcome::Unauthorized(Failure::new("provider.unauthorized", refusal.explanation())),
        Some(Cause::Internal) => Outcome::unknown("provider.vague_refusal", refusal.explanation()),
        _ => unexpected(refusal.status),
    }
}

fn names_order(answer: &Answer) -> bool {
    matches!(answer, Answer::Http { body: AnswerBody::Json(body), .. } if wire::names_order(body))
}

fn contradiction<T>() -> Outcome<T> {
    Outcome::unknown("provider.contradiction", "Refused, and yet with an order.")
}
