//! What staff do, and what they try in vain: nothing of it is lost, and what was done is not told as a failure.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router, body::Body, extract::Request, middleware::from_fn_with_state, routing::get};
use bson::{Bson, Document, doc};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tower::ServiceExt;
use waybill::{
    modules::{
        audit::{AuditStore, Refusals},
        inspection::{AccessLog, record_access},
    },
    platform::identity::{CurrentUser, Gate, Revocations, Role, tokens::TokenKeys},
};

use crate::support::{Answer, JWT_SECRET, TestApp, User, eventually, held::Held};

const SOON: Duration = Duration::from_secs(10);
const QUEUE: &str = "parcelx-orders-queue";

/// What is on record of a request: action, resource, outcome.
async fn of_request(app: &TestApp, answer: &Answer) -> Vec<Document> {
    let request = answer.headers["x-request-id"].to_str().unwrap();
    app.all("audit_events", doc! { "actor.requestId": request }).await
}

fn told(events: &[Document]) -> Vec<(&str, &str, &str)> {
    events
        .iter()
        .map(|event| {
            (event.get_str("action").unwrap(), event.get_str("resourceId").unwrap(), event.get_str("outcome").unwrap())
        })
        .collect()
}

async fn act(app: &TestApp, user: &User, method: Method, path: &str, body: Option<&Value>) -> Answer {
    app.request(method, path, Some(&user.token), body).await
}

async fn refuse_audit_events(app: &TestApp, refuse: bool) {
    let validator = if refuse {
        doc! { "nobody": { "$exists": true } }
    } else {
        doc! {}
    };
    app.db().run_command(doc! { "collMod": "audit_events", "validator": validator }).await.unwrap();
}

#[tokio::test]
async fn what_staff_try_in_vain_is_on_record() {
    let app = TestApp::start().await;
    let (admin, finance, merchant) = (app.admin().await, app.user(Role::Finance).await, app.merchant().await);
    let hold = json!({ "kind": "order", "id": format!("ord_{}", "0".repeat(32)), "reason": "A dispute in court." });
    let decision = format!("/kyc/applications/{}/decision", merchant.user_id);
    for (user, method, path, body, resource, status) in [
        (&admin, Method::POST, "/audit/legal-holds", hold, "/audit/legal-holds", 404),
        (&admin, Method::POST, "/audit/legal-holds", json!({ "kind": "order" }), "/audit/legal-holds", 422),
        (&admin, Method::POST, &decision, json!({ "decision": "approve" }), &merchant.user_id, 422),
        (
            &admin,
            Method::DELETE,
            "/queues/jobs/job_00000000000000000000000000000000",
            Value::Null,
            "job_00000000000000000000000000000000",
            404,
        ),
        (&finance, Method::POST, "/finance/transactions", json!({}), "/finance/transactions", 422),
        (&finance, Method::PATCH, "/auth/me", json!({ "name": "" }), "/auth/me", 422),
    ] {
        let body = (body != Value::Null).then_some(&body);
        let answer = act(&app, user, method.clone(), path, body).await.expect(status);
        let events = of_request(&app, &answer).await;
        assert_eq!(told(&events), [("request.made", resource, "failed")], "{method} {path}");
        let after = events[0].get_document("after").unwrap();
        let said = (after.get_i32("status").unwrap(), after.get_str("method").unwrap());
        assert_eq!(said, (i32::from(status), method.as_str()));
        assert_eq!(events[0].get_document("actor").unwrap().get_str("id").unwrap(), user.user_id);
    }
    // Denied is not failed; what merchants get wrong is theirs; what was done is recorded by what did it.
    let denied = act(&app, &finance, Method::POST, "/queues/payments-queue/pause", None).await.expect(403);
    eventually("it is on record", SOON, async || !of_request(&app, &denied).await.is_empty()).await;
    assert_eq!(told(&of_request(&app, &denied).await), [("request.denied", "payments-queue", "denied")]);
    let wrong = app.post(&merchant, "/orders/create", &json!({})).await.expect(422);
    assert_eq!(of_request(&app, &wrong).await, []);
    let named = act(&app, &finance, Method::PATCH, "/auth/me", Some(&json!({ "name": "F" }))).await.expect(200);
    assert_eq!(told(&of_request(&app, &named).await), [("user.renamed", &*finance.user_id, "done")]);
    app.finish().await;
}

