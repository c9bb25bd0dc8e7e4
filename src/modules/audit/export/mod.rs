//! Sealed records as a file that can be checked with the public keys alone. Byte by byte in `docs/audit-export.md`.
//!
//! A file holds what the seals up to one number hold, and that never changes: so it is one moment, without a snapshot of
//! the server's, however long it takes. A chain export has whole seals with all their records; a selection has records
//! that match, each with its proof. The last line, the signed manifest, says that a file is whole. What can't be written
//! as it is sealed ends it without one.
//!
//! Invariants: that something was exported is on record before its first byte ([`Exporter::begin`]); memory does not grow
//! with the export, nor with a seal's records.

mod chain;
mod file;
mod filter;
mod manifest;
mod selection;
mod ways;

use std::{collections::BTreeMap, sync::Arc};

use bson::{DateTime, doc};
use mongodb::Database;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;
use utoipa::ToSchema;

use super::{
    event::{AuditEvent, AuditOutcome},
    proof::{CommitmentKey, Hash, NotSigned, PublicKeys, SealHeader, SigningKey},
    seals::{SealStore, SecretError, commitment_key_of},
    store::AuditStore,
};
use crate::platform::{
    clock::Rfc3339Time,
    identity::Actor,
    ids::new_id,
    scrub::{hidden, is_ours, is_plain},
    sealing::SealingKeys,
};

use file::ExportFile;
pub use filter::{ExportFilter, ExportMode};
use manifest::{Header, Signed};

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// JSON, a value per line: what can be checked.
    #[default]
    Ndjson,
    /// A record per row, for spreadsheets; without salts and proofs.
    Csv,
}

