//! Sales that are accepted, and faults of those that are not.

use serde_json::{Value, json};

use super::*;
use crate::platform::http::read_json;

fn example() -> Value {
    json!({
        "currency": "EUR", "orderedAt": "2026-11-29T10:00:00Z", "paymentId": "pay_1",
        "customer": {
            "gender": "female", "firstName": "Eva", "lastName": "Muster", "email": "eva@example.com", "phone": "+4930123456",
        },
        "billingAddress": {
            "line1": "Hauptstraße 4/1", "line2": null, "city": "Berlin", "postcode": "10115", "country": "DE",
        },
        "shippingAddress": { "line1": "Hof 2", "line2": "links", "city": "Wien", "postcode": "1010", "country": "AT" },
        "lines": [{ "sku": "A-1", "name": "Buch", "quantity": 2, "unitPrice": 1999 }], "shippingCost": 0,
    })
}

/// The example with the value at `path` set, or left out.
fn with(path: &str, value: Option<Value>) -> Value {
    let mut body = example();
    let (parent, name) = path.rsplit_once('/').expect("a path");
    match (body.pointer_mut(parent).unwrap_or_else(|| panic!("{path} is not there")), value) {
        (Value::Object(fields), Some(value)) => drop(fields.insert(name.to_owned(), value)),
        (Value::Object(fields), None) => drop(fields.remove(name)),
        (other, _) => panic!("{path}: {other}"),
    }
    body
}

/// Field and code of everything that is wrong.
fn faults(body: &Value) -> Vec<(String, String)> {
    let read = read_json::<SaleRequest>(body.to_string().as_bytes());
    let named = |error: crate::platform::error::AppError| {
        error.fields.into_iter().map(|fault| (fault.field, fault.code.into_owned())).collect()
    };
    read.err().map(named).unwrap_or_default()
}

fn field_of(path: &str) -> String {
    path.trim_start_matches('/').replace("/0", "[0]").replace('/', ".")
}

fn sale(body: &Value) -> Sale {
    read_json::<SaleRequest>(body.to_string().as_bytes()).expect("it is valid").into()
}

#[test]
fn values_at_their_limits_are_valid() {
    let line = &example()["lines"][0];
    let long = |chars| json!("ß".repeat(chars));
    for (path, value) in [
        ("/currency", json!("JPY")),
        ("/orderedAt", json!("1753-01-01T00:00:00Z")),
        ("/orderedAt", json!("9999-12-31T23:59:59.999Z")),
        ("/orderedAt", json!("2026-11-29T10:00:00.123456+05:30")),
        ("/paymentId", json!("999941057058")),
        ("/paymentId", json!("x".repeat(128))),
        ("/customer/gender", Value::Null),
        ("/customer/gender", json!("other")),
        ("/customer/firstName", long(50)),
        ("/customer/lastName", long(50)),
        ("/customer/email", json!(format!("{}@{}.de", "a".repeat(64), "b".repeat(12)))),
        ("/customer/phone", json!("+123456789012345")),
        ("/customer/phone", json!("+1234567")),
        ("/billingAddress/line1", long(100)),
        ("/billingAddress/line2", long(50)),
        ("/billingAddress/line2", json!("")),
        ("/billingAddress/city", long(30)),
        ("/billingAddress/postcode", long(10)),
        ("/billingAddress/country", json!("US")),
        ("/shippingAddress", Value::Null),
        ("/lines/0/sku", json!("036000291452")),
        ("/lines/0/sku", json!("x".repeat(64))),
        ("/lines/0/name", long(100)),
        ("/lines/0/quantity", json!(1_000_000)),
        ("/lines/0/unitPrice", json!(0)),
        ("/lines/0/unitPrice", json!(AMOUNT_MAX / 2)),
        ("/lines", json!(vec![line; 500])),
        ("/shippingCost", json!(AMOUNT_MAX - 3998)),
    ] {
        assert_eq!(faults(&with(path, Some(value.clone()))), [], "{path} = {value}");
    }
}

