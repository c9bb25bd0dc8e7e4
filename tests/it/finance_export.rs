//! The ledger as a file: whole, or seen to be not.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bson::{Document, doc};
use futures_util::future::join_all;
use mongodb::options::{DatabaseOptions, ReadConcern};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use waybill::platform::{
    identity::Role,
    ids::{new_id, sibling_id},
};

use crate::{
    finance::{booked, booking, with},
    finance_reports::{LEDGER, Shop, ids, json_lines, number, text},
    statement::rows,
    support::{TestApp, User, eventually, server, servers::Mongod, unique, with_database},
};

#[tokio::test]
async fn an_export_has_everything_once_and_adds_up() {
    let shop = Shop::open().await;
    let (app, asha) = (&shop.app, &shop.merchants[0]);
    let formula = with(booking("=1", "recharge", asha, 5), "/reason", json!("=HYPERLINK(\"http://x\")"));
    app.post(&shop.finance, "/finance/transactions", &formula).await.expect(422);
    let formula = with(formula, "/clientReference", json!("-1"));
    booked(app, &shop.finance, &formula).await;
    let many: Vec<_> = (0..1_100).map(|n| booking(&format!("many-{n}"), "recharge", asha, 1)).collect();
    for some in many.chunks(100) {
        join_all(some.iter().map(|body| booked(app, &shop.finance, body))).await;
    }

    let answer = app.get(&shop.auditor, "/finance/ledger/export").await.expect(200);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert!(answer.headers["content-disposition"].to_str().unwrap().ends_with(".ndjson\""));
    let all = json_lines(&answer.text);
    let stored = app.all(LEDGER, doc! {}).await;
    let stored_ids: BTreeSet<_> = stored.iter().map(|stored| stored.get_str("_id").unwrap().to_owned()).collect();
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>(), stored_ids);
    assert_eq!(all.len(), stored.len(), "each once");
    assert!(all.iter().map(|t| (text(&t["at"]), text(&t["transactionId"]))).is_sorted(), "oldest first");
    for transaction in &all {
        let amounts = transaction["lines"].as_array().unwrap().iter().map(|line| number(&line["amount"]));
        assert_eq!(amounts.sum::<i64>(), 0, "{transaction}");
    }

    let answer = app.get(&shop.auditor, "/finance/ledger/export?format=csv").await.expect(200);
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8; header=present");
    let rows = rows(&answer.text);
    let lines: Vec<_> =
        all.iter().flat_map(|t| t["lines"].as_array().unwrap().iter().map(move |line| (t, line))).collect();
    assert_eq!(rows.len(), lines.len());
    for (row, (transaction, line)) in rows.iter().zip(lines) {
        assert_eq!(text(&row["amountMinor"]), number(&line["amount"]).to_string());
        assert_eq!(row["side"], if number(&line["amount"]) > 0 { "credit" } else { "debit" });
        assert_eq!((&row["account"], &row["currency"]), (&line["account"], &line["currency"]));
        for same in ["transactionId", "at", "kind", "userId"] {
            assert_eq!(row[same], transaction[same], "{same}");
        }
        for formula in ["clientReference", "reason", "referenceId", "actor", "holdId"] {
            assert!(!text(&row[formula]).starts_with(['=', '+', '-', '@']), "{row}");
        }
        if transaction["clientReference"] == "-1" {
            assert_eq!((&row["clientReference"], &row["reason"]), (&json!("'-1"), &json!("'=HYPERLINK(\"http://x\")")));
        }
        if transaction["currency"] == "KWD" {
            assert!(["0.070", "-0.070"].contains(&row["amount"].as_str().unwrap()), "{row}");
        }
    }

    let moment = text(&all[all.len() / 40]["at"]);
    for (query, test) in [
        (
            format!("userId={}", asha.user_id),
            Box::new(|t: &Value| t["userId"] == *asha.user_id) as Box<dyn Fn(&Value) -> bool>,
        ),
        ("currency=KWD".into(), Box::new(|t| t["currency"] == "KWD")),
        (format!("from={moment}"), Box::new(|t| text(&t["at"]) >= moment)),
        (
            format!("userId={}&currency=INR&to={moment}", asha.user_id),
            Box::new(|t| t["userId"] == *asha.user_id && t["currency"] == "INR" && text(&t["at"]) < moment),
        ),
        (format!("userId={}", new_id("usr")), Box::new(|_| false)),
    ] {
        let some =
            json_lines(&app.get(&shop.auditor, &format!("/finance/ledger/export?{query}")).await.expect(200).text);
        let expected: Vec<_> = all.iter().filter(|t| test(t)).cloned().collect();
        assert_eq!(ids(&some), ids(&expected), "{query}");
    }
    shop.app.finish().await;
}

