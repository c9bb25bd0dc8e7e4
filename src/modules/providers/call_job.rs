//! Jobs that call a provider, at most once per attempt: one skeleton for all of them.
//!
//! An attempt begins in one transaction (what a dead worker left open is closed, the step is decided, its request is on
//! record), calls, and ends in another (the answer is on record, with what follows from it). The skeleton owns leases,
//! logs, open calls and the class of what was not answered; a kind of jobs says what to ask, what an answer means and
//! what follows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bson::DateTime;

use super::{
    AccountSecrets, Accounts, Provider,
    dispatch::Dispatcher,
    outcome::{AttemptDecision, Failure, Outcome, Retry, Timing},
};
use crate::{
    modules::{
        audit::{Call, Verdict},
        queue::{Attempt, Conclusion, Job, JobError, JobHandler, Lease, QueueConfig, RetryRefused},
    },
    platform::{
        batch::{Entity, Key, Lane, LaneError, View},
        crash,
        exchange::{Answer, ExchangeClient, Expected, FileSink, NotSent, Outbound, Reply},
        identity::Actor,
        ids::new_id,
    },
};

pub use super::attempt::{AttemptFailed, BeginAttempt, BegunCall, CallConcluded};

/// A lease has to outlast the call by this much, for what comes after it.
const LEASE_MARGIN: Duration = Duration::from_millis(500);

/// What an attempt has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum NextStep<C> {
    Call(C),
    /// Nothing more: the job ends so.
    End(AttemptDecision),
    /// It can't be done here and now: the attempt has failed.
    Fail(JobError),
}

/// Whom and what a call concerns, for its logs.
#[derive(Clone, Debug, Default)]
pub struct CallSubject {
    pub user_id: String,
    pub order_id: Option<String>,
    /// The merchant's name for that.
    pub client_order_id: Option<String>,
    /// What it is about, where that is no order.
    pub resource_id: Option<String>,
}

/// An answer, with what a decision about it needs besides its subject.
#[derive(Debug)]
pub struct Answered<'a, A, D> {
    /// The job as the attempt found it.
    pub job: &'a Job,
    pub call: &'a Call,
    pub asked: &'a A,
    /// What the answer means.
    pub outcome: &'a Outcome<D>,
    pub timing: Timing,
}

/// The author of a change and the id of the event that says so.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    pub actor: &'a Actor,
    /// For the event.
    pub event_id: &'a str,
}

pub trait FileKeeper: Send + Sync + 'static {
    /// Where the file goes that `call` asks for. It counts once the end of the attempt says so.
    fn keep(&self, call: &Call) -> Box<dyn FileSink>;
}

