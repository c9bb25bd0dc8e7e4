//! Extracts from the property register: placed, waited for, delivered with their files.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use waybill::platform::identity::Role;

use crate::support::{Registry, TestApp, User, eventually, process::Launch, registry::extract};

const MONEY: i64 = 1_000_000;

/// One step per poll, down to the signature.
fn steps(states: &[&str]) -> Value {
    states.iter().map(|state| json!({ "state": state, "afterPolls": 1 })).collect()
}

async fn registrant(app: &TestApp) -> User {
    let user = app.merchant_with(0).await;
    app.credit_in(&user, MONEY, "RUB").await;
    user
}

async fn roubles(app: &TestApp, user: &User) -> (i64, i64) {
    let wallet = app.get(user, "/wallet?currency=RUB").await.expect(200).body;
    (wallet["available"].as_i64().unwrap(), wallet["held"].as_i64().unwrap())
}

async fn ordered(app: &TestApp, user: &User, client_order_id: &str, kind: &str) -> String {
    let order = app.post(user, "/orders/create", &extract(client_order_id, kind)).await.expect(201).body;
    order["orderId"].as_str().unwrap().to_owned()
}

/// Runs what is due, and then what is due after the next poll.
async fn polls(app: &TestApp) {
    app.run_jobs().await;
    app.app.clock.advance(Duration::from_secs(2));
    app.run_jobs().await;
}

/// Polls until the order has that status; gives every status on the way, each once.
async fn until(app: &TestApp, user: &User, order_id: &str, status: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..20 {
        let now = app.order(user, order_id).await["status"].as_str().unwrap().to_owned();
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        if now == status {
            return seen;
        }
        app.worker.run_due().await;
        app.app.clock.advance(Duration::from_secs(2));
    }
    panic!("{order_id} did not become {status}: {seen:?}");
}

async fn files(app: &TestApp, user: &User, order_id: &str) -> Vec<Value> {
    let listed = app.get(user, &format!("/orders/{order_id}/files")).await.expect(200).body;
    listed["items"].as_array().unwrap().clone()
}

async fn download(app: &TestApp, user: &User, order_id: &str, file: &Value) -> reqwest::Response {
    let path = format!("{}/orders/{order_id}/files/{}", app.base, file["fileId"].as_str().unwrap());
    app.client.get(path).bearer_auth(&user.token).send().await.unwrap()
}

