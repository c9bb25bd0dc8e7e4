//! Erases personal fields in the records of one user or one order. The records stay, and so do their leaves.

use std::collections::BTreeMap;

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
};

use super::{
    guard::{ensure, write_guard},
    holds::find_hold,
    subjects::held,
    transaction_options,
};
use crate::{
    modules::audit::{
        AUDIT_EVENTS, AuditEvent, AuditOutcome, journal,
        proof::{CommitmentKey, Record, Scopes, SealScope, commitments, erased},
        query::about_order,
    },
    platform::{clock::Clock, identity::Actor},
};

/// The action of the audit events about erasures. They are not erased themselves.
const ERASED: &str = "audit.erased";
/// Records of one transaction: an update each, in one statement of the database.
const CHUNK: usize = 500;
/// Erased fields of one transaction, about: each takes some 130 bytes, and a provider's answer may have thousands.
const CHUNK_FIELDS: u64 = 20_000;
/// Name of a call's body in its records.
const BODY: &str = "body.";

/// The paths in the body of a call that are not personal, by provider and operation. All others are erased.
pub type NotPersonal = fn(provider: &str, operation: &str) -> &'static [&'static str];

/// The user or the order whose records are erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErasureSubject {
    /// Records about a user, and the address in records of what the user did elsewhere.
    User(String),
    /// Records about one order.
    Order {
        /// `ord_...`
        id: String,
        /// The owner: a hold on the user covers the order.
        user_id: String,
    },
}

impl ErasureSubject {
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::User(id) | Self::Order { id, .. } => id,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Order { .. } => "order",
        }
    }

    /// The audit event of an erasure. It has no `userId`, so that a later erasure leaves it alone.
    #[must_use]
    pub fn event(&self, outcome: AuditOutcome, reason: &str, after: Document, at: DateTime) -> AuditEvent {
        let actor = Actor::command_line("audit erase");
        AuditEvent::new(outcome, actor, ERASED, (self.kind(), self.id()), at).because(reason.to_owned()).after(after)
    }

    /// Selects the subject's records in a collection. Those of an order have an index. For a user two collections are scanned: answers have
    /// no index on their owner (and their request may be purged), ledger transactions none on their actor. None may be missed, and it is not
    /// worth an index on every record.
    fn filter(&self, collection: &str) -> Document {
        match (self, collection) {
            (Self::User(id), "provider_request_logs" | "provider_response_logs") => doc! { "userId": id },
            (Self::User(id), _) => doc! { "$or": [{ "userId": id }, { "actor.id": id }] },
            (Self::Order { id, .. }, AUDIT_EVENTS) => doc! { "resourceId": id, "action": { "$ne": ERASED } },
            (Self::Order { id, .. }, _) => about_order(collection, id),
        }
    }

    /// Whether `path` of `record` is erased for this subject: in records of what a user did to others, only the actor.
    fn may_erase(&self, record: &RawDocumentBuf, path: &str) -> bool {
        match self {
            Self::User(id) => record.get_str("userId").is_ok_and(|owner| owner == id) || path.starts_with("actor."),
            Self::Order { .. } => true,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Records in which something was erased, by collection.
    pub records: BTreeMap<&'static str, u64>,
    pub fields: u64,
}

/// Why the erasure stopped. What was erased before stays so; running it again goes on.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    #[error("the legal hold {0} covers these records; it has to be released first")]
    Held(String),
    #[error(transparent)]
    Database(Error),
}

/// The legal hold that stopped a transaction; passed through the driver's error.
#[derive(Debug)]
struct HeldBy(String);

impl From<Error> for ErasureError {
    fn from(error: Error) -> Self {
        match error.get_custom::<HeldBy>() {
            Some(HeldBy(hold)) => Self::Held(hold.clone()),
            None => Self::Database(error),
        }
    }
}

#[derive(Debug)]
pub struct Eraser {
    db: Database,
    key: CommitmentKey,
    clock: Clock,
    not_personal: NotPersonal,
}

/// Data of an order outside of sealed records that is erased with them.
#[derive(Clone, Debug)]
pub struct Belonging {
    pub collection: &'static str,
    pub filter: Document,
    /// The fields to set; without it the documents are deleted.
    pub set: Option<Document>,
}

