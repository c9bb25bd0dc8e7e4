//! The purge: deletes records past their retention, one seal after another from the oldest. It may be stopped at any moment; the next run
//! goes on.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{DateTime, Document, RawDocumentBuf, doc};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
    options::Hint,
};

use super::{
    RETENTION, RecordClass, Retention, days,
    guard::{PurgeLease, RENEW_EVERY, claim, release, renew, write_guard},
    subjects::{held, projection},
    transaction_options,
};
use crate::{
    modules::audit::{
        AUDIT_EVENTS, AuditEvent, AuditOutcome, AuditStore, journal,
        proof::{Leaf, PURGED, PURGED_FROM, PublicKeys, Purge, Scopes, Seal, SigningKey, sign_purge},
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgedOf {
    pub class: RecordClass,
    pub collection: &'static str,
    pub records: u64,
    /// Records that would have gone, but for a hold.
    pub held: u64,
    /// Seals that were looked at.
    pub seals: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// By collection; those that are kept for ever are not in it.
    pub collections: Vec<PurgedOf>,
    /// It ended at its limit: there is more.
    pub more: bool,
}

impl PurgeReport {
    #[must_use]
    pub fn records(&self) -> u64 {
        self.collections.iter().map(|of| of.records).sum()
    }
}

/// The key that signs purge records, and the keys that check earlier ones, today's among them.
#[derive(Clone, Debug)]
pub struct PurgeKeys {
    pub signer: Arc<SigningKey>,
    /// Those by which purge records and seals are checked.
    pub public: PublicKeys,
}

/// Deletes records past the retention of their class.
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

    /// Purges now; none where another purge is running.
    ///
    /// # Errors
    /// What the driver says; what was purged until then is purged, and the next run goes on there.
    pub async fn run(&self) -> Result<Option<PurgeReport>> {
        self.lease_and_run(PurgeTrigger::Worker).await
    }

    /// The same for `waybill audit purge`: the request is recorded before anything is deleted.
    pub async fn run_on_request(&self) -> Result<Option<PurgeReport>> {
        self.lease_and_run(PurgeTrigger::CommandLine).await
    }

    /// A preview of what would be purged now. Changes nothing.
    pub async fn preview(&self) -> Result<PurgeReport> {
        PurgeRun::new(self, PurgeTrigger::CommandLine, None).purge_all().await
    }

    async fn lease_and_run(&self, trigger: PurgeTrigger) -> Result<Option<PurgeReport>> {
        let Some(lease) = claim(&self.db, self.clock.now()).await? else { return Ok(None) };
        let noted = if trigger == PurgeTrigger::CommandLine { self.note_request(&lease).await } else { Ok(()) };
        let done = match noted {
            Ok(()) => PurgeRun::new(self, trigger, Some(&lease)).purge_all().await,
            Err(error) => Err(error),
        };
        release(&self.db, &lease).await?;
        done.inspect(log).map(Some)
    }

    /// So that purges with a person's settings can be told from scheduled ones.
    async fn note_request(&self, lease: &PurgeLease) -> Result<()> {
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

/// The starter of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PurgeTrigger {
    Worker,
    /// Somebody on the machine, possibly with other settings.
    CommandLine,
}

impl PurgeTrigger {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::CommandLine => "command_line",
        }
    }
}

/// A record, as its seal names it.
#[derive(Clone, Debug)]
struct SealedRecord {
    /// Its number in the whole chain.
    seq: i64,
    id: String,
}

/// One run. Without a lease it counts and changes nothing.
struct PurgeRun<'a> {
    purger: &'a Purger,
    trigger: PurgeTrigger,
    lease: Option<&'a PurgeLease>,
    transactions: u64,
    renewed: Instant,
    report: PurgeReport,
}

#[derive(Clone, Copy)]
struct PurgeTarget {
    class: RecordClass,
    collection: &'static str,
    /// Older records are purged, after so many days: both are in the purge record.
    older_than: DateTime,
    kept_days: i64,
}

