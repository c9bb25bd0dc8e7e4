//! Every record comes into exactly one seal, whoever seals, dies, commits late or has the wrong time.

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, routing::post};
use bson::{DateTime, Document, doc};
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::sync::Mutex;
use waybill::{
    modules::audit::{
        journal,
        proof::{Anchor, FindingKind, PublicKeys},
        seals::{AUDIT_SEALS, SealError, SealingPass},
        verification::{ChainPart, verify_chain},
    },
    platform::{
        batch::SEAL_QUEUE,
        crash::OF_SEALING,
        ids::{first_id_at, new_id, time_of_id},
        sealing::SealingKeys,
    },
};

use crate::support::{
    SIGNING_KEY, TestApp, eventually,
    process::Launch,
    seals::{
        assert_each_sealed_once, end_lease, public_keys, queued, seal_all, sealing_pass, seals, signing_key,
        times_sealed, write_records,
    },
};

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const OFTEN: &[&str] = &["--audit-seal-every-ms=100"];

/// An order from its creation to its end: records in all sealed collections but one.
pub async fn an_order(app: &TestApp, client_order_id: &str) {
    let user = app.merchant().await;
    app.create(&user, client_order_id).await.expect(201);
    app.run_jobs().await;
    let auditor = app.user(waybill::platform::identity::Role::Auditor).await;
    app.get(&auditor, &format!("/audit/provider-requests?clientOrderId={client_order_id}")).await.expect(200);
}

/// Every record is in one seal, and the chain is good; gives how many records there are.
pub async fn sealed_once(app: &TestApp) -> usize {
    let records = assert_each_sealed_once(&times_sealed(app).await);
    let keys = PublicKeys::from_iter([SIGNING_KEY, &"6".repeat(64)].map(|key| signing_key(key).public()));
    let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
    let report = verify_chain(app.db(), &keys, &sealing, ChainPart::default(), |_| {}).await.unwrap();
    assert_eq!((report.finding, report.records), (None, records as u64));
    records
}

pub fn event(id: &str) -> Document {
    let actor = doc! { "kind": "system", "id": null, "role": null, "address": null, "requestId": null };
    doc! { "_id": id, "type": "Tested", "subjectId": "s", "userId": "u", "actor": actor, "data": {}, "at": DateTime::now() }
}

pub async fn insert_event(app: &TestApp, id: &str) {
    write_records(app, "events", &[event(id)]).await;
}

pub async fn without_events_of_tests(app: TestApp) {
    app.db().collection::<Document>("events").delete_many(doc! { "type": "Tested" }).await.unwrap();
    app.finish().await;
}

#[tokio::test]
async fn what_was_written_is_in_one_seal_after_a_pass() {
    let app = TestApp::start().await;
    an_order(&app, "c-1").await;
    assert!(queued(&app).await > 0);
    let passed = seal_all(&app).await;
    let records = sealed_once(&app).await;
    assert_eq!(passed, SealingPass { holding: true, seals: 1, records: records as u64 });
    assert_eq!(queued(&app).await, 0, "what is sealed is acknowledged");
    let seal = &seals(&app).await[0];
    let names: Vec<&str> = seal.counts.keys().map(String::as_str).collect();
    let sealed = ["audit_events", "events", "ledger_transactions", "provider_request_logs", "provider_response_logs"];
    assert_eq!(names, sealed);

    assert_eq!(
        seal_all(&app).await,
        SealingPass { holding: true, seals: 0, records: 0 },
        "a pass without news makes no seal"
    );
    an_order(&app, "c-2").await;
    let second = seal_all(&app).await;
    assert_eq!(sealed_once(&app).await as u64, passed.records + second.records);
    app.finish().await;
}

/// More records than one seal has, with ids that `id` makes of the prefix.
const BACKLOG: u64 = 20_001;

pub async fn backlog(app: &TestApp, id: impl Fn(&str) -> String) {
    let events: Vec<_> = (0..BACKLOG).map(|_| event(&id("evt"))).collect();
    write_records(app, "events", &events).await;
}

#[tokio::test]
async fn a_backlog_comes_into_several_seals() {
    let app = TestApp::start().await;
    backlog(&app, new_id).await;
    let passed = seal_all(&app).await;
    assert_eq!((passed.seals, passed.records), (2, BACKLOG));
    sealed_once(&app).await;
    without_events_of_tests(app).await;
}

