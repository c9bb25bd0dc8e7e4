//! ParcelX, a carrier. Base path `/parcelx/api/v3`.
//!
//! `POST order/create_order`, `POST order/cancel_order`, `GET track_order?awb=|channel_order_no=`, in the carrier's own
//! words. Every accepted create is one more shipment: no deduplication, as in the field, so a client that sends twice finds
//! two shipments in the books. `POST /parcelx/_control/shipments/{awb}` sets where a shipment stands.

mod answers;
mod books;
mod contract;
mod modes;
#[cfg(test)]
mod tests;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{MethodFilter, post},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::json;

use crate::{
    answer::{Answer, Refusal},
    contract::{Deviating, Deviation},
    control,
    rules::{Fault, Subject},
    stand::{Call, Provider, Stand, World},
};

use books::Shipments;
use contract::{Operation, Request};
use modes::Mode;

/// The stand-in; it accepts any token that is well-formed.
pub fn stand(world: &World<'_>) -> Stand<Shipments> {
    Stand::new(Shipments::default(), world, None)
}

impl Provider for Shipments {
    const NAME: &'static str = "parcelx";
    const API: &'static str = "/api/v3";
    const CALLS: &'static [(MethodFilter, &'static str, Operation)] = &[
        (MethodFilter::POST, "/order/create_order", Operation::Create),
        (MethodFilter::POST, "/order/cancel_order", Operation::Cancel),
        (MethodFilter::GET, "/track_order", Operation::Track),
    ];
    const ENTRIES: &'static str = "orders";
    const SUBJECT: &'static [&'static str] = &["clientOrderId", "invoiceNumber"];

    type Mode = Mode;
    type Request = Request;

    /// Base64 of `key:secret`, both not empty.
    fn credentials(headers: &HeaderMap) -> Option<String> {
        let pair = String::from_utf8(BASE64.decode(headers.get("access-token")?).ok()?).ok()?;
        let well_formed = pair.split_once(':').is_some_and(|(key, secret)| !key.is_empty() && !secret.is_empty());
        well_formed.then_some(pair)
    }

    fn read(&mut self, operation: Operation, call: &Call) -> Result<(Request, Subject), Deviating> {
        let (request, deviations) = contract::read(operation, call);
        let (reference, invoice_number) = self.note(&request, &call.body);
        if !deviations.is_empty() {
            return Err(Deviating { reference, deviations });
        }
        let subject = [("clientOrderId", reference), ("invoiceNumber", invoice_number)];
        let known = subject.into_iter().filter_map(|(name, value)| Some((name, json!(value?))));
        Ok((request, known.collect()))
    }

    async fn work(stand: &Stand<Self>, request: &Request, fault: &Fault<Mode>) -> Answer {
        let books = &mut stand.lock().provider;
        Answer::ok(match request {
            Request::Create(create) => answers::created(create, books.create(create, fault.own())),
            Request::Cancel(awb) => answers::cancelled(books.cancel(awb)),
            Request::Track(lookup) => answers::tracked(books.find(lookup)),
        })
    }

    fn reply(mode: Mode, request: &Request, message: Option<&str>, worked: Option<Answer>) -> Answer {
        answers::reply(mode, request, message, worked)
    }

    /// With HTTP 200, as the carrier mostly does.
    fn object(deviations: &[Deviation]) -> Answer {
        let messages: Vec<_> = deviations.iter().map(|it| format!("Invalid {}: {}", it.field, it.problem)).collect();
        answers::refusal(StatusCode::OK, json!(messages))
    }

    fn refuse(refusal: Refusal, message: Option<&str>) -> Answer {
        let words = match refusal {
            Refusal::Unauthorized => "Invalid access token",
            Refusal::Forbidden => "Account suspended",
            Refusal::TooManyRequests => "Too many requests",
            Refusal::InternalError => "Internal server error",
            Refusal::NoSuchPath => "Not found",
            Refusal::SimulatorFailed => "the simulator itself failed",
        };
        answers::refusal(refusal.status(), json!(message.unwrap_or(words)))
    }

    fn routes() -> Router<Stand<Self>> {
        Router::new().route("/_control/shipments/{awb}", post(set_shipment))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetShipment {
    status: books::Status,
}

async fn set_shipment(
    State(stand): State<Stand<Shipments>>,
    Path(awb): Path<String>,
    Json(asked): Json<SetShipment>,
) -> Response {
    control::found(stand.lock().provider.set_status(&awb, asked.status), "no shipment has this AWB")
}
