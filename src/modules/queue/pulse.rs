//! Figures of all queues for boards: one query a second, however many boards follow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::Result;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::ToSchema;

use super::{
    JOBS,
    model::QueueConfig,
    store::{QUEUES, QueueStore, WORKERS},
    workers::alive,
};
use crate::platform::{
    clock::{Clock, Rfc3339Time},
    mongo::READ_TIME_MAX,
};

/// Jobs of a queue and state are counted to this number: it is asked every second.
pub const PULSE_COUNT_MAX: i64 = 10_000;
/// Between two questions.
const EVERY: Duration = Duration::from_secs(1);
/// A look that was taken so long before somebody asks is no answer: the next one is waited for.
const STALE_MS: i64 = 2_000;
/// A look that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Subscriptions at once, in one process.
const FOLLOWERS_MAX: usize = 1_000;

/// All queues at a moment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Pulse {
    /// Time.
    #[schema(value_type = Rfc3339Time)]
    pub at: Rfc3339Time,
    /// Each queue.
    pub queues: Vec<QueuePulse>,
}

/// A queue at a moment; each number counted to 10,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuePulse {
    /// Its name.
    pub name: String,
    /// Due now.
    pub ready: i64,
    /// Waiting for their time.
    pub delayed: i64,
    /// Jobs that workers run.
    pub active: i64,
    /// Given up.
    pub dead: i64,
    /// Seconds for which the job that has waited longest is due; null where none is.
    pub oldest_ready_seconds: Option<i64>,
    /// Whether the queue is paused.
    pub paused: bool,
    /// Workers that are alive and take its jobs.
    pub workers: i64,
}

impl QueueStore {
    /// All of these queues in one question.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn pulse(&self, queues: &[QueueConfig], now: DateTime) -> Result<Pulse> {
        let mut parts = Vec::new();
        for queue in queues {
            let states = [
                ("ready", "ready", Some(doc! { "$lte": now })),
                ("delayed", "ready", Some(doc! { "$gt": now })),
                ("active", "active", None),
                ("dead", "dead", None),
            ];
            for (told, state, run_at) in states {
                let mut such = doc! { "queue": queue.name, "state": state };
                such.extend(run_at.map(|run_at| ("runAt".to_owned(), run_at.into())));
                parts.push(vec![
                    doc! { "$match": such },
                    doc! { "$limit": PULSE_COUNT_MAX },
                    doc! { "$group": { "_id": null, "count": { "$sum": 1 }, "oldest": { "$min": "$runAt" } } },
                    doc! { "$project": { "_id": 0, "queue": queue.name, "told": told, "count": 1, "oldest": 1 } },
                ]);
            }
        }
        let paused = doc! { "from": QUEUES, "pipeline": [doc! { "$match": { "paused": true } },
        doc! { "$project": { "_id": 0, "queue": "$_id", "told": "paused" } }] };
        let workers = doc! { "from": WORKERS, "pipeline": [doc! { "$match": alive() }, doc! { "$unwind": "$queues" },
        doc! { "$group": { "_id": "$queues", "count": { "$sum": 1 } } },
        doc! { "$project": { "_id": 0, "queue": "$_id", "told": "workers", "count": 1 } }] };
        let mut parts = parts.into_iter();
        let mut stages = parts.next().unwrap_or_default();
        let union = |coll: &str, pipeline: Vec<Document>| doc! { "$unionWith": { "coll": coll, "pipeline": pipeline } };
        stages.extend(parts.map(|part| union(JOBS, part)));
        for other in [paused, workers] {
            let pipeline = other.get_array("pipeline").cloned().unwrap_or_default();
            stages.push(
                doc! { "$unionWith": { "coll": other.get_str("from").unwrap_or_default(), "pipeline": pipeline } },
            );
        }
        let asked = self.db.collection::<Document>(JOBS).aggregate(stages).max_time(READ_TIME_MAX).await?;
        let told: Vec<Document> = asked.try_collect().await?;
        Ok(Pulse { at: Rfc3339Time(now), queues: queues.iter().map(|queue| read(queue.name, &told, now)).collect() })
    }
}

fn read(name: &str, told: &[Document], now: DateTime) -> QueuePulse {
    let of = |what: &str| {
        let is = |one: &Document, field, text| one.get_str(field).is_ok_and(|own| own == text);
        told.iter().find(|one| is(one, "queue", name) && is(one, "told", what))
    };
    let count = |what: &str| {
        let count = of(what).and_then(|one| one.get("count"));
        count.and_then(|count| count.as_i64().or_else(|| count.as_i32().map(i64::from))).unwrap_or(0)
    };
    let oldest = of("ready").and_then(|one| one.get_datetime("oldest").ok());
    QueuePulse {
        name: name.to_owned(),
        ready: count("ready"),
        delayed: count("delayed"),
        active: count("active"),
        dead: count("dead"),
        oldest_ready_seconds: oldest.map(|at| (now.timestamp_millis() - at.timestamp_millis()).max(0) / 1_000),
        paused: of("paused").is_some(),
        workers: count("workers"),
    }
}

