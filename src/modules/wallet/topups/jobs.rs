//! Both kinds of jobs.

use std::sync::Arc;

use async_trait::async_trait;
use bson::DateTime;

use super::{
    CHECK_KIND, START_KIND,
    commands::{credit, record},
    flow::{Circumstances, Errand, Followed, Outcome, follow, give_up, has_to_call, try_again},
    model::Topup,
};
use crate::{
    modules::{
        audit::{Call, ErrorClass, Verdict},
        events::Actor,
        providers::{
            AccountNews, AccountWatch, Failure, Repeat,
            call_job::{Answered, CallJob, CallJobHandler, Concerned, Step},
            paygate::{PayGate, PaymentLookUp, PaymentToStart, StartOutcome},
        },
        queue::{Concluded, Job, JobError, JobHandler, QueueConfig, RetryRefused},
    },
    platform::{
        batch::{Lane, View},
        exchange::{Answer, Credentials, Exchange, Outbound},
        money::Money,
    },
};

const GONE: &str = "The top-up is not there.";

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
    let handler = |errand| -> Arc<dyn JobHandler> {
        let job = TopupJob { errand, gateway: Arc::clone(&jobs.gateway), queue: jobs.queue.clone() };
        Arc::new(CallJobHandler {
            job: Arc::new(job),
            lane: jobs.lane.clone(),
            exchange: jobs.exchange.clone(),
            account: jobs.account.clone(),
        })
    };
    vec![handler(Errand::Start), handler(Errand::Check)]
}

/// One of the two kinds. Both operations are safe to repeat.
pub(super) struct TopupJob {
    pub(super) errand: Errand,
    pub(super) gateway: Arc<PayGate>,
    pub(super) queue: QueueConfig,
}

impl TopupJob {
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
}

#[async_trait]
impl CallJob for TopupJob {
    type Subject = Topup;
    /// What is to be paid.
    type Asked = Money;
    type Outcome = Outcome;

    fn kind(&self) -> &'static str {
        match self.errand {
            Errand::Start => START_KIND,
            Errand::Check => CHECK_KIND,
        }
    }

    fn queue(&self) -> &QueueConfig {
        &self.queue
    }

    fn subject_field(&self) -> &'static str {
        "topupId"
    }

    fn gone(&self) -> JobError {
        JobError::new("payload", "topups.gone", GONE)
    }

    fn gone_reason(&self) -> &'static str {
        GONE
    }

    fn account_id(&self) -> &str {
        self.gateway.account_id()
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        self.gateway.credential_headers()
    }

    async fn credentials(&self) -> Option<Credentials> {
        self.gateway.credentials().await
    }

    fn concerns(&self, topup: &Topup) -> Concerned {
        Concerned { user_id: topup.user_id.clone(), resource_id: Some(topup.id.clone()), ..Concerned::default() }
    }

    fn step(&self, topup: &Topup, _: &Job, now: DateTime) -> Step<Money> {
        if has_to_call(topup, self.errand, now) {
            Step::Call { outbound: self.outbound(topup), asked: topup.money() }
        } else {
            Step::End(Followed::done(topup, None).end)
        }
    }

    fn open_call<'a>(&self, topup: &'a mut Topup) -> &'a mut Option<Call> {
        match self.errand {
            Errand::Start => &mut topup.open_calls.start,
            Errand::Check => &mut topup.open_calls.check,
        }
    }

    /// The top-up shows the latest call of either kind; an answer to an earlier one is in the logs alone.
    fn link(&self, topup: &mut Topup, call: &Call, response_id: Option<&str>, now: DateTime) {
        if response_id.is_none() {
            topup.provider_request_ref_id = Some(call.request_ref_id.clone());
        }
        if topup.provider_request_ref_id.as_deref() == Some(&*call.request_ref_id) {
            topup.provider_response_ref_id = response_id.map(str::to_owned);
        }
        topup.updated_at = now;
    }

    fn read(&self, topup_id: &str, money: &Money, answer: &Answer) -> Outcome {
        match self.errand {
            Errand::Start => Outcome::Start(self.gateway.read_start(topup_id, *money, answer)),
            Errand::Check => Outcome::LookUp(self.gateway.read_look_up(topup_id, *money, answer)),
        }
    }

    fn describe(&self, outcome: &Outcome) -> (Verdict, AccountNews) {
        (verdict(outcome), account_news(outcome))
    }

    fn follow(&self, view: &mut View, mut topup: Topup, answered: &Answered<'_, Self>) -> Concluded {
        let Answered { job, outcome, event_id, actor, .. } = *answered;
        let at = Circumstances { now: view.now(), jitter: answered.jitter, backoff: self.queue.backoff };
        let followed = follow(&mut topup, job, outcome, &at, |topup| credit(view, topup, event_id, actor));
        write_down(view, &topup, followed.event, event_id, actor);
        followed.end.into()
    }

    fn give_up(&self, view: &mut View, mut topup: Topup, error: &JobError, event_id: &str, actor: &Actor) {
        topup.updated_at = view.now();
        let failure = Failure::new("queue.attempts_used_up", &error.message);
        let followed = give_up(&mut topup, self.errand, &failure, ErrorClass::Unknown);
        write_down(view, &topup, followed.event, event_id, actor);
    }

    fn revive(
        &self,
        view: &mut View,
        mut topup: Topup,
        _: &Job,
        actor: &Actor,
        event_id: &str,
    ) -> Result<(), RetryRefused> {
        try_again(&mut topup, self.errand, view.now()).map_err(|reason| RetryRefused { reason })?;
        write_down(view, &topup, Some("TopupRetried"), event_id, actor);
        Ok(())
    }
}

fn write_down(view: &mut View, topup: &Topup, event: Option<&str>, event_id: &str, actor: &Actor) {
    if let Some(kind) = event {
        record(view, event_id, kind, topup, actor);
    }
    view.update(topup);
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
fn verdict(outcome: &Outcome) -> Verdict {
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
