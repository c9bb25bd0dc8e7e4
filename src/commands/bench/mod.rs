//! `waybill bench`: what an installation carries on its operator's own MongoDB. API and workers run as processes of their own, so
//! that what they take is told from what creating the orders takes; the carrier is the stand-in, whose books are compared with what
//! was acknowledged.

mod load;
mod report;
mod site;

use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use self::{
    load::{Fleet, LoadRate, LoadResult},
    report::{BenchReport, Fairness, Latency, Orders},
    site::Site,
};
use super::serve::Shutdown;
use crate::config::BenchArgs;

/// How often the processes and the carrier's books are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A figure that has not changed for this long is final.
const PATIENCE: Duration = Duration::from_secs(30);
/// Orders of the neighbour that makes no noise come so often.
const QUIET_EVERY: Duration = Duration::from_millis(200);
/// With fewer orders under way, what the processes take besides hides what an order takes.
const IN_FLIGHT_MIN: u64 = 200;
/// Orders a second of the light round: at most so many, so that they are few enough to be looked at one by one.
const LIGHT_RATE_MAX: f64 = 200.0;

pub(super) async fn run(args: BenchArgs) -> Result<ExitCode, String> {
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let mut site = Site::new(&args)?;
    let measured = tokio::select! {
        measured = measure(&args, &mut site) => measured,
        () = shutdown.wait() => Err("interrupted".into()),
    };
    let left = site.leave(args.keep, measured.is_ok()).await;
    let report = measured?;
    if args.json {
        println!("{}", report.json())
    } else {
        print!("{report}")
    }
    left?;
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(args: &BenchArgs, site: &mut Site) -> Result<BenchReport, String> {
    say("starting API, workers and stand-ins, and making merchants ...");
    site.start(args).await?;
    let fleet = Fleet::new(site.api()?, site.merchants());
    // What is made at the first use is made by then.
    let warm = fleet.run("w", LoadRate::Rate(20.0), Duration::from_secs(1), usize::from(args.connections)).await;
    let mut watch = Watch::begin(site).await;
    watch.drain(&fleet, "warming up").await?;

    watch.rest().await;
    let load = fleet.run("t", LoadRate::Flat, Duration::from_secs(args.seconds), usize::from(args.connections));
    let made = watch.during(&fleet, "creating as fast as it goes", load).await?;
    watch.drain(&fleet, "waiting for the carrier").await?;
    let spent = watch.spent().await;
    let per_second = site.confirmed_per_second("t").await?;

    let half = Duration::from_millis(args.seconds * 500).max(Duration::from_secs(1));
    let rate = (per_second / 5.0).clamp(5.0, LIGHT_RATE_MAX);
    let light = fleet.run("l", LoadRate::Rate(rate), half, usize::from(args.connections));
    let light = watch.during(&fleet, "at a fifth of that", light).await?;
    watch.drain(&fleet, "waiting for the carrier").await?;

    let (one, other) = (fleet.only(0), fleet.only(1));
    let noisy = other.run("n", LoadRate::Flat, half, usize::from(args.connections));
    let quiet = one.run("q", LoadRate::Rate(1.0 / QUIET_EVERY.as_secs_f64()), half, 4);
    let (noisy, quiet) = watch.during(&fleet, "beside a noisy neighbour", async { tokio::join!(noisy, quiet) }).await?;
    watch.drain(&fleet, "waiting for the carrier").await?;

    say("looking at the books ...");
    let books = site.books().await?;
    let rounds = [&warm, &made, &light, &noisy, &quiet];
    let acknowledged: u64 = rounds.iter().map(|made| made.acknowledged).sum();
    let stored = site.stored().await?;
    let confirmed = site.confirmed().await?;
    let orders = Orders {
        acknowledged,
        refused: rounds.iter().map(|made| made.refused).sum(),
        unanswered: rounds.iter().map(|made| made.unanswered).sum(),
        at_carrier: books.shipments,
        duplicates: books.duplicates,
        missing: acknowledged
            .max(stored)
            .saturating_sub(books.shipments.saturating_sub(books.duplicates).min(confirmed)),
    };
    let (pick_up, confirmed_light) = site.waits("l").await?;
    Ok(BenchReport {
        version: env!("CARGO_PKG_VERSION"),
        mongodb_version: site.mongodb_version().await,
        seconds: args.seconds,
        merchants: args.merchants,
        connections: args.connections,
        workers: args.workers,
        orders,
        refusals: rounds.iter().find_map(|made| made.refusal.clone()),
        orders_per_second: per_second,
        creates_per_second: made.acknowledged as f64 / made.took.as_secs_f64().max(0.001),
        create_ms: Latency::of(made.latencies_ms),
        cpu_ms_per_order: spent.cpu_seconds.map(|seconds| seconds * 1_000.0 / (made.acknowledged.max(1) as f64)),
        commands_per_job: spent.commands.map(|commands| commands as f64 / (made.acknowledged.max(1) as f64)),
        memory_mib: spent.memory_peak_mib,
        in_flight_max: spent.in_flight_max,
        memory_mib_per_1000_in_flight: spent.memory_per_1000(),
        light_rate: rate,
        pick_up_ms: pick_up,
        confirmed_ms: confirmed_light,
        fairness: Fairness {
            noisy_orders: noisy.acknowledged,
            noisy_ms: site.waits("n").await?.1,
            quiet_orders: quiet.acknowledged,
            quiet_ms: site.waits("q").await?.1,
        },
    })
}

/// On stderr, where it is in nobody's way.
fn say(words: &str) {
    eprintln!("{words}");
}

/// CPU, commands and memory that the processes used.
#[derive(Debug, Default)]
struct ResourceUsage {
    cpu_seconds: Option<f64>,
    commands: Option<u64>,
    memory_before_mib: Option<f64>,
    memory_peak_mib: Option<f64>,
    in_flight_max: u64,
}

impl ResourceUsage {
    /// Growth of memory per thousand orders that were acknowledged and not yet at the carrier.
    fn memory_per_1000(&self) -> Option<f64> {
        let grown = (self.memory_peak_mib? - self.memory_before_mib?).max(0.0);
        (self.in_flight_max >= IN_FLIGHT_MIN).then(|| grown * 1_000.0 / self.in_flight_max as f64)
    }
}

/// Looks at processes and books while something goes on.
struct Watch<'a> {
    site: &'a Site,
    before: (Option<f64>, Option<u64>),
    spent: ResourceUsage,
    began: Instant,
    said: Option<Instant>,
}