#[tokio::test]
async fn what_commits_after_others_were_sealed_is_sealed_by_the_next_pass() {
    let app = TestApp::start().await;
    let mut session = app.db().client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let late = new_id("evt");
    journal().insert(app.db(), &mut session, "events", &[event(&late)]).await.unwrap();
    an_order(&app, "c-1").await;
    seal_all(&app).await;
    assert!(!times_sealed(&app).await.contains_key(&("events".into(), late.clone())), "it is not committed");
    session.commit_transaction().await.unwrap();
    // As if they had been open for a minute, an hour, a year.
    let now = time_of_id(&late).unwrap();
    for ago in [60_000, 3_600_000, 31_536_000_000] {
        insert_event(&app, &first_id_at("evt", now - ago)).await;
    }
    let check = async || {
        let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
        verify_chain(app.db(), &public_keys(), &sealing, ChainPart::default(), |_| {}).await.unwrap().finding
    };
    assert_eq!(check().await, None, "what waits for its seal was not inserted by hand");
    assert_eq!(seal_all(&app).await.records, 4);
    sealed_once(&app).await;
    without_events_of_tests(app).await;
}

#[tokio::test]
async fn a_record_that_is_named_twice_is_sealed_once() {
    let app = TestApp::start().await;
    an_order(&app, "c-1").await;
    let queue = app.db().collection::<Document>(SEAL_QUEUE);
    let mut again = queue.find_one(doc! {}).await.unwrap().unwrap();
    again.insert("_id", new_id("bat"));
    queue.insert_one(&again).await.unwrap();
    seal_all(&app).await;
    let records = sealed_once(&app).await;
    // And once more, when all of them are sealed.
    queue.insert_one(&again).await.unwrap();
    assert_eq!(seal_all(&app).await.seals, 0);
    assert_eq!((sealed_once(&app).await, queued(&app).await), (records, 0));
    app.finish().await;
}

#[tokio::test]
async fn a_record_that_is_named_and_gone_is_a_finding_and_holds_up_no_other() {
    let app = TestApp::start().await;
    let (gone, stays) = (new_id("evt"), new_id("evt"));
    write_records(&app, "events", &[event(&gone), event(&stays)]).await;
    let events = app.db().collection::<Document>("events");
    events.delete_one(doc! { "_id": &gone }).await.unwrap();
    an_order(&app, "c-1").await;
    seal_all(&app).await;
    for _ in 0..2 {
        assert!(times_sealed(&app).await.values().all(|times| *times == 1), "what is there is sealed");
        assert_eq!(queued(&app).await, 1, "the entry is not acknowledged");
        sealing_pass(&app).await;
    }
    let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
    let report = verify_chain(app.db(), &public_keys(), &sealing, ChainPart::default(), |_| {}).await.unwrap();
    let found = report.finding.expect("a finding");
    assert_eq!((found.kind, found.record_id.as_ref()), (FindingKind::RecordRemoved, Some(&gone)));
    events.insert_one(event(&gone)).await.unwrap();
    seal_all(&app).await;
    assert_eq!(queued(&app).await, 0);
    sealed_once(&app).await;
    without_events_of_tests(app).await;
}

#[tokio::test]
async fn what_is_changed_before_its_seal_is_a_finding() {
    let app = TestApp::start().await;
    seal_all(&app).await;
    let user = app.merchant().await;
    let events = app.db().collection::<Document>("events");
    let queue = app.db().collection::<Document>(SEAL_QUEUE);
    let hashed = doc! { "records.events.leafHash": { "$type": "binData" } };
    eventually("records are hashed by who writes them", PATIENCE, async || {
        app.create(&user, &new_id("c")).await.expect(201);
        queue.count_documents(hashed.clone()).await.unwrap() > 0
    })
    .await;
    let entry = queue.find_one(hashed).await.unwrap().unwrap();
    let named = entry.get_document("records").unwrap().get_array("events").unwrap();
    let id = named[0].as_document().unwrap().get_str("id").unwrap().to_owned();
    let written = events.find_one(doc! { "_id": &id }).await.unwrap().unwrap();
    let sealing = SealingKeys::new(&"0".repeat(64).into(), None).unwrap();
    let finding = async || {
        let report = verify_chain(app.db(), &public_keys(), &sealing, ChainPart::default(), |_| {}).await.unwrap();
        report.finding.map(|finding| (finding.kind, finding.record_id.unwrap()))
    };

    events.update_one(doc! { "_id": &id }, doc! { "$set": { "type": "Forged" } }).await.unwrap();
    seal_all(&app).await;
    assert_eq!((finding().await, queued(&app).await), (Some((FindingKind::RecordChanged, id.clone())), 0));
    events.delete_one(doc! { "_id": &id }).await.unwrap();
    assert_eq!(finding().await, Some((FindingKind::RecordRemoved, id)));
    events.insert_one(written).await.unwrap();
    sealed_once(&app).await;
    app.finish().await;
}

