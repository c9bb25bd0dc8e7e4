//! Handlers: once each, good beside bad, in order.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::{Document, doc};
use tokio::sync::Notify;
use waybill::modules::events::{EVENTS_QUEUE, Event, EventHandler, HandlerAttempt, HandlerError};

use super::{Following, Noting, code_of, handler_jobs, notes, states};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn each_handler_gets_each_event_once_in_the_order_of_its_subject() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let handlers = vec![
        Noting::well(&app, "first", &["OrderCreated", "OrderConfirmed", "OrderCancelled"]),
        Noting::well(&app, "second", &["OrderConfirmed"]),
    ];
    let on = Following::with(&app, handlers);
    let order_id = app.created(&user, "o-1").await;
    let seqs = app.all("events", doc! { "subjectId": &order_id }).await;
    assert_eq!(seqs[0].get_i64("seq").unwrap(), 1, "events are counted from 1");
    on.relay.pass().await.unwrap();
    let job = handler_jobs(&app, "first").await.remove(0);
    assert_eq!((job.get_str("kind").unwrap(), job.get_i32("priority").unwrap()), ("handle-event", 0));
    assert_eq!(job.get_str("owner").unwrap(), user.user_id);
    assert!(job.get_str("dedupeKey").unwrap().starts_with("first:evt_"));
    on.run().await;
    app.cancel(&user, "o-1").await.expect(202);
    on.run().await;
    let history = app.all("events", doc! { "subjectId": &order_id }).await;
    let kinds: Vec<_> =
        history.iter().map(|event| (event.get_i64("seq").unwrap(), event.get_str("type").unwrap())).collect();
    let expected = [(1, "OrderCreated"), (2, "OrderConfirmed"), (3, "CancellationRequested"), (4, "OrderCancelled")];
    assert_eq!(kinds, expected);
    assert_eq!(notes(&app, &order_id).await, ["first 1 1", "first 2 1", "second 2 1", "first 4 1"]);
    let correlations = app.all("handled", doc! { "seq": 1 }).await;
    let request_id = history[0].get_document("actor").unwrap().get_str("requestId").unwrap();
    assert_eq!(correlations[0].get_str("correlationId").unwrap(), request_id);
    assert!(app.all("outbox", doc! {}).await.is_empty());
    assert_eq!(on.relay.pass().await.unwrap(), 0);
    app.finish().await;
}

#[tokio::test]
async fn a_failing_handler_holds_up_neither_others_nor_the_next_event() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let kinds = &["OrderCreated", "OrderConfirmed"];
    let retryable = |after| Err(HandlerError::Retryable { code: "test.away", message: "Away.".into(), after });
    let handlers = vec![
        Noting::well(&app, "good", kinds),
        Noting::who(&app, "fails", kinds, move |_, _| retryable(None)),
        Noting::who(&app, "recovers", kinds, move |_, attempt| {
            if attempt < 3 { retryable(Some(Duration::from_secs(20))) } else { Ok(()) }
        }),
        Noting::who(&app, "panics", kinds, |_, _| panic!("on purpose")),
        Noting::who(&app, "refuses", kinds, |_, _| {
            Err(HandlerError::Invalid { code: "events.invalid_order", message: "No.".into() })
        }),
    ];
    let on = Following::with(&app, handlers);
    let order_id = app.created(&user, "o-1").await;
    on.run().await;
    // The first attempt of each has ended, well or not, so the next event has had its own.
    for name in ["good", "fails", "recovers", "panics", "refuses"] {
        let first: Vec<_> = notes(&app, &order_id).await.into_iter().filter(|note| note.starts_with(name)).collect();
        assert_eq!(first, [format!("{name} 1 1"), format!("{name} 2 1")]);
    }
    assert_eq!(states(&app, "good").await, ["done", "done"]);
    assert_eq!(states(&app, "refuses").await, ["dead", "dead"]);
    assert_eq!(states(&app, "fails").await, ["ready", "ready"]);
    on.run_to_the_end().await;
    for (name, state, code, attempts) in [
        ("fails", "dead", "test.away", 4),
        ("panics", "dead", "queue.panic", 4),
        ("refuses", "dead", "events.invalid_order", 1),
        ("recovers", "done", "", 3),
    ] {
        for job in handler_jobs(&app, name).await {
            assert_eq!(job.get_str("state").unwrap(), state, "{job}");
            assert_eq!((code_of(&job), job.get_i32("attempts").unwrap()), (code, attempts));
            assert!(job.get_document("line").is_err(), "it has left its line: {job}");
        }
    }
    // A person lets a dead one run again, like any other job.
    let admin = app.admin().await;
    let dead = handler_jobs(&app, "refuses").await.remove(0);
    let path = format!("/queues/jobs/{}/retry", dead.get_str("_id").unwrap());
    app.update_one("handled", doc! { "handler": "refuses", "seq": 1 }, doc! { "handler": "refused" }).await;
    app.db().collection::<Document>("handled").delete_one(doc! { "handler": "refused" }).await.unwrap();
    app.request(reqwest::Method::POST, &path, Some(&admin.token), None).await.expect(200);
    on.run().await;
    assert_eq!(states(&app, "refuses").await, ["dead", "dead"], "it was asked again");
    assert_eq!(app.all("handled", doc! { "handler": "refuses", "seq": 1 }).await.len(), 1);
    app.finish().await;
}

