//! Outcomes of calls: one type for every operation of every provider; and decisions about attempts.

use std::time::Duration;

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    modules::{
        audit::{ErrorClass, Verdict},
        queue::{Backoff, Job, JobEnd, JobError},
    },
    platform::{clock::after, scrub::scrub},
};

/// An order that exists at the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// The provider's name for it: a waybill number, an order number, ...
    pub reference: String,
    /// The courier, if there is one.
    pub courier_name: Option<String>,
    /// The provider's order number, where it has one besides.
    pub provider_order_id: Option<String>,
    /// It exists, but as a cancelled one.
    pub cancelled: bool,
    /// It exists, and lacks what a second call brings ([`super::TwoStepOrders`]): it has no reference yet, but a provider's order
    /// number.
    pub unfinished: bool,
}

/// A failure, for logs and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `provider.refused`, ...
    pub code: &'static str,
    /// The provider's message, or a description; at most 300 characters.
    pub message: String,
}

impl Failure {
    /// Names what went wrong; the message is scrubbed, see [`scrub`].
    pub fn new(code: &'static str, message: impl AsRef<str>) -> Self {
        Self { code, message: scrub(message.as_ref()) }
    }
}

/// A failure as it is stored with what failed, and answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredFailure {
    /// Class of the error.
    pub class: ErrorClass,
    /// `provider.refused`, ...
    pub code: String,
    /// The provider's message, or a description of the failure.
    pub message: String,
}

impl StoredFailure {
    #[must_use]
    pub fn new(class: ErrorClass, failure: &Failure) -> Self {
        Self { class, code: failure.code.into(), message: failure.message.clone() }
    }

    #[must_use]
    pub fn job_error(&self) -> JobError {
        JobError::new(self.class.as_str(), &self.code, &*self.message)
    }
}

/// How a failed call is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After backoff; the attempt is used up.
    Counted,
    /// Not connected, or safe to repeat for a day: after backoff; no attempt is used up.
    Deferred,
    /// Throttled: not before this long, for the whole account; no attempt is used up.
    Throttled(Duration),
}

/// The outcome of a call; `T` is the content of a successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Done, or answered.
    Done(T),
    /// Not executed, or safe to repeat: try again.
    Retryable(Failure, Retry),
    /// No clear answer: it may have been executed.
    Unknown(Failure),
    Refused(Failure),
    /// Our credentials were refused.
    Unauthorized(Failure),
}

impl<T> Outcome<T> {
    pub fn unknown(code: &'static str, message: impl AsRef<str>) -> Self {
        Self::Unknown(Failure::new(code, message))
    }

    pub fn refused(code: &'static str, message: impl AsRef<str>) -> Self {
        Self::Refused(Failure::new(code, message))
    }

    /// Reads what was done further.
    pub fn and_then<U>(self, read: impl FnOnce(T) -> Outcome<U>) -> Outcome<U> {
        match self {
            Self::Done(done) => read(done),
            Self::Retryable(failure, retry) => Outcome::Retryable(failure, retry),
            Self::Unknown(failure) => Outcome::Unknown(failure),
            Self::Refused(failure) => Outcome::Refused(failure),
            Self::Unauthorized(failure) => Outcome::Unauthorized(failure),
        }
    }

    /// The same in other words.
    pub fn map<U>(self, name: impl FnOnce(T) -> U) -> Outcome<U> {
        self.and_then(|done| Outcome::Done(name(done)))
    }

    /// Of an operation that is safe to repeat: what is unclear is asked again.
    #[must_use]
    pub fn or_repeat(self) -> Self {
        match self {
            Self::Unknown(failure) => Self::Retryable(failure, Retry::Counted),
            other => other,
        }
    }

    /// As it is logged; `describe` says it of what was done.
    pub fn verdict(&self, describe: impl FnOnce(&T) -> Verdict) -> Verdict {
        match self {
            Self::Done(done) => describe(done),
            Self::Retryable(failure, _) => Verdict::failed(ErrorClass::Retryable, failure.code, &failure.message),
            Self::Unknown(failure) => Verdict::failed(ErrorClass::Unknown, failure.code, &failure.message),
            Self::Refused(failure) | Self::Unauthorized(failure) => {
                Verdict::failed(ErrorClass::Fatal, failure.code, &failure.message)
            }
        }
    }
}

/// Times from which the delay of a retry is computed.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub now: DateTime,
    /// Of the job's queue.
    pub backoff: Backoff,
    /// In `0.0..1.0`.
    pub jitter: f64,
}

impl Retry {
    /// How a failed attempt of `job` ends; `None` where it has tried often or long enough.
    #[must_use]
    pub fn end(self, job: &Job, class: ErrorClass, failure: &Failure, timing: &Timing) -> Option<JobEnd> {
        let Timing { now, backoff, jitter } = *timing;
        let (counts, delay) = match self {
            Self::Counted => (true, backoff.delay(job.attempts, jitter)),
            Self::Deferred => (false, backoff.delay(job.deferrals + 1, jitter)),
            // A second of jitter, so that a throttled account's jobs don't all come at once. Who says again and again that
            // it is over in no time is not believed.
            Self::Throttled(wait) => {
                let wait = wait.max(backoff.delay(job.deferrals + 1, 0.0));
                (false, wait + Duration::from_secs(1).mul_f64(jitter))
            }
        };
        let used_up = if counts { job.is_last_attempt() } else { job.deferred_too_long(now) };
        let error = Some(job_error(class, failure));
        (!used_up).then(|| JobEnd::Retry { at: after(now, delay), error, counts })
    }
}

#[must_use]
pub fn job_error(class: ErrorClass, failure: &Failure) -> JobError {
    JobError::new(class.as_str(), failure.code, failure.message.clone())
}

/// The decision about an attempt, besides the changed subject.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptDecision {
    pub end: JobEnd,
    /// The event to record, where the subject's state changed.
    pub event: Option<&'static str>,
}

impl AttemptDecision {
    #[must_use]
    pub fn dead(class: ErrorClass, failure: &Failure, event: &'static str) -> Self {
        Self { end: JobEnd::Dead { error: job_error(class, failure) }, event: Some(event) }
    }
}

impl From<JobEnd> for AttemptDecision {
    fn from(end: JobEnd) -> Self {
        Self { end, event: None }
    }
}

#[cfg(test)]
impl<T> Outcome<T> {
    /// In the words of the adapters' tables.
    pub(super) fn in_words(&self, done: impl FnOnce(&T) -> String) -> String {
        let (class, failure) = match self {
            Self::Done(it) => return done(it),
            Self::Retryable(failure, Retry::Counted) => ("counted".to_owned(), failure),
            Self::Retryable(failure, Retry::Deferred) => ("deferred".to_owned(), failure),
            Self::Retryable(failure, Retry::Throttled(wait)) => (format!("in {} s", wait.as_secs()), failure),
            Self::Unknown(failure) => ("unknown".to_owned(), failure),
            Self::Refused(failure) => ("fatal".to_owned(), failure),
            Self::Unauthorized(failure) => ("unauthorized".to_owned(), failure),
        };
        format!("{class} {}", failure.code)
    }
}
