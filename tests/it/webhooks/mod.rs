//! Webhooks that go out, to receivers of every kind.

mod addresses;
mod bad_receivers;
mod deliveries;
mod endpoints;
mod failures;
mod listen;
mod tenants;

use std::time::Duration;

use bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::modules::events::Relay;

use crate::support::{TestApp, User, receiver::Receiver};

/// This machine may be called, and nobody is waited for.
const FLAGS: &[&str] = &["--webhook-allow-private=true", "--webhook-deadline-ms=400"];

/// An app whose merchant has endpoints.
struct Posting {
    app: TestApp,
    relay: Relay,
    user: User,
}

impl Posting {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(flags: &[&str]) -> Self {
        let app = TestApp::with(&[FLAGS, flags].concat()).await;
        let (relay, user) = (app.app.relay(), app.merchant().await);
        let posting = Self { app, relay, user };
        // That the merchant is known already is an event, too.
        posting.run().await;
        posting
    }

    /// A new endpoint; gives its id and its secret.
    async fn endpoint(&self, receiver: &Receiver, types: &[&str]) -> (String, String) {
        let body = json!({ "url": receiver.url, "types": types });
        let made = self.app.post(&self.user, "/webhook-endpoints", &body).await.expect(201).body;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("endpointId"), text("secret"))
    }

    /// Relays what happened and makes what is due, until nothing is.
    async fn run(&self) {
        self.relay.pass().await.unwrap();
        while self.app.worker.run_due().await > 0 {
            self.relay.pass().await.unwrap();
        }
    }

    /// The same some time later.
    async fn run_after(&self, seconds: u64) {
        self.app.app.clock.advance(Duration::from_secs(seconds));
        self.run().await;
    }

    async fn get(&self, path: &str) -> Value {
        self.app.get(&self.user, path).await.expect(200).body
    }

    async fn delete(&self, path: &str, status: u16) {
        self.app.request(Method::DELETE, path, Some(&self.user.token), None).await.expect(status);
    }

    async fn patch(&self, path: &str, body: Value, status: u16) -> Value {
        self.app.request(Method::PATCH, path, Some(&self.user.token), Some(&body)).await.expect(status).body
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.app.post(&self.user, path, &body).await.expect(status).body
    }

    /// A request without a body.
    async fn ask(&self, path: &str, status: u16) -> Value {
        self.app.request(Method::POST, path, Some(&self.user.token), None).await.expect(status).body
    }

    /// Deliveries, those of the oldest events first.
    async fn deliveries(&self, query: &str) -> Vec<Value> {
        let page = self.get(&format!("/webhook-deliveries?limit=100&{query}")).await;
        let mut items = page["items"].as_array().unwrap().clone();
        items.reverse();
        items
    }

    /// The only delivery there is.
    async fn delivery(&self) -> Value {
        let mut deliveries = self.deliveries("").await;
        assert_eq!(deliveries.len(), 1, "{deliveries:?}");
        deliveries.pop().unwrap()
    }

    /// Requests of webhooks on record, oldest first.
    async fn requests(&self) -> Vec<Document> {
        self.app.all("provider_request_logs", doc! { "provider": "webhooks" }).await
    }

    async fn answers(&self) -> Vec<Document> {
        self.app.all("provider_response_logs", doc! { "provider": "webhooks" }).await
    }
}

/// Codes of what went wrong in the attempts of a delivery, `-` where nothing did.
fn errors(delivery: &Value) -> Vec<String> {
    let attempts = delivery["attempts"].as_array().unwrap();
    attempts.iter().map(|attempt| attempt["error"].as_str().unwrap_or("-").to_owned()).collect()
}

/// Seconds from the last attempt of a delivery to the next one.
fn wait_s(delivery: &Value) -> i64 {
    let ms = |value: &Value| {
        let at: waybill::platform::clock::Rfc3339Time = value.as_str().unwrap().parse().unwrap();
        at.0.timestamp_millis()
    };
    let last = delivery["attempts"].as_array().unwrap().last().unwrap()["at"].clone();
    (ms(&delivery["nextAttemptAt"]) - ms(&last)) / 1_000
}
