//! A carrier that can't be reached, throttles, refuses our credentials, or misbehaves when it is asked to cancel.

use std::time::Duration;

use bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, User, drive::closed_port, eventually};

const SOON: Duration = Duration::from_secs(20);
const CREATE: &str = "parcelx-orders-queue";
const CANCEL: &str = "parcelx-order-cancellation-queue";
/// Nothing comes due again because the machine is slow.
const SLOW: &str = "--backoff-base-ms=60000";

async fn queues(app: &TestApp, admin: &User) -> Vec<Value> {
    app.get(admin, "/queues").await.expect(200).body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn not_connected_uses_up_no_attempt_and_is_given_up_after_a_day() {
    let url = format!("--parcelx-base-url=http://127.0.0.1:{}/api/v3", closed_port());
    let app = TestApp::with(&[&url, SLOW]).await;
    let user = app.merchant().await;
    let order_id = app.created(&user, "c-1").await;
    for deferrals in 1..=12 {
        app.run_jobs().await;
        let job = app.create_job(&order_id).await;
        let counted =
            (job.get_str("state").unwrap(), job.get_i32("attempts").unwrap(), job.get_i32("deferrals").unwrap());
        assert_eq!(counted, ("ready", 0, deferrals));
        let order = app.order(&user, &order_id).await;
        assert_eq!((&order["status"], &order["providerSyncStatus"]), (&json!("created"), &json!("retrying")));
        app.app.clock.advance(Duration::from_secs(3600));
    }
    app.app.clock.advance(Duration::from_secs(12 * 3600));
    app.run_jobs().await;
    let order = app.order(&user, &order_id).await;
    assert_eq!(
        (&order["status"], &order["failure"]["code"]),
        (&json!("needs_attention"), &json!("exchange.not_connected"))
    );
    assert_eq!(app.create_job(&order_id).await.get_str("state").unwrap(), "dead");
    for answer in app.answers(&order_id).await {
        assert_eq!(answer.get_str("outcome").unwrap(), "retryable");
        assert_eq!(answer.get_str("errorCode").unwrap(), "exchange.not_connected");
        assert_eq!(answer.get("httpStatus"), Some(&bson::Bson::Null));
    }
    app.finish().await;
}

#[tokio::test]
async fn throttled_the_whole_account_waits_as_long_as_it_is_told() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    app.carrier.rule(json!({ "operation": "create", "mode": "429", "times": 1, "retryAfterSeconds": 120 })).await;
    let first = app.created(&user, "first").await;
    let told = app.app.clock.now_ms();
    app.run_jobs().await;
    let job = app.create_job(&first).await;
    assert_eq!((job.get_str("state").unwrap(), job.get_i32("attempts").unwrap()), ("ready", 0));
    assert!(job.get_datetime("runAt").unwrap().timestamp_millis() >= told + 120_000);
    for queue in queues(&app, &admin).await {
        let of_the_account = queue["name"].as_str().unwrap().starts_with("parcelx-");
        assert_eq!(queue["throttledUntil"].is_string(), of_the_account, "both queues of the account: {queue}");
    }

    let second = app.created(&user, "second").await;
    let worker = app.start_worker();
    eventually("the worker is there", SOON, async || !app.all("workers", doc! {}).await.is_empty()).await;
    app.app.clock.advance(Duration::from_secs(60));
    // Time enough for a worker to claim, if it wanted to: it has to say twice that it is alive.
    let seen = app.all("workers", doc! {}).await[0].clone();
    eventually("another heart-beat", SOON, async || app.all("workers", doc! {}).await[0] != seen).await;
    assert_eq!(app.carrier.books().await["calls"], 1, "nobody calls meanwhile");
    app.app.clock.advance(Duration::from_secs(65));
    for order_id in [&first, &second] {
        eventually("it goes on", SOON, async || app.order(&user, order_id).await["status"] == "confirmed").await;
    }
    worker.stop().await;
    assert!(queues(&app, &admin).await.iter().all(|queue| queue["throttledUntil"].is_null()));
    app.finish().await;
}

