//! The database: connecting, indexes, and errors told apart by code and label, never by text.

mod definitions;
mod pool;
pub mod slow;

use std::{collections::BTreeMap, time::Duration};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{
    Client, Database, IndexModel,
    action::Find,
    error::{Error, ErrorKind, Result, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure},
    options::{Acknowledgment, ClientOptions, IndexOptions, ReadConcern, WriteConcern},
};
use serde::de::DeserializeOwned;

pub use definitions::{IndexDifferences, compare_indexes, number};

/// How long a call waits for a primary before it says that the database is away.
pub const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The database's name where the URI names none.
pub const DEFAULT_DATABASE: &str = "waybill";

/// A read that somebody waits for is given up by the server after this long, so that it can't pile up behind its client.
pub const READ_TIME_MAX: Duration = Duration::from_secs(10);

/// Makes a client for `uri`; connects lazily, so it succeeds while the database is away.
///
/// # Errors
/// When the URI can't be read.
pub async fn connect(uri: &str) -> Result<Database> {
    connect_with(uri, false).await
}

/// The same for a client whose slow commands are logged, where that is on ([`slow::log_over`]).
///
/// # Errors
/// When the URI can't be read.
pub async fn connect_watched(uri: &str) -> Result<Database> {
    connect_with(uri, slow::is_on()).await
}

async fn connect_with(uri: &str, is_watched: bool) -> Result<Database> {
    let mut options = ClientOptions::parse(uri).await?;
    options.app_name.get_or_insert_with(|| "waybill".into());
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION_TIMEOUT);
    options.connect_timeout.get_or_insert(Duration::from_secs(3));
    options.max_pool_size.get_or_insert(64);
    options.heartbeat_freq.get_or_insert(Duration::from_secs(5));
    options.cmap_event_handler = Some(pool::observe());
    options.command_event_handler = is_watched.then(slow::observe);
    options.write_concern = Some(durable());
    options.read_concern = Some(ReadConcern::majority());
    let name = options.default_database.clone().unwrap_or_else(|| DEFAULT_DATABASE.into());
    Ok(Client::with_options(options)?.database(&name))
}

/// Acknowledged by a majority and journaled: what every write of ours asks for.
#[must_use]
pub fn durable() -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Majority).journal(true).w_timeout(Duration::from_secs(10)).build()
}

/// Code of the server: the user may not do this.
const UNAUTHORIZED: i32 = 13;
/// Most records of one kind about one thing that are read at once: an order has a handful, and hundreds of calls where its
/// provider was away for a day.
const LATEST_MAX: usize = 500;

/// The latest records of one kind about one thing.
#[derive(Clone, Debug)]
pub struct Latest<T> {
    /// Oldest first, at most 500.
    pub records: Vec<T>,
    /// Whether there are older ones.
    pub truncated: bool,
}

/// The latest of the records that are asked for, by their ids.
///
/// # Errors
/// Errors of the database driver.
pub async fn latest<T: DeserializeOwned + Unpin + Send + Sync>(asked: Find<'_, T>) -> Result<Latest<T>> {
    let found = asked.sort(doc! { "_id": -1 }).limit(LATEST_MAX as i64 + 1).max_time(READ_TIME_MAX).await?;
    let mut records: Vec<T> = found.try_collect().await?;
    let truncated = records.len() > LATEST_MAX;
    records.truncate(LATEST_MAX);
    records.reverse();
    Ok(Latest { records, truncated })
}

/// Whether the database could not be reached or had no primary: trying again later makes sense.
#[must_use]
pub fn is_away(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::ServerSelection { .. }
        | ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        // While the driver knows no server, it says of transactions that there are none.
        | ErrorKind::Transaction { .. }
        | ErrorKind::Shutdown => true,
        ErrorKind::Command(command) => is_state_change(command.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => is_state_change(concern.code),
        _ => error.contains_label("RetryableWriteError") || error.contains_label(TRANSIENT_TRANSACTION_ERROR),
    }
}

/// Codes by which a server says that it is stepping down, shutting down or has no majority (driver specification,
/// "server discovery and monitoring": not-writable-primary and node-is-recovering errors, and time limits).
const fn is_state_change(code: i32) -> bool {
    matches!(code, 50 | 64 | 91 | 189 | 262 | 10107 | 10058 | 11600 | 11602 | 13435 | 13436)
}

/// Whether a unique index refused a write.
#[must_use]
pub fn is_duplicate_key(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(write)) => write.code == 11000,
        ErrorKind::InsertMany(many) => {
            many.write_errors.as_ref().is_some_and(|errors| errors.iter().any(|e| e.code == 11000))
        }
        ErrorKind::Command(command) => command.code == 11000,
        _ => false,
    }
}

/// Whether the whole transaction may be run again: the server says so, or has ended it by itself (too old, interrupted,
/// unknown after a change of the primary), for which it has no label.
#[must_use]
pub fn is_transient(error: &Error) -> bool {
    is_labelled_transient(error)
        || matches!(error.kind.as_ref(), ErrorKind::Command(command) if is_interruption(command.code))
}

