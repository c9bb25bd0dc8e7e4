//! Accounts with few places and a rate, shared by two processes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use waybill::modules::{
    audit::AuditStore,
    providers::{
        AccountLimits,
        dispatch::{AccountFacts, Class, DispatchParts, Dispatcher, ServedQueue},
    },
    queue::{Candidate, Dispatch, QueueConfig, Worker},
};

use super::workshop::{QUEUE, done, jobs, queue, worker_of};
use crate::support::{TestApp, eventually};

const PROVIDER: &str = "workshop";
const ACCOUNT: &str = "workshop/default";
const BACK: &str = "workshop-back-queue";
const SOON: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_millis(1_500);

/// What one process has: nothing is shared but the database.
fn dispatcher(app: &TestApp, accounts: Vec<AccountFacts>) -> Dispatcher {
    Dispatcher::new(DispatchParts {
        db: app.app.db.clone(),
        queue_store: app.app.queue_store.clone(),
        audit: AuditStore::new(app.app.db.clone()),
        waker: app.app.waker.clone(),
        clock: app.app.clock.clone(),
        lease: LEASE,
        queues: vec![
            ServedQueue { queue: QUEUE, provider: PROVIDER, class: Class::Placing },
            ServedQueue { queue: BACK, provider: PROVIDER, class: Class::TakingBack },
        ],
        accounts,
        only: None,
    })
}

fn account(concurrency: Option<u32>, rate_per_second: Option<u32>) -> AccountFacts {
    let limits = AccountLimits { concurrency, rate_per_second, open_orders: None };
    AccountFacts { limits, ..AccountFacts::new(ACCOUNT, PROVIDER) }
}

fn candidate() -> Candidate {
    Candidate { account_id: ACCOUNT.into(), routes: vec![PROVIDER.into()], ..Candidate::default() }
}

/// Runs workers until all jobs have ended, or for so long.
async fn run(app: &TestApp, workers: Vec<Worker>, at_most: Duration) {
    let (stop, stopped) = watch::channel(false);
    let running = workers.into_iter().map(|worker| {
        let mut stopped = stopped.clone();
        tokio::spawn(async move { worker.run(async { drop(stopped.wait_for(|stop| *stop).await) }).await })
    });
    let running: Vec<_> = running.collect();
    eventually("all jobs are done", at_most, async || {
        app.all("jobs", bson::doc! { "state": { "$ne": "done" } }).await.is_empty()
    })
    .await;
    stop.send(true).unwrap();
    for worker in join_all(running).await {
        worker.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_has_so_many_calls_at_once_over_two_workers() {
    let app = TestApp::start().await;
    jobs(&app, 40, |_, job| job.route = PROVIDER.into()).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let workers = (0..2).map(|_| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        worker_of(&app, vec![queue()], Arc::new(dispatcher(&app, vec![account(Some(5), None)])), move |_, _| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            Box::pin(async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(30)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                done()
            })
        })
    });
    run(&app, workers.collect(), SOON).await;
    assert_eq!(most.load(Ordering::SeqCst), 5, "as many as it allows, and no more");
    let state = app.all("provider_account_states", bson::doc! {}).await;
    assert_eq!(state[0].get_array("places").unwrap().len(), 0, "all places came back");
    app.finish_unchecked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_second_holds_at_most_an_account_s_rate_over_two_workers() {
    const RATE: usize = 40;
    let app = TestApp::start().await;
    jobs(&app, RATE + 20, |_, job| job.route = PROVIDER.into()).await;
    let sent = Arc::new(Mutex::new(Vec::new()));
    let slow = QueueConfig { timeout: SOON, ..queue() };
    let workers = (0..2).map(|_| {
        let sent = Arc::clone(&sent);
        let dispatcher = dispatcher(&app, vec![account(None, Some(RATE as u32))]);
        let asked = dispatcher.clone();
        worker_of(&app, vec![slow.clone()], Arc::new(dispatcher), move |_, lease| {
            let (sent, asked, permit) = (Arc::clone(&sent), asked.clone(), lease.permit.clone());
            Box::pin(async move {
                assert!(asked.wait_to_send(&permit).await);
                sent.lock().push(Instant::now());
                done()
            })
        })
    });
    run(&app, workers.collect(), SOON).await;
    let mut sent = std::mem::take(&mut *sent.lock());
    sent.sort();
    for second in sent.windows(RATE + 1) {
        assert!(second[RATE] - second[0] > Duration::from_secs(1), "{:?}", second[RATE] - second[0]);
    }
    assert_eq!(sent.len(), RATE + 20);
    app.finish_unchecked().await;
}

