//! What is on record of accounts, sessions and keys: who, when and states; no password, address, name or token.

use std::time::Duration;

use bson::{Bson, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{Answer, PASSWORD, TestApp, User, eventually, unique};

const SOON: Duration = Duration::from_secs(10);
const NEW_PASSWORD: &str = "another horse, same battery";

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    app.request(Method::POST, path, None, Some(&body)).await
}

fn text<'a>(event: &'a Document, field: &str) -> &'a str {
    event.get_str(field).unwrap()
}

/// What is on record about a user: action, resource, outcome; oldest first.
async fn about(app: &TestApp, user_id: &str) -> Vec<Document> {
    app.all("audit_events", doc! { "userId": user_id }).await
}

fn told(events: &[Document]) -> Vec<(&str, &str, &str)> {
    events.iter().map(|event| (text(event, "action"), text(event, "resourceType"), text(event, "outcome"))).collect()
}

fn request_id(answer: &Answer) -> Bson {
    answer.headers["x-request-id"].to_str().unwrap().into()
}

#[tokio::test]
async fn the_whole_way_of_an_account_is_on_record() {
    let app = TestApp::start().await;
    let email = format!("{}@example.com", unique("asha"));
    let registered = post(&app, "/auth/register", json!({ "email": email, "password": PASSWORD, "name": "Asha Rao" }))
        .await
        .expect(201);
    let user_id = registered.body["userId"].as_str().unwrap().to_owned();
    let token = registered.body["accessToken"].as_str().unwrap().to_owned();
    let taken = post(&app, "/auth/register", json!({ "email": email, "password": PASSWORD, "name": "B" })).await;
    taken.expect(409);
    let signed_in = post(&app, "/auth/login", json!({ "email": email, "password": PASSWORD })).await.expect(200);
    let refresh = |tokens: &Answer| json!({ "refreshToken": tokens.body["refreshToken"] });
    let next = post(&app, "/auth/refresh", refresh(&signed_in)).await.expect(200);
    for name in ["Asha Devi Rao", "Asha Devi Rao"] {
        let renamed = app.request(Method::PATCH, "/auth/me", Some(&token), Some(&json!({ "name": name }))).await;
        assert_eq!(renamed.expect(200).body["name"], name);
    }
    let ended = post(&app, "/auth/logout", refresh(&next)).await.expect(204);
    post(&app, "/auth/logout", refresh(&next)).await.expect(204);
    let change = json!({ "currentPassword": PASSWORD, "newPassword": NEW_PASSWORD });
    app.request(Method::POST, "/auth/password", Some(&token), Some(&change)).await.expect(204);
    post(&app, "/auth/login", json!({ "email": email, "password": NEW_PASSWORD })).await.expect(200);

    let events = about(&app, &user_id).await;
    assert_eq!(
        told(&events),
        [
            ("user.created", "user", "done"),
            ("session.opened", "session", "done"),
            ("session.opened", "session", "done"),
            ("user.renamed", "user", "done"),
            ("session.ended", "session", "done"),
            ("user.password_changed", "user", "done"),
            ("session.opened", "session", "done"),
        ],
        "each once: what changed nothing is nothing"
    );
    for event in &events {
        let actor = event.get_document("actor").unwrap();
        assert_eq!((text(actor, "kind"), text(actor, "id")), ("user", &*user_id));
        assert_eq!(text(actor, "address"), "127.0.0.1");
        assert!(actor.get_str("requestId").is_ok_and(|id| !id.is_empty()), "{event}");
        assert_eq!(event.get("reason"), Some(&Bson::Null));
        if text(event, "resourceType") == "user" {
            assert_eq!(text(event, "resourceId"), user_id);
        }
        let shown = event.to_string();
        for secret in [&email, PASSWORD, NEW_PASSWORD, "Asha", "Devi", "$argon2", &token] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    assert_eq!(events[0].get_document("after").unwrap(), &doc! { "role": "merchant" });
    assert_eq!(events[0].get_document("actor").unwrap().get("requestId"), Some(&request_id(&registered)));
    assert_eq!(events[3].get_document("after").unwrap(), &doc! { "changed": ["name"] });
    let sessions = app.all("sessions", doc! { "userId": &user_id }).await;
    assert_eq!(sessions.len(), 3, "one each sign-in");
    assert_eq!(events[2].get("resourceId"), events[4].get("resourceId"), "the session that was signed out");
    assert_eq!(events[4].get_document("actor").unwrap().get("requestId"), Some(&request_id(&ended)));
    let states = (events[5].get_document("before").unwrap(), events[5].get_document("after").unwrap());
    assert_eq!(states, (&doc! { "accessVersion": 0_i64 }, &doc! { "accessVersion": 1_i64 }));
    app.finish().await;
}

#[tokio::test]
async fn a_user_who_can_not_be_recorded_is_not_made_and_no_password_changed() {
    let app = TestApp::start().await;
    let user = app.user(Role::Finance).await;
    let refuse = async |validator: Document| {
        app.db().run_command(doc! { "collMod": "audit_events", "validator": validator }).await.unwrap();
    };
    refuse(doc! { "nobody": { "$exists": true } }).await;
    let email = format!("{}@example.com", unique("asha"));
    let register = json!({ "email": email, "password": PASSWORD, "name": "Asha" });
    post(&app, "/auth/register", register.clone()).await.expect(500);
    let change = json!({ "currentPassword": PASSWORD, "newPassword": NEW_PASSWORD });
    app.post(&user, "/auth/password", &change).await.expect(500);
    let login = json!({ "email": user.email, "password": PASSWORD });
    post(&app, "/auth/login", login.clone()).await.expect(500);
    assert_eq!(app.all("users", doc! { "email": &email }).await, []);
    assert_eq!(app.all("sessions", doc! {}).await, []);
    refuse(doc! {}).await;
    post(&app, "/auth/register", register).await.expect(201);
    let tokens = post(&app, "/auth/login", login).await.expect(200).body;
    refuse(doc! { "nobody": { "$exists": true } }).await;
    let refresh = json!({ "refreshToken": tokens["refreshToken"] });
    post(&app, "/auth/logout", refresh.clone()).await.expect(500);
    refuse(doc! {}).await;
    post(&app, "/auth/refresh", refresh).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn who_did_not_know_the_password_of_a_user_is_on_record() {
    let app = TestApp::start().await;
    let user = app.user(Role::Admin).await;
    let wrong =
        post(&app, "/auth/login", json!({ "email": user.email, "password": "hunter2 hunter2" })).await.expect(401);
    let change = json!({ "currentPassword": "hunter2 hunter2", "newPassword": NEW_PASSWORD });
    app.post(&user, "/auth/password", &change).await.expect(422);
    post(&app, "/auth/login", json!({ "email": "nobody@example.com", "password": "hunter2 hunter2" }))
        .await
        .expect(401);
    let refused = doc! { "action": "session.refused" };
    eventually("both are on record", SOON, async || app.all("audit_events", refused.clone()).await.len() >= 2).await;
    let refused = app.all("audit_events", refused).await;
    assert_eq!(refused.len(), 2, "nobody is nobody");
    for (event, kind, id) in [(&refused[0], "anonymous", ""), (&refused[1], "user", &*user.user_id)] {
        let actor = event.get_document("actor").unwrap();
        assert_eq!((text(actor, "kind"), text(actor, "id"), text(actor, "address")), (kind, id, "127.0.0.1"));
        assert_eq!((text(event, "outcome"), text(event, "userId")), ("denied", &*user.user_id));
        assert!(!event.to_string().contains("hunter2") && !event.to_string().contains(&user.email), "{event}");
    }
    assert_eq!(refused[0].get_document("actor").unwrap().get("requestId"), Some(&request_id(&wrong)));
    // Found as what concerns the user.
    let path = format!("/audit/events?userId={}&outcome=denied", user.user_id);
    assert_eq!(app.get(&user, &path).await.expect(200).body["items"].as_array().unwrap().len(), 2);
    app.finish().await;
}

#[tokio::test]
async fn a_token_presented_again_is_on_record_with_what_followed() {
    let app = TestApp::start().await;
    let user: User = app.user(Role::Merchant).await;
    let first = post(&app, "/auth/login", json!({ "email": user.email, "password": PASSWORD })).await.expect(200).body;
    let refresh = |tokens: &Value| json!({ "refreshToken": tokens["refreshToken"] });
    let second = post(&app, "/auth/refresh", refresh(&first)).await.expect(200).body;
    post(&app, "/auth/refresh", refresh(&second)).await.expect(200);
    assert_eq!(post(&app, "/auth/refresh", refresh(&first)).await.expect(401).code(), "auth.refresh_reused");
    let reused = app.all("audit_events", doc! { "action": "session.reused" }).await;
    assert_eq!((told(&reused), reused.len()), (vec![("session.reused", "session", "denied")], 1));
    assert_eq!(text(reused[0].get_document("actor").unwrap(), "kind"), "anonymous", "it may be somebody else");
    let family = app.all("sessions", doc! { "userId": &user.user_id }).await[0].get_str("_id").unwrap().to_owned();
    assert_eq!((text(&reused[0], "resourceId"), text(&reused[0], "userId")), (&*family, &*user.user_id));
    // The family has ended by now: a further try ends nothing.
    post(&app, "/auth/refresh", refresh(&second)).await.expect(401);
    let refused = doc! { "action": "session.refused", "resourceId": &family };
    eventually("it is refused", SOON, async || app.all("audit_events", refused.clone()).await.len() == 1).await;
    assert_eq!(app.all("audit_events", doc! { "action": "session.reused" }).await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn operators_at_the_command_line_are_on_record() {
    let app = TestApp::start().await;
    let made = app.user(Role::Auditor).await;
    let created = &about(&app, &made.user_id).await[0];
    let actor = created.get_document("actor").unwrap();
    assert_eq!((text(actor, "kind"), text(actor, "id")), ("command_line", "user create"));
    assert_eq!(created.get_document("after").unwrap(), &doc! { "role": "auditor" });
    app.finish().await;
}

#[tokio::test]
async fn a_new_rate_card_is_on_record_once() {
    let app = TestApp::start().await;
    let card = include_str!("../../data/rate-cards/parcelx-1.json").replace("\"version\": 1", "\"version\": 2");
    let path = std::env::temp_dir().join(format!("{}.json", unique("card")));
    std::fs::write(&path, card.replace("2025-01-01T00:00:00Z", "2090-01-01T00:00:00Z")).unwrap();
    for _ in 0..2 {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
        program.args(["migrate", "--rate-card"]).arg(&path).env("MONGODB_URI", &app.mongodb_uri);
        let output = program.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::remove_file(&path).unwrap();
    let recorded = app.all("audit_events", doc! { "action": "rate_card.added" }).await;
    assert_eq!(recorded.len(), 1, "adding it again adds nothing");
    let after = recorded[0].get_document("after").unwrap();
    assert_eq!((after.get_str("provider").unwrap(), after.get_i64("version").unwrap()), ("parcelx", 2));
    app.finish().await;
}
