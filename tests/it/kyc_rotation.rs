//! The key that seals what is personal is changed while everything goes on.

use std::{
    collections::BTreeMap,
    process::Output,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use bson::{Binary, Document, doc};
use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::json;
use tokio::process::Command;
use waybill::platform::sealing::SealingKeys;

use crate::support::{TestApp, User, eventually, kyc};

/// Everything has settled by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// As other tests' applications have it.
const A: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const B: &str = "1111111111111111111111111111111111111111111111111111111111111111";
/// Where values are sealed in an application, and the names of these places.
const FIELDS: [(&str, &str); 3] =
    [("pan.sealed", "pan"), ("gstin.sealed", "gstin"), ("bankAccount.number.sealed", "accountNumber")];

fn key_id(key: &str) -> String {
    SealingKeys::new(&key.to_owned().into(), None).unwrap().current_id().to_owned()
}

/// An application whose key is the first and that can still read what is sealed under the second.
async fn beside(app: &TestApp, key: &str, previous: &str) -> TestApp {
    let flags = [format!("--sealing-key={key}"), format!("--sealing-key-previous={previous}")];
    app.beside(&[&*flags[0], &*flags[1]]).await
}

/// `waybill keys rotate`, as an operator runs it.
async fn rotate(app: &TestApp, key: &str, previous: Option<&str>) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["keys", "rotate"]).env("MONGODB_URI", &app.mongodb_uri).env("SEALING_KEY", key);
    if let Some(previous) = previous {
        program.env("SEALING_KEY_PREVIOUS", previous);
    }
    program.output().await.unwrap()
}

/// What a rotation has wrapped; it went well.
#[track_caller]
fn wrapped(output: &Output) -> u64 {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), &*err), (Some(0), ""), "{out}");
    assert!(out.contains("nothing needs SEALING_KEY_PREVIOUS any more"), "{out}");
    out.split(' ').next().unwrap().parse().unwrap()
}

/// Every rotation so far is on record, with what became of it.
async fn expect_recorded(app: &TestApp, outcome: &str, counts: &[Document]) {
    let events = app.all("audit_events", doc! { "action": "keys.rotated" }).await;
    let told: Vec<_> = events.iter().map(|event| event.get_document("after").unwrap().clone()).collect();
    assert_eq!(told, counts);
    for event in &events {
        let actor = event.get_document("actor").unwrap();
        let who = (actor.get_str("kind").unwrap(), actor.get_str("id").unwrap());
        assert_eq!(who, ("command_line", "keys rotate"));
        let (key, ended) = (event.get_str("resourceId").unwrap(), event.get_str("outcome").unwrap());
        assert!([key_id(A), key_id(B)].contains(&key.to_owned()) && ended == outcome, "{event}");
    }
}

fn at<'a>(document: &'a Document, path: &str) -> Option<&'a Document> {
    path.split('.').try_fold(document, |at, step| at.get_document(step).ok())
}

/// Every sealed value: its place, and the id of the key that it is sealed under.
async fn places(app: &TestApp) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    let mut note = |place: String, sealed: &Document| {
        let key = sealed.get_document("envelope").unwrap().get_str("keyId").unwrap();
        places.insert(place, key.to_owned());
    };
    for application in app.all("kyc_applications", doc! {}).await {
        let id = application.get_str("_id").unwrap();
        for (path, name) in FIELDS {
            if let Some(sealed) = at(&application, path) {
                note(format!("kyc_applications/{id}/{name}"), sealed);
            }
        }
    }
    for document in app.all("kyc_documents", doc! {}).await {
        let id = document.get_str("_id").unwrap();
        note(format!("kyc_documents/{id}/content"), document.get_document("content").unwrap());
    }
    // The key of the hashes by which the same numbers are found.
    for key in app.all("kyc_keys", doc! {}).await {
        note(format!("kyc_keys/{}", key.get_str("_id").unwrap()), key.get_document("sealed").unwrap());
    }
    places
}

async fn sealed_under(app: &TestApp, key: &str) -> usize {
    let id = key_id(key);
    places(app).await.values().filter(|found| **found == id).count()
}

/// Asserts that everything of a company is readable here: by its owner, and by a reviewer.
async fn expect_readable(app: &TestApp, admin: &User, user: &User) {
    let seen = app.get(admin, &format!("/kyc/applications/{}", user.user_id)).await.expect(200).body;
    assert_eq!((&seen["pan"], &seen["gstin"]), (&json!(kyc::COMPANY_PAN), &json!(kyc::COMPANY_GSTIN)));
    assert_eq!(seen["bankAccount"]["accountNumber"], kyc::ACCOUNT_NUMBER);
    let documents = seen["documents"].as_array().unwrap();
    assert_eq!(documents.len(), 4);
    for document in documents {
        let path = format!("/kyc/documents/{}", document["documentId"].as_str().unwrap());
        for reader in [admin, user] {
            let content = app.get(reader, &path).await.expect(200);
            assert_eq!(content.text.as_bytes(), kyc::pdf(document["kind"].as_str().unwrap()));
        }
    }
}

