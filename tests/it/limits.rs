//! Limits on requests: told, exempt where somebody watches, and shared by processes.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use waybill::platform::{
    rate_limit::{LimitedClient, RateLimiter, RequestLimits},
    redis::Redis,
};

use crate::support::{Answer, TestApp, User, eventually, process::Launch, read, server, servers::RedisServer, unique};

const SOON: Duration = Duration::from_secs(10);

fn limits(url: &str, prefix: &str, user: u32) -> RequestLimits {
    RequestLimits::new(RateLimiter::new(Redis::new(url, prefix).unwrap()), user, 0, 0)
}

fn through(limits: &RequestLimits, user: &str, tries: usize) -> usize {
    (0..tries).filter(|_| limits.count(LimitedClient::User(user), None).is_ok()).count()
}

/// How long a user has to wait; zero where it need not.
fn wait(limits: &RequestLimits, user: &str) -> Duration {
    let refused = limits.count(LimitedClient::User(user), None).err();
    refused.and_then(|error| error.retry_after).unwrap_or_default()
}

#[tokio::test]
async fn what_processes_let_through_together_too_much_has_to_pass() {
    let (url, prefix) = (server("REDIS_URL"), unique("limits"));
    let processes: Vec<_> = (0..4).map(|_| limits(&url, &prefix, 100)).collect();
    // All hear of it at the same moment: the most that may come through, 100 each, and 10 a second meanwhile.
    let at_once: usize = processes.iter().map(|process| through(process, "usr_1", 150)).sum();
    assert!((400..=440).contains(&at_once), "{at_once}");
    // Whoever lets one more through learns how many the others have: alone, it would let the next one through in 100 ms.
    for process in &processes {
        eventually("it knows of the others", SOON, async || {
            process.settle_now().await;
            wait(process, "usr_1") > Duration::from_secs(5)
        })
        .await;
    }
}

#[tokio::test]
async fn processes_that_take_turns_let_through_hardly_more_than_one() {
    let (url, prefix) = (server("REDIS_URL"), unique("limits"));
    let processes: Vec<_> = (0..4).map(|_| limits(&url, &prefix, 100)).collect();
    let mut passed = 0;
    for turn in 0..100 {
        let process = &processes[turn % 4];
        passed += through(process, "usr_1", 4);
        process.settle_now().await;
    }
    // 100, what comes back within the time of the test, and what each lets through before it hears of the others.
    assert!((100..=150).contains(&passed), "{passed}");
}

#[tokio::test]
async fn a_process_limits_alone_while_redis_is_away_or_frozen() {
    let mut redis = RedisServer::start().await;
    let process = limits(&redis.url(), "p", 5);
    redis.freeze();
    assert_eq!(through(&process, "usr_1", 8), 5);
    process.settle_now().await;
    let passed = through(&process, "usr_1", 8);
    assert!(passed < 3, "what could not be settled still counts here: {passed}");
    redis.thaw();
    redis.kill().await;
    assert_eq!(through(&process, "usr_2", 8), 5);
}

/// Asks for the user's orders.
async fn orders(app: &TestApp, base: &str, user: &User) -> Answer {
    read(app.client.get(format!("{base}/orders")).bearer_auth(&user.token).send().await.unwrap()).await
}

#[tokio::test]
async fn two_processes_limit_a_user_together_and_say_so_alike() {
    let app = TestApp::start().await;
    let (user, other) = (app.merchant().await, app.merchant().await);
    let flags = ["--rate-limit=on", "--rate-limit-user=20"];
    let launches = [Launch::api(&app, &flags), Launch::api(&app, &flags)];
    let [one, two] = [launches[0].start().await, launches[1].start().await];
    let (began, mut passed, mut last) = (std::time::Instant::now(), 0, Vec::new());
    while last.len() < 40 {
        let base = if (passed + last.len()) % 2 == 0 { &one.base } else { &two.base };
        let answer = orders(&app, base, &user).await;
        assert_eq!(answer.headers["ratelimit-policy"], "\"address\";q=30000;w=10, \"user\";q=20;w=10", "{answer:?}");
        if answer.status == 200 {
            passed += 1;
            assert!(passed < 400, "nobody is refused");
        } else {
            last.push(answer);
        }
    }
    // 20 by one, at most 20 more by the other, and two a second of each at most.
    let most = 40 + 4 * (began.elapsed().as_secs() as usize + 1);
    assert!((20..=most).contains(&passed), "{passed} of {most}");
    let refused = last.pop().expect("somebody was refused").expect(429);
    assert_eq!(refused.code(), "request.rate_limited");
    assert_eq!(refused.body["violated-policies"], json!(["user"]));
    assert!(refused.headers["content-type"].to_str().unwrap().starts_with("application/problem+json"));
    assert!(refused.headers["ratelimit"].to_str().unwrap().contains("\"user\";r=0;t="), "{refused:?}");
    let after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    for base in [&one.base, &two.base] {
        orders(&app, base, &other).await.expect(200);
        let metrics = app.client.get(format!("{base}/metrics")).send().await.unwrap();
        assert!(!metrics.headers().contains_key("ratelimit"));
        assert!(metrics.text().await.unwrap().contains("waybill_requests_limited_total{policy=\"user\"}"));
    }
    app.finish().await;
}

#[tokio::test]
async fn an_address_has_a_limit_before_anything_is_looked_at() {
    let app = TestApp::with(&["--rate-limit=on", "--rate-limit-address=2", "--trusted-proxies=127.0.0.1"]).await;
    let ask = async |path: &str, address: &str| {
        let request = app.client.get(format!("{}{path}", app.base)).header("x-forwarded-for", address);
        read(request.send().await.unwrap()).await
    };
    for host in 1..=2 {
        let answer = ask("/orders", &format!("2001:db8::{host}")).await.expect(401);
        assert_eq!(answer.headers["ratelimit-policy"], "\"address\";q=2;w=10");
    }
    let refused = ask("/orders", "2001:db8::6").await.expect(429);
    assert_eq!((refused.code(), &refused.body["violated-policies"]), ("request.rate_limited", &json!(["address"])));
    assert!(refused.headers.contains_key("retry-after"));
    ask("/nope", "2001:db8::6").await.expect(429);
    ask("/orders", "2001:db8:0:1::1").await.expect(401);
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = ask(path, "2001:db8::6").await.expect(200);
        assert!(!answer.headers.contains_key("ratelimit"), "{path}");
    }
    assert_eq!(app.request(Method::GET, "/orders", None, None).await.status, 401, "the proxy itself is another one");
    app.finish().await;
}
