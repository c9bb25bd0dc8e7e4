//! Calls that the stand-in accepts.

use super::*;

#[tokio::test]
async fn an_account_is_that_of_http_basic() {
    let stand = XApi::new();
    let (header, right) = basic("shop", "secret");
    for (credentials, status) in [
        ("secret", 401),
        ("Basic !", 401),
        ("Bearer c2hvcDpzZWNyZXQ=", 401),
        (&basic("", "secret").1, 401),
        (&basic("shop", "").1, 401),
        (&right, 200),
    ] {
        let caller = XApi(stand.with_credentials(Some((header, credentials.to_owned()))));
        let answer = caller.look_up("S-1").await;
        assert_eq!(answer.status(), status, "{credentials}");
        if status == 401 {
            assert_eq!(read(answer).await["error"]["code"], "Authentication_InvalidCredentials");
        }
    }
}

/// The usual order with another value at a path, null taking the field away.
fn order_with(path: &str, value: &Value) -> Value {
    let mut order = order("S-1");
    let (parent, field) = path.rsplit_once('/').unwrap();
    let parent = order.pointer_mut(parent).unwrap();
    match value {
        Value::Null => drop(parent.as_object_mut().unwrap().remove(field)),
        value => parent[field] = value.clone(),
    }
    order
}

#[tokio::test]
async fn deviations_from_the_contract_are_refused_and_recorded() {
    let long = |chars| json!("ß".repeat(chars));
    let line = &order("S-1")["lines"][0];
    // Where, a value that is right, and values that are wrong.
    for (path, right, wrong) in [
        ("/externalDocumentNumber", long(35), vec![Value::Null, json!(""), json!(5), long(36)]),
        (
            "/orderDate",
            json!("2026-02-28T23:59:59.999Z"),
            vec![
                Value::Null,
                json!("2026-11-29"),
                json!("2026-11-29T10:00:00Z"),
                json!("2026-11-29T10:00:00.000000Z"),
                json!("2026-11-29 10:00:00.000Z"),
                json!("2026-02-30T10:00:00.000Z"),
                json!("2026-11-29T10:00:00+01:00"),
            ],
        ),
        ("/currencyCode", json!("CHF"), vec![Value::Null, json!("eur"), json!("EURO")]),
        ("/customer/salutation", json!("K_ANGABE"), vec![Value::Null, json!("Frau"), json!("")]),
        ("/customer/firstName", long(50), vec![long(51), json!(" ")]),
        ("/customer/lastName", long(50), vec![long(51), Value::Null]),
        (
            "/customer/email",
            json!(format!("{}@b", "a".repeat(78))),
            vec![json!(format!("{}@b", "a".repeat(79))), json!("a")],
        ),
        ("/customer/phone", json!(""), vec![long(31), json!(4930), Value::Null]),
        ("/billingAddress/address", long(100), vec![long(101), json!("")]),
        ("/billingAddress/address2", long(50), vec![long(51), Value::Null]),
        ("/shippingAddress/city", long(30), vec![long(31)]),
        ("/shippingAddress/postCode", long(20), vec![long(21), json!(10_115)]),
        ("/shippingAddress/countryCode", long(10), vec![long(11)]),
        ("/shippingAddress", order("S-1")["billingAddress"].clone(), vec![Value::Null, json!("same")]),
        ("/lines/0/description", long(100), vec![long(101)]),
        ("/lines/0/lineNo", json!(10_000), vec![json!(1), json!(10_000.0), json!("10000"), json!(20_000)]),
        ("/lines/1/lineNo", json!(20_000), vec![json!(10_000), json!(20_001), json!(30_000)]),
        ("/lines/0/quantity", json!(2), vec![json!(0), json!(2.5), json!("2")]),
        ("/lines/0/unitPrice", json!(1999), vec![json!(19.99), json!("1999"), json!(-1)]),
        ("/lines/0/lineAmount", json!(3998), vec![json!(3999), json!(39.98)]),
        ("/lines", json!([line, order("S-1")["lines"][1]]), vec![Value::Null, json!([]), json!([5])]),
        ("/totalAmount", json!(4488), vec![json!(44.88), json!(4487), json!("4488")]),
        ("/shippingCost", json!(490), vec![Value::Null, json!(4.9), json!(-1)]),
        ("/paymentReference", json!(""), vec![Value::Null, json!(1)]),
    ] {
        let stand = XApi::new();
        assert_eq!(stand.post("/api/orders", &order_with(path, &right)).await.status(), 201, "{path}");
        for value in wrong {
            let stand = XApi::new();
            let refused = stand.post("/api/orders", &order_with(path, &value)).await;
            assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{path} {value}");
            assert_eq!(read(refused).await["error"]["code"], "BadRequest_InvalidRequest", "{path} {value}");
            let fields = stand.violations("field").await;
            let name = path.rsplit_once('/').unwrap().1;
            assert!(fields.len() == 1 && fields[0].contains(name), "{path} {value}: {fields:?}");
            assert_eq!(stand.books().await["orders"], 0, "{path} {value}");
        }
    }
}

#[tokio::test]
async fn fields_of_nobody_are_named_with_their_path() {
    let stand = XApi::new();
    for path in ["/tip", "/customer/gender", "/billingAddress/line1", "/lines/1/sku"] {
        stand.post("/api/orders", &order_with(path, &json!("x"))).await;
    }
    assert_eq!(stand.violations("field").await, ["tip", "customer.gender", "billingAddress.line1", "lines[1].sku"]);
    assert_eq!(stand.violations("reference").await, ["S-1"; 4]);
}

#[tokio::test]
async fn calls_that_cannot_be_read_are_recorded() {
    let stand = XApi::new();
    assert_eq!(stand.call("POST", "/api/orders", None).await.status(), 400);
    assert_eq!(stand.post("/api/orders", &json!([])).await.status(), 400);
    let number = "externalDocumentNumber";
    for query in ["", &format!("?{number}="), "?orderNo=1", &format!("?{number}=a&{number}=b")] {
        assert_eq!(stand.call("GET", &format!("/api/orders{query}"), None).await.status(), 400, "{query}");
    }
    let operations = ["create", "create", "look_up", "look_up", "look_up", "look_up"];
    assert_eq!(stand.violations("operation").await, operations);
}
