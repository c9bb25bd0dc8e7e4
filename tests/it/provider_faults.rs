//! A carrier that misbehaves when it is asked to place an order. One that misbehaves otherwise is in
//! `provider_outages.rs`.

use std::time::Duration;

use bson::{Bson, Document};
use reqwest::Method;
use serde_json::json;

use crate::support::TestApp;

/// Short, so that hanging is not long; long enough for a call on a busy machine.
const QUICK: &[&str] = &["--call-deadline-ms=1500"];

fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap_or("-")
}

fn number(document: &Document, field: &str) -> Option<i32> {
    match document.get(field) {
        Some(Bson::Null) => None,
        Some(value) => Some(value.as_i32().unwrap_or_else(|| panic!("{field} is {value}"))),
        None => panic!("{field} is absent"),
    }
}

/// What one misbehaving create leads to.
struct Case {
    mode: &'static str,
    /// HTTP status, outcome, class and code of the first answer's log.
    first: (Option<i32>, &'static str, &'static str, &'static str),
    /// Creates that the carrier saw in the end.
    creates: i64,
    status: &'static str,
    job: &'static str,
}

const fn case(
    mode: &'static str,
    http: Option<i32>,
    class: &'static str,
    code: &'static str,
    creates: i64,
    status: &'static str,
    job: &'static str,
) -> Case {
    Case { mode, first: (http, class, class, code), creates, status, job }
}

const CASES: &[Case] = &[
    // Refused credentials: a person decides.
    case("401", Some(401), "fatal", "provider.unauthorized", 1, "needs_attention", "dead"),
    case("403", Some(403), "fatal", "provider.unauthorized", 1, "needs_attention", "dead"),
    // Refused for good.
    case("refuse", Some(200), "fatal", "provider.refused", 1, "failed", "dead"),
    case("refuse_array", Some(200), "fatal", "provider.refused", 1, "failed", "dead"),
    case("refuse_400", Some(400), "fatal", "provider.refused", 1, "failed", "dead"),
    case("refuse_422", Some(422), "fatal", "provider.refused", 1, "failed", "dead"),
    case("not_found", Some(404), "fatal", "provider.refused", 1, "failed", "dead"),
    // Provably not executed.
    case("429", Some(429), "retryable", "provider.throttled", 2, "confirmed", "done"),
    // Not executed, but nobody could know: looked up, and sent again.
    case("html", Some(200), "unknown", "provider.not_json", 2, "confirmed", "done"),
    case("html_502", Some(502), "unknown", "provider.server_error", 2, "confirmed", "done"),
    case("truncated", Some(200), "unknown", "provider.not_json", 2, "confirmed", "done"),
    case("500", Some(500), "unknown", "provider.server_error", 2, "confirmed", "done"),
    case("hang", None, "unknown", "exchange.timed_out", 2, "confirmed", "done"),
    case("drop", None, "unknown", "exchange.connection_lost", 2, "confirmed", "done"),
    case("already_exists", Some(200), "unknown", "provider.already_exists", 2, "confirmed", "done"),
    case("something_went_wrong", Some(200), "unknown", "provider.vague_refusal", 2, "confirmed", "done"),
    case("redirect", Some(307), "unknown", "provider.unexpected_status", 2, "confirmed", "done"),
    // Executed, but nobody could know: looked up, and found.
    case("500_after_work", Some(500), "unknown", "provider.server_error", 1, "confirmed", "done"),
    case("hang_after_work", None, "unknown", "exchange.timed_out", 1, "confirmed", "done"),
    case("drop_after_work", None, "unknown", "exchange.connection_lost", 1, "confirmed", "done"),
    case("already_exists_after_work", Some(200), "unknown", "provider.already_exists", 1, "confirmed", "done"),
    case("wrong_order", Some(200), "unknown", "provider.wrong_order", 1, "confirmed", "done"),
    case("no_awb", Some(200), "unknown", "provider.no_awb", 1, "confirmed", "done"),
    case("huge", Some(200), "unknown", "exchange.answer_too_large", 1, "confirmed", "done"),
    case("slow_body", Some(200), "unknown", "exchange.timed_out", 1, "confirmed", "done"),
    // There, but not alive: a person decides.
    case("already_cancelled", Some(200), "unknown", "provider.cancelled_there", 1, "needs_attention", "dead"),
];

#[tokio::test]
async fn one_misbehaving_create_is_told_apart_and_never_doubled() {
    let app = TestApp::with(QUICK).await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let mut orders = Vec::new();
    for case in CASES {
        app.misbehave_for(case.mode, "create", case.mode, Some(1)).await;
        orders.push(app.created(&user, case.mode).await);
        if case.first.3 == "provider.unauthorized" {
            app.run_jobs().await;
            app.resume(&admin, "parcelx-orders-queue").await;
        }
    }

    app.run_jobs_to_the_end().await;

    for (case, order_id) in CASES.iter().zip(&orders) {
        let mode = case.mode;
        let order = app.order(&user, order_id).await;
        assert_eq!(order["status"], case.status, "{mode}: {order}");
        assert_eq!(app.carrier.order(order_id).await["createCalls"], case.creates, "{mode}");
        assert_eq!(order["attempts"], case.creates, "{mode}: calls that tried to place it");
        let answers = app.answers(order_id).await;
        let first = &answers[0];
        let seen =
            (number(first, "httpStatus"), text(first, "outcome"), text(first, "errorClass"), text(first, "errorCode"));
        assert_eq!(seen, case.first, "{mode}");
        assert_eq!(text(&app.create_job(order_id).await, "state"), case.job, "{mode}");

        let shipments = app.carrier.shipments_of(order_id).await;
        let sync = order["providerSyncStatus"].as_str().unwrap();
        match case.status {
            "confirmed" => {
                assert_eq!((shipments.len(), sync), (1, "synced"), "{mode}");
                assert_eq!(order["shipment"]["awb"], shipments[0]["awb"], "{mode}: the one that exists");
                assert_eq!(order["failure"], json!(null), "{mode}");
                let last = answers.last().unwrap();
                assert!(["done", "found"].contains(&text(last, "outcome")), "{mode}");
                assert_eq!(order["providerResponseRefId"], text(last, "_id"), "{mode}");
            }
            "failed" | "needs_attention" => {
                assert_eq!(sync, "failed", "{mode}");
                assert_eq!(order["failure"]["code"], case.first.3, "{mode}");
                assert_eq!(answers.len(), 1, "{mode}: nobody asked again");
            }
            other => panic!("{other}"),
        }
        // Unclear answers are looked up before anything is sent again.
        let operations: Vec<_> = answers.iter().map(|answer| text(answer, "operation")).collect();
        if case.first.1 == "unknown" && case.status == "confirmed" {
            assert_eq!(operations[1], "look_up_order", "{mode}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn a_create_that_always_misbehaves_is_given_up_and_can_be_sent_again() {
    let modes = ["500", "html", "html_502", "truncated", "drop", "something_went_wrong", "redirect", "already_exists"];
    let app = TestApp::with(&["--max-attempts=3"]).await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let mut orders = Vec::new();
    for mode in modes {
        app.misbehave_for(mode, "create", mode, None).await;
        orders.push(app.created(&user, mode).await);
    }

    app.run_jobs_to_the_end().await;

    for (mode, order_id) in modes.iter().zip(&orders) {
        let order = app.order(&user, order_id).await;
        assert_eq!(
            (&order["status"], &order["providerSyncStatus"]),
            (&json!("needs_attention"), &json!("failed")),
            "{mode}"
        );
        let job = app.create_job(order_id).await;
        assert_eq!((text(&job, "state"), job.get_i32("attempts").unwrap()), ("dead", 3), "{mode}");
        let books = app.carrier.order(order_id).await;
        assert_eq!(
            (books["createCalls"].as_u64().unwrap(), books["shipments"].as_array().unwrap().len()),
            (3, 0),
            "{mode}"
        );
    }
    app.carrier.behave().await;
    for (mode, order_id) in modes.iter().zip(&orders) {
        let job = app.create_job(order_id).await;
        let path = format!("/queues/jobs/{}/retry", text(&job, "_id"));
        let retried = app.request(Method::POST, &path, Some(&admin.token), None).await.expect(200);
        assert_eq!(retried.body["state"], "ready", "{mode}");
        let order = app.order(&user, order_id).await;
        assert_eq!((&order["status"], &order["failure"]), (&json!("created"), &json!(null)), "{mode}");
    }
    app.run_jobs_to_the_end().await;
    for (mode, order_id) in modes.iter().zip(&orders) {
        assert_eq!(app.order(&user, order_id).await["status"], "confirmed", "{mode}");
        let books = app.carrier.order(order_id).await;
        assert_eq!(
            (books["createCalls"].as_u64().unwrap(), books["shipments"].as_array().unwrap().len()),
            (4, 1),
            "{mode}"
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn executed_every_time_it_is_sent_once() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let mut orders = Vec::new();
    for mode in ["500_after_work", "drop_after_work", "already_exists_after_work", "wrong_order", "no_awb"] {
        app.misbehave_for(mode, "create", mode, None).await;
        orders.push(app.created(&user, mode).await);
    }
    app.run_jobs_to_the_end().await;
    for order_id in &orders {
        assert_eq!(app.order(&user, order_id).await["status"], "confirmed");
        assert_eq!(app.carrier.order(order_id).await["createCalls"], 1);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_look_up_that_fails_says_nothing_and_nothing_is_sent_again() {
    // How look-ups fail, at first and then no more.
    let modes =
        ["500", "html", "truncated", "refuse", "not_found", "drop", "hang", "429", "redirect", "already_exists"];
    // These garble the answer about a shipment that exists.
    let garbled = ["wrong_order", "no_awb"];
    let app = TestApp::with(QUICK).await;
    let user = app.merchant().await;
    let mut orders = Vec::new();
    // Whether the create that nobody heard of again was executed.
    for (create, creates, modes) in
        [("drop", 2, modes.to_vec()), ("drop_after_work", 1, [&modes[..], &garbled].concat())]
    {
        for mode in modes {
            let name = format!("{create}-{mode}");
            app.misbehave_for(&name, "create", create, Some(1)).await;
            app.misbehave_for(&name, "track", mode, Some(3)).await;
            orders.push((app.created(&user, &name).await, name, creates));
        }
    }
    app.run_jobs_to_the_end().await;
    for (order_id, name, creates) in &orders {
        assert_eq!(app.order(&user, order_id).await["status"], "confirmed", "{name}");
        let books = app.carrier.order(order_id).await;
        assert_eq!(
            (&books["createCalls"], books["shipments"].as_array().unwrap().len()),
            (&json!(creates), 1),
            "{name}"
        );
        let answers = app.answers(order_id).await;
        let said: Vec<_> = answers.iter().map(|answer| (text(answer, "operation"), text(answer, "outcome"))).collect();
        assert_eq!(said.iter().filter(|said| **said == ("look_up_order", "retryable")).count(), 3, "{name}: {said:?}");
        for (at, (operation, _)) in said.iter().enumerate().skip(1) {
            if *operation == "create_order" {
                assert_eq!(said[at - 1], ("look_up_order", "absent"), "{name}: nothing else allows another create");
            }
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn without_any_look_up_nothing_is_ever_sent_again() {
    // A day of backoff in a few rounds.
    let app = TestApp::with(&["--backoff-base-ms=21600000", "--backoff-max-ms=21600000"]).await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let mut orders = Vec::new();
    for (create, creates) in [("drop", 2), ("drop_after_work", 1)] {
        for mode in ["500", "html", "refuse"] {
            let name = format!("{create}-{mode}");
            app.misbehave_for(&name, "create", create, Some(1)).await;
            app.misbehave_for(&name, "track", mode, None).await;
            orders.push((app.created(&user, &name).await, name, creates));
        }
    }
    app.run_jobs_to_the_end().await;
    for (order_id, name, _) in &orders {
        assert_eq!(app.order(&user, order_id).await["status"], "needs_attention", "{name}");
        let books = app.carrier.order(order_id).await;
        assert_eq!(books["createCalls"], 1, "{name}");
        assert!(books["trackCalls"].as_i64() > Some(3), "{name}: for a day");
    }
    app.carrier.behave().await;
    let all = app
        .request(Method::POST, "/queues/parcelx-orders-queue/retry-dead", Some(&admin.token), None)
        .await
        .expect(200);
    assert_eq!(all.body, json!({ "retried": 6, "refused": 0, "failed": 0, "more": false }));
    app.run_jobs_to_the_end().await;
    for (order_id, name, creates) in &orders {
        assert_eq!(app.order(&user, order_id).await["status"], "confirmed", "{name}");
        let books = app.carrier.order(order_id).await;
        assert_eq!(
            (&books["createCalls"], books["shipments"].as_array().unwrap().len()),
            (&json!(creates), 1),
            "{name}"
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn an_absence_counts_only_after_the_settling_delay() {
    let app = TestApp::with(&["--settling-delay-ms=60000"]).await;
    let user = app.merchant().await;
    app.carrier.misbehave("create", "500", 1).await;
    let order_id = app.created(&user, "c-1").await;
    app.run_jobs().await;
    for looks in 1..=2 {
        app.app.clock.advance(Duration::from_secs(3));
        app.run_jobs().await;
        let books = app.carrier.order(&order_id).await;
        // Told "no record", the job waits for the end of the delay instead of asking on.
        assert_eq!((&books["createCalls"], &books["trackCalls"]), (&json!(1), &json!(1)), "look {looks}");
        let order = app.order(&user, &order_id).await;
        assert_eq!((&order["status"], &order["providerSyncStatus"]), (&json!("created"), &json!("unknown")));
    }
    app.app.clock.advance(Duration::from_secs(60));
    app.run_jobs().await;
    let books = app.carrier.order(&order_id).await;
    assert_eq!((&books["createCalls"], &books["trackCalls"]), (&json!(2), &json!(2)));
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_arrives_late_is_found_by_the_second_look() {
    // The carrier books it only after our deadline has passed and a first look has found nothing.
    let app = TestApp::with(&["--call-deadline-ms=300"]).await;
    let user = app.merchant().await;
    app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 2500, "times": 1 })).await;
    let order_id = app.created(&user, "c-1").await;
    app.run_jobs().await;
    app.app.clock.advance(Duration::from_secs(2));
    app.run_jobs().await;
    crate::support::eventually("the carrier has booked it", Duration::from_secs(10), async || {
        app.carrier.shipments_of(&order_id).await.len() == 1
    })
    .await;
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    assert_eq!(app.carrier.order(&order_id).await["createCalls"], 1);
    app.finish().await;
}

#[tokio::test]
async fn a_look_up_with_refused_credentials_gives_up_and_forgets_nothing() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    app.carrier.misbehave("create", "drop_after_work", 1).await;
    app.carrier.misbehave("track", "401", 1).await;
    let order_id = app.created(&user, "c-1").await;
    app.run_jobs_to_the_end().await;
    let order = app.order(&user, &order_id).await;
    assert_eq!(
        (&order["status"], &order["failure"]["code"]),
        (&json!("needs_attention"), &json!("provider.unauthorized"))
    );
    app.request(Method::POST, "/queues/parcelx-orders-queue/retry-dead", Some(&admin.token), None).await.expect(200);
    app.resume(&admin, "parcelx-orders-queue").await;
    assert_eq!(app.order(&user, &order_id).await["providerSyncStatus"], "unknown", "it may be there");
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    assert_eq!(app.carrier.order(&order_id).await["createCalls"], 1);
    app.finish().await;
}
