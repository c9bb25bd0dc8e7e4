//! Queries over seals.

use std::collections::{BTreeSet, HashSet};

use bson::{DateTime, Document, RawDocument, RawDocumentBuf, doc, raw::cstr, rawdoc};
use futures_util::{StreamExt, TryStreamExt};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
    options::Hint,
};

use super::super::proof::{Leaf, Scopes, Seal, SealHeader};
use crate::platform::{
    batch::SEAL_QUEUE,
    ids::time_of_id,
    mongo::{self, Index},
};

pub const AUDIT_SEALS: &str = "audit_seals";
/// The secret behind commitments, sealed.
pub const AUDIT_KEYS: &str = "audit_keys";
/// Records whose ids are this close in time are looked for together, ms.
const TOGETHER_MS: i64 = 10_000;
/// And farther apart where there would be more questions than this: a backlog of quiet days.
const QUESTIONS_MAX: usize = 8;

/// A record to be sealed: the code of its rule, and its id.
pub(super) type RecordKey = (u8, String);

/// Why there is no next seal or record.
#[derive(Debug)]
pub enum ReadError {
    Database(Error),
    /// There is a seal, but it can't be read.
    Seal(String),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => error,
            ReadError::Seal(detail) => Self::custom(format!("a seal can't be read: {detail}")),
        }
    }
}

pub(super) fn read_seal(stored: &RawDocument) -> std::result::Result<Seal, ReadError> {
    bson::deserialize_from_slice(stored.as_bytes()).map_err(|error| ReadError::Seal(error.to_string()))
}

#[derive(Clone, Debug)]
pub struct SealStore {
    db: Database,
}

impl SealStore {
    pub const COLLECTIONS: &[&str] = &[AUDIT_SEALS, AUDIT_KEYS];

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

    /// Whether the chain begins with a seal as unreleased versions stored them.
    pub async fn has_unreleased_seals(&self) -> Result<bool> {
        let seals = self.db.collection::<Document>(AUDIT_SEALS);
        let first = seals.find_one(doc! {}).sort(doc! { "_id": 1 }).projection(doc! { "signature": 1 });
        let first = first.max_time(mongo::READ_TIME_MAX).await?;
        Ok(first.is_some_and(|first| first.get_binary_generic("signature").is_ok()))
    }

    /// The header of the latest seal.
    ///
    /// # Errors
    /// What the driver says, also where the seal can't be read.
    pub async fn last(&self) -> Result<Option<SealHeader>> {
        // What has no number is no seal; whoever put it there must not stop the sealing. Verification names it.
        Ok(self.list_headers(doc! { "_id": { "$gte": 1_i64, "$type": "long" } }, false, 1).await?.pop())
    }

    /// The header of the seal of this number; none where there is none that can be read.
    pub async fn readable_header(&self, number: i64) -> Result<Option<SealHeader>> {
        self.first_readable(doc! { "$eq": number }, 1).await
    }

    /// Number of the first seal that was sealed at `time` or later, by what the seals say; the number after the last seal where there is
    /// none. Later seals are sealed later: halving finds it among millions with some twenty look-ups. Those that can't be read are passed
    /// over.
    pub async fn first_since(&self, time: DateTime) -> Result<i64> {
        let last = self.first_readable(doc! { "$gte": 1_i64 }, -1).await?;
        let (mut low, mut high) = (1, last.map_or(1, |last| last.number.saturating_add(1)));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_readable(doc! { "$gte": middle, "$lt": high }, 1).await? {
                Some(seal) if seal.sealed_at < time => low = seal.number + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The first header that can be read of the seals whose numbers are like this, in this direction.
    async fn first_readable(&self, numbers: Document, direction: i32) -> Result<Option<SealHeader>> {
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        let found = seals
            .find(doc! { "_id": numbers, "sealedAt": { "$type": "string" } })
            .sort(doc! { "_id": direction })
            .projection(doc! { "leaves": 0 });
        let mut found = found.batch_size(1).max_time(mongo::READ_TIME_MAX).await?;
        while found.advance().await? {
            if let Ok(header) = bson::deserialize_from_slice(found.current().as_bytes()) {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    pub async fn find(&self, number: i64) -> std::result::Result<Option<Seal>, ReadError> {
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        let stored = seals.find_one(doc! { "_id": number }).max_time(mongo::READ_TIME_MAX).await?;
        stored.map(|stored| read_seal(&stored)).transpose()
    }

    /// The seal that holds the record of this id; none where it is not sealed (yet).
    pub async fn find_by_record(&self, id: &str) -> Result<Option<Seal>> {
        let seals = self.db.collection::<Seal>(AUDIT_SEALS);
        seals
            .find_one(around(id))
            .max_time(mongo::READ_TIME_MAX)
            .sort(doc! { "span.newest": 1 })
            .hint(Hint::Name("span".into()))
            .await
    }

    /// The records among these that are sealed, by their ids.
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
    pub async fn queue_depth(&self) -> Result<u64> {
        self.db.collection::<Document>(SEAL_QUEUE).estimated_document_count().max_time(mongo::READ_TIME_MAX).await
    }

    /// How long the record that has waited longest has waited for its seal at `now_ms`; zero where none waits.
    pub async fn queue_age_ms(&self, now_ms: i64) -> Result<i64> {
        let queue = self.db.collection::<Document>(SEAL_QUEUE);
        let oldest = queue.find_one(doc! {}).sort(doc! { "_id": 1 }).projection(doc! { "at": 1 });
        let oldest = oldest.max_time(mongo::READ_TIME_MAX).await?;
        let at_ms = oldest.and_then(|entry| entry.get_datetime("at").ok().map(|at| at.timestamp_millis()));
        Ok(at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms).max(0)))
    }

    /// The latest time (ms) that the id of a sealed record carries; 0 where nothing is sealed.
    pub async fn newest_ms(&self) -> Result<i64> {
        let seals = self.db.collection::<Document>(AUDIT_SEALS);
        let found = seals
            .find_one(doc! { "span.newest": { "$type": "long" } })
            .max_time(mongo::READ_TIME_MAX)
            .sort(doc! { "span.newest": -1 });
        let found = found.hint(Hint::Name("span".into())).projection(doc! { "span": 1 }).await?;
        Ok(found.and_then(|seal| seal.get_document("span").ok()?.get_i64("newest").ok()).unwrap_or(0))
    }

    /// At most `take` headers of the seals that match, in the order of their numbers.
    pub async fn list_headers(&self, filter: Document, ascending: bool, take: i64) -> Result<Vec<SealHeader>> {
        let seals = self.db.collection::<SealHeader>(AUDIT_SEALS);
        let found = seals.find(filter).sort(doc! { "_id": if ascending { 1 } else { -1 } });
        found.projection(doc! { "leaves": 0 }).limit(take).max_time(mongo::READ_TIME_MAX).await?.try_collect().await
    }

    /// The record of `leaf` as it is stored; none where it is gone.
    pub async fn record(&self, leaf: &Leaf) -> Result<Option<RawDocumentBuf>> {
        let Some(scope) = Scopes::standard().of_code(leaf.code) else { return Ok(None) };
        let records = self.db.collection::<RawDocumentBuf>(scope.collection());
        records.find_one(doc! { "_id": &leaf.id }).max_time(mongo::READ_TIME_MAX).await
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
