//! Exports of many records: how fast, and how much memory. Each is written by a process of its own, to nowhere, and says
//! what it had resident at most (`VmHWM`).
//!
//! `scripts/bench export`. Needs `MONGODB_URI` of an empty database. Fails where an export takes more than 100 MiB, or
//! has not every record.

use std::{
    process::{Command, ExitCode},
    sync::Arc,
    time::Instant,
};

use bson::{DateTime, Document, RawDocumentBuf, doc};
use clap::Parser;
use mongodb::Database;
use secrecy::SecretString;
use waybill::{
    app,
    modules::audit::{
        RESPONSE_LOGS,
        export::{ExportFilter, ExportFormat, Exporter},
        proof::{CommitmentKey, Leaf, PublicKeys, Record, Scopes, Seal, SealHeader, SigningKey},
        seals::{SealStore, commitment_key_of},
    },
    platform::{identity::Actor, ids::new_id, mongo, sealing::SealingKeys},
};

/// As in our programs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What we promise.
const RESIDENT_KB_MAX: u64 = 100 * 1024;
/// Leaves of a full seal.
const LEAVES: usize = 20_000;
/// Of these records are as large as a log gets, in one seal.
const LARGE_BYTES: usize = 64 * 1024;

type Anyhow<T> = Result<T, Box<dyn std::error::Error>>;

/// How fast many records are exported, and in how much memory.
#[derive(Clone, Parser)]
struct Args {
    /// Records of about 1 KB, sealed by 20,000.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Further records of 64 KB, all in one seal.
    #[arg(long, default_value_t = LEAVES)]
    large: usize,
    /// The database has to be empty.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    mongodb_uri: String,
    /// Exports and says how it went; started by this program itself.
    #[arg(long, hide = true, value_enum)]
    measure: Option<ExportFormat>,
    /// A selection, and not the chain.
    #[arg(long, hide = true)]
    selection: bool,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn sealing() -> Anyhow<SealingKeys> {
    Ok(SealingKeys::new(&SecretString::from("0".repeat(64)), None)?)
}

fn signer() -> Anyhow<SigningKey> {
    Ok(SigningKey::new(&SecretString::from("5".repeat(64)))?)
}

/// An answer of a carrier; what it said is personal.
fn answer(padding: &str) -> Document {
    doc! {
        "_id": new_id("res"), "requestRefId": new_id("req"), "orderId": new_id("ord"), "userId": "usr_1",
        "clientOrderId": "SHOP-2026-000123", "resourceId": null, "provider": "parcelx", "operation": "create_order",
        "attempt": 1, "jobId": new_id("job"), "workerId": "wrk_1", "accountId": "parcelx/default",
        "correlationId": new_id("rqs"), "awb": null, "httpStatus": 200, "headers": { "content-type": "application/json" },
        "body": { "status": true, "responsemsg": "Order created and booked with the courier", "padding": padding },
        "outcome": "done", "errorClass": null, "errorCode": null, "errorMessage": null, "latencyMs": 183_i64,
        "late": false, "receivedAt": DateTime::now(),
    }
}

struct Filler {
    db: Database,
    commitments: CommitmentKey,
    signer: SigningKey,
    last: Option<SealHeader>,
}

impl Filler {
    async fn seal(&mut self, records: usize, padding: &str) -> Anyhow<()> {
        let made: Result<Vec<RawDocumentBuf>, _> =
            (0..records).map(|_| RawDocumentBuf::try_from(&answer(padding))).collect();
        let made = made?;
        let logs = self.db.collection::<RawDocumentBuf>(RESPONSE_LOGS);
        for some in made.chunks(1_000) {
            logs.insert_many(some).ordered(false).await?;
        }
        let scope = Scopes::standard().of_collection(RESPONSE_LOGS).ok_or("not sealed")?;
        let records = made.iter().map(|document| {
            let id = document.get_str("_id").unwrap_or_default();
            Record { scope, id, document }
        });
        let leaves = Leaf::of_all(records, &self.commitments);
        let seal = Seal::build(self.last.as_ref(), DateTime::now(), leaves, Scopes::standard(), &self.signer);
        SealStore::new(self.db.clone()).insert(&seal).await?;
        self.last = Some(seal.header);
        Ok(())
    }
}

async fn fill(args: &Args) -> Anyhow<()> {
    let db = mongo::connect(&args.mongodb_uri).await?;
    app::migrate(&db).await?;
    let commitments = commitment_key_of(&db, &sealing()?).await?;
    let mut filler = Filler { db, commitments, signer: signer()?, last: None };
    let padding = "x".repeat(300);
    let mut left = args.records;
    while left > 0 {
        filler.seal(left.min(LEAVES), &padding).await?;
        left -= left.min(LEAVES);
    }
    if args.large > 0 {
        filler.seal(args.large, &"x".repeat(LARGE_BYTES)).await?;
    }
    Ok(())
}

/// Most memory that this process ever had, in KB.
fn peak_kb() -> Anyhow<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().split(' ').next().unwrap_or_default().parse()?)
}

/// Whether it went as we promise.
async fn measure(args: &Args, format: ExportFormat) -> Anyhow<bool> {
    let db = mongo::connect(&args.mongodb_uri).await?;
    let exporter = Exporter::new(db, Arc::new(sealing()?), Some(Arc::new(signer()?)), PublicKeys::default());
    let mut filter = ExportFilter::default();
    if args.selection {
        filter.collections.push(RESPONSE_LOGS.into());
    }
    let began = Instant::now();
    let export = exporter.begin(filter, format, Actor::command_line("bench export"), DateTime::now()).await?;
    let line = export.write_to(tokio::io::sink(), |_| ()).await?;
    let seconds = began.elapsed().as_secs_f64();
    let manifest: serde_json::Value = serde_json::from_str(&line)?;
    let (manifest, expected) = (&manifest["manifest"], args.records + args.large);
    let whole = manifest["counts"][RESPONSE_LOGS] == expected;
    let peak = peak_kb()?;
    let mode = if args.selection { "selection" } else { "chain" };
    let bytes = manifest["bytes"].as_f64().unwrap_or_default();
    println!(
        "{mode:<9} {format:?}: {expected} records, {:.0} MB in {seconds:.1} s: {:.0} records/s, {:.0} MB/s, at most {:.1} MiB resident{}",
        bytes / 1e6,
        expected as f64 / seconds,
        bytes / 1e6 / seconds,
        peak as f64 / 1024.0,
        if whole { "" } else { "; RECORDS ARE MISSING" },
    );
    Ok(whole && peak < RESIDENT_KB_MAX)
}

/// Each way in a process of its own.
fn measure_all(args: &Args) -> Anyhow<bool> {
    let mut good = true;
    for (format, selection) in [("ndjson", false), ("csv", false), ("ndjson", true)] {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["--measure", format, "--records", &args.records.to_string(), "--large", &args.large.to_string()]);
        if selection {
            child.arg("--selection");
        }
        good &= child.env("MONGODB_URI", &args.mongodb_uri).status()?.success();
    }
    Ok(good)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let went = runtime.map_err(Into::into).and_then(|runtime| match args.measure {
        Some(format) => runtime.block_on(measure(&args, format)),
        None => {
            println!("filling: {} records of 1 KB, and a seal of {} of 64 KB", args.records, args.large);
            runtime.block_on(fill(&args)).and_then(|()| measure_all(&args))
        }
    });
    match went {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("not as promised: every record, in less than {} MiB", RESIDENT_KB_MAX / 1024);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
