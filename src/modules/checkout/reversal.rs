//! The end of a checkout that comes to nothing: it gives back its stock, and its money, to the wallet at once, through the gateway by
//! a refund that is asked for. Its cancellation goes through here, now or once its parts are taken back, and a payment that failed.

use super::{
    error::CheckoutError,
    events::record,
    model::{Checkout, CheckoutCancellationStatus, PaymentMethod, PaymentStatus},
    transitions::{CheckoutCommand, next},
};
use crate::{
    modules::{
        catalog::{self, MovementKind, Product, move_stock},
        providers::call_job::Author,
        queue::QueueConfig,
        wallet::{
            self, Account, LedgerEntry, LedgerKind, LedgerReference, LedgerRefusal,
            topups::{self, TOPUPS},
        },
    },
    platform::{
        batch::{Key, View},
        ids::{nth_id, sibling_id},
    },
};

/// Cancels a checkout, or refuses and changes nothing. `by` has the id of its event, and the caller writes it.
///
/// # Errors
/// [`CheckoutError::NotCancellable`], and as [`give_back`].
pub(super) fn cancel(
    view: &mut View,
    checkout: &mut Checkout,
    payments: &QueueConfig,
    by: Author<'_>,
) -> Result<(), CheckoutError> {
    let cancelled = next(checkout.status, CheckoutCommand::Cancel);
    let cancelled = cancelled.ok_or(CheckoutError::NotCancellable(checkout.status))?;
    let waited = checkout.waits_for_payment();
    give_back(view, checkout, payments, by)?;
    if let (Some(payment), true) = (&checkout.payment.gateway_payment, waited) {
        let event_id = nth_id("evt", by.event_id, 1);
        topups::drop_payment(view, payment, Author { actor: by.actor, event_id: &event_id });
        checkout.payment.abandon();
    }
    checkout.status = cancelled;
    checkout.cancellation_is(CheckoutCancellationStatus::Done);
    checkout.updated_at = view.now();
    record(view, checkout, by.event_id, "CheckoutCancelled", by.actor);
    Ok(())
}

/// Gives back all that `checkout` took, which holds it still, or refuses and changes nothing. Its payment says so then; its
/// status and its event are the caller's, who writes it. The event of `by` says that it has ended: bookings and movements have
/// ids that go with it. Refunds are asked for on the queue `payments`.
///
/// # Errors
/// [`CheckoutError::Unpaid`], [`CheckoutError::StockFull`].
pub(super) fn give_back(
    view: &mut View,
    checkout: &mut Checkout,
    payments: &QueueConfig,
    by: Author<'_>,
) -> Result<(), CheckoutError> {
    // All that is needed is looked for before anything is decided, so that it is read together.
    let quantities = checkout.quantities();
    let products = quantities.iter().map(|(id, quantity)| (view.by_id::<Product>(id), *quantity));
    let products: Vec<_> = products.filter_map(|(product, quantity)| Some((product?, quantity))).collect();
    let payment = checkout.payment.gateway_payment.as_deref();
    let _ = payment.is_some_and(|payment| view.contains(&Key::id(TOPUPS, payment)));
    let is_paid = checkout.payment.status == PaymentStatus::Paid;
    if is_paid && checkout.payment.method == PaymentMethod::Wallet {
        wallet::check_credit(view, &checkout.user_id, checkout.money())?;
    }
    if products.iter().any(|(product, quantity)| !product.has_room_for(*quantity)) {
        return Err(CheckoutError::StockFull);
    }
    for ((mut product, quantity), n) in products.into_iter().zip(0..) {
        let entry = catalog::StockEntry {
            movement_id: &nth_id("mov", by.event_id, n),
            kind: MovementKind::Return,
            delta: quantity,
            reference: catalog::StockReference { kind_of_thing: "return", id: checkout.id.clone() },
            reason: None,
            actor: by.actor,
        };
        move_stock(view, &mut product, &entry).expect("there is room: it was compared");
    }
    if is_paid {
        give_money_back(view, checkout, payments, by).expect("it was paid, and the wallet can take it: it was asked");
    }
    Ok(())
}

/// Takes the money from the merchant again.
fn give_money_back(
    view: &mut View,
    checkout: &mut Checkout,
    payments: &QueueConfig,
    by: Author<'_>,
) -> Result<(), LedgerRefusal> {
    let entry = LedgerEntry {
        transaction_id: &sibling_id("txn", by.event_id),
        kind: LedgerKind::PurchaseRefund,
        reference: LedgerReference::new("checkout", &*checkout.id, "refund"),
        client_reference: None,
        reason: None,
        actor: by.actor,
    };
    let (user_id, money, merchant) = (&checkout.user_id, checkout.money(), Account::merchant(&checkout.seller_id));
    let (booked, status) = match checkout.payment.method {
        // The merchant has the money, and gives it back.
        PaymentMethod::External => return Ok(()),
        PaymentMethod::Wallet => (wallet::credit(view, user_id, money, merchant, &entry)?, PaymentStatus::Refunded),
        PaymentMethod::Gateway => {
            let booked = wallet::pass_on(view, user_id, money, (merchant, Account::refunds()), &entry)?;
            let event_id = nth_id("evt", by.event_id, 1);
            let by = Author { actor: by.actor, event_id: &event_id };
            let payment = checkout.payment.gateway_payment.as_deref().unwrap_or_default();
            topups::request_refund(view, payment, payments, by);
            (booked, PaymentStatus::Refunding)
        }
    };
    checkout.payment.refund_id = Some(booked.id);
    checkout.payment.status = status;
    Ok(())
}
