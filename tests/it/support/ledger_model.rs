//! The ledger as a few sums, to hold the real one against: what has to become of every action. Nothing of the ledger's code is
//! used here, its limits and words included: a mistake there is not repeated here.

use std::collections::{BTreeMap, HashMap, HashSet};

pub const USERS: [&str; 3] = ["usr_a", "usr_b", "usr_c"];
/// A user that does not.
pub const STRANGER: &str = "usr_nobody";
pub const CURRENCIES: [&str; 2] = ["INR", "KWD"];
/// Whom the shares of a capture belong to, in this order.
pub const SHARE_ACCOUNTS: [&str; 2] = ["payable.parcelx", "revenue"];

/// One amount is at most this many minor units.
pub const LARGEST_AMOUNT: i64 = 1_000_000_000_000_000;

/// A user and a currency.
pub type Purse = (&'static str, &'static str);

/// Something to be booked. Its transactions have ids that follow from `id`, so the very same action may be asked for again.
#[derive(Clone, Debug)]
pub struct LedgerAction {
    pub id: String,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Credit { purse: Purse, amount: i64 },
    Debit { purse: Purse, amount: i64 },
    Hold { hold: String, purse: Purse, amount: i64 },
    Capture { hold: String, shares: Vec<i64> },
    Release { hold: String },
    Refund { hold: String, shares: Vec<i64> },
    Reverse { original: String },
    Book { reference: String, booking: Booking, purse: Purse, amount: i64, reason: &'static str },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booking {
    Recharge,
    AdjustUp,
    AdjustDown,
    Transfer { to: &'static str },
}

/// What becomes of a action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Done,
    Replayed,
    Mismatch,
    NotFound,
    NoUser(&'static str),
    Before(String),
    Insufficient { needed: i64, available: i64 },
    Amount,
    Overflow,
    NoHold,
    HoldState(State),
    Shares,
    NotReversible,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    Captured,
    Released,
    Refunded,
}

impl LedgerAction {
    pub fn transaction(&self) -> String {
        format!("txn_{}", self.id)
    }

    /// Id of a transfer's other half.
    pub fn other_half(&self) -> String {
        format!("txn_{}_half", self.id)
    }

    /// For counting what was met.
    pub fn name(&self) -> &'static str {
        match self.what {
            What::Credit { .. } => "credit",
            What::Debit { .. } => "debit",
            What::Hold { .. } => "hold",
            What::Capture { .. } => "capture",
            What::Release { .. } => "release",
            What::Refund { .. } => "refund",
            What::Reverse { .. } => "reverse",
            What::Book { .. } => "book",
        }
    }

    /// What a action builds on comes before it.
    pub fn rank(&self) -> u8 {
        match self.what {
            What::Credit { .. } | What::Debit { .. } | What::Hold { .. } | What::Book { .. } => 0,
            What::Capture { .. } | What::Release { .. } => 1,
            What::Refund { .. } => 2,
            What::Reverse { .. } => 3,
        }
    }
}

impl Reply {
    /// For counting what was met.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Replayed => "replayed",
            Self::Mismatch => "mismatch",
            Self::NotFound => "not found",
            Self::NoUser(_) => "no user",
            Self::Before(_) => "before",
            Self::Insufficient { .. } => "insufficient",
            Self::Amount => "amount",
            Self::Overflow => "overflow",
            Self::NoHold => "no hold",
            Self::HoldState(_) => "hold state",
            Self::Shares => "shares",
            Self::NotReversible => "not reversible",
        }
    }
}

/// Every reply that a action can have.
pub const REPLIES: &[(&str, &[&str])] = &[
    ("credit", &["done", "amount", "overflow"]),
    ("debit", &["done", "amount", "insufficient"]),
    ("hold", &["done", "amount", "insufficient"]),
    ("capture", &["done", "no hold", "hold state", "amount", "shares", "overflow"]),
    ("release", &["done", "no hold", "hold state", "overflow"]),
    ("refund", &["done", "no hold", "hold state", "amount", "shares", "overflow"]),
    ("reverse", &["done", "not found", "before", "not reversible", "insufficient", "overflow"]),
    ("book", &["done", "replayed", "mismatch", "no user", "amount", "insufficient", "overflow"]),
];

#[derive(Clone, Debug)]
pub struct Aside {
    pub purse: Purse,
    pub amount: i64,
    pub captured: i64,
    pub state: State,
}

#[derive(Clone, Debug)]
struct Booked {
    purse: Purse,
    /// Of what the user can spend.
    change: i64,
    /// The account that finance took it from or gave it to; none where it can't be reversed.
    opposite: Option<&'static str>,
}

