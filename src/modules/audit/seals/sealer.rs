//! The sealer: puts every record into a seal within seconds.
//!
//! Each pass reads what came since the last one, by ids, which carry their time. A transaction may commit after others
//! whose ids are later: so a pass also looks back over the last two minutes and takes what is in no seal yet. Which
//! records are sealed is read from the seals themselves whenever this process begins to seal, so a sealer that was killed
//! at any step leaves neither a gap nor a double.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use tokio::sync::Mutex;

use super::{
    anchor::{AnchorPlaces, Anchors},
    chain::{Batch, Chain},
    known::Known,
    lease::Lease,
    secret::{SecretError, commitment_key_of},
    store::{SealStore, id_of},
};
use crate::{
    modules::audit::proof::{Anchor, Hash, Leaf, NotSigned, PublicKeys, Record, Scope, Scopes, Seal, SigningKey},
    platform::{
        clock::Clock,
        crash,
        exchange::Exchange,
        ids::{first_id_at, new_id, time_of_id},
        sealing::SealingKeys,
    },
};

/// Looking back takes at most this part of the time.
const LOOK_BACK_PAUSE: u32 = 20;
/// But happens at least this often.
const LOOK_BACK_EVERY_MAX: Duration = Duration::from_secs(45);
/// What is younger is read again by the next pass: its neighbours may not be committed yet.
const SETTLE_MS: i64 = 300;
/// Records of the list of late ones that a pass takes, and of those of one collection that it meets by looking back; they
/// are held in memory whatever their size.
const LATE_MAX: usize = 500;
/// Records of one collection in one seal; five collections give at most 20,000 leaves, 1.7 MB.
const RECORDS_MAX: usize = 4_000;
/// And their bytes, which are held in memory.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a pass ended early. The next one begins by reading where the chain stands.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// What the driver says.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    /// No commitment key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The chain may not be continued: what would follow could not be verified.
    #[error(
        "seal {number} is signed by the key {key_id}: {reason}. If AUDIT_SIGNING_KEY was changed, add the key before to AUDIT_PUBLIC_KEYS; \
         otherwise run `waybill audit verify`"
    )]
    NotOurs {
        /// The last seal.
        number: i64,
        /// Who signed it.
        key_id: String,
        /// What is wrong with that.
        reason: NotSigned,
    },
    /// The chain may not be continued: what is not there any more would be sealed anew, changed or not.
    #[error(
        "seal {number} is not the one that was made: the chain was cut or changed. Run `waybill audit verify --anchors`. If a backup was \
         restored on purpose, move AUDIT_ANCHOR_FILE away and restart the workers"
    )]
    Cut {
        /// The seal that is known, from this process or from the anchors in the file.
        number: i64,
    },
    /// Hashing ended by a panic.
    #[error("a seal could not be made: {0}")]
    Build(String),
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Whether this process holds the lease.
    pub holding: bool,
    /// Seals made.
    pub seals: u64,
    /// Records in them.
    pub records: u64,
}

/// Seals in the background. One per process; any of them takes over where another one ended.
#[derive(Debug)]
pub struct Sealer {
    db: Database,
    store: SealStore,
    lease: Lease,
    keys: SealerKeys,
    clock: Clock,
    every: Duration,
    state: Mutex<State>,
}

/// Keys of a sealer.
#[derive(Clone, Debug)]
pub struct SealerKeys {
    /// Signs.
    pub signer: Arc<SigningKey>,
    /// Whoever signed the last seal has to be among them.
    pub public: PublicKeys,
    /// Open the secret behind commitments.
    pub sealing: Arc<SealingKeys>,
}

#[derive(Debug)]
struct State {
    /// What is known of the chain, while this process continues it.
    chain: Option<Chain>,
    /// The last seal that this process made or continued: the chain still has it, or was changed.
    latest: Option<Anchor>,
    anchors: Anchors,
}

impl Sealer {
    /// A sealer that looks for records `every` so often.
    #[must_use]
    pub fn new(
        db: Database,
        keys: SealerKeys,
        clock: Clock,
        every: Duration,
        places: AnchorPlaces,
        exchange: Exchange,
    ) -> Self {
        let lease = Lease::new(db.clone(), new_id("slr"));
        let state = Mutex::new(State { chain: None, latest: None, anchors: Anchors::new(places, exchange) });
        Self { store: SealStore::new(db.clone()), db, lease, keys, clock, every, state }
    }

    /// Seals until `shutdown`.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut trouble = String::new();
        loop {
            // Wherever a pass ends, the next one goes on: catching up with years holds up nobody who shuts down.
            let passed = tokio::select! {
                passed = self.pass() => passed,
                () = &mut shutdown => break,
            };
            match passed {
                Ok(passed) => {
                    trouble.clear();
                    if passed.seals > 0 {
                        tracing::debug!(seals = passed.seals, records = passed.records, "sealed");
                    }
                }
                Err(error) if error.to_string() == trouble => tracing::debug!(%error, "sealing still fails"),
                Err(error) => {
                    trouble = error.to_string();
                    tracing::error!(%error, "audit records are not sealed");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = &mut shutdown => break,
            }
        }
        let _ = self.lease.release().await;
    }