#[tokio::test]
async fn an_extract_is_delivered_with_its_file_and_paid_for_then() {
    let app = TestApp::start().await;
    let (user, registry) = (registrant(&app).await, Registry::beside(&app.carrier));
    let file = json!({ "kind": "pdf", "name": "Выписка.pdf", "bytes": 1_200_000 });
    registry.course(json!({ "steps": steps(&["sent", "completed", "verified"]), "files": [file] })).await;
    let order_id = ordered(&app, &user, "x-1", "base").await;
    let order = app.order(&user, &order_id).await;
    assert_eq!(order["extract"], json!({ "cadastralNumber": "50:33:0000000:98325", "type": "base" }));
    assert_eq!((&order["charge"], &order["files"]), (&json!({ "amount": 29_000, "currency": "RUB" }), &json!([])));
    assert_eq!(roubles(&app, &user).await, (MONEY - 29_000, 29_000));

    let seen = until(&app, &user, &order_id, "in_progress").await;
    assert_eq!(seen, ["created", "confirmed", "in_progress"]);
    assert_eq!(roubles(&app, &user).await, (MONEY - 29_000, 29_000), "it is not owed yet");
    until(&app, &user, &order_id, "delivered").await;
    assert_eq!(roubles(&app, &user).await, (MONEY - 29_000, 0));

    let (listed, theirs) = (files(&app, &user, &order_id).await, registry.docflows(&order_id).await);
    assert_eq!((listed.len(), &listed[0]["name"], &listed[0]["size"]), (1, &json!("Выписка.pdf"), &json!(1_200_000)));
    assert_eq!(listed[0]["sha256"], theirs["docflows"][0]["files"][0]["sha256"]);
    let answer = download(&app, &user, &order_id, &listed[0]).await;
    let headers = answer.headers().clone();
    assert_eq!(
        (&headers["content-type"], &headers["content-length"]),
        (&"application/pdf".parse().unwrap(), &"1200000".parse().unwrap())
    );
    let disposition = headers["content-disposition"].to_str().unwrap();
    assert_eq!(
        disposition,
        "attachment; filename=\"_______.pdf\"; filename*=UTF-8''%D0%92%D1%8B%D0%BF%D0%B8%D1%81%D0%BA%D0%B0.pdf"
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let content = answer.bytes().await.unwrap();
    assert_eq!(listed[0]["sha256"], hex::encode(Sha256::digest(&content)));

    // What is kept and what is logged names no owner.
    let owner = b"IVANOV IVAN IVANOVICH";
    assert!(content.windows(owner.len()).any(|window| window == owner));
    let mut kept = Vec::new();
    for name in ["order_file_pieces", "orders", "provider_request_logs", "provider_response_logs", "jobs", "events"] {
        for document in app.all(name, doc! {}).await {
            kept.extend(bson::serialize_to_vec(&document).unwrap());
        }
    }
    assert!(!kept.windows(owner.len()).any(|window| window == owner), "an owner's name is stored in clear");
    let logs = app.all("provider_response_logs", doc! { "operation": "fetch_file", "outcome": "received" }).await;
    let logged = logs[0].get_document("body").unwrap().get_document("file").unwrap();
    assert_eq!(
        (logged.get_i64("bytes").unwrap(), logged.get_str("sha256").unwrap()),
        (1_200_000, listed[0]["sha256"].as_str().unwrap())
    );

    polls(&app).await;
    let listed = files(&app, &user, &order_id).await;
    assert_eq!((listed.len(), &listed[1]["name"]), (2, &json!("Выписка.pdf.sig")), "verified adds a signature");
    assert_eq!(app.create_job(&order_id).await.get_str("state").unwrap(), "done");
    let books = registry.books().await;
    assert_eq!((&books["docflows"], &books["violations"]), (&json!(1), &json!([])), "{books}");
    app.finish().await;
}

#[tokio::test]
async fn an_extract_that_costs_nothing_holds_nothing() {
    let app = TestApp::start().await;
    let (user, registry) = (app.merchant_with(0).await, Registry::beside(&app.carrier));
    registry.course(json!({ "steps": steps(&["verified"]) })).await;
    let order_id = ordered(&app, &user, "x-1", "info").await;
    until(&app, &user, &order_id, "delivered").await;
    let order = app.order(&user, &order_id).await;
    assert_eq!(order["charge"], json!({ "amount": 0, "currency": "RUB" }));
    let unpaid = app.post(&user, "/orders/create", &extract("x-2", "ownership")).await.expect(402);
    assert_eq!(unpaid.body["needed"], json!({ "amount": 46_000, "currency": "RUB" }));
    app.finish().await;
}

#[tokio::test]
async fn an_error_ends_it_with_its_text_and_gives_the_fee_back() {
    let app = TestApp::start().await;
    let (user, registry) = (registrant(&app).await, Registry::beside(&app.carrier));
    registry.course(json!({ "steps": steps(&["sent", "error"]), "error": "The object is not in the register" })).await;
    let order_id = ordered(&app, &user, "x-1", "ownership").await;
    until(&app, &user, &order_id, "failed").await;
    let order = app.order(&user, &order_id).await;
    assert_eq!(order["failure"]["code"], "provider.ended_in_error");
    assert_eq!(order["failure"]["message"], "The object is not in the register");
    assert_eq!(roubles(&app, &user).await, (MONEY, 0));
    let job = app.create_job(&order_id).await;
    let retry = format!("/queues/jobs/{}/retry", job.get_str("_id").unwrap());
    app.post(&app.admin().await, &retry, &json!({})).await.expect(409);
    app.finish().await;
}

#[tokio::test]
async fn what_is_suspended_waits_and_a_month_later_a_person_looks() {
    let app = TestApp::start().await;
    let (user, registry) = (registrant(&app).await, Registry::beside(&app.carrier));
    registry.course(json!({ "steps": steps(&["suspended"]) })).await;
    let order_id = ordered(&app, &user, "x-1", "base").await;
    until(&app, &user, &order_id, "in_progress").await;
    let waits = async || {
        let job = app.create_job(&order_id).await;
        assert_eq!((job.get_i32("attempts").unwrap(), job.get_str("state").unwrap()), (0, "ready"), "{job}");
        (job.get_datetime("runAt").unwrap().timestamp_millis() - app.app.clock.now_ms()) / 1_000
    };
    assert!(waits().await <= 1);
    app.app.clock.advance(Duration::from_secs(10 * 24 * 3600));
    app.run_jobs().await;
    assert!((590..=600).contains(&waits().await), "polls slow down with age");
    app.app.clock.advance(Duration::from_secs(21 * 24 * 3600));
    app.run_jobs().await;
    let order = app.order(&user, &order_id).await;
    assert_eq!(
        (&order["status"], &order["failure"]["code"]),
        (&json!("needs_attention"), &json!("provider.takes_too_long"))
    );
    assert_eq!(roubles(&app, &user).await, (MONEY - 29_000, 29_000), "the fee stays held");

    registry.stands(&order_id, "verified").await;
    let job = app.create_job(&order_id).await;
    let retry = format!("/queues/jobs/{}/retry", job.get_str("_id").unwrap());
    app.post(&app.admin().await, &retry, &json!({})).await.expect(200);
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "delivered");
    assert_eq!(registry.docflows(&order_id).await["calls"]["place"], 1, "it is followed on, not placed again");
    app.finish().await;
}

