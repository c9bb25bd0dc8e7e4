//! IDCheck, a verification provider: it asks the tax registers and the banks whether a number is somebody's, and whose.
//!
//! A check is asked under our reference, which is its idempotency key: asking again is the same as asking once, a
//! deposit too. So an answer that is missing or unclear is never a reason to give up, only to ask again.
//!
//! Invariants: an answer counts only if it names our reference. Nothing is confirmed or refuted but by words that the
//! contract knows; other words are for a person. Names and numbers are personal data: they are in no log.

mod wire;

/// Another program's, see `build.rs`; here for `cargo fmt`.
#[cfg(false)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;

use crate::{
    modules::providers::{
        AccountSecrets, CredentialField, Outcome, Provider, ServiceDeclaration,
        checks::{CheckFinding, CheckKind, CheckRequest, PENNY_DROP, VERIFY_GSTIN, VERIFY_PAN, Verifier},
        reading,
        refusal::{ProviderRefusal, reply},
        transport::unusable,
    },
    platform::exchange::{Answer, Credentials, Outbound},
};
use wire::{odd, refuted};

/// As in checks and logs.
const NAME: &str = "idcheck";
/// The field of its accounts' credentials.
const API_KEY: &str = "apiKey";

const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// Declaration of IDCheck.
pub static DECLARATION: ServiceDeclaration<dyn Verifier> = ServiceDeclaration {
    name: NAME,
    title: "IDCheck",
    without: "Without it persons check every application",
    stand_in: "/idcheck/v1",
    credential_fields: &[CredentialField { name: API_KEY, env: "API_KEY" }],
    operations: &[
        (VERIFY_PAN, &wire::VERIFICATION),
        (VERIFY_GSTIN, &wire::VERIFICATION),
        (PENNY_DROP, &wire::VERIFICATION),
    ],
    secrets: &[],
    adapter: |settings| Arc::new(IdCheck::new(&settings.base_url())),
};

#[derive(Debug)]
pub struct IdCheck {
    base_url: String,
}

impl IdCheck {
    /// An adapter for the API under `base_url` (`https://.../idcheck/v1`).
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        Self { base_url: base_url.trim_end_matches('/').to_owned() }
    }
}

impl Provider for IdCheck {
    fn name(&self) -> &'static str {
        NAME
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        &["x-api-key"]
    }

    fn sign(&self, secrets: &AccountSecrets) -> Option<Credentials> {
        let mut value = HeaderValue::from_str(secrets.get(API_KEY)?).ok()?;
        value.set_sensitive(true);
        Some(vec![(API_KEY_HEADER, value)])
    }
}

impl Verifier for IdCheck {
    fn request(&self, question: &CheckRequest<'_>) -> Outbound {
        let kind = question.inquiry.kind();
        Outbound {
            provider: NAME,
            operation: kind.operation(),
            method: Method::POST,
            url: format!("{}/{}", self.base_url, wire::resource(kind)),
            body: Some(wire::body(question)),
            redaction: &wire::VERIFICATION,
        }
    }

    fn read(&self, kind: CheckKind, reference: &str, answer: &Answer) -> Outcome<CheckFinding> {
        reply(answer).and_then(|reply| match reply {
            Ok((status, body)) => accepted(kind, reference, status, body),
            Err(refusal) => read_refusal(kind, &refusal),
        })
    }
}

/// 2xx with JSON.
fn accepted(kind: CheckKind, reference: &str, status: u16, body: &Value) -> Outcome<CheckFinding> {
    match reading::reference(body, "reference") {
        Some(named) if named == reference => {}
        Some(_) => return Outcome::unknown("provider.wrong_reference", "The answer is about another check."),
        None => return unusable(status, "reference"),
    }
    let found = match kind {
        CheckKind::Pan => wire::pan(body),
        CheckKind::Gstin => wire::gstin(body),
        CheckKind::BankAccount => wire::bank_account(body),
    };
    found.unwrap_or_else(|field| unusable(status, field))
}

/// Another 4xx in which they explain themselves.
fn read_refusal(kind: CheckKind, refusal: &ProviderRefusal) -> Outcome<CheckFinding> {
    match (refusal.status, kind, &*refusal.code) {
        (400 | 422, CheckKind::BankAccount, "invalid_ifsc") => {
            refuted("bank.invalid_ifsc", "There is no such bank branch.")
        }
        (400 | 422, CheckKind::BankAccount, "invalid_account") => {
            refuted("bank.invalid_account", "That can't be an account's number.")
        }
        // Our reference has one content for ever, so asking again can't change this.
        _ => odd(refusal.explanation()),
    }
}
