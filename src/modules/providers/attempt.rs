//! How an attempt of a [`CallJob`] begins and ends: three transactions, decided over a view.

use std::sync::Arc;

use bson::DateTime;

use super::{
    call_job::{Answered, Author, CallJob, NextStep},
    outcome::{AttemptDecision, Failure, Outcome, Timing},
};
use crate::{
    modules::{
        audit::{self, Call, ErrorClass, ProviderResponseLog, Verdict},
        queue::{Attempt, Concluded, Conclusion, IN_DOUBT, JOBS, Job, JobEnd, JobError, holds_lease, settle_job},
    },
    platform::{
        batch::{Command, Entity, Key, View},
        clock::after,
        exchange::{Logged, Outbound, Prepared, ResponseRecord},
        identity::Actor,
    },
};

/// Begins an attempt: closes what a dead worker left open, decides the step, and logs the request.
pub struct BeginAttempt<J: CallJob> {
    pub call_job: Arc<J>,
    pub subject_id: String,
    pub job_id: String,
    pub token: String,
    pub worker_id: String,
    pub account_id: String,
    /// Whether the job is bound to that account from now on, as one that it is counted by.
    pub binds: bool,
    /// For the request's log.
    pub request_ref_id: String,
    /// For the log that closes a call which was left open.
    pub closing_response_id: String,
    /// For the event, where it ends without a call.
    pub event_id: String,
}

/// A call that may be sent.
pub struct BegunCall<J: CallJob> {
    pub logged: Logged,
    pub call: Call,
    pub asked: J::CallSpec,
    /// Keys that the end of the attempt reads at once.
    pub prefetch: Vec<Key>,
}

impl<J: CallJob> BeginAttempt<J> {
    fn call(&self, subject: &J::Subject, outbound: &Outbound, job: &Job, now: DateTime) -> Call {
        let concerned = self.call_job.concerns(subject);
        Call {
            request_ref_id: self.request_ref_id.clone(),
            order_id: concerned.order_id,
            user_id: concerned.user_id,
            client_order_id: concerned.client_order_id,
            resource_id: concerned.resource_id,
            provider: outbound.provider.into(),
            operation: outbound.operation.into(),
            attempt: job.attempts,
            job_id: job.id.clone(),
            worker_id: self.worker_id.clone(),
            account_id: self.account_id.clone(),
            correlation_id: job.correlation_id.clone(),
            sent_at: now,
        }
    }

    fn begin(
        &self,
        view: &mut View,
        mut subject: J::Subject,
        job: &Job,
        (outbound, asked): (Outbound, J::CallSpec),
    ) -> BegunCall<J> {
        let (call_job, now) = (&*self.call_job, view.now());
        let call = self.call(&subject, &outbound, job, now);
        let prepared = Prepared::new(outbound, call_job.provider().credential_headers());
        let logged = audit::record_request(view, &call, prepared);
        call_job.link(&mut subject, &call, None, now);
        *call_job.open_call(&mut subject) = Some(call.clone());
        view.update(&subject);
        if self.binds {
            view.update(&Job { route: self.account_id.clone(), ..job.clone() });
        }
        BegunCall { logged, call, asked, prefetch: call_job.prefetch(&subject) }
    }
}

impl<J: CallJob> Command for BeginAttempt<J> {
    /// The call, or how the attempt went without one.
    type Reply = Result<Box<BegunCall<J>>, Attempt>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(JOBS, &*self.job_id), Key::id(J::Subject::COLLECTION, &*self.subject_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let job = view.by_id::<Job>(&self.job_id).filter(|job| holds_lease(job, &self.token));
        let Some(job) = job else { return Err(Attempt::LeaseLost) };
        let call_job = &*self.call_job;
        let Some(mut subject) = view.by_id::<J::Subject>(&self.subject_id) else {
            settle_job(view, job, &JobEnd::Dead { error: gone(call_job) });
            return Err(Attempt::Settled);
        };
        if call_job.open_call(&mut subject).as_ref().is_some_and(|call| call.request_ref_id == self.request_ref_id) {
            // Begun by an earlier submission whose reply was lost: the next attempt closes what that one left open.
            return Err(Attempt::LeaseLost);
        }
        close_open_call(call_job, view, &mut subject, &self.closing_response_id);
        if call_job.bound_to(&subject).is_some_and(|account_id| account_id != self.account_id) {
            // A worker died in a call with another account: only there it can be looked up.
            let now = view.now();
            let job = Job { route: route(call_job, &subject), ..job };
            settle_job(view, job, &JobEnd::Retry { at: now, error: None, counts: false });
            return Err(Attempt::Settled);
        }
        match call_job.step(&mut subject, &job, view.now()) {
            NextStep::Call(call) => Ok(Box::new(self.begin(view, subject, &job, call))),
            NextStep::Fail(error) => Err(Attempt::Failed(error)),
            NextStep::End(decision) => {
                let actor = Actor::worker(&self.worker_id, &job.correlation_id);
                call_job.write(view, subject, &decision, Author { actor: &actor, event_id: &self.event_id });
                settle_job(view, job, &decision.end);
                Err(Attempt::Settled)
            }
        }
    }
}

fn gone<J: CallJob>(call_job: &J) -> JobError {
    let (code, reason) = call_job.gone();
    JobError::new("payload", code, reason)
}

/// Priority of the job: one whose last call may have been executed goes first.
fn priority<J: CallJob>(call_job: &J, subject: &J::Subject) -> Option<i32> {
    Some(call_job.queue().priority - IN_DOUBT * i32::from(call_job.is_in_doubt(subject)))
}

/// The route of the job from now on.
fn route<J: CallJob>(call_job: &J, subject: &J::Subject) -> String {
    call_job.bound_to(subject).map_or_else(|| call_job.pool(subject), str::to_owned)
}

