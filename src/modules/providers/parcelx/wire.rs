//! ParcelX's words, and both conversions. Amounts are text in rupees with two decimals, weights text in kilograms,
//! lengths text in centimetres.

use serde_json::{Value, json};

use crate::{
    modules::providers::{
        OrderToPlace, PaymentMode, Placed, Service, Shipment,
        reading::{field, object, part, reference, text, whole_number},
    },
    platform::{exchange::Redaction, scrub::scrub},
};

/// The status code of a shipment that was cancelled.
const CANCELLED: i64 = 227;
/// A title that says "cancelled" in one of its spellings.
const CANCELLED_WORDS: [&str; 2] = ["cancelled", "canceled"];
/// Words that may stand beside it without taking it back.
const ABOUT_WORDS: [&str; 18] = [
    "order",
    "shipment",
    "parcel",
    "awb",
    "status",
    "is",
    "was",
    "has",
    "been",
    "by",
    "the",
    "seller",
    "client",
    "customer",
    "merchant",
    "shipper",
    "user",
    "successfully",
];

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
    "data[].awb_number",
    "data.client_order_id",
    "data[].client_order_id",
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

/// The stored part of a create. Names, telephone numbers, streets and e-mails are not.
pub(super) static CREATE: Redaction = Redaction {
    not_personal: NOT_PERSONAL,
    request: &["consignee_pincode", "pickup_pincode"],
    response: ANSWER,
    free_text: WORDS,
    query: &[],
};
pub(super) static CANCEL: Redaction =
    Redaction { not_personal: NOT_PERSONAL, request: &[], response: ANSWER, free_text: WORDS, query: &[] };
pub(super) static LOOK_UP: Redaction = Redaction {
    not_personal: NOT_PERSONAL,
    request: &[],
    response: ANSWER,
    free_text: WORDS,
    query: &["awb", "channel_order_no"],
};

/// The body of a create. `client_order_id` is our order id, because the merchant's is unique only per merchant.
pub(super) fn create_body(order: &OrderToPlace<'_>, shipment: &Shipment) -> Value {
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

/// ParcelX's message about a failure.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) text: String,
    lower: String,
    /// A shipment is named beside it all the same.
    pub(super) names_shipment: bool,
}

impl Message {
    pub(super) fn new(text: String, body: &Value) -> Self {
        let names_shipment = [Some(body), object(body, "data")]
            .into_iter()
            .flatten()
            .any(|place| reference(place, "awb_number").is_some());
        Self { lower: text.to_lowercase(), text, names_shipment }
    }

    fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.lower.contains(word))
    }

    /// The order may be there already.
    pub(super) fn asks_for_look_up(&self) -> bool {
        self.has(&["already exist", "duplicate", "already placed", "already created"])
    }

    /// Says nothing about our data, so it says nothing about the order.
    pub(super) fn is_not_about_data(&self) -> bool {
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

/// A shipment as an answer names it.
pub(super) struct NamedShipment {
    awb: String,
    courier: Option<String>,
    number: Option<String>,
    /// None where what is said of it can't be read, or contradicts itself.
    cancelled: Option<bool>,
    pub(super) order: Option<String>,
}

impl NamedShipment {
    /// None where nobody can tell whether it is alive.
    pub(super) fn shipment(self) -> Option<Placed> {
        Some(Placed {
            reference: self.awb,
            courier_name: self.courier,
            provider_order_id: self.number,
            cancelled: self.cancelled?,
            unfinished: false,
        })
    }
}

/// The shipment of a create's answer.
pub(super) fn placed(body: &Value) -> Option<NamedShipment> {
    let data = object(body, "data")?;
    Some(NamedShipment {
        awb: reference(data, "awb_number")?,
        courier: text(data, "courier_name").map(scrub).filter(|name| !name.is_empty()),
        number: reference(data, "order_number"),
        cancelled: is_cancelled(&[Some(data), field(data, "current_status")]),
        order: named_order(data),
    })
}

/// The shipment of a look-up's answer.
pub(super) fn tracked(body: &Value) -> Option<NamedShipment> {
    Some(NamedShipment {
        awb: reference(body, "awb_number")?,
        courier: None,
        number: None,
        cancelled: is_cancelled(&[Some(body), field(body, "current_status")]),
        order: named_order(body),
    })
}

/// The order that an answer names, if it names one. A name of another kind or size than ours names another order.
fn named_order(object: &Value) -> Option<String> {
    match field(object, "client_order_id")? {
        Value::String(text) if text.trim().is_empty() => None,
        _ => Some(reference(object, "client_order_id").unwrap_or_default()),
    }
}

/// Whether a shipment is cancelled, by all that is said of it. What is said and can't be read leaves it open, and so do two
/// that contradict each other; of what nobody says anything is alive.
fn is_cancelled(places: &[Option<&Value>]) -> Option<bool> {
    let mut said: Vec<Option<bool>> = Vec::new();
    for place in places.iter().flatten().map(|place| part(place)) {
        if let Value::String(title) = place {
            said.extend(by_title(title));
        } else if !place.is_object() {
            said.push(None);
        }
        let before = said.len();
        let code = field(place, "status_code").filter(|code| code.as_str().is_none_or(|code| !code.trim().is_empty()));
        if let Some(code) = code {
            let by_number = whole_number(code).map(|code| code == CANCELLED);
            said.push(by_number.or_else(|| code.as_str().and_then(by_title).flatten()));
        }
        match text(place, "status_title").and_then(by_title) {
            // A code says it better than words that leave it open.
            Some(None) if said.len() > before => {}
            title => said.extend(title),
        }
    }
    let is_said = |what| said.contains(&what);
    match (is_said(Some(true)), is_said(Some(false))) {
        _ if is_said(None) => None,
        (true, true) => None,
        (cancelled, _) => Some(cancelled),
    }
}

/// Whether a title says that the shipment is cancelled: yes, unclear (none), or nothing.
fn by_title(title: &str) -> Option<Option<bool>> {
    let title = title.to_lowercase();
    let words: Vec<&str> = title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let is_plain = |word: &&str| CANCELLED_WORDS.contains(word) || ABOUT_WORDS.contains(word);
    if !title.contains("cancel") {
        None
    } else if words.iter().all(is_plain) && words.iter().any(|word| CANCELLED_WORDS.contains(word)) {
        Some(Some(true))
    } else {
        Some(None)
    }
}
