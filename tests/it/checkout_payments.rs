//! Checkouts that are paid at the gateway: paid once whatever it tells and in whichever order, given back once whatever becomes of the
//! call, and never ahead of their stock.

use std::time::Duration;

use bson::doc;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::{
    checkout::cart,
    support::{TestApp, User, differences, eventually, process::Launch},
    topups::EXPIRED,
};

/// A piece, in paise.
const PRICE: i64 = 1_450_000;
/// Short, so that hanging is not long; long enough for a call on a busy machine.
const QUICK: &[&str] = &["--call-deadline-ms=1500"];
/// For workers of their own.
const FAST: &[&str] = &["--poll-ms=50", "--backoff-base-ms=50", "--settling-delay-ms=200", "--lease-ms=10000"];
const SOON: Duration = Duration::from_secs(60);
/// Where a job of a payment passes on its way. What is looked up after the others is asked for by the workers that follow.
const POINTS: [&str; 9] = [
    "claimed",
    "before_commit",
    "after_commit",
    "request_logged",
    "sending",
    "sent",
    "answered",
    "before_completion",
    "after_completion",
];
/// Longer than any backoff.
const BACKOFF: Duration = Duration::from_secs(301);

/// A checkout of one piece, and its payment.
struct Bought {
    client_order_id: String,
    id: String,
    payment: String,
}

impl TestApp {
    /// Checks out one piece, to be paid at the gateway.
    async fn buy_at_gateway(&self, buyer: &User, client_order_id: &str, product_id: &str) -> Bought {
        let mut body = cart(client_order_id, &[(product_id, 1)]);
        body["payment"] = json!({ "method": "gateway" });
        let bought = self.post(buyer, "/checkout", &body).await.expect(202).body;
        let id = bought["checkoutId"].as_str().unwrap().to_owned();
        let stored = self.all("checkouts", doc! { "_id": &id }).await.remove(0);
        let payment = stored.get_document("payment").unwrap().get_str("gatewayPayment").unwrap().to_owned();
        Bought { client_order_id: client_order_id.to_owned(), id, payment }
    }

    /// The same, paid and not yet fulfilled.
    async fn buy_and_pay(&self, buyer: &User, client_order_id: &str, product_id: &str) -> Bought {
        let bought = self.buy_at_gateway(buyer, client_order_id, product_id).await;
        self.run_jobs().await;
        assert_eq!(self.tell(&bought.payment, "pay", json!({})).await, [200]);
        bought
    }

    async fn bought_as(&self, user: &User, bought: &Bought) -> Value {
        self.get(user, &format!("/checkouts/{}", bought.id)).await.expect(200).body
    }

    /// Where the checkout is, and its payment.
    async fn stands(&self, user: &User, bought: &Bought) -> String {
        let shown = self.bought_as(user, bought).await;
        format!("{} {}", shown["status"].as_str().unwrap(), shown["payment"]["status"].as_str().unwrap())
    }

    /// What the ledger owes to an account.
    async fn owed(&self, finance: &User, account: &str) -> i64 {
        let balance = self.get(finance, "/finance/trial-balance").await.expect(200).body;
        let currencies = balance["currencies"].as_array().unwrap();
        let accounts = currencies.iter().flat_map(|currency| currency["accounts"].as_array().unwrap());
        let mut found = accounts.filter(|found| found["account"] == account);
        found.next().map_or(0, |found| found["credit"].as_i64().unwrap() - found["debit"].as_i64().unwrap())
    }

    /// How often something happened to a checkout.
    async fn happened(&self, bought: &Bought, kind: &str) -> usize {
        self.all("events", doc! { "subjectId": &bought.id, "type": kind }).await.len()
    }

    async fn refunds(&self, bought: &Bought) -> Vec<Value> {
        self.gateway.entry(&bought.payment).await["refunds"].as_array().cloned().unwrap_or_default()
    }
}

