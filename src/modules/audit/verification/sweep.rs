//! Finds records that are in no seal and do not wait for one: somebody inserted them by hand.
//!
//! For each collection, ids are read in order from the index alone and compared with the names in the seals of the same time. Ids without a
//! time are looked up one by one: there are none unless somebody made them. An id that is not found is looked up again in one snapshot of
//! record, queue and later seals: it may have been written, sealed or purged meanwhile.

use std::{collections::BTreeSet, ops::RangeInclusive};

use bson::{Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use mongodb::{
    Database,
    error::{Error, Result},
    options::Hint,
};

use super::super::{
    proof::{PublicKeys, Scopes, SealHeader, SealScope},
    seals::AUDIT_SEALS,
};
use crate::platform::{
    batch::SEAL_QUEUE,
    ids::{first_id_at, is_id},
};

const CHUNK: usize = 50_000;
/// Ids that the server hands out at once.
const IDS_AT_ONCE: u32 = 20_000;
/// Most seals have records of less time than that, in ms. Those with more are looked at only where something is missing.
const USUAL_SPAN_MS: i64 = 600_000;

/// Looks for records that are in no seal.
pub(super) struct Sweep<'a> {
    pub(super) db: &'a Database,
    /// Those by which seals are checked that were not checked yet.
    pub(super) keys: &'a PublicKeys,
    /// Numbers of the seals that were.
    pub(super) checked: RangeInclusive<i64>,
    /// Only ids that carry a time of this range, ms; else all there are, also those that carry none.
    pub(super) only: Option<(i64, i64)>,
}

