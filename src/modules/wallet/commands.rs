//! Bookings by finance, each in one transaction.

use bson::doc;

use super::{
    ledger::{self, LedgerEntry, LedgerRefusal, wallet_key},
    model::{Account, FinanceReference, LEDGER, LedgerKind, LedgerReference, LedgerTransaction},
};
use crate::{
    modules::{
        audit::{self, AuditEvent, AuditOutcome},
        auth,
        events::Actor,
    },
    platform::{
        batch::{Command, Key, View},
        erased,
        ids::sibling_id,
        money::Money,
        scrub::scrub,
    },
};

/// Actions of the audit events.
const BOOKED: &str = "wallet.booked";
const REVERSED: &str = "wallet.reversed";

/// Writes down in the same transaction who booked what, beside the booking: auditors ask there.
fn record(view: &mut View, booked: &LedgerTransaction, action: &str) {
    let transaction = ("ledger_transaction", &*booked.id);
    let event = AuditEvent::new(AuditOutcome::Done, booked.actor.clone(), action, transaction, booked.at)
        .with_id(sibling_id("aud", &booked.id))
        .of_user(booked.user_id.clone())
        // As the ledger has it, but for what looks like a secret: who reads audit events need not see the ledger.
        .because(booked.reason.as_deref().map(scrub))
        .after(doc! {
            "kind": booked.kind.as_str(), "currency": booked.currency.code(), "changeOfAvailable": booked.change_of_available(),
            "reverses": booked.reverses.clone(),
        });
    audit::record_event(view, &event);
}

/// The reference of a booking that finance asked for under a name of its own.
#[must_use]
pub fn finance_reference(client_reference: &str) -> LedgerReference {
    LedgerReference::new("finance", client_reference, "transaction")
}

/// Notes what a name of finance's stands for from now on.
fn name(view: &mut View, client_reference: Option<&str>, booked: &LedgerTransaction) {
    if let Some(client_reference) = client_reference {
        view.insert(&FinanceReference { id: client_reference.to_owned(), transaction_id: booked.id.clone() });
    }
}

/// Bookings that finance can make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Booking {
    /// Money came in over the bank.
    Recharge,
    /// A correction in the user's favour.
    AdjustUp,
    /// A correction against the user.
    AdjustDown,
    /// From the user's wallet to another's.
    Transfer { to_user_id: String },
}

impl Booking {
    const fn kind(&self) -> LedgerKind {
        match self {
            Self::Recharge => LedgerKind::Recharge,
            Self::AdjustUp | Self::AdjustDown => LedgerKind::Adjustment,
            Self::Transfer { .. } => LedgerKind::Transfer,
        }
    }
}

