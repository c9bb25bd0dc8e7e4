//! The relay itself: poison, other relays, consumers that fail, long outboxes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bson::{DateTime, Document, doc};
use mongodb::{ClientSession, Database, error::Result};
use serde_json::json;
use waybill::{
    modules::events::{Consumer, EVENTS_QUEUE, EventHead},
    platform::ids::new_id,
};

use super::{Following, Noting, code_of, handler_jobs, notes, states};
use crate::support::TestApp;

/// An event and its entry in the outbox, as a transaction of the service leaves them.
pub async fn leave(app: &TestApp, subject_id: &str, seqs: std::ops::RangeInclusive<i64>) -> Vec<String> {
    let (mut events, mut heads) = (Vec::new(), Vec::new());
    for seq in seqs {
        let id = new_id("evt");
        heads.push(doc! { "id": &id, "type": "Tested", "subjectId": subject_id, "userId": "usr_1", "seq": seq });
        events.push(doc! {
            "_id": id, "type": "Tested", "subjectId": subject_id, "userId": "usr_1", "seq": seq, "data": {},
            "actor": { "kind": "system", "id": "test" }, "at": DateTime::now(),
        });
    }
    let ids = events.iter().map(|event| event.get_str("_id").unwrap().to_owned()).collect();
    app.db().collection("events").insert_many(events).await.unwrap();
    put(app, doc! { "events": heads }).await;
    ids
}

async fn put(app: &TestApp, mut entry: Document) {
    entry.insert("_id", new_id("out"));
    entry.insert("at", DateTime::now());
    app.db().collection("outbox").insert_one(entry).await.unwrap();
}

