//! One function per program.

mod analytics;
mod api;
mod audit;
mod bench;
mod demo;
mod dev;
mod doctor;
mod embedded;
mod follow;
mod health;
mod keys;
mod ledger;
mod listen;
mod openapi;
mod remote;
mod serve;
mod sign_in;
mod top;
mod user;

use std::{path::Path, process::ExitCode};

use bson::{DateTime, doc};

use crate::{
    app,
    config::{
        AnalyticsCommand, CliCommand, KeysCommand, LedgerCommand, MigrateArgs, StockCommand, WebhooksCommand,
        settings_file, settings_table, stale_files,
    },
    modules::{
        audit::{AuditEvent, AuditOutcome, AuditStore},
        wallet::rates::{self, Card},
    },
    platform::{clock::Clock, identity::Actor, mongo},
};

/// Runs a program to its end; gives what it exits with.
///
/// # Errors
/// A sentence (or a few lines) for the operator.
pub async fn run(command: CliCommand) -> Result<ExitCode, String> {
    let done = match command {
        CliCommand::Api(args) => match (args.call, args.list) {
            (Some(call), _) => return api::run(call).await,
            (None, true) => return api::list().await,
            (None, false) => serve::api(args.config).await,
        },
        CliCommand::Worker(config) => serve::worker(config).await,
        CliCommand::All(config) => serve::all(config).await,
        CliCommand::Dev(args) => dev::run(args).await,
        CliCommand::Demo(args) => demo::run(args).await,
        CliCommand::Bench(args) => return bench::run(args).await,
        CliCommand::Migrate(args) => migrate(&args).await,
        CliCommand::Health(args) => health::ask(&args.url).await,
        CliCommand::Doctor(args) => return doctor::run(*args).await,
        CliCommand::Settings(args) if args.write => write_settings(),
        CliCommand::Settings(args) => {
            print!("{}", if args.markdown { settings_table() } else { settings_file() });
            Ok(())
        }
        CliCommand::Audit(command) => return audit::run(command).await,
        CliCommand::Ledger(LedgerCommand::Check(stores)) => ledger::check(&stores).await,
        CliCommand::Stock(StockCommand::Check(stores)) => ledger::check_stock(&stores).await,
        CliCommand::Analytics(AnalyticsCommand::Rebuild(stores)) => analytics::rebuild(&stores).await,
        CliCommand::Keys(KeysCommand::Rotate(args)) => keys::rotate(&args).await,
        CliCommand::User(command) => user::run(command).await,
        CliCommand::Top(args) => top::run(args).await,
        CliCommand::Openapi => openapi::print().await,
        CliCommand::Webhooks(WebhooksCommand::Listen(args)) => listen::run(args).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Brings the files of this folder up to date that have every setting and provider.
fn write_settings() -> Result<(), String> {
    let here = Path::new(".");
    for (name, text) in stale_files(here)? {
        std::fs::write(here.join(name), text).map_err(|error| format!("{name} can't be written: {error}"))?;
        println!("{name}");
    }
    Ok(())
}

async fn migrate(args: &MigrateArgs) -> Result<(), String> {
    // Read before anything is changed: a card that can't be used stops it here.
    let card = match &args.rate_card {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| format!("{} can't be read: {error}", path.display()))?;
            Some(rates::parse_card(&text).map_err(|error| format!("{}: {error}", path.display()))?)
        }
        None => None,
    };
    let db = mongo::connect(&args.stores.mongodb_uri)
        .await
        .map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    app::migrate(&db).await.map_err(|error| format!("migrating failed: {error}"))?;
    if let Some(card) = card {
        let clock = Clock::default();
        clock.sync(&db).await.map_err(|error| format!("the database's clock can't be read: {error}"))?;
        if rates::insert_card(&db, &card).await.map_err(|error| error.to_string())? {
            let recorded = AuditStore::new(db.clone()).record(&rate_card_added(&card, clock.now())).await;
            recorded.map_err(|error| format!("rate card {} is there, but not on record: {error}", card.id()))?;
        }
        println!("rate card {} is there, in force from {}", card.id(), card.effective_from());
    }
    println!("{}: {} collections and their indexes are there", db.name(), app::collections().len());
    Ok(())
}

/// The audit event of a new rate card.
fn rate_card_added(card: &Card, at: DateTime) -> AuditEvent {
    let (actor, about) = (Actor::command_line("migrate"), ("rate_card", card.id()));
    AuditEvent::new(AuditOutcome::Done, actor, "rate_card.added", about, at).after(doc! {
        "provider": card.provider(), "version": card.version(), "effectiveFrom": card.effective_from(),
    })
}
