//! What jobs that call a provider have in common: sending under a lease, and when to try again.

use std::time::{Duration, Instant};

use bson::DateTime;

use super::outcome::{Failure, Repeat};
use crate::{
    modules::{
        audit::ErrorClass,
        queue::{Backoff, Job, JobError, Lease},
    },
    platform::{
        clock::after,
        crash,
        exchange::{Credentials, Exchange, Logged, NotSent, Reply},
    },
};

/// Sends, unless the lease would not outlast the call. The call's time runs from before the look at the lease: a process
/// that is stopped between the two must not send when it goes on.
pub async fn send_under_lease(
    exchange: &Exchange,
    logged: &Logged,
    lease: &Lease,
    credentials: impl Future<Output = Option<Credentials>>,
) -> Reply {
    let since = Instant::now();
    if !lease.outlasts(exchange.deadline() + Duration::from_millis(500)).await {
        return Reply::not_sent(NotSent::NoTime);
    }
    let Some(credentials) = credentials.await else {
        return Reply::not_sent(NotSent::NoCredentials);
    };
    crash::point("sending");
    exchange.send(logged, credentials, since).await
}

/// The next try of a call that may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextTry {
    /// Not before.
    pub at: DateTime,
    /// Whether the attempt that ends now is used up.
    pub counts: bool,
}

impl Repeat {
    /// When `job` tries again; `None` where it has tried often or long enough. `jitter` is in `0.0..1.0`.
    #[must_use]
    pub fn next_try(self, job: &Job, backoff: Backoff, jitter: f64, now: DateTime) -> Option<NextTry> {
        let (counts, delay) = match self {
            Self::Counted => (true, backoff.delay(job.attempts, jitter)),
            Self::NotConnected => (false, backoff.delay(job.deferrals + 1, jitter)),
            // A second of jitter, so that a throttled account's jobs don't all come at once.
            Self::Throttled(wait) => (false, wait + Duration::from_secs(1).mul_f64(jitter)),
        };
        let used_up = if counts { job.is_last_attempt() } else { job.deferred_too_long(now) };
        (!used_up).then(|| NextTry { at: after(now, delay), counts })
    }
}

/// A failure as a job remembers it.
#[must_use]
pub fn job_error(class: ErrorClass, failure: &Failure) -> JobError {
    let class = match class {
        ErrorClass::Retryable => "retryable",
        ErrorClass::Unknown => "unknown",
        ErrorClass::Fatal => "fatal",
    };
    JobError::new(class, failure.code, failure.message.clone())
}
