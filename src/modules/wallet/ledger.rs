//! The decisions of the ledger, purely over a [`View`]: what may be booked, and how. Every function books one
//! transaction or refuses and changes nothing.
//!
//! Amounts are above zero and at most [`AMOUNT_MAX`]; the function's name says the direction. Each has to find in the
//! view what it decides over: the wallet ([`wallet_key`]), the hold, both where it says so.

use bson::DateTime;

use super::model::{
    Account, Hold, HoldState, LedgerKind, LedgerLine, LedgerReference, LedgerTransaction, WALLETS, Wallet,
};
use crate::{
    modules::events::Actor,
    platform::{
        batch::{Key, View},
        money::{AMOUNT_MAX, Currency, Money},
    },
};

/// A booking without its money.
#[derive(Clone, Debug)]
pub struct LedgerEntry<'a> {
    /// `txn_...`, made before the transaction's first try.
    pub transaction_id: &'a str,
    pub kind: LedgerKind,
    /// Its reference; booked once.
    pub reference: LedgerReference,
    /// The id that finance gave it, where finance did.
    pub client_reference: Option<&'a str>,
    /// In the words of whoever asked for it.
    pub reason: Option<&'a str>,
    pub actor: &'a Actor,
}

/// A part of what is captured or refunded, and the account that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub account: Account,
    /// Minor units, above zero.
    pub amount: i64,
}

/// Why nothing was booked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerRefusal {
    /// There is too little money.
    #[error("{needed} needed, {available} available")]
    Insufficient { needed: Money, available: Money },
    /// Not above zero, or over the limit.
    #[error("the amount is not between 1 and {AMOUNT_MAX}")]
    Amount,
    /// The balance would leave what 64 bits hold.
    #[error("the balance would be too large")]
    Overflow,
    /// There is no such hold.
    #[error("there is no such hold")]
    NoHold,
    /// The hold has been captured, released or refunded before.
    #[error("the hold is {0:?}")]
    HoldState(HoldState),
    /// More is to be captured than was set aside, or not exactly what was captured is to be refunded.
    #[error("the shares don't fit the hold")]
    Shares,
    /// Its kind is not reversed, or it concerns another wallet.
    #[error("the transaction can't be reversed")]
    NotReversible,
}

#[must_use]
pub fn wallet_key(user_id: &str, currency: Currency) -> Key {
    Key::id(WALLETS, Wallet::id_of(user_id, currency))
}

/// Money comes into the wallet, from `source`. Opens the wallet where there is none. Reads the wallet.
///
/// # Errors
/// [`Refusal::Amount`], [`Refusal::Overflow`].
pub fn credit(
    view: &mut View,
    user_id: &str,
    money: Money,
    source: Account,
    entry: &LedgerEntry<'_>,
) -> Result<LedgerTransaction, LedgerRefusal> {
    let amount = checked_amount(money.amount)?;
    post(
        view,
        user_id,
        money.currency,
        &[(Account::Available, amount), (source, -amount)],
        EntryLinks::default(),
        entry,
    )
}

/// Whether the wallet could take `money`. Reads the wallet.
///
/// # Errors
/// [`Refusal::Amount`], [`Refusal::Overflow`].
pub fn check_credit(view: &View, user_id: &str, money: Money) -> Result<(), LedgerRefusal> {
    let amount = checked_amount(money.amount)?;
    let wallet = view.by_id::<Wallet>(&Wallet::id_of(user_id, money.currency));
    let balance = wallet.map_or(0, |wallet| wallet.available);
    balance.checked_add(amount).map(drop).ok_or(LedgerRefusal::Overflow)
}

/// Money leaves the wallet, to `target`. Reads the wallet.
///
/// # Errors
/// [`Refusal::Amount`], [`Refusal::Insufficient`].
pub fn debit(
    view: &mut View,
    user_id: &str,
    money: Money,
    target: Account,
    entry: &LedgerEntry<'_>,
) -> Result<LedgerTransaction, LedgerRefusal> {
    let amount = checked_amount(money.amount)?;
    post(
        view,
        user_id,
        money.currency,
        &[(Account::Available, -amount), (target, amount)],
        EntryLinks::default(),
        entry,
    )
}

/// Money of a user goes from one account of the house to another and touches no wallet. Reads nothing.
///
/// # Errors
/// [`Refusal::Amount`].
///
/// # Panics
/// When one of the accounts is a wallet's.
pub fn pass_on(
    view: &mut View,
    user_id: &str,
    money: Money,
    (source, target): (Account, Account),
    entry: &LedgerEntry<'_>,
) -> Result<LedgerTransaction, LedgerRefusal> {
    assert!(!source.is_wallet() && !target.is_wallet(), "{:?} touches a wallet", entry.kind);
    let amount = checked_amount(money.amount)?;
    post(view, user_id, money.currency, &[(target, amount), (source, -amount)], EntryLinks::default(), entry)
}

