//! Errors of exports.

use super::super::seals::{ReadError, SecretError};

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Nobody could tell a whole file from half of one.
    #[error("no key signs here: AUDIT_SIGNING_KEY is not set")]
    NotSigned,
    /// Personal fields have no salts without it.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    /// A seal is not there, or names what nobody knows.
    #[error("seal {number}: {reason}")]
    Seal { number: i64, reason: &'static str },
    /// A record would not read as what was sealed.
    #[error("{collection} {id} can't be written: {reason}")]
    Record {
        collection: String,
        id: String,
        /// The fault; never the content.
        reason: String,
    },
    /// Nobody takes it any more.
    #[error("the export can't be written: {0}")]
    Write(#[from] std::io::Error),
    /// Reading ahead ended in a panic.
    #[error("reading failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        Self::Database(error.into())
    }
}
