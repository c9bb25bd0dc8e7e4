//! Alerts: each is told once when it fires and once when it is over, to mail and to posts, on record.

use std::{collections::BTreeSet, time::Duration};

use bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use crate::support::{
    TestApp, User,
    receiver::{Receiver, Reply},
    seals::seal_all,
};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const MINUTE: Duration = Duration::from_secs(60);

async fn insert(app: &TestApp, collection: &str, documents: Vec<Document>) {
    app.db().collection::<Document>(collection).insert_many(documents).await.unwrap();
}

/// So many jobs that were given up just now.
async fn give_up(app: &TestApp, count: usize) {
    let now = app.app.clock.now();
    let dead =
        |n| doc! { "_id": format!("job_{n}"), "queue": "mail-queue", "kind": "x", "state": "dead", "runAt": now };
    insert(app, "jobs", (0..count).map(dead).collect()).await;
}

async fn check(app: &TestApp) -> usize {
    app.app.check_alerts().await.unwrap()
}

/// So much later, when nothing waits but for what a test is about.
async fn check_after(app: &TestApp, minutes: u32) -> usize {
    app.relay_and_run().await;
    seal_all(app).await;
    app.app.clock.advance(minutes * MINUTE);
    check(app).await
}

async fn alerts(app: &TestApp, admin: &User, query: &str) -> Vec<Value> {
    let list = app.get(admin, &format!("/alerts{query}")).await.expect(200).body;
    list["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_alert_is_posted_once_and_once_when_it_is_over() {
    let (webhook, slack) = (Receiver::start().await, Receiver::start().await);
    let secret_path = format!("{}/T0-secret", slack.url);
    let flags = [
        format!("--alert-webhook-url={}", webhook.url),
        format!("--alert-webhook-secret={SECRET}"),
        format!("--alert-slack-url={secret_path}"),
        "--alert-deadline-ms=400".to_owned(),
        "--public-url=https://waybill.test".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let app = TestApp::with(&flags).await;
    let (admin, other) = (app.admin().await, app.beside(&flags).await);
    app.beat(&[]).await;
    give_up(&app, 10).await;
    assert_eq!(check(&app).await, 0, "ten are no spike");
    app.db().collection::<Document>("jobs").delete_many(doc! {}).await.unwrap();
    give_up(&app, 12).await;
    // Two processes that look at once tell it once.
    let (one, two) = tokio::join!(check(&app), check(&other));
    assert_eq!(one + two, 1);
    assert_eq!(check(&app).await + check(&other).await, 0);
    let (posted, texts) = (webhook.received(), slack.received());
    assert_eq!((posted.len(), texts.len()), (1, 1));
    let message = "12 jobs of mail-queue were given up in a quarter of an hour.";
    assert_eq!(posted[0].json()["type"], "alert.fired");
    let data = &posted[0].json()["data"];
    assert_eq!(
        (&data["rule"], &data["about"], &data["severity"]),
        (&json!("jobs-die"), &json!("mail-queue"), &json!("page"))
    );
    assert_eq!((&data["message"], &data["publicUrl"]), (&json!(message), &json!("https://waybill.test")));
    assert!(posted[0].is_signed_by(SECRET));
    let text = texts[0].json()["text"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with(&format!("Waybill https://waybill.test [page] {message} GET /queues/mail-queue/jobs")),
        "{text}"
    );
    let firing = alerts(&app, &admin, "?state=firing").await;
    assert_eq!((firing.len(), &firing[0]["alertId"]), (1, &json!("jobs-die:mail-queue")));
    assert_eq!(app.get(&admin, "/alerts?state=odd").await.expect(422).blamed(), ["state:unknown_value"]);

    // A quarter of an hour later nothing has died lately. What is over for five minutes is told to be over.
    assert_eq!(check_after(&app, 16).await, 0);
    webhook.always(Reply::Status(500));
    slack.always(Reply::Hang);
    assert_eq!(check_after(&app, 6).await, 1);
    let resolved = alerts(&app, &admin, "?state=resolved").await;
    assert_eq!(resolved[0]["undelivered"], json!(["alert-webhook", "alert-slack"]));
    webhook.always(Reply::Status(204));
    slack.always(Reply::Status(200));
    // They are told with the next look, under the same id.
    check(&app).await;
    check(&app).await;
    assert_eq!(webhook.types(), ["alert.fired", "alert.resolved", "alert.resolved"]);
    assert_eq!(webhook.received()[1].id(), webhook.received()[2].id());
    let last = slack.received().last().unwrap().json();
    assert_eq!(last["text"], format!("Waybill https://waybill.test [resolved] {message}"));
    assert_eq!(alerts(&app, &admin, "?state=resolved").await[0]["undelivered"], json!([]));

    // Every post is on record, with its answer, and without what is secret in addresses.
    let asked = app.all("provider_request_logs", doc! { "provider": "alerts" }).await;
    let answered = app.all("provider_response_logs", doc! { "provider": "alerts" }).await;
    assert_eq!((asked.len(), answered.len()), (6, 6));
    assert!(asked.iter().all(|log| log.get_str("url").unwrap().ends_with("/[path]")), "{asked:?}");
    assert!(!format!("{asked:?}{answered:?}").contains("T0-secret"));
    let outcomes: Vec<_> = answered.iter().map(|log| log.get_str("outcome").unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "retryable").count(), 2, "{outcomes:?}");
    let events = app.all("events", doc! { "subjectId": "jobs-die:mail-queue" }).await;
    let kinds: Vec<_> = events.iter().map(|event| event.get_str("type").unwrap()).collect();
    assert_eq!(kinds, ["AlertFired", "AlertResolved"]);
    app.finish_unchecked().await;
}

#[tokio::test]
async fn a_channel_that_hangs_holds_up_no_other_and_is_asked_once_a_look() {
    let (webhook, slack) = (Receiver::start().await, Receiver::start().await);
    webhook.always(Reply::Hang);
    let flags = [
        format!("--alert-webhook-url={}", webhook.url),
        format!("--alert-slack-url={}", slack.url),
        "--alert-deadline-ms=400".to_owned(),
    ];
    let app = TestApp::with(&flags.each_ref().map(String::as_str)).await;
    let admin = app.admin().await;
    app.beat(&[]).await;
    let now = app.app.clock.now();
    let queues = ["mail-queue", "events-queue", "webhook-deliveries-queue"];
    for queue in queues {
        let dead = (0..12).map(|n| {
            doc! { "_id": format!("job_{queue}_{n}"), "queue": queue, "kind": "x", "state": "dead", "runAt": now }
        });
        insert(&app, "jobs", dead.collect()).await;
    }
    assert_eq!(check(&app).await, 3);
    assert_eq!((slack.received().len(), webhook.received().len()), (3, 1), "one has all, the other was asked once");
    // The same one is not in the way of all others: each look begins with another.
    check(&app).await;
    webhook.always(Reply::Status(200));
    check(&app).await;
    let about: Vec<_> = webhook.received().iter().map(|post| post.json()["data"]["about"].clone()).collect();
    assert_eq!(BTreeSet::from_iter(about[..2].iter().map(Value::to_string)).len(), 2, "{about:?}");
    assert_eq!((slack.received().len(), about.len()), (3, 5));
    for alert in alerts(&app, &admin, "?state=firing").await {
        assert_eq!(alert["undelivered"], json!([]), "{alert}");
    }
    app.finish_unchecked().await;
}

#[tokio::test]
async fn what_cant_be_read_silences_its_own_rules_and_is_an_alert() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    app.beat(&[]).await;
    give_up(&app, 12).await;
    app.post(&admin, "/queues/mail-queue/pause", &json!({})).await.expect(200);
    check(&app).await;
    assert_eq!(alerts(&app, &admin, "?state=firing").await[0]["value"], 12.0);
    insert(&app, "jobs", (0..3).map(|n| doc! { "_id": format!("job_more_{n}"), "queue": "mail-queue", "kind": "x", "state": "dead", "runAt": app.app.clock.now() }).collect()).await;
    check(&app).await;
    let firing = alerts(&app, &admin, "?state=firing").await;
    assert_eq!((firing.len(), &firing[0]["value"]), (1, &json!(15.0)), "as it is now");
    assert!(firing[0]["message"].as_str().unwrap().starts_with("15 jobs"), "{firing:?}");

    // Dead jobs are counted along an index: without it nobody knows how many there are.
    let jobs = app.db().collection::<Document>("jobs");
    jobs.drop_index("aside").await.unwrap();
    jobs.delete_many(doc! {}).await.unwrap();
    for _ in 0..6 {
        app.app.clock.advance(6 * MINUTE);
        app.beat(&[]).await;
        check(&app).await;
    }
    let ids = async || -> BTreeSet<String> {
        let firing = alerts(&app, &admin, "?state=firing").await;
        firing.iter().map(|alert| alert["alertId"].as_str().unwrap().to_owned()).collect()
    };
    let firing = ids().await;
    for alert in ["jobs-die:mail-queue", "queue-paused:mail-queue", "readings-fail:dead-jobs"] {
        assert!(firing.contains(alert), "{alert} is not in {firing:?}");
    }
    app.app.migrate().await.unwrap();
    for _ in 0..3 {
        app.app.clock.advance(6 * MINUTE);
        check(&app).await;
    }
    let firing = ids().await;
    assert!(!firing.contains("jobs-die:mail-queue") && !firing.contains("readings-fail:dead-jobs"), "{firing:?}");
    app.finish_unchecked().await;
}

