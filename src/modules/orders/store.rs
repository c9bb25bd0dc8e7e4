//! Every read of orders. A merchant's finder takes the owner, always.

use std::collections::HashMap;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Result};
use serde::Deserialize;

use super::{
    files::{OrderFiles, PIECES},
    model::{ORDERS, Order, OrderStatus},
};
use crate::platform::{
    mongo::{Index, READ_TIME_MAX},
    walk::{Direction, Paged, STAGES, TimeRange, Walk, paged},
};

/// Reads orders; they are written by commands only.
#[derive(Clone, Debug)]
pub struct OrderStore {
    db: Database,
}

#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    /// The merchant's id.
    pub client_order_id: Option<String>,
    pub status: Option<OrderStatus>,
    pub provider: Option<String>,
    pub created: TimeRange,
}

impl OrderStore {
    pub const COLLECTIONS: &[&str] = &[ORDERS, PIECES];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    #[must_use]
    pub fn indexes() -> Vec<Index> {
        let orders = vec![
            // Idempotency; and for staff who know the merchant's id alone.
            Index::new(ORDERS, "client_user", doc! { "clientOrderId": 1, "userId": 1 }).unique(),
            Index::new(ORDERS, "live_reference", doc! { "liveReference": 1 })
                .unique()
                .partial(doc! { "liveReference": { "$exists": true } }),
            // All of a user, too: seven scans, merged.
            Index::new(ORDERS, "owner_status", doc! { "userId": 1, "status": 1, "_id": -1 }),
            // For whoever looks after them; small, because few need it.
            Index::new(ORDERS, "attention", doc! { "status": 1, "_id": 1 })
                .partial(doc! { "status": OrderStatus::NeedsAttention.as_str() }),
            // For whoever has only heard of one.
            Index::new(ORDERS, "number", doc! { "orderNumber": 1 }),
            Index::new(ORDERS, "tenant", doc! { "tenantId": 1, "_id": -1 })
                .partial(doc! { "tenantId": { "$exists": true } }),
        ];
        [orders, OrderFiles::indexes()].concat()
    }

    fn orders(&self) -> Collection<Order> {
        self.db.collection(ORDERS)
    }

