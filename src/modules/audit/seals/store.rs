//! Queries over seals and what they seal.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use bson::{Document, RawDocument, RawDocumentBuf, doc, raw::cstr, rawdoc};
use futures_util::{StreamExt, TryStreamExt};
use mongodb::{ClientSession, Database, error::Result, options::Hint};

use super::{
    super::proof::{Anchor, Leaf, Scopes, Seal, SealHeader},
    queue::RecordKey,
};
use crate::platform::{
    batch::SEAL_QUEUE,
    ids::time_of_id,
    mongo::{self, Index},
};

/// Seals.
pub const AUDIT_SEALS: &str = "audit_seals";
/// The secret behind commitments, sealed.
pub const AUDIT_KEYS: &str = "audit_keys";
/// Records whose ids are this close in time are looked for together, ms.
const TOGETHER_MS: i64 = 10_000;
/// And farther apart where there would be more questions than this: a backlog of quiet days.
const QUESTIONS_MAX: usize = 8;
/// Records are fetched by so many ids at once.
const FETCH_MAX: usize = 1_000;

/// Reads and appends seals.
#[derive(Clone, Debug)]
pub struct SealStore {
    db: Database,
}

impl SealStore {
    /// Collections of this module.
    pub const COLLECTIONS: &[&str] = &[AUDIT_SEALS, AUDIT_KEYS];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    /// Indexes of this module: the seals by the times that the ids of their records carry.
    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![Index::new(AUDIT_SEALS, "span", doc! { "span.newest": 1, "span.oldest": 1 })]
    }

    /// Appends a seal; false where there is one of its number.
    ///
    /// # Errors
    /// What the driver says; whether it was stored is unknown then.
    pub async fn insert(&self, seal: &Seal) -> Result<bool> {
        match self.db.collection::<RawDocumentBuf>(AUDIT_SEALS).insert_one(stored(seal)?).await {
            Ok(_) => Ok(true),
            Err(error) if mongo::is_duplicate_key(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same, in a transaction, which a seal of the same number fails.
    pub(super) async fn append(&self, session: &mut ClientSession, seal: &Seal) -> Result<()> {
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        seals.insert_one(stored(seal)?).session(session).await.map(drop)
    }

    /// The header of the latest seal.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn last(&self) -> Result<Option<SealHeader>> {
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        // What has no number is no seal; whoever put it there must not stop the sealing. Verification names it.
        let numbered = doc! { "_id": { "$gte": 1_i64, "$type": "long" } };
        let found = seals
            .find_one(numbered)
            .max_time(mongo::READ_TIME_MAX)
            .sort(doc! { "_id": -1 })
            .projection(doc! { "leaves": 0 })
            .await?;
        Ok(found.map(|found| bson::deserialize_from_slice(found.as_bytes())).transpose()?)
    }

    /// Number and hash of the seal of this number; none where there is none that can be read.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) async fn anchor(&self, number: i64) -> Result<Option<Anchor>> {
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        let found = seals
            .find_one(doc! { "_id": number })
            .max_time(mongo::READ_TIME_MAX)
            .projection(doc! { "leaves": 0 })
            .await?;
        let header = found.and_then(|found| bson::deserialize_from_slice::<SealHeader>(found.as_bytes()).ok());
        Ok(header.map(|header| Anchor::from(&header)))
    }

    /// The seal of this number.
    ///
    /// # Errors
    /// What the driver says, also where the seal can't be read.
    pub async fn find(&self, number: i64) -> Result<Option<Seal>> {
        self.db.collection::<Seal>(AUDIT_SEALS).find_one(doc! { "_id": number }).max_time(mongo::READ_TIME_MAX).await
    }

    /// The seal that holds the record of this id; none where it is not sealed (yet).
    ///
    /// # Errors
    /// What the driver says.
    pub async fn find_by_record(&self, id: &str) -> Result<Option<Seal>> {
        let seals = self.db.collection::<Seal>(AUDIT_SEALS);
        seals
            .find_one(around(id))
            .max_time(mongo::READ_TIME_MAX)
            .sort(doc! { "span.newest": 1 })
            .hint(Hint::Name("span".into()))
            .await
    }

    /// Which of these records are sealed, by their ids.
    pub(super) async fn sealed_among(
        &self,
        session: &mut ClientSession,
        records: impl Iterator<Item = &RecordKey>,
    ) -> Result<BTreeSet<String>> {
        let mut timed: Vec<(i64, &str)> =
            records.map(|(_, id)| (time_of_id(id).unwrap_or_default(), id.as_str())).collect();
        timed.sort_unstable();
        let mut sealed = BTreeSet::new();
        // Some that were committed late must not lead through all the seals in between.
        let mut gaps: Vec<i64> = timed.windows(2).map(|of| of[1].0 - of[0].0).collect();
        gaps.sort_unstable_by(|a, b| b.cmp(a));
        let apart = gaps.get(QUESTIONS_MAX - 1).map_or(TOGETHER_MS, |gap| TOGETHER_MS.max(*gap));
        for together in timed.chunk_by(|(before, _), (at, _)| at - before <= apart) {
            let (Some((oldest, _)), Some((newest, _))) = (together.first(), together.last()) else { continue };
            let ids: HashSet<&str> = together.iter().map(|(_, id)| *id).collect();
            let named: Vec<&str> = ids.iter().copied().collect();
            let around = doc! { "span.newest": { "$gte": oldest }, "span.oldest": { "$lte": newest }, "leaves.ids": { "$in": named } };
            let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
            let found = seals.find(around).hint(Hint::Name("span".into())).projection(doc! { "leaves.ids": 1 });
            let mut found = found.session(&mut *session).await?;
            let mut stream = found.stream(session);
            while let Some(seal) = stream.next().await.transpose()? {
                for id in seal.get_document("leaves").and_then(|leaves| leaves.get_array("ids")).into_iter().flatten() {
                    sealed.extend(id?.as_str().filter(|id| ids.contains(id)).map(ToOwned::to_owned));
                }
            }
        }
        Ok(sealed)
    }

    /// About how many records wait for their seal.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn queue_depth(&self) -> Result<u64> {
        self.db.collection::<Document>(SEAL_QUEUE).estimated_document_count().max_time(mongo::READ_TIME_MAX).await
    }

    /// How long the record that has waited longest has waited for its seal at `now_ms`; zero where none waits.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn queue_age_ms(&self, now_ms: i64) -> Result<i64> {
        let queue = self.db.collection::<Document>(SEAL_QUEUE);
        let oldest = queue.find_one(doc! {}).sort(doc! { "_id": 1 }).projection(doc! { "at": 1 });
        let oldest = oldest.max_time(mongo::READ_TIME_MAX).await?;
        let at_ms = oldest.and_then(|entry| entry.get_datetime("at").ok().map(|at| at.timestamp_millis()));
        Ok(at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms).max(0)))
    }

    /// The latest time (ms) that the id of a sealed record carries; 0 where nothing is sealed.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn newest_ms(&self) -> Result<i64> {
        let seals = self.db.collection::<Document>(AUDIT_SEALS);
        let found = seals
            .find_one(doc! { "span.newest": { "$type": "long" } })
            .max_time(mongo::READ_TIME_MAX)
            .sort(doc! { "span.newest": -1 });
        let found = found.hint(Hint::Name("span".into())).projection(doc! { "span": 1 }).await?;
        Ok(found.and_then(|seal| seal.get_document("span").ok()?.get_i64("newest").ok()).unwrap_or(0))
    }

    /// At most `take` headers whose numbers follow `after`, in their order.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn list_headers(&self, filter: Document, ascending: bool, take: i64) -> Result<Vec<SealHeader>> {
        let seals = self.db.collection::<SealHeader>(AUDIT_SEALS);
        let found = seals.find(filter).sort(doc! { "_id": if ascending { 1 } else { -1 } });
        found.projection(doc! { "leaves": 0 }).limit(take).await?.try_collect().await
    }

    /// The records of `leaves` as they are stored, in the order of the leaves; none where one is gone.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn records<L: Borrow<Leaf>>(&self, leaves: &[L]) -> Result<Vec<Option<RawDocumentBuf>>> {
        let mut by_collection: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let leaf_at = |position: usize| -> &Leaf { leaves[position].borrow() };
        for position in 0..leaves.len() {
            if let Some(scope) = Scopes::standard().of_code(leaf_at(position).code) {
                by_collection.entry(scope.collection()).or_default().push(position);
            }
        }
        let mut records: Vec<Option<RawDocumentBuf>> = vec![None; leaves.len()];
        for (collection, positions) in by_collection {
            for chunk in positions.chunks(FETCH_MAX) {
                let (mut wanted, mut again) = (HashMap::with_capacity(chunk.len()), Vec::new());
                for &position in chunk {
                    // Seals that were forged may name a record twice.
                    if let Some(before) = wanted.insert(leaf_at(position).id.as_str(), position) {
                        again.push((before, position));
                    }
                }
                let ids: Vec<&str> = wanted.keys().copied().collect();
                let stored = self.db.collection::<RawDocumentBuf>(collection);
                let mut found = stored.find(doc! { "_id": { "$in": ids } }).batch_size(FETCH_MAX as u32).await?;
                while let Some(record) = found.try_next().await? {
                    if let Some(&position) = id_of(&record).and_then(|id| wanted.get(id)) {
                        records[position] = Some(record);
                    }
                }
                for (before, position) in again.into_iter().rev() {
                    records[before] = records[position].clone();
                }
            }
        }
        Ok(records)
    }
}

/// A seal as it is stored. Beside it stands, unsigned, the span of times that its records' ids carry: where to look for a
/// record. Looking elsewhere finds nothing, and never something else.
fn stored(seal: &Seal) -> Result<RawDocumentBuf> {
    let mut stored = bson::serialize_to_raw_document_buf(seal)?;
    let times = || seal.leaves.iter().map(|leaf| time_of_id(&leaf.id).unwrap_or_default());
    let (oldest, newest) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
    stored.append(cstr!("span"), rawdoc! { "oldest": oldest, "newest": newest });
    Ok(stored)
}

/// The seal of this record, by the index over spans of time.
fn around(id: &str) -> Document {
    let at = time_of_id(id).unwrap_or_default();
    doc! { "span.newest": { "$gte": at }, "span.oldest": { "$lte": at }, "leaves.ids": id }
}

/// `_id` of a record, where it has the shape of ours: what has another one is none of ours and is not sealed.
pub(super) fn id_of(record: &RawDocument) -> Option<&str> {
    record.get_str("_id").ok().filter(|id| time_of_id(id).is_some())
}
