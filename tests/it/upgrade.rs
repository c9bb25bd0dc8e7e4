//! Upgrades: what the last release has stored (`tests/data/shapes.ndjson`, written by `scripts/dump-shapes`) is migrated beside
//! running processes, read, checked and gone on with by this version.

use std::{
    collections::BTreeMap,
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bson::{DateTime, Document, doc};
use futures_util::future::join_all;
use mongodb::Database;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::process::Command;
use waybill::{
    app::{collections, indexes},
    modules::auth,
    platform::{
        identity::{Role, tokens::TokenKeys},
        mongo::{self, IndexDifferences, compare_indexes},
    },
};
use waybill_client::Waybill;

use crate::{
    roles,
    support::{
        JWT_SECRET, TestApp, User, orders,
        process::{Launch, free_port},
        seals::seal_all,
        server, unique, with_database,
    },
};

/// A million orders take their time.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// `waybill dev`, which the data comes from, signs and seals with keys that everybody may know.
const DEV_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Orders that are there when indexes are made. `scripts/bench upgrade` sets more.
const ORDERS: usize = 10_000;
/// Documents of one insert.
const PAGE: usize = 1_000;
/// A list is read in pages of so many, so that cursors of every kind are followed.
const LIST_PAGE: &str = "limit=3";

/// What the last release has stored.
struct Release {
    /// When it was written down.
    at: DateTime,
    indexes: Vec<(String, Document)>,
    documents: BTreeMap<String, Vec<Document>>,
}

impl Release {
    fn last() -> Self {
        let mut release = Self { at: DateTime::MIN, indexes: Vec::new(), documents: BTreeMap::new() };
        let shapes = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/shapes.ndjson")).unwrap();
        for line in shapes.lines() {
            // Fields keep their order, which counts where something is compared or sealed.
            let line: Document = serde_json::from_str(line).unwrap();
            let collection = line.get_str("collection").unwrap_or_default().to_owned();
            if let Ok(index) = line.get_document("index") {
                release.indexes.push((collection, index.clone()));
            } else if let Ok(document) = line.get_document("document") {
                release.documents.entry(collection).or_default().push(document.clone());
            } else {
                release.at = *line.get_datetime("at").unwrap();
            }
        }
        release
    }

    /// Puts it into a database of its own, and gives its URI.
    async fn load(&self) -> (String, Database) {
        let uri = with_database(&server("MONGODB_URI"), &unique("upgrade"));
        let db = mongo::connect(&uri).await.unwrap();
        let mut by_collection: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
        for (collection, index) in &self.indexes {
            by_collection.entry(collection).or_default().push(index);
        }
        let indexing = by_collection.into_iter().map(|(collection, indexes)| {
            db.run_command(
                doc! { "createIndexes": collection, "indexes": indexes.into_iter().cloned().collect::<Vec<_>>() },
            )
        });
        join_all(indexing.map(IntoFuture::into_future)).await.into_iter().for_each(|made| drop(made.unwrap()));
        for (collection, documents) in &self.documents {
            db.collection::<Document>(collection).insert_many(documents).await.unwrap();
        }
        (uri, db)
    }

    fn of(&self, collection: &str) -> &[Document] {
        self.documents.get(collection).unwrap_or_else(|| panic!("{collection} has nothing: dump more"))
    }

    fn ids(&self, collection: &str) -> Vec<String> {
        self.of(collection).iter().map(|document| document.get_str("_id").unwrap().to_owned()).collect()
    }

    /// The order with this `clientOrderId`.
    fn order(&self, client_order_id: &str) -> &Document {
        let found = self.of("orders").iter().find(|order| order.get_str("clientOrderId").unwrap() == client_order_id);
        found.unwrap_or_else(|| panic!("no {client_order_id}"))
    }
}

/// A program over this database, to its end.
async fn program(uri: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(args).env("MONGODB_URI", uri).env("SEALING_KEY", DEV_KEY).env("AUDIT_SIGNING_KEY", DEV_KEY);
    tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await.expect("in time").unwrap()
}

async fn expect_good(uri: &str, args: &[&str]) {
    let output = program(uri, args).await;
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
}

/// This version over it, by the clock of the dump: what was open then is not a year late.
async fn started(release: &Release, uri: &str) -> TestApp {
    let key = format!("--audit-signing-key={DEV_KEY}");
    let app = TestApp::over(uri.to_owned(), server("REDIS_URL"), &[&key, "--settling-delay-ms=200"]).await;
    let since = DateTime::now().timestamp_millis() - release.at.timestamp_millis();
    app.app.clock.set_back(Duration::from_millis(u64::try_from(since).expect("the dump is from before")));
    app
}

/// Everybody who is in the data, with a token.
async fn users(app: &TestApp, release: &Release) -> Vec<(Role, User)> {
    let keys = TokenKeys::new(&SecretString::from(JWT_SECRET), None, app.app.clock.clone());
    let users = release.of("users").iter().map(|user| {
        let user: auth::User = bson::deserialize_from_document(user.clone()).expect("a user of today");
        let token = keys.issue(user.access_token(), app.app.clock.now_ms() + 86_400_000).unwrap();
        (user.role, User { user_id: user.id, email: user.email, token })
    });
    users.collect()
}

/// What stands for a parameter of a path; all of these things have to be readable for somebody.
fn things(parameter: &str, release: &Release) -> Option<Vec<String>> {
    let collection = match parameter {
        "orderId" => "orders",
        "productId" => "products",
        "checkoutId" => "checkouts",
        // Those of checkouts have another beginning, and are read with them.
        "topupId" => return Some(release.ids("topups").into_iter().filter(|id| id.starts_with("top_")).collect()),
        "endpointId" => "webhook_endpoints",
        "deliveryId" => "webhook_deliveries",
        "accountId" => "provider_accounts",
        "documentId" => "kyc_documents",
        "requestRefId" => "provider_request_logs",
        "responseRefId" => "provider_response_logs",
        "tenantId" => "tenants",
        "transactionId" => "ledger_transactions",
        "userId" => "users",
        "jobId" => "jobs",
        "recordId" => {
            let sealed = ["events", "audit_events", "ledger_transactions"];
            return Some(sealed.iter().flat_map(|name| release.ids(name)).collect());
        }
        "queue" => return Some(vec!["parcelx-orders-queue".into(), "events-queue".into()]),
        "name" => return Some(vec!["ledger-check".into()]),
        _ => return None,
    };
    Some(release.ids(collection))
}

/// Paths that a path of the description stands for. What is no parameter of one kind of thing is left to tests of its own.
fn filled(path: &str, release: &Release) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (parameter, after) = rest.split_once('}').unwrap();
    let things = things(parameter, release);
    let things = things.unwrap_or_else(|| panic!("{path}: nobody knows what a {parameter} is; say it in `things`"));
    things.iter().flat_map(|thing| filled(&format!("{before}{thing}{after}"), release)).collect()
}

