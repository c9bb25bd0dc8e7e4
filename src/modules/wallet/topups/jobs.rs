//! The jobs that start payments and look them up.

use std::sync::Arc;

use bson::DateTime;

use super::{
    CHECK_KIND, START_KIND,
    commands::{record, write},
    flow::{PaymentAnswered, PaymentJobKind, done, follow, give_up, has_to_call, try_again},
    model::Topup,
    payee::Payees,
    refunds::RefundJob,
};
use crate::{
    modules::{
        audit::{Call, ErrorClass, Verdict},
        providers::{
            Accounts, AttemptDecision, Dispatcher, Failure, Outcome, Provider,
            call_handler::CallJobHandler,
            call_job::{Author, CallJob, CallSubject, NextStep},
            payments::{GatewayPayment, PaymentGateway, PaymentToStart},
        },
        queue::{Job, JobHandler, QueueConfig, RetryRefused},
    },
    platform::{
        batch::{Lane, View},
        exchange::{Answer, ExchangeClient, Outbound},
        ids::readable_number,
        money::Money,
    },
};

/// Parts that all handlers share.
pub struct TopupJobs {
    /// Where attempts begin: a lane of its own beside the completions'.
    pub lane: Lane,
    pub exchange: ExchangeClient,
    /// Speaks the gateway's words.
    pub gateway: Arc<dyn PaymentGateway>,
    /// Accounts whose credentials are used.
    pub accounts: Accounts,
    /// Says when calls may be made, and learns what comes of them.
    pub dispatch: Dispatcher,
    /// [`super::PAYMENTS_QUEUE`].
    pub queue: QueueConfig,
    pub payees: Payees,
}

#[must_use]
pub fn handlers(jobs: TopupJobs) -> Vec<Arc<dyn JobHandler>> {
    let (gateway, queue, payees) = (&jobs.gateway, &jobs.queue, &jobs.payees);
    let topup = |kind| TopupJob { kind, gateway: Arc::clone(gateway), queue: queue.clone(), payees: payees.clone() };
    let refund = RefundJob { gateway: Arc::clone(gateway), queue: queue.clone(), payees: payees.clone() };
    vec![jobs.handler(topup(PaymentJobKind::Start)), jobs.handler(topup(PaymentJobKind::Check)), jobs.handler(refund)]
}

impl TopupJobs {
    fn handler(&self, job: impl CallJob) -> Arc<dyn JobHandler> {
        Arc::new(CallJobHandler {
            job: Arc::new(job),
            lane: self.lane.clone(),
            exchange: self.exchange.clone(),
            accounts: self.accounts.clone(),
            dispatch: self.dispatch.clone(),
            files: None,
        })
    }
}

/// One of the two kinds. Both operations are safe to repeat.
pub(super) struct TopupJob {
    pub(super) kind: PaymentJobKind,
    pub(super) gateway: Arc<dyn PaymentGateway>,
    pub(super) queue: QueueConfig,
    pub(super) payees: Payees,
}

impl TopupJob {
    fn outbound(&self, topup: &Topup) -> Outbound {
        match self.kind {
            PaymentJobKind::Start => self.gateway.start_request(&PaymentToStart {
                reference: &topup.id,
                amount: topup.money(),
                description: &match &topup.checkout_id {
                    Some(checkout_id) => format!("Order {}", readable_number(checkout_id)),
                    None => format!("Wallet top-up {}", topup.client_topup_id),
                },
                expires_at: topup.expires_at,
            }),
            PaymentJobKind::Check => self.gateway.look_up_request(&topup.id),
        }
    }
}

impl CallJob for TopupJob {
    type Subject = Topup;
    type CallSpec = Money;
    /// None where the gateway has no such payment.
    type Done = Option<GatewayPayment>;

    fn kind(&self) -> &'static str {
        match self.kind {
            PaymentJobKind::Start => START_KIND,
            PaymentJobKind::Check => CHECK_KIND,
        }
    }

    fn queue(&self) -> &QueueConfig {
        &self.queue
    }

    fn provider(&self) -> &dyn Provider {
        &*self.gateway
    }

    fn subject_field(&self) -> &'static str {
        "topupId"
    }

    fn gone(&self) -> (&'static str, &'static str) {
        ("topups.gone", "The top-up is not there.")
    }

    fn concerns(&self, topup: &Topup) -> CallSubject {
        CallSubject { user_id: topup.user_id.clone(), resource_id: Some(topup.id.clone()), ..CallSubject::default() }
    }

    fn step(&self, topup: &mut Topup, _: &Job, now: DateTime) -> NextStep<(Outbound, Money)> {
        if has_to_call(topup, self.kind, now) {
            NextStep::Call((self.outbound(topup), topup.money()))
        } else {
            NextStep::End(done(topup, None))
        }
    }

    fn open_call<'a>(&self, topup: &'a mut Topup) -> &'a mut Option<Call> {
        match self.kind {
            PaymentJobKind::Start => &mut topup.open_calls.start,
            PaymentJobKind::Check => &mut topup.open_calls.check,
        }
    }

    /// The top-up shows the latest call of either kind; an answer to an earlier one is in the logs alone.
    fn link(&self, topup: &mut Topup, call: &Call, response_id: Option<&str>, now: DateTime) {
        topup.link(call, response_id, now);
    }

    fn read(&self, _: &Job, topup_id: &str, money: &Money, answer: &Answer) -> Outcome<Option<GatewayPayment>> {
        match self.kind {
            PaymentJobKind::Start => self.gateway.read_start(topup_id, *money, answer).map(Some),
            PaymentJobKind::Check => self.gateway.read_look_up(topup_id, *money, answer),
        }
    }

    fn describe(&self, _: &Money, payment: &Option<GatewayPayment>) -> Verdict {
        Verdict::done(match (payment, self.kind) {
            (None, _) => "absent",
            (Some(_), PaymentJobKind::Start) => "done",
            (Some(_), PaymentJobKind::Check) => "found",
        })
    }

    fn follow(
        &self,
        view: &mut View,
        topup: &mut Topup,
        answered: &PaymentAnswered<'_>,
        by: Author<'_>,
    ) -> AttemptDecision {
        let payee = self.payees.of(topup);
        follow(topup, self.kind, answered, |topup| payee.receive(view, topup, by))
    }

    fn give_up(&self, view: &mut View, topup: &mut Topup, failure: &Failure, _: Author<'_>) -> AttemptDecision {
        give_up(topup, self.kind, failure, ErrorClass::Unknown, view.now())
    }

    fn write(&self, view: &mut View, topup: Topup, decision: &AttemptDecision, by: Author<'_>) -> Option<&'static str> {
        write(view, topup, decision, &self.payees, by)
    }

    fn revive(&self, view: &mut View, mut topup: Topup, _: &Job, by: Author<'_>) -> Result<(), RetryRefused> {
        try_again(&mut topup, self.kind, view.now()).map_err(|reason| RetryRefused { reason })?;
        record(view, by.event_id, "TopupRetried", &mut topup, by.actor);
        view.update(&topup);
        Ok(())
    }
}
