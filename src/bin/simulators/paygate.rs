//! PayGate, a payment gateway. Base path `/paygate/v1`.
//!
//! - `POST payments`, `GET payments?reference=`, in the gateway's own words. The reference is the idempotency key: the
//!   same one again is the same payment, with another amount it is a conflict.
//! - `/paygate/pay/{paymentId}` the page on which a person pays, or does not ([`page`]).
//! - `/paygate/_books...` what the gateway was asked to do and did ([`books`]).
//! - `/paygate/_control/...` faults, the expected token, where callbacks go, and payments that succeed or fail
//!   ([`control`], [`faults`], [`callbacks`]).
//!
//! The order of events in a call: counted, token checked, noted under its reference, checked against the contract,
//! fault chosen, latency, work, callback where the fault says so, answer. From the latency on it runs in a task of its
//! own: a client that gives up waiting does not stop a gateway from taking money.

mod answers;
mod books;
mod callbacks;
mod contract;
mod control;
mod faults;
mod page;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::Value;

use answers::{Natural, Refusal};
use books::{Books, Deed, Placed};
pub use callbacks::client;
use callbacks::{Plan, Target};
use contract::{Create, Deviation};
use faults::{CallsBack, Fault, Operation, Rules, Subject};

/// What the token is until somebody sets another.
const TOKEN: &str = "dev";

/// Everything this gateway knows.
struct Gateway {
    books: Books,
    rules: Rules,
    /// `None` accepts any.
    expected_token: Option<String>,
    callbacks: Option<Target>,
    /// How long after its creation a payment is paid by itself.
    auto_after: Option<Duration>,
}

/// The gateway, shared by all handlers, and its client for callbacks.
#[derive(Clone)]
struct Shared {
    gateway: Arc<Mutex<Gateway>>,
    client: reqwest::Client,
    /// The path in front of `/paygate`.
    base: String,
}

