//! Group commit with bad neighbours, too many callers, callers that hang up, and a second lane that wants the same.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::{FutureExt, future::join_all};
use serde::{Deserialize, Serialize};
use waybill::platform::{
    batch::{BATCH_MAX, Command, Entity, Key, LANE_BYTES_MAX, Lane, LaneError, QUEUE_MAX, View},
    error::AppError,
};

use crate::support::{TestApp, eventually, held::Held, servers::Mongod};

const THINGS: &str = "things";

#[derive(Serialize, Deserialize)]
struct Thing {
    #[serde(rename = "_id")]
    id: String,
    count: i64,
    ballast: String,
}

impl Entity for Thing {
    const COLLECTION: &'static str = THINGS;

    fn id(&self) -> &str {
        &self.id
    }
}

/// What a command does besides.
#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    /// Nothing bad.
    Good,
    /// Asks for keys and panics.
    PanicsReading,
    /// Writes and panics.
    PanicsDeciding,
    /// Keeps the lane busy for so long, then panics.
    PanicsAfter(Duration),
    /// Inserts an `_id` that is there already, without having looked.
    InsertsWhatIsThere,
    /// Inserts so many bytes.
    Bytes(usize),
    /// Holds so many bytes while it waits.
    Holds(usize),
}

/// Adds one to a counter, or makes it.
struct Add {
    counter: String,
    behaviour: Behaviour,
    decided: Arc<Mutex<Vec<String>>>,
}

impl Add {
    fn to(counter: &str) -> Self {
        Self { counter: counter.into(), behaviour: Behaviour::Good, decided: Arc::default() }
    }
}

impl Command for Add {
    type Reply = (String, i64);

    fn reads(&self) -> Vec<Key> {
        assert!(self.behaviour != Behaviour::PanicsReading, "told to panic while reading");
        vec![Key::id(THINGS, &*self.counter)]
    }

    fn decide(&self, view: &mut View) -> (String, i64) {
        self.decided.lock().unwrap().push(self.counter.clone());
        let count = match view.by_id::<Thing>(&self.counter) {
            Some(mut thing) => {
                thing.count += 1;
                view.update(&thing);
                thing.count
            }
            None => {
                let bytes = if let Behaviour::Bytes(bytes) = self.behaviour { bytes } else { 0 };
                view.insert(&Thing { id: self.counter.clone(), count: 1, ballast: "x".repeat(bytes) });
                1
            }
        };
        if self.behaviour == Behaviour::InsertsWhatIsThere {
            view.append(THINGS, &doc! { "_id": "there", "count": 0_i64, "ballast": "" });
        }
        if let Behaviour::PanicsAfter(busy) = self.behaviour {
            std::thread::sleep(busy); // what it is told to do
            panic!("told to panic after a while");
        }
        assert!(self.behaviour != Behaviour::PanicsDeciding, "told to panic while deciding");
        (self.counter.clone(), count)
    }

    fn bytes(&self) -> usize {
        if let Behaviour::Holds(bytes) = self.behaviour { bytes } else { 0 }
    }
}

async fn lane_over_things(app: &TestApp) -> Lane {
    app.db().create_collection(THINGS).await.unwrap();
    Lane::start("test", app.db().clone(), app.app.clock.clone(), waybill::modules::audit::journal())
}

async fn count(app: &TestApp, counter: &str) -> Option<i64> {
    let things = app.db().collection::<Thing>(THINGS);
    things.find_one(doc! { "_id": counter }).await.unwrap().map(|thing| thing.count)
}

/// A whole batch with one bad command in its middle. All are queued before the committer looks, because this runs on one
/// thread.
async fn alone_fails(behaviour: Behaviour) {
    let app = TestApp::start().await;
    let lane = lane_over_things(&app).await;
    app.db()
        .collection::<Document>(THINGS)
        .insert_one(doc! { "_id": "there", "count": 7_i64, "ballast": "" })
        .await
        .unwrap();
    let decided: Arc<Mutex<Vec<String>>> = Arc::default();
    let bad = BATCH_MAX / 2;
    let commands = (0..BATCH_MAX).map(|n| {
        let behaviour = if n == bad { behaviour } else { Behaviour::Good };
        lane.submit(Add { counter: format!("t-{n}"), behaviour, decided: Arc::clone(&decided) })
    });
    let replies = join_all(commands).await;
    let together: BTreeSet<String> = decided.lock().unwrap().iter().take(BATCH_MAX - 1).cloned().collect();
    assert!(together.len() >= BATCH_MAX - 1, "they were one batch");
    for (n, reply) in replies.iter().enumerate() {
        let counter = format!("t-{n}");
        if n == bad {
            assert!(matches!(reply, Err(LaneError::Failed(_))), "the bad one learns it: {reply:?}");
            assert_eq!(count(&app, &counter).await, None, "and leaves nothing");
        } else {
            assert_eq!(reply.as_ref().unwrap(), &(counter.clone(), 1), "each has its own reply");
            assert_eq!(count(&app, &counter).await, Some(1));
        }
    }
    assert_eq!(count(&app, "there").await, Some(7));
    let answer = AppError::from(replies.into_iter().nth(bad).unwrap().unwrap_err());
    assert_eq!(answer.kind.status().as_u16(), 500);
    let next = lane.submit(Add::to("after")).await.unwrap();
    assert_eq!(next.1, 1, "the lane goes on");
    app.finish().await;
}

