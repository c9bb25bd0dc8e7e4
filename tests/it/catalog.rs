//! The catalog: products are found, and stock is neither lost nor made up, whoever moves it and whoever is killed.

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use waybill::platform::{identity::Role, ids::new_id};

use crate::support::{Answer, TestApp, User, process::Launch, read};

fn product(sku: &str) -> Value {
    json!({ "sku": sku, "name": "Rolex Submariner Date", "description": "Steel.\nShows the date.", "category": "Watches",
        "price": { "amount": 1_450_000, "currency": "INR" } })
}

impl TestApp {
    /// A new product with so many pieces; gives its id.
    pub async fn stocked(&self, seller: &User, sku: &str, stock: i64) -> String {
        let created = self.post(seller, "/products", &product(sku)).await.expect(201).body;
        let product_id = created["productId"].as_str().unwrap().to_owned();
        if stock > 0 {
            self.move_stock(seller, &product_id, "opening", stock).await.expect(201);
        }
        product_id
    }

    pub async fn move_stock(&self, seller: &User, product_id: &str, client_reference: &str, delta: i64) -> Answer {
        let body = json!({ "clientReference": client_reference, "delta": delta, "reason": "As counted." });
        self.post(seller, &format!("/products/{product_id}/stock"), &body).await
    }

    pub async fn stock_of(&self, user: &User, product_id: &str) -> i64 {
        let product = self.get(user, &format!("/products/{product_id}")).await.expect(200).body;
        product["stock"].as_i64().unwrap()
    }

    async fn change(&self, user: &User, product_id: &str, body: Value) -> Answer {
        self.request(Method::PATCH, &format!("/products/{product_id}"), Some(&user.token), Some(&body)).await
    }

