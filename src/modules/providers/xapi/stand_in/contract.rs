//! The shape of a call. Every deviation goes into the books: a client that sends euros, or text that NAV has no room
//! for, works against a lenient stand-in and loses orders in the field.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    contract::{self, Deviation, Fields, Shape},
    stand::Call,
};

/// The client's number of an order.
pub const NUMBER: &str = "externalDocumentNumber";

/// The ERP's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Create,
    LookUp,
}

/// A call that is as agreed, as far as the stand-in needs it.
pub struct Request {
    pub operation: Operation,
    pub account: String,
    pub number: String,
}

const ORDER: Fields = &[
    (NUMBER, Shape::Text(35)),
    ("orderDate", Shape::Like(is_utc_with_milliseconds, "an ISO 8601 time in UTC with milliseconds")),
    ("currencyCode", Shape::Like(is_currency, "three capital letters")),
    ("customer", Shape::Object(CUSTOMER)),
    ("billingAddress", Shape::Object(ADDRESS)),
    ("shippingAddress", Shape::Object(ADDRESS)),
    ("lines", Shape::Objects(LINE)),
    ("shippingCost", Shape::Whole(0)),
    ("totalAmount", Shape::Whole(0)),
    ("paymentReference", Shape::AnyText(MANY)),
];

const CUSTOMER: Fields = &[
    ("salutation", Shape::OneOf(&["HERR", "FRAU", "K_ANGABE"])),
    ("firstName", Shape::Text(50)),
    ("lastName", Shape::Text(50)),
    ("email", Shape::Like(is_email, "an e-mail address of at most 80 characters")),
    ("phone", Shape::AnyText(30)),
];

const ADDRESS: Fields = &[
    ("address", Shape::Text(100)),
    ("address2", Shape::AnyText(50)),
    ("city", Shape::Text(30)),
    ("postCode", Shape::Text(20)),
    ("countryCode", Shape::Text(10)),
];

const LINE: Fields = &[
    ("lineNo", Shape::Whole(LINE_STEP)),
    ("itemNo", Shape::Text(MANY)),
    ("description", Shape::Text(100)),
    ("quantity", Shape::Whole(1)),
    ("unitPrice", Shape::Whole(0)),
    ("lineAmount", Shape::Whole(0)),
];

/// Where the contract names no length.
const MANY: usize = 250;
/// Between the numbers of two lines, so that others fit between them.
const LINE_STEP: i64 = 10_000;

/// The number, as far as there is one, and everything that is wrong.
pub fn read(operation: Operation, call: &Call) -> (Option<String>, Vec<Deviation>) {
    match operation {
        Operation::Create => {
            let (order, mut found) = contract::check_body(&call.headers, &call.body, ORDER);
            if found.is_empty() {
                check_sums(&order, &mut found);
            }
            (contract::text_in(&call.body, NUMBER), found)
        }
        Operation::LookUp => match contract::only_parameter(&call.uri, NUMBER) {
            Ok(number) => (Some(number), vec![]),
            Err(deviation) => (None, vec![deviation]),
        },
    }
}

/// Lines are numbered in order, and amounts agree with each other.
fn check_sums(order: &Value, found: &mut Vec<Deviation>) {
    let whole = |value: &Value| i128::from(value.as_i64().unwrap_or_default());
    let mut total = whole(&order["shippingCost"]);
    for (line, index) in order["lines"].as_array().into_iter().flatten().zip(0_i64..) {
        let (no, amount) = ((index + 1) * LINE_STEP, whole(&line["quantity"]) * whole(&line["unitPrice"]));
        if line["lineNo"] != no {
            found.push(Deviation::new(&format!("lines[{index}].lineNo"), &format!("must be {no}")));
        }
        if whole(&line["lineAmount"]) != amount {
            found.push(Deviation::new(&format!("lines[{index}].lineAmount"), "must be quantity times unitPrice"));
        }
        total += amount;
    }
    if whole(&order["totalAmount"]) != total {
        found.push(Deviation::new("totalAmount", "must be the sum of the lines and the shipping"));
    }
}

/// `2026-11-29T10:00:00.000Z`
fn is_utc_with_milliseconds(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    let parsed = OffsetDateTime::parse(text, &Rfc3339).is_ok();
    parsed && text.len() == 24 && text.as_bytes()[10] == b'T' && text.ends_with('Z')
}

fn is_currency(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_email(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.chars().count() <= 80 && text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
}
