//! Money that moves by chance, by hundreds at once, and with every order: what is booked is what a few sums say.
//!
//! `LEDGER_SEED=number scripts/test ledger` makes the actions of a failed run again.

mod act;
mod damage;
mod orders;

use std::collections::{BTreeMap, HashMap};

use bson::{DateTime, Document, doc};
use futures_util::future::join_all;
use mongodb::Database;
use serde::{Deserialize, Serialize};
use waybill::{
    modules::wallet::{Hold, LEDGER, LedgerTransaction, Wallet, WalletStore, check_ledger},
    platform::{
        batch::{Command, Entity, Key, Lane, LaneError, View},
        clock::Clock,
        differences::{Difference, Differences},
        money::Currency,
        mongo,
    },
};

use self::act::{Act, Books, wallet_id};
use crate::support::{
    TestApp,
    ledger_chance::Chance,
    ledger_model::{CURRENCIES, LedgerAction, Model, Purse, REPLIES, Reply, USERS, What},
};

const SEQUENCES: u64 = 100;
const STEPS: usize = 200;

/// Says how to see a failure again.
struct Seed(u64);

impl Seed {
    /// As told by the environment, else any.
    fn given_or_any() -> u64 {
        let given = std::env::var("LEDGER_SEED").ok();
        given.map_or_else(rand::random, |seed| seed.parse().expect("LEDGER_SEED is a number"))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("LEDGER_SEED={} shows it again", self.0);
        }
    }
}

/// A user, as far as finance looks.
#[derive(Clone, Serialize, Deserialize)]
struct Known {
    #[serde(rename = "_id")]
    id: String,
}

impl Entity for Known {
    const COLLECTION: &'static str = "users";

    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Clone)]
enum Stored {
    User(Known),
    Wallet(Wallet),
    Hold(Hold),
    Booked(Box<LedgerTransaction>),
}

/// A database of a few documents, found by their keys.
#[derive(Default)]
struct Shelf(HashMap<Key, Stored>);

impl Shelf {
    /// With the users, and with a wallet that is nearly full.
    fn new(nearly_full: Purse, opening: i64, now: DateTime) -> Self {
        let mut shelf = Self::default();
        for id in USERS {
            shelf.put(&Known { id: id.into() }, Stored::User);
        }
        let wallet = Wallet {
            id: wallet_id(nearly_full),
            user_id: nearly_full.0.into(),
            currency: Currency::from_code(nearly_full.1).unwrap(),
            available: opening,
            version: 0,
            last_at: now,
            created_at: now,
        };
        shelf.put(&wallet, Stored::Wallet);
        shelf
    }

    fn put<E: Entity + Clone>(&mut self, entity: &E, stored: impl FnOnce(E) -> Stored) {
        let stored = stored(entity.clone());
        for key in entity.unique_keys() {
            self.0.insert(key, stored.clone());
        }
        self.0.insert(Key::id(E::COLLECTION, entity.id()), stored);
    }

    /// Runs commands as a batch does: reads, decisions one after the other, and what they wrote.
    fn commit(&mut self, acts: &[Act], now: DateTime) -> Vec<Reply> {
        let mut view = View::new(now);
        for stored in self.0.values() {
            match stored {
                Stored::User(user) => view.put_read(user),
                Stored::Wallet(wallet) => view.put_read(wallet),
                Stored::Hold(hold) => view.put_read(hold),
                Stored::Booked(booked) => view.put_read(&**booked),
            }
        }
        let replies = acts.iter().map(|act| act.decide(&mut view)).collect();
        for act in acts {
            act.transactions().iter().for_each(|id| self.keep(&view, id, |booked| Stored::Booked(Box::new(booked))));
            act.hold().iter().for_each(|id| self.keep(&view, id, Stored::Hold));
        }
        for purse in purses() {
            self.keep(&view, &wallet_id(purse), Stored::Wallet);
        }
        replies
    }

    fn keep<E: Entity + Clone>(&mut self, view: &View, id: &str, stored: impl FnOnce(E) -> Stored) {
        if let Some(entity) = view.by_id::<E>(id) {
            self.put(&entity, stored);
        }
    }

    fn books(&self) -> Books {
        let mut books = Books::default();
        for (key, stored) in &self.0 {
            match stored {
                Stored::Wallet(wallet) => books.wallets.push(wallet.clone()),
                Stored::Hold(hold) => books.holds.push(hold.clone()),
                Stored::Booked(booked) if *key == Key::id(LEDGER, &*booked.id) => {
                    books.transactions.push((**booked).clone());
                }
                Stored::User(_) | Stored::Booked(_) => {}
            }
        }
        books
    }
}

/// What was met, as action and reply.
type Met = BTreeMap<(&'static str, &'static str), u64>;

