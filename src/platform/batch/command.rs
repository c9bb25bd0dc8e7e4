//! Commands of a lane, and its errors.

use std::time::Duration;

use super::view::{Key, View};
use crate::platform::mongo;

/// Commands in one transaction, at most.
pub const BATCH_MAX: usize = 128;

/// A command that is not committed this long after it was submitted is answered 503, waiting included.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One decision over the database.
pub trait Command: Send + 'static {
    /// The answer for the caller.
    type Reply: Send + 'static;

    /// Keys that it will read, as far as known beforehand: read in one round with those of its neighbours.
    fn reads(&self) -> Vec<Key>;

    /// Decides. Pure: no IO, no clock but `view.now()`, no fresh ids; may run several times, also over a view in which
    /// what it did not announce seems to be absent: such a run is undone, what it looked for is read, and it decides again.
    fn decide(&self, view: &mut View) -> Self::Reply;

    /// Bytes of client data that it holds, where they may be more than a few kilobytes.
    fn bytes(&self) -> usize {
        0
    }
}

/// Why a command has no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LaneError {
    /// The queue is full, or what waits in it takes too much memory.
    #[error("too many commands are waiting")]
    Busy,
    /// The database did not take it in time. Whether it did is not known; asking again is safe.
    #[error("the database did not answer in time")]
    Away,
    /// The command itself can't be carried out; a bug.
    #[error("the command failed: {0}")]
    Failed(String),
}

impl LaneError {
    /// In a word, for traces.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Away => "away",
            Self::Failed(_) => "failed",
        }
    }
}

/// A commit that takes longer ends as one whose result is not known.
pub(super) const COMMIT_TIME_MAX: Duration = Duration::from_secs(5);

/// How a try of a batch ended short of success.
#[derive(Debug)]
pub(super) enum BatchError {
    /// Run it again: conflicts, a new primary.
    Again(mongodb::error::Error),
    /// A unique index refused something that was not there when we read.
    Duplicate(String),
    /// The database can't be reached.
    Away(mongodb::error::Error),
    /// Not a matter of trying again.
    Broken(String),
}

impl From<mongodb::error::Error> for BatchError {
    fn from(error: mongodb::error::Error) -> Self {
        if mongo::is_transient(&error) {
            Self::Again(error)
        } else if mongo::is_duplicate_key(&error) {
            Self::Duplicate(error.to_string())
        } else if mongo::is_away(&error) {
            Self::Away(error)
        } else {
            Self::Broken(error.to_string())
        }
    }
}
