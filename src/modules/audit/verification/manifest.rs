//! The last line of an export: what is in it, signed.

use std::{collections::BTreeMap, io::BufRead};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    super::proof::{Hash, NotSigned, PublicKeys, Signature},
    lines::{Lines, Mode, Opening, SealSpan},
};

/// What a signed manifest begins with; its SHA-256 follows.
const DOMAIN: &[u8] = b"waybill audit export v1";

/// The line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ManifestLine<'a> {
    /// As it stands in the line: that is what is signed.
    #[serde(borrow)]
    manifest: &'a RawValue,
    pub(super) key_id: String,
    signature: Signature,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    version: i64,
    mode: Mode,
    filters: serde_json::Value,
    created_at: String,
    seals: SealSpan,
    counts: BTreeMap<String, i64>,
    purged: i64,
    #[serde(default)]
    unsealed: Option<i64>,
    lines: u64,
    bytes: u64,
    sha256: Hash,
}

/// What was counted while the file was read.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Records by collection.
    pub(super) counts: BTreeMap<String, i64>,
    pub(super) purged: i64,
    /// The seals that were there; of a selection those that the first line names.
    pub(super) seals: SealSpan,
}

/// Why a manifest does not count.
pub(super) enum ManifestError {
    /// Nothing is known of its key.
    UnknownKey,
    /// What is wrong.
    Differs(String),
}

impl ManifestLine<'_> {
    /// Checks its signature, and that it says what was read before it; gives the seals that it names, and how many records
    /// it says were not sealed.
    pub(super) fn check(
        &self,
        keys: &PublicKeys,
        opening: &Opening,
        counted: &Counted,
        before: &Before,
    ) -> Result<(SealSpan, Option<i64>), ManifestError> {
        let message = [DOMAIN, &Sha256::digest(self.manifest.get())].concat();
        match keys.verify(&self.key_id, &message, &self.signature) {
            Err(NotSigned::UnknownKey) => return Err(ManifestError::UnknownKey),
            Err(NotSigned::Wrong) => {
                return Err(ManifestError::Differs(format!("the key {} did not sign the manifest", self.key_id)));
            }
            Ok(()) => {}
        }
        let said: Manifest = serde_json::from_str(self.manifest.get())
            .map_err(|error| ManifestError::Differs(format!("the manifest can't be read: {error}")))?;
        let span = |seals: SealSpan| (seals.first, seals.last);
        let agree = [
            ("version", said.version == opening.version),
            ("mode", said.mode == opening.mode),
            ("filters", said.filters == opening.filters),
            ("createdAt", said.created_at == opening.created_at),
            ("seals", span(said.seals) == span(opening.seals) && span(said.seals) == span(counted.seals)),
            (
                "lastHeaderHash",
                said.mode != Mode::Chain || said.seals.last_header_hash == counted.seals.last_header_hash,
            ),
            ("counts", said.counts == counted.counts),
            ("purged", said.purged == counted.purged),
            ("lines", said.lines == before.lines),
            ("bytes", said.bytes == before.bytes),
            ("sha256", said.sha256 == before.sha256),
        ];
        match agree.into_iter().find(|(_, agrees)| !agrees) {
            Some((name, _)) => Err(ManifestError::Differs(format!("the file is not what its manifest says: {name}"))),
            None => Ok((said.seals, said.unsealed)),
        }
    }
}

/// What stands before the manifest.
pub(super) struct Before {
    lines: u64,
    bytes: u64,
    sha256: Hash,
}

impl Before {
    /// The line at hand is the manifest's.
    pub(super) fn of<R: BufRead>(lines: &Lines<R>) -> Self {
        Self { lines: lines.number - 1, bytes: lines.bytes, sha256: lines.hash() }
    }
}
