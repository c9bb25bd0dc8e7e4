//! ParcelX's words, and both conversions. Amounts are text in rupees with two decimals, weights text in kilograms,
//! lengths text in centimetres.

use serde_json::{Value, json};

use super::shipment as placed_shipment;
use crate::{
    modules::providers::{Operation, OrderToPlace, PaymentMode, PlacedShipment, Service},
    platform::exchange::Redaction,
};

/// Longest number of theirs that we store.
const REFERENCE_CHARS_MAX: usize = 64;

/// What may be stored of an operation. Names, telephone numbers, streets and e-mails are not.
pub fn redaction(operation: Operation) -> &'static Redaction {
    const NOT_PERSONAL: &[&str] = &[
        "client_order_id",
        "invoice_number",
        "express_type",
        "address_type",
        "payment_mode",
        "cod_amount",
        "order_amount",
        "tax_amount",
        "extra_charges",
        "b2b",
        "mps",
        "courier_type",
        "courier_code",
        "shipment_length[]",
        "shipment_width[]",
        "shipment_height[]",
        "shipment_weight[]",
        "products[].product_quantity",
        "products[].product_value",
        "products[].product_taxper",
        "awb",
        "awb_number",
        "data.awb_number",
        "data.client_order_id",
        "data.order_number",
        "data.job_id",
        "data.lrnum",
        "data.pickup_id",
    ];
    const WORDS: &[&str] = &[
        "responsemsg",
        "responsemsg[]",
        "data.payment_mode",
        "data.partner_display_name",
        "data.courier_code",
        "data.courier_name",
        "data.status_code",
        "data.status_title",
        "current_status.status_title",
        "current_status.status_code",
        "current_status.event_date",
        "current_status.status_location",
        "data[].status_title",
        "data[].event_date",
        "data[].status_location",
        // What merchants write as they like.
        "consignee_city",
        "consignee_state",
        "pickup_city",
        "pickup_state",
        "products[].product_sku",
    ];
    const ANSWER: &[&str] = &["status", "data.routing_code"];
    static CREATE: Redaction = Redaction {
        not_personal: NOT_PERSONAL,
        request: &["consignee_pincode", "pickup_pincode"],
        response: ANSWER,
        free_text: WORDS,
        query: &[],
    };
    static CANCEL: Redaction =
        Redaction { not_personal: NOT_PERSONAL, request: &[], response: ANSWER, free_text: WORDS, query: &[] };
    static LOOK_UP: Redaction = Redaction {
        not_personal: NOT_PERSONAL,
        request: &[],
        response: ANSWER,
        free_text: WORDS,
        query: &["awb", "channel_order_no"],
    };
    match operation {
        Operation::Create => &CREATE,
        Operation::Cancel => &CANCEL,
        Operation::LookUp => &LOOK_UP,
    }
}

/// The body of a create. `client_order_id` is our order id, because the merchant's is unique only per merchant.
pub(super) fn create_body(order: &OrderToPlace<'_>) -> Value {
    let shipment = order.shipment;
    let (to, from) = (&shipment.consignee, &shipment.pickup);
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    let products: Vec<Value> = shipment
        .items
        .iter()
        .map(|item| {
            json!({
                "product_sku": item.sku, "product_name": item.name, "product_value": rupees(item.unit_price),
                "product_hsnsac": "", "product_taxper": 0, "product_category": "",
                "product_quantity": item.quantity.to_string(), "product_description": "",
            })
        })
        .collect();
    json!({
        "client_order_id": order.order_id, "pregenerated_awb": "",
        "consignee_name": to.name, "consignee_emailid": or_empty(&to.email), "consignee_mobile": to.phone,
        "consignee_phone": "", "consignee_address1": to.line1, "consignee_address2": or_empty(&to.line2),
        "consignee_pincode": to.pincode, "consignee_city": to.city, "consignee_state": to.state,
        "pickup_name": from.name, "pickup_mobile": from.phone, "pickup_address1": from.line1,
        "pickup_address2": or_empty(&from.line2), "pickup_pincode": from.pincode, "pickup_city": from.city,
        "pickup_state": from.state,
        "invoice_number": order.client_order_id,
        "express_type": match shipment.service { Service::Surface => "surface", Service::Air => "air" },
        "address_type": "Home",
        "payment_mode": match shipment.payment_mode { PaymentMode::Prepaid => "Prepaid", PaymentMode::Cod => "Cod" },
        "cod_amount": if shipment.cod_amount == 0 { "0".to_owned() } else { rupees(shipment.cod_amount) },
        "order_amount": rupees(shipment.goods_value_minor().expect("validation bounds the value of the goods")),
        "tax_amount": "0.00", "extra_charges": "0.00",
        "b2b": false, "mps": "0", "courier_type": 0, "courier_code": "",
        "shipment_length": [shipment.dimensions_cm.length.to_string()],
        "shipment_width": [shipment.dimensions_cm.width.to_string()],
        "shipment_height": [shipment.dimensions_cm.height.to_string()],
        "shipment_weight": [kilograms(shipment.weight_grams)],
        "products": products,
    })
}

