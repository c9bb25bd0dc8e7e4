//! The way of an order at its provider, decided purely: what the next attempt does, and what follows from an answer.
//! Every attempt makes at most one call.

use std::time::Duration;

use bson::{DateTime, doc};

use super::{
    model::{CancellationStatus, Order, OrderFailure, OrderStatus, ProviderSyncStatus, Uncertain},
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        audit::ErrorClass,
        providers::{
            CancelOutcome, CreateOutcome, Failure, LookUpOutcome, NextTry, Operation, PlacedShipment, Repeat, job_error,
        },
        queue::{Backoff, Job, JobEnd},
    },
    platform::clock::after,
};

/// The two kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Places the order.
    Create,
    /// Takes it back.
    Cancel,
}

/// What an attempt is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call the provider.
    Call(Operation),
    /// Nothing was placed and a cancellation waits: done without a call.
    CancelUnplaced,
    /// It can't be cancelled any more: the order has ended meanwhile.
    TooLate,
    /// There is nothing left to do.
    Nothing,
}

/// What the provider's answer means, for one of the operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of a create.
    Create(CreateOutcome),
    /// Of a cancel.
    Cancel(CancelOutcome),
    /// Of a look-up.
    LookUp(LookUpOutcome),
}

impl Outcome {
    /// Whether it says that the order is at the provider, alive: nothing is given back then.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        match self {
            Self::Create(CreateOutcome::Placed(placed)) | Self::LookUp(LookUpOutcome::Found(placed)) => {
                !placed.cancelled
            }
            Self::Create(_) | Self::Cancel(_) | Self::LookUp(_) => false,
        }
    }
}

/// What a decision needs besides the order.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Now.
    pub now: DateTime,
    /// Jitter of the backoff, in `0.0..1.0`.
    pub jitter: f64,
    /// Backoff of the queue.
    pub backoff: Backoff,
    /// An absence counts only this long after the create was sent.
    pub settling_delay: Duration,
}

/// What a decision led to, besides the changed order.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// What becomes of the job.
    pub end: JobEnd,
    /// The event to record, where the order's state changed.
    pub event: Option<&'static str>,
    /// A cancel job is to be inserted.
    pub start_cancel: bool,
}

impl Followed {
    fn end(end: JobEnd) -> Self {
        Self { end, event: None, start_cancel: false }
    }

    fn with(end: JobEnd, event: &'static str) -> Self {
        Self { end, event: Some(event), start_cancel: false }
    }
}

/// What the attempt that begins now is to do. A call that a dead worker left open counts as uncertain by now.
#[must_use]
pub fn next_step(order: &Order, errand: Errand) -> Step {
    match errand {
        Errand::Create if order.status != OrderStatus::Created => Step::Nothing,
        Errand::Create if order.uncertain.is_some() => Step::Call(Operation::LookUp),
        Errand::Create if order.cancellation_pending() => Step::CancelUnplaced,
        Errand::Create => Step::Call(Operation::Create),
        Errand::Cancel if !order.cancellation_pending() || order.status == OrderStatus::Cancelled => Step::Nothing,
        Errand::Cancel if next(order.status, OrderCommand::RequestCancel).is_none() => Step::TooLate,
        // While a create may have been executed, a shipment that we know need not be the one that exists.
        Errand::Cancel if order.refs.awb.is_none() || order.uncertain.is_some() => Step::Call(Operation::LookUp),
        Errand::Cancel => Step::Call(Operation::Cancel),
    }
}

/// What follows from an answer. Changes the order; `job` is the job as the attempt found it.
pub fn follow(order: &mut Order, errand: Errand, job: &Job, outcome: &Outcome, at: &Circumstances) -> Followed {
    order.updated_at = at.now;
    match (errand, outcome) {
        (_, Outcome::Create(outcome)) => follow_create(order, job, outcome, at),
        (_, Outcome::Cancel(outcome)) => follow_cancel(order, job, outcome, at),
        (errand, Outcome::LookUp(outcome)) => follow_look_up(order, errand, job, outcome, at),
    }
}

