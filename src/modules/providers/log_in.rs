//! A login before a call, where the provider gives a token for credentials: on record like any call, one at a time and account.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{
    LogIn, Outcome, Token,
    accounts::{BeginLogIn, BegunLogIn, EndLogIn, ProviderSessionState},
    call_handler::CallJobHandler,
    call_job::CallJob,
    dispatch::is_fault,
    outcome::Retry,
};
use crate::{
    modules::{
        audit::{Call, Verdict},
        queue::{Attempt, Job, Lease},
    },
    platform::{
        exchange::{Credentials, Outbound, Prepared, Reply},
        ids::new_id,
    },
};

/// While another process logs in, it is asked so often whether it has.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Time after a login's deadline before another one may begin.
const SPARE: Duration = Duration::from_secs(5);

impl<J: CallJob> CallJobHandler<J> {
    /// Sees to it that there is a token to call with, where the provider wants one; else the attempt ends so, before it has begun.
    pub(super) async fn ensure_session(&self, job: &Job, subject_id: &str, lease: &Lease) -> Result<(), Attempt> {
        let Some(login) = self.job.provider().log_in() else { return Ok(()) };
        let account_id = lease.permit.account_id.as_str();
        let turn = self.accounts.sessions.turn(account_id);
        let mut ours = None;
        let give_up_at = Instant::now() + 2 * self.exchange.deadline();
        while Instant::now() < give_up_at {
            let Ok(secrets) = self.accounts.secrets(account_id).await else { return Err(Attempt::NotBegun) };
            let secrets = secrets.unwrap_or_default();
            match self.accounts.sessions.state(account_id, secrets.version()).await {
                Ok(ProviderSessionState::Serves) => return Ok(()),
                // One of us renews it; the others go on.
                Ok(ProviderSessionState::Due) if turn.try_lock().is_err() && ours.is_none() => return Ok(()),
                Ok(ProviderSessionState::Due | ProviderSessionState::None) => {}
                Err(_) => return Err(Attempt::NotBegun),
            }
            if ours.is_none() {
                ours = Some(turn.lock().await);
                continue;
            }
            // Without credentials there is nothing to log in with: the call says so.
            let Some(request) = login.log_in_request(&secrets) else { return Ok(()) };
            let version = secrets.version();
            match self.begin_log_in(job, lease, version, &request).await? {
                (BegunLogIn::Logged(logged), call) => {
                    let reply = self.exchange.send(&logged, request.1, Instant::now()).await;
                    return self.end_log_in(login, (subject_id, lease), version, call, reply).await;
                }
                (BegunLogIn::Serves, _) => return Ok(()),
                (BegunLogIn::Busy, _) => sleep(ASK_AGAIN_AFTER).await,
            }
        }
        Err(Attempt::NotBegun)
    }

    async fn begin_log_in(
        &self,
        job: &Job,
        lease: &Lease,
        credentials_version: i64,
        (outbound, credentials): &(Outbound, Credentials),
    ) -> Result<(BegunLogIn, Call), Attempt> {
        let call = Call {
            request_ref_id: new_id("req"),
            order_id: None,
            user_id: String::new(),
            client_order_id: None,
            resource_id: Some(lease.permit.account_id.clone()),
            provider: outbound.provider.into(),
            operation: outbound.operation.into(),
            attempt: job.attempts,
            job_id: job.id.clone(),
            worker_id: lease.worker_id.clone(),
            account_id: lease.permit.account_id.clone(),
            correlation_id: job.correlation_id.clone(),
            sent_at: self.accounts.now(),
        };
        let headers = if credentials.is_empty() { &[] } else { self.job.provider().credential_headers() };
        let begin = BeginLogIn {
            credentials_version,
            prepared: Prepared::new(outbound.clone(), headers),
            call: call.clone(),
            closing_response_id: new_id("res"),
            patience: self.exchange.deadline() + SPARE,
        };
        match self.lane.submit(begin).await {
            Ok(begun) => Ok((begun, call)),
            Err(_) => Err(Attempt::NotBegun),
        }
    }

    /// Ends a login: a refusal holds for the account, an unclear answer holds it up.
    async fn end_log_in(
        &self,
        login: &dyn LogIn,
        (subject_id, lease): (&str, &Lease),
        credentials_version: i64,
        call: Call,
        Reply { answer, record }: Reply,
    ) -> Result<(), Attempt> {
        let account_id = lease.permit.account_id.as_str();
        let outcome = login.read_log_in(&answer);
        let token = match &outcome {
            Outcome::Done(token) => Some(self.accounts.sessions.seal(account_id, token)),
            _ => None,
        };
        let verdict = outcome.verdict(|_: &Token| Verdict::done("done"));
        let end = EndLogIn { call, credentials_version, record, verdict, response_id: new_id("res"), token };
        // In vain, somebody logs in again.
        let written = self.lane.submit(end).await.is_ok();
        let said: Outcome<()> = match outcome {
            Outcome::Done(_) => return if written { Ok(()) } else { Err(Attempt::NotBegun) },
            Outcome::Refused(_) | Outcome::Unauthorized(_)
                if self.accounts.has_newer(account_id, credentials_version).await =>
            {
                return Err(Attempt::NotBegun);
            }
            Outcome::Refused(failure) | Outcome::Unauthorized(failure) => Outcome::Unauthorized(failure),
            Outcome::Retryable(failure, how) if is_fault(&answer) => Outcome::Retryable(failure, how),
            Outcome::Unknown(failure) if is_fault(&answer) => Outcome::Unknown(failure),
            Outcome::Retryable(failure, how @ Retry::Throttled(_)) => Outcome::Retryable(failure, how),
            // Without a token there is nothing to call with.
            Outcome::Retryable(failure, _) | Outcome::Unknown(failure) => {
                Outcome::Retryable(failure, Retry::Throttled(Duration::ZERO))
            }
        };
        self.dispatch.heed(&lease.permit, subject_id, &answer, &said).await;
        // A token that is still good does until then.
        match self.accounts.sessions.state(account_id, credentials_version).await {
            Ok(ProviderSessionState::Serves | ProviderSessionState::Due) => Ok(()),
            _ => Err(Attempt::NotBegun),
        }
    }
}
