//! Verification of merchants, before money and parcels move.
//!
//! Invariants: an application's state changes only along [`transitions::next`], in one transaction with the event and
//! the audit record that say so, with actor and reason. What was handed in is locked until somebody asks for more. Of an
//! Aadhaar number only the last four digits and a random reference exist anywhere. PAN, GSTIN, account number and
//! documents are sealed; everybody but a reviewer sees them masked, and what a reviewer reads is written down before it
//! is shown. What the verification provider says after a person has decided is on record and changes nothing. Nobody
//! gets a [`Verified`] but from the state that the same transaction has read. Whoever hands in a number that another account
//! has handed in is verified by a person or not at all.
//!
//! Collections: `kyc_applications`, `kyc_documents`, `kyc_papers`, `kyc_keys`. Job, on `kyc-verification-queue`: `verify-application`. Events:
//! `KycDraftSaved, KycDocumentAdded, KycDocumentRemoved, KycSubmitted, KycReferred, KycVerified, KycClarificationNeeded,
//! KycRechecked, KycApprovalProposed, KycApproved, KycRejected, KycClarificationAsked, KycSuspended, KycReinstated,
//! KycGranted, KycErased`.

mod checking;
mod commands;
mod content;
mod draft;
mod error;
mod gate;
mod http;
pub mod identifiers;
mod job;
mod model;
pub mod names;
mod papers;
mod request;
mod review;
mod review_http;
mod rotation;
mod service;
mod store;
mod submission;
pub mod transitions;

#[cfg(test)]
mod attempt_tests;
#[cfg(test)]
mod checking_tests;
#[cfg(test)]
mod draft_tests;
#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod review_tests;

pub use error::KycError;
pub use gate::{KycGate, NotVerified, Verified};
pub use http::router;
pub use job::VerifyApplication;
pub use model::{APPLICATIONS, Application, DOCUMENTS, KycState, Requirement};
pub use papers::LinkedAccount;
pub use review::ReviewAction;
pub use review_http::router as review_router;
pub use rotation::rotate;
pub use service::{KycService, grant};
pub use store::KycStore;

/// Has applications checked.
pub const KYC_QUEUE: &str = "kyc-verification-queue";
/// Kind of the jobs that have an application checked.
pub const VERIFY_KIND: &str = "verify-application";
