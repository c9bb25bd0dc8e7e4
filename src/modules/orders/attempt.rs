//! What a worker decides: how an attempt begins, and how it ends.

use std::sync::Arc;

use bson::DateTime;

use super::{
    OrderQueues, charging,
    charging::ChargeKeys,
    commands::{insert_cancel_job, record},
    flow::{Circumstances, Errand, Followed, Outcome, Step, cancel_unplaced, follow, give_up, next_step, too_late},
    model::{ORDERS, Order, ProviderSyncStatus, Uncertain},
};
use crate::{
    modules::{
        audit::{self, Call, ErrorClass, ProviderResponseLog},
        events::Actor,
        providers::{Failure, Operation, OrderToPlace, Provider},
        queue::{Concluded, Conclusion, JOBS, Job, JobEnd, JobError, QueueConfig, holds_lease, settle_job},
    },
    platform::{
        batch::{Command, Key, View},
        exchange::{Logged, Outbound, Prepared, ResponseRecord},
    },
};

/// Begins an attempt: closes what a dead worker left open, decides the step, and logs the request.
pub(super) struct BeginAttempt {
    pub(super) order_id: String,
    pub(super) errand: Errand,
    pub(super) job_id: String,
    pub(super) token: String,
    pub(super) worker_id: String,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) queues: OrderQueues,
    pub(super) request_ref_id: String,
    pub(super) closing_response_id: String,
    pub(super) cancel_job_id: String,
    pub(super) event_id: String,
}

/// How an attempt begins.
pub(super) enum Begun {
    /// With a call, whose log is durable.
    Call(Box<BegunCall>),
    /// It ended without one.
    Settled,
    /// Somebody else has the job.
    LeaseLost,
}

/// A call that may be sent.
pub(super) struct BegunCall {
    pub(super) logged: Logged,
    pub(super) call: Call,
    pub(super) operation: Operation,
    pub(super) order_created_at: DateTime,
    pub(super) charge: Option<ChargeKeys>,
}

impl BeginAttempt {
    fn settle(&self, view: &mut View, mut order: Order, job: Job, followed: &Followed) -> Begun {
        order.updated_at = view.now();
        conclude_order(view, &mut order, followed, &self.queues, &self.cancel_job_id, &self.event_id, &self.worker_id);
        settle_job(view, job, &followed.end);
        Begun::Settled
    }

    fn outbound(&self, order: &Order, operation: Operation) -> Outbound {
        match operation {
            Operation::Create => self.provider.create_request(&OrderToPlace {
                order_id: &order.id,
                client_order_id: &order.client_order_id,
                shipment: &order.shipment,
            }),
            Operation::Cancel => self.provider.cancel_request(order.refs.awb.as_deref().unwrap_or_default()),
            Operation::LookUp => self.provider.look_up_request(&order.id),
        }
    }

    fn begin_call(&self, view: &mut View, mut order: Order, job: &Job, operation: Operation) -> Begun {
        let prepared = Prepared::new(self.outbound(&order, operation), self.provider.credential_headers());
        let (order_created_at, charge) = (order.created_at, ChargeKeys::of(&order));
        if let Some(call) = order.open_call.as_ref().filter(|call| call.request_ref_id == self.request_ref_id) {
            // An earlier run of this very transaction was committed after all.
            let (logged, call) = (audit::recorded_before(prepared), call.clone());
            return Begun::Call(Box::new(BegunCall { logged, call, operation, order_created_at, charge }));
        }
        let call = Call {
            request_ref_id: self.request_ref_id.clone(),
            order_id: Some(order.id.clone()),
            user_id: order.user_id.clone(),
            client_order_id: Some(order.client_order_id.clone()),
            resource_id: None,
            provider: order.provider.clone(),
            operation: operation.as_str().into(),
            attempt: job.attempts,
            job_id: job.id.clone(),
            worker_id: self.worker_id.clone(),
            account_id: self.provider.account_id().to_owned(),
            correlation_id: job.correlation_id.clone(),
            sent_at: view.now(),
        };
        let logged = audit::record_request(view, &call, prepared);
        begin_on_order(&mut order, self.errand, operation, &call);
        order.updated_at = view.now();
        view.update(&order);
        Begun::Call(Box::new(BegunCall { logged, call, operation, order_created_at, charge }))
    }
}

