//! The decisions of the ledger, case by case.

use bson::DateTime;

use super::{
    Account, HOLDS, Hold, HoldState, LEDGER, LedgerEntry, LedgerKind, LedgerReference, LedgerRefusal,
    LedgerTransaction, Share, Wallet, capture, credit, debit, ledger::check_credit, open_hold, refund, release,
    reverse, wallet_key,
};
use crate::{
    modules::events::Actor,
    platform::{
        batch::{Key, View},
        money::{AMOUNT_MAX, Currency, Money},
    },
};

const USER: &str = "usr_1";

struct Books {
    view: View,
    actor: Actor,
}

impl Books {
    fn with(available: i64) -> Self {
        let mut view = View::new(DateTime::from_millis(1_000));
        view.put_absent(wallet_key(USER, Currency::INR));
        let mut books = Self { view, actor: Actor::worker("wrk_1", "rqs_1") };
        if available > 0 {
            books.credit(available).expect("a credit");
        }
        books
    }

    fn entry<'a>(actor: &'a Actor, id: &'a str, kind: LedgerKind) -> LedgerEntry<'a> {
        let reference = LedgerReference::new("test", id, "booking");
        LedgerEntry { transaction_id: id, kind, reference, client_reference: None, reason: None, actor }
    }

    fn credit(&mut self, amount: i64) -> Result<LedgerTransaction, LedgerRefusal> {
        let id = format!("txn_credit{}", self.view.now().timestamp_millis());
        let entry = Self::entry(&self.actor, &id, LedgerKind::Recharge);
        credit(&mut self.view, USER, inr(amount), Account::SettlementCash, &entry)
    }

    fn debit(&mut self, id: &str, amount: i64) -> Result<LedgerTransaction, LedgerRefusal> {
        let entry = Self::entry(&self.actor, id, LedgerKind::Adjustment);
        debit(&mut self.view, USER, inr(amount), Account::Adjustments, &entry)
    }

    fn hold(&mut self, id: &str, amount: i64) -> Result<Hold, LedgerRefusal> {
        let transaction_id = format!("txn_{id}");
        let entry = Self::entry(&self.actor, &transaction_id, LedgerKind::FreightHold);
        open_hold(&mut self.view, id, USER, inr(amount), &entry)
    }

    fn capture(&mut self, id: &str, amounts: &[i64]) -> Result<Hold, LedgerRefusal> {
        let transaction_id = format!("txn_capture_{id}");
        let entry = Self::entry(&self.actor, &transaction_id, LedgerKind::FreightCapture);
        capture(&mut self.view, id, &shares(amounts), &entry)
    }

    fn release(&mut self, id: &str) -> Result<Hold, LedgerRefusal> {
        let transaction_id = format!("txn_release_{id}");
        let entry = Self::entry(&self.actor, &transaction_id, LedgerKind::FreightRelease);
        release(&mut self.view, id, &entry)
    }

    fn refund(&mut self, id: &str, amounts: &[i64]) -> Result<Hold, LedgerRefusal> {
        let transaction_id = format!("txn_refund_{id}");
        let entry = Self::entry(&self.actor, &transaction_id, LedgerKind::FreightRefund);
        refund(&mut self.view, id, &shares(amounts), &entry)
    }

    fn wallet(&self) -> Option<Wallet> {
        self.view.find(&wallet_key(USER, Currency::INR))
    }

    fn available(&self) -> i64 {
        self.wallet().map_or(0, |wallet| wallet.available)
    }

    fn transaction(&self, id: &str) -> LedgerTransaction {
        self.view.by_id(id).expect("booked")
    }
}

fn inr(amount: i64) -> Money {
    Money::new(amount, Currency::INR)
}

/// The first share is freight, the second the fee.
fn shares(amounts: &[i64]) -> Vec<Share> {
    let accounts = [Account::Payable("parcelx".into()), Account::Revenue];
    accounts.into_iter().zip(amounts).map(|(account, amount)| Share { account, amount: *amount }).collect()
}

fn lines(transaction: &LedgerTransaction) -> Vec<(String, i64)> {
    transaction.lines.iter().map(|line| (line.account.to_string(), line.amount)).collect()
}

