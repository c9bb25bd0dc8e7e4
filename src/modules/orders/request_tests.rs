//! Create requests that are accepted, faults of those that are not, and fingerprints.

use serde_json::{Value, json};

use super::{
    model::fingerprint,
    request::{CancelOrderRequest, CreateOrderRequest, ListOrdersQuery},
};
use crate::platform::{error::AppError, http::read_json};

/// The example of DESIGN.md.
const EXAMPLE: &str = r#"{"clientOrderId": "c-1001", "provider": "parcelx",
 "shipment": {"service": "surface", "paymentMode": "prepaid", "currency": "INR", "codAmount": 0,
   "weightGrams": 450, "dimensionsCm": {"length": 20, "width": 15, "height": 8},
   "consignee": {"name": "Asha Rao", "phone": "9876543210", "email": null, "line1": "12 MG Road", "line2": null,
                 "city": "Bengaluru", "state": "Karnataka", "pincode": "560001", "country": "IN"},
   "pickup": {"name": "Kiran Stores", "phone": "9812345678", "line1": "Plot 7", "city": "New Delhi",
              "state": "Delhi", "pincode": "110020", "country": "IN"},
   "items": [{"sku": "TS-BLK-M", "name": "T-shirt", "quantity": 2, "unitPrice": 49900}]}}"#;

const BENCHMARK: &str = r#"{"clientOrderId":"b-1","provider":"parcelx","shipment":{"paymentMode":"prepaid",
 "currency":"INR","service":"surface","weightGrams":450,"dimensionsCm":{"length":20,"width":15,"height":8},
 "consignee":{"name":"Asha Rao","phone":"9876543210","line1":"12 MG Road","line2":"Near Metro","city":"Bengaluru",
 "state":"Karnataka","pincode":"560001","country":"IN"},
 "pickup":{"name":"Kiran Stores","phone":"9812345678","line1":"Plot 7, Okhla Phase 2","city":"New Delhi",
 "state":"Delhi","pincode":"110020","country":"IN"},
 "items":[{"sku":"TS-BLK-M","name":"T-shirt black M","quantity":2,"unitPrice":49900},
 {"sku":"CAP-01","name":"Cap","quantity":1,"unitPrice":19900}]}}"#;

fn example() -> Value {
    serde_json::from_str(EXAMPLE).expect("the example is JSON")
}

fn read(body: &[u8]) -> Result<CreateOrderRequest, AppError> {
    read_json(body)
}

/// Field and code of everything that is wrong with `body`.
fn faults(body: &Value) -> Vec<(String, String)> {
    match read(body.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(error) => {
            assert_eq!(error.kind.status().as_u16(), 422, "{body}");
            error.fields.into_iter().map(|fault| (fault.field, fault.code.into_owned())).collect()
        }
    }
}

/// The example with the value at `path` set, or left out.
fn with(path: &str, value: Option<Value>) -> Value {
    let mut body = example();
    let (parent, name) = path.rsplit_once('/').expect("a path");
    let parent = body.pointer_mut(parent).unwrap_or_else(|| panic!("{path} is not there"));
    match (parent, value) {
        (Value::Object(fields), Some(value)) => drop(fields.insert(name.to_owned(), value)),
        (Value::Object(fields), None) => drop(fields.remove(name)),
        (Value::Array(entries), Some(value)) => entries[name.parse::<usize>().expect("an index")] = value,
        (other, _) => panic!("{path}: {other}"),
    }
    body
}

/// The meaning of a request that can be read.
#[track_caller]
fn meaning(body: &Value) -> String {
    let request = read(body.to_string().as_bytes()).expect("it can be read");
    let order = request.into_order().expect("a shipment");
    fingerprint(order.provider.name, &order.detail)
}

