//! The guard: one document that every transaction writes which sets a hold, purges or erases, so that two of them conflict.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};

use super::RETENTION;
use crate::platform::{
    batch::{Entity, Key},
    clock::after,
    ids::new_id,
    mongo,
};

const ID: &str = "guard";
/// A purge that has not extended its lease for so long is taken for dead. Its open transaction can't commit any more: its last write
/// asks for the token.
const LEASE: Duration = Duration::from_secs(60);
/// How often a lease is extended where no transaction does it.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(15);

/// Every transaction that sets or releases a hold, purges, erases, or destroys what a hold would keep, writes this document: two of them
/// conflict in the database, and the one that is repeated sees what the other did. It is also the lease of the purge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guard {
    #[serde(rename = "_id")]
    id: String,
    /// Counts such transactions, so that each of them writes something.
    changes: i64,
    /// How many holds were released so far: records that they kept may be purged now.
    releases: i64,
    /// Of the running purge.
    token: Option<String>,
    lease_until: DateTime,
}

impl Entity for Guard {
    const COLLECTION: &'static str = RETENTION;

    fn id(&self) -> &str {
        &self.id
    }
}

impl Guard {
    /// The first guard of a database.
    pub(super) fn new() -> Self {
        let never = DateTime::from_millis(0);
        Self { id: ID.into(), changes: 0, releases: 0, token: None, lease_until: never }
    }

    /// After a change, and so many releases in it.
    pub(super) fn after(mut self, releases: i64) -> Self {
        self.changes += 1;
        self.releases += releases;
        self
    }

    #[must_use]
    pub fn key() -> Key {
        Key::id(RETENTION, ID)
    }
}

/// The right to purge.
#[derive(Clone, Debug)]
pub(super) struct PurgeLease {
    pub(super) token: String,
    /// [`Guard::releases`] when it was taken.
    pub(super) releases: i64,
}

pub(super) async fn claim(db: &Database, now: DateTime) -> Result<Option<PurgeLease>> {
    ensure(db).await?;
    let token = new_id("prg");
    let free = doc! { "_id": ID, "leaseUntil": { "$lte": now } };
    let take = doc! { "$set": { "token": &token, "leaseUntil": after(now, LEASE) } };
    let taken = db.collection::<Guard>(RETENTION).find_one_and_update(free, take).await?;
    Ok(taken.map(|guard| PurgeLease { token, releases: guard.releases }))
}

/// Gives the lease back.
///
/// # Errors
/// What the driver says; it runs out then.
pub(super) async fn release(db: &Database, lease: &PurgeLease) -> Result<()> {
    let free = doc! { "$set": { "token": null, "leaseUntil": DateTime::from_millis(0) } };
    let ours = doc! { "_id": ID, "token": &lease.token };
    db.collection::<Document>(RETENTION).update_one(ours, free).await.map(drop)
}

/// Makes this transaction conflict with those that set holds, and extends the lease. A transaction whose lease was lost must not commit.
///
/// # Errors
/// What the driver says, a conflict among it; and that the lease was lost.
pub(super) async fn write_guard(
    db: &Database,
    session: &mut ClientSession,
    lease: Option<&PurgeLease>,
    now: DateTime,
) -> Result<()> {
    let mut filter = doc! { "_id": ID };
    let mut change = doc! { "$inc": { "changes": 1_i64 } };
    if let Some(lease) = lease {
        filter.insert("token", &lease.token);
        change.insert("$set", doc! { "leaseUntil": after(now, LEASE) });
    }
    let written = db.collection::<Document>(RETENTION).update_one(filter, change).session(session).await?;
    if written.matched_count == 1 { Ok(()) } else { Err(lost()) }
}

/// Extends the lease.
///
/// # Errors
/// What the driver says; and that the lease was lost.
pub(super) async fn renew(db: &Database, lease: &PurgeLease, now: DateTime) -> Result<()> {
    let extended = doc! { "$set": { "leaseUntil": after(now, LEASE) } };
    let ours = doc! { "_id": ID, "token": &lease.token };
    let written = db.collection::<Document>(RETENTION).update_one(ours, extended).await?;
    if written.matched_count == 1 { Ok(()) } else { Err(lost()) }
}

/// Creates the guard where there is none yet.
pub(super) async fn ensure(db: &Database) -> Result<()> {
    let guards = db.collection::<Guard>(RETENTION);
    if guards.find_one(doc! { "_id": ID }).max_time(mongo::READ_TIME_MAX).await?.is_some() {
        return Ok(());
    }
    match guards.insert_one(Guard::new()).await {
        Err(error) if !mongo::is_duplicate_key(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The driver prints texts of ours only where they are owned.
fn lost() -> Error {
    Error::custom("another purge has taken over".to_owned())
}
