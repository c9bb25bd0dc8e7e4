//! Sending.

use std::{
    future::poll_fn,
    pin::pin,
    sync::LazyLock,
    task::Poll,
    time::{Duration, Instant, SystemTime},
};

use bson::{Bson, Document, bson};
use reqwest::{
    Client, ClientBuilder, Response,
    header::{self, HeaderMap},
    redirect,
};
use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use serde::Serialize;

use super::{
    ANSWER_BYTES_MAX, ANSWER_BYTES_OF_OTHERS, AddressPolicy, Answer, AnswerBody, CONNECT_TIMEOUT, Credentials,
    Expected, FileSink, Logged, LookUp, Lost, NotSent, ParsedBody, ReceivedFile, Redaction, Reply, ResponseRecord,
    address::{NotPublic, PublicResolver, check_url},
    body::{TooLarge, read_body, unpacked},
    file::{FileReceiver, NotTaken, is_file},
    own_credentials::OwnCredentials,
};
use crate::platform::{crash, secret::sha256_hex, traces};

/// Many servers close idle connections after five seconds; one that closes just as we send costs a look-up.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// A pooled client: keep-alive, no redirects (they would send again without a log), no proxies, no retries. Bytes that
/// the provider's host has not acknowledged by the deadline are dropped by the kernel, so that a request we have given up can't
/// arrive after an absence counts.
#[derive(Clone, Debug)]
pub struct ExchangeClient {
    client: Client,
    deadline: Duration,
    /// Where calls may go whose addresses somebody else chose; none where the operator chose them.
    reach: Option<AddressPolicy>,
}

