//! Books of the ERP.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::contract::{NUMBER, Request};
use crate::entries::Placed;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Status {
    Open,
    Released,
    Cancelled,
}

pub struct Order {
    /// The ERP's number for it.
    order_no: String,
    number: String,
    account: String,
    pub status: Status,
}

impl Order {
    /// Its number differs from those of other runs: clients that outlive a run of the stand-in must not meet one again.
    pub fn new(request: &Request, status: Status) -> Self {
        let order_no = format!("SO-{:012}", rand::random_range(0..1_000_000_000_000_u64));
        Self { order_no, number: request.number.clone(), account: request.account.clone(), status }
    }

    /// As the ERP shows it.
    pub fn answered(&self) -> Value {
        json!({"orderNo": self.order_no, NUMBER: self.number, "status": self.status})
    }
}

impl Placed for Order {
    const NUMBER: &'static str = NUMBER;
    const NAME: &'static str = "orders";

    fn account(&self) -> &str {
        &self.account
    }

    fn is_alive(&self) -> bool {
        self.status != Status::Cancelled
    }

    fn shown(&self) -> Value {
        let mut shown = self.answered();
        shown["account"] = json!(self.account);
        shown
    }
}
