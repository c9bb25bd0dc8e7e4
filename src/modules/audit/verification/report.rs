//! The report of a verification.

use std::collections::BTreeSet;

use bson::DateTime;
use serde::Serialize;

use super::super::proof::{Anchor, Finding, SealHeader};
use crate::platform::{clock::Rfc3339Time, ids::time_of_id};

/// A record that is sealed later than this after the time in its id, ms, is counted as sealed late.
pub const SEALED_WITHIN_MS: i64 = 180_000;

/// Why checking ended early: something was found, or it can't go on.
pub(super) enum Stop<E> {
    Found(Box<Finding>),
    Failed(E),
}

impl<E> From<Finding> for Stop<E> {
    fn from(finding: Finding) -> Self {
        Self::Found(Box::new(finding))
    }
}

/// The scope of a check, and its findings.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The first thing that is wrong; none where everything that was checked is as it was sealed.
    pub finding: Option<Finding>,
    /// Seals that were checked with all their records.
    pub seals: Seals,
    /// Records that were compared with what was sealed.
    pub records: u64,
    /// Records that are gone and are declared purged.
    pub purged: u64,
    /// Of both, those that were sealed more than three minutes after the time in their ids: a sealer was away then, or
    /// somebody put them there later.
    pub sealed_late: u64,
    /// Records that an export left out because they were not sealed yet; none where it does not say.
    pub unsealed: Option<i64>,
    pub keys: BTreeSet<String>,
    /// The seal before the first one, which was believed; none where the chain was checked from its beginning.
    pub trusted: Option<Anchor>,
    /// Number and hash of the last seal that was checked.
    pub anchor: Option<Anchor>,
    /// Checking ended early at this seal, because the limits were reached.
    pub next_seal: Option<i64>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seals {
    pub first: Option<i64>,
    pub last: Option<i64>,
    pub count: u64,
    pub last_sealed_at: Option<Rfc3339Time>,
}

impl Report {
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        self.finding.is_none()
    }

    /// A record was sealed then.
    pub(super) fn count_if_late(&mut self, id: &str, sealed_at: DateTime) {
        let due_ms = sealed_at.timestamp_millis().saturating_sub(SEALED_WITHIN_MS);
        self.sealed_late += u64::from(time_of_id(id).is_some_and(|at| at < due_ms));
    }

    /// A seal was checked to its end.
    pub(super) fn count(&mut self, header: &SealHeader) {
        self.seals.first.get_or_insert(header.number);
        self.seals.last = Some(header.number);
        self.seals.count += 1;
        self.seals.last_sealed_at = Some(Rfc3339Time(header.sealed_at));
        self.anchor = Some(header.into());
        if !self.keys.contains(&header.key_id) {
            self.keys.insert(header.key_id.clone());
        }
    }
}
