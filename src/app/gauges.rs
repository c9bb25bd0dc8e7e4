//! How what all processes share stands: queues, outbox, seal queue, stores. `/metrics` says it, and alerts follow from it. Looked up when
//! somebody scrapes, so that any process can say it and one that nobody scrapes asks nothing; a scrape soon after another is told
//! the same.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::App;
use crate::{
    modules::{
        audit::seals::SealStore,
        orders::OrderStore,
        queue::{Heartbeat, QueueConfig, QueueSummary},
        schedules::{RunState, ScheduleStore},
        wallet::WalletStore,
    },
    platform::mongo,
};

/// A look serves so long.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A scrape waits for a look no longer than this; Prometheus gives up after ten seconds.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// Queues that are looked at at once.
const AT_ONCE: usize = 4;

/// Of each schedule the latest so many runs are looked at for one that ended well.
const RUNS_LOOKED_AT: usize = 20;

/// Sums over all wallets serve so long: they read every one.
const WALLETS_EVERY: Duration = Duration::from_secs(300);

impl App {
    /// Sets the gauges of what all processes share. Those that can't be looked up stay as they were, and
    /// `waybill_mongodb_up` says so.
    pub(super) async fn look_up_gauges(&self) {
        let mut last = self.last_look.0.lock().await;
        if last.all.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return;
        }
        let (looked, redis) = tokio::join!(tokio::time::timeout(LOOK_TIME_MAX, self.look()), self.redis.ping());
        let looked =
            looked.map_err(|_| "it took too long".to_owned()).and_then(|looked| looked.map_err(|e| e.to_string()));
        if let Err(error) = &looked {
            tracing::warn!(error, "what the database has can't be shown as metrics");
        }
        metrics::gauge!("waybill_mongodb_up").set(f64::from(u8::from(looked.is_ok())));
        metrics::gauge!("waybill_redis_up").set(f64::from(u8::from(redis.is_ok())));
        last.all = Some(Instant::now());
        if looked.is_ok() && last.wallets.is_none_or(|last| last.elapsed() > WALLETS_EVERY) {
            last.wallets = Some(Instant::now());
            let wallets = self.clone();
            tokio::spawn(async move { wallets.look_at_wallets().await });
        }
    }

    /// Beside the scrape, which may not wait for it.
    async fn look_at_wallets(&self) {
        let totals = match WalletStore::new(self.db.clone()).totals().await {
            Ok(totals) => totals,
            Err(error) => return tracing::warn!(%error, "what wallets have can't be shown as metrics"),
        };
        for (currency, (available, held)) in totals {
            metrics::gauge!("waybill_wallet_available_minor", "currency" => currency.clone()).set(available as f64);
            metrics::gauge!("waybill_wallet_held_minor", "currency" => currency).set(held as f64);
        }
    }

    async fn look(&self) -> mongodb::error::Result<()> {
        self.read_shared_gauges().await?.show();
        Ok(())
    }

    /// Looks up how everything that all processes share stands.
    pub(super) async fn read_shared_gauges(&self) -> mongodb::error::Result<SharedGauges> {
        let (queues, workers_alive) = self.queue_standings().await?;
        let (outbox, seals) = (self.event_stats(), SealStore::new(self.db.clone()));
        let standing = SharedGauges {
            queues,
            workers_alive,
            outbox_entries: outbox.depth().await?,
            relay_lag: outbox.lag().await?,
            seal_queue_entries: seals.queue_depth().await?,
            seal_queue_age_ms: seals.queue_age_ms(self.clock.now_ms()).await?,
            needing_attention: OrderStore::new(self.db.clone()).count_needing_attention().await?,
            schedules: self.schedule_standings().await?,
        };
        mongo::ping(&self.db).await?;
        Ok(standing)
    }

    /// How all queues stand, and how many workers are alive.
    pub(super) async fn queue_standings(&self) -> mongodb::error::Result<(Vec<QueueStanding>, usize)> {
        let alive = self.queue_store.list_alive().await?;
        let (mut queues, all_queues) = (Vec::new(), self.all_queues());
        for some in all_queues.chunks(AT_ONCE) {
            queues.extend(try_join_all(some.iter().map(|queue| self.queue_standing(queue, &alive))).await?);
        }
        Ok((queues, alive.len()))
    }

    pub(super) async fn schedule_standings(&self) -> mongodb::error::Result<Vec<ScheduleStanding>> {
        let store = ScheduleStore::new(self.db.clone());
        let mut standings = Vec::new();
        for plan in self.plans.iter() {
            let runs = store.list_runs(plan.name, None, RUNS_LOOKED_AT).await?;
            let done = runs.into_iter().find(|run| run.state == RunState::Done);
            standings.extend(done.map(|done| ScheduleStanding {
                name: plan.name,
                alert: done.alert,
                succeeded_ms: done.ended_at.unwrap_or(done.started_at).timestamp_millis(),
            }));
        }
        Ok(standings)
    }

    async fn queue_standing(&self, queue: &QueueConfig, alive: &[Heartbeat]) -> mongodb::error::Result<QueueStanding> {
        let (name, now) = (queue.name, self.clock.now());
        let summary = self.queue_store.summary(name, now).await?;
        let oldest = self.queue_store.oldest_due(name, now).await?;
        Ok(QueueStanding {
            name,
            summary,
            oldest_due_ms: oldest.map_or(0, |at| (now.timestamp_millis() - at.timestamp_millis()).max(0)),
            is_paused: self.queue_store.controls(name).await?.paused,
            workers: alive.iter().filter(|beat| serves(beat, name)).count(),
        })
    }
}

