//! Rounds of claiming: a worker asks which accounts take jobs, finds what is due for them, and takes it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use super::{
    claim::{CLAIM_MAX, ClaimCursor, ClaimCursors, ClaimQuery, ClaimTerms, DueJobs, Front},
    dispatch::{Candidate, Permit},
    lease::Lease,
    model::{Job, QueueConfig},
    store::Controls,
    worker::{Inner, STORE_PATIENCE},
};
use crate::platform::{clock::after, crash, ids::new_id};

/// A worker waits until half of its slots, or as many as a round takes, are free, so that rounds stay worth their price; at most so
/// long for each of them.
const WAIT_PER_SLOT: Duration = Duration::from_micros(500);
/// Whether a queue is paused is looked at again after this long.
const CONTROLS_FRESH: Duration = Duration::from_secs(1);

/// A queue that nobody wakes, because nothing waits in it, is served all the same after so many polls.
const POLLS_UNWOKEN: u32 = 10;

#[derive(Default)]
pub(super) struct Round {
    pub(super) jobs: Vec<(Job, Lease)>,
    /// There is more to be had at once.
    again: bool,
}

impl Inner {
    /// Serves one queue: claims while there are free slots and due jobs.
    pub(super) async fn serve(self: Arc<Self>, queue: QueueConfig) {
        let slots = Arc::new(Semaphore::new(queue.concurrency));
        let mut woken = self.waker.watch(queue.name);
        let mut running = JoinSet::new();
        let mut controls = (Controls::default(), None::<Instant>);
        let (mut turns, mut promoted) = (ClaimCursors::default(), None::<Instant>);
        while !self.stopping.load(Ordering::SeqCst) {
            while running.try_join_next().is_some() {}
            let enough = (queue.concurrency / 2).clamp(1, CLAIM_MAX) as u32;
            if slots.available_permits() < enough as usize {
                // Either enough slots come free at once, or a moment passes, or at least one has to come free.
                let _ = timeout(enough * WAIT_PER_SLOT, slots.acquire_many(enough)).await;
                let _ = tokio::select! { one = slots.acquire() => one.is_ok(), () = self.stop.notified() => false };
            }
            if controls.1.is_none_or(|seen| seen.elapsed() > CONTROLS_FRESH)
                && let Ok(Ok(fresh)) = timeout(STORE_PATIENCE, self.store.controls(queue.name)).await
            {
                controls = (fresh, Some(Instant::now()));
            }
            woken.borrow_and_update();
            // Whoever looks what waits comes by once in a poll, a little early or late.
            if promoted.is_none_or(|at| at.elapsed() >= self.settings.poll / 2) {
                promoted = self.promote(&queue).await.then(Instant::now);
            }
            let free = slots.available_permits().min(CLAIM_MAX);
            let may_claim = free > 0 && !controls.0.paused && self.in_step.load(Ordering::Relaxed);
            let round = if may_claim { self.round(&queue, free, &mut turns).await } else { Round::default() };
            metrics::gauge!("waybill_jobs_active", "queue" => queue.name)
                .set((queue.concurrency - slots.available_permits() + round.jobs.len()) as f64);
            for (job, lease) in round.jobs {
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                running.spawn(Arc::clone(&self).run_one(queue.clone(), job, lease, slot));
            }
            if !round.again {
                tokio::select! {
                    _ = woken.changed() => {}
                    () = tokio::time::sleep(POLLS_UNWOKEN * self.settings.poll) => {}
                    () = self.stop.notified() => {}
                }
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Makes due what has waited for its time; whether all of it is.
    async fn promote(&self, queue: &QueueConfig) -> bool {
        if !self.in_step.load(Ordering::Relaxed) {
            return true;
        }
        match timeout(STORE_PATIENCE, self.store.promote(queue.name, self.clock.now())).await {
            Ok(Ok(promoted)) => promoted == 0,
            Ok(Err(error)) => {
                tracing::warn!(queue = queue.name, %error, "jobs whose time has come could not be made due");
                true
            }
            Err(_) => true,
        }
    }

    /// Claims once for every account that takes jobs of `queue`, at most `free` in all.
    pub(super) async fn round(&self, queue: &QueueConfig, free: usize, turns: &mut ClaimCursors) -> Round {
        let mut round = Round::default();
        let routes = match turns.known_routes() {
            Some(routes) => routes,
            None => match timeout(STORE_PATIENCE, self.store.ready_routes(queue.name)).await {
                Ok(Ok(routes)) if routes.is_empty() => return round,
                Ok(Ok(routes)) => {
                    turns.know_routes(&routes);
                    routes
                }
                Ok(Err(error)) => return self.not_answered(queue, &error.to_string(), round).await,
                Err(_) => return self.not_answered(queue, "the database does not answer", round).await,
            },
        };
        let candidates = self.dispatch.candidates(queue.name, &routes).await;
        let mut left = free;
        for (n, candidate) in candidates.iter().enumerate() {
            let share = left.div_ceil(candidates.len() - n);
            if share == 0 {
                break;
            }
            let turn = turns.of.entry((candidate.account_id.clone(), candidate.opens)).or_default();
            let limit = if candidate.is_probe { 1 } else { share };
            let claimed = timeout(self.settings.lease, self.claim(queue, candidate, limit, turn)).await;
            match claimed {
                Ok(Ok((jobs, again))) => {
                    left -= jobs.len();
                    round.jobs.extend(jobs);
                    round.again |= again;
                }
                Ok(Err(error)) => return self.not_answered(queue, &error.to_string(), round).await,
                Err(_) => return self.not_answered(queue, "the database does not answer", round).await,
            }
        }
        round
    }

    /// Jobs that were claimed before are run.
    async fn not_answered(&self, queue: &QueueConfig, error: &str, mut round: Round) -> Round {
        tracing::warn!(queue = queue.name, error, "claiming failed; trying again");
        tokio::time::sleep(self.settings.poll).await;
        round.again = true;
        round
    }

    /// Finds what is due for an account, asks for room, and takes as much; and says whether there is more at once.
    async fn claim(
        &self,
        queue: &QueueConfig,
        candidate: &Candidate,
        limit: usize,
        turn: &mut ClaimCursor,
    ) -> mongodb::error::Result<(Vec<(Job, Lease)>, bool)> {
        // A failed claim counts as one that others were faster at: the next one looks elsewhere, past a job that somebody holds.
        let contended = std::mem::replace(&mut turn.contended, true);
        let backlog = std::mem::replace(&mut turn.backlog, true);
        turn.front.expire();
        if !backlog || candidate.is_probe {
            turn.front = Front::default();
        }
        let from_front = !turn.front.is_empty();
        let skip = if contended && !candidate.is_probe { rand::random_range(0..4 * CLAIM_MAX as u64) } else { 0 };
        let now = self.clock.now();
        let routes = &candidate.routes;
        let (after, front, chance) = (&turn.after, &turn.front, rand::random_range(0..4_096));
        let claiming = ClaimQuery { queue: queue.name, routes, limit, after, front, skip, chance, backlog, now };
        let mut due = self.store.find_due(&claiming).await?;
        if due.seen == 0 && candidate.is_probe && self.store.make_deferred_due(queue, routes, now).await? {
            due = self.store.find_due(&claiming).await?;
        }
        let DueJobs { mut ids, seen, last_served, reached } = due;
        let permits = if ids.is_empty() {
            Vec::new()
        } else {
            self.dispatch.admit(queue.name, candidate, &self.settings.worker_id, ids.len()).await
        };
        let is_full = permits.len() < ids.len();
        ids.truncate(permits.len());
        let jobs = self.take(queue, &claiming, &ids, permits).await?;
        turn.after.extend(last_served);
        turn.contended = backlog && !is_full && seen > 0 && jobs.len() * 4 < seen * 3;
        turn.backlog = seen == limit && !is_full;
        if turn.backlog && skip == 0 {
            turn.front.advance(reached);
        }
        Ok((jobs, turn.backlog || ((skip > 0 || from_front) && seen < limit)))
    }

    /// Takes jobs, each with a permit. What is not used of them goes back.
    async fn take(
        &self,
        queue: &QueueConfig,
        claiming: &ClaimQuery<'_>,
        ids: &[String],
        mut permits: Vec<Permit>,
    ) -> mongodb::error::Result<Vec<(Job, Lease)>> {
        let token = new_id("lse");
        let asked = Instant::now();
        let until = after(claiming.now, self.settings.lease);
        let taking = ClaimTerms { worker_id: &self.settings.worker_id, token: &token, until };
        // Time for what follows where it fails, before the whole claim is given up.
        let taken = match timeout(self.settings.lease / 2, self.store.take(claiming, &taking, ids)).await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(mongodb::error::Error::custom("the database does not answer")),
        };
        let unused = permits.split_off(taken.as_ref().map_or(0, |taken| taken.len().min(permits.len())));
        self.give_back_permits(queue, &unused).await;
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                let giving_back = self.store.give_back_claim(queue.name, &token, self.clock.now());
                let _ = timeout(STORE_PATIENCE, giving_back).await;
                return Err(error);
            }
        };
        if !taken.is_empty() {
            crash::point("claimed");
        }
        let mut leases = self.leases.lock();
        let jobs = taken.into_iter().zip(permits).map(|(job, permit)| {
            let lease = Lease::new(&job.id, &token, permit, &self.settings, asked, &self.store, &self.clock);
            leases.insert(job.id.clone(), lease.clone());
            (job, lease)
        });
        Ok(jobs.collect())
    }

    /// Gives permits back; another job of the same provider may run then.
    pub(super) async fn give_back_permits(&self, queue: &QueueConfig, permits: &[Permit]) {
        if permits.iter().any(|permit| permit.place.is_some() || permit.probe.is_some()) {
            self.dispatch.release(permits).await;
            for other in self.queues.iter().filter(|other| other.route == queue.route) {
                self.waker.wake_here(other.name);
            }
        }
    }
}
