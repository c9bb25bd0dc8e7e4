//! The shape of a call. Every deviation goes into the books: a client that sends amounts as
//! numbers works against a lenient stand-in and fails in the field.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    contract::{self, Deviation},
    stand::Call,
};

/// The carrier's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Create,
    Cancel,
    Track,
}

/// A call, as far as it can be read.
pub enum Request {
    Create(Create),
    /// The AWB; empty if none.
    Cancel(String),
    Track(Lookup),
}

/// How a shipment is looked up.
pub enum Lookup {
    /// By the carrier's number.
    Awb(String),
    /// By the client's reference.
    ClientOrderId(String),
}

/// Takes what is there, right or wrong, and says everything that is wrong with it.
pub fn read(operation: Operation, call: &Call) -> (Request, Vec<Deviation>) {
    if operation == Operation::Track {
        return read_track(call.uri.query().unwrap_or_default());
    }
    let (body, unreadable) = match contract::read_json(&call.headers, &call.body) {
        Ok(body) => (body, None),
        Err(deviation) => (Value::Null, Some(vec![deviation])),
    };
    if operation == Operation::Create {
        return (Request::Create(Create::read(&body)), unreadable.unwrap_or_else(|| check_create(&body)));
    }
    let awb = body["awb"].as_str().unwrap_or_default().to_owned();
    let alone = !awb.is_empty() && body.as_object().is_some_and(|fields| fields.len() == 1);
    let problem = "must be there alone, as a string that is not empty";
    let wrong = if alone { vec![] } else { vec![Deviation::new("awb", problem)] };
    (Request::Cancel(awb), unreadable.unwrap_or(wrong))
}

fn read_track(query: &str) -> (Request, Vec<Deviation>) {
    let named = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(is, _)| is == name).map(|(_, value)| value.into_owned())
    };
    match (named("awb"), named("channel_order_no")) {
        (Some(awb), None) if !awb.is_empty() => (Request::Track(Lookup::Awb(awb)), vec![]),
        (None, Some(id)) if !id.is_empty() => (Request::Track(Lookup::ClientOrderId(id)), vec![]),
        _ => {
            let problem = "give one of awb and channel_order_no";
            (Request::Track(Lookup::Awb(String::new())), vec![Deviation::new("awb", problem)])
        }
    }
}

/// The fields of a create call that the stand-in itself needs; absent where the call did not say it.
#[derive(Clone, Default)]
pub struct Create {
    /// The client's reference.
    pub client_order_id: Option<String>,
    /// The client's invoice number.
    pub invoice_number: Option<String>,
    /// `Prepaid` or `Cod`.
    pub payment_mode: String,
    /// The courier asked for by name; `None` leaves the choice to the carrier.
    pub courier_code: Option<String>,
    pub pick_address_id: String,
}

impl Create {
    /// Takes what is there, right or wrong.
    pub fn read(body: &Value) -> Self {
        let text = |field: &str| body[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            client_order_id: text("client_order_id"),
            invoice_number: text("invoice_number"),
            payment_mode: text("payment_mode").unwrap_or_default(),
            courier_code: text("courier_code").filter(|_| body["courier_type"] == 1),
            pick_address_id: text("pick_address_id").unwrap_or_default(),
        }
    }
}

