//! Counters of the relay, kept by its own transactions: how many events it has relayed, and how many each handler has taken.

use bson::{Document, doc};
use mongodb::{ClientSession, Database, error::Result};

/// One document.
pub const COUNTERS: &str = "event_counters";
const ID: &str = "relay";
/// Events that were relayed.
pub(super) const RELAYED: &str = "relayed";

/// The counter of what a handler has taken.
pub(super) fn taken_by(handler: &str) -> String {
    format!("taken.{handler}")
}

/// Adds to counters, in the transaction.
pub(super) async fn add(db: &Database, session: &mut ClientSession, counts: Document) -> Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    let counters = db.collection::<Document>(COUNTERS);
    counters.update_one(doc! { "_id": ID }, doc! { "$inc": counts }).upsert(true).session(session).await.map(drop)
}
