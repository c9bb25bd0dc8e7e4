//! X-API's words, and both conversions. Amounts are whole minor units, times UTC with milliseconds; texts are as long as NAV
//! has room for, which the rules of a sale have made sure of.

use serde_json::{Value, json};

use crate::{
    modules::providers::{
        Gender, Outcome, Placed, Sale, SaleAddress,
        reading::{field, reference, text},
        transport::unusable,
    },
    platform::{clock::Rfc3339Time, exchange::Redaction},
};

/// Our number of an order, as they call it.
pub(super) const NUMBER: &str = "externalDocumentNumber";
/// Between the numbers of two lines, so that people can put others between them.
const LINE_STEP: i64 = 10_000;

/// Fields of a body that stay when its personal data is erased.
const NOT_PERSONAL: &[&str] = &[
    NUMBER,
    "orderDate",
    "lines[].lineNo",
    "lines[].quantity",
    "lines[].unitPrice",
    "lines[].lineAmount",
    "shippingCost",
    "totalAmount",
    "orderNo",
    "value[].orderNo",
    "value[].externalDocumentNumber",
];
/// Words: theirs, and what people write as they like.
const WORDS: &[&str] = &[
    "status",
    "value[].status",
    "error.code",
    "error.message",
    "billingAddress.city",
    "shippingAddress.city",
    "lines[].itemNo",
    "paymentReference",
];

/// The stored part of a create. Names, telephone numbers, streets and e-mails are not.
pub(super) static CREATE: Redaction = Redaction {
    not_personal: NOT_PERSONAL,
    request: &[
        "currencyCode",
        "billingAddress.postCode",
        "billingAddress.countryCode",
        "shippingAddress.postCode",
        "shippingAddress.countryCode",
    ],
    response: &[],
    free_text: WORDS,
    query: &[],
};

/// The stored part of a look-up.
pub(super) static LOOK_UP: Redaction =
    Redaction { not_personal: NOT_PERSONAL, request: &[], response: &[], free_text: WORDS, query: &[NUMBER] };

/// Our number of an order at the ERP: its id without the prefix, because NAV takes at most 35 characters. The id is in small
/// letters and digits, so it is as unique without regard to case.
pub(super) fn document_number(order_id: &str) -> &str {
    order_id.strip_prefix("ord_").unwrap_or(order_id)
}

pub(super) fn create_body(order_id: &str, sale: &Sale) -> Value {
    const BOUNDED: &str = "validation bounds what a sale comes to";
    let customer = &sale.customer;
    let lines = sale.lines.iter().zip(1..).map(|(line, number)| {
        json!({
            "lineNo": number * LINE_STEP, "itemNo": line.sku, "description": line.name, "quantity": line.quantity,
            "unitPrice": line.unit_price, "lineAmount": line.amount_minor().expect(BOUNDED),
        })
    });
    json!({
        NUMBER: document_number(order_id),
        "orderDate": Rfc3339Time(sale.ordered_at),
        "currencyCode": sale.currency.code(),
        "customer": {
            "salutation": salutation(customer.gender), "firstName": customer.first_name, "lastName": customer.last_name,
            "email": customer.email, "phone": customer.phone,
        },
        "billingAddress": address(&sale.billing_address),
        "shippingAddress": address(sale.shipping_address.as_ref().unwrap_or(&sale.billing_address)),
        "lines": lines.collect::<Vec<_>>(),
        "shippingCost": sale.shipping_cost,
        "totalAmount": sale.total_minor().expect(BOUNDED),
        "paymentReference": sale.payment_id,
    })
}

const fn salutation(gender: Option<Gender>) -> &'static str {
    match gender {
        Some(Gender::Male) => "HERR",
        Some(Gender::Female) => "FRAU",
        Some(Gender::Other) | None => "K_ANGABE",
    }
}

fn address(address: &SaleAddress) -> Value {
    json!({
        "address": address.line1, "address2": address.line2.as_deref().unwrap_or_default(), "city": address.city,
        "postCode": address.postcode, "countryCode": address.country,
    })
}

/// The cause of a refusal, by the prefix of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The data of the request is not acceptable.
    Data,
    /// An order with our number is there.
    Duplicate,
    Credentials,
    /// They have a problem of their own.
    Internal,
}

/// `None` for a code of no kind that we know.
pub(super) fn cause(code: &str) -> Option<Cause> {
    let code = code.to_ascii_lowercase();
    match code.split('_').next()? {
        "application" if code == "application_duplicatedocument" => Some(Cause::Duplicate),
        "badrequest" | "application" => Some(Cause::Data),
        "authentication" | "authorization" => Some(Cause::Credentials),
        "internal" => Some(Cause::Internal),
        _ => None,
    }
}

/// Whether an order is named, whatever else is said.
pub(super) fn names_order(body: &Value) -> bool {
    reference(body, "orderNo").is_some()
}

/// The order of an answer, if it is ours and it can be told whether it is alive.
pub(super) fn order(order_id: &str, status: u16, order: &Value) -> Outcome<Placed> {
    if field(order, NUMBER).is_none() {
        return unusable(status, NUMBER);
    }
    if !is_ours(order_id, order) {
        return Outcome::unknown("provider.wrong_order", "The answer is about another order.");
    }
    let Some(number) = reference(order, "orderNo") else {
        return Outcome::unknown("provider.no_order_number", "The order has no number of theirs.");
    };
    match is_cancelled(order) {
        Some(cancelled) => Outcome::Done(Placed { reference: number, cancelled, ..Placed::default() }),
        None => Outcome::unknown("provider.unclear_status", "Whether the order is cancelled can't be told."),
    }
}

/// Reads the list of a look-up: an empty one is a clear "no such order".
pub(super) fn found(order_id: &str, status: u16, body: &Value) -> Outcome<Option<Placed>> {
    let entries = match field(body, "value") {
        Some(Value::Array(entries)) => &entries[..],
        Some(entry @ Value::Object(_)) => std::slice::from_ref(entry),
        _ => return unusable(status, "value"),
    };
    let ours: Vec<&Value> = entries.iter().filter(|entry| is_ours(order_id, entry)).collect();
    match (&ours[..], entries) {
        ([only], _) => order(order_id, status, only).map(Some),
        ([], []) => Outcome::Done(None),
        // They were asked for ours only, so what they have of it is not known.
        ([], [first, ..]) => order(order_id, status, first).map(Some),
        _ => Outcome::unknown("provider.contradiction", "Several orders have our number."),
    }
}

/// They may name it in capitals.
fn is_ours(order_id: &str, order: &Value) -> bool {
    text(order, NUMBER).is_some_and(|number| number.trim().eq_ignore_ascii_case(document_number(order_id)))
}

fn is_cancelled(order: &Value) -> Option<bool> {
    match &*text(order, "status")?.trim().to_ascii_lowercase() {
        "open" | "released" => Some(false),
        "cancelled" | "canceled" => Some(true),
        _ => None,
    }
}
