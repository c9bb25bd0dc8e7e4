//! Parts that all reports share: the snapshot, their errors, and bodies that are written piece by piece.

use bytes::Bytes;
use futures_util::Stream;
use mongodb::error::ErrorKind as MongoErrorKind;

use crate::{
    modules::wallet::store::WalletStore,
    platform::{
        clock::{Clock, Rfc3339Time},
        error::{AppError, FieldError},
    },
};

/// Entries on a page unless the client says otherwise.
pub(super) const PAGE: usize = 20;

/// Reads and changes schedules for the routes.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    pub(super) store: WalletStore,
    pub(super) clock: Clock,
}

/// Why a report can't be given.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    /// The cursor isn't one of ours, or is another user's.
    #[error("the cursor is not one of ours")]
    Cursor,
    /// It would take longer than a client waits.
    #[error("there is too much to look through")]
    TooWide,
    /// The lines don't add up: nothing that we could hand out would be true.
    #[error("{0} does not follow from what is before it")]
    Broken(String),
    /// A sum leaves what 64 bits hold.
    #[error("a sum is too large")]
    Overflow,
    /// A stored value can't be written down.
    #[error("a line can't be written: {0}")]
    Write(#[from] std::io::Error),
    /// The database could not be read.
    #[error(transparent)]
    Database(mongodb::error::Error),
}

impl From<mongodb::error::Error> for ReportError {
    fn from(error: mongodb::error::Error) -> Self {
        const MAX_TIME_EXPIRED: i32 = 50;
        match error.kind.as_ref() {
            MongoErrorKind::Command(command) if command.code == MAX_TIME_EXPIRED => Self::TooWide,
            _ => Self::Database(error),
        }
    }
}

/// A period that ends before it begins is a mistake, not an empty period.
pub(super) fn ensure_period(from: Option<Rfc3339Time>, to: Option<Rfc3339Time>) -> Result<(), AppError> {
    match (from, to) {
        (Some(from), Some(to)) if from > to => {
            Err(AppError::invalid(vec![FieldError::new("from", "range", "must not be after `to`")]))
        }
        _ => Ok(()),
    }
}

/// Something that is written piece by piece, so that its size does not matter.
pub(super) trait FilePieces: Send + 'static {
    /// Its name in the log.
    const NAME: &'static str;

    /// The next piece; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, ReportError>> + Send;
}

/// A body of `pieces`. The first one is read before anything is answered, so most failures still get a problem. A later
/// one breaks the body off: the connection ends without the last chunk, and no client takes the rest for the whole.
pub(super) async fn body_of<P: FilePieces>(mut pieces: P) -> Result<axum::body::Body, ReportError> {
    let first = pieces.next().await?;
    Ok(axum::body::Body::from_stream(in_turn(first, pieces)))
}

pub(super) fn in_turn<P: FilePieces>(
    first: Option<Bytes>,
    pieces: P,
) -> impl Stream<Item = Result<Bytes, ReportError>> + Send {
    futures_util::stream::try_unfold((first, pieces), |(ready, mut pieces)| async move {
        if let Some(piece) = ready {
            return Ok(Some((piece, (None, pieces))));
        }
        match pieces.next().await {
            Ok(piece) => Ok(piece.map(|piece| (piece, (None, pieces)))),
            Err(error) => {
                tracing::error!(report = P::NAME, %error, "a report was broken off");
                Err(error)
            }
        }
    })
}
