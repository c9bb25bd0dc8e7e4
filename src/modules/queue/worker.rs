//! The worker: claims, runs, beats, and ends what it started.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bson::doc;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    task::JoinSet,
};

use super::{
    claim::{CLAIM_MAX, ClaimCursors},
    complete::{CompleteJob, Completion},
    dispatch::Dispatch,
    handler::{Attempt, Conclusion, EndOnly, Handlers, JobHandler, by_queue_and_kind},
    lease::Lease,
    model::{Job, JobEnd, JobError, QueueConfig},
    settings::WorkerSettings,
    store::QueueStore,
    wake::Waker,
};
use crate::platform::{
    batch::{self, Lane, LaneError},
    clock::{Clock, after},
    crash, traces,
};

/// An answer that can't be written down is tried again for so long; then its request is closed by the next attempt.
const COMPLETION_PATIENCE: Duration = Duration::from_secs(600);
/// A look into the database beside the jobs takes no longer than this.
pub(super) const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// A conclusion that the database refuses for an unknown reason is tried so often before the job fails without it.
const REFUSED_MAX: u32 = 25;

/// Parts of a [`Worker`].
pub struct WorkerParts {
    pub settings: WorkerSettings,
    pub store: QueueStore,
    /// That of completions.
    pub lane: Lane,
    /// The database's.
    pub clock: Clock,
    pub waker: Waker,
    /// Says with which accounts jobs run.
    pub dispatch: Arc<dyn Dispatch>,
    pub queues: Vec<QueueConfig>,
    pub handlers: Vec<Arc<dyn JobHandler>>,
}

/// Runs jobs. Cloning gives the same worker.
#[derive(Clone)]
pub struct Worker {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) settings: WorkerSettings,
    pub(super) store: QueueStore,
    lane: Lane,
    pub(super) clock: Clock,
    pub(super) waker: Waker,
    pub(super) dispatch: Arc<dyn Dispatch>,
    pub(super) queues: Vec<QueueConfig>,
    handlers: Handlers,
    pub(super) leases: Mutex<HashMap<String, Lease>>,
    pub(super) stopping: AtomicBool,
    pub(super) stop: Notify,
    pub(super) started: Instant,
    /// Whether its clock agrees with those of the workers that claim; unknown, it claims nothing.
    pub(super) in_step: AtomicBool,
}

impl Worker {
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        let WorkerParts { settings, store, lane, clock, waker, dispatch, queues, handlers } = parts;
        let handlers = by_queue_and_kind(&handlers);
        Self {
            inner: Arc::new(Inner {
                settings,
                store,
                lane,
                clock,
                waker,
                dispatch,
                queues,
                handlers,
                leases: Mutex::default(),
                stopping: AtomicBool::new(false),
                stop: Notify::new(),
                started: Instant::now(),
                in_step: AtomicBool::new(false),
            }),
        }
    }

    /// Works until `shutdown` resolves; then stops claiming, lets what runs finish, and gives back the rest.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let inner = &self.inner;
        let _ = tokio::time::timeout(STORE_PATIENCE, inner.send_heartbeat()).await;
        let mut background = JoinSet::new();
        background.spawn(Arc::clone(inner).beat());
        background.spawn(Arc::clone(inner).look());
        background.spawn(Arc::clone(inner).take_back());
        background.spawn(Arc::clone(inner).trim());
        background.spawn(Arc::clone(inner).free_lines());
        let waker = inner.waker.clone();
        background.spawn(async move { waker.run_subscriber().await });
        let mut runners = JoinSet::new();
        for queue in inner.queues.clone() {
            runners.spawn(Arc::clone(inner).serve(queue));
        }
        shutdown.await;
        tracing::info!(worker.id = inner.settings.worker_id, "stopping: no new jobs, finishing what runs");
        inner.stopping.store(true, Ordering::SeqCst);
        inner.stop.notify_waiters();
        let finish = async { while runners.join_next().await.is_some() {} };
        if tokio::time::timeout(inner.settings.shutdown, finish).await.is_err() {
            tracing::warn!("some jobs did not finish in time; their leases will end");
        }
        background.shutdown().await;
        let _ = inner.store.remove_heartbeat(&inner.settings.worker_id).await;
    }

    /// Claims what is due once, runs it to the end, and says how many jobs that were. Drives tests and demos.
    pub async fn run_due(&self) -> usize {
        let mut running = JoinSet::new();
        let open = doc! { "state": { "$in": ["ready", "active"] } };
        for queue in self.inner.store.with_jobs(&self.inner.queues, open).await.into_iter().flatten() {
            let now = self.inner.clock.now();
            let _ = self.inner.store.reclaim_expired(queue.name, now).await;
            while self.inner.store.promote(queue.name, now).await.is_ok_and(|promoted| promoted > 0) {}
            for (job, lease) in self.inner.round(queue, CLAIM_MAX, &mut ClaimCursors::default()).await.jobs {
                running.spawn(Arc::clone(&self.inner).run_one(queue.clone(), job, lease, None));
            }
        }
        let count = running.len();
        while running.join_next().await.is_some() {}
        count
    }
}

