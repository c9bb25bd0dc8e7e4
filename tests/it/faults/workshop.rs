//! A queue of a test's own, with jobs that do what the test says.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::{DateTime, doc};
use futures_util::future::BoxFuture;
use waybill::{
    modules::queue::{
        Attempt, Backoff, ClaimQuery, ClaimTerms, Concluded, Conclusion, Dispatch, Job, JobEnd, JobError, JobHandler,
        LastServed, Lease, NoAccounts, QueueConfig, QueueStore, RetryRefused, Worker, WorkerParts, WorkerSettings,
    },
    platform::{
        batch::{Key, Lane, View},
        clock::after,
        identity::Actor,
        ids::new_id,
    },
};

use crate::support::TestApp;

pub const QUEUE: &str = "workshop-queue";
pub const KIND: &str = "work";
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(2) };

/// Ends its job as it says.
pub struct End(pub JobEnd);

impl Conclusion for End {
    fn reads(&self) -> Vec<Key> {
        Vec::new()
    }

    fn conclude(&self, _: &mut View, _: &Job) -> Concluded {
        self.0.clone().into()
    }
}

pub fn done() -> Attempt {
    Attempt::Concluded(Box::new(End(JobEnd::Done { result: None })))
}

/// An attempt that failed: again after two seconds, or dead.
struct Failed(JobError);

impl Conclusion for Failed {
    fn reads(&self) -> Vec<Key> {
        Vec::new()
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let error = self.0.clone();
        let at = after(view.now(), BACKOFF.base);
        let again = JobEnd::Retry { at, error: Some(error.clone()), counts: true };
        if job.is_last_attempt() { JobEnd::Dead { error } } else { again }.into()
    }
}

type Script = dyn Fn(&Job, &Lease) -> BoxFuture<'static, Attempt> + Send + Sync;

struct Handler(&'static str, Arc<Script>);

#[async_trait]
impl JobHandler for Handler {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn queue(&self) -> &'static str {
        self.0
    }

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt {
        (self.1)(job, lease).await
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        number(job).map(|_| Box::new(Failed(error)) as Box<dyn Conclusion>)
    }

    fn revive(&self, _: &mut View, _: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        Ok(())
    }
}

/// The queue: three attempts, at most half a second each.
pub fn queue() -> QueueConfig {
    QueueConfig { max_attempts: 3, backoff: BACKOFF, timeout: Duration::from_millis(500), ..QueueConfig::named(QUEUE) }
}

/// The number of a job, as [`jobs`] gave it.
pub fn number(job: &Job) -> Option<usize> {
    job.payload.get_i64("number").ok().map(|number| number as usize)
}

/// A worker with a lane and a lease of its own that runs `script`.
pub fn worker(app: &TestApp, script: impl Fn(&Job) -> BoxFuture<'static, Attempt> + Send + Sync + 'static) -> Worker {
    worker_of(app, vec![queue()], Arc::new(NoAccounts), move |job, _| script(job))
}

/// The same for these queues, with accounts.
pub fn worker_of(
    app: &TestApp,
    queues: Vec<QueueConfig>,
    dispatch: Arc<dyn Dispatch>,
    script: impl Fn(&Job, &Lease) -> BoxFuture<'static, Attempt> + Send + Sync + 'static,
) -> Worker {
    let settings = WorkerSettings {
        worker_id: new_id("wrk"),
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(5),
        poll: Duration::from_millis(50),
        shutdown: Duration::from_secs(10),
    };
    let script: Arc<Script> = Arc::new(script);
    let handler = |queue: &QueueConfig| Arc::new(Handler(queue.name, Arc::clone(&script))) as Arc<dyn JobHandler>;
    let handlers = queues.iter().map(handler).collect();
    Worker::new(WorkerParts {
        settings,
        store: app.app.queue_store.clone(),
        lane: Lane::start("workshop", app.app.db.clone(), app.app.clock.clone(), waybill::modules::audit::journal()),
        clock: app.app.clock.clone(),
        waker: app.app.waker.clone(),
        dispatch,
        queues,
        handlers,
    })
}

/// Inserts jobs with the numbers from 0, each changed as the test wants it.
pub async fn jobs(app: &TestApp, count: usize, change: impl Fn(usize, &mut Job)) {
    let (queue, now) = (queue(), app.app.clock.now());
    let collection = app.db().collection::<Job>("jobs");
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(5_000) {
        let jobs = chunk.iter().map(|n| {
            let mut job = Job::new(new_id("job"), &queue, KIND, doc! { "number": *n as i64 }, "rqs_test", now);
            change(*n, &mut job);
            job
        });
        collection.insert_many(jobs).await.unwrap();
    }
}

pub async fn job(app: &TestApp, number: usize) -> Job {
    let filter = doc! { "queue": QUEUE, "payload.number": number as i64 };
    app.db().collection::<Job>("jobs").find_one(filter).await.unwrap().expect("the job is there")
}

/// What a claim saw and got.
pub struct Claim {
    pub jobs: Vec<Job>,
    pub seen: usize,
    pub turn: String,
}

/// Has the test's queue claimed once, by a worker of that name, beginning after that owner.
pub async fn claim(store: &QueueStore, limit: usize, by: (&str, &str), after_owner: &str, now: DateTime) -> Claim {
    claim_of(store, QUEUE, &[String::new()], limit, by, after_owner, now).await
}

/// The same for another queue and its routes.
pub async fn claim_of(
    store: &QueueStore,
    queue: &str,
    routes: &[String],
    limit: usize,
    (worker_id, token): (&str, &str),
    after_owner: &str,
    now: DateTime,
) -> Claim {
    let until = after(now, Duration::from_secs(60));
    let after_owner = LastServed::from([(0, after_owner.to_owned())]);
    let claiming = ClaimQuery { after: &after_owner, ..ClaimQuery::first(queue, routes, limit, now) };
    let due = store.find_due(&claiming).await.unwrap();
    let jobs = store.take(&claiming, &ClaimTerms { worker_id, token, until }, &due.ids).await.unwrap();
    Claim { jobs, seen: due.seen, turn: due.last_served.get(&0).cloned().unwrap_or_default() }
}
