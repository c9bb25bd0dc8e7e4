//! Stored types of calls to providers.

use bson::{Bson, DateTime, Document};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::{
    batch::{Entity, Key},
    erased,
    exchange::{RequestRecord, ResponseRecord},
};

/// Requests to providers.
pub const REQUEST_LOGS: &str = "provider_request_logs";
/// Their answers.
pub const RESPONSE_LOGS: &str = "provider_response_logs";
/// Audit events: changes and reads.
pub const AUDIT_EVENTS: &str = "audit_events";

/// One call to a provider: whose, about what, by whom. The keys by which both logs are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// `req_...`, the id of the request log.
    pub request_ref_id: String,
    /// The order it is about, where it is about one.
    pub order_id: Option<String>,
    /// The owner of what it is about.
    pub user_id: String,
    /// The owner's id of the order.
    pub client_order_id: Option<String>,
    /// The subject, where it is no order: a top-up.
    pub resource_id: Option<String>,
    /// `parcelx`, `paygate`, ...
    pub provider: String,
    /// `create_order`, `start_payment`, ...
    pub operation: String,
    /// Attempt of the job, from 1.
    pub attempt: i32,
    pub job_id: String,
    pub worker_id: String,
    pub account_id: String,
    /// The request that started it all (`X-Request-Id` of the create, cancel or top-up).
    pub correlation_id: String,
    /// When its log was written, right before sending.
    pub sent_at: DateTime,
}

/// Class of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Provably not executed, or safe to repeat: try again.
    Retryable,
    /// It may have been executed: look before sending again.
    Unknown,
    /// Refused for good.
    Fatal,
}

impl ErrorClass {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::Unknown => "unknown",
            Self::Fatal => "fatal",
        }
    }
}

/// An adapter's verdict on an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `done`, `retryable`, `unknown`, `fatal`, or `absent` and `found` for a look-up.
    pub outcome: &'static str,
    /// The class of the error; none where it went well.
    pub error_class: Option<ErrorClass>,
    /// `provider.refused`, ...
    pub error_code: Option<&'static str>,
    /// The provider's message, shortened.
    pub error_message: Option<String>,
    /// The shipment's number, where the answer names it.
    pub awb: Option<String>,
}

impl Verdict {
    #[must_use]
    pub const fn done(outcome: &'static str) -> Self {
        Self { outcome, error_class: None, error_code: None, error_message: None, awb: None }
    }

    /// It failed; the outcome is the class.
    #[must_use]
    pub fn failed(class: ErrorClass, code: &'static str, message: &str) -> Self {
        Self {
            outcome: class.as_str(),
            error_class: Some(class),
            error_code: Some(code),
            error_message: Some(message.to_owned()),
            awb: None,
        }
    }
}

/// A request that left, or was about to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRequestLog {
    /// `req_...`
    #[serde(rename = "_id")]
    pub id: String,
    pub order_id: Option<String>,
    pub user_id: String,
    pub client_order_id: Option<String>,
    pub resource_id: Option<String>,
    pub provider: String,
    pub operation: String,
    pub attempt: i32,
    pub job_id: String,
    pub worker_id: String,
    pub account_id: String,
    pub method: String,
    pub url: String,
    /// Headers, credentials named only. Lists leave them out.
    #[serde(default)]
    pub headers: Document,
    /// Redacted body or null. Lists leave it out.
    #[serde(default)]
    pub body: Bson,
    pub correlation_id: String,
    pub sent_at: DateTime,
}

impl ProviderRequestLog {
    #[must_use]
    pub fn new(call: &Call, record: &RequestRecord) -> Self {
        let call = call.clone();
        Self {
            id: call.request_ref_id,
            order_id: call.order_id,
            user_id: call.user_id,
            client_order_id: call.client_order_id,
            resource_id: call.resource_id,
            provider: call.provider,
            operation: call.operation,
            attempt: call.attempt,
            job_id: call.job_id,
            worker_id: call.worker_id,
            account_id: call.account_id,
            method: record.method.clone(),
            url: record.url.clone(),
            headers: record.headers.clone(),
            body: record.body.clone(),
            correlation_id: call.correlation_id,
            sent_at: call.sent_at,
        }
    }
}

/// An answer, or the statement that there was none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderResponseLog {
    /// `res_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// The request it answers.
    pub request_ref_id: String,
    pub order_id: Option<String>,
    pub user_id: String,
    pub client_order_id: Option<String>,
    pub resource_id: Option<String>,
    pub provider: String,
    pub operation: String,
    pub attempt: i32,
    pub job_id: String,
    pub worker_id: String,
    pub account_id: String,
    pub correlation_id: String,
    /// The shipment's number, where the answer names it.
    pub awb: Option<String>,
    /// Null without an answer.
    pub http_status: Option<i32>,
    /// Allowed headers. Lists leave them out.
    #[serde(default)]
    pub headers: Document,
    /// Redacted body or null. Lists leave it out.
    #[serde(default)]
    pub body: Bson,
    pub outcome: String,
    pub error_class: Option<ErrorClass>,
    pub error_code: Option<String>,
    #[serde(default, deserialize_with = "erased::text")]
    pub error_message: Option<String>,
    /// Milliseconds from sending to the end of the answer.
    pub latency_ms: i64,
    /// It came after the worker had lost its lease; nothing followed from it.
    pub late: bool,
    /// When it was written down.
    pub received_at: DateTime,
}

impl ProviderResponseLog {
    #[must_use]
    pub fn new(id: String, call: &Call, record: &ResponseRecord, verdict: Verdict, received_at: DateTime) -> Self {
        let call = call.clone();
        Self {
            id,
            request_ref_id: call.request_ref_id,
            order_id: call.order_id,
            user_id: call.user_id,
            client_order_id: call.client_order_id,
            resource_id: call.resource_id,
            provider: call.provider,
            operation: call.operation,
            attempt: call.attempt,
            job_id: call.job_id,
            worker_id: call.worker_id,
            account_id: call.account_id,
            correlation_id: call.correlation_id,
            awb: verdict.awb,
            http_status: record.http_status,
            headers: record.headers.clone(),
            body: record.body.clone(),
            outcome: verdict.outcome.into(),
            error_class: verdict.error_class,
            error_code: verdict.error_code.map(Into::into),
            error_message: verdict.error_message,
            latency_ms: record.latency_ms,
            late: false,
            received_at,
        }
    }

    /// Closes a request that nobody will answer any more: its worker died.
    #[must_use]
    pub fn without_answer(id: String, call: &Call, error_class: ErrorClass, now: DateTime) -> Self {
        let record = ResponseRecord { http_status: None, headers: Document::new(), body: Bson::Null, latency_ms: 0 };
        let message = "The worker ended before an answer was written down.";
        let verdict = Verdict::failed(error_class, "exchange.no_answer", message);
        let mut log = Self::new(id, call, &record, verdict, now);
        log.latency_ms = now.timestamp_millis().saturating_sub(call.sent_at.timestamp_millis());
        log
    }
}

impl Entity for ProviderResponseLog {
    const COLLECTION: &'static str = RESPONSE_LOGS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        Vec::new()
    }
}