    /// Seals what is there, if no other process does.
    ///
    /// # Errors
    /// [`SealError`]; nothing is half done then.
    pub async fn pass(&self) -> Result<Passed, SealError> {
        let mut state = self.state.lock().await;
        let Some(mut now_ms) = self.lease.hold().await? else {
            state.chain = None;
            return Ok(Passed::default());
        };
        // Whatever goes wrong below: the next pass reads where the chain stands.
        let mut chain = match state.chain.take() {
            Some(chain) => chain,
            None => self.take_over(&mut state, now_ms).await?,
        };
        let mut passed = Passed { holding: true, ..Passed::default() };
        let low_ms = self.remember_from(&mut chain, now_ms).await?;
        let mut batch = self.gather(&mut chain, low_ms, now_ms).await?;
        crash::point("seal_read");
        loop {
            let (more, records) = (!batch.full.is_empty(), batch.records.len() as u64);
            if records > 0 {
                if !self.seal(&mut chain, &mut batch).await? {
                    // Another process continued the chain: the lease had ended.
                    return Ok(passed);
                }
                passed.seals += 1;
                passed.records += records;
                state.latest = chain.last.as_ref().map(Anchor::from);
            }
            chain.go_on(&mut batch);
            self.store.unlist_late(&batch.listed).await?;
            if !more {
                break;
            }
            match self.lease.hold().await? {
                Some(ms) => now_ms = ms,
                None => return Ok(passed),
            }
            batch = self.read_new(&chain, now_ms).await?;
        }
        if let Some(latest) = state.latest {
            state.anchors.keep(latest).await;
            crash::point("seal_anchored");
        }
        state.chain = Some(chain);
        Ok(passed)
    }

    /// Reads where the chain stands, and refuses one that could not be verified if it went on.
    async fn take_over(&self, state: &mut State, now_ms: i64) -> Result<Chain, SealError> {
        let commitments = commitment_key_of(&self.db, &self.keys.sealing).await?;
        let last = self.store.latest().await?;
        if let Some(last) = last.as_ref().map(|last| &last.header) {
            let signed = self.keys.public.verify(&last.key_id, &last.signed_bytes(), &last.signature);
            signed.map_err(|reason| SealError::NotOurs { number: last.number, key_id: last.key_id.clone(), reason })?;
        }
        for known in [state.latest, state.anchors.latest().await].into_iter().flatten() {
            if self.store.anchor(known.number).await? != Some(known) {
                return Err(SealError::Cut { number: known.number });
            }
        }
        state.latest = last.as_ref().map(|last| Anchor::from(&last.header));
        tracing::info!(last = last.as_ref().map(|last| last.header.number), "sealing audit records");
        Ok(Chain::behind(last, commitments, now_ms))
    }

    /// From which time on this pass looks, ms; what is sealed since then is known afterwards.
    async fn remember_from(&self, chain: &mut Chain, now_ms: i64) -> Result<i64, SealError> {
        let low_ms = chain.low_ms(now_ms, self.clock.now_ms());
        if low_ms < chain.known.since_ms() {
            let mut known = Known::since(low_ms);
            self.store.for_each_sealed_since(low_ms, |code, id| known.add(code, id)).await?;
            chain.known = known;
            chain.look_back_at = Instant::now();
        }
        Ok(low_ms)
    }

    /// What came since the last pass, and what was committed late.
    async fn gather(&self, chain: &mut Chain, low_ms: i64, now_ms: i64) -> Result<Batch, SealError> {
        let mut batch = self.read_new(chain, now_ms).await?;
        self.add_listed(chain, &mut batch).await?;
        if Instant::now() < chain.look_back_at {
            return Ok(batch);
        }
        let began = Instant::now();
        let mut all = true;
        for scope in Scopes::standard().today() {
            let late = self.late_ids(chain, scope, low_ms).await?;
            all &= late.len() < LATE_MAX;
            if !late.is_empty() {
                tracing::debug!(collection = scope.collection(), records = late.len(), "committed late");
            }
            for (leaf, record) in late.iter().zip(self.store.records(&late).await?) {
                // Purged since: then it was sealed after all, or was never to be.
                if let Some(record) = record {
                    batch.records.insert((leaf.code, leaf.id.clone()), record);
                }
            }
        }
        if all {
            batch.looked_back_ms = Some(now_ms);
            chain.look_back_at = Instant::now() + (began.elapsed() * LOOK_BACK_PAUSE).min(LOOK_BACK_EVERY_MAX);
        }
        Ok(batch)
    }

    /// What was committed so late that looking back does not reach it is listed by whoever committed it.
    async fn add_listed(&self, chain: &Chain, batch: &mut Batch) -> Result<(), SealError> {
        for leaf in self.store.list_late(LATE_MAX as i64).await? {
            let key = (leaf.code, leaf.id.clone());
            let met = chain.known.has(leaf.code, &leaf.id) || batch.records.contains_key(&key);
            if !met && !self.store.is_sealed(&leaf.id).await? {
                let record = self.store.records(std::slice::from_ref(&leaf)).await?.pop().flatten();
                batch.records.extend(record.map(|record| (key, record)));
            }
            batch.listed.push(leaf.id);
        }
        Ok(())
    }

