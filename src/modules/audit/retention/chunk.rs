//! One transaction of the purge: some records of one collection that one seal has.

use std::{collections::HashSet, sync::Arc};

use bson::{DateTime, Document, RawDocumentBuf, doc};
use futures_util::{FutureExt, StreamExt};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
    options::Hint,
};

use super::{
    RETENTION, RecordClass,
    guard::{Lease, hold_fast},
    subjects::{held, projection},
    transaction_options,
};
use crate::{
    modules::audit::{
        AUDIT_EVENTS, AuditEvent, AuditOutcome, journal,
        proof::{PURGED, PURGED_FROM, PublicKeys, Purge, SigningKey, sign_purge},
    },
    platform::{clock::Clock, crash, identity::Actor},
};

/// What signs purge records, and by which keys earlier ones are checked, that of today among them.
#[derive(Clone, Debug)]
pub struct PurgeKeys {
    /// Signs.
    pub signer: Arc<SigningKey>,
    /// Those by which purge records and seals are checked.
    pub public: PublicKeys,
}

/// Why it purges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// It was due.
    Worker,
    /// Somebody asked for it on the machine, with settings that may be their own.
    CommandLine,
}

impl Trigger {
    /// In purge records.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::CommandLine => "command_line",
        }
    }
}

/// A record, as its seal names it.
#[derive(Clone, Debug)]
pub(super) struct SealedRecord {
    /// Its number in the whole chain.
    pub(super) seq: i64,
    pub(super) id: String,
}

/// All records of one collection that one seal has, and how they may go.
#[derive(Clone, Copy)]
pub(super) struct Purging<'a> {
    pub(super) db: &'a Database,
    pub(super) clock: &'a Clock,
    pub(super) keys: &'a PurgeKeys,
    pub(super) trigger: Trigger,
    pub(super) seal: i64,
    pub(super) class: RecordClass,
    pub(super) collection: &'static str,
    pub(super) records: &'a [SealedRecord],
    /// What is older than this goes; it is said in the purge record.
    pub(super) older_than: DateTime,
    /// After so many days; it is said too.
    pub(super) kept_days: i64,
    /// None where nothing is to be changed.
    pub(super) lease: Option<&'a Lease>,
}

/// What became of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Gone; or would be, where nothing is to be changed.
    pub(super) purged: u64,
    /// Of the class and still there, because of a hold.
    pub(super) held: u64,
}

impl Purging<'_> {
    /// Purges `some` of its records in one transaction, with the purge record. Of what is gone already nothing is said: it
    /// is either in an earlier purge record, or somebody else took it and no purge record must cover that.
    pub(super) async fn purge(self, some: &[SealedRecord]) -> Result<Outcome> {
        let mut session = self.db.client().start_session().await?;
        let transaction = session.start_transaction().with_options(transaction_options());
        transaction.and_run((self, some), |session, (purging, some)| purging.attempt(session, some).boxed()).await
    }

    async fn attempt(&self, session: &mut ClientSession, some: &[SealedRecord]) -> Result<Outcome> {
        let mut left = self.not_purged(session).await?;
        let found = self.of_class(session, some.iter().filter(|record| left.contains(&record.seq))).await?;
        let holds = held(self.db, session, &found).await?;
        let free = found.iter().enumerate().filter(|(at, _)| !holds.contains_key(at));
        let go: Vec<&str> = free.filter_map(|(_, record)| record.get_str("_id").ok()).collect();
        let outcome = Outcome { purged: go.len() as u64, held: holds.len() as u64 };
        let Some(lease) = self.lease.filter(|_| !go.is_empty()) else {
            session.abort_transaction().await?;
            return Ok(outcome);
        };
        let records = self.db.collection::<Document>(self.collection);
        let deleted = records.delete_many(doc! { "_id": { "$in": &go } }).session(&mut *session).await?;
        if deleted.deleted_count != outcome.purged {
            return Err(Error::custom("records went that the transaction had seen".to_owned()));
        }
        crash::point("purge_deleting");
        let gone: HashSet<&str> = go.into_iter().collect();
        for record in some.iter().filter(|record| gone.contains(&*record.id)) {
            left.remove(&record.seq);
        }
        self.write_down(session, outcome.purged, &left).await?;
        // Last, so that whoever sets a hold waits for as little as possible, and wins where it was first.
        hold_fast(self.db, session, Some(lease), self.clock.now()).await?;
        Ok(outcome)
    }

    /// Numbers of the records that no purge has taken. Purge records that are not signed say nothing: what they name was
    /// removed by somebody else, and no signed one must cover that.
    async fn not_purged(&self, session: &mut ClientSession) -> Result<HashSet<i64>> {
        let mut left: HashSet<i64> = self.records.iter().map(|record| record.seq).collect();
        let events = self.db.collection::<RawDocumentBuf>(AUDIT_EVENTS);
        let about = doc! { "resourceId": self.seal.to_string(), "resourceType": PURGED_FROM, "action": PURGED,
        "after.collection": self.collection };
        let found = events.find(about).hint(Hint::Name("resource".into()));
        let mut found = found.session(&mut *session).await?;
        let mut stream = found.stream(session);
        while let Some(event) = stream.next().await.transpose()? {
            if let Some(Ok(purge)) = Purge::read(&event, &self.keys.public) {
                left.retain(|seq| purge.kept.contains(seq));
            }
        }
        Ok(left)
    }

    /// What is still there of the class, as far as holds need to know it.
    async fn of_class<'r>(
        &self,
        session: &mut ClientSession,
        records: impl Iterator<Item = &'r SealedRecord>,
    ) -> Result<Vec<Document>> {
        let ids: Vec<&str> = records.map(|record| &*record.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut filter = doc! { "_id": { "$in": ids } };
        if let Some(actions) = self.class.actions() {
            filter.insert("action", doc! { "$in": actions.to_vec() });
        }
        let stored = self.db.collection::<Document>(self.collection);
        let mut found = stored.find(filter).projection(projection()).session(&mut *session).await?;
        let mut records = Vec::new();
        let mut stream = found.stream(session);
        while let Some(record) = stream.next().await.transpose()? {
            records.push(record);
        }
        Ok(records)
    }

    /// Appends the purge record, and notes from which time on calls are complete.
    async fn write_down(&self, session: &mut ClientSession, purged: u64, left: &HashSet<i64>) -> Result<()> {
        let mut kept: Vec<i64> = left.iter().copied().collect();
        kept.sort_unstable();
        let progress = doc! { "$max": { "olderThan": self.older_than }, "$setOnInsert": { "next": 1_i64 } };
        let state = self.db.collection::<Document>(RETENTION);
        state.update_one(doc! { "_id": self.collection }, progress).upsert(true).session(&mut *session).await?;
        let seal = self.seal.to_string();
        let (actor, about) = (Actor::system("retention"), (PURGED_FROM, &*seal));
        let event = AuditEvent::new(AuditOutcome::Done, actor, PURGED, about, self.clock.now());
        let after = doc! { "collection": self.collection, "records": purged as i64, "kept": kept,
        "classOlderThan": self.older_than, "keptDays": self.kept_days, "trigger": self.trigger.as_str() };
        let signed = sign_purge(&event.id, self.seal, after, &self.keys.signer);
        journal().insert(self.db, session, AUDIT_EVENTS, &[event.after(signed)]).await
    }
}
