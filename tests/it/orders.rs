//! Creating, replaying, reading and listing orders.

use std::{collections::BTreeSet, time::Duration};

use bson::doc;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Answer, TestApp, User,
    drive::{changed, remove, set},
    orders::order,
};

fn with_status(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status.as_u16() == status).count()
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["orderId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_hundred_identical_creates_are_one_order_and_one_shipment() {
    let app = TestApp::start().await;
    let user = app.merchant().await;

    let answers = join_all((0..100).map(|_| app.create(&user, "c-1"))).await;

    assert_eq!((with_status(&answers, 201), with_status(&answers, 200)), (1, 99));
    let order_ids: BTreeSet<_> = answers.iter().map(|answer| answer.body["orderId"].to_string()).collect();
    assert_eq!(order_ids.len(), 1, "everybody got the same order");
    for answer in &answers {
        let replayed = answer.headers.get("idempotent-replayed").map(|value| value.to_str().unwrap());
        assert_eq!(replayed, (answer.status == 200).then_some("true"));
    }
    for collection in ["orders", "jobs", "events"] {
        assert_eq!(app.all_but_grants(collection).await.len(), 1, "{collection}");
    }
    app.run_jobs().await;
    assert_eq!(app.carrier.books().await["shipments"], 1);
    assert_eq!(app.carrier.books().await["calls"], 1);
    app.finish().await;
}

#[tokio::test]
async fn a_mixed_crowd_spoils_nobody() {
    let app = TestApp::start().await;
    let (asha, ravi) = (app.merchant().await, app.merchant().await);
    let taken = app.created(&asha, "taken").await;
    let invalid = changed("invalid", "/shipment/consignee/pincode", json!("1"));
    let other = changed("taken", "/shipment/weightGrams", json!(451));

    let mine = join_all((0..20).map(|_| app.create(&asha, "c-1")));
    let theirs = join_all((0..20).map(|_| app.create(&ravi, "c-1")));
    let wrong = join_all((0..5).map(|_| app.post(&asha, "/orders/create", &invalid)));
    let mismatched = join_all((0..5).map(|_| app.post(&asha, "/orders/create", &other)));
    let single = join_all((0..10).map(|n| app.create(&asha, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][n])));
    let (mine, theirs, wrong, mismatched, single) = tokio::join!(mine, theirs, wrong, mismatched, single);

    assert_eq!((with_status(&mine, 201), with_status(&mine, 200)), (1, 19));
    assert_eq!((with_status(&theirs, 201), with_status(&theirs, 200)), (1, 19));
    assert_ne!(mine[0].body["orderId"], theirs[0].body["orderId"]);
    for answer in wrong {
        assert_eq!(answer.expect(422).blamed(), ["shipment.consignee.pincode:format"]);
    }
    for answer in mismatched {
        assert_eq!(answer.expect(422).code(), "orders.idempotency_mismatch");
    }
    assert_eq!(with_status(&single, 201), 10);
    assert_eq!(app.all("orders", doc! {}).await.len(), 13);
    assert_eq!(app.order(&asha, &taken).await["shipment"]["weightGrams"], 450);
    app.run_jobs().await;
    assert_eq!(app.carrier.books().await["shipments"], 13);
    app.finish().await;
}

