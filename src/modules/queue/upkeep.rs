//! What a worker does besides running jobs: beating, taking back what dead workers left, trimming.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    lease::Lease,
    worker::{Inner, STORE_PATIENCE},
};
use crate::platform::clock::after;

/// Done jobs are trimmed this often.
const TRIM_EVERY: Duration = Duration::from_secs(60);

impl Inner {
    /// Extends the leases of what runs, and says that this worker is alive.
    pub(super) async fn beat(self: Arc<Self>) {
        let mut ticks = interval(self.settings.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let held: Vec<Lease> = self.leases.lock().values().cloned().collect();
            if !held.is_empty() {
                let asked = Instant::now();
                let until = after(self.clock.now(), self.settings.lease);
                let pairs: Vec<_> = held.iter().map(|lease| (lease.job_id().to_owned(), lease.token.clone())).collect();
                // Not to hang on one connection that died without a word: leases would run out meanwhile.
                match timeout(self.settings.heartbeat, self.store.extend(&pairs, until)).await {
                    Ok(Ok(extended)) => {
                        let extended: HashSet<_> = extended.into_iter().collect();
                        for lease in held {
                            if extended.contains(lease.job_id()) { lease.renew(asked) } else { lease.lose() }
                        }
                    }
                    Ok(Err(error)) => tracing::warn!(%error, "leases could not be extended"),
                    Err(_) => tracing::warn!("leases could not be extended: the database does not answer"),
                }
            }
            let now = self.clock.now();
            let _ = timeout(STORE_PATIENCE, self.store.report_alive(&self.settings.worker_id, now)).await;
            if let Ok(Ok(alive)) = timeout(STORE_PATIENCE, self.store.count_alive(now)).await {
                self.alive.store(alive, Ordering::Relaxed);
            }
        }
    }

    /// Takes back what dead workers left.
    pub(super) async fn take_back(self: Arc<Self>) {
        let mut ticks = interval(self.settings.heartbeat.min(Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for queue in &self.queues {
                let reclaiming = self.store.reclaim_expired(queue.name, self.clock.now());
                match timeout(STORE_PATIENCE, reclaiming).await {
                    Ok(Ok(0) | Err(_)) | Err(_) => {}
                    Ok(Ok(count)) => {
                        tracing::warn!(queue = queue.name, count, "took jobs back from silent workers");
                        self.waker.wake(queue.name);
                    }
                }
            }
        }
    }

    /// Trims what is done.
    pub(super) async fn trim(self: Arc<Self>) {
        let mut ticks = interval(TRIM_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once, and there is nothing to trim yet.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            for queue in &self.queues {
                if let Err(error) = self.store.trim_done(queue, self.clock.now()).await {
                    tracing::warn!(queue = queue.name, %error, "trimming failed");
                }
            }
        }
    }
}
