//! The carrier's stand-in, with books of its own: a namespace of the process that `scripts/test` has started, or a process of
//! its own where there is none.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
};

use super::{http_client, unique};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Carrier {
    url: String,
    /// For whatever a test asks.
    pub(super) client: reqwest::Client,
    /// Where there is no process for all tests.
    _process: Option<(Child, ChildStdin)>,
}

impl Carrier {
    pub async fn start() -> Self {
        let client = http_client(PATIENCE);
        if let Ok(listening) = std::env::var("SIMULATORS_URL") {
            return Self { url: format!("{listening}/ns/{}/parcelx", unique("test")), client, _process: None };
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_waybill-simulators"))
            .args(["--addr", "127.0.0.1:0", "--exit-with-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the stand-in starts");
        let stdin = child.stdin.take().unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
        let hello: Value = serde_json::from_str(&line).unwrap();
        let url = format!("{}/parcelx", hello["listening"].as_str().unwrap());
        Self { url, client, _process: Some((child, stdin)) }
    }

    /// For `PARCELX_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("{}/api/v3", self.url)
    }

    /// Adds a rule; see the stand-in's `--help` for its fields.
    pub async fn rule(&self, rule: Value) {
        let response = self.client.post(format!("{}/_control/rules", self.url)).json_body(&rule).send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
    }

    /// `times` calls of `operation` (create, cancel, track) behave like `mode`.
    pub async fn misbehave(&self, operation: &str, mode: &str, times: u32) {
        self.rule(json!({ "operation": operation, "mode": mode, "times": times })).await;
    }

    /// Every call of `operation` behaves like `mode` until [`Carrier::behave`].
    pub async fn misbehave_always(&self, operation: &str, mode: &str) {
        self.rule(json!({ "operation": operation, "mode": mode })).await;
    }

    /// Forgets the rules.
    pub async fn behave(&self) {
        self.client.delete(format!("{}/_control/rules", self.url)).send().await.unwrap();
    }

    /// Sets the state of a shipment: `picked_up`, `delivered`, ...
    pub async fn set_status(&self, awb: &str, status: &str) {
        let url = format!("{}/_control/shipments/{awb}", self.url);
        let response = self.client.post(url).json_body(&json!({ "status": status })).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }

    pub async fn books(&self) -> Value {
        self.read("/_books").await
    }

    /// What the carrier has under our order id; null where it never heard of it.
    pub async fn order(&self, order_id: &str) -> Value {
        self.read(&format!("/_books/orders/{order_id}")).await
    }

    pub async fn shipments_of(&self, order_id: &str) -> Vec<Value> {
        self.order(order_id).await["shipments"].as_array().cloned().unwrap_or_default()
    }

    async fn read(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        if response.status() == 404 {
            return Value::Null;
        }
        serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default()
    }
}

/// The client is built without its JSON feature.
trait JsonBody {
    fn json_body(self, body: &Value) -> Self;
}

impl JsonBody for reqwest::RequestBuilder {
    fn json_body(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }
}
