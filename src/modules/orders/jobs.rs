//! Both kinds of jobs.

use std::{sync::Arc, time::Duration};

use bson::{DateTime, doc};

use super::{
    CANCEL_KIND, CREATE_KIND, charging,
    commands::{insert_cancel_job, record},
    erasure,
    flow::{
        AtProvider, OrderAnswered, OrderJobKind, cancelled_there, follow, give_up, miss_own_reference, next_step,
        starts_cancel, too_late,
    },
    model::{CancellationStatus, Order, OrderStatus, ProviderSyncStatus},
    polling,
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        audit::{Call, ErrorClass, Verdict},
        kyc::KycGate,
        providers::{
            Accounts, AttemptDecision, Configured, Dispatcher, Failure, Operation, OrderToPlace, Outcome, Placed,
            PlacedOrder, Provider,
            call_handler::CallJobHandler,
            call_job::{self, Author, CallJob, CallSubject, FileKeeper, NextStep},
        },
        queue::{JOBS, Job, JobEnd, JobError, JobHandler, JobState, QueueConfig, RetryRefused, settle_job},
    },
    platform::{
        batch::{Entity, Key, Lane, View},
        clock::Clock,
        exchange::{Answer, ExchangeClient, Expected, Outbound},
        ids::sibling_id,
    },
};

/// Parts that both handlers of a provider share.
pub struct OrderJobs {
    /// Where attempts begin: a lane of its own beside the completions'.
    pub lane: Lane,
    pub exchange: ExchangeClient,
    pub provider: Configured,
    /// Accounts whose credentials are used.
    pub accounts: Accounts,
    /// Says when calls may be made, and learns what comes of them.
    pub dispatch: Dispatcher,
    /// See [`super::SETTLING_DELAY`].
    pub settling_delay: Duration,
    pub clock: Clock,
    /// Keeps out merchants who may not do business.
    pub gate: KycGate,
    pub files: Arc<dyn FileKeeper>,
}