fn follow_create(order: &mut Order, job: &Job, outcome: &CreateOutcome, at: &Circumstances) -> Followed {
    match outcome {
        CreateOutcome::Placed(placed) => accept(order, placed),
        CreateOutcome::Retryable(failure, repeat) => {
            if order.cancellation_pending() && order.uncertain.is_none() {
                return cancel_unplaced(order);
            }
            order.provider_sync_status = ProviderSyncStatus::Retrying;
            retry(order, Errand::Create, job, failure, ErrorClass::Retryable, *repeat, at)
        }
        CreateOutcome::Unknown(failure) => {
            order.provider_sync_status = ProviderSyncStatus::Unknown;
            order.uncertain = Some(Uncertain {
                request_ref_id: order.provider_request_ref_id.clone().unwrap_or_default(),
                since: at.now,
                last: job.is_last_attempt(),
            });
            if job.is_last_attempt() && !job.deferred_too_long(at.now) {
                // Nothing will be sent any more, but what became of this one is still worth a look.
                let delay = at.backoff.delay(job.attempts, at.jitter);
                let error = Some(job_error(ErrorClass::Unknown, failure));
                return Followed::end(JobEnd::Retry { at: after(at.now, delay), error, counts: false });
            }
            retry(order, Errand::Create, job, failure, ErrorClass::Unknown, Repeat::Counted, at)
        }
        CreateOutcome::Refused(failure) => refuse(order, failure),
        CreateOutcome::Unauthorized(failure) => give_up(order, Errand::Create, failure, ErrorClass::Fatal),
    }
}

fn follow_look_up(
    order: &mut Order,
    errand: Errand,
    job: &Job,
    outcome: &LookUpOutcome,
    at: &Circumstances,
) -> Followed {
    match (outcome, errand) {
        (LookUpOutcome::Found(placed), Errand::Create) => accept(order, placed),
        (LookUpOutcome::Found(placed), Errand::Cancel) => {
            order.refs.learn(placed);
            order.uncertain = None;
            if placed.cancelled {
                return cancelled(order);
            }
            if let Some(status) = next(order.status, OrderCommand::Accept) {
                order.status = status;
                order.provider_sync_status = ProviderSyncStatus::Synced;
                order.failure = None;
                return Followed::with(again(at.now), "OrderConfirmed");
            }
            Followed::end(again(at.now))
        }
        (LookUpOutcome::Absent, errand) => {
            let settled = order.uncertain.as_ref().map(|uncertain| after(uncertain.since, at.settling_delay));
            let was_last = order.uncertain.as_ref().is_some_and(|uncertain| uncertain.last);
            match (settled, errand) {
                (Some(settled), _) if settled > at.now => Followed::end(again(settled)),
                (_, _) if order.cancellation_pending() => {
                    order.uncertain = None;
                    cancel_unplaced(order)
                }
                (_, _) if was_last => {
                    // The look after the last create: it was not executed, and there is no attempt left.
                    order.uncertain = None;
                    let failure = Failure::new("provider.not_executed", "No attempt was executed by the provider.");
                    give_up(order, errand, &failure, ErrorClass::Retryable)
                }
                (_, _) => {
                    order.uncertain = None;
                    order.provider_sync_status = ProviderSyncStatus::Retrying;
                    Followed::end(again(at.now))
                }
            }
        }
        (LookUpOutcome::Failed(failure, repeat), errand) => {
            retry(order, errand, job, failure, ErrorClass::Retryable, *repeat, at)
        }
        (LookUpOutcome::Unauthorized(failure), errand) => give_up(order, errand, failure, ErrorClass::Fatal),
    }
}

fn follow_cancel(order: &mut Order, job: &Job, outcome: &CancelOutcome, at: &Circumstances) -> Followed {
    match outcome {
        CancelOutcome::Cancelled => cancelled(order),
        CancelOutcome::Retryable(failure, repeat) => {
            retry(order, Errand::Cancel, job, failure, ErrorClass::Retryable, *repeat, at)
        }
        CancelOutcome::Refused(failure) => {
            set_cancellation(order, CancellationStatus::Refused, Some((ErrorClass::Fatal, failure)));
            Followed::with(JobEnd::Dead { error: job_error(ErrorClass::Fatal, failure) }, "CancellationRefused")
        }
        CancelOutcome::Unauthorized(failure) => give_up(order, Errand::Cancel, failure, ErrorClass::Fatal),
    }
}

/// The provider has it. Where it exists only as a cancelled one, nothing is carried and nothing may be sent again.
fn accept(order: &mut Order, placed: &PlacedShipment) -> Followed {
    order.refs.learn(placed);
    order.uncertain = None;
    if placed.cancelled {
        return if order.cancellation_pending() {
            cancelled(order)
        } else {
            give_up(order, Errand::Create, &cancelled_there(), ErrorClass::Unknown)
        };
    }
    let Some(status) = next(order.status, OrderCommand::Accept) else {
        return Followed::end(JobEnd::Done { result: None });
    };
    order.status = status;
    order.provider_sync_status = ProviderSyncStatus::Synced;
    order.failure = None;
    let result = Some(doc! { "status": status.as_str(), "awb": &placed.awb });
    Followed { end: JobEnd::Done { result }, event: Some("OrderConfirmed"), start_cancel: order.cancellation_pending() }
}

