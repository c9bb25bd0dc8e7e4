//! Top-ups: asked for, paid, expired. What gateways tell is in `topups_callbacks.rs`, a gateway that misbehaves in
//! `topups_faults.rs`.

use std::{collections::BTreeMap, time::Duration};

use bson::{Bson, Document, doc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::checkout::cart;
use crate::support::{Answer, TestApp, User, gateway::event};

/// Longer than a top-up waits to be paid.
pub const EXPIRED: Duration = Duration::from_secs(1_801);

impl TestApp {
    pub async fn request_topup(&self, user: &User, client_topup_id: &str, amount: i64) -> Answer {
        let body = json!({ "clientTopupId": client_topup_id, "amount": { "amount": amount, "currency": "INR" } });
        self.post(user, "/wallet/topups", &body).await
    }

    /// A new top-up whose payment is not started; gives its id.
    pub async fn requested(&self, user: &User, client_topup_id: &str) -> String {
        let topup = self.request_topup(user, client_topup_id, 50_000).await.expect(201).body;
        topup["topupId"].as_str().unwrap().to_owned()
    }

    /// A new top-up that waits for its payer; gives its id.
    pub async fn pending(&self, user: &User, client_topup_id: &str) -> String {
        let topup_id = self.requested(user, client_topup_id).await;
        self.run_jobs().await;
        assert_eq!(self.topup(user, &topup_id).await["status"], "pending");
        topup_id
    }

    /// The top-up as it stands.
    pub async fn topup(&self, user: &User, topup_id: &str) -> Value {
        self.get(user, &format!("/wallet/topups/{topup_id}")).await.expect(200).body
    }

    /// Lets something happen to a payment: `pay` or `fail`, with what else the stand-in takes. It is told of at the time of
    /// our clock, which tests move.
    pub async fn tell(&self, topup_id: &str, deed: &str, more: Value) -> Vec<u16> {
        let mut change = json!({ "do": deed, "signedAtSeconds": self.now_seconds() });
        change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let told = self.gateway.change(topup_id, &change).await;
        told["answers"].as_array().unwrap().iter().map(|answer| answer.as_u64().unwrap_or_default() as u16).collect()
    }

    /// What we made of the callbacks about a top-up, oldest first.
    pub async fn outcomes(&self, topup_id: &str) -> Vec<String> {
        let taken = self.all("payment_callbacks", doc! { "topupId": topup_id }).await;
        taken.iter().map(|callback| callback.get_str("outcome").unwrap().to_owned()).collect()
    }

    /// Types of the events about a top-up, oldest first.
    pub async fn topup_events(&self, topup_id: &str) -> Vec<String> {
        let events = self.all("events", doc! { "subjectId": topup_id }).await;
        events.iter().map(|event| event.get_str("type").unwrap().to_owned()).collect()
    }

    pub async fn topup_job(&self, topup_id: &str, kind: &str) -> Document {
        let mut jobs = self.all("jobs", doc! { "payload.topupId": topup_id, "kind": kind }).await;
        assert_eq!(jobs.len(), 1);
        jobs.pop().unwrap()
    }

    /// What is paid at the gateway is paid here, and is credited, once each.
    pub async fn expect_agreement(&self) {
        let paid_there: BTreeMap<String, i64> = (self.gateway.entries().await.iter())
            .filter(|entry| entry["payment"]["status"] == "paid")
            .map(|entry| {
                (entry["reference"].as_str().unwrap().to_owned(), entry["payment"]["amount"].as_i64().unwrap())
            })
            .collect();
        let paid_here: BTreeMap<String, i64> = (self.all("topups", doc! { "status": "paid" }).await.iter())
            .map(|topup| (topup.get_str("_id").unwrap().to_owned(), topup.get_i64("amount").unwrap()))
            .collect();
        let booked = self.all("ledger_transactions", doc! { "referenceType": "topup" }).await;
        let credited: BTreeMap<String, i64> = booked
            .iter()
            .map(|booked| {
                let line = booked.get_array("lines").unwrap()[0].as_document().unwrap();
                assert_eq!(line.get_str("account").unwrap(), "wallet.available");
                (booked.get_str("referenceId").unwrap().to_owned(), line.get_i64("amount").unwrap())
            })
            .collect();
        assert_eq!(booked.len(), credited.len(), "a top-up was credited twice");
        assert_eq!((&paid_here, &credited), (&paid_there, &paid_there));
    }

    pub async fn available(&self, user: &User) -> i64 {
        self.balance(user).await.0
    }
}

#[tokio::test]
async fn a_top_up_is_started_paid_and_credited() {
    let app = TestApp::start().await;
    let user = app.merchant_with(1_000).await;
    let asked = app.request_topup(&user, "t-1", 50_000).await.expect(201).body;
    let topup_id = asked["topupId"].as_str().unwrap();
    assert_eq!((&asked["clientTopupId"], &asked["status"]), (&json!("t-1"), &json!("created")));
    assert_eq!(asked["amount"], json!({ "amount": 50_000, "currency": "INR" }));
    assert_eq!((&asked["paymentUrl"], &asked["failure"]), (&Value::Null, &Value::Null));

    app.run_jobs().await;
    let pending = app.topup(&user, topup_id).await;
    assert_eq!(pending["status"], "pending");
    let page = pending["paymentUrl"].as_str().expect("a page");
    assert!(app.client.get(page).send().await.unwrap().status().is_success(), "{page} can be visited");
    assert_eq!(app.available(&user).await, 1_000);
    let there = app.gateway.entry(topup_id).await;
    assert_eq!((&there["payment"]["amount"], &there["lastBody"]["reference"]), (&json!(50_000), &json!(topup_id)));
    assert_eq!(there["lastBody"]["expiresAt"], pending["expiresAt"]);

    // As a payer's browser does.
    app.client.post(page).body("do=pay").send().await.unwrap();
    let paid = app.topup(&user, topup_id).await;
    assert_eq!((&paid["status"], &paid["paymentUrl"], &paid["failure"]), (&json!("paid"), &Value::Null, &Value::Null));
    assert_eq!(app.available(&user).await, 51_000);
    assert_eq!(app.outcomes(topup_id).await, ["credited"]);
    assert_eq!(app.topup_events(topup_id).await, ["TopupRequested", "TopupStarted", "TopupPaid"]);
    app.expect_agreement().await;

    // When its time is over there is nothing left to do.
    let calls = app.gateway.books().await["calls"].clone();
    app.app.clock.advance(EXPIRED);
    app.run_jobs().await;
    assert_eq!(app.topup_job(topup_id, "check-payment").await.get_str("state").unwrap(), "done");
    assert_eq!(app.gateway.books().await["calls"], calls);
    assert_eq!(app.topup(&user, topup_id).await, paid);
    app.finish().await;
}

#[tokio::test]
async fn what_is_said_to_the_gateway_is_on_record_without_the_page() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let topup_id = app.pending(&user, "t-1").await;
    app.app.clock.advance(EXPIRED);
    app.run_jobs().await;
    let requests = app.all("provider_request_logs", doc! { "resourceId": &topup_id }).await;
    let answers = app.all("provider_response_logs", doc! { "resourceId": &topup_id }).await;
    let operations: Vec<_> = requests.iter().map(|log| log.get_str("operation").unwrap()).collect();
    assert_eq!(operations, ["start_payment", "look_up_payment"]);
    assert_eq!(answers.iter().map(|log| log.get_str("outcome").unwrap()).collect::<Vec<_>>(), ["done", "found"]);
    for log in requests.iter().chain(&answers) {
        for field in ["orderId", "clientOrderId"] {
            assert_eq!(log.get(field), Some(&Bson::Null), "{field}: null, never absent: {log}");
        }
        assert_eq!(log.get_str("provider").unwrap(), "paygate");
        assert_eq!(log.get_str("userId").unwrap(), user.user_id);
        assert!(!log.to_string().contains("/pay/"), "who has the page may pay: {log}");
    }
    assert_eq!(requests[0].get_document("body").unwrap().get_i64("amount").unwrap(), 50_000);
    app.finish().await;
}

