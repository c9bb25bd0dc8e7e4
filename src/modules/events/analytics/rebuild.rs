//! Counting anew: `waybill analytics rebuild`.
//!
//! The outbox decides which events are counted here. What waits in it, or comes into it later, is counted by the
//! relay as it takes it, and noted in `analytics_recent`. Everything else is counted here, in pages, each in one snapshot that shows
//! the events, the outbox and the notes. So does what the relay could not
//! give to analytics: it stays with its job until that has counted it. So nothing waits for it, and nothing is counted twice or left out.

use std::collections::{HashMap, HashSet};

use bson::{DateTime, Document, doc};
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
    options::ReadConcern,
};

use super::{
    super::{
        Consumer, consuming,
        counters::{self, Generations},
    },
    count::{EventCounts, is_counted},
    store::{Analytics, DAILY, RECENT, read, write},
};
use crate::{
    modules::queue::JOBS,
    platform::{batch::OUTBOX, mongo},
};

/// Events of one transaction.
const PAGE: i64 = 1_000;
/// Sums of an earlier generation that are deleted in one statement.
const OLD_PAGE: i64 = 1_000;

/// Why they could not be counted anew.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("the database did not do it: {0}")]
    Database(#[from] Error),
    /// Somebody has begun to count anew meanwhile, or it took longer than a day.
    #[error("another rebuild has begun since, or this one takes longer than a day")]
    Superseded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Events looked at.
    pub events: u64,
    /// Of these, left to the relay.
    pub left_to_relay: u64,
}

/// One transaction of a rebuild: the database, the generation of the sums, the last event counted.
struct RebuildTransaction {
    db: Database,
    generation: i64,
    behind: String,
}

async fn in_transaction<T: Send>(
    db: &Database,
    generation: i64,
    behind: &str,
    work: for<'a> fn(&'a mut ClientSession, &'a mut RebuildTransaction) -> BoxFuture<'a, Result<T>>,
) -> Result<T> {
    let context = RebuildTransaction { db: db.clone(), generation, behind: behind.to_owned() };
    let mut session = db.client().start_session().await?;
    let transaction = session.start_transaction().read_concern(ReadConcern::snapshot());
    transaction.write_concern(mongo::durable()).and_run(context, work).await
}

/// Counts all events anew, beside whatever else runs, and has the new sums read afterwards. One that was stopped is begun anew by
/// the next.
///
/// # Errors
/// [`RebuildError`]; the sums that are read are as they were.
pub async fn rebuild(db: &Database) -> std::result::Result<Rebuilt, RebuildError> {
    let generation = in_transaction(db, 0, "", |session, work| begin(&work.db, session).boxed()).await?;
    let mut rebuilt = Rebuilt { events: 0, left_to_relay: 0 };
    let mut behind = String::new();
    loop {
        let page = in_transaction(db, generation, &behind, |session, work| count_page(session, work).boxed()).await?;
        let page = page.ok_or(RebuildError::Superseded)?;
        rebuilt.events += page.seen;
        rebuilt.left_to_relay += page.left;
        match page.last {
            Some(last) => behind = last,
            None => break,
        }
    }
    if !in_transaction(db, generation, "", |session, work| finish(session, work).boxed()).await? {
        return Err(RebuildError::Superseded);
    }
    forget(db, doc! { "generation": { "$lt": generation } }, DAILY).await?;
    forget(db, doc! {}, RECENT).await?;
    Ok(rebuilt)
}

async fn begin(db: &Database, session: &mut ClientSession) -> Result<i64> {
    let Generations { generation, filling, .. } = counters::read(db, Some(&mut *session)).await?.analytics;
    let next = filling.unwrap_or(generation) + 1;
    // Any transaction of the relay that does not see it yet conflicts with it.
    let begun = doc! { "analytics.filling": next, "analytics.fillingSince": DateTime::now() };
    counters::set(db, session, begun).await?;
    Ok(next)
}

struct RebuiltPage {
    seen: u64,
    left: u64,
    /// None where there is no further event.
    last: Option<String>,
}

