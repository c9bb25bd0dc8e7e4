//! Reading seals and records again, and naming the first thing that is not as it was sealed.
//!
//! The verifier is fed the seals in their order, and after each its records in the order of its leaves. It remembers
//! the seal before and the anchors, nothing else. A seal's signature is checked before anything that the seal says.

use std::collections::{BTreeMap, BTreeSet};

use bson::RawDocument;
use serde::{Deserialize, Serialize};

use super::{
    commitment::SaltSource,
    hash::{Bytes, Hash},
    keys::{NotSigned, PublicKeys},
    leaf::{Leaf, leaf_hash},
    scope::{Record, Scopes},
    seal::{Seal, SealHeader, counts_of, names_of, root_of, sum},
};
use crate::platform::ids::is_id;

/// Records are met twice where their ids carry a time of so long before their second seal, ms: twice as long as a sealer
/// looks back, and more.
const RECENT_MS: i64 = 300_000;
/// As many as come in that time where much is written; some 40 MB.
const RECENT_MAX: usize = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    SealMissing,
    /// Its header is not what its key signed.
    SealForged,
    /// Its leaves are not those that were signed, or it can't be read.
    SealChanged,
    /// It is signed by a key that is not among the given.
    UnknownKey,
    /// Signed, but it does not continue the seal before.
    ChainBroken,
    RecordChanged,
    /// A record is gone and was not declared purged.
    RecordRemoved,
    RecordInserted,
    /// A record was sealed under another number than the one it has in the seal.
    RecordReordered,
    /// An anchor names a seal that is not there, or is another.
    TailCut,
    RecordDoubled,
    /// An exported file is not what its manifest says.
    ExportChanged,
}

/// The first thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("seal {seal}: {detail}")]
pub struct Finding {
    /// Number of the seal, as it should be.
    pub seal: i64,
    /// Number of the record in the whole chain, where it is about one that is sealed.
    pub seq: Option<i64>,
    pub collection: Option<String>,
    pub record_id: Option<String>,
    pub kind: FindingKind,
    pub detail: String,
}

impl Finding {
    /// One that is about a seal, or about what ends with it, and not about a record.
    pub fn of_seal(seal: i64, kind: FindingKind, detail: impl Into<String>) -> Self {
        Self { seal, seq: None, collection: None, record_id: None, kind, detail: detail.into() }
    }
}

/// That at some time a seal of this hash was the last one; kept where nobody who can write the database can change it.
/// One line of JSON: `{"number":12,"headerHash":"<hex>"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anchor {
    pub number: i64,
    pub header_hash: Hash,
}

impl From<&SealHeader> for Anchor {
    fn from(header: &SealHeader) -> Self {
        Self { number: header.number, header_hash: header.hash() }
    }
}

/// One record, as a seal names it.
#[derive(Clone, Copy, Debug)]
pub struct NamedRecord<'a> {
    pub seal: i64,
    /// Number of the record in the whole chain.
    pub seq: i64,
    pub collection: &'a str,
    pub leaf: &'a Leaf,
    /// Its time, see [`Leaf::at_ms`].
    pub at_ms: i64,
}

/// Checks a chain of seals. See the module's words for how it is fed.
pub struct ChainVerifier<'a> {
    keys: &'a PublicKeys,
    scopes: &'a Scopes,
    /// Those that no seal has met yet, number and hash.
    anchors: BTreeSet<(i64, Hash)>,
    purged: Box<dyn Fn(&NamedRecord<'_>) -> bool + Send + Sync + 'a>,
    last: Last,
    recent: Recent,
}

/// Records that were sealed of a short time, by the times that ids carry: a sealer that goes wrong seals twice what is young. How
/// much that is does not grow with the chain.
#[derive(Default)]
struct Recent(BTreeSet<(u128, u8)>);

