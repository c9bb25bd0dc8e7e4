//! Purge records: audit events that declare which records of a seal went by rule. They are signed, because whoever can
//! write the database could make one too, and remove whatever it names.

use std::collections::HashSet;

use bson::{
    DateTime, Document, RawArray, RawBsonRef, RawDocument, RawDocumentBuf, doc,
    raw::{CStr, cstr},
};
use sha2::{Digest, Sha256};

use super::{
    bytes::Signature,
    encoding::encode,
    keys::{PublicKeys, SigningKey},
};

/// The action of purge records.
pub const PURGED: &str = "audit.purged";
/// What they are about; `resourceId` is the number of the seal.
pub const PURGED_FROM: &str = "audit_seal";
/// What a signed message begins with.
const DOMAIN: &[u8] = b"waybill audit purge v1";
/// Fields of `after`.
const KEY_ID: &str = "keyId";
const SIGNATURE: &CStr = cstr!("signature");

/// What a purge record declares, signed by a known key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Number of the seal.
    pub seal: i64,
    /// Of which collection records went.
    pub collection: String,
    /// Numbers of the records of this seal and collection that no purge has taken.
    pub kept: HashSet<i64>,
    /// Only records of earlier times went.
    pub older_than: DateTime,
}

/// A purge record that does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the purge record {id:?} {reason}")]
pub struct RefusedPurge {
    /// Number of the seal that it names.
    pub seal: i64,
    /// The collection that it names.
    pub collection: String,
    /// Its `_id`.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Adds `keyId` and `signature` to what the purge record of this id says of a seal.
#[must_use]
pub fn sign_purge(id: &str, seal: i64, mut after: Document, signer: &SigningKey) -> Document {
    after.insert(KEY_ID, signer.public().id());
    let said = RawDocumentBuf::try_from(&doc! { "_id": id, "resourceId": seal.to_string(), "after": after.clone() });
    let said = said.expect("names without zeros");
    after.insert(SIGNATURE.as_str(), signer.sign(&message(&said)).to_hex());
    after
}

impl Purge {
    /// What an audit event declares; none where it is no purge record at all.
    ///
    /// # Errors
    /// That it is one and does not count, because no known key has signed it.
    pub fn read(event: &RawDocument, keys: &PublicKeys) -> Option<Result<Self, RefusedPurge>> {
        let has = |name, text| event.get_str(name).is_ok_and(|stored| stored == text);
        let by_rule =
            || event.get_document("actor").is_ok_and(|actor| actor.get_str("kind").is_ok_and(|of| of == "system"));
        let means_it = has("action", PURGED) && has("resourceType", PURGED_FROM) && has("outcome", "done") && by_rule();
        let (id, number) = (event.get_str("_id").ok()?, event.get_str("resourceId").ok()?);
        let (seal, after) = (number.parse().ok()?, event.get_document("after").ok()?);
        let collection = after.get_str("collection").ok()?.to_owned();
        // Spelled in another way it is another text than the one that was signed.
        if !means_it || i64::to_string(&seal) != number {
            return None;
        }
        let refused = |reason: String| {
            Some(Err(RefusedPurge { seal, collection: collection.clone(), id: id.to_owned(), reason }))
        };
        let (Ok(key_id), Ok(signature)) = (after.get_str(KEY_ID), after.get_str(SIGNATURE)) else {
            return refused("is not signed".into());
        };
        let Some(signature) = Signature::from_hex(signature) else { return refused("is not signed".into()) };
        let Ok(said) = said(id, number, after) else { return refused("can't be read".into()) };
        if let Err(reason) = keys.verify(key_id, &message(&said), &signature) {
            return refused(format!("is not signed by the key {key_id:?}: {reason}"));
        }
        match (after.get_array("kept").ok().and_then(numbers), after.get_datetime("classOlderThan")) {
            (Some(kept), Ok(older_than)) => Some(Ok(Self { seal, collection, kept, older_than })),
            _ => refused("can't be read".into()),
        }
    }

    /// Whether a record of its seal and collection, of this number and time (ms), went by it.
    #[must_use]
    pub fn covers(&self, seq: i64, at_ms: i64) -> bool {
        at_ms < self.older_than.timestamp_millis() && !self.kept.contains(&seq)
    }

    /// Whether it covers whatever the other one covers, which is about the same seal and collection.
    #[must_use]
    pub fn covers_all_of(&self, other: &Self) -> bool {
        self.older_than >= other.older_than && self.kept.is_subset(&other.kept)
    }
}

fn numbers(kept: &RawArray) -> Option<HashSet<i64>> {
    kept.into_iter().map(|seq| seq.ok().and_then(RawBsonRef::as_i64)).collect()
}

/// What is signed of a purge record: all of `after` but the signature.
fn said(id: &str, number: &str, after: &RawDocument) -> bson::error::Result<RawDocumentBuf> {
    let mut rest = RawDocumentBuf::new();
    for element in after {
        let (name, value) = element?;
        if name != SIGNATURE {
            rest.append(name, value);
        }
    }
    let mut said = RawDocumentBuf::new();
    said.append(cstr!("_id"), id);
    said.append(cstr!("resourceId"), number);
    said.append(cstr!("after"), rest);
    Ok(said)
}

fn message(said: &RawDocument) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(said, &mut bytes);
    [DOMAIN, &Sha256::digest(&bytes)].concat()
}
