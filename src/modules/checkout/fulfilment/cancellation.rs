//! Taking back what was placed for a checkout that is cancelled: by cancelling its orders. What the checkout took goes back once all of
//! them are.

use super::{parts::PartStatus, settle::is_taken_back};
use crate::{
    modules::{
        checkout::{
            error::CheckoutError,
            events::record,
            model::{Checkout, CheckoutCancellation, CheckoutCancellationStatus, CheckoutStatus},
            transitions::{CheckoutCommand, next},
        },
        orders::{CancelOrderTemplate, Order},
        providers::call_job::Author,
    },
    platform::batch::{Command, View},
};

/// Result of cancelling a checkout's orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::modules::checkout) enum TakenBack {
    /// There are none that live: it can be cancelled at once.
    Nothing,
    /// They were asked for back before.
    UnderWay,
    /// They are asked for back: the checkout waits for what comes of it.
    Asked,
}

/// Asks for all that was placed back, or for nothing where something can't be taken back any more. `templates` has one for each part.
/// The caller writes the checkout.
///
/// # Errors
/// [`CheckoutError::NotCancellable`], [`CheckoutError::PartStays`].
pub(in crate::modules::checkout) fn take_back(
    view: &mut View,
    checkout: &mut Checkout,
    templates: &[CancelOrderTemplate],
    by: Author<'_>,
) -> Result<TakenBack, CheckoutError> {
    if checkout.status == CheckoutStatus::Cancelling && !is_taken_back(checkout) {
        return Ok(TakenBack::UnderWay);
    }
    let find = |id: Option<&str>| id.and_then(|id| view.by_id::<Order>(id));
    let orders: Vec<_> = checkout.parts.iter().map(|part| find(part.last_order())).collect();
    for (part, order) in checkout.parts.iter_mut().zip(&orders) {
        if let Some(order) = order {
            part.follow(order);
        }
        if part.status == PartStatus::Waiting {
            part.status = PartStatus::Cancelled;
        }
    }
    let command = |((at, order), template): ((usize, &Option<Order>), &CancelOrderTemplate)| {
        let order = order.as_ref().filter(|_| !checkout.parts[at].status.is_nothing())?;
        Some((at, template.of(&order.user_id, &order.client_order_id)))
    };
    let commands: Vec<_> = orders.iter().enumerate().zip(templates).filter_map(command).collect();
    if commands.is_empty() {
        return Ok(TakenBack::Nothing);
    }
    let status = next(checkout.status, CheckoutCommand::RequestCancel);
    let status = status.ok_or(CheckoutError::NotCancellable(checkout.status))?;
    // All are looked at before any is asked for.
    let checked: Vec<_> = commands.iter().map(|(at, command)| (*at, command.check(view))).collect();
    if let Some((at, Err(_))) = checked.iter().find(|(_, checked)| checked.is_err()) {
        return Err(CheckoutError::PartStays(checkout.parts[*at].kind));
    }
    for (at, command) in commands {
        let kind = checkout.parts[at].kind;
        let reply = command.decide(view).map_err(|_| CheckoutError::PartStays(kind))?;
        checkout.parts[at].follow(&reply.order);
    }
    checkout.status = status;
    checkout.updated_at = view.now();
    checkout.cancellation =
        Some(CheckoutCancellation { status: CheckoutCancellationStatus::Requested, requested_at: view.now() });
    record(view, checkout, by.event_id, "CheckoutCancellationRequested", by.actor);
    Ok(TakenBack::Asked)
}