impl Inner {
    /// Runs one attempt to its end.
    pub(super) async fn run_one(
        self: Arc<Self>,
        queue: QueueConfig,
        job: Job,
        lease: Lease,
        slot: Option<OwnedSemaphorePermit>,
    ) {
        let span = traces::attempt(queue.name, &job.kind, &job.id, job.attempts, job.trace.as_deref());
        let result = traces::within(span.as_ref(), self.attempt(&queue, &job, &lease)).await;
        if let Some(span) = span {
            span.set("job.result", result);
        }
        metrics::counter!("waybill_jobs_total", "queue" => queue.name, "result" => result).increment(1);
        {
            let mut leases = self.leases.lock();
            if leases.get(&job.id).is_some_and(|held| held.token == lease.token) {
                leases.remove(&job.id);
            }
        }
        drop(slot);
        self.give_back_permits(&queue, std::slice::from_ref(&lease.permit)).await;
    }

    async fn attempt(&self, queue: &QueueConfig, job: &Job, lease: &Lease) -> &'static str {
        if self.stopping.load(Ordering::SeqCst) {
            return self.give_back(job, lease, Duration::ZERO).await;
        }
        let Some(handler) = self.handlers.get(&(queue.name, job.kind.as_str())) else {
            let error = JobError::new(
                "payload",
                "queue.unknown_kind",
                format!("No worker handles jobs of the kind {}.", job.kind),
            );
            return self.complete(queue, job, lease, Arc::new(EndOnly(JobEnd::Dead { error }))).await;
        };
        if job.attempts > job.max_attempts {
            let error = JobError::new("lease", "queue.workers_died", "Every attempt ended with a worker that died.");
            return self.fail(queue, handler, job, lease, error).await;
        }
        let running = AssertUnwindSafe(handler.run(job, lease)).catch_unwind();
        match tokio::time::timeout(queue.timeout, running).await {
            Ok(Ok(Attempt::Concluded(conclusion))) => self.complete(queue, job, lease, conclusion.into()).await,
            Ok(Ok(Attempt::Settled)) => "settled",
            Ok(Ok(Attempt::Failed(error))) => self.fail(queue, handler, job, lease, error).await,
            Ok(Ok(Attempt::LeaseLost)) => "lease_lost",
            Ok(Ok(Attempt::NotBegun)) => self.give_back(job, lease, Duration::from_secs(1)).await,
            Ok(Err(panic)) => {
                let words = panic_words(panic.as_ref());
                tracing::error!(job.id, job.kind, panic = words, "a job handler panicked");
                self.fail(queue, handler, job, lease, JobError::new("panic", "queue.panic", words)).await
            }
            Err(_) => {
                let error = JobError::new("timeout", "queue.timeout", "The attempt took too long.");
                self.fail(queue, handler, job, lease, error).await
            }
        }
    }

    async fn fail(
        &self,
        queue: &QueueConfig,
        handler: &Arc<dyn JobHandler>,
        job: &Job,
        lease: &Lease,
        error: JobError,
    ) -> &'static str {
        let conclusion = handler.failed(job, error.clone());
        let conclusion = conclusion.unwrap_or_else(|| Box::new(EndOnly(self.end_of_failed(queue, job, error))));
        self.complete(queue, job, lease, conclusion.into()).await
    }

    async fn give_back(&self, job: &Job, lease: &Lease, delay: Duration) -> &'static str {
        if let Err(error) = self.store.give_back(&job.id, &lease.token, after(self.clock.now(), delay)).await {
            tracing::warn!(job.id, %error, "a job could not be given back; its lease will end");
        }
        "given_back"
    }

    /// Commits the conclusion, however long the database is away: the answer of a provider must not be lost.
    async fn complete(
        &self,
        queue: &QueueConfig,
        job: &Job,
        lease: &Lease,
        conclusion: Arc<dyn Conclusion>,
    ) -> &'static str {
        crash::point("before_completion");
        let give_up_at = Instant::now() + COMPLETION_PATIENCE;
        let mut conclusion = conclusion;
        let mut refused = 0;
        loop {
            let command =
                CompleteJob { job_id: job.id.clone(), token: lease.token.clone(), conclusion: Arc::clone(&conclusion) };
            match self.lane.submit(command).await {
                Ok(Completion::Ended(how, wake)) => {
                    crash::point("after_completion");
                    for queue in wake {
                        self.waker.wake(queue);
                    }
                    return how;
                }
                Ok(Completion::Already) => return "done",
                Ok(Completion::Late) => {
                    tracing::warn!(job.id, "the lease was lost; the answer is on record as late");
                    return "late";
                }
                Err(LaneError::Failed(reason)) => {
                    tracing::error!(job.id, reason, "an attempt could not be concluded");
                    refused += 1;
                    if Instant::now() > give_up_at {
                        return "lost";
                    }
                    // A full disk or a password that is being changed passes; a decision that panics does not.
                    if refused > REFUSED_MAX || reason == batch::PANICKED {
                        let error = JobError::new("internal", "queue.conclusion_failed", reason);
                        conclusion = Arc::new(EndOnly(self.end_of_failed(queue, job, error)));
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(LaneError::Away | LaneError::Busy) if Instant::now() < give_up_at => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(LaneError::Away | LaneError::Busy) => return "lost",
            }
        }
    }

    fn end_of_failed(&self, queue: &QueueConfig, job: &Job, error: JobError) -> JobEnd {
        queue.end_of_failed(job, error, rand::random(), self.clock.now())
    }
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    words.unwrap_or("a panic without words").chars().take(300).collect()
}
