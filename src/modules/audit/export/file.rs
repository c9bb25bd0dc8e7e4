//! Writes an export: lines of JSON or rows of CSV, with the sums that its manifest signs.

use std::{borrow::Cow, collections::BTreeMap};

use bson::{DateTime, RawDocument};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{
    super::query::LEDGER,
    ExportError, ExportFormat,
    filter::{ExportMode, place_of},
    format::{Before, Line, Manifest, Opening, RecordLine, SealLine, one_cell},
};
use crate::{
    modules::audit::proof::{Bytes, CommitmentKey, ExtendedJson, Hash, Proof, Record, Seal, SigningKey},
    platform::cells::{Rows, number, text, text_or_empty, time},
};

/// Lines are handed on once there is this much of them.
const PIECE_BYTES: usize = 64 * 1024;
const COLUMNS: [&str; 15] = [
    "type",
    "seq",
    "seal",
    "collection",
    "id",
    "at",
    "orderId",
    "userId",
    "clientOrderId",
    "provider",
    "operation",
    "outcome",
    "errorClass",
    "httpStatus",
    "record",
];
const RECORD: &str = "record";

/// A record with its place.
pub(super) struct FileEntry<'a> {
    pub(super) seal: i64,
    pub(super) seq: i64,
    pub(super) record: Record<'a>,
    pub(super) proof: Option<&'a Proof>,
}

/// An export on its way to `out`.
pub(super) struct ExportFile<W, P> {
    out: W,
    format: ExportFormat,
    progress: P,
    pending: Vec<u8>,
    /// Records written, by collection.
    pub(super) counts: BTreeMap<String, i64>,
    /// Records of whole seals that are gone.
    pub(super) purged: i64,
    /// Records that match and are in no seal of the export.
    pub(super) unsealed: i64,
    /// Written or gone.
    records: u64,
    lines: u64,
    bytes: u64,
    hash: Sha256,
}

impl<W: AsyncWrite + Unpin + Send, P: FnMut(u64) + Send> ExportFile<W, P> {
    /// With its first line handed on, so that whoever waits for it sees that it comes.
    pub(super) async fn begin(
        out: W,
        format: ExportFormat,
        opening: &Opening,
        progress: P,
    ) -> Result<Self, ExportError> {
        let mut file = Self {
            out,
            format,
            progress,
            pending: Vec::with_capacity(2 * PIECE_BYTES),
            counts: BTreeMap::new(),
            purged: 0,
            unsealed: 0,
            records: 0,
            lines: 0,
            bytes: 0,
            hash: Sha256::new(),
        };
        match format {
            ExportFormat::Ndjson => file.json("export", opening)?,
            ExportFormat::Csv => file.row(COLUMNS.map(Cow::Borrowed))?,
        }
        file.hand_on().await?;
        Ok(file)
    }

    /// The seal whose records follow. Rows name the number of theirs instead.
    pub(super) async fn seal(&mut self, seal: &Seal) -> Result<(), ExportError> {
        if self.format == ExportFormat::Ndjson {
            let line = SealLine { header: Cow::Borrowed(&seal.header), leaves: Cow::Borrowed(&seal.leaves[..]) };
            self.json("seal", line)?;
        }
        self.hand_on_if_full().await
    }

    /// A record.
    pub(super) async fn record(&mut self, entry: FileEntry<'_>, key: &CommitmentKey) -> Result<(), ExportError> {
        let record = entry.record;
        let collection = record.scope.collection();
        let written = match self.format {
            ExportFormat::Ndjson => {
                let line = RecordLine {
                    seq: entry.seq,
                    collection: collection.into(),
                    record: ExtendedJson(record.document.into()),
                    salts: key.salts(&record),
                    proof: entry.proof.map(Cow::Borrowed),
                };
                self.json(RECORD, line)
            }
            ExportFormat::Csv => serde_json::to_string(&ExtendedJson(record.document))
                .map_err(std::io::Error::from)
                .and_then(|json| self.row(cells(&entry, &one_cell(&json)))),
        };
        written.map_err(|error| ExportError::Record {
            collection: collection.into(),
            id: record.id.into(),
            reason: error.to_string(),
        })?;
        *self.counts.entry(collection.into()).or_default() += 1;
        self.records += 1;
        self.hand_on_if_full().await
    }

