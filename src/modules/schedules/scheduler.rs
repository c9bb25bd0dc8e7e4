//! Starts what is due. One process at a time looks; that nothing is started twice rests on the transaction that starts it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bson::DateTime;

use super::{
    ScheduleStore,
    commands::{Advance, RunIds, Starting},
    model::ScheduleConfig,
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
    pub store: ScheduleStore,
    pub lane: Lane,
    /// The right to look.
    pub lease: Singleton,
    pub clock: Clock,
    /// Tells workers of runs.
    pub waker: Waker,
    pub plans: Arc<Vec<ScheduleConfig>>,
    /// Where runs go.
    pub queue: QueueConfig,
    /// When it looked first: nothing is written of a schedule until it is due.
    pub since: Arc<OnceLock<DateTime>>,
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
        let now = self.clock.now();
        let since = *self.since.get_or_init(|| now);
        let schedules = self.store.schedules().await?;
        let mut started = 0;
        for plan in self.plans.iter() {
            let (next_at, is_outdated) = match schedules.get(plan.name) {
                Some(schedule) => (schedule.next_at, schedule.is_outdated(plan)),
                None => (plan.calendar.next_after(since), false),
            };
            let waits = !is_outdated && next_at.is_none_or(|at| at > now);
            if !waits && self.lane.submit(Advance { starting: self.starting(plan), since }).await? {
                started += 1;
            }
        }
        if started > 0 {
            self.waker.wake(self.queue.name);
        }
        Ok(started)
    }

    fn starting(&self, plan: &ScheduleConfig) -> Starting {
        let ids = RunIds { run: new_id("srn"), job: new_id("job") };
        Starting { plan: plan.clone(), queue: self.queue.clone(), ids }
    }
}
