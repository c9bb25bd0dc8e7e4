//! Checkouts: all of a cart or nothing, never more than is there, paid once and given back once, whoever is killed.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::{StreamExt, future::join_all, stream};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::process::Command;
use waybill::platform::{
    identity::{
        Role,
        tokens::{AccessToken, TokenKeys},
    },
    ids::new_id,
};

use crate::support::{
    Answer, JWT_SECRET, TestApp, User, differences, drive::set, eventually, process::Launch, read, seals::seal_all,
};

/// A piece, in paise.
const PRICE: i64 = 1_450_000;
const FAST: &[&str] = &["--poll-ms=50"];

pub fn cart(client_order_id: &str, lines: &[(&str, i64)]) -> Value {
    let items: Vec<_> = lines.iter().map(|(id, quantity)| json!({ "productId": id, "quantity": quantity })).collect();
    json!({ "clientOrderId": client_order_id, "items": items,
        "customer": { "name": "Eva Muster", "email": "Eva@Example.com", "phone": "0049 30 123456" },
        "shippingAddress": { "line1": "Hauptstr. 4", "city": "Berlin", "postcode": "10115", "country": "DE" },
        "payment": { "method": "wallet" } })
}

pub fn paid_elsewhere(client_order_id: &str, lines: &[(&str, i64)], payment_id: &str) -> Value {
    let mut body = cart(client_order_id, lines);
    // As shipments have it.
    body["shippingAddress"] = json!({ "name": "Eva Muster", "phone": "9876543210", "line1": "12 MG Road",
        "city": "Bengaluru", "state": "Karnataka", "pincode": "560001", "country": "IN" });
    body["payment"] = json!({ "method": "external", "paymentId": payment_id });
    body
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

impl TestApp {
    /// A new customer with so many paise.
    pub async fn customer(&self, amount: i64) -> User {
        let user = self.user(Role::Customer).await;
        self.credit(&user, amount).await;
        user
    }

    pub async fn check_out(&self, user: &User, client_order_id: &str, lines: &[(&str, i64)]) -> Answer {
        self.post(user, "/checkout", &cart(client_order_id, lines)).await
    }

    pub async fn cancel_checkout(&self, user: &User, client_order_id: &str) -> Answer {
        self.post(user, "/checkout/cancel", &json!({ "clientOrderId": client_order_id })).await
    }

    async fn patch_product(&self, seller: &User, product_id: &str, body: Value) {
        let path = format!("/products/{product_id}");
        self.request(Method::PATCH, &path, Some(&seller.token), Some(&body)).await.expect(200);
    }
}

#[tokio::test]
async fn a_cart_is_bought_whole_or_not_at_all() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(100 * PRICE).await);
    let (first, second) = (app.stocked(&seller, "A-1", 5).await, app.stocked(&seller, "A-2", 2).await);
    let refused = app.check_out(&buyer, "k-1", &[(&first, 3), (&second, 3), (&first, 3)]).await.expect(409);
    assert_eq!(refused.code(), "checkout.out_of_stock");
    let mut short = refused.body["items"].as_array().unwrap().clone();
    short.sort_by_key(|item| item["requested"].as_i64());
    let expected = |id: &str, requested: i64, available: i64| json!({ "productId": id, "requested": requested, "available": available });
    assert_eq!(short, [expected(&second, 3, 2), expected(&first, 6, 5)]);
    assert_eq!(
        (app.stock_of(&buyer, &first).await, app.balance(&buyer).await.0),
        (5, 100 * PRICE),
        "nothing was taken"
    );

    // What was refused is not remembered.
    let bought = app.check_out(&buyer, "k-1", &[(&first, 2), (&second, 1), (&first, 1)]).await.expect(202).body;
    assert_eq!((text(&bought, "status"), &bought["total"]["amount"]), ("paid", &json!(4 * PRICE)));
    assert_eq!(
        bought["payment"],
        json!({ "method": "wallet", "status": "paid", "paymentId": null, "url": null, "expiresAt": null })
    );
    assert_eq!(bought["items"].as_array().unwrap().len(), 3);
    assert_eq!(bought["items"][0]["totalPrice"], json!(2 * PRICE));
    assert_eq!(bought["customer"], json!({ "name": "Eva Muster", "email": "eva@example.com", "phone": "+4930123456" }));
    assert_eq!((app.stock_of(&buyer, &first).await, app.stock_of(&buyer, &second).await), (2, 1));
    assert_eq!(app.balance(&buyer).await, (96 * PRICE, 0));

    // Sold out, repriced and archived since: the same request is the same checkout.
    app.move_stock(&seller, &first, "gone", -2).await.expect(201);
    app.patch_product(&seller, &first, json!({ "price": { "amount": 1, "currency": "INR" } })).await;
    app.patch_product(&seller, &second, json!({ "status": "archived" })).await;
    let replay = app.check_out(&buyer, "k-1", &[(&first, 2), (&second, 1), (&first, 1)]).await.expect(200);
    assert_eq!((&replay.headers["idempotent-replayed"], &replay.body), (&"true".parse().unwrap(), &bought));
    let other = app.check_out(&buyer, "k-1", &[(&first, 4)]).await.expect(422);
    assert_eq!(other.code(), "checkout.idempotency_mismatch");

    app.run_jobs().await;
    let path = format!("/checkouts/{}", text(&bought, "checkoutId"));
    assert_eq!(app.get(&buyer, &path).await.expect(200).body["status"], "completed");
    assert_eq!(
        app.check_out(&buyer, "k-1", &[(&first, 2), (&second, 1), (&first, 1)]).await.expect(200).body["status"],
        "completed"
    );
    // Buyer and seller see it, and nobody else.
    assert_eq!(app.get(&seller, &path).await.expect(200).body["items"], bought["items"]);
    for stranger in [app.merchant().await, app.user(Role::Customer).await] {
        assert_eq!(app.get(&stranger, &path).await.expect(404).code(), "checkout.not_found");
        assert_eq!(app.get(&stranger, "/checkouts").await.expect(200).body["items"], json!([]));
    }
    for (user, query) in [(&buyer, "?status=completed"), (&seller, "?clientOrderId=k-1"), (&seller, "")] {
        let page = app.get(user, &format!("/checkouts{query}")).await.expect(200).body;
        assert_eq!(page["items"][0]["checkoutId"], bought["checkoutId"], "{query}");
    }
    let id = text(&bought, "checkoutId");
    let events = app.all("events", doc! { "subjectId": id }).await;
    let told: Vec<_> =
        events.iter().map(|event| (event.get_str("type").unwrap(), event.get_i64("seq").unwrap())).collect();
    assert_eq!(told, [("CheckoutCreated", 1), ("CheckoutPaid", 2), ("CheckoutCompleted", 3)]);
    assert!(events.iter().all(|event| event.get_str("userId").unwrap() == seller.user_id));
    for collection in ["events", "audit_events", "jobs", "stock_movements", "ledger_transactions", "outbox"] {
        let stored = format!("{:?}", app.all(collection, doc! {}).await);
        assert!(
            !["Muster", "eva@example.com", "Hauptstr", "30123456"].iter().any(|personal| stored.contains(personal)),
            "{collection}"
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn a_wallet_with_too_little_buys_nothing() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(2 * PRICE).await);
    let product_id = app.stocked(&seller, "A-1", 5).await;
    let refused = app.check_out(&buyer, "k-1", &[(&product_id, 3)]).await.expect(402);
    assert_eq!(refused.code(), "wallet.insufficient_funds");
    assert_eq!(app.stock_of(&buyer, &product_id).await, 5);
    assert!(app.all("checkouts", doc! {}).await.is_empty());
    app.check_out(&buyer, "k-1", &[(&product_id, 2)]).await.expect(202);
    app.check_out(&buyer, "k-2", &[(&product_id, 1)]).await.expect(402);
    assert_eq!(app.balance(&buyer).await, (0, 0));
    let finance = app.user(Role::Finance).await;
    let balances = app.get(&finance, "/finance/trial-balance").await.expect(200).text;
    assert!(balances.contains(&format!("payable.merchant:{}", seller.user_id)), "{balances}");
    app.finish().await;
}

