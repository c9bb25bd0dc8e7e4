//! The leaf of one record: `SHA-256(0x00, collection, erased form of the record)`.

use bson::DateTime;

use super::{
    commitment::{CommitmentKey, SaltSource, commitment},
    erased::erased_form,
    hash::{Hash, put_text},
    scope::Record,
};
use crate::platform::ids::time_of_id;

/// First byte of a hashed leaf (RFC 6962, 2.1).
const LEAF: u8 = 0x00;

/// A record in a seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The rule by which it was sealed, see [`super::LeafRule::code`].
    pub code: u8,
    pub id: String,
    pub hash: Hash,
}

impl Leaf {
    /// The leaves of records, in their order.
    #[must_use]
    pub fn of_all<'a>(records: impl IntoIterator<Item = Record<'a>>, commitments: &CommitmentKey) -> Vec<Self> {
        let leaf = |record: Record<'_>| {
            let Ok(hash) = leaf_hash(&record, commitments);
            Self { code: record.scope.code(), id: record.id.to_owned(), hash }
        };
        records.into_iter().map(leaf).collect()
    }

    /// The time of its record, ms: what its id carries. No record is younger than its seal, nor is one without a time.
    #[must_use]
    pub fn at_ms(&self, sealed_at: DateTime) -> i64 {
        let sealed_at = sealed_at.timestamp_millis();
        time_of_id(&self.id).map_or(sealed_at, |at| at.min(sealed_at))
    }
}

/// The hash of a record's leaf. Whatever is stored has one.
pub fn leaf_hash<S: SaltSource>(record: &Record<'_>, salts: &S) -> Result<Hash, S::Error> {
    Ok(Hash::of(leaf_input(record, salts)?))
}

pub(super) fn leaf_input<S: SaltSource>(record: &Record<'_>, salts: &S) -> Result<Vec<u8>, S::Error> {
    let mut salt_of = salts.salts_of(record);
    let commit = |path: &str, kind, value: &[u8]| Ok(commitment(&salt_of(path)?, kind, value));
    let form = erased_form(record.document, record.scope.paths(), commit)?;
    let mut bytes = vec![LEAF];
    put_text(&mut bytes, record.scope.collection());
    // No record of ours: what is not BSON counts as it stands.
    bytes.extend_from_slice(form.as_ref().map_or(record.document.as_bytes(), |form| form.bytes.as_slice()));
    Ok(bytes)
}