/// What the same `reference` has to mean.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meaning {
    booking: Booking,
    purse: Purse,
    amount: i64,
    reason: &'static str,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub available: BTreeMap<Purse, i64>,
    /// How often `available` was changed.
    pub changes: BTreeMap<Purse, i64>,
    /// Accounts of the house, by name and currency.
    pub house: BTreeMap<(&'static str, &'static str), i64>,
    pub holds: HashMap<String, Aside>,
    booked: HashMap<String, Booked>,
    /// Other halves of transfers.
    halves: HashSet<String>,
    meanings: HashMap<String, Meaning>,
    reversals: HashMap<String, String>,
    done: HashSet<String>,
}

impl Model {
    /// With money from before the first action.
    pub fn with(available: BTreeMap<Purse, i64>) -> Self {
        Self { available, ..Self::default() }
    }

    /// What a user can spend.
    pub fn available(&self, purse: Purse) -> i64 {
        self.available.get(&purse).copied().unwrap_or(0)
    }

    /// What a user has set aside.
    pub fn held(&self, purse: Purse) -> i64 {
        self.holds
            .values()
            .filter(|hold| hold.purse == purse && hold.state == State::Open)
            .map(|hold| hold.amount)
            .sum()
    }

    pub fn transactions(&self) -> usize {
        self.booked.len() + self.halves.len()
    }

    pub fn has_done(&self, action: &LedgerAction) -> bool {
        self.done.contains(&action.id)
    }

    /// What has to become of a action now, and then it has.
    pub fn follow(&mut self, action: &LedgerAction) -> Reply {
        let reply = self.judge(action);
        if reply == Reply::Done {
            self.carry_out(action);
        }
        reply
    }

    /// What has to become of a action now.
    pub fn judge(&self, action: &LedgerAction) -> Reply {
        if self.has_done(action) {
            return Reply::Done;
        }
        let refusal = match &action.what {
            What::Credit { purse, amount } => bad(*amount).or_else(|| self.too_much(*purse, *amount)),
            What::Debit { purse, amount } | What::Hold { purse, amount, .. } => {
                bad(*amount).or_else(|| self.too_little(*purse, *amount))
            }
            What::Capture { hold, shares } => self.judge_capture(hold, shares),
            What::Release { hold } => match self.holds.get(hold) {
                None => Some(Reply::NoHold),
                Some(hold) if hold.state != State::Open => Some(Reply::HoldState(hold.state)),
                Some(hold) => self.too_much(hold.purse, hold.amount),
            },
            What::Refund { hold, shares } => self.judge_refund(hold, shares),
            What::Reverse { original } => self.judge_reversal(original),
            What::Book { reference, booking, purse, amount, reason } => {
                let meaning = Meaning { booking: *booking, purse: *purse, amount: *amount, reason };
                match self.meanings.get(reference) {
                    Some(known) if *known == meaning => Some(Reply::Replayed),
                    Some(_) => Some(Reply::Mismatch),
                    None => self.judge_booking(&meaning),
                }
            }
        };
        refusal.unwrap_or(Reply::Done)
    }

    fn judge_capture(&self, hold: &str, shares: &[i64]) -> Option<Reply> {
        let Some(hold) = self.holds.get(hold) else { return Some(Reply::NoHold) };
        if hold.state != State::Open {
            return Some(Reply::HoldState(hold.state));
        }
        let Some(sum) = sum(shares) else { return Some(Reply::Amount) };
        if sum > hold.amount {
            return Some(Reply::Shares);
        }
        self.too_much(hold.purse, hold.amount - sum)
    }

    fn judge_refund(&self, hold: &str, shares: &[i64]) -> Option<Reply> {
        let Some(hold) = self.holds.get(hold) else { return Some(Reply::NoHold) };
        if hold.state != State::Captured {
            return Some(Reply::HoldState(hold.state));
        }
        let Some(sum) = sum(shares) else { return Some(Reply::Amount) };
        if sum != hold.captured {
            return Some(Reply::Shares);
        }
        self.too_much(hold.purse, sum)
    }

    fn judge_reversal(&self, original: &str) -> Option<Reply> {
        let Some(booked) = self.booked.get(original) else {
            return Some(if self.halves.contains(original) { Reply::NotReversible } else { Reply::NotFound });
        };
        if let Some(by) = self.reversals.get(original) {
            return Some(Reply::Before(by.clone()));
        }
        if booked.opposite.is_none() {
            return Some(Reply::NotReversible);
        }
        if booked.change > 0 {
            self.too_little(booked.purse, booked.change)
        } else {
            self.too_much(booked.purse, -booked.change)
        }
    }

    fn judge_booking(&self, wanted: &Meaning) -> Option<Reply> {
        let Meaning { booking, purse, amount, .. } = *wanted;
        if purse.0 == STRANGER {
            return Some(Reply::NoUser("userId"));
        }
        match booking {
            Booking::Transfer { to: STRANGER } => Some(Reply::NoUser("toUserId")),
            Booking::Transfer { to } => {
                bad(amount).or_else(|| self.too_much((to, purse.1), amount)).or_else(|| self.too_little(purse, amount))
            }
            Booking::Recharge | Booking::AdjustUp => bad(amount).or_else(|| self.too_much(purse, amount)),
            Booking::AdjustDown => bad(amount).or_else(|| self.too_little(purse, amount)),
        }
    }