/// An application over a database of its own, with a recharge as a pattern for more.
async fn over_own(mongod: &Mongod) -> (TestApp, User, User) {
    let uri = with_database(&mongod.uri(), &unique("waybill"));
    let app = TestApp::over(uri, server("REDIS_URL"), &[]).await;
    let (finance, user) = (app.user(Role::Finance).await, app.merchant_with(5).await);
    (app, finance, user)
}

/// Puts `count` more transactions like the first into the ledger, past its code: they are only to be read.
pub async fn pad(app: &TestApp, count: usize) {
    let pattern = app.all(LEDGER, doc! {}).await.remove(0);
    let copy = |_| {
        let id = new_id("txn");
        let mut copy = pattern.clone();
        copy.insert("referenceId", sibling_id("usr", &id));
        copy.insert("reason", "x".repeat(300));
        copy.insert("_id", id);
        copy
    };
    let copies: Vec<_> = (0..count).map(copy).collect();
    app.db().collection::<Document>(LEDGER).insert_many(copies).await.unwrap();
}

#[tokio::test]
async fn an_export_that_breaks_off_is_seen_to() {
    let mongod = Mongod::start().await;
    let (app, finance, _) = over_own(&mongod).await;
    pad(&app, 1_200).await;
    let fail_after = async |reads: i32| {
        let namespace = format!("{}.{LEDGER}", app.db().name());
        let data = doc! { "failCommands": ["find"], "errorCode": 2, "namespace": namespace };
        let fail = doc! { "configureFailPoint": "failCommand", "mode": { "skip": reads }, "data": data };
        mongod.run(fail).await.unwrap();
    };
    for format in ["ndjson", "csv"] {
        let path = format!("/finance/ledger/export?format={format}");
        for reads in [0, 1] {
            fail_after(reads).await;
            app.get(&finance, &path).await.expect(500);
        }
        for reads in [2, 3] {
            fail_after(reads).await;
            let request = app.client.get(format!("{}{path}", app.base)).bearer_auth(&finance.token);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(response.bytes().await.is_err(), "{format}: what was broken off looks whole");
        }
        mongod.heal().await;
        app.get(&finance, &path).await.expect(200);
    }
    app.finish_unchecked().await;
}

#[tokio::test]
async fn an_export_outlives_its_snapshot_and_still_has_everything_once() {
    const COUNT: usize = 20_000;
    let mongod = Mongod::with(&["minSnapshotHistoryWindowInSeconds=1"]).await;
    let (app, finance, user) = over_own(&mongod).await;
    pad(&app, COUNT - 1).await;
    let before: BTreeSet<_> =
        app.all(LEDGER, doc! {}).await.iter().map(|t| t.get_str("_id").unwrap().to_owned()).collect();
    let request = app.client.get(format!("{}/finance/ledger/export", app.base)).bearer_auth(&finance.token);
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut file = response.chunk().await.unwrap().expect("a first piece").to_vec();

    // The client rests, until a snapshot that is younger than the export's is gone.
    let options = DatabaseOptions::builder().read_concern(ReadConcern::snapshot()).build();
    let ledger = app.db().client().database_with_options(app.db().name(), options).collection::<Document>(LEDGER);
    let session = Mutex::new(app.db().client().start_session().snapshot(true).await.unwrap());
    let look = async || ledger.find_one(doc! {}).session(&mut *session.lock().await).await;
    look().await.unwrap();
    let later = AtomicUsize::new(0);
    eventually("a snapshot gets too old", Duration::from_secs(60), async || {
        let n = later.fetch_add(1, Ordering::Relaxed);
        booked(&app, &finance, &booking(&format!("later-{n}"), "recharge", &user, 1)).await;
        look().await.is_err()
    })
    .await;

    while let Some(piece) = response.chunk().await.unwrap() {
        file.extend_from_slice(&piece);
    }
    let status = mongod.run(doc! { "serverStatus": 1 }).await.unwrap();
    let window = status.get_document("wiredTiger").unwrap().get_document("snapshot-window-settings").unwrap();
    let too_old = window.get_i64("total number of SnapshotTooOld errors").unwrap();
    assert!(too_old >= 2, "the export's own was never too old: {window}");
    let all = json_lines(&String::from_utf8(file).unwrap());
    assert_eq!(all.len(), COUNT, "each once, and nothing that was booked later");
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>(), before);
    app.finish_unchecked().await;
}
