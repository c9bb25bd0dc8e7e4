//! Purge records: signed, so that nobody who has no key can declare a purge, or have the purge declare one.

use bson::{Document, doc};
use waybill::{
    modules::audit::{
        proof::{FindingKind, Seal},
        seals::AUDIT_SEALS,
        verification::ChainPart,
    },
    platform::ids::sibling_id,
};

use crate::{
    audit_retention::{Scene, accesses, of_order},
    support::{
        SIGNING_KEY,
        process::Launch,
        retention::{AUDIT, RESPONSES, THIRTY_DAYS, ids, purge_record},
        seals::seals,
    },
};

#[tokio::test]
async fn a_purge_that_somebody_asks_for_says_so_and_needs_the_signing_key() {
    let scene = Scene::old().await;
    let app = &scene.app;
    for (key, words) in [("", "AUDIT_SIGNING_KEY is not set: nothing is purged"), ("1", "AUDIT_SIGNING_KEY must be")] {
        let mut purge = Launch::purge(app, THIRTY_DAYS).env("AUDIT_SIGNING_KEY", key).spawn();
        assert_eq!(purge.end().await.code(), Some(1));
        assert!(purge.log().contains(words), "{}", purge.log());
    }
    let unsigned = app.beside(&["--audit-signing-key="]).await;
    assert!(unsigned.app.purger().is_none(), "no more does a worker");
    assert_eq!(app.all(AUDIT, doc! { "action": "audit.purge_requested" }).await, []);

    let mut purge = Launch::purge(app, THIRTY_DAYS).env("RETENTION_PROVIDER_CALLS_DAYS", "1").spawn();
    assert_eq!(purge.end().await.code(), Some(0), "{}", purge.log());
    let asked = app.all(AUDIT, doc! { "action": "audit.purge_requested" }).await;
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].get_document("actor").unwrap().get_str("kind").unwrap(), "command_line");
    let kept = asked[0].get_document("after").unwrap().get_document("keptDays").unwrap();
    assert_eq!(*kept, doc! { "provider_calls": 1_i64, "access": 30_i64 });
    let said = app.all(AUDIT, doc! { "action": "audit.purged" }).await;
    for event in &said {
        let after = event.get_document("after").unwrap();
        let days = if after.get_str("collection").unwrap() == AUDIT { 30 } else { 1 };
        assert_eq!((after.get_str("trigger").unwrap(), after.get_i64("keptDays").unwrap()), ("command_line", days));
    }
    assert!(said.len() == 9 && asked[0].get_str("_id").unwrap() < said[0].get_str("_id").unwrap());
    scene.finish().await;
}

#[tokio::test]
async fn a_purge_covers_nothing_that_somebody_else_removed_or_put_in_its_way() {
    let scene = Scene::old().await;
    let app = &scene.app;
    let finding = async || app.app.verify_audit(ChainPart::default()).await.unwrap().finding;
    let (stolen, seal) = (app.all(RESPONSES, of_order(&scene.orders[1])).await.remove(0), &seals(app).await[1]);
    let id = stolen.get_str("_id").unwrap();
    let at = seal.leaves.iter().position(|leaf| leaf.id == id).unwrap();
    let others: Vec<i64> =
        (seal.first_seq..).take(seal.leaves.len()).filter(|seq| *seq != seal.first_seq + at as i64).collect();
    // Declared by hand, so that the purge would take it for one that an earlier purge took.
    let mut by_hand = purge_record(SIGNING_KEY, 2, RESPONSES, &others);
    by_hand.get_document_mut("after").unwrap().remove("signature");
    app.db().collection::<Document>(AUDIT).insert_one(&by_hand).await.unwrap();
    app.db().collection::<Document>(RESPONSES).delete_one(doc! { "_id": id }).await.unwrap();
    // In another seal an old record of a name that was never sealed stands in the place of another one.
    let kept = seals(app).await.remove(2);
    let mut changed = kept.clone();
    let mut decoy = app.all(AUDIT, accesses()).await.pop().unwrap();
    let (placed, name) = (changed.leaves.iter_mut().find(|leaf| leaf.code == 4).unwrap(), sibling_id("aud", id));
    let real = std::mem::replace(&mut placed.id, name.clone());
    decoy.insert("_id", &name);
    app.db().collection::<Document>(AUDIT).insert_one(&decoy).await.unwrap();
    let put = async |seal: &Seal| {
        let stored = bson::serialize_to_document(seal).unwrap();
        app.db().collection::<Document>(AUDIT_SEALS).replace_one(doc! { "_id": 3_i64 }, stored).await.unwrap();
    };
    put(&changed).await;
    scene.purge().await;
    assert_eq!(ids(app, AUDIT, doc! { "_id": &name }).await.len(), 1, "the purge does not touch it");
    put(&kept).await;
    app.db().collection::<Document>(AUDIT).delete_one(doc! { "_id": &name }).await.unwrap();
    scene.purge().await;
    let found = finding().await.expect("one is gone");
    assert_eq!((found.kind, found.record_id.as_deref()), (FindingKind::RecordRemoved, Some(id)), "{found}");
    app.db().collection::<Document>(RESPONSES).insert_one(&stolen).await.unwrap();
    let (found, by_hand) = (finding().await.expect("one is there by hand"), by_hand.get_str("_id").unwrap());
    assert_eq!((found.kind, found.record_id.as_deref()), (FindingKind::RecordInserted, Some(by_hand)), "{found}");
    app.db().collection::<Document>(AUDIT).delete_one(doc! { "_id": by_hand }).await.unwrap();
    assert_eq!(finding().await, None, "{real} went by rule or is there");
    scene.purge().await;
    scene.finish().await;
}
