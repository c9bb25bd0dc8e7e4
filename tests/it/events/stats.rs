//! `/events/stats`: the sum is right at every moment.

use serde_json::{Value, json};
use waybill::modules::events::HandlerError;

use super::{Following, Noting, handler_jobs};
use crate::support::TestApp;

async fn stats(app: &TestApp, token: &str) -> Value {
    let stats = app.request(reqwest::Method::GET, "/events/stats", Some(token), None).await.expect(200).body;
    let count = |name: &str| stats[name].as_i64().unwrap();
    assert_eq!(count("total"), count("pending") + count("processed") + count("failed"), "{stats}");
    stats
}

fn counts(stats: &Value) -> [i64; 4] {
    ["total", "pending", "processed", "failed"].map(|name| stats[name].as_i64().unwrap())
}

fn of_handler(stats: &Value, name: &str) -> Value {
    let handlers = stats["handlers"].as_array().unwrap();
    handlers.iter().find(|handler| handler["name"] == name).cloned().unwrap_or_default()
}

#[tokio::test]
async fn events_count_as_pending_processed_or_failed_by_their_handlers() {
    let app = TestApp::start().await;
    let token = app.admin().await.token;
    let user = app.merchant().await;
    let before = Following::with(&app, Vec::new());
    before.relay.pass().await.unwrap();
    let [old, ..] = counts(&stats(&app, &token).await);
    drop(before.relay);
    app.db().collection::<bson::Document>("singletons").delete_many(bson::doc! {}).await.unwrap();
    let fails_first = |_: &_, attempt: i32| {
        let message = "No.".to_owned();
        if attempt == 1 { Err(HandlerError::Invalid { code: "events.invalid_order", message }) } else { Ok(()) }
    };
    let on = Following::with(
        &app,
        vec![
            Noting::well(&app, "good", &["OrderCreated"]),
            Noting::who(&app, "refuses", &["OrderCreated"], fails_first),
        ],
    );
    app.created(&user, "o-1").await;
    app.created(&user, "o-2").await;
    let waiting = stats(&app, &token).await;
    assert_eq!((counts(&waiting), &waiting["unrelayed"]), ([old + 2, 2, old, 0], &json!(2)));
    assert!(waiting["oldestPendingSeconds"].as_i64().is_some());
    on.relay.pass().await.unwrap();
    let relayed = stats(&app, &token).await;
    assert_eq!((counts(&relayed), &relayed["unrelayed"]), ([old + 2, 2, old, 0], &json!(0)));
    assert_eq!(of_handler(&relayed, "good"), json!({ "name": "good", "pending": 2, "done": 0, "dead": 0 }));
    on.run().await;
    let ran = stats(&app, &token).await;
    let [total, pending, processed, failed] = counts(&ran);
    // Both orders were confirmed, which nobody wants to know.
    assert_eq!([total, pending, processed, failed], [old + 4, 0, old + 2, 2], "{ran}");
    assert_eq!(ran["oldestPendingSeconds"], Value::Null);
    assert_eq!(of_handler(&ran, "good"), json!({ "name": "good", "pending": 0, "done": 2, "dead": 0 }));
    assert_eq!(of_handler(&ran, "refuses"), json!({ "name": "refuses", "pending": 0, "done": 0, "dead": 2 }));
    // As if they had been made again for the second time: the note of the first one is in the way.
    app.db().collection::<bson::Document>("handled").delete_many(bson::doc! {}).await.unwrap();
    let dead = handler_jobs(&app, "refuses").await;
    app.db()
        .collection::<bson::Document>("jobs")
        .delete_one(bson::doc! { "_id": dead[0].get_str("_id").unwrap() })
        .await
        .unwrap();
    let retry = format!("/queues/jobs/{}/retry", dead[1].get_str("_id").unwrap());
    app.request(reqwest::Method::POST, &retry, Some(&token), None).await.expect(200);
    assert_eq!(counts(&stats(&app, &token).await), [old + 4, 1, old + 3, 0], "what was deleted needs no decision");
    let ready = app.request(reqwest::Method::GET, "/readyz", None, None).await.expect(200).body;
    assert_eq!((&ready["relay"], &ready["relayLagMs"], &ready["status"]), (&json!("up"), &json!(0), &json!("ready")));
    app.created(&user, "o-3").await;
    app.app.clock.advance(std::time::Duration::from_secs(120));
    let late = app.request(reqwest::Method::GET, "/readyz", None, None).await.expect(200).body;
    assert_eq!((&late["relay"], &late["status"]), (&json!("behind"), &json!("degraded")), "{late}");
    app.run_jobs().await;
    app.finish().await;
}
