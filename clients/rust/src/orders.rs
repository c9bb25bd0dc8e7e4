//! Orders.

use std::time::{Duration, Instant};

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Call, Failure, Waybill};

/// An order is asked about so often at first, and at last.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LAST_LOOK: Duration = Duration::from_secs(5);

/// An order, as far as every kind has it; the rest is in `more`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Waybill's id.
    pub order_id: String,
    /// Yours.
    pub client_order_id: String,
    /// The provider.
    pub provider: String,
    /// `created`, `confirmed`, `in_progress`, `delivered`, `failed`, `needs_attention` or `cancelled`; there may be others one day.
    pub status: String,
    /// The provider's name for it, once it has one.
    pub reference: Option<String>,
    /// Why it came to nothing.
    pub failure: Option<OrderFailure>,
    /// All other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Why an order came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OrderFailure {
    /// A code for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl Order {
    /// Whether its provider has it, or never will.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        self.status != "created"
    }
}

impl Waybill {
    /// Creates an order, once, however often it is tried: `order` has a `clientOrderId` that you keep.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn create_order(&self, order: &Value) -> Result<Order, Failure> {
        if order["clientOrderId"].as_str().is_none_or(str::is_empty) {
            return Err(Failure::Unusable("the order has no clientOrderId, without which it can't be repeated".into()));
        }
        self.send_safely(&self.call(Method::POST, "/orders/create")?.json(order)).await?.json()
    }

    /// Cancels an order, or says why that can't be; safe to repeat.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn cancel_order(&self, client_order_id: &str, reason: Option<&str>) -> Result<Order, Failure> {
        let mut body = json!({ "clientOrderId": client_order_id });
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }
        self.send_safely(&self.call(Method::POST, "/orders/cancel")?.json(&body)).await?.json()
    }

    /// An order by Waybill's id.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get_order(&self, order_id: &str) -> Result<Order, Failure> {
        self.send_safely(&self.call_of(Method::GET, &["orders", order_id])?).await?.json()
    }

    /// An order by your id.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn find_order(&self, client_order_id: &str) -> Result<Option<Order>, Failure> {
        let call = self.call(Method::GET, "/orders")?.query("clientOrderId", client_order_id);
        let first = self.send_safely(&call).await?.page()?.items.into_iter().next();
        let read = first.map(serde_json::from_value).transpose();
        read.map_err(|error| Failure::Unusable(format!("the order can't be read: {error}")))
    }

    /// The order once its provider has it, or never will: see its `status`. An order that is not there by `limit` is given as it
    /// is. A webhook tells the same without asking.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn wait_until_placed(&self, order_id: &str, limit: Duration) -> Result<Order, Failure> {
        let (began, mut pause) = (Instant::now(), FIRST_LOOK);
        loop {
            let order = self.get_order(order_id).await?;
            let left = limit.saturating_sub(began.elapsed());
            if order.is_placed() || left.is_zero() {
                return Ok(order);
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// A call of the path with these segments, whatever is in them.
    ///
    /// # Errors
    /// [`Failure::Unusable`] where one of them would lead elsewhere.
    pub fn call_of(&self, method: Method, segments: &[&str]) -> Result<Call, Failure> {
        if let Some(odd) = segments.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
            return Err(Failure::Unusable(format!("an id can't be {odd:?}")));
        }
        let mut call = self.call(method, "")?;
        let can_have_segments = Url::path_segments_mut(&mut call.url).map(|mut path| {
            path.pop_if_empty().extend(segments);
        });
        can_have_segments.map_err(|()| Failure::Unusable(format!("{} can't have a path", self.base_url())))?;
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_where_they_are_put() {
        let waybill = Waybill::new("http://127.0.0.1:1/v").expect("an address");
        let path = |id: &str| waybill.call_of(Method::GET, &["orders", id]).map(|call| call.url.path().to_owned());
        assert_eq!(path("ord_1").expect("a path"), "/v/orders/ord_1");
        assert_eq!(path("a/../b?c").expect("a path"), "/v/orders/a%2F..%2Fb%3Fc");
        assert!(path("..").is_err() && path("").is_err());
    }
}
