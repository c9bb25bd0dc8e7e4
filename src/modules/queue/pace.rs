//! How a queue has got on, by its jobs that ended well, and what operators do to many dead jobs.

use std::collections::HashMap;

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::Result;
use serde::Deserialize;

use super::{
    JOBS,
    model::{Job, JobState, QueueConfig},
    store::{COUNT_MAX, JobPage, QueueStore, aside},
};
use crate::platform::{
    mongo::READ_TIME_MAX,
    walk::{Direction, STAGES, TimeRange, Walk, paged},
};

/// The pace is of so many minutes.
pub const PACE_MINUTES: i64 = 60;
const MINUTE_MS: i64 = 60_000;
/// Jobs whose times are looked at, latest first.
const SAMPLE: i64 = 1_000;
/// Jobs of each queue that are counted where all queues are looked at, latest first.
const SPARK_JOBS_MAX: i64 = 20_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadJobs {
    pub kind: Option<String>,
    /// That failed with this code last.
    pub error_code: Option<String>,
}

impl DeadJobs {
    fn conditions(&self) -> Document {
        let fields = [("kind", &self.kind), ("lastError.code", &self.error_code)];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into()))).collect()
    }

    /// Whether they are all meant.
    #[must_use]
    pub const fn are_all(&self) -> bool {
        self.kind.is_none() && self.error_code.is_none()
    }
}

/// How a queue has got on lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throughput {
    /// Jobs that ended well in each minute, oldest first, the present one last.
    pub per_minute: Vec<u64>,
    /// From creation to the end, of a sample of them, in milliseconds, sorted.
    pub latencies_ms: Vec<i64>,
    /// Attempts that they took, in all.
    pub attempts: i64,
}

#[derive(Deserialize)]
struct Minute {
    queue: String,
    at: DateTime,
    count: i64,
}

/// When the first of the minutes began: the last one is the present one.
fn first_minute(now: DateTime) -> i64 {
    (now.timestamp_millis() / MINUTE_MS - PACE_MINUTES + 1) * MINUTE_MS
}

/// Jobs of a queue that ended well since then.
fn ended_since(queue: &str, first_ms: i64) -> Document {
    doc! { "queue": queue, "state": "done", "route": "", "runAt": { "$gte": DateTime::from_millis(first_ms) } }
}

/// How many of the latest so many ended in each minute.
fn by_minute(queue: &str, first_ms: i64, limit: i64) -> Vec<Document> {
    let minute = doc! { "$dateTrunc": { "date": "$runAt", "unit": "minute" } };
    vec![
        doc! { "$match": ended_since(queue, first_ms) },
        doc! { "$sort": { "runAt": -1 } },
        doc! { "$limit": limit },
        doc! { "$group": { "_id": minute, "count": { "$sum": Bson::Int64(1) } } },
        doc! { "$project": { "_id": 0, "queue": { "$literal": queue }, "at": "$_id", "count": 1 } },
    ]
}

