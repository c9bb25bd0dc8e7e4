//! What the audit costs: how long its questions take with few and with many calls stored, how fast records are sealed and
//! verified, and what sealing takes from orders.
//!
//! `scripts/bench audit`. Needs `MONGODB_URI` of a server without databases of ours, with an empty path, and `REDIS_URL`.

mod fill;
mod history;
mod orders;
mod programs;
mod queries;
mod sealing;
mod verdict;

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::{Parser, ValueEnum};
use mongodb::Database;
use waybill::platform::mongo;

use fill::{FILLED, Filled, fill, sizes};
use programs::Stores;
use verdict::Verdicts;

/// As in our programs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Calls of the short history.
const SHORT: u64 = 10_000;
/// The history ends so long ago: nothing that a sealer would look back at.
const ENDED_AGO: Duration = Duration::from_secs(600);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Queries,
    Sealing,
    Orders,
}

/// Auditors' questions, sealing, verifying, and what sealing takes from orders.
#[derive(Parser)]
struct Args {
    /// Calls of the long history, each a request and a response.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(SHORT..))]
    pairs: u64,
    /// How long orders are created in each round.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Only this, of all.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// What is measured; there must be no databases of ours.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    mongodb_uri: String,
    /// Wake-ups and counters.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: String,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

async fn connect(stores: &Stores, name: &str) -> Result<Database, String> {
    let db = mongo::connect(&stores.database(name)).await.map_err(|error| error.to_string())?;
    let there = db.list_collection_names().await.map_err(|error| error.to_string())?;
    if there.is_empty() { Ok(db) } else { Err(format!("the database {name} is not empty")) }
}

/// A database with a history of so many calls.
async fn filled(stores: &Stores, name: &str, calls: u64) -> Result<(Database, Filled), String> {
    let db = connect(stores, name).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    let filled = fill(&db, stores.settings(name), calls, (now - ENDED_AGO).as_millis() as i64).await?;
    Ok((db, filled))
}

async fn records(db: &Database) -> Result<i64, String> {
    let mut records = 0;
    for collection in FILLED {
        let (count, bytes, indexes) = sizes(db, collection).await?;
        records += count;
        let (mean, indexes) = (bytes as f64 / count as f64, indexes as f64 / count as f64);
        println!("{collection}: {count} of {mean:.0} bytes, and {indexes:.0} of indexes");
    }
    Ok(records)
}

async fn run(args: Args) -> Result<bool, String> {
    let stores = Stores { mongodb_uri: args.mongodb_uri.clone(), redis_url: args.redis_url.clone() };
    let (mut verdicts, began) = (Verdicts::default(), Instant::now());
    if args.wants(Part::Orders) {
        orders::compare(&stores, Duration::from_secs(args.seconds), &mut verdicts).await?;
    }
    if args.wants(Part::Queries) || args.wants(Part::Sealing) {
        let (db, long) = filled(&stores, "long", args.pairs).await?;
        let records = records(&db).await?;
        if args.wants(Part::Queries) {
            let (_, short) = filled(&stores, "short", SHORT).await?;
            queries::compare(&short, &long, &mut verdicts).await?;
        }
        if args.wants(Part::Sealing) {
            sealing::seal(&db, records, &mut verdicts).await?;
            sealing::verify(&long.settings, records, &mut verdicts).await?;
        }
    }
    eprintln!("all of it took {:.0} s", began.elapsed().as_secs_f64());
    Ok(verdicts.all_kept())
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run(args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("audit: {reason}");
            ExitCode::FAILURE
        }
    }
}
