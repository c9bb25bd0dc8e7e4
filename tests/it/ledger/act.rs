//! Actions of the model as commands over the real ledger, and what is stored held against the model.

use std::collections::{BTreeMap, HashMap, HashSet};

use bson::doc;
use futures_util::TryStreamExt;
use mongodb::Database;
use serde::de::DeserializeOwned;
use waybill::{
    modules::{
        events::Actor,
        wallet::{
            Account, BookFinance, Booked, Booking, HOLDS, Hold, HoldState, LEDGER, LedgerEntry, LedgerKind,
            LedgerReference, LedgerRefusal, LedgerTransaction, Reverse, Reversed, Share, WALLETS, Wallet, capture,
            credit, debit, open_hold, refund, release, wallet_key,
        },
    },
    platform::{
        batch::{Command, Key, View},
        money::{Currency, Money},
    },
};

use crate::support::ledger_model::{
    self as model, CURRENCIES, LedgerAction, Model, Purse, Reply, SHARE_ACCOUNTS, State, USERS, What,
};

#[derive(Clone)]
pub struct Act(pub LedgerAction);

fn money(purse: Purse, amount: i64) -> Money {
    Money::new(amount, Currency::from_code(purse.1).unwrap())
}

fn wallet_of(purse: Purse) -> Key {
    wallet_key(purse.0, Currency::from_code(purse.1).unwrap())
}

fn shares(amounts: &[i64]) -> Vec<Share> {
    let share = |(account, amount): (&str, &i64)| {
        let account = Account::try_from(account.to_owned()).unwrap();
        Share { account, amount: *amount }
    };
    SHARE_ACCOUNTS.into_iter().zip(amounts).map(share).collect()
}

fn actor() -> Actor {
    Actor::worker("wrk_test", "rqs_test")
}

fn refused(refusal: LedgerRefusal) -> Reply {
    match refusal {
        LedgerRefusal::Insufficient { needed, available } => {
            Reply::Insufficient { needed: needed.amount, available: available.amount }
        }
        LedgerRefusal::Amount => Reply::Amount,
        LedgerRefusal::Overflow => Reply::Overflow,
        LedgerRefusal::NoHold => Reply::NoHold,
        LedgerRefusal::HoldState(state) => Reply::HoldState(state_of(state)),
        LedgerRefusal::Shares => Reply::Shares,
        LedgerRefusal::NotReversible => Reply::NotReversible,
    }
}

fn state_of(state: HoldState) -> State {
    match state {
        HoldState::Open => State::Open,
        HoldState::Captured => State::Captured,
        HoldState::Released => State::Released,
        HoldState::Refunded => State::Refunded,
    }
}

fn done<T>(result: Result<T, LedgerRefusal>) -> Reply {
    result.map_or_else(refused, |_| Reply::Done)
}

impl Act {
    fn reference(&self) -> LedgerReference {
        LedgerReference::new("test", self.0.id.clone(), "booking")
    }

    fn book(&self) -> Option<BookFinance> {
        let What::Book { reference, booking, purse, amount, reason } = &self.0.what else { return None };
        let booking = match booking {
            model::Booking::Recharge => Booking::Recharge,
            model::Booking::AdjustUp => Booking::AdjustUp,
            model::Booking::AdjustDown => Booking::AdjustDown,
            model::Booking::Transfer { to } => Booking::Transfer { to_user_id: (*to).to_owned() },
        };
        Some(BookFinance {
            transaction_ids: self.transactions(),
            reference: LedgerReference::new("finance", reference.clone(), "transaction"),
            client_reference: Some(reference.clone()),
            booking,
            user_id: purse.0.to_owned(),
            money: money(*purse, *amount),
            reason: Some((*reason).to_owned()),
            actor: actor(),
        })
    }

    fn reversal(&self) -> Option<Reverse> {
        let What::Reverse { original } = &self.0.what else { return None };
        Some(Reverse {
            transaction_id: self.0.transaction(),
            original_id: original.clone(),
            client_reference: self.0.id.clone(),
            reason: "as agreed".into(),
            actor: actor(),
        })
    }

    /// Ids of the transactions that it may book.
    pub fn transactions(&self) -> [String; 2] {
        [self.0.transaction(), self.0.other_half()]
    }

