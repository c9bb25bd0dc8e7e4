//! Handlers of events, each run as a job.

use std::time::Duration;

use async_trait::async_trait;

use super::{Event, EventHead};
use crate::modules::queue::{Backoff, Conclusion, EndOnly, Job, JobEnd, Lease, QueueConfig};

/// The queue of most handlers' jobs.
pub const EVENTS_QUEUE: &str = "events-queue";
/// Kind of handlers' jobs.
pub const HANDLE_KIND: &str = "handle-event";

/// Does something about events: a small struct, in a file of its own, registered in `app/callers.rs`.
#[async_trait]
pub trait EventHandler: Send + Sync + 'static {
    /// `order-failed-mail`, ...: in jobs (payload `handler`), statistics and logs. Once it has run, it stays.
    fn name(&self) -> &'static str;

    /// Whether it wants events of this type. Asked when an event is relayed.
    fn wants(&self, kind: &str) -> bool;

    /// Whether it wants this one, of a type that it wants. Asked when it is relayed, by what the outbox says of it: who wants few events of
    /// many costs no job for each.
    fn wants_one(&self, _head: &EventHead) -> bool {
        true
    }

    /// The queue of its jobs. One that waits for somebody else's server has one of its own, so that it holds up no other.
    fn queue(&self) -> QueueConfig {
        queue()
    }

    /// Handles one event. May run several times for one event: idempotent on event and handler.
    ///
    /// # Errors
    /// [`HandlerError`], which says what becomes of the job.
    async fn handle(&self, event: &Event, attempt: &HandlerAttempt<'_>) -> Result<(), HandlerError>;

    /// Concludes an attempt that panicked, took too long, or never ran because its workers died, with this end of its job.
    fn aborted(&self, _event_id: &str, end: JobEnd) -> Box<dyn Conclusion> {
        Box::new(EndOnly(end))
    }
}

/// The attempt at hand.
#[derive(Clone, Copy, Debug)]
pub struct HandlerAttempt<'a> {
    /// Its job: how many attempts there were, and the correlation id of the request behind the event.
    pub job: &'a Job,
    /// The right to run it; to be asked right before an effect outside.
    pub lease: &'a Lease,
}

/// Why an event was not handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerError {
    /// The event can't be handled, ever: the job is dead at once.
    Invalid {
        /// `events.invalid_...`
        code: &'static str,
        message: String,
    },
    /// Another time.
    Retryable {
        /// `mail.not_connected`, ...
        code: &'static str,
        message: String,
        /// Not before this has passed; by default the queue's backoff.
        after: Option<Duration>,
    },
}

impl HandlerError {
    /// Another time, after the queue's backoff.
    pub fn later(code: &'static str, message: impl ToString) -> Self {
        Self::Retryable { code, message: message.to_string(), after: None }
    }
}

/// The queue of most handlers' jobs: three more attempts after 2, 4 and 8 seconds, 30 s each, five at once in a worker; of each priority
/// the last 100 done jobs are kept.
#[must_use]
pub const fn queue() -> QueueConfig {
    QueueConfig {
        concurrency: 5,
        max_attempts: 4,
        backoff: Backoff { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(8) },
        timeout: Duration::from_secs(30),
        keep_done_for: Duration::from_secs(24 * 3_600),
        keep_done_count: 100,
        ..QueueConfig::named(EVENTS_QUEUE)
    }
}

/// Priority of events; lower goes first.
#[must_use]
pub fn priority(kind: &str) -> i32 {
    match kind {
        "OrderCreated" | "CheckoutCreated" => 0,
        "OrderCancelled" | "CheckoutCancelled" => 1,
        "TopupPaid" | "CheckoutPaid" => 2,
        "UserCreated" => 3,
        "ProductCreated" => 4,
        "TenantCreated" => 5,
        _ => 9,
    }
}
