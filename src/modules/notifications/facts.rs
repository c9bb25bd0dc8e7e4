//! What letters say of the things they are about, as those are now.

use mongodb::Database;
use serde_json::{Value, json};

use super::letters::About;
use crate::{
    modules::{
        events::{Event, HandlerError},
        orders::OrderStore,
        wallet::topups::{TopupStatus, TopupStore},
    },
    platform::money::Money,
};

/// Reads what letters are about.
#[derive(Clone, Debug)]
pub struct Facts {
    orders: OrderStore,
    topups: TopupStore,
}

impl Facts {
    /// Over `db`.
    #[must_use]
    pub fn new(db: &Database) -> Self {
        Self { orders: OrderStore::new(db.clone()), topups: TopupStore::new(db.clone()) }
    }

    /// The values of a letter about this event; none where things have gone on since, and there is nothing more to say.
    pub(super) async fn of(&self, about: About, event: &Event) -> Result<Option<Value>, HandlerError> {
        let (user_id, id) = (&*event.user_id, &*event.subject_id);
        match about {
            About::Order => {
                let order = self.orders.find(user_id, id).await.map_err(|error| away(&error))?;
                let order = order.ok_or_else(|| gone("The order is not there."))?;
                if event.data.get_str("status").is_ok_and(|status| status != order.status.as_str()) {
                    return Ok(None);
                }
                let failure = order.failure.map(|failure| json!({ "code": failure.code, "message": failure.message }));
                Ok(Some(json!({
                    "orderId": order.id,
                    "orderNumber": order.order_number,
                    "clientOrderId": order.client_order_id,
                    "provider": order.provider,
                    "status": order.status.as_str(),
                    "charge": order.charge.map(shown),
                    "failure": failure,
                })))
            }
            About::Topup => {
                let topup = self.topups.find(user_id, id).await.map_err(|error| away(&error))?;
                let topup = topup.ok_or_else(|| gone("The top-up is not there."))?;
                let values = json!({
                    "topupId": topup.id, "clientTopupId": topup.client_topup_id, "amount": shown(topup.money()),
                });
                Ok((topup.status == TopupStatus::Paid).then_some(values))
            }
        }
    }
}

/// As people read it.
fn shown(money: Money) -> String {
    money.to_string()
}

/// The database can't be read now.
pub(super) fn away(error: &mongodb::error::Error) -> HandlerError {
    tracing::debug!(%error, "what a mail is about can't be read");
    let message = "The database could not be read.".to_owned();
    HandlerError::Retryable { code: "mail.database_away", message, after: None }
}

fn gone(message: &str) -> HandlerError {
    HandlerError::Invalid { code: "mail.nothing_to_tell", message: message.to_owned() }
}
