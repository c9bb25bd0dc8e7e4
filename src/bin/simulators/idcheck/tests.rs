//! The stand-in against its own promises. A mode that does not do what it says makes every test that relies on it
//! worthless.

#![allow(clippy::unwrap_used)]

mod books;
mod contract;
mod modes;

use std::time::Duration;

use axum::{body::Body, extract::Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::server::HangUp;

const PAN: &str = "ABCPE1234F";
const GSTIN: &str = "27ABCPE1234F1Z5";
const ACCOUNT: &str = "001234567890";

const PANS: &str = "pan-verifications";
const GSTINS: &str = "gstin-verifications";
const DROPS: &str = "penny-drops";

struct Stand(Router);

impl Stand {
    fn new() -> Self {
        Self(Router::new().nest("/idcheck", router()))
    }

    /// A stand-in with this rule.
    async fn with_rule(rule: Value) -> Self {
        let stand = Self::new();
        stand.rule(rule).await;
        stand
    }

    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Response {
        let mut request = Request::builder().method(method).uri(format!("/idcheck{path}"));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
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

    async fn verify(&self, what: &str, body: &Value) -> Response {
        self.send("POST", &format!("/v1/{what}"), Some("dev"), Some(body)).await
    }

    /// The usual call under the reference of this number.
    async fn usual(&self, what: &str, number: u8) -> Response {
        self.verify(what, &body(what, number)).await
    }

    async fn control(&self, what: &str, body: &Value) -> Response {
        self.send("POST", &format!("/_control/{what}"), None, Some(body)).await
    }

    async fn rule(&self, rule: Value) {
        assert_eq!(self.control("rules", &rule).await.status(), StatusCode::CREATED, "{rule}");
    }

    async fn get(&self, path: &str) -> Value {
        read(self.send("GET", path, None, None).await).await
    }

    /// What the books say of the reference of this number.
    async fn check(&self, number: u8) -> Value {
        self.get(&format!("/_books/checks/{}", reference(number))).await
    }

    async fn deposits(&self) -> Value {
        self.get("/_books").await["deposits"].clone()
    }
}

fn reference(number: u8) -> String {
    format!("chk_{number:032x}")
}

fn body(what: &str, number: u8) -> Value {
    let mut body = json!({"reference": reference(number), "name": "Asha Rao"});
    match what {
        PANS => body["pan"] = json!(PAN),
        GSTINS => body["gstin"] = json!(GSTIN),
        _ => {
            body["account_number"] = json!(ACCOUNT);
            body["ifsc"] = json!("HDFC0001234");
        }
    }
    body
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn read(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

/// The status, 0 where the connection is closed instead, and the body.
async fn seen(response: Response) -> (u16, String) {
    let hung_up = response.extensions().get::<HangUp>().is_some();
    let status = if hung_up { 0 } else { response.status().as_u16() };
    (status, text(response).await)
}
