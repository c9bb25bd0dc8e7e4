//! Records verified per second against a database: as many as are asked for, of 1 KB, in seals of a given size.
//!
//! `MONGODB_URI=... cargo bench --bench verification -- --records 400000 --per-seal 4000`. The database has to be empty.

#![allow(missing_docs)]

use std::{process::ExitCode, time::Instant};

use bson::{DateTime, Document, RawDocumentBuf, doc};
use clap::Parser;
use mongodb::Database;
use secrecy::SecretString;
use waybill::{
    app,
    modules::audit::{
        proof::{CommitmentKey, PublicKeys, Record, Scope, Scopes, Seal, SealHeader, SigningKey},
        seals::{SealStore, commitment_key_of},
        verification::{Part, verify_chain},
    },
    platform::{ids::first_id_at, mongo, sealing::SealingKeys},
};

/// As in our programs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What we promise, in records a second.
const RATE_MIN: f64 = 50_000.0;
/// Of the first record; one follows every millisecond.
const FROM_MS: i64 = 1_700_000_000_000;

/// Records verified per second.
#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 400_000)]
    records: usize,
    #[arg(long, default_value_t = 4_000)]
    per_seal: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What is measured; the database has to be empty.
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    mongodb_uri: String,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A record of 1 KB, of which a field or two are personal.
fn record(scope: &Scope, n: usize) -> Document {
    // The last digits differ as random ones do.
    let mut id = first_id_at(scope.id_prefix(), FROM_MS + n as i64);
    id.replace_range(id.len() - 8.., &format!("{:08x}", (n as u32).wrapping_mul(2_654_435_761)));
    doc! {
        "_id": id, "orderId": "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "userId": "usr_0198f0c2b1e07c3e8a41b5d0f3a2c4e6",
        "resourceId": format!("ord_{n}"), "action": "measured", "correlationId": "rqs_0198f0c2b1e07c3e8a41b5d0f3a2c4e6",
        "actor": {
            "kind": "user", "id": format!("usr_{n}"), "role": "support", "address": "192.0.2.17", "requestId": "rqs_1",
        },
        "attempt": 1, "awb": "PX1234567890", "httpStatus": 200, "latencyMs": 183_i64, "errorMessage": null,
        "headers": { "content-type": "application/json", "content-length": "412", "date": "Tue, 14 Nov 2023 22:13:20 GMT" },
        "body": {
            "status": true, "responsemsg": "Order created and booked with the courier", "consignee_city": "Bengaluru",
            "data": { "order_number": format!("PX-{n}"), "charges": [41.5, 7.47], "pickup_id": 88_123_i64 },
            "text": "x".repeat(300),
        },
        "outcome": "done", "late": false, "receivedAt": DateTime::from_millis(FROM_MS + n as i64),
    }
}

async fn fill(
    db: &Database,
    args: &Args,
    commitments: &CommitmentKey,
    signer: &SigningKey,
) -> mongodb::error::Result<()> {
    let scopes: Vec<&Scope> = Scopes::standard().today().collect();
    let store = SealStore::new(db.clone());
    let mut last: Option<SealHeader> = None;
    for from in (0..args.records).step_by(args.per_seal) {
        let numbers: Vec<usize> = (from..args.records.min(from + args.per_seal)).collect();
        let mut records: Vec<(&Scope, RawDocumentBuf)> = Vec::with_capacity(numbers.len());
        for (position, scope) in scopes.iter().enumerate() {
            let of_scope: Vec<Document> = numbers
                .iter()
                .filter(|number| **number % scopes.len() == position)
                .map(|number| record(scope, *number))
                .collect();
            if of_scope.is_empty() {
                continue;
            }
            db.collection::<Document>(scope.collection()).insert_many(&of_scope).await?;
            for document in &of_scope {
                records.push((scope, RawDocumentBuf::try_from(document).map_err(mongodb::error::Error::from)?));
            }
        }
        let sealed = records.iter().map(|(scope, document)| Record {
            scope,
            id: document.get_str("_id").unwrap_or_default(),
            document,
        });
        let at = DateTime::from_millis(FROM_MS + (from + args.per_seal) as i64);
        let seal = Seal::build(last.as_ref(), at, sealed, commitments, signer);
        store.insert(&seal).await?;
        last = Some(seal.header());
    }
    Ok(())
}

async fn measure(args: &Args) -> Result<f64, String> {
    let words = |error: mongodb::error::Error| error.to_string();
    let db = mongo::connect(&args.mongodb_uri).await.map_err(words)?;
    app::migrate(&db).await.map_err(words)?;
    let sealing = SealingKeys::new(&SecretString::from("0".repeat(64)), None)?;
    let signer = SigningKey::new(&SecretString::from("5".repeat(64)))?;
    let keys = PublicKeys::from_iter([signer.public()]);
    let commitments = commitment_key_of(&db, &sealing).await.map_err(|error| error.to_string())?;
    fill(&db, args, &commitments, &signer).await.map_err(words)?;
    let mut best = 0.0_f64;
    for _ in 0..args.rounds {
        let (began, mut chain) = (Instant::now(), 0.0);
        let report = verify_chain(&db, &keys, &sealing, Part::default(), |_| chain = began.elapsed().as_secs_f64())
            .await
            .map_err(|error| error.to_string())?;
        let seconds = began.elapsed().as_secs_f64();
        if let Some(finding) = report.finding {
            return Err(finding.to_string());
        }
        let rate = report.records as f64 / seconds;
        println!("{} records in {seconds:.2} s ({chain:.2} s of it the chain): {rate:.0}/s", report.records);
        best = best.max(rate);
    }
    Ok(best)
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args).await {
        Ok(rate) if rate >= RATE_MIN => ExitCode::SUCCESS,
        Ok(rate) => {
            eprintln!("{rate:.0}/s is less than {RATE_MIN}/s");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
