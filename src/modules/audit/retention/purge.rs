//! The purge: seal by seal from the oldest, one at a time, within limits; stopped at any moment and run again, it goes on.

use std::time::{Duration, Instant};

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};

use super::{
    RETENTION, RecordClass, Retention,
    chunk::{Outcome, PurgeKeys, Purging, SealedRecord, Trigger},
    days,
    guard::{Lease, RENEW_EVERY, claim, release, renew},
};
use crate::{
    modules::audit::{
        AuditEvent, AuditOutcome, AuditStore,
        proof::{Leaf, Scopes, Seal},
        seals::SealStore,
    },
    platform::{clock::Clock, crash, identity::Actor, mongo::READ_TIME_MAX},
};

/// Records of one transaction: well below the fifteen seconds that a transaction may take, and the 16 MB of a record.
const CHUNK: usize = 2_000;
/// Between two transactions, so that it takes its part of the database and no more.
const PAUSE: Duration = Duration::from_millis(20);
/// Transactions of one run; what is left is for the next one.
const TRANSACTIONS_MAX: u64 = 10_000;
/// Headers and kept seals that are read at once.
const PAGE: i64 = 100;

/// What was purged of one collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgedOf {
    /// The class.
    pub class: RecordClass,
    /// The collection.
    pub collection: &'static str,
    /// Records that went, or would go.
    pub records: u64,
    /// Records that would have gone, but for a hold.
    pub held: u64,
    /// Seals that were looked at.
    pub seals: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// By collection; those that are kept for ever are not in it.
    pub collections: Vec<PurgedOf>,
    /// It ended at its limit: there is more.
    pub more: bool,
}

impl PurgeReport {
    /// Records that went, or would go.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.collections.iter().map(|of| of.records).sum()
    }
}

/// Purges what is older than its class is kept.
#[derive(Clone, Debug)]
pub struct Purger {
    db: Database,
    seals: SealStore,
    clock: Clock,
    retention: Retention,
    keys: PurgeKeys,
    chunk: usize,
}

impl Purger {
    /// A purger; `clock` has to be the database's.
    #[must_use]
    pub fn new(db: Database, clock: Clock, retention: Retention, keys: PurgeKeys) -> Self {
        Self { seals: SealStore::new(db.clone()), db, clock, retention, keys, chunk: CHUNK }
    }

    /// The same with so many records a transaction; for tests.
    #[must_use]
    pub fn with_chunks_of(self, chunk: usize) -> Self {
        Self { chunk: chunk.max(1), ..self }
    }

    /// Purges now, by rule; none where somebody else does.
    ///
    /// # Errors
    /// What the driver says; what was purged until then is purged, and the next run goes on there.
    pub async fn run(&self) -> Result<Option<PurgeReport>> {
        self.lease_and_run(Trigger::Worker).await
    }

    /// The same, because somebody asks for it with `waybill audit purge`: that is on record before anything goes.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn run_on_request(&self) -> Result<Option<PurgeReport>> {
        self.lease_and_run(Trigger::CommandLine).await
    }

    /// What would go now. Changes nothing.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn preview(&self) -> Result<PurgeReport> {
        Run::new(self, Trigger::CommandLine, None).go().await
    }

    async fn lease_and_run(&self, trigger: Trigger) -> Result<Option<PurgeReport>> {
        let Some(lease) = claim(&self.db, self.clock.now()).await? else { return Ok(None) };
        let noted = if trigger == Trigger::CommandLine { self.note_request(&lease).await } else { Ok(()) };
        let done = match noted {
            Ok(()) => Run::new(self, trigger, Some(&lease)).go().await,
            Err(error) => Err(error),
        };
        release(&self.db, &lease).await?;
        done.inspect(log).map(Some)
    }

    /// Who reads purge records can tell a person's settings from the rule's.
    async fn note_request(&self, lease: &Lease) -> Result<()> {
        let (actor, run) = (Actor::command_line("audit purge"), ("audit_purge", &*lease.token));
        let event = AuditEvent::new(AuditOutcome::Done, actor, "audit.purge_requested", run, self.clock.now())
            .after(doc! { "keptDays": self.retention.kept_days() });
        AuditStore::new(self.db.clone()).record(&event).await
    }
}