#[tokio::test]
async fn poison_dies_alone() {
    let app = TestApp::start().await;
    let on = Following::with(&app, vec![Noting::well(&app, "good", &["Tested"])]);
    let events = app.db().collection::<Document>("events");
    let gone = leave(&app, "sub_gone", 1..=1).await.remove(0);
    events.delete_one(doc! { "_id": gone }).await.unwrap();
    let odd = leave(&app, "sub_odd", 1..=1).await.remove(0);
    events.update_one(doc! { "_id": odd }, doc! { "$set": { "actor": "nobody" } }).await.unwrap();
    for heads in [doc! { "events": [{ "type": "Tested" }, 7] }, doc! { "events": "none" }, doc! {}] {
        put(&app, heads).await;
    }
    // As an older version wrote it: the rest is in the event.
    let short = leave(&app, "sub_short", 1..=2).await;
    let heads: Vec<Document> = short.iter().map(|id| doc! { "id": id, "type": "Tested" }).collect();
    let outbox = app.db().collection::<Document>("outbox");
    outbox.update_one(doc! { "events.subjectId": "sub_short" }, doc! { "$set": { "events": heads } }).await.unwrap();
    leave(&app, "sub_good", 1..=1).await;
    on.run().await;
    assert!(app.all("outbox", doc! {}).await.is_empty());
    assert_eq!(notes(&app, "sub_good").await, ["good 1 1"]);
    assert_eq!(notes(&app, "sub_short").await, ["good 1 1", "good 2 1"]);
    let dead = app.all("jobs", doc! { "queue": EVENTS_QUEUE, "state": "dead" }).await;
    let mut codes: Vec<_> = dead.iter().map(code_of).collect();
    codes.sort_unstable();
    let unreadable = "events.unreadable";
    assert_eq!(codes, ["events.gone", unreadable, unreadable, unreadable, unreadable, unreadable]);
    let admin = app.admin().await;
    for job in dead.iter().filter(|job| job.get_document("payload").unwrap().contains_key("outboxId")) {
        let path = format!("/queues/jobs/{}", job.get_str("_id").unwrap());
        let shown = app.get(&admin, &path).await.expect(200).body;
        assert_eq!(shown["state"], "dead", "it can be looked at");
        let retry = format!("{path}/retry");
        let refused = app.request(reqwest::Method::POST, &retry, Some(&admin.token), None).await.expect(409);
        assert_eq!(refused.code(), "queues.retry_refused");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_take_every_event_once_and_a_long_outbox_drains() {
    const SUBJECTS: usize = 40;
    const EVENTS: i64 = 30;
    let app = TestApp::start().await;
    let on =
        Following::with(&app, vec![Noting::well(&app, "good", &["Tested"]), Noting::well(&app, "other", &["Nothing"])]);
    for n in 0..SUBJECTS {
        leave(&app, &format!("sub_{n}"), 1..=EVENTS / 2).await;
        leave(&app, &format!("sub_{n}"), EVENTS / 2 + 1..=EVENTS).await;
    }
    let took = AtomicUsize::new(0);
    let relaying = async || {
        // Each goes on as if it had the lease: what keeps them apart is the outbox.
        let relay = on.app.relay();
        while !app.all("outbox", doc! {}).await.is_empty() {
            app.db().collection::<Document>("singletons").delete_many(doc! {}).await.unwrap();
            if let Ok(events) = relay.pass().await {
                took.fetch_add(events as usize, Ordering::SeqCst);
            }
        }
    };
    tokio::join!(relaying(), relaying(), relaying());
    let all = SUBJECTS * EVENTS as usize;
    assert_eq!(took.load(Ordering::SeqCst), all);
    assert_eq!(handler_jobs(&app, "good").await.len(), all);
    assert!(handler_jobs(&app, "other").await.is_empty());
    let due = app.all("jobs", doc! { "queue": EVENTS_QUEUE, "turn": { "$type": "string" } }).await;
    assert_eq!(due.len(), SUBJECTS, "one of each subject");
    on.run().await;
    for n in 0..SUBJECTS {
        // As they were written: the time of the note is its id's place in the journal of the collection.
        let noted = app.all("handled", doc! { "subject": format!("sub_{n}") }).await.len();
        assert_eq!(noted as i64, EVENTS);
    }
    assert_eq!(states(&app, "good").await.iter().filter(|state| *state == "done").count(), all);
    app.finish().await;
}

/// Writes what it sees into a collection, and fails as often as it is told.
struct Failing {
    failures: AtomicUsize,
    panics: bool,
}

#[async_trait]
impl Consumer for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn wants(&self, kind: &str) -> bool {
        kind == "Tested"
    }

    async fn take(&self, db: &Database, session: &mut ClientSession, heads: &[EventHead]) -> Result<Vec<&'static str>> {
        for head in heads {
            db.collection("seen").insert_one(doc! { "_id": &head.id }).session(&mut *session).await?;
        }
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            assert!(!self.panics, "on purpose");
            return Err(mongodb::error::Error::custom("on purpose"));
        }
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_failed_consumer_writes_and_acknowledges_nothing() {
    let app = TestApp::start().await;
    for panics in [false, true] {
        let failing: Arc<dyn Consumer> = Arc::new(Failing { failures: 1.into(), panics });
        let on = app.app.clone().following(vec![Noting::well(&app, "good", &["Tested"])], vec![failing]);
        // The relay before has the lease.
        app.db().collection::<Document>("singletons").delete_many(doc! {}).await.unwrap();
        let before = app.all("seen", doc! {}).await.len();
        let relay = on.relay();
        leave(&app, "sub_1", 1..=3).await;
        assert!(relay.pass().await.is_err());
        assert_eq!(app.all("outbox", doc! {}).await.len(), 1);
        assert_eq!(app.all("seen", doc! {}).await.len(), before);
        assert_eq!(relay.pass().await.unwrap(), 3);
        assert_eq!(app.all("seen", doc! {}).await.len(), before + 3);
    }
    assert_eq!(handler_jobs(&app, "good").await.len(), 6);
    app.finish().await;
}

/// Notes what it takes, and refuses what is about one subject until it is mended.
struct Choosy {
    refused: &'static str,
    panics: bool,
    mended: AtomicBool,
}

#[async_trait]
impl Consumer for Choosy {
    fn name(&self) -> &'static str {
        "choosy"
    }

    fn wants(&self, kind: &str) -> bool {
        kind == "Tested"
    }

    async fn take(&self, db: &Database, session: &mut ClientSession, heads: &[EventHead]) -> Result<Vec<&'static str>> {
        for head in heads {
            db.collection("seen").insert_one(doc! { "_id": &head.id }).session(&mut *session).await?;
            if head.subject_id == self.refused && !self.mended.load(Ordering::SeqCst) {
                assert!(!self.panics, "on purpose");
                return Err(mongodb::error::Error::custom("on purpose"));
            }
        }
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn an_event_that_a_consumer_cannot_take_holds_up_nothing() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    for panics in [false, true] {
        app.db().collection::<Document>("singletons").delete_many(doc! {}).await.unwrap();
        app.db().collection::<Document>("seen").delete_many(doc! {}).await.unwrap();
        let choosy = Arc::new(Choosy { refused: "sub_poison", panics, mended: false.into() });
        let app_with = app.app.clone().following(vec![Noting::well(&app, "good", &["Tested"])], vec![choosy.clone()]);
        let on = Following { relay: app_with.relay(), worker: app_with.worker(), app: app_with };
        let before = handler_jobs(&app, "good").await.len();
        let poison = leave(&app, "sub_poison", 1..=1).await.remove(0);
        leave(&app, "sub_fine", 1..=3).await;
        for _ in 0..2 {
            assert!(on.relay.pass().await.is_err(), "it may be mended by itself");
        }
        assert!(on.relay.pass().await.unwrap() >= 4);
        assert!(app.all("outbox", doc! {}).await.is_empty());
        assert_eq!(handler_jobs(&app, "good").await.len(), before + 4, "the others have them");
        on.run_to_the_end().await;
        assert_eq!(app.all("seen", doc! {}).await.len(), 3, "event by event it takes the rest");
        let stats = app.get(&admin, "/events/stats").await.expect(200).body;
        assert_eq!((&stats["pending"], &stats["failed"]), (&json!(0), &json!(1)), "{stats}");
        let of_it = stats["handlers"].as_array().unwrap().iter().find(|stats| stats["name"] == "choosy").unwrap();
        assert_eq!((&of_it["pending"], &of_it["dead"]), (&json!(0), &json!(1)), "{stats}");
        // It is tried with the next page, which it can take.
        leave(&app, "sub_fine", 4..=6).await;
        on.run().await;
        assert_eq!(app.all("seen", doc! {}).await.len(), 6);
        assert_eq!(handler_jobs(&app, "choosy").await.len(), if panics { 8 } else { 4 });
        let dead = app.all("jobs", doc! { "kind": "consume-event", "state": "dead" }).await.remove(0);
        assert_eq!(dead.get_document("payload").unwrap().get_str("eventId").unwrap(), poison);
        assert_eq!(code_of(&dead), "events.not_consumed");
        choosy.mended.store(true, Ordering::SeqCst);
        let retry = format!("/queues/jobs/{}/retry", dead.get_str("_id").unwrap());
        app.request(reqwest::Method::POST, &retry, Some(&admin.token), None).await.expect(200);
        on.run().await;
        assert_eq!(app.all("seen", doc! {}).await.len(), 7);
        assert_eq!(app.get(&admin, "/events/stats").await.expect(200).body["failed"], 0);
    }
    app.finish().await;
}

