//! The handlers of both kinds of jobs.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    CHECK_KIND, START_KIND,
    attempt::{AttemptFailed, BeginAttempt, Begun, BegunCall, CallConcluded},
    commands::record,
    flow::{Errand, Outcome, try_again},
    model::{TOPUPS, Topup},
};
use crate::{
    modules::{
        audit::{ErrorClass, Verdict},
        events::Actor,
        providers::{
            AccountNews, AccountWatch, Failure, Repeat,
            paygate::{PayGate, PaymentLookUp, StartOutcome},
            send_under_lease,
        },
        queue::{Attempt, Conclusion, Job, JobError, JobHandler, Lease, QueueConfig, RetryRefused},
    },
    platform::{
        batch::{Key, Lane, LaneError, View},
        crash,
        exchange::{Exchange, Reply},
        ids::new_id,
    },
};

/// What both handlers share.
pub struct TopupJobs {
    /// Where attempts begin: a lane of its own beside the completions'.
    pub lane: Lane,
    /// Sends.
    pub exchange: Exchange,
    /// Speaks the gateway's words.
    pub gateway: Arc<PayGate>,
    /// Heeds what an answer says of the whole account.
    pub account: AccountWatch,
    /// [`super::PAYMENTS_QUEUE`].
    pub queue: QueueConfig,
}

/// The handlers of both kinds.
#[must_use]
pub fn handlers(jobs: TopupJobs) -> Vec<Arc<dyn JobHandler>> {
    let jobs = Arc::new(jobs);
    vec![
        Arc::new(TopupHandler { errand: Errand::Start, jobs: Arc::clone(&jobs) }),
        Arc::new(TopupHandler { errand: Errand::Check, jobs }),
    ]
}

struct TopupHandler {
    errand: Errand,
    jobs: Arc<TopupJobs>,
}

fn topup_id(job: &Job) -> Option<&str> {
    job.payload.get_str("topupId").ok()
}

#[async_trait]
impl JobHandler for TopupHandler {
    fn kind(&self) -> &'static str {
        match self.errand {
            Errand::Start => START_KIND,
            Errand::Check => CHECK_KIND,
        }
    }

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt {
        let Some(topup_id) = topup_id(job) else {
            return Attempt::Failed(JobError::new("payload", "topups.no_topup", "The payload names no top-up."));
        };
        let begin = BeginAttempt {
            topup_id: topup_id.to_owned(),
            errand: self.errand,
            job_id: job.id.clone(),
            token: lease.token.clone(),
            worker_id: lease.worker_id.clone(),
            gateway: Arc::clone(&self.jobs.gateway),
            request_ref_id: new_id("req"),
            closing_response_id: new_id("res"),
        };
        match self.jobs.lane.submit(begin).await {
            Ok(Begun::Call(begun)) => {
                crash::point("request_logged");
                let credentials = self.jobs.gateway.credentials();
                let reply = send_under_lease(&self.jobs.exchange, &begun.logged, lease, credentials).await;
                crash::point("answered");
                Attempt::Concluded(Box::new(self.conclude(topup_id, *begun, reply).await))
            }
            Ok(Begun::Settled) => Attempt::Settled,
            Ok(Begun::LeaseLost) => Attempt::LeaseLost,
            Err(LaneError::Busy | LaneError::Away) => Attempt::NotBegun,
            Err(LaneError::Failed(reason)) => Attempt::Failed(JobError::new("internal", "queue.begin_failed", reason)),
        }
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        Some(Box::new(AttemptFailed {
            topup_id: topup_id(job)?.to_owned(),
            errand: self.errand,
            error,
            worker_id: job.lease_owner.clone().unwrap_or_default(),
            closing_response_id: new_id("res"),
            event_id: new_id("evt"),
            jitter: rand::random(),
            queue: self.jobs.queue.clone(),
        }))
    }

    fn revive_reads(&self, _: &View, job: &Job) -> Vec<Key> {
        topup_id(job).map(|id| Key::id(TOPUPS, id)).into_iter().collect()
    }

    fn revive(&self, view: &mut View, job: &Job, actor: &Actor, event_id: &str) -> Result<(), RetryRefused> {
        let Some(mut topup) = topup_id(job).and_then(|id| view.by_id::<Topup>(id)) else {
            return Err(RetryRefused { reason: "The top-up is not there." });
        };
        try_again(&mut topup, self.errand, view.now()).map_err(|reason| RetryRefused { reason })?;
        record(view, event_id, "TopupRetried", &topup, actor);
        view.update(&topup);
        Ok(())
    }
}

