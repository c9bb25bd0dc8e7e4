//! A payment gateway that misbehaves, and operators who help out.

use std::time::Duration;

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{support::TestApp, topups::EXPIRED};

/// Short, so that hanging is not long; long enough for a call on a busy machine.
const QUICK: &[&str] = &["--call-deadline-ms=1500"];
/// Longer than any backoff.
const BACKOFF: Duration = Duration::from_secs(301);

impl TestApp {
    /// Outcomes of the calls about a top-up, as logged, oldest first.
    async fn said(&self, topup_id: &str) -> Vec<String> {
        let answers = self.all("provider_response_logs", doc! { "resourceId": topup_id }).await;
        answers.iter().map(|answer| answer.get_str("outcome").unwrap().to_owned()).collect()
    }

    /// Has a dead job tried again; gives the status of the answer.
    async fn retry_job(&self, topup_id: &str, kind: &str) -> u16 {
        let job = self.topup_job(topup_id, kind).await;
        let path = format!("/queues/jobs/{}/retry", job.get_str("_id").unwrap());
        let admin = self.admin().await;
        self.request(Method::POST, &path, Some(&admin.token), None).await.status.as_u16()
    }
}

#[tokio::test]
async fn whatever_the_gateway_does_there_is_one_payment() {
    let app = TestApp::with(QUICK).await;
    let user = app.merchant_with(0).await;
    for mode in [
        "500",
        "500_after_work",
        "html",
        "html_502",
        "truncated_after_work",
        "drop",
        "drop_after_work",
        "hang",
        "hang_after_work",
        "429",
        "not_found",
        "wrong_reference",
        "wrong_amount",
        "fractional_amount",
        "no_page",
        "huge",
    ] {
        app.gateway.behave().await;
        app.gateway.misbehave("create", mode, 1).await;
        let topup_id = app.requested(&user, mode).await;
        app.run_jobs().await;
        let topup = app.topup(&user, &topup_id).await;
        assert_eq!((&topup["status"], &topup["failure"]), (&json!("created"), &Value::Null), "{mode}");
        app.app.clock.advance(BACKOFF);
        app.run_jobs().await;
        assert_eq!(app.topup(&user, &topup_id).await["status"], "pending", "{mode}");
        let there = app.gateway.entry(&topup_id).await;
        assert_eq!((&there["createCalls"], &there["payment"]["status"]), (&json!(2), &json!("created")), "{mode}");
        assert_eq!(app.said(&topup_id).await.last().unwrap(), "done", "{mode}");
        assert_eq!(app.tell(&topup_id, "pay", json!({})).await, [200], "{mode}");
    }
    assert_eq!(app.available(&user).await, 16 * 50_000);
    app.expect_agreement().await;
    app.finish().await;
}

#[tokio::test]
async fn a_refused_payment_fails_and_is_looked_up_no_more() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    for mode in ["refuse", "refuse_400", "conflict"] {
        app.gateway.misbehave("create", mode, 1).await;
        let topup_id = app.requested(&user, mode).await;
        app.run_jobs().await;
        let topup = app.topup(&user, &topup_id).await;
        assert_eq!((&topup["status"], &topup["failure"]["class"]), (&json!("failed"), &json!("fatal")), "{mode}");
        assert!(!topup["failure"]["message"].as_str().unwrap().is_empty(), "{mode}");
        assert_eq!(app.topup_job(&topup_id, "start-payment").await.get_str("state").unwrap(), "dead");
        assert_eq!(app.retry_job(&topup_id, "start-payment").await, 409, "{mode}: it has ended");
        app.app.clock.advance(EXPIRED);
        app.run_jobs().await;
        assert_eq!(app.said(&topup_id).await, ["fatal"], "{mode}: there is no payment to look up");
    }
    app.finish().await;
}