    /// A record of a seal is not there any more.
    pub(super) fn gone(&mut self) {
        self.purged += 1;
        self.records += 1;
    }

    /// Ends it with a manifest of what `opening` said, about these seals.
    pub(super) async fn finish(
        mut self,
        opening: &Opening,
        last_header_hash: Option<Hash>,
        signer: &SigningKey,
    ) -> Result<String, ExportError> {
        self.hand_on().await?;
        let before =
            Before { lines: self.lines, bytes: self.bytes, sha256: Bytes(self.hash.clone().finalize().into()) };
        let mut manifest = Manifest::new(opening, before);
        manifest.seals.last_header_hash = last_header_hash;
        manifest.counts = std::mem::take(&mut self.counts);
        manifest.purged = self.purged;
        manifest.unsealed = (opening.mode == ExportMode::Selection).then_some(self.unsealed);
        let line = manifest.sign(signer).map_err(std::io::Error::from)?;
        match self.format {
            ExportFormat::Ndjson => self.pending.extend_from_slice(format!("{line}\n").as_bytes()),
            ExportFormat::Csv => {
                let mut cells = [const { Cow::Borrowed("") }; COLUMNS.len()];
                cells[0] = "manifest".into();
                cells[COLUMNS.len() - 1] = line.as_str().into();
                self.row(cells)?;
            }
        }
        self.hand_on().await?;
        self.out.flush().await?;
        // Whoever reads at the other end of a pipe learns that this was all.
        self.out.shutdown().await?;
        Ok(line)
    }

    fn json(&mut self, kind: &str, line: impl Serialize) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.pending, &Line { kind, line })?;
        self.pending.push(b'\n');
        self.lines += 1;
        Ok(())
    }

    fn row(&mut self, cells: [Cow<'_, str>; COLUMNS.len()]) -> std::io::Result<()> {
        let mut rows = Rows::new();
        rows.add(cells)?;
        self.pending.extend_from_slice(&rows.into_bytes()?);
        self.lines += 1;
        Ok(())
    }

    async fn hand_on_if_full(&mut self) -> Result<(), ExportError> {
        if self.pending.len() < PIECE_BYTES { Ok(()) } else { self.hand_on().await }
    }

    async fn hand_on(&mut self) -> Result<(), ExportError> {
        self.hash.update(&self.pending);
        self.bytes += self.pending.len() as u64;
        self.out.write_all(&self.pending).await?;
        self.pending.clear();
        self.pending.shrink_to(2 * PIECE_BYTES);
        (self.progress)(self.records);
        self.out.flush().await?;
        Ok(())
    }
}

fn cells<'a>(entry: &FileEntry<'a>, json: &'a str) -> [Cow<'a, str>; COLUMNS.len()] {
    let Record { scope, id, document } = entry.record;
    let collection = scope.collection();
    let field = |name: &str| text_or_empty(document.get_str(name).ok());
    let at = ["at", "sentAt", "receivedAt"].iter().find_map(|name| document.get_datetime(name).ok());
    let status = document.get_i32("httpStatus").ok();
    [
        RECORD.into(),
        number(entry.seq),
        number(entry.seal),
        collection.into(),
        text(id),
        at.map_or(Cow::Borrowed(""), |at: DateTime| time(at)),
        order_of(document, collection),
        field("userId"),
        field("clientOrderId"),
        field("provider"),
        field("operation"),
        field("outcome"),
        field("errorClass"),
        status.map_or(Cow::Borrowed(""), |status| number(status.into())),
        json.into(),
    ]
}

/// The order that a record is about; what is about something else has its id in the same field.
fn order_of<'a>(document: &'a RawDocument, collection: &str) -> Cow<'a, str> {
    let id = place_of("orderId", collection).and_then(|field| document.get_str(field).ok());
    let id = id.filter(|id| id.starts_with("ord_"));
    // Later holds of an order are called `ord_...#2`.
    text_or_empty(if collection == LEDGER { id.and_then(|id| id.split('#').next()) } else { id })
}