/// Whether everything of the kind that the path names has to be readable, and not only some of it.
fn is_about_each(path: &str) -> bool {
    const SOME: [&str; 2] = ["/kyc/applications/", "/tenants/{tenantId}/members/"];
    !SOME.iter().any(|some| path.starts_with(some))
}

/// Reads a path to the end of its list; gives how many items it has, or none where this user may not.
async fn read(app: &TestApp, user: &User, path: &str, is_list: bool) -> Option<usize> {
    let (mut items, mut cursor) = (0, String::new());
    loop {
        let query = if is_list { format!("?{LIST_PAGE}{cursor}") } else { String::new() };
        let answer = app.get(user, &format!("{path}{query}")).await;
        assert!(answer.status.as_u16() < 500 && answer.status != 401, "{path}{query}: {}", answer.text);
        if answer.status != 200 {
            return None;
        }
        items += answer.body["items"].as_array().map_or(0, Vec::len);
        match answer.body["nextCursor"].as_str() {
            Some(next) if is_list => cursor = format!("&cursor={next}"),
            _ => return Some(items),
        }
    }
}

/// Every document and every list, as somebody who may.
async fn read_all(app: &TestApp, release: &Release, users: &[(Role, User)]) {
    let description = app.request(Method::GET, "/openapi.json", None, None).await.expect(200).body;
    let (mut items, mut documents) = (0, 0);
    for (path, operations) in description["paths"].as_object().unwrap() {
        let operation = &operations["get"];
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let needs_more = parameters.iter().any(|one| one["in"] == "query" && one["required"] == true);
        // Files of orders have ids that only the order knows; `recordId` walks what is sealed.
        if operation.is_null() || needs_more || path.contains("{fileId}") || path.contains("{keyId}") {
            continue;
        }
        let is_list = parameters.iter().any(|one| one["name"] == "limit");
        let may = roles::rule(&Method::GET, path).unwrap();
        let mut unread = Vec::new();
        for concrete in filled(path, release) {
            let mut found = None;
            for (role, user) in users {
                if found.is_none() && may.is_none_or(|roles| roles.contains(role)) {
                    found = read(app, user, &concrete, is_list).await;
                }
            }
            match found {
                Some(count) => (items, documents) = (items + count, documents + 1),
                None => unread.push(concrete),
            }
        }
        let all = filled(path, release).len();
        assert!(
            unread.len() < all && (unread.is_empty() || !is_about_each(path)),
            "{path}: nobody can read {unread:?}"
        );
    }
    assert!(items > 100 && documents > 300, "{items} items, {documents} documents: less than the data has");
}

