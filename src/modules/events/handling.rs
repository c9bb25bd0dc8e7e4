//! The jobs of handlers: inserted when an event is relayed, one for every handler that wants it, and run one by one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::{DateTime, Document, doc};
use mongodb::{ClientSession, Database};

use super::{
    Consumer, EVENTS, EVENTS_QUEUE, Event, EventHandler, EventHead, HANDLE_KIND, HandlerAttempt, HandlerError,
    counters,
    handler::{priority, queue},
};
use crate::{
    modules::queue::{
        Attempt, Conclusion, EndOnly, Job, JobEnd, JobError, JobHandler, Lease, QueueConfig, RetryRefused,
        insert_in_lines,
    },
    platform::{
        batch::View,
        clock::{Clock, after},
        identity::Actor,
        ids::new_id,
    },
};

/// A handler may ask to be left alone for so long at most.
const AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// A job whose handler no worker knows is kept for so long: the workers that know it may not run yet.
const UNKNOWN_MAX: Duration = Duration::from_secs(24 * 3_600);

/// All handlers, as one consumer.
pub struct HandlerJobs {
    handlers: Vec<Arc<dyn EventHandler>>,
    clock: Clock,
}

impl HandlerJobs {
    /// Consumes events for `handlers`.
    #[must_use]
    pub const fn new(handlers: Vec<Arc<dyn EventHandler>>, clock: Clock) -> Self {
        Self { handlers, clock }
    }

    fn job(queue: &QueueConfig, handler: &str, head: &EventHead, now: DateTime) -> Job {
        let payload = doc! { "eventId": &head.id, "handler": handler };
        // The request behind it is in the event, which is not read here.
        let job = Job::new(new_id("job"), queue, HANDLE_KIND, payload, &head.id, now).traced(head.trace.as_deref());
        let line = format!("{handler}:{}", head.subject_id);
        Job {
            priority: priority(&head.kind),
            dedupe_key: Some(format!("{handler}:{}", head.id)),
            ..job.owned_by(&head.user_id).in_line(line, head.seq)
        }
    }
}

#[async_trait]
impl Consumer for HandlerJobs {
    fn name(&self) -> &'static str {
        "handlers"
    }

    fn wants(&self, kind: &str) -> bool {
        self.handlers.iter().any(|handler| handler.wants(kind))
    }

    async fn take(
        &self,
        db: &Database,
        session: &mut ClientSession,
        heads: &[EventHead],
    ) -> mongodb::error::Result<Vec<&'static str>> {
        let now = self.clock.now();
        let (mut jobs, mut taken, mut wake) = (Vec::new(), Document::new(), Vec::new());
        for handler in &self.handlers {
            let queue = handler.queue();
            let wanted = heads.iter().filter(|head| handler.wants(&head.kind) && handler.wants_one(head));
            let before = jobs.len();
            jobs.extend(wanted.map(|head| Self::job(&queue, handler.name(), head, now)));
            if jobs.len() > before {
                taken.insert(counters::taken_by(handler.name()), (jobs.len() - before) as i64);
                wake.push(queue.name);
            }
        }
        wake.dedup();
        insert_in_lines(db, session, jobs).await?;
        counters::add(db, session, taken).await?;
        Ok(wake)
    }
}

/// Runs the jobs of the handlers of one queue.
pub struct HandleEvent {
    db: Database,
    handlers: Vec<Arc<dyn EventHandler>>,
    queue: QueueConfig,
    clock: Clock,
}

impl HandleEvent {
    /// With these handlers: one for each of their queues, and for the usual one, which may have jobs of others.
    pub fn all(db: &Database, handlers: &[Arc<dyn EventHandler>], clock: &Clock) -> impl Iterator<Item = Self> + use<> {
        let mut queues = BTreeMap::from([(EVENTS_QUEUE, (queue(), Vec::new()))]);
        for handler in handlers {
            let queue = handler.queue();
            queues.entry(queue.name).or_insert((queue, Vec::new())).1.push(Arc::clone(handler));
        }
        let (db, clock) = (db.clone(), clock.clone());
        queues.into_values().map(move |(queue, handlers)| Self {
            db: db.clone(),
            handlers,
            queue,
            clock: clock.clone(),
        })
    }

    fn named(&self, name: &str) -> Option<&Arc<dyn EventHandler>> {
        self.handlers.iter().find(|handler| handler.name() == name)
    }

    fn handled(&self, job: &Job, handled: Result<(), HandlerError>) -> JobEnd {
        end_of(&self.queue, job, handled, self.clock.now())
    }
}

/// The end of a failed attempt: a retry after `wait` or the queue's backoff, while attempts are left.
#[must_use]
pub fn retry_of(queue: &QueueConfig, job: &Job, error: JobError, wait: Option<Duration>, now: DateTime) -> JobEnd {
    match (queue.end_of_failed(job, error, 1.0, now), wait) {
        (JobEnd::Retry { error, counts, .. }, Some(wait)) => {
            JobEnd::Retry { at: after(now, wait.min(AFTER_MAX)), error, counts }
        }
        (end, _) => end,
    }
}