#[tokio::test]
async fn what_is_sealed_under_the_key_before_stays_readable() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.newcomer().await);
    app.complete(&user, &kyc::company()).await;
    let both = beside(&app, B, A).await;
    expect_readable(&both, &admin, &user).await;
    // Comparing with what is there, handing in and checking open the old values.
    both.put(&user, "/kyc", &kyc::company()).await.expect(200);
    assert_eq!((sealed_under(&app, A).await, sealed_under(&app, B).await), (7, 0), "the same again is no change");
    both.submit(&user).await.expect(202);
    both.run_jobs().await;
    assert_eq!(both.kyc_state(&user).await, "verified");

    // The same numbers, under the new key: found all the same.
    let newer = both.newcomer().await;
    both.complete_as_it_is(&newer, &kyc::company()).await;
    both.submit(&newer).await.expect(202);
    both.run_jobs().await;
    assert_eq!((both.kyc_state(&newer).await, sealed_under(&app, B).await), ("under_review".to_owned(), 8));
    expect_readable(&both, &admin, &newer).await;
    app.finish().await;
}

#[tokio::test]
async fn without_the_key_before_nothing_is_shown_lost_or_guessed() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.applicant(&kyc::company()).await);
    let alone = app.beside(&[&*format!("--sealing-key={B}")]).await;
    let documents = alone.kyc(&user).await["documents"].as_array().unwrap().clone();
    let document = format!("/kyc/documents/{}", documents[0]["documentId"].as_str().unwrap());
    for (reader, path) in
        [(&admin, format!("/kyc/applications/{}", user.user_id)), (&admin, document.clone()), (&user, document)]
    {
        assert_eq!(alone.get(reader, &path).await.expect(503).code(), "kyc.sealing_key_missing", "{path}");
    }
    assert_eq!(app.all("audit_events", doc! { "action": { "$regex": "_read$" } }).await, [], "nothing was shown");
    alone.run_jobs().await;
    let job = app.kyc_job(&user).await;
    assert_eq!(job.get_document("lastError").unwrap().get_str("code").unwrap(), "kyc.sealed");
    assert_eq!((job.get_str("state").unwrap(), &*alone.kyc_state(&user).await), ("ready", "submitted"));
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc_state(&user).await, "verified", "a worker that has the key goes on");
    app.finish().await;
}

#[tokio::test]
async fn a_rotation_wraps_everything_once() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.applicant(&kyc::company()).await);
    let draft = app.newcomer().await;
    app.put(&draft, "/kyc", &json!({ "pan": kyc::PAN })).await.expect(200);
    let contents = app.all("kyc_documents", doc! {}).await;
    assert_eq!(wrapped(&rotate(&app, A, None).await), 0, "everything is under this key");
    assert_eq!(wrapped(&rotate(&app, B, Some(A)).await), 9);
    assert_eq!((sealed_under(&app, A).await, sealed_under(&app, B).await), (0, 9));
    for (before, after) in contents.iter().zip(app.all("kyc_documents", doc! {}).await) {
        let data = |document: &Document| document.get_document("content").unwrap().get("data").cloned();
        assert_eq!(data(before), data(&after), "the values themselves are left alone");
    }
    let rotated = places(&app).await;
    for previous in [Some(A), Some(""), None] {
        assert_eq!(wrapped(&rotate(&app, B, previous).await), 0, "a second time");
    }
    assert_eq!(places(&app).await, rotated);
    let alone = app.beside(&[&*format!("--sealing-key={B}")]).await;
    expect_readable(&alone, &admin, &user).await;
    alone.run_jobs().await;
    assert_eq!(alone.kyc_state(&user).await, "verified");
    // There is a way back, too.
    assert_eq!(wrapped(&rotate(&app, A, Some(B)).await), 9);
    expect_readable(&app, &admin, &user).await;
    let counts = [0_i64, 9, 0, 0, 0, 9].map(|wrapped| doc! { "wrapped": wrapped, "failed": 0_i64 });
    expect_recorded(&app, "done", &counts).await;
    app.finish().await;
}

