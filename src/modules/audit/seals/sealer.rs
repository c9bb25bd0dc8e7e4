//! The sealer: puts every record into a seal within seconds.
//!
//! Each pass empties the queue of records to be sealed. A seal and the acknowledgement of the entries whose records it has
//! are one transaction, so a sealer that is killed, frozen or doubled at any step leaves neither a gap nor a double.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mongodb::{ClientSession, Database, options::ReadConcern};
use tokio::sync::Mutex;

use super::{
    anchor::{AnchorTargets, Anchors},
    queue,
    secret::{SecretError, commitment_key_of},
    store::SealStore,
};
use crate::{
    modules::audit::proof::{Anchor, CommitmentKey, Leaf, NotSigned, PublicKeys, Scopes, Seal, SealHeader, SigningKey},
    platform::{
        clock::Clock, crash, exchange::ExchangeClient, mongo, orphans, sealing::SealingKeys, singleton::Singleton,
    },
};

/// A transaction waits at most so long for its commit.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(5);
/// A record that waits longer for its seal although a sealer runs is logged as an error.
const OVERDUE: Duration = Duration::from_secs(60);

/// Why a pass ended early. The next one begins by reading where the chain stands.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The chain must not be continued: seals that follow could not be verified.
    #[error(
        "seal {number} is signed by the key {key_id}: {reason}. If AUDIT_SIGNING_KEY was changed, add the key before to AUDIT_PUBLIC_KEYS; \
         otherwise run `waybill audit verify`"
    )]
    NotSigned { number: i64, key_id: String, reason: NotSigned },
    /// The chain must not be continued: records of the missing seal would be sealed again, changed or not.
    #[error(
        "seal {number} is not the one that was made: the chain was cut or changed. Run `waybill audit verify --anchors`. If a backup was \
         restored on purpose, move AUDIT_ANCHOR_FILE away and restart the workers"
    )]
    Cut {
        /// The seal that is known, from this process or from the anchors in the file.
        number: i64,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealingPass {
    /// Whether this process holds the lease.
    pub holding: bool,
    pub seals: u64,
    pub records: u64,
}

/// Seals in the background. One per process; any of them takes over where another one ended.
#[derive(Debug)]
pub struct Sealer {
    db: Database,
    store: SealStore,
    lease: Singleton,
    keys: SealerKeys,
    clock: Clock,
    every: Duration,
    state: Mutex<SealerState>,
}

#[derive(Clone, Debug)]
pub struct SealerKeys {
    pub signer: Arc<SigningKey>,
    /// The signer of the last seal has to be among them.
    pub public: PublicKeys,
    /// Open the secret behind commitments.
    pub sealing: Arc<SealingKeys>,
}

/// The chain, while this process continues it.
#[derive(Debug)]
struct ChainTip {
    last: Option<SealHeader>,
    commitments: CommitmentKey,
}

/// Counts of one transaction of a pass.
struct SealStep {
    records: u64,
    entries: usize,
    oldest_ms: Option<i64>,
    more: bool,
}

#[derive(Debug)]
struct SealerState {
    tip: Option<ChainTip>,
    /// The last seal that this process made or continued: the chain still has it, or was changed.
    latest: Option<Anchor>,
    anchors: Anchors,
    /// It was logged that records wait too long.
    overdue: bool,
}

impl Sealer {
    /// A sealer that looks for records `every` so often.
    #[must_use]
    pub fn new(
        db: Database,
        keys: SealerKeys,
        clock: Clock,
        every: Duration,
        targets: AnchorTargets,
        exchange: ExchangeClient,
    ) -> Self {
        let lease = Singleton::new(db.clone(), "sealer");
        let state = Mutex::new(SealerState {
            tip: None,
            latest: None,
            anchors: Anchors::new(targets, exchange),
            overdue: false,
        });
        Self { store: SealStore::new(db.clone()), db, lease, keys, clock, every, state }
    }

    /// Seals until `shutdown`.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut trouble = String::new();
        loop {
            // A pass may be interrupted anywhere, the next one goes on: a long backlog must not delay the shutdown.
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
    pub async fn pass(&self) -> Result<SealingPass, SealError> {
        let mut state = self.state.lock().await;
        if !self.lease.hold().await? {
            state.tip = None;
            return Ok(SealingPass::default());
        }
        // Whatever goes wrong below: the next pass reads where the chain stands.
        let mut tip = match state.tip.take() {
            Some(tip) => tip,
            None => self.take_over(&mut state).await?,
        };
        let mut passed = SealingPass { holding: true, ..SealingPass::default() };
        loop {
            let Some(step) = self.seal_some(&mut tip).await? else {
                // Another process continued the chain: the lease had ended.
                return Ok(passed);
            };
            passed.seals += u64::from(step.records > 0);
            passed.records += step.records;
            state.latest = tip.last.as_ref().map(Anchor::from);
            if !step.more {
                break;
            }
            if !self.lease.hold().await? {
                return Ok(passed);
            }
        }
        if let Some(latest) = state.latest {
            state.anchors.keep(latest).await;
            crash::point("seal_anchored");
        }
        state.tip = Some(tip);
        state.overdue = self.look_for_overdue(state.overdue).await?;
        Ok(passed)
    }

    /// Reads where the chain stands, and refuses one that could not be verified if it went on.
    async fn take_over(&self, state: &mut SealerState) -> Result<ChainTip, SealError> {
        let commitments = commitment_key_of(&self.db, &self.keys.sealing).await?;
        let last = self.store.last().await?;
        if let Some(last) = &last {
            let signed = last.check_signature(&self.keys.public);
            signed.map_err(|reason| SealError::NotSigned {
                number: last.number,
                key_id: last.key_id.clone(),
                reason,
            })?;
        }
        for known in [state.latest, state.anchors.latest().await].into_iter().flatten() {
            let there = self.store.readable_header(known.number).await?;
            if there.as_ref().map(Anchor::from) != Some(known) {
                return Err(SealError::Cut { number: known.number });
            }
        }
        state.latest = last.as_ref().map(Anchor::from);
        tracing::info!(last = last.as_ref().map(|last| last.number), "sealing audit records");
        Ok(ChainTip { last, commitments })
    }

    /// Seals the oldest entries of the queue and acknowledges them, in one transaction; none where another process was
    /// first.
    async fn seal_some(&self, tip: &mut ChainTip) -> Result<Option<SealStep>, SealError> {
        let mut session = self.db.client().start_session().await?;
        let transaction = session.start_transaction().read_concern(ReadConcern::snapshot());
        transaction.write_concern(mongo::durable()).max_commit_time(COMMIT_TIME_MAX).await?;
        match self.write_seal(&mut session, tip).await {
            Ok((seal, step)) if step.entries > 0 => {
                match commit(&mut session).await {
                    Err(error) if self.is_another_first(&error) => return Ok(None),
                    committed => committed?,
                }
                crash::point("seal_stored");
                if let Some(seal) = seal {
                    tip.last = Some(seal);
                    metrics::counter!("waybill_audit_seals_total").increment(1);
                    metrics::counter!("waybill_audit_sealed_records_total").increment(step.records);
                }
                if let Some(oldest_ms) = step.oldest_ms {
                    let waited = self.clock.now_ms().saturating_sub(oldest_ms).max(0);
                    metrics::histogram!("waybill_audit_sealing_seconds").record(waited as f64 / 1_000.0);
                }
                Ok(Some(step))
            }
            written => {
                let _ = session.abort_transaction().await;
                match written {
                    Ok((_, step)) => Ok(Some(step)),
                    Err(SealError::Database(error)) if self.is_another_first(&error) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn write_seal(
        &self,
        session: &mut ClientSession,
        tip: &ChainTip,
    ) -> Result<(Option<SealHeader>, SealStep), SealError> {
        let batch = queue::take(&self.db, session, &tip.commitments).await?;
        crash::point("seal_read");
        metrics::gauge!("waybill_audit_missing_records").set(batch.missing.len() as f64);
        if let Some((collection, id)) = batch.missing.first() {
            let missing = batch.missing.len();
            tracing::error!(
                missing,
                collection,
                id,
                "records that were written are not there; run `waybill audit verify`"
            );
        }
        let step = SealStep {
            records: batch.records.len() as u64,
            entries: batch.entries.len(),
            oldest_ms: batch.oldest_ms,
            more: batch.more,
        };
        let mut header = None;
        if !batch.records.is_empty() {
            // Times of seals never decrease, so that a seal can be found by bisection.
            let now = tip.last.as_ref().map_or(self.clock.now(), |last| last.sealed_at.max(self.clock.now()));
            let leaves = batch.records.into_iter().map(|((code, id), hash)| Leaf { code, id, hash }).collect();
            let seal = Seal::build(tip.last.as_ref(), now, leaves, Scopes::standard(), &self.keys.signer);
            crash::point("seal_built");
            self.store.append(session, &seal).await?;
            header = Some(seal.header);
        }
        if !batch.entries.is_empty() {
            queue::acknowledge(&self.db, session, &batch.entries).await?;
        }
        Ok((header, step))
    }

    /// Whether a seal of this number is there, or is being written: by another sealer, which may have died over it.
    fn is_another_first(&self, error: &mongodb::error::Error) -> bool {
        let is_written = mongo::is_write_conflict(error);
        if is_written {
            orphans::look_for(&self.db);
        }
        is_written || mongo::is_duplicate_key(error)
    }

    /// Logs once that records wait for their seal although a sealer runs.
    async fn look_for_overdue(&self, known: bool) -> Result<bool, SealError> {
        let waited_ms = self.store.queue_age_ms(self.clock.now_ms()).await?;
        metrics::gauge!("waybill_audit_seal_queue_oldest_seconds").set(waited_ms as f64 / 1_000.0);
        let overdue = waited_ms > OVERDUE.as_millis() as i64;
        if overdue && !known {
            tracing::error!(waited_ms, "records wait for their seal; run `waybill audit verify`");
        }
        Ok(overdue)
    }
}

/// Commits, and repeats the commit where its result is unknown: the server then answers with the result of the first.
async fn commit(session: &mut ClientSession) -> mongodb::error::Result<()> {
    let began = Instant::now();
    loop {
        match session.commit_transaction().await {
            Err(error) if mongo::is_unknown_commit(&error) && began.elapsed() < COMMIT_TIME_MAX => {}
            committed => return committed,
        }
    }
}
