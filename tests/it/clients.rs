//! The TypeScript client with the real server: Node has to be installed, as `scripts/setup --with-tests` sees to.

use std::{process::Stdio, time::Duration};

use bson::doc;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

use crate::support::{
    TestApp, eventually, orders,
    process::{Launch, free_port},
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_orders_are_made_once_while_the_api_is_killed_and_lines_drop() {
    let settings = &["--poll-ms=100", "--backoff-base-ms=100", "--settling-delay-ms=200"];
    let app = TestApp::with(settings).await;
    let user = app.merchant().await;
    app.carrier.misbehave("create", "drop_after_work", 2).await;
    let launch = Launch::api(&app, settings).on(free_port());
    let mut api = launch.start().await;
    let mut worker = Launch::worker(&app, settings).start().await;
    let count = COUNT.to_string();
    let mut child = node(&["orders", &api.base, &user.token, &count], &orders::order("")).await;
    let mut dots = child.stderr.take().unwrap();
    let mut dot = [0];
    for seen in 0..COUNT {
        timeout(PATIENCE, dots.read_exact(&mut dot)).await.expect("in time").expect("an order");
        if [6, 12].contains(&seen) {
            api.kill().await;
            api = launch.start().await;
        }
    }
    let made = output(child).await;
    assert_eq!(made.as_array().unwrap().len(), COUNT);
    eventually("every order is at the carrier", PATIENCE, async || {
        app.all("orders", doc! { "status": "confirmed" }).await.len() == COUNT
    })
    .await;
    assert_eq!(app.all("orders", doc! {}).await.len(), COUNT, "each clientOrderId is one order");
    for order in made.as_array().unwrap() {
        let theirs = app.carrier.order(order["orderId"].as_str().unwrap()).await;
        assert_eq!(theirs["shipments"].as_array().map(Vec::len), Some(1), "{order}: {theirs}");
    }
    worker.terminate().await;
    api.terminate().await;
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
