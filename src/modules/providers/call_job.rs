//! Jobs that call a provider, at most once per attempt: one skeleton for all of them.
//!
//! An attempt begins in one transaction (what a dead worker left open is closed, the step is decided, its request is on
//! record), calls, and ends in another (the answer is on record, with what follows from it). The skeleton owns leases,
//! logs, open calls and the class of what was not answered; a kind of jobs says what to ask, what an answer means and
//! what follows.

use bson::DateTime;

use super::{
    Provider,
    outcome::{AttemptDecision, Failure, Outcome, Timing},
};
use crate::{
    modules::{
        audit::{Call, Verdict},
        queue::{Job, JobError, QueueConfig, RetryRefused},
    },
    platform::{
        batch::{Entity, Key, View},
        exchange::{Answer, Expected, FileSink, Outbound},
        identity::Actor,
    },
};

pub use super::attempt::{AttemptFailed, BeginAttempt, BegunCall, CallConcluded};

/// The next step of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum NextStep<C> {
    Call(C),
    /// Nothing more: the job ends so.
    End(AttemptDecision),
    /// It can't be done here and now: the attempt has failed.
    Fail(JobError),
}

/// User and order that a call concerns, for its logs.
#[derive(Clone, Debug, Default)]
pub struct CallSubject {
    pub user_id: String,
    pub order_id: Option<String>,
    /// The merchant's name for that.
    pub client_order_id: Option<String>,
    /// The subject, where it is no order.
    pub resource_id: Option<String>,
}

/// An answer, with what a decision about it needs besides its subject.
#[derive(Debug)]
pub struct Answered<'a, A, D> {
    /// The job as the attempt found it.
    pub job: &'a Job,
    pub call: &'a Call,
    pub asked: &'a A,
    /// The meaning of the answer.
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
    /// The call's details, which reading the answer needs.
    type CallSpec: Clone + Send + Sync + 'static;
    /// The content of a successful answer.
    type Done: Send + Sync + 'static;

    fn kind(&self) -> &'static str;

    fn queue(&self) -> &QueueConfig;

    fn provider(&self) -> &dyn Provider;

    fn subject_field(&self) -> &'static str;

    /// Code and sentence for a job whose subject is not there.
    fn gone(&self) -> (&'static str, &'static str);

    /// User and order that its calls concern.
    fn concerns(&self, subject: &Self::Subject) -> CallSubject;

    /// The next step of an attempt; changes the subject where it ends without a call.
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

    /// Keys of documents that the answer will change besides job and subject, as far as known: they are read with them.
    fn prefetch(&self, _subject: &Self::Subject) -> Vec<Key> {
        Vec::new()
    }

    fn read(&self, job: &Job, subject_id: &str, asked: &Self::CallSpec, answer: &Answer) -> Outcome<Self::Done>;

    fn file(&self, _asked: &Self::CallSpec) -> Option<Expected> {
        None
    }

    /// A success, as it is logged.
    fn describe(&self, asked: &Self::CallSpec, done: &Self::Done) -> Verdict;

    /// Decides by an answer; changes the subject.
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