#[tokio::test]
async fn one_id_of_two_users_is_two_orders() {
    let app = TestApp::start().await;
    let (asha, ravi) = (app.merchant().await, app.merchant().await);
    let hers = app.created(&asha, "c-1").await;
    let his = app.created(&ravi, "c-1").await;
    assert_ne!(hers, his);
    app.run_jobs().await;
    assert_eq!(app.carrier.shipments_of(&hers).await.len(), 1);
    assert_eq!(app.carrier.shipments_of(&his).await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn an_id_with_another_meaning_is_refused_and_nothing_is_stored() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.created(&user, "c-1").await;
    let (before, counts) = (app.order(&user, &order_id).await, app.counts().await);
    for (pointer, value) in [
        ("/shipment/weightGrams", json!(451)),
        ("/shipment/service", json!("air")),
        ("/shipment/consignee/email", json!("asha@example.com")),
        ("/shipment/consignee/line2", json!("2nd floor")),
        ("/shipment/consignee/name", json!("asha rao")),
        ("/shipment/items/0/quantity", json!(3)),
    ] {
        let answer = app.post(&user, "/orders/create", &changed("c-1", pointer, value)).await.expect(422);
        assert_eq!(answer.code(), "orders.idempotency_mismatch", "{pointer}");
    }
    assert_eq!(app.counts().await, counts);
    assert_eq!(app.order(&user, &order_id).await, before);
    app.create(&user, "c-1").await.expect(200);
    app.finish().await;
}

/// JSON with the keys of every object in reverse.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().rev().map(|(name, value)| format!("{name:?}:{}", reversed(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(entries) => format!("[{}]", entries.iter().map(reversed).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn the_same_meaning_spelled_differently_replays() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.created(&user, "c-1").await;
    let counts = app.counts().await;

    let plain = order("c-1");
    let mut without_nulls = plain.clone();
    remove(&mut without_nulls, "/shipment/consignee/email");
    remove(&mut without_nulls, "/shipment/consignee/line2");
    let mut with_nulls = plain.clone();
    set(&mut with_nulls, "/shipment/pickup/email", Value::Null);
    set(&mut with_nulls, "/shipment/pickup/line2", Value::Null);
    let mut without_defaults = plain.clone();
    for default in
        ["/provider", "/shipment/service", "/shipment/currency", "/shipment/codAmount", "/shipment/consignee/country"]
    {
        remove(&mut without_defaults, default);
    }
    let mut empty_line = plain.clone();
    set(&mut empty_line, "/shipment/consignee/line2", json!(""));
    for (what, body) in [
        ("as it was", plain.to_string()),
        ("keys reversed", reversed(&plain)),
        ("white space", format!("\n\t {} \r\n", serde_json::to_string_pretty(&plain).unwrap())),
        ("nulls left out", without_nulls.to_string()),
        ("nulls spelled out", with_nulls.to_string()),
        ("defaults left out", without_defaults.to_string()),
        ("an empty second line", empty_line.to_string()),
        (
            "letters escaped",
            plain.to_string().replace("Asha", "\\u0041sha").replace("clientOrderId", "client\\u004frderId"),
        ),
    ] {
        let answer = app.post_text(&user, "/orders/create", body).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text);
        assert_eq!(answer.body["orderId"], order_id, "{what}");
    }
    assert_eq!(app.counts().await, counts);
    app.finish().await;
}

#[tokio::test]
async fn a_request_that_was_refused_leaves_its_id_free() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let admin = app.admin().await;
    app.post(&user, "/orders/create", &changed("c-1", "/shipment/weightGrams", json!(0))).await.expect(422);
    app.post_text(&user, "/orders/create", "{").await.expect(400);
    app.post(&admin, "/orders/create", &order("c-1")).await.expect(403);
    app.create(&User { token: "x".into(), ..user.clone() }, "c-1").await.expect(401);
    assert!(app.all("orders", doc! {}).await.is_empty());
    app.create(&user, "c-1").await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn an_order_with_an_older_fingerprint_still_replays() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.created(&user, "c-1").await;
    app.update_one("orders", doc! { "_id": &order_id }, doc! { "fingerprintVersion": 0, "fingerprint": "of old" })
        .await;
    assert_eq!(app.create(&user, "c-1").await.expect(200).body["orderId"], order_id);
    let other = changed("c-1", "/shipment/weightGrams", json!(451));
    let answer = app.post(&user, "/orders/create", &other).await.expect(422);
    assert_eq!(answer.code(), "orders.idempotency_mismatch");
    app.finish().await;
}