    /// The hold that it may open or close.
    pub fn hold(&self) -> Option<&str> {
        match &self.0.what {
            What::Hold { hold, .. }
            | What::Capture { hold, .. }
            | What::Release { hold }
            | What::Refund { hold, .. } => Some(hold),
            What::Credit { .. } | What::Debit { .. } | What::Reverse { .. } | What::Book { .. } => None,
        }
    }
}

impl Command for Act {
    type Reply = Reply;

    fn reads(&self) -> Vec<Key> {
        match &self.0.what {
            What::Book { .. } => self.book().unwrap().reads(),
            What::Reverse { .. } => self.reversal().unwrap().reads(),
            What::Credit { purse, .. } | What::Debit { purse, .. } | What::Hold { purse, .. } => {
                vec![self.reference().key(), wallet_of(*purse)]
            }
            What::Capture { hold, .. } | What::Release { hold } | What::Refund { hold, .. } => {
                vec![self.reference().key(), Key::id(HOLDS, hold.as_str())]
            }
        }
    }

    fn decide(&self, view: &mut View) -> Reply {
        if let Some(book) = self.book() {
            return match book.decide(view) {
                Booked::New(booked) => {
                    assert_eq!(booked.id, self.0.transaction());
                    Reply::Done
                }
                Booked::Replay(booked) if booked.id == self.0.transaction() => Reply::Done,
                Booked::Replay(_) => Reply::Replayed,
                Booked::Mismatch => Reply::Mismatch,
                Booked::NoUser(field) => Reply::NoUser(field),
                Booked::Refused(refusal) => refused(refusal),
            };
        }
        if let Some(reversal) = self.reversal() {
            return match reversal.decide(view) {
                Reversed::New(booked) => {
                    assert_eq!(booked.id, self.0.transaction());
                    Reply::Done
                }
                Reversed::Replay(booked) => {
                    assert_eq!(booked.id, self.0.transaction());
                    Reply::Done
                }
                Reversed::Mismatch => Reply::Mismatch,
                Reversed::NotFound => Reply::NotFound,
                Reversed::Before(by) => Reply::Before(by),
                Reversed::Refused(refusal) => refused(refusal),
            };
        }
        if view.contains(&self.reference().key()) {
            return Reply::Done;
        }
        let (id, actor) = (self.0.transaction(), actor());
        let entry = |kind| LedgerEntry {
            transaction_id: &id,
            kind,
            reference: self.reference(),
            client_reference: None,
            reason: None,
            actor: &actor,
        };
        match &self.0.what {
            What::Credit { purse, amount } => {
                let entry = entry(LedgerKind::Recharge);
                done(credit(view, purse.0, money(*purse, *amount), Account::SettlementCash, &entry))
            }
            What::Debit { purse, amount } => {
                let entry = entry(LedgerKind::Adjustment);
                done(debit(view, purse.0, money(*purse, *amount), Account::Adjustments, &entry))
            }
            What::Hold { hold, purse, amount } => {
                done(open_hold(view, hold, purse.0, money(*purse, *amount), &entry(LedgerKind::FreightHold)))
            }
            What::Capture { hold, shares: amounts } => {
                done(capture(view, hold, &shares(amounts), &entry(LedgerKind::FreightCapture)))
            }
            What::Release { hold } => done(release(view, hold, &entry(LedgerKind::FreightRelease))),
            What::Refund { hold, shares: amounts } => {
                done(refund(view, hold, &shares(amounts), &entry(LedgerKind::FreightRefund)))
            }
            What::Reverse { .. } | What::Book { .. } => unreachable!("they have commands of their own"),
        }
    }
}

#[derive(Default)]
pub struct Books {
    pub wallets: Vec<Wallet>,
    pub holds: Vec<Hold>,
    pub transactions: Vec<LedgerTransaction>,
}

impl Books {
    pub async fn read(db: &Database) -> Self {
        async fn all<T: DeserializeOwned + Send + Sync>(db: &Database, collection: &str) -> Vec<T> {
            db.collection(collection).find(doc! {}).await.unwrap().try_collect().await.unwrap()
        }
        Self { wallets: all(db, WALLETS).await, holds: all(db, HOLDS).await, transactions: all(db, LEDGER).await }
    }

