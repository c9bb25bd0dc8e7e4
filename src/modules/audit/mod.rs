//! What crossed the border, on record: provider request logs and response logs. And who did and read what: audit events.
//!
//! Invariants: a request log exists, durably, before its request leaves ([`record_request`] is the only way to a
//! [`Logged`]). Every request log gets a response log in the end, also when there was no answer. Logs are
//! appended, never changed, but purged and erased by the rules of [`retention`]. Their fields are null where there is nothing, never absent.
//!
//! Collections: `provider_request_logs`, `provider_response_logs`, `audit_events`, and those of [`seals`] and [`retention`]. No jobs, no
//! events.

mod event;
pub mod export;
mod model;
pub mod proof;
mod refusals;
pub mod retention;
pub mod seals;
mod search;
mod store;
pub mod verification;

use crate::platform::{
    batch::{Journal, View},
    exchange::{Logged, Prepared},
};

pub use event::{AuditEvent, AuditOutcome};
pub use model::{Call, ErrorClass, ProviderRequestLog, ProviderResponseLog, Verdict};
pub use refusals::{Refusals, Sender};
pub use search::{CallFilter, CallPage, CallSearch, Exchange, ListedCall};
pub use store::{AUDIT_EVENTS, AuditStore, OutcomeCount, REQUEST_LOGS, RESPONSE_LOGS};

/// Puts what transactions write into the sealer's queue and the relay's.
#[must_use]
pub fn journal() -> Journal {
    Journal::new(|collection| proof::Scopes::standard().of_collection(collection).is_some(), "events")
}

/// Appends the request log of `call` to the transaction and gives what may be sent once it is committed.
pub fn record_request(view: &mut View, call: &Call, prepared: Prepared) -> Logged {
    view.append(REQUEST_LOGS, &ProviderRequestLog::new(call, &prepared.record));
    Logged::after_append(prepared)
}

/// Appends a response log to the transaction.
pub fn record_response(view: &mut View, log: &ProviderResponseLog) {
    view.append(RESPONSE_LOGS, log);
}

/// Appends an audit event to the transaction that does what it says.
pub fn record_event(view: &mut View, event: &AuditEvent) {
    view.append(AUDIT_EVENTS, event);
}