impl ExchangeClient {
    /// A client whose calls take at most `deadline`.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(deadline: Duration) -> Result<Self, reqwest::Error> {
        Ok(Self { client: builder(deadline).build()?, deadline, reach: None })
    }

    /// A client for addresses that somebody else chose: it calls those in `reach` alone, whatever their names stand for by
    /// then. Of the answer only the status counts: no more than [`ANSWER_BYTES_OF_OTHERS`] are read of it, and it does not matter
    /// how it ends.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn to_others(deadline: Duration, reach: AddressPolicy, look_up: LookUp) -> Result<Self, reqwest::Error> {
        let resolver = std::sync::Arc::new(PublicResolver { look_up, reach });
        Ok(Self { client: builder(deadline).dns_resolver(resolver).build()?, deadline, reach: Some(reach) })
    }

    /// How long a call may take.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Posts JSON to a place of the operator's own, such as the one that keeps anchors. No provider, nobody's data, no
    /// log; the answer's body is not read.
    ///
    /// # Errors
    /// In words, without the URL, which may hold a token: not reached in time, or an answer other than 2xx.
    pub async fn post<T: Serialize + Sync>(&self, url: &str, body: &T) -> Result<(), String> {
        let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        let request = self.client.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
        match request.timeout(self.deadline).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
            Err(error) => Err(error.without_url().to_string()),
        }
    }

    /// Sends a logged request and waits for the whole answer, at most for the deadline, which runs from `since`. Never
    /// fails: what went wrong is the answer.
    pub async fn send(&self, logged: &Logged, credentials: Credentials, since: Instant) -> Reply {
        self.exchange(logged, credentials, since, None).await
    }

    /// The same for a request that asks for a file, which goes to `sink`. An answer that says something instead is read like any
    /// other.
    pub async fn fetch(
        &self,
        logged: &Logged,
        credentials: Credentials,
        since: Instant,
        sink: &mut dyn FileSink,
        expected: Expected,
    ) -> Reply {
        self.exchange(logged, credentials, since, Some((sink, expected))).await
    }

    async fn exchange(
        &self,
        logged: &Logged,
        credentials: Credentials,
        since: Instant,
        file: Option<(&mut dyn FileSink, Expected)>,
    ) -> Reply {
        let outbound = logged.outbound();
        let span = traces::call(outbound.provider, outbound.operation);
        let reply = traces::within(span.as_ref(), self.exchange_within(logged, credentials, since, file)).await;
        if let Some(span) = &span {
            match &reply.answer {
                Answer::Http { status, .. } => span.set("http.response.status_code", i64::from(*status)),
                Answer::NotSent(_) => span.failed("not_sent"),
                Answer::Lost(_) => span.failed("no_answer"),
            }
        }
        reply
    }

    async fn exchange_within(
        &self,
        logged: &Logged,
        credentials: Credentials,
        since: Instant,
        file: Option<(&mut dyn FileSink, Expected)>,
    ) -> Reply {
        let started = Instant::now();
        if started >= since + self.deadline {
            return Reply::not_sent(NotSent::NoTime);
        }
        let outbound = logged.outbound();
        if self.reach.is_some_and(|reach| check_url(&outbound.url, reach).is_err()) {
            return Reply::not_sent(NotSent::NotPublic);
        }
        let mut request = self.client.request(outbound.method.clone(), &outbound.url);
        let mut seen = PartialAnswer::with(OwnCredentials::of(&credentials));
        for (name, value) in credentials {
            request = request.header(name, value);
        }
        // Not to receivers of webhooks: who they are nobody here has decided.
        if let Some(trace) = traces::for_providers().filter(|_| self.reach.is_none()) {
            request = request.header(traces::TRACEPARENT, &*trace);
        }
        if let Some(body) = &outbound.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let outcome = {
            let mut exchange = pin!(async {
                let response = request.send().await?;
                seen.head(&response);
                match file {
                    Some((sink, expected)) if is_file(response.status().as_u16(), response.headers(), expected) => {
                        let intake = FileReceiver::new(sink, expected.bytes_max, response.headers());
                        seen.file(response, intake).await
                    }
                    _ if self.reach.is_some() => seen.beginning(response).await,
                    _ => seen.body(response).await,
                }
            });
            // A process that was stopped for longer than the deadline must not go on sending where it was: by then the
            // job has another worker. So the clock is asked first, at every step.
            let in_time = poll_fn(|context| {
                let overdue = since.elapsed() >= self.deadline;
                if overdue { Poll::Ready(Ok(Some(Lost::TimedOut))) } else { exchange.as_mut().poll(context) }
            });
            tokio::select! {
                outcome = tokio::time::timeout_at((since + self.deadline).into(), in_time) => outcome,
                () = crash::after_sending(outbound.operation) => Ok(Ok(Some(Lost::ConnectionLost))),
            }
        };
        let lost = match outcome {
            Ok(Ok(lost)) => lost,
            Ok(Err(error)) if error.is_connect() || error.is_builder() => {
                let why = if is_not_public(&error) { NotSent::NotPublic } else { NotSent::NotConnected };
                return Reply { record: seen.record(outbound.redaction, started), ..Reply::not_sent(why) };
            }
            Ok(Err(error)) if error.is_timeout() => Some(Lost::TimedOut),
            Ok(Err(_)) => Some(Lost::ConnectionLost),
            Err(_) => Some(Lost::TimedOut),
        };
        let lost = lost.filter(|_| self.reach.is_none() || seen.status.is_none());
        let record = seen.record(outbound.redaction, started);
        let answer = match (lost, seen.status) {
            (None, Some(status)) => Answer::Http {
                status,
                retry_after: seen.retry_after,
                body: match (seen.received, seen.said) {
                    (Some(received), _) => AnswerBody::File(received),
                    (None, ParsedBody::Json(json)) => AnswerBody::Json(json),
                    (None, ParsedBody::Contradictory(_)) => AnswerBody::Contradictory,
                    (None, ParsedBody::NotJson) => AnswerBody::NotJson,
                },
            },
            (lost, _) => Answer::Lost(lost.unwrap_or(Lost::ConnectionLost)),
        };
        Reply { answer, record }
    }
}

/// TLS of all clients, with the root certificates of the machine, which take 30 ms of a core to read: once. None where that fails;
/// building a client then says why.
static TLS: LazyLock<Option<ClientConfig>> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    ClientConfig::with_platform_verifier().ok()
});

