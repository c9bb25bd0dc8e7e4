//! Both kinds of jobs.

use std::{sync::Arc, time::Duration};

use bson::DateTime;

use super::{
    CANCEL_KIND, CREATE_KIND, OrderQueues, charging,
    commands::{insert_cancel_job, record},
    flow::{Answered, AtCarrier, JobKind, cancelled_there, follow, give_up, miss_own_awb, next_step, starts_cancel},
    model::{CancellationStatus, Order, OrderStatus, ProviderSyncStatus},
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        audit::{Call, ErrorClass, Verdict},
        kyc::KycGate,
        providers::{
            AccountWatch, Carrier, Decision, Failure, Operation, OrderToPlace, Outcome, PlacedShipment, Provider,
            call_job::{By, CallJob, CallJobHandler, Concerned, Step},
        },
        queue::{Job, JobError, JobHandler, QueueConfig, RetryRefused},
    },
    platform::{
        batch::{Entity, Key, Lane, View},
        clock::Clock,
        exchange::{Answer, Exchange, Outbound},
        ids::sibling_id,
    },
};

/// What both handlers share.
pub struct OrderJobs {
    /// Where attempts begin: a lane of its own beside the completions'.
    pub lane: Lane,
    /// Sends.
    pub exchange: Exchange,
    /// Speaks the carrier's words.
    pub carrier: Arc<dyn Carrier>,
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
    let handler = |kind| -> Arc<dyn JobHandler> {
        Arc::new(CallJobHandler {
            job: Arc::new(OrderJob {
                kind,
                carrier: Arc::clone(&jobs.carrier),
                queues: jobs.queues.clone(),
                settling_delay: jobs.settling_delay,
                clock: jobs.clock.clone(),
                gate: jobs.gate,
            }),
            lane: jobs.lane.clone(),
            exchange: jobs.exchange.clone(),
            account: jobs.account.clone(),
        })
    };
    vec![handler(JobKind::Create), handler(JobKind::Cancel)]
}

/// One of the two kinds.
pub(super) struct OrderJob {
    pub(super) kind: JobKind,
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) queues: OrderQueues,
    pub(super) settling_delay: Duration,
    pub(super) clock: Clock,
    pub(super) gate: KycGate,
}

impl OrderJob {
    /// None where the shipment to cancel has no number.
    pub(super) fn outbound(&self, order: &Order, operation: Operation) -> Option<Outbound> {
        Some(match operation {
            Operation::Create => self.carrier.create_request(&OrderToPlace {
                order_id: &order.id,
                client_order_id: &order.client_order_id,
                shipment: &order.shipment,
            }),
            Operation::Cancel => self.carrier.cancel_request(order.refs.awb.as_deref()?),
            Operation::LookUp => self.carrier.look_up_request(&order.id),
        })
    }

    /// Whether the shipment is another live order's. The index of claims says so before it is looked for, but for what would be
    /// cancelled, which claims nothing.
    fn is_of_another(&self, view: &View, order: &Order, placed: &PlacedShipment) -> bool {
        if !view.collided() && !placed.cancelled {
            return false;
        }
        let key = Order::awb_key(self.carrier.account_id(), &placed.awb);
        let other = view.find::<Order>(&key);
        other.is_some_and(|other| other.id != order.id && other.unique_keys().contains(&key))
    }

