//! What operators see of the queues, and what they may do.

use std::time::Duration;

use bson::{Bson, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{Answer, TestApp, User, eventually};

const SOON: Duration = Duration::from_secs(20);
const CREATE: &str = "parcelx-orders-queue";
const CANCEL: &str = "parcelx-order-cancellation-queue";

async fn act(app: &TestApp, user: &User, method: Method, path: &str) -> Answer {
    app.request(method, path, Some(&user.token), None).await
}

async fn queue(app: &TestApp, admin: &User, name: &str) -> Value {
    let list = app.get(admin, "/queues").await.expect(200).body;
    list["items"].as_array().unwrap().iter().find(|queue| queue["name"] == name).unwrap().clone()
}

fn id_of(job: &Document) -> &str {
    job.get_str("_id").unwrap()
}

/// Jobs as listed, as `id state`.
fn listed(page: &Value) -> Vec<String> {
    let text = |job: &Value, field: &str| job[field].as_str().unwrap().to_owned();
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| format!("{} {}", text(job, "jobId"), text(job, "state")))
        .collect()
}

#[tokio::test]
async fn only_administrators_come_in() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.created(&user, "c-1").await;
    let job = app.create_job(&order_id).await;
    let routes = [
        (Method::GET, "/queues".to_owned()),
        (Method::GET, format!("/queues/{CREATE}/jobs")),
        (Method::GET, format!("/queues/jobs/{}", id_of(&job))),
        (Method::POST, format!("/queues/jobs/{}/retry", id_of(&job))),
        (Method::DELETE, format!("/queues/jobs/{}", id_of(&job))),
        (Method::POST, format!("/queues/{CREATE}/pause")),
        (Method::POST, format!("/queues/{CREATE}/resume")),
        (Method::POST, format!("/queues/{CREATE}/retry-dead")),
        // Neither tells whether something is there.
        (Method::GET, "/queues/jobs/job_1".to_owned()),
        (Method::POST, "/queues/nope/pause".to_owned()),
    ];
    for role in [Role::Merchant, Role::Finance, Role::Auditor] {
        let somebody = app.user(role).await;
        for (method, path) in &routes {
            let answer = act(&app, &somebody, method.clone(), path).await.expect(403);
            assert_eq!(answer.code(), "auth.forbidden", "{role:?} {method} {path}");
        }
    }
    for (method, path) in &routes {
        let answer = app.request(method.clone(), path, None, None).await.expect(401);
        assert_eq!(answer.code(), "auth.required", "{method} {path}");
    }
    assert_eq!(app.create_job(&order_id).await, job);
    app.finish().await;
}

