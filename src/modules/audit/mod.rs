//! The audit trail: request and response logs of every call to a provider, and audit events that say who did or read what.
//!
//! Invariants: a request log is durable before its request is sent ([`record_request`] is the only way to a
//! [`Logged`](crate::platform::exchange::Logged)). Every request log gets a response log in the end, also when no answer came. Records are
//! appended and never changed, except that [`retention`] purges and erases them by its rules. Fields without a value are null, never absent.
//!
//! Collections: `provider_request_logs`, `provider_response_logs`, `audit_events`, and those of [`seals`] and [`retention`]. No jobs, no
//! events.

mod event;
pub mod export;
mod model;
pub mod proof;
mod query;
mod record;
mod refusals;
pub mod retention;
pub mod seals;
mod search;
mod store;
pub mod verification;

pub use event::{AuditEvent, AuditOutcome};
pub use model::{
    AUDIT_EVENTS, Call, ErrorClass, ProviderRequestLog, ProviderResponseLog, REQUEST_LOGS, RESPONSE_LOGS, Verdict,
};
pub use record::{journal, record_event, record_request, record_response};
pub use refusals::{Refusals, Sender};
pub use search::{CallFilter, CallPage, CallSearch, CallWithAnswers, ListedCall};
pub use store::{AuditStore, OutcomeCount};