#[tokio::test]
async fn a_payment_made_elsewhere_pays_once_and_the_merchant_says_so() {
    let app = TestApp::start().await;
    let (seller, other, buyer) = (app.merchant().await, app.merchant().await, app.customer(PRICE).await);
    let product_id = app.stocked(&seller, "A-1", 5).await;
    let theirs = app.stocked(&other, "A-1", 5).await;
    let lines = [(product_id.as_str(), 1)];
    let bought = app.post(&seller, "/checkout", &paid_elsewhere("k-1", &lines, "pay_1")).await.expect(202).body;
    assert_eq!((text(&bought["payment"], "status"), text(&bought["payment"], "paymentId")), ("paid", "pay_1"));
    let address = &bought["shippingAddress"];
    let shown = ["name", "phone", "postcode", "country"].map(|field| text(address, field));
    assert_eq!(shown, ["Eva Muster", "9876543210", "560001", "IN"]);
    app.post(&seller, "/checkout", &paid_elsewhere("k-1", &lines, "pay_1")).await.expect(200);
    let used = app.post(&seller, "/checkout", &paid_elsewhere("k-2", &lines, "pay_1")).await.expect(409);
    assert_eq!(used.code(), "checkout.payment_used");
    // Cancelled, it is used all the same; another merchant's payments are others.
    app.cancel_checkout(&seller, "k-1").await.expect(202);
    app.post(&seller, "/checkout", &paid_elsewhere("k-3", &lines, "pay_1")).await.expect(409);
    app.post(&other, "/checkout", &paid_elsewhere("k-1", &[(&theirs, 1)], "pay_1")).await.expect(202);
    assert_eq!(app.stock_of(&seller, &product_id).await, 5);
    // At once through two processes: one.
    let beside = app.beside(&[]).await;
    let tries = join_all((0..8).map(|n| {
        let body = paid_elsewhere(&format!("t-{n}"), &lines, "pay_2");
        let (app, seller) = (if n % 2 == 0 { &app } else { &beside }, &seller);
        async move { app.post(seller, "/checkout", &body).await.status.as_u16() }
    }));
    let mut tries = tries.await;
    tries.sort_unstable();
    assert_eq!(tries, [202, 409, 409, 409, 409, 409, 409, 409]);

    let by = async |user: &User, body: Value| app.post(user, "/checkout", &body).await.expect(422);
    assert_eq!(by(&buyer, paid_elsewhere("k-9", &lines, "pay_9")).await.blamed(), ["payment.method:not_allowed"]);
    assert_eq!(by(&seller, cart("k-9", &lines)).await.blamed(), ["payment.method:not_allowed"]);
    let foreign = by(&seller, paid_elsewhere("k-9", &[(&theirs, 1)], "pay_9")).await;
    assert_eq!(foreign.blamed(), ["items[0].productId:not_found"]);
    beside.finish_unchecked().await;
    app.finish().await;
}