/// Sets money aside. Reads the wallet.
///
/// # Errors
/// [`Refusal::Amount`], [`Refusal::Insufficient`].
pub fn open_hold(
    view: &mut View,
    hold_id: &str,
    user_id: &str,
    money: Money,
    entry: &LedgerEntry<'_>,
) -> Result<Hold, LedgerRefusal> {
    let amount = checked_amount(money.amount)?;
    let lines = [(Account::Available, -amount), (Account::Held, amount)];
    let extra = EntryLinks { hold_id: Some(hold_id), ..EntryLinks::default() };
    let booked = post(view, user_id, money.currency, &lines, extra, entry)?;
    let hold = Hold {
        id: hold_id.to_owned(),
        user_id: user_id.to_owned(),
        currency: money.currency,
        amount,
        captured: 0,
        state: HoldState::Open,
        reference_type: booked.reference_type,
        reference_id: booked.reference_id,
        created_at: booked.at,
        updated_at: booked.at,
    };
    view.insert(&hold);
    Ok(hold)
}

/// Books what was set aside to those it is owed to; what the shares leave goes back to the wallet. Reads the hold, and
/// the wallet only where something goes back.
///
/// # Errors
/// [`Refusal::NoHold`], [`Refusal::HoldState`] unless it is open, [`Refusal::Shares`] above what was set aside,
/// [`Refusal::Amount`], [`Refusal::Overflow`].
pub fn capture(
    view: &mut View,
    hold_id: &str,
    shares: &[Share],
    entry: &LedgerEntry<'_>,
) -> Result<Hold, LedgerRefusal> {
    let mut hold = hold_in(view, hold_id, HoldState::Open)?;
    let captured = sum(shares)?;
    let rest = hold.amount.checked_sub(captured).filter(|rest| *rest >= 0).ok_or(LedgerRefusal::Shares)?;
    let mut lines = vec![(Account::Held, -hold.amount)];
    lines.extend(shares.iter().map(|share| (share.account.clone(), share.amount)));
    if rest > 0 {
        lines.push((Account::Available, rest));
    }
    hold.captured = captured;
    close(view, hold, HoldState::Captured, &lines, entry)
}

/// Gives all of what was set aside back. Reads the hold and the wallet.
///
/// # Errors
/// [`Refusal::NoHold`], [`Refusal::HoldState`] unless it is open, [`Refusal::Overflow`].
pub fn release(view: &mut View, hold_id: &str, entry: &LedgerEntry<'_>) -> Result<Hold, LedgerRefusal> {
    let hold = hold_in(view, hold_id, HoldState::Open)?;
    let lines = [(Account::Held, -hold.amount), (Account::Available, hold.amount)];
    close(view, hold, HoldState::Released, &lines, entry)
}

/// Takes back from the shares what was captured, and gives it to the wallet. Reads the hold and the wallet.
///
/// # Errors
/// [`Refusal::NoHold`], [`Refusal::HoldState`] unless it is captured, [`Refusal::Shares`] unless they are all of what was
/// captured, [`Refusal::Amount`], [`Refusal::Overflow`].
pub fn refund(
    view: &mut View,
    hold_id: &str,
    shares: &[Share],
    entry: &LedgerEntry<'_>,
) -> Result<Hold, LedgerRefusal> {
    let hold = hold_in(view, hold_id, HoldState::Captured)?;
    if sum(shares)? != hold.captured {
        return Err(LedgerRefusal::Shares);
    }
    let mut lines: Vec<_> = shares.iter().map(|share| (share.account.clone(), -share.amount)).collect();
    lines.push((Account::Available, hold.captured));
    close(view, hold, HoldState::Refunded, &lines, entry)
}

/// Books the opposite of `original`. That it happens once is held by its reference, which the caller has to look for
/// first. Reads the wallet.
///
/// # Errors
/// [`Refusal::NotReversible`], [`Refusal::Insufficient`] where the money is spent, [`Refusal::Overflow`].
pub fn reverse(
    view: &mut View,
    original: &LedgerTransaction,
    entry: &LedgerEntry<'_>,
) -> Result<LedgerTransaction, LedgerRefusal> {
    if !original.kind.is_reversible() {
        return Err(LedgerRefusal::NotReversible);
    }
    let lines: Vec<_> = original.lines.iter().map(|line| (line.account.clone(), -line.amount)).collect();
    let extra = EntryLinks { reverses: Some(&original.id), ..EntryLinks::default() };
    post(view, &original.user_id, original.currency, &lines, extra, entry)
}

#[derive(Default)]
struct EntryLinks<'a> {
    hold_id: Option<&'a str>,
    reverses: Option<&'a str>,
    /// The hold's last change: what follows from it is not dated before it, whatever two processes think of the time.
    not_before: Option<DateTime>,
}