#[tokio::test]
async fn nothing_is_placed_twice_whatever_becomes_of_the_answer() {
    let app = TestApp::start().await;
    let (user, registry) = (registrant(&app).await, Registry::beside(&app.carrier));
    registry.course(json!({ "steps": steps(&["verified"]) })).await;
    for (number, mode, placed) in
        [(1, "drop_after_work", 1), (2, "500_after_work", 1), (3, "duplicate", 2), (4, "no_docflow_id", 1)]
    {
        registry.rule(json!({ "operation": "place", "mode": mode, "times": 1 })).await;
        let order_id = ordered(&app, &user, &format!("x-{number}"), "base").await;
        app.run_jobs_to_the_end().await;
        assert_eq!(app.order(&user, &order_id).await["status"], "delivered", "{mode}");
        let theirs = registry.docflows(&order_id).await;
        assert_eq!(
            (&theirs["calls"]["place"], theirs["docflows"].as_array().unwrap().len()),
            (&json!(placed), 1),
            "{mode}"
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn an_extract_is_cancelled_until_it_is_placed_and_not_after() {
    let app = TestApp::start().await;
    let (user, registry) = (registrant(&app).await, Registry::beside(&app.carrier));
    registry.course(json!({ "steps": steps(&["verified"]) })).await;
    let early = ordered(&app, &user, "x-1", "base").await;
    app.cancel(&user, "x-1").await.expect(202);
    assert_eq!(app.order(&user, &early).await["status"], "cancelled");
    assert_eq!(roubles(&app, &user).await, (MONEY, 0));

    let order_id = ordered(&app, &user, "x-2", "base").await;
    for status in ["confirmed", "delivered"] {
        until(&app, &user, &order_id, status).await;
        assert_eq!(app.cancel(&user, "x-2").await.expect(409).code(), "orders.not_cancellable", "{status}");
    }
    assert!(registry.docflows(&early).await.is_null());
    app.finish().await;
}

#[tokio::test]
async fn polls_and_files_that_go_wrong_are_asked_for_again() {
    let app = TestApp::start().await;
    let (user, registry) = (registrant(&app).await, Registry::beside(&app.carrier));
    registry.course(json!({ "steps": steps(&["verified"]) })).await;
    for mode in ["500", "html", "other_docflow", "odd_state", "not_found"] {
        registry.rule(json!({ "operation": "poll", "mode": mode, "times": 1 })).await;
    }
    for mode in ["503", "html", "cut_after_work", "truncated_after_work", "not_found"] {
        registry.rule(json!({ "operation": "download", "mode": mode, "times": 1 })).await;
    }
    let order_id = ordered(&app, &user, "x-1", "base").await;
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "delivered");
    for (file, theirs) in files(&app, &user, &order_id)
        .await
        .iter()
        .zip(registry.docflows(&order_id).await["docflows"][0]["files"].as_array().unwrap())
    {
        assert_eq!(file["sha256"], theirs["sha256"]);
    }
    let named: Vec<_> =
        files(&app, &user, &order_id).await.iter().map(|file| file["fileId"].as_str().unwrap().to_owned()).collect();
    for piece in app.all("order_file_pieces", doc! {}).await {
        assert!(named.iter().any(|id| id == piece.get_str("fileId").unwrap()), "what was given up is gone");
    }
    app.finish().await;
}

#[tokio::test]
async fn files_are_their_owners_and_staff_who_read_them_are_on_record() {
    let app = TestApp::start().await;
    let (user, registry) = (registrant(&app).await, Registry::beside(&app.carrier));
    let hostile = json!({
        "kind": "pdf", "id": "../1?a=b", "name": "../../<b>\"evil\u{202e}.html\r\nX-A: b", "contentType": "text/html; charset=x",
    });
    registry.course(json!({ "steps": steps(&["verified"]), "files": [hostile] })).await;
    let order_id = ordered(&app, &user, "x-1", "base").await;
    until(&app, &user, &order_id, "delivered").await;
    let file = files(&app, &user, &order_id).await.remove(0);
    assert_eq!(
        (&file["name"], &file["contentType"]),
        (&json!("_b__evil.htmlX-A_ b.bin"), &json!("application/octet-stream"))
    );
    let answer = download(&app, &user, &order_id, &file).await;
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"_b__evil.htmlX-A_ b.bin\"");

    let path = format!("/orders/{order_id}/files/{}", file["fileId"].as_str().unwrap());
    let other = app.merchant_with(0).await;
    app.get(&other, &format!("/orders/{order_id}/files")).await.expect(404);
    app.get(&other, &path).await.expect(404);
    app.get(&app.user(Role::Finance).await, &path).await.expect(403);
    let missing = app.get(&user, &format!("/orders/{order_id}/files/fil_1")).await.expect(404);
    assert_eq!(missing.code(), "orders.no_file");
    let elsewhere = ordered(&app, &user, "x-2", "info").await;
    app.get(&user, &path.replace(&order_id, &elsewhere)).await.expect(404);

    let readings = async || {
        let read = doc! { "action": { "$in": ["order.files_listed", "order.file_read"] } };
        app.all("audit_events", read).await
    };
    assert!(readings().await.is_empty(), "owners are not on record for what is theirs");
    let auditor = app.user(Role::Auditor).await;
    files(&app, &auditor, &order_id).await;
    assert_eq!(download(&app, &auditor, &order_id, &file).await.status(), StatusCode::OK);
    let told: Vec<_> = readings()
        .await
        .iter()
        .map(|event| {
            let text = |name: &str| event.get_str(name).unwrap().to_owned();
            (
                text("action"),
                text("resourceId"),
                text("userId"),
                event.get_document("actor").unwrap().get_str("id").unwrap().to_owned(),
            )
        })
        .collect();
    let file_id = file["fileId"].as_str().unwrap().to_owned();
    assert_eq!(
        told,
        [
            ("order.files_listed".to_owned(), order_id.clone(), user.user_id.clone(), auditor.user_id.clone()),
            ("order.file_read".to_owned(), file_id, user.user_id.clone(), auditor.user_id.clone()),
        ]
    );
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

/// Attempts before the one that is killed, and where it is: placing is the first attempt, then two polls, then two files.
const KILLED: [(usize, &str); 7] = [
    (0, "answered"),
    (1, "request_logged"),
    (2, "before_completion"),
    (3, "request_logged"),
    (3, "answered"),
    (4, "before_completion"),
    (4, "after_completion"),
];

const FAST: &[&str] = &[
    "--lease-ms=1600",
    "--call-deadline-ms=500",
    "--heartbeat-ms=300",
    "--backoff-base-ms=100",
    "--settling-delay-ms=200",
    "--poll-ms=50",
    "--shutdown-ms=5000",
    "--rosreestr-poll-ms=50",
    "--rosreestr-call-deadline-ms=1000",
];

#[tokio::test]
async fn a_worker_killed_between_steps_orders_once_and_stores_files_once() {
    stream::iter(KILLED.map(delivered_despite)).buffer_unordered(3).collect::<Vec<()>>().await;
}

async fn delivered_despite((attempts, point): (usize, &str)) {
    let app = TestApp::with(FAST).await;
    let (user, registry) = (registrant(&app).await, Registry::beside(&app.carrier));
    registry.course(json!({ "steps": steps(&["verified"]) })).await;
    // What comes the first time is not what comes the second time: half of each would be neither.
    registry.rule(json!({ "operation": "download", "mode": "changed_file", "times": 1 })).await;
    let order_id = ordered(&app, &user, "x-1", "base").await;
    for _ in 0..attempts {
        eventually("an attempt is due", Duration::from_secs(20), async || app.worker.run_due().await == 1).await;
    }
    Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;
    let mut healthy = Launch::worker(&app, FAST).start().await;
    let jobs = app.db().collection::<Document>("jobs");
    eventually("the job has ended", Duration::from_secs(60), async || {
        jobs.count_documents(doc! { "state": { "$in": ["ready", "active"] } }).await.is_ok_and(|count| count == 0)
    })
    .await;
    healthy.terminate().await;
    let context = format!("killed at {point} after {attempts} attempts");
    assert_eq!(app.order(&user, &order_id).await["status"], "delivered", "{context}");
    assert_eq!(roubles(&app, &user).await, (MONEY - 29_000, 0), "{context}");
    let theirs = registry.docflows(&order_id).await;
    assert_eq!((&theirs["calls"]["place"], theirs["docflows"].as_array().unwrap().len()), (&json!(1), 1), "{context}");
    let listed = files(&app, &user, &order_id).await;
    assert_eq!(listed.len(), 2, "{context}: {listed:?}");
    for file in &listed {
        let content = download(&app, &user, &order_id, file).await.bytes().await.unwrap();
        assert_eq!(file["sha256"], hex::encode(Sha256::digest(&content)), "{context}");
    }
    let ids: Vec<&str> = listed.iter().map(|file| file["fileId"].as_str().unwrap()).collect();
    for piece in app.all("order_file_pieces", doc! {}).await {
        assert!(ids.contains(&piece.get_str("fileId").unwrap()), "{context}: a piece of nothing: {piece}");
    }
    app.finish().await;
}

/// `waybill`, as an operator runs it.
async fn program(app: &TestApp, args: &[&str], env: &[(&str, &str)]) -> String {
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
    let output =
        program.args(args).env("MONGODB_URI", &app.mongodb_uri).envs(env.iter().copied()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_new_sealing_key_and_an_erasure_reach_files() {
    let app = TestApp::start().await;
    let (user, registry) = (registrant(&app).await, Registry::beside(&app.carrier));
    let file = json!({ "kind": "zip", "name": "Ivanov.zip", "bytes": 1_100_000 });
    registry.course(json!({ "steps": steps(&["verified"]), "files": [file] })).await;
    let order_id = ordered(&app, &user, "x-1", "base").await;
    until(&app, &user, &order_id, "delivered").await;
    let listed = files(&app, &user, &order_id).await;

    let (old, new) = ("0".repeat(64), "b".repeat(64));
    let said = program(&app, &["keys", "rotate"], &[("SEALING_KEY", &new), ("SEALING_KEY_PREVIOUS", &old)]).await;
    assert!(
        said.starts_with("3 value(s)") || said.starts_with("4 value(s)"),
        "two pieces, the signature, and secrets of ours: {said}"
    );
    let under_the_new_key = app.beside(&[&format!("--sealing-key={new}")]).await;
    let answer = download(&under_the_new_key, &user, &order_id, &listed[0]).await;
    assert_eq!(listed[0]["sha256"], hex::encode(Sha256::digest(answer.bytes().await.unwrap())));

    let erase = ["audit", "erase", "--order", &order_id, "--reason", "The owner asks for it."];
    let said = program(&app, &erase, &[("SEALING_KEY", &new)]).await;
    assert!(said.contains("1 order(s)"), "{said}");
    assert!(app.all("order_file_pieces", doc! {}).await.is_empty());
    let erased = files(&app, &user, &order_id).await;
    assert_eq!((erased.len(), &erased[0]["name"], &erased[0]["sha256"]), (2, &json!("erased"), &listed[0]["sha256"]));
    assert_eq!(download(&under_the_new_key, &user, &order_id, &listed[0]).await.status(), StatusCode::NOT_FOUND);
    let stored = app.all("orders", doc! {}).await;
    assert!(!format!("{stored:?}").contains("Ivanov"), "{stored:?}");
    app.run_jobs_to_the_end().await;
    app.finish().await;
}