#[tokio::test]
async fn the_same_id_is_the_same_top_up_for_ever() {
    let app = TestApp::start().await;
    let (user, other) = (app.merchant_with(0).await, app.merchant_with(0).await);
    let answers = join_all((0..20).map(|_| app.request_topup(&user, "t-1", 50_000))).await;
    let new: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!((new.len(), answers.iter().filter(|answer| answer.status == 200).count()), (1, 19));
    for answer in &answers {
        let replayed = answer.headers.get("idempotent-replayed").map(|value| value.to_str().unwrap());
        assert_eq!(replayed, (answer.status == 200).then_some("true"));
        assert_eq!(answer.body["topupId"], new[0].body["topupId"]);
    }
    assert_eq!((app.all("topups", doc! {}).await.len(), app.all("jobs", doc! {}).await.len()), (1, 2));
    let mismatch = app.request_topup(&user, "t-1", 50_001).await.expect(422);
    assert_eq!(mismatch.code(), "topups.idempotency_mismatch");
    let usd = json!({ "clientTopupId": "t-1", "amount": { "amount": 50_000, "currency": "USD" } });
    assert_eq!(app.post(&user, "/wallet/topups", &usd).await.expect(422).code(), "topups.idempotency_mismatch");
    assert_ne!(app.requested(&other, "t-1").await, new[0].body["topupId"].as_str().unwrap());
    app.run_jobs().await;
    let replay = app.request_topup(&user, "t-1", 50_000).await.expect(200).body;
    assert_eq!(replay["status"], "pending", "as it stands");
    assert_eq!(app.gateway.books().await["payments"], 2);
    app.finish().await;
}