pub(super) fn builder(deadline: Duration) -> ClientBuilder {
    let client = match TLS.as_ref() {
        Some(tls) => Client::builder().tls_backend_preconfigured(tls.clone()),
        None => Client::builder(),
    };
    client
        .user_agent(concat!("waybill/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT.min(deadline))
        .pool_max_idle_per_host(128)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_user_timeout(deadline.max(Duration::from_secs(1)))
        .tcp_nodelay(true)
}

/// The part of the answer that was received so far; it is kept when the rest is lost.
struct PartialAnswer {
    ours: OwnCredentials,
    status: Option<u16>,
    headers: Document,
    retry_after: Option<Duration>,
    bytes: Vec<u8>,
    said: ParsedBody,
    received: Option<ReceivedFile>,
}

impl PartialAnswer {
    fn with(ours: OwnCredentials) -> Self {
        let (headers, bytes, said) = (Document::new(), Vec::new(), ParsedBody::NotJson);
        Self { ours, status: None, headers, retry_after: None, bytes, said, received: None }
    }

    fn head(&mut self, response: &Response) {
        self.status = Some(response.status().as_u16());
        for (name, value) in response.headers() {
            let text = self.ours.without(&String::from_utf8_lossy(value.as_bytes()));
            if let Some(text) = Redaction::header(name.as_str(), &text) {
                self.headers.insert(name.as_str(), text);
            }
        }
        let waits = response.headers().get_all(header::RETRY_AFTER).iter().filter_map(|value| value.to_str().ok());
        self.retry_after = waits.filter_map(|value| retry_after(value, SystemTime::now())).max();
    }

    async fn body(&mut self, mut response: Response) -> Result<Option<Lost>, reqwest::Error> {
        while let Some(chunk) = response.chunk().await? {
            if self.bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Ok(Some(Lost::TooLarge));
            }
            self.bytes.extend_from_slice(&chunk);
        }
        Ok(self.read(response.headers()).err().map(|TooLarge| Lost::TooLarge))
    }

    /// As much as is read where only the status counts.
    async fn beginning(&mut self, mut response: Response) -> Result<Option<Lost>, reqwest::Error> {
        while let Some(chunk) = response.chunk().await? {
            let room = ANSWER_BYTES_OF_OTHERS - self.bytes.len();
            self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return Ok(None);
            }
        }
        // One that is too large once it is unpacked says nothing.
        let _ = self.read(response.headers());
        Ok(None)
    }

    async fn file(
        &mut self,
        mut response: Response,
        mut intake: FileReceiver<'_>,
    ) -> Result<Option<Lost>, reqwest::Error> {
        let mut taken = intake.announced(response.headers());
        let taken = loop {
            match taken {
                Ok(()) => match response.chunk().await? {
                    Some(chunk) => taken = intake.take(&chunk).await,
                    None => break intake.finish().await,
                },
                Err(not_taken) => break Err(not_taken),
            }
        };
        if taken.is_err() {
            intake.discard().await;
        }
        Ok(match taken {
            Ok(received) => {
                self.received = Some(received);
                None
            }
            Err(NotTaken::TooLarge) => Some(Lost::TooLarge),
            Err(NotTaken::Coding | NotTaken::Cut) => Some(Lost::ConnectionLost),
            Err(NotTaken::NotKept(reason)) => {
                tracing::warn!(reason, "a provider's file could not be stored");
                Some(Lost::NotKept)
            }
        })
    }

    /// Reads the bytes, without our credentials.
    fn read(&mut self, headers: &HeaderMap) -> Result<(), TooLarge> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let codings = headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let codings = codings.collect::<Vec<_>>().join(",");
        self.said = match read_body(&unpacked(&self.bytes, &codings)?, content_type) {
            ParsedBody::Json(json) => ParsedBody::Json(self.ours.taken_out(json)),
            ParsedBody::Contradictory(readings) => {
                ParsedBody::Contradictory(Box::new((*readings).map(|json| self.ours.taken_out(json))))
            }
            ParsedBody::NotJson => ParsedBody::NotJson,
        };
        Ok(())
    }

    fn record(&self, redaction: &Redaction, started: Instant) -> ResponseRecord {
        let body = match &self.said {
            ParsedBody::Json(json) => redaction.response_body(json),
            ParsedBody::Contradictory(readings) => {
                bson!({ "contradictory": readings.iter().map(|json| redaction.response_body(json)).collect::<Vec<_>>() })
            }
            ParsedBody::NotJson if let Some(file) = &self.received => {
                bson!({ "file": { "bytes": file.bytes as i64, "sha256": &*file.sha256 } })
            }
            ParsedBody::NotJson if self.bytes.is_empty() => Bson::Null,
            ParsedBody::NotJson => {
                bson!({ "notJson": { "bytes": self.bytes.len() as i64, "sha256": sha256_hex(&self.bytes) } })
            }
        };
        ResponseRecord {
            http_status: self.status.map(i32::from),
            headers: self.headers.clone(),
            body,
            latency_ms: started.elapsed().as_millis() as i64,
        }
    }
}

/// Whether a connection was not even tried, because of where it would have gone.
fn is_not_public(error: &reqwest::Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.any(|cause| cause.is::<NotPublic>())
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds or an HTTP date; at most an hour.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    const HOUR: Duration = Duration::from_secs(3600);
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More than can be counted is more than an hour.
        value.parse().map_or(HOUR, Duration::from_secs)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(HOUR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_comes_in_two_spellings() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").expect("a date");
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 21 Oct 2020 07:28:30 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("999999999", now), Some(Duration::from_secs(3600)));
        assert_eq!(retry_after("99999999999999999999999", now), Some(Duration::from_secs(3600)));
        for rubbish in ["soon", "", "-1", "1.5", "+7"] {
            assert_eq!(retry_after(rubbish, now), None, "{rubbish}");
        }
    }
}