#[tokio::test]
async fn a_command_that_panics_while_deciding_fails_alone() {
    alone_fails(Behaviour::PanicsDeciding).await;
}

#[tokio::test]
async fn a_command_that_panics_while_reading_fails_alone() {
    alone_fails(Behaviour::PanicsReading).await;
}

#[tokio::test]
async fn a_command_that_a_unique_index_refuses_fails_alone() {
    alone_fails(Behaviour::InsertsWhatIsThere).await;
}

#[tokio::test]
async fn a_command_whose_document_is_too_large_fails_alone() {
    alone_fails(Behaviour::Bytes(17 * 1024 * 1024)).await;
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_one_statement_is_written_in_parts() {
    let app = TestApp::start().await;
    let lane = lane_over_things(&app).await;
    const MIB: usize = 1024 * 1024;
    let commands = (0..LANE_BYTES_MAX / MIB).map(|n| {
        let behaviour = Behaviour::Bytes(MIB);
        lane.submit(Add { counter: format!("t-{n}"), behaviour, decided: Arc::default() })
    });
    for reply in join_all(commands).await {
        assert_eq!(reply.unwrap().1, 1);
    }
    let things = app.db().collection::<Document>(THINGS);
    assert_eq!(things.count_documents(doc! {}).await.unwrap(), (LANE_BYTES_MAX / MIB) as u64);
    app.finish().await;
}

#[tokio::test]
async fn a_document_of_an_unknown_shape_fails_those_who_need_it() {
    let app = TestApp::start().await;
    let lane = lane_over_things(&app).await;
    app.db().collection::<Document>(THINGS).insert_one(doc! { "_id": "odd", "count": "many" }).await.unwrap();
    let (odd, good) = tokio::join!(lane.submit(Add::to("odd")), lane.submit(Add::to("good")));
    assert!(matches!(odd, Err(LaneError::Failed(_))), "{odd:?}");
    assert_eq!(good.unwrap().1, 1);
    app.finish().await;
}

#[tokio::test]
async fn a_full_queue_turns_callers_away_and_serves_the_others() {
    let app = TestApp::start().await;
    let lane = lane_over_things(&app).await;
    let replies = join_all((0..QUEUE_MAX + 10).map(|n| lane.submit(Add::to(&format!("t-{}", n % 100))))).await;
    let (served, away): (Vec<_>, Vec<_>) = replies.into_iter().partition(Result::is_ok);
    assert_eq!((served.len(), away.len()), (QUEUE_MAX, 10));
    for reply in away {
        let error = reply.unwrap_err();
        assert!(matches!(error, LaneError::Busy), "{error:?}");
        let answer = AppError::from(error);
        assert_eq!((answer.kind.status().as_u16(), answer.code), (503, "service.overloaded"));
        assert!(answer.retry_after.is_some());
    }
    let mut sum = 0;
    for n in 0..100 {
        sum += count(&app, &format!("t-{n}")).await.unwrap();
    }
    assert_eq!(sum, QUEUE_MAX as i64, "each served one counts once");
    app.finish().await;
}

#[tokio::test]
async fn a_queue_whose_commands_are_large_turns_callers_away_before_it_is_full() {
    let app = TestApp::start().await;
    let lane = lane_over_things(&app).await;
    let large = |n: usize| {
        let behaviour = Behaviour::Holds(LANE_BYTES_MAX / 8);
        lane.submit(Add { counter: format!("t-{n}"), behaviour, decided: Arc::default() })
    };
    let replies = join_all((0..10).map(large)).await;
    let busy = replies.iter().filter(|reply| matches!(reply, Err(LaneError::Busy))).count();
    assert_eq!((busy, replies.iter().filter(|reply| reply.is_ok()).count()), (3, 7), "{replies:?}");
    large(10).await.expect("there is room again");
    app.finish().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_takes_nothing_back() {
    let app = TestApp::start().await;
    let lane = lane_over_things(&app).await;
    assert!(lane.submit(Add::to("t")).now_or_never().is_none(), "it is queued, and the caller is gone");
    eventually("it is committed", Duration::from_secs(10), async || count(&app, "t").await == Some(1)).await;
    assert_eq!(lane.submit(Add::to("t")).await.unwrap().1, 2);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_want_the_same_document_lose_no_update() {
    let app = TestApp::start().await;
    app.db().create_collection(THINGS).await.unwrap();
    // By conflicts alone, and in turns that Redis gives.
    for (counter, in_turns) in [("fought for", false), ("in turns", true)] {
        // Pools of their own, as in two processes.
        let start = async |name| {
            let db = waybill::platform::mongo::connect(&app.mongodb_uri).await.unwrap();
            let (clock, journal) = (app.app.clock.clone(), waybill::modules::audit::journal());
            match in_turns {
                true => Lane::start_in_turns(name, db, clock, journal, app.app.redis.clone()),
                false => Lane::start(name, db, clock, journal),
            }
        };
        let lanes = [start("one").await, start("other").await];
        let callers = (0..40).map(|n| {
            let lane = lanes[n % 2].clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..10 {
                    seen.push(lane.submit(Add::to(counter)).await.unwrap().1);
                }
                seen
            })
        });
        let mut seen = Vec::new();
        for caller in join_all(callers).await {
            let replies = caller.unwrap();
            assert!(replies.is_sorted(), "a caller sees its own updates in order");
            seen.extend(replies);
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=400).collect::<Vec<i64>>(), "{counter}: every reply is true of one moment");
        assert_eq!(count(&app, counter).await, Some(400));
    }
    app.finish().await;
}

