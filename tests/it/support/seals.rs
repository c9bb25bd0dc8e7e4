//! Seals of a test, and what must hold of them.

use std::collections::BTreeMap;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use secrecy::SecretString;
use waybill::modules::audit::{
    proof::{PublicKeys, Scopes, Seal, SigningKey},
    seals::{AUDIT_SEALS, LOOK_BACK, Passed},
};

use super::TestApp;

/// The key that signs in tests, or another one of 64 times a digit.
pub fn signing_key(digits: &str) -> SigningKey {
    SigningKey::new(&SecretString::from(digits.to_owned())).unwrap()
}

/// Those by which a test's seals are checked.
pub fn public_keys() -> PublicKeys {
    PublicKeys::from_iter([signing_key(super::SIGNING_KEY).public()])
}

/// Seals what there is; passes of other sealers count too.
pub async fn seal_all(app: &TestApp) -> Passed {
    app.app.sealer().expect("a signing key").pass().await.expect("a pass")
}

/// All seals, in their order.
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
    app.db().collection::<Document>("audit_sealer").delete_many(doc! {}).await.unwrap();
}

/// How far back a pass looks, in milliseconds.
pub fn look_back_ms() -> i64 {
    LOOK_BACK.as_millis() as i64
}
