//! What orders cost: nothing without money, nothing twice, and back where nothing is carried.

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{Answer, TestApp, User, orders, process::Launch, read};

/// More than twice what a batch takes, so that the money ends in the middle of one.
const ASKED: usize = 200;
const PAID: usize = 100;

/// What the order of these tests costs, in paise.
async fn price(app: &TestApp) -> i64 {
    let user = app.merchant().await;
    let order = app.create(&user, "probe").await.expect(201).body;
    assert_eq!(order["charge"]["currency"], "INR");
    order["charge"]["amount"].as_i64().unwrap()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("c-{n}")).collect()
}

fn rupees(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "INR" })
}

async fn finance_books(app: &TestApp, kind: &str, direction: Option<&str>, user: &User, amount: i64) {
    let finance = app.user(Role::Finance).await;
    let body = json!({ "clientReference": crate::support::unique("ref"), "kind": kind, "direction": direction,
        "userId": user.user_id, "amount": rupees(amount), "reason": "as agreed" });
    app.post(&finance, "/finance/transactions", &body).await.expect(201);
}

/// Kinds of a user's transactions, in the order in which they were booked.
async fn booked(app: &TestApp, user: &User) -> Vec<String> {
    let mut all = app.all("ledger_transactions", doc! { "userId": &user.user_id }).await;
    all.sort_by_key(|booked| (*booked.get_datetime("at").unwrap(), booked.get_i64("walletSeq").ok()));
    all.iter().map(|booked| booked.get_str("kind").unwrap().to_owned()).collect()
}

/// Holds of a user, oldest first, as reference and state.
async fn holds(app: &TestApp, user: &User) -> Vec<(String, String)> {
    let text = |hold: &Document, field: &str| hold.get_str(field).unwrap().to_owned();
    let mut holds = app.all("holds", doc! { "userId": &user.user_id }).await;
    holds.sort_by_key(|hold| *hold.get_datetime("createdAt").unwrap());
    holds.iter().map(|hold| (text(hold, "referenceId"), text(hold, "state"))).collect()
}

async fn retry_job(app: &TestApp, admin: &User, order_id: &str) -> Answer {
    let job = app.create_job(order_id).await;
    let path = format!("/queues/jobs/{}/retry", job.get_str("_id").unwrap());
    app.request(Method::POST, &path, Some(&admin.token), None).await
}