#[tokio::test]
async fn a_checkout_is_paid_once_in_whichever_order_the_gateway_tells() {
    let app = TestApp::with(QUICK).await;
    let (seller, buyer, finance) =
        (app.merchant().await, app.user(Role::Customer).await, app.user(Role::Finance).await);
    let product_id = app.stocked(&seller, "A-1", 20).await;
    let merchant = format!("payable.merchant:{}", seller.user_id);

    // The page is shown to who pays, as long as it can be paid.
    let first = app.buy_at_gateway(&buyer, "k-1", &product_id).await;
    let pending = app.bought_as(&buyer, &first).await;
    assert_eq!((&pending["status"], &pending["payment"]["url"]), (&json!("pending"), &Value::Null));
    assert!(pending["payment"]["expiresAt"].is_string());
    app.run_jobs().await;
    let pending = app.bought_as(&buyer, &first).await;
    let page = pending["payment"]["url"].as_str().expect("a page").to_owned();
    assert_eq!(app.bought_as(&seller, &first).await["payment"]["url"], Value::Null, "who has the page may pay");
    assert_eq!(app.get(&buyer, "/wallet/topups").await.expect(200).body["items"], json!([]), "it tops nothing up");
    app.get(&buyer, &format!("/wallet/topups/{}", first.payment)).await.expect(404);
    app.client.post(&page).body("do=pay").send().await.unwrap();
    let paid = app.bought_as(&buyer, &first).await;
    assert_eq!((&paid["status"], &paid["payment"]["status"]), (&json!("paid"), &json!("paid")));
    assert_eq!((&paid["payment"]["url"], &paid["payment"]["expiresAt"]), (&Value::Null, &Value::Null));
    assert_eq!(app.owed(&finance, &merchant).await, PRICE);
    app.run_jobs().await;
    assert_eq!(app.stands(&buyer, &first).await, "completed paid");

    // Told before our own answer, twice, and failed after it was paid.
    app.gateway.misbehave("create", "callback_before_answer", 1).await;
    let early = app.buy_at_gateway(&buyer, "k-2", &product_id).await;
    app.run_jobs().await;
    assert_eq!(app.stands(&buyer, &early).await, "completed paid");
    app.tell(&early.payment, "pay", json!({ "times": 3 })).await;
    app.tell(&early.payment, "fail", json!({})).await;
    assert_eq!(app.stands(&buyer, &early).await, "completed paid");
    assert_eq!(app.happened(&early, "CheckoutPaid").await, 1);
    // A merchant's own server may have its customers pay there too.
    let named = app.buy_at_gateway(&seller, "k-1", &product_id).await;
    app.run_jobs().await;
    assert!(app.bought_as(&seller, &named).await["payment"]["url"].is_string());
    app.tell(&named.payment, "pay", json!({})).await;
    assert_eq!(
        (app.stands(&seller, &named).await, app.owed(&finance, &merchant).await),
        ("paid paid".into(), 3 * PRICE)
    );

    // Another amount: the goods are free for others, and the money is a person's matter.
    let other = app.buy_at_gateway(&buyer, "k-3", &product_id).await;
    app.run_jobs().await;
    app.tell(&other.payment, "pay", json!({ "amount": PRICE - 1 })).await;
    assert_eq!(app.stands(&buyer, &other).await, "payment_failed failed");
    assert_eq!(app.outcomes(&other.payment).await, ["amount_differs"]);
    // Tried in vain; then paid all the same, after its end: back to the payer, once.
    let failed = app.buy_at_gateway(&buyer, "k-4", &product_id).await;
    let late = app.buy_at_gateway(&buyer, "k-5", &product_id).await;
    let dropped = app.buy_at_gateway(&buyer, "k-6", &product_id).await;
    app.run_jobs().await;
    assert_eq!(app.stock_of(&buyer, &product_id).await, 14);
    app.tell(&failed.payment, "fail", json!({})).await;
    app.cancel_checkout(&buyer, &dropped.client_order_id).await.expect(202);
    assert_eq!(app.stands(&buyer, &dropped).await, "cancelled failed");
    app.gateway.change(&late.payment, &json!({ "do": "expire" })).await;
    app.app.clock.advance(EXPIRED);
    app.run_jobs().await;
    for ended in [&failed, &late, &dropped] {
        assert_eq!(app.bought_as(&buyer, ended).await["payment"]["url"], Value::Null);
        app.tell(&ended.payment, "pay", json!({})).await;
        assert!(app.stands(&buyer, ended).await.ends_with(" refunding"), "{}", ended.client_order_id);
    }
    assert_eq!(app.owed(&finance, "payable.refunds").await, 3 * PRICE);
    assert_eq!(differences(app.db()).await, []);
    app.run_jobs().await;
    for (ended, stands) in [(&failed, "payment_failed"), (&late, "payment_failed"), (&dropped, "cancelled")] {
        assert_eq!(app.stands(&buyer, ended).await, format!("{stands} refunded"));
        assert_eq!(app.refunds(ended).await.len(), 1);
        assert_eq!(app.happened(ended, "CheckoutPaid").await, 0);
    }
    // Taken back after it was paid, before it is fulfilled.
    let taken_back = app.buy_and_pay(&buyer, "k-7", &product_id).await;
    let cancelled = app.cancel_checkout(&buyer, "k-7").await.expect(202).body;
    assert_eq!(cancelled["payment"]["status"], "refunding");
    app.cancel_checkout(&buyer, "k-7").await.expect(200);
    app.run_jobs().await;
    assert_eq!(app.stands(&buyer, &taken_back).await, "cancelled refunded");

    assert_eq!(app.stock_of(&buyer, &product_id).await, 17, "three are sold");
    assert_eq!((app.owed(&finance, "payable.refunds").await, app.owed(&finance, &merchant).await), (0, 3 * PRICE));
    let balance = app.get(&finance, "/finance/trial-balance").await.expect(200).body;
    assert_eq!(balance["currencies"][0]["balanced"], true, "{balance}");
    let requests = app.all("provider_request_logs", doc! { "operation": "refund_payment" }).await;
    assert_eq!(requests.len(), 4);
    for personal in ["Muster", "eva@example.com", "Hauptstr", "/pay/"] {
        for collection in ["provider_request_logs", "provider_response_logs", "events", "jobs", "topups"] {
            let allowed = personal == "/pay/" && collection == "topups";
            let stored = format!("{:?}", app.all(collection, doc! {}).await);
            assert!(allowed || !stored.contains(personal), "{personal} in {collection}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn whatever_becomes_of_the_call_a_payment_goes_back_once() {
    let app = TestApp::with(&[QUICK, &["--max-attempts=5"]].concat()).await;
    let (seller, buyer, admin) = (app.merchant().await, app.user(Role::Customer).await, app.admin().await);
    let product_id = app.stocked(&seller, "A-1", 20).await;
    // The fault, and how often the refund is asked for in the end: where it may have been done, it is looked up.
    for (mode, calls) in [
        ("hang_after_work", 1),
        ("drop_after_work", 1),
        ("500_after_work", 1),
        ("truncated_after_work", 1),
        ("wrong_amount", 1),
        ("refund_pending", 1),
        ("drop", 1),
        ("500", 1),
        ("429", 1),
    ] {
        app.gateway.behave().await;
        let bought = app.buy_and_pay(&buyer, mode, &product_id).await;
        app.cancel_checkout(&buyer, mode).await.expect(202);
        app.gateway.misbehave("refund", mode, 1).await;
        app.gateway.misbehave("look_up_refund", "500", 1).await;
        for _ in 0..4 {
            app.run_jobs().await;
            app.app.clock.advance(BACKOFF);
        }
        app.run_jobs().await;
        assert_eq!(app.stands(&buyer, &bought).await, "cancelled refunded", "{mode}");
        let refunds = app.refunds(&bought).await;
        assert_eq!((refunds.len(), &refunds[0]["calls"]), (1, &json!(calls)), "{mode}");
    }
    // Refused, and not taken by the payer's bank: a person has it tried again.
    for mode in ["refuse", "refund_failed"] {
        app.gateway.behave().await;
        let bought = app.buy_and_pay(&buyer, mode, &product_id).await;
        app.cancel_checkout(&buyer, mode).await.expect(202);
        app.gateway.misbehave("refund", mode, 1).await;
        app.run_jobs().await;
        let stored = app.all("topups", doc! { "_id": &bought.payment }).await.remove(0);
        let refund = stored.get_document("refund").unwrap();
        assert_eq!(refund.get_str("status").unwrap(), "needs_attention", "{mode}");
        assert_eq!(app.stands(&buyer, &bought).await, "cancelled refunding", "{mode}");
        let path = format!("/queues/jobs/{}/retry", refund.get_str("jobId").unwrap());
        app.request(reqwest::Method::POST, &path, Some(&admin.token), None).await.expect(200);
        app.run_jobs().await;
        assert_eq!(app.stands(&buyer, &bought).await, "cancelled refunded", "{mode}");
        let given = app.refunds(&bought).await.into_iter().filter(|refund| refund["failed"] == false).count();
        assert_eq!(given, 1, "{mode}");
    }
    app.finish().await;
}

#[tokio::test]
async fn killed_anywhere_a_checkout_is_placed_charged_and_given_back_once() {
    let app = TestApp::with(FAST).await;
    let (seller, buyer, finance) =
        (app.merchant().await, app.user(Role::Customer).await, app.user(Role::Finance).await);
    let product_id = app.stocked(&seller, "A-1", 20).await;
    let finished = async |what: &str| {
        let mut worker = Launch::worker(&app, FAST).start().await;
        eventually(what, SOON, async || {
            let open = doc! { "state": { "$in": ["ready", "active"] }, "kind": { "$in": ["start-payment", "refund-payment", "fulfil-checkout"] } };
            app.all("jobs", open).await.is_empty()
        })
        .await;
        worker.terminate().await;
    };
    // Long enough to be killed between the request and its answer.
    let waits = async |operation: &str, point: &str| {
        if point == "sent" {
            app.gateway.rule(json!({ "operation": operation, "mode": "ok", "latencyMs": 800, "times": 1 })).await;
        }
    };
    let mut bought = Vec::new();
    for point in POINTS {
        bought.push(app.buy_at_gateway(&buyer, point, &product_id).await);
        waits("create", point).await;
        Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;
    }
    finished("all are placed").await;
    for one in &bought {
        let name = &one.client_order_id;
        assert!(app.bought_as(&buyer, one).await["payment"]["url"].is_string(), "{name}");
        assert_eq!(app.gateway.entry(&one.payment).await["payment"]["status"], "created", "{name}");
    }
    let merchant = format!("payable.merchant:{}", seller.user_id);
    let paid = async |one: &Bought| {
        assert_eq!(app.tell(&one.payment, "pay", json!({ "times": 2 })).await, [200, 200]);
        assert_eq!((app.stands(&buyer, one).await, app.happened(one, "CheckoutPaid").await), ("paid paid".into(), 1));
    };
    // All but the first go back, and the workers that give back are killed too.
    for (one, point) in bought.iter().skip(1).zip(POINTS) {
        paid(one).await;
        app.cancel_checkout(&buyer, &one.client_order_id).await.expect(202);
        waits("refund", point).await;
        Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;
    }
    paid(&bought[0]).await;
    Launch::worker(&app, FAST).crash_at("after_completion").spawn().crash().await;
    finished("all are given back").await;
    for one in &bought[1..] {
        let name = &one.client_order_id;
        assert_eq!(
            (app.stands(&buyer, one).await, app.refunds(one).await.len()),
            ("cancelled refunded".into(), 1),
            "{name}"
        );
    }
    assert_eq!(
        (app.stands(&buyer, &bought[0]).await, app.refunds(&bought[0]).await.len()),
        ("completed paid".into(), 0)
    );
    assert_eq!(app.stock_of(&buyer, &product_id).await, 19);
    assert_eq!((app.owed(&finance, &merchant).await, app.owed(&finance, "payable.refunds").await), (PRICE, 0));
    assert_eq!(differences(app.db()).await, []);
    app.finish().await;
}

#[tokio::test]
async fn payments_of_checkouts_that_differ_are_named() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.user(Role::Customer).await);
    let product_id = app.stocked(&seller, "A-1", 9).await;
    let paid = app.buy_and_pay(&buyer, "k-1", &product_id).await;
    let back = app.buy_and_pay(&buyer, "k-2", &product_id).await;
    app.cancel_checkout(&buyer, "k-2").await.expect(202);
    app.run_jobs().await;
    assert_eq!(differences(app.db()).await, []);
    let booked = doc! { "referenceId": &back.payment, "referenceKind": "refund" };
    let refund = app.all("ledger_transactions", booked).await.remove(0).get_str("_id").unwrap().to_owned();
    for (collection, id, change, expected) in [
        ("checkouts", &paid.id, doc! { "payment.status": "refunding" }, &["checkout.payment", "checkout.refunded"][..]),
        ("checkouts", &paid.id, doc! { "payment.gatewayPayment": "pmt_0" }, &["checkout.payment"]),
        ("checkouts", &paid.id, doc! { "sellerId": "usr_0" }, &["checkout.merchant"]),
        (
            "topups",
            &paid.payment,
            doc! { "checkoutId": "chk_0" },
            &["checkout.payment", "payment.checkout", "topup.credit"],
        ),
        ("topups", &paid.payment, doc! { "amount": 1_i64 }, &["topup.amount"]),
        ("topups", &back.payment, doc! { "refund.status": "needs_attention" }, &["checkout.payment", "topup.refund"]),
        (
            "topups",
            &back.payment,
            doc! { "refund.status": "requested" },
            &["checkout.payment", "topup.refund", "topup.refund_job"],
        ),
        ("ledger_transactions", &refund, doc! { "referenceId": "pmt_0" }, &["credit.topup", "topup.refund"]),
    ] {
        let before = app.all(collection, doc! { "_id": id }).await.remove(0);
        app.update_one(collection, doc! { "_id": id }, change.clone()).await;
        let mut found: Vec<_> = differences(app.db()).await.into_iter().map(|found| found.check).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, expected, "{change}");
        app.update_one(collection, doc! { "_id": id }, before).await;
    }
    app.finish().await;
}
