//! Long queues: nothing is run twice, nothing is left, and what is far away or less urgent holds up nobody.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{DateTime, Document, doc};
use futures_util::{TryStreamExt, future::join_all};
use tokio::sync::watch;
use waybill::{
    modules::queue::{ClaimQuery, ClaimTerms, Front, Job, JobState, LastServed},
    platform::clock::{self, after},
};

use super::workshop::{Claim, QUEUE, claim, claim_of, done, job, jobs, number, queue, worker};
use crate::support::{TestApp, eventually};

/// A hundred rounds of claiming.
const BACKLOG: usize = 6_400;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_backlog_drains_and_runs_nothing_twice() {
    let app = TestApp::start().await;
    jobs(&app, BACKLOG, |_, _| {}).await;
    let runs: Arc<Vec<AtomicU8>> = Arc::new((0..BACKLOG).map(|_| AtomicU8::new(0)).collect());
    let total = Arc::new(AtomicUsize::new(0));
    let (stop, stopped) = watch::channel(false);
    let began = Instant::now();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (runs, total) = (Arc::clone(&runs), Arc::clone(&total));
            let worker = worker(&app, move |job| {
                runs[number(job).unwrap()].fetch_add(1, Ordering::Relaxed);
                total.fetch_add(1, Ordering::Relaxed);
                Box::pin(async { done() })
            });
            let mut stopped = stopped.clone();
            tokio::spawn(async move { worker.run(async { drop(stopped.wait_for(|stop| *stop).await) }).await })
        })
        .collect();
    eventually("the backlog has drained", Duration::from_secs(120), async || {
        total.load(Ordering::Relaxed) >= BACKLOG && open(&app).await == 0
    })
    .await;
    let took = began.elapsed();
    println!("{BACKLOG} jobs in {took:.1?}: {:.0} a second", BACKLOG as f64 / took.as_secs_f64());
    stop.send(true).unwrap();
    for worker in workers {
        worker.await.unwrap();
    }
    let not_once = runs.iter().filter(|runs| runs.load(Ordering::Relaxed) != 1).count();
    assert_eq!(not_once, 0, "every job runs once");
    let not_done =
        app.db().collection::<Document>("jobs").count_documents(doc! { "state": { "$ne": "done" } }).await.unwrap();
    assert_eq!(not_done, 0);
    // The invariants of orders are not at stake, and reading all those jobs takes long.
    app.finish_unchecked().await;
}

async fn open(app: &TestApp) -> u64 {
    let filter = doc! { "queue": QUEUE, "state": { "$in": ["ready", "active"] } };
    app.db().collection::<Document>("jobs").count_documents(filter).await.unwrap()
}

#[tokio::test]
async fn jobs_that_are_far_away_hold_up_nobody() {
    let app = TestApp::start().await;
    let far = after(app.app.clock.now(), YEAR);
    jobs(&app, 2_001, |n, job| {
        job.priority = [0, -1, 1][usize::from(n > 0) + usize::from(n > 1_000)];
        if n > 0 {
            job.schedule(far, job.created_at);
        }
    })
    .await;
    let worker = worker(&app, |_| Box::pin(async { done() }));
    assert_eq!(worker.run_due().await, 1);
    assert_eq!(job(&app, 0).await.state, JobState::Done);
    assert_eq!(open(&app).await, 2_000, "the others wait for their year");
    assert_eq!(worker.run_due().await, 0);

    app.app.clock.advance(YEAR + Duration::from_secs(1));
    assert_eq!(worker.run_due().await, 128, "a round of them, when their time has come");
    app.finish_unchecked().await;
}

#[tokio::test]
async fn what_is_urgent_goes_first_and_then_what_has_waited_longest() {
    let app = TestApp::start().await;
    let now = app.app.clock.now().timestamp_millis();
    jobs(&app, 30, |n, job| {
        let mixed = (n * 7) % 30;
        job.priority = [5, -5, 0][mixed % 3];
        job.run_at = bson::DateTime::from_millis(now - 1_000 * mixed as i64);
    })
    .await;
    let mut order = Vec::new();
    for round in 0..10 {
        let token = format!("token-{round}");
        let claim = claim(&app.app.queue_store, 3, ("wrk_test", &token), "", app.app.clock.now()).await;
        assert_eq!((claim.jobs.len(), claim.seen), (3, 3));
        order.extend(claim.jobs.into_iter().map(|job| (job.priority, job.run_at)));
    }
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(order.iter().map(|(priority, _)| *priority).collect::<HashSet<_>>().len(), 3);
    app.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_claimers_get_the_same_job() {
    const JOBS: usize = 5_000;
    let app = TestApp::start().await;
    jobs(&app, JOBS, |_, _| {}).await;
    let claimers = (0..8).map(|claimer| {
        let (store, clock) = (app.app.queue_store.clone(), app.app.clock.clone());
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for round in 0.. {
                let token = format!("token-{claimer}-{round}");
                let claim = claim(&store, 64, (&format!("wrk_{claimer}"), &token), "", clock.now()).await;
                if claim.seen == 0 {
                    break;
                }
                assert!(claim.jobs.iter().all(|job| job.lease_token.as_deref() == Some(&*token) && job.attempts == 1));
                mine.extend(claim.jobs.into_iter().map(|job| job.id));
            }
            mine
        })
    });
    let mut all = HashSet::new();
    let mut count = 0;
    for mine in join_all(claimers).await {
        let mine = mine.unwrap();
        count += mine.len();
        all.extend(mine);
    }
    assert_eq!((count, all.len()), (JOBS, JOBS), "everybody's together are all of them, none twice");
    assert_eq!(queue().name, QUEUE);
    app.finish_unchecked().await;
}

