//! Every read of orders. A merchant's finder takes the owner, always.

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Result};

use super::model::{ORDERS, Order, OrderStatus};
use crate::platform::mongo::Index;

/// Reads orders; they are written by commands only.
#[derive(Clone, Debug)]
pub struct OrderStore {
    db: Database,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    /// The merchant's id.
    pub client_order_id: Option<String>,
    /// Status.
    pub status: Option<OrderStatus>,
    /// Provider.
    pub provider: Option<String>,
    /// Created at or after.
    pub from: Option<DateTime>,
    /// Created before.
    pub to: Option<DateTime>,
}

impl OrderStore {
    /// Collections of this module.
    pub const COLLECTIONS: &[&str] = &[ORDERS];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    /// Indexes of this module.
    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(ORDERS, "idempotency", doc! { "userId": 1, "clientOrderId": 1 }).unique(),
            Index::new(ORDERS, "live_awb", doc! { "liveAwb": 1 })
                .unique()
                .partial(doc! { "liveAwb": { "$exists": true } }),
            Index::new(ORDERS, "owner", doc! { "userId": 1, "_id": -1 }),
            Index::new(ORDERS, "owner_status", doc! { "userId": 1, "status": 1, "_id": -1 }),
        ]
    }

    fn orders(&self) -> Collection<Order> {
        self.db.collection(ORDERS)
    }

    /// An order of `user_id`.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn find(&self, user_id: &str, order_id: &str) -> Result<Option<Order>> {
        self.orders().find_one(doc! { "_id": order_id, "userId": user_id }).await
    }

    /// Orders of `user_id`, newest first, older than `before_id`; one more than `limit` where there are more.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn list(
        &self,
        user_id: &str,
        filter: &OrderFilter,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Order>> {
        let mut query = doc! { "userId": user_id };
        if let Some(id) = &filter.client_order_id {
            query.insert("clientOrderId", id);
        }
        if let Some(status) = filter.status {
            query.insert("status", status.as_str());
        }
        if let Some(provider) = &filter.provider {
            query.insert("provider", provider);
        }
        let mut created = Document::new();
        if let Some(from) = filter.from {
            created.insert("$gte", from);
        }
        if let Some(to) = filter.to {
            created.insert("$lt", to);
        }
        if !created.is_empty() {
            query.insert("createdAt", created);
        }
        if let Some(id) = before_id {
            query.insert("_id", doc! { "$lt": id });
        }
        let orders = self.orders();
        let found = orders.find(query).sort(doc! { "_id": -1 }).limit(limit as i64 + 1);
        found.await?.try_collect().await
    }
}
