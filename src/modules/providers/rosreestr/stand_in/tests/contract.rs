//! Calls that the stand-in accepts.

use super::*;

#[tokio::test]
async fn accounts_are_refused_in_the_words_of_the_contract() {
    let stand = Rosreestr::new();
    let expected = json!({"expected": ["one:secret", "two:other"]});
    assert_eq!(stand.control("credentials", &expected).await.status(), StatusCode::NO_CONTENT);
    for (user, password, status) in
        [("one", "secret", 404), ("two", "other", 404), ("two", "secret", 401), ("", "x", 401)]
    {
        let caller = Rosreestr(stand.with_credentials(Some(basic(user, password))));
        let answer = caller.poll("1").await;
        assert_eq!(answer.status(), status, "{user}");
        assert!(read(answer).await["message"].is_string(), "{user}");
    }
    assert_eq!(stand.books().await["unauthorized"], 2);
}

#[tokio::test]
async fn deviations_from_the_contract_are_refused_and_recorded() {
    let options = |kind: &str, number: &str| json!({"type": kind, "cadastralNumber": number});
    let cases = [
        ("options", options("info", "01:02:12345:1"), None),
        ("options", options("ownership", "50:33:1234567:0098325"), None),
        ("requestId", Value::Null, Some("requestId")),
        ("requestId", json!(" "), Some("requestId")),
        ("requestId", json!(7), Some("requestId")),
        ("options", Value::Null, Some("options")),
        ("options", json!([]), Some("options")),
        ("options", options("full", NUMBER), Some("options.type")),
        ("options", options("base", "50:33:1234:1"), Some("options.cadastralNumber")),
        ("options", options("base", "50:33:12345678:1"), Some("options.cadastralNumber")),
        ("options", options("base", "50:33:123456:"), Some("options.cadastralNumber")),
        ("options", options("base", "5:33:123456:1"), Some("options.cadastralNumber")),
        ("options", options("base", "50:33:123456"), Some("options.cadastralNumber")),
        ("options", options("base", " 50:33:123456:1"), Some("options.cadastralNumber")),
        ("options", options("base", "٥٠:33:123456:1"), Some("options.cadastralNumber")),
        ("options", json!({"type": "base", "cadastralNumber": 5}), Some("options.cadastralNumber")),
        ("comment", json!("x"), Some("comment")),
    ];
    for (field, value, wrong) in cases {
        let stand = Rosreestr::new();
        let body = crate::testing::changed(request("x-1"), &json!({field: value}));
        let answer = stand.post("/v1/docflows/object_request", &body).await;
        assert_eq!(answer.status(), if wrong.is_some() { 400 } else { 202 }, "{field} {value}");
        assert_eq!(stand.violations("field").await, Vec::from_iter(wrong), "{field} {value}");
        assert_eq!(stand.books().await["docflows"], u8::from(wrong.is_none()), "{field} {value}");
    }
}

#[tokio::test]
async fn calls_that_cannot_be_read_are_recorded() {
    let stand = Rosreestr::new();
    assert_eq!(stand.call("POST", "/v1/docflows/object_request", None).await.status(), 400);
    for query in ["", "?requestId=", "?id=1", "?requestId=a&requestId=b"] {
        assert_eq!(stand.call("GET", &format!("/v1/docflows{query}"), None).await.status(), 400, "{query}");
    }
    assert_eq!(stand.violations("operation").await, ["place", "look_up", "look_up", "look_up", "look_up"]);
}
