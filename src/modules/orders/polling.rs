//! From placed to delivered, where that takes its time: the provider is asked how the order is getting on, and its files are
//! fetched one by one. Decided purely; every step is an attempt of the same job with its own place in the order, so one that is
//! killed is taken up where it was.

use std::time::Duration;

use bson::{DateTime, doc};

use super::{
    flow::{self, AtProvider, OrderAnswered, OrderJobKind},
    model::{FileToFetch, Order, OrderFile, OrderProgress, OrderStatus, ProviderSyncStatus},
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        audit::ErrorClass,
        providers::{
            AttemptDecision, Failure, NamedFile, Operation, Outcome, Placed, PollSchedule, Progress, Retry,
            StoredFailure,
        },
        queue::JobEnd,
    },
    platform::{exchange::ReceivedFile, ids::sibling_id},
};

/// The id under which what `request_ref_id` asked for is stored: each attempt has a place of its own.
#[must_use]
pub fn file_id(request_ref_id: &str) -> String {
    sibling_id("fil", request_ref_id)
}

/// The next call; none where the order is not being polled.
#[must_use]
pub fn next_call(order: &Order) -> Option<Operation> {
    let is_under_way =
        matches!(order.status, OrderStatus::Confirmed | OrderStatus::InProgress | OrderStatus::Delivered);
    order.reference.as_ref().filter(|_| is_under_way)?;
    Some(match &order.followed {
        Some(followed) if followed.missing => Operation::LookUp,
        Some(followed) if !followed.to_fetch.is_empty() => Operation::Fetch,
        _ => Operation::Poll,
    })
}

/// Decides by an answer about an order that is polled; changes the order.
pub fn follow(
    order: &mut Order,
    kind: OrderJobKind,
    answered: &OrderAnswered<'_>,
    schedule: PollSchedule,
    settling_delay: Duration,
) -> AttemptDecision {
    let now = answered.timing.now;
    if kind == OrderJobKind::Cancel || next_call(order).is_none() {
        let decision = flow::follow(order, kind, answered, settling_delay);
        // Just placed: the same job goes on with it.
        return if kind == OrderJobKind::Create && order.status == OrderStatus::Confirmed {
            order.followed = Some(OrderProgress::from(now));
            poll_later(order, now, schedule, decision.event)
        } else {
            decision
        };
    }
    order.updated_at = now;
    match (answered.outcome, answered.asked) {
        (Outcome::Done(AtProvider::Progress(progress)), _) => go_on(order, progress, schedule, now),
        (Outcome::Done(AtProvider::Received(file)), _) => keep(order, file, answered, schedule),
        (Outcome::Done(AtProvider::Placed(placed)), _) => found(order, placed, answered),
        (Outcome::Done(AtProvider::Absent | AtProvider::Cancelled), _) => {
            let gone = Failure::new("provider.gone", "The provider no longer has any record of the order.");
            later(order, answered, &gone, Retry::Deferred)
        }
        // It will be refused the next time too.
        (Outcome::Refused(failure), Operation::Fetch) => give_up_polling(order, failure, ErrorClass::Fatal),
        (Outcome::Refused(failure), asked) => {
            followed(order, now).missing = *asked == Operation::Poll;
            later(order, answered, failure, Retry::Deferred)
        }
        (Outcome::Retryable(failure, how @ Retry::Throttled(_)), _) => later(order, answered, failure, *how),
        // Asking and fetching are safe to repeat: for as long as a provider may be away, or our credentials be wrong.
        (Outcome::Retryable(failure, _) | Outcome::Unknown(failure) | Outcome::Unauthorized(failure), _) => {
            later(order, answered, failure, Retry::Deferred)
        }
    }
}

/// A person has it followed on; whether that was possible.
pub fn resume(order: &mut Order, now: DateTime) -> bool {
    let Some(status) = next(order.status, OrderCommand::Accept) else { return false };
    order.status = status;
    order.provider_sync_status = ProviderSyncStatus::Synced;
    order.failure = None;
    let followed = followed(order, now);
    (followed.since, followed.missing) = (now, false);
    true
}

fn followed(order: &mut Order, now: DateTime) -> &mut OrderProgress {
    order.followed.get_or_insert_with(|| OrderProgress::from(now))
}

fn go_on(order: &mut Order, progress: &Progress, schedule: PollSchedule, now: DateTime) -> AttemptDecision {
    match progress {
        Progress::Waiting | Progress::Unclear => poll_later(order, now, schedule, None),
        Progress::Working => {
            let event = begin(order);
            poll_later(order, now, schedule, event)
        }
        Progress::Complete { files, last } => {
            let event = begin(order);
            let followed = followed(order, now);
            let is_here = |file: &&NamedFile| followed.files.iter().any(|here| here.provider_file_id == file.id);
            followed.to_fetch = files.iter().filter(|file| !is_here(file)).map(Into::into).collect();
            followed.last = *last;
            followed.complete_at.get_or_insert(now);
            if followed.to_fetch.is_empty() { delivered(order, now, schedule) } else { again(now, event) }
        }
        Progress::Failed(said) => fail(order, said, now, schedule),
    }
}

