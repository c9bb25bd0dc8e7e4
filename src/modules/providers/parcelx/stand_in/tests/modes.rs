//! Faults on request, each of them.

use super::*;

/// Every mode on a create: HTTP status, `status` of the answer, shipments in the books, and a word in the answer.
#[tokio::test]
async fn every_mode_of_a_create_does_what_it_says() {
    let cases = [
        ("refuse", 200, false, 0, r#""responsemsg":"Pincode not serviceable""#),
        ("refuse_array", 200, false, 0, r#""responsemsg":["Pincode not serviceable"]"#),
        ("refuse_400", 400, false, 0, "Invalid pincode"),
        ("refuse_422", 422, false, 0, "Invalid pincode"),
        ("already_cancelled", 200, true, 1, r#""status_code":"227""#),
        ("wrong_order", 200, true, 1, r#""client_order_id":"ord_of-somebody-else""#),
        ("already_exists", 200, false, 0, "Order already exists"),
        ("already_exists_after_work", 200, false, 1, "Order already exists"),
        ("deduplicate", 200, true, 1, "Order Placed Successfully."),
        ("something_went_wrong", 200, false, 0, "Something went wrong, please try again"),
        ("no_awb", 200, true, 1, r#""client_order_id":"ord_1""#),
        ("not_found", 404, false, 0, "Not found"),
    ];
    for (mode, http, status, shipments, word) in cases {
        let stand = ParcelX::new();
        stand.rule(json!({"operation": "create", "mode": mode, "times": 1})).await;
        let response = stand.create("ord_1").await;
        let (seen_status, body) = seen(response).await;
        assert_eq!(seen_status, http, "{mode}");
        assert!(body.contains(word), "{mode}: {body}");
        let json: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json["status"], status, "{mode}");
        assert_eq!(json["data"]["awb_number"].is_string(), status && mode != "no_awb", "{mode}");

        let entry = stand.get("/_books/orders/ord_1").await;
        assert_eq!(entry["createCalls"], 1, "{mode}");
        assert_eq!(entry["shipments"].as_array().unwrap().len(), shipments, "{mode}");
        // The rule is used up.
        assert_eq!(read(stand.create("ord_1").await).await["status"], true, "{mode}");
    }
}

#[tokio::test]
async fn modes_of_a_cancel_and_of_a_look_up() {
    // operation, mode, HTTP status, word in the answer, shipment cancelled afterwards
    let cases = [
        ("cancel", "already_cancelled", 200, "Order already cancelled", true),
        ("cancel", "not_found", 404, "Not found", false),
        ("cancel", "refuse", 200, "Pincode not serviceable", false),
        ("track", "not_found", 404, "Not found", false),
        ("track", "wrong_order", 200, r#""client_order_id":"ord_of-somebody-else""#, false),
        ("track", "wrong_order", 200, r#""awb_number":"999999999999""#, false),
        ("track", "already_cancelled", 200, r#""status_code":"227""#, false),
    ];
    for (operation, mode, http, word, cancelled) in cases {
        let stand = ParcelX::new();
        let awb = stand.book("ord_1").await;
        stand.rule(json!({"operation": operation, "mode": mode})).await;
        let response = match operation {
            "cancel" => stand.cancel(&awb).await,
            _ => stand.track("ord_1").await,
        };
        assert_eq!(response.status(), http, "{operation} {mode}");
        assert!(seen(response).await.1.contains(word), "{operation} {mode}");
        let entry = stand.get("/_books/orders/ord_1").await;
        assert_eq!(entry["shipments"][0]["cancelled"], cancelled, "{operation} {mode}");
    }
}

#[tokio::test]
async fn rules_match_by_operation_reference_and_invoice() {
    let stand = ParcelX::new();
    stand.rule(json!({"operation": "create", "invoiceNumber": "inv-ord_1", "mode": "500", "times": 2})).await;
    stand.rule(json!({"operation": "track", "invoiceNumber": "inv-ord_1", "mode": "html", "times": 1})).await;
    stand.rule(json!({"operation": "cancel", "clientOrderId": "ord_1", "mode": "403", "times": 1})).await;
    stand.rule(json!({"clientOrderId": "ord_early", "mode": "500"})).await;

    assert_eq!(stand.create("ord_2").await.status(), 200);
    for status in [500, 500, 200] {
        assert_eq!(stand.create("ord_1").await.status(), status);
    }
    // The invoice number is remembered from creates, failed ones included.
    let found = stand.track("ord_1").await;
    assert_eq!(found.headers()["content-type"], "text/html; charset=utf-8");
    let found = read(stand.track("ord_1").await).await;
    let awb = found["awb_number"].as_str().unwrap();
    assert_eq!(stand.cancel(awb).await.status(), 403);
    assert_eq!(stand.cancel(awb).await.status(), 200);
    // A look-up by a reference never seen before matches too.
    assert_eq!(stand.track("ord_early").await.status(), 500);
}

#[tokio::test]
async fn a_deduplicating_carrier_answers_with_the_first_shipment_as_it_stands() {
    let stand = ParcelX::new();
    let first = stand.book("ord_1").await;
    stand.cancel(&first).await;
    stand.rule(json!({"operation": "create", "mode": "deduplicate"})).await;
    let again = read(stand.create("ord_1").await).await;
    assert_eq!(again["status"], true);
    assert_eq!(again["data"]["awb_number"], *first);
    assert_eq!(again["data"]["status_code"], "227");
    assert_eq!(stand.books().await["duplicates"], 0);
}
