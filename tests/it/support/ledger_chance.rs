//! Actions for the ledger, made by chance: sensible ones mostly, and at times what nobody should ask for.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::ledger_model::{Booking, CURRENCIES, LARGEST_AMOUNT, LedgerAction, Purse, STRANGER, USERS, What};

/// Makes actions by chance. It remembers what it asked for, not what became of it.
pub struct Chance {
    rng: StdRng,
    made: usize,
    /// Id, amount, and the shares that were last captured of it.
    holds: Vec<(String, i64, Vec<i64>)>,
    past: Vec<LedgerAction>,
}

impl Chance {
    /// The same seed gives the same actions.
    pub fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), made: 0, holds: Vec::new(), past: Vec::new() }
    }

    /// A number between these two, both included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        self.rng.random_range(least..=most)
    }

    fn one_in(&mut self, n: i64) -> bool {
        self.between(1, n) == 1
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())]
    }

    pub fn action(&mut self) -> LedgerAction {
        self.made += 1;
        if self.made > 10 && self.one_in(25) {
            // The very same once more, as after an answer that was lost.
            let again = self.rng.random_range(self.past.len().saturating_sub(30)..self.past.len());
            return self.past[again].clone();
        }
        let id = format!("d{}", self.made);
        let purse = (self.pick(&USERS), self.pick(&CURRENCIES));
        let what = match self.between(1, 100) {
            1..=10 => What::Credit { purse, amount: self.amount(20_000) },
            11..=17 => What::Debit { purse, amount: self.amount(1_500) },
            18..=42 => {
                let (hold, amount) = (format!("hld_{id}"), self.amount(1_000));
                self.holds.push((hold.clone(), amount, Vec::new()));
                What::Hold { hold, purse, amount }
            }
            43..=58 => self.capture(),
            59..=66 => What::Release { hold: self.hold() },
            67..=76 => self.refund(),
            77..=84 => self.reversal(),
            _ => self.book(&id, purse),
        };
        let action = LedgerAction { id, what };
        self.past.push(action.clone());
        action
    }

    /// Mostly between 1 and `most`; at times out of range, or as large as it may be.
    fn amount(&mut self, most: i64) -> i64 {
        match self.between(1, 60) {
            1 => self.pick(&[0, -1, LARGEST_AMOUNT + 1, i64::MAX]),
            2 => LARGEST_AMOUNT,
            _ => self.between(1, most),
        }
    }

    /// One of the last holds; at times one that never was.
    fn hold(&mut self) -> String {
        let recent = self.holds.len().saturating_sub(15);
        if recent == self.holds.len() || self.one_in(30) {
            return "hld_none".into();
        }
        let hold = self.rng.random_range(recent..self.holds.len());
        self.holds[hold].0.clone()
    }

    fn known(&mut self, hold: &str) -> Option<&mut (String, i64, Vec<i64>)> {
        self.holds.iter_mut().find(|known| known.0 == hold)
    }

    fn capture(&mut self) -> What {
        let hold = self.hold();
        let amount = self.known(&hold).map_or(100, |known| known.1).clamp(1, LARGEST_AMOUNT);
        let shares = match self.between(1, 12) {
            1 => vec![amount + 1],
            2 => vec![amount, 1],
            3 => vec![],
            4 => vec![amount, 0],
            5 => vec![amount + 1, -1],
            6..=8 => vec![self.between(1, amount)],
            9 => vec![amount],
            _ if amount == 1 => vec![1],
            _ => {
                let fee = self.between(1, amount - 1);
                vec![amount - fee, fee]
            }
        };
        if let Some(known) = self.known(&hold) {
            known.2.clone_from(&shares);
        }
        What::Capture { hold, shares }
    }

    fn refund(&mut self) -> What {
        let captured = self.holds.iter().rev().filter(|known| !known.2.is_empty()).map(|known| known.0.clone());
        let captured: Vec<String> = captured.take(8).collect();
        let hold = if captured.is_empty() || self.one_in(5) {
            self.hold()
        } else {
            captured[self.rng.random_range(0..captured.len())].clone()
        };
        let mut shares = self.known(&hold).map(|known| known.2.clone()).unwrap_or_default();
        match (self.between(1, 8), shares.len()) {
            (1, 1..) => shares[0] += 1,
            (2, 1..) => shares[0] -= 1,
            (3, _) => shares.clear(),
            // The same sum, otherwise divided.
            (4, 1..) => {
                let sum: i64 = shares.iter().sum();
                shares = if sum > 1 { vec![sum - 1, 1] } else { vec![sum] };
            }
            _ => {}
        }
        What::Refund { hold, shares }
    }

    fn reversal(&mut self) -> What {
        let reversible = |action: &&LedgerAction| {
            matches!(action.what, What::Credit { .. } | What::Debit { .. } | What::Book { .. })
        };
        let likely: Vec<String> =
            self.past.iter().rev().filter(reversible).take(8).map(LedgerAction::transaction).collect();
        let any: Vec<String> =
            self.past.iter().rev().take(20).flat_map(|action| [action.transaction(), action.other_half()]).collect();
        let from = if self.one_in(4) { any } else { likely };
        let original =
            if from.is_empty() { "txn_none".into() } else { from[self.rng.random_range(0..from.len())].clone() };
        What::Reverse { original }
    }

    fn book(&mut self, id: &str, purse: Purse) -> What {
        let known = self.past.iter().rev().filter(|action| matches!(action.what, What::Book { .. })).take(6);
        let known: Vec<What> = known.map(|action| action.what.clone()).collect();
        if !known.is_empty() && self.one_in(3) {
            // A reference that was used: with the same meaning, or with one thing changed.
            let What::Book { reference, mut booking, mut purse, mut amount, mut reason } =
                known[self.rng.random_range(0..known.len())].clone()
            else {
                unreachable!()
            };
            match self.between(1, 10) {
                1 => amount = if amount == 7 { 8 } else { 7 },
                2 => purse.1 = if purse.1 == "INR" { "KWD" } else { "INR" },
                3 => booking = self.booking(purse.0),
                4 => reason = if reason == "as agreed" { "as told" } else { "as agreed" },
                5 => purse.0 = self.stranger_or(&USERS),
                _ => {}
            }
            if booking == (Booking::Transfer { to: purse.0 }) {
                booking = Booking::AdjustDown;
            }
            return What::Book { reference, booking, purse, amount, reason };
        }
        let purse = (if self.one_in(25) { STRANGER } else { purse.0 }, purse.1);
        let booking = self.booking(purse.0);
        let amount = self.amount(1_500);
        What::Book { reference: format!("ref-{id}"), booking, purse, amount, reason: "as agreed" }
    }

    fn stranger_or(&mut self, users: &[&'static str]) -> &'static str {
        if self.one_in(8) { STRANGER } else { self.pick(users) }
    }

    /// Nobody transfers to himself: the API refuses that before the ledger sees it.
    fn booking(&mut self, from: &'static str) -> Booking {
        let others: Vec<&'static str> = USERS.into_iter().filter(|user| *user != from).collect();
        let to = self.stranger_or(&others);
        let to = if to == from { others[0] } else { to };
        match self.between(1, 6) {
            1 => Booking::Recharge,
            2 => Booking::AdjustUp,
            3 => Booking::AdjustDown,
            _ => Booking::Transfer { to },
        }
    }
}
