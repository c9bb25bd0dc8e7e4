//! Calls that the stand-in accepts.

use super::*;

#[tokio::test]
async fn a_token_is_that_of_a_bearer() {
    let stand = PayGate::new();
    for (token, status) in [("Bearer ", 401), ("dev", 401), ("Bearer other", 401), ("Bearer dev", 404)] {
        let caller = stand.with_credentials(Some(("authorization", token.to_owned())));
        assert_eq!(caller.call("GET", "/v1/payments?reference=top_1", None).await.status(), status, "{token}");
    }
}

#[tokio::test]
async fn deviations_from_the_contract_are_refused_and_recorded() {
    // A change to a good body, null taking the field away, and whether the books must complain about it.
    let cases = [
        ("description", json!(""), false),
        ("description", json!("x".repeat(250)), false),
        ("expiresAt", json!("2999-01-01T05:30:00+05:30"), false),
        ("currency", json!("JPY"), false),
        ("reference", Value::Null, true),
        ("reference", json!(""), true),
        ("reference", json!(5), true),
        ("reference", json!("x".repeat(65)), true),
        ("amount", Value::Null, true),
        ("amount", json!(0), true),
        ("amount", json!(-1), true),
        ("amount", json!(500.5), true),
        ("amount", json!(500.0), true),
        ("amount", json!("500"), true),
        ("amount", json!(u64::MAX), true),
        ("currency", Value::Null, true),
        ("currency", json!("inr"), true),
        ("currency", json!("RUPEE"), true),
        ("description", Value::Null, true),
        ("description", json!(["x"]), true),
        ("description", json!("x".repeat(251)), true),
        ("expiresAt", Value::Null, true),
        ("expiresAt", json!(1_767_225_600), true),
        ("expiresAt", json!("2999-01-01"), true),
        ("customerEmail", json!("asha@example.com"), true),
    ];
    for (field, value, wrong) in cases {
        let stand = PayGate::new();
        let body = changed(create_body("top_1"), &json!({field: value}));
        let answer = stand.call("POST", "/v1/payments", Some(&body)).await;
        assert_eq!(answer.status(), if wrong { 400 } else { 201 }, "{field} {value}");
        let answer = read(answer).await;
        let totals = stand.books().await;
        assert_eq!(totals["payments"], u8::from(!wrong), "{field} {value}");
        let violations = totals["violations"].as_array().unwrap();
        let fields: Vec<_> = violations.iter().map(|violation| violation["field"].as_str().unwrap()).collect();
        let expected: &[&str] = if wrong { &[field] } else { &[] };
        assert_eq!(fields, expected, "{field} {value}");
        if wrong {
            assert_eq!(answer["error"]["code"], "invalid_request", "{field} {value}");
            assert!(answer["error"]["message"].as_str().unwrap().contains(field), "{field} {value}");
            let named = if field == "reference" { Value::Null } else { json!("top_1") };
            assert_eq!(violations[0]["reference"], named, "{field} {value}");
        }
    }
}

#[tokio::test]
async fn what_the_gateway_does_not_want_is_refused_but_no_deviation() {
    for (field, value, code) in [
        ("currency", "XYZ", "unsupported_currency"),
        ("currency", "CHF", "unsupported_currency"),
        ("expiresAt", "2020-01-01T00:00:00Z", "expires_in_past"),
    ] {
        let stand = PayGate::new();
        let mut body = create_body("top_1");
        body[field] = json!(value);
        let refused = stand.call("POST", "/v1/payments", Some(&body)).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{value}");
        assert_eq!(read(refused).await["error"]["code"], code, "{value}");
        let totals = stand.books().await;
        assert_eq!((&totals["payments"], &totals["violations"]), (&json!(0), &json!([])), "{value}");
        assert_eq!(stand.get("/_books/payments/top_1").await["createCalls"], 1, "{value}");
    }
}

#[tokio::test]
async fn calls_that_cannot_be_read_are_recorded() {
    let stand = PayGate::new();
    assert_eq!(stand.call("POST", "/v1/payments", None).await.status(), 400);
    assert_eq!(stand.call("POST", "/v1/payments", Some(&json!([]))).await.status(), 400);
    for query in ["", "?reference=", "?id=1", "?reference=a&reference=b", "?reference=a&amount=1"] {
        let refused = stand.call("GET", &format!("/v1/payments{query}"), None).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    let totals = stand.books().await;
    let violations = totals["violations"].as_array().unwrap().iter();
    let operations: Vec<_> = violations.map(|violation| violation["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["create", "create", "look_up", "look_up", "look_up", "look_up", "look_up"]);
}
