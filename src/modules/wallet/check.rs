//! Checking what is stored of the ledger against itself: lines against lines, balances against lines, holds against lines.
//!
//! All of a check reads one snapshot, so that writes that go on can't look like differences, and holds two documents of
//! it at a time, so that its size doesn't matter. The server keeps a snapshot readable for
//! `minSnapshotHistoryWindowInSeconds` (300 by default): a check has to end by then.

use bson::{Document, doc};
use mongodb::{ClientSession, Database, error::Result};

use super::{
    model::{HOLDS, Hold, HoldState, LEDGER, WALLETS, Wallet},
    store::WalletStore,
};
use crate::platform::differences::{Difference, Differences, aggregate, differ, id, merge, number, sorted};

/// Checks the ledger, its wallets and its holds, in the snapshot of `session`.
///
/// # Errors
/// Errors of the database driver.
pub async fn check_ledger(store: &WalletStore, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let db = store.snapshots();
    check_lines(db, session, to).await?;
    check_wallets(db, session, to).await?;
    check_sequence(db, session, to).await?;
    check_holds(db, session, to).await?;
    check_held(db, session, to).await
}

/// Every transaction's lines sum to zero, in its currency.
async fn check_lines(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let ledger = db.collection::<Document>(LEDGER);
    let sum = doc! { "$sum": "$lines.amount" };
    // What has no lines is to be named, not to end the check.
    let all = doc! { "$ifNull": ["$lines", []] };
    let foreign = doc! { "$filter": { "input": &all, "cond": { "$ne": ["$$this.currency", "$currency"] } } };
    let wrong =
        doc! { "$or": [{ "$ne": [&sum, 0] }, { "$gt": [{ "$size": foreign }, 0] }, { "$lt": [{ "$size": all }, 2] }] };
    let pipeline = [doc! { "$match": { "$expr": wrong } }, doc! { "$project": { "sum": sum } }];
    let mut cursor = ledger.aggregate(pipeline).session(&mut *session).await?;
    while let Some(unbalanced) = cursor.next(session).await.transpose()? {
        to.add(Difference::new("transaction.balance", id(&unbalanced), 0, number(&unbalanced, "sum")));
    }
    Ok(())
}

