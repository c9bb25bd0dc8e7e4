//! Seals in their order with their records, read ahead: while one piece is checked or written, the next ones are fetched.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{Collection, Database, error::Error, options::Hint};
use tokio::sync::mpsc;

use super::{
    super::proof::{Scopes, Seal},
    store::{AUDIT_SEALS, ReadError, SealStore, read_seal},
};

/// Pieces that are fetched at once. One more waits and one is worked on, so five are in memory.
const PIECES_AT_ONCE: usize = 3;

/// How much is read at once.
#[derive(Clone, Copy, Debug)]
pub struct PieceSize {
    /// Records of a piece, and seals that begin in it: those without records count too.
    pub records: usize,
    /// Bytes of its records; one record more may be in it. Records of ours have 64 KB at most, but one may have been replaced by whatever the
    /// database stores.
    pub bytes: usize,
    /// Seals that are read at once; one has 1.7 MB at most as the sealer makes them.
    pub seals: i64,
}

/// Seals that begin in a piece, and records from where the piece before ended.
struct Piece {
    seals: Vec<Arc<Seal>>,
    records: Vec<Slot>,
}

enum Slot {
    Here(RawDocumentBuf),
    /// It is gone. With the number of its seal.
    Gone(i64),
    /// There was no room for it: it is fetched when its turn comes. By its seal and its position in it.
    Later(Arc<Seal>, usize),
}

/// Hands out seals in their order, and the records of their leaves in theirs.
pub struct ReadAhead {
    store: SealStore,
    pieces: mpsc::Receiver<Result<Piece, ReadError>>,
    seals: VecDeque<Arc<Seal>>,
    records: VecDeque<Slot>,
    /// Seals of which records are gone, see [`ReadAhead::take_lacking`].
    lacking: BTreeSet<i64>,
    /// What came in place of a piece.
    error: Option<ReadError>,
}

