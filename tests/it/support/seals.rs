//! Seals of a test, and what must hold of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use secrecy::SecretString;
use serde::Serialize;
use waybill::{
    modules::audit::{
        journal,
        proof::{PublicKeys, Scopes, Seal, SigningKey},
        seals::{AUDIT_SEALS, SealingPass},
    },
    platform::{batch::SEAL_QUEUE, singleton::SINGLETONS},
};

use super::TestApp;

/// For one seal on a busy server.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two passes that sealed nothing.
const PAUSE: Duration = Duration::from_millis(20);

/// The key that signs in tests, or another one of 64 times a digit.
pub fn signing_key(digits: &str) -> SigningKey {
    SigningKey::new(&SecretString::from(digits.to_owned())).unwrap()
}

/// Those by which a test's seals are checked.
pub fn public_keys() -> PublicKeys {
    PublicKeys::from_iter([signing_key(super::SIGNING_KEY).public()])
}

/// A pass of this process's sealer, however it ends.
pub async fn sealing_pass(app: &TestApp) -> SealingPass {
    app.app.sealer().expect("a signing key").pass().await.expect("a pass")
}

/// Seals what there is; passes of other sealers count too.
pub async fn seal_all(app: &TestApp) -> SealingPass {
    let sealer = app.app.sealer().expect("a signing key");
    let began = Instant::now();
    // On a busy server its transaction may wait in vain for a lock or a snapshot, and is left to the next pass.
    loop {
        match sealer.pass().await {
            Ok(passed) if !passed.holding || passed.seals > 0 || queued(app).await == 0 => return passed,
            passed if began.elapsed() > PATIENCE => panic!("nothing is sealed: {passed:?}"),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

pub async fn seals(app: &TestApp) -> Vec<Seal> {
    let seals = app.db().collection::<Seal>(AUDIT_SEALS);
    seals.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
}

/// How often each record of the sealed collections is in a seal: collection and id.
pub async fn times_sealed(app: &TestApp) -> BTreeMap<(String, String), usize> {
    let mut times = BTreeMap::new();
    for scope in Scopes::standard().today() {
        for record in app.db().collection::<Document>(scope.collection()).distinct("_id", doc! {}).await.unwrap() {
            times.insert((scope.collection().to_owned(), record.as_str().unwrap_or("?").to_owned()), 0);
        }
    }
    for leaf in seals(app).await.into_iter().flat_map(|seal| seal.leaves) {
        let collection = Scopes::standard().of_code(leaf.code).unwrap().collection();
        *times.entry((collection.to_owned(), leaf.id)).or_default() += 1;
    }
    times
}

/// Every record is in exactly one seal; gives how many there are.
#[track_caller]
pub fn assert_each_sealed_once(times: &BTreeMap<(String, String), usize>) -> usize {
    let wrong: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(
        wrong.is_empty(),
        "{} records are not in exactly one seal: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    times.len()
}

/// Takes the lease away from whoever has it.
pub async fn end_lease(app: &TestApp) {
    app.db().collection::<Document>(SINGLETONS).delete_many(doc! { "_id": "sealer" }).await.unwrap();
}

/// Writes records as the application does, with their entries in the sealer's queue.
pub async fn write_records<T: Serialize>(app: &TestApp, collection: &str, records: &[T]) {
    let mut session = app.db().client().start_session().await.unwrap();
    for some in records.chunks(1_000) {
        session.start_transaction().await.unwrap();
        journal().insert(app.db(), &mut session, collection, some).await.unwrap();
        session.commit_transaction().await.unwrap();
    }
}

/// Has the records of a seal wait again, as somebody does who removes it and wants nobody to notice.
pub async fn requeue(app: &TestApp, seal: &Seal) {
    let mut records = BTreeMap::<&str, Vec<Document>>::new();
    for leaf in &seal.leaves {
        let collection = Scopes::standard().of_code(leaf.code).unwrap().collection();
        records.entry(collection).or_default().push(doc! { "id": &leaf.id });
    }
    let records: Document = records.into_iter().map(|(name, records)| (name.to_owned(), records.into())).collect();
    let entry = doc! { "_id": format!("bat_{}", seal.number), "at": DateTime::now(), "records": records };
    app.db().collection(SEAL_QUEUE).insert_one(entry).await.unwrap();
}

/// Entries that wait for the sealer.
pub async fn queued(app: &TestApp) -> u64 {
    app.db().collection::<Document>(SEAL_QUEUE).count_documents(doc! {}).await.unwrap()
}