fn log(report: &PurgeReport) {
    for of in report.collections.iter().filter(|of| of.records > 0) {
        metrics::counter!("waybill_audit_purged_total", "collection" => of.collection).increment(of.records);
        tracing::info!(collection = of.collection, records = of.records, held = of.held, "purged");
    }
}

/// One run. Without a lease it looks and changes nothing.
struct Run<'a> {
    purger: &'a Purger,
    trigger: Trigger,
    lease: Option<&'a Lease>,
    transactions: u64,
    renewed: Instant,
    report: PurgeReport,
}

/// The collection that is being purged.
#[derive(Clone, Copy)]
struct Part {
    class: RecordClass,
    collection: &'static str,
    older_than: DateTime,
    kept_days: i64,
}

impl<'a> Run<'a> {
    fn new(purger: &'a Purger, trigger: Trigger, lease: Option<&'a Lease>) -> Self {
        Self { purger, trigger, lease, transactions: 0, renewed: Instant::now(), report: PurgeReport::default() }
    }

    async fn go(mut self) -> Result<PurgeReport> {
        let now_ms = self.purger.clock.now_ms();
        for class in RecordClass::ALL {
            let Some(kept) = self.purger.retention.of(class) else { continue };
            let older_than = DateTime::from_millis(now_ms.saturating_sub(kept.as_millis() as i64));
            for collection in class.collections() {
                let part = Part { class, collection, older_than, kept_days: days(kept) };
                self.report.collections.push(PurgedOf { class, collection, records: 0, held: 0, seals: 0 });
                self.kept_before(part).await?;
                self.oldest_first(part).await?;
            }
        }
        Ok(self.report)
    }

    /// Seals of which a hold has kept something, where holds have been released since they were looked at.
    async fn kept_before(&mut self, part: Part) -> Result<()> {
        let mut last = 0;
        loop {
            let mut again = doc! { "collection": part.collection, "seal": { "$gt": last } };
            if let Some(lease) = self.lease {
                again.insert("releases", doc! { "$lt": lease.releases });
            }
            let found = self.state().find(again).max_time(READ_TIME_MAX).sort(doc! { "seal": 1 }).limit(PAGE).await?;
            let kept: Vec<Document> = found.try_collect().await?;
            for number in kept.iter().filter_map(|kept| kept.get_i64("seal").ok()) {
                if self.is_over() {
                    return Ok(());
                }
                self.seal(part, number).await?;
                last = number;
            }
            if (kept.len() as i64) < PAGE {
                return Ok(());
            }
        }
    }

    /// Seals that no run has come to yet, as far as they are old enough.
    async fn oldest_first(&mut self, part: Part) -> Result<()> {
        let progress = self.state().find_one(doc! { "_id": part.collection }).max_time(READ_TIME_MAX).await?;
        let mut next = progress.and_then(|progress| progress.get_i64("next").ok()).unwrap_or(1);
        loop {
            let holding = doc! { "_id": { "$gte": next }, format!("counts.{}", part.collection): { "$gt": 0 } };
            let headers = self.purger.seals.list_headers(holding, true, PAGE).await?;
            for header in &headers {
                if self.is_over() || !self.seal(part, header.number).await? {
                    return Ok(());
                }
                next = header.number + 1;
                if self.lease.is_some() {
                    let reached = doc! { "$max": { "next": next } };
                    self.state().update_one(doc! { "_id": part.collection }, reached).upsert(true).await?;
                }
            }
            if (headers.len() as i64) < PAGE {
                return Ok(());
            }
        }
    }

