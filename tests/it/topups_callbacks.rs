//! What a payment gateway tells: twice, at once, in any order, late, forged.

use std::time::Duration;

use bson::doc;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::app::App;

use crate::{
    support::{
        TestApp,
        gateway::{SECRET, event, signature},
        serve, test_config,
    },
    topups::EXPIRED,
};

#[tokio::test]
async fn callbacks_may_come_twice_and_in_any_order() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    for (name, told, status, outcomes) in [
        ("twice", &["pay", "pay"][..], "paid", &["credited", "ignored"][..]),
        ("failed-then-paid", &["fail", "pay"], "paid", &["failed", "credited"]),
        ("paid-then-failed", &["pay", "fail"], "paid", &["credited", "ignored"]),
        ("failed-twice", &["fail", "fail"], "failed", &["failed", "ignored"]),
    ] {
        let before = app.available(&user).await;
        let topup_id = app.pending(&user, name).await;
        for deed in told {
            assert_eq!(app.tell(&topup_id, deed, json!({})).await, [200], "{name}");
        }
        let topup = app.topup(&user, &topup_id).await;
        assert_eq!((&topup["status"], app.outcomes(&topup_id).await), (&json!(status), to_vec(outcomes)), "{name}");
        assert_eq!(topup["failure"].is_null(), status == "paid", "{name}");
        let credited = if status == "paid" { 50_000 } else { 0 };
        assert_eq!(app.available(&user).await, before + credited, "{name}");
    }
    app.expect_agreement().await;
    app.finish().await;
}

fn to_vec(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn one_event_fifty_times_at_once_is_one_credit() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let topup_id = app.pending(&user, "t-1").await;
    let answers = app.tell(&topup_id, "pay", json!({ "times": 50, "atOnce": true })).await;
    assert_eq!(answers, [200; 50]);
    assert_eq!((app.available(&user).await, app.outcomes(&topup_id).await), (50_000, to_vec(&["credited"])));
    let mut booked = app.all("ledger_transactions", doc! { "referenceType": "topup" }).await;
    assert_eq!(booked.len(), 1);
    let lines = booked.pop().unwrap();
    assert_eq!((lines.get_str("kind").unwrap(), lines.get_i64("walletSeq").unwrap()), ("recharge", 1));
    app.expect_agreement().await;
    app.finish().await;
}

#[tokio::test]
async fn two_processes_that_hear_the_same_credit_once() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let carrier = app.carrier.base_url();
    let config = test_config(&app.mongodb_uri, &app.redis_url, &app.redis_prefix, &carrier, &[]);
    let second = App::build(config).await.unwrap();
    second.migrate().await.unwrap();
    let second = serve(&second).await;
    for round in 0..10 {
        let topup_id = app.pending(&user, &format!("t-{round}")).await;
        // The same event from both sides, and another event of the same payment.
        let same = event(&format!("pev_{round}"), "paid", &topup_id, 50_000, "INR").to_string();
        let another = event(&format!("pev_{round}b"), "paid", &topup_id, 50_000, "INR").to_string();
        let told = [(&app.base, &same), (&second, &same), (&app.base, &another), (&second, &another)];
        let answers = join_all(told.map(|(base, body)| {
            let (app, signed) = (&app, signature(SECRET, app.now_seconds(), body));
            async move { app.call_back_to(base, body.clone(), Some(&signed)).await }
        }));
        for answer in answers.await {
            answer.expect(200);
        }
        assert_eq!(app.available(&user).await, 50_000 * (round + 1));
        let mut outcomes = app.outcomes(&topup_id).await;
        outcomes.sort();
        assert_eq!(outcomes, ["credited", "ignored"]);
    }
    app.finish().await;
}

