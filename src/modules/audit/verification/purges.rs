//! Purge records: audit events that say which records of a seal are gone by rule. Only what a known key has signed counts.

use std::collections::{BTreeSet, HashMap};

use bson::{RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};

use super::super::{
    AUDIT_EVENTS,
    proof::{Finding, FindingKind, NamedRecord, PURGED, PublicKeys, Purge},
    retention::RecordClass,
};

/// Purge records that do not count are named for so many seals; whoever can write the database can make any number.
const REFUSED_MAX: usize = 10_000;

/// Records that are declared purged, and declarations that don't count.
#[derive(Debug, Default)]
pub(super) struct Purges {
    /// By seal and collection; of those that another one covers wholly none is kept, so there is usually one.
    declared: HashMap<(i64, String), Vec<Purge>>,
    /// Why one about this seal and collection does not count.
    refused: HashMap<(i64, String), String>,
}

impl Purges {
    /// Counts an audit event in, if it is a purge record.
    pub(super) fn add(&mut self, event: &RawDocument, keys: &PublicKeys) {
        match Purge::read(event, keys) {
            None => {}
            Some(Ok(purge)) => self.declare(purge),
            Some(Err(refused)) => self.refuse((refused.seal, refused.collection.clone()), refused.to_string()),
        }
    }

    /// Those that were read elsewhere count too.
    pub(super) fn extend(&mut self, others: Self) {
        others.declared.into_values().flatten().for_each(|purge| self.declare(purge));
        others.refused.into_iter().for_each(|(place, reason)| self.refuse(place, reason));
    }

    fn declare(&mut self, purge: Purge) {
        if !may_be_purged(&purge.collection) {
            let reason = format!("a purge record names {:?}, of which nothing is ever purged", purge.collection);
            return self.refuse((purge.seal, purge.collection), reason);
        }
        let of_place = self.declared.entry((purge.seal, purge.collection.clone())).or_default();
        if !of_place.iter().any(|other| other.covers_all_of(&purge)) {
            of_place.retain(|other| !purge.covers_all_of(other));
            of_place.push(purge);
        }
    }

    fn refuse(&mut self, place: (i64, String), reason: String) {
        if self.refused.len() < REFUSED_MAX {
            self.refused.entry(place).or_insert(reason);
        }
    }

    /// Records of earlier seals are not asked for any more.
    pub(super) fn forget_before(&mut self, seal: i64) {
        self.declared.retain(|(of, _), _| *of >= seal);
        self.refused.retain(|(of, _), _| *of >= seal);
    }

    /// Whether the record of this number and time (ms) was purged by rule.
    pub(super) fn cover(&self, seal: i64, collection: &str, seq: i64, at_ms: i64) -> bool {
        let of_place = self.declared.get(&(seal, collection.to_owned()));
        of_place.is_some_and(|of_place| of_place.iter().any(|purge| purge.covers(seq, at_ms)))
    }

    /// The same, of a record as the verifier names it.
    pub(super) fn cover_sealed(&self, sealed: &NamedRecord<'_>) -> bool {
        self.cover(sealed.seal, sealed.collection, sealed.seq, sealed.at_ms)
    }

    /// A finding that a record is gone, with the purge record that says so and does not count.
    pub(super) fn explain(&self, mut finding: Finding) -> Finding {
        if finding.kind == FindingKind::RecordRemoved
            && let Some(collection) = &finding.collection
            && let Some(reason) = self.refused.get(&(finding.seal, collection.clone()))
        {
            finding.detail = format!("{}; {reason}", finding.detail);
        }
        finding
    }
}

/// Whether a rule removes records of this collection.
fn may_be_purged(collection: &str) -> bool {
    RecordClass::ALL.iter().any(|class| class.collections().contains(&collection))
}

/// The declarations of audit events about these seals.
pub(super) async fn purges_of(db: &Database, seals: &BTreeSet<i64>, keys: &PublicKeys) -> Result<Purges> {
    let numbers: Vec<String> = seals.iter().map(ToString::to_string).collect();
    let wanted = doc! { "resourceId": { "$in": numbers }, "action": PURGED };
    let events = db.collection::<RawDocumentBuf>(AUDIT_EVENTS);
    let mut found = events.find(wanted).hint(Hint::Name("resource".into())).await?;
    let mut purges = Purges::default();
    while let Some(event) = found.try_next().await? {
        purges.add(&event, keys);
    }
    Ok(purges)
}
