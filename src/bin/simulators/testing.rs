//! A stand-in as its tests see it: called in memory, with or without its credentials.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::{
    answer::Refusal,
    control,
    server::HangUp,
    stand::{Provider, Stand},
};

/// Enough for a call in memory; a mode that hangs does not get done in it.
pub const PATIENCE: Duration = Duration::from_millis(200);

pub struct Caller {
    pub router: Router,
    name: &'static str,
    /// Header and value with which calls are made.
    pub credentials: Option<(&'static str, String)>,
}

impl Caller {
    pub fn of<P: Provider>(stand: &Stand<P>, header: &'static str, value: &str) -> Self {
        Self { router: control::router(stand), name: P::NAME, credentials: Some((header, value.to_owned())) }
    }

    /// The same stand-in, called with other credentials.
    pub fn with_credentials(&self, credentials: Option<(&'static str, String)>) -> Self {
        Self { router: self.router.clone(), name: self.name, credentials }
    }

    /// The same stand-in, called by this user.
    pub fn with_user(&self, user: &str) -> Self {
        self.with_credentials(Some(basic(user, "secret")))
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let mut request = Request::builder().method(method).uri(format!("/{}{path}", self.name));
        request = request.header("host", "stand.test:4900");
        if let Some((header, value)) = &self.credentials {
            request = request.header(*header, value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.call("POST", path, Some(body)).await
    }

    pub async fn get(&self, path: &str) -> Value {
        read(self.call("GET", path, None).await).await
    }

    pub async fn books(&self) -> Value {
        self.get("/_books").await
    }

    pub async fn control(&self, what: &str, body: &Value) -> Response {
        self.post(&format!("/_control/{what}"), body).await
    }

    pub async fn rule(&self, rule: Value) {
        assert_eq!(self.control("rules", &rule).await.status(), StatusCode::CREATED, "{rule}");
    }

    /// Fields, operations and references of what was off contract.
    pub async fn violations(&self, part: &str) -> Vec<String> {
        let books = self.books().await;
        let all = books["violations"].as_array().unwrap().iter();
        all.map(|violation| violation[part].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// How a provider words that a call is unauthorized, forbidden, one too many, and that something failed.
pub async fn refusals<P: Provider>(_: &Stand<P>) -> Vec<String> {
    let mut words = Vec::new();
    for refusal in [Refusal::Unauthorized, Refusal::Forbidden, Refusal::TooManyRequests, Refusal::InternalError] {
        words.push(text(P::refuse(refusal, None).into_response()).await);
    }
    words
}

/// HTTP Basic.
pub fn basic(user: &str, password: &str) -> (&'static str, String) {
    ("authorization", format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))
}

/// The body, as far as it comes, and whether that was all.
pub async fn bytes(response: Response) -> (Bytes, bool) {
    let (mut body, mut all) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => all.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => return (all.into(), false),
        }
    }
    (all.into(), true)
}

pub async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

pub async fn read(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

/// The status, 0 where the connection is closed instead, and the body.
pub async fn seen(response: Response) -> (u16, String) {
    let hung_up = response.extensions().get::<HangUp>().is_some();
    let status = if hung_up { 0 } else { response.status().as_u16() };
    (status, text(response).await)
}

/// A good body with some fields changed, null taking a field away.
pub fn changed(mut body: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
            value => body[name] = value.clone(),
        }
    }
    body
}
