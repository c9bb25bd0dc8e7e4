//! The ledger as a file, oldest first, in pieces.
//!
//! All pieces are read from one snapshot, so the file is the ledger at one moment. The server keeps a snapshot for
//! `minSnapshotHistoryWindowInSeconds` only (300 by default), and a slow client may take longer. Then the rest is read
//! from later snapshots, up to the time of the newest transaction of the first. What was committed when the export began
//! is in it in either case, because nothing in the ledger changes or goes; of what was just being committed, the rest may
//! have some. That is better than a limit on size: breaking off a large export for a slow client would be for ever.

use std::{borrow::Cow, io};

use bson::DateTime;
use bytes::Bytes;
use mongodb::error::ErrorKind;

use super::{
    parts::{FilePieces, ReportError},
    search::{LedgerFilter, Position, newest_time, oldest},
    snapshot::Snapshot,
};
use crate::{
    modules::wallet::{http::TransactionResponse, model::LedgerTransaction, store::WalletStore},
    platform::cells::{Rows, decimal, number, text, text_or_empty, time},
};

/// Transactions in memory at a time.
const PIECE: usize = 500;
const COLUMNS: [&str; 20] = [
    "transactionId",
    "at",
    "kind",
    "userId",
    "account",
    "side",
    "amountMinor",
    "amount",
    "currency",
    "sequence",
    "availableAfterMinor",
    "availableAfter",
    "referenceType",
    "referenceId",
    "referenceKind",
    "holdId",
    "reverses",
    "clientReference",
    "reason",
    "actor",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    /// A transaction per line, as JSON.
    Ndjson,
    /// A line of a transaction per row.
    Csv,
}

/// The file that is being written.
pub(super) struct LedgerFile {
    store: WalletStore,
    filter: LedgerFilter,
    format: FileFormat,
    /// As long as the server keeps it.
    snapshot: Option<Snapshot>,
    place: Option<Position>,
    begun: bool,
    ended: bool,
}

impl LedgerFile {
    /// Fixes the moment.
    pub(super) async fn begin(
        store: WalletStore,
        filter: LedgerFilter,
        format: FileFormat,
    ) -> Result<Self, ReportError> {
        let mut snapshot = Snapshot::take(&store).await?;
        let newest = newest_time(&mut snapshot).await?;
        let filter = LedgerFilter { until: newest, ..filter };
        let ended = newest.is_none();
        Ok(Self { store, filter, format, snapshot: Some(snapshot), place: None, begun: false, ended })
    }

    /// `ledger-2026-11-21.csv`
    pub(super) fn name(format: FileFormat, now: DateTime) -> String {
        let day: String = time(now).chars().take(10).collect();
        match format {
            FileFormat::Ndjson => format!("ledger-{day}.ndjson"),
            FileFormat::Csv => format!("ledger-{day}.csv"),
        }
    }

    async fn read(&mut self) -> Result<Vec<LedgerTransaction>, ReportError> {
        if let Some(snapshot) = &mut self.snapshot {
            match oldest(snapshot, &self.filter, self.place.as_ref(), PIECE).await {
                Err(error) if is_too_old(&error) => self.snapshot = None,
                read => return Ok(read?),
            }
        }
        let mut snapshot = Snapshot::take(&self.store).await?;
        Ok(oldest(&mut snapshot, &self.filter, self.place.as_ref(), PIECE).await?)
    }
}

/// Whether the server doesn't keep the snapshot any more.
fn is_too_old(error: &mongodb::error::Error) -> bool {
    const SNAPSHOT_TOO_OLD: i32 = 239;
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == SNAPSHOT_TOO_OLD)
}

impl FilePieces for LedgerFile {
    const NAME: &'static str = "ledger export";

    async fn next(&mut self) -> Result<Option<Bytes>, ReportError> {
        if self.begun && self.ended {
            return Ok(None);
        }
        let first = !std::mem::replace(&mut self.begun, true);
        let transactions = if self.ended { Vec::new() } else { self.read().await? };
        self.ended = transactions.len() < PIECE;
        self.place = transactions.last().map(Position::of);
        let piece = match self.format {
            FileFormat::Ndjson => json_lines(transactions)?,
            FileFormat::Csv => rows(first, &transactions)?,
        };
        // Only at the end, where the last page was full.
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

fn json_lines(transactions: Vec<LedgerTransaction>) -> Result<Bytes, ReportError> {
    let mut lines = Vec::new();
    for transaction in transactions {
        serde_json::to_writer(&mut lines, &TransactionResponse::from(transaction)).map_err(std::io::Error::from)?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}

fn rows(with_header: bool, transactions: &[LedgerTransaction]) -> io::Result<Bytes> {
    let mut rows = Rows::new();
    if with_header {
        rows.add_header(COLUMNS)?;
    }
    for transaction in transactions {
        for line in &transaction.lines {
            rows.add([
                text(&transaction.id),
                time(transaction.at),
                transaction.kind.as_str().into(),
                text(&transaction.user_id),
                Cow::Owned(line.account.to_string()),
                if line.amount > 0 { "credit" } else { "debit" }.into(),
                number(line.amount),
                decimal(line.amount, line.currency),
                line.currency.code().into(),
                transaction.wallet_seq.map_or(Cow::Borrowed(""), number),
                transaction.available_after.map_or(Cow::Borrowed(""), number),
                transaction.available_after.map_or(Cow::Borrowed(""), |after| decimal(after, transaction.currency)),
                text(&transaction.reference_type),
                text(&transaction.reference_id),
                text(&transaction.reference_kind),
                text_or_empty(transaction.hold_id.as_deref()),
                text_or_empty(transaction.reverses.as_deref()),
                text_or_empty(transaction.client_reference.as_deref()),
                text_or_empty(transaction.reason.as_deref()),
                text(&transaction.actor.id),
            ])?;
        }
    }
    rows.into_bytes()
}
