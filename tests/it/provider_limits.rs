//! What an account allows, at the provider's door.

use std::time::Duration;

use bson::doc;
use serde_json::{Value, json};
use waybill::modules::providers::dispatch::AccountFacts;

use crate::support::{TestApp, eventually, orders, stand::Stand};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_keep_the_limits_of_an_account_together() {
    const SALES: usize = 16;
    let app = TestApp::start().await;
    let erp = Stand::beside(&app.carrier, "xapi");
    erp.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 1_000 })).await;
    let user = app.merchant_with(0).await;
    for n in 0..SALES {
        app.post(&user, "/orders/create", &orders::sale(&format!("s-{n}"))).await.expect(201);
    }
    // They share the database, and nothing else.
    let beside = app.beside(&[]).await;
    let workers = [app.start_worker(), beside.start_worker()];
    eventually("all are placed", SOON, async || app.all("orders", doc! { "status": "confirmed" }).await.len() == SALES)
        .await;
    for worker in workers {
        worker.stop().await;
    }
    let seen = erp.traffic().await["accounts"]["shop"].clone();
    assert_eq!((&seen["calls"], &seen["atOnce"]), (&json!(SALES), &json!(5)), "{seen}");
    assert!(seen["inASecond"].as_u64().unwrap() <= 10, "{seen}");
    app.finish().await;
}

#[tokio::test]
async fn orders_of_a_merchants_own_account_wait_for_it_and_cost_nothing() {
    let app = TestApp::start().await;
    let (own, other) = (app.merchant().await, app.merchant().await);
    let account = AccountFacts { owner_user_id: Some(own.user_id.clone()), ..AccountFacts::new("acc_own", "parcelx") };
    app.app.dispatch.set_accounts(vec![account.clone(), AccountFacts::new("parcelx/default", "parcelx")]);
    let (before, _) = app.balance(&own).await;
    let order = app.create(&own, "c-1").await.expect(201).body;
    assert_eq!((&order["charge"], app.balance(&own).await), (&Value::Null, (before, 0)), "{order}");
    let route = async |order_id: &str| app.create_job(order_id).await.get_str("route").unwrap().to_owned();
    let order_id = order["orderId"].as_str().unwrap().to_owned();
    assert_eq!(route(&order_id).await, format!("parcelx/{}", own.user_id));
    let theirs = app.created(&other, "c-1").await;
    assert_eq!(route(&theirs).await, "parcelx");

    // With the account deactivated it waits; others' orders go on.
    app.app
        .dispatch
        .set_accounts(vec![AccountFacts { active: false, ..account }, AccountFacts::new("parcelx/default", "parcelx")]);
    app.run_jobs().await;
    assert_eq!(app.order(&other, &theirs).await["status"], "confirmed");
    let waiting = app.create_job(&order_id).await;
    assert_eq!((waiting.get_str("state").unwrap(), waiting.get_i32("attempts").unwrap()), ("ready", 0));
    app.finish().await;
}