impl TopupHandler {
    /// Reads the answer, acts on what concerns the whole account, and prepares the conclusion.
    async fn conclude(&self, topup_id: &str, begun: BegunCall, reply: Reply) -> CallConcluded {
        let BegunCall { call, money, .. } = begun;
        let gateway = &self.jobs.gateway;
        let outcome = match self.errand {
            Errand::Start => Outcome::Start(gateway.read_start(topup_id, money, &reply.answer)),
            Errand::Check => Outcome::LookUp(gateway.read_look_up(topup_id, money, &reply.answer)),
        };
        let verdict = verdict(&outcome);
        metrics::histogram!("waybill_provider_call_seconds",
            "operation" => self.errand.operation(), "outcome" => verdict.outcome)
        .record(reply.record.latency_ms as f64 / 1000.0);
        self.jobs.account.heed(account_news(&outcome)).await;
        CallConcluded {
            topup_id: topup_id.to_owned(),
            errand: self.errand,
            money,
            call,
            record: reply.record,
            outcome,
            verdict,
            response_id: new_id("res"),
            event_id: new_id("evt"),
            jitter: rand::random(),
            queue: self.jobs.queue.clone(),
        }
    }
}

fn account_news(outcome: &Outcome) -> AccountNews {
    match outcome {
        Outcome::Start(StartOutcome::Retryable(_, Repeat::Throttled(wait)))
        | Outcome::LookUp(PaymentLookUp::Failed(_, Repeat::Throttled(wait))) => AccountNews::Throttled(*wait),
        Outcome::Start(StartOutcome::Unauthorized(_)) | Outcome::LookUp(PaymentLookUp::Unauthorized(_)) => {
            AccountNews::Refused
        }
        Outcome::Start(StartOutcome::Started(_) | StartOutcome::Refused(_))
        | Outcome::LookUp(PaymentLookUp::Found(_) | PaymentLookUp::Absent) => AccountNews::Accepted,
        Outcome::Start(StartOutcome::Retryable(..)) | Outcome::LookUp(PaymentLookUp::Failed(..)) => AccountNews::None,
    }
}

/// The outcome in the words of the log.
pub(super) fn verdict(outcome: &Outcome) -> Verdict {
    let (word, failed): (_, Option<(ErrorClass, &Failure)>) = match outcome {
        Outcome::Start(StartOutcome::Started(_)) => ("done", None),
        Outcome::LookUp(PaymentLookUp::Found(_)) => ("found", None),
        Outcome::LookUp(PaymentLookUp::Absent) => ("absent", None),
        Outcome::Start(StartOutcome::Retryable(failure, _)) | Outcome::LookUp(PaymentLookUp::Failed(failure, _)) => {
            ("retryable", Some((ErrorClass::Retryable, failure)))
        }
        Outcome::Start(StartOutcome::Refused(failure) | StartOutcome::Unauthorized(failure))
        | Outcome::LookUp(PaymentLookUp::Unauthorized(failure)) => ("fatal", Some((ErrorClass::Fatal, failure))),
    };
    Verdict {
        outcome: word,
        error_class: failed.map(|(class, _)| class),
        error_code: failed.map(|(_, failure)| failure.code),
        error_message: failed.map(|(_, failure)| failure.message.clone()),
        awb: None,
    }
}
