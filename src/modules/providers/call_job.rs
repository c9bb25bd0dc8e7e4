//! Jobs that call a provider, at most once per attempt: what is the same whatever they call about.
//!
//! An attempt begins in one transaction (what a dead worker left open is closed, the step is decided, its request is on
//! record), calls, and ends in another (the answer is on record, with what follows from it). Only calls that are safe
//! to repeat with the same reference may go this way: a call whose answer is not known is simply made again.

use std::sync::Arc;

use async_trait::async_trait;
use bson::DateTime;

use super::{
    account_watch::{AccountNews, AccountWatch},
    calling::send_under_lease,
};
use crate::{
    modules::{
        audit::{self, Call, ErrorClass, ProviderResponseLog, Verdict},
        queue::{
            Attempt, Concluded, Conclusion, JOBS, Job, JobEnd, JobError, JobHandler, Lease, QueueConfig, RetryRefused,
            holds_lease, settle_job,
        },
    },
    platform::{
        batch::{Command, Entity, Key, Lane, LaneError, View},
        clock::after,
        crash,
        exchange::{Answer, Credentials, Exchange, Logged, Outbound, Prepared, Reply, ResponseRecord},
        identity::Actor,
        ids::new_id,
    },
};

/// What an attempt has to do.
pub enum Step<A> {
    /// Call; `asked` is what is needed to read the answer.
    Call {
        /// The request.
        outbound: Outbound,
        /// What it asks.
        asked: A,
    },
    /// Nothing: the job ends so.
    End(JobEnd),
    /// It can't be done here and now: the attempt has failed.
    Fail(JobError),
}

/// Whom and what a call concerns, for its logs.
#[derive(Clone, Debug, Default)]
pub struct Concerned {
    /// Whose it is.
    pub user_id: String,
    /// The order, where it is about one.
    pub order_id: Option<String>,
    /// The merchant's name for that.
    pub client_order_id: Option<String>,
    /// What it is about, where that is no order.
    pub resource_id: Option<String>,
}

/// An answer, with what a decision about it needs besides its subject.
pub struct Answered<'a, J: CallJob + ?Sized> {
    /// The job as the attempt found it.
    pub job: &'a Job,
    /// What was asked.
    pub asked: &'a J::Asked,
    /// What the answer means.
    pub outcome: &'a J::Outcome,
    /// For the event that says what follows.
    pub event_id: &'a str,
    /// For the backoff, in `0.0..1.0`.
    pub jitter: f64,
    /// Who did it.
    pub actor: &'a Actor,
}

/// One kind of jobs. Everything but [`CallJob::credentials`] is pure, and may be asked several times.
#[async_trait]
pub trait CallJob: Send + Sync + 'static {
    /// What the job is about.
    type Subject: Entity;
    /// What was asked.
    type Asked: Clone + Send + Sync + 'static;
    /// What an answer means.
    type Outcome: Send + Sync + 'static;

    /// The job's kind.
    fn kind(&self) -> &'static str;

    /// Its queue.
    fn queue(&self) -> &QueueConfig;

    /// The field of the payload that names the subject.
    fn subject_field(&self) -> &'static str;

    /// What is remembered of a job whose subject is not there.
    fn gone(&self) -> JobError;

    /// What the operator is told who has such a job run again.
    fn gone_reason(&self) -> &'static str {
        "What the job is about is not there any more."
    }

    /// The account that is used, as in logs.
    fn account_id(&self) -> &str;

    /// Names of the headers that [`CallJob::credentials`] will bring.
    fn credential_headers(&self) -> &'static [&'static str];

    /// Proof of who we are, made right before sending.
    async fn credentials(&self) -> Option<Credentials>;

    /// Whom its calls concern.
    fn concerns(&self, subject: &Self::Subject) -> Concerned;

    /// What an attempt that begins now has to do.
    fn step(&self, subject: &Self::Subject, job: &Job, now: DateTime) -> Step<Self::Asked>;

    /// The call of this kind of jobs that has no answer on record yet.
    fn open_call<'a>(&self, subject: &'a mut Self::Subject) -> &'a mut Option<Call>;

    /// Links a call, and then its answer, where people look for them.
    fn link(&self, subject: &mut Self::Subject, call: &Call, response_id: Option<&str>, now: DateTime);

    /// What the answer means.
    fn read(&self, subject_id: &str, asked: &Self::Asked, answer: &Answer) -> Self::Outcome;

    /// The outcome in the words of the log, and what it says of the whole account.
    fn describe(&self, outcome: &Self::Outcome) -> (Verdict, AccountNews);

    /// What follows from an answer; writes the subject.
    fn follow(&self, view: &mut View, subject: Self::Subject, answered: &Answered<'_, Self>) -> Concluded;

    /// The last attempt failed on our side; writes the subject.
    fn give_up(&self, view: &mut View, subject: Self::Subject, error: &JobError, event_id: &str, actor: &Actor);

    /// A person has a dead job run again; writes the subject.
    ///
    /// # Errors
    /// A sentence for the operator.
    fn revive(
        &self,
        view: &mut View,
        subject: Self::Subject,
        job: &Job,
        actor: &Actor,
        event_id: &str,
    ) -> Result<(), RetryRefused>;
}