#[tokio::test]
async fn the_callback_may_overtake_the_answer() {
    let app = TestApp::with(QUICK).await;
    let user = app.merchant_with(0).await;
    for (round, mode) in ["callback_before_answer", "callback_before_stale_answer"].into_iter().enumerate() {
        app.gateway.misbehave("create", mode, 1).await;
        let topup_id = app.requested(&user, mode).await;
        app.run_jobs().await;
        let topup = app.topup(&user, &topup_id).await;
        assert_eq!((&topup["status"], &topup["paymentUrl"]), (&json!("paid"), &Value::Null), "{mode}");
        assert_eq!(
            (app.outcomes(&topup_id).await, app.said(&topup_id).await),
            (vec!["credited".into()], vec!["done".into()])
        );
        assert_eq!(app.topup_events(&topup_id).await, ["TopupRequested", "TopupPaid"], "{mode}");
        assert_eq!(app.available(&user).await, 50_000 * (round as i64 + 1));
    }
    // Paid and called back, but the answer to the start never comes.
    app.gateway.misbehave("create", "hang_after_work", 1).await;
    let topup_id = app.requested(&user, "lost").await;
    app.run_jobs().await;
    assert_eq!(app.tell(&topup_id, "pay", json!({})).await, [200]);
    app.app.clock.advance(BACKOFF);
    app.run_jobs().await;
    assert_eq!(app.topup(&user, &topup_id).await["status"], "paid");
    assert_eq!(app.gateway.entry(&topup_id).await["createCalls"], 1, "there is nothing left to start");
    app.expect_agreement().await;
    app.finish().await;
}

#[tokio::test]
async fn an_answer_that_says_paid_is_credited_without_a_callback() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    app.gateway.misbehave("create", "drop_after_work", 1).await;
    let topup_id = app.requested(&user, "t-1").await;
    app.run_jobs().await;
    app.tell(&topup_id, "pay", json!({ "deliver": false })).await;
    app.app.clock.advance(BACKOFF);
    app.run_jobs().await;
    assert_eq!((&app.topup(&user, &topup_id).await["status"], app.available(&user).await), (&json!("paid"), 50_000));
    assert_eq!(app.tell(&topup_id, "pay", json!({})).await, [200]);
    assert_eq!(app.available(&user).await, 50_000);
    app.expect_agreement().await;
    app.finish().await;
}

#[tokio::test]
async fn attempts_that_are_used_up_are_a_matter_for_a_person() {
    let app = TestApp::with(&["--max-attempts=2"]).await;
    let user = app.merchant_with(0).await;
    app.gateway.misbehave("create", "500", 2).await;
    let topup_id = app.requested(&user, "t-1").await;
    app.run_jobs().await;
    app.app.clock.advance(BACKOFF);
    app.run_jobs().await;
    let topup = app.topup(&user, &topup_id).await;
    assert_eq!(
        (&topup["status"], &topup["failure"]["code"]),
        (&json!("needs_attention"), &json!("provider.server_error"))
    );
    assert_eq!(app.topup_job(&topup_id, "start-payment").await.get_str("state").unwrap(), "dead");
    assert_eq!(app.retry_job(&topup_id, "start-payment").await, 200);
    assert_eq!(app.topup(&user, &topup_id).await["status"], "created");
    app.run_jobs().await;
    assert_eq!(app.topup(&user, &topup_id).await["status"], "pending");

    // Paid, but nobody tells, and nobody answers when we ask.
    app.tell(&topup_id, "pay", json!({ "deliver": false })).await;
    app.gateway.misbehave("look_up", "500", 2).await;
    app.app.clock.advance(EXPIRED);
    app.run_jobs().await;
    assert_eq!(app.topup(&user, &topup_id).await["status"], "pending", "not expired without asking");
    app.app.clock.advance(BACKOFF);
    app.run_jobs().await;
    assert_eq!(app.topup(&user, &topup_id).await["status"], "needs_attention");
    assert_eq!(app.retry_job(&topup_id, "check-payment").await, 200);
    app.run_jobs().await;
    assert_eq!((&app.topup(&user, &topup_id).await["status"], app.available(&user).await), (&json!("paid"), 50_000));
    let events = ["TopupRequested", "TopupNeedsAttention", "TopupRetried", "TopupStarted"];
    let more = ["TopupNeedsAttention", "TopupRetried", "TopupPaid"];
    assert_eq!(app.topup_events(&topup_id).await, [&events[..], &more[..]].concat());
    app.expect_agreement().await;
    app.finish().await;
}

