//! Reads tenants.

use bson::doc;
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};

use super::model::{TENANTS, Tenant};
use crate::platform::mongo::{Index, READ_TIME_MAX};

pub const COLLECTIONS: &[&str] = &[TENANTS];

#[must_use]
pub fn indexes() -> Vec<Index> {
    vec![Index::new(TENANTS, "tenants_slug", doc! { "slug": 1 }).unique()]
}

/// Reads tenants; they are written by commands only.
#[derive(Clone, Debug)]
pub struct TenantStore {
    db: Database,
}

impl TenantStore {
    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    /// One tenant.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find(&self, tenant_id: &str) -> Result<Option<Tenant>> {
        self.db.collection(TENANTS).find_one(doc! { "_id": tenant_id }).max_time(READ_TIME_MAX).await
    }

    /// Tenants, newest first, older than the one with this id; at most `limit`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Tenant>> {
        let query = after.map_or_else(bson::Document::new, |after| doc! { "_id": { "$lt": after } });
        let tenants = self.db.collection::<Tenant>(TENANTS);
        let found = tenants.find(query).sort(doc! { "_id": -1 }).limit(limit as i64).max_time(READ_TIME_MAX);
        found.await?.try_collect().await
    }
}
