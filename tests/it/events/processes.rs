//! Real worker processes: killed anywhere, and with a week of events before them.

use std::{collections::BTreeMap, time::Duration};

use bson::{DateTime, Document, doc};
use waybill::platform::{
    crash::{OF_HANDLING, OF_RELAYING},
    ids::new_id,
};

use super::analytics::assert_counted_once;
use crate::{
    faults::load::Load,
    support::{
        TestApp, eventually,
        process::{Launch, Process},
    },
};

/// A worker whose handlers count their effects. Whoever is killed is found out soon.
fn worker(app: &TestApp) -> Launch {
    Launch::worker(app, &["--lease-ms=2600", "--heartbeat-ms=300", "--call-deadline-ms=1500"])
        .env("WAYBILL_COUNT_EFFECTS", "true")
}

/// Nobody is waited for who was killed: the relay's lease ends.
async fn forget_leases(app: &TestApp) {
    app.db().collection::<Document>("singletons").delete_many(doc! {}).await.unwrap();
}

/// Waits until nothing is to be done any more.
async fn drained(app: &TestApp) {
    eventually("everything is handled", Duration::from_secs(60), async || {
        let open = doc! { "state": { "$in": ["ready", "active"] } };
        let jobs = app.db().collection::<Document>("jobs");
        let outbox = app.db().collection::<Document>("outbox");
        // In this order: what is relayed has its jobs then.
        outbox.count_documents(doc! {}).await.unwrap() == 0 && jobs.count_documents(open).await.unwrap() == 0
    })
    .await;
}

/// Each handler has had its effect once for each event, by its own account.
async fn assert_handled_once(app: &TestApp) {
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for event in app.all("events", doc! {}).await {
        for handler in ["count-effects", "count-effects-too"] {
            *expected.entry(format!("{handler}:{}", event.get_str("subjectId").unwrap())).or_default() += 1;
        }
    }
    let counts = app.all("effect_counts", doc! {}).await;
    let counts: BTreeMap<String, i64> = counts
        .iter()
        .map(|count| (count.get_str("_id").unwrap().to_owned(), count.get_i64("effects").unwrap()))
        .collect();
    assert_eq!(counts, expected);
    assert_eq!(app.all("jobs", doc! { "state": "dead" }).await, [], "nobody has given up");
    assert_counted_once(app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_handler_has_each_event_once_wherever_its_process_is_killed() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let points = [OF_RELAYING, OF_HANDLING, &["claimed", "before_completion", "after_completion"]].concat();
    for point in points {
        for n in 0..3 {
            app.created(&user, &format!("{point}-{n}")).await;
        }
        worker(&app).crash_at(point).spawn().crash().await;
        forget_leases(&app).await;
        let mut healthy = worker(&app).start().await;
        drained(&app).await;
        healthy.terminate().await;
    }
    assert_handled_once(&app).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_handler_has_each_event_once_though_workers_are_killed_under_load() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let load = Load::start(&app, &user, &app.base, 4);
    // Less often than a job has attempts, so that none is given up for it.
    for _ in 0..3 {
        let mut workers: Vec<Process> = vec![worker(&app).start().await, worker(&app).start().await];
        load.acknowledges(40).await;
        for worker in &mut workers {
            worker.kill().await;
        }
        forget_leases(&app).await;
    }
    let acknowledged = load.stop().await.len();
    let mut healthy = worker(&app).start().await;
    drained(&app).await;
    healthy.terminate().await;
    assert!(acknowledged >= 120);
    assert_eq!(app.all("orders", doc! { "status": "confirmed" }).await.len(), acknowledged);
    assert_handled_once(&app).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_of_events_takes_no_more_memory_than_a_page_of_them() {
    const ENTRIES: usize = 12_000;
    /// What a page of events and their jobs takes, and what a debug build wastes on it.
    const PAGE_KIB: u64 = 48 * 1_024;
    let app = TestApp::start().await;
    let idle = worker(&app).start().await;
    drained(&app).await;
    let idle_kib = idle.memory_peak_kib();
    drop(idle);
    forget_leases(&app).await;
    let outbox = app.db().collection::<Document>("outbox");
    let entries: Vec<Document> = (0..ENTRIES)
        .map(|n| {
            let (subject, seq) = (format!("ord_{}", n / 4), (n % 4) as i64 + 1);
            let head = doc! { "id": new_id("evt"), "type": "OrderCreated", "subjectId": subject, "userId": "usr_1", "seq": seq };
            doc! { "_id": new_id("out"), "at": DateTime::now(), "events": [head] }
        })
        .collect();
    for part in entries.chunks(5_000) {
        outbox.insert_many(part).await.unwrap();
    }
    let mut busy = worker(&app).start().await;
    eventually("the outbox is empty", Duration::from_secs(120), async || {
        outbox.count_documents(doc! {}).await.unwrap() == 0
    })
    .await;
    let busy_kib = busy.memory_peak_kib();
    busy.kill().await;
    eprintln!("idle {idle_kib} KiB, with {ENTRIES} entries {busy_kib} KiB");
    assert!(busy_kib < idle_kib + PAGE_KIB, "idle {idle_kib} KiB, with {ENTRIES} entries {busy_kib} KiB");
    let jobs = app.db().collection::<Document>("jobs");
    let made = jobs.count_documents(doc! { "kind": "handle-event" }).await.unwrap();
    assert_eq!(made as usize, 2 * ENTRIES, "what they are about is not there, so they stay");
    app.finish_unchecked().await;
}
