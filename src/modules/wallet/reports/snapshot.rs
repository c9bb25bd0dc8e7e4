//! Reads that all see the same moment.

use mongodb::{ClientSession, Collection, Database, error::Result};
use serde::de::DeserializeOwned;

use crate::modules::wallet::store::WalletStore;

/// A moment of the database. It begins with the first read.
#[derive(Debug)]
pub(super) struct Snapshot {
    db: Database,
    pub(super) session: ClientSession,
}

impl Snapshot {
    pub(super) async fn take(store: &WalletStore) -> Result<Self> {
        Ok(Self { db: store.snapshots().clone(), session: store.snapshot().await? })
    }

    pub(super) fn collection<T: Send + Sync + DeserializeOwned>(&self, name: &str) -> Collection<T> {
        self.db.collection(name)
    }
}