fn checked_amount(amount: i64) -> Result<i64, LedgerRefusal> {
    if (1..=AMOUNT_MAX).contains(&amount) { Ok(amount) } else { Err(LedgerRefusal::Amount) }
}

/// The sum of shares that are each above zero.
fn sum(shares: &[Share]) -> Result<i64, LedgerRefusal> {
    let sum = shares.iter().try_fold(0_i64, |sum, share| sum.checked_add(checked_amount(share.amount).ok()?));
    sum.filter(|sum| *sum > 0).ok_or(LedgerRefusal::Amount)
}

fn hold_in(view: &View, hold_id: &str, state: HoldState) -> Result<Hold, LedgerRefusal> {
    let hold = view.by_id::<Hold>(hold_id).ok_or(LedgerRefusal::NoHold)?;
    if hold.state == state { Ok(hold) } else { Err(LedgerRefusal::HoldState(hold.state)) }
}

fn close(
    view: &mut View,
    mut hold: Hold,
    state: HoldState,
    lines: &[(Account, i64)],
    entry: &LedgerEntry<'_>,
) -> Result<Hold, LedgerRefusal> {
    let extra = EntryLinks { hold_id: Some(&hold.id), not_before: Some(hold.updated_at), ..EntryLinks::default() };
    let booked = post(view, &hold.user_id, hold.currency, lines, extra, entry)?;
    hold.state = state;
    hold.updated_at = booked.at;
    view.update(&hold);
    Ok(hold)
}

/// The only way into the ledger. Changes the wallet where a line is on `available`.
///
/// # Panics
/// When the lines don't balance: a bug here, and nothing may be written.
fn post(
    view: &mut View,
    user_id: &str,
    currency: Currency,
    lines: &[(Account, i64)],
    extra: EntryLinks<'_>,
    entry: &LedgerEntry<'_>,
) -> Result<LedgerTransaction, LedgerRefusal> {
    let balance: i128 = lines.iter().map(|(_, amount)| i128::from(*amount)).sum();
    assert!(balance == 0 && lines.len() > 1, "the lines of {:?} don't balance", entry.kind);
    assert!(lines.iter().all(|(_, amount)| *amount != 0), "a line of {:?} is zero", entry.kind);
    let touched = lines.iter().any(|(account, _)| *account == Account::Available);
    let change = lines.iter().filter(|(account, _)| *account == Account::Available).map(|(_, amount)| amount).sum();
    let mut booked = LedgerTransaction {
        id: entry.transaction_id.to_owned(),
        kind: entry.kind,
        user_id: user_id.to_owned(),
        currency,
        lines: lines
            .iter()
            .map(|(account, amount)| LedgerLine { account: account.clone(), amount: *amount, currency })
            .collect(),
        reference_type: entry.reference.kind_of_thing.to_owned(),
        reference_id: entry.reference.id.clone(),
        reference_kind: entry.reference.booking.to_owned(),
        wallet_seq: None,
        available_after: None,
        hold_id: extra.hold_id.map(str::to_owned),
        reverses: extra.reverses.map(str::to_owned),
        client_reference: entry.client_reference.map(str::to_owned),
        reason: entry.reason.map(str::to_owned),
        actor: entry.actor.clone(),
        at: extra.not_before.map_or(view.now(), |last| later(last, view.now())),
    };
    if touched {
        let wallet = change_wallet(view, user_id, currency, change, booked.at)?;
        booked.wallet_seq = Some(wallet.version);
        booked.available_after = Some(wallet.available);
        booked.at = wallet.last_at;
    }
    view.insert(&booked);
    Ok(booked)
}

/// Changes `available` by `change` and counts the wallet on.
fn change_wallet(
    view: &mut View,
    user_id: &str,
    currency: Currency,
    change: i64,
    now: DateTime,
) -> Result<Wallet, LedgerRefusal> {
    let id = Wallet::id_of(user_id, currency);
    let known = view.by_id::<Wallet>(&id);
    let is_new = known.is_none();
    let mut wallet = known.unwrap_or_else(|| Wallet {
        id,
        user_id: user_id.to_owned(),
        currency,
        available: 0,
        version: 0,
        last_at: now,
        created_at: now,
    });
    let available = wallet.available.checked_add(change).ok_or(LedgerRefusal::Overflow)?;
    if available < 0 {
        return Err(LedgerRefusal::Insufficient {
            needed: Money::new(-change, currency),
            available: Money::new(wallet.available, currency),
        });
    }
    wallet.available = available;
    wallet.version += 1;
    wallet.last_at = later(wallet.last_at, now);
    if is_new {
        view.insert(&wallet);
    } else {
        view.update(&wallet);
    }
    Ok(wallet)
}

/// A wallet's time never runs backwards, whatever two processes think of the time.
fn later(last: DateTime, now: DateTime) -> DateTime {
    last.max(now)
}