/// A file is stored: the order names it from now on.
fn keep(
    order: &mut Order,
    file: &ReceivedFile,
    answered: &OrderAnswered<'_>,
    schedule: PollSchedule,
) -> AttemptDecision {
    let now = answered.timing.now;
    let followed = followed(order, now);
    if !followed.to_fetch.is_empty() {
        let FileToFetch { id, name, content_type, is_page: _ } = followed.to_fetch.remove(0);
        followed.files.push(OrderFile {
            id: file_id(&answered.call.request_ref_id),
            provider_file_id: id,
            name,
            content_type,
            bytes: i64::try_from(file.bytes).unwrap_or(i64::MAX),
            sha256: file.sha256.clone(),
            stored_at: now,
            erased_at: None,
        });
    }
    if followed.to_fetch.is_empty() { delivered(order, now, schedule) } else { again(now, None) }
}

/// Every file that there is by now is here.
fn delivered(order: &mut Order, now: DateTime, schedule: PollSchedule) -> AttemptDecision {
    let event = next(order.status, OrderCommand::Deliver).map(|status| {
        order.status = status;
        order.provider_sync_status = ProviderSyncStatus::Synced;
        order.failure = None;
        "OrderDelivered"
    });
    let followed = followed(order, now);
    let files = i32::try_from(followed.files.len()).unwrap_or(i32::MAX);
    let more = followed.complete_at.filter(|_| !followed.last).and_then(|since| schedule.next_for_more(since, now));
    match more {
        Some(at) => again(at, event),
        None => {
            let result = Some(doc! { "status": order.status.as_str(), "files": files });
            AttemptDecision { end: JobEnd::Done { result }, event }
        }
    }
}

/// Placed under the name that we know, or under another one, which counts from now on.
fn found(order: &mut Order, placed: &Placed, answered: &OrderAnswered<'_>) -> AttemptDecision {
    let now = answered.timing.now;
    followed(order, now).missing = false;
    if order.reference.as_ref() == Some(&placed.reference) {
        let failure = Failure::new("provider.contradiction", "The provider has the order, and does not know it.");
        return later(order, answered, &failure, Retry::Deferred);
    }
    order.learn(placed);
    again(now, None)
}

fn begin(order: &mut Order) -> Option<&'static str> {
    order.status = next(order.status, OrderCommand::Begin)?;
    Some("OrderInProgress")
}

fn fail(order: &mut Order, said: &str, now: DateTime, schedule: PollSchedule) -> AttemptDecision {
    let Some(status) = next(order.status, OrderCommand::Fail) else {
        // What was delivered stays so.
        return delivered(order, now, schedule);
    };
    let failure = Failure::new("provider.ended_in_error", said);
    order.status = status;
    order.provider_sync_status = ProviderSyncStatus::Synced;
    order.failure = Some(StoredFailure::new(ErrorClass::Fatal, &failure));
    AttemptDecision::dead(ErrorClass::Fatal, &failure, "OrderFailed")
}

/// Polls again when it is time.
fn poll_later(
    order: &mut Order,
    now: DateTime,
    schedule: PollSchedule,
    event: Option<&'static str>,
) -> AttemptDecision {
    match schedule.next(followed(order, now).since, now) {
        Some(at) => again(at, event),
        None if order.status == OrderStatus::Delivered => JobEnd::Done { result: None }.into(),
        None => {
            let failure = Failure::new("provider.takes_too_long", "The provider has had the order for thirty days.");
            give_up_polling(order, &failure, ErrorClass::Retryable)
        }
    }
}

fn later(order: &mut Order, answered: &OrderAnswered<'_>, failure: &Failure, how: Retry) -> AttemptDecision {
    match how.end(answered.job, ErrorClass::Retryable, failure, &answered.timing) {
        Some(end) => end.into(),
        None => give_up_polling(order, failure, ErrorClass::Retryable),
    }
}

/// A person has to look; the order's hold is kept. What was delivered stays so.
pub fn give_up_polling(order: &mut Order, failure: &Failure, class: ErrorClass) -> AttemptDecision {
    let Some(status) = next(order.status, OrderCommand::LoseTrack) else {
        return JobEnd::Dead { error: StoredFailure::new(class, failure).job_error() }.into();
    };
    order.status = status;
    order.provider_sync_status = ProviderSyncStatus::Failed;
    order.failure = Some(StoredFailure::new(class, failure));
    AttemptDecision::dead(class, failure, "OrderNeedsAttention")
}

const fn again(at: DateTime, event: Option<&'static str>) -> AttemptDecision {
    AttemptDecision { end: JobEnd::Next { at }, event }
}
