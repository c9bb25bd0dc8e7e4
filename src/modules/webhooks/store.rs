//! Every read of endpoints and deliveries. A merchant's finder takes the owner, always.

use std::collections::HashMap;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{ClientSession, Collection, Database, error::Result, options::Hint};

use super::{
    DELIVERIES_KEPT,
    model::{DELIVERIES, Delivery, DeliveryStatus, ENDPOINTS, ENDPOINTS_MAX, Endpoint},
    owner::is_tenant,
    payload,
};
use crate::{
    modules::events::{EVENTS, Event},
    platform::{
        mongo::{Index, READ_TIME_MAX},
        walk::{Direction, Paged, STAGES, TimeRange, Walk, Walked, paged},
    },
};

/// Reads endpoints and deliveries; they are written by commands and by the relay's transactions.
#[derive(Clone, Debug)]
pub struct WebhookStore {
    db: Database,
}

#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub endpoint_id: Option<String>,
    pub status: Option<DeliveryStatus>,
    pub before: Option<String>,
}

impl WebhookStore {
    pub const COLLECTIONS: &[&str] = &[ENDPOINTS, DELIVERIES];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    pub(super) const fn db(&self) -> &Database {
        &self.db
    }

    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(ENDPOINTS, "slot", doc! { "ownerId": 1, "slot": 1 }).unique(),
            Index::new(DELIVERIES, "owner", doc! { "ownerId": 1, "status": 1, "_id": -1 }),
            Index::new(DELIVERIES, "endpoint", doc! { "endpointId": 1, "status": 1, "_id": -1 }),
            Index::new(DELIVERIES, "kept", doc! { "updatedAt": 1 }).expires_after(DELIVERIES_KEPT),
        ]
    }

    fn endpoints(&self) -> Collection<Endpoint> {
        self.db.collection(ENDPOINTS)
    }

    fn deliveries(&self) -> Collection<Delivery> {
        self.db.collection(DELIVERIES)
    }

    /// An endpoint of `owner_id`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find_endpoint(&self, owner_id: &str, endpoint_id: &str) -> Result<Option<Endpoint>> {
        let mine = doc! { "_id": endpoint_id, "ownerId": owner_id };
        self.endpoints().find_one(mine).max_time(READ_TIME_MAX).await
    }

    /// An endpoint, whosever it is.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn endpoint(&self, endpoint_id: &str) -> Result<Option<Endpoint>> {
        self.endpoints().find_one(doc! { "_id": endpoint_id }).max_time(READ_TIME_MAX).await
    }

    /// The endpoints of `owner_id`, the oldest first.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list_endpoints(&self, owner_id: &str) -> Result<Vec<Endpoint>> {
        let endpoints = self.endpoints();
        let found = endpoints.find(doc! { "ownerId": owner_id }).limit(ENDPOINTS_MAX as i64);
        let mut endpoints: Vec<Endpoint> = found.max_time(READ_TIME_MAX).await?.try_collect().await?;
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(endpoints)
    }

    /// The endpoints of these owners that are enabled, as a transaction sees them.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub(super) async fn enabled(
        db: &Database,
        session: &mut ClientSession,
        owner_ids: &[&str],
    ) -> Result<Vec<Endpoint>> {
        let enabled = doc! { "ownerId": { "$in": owner_ids }, "status": "enabled" };
        let mut found = db.collection::<Endpoint>(ENDPOINTS).find(enabled).session(&mut *session).await?;
        found.stream(session).try_collect().await
    }

    /// Until when calls to these endpoints are held back, of those to which they are.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub(super) async fn held_until(&self, endpoint_ids: &[&str]) -> Result<HashMap<String, DateTime>> {
        let held = doc! { "_id": { "$in": endpoint_ids }, "status": "enabled", "trouble.retryAt": { "$type": "date" } };
        let endpoints = self.db.collection::<Document>(ENDPOINTS);
        let found = endpoints.find(held).projection(doc! { "trouble.retryAt": 1 }).max_time(READ_TIME_MAX).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let until = |endpoint: Document| {
            let until =
                endpoint.get_document("trouble").and_then(|trouble| trouble.get_datetime("retryAt")).ok().copied();
            Some((endpoint.get_str("_id").ok()?.to_owned(), until?))
        };
        Ok(found.into_iter().filter_map(until).collect())
    }

    /// A delivery of `owner_id`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find_delivery(&self, owner_id: &str, delivery_id: &str) -> Result<Option<Delivery>> {
        let mine = doc! { "_id": delivery_id, "ownerId": owner_id };
        self.deliveries().find_one(mine).max_time(READ_TIME_MAX).await
    }

    /// Deliveries of `owner_id`, those of the newest events first.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list_deliveries(
        &self,
        owner_id: &str,
        filter: &DeliveryFilter,
        limit: usize,
    ) -> Result<Paged<Delivery>> {
        // Every status is named, so that one index serves with and without.
        let statuses = filter.status.map_or_else(|| DeliveryStatus::ALL.to_vec(), |status| vec![status]);
        let statuses: Vec<&str> = statuses.into_iter().map(DeliveryStatus::as_str).collect();
        let mut query = doc! { "ownerId": owner_id, "status": { "$in": statuses } };
        let mut index = "owner";
        if let Some(endpoint_id) = &filter.endpoint_id {
            query.insert("endpointId", endpoint_id);
            index = "endpoint";
        }
        if let Some(before) = &filter.before {
            query.insert("_id", doc! { "$lt": before });
        }
        let deliveries = self.deliveries();
        let found = deliveries.find(query).hint(Hint::Name(index.into()));
        let found = found.sort(doc! { "_id": -1 }).limit(limit as i64 + 1).max_time(READ_TIME_MAX);
        let found: Vec<Delivery> = found.await?.try_collect().await?;
        Ok(paged(found, limit, None, |delivery| &delivery.id))
    }

    /// Events of `owner_id`, a merchant's or a tenant's, that are posted, in a range of time, the oldest first, at most `take` beyond `after`; see [`Walk`].
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn events(
        &self,
        owner_id: &str,
        range: TimeRange,
        after: Option<&str>,
        take: usize,
    ) -> Result<Walked<Event>> {
        let mut rest = doc! { "type": { "$in": payload::inside() } };
        rest.extend(at_within("at", range));
        let (index, field) = if is_tenant(owner_id) { ("tenant", "data.tenantId") } else { ("owner", "userId") };
        let walk = Walk { collection: EVENTS, prefix: "evt", index, key: doc! { field: owner_id }, rest };
        walk.find_in_stages(&self.db, range.of_ids(), Direction::Oldest, after, take, &STAGES).await
    }

    /// Deliveries to an endpoint that have failed, of events in a range of time, the oldest first, at most `take` beyond `after`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub(super) async fn failed(
        &self,
        endpoint_id: &str,
        range: TimeRange,
        after: Option<&str>,
        take: usize,
    ) -> Result<Vec<Delivery>> {
        let key = doc! { "endpointId": endpoint_id, "status": "failed" };
        let walk =
            Walk { collection: DELIVERIES, prefix: "whd", index: "endpoint", key, rest: at_within("eventAt", range) };
        let walked = walk.go(&self.db, range.of_ids(), Direction::Oldest, after, take, None).await?;
        Ok(walked.found)
    }
}

/// A range of ids is wider than the range of time that it is for.
fn at_within(field: &str, range: TimeRange) -> Document {
    let mut within = Document::new();
    within.extend(range.from.map(|from| ("$gte".to_owned(), from.into())));
    within.extend(range.to.map(|to| ("$lt".to_owned(), to.into())));
    if within.is_empty() {
        within
    } else {
        doc! { field: within }
    }
}
