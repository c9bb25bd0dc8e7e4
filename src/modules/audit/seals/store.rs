//! Queries over seals and what they seal.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
};

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc, raw::cstr, rawdoc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};

use super::super::proof::{Anchor, Hash, Leaf, Scopes, Seal, SealHeader};
use crate::platform::{
    batch::LATE_RECORDS,
    ids::time_of_id,
    mongo::{self, Index},
};

/// Seals.
pub const AUDIT_SEALS: &str = "audit_seals";
/// The secret behind commitments, sealed.
pub const AUDIT_KEYS: &str = "audit_keys";
/// The lease of who seals.
pub const AUDIT_SEALER: &str = "audit_sealer";
/// Records are fetched by so many ids at once.
const FETCH_MAX: usize = 1_000;

/// The latest seal, and how far whoever made it had read.
#[derive(Clone, Debug)]
pub(super) struct LastSeal {
    /// The seal.
    pub(super) header: SealHeader,
    /// Everything that was committed before this time (ms) is sealed. Not signed: a wrong one leaves records unsealed, and
    /// verification names them.
    pub(super) reached_ms: i64,
}

/// Reads and appends seals.
#[derive(Clone, Debug)]
pub struct SealStore {
    db: Database,
}

impl SealStore {
    /// Collections of this module.
    pub const COLLECTIONS: &[&str] = &[AUDIT_SEALS, AUDIT_KEYS, AUDIT_SEALER, LATE_RECORDS];

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

    /// Appends a seal that was made when everything before it was sealed; false where there is one of its number.
    ///
    /// # Errors
    /// What the driver says; whether it was stored is unknown then.
    pub async fn insert(&self, seal: &Seal) -> Result<bool> {
        self.append(seal, seal.sealed_at.timestamp_millis()).await
    }

    /// The same, of a seal behind which whoever continues has to look back from `reached_ms`.
    pub(super) async fn append(&self, seal: &Seal, reached_ms: i64) -> Result<bool> {
        let mut stored = bson::serialize_to_raw_document_buf(seal)?;
        let times = || seal.leaves.iter().map(|leaf| time_of_id(&leaf.id).unwrap_or_default());
        let (oldest, newest) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        // Not signed: where to look for a record. Looking elsewhere finds nothing, and never something else.
        stored.append(cstr!("span"), rawdoc! { "oldest": oldest, "newest": newest, "reached": reached_ms });
        match self.db.collection::<RawDocumentBuf>(AUDIT_SEALS).insert_one(stored).await {
            Ok(_) => Ok(true),
            Err(error) if mongo::is_duplicate_key(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The header of the latest seal.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn last(&self) -> Result<Option<SealHeader>> {
        Ok(self.latest().await?.map(|last| last.header))
    }

    /// The latest seal.
    pub(super) async fn latest(&self) -> Result<Option<LastSeal>> {
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        // What has no number is no seal; whoever put it there must not stop the sealing. Verification names it.
        let numbered = doc! { "_id": { "$gte": 1_i64, "$type": "long" } };
        let found = seals.find_one(numbered).sort(doc! { "_id": -1 }).projection(doc! { "leaves": 0 }).await?;
        let Some(found) = found else { return Ok(None) };
        let header: SealHeader = bson::deserialize_from_slice(found.as_bytes())?;
        let sealed_ms = header.sealed_at.timestamp_millis();
        let reached = found.get_document("span").and_then(|span| span.get_i64("reached"));
        Ok(Some(LastSeal { reached_ms: reached.map_or(sealed_ms, |reached| reached.min(sealed_ms)), header }))
    }

    /// Number and hash of the seal of this number; none where there is none that can be read.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) async fn anchor(&self, number: i64) -> Result<Option<Anchor>> {
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        let found = seals.find_one(doc! { "_id": number }).projection(doc! { "leaves": 0 }).await?;
        let header = found.and_then(|found| bson::deserialize_from_slice::<SealHeader>(found.as_bytes()).ok());
        Ok(header.map(|header| Anchor::from(&header)))
    }

    /// The seal of this number.
    ///
    /// # Errors
    /// What the driver says, also where the seal can't be read.
    pub async fn find(&self, number: i64) -> Result<Option<Seal>> {
        self.db.collection::<Seal>(AUDIT_SEALS).find_one(doc! { "_id": number }).await
    }

    /// The seal that holds the record of this id; none where it is not sealed (yet).
    ///
    /// # Errors
    /// What the driver says.
    pub async fn find_by_record(&self, id: &str) -> Result<Option<Seal>> {
        let seals = self.db.collection::<Seal>(AUDIT_SEALS);
        seals.find_one(around(id)).sort(doc! { "span.newest": 1 }).hint(Hint::Name("span".into())).await
    }

    /// Whether the record of this id is sealed.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) async fn is_sealed(&self, id: &str) -> Result<bool> {
        let seals = self.db.collection::<Document>(AUDIT_SEALS);
        let found = seals.find_one(around(id)).sort(doc! { "span.newest": 1 }).projection(doc! { "_id": 1 });
        Ok(found.hint(Hint::Name("span".into())).await?.is_some())
    }

    /// The latest time (ms) that the id of a sealed record carries; 0 where nothing is sealed.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn newest_ms(&self) -> Result<i64> {
        let seals = self.db.collection::<Document>(AUDIT_SEALS);
        let found = seals.find_one(doc! { "span.newest": { "$type": "long" } }).sort(doc! { "span.newest": -1 });
        let found = found.hint(Hint::Name("span".into())).projection(doc! { "span": 1 }).await?;
        Ok(found.and_then(|seal| seal.get_document("span").ok()?.get_i64("newest").ok()).unwrap_or(0))
    }