impl Shared {
    fn new(base: &str, client: reqwest::Client) -> Self {
        let gateway = Gateway {
            books: Books::default(),
            rules: Rules::default(),
            expected_token: Some(TOKEN.to_owned()),
            callbacks: None,
            auto_after: None,
        };
        Self { gateway: Arc::new(Mutex::new(gateway)), client, base: base.to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, Gateway> {
        self.gateway.lock().expect("no holder of the gateway's lock panics")
    }
}

/// All routes of the gateway, relative to its prefix.
pub fn router(base: &str, client: reqwest::Client, callbacks: Option<(String, String)>) -> Router {
    let shared = Shared::new(base, client);
    shared.lock().callbacks = callbacks.map(|(url, secret)| Target { url, secret });
    Router::new()
        .route("/v1/payments", post(create_payment).get(look_up_payment))
        .with_state(shared.clone())
        .merge(page::router(shared.clone()))
        .merge(control::router(shared))
        .fallback(|| async { answers::not_found() })
}

async fn create_payment(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let (create, fault) = {
        let mut gateway = shared.lock();
        if !gateway.admits(&headers) {
            return answers::invalid_token();
        }
        let read = read_json(&headers, &body).and_then(|body| contract::read_create(&body));
        let reference = match &read {
            Ok(create) => Some(create.reference.clone()),
            Err(_) => contract::named_reference(&body),
        };
        gateway.books.note_create(reference.as_deref(), &body);
        let create = match read {
            Ok(create) => create,
            Err(deviations) => return gateway.books.object(Operation::Create, reference, deviations),
        };
        let subject =
            Subject { operation: Operation::Create, reference: create.reference.clone(), amount: Some(create.amount) };
        let fault = gateway.rules.pick(&subject, rand::random).unwrap_or_else(|| Fault::none(Operation::Create));
        (create, fault)
    };
    let base = page::base_url(&headers, &shared.base);
    carry_out(shared, fault, move |shared, calls_back| async move { place(&shared, create, &base, calls_back).await })
        .await
}

/// Books the payment, or finds the one that is there, and gives the answer to it.
async fn place(shared: &Shared, create: Create, base: &str, calls_back: Option<CallsBack>) -> Natural {
    let reference = create.reference.clone();
    let (status, answer, auto_after) = {
        let mut gateway = shared.lock();
        let auto_after = gateway.auto_after;
        match gateway.books.create(create) {
            Ok(Placed { payment, is_new: true }) => (StatusCode::CREATED, answers::payment(payment, base), auto_after),
            Ok(Placed { payment, is_new: false }) => (StatusCode::OK, answers::payment(payment, base), None),
            Err(refusal) => return refusal.into(),
        }
    };
    if let Some(after) = auto_after {
        tokio::spawn(pay_later(shared.clone(), reference.clone(), after));
    }
    let Some(calls_back) = calls_back else {
        return Natural { status, body: answer };
    };
    if let Err(problem) = callbacks::carry_out(shared, &reference, Plan::of(Deed::Pay)).await {
        tracing::warn!(problem = problem.text(), "no callback before the answer");
    }
    let body = match calls_back {
        CallsBack::ThenAnswers => {
            shared.lock().books.payment(&reference).map_or(answer, |payment| answers::payment(payment, base))
        }
        CallsBack::ThenAnswersAsBefore => answer,
    };
    Natural { status, body }
}

/// Pays a payment that nobody has settled in the meantime.
async fn pay_later(shared: Shared, reference: String, after: Duration) {
    tokio::time::sleep(after).await;
    let waiting = shared.lock().books.payment(&reference).is_some_and(books::Payment::is_payable);
    if waiting && let Err(problem) = callbacks::carry_out(&shared, &reference, Plan::of(Deed::Pay)).await {
        tracing::warn!(problem = problem.text(), "not paid by itself");
    }
}

async fn look_up_payment(State(shared): State<Shared>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let (reference, fault) = {
        let mut gateway = shared.lock();
        if !gateway.admits(&headers) {
            return answers::invalid_token();
        }
        let reference = match contract::read_look_up(query.as_deref().unwrap_or_default()) {
            Ok(reference) => reference,
            Err(deviation) => return gateway.books.object(Operation::LookUp, None, vec![deviation]),
        };
        let amount = gateway.books.note_look_up(&reference);
        let subject = Subject { operation: Operation::LookUp, reference: reference.clone(), amount };
        let fault = gateway.rules.pick(&subject, rand::random).unwrap_or_else(|| Fault::none(Operation::LookUp));
        (reference, fault)
    };
    let base = page::base_url(&headers, &shared.base);
    carry_out(shared, fault, move |shared, _| async move {
        match shared.lock().books.payment(&reference) {
            Some(payment) => Natural { status: StatusCode::OK, body: answers::payment(payment, &base) },
            None => Refusal::payment_not_found().into(),
        }
    })
    .await
}

/// Waits the fault's latency, does the work if the fault lets it, and answers as the fault says.
async fn carry_out<W, F>(shared: Shared, fault: Fault, work: W) -> Response
where
    W: FnOnce(Shared, Option<CallsBack>) -> F + Send + 'static,
    F: Future<Output = Natural> + Send,
{
    tracing::debug!(operation = ?fault.operation, mode = ?fault.mode, "paygate call");
    let (latency, works, calls_back) = (fault.latency(), fault.after_work, fault.mode.calls_back());
    let task = tokio::spawn(async move {
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if works { Some(work(shared, calls_back).await) } else { None }
    });
    match task.await {
        Ok(natural) => fault.respond(natural).await,
        Err(error) => {
            tracing::error!(%error, "the stand-in itself failed");
            answers::simulator_failed()
        }
    }
}

/// The body as JSON, or what is wrong with it.
fn read_json(headers: &HeaderMap, body: &Bytes) -> Result<Value, Vec<Deviation>> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Err(vec![Deviation::new("content-type", "must be application/json")]);
    }
    serde_json::from_slice(body).map_err(|error| vec![Deviation::new("body", &format!("not JSON: {error}"))])
}

impl Gateway {
    /// Counts the call and checks its token.
    fn admits(&mut self, headers: &HeaderMap) -> bool {
        self.books.calls += 1;
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let expected = self.expected_token.as_deref();
        let accepted = !token.is_empty() && expected.is_none_or(|expected| expected == token);
        if !accepted {
            self.books.unauthorized += 1;
        }
        accepted
    }
}

impl From<Refusal> for Natural {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, body: refusal.body() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Natural::from(self).into_response()
    }
}
