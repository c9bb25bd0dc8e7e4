//! The queue of records to be sealed: each transaction that appends records adds an entry to `seal_queue`. Records whose writer could not
//! hash them are read in the same snapshot.

use std::collections::BTreeMap;

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures_util::StreamExt;
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
};

use super::store::{RecordKey, SealStore, id_of};
use crate::{
    modules::audit::proof::{Bytes, CommitmentKey, Hash, Record, Scopes, leaf_hash},
    platform::{batch::SEAL_QUEUE, ids::time_of_id},
};

const RECORDS_MAX: usize = 20_000;
/// Entries are read by so many, of which some are kept until they name so many records: a record has 64 KB at most.
const ENTRIES_AT_ONCE: i64 = 100;
const RECORDS_AT_ONCE: usize = 500;

/// Entries that one seal acknowledges.
#[derive(Default)]
pub(super) struct QueuedRecords {
    /// Records that are in no seal yet, with the hashes of their leaves.
    pub(super) records: BTreeMap<RecordKey, Hash>,
    /// The entries that name them, and those of which all records are sealed already.
    pub(super) entries: Vec<Bson>,
    /// Records that are named and are not there: their entries stay.
    pub(super) missing: Vec<(String, String)>,
    /// When the oldest of these transactions was committed, ms.
    pub(super) oldest_ms: Option<i64>,
    pub(super) more: bool,
}

/// An entry, as far as it can be read.
struct QueueEntry {
    id: Bson,
    at_ms: Option<i64>,
    /// With the leaf hash, where the writer computed it. None where the entry names something that is no record of ours.
    records: Option<BTreeMap<RecordKey, Option<Hash>>>,
}

impl QueueEntry {
    fn records(&self) -> impl Iterator<Item = (&RecordKey, Option<Hash>)> {
        self.records.iter().flatten().map(|(key, hash)| (key, *hash))
    }
}

/// Takes the oldest entries, in the transaction of `session`.
pub(super) async fn take(
    db: &Database,
    session: &mut ClientSession,
    commitments: &CommitmentKey,
) -> Result<QueuedRecords> {
    let mut batch = QueuedRecords::default();
    let mut last = Bson::MinKey;
    loop {
        let entries = read(db, session, &last, RECORDS_AT_ONCE.min(RECORDS_MAX - batch.records.len())).await?;
        let Some(newest) = entries.last() else { return Ok(batch) };
        last = newest.id.clone();
        let named: BTreeMap<&RecordKey, Option<Hash>> =
            entries.iter().flat_map(QueueEntry::records).filter(|(key, _)| !batch.records.contains_key(*key)).collect();
        let sealed = SealStore::new(db.clone()).sealed_among(session, named.keys().copied()).await?;
        let (hashed, unread): (Vec<_>, Vec<_>) =
            named.into_iter().filter(|((_, id), _)| !sealed.contains(id)).partition(|(_, hash)| hash.is_some());
        batch.records.extend(hashed.into_iter().filter_map(|(key, hash)| Some((key.clone(), hash?))));
        let unread: Vec<&RecordKey> = unread.into_iter().map(|(key, _)| key).collect();
        batch.records.extend(hash(db, session, &unread, commitments).await?);
        for entry in &entries {
            let is_missing = |key: &&RecordKey| !batch.records.contains_key(*key) && !sealed.contains(&key.1);
            let missing: Vec<_> = entry.records().map(|(key, _)| key).filter(is_missing).collect();
            if entry.records.is_none() {
                batch.missing.push((SEAL_QUEUE.to_owned(), entry.id.to_string()));
            } else if missing.is_empty() {
                batch.entries.push(entry.id.clone());
                batch.oldest_ms = batch.oldest_ms.into_iter().chain(entry.at_ms).min();
            }
            batch.missing.extend(missing.into_iter().map(|(code, id)| (collection_of(*code), id.clone())));
        }
        if batch.records.len() >= RECORDS_MAX {
            batch.more = true;
            return Ok(batch);
        }
    }
}