#[tokio::test]
async fn a_request_whose_time_is_up_is_on_record() {
    let app = TestApp::start().await;
    let (admin, merchant) = (app.admin().await, app.merchant().await);
    let store = AuditStore::new(app.db().clone());
    let log = AccessLog::new(store.clone(), Refusals::new(store), app.app.clock.clone());
    let tokens = TokenKeys::new(&SecretString::from(JWT_SECRET), None, app.app.clock.clone());
    let never = |_: CurrentUser| std::future::pending::<()>();
    let routes = Router::new()
        .route("/slow", get(never).post(never))
        .layer(from_fn_with_state(log, record_access))
        .layer(Extension(Gate {
            tokens: Arc::new(tokens),
            revocations: Revocations::default(),
            api_keys: None,
            limits: None,
        }));
    for (method, user) in [("POST", &merchant), ("GET", &admin), ("POST", &admin)] {
        let request = Request::builder().method(method).uri("/slow");
        let request = request.header("authorization", format!("Bearer {}", user.token)).body(Body::empty()).unwrap();
        // As the edge does it at the deadline.
        let answering = tokio::time::timeout(Duration::from_millis(50), routes.clone().oneshot(request));
        assert!(answering.await.is_err(), "it is not answered");
    }
    let made = doc! { "action": "request.made" };
    eventually("it is on record", SOON, async || !app.all("audit_events", made.clone()).await.is_empty()).await;
    let made = app.all("audit_events", made).await;
    assert_eq!(told(&made), [("request.made", "/slow", "failed")], "what staff tried to do, and nothing else");
    assert_eq!(made[0].get_document("actor").unwrap().get_str("id").unwrap(), admin.user_id);
    assert_eq!(made[0].get_document("after").unwrap().get("status"), Some(&Bson::Null), "nobody knows");
    app.finish().await;
}

