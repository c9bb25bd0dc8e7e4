//! How fast the ledger decides, without a database: whole batches over views that were read before.
//!
//! `cargo bench --bench ledger`

use std::{hint::black_box, time::Duration};

use bson::DateTime;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use waybill::{
    modules::{
        events::Actor,
        wallet::{
            Account, Hold, HoldState, LedgerEntry, LedgerKind, LedgerReference, Share, Wallet, capture, open_hold,
        },
    },
    platform::{
        batch::{BATCH_MAX, View},
        money::{Currency, Money},
    },
};

const NOW: DateTime = DateTime::from_millis(1_700_000_000_000);
const AMOUNT: i64 = 5_900;

/// Names of a batch's members, made before the clock runs, as the callers of a lane make theirs.
struct Names {
    users: Vec<String>,
    holds: Vec<String>,
    transactions: Vec<String>,
    actor: Actor,
}

impl Names {
    fn new() -> Self {
        let names =
            |prefix: &str| (0..BATCH_MAX).map(|n| format!("{prefix}_0198f0c2b1e07c3e8a41b5d0f3a2{n:04}")).collect();
        Self {
            users: names("usr"),
            holds: names("hld"),
            transactions: names("txn"),
            actor: Actor::worker("wrk_1", "rqs_1"),
        }
    }

    fn entry(&self, n: usize, kind: LedgerKind, booking: &'static str) -> LedgerEntry<'_> {
        LedgerEntry {
            transaction_id: &self.transactions[n],
            kind,
            reference: LedgerReference::new("order", self.holds[n].as_str(), booking),
            client_reference: None,
            reason: None,
            actor: &self.actor,
        }
    }

    /// With the wallets of the first so many users.
    fn wallets(&self, count: usize) -> View {
        let mut view = View::new(NOW);
        for user in &self.users[..count] {
            view.put_read(&Wallet {
                id: Wallet::id_of(user, Currency::INR),
                user_id: user.clone(),
                currency: Currency::INR,
                available: AMOUNT * BATCH_MAX as i64,
                version: 1,
                last_at: NOW,
                created_at: NOW,
            });
        }
        view
    }

    fn open_holds(&self) -> View {
        let mut view = View::new(NOW);
        for hold in &self.holds {
            view.put_read(&Hold {
                id: hold.clone(),
                user_id: self.users[0].clone(),
                currency: Currency::INR,
                amount: AMOUNT,
                captured: 0,
                state: HoldState::Open,
                reference_type: "order".into(),
                reference_id: hold.clone(),
                created_at: NOW,
                updated_at: NOW,
            });
        }
        view
    }
}

fn hold_all(names: &Names, mut view: View, wallets: usize) -> View {
    for n in 0..BATCH_MAX {
        let entry = names.entry(n, LedgerKind::FreightHold, "hold");
        let money = Money::new(AMOUNT, Currency::INR);
        let held = open_hold(&mut view, &names.holds[n], &names.users[n % wallets], money, &entry);
        black_box(held).expect("there is enough money");
    }
    view
}

fn capture_all(names: &Names, mut view: View) -> View {
    let shares = [Share { account: Account::Payable("parcelx".into()), amount: AMOUNT }];
    for n in 0..BATCH_MAX {
        let entry = names.entry(n, LedgerKind::FreightCapture, "capture");
        black_box(capture(&mut view, &names.holds[n], &shares, &entry)).expect("the hold is open");
    }
    view
}

fn decisions(criterion: &mut Criterion) {
    let names = Names::new();
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(BATCH_MAX as u64)).measurement_time(Duration::from_secs(5));
    for wallets in [1, BATCH_MAX] {
        group.bench_function(format!("{BATCH_MAX} holds on {wallets} wallet(s)"), |bencher| {
            bencher.iter_batched(
                || names.wallets(wallets),
                |view| hold_all(&names, view, wallets),
                BatchSize::SmallInput,
            );
        });
    }
    group.bench_function(format!("{BATCH_MAX} full captures"), |bencher| {
        bencher.iter_batched(|| names.open_holds(), |view| capture_all(&names, view), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
