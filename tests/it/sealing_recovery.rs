//! What becomes of the chain after interruptions and interference: it goes on where reading stood, and not over a chain
//! that was cut.

use std::time::Duration;

use bson::{Bson, Document, doc};
use waybill::{
    modules::audit::{
        AuditEvent, AuditStore,
        proof::Anchor,
        seals::{AUDIT_KEYS, AUDIT_SEALER, AUDIT_SEALS, SealError, SecretError},
    },
    platform::{
        batch::{LATE_RECORDS, Lane},
        clock::Clock,
        ids::{first_id_at, new_id},
    },
};

use crate::{
    sealing::{Belated, OFTEN, PATIENCE, an_order, event, insert_event, sealed_once},
    support::{
        TestApp, eventually,
        process::Launch,
        seals::{end_lease, look_back_ms, seal_all, seals, times_sealed},
    },
};

async fn without_events_of_tests(app: TestApp) {
    app.db().collection::<Document>("events").delete_many(doc! { "type": "Tested" }).await.unwrap();
    app.finish().await;
}

#[tokio::test]
async fn a_sealer_that_is_killed_while_it_catches_up_is_followed_by_one_that_goes_on() {
    let app = TestApp::start().await;
    let long_ago = app.app.clock.now_ms() - 7_200_000;
    let backlog: Vec<_> = (0..9_001).map(|n| event(&first_id_at("evt", long_ago + n))).collect();
    app.db().collection("events").insert_many(backlog).await.unwrap();
    an_order(&app, "c-1").await;
    Launch::worker(&app, OFTEN).crash_at("seal_stored").spawn().crash().await;
    let unsealed = times_sealed(&app).await.values().filter(|times| **times == 0).count();
    assert!(seals(&app).await.len() == 1 && unsealed >= 5_001, "there is more than one seal holds");

    end_lease(&app).await;
    let passed = seal_all(&app).await;
    assert_eq!((passed.seals, passed.records), (2, unsealed as u64));
    sealed_once(&app).await;
    without_events_of_tests(app).await;
}

#[tokio::test]
async fn what_commits_late_while_a_sealer_catches_up_is_sealed() {
    let app = TestApp::start().await;
    let now = app.app.clock.now_ms();
    let backlog: Vec<_> = (0..4_500).map(|n| event(&first_id_at("evt", now - 7_200_000 + n))).collect();
    app.db().collection("events").insert_many(backlog).await.unwrap();
    let mut frozen = Launch::worker(&app, OFTEN).freeze_at("seal_stored").spawn();
    frozen.frozen().await;
    // Ledger transactions were read to their end in the first piece; the second is still to come.
    insert_event(&app, &first_id_at("evt", now - look_back_ms() + 20_000)).await;
    app.db()
        .collection("audit_events")
        .insert_one(event(&first_id_at("aud", now - look_back_ms() + 20_000)))
        .await
        .unwrap();
    frozen.signal(nix::sys::signal::Signal::SIGCONT);
    eventually("all are sealed", PATIENCE, async || times_sealed(&app).await.values().all(|times| *times == 1)).await;
    frozen.terminate().await;
    app.db().collection::<Document>("audit_events").delete_many(doc! { "type": "Tested" }).await.unwrap();
    without_events_of_tests(app).await;
}

#[tokio::test]
async fn a_process_whose_clocks_stood_still_lists_what_it_writes() {
    let app = TestApp::start().await;
    let listed = app.db().collection::<Document>(LATE_RECORDS);
    an_order(&app, "c-1").await;
    assert_eq!(listed.count_documents(doc! {}).await.unwrap(), 0, "in time");
    // Its ids and its clock are behind together, so that to itself it seems in time.
    let stood_still = Clock::default();
    stood_still.set_back(Duration::from_secs(300));
    let behind = stood_still.now_ms();
    let id = |prefix| first_id_at(prefix, behind);
    let lane = Lane::start("test", app.db().clone(), stood_still.clone());
    lane.submit(Belated(id("evt"))).await.unwrap();
    let read: Document = app.db().collection("audit_events").find_one(doc! {}).await.unwrap().unwrap();
    let mut read: AuditEvent = bson::deserialize_from_document(read).unwrap();
    read.id = id("aud");
    AuditStore::new(app.db().clone()).record(&read).await.unwrap();
    let names = listed.distinct("_id", doc! {}).await.unwrap();
    assert_eq!(names, [id("aud"), id("evt")].map(Bson::from), "the record of a reading too");
    seal_all(&app).await;
    sealed_once(&app).await;
    without_events_of_tests(app).await;
}