impl Recent {
    /// The first leaf whose record was met before.
    fn first_met<'s>(&mut self, seal: &'s Seal) -> Option<&'s Leaf> {
        let from_ms = u128::try_from(seal.sealed_at.timestamp_millis() - RECENT_MS).unwrap_or_default();
        let met =
            seal.leaves.iter().find(|leaf| bits_of_id(&leaf.id).is_some_and(|id| !self.0.insert((id, leaf.code))));
        while self.0.len() > RECENT_MAX || self.0.first().is_some_and(|(id, _)| id >> 80 < from_ms) {
            self.0.pop_first();
        }
        met
    }
}

/// The seal that the next one has to continue.
struct Last {
    number: i64,
    hash: Hash,
    next_seq: i64,
    totals: BTreeMap<String, i64>,
}

impl Last {
    fn of(header: &SealHeader, hash: Hash) -> Self {
        Self { number: header.number, hash, next_seq: header.next_seq(), totals: header.totals.clone() }
    }
}

impl std::fmt::Debug for ChainVerifier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("last", &self.last.number).finish_non_exhaustive()
    }
}

impl<'a> ChainVerifier<'a> {
    /// A verifier of a chain from its first seal on. `purged` says which records were purged by rule.
    pub fn new(
        keys: &'a PublicKeys,
        scopes: &'a Scopes,
        anchors: impl IntoIterator<Item = Anchor>,
        purged: impl Fn(&NamedRecord<'_>) -> bool + Send + Sync + 'a,
    ) -> Self {
        let last = Last { number: 0, hash: Hash::ZERO, next_seq: 1, totals: BTreeMap::new() };
        let anchors = anchors.into_iter().map(|anchor| (anchor.number, anchor.header_hash)).collect();
        Self { keys, scopes, anchors, purged: Box::new(purged), last, recent: Recent::default() }
    }

    /// The same verifier, to go on after a seal that was checked before. Anchors before that say nothing then.
    #[must_use]
    pub fn after(mut self, trusted: &SealHeader) -> Self {
        let hash = trusted.hash();
        self.last = Last::of(trusted, hash);
        self.forget_anchors(trusted.number, hash);
        self
    }

    /// The same verifier, to begin with this seal: what it says of those before is believed.
    #[must_use]
    pub fn from(mut self, first: &SealHeader) -> Self {
        let mut totals = first.totals.clone();
        for (name, count) in &first.counts {
            if let Some(total) = totals.get_mut(name) {
                *total = total.saturating_sub(*count);
            }
        }
        totals.retain(|_, total| *total != 0);
        let number = first.number.saturating_sub(1);
        self.last = Last { number, hash: first.previous, next_seq: first.first_seq, totals };
        self.forget_anchors(number, first.previous);
        self
    }

    /// Those before this seal say nothing, and this one's was met.
    fn forget_anchors(&mut self, number: i64, hash: Hash) {
        self.anchors = self.anchors.split_off(&(number, Hash::ZERO));
        self.anchors.remove(&(number, hash));
    }

    /// Checks the next seal. Its records are checked with what this gives.
    pub fn seal<'s>(&'s mut self, seal: &'s Seal) -> Result<SealCheck<'s, 'a>, Finding> {
        let hash = seal.hash();
        self.check_header(seal, &hash)?;
        let suspicion = self.check_leaves(seal)?;
        if let (None, Some(leaf)) = (&suspicion, self.recent.first_met(seal)) {
            return Err(Finding {
                collection: self.scopes.of_code(leaf.code).map(|scope| scope.collection().to_owned()),
                record_id: Some(leaf.id.clone()),
                ..Finding::of_seal(seal.number, FindingKind::RecordDoubled, "a record was sealed before")
            });
        }
        let next = Last::of(seal, hash);
        Ok(SealCheck { verifier: self, seal, next, position: 0, suspicion })
    }

    /// The finding that the next seal can't even be read.
    #[must_use]
    pub fn unreadable_seal(&self, detail: &str) -> Finding {
        Finding::of_seal(self.last.number + 1, FindingKind::SealChanged, format!("it can't be read: {detail}"))
    }

