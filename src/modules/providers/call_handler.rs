//! The handler of every job that calls a provider: runs one attempt around a [`CallJob`].

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;

use super::{
    AccountSecrets, Accounts,
    attempt::{AttemptFailed, BeginAttempt, BegunCall, CallConcluded},
    call_job::{Author, CallJob, FileKeeper},
    dispatch::Dispatcher,
    outcome::{Outcome, Retry},
};
use crate::{
    modules::queue::{Attempt, CALL_MARGIN, Conclusion, Job, JobError, JobHandler, Lease, RetryRefused},
    platform::{
        batch::{Lane, LaneError, View},
        crash,
        exchange::{ExchangeClient, NotSent, Reply},
        identity::Actor,
        ids::new_id,
    },
};

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
    /// Accounts whose credentials are used.
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
        let (since, needed) = (Instant::now(), self.exchange.deadline() + CALL_MARGIN);
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
    async fn can_sign_differently(&self, account_id: &str, signed_by: &SignedBy) -> bool {
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
            && self.can_sign_differently(&lease.permit.account_id, &signed_by).await
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
