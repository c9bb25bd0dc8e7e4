//! Money while processes are killed and databases answer "maybe": what was paid in is what is there, no order without its
//! hold, no hold without its order. Every test ends with all checks of the books there are.

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::StatusCode;

use super::{FAST, settled, text};
use crate::support::{
    TestApp, User, differences, eventually, orders,
    process::{Launch, free_port},
    read, server,
    servers::Mongod,
    unique, with_database,
};

/// A killed process leaves its transaction open; the server ends it after this long (60 s unless told).
const TRANSACTION_LIFETIME: &str = "transactionLifetimeLimitSeconds=1";

/// Orders that are asked for, and those that there is money for.
const ASKED: usize = 60;
const PAID: usize = 40;

/// A client that is not served for so long reports it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn app_over(mongod: &Mongod) -> TestApp {
    // Fail points say "shutting down" when nothing of the kind happens: the driver has to look often.
    let uri = with_database(&mongod.uri(), &unique("waybill")) + "&heartbeatFrequencyMS=500";
    TestApp::over(uri, server("REDIS_URL"), FAST).await
}

/// What an order costs, and a merchant with money for so many.
async fn merchant_for(app: &TestApp, count: usize) -> (i64, User) {
    let probe = app.merchant().await;
    let price = app.create(&probe, "probe").await.expect(201).body["charge"]["amount"].as_i64().unwrap();
    (price, app.merchant_with(price * count as i64).await)
}

/// One try; none where the connection broke.
async fn ask(app: &TestApp, base: &str, user: &User, name: &str) -> Option<StatusCode> {
    let request = app.client.post(format!("{base}/orders/create")).bearer_auth(&user.token);
    let body = orders::order(name).to_string();
    let response = request.header("content-type", "application/json").body(body).send().await.ok()?;
    Some(read(response).await.status)
}

/// Asks with the same id until it is decided; true where there is an order.
async fn decided(app: &TestApp, base: &str, user: &User, name: &str) -> bool {
    let there = Cell::new(false);
    eventually(&format!("{name} is served"), PATIENCE, async || match ask(app, base, user, name).await {
        Some(StatusCode::OK | StatusCode::CREATED) => {
            there.set(true);
            true
        }
        Some(StatusCode::PAYMENT_REQUIRED) => true,
        Some(StatusCode::SERVICE_UNAVAILABLE) | None => false,
        Some(other) => panic!("{name}: {other}"),
    })
    .await;
    there.get()
}

fn names() -> Vec<String> {
    (0..ASKED).map(|n| format!("c-{n}")).collect()
}

/// Every order has its hold, and all that was paid in is available, held, or owed to the carrier.
async fn conserved(app: &TestApp, user: &User, paid_in: i64, context: &str) {
    assert_eq!(differences(app.db()).await, [], "{context}");
    let of_user = doc! { "userId": &user.user_id };
    let (orders, holds) = (app.all("orders", of_user.clone()).await, app.all("holds", of_user.clone()).await);
    assert_eq!(orders.len(), holds.len(), "{context}: an order each");
    for hold in &holds {
        let id = text(hold, "referenceId");
        assert!(orders.iter().any(|order| text(order, "_id") == id), "{context}: {id} has a hold and no order");
    }
    let (available, held) = app.balance(user).await;
    let mut owed = 0;
    for booked in app.all("ledger_transactions", of_user).await {
        let lines = booked.get_array("lines").unwrap().iter().map(|line| line.as_document().unwrap());
        let payable = lines.filter(|line| text(line, "account").starts_with("payable."));
        owed += payable.map(|line| line.get_i64("amount").unwrap()).sum::<i64>();
    }
    assert_eq!(available + held + owed, paid_in, "{context}: {available} available, {held} held, {owed} owed");
}

