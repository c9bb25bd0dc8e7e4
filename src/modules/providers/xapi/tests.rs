//! Answers of X-API and their meaning; requests to it and their stored parts.

mod classification;
mod requests;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    modules::providers::status_tests::statuses,
    platform::exchange::{AnswerBody, Lost, NotSent},
};

/// The order that every answer in these tests should be about.
const ORDER_ID: &str = "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6";
/// The number of that order at the ERP.
const NUMBER: &str = "0198f0c2b1e07c3e8a41b5d0f3a2c4e6";
const OTHER: &str = "0198f0c2b1e07c3e8a41b5d0f3a2c4e7";

fn adapter() -> XApi {
    XApi::new("https://erp.example/api/")
}

fn http(status: u16, body: &AnswerBody) -> Answer {
    Answer::Http { status, retry_after: None, body: body.clone() }
}

/// An order as they answer it, with `change` made to it.
fn order(change: impl FnOnce(&mut Value)) -> Value {
    let mut order = json!({ "orderNo": "SO-000123", "externalDocumentNumber": NUMBER, "status": "Open" });
    change(&mut order);
    order
}

fn with(field: &str, value: Value) -> Value {
    order(|order| order[field] = value)
}

fn refusal(code: &str) -> Value {
    json!({ "error": { "code": code, "message": "Item A-1 is blocked." } })
}

/// Every body these tests know, by name.
fn bodies() -> Vec<(&'static str, AnswerBody)> {
    let others = with("externalDocumentNumber", json!(OTHER));
    let bodies = [
        ("order", order(|_| {})),
        ("order, in capitals", with("externalDocumentNumber", json!(NUMBER.to_uppercase()))),
        ("order, number in blanks", with("externalDocumentNumber", json!(format!(" {NUMBER} ")))),
        ("order, released", with("status", json!("Released"))),
        ("order, cancelled", with("status", json!("Cancelled"))),
        ("order, cancelled as in America", with("status", json!("canceled"))),
        ("order, odd status", with("status", json!("Pending Prepayment"))),
        ("order, no status", with("status", Value::Null)),
        ("order, status is a number", with("status", json!(0))),
        ("order, number of theirs is a number", with("orderNo", json!(123))),
        ("order, no number of theirs", with("orderNo", Value::Null)),
        ("order, nothing for a number of theirs", with("orderNo", json!("N/A"))),
        ("order, a page for a number of theirs", with("orderNo", json!("<b>1</b>"))),
        ("order, of another", others.clone()),
        ("order, of our whole id", with("externalDocumentNumber", json!(ORDER_ID))),
        ("order, of a number", with("externalDocumentNumber", json!(5))),
        ("order, of nobody", with("externalDocumentNumber", Value::Null)),
        ("order, and an error", with("error", json!({ "code": "Internal_Error", "message": "Too late." }))),
        ("order, in a list of one", json!([order(|_| {})])),
        ("found", json!({ "value": [order(|_| {})] })),
        ("found, in capitals", json!({ "value": [with("externalDocumentNumber", json!(NUMBER.to_uppercase()))] })),
        ("found, not in a list", json!({ "value": order(|_| {}) })),
        ("found, cancelled", json!({ "value": [with("status", json!("Cancelled"))] })),
        ("found, odd status", json!({ "value": [with("status", json!("On Hold"))] })),
        ("found, no number of theirs", json!({ "value": [with("orderNo", json!(""))] })),
        ("found, behind another", json!({ "value": [others, order(|_| {})] })),
        ("found, another only", json!({ "value": [others] })),
        ("found, of nobody", json!({ "value": [with("externalDocumentNumber", Value::Null)] })),
        ("found, two", json!({ "value": [order(|_| {}), with("orderNo", json!("SO-000124"))] })),
        ("found, a text", json!({ "value": ["SO-000123"] })),
        ("absent", json!({ "value": [] })),
        ("absent, and an error", json!({ "value": [], "error": { "code": "Internal_Error", "message": "Down." } })),
        ("value is null", json!({ "value": null })),
        ("value is a text", json!({ "value": "none" })),
        ("BadRequest", refusal("BadRequest_InvalidItem")),
        ("BadRequest alone", refusal("BadRequest")),
        ("Application", refusal("Application_CustomerBlocked")),
        ("Application, in small letters", refusal("application_customerblocked")),
        ("DuplicateDocument", refusal("Application_DuplicateDocument")),
        ("Authentication", refusal("Authentication_InvalidCredentials")),
        ("Authorization", refusal("Authorization_Forbidden")),
        ("Internal", refusal("Internal_Error")),
        ("BadRequest, and an order", json!({ "error": { "code": "BadRequest_X" }, "orderNo": "SO-000123" })),
        ("another code", refusal("Unheard_Of")),
        ("words only", json!({ "error": "Item A-1 is blocked." })),
        ("an empty object", json!({})),
        ("a list", json!([1, 2])),
        ("a number", json!(1)),
        ("null", Value::Null),
    ];
    let unread = [("not JSON", AnswerBody::NotJson), ("contradictory", AnswerBody::Contradictory)];
    bodies.into_iter().map(|(name, body)| (name, AnswerBody::Json(body))).chain(unread).collect()
}

/// Every answer these tests know: no answer at all, and every status with every body.
fn every_answer() -> Vec<(String, Answer)> {
    let not_sent = [NotSent::NotConnected, NotSent::NoCredentials, NotSent::NoTime].map(Answer::NotSent);
    let lost = [Lost::TimedOut, Lost::ConnectionLost, Lost::TooLarge].map(Answer::Lost);
    let mut all: Vec<(String, Answer)> =
        not_sent.into_iter().chain(lost).map(|answer| (format!("{answer:?}"), answer)).collect();
    for (name, body) in bodies() {
        all.extend(statuses().map(|status| (format!("{status} {name}"), http(status, &body))));
        let retry_after = Some(Duration::from_secs(7));
        all.push((format!("429 in 7 s {name}"), Answer::Http { status: 429, retry_after, body: body.clone() }));
    }
    all
}