fn sequence(seed: u64, met: &mut Met) {
    let seed = Seed(seed);
    let mut chance = Chance::new(seed.0);
    let mut now = DateTime::from_millis(1_700_000_000_000);
    let (nearly_full, opening) = (("usr_c", "KWD"), i64::MAX - 3_000);
    let openings = BTreeMap::from([(nearly_full, opening)]);
    let mut shelf = Shelf::new(nearly_full, opening, now);
    let mut model = Model::with(openings.clone());
    let mut steps = 0;
    while steps < STEPS {
        let count = chance.between(1, 6);
        let mut batch: Vec<LedgerAction> = (0..count).map(|_| chance.action()).collect();
        if chance.between(1, 8) == 1 {
            // To the brim, so that what goes back later finds no room.
            let amount = i64::MAX - model.available(nearly_full);
            batch.insert(
                0,
                LedgerAction { id: format!("fill{steps}"), what: What::Credit { purse: nearly_full, amount } },
            );
        }
        steps += batch.len();
        // Two processes don't agree on the time.
        let ahead = chance.between(-5, 50);
        now = DateTime::from_millis(now.timestamp_millis() + ahead);
        let replies = shelf.commit(&batch.iter().cloned().map(Act).collect::<Vec<_>>(), now);
        for (action, reply) in batch.iter().zip(replies) {
            let expected = model.follow(action);
            assert_eq!(reply, expected, "step {steps}: {action:?}");
            *met.entry((action.name(), reply.name())).or_default() += 1;
        }
    }
    let books = shelf.books();
    books.assert_sound(&openings);
    books.assert_are(&model);
}

#[test]
fn replies_and_balances_match_the_model() {
    let first = Seed::given_or_any();
    let mut met = Met::new();
    for n in 0..SEQUENCES {
        sequence(first.wrapping_add(n), &mut met);
    }
    println!("{met:?}");
    for (action, replies) in REPLIES {
        for reply in *replies {
            assert!(met.contains_key(&(action, reply)), "no {action} was answered with {reply}");
        }
    }
    let known: usize = REPLIES.iter().map(|(_, replies)| replies.len()).sum();
    assert_eq!(met.len(), known, "a reply that nobody expects");
}

fn purses() -> impl Iterator<Item = Purse> {
    USERS.into_iter().flat_map(|user| CURRENCIES.map(|currency| (user, currency)))
}

