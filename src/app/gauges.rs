//! What `/metrics` says of what all processes share: queues, outbox, seal queue, stores. Looked up when somebody scrapes, so that any
//! process can say it and one that nobody scrapes asks nothing; a scrape soon after another is told the same.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use super::App;
use crate::{
    modules::{
        audit::seals::SealStore,
        orders::OrderStore,
        queue::QueueConfig,
        schedules::{RunState, ScheduleStore},
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

/// When the last look was.
#[derive(Clone, Debug, Default)]
pub(super) struct LastLook(Arc<Mutex<Option<Instant>>>);

impl App {
    /// Sets the gauges of what all processes share. Those that can't be looked up stay as they were, and
    /// `waybill_mongodb_up` says so.
    pub(super) async fn look_up_gauges(&self) {
        let mut last = self.last_look.0.lock().await;
        if last.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
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
        *last = Some(Instant::now());
    }

    async fn look(&self) -> mongodb::error::Result<()> {
        for queues in self.all_queues().chunks(AT_ONCE) {
            try_join_all(queues.iter().map(|queue| self.look_at_queue(queue))).await?;
        }
        let outbox = self.event_stats();
        metrics::gauge!("waybill_events_outbox_entries").set(outbox.depth().await? as f64);
        metrics::gauge!("waybill_events_relay_lag_seconds").set(outbox.lag().await?.as_secs_f64());
        let seals = SealStore::new(self.db.clone());
        metrics::gauge!("waybill_audit_seal_queue_entries").set(seals.queue_depth().await? as f64);
        let waited_ms = seals.queue_age_ms(self.clock.now_ms()).await?;
        metrics::gauge!("waybill_audit_seal_queue_oldest_seconds").set(waited_ms as f64 / 1_000.0);
        let attention = OrderStore::new(self.db.clone()).count_needing_attention().await?;
        metrics::gauge!("waybill_orders_needing_attention").set(attention as f64);
        self.look_at_schedules().await?;
        metrics::gauge!("waybill_workers_alive").set(self.queue_store.list_alive().await?.len() as f64);
        mongo::ping(&self.db).await
    }

    async fn look_at_schedules(&self) -> mongodb::error::Result<()> {
        let store = ScheduleStore::new(self.db.clone());
        for plan in self.plans.iter() {
            let runs = store.list_runs(plan.name, None, RUNS_LOOKED_AT).await?;
            let Some(done) = runs.iter().find(|run| run.state == RunState::Done) else { continue };
            metrics::gauge!("waybill_schedule_alert", "schedule" => plan.name)
                .set(f64::from(u8::from(done.alert.is_some())));
            let ended_ms = done.ended_at.unwrap_or(done.started_at).timestamp_millis();
            metrics::gauge!("waybill_schedule_last_success_timestamp_seconds", "schedule" => plan.name)
                .set(ended_ms as f64 / 1_000.0);
        }
        Ok(())
    }

    async fn look_at_queue(&self, queue: &QueueConfig) -> mongodb::error::Result<()> {
        let (name, now) = (queue.name, self.clock.now());
        let summary = self.queue_store.summary(name, now).await?;
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
        let oldest = self.queue_store.oldest_due(name, now).await?;
        let waited_ms = oldest.map_or(0, |at| (now.timestamp_millis() - at.timestamp_millis()).max(0));
        metrics::gauge!("waybill_queue_oldest_due_seconds", "queue" => name).set(waited_ms as f64 / 1_000.0);
        let paused = self.queue_store.controls(name).await?.paused;
        metrics::gauge!("waybill_queue_paused", "queue" => name).set(f64::from(u8::from(paused)));
        Ok(())
    }
}