/// Runs jobs of one kind.
pub struct CallJobHandler<J: CallJob> {
    /// What they are about.
    pub job: Arc<J>,
    /// Where attempts begin: a lane of its own beside the completions'.
    pub lane: Lane,
    /// Sends.
    pub exchange: Exchange,
    /// Heeds what an answer says of the whole account.
    pub account: AccountWatch,
}

impl<J: CallJob> CallJobHandler<J> {
    fn subject_id<'a>(&self, job: &'a Job) -> Option<&'a str> {
        job.payload.get_str(self.job.subject_field()).ok()
    }

    /// Reads the answer, acts on what concerns the whole account, and prepares the conclusion.
    async fn conclude(&self, subject_id: &str, begun: BegunCall<J>, reply: Reply) -> CallConcluded<J> {
        let outcome = self.job.read(subject_id, &begun.asked, &reply.answer);
        let (verdict, news) = self.job.describe(&outcome);
        metrics::histogram!("waybill_provider_call_seconds",
            "operation" => begun.logged.outbound().operation, "outcome" => verdict.outcome)
        .record(reply.record.latency_ms as f64 / 1000.0);
        self.account.heed(news).await;
        CallConcluded {
            call_job: Arc::clone(&self.job),
            subject_id: subject_id.to_owned(),
            call: begun.call,
            asked: begun.asked,
            record: reply.record,
            outcome,
            verdict,
            response_id: new_id("res"),
            event_id: new_id("evt"),
            jitter: rand::random(),
        }
    }
}

#[async_trait]
impl<J: CallJob> JobHandler for CallJobHandler<J> {
    fn kind(&self) -> &'static str {
        self.job.kind()
    }

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt {
        let Some(subject_id) = self.subject_id(job) else {
            let reason = format!("The payload has no {}.", self.job.subject_field());
            return Attempt::Failed(JobError::new("payload", "queue.unreadable_payload", reason));
        };
        let begin = BeginAttempt {
            call_job: Arc::clone(&self.job),
            subject_id: subject_id.to_owned(),
            job_id: job.id.clone(),
            token: lease.token.clone(),
            worker_id: lease.worker_id.clone(),
            request_ref_id: new_id("req"),
            closing_response_id: new_id("res"),
        };
        match self.lane.submit(begin).await {
            Ok(Begun::Call(begun)) => {
                crash::point("request_logged");
                let credentials = self.job.credentials();
                let reply = send_under_lease(&self.exchange, &begun.logged, lease, credentials).await;
                crash::point("answered");
                Attempt::Concluded(Box::new(self.conclude(subject_id, *begun, reply).await))
            }
            Ok(Begun::Settled) => Attempt::Settled,
            Ok(Begun::Failed(error)) => Attempt::Failed(error),
            Ok(Begun::LeaseLost) => Attempt::LeaseLost,
            Err(LaneError::Busy | LaneError::Away) => Attempt::NotBegun,
            Err(LaneError::Failed(reason)) => Attempt::Failed(JobError::new("internal", "queue.begin_failed", reason)),
        }
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        Some(Box::new(AttemptFailed {
            call_job: Arc::clone(&self.job),
            subject_id: self.subject_id(job)?.to_owned(),
            error,
            worker_id: job.lease_owner.clone().unwrap_or_default(),
            closing_response_id: new_id("res"),
            event_id: new_id("evt"),
            jitter: rand::random(),
        }))
    }

    fn revive(&self, view: &mut View, job: &Job, actor: &Actor, event_id: &str) -> Result<(), RetryRefused> {
        let Some(subject) = self.subject_id(job).and_then(|id| view.by_id::<J::Subject>(id)) else {
            return Err(RetryRefused { reason: self.job.gone_reason() });
        };
        self.job.revive(view, subject, job, actor, event_id)
    }
}

