//! What becomes of the chain after interruptions and interference: it goes on where reading stood, and not over a chain
//! that was cut.

use std::time::Duration;

use bson::{Bson, Document, doc};
use waybill::{
    modules::audit::{
        proof::Anchor,
        seals::{AUDIT_KEYS, AUDIT_SEALS, SealError, SecretError},
    },
    platform::{
        batch::SEAL_QUEUE,
        ids::{first_id_at, new_id},
        singleton::SINGLETONS,
    },
};

use crate::{
    sealing::{OFTEN, PATIENCE, an_order, backlog, sealed_once, without_events_of_tests},
    support::{
        TestApp, eventually,
        process::Launch,
        seals::{end_lease, queued, requeue, seal_all, seals, times_sealed},
    },
};

#[tokio::test]
async fn another_sealer_goes_on_where_a_killed_one_stopped() {
    let app = TestApp::start().await;
    backlog(&app, new_id).await;
    an_order(&app, "c-1").await;
    Launch::worker(&app, OFTEN).crash_at("seal_stored").spawn().crash().await;
    let unsealed = times_sealed(&app).await.values().filter(|times| **times == 0).count();
    assert!(seals(&app).await.len() == 1 && unsealed > 0, "there is more than one seal holds");

    end_lease(&app).await;
    let passed = seal_all(&app).await;
    assert_eq!((passed.seals, passed.records), (1, unsealed as u64));
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
    let third = seals(&app).await.pop().unwrap();
    assert_eq!(third.number, 3, "it went on where it believes the chain to end, which leaves a hole that shows");
    chain.delete_one(doc! { "_id": 3_i64 }).await.unwrap();
    requeue(&app, &third).await;
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
    std::fs::write(&file, serde_json::to_string(&Anchor::from(&seals(&app).await[1].header)).unwrap()).unwrap();
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
    let leases = app.db().collection::<Document>(SINGLETONS);
    leases.insert_one(doc! { "_id": "sealer", "holder": "slr_of_another_time", "until": far }).await.unwrap();
    let queue = app.db().collection::<Document>(SEAL_QUEUE);
    queue
        .insert_many([
            doc! { "_id": 1 },
            doc! { "_id": "a", "records": { "events": [{ "id": "evt_by_hand" }] } },
            doc! { "_id": "b", "records": { "kyc_applications": [{ "id": new_id("kyc") }] } },
            doc! { "_id": "c", "records": { "events": [7] } },
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
    assert_eq!(queued(&app).await, 4, "nobody acknowledges what he did not seal");
    queue.delete_many(doc! {}).await.unwrap();
    for stray in [doc! { "_id": { "$type": "symbol" } }, doc! { "_id": "evt_zzz" }] {
        events.delete_many(stray).await.unwrap();
    }
    odd.delete_many(doc! { "_id": { "$not": { "$type": "long" } } }).await.unwrap();
    sealed_once(&app).await;
    app.finish().await;
}