#[tokio::test]
async fn what_happened_first_goes_first_whatever_the_clocks_of_hosts_said() {
    const SUBJECTS: usize = 250;
    let app = TestApp::start().await;
    let on = Following::with(&app, vec![Noting::well(&app, "good", &["Tested"])]);
    on.relay.pass().await.unwrap();
    let outbox = app.db().collection::<Document>("outbox");
    // Of every second subject the second event has an id from before the first one's, more than a page away.
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for n in 0..SUBJECTS {
        for seq in 1..=2 {
            let head = doc! { "id": new_id("evt"), "type": "Tested", "subjectId": format!("sub_{n:03}"), "userId": "usr_1", "seq": seq as i64 };
            let is_early = (seq == 2) == (n % 2 == 0);
            if is_early { early.push(head) } else { late.push(head) }
        }
    }
    let heads = early.into_iter().chain(late);
    let entries = heads.map(|head| doc! { "_id": new_id("out"), "at": DateTime::now(), "events": [head] });
    outbox.insert_many(entries).await.unwrap();
    app.db().run_command(doc! { "profile": 2 }).await.unwrap();
    assert_eq!(on.relay.pass().await.unwrap() as usize, 2 * SUBJECTS);
    app.db().run_command(doc! { "profile": 0 }).await.unwrap();
    let jobs = handler_jobs(&app, "good").await;
    assert_eq!(jobs.len(), 2 * SUBJECTS);
    for job in jobs {
        let line = job.get_document("line").unwrap();
        let is_first = line.get_i64("seq").unwrap() == 1;
        assert_eq!(job.get_str("turn").is_ok(), is_first, "the first one is due, and the second one waits: {job}");
        assert_eq!(line.get_str("next").is_ok(), is_first);
    }
    // What was read for it: each entry once or, of those that an earlier page took, not even that.
    let finds = doc! { "op": "query", "ns": format!("{}.outbox", app.db().name()) };
    let finds = app.all("system.profile", finds).await;
    let read: i64 = finds.iter().map(|find| find.get_i32("docsExamined").unwrap() as i64).sum();
    assert!(read <= 3 * 2 * SUBJECTS as i64, "{read} documents in {} reads", finds.len());
    app.finish().await;
}

