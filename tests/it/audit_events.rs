//! Who did what and who looked: found by every key, and complete.

use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{TestApp, User, eventually, kyc};

impl TestApp {
    /// Audit events, as an auditor finds them, newest first: action, resource, outcome.
    async fn trail(&self, auditor: &User, query: &str) -> Vec<(String, String, String)> {
        let page = self.get(auditor, &format!("/audit/events?limit=100&{query}")).await.expect(200).body;
        let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| (text(item, "action"), text(item, "resourceId"), text(item, "outcome"))).collect()
    }
}

#[tokio::test]
async fn what_was_done_to_an_application_is_found_by_every_key() {
    let app = TestApp::start().await;
    let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
    let user = app.applicant(&kyc::individual()).await;
    let reject = json!({ "decision": "reject", "reason": "A forgery." });
    let decided = app.decide(&admin, &user, &reject).await.expect(200);
    let request_id = decided.headers["x-request-id"].to_str().unwrap();
    let application = format!("kyc_{}", user.user_id.strip_prefix("usr_").unwrap());
    let rejected = ("kyc.rejected".to_owned(), application.clone(), "done".to_owned());
    for query in [
        format!("resourceId={application}"),
        format!("userId={}", user.user_id),
        format!("actorId={}", admin.user_id),
        format!("requestId={request_id}"),
        "action=kyc.rejected".to_owned(),
        format!("actorId={}&outcome=done&userId={}", admin.user_id, user.user_id),
    ] {
        let found = app.trail(&auditor, &query).await;
        assert!(found.contains(&rejected), "{query}: {found:?}");
        let backwards = app.trail(&auditor, &format!("{query}&order=oldest")).await;
        assert!(backwards.contains(&rejected), "{query}, oldest first");
    }
    for query in ["action=kyc.approved", "userId=usr_nobody", "outcome=denied&action=kyc.rejected"] {
        assert!(app.trail(&auditor, query).await.iter().all(|found| *found != rejected), "{query}");
    }
    let path = format!("/audit/events?requestId={request_id}");
    let event = app.get(&auditor, &path).await.expect(200).body["items"][0].clone();
    assert_eq!((&event["reason"], &event["before"]["state"]), (&json!("A forgery."), &json!("submitted")));
    assert_eq!((&event["actor"]["id"], &event["actor"]["role"]), (&json!(admin.user_id), &json!("admin")));
    assert_eq!(event["actor"]["address"], "127.0.0.1");
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn auditors_write_nothing_and_it_is_known_that_they_tried() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    let (merchant, admin) = (app.merchant().await, app.admin().await);
    for (method, path, body) in [
        (Method::POST, "/orders/create".to_owned(), json!({})),
        (Method::POST, "/finance/transactions".to_owned(), json!({})),
        (Method::POST, format!("/kyc/applications/{}/decision", merchant.user_id), json!({})),
        (Method::POST, "/queues/parcelx-orders-queue/pause".to_owned(), Value::Null),
    ] {
        app.request(method, &path, Some(&auditor.token), Some(&body)).await.expect(403);
    }
    let denied = format!("actorId={}&outcome=denied", auditor.user_id);
    eventually("four refusals are on record", std::time::Duration::from_secs(10), async || {
        app.trail(&admin, &denied).await.len() == 4
    })
    .await;
    // A stranger is turned away too, and has no name.
    app.request(Method::GET, "/audit/events", None, None).await.expect(401);
    eventually("the stranger is on record", std::time::Duration::from_secs(10), async || {
        let found = app.trail(&admin, "outcome=denied&resourceId=/audit/events").await;
        found == [("request.denied".to_owned(), "/audit/events".to_owned(), "denied".to_owned())]
    })
    .await;
    // What an operator does to a queue is on record.
    app.request(Method::POST, "/queues/payments-queue/pause", Some(&admin.token), None).await.expect(200);
    let made = app.trail(&auditor, &format!("actorId={}&action=request.made", admin.user_id)).await;
    assert_eq!(made, [("request.made".to_owned(), "payments-queue".to_owned(), "done".to_owned())]);
    app.finish().await;
}

#[tokio::test]
async fn what_comes_from_outside_is_kept_as_harmless_text() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    let nasty = "userId=%1b[31mred%0d%0aX-Evil:%20yes&action=%3Cscript%3E";
    app.get(&auditor, &format!("/audit/events?{nasty}")).await.expect(200);
    let page = app.get(&auditor, &format!("/audit/events?actorId={}", auditor.user_id)).await.expect(200);
    assert!(!page.text.contains(['\u{1b}', '\r', '\n']), "{}", page.text);
    assert_eq!(page.body["items"][0]["after"]["query"], json!(nasty));
    app.finish().await;
}

#[tokio::test]
async fn every_question_about_events_is_answered_by_an_index() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    let db = app.db();
    for query in
        ["", "resourceId=x", "requestId=x", "actorId=x", "userId=x", "action=x", "outcome=denied", "actorId=x&action=y"]
    {
        db.run_command(bson::doc! { "profile": 2 }).await.unwrap();
        app.get(&auditor, &format!("/audit/events?{query}")).await.expect(200);
        db.run_command(bson::doc! { "profile": 0 }).await.unwrap();
        let about = bson::doc! { "ns": { "$regex": "\\.audit_events$" }, "op": "query" };
        let carried_out = app.all("system.profile", about).await;
        assert!(!carried_out.is_empty(), "{query} asked nothing");
        for operation in carried_out {
            let plan = operation.get_str("planSummary").unwrap_or("none");
            assert!(plan.starts_with("IXSCAN"), "{query}: {plan}");
            assert!(!operation.get_bool("hasSortStage").unwrap_or(false), "{query} sorts");
        }
        db.collection::<bson::Document>("system.profile").drop().await.unwrap();
    }
    app.finish().await;
}