/// One kind of jobs. All of it is pure; all but [`CallJob::read`] may be asked several times.
pub trait CallJob: Send + Sync + 'static {
    type Subject: Entity;
    /// What was asked: needed to read the answer.
    type CallSpec: Clone + Send + Sync + 'static;
    /// What the provider says where it did as it was asked.
    type Done: Send + Sync + 'static;

    fn kind(&self) -> &'static str;

    fn queue(&self) -> &QueueConfig;

    fn provider(&self) -> &dyn Provider;

    fn subject_field(&self) -> &'static str;

    /// Code and sentence for a job whose subject is not there.
    fn gone(&self) -> (&'static str, &'static str);

    /// Whom its calls concern.
    fn concerns(&self, subject: &Self::Subject) -> CallSubject;

    /// What an attempt that begins now has to do; changes the subject where it ends without a call.
    fn step(&self, subject: &mut Self::Subject, job: &Job, now: DateTime) -> NextStep<(Outbound, Self::CallSpec)>;

    /// The call of this kind of jobs that has no answer on record yet.
    fn open_call<'a>(&self, subject: &'a mut Self::Subject) -> &'a mut Option<Call>;

    /// Links a call, and then its answer, where people look for them.
    fn link(&self, subject: &mut Self::Subject, call: &Call, response_id: Option<&str>, now: DateTime);

    /// Whether doing `operation` twice is the same as doing it once: then it is simply done again where nobody knows.
    fn is_safe_to_repeat(&self, _operation: &str) -> bool {
        true
    }

    /// A call that is not safe to repeat got no answer: it may have been executed.
    fn unanswered(&self, _subject: &mut Self::Subject, _call: &Call, _now: DateTime) {}

    /// Whether a call may have been executed and nobody knows: such jobs don't wait behind the others of their queue.
    fn is_in_doubt(&self, _subject: &Self::Subject) -> bool {
        false
    }

    /// The account that has to be called, because it alone has the subject, or may have it; none where any will do.
    fn bound_to<'a>(&self, _subject: &'a Self::Subject) -> Option<&'a str> {
        None
    }

    /// The accounts that may be called where no single one has to be.
    fn pool(&self, _subject: &Self::Subject) -> String {
        self.queue().route.to_owned()
    }

    /// What the answer will change besides job and subject, where that is known already: read with them at once.
    fn prefetch(&self, _subject: &Self::Subject) -> Vec<Key> {
        Vec::new()
    }

    fn read(&self, job: &Job, subject_id: &str, asked: &Self::CallSpec, answer: &Answer) -> Outcome<Self::Done>;

    fn file(&self, _asked: &Self::CallSpec) -> Option<Expected> {
        None
    }

    /// What was done, as it is logged.
    fn describe(&self, asked: &Self::CallSpec, done: &Self::Done) -> Verdict;

    /// What follows from an answer; changes the subject.
    fn follow(
        &self,
        view: &mut View,
        subject: &mut Self::Subject,
        answered: &Answered<'_, Self::CallSpec, Self::Done>,
        by: Author<'_>,
    ) -> AttemptDecision;

    /// The last attempt failed on our side; changes the subject. The job is dead, whatever is decided.
    fn give_up(
        &self,
        view: &mut View,
        subject: &mut Self::Subject,
        failure: &Failure,
        by: Author<'_>,
    ) -> AttemptDecision;

    /// Writes the subject with what a decision leads to; gives the queue to wake.
    fn write(
        &self,
        view: &mut View,
        subject: Self::Subject,
        decision: &AttemptDecision,
        by: Author<'_>,
    ) -> Option<&'static str>;

    /// A person has a dead job run again; writes the subject.
    ///
    /// # Errors
    /// A sentence for the operator.
    fn revive(&self, view: &mut View, subject: Self::Subject, job: &Job, by: Author<'_>) -> Result<(), RetryRefused>;
}

#[derive(Default)]
struct SignedBy {
    /// The version of the account's credentials.
    version: i64,
    /// The name of its session, where the provider wants a login.
    session: Option<String>,
}

/// Runs jobs of one kind.
pub struct CallJobHandler<J: CallJob> {
    pub job: Arc<J>,
    /// Where attempts begin: a lane of its own beside the completions'.
    pub lane: Lane,
    pub exchange: ExchangeClient,
    /// Whose credentials are used.
    pub accounts: Accounts,
    /// Says when calls may be made, and learns what comes of them.
    pub dispatch: Dispatcher,
    /// Keeps files, where such jobs ask for any.
    pub files: Option<Arc<dyn FileKeeper>>,
}

