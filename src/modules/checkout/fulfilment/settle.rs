//! Where a checkout is, by its parts. Pure.

use super::parts::{Part, PartStatus};
use crate::{
    modules::{
        checkout::{
            events::record,
            model::{Checkout, CheckoutCancellationStatus, CheckoutStatus},
            transitions::{CheckoutCommand, next},
        },
        events::Actor,
    },
    platform::batch::View,
};

/// Ids of the events that one change of a checkout may have.
pub(in crate::modules::checkout) type EventIds = [String; 2];

fn outcome(parts: &[Part]) -> CheckoutCommand {
    let is_trouble =
        |part: &Part| matches!(part.status, PartStatus::Failed | PartStatus::NeedsAttention | PartStatus::Cancelled);
    let is_done = |part: &Part| matches!(part.status, PartStatus::Confirmed | PartStatus::Skipped);
    if parts.iter().any(is_trouble) {
        CheckoutCommand::GiveUp
    } else if parts.iter().all(is_done) {
        CheckoutCommand::Complete
    } else {
        CheckoutCommand::Resume
    }
}

/// Whether all of a checkout that is being taken back has come to nothing: what it took goes back.
pub(super) fn is_taken_back(checkout: &Checkout) -> bool {
    checkout.status == CheckoutStatus::Cancelling && checkout.parts.iter().all(|part| part.status.is_nothing())
}

/// Brings the checkout to where its parts want it, and records that; the caller writes it. One that is being taken back waits until
/// every part has its answer: where one stays, the checkout does.
pub(super) fn settle(view: &mut View, checkout: &mut Checkout, event_ids: &EventIds, actor: &Actor) {
    checkout.updated_at = view.now();
    let was_cancelling = checkout.status == CheckoutStatus::Cancelling;
    if was_cancelling && checkout.parts.iter().any(|part| part.status == PartStatus::Cancelling) {
        return;
    }
    let Some(status) = next(checkout.status, outcome(&checkout.parts)).filter(|to| *to != checkout.status) else {
        return;
    };
    checkout.status = status;
    let mut events = Vec::new();
    if was_cancelling {
        checkout.cancellation_is(CheckoutCancellationStatus::Refused);
        events.push("CheckoutCancellationRefused");
    }
    match status {
        CheckoutStatus::Completed if checkout.completed_at.is_none() => {
            checkout.completed_at = Some(view.now());
            events.push("CheckoutCompleted");
        }
        CheckoutStatus::NeedsAttention => events.push("CheckoutNeedsAttention"),
        _ if was_cancelling => {}
        _ => events.push("CheckoutResumed"),
    }
    for (kind, event_id) in events.into_iter().zip(event_ids) {
        record(view, checkout, event_id, kind, actor);
    }
}