/// Begins an attempt: closes what a dead worker left open, decides the step, and logs the request.
pub struct BeginAttempt<J: CallJob> {
    /// What the job is about.
    pub call_job: Arc<J>,
    /// Id of the subject.
    pub subject_id: String,
    /// The job.
    pub job_id: String,
    /// The token of its lease.
    pub token: String,
    /// Who runs it.
    pub worker_id: String,
    /// For the request's log.
    pub request_ref_id: String,
    /// For the log that closes a call which was left open.
    pub closing_response_id: String,
}

/// How an attempt begins.
pub enum Begun<J: CallJob> {
    /// With a call, whose log is durable.
    Call(Box<BegunCall<J>>),
    /// It ended without one.
    Settled,
    /// It can't be done here and now.
    Failed(JobError),
    /// Somebody else has the job.
    LeaseLost,
}

/// A call that may be sent.
pub struct BegunCall<J: CallJob> {
    /// What is sent.
    pub logged: Logged,
    /// Its log.
    pub call: Call,
    /// What it asks.
    pub asked: J::Asked,
}

impl<J: CallJob> BeginAttempt<J> {
    fn prepared(&self, outbound: Outbound) -> Prepared {
        Prepared::new(outbound, self.call_job.credential_headers())
    }

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
            account_id: self.call_job.account_id().to_owned(),
            correlation_id: job.correlation_id.clone(),
            sent_at: now,
        }
    }
}

impl<J: CallJob> Command for BeginAttempt<J> {
    type Reply = Begun<J>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(JOBS, &*self.job_id), Key::id(J::Subject::COLLECTION, &*self.subject_id)]
    }

    fn decide(&self, view: &mut View) -> Begun<J> {
        let Some(job) = view.by_id::<Job>(&self.job_id) else { return Begun::LeaseLost };
        if job.ended_by.as_deref() == Some(&*self.token) {
            return Begun::Settled;
        }
        if !holds_lease(&job, &self.token) {
            return Begun::LeaseLost;
        }
        let call_job = &*self.call_job;
        let Some(mut subject) = view.by_id::<J::Subject>(&self.subject_id) else {
            settle_job(view, job, &JobEnd::Dead { error: call_job.gone() });
            return Begun::Settled;
        };
        let now = view.now();
        let open = call_job.open_call(&mut subject).clone();
        let ours = open.filter(|call| call.request_ref_id == self.request_ref_id);
        // What was in time when it was begun is not too late now.
        let now = ours.as_ref().map_or(now, |call| call.sent_at);
        if ours.is_none() {
            close_open_call(call_job, view, &mut subject, &self.closing_response_id);
        }
        match (call_job.step(&subject, &job, now), ours) {
            // An earlier run of this very transaction was committed after all.
            (Step::Call { outbound, asked }, Some(call)) => {
                let logged = audit::recorded_before(self.prepared(outbound));
                Begun::Call(Box::new(BegunCall { logged, call, asked }))
            }
            (Step::Call { outbound, asked }, None) => {
                let call = self.call(&subject, &outbound, &job, now);
                let logged = audit::record_request(view, &call, self.prepared(outbound));
                call_job.link(&mut subject, &call, None, now);
                *call_job.open_call(&mut subject) = Some(call.clone());
                view.update(&subject);
                Begun::Call(Box::new(BegunCall { logged, call, asked }))
            }
            (Step::Fail(error), _) => Begun::Failed(error),
            (Step::End(end), _) => {
                // Begun by that earlier run, before the subject went on; it was never sent.
                close_open_call(call_job, view, &mut subject, &self.closing_response_id);
                settle_job(view, job, &end);
                Begun::Settled
            }
        }
    }
}