/// Hangs until it is let go.
struct Hanging(Notify);

#[async_trait]
impl EventHandler for Hanging {
    fn name(&self) -> &'static str {
        "hangs"
    }

    fn wants(&self, kind: &str) -> bool {
        kind == "OrderCreated"
    }

    async fn handle(&self, _: &Event, _: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
        self.0.notified().await;
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_that_hangs_and_a_worker_that_dies_hold_up_nobody_else() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let hanging = Arc::new(Hanging(Notify::new()));
    let on = Following::with(&app, vec![Noting::well(&app, "good", &["OrderCreated"]), hanging.clone()]);
    let orders: Vec<String> = [app.created(&user, "o-1").await, app.created(&user, "o-2").await].into();
    on.relay.pass().await.unwrap();
    // A worker that took everything and died: its leases end, and its first attempts are made again.
    let taken = doc! { "$set": { "state": "active", "leaseToken": "gone", "leaseOwner": "wrk_gone",
    "leaseUntil": bson::DateTime::from_millis(app.app.clock.now_ms() - 1) }, "$inc": { "attempts": 1 } };
    let jobs = app.db().collection::<Document>("jobs");
    jobs.update_many(doc! { "queue": EVENTS_QUEUE, "payload.handler": "good" }, taken).await.unwrap();
    let running = tokio::spawn({
        let worker = on.worker.clone();
        async move { worker.run_due().await }
    });
    eventually("the good one has handled both", Duration::from_secs(20), async || {
        states(&app, "good").await == ["done", "done"]
    })
    .await;
    for order_id in &orders {
        assert_eq!(notes(&app, order_id).await, ["good 1 2"]);
    }
    assert_eq!(states(&app, "hangs").await, ["active", "active"]);
    hanging.0.notify_waiters();
    running.await.unwrap();
    assert_eq!(states(&app, "hangs").await, ["done", "done"]);
    app.finish().await;
}

#[tokio::test]
async fn who_waits_behind_a_job_that_was_deleted_is_let_go() {
    let app = TestApp::with(&["--heartbeat-ms=100"]).await;
    let user = app.merchant().await;
    let on = Following::with(
        &app,
        vec![Noting::well(&app, "good", &["OrderCreated", "CancellationRequested", "OrderCancelled"])],
    );
    let order_id = app.created(&user, "o-1").await;
    app.cancel(&user, "o-1").await.expect(202);
    on.relay.pass().await.unwrap();
    let jobs = handler_jobs(&app, "good").await;
    let due: Vec<_> = jobs.iter().map(|job| job.get_str("turn").is_ok()).collect();
    assert_eq!(due, [true, false, false], "one after the other: {jobs:?}");
    let first = jobs[0].get_str("_id").unwrap();
    app.db().collection::<Document>("jobs").delete_one(doc! { "_id": first }).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = on.worker;
    let running = tokio::spawn(async move { worker.run(async { drop(stopped.await) }).await });
    eventually("the others are handled", Duration::from_secs(20), async || {
        notes(&app, &order_id).await == ["good 2 1", "good 3 1"]
    })
    .await;
    stop.send(()).unwrap();
    running.await.unwrap();
    app.finish().await;
}
