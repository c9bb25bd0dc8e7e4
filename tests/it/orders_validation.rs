//! What a create or cancel request must be, one deviation at a time, through HTTP.

use serde_json::{Value, json};

use crate::support::{
    TestApp, User,
    drive::{changed, remove},
    orders::order,
};

/// Nothing that was refused has left a trace, and the id is still free.
async fn expect_untouched(app: &TestApp, user: &User) {
    for collection in ["orders", "jobs", "events"] {
        assert!(app.all_but_grants(collection).await.is_empty(), "{collection}");
    }
    app.create(user, "c-1").await.expect(201);
}

#[tokio::test]
async fn every_field_has_its_rule() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let long = |count: usize| json!("x".repeat(count));
    let item = json!({ "sku": "A", "name": "B", "quantity": 1, "unitPrice": 1 });
    let table: Vec<(&str, Value, &str)> = vec![
        ("/clientOrderId", json!(""), "clientOrderId:format"),
        ("/clientOrderId", long(129), "clientOrderId:format"),
        ("/clientOrderId", json!("a b"), "clientOrderId:format"),
        ("/clientOrderId", json!("a/b"), "clientOrderId:format"),
        ("/clientOrderId", json!("é"), "clientOrderId:format"),
        ("/clientOrderId", json!("c-1\n"), "clientOrderId:format"),
        ("/clientOrderId", json!(5), "clientOrderId:type"),
        ("/clientOrderId", Value::Null, "clientOrderId:type"),
        ("/provider", json!("dhl"), "provider:unknown_value"),
        ("/provider", json!("ParcelX"), "provider:unknown_value"),
        ("/userId", json!("usr_1"), "userId:unknown"),
        ("/status", json!("confirmed"), "status:unknown"),
        ("/shipment", Value::Null, "shipment:required"),
        ("/shipment", json!("parcel"), "shipment:type"),
        ("/shipment/insured", json!(true), "shipment.insured:unknown"),
        ("/shipment/awb", json!("1"), "shipment.awb:unknown"),
        ("/shipment/service", json!("rocket"), "shipment.service:unknown_value"),
        ("/shipment/paymentMode", json!("credit"), "shipment.paymentMode:unknown_value"),
        ("/shipment/paymentMode", Value::Null, "shipment.paymentMode:type"),
        ("/shipment/currency", json!("USD"), "shipment.currency:currency"),
        ("/shipment/currency", json!("inr"), "shipment.currency:currency"),
        ("/shipment/currency", json!(""), "shipment.currency:currency"),
        ("/shipment/codAmount", json!(1), "shipment.codAmount:cod"),
        ("/shipment/codAmount", json!(-1), "shipment.codAmount:range"),
        ("/shipment/codAmount", json!(1_000_000_001), "shipment.codAmount:range"),
        ("/shipment/codAmount", json!("0"), "shipment.codAmount:type"),
        ("/shipment/weightGrams", json!(0), "shipment.weightGrams:range"),
        ("/shipment/weightGrams", json!(-450), "shipment.weightGrams:range"),
        ("/shipment/weightGrams", json!(100_001), "shipment.weightGrams:range"),
        ("/shipment/weightGrams", json!(true), "shipment.weightGrams:type"),
        ("/shipment/dimensionsCm", Value::Null, "shipment.dimensionsCm:type"),
        ("/shipment/dimensionsCm/length", json!(0), "shipment.dimensionsCm.length:range"),
        ("/shipment/dimensionsCm/width", json!(301), "shipment.dimensionsCm.width:range"),
        ("/shipment/dimensionsCm/height", json!(4_294_967_297_i64), "shipment.dimensionsCm.height:type"),
        ("/shipment/dimensionsCm/depth", json!(1), "shipment.dimensionsCm.depth:unknown"),
        ("/shipment/consignee", json!([]), "shipment.consignee:type"),
        ("/shipment/consignee/name", json!(""), "shipment.consignee.name:length"),
        ("/shipment/consignee/name", json!("   "), "shipment.consignee.name:blank"),
        ("/shipment/consignee/name", long(121), "shipment.consignee.name:length"),
        ("/shipment/consignee/phone", json!("12345"), "shipment.consignee.phone:format"),
        ("/shipment/consignee/phone", json!("5876543210"), "shipment.consignee.phone:format"),
        ("/shipment/consignee/phone", json!("98765432100"), "shipment.consignee.phone:format"),
        ("/shipment/consignee/phone", json!("+449876543210"), "shipment.consignee.phone:format"),
        ("/shipment/consignee/phone", json!("९८७६५४३२१०"), "shipment.consignee.phone:format"),
        ("/shipment/consignee/phone", json!(9_876_543_210_i64), "shipment.consignee.phone:type"),
        ("/shipment/consignee/email", json!("nobody"), "shipment.consignee.email:email"),
        ("/shipment/consignee/email", json!(""), "shipment.consignee.email:email"),
        ("/shipment/consignee/line1", json!("ab"), "shipment.consignee.line1:length"),
        ("/shipment/consignee/line1", long(201), "shipment.consignee.line1:length"),
        ("/shipment/consignee/line2", long(201), "shipment.consignee.line2:length"),
        ("/shipment/consignee/city", json!(""), "shipment.consignee.city:length"),
        ("/shipment/consignee/state", long(81), "shipment.consignee.state:length"),
        ("/shipment/consignee/pincode", json!("056001"), "shipment.consignee.pincode:format"),
        ("/shipment/consignee/pincode", json!("56001"), "shipment.consignee.pincode:format"),
        ("/shipment/consignee/pincode", json!("56000a"), "shipment.consignee.pincode:format"),
        ("/shipment/consignee/pincode", json!(560_001), "shipment.consignee.pincode:type"),
        ("/shipment/consignee/country", json!("US"), "shipment.consignee.country:country"),
        ("/shipment/consignee/mobile", json!("1"), "shipment.consignee.mobile:unknown"),
        ("/shipment/pickup/pincode", json!("1"), "shipment.pickup.pincode:format"),
        ("/shipment/pickup/line1", json!(["Plot 7"]), "shipment.pickup.line1:type"),
        ("/shipment/items", json!([]), "shipment.items:length"),
        ("/shipment/items", json!(vec![item; 101]), "shipment.items:length"),
        ("/shipment/items", json!({ "0": {} }), "shipment.items:type"),
        ("/shipment/items", json!([null]), "shipment.items[0]:type"),
        ("/shipment/items/0/sku", json!(""), "shipment.items[0].sku:length"),
        ("/shipment/items/0/sku", long(65), "shipment.items[0].sku:length"),
        ("/shipment/items/0/name", json!(" "), "shipment.items[0].name:blank"),
        ("/shipment/items/0/quantity", json!(0), "shipment.items[0].quantity:range"),
        ("/shipment/items/0/quantity", json!(10_001), "shipment.items[0].quantity:range"),
        ("/shipment/items/0/unitPrice", json!(-1), "shipment.items[0].unitPrice:range"),
        ("/shipment/items/0/unitPrice", json!(1_000_000_001), "shipment.items[0].unitPrice:range"),
        ("/shipment/items/0/unitPrice", json!(1_000_000_000), "shipment.items:total"),
        ("/shipment/items/0/unitPrice", json!("49900"), "shipment.items[0].unitPrice:type"),
        ("/shipment/items/0/color", json!("red"), "shipment.items[0].color:unknown"),
    ];
    for (pointer, value, blamed) in table {
        let answer = app.post(&user, "/orders/create", &changed("c-1", pointer, value.clone())).await;
        assert_eq!(answer.code(), "request.invalid", "{pointer} {value}");
        assert!(answer.blamed().contains(&blamed.to_owned()), "{pointer} {value}: {:?}", answer.blamed());
    }
    expect_untouched(&app, &user).await;
    app.finish().await;
}

