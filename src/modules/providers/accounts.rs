//! Provider accounts: how often their credentials were refused in a row.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongodb::{Collection, Database, error::Result, options::ReturnDocument};
use parking_lot::Mutex;

/// Refused so often in a row, the account's queues are paused.
pub const AUTH_FAILURES_MAX: i64 = 3;
const ACCOUNTS: &str = "provider_accounts";
/// A success ends a row that another process may have counted, at most this often.
const END_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Counts refusals.
#[derive(Clone, Debug)]
pub struct AccountStore {
    accounts: Collection<Document>,
    /// When this process last ended a row; so a success costs a write only after a refusal, and every few seconds for the
    /// rows that other processes count.
    ended: Arc<Mutex<Option<Instant>>>,
}

impl AccountStore {
    /// Collections of this module.
    pub const COLLECTIONS: &[&str] = &[ACCOUNTS];

    /// A store over `db`.
    #[must_use]
    pub fn new(db: &Database) -> Self {
        Self { accounts: db.collection(ACCOUNTS), ended: Arc::default() }
    }

    /// Counts one more refusal and gives how many that are in a row.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn count_auth_failure(&self, account_id: &str) -> Result<i64> {
        *self.ended.lock() = None;
        let update = doc! { "$inc": { "authFailures": 1_i64 } };
        let after = self
            .accounts
            .find_one_and_update(doc! { "_id": account_id }, update)
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await?;
        Ok(after.and_then(|account| account.get_i64("authFailures").ok()).unwrap_or(1))
    }

    /// The credentials were accepted: the row is over.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn end_auth_failures(&self, account_id: &str) -> Result<()> {
        {
            let mut ended = self.ended.lock();
            if ended.is_some_and(|at| at.elapsed() < END_AGAIN_AFTER) {
                return Ok(());
            }
            *ended = Some(Instant::now());
        }
        let failing = doc! { "_id": account_id, "authFailures": { "$gt": 0_i64 } };
        self.accounts.update_one(failing, doc! { "$set": { "authFailures": 0_i64 } }).await.map(drop)
    }
}
