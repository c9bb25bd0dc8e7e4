//! Answers of stand-ins.

use std::slice;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::Value;

use crate::payload::Payload;

/// An answer that can still be changed, before it is sent.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    content: Content,
    retry_after: Vec<HeaderValue>,
}

#[derive(Clone, Debug)]
enum Content {
    Json(Value),
    Page(String),
    File(Box<Payload>),
}

impl Answer {
    pub fn json(status: StatusCode, body: Value) -> Self {
        Self { status, content: Content::Json(body), retry_after: Vec::new() }
    }

    /// 200 with JSON.
    pub fn ok(body: Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// An HTML page that says no more than its title.
    pub fn page(status: StatusCode, title: &str) -> Self {
        let page = format!("<!doctype html><title>{title}</title><h1>{title}</h1>\n");
        Self { status, content: Content::Page(page), retry_after: Vec::new() }
    }

    /// 200 with a file.
    pub fn file(payload: Payload) -> Self {
        Self { status: StatusCode::OK, content: Content::File(Box::new(payload)), retry_after: Vec::new() }
    }

    /// With these `Retry-After` headers.
    pub fn retry_after(self, retry_after: Vec<HeaderValue>) -> Self {
        Self { retry_after, ..self }
    }

    /// The JSON changed; anything else stays as it is.
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        if let Content::Json(body) = &mut self.content {
            change(body);
        }
        self
    }

    /// Each entry of the list changed, or else the whole, but nothing that lacks the field.
    pub fn with_each(self, list: &str, field: &str, mut change: impl FnMut(&mut Value)) -> Self {
        self.with(|body| {
            let is_list = body.get(list).is_some_and(Value::is_array);
            let found =
                if is_list { body[list].as_array_mut().map(Vec::as_mut_slice) } else { Some(slice::from_mut(body)) };
            found.into_iter().flatten().filter(|it| it.get(field).is_some()).for_each(&mut change);
        })
    }

    pub fn with_field(self, field: &str, value: Value) -> Self {
        self.with(|body| {
            if let Some(found) = body.get_mut(field) {
                *found = value;
            }
        })
    }

    /// The body as it is sent.
    pub fn payload(self) -> Payload {
        match self.content {
            Content::Json(body) => Payload::of("application/json", body.to_string()),
            Content::Page(page) => Payload::of("text/html; charset=utf-8", page),
            Content::File(payload) => *payload,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = match self.content {
            Content::Json(body) => Json(body).into_response(),
            Content::Page(page) => Html(page).into_response(),
            Content::File(payload) => payload.into_response(),
        };
        let mut response = (self.status, body).into_response();
        for value in self.retry_after {
            response.headers_mut().append(header::RETRY_AFTER, value);
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
    /// In plain words, for providers that have none of their own.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unauthorized => "The user name or the password is not right",
            Self::Forbidden => "The account is suspended",
            Self::TooManyRequests => "Too many requests",
            Self::InternalError => "Internal error",
            Self::NoSuchPath => "There is nothing here",
            Self::SimulatorFailed => "the simulator itself failed",
        }
    }

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
