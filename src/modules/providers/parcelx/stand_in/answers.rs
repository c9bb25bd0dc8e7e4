//! The carrier's answers, in its own words.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    books::{Cancellation, Shipment, Status},
    contract::{Create, Request},
    modes::Mode,
};
use crate::answer::Answer;

const OTHER_ORDER: &str = "ord_of-somebody-else";
const OTHER_AWB: &str = "999999999999";

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
pub fn refusal(status: StatusCode, message: Value) -> Answer {
    Answer::json(status, json!({"status": false, "responsemsg": message}))
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

/// The answer to a look-up, as if the shipment were cancelled.
fn show_cancelled(body: &mut Value) {
    if let Some(current) = body.get_mut("current_status") {
        let (title, code) = Status::Cancelled.words();
        current["status_title"] = json!(title);
        current["status_code"] = json!(code);
    }
}

/// The answer to a call that goes wrong. `worked` is the proper one, where the work was done.
pub fn reply(mode: Mode, request: &Request, message: Option<&str>, worked: Option<Answer>) -> Answer {
    let refuse = |status, words: &str| refusal(status, json!(message.unwrap_or(words)));
    let proper = worked.unwrap_or_else(|| refuse(StatusCode::NOT_IMPLEMENTED, "this mode answers out of the work"));
    match mode {
        Mode::Refuse => refuse(StatusCode::OK, "Pincode not serviceable"),
        Mode::RefuseArray => refusal(StatusCode::OK, json!([message.unwrap_or("Pincode not serviceable")])),
        Mode::Refuse400 => refuse(StatusCode::BAD_REQUEST, "Invalid pincode"),
        Mode::Refuse422 => refuse(StatusCode::UNPROCESSABLE_ENTITY, "Invalid pincode"),
        Mode::AlreadyCancelled => match request {
            Request::Create(_) => proper,
            Request::Cancel(_) => refuse(StatusCode::OK, "Order already cancelled"),
            Request::Track(_) => proper.with(show_cancelled),
        },
        Mode::WrongOrder => proper.with(name_another_order),
        Mode::AlreadyExists | Mode::AlreadyExistsAfterWork => refuse(StatusCode::OK, "Order already exists"),
        Mode::Deduplicate => proper,
        Mode::SomethingWentWrong => refuse(StatusCode::OK, "Something went wrong, please try again"),
        Mode::NoAwb => proper.with(|body| {
            naming_part(body).map(|part| part.remove("awb_number"));
        }),
        Mode::NotFound => refuse(StatusCode::NOT_FOUND, "Not found"),
    }
}

/// The part of an answer that names the shipment: `data` of a create, the top level of a look-up.
fn naming_part(body: &mut Value) -> Option<&mut Map<String, Value>> {
    let part = if body["data"].is_object() { &mut body["data"] } else { body };
    part.as_object_mut()
}

fn name_another_order(body: &mut Value) {
    if let Some(part) = naming_part(body) {
        for (field, other) in [("client_order_id", OTHER_ORDER), ("awb_number", OTHER_AWB)] {
            if let Some(value) = part.get_mut(field) {
                *value = json!(other);
            }
        }
    }
}