#[tokio::test]
async fn a_document_that_somebody_has_locked_holds_up_only_those_who_want_it() {
    let app = TestApp::start().await;
    let lane = lane_over_things(&app).await;
    let things = app.db().collection::<Document>(THINGS);
    things.insert_one(doc! { "_id": "locked", "count": 0_i64, "ballast": "" }).await.unwrap();
    let held = Held::begin(app.db(), THINGS, "locked").await;

    let mut stuck = Box::pin(lane.submit(Add::to("locked")));
    assert!(stuck.as_mut().now_or_never().is_none(), "it is queued");
    let neighbours = (1..BATCH_MAX).map(|n| lane.submit(Add::to(&format!("t-{n}"))));
    let began = Instant::now();
    for reply in join_all(neighbours).await {
        assert_eq!(reply.unwrap().1, 1);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "neighbours wait for {took:?}");
    let began = Instant::now();
    assert_eq!(lane.submit(Add::to("later")).await.unwrap().1, 1);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "those behind wait for {took:?}");
    assert!(stuck.as_mut().now_or_never().is_none(), "it is still tried");
    held.release().await;
    assert_eq!(stuck.await.unwrap().1, 1);
    assert_eq!(count(&app, "locked").await, Some(1));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_commit_stays_unknown_is_not_run_again() {
    let mongod = Mongod::start().await;
    let app = TestApp::on(&mongod.uri(), &[]).await;
    let lane = lane_over_things(&app).await;
    let submit = |command: Add| {
        let lane = lane.clone();
        tokio::spawn(async move { lane.submit(command).await })
    };
    // The busy one's own commit goes well.
    let concern = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
    let data = doc! { "failCommands": ["commitTransaction"], "writeConcernError": concern };
    let fail = doc! { "configureFailPoint": "failCommand", "mode": { "skip": 1 }, "data": data };
    mongod.run(fail).await.unwrap();
    // An older and a younger command meet in one batch, because the lane is busy meanwhile.
    let decided: Arc<Mutex<Vec<String>>> = Arc::default();
    let behaviour = Behaviour::PanicsAfter(Duration::from_secs(5));
    let busy = submit(Add { behaviour, decided: Arc::clone(&decided), ..Add::to("busy") });
    let deciding = async || !decided.lock().unwrap().is_empty();
    eventually("the lane is busy", Duration::from_secs(10), deciding).await;
    let older = submit(Add::to("older"));
    tokio::time::sleep(Duration::from_secs(2)).await; // the difference of their ages
    let younger = submit(Add::to("younger"));
    assert!(matches!(busy.await.unwrap(), Err(LaneError::Failed(_))));
    let (older, younger) = (older.await.unwrap(), younger.await.unwrap());
    mongod.heal().await;
    assert!(matches!((&older, &younger), (Err(LaneError::Away), Err(LaneError::Away))), "{older:?}, {younger:?}");
    // It was committed all the same: what runs behind it finds it once.
    for counter in ["older", "younger"] {
        assert_eq!(lane.submit(Add::to(counter)).await.unwrap().1, 2, "{counter}");
    }
    app.finish().await;
}