/// A record, by its collection and its `_id` in words.
pub(super) type Unsealed = (&'static str, String);

/// Ids of one collection, ascending, and which of them were found in seals.
#[derive(Default)]
struct IdChunk {
    ids: Vec<u128>,
    sealed: Vec<bool>,
    open: usize,
}

impl Sweep<'_> {
    /// The first record that is in no seal and waits for none, in the order of collections and ids.
    pub(super) async fn first(&self) -> Result<Option<Unsealed>> {
        for scope in Scopes::standard().today() {
            if let Some(id) = self.first_of(scope).await? {
                return Ok(Some((scope.collection(), id)));
            }
        }
        Ok(None)
    }

    /// The first record that waits for its seal and is not there: it was removed before it could be sealed.
    pub(super) async fn first_missing(&self) -> Result<Option<Unsealed>> {
        let mut session = self.db.client().start_session().snapshot(true).await?;
        let queue = self.db.collection::<RawDocumentBuf>(SEAL_QUEUE);
        let mut entries = queue.find(doc! {}).sort(doc! { "_id": 1 }).session(&mut session).await?;
        while entries.advance(&mut session).await? {
            let entry = entries.current().to_owned();
            for scope in Scopes::standard().today() {
                let mut gone: BTreeSet<String> = waiting_in(&entry, scope).map(ToOwned::to_owned).collect();
                if gone.is_empty() {
                    continue;
                }
                let ids: Vec<&str> = gone.iter().map(String::as_str).collect();
                let records = self.db.collection::<RawDocumentBuf>(scope.collection());
                let found = records.find(doc! { "_id": { "$in": ids } }).projection(doc! { "_id": 1 });
                let mut found = found.session(&mut session).await?;
                while found.advance(&mut session).await? {
                    gone.remove(found.current().get_str("_id").unwrap_or_default());
                }
                for id in gone {
                    if !self.is_sealed(scope, &id).await? {
                        return Ok(Some((scope.collection(), id)));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn first_of(&self, scope: &SealScope) -> Result<Option<String>> {
        let prefix = scope.id_prefix();
        let range = match self.only {
            Some((from, to)) => {
                doc! { "_id": { "$gte": first_id_at(prefix, from), "$lt": first_id_at(prefix, to) } }
            }
            None => doc! {},
        };
        let records = self.db.collection::<RawDocumentBuf>(scope.collection());
        let ids = records.find(range).projection(doc! { "_id": 1 }).sort(doc! { "_id": 1 });
        let mut ids = ids.hint(Hint::Keys(doc! { "_id": 1 })).batch_size(IDS_AT_ONCE).await?;
        let mut chunk = IdChunk::default();
        while ids.advance().await? {
            let id = ids
                .current()
                .get("_id")
                .map_err(|error| Error::custom(error.to_string()))?
                .unwrap_or(RawBsonRef::Undefined);
            match id {
                RawBsonRef::String(id) if is_id(prefix, id) => chunk.ids.push(body(id)),
                RawBsonRef::String(id) if self.is_sealed(scope, id).await? => {}
                other => return Ok(Some(self.first_in(scope, chunk).await?.unwrap_or_else(|| id_text(other)))),
            }
            if chunk.ids.len() == CHUNK
                && let Some(found) = self.first_in(scope, std::mem::take(&mut chunk)).await?
            {
                return Ok(Some(found));
            }
        }
        self.first_in(scope, chunk).await
    }

    /// The first of these ids that is in no seal.
    async fn first_in(&self, scope: &SealScope, mut chunk: IdChunk) -> Result<Option<String>> {
        let (Some(&first), Some(&last)) = (chunk.ids.first(), chunk.ids.last()) else { return Ok(None) };
        (chunk.sealed, chunk.open) = (vec![false; chunk.ids.len()], chunk.ids.len());
        let (from_ms, to_ms) = (time_of(first), time_of(last));
        let beyond_ms = to_ms.saturating_add(USUAL_SPAN_MS);
        // What a seal says about the times of its records is not signed. So in the end all seals are asked.
        let ranges = [
            doc! { "span.newest": { "$gte": from_ms, "$lte": beyond_ms }, "span.oldest": { "$lte": to_ms } },
            doc! { "span.newest": { "$gt": beyond_ms }, "span.oldest": { "$lte": to_ms } },
            doc! {},
        ];
        for range in ranges {
            self.mark(scope, range, &mut chunk).await?;
            if chunk.open == 0 {
                return Ok(None);
            }
        }
        self.confirm_in_snapshot(scope, &chunk).await
    }

    /// The first of the open ids of which one snapshot says that the record is there, in no seal, and waits for none.
    async fn confirm_in_snapshot(&self, scope: &SealScope, chunk: &IdChunk) -> Result<Option<String>> {
        let open = chunk.ids.iter().zip(&chunk.sealed).filter(|(_, sealed)| !**sealed);
        let mut candidates: BTreeSet<String> = open.map(|(id, _)| format!("{}_{id:032x}", scope.id_prefix())).collect();
        let mut session = self.db.client().start_session().snapshot(true).await?;
        let queue = self.db.collection::<RawDocumentBuf>(SEAL_QUEUE);
        let named = format!("records.{}.id", scope.collection());
        let mut entries = queue.find(doc! {}).projection(doc! { &named: 1 }).session(&mut session).await?;
        while entries.advance(&mut session).await? {
            waiting_in(entries.current(), scope).for_each(|id| {
                candidates.remove(id);
            });
        }
        let since = doc! { "_id": { "$gt": self.checked.end() } };
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        let mut seals = seals.find(since).projection(doc! { "leaves.hashes": 0 }).session(&mut session).await?;
        while !candidates.is_empty() && seals.advance(&mut session).await? {
            for (_, id) in self.names(seals.current()).into_iter().filter(|(code, _)| is_of(*code, scope)) {
                candidates.remove(id);
            }
        }
        for id in candidates {
            let records = self.db.collection::<RawDocumentBuf>(scope.collection());
            let there = records.find_one(doc! { "_id": &id }).projection(doc! { "_id": 1 }).session(&mut session);
            if there.await?.is_some() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Marks what is in the seals at a range.
    async fn mark(&self, scope: &SealScope, range: Document, chunk: &mut IdChunk) -> Result<()> {
        let mut seals = self.seals(range).await?;
        while chunk.open > 0 && seals.advance().await? {
            for (code, id) in self.names(seals.current()) {
                if is_of(code, scope) && is_id(scope.id_prefix(), id) {
                    chunk.mark(body(id));
                }
            }
        }
        Ok(())
    }

    /// Whether a record whose id carries no time is in a seal.
    async fn is_sealed(&self, scope: &SealScope, id: &str) -> Result<bool> {
        let without_time = doc! { "span.newest": { "$gte": 0_i64 }, "span.oldest": { "$lte": 0_i64 } };
        for mut range in [without_time, doc! {}] {
            range.insert("leaves.ids", id);
            if self.is_named(scope, id, self.seals(range).await?).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_named(&self, scope: &SealScope, id: &str, mut seals: mongodb::Cursor<RawDocumentBuf>) -> Result<bool> {
        while seals.advance().await? {
            if self.names(seals.current()).into_iter().any(|(code, named)| is_of(code, scope) && named == id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Codes and ids of the leaves of a seal. One that was not checked names nothing unless a known key has signed it with
    /// these names.
    fn names<'s>(&self, seal: &'s RawDocument) -> Vec<(u8, &'s str)> {
        let Some(names) = names_in(seal) else { return Vec::new() };
        if seal.get_i64("_id").is_ok_and(|number| self.checked.contains(&number)) {
            return names;
        }
        let sound = bson::deserialize_from_slice::<SealHeader>(seal.as_bytes())
            .is_ok_and(|header| header.check_signature(self.keys).is_ok() && header.has_names(names.iter().copied()));
        if sound { names } else { Vec::new() }
    }

    /// The seals at a range.
    async fn seals(&self, range: Document) -> Result<mongodb::Cursor<RawDocumentBuf>> {
        let index = if range.contains_key("span.newest") { "span" } else { "_id_" };
        let seals = self.db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        seals.find(range).projection(doc! { "leaves.hashes": 0 }).hint(Hint::Name(index.into())).await
    }
}

impl IdChunk {
    fn mark(&mut self, id: u128) {
        if let Ok(position) = self.ids.binary_search(&id)
            && !std::mem::replace(&mut self.sealed[position], true)
        {
            self.open -= 1;
        }
    }
}

/// Ids of the records of a collection that an entry of the queue names.
fn waiting_in<'e>(entry: &'e RawDocument, scope: &SealScope) -> impl Iterator<Item = &'e str> {
    let named = entry.get_document("records").and_then(|records| records.get_array(scope.collection()));
    let records = named.into_iter().flatten().flatten();
    records.filter_map(|record| record.as_document()?.get_str("id").ok())
}

fn names_in(seal: &RawDocument) -> Option<Vec<(u8, &str)>> {
    let leaves = seal.get_document("leaves").ok()?;
    let (codes, ids) = (leaves.get_binary("codes").ok()?.bytes, leaves.get_array("ids").ok()?);
    codes.iter().zip(ids).map(|(code, id)| Some((*code, id.ok()?.as_str()?))).collect()
}

fn is_of(code: u8, scope: &SealScope) -> bool {
    Scopes::standard().of_code(code).is_some_and(|of_code| of_code.collection() == scope.collection())
}

/// The 128 bits of an id of our shape.
fn body(id: &str) -> u128 {
    id.split_once('_').and_then(|(_, body)| u128::from_str_radix(body, 16).ok()).unwrap_or_default()
}

/// The time that they carry, ms.
const fn time_of(body: u128) -> i64 {
    (body >> 80) as i64
}

/// An `_id` in words: a text as it is, anything else as JSON.
fn id_text(id: RawBsonRef<'_>) -> String {
    match id {
        RawBsonRef::String(text) => text.to_owned(),
        other => bson::Bson::try_from(other).map_or_else(|_| "(unreadable)".to_owned(), |id| id.to_string()),
    }
}
