//! A chapter: the merchant's own server is told what happened, is broken at first, and checks the signature.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

use super::{Story, text};
use crate::commands::demo::claim::{claim, failed};

/// It fails so often before it takes anything.
const FAILURES: usize = 2;

/// The merchant's server. Its secret is known once the endpoint is there.
#[derive(Clone, Default)]
struct Receiver {
    secret: Arc<Mutex<String>>,
    /// Ids as they came, and whether the signature was good.
    received: Arc<Mutex<Vec<(String, bool)>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    let secret = receiver.secret.lock().map(|secret| secret.clone()).unwrap_or_default();
    let is_good = Webhook::new(&secret).is_ok_and(|webhook| webhook.verify(body.as_bytes(), &headers).is_ok());
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let Ok(mut received) = receiver.received.lock() else { return StatusCode::INTERNAL_SERVER_ERROR };
    received.push((id, is_good));
    match (received.len() > FAILURES, is_good) {
        (false, _) => StatusCode::INTERNAL_SERVER_ERROR,
        (true, true) => StatusCode::NO_CONTENT,
        (true, false) => StatusCode::FORBIDDEN,
    }
}

impl Story<'_> {
    pub(super) async fn webhook(&mut self) -> Result<(), String> {
        self.chapter("Its own server wants to be told; it is broken twice, and then the webhook arrives, signed");
        let receiver = Receiver::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let url = format!("http://{}/hook", listener.local_addr().map_err(failed)?);
        let router = Router::new().route("/hook", post(receive)).with_state(receiver.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let made = self.client.add_endpoint(&url, "order.confirmed").await?;
        let secret = text(&made.body, "secret").to_owned();
        if let Ok(mut known) = receiver.secret.lock() {
            known.clone_from(&secret);
        }
        let shown: String = secret.chars().take(12).collect();
        println!("   POST /webhook-endpoints {url} order.confirmed -> {}, secret {shown}...", made.status);
        let created = self.client.sell("s-2").await?;
        let order_id = text(&created.body, "orderId").to_owned();
        self.settled(&order_id).await?;
        let deliveries = self.client.await_delivery("delivered").await?;
        let delivery = deliveries["items"][0].clone();
        let attempts = delivery["attempts"].as_array().cloned().unwrap_or_default();
        let answers: Vec<String> = attempts.iter().map(|attempt| attempt["httpStatus"].to_string()).collect();
        println!("   {} {} was answered {}", text(&delivery, "type"), text(&delivery, "eventId"), answers.join(", "));
        let received = receiver.received.lock().map(|received| received.clone()).unwrap_or_default();
        println!("   its server checked {} signatures of one webhook-id; all are good\n", received.len());
        serving.abort();
        let id = delivery["eventId"].as_str().unwrap_or_default();
        claim(made.status == 201 && delivery["status"] == "delivered", "it is delivered")?;
        claim(answers == ["500", "500", "204"], "it failed twice")?;
        claim(
            received.len() == 3 && received.iter().all(|(known, good)| known == id && *good),
            "every attempt is signed",
        )
    }
}
