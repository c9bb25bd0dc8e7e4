//! Taking orders back, from every state.

use std::time::Duration;

use bson::doc;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::support::{TestApp, eventually};

/// A day of backoff in a few rounds.
const HOURS: &[&str] = &["--backoff-base-ms=21600000", "--backoff-max-ms=21600000"];

const SOON: Duration = Duration::from_secs(20);

/// `status` and `cancellation.status` of an answered order.
fn states(order: &Value) -> (&str, &str) {
    (order["status"].as_str().unwrap(), order["cancellation"]["status"].as_str().unwrap_or("none"))
}

#[tokio::test]
async fn before_any_attempt_it_is_settled_at_once_without_a_call() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.created(&user, "c-1").await;
    let body = json!({ "clientOrderId": "c-1", "reason": "changed my mind" });

    let cancelled = app.post(&user, "/orders/cancel", &body).await.expect(202).body;

    assert_eq!(states(&cancelled), ("cancelled", "done"));
    assert_eq!(cancelled["cancellation"]["reason"], "changed my mind");
    let job = app.create_job(&order_id).await;
    assert_eq!(job.get_str("state").unwrap(), "done");
    assert_eq!(app.all("jobs", doc! {}).await.len(), 1, "no cancel job");
    app.run_jobs_to_the_end().await;
    assert_eq!(app.carrier.books().await["calls"], 0);
    assert!(app.all("provider_request_logs", doc! {}).await.is_empty());
    let replay = app.cancel(&user, "c-1").await.expect(200);
    assert_eq!(
        (replay.headers["idempotent-replayed"].to_str().unwrap(), states(&replay.body)),
        ("true", ("cancelled", "done"))
    );
    assert_eq!(
        states(&app.create(&user, "c-1").await.expect(200).body),
        ("cancelled", "done"),
        "an id is never used anew"
    );
    app.finish().await;
}

#[tokio::test]
async fn in_backoff_it_is_looked_up_before_it_is_settled() {
    // What the first create does, calls of create and cancel, and whether a look-up is needed.
    for (mode, creates, cancels, looked_up) in
        [("500", 1, 0, true), ("drop_after_work", 1, 1, true), ("429", 1, 0, false), ("already_exists", 1, 0, true)]
    {
        let app = TestApp::with(&["--backoff-base-ms=60000"]).await;
        let user = app.merchant().await;
        app.carrier.rule(json!({ "operation": "create", "mode": mode, "times": 1, "retryAfterSeconds": 60 })).await;
        let order_id = app.created(&user, "c-1").await;
        app.run_jobs().await;
        assert_eq!(app.create_job(&order_id).await.get_str("state").unwrap(), "ready", "{mode}: in backoff");

        let asked = app.cancel(&user, "c-1").await.expect(202).body;
        assert_eq!(states(&asked), ("created", "requested"), "{mode}");
        app.run_jobs_to_the_end().await;

        let order = app.order(&user, &order_id).await;
        assert_eq!(states(&order), ("cancelled", "done"), "{mode}: {order}");
        let books = app.carrier.order(&order_id).await;
        assert_eq!((&books["createCalls"], &books["cancelCalls"]), (&json!(creates), &json!(cancels)), "{mode}");
        assert_eq!(books["trackCalls"].as_u64().unwrap() > 0, looked_up, "{mode}");
        app.cancel(&user, "c-1").await.expect(200);
        app.finish().await;
    }
}

#[tokio::test]
async fn while_the_create_is_in_flight_it_waits_for_its_end() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 700 })).await;
    let order_id = app.created(&user, "c-1").await;
    let worker = app.worker.clone();
    let attempt = tokio::spawn(async move { worker.run_due().await });
    eventually("the call is under way", SOON, async || app.carrier.order(&order_id).await["createCalls"] == 1).await;

    let asked = app.cancel(&user, "c-1").await.expect(202).body;

    assert_eq!(states(&asked), ("created", "requested"));
    assert!(app.jobs_of(&order_id, "cancel-order").await.is_empty(), "not before the create has ended");
    assert_eq!(attempt.await.unwrap(), 1);
    assert_eq!(app.jobs_of(&order_id, "cancel-order").await.len(), 1, "inserted by the transaction that ended it");
    assert_eq!(states(&app.cancel(&user, "c-1").await.expect(200).body), ("confirmed", "requested"));
    app.run_jobs().await;
    assert_eq!(states(&app.order(&user, &order_id).await), ("cancelled", "done"));
    let books = app.carrier.order(&order_id).await;
    assert_eq!((&books["createCalls"], &books["cancelCalls"]), (&json!(1), &json!(1)));
    assert_eq!(books["shipments"][0]["cancelled"], true);
    app.finish().await;
}

