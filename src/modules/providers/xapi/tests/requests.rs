//! Requests to X-API, and their stored parts.

use bson::DateTime;

use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::{
    modules::providers::{Detail, Gender, Sale, SaleAddress, SaleCustomer, SaleLine},
    platform::{exchange::Prepared, money::Currency},
};

/// Written from the contract, by hand.
const CREATE_BODY: &str = r#"{
    "externalDocumentNumber": "0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "orderDate": "2026-11-29T10:00:00.000Z",
    "currencyCode": "EUR",
    "customer": {"salutation": "FRAU", "firstName": "Eva", "lastName": "Muster", "email": "eva@example.com",
        "phone": "+4930123456"},
    "billingAddress": {"address": "Hauptstraße 4/1", "address2": "", "city": "Berlin", "postCode": "10115",
        "countryCode": "DE"},
    "shippingAddress": {"address": "Am Hof 2", "address2": "links", "city": "Wien", "postCode": "1010",
        "countryCode": "AT"},
    "lines": [
        {"lineNo": 10000, "itemNo": "A-1", "description": "Buch", "quantity": 2, "unitPrice": 1999, "lineAmount": 3998},
        {"lineNo": 20000, "itemNo": "A-2", "description": "Heft", "quantity": 3, "unitPrice": 5, "lineAmount": 15}
    ],
    "shippingCost": 490, "totalAmount": 4503, "paymentReference": "pay_1"
}"#;

fn sale() -> Sale {
    let address = |line1: &str, line2: Option<&str>, city: &str, postcode: &str, country: &str| SaleAddress {
        line1: line1.into(),
        line2: line2.map(Into::into),
        city: city.into(),
        postcode: postcode.into(),
        country: country.into(),
    };
    let line = |sku: &str, name: &str, quantity, unit_price| SaleLine {
        sku: sku.into(),
        name: name.into(),
        quantity,
        unit_price,
    };
    Sale {
        currency: Currency::from_code("EUR").expect("a currency"),
        ordered_at: DateTime::parse_rfc3339_str("2026-11-29T10:00:00Z").expect("a time"),
        payment_id: "pay_1".into(),
        customer: SaleCustomer {
            gender: Some(Gender::Female),
            first_name: "Eva".into(),
            last_name: "Muster".into(),
            email: "eva@example.com".into(),
            phone: "+4930123456".into(),
        },
        billing_address: address("Hauptstraße 4/1", None, "Berlin", "10115", "DE"),
        shipping_address: Some(address("Am Hof 2", Some("links"), "Wien", "1010", "AT")),
        lines: vec![line("A-1", "Buch", 2, 1999), line("A-2", "Heft", 3, 5)],
        shipping_cost: 490,
    }
}

fn create_of(sale: Sale) -> Outbound {
    let detail = Detail::Sale(sale);
    let order = OrderToPlace { order_id: ORDER_ID, client_order_id: "s-1", detail: &detail };
    adapter().create_request(&order).expect("a sale is what it takes")
}

fn create_body(sale: Sale) -> Value {
    create_of(sale).body.expect("a create has a body")
}

fn account(username: &str, password: &str) -> AccountSecrets {
    [("username", username), ("password", password)].map(|(name, secret)| (name, secret.into())).into_iter().collect()
}

#[test]
fn a_create_is_written_as_the_contract_wants_it() {
    let outbound = create_of(sale());
    assert_eq!((outbound.method, &*outbound.url), (Method::POST, "https://erp.example/api/orders"));
    assert_eq!(outbound.body, Some(serde_json::from_str(CREATE_BODY).expect("JSON")));
}

#[test]
fn words_of_ours_become_words_of_theirs() {
    for (gender, salutation) in [
        (Some(Gender::Male), "HERR"),
        (Some(Gender::Female), "FRAU"),
        (Some(Gender::Other), "K_ANGABE"),
        (None, "K_ANGABE"),
    ] {
        let customer = SaleCustomer { gender, ..sale().customer };
        assert_eq!(create_body(Sale { customer, ..sale() })["customer"]["salutation"], salutation, "{gender:?}");
    }
    for (at_ms, date) in [
        (1_796_000_000_042, "2026-11-30T00:53:20.042Z"),
        (-6_847_804_800_000, "1753-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ] {
        let body = create_body(Sale { ordered_at: DateTime::from_millis(at_ms), ..sale() });
        assert_eq!(body["orderDate"], date);
    }
}

#[test]
fn without_an_address_of_its_own_it_goes_where_the_bill_goes() {
    let body = create_body(Sale { shipping_address: None, ..sale() });
    assert_eq!(body["shippingAddress"], body["billingAddress"]);
    assert_eq!(body["shippingAddress"]["address2"], "", "no second line is an empty one");
}

#[test]
fn lines_are_numbered_far_apart() {
    let lines = vec![sale().lines.remove(0); 500];
    let body = create_body(Sale { lines, ..sale() });
    let numbers: Vec<_> = body["lines"].as_array().expect("lines").iter().map(|line| line["lineNo"].as_i64()).collect();
    assert_eq!((numbers[0], numbers[1], numbers[499]), (Some(10_000), Some(20_000), Some(5_000_000)));
    assert_eq!(body["totalAmount"], 500 * 3998 + 490);
}

#[test]
fn our_number_has_room_there_and_is_nobody_elses() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1_000 {
        let order_id = crate::platform::ids::new_id("ord");
        let number = wire::document_number(&order_id);
        assert!(number.len() <= 35 && number.bytes().all(|b| b.is_ascii_alphanumeric()), "{number}");
        assert!(order_id.ends_with(number), "people find the order by it");
        assert!(seen.insert(number.to_uppercase()), "{number} without regard to case");
    }
}

