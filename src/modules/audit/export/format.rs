//! The lines of an export, written and read by the same code. Byte by byte in `docs/audit-export.md`.
//!
//! The first line says what was asked for ([`Opening`]), the last one is the signed [`Manifest`]; between them are seals and records.

use std::{borrow::Cow, collections::BTreeMap};

use bson::RawDocument;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::filter::{ExportFilter, ExportMode};
use crate::{
    modules::audit::proof::{
        ExtendedJson, Hash, Leaf, NotSigned, Proof, PublicKeys, Salts, SealHeader, Signature, SigningKey,
    },
    platform::clock::Rfc3339Time,
};

pub const VERSION: i32 = 1;
/// First bytes of a signed manifest.
const DOMAIN: &[u8] = b"waybill audit export v1";

/// A line, as it is written.
#[derive(Serialize)]
pub struct Line<'a, T> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    #[serde(flatten)]
    pub line: T,
}

/// The first line, `export`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    pub version: i32,
    pub mode: ExportMode,
    pub filters: ExportFilter,
    pub seals: SealSpan,
    pub created_at: Rfc3339Time,
}

/// The first and the last seal; null where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealSpan {
    pub first: Option<i64>,
    pub last: Option<i64>,
}

/// `seal`
#[derive(Serialize, Deserialize)]
pub struct SealLine<'a> {
    pub header: Cow<'a, SealHeader>,
    #[serde(with = "leaf_list")]
    pub leaves: Cow<'a, [Leaf]>,
}

/// `record`
#[derive(Serialize, Deserialize)]
pub struct RecordLine<'a> {
    pub seq: i64,
    pub collection: Cow<'a, str>,
    pub record: ExtendedJson<Cow<'a, RawDocument>>,
    #[serde(default, skip_serializing_if = "Salts::is_empty")]
    pub salts: Salts,
    /// In a selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Cow<'a, Proof>>,
}

impl RecordLine<'_> {
    pub fn id(&self) -> &str {
        self.record.0.get_str("_id").unwrap_or_default()
    }
}

/// The last line, `manifest`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestLine<'a> {
    /// As it stands in the line: that is what is signed.
    #[serde(borrow)]
    manifest: &'a RawValue,
    pub key_id: String,
    signature: Signature,
}

/// The content of a file, and proof that it is whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub version: i32,
    pub mode: ExportMode,
    pub filters: ExportFilter,
    pub created_at: Rfc3339Time,
    pub seals: ManifestSeals,
    /// Records by collection.
    pub counts: BTreeMap<String, i64>,
    /// Records of whole seals that are gone.
    pub purged: i64,
    /// Of a selection: records that match and are in no seal of the export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsealed: Option<i64>,
    /// Of what stands before the manifest.
    #[serde(flatten)]
    pub before: Before,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestSeals {
    #[serde(flatten)]
    pub numbers: SealSpan,
    pub last_header_hash: Option<Hash>,
}

/// Lines and bytes before the manifest, and the hash of these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pub lines: u64,
    pub bytes: u64,
    pub sha256: Hash,
}

impl Manifest {
    /// The manifest of what was opened so, as far as it is known then.
    pub fn new(opening: &Opening, before: Before) -> Self {
        Self {
            version: opening.version,
            mode: opening.mode,
            filters: opening.filters.clone(),
            created_at: opening.created_at,
            seals: ManifestSeals { numbers: opening.seals, last_header_hash: None },
            counts: BTreeMap::new(),
            purged: 0,
            unsealed: None,
            before,
        }
    }

    /// Its line, without the line feed.
    pub fn sign(&self, signer: &SigningKey) -> serde_json::Result<String> {
        let json = serde_json::to_string(self)?;
        // In whichever format: what is signed is the text as it stands there.
        let manifest = RawValue::from_string(one_cell(&json).into_owned())?;
        let line = ManifestLine {
            key_id: signer.public().id(),
            signature: signer.sign(&message(&manifest)),
            manifest: &manifest,
        };
        serde_json::to_string(&Line { kind: "manifest", line })
    }

    /// Name of a field in which another manifest says something else.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let fields = |manifest: &Self| serde_json::to_value(manifest).unwrap_or_default();
        let (ours, theirs) = (fields(self), fields(other));
        let names = ours.as_object().into_iter().chain(theirs.as_object()).flatten();
        names.map(|(name, _)| name).find(|name| ours.get(name) != theirs.get(name)).cloned()
    }
}

impl ManifestLine<'_> {
    pub fn check_signature(&self, keys: &PublicKeys) -> Result<(), NotSigned> {
        keys.verify(&self.key_id, &message(self.manifest), &self.signature)
    }

    pub fn manifest(&self) -> serde_json::Result<Manifest> {
        serde_json::from_str(self.manifest.get())
    }
}

fn message(manifest: &RawValue) -> Vec<u8> {
    [DOMAIN, &Hash::of(manifest.get()).0].concat()
}

/// The same JSON, without the character at which some spreadsheets end a cell even within quotes: what a text holds behind
/// it would be a cell of its own, and could be a formula.
pub fn one_cell(json: &str) -> Cow<'_, str> {
    if json.contains(';') { json.replace(';', r"\u003b").into() } else { json.into() }
}

/// Leaves as `["<code>","<id>","<hash>"]`.
mod leaf_list {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use super::{Cow, Hash, Leaf};

    pub(super) fn serialize<S: Serializer>(leaves: &[Leaf], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(leaves.iter().map(|leaf| (leaf.code.to_string(), &leaf.id, leaf.hash)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, [Leaf]>, D::Error> {
        let rows: Vec<(String, String, Hash)> = Vec::deserialize(deserializer)?;
        let leaf = |(code, id, hash): (String, String, Hash)| Ok(Leaf { code: code.parse()?, id, hash });
        let leaves: Result<Vec<Leaf>, std::num::ParseIntError> = rows.into_iter().map(leaf).collect();
        leaves.map(Cow::Owned).map_err(|error| D::Error::custom(format!("the code of a leaf: {error}")))
    }
}
