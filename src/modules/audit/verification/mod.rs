//! Checking what is sealed: a chain in the database ([`verify_chain`]), and a file that was exported from one
//! ([`verify_export`]), for which neither a database nor a secret is needed.
//!
//! Invariants: nothing is changed. What is held in memory does not grow with the chain. What could not be checked is an
//! error and never a finding; a finding is the first thing that is not as it was sealed, and nothing behind it was looked
//! at. No finding says what a record says.

mod chain;
mod export;
mod lines;
mod purges;
mod report;
mod sweep;

#[cfg(test)]
mod tests;

pub use chain::{ChainError, ChainPart, Limits, sealed_between, verify_chain};
pub use export::{FileError, verify_export};
pub use report::{Report, SEALED_WITHIN_MS, Seals};
