//! The handlers of the two queues.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    CANCEL_KIND, CREATE_KIND, OrderQueues,
    attempt::{AttemptFailed, BeginAttempt, Begun, BegunCall, CallConcluded},
    charging,
    charging::ChargeKeys,
    flow::{Errand, Outcome},
    model::{CancellationStatus, Order, OrderStatus, ProviderSyncStatus},
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        audit::{Call, ErrorClass, Verdict},
        events::Actor,
        kyc::KycGate,
        providers::{
            AccountNews, AccountWatch, CancelOutcome, CreateOutcome, Failure, LookUpOutcome, Operation, Provider,
            Repeat, send_under_lease,
        },
        queue::{Attempt, Conclusion, Job, JobError, JobHandler, Lease, RetryRefused},
    },
    platform::{
        batch::{Lane, LaneError, View},
        clock::Clock,
        crash,
        exchange::{Exchange, Reply},
        ids::new_id,
    },
};

/// What both handlers share.
pub struct OrderJobs {
    /// Where attempts begin: a lane of its own beside the completions'.
    pub lane: Lane,
    /// Sends.
    pub exchange: Exchange,
    /// Speaks the carrier's words.
    pub provider: Arc<dyn Provider>,
    /// Heeds what an answer says of the whole account.
    pub account: AccountWatch,
    /// The two queues.
    pub queues: OrderQueues,
    /// See [`super::SETTLING_DELAY`].
    pub settling_delay: Duration,
    /// Time.
    pub clock: Clock,
    /// Keeps out merchants who may not do business.
    pub gate: KycGate,
}

/// The handlers of both kinds.
#[must_use]
pub fn handlers(jobs: OrderJobs) -> Vec<Arc<dyn JobHandler>> {
    let jobs = Arc::new(jobs);
    vec![
        Arc::new(OrderHandler { errand: Errand::Create, jobs: Arc::clone(&jobs) }),
        Arc::new(OrderHandler { errand: Errand::Cancel, jobs }),
    ]
}

struct OrderHandler {
    errand: Errand,
    jobs: Arc<OrderJobs>,
}

fn order_id(job: &Job) -> Option<&str> {
    job.payload.get_str("orderId").ok()
}

#[async_trait]
impl JobHandler for OrderHandler {
    fn kind(&self) -> &'static str {
        match self.errand {
            Errand::Create => CREATE_KIND,
            Errand::Cancel => CANCEL_KIND,
        }
    }

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt {
        let Some(order_id) = order_id(job) else {
            return Attempt::Failed(JobError::new("payload", "orders.no_order", "The payload names no order."));
        };
        let begin = BeginAttempt {
            order_id: order_id.to_owned(),
            errand: self.errand,
            job_id: job.id.clone(),
            token: lease.token.clone(),
            worker_id: lease.worker_id.clone(),
            provider: Arc::clone(&self.jobs.provider),
            queues: self.jobs.queues.clone(),
            request_ref_id: new_id("req"),
            closing_response_id: new_id("res"),
            cancel_job_id: new_id("job"),
            event_id: new_id("evt"),
        };
        match self.jobs.lane.submit(begin).await {
            Ok(Begun::Call(begun)) => {
                let BegunCall { logged, call, operation, order_created_at, charge } = *begun;
                crash::point("request_logged");
                let credentials = self.jobs.provider.credentials();
                let reply = send_under_lease(&self.jobs.exchange, &logged, lease, credentials).await;
                crash::point("answered");
                let waited_ms = self.jobs.clock.now_ms() - order_created_at.timestamp_millis();
                if operation == Operation::Create {
                    metrics::histogram!("waybill_order_settled_seconds").record(waited_ms.max(0) as f64 / 1000.0);
                }
                Attempt::Concluded(Box::new(self.jobs.conclude(self.errand, call, charge, operation, reply).await))
            }
            Ok(Begun::Settled) => Attempt::Settled,
            Ok(Begun::LeaseLost) => Attempt::LeaseLost,
            Err(LaneError::Busy | LaneError::Away) => Attempt::NotBegun,
            Err(LaneError::Failed(reason)) => Attempt::Failed(JobError::new("internal", "queue.begin_failed", reason)),
        }
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        Some(Box::new(AttemptFailed {
            order_id: order_id(job)?.to_owned(),
            errand: self.errand,
            error,
            worker_id: job.lease_owner.clone().unwrap_or_default(),
            closing_response_id: new_id("res"),
            cancel_job_id: new_id("job"),
            event_id: new_id("evt"),
            jitter: rand::random(),
            queues: self.jobs.queues.clone(),
        }))
    }

    fn revive(&self, view: &mut View, job: &Job, actor: &Actor, event_id: &str) -> Result<(), RetryRefused> {
        let refused = |reason| Err(RetryRefused { reason });
        let Some(mut order) = order_id(job).and_then(|id| view.by_id::<Order>(id)) else {
            return refused("The order is not there.");
        };
        match self.errand {
            Errand::Create => {
                if order.cancellation.is_some() {
                    return refused("A cancellation was asked for.");
                }
                if order.status != OrderStatus::Created {
                    let Some(status) = next(order.status, OrderCommand::Resend) else {
                        return refused("The order has ended, or the provider has it.");
                    };
                    // To send it is new business.
                    if self.jobs.gate.verify(view, &order.user_id).is_err() {
                        return refused("The merchant is suspended, or not verified.");
                    }
                    order.status = status;
                }
                if let Some(uncertain) = &mut order.uncertain {
                    uncertain.last = false;
                }
                order.provider_sync_status =
                    if order.uncertain.is_some() { ProviderSyncStatus::Unknown } else { ProviderSyncStatus::Pending };
                order.failure = None;
                order.updated_at = view.now();
                if charging::hold_again(view, &mut order, event_id, actor).is_err() {
                    return refused("The merchant's wallet has too little money for it by now.");
                }
                super::commands::record(view, event_id, "OrderResent", &order, actor);
            }
            Errand::Cancel => {
                let Some(cancellation) = &mut order.cancellation else {
                    return refused("No cancellation was asked for.");
                };
                let ended =
                    matches!(cancellation.status, CancellationStatus::Refused | CancellationStatus::NeedsAttention);
                let pending =
                    matches!(cancellation.status, CancellationStatus::Requested | CancellationStatus::InProgress);
                if cancellation.job_id.as_deref() != Some(&*job.id) || !(ended || pending) {
                    return refused("The cancellation has ended, or another job carries it out.");
                }
                cancellation.status = CancellationStatus::Requested;
                cancellation.failure = None;
                if next(order.status, OrderCommand::RequestCancel).is_none() {
                    return refused("The order can't be cancelled any more.");
                }
                order.updated_at = view.now();
                super::commands::record(view, event_id, "CancellationRequested", &order, actor);
            }
        }
        view.update(&order);
        Ok(())
    }
}