impl<J: CallJob> CallJobHandler<J> {
    fn subject_id<'a>(&self, job: &'a Job) -> Option<&'a str> {
        job.payload.get_str(self.job.subject_field()).ok()
    }

    /// Sends, unless the lease would not outlast the call. The call's time runs from before the look at the lease: a
    /// process that is stopped between the two must not send when it goes on. `signed_by` becomes what the
    /// call is signed by.
    async fn send(&self, begun: &BegunCall<J>, lease: &Lease, signed_by: &mut SignedBy) -> Reply {
        let logged = &begun.logged;
        let permit = &lease.permit;
        if !self.dispatch.wait_to_send(permit).await {
            return Reply::not_sent(NotSent::NoTime);
        }
        let (since, needed) = (Instant::now(), self.exchange.deadline() + LEASE_MARGIN);
        if !lease.outlasts(needed).await || !self.dispatch.holds_place(permit, needed).await {
            return Reply::not_sent(NotSent::NoTime);
        }
        let secrets = match self.secrets(&permit.account_id, signed_by).await {
            Ok(secrets) => secrets,
            Err(error) => {
                tracing::warn!(account = permit.account_id, %error, "credentials can't be read");
                return Reply::not_sent(NotSent::NoTime);
            }
        };
        let Some(credentials) = self.job.provider().sign(&secrets) else {
            return Reply::not_sent(NotSent::NoCredentials);
        };
        crash::point("sending");
        match (self.job.file(&begun.asked), &self.files) {
            (Some(expected), Some(files)) => {
                let mut sink = files.keep(&begun.call);
                self.exchange.fetch(logged, credentials, since, &mut *sink, expected).await
            }
            _ => self.exchange.send(logged, credentials, since).await,
        }
    }

    async fn secrets(&self, account_id: &str, signed_by: &mut SignedBy) -> mongodb::error::Result<AccountSecrets> {
        let mut secrets = self.accounts.secrets(account_id).await?.unwrap_or_default();
        signed_by.version = secrets.version();
        if self.job.provider().log_in().is_some() {
            signed_by.session = self.accounts.sessions.complete(account_id, &mut secrets).await?;
        }
        Ok(secrets)
    }

    /// Whether a call that was refused as signed by that may be signed by something else.
    async fn may_sign_anew(&self, account_id: &str, signed_by: &SignedBy) -> bool {
        if self.accounts.has_newer(account_id, signed_by.version).await {
            return true;
        }
        let Some(session) = &signed_by.session else { return false };
        self.accounts.sessions.refuse(account_id, session).await.unwrap_or(true)
    }

    /// Calls, reads the answer, heeds what it says of the whole account, and prepares the end of the attempt.
    async fn call(&self, job: &Job, subject_id: &str, begun: BegunCall<J>, lease: &Lease) -> CallConcluded<J> {
        crash::point("request_logged");
        let mut signed_by = SignedBy::default();
        let Reply { answer, record } = self.send(&begun, lease, &mut signed_by).await;
        crash::point("answered");
        let operation = begun.logged.outbound().operation;
        let mut outcome = self.job.read(job, subject_id, &begun.asked, &answer);
        if self.job.is_safe_to_repeat(operation) {
            outcome = outcome.or_repeat();
        }
        if let Outcome::Unauthorized(failure) = &outcome
            && self.may_sign_anew(&lease.permit.account_id, &signed_by).await
        {
            // Refused, so not executed, and what signs the next one is something else.
            outcome = Outcome::Retryable(failure.clone(), Retry::Deferred);
        }
        let concluded = CallConcluded {
            call_job: Arc::clone(&self.job),
            subject_id: subject_id.to_owned(),
            call: begun.call,
            asked: begun.asked,
            prefetch: begun.prefetch,
            record,
            outcome,
            response_id: new_id("res"),
            event_id: new_id("evt"),
            jitter: rand::random(),
        };
        metrics::histogram!("waybill_provider_call_seconds",
            "provider" => self.job.provider().name(), "operation" => operation, "outcome" => concluded.verdict().outcome)
        .record(concluded.record.latency_ms as f64 / 1000.0);
        self.dispatch.heed(&lease.permit, subject_id, &answer, &concluded.outcome).await;
        concluded
    }
}

#[async_trait]
impl<J: CallJob> JobHandler for CallJobHandler<J> {
    fn kind(&self) -> &'static str {
        self.job.kind()
    }

    fn queue(&self) -> &'static str {
        self.job.queue().name
    }

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt {
        let Some(subject_id) = self.subject_id(job) else {
            let reason = format!("The payload has no {}.", self.job.subject_field());
            return Attempt::Failed(JobError::new("payload", "queue.unreadable_payload", reason));
        };
        if !self.dispatch.still_serves(&lease.permit) {
            return Attempt::NotBegun;
        }
        if let Err(attempt) = self.ensure_session(job, subject_id, lease).await {
            return attempt;
        }
        let begin = BeginAttempt {
            call_job: Arc::clone(&self.job),
            subject_id: subject_id.to_owned(),
            job_id: job.id.clone(),
            token: lease.token.clone(),
            worker_id: lease.worker_id.clone(),
            account_id: lease.permit.account_id.clone(),
            binds: lease.permit.opens,
            request_ref_id: new_id("req"),
            closing_response_id: new_id("res"),
            event_id: new_id("evt"),
        };
        match self.lane.submit(begin).await {
            Ok(Ok(begun)) => Attempt::Concluded(Box::new(self.call(job, subject_id, *begun, lease).await)),
            Ok(Err(attempt)) => attempt,
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
            return Err(RetryRefused { reason: self.job.gone().1 });
        };
        self.job.revive(view, subject, job, Author { actor, event_id })
    }
}
