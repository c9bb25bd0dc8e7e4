//! Exports of spans to the operator's collector.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use parking_lot::Mutex;
use reqwest::Client;
use tokio::runtime::Handle;

use super::client::builder;

/// A collector says little; more is given up.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A collector that is away is complained of this often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Posts spans. It is asked by a thread that has no runtime, so it sends on ours.
#[derive(Debug)]
pub struct SpanPost {
    client: Client,
    deadline: Duration,
    runtime: Handle,
    warned: Mutex<Option<Instant>>,
}

impl SpanPost {
    /// Exports that take at most `deadline`, sent on the runtime that this is called in.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(deadline: Duration) -> Result<Self, reqwest::Error> {
        let client = builder(deadline).build()?;
        Ok(Self { client, deadline, runtime: Handle::current(), warned: Mutex::default() })
    }

    fn failed(&self, reason: &HttpError) {
        metrics::counter!("waybill_trace_exports_failed_total").increment(1);
        let mut warned = self.warned.lock();
        if warned.is_none_or(|at| at.elapsed() > WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(reason = %reason, "spans can't be exported; they are lost");
        }
    }
}

async fn post(client: Client, request: Request<Bytes>, deadline: Duration) -> Result<Response<Bytes>, HttpError> {
    let request = reqwest::Request::try_from(request)?;
    let sending = async {
        let mut answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
        let (status, mut bytes) = (answer.status(), Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err("the answer is too large".into());
            }
            bytes.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            return Err(format!("the collector answered {}", status.as_u16()).into());
        }
        Ok::<_, HttpError>(Response::builder().status(status).body(bytes.into())?)
    };
    tokio::time::timeout(deadline, sending)
        .await
        .map_err(|_| HttpError::from("the collector did not answer in time"))?
}

#[async_trait]
impl HttpClient for SpanPost {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sending = self.runtime.spawn(post(self.client.clone(), request, self.deadline));
        let answer = sending.await.map_err(HttpError::from).and_then(|answer| answer);
        answer.inspect_err(|error| self.failed(error))
    }
}