/// Codes by which a server says that it has ended an operation or its transaction: `CursorNotFound`,
/// `TransactionTooOld`, `CursorKilled`, `NoSuchTransaction`, `ClientDisconnect`,
/// `TransactionExceededLifetimeLimitSeconds`, `Interrupted`, `ClientMarkedKilled`.
const fn is_interruption(code: i32) -> bool {
    matches!(code, 43 | 225 | 237 | 251 | 279 | 290 | 11601 | 46841)
}

/// Whether somebody else is writing the same document, or holds it locked.
#[must_use]
pub fn is_write_conflict(error: &Error) -> bool {
    const LOCK_TIMEOUT: i32 = 24;
    const WRITE_CONFLICT: i32 = 112;
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if matches!(command.code, LOCK_TIMEOUT | WRITE_CONFLICT))
}

/// Whether the user of the database may not do this.
#[must_use]
pub fn is_unauthorized(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == UNAUTHORIZED)
}

/// Whether the server itself says that the transaction is not there and may be run again. Of a commit this is certain: the
/// label comes only with an answer that a majority has confirmed.
#[must_use]
pub fn is_labelled_transient(error: &Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}

/// Whether it is not known if the transaction committed; committing again is safe.
#[must_use]
pub fn is_unknown_commit(error: &Error) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

/// An index, declared beside the store that needs it.
#[derive(Clone, Debug)]
pub struct Index {
    pub collection: &'static str,
    /// Its name: stable, so that changes show.
    pub name: &'static str,
    /// Keys and directions.
    pub keys: Document,
    /// No two documents may share the keys.
    pub unique: bool,
    /// Only documents that match are in the index.
    pub partial: Option<Document>,
    /// Documents are removed so long after the time that the (only) key holds.
    pub expires_after: Option<Duration>,
}

impl Index {
    #[must_use]
    pub const fn new(collection: &'static str, name: &'static str, keys: Document) -> Self {
        Self { collection, name, keys, unique: false, partial: None, expires_after: None }
    }

    /// Makes it unique. Writes of the API wait until every unique index exists.
    #[must_use]
    pub const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// Restricts it to documents that match.
    #[must_use]
    pub fn partial(mut self, filter: Document) -> Self {
        self.partial = Some(filter);
        self
    }

    /// Removes documents when the time in the key has passed.
    #[must_use]
    pub const fn expires(self) -> Self {
        self.expires_after(Duration::ZERO)
    }

    /// Removes documents when the time in the key is so long ago.
    #[must_use]
    pub const fn expires_after(mut self, kept: Duration) -> Self {
        self.expires_after = Some(kept);
        self
    }

    fn model(&self) -> IndexModel {
        let mut options = IndexOptions::builder().name(self.name.to_owned()).build();
        options.unique = self.unique.then_some(true);
        options.partial_filter_expression.clone_from(&self.partial);
        options.expire_after = self.expires_after;
        IndexModel::builder().keys(self.keys.clone()).options(options).build()
    }
}

/// Creates collections and indexes that are missing; running it again changes nothing.
///
/// # Errors
/// What the driver says; an index that exists with other keys under the same name is one of these.
pub async fn ensure_indexes(db: &Database, collections: &[&str], indexes: &[Index]) -> Result<()> {
    let existing = db.list_collection_names().await?;
    for name in collections {
        if !existing.iter().any(|have| have == name)
            && let Err(error) = db.create_collection(*name).await
            && !matches!(error.kind.as_ref(), ErrorKind::Command(c) if c.code == 48)
        {
            return Err(error);
        }
        let models: Vec<_> = indexes.iter().filter(|i| i.collection == *name).map(Index::model).collect();
        if !models.is_empty() {
            db.collection::<Document>(name).create_indexes(models).await?;
        }
    }
    Ok(())
}

/// Removes indexes, by collection and name, where they are there.
///
/// # Errors
/// Errors of the database driver.
pub async fn drop_indexes(db: &Database, indexes: &[(&str, &str)]) -> Result<()> {
    for (collection, name) in indexes {
        match db.collection::<Document>(collection).drop_index(*name).await {
            // There is no such index, or no such collection.
            Err(error) if !matches!(error.kind.as_ref(), ErrorKind::Command(c) if matches!(c.code, 26 | 27)) => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Names of unique indexes that don't exist yet, as `collection.name`.
///
/// # Errors
/// Errors of the database driver.
pub async fn missing_unique_indexes(db: &Database, indexes: &[Index]) -> Result<Vec<String>> {
    let mut needed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for index in indexes.iter().filter(|index| index.unique) {
        needed.entry(index.collection).or_default().push(index.name);
    }
    let mut missing = Vec::new();
    for (collection, needed) in needed {
        let names = match db.collection::<Document>(collection).list_index_names().await {
            Ok(names) => names,
            Err(error) if matches!(error.kind.as_ref(), ErrorKind::Command(c) if c.code == 26) => Vec::new(),
            Err(error) => return Err(error),
        };
        let absent = needed.into_iter().filter(|name| !names.iter().any(|have| have == name));
        missing.extend(absent.map(|name| format!("{collection}.{name}")));
    }
    Ok(missing)
}

/// Answers in time or fails; for `/readyz`.
///
/// # Errors
/// Errors of the database driver.
pub async fn ping(db: &Database) -> Result<()> {
    db.run_command(doc! { "ping": 1 }).await.map(drop)
}
