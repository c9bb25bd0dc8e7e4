//! Faults on request, each of them.

use super::*;

#[tokio::test]
async fn every_mode_of_a_create_does_what_it_says() {
    // mode, HTTP status, payments in the books, a word in the answer
    let cases = [
        ("refuse", 422, 0, r#""code":"invalid_data""#),
        ("refuse_400", 400, 0, r#""code":"invalid_request""#),
        ("conflict", 409, 0, r#""code":"reference_conflict""#),
        ("not_found", 404, 0, r#""code":"payment_not_found""#),
        ("wrong_reference", 201, 1, r#""reference":"top_of-somebody-else""#),
        ("wrong_amount", 201, 1, r#""amount":50001,"#),
        ("fractional_amount", 201, 1, r#""amount":50000.5,"#),
        ("unknown_status", 201, 1, r#""status":"under_review""#),
        ("no_page", 201, 1, r#""paymentUrl":null"#),
    ];
    for (mode, http, payments, word) in cases {
        let stand = PayGate::new();
        stand.rule(json!({"operation": "create", "mode": mode, "times": 1})).await;
        let (status, body) = seen(stand.create("top_1").await).await;
        assert_eq!(status, http, "{mode}");
        assert!(body.contains(word), "{mode}: {body}");
        assert_eq!(stand.books().await["payments"], payments, "{mode}");
        assert_eq!(stand.get("/_books/payments/top_1").await["createCalls"], 1, "{mode}");
        // The rule is used up, and there is still at most one payment.
        let again = read(stand.create("top_1").await).await;
        assert_eq!((&again["reference"], &again["amount"]), (&json!("top_1"), &json!(50_000)), "{mode}");
        assert_eq!(stand.books().await["payments"], 1, "{mode}");
    }
}

#[tokio::test]
async fn every_mode_of_a_look_up_does_what_it_says() {
    for (mode, http, word) in [
        ("refuse", 422, r#""code":"invalid_data""#),
        ("not_found", 404, r#""code":"payment_not_found""#),
        ("wrong_reference", 200, r#""reference":"top_of-somebody-else""#),
        ("wrong_amount", 200, r#""amount":50001,"#),
        ("unknown_status", 200, r#""status":"under_review""#),
    ] {
        let stand = PayGate::new();
        stand.create("top_1").await;
        stand.rule(json!({"operation": "look_up", "mode": mode, "times": 1})).await;
        let (status, body) = seen(stand.look_up("top_1").await).await;
        assert_eq!(status, http, "{mode}");
        assert!(body.contains(word), "{mode}: {body}");
        assert_eq!(stand.look_up("top_1").await.status(), 200, "{mode}: the rule is used up");
    }
}

#[tokio::test]
async fn a_payment_can_be_paid_and_called_back_before_its_answer() {
    for (mode, answered) in [("callback_before_answer", "paid"), ("callback_before_stale_answer", "created")] {
        let stand = PayGate::new();
        let receiver = Receiver::start(&[]).await;
        stand.call_back(&receiver).await;
        stand.rule(json!({"operation": "create", "mode": mode, "times": 1})).await;
        let answer = stand.create("top_1").await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{mode}");
        let arrived = receiver.arrived();
        assert_eq!(arrived.len(), 1, "{mode}: called back before the answer is here");
        assert_eq!(arrived[0].json()["type"], "payment.paid", "{mode}");
        let answer = read(answer).await;
        assert_eq!(answer["status"], answered, "{mode}");
        assert_eq!(arrived[0].json()["payment"]["paymentId"], answer["paymentId"], "{mode}");
        assert_eq!(read(stand.look_up("top_1").await).await["status"], "paid", "{mode}");
    }
}

#[tokio::test]
async fn rules_match_by_operation_reference_and_amount() {
    let stand = PayGate::new();
    stand.rule(json!({"operation": "create", "amount": 50_000, "mode": "500", "times": 2})).await;
    stand.rule(json!({"operation": "look_up", "amount": 50_000, "mode": "html", "times": 1})).await;
    stand.rule(json!({"reference": "top_2", "mode": "403"})).await;
    let mut other = create_body("top_3");
    other["amount"] = json!(7);
    assert_eq!(stand.call("POST", "/v1/payments", Some(&other)).await.status(), 201);
    assert_eq!(stand.look_up("top_3").await.status(), 200);
    for status in [500, 500, 201] {
        assert_eq!(stand.create("top_1").await.status(), status);
    }
    // A look-up has the amount of the create before it.
    assert_eq!(stand.look_up("top_1").await.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(stand.look_up("top_1").await.status(), 200);
    assert_eq!(stand.create("top_2").await.status(), 403);
    assert_eq!(stand.look_up("top_2").await.status(), 403);
}