#[test]
fn the_examples_are_valid() {
    for (name, body, client_order_id) in [("design", EXAMPLE, "c-1001"), ("benchmark", BENCHMARK, "b-1")] {
        let request = read(body.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let order = request.into_order().expect("a shipment");
        assert_eq!((&*order.client_order_id, order.provider.name), (client_order_id, "parcelx"), "{name}");
    }
}

#[test]
fn values_at_their_limits_are_valid() {
    for (path, value) in [
        ("/clientOrderId", json!("x")),
        ("/clientOrderId", json!(format!("Az09._:-{}", "x".repeat(120)))),
        ("/shipment/weightGrams", json!(1)),
        ("/shipment/weightGrams", json!(100_000)),
        ("/shipment/dimensionsCm/length", json!(300)),
        ("/shipment/consignee/name", json!("é".repeat(120))),
        ("/shipment/consignee/phone", json!("6000000000")),
        ("/shipment/consignee/email", json!("asha@example.com")),
        ("/shipment/consignee/line2", json!("")),
        ("/shipment/consignee/pincode", json!("100000")),
        ("/shipment/items/0/unitPrice", json!(0)),
        ("/shipment/items/0/unitPrice", json!(500_000_000)),
        ("/shipment/items/0/quantity", json!(10_000)),
        ("/shipment/items", json!(vec![json!({ "sku": "s", "name": "n", "quantity": 1, "unitPrice": 1 }); 100])),
    ] {
        assert_eq!(faults(&with(path, Some(value.clone()))), [], "{path} = {value}");
    }
    let mut cod = with("/shipment/paymentMode", Some(json!("cod")));
    cod["shipment"]["codAmount"] = json!(1);
    assert_eq!(faults(&cod), []);
}

#[test]
fn one_wrong_field_is_named_with_its_code() {
    let (sku, long) = (json!({ "sku": "s", "name": "n", "quantity": 1, "unitPrice": 1 }), json!("x".repeat(255)));
    for (path, value, field, code) in [
        ("/clientOrderId", json!(""), "clientOrderId", "format"),
        ("/clientOrderId", json!("x".repeat(129)), "clientOrderId", "format"),
        ("/clientOrderId", json!("a b"), "clientOrderId", "format"),
        ("/clientOrderId", json!("ü"), "clientOrderId", "format"),
        ("/clientOrderId", json!("@CLIENT_ORDER_ID@"), "clientOrderId", "format"),
        ("/clientOrderId", json!({ "$ne": 1 }), "clientOrderId", "type"),
        ("/clientOrderId", json!(7), "clientOrderId", "type"),
        ("/provider", json!("dhl"), "provider", "unknown_value"),
        ("/provider", json!("ParcelX"), "provider", "unknown_value"),
        ("/userId", json!("usr_2"), "userId", "unknown"),
        ("/shipment", Value::Null, "shipment", "required"),
        ("/shipment", json!("a parcel"), "shipment", "type"),
        ("/shipment/awb", json!("PX0001"), "shipment.awb", "unknown"),
        ("/shipment/service", json!("teleport"), "shipment.service", "unknown_value"),
        ("/shipment/paymentMode", json!("Prepaid"), "shipment.paymentMode", "unknown_value"),
        ("/shipment/paymentMode", json!("cod"), "shipment.codAmount", "cod"),
        ("/shipment/codAmount", json!(1), "shipment.codAmount", "cod"),
        ("/shipment/codAmount", json!(-1), "shipment.codAmount", "range"),
        ("/shipment/codAmount", json!(1_000_000_001), "shipment.codAmount", "range"),
        ("/shipment/codAmount", json!(0.0), "shipment.codAmount", "type"),
        ("/shipment/codAmount", json!("0"), "shipment.codAmount", "type"),
        ("/shipment/currency", json!("USD"), "shipment.currency", "currency"),
        ("/shipment/currency", json!("inr"), "shipment.currency", "currency"),
        ("/shipment/weightGrams", json!(0), "shipment.weightGrams", "range"),
        ("/shipment/weightGrams", json!(100_001), "shipment.weightGrams", "range"),
        ("/shipment/weightGrams", json!(450.5), "shipment.weightGrams", "type"),
        ("/shipment/weightGrams", json!(450.0), "shipment.weightGrams", "type"),
        ("/shipment/weightGrams", json!(u64::MAX), "shipment.weightGrams", "type"),
        ("/shipment/dimensionsCm/length", json!(0), "shipment.dimensionsCm.length", "range"),
        ("/shipment/dimensionsCm/height", json!(301), "shipment.dimensionsCm.height", "range"),
        ("/shipment/dimensionsCm/depth", json!(1), "shipment.dimensionsCm.depth", "unknown"),
        ("/shipment/consignee/name", json!(""), "shipment.consignee.name", "length"),
        ("/shipment/consignee/name", json!("   "), "shipment.consignee.name", "blank"),
        ("/shipment/consignee/name", json!("x".repeat(121)), "shipment.consignee.name", "length"),
        ("/shipment/consignee/name", json!("Asha\u{0}"), "shipment.consignee.name", "characters"),
        ("/shipment/consignee/phone", json!("987654321"), "shipment.consignee.phone", "format"),
        ("/shipment/consignee/phone", json!("5876543210"), "shipment.consignee.phone", "format"),
        ("/shipment/consignee/phone", json!("+449876543210"), "shipment.consignee.phone", "format"),
        ("/shipment/consignee/phone", json!(""), "shipment.consignee.phone", "format"),
        ("/shipment/consignee/phone", json!("९८७६"), "shipment.consignee.phone", "format"),
        ("/shipment/consignee/email", json!("asha"), "shipment.consignee.email", "email"),
        ("/shipment/consignee/email", json!(""), "shipment.consignee.email", "email"),
        ("/shipment/consignee/line1", json!("12"), "shipment.consignee.line1", "length"),
        ("/shipment/consignee/line1", json!("12 MG\nRoad"), "shipment.consignee.line1", "characters"),
        ("/shipment/consignee/line2", long.clone(), "shipment.consignee.line2", "length"),
        ("/shipment/consignee/city", json!("\t"), "shipment.consignee.city", "blank"),
        ("/shipment/consignee/state", Value::Null, "shipment.consignee.state", "type"),
        ("/shipment/consignee/pincode", json!("060001"), "shipment.consignee.pincode", "format"),
        ("/shipment/consignee/pincode", json!("56000"), "shipment.consignee.pincode", "format"),
        ("/shipment/consignee/pincode", json!(560_001), "shipment.consignee.pincode", "type"),
        ("/shipment/consignee/country", json!("US"), "shipment.consignee.country", "country"),
        ("/shipment/pickup/phone", json!("98123"), "shipment.pickup.phone", "format"),
        ("/shipment/pickup/fax", json!("98123"), "shipment.pickup.fax", "unknown"),
        ("/shipment/items", json!([]), "shipment.items", "length"),
        ("/shipment/items", json!(vec![sku; 101]), "shipment.items", "length"),
        ("/shipment/items", json!({}), "shipment.items", "type"),
        ("/shipment/items/0/sku", json!(""), "shipment.items[0].sku", "length"),
        ("/shipment/items/0/sku", json!("x".repeat(65)), "shipment.items[0].sku", "length"),
        ("/shipment/items/0/name", long, "shipment.items[0].name", "length"),
        ("/shipment/items/0/quantity", json!(0), "shipment.items[0].quantity", "range"),
        ("/shipment/items/0/quantity", json!(10_001), "shipment.items[0].quantity", "range"),
        ("/shipment/items/0/unitPrice", json!(-1), "shipment.items[0].unitPrice", "range"),
        ("/shipment/items/0/unitPrice", json!(500_000_001), "shipment.items", "total"),
        ("/shipment/items/0/price", json!(1), "shipment.items[0].price", "unknown"),
    ] {
        let found = faults(&with(path, Some(value.clone())));
        assert!(found.contains(&(field.into(), code.into())), "{path} = {value}: {found:?}");
        assert!(found.iter().all(|(other, _)| other == field), "{path} = {value} blames others too: {found:?}");
    }
}

#[test]
fn required_fields_are_required_and_the_rest_is_not() {
    let optional = [
        "/provider",
        "/shipment/service",
        "/shipment/currency",
        "/shipment/codAmount",
        "/shipment/consignee/email",
        "/shipment/consignee/line2",
        "/shipment/consignee/country",
        "/shipment/pickup/country",
    ];
    let paths = every_field("", &example());
    assert_eq!(paths.len(), 35, "{paths:?}");
    for path in paths {
        let field = path.trim_start_matches('/').replace("/0", "[0]").replace('/', ".");
        let expected = if optional.contains(&&*path) { vec![] } else { vec![(field, "required".to_owned())] };
        assert_eq!(faults(&with(&path, None)), expected, "without {path}");
    }
}

/// Paths of every field of every object in `value`.
fn every_field(at: &str, value: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (format!("{at}/{name}"), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(index, value)| (format!("{at}/{index}"), value)).collect(),
        _ => Vec::new(),
    };
    for (path, inner) in entries {
        paths.extend(every_field(&path, inner));
        if value.is_object() {
            paths.push(path);
        }
    }
    paths
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let mut body = with("/shipment/consignee/pincode", Some(json!("0")));
    body["clientOrderId"] = json!("a b");
    body["shipment"]["items"][0]["quantity"] = json!(0);
    let named: Vec<String> = faults(&body).into_iter().map(|(field, _)| field).collect();
    assert_eq!(named, ["clientOrderId", "shipment.consignee.pincode", "shipment.items[0].quantity"]);
}

