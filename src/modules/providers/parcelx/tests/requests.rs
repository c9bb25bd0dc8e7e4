//! Requests to ParcelX, and their stored parts.

use super::*;
use crate::{
    modules::providers::{Detail, ParcelDimensions, Party, PaymentMode, Service, Shipment, ShipmentItem},
    platform::exchange::Prepared,
};

/// `base64("access:hush-hush")`.
const TOKEN: &str = "YWNjZXNzOmh1c2gtaHVzaA==";

/// Written from the contract, by hand.
const CREATE_BODY: &str = r#"{
    "client_order_id": "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "pregenerated_awb": "", "invoice_number": "c-1001",
    "consignee_name": "Asha Rao", "consignee_emailid": "asha@example.com", "consignee_mobile": "9876543210",
    "consignee_phone": "", "consignee_address1": "12 MG Road", "consignee_address2": "Near Metro",
    "consignee_pincode": "560001", "consignee_city": "Bengaluru", "consignee_state": "Karnataka",
    "pickup_name": "Kiran Stores", "pickup_mobile": "9812345678", "pickup_address1": "Plot 7", "pickup_address2": "",
    "pickup_pincode": "110020", "pickup_city": "New Delhi", "pickup_state": "Delhi",
    "express_type": "surface", "address_type": "Home", "payment_mode": "Prepaid",
    "cod_amount": "0", "order_amount": "998.05", "tax_amount": "0.00", "extra_charges": "0.00",
    "b2b": false, "mps": "0", "courier_type": 0, "courier_code": "",
    "shipment_length": ["20"], "shipment_width": ["15"], "shipment_height": ["8"], "shipment_weight": ["0.45"],
    "products": [
        {"product_sku": "TS-BLK-M", "product_name": "T-shirt", "product_value": "499.00", "product_hsnsac": "",
         "product_taxper": 0, "product_category": "", "product_quantity": "2", "product_description": ""},
        {"product_sku": "CAP-01", "product_name": "Cap", "product_value": "0.05", "product_hsnsac": "",
         "product_taxper": 0, "product_category": "", "product_quantity": "1", "product_description": ""}
    ]
}"#;

fn shipment() -> Shipment {
    Shipment {
        service: Service::Surface,
        payment_mode: PaymentMode::Prepaid,
        currency: "INR".into(),
        cod_amount: 0,
        weight_grams: 450,
        dimensions_cm: ParcelDimensions { length: 20, width: 15, height: 8 },
        consignee: Party {
            name: "Asha Rao".into(),
            phone: "9876543210".into(),
            email: Some("asha@example.com".into()),
            line1: "12 MG Road".into(),
            line2: Some("Near Metro".into()),
            city: "Bengaluru".into(),
            state: "Karnataka".into(),
            pincode: "560001".into(),
            country: "IN".into(),
        },
        pickup: Party {
            name: "Kiran Stores".into(),
            phone: "9812345678".into(),
            email: None,
            line1: "Plot 7".into(),
            line2: None,
            city: "New Delhi".into(),
            state: "Delhi".into(),
            pincode: "110020".into(),
            country: "IN".into(),
        },
        items: vec![
            ShipmentItem { sku: "TS-BLK-M".into(), name: "T-shirt".into(), quantity: 2, unit_price: 49900 },
            ShipmentItem { sku: "CAP-01".into(), name: "Cap".into(), quantity: 1, unit_price: 5 },
        ],
    }
}

fn create_of(shipment: &Shipment) -> Outbound {
    let detail = &Detail::Shipment(shipment.clone());
    let order = OrderToPlace { order_id: ORDER_ID, client_order_id: "c-1001", detail };
    adapter().create_request(&order).expect("a shipment")
}

fn create_body(shipment: &Shipment) -> Value {
    create_of(shipment).body.expect("a create has a body")
}

fn cancel_of(awb: &str) -> Outbound {
    let order = PlacedOrder { reference: Some(awb), ..PlacedOrder::default() };
    adapter().cancel_request(&order).expect("a shipment with a number")
}

#[test]
fn a_create_is_written_as_the_contract_wants_it() {
    let outbound = create_of(&shipment());
    assert_eq!(outbound.method, Method::POST);
    assert_eq!(outbound.url, "https://carrier.example/api/v3/order/create_order");
    let expected: Value = serde_json::from_str(CREATE_BODY).expect("JSON");
    assert_eq!(outbound.body, Some(expected));
}

#[test]
fn words_of_ours_become_words_of_theirs() {
    let cod = Shipment { payment_mode: PaymentMode::Cod, cod_amount: 99, service: Service::Air, ..shipment() };
    let body = create_body(&cod);
    assert_eq!(
        [&body["payment_mode"], &body["cod_amount"], &body["express_type"]],
        [&json!("Cod"), &json!("0.99"), &json!("air")]
    );
}

#[test]
fn amounts_are_rupees_with_two_decimals() {
    for (minor, rupees) in [
        (0, "0.00"),
        (1, "0.01"),
        (10, "0.10"),
        (99, "0.99"),
        (100, "1.00"),
        (49_900, "499.00"),
        (1_000_000_000, "10000000.00"),
        (9_007_199_254_740_993, "90071992547409.93"),
        (i64::MAX, "92233720368547758.07"),
    ] {
        let items = vec![ShipmentItem { sku: "S".into(), name: "N".into(), quantity: 1, unit_price: minor }];
        let body = create_body(&Shipment { items, ..shipment() });
        assert_eq!(body["products"][0]["product_value"], rupees, "{minor}");
        assert_eq!(body["order_amount"], rupees, "{minor}");
    }
}

