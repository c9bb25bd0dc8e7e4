//! The only outbound HTTP client, and the only one of mail. It redacts, sends, times and limits; it knows nothing of what it carries.
//!
//! The way of a call: an adapter makes an [`Outbound`]; [`Prepared::new`] writes down the redacted record; the audit
//! module puts that record into a transaction and gives a [`Logged`] for it, which leaves the lane only after the
//! commit; [`ExchangeClient::send`] takes nothing else. So no request leaves before its log is durable.

mod address;
mod body;
mod client;
mod file;
mod knock;
mod own_credentials;
mod redaction;
mod smtp;
mod spans;

use std::time::Duration;

use bson::{Bson, Document};
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;

pub use address::{AddressPolicy, LookUp, URL_CHARS_MAX, UrlFault, check_url, system_look_up};
pub use body::{ParsedBody, read_body};
pub use client::ExchangeClient;
pub use file::{Expected, FileSink, PIECE_BYTES, ReceivedFile, is_page};
pub use knock::knock;
pub use redaction::Redaction;
pub use smtp::{MESSAGE_BYTES_MAX, MailAnswer, MailReply, Smtp, SmtpServer, SmtpStep};
pub use spans::SpanPost;

/// Answers over this size, packed or unpacked, are given up: no provider of ours has a reason to send more.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// So much is read of the answer of somebody whose status is all that counts.
pub const ANSWER_BYTES_OF_OTHERS: usize = 4 * 1024;
/// A connection that doesn't stand by then never will; nothing was sent.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A call as an adapter wants it, without its credentials.
#[derive(Clone)]
pub struct Outbound {
    /// `parcelx`, ...
    pub provider: &'static str,
    /// `create_order`, ...
    pub operation: &'static str,
    pub method: Method,
    /// Absolute URL with its query.
    pub url: String,
    pub body: Option<Value>,
    /// The parts that may be stored.
    pub redaction: &'static Redaction,
}

/// Without the query and the body, which may hold what no log may.
impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("provider", &self.provider)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub struct RequestRecord {
    pub method: String,
    /// URL; values of its query that are not allowed are redacted.
    pub url: String,
    /// Headers; credentials are named, never shown.
    pub headers: Document,
    /// The redacted body, or null.
    pub body: Bson,
}

/// An outbound call with its record.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The call to send.
    pub outbound: Outbound,
    /// The record to store of it.
    pub record: RequestRecord,
}

impl Prepared {
    /// Redacts `outbound`. Pure.
    #[must_use]
    pub fn new(outbound: Outbound, credential_headers: &[&'static str]) -> Self {
        let mut headers = Document::new();
        if outbound.body.is_some() {
            headers.insert("content-type", "application/json");
        }
        for name in credential_headers {
            headers.insert(*name, "[credential]");
        }
        let record = RequestRecord {
            method: outbound.method.as_str().to_owned(),
            url: outbound.redaction.url(&outbound.url),
            headers,
            body: outbound.body.as_ref().map_or(Bson::Null, |body| outbound.redaction.request_body(body)),
        };
        Self { outbound, record }
    }
}

/// A request whose log is part of the transaction that handed this out.
#[derive(Clone, Debug)]
pub struct Logged {
    outbound: Outbound,
}

impl Logged {
    /// Only `audit` calls this, right after it appended the record to the view (held by a test).
    #[must_use]
    pub fn after_append(prepared: Prepared) -> Self {
        Self { outbound: prepared.outbound }
    }

    /// The call to send.
    #[must_use]
    pub const fn outbound(&self) -> &Outbound {
        &self.outbound
    }
}

/// Headers that prove who we are; fetched right before sending, never stored.
pub type Credentials = Vec<(HeaderName, HeaderValue)>;

/// Why nothing was executed, provably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// No connection: refused, unreachable, DNS, TLS, or not in time.
    NotConnected,
    /// The credentials could not be made.
    NoCredentials,
    /// The worker's lease would not have outlasted the call.
    NoTime,
    /// The address was chosen by somebody else, and is none in the public internet.
    NotPublic,
}

/// Why there is no whole answer although the request may have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The deadline passed.
    TimedOut,
    /// The connection broke, before or within the answer.
    ConnectionLost,
    /// The answer was over the limit.
    TooLarge,
    /// A file came, and could not be stored here.
    NotKept,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AnswerBody {
    /// Well-formed JSON.
    Json(Value),
    /// JSON that contradicts itself: says nothing.
    Contradictory,
    /// Anything else: HTML, cut off, empty.
    NotJson,
    /// A file that was asked for, and is kept.
    File(ReceivedFile),
}

/// The answer to a call, as adapters see it.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Nothing was executed.
    NotSent(NotSent),
    /// Whether it was executed is not known.
    Lost(Lost),
    Http {
        status: u16,
        /// `Retry-After`, in seconds or as a date.
        retry_after: Option<Duration>,
        body: AnswerBody,
    },
}

/// The record of an answer, or of its absence.
#[derive(Clone, Debug)]
pub struct ResponseRecord {
    pub http_status: Option<i32>,
    pub headers: Document,
    /// The redacted body; of one that contradicts itself both readings; for a file, and for what is not JSON, length and digest.
    pub body: Bson,
    /// Milliseconds from sending to the end of the answer.
    pub latency_ms: i64,
}

/// An answer and its record.
#[derive(Clone, Debug)]
pub struct Reply {
    pub answer: Answer,
    pub record: ResponseRecord,
}

impl Reply {
    /// The reply to a call that was not made.
    #[must_use]
    pub fn not_sent(why: NotSent) -> Self {
        Self {
            answer: Answer::NotSent(why),
            record: ResponseRecord { http_status: None, headers: Document::new(), body: Bson::Null, latency_ms: 0 },
        }
    }
}
