//! Seals: the leaves of a batch of records under one root, chained to the seal before and signed.

use std::collections::BTreeMap;

use bson::DateTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    bytes::{Bytes, Hash, Signature, binary},
    commitment::CommitmentKey,
    encoding::{Elements, put_name},
    keys::{NotSigned, PublicKeys, SigningKey},
    leaf::LeafHasher,
    merkle::root,
    record::Record,
    scope::Scopes,
};
use crate::platform::ids::time_of_id;

/// What a signed message begins with.
const DOMAIN: &[u8] = b"waybill audit seal v1";
/// What the hashed names of leaves begin with.
const NAMES: u8 = 0x03;

/// What a seal holds of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// By which rule it was sealed, see [`super::Rule::code`].
    pub code: u8,
    /// `_id` of the record.
    pub id: String,
    /// See [`LeafHasher`].
    pub hash: Hash,
}

impl Leaf {
    /// The leaves of records, in their order.
    #[must_use]
    pub fn of_all<'a>(records: impl IntoIterator<Item = Record<'a>>, commitments: &CommitmentKey) -> Vec<Self> {
        let mut hasher = LeafHasher::new();
        let leaf = |record: Record<'_>| {
            let Ok(hash) = hasher.hash(&record, commitments);
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

/// A seal, as it is stored. Documented field by field at [`SealHeader`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    /// From 1, without gaps; `_id` in the database, so that of two with one number only one is stored.
    #[serde(rename = "_id")]
    pub number: i64,
    /// When.
    pub sealed_at: DateTime,
    /// Number of the first leaf in the whole chain, from 1; the others follow.
    pub first_seq: i64,
    /// The leaves by columns: codes one byte each, ids, hashes 32 bytes each.
    #[serde(with = "columns")]
    pub leaves: Vec<Leaf>,
    /// Records by collection.
    pub counts: BTreeMap<String, i64>,
    /// The same, of all seals up to this.
    pub totals: BTreeMap<String, i64>,
    /// Root of the Merkle tree over the leaves.
    #[serde(with = "binary")]
    pub root: Hash,
    /// Hash over codes and ids of the leaves.
    #[serde(with = "binary")]
    pub names: Hash,
    /// Hash of the seal before, zeros for the first.
    #[serde(with = "binary")]
    pub previous: Hash,
    /// The key that signed.
    pub key_id: String,
    /// Its signature.
    #[serde(with = "binary")]
    pub signature: Signature,
}

/// Everything but the leaves. It can be read from a stored seal, with its leaves or without, and is written as JSON
/// with hashes in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealHeader {
    /// From 1, without gaps.
    #[serde(alias = "_id")]
    pub number: i64,
    /// When, by the clock of the sealer. RFC 3339 in JSON.
    #[serde(with = "time")]
    pub sealed_at: DateTime,
    /// Number of the first leaf in the whole chain, from 1. Of a seal without leaves: of the next one.
    pub first_seq: i64,
    /// Records by name of their collection; what has none is absent.
    pub counts: BTreeMap<String, i64>,
    /// The same, of all seals up to this.
    pub totals: BTreeMap<String, i64>,
    /// Root of the Merkle tree over the leaves.
    pub root: Hash,
    /// SHA-256 of 0x03 and, leaf by leaf, the code and the id with its length. The leaves themselves say nothing of their
    /// records once those are purged.
    pub names: Hash,
    /// [`SealHeader::hash`] of the seal before, zeros for the first.
    pub previous: Hash,
    /// Id of the key that signed.
    pub key_id: String,
    /// Ed25519 over [`SealHeader::signed_bytes`].
    pub signature: Signature,
}

impl SealHeader {
    /// The canonical bytes without the signature: those of a document of its fields, in the order above.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        Elements::new()
            .int64("number", self.number)
            .date("sealedAt", self.sealed_at.timestamp_millis())
            .int64("firstSeq", self.first_seq)
            .document("counts", numbers(&self.counts))
            .document("totals", numbers(&self.totals))
            .binary("root", &self.root.0)
            .binary("names", &self.names.0)
            .binary("previous", &self.previous.0)
            .text("keyId", &self.key_id)
            .finish()
    }

    /// SHA-256 of [`SealHeader::canonical`]: what the next seal and anchors name.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Bytes(Sha256::digest(self.canonical()).into())
    }

    /// What is signed.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        [DOMAIN, &self.hash().0].concat()
    }

    /// Whether a known key signed it: it is what the sealer wrote, at the place that its number says.
    ///
    /// # Errors
    /// [`NotSigned`].
    pub fn check_signature(&self, keys: &PublicKeys) -> Result<(), NotSigned> {
        keys.verify(&self.key_id, &self.signed_bytes(), &self.signature)
    }

    /// Whether these are the codes and ids of its leaves.
    #[must_use]
    pub fn has_names<'a>(&self, names: impl IntoIterator<Item = (u8, &'a str)>) -> bool {
        names_hash(names) == self.names
    }

    /// Number of its leaves.
    #[must_use]
    pub fn size(&self) -> i64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Number of the leaf that comes after its own.
    #[must_use]
    pub fn next_seq(&self) -> i64 {
        self.first_seq.saturating_add(self.size())
    }
}

fn numbers(of: &BTreeMap<String, i64>) -> Elements {
    of.iter().fold(Elements::new(), |elements, (name, number)| elements.int64(name, *number))
}