fn collection_of(code: u8) -> String {
    Scopes::standard().of_code(code).map_or_else(String::new, |scope| scope.collection().to_owned())
}

/// The entries behind one, with `records_max` records at most; but one in any case.
async fn read(db: &Database, session: &mut ClientSession, after: &Bson, records_max: usize) -> Result<Vec<QueueEntry>> {
    let queue = db.collection::<RawDocumentBuf>(SEAL_QUEUE);
    let found = queue.find(doc! { "_id": { "$gt": after } }).sort(doc! { "_id": 1 }).limit(ENTRIES_AT_ONCE);
    let mut found = found.session(&mut *session).await?;
    let mut stream = found.stream(session);
    let (mut entries, mut named) = (Vec::new(), 0);
    while let Some(entry) = stream.next().await.transpose()? {
        let records = records_in(&entry);
        named += records.as_ref().map_or(0, BTreeMap::len);
        if named > records_max && !entries.is_empty() {
            break;
        }
        entries.push(QueueEntry {
            id: entry
                .get("_id")
                .map_err(Error::custom)?
                .map_or(Ok(Bson::Null), Bson::try_from)
                .map_err(Error::custom)?,
            at_ms: entry.get_datetime("at").ok().map(bson::DateTime::timestamp_millis),
            records,
        });
    }
    Ok(entries)
}

fn records_in(entry: &RawDocument) -> Option<BTreeMap<RecordKey, Option<Hash>>> {
    let mut records = BTreeMap::new();
    for element in entry.get_document("records").ok()? {
        let (collection, named) = element.ok()?;
        let scope = Scopes::standard().of_collection(collection.as_str())?;
        for record in named.as_array()? {
            let record = record.ok()?.as_document()?;
            let id = record.get_str("id").ok().filter(|id| time_of_id(id).is_some())?;
            let leaf = match record.get("leafHash").ok()? {
                Some(RawBsonRef::Binary(leaf)) => Some(Bytes(leaf.bytes.try_into().ok()?)),
                Some(_) => return None,
                None => None,
            };
            records.insert((scope.code(), id.to_owned()), leaf);
        }
    }
    Some(records)
}

/// Reads and hashes those of these records that are there.
async fn hash(
    db: &Database,
    session: &mut ClientSession,
    wanted: &[&RecordKey],
    commitments: &CommitmentKey,
) -> Result<BTreeMap<RecordKey, Hash>> {
    let mut by_code: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for (code, id) in wanted {
        by_code.entry(*code).or_default().push(id);
    }
    let mut hashes = BTreeMap::new();
    for (code, ids) in by_code {
        let Some(scope) = Scopes::standard().of_code(code) else { continue };
        let stored = db.collection::<RawDocumentBuf>(scope.collection());
        let mut found = stored.find(doc! { "_id": { "$in": ids } }).session(&mut *session).await?;
        let mut stream = found.stream(session);
        while let Some(record) = stream.next().await.transpose()? {
            if let Some(id) = id_of(&record) {
                let Ok(hash) = leaf_hash(&Record { scope, id, document: &record }, commitments);
                hashes.insert((code, id.to_owned()), hash);
            }
        }
    }
    Ok(hashes)
}

/// Deletes the entries of a batch; fails where another sealer was first.
pub(super) async fn acknowledge(db: &Database, session: &mut ClientSession, entries: &[Bson]) -> Result<()> {
    let queue = db.collection::<Document>(SEAL_QUEUE);
    let deleted = queue.delete_many(doc! { "_id": { "$in": entries } }).session(session).await?.deleted_count;
    if deleted == entries.len() as u64 {
        Ok(())
    } else {
        Err(Error::custom(format!(
            "{deleted} of {} entries of {SEAL_QUEUE} were there to be acknowledged",
            entries.len()
        )))
    }
}