#[test]
fn weights_are_kilograms_as_text() {
    for (grams, kilograms) in [
        (1, "0.001"),
        (450, "0.45"),
        (500, "0.5"),
        (999, "0.999"),
        (1000, "1"),
        (1050, "1.05"),
        (10_000, "10"),
        (100_000, "100"),
    ] {
        let body = create_body(&Shipment { weight_grams: grams, ..shipment() });
        assert_eq!(body["shipment_weight"], json!([kilograms]), "{grams}");
    }
}

#[test]
fn cancels_and_look_ups_carry_a_reference_and_nothing_else() {
    let cancel = cancel_of("PX0001");
    assert_eq!(
        (cancel.method, &*cancel.url, cancel.body),
        (Method::POST, "https://carrier.example/api/v3/order/cancel_order", Some(json!({ "awb": "PX0001" })))
    );
    let look_up = adapter().look_up_request(ORDER_ID);
    let url = format!("https://carrier.example/api/v3/track_order?channel_order_no={ORDER_ID}");
    assert_eq!((look_up.method, &look_up.url, look_up.body), (Method::GET, &url, None));
}

#[test]
fn every_call_says_whose_and_what_it_is() {
    let calls = [create_of(&shipment()), cancel_of("PX0001"), adapter().look_up_request(ORDER_ID)];
    assert_eq!(calls.each_ref().map(|call| call.provider), ["parcelx"; 3]);
    assert_eq!(calls.map(|call| call.operation), ["create_order", "cancel_order", "look_up_order"]);
}

#[test]
fn the_access_token_is_both_keys_and_can_not_be_printed() {
    let keys = |names: &[&str]| -> AccountSecrets {
        let keys = [(ACCESS_KEY, "access"), (SECRET_KEY, "hush-hush")].into_iter();
        keys.filter(|(name, _)| names.contains(name)).map(|(name, key)| (name, key.to_owned().into())).collect()
    };
    assert!(adapter().sign(&keys(&[ACCESS_KEY])).is_none());
    let secrets = keys(&[ACCESS_KEY, SECRET_KEY]);
    let credentials = adapter().sign(&secrets).expect("credentials");
    let [(name, value)] = &credentials[..] else { panic!("one header: {credentials:?}") };
    assert_eq!((name.as_str(), value.to_str().expect("text")), ("access-token", TOKEN));
    assert!(value.is_sensitive());
    assert_eq!(adapter().credential_headers(), [name.as_str()]);
    let printed = format!("{:?} {credentials:?} {secrets:?}", adapter());
    for secret in [TOKEN, "hush-hush"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn no_record_holds_a_person_or_a_credential() {
    let shipment = shipment();
    let outbound = create_of(&shipment);
    let sent = outbound.body.as_ref().expect("a body").to_string();
    let record = Prepared::new(outbound, adapter().credential_headers()).record;
    let stored = format!("{record:?}");
    let mut personal = vec!["T-shirt"];
    for party in [&shipment.consignee, &shipment.pickup] {
        personal.extend([&*party.name, &*party.phone, &*party.line1]);
        personal.extend(party.email.as_deref().into_iter().chain(party.line2.as_deref()));
    }
    assert_eq!(personal.len(), 9, "each part of each party is looked for");
    for text in personal {
        assert!(sent.contains(text), "{text} is not sent at all");
        assert!(!stored.contains(text), "{text} is stored: {stored}");
    }
    for call in [create_of(&shipment), cancel_of("PX0001"), adapter().look_up_request(ORDER_ID)] {
        let record = Prepared::new(call, adapter().credential_headers()).record;
        assert_eq!(record.headers.get_str("access-token").ok(), Some("[credential]"));
        assert!(!format!("{record:?}").contains(TOKEN), "{record:?}");
    }
}

#[test]
fn a_record_keeps_what_is_needed_to_find_and_explain_a_call() {
    let record = Prepared::new(create_of(&shipment()), adapter().credential_headers()).record;
    let body = record.body.as_document().expect("a document");
    assert_eq!((&*record.method, &*record.url), ("POST", "https://carrier.example/api/v3/order/create_order"));
    for (field, kept) in [
        ("client_order_id", ORDER_ID),
        ("invoice_number", "c-1001"),
        ("consignee_pincode", "560001"),
        ("order_amount", "998.05"),
        ("consignee_name", "[string 8]"),
        ("consignee_mobile", "[string 10]"),
        ("consignee_emailid", "[string 16]"),
    ] {
        assert_eq!(body.get_str(field).ok(), Some(kept), "{field}");
    }
    let cancel = Prepared::new(cancel_of("PX0001"), &[]).record;
    assert_eq!(cancel.body.as_document().expect("a document").get_str("awb").ok(), Some("PX0001"));
    let look_up = Prepared::new(adapter().look_up_request(ORDER_ID), &[]).record;
    assert!(look_up.url.ends_with(ORDER_ID), "{}", look_up.url);
    assert_eq!(look_up.body, bson::Bson::Null);
}

#[test]
fn a_person_in_an_answer_is_not_stored_either() {
    let answer = json!({
        "status": true, "awb_number": "PX0001", "consignee_name": "Asha Rao",
        "data": { "awb_number": "PX0001", "lable_data": { "to": "12 MG Road" }, "consignee": ["9876543210"] },
    });
    for (operation, redaction) in DECLARATION.operations {
        let stored = redaction.response_body(&answer).to_string();
        for text in ["Asha Rao", "12 MG Road", "9876543210"] {
            assert!(!stored.contains(text), "{operation:?}: {stored}");
        }
        assert_eq!(stored.matches("PX0001").count(), 2, "{operation:?}: {stored}");
    }
}