/// Keys of indexes that were looked at for jobs since the last call.
async fn keys_examined(app: &TestApp) -> i64 {
    let profile = app.db().collection::<Document>("system.profile");
    let of_jobs = doc! { "ns": format!("{}.jobs", app.db().name()) };
    let seen: Vec<Document> = profile.find(of_jobs).await.unwrap().try_collect().await.unwrap();
    app.db().run_command(doc! { "profile": 0 }).await.unwrap();
    profile.drop().await.unwrap();
    app.db().run_command(doc! { "profile": 2 }).await.unwrap();
    let keys =
        |entry: &Document| entry.get("keysExamined").and_then(|keys| keys.as_i64().or(keys.as_i32().map(i64::from)));
    seen.iter().filter_map(keys).sum()
}

#[tokio::test]
async fn a_claim_looks_at_little_more_than_it_takes_whatever_waits() {
    const JOBS: usize = 20_000;
    let app = TestApp::start().await;
    let (store, now) = (&app.app.queue_store, app.app.clock.now());
    let asked = ["pool".to_owned(), "account".to_owned()];
    let round = async |token: &str, keys_each: i64| {
        keys_examined(&app).await;
        assert!(store.ready_routes(QUEUE).await.unwrap().len() >= 3);
        let claim = claim_of(store, QUEUE, &asked, 64, ("wrk_test", token), "usr_5", now).await;
        let keys = keys_examined(&app).await;
        assert!(keys <= keys_each * claim.jobs.len() as i64 + 50, "{token}: {keys} keys for {} jobs", claim.jobs.len());
        claim.jobs.len()
    };
    let owned = |owners: usize, n: usize, job: &mut Job| {
        *job = job.clone().owned_by(&format!("usr_{}", n % owners));
        job.route = asked[usize::from(n.is_multiple_of(50))].clone();
    };
    jobs(&app, JOBS, |n, job| {
        owned(10_000, n, job);
        job.schedule(after(now, YEAR), now);
    })
    .await;
    // What waits for an account that takes nothing is due, and in nobody's way.
    jobs(&app, JOBS, |_, job| job.route = "account-away".into()).await;
    assert_eq!(round("all delayed", 0).await, 0);
    for (name, owners, rushes, keys_each) in [
        ("one owner", 1, false, 10),
        ("a hundred owners", 100, false, 10),
        ("as many owners as jobs", 10_000, false, 10),
        ("half of it a rush", 100, true, 11),
    ] {
        jobs(&app, 10_000, |n, job| {
            owned(owners, n, job);
            *job = job.clone().hurried(rushes && n.is_multiple_of(2));
        })
        .await;
        assert_eq!(round(name, keys_each).await, 64);
        let due = doc! { "turn": { "$type": "string" }, "route": { "$in": &asked } };
        app.db().collection::<Document>("jobs").delete_many(due).await.unwrap();
    }
    app.finish_unchecked().await;
}

/// Until nothing is due, a claim from the front finds what one from the beginning finds, in the same order.
#[tokio::test]
async fn a_claim_from_the_front_finds_what_one_from_the_beginning_does() {
    const JOBS: usize = 900;
    let app = TestApp::start().await;
    let (store, now) = (&app.app.queue_store, app.app.clock.now());
    // Two owners with a long backlog, some with little, some jobs at the same time, some urgent.
    jobs(&app, JOBS, |n, job| {
        let owner = if n % 5 == 0 { n % 150 } else { n % 2 };
        *job = job.clone().owned_by(&format!("usr_{owner:03}")).hurried(n % 30 == 7);
        job.schedule(DateTime::from_millis(now.timestamp_millis() - (JOBS - n / 3) as i64), now);
    })
    .await;
    let (routes, mut after, mut front) = ([String::new()], LastServed::new(), Front::default());
    let mut left = JOBS;
    while left > 0 {
        let from_start =
            ClaimQuery { after: &after, chance: left, backlog: true, ..ClaimQuery::first(QUEUE, &routes, 32, now) };
        let from_front = ClaimQuery { front: &front, ..from_start };
        let (expected, due) = (store.find_due(&from_start).await.unwrap(), store.find_due(&from_front).await.unwrap());
        assert_eq!((&due.ids, &due.last_served), (&expected.ids, &expected.last_served), "{left} left, {front:?}");
        let until = clock::after(now, Duration::from_secs(60));
        let taking = ClaimTerms { worker_id: "wrk_test", token: "token", until };
        let taken = store.take(&from_front, &taking, &due.ids).await.unwrap().len();
        assert!(taken > 0, "{left} are left");
        left -= taken;
        after.extend(due.last_served);
        front.advance(due.reached);
    }
    app.finish_unchecked().await;
}