#[tokio::test]
async fn pages_are_stable_while_orders_arrive() {
    let app = TestApp::start().await;
    let (user, other) = (app.merchant().await, app.merchant().await);
    let names: Vec<_> = (0..45).map(|n| format!("c-{n}")).collect();
    join_all(names.iter().map(|name| app.created(&user, name))).await;
    app.created(&other, "not-yours").await;

    let (mut seen, mut sizes, mut cursor) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = app.get(&user, &format!("/orders?limit=20{cursor}")).await.expect(200).body;
        sizes.push(ids(&page).len());
        seen.extend(ids(&page));
        // What arrives meanwhile is newer than everything that is still to come.
        app.created(&user, &format!("late-{}", sizes.len())).await;
        match &page["nextCursor"] {
            Value::Null => break,
            next => cursor = format!("&cursor={}", next.as_str().unwrap()),
        }
    }

    assert_eq!(sizes, [20, 20, 5]);
    let mut newest_first = seen.clone();
    newest_first.sort_by(|a, b| b.cmp(a));
    newest_first.dedup();
    assert_eq!(seen, newest_first, "each once, newest first");
    let first = app.get(&user, "/orders").await.expect(200).body;
    assert_eq!(ids(&first).len(), 20, "the default");
    let all = app.get(&user, "/orders?limit=100").await.expect(200).body;
    assert_eq!((ids(&all).len(), &all["nextCursor"]), (48, &Value::Null));
    app.finish().await;
}

#[tokio::test]
async fn lists_are_narrowed_by_filters() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let old = app.confirmed(&user, "old").await;
    let boundary = app.order(&user, &old).await["createdAt"].as_str().unwrap().to_owned();
    app.app.clock.advance(Duration::from_secs(3600));
    let new = app.created(&user, "new").await;
    let later = app.order(&user, &new).await["createdAt"].as_str().unwrap().to_owned();
    for (query, expected) in [
        (String::new(), vec![&new, &old]),
        ("?clientOrderId=old".into(), vec![&old]),
        ("?clientOrderId=ol".into(), vec![]),
        ("?status=confirmed".into(), vec![&old]),
        ("?status=created".into(), vec![&new]),
        ("?status=failed".into(), vec![]),
        ("?provider=parcelx".into(), vec![&new, &old]),
        (format!("?from={boundary}"), vec![&new, &old]),
        (format!("?from={later}"), vec![&new]),
        (format!("?to={later}"), vec![&old]),
        (format!("?from={boundary}&to={boundary}"), vec![]),
        (format!("?status=created&to={later}"), vec![]),
        (format!("?cursor={new}"), vec![&old]),
    ] {
        let page = app.get(&user, &format!("/orders{query}")).await.expect(200).body;
        assert_eq!(ids(&page).iter().collect::<Vec<_>>(), expected, "{query}");
        assert_eq!(page["nextCursor"], Value::Null, "{query}");
    }
    app.finish().await;
}

#[tokio::test]
async fn parameters_that_are_not_acceptable_are_named() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for (query, blamed) in [
        ("limit=0", "limit:range"),
        ("limit=101", "limit:range"),
        ("limit=1000000000", "limit:range"),
        ("limit=-1", "limit:type"),
        ("limit=1e9", "limit:type"),
        ("limit=99999999999999999999", "limit:type"),
        ("limit=", "limit:type"),
        ("limit=1&limit=2", "limit:duplicate"),
        ("cursor=garbage", "cursor:format"),
        ("cursor=", "cursor:format"),
        ("cursor=job_00000000000000000000000000000000", "cursor:format"),
        ("cursor=%7B%22%24gt%22%3A%22%22%7D", "cursor:format"),
        ("clientOrderId=a%20b", "clientOrderId:format"),
        ("clientOrderId=", "clientOrderId:format"),
        ("clientOrderId[$ne]=1", "clientOrderId[$ne]:unknown"),
        ("status[$in][]=created", "status[$in][]:unknown"),
        ("client_order_id=a", "client_order_id:unknown"),
        ("userId=somebody", "userId:unknown"),
        ("$where=1", "$where:unknown"),
        ("status=CREATED", "status:unknown_value"),
        ("status=created&status=failed", "status:duplicate"),
        ("provider=dhl", "provider:unknown_value"),
        ("from=yesterday", "from:format"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from:range"),
    ] {
        let answer = app.get(&user, &format!("/orders?{query}")).await.expect(422);
        assert_eq!((answer.code(), answer.blamed()), ("request.invalid", vec![blamed.to_owned()]), "{query}");
    }
    app.finish().await;
}

