//! Purge records: audit events that say which records of a seal are gone by rule.

use std::collections::{BTreeSet, HashMap, HashSet};

use bson::{RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};
use serde::Deserialize;

use super::super::{AUDIT_EVENTS, proof::Sealed, retention::PURGED};

/// What purge records are about; `resourceId` is the number of the seal.
const RESOURCE: &str = "audit_seal";

/// One purge record, as far as it counts here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PurgeRecord {
    action: String,
    resource_type: String,
    resource_id: String,
    outcome: String,
    actor: PurgeActor,
    after: PurgeScope,
}

#[derive(Deserialize)]
struct PurgeActor {
    kind: String,
}

#[derive(Deserialize)]
struct PurgeScope {
    collection: String,
    kept: Vec<i64>,
}

/// What is declared purged.
#[derive(Debug, Default)]
pub(super) struct Purges {
    /// By seal and collection, the records that stay. Of many purge records the one that keeps least counts: a record is
    /// purged if any of them does not keep it.
    kept: HashMap<(i64, String), HashSet<i64>>,
}

impl Purges {
    /// Counts an audit event in, if it is a purge record.
    pub(super) fn add(&mut self, event: &RawDocument) {
        let Ok(record) = bson::deserialize_from_slice::<PurgeRecord>(event.as_bytes()) else { return };
        let means_it = (&*record.action, &*record.resource_type, &*record.outcome, &*record.actor.kind)
            == (PURGED, RESOURCE, "done", "system");
        let (true, Ok(seal)) = (means_it, record.resource_id.parse()) else { return };
        let kept: HashSet<i64> = record.after.kept.into_iter().collect();
        self.kept
            .entry((seal, record.after.collection))
            .and_modify(|before| before.retain(|seq| kept.contains(seq)))
            .or_insert(kept);
    }

    /// Records of earlier seals are not asked for any more.
    pub(super) fn forget_before(&mut self, seal: i64) {
        self.kept.retain(|(of, _), _| *of >= seal);
    }

    /// Whether this record was purged by rule.
    pub(super) fn cover(&self, seal: i64, collection: &str, seq: i64) -> bool {
        self.kept.get(&(seal, collection.to_owned())).is_some_and(|kept| !kept.contains(&seq))
    }

    /// The same, of a record as the verifier names it.
    pub(super) fn cover_sealed(&self, sealed: &Sealed<'_>) -> bool {
        self.cover(sealed.seal, sealed.collection, sealed.seq)
    }
}

/// Audit events that may be purge records of these seals.
pub(super) async fn purge_records(db: &Database, seals: &BTreeSet<i64>) -> Result<Vec<RawDocumentBuf>> {
    let numbers: Vec<String> = seals.iter().map(ToString::to_string).collect();
    let wanted = doc! { "resourceId": { "$in": numbers }, "action": PURGED };
    let events = db.collection::<RawDocumentBuf>(AUDIT_EVENTS);
    events.find(wanted).hint(Hint::Name("resource".into())).await?.try_collect().await
}