#[tokio::test]
async fn what_can_not_be_bought_together_is_named_line_by_line() {
    let app = TestApp::start().await;
    let (seller, other, buyer) = (app.merchant().await, app.merchant().await, app.customer(100 * PRICE).await);
    let (first, gone, euros) = (
        app.stocked(&seller, "A-1", 5).await,
        app.stocked(&seller, "A-2", 5).await,
        app.stocked(&seller, "A-3", 5).await,
    );
    let foreign = app.stocked(&other, "A-1", 5).await;
    app.patch_product(&seller, &gone, json!({ "status": "archived" })).await;
    app.patch_product(&seller, &euros, json!({ "price": { "amount": 100, "currency": "EUR" } })).await;
    let lines = [(first.as_str(), 1), (&gone, 1), ("prd_unknown", 1), (&foreign, 1), (&euros, 1)];
    let refused = app.check_out(&buyer, "k-1", &lines).await.expect(422);
    assert_eq!(
        refused.blamed(),
        [
            "items[1].productId:not_found",
            "items[2].productId:not_found",
            "items[3].productId:seller_differs",
            "items[4].productId:currency_differs",
        ]
    );
    for (pointer, value, blamed) in [
        ("/items/0/quantity", json!(0), "items[0].quantity:range"),
        ("/items/0/quantity", json!(10_001), "items[0].quantity:range"),
        ("/items", json!([]), "items:length"),
        ("/items", json!(vec![json!({ "productId": &first, "quantity": 1 }); 101]), "items:length"),
        ("/customer/email", json!("nobody"), "customer.email:email"),
        ("/customer/phone", json!("12"), "customer.phone:phone"),
        ("/shippingAddress/country", json!("XX"), "shippingAddress.country:country"),
        ("/shippingAddress/name", json!("x".repeat(101)), "shippingAddress.name:length"),
        ("/payment/paymentId", json!("pay_1"), "payment.paymentId:unexpected"),
        ("/total", json!(1), "total:unknown"),
    ] {
        let mut body = cart("k-1", &[(&first, 1)]);
        set(&mut body, pointer, value);
        assert_eq!(app.post(&buyer, "/checkout", &body).await.expect(422).blamed(), [blamed]);
    }
    // Who is not verified sells nothing.
    let newcomer = app.user(Role::Merchant).await;
    let theirs = app.stocked(&newcomer, "A-1", 5).await;
    let refused = app.check_out(&buyer, "k-1", &[(&theirs, 1)]).await.expect(409);
    assert_eq!(refused.code(), "checkout.seller_not_verified");
    // A hundred lines of ten thousand dear pieces are more than there is, and no overflow.
    app.patch_product(&seller, &first, json!({ "price": { "amount": 1_000_000_000, "currency": "INR" } })).await;
    app.check_out(&buyer, "k-1", &vec![(first.as_str(), 10_000); 100]).await.expect(409);
    assert_eq!(app.stock_of(&buyer, &first).await, 5);
    app.finish().await;
}

