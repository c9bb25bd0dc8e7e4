//! Walking through records by an index, in the order of their ids, with a bound on how many are looked at.
//!
//! Ids begin with their time, so a range of time is a range of ids, and a page ends at an id. Walks through several
//! collections go on from one id: theirs are in one order, by what follows the prefix, and by the prefix where that is the same.

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result, options::Hint};
use serde::de::DeserializeOwned;

use super::{
    ids::{first_id_at, moved_ms, sibling_id},
    mongo::READ_TIME_MAX,
};

/// Records that a page looks at where no index narrows down what is asked for, in stages: 4,000 in all. It may come back with
/// fewer than asked for, or none, and a place to go on from; what many records have is found in the first stage.
pub const STAGES: [usize; 2] = [200, 3_800];

/// An id is made before its record is written: up to so long, which is what a lane waits, and the rest for clocks.
const WRITTEN_WITHIN_MS: i64 = 15_000;
/// The clock behind both is moved by as much at a time.
const CLOCK_STEP_MS: i64 = 1_000;

/// Without a key that few records share, a page stays within so much time.
pub const RANGE_MAX_MS: i64 = 24 * 3_600_000;

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Newest first.
    Newest,
    /// Oldest first.
    Oldest,
}

impl Direction {
    /// For sorting.
    #[must_use]
    pub const fn sign(self) -> i32 {
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

impl TimeRange {
    /// The range of the ids of what was written in this range. It is the wider one, so the time itself has to be compared
    /// as well.
    #[must_use]
    pub fn of_ids(self) -> Self {
        let moved = |time: Option<DateTime>, ms: i64| {
            time.map(|time| DateTime::from_millis(time.timestamp_millis().saturating_add(ms)))
        };
        let tests_ms = moved_ms();
        Self { from: moved(self.from, -WRITTEN_WITHIN_MS - tests_ms), to: moved(self.to, CLOCK_STEP_MS + tests_ms) }
    }
}

/// Where a record is among those of all collections: records are in the order of their places.
#[must_use]
pub fn place_of(id: &str) -> (&str, &str) {
    id.split_once('_').map_or((id, ""), |(prefix, body)| (body, prefix))
}

/// A way through a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Walk {
    pub collection: &'static str,
    /// Before the bodies of its ids.
    pub prefix: &'static str,
    /// The index, which ends in `_id`.
    pub index: &'static str,
    /// Its fields before that, given.
    pub key: Document,
    /// Conditions on the records to which the index leads.
    pub rest: Document,
}

#[derive(Clone, Debug)]
pub struct Walked<T> {
    /// Records that match.
    pub found: Vec<T>,
    /// The id at which looking ended early.
    pub ended_at: Option<String>,
}

impl Walk {
    /// At most `take` records in `range` beyond `after`, having looked at no more than `looks_at`. `after` may be the id of
    /// a record of another collection, whose records are in one order with these.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn go<T: DeserializeOwned + Unpin + Send + Sync>(
        &self,
        db: &Database,
        range: TimeRange,
        direction: Direction,
        after: Option<&str>,
        take: usize,
        looks_at: Option<usize>,
    ) -> Result<Walked<T>> {
        let (query, ended_at) = self.looking(db, range, direction, after, looks_at).await?;
        let records = db.collection::<T>(self.collection);
        let found = records
            .find(query)
            .hint(Hint::Name(self.index.into()))
            .sort(doc! { "_id": direction.sign() })
            .limit(take as i64)
            .batch_size(take as u32)
            .max_time(READ_TIME_MAX);
        Ok(Walked { found: found.await?.try_collect().await?, ended_at })
    }

