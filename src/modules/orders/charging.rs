//! The charge for an order: held when it is created, captured when the provider has it (or, of some kinds, has
//! delivered), given back when it comes to nothing.
//!
//! The charge that is due follows from the order's status and kind alone ([`due`]), and [`settle`] brings the hold there. So it does not
//! matter on which way an order came to its status, or how often it is looked at.

use super::model::{Billing, Order, OrderStatus};
use crate::{
    modules::{
        events::Actor,
        providers::ProviderKind,
        wallet::{
            self, Account, HOLDS, Hold, HoldState, LedgerEntry, LedgerKind, LedgerReference, LedgerRefusal, Share,
            rates::{Pricing, Quote},
        },
    },
    platform::{
        batch::{Key, View},
        ids::sibling_id,
    },
};

/// The next step with an order's hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldAction {
    /// Not decided yet: the money stays aside.
    Keep,
    /// The provider has the order: it is owed the money.
    Capture,
    /// Nothing is carried: the money goes back.
    GiveBack,
}

/// The step for an order in `status` at a provider of this kind.
#[must_use]
pub const fn due(status: OrderStatus, kind: ProviderKind) -> HoldAction {
    use OrderStatus as S;
    match status {
        // Whether the provider has it is not known, or not settled: a person decides.
        S::Created | S::NeedsAttention => HoldAction::Keep,
        S::Confirmed | S::InProgress if kind.is_owed_on_delivery() => HoldAction::Keep,
        S::Failed | S::Cancelled => HoldAction::GiveBack,
        S::Confirmed | S::InProgress | S::Delivered => HoldAction::Capture,
    }
}

/// Whether a hold in `state` is where `due` wants it.
#[must_use]
pub const fn is_settled(due: HoldAction, state: HoldState) -> bool {
    match due {
        HoldAction::Keep => matches!(state, HoldState::Open),
        HoldAction::Capture => matches!(state, HoldState::Captured),
        HoldAction::GiveBack => matches!(state, HoldState::Released | HoldState::Refunded),
    }
}

/// The key of an order's hold; none where it costs nothing.
pub(super) fn hold_key(order: &Order) -> Option<Key> {
    order.billing.as_ref().map(|billing| Key::id(HOLDS, &*billing.hold_id))
}

/// The keys of an order's hold and wallet; none where it costs nothing.
pub(super) fn keys(order: &Order) -> Vec<Key> {
    let wallet = order.charge.map(|charge| wallet::wallet_key(&order.user_id, charge.currency));
    hold_key(order).into_iter().chain(wallet).collect()
}

/// Sets the price of a new order aside. The ids of hold and transaction follow from `event_id`.
pub(super) fn hold(
    view: &mut View,
    order: &mut Order,
    quote: &Quote,
    event_id: &str,
    actor: &Actor,
) -> Result<(), LedgerRefusal> {
    order.charge = Some(quote.total);
    if quote.total.amount == 0 {
        return Ok(());
    }
    open(view, order, 1, quote.pricing.clone(), event_id, actor)
}

/// Sets the price aside again for an order that is sent again, where it was given back.
pub(super) fn hold_again(
    view: &mut View,
    order: &mut Order,
    event_id: &str,
    actor: &Actor,
) -> Result<(), LedgerRefusal> {
    let Some(billing) = order.billing.clone() else { return Ok(()) };
    match view.by_id::<Hold>(&billing.hold_id).map(|hold| hold.state) {
        Some(HoldState::Released | HoldState::Refunded) => {
            open(view, order, billing.holds + 1, billing.pricing, event_id, actor)
        }
        Some(HoldState::Open | HoldState::Captured) | None => Ok(()),
    }
}

/// Whether the hold is where the order's status wants it. One that is not there is not.
pub(super) fn is_settled_in(view: &View, order: &Order) -> bool {
    let Some(billing) = &order.billing else { return true };
    let hold = view.by_id::<Hold>(&billing.hold_id);
    hold.is_some_and(|hold| is_settled(due(order.status, order.detail.kind()), hold.state))
}

/// Brings the hold to where the order's status wants it; gives what was booked for that.
pub(super) fn settle(view: &mut View, order: &Order, event_id: &str, actor: &Actor) -> Option<LedgerKind> {
    let billing = order.billing.as_ref()?;
    // One that is not there is shown by reconciliation, and is not a reason to forget what the provider said.
    let hold = view.by_id::<Hold>(&billing.hold_id)?;
    let id = sibling_id("txn", event_id);
    let entry = |kind, booking| LedgerEntry {
        transaction_id: &id,
        kind,
        reference: LedgerReference::new("order", hold.reference_id.clone(), booking),
        client_reference: None,
        reason: None,
        actor,
    };
    let shares = || shares(&order.provider, &billing.pricing);
    let settled = match (due(order.status, order.detail.kind()), hold.state) {
        (HoldAction::Capture, HoldState::Open) => {
            let kind = LedgerKind::FreightCapture;
            wallet::capture(view, &hold.id, &shares(), &entry(kind, "capture")).map(|_| kind)
        }
        (HoldAction::GiveBack, HoldState::Open) => {
            let kind = LedgerKind::FreightRelease;
            wallet::release(view, &hold.id, &entry(kind, "release")).map(|_| kind)
        }
        (HoldAction::GiveBack, HoldState::Captured) => {
            let kind = LedgerKind::FreightRefund;
            wallet::refund(view, &hold.id, &shares(), &entry(kind, "refund")).map(|_| kind)
        }
        (due, state) if is_settled(due, state) => return None,
        // Given back, and at the provider after all, or in doubt again: reconciliation shows it to a person.
        (due, state) => {
            tracing::error!(order.id = %order.id, ?due, ?state, "the order's hold can't follow its status");
            return None;
        }
    };
    if let Err(refusal) = &settled {
        // Not a reason to forget what the provider said: the order goes on, and reconciliation shows the difference.
        tracing::error!(order.id = %order.id, %refusal, "the order's hold can't be settled");
    }
    settled.ok()
}

fn open(
    view: &mut View,
    order: &mut Order,
    holds: i32,
    pricing: Pricing,
    event_id: &str,
    actor: &Actor,
) -> Result<(), LedgerRefusal> {
    let Some(charge) = order.charge else { return Ok(()) };
    let (hold_id, transaction_id) = (sibling_id("hld", event_id), sibling_id("txn", event_id));
    let reference_id = if holds == 1 { order.id.clone() } else { format!("{}#{holds}", order.id) };
    let entry = LedgerEntry {
        transaction_id: &transaction_id,
        kind: LedgerKind::FreightHold,
        reference: LedgerReference::new("order", reference_id, "hold"),
        client_reference: None,
        reason: None,
        actor,
    };
    wallet::open_hold(view, &hold_id, &order.user_id, charge, &entry)?;
    order.billing = Some(Billing { hold_id, holds, pricing });
    Ok(())
}

/// Shares of the price: the freight is the provider's, the fee for cash on delivery ours.
fn shares(provider: &str, pricing: &Pricing) -> Vec<Share> {
    let shares = [
        Share { account: Account::Payable(provider.to_owned()), amount: pricing.freight },
        Share { account: Account::Revenue, amount: pricing.cod_fee },
    ];
    shares.into_iter().filter(|share| share.amount > 0).collect()
}
