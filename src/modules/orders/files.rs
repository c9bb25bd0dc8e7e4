//! Contents of orders' files: sealed, in pieces, because a document of the database ends at 16 MiB. They are written outside of
//! transactions, while a file comes in, each attempt in a place of its own; a file counts once its order names it, in the transaction that ends
//! the attempt. What an attempt left behind that did not end so is removed by the next one.

use std::{io, sync::Arc};

use async_trait::async_trait;
use bson::{DateTime, Document, doc};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use mongodb::{Collection, Database, error::Result, options::CollectionOptions};
use serde::{Deserialize, Serialize};

use super::{
    error::OrderError,
    model::{ORDERS, OrderFile},
    polling::file_id,
};
use crate::{
    modules::{
        audit::{
            Call,
            retention::{Belonging, Eraser, ErasureError, ErasureSubject},
        },
        providers::call_job::FileKeeper,
    },
    platform::{
        clock::Clock,
        exchange::{FileSink, PIECE_BYTES},
        mongo::{Index, READ_TIME_MAX, durable},
        rewrap::{Rotation, SealedField},
        sealing::{Sealed, SealingKeys},
    },
};

pub const PIECES: &str = "order_file_pieces";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilePiece {
    /// The file's id and the piece's number.
    #[serde(rename = "_id")]
    id: String,
    file_id: String,
    order_id: String,
    user_id: String,
    content: Sealed,
    stored_at: DateTime,
}

/// Keeps files and opens them.
#[derive(Clone)]
pub struct OrderFiles {
    db: Database,
    keys: Arc<SealingKeys>,
    clock: Clock,
}

impl std::fmt::Debug for OrderFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderFiles").finish_non_exhaustive()
    }
}

impl OrderFiles {
    /// Over `db`, sealed by `keys`.
    #[must_use]
    pub const fn new(db: Database, keys: Arc<SealingKeys>, clock: Clock) -> Self {
        Self { db, keys, clock }
    }

    #[must_use]
    pub(super) fn indexes() -> Vec<Index> {
        vec![
            Index::new(PIECES, "order", doc! { "orderId": 1, "fileId": 1 }),
            // A rotation looks for other keys, and must not read every piece for that.
            Index::new(PIECES, "sealing_key", doc! { "content.envelope.keyId": 1 }),
        ]
    }

    /// The time by which what staff read is recorded.
    pub(super) fn now(&self) -> DateTime {
        self.clock.now()
    }

    fn pieces(&self) -> Collection<FilePiece> {
        pieces(&self.db)
    }

    /// One piece of a file, opened.
    ///
    /// # Errors
    /// [`OrderError::NoFile`] where it is not there, [`OrderError::Sealed`], [`OrderError::Database`].
    async fn piece(&self, file_id: &str, number: u64) -> std::result::Result<Bytes, OrderError> {
        let id = piece_id(file_id, number);
        let found = self.pieces().find_one(doc! { "_id": &id }).max_time(READ_TIME_MAX).await?;
        let piece = found.ok_or(OrderError::NoFile)?;
        let keys = Arc::clone(&self.keys);
        let opening = tokio::task::spawn_blocking(move || keys.open(&place(&id), &piece.content));
        let opened = opening.await.map_err(|_| OrderError::Busy)??;
        Ok(Bytes::copy_from_slice(&opened))
    }

    /// The content of a file, piece by piece. The first one is opened before anything is given.
    ///
    /// # Errors
    /// As of the first piece; a later one that can't be had breaks the stream off.
    pub async fn open(
        &self,
        file: &OrderFile,
    ) -> std::result::Result<impl Stream<Item = io::Result<Bytes>> + use<>, OrderError> {
        let count = u64::try_from(file.bytes).unwrap_or_default().div_ceil(PIECE_BYTES as u64);
        let first = self.piece(&file.id, 0).await?;
        let (files, id) = (self.clone(), file.id.clone());
        let rest = stream::try_unfold(1, move |number| {
            let (files, id) = (files.clone(), id.clone());
            async move {
                if number >= count {
                    return Ok(None);
                }
                match files.piece(&id, number).await {
                    Ok(piece) => Ok(Some((piece, number + 1))),
                    Err(error) => {
                        tracing::error!(file.id = id, number, %error, "a piece of a file can't be had");
                        Err(io::Error::other("a piece of the file can't be had"))
                    }
                }
            }
        });
        Ok(stream::iter([Ok(first)]).chain(rest))
    }
}

fn pieces(db: &Database) -> Collection<FilePiece> {
    db.collection_with_options(PIECES, CollectionOptions::builder().write_concern(durable()).build())
}

