//! Appends records to the transaction that they describe.

use super::{
    event::AuditEvent,
    model::{AUDIT_EVENTS, Call, ProviderRequestLog, ProviderResponseLog, REQUEST_LOGS, RESPONSE_LOGS},
    proof,
};
use crate::platform::{
    batch::{Journal, View},
    exchange::{Logged, Prepared},
};

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

pub fn record_response(view: &mut View, log: &ProviderResponseLog) {
    view.append(RESPONSE_LOGS, log);
}

/// Appends an audit event to the transaction that does what it says.
pub fn record_event(view: &mut View, event: &AuditEvent) {
    view.append(AUDIT_EVENTS, event);
}