    /// Some of the records that are listed as committed late, if they belong to a sealed collection: rule and id. What is
    /// listed of other collections is of nobody's interest and goes.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) async fn list_late(&self, take: i64) -> Result<Vec<Leaf>> {
        let listed = self.db.collection::<Document>(LATE_RECORDS);
        let mut found = listed.find(doc! {}).limit(take).await?;
        let (mut late, mut foreign) = (Vec::new(), Vec::new());
        while let Some(entry) = found.try_next().await? {
            let scope = entry.get_str("collection").ok().and_then(|name| Scopes::standard().of_collection(name));
            match (scope, entry.get("_id")) {
                (Some(scope), Some(Bson::String(id))) if time_of_id(id).is_some() => {
                    late.push(Leaf { code: scope.code(), id: id.clone(), hash: Hash::ZERO });
                }
                (_, Some(id)) => foreign.push(id.clone()),
                (_, None) => {}
            }
        }
        if !foreign.is_empty() {
            listed.delete_many(doc! { "_id": { "$in": foreign } }).await?;
        }
        Ok(late)
    }

    /// Takes records off that list.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) async fn unlist_late(&self, ids: &[String]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let listed = self.db.collection::<Document>(LATE_RECORDS);
        listed.delete_many(doc! { "_id": { "$in": ids } }).await.map(drop)
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

    /// Rule and id of every record that is sealed and whose id carries this time (ms) or a later one.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn for_each_sealed_since(&self, ms: i64, mut each: impl FnMut(u8, &str)) -> Result<()> {
        let names = doc! { "leaves.codes": 1, "leaves.ids": 1 };
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        let mut found = seals.find(doc! { "span.newest": { "$gte": ms } }).projection(names).await?;
        while let Some(seal) = found.try_next().await? {
            // What is no seal holds nothing.
            let Ok(leaves) = seal.get_document("leaves") else { continue };
            let (Ok(codes), Ok(ids)) = (leaves.get_binary("codes"), leaves.get_array("ids")) else { continue };
            for (code, id) in codes.bytes.iter().zip(ids) {
                if let Some(id) = id?.as_str() {
                    each(*code, id);
                }
            }
        }
        Ok(())
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

/// The seal of this record, by the index over spans of time.
fn around(id: &str) -> Document {
    let at = time_of_id(id).unwrap_or_default();
    doc! { "span.newest": { "$gte": at }, "span.oldest": { "$lte": at }, "leaves.ids": id }
}

/// `_id` of a record, where it has the shape of ours: what has another one is none of ours and is not sealed.
pub(super) fn id_of(record: &RawDocument) -> Option<&str> {
    record.get_str("_id").ok().filter(|id| time_of_id(id).is_some())
}
