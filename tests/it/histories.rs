//! Long histories: what a page of a list costs does not grow with them, and who reads keeps nobody from writing.

use std::time::Duration;

use bson::{DateTime, Document, doc};
use serde_json::Value;
use waybill::platform::{
    clock::Rfc3339Time,
    identity::Role,
    ids::{first_id_at, sibling_id},
};

use crate::support::{TestApp, User, eventually, server, unique, with_database};

const SOON: Duration = Duration::from_secs(20);
/// Records of each kind, one every ten seconds.
const HISTORY: i64 = 8_000;
const STEP_MS: i64 = 10_000;
/// Keys and documents that the server may look at for a page to which an index leads.
const PAGE_COST: i64 = 400;
/// The same where the records are looked at one by one, 4,000 a page: the keys up to the last one, these, and the records.
/// To look at all of them would be 16,000.
const WALK_COST: i64 = 12_200;

/// A history, and what reads of it cost.
struct Scene {
    app: TestApp,
    merchant: User,
    finance: User,
    admin: User,
    began_ms: i64,
}

impl Scene {
    async fn new() -> Self {
        let app = TestApp::start().await;
        let merchant = app.merchant().await;
        app.confirmed(&merchant, "c-0").await;
        app.requested(&merchant, "t-0").await;
        let (finance, admin) = (app.user(Role::Finance).await, app.admin().await);
        let began_ms = app.app.clock.now_ms() - (HISTORY + 1) * STEP_MS;
        let scene = Self { app, merchant, finance, admin, began_ms };
        scene
            .repeat("orders", "ord", doc! {}, |n, id, at| {
                // What is rare is old.
                let status = if n < 3 { "cancelled" } else { "confirmed" };
                doc! { "clientOrderId": id, "createdAt": at, "status": status, "liveReference": id }
            })
            .await;
        scene
            .repeat("ledger_transactions", "txn", doc! { "referenceType": "order" }, |n, id, at| {
                let kind = if n < 3 { "freight_release" } else { "freight_hold" };
                doc! { "at": at, "referenceId": sibling_id("ord", id), "kind": kind }
            })
            .await;
        scene
            .repeat("jobs", "job", doc! { "state": "done" }, |n, _, at| {
                let state = ["dead", "ready", "active"].get(n as usize).unwrap_or(&"done");
                doc! { "state": *state, "runAt": at, "createdAt": at }
            })
            .await;
        scene
            .repeat("topups", "top", doc! {}, |n, id, at| {
                doc! { "clientTopupId": id, "createdAt": at, "status": if n < 3 { "failed" } else { "pending" } }
            })
            .await;
        scene
            .repeat("kyc_applications", "kyc", doc! {}, |n, id, at| {
                let state = if n % 2 == 0 { "under_review" } else { "verified" };
                doc! { "userId": sibling_id("usr", id), "submittedAt": at, "state": state }
            })
            .await;
        scene
    }

    /// Fills a collection with copies of a record of it, as `change` changes them.
    async fn repeat(&self, name: &str, prefix: &str, of: Document, change: impl Fn(i64, &str, DateTime) -> Document) {
        let mut template = self.app.all(name, of).await.remove(0);
        let copies = (0..HISTORY).map(|n| {
            let at = self.time(n);
            let first = first_id_at(prefix, at.timestamp_millis());
            let id = format!("{}{n:08x}", &first[..first.len() - 8]);
            template.extend(change(n, &id, at));
            template.insert("_id", id);
            template.clone()
        });
        let copies: Vec<_> = copies.collect();
        let collection = self.app.db().collection::<Document>(name);
        collection.insert_many(copies).ordered(false).await.unwrap();
    }

    /// When the record with this number was written.
    fn time(&self, n: i64) -> DateTime {
        DateTime::from_millis(self.began_ms + n * STEP_MS)
    }

    /// `from=...&to=...`: the records from number `from` until before number `to`.
    fn between(&self, from: i64, to: i64) -> String {
        let written = |n| serde_json::to_value(Rfc3339Time(self.time(n))).unwrap().as_str().unwrap().to_owned();
        format!("from={}&to={}", written(from), written(to))
    }

    /// What is answered, and how many keys and documents the server looked at for it.
    async fn read(&self, user: &User, path: &str) -> (Value, i64) {
        self.app.cost_of(user, path).await
    }

    async fn costs(&self, user: &User, path: &str, most: i64) -> Value {
        let (answer, cost) = self.read(user, path).await;
        assert!(cost <= most, "{path} looks at {cost} keys and records");
        answer
    }