/// Books for finance, or finds that it was booked.
#[derive(Clone, Debug)]
pub struct BookFinance {
    /// `txn_...`; the second is of a transfer's other half.
    pub transaction_ids: [String; 2],
    /// Its reference; the same reference is the same booking, for ever.
    pub reference: LedgerReference,
    /// Finance's own id, where finance asks.
    pub client_reference: Option<String>,
    pub booking: Booking,
    pub user_id: String,
    pub money: Money,
    pub reason: Option<String>,
    pub actor: Actor,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Booked {
    New(Box<LedgerTransaction>),
    /// It was booked before, with the same meaning.
    Replay(Box<LedgerTransaction>),
    /// The reference stands for something else.
    Mismatch,
    /// There is no such user; the field that names it.
    NoUser(&'static str),
    /// It can't be booked.
    Refused(LedgerRefusal),
}

impl BookFinance {
    fn payee(&self) -> Option<&str> {
        match &self.booking {
            Booking::Transfer { to_user_id } => Some(to_user_id),
            Booking::Recharge | Booking::AdjustUp | Booking::AdjustDown => None,
        }
    }

    /// By how much the user's `available` changes.
    const fn change(&self) -> i64 {
        match self.booking {
            Booking::Recharge | Booking::AdjustUp => self.money.amount,
            Booking::AdjustDown | Booking::Transfer { .. } => self.money.amount.saturating_neg(),
        }
    }

    fn means(&self, booked: &LedgerTransaction, payee: Option<&LedgerTransaction>) -> bool {
        booked.kind == self.booking.kind()
            && booked.user_id == self.user_id
            && booked.currency == self.money.currency
            && booked.change_of_available() == self.change()
            && erased::may_be(booked.reason.as_deref(), self.reason.as_deref())
            && payee.map(|half| half.user_id.as_str()) == self.payee()
    }

    fn payee_reference(&self) -> LedgerReference {
        LedgerReference { booking: "transfer_in", ..self.reference.clone() }
    }

    fn book(&self, view: &mut View) -> Result<LedgerTransaction, LedgerRefusal> {
        let entry = |transaction_id, reference| LedgerEntry {
            transaction_id,
            kind: self.booking.kind(),
            reference,
            client_reference: self.client_reference.as_deref(),
            reason: self.reason.as_deref(),
            actor: &self.actor,
        };
        let first = entry(&self.transaction_ids[0], self.reference.clone());
        let (user_id, money) = (self.user_id.as_str(), self.money);
        match &self.booking {
            Booking::Recharge => ledger::credit(view, user_id, money, Account::SettlementCash, &first),
            Booking::AdjustUp => ledger::credit(view, user_id, money, Account::Adjustments, &first),
            Booking::AdjustDown => ledger::debit(view, user_id, money, Account::Adjustments, &first),
            Booking::Transfer { to_user_id } => {
                // Both halves or none: the second is looked at before the first is booked.
                ledger::check_credit(view, to_user_id, money)?;
                let booked = ledger::debit(view, user_id, money, Account::Transfers, &first)?;
                let second = entry(&self.transaction_ids[1], self.payee_reference());
                let received = ledger::credit(view, to_user_id, money, Account::Transfers, &second)?;
                record(view, &received, BOOKED);
                Ok(booked)
            }
        }
    }
}

impl Command for BookFinance {
    type Reply = Booked;

    fn reads(&self) -> Vec<Key> {
        let mut keys = vec![
            self.reference.key(),
            self.payee_reference().key(),
            wallet_key(&self.user_id, self.money.currency),
            auth::user_key(&self.user_id),
        ];
        if let Some(payee) = self.payee() {
            keys.extend([wallet_key(payee, self.money.currency), auth::user_key(payee)]);
        }
        keys.extend(self.client_reference.as_deref().map(FinanceReference::key));
        keys
    }

    fn decide(&self, view: &mut View) -> Booked {
        if let Some(booked) = view.find::<LedgerTransaction>(&self.reference.key()) {
            let payee = view.find::<LedgerTransaction>(&self.payee_reference().key());
            return if self.means(&booked, payee.as_ref()) {
                Booked::Replay(Box::new(booked))
            } else {
                Booked::Mismatch
            };
        }
        // It stands for a reversal: a booking was found above.
        if self.client_reference.as_deref().is_some_and(|name| view.contains(&FinanceReference::key(name))) {
            return Booked::Mismatch;
        }
        if !view.contains(&auth::user_key(&self.user_id)) {
            return Booked::NoUser("userId");
        }
        if self.payee().is_some_and(|payee| !view.contains(&auth::user_key(payee))) {
            return Booked::NoUser("toUserId");
        }
        match self.book(view) {
            Ok(booked) => {
                record(view, &booked, BOOKED);
                name(view, self.client_reference.as_deref(), &booked);
                Booked::New(Box::new(booked))
            }
            Err(refusal) => Booked::Refused(refusal),
        }
    }
}

/// Books the opposite of a transaction, once.
#[derive(Clone, Debug)]
pub struct Reverse {
    /// `txn_...`, of the reversal.
    pub transaction_id: String,
    /// The transaction to take back.
    pub original_id: String,
    /// Finance's own id, of one scope with those of bookings.
    pub client_reference: String,
    pub reason: String,
    pub actor: Actor,
}

/// Result of a reversal.
#[derive(Clone, Debug, PartialEq)]
pub enum Reversed {
    /// It is booked now.
    New(Box<LedgerTransaction>),
    /// It was booked before under this name, with the same meaning.
    Replay(Box<LedgerTransaction>),
    /// The name stands for something else.
    Mismatch,
    /// There is no such transaction.
    NotFound,
    /// It was taken back before, by this transaction and under another name.
    Before(String),
    /// It can't be taken back.
    Refused(LedgerRefusal),
}

impl Reverse {
    fn reference(&self) -> LedgerReference {
        LedgerReference::new("transaction", self.original_id.clone(), "reversal")
    }
}

impl Command for Reverse {
    type Reply = Reversed;

    fn reads(&self) -> Vec<Key> {
        vec![
            Key::id(LEDGER, &*self.original_id),
            self.reference().key(),
            FinanceReference::key(&self.client_reference),
            finance_reference(&self.client_reference).key(),
        ]
    }

    fn decide(&self, view: &mut View) -> Reversed {
        let Some(original) = view.by_id::<LedgerTransaction>(&self.original_id) else { return Reversed::NotFound };
        let before = view.find::<LedgerTransaction>(&self.reference().key());
        // Names were not noted once: neither those of bookings, which are found by them, nor those of reversals.
        let named = view.by_id::<FinanceReference>(&self.client_reference).map(|name| name.transaction_id);
        let is_before = |id: &String| before.as_ref().is_some_and(|before| before.id == *id);
        if named.is_some_and(|id| !is_before(&id)) || view.contains(&finance_reference(&self.client_reference).key()) {
            return Reversed::Mismatch;
        }
        match before {
            Some(before) if before.client_reference.as_deref() != Some(&*self.client_reference) => {
                return Reversed::Before(before.id);
            }
            Some(before) if erased::may_be(before.reason.as_deref(), Some(&self.reason)) => {
                return Reversed::Replay(Box::new(before));
            }
            Some(_) => return Reversed::Mismatch,
            None => {}
        }
        let entry = LedgerEntry {
            transaction_id: &self.transaction_id,
            kind: LedgerKind::Reversal,
            reference: self.reference(),
            client_reference: Some(&self.client_reference),
            reason: Some(&self.reason),
            actor: &self.actor,
        };
        match ledger::reverse(view, &original, &entry) {
            Ok(booked) => {
                record(view, &booked, REVERSED);
                name(view, Some(&self.client_reference), &booked);
                Reversed::New(Box::new(booked))
            }
            Err(refusal) => Reversed::Refused(refusal),
        }
    }
}
