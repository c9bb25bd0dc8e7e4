//! Domain events, named in the past tense, each written in the transaction that makes it happen.
//!
//! Invariants: events are appended, never changed; every change of an order's state has exactly one, and it
//! carries who asked for it, so an order's events are its history. What follows from an event is written in the transaction that
//! takes it from the outbox, once. Collections: `events`, `event_counters`; the relay empties `outbox`. Jobs: `handle-event`, and
//! `consume-event` for what a consumer could not take.

pub mod analytics;
mod consumer;
mod consuming;
mod counters;
#[cfg(debug_assertions)]
mod effects;
mod handler;
mod handling;
mod relay;
mod stats;

use bson::{DateTime, Document, doc};
use mongodb::{Database, error::Result};
use serde::{Deserialize, Serialize};

#[cfg(debug_assertions)]
pub use self::effects::CountEffects;
pub use self::{
    consumer::{Consumer, EventHead},
    consuming::{CONSUME_KIND, ConsumeEvent},
    handler::{EVENTS_QUEUE, EventHandler, HANDLE_KIND, HandlerAttempt, HandlerError, queue},
    handling::{HandleEvent, HandlerJobs, end_of, retry_of},
    relay::{RELAY, Relay, RelayParts},
    stats::{EventStats, EventStatsReader, router},
};
pub use crate::platform::identity::Actor;
use crate::platform::{
    batch::View,
    mongo::{Index, Latest, latest},
};

pub const EVENTS: &str = "events";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `evt_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// `OrderCreated`, ...: without a dot, which actions of audit events have.
    #[serde(rename = "type")]
    pub kind: String,
    pub subject_id: String,
    pub user_id: String,
    /// Its number among the events of its subject, from 1, counted in the subject's document. 0 where it is from before they
    /// were counted.
    #[serde(default)]
    pub seq: i64,
    pub actor: Actor,
    /// Ids and states, the tenant in which it was made (`tenantId`), what an order was charged, and `reason` where somebody gave one; never names, addresses or amounts of
    /// documents.
    pub data: Document,
    pub at: DateTime,
}

/// Appends an event to the transaction.
pub fn record(view: &mut View, event: &Event) {
    view.append(EVENTS, event);
}

#[derive(Clone, Debug)]
pub struct EventStore {
    db: Database,
}

impl EventStore {
    pub const COLLECTIONS: &[&str] = &[EVENTS, counters::COUNTERS];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(EVENTS, "subject", doc! { "subjectId": 1, "_id": 1 }),
            Index::new(EVENTS, "request", doc! { "actor.requestId": 1, "_id": 1 }),
            Index::new(EVENTS, "actor", doc! { "actor.id": 1, "_id": 1 }),
            Index::new(EVENTS, "owner", doc! { "userId": 1, "_id": 1 }),
            Index::new(EVENTS, "tenant", doc! { "data.tenantId": 1, "_id": 1 })
                .partial(doc! { "data.tenantId": { "$exists": true } }),
        ]
    }

    /// The latest events of one subject.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list_for(&self, subject_id: &str) -> Result<Latest<Event>> {
        latest(self.db.collection(EVENTS).find(doc! { "subjectId": subject_id })).await
    }
}
