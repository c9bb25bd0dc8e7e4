//! What a checkout that comes to nothing gives back: its stock, and its money, to the wallet at once, through the gateway by a refund
//! that is asked for. Whoever ends a checkout goes through here: its cancellation, now or once its parts are taken back, and a payment
//! that failed.

use super::{
    error::CheckoutError,
    model::{Checkout, PaymentMethod, PaymentStatus},
};
use crate::{
    modules::{
        catalog::{self, MovementKind, Product, move_stock},
        events::Actor,
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

/// Actor and event of a reversal.
pub(super) struct ReversalContext<'a> {
    /// Of the event that says that the checkout has ended, made before the transaction's first try; bookings and movements have ids that
    /// go with it.
    pub(super) event_id: &'a str,
    pub(super) actor: &'a Actor,
    /// Where refunds are asked for.
    pub(super) payments: &'a QueueConfig,
}

impl ReversalContext<'_> {
    /// Gives back all that `checkout` took, which holds it still, or refuses and changes nothing. Its payment says so then; its
    /// status and its event are the caller's, who writes it.
    ///
    /// # Errors
    /// [`CheckoutError::Unpaid`], [`CheckoutError::StockFull`].
    pub(super) fn give_back(&self, view: &mut View, checkout: &mut Checkout) -> Result<(), CheckoutError> {
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
                movement_id: &nth_id("mov", self.event_id, n),
                kind: MovementKind::Return,
                delta: quantity,
                reference: catalog::StockReference { kind_of_thing: "return", id: checkout.id.clone() },
                reason: None,
                actor: self.actor,
            };
            move_stock(view, &mut product, &entry).expect("there is room: it was compared");
        }
        if is_paid {
            self.give_money_back(view, checkout).expect("it was paid, and the wallet can take it: it was asked");
        }
        Ok(())
    }

    /// Takes the money from the merchant again.
    fn give_money_back(&self, view: &mut View, checkout: &mut Checkout) -> Result<(), LedgerRefusal> {
        let entry = LedgerEntry {
            transaction_id: &sibling_id("txn", self.event_id),
            kind: LedgerKind::PurchaseRefund,
            reference: LedgerReference::new("checkout", &*checkout.id, "refund"),
            client_reference: None,
            reason: None,
            actor: self.actor,
        };
        let (user_id, money, merchant) = (&checkout.user_id, checkout.money(), Account::merchant(&checkout.seller_id));
        let (booked, status) = match checkout.payment.method {
            // The merchant has the money, and gives it back.
            PaymentMethod::External => return Ok(()),
            PaymentMethod::Wallet => (wallet::credit(view, user_id, money, merchant, &entry)?, PaymentStatus::Refunded),
            PaymentMethod::Gateway => {
                let booked = wallet::pass_on(view, user_id, money, (merchant, Account::refunds()), &entry)?;
                let event_id = nth_id("evt", self.event_id, 1);
                let by = Author { actor: self.actor, event_id: &event_id };
                let payment = checkout.payment.gateway_payment.as_deref().unwrap_or_default();
                topups::request_refund(view, payment, self.payments, by);
                (booked, PaymentStatus::Refunding)
            }
        };
        checkout.payment.refund_id = Some(booked.id);
        checkout.payment.status = status;
        Ok(())
    }
}
