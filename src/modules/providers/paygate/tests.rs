//! Answers and callbacks of PayGate and their meaning; requests to it and their stored parts.

mod callbacks;
mod classification;
mod requests;

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    modules::providers::{
        Failure,
        payments::{CallbackKind, GatewayPaymentStatus},
    },
    platform::{
        exchange::{AnswerBody, Lost, NotSent},
        money::Currency,
    },
};

/// The top-up that every answer in these tests should be about.
const REFERENCE: &str = "top_0198f0c2b1e07c3e8a41b5d0f3a2c4e6";
const API_KEY: &str = "pk-hush-hush";
const SECRET: &str = "whsec-hush-hush";
const PAGE: &str = "https://pay.example/p/pay_0001?k=capability";

fn adapter() -> PayGate {
    PayGate::new("https://gateway.example/v1/", &SECRET.to_owned().into())
}

fn money(amount: i64) -> Money {
    Money::new(amount, Currency::INR)
}

/// The payment as the gateway writes it, with `change` made to it.
fn body(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({
        "paymentId": "pay_0001", "reference": REFERENCE, "status": "created", "amount": 50_000, "currency": "INR",
        "paymentUrl": PAGE, "expiresAt": "2026-01-01T00:30:00.000Z",
    });
    change(&mut body);
    body
}

/// The same as we read it.
fn payment(status: GatewayPaymentStatus) -> GatewayPayment {
    GatewayPayment { payment_id: "pay_0001".into(), status, amount: money(50_000), payment_url: Some(PAGE.into()) }
}

fn http(status: u16, body: &AnswerBody) -> Answer {
    Answer::Http { status, retry_after: None, body: body.clone() }
}

fn start(answer: &Answer) -> Outcome<GatewayPayment> {
    adapter().read_start(REFERENCE, money(50_000), answer)
}

fn look_up(answer: &Answer) -> Outcome<Option<GatewayPayment>> {
    adapter().read_look_up(REFERENCE, money(50_000), answer)
}