impl Seal {
    /// Seals records by their leaves, which may be none, after `previous`. Leaves of a rule that `scopes` do not know are
    /// left out.
    #[must_use]
    pub fn build(
        previous: Option<&SealHeader>,
        sealed_at: DateTime,
        mut leaves: Vec<Leaf>,
        scopes: &Scopes,
        signer: &SigningKey,
    ) -> Self {
        let mut counts = BTreeMap::new();
        leaves.retain(|leaf| {
            let scope = scopes.of_code(leaf.code);
            scope.inspect(|scope| count(&mut counts, scope.collection())).is_some()
        });
        let mut header = SealHeader {
            number: previous.map_or(1, |previous| previous.number + 1),
            sealed_at,
            first_seq: previous.map_or(1, SealHeader::next_seq),
            totals: sum(previous.map(|previous| &previous.totals), &counts),
            counts,
            root: root_of(&leaves),
            names: names_of(&leaves),
            previous: previous.map_or(Hash::ZERO, SealHeader::hash),
            key_id: signer.public().id(),
            signature: Signature::ZERO,
        };
        header.signature = signer.sign(&header.signed_bytes());
        Self::new(header, leaves)
    }

    /// A header with its leaves.
    #[must_use]
    pub fn new(header: SealHeader, leaves: Vec<Leaf>) -> Self {
        let SealHeader { number, sealed_at, first_seq, counts, totals, root, names, previous, key_id, signature } =
            header;
        Self { number, sealed_at, first_seq, leaves, counts, totals, root, names, previous, key_id, signature }
    }

    /// Whether a known key signed it and these are the codes and ids that were signed: what it names is what was sealed.
    #[must_use]
    pub fn is_sound(&self, keys: &PublicKeys) -> bool {
        let header = self.header();
        header.check_signature(keys).is_ok() && names_of(&self.leaves) == header.names
    }

    /// Everything but the leaves.
    #[must_use]
    pub fn header(&self) -> SealHeader {
        SealHeader {
            number: self.number,
            sealed_at: self.sealed_at,
            first_seq: self.first_seq,
            counts: self.counts.clone(),
            totals: self.totals.clone(),
            root: self.root,
            names: self.names,
            previous: self.previous,
            key_id: self.key_id.clone(),
            signature: self.signature,
        }
    }
}

fn count(counts: &mut BTreeMap<String, i64>, collection: &str) {
    match counts.get_mut(collection) {
        Some(count) => *count += 1,
        None => drop(counts.insert(collection.to_owned(), 1)),
    }
}

/// Totals before and counts together.
pub(super) fn sum(totals: Option<&BTreeMap<String, i64>>, counts: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let mut sum = totals.cloned().unwrap_or_default();
    for (name, count) in counts {
        let total = sum.entry(name.clone()).or_default();
        *total = total.saturating_add(*count);
    }
    sum
}

/// The root over the leaves.
pub(super) fn root_of(leaves: &[Leaf]) -> Hash {
    root(&leaves.iter().map(|leaf| leaf.hash).collect::<Vec<_>>())
}

/// The hash over their names.
pub(super) fn names_of(leaves: &[Leaf]) -> Hash {
    names_hash(leaves.iter().map(|leaf| (leaf.code, &*leaf.id)))
}

fn names_hash<'a>(names: impl IntoIterator<Item = (u8, &'a str)>) -> Hash {
    let mut bytes = vec![NAMES];
    for (code, id) in names {
        bytes.push(code);
        put_name(&mut bytes, id.as_bytes());
    }
    Bytes(Sha256::digest(bytes).into())
}

/// Leaves by collection; the code of one that `scopes` do not know.
pub(super) fn counts_of(leaves: &[Leaf], scopes: &Scopes) -> Result<BTreeMap<String, i64>, u8> {
    let mut counts = BTreeMap::new();
    for leaf in leaves {
        count(&mut counts, scopes.of_code(leaf.code).ok_or(leaf.code)?.collection());
    }
    Ok(counts)
}

/// Leaves as they are stored: three columns, some 85 bytes a leaf.
mod columns {
    use bson::{Binary, spec::BinarySubtype::Generic};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    use super::{Bytes, Leaf};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Columns<Id> {
        codes: Binary,
        ids: Vec<Id>,
        hashes: Binary,
    }

    pub(super) fn serialize<S: Serializer>(leaves: &[Leaf], serializer: S) -> Result<S::Ok, S::Error> {
        let binary = |bytes| Binary { subtype: Generic, bytes };
        let columns = Columns {
            codes: binary(leaves.iter().map(|leaf| leaf.code).collect()),
            ids: leaves.iter().map(|leaf| leaf.id.as_str()).collect(),
            hashes: binary(leaves.iter().flat_map(|leaf| leaf.hash.0).collect()),
        };
        columns.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Leaf>, D::Error> {
        let Columns::<String> { codes, ids, hashes } = Columns::deserialize(deserializer)?;
        let (hashes, rest) = hashes.bytes.as_chunks::<32>();
        if !rest.is_empty() || codes.bytes.len() != ids.len() || hashes.len() != ids.len() {
            return Err(D::Error::custom("the columns of a seal's leaves differ in length"));
        }
        let leaves = codes.bytes.into_iter().zip(ids).zip(hashes);
        Ok(leaves.map(|((code, id), hash)| Leaf { code, id, hash: Bytes(*hash) }).collect())
    }
}

/// A time: RFC 3339 when written, that or BSON when read.
mod time {
    use bson::{Bson, DateTime};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::platform::clock::Rfc3339Time;

    pub(super) fn serialize<S: Serializer>(at: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Rfc3339Time(*at))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime, D::Error> {
        match Bson::deserialize(deserializer)? {
            Bson::DateTime(at) => Ok(at),
            Bson::String(text) => text.parse().map(|Rfc3339Time(at)| at).map_err(D::Error::custom),
            _ => Err(D::Error::custom("not a time")),
        }
    }
}