#[tokio::test]
async fn what_is_required_is_missed() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for pointer in [
        "/clientOrderId",
        "/shipment",
        "/shipment/paymentMode",
        "/shipment/weightGrams",
        "/shipment/dimensionsCm",
        "/shipment/dimensionsCm/height",
        "/shipment/consignee",
        "/shipment/consignee/name",
        "/shipment/consignee/phone",
        "/shipment/consignee/line1",
        "/shipment/consignee/pincode",
        "/shipment/pickup/state",
        "/shipment/items",
    ] {
        let mut body = order("c-1");
        remove(&mut body, pointer);
        let field = pointer.trim_start_matches('/').replace('/', ".");
        let answer = app.post(&user, "/orders/create", &body).await.expect(422);
        assert_eq!(answer.blamed(), [format!("{field}:required")]);
    }
    let mut body = order("c-1");
    remove(&mut body, "/shipment/items/0/quantity");
    assert_eq!(
        app.post(&user, "/orders/create", &body).await.expect(422).blamed(),
        ["shipment.items[0].quantity:required"]
    );
    expect_untouched(&app, &user).await;
    app.finish().await;
}

#[tokio::test]
async fn control_characters_are_refused_in_every_text() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let mut fields = vec!["/clientOrderId".to_owned(), "/provider".to_owned(), "/shipment/currency".to_owned()];
    for party in ["consignee", "pickup"] {
        for field in ["name", "phone", "email", "line1", "line2", "city", "state", "pincode", "country"] {
            fields.push(format!("/shipment/{party}/{field}"));
        }
    }
    fields.push("/shipment/items/0/sku".into());
    fields.push("/shipment/items/0/name".into());
    for pointer in &fields {
        let field = pointer.trim_start_matches('/').replace("/0", "[0]").replace('/', ".");
        let plain = order("c-1").pointer(pointer).and_then(Value::as_str).unwrap_or("a@example.com").to_owned();
        for control in ['\0', '\u{7}', '\n', '\u{1b}', '\u{7f}', '\u{85}'] {
            let body = changed("c-1", pointer, json!(format!("{plain}{control}")));
            let answer = app.post(&user, "/orders/create", &body).await.expect(422);
            let blamed = answer.blamed();
            assert!(
                blamed.iter().any(|blamed| blamed.starts_with(&format!("{field}:"))),
                "{field} {control:?}: {blamed:?}"
            );
        }
    }
    expect_untouched(&app, &user).await;
    app.finish().await;
}

