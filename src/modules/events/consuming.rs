//! Offering events to consumers, and what becomes of those that one can't take: a job each, so that everything else flows, a few tries
//! are made, and what can't be taken at all is a dead job that a person may run again.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::{DateTime, Document, doc};
use futures_util::{FutureExt, TryFutureExt};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
    options::ReadConcern,
};

use super::{
    Consumer, EVENTS, EventHead, counters,
    handler::{priority, queue},
};
use crate::{
    modules::queue::{
        Attempt, Conclusion, EffectRecorded, EndOnly, Job, JobEnd, JobError, JobHandler, Lease, QueueConfig,
        RetryRefused, Waker,
    },
    platform::{batch::View, clock::Clock, identity::Actor, ids::sibling_id, mongo, orphans, secret::sha256_hex},
};

/// Kind of the jobs that offer one event to one consumer.
pub const CONSUME_KIND: &str = "consume-event";
/// A consumer that takes longer has failed: there is only the database in what it does.
const TAKING_MAX: Duration = Duration::from_secs(20);

fn wants(consumer: &dyn Consumer, kind: &str) -> bool {
    std::panic::catch_unwind(AssertUnwindSafe(|| consumer.wants(kind))).unwrap_or(true)
}

/// Has a consumer write what follows from those of the events that it wants; gives the queues to wake. One that panics or hangs has
/// failed.
pub(super) async fn offer(
    consumer: &dyn Consumer,
    db: &Database,
    session: &mut ClientSession,
    heads: &[EventHead],
) -> Result<Vec<&'static str>> {
    let wanted: Vec<EventHead> = heads.iter().filter(|head| wants(consumer, &head.kind)).cloned().collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let taking = AssertUnwindSafe(consumer.take(db, session, &wanted)).catch_unwind();
    match tokio::time::timeout(TAKING_MAX, taking).await {
        Ok(Ok(taken)) => taken,
        Ok(Err(_)) => Err(Error::custom(format!("{} panicked", consumer.name()))),
        Err(_) => Err(Error::custom(format!("{} took too long", consumer.name()))),
    }
}

/// The job that offers an event to a consumer; there is one at most.
pub(super) fn job_id(consumer: &str, event_id: &str) -> String {
    let digest = sha256_hex(format!("{consumer} {event_id}").as_bytes());
    let time: String = sibling_id("job", event_id).chars().take(16).collect();
    format!("{time}{}", &digest[..20])
}

/// Jobs that offer these events to a consumer one by one; those of one subject in their order.
pub(super) fn jobs(consumer: &dyn Consumer, heads: &[EventHead], now: DateTime) -> Vec<Job> {
    let (name, queue) = (consumer.name(), queue());
    let job = |head: &EventHead| {
        let payload = doc! { "eventId": &head.id, "handler": name };
        let job = Job::new(job_id(name, &head.id), &queue, CONSUME_KIND, payload, &head.id, now)
            .traced(head.trace.as_deref());
        let job = job.owned_by(&head.user_id).in_line(format!("{CONSUME_KIND}:{name}:{}", head.subject_id), head.seq);
        Job { priority: priority(&head.kind), ..job }
    };
    heads.iter().filter(|head| wants(consumer, &head.kind)).map(job).collect()
}

/// Offers single events to consumers.
pub struct ConsumeEvent {
    db: Database,
    consumers: Vec<Arc<dyn Consumer>>,
    queue: QueueConfig,
    clock: Clock,
    waker: Waker,
}

/// One transaction of a consumer.
struct ConsumeTransaction {
    db: Database,
    consumer: Arc<dyn Consumer>,
    lease: Lease,
    head: EventHead,
}

impl ConsumeTransaction {
    async fn take(&self, session: &mut ClientSession) -> Result<(EffectRecorded, Vec<&'static str>)> {
        let noted = self.lease.note_effect(&self.db, session).await?;
        if noted != EffectRecorded::Now {
            return Ok((noted, Vec::new()));
        }
        let wake = offer(&*self.consumer, &self.db, session, std::slice::from_ref(&self.head)).await?;
        // Like every transaction of the relay, so that it overlooks nothing that stands there.
        counters::add(&self.db, session, doc! { counters::TAKEN_ALONE: 1_i64 }).await?;
        Ok((noted, wake))
    }
}

impl ConsumeEvent {
    #[must_use]
    pub const fn new(db: Database, consumers: Vec<Arc<dyn Consumer>>, clock: Clock, waker: Waker) -> Self {
        Self { db, consumers, queue: queue(), clock, waker }
    }

    async fn head(&self, event_id: &str) -> Result<Option<EventHead>> {
        let event = self.db.collection::<Document>(EVENTS).find_one(doc! { "_id": event_id }).await?;
        Ok(event.and_then(|event| EventHead::of_event(&event)))
    }

    async fn take(&self, taking: ConsumeTransaction) -> Result<(EffectRecorded, Vec<&'static str>)> {
        let mut session = self.db.client().start_session().await?;
        let transaction = session.start_transaction().read_concern(ReadConcern::snapshot());
        transaction
            .write_concern(mongo::durable())
            .and_run(taking, |session, taking| {
                let taking: &ConsumeTransaction = taking;
                taking.take(session).inspect_err(move |error| orphans::suspect(&taking.db, error)).boxed()
            })
            .await
    }
}

#[async_trait]
impl JobHandler for ConsumeEvent {
    fn kind(&self) -> &'static str {
        CONSUME_KIND
    }

    fn queue(&self) -> &'static str {
        self.queue.name
    }

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt {
        let failed = |code: &str, message: String| Attempt::Failed(JobError::new("payload", code, message));
        let (Ok(event_id), Ok(name)) = (job.payload.get_str("eventId"), job.payload.get_str("handler")) else {
            return failed("events.unreadable_job", "The job names no event or no consumer.".into());
        };
        let Some(consumer) = self.consumers.iter().find(|consumer| consumer.name() == name) else {
            return failed("events.unknown_handler", format!("There is no consumer named {name}."));
        };
        let head = match self.head(event_id).await {
            Ok(Some(head)) => head,
            Ok(None) => return failed("events.gone", "The event is not there, or has no type.".into()),
            Err(error) => {
                tracing::warn!(job.id, %error, "an event can't be read now");
                return Attempt::NotBegun;
            }
        };
        let (db, consumer) = (self.db.clone(), Arc::clone(consumer));
        match self.take(ConsumeTransaction { db, consumer, lease: lease.clone(), head }).await {
            Ok((EffectRecorded::LeaseLost, _)) => Attempt::LeaseLost,
            Ok((_, wake)) => {
                wake.into_iter().for_each(|queue| self.waker.wake(queue));
                Attempt::Concluded(Box::new(EndOnly(JobEnd::Done { result: None })))
            }
            Err(error) => Attempt::Failed(JobError::new("retryable", "events.not_consumed", error.to_string())),
        }
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        Some(Box::new(EndOnly(self.queue.end_of_failed(job, error, 1.0, self.clock.now()))))
    }

    fn revive(&self, _: &mut View, _: &Job, _: &Actor, _: &str) -> std::result::Result<(), RetryRefused> {
        Ok(())
    }
}
