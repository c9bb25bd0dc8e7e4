//! Exports while they are written: what changes meanwhile, who hangs up, and what can't be written.

use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use reqwest::Response;
use waybill::{
    modules::audit::{
        proof::{NamedRecord, Record, Salts, Scopes, erase},
        seals::commitment_key_of,
    },
    platform::{ids::new_id, sealing::SealingKeys},
};

use super::{Scene, read::File};
use crate::support::{
    User, eventually,
    seals::{seal_all, seals, write_records},
};

/// More than the buffers between a server and a client that does not read.
const LARGE: usize = 24 * 1024 * 1024;

impl Scene {
    /// Adds answers by hand until an export takes more than a client's buffers, and seals them.
    async fn enlarge(&self) {
        let pattern = self.app.all("provider_response_logs", doc! {}).await.remove(0);
        let large = (0..LARGE / 16_384).map(|_| {
            let mut log = pattern.clone();
            log.insert("body", doc! { "padding": "x".repeat(16_384) });
            log.insert("_id", new_id("res"));
            log
        });
        for some in large.collect::<Vec<_>>().chunks(500) {
            write_records(&self.app, "provider_response_logs", some).await;
        }
        assert!(seal_all(&self.app).await.seals > 0);
    }

    async fn begin(&self, query: &str) -> Response {
        self.try_begin(query).await.unwrap()
    }

    async fn try_begin(&self, query: &str) -> reqwest::Result<Response> {
        self.begin_as(&self.auditor, query).await
    }

    async fn begin_as(&self, reader: &User, query: &str) -> reqwest::Result<Response> {
        let request = self.app.client.get(format!("{}/audit/export?{query}", self.app.base));
        request.bearer_auth(&reader.token).send().await
    }
}

#[tokio::test]
async fn an_export_is_of_the_moment_when_it_began() {
    let scene = Scene::set().await;
    scene.enlarge().await;
    let sealed: i64 = seals(&scene.app).await.last().unwrap().totals.values().sum();
    let mut response = scene.begin("").await;
    assert_eq!(response.status(), 200);
    let mut bytes = response.chunk().await.unwrap().expect("a first piece").to_vec();

    // Meanwhile: more records, more seals, and the last records of the export are purged.
    let last = seals(&scene.app).await.pop().unwrap();
    scene.app.confirmed(&scene.asha, "c-later").await;
    let purged: Vec<&str> = last.leaves.iter().rev().take(50).map(|leaf| leaf.id.as_str()).collect();
    let logs = scene.app.db().collection::<Document>("provider_response_logs");
    let deleted = logs.delete_many(doc! { "_id": { "$in": &purged } }).await.unwrap().deleted_count;
    assert_eq!(deleted, 50);
    seal_all(&scene.app).await;

    while let Some(piece) = response.chunk().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    let file = File::read(&String::from_utf8(bytes).unwrap());
    assert_eq!(file.header["seals"]["last"], last.number);
    assert_eq!(file.records.len() as i64 + 50, sealed);
    assert_eq!(file.manifest["purged"], 50);
    let is_answer = |sealed: &NamedRecord<'_>| sealed.collection == "provider_response_logs";
    file.check_chain(None, is_answer);
    let file = File::read(&scene.export("").await);
    assert_eq!((&file.manifest["purged"], file.header["seals"]["last"] == last.number), (&50.into(), false));
    file.check_chain(None, is_answer);
    scene.app.finish_unchecked().await;
}

#[tokio::test]
async fn there_is_room_for_two_and_who_hangs_up_makes_room() {
    let scene = Scene::set().await;
    scene.enlarge().await;
    let (other, third) = (scene.app.admin().await, scene.app.admin().await);
    let first = scene.begin("").await;
    assert_eq!(scene.begin("").await.status(), 429, "one at a time of each reader");
    let second = scene.begin_as(&other, "format=csv&provider=parcelx").await.unwrap();
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let answer = scene.app.get(&third, "/audit/export").await.expect(429);
    assert_eq!((answer.code(), answer.headers["retry-after"].to_str().unwrap()), ("audit.exports_busy", "10"));
    // Refused before it counts for anything.
    assert_eq!(scene.app.all("audit_events", doc! { "action": "audit.exported" }).await.len(), 2);
    for held in [second, first] {
        drop(held);
        eventually("there is room again", Duration::from_secs(20), async || {
            scene.begin_as(&third, "collection=ledger_transactions").await.unwrap().status() == 200
        })
        .await;
    }
    // All of it is given back, also by those that came to their end.
    for _ in 0..3 {
        File::read(&scene.export("").await).check_chain(None, |_| false);
    }
    scene.app.finish().await;
}

#[tokio::test]
async fn a_record_that_can_not_be_exported_leaves_no_manifest() {
    let scene = Scene::set().await;
    let event = doc! {
        "_id": new_id("aud"), "actor": { "kind": "command_line", "id": "test", "role": null, "address": null, "requestId": null },
        "action": "test.done", "resourceType": "test", "resourceId": "x", "userId": null, "outcome": "done",
        "reason": null, "before": null, "after": { "$date": "would read as a time" }, "at": bson::DateTime::now(),
    };
    write_records(&scene.app, "audit_events", &[event]).await;
    seal_all(&scene.app).await;
    for query in ["", "format=csv", "collection=audit_events"] {
        // Where it is broken off at once, not even the head of the answer may have left.
        let Ok(mut response) = scene.try_begin(query).await else { continue };
        assert_eq!(response.status(), 200);
        let mut bytes = Vec::new();
        let ended = loop {
            match response.chunk().await {
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(ended.is_err(), "{query}: what was broken off looks whole");
        assert!(!String::from_utf8_lossy(&bytes).contains("manifest"), "{query}");
    }
    // What else is sealed can be had, and the room is given back.
    for collection in Scopes::standard().today().map(|scope| scope.collection()).filter(|name| *name != "audit_events")
    {
        File::read(&scene.export(&format!("collection={collection}")).await).check_proofs();
    }
    scene.app.finish().await;
}

#[tokio::test]
async fn what_was_erased_is_exported_as_erased_and_can_still_be_checked() {
    let scene = Scene::set().await;
    let answer =
        scene.app.all("provider_response_logs", doc! { "errorMessage": { "$type": "string" } }).await.remove(0);
    let id = answer.get_str("_id").unwrap().to_owned();
    let scope = Scopes::standard().of_collection("provider_response_logs").unwrap();
    let key =
        commitment_key_of(scene.app.db(), &SealingKeys::new(&"0".repeat(64).into(), None).unwrap()).await.unwrap();
    let document = RawDocumentBuf::try_from(&answer).unwrap();
    let record = Record { scope, id: &id, document: &document };
    let erased = erase(&record, "errorMessage", &key).expect("something to erase");
    let before = File::read(&scene.export("").await);
    scene.app.update_one("provider_response_logs", doc! { "_id": &id }, doc! { "errorMessage": erased }).await;
    let after = File::read(&scene.export("").await);
    after.check_chain(None, |_| false);
    File::read(&scene.export("provider=parcelx").await).check_proofs();
    let salts = |file: &File| file.records.iter().find(|record| record.id == id).unwrap().salts.clone();
    assert!(matches!(salts(&before), Salts::OfRecord(_)));
    let Salts::OfFields(left) = salts(&after) else { panic!("the record's salt would give that of what was erased") };
    assert!(!left.contains_key("errorMessage") && left.contains_key("body.status"), "nobody can try out what it said");
    scene.app.finish().await;
}
