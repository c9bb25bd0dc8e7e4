//! The stand-in against its own promises. A mode that does not do what it says makes every test that relies on it
//! worthless.

#![allow(clippy::unwrap_used)]

mod books;
mod callbacks;
mod contract;
mod modes;
mod page;

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    server,
    stand::World,
    testing::{Caller, changed, read, refusals, seen},
};

const SECRET: &str = "whsec-shared";

struct PayGate(Caller);

impl Deref for PayGate {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl PayGate {
    fn new() -> Self {
        Self(Caller::of(&super::stand(&World::default()), "authorization", "Bearer dev"))
    }

    async fn create(&self, reference: &str) -> Response {
        self.call("POST", "/v1/payments", Some(&create_body(reference))).await
    }

    async fn look_up(&self, reference: &str) -> Response {
        self.call("GET", &format!("/v1/payments?reference={reference}"), None).await
    }

    /// Changes the payment `top_1`; gives what was told.
    async fn change(&self, change: Value) -> Value {
        let response = self.control("payments/top_1", &change).await;
        assert_eq!(response.status(), StatusCode::OK);
        read(response).await
    }

    /// Has callbacks go to `receiver`.
    async fn call_back(&self, receiver: &Receiver) {
        let target = json!({"url": receiver.url, "secret": SECRET});
        assert_eq!(self.control("callback", &target).await.status(), StatusCode::NO_CONTENT);
    }
}

fn create_body(reference: &str) -> Value {
    json!({
        "reference": reference, "amount": 50_000, "currency": "INR", "description": "Wallet top-up",
        "expiresAt": "2999-01-01T00:00:00.000Z",
    })
}

#[derive(Clone, Debug)]
struct Arrived {
    signature: Option<String>,
    body: String,
}

impl Arrived {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether it is signed with the shared secret, and when.
    fn signed_at(&self) -> Option<i64> {
        let signature = self.signature.as_deref()?;
        let seconds = signature.strip_prefix("t=")?.split_once(",v1=")?.0.parse().unwrap();
        (signature == super::callbacks::signature(SECRET, seconds, &self.body)).then_some(seconds)
    }
}

#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<(Vec<Arrived>, VecDeque<u16>)>>);

/// Somebody who is called back.
struct Receiver {
    url: String,
    inbox: Inbox,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// One that answers with these statuses, then always with 204.
    async fn start(answers: &[u16]) -> Self {
        let inbox = Inbox::default();
        inbox.0.lock().unwrap().1.extend(answers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/callbacks", listener.local_addr().unwrap());
        let router = Router::new().route("/callbacks", post(arrive)).with_state(inbox.clone());
        Self { url, inbox, serving: tokio::spawn(server::serve(listener, router)) }
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.inbox.0.lock().unwrap().0.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn arrive(State(inbox): State<Inbox>, headers: HeaderMap, body: String) -> StatusCode {
    assert_eq!(headers["content-type"], "application/json");
    let signature = headers.get("paygate-signature").map(|value| value.to_str().unwrap().to_owned());
    let mut inbox = inbox.0.lock().unwrap();
    inbox.0.push(Arrived { signature, body });
    inbox.1.pop_front().map_or(StatusCode::NO_CONTENT, |status| StatusCode::from_u16(status).unwrap())
}

#[tokio::test]
async fn it_refuses_in_its_own_words() {
    let coded = |(code, words)| format!(r#"{{"error":{{"code":"{code}","message":"{words}"}}}}"#);
    let words = [
        ("invalid_token", "The access token is not valid"),
        ("account_suspended", "The account is suspended"),
        ("too_many_requests", "Too many requests"),
        ("internal_error", "Internal error"),
    ];
    assert_eq!(refusals(&super::stand(&World::default())).await, words.map(coded));
}
