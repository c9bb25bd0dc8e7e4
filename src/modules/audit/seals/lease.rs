//! Who seals: one process at a time. The lease only spares others the work; that there is one chain rests on the seals'
//! numbers.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::{
    Database,
    error::{Error, Result},
    options::ReturnDocument,
};

use super::store::AUDIT_SEALER;
use crate::platform::mongo;

/// A sealer that says nothing for this long is dead; records wait for as long.
pub(super) const LEASE: Duration = Duration::from_secs(6);
const ID: &str = "lease";

/// The lease of one process.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    db: Database,
    holder: String,
}

impl Lease {
    pub(super) const fn new(db: Database, holder: String) -> Self {
        Self { db, holder }
    }

    /// Takes or extends the lease; gives the time by the database's clock in milliseconds, none while another holds it.
    pub(super) async fn hold(&self) -> Result<Option<i64>> {
        let until = doc! { "$add": ["$$NOW", LEASE.as_millis() as i64] };
        // What is missing is less than any time. Longer than a lease is nobody's: the database's clock was set back since.
        let ended = doc! { "$or": [{ "$lt": ["$until", "$$NOW"] }, { "$gt": ["$until", &until] }] };
        let free = doc! { "$or": [{ "$eq": ["$holder", &self.holder] }, ended] };
        let mine = doc! { "_id": ID, "holder": &self.holder, "now": "$$NOW", "until": until };
        let taken = vec![doc! { "$replaceWith": { "$cond": [free, mine, "$$ROOT"] } }];
        let leases = self.db.collection::<Document>(AUDIT_SEALER);
        let held = leases.find_one_and_update(doc! { "_id": ID }, taken).upsert(true);
        match held.return_document(ReturnDocument::After).await {
            Ok(Some(lease)) if lease.get_str("holder").is_ok_and(|holder| holder == self.holder) => Ok(Some(
                lease.get_datetime("now").map_err(|error| Error::custom(error.to_string()))?.timestamp_millis(),
            )),
            Ok(_) => Ok(None),
            // Two found none at once, and the other was first.
            Err(error) if mongo::is_duplicate_key(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets another process go on at once.
    pub(super) async fn release(&self) -> Result<()> {
        let leases = self.db.collection::<Document>(AUDIT_SEALER);
        leases.delete_one(doc! { "_id": ID, "holder": &self.holder }).await.map(drop)
    }
}
