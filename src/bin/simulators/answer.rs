//! What a stand-in answers with.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::Value;

/// An answer that can still be changed, before it is sent.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    content: Content,
    retry_after_seconds: Option<u64>,
}

#[derive(Clone, Debug)]
enum Content {
    Json(Value),
    Page(String),
}

impl Answer {
    pub fn json(status: StatusCode, body: Value) -> Self {
        Self { status, content: Content::Json(body), retry_after_seconds: None }
    }

    /// 200 with JSON.
    pub fn ok(body: Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// An HTML page that says no more than its title.
    pub fn page(status: StatusCode, title: &str) -> Self {
        let page = format!("<!doctype html><title>{title}</title><h1>{title}</h1>\n");
        Self { status, content: Content::Page(page), retry_after_seconds: None }
    }

    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    /// The JSON changed; a page stays as it is.
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        if let Content::Json(body) = &mut self.content {
            change(body);
        }
        self
    }

    /// One field set, where the answer has it.
    pub fn with_field(self, field: &str, value: Value) -> Self {
        self.with(|body| {
            if let Some(found) = body.get_mut(field) {
                *found = value;
            }
        })
    }

    /// The body as it is sent, and its content type.
    pub fn text(&self) -> (&'static str, String) {
        match &self.content {
            Content::Json(body) => ("application/json", body.to_string()),
            Content::Page(page) => ("text/html; charset=utf-8", page.clone()),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = match self.content {
            Content::Json(body) => Json(body).into_response(),
            Content::Page(page) => Html(page).into_response(),
        };
        let mut response = (self.status, body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Refusals that every provider has, each in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Unauthorized,
    Forbidden,
    TooManyRequests,
    InternalError,
    /// A path that does not exist.
    NoSuchPath,
    /// A defect of the stand-in. No fault answers 501.
    SimulatorFailed,
}

impl Refusal {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::SimulatorFailed => StatusCode::NOT_IMPLEMENTED,
        }
    }
}