#[tokio::test]
async fn only_what_the_gateway_signed_just_now_is_believed() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let topup_id = app.pending(&user, "t-1").await;
    for sign in ["wrong_secret", "none", "stale", "altered_body"] {
        assert_eq!(app.tell(&topup_id, "pay", json!({ "sign": sign })).await, [401], "{sign}");
    }
    let body = event("pev_1", "paid", &topup_id, 50_000, "INR").to_string();
    let now = app.now_seconds();
    let signed = signature(SECRET, now, &body);
    for (what, signature, code) in [
        ("unsigned", None, "webhooks.bad_signature"),
        ("nonsense", Some("v1".to_owned()), "webhooks.bad_signature"),
        ("another key", Some(signature("another-secret-123", now, &body)), "webhooks.bad_signature"),
        ("another time", Some(signed.replacen(&now.to_string(), &(now + 1).to_string(), 1)), "webhooks.bad_signature"),
        ("of old", Some(signature(SECRET, now - 301, &body)), "webhooks.stale"),
        ("of the future", Some(signature(SECRET, now + 302, &body)), "webhooks.stale"),
    ] {
        let answer = app.call_back_to(&app.base, body.clone(), signature.as_deref()).await.expect(401);
        assert_eq!(answer.code(), code, "{what}");
    }
    // Ours is the database's time, not the gateway's.
    app.app.clock.advance(Duration::from_secs(600));
    assert_eq!(app.call_back_to(&app.base, body, Some(&signed)).await.expect(401).code(), "webhooks.stale");
    assert_eq!((app.available(&user).await, app.all("payment_callbacks", doc! {}).await.len()), (0, 0));
    assert_eq!(app.topup(&user, &topup_id).await["status"], "pending");
    let metrics = app.request(Method::GET, "/metrics", None, None).await.text;
    for outcome in ["bad_signature", "unsigned", "stale"] {
        let line = format!("outcome=\"{outcome}\"");
        let counted = metrics.lines().any(|l| l.starts_with("waybill_payment_callbacks_total") && l.contains(&line));
        assert!(counted, "{outcome} is not counted");
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_signed_but_makes_no_sense_leaves_nothing() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let topup_id = app.pending(&user, "t-1").await;
    let sound = event("pev_1", "paid", &topup_id, 50_000, "INR");
    let mut without_id = sound.clone();
    without_id.as_object_mut().unwrap().remove("eventId");
    let mut fraction = sound.clone();
    fraction["payment"]["amount"] = json!(500.5);
    let mut contradiction = sound.clone();
    contradiction["payment"]["status"] = json!("failed");
    for body in [without_id, fraction, contradiction, json!([]), Value::Null] {
        assert_eq!(app.call_back(&body).await.expect(422).code(), "webhooks.unreadable", "{body}");
    }
    let unknown = event("pev_2", "paid", "top_of_nobody", 50_000, "INR");
    assert_eq!(app.call_back(&unknown).await.expect(404).code(), "webhooks.unknown_payment");
    let path = "/webhooks/payments/stripe";
    assert_eq!(
        app.request(Method::POST, path, None, Some(&sound)).await.expect(404).code(),
        "webhooks.unknown_provider"
    );
    let large = " ".repeat(64 * 1024);
    let signed = signature(SECRET, app.now_seconds(), &large);
    app.call_back_to(&app.base, large.clone(), Some(&signed)).await.expect(422);
    assert_eq!(app.call_back_to(&app.base, large + " ", None).await.expect(413).code(), "request.too_large");
    assert_eq!((app.available(&user).await, app.all("payment_callbacks", doc! {}).await.len()), (0, 0));

    // A kind of event that we don't know is written down, and does nothing.
    let mut news = sound;
    news["type"] = json!("payment.refund_requested");
    app.call_back(&news).await.expect(200);
    assert_eq!((app.outcomes(&topup_id).await, app.available(&user).await), (to_vec(&["ignored"]), 0));
    app.finish().await;
}

#[tokio::test]
async fn a_lost_callback_is_made_up_for_when_the_time_is_over() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let paid = app.pending(&user, "paid").await;
    let failed_then_paid = app.pending(&user, "failed-then-paid").await;
    let failed = app.pending(&user, "failed").await;
    let unpaid = app.pending(&user, "unpaid").await;
    let unheard = app.pending(&user, "unheard").await;
    app.tell(&paid, "pay", json!({ "deliver": false })).await;
    app.tell(&failed_then_paid, "fail", json!({})).await;
    app.tell(&failed_then_paid, "pay", json!({ "deliver": false })).await;
    app.tell(&failed, "fail", json!({})).await;
    app.tell(&unheard, "fail", json!({ "deliver": false })).await;
    app.tell(&unpaid, "expire", json!({})).await;
    assert_eq!(app.available(&user).await, 0);

    app.app.clock.advance(EXPIRED);
    app.run_jobs().await;
    for (topup_id, status, event) in [
        (&paid, "paid", "TopupPaid"),
        (&failed_then_paid, "paid", "TopupPaid"),
        (&failed, "failed", "TopupFailed"),
        (&unpaid, "expired", "TopupExpired"),
        (&unheard, "failed", "TopupFailed"),
    ] {
        assert_eq!(app.topup(&user, topup_id).await["status"], status);
        assert_eq!(app.topup_events(topup_id).await.last().unwrap(), event);
        let ended = if status == "paid" { "done" } else { "ready" };
        assert_eq!(app.topup_job(topup_id, "check-payment").await.get_str("state").unwrap(), ended, "{status}");
    }
    assert_eq!(app.available(&user).await, 100_000);
    app.expect_agreement().await;
    // The gateway catches up: nothing is credited again.
    assert_eq!(app.tell(&paid, "pay", json!({})).await, [200]);
    assert_eq!((app.available(&user).await, app.outcomes(&paid).await), (100_000, to_vec(&["ignored"])));
    app.finish().await;
}