#[tokio::test]
async fn a_checkout_is_cancelled_once_with_stock_and_money_back() {
    let app = TestApp::start().await;
    let beside = app.beside(&[]).await;
    let (seller, buyer) = (app.merchant().await, app.customer(10 * PRICE).await);
    let product_id = app.stocked(&seller, "A-1", 8).await;
    let bought = app.check_out(&buyer, "k-1", &[(&product_id, 2), (&product_id, 2)]).await.expect(202).body;
    assert_eq!(app.all("events", doc! { "type": "StockLow" }).await.len(), 1, "8 became 4");
    let cancelled = join_all((0..10).map(|n| {
        let (app, buyer) = (if n % 2 == 0 { &app } else { &beside }, &buyer);
        async move { app.cancel_checkout(buyer, "k-1").await }
    }));
    let cancelled = cancelled.await;
    let mut statuses: Vec<_> = cancelled.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 200, 202]);
    let shown = &cancelled[0].body;
    assert_eq!((text(shown, "status"), text(&shown["payment"], "status")), ("cancelled", "refunded"));
    assert_eq!((app.stock_of(&buyer, &product_id).await, app.balance(&buyer).await), (8, (10 * PRICE, 0)));
    // Its job finds nothing to do.
    app.run_jobs().await;
    let path = format!("/checkouts/{}", text(&bought, "checkoutId"));
    assert_eq!(app.get(&buyer, &path).await.expect(200).body["status"], "cancelled");
    assert_eq!(
        app.check_out(&buyer, "k-1", &[(&product_id, 2), (&product_id, 2)]).await.expect(200).body["status"],
        "cancelled"
    );

    app.check_out(&buyer, "k-2", &[(&product_id, 1)]).await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.cancel_checkout(&buyer, "k-2").await.expect(409).code(), "checkout.not_cancellable");
    assert_eq!(app.cancel_checkout(&seller, "k-2").await.expect(404).code(), "checkout.not_found");
    beside.finish_unchecked().await;
    app.finish().await;
}