    /// Purges what may go of one seal's records; false where some of them are not old enough.
    async fn seal(&mut self, part: Part, number: i64) -> Result<bool> {
        // A seal that is not there is for the verification to name.
        let Some(seal) = self.purger.seals.find(number).await? else { return Ok(true) };
        // One that names other records than were sealed must not make those go; it may be put right, or its key known later.
        if !seal.is_sound(&self.purger.keys.public) {
            tracing::error!(seal = number, "the purge waits: this seal is not what a known key has signed");
            return Ok(false);
        }
        let records = records_of(&seal, part.collection);
        if records.iter().any(|(_, at)| *at >= part.older_than.timestamp_millis()) {
            return Ok(false);
        }
        let records: Vec<SealedRecord> = records.into_iter().map(|(record, _)| record).collect();
        let purging = Purging {
            db: &self.purger.db,
            clock: &self.purger.clock,
            keys: &self.purger.keys,
            trigger: self.trigger,
            seal: number,
            class: part.class,
            collection: part.collection,
            records: &records,
            older_than: part.older_than,
            kept_days: part.kept_days,
            lease: self.lease,
        };
        let mut of_seal = Outcome::default();
        for some in records.chunks(self.purger.chunk) {
            let began = Instant::now();
            let outcome = purging.purge(some).await?;
            if self.lease.is_some() && outcome.purged > 0 {
                crash::point("purge_committed");
            }
            of_seal = Outcome { purged: of_seal.purged + outcome.purged, held: of_seal.held + outcome.held };
            self.transactions += 1;
            // As long as it took, too: where the database is busy the purge gives way.
            tokio::time::sleep(PAUSE.max(began.elapsed())).await;
        }
        self.remember_kept(part, number, of_seal.held).await?;
        self.stay().await?;
        if let Some(of) = self.report.collections.last_mut() {
            of.records += of_seal.purged;
            of.held += of_seal.held;
            of.seals += 1;
        }
        Ok(true)
    }

    /// Notes that a seal has to be looked at again once holds are released; or that it has not.
    async fn remember_kept(&self, part: Part, seal: i64, held: u64) -> Result<()> {
        let Some(lease) = self.lease else { return Ok(()) };
        let id = doc! { "_id": format!("{}/{seal}", part.collection) };
        if held == 0 {
            return self.state().delete_one(id).await.map(drop);
        }
        let kept = doc! { "$set": { "collection": part.collection, "seal": seal, "releases": lease.releases } };
        self.state().update_one(id, kept).upsert(true).await.map(drop)
    }

    /// Extends the lease now and then: not every seal has something to purge.
    async fn stay(&mut self) -> Result<()> {
        if let Some(lease) = self.lease.filter(|_| self.renewed.elapsed() >= RENEW_EVERY) {
            self.renewed = Instant::now();
            renew(&self.purger.db, lease, self.purger.clock.now()).await?;
        }
        Ok(())
    }

    /// Whether it has done enough for one run.
    fn is_over(&mut self) -> bool {
        let over = self.lease.is_some() && self.transactions >= TRANSACTIONS_MAX;
        self.report.more |= over;
        over
    }

    fn state(&self) -> mongodb::Collection<Document> {
        self.purger.db.collection(RETENTION)
    }
}

/// The records of one collection in a seal, with their times (ms).
fn records_of(seal: &Seal, collection: &str) -> Vec<(SealedRecord, i64)> {
    let of_collection = |code| Scopes::standard().of_code(code).is_some_and(|scope| scope.collection() == collection);
    let numbered = (seal.first_seq..).zip(&seal.leaves).filter(|(_, leaf)| of_collection(leaf.code));
    let timed = |(seq, leaf): (i64, &Leaf)| (SealedRecord { seq, id: leaf.id.clone() }, leaf.at_ms(seal.sealed_at));
    numbered.map(timed).collect()
}
