//! The stand-in against its own promises. A mode that does not do what it says makes every test that relies on it
//! worthless.

#![allow(clippy::unwrap_used)]

mod books;
mod contract;
mod course;
mod files;
mod modes;

use std::ops::Deref;

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};

use crate::{
    stand::World,
    testing::{Caller, basic, bytes, read, refusals, seen},
};

const NUMBER: &str = "50:33:0000000:98325";

struct Rosreestr(Caller);

impl Deref for Rosreestr {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl Rosreestr {
    fn new() -> Self {
        let (header, value) = basic("one", "secret");
        Self(Caller::of(&super::stand(&World::default()), header, &value))
    }

    /// One whose docflows take this course.
    async fn with_course(course: Value) -> Self {
        let stand = Self::new();
        assert_eq!(stand.control("courses", &course).await.status(), StatusCode::NO_CONTENT, "{course}");
        stand
    }

    /// The same, called by another account.
    fn of(&self, user: &str) -> Self {
        Self(self.with_user(user))
    }

    async fn place(&self, request_id: &str) -> Response {
        self.post("/v1/docflows/object_request", &request(request_id)).await
    }

    async fn placed(&self, request_id: &str) -> String {
        let placed = self.place(request_id).await;
        assert_eq!(placed.status(), StatusCode::ACCEPTED);
        read(placed).await["docflowId"].as_str().unwrap().to_owned()
    }

    /// The docflow of the request `x-1`, with its files.
    async fn completed(&self) -> String {
        let id = self.placed("x-1").await;
        let set = self.control("docflows/x-1", &json!({"state": "verified"})).await;
        assert_eq!(set.status(), StatusCode::OK);
        id
    }

    async fn look_up(&self, request_id: &str) -> Response {
        self.call("GET", &format!("/v1/docflows?requestId={request_id}"), None).await
    }

    async fn poll(&self, id: &str) -> Response {
        self.call("GET", &format!("/v1/docflows/{id}"), None).await
    }

    async fn polled(&self, id: &str) -> Value {
        let polled = self.poll(id).await;
        assert_eq!(polled.status(), StatusCode::OK);
        read(polled).await
    }

    async fn download(&self, id: &str, file: &str) -> Response {
        self.call("GET", &format!("/v1/docflows/{id}/files/{file}"), None).await
    }

    async fn docflows(&self, request_id: &str) -> Value {
        self.get(&format!("/_books/docflows/{request_id}")).await["docflows"].clone()
    }
}

fn request(request_id: &str) -> Value {
    json!({"requestId": request_id, "options": {"type": "base", "cadastralNumber": NUMBER}})
}

#[tokio::test]
async fn it_refuses_in_its_own_words() {
    let only_words = |words| format!(r#"{{"message":"{words}"}}"#);
    let words = [
        "The user name or the password is not right",
        "The account is suspended",
        "Too many requests",
        "Internal error",
    ];
    assert_eq!(refusals(&super::stand(&World::default())).await, words.map(only_words));
}