impl<'a> PurgeRun<'a> {
    fn new(purger: &'a Purger, trigger: PurgeTrigger, lease: Option<&'a PurgeLease>) -> Self {
        Self { purger, trigger, lease, transactions: 0, renewed: Instant::now(), report: PurgeReport::default() }
    }

    async fn purge_all(mut self) -> Result<PurgeReport> {
        let now_ms = self.purger.clock.now_ms();
        for class in RecordClass::ALL {
            let Some(kept) = self.purger.retention.of(class) else { continue };
            let older_than = DateTime::from_millis(now_ms.saturating_sub(kept.as_millis() as i64));
            for collection in class.collections() {
                let target = PurgeTarget { class, collection, older_than, kept_days: days(kept) };
                self.report.collections.push(PurgedOf { class, collection, records: 0, held: 0, seals: 0 });
                self.retry_held(target).await?;
                self.purge_new(target).await?;
            }
        }
        Ok(self.report)
    }

    /// Purges seals again of which a hold has kept records, where holds have been released since.
    async fn retry_held(&mut self, target: PurgeTarget) -> Result<()> {
        let mut last = 0;
        loop {
            let mut again = doc! { "collection": target.collection, "seal": { "$gt": last } };
            if let Some(lease) = self.lease {
                again.insert("releases", doc! { "$lt": lease.releases });
            }
            let found = self.state().find(again).max_time(READ_TIME_MAX).sort(doc! { "seal": 1 }).limit(PAGE).await?;
            let kept: Vec<Document> = found.try_collect().await?;
            for number in kept.iter().filter_map(|kept| kept.get_i64("seal").ok()) {
                if self.is_over() {
                    return Ok(());
                }
                self.seal(target, number).await?;
                last = number;
            }
            if (kept.len() as i64) < PAGE {
                return Ok(());
            }
        }
    }

    /// Purges seals that no run has reached yet, as far as they are old enough.
    async fn purge_new(&mut self, target: PurgeTarget) -> Result<()> {
        let progress = self.state().find_one(doc! { "_id": target.collection }).max_time(READ_TIME_MAX).await?;
        let mut next = progress.and_then(|progress| progress.get_i64("next").ok()).unwrap_or(1);
        loop {
            let holding = doc! { "_id": { "$gte": next }, format!("counts.{}", target.collection): { "$gt": 0 } };
            let headers = self.purger.seals.list_headers(holding, true, PAGE).await?;
            for header in &headers {
                if self.is_over() || !self.seal(target, header.number).await? {
                    return Ok(());
                }
                next = header.number + 1;
                if self.lease.is_some() {
                    let reached = doc! { "$max": { "next": next } };
                    self.state().update_one(doc! { "_id": target.collection }, reached).upsert(true).await?;
                }
            }
            if (headers.len() as i64) < PAGE {
                return Ok(());
            }
        }
    }

    /// Purges what may go of one seal's records; false where some of them are not old enough.
    async fn seal(&mut self, target: PurgeTarget, number: i64) -> Result<bool> {
        // Verification names a seal that is missing.
        let Some(seal) = self.purger.seals.find(number).await? else { return Ok(true) };
        // A seal that names other records than were sealed must not delete those. It may be repaired, or its key become known.
        if !seal.is_sound(&self.purger.keys.public) {
            tracing::error!(seal = number, "the purge waits: this seal is not what a known key has signed");
            return Ok(false);
        }
        let records = records_of(&seal, target.collection);
        if records.iter().any(|(_, at)| *at >= target.older_than.timestamp_millis()) {
            return Ok(false);
        }
        let records: Vec<SealedRecord> = records.into_iter().map(|(record, _)| record).collect();
        let part = SealPart {
            purger: self.purger,
            trigger: self.trigger,
            lease: self.lease,
            target,
            seal: number,
            records: &records,
        };
        let mut of_seal = Tally::default();
        for some in records.chunks(self.purger.chunk) {
            let began = Instant::now();
            let tally = part.purge(some).await?;
            if self.lease.is_some() && tally.purged > 0 {
                crash::point("purge_committed");
            }
            of_seal = Tally { purged: of_seal.purged + tally.purged, held: of_seal.held + tally.held };
            self.transactions += 1;
            // At least as long as the transaction took: a busy database slows the purge down.
            tokio::time::sleep(PAUSE.max(began.elapsed())).await;
        }
        self.note_held(target, number, of_seal.held).await?;
        self.renew_lease().await?;
        if let Some(of) = self.report.collections.last_mut() {
            of.records += of_seal.purged;
            of.held += of_seal.held;
            of.seals += 1;
        }
        Ok(true)
    }

