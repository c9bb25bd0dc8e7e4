//! Databases that go from test to test: to create every collection and index, and to drop them, costs mongod half a second
//! of work; to empty those in which there is something costs some milliseconds.
//!
//! The names of those that are free are a list in Redis. A test that fails keeps its database.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::{TryStreamExt, future::try_join_all};
use mongodb::{Database, options::ReadConcern};
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, cmd};
use waybill::{
    app::{collections, indexes},
    modules::{audit::seals::AUDIT_KEYS, wallet::rates::ensure_defaults},
};

use super::{server, unique};

const FREE: &str = "waybill-tests:free-databases";
/// So many are left alone, so that the processes of a test have ended when another one gets its database.
const RESTING: usize = 6;
/// How long Redis may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A database that nobody else uses.
pub struct Taken {
    pub name: String,
    /// Another test has left it, with all collections and indexes.
    pub is_left: bool,
}

/// A database that was left behind by another test, or a new one.
pub async fn take() -> Taken {
    let free: usize = run(cmd("LLEN").arg(FREE)).await;
    let left: Option<String> = if free > RESTING { run(cmd("LPOP").arg(FREE)).await } else { None };
    let is_left = left.is_some();
    Taken { name: left.unwrap_or_else(|| unique("waybill")), is_left }
}

/// Makes a database that was left as a new one is once it was migrated. To ask of each collection whether it is empty, to
/// empty it and to make its indexes would be a third of all that a small test asks the database.
pub async fn prepare_again(db: &Database) {
    let some = |name: &str| [doc! { "$limit": 1 }, doc! { "$project": { "_id": 0, "name": { "$literal": name } } }];
    let (first, others) = collections().split_first().map(|(first, others)| (*first, others.to_vec())).unwrap();
    let others = others.iter().map(|name| doc! { "$unionWith": { "coll": name, "pipeline": some(name).to_vec() } });
    let pipeline: Vec<Document> = some(first).into_iter().chain(others).collect();
    let first = db.collection::<Document>(first);
    let filled = first.aggregate(pipeline).read_concern(ReadConcern::local());
    let filled: Vec<Document> = filled.await.unwrap().try_collect().await.unwrap();
    let emptied = filled.iter().map(|found| {
        let collection = db.collection::<Document>(found.get_str("name").unwrap());
        async move { collection.delete_many(doc! {}).await }
    });
    try_join_all(emptied).await.unwrap();
    ensure_defaults(db).await.unwrap();
}

/// Leaves a database to another test. One that doesn't have the collections and as many indexes as it was made with is
/// dropped.
pub async fn leave(db: &Database) {
    let found = db.run_cursor_command(doc! { "listCollections": 1 }).await.unwrap();
    let found: Vec<Document> = found.try_collect().await.unwrap();
    let mut names: Vec<&str> = found.iter().map(|collection| collection.get_str("name").unwrap()).collect();
    let mut made = collections();
    names.sort_unstable();
    made.sort_unstable();
    // The next one's writers would hash with this test's key.
    db.collection::<Document>(AUDIT_KEYS).delete_many(doc! {}).await.unwrap();
    let size = db.run_command(doc! { "dbStats": 1 }).await.unwrap();
    // And the one of its ids that every collection has.
    let has_indexes = number(&size, "indexes") == (made.len() + indexes().len()) as i64;
    let is_plain = found.iter().all(|collection| collection.get_document("options").unwrap().is_empty());
    if names == made && is_plain && has_indexes {
        let _: usize = run(cmd("RPUSH").arg(FREE).arg(db.name())).await;
    } else {
        db.drop().await.unwrap();
    }
}

fn number(document: &Document, name: &str) -> i64 {
    let number = document.get(name).unwrap();
    number.as_i64().or_else(|| number.as_i32().map(i64::from)).unwrap()
}

async fn run<T: FromRedisValue>(command: &Cmd) -> T {
    let client = redis::Client::open(server("REDIS_URL")).unwrap();
    // On a busy machine half a second, the client's default, is not always enough.
    let patient =
        AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}
