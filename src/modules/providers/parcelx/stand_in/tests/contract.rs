//! Calls that the stand-in accepts.

use super::*;

#[tokio::test]
async fn a_token_is_a_key_and_a_secret() {
    let stand = ParcelX::new();
    for (token, status) in [
        (BASE64.encode("no-colon"), 401),
        (BASE64.encode(":secret"), 401),
        (BASE64.encode("key:"), 401),
        ("key:secret".to_owned(), 401),
        (BASE64.encode("key:secret"), 200),
    ] {
        let caller = stand.with_credentials(Some(("access-token", token.clone())));
        assert_eq!(caller.call("GET", "/api/v3/track_order?awb=1", None).await.status(), status, "{token}");
    }
}

#[tokio::test]
async fn deviations_from_the_contract_are_refused_and_recorded() {
    let spelled_out = json!({"pick_address_id": null, "return_address_id": null,
        "pickup_name": "K", "pickup_mobile": "9", "pickup_address1": "Plot 7", "pickup_address2": "",
        "pickup_pincode": "110020", "pickup_city": "New Delhi", "pickup_state": "Delhi"});
    // Changes to a good body, null taking a field away, and the field the books must complain about.
    let cases: Vec<(Value, Option<&str>)> = vec![
        (json!({}), None),
        (spelled_out.clone(), None),
        (json!({"payment_mode": "Cod", "cod_amount": "998.00"}), None),
        (json!({"courier_type": 1, "courier_code": "PXA01"}), None),
        (json!({"client_order_id": null}), Some("client_order_id")),
        (json!({"invoice_number": ""}), Some("invoice_number")),
        (json!({"consignee_phone": null}), Some("consignee_phone")),
        (json!({"consignee_pincode": 560001}), Some("consignee_pincode")),
        (json!({"consignee_pincode": "56001"}), Some("consignee_pincode")),
        (json!({"order_amount": 998}), Some("order_amount")),
        (json!({"order_amount": "998"}), Some("order_amount")),
        (json!({"order_amount": "998.0"}), Some("order_amount")),
        (json!({"tax_amount": "-1.00"}), Some("tax_amount")),
        (json!({"payment_mode": "prepaid"}), Some("payment_mode")),
        (json!({"payment_mode": "Cod"}), Some("cod_amount")),
        (json!({"cod_amount": "1.00"}), Some("cod_amount")),
        (json!({"express_type": "sea"}), Some("express_type")),
        (json!({"b2b": "false"}), Some("b2b")),
        (json!({"mps": 0}), Some("mps")),
        (json!({"courier_type": "0"}), Some("courier_type")),
        (json!({"courier_type": 1}), Some("courier_code")),
        (json!({"shipment_weight": "0.45"}), Some("shipment_weight")),
        (json!({"shipment_weight": [0.45]}), Some("shipment_weight")),
        (json!({"shipment_weight": ["0.00"]}), Some("shipment_weight")),
        (json!({"shipment_length": ["1", "2"]}), Some("shipment_length")),
        (json!({"pick_address_id": null}), Some("pick_address_id")),
        (json!({"pickup_name": "K"}), Some("pick_address_id")),
        (json!({"pick_address_id": null, "pickup_name": "K"}), Some("pickup_pincode")),
        (json!({"products": []}), Some("products")),
        (json!({"products": [{"product_sku": "A"}]}), Some("products[0].product_quantity")),
        (json!({"customer_note": "hello"}), Some("customer_note")),
    ];
    for (changes, field) in cases {
        let stand = ParcelX::new();
        let body = changed(create_body("ord_1"), &changes);
        let answer = stand.call("POST", "/api/v3/order/create_order", Some(&body)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let answer = read(answer).await;
        let fields = stand.violations("field").await;
        match field {
            None => assert_eq!((&answer["status"], fields.len()), (&json!(true), 0), "{changes}: {fields:?}"),
            Some(field) => {
                assert_eq!(answer["status"], false, "{changes}");
                assert!(fields.iter().any(|named| named == field), "{changes}: {fields:?}");
                assert_eq!(stand.books().await["shipments"], 0, "{changes}");
            }
        }
    }
}

#[tokio::test]
async fn calls_that_cannot_be_read_are_recorded() {
    let stand = ParcelX::new();
    let no_body = stand.call("POST", "/api/v3/order/create_order", None).await;
    assert_eq!(read(no_body).await["status"], false);
    let extra = json!({"awb": "1", "reason": "changed my mind"});
    stand.call("POST", "/api/v3/order/cancel_order", Some(&extra)).await;
    stand.call("GET", "/api/v3/track_order", None).await;
    stand.call("GET", "/api/v3/track_order?awb=1&channel_order_no=2", None).await;
    assert_eq!(stand.violations("operation").await, ["create", "cancel", "track", "track"]);
}
