//! Verifies the chain in the database, from its first seal or from a later one on.

use std::time::{Duration, Instant};

use bson::{DateTime, Document, doc};
use mongodb::{
    Database,
    error::{Error, Result},
};
use parking_lot::Mutex;

use super::{
    super::{
        proof::{
            Anchor, ChainVerifier, CommitmentKey, Finding, FindingKind, NotSigned, PublicKeys, Scopes, Seal, SealHeader,
        },
        seals::{AUDIT_SEALS, PieceSize, ReadAhead, ReadError, SealStore, SecretError, find_commitment_key},
    },
    purges::{Purges, purges_of},
    report::{Report, SEALED_WITHIN_MS, Stop},
    sweep::Sweep,
};
use crate::platform::sealing::SealingKeys;

/// With records of 1 KB some 3 MB are in memory, and 200 MB where all of them are as large as a log gets.
const PIECE: PieceSize = PieceSize { records: 500, bytes: 32 * 1024 * 1024, seals: 10 };

#[derive(Clone, Debug, Default)]
pub struct ChainPart {
    /// From this number on; the seal before is believed. Else from the first.
    pub from_seal: Option<i64>,
    /// Up to this one. Else to the end of the chain.
    pub to_seal: Option<i64>,
    /// Hashes that are known from elsewhere, of seals up to the last one that is checked.
    pub anchors: Vec<Anchor>,
    /// When to stop. One seal is checked in any case.
    pub limits: Option<Limits>,
}

/// Where checking ends before its end, between two seals.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No seal is begun with which there would be more records.
    pub records: u64,
    /// No seal is begun after so much time.
    pub time: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error("the database: {0}")]
    Database(#[from] mongodb::error::Error),
    /// The secret of commitments can't be opened.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Without it no record with personal fields can be checked.
    #[error("there are seals, but the commitment secret in audit_keys is gone")]
    NoSecret,
    #[error("there is no seal in this database")]
    NoSeals,
}

impl From<Error> for Stop<ChainError> {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ReadError> for Stop<ChainError> {
    fn from(error: ReadError) -> Self {
        Error::from(error).into()
    }
}

/// Checks the seals of a part with their records, and that nothing is there besides. `progress` is told after every seal.
///
/// Ids that carry no time are looked for only where the whole chain is checked, else the records between the times of the
/// first and the last seal.
///
/// # Errors
/// [`ChainError`] where it could not be checked to its end. What is wrong is in the report.
pub async fn verify_chain(
    db: &Database,
    keys: &PublicKeys,
    sealing: &SealingKeys,
    part: ChainPart,
    mut progress: impl FnMut(&Report) + Send,
) -> std::result::Result<Report, ChainError> {
    let mut report = Report::default();
    let chain = Chain { db, keys };
    match chain.check(sealing, part, &mut report, &mut progress).await {
        Ok(()) => {}
        Err(Stop::Found(finding)) => report.finding = Some(*finding),
        Err(Stop::Failed(error)) => return Err(error),
    }
    Ok(report)
}

/// Numbers of the first and the last seal to be checked, so that all that were sealed from `from` on and before `to` are
/// checked; none where the chain has none, up to its end. Where none was sealed within the time, it is the one after it:
/// that tells whether there was one, and has the records of that time.
///
/// The time of a seal counts only where a known key has signed it. The seal before the first is for the check to look at. The
/// one after the last is looked at here: where it is not there, or no known key has signed it, it belongs to what is checked, and is found.
pub async fn sealed_between(
    db: &Database,
    keys: &PublicKeys,
    from: DateTime,
    to: DateTime,
) -> Result<Option<(i64, i64)>> {
    let store = SealStore::new(db.clone());
    let (first, after) = (store.first_since(from).await?, store.first_since(to).await?);
    let seals = db.collection::<Document>(AUDIT_SEALS);
    let is_end = seals.find_one(doc! { "_id": { "$gte": after } }).projection(doc! { "_id": 1 }).await?.is_none();
    if first >= after {
        return Ok((!is_end).then_some((first, first)));
    }
    let ends_before = is_end
        || store
            .readable_header(after)
            .await?
            .is_some_and(|header| header.sealed_at >= to && header.check_signature(keys).is_ok());
    Ok(Some((first, if ends_before { after - 1 } else { after })))
}

struct Chain<'a> {
    db: &'a Database,
    keys: &'a PublicKeys,
}