#[tokio::test]
async fn an_odd_retry_after_is_a_second_at_least_and_an_hour_at_most() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    for (n, (headers, seconds)) in [
        (json!(["0"]), 1),
        (json!(["Wed, 21 Oct 2020 07:28:30 GMT"]), 1),
        // As without a header.
        (json!(["soon"]), 5),
        (json!(["3", "120"]), 120),
        (json!(["99999999999999999999999"]), 3_600),
    ]
    .into_iter()
    .enumerate()
    {
        app.carrier.rule(json!({ "operation": "create", "mode": "429", "times": 1, "retryAfter": headers })).await;
        let order_id = app.created(&user, &format!("c-{n}")).await;
        let told = app.app.clock.now_ms();
        app.run_jobs().await;
        let all = queues(&app, &admin).await;
        let until = all.iter().find_map(|queue| queue["throttledUntil"].as_str()).expect("it is throttled");
        let until = bson::DateTime::parse_rfc3339_str(until).unwrap().timestamp_millis();
        let wait = Duration::from_millis((until - told).unsigned_abs());
        let wanted = Duration::from_secs(seconds);
        assert!((wanted..wanted + SOON).contains(&wait), "{headers}: {wait:?}");
        assert_eq!(app.carrier.order(&order_id).await["createCalls"], 1, "{headers}: nobody asks on");
        app.app.clock.advance(wait + Duration::from_secs(1));
        app.run_jobs_to_the_end().await;
        assert_eq!(app.order(&user, &order_id).await["status"], "confirmed", "{headers}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_firewalls_403_is_an_absent_provider_and_no_refused_credentials() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    for operation in ["create", "track"] {
        app.carrier.misbehave_always(operation, "html_403").await;
    }
    for n in 0..4 {
        app.created(&user, &format!("c-{n}")).await;
    }
    app.run_jobs().await;
    assert_eq!(app.breakers(&admin, CREATE).await, ["parcelx/default open unreachable"]);
    let orders = app.all("orders", doc! {}).await;
    assert!(orders.iter().all(|order| order.get_str("status").unwrap() == "created"), "{orders:?}");
    app.carrier.behave().await;
    app.run_jobs_to_the_end().await;
    assert_eq!(app.all("orders", doc! { "status": "confirmed" }).await.len(), 4);
    app.finish().await;
}

#[tokio::test]
async fn resuming_a_queue_lifts_its_throttle_in_every_process() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    app.carrier.rule(json!({ "operation": "create", "mode": "429", "times": 1, "retryAfterSeconds": 3600 })).await;
    let worker = app.start_worker();
    let order_id = app.created(&user, "c-1").await;
    let throttled = async || queues(&app, &admin).await.iter().any(|queue| queue["throttledUntil"].is_string());
    eventually("it is throttled", SOON, &throttled).await;
    for queue in ["parcelx-orders-queue", "parcelx-order-cancellation-queue"] {
        app.request(Method::POST, &format!("/queues/{queue}/resume"), Some(&admin.token), None).await.expect(200);
    }
    // An attempt that ended meanwhile is made due by the next resume.
    eventually("it goes on", SOON, async || {
        app.request(Method::POST, "/queues/parcelx-orders-queue/resume", Some(&admin.token), None).await.expect(200);
        app.order(&user, &order_id).await["status"] == "confirmed"
    })
    .await;
    assert!(!throttled().await);
    worker.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn an_outage_of_hours_uses_up_one_create_and_settles_by_itself() {
    const ROUNDS: u32 = 12;
    let app = TestApp::with(&[SLOW]).await;
    let user = app.merchant().await;
    let to_cancel = app.confirmed(&user, "c-1").await;
    app.cancel(&user, "c-1").await.expect(202);
    let order_id = app.created(&user, "c-2").await;
    for (operation, times) in [("create", 1), ("track", ROUNDS), ("cancel", ROUNDS)] {
        app.carrier.misbehave(operation, "500", times).await;
    }
    for _ in 0..ROUNDS {
        app.run_jobs().await;
        app.app.clock.advance(Duration::from_secs(3600));
    }
    let (waiting, cancelling) = (app.order(&user, &order_id).await, app.order(&user, &to_cancel).await);
    assert_eq!((&waiting["status"], &waiting["attempts"]), (&json!("created"), &json!(1)));
    assert_eq!(cancelling["cancellation"]["status"], "in_progress");
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    assert_eq!(app.order(&user, &to_cancel).await["status"], "cancelled");
    app.finish().await;
}

