//! Callbacks: what is told, how it is signed, and how often.

use time::OffsetDateTime;

use super::*;
use crate::paygate::callbacks::signature;

/// A payment `top_1` and somebody who is called back, who answers so before he accepts.
async fn prepared(answers: &[u16]) -> (PayGate, Receiver) {
    let stand = PayGate::new();
    let receiver = Receiver::start(answers).await;
    stand.call_back(&receiver).await;
    stand.create("top_1").await;
    (stand, receiver)
}

#[test]
fn the_signature_is_that_of_the_contract() {
    // printf '1767225600.{}' | openssl dgst -sha256 -hmac whsec-hush-hush
    assert_eq!(
        signature("whsec-hush-hush", 1_767_225_600, "{}"),
        "t=1767225600,v1=c8d2791530a9e95c10274eb62657f98ed1a4e61722060b73adbe47714c2cc175"
    );
}

#[tokio::test]
async fn a_payment_is_told_as_agreed() {
    for (deed, kind, status) in [("pay", "payment.paid", "paid"), ("fail", "payment.failed", "failed")] {
        let (stand, receiver) = prepared(&[]).await;
        let told = stand.change(json!({"do": deed})).await;
        let event_id = told["eventId"].as_str().unwrap();
        assert!(event_id.starts_with("pev_"), "{event_id}");
        assert_eq!(told["answers"], json!([204]));
        let [arrived] = &receiver.arrived()[..] else { panic!("one callback") };
        let age = OffsetDateTime::now_utc().unix_timestamp() - arrived.signed_at().expect("a valid signature");
        assert!((0..=5).contains(&age), "{age}");
        let body = arrived.json();
        let payment = &stand.get("/_books/payments/top_1").await["payment"];
        assert_eq!(
            body,
            json!({
                "eventId": event_id, "type": kind, "createdAt": body["createdAt"],
                "payment": {
                    "paymentId": payment["paymentId"], "reference": "top_1", "status": status,
                    "amount": 50_000, "currency": "INR",
                },
            })
        );
        assert!(body["createdAt"].as_str().unwrap().ends_with('Z'), "{body}");
        assert_eq!(payment["status"], status);
        let callbacks = &stand.get("/_books/payments/top_1").await["callbacks"];
        assert_eq!(*callbacks, json!([{"eventId": event_id, "type": kind, "sign": "valid", "answer": 204}]));
    }
}

#[tokio::test]
async fn a_callback_is_tried_again_until_it_is_taken() {
    for (answers, expected) in [
        (vec![500, 404, 302], vec![500, 404, 302, 204]),
        (vec![500; 4], vec![500, 500, 500, 500, 204]),
        (vec![500; 9], vec![500; 5]),
        (vec![200], vec![200]),
    ] {
        let (stand, receiver) = prepared(&answers).await;
        let told = stand.change(json!({"do": "pay"})).await;
        assert_eq!(told["answers"], json!(expected));
        let arrived = receiver.arrived();
        assert_eq!(arrived.len(), expected.len());
        assert!(arrived.iter().all(|callback| callback.body == arrived[0].body), "the same event each time");
        assert!(arrived.iter().all(|callback| callback.signed_at().is_some()));
        let totals = stand.books().await;
        let taken = usize::from(expected.last().is_some_and(|status| *status < 300));
        assert_eq!((&totals["callbacksSent"], &totals["callbacksAccepted"]), (&json!(expected.len()), &json!(taken)));
    }
    let (stand, _receiver) = prepared(&[500]).await;
    assert_eq!(stand.change(json!({"do": "pay", "retry": false})).await["answers"], json!([500]));
}

#[tokio::test]
async fn a_callback_can_be_signed_badly() {
    let (stand, receiver) = prepared(&[]).await;
    for sign in ["wrong_secret", "none", "stale", "altered_body", "valid"] {
        let told = stand.change(json!({"do": "pay", "sign": sign})).await;
        assert_eq!(told["answers"], json!([204]), "{sign}");
        let arrived = receiver.arrived().pop().unwrap();
        let age = arrived.signed_at().map(|seconds| OffsetDateTime::now_utc().unix_timestamp() - seconds);
        match sign {
            "valid" => assert!(age.is_some_and(|age| (0..=5).contains(&age)), "{age:?}"),
            "stale" => assert!(age.is_some_and(|age| (600..=605).contains(&age)), "{age:?}"),
            _ => assert_eq!(age, None, "{sign}: {arrived:?}"),
        }
        assert_eq!(arrived.signature.is_none(), sign == "none");
        let altered = arrived.json()["payment"]["amount"] == 500_000;
        assert_eq!(altered, sign == "altered_body", "{arrived:?}");
    }
    // An answer to a bad signature is final, unless asked otherwise.
    let (stand, receiver) = prepared(&[401; 9]).await;
    assert_eq!(stand.change(json!({"do": "pay", "sign": "none"})).await["answers"], json!([401]));
    let retried = stand.change(json!({"do": "pay", "sign": "none", "retry": true})).await;
    assert_eq!(retried["answers"], json!(vec![401; 5]));
    assert_eq!(receiver.arrived().len(), 6);
}

