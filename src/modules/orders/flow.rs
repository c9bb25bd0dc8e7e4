//! The way of an order at its provider, decided purely: what the next attempt does, and what follows from an answer.
//! Every attempt makes at most one call.

use std::time::Duration;

use bson::{DateTime, doc};

use super::{
    model::{CancellationStatus, Order, OrderStatus, ProviderSyncStatus},
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        audit::ErrorClass,
        providers::{
            AttemptDecision, Failure, Operation, Outcome, Placed, Progress, Retry, StoredFailure,
            call_job::{self, NextStep},
            job_error,
        },
        queue::JobEnd,
    },
    platform::{clock::after, exchange::ReceivedFile},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderJobKind {
    /// Places the order.
    Create,
    /// Takes it back.
    Cancel,
}

/// How an order stands at the provider, by its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtProvider {
    Placed(Placed),
    /// A clear "no record".
    Absent,
    /// It was taken back, now or before.
    Cancelled,
    Progress(Progress),
    /// A file of it came, and is kept.
    Received(ReceivedFile),
}

/// An answer about an order, with what a decision needs besides the order.
pub type OrderAnswered<'a> = call_job::Answered<'a, Operation, AtProvider>;

/// The step of the attempt that begins now; changes the order where it ends without a call. A call that a dead worker
/// left open counts as uncertain by now.
#[must_use]
pub fn next_step(order: &mut Order, kind: OrderJobKind) -> NextStep<Operation> {
    let nothing = || NextStep::End(JobEnd::Done { result: None }.into());
    match kind {
        OrderJobKind::Create if order.status != OrderStatus::Created => nothing(),
        OrderJobKind::Create if order.uncertain.is_some() => NextStep::Call(Operation::LookUp),
        OrderJobKind::Create if order.cancellation_pending() => NextStep::End(stop_placing(order)),
        OrderJobKind::Create if order.unfinished => NextStep::Call(Operation::Finish),
        OrderJobKind::Create => NextStep::Call(Operation::Create),
        OrderJobKind::Cancel if !order.cancellation_pending() || order.status == OrderStatus::Cancelled => nothing(),
        OrderJobKind::Cancel if next(order.status, OrderCommand::RequestCancel).is_none() => {
            NextStep::End(too_late(order))
        }
        // While a create may have been executed, a shipment that we know need not be the one that exists.
        OrderJobKind::Cancel if order.uncertain.is_some() || (order.reference.is_none() && !order.unfinished) => {
            NextStep::Call(Operation::LookUp)
        }
        // What could not be cancelled may be so already, or gone.
        OrderJobKind::Cancel if order.failed_cancel().is_some() => NextStep::Call(Operation::LookUp),
        OrderJobKind::Cancel => NextStep::Call(Operation::Cancel),
    }
}