#[tokio::test]
async fn an_absent_provider_sees_few_probes_and_all_settles_on_its_return() {
    const STEP: Duration = Duration::from_secs(2);
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let calls = async || app.carrier.books().await["calls"].as_u64().unwrap();
    for operation in ["create", "track"] {
        app.carrier.misbehave_always(operation, "503").await;
    }
    for n in 0..20 {
        app.created(&user, &format!("under-way-{n}")).await;
    }
    app.run_jobs().await;
    assert_eq!(app.breakers(&admin, CREATE).await, ["parcelx/default open unreachable"]);
    assert_eq!(app.breakers(&admin, CANCEL).await, ["parcelx/default open unreachable"]);
    for n in 0..20 {
        app.created(&user, &format!("waiting-{n}")).await;
    }
    let before = calls().await;
    for _ in 0..30 {
        app.app.clock.advance(STEP);
        app.run_jobs().await;
    }
    let probes = calls().await - before;
    assert!((4..=12).contains(&probes), "{probes} calls in a minute");
    let logged = app.all("provider_request_logs", doc! {}).await.len() as u64;
    assert_eq!(logged, before + probes, "nothing is written down of what was not sent");

    app.carrier.behave().await;
    let mut waited = Duration::ZERO;
    while app.all("orders", doc! { "status": "confirmed" }).await.len() < 40 {
        app.app.clock.advance(STEP);
        waited += STEP;
        assert!(waited < Duration::from_secs(90), "{:?}", app.all("jobs", doc! { "state": "ready" }).await);
        app.run_jobs().await;
    }
    assert_eq!(app.breakers(&admin, CREATE).await, ["parcelx/default closed -"]);
    for order in app.all("orders", doc! {}).await {
        let creates = &app.carrier.order(order.get_str("_id").unwrap()).await["createCalls"];
        assert!(creates.as_u64().unwrap() <= 2, "{creates} creates: an outage uses up no more than one");
    }
    app.finish().await;
}

#[tokio::test]
async fn one_poisonous_order_stops_no_other() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    for operation in ["create", "track"] {
        app.misbehave_for("poison", operation, "503", None).await;
    }
    app.created(&user, "poison").await;
    for n in 0..6 {
        app.run_jobs().await;
        assert_eq!(app.breakers(&admin, CREATE).await, ["parcelx/default closed -"], "{n}");
        app.app.clock.advance(Duration::from_secs(400));
    }
    app.confirmed(&user, "well").await;
    app.carrier.behave().await;
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn refused_credentials_stop_the_account_until_a_person_acts() {
    let app = TestApp::with(&[SLOW]).await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    // Each time, however often a person has resumed it.
    for (n, mode) in ["401", "403", "401", "403"].iter().enumerate() {
        let name = format!("{mode}-{n}");
        app.misbehave_for(&name, "create", mode, Some(1)).await;
        let refused = app.created(&user, &name).await;
        app.run_jobs().await;
        assert_eq!(app.order(&user, &refused).await["status"], "needs_attention");
        for queue in [CREATE, CANCEL] {
            assert_eq!(app.breakers(&admin, queue).await, ["parcelx/default open credentials"]);
        }
        let waiting = app.created(&user, &format!("waiting-{n}")).await;
        app.app.clock.advance(Duration::from_secs(48 * 3600));
        app.run_jobs().await;
        let job = app.create_job(&waiting).await;
        assert_eq!((job.get_str("state").unwrap(), job.get_i32("attempts").unwrap()), ("ready", 0));
        eventually("it is on record", SOON, async || {
            let recorded = app.all("audit_events", doc! { "action": "provider_account.breaker_opened" }).await;
            let who = |event: &Document| event.get_document("actor").unwrap().get_str("id").unwrap().to_owned();
            recorded.iter().map(who).collect::<Vec<_>>() == vec!["parcelx/default"; n + 1]
        })
        .await;
        // Whichever of the account's queues is resumed.
        app.resume(&admin, CANCEL).await;
        app.run_jobs().await;
        assert_eq!(app.order(&user, &waiting).await["status"], "confirmed");
    }
    let path = format!("/queues/{CREATE}/retry-dead");
    let retried = app.request(Method::POST, &path, Some(&admin.token), None).await.expect(200).body;
    assert_eq!(retried["retried"], 4);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.all("orders", doc! { "status": "confirmed" }).await.len(), 8);
    app.finish().await;
}

