//! Whole seals, in their order, with their records. Seals and records are read ahead, a little.

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bson::RawDocumentBuf;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::{io::AsyncWrite, task::JoinHandle};

use super::{
    Export, ExportError,
    file::{Entry, ExportFile},
};
use crate::modules::audit::{
    proof::{Record, Scopes, Seal},
    seals::SealStore,
};

/// Seals that are read ahead: some 4 MB each, in both of its forms, where they are full.
const SEALS_AHEAD: usize = 2;
/// Records that are read at once: 2 MB where they are as large as a log gets, and as much again while they are copied out of
/// the answer.
const PIECE: usize = 32;
/// Pieces that are read ahead.
const PIECES_AHEAD: usize = 4;

/// Some of the records of a seal, in the order of its leaves.
struct Piece {
    seal: Arc<Seal>,
    positions: Range<usize>,
    /// None where one is gone.
    records: Vec<Option<RawDocumentBuf>>,
}

/// Writes every seal of the export with its records.
pub(super) async fn write<W: AsyncWrite + Unpin + Send, P: FnMut(u64) + Send>(
    export: &Export,
    file: &mut ExportFile<W, P>,
) -> Result<(), ExportError> {
    let pieces = pieces(SealStore::new(export.db.clone()), export.seals.first, export.seals.last);
    let mut pieces = std::pin::pin!(pieces);
    while let Some(Piece { seal, positions, records }) = pieces.try_next().await? {
        if positions.start == 0 {
            file.seal(&seal).await?;
        }
        for (position, record) in positions.zip(records) {
            let leaf = &seal.leaves[position];
            let Some(scope) = Scopes::standard().of_code(leaf.code) else {
                return Err(ExportError::Seal { number: seal.number, reason: "names a rule that is not known" });
            };
            let Some(document) = record else {
                file.gone();
                continue;
            };
            let record = Record { scope, id: &leaf.id, document: &document };
            let seq = seal.first_seq + position as i64;
            file.record(Entry { seal: seal.number, seq, record, proof: None }, &export.commitments).await?;
        }
    }
    Ok(())
}

fn pieces(store: SealStore, first: i64, last: i64) -> impl Stream<Item = Result<Piece, ExportError>> + Send {
    let records = store.clone();
    stream::iter(first..=last)
        .map(move |number| Ahead::start(read_seal(store.clone(), number)))
        .buffered(SEALS_AHEAD)
        .map_ok(|seal| {
            let seal = Arc::new(seal);
            // A seal without leaves is a piece too: it has its line.
            let starts = (0..seal.leaves.len().max(1)).step_by(PIECE);
            stream::iter(starts.map(move |start| Ok((Arc::clone(&seal), start))))
        })
        .try_flatten()
        .map_ok(move |(seal, start)| Ahead::start(read_piece(records.clone(), seal, start)))
        .try_buffered(PIECES_AHEAD)
}

async fn read_seal(store: SealStore, number: i64) -> Result<Seal, ExportError> {
    store.find(number).await?.ok_or(ExportError::Seal { number, reason: "is not there" })
}

async fn read_piece(store: SealStore, seal: Arc<Seal>, start: usize) -> Result<Piece, ExportError> {
    let positions = start..(start + PIECE).min(seal.leaves.len());
    let records = store.records(&seal.leaves[positions.clone()]).await?;
    Ok(Piece { seal, positions, records })
}

/// What is read in a task of its own, until nobody waits for it any more.
struct Ahead<T>(JoinHandle<Result<T, ExportError>>);

impl<T: Send + 'static> Ahead<T> {
    fn start(reading: impl Future<Output = Result<T, ExportError>> + Send + 'static) -> Self {
        Self(tokio::spawn(reading))
    }
}

impl<T> Future for Ahead<T> {
    type Output = Result<T, ExportError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).map_err(ExportError::from).flatten())
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