#[tokio::test]
async fn a_killed_worker_s_place_comes_free_with_its_lease() {
    let app = TestApp::start().await;
    let [killed, alive] = [0, 1].map(|_| dispatcher(&app, vec![account(Some(1), None)]));
    let held = killed.admit(QUEUE, &candidate(), "wrk_killed", 3).await;
    assert_eq!(held.len(), 1);
    assert!(killed.holds_place(&held[0], LEASE / 2).await);
    assert!(alive.admit(QUEUE, &candidate(), "wrk_alive", 1).await.is_empty());
    // For as long as it lives it keeps it.
    let began = Instant::now();
    while began.elapsed() < LEASE {
        killed.extend("wrk_killed").await;
        assert!(alive.admit(QUEUE, &candidate(), "wrk_alive", 1).await.is_empty());
    }
    let admitted = Mutex::new(Vec::new());
    eventually("it comes free", SOON, async || {
        *admitted.lock() = alive.admit(QUEUE, &candidate(), "wrk_alive", 1).await;
        !admitted.lock().is_empty()
    })
    .await;
    assert!(!killed.holds_place(&held[0], Duration::ZERO).await, "who was only frozen sends nothing");
    killed.release(&held).await;
    assert!(killed.admit(QUEUE, &candidate(), "wrk_killed", 1).await.is_empty(), "and gives nothing of another's back");
    let theirs = admitted.into_inner();
    alive.release(&theirs).await;
    assert_eq!(killed.admit(QUEUE, &candidate(), "wrk_killed", 1).await.len(), 1);
    app.finish_unchecked().await;
}

#[tokio::test]
async fn what_takes_orders_back_does_not_wait_behind_new_ones() {
    let app = TestApp::start().await;
    jobs(&app, 40, |n, job| {
        job.route = PROVIDER.into();
        job.queue = if n < 30 { QUEUE } else { BACK }.into();
    })
    .await;
    let order = Arc::new(Mutex::new(String::new()));
    let (noted, back) = (Arc::clone(&order), QueueConfig { name: BACK, ..queue() });
    let dispatch = Arc::new(dispatcher(&app, vec![account(Some(1), None)]));
    let worker = worker_of(&app, vec![queue(), back], dispatch, move |job, _| {
        noted.lock().push(if job.queue == BACK { 'b' } else { 'n' });
        Box::pin(async { done() })
    });
    run(&app, vec![worker], SOON).await;
    let order = order.lock().clone();
    assert!(order.rfind('b').unwrap() < 30, "they take turns: {order}");
    app.finish_unchecked().await;
}

#[tokio::test]
async fn each_account_takes_the_jobs_that_are_its_own() {
    let app = TestApp::start().await;
    let own = |account_id: &str, owner: Option<&str>, active| AccountFacts {
        owner_user_id: owner.map(str::to_owned),
        active,
        ..AccountFacts::new(account_id, PROVIDER)
    };
    let accounts = vec![
        own("acc_1", None, true),
        own("acc_2", None, false),
        own("acc_3", Some("usr_1"), true),
        own("acc_4", None, true),
    ];
    let ready = ["workshop", "workshop/usr_1", "acc_1", "acc_2", "acc_9"].map(str::to_owned);
    let shown = async |dispatcher: &Dispatcher| {
        let mut shown: Vec<String> = dispatcher
            .candidates(QUEUE, &ready)
            .await
            .iter()
            .map(|candidate| format!("{}: {}", candidate.account_id, candidate.routes.join(" ")))
            .collect();
        shown.sort();
        shown
    };
    let all = dispatcher(&app, accounts.clone());
    let expected = ["acc_1: workshop acc_1", "acc_2: acc_2", "acc_3: workshop/usr_1", "acc_4: workshop"];
    assert_eq!(shown(&all).await, expected, "one that takes nothing new finishes what it has");
    all.set_accounts(vec![own("acc_1", None, true)]);
    assert_eq!(shown(&all).await, expected[..1]);
    app.finish_unchecked().await;
}
