//! Queries over the logs, and their indexes.

use bson::{DateTime, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};
use serde::Deserialize;

use super::{
    event::AuditEvent,
    model::{AUDIT_EVENTS, ProviderRequestLog, ProviderResponseLog, REQUEST_LOGS, RESPONSE_LOGS},
    record::journal,
};
use crate::platform::{
    mongo::{Index, Latest, READ_TIME_MAX, latest},
    walk::{TimeRange, ids_within},
};

/// How many answers of a provider had an outcome.
#[derive(Clone, Debug, Deserialize)]
pub struct OutcomeCount {
    /// `parcelx`, ...
    pub provider: String,
    /// `done`, `retryable`, `unknown`, ...
    pub outcome: String,
    pub count: i64,
}

/// Reads the logs, which are written in transactions only; and writes down what was read.
#[derive(Clone, Debug)]
pub struct AuditStore {
    db: Database,
}

impl AuditStore {
    pub const COLLECTIONS: &[&str] = &[REQUEST_LOGS, RESPONSE_LOGS, AUDIT_EVENTS];

    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(REQUEST_LOGS, "order", doc! { "orderId": 1, "_id": 1 }),
            Index::new(REQUEST_LOGS, "owner", doc! { "userId": 1, "_id": 1 }),
            Index::new(REQUEST_LOGS, "client_order", doc! { "clientOrderId": 1, "_id": 1 }),
            Index::new(REQUEST_LOGS, "correlation", doc! { "correlationId": 1, "_id": 1 }),
            Index::new(RESPONSE_LOGS, "order", doc! { "orderId": 1, "_id": 1 }),
            Index::new(RESPONSE_LOGS, "request", doc! { "requestRefId": 1 }),
            Index::new(RESPONSE_LOGS, "awb", doc! { "awb": 1, "_id": 1 }).partial(doc! { "awb": { "$gt": "" } }),
            Index::new(AUDIT_EVENTS, "resource", doc! { "resourceId": 1, "_id": 1 }),
            Index::new(AUDIT_EVENTS, "request", doc! { "actor.requestId": 1, "_id": 1 }),
            Index::new(AUDIT_EVENTS, "actor", doc! { "actor.id": 1, "_id": 1 }),
            Index::new(AUDIT_EVENTS, "owner", doc! { "userId": 1, "_id": 1 }),
        ]
    }

    /// Writes down what goes with no other change: a reading, before it is shown; a refusal; what a command did.
    ///
    /// # Errors
    /// What the driver says; what was read must not be shown then.
    pub async fn record(&self, event: &AuditEvent) -> Result<()> {
        journal().insert_alone(&self.db, AUDIT_EVENTS, event).await
    }

    /// The latest that was done to or read of something.
    pub async fn list_events(&self, resource_id: &str) -> Result<Latest<AuditEvent>> {
        latest(self.db.collection(AUDIT_EVENTS).find(doc! { "resourceId": resource_id })).await
    }

    pub async fn list_requests(&self, order_id: &str) -> Result<Latest<ProviderRequestLog>> {
        latest(self.db.collection(REQUEST_LOGS).find(doc! { "orderId": order_id })).await
    }

    /// How many of the latest answers since `since`, of at most so many, each provider gave with each outcome.
    pub async fn count_outcomes(&self, since: DateTime, at_most: i64) -> Result<Vec<OutcomeCount>> {
        let written = TimeRange { from: Some(since), to: None }.of_ids();
        let stages = [
            doc! { "$match": { "_id": ids_within("res", written) } },
            doc! { "$sort": { "_id": -1 } },
            doc! { "$limit": at_most },
            doc! { "$match": { "receivedAt": { "$gte": since } } },
            doc! { "$group": { "_id": { "provider": "$provider", "outcome": "$outcome" }, "count": { "$sum": 1_i64 } } },
            doc! { "$replaceWith": { "$mergeObjects": ["$_id", { "count": "$count" }] } },
        ];
        let logs = self.db.collection::<OutcomeCount>(RESPONSE_LOGS);
        logs.aggregate(stages).with_type().max_time(READ_TIME_MAX).await?.try_collect().await
    }

    pub async fn list_responses(&self, order_id: &str) -> Result<Latest<ProviderResponseLog>> {
        latest(self.db.collection(RESPONSE_LOGS).find(doc! { "orderId": order_id })).await
    }
}
