//! The shape of a call. Every deviation goes into the books: a client that sends amounts with a fraction works
//! against a lenient stand-in and fails in the field.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    contract::{self, Deviation},
    stand::Call,
};

/// The gateway's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Create,
    LookUp,
    Refund,
    LookUpRefund,
}

/// A call that is as agreed, and where the gateway is for who calls.
pub enum Request {
    Create(Create, String),
    /// By the client's reference.
    LookUp(String, String),
    Refund(Refund),
    /// By the client's reference of the refund.
    LookUpRefund(String),
}

const FIELDS: [&str; 5] = ["reference", "amount", "currency", "description", "expiresAt"];
const REFUND_FIELDS: [&str; 4] = ["reference", "paymentId", "amount", "currency"];
const REFERENCE_CHARS_MAX: usize = 64;
const DESCRIPTION_CHARS_MAX: usize = 250;

/// Currencies the gateway takes, with the decimal digits of their minor unit. Another one is refused, but is no
/// deviation: it is spelled like a currency.
pub const CURRENCIES: &[(&str, usize)] =
    &[("INR", 2), ("USD", 2), ("EUR", 2), ("GBP", 2), ("AED", 2), ("SGD", 2), ("RUB", 2), ("JPY", 0), ("KWD", 3)];

/// A create call that is as agreed.
#[derive(Clone, Debug)]
pub struct Create {
    /// The client's reference.
    pub reference: String,
    /// Minor units.
    pub amount: i64,
    /// Three capital letters.
    pub currency: String,
    /// The text that the payer is shown.
    pub description: String,
    /// From then on it cannot be paid.
    pub expires_at: OffsetDateTime,
    /// The same as it was sent.
    pub expires_at_text: String,
}

/// A refund call that is as agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The client's reference of the refund.
    pub reference: String,
    /// The payment to refund, in full.
    pub payment_id: String,
    /// Minor units.
    pub amount: i64,
    /// Three capital letters.
    pub currency: String,
}

/// Reads a call, or lists everything that is wrong with it.
pub fn read(operation: Operation, call: &Call) -> Result<Request, Vec<Deviation>> {
    let home = call.home.clone();
    match operation {
        Operation::Create => {
            let body = contract::read_json(&call.headers, &call.body).map_err(|deviation| vec![deviation])?;
            Ok(Request::Create(read_create(&body)?, home))
        }
        Operation::LookUp => {
            let reference = contract::only_parameter(&call.uri, "reference").map_err(|deviation| vec![deviation])?;
            Ok(Request::LookUp(reference, home))
        }
        Operation::Refund => {
            let body = contract::read_json(&call.headers, &call.body).map_err(|deviation| vec![deviation])?;
            read_refund(&body).map(Request::Refund)
        }
        Operation::LookUpRefund => {
            let reference = contract::only_parameter(&call.uri, "reference").map_err(|deviation| vec![deviation])?;
            Ok(Request::LookUpRefund(reference))
        }
    }
}

/// The fields of a body, and what is wrong with them.
struct Fields<'a> {
    body: &'a Value,
    wrong: Vec<Deviation>,
}

impl<'a> Fields<'a> {
    fn of(body: &'a Value, known: &[&str]) -> Result<Self, Vec<Deviation>> {
        if !body.is_object() {
            return Err(vec![Deviation::new("body", "must be an object")]);
        }
        Ok(Self { body, wrong: contract::unknown_fields(body, |name| known.contains(&name)).collect() })
    }

    fn text(&mut self, field: &str, problem: &str, is_right: impl Fn(&str) -> bool) -> String {
        let value = self.body[field].as_str().filter(|text| is_right(text)).map(str::to_owned);
        if value.is_none() {
            self.wrong.push(Deviation::new(field, problem));
        }
        value.unwrap_or_default()
    }

    fn reference(&mut self, field: &str) -> String {
        self.text(field, "must be text of 1 to 64 characters", is_reference)
    }

    fn currency(&mut self) -> String {
        self.text("currency", "must be three capital letters", is_currency)
    }

    fn amount(&mut self) -> i64 {
        let amount = self.body["amount"].as_i64().filter(|amount| *amount > 0);
        if amount.is_none() {
            self.wrong.push(Deviation::new("amount", "must be a whole number of minor units above zero"));
        }
        amount.unwrap_or_default()
    }
}

fn read_create(body: &Value) -> Result<Create, Vec<Deviation>> {
    let mut fields = Fields::of(body, &FIELDS)?;
    let (reference, currency) = (fields.reference("reference"), fields.currency());
    let description = fields.text("description", "must be text of at most 250 characters", |text| {
        text.chars().count() <= DESCRIPTION_CHARS_MAX
    });
    let expires_at_text = fields.text("expiresAt", "must be an RFC 3339 time", |text| parse_time(text).is_some());
    let amount = fields.amount();
    match parse_time(&expires_at_text) {
        Some(expires_at) if fields.wrong.is_empty() => {
            Ok(Create { reference, amount, currency, description, expires_at, expires_at_text })
        }
        _ => Err(fields.wrong),
    }
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn read_refund(body: &Value) -> Result<Refund, Vec<Deviation>> {
    let mut fields = Fields::of(body, &REFUND_FIELDS)?;
    let (reference, payment_id) = (fields.reference("reference"), fields.reference("paymentId"));
    let (currency, amount) = (fields.currency(), fields.amount());
    if fields.wrong.is_empty() { Ok(Refund { reference, payment_id, amount, currency }) } else { Err(fields.wrong) }
}

/// The reference of a body that may be wrong in every other way.
pub fn named_reference(body: &[u8]) -> Option<String> {
    contract::text_in(body, "reference").filter(|text| is_reference(text))
}

fn is_reference(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= REFERENCE_CHARS_MAX
}

fn parse_time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}