/// Decides by an answer and changes the order. An absence counts only `settling_delay` after the create was sent.
pub fn follow(
    order: &mut Order,
    kind: OrderJobKind,
    answered: &OrderAnswered<'_>,
    settling_delay: Duration,
) -> AttemptDecision {
    let now = answered.timing.now;
    order.updated_at = now;
    match (answered.outcome, answered.asked) {
        (Outcome::Done(AtProvider::Placed(placed)), _) => match kind {
            OrderJobKind::Create => accept(order, placed, now),
            OrderJobKind::Cancel => match order.failed_cancel().cloned() {
                Some(failure) => check_failure(order, placed, failure),
                None => find_to_cancel(order, placed, now),
            },
        },
        (Outcome::Done(AtProvider::Absent), _) => not_at_provider(order, kind, settling_delay, now),
        (Outcome::Done(AtProvider::Cancelled), _) => cancelled(order),
        // Asked for only where orders are polled, see `polling`.
        (Outcome::Done(AtProvider::Progress(_) | AtProvider::Received(_)), _) => again(now).into(),
        (Outcome::Retryable(failure, how), Operation::Create | Operation::Finish) => {
            if order.cancellation_pending() && order.uncertain.is_none() {
                return stop_placing(order);
            }
            order.provider_sync_status = ProviderSyncStatus::Retrying;
            retry(order, kind, answered, failure, ErrorClass::Retryable, *how)
        }
        // After a day; any of the attempts may have been carried out.
        (Outcome::Retryable(failure, Retry::Counted) | Outcome::Unknown(failure), Operation::Cancel)
            if answered.job.deferred_too_long(now) =>
        {
            look_before(order, ErrorClass::Retryable, failure, now)
        }
        (Outcome::Retryable(failure, how @ Retry::Throttled(_)), _) => {
            retry(order, kind, answered, failure, ErrorClass::Retryable, *how)
        }
        // Safe to repeat: for as long as a provider may be away, and without using up what creates have.
        (Outcome::Retryable(failure, _), _) => {
            retry(order, kind, answered, failure, ErrorClass::Retryable, Retry::Deferred)
        }
        (Outcome::Unknown(failure), Operation::Create | Operation::Finish) => doubt(order, kind, answered, failure),
        // A failed look-up says nothing, whatever it says.
        (Outcome::Unknown(failure), _)
        | (Outcome::Refused(failure), Operation::LookUp | Operation::Poll | Operation::Fetch | Operation::LogIn) => {
            retry(order, kind, answered, failure, ErrorClass::Retryable, Retry::Deferred)
        }
        (Outcome::Refused(failure), Operation::Create | Operation::Finish) => {
            let refusal = StoredFailure::new(ErrorClass::Fatal, failure);
            // An earlier one that nobody answered for may be what it is refused for.
            if order.doubted {
                order.doubt(answered.call, now, answered.job.is_last_attempt());
                order.uncertain.iter_mut().for_each(|uncertain| uncertain.refusal = Some(refusal.clone()));
                return again(now).into();
            }
            refuse(order, refusal)
        }
        (Outcome::Refused(failure), Operation::Cancel) => look_before(order, ErrorClass::Fatal, failure, now),
        (Outcome::Unauthorized(failure), _) => give_up(order, kind, failure, ErrorClass::Fatal),
    }
}

/// Whether a cancel job is to be inserted with the end of an attempt: nobody else would carry the cancellation out.
#[must_use]
pub fn starts_cancel(order: &Order, end: &JobEnd) -> bool {
    let waits = order.cancellation.as_ref().is_some_and(|cancellation| cancellation.job_id.is_none());
    waits && order.cancellation_pending() && !matches!(end, JobEnd::Retry { .. } | JobEnd::Next { .. })
}

/// A create that may have been executed is looked up before anything else.
fn doubt(order: &mut Order, kind: OrderJobKind, answered: &OrderAnswered<'_>, failure: &Failure) -> AttemptDecision {
    let (job, timing) = (answered.job, &answered.timing);
    order.doubt(answered.call, timing.now, job.is_last_attempt());
    if job.is_last_attempt() && !job.deferred_too_long(timing.now) {
        // Nothing will be sent any more, but what became of this one is still worth a look.
        let at = after(timing.now, timing.backoff.delay(job.attempts, timing.jitter));
        let error = Some(job_error(ErrorClass::Unknown, failure));
        return JobEnd::Retry { at, error, counts: false }.into();
    }
    retry(order, kind, answered, failure, ErrorClass::Unknown, Retry::Counted)
}

/// The provider has it. Where it exists only as a cancelled one, nothing is carried and nothing may be sent again.
fn accept(order: &mut Order, placed: &Placed, now: DateTime) -> AttemptDecision {
    order.learn(placed);
    order.uncertain = None;
    if placed.cancelled {
        return if order.cancellation_pending() {
            cancelled(order)
        } else {
            give_up(order, OrderJobKind::Create, &cancelled_there(), ErrorClass::Unknown)
        };
    }
    if placed.unfinished {
        // What is refused from now on is not refused because of an earlier create.
        order.doubted = false;
        order.provider_sync_status = ProviderSyncStatus::InProgress;
        return JobEnd::Next { at: now }.into();
    }
    let event = confirm(order);
    let result = event.map(|_| doc! { "status": order.status.as_str(), "reference": &placed.reference });
    AttemptDecision { end: JobEnd::Done { result }, event }
}

/// The provider has what is to be taken back.
fn find_to_cancel(order: &mut Order, placed: &Placed, now: DateTime) -> AttemptDecision {
    order.learn(placed);
    order.uncertain = None;
    if placed.cancelled {
        return cancelled(order);
    }
    let event = if placed.unfinished { None } else { confirm(order) };
    AttemptDecision { end: again(now), event }
}

