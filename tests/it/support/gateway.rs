//! The payment gateway's stand-in: in the carrier's process, with books of its own.

use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::secret::hmac_sha256;

use super::{Answer, Carrier, TestApp, read};

/// What the gateway signs its callbacks with.
pub const SECRET: &str = "gateway-test-secret-0123456789";
/// Where the carrier's API is in the stand-ins' process.
const CARRIER: &str = "/parcelx/api/v3";

pub struct Gateway {
    url: String,
    client: reqwest::Client,
}

/// Settings for the gateway beside the carrier whose base URL this is; none where it is somewhere else.
pub fn gateway_flags(carrier: &str) -> Vec<String> {
    let Some(root) = carrier.strip_suffix(CARRIER) else { return Vec::new() };
    vec![
        format!("--paygate-base-url={root}/paygate/v1"),
        "--paygate-api-key=dev".to_owned(),
        format!("--paygate-webhook-secret={SECRET}"),
    ]
}

/// `Paygate-Signature` of a body, as the gateway makes it.
pub fn signature(secret: &str, seconds: i64, body: &str) -> String {
    let mac = hmac_sha256(secret.as_bytes(), format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", hex::encode(mac))
}

/// A callback's body; `kind` is `paid` or `failed`.
pub fn event(event_id: &str, kind: &str, topup_id: &str, amount: i64, currency: &str) -> Value {
    json!({
        "eventId": event_id, "type": format!("payment.{kind}"), "createdAt": "2026-01-01T00:00:00Z",
        "payment": {
            "paymentId": "pay_of_a_test", "reference": topup_id, "status": kind, "amount": amount, "currency": currency,
        },
    })
}

impl Gateway {
    pub fn beside(carrier: &Carrier) -> Self {
        let base = carrier.base_url();
        let root = base.strip_suffix(CARRIER).expect("the carrier's path");
        Self { url: format!("{root}/paygate"), client: carrier.client.clone() }
    }

    async fn control(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}/_control/{path}", self.url));
        let response = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Callbacks go to the API at `base` from now on.
    pub async fn calls_back(&self, base: &str) {
        let url = format!("{base}/webhooks/payments/paygate");
        self.control("callback", &json!({ "url": url, "secret": SECRET })).await;
    }

    /// Adds a rule; see the stand-ins' `rules`, `transport` and the provider's `modes`.
    pub async fn rule(&self, rule: Value) {
        self.control("rules", &rule).await;
    }

    /// `times` calls of `operation` (create, look_up) behave like `mode`.
    pub async fn misbehave(&self, operation: &str, mode: &str, times: u32) {
        self.rule(json!({ "operation": operation, "mode": mode, "times": times })).await;
    }

    /// Forgets the rules.
    pub async fn behave(&self) {
        self.client.delete(format!("{}/_control/rules", self.url)).send().await.unwrap();
    }

    /// Lets something happen to a payment; gives what was told and how it was answered.
    pub async fn change(&self, reference: &str, change: &Value) -> Value {
        self.control(&format!("payments/{reference}"), change).await
    }

    pub async fn books(&self) -> Value {
        self.read("/_books").await
    }

    /// What the gateway has under our reference; null where it never heard of it.
    pub async fn entry(&self, reference: &str) -> Value {
        self.read(&format!("/_books/payments/{reference}")).await
    }

    /// Everything it has, by reference.
    pub async fn entries(&self) -> Vec<Value> {
        self.read("/_books/payments").await.as_array().cloned().unwrap_or_default()
    }

    async fn read(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        if response.status() == 404 {
            return Value::Null;
        }
        serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default()
    }
}

impl TestApp {
    /// Sends a callback as it is to the API at `base`.
    pub async fn call_back_to(&self, base: &str, body: impl Into<reqwest::Body>, signature: Option<&str>) -> Answer {
        let mut request = self.client.request(Method::POST, format!("{base}/webhooks/payments/paygate")).body(body);
        if let Some(signature) = signature {
            request = request.header("paygate-signature", signature);
        }
        read(request.send().await.expect("the api answers")).await
    }

    /// Sends a callback that is signed as agreed.
    pub async fn call_back(&self, event: &Value) -> Answer {
        let body = event.to_string();
        let signature = signature(SECRET, self.now_seconds(), &body);
        self.call_back_to(&self.base, body, Some(&signature)).await
    }

    pub fn now_seconds(&self) -> i64 {
        self.app.clock.now_ms() / 1000
    }
}
