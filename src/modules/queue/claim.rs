//! Claiming: what is due is found, most urgent first and in turns over owners, and then taken.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::{TryStreamExt, future::try_join_all};
use mongodb::error::Result;

use super::{
    JOBS,
    model::{IN_DOUBT, Job, QueueConfig, RUSH},
    store::{PROMOTE_BATCH, QueueStore},
};
use crate::platform::{clock::after, mongo::READ_TIME_MAX};

/// A claim takes at most one part in so many from one owner while others wait.
const SHARES: usize = 16;
/// A look for further owners reads so many times what it may take of one: many owners with a job or two are found at
/// once, and of a long backlog little is read in vain.
const SHARES_READ: usize = 4;
/// Where less urgent jobs are due too, one place in so many is theirs: however much is urgent, they are not left for ever.
const LESS_URGENT_SHARE: usize = 8;

/// A [`Front`] remembers so many owners.
const FRONT_OWNERS_MAX: usize = 32;
/// For so long: then a claim looks from the beginning again, for what came in before the front.
pub(super) const FRONT_KEPT: Duration = Duration::from_secs(1);

/// The last owner served of each priority.
pub type LastServed = BTreeMap<i32, String>;

/// Up to where the jobs of an owner are taken, by priority and owner, for those who have a backlog. The entries of taken jobs stay in
/// the index until no snapshot can see them, which is minutes, and whoever begins before them passes over each one: after 100,000
/// jobs a look from the beginning took 15 ms, one from the front 0.7.
#[derive(Clone, Debug, Default)]
pub struct Front {
    since: Option<Instant>,
    owners: BTreeMap<(i32, String), DateTime>,
}

impl Front {
    /// Of a claim that begins from the beginning.
    pub const NONE: &'static Self = &Self { since: None, owners: BTreeMap::new() };

    fn of(&self, priority: i32) -> impl Iterator<Item = (&str, DateTime)> {
        let owners = self.owners.iter().filter(move |((of, _), _)| *of == priority);
        owners.map(|((_, owner), at)| (&**owner, *at))
    }

    fn most_urgent_but(&self, done: &[Bson]) -> Option<i32> {
        self.owners.keys().map(|(priority, _)| *priority).find(|priority| !done.contains(&(*priority).into()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Forgets it where it is old.
    pub(super) fn expire(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() > FRONT_KEPT) {
            *self = Self::default();
        }
    }

    /// Moves it on to jobs that were just taken, each with all that its owner had before it.
    pub fn advance(&mut self, reached: BTreeMap<(i32, String), DateTime>) {
        self.since.get_or_insert_with(Instant::now);
        for (owner, at) in reached {
            if self.owners.len() < FRONT_OWNERS_MAX || self.owners.contains_key(&owner) {
                self.owners.insert(owner, at);
            }
        }
    }
}

/// Where and how a claim looks.
#[derive(Clone, Copy, Debug)]
pub struct ClaimQuery<'a> {
    pub queue: &'a str,
    /// Routes of the jobs wanted.
    pub routes: &'a [String],
    /// Jobs wanted.
    pub limit: usize,
    /// The owner after whom it begins, by priority.
    pub after: &'a LastServed,
    /// Where the owners' jobs begin that are not taken yet.
    pub front: &'a Front,
    /// Due jobs that it passes over first: others are at them.
    pub skip: u64,
    /// Anything: where there are fewer places than can be shared, it decides whether the less urgent get one.
    pub chance: usize,
    /// There is more than it wants, as far as is known: then owners take turns, and it is not tried to take all there is.
    pub backlog: bool,
    pub now: DateTime,
}

/// For whom, and for how long, jobs are taken.
#[derive(Clone, Copy, Debug)]
pub struct ClaimTerms<'a> {
    pub worker_id: &'a str,
    pub token: &'a str,
    /// End of the lease.
    pub until: DateTime,
}

/// Jobs that are due; nobody has taken them yet.
#[derive(Debug, Default)]
pub struct DueJobs {
    /// Ids of those that can be taken, most urgent first.
    pub ids: Vec<String>,
    pub seen: usize,
    /// The owner after whom the next claim begins.
    pub last_served: LastServed,
    /// The last job of each priority and owner among them.
    pub reached: BTreeMap<(i32, String), DateTime>,
}

