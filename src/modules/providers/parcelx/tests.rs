//! Answers of ParcelX and their meaning; requests to it and their stored parts.

mod classification;
mod requests;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    modules::providers::{Failure, status_tests::statuses},
    platform::exchange::{AnswerBody, Lost, NotSent},
};

/// The order that every answer in these tests should be about.
const ORDER_ID: &str = "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6";

fn adapter() -> ParcelX {
    ParcelX::new("https://carrier.example/api/v3/")
}

fn http(status: u16, body: &AnswerBody) -> Answer {
    Answer::Http { status, retry_after: None, body: body.clone() }
}

/// A create's answer that says yes, with `change` made to its `data`.
fn placed(change: impl FnOnce(&mut Value)) -> AnswerBody {
    let mut body = json!({
        "status": true, "responsemsg": "Order Placed Successfully.",
        "data": {
            "awb_number": "PX0001", "order_number": 77, "job_id": null, "lrnum": "", "waybills_num_json": null,
            "lable_data": null, "routing_code": "DEL/01", "payment_mode": "Prepaid", "client_order_id": ORDER_ID,
            "partner_display_name": "Delhivery", "courier_code": "PXDEL01", "pickup_id": 9,
            "courier_name": "Delhivery Surface",
        },
    });
    change(&mut body["data"]);
    AnswerBody::Json(body)
}

/// A look-up's answer that says yes, with `change` made to it.
fn tracked(change: impl FnOnce(&mut Value)) -> AnswerBody {
    let mut body = json!({
        "status": true, "awb_number": "PX0001", "client_order_id": ORDER_ID,
        "current_status": {
            "status_title": "Booked", "status_code": "221", "event_date": "2026-01-01", "status_location": "DEL",
        },
        "data": [],
    });
    change(&mut body);
    AnswerBody::Json(body)
}

fn refused(message: Value) -> AnswerBody {
    AnswerBody::Json(json!({ "status": false, "responsemsg": message }))
}