/// Every wallet is the sum of its lines, and its sequence has no gap.
async fn check_wallets(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let touched = doc! { "$and": [{ "$ne": ["$walletSeq", null] }, { "$gt": ["$walletSeq", 0] }] };
    let sums = [
        doc! { "$group": {
            "_id": wallet_id(),
            "available": { "$sum": sum_of_lines("wallet.available") },
            "transactions": { "$sum": 1 },
            "touched": { "$sum": { "$cond": [touched, 1, 0] } },
            "last": { "$max": "$walletSeq" },
            "newest": { "$max": { "seq": "$walletSeq", "after": "$availableAfter" } },
        } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let lines = aggregate(db, LEDGER, sums.to_vec(), session).await?;
    let wallets = sorted(db, WALLETS, doc! {}, session).await?;
    let (mut transactions, mut count) = (0, 0);
    merge(session, lines, wallets, |key, lines, wallet| {
        let empty = Document::new();
        let lines = lines.unwrap_or(&empty);
        transactions += number(lines, "transactions").unsigned_abs();
        let Some(wallet) = wallet else {
            if number(lines, "touched") > 0 {
                to.add(Difference::new("wallet.exists", key, "a wallet", "none"));
            }
            return;
        };
        count += 1;
        let Ok(wallet) = bson::deserialize_from_document::<Wallet>(wallet.clone()) else {
            return to.add(Difference::new("wallet.readable", key, "a wallet", "something else"));
        };
        differ(to, "wallet.owner", key, Wallet::id_of(&wallet.user_id, wallet.currency), wallet.id.clone());
        differ(to, "wallet.available", key, number(lines, "available"), wallet.available);
        differ(to, "wallet.version", key, number(lines, "last"), wallet.version);
        differ(to, "wallet.sequence", key, wallet.version, number(lines, "touched"));
        let newest = lines.get_document("newest").cloned().unwrap_or_default();
        differ(to, "wallet.available_after", key, wallet.available, number(&newest, "after"));
        if wallet.available < 0 {
            to.add(Difference::new("wallet.below_zero", key, "0 or more", wallet.available));
        }
    })
    .await?;
    to.looked_at("ledger_transactions", transactions);
    to.looked_at("wallets", count);
    Ok(())
}

/// A wallet's lines are numbered from 1 without gaps, and each says what was available after it.
async fn check_sequence(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let pipeline = vec![
        doc! { "$match": { "walletSeq": { "$gt": 0 } } },
        doc! { "$project": { "walletSeq": 1, "availableAfter": 1, "wallet": wallet_id(),
        "change": sum_of_lines("wallet.available") } },
        doc! { "$setWindowFields": { "partitionBy": "$wallet", "sortBy": { "walletSeq": 1 }, "output": {
            "position": { "$documentNumber": {} },
            "before": { "$shift": { "output": "$availableAfter", "by": -1, "default": 0_i64 } },
        } } },
        doc! { "$set": { "after": { "$add": ["$before", "$change"] } } },
        doc! { "$match": { "$expr": { "$or": [
            { "$ne": ["$position", "$walletSeq"] },
            { "$ne": ["$after", "$availableAfter"] },
        ] } } },
    ];
    let mut wrong = aggregate(db, LEDGER, pipeline, session).await?;
    while let Some(line) = wrong.next(session).await.transpose()? {
        differ(to, "transaction.sequence", id(&line), number(&line, "position"), number(&line, "walletSeq"));
        differ(to, "transaction.available_after", id(&line), number(&line, "after"), number(&line, "availableAfter"));
    }
    Ok(())
}

/// Every hold's lines say what its state says.
async fn check_holds(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let of_holds = doc! { "holdId": { "$gt": "" } };
    let outside = doc! { "$sum": { "$map": { "input": { "$filter": { "input": "$lines", "cond":
    { "$not": [{ "$in": ["$$this.account", ["wallet.available", "wallet.held"]] }] } } }, "in": "$$this.amount" } } };
    let sums = [
        doc! { "$match": of_holds },
        doc! { "$group": { "_id": "$holdId", "held": { "$sum": sum_of_lines("wallet.held") },
        "outside": { "$sum": outside }, "users": { "$addToSet": "$userId" } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let lines = aggregate(db, LEDGER, sums.to_vec(), session).await?;
    let holds = sorted(db, HOLDS, doc! {}, session).await?;
    let mut count = 0;
    merge(session, lines, holds, |key, lines, hold| {
        let Some(hold) = hold else {
            return to.add(Difference::new("hold.exists", key, "a hold", "none"));
        };
        count += 1;
        let Ok(hold) = bson::deserialize_from_document::<Hold>(hold.clone()) else {
            return to.add(Difference::new("hold.readable", key, "a hold", "something else"));
        };
        let Some(lines) = lines else {
            return to.add(Difference::new("hold.lines", key, "lines in the ledger", "none"));
        };
        let (held, captured) = match hold.state {
            HoldState::Open => (hold.amount, 0),
            HoldState::Captured => (0, hold.captured),
            HoldState::Released | HoldState::Refunded => (0, 0),
        };
        differ(to, "hold.held", key, held, number(lines, "held"));
        differ(to, "hold.captured", key, captured, number(lines, "outside"));
        let users = lines.get_array("users").map(Vec::len).unwrap_or_default();
        differ(to, "hold.owner", key, 1, users);
    })
    .await?;
    to.looked_at("holds", count);
    Ok(())
}

/// Checks that every user's open holds sum up to the lines on `held`.
async fn check_held(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let sorted_sums = |first: Document, sum: Document| {
        let group = doc! { "$group": { "_id": wallet_id(), "held": { "$sum": sum } } };
        let not_zero = doc! { "$match": { "held": { "$ne": 0 } } };
        vec![first, group, not_zero, doc! { "$sort": { "_id": 1 } }]
    };
    let by_lines = sorted_sums(doc! { "$match": { "holdId": { "$gt": "" } } }, sum_of_lines("wallet.held"));
    let by_holds = sorted_sums(doc! { "$match": { "state": "open" } }, doc! { "$sum": ["$amount"] });
    let lines = aggregate(db, LEDGER, by_lines, session).await?;
    let holds = aggregate(db, HOLDS, by_holds, session).await?;
    merge(session, lines, holds, |key, lines, holds| {
        let held = |sums: Option<&Document>| sums.map_or(0, |sums| number(sums, "held"));
        differ(to, "wallet.held", key, held(lines), held(holds));
    })
    .await
}

/// The wallet's id out of a document's userId and currency, as [`Wallet::id_of`] makes it.
fn wallet_id() -> Document {
    let body = doc! { "$replaceOne": { "input": "$userId", "find": "usr_", "replacement": "" } };
    doc! { "$concat": ["wal_", body, "_", "$currency"] }
}

fn sum_of_lines(account: &str) -> Document {
    let of_account = doc! { "$filter": { "input": "$lines", "cond": { "$eq": ["$$this.account", account] } } };
    doc! { "$sum": { "$map": { "input": of_account, "in": "$$this.amount" } } }
}