/// Why there is no export, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Nobody could tell a whole file from half of one.
    #[error("no key signs here: AUDIT_SIGNING_KEY is not set")]
    NotSigned,
    /// Personal fields have no salts without it.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    /// A seal is not there, or names what nobody knows.
    #[error("seal {number}: {reason}")]
    Seal {
        /// Its number.
        number: i64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A record would not read as what was sealed.
    #[error("{collection} {id} can't be written: {reason}")]
    Record {
        /// Its collection.
        collection: String,
        /// Its `_id`.
        id: String,
        /// What is wrong; never what it says.
        reason: String,
    },
    /// Nobody takes it any more.
    #[error("the export can't be written: {0}")]
    Write(#[from] std::io::Error),
    /// Reading ahead ended in a panic.
    #[error("reading failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Begins exports.
#[derive(Clone, Debug)]
pub struct Exporter {
    db: Database,
    sealing: Arc<SealingKeys>,
    signer: Option<Arc<SigningKey>>,
    keys: PublicKeys,
}

/// An export that is on record and can be written.
#[derive(Debug)]
pub struct Export {
    db: Database,
    filter: ExportFilter,
    format: ExportFormat,
    created_at: DateTime,
    seals: SealRange,
    commitments: CommitmentKey,
    signer: Arc<SigningKey>,
}

/// Whole seals; none where `last` is before `first`.
#[derive(Clone, Debug)]
struct SealRange {
    first: i64,
    last: i64,
    /// None where there are none.
    last_header_hash: Option<Hash>,
    /// Records in them, by collection.
    totals: BTreeMap<String, i64>,
}

impl Exporter {
    /// Over `db`. Salts are kept under `sealing`; manifests are signed by `signer`, and without one there are no exports.
    /// Seals are signed by one of `keys`.
    #[must_use]
    pub const fn new(
        db: Database,
        sealing: Arc<SealingKeys>,
        signer: Option<Arc<SigningKey>>,
        keys: PublicKeys,
    ) -> Self {
        Self { db, sealing, signer, keys }
    }

    /// Fixes what is exported, and writes down who exports what. The filter has no [`ExportFilter::faults`].
    ///
    /// # Errors
    /// [`ExportError`].
    pub async fn begin(
        &self,
        filter: ExportFilter,
        format: ExportFormat,
        actor: Actor,
        now: DateTime,
    ) -> Result<Export, ExportError> {
        let signer = Arc::clone(self.signer.as_ref().ok_or(ExportError::NotSigned)?);
        let commitments = commitment_key_of(&self.db, &self.sealing).await?;
        let seals = SealRange::of(&SealStore::new(self.db.clone()), &self.keys, &filter).await?;
        let export = Export { db: self.db.clone(), filter, format, created_at: now, seals, commitments, signer };
        AuditStore::new(self.db.clone()).record(&export.event(actor)?).await?;
        Ok(export)
    }
}

impl Export {
    /// `audit-2026-11-21.ndjson`
    #[must_use]
    pub fn file_name(&self) -> String {
        let day: String = Rfc3339Time(self.created_at).to_string().chars().take(10).collect();
        match self.format {
            ExportFormat::Ndjson => format!("audit-{day}.ndjson"),
            ExportFormat::Csv => format!("audit-{day}.csv"),
        }
    }

    /// Records that are sealed in what is looked through, where all of it is exported.
    #[must_use]
    pub fn records_sealed(&self) -> Option<i64> {
        (self.filter.mode() == ExportMode::Chain).then(|| self.seals.totals.values().sum())
    }

    /// Writes all of it to `out`, flushed, and gives the line of the manifest. `progress` is told how many records are
    /// written, or gone, so far.
    ///
    /// # Errors
    /// [`ExportError`]; what is written then has no manifest.
    pub async fn write_to<W: AsyncWrite + Unpin + Send>(
        self,
        out: W,
        progress: impl FnMut(u64) + Send,
    ) -> Result<String, ExportError> {
        let mut file = ExportFile::begin(out, self.format, &Header::of(&self), progress).await?;
        match self.filter.mode() {
            ExportMode::Chain => chain::write(&self, &mut file).await?,
            ExportMode::Selection => selection::write(&self, &mut file).await?,
        }
        file.finish(|sums| Signed::manifest_of(&self, sums)).await
    }

    fn event(&self, actor: Actor) -> Result<AuditEvent, ExportError> {
        let mut filters = bson::serialize_to_document(&self.filter).map_err(mongodb::error::Error::from)?;
        for (_, value) in filters.iter_mut() {
            // People paste what they have, and this is kept for ever.
            if let Some(text) = value.as_str().filter(|text| !is_plain(text)) {
                *value = hidden(text).into();
            }
        }
        let export = ("audit_export", &*new_id("exp"));
        let event = AuditEvent::new(AuditOutcome::Done, actor, "audit.exported", export, self.created_at)
            .of_user(self.filter.user_id.clone().filter(|id| is_ours(id)))
            .after(doc! {
                "format": if self.format == ExportFormat::Csv { "csv" } else { "ndjson" },
                "mode": self.filter.mode().as_str(),
                "filters": filters,
                "seals": { "first": self.seals.first, "last": self.seals.last },
            });
        Ok(event)
    }
}

impl SealRange {
    /// All seals there are; of a chain export those that were sealed within its time. What seals say of their times counts
    /// where a known key has signed it, or a chain that was shortened would look like one that ends there.
    async fn of(store: &SealStore, keys: &PublicKeys, filter: &ExportFilter) -> Result<Self, ExportError> {
        let newest = store.last().await?.map_or(0, |header| header.number);
        let (mut first, mut last) = (1, newest);
        if filter.mode() == ExportMode::Chain {
            if let Some(Rfc3339Time(from)) = filter.from {
                first = first_sealed_at(store, from, newest).await?;
                signed(store, keys, first - 1).await?;
            }
            if let Some(Rfc3339Time(to)) = filter.to {
                last = (first_sealed_at(store, to, newest).await? - 1).max(first - 1);
                if last < newest {
                    signed(store, keys, last + 1).await?;
                }
            }
        }
        let (before, at_end) = (header(store, first - 1).await?, header(store, last).await?);
        let mut totals = at_end.as_ref().map(|header| header.totals.clone()).unwrap_or_default();
        for (name, count) in before.map(|header| header.totals).unwrap_or_default() {
            *totals.entry(name).or_default() -= count;
        }
        let last_header_hash = at_end.filter(|_| first <= last).map(|header| header.hash());
        Ok(Self { first, last, last_header_hash, totals })
    }
}

/// The least number up to `newest` of a seal that was sealed then or later; the number after it where there is none.
async fn first_sealed_at(store: &SealStore, time: DateTime, newest: i64) -> Result<i64, ExportError> {
    let (mut least, mut beyond) = (1, newest + 1);
    while least < beyond {
        let middle = least + (beyond - least) / 2;
        match header(store, middle).await? {
            Some(header) if header.sealed_at < time => least = middle + 1,
            _ => beyond = middle,
        }
    }
    Ok(least)
}

/// The header of a seal whose time counts; before the first one there is none.
async fn signed(store: &SealStore, keys: &PublicKeys, number: i64) -> Result<(), ExportError> {
    let Some(header) = header(store, number).await? else { return Ok(()) };
    header.check_signature(keys).map_err(|error| {
        let reason = match error {
            NotSigned::UnknownKey => "is signed by a key that is not known; AUDIT_PUBLIC_KEYS has to have it",
            NotSigned::Wrong => "is not what its key signed",
        };
        ExportError::Seal { number, reason }
    })
}

/// The header of a seal that has to be there; before the first one there is none.
async fn header(store: &SealStore, number: i64) -> Result<Option<SealHeader>, ExportError> {
    if number < 1 {
        return Ok(None);
    }
    let found = store.list_headers(doc! { "_id": number }, true, 1).await?.pop();
    found.map(Some).ok_or(ExportError::Seal { number, reason: "is not there" })
}
