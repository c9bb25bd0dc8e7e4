//! Where the sealing of the chain stands, in the process that continues it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bson::RawDocumentBuf;

use super::{known::Known, store::LastSeal};
use crate::{
    modules::audit::proof::{CommitmentKey, Scope, Scopes, SealHeader},
    platform::ids::{first_id_at, time_of_id},
};

/// A transaction commits at most so long after its ids were made: its own time limit and the retries together stay
/// well below.
pub const LOOK_BACK: Duration = Duration::from_secs(120);
const LOOK_BACK_MS: i64 = LOOK_BACK.as_millis() as i64;

/// The chain, and what of the collections is in it.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) last: Option<SealHeader>,
    pub(super) commitments: Arc<CommitmentKey>,
    pub(super) known: Known,
    /// By rule: up to this id everything was read; what is found behind it later was committed late.
    heads: BTreeMap<u8, String>,
    /// Database time, ms, at which the last look back began whose finds are all sealed.
    looked_back_ms: i64,
    /// When to look back again.
    pub(super) look_back_at: Instant,
}

/// Records of one seal to be.
#[derive(Default)]
pub(super) struct Batch {
    /// By rule and id.
    pub(super) records: BTreeMap<(u8, String), RawDocumentBuf>,
    /// Listed as late; off the list once they are sealed.
    pub(super) listed: Vec<String>,
    /// By rule: where reading stands once these are sealed.
    pub(super) heads: BTreeMap<u8, String>,
    /// Rules of which there is more.
    pub(super) full: BTreeSet<u8>,
    /// Database time, ms, at which looking back began, where it met everything.
    pub(super) looked_back_ms: Option<i64>,
}

impl Chain {
    /// Continues behind `last`: reading begins where whoever made it had read everything.
    pub(super) fn behind(last: Option<LastSeal>, commitments: CommitmentKey, now_ms: i64) -> Self {
        // Before the first seal everything there is is new.
        let looked_back_ms = last.as_ref().map_or(0, |last| last.reached_ms).min(now_ms);
        let from_ms = looked_back_ms - LOOK_BACK_MS;
        let heads = Scopes::standard().today().map(|scope| (scope.code(), first_id_at(scope.id_prefix(), from_ms)));
        Self {
            last: last.map(|last| last.header),
            commitments: Arc::new(commitments),
            known: Known::since(i64::MAX),
            heads: heads.collect(),
            looked_back_ms,
            look_back_at: Instant::now(),
        }
    }

    /// Up to where everything of a collection was read.
    pub(super) fn head(&self, scope: &Scope) -> String {
        self.heads.get(&scope.code()).cloned().unwrap_or_else(|| first_id_at(scope.id_prefix(), 0))
    }

    /// From which time on records may be missing in the chain, ms, by whichever clock is behind: the database's may have
    /// been set back, or stand still in another process.
    pub(super) fn low_ms(&self, now_ms: i64, local_ms: i64) -> i64 {
        now_ms.min(local_ms).min(self.looked_back_ms) - LOOK_BACK_MS
    }

    /// The time, ms, from which whoever continues after this batch is sealed has to look back: everything that was
    /// committed before it is in the chain.
    pub(super) fn reached_ms(&self, batch: &Batch) -> i64 {
        let behind = batch.full.iter().map(|code| batch.heads.get(code).and_then(|head| time_of_id(head)).unwrap_or(0));
        behind.fold(batch.looked_back_ms.unwrap_or(self.looked_back_ms), i64::min)
    }

    /// The batch is sealed. What lies behind the heads, and further than anybody looks back, is not asked for again:
    /// catching up with years needs no more memory than a day.
    pub(super) fn go_on(&mut self, batch: &mut Batch) {
        self.heads.append(&mut batch.heads);
        self.looked_back_ms = batch.looked_back_ms.unwrap_or(self.looked_back_ms);
        for (code, head) in &self.heads {
            // Twice as far: a clock that goes back a little makes nobody read the seals again.
            let low_ms = self.looked_back_ms - 2 * LOOK_BACK_MS;
            self.known.forget(*code, time_of_id(head).unwrap_or(0).min(low_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;
    use crate::modules::audit::proof::commitment_key;

    fn chain(looked_back_ms: i64) -> Chain {
        let mut chain = Chain::behind(None, commitment_key(&"0".repeat(64).into()), 0);
        chain.looked_back_ms = looked_back_ms;
        chain
    }

    #[test]
    fn whoever_continues_looks_back_to_where_the_slowest_collection_was_read() {
        let now = DateTime::now().timestamp_millis();
        let mut batch = Batch::default();
        assert_eq!(chain(now - 9).reached_ms(&batch), now - 9, "without a look back the one before counts");
        batch.looked_back_ms = Some(now);
        assert_eq!(chain(now - 9).reached_ms(&batch), now);
        batch.heads.extend([(1, first_id_at("req", 5_000)), (3, first_id_at("evt", 7_000))]);
        assert_eq!(chain(now - 9).reached_ms(&batch), now, "both were read to their ends");
        batch.full.extend([1, 3]);
        assert_eq!(chain(now - 9).reached_ms(&batch), 5_000);
        batch.heads.insert(3, "evt_by_hand".into());
        assert_eq!(chain(now - 9).reached_ms(&batch), 0, "a head without a time says nothing");
    }

    #[test]
    fn what_is_far_behind_is_forgotten_and_what_lies_ahead_is_not() {
        let mut chain = chain(10_000_000);
        chain.known = Known::since(0);
        let (old, ahead) = (first_id_at("evt", 1_000), first_id_at("req", 1_000));
        chain.known.add(3, &old);
        chain.known.add(1, &ahead);
        let mut batch = Batch::default();
        batch.heads.extend([(1, first_id_at("req", 500)), (3, first_id_at("evt", 2_000))]);
        chain.go_on(&mut batch);
        assert!(!chain.known.has(3, &old), "its collection was read past it");
        assert!(chain.known.has(1, &ahead), "its collection was not");
        assert_eq!(chain.low_ms(20_000_000, 20_000_001), 10_000_000 - LOOK_BACK_MS);
        assert_eq!(chain.low_ms(20_000_000, 9_000_000), 9_000_000 - LOOK_BACK_MS);
    }
}
