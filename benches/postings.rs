//! Postings per second, committed by a majority and journaled: by a transaction each, as one writes them by hand with the
//! driver, and by our lane, which commits many at once. Each on one wallet that everybody wants, and on many.
//!
//! `scripts/bench ledger`. Needs `MONGODB_URI` of an empty database.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bson::doc;
use clap::Parser;
use mongodb::{Client, ClientSession, Database, error::TRANSIENT_TRANSACTION_ERROR, options::ReadConcern};
use tokio::task::JoinSet;
use waybill::{
    modules::{
        events::Actor,
        wallet::{
            Account, HOLDS, Hold, HoldState, LEDGER, LedgerEntry, LedgerKind, LedgerLine, LedgerReference,
            LedgerRefusal, LedgerTransaction, WALLETS, Wallet, WalletStore, check_ledger, credit, open_hold,
            wallet_key,
        },
    },
    platform::{
        batch::{Command, Key, Lane, LaneError, View},
        clock::Clock,
        differences::{Difference, Differences},
        ids::new_id,
        money::{AMOUNT_MAX, Currency, Money},
        mongo,
    },
};

/// As in our programs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Wallets over which postings are spread.
const SPREAD: usize = 1_000;
/// What a posting sets aside, in paise.
const AMOUNT: i64 = 5_900;
/// Postings by hand that are under way at once: what a service of that kind lets in.
const NAIVE_TASKS: usize = 32;
/// Every way is measured so often, one after the other, so that a machine that slows down slows all of them.
const ROUNDS: usize = 5;
/// What we promise.
const HOT_OVER_NAIVE_MIN: f64 = 20.0;
const HOT_OVER_SPREAD_MIN: f64 = 0.7;

/// Postings per second, by hand and by our lane, on one wallet and on many.
#[derive(Parser)]
struct Args {
    /// How long each way is measured, in all rounds together.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Postings that wait on the lane at once.
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
    /// How long a transaction by hand waits at most before it is run again: up to 1 ms first, doubling, with jitter. The
    /// default is what it is fastest with on one wallet, of 0 to 1000: neither a crowd nor idleness.
    #[arg(long, default_value_t = 128)]
    pause_ms: u64,
    /// What is measured; the database has to be empty.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    mongodb_uri: String,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PostingVariant {
    NaiveHot,
    NaiveSpread,
    LaneHot,
    LaneSpread,
}

impl PostingVariant {
    const ALL: [Self; 4] = [Self::NaiveHot, Self::NaiveSpread, Self::LaneHot, Self::LaneSpread];

    const fn name(self) -> &'static str {
        match self {
            Self::NaiveHot => "a transaction each, 1 wallet",
            Self::NaiveSpread => "a transaction each, 1000 wallets",
            Self::LaneHot => "our lane, 1 wallet",
            Self::LaneSpread => "our lane, 1000 wallets",
        }
    }

    /// Everybody's wallets are their own, so that no way finds a document that another has made large or hot.
    fn users(self) -> Vec<String> {
        let (prefix, count) = match self {
            Self::NaiveHot => ("nh", 1),
            Self::NaiveSpread => ("ns", SPREAD),
            Self::LaneHot => ("lh", 1),
            Self::LaneSpread => ("ls", SPREAD),
        };
        (0..count).map(|n| format!("usr_{prefix}{n}")).collect()
    }

    const fn is_naive(self) -> bool {
        matches!(self, Self::NaiveHot | Self::NaiveSpread)
    }
}

fn actor() -> Actor {
    Actor::command_line("bench postings")
}

/// Money comes in, so that there is enough of it.
struct Fund {
    user_id: String,
    transaction_id: String,
}

impl Command for Fund {
    type Reply = Result<LedgerTransaction, LedgerRefusal>;

    fn reads(&self) -> Vec<Key> {
        vec![wallet_key(&self.user_id, Currency::INR)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let entry = LedgerEntry {
            transaction_id: &self.transaction_id,
            kind: LedgerKind::Recharge,
            reference: LedgerReference::new("bench", self.transaction_id.as_str(), "fund"),
            client_reference: None,
            reason: None,
            actor: &actor(),
        };
        credit(view, &self.user_id, Money::new(AMOUNT_MAX, Currency::INR), Account::SettlementCash, &entry)
    }
}

/// The posting that is measured: sets money aside.
struct Post {
    user_id: String,
    hold_id: String,
    transaction_id: String,
}

impl Post {
    fn new(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), hold_id: new_id("hld"), transaction_id: new_id("txn") }
    }

    fn reference(&self) -> LedgerReference {
        LedgerReference::new("bench", self.hold_id.as_str(), "hold")
    }
}

impl Command for Post {
    type Reply = Result<(), LedgerRefusal>;

