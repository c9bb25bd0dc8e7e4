//! What a worker decides: how an attempt begins, and how it ends.

use std::sync::Arc;

use bson::DateTime;

use super::{
    commands::{credit, credit_keys, record},
    flow::{Circumstances, Errand, Followed, Outcome, follow, give_up, has_to_call},
    model::{TOPUPS, Topup},
};
use crate::{
    modules::{
        audit::{self, Call, ErrorClass, ProviderResponseLog, RESPONSE_LOGS},
        events::Actor,
        providers::{
            Failure,
            paygate::{PayGate, PaymentToStart},
        },
        queue::{Concluded, Conclusion, JOBS, Job, JobEnd, JobError, QueueConfig, holds_lease, settle_job},
    },
    platform::{
        batch::{Command, Key, View},
        clock::after,
        exchange::{Logged, Outbound, Prepared, ResponseRecord},
        money::Money,
    },
};

/// Begins an attempt: closes what a dead worker left open, decides the step, and logs the request.
pub(super) struct BeginAttempt {
    pub(super) topup_id: String,
    pub(super) errand: Errand,
    pub(super) job_id: String,
    pub(super) token: String,
    pub(super) worker_id: String,
    pub(super) gateway: Arc<PayGate>,
    pub(super) request_ref_id: String,
    pub(super) closing_response_id: String,
}

/// How an attempt begins.
pub(super) enum Begun {
    /// With a call, whose log is durable.
    Call(Box<BegunCall>),
    /// It ended without one.
    Settled,
    /// Somebody else has the job.
    LeaseLost,
}

/// A call that may be sent.
pub(super) struct BegunCall {
    pub(super) logged: Logged,
    pub(super) call: Call,
    pub(super) money: Money,
}

impl BeginAttempt {
    fn outbound(&self, topup: &Topup) -> Outbound {
        match self.errand {
            Errand::Start => self.gateway.start_request(&PaymentToStart {
                reference: &topup.id,
                amount: topup.money(),
                description: &format!("Wallet top-up {}", topup.client_topup_id),
                expires_at: topup.expires_at,
            }),
            Errand::Check => self.gateway.look_up_request(&topup.id),
        }
    }

    fn prepared(&self, topup: &Topup) -> Prepared {
        Prepared::new(self.outbound(topup), self.gateway.credential_headers())
    }

    fn begin_call(&self, view: &mut View, mut topup: Topup, job: &Job) -> Begun {
        let call = Call {
            request_ref_id: self.request_ref_id.clone(),
            order_id: None,
            user_id: topup.user_id.clone(),
            client_order_id: None,
            resource_id: Some(topup.id.clone()),
            provider: topup.provider.clone(),
            operation: self.errand.operation().into(),
            attempt: job.attempts,
            job_id: job.id.clone(),
            worker_id: self.worker_id.clone(),
            account_id: self.gateway.account_id().to_owned(),
            correlation_id: job.correlation_id.clone(),
            sent_at: view.now(),
        };
        let logged = audit::record_request(view, &call, self.prepared(&topup));
        topup.provider_request_ref_id = Some(call.request_ref_id.clone());
        topup.provider_response_ref_id = None;
        topup.updated_at = view.now();
        *open_call(&mut topup, self.errand) = Some(call.clone());
        view.update(&topup);
        Begun::Call(Box::new(BegunCall { logged, call, money: topup.money() }))
    }
}

impl Command for BeginAttempt {
    type Reply = Begun;

    fn reads(&self, _: &View) -> Vec<Key> {
        vec![Key::id(JOBS, &*self.job_id), Key::id(TOPUPS, &*self.topup_id)]
    }

    fn decide(&self, view: &mut View) -> Begun {
        let Some(job) = view.by_id::<Job>(&self.job_id) else { return Begun::LeaseLost };
        if job.ended_by.as_deref() == Some(&*self.token) {
            return Begun::Settled;
        }
        if !holds_lease(&job, &self.token) {
            return Begun::LeaseLost;
        }
        let Some(mut topup) = view.by_id::<Topup>(&self.topup_id) else {
            settle_job(view, job, &JobEnd::Dead { error: gone() });
            return Begun::Settled;
        };
        let open = open_call(&mut topup, self.errand).clone();
        if let Some(call) = open.filter(|call| call.request_ref_id == self.request_ref_id) {
            // An earlier run of this very transaction was committed after all.
            let logged = audit::recorded_before(self.prepared(&topup));
            return Begun::Call(Box::new(BegunCall { logged, call, money: topup.money() }));
        }
        close_open_call(view, &mut topup, self.errand, &self.closing_response_id);
        if has_to_call(&topup, self.errand, view.now()) {
            return self.begin_call(view, topup, &job);
        }
        settle_job(view, job, &Followed::done(&topup, None).end);
        Begun::Settled
    }
}

fn gone() -> JobError {
    JobError::new("payload", "topups.gone", "The top-up is not there.")
}