#[tokio::test]
async fn counts_tell_due_from_delayed() {
    // What is delayed stays so, however slow the machine.
    let app = TestApp::with(&["--backoff-base-ms=60000"]).await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let counts = async |name: &str| queue(&app, &admin, name).await["counts"].clone();
    let zero = json!({ "ready": 0, "active": 0, "delayed": 0, "dead": 0, "done": 0 });
    assert_eq!((counts(CREATE).await, counts(CANCEL).await), (zero.clone(), zero.clone()));

    app.misbehave_for("retried", "create", "500", Some(1)).await;
    app.misbehave_for("refused", "create", "refuse", Some(1)).await;
    for name in ["retried", "refused", "well"] {
        app.created(&user, name).await;
    }
    app.run_jobs().await;
    app.created(&user, "due").await;
    assert_eq!(counts(CREATE).await, json!({ "ready": 1, "active": 0, "delayed": 1, "dead": 1, "done": 1 }));
    assert_eq!(counts(CANCEL).await, zero);

    app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 700 })).await;
    let worker = app.worker.clone();
    let attempt = tokio::spawn(async move { worker.run_due().await });
    eventually("it is active", SOON, async || counts(CREATE).await["active"] == 1).await;
    attempt.await.unwrap();
    assert_eq!(counts(CREATE).await, json!({ "ready": 0, "active": 0, "delayed": 1, "dead": 1, "done": 2 }));
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn jobs_are_listed_by_state_and_by_page() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    for n in 0..5 {
        app.misbehave_for(&format!("dead-{n}"), "create", "refuse", None).await;
        app.created(&user, &format!("dead-{n}")).await;
    }
    app.run_jobs().await;
    for n in 0..3 {
        app.created(&user, &format!("ready-{n}")).await;
    }
    let list = async |query: &str| app.get(&admin, &format!("/queues/{CREATE}/jobs{query}")).await.expect(200).body;
    let all = listed(&list("").await);
    let states: Vec<_> = all.iter().map(|job| job.rsplit(' ').next().unwrap()).collect();
    assert_eq!(states, ["dead", "dead", "dead", "dead", "dead", "ready", "ready", "ready"], "oldest first");
    assert_eq!(listed(&list("?state=dead").await), all[..5]);
    assert_eq!(listed(&list("?state=ready").await), all[5..]);
    assert!(listed(&list("?state=active").await).is_empty());
    let first = list("?state=dead&limit=3").await;
    assert_eq!(listed(&first), all[..3]);
    let second = list(&format!("?state=dead&limit=3&cursor={}", first["nextCursor"].as_str().unwrap())).await;
    assert_eq!((listed(&second), &second["nextCursor"]), (all[3..5].to_vec(), &Value::Null));
    let dead = &first["items"][0];
    assert_eq!(
        (&dead["lastError"]["class"], &dead["lastError"]["code"]),
        (&json!("fatal"), &json!("provider.refused"))
    );
    assert_eq!((&dead["attempts"], &dead["history"][0]["end"]), (&json!(1), &json!("dead")));

    for (query, blamed) in [
        ("state=asleep", "state:unknown_value"),
        ("limit=0", "limit:range"),
        ("limit=101", "limit:range"),
        ("cursor=ord_00000000000000000000000000000000", "cursor:format"),
        ("queue=x", "queue:unknown"),
    ] {
        let answer = app.get(&admin, &format!("/queues/{CREATE}/jobs?{query}")).await.expect(422);
        assert_eq!(answer.blamed(), [blamed], "{query}");
    }
    assert_eq!(app.get(&admin, "/queues/nope/jobs").await.expect(404).code(), "queues.not_found");
    app.finish().await;
}

#[tokio::test]
async fn only_what_has_ended_can_be_deleted() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let delete =
        async |job: &Document| act(&app, &admin, Method::DELETE, &format!("/queues/jobs/{}", id_of(job))).await;
    app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 700, "times": 1 })).await;
    let order_id = app.created(&user, "c-1").await;
    let job = app.create_job(&order_id).await;

    assert_eq!(delete(&job).await.expect(409).code(), "queues.not_ended", "ready");
    let worker = app.worker.clone();
    let attempt = tokio::spawn(async move { worker.run_due().await });
    eventually("it is active", SOON, async || app.create_job(&order_id).await.get_str("state").unwrap() == "active")
        .await;
    assert_eq!(delete(&job).await.expect(409).code(), "queues.not_ended", "active");
    attempt.await.unwrap();
    delete(&job).await.expect(204);
    assert_eq!(delete(&job).await.expect(404).code(), "queues.job_not_found");
    app.get(&admin, &format!("/queues/jobs/{}", id_of(&job))).await.expect(404);
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed", "timelines come from events and logs");
    let timeline = app.get(&user, &format!("/orders/{order_id}/timeline")).await.expect(200).body;
    assert_eq!(timeline["items"].as_array().unwrap().len(), 3);

    app.carrier.misbehave("create", "refuse", 1).await;
    let refused = app.created(&user, "c-2").await;
    app.run_jobs().await;
    delete(&app.create_job(&refused).await).await.expect(204);
    app.finish().await;
}