/// Customers without passwords, each with money for one piece: to make them in the usual way would take minutes.
async fn crowd(app: &TestApp, count: usize) -> Vec<User> {
    let model = app.user(Role::Customer).await;
    let template = app.all("users", doc! { "_id": &model.user_id }).await.remove(0);
    let keys = TokenKeys::new(&SecretString::from(JWT_SECRET), None, app.app.clock.clone());
    let user = |_| {
        let user_id = new_id("usr");
        let access = AccessToken {
            user_id: user_id.clone(),
            role: Role::Customer,
            access_version: 0,
            tenant_id: None,
            only: None,
        };
        let token = keys.issue(access, app.app.clock.now_ms()).unwrap();
        User { email: format!("{user_id}@example.com"), user_id, token }
    };
    let users: Vec<User> = (0..count).map(user).collect();
    let documents = users.iter().map(|user| {
        let mut document = template.clone();
        document.extend(doc! { "_id": &user.user_id, "email": &user.email });
        document
    });
    app.db().collection::<Document>("users").insert_many(documents).await.unwrap();
    join_all(users.iter().map(|user| app.credit(user, PRICE))).await;
    users
}

#[tokio::test]
async fn of_a_hundred_pieces_exactly_a_hundred_are_sold() {
    let app = TestApp::start().await;
    let beside = app.beside(&[]).await;
    let seller = app.merchant().await;
    let product_id = app.stocked(&seller, "A-1", 100).await;
    let buyers = crowd(&app, 1_000).await;
    let answers = stream::iter(buyers.iter().enumerate()).map(|(n, buyer)| {
        let (app, product_id) = (if n % 2 == 0 { &app } else { &beside }, &product_id);
        async move { app.check_out(buyer, "k-1", &[(product_id, 1)]).await }
    });
    let answers: Vec<Answer> = answers.buffer_unordered(200).collect().await;
    let sold = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(sold, 100);
    let mut refused = answers.iter().filter(|answer| answer.status != 202);
    assert!(refused.all(|answer| answer.code() == "checkout.out_of_stock"));
    assert_eq!(app.stock_of(&seller, &product_id).await, 0);
    let sales = app.all("stock_movements", doc! { "productId": &product_id, "kind": "sale" }).await;
    let mut left: Vec<_> = sales.iter().map(|sale| sale.get_i64("after").unwrap()).collect();
    left.sort_unstable();
    assert_eq!(left, (0..100).collect::<Vec<_>>(), "one piece after the other");
    assert_eq!(app.all("events", doc! { "type": "StockLow" }).await.len(), 1);
    app.run_jobs().await;
    assert_eq!(app.all("checkouts", doc! { "status": "completed" }).await.len(), 100);
    beside.finish_unchecked().await;
    app.finish().await;
}

#[tokio::test]
async fn a_cart_is_bought_once_although_the_api_is_killed_around_its_commit() {
    join_all([("before_commit", 202), ("after_commit", 200)].map(|(point, status)| bought_despite(point, status)))
        .await;
}