fn piece_id(file_id: &str, number: u64) -> String {
    format!("{file_id}/{number}")
}

fn place(piece_id: &str) -> String {
    format!("{PIECES}/{piece_id}/content")
}

impl FileKeeper for OrderFiles {
    fn keep(&self, call: &Call) -> Box<dyn FileSink> {
        Box::new(FileWriter {
            files: self.clone(),
            file_id: file_id(&call.request_ref_id),
            order_id: call.order_id.clone().unwrap_or_default(),
            user_id: call.user_id.clone(),
            next: 0,
        })
    }
}

struct FileWriter {
    files: OrderFiles,
    file_id: String,
    order_id: String,
    user_id: String,
    next: u64,
}

impl FileWriter {
    /// Removes what earlier attempts of this order left behind. Ids tell the time, so a worker that wakes up late removes nothing of
    /// a later attempt.
    async fn tidy(&self) -> Result<()> {
        let orders = self.files.db.collection::<Document>(ORDERS);
        let named = orders
            .find_one(doc! { "_id": &self.order_id })
            .max_time(READ_TIME_MAX)
            .projection(doc! { "followed.files.id": 1 })
            .await?;
        let files = named.as_ref().and_then(|order| order.get_document("followed").ok()?.get_array("files").ok());
        let ids = files.into_iter().flatten().filter_map(|file| file.as_document()?.get_str("id").ok());
        let counted: Vec<&str> = ids.collect();
        let left = doc! { "orderId": &self.order_id, "fileId": { "$lt": &self.file_id, "$nin": counted } };
        self.files.pieces().delete_many(left).await.map(drop)
    }
}

#[async_trait]
impl FileSink for FileWriter {
    async fn put(&mut self, piece: Bytes) -> std::result::Result<(), String> {
        if self.next == 0 {
            self.tidy().await.map_err(|error| error.to_string())?;
        }
        let id = piece_id(&self.file_id, self.next);
        let (keys, at) = (Arc::clone(&self.files.keys), place(&id));
        let sealing = tokio::task::spawn_blocking(move || keys.seal(&at, &piece));
        let content = sealing.await.map_err(|error| error.to_string())?;
        let piece = FilePiece {
            id,
            file_id: self.file_id.clone(),
            order_id: self.order_id.clone(),
            user_id: self.user_id.clone(),
            content,
            stored_at: self.files.clock.now(),
        };
        self.files.pieces().insert_one(piece).await.map_err(|error| error.to_string())?;
        self.next += 1;
        Ok(())
    }

    async fn discard(&mut self) {
        if self.next == 0 {
            return;
        }
        let theirs = doc! { "orderId": &self.order_id, "fileId": &self.file_id };
        if let Err(error) = self.files.pieces().delete_many(theirs).await {
            tracing::warn!(order.id = self.order_id, %error, "what came of a file that was given up is still there");
        }
    }
}

/// Erases contents and names of the files of an order, or of all orders of a user; gives how many orders had any. What is left is
/// that there were some, and their digests.
///
/// # Errors
/// [`ErasureError`].
pub async fn erase(
    db: &Database,
    eraser: &Eraser,
    subject: &ErasureSubject,
    reason: &str,
    now: DateTime,
) -> std::result::Result<u64, ErasureError> {
    let mut filter = match subject {
        ErasureSubject::User(id) => doc! { "userId": id },
        ErasureSubject::Order { id, .. } => doc! { "_id": id },
    };
    filter.insert("followed.files", doc! { "$elemMatch": { "erasedAt": null } });
    let mut found = db.collection::<Document>(ORDERS).find(filter).projection(doc! { "userId": 1 }).await?;
    let mut erased = 0;
    while let Some(order) = found.try_next().await? {
        let (Ok(order_id), Ok(user_id)) = (order.get_str("_id"), order.get_str("userId")) else { continue };
        let mut set = doc! { "followed.files.$[].name": "erased", "followed.files.$[].erasedAt": now };
        set.insert("followed.toFetch.$[].name", "erased");
        let named = Belonging { collection: ORDERS, filter: doc! { "_id": order_id }, set: Some(set) };
        let kept = Belonging { collection: PIECES, filter: doc! { "orderId": order_id }, set: None };
        eraser.erase_belongings(subject, reason, (order_id, user_id), &[named, kept]).await?;
        erased += 1;
    }
    Ok(erased)
}

/// Wraps the pieces of all files under today's key.
///
/// # Errors
/// Errors of the database driver.
pub async fn rotate(rotation: &mut Rotation<'_>) -> Result<()> {
    rotation.field(&SealedField { collection: PIECES, path: "content", place }).await
}
