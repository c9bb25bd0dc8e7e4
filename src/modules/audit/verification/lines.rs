//! Lines of an exported file, with a limit, and what was read of the file so far.

use std::{
    borrow::Cow,
    io::{self, BufRead, Read},
};

use bson::Document;
use serde::{Deserialize, Deserializer, de::Error as _};
use sha2::{Digest, Sha256};

use super::super::proof::{Bytes, Hash, Leaf, Proof, Salts, SealHeader};

/// A line of a file has at most so many bytes: a seal of 200,000 records, or the largest record that the database stores,
/// which is longer as JSON.
pub(super) const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Lines, and the hash of all before the one at hand.
pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    /// Number of the line at hand, from 1.
    pub(super) number: u64,
    /// Bytes before it.
    pub(super) bytes: u64,
    hash: Sha256,
}

/// Why there is no next line.
#[derive(Debug)]
pub(super) enum LineError {
    Read(io::Error),
    TooLong,
    /// It is not text.
    NoText,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0, bytes: 0, hash: Sha256::new() }
    }

    /// The next line, without its end; none at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<&str>, LineError> {
        self.hash.update(&self.line);
        self.bytes += self.line.len() as u64;
        self.line.clear();
        let mut limited = Read::take(&mut self.input, LINE_BYTES_MAX + 1);
        if limited.read_until(b'\n', &mut self.line).map_err(LineError::Read)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.line.len() as u64 > LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        let text = std::str::from_utf8(&self.line).map_err(|_| LineError::NoText)?;
        Ok(Some(text.trim_end_matches('\n')))
    }

    /// SHA-256 of everything before the line at hand.
    pub(super) fn hash(&self) -> Hash {
        Bytes(self.hash.clone().finalize().into())
    }
}

/// What kind of line it is.
#[derive(Deserialize)]
pub(super) struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
}

/// The first line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Opening {
    pub(super) version: i64,
    pub(super) mode: Mode,
    pub(super) filters: serde_json::Value,
    pub(super) seals: SealSpan,
    pub(super) created_at: String,
}

/// What an export shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// Whole seals with all their records.
    Chain,
    /// Single records with their proofs.
    Selection,
}

/// Seals of an export; null where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SealSpan {
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    /// In the manifest only.
    #[serde(default)]
    pub(super) last_header_hash: Option<Hash>,
}

/// A seal.
#[derive(Deserialize)]
pub(super) struct SealLine {
    pub(super) header: SealHeader,
    #[serde(deserialize_with = "leaves")]
    pub(super) leaves: Vec<Leaf>,
}

/// A record. Its JSON keeps the order of its fields, which counts.
#[derive(Deserialize)]
pub(super) struct RecordLine {
    pub(super) seq: i64,
    pub(super) collection: String,
    pub(super) record: Document,
    #[serde(default)]
    pub(super) salts: Salts,
    /// In a selection.
    #[serde(default)]
    pub(super) proof: Option<Proof>,
}

impl RecordLine {
    pub(super) fn id(&self) -> &str {
        self.record.get_str("_id").unwrap_or_default()
    }
}

/// Leaves as `["<code>","<id>","<hash>"]`.
fn leaves<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Leaf>, D::Error> {
    let rows: Vec<(String, String, Hash)> = Vec::deserialize(deserializer)?;
    let leaf = |(code, id, hash): (String, String, Hash)| Ok(Leaf { code: code.parse()?, id, hash });
    let leaves: Result<_, std::num::ParseIntError> = rows.into_iter().map(leaf).collect();
    leaves.map_err(|error| D::Error::custom(format!("the code of a leaf: {error}")))
}