#[tokio::test]
async fn a_chain_that_was_cut_is_not_sealed_over() {
    let file = std::env::temp_dir().join(format!("{}.anchors", new_id("t")));
    let to_file = format!("--audit-anchor-file={}", file.display());
    let app = TestApp::with(&[&to_file, "--audit-anchor-every-ms=100"]).await;
    let anchors = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    for (number, order) in ["c-1", "c-2"].into_iter().enumerate() {
        an_order(&app, order).await;
        eventually("it is anchored", PATIENCE, async || {
            seal_all(&app).await;
            anchors() > number
        })
        .await;
    }
    let chain = app.db().collection::<Document>(AUDIT_SEALS);
    let cut = chain.find_one_and_delete(doc! { "_id": 2_i64 }).await.unwrap().unwrap();
    an_order(&app, "c-3").await;
    // One that made the seal itself, and one that knows it from the file.
    let (other, elsewhere) = (app.beside(&[&to_file]).await, app.beside(&[]).await);
    end_lease(&app).await;
    seal_all(&app).await;
    let holds = chain.find_one_and_delete(doc! { "_id": 3_i64 }).await.unwrap();
    assert!(holds.is_some(), "it went on where it believes the chain to end, which leaves a hole that shows");
    for sealer in [other.app.sealer().unwrap(), app.app.sealer().unwrap()] {
        // Whoever meets another's lease reads anew where the chain stands.
        let _ = sealer.pass().await;
        end_lease(&app).await;
        let refused = eventually_refused(&sealer).await;
        assert!(matches!(refused, SealError::Cut { .. }), "{refused}");
        assert!(refused.to_string().contains("AUDIT_ANCHOR_FILE"), "{refused}");
    }
    assert_eq!(seals(&app).await.len(), 1);
    // A seal with the number, but another one.
    let mut forged = cut.clone();
    forged.insert("previous", Bson::Null);
    chain.insert_one(&forged).await.unwrap();
    end_lease(&app).await;
    assert!(other.app.sealer().unwrap().pass().await.is_err());
    chain.delete_one(doc! { "_id": 2_i64 }).await.unwrap();

    chain.insert_one(&cut).await.unwrap();
    std::fs::write(&file, serde_json::to_string(&Anchor::from(&seals(&app).await[1].header())).unwrap()).unwrap();
    end_lease(&app).await;
    assert_eq!(seal_all(&elsewhere).await.seals, 1);
    std::fs::remove_file(&file).unwrap();
    sealed_once(&app).await;
    app.finish().await;
}

/// The error of a sealer that is asked until it has read where the chain stands.
async fn eventually_refused(sealer: &waybill::modules::audit::seals::Sealer) -> SealError {
    for _ in 0..3 {
        if let Err(error) = sealer.pass().await {
            return error;
        }
    }
    panic!("it is not refused");
}

#[tokio::test]
async fn a_lost_commitment_secret_is_not_made_anew() {
    let app = TestApp::start().await;
    an_order(&app, "c-1").await;
    seal_all(&app).await;
    let secrets = app.db().collection::<Document>(AUDIT_KEYS);
    let secret = secrets.find_one_and_delete(doc! {}).await.unwrap().unwrap();
    let other = app.beside(&[]).await;
    end_lease(&app).await;
    let refused = other.app.sealer().unwrap().pass().await.unwrap_err();
    assert!(matches!(refused, SealError::Secret(SecretError::Lost)), "{refused}");
    assert!(refused.to_string().contains("audit_keys"), "{refused}");
    assert_eq!(secrets.count_documents(doc! {}).await.unwrap(), 0);
    secrets.insert_one(secret).await.unwrap();
    seal_all(&other).await;
    sealed_once(&app).await;
    app.finish().await;
}

#[tokio::test]
async fn what_others_left_in_our_collections_stops_nothing() {
    let app = TestApp::start().await;
    an_order(&app, "c-1").await;
    let far = bson::DateTime::from_millis(app.app.clock.now_ms() + 3_600_000);
    let leases = app.db().collection::<Document>(AUDIT_SEALER);
    leases.insert_one(doc! { "_id": "lease", "holder": "slr_of_another_time", "until": far }).await.unwrap();
    let late = app.db().collection::<Document>(LATE_RECORDS);
    late.insert_many([
        doc! { "_id": 1, "collection": "events" },
        doc! { "_id": "evt_by_hand", "collection": "events" },
    ])
    .await
    .unwrap();
    let odd = app.db().collection::<Document>(AUDIT_SEALS);
    odd.insert_one(doc! { "_id": f64::INFINITY, "span": { "newest": i64::MAX, "oldest": 0_i64 } }).await.unwrap();
    let symbols = (0..10).map(|n| doc! { "_id": Bson::Symbol(format!("{}{n}", first_id_at("evt", 1))) });
    let events = app.db().collection::<Document>("events");
    events.insert_many(symbols.chain([doc! { "_id": "evt_zzz" }])).await.unwrap();
    let passed = tokio::time::timeout(Duration::from_secs(10), app.app.sealer().unwrap().pass()).await;
    assert_eq!(passed.expect("it ends").expect("and seals").seals, 1);
    assert_eq!(late.count_documents(doc! {}).await.unwrap(), 0, "what is no record of ours is off the list");
    for stray in [doc! { "_id": { "$type": "symbol" } }, doc! { "_id": "evt_zzz" }] {
        events.delete_many(stray).await.unwrap();
    }
    odd.delete_many(doc! { "_id": { "$not": { "$type": "long" } } }).await.unwrap();
    sealed_once(&app).await;
    app.finish().await;
}