#[test]
fn money_that_comes_in_opens_the_wallet() {
    let mut books = Books::with(0);
    assert_eq!(books.wallet(), None);
    let booked = books.credit(500).expect("booked");
    assert_eq!(lines(&booked), [("wallet.available".into(), 500), ("settlement.cash".into(), -500)]);
    assert_eq!((booked.wallet_seq, booked.available_after), (Some(1), Some(500)));
    assert_eq!(books.available(), 500);
}

#[test]
fn available_never_goes_below_zero() {
    let mut books = Books::with(500);
    let refusal = LedgerRefusal::Insufficient { needed: inr(501), available: inr(500) };
    assert_eq!(books.debit("txn_a", 501), Err(refusal.clone()));
    assert_eq!(books.hold("hld_1", 501), Err(refusal));
    assert_eq!(books.wallet().expect("a wallet").version, 1, "nothing changed");
    assert!(books.debit("txn_b", 500).is_ok());
    assert_eq!(books.available(), 0);
}

#[test]
fn five_thousand_has_room_for_five_holds_of_a_thousand() {
    let mut books = Books::with(5_000);
    for hold in 1..=5 {
        assert!(books.hold(&format!("hld_{hold}"), 1_000).is_ok());
    }
    let refusal = LedgerRefusal::Insufficient { needed: inr(1_000), available: inr(0) };
    assert_eq!(books.hold("hld_6", 1_000), Err(refusal));
}

#[test]
fn a_full_capture_leaves_the_wallet_alone() {
    let mut books = Books::with(1_000);
    books.hold("hld_1", 600).expect("held");
    let before = books.wallet();
    let hold = books.capture("hld_1", &[500, 100]).expect("captured");
    assert_eq!((hold.state, hold.captured), (HoldState::Captured, 600));
    assert_eq!(books.wallet(), before);
    let booked = books.transaction("txn_capture_hld_1");
    assert_eq!(
        lines(&booked),
        [("wallet.held".into(), -600), ("payable.parcelx".into(), 500), ("revenue".into(), 100)]
    );
    assert_eq!((booked.wallet_seq, booked.available_after), (None, None));
}

#[test]
fn what_a_capture_leaves_goes_back() {
    let mut books = Books::with(1_000);
    books.hold("hld_1", 600).expect("held");
    assert_eq!(books.capture("hld_1", &[400]).expect("captured").captured, 400);
    assert_eq!(books.available(), 600);
    assert_eq!(books.transaction("txn_capture_hld_1").wallet_seq, Some(3));
    assert_eq!(books.refund("hld_1", &[400]).expect("refunded").state, HoldState::Refunded);
    assert_eq!(books.available(), 1_000);
}

#[test]
fn a_hold_is_closed_once() {
    let closed = |state| Err(LedgerRefusal::HoldState(state));
    let mut books = Books::with(1_000);
    books.hold("hld_1", 100).expect("held");
    books.capture("hld_1", &[100]).expect("captured");
    assert_eq!(books.capture("hld_1", &[100]), closed(HoldState::Captured));
    assert_eq!(books.release("hld_1"), closed(HoldState::Captured));
    books.refund("hld_1", &[100]).expect("refunded");
    assert_eq!(books.refund("hld_1", &[100]), closed(HoldState::Refunded));

    books.hold("hld_2", 100).expect("held");
    assert_eq!(books.refund("hld_2", &[100]), closed(HoldState::Open));
    books.release("hld_2").expect("released");
    assert_eq!(books.release("hld_2"), closed(HoldState::Released));
    assert_eq!(books.capture("hld_2", &[100]), closed(HoldState::Released));
    assert_eq!(books.available(), 1_000);

    books.view.put_absent(Key::id(HOLDS, "hld_3"));
    assert_eq!(books.capture("hld_3", &[1]), Err(LedgerRefusal::NoHold));
}

