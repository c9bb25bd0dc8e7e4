//! Every query over jobs but for claiming. Leases, pausing, trimming, and what operators look at.

use std::time::Duration;

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Result, options::Hint};
use serde::{Deserialize, Serialize};

use super::{
    JOBS,
    model::{Job, JobState, QueueConfig},
};
use crate::platform::{
    batch::Entity,
    clock::after,
    mongo::{Index, READ_TIME_MAX},
    orphans,
    walk::{Direction, STAGES, TimeRange, Walk, paged},
};

/// Settings of queues by operators.
pub const QUEUES: &str = "queues";
/// Longest wait of an update over many jobs.
const UPDATE_MS_MAX: i64 = 2_000;
/// Done jobs deleted in one statement.
const TRIM_BATCH: i64 = 1000;
/// Jobs of a queue are counted to this number: what a look at queues costs does not grow with what waits.
pub const COUNT_MAX: u64 = 100_000;
/// Of the dead jobs of a queue so many are looked at for those that died lately.
const DEAD_MAX: i64 = 10_000;
/// Jobs made due in one statement.
pub(super) const PROMOTE_BATCH: usize = 1000;

/// Reads and changes jobs outside of commands.
#[derive(Clone, Debug)]
pub struct QueueStore {
    pub(super) db: Database,
}

/// Settings of a queue by operators.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Controls {
    #[serde(rename = "_id")]
    pub queue: String,
    /// Nobody claims.
    pub paused: bool,
    pub paused_reason: Option<String>,
}

impl Controls {
    /// Nothing was asked of this queue.
    #[must_use]
    pub fn of(queue: &str) -> Self {
        Self { queue: queue.to_owned(), ..Self::default() }
    }
}

impl Entity for Controls {
    const COLLECTION: &'static str = QUEUES;

    fn id(&self) -> &str {
        &self.queue
    }
}

/// A queue in numbers, none above [`COUNT_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSummary {
    /// Due now.
    pub ready: u64,
    /// Jobs that workers run.
    pub active: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// Given up.
    pub dead: u64,
    /// Ended well and not trimmed yet.
    pub done: u64,
}

/// A page of jobs, and where the next one starts.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPage {
    /// Jobs in order of id.
    pub items: Vec<Job>,
    /// The id to go on behind; none at the end. Before it a page may have fewer than asked for, or none.
    pub next: Option<String>,
}