impl<'a> Watch<'a> {
    async fn begin(site: &'a Site) -> Self {
        let mut watch =
            Self { site, before: (None, None), spent: ResourceUsage::default(), began: Instant::now(), said: None };
        watch.rest().await;
        watch
    }

    /// Resets the counters: what was used before no longer counts.
    async fn rest(&mut self) {
        self.before = (self.site.cpu_seconds(), self.site.commands().await);
        let memory = self.site.memory_mib();
        self.spent = ResourceUsage { memory_before_mib: memory, memory_peak_mib: memory, ..ResourceUsage::default() };
    }

    async fn spent(&mut self) -> ResourceUsage {
        let (cpu, commands) = (self.site.cpu_seconds(), self.site.commands().await);
        self.spent.cpu_seconds = cpu.zip(self.before.0).map(|(now, before)| now - before);
        self.spent.commands = commands.zip(self.before.1).map(|(now, before)| now.saturating_sub(before));
        std::mem::take(&mut self.spent)
    }

    /// Until `work` is done.
    async fn during<T>(&mut self, fleet: &Fleet, what: &str, work: impl Future<Output = T>) -> Result<T, String> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(LOOK_EVERY) => { self.look(fleet, what).await?; }
            }
        }
    }

    /// Until everything is at the carrier, or nothing comes any more.
    async fn drain(&mut self, fleet: &Fleet, what: &str) -> Result<(), String> {
        let (mut moved, mut last) = (Instant::now(), None);
        loop {
            let there = self.look(fleet, what).await?;
            if there >= fleet.acknowledged() && self.site.is_quiet().await? {
                return Ok(());
            }
            if last.replace(there) != Some(there) {
                moved = Instant::now();
            }
            if moved.elapsed() > PATIENCE {
                say(&format!("{} orders did not reach the carrier", fleet.acknowledged().saturating_sub(there)));
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY / 2).await;
        }
    }

    /// How many are at the carrier.
    async fn look(&mut self, fleet: &Fleet, what: &str) -> Result<u64, String> {
        let there = self.site.books().await?.shipments;
        let acknowledged = fleet.acknowledged();
        let in_flight = acknowledged.saturating_sub(there);
        self.spent.in_flight_max = self.spent.in_flight_max.max(in_flight);
        if let Some(memory) = self.site.memory_mib() {
            self.spent.memory_peak_mib = Some(self.spent.memory_peak_mib.unwrap_or_default().max(memory));
        }
        let is_terminal = std::io::stderr().is_terminal();
        let pause = if is_terminal { LOOK_EVERY } else { Duration::from_secs(5) };
        if self.said.is_none_or(|said| said.elapsed() >= pause) {
            self.said = Some(Instant::now());
            let line = format!(
                "{:>4} s  {acknowledged} created, {there} at the carrier, {in_flight} on their way: {what}",
                self.began.elapsed().as_secs(),
            );
            if is_terminal { eprint!("\r{line:<100}\r") } else { say(&line) }
        }
        Ok(there)
    }
}

impl Fleet {
    fn acknowledged(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

/// For the sums over rounds.
impl LoadResult {
    fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.took = self.took.max(other.took);
        self.refusal = self.refusal.take().or(other.refusal);
        self.latencies_ms.extend(other.latencies_ms);
    }
}
