//! Reads an exported file line by line, with a limit on their length, and hashes it on the way.

use std::{
    borrow::Cow,
    io::{self, BufRead, Read},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::super::{export::format::Before, proof::Bytes};

/// A line of a file has at most so many bytes: a seal of 200,000 records, or the largest record that the database stores,
/// which is longer as JSON.
pub(super) const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Lines, and the hash of all before the one at hand.
pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    /// Number of the line at hand, from 1.
    pub(super) number: u64,
    bytes: u64,
    hash: Sha256,
}

/// Why there is no next line.
#[derive(Debug)]
pub(super) enum LineError {
    Read(io::Error),
    TooLong,
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

    /// The bytes before the line at hand.
    pub(super) fn before(&self) -> Before {
        let sha256 = Bytes(self.hash.clone().finalize().into());
        Before { lines: self.number.saturating_sub(1), bytes: self.bytes, sha256 }
    }
}

/// The kind of a line.
#[derive(Deserialize)]
pub(super) struct LineKind<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
}