    /// All entries of a list, page by page; none costs more than `most`.
    async fn all_pages(&self, user: &User, path: &str, most: i64) -> Vec<Value> {
        let (mut entries, mut cursor) = (Vec::new(), String::new());
        for _ in 0..=HISTORY / 4_000 + 1 {
            let page = self.costs(user, &format!("{path}{cursor}"), most).await;
            entries.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["nextCursor"].as_str() else { return entries };
            cursor = format!("&cursor={next}");
        }
        panic!("{path} does not come to an end");
    }
}

#[tokio::test]
async fn a_page_costs_the_same_after_a_long_history() {
    let scene = Scene::new().await;
    let (merchant, finance, admin) = (&scene.merchant, &scene.finance, &scene.admin);
    let (early, window) = (scene.between(1_000, 1_050), scene.between(4_000, 4_050));
    let owner = format!("userId={}", merchant.user_id);
    let jobs = "/queues/parcelx-orders-queue/jobs";
    let far = format!("/kyc/applications?limit=1&{}", scene.between(7_000, 7_010));
    let deep = scene.costs(admin, &far, PAGE_COST).await["nextCursor"].as_str().unwrap().to_owned();
    for (user, path) in [
        (merchant, "/orders?limit=50".to_owned()),
        (merchant, format!("/orders?limit=50&{early}")),
        (merchant, "/orders?status=cancelled".to_owned()),
        (merchant, format!("/orders?status=confirmed&{early}")),
        (merchant, "/orders?clientOrderId=c-0".to_owned()),
        (merchant, "/orders?clientOrderId=nowhere".to_owned()),
        (merchant, "/wallet/topups?limit=50".to_owned()),
        (merchant, "/wallet/topups?status=failed".to_owned()),
        (merchant, "/wallet/ledger?limit=50".to_owned()),
        (merchant, format!("/wallet/statement?limit=50&{window}")),
        (finance, "/finance/ledger?limit=50".to_owned()),
        (finance, format!("/finance/ledger?limit=50&{early}")),
        (finance, format!("/finance/ledger?{owner}&{early}")),
        (finance, "/finance/ledger?referenceId=ord_nowhere".to_owned()),
        (admin, format!("{jobs}?state=dead")),
        (admin, format!("{jobs}?state=active")),
        (admin, "/kyc/applications?state=under_review&limit=50".to_owned()),
        (admin, format!("/kyc/applications?state=verified&{early}")),
        (admin, format!("/kyc/applications?limit=50&cursor={deep}")),
        (admin, "/audit/events?limit=50".to_owned()),
        (admin, "/audit/provider-requests?limit=50".to_owned()),
    ] {
        scene.costs(user, &path, PAGE_COST).await;
    }
    for (user, path, expected) in [
        (merchant, format!("/orders?provider=parcelx&status=cancelled&{}", scene.between(0, 10)), 3),
        (merchant, format!("/orders?limit=100&{window}"), 50),
        (merchant, format!("/wallet/ledger?limit=100&{window}"), 50),
        (merchant, "/wallet/ledger?kind=freight_release".to_owned(), 3),
        (finance, "/finance/ledger?kind=freight_release".to_owned(), 3),
        (finance, format!("/finance/ledger?{owner}&kind=freight_release"), 3),
        (finance, "/finance/ledger?account=adjustments&currency=USD".to_owned(), 0),
        (finance, "/finance/ledger?referenceType=topup".to_owned(), 0),
        (admin, format!("{jobs}?state=dead"), 1),
        (admin, format!("{jobs}?state=ready"), 1),
    ] {
        assert_eq!(scene.all_pages(user, &path, WALK_COST).await.len(), expected, "{path}");
    }
    // Nothing of this adds up, and nobody is to empty it document by document.
    scene.app.db().drop().await.unwrap();
    scene.app.finish_unchecked().await;
}

#[tokio::test]
async fn reads_that_take_every_connection_keep_nobody_from_writing() {
    let uri = format!("{}&maxPoolSize=1", with_database(&server("MONGODB_URI"), &unique("waybill")));
    let app = TestApp::over(uri, server("REDIS_URL"), &[]).await;
    let user = app.merchant().await;
    app.created(&user, "c-1").await;
    let slow = app.db().collection::<Document>("orders");
    let read =
        tokio::spawn(async move { slow.find_one(doc! { "$where": "sleep(20000) || true" }).comment("slow").await });
    let admin = mongodb::Client::with_uri_str(server("MONGODB_URI")).await.unwrap().database("admin");
    let slow = doc! { "command.comment": "slow", "ns": format!("{}.orders", app.db().name()) };
    eventually("the read has the connection", SOON, async || {
        let mut running = admin.aggregate([doc! { "$currentOp": {} }, doc! { "$match": slow.clone() }]).await.unwrap();
        running.advance().await.unwrap()
    })
    .await;
    app.created(&user, "c-2").await;
    assert!(!read.is_finished());
    read.abort();
    app.finish().await;
}
