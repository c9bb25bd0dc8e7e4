//! What is due by the calendar: once per time, on record, in people's hands.

use bson::{DateTime, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, User, seals::seal_all};

const CHECK: &str = "ledger-check";

async fn post(app: &TestApp, user: &User, path: &str) -> Answer {
    app.request(Method::POST, path, Some(&user.token), None).await
}

async fn schedule(app: &TestApp, admin: &User, name: &str) -> Value {
    let list = app.get(admin, "/schedules").await.expect(200).body;
    list["items"].as_array().unwrap().iter().find(|schedule| schedule["name"] == name).unwrap().clone()
}

async fn runs(app: &TestApp, admin: &User, name: &str) -> Vec<Value> {
    let list = app.get(admin, &format!("/schedules/{name}/runs")).await.expect(200).body;
    list["items"].as_array().unwrap().clone()
}

/// Its time came a minute ago.
async fn make_due(app: &TestApp, name: &str) -> DateTime {
    let due_at = DateTime::from_millis(app.app.clock.now_ms() - 60_000);
    app.update_one("schedules", doc! { "_id": name }, doc! { "nextAt": due_at }).await;
    due_at
}

#[tokio::test]
async fn a_time_is_run_once_whoever_looks() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let (one, other) = (app.app.scheduler(), app.app.scheduler());
    assert_eq!(one.pass().await.unwrap(), 0, "a new schedule waits for its first time");
    post(&app, &admin, &format!("/schedules/{CHECK}/resume")).await.expect(200);
    assert!(!schedule(&app, &admin, CHECK).await["nextAt"].is_null());
    make_due(&app, CHECK).await;
    let (first, second) = tokio::join!(one.pass(), other.pass());
    assert_eq!(first.unwrap() + second.unwrap(), 1);
    // The lease only spares work: without it nothing is started twice either.
    app.db().collection::<bson::Document>("singletons").delete_many(doc! {}).await.unwrap();
    assert_eq!(other.pass().await.unwrap(), 0);
    // The next time comes while the run has not ended.
    make_due(&app, CHECK).await;
    assert_eq!(other.pass().await.unwrap(), 0);
    app.run_jobs().await;
    let told: Vec<Value> = runs(&app, &admin, CHECK)
        .await
        .iter()
        .map(|run| json!([run["trigger"], run["state"], run["error"], run["result"]["differences"]]))
        .collect();
    assert_eq!(
        told,
        [json!(["calendar", "skipped", "The run before has not ended.", null]), json!(["calendar", "done", null, 0]),]
    );
    let last = &schedule(&app, &admin, CHECK).await["lastRun"];
    assert_eq!((&last["state"], &last["attempts"], &last["alert"]), (&json!("done"), &json!(1), &Value::Null));
    app.finish().await;
}

#[tokio::test]
async fn a_person_runs_it_now_pauses_it_and_lets_it_go_on() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    seal_all(&app).await;
    let asked = post(&app, &admin, "/schedules/audit-verify/run").await.expect(202).body;
    assert_eq!(
        (&asked["trigger"], &asked["requestedBy"], &asked["dueAt"]),
        (&json!("person"), &json!(admin.user_id), &Value::Null)
    );
    assert_eq!(post(&app, &admin, "/schedules/audit-verify/run").await.expect(409).code(), "schedules.still_running");
    app.run_jobs().await;
    let run = &runs(&app, &admin, "audit-verify").await[0];
    assert_eq!(
        (&run["runId"], &run["state"], &run["result"]["verified"]),
        (&asked["runId"], &json!("done"), &json!(true))
    );

    let paused = post(&app, &admin, &format!("/schedules/{CHECK}/pause")).await.expect(200).body;
    assert_eq!(
        (&paused["paused"], &paused["pausedBy"], &paused["nextAt"]),
        (&json!(true), &json!(admin.user_id), &Value::Null)
    );
    make_due(&app, CHECK).await;
    assert_eq!(app.app.scheduler().pass().await.unwrap(), 0);
    let resumed = post(&app, &admin, &format!("/schedules/{CHECK}/resume")).await.expect(200).body;
    assert_eq!(resumed["paused"], json!(false));
    assert!(!resumed["nextAt"].is_null());
    assert_eq!(runs(&app, &admin, CHECK).await, Vec::<Value>::new(), "what was left out on purpose is not made up for");

    let audit = app.all("audit_events", doc! { "resourceType": "schedule" }).await;
    let told: Vec<_> = audit.iter().map(|event| event.get_str("action").unwrap()).collect();
    assert_eq!(told, ["schedule.run_requested", "schedule.paused", "schedule.resumed"]);
    for path in ["/schedules/nope/run", "/schedules/nope/pause", "/schedules/nope/resume"] {
        assert_eq!(post(&app, &admin, path).await.expect(404).code(), "schedules.not_found");
    }
    app.finish().await;
}

#[tokio::test]
async fn books_that_differ_raise_an_alert() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    app.update_one("wallets", doc! { "userId": &user.user_id }, doc! { "available": 1_i64 }).await;
    post(&app, &admin, &format!("/schedules/{CHECK}/run")).await.expect(202);
    app.run_jobs().await;
    let run = &runs(&app, &admin, CHECK).await[0];
    assert_eq!((&run["state"], &run["result"]["differences"]), (&json!("done"), &json!(2)));
    assert_eq!(run["alert"], "The books differ in 2 place(s); `waybill ledger check` lists them.");
    let events = app.all("events", doc! { "type": "LedgerDiffers" }).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].get_str("subjectId").unwrap(), run["runId"]);
    let metrics = app.request(Method::GET, "/metrics", None, None).await.text;
    assert!(metrics.contains("waybill_ledger_differences 2"), "{metrics}");
    app.finish_unchecked().await;
}
