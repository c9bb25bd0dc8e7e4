//! Buying while everything else happens: prices and stock change, the API is killed, and some are in a hurry.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bson::doc;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::{
    checkout::cart,
    support::{Answer, TestApp, User, eventually, process::Launch, read},
};

impl TestApp {
    async fn buy(&self, buyer: &User, body: &Value) -> Answer {
        self.post(buyer, "/checkout", body).await
    }

    async fn reprice(&self, seller: &User, product_id: &str, body: Value) -> Answer {
        self.request(Method::PATCH, &format!("/products/{product_id}"), Some(&seller.token), Some(&body)).await
    }
}

fn euros(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

fn rupees(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "INR" })
}

#[tokio::test]
async fn a_cart_is_paid_in_one_currency_in_which_all_of_it_has_a_price() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(10_000_000).await);
    let finance = app.user(Role::Finance).await;
    let in_euros = json!({ "clientReference": "eur-1", "kind": "recharge", "userId": buyer.user_id, "amount": euros(5_000),
        "reason": "Paid in by hand." });
    app.post(&finance, "/finance/transactions", &in_euros).await.expect(201);
    let (both, other) = (app.stocked(&seller, "A-1", 9).await, app.stocked(&seller, "A-2", 9).await);
    for (prices, blamed) in [
        (json!([rupees(5)]), "prices[0].currency:duplicate"),
        (json!([euros(5), euros(6)]), "prices[1].currency:duplicate"),
        (json!([euros(0)]), "prices[0].amount:range"),
        (json!(vec![euros(1); 11]), "prices:length"),
    ] {
        let refused = app.reprice(&seller, &both, json!({ "prices": prices })).await.expect(422);
        assert_eq!(refused.blamed(), [blamed]);
    }
    let changed = app.reprice(&seller, &both, json!({ "prices": [euros(600)] })).await.expect(200).body;
    assert_eq!((&changed["price"]["currency"], &changed["prices"]), (&json!("INR"), &json!([euros(600)])));
    let found = app.get(&buyer, "/products?q=A-1").await.expect(200).body;
    assert_eq!(found["items"][0]["prices"], json!([euros(600)]));
    let event = app.all("events", doc! { "type": "ProductChanged" }).await.remove(0);
    assert_eq!(event.get_document("data").unwrap().get_array("changed").unwrap(), &vec!["prices".into()]);
    // The own price can't get the currency of another one.
    let refused = app.reprice(&seller, &both, json!({ "price": euros(7) })).await.expect(422);
    assert_eq!(refused.blamed(), ["prices[0].currency:duplicate"]);

    let in_euros = |id: &str, lines: &[(&str, i64)]| {
        let mut body = cart(id, lines);
        body["currency"] = json!("EUR");
        body
    };
    let refused = app.buy(&buyer, &in_euros("k-1", &[(&both, 1), (&other, 1)])).await.expect(422);
    assert_eq!(refused.blamed(), ["items[1].productId:currency_differs"]);
    let bought = app.buy(&buyer, &in_euros("k-1", &[(&both, 2)])).await.expect(202).body;
    assert_eq!((&bought["total"], &bought["items"][0]["unitPrice"]), (&euros(1_200), &json!(600)));
    let paid = app.all("ledger_transactions", doc! { "kind": "purchase" }).await.remove(0);
    assert_eq!(paid.get_str("currency").unwrap(), "EUR");
    // Asked for in another currency it is another checkout.
    assert_eq!(app.buy(&buyer, &cart("k-1", &[(&both, 2)])).await.expect(422).code(), "checkout.idempotency_mismatch");
    app.buy(&buyer, &in_euros("k-1", &[(&both, 2)])).await.expect(200);
    // By default it is the first one's own currency, in which the others may have a further price.
    let bought = app.buy(&buyer, &cart("k-2", &[(&both, 1), (&other, 1)])).await.expect(202).body;
    assert_eq!(bought["total"]["currency"], "INR");
    app.reprice(&seller, &other, json!({ "price": euros(300), "prices": [rupees(25_000)] })).await.expect(200);
    let bought = app.buy(&buyer, &cart("k-3", &[(&other, 1), (&both, 1)])).await.expect(202).body;
    assert_eq!(bought["total"], euros(900));
    let bought = app.buy(&buyer, &cart("k-4", &[(&both, 1), (&other, 1)])).await.expect(202).body;
    assert_eq!(bought["total"], rupees(1_475_000));
    app.reprice(&seller, &both, json!({ "prices": null })).await.expect(200);
    app.buy(&buyer, &in_euros("k-5", &[(&both, 1)])).await.expect(422);
    app.finish().await;
}

