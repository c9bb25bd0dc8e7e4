//! Walking through records by an index, in the order of their ids, with a bound on how many are looked at.
//!
//! Ids begin with their time, so a range of time is a range of ids, and a page ends at an id.

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};
use serde::de::DeserializeOwned;

use crate::platform::ids::first_id_at;

/// Without a key that few records share, a page stays within so much time.
pub const RANGE_MAX_MS: i64 = 24 * 3_600_000;

/// Which way a list goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Newest first.
    Newest,
    /// Oldest first.
    Oldest,
}

impl Direction {
    const fn sign(self) -> i32 {
        match self {
            Self::Newest => -1,
            Self::Oldest => 1,
        }
    }
}

/// A range of time; open where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// From then on.
    pub from: Option<DateTime>,
    /// Before then.
    pub to: Option<DateTime>,
}

impl TimeRange {
    /// At most a day of it: the day at which a list in this direction begins.
    #[must_use]
    pub fn a_day(self, direction: Direction, now: DateTime) -> Self {
        let ms = |time: DateTime| time.timestamp_millis();
        let (from, to) = match direction {
            Direction::Newest => {
                let to = self.to.map_or(ms(now) + 1, ms);
                (self.from.map_or(to - RANGE_MAX_MS, ms).max(to - RANGE_MAX_MS), to)
            }
            Direction::Oldest => {
                let from = self.from.map_or_else(|| self.to.map_or(ms(now) + 1, ms) - RANGE_MAX_MS, ms);
                (from, self.to.map_or(ms(now) + 1, ms).min(from + RANGE_MAX_MS))
            }
        };
        Self { from: Some(DateTime::from_millis(from)), to: Some(DateTime::from_millis(to)) }
    }
}

/// A way through a collection.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Walk {
    /// The collection.
    pub(super) collection: &'static str,
    /// Before the bodies of its ids.
    pub(super) prefix: &'static str,
    /// The index, which ends in `_id`.
    pub(super) index: &'static str,
    /// Its fields before that, given.
    pub(super) key: Document,
    /// What is compared in the records to which the index leads.
    pub(super) rest: Document,
}

/// What a walk came by.
pub(super) struct Walked<T> {
    /// Records that match.
    pub(super) found: Vec<T>,
    /// The id at which looking ended early.
    pub(super) ended_at: Option<String>,
}

impl Walk {
    /// At most `take` records in `range` beyond `after`, having looked at no more than `looks_at`.
    pub(super) async fn go<T: DeserializeOwned + Unpin + Send + Sync>(
        &self,
        db: &Database,
        range: TimeRange,
        direction: Direction,
        after: Option<&str>,
        take: usize,
        looks_at: Option<usize>,
    ) -> Result<Walked<T>> {
        let mut ids = self.ids(range, direction, after);
        let ended_at = match looks_at {
            Some(count) => self.nth(db, &ids, direction, count).await?,
            None => None,
        };
        if let Some(last) = &ended_at {
            ids.insert(if direction == Direction::Newest { "$gte" } else { "$lte" }, last);
        }
        let mut query = self.query(ids);
        query.extend(self.rest.clone());
        let records = db.collection::<T>(self.collection);
        let found = records
            .find(query)
            .hint(Hint::Name(self.index.into()))
            .sort(doc! { "_id": direction.sign() })
            .limit(take as i64)
            .batch_size(take as u32);
        Ok(Walked { found: found.await?.try_collect().await?, ended_at })
    }

    fn query(&self, ids: Document) -> Document {
        let mut query = self.key.clone();
        if !ids.is_empty() {
            query.insert("_id", ids);
        }
        query
    }

    fn ids(&self, range: TimeRange, direction: Direction, after: Option<&str>) -> Document {
        let mut ids = ids_within(self.prefix, range);
        // Of two bounds on the same side the one that was reached is the narrower.
        match (after, direction) {
            (Some(after), Direction::Newest) => drop(ids.insert("$lt", after)),
            (Some(after), Direction::Oldest) => {
                ids.remove("$gte");
                ids.insert("$gt", after);
            }
            (None, _) => {}
        }
        ids
    }

    /// The id of the `count`-th record; none where there are fewer. Reads keys of the index only.
    async fn nth(&self, db: &Database, ids: &Document, direction: Direction, count: usize) -> Result<Option<String>> {
        let records = db.collection::<Document>(self.collection);
        let found = records
            .find(self.query(ids.clone()))
            .hint(Hint::Name(self.index.into()))
            .sort(doc! { "_id": direction.sign() })
            .projection(doc! { "_id": 1 })
            .skip(count as u64 - 1)
            .limit(1);
        Ok(found.await?.try_next().await?.and_then(|record| record.get_str("_id").ok().map(str::to_owned)))
    }
}

/// A range of time as a condition on ids.
pub(super) fn ids_within(prefix: &str, range: TimeRange) -> Document {
    let mut ids = Document::new();
    let bound = |time: DateTime| first_id_at(prefix, time.timestamp_millis());
    if let Some(from) = range.from {
        ids.insert("$gte", bound(from));
    }
    if let Some(to) = range.to {
        ids.insert("$lt", bound(to));
    }
    ids
}

/// The page, and whether there is more behind it.
pub(super) fn cut<T>(mut found: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    let more = found.len() > limit;
    found.truncate(limit);
    (found, more)
}

/// Behind the last record of a full page; else where looking ended, if it ended early.
pub(super) fn next_place(last_shown: Option<&str>, more: bool, ended_at: Option<String>) -> Option<String> {
    if more { last_shown.map(str::to_owned) } else { ended_at }
}

/// Conditions for the fields that are given.
pub(super) fn given(fields: &[(&str, Option<&str>)]) -> Document {
    fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.into()))).collect()
}