impl Chain<'_> {
    async fn check(
        &self,
        sealing: &SealingKeys,
        part: ChainPart,
        report: &mut Report,
        progress: &mut (impl FnMut(&Report) + Send),
    ) -> std::result::Result<(), Stop<ChainError>> {
        let ChainPart { from_seal, to_seal, anchors, limits } = part;
        let from_seal = from_seal.filter(|&from| from > 1);
        let commitments =
            match find_commitment_key(self.db, sealing).await.map_err(|error| Stop::Failed(ChainError::from(error)))? {
                Some(key) => key,
                None if anchors.is_empty() && self.is_empty().await? => return Err(Stop::Failed(ChainError::NoSeals)),
                None => return Err(Stop::Failed(ChainError::NoSecret)),
            };
        let trusted = match from_seal {
            Some(from) => Some(self.believed(from - 1).await?.header),
            None => None,
        };
        report.trusted = trusted.as_ref().map(Anchor::from);
        let purges = Mutex::new(Purges::default());
        let anchors = anchors.into_iter().filter(|anchor| to_seal.is_none_or(|to| anchor.number <= to));
        let mut verifier =
            ChainVerifier::new(self.keys, Scopes::standard(), anchors, |sealed| purges.lock().cover_sealed(sealed));
        if let Some(trusted) = &trusted {
            verifier = verifier.after(trusted);
        }
        let mut reading = ReadAhead::start(self.db, seals_of(from_seal, to_seal), PIECE);
        let began = Instant::now();
        let mut last = None;
        while let Some(seal) = reading.seal().await.map_err(|error| stop(&verifier, error))? {
            if is_over(limits, began, report, &seal) {
                report.next_seal = Some(seal.number);
                break;
            }
            self.check_seal(&mut verifier, &seal, &mut reading, &purges, &commitments, report).await?;
            report.count(&seal);
            progress(report);
            last = Some(seal);
        }
        if report.next_seal.is_none() {
            let after_last = report.seals.last.or(trusted.as_ref().map(|seal| seal.number)).unwrap_or_default() + 1;
            if to_seal.is_some_and(|to| after_last <= to) {
                return Err(Finding::of_seal(after_last, FindingKind::SealMissing, "it is not there").into());
            }
            verifier.finish()?;
        }
        let Some(last) = last else {
            return if trusted.is_some() { Ok(()) } else { Err(Stop::Failed(ChainError::NoSeals)) };
        };
        let first = report.seals.first.unwrap_or(last.number);
        let whole = trusted.is_none() && to_seal.is_none() && report.next_seal.is_none();
        let sweep = self.sweep(whole, trusted.as_ref(), first, &last);
        if let Some((collection, id)) = sweep.first().await? {
            return Err(verifier.unsealed(collection, &id).into());
        }
        match if whole { sweep.first_missing().await? } else { None } {
            Some((collection, id)) => Err(verifier.removed_unsealed(collection, &id).into()),
            None => Ok(()),
        }
    }

    async fn is_empty(&self) -> Result<bool> {
        Ok(self.db.collection::<Document>(AUDIT_SEALS).find_one(doc! {}).await?.is_none())
    }

    /// A seal that is believed: it is there, and a known key has signed it.
    async fn believed(&self, number: i64) -> std::result::Result<Seal, Stop<ChainError>> {
        let found = |kind, detail: String| Err(Finding::of_seal(number, kind, detail).into());
        let seal = match SealStore::new(self.db.clone()).find(number).await {
            Ok(Some(seal)) => seal,
            Ok(None) => return found(FindingKind::SealMissing, "it is not there".into()),
            Err(ReadError::Seal(detail)) => {
                return found(FindingKind::SealChanged, format!("it can't be read: {detail}"));
            }
            Err(error @ ReadError::Database(_)) => return Err(error.into()),
        };
        match seal.check_signature(self.keys) {
            Ok(()) => Ok(seal),
            Err(NotSigned::UnknownKey) => {
                found(FindingKind::UnknownKey, format!("the key {:?} is not known", seal.key_id))
            }
            Err(NotSigned::Wrong) => {
                found(FindingKind::SealForged, format!("the key {} did not sign this header", seal.key_id))
            }
        }
    }

    async fn check_seal(
        &self,
        verifier: &mut ChainVerifier<'_>,
        seal: &Seal,
        reading: &mut ReadAhead,
        purges: &Mutex<Purges>,
        commitments: &CommitmentKey,
        report: &mut Report,
    ) -> std::result::Result<(), Stop<ChainError>> {
        purges.lock().forget_before(seal.number);
        let mut check = verifier.seal(seal)?;
        for leaf in &seal.leaves {
            let record = reading.record().await?;
            // Read behind the records: a purge and its record are one transaction.
            let lacking = reading.take_lacking();
            if !lacking.is_empty() {
                let declared = purges_of(self.db, &lacking, self.keys).await?;
                purges.lock().extend(declared);
            }
            let collection = Scopes::standard().of_code(leaf.code).map_or("", |scope| scope.collection());
            check
                .record(collection, &leaf.id, record.as_deref(), commitments)
                .map_err(|finding| purges.lock().explain(finding))?;
            report.count_if_late(&leaf.id, seal.sealed_at);
            if record.is_some() { report.records += 1 } else { report.purged += 1 }
        }
        Ok(check.finish()?)
    }

    /// Looks for records that should be sealed and are not: among all, or among those of the time of a part, whose first
    /// seal is `first`.
    fn sweep(&self, whole: bool, trusted: Option<&SealHeader>, first: i64, last: &Seal) -> Sweep<'_> {
        let sealed_by = |at: DateTime| at.timestamp_millis().saturating_sub(SEALED_WITHIN_MS);
        let only = (!whole).then(|| (trusted.map_or(0, |seal| sealed_by(seal.sealed_at)), sealed_by(last.sealed_at)));
        Sweep { db: self.db, keys: self.keys, checked: first..=last.number, only }
    }
}

/// Without bounds also seals whose numbers are no numbers are read, and found.
fn seals_of(from: Option<i64>, to: Option<i64>) -> Document {
    let mut numbers = Document::new();
    if let Some(from) = from {
        numbers.insert("$gte", from);
    }
    if let Some(to) = to {
        numbers.insert("$lte", to);
    }
    if numbers.is_empty() {
        numbers
    } else {
        doc! { "_id": numbers }
    }
}

fn is_over(limits: Option<Limits>, began: Instant, report: &Report, next: &SealHeader) -> bool {
    let looked_at = report.records.saturating_add(report.purged);
    let with_next = looked_at.saturating_add(u64::try_from(next.size()).unwrap_or_default());
    limits
        .is_some_and(|limits| report.seals.count > 0 && (with_next > limits.records || began.elapsed() >= limits.time))
}

fn stop(verifier: &ChainVerifier<'_>, error: ReadError) -> Stop<ChainError> {
    match error {
        ReadError::Seal(detail) => verifier.unreadable_seal(&detail).into(),
        error @ ReadError::Database(_) => error.into(),
    }
}