impl OrderJobs {
    /// Reads the answer, acts on what concerns the whole account, and prepares the conclusion.
    async fn conclude(
        &self,
        errand: Errand,
        call: Call,
        charge: Option<ChargeKeys>,
        operation: Operation,
        reply: Reply,
    ) -> CallConcluded {
        let order_id = call.order_id.clone().unwrap_or_default();
        let outcome = match operation {
            Operation::Create => Outcome::Create(self.provider.read_create(&order_id, &reply.answer)),
            Operation::Cancel => Outcome::Cancel(self.provider.read_cancel(&reply.answer)),
            Operation::LookUp => Outcome::LookUp(self.provider.read_look_up(&order_id, &reply.answer)),
        };
        let verdict = verdict(&outcome);
        metrics::histogram!("waybill_provider_call_seconds",
            "operation" => operation.as_str(), "outcome" => verdict.outcome)
        .record(reply.record.latency_ms as f64 / 1000.0);
        self.account.heed(account_news(&outcome)).await;
        CallConcluded {
            order_id,
            errand,
            record: reply.record,
            outcome,
            verdict,
            charge,
            response_id: new_id("res"),
            cancel_job_id: new_id("job"),
            event_id: new_id("evt"),
            jitter: rand::random(),
            settling_delay: self.settling_delay,
            queues: self.queues.clone(),
            call,
        }
    }
}

fn account_news(outcome: &Outcome) -> AccountNews {
    match outcome {
        Outcome::Create(CreateOutcome::Retryable(_, Repeat::Throttled(wait)))
        | Outcome::Cancel(CancelOutcome::Retryable(_, Repeat::Throttled(wait)))
        | Outcome::LookUp(LookUpOutcome::Failed(_, Repeat::Throttled(wait))) => AccountNews::Throttled(*wait),
        Outcome::Create(CreateOutcome::Unauthorized(_))
        | Outcome::Cancel(CancelOutcome::Unauthorized(_))
        | Outcome::LookUp(LookUpOutcome::Unauthorized(_)) => AccountNews::Refused,
        Outcome::Create(CreateOutcome::Placed(_) | CreateOutcome::Refused(_))
        | Outcome::Cancel(CancelOutcome::Cancelled | CancelOutcome::Refused(_))
        | Outcome::LookUp(LookUpOutcome::Found(_) | LookUpOutcome::Absent) => AccountNews::Accepted,
        Outcome::Create(CreateOutcome::Retryable(..) | CreateOutcome::Unknown(_))
        | Outcome::Cancel(CancelOutcome::Retryable(..))
        | Outcome::LookUp(LookUpOutcome::Failed(..)) => AccountNews::None,
    }
}

/// The outcome in the words of the log.
fn verdict(outcome: &Outcome) -> Verdict {
    let failed = |outcome, class, failure: &Failure| Verdict {
        outcome,
        error_class: Some(class),
        error_code: Some(failure.code),
        error_message: Some(failure.message.clone()),
        awb: None,
    };
    let well = |outcome, awb: Option<&str>| Verdict {
        outcome,
        error_class: None,
        error_code: None,
        error_message: None,
        awb: awb.map(str::to_owned),
    };
    match outcome {
        // "Done" says that it is alive there.
        Outcome::Create(CreateOutcome::Placed(placed)) if placed.cancelled => {
            let failure = super::flow::cancelled_there();
            Verdict { awb: Some(placed.awb.clone()), ..failed("unknown", ErrorClass::Unknown, &failure) }
        }
        Outcome::Create(CreateOutcome::Placed(placed)) => well("done", Some(&placed.awb)),
        Outcome::Cancel(CancelOutcome::Cancelled) => well("done", None),
        Outcome::LookUp(LookUpOutcome::Found(placed)) => well("found", Some(&placed.awb)),
        Outcome::LookUp(LookUpOutcome::Absent) => well("absent", None),
        Outcome::Create(CreateOutcome::Retryable(failure, _))
        | Outcome::Cancel(CancelOutcome::Retryable(failure, _))
        | Outcome::LookUp(LookUpOutcome::Failed(failure, _)) => failed("retryable", ErrorClass::Retryable, failure),
        Outcome::Create(CreateOutcome::Unknown(failure)) => failed("unknown", ErrorClass::Unknown, failure),
        Outcome::Create(CreateOutcome::Refused(failure) | CreateOutcome::Unauthorized(failure))
        | Outcome::Cancel(CancelOutcome::Refused(failure) | CancelOutcome::Unauthorized(failure))
        | Outcome::LookUp(LookUpOutcome::Unauthorized(failure)) => failed("fatal", ErrorClass::Fatal, failure),
    }
}
