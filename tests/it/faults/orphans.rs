//! Transactions whose process was killed or frozen before the commit, at a server that ends them after 15 seconds only.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{FAST, abandoned, confirmed_once};
use crate::support::{
    TestApp, orders,
    process::{Launch, Process},
    read,
    servers::Mongod,
};

/// A second is what it takes to tell an orphan; the rest is for a slow machine.
const SOON: Duration = Duration::from_secs(5);

fn sends_create(app: &TestApp, process: &Process, token: &str, id: &str) -> reqwest::RequestBuilder {
    let request = app.client.post(format!("{}/orders/create", process.base)).bearer_auth(token);
    request.header("content-type", "application/json").body(orders::order(id).to_string())
}

#[tokio::test]
async fn a_merchant_whose_api_was_killed_creates_again_within_seconds() {
    let app = TestApp::with(FAST).await;
    let user = app.merchant().await;
    let mut doomed = Launch::api(&app, FAST).crash_at("before_commit").start().await;
    assert!(sends_create(&app, &doomed, &user.token, "c-1").send().await.is_err());
    doomed.crash().await;
    let began = Instant::now();
    app.create(&user, "c-1").await.expect(201);
    let took = began.elapsed();
    assert!(took < SOON, "the merchant waits for {took:?}");
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn a_frozen_api_runs_its_order_again_after_others_went_on_without_it() {
    let app = TestApp::with(FAST).await;
    let user = app.merchant_with(200_000).await;
    let frozen = Launch::api(&app, FAST).freeze_at("before_commit").start().await;
    let waiting = tokio::spawn(sends_create(&app, &frozen, &user.token, "c-1").send());
    frozen.frozen().await;
    let began = Instant::now();
    app.create(&user, "c-2").await.expect(201);
    let took = began.elapsed();
    assert!(took < SOON, "the others wait for {took:?}");
    let (available, held) = app.balance(&user).await;

    frozen.signal(Signal::SIGCONT);
    let late = read(waiting.await.unwrap().unwrap()).await;
    // Where the machine was so slow that its ten seconds were over, the client asks again.
    let retry = read(sends_create(&app, &frozen, &user.token, "c-1").send().await.unwrap()).await;
    assert!(matches!((late.status.as_u16(), retry.status.as_u16()), (201, 200) | (503, 201)), "{late:?}, {retry:?}");
    let price = retry.body["charge"]["amount"].as_i64().unwrap_or(held);
    assert_eq!(app.balance(&user).await, (available - price, held + price), "over the balance that the other left");
    app.run_jobs().await;
    for order in app.all("orders", bson::doc! {}).await {
        confirmed_once(&app, &user, order.get_str("_id").unwrap(), "after the thaw").await;
        assert_eq!(abandoned(&app, order.get_str("_id").unwrap()).await, 0);
    }
    app.finish().await;
}

#[tokio::test]
async fn without_the_permission_to_look_it_is_said_once_and_waited_for() {
    let mongod = Mongod::with(&["transactionLifetimeLimitSeconds=4"]).await;
    let app = TestApp::on(&mongod.uri(), FAST).await;
    let user = app.merchant().await;
    let mut doomed = Launch::api(&app, FAST).crash_at("before_commit").start().await;
    let healthy = Launch::api(&app, FAST).start().await;
    mongod.fail(0, bson::doc! { "failCommands": ["aggregate"], "errorCode": 13 }).await;
    assert!(sends_create(&app, &doomed, &user.token, "c-1").send().await.is_err());
    doomed.crash().await;
    read(sends_create(&app, &healthy, &user.token, "c-1").send().await.unwrap()).await.expect(201);
    let looks = mongod.heal().await;
    assert!(looks >= 2, "it looked {looks} times");
    assert_eq!(healthy.log().matches("may not see or end its own").count(), 1, "{}", healthy.log());
    app.run_jobs().await;
    app.finish().await;
}

/// Two processes at one merchant, with far more to do than they can: nobody has died, so nobody is ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overloaded_processes_that_are_alive_are_left_alone() {
    const CLIENTS: usize = 96;
    const FOR: Duration = Duration::from_secs(8);
    let app = TestApp::with(FAST).await;
    let user = app.merchant().await;
    let processes = [Launch::api(&app, FAST).start().await, Launch::api(&app, FAST).start().await];
    let began = Instant::now();
    let client = async |n: usize| {
        let mut taken = 0;
        while began.elapsed() < FOR {
            let request = sends_create(&app, &processes[n % 2], &user.token, &format!("c-{n}-{taken}"));
            taken += usize::from(request.send().await.is_ok_and(|answer| answer.status() == 201));
        }
        taken
    };
    let taken: usize = futures_util::future::join_all((0..CLIENTS).map(client)).await.into_iter().sum();
    assert!(taken > CLIENTS, "{taken} orders");
    let ended: usize = processes
        .iter()
        .map(|process| process.log().matches("transactions whose process died or does not go on").count())
        .sum();
    assert!(ended <= 1, "{ended} sessions of healthy processes were ended within {FOR:?}");
    app.finish_unchecked().await;
}
