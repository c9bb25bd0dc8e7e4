//! The relay: takes what transactions left in the outbox. It counts the events and acknowledges them; what follows from
//! events begins here.

use std::{collections::BTreeMap, time::Duration};

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::{FutureExt, StreamExt};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
    options::{ReadConcern, TransactionOptions},
};

use crate::platform::{batch::OUTBOX, clock::Clock, crash, mongo, orphans, singleton::Singleton};

/// How often the outbox is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Entries of one transaction; a batch of the group commit leaves one, with up to some hundred events.
const ENTRIES_MAX: i64 = 200;

/// Consumes the outbox in the background. One per process; any of them takes over where another one ended.
#[derive(Clone, Debug)]
pub struct Relay {
    db: Database,
    clock: Clock,
    lease: Singleton,
}

/// Entries of the outbox that one transaction takes.
#[derive(Debug, Default)]
struct Taken {
    entries: Vec<Bson>,
    /// Events by type.
    events: BTreeMap<String, u64>,
    oldest_ms: Option<i64>,
}

impl Relay {
    /// A relay of this process.
    #[must_use]
    pub fn new(db: Database, clock: Clock) -> Self {
        Self { lease: Singleton::new(db.clone(), "relay"), db, clock }
    }

    /// Relays until `shutdown`.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut failing = false;
        loop {
            let passed = tokio::select! {
                passed = self.pass() => passed,
                () = &mut shutdown => break,
            };
            match passed {
                Ok(_) => failing = false,
                Err(error) if failing => tracing::debug!(%error, "events still wait"),
                Err(error) => {
                    failing = true;
                    tracing::warn!(%error, "events wait in the outbox");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = &mut shutdown => break,
            }
        }
        let _ = self.lease.release().await;
    }

    /// Takes what is there, if no other process does; gives the number of events.
    ///
    /// # Errors
    /// What the driver says; what was taken by then is acknowledged, and the rest is not.
    pub async fn pass(&self) -> Result<u64> {
        let mut events = 0;
        while self.lease.hold().await? {
            let taken = self.take_some().await?;
            if !taken.entries.is_empty() {
                crash::point("relay_acknowledged");
            }
            for (kind, count) in &taken.events {
                metrics::counter!("waybill_events_relayed_total", "type" => kind.clone()).increment(*count);
                events += count;
            }
            if let Some(oldest_ms) = taken.oldest_ms {
                let waited_ms = self.clock.now_ms().saturating_sub(oldest_ms).max(0);
                metrics::histogram!("waybill_events_relay_seconds").record(waited_ms as f64 / 1_000.0);
            }
            if (taken.entries.len() as i64) < ENTRIES_MAX {
                break;
            }
        }
        Ok(events)
    }

    async fn take_some(&self) -> Result<Taken> {
        let mut session = self.db.client().start_session().await?;
        let options =
            TransactionOptions::builder().read_concern(ReadConcern::snapshot()).write_concern(mongo::durable()).build();
        let transaction = session.start_transaction().with_options(options);
        transaction.and_run(&self.db, |session, db| take(db, session).boxed()).await
    }
}

/// Reads the oldest entries and deletes them; fails where another relay was first.
async fn take(db: &Database, session: &mut ClientSession) -> Result<Taken> {
    let outbox = db.collection::<RawDocumentBuf>(OUTBOX);
    let mut found = outbox.find(doc! {}).sort(doc! { "_id": 1 }).limit(ENTRIES_MAX).session(&mut *session).await?;
    let mut taken = Taken::default();
    let mut stream = found.stream(session);
    while let Some(entry) = stream.next().await.transpose()? {
        let entry = Document::try_from(entry).map_err(Error::custom)?;
        for event in entry.get_array("events").into_iter().flatten() {
            let kind = event.as_document().and_then(|event| event.get_str("type").ok()).unwrap_or("unknown");
            *taken.events.entry(kind.to_owned()).or_default() += 1;
        }
        let at_ms = entry.get_datetime("at").ok().map(|at| at.timestamp_millis());
        taken.oldest_ms = taken.oldest_ms.into_iter().chain(at_ms).min();
        taken.entries.extend(entry.get("_id").cloned());
    }
    drop(stream);
    if taken.entries.is_empty() {
        return Ok(taken);
    }
    crash::point("relay_taken");
    let deleting = outbox.delete_many(doc! { "_id": { "$in": &taken.entries } }).session(session);
    let deleted = deleting.await.inspect_err(|error| {
        if mongo::is_write_conflict(error) {
            // Another relay was frozen or killed over them.
            orphans::look_for(db);
        }
    });
    let deleted = deleted?.deleted_count;
    if deleted == taken.entries.len() as u64 {
        Ok(taken)
    } else {
        Err(Error::custom(format!("{deleted} of {} entries of {OUTBOX} were there", taken.entries.len())))
    }
}
