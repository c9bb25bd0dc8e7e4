//! How fast a backlog is sealed, what its seals take, and how fast they are verified.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mongodb::Database;
use secrecy::SecretString;
use serde_json::Value;
use waybill::{
    modules::audit::{
        proof::{PublicKeys, SigningKey},
        seals::{AUDIT_SEALS, AnchorTargets, SealStore, Sealer, SealerKeys},
    },
    platform::{clock::Clock, exchange::ExchangeClient, sealing::SealingKeys},
};

use super::{
    fill::sizes,
    programs::{SEALING_KEY, SIGNING_KEY, Settings},
    verdict::Verdicts,
};

/// What we promise, in records a second.
const SEALED_MIN: f64 = 20_000.0;
const VERIFIED_MIN: f64 = 50_000.0;

pub async fn sealed(db: &Database) -> Result<i64, String> {
    let last = SealStore::new(db.clone()).last().await.map_err(|error| error.to_string())?;
    Ok(last.map_or(0, |last| last.totals.values().sum()))
}

pub async fn seal(db: &Database, records: i64, verdicts: &mut Verdicts) -> Result<(), String> {
    let clock = Clock::default();
    clock.sync(db).await.map_err(|error| error.to_string())?;
    let signer = SigningKey::new(&SecretString::from(SIGNING_KEY))?;
    let keys = SealerKeys {
        public: PublicKeys::from_iter([signer.public()]),
        signer: Arc::new(signer),
        sealing: Arc::new(SealingKeys::new(&SecretString::from(SEALING_KEY), None)?),
    };
    let exchange = ExchangeClient::new(Duration::from_secs(1)).map_err(|error| error.to_string())?;
    let every = Duration::from_secs(3);
    let sealer = Sealer::new(db.clone(), keys, clock, every, AnchorTargets::default(), exchange);
    let began = Instant::now();
    let passed = sealer.pass().await.map_err(|error| error.to_string())?;
    let seconds = began.elapsed().as_secs_f64();
    if sealed(db).await? < records {
        return Err(format!("of {records} records {} are sealed", passed.records));
    }
    let (seals, bytes, indexes) = sizes(db, AUDIT_SEALS).await?;
    println!("sealed: {} records in {seals} seals in {seconds:.1} s", passed.records);
    let per_record = (bytes + indexes) as f64 / passed.records as f64;
    println!("bytes of {AUDIT_SEALS} per record, before compression: {per_record:.1}");
    verdicts.at_least("records sealed a second", passed.records as f64 / seconds, SEALED_MIN);
    Ok(())
}

/// Verifies all seals and all records, by the command that operators use.
pub async fn verify(settings: &Settings, records: i64, verdicts: &mut Verdicts) -> Result<(), String> {
    let (said, good) = settings.run(&["audit", "verify", "--json"]).await?;
    let report: Value = serde_json::from_str(said.trim()).map_err(|error| format!("{error} in {said}"))?;
    if !good {
        return Err(format!("what was sealed is not good: {report}"));
    }
    println!("verified: {report}");
    let checked = report["records"].as_i64().ok_or("it does not say how many records it checked")?;
    if checked < records {
        return Err(format!("of {records} records {checked} were checked"));
    }
    let rate = report["recordsPerSecond"].as_f64().ok_or("it does not say how fast it was")?;
    verdicts.at_least("records verified a second", rate, VERIFIED_MIN);
    Ok(())
}