#[test]
fn wrong_types_are_named_together_with_broken_rules() {
    let mut body = example();
    body["clientOrderId"] = json!(7);
    body["shipment"]["paymentMode"] = json!("credit");
    body["shipment"]["weightGrams"] = json!("450");
    body["shipment"]["dimensionsCm"] = json!([20, 15, 8]);
    body["shipment"]["consignee"]["pincode"] = json!("1");
    body["shipment"]["consignee"]["city"] = json!("Benga\u{202e}luru");
    body["shipment"]["pickup"].as_object_mut().expect("an object").remove("line1");
    body["shipment"]["pickup"]["fax"] = json!("1");
    body["shipment"]["items"][0]["quantity"] = json!(null);
    let error = read(body.to_string().as_bytes()).expect_err("much is wrong");
    let named: Vec<_> = error.fields.iter().map(|fault| (&*fault.field, &*fault.code, &*fault.message)).collect();
    let unseen = "must not hold control characters or others that nobody can see";
    assert_eq!(
        named,
        [
            ("clientOrderId", "type", "must be text"),
            ("shipment.consignee.city", "characters", unseen),
            ("shipment.consignee.pincode", "format", "must be six digits, the first not 0"),
            ("shipment.dimensionsCm", "type", "must be an object"),
            ("shipment.items[0].quantity", "type", "must be a whole number"),
            ("shipment.paymentMode", "unknown_value", "must be prepaid or cod"),
            ("shipment.pickup.fax", "unknown", "is not a field here"),
            ("shipment.pickup.line1", "required", "is required"),
            ("shipment.weightGrams", "type", "must be a whole number"),
        ]
    );
}