/// Keeps in mind how many events it was given at once.
struct Measuring {
    most: AtomicUsize,
    all: AtomicUsize,
}

#[async_trait]
impl Consumer for Measuring {
    fn name(&self) -> &'static str {
        "measuring"
    }

    fn wants(&self, kind: &str) -> bool {
        kind == "Tested"
    }

    async fn take(&self, _: &Database, _: &mut ClientSession, heads: &[EventHead]) -> Result<Vec<&'static str>> {
        self.most.fetch_max(heads.len(), Ordering::SeqCst);
        self.all.fetch_add(heads.len(), Ordering::SeqCst);
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_week_of_events_drains_a_page_at_a_time() {
    const ENTRIES: usize = 5_000;
    const LONG: usize = 3_000;
    let app = TestApp::start().await;
    let measuring = Arc::new(Measuring { most: 0.into(), all: 0.into() });
    let on = app.app.clone().following(Vec::new(), vec![measuring.clone()]);
    let head =
        |n: usize| doc! { "id": format!("evt_{n}"), "type": "Tested", "subjectId": "s", "userId": "u", "seq": 1 };
    let entry = |n: usize, heads: Vec<Document>| {
        doc! { "_id": format!("out_{n:08}"), "at": DateTime::now(), "events": heads }
    };
    let mut entries: Vec<Document> = (0..ENTRIES).map(|n| entry(n, vec![head(n)])).collect();
    // One transaction had more than a page holds.
    entries.push(entry(ENTRIES, (0..LONG).map(|n| head(ENTRIES + n)).collect()));
    let outbox = app.db().collection::<Document>("outbox");
    outbox.delete_many(doc! {}).await.unwrap();
    for part in entries.chunks(10_000) {
        outbox.insert_many(part).await.unwrap();
    }
    assert_eq!(on.relay().pass().await.unwrap() as usize, ENTRIES + LONG);
    assert_eq!(measuring.all.load(Ordering::SeqCst), ENTRIES + LONG);
    assert!(measuring.most.load(Ordering::SeqCst) < 1_000 + LONG, "a page ends with the entry that fills it");
    assert_eq!(outbox.count_documents(doc! {}).await.unwrap(), 0);
    app.finish().await;
}