fn open_call(topup: &mut Topup, errand: Errand) -> &mut Option<Call> {
    match errand {
        Errand::Start => &mut topup.open_calls.start,
        Errand::Check => &mut topup.open_calls.check,
    }
}

/// Writes down that a call which a dead worker left open has no answer. Both operations are safe to repeat.
fn close_open_call(view: &mut View, topup: &mut Topup, errand: Errand, response_id: &str) {
    let Some(call) = open_call(topup, errand).take() else { return };
    let now = view.now();
    let log = ProviderResponseLog::without_answer(response_id.to_owned(), &call, ErrorClass::Retryable, now);
    audit::record_response(view, &log);
    note_response(topup, &call, response_id);
    topup.updated_at = now;
    view.update(&*topup);
}

/// Links the answer where the request is linked.
fn note_response(topup: &mut Topup, call: &Call, response_id: &str) {
    if topup.provider_request_ref_id.as_deref() == Some(&*call.request_ref_id) {
        topup.provider_response_ref_id = Some(response_id.to_owned());
    }
}

fn conclude_topup(view: &mut View, topup: &Topup, followed: Followed, event_id: &str, actor: &Actor) -> Concluded {
    if let Some(kind) = followed.event {
        record(view, event_id, kind, topup, actor);
    }
    view.update(topup);
    followed.end.into()
}

/// The end of an attempt that made a call.
pub(super) struct CallConcluded {
    pub(super) topup_id: String,
    pub(super) errand: Errand,
    pub(super) money: Money,
    pub(super) call: Call,
    pub(super) record: ResponseRecord,
    pub(super) outcome: Outcome,
    pub(super) verdict: audit::Verdict,
    pub(super) response_id: String,
    pub(super) event_id: String,
    pub(super) jitter: f64,
    pub(super) queue: QueueConfig,
}

impl CallConcluded {
    fn response(&self, now: DateTime) -> ProviderResponseLog {
        ProviderResponseLog::new(self.response_id.clone(), &self.call, &self.record, self.verdict.clone(), now)
    }
}

impl Conclusion for CallConcluded {
    fn reads(&self) -> Vec<Key> {
        let mut keys = vec![Key::id(TOPUPS, &*self.topup_id)];
        if self.outcome.is_paid() {
            keys.extend(credit_keys(&self.topup_id, &self.call.user_id, self.money));
        }
        keys
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let now = view.now();
        audit::record_response(view, &self.response(now));
        let Some(mut topup) = view.by_id::<Topup>(&self.topup_id) else {
            return JobEnd::Dead { error: gone() }.into();
        };
        let open = open_call(&mut topup, self.errand);
        if open.as_ref().is_some_and(|open| open.request_ref_id == self.call.request_ref_id) {
            *open = None;
        }
        note_response(&mut topup, &self.call, &self.response_id);
        let at = Circumstances { now, jitter: self.jitter, backoff: self.queue.backoff };
        let actor = Actor::worker(&self.call.worker_id, &topup.correlation_id);
        let followed = follow(&mut topup, job, &self.outcome, &at, |topup| credit(view, topup, &self.event_id, &actor));
        conclude_topup(view, &topup, followed, &self.event_id, &actor)
    }

    fn late_reads(&self) -> Vec<Key> {
        vec![Key::id(RESPONSE_LOGS, &*self.response_id)]
    }

    fn conclude_late(&self, view: &mut View) {
        if view.by_id::<ProviderResponseLog>(&self.response_id).is_none() {
            let log = ProviderResponseLog { late: true, ..self.response(view.now()) };
            audit::record_response(view, &log);
        }
    }
}

/// The end of an attempt that panicked, took too long, or never ran because its workers died.
pub(super) struct AttemptFailed {
    pub(super) topup_id: String,
    pub(super) errand: Errand,
    pub(super) error: JobError,
    pub(super) worker_id: String,
    pub(super) closing_response_id: String,
    pub(super) event_id: String,
    pub(super) jitter: f64,
    pub(super) queue: QueueConfig,
}

impl Conclusion for AttemptFailed {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(TOPUPS, &*self.topup_id)]
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let Some(mut topup) = view.by_id::<Topup>(&self.topup_id) else {
            return JobEnd::Dead { error: self.error.clone() }.into();
        };
        close_open_call(view, &mut topup, self.errand, &self.closing_response_id);
        if !job.is_last_attempt() {
            let at = after(view.now(), self.queue.backoff.delay(job.attempts, self.jitter));
            return JobEnd::Retry { at, error: Some(self.error.clone()), counts: true }.into();
        }
        topup.updated_at = view.now();
        let failure = Failure::new("queue.attempts_used_up", &self.error.message);
        let followed = give_up(&mut topup, self.errand, &failure, ErrorClass::Unknown);
        let actor = Actor::worker(&self.worker_id, &topup.correlation_id);
        let ended = JobEnd::Dead { error: self.error.clone() };
        conclude_topup(view, &topup, Followed { end: ended, ..followed }, &self.event_id, &actor)
    }
}
