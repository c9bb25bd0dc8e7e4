//! Seals and proofs, as somebody sees them who checks them.

use std::collections::BTreeMap;

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json, value::RawValue};
use waybill::{
    modules::audit::proof::{Anchor, Proof, PublicKeys, Salts, Scopes, SealHeader, from_json},
    platform::{
        identity::Role,
        ids::{first_id_at, new_id},
    },
};

use crate::support::{
    TestApp, User,
    seals::{seal_all, seals},
};

/// An app with so many seals, and an auditor.
async fn sealed(count: usize) -> (TestApp, User) {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    let user = app.merchant().await;
    for n in 0..count {
        app.create(&user, &format!("c-{n}")).await.expect(201);
        app.run_jobs().await;
        app.get(&auditor, "/audit/provider-requests?limit=1").await.expect(200);
        assert_eq!(seal_all(&app).await.seals, 1);
    }
    (app, auditor)
}

#[tokio::test]
async fn seals_are_listed_in_both_orders_page_by_page() {
    let (app, auditor) = sealed(5).await;
    for (order, expected) in [("newest", [5, 4, 3, 2, 1]), ("oldest", [1, 2, 3, 4, 5])] {
        let (mut numbers, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get(&auditor, &format!("/audit/seals?limit=2&order={order}{cursor}")).await.expect(200).body;
            numbers.extend(page["items"].as_array().unwrap().iter().map(|seal| seal["number"].as_i64().unwrap()));
            // What is sealed meanwhile does not move the list.
            if numbers.len() == 2 && order == "oldest" {
                seal_all(&app).await;
            }
            match page["nextCursor"].as_str() {
                Some(next) if numbers.len() < 5 => cursor = format!("&cursor={next}"),
                _ => break,
            }
        }
        assert_eq!(numbers[..5], expected, "{order}");
    }
    let page = app.get(&auditor, "/audit/seals?order=oldest&limit=100").await.expect(200).body;
    let stored = seals(&app).await;
    assert_eq!(page["nextCursor"], Value::Null);
    for (item, seal) in page["items"].as_array().unwrap().iter().zip(&stored) {
        let header: SealHeader = serde_json::from_value(item.clone()).unwrap();
        assert_eq!(header, seal.header);
        assert_eq!(item["headerHash"], json!(Anchor::from(&header).header_hash));
        assert!(item.get("leaves").is_none());
    }
    app.finish().await;
}

#[tokio::test]
async fn lists_of_seals_refuse_what_they_do_not_know() {
    let (app, auditor) = sealed(2).await;
    let page = app.get(&auditor, "/audit/seals?limit=1").await.expect(200).body;
    let cursor = page["nextCursor"].as_str().unwrap();
    let other = app.user(Role::Auditor).await;
    assert_eq!(app.get(&other, &format!("/audit/seals?cursor={cursor}")).await.expect(422).blamed(), ["cursor:format"]);
    let turned = app.get(&auditor, &format!("/audit/seals?order=oldest&cursor={cursor}")).await.expect(422);
    assert_eq!(turned.blamed(), ["cursor:format"]);
    for limit in ["-1", "0", "101", "1000000000", "x"] {
        app.get(&auditor, &format!("/audit/seals?limit={limit}")).await.expect(422);
    }
    app.get(&auditor, "/audit/seals?since=1").await.expect(422);
    app.finish().await;
}

/// The answer's record as it was sent, with its fields in their order.
fn parts(text: &str) -> (Proof, String, Salts) {
    let parts: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap();
    let proof = serde_json::from_str(parts["proof"].get()).unwrap();
    (proof, parts["record"].get().to_owned(), serde_json::from_str(parts["salts"].get()).unwrap())
}

#[tokio::test]
async fn a_record_of_every_kind_is_proved_with_the_public_key_alone() {
    let (app, auditor) = sealed(2).await;
    let keys = app.request(Method::GET, "/.well-known/waybill-audit-keys", None, None).await.expect(200);
    assert_eq!(keys.headers["cache-control"], "public, max-age=300");
    let keys: PublicKeys = serde_json::from_value(keys.body).unwrap();
    let mut kinds = Vec::new();
    for leaf in seals(&app).await.into_iter().flat_map(|seal| seal.leaves) {
        let answer = app.get(&auditor, &format!("/audit/proofs/{}", leaf.id)).await.expect(200);
        let (proof, record, salts) = parts(&answer.text);
        let record = from_json(&record).unwrap();
        proof.verify(&record, &salts, Scopes::standard(), &keys).unwrap_or_else(|error| panic!("{}: {error}", leaf.id));
        let mut other = bson::Document::try_from(&record).unwrap();
        other.insert("at", bson::DateTime::from_millis(1));
        let other = bson::RawDocumentBuf::try_from(&other).unwrap();
        assert!(proof.verify(&other, &salts, Scopes::standard(), &keys).is_err(), "{}", leaf.id);
        kinds.push(proof.collection);
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    app.finish().await;
}

#[tokio::test]
async fn what_is_not_sealed_has_no_proof_yet() {
    let (app, auditor) = sealed(1).await;
    let user = app.merchant().await;
    app.create(&user, "c-new").await.expect(201);
    let event = app.all("events", doc! {}).await.pop().unwrap();
    let path = format!("/audit/proofs/{}", event.get_str("_id").unwrap());
    assert_eq!(app.get(&auditor, &path).await.expect(404).code(), "audit.not_sealed");
    seal_all(&app).await;
    app.get(&auditor, &path).await.expect(200);
    for unknown in [new_id("evt"), first_id_at("req", 0), new_id("ord"), "x".into(), "%7B%22$ne%22:1%7D".into()] {
        let answer = app.get(&auditor, &format!("/audit/proofs/{unknown}")).await.expect(404);
        assert_eq!(answer.code(), "audit.not_found", "{unknown}");
    }
    app.get(&user, &path).await.expect(403);
    app.finish().await;
}
