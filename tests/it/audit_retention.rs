//! Old records go, by rule and on record; what a legal hold covers stays; and the chain of seals can tell both apart.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::future::join;
use nix::sys::signal::Signal;
use serde_json::json;
use waybill::{
    modules::audit::{
        proof::FindingKind,
        retention::{PurgeReport, Purger},
    },
    platform::{identity::Role, ids::new_id},
};

use crate::support::{
    TestApp, User, eventually,
    process::Launch,
    read,
    retention::{
        AUDIT, REQUESTS, RESPONSES, THIRTY_DAYS, backdate, end_purge_lease, ids, purge_records, purged, verify,
    },
    seals::{seal_all, seals, write_records},
    server,
    servers::Mongod,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Orders with old, sealed records, each in a seal of its own.
pub struct Scene {
    pub app: TestApp,
    admin: User,
    asha: User,
    kiran: User,
    /// Of Asha, Asha and Kiran.
    pub orders: [String; 3],
}

impl Scene {
    pub async fn old() -> Self {
        Self::over(&server("MONGODB_URI")).await
    }

    async fn over(mongodb: &str) -> Self {
        let app = TestApp::on(mongodb, THIRTY_DAYS).await;
        let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
        let (asha, kiran) = (app.merchant().await, app.merchant().await);
        let mut orders = Vec::new();
        for (user, name) in [(&asha, "c-1"), (&asha, "c-2"), (&kiran, "c-1")] {
            let order = app.confirmed(user, name).await;
            app.get(&auditor, &format!("/audit/orders/{order}")).await.expect(200);
            app.get(user, "/audit/events").await.expect(403);
            let denied = doc! { "action": "request.denied", "actor.id": &user.user_id };
            eventually("the refusal is on record", PATIENCE, async || {
                !ids(&app, AUDIT, denied.clone()).await.is_empty()
            })
            .await;
            // What is done to an order is kept for ever.
            let hold = app.hold(&admin, "order", &order).await.expect(201).body;
            app.release(&admin, &hold).await.expect(200);
            backdate(&app, 40).await;
            assert_eq!(seal_all(&app).await.seals, 1);
            orders.push(order);
        }
        assert_eq!(verify(&app).await, Ok(()));
        Self { app, admin, asha, kiran, orders: orders.try_into().unwrap() }
    }

    pub fn purger(&self, chunk: usize) -> Purger {
        self.app.app.purger().expect("a signing key").with_chunks_of(chunk)
    }

    pub async fn purge(&self) -> PurgeReport {
        let report = self.purger(2_000).run().await.unwrap().expect("nobody else purges");
        assert!(!report.more);
        report
    }

    async fn count(&self, collection: &str, filter: Document) -> usize {
        ids(&self.app, collection, filter).await.len()
    }

    /// Seals what came meanwhile, checks the chain and what must hold in general.
    pub async fn finish(self) {
        seal_all(&self.app).await;
        assert_eq!(verify(&self.app).await, Ok(()));
        self.app.finish().await;
    }
}

pub fn accesses() -> Document {
    doc! { "action": { "$in": ["request.read", "request.denied"] } }
}

pub fn of_order(order: &str) -> Document {
    doc! { "orderId": order }
}

#[tokio::test]
async fn what_is_old_enough_goes_once_and_nothing_else_does() {
    let scene = Scene::old().await;
    let app = &scene.app;
    let others = doc! { "action": { "$nin": ["request.read", "request.denied", "audit.purged"] } };
    let bookkeeping = ids(app, AUDIT, others.clone()).await;
    let (events, booked) = (app.all("events", doc! {}).await, app.all("ledger_transactions", doc! {}).await);
    let before = [
        scene.count(REQUESTS, doc! {}).await,
        scene.count(RESPONSES, doc! {}).await,
        scene.count(AUDIT, accesses()).await,
    ];
    assert!(before.iter().all(|count| *count >= 3) && bookkeeping.len() >= 6, "{before:?}");

    let would = app.app.purger().unwrap().preview().await.unwrap();
    assert_eq!(would.collections.iter().map(|of| of.records as usize).collect::<Vec<_>>(), before);
    assert_eq!(purge_records(app).await.len(), 0, "looking changes nothing");
    assert_eq!(scene.purge().await, would, "what was said is what is done");
    for (collection, filter) in [(REQUESTS, doc! {}), (RESPONSES, doc! {}), (AUDIT, accesses())] {
        assert_eq!(scene.count(collection, filter).await, 0, "{collection}");
    }
    assert_eq!(ids(app, AUDIT, others).await, bookkeeping, "bookkeeping is kept for ever");
    assert_eq!((app.all("events", doc! {}).await, app.all("ledger_transactions", doc! {}).await), (events, booked));
    assert_eq!(verify(app).await, Ok(()));

    let records = purge_records(app).await;
    assert_eq!(records.len(), 9, "three seals, three collections");
    assert!(records.values().all(|of| of.len() == 1));
    for ((seal, collection), of) in &records {
        let kept_for_ever = collection == AUDIT;
        assert_eq!(!of[0].1.is_empty(), kept_for_ever, "{collection} of seal {seal}: what stays is named");
    }
    let event = app.all(AUDIT, doc! { "action": "audit.purged" }).await.remove(0);
    let after = event.get_document("after").unwrap();
    assert_eq!((after.get_str("trigger").unwrap(), after.get_i64("keptDays").unwrap()), ("worker", 30));
    assert_eq!(event.get_document("actor").unwrap().get_str("kind").unwrap(), "system");
    assert!(event.get_document("after").unwrap().get_datetime("classOlderThan").is_ok());

    // A second run, and one over everything anew, find nothing: purge records are never purged.
    assert_eq!(scene.purge().await.records(), 0);
    let notes = app.db().collection::<Document>("audit_retention");
    notes.update_many(doc! { "_id": { "$ne": "guard" } }, doc! { "$unset": { "next": 1 } }).await.unwrap();
    assert_eq!(scene.purge().await.records(), 0);
    assert_eq!(purge_records(app).await, records);
    scene.finish().await;
}

#[tokio::test]
async fn what_somebody_else_removed_is_named_however_often_the_purge_runs() {
    let scene = Scene::old().await;
    let app = &scene.app;
    // One that the purge would have taken, and one that it leaves.
    let stolen = app.all(RESPONSES, of_order(&scene.orders[1])).await.remove(0);
    let hold = app.all(AUDIT, doc! { "action": "audit.hold_placed", "resourceId": &scene.orders[1] }).await.remove(0);
    for (collection, record) in [(RESPONSES, &stolen), (AUDIT, &hold)] {
        let id = record.get_str("_id").unwrap();
        let records = app.db().collection::<Document>(collection);
        records.delete_one(doc! { "_id": id }).await.unwrap();
        for _ in 0..2 {
            let found = verify(app).await.unwrap_err();
            assert_eq!((found.kind, found.record_id.as_deref()), (FindingKind::RecordRemoved, Some(id)), "{found}");
            assert_eq!((found.seal, found.collection.as_deref()), (2, Some(collection)));
            scene.purge().await;
        }
        records.insert_one(record).await.unwrap();
        assert_eq!(verify(app).await, Ok(()), "it was put back as it was");
    }
    let changed = doc! { "_id": stolen.get_str("_id").unwrap() };
    app.db().collection::<Document>(RESPONSES).delete_one(changed).await.unwrap();
    app.db().collection::<Document>("audit_retention").delete_many(doc! { "_id": RESPONSES }).await.unwrap();
    scene.purge().await;
    assert_eq!(verify(app).await.unwrap_err().kind, FindingKind::RecordRemoved, "nothing covers it ever");
    scene.app.finish_unchecked().await;
}

#[tokio::test]
async fn what_is_young_or_kept_for_ever_or_not_sealed_stays() {
    let app = TestApp::with(&["--retention-provider-calls-days=30", "--retention-access-days=0"]).await;
    let (user, auditor) = (app.merchant().await, app.user(Role::Auditor).await);
    let old = app.confirmed(&user, "c-1").await;
    app.get(&auditor, "/audit/events").await.expect(200);
    backdate(&app, 40).await;
    assert_eq!(app.app.purger().unwrap().run().await.unwrap().unwrap().records(), 0, "nothing is sealed");
    seal_all(&app).await;
    let young = app.confirmed(&user, "c-2").await;
    seal_all(&app).await;
    let report = app.app.purger().unwrap().run().await.unwrap().unwrap();
    assert_eq!(report.collections.iter().map(|of| of.collection).collect::<Vec<_>>(), [REQUESTS, RESPONSES]);
    assert_eq!(ids(&app, REQUESTS, of_order(&old)).await, [""; 0]);
    assert_eq!(ids(&app, REQUESTS, of_order(&young)).await.len(), 1);
    assert_eq!(ids(&app, AUDIT, doc! { "action": "request.read" }).await.len(), 1);
    let policy = app.get(&auditor, "/audit/redaction-policy").await.expect(200).body;
    let days: Vec<_> = policy["retention"].as_array().unwrap().iter().map(|of| of["days"].clone()).collect();
    assert_eq!(days, [json!(30), json!(null)]);
    let calls = app.get(&auditor, &format!("/audit/provider-requests?userId={}", user.user_id)).await.expect(200).body;
    assert_eq!(calls["items"].as_array().unwrap().len(), 1);
    assert_eq!(verify(&app).await, Ok(()));
    app.finish().await;
}

#[tokio::test]
async fn what_a_hold_covers_stays_until_it_is_released() {
    for chunk in [1, 3, 2_000] {
        let scene = Scene::old().await;
        let app = &scene.app;
        let of_kiran = doc! { "userId": &scene.kiran.user_id };
        let by_order = app.hold(&scene.admin, "order", &scene.orders[0]).await.expect(201).body;
        let by_user = app.hold(&scene.admin, "user", &scene.kiran.user_id).await.expect(201).body;
        let calls = [ids(app, REQUESTS, of_order(&scene.orders[0])).await, ids(app, REQUESTS, of_kiran.clone()).await];
        let read = doc! { "action": "request.read", "resourceId": &scene.orders[0] };
        let reads = ids(app, AUDIT, read.clone()).await;
        assert_eq!((calls[0].len(), calls[1].len(), reads.len()), (1, 1, 1));

        let report = scene.purger(chunk).run().await.unwrap().unwrap();
        assert!(report.collections.iter().all(|of| of.held >= 2 && of.records > 0), "{report:?}");
        assert_eq!(ids(app, REQUESTS, doc! {}).await, calls.concat(), "{chunk} a transaction");
        assert_eq!(scene.count(RESPONSES, doc! {}).await, 2);
        assert_eq!(ids(app, AUDIT, read).await, reads, "who looked at the order stays with it");
        let turned_away = doc! { "action": "request.denied", "actor.id": &scene.kiran.user_id };
        assert_eq!(scene.count(AUDIT, turned_away).await, 1, "and what the user was refused");
        assert_eq!(verify(app).await, Ok(()));
        assert_eq!(scene.purger(chunk).run().await.unwrap().unwrap().records(), 0, "no release, nothing new");

        app.release(&scene.admin, &by_order).await.expect(200);
        scene.purger(chunk).run().await.unwrap().unwrap();
        assert_eq!(ids(app, REQUESTS, doc! {}).await, calls[1]);
        assert_eq!(verify(app).await, Ok(()));
        app.release(&scene.admin, &by_user).await.expect(200);
        assert!(scene.purger(chunk).run().await.unwrap().unwrap().records() > 0);
        assert_eq!((scene.count(REQUESTS, doc! {}).await, scene.count(RESPONSES, doc! {}).await), (0, 0));
        assert_eq!(scene.count(AUDIT, accesses()).await, 0);
        let left = app.all("audit_retention", doc! { "seal": { "$exists": true } }).await;
        assert_eq!(left, [], "no seal is waited for any more");
        assert_eq!(purged(app, REQUESTS).await, 3, "each went once");
        scene.finish().await;
    }
}

#[tokio::test]
async fn a_hold_that_is_set_while_a_purge_is_under_way_wins() {
    let scene = Scene::old().await;
    let app = &scene.app;
    let mut purge = Launch::purge(app, THIRTY_DAYS).freeze_at("purge_deleting").spawn();
    purge.frozen().await;
    // It has deleted the first order's call, in a transaction that is not committed.
    app.hold(&scene.admin, "order", &scene.orders[0]).await.expect(201);
    assert!(app.app.purger().unwrap().run().await.unwrap().is_none(), "one purge at a time");
    purge.signal(Signal::SIGCONT);
    assert_eq!(purge.end().await.code(), Some(0), "{}", purge.log());
    for collection in [REQUESTS, RESPONSES] {
        assert_eq!(scene.count(collection, of_order(&scene.orders[0])).await, 1, "{collection}");
        assert_eq!(scene.count(collection, doc! {}).await, 1, "{collection}: the others went");
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_purge_waits_for_a_hold_that_is_being_set() {
    let scene = Scene::old().await;
    let app = &scene.app;
    let mut purge = Launch::purge(app, THIRTY_DAYS).freeze_at("purge_deleting").spawn();
    purge.frozen().await;
    let api = Launch::api(app, THIRTY_DAYS).freeze_at("before_commit").start().await;
    let body = json!({ "kind": "user", "id": scene.asha.user_id, "reason": "A dispute in court." });
    let placing = app.client.post(format!("{}/audit/legal-holds", api.base)).bearer_auth(&scene.admin.token);
    let placing = placing.header("content-type", "application/json").body(body.to_string());
    let placing = tokio::spawn(placing.send());
    api.frozen().await;
    // Both have written and neither has committed: what the purge deleted is the hold's, and the hold was first.
    purge.signal(Signal::SIGCONT);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert!(purge.is_running(), "it ended before the hold was there:\n{}", purge.log());
        tokio::task::yield_now().await;
    }
    api.signal(Signal::SIGCONT);
    read(placing.await.unwrap().unwrap()).await.expect(201);
    assert_eq!(purge.end().await.code(), Some(0), "{}", purge.log());
    let asha = doc! { "userId": &scene.asha.user_id };
    assert_eq!((scene.count(REQUESTS, asha.clone()).await, scene.count(RESPONSES, asha).await), (2, 2));
    assert_eq!(scene.count(REQUESTS, doc! { "userId": &scene.kiran.user_id }).await, 0);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_once_its_hold_was_confirmed() {
    let app = TestApp::with(THIRTY_DAYS).await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    let mut orders = Vec::new();
    for n in 0..40 {
        orders.push(app.confirmed(&user, &format!("c-{n}")).await);
        if n % 4 == 3 {
            backdate(&app, 40).await;
            seal_all(&app).await;
        }
    }
    let over = AtomicBool::new(false);
    let holding = async {
        let mut confirmed: Vec<(&String, Vec<String>)> = Vec::new();
        while !over.load(Ordering::Relaxed) {
            // The one that the purge is about to come to, and the one after it; then not before it has moved on.
            let there = ids(&app, REQUESTS, doc! {}).await;
            let untouched = async |order: &String| {
                let own = ids(&app, REQUESTS, of_order(order)).await;
                !own.is_empty() && confirmed.iter().all(|(held, _)| *held != order)
            };
            let mut next = Vec::new();
            for order in &orders {
                if next.len() < 2 && untouched(order).await {
                    next.push(order);
                }
            }
            for order in next {
                app.hold(&admin, "order", order).await.expect(201);
                confirmed.push((order, ids(&app, REQUESTS, of_order(order)).await));
            }
            eventually("the purge moves on", PATIENCE, async || {
                over.load(Ordering::Relaxed) || ids(&app, REQUESTS, doc! {}).await.len() < there.len()
            })
            .await;
        }
        confirmed
    };
    let purging = async {
        let report = app.app.purger().unwrap().with_chunks_of(1).run().await.unwrap().unwrap();
        over.store(true, Ordering::Relaxed);
        report
    };
    let (confirmed, report) = join(holding, purging).await;
    for (order, then) in &confirmed {
        assert_eq!(ids(&app, REQUESTS, of_order(order)).await, *then, "{order}");
    }
    let kept = confirmed.iter().filter(|(_, then)| !then.is_empty()).count();
    println!("{} holds beside a purge; {kept} of them kept their records; {report:?}", confirmed.len());
    assert!(kept > 0 && report.records() > 0, "both happened");
    assert_eq!(verify(&app).await, Ok(()));
    app.finish().await;
}

#[tokio::test]
async fn a_purge_that_is_killed_leaves_neither_a_gap_nor_a_double() {
    let mongod = Mongod::with(&["transactionLifetimeLimitSeconds=1"]).await;
    for point in ["purge_deleting", "purge_committed"] {
        let scene = Scene::over(&mongod.uri()).await;
        let app = &scene.app;
        let before: Vec<usize> = vec![scene.count(REQUESTS, doc! {}).await, scene.count(RESPONSES, doc! {}).await];
        let mut kills = 0;
        loop {
            let mut purge = Launch::purge(app, THIRTY_DAYS).crash_at(point).spawn();
            let status = purge.end().await;
            assert_eq!(verify(app).await, Ok(()), "{point}, killed {kills} times: what is gone is on record");
            if status.success() || kills == 4 {
                break;
            }
            kills += 1;
            end_purge_lease(app).await;
        }
        assert_eq!(kills, 4, "{point}");
        let gone = before[0] - scene.count(REQUESTS, doc! {}).await;
        assert_eq!(gone > 0, point == "purge_committed", "{point}: what was not committed did not happen");
        eventually("the server has ended the last transaction", PATIENCE, async || {
            end_purge_lease(app).await;
            let mut purge = Launch::purge(app, THIRTY_DAYS).spawn();
            purge.end().await.success()
        })
        .await;
        for (collection, count) in [REQUESTS, RESPONSES].into_iter().zip(before) {
            assert_eq!(scene.count(collection, doc! {}).await, 0, "{point}: {collection}");
            assert_eq!(purged(app, collection).await, count as i64, "{point}: {collection}, each once");
        }
        scene.finish().await;
    }
}

#[tokio::test]
async fn a_worker_purges_by_itself() {
    let purge = || doc! { "_id": "audit-purge" };
    let scene = Scene::old().await;
    let mut worker = Launch::worker(&scene.app, THIRTY_DAYS).start().await;
    let admin = scene.app.admin().await;
    let path = "/schedules/audit-purge/resume";
    scene.app.request(reqwest::Method::POST, path, Some(&admin.token), None).await.expect(200);
    let overdue = doc! { "nextAt": bson::DateTime::from_millis(0) };
    scene.app.update_one("schedules", purge(), overdue).await;
    eventually("old calls are gone", PATIENCE, async || scene.count(RESPONSES, doc! {}).await == 0).await;
    eventually("the purge has ended", PATIENCE, async || {
        !scene.app.all("schedule_runs", doc! { "schedule": "audit-purge", "state": "done" }).await.is_empty()
    })
    .await;
    worker.terminate().await;
    let numbers: BTreeSet<i64> = seals(&scene.app).await.iter().map(|seal| seal.number).collect();
    assert!(purge_records(&scene.app).await.keys().all(|(seal, _)| numbers.contains(seal)));
    scene.finish().await;
}

#[tokio::test]
async fn a_large_seal_goes_in_several_transactions() {
    let app = TestApp::with(THIRTY_DAYS).await;
    let user = app.merchant().await;
    app.confirmed(&user, "c-1").await;
    let answer = app.all(RESPONSES, doc! {}).await.remove(0);
    let copy = |_| {
        let mut copy = answer.clone();
        copy.insert("_id", new_id("res"));
        copy
    };
    let copies: Vec<Document> = (0..3_999).map(copy).collect();
    write_records(&app, RESPONSES, &copies).await;
    seal_all(&app).await;
    app.app.clock.advance(Duration::from_secs(40 * 86_400));
    let began = Instant::now();
    let report = app.app.purger().unwrap().run().await.unwrap().unwrap();
    println!("{} records of one seal purged in {:?}", report.records(), began.elapsed());
    let records = purge_records(&app).await;
    let of_answers = records.iter().find(|((_, collection), _)| collection == RESPONSES).unwrap().1;
    let mut said: Vec<_> = of_answers.iter().map(|(purged, kept)| (*purged, kept.len())).collect();
    said.sort_unstable_by_key(|(_, kept)| *kept);
    assert_eq!(said, [(2_000, 0), (2_000, 2_000)], "what is left at every moment is named");
    assert_eq!(verify(&app).await, Ok(()));
    app.finish().await;
}