#[tokio::test]
async fn in_flight_and_refused_there_is_nothing_to_take_back() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    app.carrier.rule(json!({ "operation": "create", "mode": "refuse", "latencyMs": 700 })).await;
    let order_id = app.created(&user, "c-1").await;
    let worker = app.worker.clone();
    let attempt = tokio::spawn(async move { worker.run_due().await });
    eventually("the call is under way", SOON, async || app.carrier.order(&order_id).await["createCalls"] == 1).await;
    app.cancel(&user, "c-1").await.expect(202);
    attempt.await.unwrap();
    app.run_jobs().await;
    assert_eq!(states(&app.order(&user, &order_id).await), ("cancelled", "done"));
    assert_eq!(app.carrier.order(&order_id).await["cancelCalls"], 0);
    app.finish().await;
}

#[tokio::test]
async fn a_confirmed_order_is_taken_back_at_the_carrier() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.confirmed(&user, "c-1").await;

    let asked = app.cancel(&user, "c-1").await.expect(202).body;
    assert_eq!(states(&asked), ("confirmed", "requested"));
    assert_eq!(states(&app.cancel(&user, "c-1").await.expect(200).body), ("confirmed", "requested"), "asked twice");
    app.run_jobs().await;

    let order = app.order(&user, &order_id).await;
    assert_eq!(states(&order), ("cancelled", "done"));
    let requests = app.all("provider_request_logs", doc! { "operation": "cancel_order" }).await;
    let answers = app.all("provider_response_logs", doc! { "operation": "cancel_order" }).await;
    assert_eq!((requests.len(), answers.len()), (1, 1));
    assert_eq!(order["cancellation"]["requestRefId"], requests[0].get_str("_id").unwrap());
    assert_eq!(order["cancellation"]["responseRefId"], answers[0].get_str("_id").unwrap());
    assert_eq!(answers[0].get_str("outcome").unwrap(), "done");
    assert_eq!(app.jobs_of(&order_id, "cancel-order").await.len(), 1);
    assert_eq!(states(&app.cancel(&user, "c-1").await.expect(200).body), ("cancelled", "done"), "and a third time");
    app.finish().await;
}

#[tokio::test]
async fn a_failed_order_can_not_be_taken_back() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    app.carrier.misbehave("create", "refuse", 1).await;
    let order_id = app.created(&user, "c-1").await;
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "failed");
    let counts = app.counts().await;
    assert_eq!(app.cancel(&user, "c-1").await.expect(409).code(), "orders.not_cancellable");
    assert_eq!(app.counts().await, counts);
    assert_eq!(app.order(&user, &order_id).await["cancellation"], Value::Null);
    app.finish().await;
}

#[tokio::test]
async fn refused_by_the_carrier_the_order_stays_and_may_be_asked_for_again() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.confirmed(&user, "c-1").await;
    let awb = app.order(&user, &order_id).await["shipment"]["awb"].as_str().unwrap().to_owned();
    app.carrier.set_status(&awb, "picked_up").await;

    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs().await;
    assert_eq!(states(&app.order(&user, &order_id).await), ("confirmed", "refused"));
    let failure = app.order(&user, &order_id).await["cancellation"]["failure"].clone();
    assert_eq!((&failure["class"], &failure["code"]), (&json!("fatal"), &json!("provider.refused")));
    assert!(failure["message"].as_str().unwrap().contains("already picked up"), "the merchant sees why: {failure}");
    let jobs = app.jobs_of(&order_id, "cancel-order").await;
    assert_eq!((jobs.len(), jobs[0].get_str("state").unwrap()), (1, "dead"));
    let answers = app.answers(&order_id).await;
    let [.., answer, looked_up] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((answer.get_str("outcome").unwrap(), answer.get_str("errorClass").unwrap()), ("fatal", "fatal"));
    assert!(answer.get_str("errorMessage").unwrap().contains("already picked up"));
    assert_eq!(looked_up.get_str("outcome").unwrap(), "found", "before it counts");

    // Back at the depot.
    app.carrier.set_status(&awb, "booked").await;
    assert_eq!(states(&app.cancel(&user, "c-1").await.expect(202).body), ("confirmed", "requested"));
    app.run_jobs().await;
    assert_eq!(states(&app.order(&user, &order_id).await), ("cancelled", "done"));
    assert_eq!(app.jobs_of(&order_id, "cancel-order").await.len(), 2);
    app.finish().await;
}

