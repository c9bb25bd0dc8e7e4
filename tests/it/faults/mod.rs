//! What breaks in the field: processes that die anywhere, leases that end, stores that go away, poison among good work,
//! backlogs. Whatever happens, an acknowledged order is at the carrier exactly once in the end.

mod backlog;
mod batch;
mod chance;
mod crash;
mod dispatch;
mod handlers;
mod kyc;
mod lease;
mod ledger;
mod mongo;
mod orphans;
mod redis;
mod restarts;

pub mod load;
mod workshop;

use std::time::Duration;

use bson::{Document, doc};
use serde_json::Value;

use crate::support::{TestApp, User, eventually};

/// Short times, so that a lost lease and a backoff are soon over.
const FAST: &[&str] = &[
    "--lease-ms=1600",
    "--call-deadline-ms=500",
    "--heartbeat-ms=300",
    "--backoff-base-ms=100",
    "--settling-delay-ms=200",
    "--poll-ms=50",
    "--shutdown-ms=5000",
];

/// Work that was interrupted has this long to come to its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until no job is left to run.
async fn settled(app: &TestApp) {
    let jobs = app.db().collection::<Document>("jobs");
    eventually("every job has ended", PATIENCE, async || {
        let open = doc! { "state": { "$in": ["ready", "active"] } };
        jobs.count_documents(open).await.is_ok_and(|count| count == 0)
    })
    .await;
}

/// Asserts that an order is confirmed, and what the carrier's books say: one create call, one shipment.
async fn confirmed_once(app: &TestApp, user: &User, order_id: &str, context: &str) -> Value {
    let order = app.order(user, order_id).await;
    assert_eq!((&order["status"], &order["providerSyncStatus"]), (&"confirmed".into(), &"synced".into()), "{context}");
    let theirs = app.carrier.order(order_id).await;
    assert_eq!(theirs["createCalls"], 1, "{context}: {theirs}");
    assert_eq!(theirs["shipments"].as_array().map(Vec::len), Some(1), "{context}: {theirs}");
    assert_eq!(order["shipment"]["awb"], theirs["shipments"][0]["awb"], "{context}");
    theirs
}

/// Requests that a later attempt had to close, because their worker ended without an answer.
async fn abandoned(app: &TestApp, order_id: &str) -> usize {
    app.all("provider_response_logs", doc! { "orderId": order_id, "errorCode": "exchange.no_answer" }).await.len()
}

fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap_or_else(|error| panic!("{field}: {error}: {document}"))
}

fn int(document: &Document, field: &str) -> i32 {
    document.get_i32(field).unwrap_or_else(|error| panic!("{field}: {error}: {document}"))
}