/// What holds after more orders were asked for than there was money for; gives the ids that were refused.
async fn as_many_as_were_paid_for(
    app: &TestApp,
    user: &User,
    price: i64,
    answers: Vec<(String, Answer)>,
) -> Vec<String> {
    let (mut taken, mut refused) = (0, Vec::new());
    for (name, answer) in answers {
        if answer.status == StatusCode::PAYMENT_REQUIRED {
            let answer = answer.expect(402);
            assert_eq!(answer.code(), "wallet.insufficient_funds");
            assert_eq!((&answer.body["needed"], &answer.body["available"]), (&rupees(price), &rupees(0)));
            refused.push(name);
        } else {
            assert!(matches!(answer.status.as_u16(), 200 | 201), "{name}: {}", answer.text);
            assert_eq!(answer.body["charge"], rupees(price));
            taken += 1;
        }
    }
    assert_eq!((taken, refused.len()), (PAID, ASKED - PAID));
    assert_eq!(app.balance(user).await, (0, price * PAID as i64));
    let of_user = doc! { "userId": &user.user_id };
    assert_eq!(app.all("orders", of_user.clone()).await.len(), PAID);
    assert_eq!(app.all("holds", of_user.clone()).await.len(), PAID);
    let created = doc! { "userId": &user.user_id, "type": "OrderCreated" };
    assert_eq!(app.all("events", created).await.len(), PAID, "nothing is left of what was refused");
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_orders_at_once_only_the_paid_hundred_are_taken() {
    let app = TestApp::start().await;
    let price = price(&app).await;
    let user = app.merchant_with(price * PAID as i64).await;
    let names = names(ASKED);
    let answers = join_all(names.iter().map(async |name| (name.clone(), app.create(&user, name).await))).await;
    assert!(answers.iter().all(|(_, answer)| answer.status != StatusCode::OK), "each is asked for once");
    let refused = as_many_as_were_paid_for(&app, &user, price, answers).await;

    // A refused id stands for nothing: with money it is an order.
    finance_books(&app, "recharge", None, &user, price * refused.len() as i64).await;
    for answer in join_all(refused.iter().map(|name| app.create(&user, name))).await {
        answer.expect(201);
    }
    for answer in join_all(names.iter().map(|name| app.create(&user, name))).await {
        answer.expect(200);
    }
    assert_eq!(app.balance(&user).await, (0, price * ASKED as i64));
    app.run_jobs_to_the_end().await;
    assert_eq!(app.balance(&user).await, (0, 0));
    app.finish().await;
}

/// Asks until there is an answer; a request may be turned away while two processes want the same wallet.
async fn decided(app: &TestApp, base: &str, user: &User, name: &str) -> (Answer, u32) {
    for tries in 1.. {
        let request = app.client.post(format!("{base}/orders/create")).bearer_auth(&user.token);
        let body = orders::order(name).to_string();
        let answer = read(request.header("content-type", "application/json").body(body).send().await.unwrap()).await;
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            return (answer, tries);
        }
        assert!(tries < 100, "{name} is not served: {}", answer.text);
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_spend_a_wallet_once() {
    let app = TestApp::start().await;
    let price = price(&app).await;
    let user = app.merchant_with(price * PAID as i64).await;
    let mut apis = [Launch::api(&app, &[]).start().await, Launch::api(&app, &[]).start().await];
    let names = names(ASKED);
    let (apis_ref, app_ref, user_ref) = (&apis, &app, &user);
    let asked = names.iter().enumerate().map(async |(n, name)| {
        let (answer, tries) = decided(app_ref, &apis_ref[n % 2].base, user_ref, name).await;
        (name.clone(), answer, tries)
    });
    let answers = join_all(asked).await;
    let turned_away = answers.iter().filter(|(_, _, tries)| *tries > 1).count();
    println!("{turned_away} of {ASKED} were turned away before");
    let answers = answers.into_iter().map(|(name, answer, _)| (name, answer)).collect();
    as_many_as_were_paid_for(&app, &user, price, answers).await;
    for api in &mut apis {
        api.terminate().await;
    }
    app.run_jobs_to_the_end().await;
    assert_eq!(app.balance(&user).await, (0, 0));
    app.finish().await;
}

#[tokio::test]
async fn one_order_asked_for_twenty_times_at_once_is_paid_for_once() {
    let app = TestApp::start().await;
    let price = price(&app).await;
    let user = app.merchant_with(price).await;
    let answers = join_all((0..20).map(|_| app.create(&user, "c-1"))).await;
    let created = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    let replayed = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!((created, replayed), (1, 19), "a replay needs no money");
    assert_eq!(app.balance(&user).await, (0, price));
    assert_eq!(app.create(&user, "c-2").await.expect(402).code(), "wallet.insufficient_funds");
    let poor = app.merchant_with(0).await;
    let answer = app.create(&poor, "c-1").await.expect(402);
    assert_eq!((&answer.body["needed"], &answer.body["available"]), (&rupees(price), &rupees(0)));
    app.finish().await;
}

#[tokio::test]
async fn a_refused_order_gives_its_money_back() {
    let app = TestApp::start().await;
    let price = price(&app).await;
    let user = app.merchant_with(price).await;
    app.misbehave_for("c-1", "create", "refuse", Some(1)).await;
    let order_id = app.created(&user, "c-1").await;
    assert_eq!(app.balance(&user).await, (0, price));
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "failed");
    assert_eq!(app.balance(&user).await, (price, 0));
    assert_eq!(holds(&app, &user).await, [(order_id, "released".into())]);
    assert_eq!(booked(&app, &user).await, ["recharge", "freight_hold", "freight_release"]);
    app.finish().await;
}

#[tokio::test]
async fn a_cancelled_order_is_refunded_once_although_it_is_cancelled_twice() {
    let app = TestApp::start().await;
    let price = price(&app).await;
    let user = app.merchant_with(price).await;
    let order_id = app.confirmed(&user, "c-1").await;
    assert_eq!(app.balance(&user).await, (0, 0));
    let asked = join_all((0..2).map(|_| app.cancel(&user, "c-1"))).await;
    let mut statuses: Vec<u16> = asked.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 202]);
    assert_eq!(app.balance(&user).await, (0, 0), "not before the carrier says so");
    app.run_jobs_to_the_end().await;
    app.cancel(&user, "c-1").await.expect(200);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "cancelled");
    assert_eq!(app.balance(&user).await, (price, 0));
    assert_eq!(holds(&app, &user).await, [(order_id, "refunded".into())]);
    let mut kinds = booked(&app, &user).await;
    kinds.sort();
    assert_eq!(kinds, ["freight_capture", "freight_hold", "freight_refund", "recharge"]);
    app.finish().await;
}

