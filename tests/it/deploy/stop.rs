//! At SIGTERM a process says that it leaves before it does.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use reqwest::{Client, Response};
use tokio::process::Command;

use crate::support::{
    TestApp, eventually, http_client,
    orders::order,
    process::{Launch, Process},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// By a connection of its own: one that is kept alive would say nothing of the listener.
async fn ask(client: &Client, process: &Process, path: &str) -> reqwest::Result<Response> {
    client.get(format!("{}{path}", process.base)).header("connection", "close").send().await
}

/// `waybill health`, as health checks of containers run it.
async fn health(url: &str) -> (ExitStatus, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_waybill")).args(["health", "--url", url]).output().await.unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn at_sigterm_readiness_fails_before_the_listener_closes() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let client = http_client(PATIENCE);
    let mut api = Launch::api(&app, &["--drain-ms=4000"]).start().await;
    let ready = format!("{}/readyz", api.base);
    assert!(health(&ready).await.0.success());
    let began = Instant::now();
    api.signal(Signal::SIGTERM);
    eventually("it says that it leaves", PATIENCE, async || {
        ask(&client, &api, "/readyz").await.is_ok_and(|answer| answer.status() == 503)
    })
    .await;
    // Whoever has not heard yet is served.
    let create = client.post(format!("{}/orders/create", api.base)).bearer_auth(&user.token);
    let create = create.header("content-type", "application/json").body(order("c-1").to_string());
    assert_eq!(create.send().await.expect("it listens still").status(), 201);
    assert!(ask(&client, &api, "/healthz").await.is_ok_and(|answer| answer.status() == 200), "alive it is");
    let leaving = ask(&client, &api, "/readyz").await.expect("it listens still").text().await.unwrap();
    assert!(leaving.contains("\"field\":\"process\"") && leaving.contains("stopping"), "{leaving}");
    let (status, said) = health(&ready).await;
    assert!(!status.success() && said.contains("503"), "{status}: {said}");
    assert_eq!(api.end().await.code(), Some(0), "{}", api.log());
    assert!(began.elapsed() >= Duration::from_secs(4), "it left early: {:?}", began.elapsed());
    let (status, said) = health(&ready).await;
    assert!(!status.success() && said.contains("can't be asked"), "{status}: {said}");

    // Nobody has to wait: a second signal, or Ctrl-C.
    for signals in [&[Signal::SIGTERM, Signal::SIGTERM][..], &[Signal::SIGINT]] {
        let mut api = Launch::api(&app, &["--drain-ms=120000"]).start().await;
        api.signal(signals[0]);
        if let Some(again) = signals.get(1) {
            // Two at once are one.
            eventually("it has heard the first", PATIENCE, async || {
                ask(&client, &api, "/readyz").await.is_ok_and(|answer| answer.status() == 503)
            })
            .await;
            api.signal(*again);
        }
        assert_eq!(api.end().await.code(), Some(0), "{}", api.log());
    }
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn a_worker_says_how_it_is_until_its_last_job_has_ended() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let client = http_client(PATIENCE);
    let mut worker =
        Launch::worker(&app, &["--drain-ms=120000", "--poll-ms=50", "--call-deadline-ms=4000", "--lease-ms=8000"])
            .start()
            .await;
    eventually("it is ready", PATIENCE, async || health(&format!("{}/readyz", worker.base)).await.0.success()).await;
    app.carrier.misbehave("create", "hang_after_work", 1).await;
    let order_id = app.created(&user, "c-1").await;
    eventually("the order is at the carrier", PATIENCE, async || !app.carrier.shipments_of(&order_id).await.is_empty())
        .await;
    worker.signal(Signal::SIGTERM);
    eventually("it says that it leaves", PATIENCE, async || {
        ask(&client, &worker, "/readyz").await.is_ok_and(|answer| answer.status() == 503)
    })
    .await;
    assert!(ask(&client, &worker, "/metrics").await.is_ok_and(|answer| answer.status() == 200));
    assert_eq!(worker.end().await.code(), Some(0), "{}", worker.log());
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    app.finish().await;
}
