//! Shipments and the books about them.

use super::*;

#[tokio::test]
async fn a_shipment_is_booked_tracked_and_cancelled_once() {
    let stand = ParcelX::new();
    let created = read(stand.create("ord_1").await).await;
    let awb = created["data"]["awb_number"].as_str().unwrap();
    assert_eq!(created["status"], true);
    assert_eq!(created["data"]["client_order_id"], "ord_1");
    assert_eq!(created["data"]["payment_mode"], "Prepaid");

    for query in [format!("awb={awb}"), "channel_order_no=ord_1".to_owned()] {
        let found = read(stand.call("GET", &format!("/api/v3/track_order?{query}"), None).await).await;
        assert_eq!(found["awb_number"], *awb);
        assert_eq!(found["client_order_id"], "ord_1");
        assert_eq!(found["current_status"]["status_code"], "221");
        assert_eq!(found["data"][0]["status_title"], "Booked");
    }
    let first = read(stand.cancel(awb).await).await;
    assert_eq!(first, json!({"status": true, "responsemsg": "Order cancelled successfully"}));
    let second = read(stand.cancel(awb).await).await;
    assert_eq!(second, json!({"status": false, "responsemsg": "Order already cancelled"}));
    assert_eq!(read(stand.track("ord_1").await).await["current_status"]["status_code"], "227");

    let entry = stand.get("/_books/orders/ord_1").await;
    assert_eq!(
        entry,
        json!({
            "clientOrderId": "ord_1", "invoiceNumber": "inv-ord_1",
            "createCalls": 1, "cancelCalls": 2, "trackCalls": 3,
            "shipments": [{"awb": awb, "status": "cancelled", "cancelled": true}],
            "lastBody": create_body("ord_1"),
        })
    );
    assert_eq!(stand.get("/_books/orders?invoiceNumber=inv-ord_1").await, json!([entry]));
    assert_eq!(stand.get("/_books/orders").await, json!([entry]));
}

#[tokio::test]
async fn absence_is_said_clearly() {
    let stand = ParcelX::new();
    let absent = stand.track("ord_none").await;
    assert_eq!(absent.status(), StatusCode::OK);
    assert_eq!(read(absent).await, json!({"status": false, "responsemsg": "No record found"}));
    let unknown = json!({"status": false, "responsemsg": "AWB not found"});
    assert_eq!(read(stand.cancel("1").await).await, unknown);
    let response = stand.call("GET", "/_books/orders/ord_none", None).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(stand.get("/_books/orders?invoiceNumber=inv").await, json!([]));
    assert_eq!(stand.call("GET", "/api/v3/label", None).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn creates_are_not_deduplicated() {
    let stand = ParcelX::new();
    let (first, second) = (stand.book("ord_1").await, stand.book("ord_1").await);
    assert_ne!(first, second);
    stand.book("ord_2").await;
    let totals = json!({"calls": 3, "callsByOperation": {"create": 3, "cancel": 0, "track": 0}, "unauthorized": 0,
        "orders": 2, "shipments": 3, "duplicates": 1, "cancelled": 0, "violations": []});
    assert_eq!(stand.books().await, totals);

    // A look-up names the shipment that still lives.
    assert_eq!(read(stand.track("ord_1").await).await["awb_number"], *second);
    stand.cancel(&second).await;
    assert_eq!(read(stand.track("ord_1").await).await["awb_number"], *first);

    stand.call("DELETE", "/_books", None).await;
    assert_eq!(stand.books().await["shipments"], 0);
    let third = stand.book("ord_1").await;
    assert!(third != first && third != second, "an AWB was given out twice");
}

#[tokio::test]
async fn the_status_of_a_shipment_decides_over_its_cancellation() {
    let stand = ParcelX::new();
    let awb = stand.book("ord_1").await;
    let too_late = "Shipment already picked up, cannot be cancelled";
    for (status, code, message) in [
        ("picked_up", "230", too_late),
        ("in_transit", "223", too_late),
        ("delivered", "226", too_late),
        ("cancelled", "227", "Order already cancelled"),
        ("booked", "221", "Order cancelled successfully"),
    ] {
        let path = format!("/_control/shipments/{awb}");
        let set = read(stand.call("POST", &path, Some(&json!({"status": status}))).await).await;
        assert_eq!(set["status"], status);
        assert_eq!(read(stand.track("ord_1").await).await["current_status"]["status_code"], code);
        assert_eq!(read(stand.cancel(&awb).await).await["responsemsg"], message);
    }
    let unknown = stand.call("POST", "/_control/shipments/1", Some(&json!({"status": "booked"}))).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}