#[tokio::test]
async fn an_order_cancelled_before_it_was_sent_is_refunded_at_once() {
    let app = TestApp::start().await;
    let price = price(&app).await;
    let user = app.merchant_with(price).await;
    let order_id = app.created(&user, "c-1").await;
    app.cancel(&user, "c-1").await.expect(202);
    assert_eq!(app.balance(&user).await, (price, 0));
    app.cancel(&user, "c-1").await.expect(200);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.balance(&user).await, (price, 0));
    assert_eq!(holds(&app, &user).await, [(order_id, "released".into())]);
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_a_person_has_to_look_at_keeps_its_hold() {
    let app = TestApp::start().await;
    let price = price(&app).await;
    let (user, admin) = (app.merchant_with(price).await, app.admin().await);
    app.misbehave_for("c-1", "create", "401", Some(1)).await;
    let order_id = app.created(&user, "c-1").await;
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "needs_attention");
    assert_eq!(app.balance(&user).await, (0, price));
    app.resume(&admin, "parcelx-orders-queue").await;

    // Sent again, it needs no second hold.
    retry_job(&app, &admin, &order_id).await.expect(200);
    assert_eq!(app.balance(&user).await, (0, price));
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    assert_eq!(app.balance(&user).await, (0, 0));
    assert_eq!(holds(&app, &user).await, [(order_id, "captured".into())]);
    app.finish().await;
}

#[tokio::test]
async fn an_order_that_is_sent_again_is_held_again() {
    let app = TestApp::start().await;
    let price = price(&app).await;
    let (user, admin) = (app.merchant_with(price).await, app.admin().await);
    app.misbehave_for("c-1", "create", "refuse", Some(2)).await;
    let order_id = app.created(&user, "c-1").await;
    for _ in 0..2 {
        app.run_jobs().await;
        assert_eq!(app.order(&user, &order_id).await["status"], "failed");
        assert_eq!(app.balance(&user).await, (price, 0));
        let asked = join_all((0..3).map(|_| retry_job(&app, &admin, &order_id))).await;
        let mut statuses: Vec<u16> = asked.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409, 409]);
        assert_eq!(app.balance(&user).await, (0, price), "held once, although asked for three times");
    }
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    assert_eq!(app.balance(&user).await, (0, 0));
    let states = ["released", "released", "captured"].map(str::to_owned);
    let references = [order_id.clone(), format!("{order_id}#2"), format!("{order_id}#3")];
    assert_eq!(holds(&app, &user).await, references.into_iter().zip(states).collect::<Vec<_>>());

    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.balance(&user).await, (price, 0));
    app.finish().await;
}

#[tokio::test]
async fn an_order_is_not_sent_again_when_its_money_is_gone() {
    let app = TestApp::start().await;
    let price = price(&app).await;
    let (user, admin) = (app.merchant_with(price).await, app.admin().await);
    app.misbehave_for("c-1", "create", "refuse", Some(1)).await;
    let order_id = app.created(&user, "c-1").await;
    app.run_jobs().await;
    finance_books(&app, "adjustment", Some("debit"), &user, 1).await;
    let before = (app.order(&user, &order_id).await, app.create_job(&order_id).await, app.counts().await);
    assert_eq!(retry_job(&app, &admin, &order_id).await.expect(409).code(), "queues.retry_refused");
    let after = (app.order(&user, &order_id).await, app.create_job(&order_id).await, app.counts().await);
    assert_eq!(after, before);
    assert_eq!(app.balance(&user).await, (price - 1, 0));

    finance_books(&app, "recharge", None, &user, 1).await;
    retry_job(&app, &admin, &order_id).await.expect(200);
    app.run_jobs().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    assert_eq!(app.balance(&user).await, (0, 0));
    app.finish().await;
}