impl<'a> ClaimQuery<'a> {
    /// The first one of a worker that has not met a backlog.
    #[must_use]
    pub const fn first(queue: &'a str, routes: &'a [String], limit: usize, now: DateTime) -> Self {
        const NOBODY: &LastServed = &LastServed::new();
        Self { queue, routes, limit, after: NOBODY, front: Front::NONE, skip: 0, chance: 0, backlog: false, now }
    }

    fn due(&self) -> Document {
        doc! { "queue": self.queue, "state": "ready", "route": among(self.routes) }
    }
}

fn turn(job: &Document) -> String {
    job.get_str("turn").unwrap_or_default().to_owned()
}

/// A priority; jobs whose priority is none are together.
fn number(priority: &Bson) -> i32 {
    priority.as_i32().unwrap_or_default()
}

/// Jobs from before there were routes have none.
fn among(routes: &[String]) -> Document {
    let mut among: Vec<Bson> = routes.iter().map(Into::into).collect();
    if routes.iter().any(String::is_empty) {
        among.push(Bson::Null);
    }
    doc! { "$in": among }
}

impl QueueStore {
    /// Routes of the jobs that have not been taken, due or not.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn ready_routes(&self, queue: &str) -> Result<Vec<String>> {
        let ready = doc! { "queue": queue, "state": "ready" };
        let routes = self.db.collection::<Document>(JOBS).distinct("route", ready).max_time(READ_TIME_MAX).await?;
        let mut routes: Vec<String> =
            routes.iter().map(|route| route.as_str().unwrap_or_default().to_owned()).collect();
        routes.dedup();
        Ok(routes)
    }

    /// Due jobs of such priorities, the most urgent first; or, where `towards` is -1, the least urgent.
    async fn by_urgency(
        &self,
        claiming: &ClaimQuery<'_>,
        priorities: Document,
        towards: i32,
        limit: usize,
    ) -> Result<Vec<Document>> {
        let mut due = claiming.due();
        // What is not due has no turn. Without `$type`, which would read the documents.
        due.extend(doc! { "turn": { "$gte": "" }, "_id": { "$type": "string" } });
        if !priorities.is_empty() {
            due.insert("priority", priorities);
        }
        let jobs = self.db.collection::<Document>(JOBS);
        let order = doc! { "priority": towards, "turn": towards, "runAt": towards };
        let found = jobs.find(due).max_time(READ_TIME_MAX).sort(order);
        let found = found.projection(doc! { "_id": 1, "attempts": 1, "turn": 1, "priority": 1, "runAt": 1 });
        found.limit(limit as i64).await?.try_collect().await
    }

    /// Due jobs of one priority, at most `wanted`: of each owner its share, the longest waiting first, beginning with the
    /// owner after `claiming.after`; then more of the same owners, where there are no others.
    async fn take_turns(&self, claiming: &ClaimQuery<'_>, priority: &Bson, wanted: usize) -> Result<Vec<Document>> {
        let share = wanted.div_ceil(SHARES);
        let after = claiming.after.get(&number(priority)).map_or("", String::as_str);
        let jobs = self.db.collection::<Document>(JOBS);
        let projection = doc! { "_id": 1, "attempts": 1, "turn": 1, "priority": 1, "runAt": 1 };
        let (mut taken, mut more) = (Vec::new(), Vec::new());
        let known: Vec<(&str, DateTime)> = claiming.front.of(number(priority)).collect();
        let mut page_size = wanted;
        let mut skip = claiming.skip;
        for (from, to) in [(after, None), ("", Some(after))] {
            let mut after = from.to_owned();
            // Nobody's jobs are those of an owner without a name.
            let mut bound = if to.is_some() { "$gte" } else { "$gt" };
            while taken.len() < wanted {
                let mut range = doc! { bound: &after };
                if let Some(to) = to {
                    range.insert("$lte", to);
                }
                if !known.is_empty() {
                    range.insert("$nin", known.iter().map(|(owner, _)| *owner).collect::<Vec<_>>());
                }
                let mut due = claiming.due();
                due.extend(doc! { "priority": priority, "turn": range, "_id": { "$type": "string" } });
                let found = jobs.find(due).max_time(READ_TIME_MAX).sort(doc! { "turn": 1, "runAt": 1 });
                let found = found.projection(projection.clone()).skip(skip);
                let page: Vec<Document> = found.limit(page_size as i64).await?.try_collect().await?;
                let was_full = page.len() == page_size;
                let mut of_owner = 0;
                for job in page {
                    let turn = job.get_str("turn").unwrap_or_default();
                    if turn != after || of_owner == 0 {
                        after = turn.to_owned();
                        of_owner = 0;
                    }
                    of_owner += 1;
                    if of_owner <= share { taken.push(job) } else { more.push(job) }
                }
                // The owner after whom it began is the last one.
                if !was_full || to == Some(after.as_str()) {
                    break;
                }
                (bound, page_size, skip) = ("$gt", (share * SHARES_READ).min(wanted), 0);
            }
        }
        let of_known = known.iter().map(|(owner, front)| {
            let mut due = claiming.due();
            due.extend(
                doc! { "priority": priority, "turn": owner, "runAt": { "$gte": front }, "_id": { "$type": "string" } },
            );
            let found = jobs.find(due).max_time(READ_TIME_MAX).sort(doc! { "runAt": 1 });
            let found = found.projection(projection.clone()).skip(claiming.skip).limit(wanted as i64);
            async move { found.await?.try_collect::<Vec<Document>>().await }
        });
        for mut page in try_join_all(of_known).await? {
            more.extend(page.split_off(page.len().min(share)));
            taken.extend(page);
        }
        if !known.is_empty() {
            // Each at its turn again.
            let place = |job: &Document| {
                let turn = job.get_str("turn").unwrap_or_default();
                (turn <= after, turn.to_owned())
            };
            taken.sort_by_cached_key(place);
            more.sort_by_cached_key(place);
        }
        taken.extend(more);
        taken.truncate(wanted);
        Ok(taken)
    }

    /// Finds due jobs, the most urgent first, and of these in turns over their owners; an eighth of the places is for what is less
    /// urgent.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find_due(&self, claiming: &ClaimQuery<'_>) -> Result<DueJobs> {
        let (mut found, mut done): (Vec<Document>, Vec<Bson>) = (Vec::new(), Vec::new());
        let (mut spare, mut last_served, mut chance) = (Vec::new(), LastServed::new(), claiming.chance);
        while found.len() < claiming.limit {
            let wanted = claiming.limit - found.len();
            let tries_all = claiming.skip == 0 && !claiming.backlog && done.is_empty();
            let others = if done.is_empty() {
                doc! {}
            } else {
                doc! { "$nin": &done }
            };
            let (known, mut urgent) = (claiming.front.most_urgent_but(&done), others.clone());
            urgent.extend(known.map(|known| ("$lt".to_owned(), known.into())));
            let urgent = self.by_urgency(claiming, urgent, 1, if tries_all { wanted } else { 1 }).await?;
            let priority = urgent.first().and_then(|job| job.get("priority").cloned()).or(known.map(Bson::from));
            let Some(priority) = priority else { break };
            if tries_all && urgent.len() < wanted {
                // That is all: nobody has to take turns.
                last_served.extend(urgent.iter().filter_map(|job| Some((number(job.get("priority")?), turn(job)))));
                found.extend(urgent);
                break;
            }
            let (mut taken, least) = futures_util::try_join!(
                self.take_turns(claiming, &priority, wanted),
                self.by_urgency(claiming, others, -1, 1)
            )?;
            let is_last = least.first().is_none_or(|job| job.get("priority") == Some(&priority));
            if !is_last {
                let kept_free = (wanted + chance % LESS_URGENT_SHARE) / LESS_URGENT_SHARE;
                chance /= LESS_URGENT_SHARE;
                spare.extend(taken.split_off(taken.len().min(wanted - kept_free)));
            }
            last_served.extend(taken.last().map(|job| (number(&priority), turn(job))));
            found.extend(taken);
            if is_last {
                break;
            }
            done.push(priority);
        }
        spare.truncate(claiming.limit - found.len());
        found.extend(spare);
        let (ids, seen) = (Vec::with_capacity(found.len()), found.len());
        let mut due = DueJobs { ids, seen, last_served, reached: BTreeMap::new() };
        for found in &found {
            if let (Some(priority), Ok(run_at)) = (found.get("priority"), found.get_datetime("runAt")) {
                due.reached.insert((number(priority), turn(found)), *run_at);
            }
            let Ok(id) = found.get_str("_id") else { continue };
            // Taking it counts attempts; where there is nothing to count with, it would fail for all.
            if matches!(found.get("attempts"), Some(Bson::Int32(_) | Bson::Int64(_))) {
                due.ids.push(id.to_owned());
            } else {
                let unclaimed = doc! { "_id": id, "state": "ready" };
                self.mark_unreadable_dead(unclaimed, "attempts is not a whole number", claiming.now).await?;
            }
        }
        Ok(due)
    }

    /// Takes those of `ids` that are still due, on the routes that were asked for: a job that was bound to an account
    /// meanwhile is that account's.
    ///
    /// # Errors
    /// What the driver says. Jobs taken by a call whose answer was lost return when their lease ends.
    pub async fn take(&self, claiming: &ClaimQuery<'_>, taking: &ClaimTerms<'_>, ids: &[String]) -> Result<Vec<Job>> {
        let ClaimTerms { worker_id, token, until } = *taking;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let taken = doc! {
            "$set": { "state": "active", "leaseToken": token, "leaseOwner": worker_id, "leaseUntil": until },
            "$inc": { "attempts": 1 },
        };
        let still_due = doc! {
            "_id": { "$in": ids }, "state": "ready", "turn": { "$type": "string" }, "route": among(claiming.routes),
        };
        if self.update_jobs(still_due, taken).await? == 0 {
            return Ok(Vec::new());
        }
        let raw_jobs = self.db.collection::<RawDocumentBuf>(JOBS);
        let found = raw_jobs
            .find(doc! { "_id": { "$in": ids }, "leaseToken": token })
            .max_time(READ_TIME_MAX)
            .batch_size(512)
            .await?;
        let raw: Vec<RawDocumentBuf> = found.try_collect().await?;
        let mut jobs = Vec::with_capacity(raw.len());
        for raw in raw {
            match bson::deserialize_from_slice::<Job>(raw.as_bytes()) {
                Ok(job) => jobs.push(job),
                Err(error) => {
                    let ours = doc! { "_id": raw.get_str("_id").unwrap_or_default(), "leaseToken": token };
                    self.mark_unreadable_dead(ours, &error.to_string(), claiming.now).await?;
                }
            }
        }
        jobs.sort_by_key(|job| (job.priority, job.run_at));
        Ok(jobs)
    }

    /// Makes one job due that waits because its provider was away; whether there was one. It may be a look-up, which comes
    /// before its queue's other jobs, but no create before its time.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn make_deferred_due(&self, queue: &QueueConfig, routes: &[String], now: DateTime) -> Result<bool> {
        let in_doubt = [queue.priority - IN_DOUBT, queue.priority - IN_DOUBT - RUSH];
        let waiting = doc! {
            "queue": queue.name, "state": "ready", "route": among(routes), "turn": null,
            // What waits for longer doesn't wait for its provider, and there may be a lot of it.
            "runAt": { "$lte": after(now, queue.backoff.max) },
            "$or": [{ "deferrals": { "$gt": 0 } }, { "priority": { "$in": in_doubt } }],
        };
        Ok(self.make_due(waiting, doc! { "runAt": now }, 1).await? > 0)
    }

    /// Makes due what waits because the provider of these routes was away or wanted fewer calls, whatever its time; some of
    /// it.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn promote_deferred(&self, queue: &str, routes: &[String], now: DateTime) -> Result<u64> {
        let waiting = doc! {
            "queue": queue, "state": "ready", "route": among(routes), "turn": null, "deferrals": { "$gt": 0 },
        };
        self.make_due(waiting, doc! { "runAt": now }, PROMOTE_BATCH).await
    }
}