#[tokio::test]
async fn cancelled_there_before_is_done() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.confirmed(&user, "c-1").await;
    let awb = app.order(&user, &order_id).await["shipment"]["awb"].as_str().unwrap().to_owned();
    app.carrier.set_status(&awb, "cancelled").await;
    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs().await;
    assert_eq!(states(&app.order(&user, &order_id).await), ("cancelled", "done"));
    app.finish().await;
}

#[tokio::test]
async fn what_nobody_knows_is_looked_up_and_taken_back() {
    // Whether the carrier has it after a day of look-ups, and calls of cancel then.
    for (mode, cancels) in [("500_after_work", 1), ("500", 0)] {
        let app = TestApp::with(HOURS).await;
        let user = app.merchant().await;
        app.carrier.misbehave("create", mode, 1).await;
        app.carrier.misbehave_always("track", "500").await;
        let order_id = app.created(&user, "c-1").await;
        app.run_jobs_to_the_end().await;
        assert_eq!(app.order(&user, &order_id).await["status"], "needs_attention", "{mode}");

        app.carrier.behave().await;
        assert_eq!(states(&app.cancel(&user, "c-1").await.expect(202).body), ("needs_attention", "requested"));
        app.run_jobs_to_the_end().await;

        assert_eq!(states(&app.order(&user, &order_id).await), ("cancelled", "done"), "{mode}");
        let books = app.carrier.order(&order_id).await;
        assert_eq!((&books["createCalls"], &books["cancelCalls"]), (&json!(1), &json!(cancels)), "{mode}");
        assert!(app.all("jobs", doc! { "state": "dead" }).await.is_empty(), "{mode}: nobody has to look any more");
        app.finish().await;
    }
}

#[tokio::test]
async fn a_cancel_given_up_is_kept_and_may_be_asked_for_again() {
    let app = TestApp::with(HOURS).await;
    let user = app.merchant().await;
    let order_id = app.confirmed(&user, "c-1").await;
    app.carrier.misbehave_always("cancel", "500").await;
    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs_to_the_end().await;
    assert_eq!(states(&app.order(&user, &order_id).await), ("confirmed", "needs_attention"));
    assert!(app.carrier.order(&order_id).await["cancelCalls"].as_i64() > Some(3), "for a day");

    app.carrier.behave().await;
    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs_to_the_end().await;
    assert_eq!(states(&app.order(&user, &order_id).await), ("cancelled", "done"));
    app.finish().await;
}

#[tokio::test]
async fn creates_and_cancels_of_one_id_at_once_end_in_a_legal_state() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 30 })).await;
    let worker = app.start_worker();
    let names: Vec<_> = (0..6).map(|n| format!("c-{n}")).collect();
    let (app_ref, user_ref) = (&app, &user);
    join_all(names.iter().map(|name| async move {
        let (app, user) = (app_ref, user_ref);
        let creates = join_all((0..25).map(|_| app.create(user, name)));
        let cancels = join_all((0..25).map(|_| app.cancel(user, name)));
        let (creates, cancels) = join(creates, cancels).await;
        let count = |answers: &[crate::support::Answer], status: u16| {
            answers.iter().filter(|answer| answer.status.as_u16() == status).count()
        };
        assert_eq!((count(&creates, 201), count(&creates, 200)), (1, 24), "{name}");
        assert!(count(&cancels, 202) <= 1, "{name}");
        assert_eq!(count(&cancels, 202) + count(&cancels, 200) + count(&cancels, 404), 25, "{name}");
        if count(&cancels, 202) == 0 {
            app.cancel(user, name).await.expect(202);
        }
    }))
    .await;
    worker.stop().await;
    app.run_jobs_to_the_end().await;

    for order in app.all("orders", doc! {}).await {
        let id = order.get_str("_id").unwrap();
        assert_eq!(states(&app.order(&user, id).await), ("cancelled", "done"));
        assert!(app.jobs_of(id, "cancel-order").await.len() <= 1);
        let ended = doc! { "subjectId": id, "type": "OrderCancelled" };
        assert_eq!(app.all("events", ended).await.len(), 1, "cancelled once");
    }
    assert_eq!(app.all("orders", doc! {}).await.len(), 6);
    app.finish().await;
}