impl QueueStore {
    pub const COLLECTIONS: &[&str] = &[JOBS, QUEUES, WORKERS];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    /// Indexes of this module. One serves claiming (what is not due has no turn and is never looked at), promoting,
    /// trimming; another what no claim looks for. They are few because each makes the end of an attempt
    /// dearer (docs/performance.md).
    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(
                JOBS,
                "routes",
                doc! { "queue": 1, "state": 1, "route": 1, "priority": 1, "turn": 1, "runAt": 1 },
            ),
            // Whatever has a lease, by its end; what is dead, and what waits in a line, by age.
            Index::new(JOBS, "aside", doc! { "queue": 1, "state": 1, "leaseUntil": 1, "_id": 1 }).partial(
                doc! { "$or": [
                    { "state": "active" }, { "state": "dead" }, { "line.after": { "$type": "string" } },
                ] },
            ),
            // Where a line ends, which is where jobs join it; one job of each.
            Index::new(JOBS, "lines", doc! { "line.name": 1 }).unique().partial(doc! { "line.last": true }),
            Index::new(JOBS, "dedupe", doc! { "queue": 1, "dedupeKey": 1 })
                .unique()
                .partial(doc! { "dedupeKey": { "$type": "string" } }),
        ]
    }

    /// Updates many jobs outside of a transaction, and gives how many matched. Waits at most two seconds for a job that
    /// somebody's open transaction holds: the others must not wait with it.
    pub(super) async fn update_jobs(&self, filter: Document, update: impl Into<Bson> + Send) -> Result<u64> {
        let updating = self.db.run_command(doc! {
            "update": JOBS,
            "updates": [{ "q": filter, "u": update.into(), "multi": true }],
            "maxTimeMS": UPDATE_MS_MAX,
            "writeConcern": { "w": "majority", "j": true },
        });
        let mut updating = std::pin::pin!(updating.into_future());
        let reply = match tokio::time::timeout(orphans::SUSPECTED_AFTER, &mut updating).await {
            Ok(reply) => reply?,
            Err(_) => {
                orphans::look_for(&self.db);
                updating.await?
            }
        };
        if let Some(error) = reply.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            return Err(mongodb::error::Error::custom(error.to_string()));
        }
        let n = reply.get("n").and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from)));
        n.map(|n| n as u64).ok_or_else(|| mongodb::error::Error::custom("an update did not say how many it matched"))
    }

    /// Gives back everything that was claimed under `token` by a claim that failed half-way.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn give_back_claim(&self, queue: &str, token: &str, now: DateTime) -> Result<u64> {
        let claimed = doc! { "queue": queue, "state": "active", "leaseToken": token };
        let back = doc! {
            "$set": { "state": "ready", "runAt": now, "leaseToken": null, "leaseOwner": null, "leaseUntil": null },
            "$inc": { "attempts": -1 },
        };
        self.update_jobs(claimed, back).await
    }

    /// The queues of `queues` that have such jobs, in one query: most queues are empty most of the time.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub(super) async fn with_jobs<'a>(
        &self,
        queues: &'a [QueueConfig],
        mut such: Document,
    ) -> Result<Vec<&'a QueueConfig>> {
        such.insert("queue", doc! { "$in": queues.iter().map(|queue| queue.name).collect::<Vec<_>>() });
        let names = self.db.collection::<Document>(JOBS).distinct("queue", such).max_time(READ_TIME_MAX).await?;
        Ok(queues.iter().filter(|queue| names.iter().any(|name| name.as_str() == Some(queue.name))).collect())
    }

    fn jobs(&self) -> Collection<Job> {
        self.db.collection(JOBS)
    }

    /// Makes due what has waited for its time, some of it, and gives how many jobs that were.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn promote(&self, queue: &str, now: DateTime) -> Result<u64> {
        let waiting = doc! { "queue": queue, "state": "ready", "turn": null, "runAt": { "$lte": now } };
        self.make_due(waiting, doc! {}, PROMOTE_BATCH).await
    }

    /// Makes due at most so many of those that wait; gives how many.
    pub(super) async fn make_due(&self, waiting: Document, mut set: Document, at_most: usize) -> Result<u64> {
        let jobs = self.db.collection::<Document>(JOBS);
        let found = jobs
            .find(waiting.clone())
            .max_time(READ_TIME_MAX)
            .projection(doc! { "_id": 1 })
            .limit(at_most as i64)
            .await?;
        let ids: Vec<Bson> = found.map_ok(|mut job| job.remove("_id").unwrap_or(Bson::Null)).try_collect().await?;
        if ids.is_empty() {
            return Ok(0);
        }
        let mut these = waiting;
        these.insert("_id", doc! { "$in": ids });
        set.insert("turn", doc! { "$ifNull": ["$owner", ""] });
        self.update_jobs(these, vec![doc! { "$set": set }]).await
    }

    /// A document that is not a job is dead, not stuck. It becomes a job that can be listed, with itself as payload.
    pub(super) async fn mark_unreadable_dead(&self, filter: Document, reason: &str, now: DateTime) -> Result<()> {
        let Some(found) = self.db.collection::<Document>(JOBS).find_one(filter.clone()).max_time(READ_TIME_MAX).await?
        else {
            return Ok(());
        };
        tracing::error!(job.id = found.get_str("_id").ok(), reason, "a job that can't be read is dead");
        self.jobs().replace_one(filter, Job::unreadable(found, reason, now)).await.map(drop)
    }

    /// Extends leases that still are ours, and shortens none; gives the ids of those jobs.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn extend(&self, leases: &[(String, String)], until: DateTime) -> Result<Vec<String>> {
        let (ids, tokens): (Vec<&str>, Vec<&str>) = leases.iter().map(|(id, token)| (&**id, &**token)).unzip();
        let held = doc! { "_id": { "$in": ids }, "leaseToken": { "$in": tokens }, "state": "active" };
        let extended = self.update_jobs(held.clone(), doc! { "$max": { "leaseUntil": until } }).await?;
        if extended == leases.len() as u64 {
            return Ok(leases.iter().map(|(id, _)| id.clone()).collect());
        }
        let found = self
            .db
            .collection::<Document>(JOBS)
            .find(held)
            .max_time(READ_TIME_MAX)
            .projection(doc! { "_id": 1 })
            .await?;
        found
            .try_filter_map(|found| async move { Ok(found.get_str("_id").ok().map(str::to_owned)) })
            .try_collect()
            .await
    }

    /// Gives a job back without using up the attempt.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn give_back(&self, job_id: &str, token: &str, run_at: DateTime) -> Result<()> {
        let back = doc! {
            "$set": {
                "state": "ready", "turn": null, "runAt": run_at,
                "leaseToken": null, "leaseOwner": null, "leaseUntil": null,
            },
            "$inc": { "attempts": -1 },
        };
        self.jobs().update_one(doc! { "_id": job_id, "leaseToken": token, "state": "active" }, back).await.map(drop)
    }

    /// Takes jobs back whose worker was silent for too long. Their attempt stays used up, so a job that kills its
    /// workers ends.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn reclaim_expired(&self, queue: &str, now: DateTime) -> Result<u64> {
        let back = doc! { "$set": {
            "state": "ready", "runAt": now, "leaseToken": null, "leaseOwner": null, "leaseUntil": null,
            "lastError": { "class": "lease", "code": "queue.lease_expired", "message": "The worker was silent for too long." },
        } };
        self.update_jobs(Self::expired(queue, now), back).await
    }

    /// Jobs of a queue whose lease has ended by `now`; to be answered from the index over leases.
    #[must_use]
    pub fn expired(queue: &str, now: DateTime) -> Document {
        doc! { "queue": queue, "state": "active", "leaseUntil": { "$lt": now } }
    }

    /// Deletes done jobs that are too old or, of one priority, too many, in small portions.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn trim_done(&self, queue: &QueueConfig, now: DateTime) -> Result<u64> {
        let jobs = self.db.collection::<Document>(JOBS);
        let mut trimmed = 0;
        for priority in jobs
            .distinct("priority", doc! { "queue": queue.name, "state": "done", "route": "" })
            .max_time(READ_TIME_MAX)
            .await?
        {
            trimmed += self.trim_priority(queue, &priority, now).await?;
        }
        Ok(trimmed)
    }

    async fn trim_priority(&self, queue: &QueueConfig, priority: &Bson, now: DateTime) -> Result<u64> {
        let jobs = self.db.collection::<Document>(JOBS);
        let done = doc! { "queue": queue.name, "state": "done", "route": "", "priority": priority };
        let oldest_kept = DateTime::from_millis(now.timestamp_millis() - queue.keep_done_for.as_millis() as i64);
        let first_beyond = jobs
            .find_one(done.clone())
            .max_time(READ_TIME_MAX)
            .projection(doc! { "runAt": 1 })
            .sort(doc! { "runAt": -1 });
        let beyond_count = first_beyond.skip(queue.keep_done_count).await?;
        let beyond_count = beyond_count.and_then(|job| job.get_datetime("runAt").ok().copied());
        let cutoff = beyond_count.map_or(oldest_kept, |at| at.max(oldest_kept));
        let mut trimmed = 0;
        loop {
            let mut old = done.clone();
            old.insert("runAt", doc! { "$lte": cutoff });
            let found = jobs.find(old).max_time(READ_TIME_MAX).projection(doc! { "_id": 1 }).limit(TRIM_BATCH).await?;
            let ids: Vec<Bson> =
                found.map_ok(|mut found| found.remove("_id").unwrap_or(Bson::Null)).try_collect().await?;
            if ids.is_empty() {
                return Ok(trimmed);
            }
            trimmed += self.jobs().delete_many(doc! { "_id": { "$in": ids }, "state": "done" }).await?.deleted_count;
        }
    }

    /// Settings of a queue.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn controls(&self, queue: &str) -> Result<Controls> {
        Ok(self
            .db
            .collection::<Controls>(QUEUES)
            .find_one(doc! { "_id": queue })
            .max_time(READ_TIME_MAX)
            .await?
            .unwrap_or_default())
    }

    /// A queue in numbers.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn summary(&self, queue: &str, now: DateTime) -> Result<QueueSummary> {
        let count = async |state: JobState, when: Option<Document>| {
            let mut filter = doc! { "queue": queue, "state": state.as_str() };
            if let Some(when) = when {
                filter.insert("runAt", when);
            }
            self.jobs().count_documents(filter).limit(COUNT_MAX).max_time(READ_TIME_MAX).await
        };
        Ok(QueueSummary {
            ready: count(JobState::Ready, Some(doc! { "$lte": now })).await?,
            delayed: count(JobState::Ready, Some(doc! { "$gt": now })).await?,
            active: count(JobState::Active, None).await?,
            dead: count(JobState::Dead, None).await?,
            done: count(JobState::Done, None).await?,
        })
    }

    /// Since when the job that has waited longest is due, of the first [`COUNT_MAX`]; none where none is.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn oldest_due(&self, queue: &str, now: DateTime) -> Result<Option<DateTime>> {
        let due = doc! { "queue": queue, "state": "ready", "runAt": { "$lte": now } };
        let oldest = doc! { "_id": null, "oldest": { "$min": "$runAt" } };
        let stages = [doc! { "$match": due }, doc! { "$limit": COUNT_MAX as i64 }, doc! { "$group": oldest }];
        let mut found = self.jobs().aggregate(stages).max_time(READ_TIME_MAX).await?;
        Ok(found.try_next().await?.and_then(|found| found.get_datetime("oldest").ok().copied()))
    }

    /// How many jobs of a queue died since `since`, of the [`DEAD_MAX`] that were made last.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn count_dead_since(&self, queue: &str, since: DateTime) -> Result<u64> {
        let stages = [
            doc! { "$match": aside(queue, JobState::Dead) },
            doc! { "$sort": { "_id": -1 } },
            doc! { "$limit": DEAD_MAX },
            doc! { "$match": { "runAt": { "$gte": since } } },
            doc! { "$count": "count" },
        ];
        let jobs = self.db.collection::<Document>(JOBS);
        let asked = jobs.aggregate(stages).hint(Hint::Name("aside".into()));
        let found = asked.max_time(READ_TIME_MAX).await?.try_next().await?;
        let count =
            found.and_then(|found| found.get("count").and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from))));
        Ok(count.unwrap_or_default() as u64)
    }

    /// Jobs of a queue that are bound to an account and have not ended, at most `at_most` of them; counted from the index.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn count_bound(&self, queue: &str, account_id: &str, at_most: u32) -> Result<u64> {
        let bound = doc! { "queue": queue, "state": { "$in": ["ready", "active"] }, "route": account_id };
        self.jobs().count_documents(bound).limit(u64::from(at_most)).max_time(READ_TIME_MAX).await
    }

    /// Jobs of a queue in order of age, starting after `after_id`. Ready and done ones have no index in this order: a page
    /// looks at so many jobs and no more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list(
        &self,
        queue: &str,
        state: Option<JobState>,
        after_id: Option<&str>,
        limit: usize,
    ) -> Result<JobPage> {
        let in_queue = doc! { "queue": queue };
        let state_is = state.map(|state| ("state".to_owned(), Bson::from(state.as_str())));
        let (index, key, rest, is_sparse) = match state {
            Some(JobState::Dead) => ("aside", aside(queue, JobState::Dead), Document::new(), false),
            // As many as workers have slots.
            Some(JobState::Active) => {
                ("routes", in_queue.into_iter().chain(state_is).collect(), Document::new(), false)
            }
            None | Some(JobState::Ready | JobState::Done) => {
                ("_id_", Document::new(), in_queue.into_iter().chain(state_is).collect(), true)
            }
        };
        let walk = Walk { collection: JOBS, prefix: "job", index, key, rest };
        let (range, direction, take) = (TimeRange::default(), Direction::Oldest, limit + 1);
        let walked = if is_sparse {
            walk.find_in_stages(&self.db, range, direction, after_id, take, &STAGES).await?
        } else {
            walk.go(&self.db, range, direction, after_id, take, None).await?
        };
        let found = walked.found.into_iter().map(show).collect();
        let page = paged(found, limit, walked.ended_at, |job: &Job| &job.id);
        Ok(JobPage { items: page.shown, next: page.next })
    }

    /// One job.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find(&self, job_id: &str) -> Result<Option<Job>> {
        Ok(self
            .db
            .collection::<Document>(JOBS)
            .find_one(doc! { "_id": job_id })
            .max_time(READ_TIME_MAX)
            .await?
            .map(show))
    }

    /// When a lease taken now ends.
    #[must_use]
    pub fn lease_until(now: DateTime, lease: Duration) -> DateTime {
        after(now, lease)
    }
}

/// What no claim looks for and nobody holds: dead jobs, or ready ones that wait in a line; by age.
pub(super) fn aside(queue: &str, state: JobState) -> Document {
    doc! { "queue": queue, "state": state.as_str(), "leaseUntil": null }
}

/// One document that is not a job must not hide the others from an operator.
pub(super) fn show(document: Document) -> Job {
    bson::deserialize_from_document(document.clone()).unwrap_or_else(|error| {
        let at = document.get_datetime("createdAt").copied().unwrap_or(DateTime::from_millis(0));
        Job::unreadable(document, &error.to_string(), at)
    })
}

pub(super) const WORKERS: &str = "workers";