#[test]
fn a_look_up_asks_for_our_number_and_nothing_else() {
    let look_up = adapter().look_up_request(ORDER_ID);
    let url = format!("https://erp.example/api/orders?externalDocumentNumber={NUMBER}");
    assert_eq!((look_up.method, &look_up.url, look_up.body), (Method::GET, &url, None));
    assert_eq!((look_up.provider, look_up.operation), ("xapi", "look_up_order"));
    let create = create_of(sale());
    assert_eq!((create.provider, create.operation), ("xapi", "create_order"));
}

#[test]
fn five_attempts_lie_1_3_9_and_27_seconds_apart() {
    let policy = DECLARATION.queue_policy;
    let backoff = policy.backoff.expect("a schedule of its own");
    let seconds = |jitter| [1, 2, 3, 4].map(|failures| backoff.delay(failures, jitter).as_secs_f64());
    assert_eq!((policy.max_attempts, seconds(1.0)), (Some(5), [1.0, 3.0, 9.0, 27.0]));
    assert_eq!(seconds(0.0), [0.5, 1.5, 4.5, 13.5], "half of it at least");
    assert!(DECLARATION.call_deadline < policy.timeout, "an attempt outlasts its call");
}

#[test]
fn credentials_are_those_of_http_basic_and_can_not_be_printed() {
    let credentials = adapter().sign(&account("shop", "hush-hush: Ü")).expect("credentials");
    let [(name, value)] = &credentials[..] else { panic!("one header: {credentials:?}") };
    let token = base64::Engine::encode(&STANDARD, "shop:hush-hush: Ü");
    assert_eq!((name.as_str(), value.to_str().expect("text")), ("authorization", &*format!("Basic {token}")));
    assert_eq!(adapter().credential_headers(), [name.as_str()]);
    assert!(value.is_sensitive() && !format!("{credentials:?}").contains(&token));
    assert!(adapter().sign(&account("shop:1", "secret")).is_none(), "the name would end at the colon");
    assert!(adapter().sign(&AccountSecrets::default()).is_none());
}

#[test]
fn no_record_holds_a_person() {
    let sent = create_body(sale()).to_string();
    let stored = format!("{:?}", Prepared::new(create_of(sale()), adapter().credential_headers()).record);
    for text in ["Eva", "Muster", "eva@example.com", "+4930123456", "FRAU", "Hauptstraße", "Am Hof 2", "links", "Buch"]
    {
        assert!(sent.contains(text), "{text} is not sent at all");
        assert!(!stored.contains(text), "{text} is stored: {stored}");
    }
}

#[test]
fn a_record_keeps_what_is_needed_to_find_and_explain_a_call() {
    let record = Prepared::new(create_of(sale()), adapter().credential_headers()).record;
    let body = record.body.as_document().expect("a document");
    for (field, kept) in [
        ("externalDocumentNumber", NUMBER),
        ("orderDate", "2026-11-29T10:00:00.000Z"),
        ("currencyCode", "EUR"),
        ("paymentReference", "pay_1"),
    ] {
        assert_eq!(body.get_str(field).ok(), Some(kept), "{field}");
    }
    assert_eq!(body.get_i64("totalAmount").ok(), Some(4503));
    let line = body.get_array("lines").expect("lines")[1].as_document().expect("a line");
    assert_eq!((line.get_i64("lineAmount").ok(), line.get_str("itemNo").ok()), (Some(15), Some("A-2")));
    assert_eq!(record.headers.get_str("authorization").ok(), Some("[credential]"));
    let look_up = Prepared::new(adapter().look_up_request(ORDER_ID), &[]).record;
    assert!(look_up.url.ends_with(NUMBER), "{}", look_up.url);
}

#[test]
fn an_answer_keeps_what_names_the_order_and_no_person() {
    let answer = json!({
        "orderNo": "SO-000123", "externalDocumentNumber": NUMBER, "status": "Open", "customer": { "lastName": "Muster" },
        "value": [{ "orderNo": "SO-000123", "status": "Released", "sellToCustomerName": "Eva Muster" }],
        "error": { "code": "BadRequest_InvalidItem", "message": "Item A-1 is blocked." },
    });
    for (operation, redaction) in DECLARATION.operations {
        let stored = redaction.response_body(&answer).to_string();
        assert!(!stored.contains("Muster"), "{operation:?}: {stored}");
        for text in ["SO-000123", NUMBER, "Open", "Released", "BadRequest_InvalidItem", "Item A-1 is blocked."] {
            assert!(stored.contains(text), "{operation:?} without {text}: {stored}");
        }
    }
}