/// The handlers of both kinds.
#[must_use]
pub fn handlers(jobs: OrderJobs) -> Vec<Arc<dyn JobHandler>> {
    let handler = |kind| -> Arc<dyn JobHandler> {
        Arc::new(CallJobHandler {
            job: Arc::new(OrderJob {
                kind,
                at: jobs.provider.clone(),
                settling_delay: jobs.settling_delay,
                clock: jobs.clock.clone(),
                gate: jobs.gate,
            }),
            lane: jobs.lane.clone(),
            exchange: jobs.exchange.clone(),
            accounts: jobs.accounts.clone(),
            dispatch: jobs.dispatch.clone(),
            files: Some(Arc::clone(&jobs.files)),
        })
    };
    vec![handler(OrderJobKind::Create), handler(OrderJobKind::Cancel)]
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderCall {
    pub(super) operation: Operation,
    /// The provider's name for the order, where it is known.
    pub(super) reference: Option<String>,
    /// The file that is asked for is said to be a page.
    pub(super) is_page: bool,
}

impl OrderCall {
    fn of(order: &Order, operation: Operation) -> Self {
        let file = order.followed.as_ref().and_then(|followed| followed.to_fetch.first());
        Self { operation, reference: order.reference.clone(), is_page: file.is_some_and(|file| file.is_page) }
    }
}

/// One of the two kinds.
pub(super) struct OrderJob {
    pub(super) kind: OrderJobKind,
    pub(super) at: Configured,
    pub(super) settling_delay: Duration,
    pub(super) clock: Clock,
    pub(super) gate: KycGate,
}

impl OrderJob {
    /// None where the provider can't be asked so: it does not take such orders, does not take them back, or has no name for
    /// this one.
    pub(super) fn outbound(&self, order: &Order, operation: Operation) -> Option<Outbound> {
        let adapter = &self.at.adapter;
        match operation {
            Operation::Create => adapter.create_request(&OrderToPlace {
                order_id: &order.id,
                client_order_id: &order.client_order_id,
                detail: &order.detail,
            }),
            Operation::Cancel => adapter.cancelling()?.cancel_request(&placed_as(order)),
            Operation::Finish => adapter.finishing()?.finish_request(&placed_as(order)),
            // Before any call of an order, see `providers::LogIn`.
            Operation::LogIn => None,
            Operation::LookUp => Some(adapter.look_up_request(&order.id)),
            Operation::Poll => Some(adapter.polling()?.poll_request(order.reference.as_deref()?)),
            Operation::Fetch => {
                let file = order.followed.as_ref()?.to_fetch.first()?;
                Some(adapter.polling()?.file_request(order.reference.as_deref()?, &file.id))
            }
        }
    }

    /// The next step of the attempt that begins now.
    fn next_step(&self, order: &mut Order) -> NextStep<Operation> {
        let goes_on = self.kind == OrderJobKind::Create && self.at.adapter.polling().is_some();
        match polling::next_call(order).filter(|_| goes_on) {
            Some(operation) => NextStep::Call(operation),
            None => next_step(order, self.kind),
        }
    }

    /// Whether what the provider has is another live order's. The index of claims says so before it is looked for, but for what would be
    /// cancelled, which claims nothing.
    fn is_of_another(&self, view: &View, order: &Order, placed: &Placed) -> bool {
        if placed.unfinished || (!view.collided() && !placed.cancelled) {
            return false;
        }
        let Some(key) = order.reference_key(&placed.reference) else { return false };
        let other = view.find::<Order>(&key);
        other.is_some_and(|other| other.id != order.id && other.unique_keys().contains(&key))
    }

    /// Brings the order back to where it can be sent, which is new business where it had ended.
    fn send_again(&self, view: &mut View, order: &mut Order, by: Author<'_>) -> Result<(), &'static str> {
        if order.cancellation.is_some() {
            return Err("A cancellation was asked for.");
        }
        if order.replaced_by.is_some() {
            return Err("Another order has taken its place.");
        }
        if self.at.adapter.polling().is_some() && order.reference.is_some() {
            // The provider has it, and would not take it again.
            let is_polled = polling::next_call(order).is_some() || polling::resume(order, view.now());
            return is_polled.then_some(()).ok_or("The provider has ended it with an error: it takes a new order.");
        }
        if erasure::is_erased(&order.detail) {
            return Err("The people that it is for were erased: it takes a new order.");
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

fn is_not_asked<T>() -> Outcome<T> {
    Outcome::unknown("provider.is_not_asked", "The provider is not asked for that.")
}

fn placed_as(order: &Order) -> PlacedOrder<'_> {
    PlacedOrder { reference: order.reference.as_deref(), provider_order_id: order.refs.provider_order_id.as_deref() }
}

/// Whether it is about an order that was placed before.
fn is_of_polling(operation: &str) -> bool {
    [Operation::Poll, Operation::Fetch].iter().any(|polling| polling.as_str() == operation)
}

fn about(asked: &OrderCall, verdict: Verdict) -> Verdict {
    Verdict { awb: asked.reference.clone(), ..verdict }
}

/// Closes the dead job of the create: its open question is answered by now.
pub(super) fn settle_dead_create(view: &mut View, order: &Order) {
    let job = view.by_id::<Job>(&order.job_id).filter(|job| job.state == JobState::Dead);
    if let Some(job) = job {
        let result = doc! { "status": order.status.as_str(), "reference": order.reference.clone() };
        settle_job(view, job, &JobEnd::Done { result: Some(result) });
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
    type CallSpec = OrderCall;
    type Done = AtProvider;

    fn kind(&self) -> &'static str {
        match self.kind {
            OrderJobKind::Create => CREATE_KIND,
            OrderJobKind::Cancel => CANCEL_KIND,
        }
    }

    fn queue(&self) -> &QueueConfig {
        match self.kind {
            OrderJobKind::Create => &self.at.create,
            OrderJobKind::Cancel => &self.at.cancel,
        }
    }

    fn provider(&self) -> &dyn Provider {
        &*self.at.adapter
    }

    fn subject_field(&self) -> &'static str {
        "orderId"
    }

    fn gone(&self) -> (&'static str, &'static str) {
        ("orders.gone", "The order is not there.")
    }

    fn concerns(&self, order: &Order) -> CallSubject {
        CallSubject {
            user_id: order.user_id.clone(),
            order_id: Some(order.id.clone()),
            client_order_id: Some(order.client_order_id.clone()),
            resource_id: None,
        }
    }

    fn step(&self, order: &mut Order, _: &Job, _: DateTime) -> NextStep<(Outbound, OrderCall)> {
        match self.next_step(order) {
            NextStep::Call(operation) => match self.outbound(order, operation) {
                Some(outbound) => NextStep::Call((outbound, OrderCall::of(order, operation))),
                None if operation == Operation::Cancel && self.at.adapter.cancelling().is_none() => {
                    NextStep::End(too_late(order))
                }
                None => NextStep::Fail(JobError::new(
                    "internal",
                    "orders.no_request",
                    "The provider can't be asked for this.",
                )),
            },
            NextStep::End(decision) => NextStep::End(decision),
            NextStep::Fail(error) => NextStep::Fail(error),
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
            // The last call of the create.
            OrderJobKind::Create if is_of_polling(&call.operation) => {}
            OrderJobKind::Create => {
                order.provider_request_ref_id = Some(call.request_ref_id.clone());
                order.provider_response_ref_id = None;
            }
            OrderJobKind::Cancel => {
                if let Some(cancellation) = &mut order.cancellation {
                    cancellation.status = CancellationStatus::InProgress;
                    cancellation.request_ref_id = Some(call.request_ref_id.clone());
                    cancellation.response_ref_id = None;
                }
            }
        }
        if call.operation == Operation::Create.as_str() {
            order.account_id = Some(call.account_id.clone());
            order.attempts += 1;
            order.provider_sync_status = ProviderSyncStatus::InProgress;
        }
    }

    fn is_safe_to_repeat(&self, operation: &str) -> bool {
        Operation::ALL.iter().all(|known| known.as_str() != operation || known.is_safe_to_repeat())
    }

    fn is_in_doubt(&self, order: &Order) -> bool {
        order.uncertain.is_some()
    }

    fn unanswered(&self, order: &mut Order, call: &Call, now: DateTime) {
        order.doubt(call, now, false);
    }

    /// An order that was, or may have been, placed with an account can be looked up and cancelled there only.
    fn bound_to<'a>(&self, order: &'a Order) -> Option<&'a str> {
        // Only the account that placed it can poll it.
        let is_polled = self.at.adapter.polling().is_some() && polling::next_call(order).is_some();
        match self.kind {
            OrderJobKind::Create if order.uncertain.is_none() && !order.unfinished && !is_polled => None,
            OrderJobKind::Create | OrderJobKind::Cancel => order.account_id.as_deref(),
        }
    }

    fn pool(&self, order: &Order) -> String {
        order.pool()
    }

    /// The wallet is changed only where the price is given back, and the create's job where it waits for a person.
    fn prefetch(&self, order: &Order) -> Vec<Key> {
        let given_up = self.kind == OrderJobKind::Cancel && order.status == OrderStatus::NeedsAttention;
        let create_job = given_up.then(|| Key::id(JOBS, &*order.job_id));
        charging::hold_key(order).into_iter().chain(create_job).collect()
    }

    fn read(&self, job: &Job, order_id: &str, asked: &OrderCall, answer: &Answer) -> Outcome<AtProvider> {
        let polled = self.at.adapter.polling();
        match asked.operation {
            Operation::Create => {
                let waited_ms = self.clock.now_ms() - job.created_at.timestamp_millis();
                metrics::histogram!("waybill_order_settled_seconds").record(waited_ms.max(0) as f64 / 1000.0);
                self.at.adapter.read_create(order_id, answer).map(AtProvider::Placed)
            }
            Operation::Cancel => match self.at.adapter.cancelling() {
                Some(cancelling) => cancelling.read_cancel(answer).map(|()| AtProvider::Cancelled),
                None => Outcome::unknown("provider.cancels_nothing", "The provider takes nothing back."),
            },
            Operation::LookUp => self
                .at
                .adapter
                .read_look_up(order_id, answer)
                .map(|found| found.map_or(AtProvider::Absent, AtProvider::Placed)),
            Operation::Poll => match (polled, &asked.reference) {
                (Some(polled), Some(reference)) => polled.read_poll(reference, answer).map(AtProvider::Progress),
                _ => is_not_asked(),
            },
            Operation::Fetch => {
                polled.map_or_else(is_not_asked, |polled| polled.read_file(answer).map(AtProvider::Received))
            }
            Operation::Finish => {
                let finishing = self.at.adapter.finishing();
                finishing.map_or_else(is_not_asked, |finishing| finishing.read_finish(answer).map(AtProvider::Placed))
            }
            Operation::LogIn => is_not_asked(),
        }
    }

    fn file(&self, asked: &OrderCall) -> Option<Expected> {
        let polled = self.at.adapter.polling().filter(|_| asked.operation == Operation::Fetch)?;
        Some(Expected { bytes_max: polled.file_bytes_max(), is_page: asked.is_page })
    }

    fn describe(&self, asked: &OrderCall, done: &AtProvider) -> Verdict {
        let with_reference = |verdict, reference: &String| Verdict { awb: Some(reference.clone()), ..verdict };
        match (done, asked.operation) {
            // "Done" says that it is alive there.
            (AtProvider::Placed(placed), Operation::Create) if placed.cancelled => {
                let failure = cancelled_there();
                with_reference(Verdict::failed(ErrorClass::Unknown, failure.code, &failure.message), &placed.reference)
            }
            (AtProvider::Placed(placed), operation) if placed.unfinished => {
                Verdict::done(if operation == Operation::LookUp { "found" } else { "done" })
            }
            (AtProvider::Placed(placed), Operation::Create | Operation::Finish) => {
                with_reference(Verdict::done("done"), &placed.reference)
            }
            (AtProvider::Placed(placed), _) => with_reference(Verdict::done("found"), &placed.reference),
            (AtProvider::Absent, _) => Verdict::done("absent"),
            (AtProvider::Cancelled, _) => Verdict::done("done"),
            (AtProvider::Progress(progress), _) => about(asked, Verdict::done(progress.as_str())),
            (AtProvider::Received(_), _) => about(asked, Verdict::done("received")),
        }
    }

    fn follow(
        &self,
        view: &mut View,
        order: &mut Order,
        answered: &call_job::Answered<'_, OrderCall, AtProvider>,
        _: Author<'_>,
    ) -> AttemptDecision {
        let call_job::Answered { job, call, asked, outcome, timing } = answered;
        let answered = &OrderAnswered { job, call, asked: &asked.operation, outcome, timing: *timing };
        if let Outcome::Done(AtProvider::Placed(placed)) = answered.outcome
            && self.is_of_another(view, order, placed)
        {
            return miss_own_reference(order, self.kind, answered);
        }
        let was_given_up = order.status == OrderStatus::NeedsAttention;
        let decision = match self.at.adapter.polling() {
            Some(polled) => polling::follow(order, self.kind, answered, polled.schedule(), self.settling_delay),
            None => follow(order, self.kind, answered, self.settling_delay),
        };
        if self.kind == OrderJobKind::Cancel && was_given_up && order.status != OrderStatus::NeedsAttention {
            settle_dead_create(view, order);
        }
        decision
    }

    fn give_up(&self, _: &mut View, order: &mut Order, failure: &Failure, _: Author<'_>) -> AttemptDecision {
        if self.kind == OrderJobKind::Create && polling::next_call(order).is_some() {
            return polling::give_up_polling(order, failure, ErrorClass::Unknown);
        }
        give_up(order, self.kind, failure, ErrorClass::Unknown)
    }

    fn write(
        &self,
        view: &mut View,
        mut order: Order,
        decision: &AttemptDecision,
        by: Author<'_>,
    ) -> Option<&'static str> {
        let starts_cancel = starts_cancel(&order, &decision.end);
        if starts_cancel {
            insert_cancel_job(view, &mut order, &self.at.cancel, &sibling_id("job", by.event_id));
        }
        if let Some(event) = decision.event {
            let booked = charging::settle(view, &order, by.event_id, by.actor);
            record(view, by.event_id, event, &mut order, by.actor, booked);
        }
        order.claim_reference();
        // Changed always, so that it can't pass by a cancellation that is being asked for.
        order.updated_at = view.now();
        view.update(&order);
        // What is fetched next need not wait for the worker to look by itself.
        let goes_on = matches!(&decision.end, JobEnd::Next { at } if *at <= view.now());
        let next = goes_on.then_some(self.at.create.name);
        starts_cancel.then_some(self.at.cancel.name).or(next)
    }

    fn revive(&self, view: &mut View, mut order: Order, job: &Job, by: Author<'_>) -> Result<(), RetryRefused> {
        let (revived, event) = match self.kind {
            OrderJobKind::Create => (self.send_again(view, &mut order, by), "OrderResent"),
            OrderJobKind::Cancel => (cancel_again(&mut order, job), "CancellationRequested"),
        };
        revived.map_err(|reason| RetryRefused { reason })?;
        order.updated_at = view.now();
        record(view, by.event_id, event, &mut order, by.actor, None);
        view.update(&order);
        Ok(())
    }
}