fn confirm(order: &mut Order) -> Option<&'static str> {
    order.status = next(order.status, OrderCommand::Accept)?;
    order.provider_sync_status = ProviderSyncStatus::Synced;
    order.failure = None;
    Some("OrderConfirmed")
}

/// A cancel ends so unless the shipment is cancelled after all: nothing is decided about the money before it was looked up.
fn look_before(order: &mut Order, class: ErrorClass, failure: &Failure, now: DateTime) -> AttemptDecision {
    let stored = StoredFailure::new(class, failure);
    order.cancellation.iter_mut().for_each(|cancellation| cancellation.failure = Some(stored.clone()));
    again(now).into()
}

/// Conflict of a cancellation with what a look-up found: the order lives, or was cancelled before.
fn check_failure(order: &mut Order, placed: &Placed, failure: StoredFailure) -> AttemptDecision {
    let is_same = if placed.unfinished {
        order.reference.is_none() && order.refs.provider_order_id == placed.provider_order_id
    } else {
        order.reference.as_ref() == Some(&placed.reference)
    };
    if !is_same {
        let failure =
            Failure::new("provider.other_shipment", "The provider cancels nothing, and names another shipment.");
        return give_up_cancel(order, &failure, ErrorClass::Unknown);
    }
    if placed.cancelled {
        return cancelled(order);
    }
    let (status, event) = match failure.class {
        ErrorClass::Fatal => (CancellationStatus::Refused, "CancellationRefused"),
        _ => (CancellationStatus::NeedsAttention, "CancellationNeedsAttention"),
    };
    let error = failure.job_error();
    set_cancellation(order, status, Some(failure));
    AttemptDecision { end: JobEnd::Dead { error }, event: Some(event) }
}

/// The reference that the provider names is that of another live order, so what this one has there is not known.
pub fn miss_own_reference(order: &mut Order, kind: OrderJobKind, answered: &OrderAnswered<'_>) -> AttemptDecision {
    order.updated_at = answered.timing.now;
    if *answered.asked == Operation::Create {
        order.doubt(answered.call, answered.timing.now, false);
    }
    let failure = Failure::new("provider.reference_taken", "The provider names a reference that another order has.");
    give_up(order, kind, &failure, ErrorClass::Unknown)
}

/// The provider has no record of it.
fn not_at_provider(order: &mut Order, kind: OrderJobKind, settling_delay: Duration, now: DateTime) -> AttemptDecision {
    if kind == OrderJobKind::Cancel && order.failed_cancel().is_some() {
        let failure =
            Failure::new("provider.no_record", "The provider cancels nothing, and has no record of the order.");
        return give_up_cancel(order, &failure, ErrorClass::Unknown);
    }
    let settled_at = order.uncertain.as_ref().map(|uncertain| after(uncertain.since, settling_delay));
    if let Some(settled_at) = settled_at.filter(|settled_at| *settled_at > now) {
        return again(settled_at).into();
    }
    let uncertain = order.uncertain.take();
    order.unfinished = false;
    if let Some(refusal) = uncertain.as_ref().and_then(|uncertain| uncertain.refusal.clone()) {
        return refuse(order, refusal);
    }
    let was_last = uncertain.is_some_and(|uncertain| uncertain.last);
    if order.cancellation_pending() {
        cancel_unplaced(order)
    } else if was_last {
        let failure = Failure::new("provider.not_executed", "No attempt was executed by the provider.");
        give_up(order, kind, &failure, ErrorClass::Retryable)
    } else {
        order.provider_sync_status = ProviderSyncStatus::Retrying;
        again(now).into()
    }
}

/// An order of ours that the provider has only as a cancelled one.
#[must_use]
pub fn cancelled_there() -> Failure {
    Failure::new("provider.cancelled_there", "The provider has this order, but as a cancelled one.")
}

fn refuse(order: &mut Order, refusal: StoredFailure) -> AttemptDecision {
    let error = refusal.job_error();
    order.provider_sync_status = ProviderSyncStatus::Failed;
    order.failure = Some(refusal);
    order.doubted = false;
    if order.cancellation_pending() {
        return stop_placing(order);
    }
    if let Some(status) = next(order.status, OrderCommand::Refuse) {
        order.status = status;
    }
    AttemptDecision { end: JobEnd::Dead { error }, event: Some("OrderFailed") }
}

