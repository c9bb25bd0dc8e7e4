//! What a checkout that comes to nothing gives back: its stock, and the money that was taken from a wallet. Whoever ends a checkout
//! goes through here: its cancellation, now or once its parts are taken back, and a payment that failed.

use super::{
    error::CheckoutError,
    model::{Checkout, PaymentMethod, PaymentStatus},
};
use crate::{
    modules::{
        catalog::{self, MovementKind, Product, move_stock},
        events::Actor,
        wallet::{self, Account, Entry, LedgerKind, Reference},
    },
    platform::{
        batch::View,
        ids::{nth_id, sibling_id},
    },
};

/// What we owe merchants for what was bought from wallets.
pub(super) fn payable() -> Account {
    Account::Payable("merchants".into())
}

/// Who gives back, and what says so.
pub(super) struct GivingBack<'a> {
    /// Of the event that says that the checkout has ended, made before the transaction's first try; bookings and movements have ids that
    /// go with it.
    pub(super) event_id: &'a str,
    pub(super) actor: &'a Actor,
}

impl GivingBack<'_> {
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
        let takes_back =
            checkout.payment.status == PaymentStatus::Paid && checkout.payment.method == PaymentMethod::Wallet;
        if takes_back {
            wallet::check_credit(view, &checkout.user_id, checkout.money())?;
        }
        if products.iter().any(|(product, quantity)| !product.has_room_for(*quantity)) {
            return Err(CheckoutError::StockFull);
        }
        for ((mut product, quantity), n) in products.into_iter().zip(0..) {
            let entry = catalog::Entry {
                movement_id: &nth_id("mov", self.event_id, n),
                kind: MovementKind::Return,
                delta: quantity,
                reference: catalog::Reference { kind_of_thing: "return", id: checkout.id.clone() },
                reason: None,
                actor: self.actor,
            };
            move_stock(view, &mut product, &entry).expect("there is room: it was compared");
        }
        if takes_back {
            let entry = Entry {
                transaction_id: &sibling_id("txn", self.event_id),
                kind: LedgerKind::PurchaseRefund,
                reference: Reference::new("checkout", &*checkout.id, "refund"),
                client_reference: None,
                reason: None,
                actor: self.actor,
            };
            let booked = wallet::credit(view, &checkout.user_id, checkout.money(), payable(), &entry)
                .expect("the wallet can take it: it was asked");
            checkout.payment.refund_id = Some(booked.id);
            checkout.payment.status = PaymentStatus::Refunded;
        }
        Ok(())
    }
}