impl ReadAhead {
    /// Begins to read the seals that match `filter`.
    #[must_use]
    pub fn start(db: &Database, filter: Document, size: PieceSize) -> Self {
        let (sender, pieces) = mpsc::channel(1);
        let (db, store) = (db.clone(), SealStore::new(db.clone()));
        let cutter = Cutter {
            seals: db.collection(AUDIT_SEALS),
            filter,
            size,
            page: VecDeque::new(),
            last: None,
            is_last_page: false,
            rest: None,
            error: None,
        };
        // Ends by itself: when everything is read, or when nobody listens any more.
        tokio::spawn(async move {
            let cut = stream::try_unfold(cutter, async |mut cutter| {
                Ok::<_, ReadError>(cutter.next().await?.map(|parts| (parts, cutter)))
            });
            // In order, errors too: what was read before one is worked on first.
            let fetching = cut.map(async |parts| fetch(&db, parts?, size).await);
            let mut fetched = std::pin::pin!(fetching.buffered(PIECES_AT_ONCE));
            while let Some(piece) = fetched.next().await {
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
        });
        let (seals, records) = (VecDeque::new(), VecDeque::new());
        Self { store, pieces, seals, records, lacking: BTreeSet::new(), error: None }
    }

    /// The next seal; none at the end.
    pub async fn seal(&mut self) -> Result<Option<Arc<Seal>>, ReadError> {
        while self.seals.is_empty() && self.more().await {}
        match self.seals.pop_front() {
            Some(seal) => Ok(Some(seal)),
            None => self.error.take().map_or(Ok(None), Err),
        }
    }

    /// The record of the next leaf; none where it is gone.
    pub async fn record(&mut self) -> Result<Option<RawDocumentBuf>, ReadError> {
        while self.records.is_empty() && self.more().await {}
        match self.records.pop_front() {
            Some(Slot::Here(record)) => Ok(Some(record)),
            Some(Slot::Gone(_)) => Ok(None),
            Some(Slot::Later(seal, at)) => {
                let record = self.store.record(&seal.leaves[at]).await?;
                if record.is_none() {
                    self.lacking.insert(seal.number);
                }
                Ok(record)
            }
            None => Err(self.error.take().unwrap_or_else(|| Error::custom("reading ended early".to_owned()).into())),
        }
    }

    /// Numbers of the seals of which records were found gone since this was asked the last time.
    pub fn take_lacking(&mut self) -> BTreeSet<i64> {
        std::mem::take(&mut self.lacking)
    }

    async fn more(&mut self) -> bool {
        match self.pieces.recv().await {
            Some(Ok(piece)) => {
                self.seals.extend(piece.seals);
                let gone = |slot: &Slot| if let Slot::Gone(seal) = slot { Some(*seal) } else { None };
                self.lacking.extend(piece.records.iter().filter_map(gone));
                self.records.extend(piece.records);
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
struct Parts {
    /// Seals that begin here.
    begun: Vec<Arc<Seal>>,
    parts: Vec<(Arc<Seal>, Range<usize>)>,
    records: usize,
}

/// Cuts the seals into pieces.
struct Cutter {
    seals: Collection<RawDocumentBuf>,
    filter: Document,
    size: PieceSize,
    page: VecDeque<RawDocumentBuf>,
    /// `_id` of the last seal of the page.
    last: Option<Bson>,
    is_last_page: bool,
    /// A seal of which only the leaves before this one were given.
    rest: Option<(Arc<Seal>, usize)>,
    /// Met behind the last piece.
    error: Option<ReadError>,
}

impl Cutter {
    async fn next(&mut self) -> Result<Option<Parts>, ReadError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let (mut cut, most) = (Parts::default(), self.size.records);
        while cut.records < most && cut.begun.len() < most {
            let (seal, from) = match self.rest.take() {
                Some(rest) => rest,
                None => match self.next_seal().await {
                    Ok(Some(seal)) => {
                        cut.begun.push(Arc::clone(&seal));
                        (seal, 0)
                    }
                    Ok(None) => break,
                    // What was read before is worked on first.
                    Err(error) if !cut.parts.is_empty() => {
                        self.error = Some(error);
                        break;
                    }
                    Err(error) => return Err(error),
                },
            };
            let to = seal.leaves.len().min(from + most - cut.records);
            if to < seal.leaves.len() {
                self.rest = Some((Arc::clone(&seal), to));
            }
            cut.records += to - from;
            cut.parts.push((seal, from..to));
        }
        Ok((!cut.parts.is_empty()).then_some(cut))
    }

    async fn next_seal(&mut self) -> Result<Option<Arc<Seal>>, ReadError> {
        if self.page.is_empty() && !self.is_last_page {
            self.turn_page().await?;
        }
        self.page.pop_front().map(|stored| read_seal(&stored).map(Arc::new)).transpose()
    }

    /// Reads the next seals with a question of its own: a cursor would have to be held open for as long as somebody takes an export.
    async fn turn_page(&mut self) -> Result<(), Error> {
        let by_id = doc! { "_id": 1 };
        // Whatever types ids have: some may be there that are no numbers.
        let beyond = self.last.as_ref().map(|last| doc! { "_id": { "$ne": last } });
        let filter = match beyond {
            Some(beyond) => doc! { "$and": [self.filter.clone(), beyond] },
            None => self.filter.clone(),
        };
        let mut seals = self.seals.find(filter).sort(by_id.clone()).hint(Hint::Keys(by_id)).limit(self.size.seals);
        if let Some(last) = &self.last {
            seals = seals.min(doc! { "_id": last });
        }
        self.page = seals.await?.try_collect().await?;
        self.is_last_page = (self.page.len() as i64) < self.size.seals;
        let last = self.page.back().map(|seal| seal.get("_id").map(|id| id.map(Bson::try_from)));
        if let Some(Ok(Some(Ok(last)))) = last {
            self.last = Some(last);
        }
        Ok(())
    }
}

/// The records of a piece, as far as there is room for them.
async fn fetch(db: &Database, cut: Parts, size: PieceSize) -> Result<Piece, ReadError> {
    let places: Vec<(&Arc<Seal>, usize)> =
        cut.parts.iter().flat_map(|(seal, part)| part.clone().map(move |at| (seal, at))).collect();
    let mut by_collection: BTreeMap<&str, HashMap<&str, Vec<usize>>> = BTreeMap::new();
    for (position, (seal, at)) in places.iter().enumerate() {
        let leaf = &seal.leaves[*at];
        if let Some(scope) = Scopes::standard().of_code(leaf.code) {
            // Seals that were forged may name a record twice.
            by_collection.entry(scope.collection()).or_default().entry(&leaf.id).or_default().push(position);
        }
    }
    let mut records = vec![None; places.len()];
    let mut left = size.bytes;
    for (collection, wanted) in &by_collection {
        let ids: Vec<&str> = wanted.keys().copied().collect();
        let stored = db.collection::<RawDocumentBuf>(collection);
        let mut found = stored.find(doc! { "_id": { "$in": ids } }).batch_size(size.records as u32).await?;
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
    let slots = records.into_iter().zip(&places).map(|(record, (seal, at))| match record {
        Some(record) => Slot::Here(record),
        None if left == 0 => Slot::Later(Arc::clone(seal), *at),
        None => Slot::Gone(seal.number),
    });
    let records = slots.collect();
    Ok(Piece { seals: cut.begun, records })
}