#[must_use]
pub fn end_of(queue: &QueueConfig, job: &Job, handled: Result<(), HandlerError>, now: DateTime) -> JobEnd {
    match handled {
        Ok(()) => JobEnd::Done { result: None },
        Err(HandlerError::Invalid { code, message }) => JobEnd::Dead { error: JobError::new("fatal", code, message) },
        Err(HandlerError::Retryable { code, message, after }) => {
            retry_of(queue, job, JobError::new("retryable", code, message), after, now)
        }
    }
}

fn invalid_job(code: &str, message: impl Into<String>) -> Attempt {
    Attempt::Failed(JobError::new("payload", code, message))
}

#[async_trait]
impl JobHandler for HandleEvent {
    fn kind(&self) -> &'static str {
        HANDLE_KIND
    }

    fn queue(&self) -> &'static str {
        self.queue.name
    }

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt {
        let (Ok(event_id), Ok(name)) = (job.payload.get_str("eventId"), job.payload.get_str("handler")) else {
            return invalid_job("events.unreadable_job", "The job names no event or no handler.");
        };
        let Some(handler) = self.named(name) else {
            return if after(job.created_at, UNKNOWN_MAX) > self.clock.now() {
                Attempt::NotBegun
            } else {
                invalid_job("events.unknown_handler", format!("There is no handler named {name}."))
            };
        };
        let event = match self.db.collection::<Document>(EVENTS).find_one(doc! { "_id": event_id }).await {
            Ok(Some(event)) => event,
            Ok(None) => return invalid_job("events.gone", "The event is not there."),
            Err(error) => {
                tracing::warn!(job.id, %error, "an event can't be read now");
                return Attempt::NotBegun;
            }
        };
        let event: Event = match bson::deserialize_from_document(event) {
            Ok(event) => event,
            Err(error) => return invalid_job("events.unreadable", format!("The event can't be read: {error}")),
        };
        if job.attempts == 1 {
            let waited_ms = self.clock.now_ms().saturating_sub(event.at.timestamp_millis()).max(0);
            metrics::histogram!("waybill_events_handler_lag_seconds").record(waited_ms as f64 / 1_000.0);
        }
        let correlation_id = event.actor.request_id.clone().unwrap_or_else(|| event.id.clone());
        let job = &Job { correlation_id, ..job.clone() };
        let handled = handler.handle(&event, &HandlerAttempt { job, lease }).await;
        let end = self.handled(job, handled);
        metrics::counter!("waybill_event_handlings_total", "handler" => handler.name(), "result" => end.as_str())
            .increment(1);
        Attempt::Concluded(Box::new(EndOnly(end)))
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        let end = retry_of(&self.queue, job, error, None, self.clock.now());
        let text = |field| job.payload.get_str(field).ok();
        Some(match text("handler").and_then(|name| self.named(name)).zip(text("eventId")) {
            Some((handler, event_id)) => handler.aborted(event_id, end),
            None => Box::new(EndOnly(end)),
        })
    }

    fn revive(&self, _: &mut View, job: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        if job.payload.get_str("eventId").is_ok() && job.payload.get_str("handler").is_ok() {
            Ok(())
        } else {
            Err(RetryRefused { reason: "The job names no event or no handler." })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Never;

    #[async_trait]
    impl EventHandler for Never {
        fn name(&self) -> &'static str {
            "never"
        }

        fn wants(&self, _: &str) -> bool {
            true
        }

        async fn handle(&self, _: &Event, _: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
            Ok(())
        }
    }

    async fn jobs() -> HandleEvent {
        let db = crate::platform::mongo::connect("mongodb://127.0.0.1:1/none").await.expect("lazily");
        HandleEvent::all(&db, &[Arc::new(Never) as Arc<dyn EventHandler>], &Clock::default()).next().expect("one queue")
    }

    fn job(attempts: i32) -> Job {
        let job = Job::new("job_1".into(), &queue(), HANDLE_KIND, doc! {}, "rqs_1", DateTime::from_millis(0));
        Job { attempts, ..job }
    }

    #[tokio::test]
    async fn a_retryable_failure_is_retried_after_2_4_and_8_seconds() {
        let handler = jobs().await;
        let failing = |after| Err(HandlerError::Retryable { code: "a.b", message: "c".into(), after });
        let waits = |attempts, asked| match handler.handled(&job(attempts), failing(asked)) {
            JobEnd::Retry { at, counts: true, .. } => {
                let ms = at.timestamp_millis() - handler.clock.now_ms();
                Some((ms + 500) / 1_000)
            }
            JobEnd::Dead { .. } => None,
            other => panic!("{other:?}"),
        };
        assert_eq!([1, 2, 3, 4].map(|attempts| waits(attempts, None)), [Some(2), Some(4), Some(8), None]);
        assert_eq!(waits(1, Some(Duration::from_secs(60))), Some(60));
        assert_eq!(waits(1, Some(Duration::MAX)), Some(24 * 3_600), "not for ever");
        let invalid = Err(HandlerError::Invalid { code: "events.invalid_order", message: "c".into() });
        assert!(matches!(handler.handled(&job(1), invalid), JobEnd::Dead { error } if error.class == "fatal"));
    }
}