#[test]
fn one_wrong_field_is_named_with_its_code() {
    let long = |chars| json!("ß".repeat(chars));
    let line = &example()["lines"][0];
    for (path, value, code) in [
        ("/currency", json!("eur"), "format"),
        ("/currency", json!("XXX"), "format"),
        ("/currency", json!(978), "type"),
        ("/orderedAt", json!("2026-11-29"), "format"),
        ("/orderedAt", json!("2026-11-29T10:00:00"), "format"),
        ("/orderedAt", json!("2026-02-30T10:00:00Z"), "format"),
        ("/orderedAt", json!("9999-12-31T23:59:59-01:00"), "format"),
        ("/orderedAt", json!("1752-12-31T23:59:59Z"), "range"),
        ("/orderedAt", json!("0001-01-01T00:00:00Z"), "range"),
        ("/orderedAt", json!(1_796_000_000), "type"),
        ("/paymentId", json!(""), "format"),
        ("/paymentId", json!("pay 1"), "format"),
        ("/paymentId", json!("x".repeat(129)), "format"),
        ("/customer/gender", json!("Female"), "unknown_value"),
        ("/customer/gender", json!(""), "unknown_value"),
        ("/customer/firstName", long(51), "length"),
        ("/customer/firstName", json!(""), "length"),
        ("/customer/firstName", json!("  "), "length"),
        ("/customer/firstName", json!("Eva\u{202e}"), "characters"),
        ("/customer/lastName", long(51), "length"),
        ("/customer/lastName", json!("9999 4105 7058"), "format"),
        ("/customer/email", json!("eva"), "email"),
        ("/customer/email", json!(format!("{}@{}.de", "a".repeat(64), "b".repeat(13))), "length"),
        ("/customer/email", Value::Null, "type"),
        ("/customer/phone", json!("030 123456"), "format"),
        ("/customer/phone", json!("+4930"), "format"),
        ("/customer/phone", json!("+1234567890123456"), "format"),
        ("/customer/phone", json!(4_930_123_456_i64), "type"),
        ("/customer/fax", json!("1"), "unknown"),
        ("/billingAddress/line1", long(101), "length"),
        ("/billingAddress/line1", json!("12 MG\nRoad"), "characters"),
        ("/billingAddress/line2", long(51), "length"),
        ("/billingAddress/city", long(31), "length"),
        ("/billingAddress/postcode", long(11), "length"),
        ("/billingAddress/postcode", json!(10_115), "type"),
        ("/billingAddress/country", json!("de"), "country"),
        ("/billingAddress/country", json!("DEU"), "country"),
        ("/billingAddress/country", json!("ZZ"), "country"),
        ("/billingAddress/country", json!(""), "country"),
        ("/billingAddress", Value::Null, "type"),
        ("/shippingAddress/line1", long(101), "length"),
        ("/shippingAddress/city", json!(""), "length"),
        ("/shippingAddress/country", json!("UK"), "country"),
        ("/shippingAddress", json!("as billed"), "type"),
        ("/lines", json!([]), "length"),
        ("/lines", json!(vec![line; 501]), "length"),
        ("/lines/0/sku", json!("x".repeat(65)), "length"),
        ("/lines/0/name", long(101), "length"),
        ("/lines/0/name", json!(""), "length"),
        ("/lines/0/quantity", json!(0), "range"),
        ("/lines/0/quantity", json!(-1), "range"),
        ("/lines/0/quantity", json!(1_000_001), "range"),
        ("/lines/0/quantity", json!(1.5), "type"),
        ("/lines/0/unitPrice", json!(-1), "range"),
        ("/lines/0/unitPrice", json!(19.99), "type"),
        ("/lines/0/unitPrice", json!("1999"), "type"),
        ("/lines/0/unitPrice", json!(u64::MAX), "type"),
        ("/lines/0/lineAmount", json!(3998), "unknown"),
        ("/shippingCost", json!(-1), "range"),
        ("/shippingCost", json!(4.9), "type"),
        ("/total", json!(3998), "unknown"),
    ] {
        let (found, field) = (faults(&with(path, Some(value.clone()))), field_of(path));
        assert!(found.contains(&(field.clone(), code.into())), "{path} = {value}: {found:?}");
        assert!(found.iter().all(|(other, _)| *other == field), "{path} = {value} blames others too: {found:?}");
    }
}

