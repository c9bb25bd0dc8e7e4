//! Starts what is due. One process at a time looks; that nothing is started twice rests on the transaction that starts it.

use std::{sync::Arc, time::Duration};

use super::{
    ScheduleStore,
    commands::{Advance, RunIds, Starting},
    model::Plan,
};
use crate::{
    modules::queue::{QueueConfig, Waker},
    platform::{batch::Lane, clock::Clock, error::AppError, ids::new_id, singleton::Singleton},
};

/// How often schedules are looked at: cron expressions have minutes.
const EVERY: Duration = Duration::from_secs(1);

/// Starts runs in the background. One per process; any of them takes over where another one ended.
#[derive(Clone)]
pub struct Scheduler {
    /// Reads.
    pub store: ScheduleStore,
    /// Writes.
    pub lane: Lane,
    /// The right to look.
    pub lease: Singleton,
    /// Time.
    pub clock: Clock,
    /// Tells workers of runs.
    pub waker: Waker,
    /// What there is.
    pub plans: Arc<Vec<Plan>>,
    /// Where runs go.
    pub queue: QueueConfig,
}

impl Scheduler {
    /// Looks until `shutdown`.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let passed = tokio::select! {
                passed = self.pass() => passed,
                () = &mut shutdown => break,
            };
            if let Err(error) = passed {
                tracing::warn!(%error, "schedules could not be looked at");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = &mut shutdown => break,
            }
        }
        let _ = self.lease.release().await;
    }

    /// Starts what is due, if no other process does; gives the number of runs.
    ///
    /// # Errors
    /// The database is away, or took too long.
    pub async fn pass(&self) -> Result<usize, AppError> {
        if !self.lease.hold().await? {
            return Ok(0);
        }
        let schedules = self.store.schedules().await?;
        let mut started = 0;
        for plan in self.plans.iter() {
            let waits = schedules.get(plan.name).is_some_and(|schedule| {
                !schedule.is_outdated(plan) && schedule.next_at.is_none_or(|at| at > self.clock.now())
            });
            if !waits && self.lane.submit(Advance(self.starting(plan))).await? {
                started += 1;
            }
        }
        if started > 0 {
            self.waker.wake(self.queue.name);
        }
        Ok(started)
    }

    fn starting(&self, plan: &Plan) -> Starting {
        let ids = RunIds { run: new_id("srn"), job: new_id("job") };
        Starting { plan: plan.clone(), queue: self.queue.clone(), ids }
    }
}
