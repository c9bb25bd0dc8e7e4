//! What orders came to: the same numbers as a count over orders, however often they are counted.

use std::collections::BTreeMap;

use bson::{Document, doc};
use serde_json::{Value, json};
use waybill::{modules::events::analytics, platform::identity::Role};

use super::Following;
use crate::{
    checkout::cart,
    support::{TestApp, User},
    tenants::{join, tenant},
};

/// Sums that are read, by their place, without their generation.
pub async fn sums(app: &TestApp) -> BTreeMap<String, Document> {
    let counters = app.all("event_counters", doc! {}).await;
    let analytics = counters.first().and_then(|counters| counters.get_document("analytics").ok().cloned());
    let generation = analytics.and_then(|known| known.get_i64("generation").ok()).unwrap_or_default();
    let found = app.all("analytics_daily", doc! { "generation": generation }).await;
    let place = |mut sums: Document| {
        let id = sums.remove("_id").unwrap().as_str().unwrap().split_once('/').unwrap().1.to_owned();
        sums.remove("generation");
        (id, sums.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
    };
    found.into_iter().map(place).collect()
}

/// The sums are those of all events that were relayed: every order is created once, and as often at an end as events say.
pub async fn assert_counted_once(app: &TestApp) {
    let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
    let events = app.all("events", doc! {}).await;
    for event in &events {
        *expected.entry(event.get_str("type").unwrap()).or_default() += 1;
    }
    let sums = sums(app).await;
    for (kind, field) in [
        ("OrderCreated", "created"),
        ("OrderConfirmed", "confirmed"),
        ("OrderFailed", "failed"),
        ("OrderCancelled", "cancelled"),
        ("OrderNeedsAttention", "needsAttention"),
    ] {
        let sum: i64 = sums.values().filter_map(|sums| sums.get_i64(field).ok()).sum();
        assert_eq!(sum, expected.get(kind).copied().unwrap_or_default(), "{field}");
    }
    assert_eq!(
        expected.get("OrderCreated").copied().unwrap_or_default() as usize,
        app.all("orders", doc! {}).await.len()
    );
}

async fn days(app: &TestApp, user: &User, query: &str) -> Vec<Value> {
    let answer = app.get(user, &format!("/analytics/daily{query}")).await.expect(200);
    answer.body["items"].as_array().unwrap().clone()
}

/// What the orders of a merchant, or of all, say themselves.
async fn counted_over_orders(app: &TestApp, filter: Document) -> Value {
    let orders = app.all("orders", filter).await;
    let with = |status: &str| orders.iter().filter(|order| order.get_str("status").unwrap() == status).count();
    let paid = orders.iter().filter(|order| order.get_str("status").unwrap() == "confirmed");
    let charged: i64 = paid.map(|order| order.get_document("charge").unwrap().get_i64("amount").unwrap()).sum();
    json!({
        "created": orders.len(), "failed": with("failed"), "cancelled": with("cancelled"),
        // Those that were cancelled in these tests had been confirmed.
        "confirmed": with("confirmed") + with("cancelled"), "charged": charged,
    })
}

fn of_day(day: &Value) -> Value {
    let amount = |field: &str| day[field][0]["amount"].as_i64().unwrap_or_default();
    let orders = &day["orders"];
    json!({
        "created": orders["created"], "failed": orders["failed"], "cancelled": orders["cancelled"],
        "confirmed": orders["confirmed"], "charged": amount("charged") - amount("refunded"),
    })
}

#[tokio::test]
async fn each_day_shows_what_a_count_over_orders_shows_and_a_merchant_its_own() {
    let app = TestApp::start().await;
    let (one, other) = (app.merchant().await, app.merchant().await);
    let on = Following::with(&app, Vec::new());
    app.misbehave_for("refused", "create", "refuse", None).await;
    app.created(&one, "refused").await;
    app.created(&one, "kept").await;
    app.confirmed(&one, "cancelled").await;
    app.cancel(&one, "cancelled").await.expect(202);
    app.confirmed(&other, "kept").await;
    app.run_jobs().await;
    on.run().await;
    for (user, query, filter) in [
        (&one, String::new(), doc! { "userId": &one.user_id }),
        (&other, format!("?userId={}", other.user_id), doc! { "userId": &other.user_id }),
        (&app.user(Role::Finance).await, String::new(), doc! {}),
        (&app.admin().await, format!("?userId={}", one.user_id), doc! { "userId": &one.user_id }),
    ] {
        let days = days(&app, user, &query).await;
        assert_eq!((days.len(), &days[0]["provider"]), (1, &json!("parcelx")), "{days:?}");
        assert_eq!(of_day(&days[0]), counted_over_orders(&app, filter).await, "{days:?}");
        let times = &days[0]["confirmation"];
        assert_eq!(times["count"], days[0]["orders"]["confirmed"]);
        assert!(times["maxMs"].as_i64() >= times["averageMs"].as_i64() && times["sumMs"].as_i64() > Some(0), "{times}");
    }
    assert_counted_once(&app).await;
    app.get(&one, &format!("/analytics/daily?userId={}", other.user_id)).await.expect(404);
    for (query, blamed) in [
        ("from=2026-02-30", "from:invalid"),
        ("to=2026-1-1", "to:invalid"),
        ("from=2026-01-02&to=2026-01-01", "from:invalid"),
        ("from=2026-01-01&to=2026-06-01", "from:invalid"),
        ("userId=me", "userId:invalid"),
    ] {
        assert_eq!(app.get(&one, &format!("/analytics/daily?{query}")).await.expect(422).blamed(), [blamed], "{query}");
    }
    assert_eq!(days(&app, &one, "?from=2020-01-01&to=2020-03-31").await.len(), 0);
    app.finish().await;
}

#[tokio::test]
async fn a_tenants_sums_are_those_of_what_members_did_in_it() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let (ours, theirs) = (tenant(&app, &admin, "ours").await, tenant(&app, &admin, "theirs").await);
    let merchant = app.merchant().await;
    app.created(&merchant, "c-0").await;
    let member = join(&app, &admin, &ours, &merchant).await;
    let manager = join(&app, &admin, &ours, &app.user(Role::Manager).await).await;
    let foreign = join(&app, &admin, &theirs, &app.user(Role::Manager).await).await;
    let stranger = app.merchant().await;
    for (user, order) in [(&member, "c-1"), (&member, "c-2"), (&stranger, "c-1")] {
        app.created(user, order).await;
    }
    let (buyer, outside) = (app.customer(100_000_000).await, app.stocked(&stranger, "A-1", 9).await);
    let inside = app.stocked(&member, "A-1", 9).await;
    for (name, product_id) in [("k-1", &inside), ("k-2", &inside), ("k-3", &outside)] {
        app.post(&buyer, "/checkout", &cart(name, &[(product_id, 1)])).await.expect(202);
    }
    app.post(&buyer, "/checkout/cancel", &json!({ "clientOrderId": "k-2" })).await.expect(202);
    let on = Following::with(&app, Vec::new());
    app.run_jobs().await;
    on.run().await;
    let created = async |user: &User, query: &str| -> Vec<i64> {
        days(&app, user, query).await.iter().map(|day| day["orders"]["created"].as_i64().unwrap()).collect()
    };
    let of = |user: &User| format!("?userId={}", user.user_id);
    for (user, query, expected) in [
        (&manager, String::new(), vec![2]),
        (&manager, of(&member), vec![2]),
        (&manager, of(&stranger), vec![]),
        (&foreign, of(&member), vec![]),
        (&member, String::new(), vec![3]),
        (&admin, String::new(), vec![4]),
    ] {
        assert_eq!(created(user, &query).await, expected, "{query}");
    }
    let price =
        app.get(&buyer, &format!("/products/{inside}")).await.expect(200).body["price"]["amount"].as_i64().unwrap();
    let sold = |sales: i64, taken_back: i64| {
        let (gross, refunds) = (sales * price, taken_back * price);
        json!({ "currency": "INR", "sales": sales, "takenBack": taken_back, "gross": gross, "refunds": refunds,
            "net": gross - refunds })
    };
    for (user, query, expected) in [
        (&manager, String::new(), Some(sold(2, 1))),
        (&manager, of(&stranger), None),
        (&foreign, String::new(), None),
        (&member, String::new(), Some(sold(2, 1))),
        (&stranger, String::new(), Some(sold(1, 0))),
        (&admin, String::new(), Some(sold(3, 1))),
        (&admin, of(&stranger), Some(sold(1, 0))),
    ] {
        let answer = app.get(user, &format!("/analytics/earnings{query}")).await.expect(200).body;
        let mut days = answer["items"].as_array().unwrap().clone();
        days.iter_mut().for_each(|day| drop(day.as_object_mut().unwrap().remove("day")));
        assert_eq!(
            (json!(days), &answer["totals"]),
            (answer["totals"].clone(), &json!(Vec::from_iter(expected))),
            "{query}"
        );
    }
    let refused = app.get(&member, "/analytics/earnings?from=2026-01-02&to=2026-01-01").await.expect(422);
    assert_eq!(refused.blamed(), ["from:invalid"]);
    app.get(&buyer, "/analytics/earnings").await.expect(403);
    let loner = app.user(Role::Manager).await;
    assert_eq!(app.get(&loner, "/analytics/daily").await.expect(404).code(), "analytics.not_found");
    let before = sums(&app).await;
    analytics::rebuild(app.db()).await.unwrap();
    assert_eq!(sums(&app).await, before);
    app.finish().await;
}

