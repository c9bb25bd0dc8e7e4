//! ParcelX, a carrier. Base path `/parcelx/api/v3`.
//!
//! - `POST order/create_order`, `POST order/cancel_order`, `GET track_order?awb=|channel_order_no=`,
//!   in the carrier's own words. Every accepted create is one more shipment: no deduplication, as in
//!   the field, so a client that sends twice finds two shipments in the books.
//! - `/parcelx/_books...` what the carrier was asked to do and did ([`books`]).
//! - `/parcelx/_control/...` faults, shipment status and the expected token ([`control`], [`faults`]).
//!
//! The order of events in a call: counted, token checked, noted under its order, body checked against
//! the contract, fault chosen, latency, work, answer. Latency and work run in a task of their own: a
//! client that gives up waiting does not stop a carrier from booking the shipment.

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
    extract::{Query, RawQuery, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::Value;

use answers::Refusal;
use books::{Books, Lookup};
use contract::{Create, Deviation};
use faults::{Fault, Operation, Rules, Subject};

/// Everything this carrier knows.
#[derive(Default)]
struct Carrier {
    books: Books,
    rules: Rules,
    expected_token: Option<String>,
}

/// The carrier, shared by all handlers.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Carrier>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Carrier> {
        self.0.lock().expect("no holder of the carrier's lock panics")
    }
}

/// State of the carrier's API. Fault rules do not apply behind a redirect, so that a client that
/// follows one shows up in the books instead of running in a circle.
#[derive(Clone)]
struct Api {
    carrier: Shared,
    faults_apply: bool,
    /// The path in front of `/parcelx`.
    base: String,
}

/// All routes of the carrier, relative to its prefix.
pub fn router(base: &str) -> Router {
    let carrier = Shared::default();
    let api = |faults_apply| api(Api { carrier: carrier.clone(), faults_apply, base: base.to_owned() });
    Router::new()
        .nest("/api/v3", api(true))
        .nest(faults::MOVED_TO, api(false))
        .merge(control::router(carrier))
        .fallback(|| async { answers::not_found() })
}

fn api(api: Api) -> Router {
    Router::new()
        .route("/order/create_order", post(create_order))
        .route("/order/cancel_order", post(cancel_order))
        .route("/track_order", get(track_order))
        .with_state(api)
}

async fn create_order(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let (create, fault) = {
        let mut carrier = api.carrier.lock();
        if !carrier.admits(&headers) {
            return answers::invalid_token();
        }
        let (create, deviations) = match read_json(&headers, &body) {
            Ok(body) => (Create::read(&body), contract::check_create(&body)),
            Err(deviation) => (Create::default(), vec![deviation]),
        };
        carrier.books.note_create(&create, &body);
        let subject = Subject {
            operation: Operation::Create,
            client_order_id: create.client_order_id.clone(),
            invoice_number: create.invoice_number.clone(),
        };
        if let Err(problems) = carrier.books.object(&subject, deviations) {
            return Refusal::of(problems).into_response();
        }
        (create, api.fault(&mut carrier, &subject))
    };
    let mode = fault.mode;
    let work = move |books: &mut Books| {
        let shipment = books.create(&create, mode);
        answers::created(&create, shipment)
    };
    carry_out(api, fault, "/order/create_order", work).await
}

async fn cancel_order(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let (awb, fault) = {
        let mut carrier = api.carrier.lock();
        if !carrier.admits(&headers) {
            return answers::invalid_token();
        }
        let (awb, deviations) = match read_json(&headers, &body) {
            Ok(body) => (contract::cancel_awb(&body), contract::check_cancel(&body)),
            Err(deviation) => (String::new(), vec![deviation]),
        };
        let subject = carrier.books.note_cancel(&awb);
        if let Err(problems) = carrier.books.object(&subject, deviations) {
            return Refusal::of(problems).into_response();
        }
        (awb, api.fault(&mut carrier, &subject))
    };
    let work = move |books: &mut Books| answers::cancelled(books.cancel(&awb));
    carry_out(api, fault, "/order/cancel_order", work).await
}

#[derive(Deserialize)]
struct TrackQuery {
    awb: Option<String>,
    channel_order_no: Option<String>,
}

async fn track_order(
    State(api): State<Api>,
    headers: HeaderMap,
    RawQuery(raw_query): RawQuery,
    Query(query): Query<TrackQuery>,
) -> Response {
    let (lookup, fault) = {
        let mut carrier = api.carrier.lock();
        if !carrier.admits(&headers) {
            return answers::invalid_token();
        }
        let (lookup, deviations) = match (query.awb, query.channel_order_no) {
            (Some(awb), None) if !awb.is_empty() => (Lookup::Awb(awb), vec![]),
            (None, Some(id)) if !id.is_empty() => (Lookup::ClientOrderId(id), vec![]),
            _ => {
                let problem = "give one of awb and channel_order_no";
                (Lookup::Awb(String::new()), vec![Deviation::new("awb", problem)])
            }
        };
        let subject = carrier.books.note_track(&lookup);
        if let Err(problems) = carrier.books.object(&subject, deviations) {
            return Refusal::of(problems).into_response();
        }
        (lookup, api.fault(&mut carrier, &subject))
    };
    let work = move |books: &mut Books| answers::tracked(books.find(&lookup));
    let path = format!("/track_order?{}", raw_query.unwrap_or_default());
    carry_out(api, fault, &path, work).await
}

/// Waits the fault's latency, does the work if the fault lets it, and answers as the fault says.
async fn carry_out<W>(api: Api, fault: Fault, path: &str, work: W) -> Response
where
    W: FnOnce(&mut Books) -> Value + Send + 'static,
{
    tracing::debug!(operation = ?fault.operation, mode = ?fault.mode, "parcelx call");
    let (latency, works) = (fault.latency(), fault.after_work);
    let carrier = api.carrier;
    let task = tokio::spawn(async move {
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        works.then(|| work(&mut carrier.lock().books))
    });
    match task.await {
        Ok(natural) => fault.respond(natural, &format!("{}/parcelx", api.base), path).await,
        Err(error) => {
            tracing::error!(%error, "the stand-in itself failed");
            answers::simulator_failed()
        }
    }
}

/// The body as JSON, or what is wrong with it.
fn read_json(headers: &HeaderMap, body: &Bytes) -> Result<Value, Deviation> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Err(Deviation::new("content-type", "must be application/json"));
    }
    serde_json::from_slice(body).map_err(|error| Deviation::new("body", &format!("not JSON: {error}")))
}

impl Api {
    fn fault(&self, carrier: &mut Carrier, subject: &Subject) -> Fault {
        let picked = if self.faults_apply { carrier.rules.pick(subject, rand::random) } else { None };
        picked.unwrap_or_else(|| Fault::none(subject.operation))
    }
}

impl Carrier {
    /// Counts the call and checks its token.
    fn admits(&mut self, headers: &HeaderMap) -> bool {
        self.books.calls += 1;
        let token = headers.get("access-token").and_then(|value| value.to_str().ok());
        let accepted = self.accepts(token.unwrap_or_default());
        if !accepted {
            self.books.unauthorized += 1;
        }
        accepted
    }

    /// A token is base64 of `key:secret`, both not empty; with one expected, it must be that one.
    fn accepts(&self, token: &str) -> bool {
        let Some(pair) = BASE64.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return false;
        };
        let well_formed = pair.split_once(':').is_some_and(|(key, secret)| !key.is_empty() && !secret.is_empty());
        let expected = self.expected_token.as_deref();
        well_formed && expected.is_none_or(|expected| expected == token || expected == pair)
    }
}
