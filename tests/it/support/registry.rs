//! The property register's stand-in, with books of its own.

use serde_json::{Value, json};

use super::{Carrier, stand::Stand};

/// A valid order of an extract.
pub fn extract(client_order_id: &str, kind: &str) -> Value {
    json!({
        "clientOrderId": client_order_id, "provider": "rosreestr",
        "extract": { "cadastralNumber": "50:33:0000000:98325", "type": kind },
    })
}

pub struct Registry {
    stand: Stand,
}

impl Registry {
    pub fn beside(carrier: &Carrier) -> Self {
        Self { stand: Stand::beside(carrier, "rosreestr") }
    }

    /// Adds a rule; see the stand-ins' `rules`, `transport` and the register's `modes`.
    pub async fn rule(&self, rule: Value) {
        self.stand.rule(rule).await;
    }

    /// How what is placed from now on goes on, and what comes of it.
    pub async fn course(&self, course: Value) {
        self.stand.control("courses", course, 204).await;
    }

    /// Where what was placed for this order stands, for good.
    pub async fn stands(&self, order_id: &str, state: &str) {
        self.stand.control(&format!("docflows/{order_id}"), json!({ "state": state }), 200).await;
    }

    pub async fn books(&self) -> Value {
        self.stand.books().await
    }

    /// What is there for this order; null where it was never heard of.
    pub async fn docflows(&self, order_id: &str) -> Value {
        self.stand.entry("docflows", order_id).await
    }
}
