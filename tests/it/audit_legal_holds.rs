//! Legal holds over HTTP: who may set them, what happens twice, and what is on record of it.

use std::time::{Duration, Instant};

use bson::doc;
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{TestApp, User, eventually, held::Held, kyc, process::Launch, read};

const HOLDS: &str = "/audit/legal-holds";
const PATIENCE: Duration = Duration::from_secs(10);

async fn events(app: &TestApp, action: &str) -> Vec<bson::Document> {
    app.all("audit_events", doc! { "action": action }).await
}

#[tokio::test]
async fn a_hold_is_placed_once_and_released_once() {
    let app = TestApp::start().await;
    let (admin, auditor, user) = (app.admin().await, app.user(Role::Auditor).await, app.merchant().await);
    let order = app.confirmed(&user, "c-1").await;
    for (kind, id) in [("order", &order), ("user", &user.user_id)] {
        let placed = app.hold(&admin, kind, id).await.expect(201).body;
        assert_eq!(
            (&placed["kind"], &placed["id"], &placed["userId"]),
            (&json!(kind), &json!(id), &json!(user.user_id))
        );
        assert_eq!((&placed["state"], &placed["placedBy"]), (&json!("in_force"), &json!(admin.user_id)));
        assert_eq!((&placed["releasedAt"], &placed["releaseReason"]), (&Value::Null, &Value::Null));
        let again = app.hold(&admin, kind, id).await.expect(200);
        assert_eq!((&again.body, &again.headers["idempotent-replayed"].to_str().unwrap()), (&placed, &"true"));

        let released = app.release(&admin, &placed).await.expect(200);
        assert!(!released.headers.contains_key("idempotent-replayed"));
        assert_eq!(
            (&released.body["state"], &released.body["releasedBy"]),
            (&json!("released"), &json!(admin.user_id))
        );
        assert_eq!(released.body["releaseReason"], "It was settled.");
        let again = app.release(&admin, &placed).await.expect(200);
        assert_eq!(again.body, released.body, "the first release counts");
        assert_eq!(again.headers["idempotent-replayed"], "true");

        let next = app.hold(&admin, kind, id).await.expect(201).body;
        assert_ne!(next["holdId"], placed["holdId"], "what was released holds no more");
    }
    let (placed, released) = (events(&app, "audit.hold_placed").await, events(&app, "audit.hold_released").await);
    assert_eq!((placed.len(), released.len()), (4, 2), "a record for each change, and for nothing else");
    let story = app.get(&auditor, &format!("/audit/orders/{order}")).await.expect(200).body;
    let names: Vec<_> = story["entries"].as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect();
    assert!(names.contains(&json!("audit.hold_placed")) && names.contains(&json!("audit.hold_released")), "{names:?}");
    assert_eq!(released[0].get_str("reason").unwrap(), "It was settled.");
    assert_eq!(released[0].get_document("before").unwrap().get_str("state").unwrap(), "in_force");
    app.finish().await;
}

#[tokio::test]
async fn of_many_at_once_one_hold_is_placed() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    let other = app.beside(&[]).await;
    let both = (0..24).map(|n| if n % 2 == 0 { &app } else { &other });
    let answers = futures_util::future::join_all(both.map(|app| app.hold(&admin, "user", &user.user_id))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status.as_u16() == status).count();
    assert_eq!((count(201), count(200)), (1, 23));
    assert!(answers.iter().all(|answer| answer.body["holdId"] == answers[0].body["holdId"]));
    assert_eq!(events(&app, "audit.hold_placed").await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    for (kind, id) in [("order", "ord_1"), ("user", "usr_1"), ("order", &*user.user_id), ("user", "{\"$ne\":1}")] {
        assert_eq!(app.hold(&admin, kind, id).await.expect(404).code(), "audit.not_found");
    }
    for (body, blamed) in [
        (json!({}), "kind:required"),
        (json!({ "kind": "wallet", "id": "x", "reason": "why" }), "kind:unknown_value"),
        (json!({ "kind": "user", "id": "", "reason": "why" }), "id:length"),
        (json!({ "kind": "user", "id": "x", "reason": "  " }), "reason:length"),
        (json!({ "kind": "user", "id": "x", "reason": "a\u{7}bc" }), "reason:format"),
        (json!({ "kind": "user", "id": "x", "reason": "why", "more": 1 }), "more:unknown"),
    ] {
        let answer = app.post(&admin, HOLDS, &body).await.expect(422);
        assert!(answer.blamed().contains(&blamed.to_owned()), "{body}: {:?}", answer.blamed());
    }
    let missing = format!("{HOLDS}/lgh_1");
    let why = json!({ "reason": "It was settled." });
    assert_eq!(
        app.request(Method::DELETE, &missing, Some(&admin.token), Some(&why)).await.expect(404).code(),
        "audit.not_found"
    );
    let placed = app.hold(&admin, "user", &user.user_id).await.expect(201).body;
    let path = format!("{HOLDS}/{}", placed["holdId"].as_str().unwrap());
    app.request(Method::DELETE, &path, Some(&admin.token), Some(&json!({}))).await.expect(422);
    app.request(Method::DELETE, &path, Some(&admin.token), None).await.expect(415);
    for query in ["limit=0", "limit=101", "cursor=x", "state=gone", "more=1"] {
        app.get(&admin, &format!("{HOLDS}?{query}")).await.expect(422);
    }
    assert_eq!(app.get(&admin, HOLDS).await.expect(200).body["items"], json!([placed]));
    app.finish().await;
}