#[tokio::test]
async fn the_very_same_event_can_be_sent_again() {
    for at_once in [false, true] {
        let (stand, receiver) = prepared(&[]).await;
        let told = stand.change(json!({"do": "pay", "times": 3, "atOnce": at_once})).await;
        assert_eq!(told["answers"], json!([204, 204, 204]));
        let arrived = receiver.arrived();
        assert_eq!(arrived.len(), 3);
        assert!(arrived.iter().all(|callback| callback.body == arrived[0].body));

        // Its id can be forced upon another event, and two events have two ids otherwise.
        let id = told["eventId"].clone();
        let again = stand.change(json!({"do": "fail", "eventId": id})).await;
        assert_eq!(again["eventId"], id);
        assert_eq!(receiver.arrived()[3].json()["eventId"], id);
        assert_ne!(stand.change(json!({"do": "pay"})).await["eventId"], id);
    }
}

#[tokio::test]
async fn events_come_in_any_order_and_paid_stays_paid() {
    for deeds in [["pay", "fail"], ["fail", "pay"]] {
        let (stand, receiver) = prepared(&[]).await;
        for deed in deeds {
            stand.change(json!({"do": deed})).await;
        }
        let statuses: Vec<_> =
            receiver.arrived().iter().map(|callback| callback.json()["payment"]["status"].clone()).collect();
        let told = deeds.map(|deed| if deed == "pay" { "paid" } else { "failed" });
        assert_eq!(statuses, told);
        assert_eq!(stand.get("/_books/payments/top_1").await["payment"]["status"], "paid");
    }
}

#[tokio::test]
async fn a_callback_can_lie_about_the_amount_and_the_time() {
    let (stand, receiver) = prepared(&[]).await;
    for amount in [json!(1), json!(-50_000), json!(0.5), json!(50_001)] {
        stand.change(json!({"do": "pay", "amount": amount})).await;
        let arrived = receiver.arrived().pop().unwrap();
        assert!(arrived.signed_at().is_some(), "properly signed");
        assert_eq!(arrived.json()["payment"]["amount"], amount);
    }
    assert_eq!(stand.get("/_books/payments/top_1").await["payment"]["amount"], 50_000);
    stand.change(json!({"do": "pay", "signedAtSeconds": 5})).await;
    assert_eq!(receiver.arrived().pop().unwrap().signed_at(), Some(5));
}

#[tokio::test]
async fn a_payment_can_be_paid_in_silence() {
    let (stand, receiver) = prepared(&[]).await;
    assert_eq!(stand.change(json!({"do": "pay", "deliver": false})).await["answers"], json!([]));
    assert_eq!(stand.change(json!({"do": "expire"})).await["answers"], json!([]));
    assert_eq!(receiver.arrived().len(), 0);
    assert_eq!(read(stand.look_up("top_1").await).await["status"], "paid");
}

#[tokio::test]
async fn without_anybody_to_tell_it_says_so() {
    let stand = PayGate::new();
    stand.create("top_1").await;
    let response = stand.control("payments/top_1", &json!({"do": "pay"})).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert_eq!(read(stand.look_up("top_1").await).await["status"], "paid", "it happened all the same");

    let receiver = Receiver::start(&[]).await;
    stand.call_back(&receiver).await;
    receiver.serving.abort();
    // Until the task is gone its port may still answer: it must be refused in the end.
    while !receiver.serving.is_finished() {
        tokio::task::yield_now().await;
    }
    let told = stand.change(json!({"do": "pay", "retry": false})).await;
    assert_eq!(told["answers"], json!([null]));
    let totals = stand.books().await;
    assert_eq!((&totals["callbacksSent"], &totals["callbacksAccepted"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let (stand, _receiver) = prepared(&[]).await;
    for (what, body) in [
        ("callback", json!({"url": "not an address", "secret": "x"})),
        ("callback", json!({"url": "ftp://host/", "secret": "x"})),
        ("callback", json!({"url": "http://host/", "secret": ""})),
        ("callback", json!({"url": "http://host/"})),
        ("payments/top_1", json!({"do": "refund"})),
        ("payments/top_1", json!({"do": "pay", "times": 0})),
        ("payments/top_1", json!({"do": "pay", "times": 101})),
        ("payments/top_1", json!({"do": "pay", "sign": "twice"})),
        ("payments/top_1", json!({"do": "pay", "nonsense": 1})),
        ("auto", json!({"delayMs": -1})),
    ] {
        let status = stand.control(what, &body).await.status();
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{what} {body}");
    }
    assert_eq!(stand.books().await["callbacksSent"], 0);
}

#[tokio::test]
async fn payments_can_pay_themselves() {
    let (stand, receiver) = prepared(&[]).await;
    let told = |count: usize| {
        let receiver = &receiver;
        async move {
            for _ in 0..500 {
                if receiver.arrived().len() == count {
                    return receiver.arrived().pop().unwrap().json()["payment"]["reference"].clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("never told: {:?}", receiver.arrived());
        }
    };
    assert_eq!(stand.control("auto", &json!({"delayMs": 20})).await.status(), StatusCode::NO_CONTENT);
    // Found, not made: not paid.
    stand.create("top_1").await;
    stand.create("top_2").await;
    assert_eq!(told(1).await, "top_2");
    stand.control("auto", &json!({"delayMs": null})).await;
    stand.create("top_3").await;
    stand.control("auto", &json!({"delayMs": 20})).await;
    stand.create("top_4").await;
    assert_eq!(told(2).await, "top_4");
    for (reference, status) in [("top_1", "created"), ("top_2", "paid"), ("top_3", "created"), ("top_4", "paid")] {
        assert_eq!(read(stand.look_up(reference).await).await["status"], status, "{reference}");
    }
}
