//! Pages of operators, finance and auditors across modules: the routes of `/queues`, `/provider-accounts`, `/audit`, `/overview`
//! and `/search`, and `/finance/reconciliation`.
//!
//! Invariants: administrators only for queues. A job is run again only if its subject allows it, decided in the
//! transaction that revives it; only what has ended can be deleted. What operators do is recorded in the transaction that does it. A reconciliation reads one moment and changes nothing.

mod access;
mod audit_events;
mod audit_export;
mod call_sample;
mod checkouts;
mod dead_jobs;
mod legal_holds;
mod order_list;
mod order_story;
mod overview;
mod paging;
mod provider_account_requests;
mod provider_account_test;
mod provider_accounts;
mod provider_calls;
mod queue_changes;
mod queue_paces;
mod queues;
mod reconciliation;
mod redaction_policy;
mod seals;
mod search;
mod trail;
mod verification;

pub use access::{AccessLog, record_access};
pub use audit_events::{AuditTrail, audit_event_router};
pub use audit_export::{AuditExports, audit_export_router};
pub use dead_jobs::dead_jobs_router;
pub use legal_holds::{LegalHolds, legal_hold_router};
pub use order_list::order_list_router;
pub use order_story::{OrderStories, order_story_router};
pub use overview::{LatestOverviews, Overviews, overview_router};
pub use provider_account_test::{AccountTester, TEST_DEADLINE, provider_account_test_router};
pub use provider_accounts::{AccountBoard, provider_account_router};
pub use provider_calls::{ProviderCalls, provider_call_router};
pub use queue_paces::queue_pace_router;
pub use queues::{QueueBoard, queue_router};
pub use reconciliation::{Reconciler, check_all, reconciliation_router};
pub use redaction_policy::redaction_policy_router;
pub use seals::{SealReader, seal_router};
pub use search::{Searching, search_router};
pub use verification::{Verifications, verification_router};