    /// The finding that a record which should be sealed by now is in no seal.
    #[must_use]
    pub fn unsealed(&self, collection: &str, record_id: &str) -> Finding {
        Finding {
            seal: self.last.number,
            seq: None,
            collection: Some(collection.into()),
            record_id: Some(record_id.into()),
            kind: FindingKind::RecordInserted,
            detail: "a record is in no seal up to this one".into(),
        }
    }

    /// The finding that a record was removed while it waited for its seal.
    #[must_use]
    pub fn removed_unsealed(&self, collection: &str, record_id: &str) -> Finding {
        Finding {
            kind: FindingKind::RecordRemoved,
            detail: "a record that was to be sealed after this one is gone".into(),
            ..self.unsealed(collection, record_id)
        }
    }

    /// After the last seal: are the anchored ones there? Gives the anchor of the last seal, none where there was no seal.
    pub fn finish(&self) -> Result<Option<Anchor>, Finding> {
        let last = Anchor { number: self.last.number, header_hash: self.last.hash };
        match self.anchors.first() {
            Some((anchored, _)) => {
                let detail = format!("an anchor names a seal {anchored} that is not among those up to {}", last.number);
                Err(Finding::of_seal(last.number + 1, FindingKind::TailCut, detail))
            }
            None => Ok((last.number > 0).then_some(last)),
        }
    }

    fn check_header(&self, header: &SealHeader, hash: &Hash) -> Result<(), Finding> {
        let expected = self.last.number + 1;
        let found = |kind, detail: String| Err(Finding::of_seal(expected, kind, detail));
        match header.check_signature(self.keys) {
            Err(NotSigned::UnknownKey) => {
                return found(FindingKind::UnknownKey, format!("the key {:?} is not known", header.key_id));
            }
            Err(NotSigned::Wrong) => {
                return found(FindingKind::SealForged, format!("the key {} did not sign this header", header.key_id));
            }
            Ok(()) => {}
        }
        if header.number > expected {
            return found(FindingKind::SealMissing, format!("it is not there; seal {} follows", header.number));
        }
        if header.number < expected {
            return found(FindingKind::ChainBroken, format!("seal {} stands in its place", header.number));
        }
        if let Some(wrong) = self.break_at(header) {
            return found(FindingKind::ChainBroken, format!("its {wrong} does not continue the seal before"));
        }
        let mut anchored = self.anchors.range((expected, Hash::ZERO)..=(expected, Bytes([u8::MAX; 32])));
        if anchored.any(|(_, anchored)| anchored != hash) {
            return found(FindingKind::TailCut, "an anchor names another seal of this number".into());
        }
        Ok(())
    }

    /// The field that does not continue the seal before.
    fn break_at(&self, header: &SealHeader) -> Option<&'static str> {
        let continues = [
            ("previous", header.previous == self.last.hash),
            ("firstSeq", header.first_seq == self.last.next_seq),
            ("counts", header.counts.values().all(|&count| count > 0)),
            ("totals", header.totals == sum(Some(&self.last.totals), &header.counts)),
        ];
        continues.into_iter().find(|(_, continues)| !continues).map(|(name, _)| name)
    }

    /// Whether these are the leaves of the header. Where their number is right but they are not, the records may yet
    /// tell what happened: a suspicion.
    fn check_leaves(&self, seal: &Seal) -> Result<Option<Finding>, Finding> {
        let changed = |detail: String| Finding::of_seal(seal.number, FindingKind::SealChanged, detail);
        let counts = counts_of(&seal.leaves, self.scopes)
            .map_err(|code| changed(format!("a leaf was made by rule {code}, which is not known")))?;
        if counts != seal.counts {
            return Err(changed("its leaves are not as many as its counts say".into()));
        }
        if root_of(&seal.leaves) != seal.root {
            return Ok(Some(changed("the hashes of its leaves are not those of its root".into())));
        }
        if names_of(&seal.leaves) != seal.names {
            return Ok(Some(changed("the ids of its leaves are not those that were sealed".into())));
        }
        Ok(None)
    }
}