#[derive(Default)]
struct ErasedCount {
    records: u64,
    fields: u64,
    /// The records have more fields than one transaction erases.
    more: bool,
}

struct ErasureChunk<'a> {
    subject: &'a ErasureSubject,
    scope: &'a SealScope,
    reason: &'a str,
    ids: Vec<String>,
}

impl Eraser {
    /// `key` has to be that of the database ([`super::super::seals::commitment_key_of`]).
    #[must_use]
    pub const fn new(db: Database, key: CommitmentKey, clock: Clock, not_personal: NotPersonal) -> Self {
        Self { db, key, clock, not_personal }
    }

    /// Replaces every personal field of the subject's records by a commitment to what it said. Each transaction has an audit
    /// event with how many records it changed. It may run beside everything else; run again it finds nothing.
    pub async fn erase(&self, subject: &ErasureSubject, reason: &str) -> std::result::Result<Erased, ErasureError> {
        ensure(&self.db).await?;
        let hold = match subject {
            ErasureSubject::User(id) => find_hold(&self.db, &[id], Some(id)).await?,
            ErasureSubject::Order { id, user_id } => find_hold(&self.db, &[id, user_id], None).await?,
        };
        if let Some(hold) = hold {
            return Err(ErasureError::Held(hold.id));
        }
        let mut done = Erased::default();
        for scope in Scopes::standard().today() {
            let records = self.db.collection::<Document>(scope.collection());
            let found = records.find(subject.filter(scope.collection())).projection(doc! { "_id": 1 }).await?;
            let mut chunks = found.try_chunks(CHUNK);
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|stopped| stopped.1)?;
                let ids = chunk.iter().filter_map(|record| record.get_str("_id").ok()).map(str::to_owned).collect();
                let chunk = ErasureChunk { subject, scope, reason, ids };
                loop {
                    let some = self.erase_some(&chunk).await?;
                    if some.records > 0 {
                        *done.records.entry(scope.collection()).or_default() += some.records;
                        done.fields += some.fields;
                    }
                    if !some.more {
                        break;
                    }
                }
            }
        }
        Ok(done)
    }

    /// Erases what else belongs to the order `order_id` of `user_id`, unless a hold covers it; with an audit event, in one
    /// transaction.
    pub async fn erase_belongings(
        &self,
        subject: &ErasureSubject,
        reason: &str,
        (order_id, user_id): (&str, &str),
        belongings: &[Belonging],
    ) -> std::result::Result<(), ErasureError> {
        let mut session = self.db.client().start_session().await?;
        let transaction = session.start_transaction().with_options(transaction_options());
        let about = doc! { "orderId": order_id, "userId": user_id };
        let what = (self, subject, reason, about, belongings);
        let erased = transaction
            .and_run(what, |session, (eraser, subject, reason, about, belongings)| {
                async move {
                    let db = &eraser.db;
                    if let Some(hold) = held(db, session, std::slice::from_ref(about)).await?.into_values().next() {
                        return Err(Error::custom(HeldBy(hold)));
                    }
                    for Belonging { collection, filter, set } in *belongings {
                        let documents = db.collection::<Document>(collection);
                        let filter = filter.clone();
                        match set {
                            Some(set) => {
                                let set = doc! { "$set": set.clone() };
                                documents.update_many(filter, set).session(&mut *session).await.map(drop)?;
                            }
                            None => documents.delete_many(filter).session(&mut *session).await.map(drop)?,
                        }
                    }
                    let event = subject.event(AuditOutcome::Done, reason, about.clone(), eraser.clock.now());
                    journal().insert(db, session, AUDIT_EVENTS, &[event]).await?;
                    write_guard(db, session, None, eraser.clock.now()).await
                }
                .boxed()
            })
            .await;
        Ok(erased?)
    }

    async fn erase_some(&self, chunk: &ErasureChunk<'_>) -> Result<ErasedCount> {
        let mut session = self.db.client().start_session().await?;
        let transaction = session.start_transaction().with_options(transaction_options());
        transaction.and_run((self, chunk), |session, (eraser, chunk)| eraser.attempt(session, chunk).boxed()).await
    }

    async fn attempt(&self, session: &mut ClientSession, chunk: &ErasureChunk<'_>) -> Result<ErasedCount> {
        let collection = chunk.scope.collection();
        let records = self.db.collection::<RawDocumentBuf>(collection);
        let mut found = records.find(doc! { "_id": { "$in": &chunk.ids } }).session(&mut *session).await?;
        let (mut updates, mut touched, mut done) = (Vec::new(), Vec::new(), ErasedCount::default());
        let mut stream = found.stream(session);
        while let Some(record) = stream.next().await.transpose()? {
            let changes = self.changes(chunk, &record);
            if changes.is_empty() {
                continue;
            }
            done.fields += changes.len() as u64;
            let id = record.get_str("_id").map_err(Error::custom)?;
            updates.push(Bson::from(doc! { "q": { "_id": id }, "u": { "$set": changes } }));
            touched.push(Document::try_from(&record).map_err(Error::custom)?);
            if done.fields >= CHUNK_FIELDS {
                done.more = true;
                break;
            }
        }
        drop(stream);
        if updates.is_empty() {
            session.abort_transaction().await?;
            return Ok(done);
        }
        if let Some(hold) = held(&self.db, session, &touched).await?.into_values().next() {
            return Err(Error::custom(HeldBy(hold)));
        }
        let changed = updates.len() as i64;
        let reply =
            self.db.run_command(doc! { "update": collection, "updates": updates }).session(&mut *session).await?;
        let n = reply.get_i32("n").map(i64::from).or_else(|_| reply.get_i64("n")).unwrap_or_default();
        if n != changed || reply.contains_key("writeErrors") {
            return Err(Error::custom(format!("{collection}: {n} of {changed} records were erased")));
        }
        done.records = changed as u64;
        let event = self.event(chunk, &done);
        journal().insert(&self.db, session, AUDIT_EVENTS, &[event]).await?;
        write_guard(&self.db, session, None, self.clock.now()).await?;
        Ok(done)
    }

    /// The fields to set in a record: an erased field for each personal one that has a value.
    fn changes(&self, chunk: &ErasureChunk<'_>, record: &RawDocumentBuf) -> Document {
        let Ok(id) = record.get_str("_id") else { return Document::new() };
        let all = commitments(&Record { scope: chunk.scope, id, document: record }, &self.key);
        let stays = match (record.get_str("provider"), record.get_str("operation")) {
            (Ok(provider), Ok(operation)) => (self.not_personal)(provider, operation),
            _ => &[],
        };
        let goes = |path: &str| {
            chunk.subject.may_erase(record, path)
                && !path.strip_prefix(BODY).is_some_and(|path| stays.contains(&&*as_declared(path)))
        };
        let changes = all.into_iter().filter(|(path, _)| goes(path));
        changes.map(|(path, commitment)| (path, erased(&commitment).into())).collect()
    }

    fn event(&self, chunk: &ErasureChunk<'_>, done: &ErasedCount) -> AuditEvent {
        let after = doc! {
            "collection": chunk.scope.collection(), "records": done.records as i64, "fields": done.fields as i64,
        };
        chunk.subject.event(AuditOutcome::Done, chunk.reason, after, self.clock.now())
    }
}

/// The path of a value as providers declare it: `products.0.price` is `products[].price`.
fn as_declared(path: &str) -> String {
    let mut declared = String::with_capacity(path.len() + 2);
    for name in path.split('.') {
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            declared.push_str("[]");
        } else {
            declared.extend((!declared.is_empty()).then_some('.'));
            declared.push_str(name);
        }
    }
    declared
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn positions_are_not_declared() {
        for (path, declared) in [
            ("order_amount", "order_amount"),
            ("products.12.product_value", "products[].product_value"),
            ("shipment_weight.0", "shipment_weight[]"),
            ("data.0.1.a", "data[][].a"),
        ] {
            assert_eq!(as_declared(path), declared);
        }
    }

    /// A record is erased by today's rule of its collection. Once a collection has had two, records have to be erased by
    /// the one that their seal names.
    #[test]
    fn every_collection_has_had_one_rule() {
        let codes: Vec<u8> = (0..=u8::MAX).filter(|code| Scopes::standard().of_code(*code).is_some()).collect();
        let names = codes.iter().filter_map(|code| Scopes::standard().of_code(*code));
        let names: BTreeSet<&str> = names.map(SealScope::collection).collect();
        assert_eq!(names.len(), codes.len());
    }
}
