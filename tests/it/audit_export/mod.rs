//! Exports of what is sealed: whole, in order, and checkable with the public keys alone; or seen to be not.

mod csv;
mod program;
mod read;
mod selection;
mod streams;

use std::collections::BTreeMap;

use bson::doc;
use serde_json::json;
use waybill::{
    modules::audit::proof::Scopes,
    platform::{clock::Rfc3339Time, identity::Role},
};

use crate::support::{
    TestApp, User,
    seals::{assert_each_sealed_once, seal_all, seals, times_sealed},
};
use read::File;

/// Two merchants with orders of every kind, sealed in two seals; and an auditor.
pub struct Scene {
    pub app: TestApp,
    pub auditor: User,
    pub asha: User,
    pub orders: [String; 4],
}

impl Scene {
    pub async fn set() -> Self {
        let app = TestApp::start().await;
        let (asha, kiran) = (app.merchant().await, app.merchant().await);
        let confirmed = app.confirmed(&asha, "c-1").await;
        app.carrier.misbehave("create", "refuse_422", 1).await;
        let refused = app.created(&asha, "c-2").await;
        app.run_jobs().await;
        assert_eq!(seal_all(&app).await.seals, 1);
        app.carrier.misbehave("create", "500", 1).await;
        let twice = app.created(&asha, "c-3").await;
        app.run_jobs_to_the_end().await;
        let other = app.confirmed(&kiran, "c-1").await;
        app.cancel(&kiran, "c-1").await.expect(202);
        app.run_jobs_to_the_end().await;
        let auditor = app.user(Role::Auditor).await;
        assert_eq!(seal_all(&app).await.seals, 1);
        Self { app, auditor, asha, orders: [confirmed, refused, twice, other] }
    }

    pub async fn export(&self, query: &str) -> String {
        self.app.get(&self.auditor, &format!("/audit/export?{query}")).await.expect(200).text
    }
}

#[tokio::test]
async fn what_is_sealed_is_exported_whole() {
    let scene = crate::each_on!(
        Scene::set().await,
        a_chain_export_has_every_sealed_record_once_and_can_be_checked,
        times_choose_whole_seals_by_when_they_were_sealed,
    );
    scene.app.finish().await;
}

async fn a_chain_export_has_every_sealed_record_once_and_can_be_checked(scene: &Scene) {
    let times = times_sealed(&scene.app).await;
    let sealed = assert_each_sealed_once(&times);
    assert!(sealed > 30, "{sealed}");
    // Not sealed any more: it is left out.
    scene.app.created(&scene.asha, "c-later").await;

    let answer = scene.app.get(&scene.auditor, "/audit/export").await.expect(200);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let disposition = answer.headers["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"audit-") && disposition.ends_with(".ndjson\""));
    let file = File::read(&answer.text);
    assert_eq!(file.manifest["mode"], "chain");
    assert_eq!((&file.header["seals"], &file.header["filters"]), (&json!({ "first": 1, "last": 2 }), &json!({})));
    assert_eq!(file.manifest.get("unsealed"), None);
    file.check_chain(None, |_| false);
    let mut exported: BTreeMap<(String, String), usize> = times.keys().map(|key| (key.clone(), 0)).collect();
    for record in &file.records {
        *exported.entry((record.collection.clone(), record.id.clone())).or_default() += 1;
    }
    assert_eq!(exported, times, "what is sealed, once each, and nothing else");
    let personal = file.records.iter().filter(|record| !record.salts.is_empty()).count();
    assert!(personal > 0 && personal < file.records.len(), "salts go with personal fields");
}

async fn times_choose_whole_seals_by_when_they_were_sealed(scene: &Scene) {
    let stored = seals(&scene.app).await;
    let time = |seal: usize, later_ms: i64| {
        let ms = stored[seal].sealed_at.timestamp_millis() + later_ms;
        Rfc3339Time(bson::DateTime::from_millis(ms)).to_string()
    };
    for (query, first, last) in [
        (format!("from={}", time(1, 0)), 2, 2),
        (format!("to={}", time(1, 0)), 1, 1),
        (format!("from={}&to={}", time(0, 0), time(1, 1)), 1, 2),
        (format!("from={}", time(1, 1)), 3, 2),
        (format!("to={}", time(0, 0)), 1, 0),
        (format!("from={}&to={}", time(0, 1), time(1, 0)), 2, 1),
    ] {
        let file = File::read(&scene.export(&query).await);
        let expected =
            if first > last { json!({ "first": null, "last": null }) } else { json!({ "first": first, "last": last }) };
        assert_eq!(file.header["seals"], expected, "{query}");
        let numbers: Vec<i64> = file.seals.iter().map(|seal| seal.number).collect();
        assert_eq!(numbers, (first..=last).collect::<Vec<_>>(), "{query}");
        let before = stored.get((first - 2) as usize).filter(|_| first > 1).map(|seal| &seal.header);
        file.check_chain(before, |_| false);
    }
}

