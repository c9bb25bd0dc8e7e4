//! Personal fields: in a leaf stands not what they say but a commitment to it, so that they can be erased later.
//!
//! `salt = HMAC-SHA-256(commitment key, collection, record id, path)`, each with its length before it;
//! `commitment = SHA-256(0x02, salt, canonical value)`. Without the salt nobody can guess a value and see whether it is
//! the one. Whoever has the commitment key can, also after the field was erased. A field that is null or absent says so
//! in the leaf.

use std::{collections::BTreeMap, convert::Infallible};

use bson::{Document, doc};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    bytes::{Bytes, Hash},
    encoding::{Commit, encode_committed, put_name},
    leaf::Record,
};
use crate::platform::secret::{derive_key, hmac_sha256};

/// What a hashed commitment begins with.
const COMMITMENT: u8 = 0x02;

/// One field of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name of the collection.
    pub collection: &'a str,
    /// `_id` of the record.
    pub record_id: &'a str,
    /// As in an update of the database: `actor.address`, `body.items.0.name`.
    pub path: &'a str,
}

/// Where salts come from: the commitment key, or a list that was handed over.
pub trait SaltSource {
    /// Why there is no salt.
    type Error;

    /// The salt of a field.
    ///
    /// # Errors
    /// Where there is none.
    fn salt(&self, field: &Field<'_>) -> Result<Hash, Self::Error>;
}

/// The secret from which all salts come. Says nothing when printed.
pub struct CommitmentKey(SecretBox<[u8; 32]>);

/// The commitment key that belongs to a secret.
#[must_use]
pub fn commitment_key(secret: &SecretString) -> CommitmentKey {
    CommitmentKey(SecretBox::new(Box::new(derive_key(secret, "waybill audit commitment key"))))
}

impl std::fmt::Debug for CommitmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitmentKey").finish_non_exhaustive()
    }
}

impl SaltSource for CommitmentKey {
    type Error = Infallible;

    fn salt(&self, field: &Field<'_>) -> Result<Hash, Infallible> {
        let parts = [field.collection, field.record_id, field.path];
        let mut message = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
        for part in parts {
            put_name(&mut message, part.as_bytes());
        }
        Ok(Bytes(hmac_sha256(self.0.expose_secret(), &message)))
    }
}

impl CommitmentKey {
    /// The salts of a record's personal fields, for somebody who checks it and must not have the key. Erased fields
    /// have none: it could be guessed then what they were.
    #[must_use]
    pub fn salts(&self, record: &Record<'_>) -> Salts {
        let of_path = |path: &String| {
            let Ok(salt) = self.salt(&record.field(path));
            salt
        };
        Salts(commitments(record, self).into_keys().map(|path| (path.clone(), of_path(&path))).collect())
    }
}

/// Salts of one record by the paths of its fields; in JSON `{"actor.address": "<hex>"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salts(pub BTreeMap<String, Hash>);

/// A personal field whose salt was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no salt is given for {0}")]
pub struct NoSalt(pub String);

impl SaltSource for Salts {
    type Error = NoSalt;

    fn salt(&self, field: &Field<'_>) -> Result<Hash, NoSalt> {
        self.0.get(field.path).copied().ok_or_else(|| NoSalt(field.path.to_owned()))
    }
}

/// The commitment to the value with this canonical encoding.
#[must_use]
pub(super) fn commitment(salt: &Hash, value: &[u8]) -> Hash {
    Bytes(Sha256::new().chain_update([COMMITMENT]).chain_update(salt.0).chain_update(value).finalize().into())
}

/// Commitments of all personal fields of a record that have a value and are not erased, by path.
#[must_use]
pub fn commitments(record: &Record<'_>, key: &CommitmentKey) -> BTreeMap<String, Hash> {
    let mut all = Collect { record, key, found: BTreeMap::new() };
    let Ok(()) = encode_committed(record.document, record.scope.paths(), &mut all, &mut Vec::new());
    all.found
}

/// What the field at `path` is to be replaced by, so that the record's leaf stays what it is; none where there is
/// nothing to erase: no such personal field, null, or erased already.
#[must_use]
pub fn erase(record: &Record<'_>, path: &str, key: &CommitmentKey) -> Option<Document> {
    commitments(record, key).get(path).map(erased)
}

/// An erased field, as it is stored.
#[must_use]
pub fn erased(commitment: &Hash) -> Document {
    doc! { "erased": true, "commitment": commitment.to_hex() }
}

struct Collect<'a> {
    record: &'a Record<'a>,
    key: &'a CommitmentKey,
    found: BTreeMap<String, Hash>,
}

impl Commit for Collect<'_> {
    type Error = Infallible;

    fn commit(&mut self, path: &str, value: &[u8]) -> Result<Hash, Infallible> {
        let made = commitment(&self.key.salt(&self.record.field(path))?, value);
        self.found.insert(path.to_owned(), made);
        Ok(made)
    }
}
