//! Statistics of events for `/events/stats` and the worker's log.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State};
use bson::{Document, doc};
use futures_util::{FutureExt, StreamExt};
use mongodb::{ClientSession, Database, options::ReadConcern};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    HANDLE_KIND,
    consuming::CONSUME_KIND,
    counters::{self, whole},
};
use crate::{
    modules::queue::JOBS,
    platform::{
        batch::OUTBOX,
        clock::Clock,
        error::{AppError, Problem},
        http::NoQuery,
        identity::Admin,
        mongo::READ_TIME_MAX,
    },
};

#[derive(Clone, Debug)]
pub struct EventStatsReader {
    pub db: Database,
    pub clock: Clock,
    pub handlers: Vec<&'static str>,
    pub queues: Vec<&'static str>,
}

/// Events by progress: `total = pending + processed + failed`, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventStats {
    /// Events there were.
    pub total: i64,
    /// Events that are not relayed yet, or with a handler still to run and none that gave up.
    pub pending: i64,
    /// Everything is done that follows from them.
    pub processed: i64,
    /// A handler has given up; its dead job is at `/queues`.
    pub failed: i64,
    /// Pending events in the outbox: not relayed yet.
    pub unrelayed: i64,
    /// Age of the oldest one that is pending; none where there is none.
    pub oldest_pending_seconds: Option<i64>,
    /// Counts by handler, of the events that it wanted.
    pub handlers: Vec<HandlerStats>,
}

/// Counts of a handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandlerStats {
    /// Its name.
    pub name: String,
    /// Events to be handled, or handled again.
    pub pending: i64,
    /// Handled.
    pub done: i64,
    /// Given up.
    pub dead: i64,
}

/// Of some events: how many, and since when the oldest waits.
#[derive(Clone, Copy, Debug, Default)]
struct PendingEvents {
    count: i64,
    oldest_ms: Option<i64>,
}

impl PendingEvents {
    fn of(found: &Document) -> Self {
        let oldest_ms = found.get_datetime("oldest").ok().map(|at| at.timestamp_millis());
        Self { count: whole(found, "count"), oldest_ms }
    }
}