async fn count_page(session: &mut ClientSession, work: &RebuildTransaction) -> Result<Option<RebuiltPage>> {
    let RebuildTransaction { db, generation, behind } = work;
    let generation = *generation;
    let known = counters::read(db, Some(&mut *session)).await?.analytics;
    if known.filling_generation(DateTime::now()) != Some(generation) {
        return Ok(None);
    }
    let ids = page_of_ids(db, session, behind).await?;
    let Some(last) = ids.last().cloned() else { return Ok(Some(RebuiltPage { seen: 0, left: 0, last: None })) };
    let mut left: HashSet<String> = HashSet::new();
    let recent = db.collection::<Document>(RECENT);
    let mut found =
        recent.find(doc! { "_id": { "$in": &ids }, "generation": generation }).session(&mut *session).await?;
    let mut stream = found.stream(&mut *session);
    while let Some(noted) = stream.next().await.transpose()? {
        left.extend(noted.get_str("_id").ok().map(str::to_owned));
    }
    drop(stream);
    let outbox = db.collection::<Document>(OUTBOX);
    let waiting = outbox.find(doc! { "events.id": { "$in": &ids } }).projection(doc! { "events.id": 1 });
    let mut found = waiting.session(&mut *session).await?;
    let mut stream = found.stream(&mut *session);
    while let Some(entry) = stream.next().await.transpose()? {
        for event in entry.get_array("events").into_iter().flatten() {
            left.extend(event.as_document().and_then(|event| event.get_str("id").ok()).map(str::to_owned));
        }
    }
    drop(stream);
    left.extend(with_open_jobs(db, session, &ids).await?);
    let (mut counts, mut skipped) = (EventCounts::default(), 0);
    let range = doc! { "_id": { "$gt": behind, "$lte": &last } };
    read(db, session, range, |event| {
        let is_left = event.get_str("_id").is_ok_and(|id| left.contains(id));
        if is_left && event.get_str("type").is_ok_and(is_counted) {
            skipped += 1;
        } else if !is_left {
            counts.add(event);
        }
    })
    .await?;
    write(db, session, &counts, [generation].into_iter()).await?;
    Ok(Some(RebuiltPage { seen: ids.len() as u64, left: skipped, last: Some(last) }))
}

/// The events of this page that the relay could not count and whose jobs have not counted them yet.
async fn with_open_jobs(db: &Database, session: &mut ClientSession, ids: &[String]) -> Result<Vec<String>> {
    let jobs: HashMap<String, &String> = ids.iter().map(|id| (consuming::job_id(Analytics.name(), id), id)).collect();
    let job_ids: Vec<&str> = jobs.keys().map(String::as_str).collect();
    let open = doc! { "_id": { "$in": job_ids }, "state": { "$ne": "done" }, "payload.taken": { "$ne": true } };
    let all = db.collection::<Document>(JOBS);
    let mut found = all.find(open).projection(doc! { "_id": 1 }).session(&mut *session).await?;
    let mut open = Vec::new();
    let mut stream = found.stream(session);
    while let Some(job) = stream.next().await.transpose()? {
        open.extend(job.get_str("_id").ok().and_then(|id| jobs.get(id)).map(|id| (*id).clone()));
    }
    Ok(open)
}

async fn page_of_ids(db: &Database, session: &mut ClientSession, behind: &str) -> Result<Vec<String>> {
    let events = db.collection::<Document>(super::super::EVENTS);
    let found = events.find(doc! { "_id": { "$gt": behind } }).sort(doc! { "_id": 1 }).limit(PAGE);
    let mut found = found.projection(doc! { "_id": 1 }).batch_size(PAGE as u32).session(&mut *session).await?;
    let mut ids = Vec::new();
    let mut stream = found.stream(session);
    while let Some(event) = stream.next().await.transpose()? {
        ids.extend(event.get_str("_id").ok().map(str::to_owned));
    }
    Ok(ids)
}

/// Has the new sums read; false where another has begun.
async fn finish(session: &mut ClientSession, work: &RebuildTransaction) -> Result<bool> {
    let RebuildTransaction { db, generation, .. } = work;
    let known = counters::read(db, Some(&mut *session)).await?.analytics;
    if known.filling_generation(DateTime::now()) != Some(*generation) {
        return Ok(false);
    }
    let done = doc! { "analytics.generation": *generation, "analytics.filling": null, "analytics.fillingSince": null };
    counters::set(db, session, done).await?;
    Ok(true)
}

/// Deletes what nobody reads any more, in pages.
async fn forget(db: &Database, filter: Document, collection: &str) -> Result<()> {
    let old = db.collection::<Document>(collection);
    loop {
        let found = old.find(filter.clone()).projection(doc! { "_id": 1 }).limit(OLD_PAGE).await?;
        let ids: Vec<_> = found.try_filter_map(async |found| Ok(found.get("_id").cloned())).try_collect().await?;
        if ids.is_empty() {
            return Ok(());
        }
        old.delete_many(doc! { "_id": { "$in": ids } }).await?;
    }
}