#[tokio::test]
async fn every_job_of_a_rush_goes_before_what_is_none() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(10_000_000).await);
    let product_id = app.stocked(&seller, "A-1", 9).await;
    let mut hurried = cart("k-2", &[(&product_id, 1)]);
    hurried["priority"] = json!("rush");
    let normal = app.buy(&buyer, &cart("k-1", &[(&product_id, 1)])).await.expect(202).body;
    let rush = app.buy(&buyer, &hurried).await.expect(202).body;
    assert_eq!((&normal["priority"], &rush["priority"]), (&json!("normal"), &json!("rush")));
    app.buy(&buyer, &hurried).await.expect(200);
    let other = app.buy(&buyer, &cart("k-2", &[(&product_id, 1)])).await.expect(422);
    assert_eq!(other.code(), "checkout.idempotency_mismatch");
    let mut soon = hurried.clone();
    soon["priority"] = json!("soon");
    assert_eq!(app.buy(&buyer, &soon).await.expect(422).blamed(), ["priority:unknown_value"]);
    let priorities = async |checkout: &Value| -> BTreeSet<i32> {
        let of_it = doc! { "payload.checkoutId": checkout["checkoutId"].as_str().unwrap() };
        let jobs = app.all("jobs", of_it).await;
        jobs.iter().map(|job| job.get_i32("priority").unwrap()).collect()
    };
    let (normal, rush) = (priorities(&normal).await, priorities(&rush).await);
    assert!(!rush.is_empty() && rush.last() < normal.first(), "{rush:?} {normal:?}");
    app.finish().await;
}

/// How much is changed beside the buyers.
const CHANGES: i64 = 30;

#[tokio::test]
async fn prices_and_stock_that_change_meanwhile_are_those_of_the_moment() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(10_000_000).await);
    let product_id = app.stocked(&seller, "A-1", 5_000).await;
    app.reprice(&seller, &product_id, json!({ "price": rupees(1) })).await.expect(200);
    let sold = AtomicUsize::new(0);
    // Dearer each time, and gone in the end.
    let changing = async {
        for n in 2..=CHANGES {
            app.reprice(&seller, &product_id, json!({ "price": rupees(n) })).await.expect(200);
            app.move_stock(&seller, &product_id, &format!("gone-{n}"), -1).await.expect(201);
        }
        app.reprice(&seller, &product_id, json!({ "status": "archived" })).await.expect(200);
    };
    let price = async || {
        let shown = app.get(&buyer, &format!("/products/{product_id}")).await;
        (shown.status == 200).then(|| shown.body["price"]["amount"].as_i64().unwrap())
    };
    let buying = async |number: usize| {
        let mut seen = BTreeSet::new();
        for n in 0.. {
            let Some(before) = price().await else { break };
            let answer = app.buy(&buyer, &cart(&format!("k-{number}-{n}"), &[(&product_id, 2)])).await;
            if answer.status == 422 {
                assert_eq!(answer.blamed(), ["items[0].productId:not_found"]);
                break;
            }
            let bought = answer.expect(202).body;
            let paid = bought["items"][0]["unitPrice"].as_i64().unwrap();
            let after = price().await.unwrap_or(CHANGES);
            assert!((before..=after).contains(&paid), "{before} <= {paid} <= {after}");
            assert_eq!(bought["total"]["amount"], 2 * paid);
            sold.fetch_add(2, Ordering::Relaxed);
            seen.insert(paid);
        }
        seen.len()
    };
    let ((), prices) = tokio::join!(changing, join_all((0..4).map(buying)));
    assert!(prices.iter().any(|prices| *prices > 2), "it did change meanwhile: {prices:?}");
    let left = 5_000 - (CHANGES - 1) - sold.load(Ordering::Relaxed) as i64;
    assert_eq!(app.stock_of(&seller, &product_id).await, left);
    let paid: i64 = app.all("checkouts", doc! {}).await.iter().map(|bought| bought.get_i64("total").unwrap()).sum();
    assert_eq!(app.balance(&buyer).await, (10_000_000 - paid, 0));
    app.finish().await;
}