impl EventStatsReader {
    /// As it is now.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn read(&self) -> mongodb::error::Result<EventStats> {
        let mut session = self.db.client().start_session().await?;
        let transaction = session.start_transaction().read_concern(ReadConcern::snapshot());
        transaction.and_run(self, |session, reader| reader.read_in(session).boxed()).await
    }

    async fn aggregate(
        &self,
        session: &mut ClientSession,
        collection: &str,
        stages: Vec<Document>,
    ) -> mongodb::error::Result<Vec<Document>> {
        let collection = self.db.collection::<Document>(collection);
        let found = collection.aggregate(stages).max_time(READ_TIME_MAX).session(&mut *session);
        let mut found = found.await?;
        let mut all = Vec::new();
        let mut stream = found.stream(session);
        while let Some(one) = stream.next().await.transpose()? {
            all.push(one);
        }
        Ok(all)
    }

    async fn read_in(&self, session: &mut ClientSession) -> mongodb::error::Result<EventStats> {
        let counters = counters::read(&self.db, Some(&mut *session)).await?;
        // An entry that holds no list counts as one event, for the relay too.
        let events = doc! { "$cond": [{ "$isArray": "$events" }, { "$size": { "$ifNull": ["$events", []] } }, 1] };
        let unrelayed = doc! { "$group": { "_id": null, "count": { "$sum": events }, "oldest": { "$min": "$at" } } };
        let unrelayed = self.aggregate(session, OUTBOX, vec![unrelayed]).await?;
        let unrelayed = unrelayed.first().map(PendingEvents::of).unwrap_or_default();
        let open = doc! { "$match": {
            "queue": { "$in": &self.queues }, "state": { "$in": ["ready", "active", "dead"] }, "kind": { "$in": [HANDLE_KIND, CONSUME_KIND] },
        } };
        let is_dead = doc! { "$eq": ["$state", "dead"] };
        let by_event = doc! { "$group": {
            "_id": { "$ifNull": ["$payload.eventId", "$_id"] }, "dead": { "$max": &is_dead },
            "oldest": { "$min": "$createdAt" },
        } };
        let sums = doc! { "$group": { "_id": "$dead", "count": { "$sum": 1 }, "oldest": { "$min": "$oldest" } } };
        let (mut failed, mut relayed) = (0, PendingEvents::default());
        for found in self.aggregate(session, JOBS, vec![open.clone(), by_event, sums]).await? {
            let waiting = PendingEvents::of(&found);
            if found.get_bool("_id").unwrap_or_default() { failed = waiting.count } else { relayed = waiting }
        }
        let by_handler = doc! { "$group": {
            "_id": { "name": "$payload.handler", "dead": is_dead }, "count": { "$sum": 1 },
        } };
        let mut handlers: BTreeMap<String, HandlerStats> = BTreeMap::new();
        let known = self.handlers.iter().map(|name| (*name).to_owned()).chain(counters.taken.keys().cloned());
        for name in known {
            handlers.entry(name.clone()).or_insert_with(|| HandlerStats { name, ..HandlerStats::default() });
        }
        for found in self.aggregate(session, JOBS, vec![open, by_handler]).await? {
            let Ok(of) = found.get_document("_id") else { continue };
            let Some(stats) = of.get_str("name").ok().and_then(|name| handlers.get_mut(name)) else { continue };
            let count = whole(&found, "count");
            if of.get_bool("dead").unwrap_or_default() { stats.dead = count } else { stats.pending = count }
        }
        for stats in handlers.values_mut() {
            let taken = counters.taken.get(&stats.name).copied().unwrap_or_default();
            stats.done = (taken - stats.pending - stats.dead).max(0);
        }
        let pending = unrelayed.count + relayed.count;
        // Jobs that somebody inserted by hand don't make the sum wrong.
        let total = counters.relayed.max(relayed.count + failed) + unrelayed.count;
        let oldest_ms = [unrelayed.oldest_ms, relayed.oldest_ms].into_iter().flatten().min();
        Ok(EventStats {
            total,
            pending,
            processed: total - pending - failed,
            failed,
            unrelayed: unrelayed.count,
            oldest_pending_seconds: oldest_ms.map(|ms| (self.clock.now_ms() - ms).max(0) / 1_000),
            handlers: handlers.into_values().collect(),
        })
    }

    /// How long the oldest entry of the outbox waits; zero where there is none.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn lag(&self) -> mongodb::error::Result<Duration> {
        let outbox = self.db.collection::<Document>(OUTBOX);
        let oldest = outbox.find_one(doc! {}).sort(doc! { "_id": 1 }).projection(doc! { "at": 1 });
        let oldest = oldest.max_time(READ_TIME_MAX).await?;
        let at_ms = oldest.and_then(|entry| entry.get_datetime("at").ok().map(|at| at.timestamp_millis()));
        let lag_ms = at_ms.map_or(0, |at_ms| (self.clock.now_ms() - at_ms).max(0));
        Ok(Duration::from_millis(lag_ms as u64))
    }

    /// About how many entries are in the outbox.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn depth(&self) -> mongodb::error::Result<u64> {
        self.db.collection::<Document>(OUTBOX).estimated_document_count().max_time(READ_TIME_MAX).await
    }

    pub fn show(&self, stats: &EventStats) {
        metrics::gauge!("waybill_events_unrelayed").set(stats.unrelayed as f64);
        metrics::gauge!("waybill_events_pending").set(stats.pending as f64);
        metrics::gauge!("waybill_events_failed").set(stats.failed as f64);
        metrics::gauge!("waybill_events_oldest_pending_seconds")
            .set(stats.oldest_pending_seconds.unwrap_or_default() as f64);
        for handler in &stats.handlers {
            for (state, count) in [("pending", handler.pending), ("done", handler.done), ("dead", handler.dead)] {
                metrics::gauge!("waybill_handler_events", "handler" => handler.name.clone(), "state" => state)
                    .set(count as f64);
            }
        }
    }
}

pub fn router(reader: EventStatsReader) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(get_event_stats)).with_state(reader)
}

/// Events by progress, in all and for each handler: `total = pending + processed + failed`.
#[utoipa::path(get, path = "/events/stats", tag = "events", security(("bearer" = [])),
    responses((status = 200, body = EventStats),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn get_event_stats(
    State(reader): State<EventStatsReader>,
    _: Admin,
    _: NoQuery,
) -> Result<Json<EventStats>, AppError> {
    Ok(Json(reader.read().await?))
}
