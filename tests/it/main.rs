//! Integration tests: through HTTP, against a real MongoDB replica set and a real Redis, with the carrier's stand-in as a
//! process of its own. `scripts/test` starts the servers.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

mod architecture;
mod audit_bad_cases;
mod audit_calls;
mod audit_erasure;
mod audit_events;
mod audit_export;
mod audit_legal_holds;
mod audit_purge_records;
mod audit_retention;
mod audit_seals;
mod audit_verify;
mod audit_verify_command;
mod audit_verify_export;
mod audit_verify_parts;
mod audit_verify_seals;
mod auth;
mod cancel;
mod edge;
mod faults;
mod finance;
mod finance_export;
mod finance_reports;
mod journey;
mod kyc;
mod kyc_application;
mod kyc_checks;
mod kyc_clarification;
mod kyc_decisions;
mod kyc_documents;
mod kyc_form;
mod kyc_gate;
mod kyc_privacy;
mod kyc_review;
mod kyc_rotation;
mod kyc_uploads;
mod ledger;
mod openapi;
mod orders;
mod orders_validation;
mod provider_faults;
mod provider_outages;
mod queues;
mod redaction;
mod redaction_providers;
mod roles;
mod sealing;
mod statement;
mod stores_away;
mod topups;
mod topups_callbacks;
mod topups_faults;
