//! Redis holds what may be lost: emptied, frozen or gone, it delays and never breaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use waybill::platform::redis::Redis;

use super::load::{Load, all_confirmed_once, p99};
use crate::support::{TestApp, eventually, server, servers::RedisServer, unique, with_database};

const LIMITED: &[&str] =
    &["--rate-limit=on", "--rate-limit-user=1000000", "--rate-limit-address=1000000", "--poll-ms=200"];

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
    eventually("it is used again", Duration::from_secs(10), async || {
        app.request(Method::GET, "/readyz", None, None).await.body["redis"] == "up"
    })
    .await;
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

#[tokio::test]
async fn one_request_at_a_time_probes_a_hanging_redis() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (connections, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, answering) = (Arc::clone(&connections), Arc::clone(&answers));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let answering = Arc::clone(&answering);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while client.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    if answering.load(Ordering::SeqCst) {
                        // To every command that came, as far as it matters here.
                        let commands = buffer.iter().filter(|byte| **byte == b'*').count();
                        client.write_all(&b"+OK\r\n".repeat(commands)).await.unwrap();
                        buffer.fill(0);
                    }
                }
            });
        }
    });
    let redis = Redis::new(&url, "test").unwrap();
    assert!(redis.ping().await.is_err());
    let (began, met) = (Instant::now(), connections.load(Ordering::SeqCst));
    let crowd = (0..20).map(|_| async {
        let mut asked = 0;
        while began.elapsed() < Duration::from_secs(3) {
            assert!(redis.ping().await.is_err());
            asked += 1;
            tokio::time::sleep(Duration::from_millis(10)).await; // as requests come in
        }
        asked
    });
    let asked: usize = join_all(crowd).await.into_iter().sum();
    let probes = connections.load(Ordering::SeqCst) - met;
    // A probe that fails makes the connection for the next one, too.
    assert!((1..=8).contains(&probes) && asked > 1_000, "{probes} connections for {asked} questions");
    answers.store(true, Ordering::SeqCst);
    eventually("it is used again", Duration::from_secs(10), async || redis.ping().await.is_ok()).await;
}
