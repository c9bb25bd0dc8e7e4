//! Sealed records as a file that can be checked with the public keys alone. Byte by byte in `docs/audit-export.md`.
//!
//! A file holds what the seals up to one number hold, and that never changes: so it is one moment, without a snapshot of
//! the server's, however long it takes. A chain export has whole seals with all their records; a selection has records
//! that match, each with its proof. The last line, the signed manifest, says that a file is whole. What can't be written
//! as it is sealed ends it without one.
//!
//! Invariants: that something was exported is on record before its first byte ([`Exporter::begin`]); memory does not grow
//! with the export, nor with a seal's records.

mod error;
mod file;
mod filter;
pub(super) mod format;
mod plan;
mod seal_cache;

use std::{collections::BTreeMap, sync::Arc};

use bson::{DateTime, doc};
use mongodb::Database;
use tokio::io::AsyncWrite;

use super::{
    event::{AuditEvent, AuditOutcome},
    proof::{CommitmentKey, Hash, NotSigned, Proof, PublicKeys, Record, Scopes, SealHeader, SigningKey},
    seals::{PieceSize, ReadAhead, SealStore, commitment_key_of},
    store::AuditStore,
};
use crate::platform::{
    clock::Rfc3339Time,
    identity::Actor,
    ids::new_id,
    scrub::{hidden, is_ours, is_plain},
    sealing::SealingKeys,
};

pub use error::ExportError;
use file::{ExportFile, FileEntry};
pub use filter::{ExportFilter, ExportFormat, ExportMode};
use format::{Opening, SealSpan, VERSION};
use plan::QueryPlan;
use seal_cache::SealCache;

/// Some 2 MB where all records are as large as a log gets.
const PIECE: PieceSize = PieceSize { records: 32, bytes: 4 * 1024 * 1024, seals: 2 };

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
        let there = |number| (self.seals.first <= self.seals.last).then_some(number);
        let opening = Opening {
            version: VERSION,
            mode: self.filter.mode(),
            filters: self.filter.clone(),
            seals: SealSpan { first: there(self.seals.first), last: there(self.seals.last) },
            created_at: Rfc3339Time(self.created_at),
        };
        let mut file = ExportFile::begin(out, self.format, &opening, progress).await?;
        match opening.mode {
            ExportMode::Chain => write_seals(&self, &mut file).await?,
            ExportMode::Selection => write_matching(&self, &mut file).await?,
        }
        file.finish(&opening, self.seals.last_header_hash, &self.signer).await
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
                first = store.first_since(from).await?;
                signed(store, keys, first - 1).await?;
            }
            if let Some(Rfc3339Time(to)) = filter.to {
                last = (store.first_since(to).await? - 1).max(first - 1);
                if last < newest {
                    signed(store, keys, last + 1).await?;
                }
            }
        }
        // Better no file than one that ends at its first seal.
        header(store, first.min(last)).await?;
        let (before, at_end) = (header(store, first - 1).await?, header(store, last).await?);
        let mut totals = at_end.as_ref().map(|header| header.totals.clone()).unwrap_or_default();
        for (name, count) in before.map(|header| header.totals).unwrap_or_default() {
            *totals.entry(name).or_default() -= count;
        }
        let last_header_hash = at_end.filter(|_| first <= last).map(|header| header.hash());
        Ok(Self { first, last, last_header_hash, totals })
    }
}

/// Whether the time of a seal counts; before the first one there is none.
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
    let found = store.readable_header(number).await?;
    found.map(Some).ok_or(ExportError::Seal { number, reason: "is not there" })
}

/// Writes every seal of the export with its records.
async fn write_seals<W: AsyncWrite + Unpin + Send, P: FnMut(u64) + Send>(
    export: &Export,
    file: &mut ExportFile<W, P>,
) -> Result<(), ExportError> {
    let numbers = doc! { "$gte": export.seals.first, "$lte": export.seals.last };
    let mut reading = ReadAhead::start(&export.db, doc! { "_id": numbers }, PIECE);
    for number in export.seals.first..=export.seals.last {
        let seal = reading.seal().await?.filter(|seal| seal.number == number);
        let seal = seal.ok_or(ExportError::Seal { number, reason: "is not there" })?;
        file.seal(&seal).await?;
        for (leaf, seq) in seal.leaves.iter().zip(seal.first_seq..) {
            let Some(scope) = Scopes::standard().of_code(leaf.code) else {
                return Err(ExportError::Seal { number, reason: "names a rule that is not known" });
            };
            match reading.record().await? {
                Some(document) => {
                    let record = Record { scope, id: &leaf.id, document: &document };
                    file.record(FileEntry { seal: number, seq, record, proof: None }, &export.commitments).await?;
                }
                None => file.gone(),
            }
        }
    }
    Ok(())
}

/// Writes every record that matches and is in a seal of the export.
async fn write_matching<W: AsyncWrite + Unpin + Send, P: FnMut(u64) + Send>(
    export: &Export,
    file: &mut ExportFile<W, P>,
) -> Result<(), ExportError> {
    let store = SealStore::new(export.db.clone());
    // What is written while this goes on is not sealed in time: without a bound a busy database would never be read to its
    // end. A process that is ahead of time may have been sealed already.
    let newest_ms = store.newest_ms().await?.max(export.created_at.timestamp_millis());
    let filter = export.filter.clone().until(DateTime::from_millis(newest_ms.saturating_add(1)));
    let mut cache = SealCache::new(store, export.seals.last);
    let collections = Scopes::standard().today().map(|scope| scope.collection());
    for collection in collections.filter(|collection| export.filter.reaches(collection)) {
        let plan = QueryPlan::new(collection, &filter);
        let mut after = None;
        loop {
            let page = plan.page(&export.db, after.as_deref()).await?;
            for document in &page.records {
                let id = document.get_str("_id").unwrap_or_default();
                let Some((cached, index)) = cache.find(collection, id).await? else {
                    file.unsealed += 1;
                    continue;
                };
                let leaf = &cached.seal.leaves[index];
                let proof = Proof::in_tree(&cached.seal, &cached.tree, index, Scopes::standard());
                let (Some(scope), Some(proof)) = (Scopes::standard().of_code(leaf.code), proof) else {
                    let reason = "names a rule that is not known";
                    return Err(ExportError::Seal { number: cached.seal.number, reason });
                };
                let record = Record { scope, id, document };
                let entry = FileEntry { seal: cached.seal.number, seq: proof.seq, record, proof: Some(&proof) };
                file.record(entry, &export.commitments).await?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}
