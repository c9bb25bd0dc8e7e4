//! A statement as a file: the whole period, between a row of the opening balance and one of the closing.

use std::{borrow::Cow, io};

use bytes::Bytes;

use super::{
    parts::{FilePieces, ReportError},
    snapshot::Snapshot,
    statement::Statement,
};
use crate::{
    modules::wallet::{model::LedgerTransaction, store::WalletStore},
    platform::cells::{Rows, decimal, number, text, text_or_empty, time},
};

/// Lines in memory at a time.
const PIECE: usize = 500;
const COLUMNS: [&str; 15] = [
    "record",
    "sequence",
    "at",
    "kind",
    "direction",
    "amountMinor",
    "amount",
    "balanceMinor",
    "balance",
    "currency",
    "transactionId",
    "referenceType",
    "referenceId",
    "referenceKind",
    "reason",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum CsvStage {
    Opening,
    Lines,
    Ended,
}

/// The file that is being written.
pub(super) struct StatementFile {
    store: WalletStore,
    statement: Statement,
    stage: CsvStage,
}

impl StatementFile {
    pub(super) const fn new(store: WalletStore, statement: Statement) -> Self {
        Self { store, statement, stage: CsvStage::Opening }
    }

    /// `statement-INR-2026-01-01-2026-02-01.csv`
    pub(super) fn name(statement: &Statement) -> String {
        let day = |at| time(at).chars().take(10).collect::<String>();
        format!("statement-{}-{}-{}.csv", statement.currency.code(), day(statement.from), day(statement.to))
    }

    fn balance_row(&self, rows: &mut Rows, record: &'static str, at: bson::DateTime) -> io::Result<()> {
        let (balance, currency) = (self.statement.balance(), self.statement.currency);
        let mut cells = [const { Cow::Borrowed("") }; COLUMNS.len()];
        cells[0] = record.into();
        cells[2] = time(at);
        cells[7] = number(balance);
        cells[8] = decimal(balance, currency);
        cells[9] = currency.code().into();
        rows.add(cells)
    }
}

impl FilePieces for StatementFile {
    const NAME: &'static str = "statement";

    /// Each piece reads a snapshot of its own: the period's last line is known since the beginning, and no line of it can
    /// be missing or be another one, however slowly the client reads.
    async fn next(&mut self) -> Result<Option<Bytes>, ReportError> {
        if self.stage == CsvStage::Ended {
            return Ok(None);
        }
        let mut rows = Rows::new();
        if self.stage == CsvStage::Opening {
            rows.add_header(COLUMNS)?;
            self.balance_row(&mut rows, "opening", self.statement.from)?;
            self.stage = CsvStage::Lines;
        }
        let mut snapshot = Snapshot::take(&self.store).await?;
        let lines = self.statement.read(&mut snapshot, PIECE).await?;
        for line in &lines {
            add_line(&mut rows, line)?;
        }
        if lines.len() < PIECE {
            self.balance_row(&mut rows, "closing", self.statement.to)?;
            self.stage = CsvStage::Ended;
        }
        Ok(Some(rows.into_bytes()?))
    }
}

fn add_line(rows: &mut Rows, line: &LedgerTransaction) -> Result<(), ReportError> {
    let change = line.change_of_available();
    let amount = change.checked_abs().ok_or(ReportError::Overflow)?;
    let (sequence, balance) = line.statement_line();
    Ok(rows.add([
        "line".into(),
        number(sequence),
        time(line.at),
        line.kind.as_str().into(),
        if change > 0 { "credit" } else { "debit" }.into(),
        number(amount),
        decimal(amount, line.currency),
        number(balance),
        decimal(balance, line.currency),
        line.currency.code().into(),
        text(&line.id),
        text(&line.reference_type),
        text(&line.reference_id),
        text(&line.reference_kind),
        text_or_empty(line.reason.as_deref()),
    ])?)
}