/// What the dump was made from, as the client sent it then.
fn confirmed_order() -> Value {
    let consignee = json!({
        "name": "Asha Rao", "phone": "9876543210", "line1": "12 MG Road", "city": "Bengaluru", "state": "Karnataka",
        "pincode": "560001",
    });
    let pickup = json!({
        "name": "Kiran Stores", "phone": "9812345678", "line1": "Plot 7", "city": "New Delhi", "state": "Delhi",
        "pincode": "110020",
    });
    json!({
        "clientOrderId": "c-confirmed",
        "shipment": {
            "paymentMode": "prepaid", "weightGrams": 450, "dimensionsCm": { "length": 20, "width": 15, "height": 8 },
            "consignee": consignee, "pickup": pickup,
            "items": [{ "sku": "TS-BLK-M", "name": "T-shirt", "quantity": 2, "unitPrice": 49900 }],
        },
    })
}

/// Indexes of the last release for which others stand: `aside` of jobs, `client_user` and `owner_status` of orders. Processes of that
/// release ask by their names, so migrating leaves them; `waybill doctor` names them.
fn superseded() -> IndexDifferences {
    let unknown = ["orders.idempotency", "orders.owner", "jobs.dead", "jobs.leases", "jobs.waiting"];
    IndexDifferences { unknown: unknown.map(String::from).to_vec(), ..IndexDifferences::default() }
}

#[tokio::test]
async fn what_the_last_release_stored_is_read_checked_and_gone_on_with() {
    let release = Release::last();
    let (uri, db) = release.load().await;
    expect_good(&uri, &["migrate"]).await;
    expect_good(&uri, &["migrate"]).await;
    let differences = compare_indexes(&db, &collections(), &indexes()).await.unwrap();
    assert_eq!(differences, superseded());

    // Beside a sealer that has not caught up, and when it has.
    expect_good(&uri, &["audit", "verify"]).await;
    let app = started(&release, &uri).await;
    seal_all(&app).await;
    let users = users(&app, &release).await;
    read_all(&app, &release, &users).await;
    for check in [&["audit", "verify"][..], &["ledger", "check"], &["stock", "check"]] {
        expect_good(&uri, check).await;
    }

    // A client that repeats itself meets its order, and a worker goes on with what it finds.
    let open = release.order("c-open");
    let owner = open.get_str("userId").unwrap();
    let (_, merchant) = users.iter().find(|(_, user)| user.user_id == owner).expect("its owner");
    let replayed = app.post(merchant, "/orders/create", &confirmed_order()).await.expect(200);
    assert_eq!(replayed.body["orderId"], release.order("c-confirmed").get_str("_id").unwrap());
    let order_id = open.get_str("_id").unwrap();
    assert_eq!(open.get_str("status").unwrap(), "created");
    for _ in 0..20 {
        app.app.clock.advance(Duration::from_secs(60));
        app.worker.run_due().await;
        if app.order(merchant, order_id).await["status"] == "confirmed" {
            break;
        }
    }
    let order = app.order(merchant, order_id).await;
    assert_eq!(order["status"], "confirmed", "{order}");
    assert_eq!(app.carrier.shipments_of(order_id).await.len(), 1);
    let new = app.create(merchant, "c-new").await.expect(201).body["orderId"].as_str().unwrap().to_owned();
    app.run_jobs().await;
    assert_eq!(app.order(merchant, &new).await["status"], "confirmed");
    seal_all(&app).await;
    expect_good(&uri, &["audit", "verify"]).await;
    expect_good(&uri, &["ledger", "check"]).await;
    app.finish_unchecked().await;
    db.drop().await.unwrap();
}