/// The merchant does not want it any more, and no call is under way. What the provider has of it is taken back by a job of its
/// own, see [`starts_cancel`].
fn stop_placing(order: &mut Order) -> AttemptDecision {
    if order.unfinished { JobEnd::Done { result: None }.into() } else { cancel_unplaced(order) }
}

/// Nothing was placed: the cancellation is done without the provider, and both sides agree that nothing is there.
pub fn cancel_unplaced(order: &mut Order) -> AttemptDecision {
    if order.provider_sync_status != ProviderSyncStatus::Pending {
        order.provider_sync_status = ProviderSyncStatus::Synced;
    }
    cancel(order, OrderCommand::CancelUnplaced);
    let result = Some(doc! { "status": order.status.as_str(), "placed": false });
    AttemptDecision { end: JobEnd::Done { result }, event: Some("OrderCancelled") }
}

fn cancelled(order: &mut Order) -> AttemptDecision {
    order.provider_sync_status = ProviderSyncStatus::Synced;
    cancel(order, OrderCommand::CancelPlaced);
    let result = Some(doc! { "status": order.status.as_str(), "reference": order.reference.clone() });
    AttemptDecision { end: JobEnd::Done { result }, event: Some("OrderCancelled") }
}

fn cancel(order: &mut Order, command: OrderCommand) {
    if let Some(status) = next(order.status, command) {
        order.status = status;
    }
    order.failure = None;
    set_cancellation(order, CancellationStatus::Done, None);
}

/// Ended meanwhile, or placed where nothing is taken back: the cancellation is refused.
pub fn too_late(order: &mut Order) -> AttemptDecision {
    let failure = Failure::new("orders.not_cancellable", "The order can't be cancelled any more.");
    let refusal = StoredFailure::new(ErrorClass::Fatal, &failure);
    set_cancellation(order, CancellationStatus::Refused, Some(refusal));
    AttemptDecision::dead(ErrorClass::Fatal, &failure, "CancellationRefused")
}

fn retry(
    order: &mut Order,
    kind: OrderJobKind,
    answered: &OrderAnswered<'_>,
    failure: &Failure,
    class: ErrorClass,
    how: Retry,
) -> AttemptDecision {
    match how.end(answered.job, class, failure, &answered.timing) {
        Some(end) => end.into(),
        None => give_up(order, kind, failure, class),
    }
}

/// A person has to look. The order's hold, if any, is kept. Where the merchant waits for a cancellation, a job of its own
/// looks the order up and takes it back, see [`starts_cancel`].
pub fn give_up(order: &mut Order, kind: OrderJobKind, failure: &Failure, class: ErrorClass) -> AttemptDecision {
    match kind {
        OrderJobKind::Create => {
            let Some(status) = next(order.status, OrderCommand::GiveUp) else {
                return JobEnd::Dead { error: job_error(class, failure) }.into();
            };
            order.status = status;
            order.provider_sync_status = ProviderSyncStatus::Failed;
            order.failure = Some(StoredFailure::new(class, failure));
            AttemptDecision::dead(class, failure, "OrderNeedsAttention")
        }
        // A look-up that failed says nothing: what the provider has said of the cancel stays.
        OrderJobKind::Cancel if let Some(said) = order.failed_cancel().cloned() => {
            set_cancellation(order, CancellationStatus::NeedsAttention, Some(said));
            AttemptDecision::dead(class, failure, "CancellationNeedsAttention")
        }
        OrderJobKind::Cancel => give_up_cancel(order, failure, class),
    }
}

fn give_up_cancel(order: &mut Order, failure: &Failure, class: ErrorClass) -> AttemptDecision {
    set_cancellation(order, CancellationStatus::NeedsAttention, Some(StoredFailure::new(class, failure)));
    AttemptDecision::dead(class, failure, "CancellationNeedsAttention")
}

/// The next step of the same job, at once or later, without using up an attempt.
const fn again(at: DateTime) -> JobEnd {
    JobEnd::Retry { at, error: None, counts: false }
}

fn set_cancellation(order: &mut Order, status: CancellationStatus, failure: Option<StoredFailure>) {
    if let Some(cancellation) = &mut order.cancellation {
        cancellation.status = status;
        cancellation.failure = failure;
    }
}
