//! How long records are kept, what keeps them longer, and how they go: classes of records with a retention each, legal
//! holds, the purge, and the erasure of what is personal.
//!
//! Invariants: only sealed records are purged, by rule alone, and what is gone is named by a purge record in the same
//! transaction: an audit event `audit.purged` about the seal, signed, which says what of the seal's collection is still
//! there. No record goes while a legal hold is in force that covers it: the transaction that sets a hold and those that
//! purge, erase and destroy evidence elsewhere ([`ensure_not_held`]) write one document, the [`Guard`], so of two at once
//! one runs again and sees the other. Purge records are never
//! purged. An erased field leaves the record's leaf what it was.
//!
//! Collections: `audit_legal_holds`, `audit_retention`.

mod erasure;
mod guard;
mod holds;
mod purge;
mod subjects;

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use mongodb::{
    ClientSession, Database,
    error::Result,
    options::{ReadConcern, TransactionOptions},
};

use super::model::{AUDIT_EVENTS, REQUEST_LOGS, RESPONSE_LOGS};
use crate::platform::mongo::{self, Index};

pub use erasure::{Belonging, Erased, Eraser, ErasureError, ErasureSubject, NotPersonal};
pub use guard::Guard;
pub use holds::{
    HoldKind, HoldPlaced, LegalHold, LegalHoldState, PlaceHold, ReleaseHold, Released, UnderLegalHold, ensure_not_held,
    find_hold, keys_of_hold, list_holds,
};
pub use purge::{PurgeKeys, PurgeReport, PurgedOf, Purger};

/// Legal holds, those released among them.
pub const LEGAL_HOLDS: &str = "audit_legal_holds";
/// The guard, and how far the purge is.
pub const RETENTION: &str = "audit_retention";
pub const COLLECTIONS: &[&str] = &[LEGAL_HOLDS, RETENTION];

/// Audit events that only say who came, read something, tried something in vain or was turned away. All others are
/// bookkeeping and kept for ever.
pub const ACCESS_ACTIONS: [&str; 10] = [
    "request.read",
    "request.denied",
    "request.made",
    "session.opened",
    "session.ended",
    "session.refused",
    "kyc.application_read",
    "kyc.document_read",
    "order.files_listed",
    "order.file_read",
];

#[must_use]
pub fn indexes() -> Vec<Index> {
    vec![
        Index::new(LEGAL_HOLDS, "in_force", doc! { "inForce": 1 }).unique().partial(doc! { "inForce": { "$gt": "" } }),
        Index::new(LEGAL_HOLDS, "owner", doc! { "userId": 1 }),
        Index::new(RETENTION, "kept", doc! { "collection": 1, "seal": 1 }),
    ]
}

/// Records that are kept equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordClass {
    /// Calls to providers and their answers.
    ProviderCalls,
    /// Audit events of [`ACCESS_ACTIONS`].
    Access,
}

impl RecordClass {
    /// Every class that may be purged; events, bookings and the other audit events are in none.
    pub const ALL: [Self; 2] = [Self::ProviderCalls, Self::Access];

    /// In settings and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProviderCalls => "provider_calls",
            Self::Access => "access",
        }
    }

    /// Where its records are.
    #[must_use]
    pub const fn collections(self) -> &'static [&'static str] {
        match self {
            Self::ProviderCalls => &[REQUEST_LOGS, RESPONSE_LOGS],
            Self::Access => &[AUDIT_EVENTS],
        }
    }

    /// Its actions, where it has not the whole collection.
    #[must_use]
    pub const fn actions(self) -> Option<&'static [&'static str]> {
        match self {
            Self::ProviderCalls => None,
            Self::Access => Some(&ACCESS_ACTIONS),
        }
    }
}

/// How long the classes are kept; none is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// See [`RecordClass::ProviderCalls`].
    pub provider_calls: Option<Duration>,
    /// See [`RecordClass::Access`].
    pub access: Option<Duration>,
}

impl Retention {
    /// Days that each class is kept, by its name; null is for ever.
    #[must_use]
    pub fn kept_days(&self) -> Document {
        let days =
            |class: RecordClass| (class.name().to_owned(), self.of(class).map_or(Bson::Null, |kept| days(kept).into()));
        RecordClass::ALL.into_iter().map(days).collect()
    }

    /// How long a class is kept; none is for ever.
    #[must_use]
    pub const fn of(&self, class: RecordClass) -> Option<Duration> {
        match class {
            RecordClass::ProviderCalls => self.provider_calls,
            RecordClass::Access => self.access,
        }
    }
}

/// Whole days.
const fn days(kept: Duration) -> i64 {
    (kept.as_secs() / 86_400) as i64
}

/// The time before which provider calls have been purged; none where there was no purge yet. Of what is older nobody can
/// tell any more whether there was a call.
pub async fn calls_purged_before(db: &Database, session: &mut ClientSession) -> Result<Option<DateTime>> {
    let progress = db.collection::<Document>(RETENTION);
    let found = progress.find_one(doc! { "_id": RESPONSE_LOGS }).session(session).await?;
    Ok(found.and_then(|progress| progress.get_datetime("olderThan").ok().copied()))
}

/// Options of this module's transactions: one moment, a majority, and an end.
fn transaction_options() -> TransactionOptions {
    TransactionOptions::builder()
        .read_concern(ReadConcern::snapshot())
        .write_concern(mongo::durable())
        .max_commit_time(Duration::from_secs(5))
        .build()
}
