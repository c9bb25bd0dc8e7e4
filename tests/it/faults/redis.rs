//! Redis holds what may be lost: emptied, frozen or gone, it delays and never breaks.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::load::{Load, all_confirmed_once, p99};
use crate::support::{TestApp, server, servers::RedisServer, unique, with_database};

/// With a rate limit, so that every request asks Redis.
const LIMITED: &[&str] = &["--rate-limit=on", "--rate-limit-per-second=100000", "--poll-ms=200"];

async fn app_over(redis: &RedisServer) -> TestApp {
    let app = TestApp::over(with_database(&server("MONGODB_URI"), &unique("waybill")), redis.url(), LIMITED).await;
    app.app.start_background();
    app
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_go_through_while_redis_is_emptied_frozen_killed_and_back() {
    let mut redis = RedisServer::start().await;
    let app = app_over(&redis).await;
    let user = app.merchant().await;
    let worker = app.start_worker();
    let load = Load::start(&app, &user, &app.base, 8);
    for _ in 0..5 {
        load.acknowledges(10).await;
        redis.run("FLUSHALL").await.expect("it is emptied");
    }
    redis.freeze();
    load.acknowledges(25).await;
    redis.thaw();
    load.acknowledges(10).await;
    redis.kill().await;
    load.acknowledges(40).await;
    let ready = app.request(Method::GET, "/readyz", None, None).await.expect(200);
    assert_eq!((&ready.body["status"], &ready.body["redis"]), (&json!("degraded"), &json!("down")));
    redis.restart().await;
    load.acknowledges(20).await;
    let all = load.stop().await;
    all_confirmed_once(&app, &user, &all).await;
    worker.stop().await;
    assert!(all.iter().all(|order| (order.status, order.tries) == (201, 1)), "nobody had to try again: {all:?}");
    // A frozen Redis costs half a second, and only those who meet it.
    let p99 = p99(&all);
    println!("{} orders, p99 {p99:?}", all.len());
    assert!(p99 < Duration::from_secs(2), "{p99:?}");
    app.finish().await;
}

#[tokio::test]
async fn guessing_passwords_is_limited_without_redis() {
    let mut redis = RedisServer::start().await;
    let app = app_over(&redis).await;
    let user = app.merchant().await;
    redis.kill().await;
    let login = async |password: &str| {
        let body = json!({ "email": user.email, "password": password });
        app.request(Method::POST, "/auth/login", None, Some(&body)).await
    };
    for _ in 0..20 {
        login("wrong horse battery").await.expect(401);
    }
    let refused = login("wrong horse battery").await.expect(429);
    assert!(refused.headers.contains_key("retry-after"));
    login(crate::support::PASSWORD).await.expect(429);
    app.finish().await;
}