#[tokio::test]
async fn an_order_without_its_job_can_still_be_cancelled() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let order_id = app.confirmed(&user, "c-1").await;
    let job = app.create_job(&order_id).await;
    act(&app, &admin, Method::DELETE, &format!("/queues/jobs/{}", id_of(&job))).await.expect(204);
    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "cancelled");
    app.finish().await;
}

#[tokio::test]
async fn only_dead_jobs_of_open_orders_run_again() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let retry =
        async |job: &Document| act(&app, &admin, Method::POST, &format!("/queues/jobs/{}/retry", id_of(job))).await;
    let order_id = app.created(&user, "c-1").await;
    let job = app.create_job(&order_id).await;
    assert_eq!(retry(&job).await.expect(409).code(), "queues.not_dead", "ready");
    app.run_jobs().await;
    assert_eq!(retry(&job).await.expect(409).code(), "queues.not_dead", "done");
    assert_eq!(retry(&doc! { "_id": "job_1" }).await.expect(404).code(), "queues.job_not_found");

    // Refused, and then accepted.
    app.misbehave_for("c-2", "create", "refuse", Some(1)).await;
    let refused = app.created(&user, "c-2").await;
    app.run_jobs().await;
    let job = app.create_job(&refused).await;
    assert_eq!(retry(&job).await.expect(200).body["attempts"], 0);
    assert_eq!(retry(&job).await.expect(409).code(), "queues.not_dead", "once is enough");
    app.run_jobs().await;
    assert_eq!(app.order(&user, &refused).await["status"], "confirmed");
    let events = app.all("events", doc! { "subjectId": &refused, "type": "OrderResent" }).await;
    assert_eq!(events[0].get_document("actor").unwrap().get_str("id").unwrap(), admin.user_id);

    // One cancel was refused, and the next one was not.
    app.misbehave_for("c-3", "cancel", "refuse", Some(1)).await;
    let ended = app.confirmed(&user, "c-3").await;
    for _ in 0..2 {
        app.cancel(&user, "c-3").await.expect(202);
        app.run_jobs().await;
    }
    assert_eq!(app.order(&user, &ended).await["status"], "cancelled");
    let before = app.counts().await;
    let dead = app.jobs_of(&ended, "cancel-order").await.remove(0);
    assert_eq!(retry(&dead).await.expect(409).code(), "queues.retry_refused");
    let queue = dead.get_str("queue").unwrap();
    let all = act(&app, &admin, Method::POST, &format!("/queues/{queue}/retry-dead")).await.expect(200).body;
    assert_eq!(all, json!({ "retried": 0, "refused": 1, "failed": 0, "more": false }));
    assert_eq!(app.counts().await, before);
    app.finish().await;
}

#[tokio::test]
async fn a_dead_cancel_runs_again() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let order_id = app.confirmed(&user, "c-1").await;
    app.carrier.misbehave("cancel", "401", 1).await;
    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["cancellation"]["status"], "needs_attention");
    let retried = act(&app, &admin, Method::POST, &format!("/queues/{CANCEL}/retry-dead")).await.expect(200).body;
    assert_eq!(retried["retried"], 1);
    app.resume(&admin, CANCEL).await;
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "cancelled");
    app.finish().await;
}

