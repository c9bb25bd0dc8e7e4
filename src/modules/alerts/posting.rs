//! Channels that alerts are posted to, and the posts. Pure.

use bson::DateTime;
use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::{
    model::{Alert, AlertState, News},
    rules::Rule,
};
use crate::{
    modules::{
        audit::{ErrorClass, Verdict},
        providers::Policy,
    },
    platform::{
        clock::Rfc3339Time,
        exchange::{
            AddressPolicy, Answer, Credentials, Lost, NotSent, Outbound, Prepared, Redaction, UrlFault, check_url,
        },
    },
};

/// As in logs.
pub(super) const PROVIDER: &str = "alerts";
/// As in logs.
pub(super) const OPERATION: &str = "post_alert";

const REDACTION: Redaction = Redaction {
    not_personal: &[
        "type",
        "timestamp",
        "data.rule",
        "data.about",
        "data.severity",
        "data.value",
        "data.message",
        "data.advice",
        "data.publicUrl",
    ],
    request: &[],
    response: &[],
    free_text: &["text"],
    query: &[],
};

/// The stored part of a post.
pub const POLICY: Policy = Policy { provider: PROVIDER, operation: OPERATION, redaction: &REDACTION };

/// The form of a post.
#[derive(Clone, Debug)]
enum Shape {
    /// Like a webhook, signed where there is a secret.
    Webhook(Option<SecretString>),
    /// `{"text": "..."}`, as Slack and many others take it.
    Slack,
}

/// A channel that alerts are posted to. Its address is the operator's own setting, so it may be in the internal network.
#[derive(Clone)]
pub struct Channel {
    /// As in what is stored.
    pub(super) name: &'static str,
    url: SecretString,
    shape: Shape,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn checked(url: SecretString) -> Result<SecretString, &'static str> {
    match check_url(url.expose_secret(), AddressPolicy::Anywhere) {
        Ok(_) => Ok(url),
        Err(UrlFault::Credentials) => Err("must hold no user name and no password"),
        Err(_) => Err("must be an address that starts with http:// or https://"),
    }
}

impl Channel {
    /// One that is posted to like a webhook endpoint; signed where there is a secret.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn webhook(url: SecretString, secret: Option<SecretString>) -> Result<Self, &'static str> {
        Ok(Self { name: "alert-webhook", url: checked(url)?, shape: Shape::Webhook(secret) })
    }

    /// One that takes Slack's `{"text": "..."}`.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn slack(url: SecretString) -> Result<Self, &'static str> {
        Ok(Self { name: "alert-slack", url: checked(url)?, shape: Shape::Slack })
    }

    fn body(&self, alert: &Alert, news: &News, public_url: &str) -> Value {
        let is_firing = news.state == AlertState::Firing;
        let advice = Rule::named(&alert.rule).map(|rule| rule.advice(&alert.about)).unwrap_or_default();
        match &self.shape {
            Shape::Webhook(_) => json!({
                "type": if is_firing { "alert.fired" } else { "alert.resolved" },
                "timestamp": Rfc3339Time(news.at),
                "data": {
                    "rule": alert.rule, "about": alert.about, "severity": alert.severity, "value": alert.value,
                    "message": news.message, "advice": advice, "publicUrl": public_url,
                },
            }),
            Shape::Slack if is_firing => {
                json!({ "text": format!("Waybill {public_url} [{}] {} {advice}", alert.severity.as_str(), news.message) })
            }
            Shape::Slack => json!({ "text": format!("Waybill {public_url} [resolved] {}", news.message) }),
        }
    }

    /// The request, and what is stored of it. Of its address only the host is: what stands behind it is often a secret.
    pub(super) fn prepared(&self, alert: &Alert, news: &News, public_url: &str) -> Prepared {
        let url = self.url.expose_secret();
        let credentials: &[&'static str] = match self.shape {
            Shape::Webhook(Some(_)) => &["webhook-signature"],
            Shape::Webhook(None) | Shape::Slack => &[],
        };
        let outbound = Outbound {
            provider: PROVIDER,
            operation: OPERATION,
            method: Method::POST,
            url: url.to_owned(),
            body: Some(self.body(alert, news, public_url)),
            redaction: &REDACTION,
        };
        let mut prepared = Prepared::new(outbound, credentials);
        prepared.record.url = Url::parse(url)
            .map_or_else(|_| String::new(), |url| format!("{}/[path]", url.origin().ascii_serialization()));
        prepared
    }

    /// The headers of a webhook; none where the secret can't be used.
    pub(super) fn sign(&self, event_id: &str, now: DateTime, body: &str) -> Option<Credentials> {
        let Shape::Webhook(secret) = &self.shape else { return Some(Vec::new()) };
        let seconds = now.timestamp_millis() / 1_000;
        let mut headers = vec![("webhook-id", event_id.to_owned()), ("webhook-timestamp", seconds.to_string())];
        if let Some(secret) = secret {
            let signature = Webhook::new(secret.expose_secret()).ok()?.sign(event_id, seconds, body.as_bytes()).ok()?;
            headers.push(("webhook-signature", signature));
        }
        let header = |(name, value): (&'static str, String)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
        };
        headers.into_iter().map(header).collect()
    }
}

/// Classifies an answer: only a 2xx is a success, everything else is tried again.
pub(super) fn judge(answer: &Answer) -> Verdict {
    let failed = |code, message: &str| Verdict::failed(ErrorClass::Retryable, code, message);
    match answer {
        Answer::Http { status: 200..=299, .. } => Verdict::done("done"),
        Answer::Http { status, .. } => failed("alerts.refused", &format!("Answered {status}.")),
        Answer::Lost(Lost::TimedOut) => failed("alerts.timed_out", "No answer within the deadline."),
        Answer::Lost(_) => failed("alerts.connection_lost", "The connection broke before the answer."),
        Answer::NotSent(NotSent::NoCredentials) => failed("alerts.no_secret", "The secret can't be used."),
        Answer::NotSent(_) => failed("alerts.not_connected", "No connection."),
    }
}