#[test]
fn no_more_is_captured_than_was_held_and_exactly_that_is_refunded() {
    let mut books = Books::with(1_000);
    books.hold("hld_1", 100).expect("held");
    for (amounts, refusal) in [
        (&[101][..], LedgerRefusal::Shares),
        (&[100, 1], LedgerRefusal::Shares),
        (&[0], LedgerRefusal::Amount),
        (&[], LedgerRefusal::Amount),
        (&[150, -50], LedgerRefusal::Amount),
        (&[AMOUNT_MAX, AMOUNT_MAX], LedgerRefusal::Shares),
    ] {
        assert_eq!(books.capture("hld_1", amounts), Err(refusal), "{amounts:?}");
    }
    books.capture("hld_1", &[60, 40]).expect("captured");
    for amounts in [&[60][..], &[60, 41], &[100, 1]] {
        assert_eq!(books.refund("hld_1", amounts), Err(LedgerRefusal::Shares), "{amounts:?}");
    }
    books.refund("hld_1", &[60, 40]).expect("refunded");
    assert_eq!(books.available(), 1_000);
}

#[test]
fn amounts_out_of_range_are_refused_everywhere() {
    for amount in [0, -1, i64::MIN, AMOUNT_MAX + 1, i64::MAX] {
        let mut books = Books::with(10);
        assert_eq!(books.credit(amount), Err(LedgerRefusal::Amount), "{amount}");
        assert_eq!(books.debit("txn_a", amount), Err(LedgerRefusal::Amount), "{amount}");
        assert_eq!(books.hold("hld_1", amount), Err(LedgerRefusal::Amount), "{amount}");
        assert_eq!(books.wallet().expect("a wallet").version, 1);
    }
}

#[test]
fn a_balance_does_not_wrap() {
    let mut view = View::new(DateTime::from_millis(1_000));
    let now = view.now();
    view.put_read(&Wallet {
        id: Wallet::id_of(USER, Currency::INR),
        user_id: USER.into(),
        currency: Currency::INR,
        available: i64::MAX - 10,
        version: 7,
        last_at: now,
        created_at: now,
    });
    let mut books = Books { view, actor: Actor::worker("wrk_1", "rqs_1") };
    assert_eq!(check_credit(&books.view, USER, inr(11)), Err(LedgerRefusal::Overflow));
    assert_eq!(books.credit(11), Err(LedgerRefusal::Overflow));
    assert_eq!(books.available(), i64::MAX - 10);
    assert!(books.credit(10).is_ok());
}

#[test]
fn a_wallets_time_never_runs_backwards() {
    let mut view = View::new(DateTime::from_millis(1_000));
    let last = DateTime::from_millis(5_000);
    view.put_read(&Wallet {
        id: Wallet::id_of(USER, Currency::INR),
        user_id: USER.into(),
        currency: Currency::INR,
        available: 0,
        version: 7,
        last_at: last,
        created_at: last,
    });
    let mut books = Books { view, actor: Actor::worker("wrk_1", "rqs_1") };
    let booked = books.credit(10).expect("booked");
    assert_eq!((booked.at, booked.wallet_seq), (last, Some(8)));
}

#[test]
fn a_reversal_is_the_opposite_and_needs_the_money() {
    let mut books = Books::with(500);
    let original = books.transaction("txn_credit1000");
    let actor = books.actor.clone();
    let reversal = |id| Books::entry(&actor, id, LedgerKind::Reversal);
    let booked = reverse(&mut books.view, &original, &reversal("txn_r1")).expect("reversed");
    assert_eq!(lines(&booked), [("wallet.available".into(), -500), ("settlement.cash".into(), 500)]);
    assert_eq!(booked.reverses.as_deref(), Some("txn_credit1000"));
    let refusal = LedgerRefusal::Insufficient { needed: inr(500), available: inr(0) };
    assert_eq!(reverse(&mut books.view, &original, &reversal("txn_r2")), Err(refusal));
    assert_eq!(reverse(&mut books.view, &booked, &reversal("txn_r3")), Err(LedgerRefusal::NotReversible));
}

#[test]
fn every_booking_is_found_by_its_reference() {
    let books = Books::with(500);
    let key = LedgerReference::new("test", "txn_credit1000", "booking").key();
    let booked = books.view.find::<LedgerTransaction>(&key).expect("found");
    assert_eq!(Some(booked), books.view.find(&Key::id(LEDGER, "txn_credit1000")));
}