#[tokio::test]
async fn what_cannot_be_counted_waits_for_a_person_and_is_counted_once() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let (broken, fine) = (app.merchant().await, app.merchant().await);
    let on = Following::with(&app, Vec::new());
    app.created(&broken, "c-1").await;
    on.relay.pass().await.unwrap();
    // Nothing can be added to it.
    app.update_one("analytics_daily", doc! { "userId": &broken.user_id }, doc! { "created": "many" }).await;
    app.created(&broken, "c-2").await;
    app.created(&fine, "c-1").await;
    for _ in 0..2 {
        assert!(on.relay.pass().await.is_err());
    }
    on.run_to_the_end().await;
    let dead = app.all("jobs", doc! { "kind": "consume-event", "state": "dead" }).await;
    let rebuilt = analytics::rebuild(app.db()).await.unwrap();
    assert_eq!((dead.len(), rebuilt.left_to_relay), (1, 1), "{dead:?}");
    let created = |day: &Value| day["orders"]["created"].clone();
    assert_eq!(created(&days(&app, &fine, "").await[0]), 1);
    assert_eq!(created(&days(&app, &broken, "").await[0]), 1, "the other is left to its job");
    let retry = format!("/queues/jobs/{}/retry", dead[0].get_str("_id").unwrap());
    app.request(reqwest::Method::POST, &retry, Some(&admin.token), None).await.expect(200);
    on.run().await;
    assert_counted_once(&app).await;
    let before = sums(&app).await;
    assert_eq!(analytics::rebuild(app.db()).await.unwrap().left_to_relay, 0);
    assert_eq!(sums(&app).await, before);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_anew_comes_to_the_same_numbers_beside_a_relay_that_runs() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let on = Following::with(&app, Vec::new());
    let order = async |from: usize, to: usize| {
        for n in from..to {
            app.created(&user, &format!("o-{n}")).await;
        }
        app.run_jobs().await;
    };
    order(0, 6).await;
    on.relay.pass().await.unwrap();
    // Some wait in the outbox when it begins, and some come while it counts.
    order(6, 12).await;
    let beside = async {
        order(12, 24).await;
        on.relay.pass().await.unwrap();
    };
    let (rebuilt, ()) = tokio::join!(analytics::rebuild(app.db()), beside);
    assert!(rebuilt.unwrap().events >= 24);
    on.relay.pass().await.unwrap();
    assert_counted_once(&app).await;
    let before = sums(&app).await;
    // One that was killed after it had begun, and whose events the relay has noted, spoils nothing.
    let killed = doc! { "analytics.filling": 7_i64, "analytics.fillingSince": bson::DateTime::now() };
    app.update_one("event_counters", doc! {}, killed).await;
    order(24, 26).await;
    on.relay.pass().await.unwrap();
    assert_ne!(sums(&app).await, before);
    let before = sums(&app).await;
    let rebuilt = analytics::rebuild(app.db()).await.unwrap();
    assert_eq!(rebuilt.left_to_relay, 0);
    assert_eq!(sums(&app).await, before);
    assert_counted_once(&app).await;
    assert!(app.all("analytics_recent", doc! {}).await.is_empty());
    let generations = app.all("analytics_daily", doc! { "generation": { "$lt": 8_i64 } }).await;
    assert!(generations.is_empty(), "earlier sums are gone: {generations:?}");
    app.finish().await;
}