#[test]
fn twelve_digits_are_taken_where_they_are_something_else() {
    for (path, value) in [
        ("/clientOrderId", json!("999941057058")),
        ("/shipment/consignee/phone", json!("919876543210")),
        ("/shipment/items/0/sku", json!("719710571235")),
        ("/shipment/items/0/sku", json!("036000291452")),
    ] {
        assert_eq!(faults(&with(path, Some(value.clone()))), [], "{path} = {value}");
    }
    for path in ["consignee/name", "consignee/line1", "consignee/line2", "pickup/city", "items/0/name", "items/0/sku"] {
        for text in ["999941057058", "९९९९ ४१०५ ७०५८", "９９９９-４１０５-７０５８", "9999\u{a0}4105\u{a0}7058"]
        {
            let found = faults(&with(&format!("/shipment/{path}"), Some(json!(text))));
            let field = format!("shipment.{}", path.replace("/0", "[0]").replace('/', "."));
            assert_eq!(found, [(field, "format".to_owned())], "{path} = {text}");
        }
    }
}

#[test]
fn what_is_left_out_means_what_it_defaults_to() {
    let whole = meaning(&example());
    for path in ["/provider", "/shipment/service", "/shipment/currency", "/shipment/codAmount"] {
        assert_eq!(meaning(&with(path, None)), whole, "without {path}");
        assert_eq!(meaning(&with(path, Some(Value::Null))), whole, "{path} is null");
    }
    for party in ["consignee", "pickup"] {
        for value in [None, Some(Value::Null)] {
            assert_eq!(meaning(&with(&format!("/shipment/{party}/country"), value)), whole, "{party}");
        }
        for field in ["email", "line2"] {
            let path = format!("/shipment/{party}/{field}");
            assert_eq!(meaning(&with(&path, None)), whole, "without {path}");
            assert_eq!(meaning(&with(&path, Some(Value::Null))), whole, "{path} is null");
        }
        assert_eq!(meaning(&with(&format!("/shipment/{party}/line2"), Some(json!("")))), whole, "{party}");
    }
}