#[tokio::test]
async fn what_is_not_acceptable_is_named() {
    let app = TestApp::start().await;
    let user = app.merchant_with(0).await;
    let amount = json!({ "amount": 1, "currency": "INR" });
    for (body, blamed) in [
        (json!({ "amount": amount }), "clientTopupId:required"),
        (json!({ "clientTopupId": "", "amount": amount }), "clientTopupId:format"),
        (json!({ "clientTopupId": "a b", "amount": amount }), "clientTopupId:format"),
        (json!({ "clientTopupId": "x".repeat(129), "amount": amount }), "clientTopupId:format"),
        (json!({ "clientTopupId": { "$ne": 1 }, "amount": amount }), "clientTopupId:type"),
        (json!({ "clientTopupId": "t", "amount": 5 }), "amount:type"),
        (json!({ "clientTopupId": "t", "amount": { "amount": 0, "currency": "INR" } }), "amount.amount:range"),
        (json!({ "clientTopupId": "t", "amount": { "amount": -1, "currency": "INR" } }), "amount.amount:range"),
        (json!({ "clientTopupId": "t", "amount": { "amount": 1, "currency": "inr" } }), "amount.currency:format"),
        (json!({ "clientTopupId": "t", "amount": amount, "userId": "usr_1" }), "userId:unknown"),
    ] {
        let answer = app.post(&user, "/wallet/topups", &body).await.expect(422);
        assert_eq!(answer.blamed(), [blamed], "{body}");
    }
    for (query, blamed) in [
        ("limit=0", "limit:range"),
        ("limit=101", "limit:range"),
        ("cursor=ord_00000000000000000000000000000000", "cursor:format"),
        ("status=PAID", "status:unknown_value"),
        ("userId=usr_1", "userId:unknown"),
    ] {
        let answer = app.get(&user, &format!("/wallet/topups?{query}")).await.expect(422);
        assert_eq!(answer.blamed(), [blamed], "{query}");
    }
    app.request_topup(&user, &"x".repeat(128), 1).await.expect(201);
    app.request_topup(&user, "A.z_0:9-", 1_000_000_000_000_000).await.expect(201);
    assert_eq!(app.all("topups", doc! {}).await.len(), 2);
    app.finish().await;
}

#[tokio::test]
async fn a_merchant_sees_its_own_top_ups_only() {
    let app = TestApp::start().await;
    let (owner, stranger) = (app.merchant_with(0).await, app.merchant_with(0).await);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(app.requested(&owner, &format!("t-{n}")).await);
    }
    ids.reverse();
    let path = format!("/wallet/topups/{}", ids[0]);
    let theirs = app.get(&stranger, &path).await.expect(404);
    let nobodys = app.get(&stranger, "/wallet/topups/top_00000000000000000000000000000000").await.expect(404);
    assert_eq!((theirs.code(), theirs.body["detail"].clone()), (nobodys.code(), nobodys.body["detail"].clone()));
    assert_eq!(app.get(&stranger, "/wallet/topups").await.expect(200).body, json!({ "items": [], "nextCursor": null }));

    let listed = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["topupId"].as_str().unwrap().to_owned()).collect()
    };
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&owner, &format!("/wallet/topups?limit=2{cursor}")).await.expect(200).body;
        seen.extend(listed(&page));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ids, "each once, newest first");
    app.run_jobs().await;
    app.tell(&ids[1], "pay", json!({})).await;
    for (status, expected) in [("paid", vec![ids[1].clone()]), ("created", vec![])] {
        let page = app.get(&owner, &format!("/wallet/topups?status={status}")).await.expect(200).body;
        assert_eq!(listed(&page), expected, "{status}");
    }
    for role in [Role::Finance, Role::Auditor, Role::Admin] {
        app.get(&app.user(role).await, &path).await.expect(403);
    }
    app.finish().await;
}

#[tokio::test]
async fn without_a_gateway_there_are_no_top_ups_and_all_else_works() {
    let app = TestApp::with(&["--paygate-base-url="]).await;
    let user = app.merchant().await;
    let answer = app.request_topup(&user, "t-1", 50_000).await.expect(503);
    assert_eq!(answer.code(), "topups.not_configured");
    app.get(&user, "/wallet/topups").await.expect(200);
    let product_id = app.stocked(&user, "A-1", 5).await;
    let mut body = cart("k-1", &[(&product_id, 1)]);
    body["payment"] = json!({ "method": "gateway" });
    assert_eq!(app.post(&user, "/checkout", &body).await.expect(422).code(), "checkout.gateway_not_available");
    let told = app.call_back(&event("pev_1", "paid", "top_1", 1, "INR")).await.expect(404);
    assert_eq!(told.code(), "webhooks.unknown_provider");
    app.confirmed(&user, "c-1").await;
    let queues = app.get(&app.admin().await, "/queues").await.expect(200).body;
    assert!(queues["items"].as_array().unwrap().iter().any(|queue| queue["name"] == "payments-queue"));
    app.finish().await;
}