    /// The same, having looked at no more than all of `stages` together: what many records have is found in the first one.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find_in_stages<T: DeserializeOwned + Unpin + Send + Sync>(
        &self,
        db: &Database,
        range: TimeRange,
        direction: Direction,
        after: Option<&str>,
        take: usize,
        stages: &[usize],
    ) -> Result<Walked<T>> {
        let mut all = Walked { found: Vec::new(), ended_at: after.map(str::to_owned) };
        for stage in stages {
            let left = take - all.found.len();
            let place = all.ended_at.take();
            let walked = self.go(db, range, direction, place.as_deref(), left, Some(*stage)).await?;
            all.found.extend(walked.found);
            all.ended_at = walked.ended_at;
            if all.found.len() == take || all.ended_at.is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// The ids of the records in `range` beyond `after` that match, having looked at no more than `looks_at`. Where nothing
    /// is compared in the records, from the index alone.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn names(
        &self,
        db: &Database,
        range: TimeRange,
        direction: Direction,
        after: Option<&str>,
        looks_at: usize,
    ) -> Result<Walked<String>> {
        let (query, ended_at) = self.looking(db, range, direction, after, Some(looks_at)).await?;
        let records = db.collection::<Document>(self.collection);
        let found = records.find(query).hint(Hint::Name(self.index.into())).sort(doc! { "_id": direction.sign() });
        let found = found.projection(doc! { "_id": 1 }).max_time(READ_TIME_MAX);
        let found: Vec<Document> = found.batch_size(looks_at as u32).await?.try_collect().await?;
        let id = |record: Document| record.get_str("_id").ok().map(str::to_owned);
        Ok(Walked { found: found.into_iter().filter_map(id).collect(), ended_at })
    }

    /// The query, and where the walk ends early.
    async fn looking(
        &self,
        db: &Database,
        range: TimeRange,
        direction: Direction,
        after: Option<&str>,
        looks_at: Option<usize>,
    ) -> Result<(Document, Option<String>)> {
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
        Ok((query, ended_at))
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
        let Some(after) = after else { return ids };
        // Of two bounds on the same side the one that was reached is the narrower.
        let reached = sibling_id(self.prefix, after);
        let (bound, takes_part) = match direction {
            Direction::Newest => (["$lt", "$lte"], *reached < *after),
            Direction::Oldest => (["$gt", "$gte"], *reached > *after),
        };
        bound.iter().for_each(|bound| drop(ids.remove(bound)));
        ids.insert(bound[usize::from(takes_part)], reached);
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
            .limit(1)
            .max_time(READ_TIME_MAX);
        Ok(found.await?.try_next().await?.and_then(|record| record.get_str("_id").ok().map(str::to_owned)))
    }
}

#[must_use]
pub fn ids_within(prefix: &str, range: TimeRange) -> Document {
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

/// The page of the records found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// At most as many as were asked for.
    pub shown: Vec<T>,
    /// The id to go on behind; none at the end.
    pub next: Option<String>,
    /// It ended before it was full, because looking ended early.
    pub partial: bool,
}

/// A page of `limit` out of `found`, for which one more was looked for; looking ended early at `ended_at`.
#[must_use]
pub fn paged<T>(mut found: Vec<T>, limit: usize, ended_at: Option<String>, id: impl Fn(&T) -> &str) -> Paged<T> {
    let more = found.len() > limit;
    found.truncate(limit);
    let next = next_place(found.last().map(id), more, ended_at);
    Paged { partial: !more && next.is_some(), shown: found, next }
}

/// Behind the last one shown where there are more, else where looking ended early.
#[must_use]
pub fn next_place(last_shown: Option<&str>, more: bool, ended_at: Option<String>) -> Option<String> {
    if more { last_shown.map(str::to_owned) } else { ended_at }
}

#[must_use]
pub fn given(fields: &[(&str, Option<&str>)]) -> Document {
    fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(prefix: &'static str, direction: Direction, after: &str) -> Document {
        let walk = Walk { collection: "c", prefix, index: "_id_", key: Document::new(), rest: Document::new() };
        let day = TimeRange { from: Some(DateTime::from_millis(1)), to: Some(DateTime::from_millis(2)) };
        walk.ids(day, direction, Some(after))
    }

    #[test]
    fn a_walk_goes_on_behind_a_record_of_another_collection() {
        let (from, to) = (first_id_at("b", 1), first_id_at("b", 2));
        for (prefix, direction, after, expected) in [
            ("b", Direction::Newest, "b_7", doc! { "$gte": &from, "$lt": "b_7" }),
            ("b", Direction::Newest, "a_7", doc! { "$gte": &from, "$lt": "b_7" }),
            ("b", Direction::Newest, "c_7", doc! { "$gte": &from, "$lte": "b_7" }),
            ("b", Direction::Oldest, "b_7", doc! { "$lt": &to, "$gt": "b_7" }),
            ("b", Direction::Oldest, "a_7", doc! { "$lt": &to, "$gte": "b_7" }),
            ("b", Direction::Oldest, "c_7", doc! { "$lt": &to, "$gt": "b_7" }),
        ] {
            assert_eq!(ids(prefix, direction, after), expected, "{prefix} behind {after}, {direction:?}");
        }
        assert!(place_of("b_7") < place_of("c_7") && place_of("c_7") < place_of("a_8"));
    }
}
