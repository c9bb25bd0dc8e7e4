//! Seals and their records, read ahead: while one piece is hashed, the next ones are fetched.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{Cursor, Database, error::Error};
use tokio::sync::mpsc;

use super::{
    super::{
        proof::{PublicKeys, Scopes, Seal},
        seals::{AUDIT_SEALS, SealStore},
    },
    purges::{Purges, purges_of},
};

/// Records of a piece. Three pieces are fetched at once, one waits, one is hashed: with records of 1 KB some 3 MB, and
/// 200 MB where all of them are as large as a log gets.
const PIECE_RECORDS: usize = 500;
/// Seals that begin in one piece: those without records count too.
const PIECE_SEALS: usize = 500;
/// Bytes of records of a piece, and one record more: ours have some KB, but one may have been replaced by whatever the
/// database stores.
const PIECE_BYTES: usize = 32 * 1024 * 1024;
const PIECES_AT_ONCE: usize = 3;
/// Seals that the server hands out at once; one has 1.7 MB at most as the sealer makes them.
const SEALS_AT_ONCE: u32 = 20;

/// Why there is no next seal.
#[derive(Debug)]
pub(super) enum ReadError {
    /// What the driver says.
    Database(Error),
    /// There is one, but it can't be read.
    Seal(String),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// What was read at once: seals that begin here, and records from where the piece before ended.
struct Fetched {
    seals: Vec<Arc<Seal>>,
    records: Vec<Slot>,
    purges: Purges,
}

/// The record of a leaf.
enum Slot {
    Here(RawDocumentBuf),
    Gone,
    /// There was no room for it: it is fetched when its turn comes. By its seal and its position in it.
    Later(Arc<Seal>, usize),
}

/// Seals in their order, and the records of their leaves in theirs.
pub(super) struct Source {
    db: Database,
    keys: PublicKeys,
    pieces: mpsc::Receiver<Result<Fetched, ReadError>>,
    seals: VecDeque<Arc<Seal>>,
    records: VecDeque<Slot>,
    /// Purge records that came with what was read and nobody has taken yet.
    purges: Purges,
    /// What came in place of a piece.
    error: Option<ReadError>,
}

impl Source {
    /// Begins to read the seals that match `filter`. Purge records count that one of `keys` has signed.
    pub(super) async fn start(db: &Database, keys: &PublicKeys, filter: Document) -> Result<Self, Error> {
        let seals = db.collection::<RawDocumentBuf>(AUDIT_SEALS);
        let cursor = seals.find(filter).sort(doc! { "_id": 1 }).batch_size(SEALS_AT_ONCE).await?;
        let (sender, pieces) = mpsc::channel(1);
        let source = Self {
            db: db.clone(),
            keys: keys.clone(),
            pieces,
            seals: VecDeque::new(),
            records: VecDeque::new(),
            purges: Purges::default(),
            error: None,
        };
        let (db, keys) = (db.clone(), keys.clone());
        // Ends by itself: when everything is read, or when nobody listens any more.
        tokio::spawn(async move {
            let cut = stream::try_unfold(Pieces { cursor, rest: None, error: None }, async |mut pieces| {
                Ok::<_, ReadError>(pieces.next().await?.map(|piece| (piece, pieces)))
            });
            // In order, errors too: what was read before one is checked first.
            let fetching = cut.map(async |piece| fetch(&db, &keys, piece?).await);
            let mut fetched = std::pin::pin!(fetching.buffered(PIECES_AT_ONCE));
            while let Some(piece) = fetched.next().await {
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
        });
        Ok(source)
    }

    /// The next seal; none at the end.
    pub(super) async fn seal(&mut self) -> Result<Option<Arc<Seal>>, ReadError> {
        while self.seals.is_empty() && self.more().await {}
        match (self.seals.pop_front(), self.error.take()) {
            (Some(seal), error) => {
                self.error = error;
                Ok(Some(seal))
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// The record of the next leaf; none where it is gone.
    pub(super) async fn record(&mut self) -> Result<Option<RawDocumentBuf>, ReadError> {
        while self.records.is_empty() && self.more().await {}
        match self.records.pop_front() {
            Some(Slot::Here(record)) => Ok(Some(record)),
            Some(Slot::Gone) => Ok(None),
            Some(Slot::Later(seal, at)) => self.fetch_one(&seal, at).await,
            None => Err(self.error.take().unwrap_or_else(|| Error::custom("reading ended early".to_owned()).into())),
        }
    }

    async fn fetch_one(&mut self, seal: &Seal, at: usize) -> Result<Option<RawDocumentBuf>, ReadError> {
        let record = SealStore::new(self.db.clone()).records(&seal.leaves[at..=at]).await?.pop().flatten();
        if record.is_none() {
            self.purges.extend(purges_of(&self.db, &BTreeSet::from([seal.number]), &self.keys).await?);
        }
        Ok(record)
    }

    /// Purge records that came since this was asked the last time: all of the seals whose records were handed out.
    pub(super) fn purges(&mut self) -> Purges {
        std::mem::take(&mut self.purges)
    }

    async fn more(&mut self) -> bool {
        match self.pieces.recv().await {
            Some(Ok(piece)) => {
                self.seals.extend(piece.seals);
                self.records.extend(piece.records);
                self.purges.extend(piece.purges);
                true
            }
            Some(Err(error)) => {
                self.error = Some(error);
                false
            }
            None => false,
        }
    }
}

/// Parts of seals, as many as are fetched at once.
#[derive(Default)]
struct Piece {
    /// Seals that begin here.
    begun: Vec<Arc<Seal>>,
    parts: Vec<(Arc<Seal>, Range<usize>)>,
    records: usize,
}

struct Pieces {
    cursor: Cursor<RawDocumentBuf>,
    /// A seal of which only the leaves before this one were given.
    rest: Option<(Arc<Seal>, usize)>,
    /// Met behind the last piece.
    error: Option<ReadError>,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Piece>, ReadError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut piece = Piece::default();
        while piece.records < PIECE_RECORDS && piece.begun.len() < PIECE_SEALS {
            let (seal, from) = match self.rest.take() {
                Some(rest) => rest,
                None => match self.next_seal().await {
                    Ok(Some(seal)) => {
                        piece.begun.push(Arc::clone(&seal));
                        (seal, 0)
                    }
                    Ok(None) => break,
                    // What was read before is checked first.
                    Err(error) if !piece.begun.is_empty() || piece.records > 0 => {
                        self.error = Some(error);
                        break;
                    }
                    Err(error) => return Err(error),
                },
            };
            let to = seal.leaves.len().min(from + PIECE_RECORDS - piece.records);
            if to < seal.leaves.len() {
                self.rest = Some((Arc::clone(&seal), to));
            }
            piece.records += to - from;
            piece.parts.push((seal, from..to));
        }
        Ok((!piece.parts.is_empty()).then_some(piece))
    }

    async fn next_seal(&mut self) -> Result<Option<Arc<Seal>>, ReadError> {
        let stored = self.cursor.try_next().await?;
        stored.map(|stored| read(&stored).map(Arc::new)).transpose()
    }
}

/// The seal of this number.
pub(super) async fn find_seal(db: &Database, number: i64) -> Result<Option<Seal>, ReadError> {
    let stored = db.collection::<RawDocumentBuf>(AUDIT_SEALS).find_one(doc! { "_id": number }).await?;
    stored.map(|stored| read(&stored)).transpose()
}

fn read(stored: &RawDocument) -> Result<Seal, ReadError> {
    bson::deserialize_from_slice(stored.as_bytes()).map_err(|error| ReadError::Seal(error.to_string()))
}

/// The records of a piece, as far as there is room for them.
async fn fetch(db: &Database, keys: &PublicKeys, piece: Piece) -> Result<Fetched, ReadError> {
    let places: Vec<(&Arc<Seal>, usize)> =
        piece.parts.iter().flat_map(|(seal, part)| part.clone().map(move |at| (seal, at))).collect();
    let mut by_collection: BTreeMap<&str, HashMap<&str, Vec<usize>>> = BTreeMap::new();
    for (position, (seal, at)) in places.iter().enumerate() {
        let leaf = &seal.leaves[*at];
        if let Some(scope) = Scopes::standard().of_code(leaf.code) {
            // Seals that were forged may name a record twice.
            by_collection.entry(scope.collection()).or_default().entry(&leaf.id).or_default().push(position);
        }
    }
    let mut records = vec![None; places.len()];
    let mut left = PIECE_BYTES;
    for (collection, wanted) in &by_collection {
        let ids: Vec<&str> = wanted.keys().copied().collect();
        let stored = db.collection::<RawDocumentBuf>(collection);
        let mut found = stored.find(doc! { "_id": { "$in": ids } }).batch_size(PIECE_RECORDS as u32).await?;
        while left > 0
            && let Some(record) = found.try_next().await?
        {
            let positions = record.get_str("_id").ok().and_then(|id| wanted.get(id));
            for position in positions.into_iter().flatten() {
                if left > 0 {
                    left = left.saturating_sub(record.as_bytes().len());
                    records[*position] = Some(record.clone());
                }
            }
        }
    }
    let full = left == 0;
    let slots = records.into_iter().zip(&places).map(|(record, (seal, at))| match record {
        Some(record) => Slot::Here(record),
        None if full => Slot::Later(Arc::clone(seal), *at),
        None => Slot::Gone,
    });
    let slots: Vec<Slot> = slots.collect();
    let numbers = places.iter().map(|(seal, _)| seal.number);
    let lacking: BTreeSet<i64> =
        numbers.zip(&slots).filter(|(_, slot)| matches!(slot, Slot::Gone)).map(|(number, _)| number).collect();
    // Read behind the records: a purge and its record are one transaction.
    let purges = if lacking.is_empty() { Purges::default() } else { purges_of(db, &lacking, keys).await? };
    Ok(Fetched { seals: piece.begun, records: slots, purges })
}