impl Command for BeginAttempt {
    type Reply = Begun;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(JOBS, &*self.job_id), Key::id(ORDERS, &*self.order_id)]
    }

    fn decide(&self, view: &mut View) -> Begun {
        let Some(job) = view.by_id::<Job>(&self.job_id) else { return Begun::LeaseLost };
        if job.ended_by.as_deref() == Some(&*self.token) {
            return Begun::Settled;
        }
        if !holds_lease(&job, &self.token) {
            return Begun::LeaseLost;
        }
        let Some(mut order) = view.by_id::<Order>(&self.order_id) else {
            let error = JobError::new("payload", "orders.gone", "The order is not there.");
            settle_job(view, job, &JobEnd::Dead { error });
            return Begun::Settled;
        };
        let begun_before = order.open_call.as_ref().is_some_and(|call| call.request_ref_id == self.request_ref_id);
        if begun_before {
            let operation = order.open_call.as_ref().and_then(|call| operation_named(&call.operation));
            return self.begin_call(view, order, &job, operation.unwrap_or(Operation::LookUp));
        }
        close_open_call(view, &mut order, &self.closing_response_id);
        match next_step(&order, self.errand) {
            Step::Call(operation) => self.begin_call(view, order, &job, operation),
            Step::CancelUnplaced => {
                let followed = cancel_unplaced(&mut order);
                let actor = Actor::worker(&self.worker_id, &order.correlation_id);
                charging::settle(view, &order, &self.event_id, &actor);
                self.settle(view, order, job, &followed)
            }
            Step::TooLate => {
                let followed = too_late(&mut order);
                self.settle(view, order, job, &followed)
            }
            Step::Nothing => {
                let followed = Followed { end: JobEnd::Done { result: None }, event: None, start_cancel: false };
                self.settle(view, order, job, &followed)
            }
        }
    }
}

fn operation_named(name: &str) -> Option<Operation> {
    Operation::ALL.into_iter().find(|operation| operation.as_str() == name)
}

/// Notes on the order that a call is under way.
fn begin_on_order(order: &mut Order, errand: Errand, operation: Operation, call: &Call) {
    order.open_call = Some(call.clone());
    match errand {
        Errand::Create => {
            order.provider_request_ref_id = Some(call.request_ref_id.clone());
            order.provider_response_ref_id = None;
        }
        Errand::Cancel => {
            if let Some(cancellation) = &mut order.cancellation {
                cancellation.status = super::model::CancellationStatus::InProgress;
                cancellation.request_ref_id = Some(call.request_ref_id.clone());
                cancellation.response_ref_id = None;
            }
        }
    }
    if operation == Operation::Create {
        order.attempts += 1;
        order.provider_sync_status = ProviderSyncStatus::InProgress;
    }
}

/// Writes down that a call which a dead worker left open has no answer. A create that was left open may have been
/// executed.
fn close_open_call(view: &mut View, order: &mut Order, response_id: &str) {
    let Some(call) = order.open_call.take() else { return };
    let now = view.now();
    let is_create = call.operation == Operation::Create.as_str();
    let class = if is_create { ErrorClass::Unknown } else { ErrorClass::Retryable };
    audit::record_response(view, &ProviderResponseLog::without_answer(response_id.to_owned(), &call, class, now));
    note_response(order, &call, response_id);
    if is_create {
        order.provider_sync_status = ProviderSyncStatus::Unknown;
        order.uncertain = Some(Uncertain { request_ref_id: call.request_ref_id, since: now, last: false });
    }
    order.updated_at = now;
    view.update(&*order);
}

/// Links the answer where the request is linked.
fn note_response(order: &mut Order, call: &Call, response_id: &str) {
    if order.provider_request_ref_id.as_deref() == Some(&*call.request_ref_id) {
        order.provider_response_ref_id = Some(response_id.to_owned());
    }
    if let Some(cancellation) = &mut order.cancellation
        && cancellation.request_ref_id.as_deref() == Some(&*call.request_ref_id)
    {
        cancellation.response_ref_id = Some(response_id.to_owned());
    }
}

/// Writes the changed order, its event, and the cancel job where one starts; gives the queue to wake.
fn conclude_order(
    view: &mut View,
    order: &mut Order,
    followed: &Followed,
    queues: &OrderQueues,
    cancel_job_id: &str,
    event_id: &str,
    worker_id: &str,
) -> Option<&'static str> {
    if followed.start_cancel {
        insert_cancel_job(view, order, queues, cancel_job_id);
    }
    if let Some(kind) = followed.event {
        record(view, event_id, kind, order, &Actor::worker(worker_id, &order.correlation_id));
    }
    view.update(&*order);
    followed.start_cancel.then_some(queues.cancel.name)
}