    /// Notes whether the seal has to be purged again once holds are released.
    async fn note_held(&self, target: PurgeTarget, seal: i64, held: u64) -> Result<()> {
        let Some(lease) = self.lease else { return Ok(()) };
        let id = doc! { "_id": format!("{}/{seal}", target.collection) };
        if held == 0 {
            return self.state().delete_one(id).await.map(drop);
        }
        let kept = doc! { "$set": { "collection": target.collection, "seal": seal, "releases": lease.releases } };
        self.state().update_one(id, kept).upsert(true).await.map(drop)
    }

    /// Extends the lease now and then: not every seal has something to purge.
    async fn renew_lease(&mut self) -> Result<()> {
        if let Some(lease) = self.lease.filter(|_| self.renewed.elapsed() >= RENEW_EVERY) {
            self.renewed = Instant::now();
            renew(&self.purger.db, lease, self.purger.clock.now()).await?;
        }
        Ok(())
    }

    fn is_over(&mut self) -> bool {
        let over = self.lease.is_some() && self.transactions >= TRANSACTIONS_MAX;
        self.report.more |= over;
        over
    }

    fn state(&self) -> mongodb::Collection<Document> {
        self.purger.db.collection(RETENTION)
    }
}

/// All records of one collection in one seal.
#[derive(Clone, Copy)]
struct SealPart<'a> {
    purger: &'a Purger,
    trigger: PurgeTrigger,
    /// None in a preview.
    lease: Option<&'a PurgeLease>,
    target: PurgeTarget,
    seal: i64,
    records: &'a [SealedRecord],
}

/// Counts of purged and kept records.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// Deleted; in a preview, would be deleted.
    purged: u64,
    /// Kept by a hold.
    held: u64,
}