/// As many orders as there was money for, all of them carried.
async fn spent_once(app: &TestApp, user: &User, price: i64, taken: &[bool], context: &str) {
    let taken = taken.iter().filter(|taken| **taken).count();
    assert_eq!(taken, PAID, "{context}");
    conserved(app, user, price * PAID as i64, context).await;
    assert_eq!(app.balance(user).await, (0, price * PAID as i64), "{context}");
    app.run_jobs_to_the_end().await;
    conserved(app, user, price * PAID as i64, context).await;
    assert_eq!(app.balance(user).await, (0, 0), "{context}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_spent_once_although_the_api_is_killed_around_its_commits() {
    let mongod = Mongod::with(&[TRANSACTION_LIFETIME]).await;
    join_all(["before_commit", "after_commit"].map(|point| spent_once_despite(point, &mongod))).await;
}

async fn spent_once_despite(point: &str, mongod: &Mongod) {
    let app = app_over(mongod).await;
    let (price, user) = merchant_for(&app, PAID).await;
    let names = names();
    let mut doomed = Launch::api(&app, FAST).crash_at(point).start().await;
    let unheard = join_all(names.iter().map(|name| ask(&app, &doomed.base, &user, name))).await;
    assert!(unheard.iter().all(Option::is_none), "{point}: nobody has an answer: {unheard:?}");
    doomed.crash().await;
    conserved(&app, &user, price * PAID as i64, point).await;

    let mut fresh = Launch::api(&app, FAST).start().await;
    let taken = join_all(names.iter().map(|name| decided(&app, &fresh.base, &user, name))).await;
    fresh.terminate().await;
    spent_once(&app, &user, price, &taken, point).await;
    app.finish().await;
}

/// Asks for all orders, some at a time, again and again until everything is decided; `disturb` runs meanwhile.
async fn under_load(
    app: &TestApp,
    base: &str,
    user: &User,
    names: &[String],
    disturb: impl Future<Output = ()>,
) -> Vec<bool> {
    const CLIENTS: usize = 12;
    let over = AtomicBool::new(false);
    let clients = (0..CLIENTS).map(async |client| {
        let mine: Vec<&String> = names.iter().skip(client).step_by(CLIENTS).collect();
        let mut taken = Vec::new();
        for name in &mine {
            taken.push(decided(app, base, user, name).await);
        }
        // Replays find what was decided, whatever happens to the process.
        while !over.load(Ordering::Relaxed) {
            for (name, taken) in mine.iter().zip(&taken) {
                assert_eq!(decided(app, base, user, name).await, *taken, "{name} was decided before");
            }
        }
        mine.into_iter().cloned().zip(taken).collect::<Vec<_>>()
    });
    let disturbed = async {
        disturb.await;
        over.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = tokio::join!(join_all(clients), disturbed);
    answers.into_iter().flatten().map(|(_, taken)| taken).collect()
}

/// Waits until the user has so many orders.
async fn orders_of(app: &TestApp, user: &User, count: usize) {
    let orders = app.db().collection::<Document>("orders");
    crate::support::eventually("orders are taken", PATIENCE, async || {
        let of_user = doc! { "userId": &user.user_id };
        orders.count_documents(of_user).await.is_ok_and(|have| have >= count as u64)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_spent_once_when_the_api_is_killed_within_batches() {
    let mongod = Mongod::with(&[TRANSACTION_LIFETIME]).await;
    let app = app_over(&mongod).await;
    let (price, user) = merchant_for(&app, PAID).await;
    let launch = Launch::api(&app, FAST).on(free_port());
    let mut api = launch.start().await;
    let base = api.base.clone();
    let names = names();
    let taken = under_load(&app, &base, &user, &names, async {
        for count in [1, PAID / 4, PAID / 2, PAID] {
            orders_of(&app, &user, count).await;
            api.kill().await;
            api = launch.start().await;
        }
    })
    .await;
    api.terminate().await;
    spent_once(&app, &user, price, &taken, "killed").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_spent_once_although_the_database_steps_down() {
    let mongod = Mongod::with(&[TRANSACTION_LIFETIME]).await;
    let app = app_over(&mongod).await;
    let (price, user) = merchant_for(&app, PAID).await;
    let names = names();
    let taken = under_load(&app, &app.base, &user, &names, async {
        orders_of(&app, &user, PAID / 4).await;
        mongod.step_down().await;
        mongod.up().await;
        orders_of(&app, &user, PAID).await;
    })
    .await;
    spent_once(&app, &user, price, &taken, "stepped down").await;
    app.finish().await;
}

#[tokio::test]
async fn money_is_spent_once_although_the_result_of_commits_is_unknown() {
    let mongod = Mongod::start().await;
    let commit = ["commitTransaction"];
    let lost = doc! { "failCommands": commit, "closeConnection": true };
    let stepping_down = doc! {
        "failCommands": commit, "errorCode": 91, "errorLabels": ["UnknownTransactionCommitResult", "RetryableWriteError"],
    };
    // Committed, and the answer says that it may be lost again.
    let maybe = doc! { "failCommands": commit, "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
    // The server has forgotten the transaction, committed or not.
    let forgotten = doc! { "failCommands": commit, "errorCode": 251, "errorLabels": ["TransientTransactionError"] };
    let app = app_over(&mongod).await;
    for data in [lost, stepping_down, maybe, forgotten] {
        let what = data.to_string();
        let (price, user) = merchant_for(&app, PAID).await;
        let names = names();
        mongod.fail(5, data).await;
        let taken = join_all(names.iter().map(|name| decided(&app, &app.base, &user, name))).await;
        assert!(mongod.heal().await >= 5, "{what}: the fail point was met");
        spent_once(&app, &user, price, &taken, &what).await;
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_goes_back_once_although_the_worker_is_killed() {
    let mongod = Mongod::with(&[TRANSACTION_LIFETIME]).await;
    let points = ["before_commit", "after_commit", "before_completion", "after_completion"];
    join_all(points.map(|point| given_back_despite(point, &mongod))).await;
}

/// One order is refused, one is taken and cancelled; the worker dies on its way, twice.
async fn given_back_despite(point: &str, mongod: &Mongod) {
    let app = app_over(mongod).await;
    let (price, user) = merchant_for(&app, 2).await;
    app.misbehave_for("refused", "create", "refuse", None).await;
    let refused = app.created(&user, "refused").await;
    let cancelled = app.created(&user, "cancelled").await;
    Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;
    conserved(&app, &user, price * 2, point).await;
    let mut healthy = Launch::worker(&app, FAST).start().await;
    settled(&app).await;
    healthy.terminate().await;
    assert_eq!(app.order(&user, &refused).await["status"], "failed", "{point}");
    assert_eq!(app.order(&user, &cancelled).await["status"], "confirmed", "{point}");
    assert_eq!(app.balance(&user).await, (price, 0), "{point}");

    app.cancel(&user, "cancelled").await.expect(202);
    Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;
    let mut healthy = Launch::worker(&app, FAST).start().await;
    settled(&app).await;
    healthy.terminate().await;
    assert_eq!(app.order(&user, &cancelled).await["status"], "cancelled", "{point}");
    assert_eq!(app.balance(&user).await, (price * 2, 0), "{point}");
    conserved(&app, &user, price * 2, point).await;
    app.finish().await;
}
