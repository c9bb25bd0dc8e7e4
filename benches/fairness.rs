//! How long the only job of one merchant waits behind a long backlog of another's, and what a claim looks at meanwhile.
//!
//! `scripts/bench fairness`. Needs `MONGODB_URI` of an empty database, and `REDIS_URL`.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bson::{DateTime, Document, doc};
use clap::Parser;
use futures_util::TryStreamExt;
use mongodb::Database;
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::sleep};
use waybill::{
    app,
    modules::{
        audit,
        queue::{
            Attempt, ClaimQuery, Concluded, Conclusion, JOBS, Job, JobEnd, JobError, JobHandler, Lease, NoAccounts,
            QueueConfig, QueueStore, RetryRefused, Waker, Worker, WorkerParts, WorkerSettings,
        },
    },
    platform::{
        batch::{Key, Lane, View},
        clock::Clock,
        identity::Actor,
        ids::new_id,
        mongo,
        redis::Redis,
    },
};

const QUEUE: &str = "fairness-queue";
const KIND: &str = "send";
const ROUTE: &str = "pool";
/// The other merchant's order is sent within this of free capacity.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// So often it is measured.
const ROUNDS: usize = 10;

/// Waiting jobs of one merchant, and one of another.
#[derive(Parser)]
struct Args {
    /// Jobs that wait.
    #[arg(long, default_value_t = 100_000)]
    jobs: usize,
    /// How long a call takes.
    #[arg(long, default_value_t = 100)]
    call_ms: u64,
    /// What is measured; the database has to be empty.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    mongodb_uri: String,
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: String,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Sends for as long as a call takes, and says when the other merchant's job was sent.
struct Send {
    call: Duration,
    sent: Arc<Mutex<(usize, Option<oneshot::Sender<Instant>>)>>,
}

struct Done;

impl Conclusion for Done {
    fn reads(&self) -> Vec<Key> {
        Vec::new()
    }

    fn conclude(&self, _: &mut View, _: &Job) -> Concluded {
        JobEnd::Done { result: None }.into()
    }
}

#[async_trait]
impl JobHandler for Send {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn queue(&self) -> &'static str {
        QUEUE
    }

    async fn run(&self, job: &Job, _: &Lease) -> Attempt {
        {
            let mut sent = self.sent.lock();
            sent.0 += 1;
            if job.owner.as_deref() == Some("usr_small")
                && let Some(tell) = sent.1.take()
            {
                let _ = tell.send(Instant::now());
            }
        }
        sleep(self.call).await;
        Attempt::Concluded(Box::new(Done))
    }

    fn failed(&self, _: &Job, _: JobError) -> Option<Box<dyn Conclusion>> {
        None
    }

    fn revive(&self, _: &mut View, _: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        Ok(())
    }
}

fn job(queue: &QueueConfig, owner: &str, now: DateTime) -> Job {
    let mut job = Job::new(new_id("job"), queue, KIND, doc! {}, "rqs_bench", now).owned_by(owner);
    job.route = ROUTE.into();
    job
}

async fn insert(db: &Database, queue: &QueueConfig, count: usize, now: DateTime) -> mongodb::error::Result<()> {
    for first in (0..count).step_by(5_000) {
        let jobs: Vec<Job> = (first..count.min(first + 5_000)).map(|_| job(queue, "usr_large", now)).collect();
        db.collection::<Job>(JOBS).insert_many(jobs).await?;
    }
    Ok(())
}

/// Keys of indexes and documents that one claim looks at, by the database's own account.
async fn looked_at(db: &Database, now: DateTime) -> mongodb::error::Result<(i64, i64, usize)> {
    let store = QueueStore::new(db.clone());
    let routes = [ROUTE.to_owned()];
    db.run_command(doc! { "profile": 2 }).await?;
    store.ready_routes(QUEUE).await?;
    let claiming = ClaimQuery { backlog: true, ..ClaimQuery::first(QUEUE, &routes, 64, now) };
    let due = store.find_due(&claiming).await?;
    db.run_command(doc! { "profile": 0 }).await?;
    let profile = db.collection::<Document>("system.profile");
    let of_jobs = doc! { "ns": format!("{}.{JOBS}", db.name()) };
    let seen: Vec<Document> = profile.find(of_jobs).await?.try_collect().await?;
    let sum = |field: &str| {
        let of = |entry: &Document| entry.get(field).and_then(|n| n.as_i64().or(n.as_i32().map(i64::from)));
        seen.iter().filter_map(of).sum()
    };
    Ok((sum("keysExamined"), sum("docsExamined"), due.ids.len()))
}

async fn measure(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    let db = mongo::connect(&args.mongodb_uri).await?;
    app::migrate(&db).await?;
    let clock = Clock::default();
    while !clock.is_synced() {
        clock.sync(&db).await?;
    }
    let queue = QueueConfig { timeout: Duration::from_secs(60), ..QueueConfig::named(QUEUE) };
    let began = Instant::now();
    insert(&db, &queue, args.jobs, clock.now()).await?;
    println!("{} jobs of one merchant wait (inserted in {:.1} s)", args.jobs, began.elapsed().as_secs_f64());
    let (keys, documents, found) = looked_at(&db, clock.now()).await?;
    println!("a claim of {found} looks at {keys} keys and {documents} documents");

    let sent = Arc::new(Mutex::new((0, None)));
    let handler = Send { call: Duration::from_millis(args.call_ms), sent: Arc::clone(&sent) };
    let waker = Waker::new(Redis::new(&args.redis_url, &new_id("bench"))?);
    let worker = Worker::new(WorkerParts {
        settings: WorkerSettings {
            worker_id: new_id("wrk"),
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_millis(500),
            shutdown: Duration::from_secs(10),
        },
        store: QueueStore::new(db.clone()),
        lane: Lane::start("bench", db.clone(), clock.clone(), audit::journal()),
        clock: clock.clone(),
        waker,
        dispatch: Arc::new(NoAccounts),
        queues: vec![queue.clone()],
        handlers: vec![Arc::new(handler)],
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(async move { worker.run(async { drop(stopped.await) }).await });
    let mut waits = Vec::new();
    for _ in 0..ROUNDS {
        let busy = sent.lock().0 + 200;
        while sent.lock().0 < busy {
            sleep(Duration::from_millis(20)).await;
        }
        let (tell, told) = oneshot::channel();
        sent.lock().1 = Some(tell);
        let inserted = Instant::now();
        db.collection::<Job>(JOBS).insert_one(job(&queue, "usr_small", clock.now())).await?;
        waits.push(told.await?.duration_since(inserted));
    }
    let _ = stop.send(());
    running.await?;
    let longest = waits.iter().max().copied().unwrap_or_default();
    waits.sort_unstable();
    println!(
        "the other merchant's only job is sent after {:.2} s (median of {ROUNDS}), {:.2} s at most, with {} sent meanwhile",
        waits[ROUNDS / 2].as_secs_f64(),
        longest.as_secs_f64(),
        sent.lock().0,
    );
    Ok(longest <= WAIT_MAX && keys <= 10 * found as i64 + 50)
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("that is more than we promise");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