impl SealPart<'_> {
    /// Purges `some` of the records in one transaction, with the purge record. Records that are gone already are left out: either an
    /// earlier purge record names them, or somebody else removed them and no purge record must cover that.
    async fn purge(self, some: &[SealedRecord]) -> Result<Tally> {
        let mut session = self.purger.db.client().start_session().await?;
        let transaction = session.start_transaction().with_options(transaction_options());
        transaction.and_run((self, some), |session, (purging, some)| purging.attempt(session, some).boxed()).await
    }

    async fn attempt(&self, session: &mut ClientSession, some: &[SealedRecord]) -> Result<Tally> {
        let mut left = self.not_purged(session).await?;
        let found = self.of_class(session, some.iter().filter(|record| left.contains(&record.seq))).await?;
        let holds = held(&self.purger.db, session, &found).await?;
        let free = found.iter().enumerate().filter(|(at, _)| !holds.contains_key(at));
        let go: Vec<&str> = free.filter_map(|(_, record)| record.get_str("_id").ok()).collect();
        let outcome = Tally { purged: go.len() as u64, held: holds.len() as u64 };
        let Some(lease) = self.lease.filter(|_| !go.is_empty()) else {
            session.abort_transaction().await?;
            return Ok(outcome);
        };
        let records = self.purger.db.collection::<Document>(self.target.collection);
        let deleted = records.delete_many(doc! { "_id": { "$in": &go } }).session(&mut *session).await?;
        if deleted.deleted_count != outcome.purged {
            return Err(Error::custom("records went that the transaction had seen".to_owned()));
        }
        crash::point("purge_deleting");
        let gone: HashSet<&str> = go.into_iter().collect();
        for record in some.iter().filter(|record| gone.contains(&*record.id)) {
            left.remove(&record.seq);
        }
        self.write_down(session, outcome.purged, &left).await?;
        // Last, so that setting a hold waits as little as possible, and wins if it was first.
        write_guard(&self.purger.db, session, Some(lease), self.purger.clock.now()).await?;
        Ok(outcome)
    }

    /// Numbers of the records that no purge has deleted. Unsigned purge records don't count: somebody else removed what they name, and no
    /// signed one must cover that.
    async fn not_purged(&self, session: &mut ClientSession) -> Result<HashSet<i64>> {
        let mut left: HashSet<i64> = self.records.iter().map(|record| record.seq).collect();
        let events = self.purger.db.collection::<RawDocumentBuf>(AUDIT_EVENTS);
        let about = doc! { "resourceId": self.seal.to_string(), "resourceType": PURGED_FROM, "action": PURGED,
        "after.collection": self.target.collection };
        let found = events.find(about).hint(Hint::Name("resource".into()));
        let mut found = found.session(&mut *session).await?;
        let mut stream = found.stream(session);
        while let Some(event) = stream.next().await.transpose()? {
            if let Some(Ok(purge)) = Purge::read(&event, &self.purger.keys.public) {
                left.retain(|seq| purge.kept.contains(seq));
            }
        }
        Ok(left)
    }

    /// The records of the class that are still there, with the fields by which holds cover them.
    async fn of_class<'r>(
        &self,
        session: &mut ClientSession,
        records: impl Iterator<Item = &'r SealedRecord>,
    ) -> Result<Vec<Document>> {
        let ids: Vec<&str> = records.map(|record| &*record.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut filter = doc! { "_id": { "$in": ids } };
        if let Some(actions) = self.target.class.actions() {
            filter.insert("action", doc! { "$in": actions.to_vec() });
        }
        let stored = self.purger.db.collection::<Document>(self.target.collection);
        let mut found = stored.find(filter).projection(projection()).session(&mut *session).await?;
        let mut records = Vec::new();
        let mut stream = found.stream(session);
        while let Some(record) = stream.next().await.transpose()? {
            records.push(record);
        }
        Ok(records)
    }

    /// Appends the purge record, and notes from which time on the collection is complete.
    async fn write_down(&self, session: &mut ClientSession, purged: u64, left: &HashSet<i64>) -> Result<()> {
        let mut kept: Vec<i64> = left.iter().copied().collect();
        kept.sort_unstable();
        let progress = doc! { "$max": { "olderThan": self.target.older_than }, "$setOnInsert": { "next": 1_i64 } };
        let state = self.purger.db.collection::<Document>(RETENTION);
        state.update_one(doc! { "_id": self.target.collection }, progress).upsert(true).session(&mut *session).await?;
        let seal = self.seal.to_string();
        let (actor, about) = (Actor::system("retention"), (PURGED_FROM, &*seal));
        let event = AuditEvent::new(AuditOutcome::Done, actor, PURGED, about, self.purger.clock.now());
        let after = doc! { "collection": self.target.collection, "records": purged as i64, "kept": kept,
        "classOlderThan": self.target.older_than, "keptDays": self.target.kept_days, "trigger": self.trigger.as_str() };
        let signed = sign_purge(&event.id, self.seal, after, &self.purger.keys.signer);
        journal().insert(&self.purger.db, session, AUDIT_EVENTS, &[event.after(signed)]).await
    }
}

/// The records of one collection in a seal, with their times (ms).
fn records_of(seal: &Seal, collection: &str) -> Vec<(SealedRecord, i64)> {
    let of_collection = |code| Scopes::standard().of_code(code).is_some_and(|scope| scope.collection() == collection);
    let numbered = (seal.first_seq..).zip(&seal.leaves).filter(|(_, leaf)| of_collection(leaf.code));
    let timed = |(seq, leaf): (i64, &Leaf)| (SealedRecord { seq, id: leaf.id.clone() }, leaf.at_ms(seal.sealed_at));
    numbered.map(timed).collect()
}