    /// Ids behind the head that are in no seal, at most [`LATE_MAX`].
    async fn late_ids(&self, chain: &Chain, scope: &Scope, low_ms: i64) -> Result<Vec<Leaf>, SealError> {
        let (code, prefix) = (scope.code(), scope.id_prefix());
        let range = doc! { "_id": { "$gte": first_id_at(prefix, low_ms), "$lte": chain.head(scope) } };
        let records = self.db.collection::<RawDocumentBuf>(scope.collection());
        let mut found = records.find(range).projection(doc! { "_id": 1 }).batch_size(20_000).await?;
        let mut late = Vec::new();
        while late.len() < LATE_MAX && found.advance().await? {
            if let Some(id) = id_of(found.current())
                && !chain.known.has(code, id)
            {
                late.push(Leaf { code, id: id.to_owned(), hash: Hash::ZERO });
            }
        }
        Ok(late)
    }

    /// What is beyond the heads.
    async fn read_new(&self, chain: &Chain, now_ms: i64) -> Result<Batch, SealError> {
        let mut batch = Batch::default();
        for scope in Scopes::standard().today() {
            self.read_new_of(chain, scope, now_ms, &mut batch).await?;
        }
        Ok(batch)
    }

    async fn read_new_of(&self, chain: &Chain, scope: &Scope, now_ms: i64, batch: &mut Batch) -> Result<(), SealError> {
        let (code, prefix) = (scope.code(), scope.id_prefix());
        let head = chain.head(scope);
        // Texts that are no hexadecimal digits behind the underscore come before these or behind. No bound in time: another
        // process may be ahead.
        let beyond = doc! { "_id": { "$gt": &head, "$lt": format!("{prefix}_g"), "$type": "string" } };
        let records = self.db.collection::<RawDocumentBuf>(scope.collection());
        let found = records.find(beyond).sort(doc! { "_id": 1 }).batch_size(RECORDS_MAX as u32);
        let mut found = found.limit(RECORDS_MAX as i64).await?;
        let (mut read, mut bytes, mut last) = (0, 0, None);
        while let Some(record) = found.try_next().await? {
            (read, bytes) = (read + 1, bytes + record.as_bytes().len());
            if let Some(id) = id_of(&record).map(ToOwned::to_owned) {
                if !chain.known.has(code, &id) {
                    batch.records.insert((code, id.clone()), record);
                }
                last = Some(id);
            }
            if bytes >= BYTES_MAX {
                break;
            }
        }
        let full = read >= RECORDS_MAX || bytes >= BYTES_MAX;
        if let Some(last) = last {
            batch.full.extend(full.then_some(code));
            // Of what is very young the neighbours may be missing still; it is read again. Older ones come by looking back.
            let settled = first_id_at(prefix, now_ms - SETTLE_MS);
            batch.heads.insert(code, if full { last } else { last.min(settled).max(head) });
        }
        Ok(())
    }

    /// Seals a batch; false where another process was first.
    async fn seal(&self, chain: &mut Chain, batch: &mut Batch) -> Result<bool, SealError> {
        let oldest_ms = batch.records.keys().filter_map(|(_, id)| time_of_id(id)).min();
        let (last, commitments) = (chain.last.clone(), Arc::clone(&chain.commitments));
        let (signer, reached_ms) = (Arc::clone(&self.keys.signer), chain.reached_ms(batch));
        // Times of seals never go back, so that whoever looks for one can halve the chain.
        let now = last.as_ref().map_or(self.clock.now(), |last| last.sealed_at.max(self.clock.now()));
        let records = std::mem::take(&mut batch.records);
        let built = tokio::task::spawn_blocking(move || {
            let scopes = Scopes::standard();
            let records = records
                .iter()
                .filter_map(|((code, id), document)| scopes.of_code(*code).map(|scope| Record { scope, id, document }));
            Seal::build(last.as_ref(), now, records, &commitments, &signer)
        });
        let seal = built.await.map_err(|error| SealError::Build(error.to_string()))?;
        crash::point("seal_built");
        if !self.store.append(&seal, reached_ms).await? {
            return Ok(false);
        }
        crash::point("seal_stored");
        for leaf in &seal.leaves {
            chain.known.add(leaf.code, &leaf.id);
        }
        metrics::counter!("waybill_audit_seals_total").increment(1);
        metrics::counter!("waybill_audit_sealed_records_total").increment(seal.leaves.len() as u64);
        if let Some(oldest_ms) = oldest_ms {
            let waited = self.clock.now_ms().saturating_sub(oldest_ms).max(0);
            metrics::histogram!("waybill_audit_sealing_seconds").record(waited as f64 / 1_000.0);
        }
        chain.last = Some(seal.header());
        Ok(true)
    }
}