    fn too_little(&self, purse: Purse, amount: i64) -> Option<Reply> {
        let available = self.available(purse);
        (available < amount).then_some(Reply::Insufficient { needed: amount, available })
    }

    fn too_much(&self, purse: Purse, amount: i64) -> Option<Reply> {
        (i128::from(self.available(purse)) + i128::from(amount) > i128::from(i64::MAX)).then_some(Reply::Overflow)
    }

    /// Does a action, whatever the balance: the order in which concurrent ones were done is not known.
    pub fn carry_out(&mut self, action: &LedgerAction) {
        if !self.done.insert(action.id.clone()) {
            return;
        }
        let id = action.transaction();
        match &action.what {
            What::Credit { purse, amount } => self.finance(id, *purse, *amount, "settlement.cash"),
            What::Debit { purse, amount } => self.finance(id, *purse, -amount, "adjustments"),
            What::Hold { hold, purse, amount } => {
                self.change(*purse, -amount);
                self.note(id, *purse, -amount);
                let aside = Aside { purse: *purse, amount: *amount, captured: 0, state: State::Open };
                self.holds.insert(hold.clone(), aside);
            }
            What::Capture { hold, shares } => {
                let captured = shares.iter().sum();
                let hold = self.close(hold, State::Captured, captured);
                self.change(hold.purse, hold.amount - captured);
                self.share_out(hold.purse.1, shares, 1);
                self.note(id, hold.purse, hold.amount - captured);
            }
            What::Release { hold } => {
                let hold = self.close(hold, State::Released, 0);
                self.change(hold.purse, hold.amount);
                self.note(id, hold.purse, hold.amount);
            }
            What::Refund { hold, shares } => {
                let captured = shares.iter().sum();
                let hold = self.close(hold, State::Refunded, captured);
                self.change(hold.purse, captured);
                self.share_out(hold.purse.1, shares, -1);
                self.note(id, hold.purse, captured);
            }
            What::Reverse { original } => {
                let booked = self.booked[original].clone();
                self.reversals.insert(original.clone(), id.clone());
                self.change(booked.purse, -booked.change);
                *self.house.entry((booked.opposite.unwrap(), booked.purse.1)).or_default() += booked.change;
                self.note(id, booked.purse, -booked.change);
            }
            What::Book { reference, booking, purse, amount, reason } => {
                let meaning = Meaning { booking: *booking, purse: *purse, amount: *amount, reason };
                self.meanings.insert(reference.clone(), meaning);
                match booking {
                    Booking::Recharge => self.finance(id, *purse, *amount, "settlement.cash"),
                    Booking::AdjustUp => self.finance(id, *purse, *amount, "adjustments"),
                    Booking::AdjustDown => self.finance(id, *purse, -amount, "adjustments"),
                    Booking::Transfer { to } => {
                        self.change(*purse, -amount);
                        self.change((to, purse.1), *amount);
                        self.note(id, *purse, -amount);
                        self.halves.insert(action.other_half());
                    }
                }
            }
        }
    }

    fn finance(&mut self, id: String, purse: Purse, change: i64, opposite: &'static str) {
        self.change(purse, change);
        *self.house.entry((opposite, purse.1)).or_default() -= change;
        self.booked.insert(id, Booked { purse, change, opposite: Some(opposite) });
    }

    fn note(&mut self, id: String, purse: Purse, change: i64) {
        self.booked.insert(id, Booked { purse, change, opposite: None });
    }

    fn change(&mut self, purse: Purse, by: i64) {
        if by != 0 {
            *self.available.entry(purse).or_default() += by;
            *self.changes.entry(purse).or_default() += 1;
        }
    }

    fn share_out(&mut self, currency: &'static str, shares: &[i64], sign: i64) {
        for (account, share) in SHARE_ACCOUNTS.into_iter().zip(shares) {
            *self.house.entry((account, currency)).or_default() += sign * share;
        }
    }

    fn close(&mut self, hold: &str, state: State, captured: i64) -> Aside {
        let hold = self.holds.get_mut(hold).unwrap();
        (hold.state, hold.captured) = (state, captured);
        hold.clone()
    }
}

fn bad(amount: i64) -> Option<Reply> {
    (!(1..=LARGEST_AMOUNT).contains(&amount)).then_some(Reply::Amount)
}

fn sum(shares: &[i64]) -> Option<i64> {
    let acceptable = !shares.is_empty() && shares.iter().all(|share| bad(*share).is_none());
    acceptable.then(|| shares.iter().sum())
}
