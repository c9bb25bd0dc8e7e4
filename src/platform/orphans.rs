//! Transactions whose client is gone. A process that is killed or frozen between its writes and its commit leaves its
//! transaction open at the server, and everybody else who wants the same documents loses to it until the server ends it
//! (`transactionLifetimeLimitSeconds`, 60 by default). Whoever keeps losing has it ended from here, within two seconds.
//!
//! An orphan is told by its idleness: between two looks it did nothing. Inside a transaction of ours there is nothing but
//! the database, so a healthy one is never idle for that long; one that is ended by mistake, because its process was slow,
//! is run again by whoever made it. Only transactions of our own database user are seen and ended.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bson::{Bson, Document, Uuid, doc};
use futures_util::TryStreamExt;
use mongodb::{
    Database,
    error::{Error, Result},
    options::{ReadConcern, ReadPreference, SelectionCriteria},
};
use parking_lot::Mutex;

use super::mongo;

/// After losing to another writer for this long, it is checked whether that writer is alive.
pub const SUSPECTED_AFTER: Duration = Duration::from_millis(300);
/// A transaction that did nothing for this long is an orphan.
const IDLE: Duration = Duration::from_millis(700);
/// A process asks at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look that takes longer is given up.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

static LAST_LOOK: Mutex<Option<Instant>> = Mutex::new(None);
static REFUSAL_SAID: AtomicBool = AtomicBool::new(false);

/// Looks for orphans where somebody has lost to another writer.
pub fn suspect(db: &Database, error: &Error) {
    if mongo::is_write_conflict(error) {
        look_for(db);
    }
}

/// Looks for orphans in the background and ends them; does nothing where this process has just looked.
pub fn look_for(db: &Database) {
    {
        let mut last = LAST_LOOK.lock();
        if last.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return;
        }
        *last = Some(Instant::now());
    }
    let admin = db.client().database("admin");
    tokio::spawn(async move {
        match tokio::time::timeout(LOOK_TIME_MAX, end_orphans(&admin)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if mongo::is_unauthorized(&error) => {
                if !REFUSAL_SAID.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        "transactions of processes that died can't be ended: the database user may not see or end its own; \
                         others wait for transactionLifetimeLimitSeconds"
                    );
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "could not look for transactions of processes that died"),
            Err(_) => tracing::debug!("looking for transactions of processes that died took too long"),
        }
    });
}

/// An open transaction that waits for its client: session and number.
type Transaction = (Uuid, i64);

async fn end_orphans(admin: &Database) -> Result<()> {
    let before = idle_transactions(admin).await?;
    if before.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(IDLE).await;
    let after = idle_transactions(admin).await?;
    let orphans = orphans(&before, &after);
    if orphans.is_empty() {
        return Ok(());
    }
    tracing::warn!(count = orphans.len(), "ending transactions whose process died or does not go on");
    metrics::counter!("waybill_orphaned_transactions_ended_total").increment(orphans.len() as u64);
    let sessions: Vec<Bson> = orphans.into_iter().map(|(session, _)| doc! { "id": session }.into()).collect();
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    admin.run_command(doc! { "killSessions": sessions }).selection_criteria(primary).await.map(drop)
}

/// Transactions that were idle both times and did nothing in between.
fn orphans(before: &HashMap<Transaction, i64>, after: &HashMap<Transaction, i64>) -> Vec<Transaction> {
    let still = |(transaction, active_us): (&Transaction, &i64)| {
        (before.get(transaction) == Some(active_us)).then_some(*transaction)
    };
    after.iter().filter_map(still).collect()
}

/// Transactions that are idle now, with the time that they have been active (µs); that of their idleness would not do,
/// because it adds up over all their pauses.
async fn idle_transactions(admin: &Database) -> Result<HashMap<Transaction, i64>> {
    let idle = [
        doc! { "$currentOp": { "allUsers": false, "idleSessions": true } },
        doc! { "$match": { "active": false, "transaction.parameters.autocommit": false } },
        doc! { "$project": { "session": "$lsid.id", "number": "$transaction.parameters.txnNumber", "activeUs": "$transaction.timeActiveMicros" } },
    ];
    let found = admin
        .aggregate(idle)
        .read_concern(ReadConcern::local())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    found
        .await?
        .try_filter_map(|found: Document| async move {
            let number = |field: &str| found.get(field).and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from)));
            let session = match found.get("session") {
                Some(Bson::Binary(session)) => session.to_uuid().ok(),
                _ => None,
            };
            Ok(session.and_then(|session| Some(((session, number("number")?), number("activeUs")?))))
        })
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_did_nothing_between_two_looks_is_an_orphan() {
        let [orphan, working, next, ended, new] = std::array::from_fn(|_| Uuid::new());
        let before = HashMap::from([((orphan, 1), 500), ((working, 1), 500), ((next, 1), 500), ((ended, 1), 500)]);
        let after = HashMap::from([((orphan, 1), 500), ((working, 1), 501), ((next, 2), 500), ((new, 1), 500)]);
        assert_eq!(orphans(&before, &after), [(orphan, 1)]);
    }
}
