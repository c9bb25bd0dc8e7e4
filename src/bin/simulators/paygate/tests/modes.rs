//! Faults on request, each of them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::server::HangUp;

/// Enough for a call in memory; a mode that hangs does not get done in it.
const PATIENCE: Duration = Duration::from_millis(200);

/// The status, 0 where the connection is closed instead, and the body.
async fn seen(response: Response) -> (u16, String) {
    let hung_up = response.extensions().get::<HangUp>().is_some();
    let status = if hung_up { 0 } else { response.status().as_u16() };
    (status, String::from_utf8(bytes(response).await).unwrap())
}

#[tokio::test]
async fn every_mode_of_a_create_does_what_it_says() {
    // mode, HTTP status (0: hung up), payments in the books, a word in the answer
    let cases = [
        ("ok", 201, 1, r#""status":"created""#),
        ("refuse", 422, 0, r#""code":"invalid_data""#),
        ("refuse_400", 400, 0, r#""code":"invalid_request""#),
        ("html", 200, 0, "<!doctype html>"),
        ("garbage", 200, 0, "<!doctype html>"),
        ("html_502", 502, 0, "502 Bad Gateway"),
        ("truncated", 201, 1, "{\"amount\""),
        ("429", 429, 0, r#""code":"too_many_requests""#),
        ("500", 500, 0, r#""code":"internal_error""#),
        ("500_after_work", 500, 1, r#""code":"internal_error""#),
        ("401", 401, 0, r#""code":"invalid_token""#),
        ("403", 403, 0, r#""code":"account_suspended""#),
        ("drop", 0, 0, ""),
        ("drop_after_work", 0, 1, ""),
        ("conflict", 409, 0, r#""code":"reference_conflict""#),
        ("not_found", 404, 0, r#""code":"payment_not_found""#),
        ("wrong_reference", 201, 1, r#""reference":"top_of-somebody-else""#),
        ("wrong_amount", 201, 1, r#""amount":50001,"#),
        ("fractional_amount", 201, 1, r#""amount":50000.5,"#),
        ("unknown_status", 201, 1, r#""status":"under_review""#),
        ("no_page", 201, 1, r#""paymentUrl":null"#),
        ("huge", 201, 1, r#""padding":"xxxx"#),
    ];
    for (mode, http, payments, word) in cases {
        let stand = Stand::new();
        stand.rule(json!({"operation": "create", "mode": mode, "times": 1})).await;
        let (status, body) = seen(stand.create("top_1").await).await;
        assert_eq!(status, http, "{mode}");
        assert!(body.contains(word), "{mode}: {body}");
        assert_eq!(body.len() > 2 * 1024 * 1024, mode == "huge", "{mode}");
        let json = serde_json::from_str::<Value>(&body).is_ok();
        assert_eq!(json, !["html", "garbage", "html_502", "truncated", "drop", "drop_after_work"].contains(&mode));
        assert_eq!(stand.get("/_books").await["payments"], payments, "{mode}");
        assert_eq!(stand.get("/_books/payments/top_1").await["createCalls"], 1, "{mode}");
        // The rule is used up, and there is still at most one payment.
        let again = read(stand.create("top_1").await).await;
        assert_eq!((&again["reference"], &again["amount"]), (&json!("top_1"), &json!(50_000)), "{mode}");
        assert_eq!(stand.get("/_books").await["payments"], 1, "{mode}");
    }
}

#[tokio::test]
async fn every_mode_of_a_look_up_does_what_it_says() {
    for (mode, http, word) in [
        ("ok", 200, r#""status":"created""#),
        ("refuse", 422, r#""code":"invalid_data""#),
        ("garbage", 200, "<!doctype html>"),
        ("429", 429, r#""code":"too_many_requests""#),
        ("500", 500, r#""code":"internal_error""#),
        ("401", 401, r#""code":"invalid_token""#),
        ("drop", 0, ""),
        ("not_found", 404, r#""code":"payment_not_found""#),
        ("wrong_reference", 200, r#""reference":"top_of-somebody-else""#),
        ("wrong_amount", 200, r#""amount":50001,"#),
        ("unknown_status", 200, r#""status":"under_review""#),
    ] {
        let stand = Stand::new();
        stand.create("top_1").await;
        stand.rule(json!({"operation": "look_up", "mode": mode, "times": 1})).await;
        let (status, body) = seen(stand.look_up("top_1").await).await;
        assert_eq!(status, http, "{mode}");
        assert!(body.contains(word), "{mode}: {body}");
        assert_eq!(stand.look_up("top_1").await.status(), 200, "{mode}: the rule is used up");
    }
}

#[tokio::test]
async fn modes_that_keep_the_client_waiting() {
    for (mode, payments) in [("hang", 0), ("hang_after_work", 1)] {
        let stand = Stand::new();
        stand.rule(json!({"mode": mode})).await;
        assert!(tokio::time::timeout(PATIENCE, stand.create("top_1")).await.is_err(), "{mode}");
        assert_eq!(stand.get("/_books").await["payments"], payments, "{mode}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_the_latency_has_its_payment_booked() {
    let stand = Stand::new();
    stand.rule(json!({"operation": "create", "mode": "ok", "latencyMs": 300})).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), stand.create("top_1")).await.is_err());
    assert_eq!(stand.get("/_books").await["payments"], 0);
    for _ in 0..100 {
        if stand.get("/_books").await["payments"] == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the payment was never booked");
}

#[tokio::test]
async fn a_payment_can_be_paid_and_called_back_before_its_answer() {
    for (mode, answered) in [("callback_before_answer", "paid"), ("callback_before_stale_answer", "created")] {
        let stand = Stand::new();
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
    let stand = Stand::new();
    stand.rule(json!({"operation": "create", "amount": 50_000, "mode": "500", "times": 2})).await;
    stand.rule(json!({"operation": "look_up", "amount": 50_000, "mode": "garbage", "times": 1})).await;
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

    let rules = stand.get("/_control/rules").await;
    assert_eq!((&rules[0]["timesLeft"], &rules[0]["applied"]), (&json!(0), &json!(2)));
    assert_eq!(rules[2]["timesLeft"], Value::Null);
    stand.call("DELETE", "/_control/rules", None).await;
    assert_eq!(stand.get("/_control/rules").await, json!([]));
    assert_eq!(stand.create("top_2").await.status(), 201);
}

#[tokio::test]
async fn rules_carry_their_own_settings() {
    let stand = Stand::new();
    stand.rule(json!({"mode": "429", "retryAfterSeconds": 7, "message": "slow down", "times": 1})).await;
    let throttled = stand.create("top_1").await;
    assert_eq!(throttled.headers()["retry-after"], "7");
    assert_eq!(read(throttled).await["error"]["message"], "slow down");

    stand.rule(json!({"mode": "garbage", "afterWork": true, "times": 1})).await;
    assert_eq!(stand.create("top_1").await.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(stand.get("/_books").await["payments"], 1);

    stand.rule(json!({"mode": "500", "probability": 0.0})).await;
    assert_eq!(stand.create("top_1").await.status(), 200);

    for wrong in [
        json!({"mode": "no_such_mode"}),
        json!({"mode": "500", "nonsense": 1}),
        json!({"mode": "500", "probability": 1.5}),
        json!({"mode": "500", "latencyMs": 999_999_999}),
        json!({"mode": "ok", "afterWork": false}),
        json!({"mode": "callback_before_answer"}),
        json!({"mode": "callback_before_answer", "operation": "look_up"}),
    ] {
        assert_eq!(stand.control("rules", wrong.clone()).await.status(), StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

#[test]
fn a_probability_is_a_share_of_the_calls() {
    let mut rules = Rules::default();
    rules.add(serde_json::from_value(json!({"mode": "500", "probability": 0.25, "times": 1})).unwrap()).unwrap();
    let subject = Subject { operation: Operation::Create, reference: "top_1".into(), amount: None };
    assert!(rules.pick(&subject, || 0.25).is_none(), "a lost roll");
    assert!(rules.pick(&subject, || 0.24).is_some(), "a lost roll uses up nothing");
    assert!(rules.pick(&subject, || 0.24).is_none(), "used up");
}

/// What cannot be seen without a socket: the connection closes with not a byte written.
#[tokio::test]
async fn a_dropped_call_is_closed_without_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stand = Stand::new();
    stand.rule(json!({"mode": "drop", "times": 1})).await;
    let serving = tokio::spawn(server::serve(listener, stand.0.clone()));
    let request = "GET /paygate/v1/payments?reference=top_1 HTTP/1.1\r\nhost: test\r\nauthorization: Bearer dev\r\n\
                   connection: close\r\n\r\n";
    for answered in [false, true] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 404"), answered, "{answer:?}");
        assert_eq!(answer.is_empty(), !answered);
    }
    serving.abort();
}