#[tokio::test]
async fn a_rotation_names_what_it_can_not_open_and_wraps_the_rest() {
    let app = TestApp::start().await;
    let user = app.applicant(&kyc::company()).await;
    let before = places(&app).await;
    let failed = |output: &Output, expected: &[String], why: &str| {
        assert_eq!(output.status.code(), Some(1));
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut named: Vec<_> = err.lines().filter(|line| line.contains(why)).map(str::to_owned).collect();
        named.sort();
        let named: Vec<_> = named.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(named, expected, "{err}");
        assert!(err.contains(&format!("{} value(s) could not be", expected.len())), "{err}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("any more"), "nobody is told to throw a key away");
    };
    let all: Vec<_> = before.keys().cloned().collect();
    let unknown = format!("the sealing key {} is not configured", key_id(A));
    for previous in [None, Some(""), Some(B)] {
        failed(&rotate(&app, B, previous).await, &all, &unknown);
    }
    assert_eq!(places(&app).await, before, "nothing was touched");

    let id = app.application(&user).await.get_str("_id").unwrap().to_owned();
    let document = app.all("kyc_documents", doc! {}).await.pop().unwrap().get_str("_id").unwrap().to_owned();
    let noise = Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![7; 60] };
    let damage = doc! { "gstin.sealed.envelope.wrappedKey": noise };
    app.update_one("kyc_applications", doc! { "_id": &id }, damage).await;
    app.update_one("kyc_documents", doc! { "_id": &document }, doc! { "content.envelope.wrappedKey": 1 }).await;
    let damaged = [format!("kyc_applications/{id}/gstin"), format!("kyc_documents/{document}/content")];
    for _ in 0..2 {
        failed(&rotate(&app, B, Some(A)).await, &damaged, "is damaged or not where it belongs");
        assert_eq!((sealed_under(&app, A).await, sealed_under(&app, B).await), (2, 6));
    }
    let failed = [(0_i64, 8_i64), (0, 8), (0, 8), (6, 2), (0, 2)];
    expect_recorded(&app, "failed", &failed.map(|(wrapped, failed)| doc! { "wrapped": wrapped, "failed": failed }))
        .await;
    for (key, previous, words) in [
        ("abc", None, "SEALING_KEY must be 64 hex digits"),
        (B, Some("abc"), "SEALING_KEY_PREVIOUS must be 64 hex digits"),
    ] {
        let output = rotate(&app, key, previous).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{output:?}");
    }
    app.finish_unchecked().await;
}

/// Merchants who fill in, add documents, look at them and hand in, through one application and the other, until told to
/// stop. Whatever is refused fails the test.
async fn traffic(apps: [&TestApp; 2], stop: &AtomicBool, count: &AtomicUsize) -> Vec<User> {
    let [one, other] = apps;
    let mut users = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let user = one.newcomer().await;
        one.put(&user, "/kyc", &kyc::company()).await.expect(200);
        // Compared with what is there, and partly changed.
        let mut again = kyc::company();
        again["address"]["line2"] = json!("Second floor");
        other.put(&user, "/kyc", &again).await.expect(200);
        for (app, kind) in
            [(one, "pan_card"), (other, "gst_certificate"), (one, "cancelled_cheque"), (other, "address_proof")]
        {
            let added = app.upload(&user, kind, kyc::pdf(kind)).await.expect(201).body;
            let path = format!("/kyc/documents/{}", added["documentId"].as_str().unwrap());
            assert_eq!(app.get(&user, &path).await.expect(200).text.as_bytes(), kyc::pdf(kind));
        }
        let spare = one.upload(&user, "address_proof", kyc::pdf("spare")).await.expect(201).body;
        let spare = format!("/kyc/documents/{}", spare["documentId"].as_str().unwrap());
        other.request(Method::DELETE, &spare, Some(&user.token), None).await.expect(204);
        other.submit(&user).await.expect(202);
        users.push(user);
        count.fetch_add(1, Ordering::Relaxed);
    }
    users
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_a_rotation() {
    let old = TestApp::with(&[&*format!("--sealing-key-previous={B}")]).await;
    let new = beside(&old, B, A).await;
    let workers = [old.start_worker(), new.start_worker()];
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (old_first, new_first) = ([&old, &new], [&new, &old]);
    let merchants = [old_first, new_first, old_first, new_first].map(|apps| traffic(apps, &stop, &count));
    let rotations = async {
        let (mut runs, mut all) = (0_u64, 0);
        while runs < 6 || count.load(Ordering::Relaxed) < 16 || all == 0 {
            all += wrapped(&rotate(&old, B, Some(A)).await);
            runs += 1;
        }
        stop.store(true, Ordering::Relaxed);
        (runs, all)
    };
    let (users, (runs, all)) = join(join_all(merchants), rotations).await;
    let users = users.concat();
    println!("{} applications, {runs} rotations that wrapped {all} values meanwhile", users.len());
    let applications = old.db().collection::<Document>("kyc_applications");
    // All have the same numbers: the first is verified, persons decide about the others.
    eventually("every application is checked", PATIENCE, async || {
        let checked = doc! { "state": { "$in": ["verified", "under_review"] } };
        applications.count_documents(checked).await.unwrap() == users.len() as u64
    })
    .await;
    for worker in workers {
        worker.stop().await;
    }

    // The last process with the old key is gone: whatever is left is wrapped now.
    let left = sealed_under(&old, A).await;
    assert_eq!(wrapped(&rotate(&old, B, Some(A)).await), left as u64);
    assert_eq!((sealed_under(&old, A).await, sealed_under(&old, B).await), (0, 7 * users.len() + 1));
    let alone = old.beside(&[&*format!("--sealing-key={B}")]).await;
    let admin = alone.admin().await;
    for user in &users {
        expect_readable(&alone, &admin, user).await;
        old.answers_about(user).await;
    }
    for job in old.all("jobs", doc! {}).await {
        assert_eq!(job.get_str("state").unwrap(), "done", "{job}");
    }
    assert_eq!(old.idcheck.books().await["deposits"], json!({ "done": users.len(), "repeated": [] }));
    old.finish().await;
}