#[tokio::test]
async fn a_clock_that_steps_back_ten_minutes_leaves_no_gap_and_no_double() {
    let app = TestApp::start().await;
    // The sealer's clock goes on where the database's was set back: records carry times ten minutes before its own.
    app.app.clock.advance(Duration::from_secs(600));
    for round in 0..3 {
        an_order(&app, &format!("c-{round}")).await;
        seal_all(&app).await;
        sealed_once(&app).await;
    }
    // One that begins after the step, with the right time, takes over from seals of the future.
    let other = app.beside(&[]).await;
    end_lease(&app).await;
    an_order(&app, "c-4").await;
    seal_all(&other).await;
    sealed_once(&app).await;
    let chain = seals(&app).await;
    assert!(chain.is_sorted_by_key(|seal| seal.sealed_at), "its clock is behind, and times of seals don't go back");

    // A process whose clock is ahead writes records of the future; they are sealed at once, and once.
    insert_event(&app, &first_id_at("evt", app.app.clock.now_ms() + 600_000)).await;
    for _ in 0..3 {
        seal_all(&other).await;
        an_order(&app, &format!("c-{}", new_id("x"))).await;
    }
    seal_all(&other).await;
    sealed_once(&app).await;
    without_events_of_tests(app).await;
}

#[tokio::test]
async fn of_two_sealers_one_seals_and_the_other_takes_over() {
    let app = TestApp::start().await;
    let other = app.beside(&[]).await;
    an_order(&app, "c-1").await;
    assert!(seal_all(&app).await.holding);
    assert_eq!(seal_all(&other).await, SealingPass::default(), "the lease is taken");

    // The first one loses its lease without noticing, and goes on where it believes the chain to end.
    an_order(&app, "c-2").await;
    end_lease(&app).await;
    assert_eq!(seal_all(&other).await.seals, 1);
    an_order(&app, "c-3").await;
    end_lease(&app).await;
    assert_eq!(sealing_pass(&app).await.seals, 0, "there is a seal of this number");
    assert_eq!(seal_all(&app).await.seals, 1, "it has read where the chain ends");
    sealed_once(&app).await;

    // Both at once, over and over, each with a lease.
    for round in 0..20 {
        insert_event(&app, &new_id("evt")).await;
        end_lease(&app).await;
        let (first, second) = (app.app.sealer().unwrap(), other.app.sealer().unwrap());
        let freed = async {
            tokio::task::yield_now().await;
            end_lease(&app).await;
        };
        let (first, second, ()) = tokio::join!(first.pass(), second.pass(), freed);
        assert!(first.is_ok() && second.is_ok(), "round {round}: {first:?} {second:?}");
    }
    end_lease(&app).await;
    while seal_all(&app).await.seals > 0 {}
    seal_all(&app).await;
    sealed_once(&app).await;
    let numbers: Vec<_> = seals(&app).await.iter().map(|seal| seal.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
    without_events_of_tests(app).await;
}

#[tokio::test]
async fn a_sealer_that_is_killed_at_any_step_leaves_no_gap_and_no_double() {
    join_all(OF_SEALING.iter().map(|point| sealed_despite(point))).await;
}

async fn sealed_despite(point: &str) {
    let app = TestApp::start().await;
    an_order(&app, "c-1").await;
    Launch::worker(&app, OFTEN).crash_at(point).spawn().crash().await;
    let before = seals(&app).await.len();
    assert_eq!(before, usize::from(matches!(point, "seal_stored" | "seal_anchored")), "{point}");
    an_order(&app, "c-2").await;
    let mut healthy = Launch::worker(&app, OFTEN).start().await;
    eventually("everything is sealed", PATIENCE, async || {
        let times = times_sealed(&app).await;
        times.values().all(|times| *times == 1)
    })
    .await;
    healthy.terminate().await;
    sealed_once(&app).await;
    app.finish().await;
}

#[tokio::test]
async fn a_thawed_sealer_seals_nothing_that_another_has_sealed() {
    let app = TestApp::start().await;
    an_order(&app, "c-1").await;
    let mut frozen = Launch::worker(&app, OFTEN).freeze_at("seal_built").spawn();
    frozen.frozen().await;
    assert!(seals(&app).await.is_empty());
    let healthy = app.beside(&[]).await;
    eventually("another one takes over", PATIENCE, async || seal_all(&healthy).await.seals > 0).await;
    an_order(&app, "c-2").await;
    frozen.signal(Signal::SIGCONT);
    end_lease(&app).await;
    eventually("the thawed one goes on", PATIENCE, async || times_sealed(&app).await.values().all(|times| *times == 1))
        .await;
    frozen.terminate().await;
    sealed_once(&app).await;
    app.finish().await;
}

#[tokio::test]
async fn a_chain_goes_on_under_a_new_key_only_where_the_old_one_is_known() {
    let app = TestApp::start().await;
    an_order(&app, "c-1").await;
    seal_all(&app).await;
    app.app.sealer().unwrap().run(std::future::ready(())).await;

    let new = format!("--audit-signing-key={}", "6".repeat(64));
    let stranger = app.beside(&[&new]).await;
    let refused = stranger.app.sealer().unwrap().pass().await;
    let error = refused.expect_err("the old key is not known");
    assert!(matches!(error, SealError::NotSigned { number: 1, .. }), "{error}");
    assert!(error.to_string().contains("AUDIT_PUBLIC_KEYS"), "{error}");

    let published = serde_json::to_value(crate::support::seals::public_keys()).unwrap();
    let old = format!("--audit-public-keys={}", published["keys"][0]["publicKey"].as_str().unwrap());
    let heir = app.beside(&[&new, &old]).await;
    an_order(&app, "c-2").await;
    end_lease(&app).await;
    seal_all(&heir).await;
    sealed_once(&app).await;
    let signers: Vec<_> = seals(&app).await.into_iter().map(|seal| seal.header.key_id).collect();
    assert_eq!(signers, [SIGNING_KEY, &"6".repeat(64)].map(|key| signing_key(key).public().id()));
    app.finish().await;
}

#[tokio::test]
async fn the_latest_seal_is_anchored_in_a_file_and_at_a_webhook() {
    let received = Arc::new(Mutex::new(Vec::<Value>::new()));
    let (keeps, refuse) = (Arc::clone(&received), Arc::new(std::sync::atomic::AtomicBool::new(true)));
    let refuses = Arc::clone(&refuse);
    let keep = move |Json(anchor): Json<Value>| async move {
        if refuses.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        keeps.lock().await.push(anchor);
        axum::http::StatusCode::NO_CONTENT
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("--audit-anchor-url=http://{}/anchors", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/anchors", post(keep))).await });
    let file = std::env::temp_dir().join(format!("{}.anchors", new_id("t")));
    let to_file = format!("--audit-anchor-file={}", file.display());

    let app = TestApp::with(&[&url, &to_file, "--audit-anchor-every-ms=100"]).await;
    an_order(&app, "c-1").await;
    seal_all(&app).await;
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    assert!(received.lock().await.is_empty(), "the webhook refused it");
    seal_all(&app).await;
    assert_eq!(received.lock().await.len(), 1, "and it was posted again");
    seal_all(&app).await;
    assert_eq!(received.lock().await.len(), 1, "a seal is anchored once");
    an_order(&app, "c-2").await;
    eventually("the second seal is anchored", PATIENCE, async || {
        seal_all(&app).await;
        received.lock().await.len() == 2
    })
    .await;

    let expected: Vec<Anchor> = seals(&app).await.iter().map(|seal| Anchor::from(&seal.header)).collect();
    let posted: Vec<Anchor> =
        received.lock().await.iter().map(|anchor| serde_json::from_value(anchor.clone()).unwrap()).collect();
    assert_eq!(posted, expected);
    let mut kept: Vec<Anchor> = lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    kept.dedup();
    assert_eq!(kept, expected, "what was written again after the refusal is the same line");
    std::fs::remove_file(&file).unwrap();
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_seal_among_the_seals_stops_nothing() {
    let app = TestApp::start().await;
    an_order(&app, "c-1").await;
    seal_all(&app).await;
    let odd = app.db().collection::<Document>(AUDIT_SEALS);
    odd.insert_many([doc! { "_id": "9" }, doc! { "_id": { "n": 1 } }]).await.unwrap();
    end_lease(&app).await;
    let other = app.beside(&[]).await;
    an_order(&app, "c-2").await;
    assert_eq!(seal_all(&other).await.seals, 1);
    odd.delete_many(doc! { "_id": { "$not": { "$type": "long" } } }).await.unwrap();
    sealed_once(&app).await;
    app.finish().await;
}

#[tokio::test]
async fn without_a_signing_key_nothing_is_sealed_and_everything_works() {
    let app = TestApp::with(&["--audit-signing-key="]).await;
    an_order(&app, "c-1").await;
    assert!(app.app.sealer().is_none());
    assert!(seals(&app).await.is_empty());
    app.finish().await;
}