async fn bought_despite(point: &str, status_of_the_retry: u16) {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(10 * PRICE).await);
    let product_id = app.stocked(&seller, "A-1", 9).await;
    let send = async |base: &str, path: &str, body: Value| {
        let request = app.client.post(format!("{base}{path}")).bearer_auth(&buyer.token);
        request.header("content-type", "application/json").body(body.to_string()).send().await
    };
    let buy = || cart("k-1", &[(&product_id, 3)]);
    let mut doomed = Launch::api(&app, &[]).crash_at(point).start().await;
    assert!(send(&doomed.base, "/checkout", buy()).await.is_err(), "{point}: the connection breaks");
    doomed.crash().await;
    read(send(&app.base, "/checkout", buy()).await.unwrap()).await.expect(status_of_the_retry);
    read(send(&app.base, "/checkout", buy()).await.unwrap()).await.expect(200);
    assert_eq!((app.stock_of(&buyer, &product_id).await, app.balance(&buyer).await), (6, (7 * PRICE, 0)), "{point}");
    assert_eq!(app.all("jobs", doc! { "kind": "fulfil-checkout" }).await.len(), 1, "{point}");

    // The same of taking it back.
    let cancel = || json!({ "clientOrderId": "k-1" });
    let mut doomed = Launch::api(&app, &[]).crash_at(point).start().await;
    assert!(send(&doomed.base, "/checkout/cancel", cancel()).await.is_err(), "{point}: the connection breaks");
    doomed.crash().await;
    read(send(&app.base, "/checkout/cancel", cancel()).await.unwrap()).await.expect(status_of_the_retry);
    assert_eq!((app.stock_of(&buyer, &product_id).await, app.balance(&buyer).await), (9, (10 * PRICE, 0)), "{point}");
    app.finish().await;
}

#[tokio::test]
async fn what_is_paid_is_completed_once_although_the_worker_is_killed() {
    join_all(
        ["claimed", "before_commit", "after_commit", "before_completion", "after_completion"].map(completed_despite),
    )
    .await;
}

async fn completed_despite(point: &str) {
    let app = TestApp::with(FAST).await;
    let (seller, buyer) = (app.merchant().await, app.customer(PRICE).await);
    let product_id = app.stocked(&seller, "A-1", 9).await;
    let bought = app.check_out(&buyer, "k-1", &[(&product_id, 1)]).await.expect(202).body;
    Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;
    let mut healthy = Launch::worker(&app, FAST).start().await;
    let path = format!("/checkouts/{}", text(&bought, "checkoutId"));
    eventually("it is completed", Duration::from_secs(30), async || {
        app.get(&buyer, &path).await.expect(200).body["status"] == "completed"
    })
    .await;
    // Those of handlers too: they were claimed by the one that died.
    eventually("its jobs are done", Duration::from_secs(60), async || {
        app.all("jobs", doc! { "state": { "$ne": "done" } }).await.is_empty()
    })
    .await;
    healthy.terminate().await;
    let completed = doc! { "type": "CheckoutCompleted", "subjectId": text(&bought, "checkoutId") };
    assert_eq!(app.all("events", completed).await.len(), 1, "{point}");
    app.finish().await;
}

#[tokio::test]
async fn checkouts_that_differ_from_money_and_stock_are_named() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(10 * PRICE).await);
    let product_id = app.stocked(&seller, "A-1", 9).await;
    let bought = app.check_out(&buyer, "k-1", &[(&product_id, 2)]).await.expect(202).body;
    let id = text(&bought, "checkoutId");
    assert_eq!(differences(app.db()).await, []);
    app.update_one("checkouts", doc! { "_id": id }, doc! { "total": 1_i64, "status": "cancelled" }).await;
    let mut found: Vec<_> = differences(app.db()).await.into_iter().map(|found| (found.check, found.found)).collect();
    found.sort();
    let paid = (2 * PRICE).to_string();
    assert_eq!(found, [("checkout.paid", paid), ("checkout.stock", "-2".to_owned())]);
    app.finish_unchecked().await;
}

