//! Leases: the right to end one attempt, with its end on the monotonic clock.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongodb::{ClientSession, Database, error::Result};
use parking_lot::Mutex;

use super::{JOBS, dispatch::Permit, settings::WorkerSettings, store::QueueStore};
use crate::platform::clock::{Clock, after};

/// A lease has to outlast an outside call by this much, for what comes after it.
pub const CALL_MARGIN: Duration = Duration::from_millis(500);
/// A lease that would not outlast what comes is made so much longer than that, for what comes before it.
const LENGTHENING: Duration = Duration::from_secs(1);

/// The right to end one attempt.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Kept in the job.
    pub token: String,
    pub worker_id: String,
    /// The account with which the attempt runs.
    pub permit: Permit,
    job_id: String,
    valid_until: Arc<Mutex<Option<Instant>>>,
    length: Duration,
    store: QueueStore,
    clock: Clock,
}

/// Whether an effect is in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectRecorded {
    /// It is, if the transaction commits.
    Now,
    /// It was in an earlier one: there is nothing left to do.
    Before,
    /// Somebody else has the job.
    LeaseLost,
}

impl Lease {
    /// Notes in the job (`payload.taken`) that its one effect is in this transaction, which is no lane's: so it is there once, whoever
    /// is killed before the attempt ends.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn note_effect(&self, db: &Database, session: &mut ClientSession) -> Result<EffectRecorded> {
        let jobs = db.collection::<Document>(JOBS);
        let held = doc! { "_id": &self.job_id, "state": "active", "leaseToken": &self.token };
        let Some(job) = jobs.find_one(held.clone()).projection(doc! { "payload": 1 }).session(&mut *session).await?
        else {
            return Ok(EffectRecorded::LeaseLost);
        };
        if job.get_document("payload").and_then(|payload| payload.get_bool("taken")).unwrap_or_default() {
            return Ok(EffectRecorded::Before);
        }
        jobs.update_one(held, doc! { "$set": { "payload.taken": true } }).session(session).await?;
        Ok(EffectRecorded::Now)
    }

    /// A lease that was asked for at `asked` and counts from then.
    pub(super) fn new(
        job_id: &str,
        token: &str,
        permit: Permit,
        settings: &WorkerSettings,
        asked: Instant,
        store: &QueueStore,
        clock: &Clock,
    ) -> Self {
        Self {
            token: token.to_owned(),
            worker_id: settings.worker_id.clone(),
            permit,
            job_id: job_id.to_owned(),
            valid_until: Arc::new(Mutex::new(Some(asked + settings.lease))),
            length: settings.lease,
            store: store.clone(),
            clock: clock.clone(),
        }
    }

    pub(super) fn job_id(&self) -> &str {
        &self.job_id
    }

    /// Whether the lease outlasts `needed` from now, on the monotonic clock; renews it if it must. To be asked right
    /// before an effect outside.
    pub async fn outlasts(&self, needed: Duration) -> bool {
        if self.is_valid_for(needed) {
            return true;
        }
        // Longer than usual where the effect takes longer.
        let (asked, length) = (Instant::now(), self.length.max(needed + LENGTHENING));
        let until = after(self.clock.now(), length);
        let held = self.store.extend(&[(self.job_id.clone(), self.token.clone())], until).await;
        match held {
            Ok(held) if !held.is_empty() => self.hold_until(asked + length),
            Ok(_) => self.lose(),
            Err(_) => {}
        }
        self.is_valid_for(needed)
    }

    fn is_valid_for(&self, needed: Duration) -> bool {
        let until = *self.valid_until.lock();
        until.is_some_and(|until| until > Instant::now() + needed)
    }

    /// Valid from when we asked, not from when we were answered.
    pub(super) fn renew(&self, asked: Instant) {
        self.hold_until(asked + self.length);
    }

    /// A lease that was made longer stays so.
    fn hold_until(&self, until: Instant) {
        let mut valid_until = self.valid_until.lock();
        *valid_until = (*valid_until).max(Some(until));
    }

    /// Somebody else has the job.
    pub(super) fn lose(&self) {
        *self.valid_until.lock() = None;
    }
}