#[tokio::test]
async fn a_cancel_is_repeated_until_it_is_done() {
    // How the first cancel goes wrong, and calls of cancel in the end.
    let modes = [
        ("500", 2),
        ("500_after_work", 2),
        ("html", 2),
        ("html_502", 2),
        ("truncated", 2),
        ("429", 2),
        ("hang", 2),
        ("hang_after_work", 2),
        ("drop", 2),
        ("drop_after_work", 2),
        ("something_went_wrong", 2),
        ("huge", 2),
        ("slow_body", 2),
        ("redirect", 2),
        ("already_cancelled", 1),
    ];
    let app = TestApp::with(&["--call-deadline-ms=1500"]).await;
    let user = app.merchant().await;
    let mut orders = Vec::new();
    for (mode, _) in modes {
        orders.push(app.created(&user, mode).await);
    }
    app.run_jobs().await;
    for (mode, _) in modes {
        app.misbehave_for(mode, "cancel", mode, Some(1)).await;
        app.cancel(&user, mode).await.expect(202);
    }
    app.run_jobs_to_the_end().await;
    for ((mode, cancels), order_id) in modes.iter().zip(&orders) {
        let order = app.order(&user, order_id).await;
        assert_eq!(
            (&order["status"], &order["cancellation"]["status"]),
            (&json!("cancelled"), &json!("done")),
            "{mode}"
        );
        assert_eq!(app.carrier.order(order_id).await["cancelCalls"], *cancels, "{mode}");
        let answers =
            app.all("provider_response_logs", doc! { "orderId": order_id, "operation": "cancel_order" }).await;
        let outcomes: Vec<_> = answers.iter().map(|answer| answer.get_str("outcome").unwrap()).collect();
        assert_eq!(outcomes, if *cancels == 1 { vec!["done"] } else { vec!["retryable", "done"] }, "{mode}");
        let jobs: Vec<Document> = app.jobs_of(order_id, "cancel-order").await;
        assert_eq!((jobs.len(), jobs[0].get_str("state").unwrap()), (1, "done"), "{mode}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_cancel_that_is_refused_changes_nothing() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    for (mode, cancellation) in [
        ("refuse", "refused"),
        ("refuse_array", "refused"),
        ("refuse_400", "refused"),
        ("refuse_422", "refused"),
        ("not_found", "refused"),
        ("401", "needs_attention"),
        ("403", "needs_attention"),
    ] {
        let order_id = app.confirmed(&user, mode).await;
        app.misbehave_for(mode, "cancel", mode, Some(1)).await;
        app.cancel(&user, mode).await.expect(202);
        app.run_jobs_to_the_end().await;
        let order = app.order(&user, &order_id).await;
        assert_eq!(
            (&order["status"], &order["cancellation"]["status"]),
            (&json!("confirmed"), &json!(cancellation)),
            "{mode}"
        );
        assert_eq!(app.jobs_of(&order_id, "cancel-order").await[0].get_str("state").unwrap(), "dead", "{mode}");
        assert_eq!(app.carrier.order(&order_id).await["cancelCalls"], 1, "{mode}");
        app.resume(&admin, CANCEL).await;
    }
    app.finish().await;
}
