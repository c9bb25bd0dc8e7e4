//! Answers of IDCheck and their meaning; requests to it and their stored parts.

mod classification;
mod requests;

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    modules::providers::checks::Inquiry,
    platform::exchange::{AnswerBody, Lost, NotSent},
};

/// The check that every answer in these tests should be about.
const REFERENCE: &str = "chk_0198f0c2b1e07c3e8a41b5d0f3a2c4e6";
const API_KEY: &str = "ik-hush-hush";
const PAN: &str = "ABCDE1234F";
const GSTIN: &str = "29ABCDE1234F1Z5";
const ACCOUNT: &str = "50100012345678";
const IFSC: &str = "HDFC0001234";
/// As the applicant writes it.
const APPLICANT: &str = "asha rao";
/// As the registers write it.
const REGISTERED: &str = "ASHA MADHAVI RAO";
const TRADE: &str = "Rao Textiles";
const UTR: &str = "HDFCN52026010100000001";

fn adapter() -> IdCheck {
    IdCheck::new("https://idcheck.example/idcheck/v1/")
}

fn question(kind: CheckKind) -> CheckRequest<'static> {
    let inquiry = match kind {
        CheckKind::Pan => Inquiry::Pan { pan: PAN },
        CheckKind::Gstin => Inquiry::Gstin { gstin: GSTIN },
        CheckKind::BankAccount => Inquiry::BankAccount { account_number: ACCOUNT, ifsc: IFSC },
    };
    CheckRequest { reference: REFERENCE, name: APPLICANT, inquiry }
}

/// The answer that confirms, as the provider writes it, with `change` made to it.
fn body(kind: CheckKind, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = match kind {
        CheckKind::Pan => json!({ "reference": REFERENCE, "status": "valid", "registered_name": REGISTERED }),
        CheckKind::Gstin => json!({
            "reference": REFERENCE, "status": "active", "legal_name": REGISTERED, "trade_name": TRADE,
        }),
        CheckKind::BankAccount => json!({
            "reference": REFERENCE, "account_exists": true, "name_at_bank": REGISTERED, "utr": UTR,
            "amount_deposited": 1.0, "message": "Verified",
        }),
    };
    change(&mut body);
    body
}

/// The bank's answer that the penny did not arrive.
fn not_dropped(message: &str) -> Value {
    json!({
        "reference": REFERENCE, "account_exists": false, "name_at_bank": null, "utr": null, "amount_deposited": 0,
        "message": message,
    })
}

/// The field in which this kind's answer names somebody.
const fn name_field(kind: CheckKind) -> &'static str {
    match kind {
        CheckKind::Pan => "registered_name",
        CheckKind::Gstin => "legal_name",
        CheckKind::BankAccount => "name_at_bank",
    }
}

fn error(code: &str, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message } })
}

fn http(status: u16, body: Value) -> Answer {
    Answer::Http { status, retry_after: None, body: AnswerBody::Json(body) }
}

fn read(kind: CheckKind, answer: &Answer) -> Outcome<CheckFinding> {
    adapter().read(kind, REFERENCE, answer)
}
