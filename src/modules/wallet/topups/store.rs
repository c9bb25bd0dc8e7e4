//! Every read of top-ups. A merchant's finder takes the owner, always.

use bson::doc;
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Result};

use super::model::{CALLBACKS, OPEN_TOPUPS, TOPUPS, Topup, TopupStatus};
use crate::platform::mongo::{Index, READ_TIME_MAX};

/// Reads top-ups; they are written by commands only.
#[derive(Clone, Debug)]
pub struct TopupStore {
    db: Database,
}

impl TopupStore {
    pub const COLLECTIONS: &[&str] = &[TOPUPS, OPEN_TOPUPS, CALLBACKS];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(TOPUPS, "idempotency", doc! { "userId": 1, "clientTopupId": 1 }).unique(),
            Index::new(TOPUPS, "owner", doc! { "userId": 1, "_id": -1 }),
            Index::new(TOPUPS, "owner_status", doc! { "userId": 1, "status": 1, "_id": -1 }),
            Index::new(CALLBACKS, "event", doc! { "provider": 1, "eventId": 1 }).unique(),
            Index::new(CALLBACKS, "topup", doc! { "topupId": 1, "_id": 1 }),
        ]
    }

    fn topups(&self) -> Collection<Topup> {
        self.db.collection(TOPUPS)
    }

    /// A top-up of `user_id`; payments for checkouts are none.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find(&self, user_id: &str, topup_id: &str) -> Result<Option<Topup>> {
        let own = doc! { "_id": topup_id, "userId": user_id, "checkoutId": null };
        self.topups().find_one(own).max_time(READ_TIME_MAX).await
    }

    /// Whether money came for a payment that was not what was asked for.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn is_disputed(&self, payment_id: Option<&str>) -> Result<bool> {
        let Some(payment_id) = payment_id else { return Ok(false) };
        let disputed = doc! { "_id": payment_id, "disputed": true };
        Ok(self.topups().count_documents(disputed).max_time(READ_TIME_MAX).await? > 0)
    }

    /// Top-ups of `user_id`, newest first, older than `before_id`; one more than `limit` where there are more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list(
        &self,
        user_id: &str,
        status: Option<TopupStatus>,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Topup>> {
        // Ids of payments for checkouts begin with other letters, so the index leaves them out.
        let mut query = doc! { "userId": user_id, "_id": { "$gte": "top_", "$lt": before_id.unwrap_or("top`") } };
        if let Some(status) = status {
            query.insert("status", status.as_str());
        }
        let topups = self.topups();
        let found = topups.find(query).sort(doc! { "_id": -1 }).limit(limit as i64 + 1);
        found.max_time(READ_TIME_MAX).await?.try_collect().await
    }
}
