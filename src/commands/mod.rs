//! One function per program.

mod demo;
mod dev;
mod embedded;
mod serve;
mod user;

use crate::{
    app,
    config::{Command, Stores, UserCommand},
    platform::mongo,
};

/// Runs a program to its end.
///
/// # Errors
/// A sentence (or a few lines) for the operator.
pub async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Api(config) => serve::api(config).await,
        Command::Worker(config) => serve::worker(config).await,
        Command::All(config) => serve::all(config).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Migrate(stores) => migrate(&stores).await,
        Command::User(UserCommand::Create(args)) => user::create(args).await,
    }
}

async fn migrate(stores: &Stores) -> Result<(), String> {
    let db =
        mongo::connect(&stores.mongodb_uri).await.map_err(|error| format!("MONGODB_URI can't be used: {error}"))?;
    app::migrate(&db).await.map_err(|error| format!("migrating failed: {error}"))?;
    println!("{}: {} collections and their indexes are there", db.name(), app::collections().len());
    Ok(())
}
