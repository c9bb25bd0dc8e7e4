//! Seals in their order with their records, read ahead: while one piece is checked or written, the next ones are fetched.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Error, options::Hint};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    super::proof::{Scopes, Seal},
    store::{AUDIT_SEALS, ReadError, SealStore, read_seal},
};
use crate::platform::mongo::READ_TIME_MAX;

/// Pieces that wait, fetched or being fetched. One more is handed over and one is worked on, so five are in memory.
const PIECES_WAITING: usize = 3;
/// Bytes of seals that are read at once; one seal more may be among them. The sealer's own have 17 MB together, but seals may have been
/// replaced by whatever the database stores.
const SEAL_BYTES_MAX: usize = 32 * 1024 * 1024;

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

/// The next item.
enum Ahead {
    Piece(Fetch),
    /// Reading has failed behind what was handed over.
    Failed(ReadError),
    /// Everything was read. Said in so many words: a task that was broken off says nothing.
    End,
}

/// A piece under way, which ends with whoever waits for it.
struct Fetch(JoinHandle<Result<Piece, ReadError>>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Hands out seals in their order, and the records of their leaves in theirs.
pub struct ReadAhead {
    store: SealStore,
    ahead: mpsc::Receiver<Ahead>,
    seals: VecDeque<Arc<Seal>>,
    records: VecDeque<Slot>,
    /// Seals of which records are gone, see [`ReadAhead::take_lacking`].
    lacking: BTreeSet<i64>,
    /// The error in place of a piece.
    error: Option<ReadError>,
    is_at_end: bool,
}

impl ReadAhead {
    /// Begins to read the seals that match `filter`.
    #[must_use]
    pub fn start(db: &Database, filter: Document, size: PieceSize) -> Self {
        let (sender, ahead) = mpsc::channel(PIECES_WAITING);
        let (db, store) = (db.clone(), SealStore::new(db.clone()));
        let mut cutter = Cutter {
            seals: db.collection(AUDIT_SEALS),
            filter,
            size,
            page: VecDeque::new(),
            last: None,
            is_last_page: false,
            rest: None,
            error: None,
        };
        // Ends by itself: when everything is read, or when nobody listens any more. A piece is fetched by a task of its own, so that it
        // holds no connection while whoever takes an export is slow to take more.
        tokio::spawn(async move {
            loop {
                let ahead = match cutter.next().await {
                    Ok(Some(parts)) => {
                        let db = db.clone();
                        Ahead::Piece(Fetch(tokio::spawn(async move { fetch(&db, parts, size).await })))
                    }
                    Ok(None) => Ahead::End,
                    Err(error) => Ahead::Failed(error),
                };
                let is_last = !matches!(ahead, Ahead::Piece(_));
                if sender.send(ahead).await.is_err() || is_last {
                    break;
                }
            }
        });
        let (seals, records) = (VecDeque::new(), VecDeque::new());
        Self { store, ahead, seals, records, lacking: BTreeSet::new(), error: None, is_at_end: false }
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
        let broken_off = || Error::custom("reading ahead was broken off".to_owned()).into();
        let piece = match self.ahead.recv().await {
            Some(Ahead::Piece(mut fetch)) => (&mut fetch.0).await.unwrap_or_else(|_| Err(broken_off())),
            Some(Ahead::Failed(error)) => Err(error),
            Some(Ahead::End) => {
                self.is_at_end = true;
                return false;
            }
            None if self.is_at_end => return false,
            None => Err(broken_off()),
        };
        match piece {
            Ok(piece) => {
                self.seals.extend(piece.seals);
                let gone = |slot: &Slot| if let Slot::Gone(seal) = slot { Some(*seal) } else { None };
                self.lacking.extend(piece.records.iter().filter_map(gone));
                self.records.extend(piece.records);
                true
            }
            Err(error) => {
                self.error = Some(error);
                false
            }
        }
    }
}

/// Parts of seals, as many as are fetched at once.
#[derive(Default)]
struct SealParts {
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
    async fn next(&mut self) -> Result<Option<SealParts>, ReadError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let (mut cut, most) = (SealParts::default(), self.size.records);
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
        let filter = match &self.last {
            None => self.filter.clone(),
            // Whatever types ids have: some may be there that are no numbers.
            Some(last) if self.filter.is_empty() => doc! { "_id": { "$ne": last } },
            // Bounds on both sides: with `min` in place of this one everything behind the last seal that is wanted would be read.
            Some(last) => doc! { "$and": [self.filter.clone(), { "_id": { "$gt": last } }] },
        };
        let seals = self.seals.find(filter).sort(by_id.clone()).hint(Hint::Keys(by_id)).limit(self.size.seals);
        let mut seals = seals.max_time(READ_TIME_MAX);
        if let Some(last) = self.last.as_ref().filter(|_| self.filter.is_empty()) {
            seals = seals.min(doc! { "_id": last });
        }
        let (mut found, mut bytes) = (seals.await?, 0);
        while bytes < SEAL_BYTES_MAX
            && let Some(seal) = found.try_next().await?
        {
            bytes += seal.as_bytes().len();
            self.page.push_back(seal);
        }
        self.is_last_page = bytes < SEAL_BYTES_MAX && (self.page.len() as i64) < self.size.seals;
        let last = self.page.back().map(|seal| seal.get("_id").map(|id| id.map(Bson::try_from)));
        if let Some(Ok(Some(Ok(last)))) = last {
            self.last = Some(last);
        }
        Ok(())
    }
}

/// The records of a piece, as far as there is room for them.
async fn fetch(db: &Database, cut: SealParts, size: PieceSize) -> Result<Piece, ReadError> {
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
        let found = stored.find(doc! { "_id": { "$in": ids } }).batch_size(size.records as u32);
        let mut found = found.max_time(READ_TIME_MAX).await?;
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