/// An order of ours that the provider has only as a cancelled one.
pub fn cancelled_there() -> Failure {
    Failure::new("provider.cancelled_there", "The provider has this order, but as a cancelled one.")
}

fn refuse(order: &mut Order, failure: &Failure) -> Followed {
    order.provider_sync_status = ProviderSyncStatus::Failed;
    order.failure = Some(order_failure(ErrorClass::Fatal, failure));
    if order.cancellation_pending() {
        return cancel_unplaced(order);
    }
    if let Some(status) = next(order.status, OrderCommand::Refuse) {
        order.status = status;
    }
    Followed::with(JobEnd::Dead { error: job_error(ErrorClass::Fatal, failure) }, "OrderFailed")
}

/// Nothing was placed: the cancellation is done without the provider, and both sides agree that nothing is there.
pub fn cancel_unplaced(order: &mut Order) -> Followed {
    if let Some(status) = next(order.status, OrderCommand::CancelUnplaced) {
        order.status = status;
    }
    if order.provider_sync_status != ProviderSyncStatus::Pending {
        order.provider_sync_status = ProviderSyncStatus::Synced;
    }
    order.failure = None;
    set_cancellation(order, CancellationStatus::Done, None);
    let result = Some(doc! { "status": order.status.as_str(), "placed": false });
    Followed::with(JobEnd::Done { result }, "OrderCancelled")
}

fn cancelled(order: &mut Order) -> Followed {
    if let Some(status) = next(order.status, OrderCommand::CancelPlaced) {
        order.status = status;
    }
    order.provider_sync_status = ProviderSyncStatus::Synced;
    order.failure = None;
    set_cancellation(order, CancellationStatus::Done, None);
    let result = Some(doc! { "status": order.status.as_str(), "awb": order.refs.awb.clone() });
    Followed::with(JobEnd::Done { result }, "OrderCancelled")
}

/// Ended meanwhile: the cancellation is refused.
pub fn too_late(order: &mut Order) -> Followed {
    let failure = Failure::new("orders.not_cancellable", "The order can't be cancelled any more.");
    set_cancellation(order, CancellationStatus::Refused, Some((ErrorClass::Fatal, &failure)));
    Followed::with(JobEnd::Dead { error: job_error(ErrorClass::Fatal, &failure) }, "CancellationRefused")
}

fn retry(
    order: &mut Order,
    errand: Errand,
    job: &Job,
    failure: &Failure,
    class: ErrorClass,
    repeat: Repeat,
    at: &Circumstances,
) -> Followed {
    match repeat.next_try(job, at.backoff, at.jitter, at.now) {
        Some(NextTry { at, counts }) => {
            Followed::end(JobEnd::Retry { at, error: Some(job_error(class, failure)), counts })
        }
        None => give_up(order, errand, failure, class),
    }
}

/// A person has to look. The order's hold, if any, is kept.
pub fn give_up(order: &mut Order, errand: Errand, failure: &Failure, class: ErrorClass) -> Followed {
    let dead = JobEnd::Dead { error: job_error(class, failure) };
    match errand {
        Errand::Create => {
            let Some(status) = next(order.status, OrderCommand::GiveUp) else { return Followed::end(dead) };
            order.status = status;
            order.provider_sync_status = ProviderSyncStatus::Failed;
            order.failure = Some(order_failure(class, failure));
            if order.cancellation_pending() {
                // The merchant waits for a cancellation: a job of its own looks the order up and takes it back.
                return Followed { end: dead, event: Some("OrderNeedsAttention"), start_cancel: true };
            }
            Followed::with(dead, "OrderNeedsAttention")
        }
        Errand::Cancel => {
            set_cancellation(order, CancellationStatus::NeedsAttention, Some((class, failure)));
            Followed::with(dead, "CancellationNeedsAttention")
        }
    }
}

/// The next step of the same job, at once or later, without using up an attempt.
const fn again(at: DateTime) -> JobEnd {
    JobEnd::Retry { at, error: None, counts: false }
}

fn set_cancellation(order: &mut Order, status: CancellationStatus, failure: Option<(ErrorClass, &Failure)>) {
    if let Some(cancellation) = &mut order.cancellation {
        cancellation.status = status;
        cancellation.failure = failure.map(|(class, failure)| order_failure(class, failure));
    }
}

fn order_failure(class: ErrorClass, failure: &Failure) -> OrderFailure {
    OrderFailure { class, code: failure.code.into(), message: failure.message.clone() }
}