#[tokio::test]
async fn before_the_first_seal_there_is_nothing_to_export() {
    let app = TestApp::start().await;
    let (auditor, _) = (app.user(Role::Auditor).await, app.merchant().await);
    let file = File::read(&app.get(&auditor, "/audit/export").await.expect(200).text);
    assert_eq!((file.seals.len(), file.records.len()), (0, 0));
    assert_eq!(file.header["seals"], json!({ "first": null, "last": null }));
    file.check_chain(None, |_| false);
    let file = File::read(&app.get(&auditor, "/audit/export?collection=ledger_transactions").await.expect(200).text);
    assert_eq!((file.records.len(), &file.manifest["unsealed"]), (0, &json!(1)), "the opening credit");
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_question_is_refused_and_nobody_else_is_let_in() {
    let scene = Scene::set().await;
    for (query, field) in [
        ("format=xml", "format:unknown_value"),
        ("orderId=", "orderId:length"),
        (&*format!("awb={}", "1".repeat(129)), "awb:length"),
        ("collection=users", "collection:unknown_value"),
        ("collection=", "collection:unknown_value"),
        ("collection=events,", "collection:unknown_value"),
        ("collection=events&awb=1", "collection:not_applicable"),
        ("collection=provider_request_logs,ledger_transactions&provider=parcelx", "collection:not_applicable"),
        ("from=yesterday", "from:format"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to:range"),
        ("limit=1", "limit:unknown"),
        ("userId[$ne]=x", "userId[$ne]:unknown"),
    ] {
        let answer = scene.app.get(&scene.auditor, &format!("/audit/export?{query}")).await.expect(422);
        assert_eq!(answer.blamed(), [field], "{query}");
    }
    let before = scene.app.all("audit_events", doc! { "action": "audit.exported" }).await.len();
    scene.app.get(&scene.asha, "/audit/export").await.expect(403);
    let finance = scene.app.user(Role::Finance).await;
    scene.app.get(&finance, "/audit/export").await.expect(403);
    let unsigned = scene.app.beside(&["--audit-signing-key="]).await;
    let answer = unsigned.get(&scene.auditor, "/audit/export").await.expect(503);
    assert_eq!(answer.code(), "audit.not_signed");
    let after = scene.app.all("audit_events", doc! { "action": "audit.exported" }).await.len();
    assert_eq!((before, after), (0, 0), "nothing was exported");
    scene.app.finish().await;
}

#[tokio::test]
async fn who_exports_what_is_on_record() {
    let scene = Scene::set().await;
    let user = &scene.asha.user_id;
    // Longer than what is kept of a query.
    let operation = "x".repeat(128);
    let query = format!("format=csv&userId={user}&operation={operation}&awb={operation}&from=2020-01-01T00:00:00Z");
    scene.export(&query).await;
    scene.export("").await;
    let events = scene.app.all("audit_events", doc! { "action": "audit.exported" }).await;
    let actor = |n: usize| events[n].get_document("actor").unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(actor(0).get_str("id").unwrap(), scene.auditor.user_id);
    assert!(actor(0).get_str("requestId").is_ok() && actor(0).get_str("address").is_ok());
    assert_eq!(events[0].get_str("userId").unwrap(), user);
    assert_eq!(
        events[0].get_document("after").unwrap(),
        &doc! {
            "format": "csv", "mode": "selection",
            "filters": {
                "userId": user, "operation": &operation, "awb": &operation, "from": "2020-01-01T00:00:00.000Z",
            },
            "seals": { "first": 1_i64, "last": 2_i64 },
        }
    );
    assert_eq!(events[1].get_document("after").unwrap().get_str("mode").unwrap(), "chain");
    // Exports are sealed like anything else, and exported next time.
    assert_eq!(seal_all(&scene.app).await.seals, 1);
    let file = File::read(&scene.export("collection=audit_events").await);
    assert!(events.iter().all(|event| file.ids().contains(&event.get_str("_id").unwrap().to_owned())));
    assert_eq!(Scopes::standard().today().count(), 5, "collections that exports know");
    scene.app.finish().await;
}
