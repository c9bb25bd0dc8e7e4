//! The stand-in against its own promises. A mode that does not do what it says makes every test that
//! relies on it worthless.

#![allow(clippy::unwrap_used)]

mod books;
mod contract;
mod modes;

use std::ops::Deref;

use axum::{http::StatusCode, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::{
    stand::World,
    testing::{Caller, changed, read, refusals, seen},
};

struct ParcelX(Caller);

impl Deref for ParcelX {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl ParcelX {
    fn new() -> Self {
        Self(Caller::of(&super::stand(&World::default()), "access-token", &BASE64.encode("key:secret")))
    }

    async fn create(&self, id: &str) -> Response {
        self.call("POST", "/api/v3/order/create_order", Some(&create_body(id))).await
    }

    async fn cancel(&self, awb: &str) -> Response {
        self.call("POST", "/api/v3/order/cancel_order", Some(&json!({"awb": awb}))).await
    }

    async fn track(&self, id: &str) -> Response {
        self.call("GET", &format!("/api/v3/track_order?channel_order_no={id}"), None).await
    }

    async fn book(&self, id: &str) -> String {
        let answer = read(self.create(id).await).await;
        answer["data"]["awb_number"].as_str().unwrap().to_owned()
    }
}

fn create_body(id: &str) -> Value {
    json!({
        "client_order_id": id, "pregenerated_awb": "",
        "consignee_name": "Asha Rao", "consignee_emailid": "", "consignee_mobile": "9876543210",
        "consignee_phone": "", "consignee_address1": "12 MG Road", "consignee_address2": "",
        "consignee_pincode": "560001", "consignee_city": "Bengaluru", "consignee_state": "Karnataka",
        "invoice_number": format!("inv-{id}"), "express_type": "surface",
        "pick_address_id": "77", "return_address_id": "", "address_type": "Home",
        "payment_mode": "Prepaid", "cod_amount": "0", "order_amount": "998.00", "tax_amount": "0.00",
        "extra_charges": "0.00", "b2b": false, "mps": "0", "courier_type": 0, "courier_code": "",
        "shipment_length": ["20"], "shipment_width": ["15"], "shipment_height": ["8"],
        "shipment_weight": ["0.45"],
        "products": [{
            "product_sku": "TS-BLK-M", "product_name": "T-shirt", "product_value": "499.00",
            "product_hsnsac": "", "product_taxper": 0, "product_category": "",
            "product_quantity": "2", "product_description": "",
        }],
    })
}

#[tokio::test]
async fn it_refuses_in_its_own_words() {
    let status_false = |words| format!(r#"{{"responsemsg":"{words}","status":false}}"#);
    let words = ["Invalid access token", "Account suspended", "Too many requests", "Internal server error"];
    assert_eq!(refusals(&super::stand(&World::default())).await, words.map(status_false));
}
