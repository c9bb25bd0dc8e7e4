//! A database that steps down, dies, freezes, and answers commits with "maybe".

use std::time::{Duration, Instant};

use bson::{Document, doc};

use super::{
    FAST, abandoned, confirmed_once,
    load::{Load, all_confirmed_once},
    settled, text,
};
use crate::support::{Answer, TestApp, User, orders, process::Launch, server, servers::Mongod, unique, with_database};

/// A killed or frozen process leaves its transaction open; the server ends it after this long (60 s unless told).
const TRANSACTION_LIFETIME: &str = "transactionLifetimeLimitSeconds=2";

async fn app_over(mongod: &Mongod, flags: &[&str]) -> TestApp {
    TestApp::on(&mongod.uri(), flags).await
}

/// The same for fail points. They say "shutting down" when nothing of the kind happens, so the driver hears of no change
/// that would end its distrust: it has to look often.
async fn watchful_app_over(mongod: &Mongod) -> TestApp {
    let uri = with_database(&mongod.uri(), &unique("waybill")) + "&heartbeatFrequencyMS=500";
    TestApp::over(uri, server("REDIS_URL"), &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_orders_survive_failover_freeze_and_kill() {
    let _ = waybill::telemetry::init("warn", false); // what the application said goes with a failure
    let mut mongod = Mongod::with(&[TRANSACTION_LIFETIME]).await;
    let app = app_over(&mongod, &["--poll-ms=100", "--backoff-base-ms=200"]).await;
    let user = app.merchant().await;
    let worker = app.start_worker();
    let load = Load::start(&app, &user, &app.base, 8);
    load.acknowledges(40).await;

    mongod.step_down().await;
    load.acknowledges(40).await;

    mongod.freeze();
    app.get(&user, "/orders").await.expect(503); // frozen for long enough to be noticed
    mongod.thaw();
    load.acknowledges(40).await;

    mongod.kill().await;
    mongod.restart();
    mongod.up().await;
    load.acknowledges(40).await;

    let all = load.stop().await;
    all_confirmed_once(&app, &user, &all).await;
    worker.stop().await;
    let (most, slowest) = (all.iter().map(|order| order.tries).max(), all.iter().map(|order| order.slowest).max());
    println!("{} orders, at most {most:?} tries, slowest {slowest:?}", all.len());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_database_means_503_in_time_and_work_resumes() {
    let mongod = Mongod::with(&[TRANSACTION_LIFETIME]).await;
    let app = app_over(&mongod, &["--poll-ms=100"]).await;
    let user = app.merchant().await;
    app.created(&user, "c-1").await;
    mongod.freeze();
    let worker = app.start_worker();
    let began = Instant::now();
    let (created, read) = tokio::join!(app.create(&user, "c-2"), app.get(&user, "/orders"));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    let created = created.expect(503);
    assert_eq!(created.code(), "database.unavailable");
    assert!(created.headers.contains_key("retry-after"));
    read.expect(503);
    mongod.thaw();
    let retry = app.create(&user, "c-2").await;
    assert!(matches!(retry.status.as_u16(), 200 | 201), "{}", retry.text);
    settled(&app).await;
    worker.stop().await;
    for order in app.all("orders", doc! {}).await {
        confirmed_once(&app, &user, text(&order, "_id"), "after the thaw").await;
    }
    app.finish().await;
}

/// A merchant creates an order while commands fail as `data` says; it must look to the client as if nothing had been.
async fn created_despite(mongod: &Mongod, app: &TestApp, times: i32, data: Document) {
    let what = format!("{times} times {data}");
    let user = app.merchant().await;
    // What comes before the transaction is not what fails here.
    app.quote(&user).await;
    mongod.fail(times, data).await;
    let created = app.create(&user, "c-1").await;
    let failed = mongod.heal().await;
    assert_eq!(created.status, 201, "{what}: {}", created.text);
    assert!(failed >= i64::from(times), "{what}: the fail point was met {failed} times");
    let open = doc! { "state": { "$ne": "done" } };
    let made = doc! { "type": "OrderCreated", "userId": &user.user_id };
    for (collection, filter) in [("orders", doc! { "userId": &user.user_id }), ("jobs", open), ("events", made)] {
        assert_eq!(app.all(collection, filter).await.len(), 1, "{what}: {collection}");
    }
    app.create(&user, "c-1").await.expect(200);
    app.run_jobs().await;
    assert_eq!(app.order(&user, created.body["orderId"].as_str().unwrap()).await["status"], "confirmed", "{what}");
}

#[tokio::test]
async fn an_order_is_created_once_although_the_result_of_its_commit_is_unknown() {
    let mongod = Mongod::start().await;
    let app = watchful_app_over(&mongod).await;
    let commit = ["commitTransaction"];
    for times in [1, 3] {
        created_despite(&mongod, &app, times, doc! { "failCommands": commit, "closeConnection": true }).await;
        let stepping_down = doc! {
            "failCommands": commit, "errorCode": 91, "errorLabels": ["UnknownTransactionCommitResult", "RetryableWriteError"],
        };
        created_despite(&mongod, &app, times, stepping_down).await;
        // Committed, and the answer says that it may be lost again.
        for code in [91, 64] {
            let concern = doc! { "code": code, "errmsg": "waiting for replication timed out" };
            created_despite(&mongod, &app, times, doc! { "failCommands": commit, "writeConcernError": concern }).await;
        }
    }
    // Committed, and the answer says nothing of it: only the batch's marker tells, and whose replies are true.
    let concern = doc! { "code": 100, "errmsg": "not enough members" };
    created_despite(&mongod, &app, 1, doc! { "failCommands": commit, "writeConcernError": concern }).await;
    app.finish().await;
}

#[tokio::test]
async fn an_order_is_created_once_although_its_transaction_has_to_be_run_again() {
    let mongod = Mongod::start().await;
    let app = watchful_app_over(&mongod).await;
    for command in ["find", "insert", "commitTransaction"] {
        for code in [112, 251] {
            let data = doc! {
                "failCommands": [command], "errorCode": code, "errorLabels": ["TransientTransactionError"],
            };
            created_despite(&mongod, &app, 3, data).await;
        }
    }
    created_despite(&mongod, &app, 3, doc! { "failCommands": ["insert"], "closeConnection": true }).await;
    // What a server that ended the transaction by itself says, without a label: it took too long, an operator or a change
    // of the primary interrupted it.
    for (command, code) in [("insert", 290), ("insert", 11601), ("insert", 251), ("commitTransaction", 251)] {
        let data = doc! { "failCommands": [command], "errorCode": code, "errorLabels": Vec::<String>::new() };
        created_despite(&mongod, &app, 2, data).await;
    }
    app.finish().await;
}

#[tokio::test]
async fn a_worker_is_not_led_astray_by_transactions_that_fail() {
    let mongod = Mongod::start().await;
    let app = watchful_app_over(&mongod).await;
    let commit = ["commitTransaction"];
    for data in [
        doc! { "failCommands": ["insert"], "closeConnection": true },
        doc! { "failCommands": commit, "closeConnection": true },
        doc! { "failCommands": commit, "writeConcernError": { "code": 91, "errmsg": "maybe" } },
        doc! { "failCommands": commit, "errorCode": 251, "errorLabels": ["TransientTransactionError"] },
        doc! { "failCommands": ["update"], "errorCode": 112, "errorLabels": ["TransientTransactionError"] },
    ] {
        let what = data.to_string();
        let user = app.merchant().await;
        let order_id = app.created(&user, "c-1").await;
        let mut data = data;
        if what.contains("update") {
            // Not the claim, which is no transaction.
            data.insert("namespace", format!("{}.orders", app.db().name()));
        }
        mongod.fail(3, data).await;
        app.run_jobs_to_the_end().await;
        assert!(mongod.heal().await >= 3, "{what}: the fail point was met");
        confirmed_once(&app, &user, &order_id, &what).await;
        assert_eq!(abandoned(&app, &order_id).await, 0, "{what}");
        let confirmed = doc! { "type": "OrderConfirmed", "subjectId": &order_id };
        assert_eq!(app.all("events", confirmed).await.len(), 1, "{what}");
    }
    app.finish().await;
}

#[tokio::test]
async fn what_can_not_be_written_fails_and_holds_up_nobody() {
    let mongod = Mongod::start().await;
    let app = app_over(&mongod, &[]).await;
    let user = app.merchant().await;
    let namespace = format!("{}.orders", app.db().name());
    mongod.fail(0, doc! { "failCommands": ["insert"], "errorCode": 2, "namespace": namespace }).await;
    let answers: Vec<Answer> = futures_util::future::join_all((0..5).map(|n| create(&app, &user, n))).await;
    for answer in answers {
        let answer = answer.expect(500);
        assert_eq!(answer.code(), "internal");
        assert!(!answer.text.contains("orders:"), "the client learns nothing of our database: {}", answer.text);
    }
    mongod.heal().await;
    for collection in ["orders", "jobs", "events"] {
        assert_eq!(app.all_but_grants(collection).await.len(), 0, "nothing is left of it: {collection}");
    }
    create(&app, &user, 0).await.expect(201);
    app.run_jobs().await;
    app.finish().await;
}

async fn create(app: &TestApp, user: &User, n: usize) -> Answer {
    app.create(user, &format!("c-{n}")).await
}

#[tokio::test]
async fn slow_commands_are_logged_by_the_names_of_fields_and_no_value() {
    let mongod = Mongod::start().await;
    let app = TestApp::on(&mongod.uri(), FAST).await;
    let user = app.merchant().await;
    let api = Launch::api(&app, FAST).env("SLOW_QUERY_MS", "200").start().await;
    assert!(!api.log().contains("slow command"), "{}", api.log());
    let slowly = |command: &str| doc! { "failCommands": [command], "blockConnection": true, "blockTimeMS": 300 };
    // By the driver's events.
    mongod.fail(0, slowly("find")).await;
    let asked = app.client.get(format!("{}/orders", api.base)).bearer_auth(&user.token).send().await.unwrap();
    assert_eq!(asked.status(), 200);
    // In a lane.
    mongod.fail(0, slowly("insert")).await;
    let create = app.client.post(format!("{}/orders/create", api.base)).bearer_auth(&user.token);
    let create = create.header("content-type", "application/json").body(orders::order("c-1").to_string());
    assert_eq!(create.send().await.unwrap().status(), 201);
    mongod.heal().await;
    let log = api.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("slow command")).collect();
    let find = lines.iter().find(|line| line.contains("find") && line.contains("orders")).expect("of the list");
    assert!(find.contains("userId") && find.contains("sort {_id}"), "{find}");
    assert!(lines.iter().any(|line| line.contains("insert") && line.contains("orders")), "{log}");
    assert!(lines.iter().all(|line| !line.contains(&user.user_id) && !line.contains("c-1")), "{log}");
    app.run_jobs().await;
    app.finish().await;
}
