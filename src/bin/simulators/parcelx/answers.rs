//! The carrier's answers, in its own words.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    books::{Cancellation, Shipment, Status},
    contract::Create,
};

/// Where scans happen; the carrier has one depot here.
const DEPOT: &str = "New Delhi";

/// Code and name of the couriers, the first being the automatic choice.
const COURIERS: &[(&str, &str)] = &[
    ("PXDEL01", "Delhivery"),
    ("PXA01", "Amazon"),
    ("PXBDE01", "Bluedart"),
    ("PXXBS02", "XpressBees"),
    ("PXEK02", "Ekart"),
    ("PXGATI01", "Gati"),
    ("PXSMUTI01", "Shree Maruti"),
];

/// `status: false` with a message, which the carrier sends as text or as a list of texts.
pub struct Refusal {
    status: StatusCode,
    message: Value,
}

impl Refusal {
    /// One message, with HTTP 200 as the carrier mostly does.
    pub fn text(message: &str) -> Self {
        Self { status: StatusCode::OK, message: json!(message) }
    }

    /// Several messages.
    pub fn of(messages: Vec<String>) -> Self {
        Self { status: StatusCode::OK, message: json!(messages) }
    }

    /// The same with another HTTP status.
    pub fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"status": false, "responsemsg": self.message}))).into_response()
    }
}

/// The refusal of a token.
pub fn invalid_token() -> Response {
    Refusal::text("Invalid access token").with(StatusCode::UNAUTHORIZED).into_response()
}

/// A path that does not exist.
pub fn not_found() -> Response {
    Refusal::text("Not found").with(StatusCode::NOT_FOUND).into_response()
}

/// A defect of the stand-in; no fault rule answers 501.
pub fn simulator_failed() -> Response {
    Refusal::text("the simulator itself failed").with(StatusCode::NOT_IMPLEMENTED).into_response()
}

/// The answer to an accepted create call.
pub fn created(create: &Create, shipment: &Shipment) -> Value {
    let asked = create.courier_code.as_deref();
    let (code, name) = COURIERS
        .iter()
        .find(|(code, _)| Some(*code) == asked)
        .copied()
        .unwrap_or((asked.unwrap_or(COURIERS[0].0), COURIERS[0].1));
    let mut data = json!({
        "awb_number": shipment.awb,
        "order_number": format!("PX{}", shipment.awb),
        "job_id": null,
        "lrnum": "",
        "waybills_num_json": null,
        "lable_data": null,
        "routing_code": "NDL/01",
        "payment_mode": create.payment_mode,
        "client_order_id": shipment.client_order_id,
        "partner_display_name": name,
        "courier_code": code,
        "pickup_id": create.pick_address_id,
        "courier_name": name,
    });
    if shipment.status() == Status::Cancelled {
        let (title, code) = Status::Cancelled.words();
        data["status_title"] = json!(title);
        data["status_code"] = json!(code);
    }
    json!({"status": true, "responsemsg": "Order Placed Successfully.", "data": data})
}

/// The answer to a cancel call.
pub fn cancelled(outcome: Cancellation) -> Value {
    let (status, message) = match outcome {
        Cancellation::Done => (true, "Order cancelled successfully"),
        Cancellation::Unknown => (false, "AWB not found"),
        Cancellation::Already => (false, "Order already cancelled"),
        Cancellation::TooLate => (false, "Shipment already picked up, cannot be cancelled"),
    };
    json!({"status": status, "responsemsg": message})
}

/// The answer to a look-up.
pub fn tracked(shipment: Option<&Shipment>) -> Value {
    let Some(shipment) = shipment else {
        return json!({"status": false, "responsemsg": "No record found"});
    };
    let (title, code) = shipment.status().words();
    let scans = shipment.scans.iter().rev().map(|scan| {
        let (title, _) = scan.status.words();
        json!({
            "status_title": title,
            "event_date": scan.event_date,
            "status_location": DEPOT,
            "remark": "",
        })
    });
    json!({
        "status": true,
        "awb_number": shipment.awb,
        "client_order_id": shipment.client_order_id,
        "current_status": {
            "status_title": title,
            "status_code": code,
            "event_date": shipment.scans.last().map(|scan| scan.event_date.as_str()),
            "status_location": DEPOT,
        },
        "data": scans.collect::<Vec<_>>(),
    })
}