/// Its time is over by our clock; the gateway has its own, and the last word.
#[tokio::test]
async fn a_payment_is_looked_at_until_the_gateway_ends_it_and_once_more() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let (late, never) = (app.pending(&user, "late").await, app.pending(&user, "never").await);
    app.app.clock.advance(EXPIRED);
    app.run_jobs().await;
    for topup_id in [&late, &never] {
        assert_eq!(app.topup(&user, topup_id).await["status"], "pending");
        app.tell(topup_id, "expire", json!({})).await;
    }
    app.app.clock.advance(Duration::from_secs(120));
    app.run_jobs().await;
    for topup_id in [&late, &never] {
        assert_eq!(app.topup(&user, topup_id).await["status"], "expired");
    }
    // A bank settles late, and nobody tells.
    app.tell(&late, "pay", json!({ "deliver": false })).await;
    app.app.clock.advance(Duration::from_secs(86_400));
    app.run_jobs().await;
    for (topup_id, status) in [(&late, "paid"), (&never, "expired")] {
        assert_eq!(app.topup(&user, topup_id).await["status"], status);
        assert_eq!(app.topup_job(topup_id, "check-payment").await.get_str("state").unwrap(), "done");
    }
    assert_eq!(app.available(&user).await, 50_000);
    app.expect_agreement().await;
    app.finish().await;
}

#[tokio::test]
async fn a_second_payment_is_left_to_a_person() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let topup_id = app.pending(&user, "t-1").await;
    assert_eq!(app.tell(&topup_id, "pay", json!({})).await, [200]);
    let mut second = event("pev_second", "paid", &topup_id, 50_000, "INR");
    second["payment"]["paymentId"] = json!("pay_second");
    app.call_back(&second).await.expect(200);
    let topup = app.topup(&user, &topup_id).await;
    assert_eq!((&topup["status"], &topup["failure"]["code"]), (&json!("needs_attention"), &json!("topups.paid_twice")));
    assert_eq!(
        (app.available(&user).await, app.outcomes(&topup_id).await),
        (50_000, to_vec(&["credited", "paid_twice"]))
    );
    app.finish().await;
}

#[tokio::test]
async fn money_that_comes_after_the_end_is_credited() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let topup_id = app.pending(&user, "t-1").await;
    app.tell(&topup_id, "expire", json!({})).await;
    app.app.clock.advance(EXPIRED);
    app.run_jobs().await;
    assert_eq!(app.topup(&user, &topup_id).await["status"], "expired");
    assert_eq!(app.tell(&topup_id, "fail", json!({})).await, [200]);
    assert_eq!(app.topup(&user, &topup_id).await["status"], "expired", "no news");
    assert_eq!(app.tell(&topup_id, "pay", json!({})).await, [200]);
    assert_eq!(app.topup(&user, &topup_id).await["status"], "paid");
    assert_eq!(app.available(&user).await, 50_000);
    app.expect_agreement().await;
    app.finish().await;
}

#[tokio::test]
async fn another_amount_is_left_to_a_person() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let topup_id = app.pending(&user, "t-1").await;
    assert_eq!(app.tell(&topup_id, "pay", json!({ "amount": 49_999 })).await, [200], "not to be sent for ever");
    let topup = app.topup(&user, &topup_id).await;
    assert_eq!(
        (&topup["status"], &topup["failure"]["code"]),
        (&json!("needs_attention"), &json!("topups.amount_differs"))
    );
    let usd = app.pending(&user, "t-2").await;
    app.call_back(&event("pev_usd", "paid", &usd, 50_000, "USD")).await.expect(200);
    assert_eq!(app.topup(&user, &usd).await["status"], "needs_attention");
    // Whoever looks may book it by hand: nothing here does from now on, neither when told again nor when the time is over.
    assert_eq!(app.tell(&topup_id, "pay", json!({})).await, [200]);
    let calls = app.gateway.books().await["calls"].clone();
    app.app.clock.advance(EXPIRED);
    app.run_jobs().await;
    assert_eq!(app.gateway.books().await["calls"], calls);
    assert_eq!(app.topup(&user, &topup_id).await["status"], "needs_attention");
    assert_eq!(app.outcomes(&topup_id).await, ["amount_differs", "disputed"]);
    assert_eq!((app.available(&user).await, app.outcomes(&usd).await), (0, to_vec(&["amount_differs"])));
    app.finish().await;
}

#[tokio::test]
async fn a_wallet_that_is_full_is_left_to_a_person() {
    let app = TestApp::start().await;
    let user = app.merchant_with(1).await;
    let topup_id = app.pending(&user, "t-1").await;
    let (wallets, before) = ("wallets", doc! { "userId": &user.user_id });
    app.update_one(wallets, before.clone(), doc! { "available": i64::MAX }).await;
    assert_eq!(app.tell(&topup_id, "pay", json!({})).await, [200]);
    let topup = app.topup(&user, &topup_id).await;
    assert_eq!(
        (&topup["status"], &topup["failure"]["code"]),
        (&json!("needs_attention"), &json!("topups.not_credited"))
    );
    assert_eq!(app.outcomes(&topup_id).await, ["not_credited"]);
    app.update_one(wallets, before, doc! { "available": 1_i64 }).await;
    app.finish().await;
}