#[tokio::test]
async fn a_paused_queue_rests_while_the_other_works() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    app.confirmed(&user, "placed").await;
    let paused = act(&app, &admin, Method::POST, &format!("/queues/{CREATE}/pause")).await.expect(200).body;
    assert_eq!(
        (&paused["paused"], &paused["pausedReason"]),
        (&json!(true), &json!(format!("paused by {}", admin.user_id)))
    );
    assert_eq!(queue(&app, &admin, CANCEL).await["paused"], false);

    let waiting = app.created(&user, "waiting").await;
    let worker = app.start_worker();
    app.cancel(&user, "placed").await.expect(202);
    eventually("the other queue works", SOON, async || app.carrier.books().await["cancelled"] == 1).await;
    let job = app.create_job(&waiting).await;
    assert_eq!((job.get_str("state").unwrap(), job.get_i32("attempts").unwrap()), ("ready", 0));

    let resumed = act(&app, &admin, Method::POST, &format!("/queues/{CREATE}/resume")).await.expect(200).body;
    assert_eq!((&resumed["paused"], &resumed["pausedReason"]), (&json!(false), &Value::Null));
    eventually("it goes on", SOON, async || app.order(&user, &waiting).await["status"] == "confirmed").await;
    worker.stop().await;
    for path in ["/queues/nope/pause", "/queues/nope/resume", "/queues/nope/retry-dead"] {
        assert_eq!(act(&app, &admin, Method::POST, path).await.expect(404).code(), "queues.not_found");
    }
    app.finish().await;
}

#[tokio::test]
async fn poison_is_dead_not_stuck_and_hurts_nobody() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let order_id = app.created(&user, "healthy").await;
    let healthy = app.create_job(&order_id).await;
    let poison: Vec<(&str, &str, Bson, &str)> = vec![
        ("job_00000000000000000000000000000001", "payload", Bson::Document(doc! {}), "queue.unreadable_payload"),
        (
            "job_00000000000000000000000000000002",
            "payload",
            Bson::Document(doc! { "orderId": { "$ne": 1 } }),
            "queue.unreadable_payload",
        ),
        (
            "job_00000000000000000000000000000003",
            "payload",
            Bson::Document(doc! { "orderId": "ord_gone" }),
            "orders.gone",
        ),
        ("job_00000000000000000000000000000004", "kind", "dance".into(), "queue.unknown_kind"),
        ("job_00000000000000000000000000000005", "payload", "text".into(), "queue.unreadable"),
        ("job_00000000000000000000000000000006", "history", "text".into(), "queue.unreadable"),
        ("job_00000000000000000000000000000007", "attempts", "x".into(), "queue.unreadable"),
        ("job_00000000000000000000000000000008", "attempts", Bson::Null, "queue.unreadable"),
    ];
    for (id, field, value, _) in &poison {
        let mut job = healthy.clone();
        job.insert("_id", *id);
        job.insert(*field, value.clone());
        // Ahead of the healthy one.
        job.insert("runAt", bson::DateTime::from_millis(0));
        app.db().collection::<Document>("jobs").insert_one(job).await.unwrap();
    }

    app.run_jobs().await;

    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    let page = app.get(&admin, &format!("/queues/{CREATE}/jobs?state=dead")).await.expect(200).body;
    assert_eq!(page["items"].as_array().unwrap().len(), poison.len());
    for (id, field, value, code) in &poison {
        let job = app.get(&admin, &format!("/queues/jobs/{id}")).await.expect(200).body;
        assert_eq!((&job["state"], &job["lastError"]["code"]), (&json!("dead"), &json!(code)), "{field}: {value}");
        let retried = act(&app, &admin, Method::POST, &format!("/queues/jobs/{id}/retry")).await;
        assert_eq!(retried.expect(409).code(), "queues.retry_refused", "{field}: {value}");
    }
    let all = act(&app, &admin, Method::POST, &format!("/queues/{CREATE}/retry-dead")).await.expect(200).body;
    assert_eq!((&all["retried"], &all["refused"]), (&json!(0), &json!(poison.len())));
    for (id, ..) in &poison {
        act(&app, &admin, Method::DELETE, &format!("/queues/jobs/{id}")).await.expect(204);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_document_that_is_no_job_hides_no_other() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let order_id = app.created(&user, "c-1").await;
    let mut broken = app.create_job(&order_id).await;
    app.run_jobs().await;
    let id = "job_00000000000000000000000000000001";
    for (field, value) in [("_id", Bson::from(id)), ("state", "dead".into()), ("maxAttempts", "many".into())] {
        broken.insert(field, value);
    }
    app.db().collection::<Document>("jobs").insert_one(broken).await.unwrap();
    let page = app.get(&admin, &format!("/queues/{CREATE}/jobs")).await.expect(200).body;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        app.get(&admin, &format!("/queues/jobs/{id}")).await.expect(200).body["lastError"]["code"],
        "queue.unreadable"
    );
    let retried = act(&app, &admin, Method::POST, &format!("/queues/jobs/{id}/retry")).await;
    assert_eq!(retried.expect(409).code(), "queues.retry_refused");
    act(&app, &admin, Method::DELETE, &format!("/queues/jobs/{id}")).await.expect(204);
    app.finish().await;
}