/// Clients of an API that is killed, one request each at a time.
const CLIENTS: usize = 8;

#[tokio::test]
async fn an_api_killed_amid_checkouts_has_sold_what_it_acknowledged() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(1_000_000_000_000).await);
    let product_id = app.stocked(&seller, "A-1", 10_000).await;
    let send = async |base: &str, id: &str| {
        let request = app.client.post(format!("{base}/checkout")).bearer_auth(&buyer.token);
        let body = cart(id, &[(&product_id, 1)]).to_string();
        request.header("content-type", "application/json").body(body).send().await
    };
    let mut sold = BTreeSet::new();
    for round in 0..2 {
        let mut doomed = Launch::api(&app, &[]).start().await;
        let base = doomed.base.clone();
        let acknowledged = AtomicUsize::new(0);
        let clients = join_all((0..CLIENTS).map(|client| {
            let (send, base, acknowledged) = (&send, &base, &acknowledged);
            async move {
                let mut mine = Vec::new();
                for n in 0.. {
                    let id = format!("k-{round}-{client}-{n}");
                    let Ok(answer) = send(base, &id).await else { return (mine, id) };
                    // An answer that breaks off is none.
                    if answer.status() != 202 || answer.bytes().await.is_err() {
                        return (mine, id);
                    }
                    mine.push(id);
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                unreachable!("it is killed")
            }
        }));
        let killing = async {
            eventually("it sells", Duration::from_secs(60), async || acknowledged.load(Ordering::Relaxed) >= 60).await;
            doomed.kill().await;
        };
        let (clients, ()) = tokio::join!(clients, killing);
        let stored = app.all("checkouts", doc! { "clientOrderId": { "$regex": format!("^k-{round}-") } }).await;
        let stored: BTreeSet<String> = stored.iter().map(|it| it.get_str("clientOrderId").unwrap().into()).collect();
        let acked: BTreeSet<String> = clients.iter().flat_map(|(mine, _)| mine.clone()).collect();
        let open: BTreeSet<String> = clients.iter().map(|(_, open)| open.clone()).collect();
        assert!(acked.is_subset(&stored), "what was acknowledged is there");
        assert!(stored.difference(&acked).all(|id| open.contains(id)), "and nothing but what was in flight");
        sold.extend(stored);
        assert_eq!(app.stock_of(&seller, &product_id).await, 10_000 - sold.len() as i64);
        // Who got no answer asks again, and has bought once.
        for id in &open {
            let status = if sold.contains(id) { 200 } else { 202 };
            read(send(&app.base, id).await.unwrap()).await.expect(status);
            sold.insert(id.clone());
        }
    }
    assert_eq!(app.stock_of(&seller, &product_id).await, 10_000 - sold.len() as i64);
    let moved = app.all("stock_movements", doc! { "productId": &product_id }).await;
    assert_eq!(moved.iter().map(|moved| moved.get_i64("delta").unwrap()).sum::<i64>(), 10_000 - sold.len() as i64);
    assert_eq!(app.all("events", doc! { "type": "CheckoutPaid" }).await.len(), sold.len());
    app.run_jobs().await;
    app.finish().await;
}