#[tokio::test]
async fn whole_numbers_are_spelled_as_whole_numbers() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let (invalid, unreadable) = (422, 400);
    for (spelling, status) in [
        ("450.0", invalid),
        ("450.5", invalid),
        ("4.5e2", invalid),
        ("45E1", invalid),
        ("\"450\"", invalid),
        ("9223372036854775808", invalid),
        ("-9223372036854775809", invalid),
        ("123456789012345678901234567890", invalid),
        ("[450]", invalid),
        ("null", invalid),
        ("1e400", unreadable),
        ("0450", unreadable),
        ("+450", unreadable),
        ("0x1c2", unreadable),
        (".5", unreadable),
        ("NaN", unreadable),
        ("Infinity", unreadable),
    ] {
        let body = order("c-1").to_string().replace("\"weightGrams\":450", &format!("\"weightGrams\":{spelling}"));
        assert!(body.contains(spelling));
        let answer = app.post_text(&user, "/orders/create", body).await.expect(status);
        if status == invalid {
            assert_eq!(answer.blamed(), ["shipment.weightGrams:type"], "{spelling}");
        } else {
            assert_eq!(answer.code(), "request.not_json", "{spelling}");
        }
    }
    expect_untouched(&app, &user).await;
    app.finish().await;
}

#[tokio::test]
async fn cash_on_delivery_and_totals_add_up() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let with = |mode: &str, cod: Option<i64>, items: Value| {
        let mut body = changed("c-1", "/shipment/paymentMode", json!(mode));
        match cod {
            Some(cod) => body["shipment"]["codAmount"] = json!(cod),
            None => remove(&mut body, "/shipment/codAmount"),
        }
        body["shipment"]["items"] = items;
        body
    };
    let items = |quantity: i64, unit_price: i64, count: usize| {
        json!(vec![json!({ "sku": "A", "name": "B", "quantity": quantity, "unitPrice": unit_price }); count])
    };
    let one = items(1, 100, 1);
    for (body, blamed) in [
        (with("cod", Some(0), one.clone()), "shipment.codAmount:cod"),
        (with("cod", None, one.clone()), "shipment.codAmount:cod"),
        (with("prepaid", Some(100), one.clone()), "shipment.codAmount:cod"),
        (with("prepaid", None, items(10_000, 1_000_000_000, 100)), "shipment.items:total"),
        (with("prepaid", None, items(1, 10_000_001, 100)), "shipment.items:total"),
        (with("cod", Some(1), items(2, 500_000_001, 1)), "shipment.items:total"),
    ] {
        assert_eq!(app.post(&user, "/orders/create", &body).await.expect(422).blamed(), [blamed], "{body}");
    }
    // The largest that is allowed, and the least.
    let mut largest = with("cod", Some(1_000_000_000), items(1, 10_000_000, 100));
    largest["clientOrderId"] = json!("A".repeat(128));
    app.post(&user, "/orders/create", &largest).await.expect(201);
    let mut free = with("prepaid", None, items(1, 0, 1));
    free["clientOrderId"] = json!(".");
    app.post(&user, "/orders/create", &free).await.expect(201);
    app.run_jobs().await;
    assert_eq!(app.carrier.books().await["shipments"], 2);
    app.finish().await;
}

#[tokio::test]
async fn several_faults_are_named_together() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let mut body = changed("c-1", "/shipment/weightGrams", json!(0));
    body["shipment"]["consignee"]["pincode"] = json!("1");
    body["shipment"]["items"][0]["quantity"] = json!(0);
    body["clientOrderId"] = json!("a b");
    let answer = app.post(&user, "/orders/create", &body).await.expect(422);
    assert_eq!(
        answer.blamed(),
        [
            "clientOrderId:format",
            "shipment.consignee.pincode:format",
            "shipment.items[0].quantity:range",
            "shipment.weightGrams:range"
        ]
    );
    app.finish().await;
}

