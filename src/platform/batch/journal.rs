//! The entries that a transaction leaves for others: the marker of its batch, the sealed records that it wrote (for the sealer),
//! and its events (for the relay).
//!
//! Entries are acknowledged by deleting them. Their ids are made before the commit, so a consumer keeps no cursor: what
//! is committed late has an id among those that were consumed long ago.

use std::{fmt, sync::Arc, time::Duration};

use bson::{
    DateTime, Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc,
    raw::{CString, cstr},
    rawdoc,
};
use futures_util::FutureExt;
use mongodb::{
    ClientSession, Database,
    error::Result,
    options::{ReadConcern, ReadPreference, SelectionCriteria},
};
use serde::Serialize;

use super::command::COMMIT_TIME_MAX;
use crate::platform::{
    ids::new_id,
    mongo::{self, Index},
    traces,
};

/// Markers of batches: `{_id, try, at}`.
pub const BATCHES: &str = "batches";
/// Records to be sealed: `{_id, at, records: {<collection>: [{id, leafHash?}]}}`, an entry per transaction.
pub const SEAL_QUEUE: &str = "seal_queue";
/// Events to be handled: `{_id, at, events: [{id, type, subjectId, userId, tenantId?, checkoutId?, buyerId?, seq, trace?}]}`, an entry per transaction. Its id is made by the
/// try that is committed, so entries of one process sort by the order in which they changed a document.
pub const OUTBOX: &str = "outbox";
pub const COLLECTIONS: &[&str] = &[BATCHES, SEAL_QUEUE, OUTBOX];
/// A batch is over after ten seconds; nobody looks for its marker after that.
const MARKER_KEPT: Duration = Duration::from_secs(3_600);

#[must_use]
pub fn indexes() -> Vec<Index> {
    vec![
        Index::new(BATCHES, "batches_expiry", doc! { "at": 1 }).expires_after(MARKER_KEPT),
        // What happened to one subject, which the relay looks for where an outbox is longer than a page.
        Index::new(OUTBOX, "subject", doc! { "events.subjectId": 1, "events.seq": 1 }),
    ]
}

/// A document that a transaction inserts.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    pub collection: &'a str,
    pub document: &'a RawDocument,
    /// The context of the trace in which it was made: of an event, it goes into the outbox and not into the event, which is sealed.
    pub trace: Option<&'a str>,
}

/// The hash of a record's leaf in its seal; none where the writer can't tell, and the sealer has to read the record.
pub type LeafHash = Arc<dyn Fn(&str, &RawDocument) -> Option<[u8; 32]> + Send + Sync>;

/// Tells which documents of a transaction somebody waits for. Every transaction that inserts sealed records or events
/// writes their entries through it. Cloning gives the same journal.
#[derive(Clone)]
pub struct Journal {
    is_sealed: fn(&str) -> bool,
    events: &'static str,
    leaf: Option<LeafHash>,
    announce: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Journal {
    /// `is_sealed` tells the collections whose records are sealed, `events` is the one of events.
    #[must_use]
    pub const fn new(is_sealed: fn(&str) -> bool, events: &'static str) -> Self {
        Self { is_sealed, events, leaf: None, announce: None }
    }

    /// The same, which hashes the records that it names.
    #[must_use]
    pub fn hashing(self, leaf: LeafHash) -> Self {
        Self { leaf: Some(leaf), ..self }
    }

    /// The same, which says after each commit of a lane that events wait in the outbox. What is called must not wait.
    #[must_use]
    pub fn announcing(self, announce: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { announce: Some(announce), ..self }
    }

    /// Says that events wait in the outbox.
    pub(super) fn announce(&self) {
        if let Some(announce) = &self.announce {
            announce();
        }
    }

    pub(super) fn are_events(&self, collection: &str) -> bool {
        collection == self.events
    }

    /// The entries of a transaction that inserts these documents, with the collections that they belong to.
    #[must_use]
    pub fn entries<'a>(
        &self,
        id: &str,
        at: DateTime,
        documents: impl Iterator<Item = Written<'a>>,
    ) -> Vec<(&'static str, RawDocumentBuf)> {
        let mut records: Vec<(&'a str, RawArrayBuf)> = Vec::new();
        let mut events = RawArrayBuf::new();
        for Written { collection, document, trace } in documents {
            if collection == self.events {
                events.push(event(document, trace));
            }
            if (self.is_sealed)(collection) {
                let record = self.record(collection, document);
                match records.iter_mut().find(|(of, _)| *of == collection) {
                    Some((_, records)) => records.push(record),
                    None => records.push((collection, RawArrayBuf::from_iter([record]))),
                }
            }
        }
        let mut entries = Vec::new();
        if !records.is_empty() {
            let mut by_collection = RawDocumentBuf::new();
            for (collection, records) in records {
                by_collection
                    .append(CString::try_from(collection).expect("no NUL in the name of a collection"), records);
            }
            entries.push((SEAL_QUEUE, rawdoc! { "_id": id, "at": at, "records": by_collection }));
        }
        if !events.is_empty() {
            entries.push((OUTBOX, rawdoc! { "_id": new_id("out"), "at": at, "events": events }));
        }
        entries
    }

    fn record(&self, collection: &str, document: &RawDocument) -> RawDocumentBuf {
        let mut record = RawDocumentBuf::new();
        if let Ok(Some(id)) = document.get("_id") {
            record.append(cstr!("id"), id);
        }
        if let Some(leaf) = self.leaf.as_ref().and_then(|leaf| leaf(collection, document)) {
            record.append(
                cstr!("leafHash"),
                bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: leaf.to_vec() },
            );
        }
        record
    }

