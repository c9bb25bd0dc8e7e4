//! Verifications and the books about them.

use super::*;

#[tokio::test]
async fn everything_is_good_and_on_record_under_the_name_sent() {
    let stand = IdCheck::new();
    assert_eq!(
        read(stand.usual(PANS, 1).await).await,
        json!({"reference": reference(1), "status": "valid", "registered_name": "ASHA RAO"})
    );
    assert_eq!(
        read(stand.usual(GSTINS, 2).await).await,
        json!({"reference": reference(2), "status": "active", "legal_name": "ASHA RAO", "trade_name": "ASHA RAO"})
    );
    let dropped = read(stand.usual(DROPS, 3).await).await;
    let utr = dropped["utr"].as_str().unwrap();
    assert_eq!(
        dropped,
        json!({
            "reference": reference(3), "account_exists": true, "name_at_bank": "ASHA RAO", "utr": utr,
            "amount_deposited": 1.0, "message": "Verified",
        })
    );
    assert_ne!(read(stand.usual(DROPS, 4).await).await["utr"], utr);
}

#[tokio::test]
async fn a_reference_is_one_verification_however_often_it_is_sent() {
    let stand = IdCheck::new();
    for (number, what) in [(1, PANS), (2, GSTINS), (3, DROPS)] {
        let first = read(stand.usual(what, number).await).await;
        // What would be found now does not matter any more.
        stand.rule(json!({"mode": "invalid", "times": 1})).await;
        assert_eq!(read(stand.usual(what, number).await).await, first, "{what}");
        assert_eq!(read(stand.usual(what, number).await).await, first, "{what}");
        let check = stand.check(number).await;
        assert_eq!((&check["calls"], &check["result"]), (&json!(3), &first), "{what}");
    }
    assert_eq!(
        stand.books().await,
        json!({
            "calls": 9, "callsByOperation": {"pan": 3, "gstin": 3, "penny_drop": 3}, "unauthorized": 0,
            "references": 3, "conflicts": 0, "deposits": {"done": 1, "repeated": []}, "violations": [],
        })
    );
    stand.call("DELETE", "/_books", None).await;
    assert_eq!(stand.books().await["references"], 0);
    assert_eq!(stand.get("/_books/checks").await, json!([]));
}

#[tokio::test]
async fn many_at_once_under_a_reference_are_one_deposit() {
    let stand = IdCheck::new();
    stand.rule(json!({"mode": "ok", "latencyMs": 20})).await;
    let answers = futures_util::future::join_all((0..20).map(|_| stand.usual(DROPS, 1))).await;
    let mut utrs = Vec::new();
    for answer in answers {
        utrs.push(read(answer).await["utr"].clone());
    }
    utrs.dedup();
    assert_eq!(utrs.len(), 1);
    assert_eq!(stand.deposits().await, json!({"done": 1, "repeated": []}));
    assert_eq!(stand.check(1).await["calls"], 20);
}

#[tokio::test]
async fn other_content_under_a_reference_is_a_conflict() {
    for (what, field, other) in [
        (PANS, "pan", "ABCPE1234G"),
        (PANS, "name", "ASHA RAO"),
        (GSTINS, "gstin", "27ABCPE1234F2Z5"),
        (GSTINS, "name", "Asha R"),
        (DROPS, "account_number", "001234567891"),
        (DROPS, "ifsc", "HDFC0001235"),
        (DROPS, "name", "Asha R"),
    ] {
        let stand = IdCheck::new();
        stand.usual(what, 1).await;
        let before = stand.check(1).await;
        let mut sent = body(what, 1);
        sent[field] = json!(other);
        let refused = stand.verify(what, &sent).await;
        assert_eq!(refused.status(), StatusCode::CONFLICT, "{what} {field}");
        assert_eq!(read(refused).await["error"]["code"], "reference_conflict", "{what} {field}");
        let after = stand.check(1).await;
        assert_eq!((&after["result"], &after["identifier"]), (&before["result"], &before["identifier"]));
        let totals = stand.books().await;
        assert_eq!((&totals["conflicts"], &totals["violations"]), (&json!(1), &json!([])), "{what} {field}");
        assert_eq!(totals["deposits"]["done"], u8::from(what == DROPS), "{what} {field}");
    }
}

#[tokio::test]
async fn another_operation_under_a_reference_is_a_conflict() {
    let stand = IdCheck::new();
    stand.usual(PANS, 1).await;
    assert_eq!(stand.usual(DROPS, 1).await.status(), StatusCode::CONFLICT);
    let check = stand.check(1).await;
    assert_eq!((&check["operation"], &check["calls"]), (&json!("pan"), &json!(2)));
    assert_eq!(stand.deposits().await["done"], 0);
}

#[tokio::test]
async fn what_could_not_be_done_is_not_remembered() {
    for mode in ["bank_offline", "npci_unavailable", "500", "drop", "unprocessable"] {
        let stand = IdCheck::with_rule(json!({"operation": "penny_drop", "mode": mode, "times": 1})).await;
        stand.usual(DROPS, 1).await;
        let check = stand.check(1).await;
        assert_eq!((&check["done"], &check["result"]), (&json!(false), &Value::Null), "{mode}");
        // Nothing is bound to the reference yet.
        let mut sent = body(DROPS, 1);
        sent["name"] = json!("Asha R");
        let later = read(stand.verify(DROPS, &sent).await).await;
        assert_eq!((&later["account_exists"], &later["name_at_bank"]), (&json!(true), &json!("ASHA R")), "{mode}");
        assert_eq!(stand.deposits().await, json!({"done": 1, "repeated": []}), "{mode}");
    }
}

#[tokio::test]
async fn the_books_say_what_became_of_a_reference() {
    let stand = IdCheck::new();
    let result = read(stand.usual(DROPS, 1).await).await;
    stand.rule(json!({"mode": "500"})).await;
    stand.usual(PANS, 2).await;
    let done = json!({
        "reference": reference(1), "operation": "penny_drop", "identifier": "****7890", "calls": 1, "done": true,
        "deposits": 1, "result": result,
    });
    let not_done = json!({
        "reference": reference(2), "operation": "pan", "identifier": "****234F", "calls": 1, "done": false,
        "deposits": 0, "result": null,
    });
    assert_eq!(stand.check(1).await, done);
    assert_eq!(stand.get("/_books/checks").await, json!([done, not_done]));
}

#[tokio::test]
async fn the_books_show_no_identifier_in_full() {
    let stand = IdCheck::new();
    for (number, (what, field, wrong)) in
        [(PANS, "pan", "abcpe1234f"), (GSTINS, "gstin", "27ABCPE1234F1X5"), (DROPS, "account_number", "0012345")]
            .into_iter()
            .enumerate()
    {
        let number = u8::try_from(number).unwrap();
        stand.usual(what, number).await;
        stand.rule(json!({"mode": "echo_pan", "times": 1})).await;
        stand.usual(what, number).await;
        let mut sent = body(what, number + 10);
        sent[field] = json!(wrong);
        let refused = text(stand.verify(what, &sent).await).await;
        assert!(!refused.contains(wrong), "{refused}");
    }
    let mut shown = String::new();
    for path in ["/_books", "/_books/checks", "/_control/rules"] {
        shown += &stand.get(path).await.to_string();
    }
    for hidden in [PAN, "abcpe1234f", "27ABC", ACCOUNT, "0012345"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
}
