//! Providers that say anything: carrier, payment gateway and verification provider at once, whose answers a test writes.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::Response,
};
use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub struct Asked {
    /// `parcelx`, ...
    pub provider: &'static str,
    /// As in logs: `create_order`, ...
    pub operation: &'static str,
    pub reference: String,
    /// Of a payment, in minor units.
    pub amount: i64,
    /// Head and body as they came.
    pub whole: String,
}

#[derive(Clone, Debug)]
pub struct Said {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

type Script = Box<dyn Fn(&Asked) -> Said + Send>;

pub struct Liar {
    base: String,
    script: Arc<Mutex<Script>>,
}

impl Said {
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }
}

impl Asked {
    /// The waybill number of an order: each has its own.
    pub fn awb(&self) -> String {
        let end = &self.reference[self.reference.len().saturating_sub(12)..];
        format!("77{end}")
    }

    /// What an honest provider would answer.
    pub fn honest(&self) -> Value {
        let reference = &self.reference;
        match self.operation {
            "create_order" => json!({
                "status": true, "responsemsg": "Order Placed Successfully.",
                "data": { "awb_number": self.awb(), "client_order_id": reference, "courier_name": "Swift" },
            }),
            "cancel_order" => json!({ "status": true, "responsemsg": "Cancelled." }),
            "look_up_order" => json!({ "status": false, "responsemsg": "No record found" }),
            "start_payment" | "look_up_payment" => json!({
                "paymentId": "pay_1", "reference": reference, "status": "created", "amount": self.amount, "currency": "INR",
                "paymentUrl": "https://pay.example/1", "expiresAt": "2030-01-01T00:00:00Z",
            }),
            "verify_pan" => json!({ "reference": reference, "status": "valid", "registered_name": "ASHA RAO" }),
            "verify_gstin" => json!({ "reference": reference, "status": "active", "legal_name": "ASHA RAO" }),
            _ => json!({
                "reference": reference, "account_exists": true, "name_at_bank": "ASHA RAO", "utr": "IDCH0011",
                "amount_deposited": 1.0, "message": "Verified",
            }),
        }
    }

    async fn read(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let path = parts.uri.path();
        let query = parts.uri.query().unwrap_or_default();
        let (provider, operation, named) = match path.rsplit('/').next().unwrap_or_default() {
            "create_order" => ("parcelx", "create_order", &body["client_order_id"]),
            "cancel_order" => ("parcelx", "cancel_order", &body["awb"]),
            "track_order" => ("parcelx", "look_up_order", &Value::Null),
            "payments" if parts.method == "POST" => ("paygate", "start_payment", &body["reference"]),
            "payments" => ("paygate", "look_up_payment", &Value::Null),
            "pan-verifications" => ("idcheck", "verify_pan", &body["reference"]),
            "gstin-verifications" => ("idcheck", "verify_gstin", &body["reference"]),
            _ => ("idcheck", "penny_drop", &body["reference"]),
        };
        let in_query = query.split_once('=').map_or("", |(_, value)| value);
        Self {
            provider,
            operation,
            reference: named.as_str().unwrap_or(in_query).to_owned(),
            amount: body["amount"].as_i64().unwrap_or(50_000),
            whole: format!("{} {:?} {}", parts.uri, parts.headers, String::from_utf8_lossy(&bytes)),
        }
    }
}

impl Liar {
    /// Honest until [`Liar::says`].
    pub async fn start() -> Self {
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(|asked| Said::json(200, &asked.honest()))));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, script }
    }

    /// Flags that make it every provider.
    pub fn flags(&self) -> Vec<String> {
        let base = &self.base;
        vec![
            format!("--parcelx-base-url={base}/parcelx"),
            format!("--paygate-base-url={base}/paygate"),
            format!("--idcheck-base-url={base}/idcheck"),
        ]
    }

    /// What it answers from now on.
    pub fn says(&self, script: impl Fn(&Asked) -> Said + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response<Body> {
    let asked = Asked::read(request).await;
    let said = script.lock().unwrap()(&asked);
    let mut response = Response::builder().status(said.status);
    for (name, value) in &said.headers {
        response = response.header(*name, value.as_bytes());
    }
    response.body(Body::from(said.body)).unwrap()
}