#[tokio::test]
async fn notes_of_operators_show_beside_jobs_and_not_to_the_merchant() {
    let app = TestApp::start().await;
    let (admin, auditor, merchant) = (app.admin().await, app.user(Role::Auditor).await, app.merchant().await);
    app.misbehave_for("c-1", "create", "refuse", Some(1)).await;
    let [order_id, other] = [app.created(&merchant, "c-1").await, app.created(&merchant, "c-2").await];
    app.run_jobs().await;
    let path = format!("/orders/{order_id}/comment");
    let patch = async |user: &User, path: &str, body: Value| {
        app.request(Method::PATCH, path, Some(&user.token), Some(&body)).await
    };
    let words = "The carrier asks for another pincode.\nFile 4711, asked the client.";
    for _ in 0..2 {
        let noted = patch(&admin, &path, json!({ "comment": words })).await.expect(200).body;
        assert_eq!((&noted["orderId"], &noted["comment"]), (&json!(order_id), &json!(words)));
    }
    let dead = app.get(&admin, "/queues/parcelx-orders-queue/jobs").await.expect(200).body;
    let noted: Vec<_> = dead["items"].as_array().unwrap().iter().map(|job| &job["comment"]).collect();
    assert_eq!(noted, [&json!(words), &Value::Null], "{dead}");
    let job = format!("/queues/jobs/{}", dead["items"][0]["jobId"].as_str().unwrap());
    assert_eq!(app.get(&admin, &job).await.expect(200).body["comment"], words);
    let story = app.get(&auditor, &format!("/audit/orders/{order_id}")).await.expect(200).body;
    assert_eq!(story["comment"], words);
    assert!(app.order(&merchant, &order_id).await.get("comment").is_none(), "the merchant is not told");
    // What goes on with the order leaves it alone.
    app.post(&admin, &format!("{job}/retry"), &json!({})).await.expect(200);
    app.run_jobs().await;
    assert_eq!(app.order(&merchant, &order_id).await["status"], "confirmed");
    assert_eq!(app.get(&admin, &job).await.expect(200).body["comment"], words);
    assert_eq!(patch(&admin, &path, json!({ "comment": null })).await.expect(200).body["comment"], Value::Null);
    let recorded = app.all("audit_events", doc! { "action": "order.commented" }).await;
    let told = |event: &Document, at: &str| event.get_document(at).unwrap().get_bool("comment").unwrap();
    let told: Vec<_> = recorded.iter().map(|event| (told(event, "before"), told(event, "after"))).collect();
    assert_eq!(told, [(false, true), (true, false)], "each change once");
    assert!(recorded.iter().all(|event| !event.to_string().contains("client")), "and none of the words");
    for (body, blamed) in [
        (json!({}), "comment:required"),
        (json!({ "comment": "9999 4105 7058" }), "comment:format"),
        (json!({ "comment": "x".repeat(501) }), "comment:length"),
    ] {
        assert_eq!(patch(&admin, &path, body).await.expect(422).blamed(), [blamed]);
    }
    patch(&admin, "/orders/ord_1/comment", json!({ "comment": "x" })).await.expect(404);
    assert_eq!(patch(&merchant, &format!("/orders/{other}/comment"), json!({ "comment": "x" })).await.status, 403);
    app.finish().await;
}
