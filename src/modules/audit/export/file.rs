//! Lines and rows as they go out, and what they come to.

use std::{borrow::Cow, collections::BTreeMap};

use bson::{DateTime, RawDocument};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{
    ExportError, ExportFormat,
    filter::{LEDGER, place_of},
    manifest::Header,
};
use crate::{
    modules::audit::proof::{Bytes, CommitmentKey, ExtendedJson, Hash, Leaf, Proof, Record, Salts, Seal, SealHeader},
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

/// What is written so far.
#[derive(Default)]
pub(super) struct Sums {
    /// Records by collection.
    pub(super) counts: BTreeMap<&'static str, i64>,
    /// Records of whole seals that are gone.
    pub(super) purged: i64,
    /// Records that match and are in no seal of the export.
    pub(super) unsealed: i64,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    hash: Sha256,
}

impl Sums {
    /// Of all bytes so far.
    pub(super) fn sha256(&self) -> Hash {
        Bytes(self.hash.clone().finalize().into())
    }
}

/// A record with its place.
pub(super) struct Entry<'a> {
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
    pub(super) sums: Sums,
    /// Written or gone.
    records: u64,
}

#[derive(Serialize)]
struct SealLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    header: SealHeader,
    leaves: LeafList<'a>,
}

struct LeafList<'a>(&'a [Leaf]);

impl Serialize for LeafList<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|leaf| (leaf.code.to_string(), &leaf.id, leaf.hash)))
    }
}

#[derive(Serialize)]
struct RecordLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: i64,
    collection: &'a str,
    record: ExtendedJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salts: Option<Salts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'a Proof>,
}

impl<W: AsyncWrite + Unpin + Send, P: FnMut(u64) + Send> ExportFile<W, P> {
    /// With its first line handed on, so that whoever waits for it sees that it comes.
    pub(super) async fn begin(
        out: W,
        format: ExportFormat,
        header: &Header<'_>,
        progress: P,
    ) -> Result<Self, ExportError> {
        let (pending, sums) = (Vec::with_capacity(2 * PIECE_BYTES), Sums::default());
        let mut file = Self { out, format, progress, pending, sums, records: 0 };
        match format {
            ExportFormat::Ndjson => file.json(header)?,
            ExportFormat::Csv => file.row(COLUMNS.map(Cow::Borrowed))?,
        }
        file.hand_on().await?;
        Ok(file)
    }

    /// The seal whose records follow. Rows name the number of theirs instead.
    pub(super) async fn seal(&mut self, seal: &Seal) -> Result<(), ExportError> {
        if self.format == ExportFormat::Ndjson {
            self.json(&SealLine { kind: "seal", header: seal.header(), leaves: LeafList(&seal.leaves) })?;
        }
        self.hand_on_if_full().await
    }

    /// A record.
    pub(super) async fn record(&mut self, entry: Entry<'_>, key: &CommitmentKey) -> Result<(), ExportError> {
        let record = entry.record;
        let collection = record.scope.collection();
        let written = match self.format {
            ExportFormat::Ndjson => self.json(&RecordLine {
                kind: RECORD,
                seq: entry.seq,
                collection,
                record: ExtendedJson(record.document),
                salts: Some(key.salts(&record)).filter(|salts| !salts.is_empty()),
                proof: entry.proof,
            }),
            ExportFormat::Csv => serde_json::to_string(&ExtendedJson(record.document))
                .map_err(std::io::Error::from)
                .and_then(|json| self.row(cells(&entry, &one_cell(&json)))),
        };
        written.map_err(|error| ExportError::Record {
            collection: collection.into(),
            id: record.id.into(),
            reason: error.to_string(),
        })?;
        *self.sums.counts.entry(collection).or_default() += 1;
        self.records += 1;
        self.hand_on_if_full().await
    }

    /// A record of a seal is not there any more.
    pub(super) fn gone(&mut self) {
        self.sums.purged += 1;
        self.records += 1;
    }

    /// Ends it with its manifest.
    pub(super) async fn finish(
        mut self,
        sign: impl FnOnce(&Sums) -> Result<String, ExportError>,
    ) -> Result<String, ExportError> {
        self.hand_on().await?;
        let manifest = sign(&self.sums)?;
        match self.format {
            ExportFormat::Ndjson => self.pending.extend_from_slice(format!("{manifest}\n").as_bytes()),
            ExportFormat::Csv => {
                let mut cells = [const { Cow::Borrowed("") }; COLUMNS.len()];
                cells[0] = "manifest".into();
                cells[COLUMNS.len() - 1] = manifest.as_str().into();
                self.row(cells)?;
            }
        }
        self.hand_on().await?;
        self.out.flush().await?;
        // Whoever reads at the other end of a pipe learns that this was all.
        self.out.shutdown().await?;
        Ok(manifest)
    }

    fn json(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.pending, value)?;
        self.pending.push(b'\n');
        self.sums.lines += 1;
        Ok(())
    }

    fn row(&mut self, cells: [Cow<'_, str>; COLUMNS.len()]) -> std::io::Result<()> {
        let mut rows = Rows::new();
        rows.add(cells)?;
        self.pending.extend_from_slice(&rows.into_bytes()?);
        self.sums.lines += 1;
        Ok(())
    }

    async fn hand_on_if_full(&mut self) -> Result<(), ExportError> {
        if self.pending.len() < PIECE_BYTES { Ok(()) } else { self.hand_on().await }
    }

    async fn hand_on(&mut self) -> Result<(), ExportError> {
        self.sums.hash.update(&self.pending);
        self.sums.bytes += self.pending.len() as u64;
        self.out.write_all(&self.pending).await?;
        self.pending.clear();
        self.pending.shrink_to(2 * PIECE_BYTES);
        (self.progress)(self.records);
        self.out.flush().await?;
        Ok(())
    }
}

/// The same JSON, without the character at which some spreadsheets end a cell even within quotes: what a text holds behind
/// it would be a cell of its own, and could be a formula.
pub(super) fn one_cell(json: &str) -> Cow<'_, str> {
    if json.contains(';') { json.replace(';', r"\u003b").into() } else { json.into() }
}

fn cells<'a>(entry: &Entry<'a>, json: &'a str) -> [Cow<'a, str>; COLUMNS.len()] {
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