/// Values that a field may hold.
enum Shape {
    /// A string that is not empty.
    Text,
    AnyText,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// Rupees as a string with two decimals.
    Amount,
    /// The same, or one of these strings.
    AmountOr(&'static str),
    /// Six digits as a string.
    Pincode,
    /// A whole number above zero, as a string.
    Quantity,
    /// A number that is not negative.
    Number,
    /// `false`: the contract for business shipments is not known.
    False,
    /// 1 for a named courier, 0 for an automatic choice.
    CourierType,
    /// An array of strings, each a number above zero, one per parcel.
    Measures,
}

const CREATE: &[(&str, Shape)] = &[
    ("client_order_id", Shape::Text),
    ("pregenerated_awb", Shape::OneOf(&[""])),
    ("consignee_name", Shape::Text),
    ("consignee_emailid", Shape::AnyText),
    ("consignee_mobile", Shape::Text),
    ("consignee_phone", Shape::AnyText),
    ("consignee_address1", Shape::Text),
    ("consignee_address2", Shape::AnyText),
    ("consignee_pincode", Shape::Pincode),
    ("consignee_city", Shape::Text),
    ("consignee_state", Shape::Text),
    ("invoice_number", Shape::Text),
    ("express_type", Shape::OneOf(&["surface", "air"])),
    ("address_type", Shape::OneOf(&["Home"])),
    ("payment_mode", Shape::OneOf(&["Prepaid", "Cod"])),
    ("cod_amount", Shape::AmountOr("0")),
    ("order_amount", Shape::Amount),
    ("tax_amount", Shape::Amount),
    ("extra_charges", Shape::Amount),
    ("b2b", Shape::False),
    ("mps", Shape::OneOf(&["0"])),
    ("courier_type", Shape::CourierType),
    ("courier_code", Shape::AnyText),
    ("shipment_length", Shape::Measures),
    ("shipment_width", Shape::Measures),
    ("shipment_height", Shape::Measures),
    ("shipment_weight", Shape::Measures),
];

/// A registered pick-up address...
const REGISTERED_PICKUP: &[(&str, Shape)] = &[("pick_address_id", Shape::Text), ("return_address_id", Shape::AnyText)];

/// ...or one spelled out.
const SPELLED_PICKUP: &[(&str, Shape)] = &[
    ("pickup_name", Shape::Text),
    ("pickup_mobile", Shape::Text),
    ("pickup_address1", Shape::Text),
    ("pickup_address2", Shape::AnyText),
    ("pickup_pincode", Shape::Pincode),
    ("pickup_city", Shape::Text),
    ("pickup_state", Shape::Text),
];

const PRODUCT: &[(&str, Shape)] = &[
    ("product_sku", Shape::Text),
    ("product_name", Shape::Text),
    ("product_value", Shape::AmountOr("")),
    ("product_hsnsac", Shape::AnyText),
    ("product_taxper", Shape::Number),
    ("product_category", Shape::AnyText),
    ("product_quantity", Shape::Quantity),
    ("product_description", Shape::AnyText),
];

/// Everything that is wrong with the body of a create call.
fn check_create(body: &Value) -> Vec<Deviation> {
    let Some(fields) = body.as_object() else {
        return vec![Deviation::new("body", "must be an object")];
    };
    let mut found = Vec::new();
    check(fields, "", CREATE, &mut found);
    check_pickup(fields, &mut found);
    check_cod(fields, &mut found);
    check_parcels(fields, &mut found);
    check_products(fields, &mut found);
    if fields.get("courier_type") == Some(&Value::from(1)) && fields.get("courier_code") == Some(&Value::from("")) {
        found.push(Deviation::new("courier_code", "is required with courier_type 1"));
    }
    let known = |field: &str| {
        [CREATE, REGISTERED_PICKUP, SPELLED_PICKUP].iter().any(|shapes| shapes.iter().any(|(name, _)| *name == field))
    };
    found.extend(contract::unknown_fields(body, |field| field == "products" || known(field)));
    found
}

fn check(fields: &Map<String, Value>, path: &str, shapes: &[(&str, Shape)], found: &mut Vec<Deviation>) {
    for (name, shape) in shapes {
        let problem = match fields.get(*name) {
            None => Some("is missing".to_owned()),
            Some(value) => shape.problem(value),
        };
        if let Some(problem) = problem {
            found.push(Deviation::new(&format!("{path}{name}"), &problem));
        }
    }
}

fn check_pickup(fields: &Map<String, Value>, found: &mut Vec<Deviation>) {
    let spelled = fields.keys().any(|field| field.starts_with("pickup_"));
    let registered = fields.get("pick_address_id").is_some_and(|id| id != "");
    match (registered, spelled) {
        (true, true) => found.push(Deviation::new("pick_address_id", "cannot go with a pickup_ address")),
        (false, true) => check(fields, "", SPELLED_PICKUP, found),
        (true, false) => check(fields, "", REGISTERED_PICKUP, found),
        (false, false) => found.push(Deviation::new("pick_address_id", "or a pickup_ address is required")),
    }
}

fn check_cod(fields: &Map<String, Value>, found: &mut Vec<Deviation>) {
    let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
    let nothing = text("cod_amount").bytes().all(|byte| matches!(byte, b'0' | b'.'));
    match text("payment_mode") {
        "Cod" if nothing => found.push(Deviation::new("cod_amount", "must be above zero with Cod")),
        "Prepaid" if !nothing => found.push(Deviation::new("cod_amount", "must be zero with Prepaid")),
        _ => {}
    }
}

/// The four measures speak of the same parcels.
fn check_parcels(fields: &Map<String, Value>, found: &mut Vec<Deviation>) {
    let parcels = |field: &str| fields.get(field).and_then(Value::as_array).map_or(0, Vec::len);
    let expected = parcels("shipment_weight");
    for field in ["shipment_length", "shipment_width", "shipment_height"] {
        if parcels(field) != expected {
            found.push(Deviation::new(field, "must have as many entries as shipment_weight"));
        }
    }
}

fn check_products(fields: &Map<String, Value>, found: &mut Vec<Deviation>) {
    let products = fields.get("products").and_then(Value::as_array);
    let Some(products) = products.filter(|products| !products.is_empty()) else {
        found.push(Deviation::new("products", "must be an array with at least one product"));
        return;
    };
    for (index, product) in products.iter().enumerate() {
        let path = format!("products[{index}]");
        let Some(product) = product.as_object() else {
            found.push(Deviation::new(&path, "must be an object"));
            continue;
        };
        check(product, &format!("{path}."), PRODUCT, found);
        for field in product.keys().filter(|field| !PRODUCT.iter().any(|(name, _)| name == field)) {
            found.push(Deviation::new(&format!("{path}.{field}"), "is not a field of the contract"));
        }
    }
}

impl Shape {
    fn problem(&self, value: &Value) -> Option<String> {
        let text = value.as_str();
        let (holds, expected) = match self {
            Self::Text => (text.is_some_and(|text| !text.trim().is_empty()), "a string that is not empty"),
            Self::AnyText => (text.is_some(), "a string"),
            Self::OneOf(options) => {
                let holds = text.is_some_and(|text| options.contains(&text));
                return (!holds).then(|| format!("must be one of {options:?}, not {}", spelled(value)));
            }
            Self::Amount => (text.is_some_and(is_amount), "a string with two decimals"),
            Self::AmountOr(also) => {
                let holds = text.is_some_and(|text| text == *also || is_amount(text));
                return (!holds)
                    .then(|| format!("must be a string with two decimals or {also:?}, not {}", spelled(value)));
            }
            Self::Pincode => {
                let holds = text.is_some_and(|text| text.len() == 6 && is_digits(text) && !text.starts_with('0'));
                (holds, "a string of six digits")
            }
            Self::Quantity => {
                let holds = text.is_some_and(|text| is_digits(text) && !text.starts_with('0'));
                (holds, "a whole number above zero, as a string")
            }
            Self::Number => (value.as_f64().is_some_and(|number| number >= 0.0), "a number"),
            Self::False => (*value == Value::Bool(false), "false"),
            Self::CourierType => (*value == 0 || *value == 1, "0 or 1, as a number"),
            Self::Measures => {
                let holds = value.as_array().is_some_and(|measures| {
                    !measures.is_empty() && measures.iter().all(|measure| measure.as_str().is_some_and(is_measure))
                });
                (holds, "an array of strings, each a number above zero")
            }
        };
        (!holds).then(|| format!("must be {expected}, not {}", spelled(value)))
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_amount(text: &str) -> bool {
    text.split_once('.').is_some_and(|(rupees, paise)| is_digits(rupees) && paise.len() == 2 && is_digits(paise))
}

fn is_measure(text: &str) -> bool {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    is_digits(whole) && is_digits(decimals) && text.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

/// The value, shortened: names and addresses have no place in a message.
fn spelled(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "an empty string".to_owned(),
        Value::String(text) => format!("a string of {} bytes", text.len()),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    }
}
