//! The receiver of a payment's money: the payer's own wallet, or whom a checkout is with. What a payment does to its payee is in the
//! payment's own transaction.

use std::sync::Arc;

use super::model::Topup;
use crate::{
    modules::{
        providers::call_job::Author,
        wallet::{self, Account, LedgerEntry, LedgerKind, LedgerRefusal, LedgerTransaction},
    },
    platform::{batch::View, ids::sibling_id},
};

/// Gets the money of payments of one kind. Ids of what it writes go with the event's, from its first neighbour on; those of the
/// transaction and of one job are its siblings.
pub trait Payee: Send + Sync + 'static {
    /// The gateway has the money of `payment`, which says so afterwards: books it, and gives the transaction's id. Called once
    /// for a payment.
    ///
    /// # Errors
    /// Why it can't take it; then a person decides.
    fn receive(&self, view: &mut View, payment: &mut Topup, by: Author<'_>) -> Result<String, LedgerRefusal>;

    /// Something else has happened to `payment`, which is written afterwards.
    fn follow(&self, view: &mut View, payment: &Topup, event: &str, by: Author<'_>);

    /// The queue of what follows from the money.
    fn queue(&self) -> Option<&'static str>;
}

/// Top-ups: the money is the user's.
pub(super) struct Wallets;

impl Payee for Wallets {
    fn receive(&self, view: &mut View, payment: &mut Topup, by: Author<'_>) -> Result<String, LedgerRefusal> {
        let reference = Topup::reference(&payment.id);
        if let Some(booked) = view.find::<LedgerTransaction>(&reference.key()) {
            return Ok(booked.id);
        }
        let entry = LedgerEntry {
            transaction_id: &sibling_id("txn", by.event_id),
            kind: LedgerKind::Recharge,
            reference,
            client_reference: None,
            reason: Some("Top-up"),
            actor: by.actor,
        };
        wallet::credit(view, &payment.user_id, payment.money(), Account::SettlementCash, &entry).map(|booked| booked.id)
    }

    fn follow(&self, _: &mut View, _: &Topup, _: &str, _: Author<'_>) {}

    fn queue(&self) -> Option<&'static str> {
        None
    }
}

#[derive(Clone)]
pub struct Payees {
    pub checkouts: Arc<dyn Payee>,
}

impl std::fmt::Debug for Payees {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payees").finish_non_exhaustive()
    }
}

impl Payees {
    pub(super) fn of(&self, payment: &Topup) -> &dyn Payee {
        if payment.checkout_id.is_some() { &*self.checkouts } else { &Wallets }
    }

    /// For tests of top-ups.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { checkouts: Arc::new(Wallets) }
    }
}