    /// Inserts documents and their entries, in a transaction that is no lane's.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn insert<T: Serialize>(
        &self,
        db: &Database,
        session: &mut ClientSession,
        collection: &str,
        documents: &[T],
    ) -> Result<()> {
        let raw = documents.iter().map(bson::serialize_to_raw_document_buf).collect::<bson::error::Result<Vec<_>>>()?;
        db.collection::<RawDocumentBuf>(collection).insert_many(&raw).session(&mut *session).await?;
        let trace = traces::current();
        let documents = raw.iter().map(|document| Written { collection, document, trace: trace.as_deref() });
        for (queue, entry) in self.entries(&new_id("bat"), DateTime::now(), documents) {
            db.collection::<RawDocumentBuf>(queue).insert_one(entry).session(&mut *session).await?;
        }
        Ok(())
    }

    /// Inserts a document that nothing else is written with, in a transaction of its own.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn insert_alone<T: Serialize + Sync>(&self, db: &Database, collection: &str, document: &T) -> Result<()> {
        let mut session = db.client().start_session().await?;
        let transaction = session.start_transaction().write_concern(mongo::durable()).max_commit_time(COMMIT_TIME_MAX);
        let context = (self, db, collection, [bson::serialize_to_raw_document_buf(document)?]);
        transaction
            .and_run(context, |session, (journal, db, collection, document)| {
                journal.insert(db, session, collection, document).boxed()
            })
            .await
    }
}

/// The outbox entry of an event, for the relay.
fn event(document: &RawDocument, trace: Option<&str>) -> RawDocumentBuf {
    let mut event = RawDocumentBuf::new();
    let fields = [
        (cstr!("id"), "_id"),
        (cstr!("type"), "type"),
        (cstr!("subjectId"), "subjectId"),
        (cstr!("userId"), "userId"),
        (cstr!("seq"), "seq"),
    ];
    for (name, field) in fields {
        if let Ok(Some(value)) = document.get(field) {
            event.append(name, value);
        }
    }
    let data = document.get_document("data").ok();
    let fields = [(cstr!("tenantId"), "tenantId"), (cstr!("checkoutId"), "checkoutId"), (cstr!("buyerId"), "buyerId")];
    for (name, field) in fields {
        if let Some(Ok(Some(value))) = data.map(|data| data.get(field)) {
            event.append(name, value);
        }
    }
    if let Some(trace) = trace {
        event.append(cstr!("trace"), trace);
    }
    event
}

/// The number of the try that was committed; none where it is not known that one was.
pub(super) async fn committed_try(db: &Database, batch_id: &str) -> Result<Option<u32>> {
    let markers = db.collection::<Document>(BATCHES);
    let found = markers
        .find_one(doc! { "_id": batch_id })
        .read_concern(ReadConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    let number = found.await?.and_then(|marker| marker.get_i64("try").ok());
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Journal {
        let leaf: LeafHash = Arc::new(|collection, _| (collection == "logs").then_some([7; 32]));
        Journal::new(|collection| matches!(collection, "logs" | "events"), "events").hashing(leaf)
    }

    #[test]
    fn sealed_records_and_events_have_an_entry_each_and_others_none() {
        let document = |id: &str| rawdoc! { "_id": id, "type": "Tested", "name": "x", "subjectId": "ord_1" };
        let (log, event, order) = (document("req_1"), document("evt_1"), document("ord_1"));
        let written = [("orders", &*order, None), ("logs", &*log, Some("00-a")), ("events", &*event, Some("00-b"))];
        let written = written.map(|(collection, document, trace)| Written { collection, document, trace });
        let at = DateTime::from_millis(9);
        let entries = journal().entries("bat_1", at, written.into_iter());
        let mut entries: Vec<_> =
            entries.into_iter().map(|(queue, entry)| (queue, Document::try_from(entry).expect("BSON"))).collect();
        let outbox_id = entries[1].1.remove("_id").expect("an id");
        assert!(crate::platform::ids::is_id("out", outbox_id.as_str().unwrap_or_default()), "{outbox_id}");
        let leaf = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![7; 32] };
        let records = doc! { "logs": [{ "id": "req_1", "leafHash": leaf }], "events": [{ "id": "evt_1" }] };
        assert_eq!(
            entries,
            [
                (SEAL_QUEUE, doc! { "_id": "bat_1", "at": at, "records": records }),
                (
                    OUTBOX,
                    doc! { "at": at, "events": [
                        { "id": "evt_1", "type": "Tested", "subjectId": "ord_1", "trace": "00-b" },
                    ] }
                ),
            ]
        );
        assert!(journal().entries("bat_2", at, written.into_iter().take(1)).is_empty());
    }
}