/// JSON with the keys of every object in reverse order, and with white space.
fn backwards(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut pairs: Vec<String> =
                fields.iter().map(|(name, value)| format!("\n {} :\t{}", json!(name), backwards(value))).collect();
            pairs.reverse();
            format!("{{ {} }}", pairs.join(" ,"))
        }
        Value::Array(list) => format!("[ {} ]", list.iter().map(backwards).collect::<Vec<_>>().join(" , ")),
        scalar => scalar.to_string(),
    }
}

#[test]
fn order_of_keys_and_white_space_mean_nothing() {
    let body = backwards(&example());
    assert!(
        body.find("unitPrice") < body.find("\"sku\"") && body.find("shipment") < body.find("clientOrderId"),
        "{body}"
    );
    let order = read(body.as_bytes()).expect("it is valid").into_order().expect("a shipment");
    assert_eq!(fingerprint(order.provider.name, &order.detail), meaning(&example()));
}

/// The same order, typed on another telephone.
#[test]
fn spellings_mean_what_they_spell() {
    let composed = with("/shipment/consignee/name", Some(json!("José Rao")));
    for (path, value, same_as) in [
        ("/shipment/consignee/name", json!(" Asha Rao\u{a0}"), example()),
        ("/shipment/consignee/name", json!("Jose\u{301} Rao"), composed),
        ("/shipment/consignee/phone", json!("+91 98765 43210"), example()),
        ("/shipment/consignee/phone", json!("0091-9876543210"), example()),
        ("/shipment/consignee/phone", json!("09876543210"), example()),
        ("/shipment/consignee/pincode", json!("560 001"), example()),
        ("/shipment/consignee/line2", json!("  "), example()),
        ("/shipment/items/0/name", json!("T-shirt "), example()),
        ("/clientOrderId", json!(" c-1001 "), example()),
        (
            "/shipment/consignee/email",
            json!("Asha@Example。com"),
            with("/shipment/consignee/email", Some(json!("asha@example.com"))),
        ),
    ] {
        assert_eq!(meaning(&with(path, Some(value.clone()))), meaning(&same_as), "{path} = {value}");
    }
}

