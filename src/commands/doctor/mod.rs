//! `waybill doctor`: looks at everything that an installation stands on, says what is wrong, and what to do about it. It changes
//! nothing.

mod backlog;
mod database;
mod findings;
mod keys;
mod outside;
mod settings;

use std::{process::ExitCode, time::Duration};

use serde::Serialize;

use crate::{
    app::App,
    config::DoctorArgs,
    platform::{mongo, redis::Redis},
};
use findings::{DoctorFinding, DoctorFindings, FindingState};

/// A part of the look that has not come to its end by then is given up.
const PART_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct DoctorReport<'a> {
    ok: bool,
    findings: &'a [DoctorFinding],
}

/// Looks at everything; the code says whether something does not work.
pub(super) async fn run(args: DoctorArgs) -> Result<ExitCode, String> {
    let mut findings = DoctorFindings::default();
    let (as_json, stores) = (args.json, args.config.stores.clone());
    settings::look(&args.config, &mut findings);
    let db = mongo::connect(&stores.mongodb_uri).await;
    let db = db.map_err(|error| findings.problem("mongodb", format!("MONGODB_URI can't be read: {error}"), URI)).ok();
    let is_there = match &db {
        Some(db) => in_time(database::look(db, &mut findings)).await.unwrap_or(false),
        None => false,
    };
    look_at_redis(&stores.redis_url, &stores.redis_prefix, &mut findings).await;
    // Everything else looks through the parts that programs are made of, which need complete settings.
    match App::build(args.config).await {
        Ok(app) => {
            if is_there {
                let parts = async {
                    keys::look(&app, &mut findings).await;
                    backlog::look(&app, &mut findings).await;
                };
                if in_time(parts).await.is_none() {
                    findings.problem("mongodb", "The database answers too slowly to be looked at.", SLOW);
                }
            }
            outside::look(&app, &mut findings).await;
        }
        Err(error) if findings.count(FindingState::Problem) == 0 => {
            findings.problem("settings", error.to_string(), settings::ADVICE);
        }
        Err(_) => {}
    }
    print(&findings, as_json)?;
    Ok(if findings.count(FindingState::Problem) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const URI: &str = "Write it as mongodb://user:password@host:27017/waybill?replicaSet=rs0.";
const SLOW: &str = "Look at its CPU, disk and slow-query log.";

async fn in_time<T>(part: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PART_TIME_MAX, part).await.ok()
}

async fn look_at_redis(url: &str, prefix: &str, findings: &mut DoctorFindings) {
    let advice = "Start it, or correct REDIS_URL. Waybill works without it: jobs start up to POLL_MS later, and limits count in each \
                  process alone.";
    match Redis::new(url, prefix) {
        Err(error) => findings.problem(
            "redis",
            format!("REDIS_URL can't be used: {error}"),
            "Write it as redis://:password@host:6379.",
        ),
        Ok(redis) => match redis.ping().await {
            Ok(()) => findings.ok("redis", "It answers."),
            Err(away) => {
                let why = away.0.map_or_else(|| "it does not answer in time".to_owned(), |error| error.to_string());
                findings.warn("redis", format!("It can't be used: {why}"), advice);
            }
        },
    }
}

fn print(findings: &DoctorFindings, as_json: bool) -> Result<(), String> {
    if as_json {
        let report = DoctorReport { ok: findings.count(FindingState::Problem) == 0, findings: &findings.0 };
        println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
        return Ok(());
    }
    for DoctorFinding { check, state, says, advice } in &findings.0 {
        println!("{:<8} {check:<24} {says}", state.as_str());
        if let Some(advice) = advice {
            println!("{:33} -> {advice}", "");
        }
    }
    let [problems, warnings, unknown] =
        [FindingState::Problem, FindingState::Warning, FindingState::Unknown].map(|state| findings.count(state));
    println!("{} checks: {problems} problem(s), {warnings} warning(s), {unknown} unknown", findings.0.len());
    Ok(())
}