/// Most jobs claimed in one round.
pub(super) const CLAIM_MAX: usize = 128;

/// Where the next claim for an account begins.
#[derive(Default)]
pub(super) struct ClaimCursor {
    pub(super) after: LastServed,
    pub(super) front: Front,
    /// Most of what the last claim saw went to others.
    pub(super) contended: bool,
    /// There was more than the last claim wanted.
    pub(super) backlog: bool,
}

/// Where the claims of a queue have come to.
#[derive(Default)]
pub(super) struct ClaimCursors {
    /// By account and by whether new orders are counted.
    pub(super) of: HashMap<(String, bool), ClaimCursor>,
    /// Routes of the jobs that wait, and when they were asked for.
    routes: Option<(Instant, Vec<String>)>,
}

impl ClaimCursors {
    /// The routes as they were a moment ago, where jobs go on waiting on them.
    pub(super) fn known_routes(&self) -> Option<Vec<String>> {
        let (_, routes) = self.routes.as_ref().filter(|(asked, _)| asked.elapsed() < FRONT_KEPT)?;
        self.of.values().any(|cursor| cursor.backlog).then(|| routes.clone())
    }

    pub(super) fn know_routes(&mut self, routes: &[String]) {
        self.routes = Some((Instant::now(), routes.to_vec()));
    }
}