#[test]
fn amounts_never_run_over() {
    for (quantity, unit_price, shipping, field) in [
        (2, AMOUNT_MAX / 2 + 1, 0, "lines"),
        (1, AMOUNT_MAX, 1, "lines"),
        (1_000_000, AMOUNT_MAX, 0, "lines"),
        (1_000_000, AMOUNT_MAX, AMOUNT_MAX, "lines"),
        (1, AMOUNT_MAX + 1, 0, "lines[0].unitPrice"),
        (1, i64::MAX, 0, "lines[0].unitPrice"),
        (i64::MAX, 1, 0, "lines[0].quantity"),
        (1, 1, i64::MAX, "shippingCost"),
    ] {
        let mut body = example();
        body["lines"][0]["quantity"] = json!(quantity);
        body["lines"][0]["unitPrice"] = json!(unit_price);
        body["shippingCost"] = json!(shipping);
        let code = if field == "lines" { "total" } else { "range" };
        assert_eq!(faults(&body), [(field.into(), code.into())], "{quantity} at {unit_price}, {shipping}");
    }
    let most = json!({ "sku": "A", "name": "B", "quantity": 1, "unitPrice": AMOUNT_MAX });
    assert_eq!(faults(&with("/lines", Some(json!(vec![most; 500])))), [("lines".into(), "total".into())]);
    let at_the_limit = sale(&with("/shippingCost", Some(json!(AMOUNT_MAX - 3998))));
    assert_eq!(at_the_limit.total_minor(), Some(AMOUNT_MAX));
}

#[test]
fn required_fields_are_required_and_the_rest_is_not() {
    let optional = ["/customer/gender", "/shippingAddress", "/shippingCost"];
    let mut paths: Vec<String> = Vec::new();
    for (name, value) in example().as_object().expect("an object") {
        paths.push(format!("/{name}"));
        let inner = if value.is_array() { (&value[0], "/0") } else { (value, "") };
        let names = inner.0.as_object().into_iter().flat_map(|fields| fields.keys());
        paths.extend(names.map(|field| format!("/{name}{}/{field}", inner.1)));
    }
    assert_eq!(paths.len(), 27, "{paths:?}");
    for path in paths {
        let is_optional = optional.contains(&&*path) || path.ends_with("/line2");
        let expected = if is_optional { vec![] } else { vec![(field_of(&path), "required".to_owned())] };
        assert_eq!(faults(&with(&path, None)), expected, "without {path}");
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let mut body = example();
    body["currency"] = json!("EURO");
    body["orderedAt"] = json!("yesterday");
    body["customer"]["firstName"] = json!("x".repeat(51));
    body["customer"]["phone"] = json!(7);
    body["customer"].as_object_mut().expect("an object").remove("lastName");
    body["billingAddress"]["country"] = json!("GER");
    body["shippingAddress"]["line3"] = json!("x");
    body["lines"][0]["quantity"] = json!("2");
    body["shippingCost"] = json!(-1);
    let named: Vec<String> = faults(&body).into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        named,
        [
            "billingAddress.country",
            "currency",
            "customer.firstName",
            "customer.lastName",
            "customer.phone",
            "lines[0].quantity",
            "orderedAt",
            "shippingAddress.line3",
            "shippingCost",
        ]
    );
}

#[test]
fn spellings_mean_what_they_spell_and_are_stored_in_their_normal_form() {
    let stored = sale(&example());
    for (path, value) in [
        ("/orderedAt", json!("2026-11-29T15:30:00+05:30")),
        ("/orderedAt", json!("2026-11-29T10:00:00.000Z")),
        ("/customer/email", json!("Eva@Example.COM")),
        ("/customer/phone", json!("0049 (0)30 123-456")),
        ("/customer/lastName", json!(" Muster\u{a0}")),
        ("/billingAddress/line1", json!("Hauptstraße 4/1 ")),
        ("/billingAddress/line2", json!(" ")),
        ("/shippingCost", Value::Null),
    ] {
        assert_eq!(sale(&with(path, Some(value.clone()))), stored, "{path} = {value}");
    }
    assert_eq!(stored.normalized(), stored);
    let typed =
        SaleCustomer { last_name: "Muster ".into(), email: "Eva@example.com".into(), ..stored.customer.clone() };
    let unlike = Sale { customer: typed, ..stored.clone() };
    assert_eq!(unlike.normalized(), stored, "what was stored before there was a normal form");
}
