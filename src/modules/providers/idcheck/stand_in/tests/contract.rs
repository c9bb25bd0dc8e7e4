//! Calls that the stand-in accepts.

use super::*;

/// A change to a good body, null taking the field away, and what it is refused with; 200 is not.
async fn sent_with(what: &str, field: &str, value: &Value, status: u16, code: &str) {
    let stand = IdCheck::new();
    let sent = changed(body(what, 1), &json!({field: value}));
    let answer = stand.verify(what, &sent).await;
    assert_eq!(answer.status(), status, "{what} {field} {value}");
    let answer = read(answer).await;
    let totals = stand.books().await;
    if status == 200 {
        assert_eq!(totals["violations"], json!([]), "{what} {field} {value}");
        return;
    }
    assert_eq!(answer["error"]["code"], code, "{what} {field} {value}");
    assert!(answer["error"]["message"].as_str().unwrap().starts_with(field), "{what} {field} {value}");
    assert_eq!(totals["violations"].as_array().unwrap().len(), 1, "{what} {field} {value}");
    let named = if field == "reference" { Value::Null } else { json!(reference(1)) };
    let deviation = &totals["violations"][0];
    assert_eq!((&deviation["field"], &deviation["reference"]), (&json!(field), &named), "{what} {value}");
    assert_eq!(totals["deposits"]["done"], 0, "{what} {field} {value}");
    if field != "reference" {
        let check = stand.check(1).await;
        assert_eq!((&check["calls"], &check["done"]), (&json!(1), &json!(false)), "{what} {field} {value}");
    }
}

#[tokio::test]
async fn what_every_call_has_is_checked() {
    for what in [PANS, GSTINS, DROPS] {
        sent_with(what, "name", &json!("आशा राव"), 200, "").await;
        for (field, value) in [
            ("reference", Value::Null),
            ("reference", json!(7)),
            ("reference", json!("chk_1")),
            ("reference", json!(format!("chk_{}", "g".repeat(32)))),
            ("reference", json!(format!("top_{}", "0".repeat(32)))),
            ("reference", json!(format!("chk_{}", "0".repeat(33)))),
            ("name", Value::Null),
            ("name", json!(" ")),
            ("name", json!(["Asha Rao"])),
            ("consent", json!("Y")),
        ] {
            sent_with(what, field, &value, 400, "invalid_request").await;
        }
    }
}

#[tokio::test]
async fn identifiers_are_checked_by_their_spelling() {
    for (what, field, code, good, wrong) in [
        (PANS, "pan", "invalid_pan", ["ZZZPZ0000Z", PAN], ["ABCPE1234", "abcpe1234f", "ABCPE12345"]),
        (GSTINS, "gstin", "invalid_gstin", ["07ABCPE1234FAZA", GSTIN], ["", "27ABCPE1234F1X5", "27ABCPE1234F1Z"]),
        (DROPS, "ifsc", "invalid_ifsc", ["SBIN0ABC123", "HDFC0000001"], ["HDFC1000001", "HDFC000001", "hdfc0000001"]),
        (
            DROPS,
            "account_number",
            "invalid_account",
            ["000000001", "123456789012345678"],
            ["12345678", "1234567890123456789", "12345678X"],
        ),
    ] {
        for value in good {
            sent_with(what, field, &json!(value), 200, "").await;
        }
        for value in wrong {
            sent_with(what, field, &json!(value), 422, code).await;
        }
        for value in [Value::Null, json!(123_456_789_012_u64), json!({})] {
            sent_with(what, field, &value, 400, "invalid_request").await;
        }
    }
}

#[tokio::test]
async fn an_unreadable_call_is_told_so_before_its_identifier() {
    let stand = IdCheck::new();
    let mut sent = body(DROPS, 1);
    sent["ifsc"] = json!("?");
    sent["account_number"] = json!(5);
    let refused = stand.verify(DROPS, &sent).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(read(refused).await["error"]["code"], "invalid_request");
    assert_eq!(stand.books().await["violations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn calls_that_cannot_be_read_are_recorded() {
    let stand = IdCheck::new();
    for (path, body) in [(PANS, None), (GSTINS, Some(json!([]))), (DROPS, Some(json!("text")))] {
        let refused = stand.call("POST", &format!("/v1/{path}"), body.as_ref()).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    let totals = stand.books().await;
    let deviations = totals["violations"].as_array().unwrap().iter();
    let seen: Vec<_> =
        deviations.map(|it| (it["operation"].as_str().unwrap(), it["field"].as_str().unwrap())).collect();
    assert_eq!(seen, [("pan", "content-type"), ("gstin", "body"), ("penny_drop", "body")]);
    assert_eq!(totals["references"], 0);
}