/// Looks every second for as long as somebody follows, once for all of them.
#[derive(Clone, Debug)]
pub struct QueueWatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: QueueStore,
    clock: Clock,
    queues: Vec<QueueConfig>,
    latest: watch::Sender<Option<Arc<Pulse>>>,
    looking: AtomicBool,
    room: Arc<Semaphore>,
    leaving: Arc<AtomicBool>,
}

#[derive(Debug)]
pub struct PulseSubscription {
    latest: watch::Receiver<Option<Arc<Pulse>>>,
    _room: OwnedSemaphorePermit,
}

impl PulseSubscription {
    /// The next look; none where there will be no other.
    pub async fn next(&mut self) -> Option<Arc<Pulse>> {
        loop {
            self.latest.changed().await.ok()?;
            let pulse = self.latest.borrow_and_update().clone();
            if pulse.is_some() {
                return pulse;
            }
        }
    }
}

impl QueueWatch {
    /// Over these queues; who follows is to leave once `leaving` is set.
    #[must_use]
    pub fn new(store: QueueStore, clock: Clock, queues: Vec<QueueConfig>, leaving: Arc<AtomicBool>) -> Self {
        let (latest, looking) = (watch::channel(None).0, AtomicBool::new(false));
        let room = Arc::new(Semaphore::new(FOLLOWERS_MAX));
        Self(Arc::new(Inner { store, clock, queues, latest, looking, room, leaving }))
    }

    /// Follows from now on; none where too many do.
    #[must_use]
    pub fn follow(&self) -> Option<PulseSubscription> {
        let room = Arc::clone(&self.0.room).try_acquire_owned().ok()?;
        let mut latest = self.0.latest.subscribe();
        // What was seen a moment ago is news to who has just come.
        latest.mark_changed();
        let following = PulseSubscription { latest, _room: room };
        self.look();
        Some(following)
    }

    /// The latest look, from now or a moment ago; none where the database does not answer.
    pub async fn latest(&self) -> Option<Arc<Pulse>> {
        let mut following = self.follow()?;
        let asked_ms = self.0.clock.now_ms();
        let fresh = async {
            loop {
                let pulse = following.next().await?;
                if pulse.at.0.timestamp_millis() > asked_ms - STALE_MS {
                    return Some(pulse);
                }
            }
        };
        tokio::time::timeout(PATIENCE, fresh).await.ok().flatten()
    }

    fn look(&self) {
        if self.0.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            loop {
                let began = tokio::time::Instant::now();
                metrics::counter!("waybill_queue_board_looks_total").increment(1);
                match inner.store.pulse(&inner.queues, inner.clock.now()).await {
                    Ok(pulse) => drop(inner.latest.send_replace(Some(Arc::new(pulse)))),
                    Err(error) => {
                        // What was seen before is no news to who comes now.
                        inner.latest.send_replace(None);
                        tracing::debug!(%error, "queues can't be looked at");
                    }
                }
                metrics::gauge!("waybill_queue_boards").set(inner.latest.receiver_count() as f64);
                tokio::time::sleep_until(began + EVERY).await;
                if inner.latest.receiver_count() == 0 {
                    // Whoever comes next begins with a look of its own.
                    inner.latest.send_replace(None);
                    inner.looking.store(false, Ordering::Release);
                    let came_meanwhile = inner.latest.receiver_count() > 0;
                    if !came_meanwhile || inner.looking.swap(true, Ordering::AcqRel) {
                        metrics::gauge!("waybill_queue_boards").set(0.0);
                        return;
                    }
                }
            }
        });
    }

    /// Whether this process is about to end.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use mongodb::Client;

    use super::*;

    /// Over a database that is not there, after one look of that age.
    async fn watch(age_ms: i64) -> QueueWatch {
        let client =
            Client::with_uri_str("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500&connectTimeoutMS=200").await;
        let store = QueueStore::new(client.expect("an address").database("none"));
        let clock = Clock::default();
        let at = DateTime::from_millis(clock.now_ms() - age_ms);
        let watch = QueueWatch::new(store, clock, Vec::new(), Arc::default());
        watch.0.latest.send_replace(Some(Arc::new(Pulse { at: Rfc3339Time(at), queues: Vec::new() })));
        watch
    }

    #[tokio::test]
    async fn an_old_look_is_no_answer() {
        assert!(watch(0).await.latest().await.is_some(), "of a moment ago");
        let watch = watch(STALE_MS).await;
        let answer = tokio::time::timeout(Duration::from_millis(200), watch.latest()).await;
        assert!(answer.is_err(), "it waits for the next one");
    }

    #[tokio::test]
    async fn what_was_seen_before_the_database_went_away_is_dropped() {
        let watch = watch(0).await;
        let mut board = watch.follow().expect("room");
        assert!(board.next().await.is_some());
        board.latest.changed().await.expect("the failed look");
        assert!(board.latest.borrow().is_none());
    }
}
