//! Upkeep of a worker: heartbeats, recovery of jobs of dead workers, trimming of done jobs.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bson::doc;
use tokio::time::{MissedTickBehavior, interval, interval_at, timeout};

use super::{
    lease::Lease,
    worker::{Inner, STORE_PATIENCE},
    workers::{await_comparison, is_in_step},
};
use crate::platform::clock::after;

/// Done jobs are trimmed this often.
const TRIM_EVERY: Duration = Duration::from_secs(60);

impl Inner {
    /// Extends the leases of what runs, and says that this worker is alive, from one heart-beat on.
    pub(super) async fn beat(self: Arc<Self>) {
        let mut ticks = interval_at(tokio::time::Instant::now() + self.settings.heartbeat, self.settings.heartbeat);
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
            self.dispatch.extend(&self.settings.worker_id).await;
            let _ = timeout(STORE_PATIENCE, self.send_heartbeat()).await;
        }
    }

    /// Says that this worker is alive and what its clock is like, and learns whether it may claim beside the others.
    pub(super) async fn send_heartbeat(&self) -> mongodb::error::Result<()> {
        let me = &*self.settings.worker_id;
        let alive = self.store.list_alive().await?;
        let others = alive.iter().filter(|beat| beat.worker_id != me).count();
        let offset = self.store.offset(&self.clock).await?;
        let was_in_step = self.in_step.load(Ordering::Relaxed);
        let in_step = match &offset {
            None => was_in_step || others == 0,
            Some(offset) => {
                metrics::gauge!("waybill_clock_ahead_seconds").set(offset.ahead_ms as f64 / 1_000.0);
                // Who has just been started waits for a word of those that compared themselves with an earlier primary.
                let young = !was_in_step && self.started.elapsed() < 2 * self.settings.heartbeat;
                is_in_step(me, offset, &alive) && !(young && await_comparison(me, offset, &alive))
            }
        };
        if self.in_step.swap(in_step, Ordering::Relaxed) != in_step || !in_step {
            tracing::info!(
                in_step,
                ?offset,
                others,
                "comparing clocks with the other workers: it claims while they agree"
            );
        }
        self.store.report_alive(me, &self.queues, offset.as_ref(), in_step).await
    }

    /// Wakes the queues in which jobs wait for their time or for a worker.
    pub(super) async fn look(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.settings.poll).await;
            match timeout(STORE_PATIENCE, self.store.with_jobs(&self.queues, doc! { "state": "ready" })).await {
                Ok(Ok(queues)) => queues.iter().for_each(|queue| self.waker.wake_here(queue.name)),
                // Each sees for itself what is the matter.
                Ok(Err(_)) | Err(_) => self.queues.iter().for_each(|queue| self.waker.wake_here(queue.name)),
            }
        }
    }

    /// Takes back what dead workers left.
    pub(super) async fn take_back(self: Arc<Self>) {
        let mut ticks = interval(self.settings.heartbeat.min(Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.in_step.load(Ordering::Relaxed) {
                continue;
            }
            let now = self.clock.now();
            let expired = doc! { "state": "active", "leaseUntil": { "$lt": now } };
            let silent = timeout(STORE_PATIENCE, self.store.with_jobs(&self.queues, expired));
            // Each is written alone: a job that somebody's transaction holds keeps no other queue waiting.
            for queue in silent.await.into_iter().flatten().flatten() {
                let reclaiming = self.store.reclaim_expired(queue.name, now);
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

    /// Lets those go who wait in a line for a job that is not there any more.
    pub(super) async fn free_lines(self: Arc<Self>) {
        let mut ticks = interval(self.settings.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut behind: HashMap<&str, String> = HashMap::new();
        loop {
            ticks.tick().await;
            for queue in &self.queues {
                let from = behind.remove(queue.name).unwrap_or_default();
                let freeing = self.store.release_stranded(queue.name, &from, self.clock.now());
                if let Ok(Ok((freed, go_on))) = timeout(STORE_PATIENCE, freeing).await {
                    if freed > 0 {
                        tracing::warn!(queue = queue.name, freed, "jobs waited in a line for jobs that are gone");
                        self.waker.wake(queue.name);
                    }
                    behind.extend(go_on.map(|go_on| (queue.name, go_on)));
                }
            }
        }
    }

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
