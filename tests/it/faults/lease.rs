//! Workers that are silent for longer than their lease, and workers that are asked to stop.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use waybill::{
    modules::queue::{ClaimQuery, ClaimTerms, JobState, QueueStore},
    platform::clock::after,
};

use super::{FAST, PATIENCE, confirmed_once, int, settled, text, workshop};
use crate::support::{TestApp, eventually, process::Launch};

/// Everything about orders but the answers.
async fn state(app: &TestApp) -> Vec<Vec<Document>> {
    let mut all = Vec::new();
    for collection in ["orders", "jobs", "events", "provider_request_logs"] {
        all.push(app.all(collection, doc! {}).await);
    }
    all
}

/// A worker is frozen at `point` for longer than its lease while another one takes over; then it goes on, and ends. Gives
/// what it had to say and the carrier's books.
async fn taken_over_at(point: &str) -> (Vec<Document>, Value) {
    let app = TestApp::with(FAST).await;
    let user = app.merchant().await;
    if point == "sent" {
        app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 400, "times": 1 })).await;
    }
    let order_id = app.created(&user, "c-1").await;
    let mut silent = Launch::worker(&app, FAST).freeze_at(point).spawn();
    silent.frozen().await;
    let mut second = Launch::worker(&app, FAST).start().await;
    settled(&app).await;
    confirmed_once(&app, &user, &order_id, point).await;
    let before = state(&app).await;

    silent.signal(Signal::SIGCONT);
    silent.terminate().await;
    second.terminate().await;
    assert_eq!(state(&app).await, before, "{point}: a late worker changes nothing");
    let theirs = confirmed_once(&app, &user, &order_id, point).await;
    let late = app.all("provider_response_logs", doc! { "late": true }).await;
    app.finish().await;
    (late, theirs)
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_does_not_send() {
    // Frozen before the commit, in the middle of a transaction, the second worker has to end it; thawed, it begins again in
    // a new one, and finds its lease gone.
    let points = ["claimed", "before_commit", "after_commit", "request_logged", "sending"];
    let all = join_all(points.map(taken_over_at));
    for (point, (late, theirs)) in points.iter().zip(all.await) {
        assert_eq!(theirs["createCalls"], 1, "{point}: only the second worker's");
        if matches!(*point, "claimed" | "before_commit") {
            assert_eq!(late, [], "{point}: it had begun nothing");
        } else {
            assert_eq!(late.len(), 1, "{point}: its request log is closed by itself, too");
            assert_eq!(text(&late[0], "errorCode"), "exchange.no_time", "{point}");
            assert_eq!(late[0].get("httpStatus"), Some(&bson::Bson::Null), "{point}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_the_lease_is_on_record_and_changes_nothing() {
    let points = ["sent", "answered", "before_completion"];
    let all = join_all(points.map(taken_over_at));
    for (point, (late, theirs)) in points.iter().zip(all.await) {
        assert_eq!(theirs["trackCalls"], 1, "{point}: the second worker looked it up");
        assert_eq!(late.len(), 1, "{point}");
        if *point == "sent" {
            assert_eq!(text(&late[0], "errorCode"), "exchange.timed_out", "its time had passed");
        } else {
            assert_eq!((text(&late[0], "outcome"), int(&late[0], "httpStatus")), ("done", 200), "{point}");
            assert_eq!(Some(text(&late[0], "awb")), theirs["shipments"][0]["awb"].as_str(), "{point}");
        }
    }
}

/// Settings under which a call may take a second and a stop waits for it.
const PATIENT: &[&str] =
    &["--lease-ms=6000", "--call-deadline-ms=3000", "--heartbeat-ms=500", "--poll-ms=50", "--shutdown-ms=8000"];

#[tokio::test]
async fn a_stopping_worker_finishes_its_calls_and_begins_no_others() {
    let app = TestApp::with(PATIENT).await;
    let user = app.merchant().await;
    app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 1000 })).await;
    let mut order_ids = Vec::new();
    for n in 0..10 {
        order_ids.push(app.created(&user, &format!("c-{n}")).await);
    }
    let few = [PATIENT, &["--concurrency=4"]].concat();
    let mut worker = Launch::worker(&app, &few).start().await;
    eventually("four calls are under way", PATIENCE, async || app.carrier.books().await["calls"] == 4).await;
    let took = worker.terminate().await;
    assert!(took < Duration::from_secs(4), "a call of a second, not a shutdown limit: {took:?}");

    let jobs = app.all("jobs", doc! {}).await;
    let count = |state: &str| jobs.iter().filter(|job| text(job, "state") == state).count();
    assert_eq!((count("done"), count("ready")), (4, 6), "calls are finished, nothing is begun, nothing is left behind");
    assert_eq!(app.carrier.books().await["calls"], 4);
    for job in jobs.iter().filter(|job| text(job, "state") == "ready") {
        assert_eq!(int(job, "attempts"), 0, "no attempt is used up: {job}");
    }

    app.carrier.behave().await;
    let mut next = Launch::worker(&app, PATIENT).start().await;
    settled(&app).await;
    next.terminate().await;
    for order_id in &order_ids {
        let theirs = confirmed_once(&app, &user, order_id, "after the stop").await;
        assert_eq!(theirs["trackCalls"], 0, "nothing was uncertain");
        assert_eq!(int(&app.create_job(order_id).await, "attempts"), 1);
    }
    app.finish().await;
}