    /// Brings the order back to where it can be sent, which is new business where it had ended.
    fn send_again(&self, view: &mut View, order: &mut Order, by: By<'_>) -> Result<(), &'static str> {
        if order.cancellation.is_some() {
            return Err("A cancellation was asked for.");
        }
        // Looked for together, because what is looked for one after the other is read one after the other.
        for key in charging::keys(order).iter().chain([&self.gate.key(&order.user_id)]) {
            let _ = view.contains(key);
        }
        if order.status != OrderStatus::Created {
            order.status =
                next(order.status, OrderCommand::Resend).ok_or("The order has ended, or the provider has it.")?;
            if self.gate.verify(view, &order.user_id).is_err() {
                return Err("The merchant is suspended, or not verified.");
            }
        }
        if let Some(uncertain) = &mut order.uncertain {
            uncertain.last = false;
        }
        order.provider_sync_status =
            if order.uncertain.is_some() { ProviderSyncStatus::Unknown } else { ProviderSyncStatus::Pending };
        order.failure = None;
        charging::hold_again(view, order, by.event_id, by.actor)
            .map_err(|_| "The merchant's wallet has too little money for it by now.")
    }
}

/// Brings a cancellation back to where `job` can carry it out.
fn cancel_again(order: &mut Order, job: &Job) -> Result<(), &'static str> {
    let Some(cancellation) = &mut order.cancellation else { return Err("No cancellation was asked for.") };
    if cancellation.job_id.as_deref() != Some(&*job.id) || cancellation.status == CancellationStatus::Done {
        return Err("The cancellation has ended, or another job carries it out.");
    }
    cancellation.status = CancellationStatus::Requested;
    cancellation.failure = None;
    next(order.status, OrderCommand::RequestCancel).map(drop).ok_or("The order can't be cancelled any more.")
}

impl CallJob for OrderJob {
    type Subject = Order;
    type Asked = Operation;
    type Done = AtCarrier;

