//! What sealing takes from orders: creates as fast as they are taken, carried to the carrier and back, with and without a
//! sealer beside them.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongodb::Database;
use tokio::task::JoinSet;
use waybill::{
    modules::{orders::ORDERS, providers::registry::PROVIDERS, queue::JOBS},
    platform::{mongo, singleton::Singleton},
};

use super::{
    programs::{Settings, Stores, client, create, simulators},
    sealing::sealed,
    verdict::Verdicts,
};

const CONNECTIONS: usize = 32;
/// Before a round is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// With (true) and without: so that what drifts weighs on both alike.
const ROUNDS: [bool; 6] = [false, true, true, false, false, true];
/// What we promise: of the orders without sealing so many are left.
const SHARE_MIN: f64 = 0.85;
/// A backlog that doesn't get smaller any more is a defect, not a figure.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// What one of the two came to in all its rounds.
#[derive(Default)]
struct Total {
    orders: u64,
    seconds: f64,
    cpu_seconds: f64,
    rounds: Vec<String>,
}

/// A database with a merchant of its own.
struct Place {
    db: Database,
    settings: Settings,
    token: String,
    number: Arc<AtomicU64>,
    /// Holds the sealer's lease where nothing is to be sealed.
    _idle: JoinSet<()>,
}

impl Place {
    async fn prepare(stores: &Stores, name: &str, carrier: &str, seals: bool) -> Result<Self, String> {
        let settings = stores.settings(name).with("PARCELX_BASE_URL", &format!("{carrier}/parcelx/api/v3"));
        settings.migrate().await?;
        let token = settings.user("merchant").await?;
        let db = mongo::connect(&stores.database(name)).await.map_err(|error| error.to_string())?;
        let mut idle = JoinSet::new();
        if !seals {
            let lease = Singleton::new(db.clone(), "sealer");
            if !lease.hold().await.map_err(|error| error.to_string())? {
                return Err("somebody seals already".into());
            }
            idle.spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let _ = lease.hold().await;
                }
            });
        }
        Ok(Self { db, settings, token, number: Arc::default(), _idle: idle })
    }

    /// Creates orders for so long; how many.
    async fn load(&self, base: &str, time: Duration) -> Result<u64, String> {
        let (until, failed, before) = (Instant::now() + time, Arc::new(AtomicBool::new(false)), self.created());
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (http, base, token) = (client()?, base.to_owned(), self.token.clone());
            let (number, failed) = (Arc::clone(&self.number), Arc::clone(&failed));
            tasks.spawn(async move {
                while Instant::now() < until && !failed.load(Ordering::Relaxed) {
                    let id = format!("c-{}", number.fetch_add(1, Ordering::Relaxed));
                    if let Err(error) = create(&http, &base, &token, &id).await {
                        failed.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
                Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        Ok(self.created() - before)
    }

    fn created(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Waits until every order is carried.
    async fn drain(&self) -> Result<(), String> {
        let queue = PROVIDERS[0].create_queue;
        let open = doc! { "queue": queue, "state": { "$in": ["ready", "active"] } };
        let (jobs, began) = (self.db.collection::<Document>(JOBS), Instant::now());
        while jobs.count_documents(open.clone()).await.map_err(|error| error.to_string())? > 0 {
            if began.elapsed() > DRAIN_MAX {
                return Err("the backlog of orders does not end".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Starts API and worker, creates for so long, and measures until everything is carried.
    async fn round(&self, time: Duration, database_pid: u32, total: &mut Total) -> Result<(), String> {
        let http = client()?;
        let (api, worker) = (self.settings.start("api", &http).await?, self.settings.start("worker", &http).await?);
        self.load(&api.base, WARM_UP).await?;
        self.drain().await?;
        let spent = || [database_pid, api.pid(), worker.pid()].map(cpu_seconds).iter().sum::<f64>();
        let (cpu, began) = (spent(), Instant::now());
        let orders = self.load(&api.base, time).await?;
        self.drain().await?;
        let seconds = began.elapsed().as_secs_f64();
        total.cpu_seconds += spent() - cpu;
        total.orders += orders;
        total.seconds += seconds;
        total.rounds.push(format!("{:.0}", orders as f64 / seconds));
        worker.stop().await?;
        api.stop().await
    }

    /// Every order that was created has come to the carrier.
    async fn check(&self) -> Result<(), String> {
        let orders = self.db.collection::<Document>(ORDERS);
        let confirmed = orders.count_documents(doc! { "status": "confirmed" }).await;
        let confirmed = confirmed.map_err(|error| error.to_string())?;
        if confirmed == self.created() {
            return Ok(());
        }
        Err(format!("of {} orders {confirmed} are confirmed", self.created()))
    }
}

/// CPU time of a process since it began, in user and kernel mode.
fn cpu_seconds(pid: u32) -> f64 {
    /// `_SC_CLK_TCK` on Linux.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

/// Orders per second with sealing, over those without.
pub async fn compare(stores: &Stores, time: Duration, verdicts: &mut Verdicts) -> Result<(), String> {
    let (carrier, base) = simulators().await?;
    let places = [
        Place::prepare(stores, "orders_plain", &base, false).await?,
        Place::prepare(stores, "orders_sealed", &base, true).await?,
    ];
    let status = places[0].db.client().database("admin").run_command(doc! { "serverStatus": 1 }).await;
    let status = status.map_err(|error| error.to_string())?;
    let pid = status.get("pid").and_then(|pid| pid.as_i64().or_else(|| pid.as_i32().map(i64::from)));
    let pid = u32::try_from(pid.unwrap_or_default()).unwrap_or_default();
    let mut totals = [Total::default(), Total::default()];
    for (number, seals) in ROUNDS.into_iter().enumerate() {
        let with = if seals { "with" } else { "without" };
        eprintln!("orders: round {} of {}, {with} sealing", number + 1, ROUNDS.len());
        let which = usize::from(seals);
        places[which].round(time, pid, &mut totals[which]).await?;
    }
    drop(carrier);
    for place in &places {
        place.check().await?;
    }
    let [without, with] = &totals;
    for (name, total) in [("without sealing", without), ("with sealing", with)] {
        println!(
            "orders/s {name}: {:.0} (rounds {}), CPU ms an order (API, worker, database): {:.3}",
            total.orders as f64 / total.seconds,
            total.rounds.join(" "),
            total.cpu_seconds * 1_000.0 / total.orders as f64
        );
    }
    let records = sealed(&places[1].db).await?;
    println!("sealed meanwhile: {records} records of {} orders", places[1].created());
    if records < places[1].created() as i64 || sealed(&places[0].db).await? > 0 {
        return Err("sealing was not on where it should be, or on where it should not".into());
    }
    let rate = |total: &Total| total.orders as f64 / total.seconds;
    verdicts.at_least("orders/s with sealing over without", rate(with) / rate(without), SHARE_MIN);
    Ok(())
}