/// What [`check_ledger`] finds.
async fn differences(db: &Database) -> Vec<Difference> {
    struct Found(Vec<Difference>);
    impl Differences for Found {
        fn add(&mut self, difference: Difference) {
            self.0.push(difference);
        }

        fn looked_at(&mut self, _: &'static str, _: u64) {}
    }
    let (store, mut found) = (WalletStore::new(db.clone()), Found(Vec::new()));
    let mut session = store.snapshot().await.unwrap();
    check_ledger(&store, &mut session, &mut found).await.unwrap();
    found.0
}

/// A lane as of a process of its own: its pool, its clock.
async fn lane_of_its_own(app: &TestApp) -> Lane {
    let (db, clock) = (mongo::connect(&app.mongodb_uri).await.unwrap(), Clock::default());
    clock.sync(&db).await.unwrap();
    Lane::start("model", db, clock, waybill::modules::audit::journal())
}

async fn app_with_users() -> TestApp {
    let app = TestApp::start().await;
    let users = USERS.map(|id| doc! { "_id": id, "email": format!("{id}@example.com") });
    app.db().collection::<Document>("users").insert_many(users).await.unwrap();
    app
}

/// Queues them in this order and gives their replies.
async fn submit_in_order(lane: &Lane, actions: &[LedgerAction]) -> Vec<Reply> {
    // Each is queued when it is first polled, which is in this order.
    let replies = join_all(actions.iter().map(|action| lane.submit(Act(action.clone())))).await;
    replies.into_iter().map(|reply| reply.expect("carried out")).collect()
}

/// One action, asked for until there is an answer.
async fn submit(lane: &Lane, action: &LedgerAction) -> Reply {
    loop {
        match lane.submit(Act(action.clone())).await {
            Ok(reply) => return reply,
            // Safe to repeat: its ids are its own. A machine too busy for ten seconds is not what is tested.
            Err(LaneError::Away | LaneError::Busy) => tokio::task::yield_now().await,
            Err(error) => panic!("{action:?}: {error}"),
        }
    }
}

/// Actions one after the other, many to a transaction: every reply is known.
async fn in_turn(lane: &Lane, chance: &mut Chance, model: &mut Model, batches: usize) {
    for batch in 0..batches {
        let count = chance.between(1, 20);
        let actions: Vec<LedgerAction> = (0..count).map(|_| chance.action()).collect();
        for (action, reply) in actions.iter().zip(submit_in_order(lane, &actions).await) {
            assert_eq!(reply, model.follow(action), "batch {batch}: {action:?}");
        }
    }
}

/// Actions by several at once over two processes: in which order they are done is not known, so only what holds in every
/// order is.
async fn at_once(lanes: &[Lane; 2], chance: &mut Chance, model: &mut Model) {
    const CALLERS: usize = 12;
    const ACTIONS: usize = 25;
    let callers = (0..CALLERS).map(|caller| {
        let actions: Vec<LedgerAction> = (0..ACTIONS).map(|_| chance.action()).collect();
        let lane = lanes[caller % 2].clone();
        tokio::spawn(async move {
            let mut replies = Vec::new();
            for action in actions {
                let reply = submit(&lane, &action).await;
                replies.push((action, reply));
            }
            replies
        })
    });
    let mut replies: Vec<(LedgerAction, Reply)> = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        replies.extend(caller.await.unwrap());
    }
    replies.sort_by_key(|(action, _)| action.rank());
    for (action, _) in replies.iter().filter(|(_, reply)| *reply == Reply::Done) {
        // Whether there was money depends on the order; that it was the first of its kind does not.
        let judged = model.judge(action);
        assert!(matches!(judged, Reply::Done | Reply::Insufficient { .. }), "{action:?} was done, and {judged:?}");
        model.carry_out(action);
    }
    for (action, reply) in replies {
        match (&action.what, &reply) {
            (_, Reply::Done) => {}
            // It may have been refused first and done when it was asked for again.
            _ if model.has_done(&action) => {}
            (What::Book { .. }, Reply::Replayed | Reply::Mismatch) | (What::Reverse { .. }, Reply::Before(_)) => {
                assert_eq!(reply, model.judge(&action), "{action:?}");
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_what_the_model_says_in_turn_and_at_once() {
    let seed = Seed(Seed::given_or_any());
    let app = app_with_users().await;
    let lanes = [lane_of_its_own(&app).await, lane_of_its_own(&app).await];
    let (mut chance, mut model) = (Chance::new(seed.0), Model::default());
    for _ in 0..3 {
        in_turn(&lanes[0], &mut chance, &mut model, 25).await;
        at_once(&lanes, &mut chance, &mut model).await;
        let books = Books::read(app.db()).await;
        books.assert_sound(&BTreeMap::new());
        books.assert_are(&model);
        assert_eq!(differences(app.db()).await, []);
        for purse in purses() {
            let currency = Currency::from_code(purse.1).unwrap();
            let balance = WalletStore::new(app.db().clone()).balance(purse.0, currency).await.unwrap();
            assert_eq!((balance.available, balance.held), (model.available(purse), model.held(purse)), "{purse:?}");
        }
    }
    app.finish().await;
}

fn hold(n: usize, amount: i64) -> LedgerAction {
    let hold = format!("hld_{n}");
    LedgerAction { id: format!("hold{n}"), what: What::Hold { hold, purse: ("usr_a", "INR"), amount } }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_has_room_for_five_holds_of_a_thousand() {
    let app = app_with_users().await;
    let lanes = [lane_of_its_own(&app).await, lane_of_its_own(&app).await];
    let opening = LedgerAction { id: "opening".into(), what: What::Credit { purse: ("usr_a", "INR"), amount: 5_000 } };
    assert_eq!(submit(&lanes[0], &opening).await, Reply::Done);
    let holds: Vec<LedgerAction> = (0..6).map(|n| hold(n, 1_000)).collect();
    let replies = join_all(holds.iter().enumerate().map(|(n, action)| submit(&lanes[n % 2], action))).await;
    assert_eq!(replies.iter().filter(|reply| **reply == Reply::Done).count(), 5);
    assert!(replies.contains(&Reply::Insufficient { needed: 1_000, available: 0 }), "{replies:?}");
    let books = Books::read(app.db()).await;
    books.assert_sound(&BTreeMap::new());
    assert_eq!((books.holds.len(), books.wallets[0].available), (5, 0));
    app.finish().await;
}

/// Books the lines of `of` under its reference once more, without looking.
struct Twin {
    of: String,
}

impl Command for Twin {
    type Reply = ();

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(LEDGER, &*self.of)]
    }

    fn decide(&self, view: &mut View) {
        let mut twin = view.by_id::<LedgerTransaction>(&self.of).expect("booked");
        twin.id = format!("{}_twin", twin.id);
        view.insert(&twin);
    }
}

#[tokio::test]
async fn a_reference_that_is_booked_twice_is_refused_by_the_database() {
    let app = app_with_users().await;
    let lane = lane_of_its_own(&app).await;
    let opening = LedgerAction { id: "opening".into(), what: What::Credit { purse: ("usr_a", "INR"), amount: 5_000 } };
    submit(&lane, &opening).await;
    let (twin, neighbour) = (Twin { of: opening.transaction() }, hold(1, 10));
    let (twin, neighbour) = tokio::join!(lane.submit(twin), lane.submit(Act(neighbour)));
    assert!(matches!(twin, Err(LaneError::Failed(_))), "{twin:?}");
    assert_eq!(neighbour.unwrap(), Reply::Done, "and spoils nothing for its neighbours");
    let books = Books::read(app.db()).await;
    books.assert_sound(&BTreeMap::new());
    assert_eq!(books.transactions.len(), 2);
    app.finish().await;
}