    /// What holds in whatever order the actions were done. `openings`: what was there before the first transaction.
    pub fn assert_sound(&self, openings: &BTreeMap<Purse, i64>) {
        let references: HashSet<_> = self.transactions.iter().map(LedgerTransaction::reference).collect();
        assert_eq!(references.len(), self.transactions.len(), "each reference is booked once");
        for booked in &self.transactions {
            assert!(booked.lines.len() > 1 && booked.lines.iter().all(|line| line.amount != 0), "{booked:?}");
            assert!(booked.lines.iter().all(|line| line.currency == booked.currency), "{booked:?}");
            let sum: i128 = booked.lines.iter().map(|line| i128::from(line.amount)).sum();
            assert_eq!(sum, 0, "{booked:?}");
            let touched = booked.lines.iter().any(|line| line.account == Account::Available);
            assert_eq!(
                (touched, touched),
                (booked.wallet_seq.is_some(), booked.available_after.is_some()),
                "{booked:?}"
            );
        }
        for wallet in &self.wallets {
            let of_wallet = |booked: &&LedgerTransaction| {
                booked.user_id == wallet.user_id && booked.currency == wallet.currency && booked.wallet_seq.is_some()
            };
            let mut touching: Vec<_> = self.transactions.iter().filter(of_wallet).collect();
            touching.sort_by_key(|booked| booked.wallet_seq);
            let opening = openings.iter().find(|(purse, _)| wallet_id(**purse) == wallet.id);
            let (mut available, mut last) = (opening.map_or(0, |(_, amount)| *amount), None);
            for (position, booked) in touching.iter().enumerate() {
                assert_eq!(booked.wallet_seq, Some(position as i64 + 1), "the sequence has no gap: {booked:?}");
                available += booked.change_of_available();
                assert!(available >= 0, "never below zero: {booked:?}");
                assert_eq!(booked.available_after, Some(available), "{booked:?}");
                assert!(last.is_none_or(|last| last <= booked.at), "time runs backwards: {booked:?}");
                last = Some(booked.at);
            }
            assert_eq!((wallet.available, wallet.version), (available, touching.len() as i64), "{wallet:?}");
            assert!(last.is_none_or(|last| last == wallet.last_at), "{wallet:?}");
        }
    }

    pub fn assert_are(&self, model: &Model) {
        for user in USERS {
            for currency in CURRENCIES {
                let purse = (user, currency);
                let wallet = self.wallets.iter().find(|wallet| wallet.id == wallet_id(purse));
                let found = wallet.map_or((0, 0), |wallet| (wallet.available, wallet.version));
                let changes = model.changes.get(&purse).copied().unwrap_or(0);
                assert_eq!(found, (model.available(purse), changes), "{purse:?}");
                let of_purse =
                    |booked: &&LedgerTransaction| booked.user_id == user && booked.currency.code() == currency;
                let lines = self.transactions.iter().filter(of_purse).map(|booked| booked.sum_of(&Account::Held));
                assert_eq!(lines.sum::<i64>(), model.held(purse), "held by {purse:?}");
            }
        }
        let mut house: BTreeMap<(String, &str), i64> = BTreeMap::new();
        for line in self.transactions.iter().flat_map(|booked| &booked.lines).filter(|line| !line.account.is_wallet()) {
            *house.entry((line.account.to_string(), line.currency.code())).or_default() += line.amount;
        }
        let owned =
            |((account, currency), sum): (&(&str, &'static str), &i64)| (((*account).to_owned(), *currency), *sum);
        let mut expected: BTreeMap<_, _> = model.house.iter().map(owned).collect();
        // Transfers leave nothing, and what was reversed neither.
        house.retain(|_, sum| *sum != 0);
        expected.retain(|_, sum| *sum != 0);
        assert_eq!(house, expected, "accounts of the house");
        let holds: HashMap<&str, &Hold> = self.holds.iter().map(|hold| (hold.id.as_str(), hold)).collect();
        assert_eq!((holds.len(), self.holds.len()), (model.holds.len(), model.holds.len()));
        for (id, expected) in &model.holds {
            let hold = holds[id.as_str()];
            assert_eq!((hold.user_id.as_str(), hold.currency.code()), expected.purse, "{hold:?}");
            assert_eq!((hold.amount, hold.captured), (expected.amount, expected.captured), "{hold:?}");
            assert_eq!(state_of(hold.state), expected.state, "{hold:?}");
        }
        assert_eq!(self.transactions.len(), model.transactions(), "nothing else was booked");
    }
}

/// As stored; spelled out here, so that a change of it shows.
pub fn wallet_id(purse: Purse) -> String {
    format!("wal_{}_{}", purse.0.strip_prefix("usr_").unwrap(), purse.1)
}
