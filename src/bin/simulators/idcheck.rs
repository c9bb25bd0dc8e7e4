//! IDCheck, a verification provider. Base path `/idcheck/v1`.
//!
//! - `POST pan-verifications`, `gstin-verifications` and `penny-drops`, in the provider's own words. Everything is valid
//!   and on record under the name that was sent, in capitals. The reference is the idempotency key: the same one again is
//!   the same verification, with other content it is a conflict.
//! - `/idcheck/_books...` what the provider was asked to do and did, no identifier in full ([`books`]).
//! - `/idcheck/_control/...` faults and the expected key ([`control`], [`faults`]).
//!
//! The order of events in a call: counted, key checked, checked against the contract, noted under its reference, fault
//! chosen, latency, work, answer. From the latency on it runs in a task of its own: a client that gives up waiting does
//! not stop a bank from moving money.

mod answers;
mod books;
mod contract;
mod control;
mod faults;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{MethodRouter, post},
};

use answers::Natural;
use books::Books;
use contract::{Operation, Request};
use faults::{Fault, Rules, Subject};

/// What the key is until somebody sets another.
const KEY: &str = "dev";

/// Everything this provider knows.
struct Verifier {
    books: Books,
    rules: Rules,
    /// `None` accepts any.
    expected_key: Option<String>,
}

/// The provider, shared by all handlers.
#[derive(Clone)]
struct Shared(Arc<Mutex<Verifier>>);

impl Shared {
    fn new() -> Self {
        let verifier =
            Verifier { books: Books::default(), rules: Rules::default(), expected_key: Some(KEY.to_owned()) };
        Self(Arc::new(Mutex::new(verifier)))
    }

    fn lock(&self) -> MutexGuard<'_, Verifier> {
        self.0.lock().expect("no holder of the verifier's lock panics")
    }
}

/// All routes of the provider, relative to its prefix.
pub fn router() -> Router {
    let shared = Shared::new();
    Router::new()
        .route("/v1/pan-verifications", calls_of(Operation::Pan))
        .route("/v1/gstin-verifications", calls_of(Operation::Gstin))
        .route("/v1/penny-drops", calls_of(Operation::PennyDrop))
        .with_state(shared.clone())
        .merge(control::router(shared))
        .fallback(|| async { answers::not_found() })
}

fn calls_of(operation: Operation) -> MethodRouter<Shared> {
    post(move |State(shared): State<Shared>, headers: HeaderMap, body: Bytes| verify(shared, operation, headers, body))
}

async fn verify(shared: Shared, operation: Operation, headers: HeaderMap, body: Bytes) -> Response {
    let (request, fault) = {
        let mut verifier = shared.lock();
        if !verifier.admits(operation, &headers) {
            return answers::invalid_key();
        }
        let request = match contract::read(operation, &headers, &body) {
            Ok(request) => request,
            Err(deviations) => {
                let reference = contract::named_reference(&body);
                return verifier.books.object(operation, reference, deviations);
            }
        };
        verifier.books.note(&request);
        let subject = Subject { operation, reference: request.reference.clone() };
        let fault = verifier.rules.pick(&subject, rand::random).unwrap_or_else(|| Fault::none(operation));
        (request, fault)
    };
    carry_out(shared, fault, request).await
}

/// Waits the fault's latency, does the work if the fault lets it, and answers as the fault says.
async fn carry_out(shared: Shared, fault: Fault, request: Request) -> Response {
    tracing::debug!(operation = ?fault.operation, mode = ?fault.mode, "idcheck call");
    let (latency, finding) = (fault.latency, fault.finding(&request));
    let task = tokio::spawn(async move {
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let natural = finding.map(|finding| match shared.lock().books.verify(&request, &finding) {
            Ok(body) => Natural { status: StatusCode::OK, body },
            Err(refusal) => refusal.into(),
        });
        (natural, request)
    });
    match task.await {
        Ok((natural, request)) => fault.respond(natural, &request).await,
        Err(error) => {
            tracing::error!(%error, "the stand-in itself failed");
            answers::simulator_failed()
        }
    }
}

impl Verifier {
    /// Counts the call and checks its key.
    fn admits(&mut self, operation: Operation, headers: &HeaderMap) -> bool {
        self.books.count(operation);
        let key = headers.get("x-api-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let accepted = !key.is_empty() && self.expected_key.as_deref().is_none_or(|expected| expected == key);
        if !accepted {
            self.books.unauthorized += 1;
        }
        accepted
    }
}