/// Writes down that a call which a dead worker left open has no answer. It is safe to repeat.
fn close_open_call<J: CallJob>(call_job: &J, view: &mut View, subject: &mut J::Subject, response_id: &str) {
    let Some(call) = call_job.open_call(subject).take() else { return };
    let now = view.now();
    let log = ProviderResponseLog::without_answer(response_id.to_owned(), &call, ErrorClass::Retryable, now);
    audit::record_response(view, &log);
    call_job.link(subject, &call, Some(response_id), now);
    view.update(&*subject);
}

/// The end of an attempt that made a call.
pub struct CallConcluded<J: CallJob> {
    /// What the job is about.
    pub call_job: Arc<J>,
    /// Id of the subject.
    pub subject_id: String,
    /// The call.
    pub call: Call,
    /// What it asked.
    pub asked: J::Asked,
    /// What is stored of the answer.
    pub record: ResponseRecord,
    /// What the answer means.
    pub outcome: J::Outcome,
    /// The same in the words of the log.
    pub verdict: Verdict,
    /// For the answer's log.
    pub response_id: String,
    /// For the event that says what follows.
    pub event_id: String,
    /// For the backoff, in `0.0..1.0`.
    pub jitter: f64,
}

impl<J: CallJob> CallConcluded<J> {
    fn response(&self, now: DateTime) -> ProviderResponseLog {
        ProviderResponseLog::new(self.response_id.clone(), &self.call, &self.record, self.verdict.clone(), now)
    }
}

impl<J: CallJob> Conclusion for CallConcluded<J> {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(J::Subject::COLLECTION, &*self.subject_id)]
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let now = view.now();
        audit::record_response(view, &self.response(now));
        let call_job = &*self.call_job;
        let Some(mut subject) = view.by_id::<J::Subject>(&self.subject_id) else {
            return JobEnd::Dead { error: call_job.gone() }.into();
        };
        let open = call_job.open_call(&mut subject);
        if open.as_ref().is_some_and(|open| open.request_ref_id == self.call.request_ref_id) {
            *open = None;
        }
        call_job.link(&mut subject, &self.call, Some(&self.response_id), now);
        let answered = Answered {
            job,
            asked: &self.asked,
            outcome: &self.outcome,
            event_id: &self.event_id,
            jitter: self.jitter,
            actor: &Actor::worker(&self.call.worker_id, &self.call.correlation_id),
        };
        call_job.follow(view, subject, &answered)
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
    /// What the job is about.
    pub call_job: Arc<J>,
    /// Id of the subject.
    pub subject_id: String,
    /// What happened.
    pub error: JobError,
    /// Who ran it.
    pub worker_id: String,
    /// For the log that closes a call which was left open.
    pub closing_response_id: String,
    /// For the event that says what follows.
    pub event_id: String,
    /// For the backoff, in `0.0..1.0`.
    pub jitter: f64,
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
        if !job.is_last_attempt() {
            let at = after(view.now(), call_job.queue().backoff.delay(job.attempts, self.jitter));
            return JobEnd::Retry { at, error: Some(self.error.clone()), counts: true }.into();
        }
        // What went on without this job, or has another one since, is not given up with it.
        if let Step::End(end) = call_job.step(&subject, job, view.now()) {
            return end.into();
        }
        let actor = Actor::worker(&self.worker_id, &job.correlation_id);
        call_job.give_up(view, subject, &self.error, &self.event_id, &actor);
        JobEnd::Dead { error: self.error.clone() }.into()
    }
}
