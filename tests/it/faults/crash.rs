//! A process is killed at every named point, and between two attempts.

use bson::doc;
use futures_util::{StreamExt, future::join_all, stream};
use serde_json::json;
use waybill::platform::crash::OF_JOBS;

use super::{FAST, PATIENCE, abandoned, confirmed_once, int, settled, text};
use crate::support::{TestApp, User, eventually, orders, process::Launch, read};

#[tokio::test]
async fn an_order_survives_a_worker_that_is_killed_at_any_point() {
    // A few at once: leases end where many processes have to share a core.
    let all = stream::iter(OF_JOBS.iter().copied().map(placed_despite));
    all.buffer_unordered(3).collect::<Vec<()>>().await;
}

async fn placed_despite(point: &str) {
    let app = TestApp::with(FAST).await;
    let user = app.merchant().await;
    // Requests that are left open where the worker dies; what was asked of the carrier after that.
    let open = match point {
        "claimed" | "before_commit" | "after_completion" => 0,
        "request_logged" | "sending" | "answered" | "before_completion" | "after_commit" => 1,
        "sent" => {
            app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 800, "times": 1 })).await;
            1
        }
        "looking_up" => {
            app.carrier.misbehave("create", "drop_after_work", 1).await;
            app.carrier.rule(json!({ "operation": "track", "mode": "ok", "latencyMs": 800, "times": 1 })).await;
            1
        }
        new => panic!("no test kills a worker at {new}"),
    };
    let order_id = app.created(&user, "c-1").await;
    Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;
    let died_before_sending =
        matches!(point, "claimed" | "before_commit" | "after_commit" | "request_logged" | "sending");
    if died_before_sending {
        assert!(app.carrier.order(&order_id).await.is_null(), "{point}: nothing was sent");
    }

    let mut healthy = Launch::worker(&app, FAST).start().await;
    settled(&app).await;
    healthy.terminate().await;
    let theirs = confirmed_once(&app, &user, &order_id, point).await;
    assert_eq!(abandoned(&app, &order_id).await, open, "{point}");
    let requests = app.all("provider_request_logs", doc! { "orderId": &order_id }).await;
    let looked_up = requests.iter().any(|request| text(request, "operation") == "look_up_order");
    assert_eq!(looked_up, open > 0, "{point}: what may have been sent is looked up, nothing else: {theirs}");
    assert_eq!(app.answers(&order_id).await.len(), requests.len(), "{point}: an answer for every request");
    app.finish().await;
}

#[tokio::test]
async fn an_order_is_taken_back_once_although_the_worker_is_killed() {
    join_all(["sent", "answered", "before_completion"].map(taken_back_despite)).await;
}

async fn taken_back_despite(point: &str) {
    let app = TestApp::with(FAST).await;
    let user = app.merchant().await;
    let order_id = app.confirmed(&user, "c-1").await;
    if point == "sent" {
        app.carrier.rule(json!({ "operation": "cancel", "mode": "ok", "latencyMs": 800, "times": 1 })).await;
    }
    app.cancel(&user, "c-1").await.expect(202);
    Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;

    let mut healthy = Launch::worker(&app, FAST).start().await;
    settled(&app).await;
    healthy.terminate().await;
    let order = app.order(&user, &order_id).await;
    assert_eq!((&order["status"], &order["cancellation"]["status"]), (&json!("cancelled"), &json!("done")), "{point}");
    let theirs = app.carrier.order(&order_id).await;
    assert_eq!(theirs["shipments"][0]["cancelled"], true, "{point}");
    assert_eq!((&theirs["createCalls"], &theirs["cancelCalls"]), (&json!(1), &json!(2)), "{point}");
    assert_eq!(abandoned(&app, &order_id).await, 1, "{point}");
    let ends = app.all("events", doc! { "subjectId": &order_id, "type": "OrderCancelled" }).await;
    assert_eq!(ends.len(), 1, "{point}: it is cancelled once");
    app.finish().await;
}

#[tokio::test]
async fn an_order_is_created_once_although_the_api_is_killed_around_its_commit() {
    join_all([("before_commit", 201), ("after_commit", 200)].map(|(point, status)| created_despite(point, status)))
        .await;
}

async fn created_despite(point: &str, status_of_the_retry: u16) {
    let app = TestApp::with(FAST).await;
    let user = app.merchant().await;
    let mut doomed = Launch::api(&app, FAST).crash_at(point).start().await;
    assert!(send_create(&app, &doomed.base, &user).await.is_err(), "{point}: the connection breaks");
    doomed.crash().await;

    let fresh = Launch::api(&app, FAST).start().await;
    let retry = read(send_create(&app, &fresh.base, &user).await.unwrap()).await.expect(status_of_the_retry);
    let replay = read(send_create(&app, &fresh.base, &user).await.unwrap()).await.expect(200);
    assert_eq!(retry.body["orderId"], replay.body["orderId"]);
    for (collection, filter) in [("orders", doc! {}), ("jobs", doc! {}), ("events", doc! { "type": "OrderCreated" })] {
        assert_eq!(app.all(collection, filter).await.len(), 1, "{point}: {collection}");
    }
    app.run_jobs().await;
    confirmed_once(&app, &user, retry.body["orderId"].as_str().unwrap(), point).await;
    app.finish().await;
}

async fn send_create(app: &TestApp, base: &str, user: &User) -> reqwest::Result<reqwest::Response> {
    let request = app.client.post(format!("{base}/orders/create")).bearer_auth(&user.token);
    request.header("content-type", "application/json").body(orders::order("c-1").to_string()).send().await
}

#[tokio::test]
async fn a_backoff_outlives_the_worker_that_waits() {
    let flags = [FAST, &["--backoff-base-ms=3000"]].concat();
    let app = TestApp::with(&flags).await;
    let user = app.merchant().await;
    app.carrier.misbehave("create", "500", 1).await;
    let order_id = app.created(&user, "c-1").await;

    let mut first = Launch::worker(&app, &flags).start().await;
    eventually("the first attempt has failed", PATIENCE, async || {
        let job = app.create_job(&order_id).await;
        text(&job, "state") == "ready" && int(&job, "attempts") == 1
    })
    .await;
    first.kill().await;
    let waiting = app.create_job(&order_id).await;
    let run_at = *waiting.get_datetime("runAt").unwrap();

    let mut second = Launch::worker(&app, &flags).start().await;
    settled(&app).await;
    second.terminate().await;
    let requests = app.all("provider_request_logs", doc! { "orderId": &order_id }).await;
    let operations: Vec<_> = requests.iter().map(|request| text(request, "operation")).collect();
    assert_eq!(operations, ["create_order", "look_up_order", "create_order"]);
    assert!(*requests[1].get_datetime("sentAt").unwrap() >= run_at, "the second worker waited on");
    assert_eq!(abandoned(&app, &order_id).await, 0, "nothing was under way");
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    assert_eq!(app.carrier.shipments_of(&order_id).await.len(), 1);
    app.finish().await;
}