    /// Article numbers of the products that are found.
    async fn found(&self, user: &User, query: &str) -> Vec<String> {
        let page = self.get(user, &format!("/products{query}")).await.expect(200).body;
        let items = page["items"].as_array().unwrap().iter();
        items.map(|product| product["sku"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_product_is_its_sellers_to_change_and_everybodys_to_see() {
    let app = TestApp::start().await;
    let (seller, other, buyer) = (app.merchant().await, app.merchant().await, app.user(Role::Customer).await);
    let created = app.post(&seller, "/products", &product("A-1")).await.expect(201).body;
    let product_id = created["productId"].as_str().unwrap();
    assert_eq!(
        (&created["stock"], &created["lowStockAt"], &created["status"]),
        (&json!(0), &json!(5), &json!("active"))
    );
    let taken = app.post(&seller, "/products", &product("A-1")).await.expect(409);
    assert_eq!((taken.code(), &taken.body["productId"]), ("catalog.sku_taken", &created["productId"]));
    app.post(&other, "/products", &product("A-1")).await.expect(201);

    let seen = app.get(&buyer, &format!("/products/{product_id}")).await.expect(200).body;
    assert_eq!((&seen["name"], &seen["lowStockAt"]), (&created["name"], &Value::Null));
    let dearer = json!({ "price": { "amount": 1_500_000, "currency": "INR" }, "description": null, "lowStockAt": 2 });
    let changed = app.change(&seller, product_id, dearer.clone()).await.expect(200).body;
    assert_eq!(changed["price"], dearer["price"]);
    assert_eq!((&changed["description"], &changed["category"]), (&Value::Null, &json!("Watches")));
    // The same again is no change.
    app.change(&seller, product_id, dearer.clone()).await.expect(200);
    assert_eq!(app.change(&other, product_id, dearer).await.expect(404).code(), "catalog.not_found");
    app.move_stock(&other, product_id, "in-1", 5).await.expect(404);
    app.get(&other, &format!("/products/{product_id}/movements")).await.expect(404);

    app.change(&seller, product_id, json!({ "status": "archived" })).await.expect(200);
    app.get(&buyer, &format!("/products/{product_id}")).await.expect(404);
    app.get(&seller, &format!("/products/{product_id}")).await.expect(200);
    assert!(app.found(&buyer, &format!("?sellerId={}", seller.user_id)).await.is_empty());
    assert_eq!(app.found(&seller, &format!("?sellerId={}", seller.user_id)).await, ["A-1"]);

    let events = app.all("events", doc! { "subjectId": product_id }).await;
    let told: Vec<_> =
        events.iter().map(|event| (event.get_str("type").unwrap(), event.get_i64("seq").unwrap())).collect();
    assert_eq!(told, [("ProductCreated", 1), ("ProductChanged", 2), ("ProductChanged", 3)]);
    let changed = events[1].get_document("data").unwrap().get_array("changed").unwrap();
    assert_eq!(bson::Bson::from(changed.clone()), bson::bson!(["description", "price", "lowStockAt"]));
    app.finish().await;
}

#[tokio::test]
async fn every_field_of_a_product_has_its_limits() {
    let app = TestApp::start().await;
    let seller = app.merchant().await;
    let with = |pointer: &str, value: Value| {
        let mut body = product("A-1");
        body["parcel"] = json!({ "weightGrams": 400, "dimensionsCm": { "length": 10, "width": 10, "height": 8 } });
        crate::support::drive::set(&mut body, pointer, value);
        body
    };
    for (pointer, value, blamed) in [
        ("/sku", json!("x".repeat(65)), "sku:length"),
        ("/name", json!(" "), "name:length"),
        ("/description", json!("x".repeat(4_001)), "description:length"),
        ("/category", json!("x".repeat(61)), "category:length"),
        ("/price/amount", json!(0), "price.amount:range"),
        ("/price/amount", json!(1_000_000_001), "price.amount:range"),
        ("/lowStockAt", json!(-1), "lowStockAt:range"),
        ("/parcel/weightGrams", json!(100_001), "parcel.weightGrams:range"),
        ("/parcel/dimensionsCm/height", json!(301), "parcel.dimensionsCm.height:range"),
        ("/stock", json!(5), "stock:unknown"),
    ] {
        assert_eq!(app.post(&seller, "/products", &with(pointer, value)).await.expect(422).blamed(), [blamed]);
    }
    // Article numbers of trade have as many digits as an Aadhaar number.
    let created = app.post(&seller, "/products", &with("/sku", json!("999941057058"))).await.expect(201).body;
    let product_id = created["productId"].as_str().unwrap();
    for (delta, kind, blamed) in [
        (json!(0), json!(null), "delta:range"),
        (json!(1_000_000_001), json!(null), "delta:range"),
        (json!(-1), json!("receipt"), "delta:range"),
        (json!(1), json!("sale"), "kind:unknown_value"),
    ] {
        let body = json!({ "clientReference": "in-1", "delta": delta, "kind": kind, "reason": "As counted." });
        let refused = app.post(&seller, &format!("/products/{product_id}/stock"), &body).await.expect(422);
        assert_eq!(refused.blamed(), [blamed], "{body}");
    }
    for query in ["?q=--", "?sellerId=me", "?cursor=prd_1", "?category="] {
        app.get(&seller, &format!("/products{query}")).await.expect(422);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_movement_is_made_once_and_stock_is_never_below_zero() {
    let app = TestApp::start().await;
    let seller = app.merchant().await;
    let product_id = app.stocked(&seller, "A-1", 0).await;
    let moved = app.move_stock(&seller, &product_id, "in-1", 10).await.expect(201).body;
    assert_eq!((&moved["kind"], &moved["stockAfter"]), (&json!("receipt"), &json!(10)));
    let replay = app.move_stock(&seller, &product_id, "in-1", 10).await.expect(200);
    assert_eq!((&replay.headers["idempotent-replayed"], &replay.body), (&"true".parse().unwrap(), &moved));
    let other = app.move_stock(&seller, &product_id, "in-1", 11).await.expect(422);
    assert_eq!(other.code(), "catalog.idempotency_mismatch");
    let refused = app.move_stock(&seller, &product_id, "out-1", -11).await.expect(409);
    assert_eq!((refused.code(), &refused.body["available"]), ("catalog.below_zero", &json!(10)));
    // What was refused is not remembered.
    let corrected = app.move_stock(&seller, &product_id, "out-1", -6).await.expect(201).body;
    assert_eq!((&corrected["kind"], &corrected["stockAfter"]), (&json!("correction"), &json!(4)));
    let found = json!({ "clientReference": "found", "delta": 3, "kind": "correction", "reason": "Behind the shelf." });
    app.post(&seller, &format!("/products/{product_id}/stock"), &found).await.expect(201);
    // The same name of another product is another movement.
    let second = app.stocked(&seller, "A-2", 0).await;
    app.move_stock(&seller, &second, "in-1", 1).await.expect(201);

    let path = format!("/products/{product_id}/movements?limit=2");
    let page = app.get(&seller, &path).await.expect(200).body;
    let cursor = page["nextCursor"].as_str().unwrap();
    let rest = app.get(&seller, &format!("{path}&cursor={cursor}")).await.expect(200).body;
    let names: Vec<_> = [&page, &rest].iter().flat_map(|page| page["items"].as_array().unwrap()).collect();
    let names: Vec<_> = names.iter().map(|moved| moved["clientReference"].as_str().unwrap()).collect();
    assert_eq!((names, &rest["nextCursor"]), (vec!["found", "out-1", "in-1"], &Value::Null));
    app.get(&seller, &format!("/products/{second}/movements?cursor={cursor}")).await.expect(422);

    let audited = app.all("audit_events", doc! { "action": "stock.corrected", "resourceId": &product_id }).await;
    let reasons: Vec<_> = audited.iter().map(|event| event.get_str("reason").unwrap()).collect();
    assert_eq!(reasons, ["As counted.", "Behind the shelf."]);
    assert_eq!(audited[0].get_document("after").unwrap().get_i64("stock").unwrap(), 4);
    assert_eq!(app.all("events", doc! { "type": "StockLow" }).await.len(), 1, "10 became 4");
    let auditor = app.user(Role::Auditor).await;
    app.get(&auditor, &path).await.expect(200);
    let read = app.all("audit_events", doc! { "action": "request.read", "actor.id": &auditor.user_id }).await;
    assert_eq!(read[0].get_str("userId").unwrap(), seller.user_id);
    app.finish().await;
}

#[tokio::test]
async fn two_processes_at_one_product_lose_and_make_up_nothing() {
    let app = TestApp::start().await;
    let beside = app.beside(&[]).await;
    let seller = app.merchant().await;
    let product_id = app.stocked(&seller, "A-1", 30).await;
    let taken = join_all((0..100).map(|n| {
        let (app, seller, product_id) = (if n % 2 == 0 { &app } else { &beside }, &seller, &product_id);
        // Half of the names come twice, once through each process.
        async move { app.move_stock(seller, product_id, &format!("out-{}", n / 2 + n % 2 * (n / 4)), -1).await }
    }))
    .await;
    let made = taken.iter().filter(|answer| answer.status == 201).count();
    let rest = taken.iter().filter(|answer| answer.status != 201);
    assert!(rest.clone().all(|answer| [200, 409].contains(&answer.status.as_u16())), "{taken:?}");
    assert_eq!(made, 30, "as many as there were");
    assert_eq!(app.stock_of(&seller, &product_id).await, 0);
    assert_eq!(app.all("stock_movements", doc! { "productId": &product_id }).await.len(), 31);
    beside.finish_unchecked().await;
    app.finish().await;
}

#[tokio::test]
async fn stock_is_moved_once_although_the_api_is_killed_around_its_commit() {
    join_all([("before_commit", 201), ("after_commit", 200)].map(|(point, status)| moved_despite(point, status))).await;
}

async fn moved_despite(point: &str, status_of_the_retry: u16) {
    let app = TestApp::start().await;
    let seller = app.merchant().await;
    let product_id = app.stocked(&seller, "A-1", 10).await;
    let send = async |base: &str| {
        let body = json!({ "clientReference": "out-1", "delta": -3, "reason": "As counted." });
        let request = app.client.post(format!("{base}/products/{product_id}/stock")).bearer_auth(&seller.token);
        request.header("content-type", "application/json").body(body.to_string()).send().await
    };
    let mut doomed = Launch::api(&app, &[]).crash_at(point).start().await;
    assert!(send(&doomed.base).await.is_err(), "{point}: the connection breaks");
    doomed.crash().await;
    read(send(&app.base).await.unwrap()).await.expect(status_of_the_retry);
    read(send(&app.base).await.unwrap()).await.expect(200);
    assert_eq!(app.stock_of(&seller, &product_id).await, 7, "{point}");
    app.finish().await;
}

#[tokio::test]
async fn a_planted_difference_is_named_and_raises_an_alert() {
    let app = TestApp::start().await;
    let (seller, admin) = (app.merchant().await, app.admin().await);
    let [sound, missing, changed] = ["A-1", "A-2", "A-3"];
    app.stocked(&seller, sound, 10).await;
    let missing = app.stocked(&seller, missing, 10).await;
    let changed = app.stocked(&seller, changed, 10).await;
    app.move_stock(&seller, &changed, "in-1", 5).await.expect(201);
    let check = async || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
        program.args(["stock", "check"]).env("MONGODB_URI", &app.mongodb_uri).output().await.unwrap()
    };
    let output = check().await;
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "4 stock_movements, 3 products: 0 difference(s)\n");

    app.update_one("products", doc! { "_id": &missing }, doc! { "stock": 11_i64 }).await;
    let first = app.all("stock_movements", doc! { "productId": &changed, "seq": 1 }).await.remove(0);
    let first = first.get_str("_id").unwrap();
    app.update_one("stock_movements", doc! { "_id": first }, doc! { "delta": 9_i64 }).await;
    let output = check().await;
    assert!(!output.status.success());
    let told = String::from_utf8(output.stdout).unwrap();
    for (check, subject, figures) in [
        ("product.stock", &*missing, "expected 10, found 11"),
        ("product.stock_after", &missing, "expected 10, found 11"),
        ("product.stock", &changed, "expected 14, found 15"),
        ("movement.after", first, "expected 9, found 10"),
    ] {
        assert!(told.contains(&format!("{check:<24} {subject}: {figures}")), "{told}");
    }
    assert!(told.ends_with(": 4 difference(s)\n"), "{told}");

    app.request(Method::POST, "/schedules/stock-check/run", Some(&admin.token), None).await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.all("events", doc! { "type": "StockDiffers" }).await.len(), 1);
    let metrics = app.request(Method::GET, "/metrics", None, None).await.text;
    assert!(metrics.contains("waybill_stock_differences 4"), "{metrics}");
    app.finish_unchecked().await;
}

/// What a search may look at: 4,000 products and their keys on the way, and not all 10,000.
const SEARCH_COST: i64 = 12_300;

#[tokio::test]
async fn a_search_among_ten_thousand_products_looks_at_few() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.user(Role::Customer).await);
    let product_id = app.stocked(&seller, "first", 1).await;
    let mut template = app.all("products", doc! { "_id": &product_id }).await.remove(0);
    let copies = (0..10_000).map(|n| {
        let rare = if n == 7_000 { "tourbillon" } else { "quartz" };
        let id = new_id("prd");
        template.extend(doc! { "_id": &id, "sku": format!("W-{n}"), "stock": 0_i64, "movements": 0_i64, "isLow": true,
        "category": format!("Watches {}", n % 10), "terms": ["w", n.to_string(), "watch", rare, "wrist"] });
        template.clone()
    });
    let copies: Vec<Document> = copies.collect();
    app.db().collection::<Document>("products").insert_many(copies).ordered(false).await.unwrap();

    assert_eq!(app.found(&buyer, "?q=TOURBILLON").await, ["W-7000"]);
    assert_eq!(app.found(&buyer, "?q=watch%20tourbillon%20wrist").await, ["W-7000"]);
    assert_eq!(app.found(&buyer, "?q=tourbillon&category=Watches%201").await, [""; 0]);
    assert_eq!(app.found(&buyer, "?q=tourbillon&category=Watches%200").await, ["W-7000"]);
    for (query, cost_max) in [
        ("?q=watch", 1_000),
        ("?q=tourbillon", 100),
        ("?q=watch%20quartz", 1_000),
        // "wrist" leads, and all have it: so many are looked at, and the page says where to go on.
        ("?q=wrist%207000", SEARCH_COST),
        ("?category=Watches%203", 100),
        ("", 100),
    ] {
        let (page, cost) = app.cost_of(&buyer, &format!("/products{query}")).await;
        assert!(cost <= cost_max, "{query}: {cost}");
        assert!(!page["nextCursor"].is_null() || !page["items"].as_array().unwrap().is_empty(), "{query}");
    }
    // From page to page, what is rare is found in the end.
    let (mut cursor, mut pages, mut found) = (String::new(), 0, Vec::new());
    loop {
        let page = app.get(&buyer, &format!("/products?q=wrist%207000{cursor}")).await.expect(200).body;
        found.extend(page["items"].as_array().unwrap().iter().map(|product| product["sku"].clone()));
        pages += 1;
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((found, pages), (vec![json!("W-7000")], 3));

    app.finish().await;
}

#[tokio::test]
async fn categories_are_counted_as_products_come_and_go() {
    let app = TestApp::start().await;
    let (seller, other) = (app.merchant().await, app.merchant().await);
    let counts = async |query: &str| {
        app.relay_and_run().await;
        let (counted, cost) = app.cost_of(&seller, &format!("/products/categories{query}")).await;
        assert!(cost <= 20, "no product is looked at: {cost}");
        let items = counted["items"].as_array().unwrap().clone();
        items
            .into_iter()
            .map(|it| (it["category"].as_str().map(str::to_owned), it["count"].as_i64().unwrap()))
            .collect()
    };
    let own = format!("?sellerId={}", seller.user_id);
    let named = |name: &str, count: i64| (Some(name.to_owned()), count);
    let none: Vec<(Option<String>, i64)> = counts("").await;
    assert_eq!(none, []);
    let (first, second) = (app.stocked(&seller, "A-1", 5).await, app.stocked(&seller, "A-2", 5).await);
    app.stocked(&other, "A-1", 5).await;
    assert_eq!((counts("").await, counts(&own).await), (vec![named("Watches", 3)], vec![named("Watches", 2)]));
    app.change(&seller, &first, json!({ "category": "Clocks" })).await.expect(200);
    app.change(&seller, &first, json!({ "name": "Clock" })).await.expect(200);
    app.change(&seller, &second, json!({ "category": null })).await.expect(200);
    assert_eq!(counts("").await, [(None, 1), named("Clocks", 1), named("Watches", 1)]);
    app.change(&seller, &first, json!({ "status": "archived" })).await.expect(200);
    assert_eq!(counts(&own).await, [(None, 1)]);
    app.change(&seller, &first, json!({ "status": "active", "category": "Watches" })).await.expect(200);
    assert_eq!(counts("").await, [named("Watches", 2), (None, 1)]);
    // Those from before they were counted are counted when the database is made ready.
    for collection in ["category_products", "category_counts"] {
        app.db().collection::<Document>(collection).delete_many(doc! {}).await.unwrap();
    }
    waybill::app::migrate(app.db()).await.unwrap();
    assert_eq!(counts("").await, [named("Watches", 2), (None, 1)]);
    app.finish().await;
}
