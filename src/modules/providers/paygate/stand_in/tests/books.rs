//! PayGate and the books about them.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::*;

#[tokio::test]
async fn a_reference_is_one_payment_however_often_it_is_sent() {
    let stand = PayGate::new();
    let created = stand.create("top_1").await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let created = read(created).await;
    let id = created["paymentId"].as_str().unwrap();
    assert_eq!(
        created,
        json!({
            "paymentId": id, "reference": "top_1", "status": "created", "amount": 50_000, "currency": "INR",
            "paymentUrl": format!("http://stand.test:4900/paygate/pay/{id}"),
            "expiresAt": "2999-01-01T00:00:00.000Z",
        })
    );
    let again = stand.create("top_1").await;
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(read(again).await, created);
    let found = stand.look_up("top_1").await;
    assert_eq!(found.status(), StatusCode::OK);
    assert_eq!(read(found).await, created);
    assert_ne!(read(stand.create("top_2").await).await["paymentId"], created["paymentId"]);

    let entry = stand.get("/_books/payments/top_1").await;
    assert_eq!(
        entry,
        json!({
            "reference": "top_1", "createCalls": 2, "lookUpCalls": 1, "callbacks": [], "refunds": [],
            "payment": {"paymentId": id, "status": "created", "amount": 50_000, "currency": "INR"},
            "lastBody": create_body("top_1"),
        })
    );
    assert_eq!(stand.get("/_books/payments").await[0], entry);
    let by_operation = json!({"create": 3, "look_up": 1, "refund": 0, "look_up_refund": 0});
    let totals = json!({"calls": 4, "callsByOperation": by_operation, "unauthorized": 0, "payments": 2,
        "paid": 0, "failed": 0, "refunded": 0, "callbacksSent": 0, "callbacksAccepted": 0, "violations": []});
    assert_eq!(stand.books().await, totals);

    stand.call("DELETE", "/_books", None).await;
    assert_eq!(stand.books().await["payments"], 0);
    assert_eq!(stand.look_up("top_1").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn another_amount_under_a_reference_is_a_conflict() {
    for (field, other) in [("amount", json!(50_001)), ("currency", json!("USD"))] {
        let stand = PayGate::new();
        stand.create("top_1").await;
        let mut body = create_body("top_1");
        body[field] = other;
        let refused = stand.call("POST", "/v1/payments", Some(&body)).await;
        assert_eq!(refused.status(), StatusCode::CONFLICT, "{field}");
        assert_eq!(read(refused).await["error"]["code"], "reference_conflict", "{field}");
        let payment = &stand.get("/_books/payments/top_1").await["payment"];
        assert_eq!((&payment["amount"], &payment["currency"]), (&json!(50_000), &json!("INR")));
        assert_eq!(stand.books().await["violations"], json!([]));
    }
}

#[tokio::test]
async fn absence_is_said_clearly() {
    let stand = PayGate::new();
    let absent = stand.look_up("top_none").await;
    assert_eq!(absent.status(), StatusCode::NOT_FOUND);
    assert_eq!(read(absent).await["error"]["code"], "payment_not_found");
    for path in ["/_books/payments/top_none", "/v1/disputes", "/pay/pay_none"] {
        assert_eq!(stand.call("GET", path, None).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let unknown = stand.control("payments/top_none", &json!({"do": "pay"})).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_paid_payment_goes_back_once() {
    let stand = PayGate::new();
    let payment_id = read(stand.create("top_1").await).await["paymentId"].clone();
    let body = json!({"reference": "rfd_1", "paymentId": payment_id, "amount": 50_000, "currency": "INR"});
    let refund = async |change: Value| {
        let answer = stand.call("POST", "/v1/refunds", Some(&changed(body.clone(), &change))).await;
        (answer.status().as_u16(), read(answer).await)
    };
    let code = |(status, body): (u16, Value)| (status, body["error"]["code"].as_str().unwrap_or_default().to_owned());
    assert_eq!(code(refund(json!({})).await), (422, "not_paid".into()));
    assert_eq!(stand.call("GET", "/v1/refunds?reference=rfd_1", None).await.status(), 404, "refused, so not there");
    stand.change(json!({"do": "pay", "deliver": false})).await;
    let (status, refunded) = refund(json!({})).await;
    assert_eq!((status, &refunded["status"], &refunded["amount"]), (201, &json!("refunded"), &json!(50_000)));
    assert_eq!(refund(json!({})).await, (200, refunded.clone()));
    assert_eq!(read(stand.call("GET", "/v1/refunds?reference=rfd_1", None).await).await, refunded);
    assert_eq!(code(refund(json!({"reference": "rfd_2"})).await), (422, "already_refunded".into()));
    assert_eq!(code(refund(json!({"amount": 1})).await), (409, "reference_conflict".into()));
    assert_eq!(code(refund(json!({"paymentId": "pay_none"})).await), (404, "payment_not_found".into()));
    assert_eq!(refund(json!({"reason": "x"})).await.0, 400);
    let totals = stand.books().await;
    assert_eq!((&totals["refunded"], totals["violations"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(stand.get("/_books/payments/top_1").await["refunds"][0]["calls"], 2);

    // What the payer's bank does not take may be tried again, as another refund.
    let payment_id = read(stand.create("top_2").await).await["paymentId"].clone();
    stand.control("payments/top_2", &json!({"do": "pay", "deliver": false})).await;
    stand.rule(json!({"operation": "refund", "mode": "refund_failed", "times": 1})).await;
    let second = json!({"reference": "rfd_3", "paymentId": payment_id});
    assert_eq!(refund(second.clone()).await.1["status"], "failed");
    assert_eq!(refund(second.clone()).await.1["status"], "failed", "it stays so");
    assert_eq!(refund(changed(second, &json!({"reference": "rfd_4"}))).await.1["status"], "refunded");
    assert_eq!(stand.books().await["refunded"], 2);
}

#[tokio::test]
async fn what_happens_to_a_payment_shows_everywhere() {
    let stand = PayGate::new();
    stand.create("top_1").await;
    for (deed, status, paid, failed) in [
        ("fail", "failed", 0, 1),
        ("expire", "expired", 0, 0),
        ("pay", "paid", 1, 0),
        // Once paid it stays paid.
        ("fail", "paid", 1, 0),
        ("expire", "paid", 1, 0),
    ] {
        let told = stand.change(json!({"do": deed, "deliver": false})).await;
        assert_eq!(told, json!({"eventId": null, "answers": []}), "{deed}");
        assert_eq!(read(stand.look_up("top_1").await).await["status"], status, "{deed}");
        assert_eq!(read(stand.create("top_1").await).await["status"], status, "{deed}");
        let totals = stand.books().await;
        assert_eq!((&totals["paid"], &totals["failed"]), (&json!(paid), &json!(failed)), "{deed}");
    }
    assert_eq!(stand.books().await["callbacksSent"], 0);
}

#[tokio::test]
async fn time_runs_out() {
    let stand = PayGate::new();
    let soon = OffsetDateTime::now_utc() + Duration::from_secs(1);
    let mut body = create_body("top_1");
    body["expiresAt"] = json!(soon.format(&Rfc3339).unwrap());
    assert_eq!(stand.call("POST", "/v1/payments", Some(&body)).await.status(), StatusCode::CREATED);
    let status = || async { read(stand.look_up("top_1").await).await["status"].clone() };
    for _ in 0..500 {
        if status().await == "expired" {
            // The same start again finds it, however late.
            assert_eq!(stand.call("POST", "/v1/payments", Some(&body)).await.status(), StatusCode::OK);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never expired");
}