/// Whether a worker serves a queue. One of an older version does not say which, and is taken to serve all.
fn serves(beat: &Heartbeat, queue: &str) -> bool {
    beat.queues.is_empty() || beat.queues.iter().any(|served| served == queue)
}

/// How everything that all processes share stands.
pub(super) struct SharedGauges {
    pub(super) queues: Vec<QueueStanding>,
    pub(super) workers_alive: usize,
    pub(super) outbox_entries: u64,
    pub(super) relay_lag: Duration,
    pub(super) seal_queue_entries: u64,
    pub(super) seal_queue_age_ms: i64,
    pub(super) needing_attention: u64,
    pub(super) schedules: Vec<ScheduleStanding>,
}

pub(super) struct QueueStanding {
    pub(super) name: &'static str,
    pub(super) summary: QueueSummary,
    pub(super) oldest_due_ms: i64,
    pub(super) is_paused: bool,
    /// Those that are alive and serve it.
    pub(super) workers: usize,
}

/// The latest run of a schedule that ended well.
pub(super) struct ScheduleStanding {
    pub(super) name: &'static str,
    /// An alert for a person, if there is one.
    pub(super) alert: Option<String>,
    pub(super) succeeded_ms: i64,
}

impl SharedGauges {
    fn show(&self) {
        for queue in &self.queues {
            queue.show();
        }
        metrics::gauge!("waybill_events_outbox_entries").set(self.outbox_entries as f64);
        metrics::gauge!("waybill_events_relay_lag_seconds").set(self.relay_lag.as_secs_f64());
        metrics::gauge!("waybill_audit_seal_queue_entries").set(self.seal_queue_entries as f64);
        metrics::gauge!("waybill_audit_seal_queue_oldest_seconds").set(self.seal_queue_age_ms as f64 / 1_000.0);
        metrics::gauge!("waybill_orders_needing_attention").set(self.needing_attention as f64);
        metrics::gauge!("waybill_workers_alive").set(self.workers_alive as f64);
        for ScheduleStanding { name, alert, succeeded_ms } in &self.schedules {
            metrics::gauge!("waybill_schedule_alert", "schedule" => *name).set(f64::from(u8::from(alert.is_some())));
            metrics::gauge!("waybill_schedule_last_success_timestamp_seconds", "schedule" => *name)
                .set(*succeeded_ms as f64 / 1_000.0);
        }
    }
}

impl QueueStanding {
    fn show(&self) {
        let (name, summary) = (self.name, &self.summary);
        let counts = [
            ("ready", summary.ready),
            ("active", summary.active),
            ("delayed", summary.delayed),
            ("dead", summary.dead),
            ("done", summary.done),
        ];
        for (state, count) in counts {
            metrics::gauge!("waybill_queue_jobs", "queue" => name, "state" => state).set(count as f64);
        }
        metrics::gauge!("waybill_queue_oldest_due_seconds", "queue" => name).set(self.oldest_due_ms as f64 / 1_000.0);
        metrics::gauge!("waybill_queue_paused", "queue" => name).set(f64::from(u8::from(self.is_paused)));
        metrics::gauge!("waybill_queue_workers", "queue" => name).set(self.workers as f64);
    }
}
