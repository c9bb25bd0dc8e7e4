//! Where sums are kept, and the consumer that keeps them.
//!
//! Sums have a generation: counting anew fills the next one beside the one that is read, and the relay adds to both meanwhile. Which
//! they are stands among the relay's counters, which every transaction of the relay writes: so none of them overlooks a change.

use async_trait::async_trait;
use bson::{DateTime, Document, doc};
use futures_util::StreamExt;
use mongodb::{ClientSession, Database, error::Result};

use super::{
    super::{Consumer, EVENTS, EventHead, counters},
    count::{EventCounts, FIELDS, is_counted},
};
use crate::platform::mongo::Index;

/// Sums: `{_id, generation, day, tenantId, userId, provider, created, confirmed, ..., charged: {INR}, confirmMs, ...}`.
pub(super) const DAILY: &str = "analytics_daily";
/// Events that were relayed while sums are counted anew.
pub(super) const RECENT: &str = "analytics_recent";
pub const COLLECTIONS: &[&str] = &[DAILY, RECENT];

#[must_use]
pub fn indexes() -> Vec<Index> {
    vec![
        Index::new(DAILY, "day", doc! { "generation": 1, "day": 1 }),
        Index::new(DAILY, "owner", doc! { "generation": 1, "userId": 1, "day": 1 }),
        Index::new(DAILY, "tenant", doc! { "generation": 1, "tenantId": 1, "day": 1 }),
    ]
}

/// Counts events as they are relayed.
#[derive(Clone, Copy, Debug)]
pub struct Analytics;

#[async_trait]
impl Consumer for Analytics {
    fn name(&self) -> &'static str {
        "analytics"
    }

    fn wants(&self, kind: &str) -> bool {
        is_counted(kind)
    }

    async fn take(&self, db: &Database, session: &mut ClientSession, heads: &[EventHead]) -> Result<Vec<&'static str>> {
        let ids: Vec<&str> = heads.iter().map(|head| &*head.id).collect();
        let (mut counts, mut counted) = (EventCounts::default(), Vec::new());
        read(db, session, doc! { "_id": { "$in": ids } }, |event| {
            counts.add(event);
            counted.extend(event.get_str("_id").ok().map(str::to_owned));
        })
        .await?;
        let known = counters::read(db, Some(&mut *session)).await?;
        let generations = [Some(known.analytics.generation), known.analytics.filling_generation(DateTime::now())];
        write(db, session, &counts, generations.into_iter().flatten()).await?;
        if generations[1].is_some() {
            let recent = counted.into_iter().map(|id| {
                doc! {
                    "q": { "_id": &id }, "u": { "_id": id, "generation": generations[1] }, "upsert": true,
                }
            });
            run(db, session, RECENT, recent.collect()).await?;
        }
        Ok(Vec::new())
    }
}

/// Gives each of the events that are asked for, with what is counted of it.
pub(super) async fn read(
    db: &Database,
    session: &mut ClientSession,
    filter: Document,
    mut each: impl FnMut(&Document) + Send,
) -> Result<()> {
    let fields: Document = FIELDS.iter().map(|field| ((*field).to_owned(), 1.into())).collect();
    let events = db.collection::<Document>(EVENTS);
    let found = events.find(filter).projection(fields).batch_size(1_000).session(&mut *session);
    let mut found = found.await?;
    let mut stream = found.stream(session);
    while let Some(event) = stream.next().await.transpose()? {
        each(&event);
    }
    Ok(())
}

/// Adds to the sums of these generations.
pub(super) async fn write(
    db: &Database,
    session: &mut ClientSession,
    counts: &EventCounts,
    generations: impl Iterator<Item = i64>,
) -> Result<()> {
    let statements = generations
        .flat_map(|generation| counts.0.iter().map(move |(place, sums)| place.statement(generation, sums)))
        .collect();
    run(db, session, DAILY, statements).await
}

/// Runs statements of an update.
async fn run(
    db: &Database,
    session: &mut ClientSession,
    collection: &'static str,
    statements: Vec<Document>,
) -> Result<()> {
    if statements.is_empty() {
        return Ok(());
    }
    let reply = db.run_command(doc! { "update": collection, "updates": statements }).session(session).await?;
    match reply.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
        Some(error) => Err(mongodb::error::Error::custom(format!("{collection}: {error}"))),
        None => Ok(()),
    }
}
