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
    testing::{Caller, basic, read, refusals, seen},
};

struct XApi(Caller);

impl Deref for XApi {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl XApi {
    fn new() -> Self {
        let (header, value) = basic("shop", "secret");
        Self(Caller::of(&super::stand(&World::default()), header, &value))
    }

    /// The same, called by another account.
    fn of(&self, user: &str) -> Self {
        Self(self.with_user(user))
    }

    async fn create(&self, number: &str) -> Response {
        self.post("/api/orders", &order(number)).await
    }

    async fn look_up(&self, number: &str) -> Response {
        self.call("GET", &format!("/api/orders?externalDocumentNumber={number}"), None).await
    }

    /// The sale that a look-up finds.
    async fn found(&self, number: &str) -> Value {
        read(self.look_up(number).await).await["value"].clone()
    }

    async fn entry(&self, number: &str) -> Value {
        self.get(&format!("/_books/orders/{number}")).await
    }
}

fn order(number: &str) -> Value {
    let address = json!({
        "address": "Hauptstraße 4/1", "address2": "", "city": "Berlin", "postCode": "10115", "countryCode": "DE",
    });
    json!({
        "externalDocumentNumber": number, "orderDate": "2026-11-29T10:00:00.000Z", "currencyCode": "EUR",
        "customer": {
            "salutation": "FRAU", "firstName": "Eva", "lastName": "Muster", "email": "eva@example.com", "phone": "+4930123456",
        },
        "billingAddress": address, "shippingAddress": address,
        "lines": [
            {"lineNo": 10_000, "itemNo": "A-1", "description": "Buch", "quantity": 2, "unitPrice": 1999, "lineAmount": 3998},
            {"lineNo": 20_000, "itemNo": "A-2", "description": "Heft", "quantity": 1, "unitPrice": 0, "lineAmount": 0},
        ],
        "shippingCost": 490, "totalAmount": 4488, "paymentReference": "pay_1",
    })
}

#[tokio::test]
async fn it_refuses_in_its_own_words() {
    let coded = |(code, words)| format!(r#"{{"error":{{"code":"{code}","message":"{words}"}}}}"#);
    let words = [
        ("Authentication_InvalidCredentials", "The user name or the password is not right"),
        ("Authorization_Forbidden", "The account is suspended"),
        ("Internal_TooManyRequests", "Too many requests"),
        ("Internal_ServerError", "Internal error"),
    ];
    assert_eq!(refusals(&super::stand(&World::default())).await, words.map(coded));
}
