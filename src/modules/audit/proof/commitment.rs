//! Commitments to personal fields: a leaf holds these in place of what the fields say, so that they can be erased later.
//!
//! `salt of a record = HMAC-SHA-256(commitment key, collection, record id)`, each with its length before it;
//! `salt of a field = HMAC-SHA-256(salt of its record, path)`; `commitment = SHA-256(0x02, salt, type, value in BSON)`. Without the salt
//! nobody can guess a value and see whether it is the one. Whoever has the commitment key can, also after the field was erased. A field
//! that is null or absent says so in the leaf.

use std::{collections::BTreeMap, convert::Infallible};

use bson::{Document, spec::ElementType};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    erased::{erased, erased_form},
    hash::{Bytes, Hash, put_text},
    scope::Record,
};
use crate::platform::secret::{MacKey, derive_key, hmac_sha256};

/// First byte of a hashed commitment.
const COMMITMENT: u8 = 0x02;

/// Where salts come from: the commitment key, or what was handed over.
pub trait SaltSource {
    type Error;

    /// Gives the salts of a record's fields by their paths: `actor.address`, `body.items.0.name`.
    fn salts_of(&self, record: &Record<'_>) -> impl FnMut(&str) -> Result<Hash, Self::Error>;
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

    fn salts_of(&self, record: &Record<'_>) -> impl FnMut(&str) -> Result<Hash, Infallible> {
        // Most records have no personal field that says something.
        let mut key = None;
        move |path| Ok(salt_of_field(key.get_or_insert_with(|| MacKey::new(&self.salt_of_record(record).0)), path))
    }
}

impl CommitmentKey {
    fn salt_of_record(&self, record: &Record<'_>) -> Hash {
        let mut message = Vec::with_capacity(128);
        put_text(&mut message, record.scope.collection());
        put_text(&mut message, record.id);
        Bytes(hmac_sha256(self.0.expose_secret(), &message))
    }

    /// The salts for somebody who checks a record and must not have the key. Erased fields have no salts: it could be guessed
    /// then what they were.
    #[must_use]
    pub fn salts(&self, record: &Record<'_>) -> Salts {
        let (mut fields, mut salt_of) = (BTreeMap::new(), self.salts_of(record));
        let Ok(form) = erased_form(record.document, record.scope.paths(), |path, _, _| {
            fields.insert(path.to_owned(), salt_of(path)?);
            Ok::<_, Infallible>(Hash::ZERO)
        });
        let any_erased = form.is_some_and(|form| form.had_erased);
        if any_erased || fields.is_empty() {
            Salts::OfFields(fields)
        } else {
            Salts::OfRecord(self.salt_of_record(record))
        }
    }
}

fn salt_of_field(record: &MacKey, path: &str) -> Hash {
    Bytes(record.mac(path.as_bytes()))
}

/// Salts that were handed over with a record. JSON: `"<hex>"` or `{"actor.address": "<hex>"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Salts {
    /// The record's own, from which those of its fields come: nothing of it is erased.
    OfRecord(Hash),
    /// Those of its personal fields that are not erased, by their paths.
    OfFields(BTreeMap<String, Hash>),
}

impl Salts {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::OfFields(fields) if fields.is_empty())
    }
}

impl Default for Salts {
    fn default() -> Self {
        Self::OfFields(BTreeMap::new())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no salt is given for {0}")]
pub struct NoSalt(pub String);

type SaltOf<'a> = Box<dyn FnMut(&str) -> Result<Hash, NoSalt> + 'a>;

impl SaltSource for Salts {
    type Error = NoSalt;

    fn salts_of(&self, _: &Record<'_>) -> impl FnMut(&str) -> Result<Hash, NoSalt> {
        let salt_of: SaltOf<'_> = match self {
            Self::OfRecord(salt) => {
                let key = MacKey::new(&salt.0);
                Box::new(move |path| Ok(salt_of_field(&key, path)))
            }
            Self::OfFields(fields) => Box::new(|path| fields.get(path).copied().ok_or_else(|| NoSalt(path.to_owned()))),
        };
        salt_of
    }
}

/// The commitment to a value of BSON.
pub(super) fn commitment(salt: &Hash, kind: ElementType, value: &[u8]) -> Hash {
    let hashed = Sha256::new().chain_update([COMMITMENT]).chain_update(salt.0).chain_update([kind as u8]);
    Bytes(hashed.chain_update(value).finalize().into())
}

/// Commitments to all personal fields of a record that have a value and are not erased, by path.
#[must_use]
pub fn commitments(record: &Record<'_>, key: &CommitmentKey) -> BTreeMap<String, Hash> {
    let (mut found, mut salt_of) = (BTreeMap::new(), key.salts_of(record));
    let Ok(form) = erased_form(record.document, record.scope.paths(), |path, kind, value| {
        let made = commitment(&salt_of(path)?, kind, value);
        found.insert(path.to_owned(), made);
        Ok::<_, Infallible>(made)
    });
    form.map_or_else(BTreeMap::new, |_| found)
}

/// The replacement of the field at `path`, so that the record's leaf stays what it is; none where there is
/// nothing to erase: no such personal field, null, or erased already.
#[must_use]
pub fn erase(record: &Record<'_>, path: &str, key: &CommitmentKey) -> Option<Document> {
    commitments(record, key).get(path).map(erased)
}
