//! The relay: takes what transactions left in the outbox, asks every consumer what follows from it, and acknowledges it, all in
//! one transaction. So nothing follows twice and nothing is missing, whoever is killed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
    options::ReadConcern,
};
use parking_lot::Mutex;

use super::{Consumer, EVENTS, EventHead, HANDLE_KIND, consuming, counters, handler::queue};
use crate::{
    modules::queue::{Job, JobError, JobState, Waker, insert_in_lines},
    platform::{batch::OUTBOX, clock::Clock, crash, ids::new_id, mongo, orphans, singleton::Singleton, traces},
};

pub const RELAY: &str = "relay";
/// How often the outbox is looked at, at least.
const EVERY: Duration = Duration::from_millis(500);
/// Between two looks: under load, events of so long share a transaction.
const PAUSE: Duration = Duration::from_millis(100);
/// The holder renews the lease this often.
const HELD_FOR: Duration = Duration::from_secs(2);
/// Entries of one transaction; a batch of the group commit leaves one, with up to some hundred events.
const ENTRIES_MAX: i64 = 200;
/// A transaction takes no further entry once it has so many events: each may lead to several jobs.
const EVENTS_MAX: usize = 1_000;
/// Entries from beyond a page that are taken with it, in each of so many rounds.
const EARLIER_MAX: i64 = 1_000;
const EARLIER_ROUNDS: usize = 3;
/// A consumer that has failed so often in a row is not offered the page again: it gets a job for each event.
const FAILURES_MAX: u32 = 3;

/// Parts of a [`Relay`].
pub struct RelayParts {
    pub db: Database,
    /// The database's.
    pub clock: Clock,
    /// Says when there are events, and wakes the queues of what follows.
    pub waker: Waker,
    pub consumers: Vec<Arc<dyn Consumer>>,
}

/// Consumes the outbox in the background. One per process; any of them takes over where another one ended.
pub struct Relay {
    db: Database,
    clock: Clock,
    waker: Waker,
    consumers: Vec<Arc<dyn Consumer>>,
    lease: Singleton,
    held_at: Mutex<Option<Instant>>,
    /// How often consumers have failed since they last took a page.
    failures: Mutex<BTreeMap<&'static str, u32>>,
}

/// The events that one transaction took from the outbox.
#[derive(Debug, Default)]
struct RelayedEvents {
    entries: Vec<Bson>,
    heads: Vec<EventHead>,
    /// Events that have no id or no type, with their entry's.
    unreadable: Vec<Document>,
    oldest: Option<DateTime>,
    wake: BTreeSet<&'static str>,
    /// Consumers that have a job for each event that they want, and how many.
    handed_over: BTreeMap<&'static str, usize>,
    /// There was more than it takes.
    was_full: bool,
}

impl RelayedEvents {
    fn events(&self) -> u64 {
        (self.heads.len() + self.unreadable.len()) as u64
    }

    /// Takes an entry of the outbox.
    fn add(&mut self, entry: &Document, now: DateTime) {
        let at = entry.get_datetime("at").copied().unwrap_or(now);
        let odd = |what: Option<&Bson>| doc! { "outboxId": entry.get("_id").cloned(), "event": what.cloned() };
        match entry.get_array("events") {
            Ok(events) => {
                for event in events {
                    match event.as_document().and_then(|event| EventHead::read(event, at)) {
                        Some(head) => self.heads.push(head),
                        None => self.unreadable.push(odd(Some(event))),
                    }
                }
            }
            Err(_) => self.unreadable.push(odd(entry.get("events"))),
        }
        self.oldest = self.oldest.into_iter().chain([at]).min();
        self.entries.extend(entry.get("_id").cloned());
    }

    fn append(&mut self, more: Self) {
        self.entries.extend(more.entries);
        self.heads.extend(more.heads);
        self.unreadable.extend(more.unreadable);
        self.oldest = self.oldest.into_iter().chain(more.oldest).min();
    }
}