/// The end of an attempt that made a call.
pub(super) struct CallConcluded {
    pub(super) order_id: String,
    pub(super) errand: Errand,
    pub(super) call: Call,
    pub(super) record: ResponseRecord,
    pub(super) outcome: Outcome,
    pub(super) verdict: audit::Verdict,
    pub(super) charge: Option<ChargeKeys>,
    pub(super) response_id: String,
    pub(super) cancel_job_id: String,
    pub(super) event_id: String,
    pub(super) jitter: f64,
    pub(super) settling_delay: std::time::Duration,
    pub(super) queues: OrderQueues,
}

impl CallConcluded {
    fn response(&self, now: DateTime) -> ProviderResponseLog {
        ProviderResponseLog::new(self.response_id.clone(), &self.call, &self.record, self.verdict.clone(), now)
    }

    fn queue(&self) -> &QueueConfig {
        match self.errand {
            Errand::Create => &self.queues.create,
            Errand::Cancel => &self.queues.cancel,
        }
    }
}

impl Conclusion for CallConcluded {
    fn reads(&self) -> Vec<Key> {
        let mut keys = vec![Key::id(ORDERS, &*self.order_id)];
        if let Some(charge) = &self.charge {
            keys.push(charge.hold.clone());
            // A capture leaves the wallet alone.
            if !self.outcome.is_alive() {
                keys.push(charge.wallet.clone());
            }
        }
        keys
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let now = view.now();
        audit::record_response(view, &self.response(now));
        let Some(mut order) = view.by_id::<Order>(&self.order_id) else {
            return JobEnd::Dead { error: JobError::new("payload", "orders.gone", "The order is not there.") }.into();
        };
        if order.open_call.as_ref().is_some_and(|open| open.request_ref_id == self.call.request_ref_id) {
            order.open_call = None;
        }
        note_response(&mut order, &self.call, &self.response_id);
        let at = Circumstances {
            now,
            jitter: self.jitter,
            backoff: self.queue().backoff,
            settling_delay: self.settling_delay,
        };
        let followed = follow(&mut order, self.errand, job, &self.outcome, &at);
        if followed.event.is_some() {
            let actor = Actor::worker(&self.call.worker_id, &order.correlation_id);
            charging::settle(view, &order, &self.event_id, &actor);
        }
        let (job_id, event_id) = (&self.cancel_job_id, &self.event_id);
        let wake = conclude_order(view, &mut order, &followed, &self.queues, job_id, event_id, &self.call.worker_id);
        Concluded { end: followed.end, wake }
    }

    fn conclude_late(&self, view: &mut View) {
        if view.by_id::<ProviderResponseLog>(&self.response_id).is_none() {
            let log = ProviderResponseLog { late: true, ..self.response(view.now()) };
            audit::record_response(view, &log);
        }
    }
}

/// The end of an attempt that panicked, took too long, or never ran because its workers died.
pub(super) struct AttemptFailed {
    pub(super) order_id: String,
    pub(super) errand: Errand,
    pub(super) error: JobError,
    pub(super) worker_id: String,
    pub(super) closing_response_id: String,
    pub(super) cancel_job_id: String,
    pub(super) event_id: String,
    pub(super) jitter: f64,
    pub(super) queues: OrderQueues,
}

impl Conclusion for AttemptFailed {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ORDERS, &*self.order_id)]
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let Some(mut order) = view.by_id::<Order>(&self.order_id) else {
            return JobEnd::Dead { error: self.error.clone() }.into();
        };
        close_open_call(view, &mut order, &self.closing_response_id);
        if !job.is_last_attempt() {
            let queue = match self.errand {
                Errand::Create => &self.queues.create,
                Errand::Cancel => &self.queues.cancel,
            };
            let at = crate::platform::clock::after(view.now(), queue.backoff.delay(job.attempts, self.jitter));
            // Written always, so that it can't pass by a cancellation that is being asked for.
            order.updated_at = view.now();
            view.update(&order);
            return JobEnd::Retry { at, error: Some(self.error.clone()), counts: true }.into();
        }
        let failure = Failure::new("queue.attempts_used_up", &self.error.message);
        order.updated_at = view.now();
        let followed = give_up(&mut order, self.errand, &failure, ErrorClass::Unknown);
        let (job_id, event_id) = (&self.cancel_job_id, &self.event_id);
        let wake = conclude_order(view, &mut order, &followed, &self.queues, job_id, event_id, &self.worker_id);
        Concluded { end: JobEnd::Dead { error: self.error.clone() }, wake }
    }
}