#[tokio::test]
async fn seals_that_can_not_be_read_any_more_are_named_by_migrate() {
    let uri = with_database(&server("MONGODB_URI"), &unique("upgrade"));
    let db = mongo::connect(&uri).await.unwrap();
    let signature = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1; 64] };
    db.collection("audit_seals").insert_one(doc! { "_id": 1_i64, "signature": signature }).await.unwrap();
    let output = program(&uri, &["migrate"]).await;
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!output.status.success() && said.contains("audit_seals") && said.contains("Use a new database"), "{said}");
    db.drop().await.unwrap();
}

/// So many more of the confirmed order, as documents.
async fn multiply(db: &Database, order: &Document, count: usize) {
    for first in (0..count).step_by(PAGE) {
        let one = |number: usize| {
            let mut order = order.clone();
            for (name, prefix) in [
                ("_id", "ord_"),
                ("orderNumber", "N-"),
                ("clientOrderId", "m-"),
                ("liveReference", "r/"),
                ("jobId", "job_"),
            ] {
                order.insert(name, format!("{prefix}{number:032}"));
            }
            order
        };
        let page: Vec<Document> = (first..count.min(first + PAGE)).map(one).collect();
        db.collection::<Document>("orders").insert_many(page).await.unwrap();
    }
}

/// As a version has it that knew only what keeps writes apart.
async fn forget_plain_indexes(db: &Database) -> usize {
    let plain: Vec<_> = indexes().into_iter().filter(|index| !index.unique).collect();
    for index in &plain {
        db.collection::<Document>(index.collection).drop_index(index.name).await.unwrap();
    }
    plain.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_keeps_nobody_from_writing() {
    let count = std::env::var("UPGRADE_ORDERS").map_or(ORDERS, |count| count.parse().expect("a number of orders"));
    let release = Release::last();
    let (uri, db) = release.load().await;
    expect_good(&uri, &["migrate"]).await;
    multiply(&db, release.order("c-confirmed"), count).await;
    let app = TestApp::over(uri.clone(), server("REDIS_URL"), &[]).await;
    let user = app.merchant().await;
    let forgotten = forget_plain_indexes(&db).await;
    for collection in ["category_counts", "category_products"] {
        db.collection::<Document>(collection).drop().await.unwrap();
    }
    let mut api = Launch::api(&app, &[]).on(free_port()).start().await;

    let (client, migrated) = (Waybill::new(&api.base).unwrap().with_token(user.token.clone()), AtomicBool::new(false));
    let client = client.with_attempts(1, Duration::ZERO);
    let write = async |writer: usize| {
        let (mut made, mut longest) = (0_usize, Duration::ZERO);
        // Some are made when it is done: that the API goes on is seen by them.
        while !migrated.load(Ordering::Relaxed) || made < 20 {
            let asked = Instant::now();
            client.create_order(&orders::order(&format!("w-{writer}-{made}"))).await.expect("an order, at once");
            (made, longest) = (made + 1, longest.max(asked.elapsed()));
        }
        (made, longest)
    };
    // Two hosts may be upgraded at once.
    let migrate = async {
        let began = Instant::now();
        tokio::join!(expect_good(&uri, &["migrate"]), expect_good(&uri, &["migrate"]));
        migrated.store(true, Ordering::Relaxed);
        began.elapsed()
    };
    let (took, written) = tokio::join!(migrate, join_all((0..4).map(write)));
    let made: usize = written.iter().map(|(made, _)| made).sum();
    let longest = written.iter().map(|(_, longest)| *longest).max().unwrap();
    println!(
        "{forgotten} indexes over {count} orders were made in {took:?}; meanwhile {made} orders were created, the longest in {longest:?}"
    );
    assert!(longest < Duration::from_secs(10), "a create waited for {longest:?}");
    let stored = db.collection::<Document>("orders").count_documents(doc! { "userId": &user.user_id }).await.unwrap();
    assert_eq!(stored as usize, made);
    let differences = compare_indexes(&db, &collections(), &indexes()).await.unwrap();
    assert_eq!(differences, superseded());
    assert_eq!(app.all("category_products", doc! {}).await.len(), release.of("category_products").len());
    api.terminate().await;
    app.finish_unchecked().await;
    db.drop().await.unwrap();
}