#[tokio::test]
async fn a_rush_goes_first_in_turns_and_leaves_an_eighth_to_the_others() {
    const JOBS: usize = 1_000;
    let app = TestApp::start().await;
    let (store, now) = (&app.app.queue_store, app.app.clock.now());
    // Half of them are a rush, nearly all of these one owner's; all others have waited for longer.
    jobs(&app, JOBS, |n, job| {
        let owner = if n % 2 == 1 { format!("usr_{}", n % 40) } else { format!("usr_{}", (n < 8) as usize * n) };
        *job = job.clone().owned_by(&owner).hurried(n % 2 == 0);
        job.schedule(DateTime::from_millis(now.timestamp_millis() - (n % 2) as i64 * 1_000), now);
    })
    .await;
    let claim = claim(store, 64, ("wrk_test", "token"), "", now).await;
    let (rush, normal): (Vec<_>, Vec<_>) = claim.jobs.iter().partition(|job| job.rush);
    assert_eq!((rush.len(), normal.len()), (56, 8));
    assert!(claim.jobs[..56].iter().all(|job| job.rush), "in this order");
    let owners: BTreeSet<_> = rush.iter().filter_map(|job| job.owner.as_deref()).collect();
    assert_eq!(owners.len(), 4, "{owners:?}");
    let owners: BTreeSet<_> = normal.iter().filter_map(|job| job.owner.as_deref()).collect();
    assert_eq!(owners.len(), 8, "{owners:?}");
    // With one place, chance decides: one of eight is theirs.
    let routes = [String::new()];
    let mut for_others = 0;
    for chance in 0..64 {
        let claiming = ClaimQuery { chance, ..ClaimQuery::first(QUEUE, &routes, 1, now) };
        let due = store.find_due(&claiming).await.unwrap();
        let found = app.db().collection::<Job>("jobs").find_one(doc! { "_id": &due.ids[0] }).await.unwrap().unwrap();
        for_others += usize::from(!found.rush);
    }
    assert_eq!(for_others, 8);
    // What is left of one kind fills the places of the other.
    let rest = doc! { "state": "ready", "rush": true };
    app.db().collection::<Document>("jobs").delete_many(rest).await.unwrap();
    let all = claim_of(store, QUEUE, &routes, 64, ("wrk_test", "token-2"), "", now).await;
    assert_eq!(all.jobs.len(), 64);
    app.finish_unchecked().await;
}

#[tokio::test]
async fn the_long_backlog_of_one_holds_up_no_other() {
    let app = TestApp::start().await;
    let now = app.app.clock.now();
    jobs(&app, 1_003, |n, job| {
        let owner = ["usr_large", "usr_small", "usr_third"][usize::from(n >= 1_000) + usize::from(n >= 1_002)];
        *job = job.clone().owned_by(owner);
        job.schedule(DateTime::from_millis(now.timestamp_millis() - 1_003 + n as i64), now);
    })
    .await;
    let owners = |claim: &Claim| {
        let mut owners: Vec<String> = claim.jobs.iter().filter_map(|job| job.owner.clone()).collect();
        owners.dedup();
        owners
    };
    // Wherever a round begins, everybody is served in it,
    let store = &app.app.queue_store;
    let all = claim(store, 64, ("wrk_a", "token-a"), "", now).await;
    assert_eq!(
        (all.jobs.len(), owners(&all)),
        (64, ["usr_large", "usr_small", "usr_third"].map(str::to_owned).to_vec())
    );
    // and where there is one place only, it goes round.
    jobs(&app, 2, |n, job| *job = job.clone().owned_by(["usr_small", "usr_third"][n])).await;
    let mut turn = all.turn;
    let mut served = BTreeSet::new();
    for round in 0..3 {
        let one = claim(store, 1, ("wrk_a", &format!("token-{round}")), &turn, now).await;
        served.extend(owners(&one));
        turn = one.turn;
    }
    assert_eq!(served.len(), 3, "{served:?}");
    app.finish_unchecked().await;
}