/// Every body these tests know, by name.
fn bodies() -> Vec<(&'static str, AnswerBody)> {
    let other = "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e7";
    vec![
        ("placed", placed(|_| {})),
        ("placed, awb is a number", placed(|data| data["awb_number"] = json!(1234))),
        ("placed, names no order", placed(|data| data["client_order_id"] = Value::Null)),
        ("placed, names nobody", placed(|data| data["client_order_id"] = json!(" "))),
        ("placed, other order", placed(|data| data["client_order_id"] = json!(other))),
        ("placed, order is a number", placed(|data| data["client_order_id"] = json!(5))),
        ("placed, order is a list", placed(|data| data["client_order_id"] = json!([ORDER_ID]))),
        ("placed, order is a novel", placed(|data| data["client_order_id"] = json!("x".repeat(65)))),
        ("placed, no awb", placed(|data| data["awb_number"] = Value::Null)),
        ("placed, blank awb", placed(|data| data["awb_number"] = json!(" "))),
        ("placed, awb is a novel", placed(|data| data["awb_number"] = json!("1".repeat(65)))),
        ("placed, awb is nought", placed(|data| data["awb_number"] = json!(0))),
        ("placed, awb is not available", placed(|data| data["awb_number"] = json!("N/A"))),
        ("placed, awb is a dash", placed(|data| data["awb_number"] = json!("-"))),
        ("placed, awb is a page", placed(|data| data["awb_number"] = json!("<b>1</b>"))),
        ("placed, no data", AnswerBody::Json(json!({ "status": true, "responsemsg": "Order Placed Successfully." }))),
        ("placed, cancelled", placed(|data| data["status_code"] = json!("227"))),
        ("placed, cancelled number", placed(|data| data["status_code"] = json!(227))),
        ("placed, cancelled nested", placed(|data| data["current_status"] = json!({ "status_code": " 227 " }))),
        ("placed, cancelled fraction", placed(|data| data["status_code"] = json!("227.0"))),
        ("placed, cancelled by title", placed(|data| data["status_title"] = json!("Order Cancelled"))),
        ("placed, cancelled by a title alone", placed(|data| data["current_status"] = json!("Cancelled"))),
        ("placed, cancelled in a list", placed(|data| data["current_status"] = json!([{ "status_code": 227.0 }]))),
        (
            "placed, cancelled and booked",
            placed(|data| {
                data["status_code"] = json!("221");
                data["current_status"] = json!({ "status_code": "227" });
            }),
        ),
        ("placed, code is a list", placed(|data| data["status_code"] = json!([221]))),
        ("placed, code is odd", placed(|data| data["status_code"] = json!("C-1"))),
        ("placed, code is blank", placed(|data| data["status_code"] = json!(" "))),
        ("placed, booked", placed(|data| data["status_code"] = json!("221"))),
        (
            "placed, data is a list of one",
            AnswerBody::Json({
                let AnswerBody::Json(mut body) = placed(|_| {}) else { unreachable!() };
                body["data"] = json!([body["data"]]);
                body
            }),
        ),
        ("placed, data is a list of two", placed(|data| *data = json!([data, data]))),
        ("placed, awb is long", placed(|data| data["awb_number"] = json!("18446744073709551616"))),
        ("tracked", tracked(|_| {})),
        ("tracked, names no order", tracked(|body| body["client_order_id"] = Value::Null)),
        ("tracked, other order", tracked(|body| body["client_order_id"] = json!(other))),
        ("tracked, no awb", tracked(|body| body["awb_number"] = Value::Null)),
        ("tracked, cancelled", tracked(|body| body["current_status"]["status_code"] = json!("227"))),
        (
            "tracked, cancelled by title",
            tracked(|body| body["current_status"] = json!({ "status_title": "Cancelled" })),
        ),
        (
            "tracked, maybe cancelled",
            tracked(|body| {
                body["current_status"] = json!({ "status_title": "Cancellation Requested" });
            }),
        ),
        (
            "tracked, booked and maybe cancelled",
            tracked(|body| {
                body["current_status"]["status_title"] = json!("Cancellation Rejected");
            }),
        ),
        (
            "tracked, booked and cancelled",
            tracked(|body| {
                body["current_status"]["status_title"] = json!("Cancelled by seller");
            }),
        ),
        ("tracked, no status", tracked(|body| body["current_status"] = Value::Null)),
        ("tracked, several statuses", tracked(|body| body["current_status"] = json!([{}, {}]))),
        ("refused", refused(json!("Consignee pincode is not serviceable."))),
        ("refused by a word", AnswerBody::Json(json!({ "status": "false", "responsemsg": "No." }))),
        ("refused by a number", AnswerBody::Json(json!({ "status": 0, "message": "No." }))),
        (
            "refused with a shipment",
            AnswerBody::Json(json!({
                "status": false, "responsemsg": "No record found.", "data": { "awb_number": "PX0001" },
            })),
        ),
        ("refused, map of lists", refused(json!({ "mobile": ["Invalid mobile."], "pin": [["Invalid pincode."]] }))),
        (
            "refused, errors",
            AnswerBody::Json(json!({ "status": false, "errors": [{ "message": "Invalid pincode." }] })),
        ),
        ("refused, list", refused(json!(["Invalid mobile.", "Invalid pincode."]))),
        ("refused, blank", refused(json!(" "))),
        ("refused, empty list", refused(json!([]))),
        ("refused, list of numbers", refused(json!([1, 2]))),
        ("refused, object", refused(json!({ "mobile": "invalid" }))),
        ("refused, object of nothing", refused(json!({ "mobile": [], "pin": null }))),
        ("refused, null", refused(Value::Null)),
        ("refused, no message", AnswerBody::Json(json!({ "status": false }))),
        ("already exists", refused(json!("Client order id ALREADY EXISTS."))),
        ("duplicate", refused(json!(["Duplicate order."]))),
        ("something went wrong", refused(json!("Something went wrong!"))),
        ("try again", refused(json!(["Please", "Try Again later."]))),
        ("no record found", refused(json!("No Record Found."))),
        ("already cancelled", refused(json!("Shipment already cancelled."))),
        ("no record found, or so", refused(json!("Something went wrong: no record found."))),
        ("not JSON", AnswerBody::NotJson),
        ("contradictory", AnswerBody::Contradictory),
        ("a list", AnswerBody::Json(json!([true]))),
        ("a number", AnswerBody::Json(json!(1))),
        ("a text", AnswerBody::Json(json!("true"))),
        ("null", AnswerBody::Json(Value::Null)),
        ("no status", AnswerBody::Json(json!({ "data": { "awb_number": "PX0001" } }))),
        ("a list of one", AnswerBody::Json(json!([{ "status": true, "data": { "awb_number": "PX0001" } }]))),
        ("status is another number", AnswerBody::Json(json!({ "status": 200, "data": { "awb_number": "PX0001" } }))),
        ("status is a text", AnswerBody::Json(json!({ "status": "true", "data": { "awb_number": "PX0001" } }))),
        ("status is a number", AnswerBody::Json(json!({ "status": 1, "data": { "awb_number": "PX0001" } }))),
    ]
}

fn not_sent() -> [Answer; 3] {
    [NotSent::NotConnected, NotSent::NoCredentials, NotSent::NoTime].map(Answer::NotSent)
}

fn lost() -> [Answer; 3] {
    [Lost::TimedOut, Lost::ConnectionLost, Lost::TooLarge].map(Answer::Lost)
}

/// Every answer these tests know: no answer at all, and every status with every body.
fn every_answer() -> Vec<(String, Answer)> {
    let mut all: Vec<(String, Answer)> =
        not_sent().into_iter().chain(lost()).map(|answer| (format!("{answer:?}"), answer)).collect();
    for (name, body) in bodies() {
        all.extend(statuses().map(|status| (format!("{status} {name}"), http(status, &body))));
        let retry_after = Some(Duration::from_secs(7));
        let throttled = Answer::Http { status: 429, retry_after, body: body.clone() };
        all.push((format!("429 in 7 s {name}"), throttled));
    }
    all
}