/// What a problem says, but for the request's own id.
fn said(answer: Answer) -> Value {
    let mut body = answer.expect(404).body;
    remove(&mut body, "/requestId");
    body
}

#[tokio::test]
async fn somebody_elses_order_is_as_absent_as_one_that_never_was() {
    let app = TestApp::start().await;
    let (owner, stranger) = (app.merchant().await, app.merchant().await);
    let order_id = app.confirmed(&owner, "c-1").await;
    let absent = "ord_00000000000000000000000000000000";
    let before = app.counts().await;
    for path in ["/orders/{}", "/orders/{}/timeline"] {
        let theirs = app.get(&stranger, &path.replace("{}", &order_id)).await;
        let nobodys = app.get(&stranger, &path.replace("{}", absent)).await;
        assert_eq!(said(theirs), said(nobodys), "{path}");
    }
    assert_eq!(said(app.cancel(&stranger, "c-1").await), said(app.cancel(&stranger, "c-2").await));
    let list = app.get(&stranger, "/orders?clientOrderId=c-1").await.expect(200).body;
    assert!(ids(&list).is_empty());
    assert_eq!(app.counts().await, before);
    assert_eq!(app.order(&owner, &order_id).await["cancellation"], Value::Null);
    app.finish().await;
}

#[tokio::test]
async fn operators_of_the_database_are_just_wrong_input() {
    let app = TestApp::start().await;
    let (owner, intruder) = (app.merchant().await, app.merchant().await);
    let order_id = app.created(&owner, "c-1").await;
    let (before, counts) = (app.order(&owner, &order_id).await, app.counts().await);
    for operator in [json!({ "$ne": null }), json!({ "$gt": "" }), json!({ "$regex": ".*" }), json!({ "$where": "1" })]
    {
        for pointer in [
            "/clientOrderId",
            "/provider",
            "/shipment",
            "/shipment/service",
            "/shipment/paymentMode",
            "/shipment/codAmount",
            "/shipment/dimensionsCm",
            "/shipment/consignee/name",
            "/shipment/consignee/email",
            "/shipment/consignee/pincode",
            "/shipment/items",
            "/shipment/items/0/sku",
        ] {
            let answer = app.post(&intruder, "/orders/create", &changed("c-1", pointer, operator.clone())).await;
            assert_eq!(answer.expect(422).code(), "request.invalid", "{pointer}");
        }
        app.post(&intruder, "/orders/cancel", &json!({ "clientOrderId": operator })).await.expect(422);
        app.post(&owner, "/orders/cancel", &json!({ "clientOrderId": "c-1", "reason": operator })).await.expect(422);
        app.post(&owner, "/auth/login", &json!({ "email": operator, "password": operator })).await.expect(422);
        app.post(&owner, "/auth/refresh", &json!({ "refreshToken": operator })).await.expect(422);
    }
    app.post(&owner, "/orders/create", &json!({ "$where": "sleep(1000)" })).await.expect(422);
    for path in ["/orders/%7B%22$ne%22:1%7D", "/orders/$ne", "/orders/%00", "/orders/..%2F..%2Fqueues", "/orders/*"] {
        app.get(&intruder, path).await.expect(404);
        app.get(&intruder, &format!("{path}/timeline")).await.expect(404);
    }
    assert_eq!(app.counts().await, counts);
    assert_eq!(app.order(&owner, &order_id).await, before);
    app.finish().await;
}