/// Subjects of which something is missing between these events, or before the first of them, with the number of the latest.
fn latest_with_gaps(heads: &[EventHead]) -> BTreeMap<String, i64> {
    let mut seqs: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for head in heads.iter().filter(|head| !head.is_short()) {
        seqs.entry(&head.subject_id).or_default().insert(head.seq);
    }
    let latest = seqs.into_iter().filter_map(|(subject, seqs)| {
        let has_gap = seqs.iter().any(|seq| *seq > 1 && !seqs.contains(&(seq - 1)));
        Some((subject.to_owned(), *seqs.last().filter(|_| has_gap)?))
    });
    latest.collect()
}

impl Relay {
    #[must_use]
    pub fn new(parts: RelayParts) -> Self {
        let RelayParts { db, clock, waker, consumers } = parts;
        let (held_at, failures) = (Mutex::default(), Mutex::default());
        Self { lease: Singleton::new(db.clone(), RELAY), db, clock, waker, consumers, held_at, failures }
    }

    /// Relays until `shutdown`.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut woken = self.waker.watch(RELAY);
        let mut failing = false;
        loop {
            woken.borrow_and_update();
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
            let is_ours = self.held_at.lock().is_some();
            let next = async {
                tokio::time::sleep(PAUSE).await;
                let slept = tokio::time::sleep(EVERY.saturating_sub(PAUSE));
                tokio::pin!(slept);
                // Another process is woken too.
                tokio::select! { _ = woken.changed(), if is_ours && !failing => {}, () = slept => {} }
            };
            tokio::select! {
                () = next => {}
                () = &mut shutdown => break,
            }
        }
        let _ = self.lease.release().await;
    }

    /// Whether the outbox is this process's. The lease only spares the others the work: two that take the same entry conflict.
    async fn is_ours(&self) -> Result<bool> {
        if self.held_at.lock().is_some_and(|at| at.elapsed() < HELD_FOR) {
            return Ok(true);
        }
        let asked = Instant::now();
        let held = self.lease.hold().await;
        *self.held_at.lock() = matches!(held, Ok(true)).then_some(asked);
        held
    }

    /// Takes what is there, if no other process does; gives the number of events.
    ///
    /// # Errors
    /// What the driver says; what was taken by then is acknowledged, and the rest is not.
    pub async fn pass(&self) -> Result<u64> {
        let mut events = 0;
        while self.is_ours().await? {
            let (handed_over_before, began) = (self.skipped_consumers(), SystemTime::now());
            let taken = match self.take_page().await {
                Ok(taken) => taken,
                // At once again, without whoever can't take it.
                Err(_) if self.skipped_consumers() > handed_over_before => continue,
                Err(error) => return Err(error),
            };
            self.remember(&taken);
            if !taken.entries.is_empty() {
                crash::point("relay_acknowledged");
            }
            taken.wake.iter().for_each(|queue| self.waker.wake(queue));
            self.count(&taken);
            for head in taken.heads.iter().filter(|head| head.trace.is_some()) {
                traces::relayed(&head.kind, &head.id, head.trace.as_deref(), began);
            }
            events += taken.events();
            if !taken.was_full {
                break;
            }
        }
        Ok(events)
    }

    fn has_failed_for_good(&self, consumer: &str) -> bool {
        self.failures.lock().get(consumer).is_some_and(|failures| *failures >= FAILURES_MAX)
    }

    /// Consumers that are not offered the next page.
    fn skipped_consumers(&self) -> usize {
        self.failures.lock().values().filter(|failures| **failures >= FAILURES_MAX).count()
    }

    /// Notes which consumers took the page; the others get the next one as a single try.
    fn remember(&self, taken: &RelayedEvents) {
        if taken.entries.is_empty() {
            return;
        }
        let mut failures = self.failures.lock();
        failures.retain(|consumer, _| taken.handed_over.contains_key(consumer));
        failures.values_mut().for_each(|failures| *failures = FAILURES_MAX - 1);
        for (consumer, events) in taken.handed_over.iter().filter(|(_, events)| **events > 0) {
            tracing::error!(consumer, events, "a consumer can't take these events: each has a job now");
        }
    }

    fn count(&self, taken: &RelayedEvents) {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for head in &taken.heads {
            *kinds.entry(&head.kind).or_default() += 1;
        }
        for (kind, count) in kinds {
            metrics::counter!("waybill_events_relayed_total", "type" => kind.to_owned()).increment(count);
        }
        if !taken.unreadable.is_empty() {
            let count = taken.unreadable.len();
            tracing::error!(count, "events in the outbox have no id or no type; they are dead jobs now");
            metrics::counter!("waybill_events_relayed_total", "type" => "unreadable").increment(count as u64);
        }
        if let Some(oldest) = taken.oldest {
            let waited_ms = self.clock.now_ms().saturating_sub(oldest.timestamp_millis()).max(0);
            metrics::histogram!("waybill_events_relay_seconds").record(waited_ms as f64 / 1_000.0);
        }
    }

    async fn take_page(&self) -> Result<RelayedEvents> {
        let mut session = self.db.client().start_session().await?;
        let transaction = session.start_transaction().read_concern(ReadConcern::snapshot());
        transaction
            .write_concern(mongo::durable())
            .and_run(self, |session, relay| {
                let relay: &Self = relay;
                // Another relay was frozen or killed over the same documents.
                relay.take(session).inspect_err(move |error| orphans::suspect(&relay.db, error)).boxed()
            })
            .await
    }

    /// Reads the oldest entries, lets consumers write what follows, and deletes the entries; fails where another relay was first.
    async fn take(&self, session: &mut ClientSession) -> Result<RelayedEvents> {
        let mut taken = self.read(session).await?;
        if taken.entries.is_empty() {
            return Ok(taken);
        }
        self.complete_heads(session, &mut taken.heads).await?;
        crash::point("relay_taken");
        for consumer in &self.consumers {
            if self.has_failed_for_good(consumer.name()) {
                let jobs = consuming::jobs(&**consumer, &taken.heads, self.clock.now());
                counters::add(&self.db, session, doc! { counters::taken_by(consumer.name()): jobs.len() as i64 })
                    .await?;
                taken.handed_over.insert(consumer.name(), jobs.len());
                taken.wake.insert(queue().name);
                insert_in_lines(&self.db, session, jobs).await?;
                continue;
            }
            let offered = consuming::offer(&**consumer, &self.db, session, &taken.heads).await;
            taken.wake.extend(offered.inspect_err(|error| self.note_failure(consumer.name(), error))?);
        }
        self.insert_dead_job(session, &taken.unreadable).await?;
        counters::add(&self.db, session, doc! { counters::RELAYED: taken.events() as i64 }).await?;
        let deleting = self.db.collection::<Document>(OUTBOX);
        let deleting = deleting.delete_many(doc! { "_id": { "$in": &taken.entries } }).session(session).await;
        let deleted = deleting?.deleted_count;
        if deleted == taken.entries.len() as u64 {
            Ok(taken)
        } else {
            Err(Error::custom(format!("{deleted} of {} entries of {OUTBOX} were there", taken.entries.len())))
        }
    }

    fn note_failure(&self, consumer: &'static str, error: &Error) {
        if mongo::is_labelled_transient(error) {
            return;
        }
        metrics::counter!("waybill_consumer_failures_total", "consumer" => consumer).increment(1);
        tracing::warn!(consumer, %error, "a consumer failed");
        *self.failures.lock().entry(consumer).or_default() += 1;
    }

    async fn read(&self, session: &mut ClientSession) -> Result<RelayedEvents> {
        let outbox = self.db.collection::<RawDocumentBuf>(OUTBOX);
        let mut found = outbox.find(doc! {}).sort(doc! { "_id": 1 }).limit(ENTRIES_MAX).session(&mut *session).await?;
        let mut taken = RelayedEvents::default();
        let mut stream = found.stream(session);
        while let Some(entry) = stream.next().await.transpose()? {
            taken.add(&Document::try_from(entry).map_err(Error::custom)?, self.clock.now());
            if taken.heads.len() >= EVENTS_MAX {
                taken.was_full = true;
                break;
            }
        }
        drop(stream);
        taken.was_full |= taken.entries.len() as i64 == ENTRIES_MAX;
        if taken.was_full {
            self.read_earlier(session, &mut taken).await?;
        }
        Ok(taken)
    }

    /// Ids of entries carry the times of hosts, whose clocks may differ. What happened to a subject before something on the page, and
    /// is not relayed, is in the outbox: where it is beyond the page, its entry is taken too. So what happens to a subject is
    /// relayed by `seq`, on one page or on pages that follow each other.
    async fn read_earlier(&self, session: &mut ClientSession, taken: &mut RelayedEvents) -> Result<()> {
        let Some(last) = taken.entries.last().cloned() else { return Ok(()) };
        for _ in 0..EARLIER_ROUNDS {
            let latest = latest_with_gaps(&taken.heads);
            let Some(below) = latest.values().max() else { return Ok(()) };
            let subjects: Vec<&str> = latest.keys().map(String::as_str).collect();
            let before = doc! { "$elemMatch": { "subjectId": { "$in": subjects }, "seq": { "$lt": *below } } };
            let beyond = doc! { "events": before, "_id": { "$gt": &last, "$nin": &taken.entries } };
            let outbox = self.db.collection::<RawDocumentBuf>(OUTBOX);
            let mut found = outbox.find(beyond).limit(EARLIER_MAX).session(&mut *session).await?;
            let (mut seen, mut more) = (0, RelayedEvents::default());
            let mut stream = found.stream(&mut *session);
            while let Some(entry) = stream.next().await.transpose()? {
                seen += 1;
                let mut entry_taken = RelayedEvents::default();
                entry_taken.add(&Document::try_from(entry).map_err(Error::custom)?, self.clock.now());
                let is_earlier = |head: &EventHead| latest.get(&head.subject_id).is_some_and(|seq| head.seq < *seq);
                if entry_taken.heads.iter().any(is_earlier) {
                    more.append(entry_taken);
                }
            }
            drop(stream);
            if seen == EARLIER_MAX {
                tracing::warn!(
                    "the outbox is far out of order: what happened to one subject may be relayed in another order"
                );
            }
            if more.entries.is_empty() {
                return Ok(());
            }
            taken.append(more);
        }
        Ok(())
    }

    /// Reads what an older version did not write into the outbox, where its events are there.
    async fn complete_heads(&self, session: &mut ClientSession, heads: &mut [EventHead]) -> Result<()> {
        let short: Vec<&str> = heads.iter().filter(|head| head.is_short()).map(|head| &*head.id).collect();
        if short.is_empty() {
            return Ok(());
        }
        let events = self.db.collection::<Document>(EVENTS);
        let found = events.find(doc! { "_id": { "$in": short } }).session(&mut *session);
        let mut found =
            found.projection(doc! { "subjectId": 1, "userId": 1, "seq": 1, "type": 1, "data.tenantId": 1 }).await?;
        let mut full = HashMap::new();
        let mut stream = found.stream(session);
        while let Some(event) = stream.next().await.transpose()? {
            full.extend(EventHead::of_event(&event).map(|head| (head.id.clone(), head)));
        }
        for head in heads.iter_mut().filter(|head| head.is_short()) {
            if let Some(full) = full.remove(&head.id) {
                *head = EventHead { at: head.at, kind: head.kind.clone(), trace: head.trace.take(), ..full };
            }
        }
        Ok(())
    }

    /// Makes a dead job of an unreadable event, for a person to look at; it holds up nothing.
    async fn insert_dead_job(&self, session: &mut ClientSession, unreadable: &[Document]) -> Result<()> {
        let (now, queue) = (self.clock.now(), queue());
        let dead = unreadable.iter().map(|event| {
            let job = Job::new(new_id("job"), &queue, HANDLE_KIND, event.clone(), "", now);
            let error = JobError::new("payload", "events.unreadable", "The outbox names no id or no type.");
            Job { state: JobState::Dead, turn: None, last_error: Some(error), ..job }
        });
        insert_in_lines(&self.db, session, dead.collect()).await
    }
}