/// By minute, oldest first.
fn in_order(minutes: impl Iterator<Item = (DateTime, i64)>, first_ms: i64) -> Vec<u64> {
    let mut per_minute = vec![0; PACE_MINUTES as usize];
    for (at, count) in minutes {
        let index = usize::try_from((at.timestamp_millis() - first_ms) / MINUTE_MS).ok();
        if let Some(minute) = index.and_then(|index| per_minute.get_mut(index)) {
            *minute = count.unsigned_abs();
        }
    }
    per_minute
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndedJob {
    created_at: DateTime,
    run_at: DateTime,
    #[serde(default)]
    attempts: i32,
}

impl QueueStore {
    /// Dead jobs of a queue that are such, counted to [`COUNT_MAX`].
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn count_dead(&self, queue: &str, such: &DeadJobs) -> Result<u64> {
        let mut filter = doc! { "queue": queue, "state": "dead" };
        filter.extend(such.conditions());
        let jobs = self.db.collection::<Document>(JOBS);
        jobs.count_documents(filter).limit(COUNT_MAX).max_time(READ_TIME_MAX).await
    }

    /// Dead jobs of a queue that are such, in order of age, behind `after_id`. A page looks at so many jobs and no more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list_dead(
        &self,
        queue: &str,
        such: &DeadJobs,
        after_id: Option<&str>,
        limit: usize,
    ) -> Result<JobPage> {
        if such.are_all() {
            return self.list(queue, Some(JobState::Dead), after_id, limit).await;
        }
        let (key, rest) = (aside(queue, JobState::Dead), such.conditions());
        let walk = Walk { collection: JOBS, prefix: "job", index: "aside", key, rest };
        let range = TimeRange::default();
        let walked = walk.find_in_stages(&self.db, range, Direction::Oldest, after_id, limit + 1, &STAGES).await?;
        let found: Vec<Job> = walked.found.into_iter().map(super::store::show).collect();
        let page = paged(found, limit, walked.ended_at, |job: &Job| &job.id);
        Ok(JobPage { items: page.shown, next: page.next })
    }

    /// Jobs that ended well in each minute of the last hour, by queue: of the latest [`SPARK_JOBS_MAX`] of each, in one question.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn paces(&self, queues: &[QueueConfig], now: DateTime) -> Result<HashMap<&'static str, Vec<u64>>> {
        let first = first_minute(now);
        let mut parts = queues.iter().map(|queue| by_minute(queue.name, first, SPARK_JOBS_MAX));
        let mut stages = parts.next().unwrap_or_default();
        stages.extend(parts.map(|part| doc! { "$unionWith": { "coll": JOBS, "pipeline": part } }));
        let jobs = self.db.collection::<Document>(JOBS);
        let minutes = jobs.aggregate(stages).with_type::<Minute>().max_time(READ_TIME_MAX).await?;
        let minutes: Vec<Minute> = minutes.try_collect().await?;
        let of = |name: &str| {
            let own = minutes.iter().filter(|minute| minute.queue == name);
            in_order(own.map(|minute| (minute.at, minute.count)), first)
        };
        Ok(queues.iter().map(|queue| (queue.name, of(queue.name))).collect())
    }

    /// How a queue has got on in the last hour.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn pace(&self, queue: &str, now: DateTime) -> Result<Throughput> {
        let first = first_minute(now);
        let jobs = self.db.collection::<Document>(JOBS);
        let minutes = jobs.aggregate(by_minute(queue, first, COUNT_MAX as i64)).with_type::<Minute>();
        let minutes: Vec<Minute> = minutes.max_time(READ_TIME_MAX).await?.try_collect().await?;
        let per_minute = in_order(minutes.into_iter().map(|minute| (minute.at, minute.count)), first);
        let mut pace = Throughput { per_minute, ..Throughput::default() };
        let ended = self.db.collection::<EndedJob>(JOBS);
        let ended = ended
            .find(ended_since(queue, first))
            .sort(doc! { "runAt": -1 })
            .limit(SAMPLE)
            .projection(doc! { "_id": 0, "createdAt": 1, "runAt": 1, "attempts": 1 });
        let ended: Vec<EndedJob> = ended.max_time(READ_TIME_MAX).await?.try_collect().await?;
        pace.attempts = ended.iter().map(|job| i64::from(job.attempts)).sum();
        let ms = |at: DateTime| at.timestamp_millis();
        pace.latencies_ms = ended.iter().map(|job| (ms(job.run_at) - ms(job.created_at)).max(0)).collect();
        pace.latencies_ms.sort_unstable();
        Ok(pace)
    }
}

impl Throughput {
    /// The least time that so many percent of the sample stayed within.
    #[must_use]
    pub fn percentile_ms(&self, percent: usize) -> Option<i64> {
        let rank = (self.latencies_ms.len() * percent).div_ceil(100).max(1);
        self.latencies_ms.get(rank - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_least_time_that_so_many_stayed_within() {
        let of = |latencies: &[i64]| Throughput { latencies_ms: latencies.to_vec(), ..Throughput::default() };
        assert_eq!(of(&[]).percentile_ms(50), None);
        assert_eq!(of(&[7]).percentile_ms(99), Some(7));
        let hundred = of(&(1..=100).collect::<Vec<_>>());
        assert_eq!([50, 95, 99, 100].map(|p| hundred.percentile_ms(p)), [Some(50), Some(95), Some(99), Some(100)]);
        assert_eq!(of(&[1, 2, 3]).percentile_ms(50), Some(2));
    }
}
