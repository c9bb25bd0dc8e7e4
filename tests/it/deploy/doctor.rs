//! `waybill doctor`: on an installation that is well, and on one where much is wrong.

use std::collections::BTreeMap;

use bson::{Document, doc};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{TestApp, mailbox::Mailbox, test_flags};

/// What it prints, and whether it found no problem.
async fn doctor(flags: &[String]) -> (bool, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    let output = command.env_clear().args(["doctor", "--json"]).args(flags).output().await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let found: Value = serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{error}: {printed}\n{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(found["ok"], output.status.success(), "{found}");
    (output.status.success(), found)
}

fn flags_of(app: &TestApp, flags: &[&str]) -> Vec<String> {
    test_flags(&app.mongodb_uri, &app.redis_url, &app.redis_prefix, &app.carrier.base_url(), flags)
}

fn of<'a>(found: &'a Value, check: &str) -> Vec<&'a Value> {
    found["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check).collect()
}

/// Every finding of a check, as `state: says`.
fn told(found: &Value, check: &str) -> String {
    let line =
        |finding: &&Value| format!("{}: {}", finding["state"].as_str().unwrap(), finding["says"].as_str().unwrap());
    of(found, check).iter().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn an_installation_that_is_well_has_no_problem() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    app.confirmed(&user, "c-1").await;
    let mailbox = Mailbox::open();
    let mail = mailbox.flags();
    let more: Vec<&str> = mail.iter().map(String::as_str).chain(["--audit-anchor-file=/tmp/anchors"]).collect();
    let (is_well, found) = doctor(&flags_of(&app, &more)).await;
    assert!(is_well, "{found}");
    let expected = BTreeMap::from([
        ("settings", "ok: API and workers start with them."),
        ("mongodb.version", "ok: "),
        ("mongodb.replica_set", "warning: rs0 has one member."),
        ("mongodb.transactions", "ok: transactionLifetimeLimitSeconds is 15."),
        ("mongodb.users", "warning: It asks for no password"),
        ("mongodb.indexes", "ok: All "),
        ("clock", "ok: "),
        ("redis", "ok: "),
        ("keys.sealing", "ok: "),
        ("providers", "ok: parcelx can be reached"),
        ("mail", "ok: The mail server takes us"),
        ("workers", "warning: None is alive."),
        ("backlog.queues", "ok: "),
        ("backlog.events", "ok: "),
        ("backlog.orders", "ok: "),
        ("accounts", "ok: "),
    ]);
    for (check, begins) in expected {
        assert!(told(&found, check).starts_with(begins), "{check}: {}", told(&found, check));
    }
    for finding in found["findings"].as_array().unwrap() {
        assert_eq!(finding["state"] == "ok", finding["advice"].is_null(), "what is wrong has advice: {finding}");
        let words = finding.to_string();
        assert!(!words.contains("secret") && !words.contains(&user.email), "{words}");
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_to_do() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.confirmed(&user, "c-1").await;
    app.app.sealer().unwrap().pass().await.unwrap();
    let admin = app.admin().await;
    app.post(&admin, "/queues/parcelx-orders-queue/pause", &json!({})).await.expect(200);
    // Indexes: one is gone, one is another, one is nobody's.
    let orders = app.db().collection::<Document>("orders");
    orders.drop_index("number").await.unwrap();
    orders.drop_index("owner_status").await.unwrap();
    for index in [
        doc! { "key": { "userId": 1, "status": -1 }, "name": "owner_status" },
        doc! { "key": { "somebodys": 1 }, "name": "somebodys" },
    ] {
        app.db().run_command(doc! { "createIndexes": "orders", "indexes": [index] }).await.unwrap();
    }
    let set = async |collection: &str, filter: Document, fields: Document| {
        let collection = app.db().collection::<Document>(collection);
        let done = collection.update_one(filter, doc! { "$set": fields }).upsert(true).await.unwrap();
        assert!(done.matched_count + u64::from(done.upserted_id.is_some()) == 1);
    };
    set("orders", doc! { "_id": &order_id }, doc! { "status": "needs_attention" }).await;
    let job = app.create_job(&order_id).await;
    set("jobs", doc! { "_id": job.get_str("_id").unwrap() }, doc! { "state": "dead" }).await;
    let breaker = doc! { "state": "open", "reason": "credentials", "epoch": 1_i64 };
    set("provider_account_states", doc! { "_id": "parcelx/default" }, doc! { "breaker": breaker }).await;
    let wrong = [
        "--parcelx-base-url=http://127.0.0.1:1/api",
        "--redis-url=redis://127.0.0.1:1",
        "--smtp-url=smtp://127.0.0.1:1",
        "--mail-from=a@example.com",
        "--mail-deadline-ms=2000",
        "--public-url=http://example.com",
        "--sealing-key=1111111111111111111111111111111111111111111111111111111111111111",
        "--audit-signing-key=1111111111111111111111111111111111111111111111111111111111111111",
        "--jwt-secret-previous=0123456789abcdef0123456789abcdef",
    ];
    let (is_well, found) = doctor(&flags_of(&app, &wrong)).await;
    assert!(!is_well, "{found}");
    for (check, says) in [
        ("providers", "problem: parcelx can't be reached: 127.0.0.1:1 can't be connected to"),
        ("redis", "warning: It can't be used"),
        ("mail", "problem: smtp://127.0.0.1:1 fails at connect"),
        ("mongodb.indexes", "problem: 1 of "),
        ("mongodb.indexes", "are missing: orders.number"),
        ("mongodb.indexes", "problem: orders.owner_status: its keys are"),
        ("mongodb.indexes", "warning: Waybill does not know orders.somebodys."),
        ("keys.sealing", "problem: SEALING_KEY is not the one of this database"),
        ("keys.audit", "which nobody here knows"),
        ("keys.jwt_previous", "warning: "),
        ("backlog.queues", "warning: parcelx-orders-queue is paused."),
        ("backlog.queues", "warning: parcelx-orders-queue has 1 dead jobs."),
        ("backlog.orders", "warning: 1 orders need a person."),
        ("accounts", "problem: Nothing is sent with parcelx/default: its credentials were refused."),
        ("settings.public_url", "warning: Links in mails are not https"),
        ("settings.anchors", "warning: "),
    ] {
        assert!(told(&found, check).contains(says), "{check}: {says} is not in\n{}\n{found}", told(&found, check));
    }
    let advice = of(&found, "mongodb.indexes").iter().map(|finding| finding["advice"].to_string()).collect::<String>();
    assert!(advice.contains("waybill migrate") && advice.contains("dropIndex"), "{advice}");
    // By its number of indexes it is seen that this is no database for another test.
    orders.drop_index("somebodys").await.unwrap();
    app.finish_unchecked().await;
}

#[tokio::test]
async fn settings_and_a_database_that_is_away_are_named_too() {
    let away = "--mongodb-uri=mongodb://127.0.0.1:1/none?replicaSet=rs0&serverSelectionTimeoutMS=300".to_owned();
    let weak = ["--jwt-secret=short", "--parcelx-access-key=a", "--redis-url=redis://127.0.0.1:1"].map(str::to_owned);
    let (is_well, found) = doctor(&[vec![away], weak.to_vec()].concat()).await;
    assert!(!is_well);
    for says in ["JWT_SECRET is too short", "SEALING_KEY is not set", "PARCELX_SECRET_KEY is not set"] {
        assert!(told(&found, "settings").contains(&format!("problem: {says}")), "{says}: {found}");
    }
    assert!(told(&found, "mongodb").contains("problem: It can't be reached"), "{found}");
    assert!(told(&found, "settings.signing_key").starts_with("problem: "), "{found}");
    assert!(of(&found, "mongodb.indexes").is_empty(), "nothing is said of what was not seen: {found}");
}
