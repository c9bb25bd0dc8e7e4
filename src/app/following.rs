//! Composition of the event relay and its statistics.

use std::{sync::Arc, time::Duration};

use super::App;
use crate::modules::{
    events::{
        ConsumeEvent, Consumer, EVENTS_QUEUE, EventHandler, EventStatsReader, HandleEvent, HandlerJobs, Relay,
        RelayParts,
    },
    notifications::MAIL_QUEUE,
    queue::JobHandler,
};

/// A worker logs so often what has become of events and how its queues stand.
const REPORT_EVERY: Duration = Duration::from_secs(30);

impl App {
    /// The event relay of this process.
    #[must_use]
    pub fn relay(&self) -> Relay {
        Relay::new(RelayParts {
            db: self.lanes.clone(),
            clock: self.clock.clone(),
            waker: self.waker.clone(),
            consumers: self.all_consumers(),
        })
    }

    fn all_consumers(&self) -> Vec<Arc<dyn Consumer>> {
        let handlers = HandlerJobs::new(self.event_handlers.clone(), self.clock.clone());
        [Arc::new(handlers) as Arc<dyn Consumer>].into_iter().chain(self.consumers.iter().cloned()).collect()
    }

    /// The same, with more that follows from events.
    #[must_use]
    pub fn following(mut self, handlers: Vec<Arc<dyn EventHandler>>, consumers: Vec<Arc<dyn Consumer>>) -> Self {
        self.event_handlers.extend(handlers);
        self.consumers.extend(consumers);
        self
    }

    /// Everything that runs jobs.
    pub(super) fn job_handlers(&self) -> Vec<Arc<dyn JobHandler>> {
        let handle = HandleEvent::all(&self.db, &self.event_handlers, &self.clock);
        let handle = handle.map(|handler| Arc::new(handler) as Arc<dyn JobHandler>);
        let consume = ConsumeEvent::new(self.db.clone(), self.all_consumers(), self.clock.clone(), self.waker.clone());
        self.handlers.iter().cloned().chain(handle).chain([Arc::new(consume) as Arc<dyn JobHandler>]).collect()
    }

    #[must_use]
    pub fn event_stats(&self) -> EventStatsReader {
        let handlers = self.event_handlers.iter().map(|handler| handler.name()).collect();
        let mut queues = vec![EVENTS_QUEUE, MAIL_QUEUE];
        for queue in self.event_handlers.iter().map(|handler| handler.queue()) {
            if !queues.contains(&queue.name) {
                queues.push(queue.name);
            }
        }
        EventStatsReader { db: self.db.clone(), clock: self.clock.clone(), handlers, queues }
    }

    /// Logs what has become of events and how the queues stand, every 30 s. Runs until it is dropped.
    pub async fn keep_reporting(&self) {
        let reader = self.event_stats();
        loop {
            tokio::time::sleep(REPORT_EVERY).await;
            match reader.read().await {
                Ok(stats) => {
                    reader.show(&stats);
                    tracing::info!(
                        total = stats.total,
                        pending = stats.pending,
                        processed = stats.processed,
                        failed = stats.failed,
                        unrelayed = stats.unrelayed,
                        oldest_pending_seconds = stats.oldest_pending_seconds,
                        "events"
                    );
                }
                Err(error) => tracing::warn!(%error, "events can't be counted"),
            }
            let now = self.clock.now();
            for queue in self.worked_queues() {
                let Ok(summary) = self.queue_store.summary(queue.name, now).await else { continue };
                tracing::info!(
                    queue = queue.name,
                    ready = summary.ready,
                    active = summary.active,
                    delayed = summary.delayed,
                    dead = summary.dead,
                    done = summary.done,
                    "queue"
                );
            }
        }
    }
}
