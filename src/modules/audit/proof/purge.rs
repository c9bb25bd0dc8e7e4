//! Purge records: audit events that declare which records of a seal went by rule. They are signed, because whoever can
//! write the database could make one too, and remove whatever it names.

use std::collections::HashSet;

use bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, doc};

use super::{
    hash::{Hash, Signature},
    keys::{PublicKeys, SigningKey},
};

/// The action of purge records.
pub const PURGED: &str = "audit.purged";
/// Their resource; `resourceId` is the number of the seal.
pub const PURGED_FROM: &str = "audit_seal";
/// First bytes of a signed message.
const DOMAIN: &[u8] = b"waybill audit purge v1";

/// A purge record's declaration, signed by a known key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
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
    pub id: String,
    pub reason: String,
}

/// Adds `keyId` and `signature` to what the purge record of this id says of a seal.
#[must_use]
pub fn sign_purge(id: &str, seal: i64, mut after: Document, signer: &SigningKey) -> Document {
    after.insert("keyId", signer.public().id());
    let message = message(id, &seal.to_string(), &after).expect("names without zeros");
    after.insert("signature", signer.sign(&message).to_hex());
    after
}

impl Purge {
    /// The declaration of an audit event; none where it is no purge record at all.
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
        // What is signed is read, and nothing else of the same name.
        let read = Document::try_from(after).map_err(|_| "can't be read".to_owned()).and_then(|mut after| {
            let signature = match after.remove("signature") {
                Some(Bson::String(signature)) => Signature::from_hex(&signature),
                _ => None,
            };
            let (Ok(key_id), Some(signature)) = (after.get_str("keyId"), signature) else {
                return Err("is not signed".to_owned());
            };
            let message = message(id, number, &after).map_err(|_| "can't be read".to_owned())?;
            keys.verify(key_id, &message, &signature)
                .map_err(|reason| format!("is not signed by the key {key_id:?}: {reason}"))?;
            let kept = after.get_array("kept").ok().and_then(|kept| kept.iter().map(Bson::as_i64).collect());
            match (after.get_str("collection"), kept, after.get_datetime("classOlderThan")) {
                (Ok(collection), Some(kept), Ok(older_than)) => {
                    Ok(Self { seal, collection: collection.to_owned(), kept, older_than: *older_than })
                }
                _ => Err("can't be read".to_owned()),
            }
        });
        Some(read.map_err(|reason| RefusedPurge { seal, collection, id: id.to_owned(), reason }))
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

/// The signed part of a purge record: all of `after` but the signature.
fn message(id: &str, number: &str, after: &Document) -> bson::error::Result<Vec<u8>> {
    let said = RawDocumentBuf::try_from(&doc! { "_id": id, "resourceId": number, "after": after.clone() })?;
    Ok([DOMAIN, &Hash::of(said.as_bytes()).0].concat())
}