#[test]
fn every_real_change_is_another_meaning() {
    let (whole, mut seen) = (meaning(&example()), Vec::new());
    for path in every_field("", &example()) {
        let changed = match (&*path, example().pointer(&path).expect("a value")) {
            // The id is the key itself, and there is one provider.
            ("/clientOrderId", _) => {
                assert_eq!(meaning(&with(&path, Some(json!("c-1002")))), whole);
                continue;
            }
            ("/provider", _) | (_, Value::Object(_) | Value::Array(_)) => continue,
            ("/shipment/service", _) => json!("air"),
            ("/shipment/paymentMode", _) => json!("cod"),
            ("/shipment/codAmount" | "/shipment/currency", _) => continue,
            (path, Value::String(text)) if path.ends_with("/phone") => json!(text.replace('9', "8")),
            (path, Value::String(text)) if path.ends_with("/pincode") => json!(text.replace('1', "2")),
            (path, Value::String(text)) if path.ends_with("/country") => continue,
            (_, Value::Number(number)) => json!(number.as_i64().expect("an integer") + 1),
            (_, Value::String(text)) => json!(format!("{text}x")),
            (_, Value::Null) => json!("new@example.com"),
            (_, other) => panic!("{path}: {other}"),
        };
        let mut body = with(&path, Some(changed));
        if path == "/shipment/paymentMode" {
            body["shipment"]["codAmount"] = json!(1);
        }
        let other = meaning(&body);
        assert_ne!(other, whole, "{path}");
        assert!(!seen.contains(&other), "{path} means the same as another change");
        seen.push(other);
    }
    assert_eq!(seen.len(), 24, "every scalar is changed once, where there is more than one value");
    let twice =
        with("/shipment/items", Some(json!([example()["shipment"]["items"][0], example()["shipment"]["items"][0]])));
    assert_ne!(meaning(&twice), whole);
}

#[test]
fn a_cancel_names_an_order_and_may_say_why() {
    for (body, field) in [
        (json!({ "clientOrderId": "c-1001" }), None),
        (json!({ "clientOrderId": "c-1001", "reason": null }), None),
        (json!({ "clientOrderId": "c-1001", "reason": "x".repeat(300) }), None),
        (json!({ "clientOrderId": "c-1001", "reason": "x".repeat(301) }), Some("reason")),
        (json!({ "clientOrderId": "c-1001", "reason": "bell\u{7}" }), Some("reason")),
        (json!({ "clientOrderId": "" }), Some("clientOrderId")),
        (json!({ "clientOrderId": "c-1001", "reason": "for 9999 4105 7058" }), Some("reason")),
        (json!({ "clientOrderId": "c-1001", "orderId": "ord_1" }), Some("orderId")),
        (json!({}), Some("clientOrderId")),
    ] {
        let read = read_json::<CancelOrderRequest>(body.to_string().as_bytes());
        let named = read.as_ref().err().map(|error| error.fields[0].field.as_str());
        assert_eq!(named, field, "{body}");
    }
}

#[test]
fn a_page_of_orders_is_asked_for_within_limits() {
    for (query, field) in [
        (json!({}), None),
        (json!({ "limit": 1, "status": "needs_attention", "provider": "parcelx" }), None),
        (json!({ "limit": 100, "cursor": "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6" }), None),
        (json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00+05:30" }), None),
        (json!({ "limit": 0 }), Some("limit")),
        (json!({ "limit": 101 }), Some("limit")),
        (json!({ "cursor": "1" }), Some("cursor")),
        (json!({ "clientOrderId": "a b" }), Some("clientOrderId")),
        (json!({ "status": "lost_somewhere" }), Some("status")),
        (json!({ "from": "yesterday" }), Some("from")),
        (json!({ "userId": "usr_2" }), Some("userId")),
    ] {
        let read = read_json::<ListOrdersQuery>(query.to_string().as_bytes());
        let named = read.err().map(|error| error.fields[0].field.clone());
        assert_eq!(named.as_deref(), field, "{query}");
    }
}
