//! `waybill audit export`, as an operator runs it.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use tokio::process::Command;
use waybill::{
    modules::audit::{
        proof::{Leaf, Record, Scopes, Seal},
        seals::{SealStore, commitment_key_of},
    },
    platform::{ids::new_id, sealing::SealingKeys},
};

use super::{Scene, read::File};
use crate::support::{
    SIGNING_KEY, TestApp,
    seals::{signing_key, write_records},
    unique,
};

/// Most memory that an export may take, release or debug.
const RESIDENT_KB_MAX: u64 = 100 * 1024;

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(unique("waybill-export"));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn program(app: &TestApp, out: &Path, filters: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["audit", "export", "--out"]).arg(out).args(filters).kill_on_drop(true).stdin(Stdio::null());
    program
        .env("MONGODB_URI", &app.mongodb_uri)
        .env("SEALING_KEY", "0".repeat(64))
        .env("AUDIT_SIGNING_KEY", SIGNING_KEY);
    program
}

async fn run(app: &TestApp, out: &Path, filters: &[&str]) -> Output {
    program(app, out, filters).output().await.unwrap()
}

#[track_caller]
fn expect_failure(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(words), "{said}");
}

#[tokio::test]
async fn a_file_is_there_once_it_is_whole_with_its_manifest_beside_it() {
    let scene = Scene::set().await;
    let folder = Folder::new();
    let path = folder.0.join("all.ndjson");
    // Of a run that was killed.
    std::fs::write(folder.0.join("all.ndjson.part"), "half a line\n".repeat(100_000)).unwrap();
    let output = run(&scene.app, &path, &[]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(folder.names(), ["all.ndjson", "all.ndjson.manifest.json"]);
    let text = std::fs::read_to_string(&path).unwrap();
    File::read(&text).check_chain(None, |_| false);
    let manifest = std::fs::read_to_string(folder.0.join("all.ndjson.manifest.json")).unwrap();
    assert_eq!(manifest.trim_end(), text.lines().last().unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it is for its reader alone");

    let order = &scene.orders[2];
    let output =
        run(&scene.app, Path::new("-"), &["--order-id", order, "--collection", "events,ledger_transactions"]).await;
    let file = File::read(&String::from_utf8(output.stdout).unwrap());
    file.check_proofs();
    assert_eq!(file.manifest["filters"]["orderId"], **order);
    assert!(file.records.len() > 3);
    let events = scene.app.all("audit_events", doc! { "action": "audit.exported" }).await;
    let actor = events[1].get_document("actor").unwrap();
    assert_eq!((events.len(), actor.get_str("kind").unwrap()), (2, "command_line"));
    scene.app.finish().await;
}

#[tokio::test]
async fn what_fails_leaves_no_file_behind_and_the_one_before_as_it_was() {
    let scene = Scene::set().await;
    let folder = Folder::new();
    let path = folder.0.join("audit.csv");
    expect_failure(&run(&scene.app, &path, &["--collection", "users"]).await, "collection: must be one of");
    expect_failure(&run(&scene.app, &path, &["--from", "yesterday"]).await, "--from");
    let nowhere = folder.0.join("nowhere/audit.csv");
    expect_failure(&run(&scene.app, &nowhere, &[]).await, "can't be written");
    assert_eq!(folder.names(), [] as [&str; 0]);

    assert!(run(&scene.app, &path, &["--format", "csv"]).await.status.success());
    let before = std::fs::read(&path).unwrap();
    // A seal is taken away: what follows can't be exported.
    scene.app.db().collection::<Document>("audit_seals").delete_one(doc! { "_id": 1 }).await.unwrap();
    expect_failure(&run(&scene.app, &path, &["--format", "csv"]).await, "seal 1: is not there");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(folder.names(), ["audit.csv", "audit.csv.manifest.json"]);

    let part = std::fs::File::create(folder.0.join("audit.csv.part")).unwrap();
    part.lock().unwrap();
    expect_failure(&run(&scene.app, &path, &[]).await, "another export is writing it");
    scene.app.finish().await;
}

/// Most memory that a process ever had, in KB; none once it has ended.
fn peak_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().split(' ').next()?.parse().ok()
}

/// One seal over everything there is, by hand: the sealer makes several of what is large.
async fn one_seal(app: &TestApp) {
    let commitments =
        commitment_key_of(app.db(), &SealingKeys::new(&"0".repeat(64).into(), None).unwrap()).await.unwrap();
    let mut records = Vec::new();
    for scope in Scopes::standard().today() {
        let stored = app.db().collection::<RawDocumentBuf>(scope.collection());
        let found: Vec<_> = stored.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap();
        records.extend(found.into_iter().map(|record| (scope, record)));
    }
    let records = records.iter().map(|(scope, document)| {
        let id = document.get_str("_id").unwrap();
        Record { scope, id, document }
    });
    let (leaves, signer) = (Leaf::of_all(records, &commitments), signing_key(SIGNING_KEY));
    let seal = Seal::build(None, bson::DateTime::now(), leaves, Scopes::standard(), &signer);
    assert!(SealStore::new(app.db().clone()).insert(&seal).await.unwrap());
}

#[tokio::test]
async fn memory_does_not_grow_with_the_records_of_a_seal() {
    const RECORDS: usize = 2_000;
    let app = TestApp::start().await;
    let pattern = doc! {
        "requestRefId": "req_1", "orderId": null, "userId": "usr_1", "provider": "parcelx", "operation": "create_order",
        "body": { "padding": "x".repeat(64 * 1024) }, "outcome": "done", "errorMessage": "Somebody's words.",
        "receivedAt": bson::DateTime::now(),
    };
    for _ in 0..RECORDS / 200 {
        let some = (0..200).map(|_| {
            let mut log = doc! { "_id": new_id("res") };
            log.extend(pattern.clone());
            log
        });
        write_records(&app, "provider_response_logs", &some.collect::<Vec<_>>()).await;
    }
    one_seal(&app).await;
    for filters in [&[][..], &["--collection", "provider_response_logs"]] {
        let mut child = program(&app, Path::new("-"), filters);
        let mut child = child.stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id().unwrap();
        let (mut peak, mut looks) = (0, 0);
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break ended.unwrap(),
                _ = ticks.tick() => {}
            }
            if let Some(kb) = peak_kb(pid) {
                (peak, looks) = (peak.max(kb), looks + 1);
            }
        };
        assert!(ended.success());
        println!("{filters:?}: {RECORDS} records of 64 KB, at most {peak} KB resident");
        assert!(looks > 10, "it was seen at work: {looks}");
        assert!(peak < RESIDENT_KB_MAX, "{filters:?}: {peak} KB");
    }
    app.finish_unchecked().await;
}
