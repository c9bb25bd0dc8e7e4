//! A chain in the database, checked from its first seal or from a later one on.

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
            Anchor, CommitmentKey, Finding, FindingKind, NotSigned, PublicKeys, Scopes, Seal, SealHeader, Verifier,
        },
        seals::{AUDIT_SEALS, SecretError, find_commitment_key},
    },
    Report, SEALED_WITHIN_MS,
    purges::Purges,
    reading::{ReadError, Source, find_seal},
    sweep::Sweep,
};
use crate::platform::sealing::SealingKeys;

/// Which seals are checked, and how.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// From this number on; the seal before is believed. Else from the first.
    pub from_seal: Option<i64>,
    /// Up to this one. Else to the end of the chain.
    pub to_seal: Option<i64>,
    /// What is known from elsewhere of seals up to the last one that is checked.
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

/// Why a chain could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// What the driver says.
    #[error("the database: {0}")]
    Database(#[from] mongodb::error::Error),
    /// The secret of commitments can't be opened.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Without it no record with personal fields can be checked.
    #[error("there are seals, but the commitment secret in audit_keys is gone")]
    NoSecret,
    /// Nothing is sealed.
    #[error("there is no seal in this database")]
    NoSeals,
}

/// Why checking ended early.
enum Stop {
    Found(Box<Finding>),
    Failed(ChainError),
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Found(Box::new(finding))
    }
}

impl<E: Into<ChainError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
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
    part: Part,
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

struct Chain<'a> {
    db: &'a Database,
    keys: &'a PublicKeys,
}

impl Chain<'_> {
    async fn check(
        &self,
        sealing: &SealingKeys,
        part: Part,
        report: &mut Report,
        progress: &mut (impl FnMut(&Report) + Send),
    ) -> std::result::Result<(), Stop> {
        let Part { from_seal, to_seal, anchors, limits } = part;
        let from_seal = from_seal.filter(|&from| from > 1);
        let commitments = match find_commitment_key(self.db, sealing).await? {
            Some(key) => key,
            None if anchors.is_empty() && self.is_empty().await? => return Err(ChainError::NoSeals.into()),
            None => return Err(ChainError::NoSecret.into()),
        };
        let trusted = match from_seal {
            Some(from) => Some(self.believed(from - 1).await?.header()),
            None => None,
        };
        report.trusted = trusted.as_ref().map(Anchor::from);
        let purges = Mutex::new(Purges::default());
        let anchors = anchors.into_iter().filter(|anchor| to_seal.is_none_or(|to| anchor.number <= to));
        let mut verifier =
            Verifier::new(self.keys, Scopes::standard(), anchors, |sealed| purges.lock().cover_sealed(sealed));
        if let Some(trusted) = &trusted {
            verifier = verifier.after(trusted);
        }
        let mut source = Source::start(self.db, self.keys, seals_of(from_seal, to_seal)).await?;
        let began = Instant::now();
        let mut last = None;
        while let Some(seal) = source.seal().await.map_err(|error| stop(&verifier, error))? {
            let header = seal.header();
            if is_over(limits, began, report, &header) {
                report.next_seal = Some(seal.number);
                break;
            }
            check_seal(&mut verifier, &seal, &mut source, &purges, &commitments, report).await?;
            report.count(&header);
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
            return if trusted.is_some() { Ok(()) } else { Err(ChainError::NoSeals.into()) };
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
    async fn believed(&self, number: i64) -> std::result::Result<Seal, Stop> {
        let found = |kind, detail: String| Err(Finding::of_seal(number, kind, detail).into());
        let seal = match find_seal(self.db, number).await {
            Ok(Some(seal)) => seal,
            Ok(None) => return found(FindingKind::SealMissing, "it is not there".into()),
            Err(ReadError::Seal(detail)) => {
                return found(FindingKind::SealChanged, format!("it can't be read: {detail}"));
            }
            Err(ReadError::Database(error)) => return Err(error.into()),
        };
        let header = seal.header();
        match header.check_signature(self.keys) {
            Ok(()) => Ok(seal),
            Err(NotSigned::UnknownKey) => {
                found(FindingKind::UnknownKey, format!("the key {:?} is not known", header.key_id))
            }
            Err(NotSigned::Wrong) => {
                found(FindingKind::SealForged, format!("the key {} did not sign this header", header.key_id))
            }
        }
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

fn stop(verifier: &Verifier<'_>, error: ReadError) -> Stop {
    match error {
        ReadError::Database(error) => error.into(),
        ReadError::Seal(detail) => verifier.unreadable_seal(&detail).into(),
    }
}

async fn check_seal(
    verifier: &mut Verifier<'_>,
    seal: &Seal,
    source: &mut Source,
    purges: &Mutex<Purges>,
    commitments: &CommitmentKey,
    report: &mut Report,
) -> std::result::Result<(), Stop> {
    let failed = |error: ReadError| match error {
        ReadError::Database(error) => Stop::from(error),
        ReadError::Seal(detail) => Stop::from(Error::custom(detail)),
    };
    purges.lock().forget_before(seal.number);
    let mut check = verifier.seal(seal)?;
    for leaf in &seal.leaves {
        let record = source.record().await.map_err(failed)?;
        purges.lock().extend(source.purges());
        let collection = Scopes::standard().of_code(leaf.code).map_or("", |scope| scope.collection());
        check
            .record(collection, &leaf.id, record.as_deref(), commitments)
            .map_err(|finding| purges.lock().explain(finding))?;
        report.count_if_late(&leaf.id, seal.sealed_at);
        if record.is_some() { report.records += 1 } else { report.purged += 1 }
    }
    Ok(check.finish()?)
}
