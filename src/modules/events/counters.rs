//! Counters of the relay's transactions: how many events they have relayed, how many each handler has taken, and which sums
//! of analytics they add to.

use std::{collections::BTreeMap, time::Duration};

use bson::{DateTime, Document, doc};
use mongodb::{ClientSession, Database, error::Result};
use serde::Deserialize;

use crate::platform::{clock::after, mongo::READ_TIME_MAX};

/// One document, which every transaction of the relay writes.
pub const COUNTERS: &str = "event_counters";
const ID: &str = "relay";
pub(super) const RELAYED: &str = "relayed";
/// Events that consumers have taken one by one.
pub(super) const TAKEN_ALONE: &str = "takenAlone";
/// Sums that are counted anew for longer are not added to any more: whoever counted them was stopped.
const FILLING_MAX: Duration = Duration::from_secs(24 * 3_600);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counters {
    pub(super) relayed: i64,
    pub(super) taken: BTreeMap<String, i64>,
    pub(super) analytics: Generations,
}

/// Generations of the sums of analytics: the one that is read, and the one that is counted anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Generations {
    /// The generation that is read.
    pub(super) generation: i64,
    /// The generation that is being rebuilt.
    pub(super) filling: Option<i64>,
    /// Since then.
    pub(super) filling_since: Option<DateTime>,
}

impl Generations {
    /// The sums that are counted anew now.
    pub(super) fn filling_generation(&self, now: DateTime) -> Option<i64> {
        self.filling.filter(|_| self.filling_since.is_some_and(|since| after(since, FILLING_MAX) > now))
    }
}

pub(super) fn taken_by(handler: &str) -> String {
    format!("taken.{handler}")
}

pub(super) async fn add(db: &Database, session: &mut ClientSession, counts: Document) -> Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    update(db, session, doc! { "$inc": counts }).await
}

/// Sets what stands among the counters, in the transaction: no transaction of the relay overlooks it.
pub(super) async fn set(db: &Database, session: &mut ClientSession, values: Document) -> Result<()> {
    update(db, session, doc! { "$set": values }).await
}

async fn update(db: &Database, session: &mut ClientSession, update: Document) -> Result<()> {
    let counters = db.collection::<Document>(COUNTERS);
    counters.update_one(doc! { "_id": ID }, update).upsert(true).session(session).await.map(drop)
}

/// Reads them, as the session sees them where there is one.
pub(super) async fn read(db: &Database, session: Option<&mut ClientSession>) -> Result<Counters> {
    let counters = db.collection::<Counters>(COUNTERS);
    let reading = counters.find_one(doc! { "_id": ID }).max_time(READ_TIME_MAX);
    let found = match session {
        Some(session) => reading.session(session).await,
        None => reading.await,
    };
    Ok(found?.unwrap_or_default())
}

/// A whole number of a document, 0 where there is none.
pub(super) fn whole(document: &Document, field: &str) -> i64 {
    document.get(field).and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from))).unwrap_or_default()
}