#[tokio::test]
async fn a_start_that_was_given_up_is_settled_when_its_time_is_over() {
    let app = TestApp::with(&["--max-attempts=1"]).await;
    let user = app.merchant_with(0).await;
    for (mode, pays, status) in
        [("500", false, "expired"), ("500_after_work", false, "expired"), ("500_after_work", true, "paid")]
    {
        app.gateway.misbehave("create", mode, 1).await;
        let topup_id = app.requested(&user, &format!("{mode}-{pays}")).await;
        app.run_jobs().await;
        assert_eq!(app.topup(&user, &topup_id).await["status"], "needs_attention", "{mode}");
        if mode == "500_after_work" {
            app.tell(&topup_id, if pays { "pay" } else { "expire" }, json!({ "deliver": false })).await;
        }
        app.app.clock.advance(EXPIRED);
        app.run_jobs().await;
        assert_eq!(app.topup(&user, &topup_id).await["status"], status, "{mode}");
        assert_eq!(app.retry_job(&topup_id, "start-payment").await, 409, "{mode}: it has ended");
    }
    app.expect_agreement().await;
    app.finish().await;
}

#[tokio::test]
async fn refused_credentials_end_the_job_and_stop_the_account() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    app.gateway.rule(json!({ "operation": "create", "mode": "401" })).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(app.requested(&user, &format!("t-{n}")).await);
        app.run_jobs().await;
        assert_eq!(app.topup(&user, &ids[n]).await["status"], "needs_attention");
        let job = app.topup_job(&ids[n], "start-payment").await;
        assert_eq!((job.get_str("state").unwrap(), job.get_i32("attempts").unwrap()), ("dead", 1));
        assert_eq!(app.breakers(&admin, "payments-queue").await, ["paygate/default open credentials"]);
        app.confirmed(&user, &format!("c-{n}")).await;
        app.resume(&admin, "payments-queue").await;
    }
    app.gateway.behave().await;
    for topup_id in &ids {
        assert_eq!(app.retry_job(topup_id, "start-payment").await, 200);
    }
    app.run_jobs().await;
    for topup_id in &ids {
        assert_eq!(app.topup(&user, topup_id).await["status"], "pending");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_look_up_may_misbehave_too() {
    let app = TestApp::with(QUICK).await;
    let user = app.merchant_with(0).await;
    let mut expected = 0;
    for mode in [
        "500",
        "html",
        "drop",
        "hang",
        "429",
        "truncated_after_work",
        "wrong_reference",
        "wrong_amount",
        "unknown_status",
    ] {
        app.gateway.behave().await;
        let topup_id = app.pending(&user, mode).await;
        app.tell(&topup_id, "pay", json!({ "deliver": false })).await;
        app.gateway.misbehave("look_up", mode, 1).await;
        app.app.clock.advance(EXPIRED);
        app.run_jobs().await;
        assert_eq!(app.topup(&user, &topup_id).await["status"], "pending", "{mode} says nothing of the payment");
        app.app.clock.advance(BACKOFF);
        app.run_jobs().await;
        assert_eq!(app.topup(&user, &topup_id).await["status"], "paid", "{mode}");
        expected += 50_000;
        assert_eq!(app.available(&user).await, expected, "{mode}");
    }
    app.expect_agreement().await;
    app.finish().await;
}

#[tokio::test]
async fn a_top_up_that_was_never_started_expires() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let topup_id = app.requested(&user, "t-1").await;
    // No worker was there in time: what is too late to be paid is not started.
    app.app.clock.advance(EXPIRED);
    app.run_jobs().await;
    assert_eq!(app.topup(&user, &topup_id).await["status"], "expired");
    assert_eq!(app.said(&topup_id).await, ["absent"]);
    assert_eq!(app.gateway.entry(&topup_id).await["createCalls"], Value::Null);
    app.finish().await;
}
