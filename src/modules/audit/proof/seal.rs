//! Seals: the leaves of a batch of records under one root, chained to the seal before and signed.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
};

use bson::{Binary, DateTime, doc, spec::BinarySubtype};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use super::{
    hash::{Bytes, Hash, Signature, put_text},
    keys::{NotSigned, PublicKeys, SigningKey},
    leaf::Leaf,
    merkle::Tree,
    scope::Scopes,
};

/// First bytes of a signed message.
const DOMAIN: &[u8] = b"waybill audit seal v1";
/// First byte of the hashed names of leaves.
const NAMES: u8 = 0x03;

/// A header with its leaves. In the database its number is the `_id`, so that of two seals with one number only one is stored.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Seal {
    #[serde(flatten)]
    pub header: SealHeader,
    #[serde(deserialize_with = "read_leaves")]
    pub leaves: Vec<Leaf>,
}

impl Deref for Seal {
    type Target = SealHeader;

    fn deref(&self) -> &SealHeader {
        &self.header
    }
}

impl DerefMut for Seal {
    fn deref_mut(&mut self) -> &mut SealHeader {
        &mut self.header
    }
}

/// Everything but the leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealHeader {
    /// Number of the seal, from 1, without gaps.
    #[serde(alias = "_id")]
    pub number: i64,
    /// By the clock of the sealer.
    #[serde(with = "rfc3339")]
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
    /// The hashed form: its JSON, but for the signature at the end.
    #[must_use]
    pub fn unsigned_json(&self) -> String {
        let json = serde_json::to_string(self).expect("numbers and texts");
        let unsigned = json.rsplit_once(",\"signature\":").map_or(&*json, |(unsigned, _)| unsigned);
        format!("{unsigned}}}")
    }

    /// SHA-256 of [`SealHeader::unsigned_json`]: what the next seal and anchors name.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.unsigned_json())
    }

    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        [DOMAIN, &self.hash().0].concat()
    }

    /// Whether a known key signed it: it is what the sealer wrote, at the place that its number says.
    pub fn check_signature(&self, keys: &PublicKeys) -> Result<(), NotSigned> {
        keys.verify(&self.key_id, &self.signed_bytes(), &self.signature)
    }

    /// Whether these are the codes and ids of its leaves.
    #[must_use]
    pub fn has_names<'a>(&self, names: impl IntoIterator<Item = (u8, &'a str)>) -> bool {
        names_hash(names) == self.names
    }

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
        Self { header, leaves }
    }

    /// Whether a known key signed it and these are the codes and ids that were signed: what it names is what was sealed.
    #[must_use]
    pub fn is_sound(&self, keys: &PublicKeys) -> bool {
        self.check_signature(keys).is_ok() && names_of(&self.leaves) == self.names
    }
}

fn count(counts: &mut BTreeMap<String, i64>, collection: &str) {
    match counts.get_mut(collection) {
        Some(count) => *count += 1,
        None => drop(counts.insert(collection.to_owned(), 1)),
    }
}

pub(super) fn sum(totals: Option<&BTreeMap<String, i64>>, counts: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let mut sum = totals.cloned().unwrap_or_default();
    for (name, count) in counts {
        let total = sum.entry(name.clone()).or_default();
        *total = total.saturating_add(*count);
    }
    sum
}

pub(super) fn root_of(leaves: &[Leaf]) -> Hash {
    Tree::new(leaves.iter().map(|leaf| leaf.hash)).root()
}

pub(super) fn names_of(leaves: &[Leaf]) -> Hash {
    names_hash(leaves.iter().map(|leaf| (leaf.code, &*leaf.id)))
}

fn names_hash<'a>(names: impl IntoIterator<Item = (u8, &'a str)>) -> Hash {
    let mut bytes = vec![NAMES];
    for (code, id) in names {
        bytes.push(code);
        put_text(&mut bytes, id);
    }
    Hash::of(bytes)
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
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns<Id> {
    /// One byte each.
    codes: Binary,
    ids: Vec<Id>,
    /// 32 bytes each.
    hashes: Binary,
}

impl Serialize for Seal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stored = doc! { "_id": self.number };
        stored.extend(bson::serialize_to_document(&self.header).map_err(S::Error::custom)?);
        stored.remove("number");
        let binary = |bytes| Binary { subtype: BinarySubtype::Generic, bytes };
        let leaves = Columns {
            codes: binary(self.leaves.iter().map(|leaf| leaf.code).collect()),
            ids: self.leaves.iter().map(|leaf| leaf.id.as_str()).collect(),
            hashes: binary(self.leaves.iter().flat_map(|leaf| leaf.hash.0).collect()),
        };
        stored.insert("leaves", bson::serialize_to_bson(&leaves).map_err(S::Error::custom)?);
        stored.serialize(serializer)
    }
}

fn read_leaves<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Leaf>, D::Error> {
    let Columns::<String> { codes, ids, hashes } = Columns::deserialize(deserializer)?;
    let (hashes, rest) = hashes.bytes.as_chunks::<32>();
    if !rest.is_empty() || codes.bytes.len() != ids.len() || hashes.len() != ids.len() {
        return Err(D::Error::custom("the columns of a seal's leaves differ in length"));
    }
    let leaves = codes.bytes.into_iter().zip(ids).zip(hashes);
    Ok(leaves.map(|((code, id), hash)| Leaf { code, id, hash: Bytes(*hash) }).collect())
}

/// RFC 3339 in UTC with milliseconds.
mod rfc3339 {
    use bson::DateTime;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::platform::clock::Rfc3339Time;

    pub(super) fn serialize<S: Serializer>(at: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
        Rfc3339Time(*at).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime, D::Error> {
        Rfc3339Time::deserialize(deserializer).map(|Rfc3339Time(at)| at)
    }
}