/// The price comes from the pincodes: no state makes it another one.
#[tokio::test]
async fn an_address_fits_its_pincode() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let mut body = changed("c-1", "/shipment/consignee/pincode", json!("781001"));
    body["shipment"]["pickup"]["state"] = json!("Dehli");
    let answer = app.post(&user, "/orders/create", &body).await.expect(422);
    assert_eq!(answer.blamed(), ["shipment.consignee.state:pincode_differs", "shipment.pickup.state:pincode_differs"]);
    let told = |at: usize| answer.body["errors"][at]["message"].as_str().unwrap_or_default().to_owned();
    assert!(told(0).contains("Assam") && told(1).contains("did you mean Delhi?"), "{} {}", told(0), told(1));
    body["shipment"]["consignee"]["pincode"] = json!("540001");
    let nowhere = app.post(&user, "/orders/create", &body).await.expect(422);
    assert!(nowhere.blamed().contains(&"shipment.consignee.pincode:no_place".to_owned()), "{:?}", nowhere.blamed());
    expect_untouched(&app, &user).await;
    for (number, spelling) in ["J&K", "Jammu & Kashmir", "ladakh"].into_iter().enumerate() {
        let mut far = order(&format!("far-{number}"));
        far["shipment"]["consignee"]["pincode"] = json!("194101");
        far["shipment"]["consignee"]["state"] = json!(spelling);
        let placed = app.post(&user, "/orders/create", &far).await.expect(201);
        assert_eq!(placed.body["charge"]["amount"], 7_500, "{spelling}");
    }
    app.finish().await;
}

#[tokio::test]
async fn letters_of_the_world_arrive_as_they_are() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let name = "आशा राव 🚚 O'Neil \"A\" \\ <b>";
    let body = changed("c-1", "/shipment/consignee/name", json!(name));
    let order_id =
        app.post(&user, "/orders/create", &body).await.expect(201).body["orderId"].as_str().unwrap().to_owned();
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["shipment"]["consignee"]["name"], name);
    assert_eq!(app.carrier.order(&order_id).await["lastBody"]["consignee_name"], name);
    app.finish().await;
}

#[tokio::test]
async fn a_cancel_request_has_its_rules_too() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    app.created(&user, "c-1").await;
    for (body, blamed) in [
        (json!({}), "clientOrderId:required"),
        (json!({ "clientOrderId": null }), "clientOrderId:type"),
        (json!({ "clientOrderId": "" }), "clientOrderId:format"),
        (json!({ "clientOrderId": "a b" }), "clientOrderId:format"),
        (json!({ "clientOrderId": "c-1\u{0}" }), "clientOrderId:format"),
        (json!({ "clientOrderId": "c-1", "reason": 5 }), "reason:type"),
        (json!({ "clientOrderId": "c-1", "reason": "x".repeat(301) }), "reason:length"),
        (json!({ "clientOrderId": "c-1", "reason": "a\u{0}b" }), "reason:characters"),
        (json!({ "clientOrderId": "c-1", "orderId": "ord_1" }), "orderId:unknown"),
    ] {
        assert_eq!(app.post(&user, "/orders/cancel", &body).await.expect(422).blamed(), [blamed], "{body}");
    }
    let reason = "é".repeat(300);
    let answer =
        app.post(&user, "/orders/cancel", &json!({ "clientOrderId": "c-1", "reason": reason })).await.expect(202);
    assert_eq!(answer.body["cancellation"]["reason"], reason);
    app.finish().await;
}

#[tokio::test]
async fn an_object_is_an_object_and_a_variant_is_text() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for (pointer, value, field) in [
        ("/provider", json!({ "parcelx": null }), "provider"),
        ("/provider", json!(["parcelx"]), "provider"),
        ("/provider", json!(5), "provider"),
        ("/shipment/paymentMode", json!({ "prepaid": null }), "shipment.paymentMode"),
        ("/shipment/paymentMode", json!(true), "shipment.paymentMode"),
        ("/shipment/service", json!(0), "shipment.service"),
        ("/shipment/dimensionsCm", json!([20, 15, 8]), "shipment.dimensionsCm"),
        ("/shipment/items/0", json!(["TS-BLK-M", "T-shirt", 2, 49900]), "shipment.items[0]"),
        (
            "/shipment/pickup",
            json!(["Kiran Stores", "9812345678", null, "Plot 7", null, "New Delhi", "Delhi", "110020", "IN"]),
            "shipment.pickup",
        ),
    ] {
        let answer = app.post(&user, "/orders/create", &changed("c-1", pointer, value.clone())).await;
        assert_eq!(answer.expect(422).blamed(), [format!("{field}:type")], "{value}");
    }
    expect_untouched(&app, &user).await;
    app.finish().await;
}
