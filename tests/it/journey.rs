//! The main job from end to end.

use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn an_order_goes_to_the_carrier_and_back_and_is_taken_back() {
    let app = TestApp::start().await;
    let user = app.merchant().await;

    let created = app.create(&user, "c-1").await.expect(201).body;
    assert_eq!((&created["status"], &created["providerSyncStatus"]), (&json!("created"), &json!("pending")));
    let order_id = created["orderId"].as_str().unwrap();
    app.run_jobs().await;

    let replay = app.create(&user, "c-1").await.expect(200);
    assert_eq!(replay.headers["idempotent-replayed"], "true");
    assert_eq!(replay.body["orderId"], created["orderId"]);
    assert_eq!((&replay.body["status"], &replay.body["providerSyncStatus"]), (&json!("confirmed"), &json!("synced")));
    let shipments = app.carrier.shipments_of(order_id).await;
    assert_eq!(replay.body["shipment"]["awb"], shipments[0]["awb"]);

    app.cancel(&user, "c-1").await.expect(202);
    app.run_jobs().await;
    let cancelled = app.order(&user, order_id).await;
    assert_eq!((&cancelled["status"], &cancelled["cancellation"]["status"]), (&json!("cancelled"), &json!("done")));
    assert_eq!(app.carrier.shipments_of(order_id).await[0]["cancelled"], true);
    app.cancel(&user, "c-1").await.expect(200);

    let timeline = app.get(&user, &format!("/orders/{order_id}/timeline")).await.expect(200).body;
    let names: Vec<_> =
        timeline["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["OrderCreated", "create_order", "OrderConfirmed", "CancellationRequested", "cancel_order", "OrderCancelled"]
    );
    app.finish().await;
}
