//! Databases that go from test to test: to create every collection and index, and to drop them, costs mongod half a second
//! of work; to empty them costs some milliseconds.
//!
//! The names of those that are free are a list in Redis. A test that fails keeps its database.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, cmd};
use waybill::{app::collections, modules::audit::seals::AUDIT_KEYS};

use super::{server, unique};

const FREE: &str = "waybill-tests:free-databases";
/// So many are left alone, so that the processes of a test have ended when another one gets its database.
const RESTING: usize = 6;
/// How long Redis may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name of a database that nobody else uses: new, or left behind by another test.
pub async fn take() -> String {
    let free: usize = run(cmd("LLEN").arg(FREE)).await;
    let left: Option<String> = if free > RESTING { run(cmd("LPOP").arg(FREE)).await } else { None };
    left.unwrap_or_else(|| unique("waybill"))
}

/// Empties a database that was taken.
pub async fn empty(db: &Database) {
    for name in db.list_collection_names().await.unwrap() {
        db.collection::<Document>(&name).delete_many(doc! {}).await.unwrap();
    }
}

/// Leaves a database to another test. One that doesn't have the collections that it was made with, and no others, is
/// dropped; missing indexes are made again.
pub async fn leave(db: &Database) {
    let found = db.run_cursor_command(doc! { "listCollections": 1 }).await.unwrap();
    let found: Vec<Document> = found.try_collect().await.unwrap();
    let mut names: Vec<&str> = found.iter().map(|collection| collection.get_str("name").unwrap()).collect();
    let mut made = collections();
    names.sort_unstable();
    made.sort_unstable();
    // The next one's writers would hash with this test's key.
    db.collection::<Document>(AUDIT_KEYS).delete_many(doc! {}).await.unwrap();
    if names == made && found.iter().all(|collection| collection.get_document("options").unwrap().is_empty()) {
        let _: usize = run(cmd("RPUSH").arg(FREE).arg(db.name())).await;
    } else {
        db.drop().await.unwrap();
    }
}

async fn run<T: FromRedisValue>(command: &Cmd) -> T {
    let client = redis::Client::open(server("REDIS_URL")).unwrap();
    // On a busy machine half a second, the client's default, is not always enough.
    let patient =
        AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}
