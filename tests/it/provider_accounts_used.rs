//! Orders that go through accounts of the database, at the provider's door.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::{Registry, TestApp, User, eventually, process::memory_peak_kib, registry::extract, stand::Stand};

/// Nothing comes from the environment.
const NO_ACCOUNT: &[&str] = &["--parcelx-access-key=", "--parcelx-secret-key="];

impl TestApp {
    /// Adds an account with ParcelX, and has this process know it.
    async fn with_carrier_account(&self, admin: &User, name: &str) -> String {
        let credentials = json!({ "accessKey": name, "secretKey": "secret" });
        let limits = json!({ "concurrency": 4 });
        let body = json!({ "provider": "parcelx", "label": name, "credentials": credentials, "limits": limits });
        self.with_account(admin, body).await
    }

    async fn with_account(&self, admin: &User, body: Value) -> String {
        let added = self.post(admin, "/provider-accounts", &body).await.expect(201).body;
        self.app.refresh_accounts().await.unwrap();
        added["accountId"].as_str().unwrap().to_owned()
    }

    /// Accounts of the calls about an order, by operation.
    async fn called_with(&self, order_id: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut called: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for log in self.all("provider_request_logs", doc! { "orderId": order_id }).await {
            let text = |name: &str| log.get_str(name).unwrap().to_owned();
            called.entry(text("operation")).or_default().insert(text("accountId"));
        }
        called
    }
}

/// Calls that a stand-in has seen, by account.
async fn seen(stand: &Stand) -> BTreeMap<String, Value> {
    serde_json::from_value(stand.traffic().await["accounts"].clone()).unwrap()
}

#[tokio::test]
async fn an_order_waits_for_an_account_and_is_cancelled_with_it() {
    let app = TestApp::with(NO_ACCOUNT).await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    let order_id = app.created(&user, "c-1").await;
    app.run_jobs().await;
    let waiting = app.create_job(&order_id).await;
    assert_eq!((waiting.get_str("state").unwrap(), waiting.get_i32("attempts").unwrap()), ("ready", 0));
    assert_eq!(app.order(&user, &order_id).await["status"], "created");

    let account_id = app.with_carrier_account(&admin, "first").await;
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    let stored = app.all("orders", doc! {}).await.remove(0);
    assert_eq!(stored.get_str("accountId").unwrap(), account_id);

    // A second account takes new orders, but not those of the first.
    app.with_carrier_account(&admin, "second").await;
    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "cancelled");
    let only = BTreeSet::from([account_id]);
    let called = BTreeMap::from([("cancel_order".to_owned(), only.clone()), ("create_order".to_owned(), only)]);
    assert_eq!(app.called_with(&order_id).await, called);
    let calls = seen(&Stand::beside(&app.carrier, "parcelx")).await;
    assert_eq!((calls.len(), &calls["first"]["calls"]), (1, &json!(2)), "{calls:?}");
    app.finish().await;
}

#[tokio::test]
async fn of_two_accounts_the_one_that_sent_an_order_looks_it_up() {
    const ORDERS: usize = 8;
    let app = TestApp::with(NO_ACCOUNT).await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    let accounts =
        BTreeSet::from([app.with_carrier_account(&admin, "one").await, app.with_carrier_account(&admin, "two").await]);
    app.carrier.misbehave("create", "drop_after_work", 2).await;
    let mut orders = Vec::new();
    for n in 0..ORDERS {
        orders.push(app.created(&user, &format!("c-{n}")).await);
    }
    app.run_jobs_to_the_end().await;
    let (mut used, mut looked_up) = (BTreeSet::new(), 0);
    for order_id in &orders {
        assert_eq!(app.order(&user, order_id).await["status"], "confirmed");
        let called = app.called_with(order_id).await;
        looked_up += usize::from(called.contains_key("look_up_order"));
        let theirs: BTreeSet<String> = called.into_values().flatten().collect();
        assert_eq!(theirs.len(), 1, "{order_id} is known to one account only");
        used.extend(theirs);
    }
    assert_eq!((looked_up, used), (2, accounts), "both take orders");
    app.finish().await;
}

