//! The stand-in against its own promises. A mode that does not do what it says makes every test that relies on it
//! worthless.

#![allow(clippy::unwrap_used)]

mod books;
mod contract;
mod modes;

use std::ops::Deref;

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};

use crate::{
    stand::World,
    testing::{Caller, changed, read, refusals, seen, text},
};

const PAN: &str = "ABCPE1234F";
const GSTIN: &str = "27ABCPE1234F1Z5";
const ACCOUNT: &str = "001234567890";

const PANS: &str = "pan-verifications";
const GSTINS: &str = "gstin-verifications";
const DROPS: &str = "penny-drops";

struct IdCheck(Caller);

impl Deref for IdCheck {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl IdCheck {
    fn new() -> Self {
        Self(Caller::of(&super::stand(&World::default()), "x-api-key", "dev"))
    }

    async fn with_rule(rule: Value) -> Self {
        let stand = Self::new();
        stand.rule(rule).await;
        stand
    }

    async fn verify(&self, what: &str, body: &Value) -> Response {
        self.post(&format!("/v1/{what}"), body).await
    }

    /// The usual call under the reference of this number.
    async fn usual(&self, what: &str, number: u8) -> Response {
        self.verify(what, &body(what, number)).await
    }

    /// The check under the reference of this number, from the books.
    async fn check(&self, number: u8) -> Value {
        self.get(&format!("/_books/checks/{}", reference(number))).await
    }

    async fn deposits(&self) -> Value {
        self.books().await["deposits"].clone()
    }
}

fn reference(number: u8) -> String {
    format!("chk_{number:032x}")
}

fn body(what: &str, number: u8) -> Value {
    let mut body = json!({"reference": reference(number), "name": "Asha Rao"});
    match what {
        PANS => body["pan"] = json!(PAN),
        GSTINS => body["gstin"] = json!(GSTIN),
        _ => {
            body["account_number"] = json!(ACCOUNT);
            body["ifsc"] = json!("HDFC0001234");
        }
    }
    body
}

#[tokio::test]
async fn it_refuses_in_its_own_words() {
    let coded = |(code, words)| format!(r#"{{"error":{{"code":"{code}","message":"{words}"}}}}"#);
    let words = [
        ("invalid_key", "The API key is not valid"),
        ("account_suspended", "The account is suspended"),
        ("too_many_requests", "Too many requests"),
        ("internal", "Internal error"),
    ];
    assert_eq!(refusals(&super::stand(&World::default())).await, words.map(coded));
}