#[tokio::test]
async fn who_bought_can_be_erased() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(10 * PRICE).await);
    let product_id = app.stocked(&seller, "A-1", 9).await;
    let own = app.check_out(&buyer, "k-1", &[(&product_id, 1)]).await.expect(202).body;
    let body = paid_elsewhere("k-1", &[(&product_id, 1)], "pay_1");
    let named = app.post(&seller, "/checkout", &body).await.expect(202).body;
    let (own, named) = (text(&own, "checkoutId"), text(&named, "checkoutId"));
    let kept = json!({ "name": "Eva Muster", "addresses": [{ "address": cart("k", &[])["shippingAddress"] }] });
    app.request(Method::PUT, "/customers/me", Some(&buyer.token), Some(&kept)).await.expect(200);
    seal_all(&app).await;
    for (args, erased, kept) in [(["--user", &buyer.user_id], own, Some(named)), (["--order", named], named, None)] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
        program.args(["audit", "erase", "--reason", "Asked for."]).args(args);
        let output =
            program.env("MONGODB_URI", &app.mongodb_uri).env("SEALING_KEY", "0".repeat(64)).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let shown = app.get(&seller, &format!("/checkouts/{erased}")).await.expect(200).body;
        assert_eq!((&shown["customer"], &shown["shippingAddress"]), (&Value::Null, &Value::Null));
        assert_eq!(shown["items"].as_array().unwrap().len(), 1, "goods and money stay");
        if let Some(kept) = kept {
            let kept = app.get(&seller, &format!("/checkouts/{kept}")).await.expect(200).body;
            assert_eq!(kept["customer"]["name"], "Eva Muster");
        }
    }
    assert_eq!(app.get(&buyer, "/customers/me").await.expect(200).body["name"], Value::Null);
    app.finish().await;
}

#[tokio::test]
async fn a_customer_keeps_addresses_for_the_next_checkout() {
    let app = TestApp::start().await;
    let (eva, other) = (app.user(Role::Customer).await, app.user(Role::Customer).await);
    let put = async |body: &Value| app.request(Method::PUT, "/customers/me", Some(&eva.token), Some(body)).await;
    let empty = json!({ "name": null, "phone": null, "addresses": [], "updatedAt": null });
    assert_eq!(app.get(&eva, "/customers/me").await.expect(200).body, empty);
    let address = cart("k", &[])["shippingAddress"].clone();
    let home = json!({ "label": "Home", "address": address });
    let work = json!({ "isDefault": true, "address": address });
    let body = |addresses: &[&Value]| json!({ "name": " Eva  ", "phone": "0049 30 123456", "addresses": addresses });
    let defaults = |shown: &Value| {
        shown["addresses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kept| kept["isDefault"].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    let shown = put(&body(&[&home, &home])).await.expect(200).body;
    assert_eq!((&shown["name"], &shown["phone"]), (&json!("Eva"), &json!("+4930123456")));
    assert_eq!(defaults(&shown), [true, false], "the first, where none is said to be");
    for (field, value) in address.as_object().unwrap() {
        assert_eq!(&shown["addresses"][0]["address"][field], value, "{field}");
    }
    let again = put(&body(&[&home, &home])).await.expect(200).body;
    assert_eq!((&again, &app.get(&eva, "/customers/me").await.expect(200).body), (&shown, &shown), "no change");
    assert_eq!(defaults(&put(&body(&[&home, &work])).await.expect(200).body), [false, true]);
    assert_eq!(app.get(&other, "/customers/me").await.expect(200).body, empty, "nobody else's");

    let mut wrong = home.clone();
    (wrong["address"]["country"], wrong["address"]["line1"]) = (json!("XX"), json!(""));
    wrong["label"] = json!("x".repeat(61));
    let refused = put(&json!({ "name": "", "phone": "12", "addresses": [home, wrong] })).await.expect(422);
    let mut blamed = refused.blamed();
    blamed.sort();
    assert_eq!(
        blamed,
        [
            "addresses[1].address.country:country",
            "addresses[1].address.line1:length",
            "addresses[1].label:length",
            "name:length",
            "phone:phone"
        ]
    );
    assert_eq!(put(&body(&[&work, &work])).await.expect(422).blamed(), ["addresses:ambiguous"]);
    assert_eq!(put(&body(&[&home; 21])).await.expect(422).blamed(), ["addresses:length"]);
    assert_eq!(put(&body(&[&home; 20])).await.expect(200).body["addresses"].as_array().unwrap().len(), 20);
    for collection in ["events", "audit_events", "outbox", "jobs"] {
        let stored = format!("{:?}", app.all(collection, doc! {}).await);
        assert!(!["Hauptstr", "30123456"].iter().any(|personal| stored.contains(personal)), "{collection}");
    }
    app.finish().await;
}
