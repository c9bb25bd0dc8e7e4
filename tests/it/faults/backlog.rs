//! Long queues: nothing is run twice, nothing is left, and what is far away or less urgent holds up nobody.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::future::join_all;
use tokio::sync::watch;
use waybill::{modules::queue::JobState, platform::clock::after};

use super::workshop::{QUEUE, done, job, jobs, number, queue, worker};
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
        (job.priority, job.run_at) = match n {
            0 => (0, job.run_at),
            1..=1_000 => (-1, far),
            _ => (1, far),
        };
    })
    .await;
    let worker = worker(&app, |_| Box::pin(async { done() }));
    assert_eq!(worker.run_due().await, 1);
    assert_eq!(job(&app, 0).await.state, JobState::Done);
    assert_eq!(open(&app).await, 2_000, "the others wait for their year");
    assert_eq!(worker.run_due().await, 0);

    // Nor does looking for due ones get slower with them.
    let find = doc! {
        "find": "jobs", "filter": { "queue": QUEUE, "state": "ready", "runAt": { "$lte": app.app.clock.now() } },
        "sort": { "priority": 1, "runAt": 1 }, "limit": 64,
    };
    let plan = app.db().run_command(doc! { "explain": find, "verbosity": "executionStats" }).await.unwrap();
    let keys = plan.get_document("executionStats").unwrap().get_i32("totalKeysExamined").unwrap();
    assert!(keys < 20, "{keys} keys looked at to find nothing");

    app.app.clock.advance(YEAR + Duration::from_secs(1));
    assert_eq!(worker.run_due().await, 64, "a round of them, when their time has come");
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
        let (now, until) = (app.app.clock.now(), after(app.app.clock.now(), Duration::from_secs(30)));
        let token = format!("token-{round}");
        let claim = app.app.queue_store.claim(QUEUE, 3, 0, ("wrk_test", &token), (now, until)).await.unwrap();
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
                let (now, token) = (clock.now(), format!("token-{claimer}-{round}"));
                let until = after(now, Duration::from_secs(60));
                let owner = (&*format!("wrk_{claimer}"), &*token);
                let claim = store.claim(QUEUE, 64, 0, owner, (now, until)).await.unwrap();
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
