//! The first line of an export, and the last: the signed manifest.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Export, ExportError, ExportFilter, ExportMode, SealRange,
    file::{Sums, one_cell},
};
use crate::{modules::audit::proof::Hash, platform::clock::Rfc3339Time};

/// Of the format.
const VERSION: i32 = 1;
/// What a signed message begins with.
const DOMAIN: &[u8] = b"waybill audit export v1";

/// The first line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: i32,
    mode: ExportMode,
    filters: &'a ExportFilter,
    seals: FromTo,
    created_at: Rfc3339Time,
}

/// Null where there are none.
#[derive(Serialize)]
struct FromTo {
    first: Option<i64>,
    last: Option<i64>,
}

impl FromTo {
    fn of(range: &SealRange) -> Self {
        let there = |number| (range.first <= range.last).then_some(number);
        Self { first: there(range.first), last: there(range.last) }
    }
}

impl<'a> Header<'a> {
    pub(super) fn of(export: &'a Export) -> Self {
        Self {
            kind: "export",
            version: VERSION,
            mode: export.filter.mode(),
            filters: &export.filter,
            seals: FromTo::of(&export.seals),
            created_at: Rfc3339Time(export.created_at),
        }
    }
}

/// What is signed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    version: i32,
    mode: ExportMode,
    filters: &'a ExportFilter,
    created_at: Rfc3339Time,
    seals: Seals,
    counts: &'a BTreeMap<&'static str, i64>,
    purged: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsealed: Option<i64>,
    lines: u64,
    bytes: u64,
    sha256: Hash,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seals {
    #[serde(flatten)]
    numbers: FromTo,
    last_header_hash: Option<Hash>,
}

/// The last line.
pub(super) struct Signed;

impl Signed {
    /// The line of the manifest, without its end. The signature is over its text as it stands in the line.
    pub(super) fn manifest_of(export: &Export, sums: &Sums) -> Result<String, ExportError> {
        let mode = export.filter.mode();
        let manifest = Manifest {
            version: VERSION,
            mode,
            filters: &export.filter,
            created_at: Rfc3339Time(export.created_at),
            seals: Seals { numbers: FromTo::of(&export.seals), last_header_hash: export.seals.last_header_hash },
            counts: &sums.counts,
            purged: sums.purged,
            unsealed: (mode == ExportMode::Selection).then_some(sums.unsealed),
            lines: sums.lines,
            bytes: sums.bytes,
            sha256: sums.sha256(),
        };
        let text = serde_json::to_string(&manifest).map_err(std::io::Error::from)?;
        // In whichever format: what is signed is the text as it stands there.
        let text = one_cell(&text);
        let signature = export.signer.sign(&[DOMAIN, &Sha256::digest(&*text)].concat());
        let key_id = export.signer.public().id();
        Ok(format!(r#"{{"type":"manifest","manifest":{text},"keyId":"{key_id}","signature":"{signature}"}}"#))
    }
}