#[tokio::test]
async fn every_condition_has_its_alert() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    let order_id = app.created(&user, "c-1").await;
    app.post(&admin, "/queues/mail-queue/pause", &json!({})).await.expect(200);
    app.update_one("orders", doc! { "_id": &order_id }, doc! { "status": "needs_attention" }).await;
    let states = app.db().collection::<Document>("provider_account_states");
    let open = doc! { "$set": { "breaker": { "state": "open", "reason": "credentials" } } };
    states.update_one(doc! { "_id": "parcelx/default" }, open).upsert(true).await.unwrap();
    app.app.refresh_accounts().await.unwrap();
    let firing = async || -> BTreeSet<String> {
        let firing = alerts(&app, &admin, "?state=firing").await;
        firing.iter().map(|alert| alert["alertId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((check(&app).await, firing().await.len()), (0, 0), "all of it has just begun");
    app.app.clock.advance(31 * MINUTE);
    // Calls of which nobody knows anything, and a worker that serves one queue.
    let now = DateTime::from_millis(app.app.clock.now_ms() - 1_000);
    let lost = |n| {
        doc! {
            "_id": format!("{}{n:02}", &waybill::platform::ids::new_id("res")[..34]), "provider": "parcelx",
            "outcome": "unknown", "receivedAt": now,
        }
    };
    insert(&app, "provider_response_logs", (0..30).map(lost).collect()).await;
    check(&app).await;
    let whole = ["no-worker:workers", "needs-attention:orders"];
    let single = ["queue-paused:mail-queue", "breaker-open:parcelx/default", "unknown-outcomes:parcelx"];
    let expected: BTreeSet<String> = whole.into_iter().chain(single).map(str::to_owned).collect();
    assert_eq!(firing().await, expected);

    app.beat(&["parcelx-orders-queue"]).await;
    check(&app).await;
    app.app.clock.advance(6 * MINUTE);
    insert(&app, "provider_response_logs", (30..60).map(lost).collect()).await;
    check(&app).await;
    let now_firing = firing().await;
    // Sealer and relay do not run here.
    for alert in
        ["jobs-wait:parcelx-orders-queue", "relay-behind:events", "sealer-behind:audit", "provider-fails:parcelx"]
    {
        assert!(now_firing.contains(alert), "{alert} is not in {now_firing:?}");
    }
    assert!(!now_firing.contains("no-worker:workers"), "{now_firing:?}");
    app.beat(&["mail-queue"]).await;
    check(&app).await;
    app.app.clock.advance(6 * MINUTE);
    check(&app).await;
    let now_firing = firing().await;
    assert!(now_firing.contains("queue-unworked:parcelx-orders-queue"), "{now_firing:?}");
    assert!(!now_firing.contains("jobs-wait:parcelx-orders-queue"), "{now_firing:?}");
    app.finish_unchecked().await;
}

#[test]
fn where_alerts_go_is_checked_at_the_start() {
    let flags =
        ["--alert-webhook-url=ftp://a", "--alert-webhook-secret=short", "--alert-slack-url=https://u:p@b.example/"];
    let config = waybill::config::config_from(flags.map(str::to_owned)).unwrap();
    let wrong = config.check().unwrap_err();
    for said in [
        "ALERT_WEBHOOK_URL must be an address that starts with http:// or https://",
        "ALERT_WEBHOOK_SECRET must be `whsec_` and 24 to 64 bytes in base64",
        "ALERT_SLACK_URL must hold no user name and no password",
    ] {
        assert!(wrong.contains(said), "{wrong}");
    }
}