    fn kind(&self) -> &'static str {
        match self.kind {
            JobKind::Create => CREATE_KIND,
            JobKind::Cancel => CANCEL_KIND,
        }
    }

    fn queue(&self) -> &QueueConfig {
        match self.kind {
            JobKind::Create => &self.queues.create,
            JobKind::Cancel => &self.queues.cancel,
        }
    }

    fn provider(&self) -> &dyn Provider {
        &*self.carrier
    }

    fn subject_field(&self) -> &'static str {
        "orderId"
    }

    fn gone(&self) -> (&'static str, &'static str) {
        ("orders.gone", "The order is not there.")
    }

    fn concerns(&self, order: &Order) -> Concerned {
        Concerned {
            user_id: order.user_id.clone(),
            order_id: Some(order.id.clone()),
            client_order_id: Some(order.client_order_id.clone()),
            resource_id: None,
        }
    }

    fn step(&self, order: &mut Order, _: &Job, _: DateTime) -> Step<(Outbound, Operation)> {
        match next_step(order, self.kind) {
            Step::Call(operation) => match self.outbound(order, operation) {
                Some(outbound) => Step::Call((outbound, operation)),
                None => Step::Fail(JobError::new("internal", "orders.no_awb", "The shipment has no number.")),
            },
            Step::End(decision) => Step::End(decision),
            Step::Fail(error) => Step::Fail(error),
        }
    }

    fn open_call<'a>(&self, order: &'a mut Order) -> &'a mut Option<Call> {
        &mut order.open_call
    }

    fn link(&self, order: &mut Order, call: &Call, response_id: Option<&str>, now: DateTime) {
        order.updated_at = now;
        if let Some(id) = response_id {
            order.link_response(&call.request_ref_id, id);
            return;
        }
        match self.kind {
            JobKind::Create => {
                order.provider_request_ref_id = Some(call.request_ref_id.clone());
                order.provider_response_ref_id = None;
            }
            JobKind::Cancel => {
                if let Some(cancellation) = &mut order.cancellation {
                    cancellation.status = CancellationStatus::InProgress;
                    cancellation.request_ref_id = Some(call.request_ref_id.clone());
                    cancellation.response_ref_id = None;
                }
            }
        }
        if call.operation == Operation::Create.as_str() {
            order.attempts += 1;
            order.provider_sync_status = ProviderSyncStatus::InProgress;
        }
    }

    fn is_safe_to_repeat(&self, operation: &str) -> bool {
        operation != Operation::Create.as_str()
    }

    fn is_in_doubt(&self, order: &Order) -> bool {
        order.uncertain.is_some()
    }

    fn unanswered(&self, order: &mut Order, call: &Call, now: DateTime) {
        order.doubt(call, now, false);
    }

    /// The wallet is changed only where the price is given back.
    fn prefetch(&self, order: &Order) -> Vec<Key> {
        charging::hold_key(order).into_iter().collect()
    }

    fn read(&self, job: &Job, order_id: &str, operation: &Operation, answer: &Answer) -> Outcome<AtCarrier> {
        match operation {
            Operation::Create => {
                let waited_ms = self.clock.now_ms() - job.created_at.timestamp_millis();
                metrics::histogram!("waybill_order_settled_seconds").record(waited_ms.max(0) as f64 / 1000.0);
                self.carrier.read_create(order_id, answer).map(AtCarrier::Placed)
            }
            Operation::Cancel => self.carrier.read_cancel(answer).map(|()| AtCarrier::Cancelled),
            Operation::LookUp => self
                .carrier
                .read_look_up(order_id, answer)
                .map(|found| found.map_or(AtCarrier::Absent, AtCarrier::Placed)),
        }
    }

    fn describe(&self, operation: &Operation, done: &AtCarrier) -> Verdict {
        let with_awb = |verdict, awb: &String| Verdict { awb: Some(awb.clone()), ..verdict };
        match (done, operation) {
            // "Done" says that it is alive there.
            (AtCarrier::Placed(placed), Operation::Create) if placed.cancelled => {
                let failure = cancelled_there();
                with_awb(Verdict::failed(ErrorClass::Unknown, failure.code, &failure.message), &placed.awb)
            }
            (AtCarrier::Placed(placed), Operation::Create) => with_awb(Verdict::done("done"), &placed.awb),
            (AtCarrier::Placed(placed), _) => with_awb(Verdict::done("found"), &placed.awb),
            (AtCarrier::Absent, _) => Verdict::done("absent"),
            (AtCarrier::Cancelled, _) => Verdict::done("done"),
        }
    }

    fn follow(&self, view: &mut View, order: &mut Order, answered: &Answered<'_>, _: By<'_>) -> Decision {
        if let Outcome::Done(AtCarrier::Placed(placed)) = answered.outcome
            && self.is_of_another(view, order, placed)
        {
            return miss_own_awb(order, self.kind, answered);
        }
        follow(order, self.kind, answered, self.settling_delay)
    }

    fn give_up(&self, _: &mut View, order: &mut Order, failure: &Failure, _: By<'_>) -> Decision {
        give_up(order, self.kind, failure, ErrorClass::Unknown)
    }

    fn write(&self, view: &mut View, mut order: Order, decision: &Decision, by: By<'_>) -> Option<&'static str> {
        let starts_cancel = starts_cancel(&order, &decision.end);
        if starts_cancel {
            insert_cancel_job(view, &mut order, &self.queues, &sibling_id("job", by.event_id));
        }
        if let Some(event) = decision.event {
            charging::settle(view, &order, by.event_id, by.actor);
            record(view, by.event_id, event, &order, by.actor);
        }
        order.claim_awb(self.carrier.account_id());
        // Changed always, so that it can't pass by a cancellation that is being asked for.
        order.updated_at = view.now();
        view.update(&order);
        starts_cancel.then_some(self.queues.cancel.name)
    }

    fn revive(&self, view: &mut View, mut order: Order, job: &Job, by: By<'_>) -> Result<(), RetryRefused> {
        let (revived, event) = match self.kind {
            JobKind::Create => (self.send_again(view, &mut order, by), "OrderResent"),
            JobKind::Cancel => (cancel_again(&mut order, job), "CancellationRequested"),
        };
        revived.map_err(|reason| RetryRefused { reason })?;
        order.updated_at = view.now();
        record(view, by.event_id, event, &order, by.actor);
        view.update(&order);
        Ok(())
    }
}
