//! Work that one process at a time does for all: whoever holds its lease. The lease only spares the others the work; that
//! nothing is done twice rests on what the work's own transactions check.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::{Database, error::Result, options::ReturnDocument};

use super::{ids::new_id, mongo};

/// Where leases are: `{_id: <work>, holder, until}`.
pub const SINGLETONS: &str = "singletons";
/// A holder that says nothing for this long is dead; the work waits for as long.
const LEASE: Duration = Duration::from_secs(6);

/// This process's claim to a kind of work.
#[derive(Clone, Debug)]
pub struct Singleton {
    db: Database,
    work: &'static str,
    holder: String,
    lease: Duration,
}

impl Singleton {
    /// A claim to the work of this name, not yet made.
    #[must_use]
    pub fn new(db: Database, work: &'static str) -> Self {
        Self { db, work, holder: new_id("hld"), lease: LEASE }
    }

    /// The same for work whose holder says so less often.
    #[must_use]
    pub const fn lasting(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Takes or extends the lease; false while another holds it.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn hold(&self) -> Result<bool> {
        let until = doc! { "$add": ["$$NOW", self.lease.as_millis() as i64] };
        // What is missing is less than any time. Longer than a lease is nobody's: the database's clock was set back since.
        let ended = doc! { "$or": [{ "$lt": ["$until", "$$NOW"] }, { "$gt": ["$until", &until] }] };
        let free = doc! { "$or": [{ "$eq": ["$holder", &self.holder] }, ended] };
        let mine = doc! { "_id": self.work, "holder": &self.holder, "until": until };
        let taken = vec![doc! { "$replaceWith": { "$cond": [free, mine, "$$ROOT"] } }];
        let leases = self.db.collection::<Document>(SINGLETONS);
        let held = leases.find_one_and_update(doc! { "_id": self.work }, taken).upsert(true);
        match held.return_document(ReturnDocument::After).await {
            Ok(lease) => {
                Ok(lease.is_some_and(|lease| lease.get_str("holder").is_ok_and(|holder| holder == self.holder)))
            }
            // Two found none at once, and the other was first.
            Err(error) if mongo::is_duplicate_key(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets another process go on at once.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn release(&self) -> Result<()> {
        let leases = self.db.collection::<Document>(SINGLETONS);
        leases.delete_one(doc! { "_id": self.work, "holder": &self.holder }).await.map(drop)
    }
}