#[tokio::test]
async fn jobs_claimed_while_the_worker_stops_are_done_or_given_back() {
    let app = TestApp::with(PATIENT).await;
    let user = app.merchant().await;
    for n in 0..20 {
        app.created(&user, &format!("c-{n}")).await;
    }
    let mut worker = Launch::worker(&app, PATIENT).freeze_at("claimed").spawn();
    worker.frozen().await;
    let claimed = app.all("jobs", doc! { "state": "active" }).await.len();
    assert_eq!(claimed, 20);
    // The signal waits for the process; both go on together.
    worker.signal(Signal::SIGTERM);
    worker.signal(Signal::SIGCONT);
    let status = worker.end().await;
    assert_eq!(status.code(), Some(0), "{}", worker.log());
    for job in app.all("jobs", doc! {}).await {
        let attempts = int(&job, "attempts");
        match text(&job, "state") {
            "done" => assert_eq!(attempts, 1),
            "ready" => assert_eq!(attempts, 0, "given back without using up an attempt: {job}"),
            _ => panic!("left behind: {job}"),
        }
    }
    app.run_jobs().await;
    for order in app.all("orders", doc! {}).await {
        confirmed_once(&app, &user, order.get_str("_id").unwrap(), "given back").await;
    }
    app.finish().await;
}

#[tokio::test]
async fn an_order_whose_workers_always_die_needs_a_person() {
    let app = TestApp::with(&["--max-attempts=3", "--lease-ms=5000"]).await;
    let user = app.merchant().await;
    let order_id = app.created(&user, "c-1").await;
    let queue = "parcelx-orders-queue";
    for death in 1..=3 {
        let (now, lease) = (app.app.clock.now(), Duration::from_secs(5));
        let store = &app.app.queue_store;
        let routes = store.ready_routes(queue).await.unwrap();
        let claiming = ClaimQuery::first(queue, &routes, 1, now);
        let due = store.find_due(&claiming).await.unwrap();
        let taking = ClaimTerms { worker_id: "wrk_doomed", token: "token", until: after(now, lease) };
        let taken = store.take(&claiming, &taking, &due.ids).await.unwrap();
        assert_eq!(taken.len(), 1, "death {death}: it is due again");
        assert_eq!(
            app.app.queue_store.reclaim_expired(queue, app.app.clock.now()).await.unwrap(),
            0,
            "the lease holds"
        );
        app.app.clock.advance(lease + Duration::from_millis(1));
        assert_eq!(app.app.queue_store.reclaim_expired(queue, app.app.clock.now()).await.unwrap(), 1);
    }
    app.run_jobs().await;
    let job = app.create_job(&order_id).await;
    assert_eq!(text(&job, "state"), "dead");
    let error = job.get_document("lastError").unwrap();
    assert_eq!((text(error, "class"), text(error, "code")), ("lease", "queue.workers_died"));
    let order = app.order(&user, &order_id).await;
    assert_eq!((&order["status"], &order["providerSyncStatus"]), (&json!("needs_attention"), &json!("failed")));
    assert!(app.carrier.order(&order_id).await.is_null(), "nothing was ever sent");
    app.finish().await;
}

#[tokio::test]
async fn a_worker_whose_clock_is_ahead_claims_nothing_beside_those_that_agree() {
    let app = TestApp::with(PATIENT).await;
    let user = app.merchant().await;
    let first = app.start_worker();
    let in_step = async |wanted: bool| app.all("workers", doc! { "inStep": wanted }).await;
    eventually("the first works", PATIENCE, async || in_step(true).await.len() == 1).await;
    // As if it had been started after a change of the primary, ahead by more than a lease.
    let ahead = app.beside(PATIENT).await;
    ahead.app.clock.advance(Duration::from_secs(10));
    let second = ahead.start_worker();
    eventually("the second knows", PATIENCE, async || in_step(false).await.len() == 1).await;
    assert!((9_000..11_000).contains(&in_step(false).await[0].get_i64("aheadMs").unwrap()), "it is published");

    app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 1500, "times": 1 })).await;
    let order_id = app.created(&user, "c-1").await;
    settled(&app).await;
    let theirs = confirmed_once(&app, &user, &order_id, "the lease was its worker's").await;
    assert_eq!(theirs["trackCalls"], 0, "nobody took it back early: {theirs}");

    first.stop().await;
    let order_id = app.created(&user, "c-2").await;
    settled(&app).await;
    confirmed_once(&app, &user, &order_id, "alone, the second goes on").await;
    second.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn leases_that_have_ended_are_found_without_reading_those_that_hold() {
    let app = TestApp::start().await;
    let now = app.app.clock.now();
    let (later, earlier) = (after(now, Duration::from_secs(60)), after(now, Duration::ZERO));
    workshop::jobs(&app, 500, |n, job| {
        job.state = JobState::Active;
        job.lease_token = Some("token".into());
        job.lease_until = Some(if n < 3 { earlier } else { later });
    })
    .await;
    let now = after(now, Duration::from_secs(1));
    let update =
        doc! { "q": QueueStore::expired(workshop::QUEUE, now), "u": { "$set": { "state": "ready" } }, "multi": true };
    let explain = doc! { "explain": { "update": "jobs", "updates": [update] }, "verbosity": "executionStats" };
    let explained = app.db().run_command(explain).await.unwrap();
    let stats = explained.get_document("executionStats").unwrap();
    assert!(int(stats, "totalKeysExamined") <= 5 && int(stats, "totalDocsExamined") == 3, "{stats}");
    assert_eq!(app.app.queue_store.reclaim_expired(workshop::QUEUE, now).await.unwrap(), 3);
    app.finish_unchecked().await;
}