async fn listed(app: &TestApp, reader: &User, query: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(reader, &format!("{HOLDS}?limit=2{query}{cursor}")).await.expect(200).body;
        found.extend(page["items"].as_array().unwrap().iter().map(|hold| hold["holdId"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn holds_are_listed_newest_first_by_state() {
    let app = TestApp::start().await;
    let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
    let mut placed = Vec::new();
    for _ in 0..5 {
        let user = app.user(Role::Merchant).await;
        placed.push(app.hold(&admin, "user", &user.user_id).await.expect(201).body);
    }
    for hold in [&placed[1], &placed[4]] {
        app.release(&admin, hold).await.expect(200);
    }
    let ids = |of: &[usize]| of.iter().map(|n| placed[*n]["holdId"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(listed(&app, &auditor, "").await, ids(&[4, 3, 2, 1, 0]));
    assert_eq!(listed(&app, &auditor, "&state=in_force").await, ids(&[3, 2, 0]));
    assert_eq!(listed(&app, &admin, "&state=released").await, ids(&[4, 1]));
    let reads = doc! { "action": "request.read", "resourceId": HOLDS, "actor.id": &auditor.user_id };
    assert!(!app.all("audit_events", reads).await.is_empty(), "looking at holds is recorded");
    app.finish().await;
}

#[tokio::test]
async fn only_administrators_change_holds_and_it_is_known_who_tried() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    let placed = app.hold(&admin, "user", &user.user_id).await.expect(201).body;
    for role in [Role::Auditor, Role::Finance, Role::Merchant] {
        let other = app.user(role).await;
        app.hold(&other, "user", &user.user_id).await.expect(403);
        app.release(&other, &placed).await.expect(403);
        let denied = doc! { "action": "request.denied", "actor.id": &other.user_id };
        eventually("both attempts are on record", PATIENCE, async || {
            app.all("audit_events", denied.clone()).await.len() == 2
        })
        .await;
        let may_read = role == Role::Auditor;
        app.get(&other, HOLDS).await.expect(if may_read { 200 } else { 403 });
    }
    let now = app.get(&admin, HOLDS).await.expect(200).body;
    assert_eq!(now["items"], json!([placed]), "nothing has changed");
    app.finish().await;
}

/// The path of the first document of somebody's application.
async fn document_of(app: &TestApp, user: &User) -> String {
    let listed = app.get(user, "/kyc/documents").await.expect(200).body;
    format!("/kyc/documents/{}", listed["items"][0]["documentId"].as_str().unwrap())
}

#[tokio::test]
async fn a_hold_keeps_a_users_application_and_documents() {
    let app = TestApp::start().await;
    let (admin, other) = (app.admin().await, app.newcomer().await);
    let user = app.applicant(&kyc::individual()).await;
    let reject = json!({ "decision": "reject", "reason": "I reject this." });
    app.decide(&admin, &user, &reject).await.expect(200);
    let drafting = app.newcomer().await;
    for newcomer in [&drafting, &other] {
        app.complete(newcomer, &kyc::individual()).await;
    }
    let reviewed = format!("/kyc/applications/{}/erasure", user.user_id);
    let asked = json!({ "reason": "The merchant asks for it." });
    let holds = [
        app.hold(&admin, "user", &user.user_id).await.expect(201).body,
        app.hold(&admin, "user", &drafting.user_id).await.expect(201).body,
    ];
    let before = [app.application(&user).await, app.application(&drafting).await];
    let refused = [
        app.post(&user, "/kyc/erasure", &asked).await.expect(409),
        app.post(&admin, &reviewed, &asked).await.expect(409),
        app.request(Method::DELETE, &document_of(&app, &drafting).await, Some(&drafting.token), None).await.expect(409),
    ];
    for answer in refused {
        assert_eq!(answer.code(), "audit.held");
        assert!(answer.text.contains("legal hold") && !answer.text.contains("court"), "{}", answer.text);
    }
    assert_eq!([app.application(&user).await, app.application(&drafting).await], before);
    app.get(&drafting, &document_of(&app, &drafting).await).await.expect(200);
    // Nobody else is concerned.
    let path = document_of(&app, &other).await;
    app.request(Method::DELETE, &path, Some(&other.token), None).await.expect(204);

    for hold in &holds {
        app.release(&admin, hold).await.expect(200);
    }
    app.post(&admin, &reviewed, &asked).await.expect(204);
    let path = document_of(&app, &drafting).await;
    app.request(Method::DELETE, &path, Some(&drafting.token), None).await.expect(204);
    // What was erased before a hold stays so, and nothing is left to be refused.
    app.hold(&admin, "user", &user.user_id).await.expect(201);
    app.post(&user, "/kyc/erasure", &asked).await.expect(204);
    app.finish().await;
}

#[tokio::test]
async fn a_document_waits_for_a_hold_that_is_being_set() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.newcomer().await);
    app.complete(&user, &kyc::individual()).await;
    let path = document_of(&app, &user).await;
    let api = Launch::api(&app, &[]).freeze_at("before_commit").start().await;
    let body = json!({ "kind": "user", "id": user.user_id, "reason": "A dispute in court." });
    let send = |request: reqwest::RequestBuilder, user: &User| tokio::spawn(request.bearer_auth(&user.token).send());
    let placing = app.client.post(format!("{}{HOLDS}", api.base)).header("content-type", "application/json");
    let placing = send(placing.body(body.to_string()), &admin);
    api.frozen().await;
    // The hold is written and not committed: who removes the document now can't see it, and must not get ahead of it.
    let removing = send(app.client.delete(format!("{}{path}", app.base)), &user);
    let began = Instant::now();
    // Not for as long that it would be taken for one that died.
    while began.elapsed() < Duration::from_millis(600) {
        assert!(!removing.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    api.signal(Signal::SIGCONT);
    read(placing.await.unwrap().unwrap()).await.expect(201);
    assert_eq!(read(removing.await.unwrap().unwrap()).await.expect(409).code(), "audit.held");
    app.get(&user, &path).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn orders_do_not_wait_for_who_removes_a_document() {
    let app = TestApp::start().await;
    let (admin, user, merchant) = (app.admin().await, app.newcomer().await, app.merchant().await);
    app.complete(&user, &kyc::individual()).await;
    let hold = app.hold(&admin, "user", &user.user_id).await.expect(201).body;
    app.release(&admin, &hold).await.expect(200);
    // As a purge has it in its transactions.
    let purging = Held::begin(app.db(), "audit_retention", "guard").await;
    let removing = app.client.delete(format!("{}{}", app.base, document_of(&app, &user).await));
    let removing = tokio::spawn(removing.bearer_auth(&user.token).send());
    let runs_again = async |lane: &str| {
        let metrics = app.request(Method::GET, "/metrics", None, None).await.text;
        metrics.contains(&format!("waybill_batch_retries_total{{lane=\"{lane}\"}}"))
    };
    eventually("the document waits", PATIENCE, async || runs_again("guard").await).await;
    app.created(&merchant, "c-1").await;
    assert!(!runs_again("api").await, "the lane of orders has nothing to do with it");
    purging.release().await;
    read(removing.await.unwrap().unwrap()).await.expect(204);
    app.finish_unchecked().await;
}
