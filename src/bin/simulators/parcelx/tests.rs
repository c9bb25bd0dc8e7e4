//! The stand-in against its own promises. A mode that does not do what it says makes every test that
//! relies on it worthless.

#![allow(clippy::unwrap_used)]

mod books;
mod contract;
mod modes;

use axum::{Router, body::Body, extract::Request, http::StatusCode, response::Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

struct Stand(Router);

impl Stand {
    fn new() -> Self {
        Self(Router::new().nest("/parcelx", router("")))
    }

    async fn send(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Response {
        let mut request = Request::builder().method(method).uri(format!("/parcelx{path}"));
        if let Some(token) = token {
            request = request.header("access-token", BASE64.encode(token));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.0.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        self.send(method, path, Some("key:secret"), body).await
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

    async fn rule(&self, rule: Value) {
        let response = self.call("POST", "/_control/rules", Some(&rule)).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{rule}");
    }

    async fn get(&self, path: &str) -> Value {
        read(self.send("GET", path, None, None).await).await
    }
}

async fn bytes(response: Response) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn read(response: Response) -> Value {
    serde_json::from_slice(&bytes(response).await).unwrap()
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