/// Paise as rupees with two decimals.
fn rupees(minor: i64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

/// Grams as kilograms, without needless zeros.
fn kilograms(grams: i64) -> String {
    let text = format!("{}.{:03}", grams / 1000, grams % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `status` of an answer.
pub(super) fn status(body: &Value) -> Option<bool> {
    body.get("status").and_then(Value::as_bool)
}

/// What they say of a failure: text, or several texts.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) text: String,
    lower: String,
}

impl Message {
    pub(super) fn new(text: String) -> Self {
        Self { lower: text.to_lowercase(), text }
    }

    fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.lower.contains(word))
    }

    /// The order may be there already.
    pub(super) fn asks_for_look_up(&self) -> bool {
        self.has(&["already exist", "duplicate", "already placed", "already created"])
    }

    /// Says nothing about our data, so it says nothing about the order.
    pub(super) fn is_vague(&self) -> bool {
        self.has(&["something went wrong", "try again", "internal error", "server error", "timeout", "timed out"])
    }

    /// A cancellation that took place before.
    pub(super) fn says_cancelled_before(&self) -> bool {
        self.has(&["already cancel", "already been cancel"])
    }

    /// The order is not known there.
    pub(super) fn says_no_record(&self) -> bool {
        self.has(&["no record found"])
    }
}

/// `responsemsg` of an answer, where it says something.
pub(super) fn message(body: &Value) -> Option<Message> {
    let text = match body.get("responsemsg")? {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        _ => return None,
    };
    (!text.trim().is_empty()).then(|| Message::new(text))
}

/// The shipment of a create's answer and the order it names.
pub(super) fn placed(body: &Value) -> Option<(PlacedShipment, Option<String>)> {
    let data = body.get("data")?;
    let awb = reference(data, "awb_number")?;
    let courier = data.get("courier_name").and_then(Value::as_str);
    let number = reference(data, "order_number");
    let code = status_code(data).or_else(|| data.get("current_status").and_then(status_code));
    Some((placed_shipment(&awb, courier, number.as_deref(), code), named_order(data)))
}

/// The shipment of a look-up's answer and the order it names.
pub(super) fn tracked(body: &Value) -> Option<(PlacedShipment, Option<String>)> {
    let awb = reference(body, "awb_number")?;
    let code = body.get("current_status").and_then(status_code);
    Some((placed_shipment(&awb, None, None, code), named_order(body)))
}

/// The order that an answer names, if it names one. A name of another kind or size than ours names another order.
fn named_order(object: &Value) -> Option<String> {
    match object.get("client_order_id")? {
        Value::Null => None,
        Value::String(text) if text.trim().is_empty() => None,
        _ => Some(reference(object, "client_order_id").unwrap_or_default()),
    }
}

/// A reference of theirs, as text or a number: letters, digits, `-`, `_` and `/`, and one digit at least that is not 0. Anything
/// else (`N/A`, `0`, a piece of a page) names nothing.
fn reference(object: &Value, name: &str) -> Option<String> {
    let text = match object.get(name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
    let sane =
        text.len() <= REFERENCE_CHARS_MAX && text.chars().all(names) && text.contains(|c| ('1'..='9').contains(&c));
    sane.then_some(text)
}

/// Codes come as text or as numbers.
fn status_code(object: &Value) -> Option<u32> {
    match object.get("status_code")? {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64().and_then(|code| code.try_into().ok()),
        _ => None,
    }
}
