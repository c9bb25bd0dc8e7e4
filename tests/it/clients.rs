//! The clients with the real server: the TypeScript one, for which Node has to be installed, as `scripts/setup --with-tests` sees
//! to, and the Rust one, which `waybill api` uses too.

use std::{process::Stdio, time::Duration};

use bson::doc;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

use waybill_client::{Failure, HeaderMap, Waybill, verify_webhook};

use crate::support::{
    TestApp, User, eventually, orders,
    process::{Launch, Process, free_port},
};

const PATIENCE: Duration = Duration::from_secs(90);
const COUNT: usize = 24;

async fn node(args: &[&str], input: &Value) -> Child {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/typescript/test/real.js");
    let mut child = Command::new("node")
        .arg(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed: run scripts/setup --with-tests");
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).await.unwrap();
    child
}

async fn output(child: Child) -> Value {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// API and worker as processes, over a carrier that drops lines.
struct Running {
    app: TestApp,
    user: User,
    launch: Launch,
    api: Process,
    worker: Process,
}

impl Running {
    async fn start() -> Self {
        let settings = &["--poll-ms=100", "--backoff-base-ms=100", "--settling-delay-ms=200"];
        let app = TestApp::with(settings).await;
        let user = app.merchant().await;
        app.carrier.misbehave("create", "drop_after_work", 2).await;
        let launch = Launch::api(&app, settings).on(free_port());
        let api = launch.start().await;
        let worker = Launch::worker(&app, settings).start().await;
        Self { app, user, launch, api, worker }
    }

    async fn kill_the_api(&mut self) {
        self.api.kill().await;
        self.api = self.launch.start().await;
    }

    /// Every one of these is one order, here and at the carrier.
    async fn finish(mut self, order_ids: &[&str]) {
        assert_eq!(order_ids.len(), COUNT);
        let app = &self.app;
        eventually("every order is at the carrier", PATIENCE, async || {
            app.all("orders", doc! { "status": "confirmed" }).await.len() == COUNT
        })
        .await;
        assert_eq!(app.all("orders", doc! {}).await.len(), COUNT, "each clientOrderId is one order");
        for order_id in order_ids {
            let theirs = app.carrier.order(order_id).await;
            assert_eq!(theirs["shipments"].as_array().map(Vec::len), Some(1), "{order_id}: {theirs}");
        }
        self.worker.terminate().await;
        self.api.terminate().await;
        self.app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_orders_are_made_once_while_the_api_is_killed_and_lines_drop() {
    let mut running = Running::start().await;
    let count = COUNT.to_string();
    let mut child = node(&["orders", &running.api.base, &running.user.token, &count], &orders::order("")).await;
    let mut dots = child.stderr.take().unwrap();
    let mut dot = [0];
    for seen in 0..COUNT {
        timeout(PATIENCE, dots.read_exact(&mut dot)).await.expect("in time").expect("an order");
        if [6, 12].contains(&seen) {
            running.kill_the_api().await;
        }
    }
    let made = output(child).await;
    let ids: Vec<&str> = made.as_array().unwrap().iter().map(|order| order["orderId"].as_str().unwrap()).collect();
    running.finish(&ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_makes_each_order_once_too() {
    let mut running = Running::start().await;
    let client = Waybill::new(&running.api.base).unwrap().with_token(running.user.token.clone());
    let client = client.with_deadline(Duration::from_secs(5)).with_attempts(60, Duration::from_millis(50));
    let (made, mut seen) = tokio::sync::mpsc::channel(COUNT);
    let work = |first: usize| {
        let (client, made) = (client.clone(), made.clone());
        tokio::spawn(async move {
            for number in (first..COUNT).step_by(4) {
                let order = client.create_order(&orders::order(&format!("rs-{number}"))).await.expect("an order");
                made.send(order.order_id).await.unwrap();
            }
        })
    };
    let working: Vec<_> = (0..4).map(work).collect();
    let mut ids = Vec::new();
    while ids.len() < COUNT {
        ids.push(timeout(PATIENCE, seen.recv()).await.expect("in time").expect("an order"));
        if [6, 12].contains(&ids.len()) {
            running.kill_the_api().await;
        }
    }
    for one in working {
        one.await.unwrap();
    }
    let placed = client.wait_until_placed(&ids[0], PATIENCE).await.unwrap();
    assert!(placed.status == "confirmed" && placed.reference.is_some(), "{placed:?}");
    assert_eq!(
        client.find_order(&placed.client_order_id).await.unwrap().map(|order| order.order_id),
        Some(ids[0].clone())
    );
    let refused = client.create_order(&orders::sale(&placed.client_order_id)).await.unwrap_err();
    let Failure::Problem(problem) = refused else { panic!("{refused}") };
    assert_eq!((problem.status, &*problem.code), (422, "orders.idempotency_mismatch"));
    assert!(problem.request_id.is_some());
    running.finish(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn the_rust_client_cancels_and_reads_webhooks_as_they_come() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let client = Waybill::new(&app.base).unwrap().with_token(user.token.clone());
    let order = client.create_order(&orders::order("c-1")).await.unwrap();
    assert_eq!(order.status, "created");
    let waited = client.wait_until_placed(&order.order_id, Duration::ZERO).await.unwrap();
    assert_eq!(waited.status, "created", "it is told how it is when the time is over");
    app.run_jobs().await;
    let cancelled = client.cancel_order("c-1", Some("changed my mind")).await.unwrap();
    assert_eq!(cancelled.more["cancellation"]["reason"], "changed my mind");
    app.run_jobs().await;
    assert_eq!(client.get_order(&order.order_id).await.unwrap().status, "cancelled");
    let absent = client.cancel_order("c-2", None).await.unwrap_err();
    assert!(matches!(&absent, Failure::Problem(problem) if problem.status == 404) && !absent.may_pass(), "{absent}");

    let secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let body =
        json!({ "type": "order.confirmed", "timestamp": "2026-01-01T00:00:00Z", "data": { "orderId": "ord_ü" } });
    let body = body.to_string();
    let now = bson::DateTime::now().timestamp_millis() / 1000;
    let headers = |at: i64| -> HeaderMap {
        let signature = Webhook::new(secret).unwrap().sign("evt_1", at, body.as_bytes()).unwrap();
        let headers =
            [("webhook-id", "evt_1".into()), ("webhook-timestamp", at.to_string()), ("webhook-signature", signature)];
        headers.into_iter().map(|(name, value): (_, String)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    };
    let event = verify_webhook(secret, &headers(now), body.as_bytes()).unwrap();
    assert_eq!((&*event.id, &*event.kind, &event.data["orderId"]), ("evt_1", "order.confirmed", &json!("ord_ü")));
    let forged = body.replace("confirmed", "cancelled");
    for (headers, body) in [(headers(now), &forged), (headers(now - 3_600), &body), (HeaderMap::new(), &body)] {
        assert!(verify_webhook(secret, &headers, body.as_bytes()).is_err());
    }
    app.finish().await;
}

#[tokio::test]
async fn it_takes_a_webhook_that_the_standard_signs_and_no_other() {
    let secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let body =
        json!({ "type": "order.confirmed", "timestamp": "2026-01-01T00:00:00Z", "data": { "orderId": "ord_ü" } })
            .to_string();
    let now = bson::DateTime::now().timestamp_millis() / 1000;
    let signature = Webhook::new(secret).unwrap().sign("evt_1", now, body.as_bytes()).unwrap();
    let headers =
        json!({ "webhook-id": "evt_1", "webhook-timestamp": now.to_string(), "webhook-signature": signature });
    let event = output(node(&["webhook", secret], &json!({ "headers": headers, "body": body })).await).await;
    assert_eq!(event["data"]["orderId"], "ord_ü");

    let forged = json!({ "headers": headers, "body": body.replace("confirmed", "cancelled") });
    let child = node(&["webhook", secret], &forged).await;
    let refused = timeout(PATIENCE, child.wait_with_output()).await.expect("in time").unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty());
}

/// Its own tests, against servers that behave badly.
#[tokio::test]
async fn its_own_tests_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/typescript");
    let mut child = Command::new("node")
        .args(["--test", "--test-reporter=spec", "test/waybill.test.js"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed: run scripts/setup --with-tests");
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut report = Vec::new();
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await.expect("in time").unwrap() {
        report.push(line);
    }
    assert!(child.wait().await.unwrap().success(), "{}", report.join("\n"));
    assert!(report.iter().any(|line| line.contains("pass 9")), "{}", report.join("\n"));
}