#[tokio::test]
async fn what_a_client_did_not_wait_for_is_done_and_on_record() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    app.request(Method::POST, &format!("/queues/{QUEUE}/resume"), Some(&admin.token), None).await.expect(200);
    // Somebody's open transaction has the queue, so the request has to wait.
    let held = Held::begin(app.db(), "queues", QUEUE).await;
    let pausing = app.client.post(format!("{}/queues/{QUEUE}/pause", app.base)).bearer_auth(&admin.token);
    let pausing = pausing.header("x-request-id", "rqs_hangs_up").send();
    assert!(tokio::time::timeout(Duration::from_secs(2), pausing).await.is_err(), "it is not answered");
    held.release().await;
    let events = async || app.all("audit_events", doc! { "actor.requestId": "rqs_hangs_up" }).await;
    eventually("it is on record", SOON, async || !events().await.is_empty()).await;
    assert_eq!(told(&events().await), [("queue.paused", QUEUE, "done")]);
    assert_eq!(app.all("queues", doc! { "_id": QUEUE, "paused": true }).await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_flood_of_strangers_hides_nobody_who_is_known() {
    let app = TestApp::start().await;
    let finance = app.user(Role::Finance).await;
    for _ in 0..300 {
        app.request(Method::GET, "/audit/events", None, None).await.expect(401);
    }
    let denied = app.get(&finance, "/queues").await.expect(403);
    eventually("the insider is on record", SOON, async || !of_request(&app, &denied).await.is_empty()).await;
    assert!(of_request(&app, &denied).await[0].get_document("after").unwrap().get("suppressedBefore").is_none());
    let strangers = doc! { "action": "request.denied", "actor.kind": "anonymous" };
    let recorded = app.all("audit_events", strangers).await.len();
    assert!((50..300).contains(&recorded), "{recorded} of the strangers");
    app.finish().await;
}

#[tokio::test]
async fn what_operators_do_to_queues_is_on_record_with_before_and_after() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    for name in ["retried", "deleted"] {
        app.misbehave_for(name, "create", "refuse", Some(1)).await;
        app.created(&user, name).await;
    }
    app.run_jobs().await;
    let dead = app.all("jobs", doc! { "state": "dead" }).await;
    let jobs: Vec<_> = dead.iter().map(|job| job.get_str("_id").unwrap()).collect();
    let why = format!("paused by {}", admin.user_id);
    let kind = dead[0].get_str("kind").unwrap();
    let state = |state: &str| doc! { "queue": QUEUE, "kind": kind, "state": state };
    let paused = |paused: bool| doc! { "paused": paused, "pausedReason": paused.then_some(&*why) };
    for (method, path, action, resource, before, after) in [
        (Method::POST, format!("/queues/{QUEUE}/pause"), "queue.paused", QUEUE, paused(false), Some(paused(true))),
        (Method::POST, format!("/queues/{QUEUE}/resume"), "queue.resumed", QUEUE, paused(true), Some(paused(false))),
        (
            Method::POST,
            format!("/queues/jobs/{}/retry", jobs[0]),
            "queue.job_retried",
            jobs[0],
            state("dead"),
            Some(state("ready")),
        ),
        (Method::DELETE, format!("/queues/jobs/{}", jobs[1]), "queue.job_deleted", jobs[1], state("dead"), None),
    ] {
        let answer = act(&app, &admin, method, &path, None).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
        let events = of_request(&app, &answer).await;
        assert_eq!(told(&events), [(action, resource, "done")], "{path}");
        assert_eq!(events[0].get_document("before").unwrap(), &before, "{path}");
        assert_eq!(events[0].get_document("after").ok(), after.as_ref(), "{path}");
    }
    assert!(app.all("jobs", doc! { "_id": jobs[1] }).await.is_empty());
    // A second time there is nothing to do, and that is a failure.
    let again = act(&app, &admin, Method::DELETE, &format!("/queues/jobs/{}", jobs[1]), None).await.expect(404);
    assert_eq!(told(&of_request(&app, &again).await), [("request.made", jobs[1], "failed")]);
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn retrying_all_dead_jobs_names_each() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    for n in 0..3 {
        app.misbehave_for(&format!("c-{n}"), "create", "refuse", Some(1)).await;
        app.created(&user, &format!("c-{n}")).await;
    }
    app.run_jobs().await;
    let answer = act(&app, &admin, Method::POST, &format!("/queues/{QUEUE}/retry-dead"), None).await.expect(200);
    assert_eq!(answer.body["retried"], 3);
    let mut named: Vec<String> =
        told(&of_request(&app, &answer).await).iter().map(|(action, job, _)| format!("{action} {job}")).collect();
    named.sort();
    let jobs = app.all("jobs", doc! { "queue": QUEUE }).await;
    let expected = jobs.iter().map(|job| format!("queue.job_retried {}", job.get_str("_id").unwrap()));
    assert!(named.iter().cloned().eq(expected), "{named:?}");
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn a_queue_is_paused_if_and_only_if_that_is_on_record() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    app.misbehave_for("c-1", "create", "refuse", Some(1)).await;
    app.created(&user, "c-1").await;
    app.run_jobs().await;
    let job = app.all("jobs", doc! { "state": "dead" }).await.remove(0);
    let job_path = format!("/queues/jobs/{}", job.get_str("_id").unwrap());
    let is_paused = async || app.all("queues", doc! { "_id": QUEUE, "paused": true }).await.len() == 1;

    // Nothing is done that can't be written down.
    refuse_audit_events(&app, true).await;
    let path = format!("/queues/{QUEUE}/pause");
    act(&app, &admin, Method::POST, &path, None).await.expect(500);
    act(&app, &admin, Method::DELETE, &job_path, None).await.expect(500);
    act(&app, &admin, Method::POST, &format!("{job_path}/retry"), None).await.expect(500);
    assert!(!is_paused().await);
    assert_eq!(app.all("jobs", doc! { "_id": job.get_str("_id").unwrap() }).await, [job]);
    refuse_audit_events(&app, false).await;

    // What is done is on record as done, also where the answer can't be given: jobs can't be counted any more.
    let db = app.db();
    let rename = async |from: &str, to: &str| {
        let name = |of: &str| format!("{}.{of}", db.name());
        db.client()
            .database("admin")
            .run_command(doc! { "renameCollection": name(from), "to": name(to) })
            .await
            .unwrap();
    };
    rename("jobs", "jobs_aside").await;
    db.run_command(doc! { "create": "jobs", "viewOn": "queues", "pipeline": [
    { "$match": { "$expr": { "$eq": [{ "$divide": [1, 0] }, 1] } } }] })
        .await
        .unwrap();
    let answer = act(&app, &admin, Method::POST, &path, None).await;
    assert!(answer.status.is_server_error(), "{}", answer.text);
    let events = of_request(&app, &answer).await;
    assert_eq!(told(&events), [("queue.paused", QUEUE, "done"), ("request.made", QUEUE, "failed")]);
    assert!(is_paused().await);
    db.collection::<Document>("jobs").drop().await.unwrap();
    rename("jobs_aside", "jobs").await;
    act(&app, &admin, Method::POST, &format!("/queues/{QUEUE}/resume"), None).await.expect(200);
    assert!(!is_paused().await);
    app.finish().await;
}