/// The check of one seal's records. Nothing is checked for good before [`SealCheck::finish`].
#[must_use]
pub struct SealCheck<'s, 'a> {
    verifier: &'s mut ChainVerifier<'a>,
    seal: &'s Seal,
    next: Last,
    position: usize,
    suspicion: Option<Finding>,
}

impl std::fmt::Debug for SealCheck<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealCheck").field("seal", &self.seal.number).field("position", &self.position).finish()
    }
}

impl SealCheck<'_, '_> {
    /// Checks the record of the next leaf: as it is stored, or none where it is not there.
    pub fn record<S: SaltSource>(
        &mut self,
        collection: &str,
        id: &str,
        document: Option<&RawDocument>,
        salts: &S,
    ) -> Result<(), Finding>
    where
        S::Error: ToString,
    {
        let position = self.position;
        let Some(leaf) = self.seal.leaves.get(position) else {
            let finding = self.verifier.unsealed(collection, id);
            return Err(Finding { seal: self.seal.number, ..finding });
        };
        let Some(scope) = self.verifier.scopes.of_code(leaf.code) else {
            return Err(self.of_leaf(FindingKind::SealChanged, "its rule is not known"));
        };
        if (scope.collection(), leaf.id.as_str()) != (collection, id) {
            return Err(self.of_leaf(FindingKind::RecordReordered, "another record was given in its place"));
        }
        self.position += 1;
        let Some(document) = document else {
            let seq = self.seal.first_seq + position as i64;
            let at_ms = leaf.at_ms(self.seal.sealed_at);
            if (self.verifier.purged)(&NamedRecord { seal: self.seal.number, seq, collection, leaf, at_ms }) {
                return Ok(());
            }
            return Err(self.suspected_or(position, FindingKind::RecordRemoved, "the record is gone"));
        };
        let record = Record { scope, id, document };
        match leaf_hash(&record, salts) {
            Ok(hash) if hash == leaf.hash => Ok(()),
            Ok(_) => Err(self.suspected_or(position, FindingKind::RecordChanged, "the record is not what was sealed")),
            Err(error) => Err(self.suspected_or(position, FindingKind::RecordChanged, &error.to_string())),
        }
    }

    /// After the last record of the seal.
    ///
    /// # Errors
    /// That the seal was changed, where no record told more; or that records were left out.
    pub fn finish(self) -> Result<(), Finding> {
        if let Some(suspicion) = self.suspicion {
            return Err(suspicion);
        }
        if self.position < self.seal.leaves.len() {
            return Err(self.of_leaf(FindingKind::RecordRemoved, "the record was not given"));
        }
        self.verifier.anchors.remove(&(self.next.number, self.next.hash));
        self.verifier.last = self.next;
        Ok(())
    }

    /// A leaf of a seal that was changed itself says nothing about the record.
    fn suspected_or(&self, position: usize, kind: FindingKind, detail: &str) -> Finding {
        self.suspicion.clone().unwrap_or_else(|| self.at(position, kind, detail))
    }

    fn of_leaf(&self, kind: FindingKind, detail: &str) -> Finding {
        self.suspected_or(self.position, kind, detail)
    }

    fn at(&self, position: usize, kind: FindingKind, detail: &str) -> Finding {
        let leaf = &self.seal.leaves[position];
        let scope = self.verifier.scopes.of_code(leaf.code);
        Finding {
            seal: self.seal.number,
            seq: Some(self.seal.first_seq + position as i64),
            collection: scope.map(|scope| scope.collection().to_owned()),
            record_id: Some(leaf.id.clone()),
            kind,
            detail: detail.into(),
        }
    }
}

/// The 128 bits of an id of our shape.
fn bits_of_id(id: &str) -> Option<u128> {
    let (prefix, bits) = id.split_once('_')?;
    if is_id(prefix, id) { u128::from_str_radix(bits, 16).ok() } else { None }
}
