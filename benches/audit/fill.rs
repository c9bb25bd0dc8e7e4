//! Writes a history down: as fast as it goes, because nothing is lost with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::{
    Database,
    options::{Acknowledgment, WriteConcern},
};
use serde::Serialize;
use tokio::task::JoinSet;
use waybill::{
    modules::{
        audit::{AUDIT_EVENTS, REQUEST_LOGS, RESPONSE_LOGS, journal},
        events::EVENTS,
    },
    platform::{batch::Written, ids::new_id},
};

use super::{
    history::{CALLS_PER_EVENT, History},
    programs::{Settings, answer, client, create},
};

/// Calls that one task writes at once: 2 MB of each kind.
const CHUNK: u64 = 2_000;
const TASKS: usize = 4;
/// What a history is made of.
pub const FILLED: [&str; 4] = [REQUEST_LOGS, RESPONSE_LOGS, AUDIT_EVENTS, EVENTS];
/// Orders of which there is more than calls.
const STORIES: usize = 300;

/// What there is afterwards.
pub struct Filled {
    pub history: History,
    pub settings: Settings,
    pub token: String,
}

/// Fills an empty database: some orders by our API, then calls, answers and both kinds of events by hand, then their indexes by
/// `waybill migrate`, as on a database that is there already.
pub async fn fill(db: &Database, settings: Settings, calls: u64, ended_ms: i64) -> Result<Filled, String> {
    settings.migrate().await?;
    let (merchant, token) = (settings.user("merchant").await?, settings.user("auditor").await?);
    let http = client()?;
    let api = settings.start("api", &http).await?;
    let mut placed = Vec::with_capacity(STORIES);
    for number in 0..STORIES {
        let order = create(&http, &api.base, &merchant, &format!("story-{number}")).await?;
        placed.push(order["orderId"].as_str().unwrap_or_default().to_owned());
    }
    let order = answer(http.get(format!("{}/orders/{}", api.base, placed[0])), &merchant).await?;
    if order["orderId"] != placed[0] {
        return Err("an order that was created is not there".into());
    }
    api.stop().await?;
    for collection in FILLED {
        let records = db.collection::<Document>(collection);
        records.drop_indexes().await.map_err(|error| error.to_string())?;
    }
    let history = History { calls, ended_ms, placed };
    write(db, &history).await?;
    let began = Instant::now();
    settings.migrate().await?;
    eprintln!("{}: indexes of {calls} calls made in {:.1} s", db.name(), began.elapsed().as_secs_f64());
    Ok(Filled { history, settings, token })
}

async fn write(db: &Database, history: &History) -> Result<(), String> {
    let (next, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (db, history, next) = (db.clone(), history.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                if from >= history.calls {
                    return Ok::<_, mongodb::error::Error>(());
                }
                chunk(&db, &history, from, (from + CHUNK).min(history.calls)).await?;
            }
        });
    }
    let mut said = Instant::now();
    loop {
        match tokio::time::timeout(Duration::from_secs(1), tasks.join_next()).await {
            Ok(None) => break,
            Ok(Some(ended)) => ended.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?,
            Err(_) => {}
        }
        if said.elapsed() >= Duration::from_secs(5) {
            said = Instant::now();
            eprintln!(
                "{}: {} of {} calls written",
                db.name(),
                next.load(Ordering::Relaxed).min(history.calls),
                history.calls
            );
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{}: {} calls written in {seconds:.1} s", db.name(), history.calls);
    Ok(())
}

async fn chunk(db: &Database, history: &History, from: u64, to: u64) -> mongodb::error::Result<()> {
    let (mut requests, mut responses) = (Vec::new(), Vec::new());
    for number in from..to {
        let (request, response) = history.call(number);
        requests.push(raw(&request)?);
        responses.push(raw(&response)?);
    }
    insert(db, REQUEST_LOGS, requests).await?;
    insert(db, RESPONSE_LOGS, responses).await?;
    let events = from.div_ceil(CALLS_PER_EVENT)..to.div_ceil(CALLS_PER_EVENT).min(history.events());
    let audit: Vec<_> = events.clone().map(|number| raw(&history.event(number))).collect::<Result<_, _>>()?;
    insert(db, AUDIT_EVENTS, audit).await?;
    let happened: Vec<_> = events.map(|number| raw(&history.happened(number))).collect::<Result<_, _>>()?;
    insert(db, EVENTS, happened).await
}

fn raw<T: Serialize>(record: &T) -> Result<RawDocumentBuf, bson::error::Error> {
    bson::serialize_to_raw_document_buf(record)
}

async fn insert(db: &Database, collection: &str, documents: Vec<RawDocumentBuf>) -> mongodb::error::Result<()> {
    if documents.is_empty() {
        return Ok(());
    }
    let hasty = WriteConcern::builder().w(Acknowledgment::Nodes(1)).journal(false).build();
    let written = documents.iter().map(|document| Written { collection, document, trace: None });
    for (queue, entry) in journal().entries(&new_id("bat"), DateTime::now(), written) {
        db.collection::<RawDocumentBuf>(queue).insert_one(entry).write_concern(hasty.clone()).await?;
    }
    let records = db.collection::<RawDocumentBuf>(collection);
    records.insert_many(documents).ordered(false).write_concern(hasty).await.map(drop)
}

/// What the calls take: documents, their bytes, bytes of the indexes.
pub async fn sizes(db: &Database, collection: &str) -> Result<(i64, i64, i64), String> {
    let stats = db.run_command(doc! { "collStats": collection }).await.map_err(|error| error.to_string())?;
    let number = |name: &str| stats.get(name).and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from)));
    let number = |name| number(name).ok_or_else(|| format!("no {name} of {collection}"));
    Ok((number("count")?, number("size")?, number("totalIndexSize")?))
}