/// Writes down that a call which a dead worker left open has no answer.
fn close_open_call<J: CallJob>(call_job: &J, view: &mut View, subject: &mut J::Subject, response_id: &str) {
    let Some(call) = call_job.open_call(subject).take() else { return };
    let now = view.now();
    let repeatable = call_job.is_safe_to_repeat(&call.operation);
    let class = if repeatable { ErrorClass::Retryable } else { ErrorClass::Unknown };
    audit::record_response(view, &ProviderResponseLog::without_answer(response_id.to_owned(), &call, class, now));
    call_job.link(subject, &call, Some(response_id), now);
    if !repeatable {
        call_job.unanswered(subject, &call, now);
    }
    view.update(&*subject);
}

/// The end of an attempt that made a call.
pub struct CallConcluded<J: CallJob> {
    pub call_job: Arc<J>,
    pub subject_id: String,
    pub call: Call,
    pub asked: J::CallSpec,
    /// Keys that are read at once.
    pub prefetch: Vec<Key>,
    /// The answer as stored.
    pub record: ResponseRecord,
    /// The meaning of the answer.
    pub outcome: Outcome<J::Done>,
    /// For the answer's log.
    pub response_id: String,
    /// For the event that says what follows.
    pub event_id: String,
    /// For the backoff, in `0.0..1.0`.
    pub jitter: f64,
}

impl<J: CallJob> CallConcluded<J> {
    /// The outcome, as it is logged.
    pub fn verdict(&self) -> Verdict {
        self.outcome.verdict(|done| self.call_job.describe(&self.asked, done))
    }

    fn response(&self, now: DateTime) -> ProviderResponseLog {
        ProviderResponseLog::new(self.response_id.clone(), &self.call, &self.record, self.verdict(), now)
    }
}

impl<J: CallJob> Conclusion for CallConcluded<J> {
    fn reads(&self) -> Vec<Key> {
        let mut keys = vec![Key::id(J::Subject::COLLECTION, &*self.subject_id)];
        keys.extend_from_slice(&self.prefetch);
        keys
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let now = view.now();
        audit::record_response(view, &self.response(now));
        let call_job = &*self.call_job;
        let Some(mut subject) = view.by_id::<J::Subject>(&self.subject_id) else {
            return JobEnd::Dead { error: gone(call_job) }.into();
        };
        let open = call_job.open_call(&mut subject);
        if open.as_ref().is_some_and(|open| open.request_ref_id == self.call.request_ref_id) {
            *open = None;
        }
        call_job.link(&mut subject, &self.call, Some(&self.response_id), now);
        let answered = Answered {
            job,
            call: &self.call,
            asked: &self.asked,
            outcome: &self.outcome,
            timing: Timing { now, backoff: call_job.queue().backoff, jitter: self.jitter },
        };
        let actor = Actor::worker(&self.call.worker_id, &self.call.correlation_id);
        let by = Author { actor: &actor, event_id: &self.event_id };
        let decision = call_job.follow(view, &mut subject, &answered, by);
        let (priority, route) = (priority(call_job, &subject), Some(route(call_job, &subject)));
        let wake = call_job.write(view, subject, &decision, by).into_iter().collect();
        Concluded { end: decision.end, wake, priority, route }
    }

    fn conclude_late(&self, view: &mut View) {
        if view.by_id::<ProviderResponseLog>(&self.response_id).is_none() {
            let log = ProviderResponseLog { late: true, ..self.response(view.now()) };
            audit::record_response(view, &log);
        }
    }
}

/// The end of an attempt that panicked, took too long, or never ran because its workers died.
pub struct AttemptFailed<J: CallJob> {
    pub call_job: Arc<J>,
    pub subject_id: String,
    pub error: JobError,
    pub worker_id: String,
    /// For the log that closes a call which was left open.
    pub closing_response_id: String,
    /// For the event that says what follows.
    pub event_id: String,
    /// For the backoff, in `0.0..1.0`.
    pub jitter: f64,
}

impl<J: CallJob> AttemptFailed<J> {
    fn decide(&self, view: &mut View, subject: &mut J::Subject, job: &Job, by: Author<'_>) -> AttemptDecision {
        let (call_job, now) = (&*self.call_job, view.now());
        if !job.is_last_attempt() {
            let at = after(now, call_job.queue().backoff.delay(job.attempts, self.jitter));
            return JobEnd::Retry { at, error: Some(self.error.clone()), counts: true }.into();
        }
        // What went on without this job, or has another one since, is not given up with it.
        if let NextStep::End(decision) = call_job.step(subject, job, now) {
            return decision;
        }
        let failure = Failure::new("queue.attempts_used_up", &self.error.message);
        let decision = call_job.give_up(view, subject, &failure, by);
        AttemptDecision { end: JobEnd::Dead { error: self.error.clone() }, ..decision }
    }
}

impl<J: CallJob> Conclusion for AttemptFailed<J> {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(J::Subject::COLLECTION, &*self.subject_id)]
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let call_job = &*self.call_job;
        let Some(mut subject) = view.by_id::<J::Subject>(&self.subject_id) else {
            return JobEnd::Dead { error: self.error.clone() }.into();
        };
        close_open_call(call_job, view, &mut subject, &self.closing_response_id);
        let actor = Actor::worker(&self.worker_id, &job.correlation_id);
        let by = Author { actor: &actor, event_id: &self.event_id };
        let decision = self.decide(view, &mut subject, job, by);
        let (priority, route) = (priority(call_job, &subject), Some(route(call_job, &subject)));
        let wake = call_job.write(view, subject, &decision, by).into_iter().collect();
        Concluded { end: decision.end, wake, priority, route }
    }
}