    fn reads(&self) -> Vec<Key> {
        // The reference is read too, as every command does that may be asked for again.
        vec![self.reference().key(), wallet_key(&self.user_id, Currency::INR)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        if view.contains(&self.reference().key()) {
            return Ok(());
        }
        let entry = LedgerEntry {
            transaction_id: &self.transaction_id,
            kind: LedgerKind::FreightHold,
            reference: self.reference(),
            client_reference: None,
            reason: None,
            actor: &actor(),
        };
        open_hold(view, &self.hold_id, &self.user_id, Money::new(AMOUNT, Currency::INR), &entry).map(drop)
    }
}

/// The same posting by hand: a session, a transaction, the wallet guarded by what was read.
struct ByHand {
    client: Client,
    db: Database,
    clock: Clock,
    pause_ms: u64,
}

impl ByHand {
    /// Again where the server says that somebody else was faster.
    async fn post(&self, post: &Post, until: Instant) -> mongodb::error::Result<bool> {
        let mut session = self.client.start_session().await?;
        let mut tries = 0_u32;
        loop {
            match self.attempt(post, &mut session).await {
                Ok(()) => return Ok(true),
                Err(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => {
                    let _ = session.abort_transaction().await;
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    // With jitter, without which those who met meet again.
                    let most_us = (1_000_u64 << tries.min(16)).min(self.pause_ms * 1_000);
                    tokio::time::sleep(Duration::from_micros(rand::random_range(0..=most_us)).min(left)).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, post: &Post, session: &mut ClientSession) -> mongodb::error::Result<()> {
        session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(mongo::durable()).await?;
        let id = Wallet::id_of(&post.user_id, Currency::INR);
        let wallets = self.db.collection::<Wallet>(WALLETS);
        let wallet = wallets.find_one(doc! { "_id": &id }).session(&mut *session).await?.expect("it was funded");
        let (now, available, version) = (self.clock.now(), wallet.available - AMOUNT, wallet.version + 1);
        let at = wallet.last_at.max(now);
        let unchanged = doc! { "_id": &id, "version": wallet.version, "available": { "$gte": AMOUNT } };
        let change = doc! { "$set": { "available": available, "version": version, "lastAt": at } };
        let updated = wallets.update_one(unchanged, change).session(&mut *session).await?;
        assert_eq!(updated.modified_count, 1, "a snapshot is what it was");
        let reference = post.reference();
        let hold = Hold {
            id: post.hold_id.clone(),
            user_id: post.user_id.clone(),
            currency: Currency::INR,
            amount: AMOUNT,
            captured: 0,
            state: HoldState::Open,
            reference_type: reference.kind_of_thing.to_owned(),
            reference_id: reference.id.clone(),
            created_at: at,
            updated_at: at,
        };
        self.db.collection::<Hold>(HOLDS).insert_one(&hold).session(&mut *session).await?;
        let line = |account, amount| LedgerLine { account, amount, currency: Currency::INR };
        let booked = LedgerTransaction {
            id: post.transaction_id.clone(),
            kind: LedgerKind::FreightHold,
            user_id: post.user_id.clone(),
            currency: Currency::INR,
            lines: vec![line(Account::Available, -AMOUNT), line(Account::Held, AMOUNT)],
            reference_type: reference.kind_of_thing.to_owned(),
            reference_id: reference.id,
            reference_kind: reference.booking.to_owned(),
            wallet_seq: Some(version),
            available_after: Some(available),
            hold_id: Some(post.hold_id.clone()),
            reverses: None,
            client_reference: None,
            reason: None,
            actor: actor(),
            at,
        };
        self.db.collection::<LedgerTransaction>(LEDGER).insert_one(&booked).session(&mut *session).await?;
        loop {
            match session.commit_transaction().await {
                Err(error) if mongo::is_unknown_commit(&error) => {}
                outcome => return outcome,
            }
        }
    }
}

/// What both need.
struct Bench {
    by_hand: Arc<ByHand>,
    lane: Lane,
    concurrency: usize,
}

impl Bench {
    /// Postings per second over about `time`. Counts what was committed, by the time that all of it took.
    async fn measure(&self, way: PostingVariant, time: Duration) -> f64 {
        let users: Arc<Vec<String>> = Arc::new(way.users());
        let (count, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let began = Instant::now();
        let until = began + time;
        let mut tasks = JoinSet::new();
        for _ in 0..if way.is_naive() { NAIVE_TASKS } else { self.concurrency } {
            let (users, count, failed) = (Arc::clone(&users), Arc::clone(&count), Arc::clone(&failed));
            let (by_hand, lane) = (Arc::clone(&self.by_hand), self.lane.clone());
            tasks.spawn(async move {
                while Instant::now() < until && !failed.load(Ordering::Relaxed) {
                    let post = Post::new(&users[rand::random_range(0..users.len())]);
                    let posted = if way.is_naive() {
                        by_hand.post(&post, until).await.map_err(|error| error.to_string())
                    } else {
                        in_lane(&lane, post).await
                    };
                    match posted {
                        Ok(posted) => drop(count.fetch_add(u64::from(posted), Ordering::Relaxed)),
                        Err(reason) => {
                            failed.store(true, Ordering::Relaxed);
                            panic!("{}: {reason}", way.name());
                        }
                    }
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a posting failed");
        }
        count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
    }
}

async fn in_lane(lane: &Lane, post: Post) -> Result<bool, String> {
    match lane.submit(post).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Default)]
struct Found {
    differences: Vec<Difference>,
    looked_at: Vec<String>,
}

impl Differences for Found {
    fn add(&mut self, difference: Difference) {
        self.differences.push(difference);
    }

    fn looked_at(&mut self, collection: &'static str, count: u64) {
        self.looked_at.push(format!("{count} {collection}"));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// An empty database with the ledger's collections and indexes, and enough money in every wallet.
async fn prepare(db: &Database, lane: &Lane) -> Result<(), String> {
    let failed = |error: mongodb::error::Error| format!("the database can't be prepared: {error}");
    let there = db.list_collection_names().await.map_err(failed)?;
    if !there.is_empty() {
        return Err(format!("the database {} is not empty", db.name()));
    }
    mongo::ensure_indexes(db, WalletStore::COLLECTIONS, &WalletStore::indexes()).await.map_err(failed)?;
    for way in PostingVariant::ALL {
        let funded =
            way.users().into_iter().map(|user_id| lane.submit(Fund { user_id, transaction_id: new_id("txn") }));
        for funded in futures_util::future::join_all(funded).await {
            funded.map_err(|error: LaneError| error.to_string())?.map_err(|refusal| refusal.to_string())?;
        }
    }
    Ok(())
}

async fn run(args: Args) -> Result<bool, String> {
    let connect = async || mongo::connect(&args.mongodb_uri).await.map_err(|error| error.to_string());
    let (db, clock) = (connect().await?, Clock::default());
    clock.sync(&db).await.map_err(|error| error.to_string())?;
    let lane = Lane::start("bench", db.clone(), clock.clone(), waybill::modules::audit::journal());
    prepare(&db, &lane).await?;
    // A pool of its own.
    let theirs = connect().await?;
    let by_hand = Arc::new(ByHand { client: theirs.client().clone(), db: theirs, clock, pause_ms: args.pause_ms });
    let bench = Bench { by_hand, lane, concurrency: args.concurrency };

    let time = Duration::from_secs(args.seconds).div_f64(ROUNDS as f64);
    let mut rates: [Vec<f64>; 4] = Default::default();
    for round in 1..=ROUNDS {
        for (way, rates) in PostingVariant::ALL.into_iter().zip(&mut rates) {
            eprintln!("round {round} of {ROUNDS}: {}", way.name());
            rates.push(bench.measure(way, time).await);
        }
    }

    println!(
        "{NAIVE_TASKS} tasks by hand, pauses up to {} ms; {} on the lane; {} s each",
        args.pause_ms, args.concurrency, args.seconds
    );
    println!("{:<34}{:>10}   rounds", "postings per second", "median");
    for (way, rates) in PostingVariant::ALL.iter().zip(&rates) {
        let rounds: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        println!("{:<34}{:>10.0}   {}", way.name(), median(rates.clone()), rounds.join(" "));
    }
    let [naive_hot, _, hot, spread] = rates.map(median);
    let mut kept = true;
    for (what, ratio, least) in [
        ("our lane over a transaction each, on 1 wallet", hot / naive_hot, HOT_OVER_NAIVE_MIN),
        ("our lane on 1 wallet over 1000", hot / spread, HOT_OVER_SPREAD_MIN),
    ] {
        let verdict = if ratio >= least { "kept" } else { "NOT KEPT" };
        println!("{what}: {ratio:.2} (promised: {least}; {verdict})");
        kept &= ratio >= least;
    }
    Ok(kept & books_agree(&db).await?)
}

/// Whatever was measured, the books have to be right.
async fn books_agree(db: &Database) -> Result<bool, String> {
    let failed = |error: mongodb::error::Error| format!("the books can't be checked: {error}");
    let (store, mut found) = (WalletStore::new(db.clone()), Found::default());
    let mut session = store.snapshot().await.map_err(failed)?;
    check_ledger(&store, &mut session, &mut found).await.map_err(failed)?;
    println!("books: {}: {} difference(s)", found.looked_at.join(", "), found.differences.len());
    found.differences.iter().take(10).for_each(|difference| println!("  {difference:?}"));
    Ok(found.differences.is_empty())
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run(args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("postings: {reason}");
            ExitCode::FAILURE
        }
    }
}
