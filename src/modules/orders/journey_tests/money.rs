//! The money of a random journey.

use super::{Actor, Entity, Order, View, World};
use crate::{
    modules::{
        orders::{
            charging::{HoldAction, due, is_settled},
            charging_tests::quote,
        },
        wallet::{
            Account, Hold, HoldState, LedgerEntry, LedgerKind, LedgerReference, LedgerTransaction, credit, wallet_key,
        },
    },
    platform::money::Currency,
};

impl World {
    /// Keeps what a transaction wrote of wallet, holds and ledger.
    pub(super) fn keep_money(&mut self, view: &View) {
        self.wallet = view.find(&wallet_key("usr_1", Currency::INR));
        for body in (1..=self.ids).map(|id| format!("{id:04}")) {
            if let Some(hold) = found::<Hold>(view, &format!("hld_{body}")) {
                self.holds.insert(hold.id.clone(), hold);
            }
            if let Some(booked) = found::<LedgerTransaction>(view, &format!("txn_{body}")) {
                let twin = self.ledger.values().any(|known| known.reference() == booked.reference());
                assert!(!twin, "booked twice: {booked:?}");
                self.ledger.insert(booked.id.clone(), booked);
            }
        }
    }

    /// The merchant has just enough for one order.
    pub(super) fn recharge(&mut self) {
        let (id, actor) = (self.id("txn"), Actor::worker("usr_finance", "rqs_0"));
        let entry = LedgerEntry {
            transaction_id: &id,
            kind: LedgerKind::Recharge,
            reference: LedgerReference::new("test", "recharge", "credit"),
            client_reference: None,
            reason: None,
            actor: &actor,
        };
        self.commit(|view| {
            view.put_absent(wallet_key("usr_1", Currency::INR));
            credit(view, "usr_1", quote().total, Account::SettlementCash, &entry).expect("a credit");
        });
    }

    /// Every hold is where the order's status wants it, all older ones were given back, and the sums agree.
    pub(super) fn check_money(&self, order: &Order) {
        let billing = order.billing.as_ref().expect("it costs something");
        for hold in self.holds.values() {
            let due =
                if hold.id == billing.hold_id { due(order.status, order.detail.kind()) } else { HoldAction::GiveBack };
            assert!(is_settled(due, hold.state), "{:?}: {hold:?}", order.status);
        }
        assert_eq!(self.holds.len(), billing.holds as usize);
        let sum = |account| self.ledger.values().map(|booked| booked.sum_of(&account)).sum::<i64>();
        let wallet = self.wallet.as_ref().expect("a wallet");
        assert_eq!(sum(Account::Available), wallet.available);
        let open = self.holds.values().filter(|hold| hold.state == HoldState::Open);
        assert_eq!(sum(Account::Held), open.map(|hold| hold.amount).sum::<i64>());
        let price = quote().total.amount;
        let expected = match due(order.status, order.detail.kind()) {
            HoldAction::Keep => (0, price, 0),
            HoldAction::Capture => (0, 0, price),
            HoldAction::GiveBack => (price, 0, 0),
        };
        let owed = sum(Account::Payable("parcelx".into())) + sum(Account::Revenue);
        assert_eq!((wallet.available, sum(Account::Held), owed), expected, "{:?}", order.status);
    }
}

fn found<E: Entity>(view: &View, id: &str) -> Option<E> {
    view.by_id(id)
}
