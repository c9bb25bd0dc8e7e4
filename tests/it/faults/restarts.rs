//! Deploying under load: everything is restarted, one after the other, and nobody notices.

use std::time::Duration;

use bson::doc;
use serde_json::json;

use super::{
    FAST, int,
    load::{Load, all_confirmed_once},
    text,
};
use crate::support::{
    TestApp,
    process::{Launch, free_port},
    servers::Mongod,
};

const SETTINGS: &[&str] = &["--poll-ms=100", "--shutdown-ms=8000"];
const ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restarts_under_load_lose_and_repeat_nothing() {
    let app = TestApp::with(SETTINGS).await;
    let user = app.merchant().await;
    // Calls take a while, so that a restart always meets some.
    app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 150 })).await;
    let launch_api = Launch::api(&app, SETTINGS).on(free_port());
    let launch_worker = Launch::worker(&app, SETTINGS);
    let mut api = launch_api.start().await;
    let mut workers = [launch_worker.start().await, launch_worker.start().await];
    let load = Load::start(&app, &user, &api.base, 6);
    for _ in 0..ROUNDS {
        load.acknowledges(15).await;
        for worker in &mut workers {
            let took = worker.terminate().await;
            assert!(took < Duration::from_secs(5), "a worker ends when its calls do: {took:?}");
            *worker = launch_worker.start().await;
            load.acknowledges(5).await;
        }
        let took = api.terminate().await;
        assert!(took < Duration::from_secs(5), "the api ends when its requests do: {took:?}");
        api = launch_api.start().await;
    }
    load.acknowledges(30).await;
    let all = load.stop().await;
    all_confirmed_once(&app, &user, &all).await;
    for worker in &mut workers {
        worker.terminate().await;
    }
    api.terminate().await;

    println!("{} orders over {} restarts", all.len(), 3 * ROUNDS);
    for job in app.all("jobs", doc! {}).await {
        assert_eq!((text(&job, "state"), int(&job, "attempts")), ("done", 1), "one attempt each: {job}");
        assert_eq!(job.get_array("history").unwrap().len(), 1, "{job}");
    }
    let odd = doc! { "$or": [{ "late": true }, { "errorClass": { "$ne": null } }] };
    assert_eq!(app.all("provider_response_logs", odd).await, Vec::<bson::Document>::new());
    assert_eq!(app.carrier.books().await["calls"], all.len(), "one call each, no look-ups");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_and_the_api_killed_under_load_lose_and_repeat_nothing() {
    let mongod = Mongod::with(&["transactionLifetimeLimitSeconds=1"]).await;
    let app = TestApp::on(&mongod.uri(), FAST).await;
    let user = app.merchant().await;
    app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 100 })).await;
    let launch_api = Launch::api(&app, FAST).on(free_port());
    let launch_worker = Launch::worker(&app, FAST);
    let mut api = launch_api.start().await;
    let mut workers = [launch_worker.start().await, launch_worker.start().await];
    let load = Load::start(&app, &user, &api.base, 6);
    for _ in 0..ROUNDS {
        for worker in &mut workers {
            load.acknowledges(10).await;
            worker.kill().await;
            *worker = launch_worker.start().await;
        }
        load.acknowledges(10).await;
        api.kill().await;
        api = launch_api.start().await;
    }
    load.acknowledges(10).await;
    let all = load.stop().await;
    all_confirmed_once(&app, &user, &all).await;
    for worker in &mut workers {
        worker.terminate().await;
    }
    api.terminate().await;
    let unheard = all.iter().filter(|order| order.status == 200).count();
    let abandoned = app.all("provider_response_logs", doc! { "errorCode": "exchange.no_answer" }).await.len();
    println!("{} orders over {} deaths: {unheard} creates and {abandoned} calls unheard", all.len(), 3 * ROUNDS);
    app.finish().await;
}