    /// How many orders wait for a person, counted to a hundred thousand.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn count_needing_attention(&self) -> Result<u64> {
        let waiting = doc! { "status": OrderStatus::NeedsAttention.as_str() };
        self.orders().count_documents(waiting).limit(100_000).max_time(READ_TIME_MAX).await
    }

    /// An order of `user_id`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find(&self, user_id: &str, order_id: &str) -> Result<Option<Order>> {
        self.orders().find_one(doc! { "_id": order_id, "userId": user_id }).max_time(READ_TIME_MAX).await
    }

    /// Anybody's order, for staff.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find_any(&self, order_id: &str) -> Result<Option<Order>> {
        self.orders().find_one(doc! { "_id": order_id }).max_time(READ_TIME_MAX).await
    }

    /// Notes of operators about these orders, by order; for staff.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn comments(&self, order_ids: &[String]) -> Result<HashMap<String, String>> {
        #[derive(Debug, Deserialize)]
        struct Commented {
            #[serde(rename = "_id")]
            order_id: String,
            comment: Option<String>,
        }
        if order_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let orders = self.db.collection::<Commented>(ORDERS);
        let found = orders.find(doc! { "_id": { "$in": order_ids } });
        let found = found.projection(doc! { "comment": 1 }).max_time(READ_TIME_MAX).await?;
        let found: Vec<Commented> = found.try_collect().await?;
        Ok(found.into_iter().filter_map(|order| Some((order.order_id, order.comment?))).collect())
    }

    /// Orders of `user_id`, newest first, older than `before_id`. A range of time is a range of ids; by provider, for which
    /// there is no index, a page looks at so many orders and no more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list(
        &self,
        user_id: &str,
        filter: &OrderFilter,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Paged<Order>> {
        let is_indexed = filter.provider.is_none();
        self.walk(&filter.walk(user_id), filter, is_indexed, before_id, limit).await
    }

    /// Orders of a tenant's members that were created while they belonged to it, newest first, older than `before_id`. Where
    /// a filter has no index a page looks at so many orders and no more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list_of_tenant(
        &self,
        tenant_id: &str,
        filter: &OrderFilter,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Paged<Order>> {
        let mut rest = filter.rest();
        rest.extend(filter.status.map(|status| ("status".to_owned(), status.as_str().into())));
        rest.extend(filter.client_order_id.as_ref().map(|id| ("clientOrderId".to_owned(), id.into())));
        let is_indexed = filter.provider.is_none() && filter.status.is_none() && filter.client_order_id.is_none();
        let walk =
            Walk { collection: ORDERS, prefix: "ord", index: "tenant", key: doc! { "tenantId": tenant_id }, rest };
        self.walk(&walk, filter, is_indexed, before_id, limit).await
    }

    /// Anybody's orders, or those of `user_id`, newest first, older than `before_id`, for staff. Where a filter has no index a page
    /// looks at so many orders and no more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list_any(
        &self,
        user_id: Option<&str>,
        filter: &OrderFilter,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Paged<Order>> {
        if let Some(user_id) = user_id {
            return self.list(user_id, filter, before_id, limit).await;
        }
        let mut rest = filter.rest();
        let mut key = Document::new();
        let index = match (&filter.client_order_id, filter.status) {
            (Some(id), status) => {
                // Sorted after reading: as many as there are owners who gave an order this id.
                key.insert("clientOrderId", id);
                rest.extend(status.map(|status| ("status".to_owned(), status.as_str().into())));
                "client_user"
            }
            (None, Some(OrderStatus::NeedsAttention)) => {
                key.insert("status", OrderStatus::NeedsAttention.as_str());
                "attention"
            }
            (None, status) => {
                rest.extend(status.map(|status| ("status".to_owned(), status.as_str().into())));
                "_id_"
            }
        };
        let is_indexed = rest.is_empty();
        let walk = Walk { collection: ORDERS, prefix: "ord", index, key, rest };
        self.walk(&walk, filter, is_indexed, before_id, limit).await
    }

    async fn walk(
        &self,
        walk: &Walk,
        filter: &OrderFilter,
        is_indexed: bool,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Paged<Order>> {
        let (range, direction, take) = (filter.created.of_ids(), Direction::Newest, limit + 1);
        let found = if is_indexed {
            walk.go(&self.db, range, direction, before_id, take, None).await?
        } else {
            walk.find_in_stages(&self.db, range, direction, before_id, take, &STAGES).await?
        };
        Ok(paged(found.found, limit, found.ended_at, |order: &Order| &order.id))
    }
}

impl OrderFilter {
    fn walk(&self, user_id: &str) -> Walk {
        let mut key = doc! { "userId": user_id };
        let mut rest = self.rest();
        let index = match (&self.client_order_id, self.status) {
            (Some(id), status) => {
                key.insert("clientOrderId", id);
                rest.extend(status.map(|status| ("status".to_owned(), status.as_str().into())));
                "client_user"
            }
            (None, Some(status)) => {
                key.insert("status", status.as_str());
                "owner_status"
            }
            (None, None) => {
                key.insert("status", doc! { "$in": OrderStatus::ALL.map(OrderStatus::as_str).to_vec() });
                "owner_status"
            }
        };
        Walk { collection: ORDERS, prefix: "ord", index, key, rest }
    }

    /// Conditions that no index covers.
    fn rest(&self) -> Document {
        let mut rest = Document::new();
        if let Some(provider) = &self.provider {
            rest.insert("provider", provider);
        }
        let mut created = Document::new();
        created.extend(self.created.from.map(|from| ("$gte".to_owned(), from.into())));
        created.extend(self.created.to.map(|to| ("$lt".to_owned(), to.into())));
        if !created.is_empty() {
            rest.insert("createdAt", created);
        }
        rest
    }
}