#[tokio::test]
async fn two_accounts_of_a_register_have_a_call_each_at_a_time() {
    const ORDERS: usize = 6;
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.merchant_with(0).await);
    app.credit_in(&user, 1_000_000, "RUB").await;
    let registry = Stand::beside(&app.carrier, "rosreestr");
    registry.control("courses", json!({ "steps": [{ "state": "verified", "afterPolls": 1 }] }), 204).await;
    registry.control("credentials", json!({ "expected": ["shop:secret", "user2:secret"] }), 204).await;
    registry.rule(json!({ "operation": "place", "mode": "ok", "latencyMs": 300 })).await;
    let credentials = json!({ "username": "user2", "password": "secret" });
    app.with_account(&admin, json!({ "provider": "rosreestr", "label": "2", "credentials": credentials })).await;
    for n in 0..ORDERS {
        app.post(&user, "/orders/create", &extract(&format!("x-{n}"), "base")).await.expect(201);
    }
    let worker = app.start_worker();
    eventually("all are placed", Duration::from_secs(60), async || {
        app.all("orders", doc! { "status": { "$ne": "created" } }).await.len() == ORDERS
    })
    .await;
    worker.stop().await;
    let calls = seen(&registry).await;
    assert_eq!(calls.keys().map(String::as_str).collect::<Vec<_>>(), ["shop", "user2"]);
    for account in calls.values() {
        assert_eq!(account["atOnce"], 1, "{calls:?}");
    }
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn an_account_takes_no_more_new_orders_than_may_be_in_progress() {
    const LIMIT: usize = 2;
    let app = TestApp::with(&["--rosreestr-username=", "--rosreestr-password="]).await;
    let (admin, user) = (app.admin().await, app.merchant_with(0).await);
    app.credit_in(&user, 1_000_000, "RUB").await;
    let registry = Registry::beside(&app.carrier);
    registry.course(json!({ "steps": [{ "state": "sent", "afterPolls": 1 }] })).await;
    Stand::beside(&app.carrier, "rosreestr").control("credentials", json!({ "expected": null }), 204).await;
    let account = async |name: &str| {
        let credentials = json!({ "username": name, "password": "secret" });
        let limits = json!({ "openOrders": LIMIT, "concurrency": 5 });
        let body = json!({ "provider": "rosreestr", "label": name, "credentials": credentials, "limits": limits });
        app.with_account(&admin, body).await
    };
    let first = account("one").await;
    let mut orders = Vec::new();
    for n in 0..6 {
        let order = app.post(&user, "/orders/create", &extract(&format!("x-{n}"), "base")).await.expect(201).body;
        orders.push(order["orderId"].as_str().unwrap().to_owned());
    }
    let placed = async |account_id: &str| {
        app.all("orders", doc! { "accountId": account_id }).await.iter().map(id).collect::<BTreeSet<_>>()
    };
    // Two workers that share the database and nothing else.
    let beside = app.beside(&["--rosreestr-username=", "--rosreestr-password="]).await;
    beside.app.refresh_accounts().await.unwrap();
    let workers = [app.start_worker(), beside.start_worker()];
    let polls = || app.all("provider_request_logs", doc! { "operation": "poll_order" });
    eventually("they are followed", Duration::from_secs(60), async || polls().await.len() >= 2).await;
    assert_eq!(placed(&first).await.len(), LIMIT);
    // Another account of the pool takes what waits, as far as it may.
    let second = account("two").await;
    beside.app.refresh_accounts().await.unwrap();
    eventually("the second is full", Duration::from_secs(60), async || placed(&second).await.len() == LIMIT).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(placed(&first).await.len(), LIMIT);

    // With the end of one, and no sooner, comes the next.
    let (one, waiting) = (placed(&first).await.pop_first().unwrap(), orders.len() - 2 * LIMIT);
    assert_eq!(app.all("orders", doc! { "accountId": null }).await.len(), waiting);
    registry.stands(&one, "verified").await;
    for _ in 0..4 {
        app.run_jobs().await;
        app.app.clock.advance(Duration::from_secs(2));
    }
    assert_eq!(app.order(&user, &one).await["status"], "delivered");
    assert_eq!((placed(&first).await.len(), placed(&second).await.len()), (LIMIT + 1, LIMIT));
    registry.course(json!({ "steps": [{ "state": "verified", "afterPolls": 1 }] })).await;
    for order_id in placed(&first).await.union(&placed(&second).await) {
        registry.stands(order_id, "verified").await;
    }
    app.run_jobs_to_the_end().await;
    assert_eq!(app.all("orders", doc! { "status": "delivered" }).await.len(), orders.len());
    beside.finish_unchecked().await;
    app.finish().await;
}

fn id(order: &Document) -> String {
    order.get_str("_id").unwrap().to_owned()
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_and_takes_no_room() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    app.credit_in(&user, 1_000_000, "RUB").await;
    let registry = Registry::beside(&app.carrier);
    let file = json!({ "kind": "pdf", "name": "large.pdf", "bytes": 50 * 1024 * 1024 + 1 });
    registry.course(json!({ "steps": [{ "state": "verified", "afterPolls": 1 }], "files": [file] })).await;
    let order = app.post(&user, "/orders/create", &extract("x-1", "base")).await.expect(201).body;
    let order_id = order["orderId"].as_str().unwrap().to_owned();
    let before = memory_peak_kib(std::process::id());
    for _ in 0..5 {
        app.run_jobs().await;
        app.app.clock.advance(Duration::from_secs(2));
    }
    let order = app.order(&user, &order_id).await;
    assert_eq!(
        (&order["status"], &order["failure"]["code"]),
        (&json!("needs_attention"), &json!("provider.file_too_large"))
    );
    let grown = memory_peak_kib(std::process::id()) - before;
    assert!(grown < 16 * 1024, "{grown} KiB for a file that is not taken");
    assert!(app.all("order_file_pieces", doc! {}).await.is_empty());
    app.finish().await;
}

#[tokio::test]
async fn a_refusal_of_credentials_that_were_changed_meanwhile_hurts_nobody() {
    let app = TestApp::with(NO_ACCOUNT).await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    let account_id = app.with_carrier_account(&admin, "one").await;
    app.carrier.rule(json!({ "operation": "create", "mode": "401", "latencyMs": 700, "times": 1 })).await;
    let order_id = app.created(&user, "c-1").await;
    let worker = app.worker.clone();
    let attempt = tokio::spawn(async move { worker.run_due().await });
    eventually("the call is under way", Duration::from_secs(20), async || {
        app.carrier.order(&order_id).await["createCalls"] == 1
    })
    .await;
    let change = json!({ "credentials": { "accessKey": "two", "secretKey": "secret" } });
    let path = format!("/provider-accounts/{account_id}");
    app.request(reqwest::Method::PUT, &path, Some(&admin.token), Some(&change)).await.expect(200);
    attempt.await.unwrap();
    assert_eq!(app.order(&user, &order_id).await["status"], "created", "it was not executed");
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    let accounts = app.breakers(&admin, "parcelx-orders-queue").await;
    assert_eq!(accounts, [format!("{account_id} closed -")]);
    assert!(app.all("audit_events", doc! { "action": "provider_account.breaker_opened" }).await.is_empty());
    app.finish().await;
}
