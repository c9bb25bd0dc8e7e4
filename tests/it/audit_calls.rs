//! What auditors find of provider calls: by every key, within limits, by an index; and one order's story.

use std::collections::BTreeSet;

use bson::{Document, doc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use waybill::{
    modules::providers::registry::{PAYMENT_GATEWAY, PROVIDERS, VERIFIER},
    platform::{clock::Rfc3339Time, identity::Role, ids::first_id_at},
};

use crate::support::{Answer, TestApp, User};

/// Two merchants and their orders: one confirmed each, one refused, one confirmed after a 500.
struct Scene {
    app: TestApp,
    auditor: User,
    asha: User,
    orders: [String; 4],
}

impl Scene {
    async fn set() -> Self {
        let app = TestApp::start().await;
        let (asha, kiran) = (app.merchant().await, app.merchant().await);
        let confirmed = app.confirmed(&asha, "c-1").await;
        app.carrier.misbehave("create", "refuse_422", 1).await;
        let refused = app.created(&asha, "c-2").await;
        app.run_jobs().await;
        app.carrier.misbehave("create", "500", 1).await;
        let twice = app.created(&asha, "c-3").await;
        app.run_jobs_to_the_end().await;
        let other = app.confirmed(&kiran, "c-1").await;
        let auditor = app.user(Role::Auditor).await;
        Self { app, auditor, asha, orders: [confirmed, refused, twice, other] }
    }

    async fn list(&self, query: &str) -> Answer {
        self.app.get(&self.auditor, &format!("/audit/provider-requests?{query}")).await
    }

    /// Ids of everything that a query finds, page after page.
    async fn all(&self, query: &str, limit: usize) -> Vec<String> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.list(&format!("{query}&limit={limit}{cursor}")).await.expect(200).body;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            found.extend(items.iter().map(|item| item["requestRefId"].as_str().unwrap().to_owned()));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    /// Ids of the requests whose log, or one of whose answers, is like this.
    async fn stored(&self, request: Document, answer: Document) -> BTreeSet<String> {
        let requests = self.app.all("provider_request_logs", request).await;
        let answers = self.app.all("provider_response_logs", answer).await;
        let answered: BTreeSet<&str> = answers.iter().map(|log| log.get_str("requestRefId").unwrap()).collect();
        let ids = requests.iter().map(|log| log.get_str("_id").unwrap());
        ids.filter(|id| answered.contains(id)).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn auditors_find_what_providers_were_asked() {
    let scene = crate::each_on!(
        Scene::set().await,
        every_filter_finds_what_is_like_it_in_both_orders_page_by_page,
        times_narrow_down_and_a_day_is_the_most_without_a_key,
        what_is_no_question_is_refused,
        every_question_is_answered_by_an_index,
        one_call_is_shown_with_its_answers_and_without_secrets,
        a_call_with_several_answers_is_listed_once_at_the_first,
        of_a_long_story_the_latest_is_told,
        who_looks_and_who_is_turned_away_is_on_record,
        the_redaction_policy_is_what_the_logs_go_by,
    );
    scene.app.finish().await;
}

async fn every_filter_finds_what_is_like_it_in_both_orders_page_by_page(scene: &Scene) {
    let [confirmed, _, twice, _] = &scene.orders;
    let first = &scene.app.all("provider_response_logs", doc! { "orderId": confirmed }).await[0];
    let (awb, correlation) = (first.get_str("awb").unwrap(), first.get_str("correlationId").unwrap());
    let user = &scene.asha.user_id;
    for (query, request, answer) in [
        (format!("orderId={twice}"), doc! { "orderId": twice }, doc! {}),
        (format!("userId={user}"), doc! { "userId": user }, doc! {}),
        ("clientOrderId=c-1".into(), doc! { "clientOrderId": "c-1" }, doc! {}),
        (format!("correlationId={correlation}"), doc! { "correlationId": correlation }, doc! {}),
        (format!("awb={awb}"), doc! {}, doc! { "awb": awb }),
        ("provider=parcelx".into(), doc! { "provider": "parcelx" }, doc! {}),
        ("operation=look_up_order".into(), doc! { "operation": "look_up_order" }, doc! {}),
        ("accountId=parcelx/default".into(), doc! { "accountId": "parcelx/default" }, doc! {}),
        ("outcome=unknown".into(), doc! {}, doc! { "outcome": "unknown" }),
        ("errorClass=fatal".into(), doc! {}, doc! { "errorClass": "fatal" }),
        ("httpStatus=500".into(), doc! {}, doc! { "httpStatus": 500 }),
        (
            format!("userId={user}&operation=create_order&outcome=done"),
            doc! { "userId": user, "operation": "create_order" },
            doc! { "outcome": "done" },
        ),
        (
            format!("orderId={twice}&httpStatus=500&errorClass=unknown&provider=parcelx"),
            doc! { "orderId": twice, "provider": "parcelx" },
            doc! { "httpStatus": 500, "errorClass": "unknown" },
        ),
        (format!("awb={awb}&userId=usr_nobody"), doc! { "userId": "usr_nobody" }, doc! {}),
    ] {
        let expected = scene.stored(request, answer).await;
        for limit in [1, 2, 100] {
            let newest = scene.all(&format!("{query}&order=newest"), limit).await;
            assert_eq!(newest.iter().cloned().collect::<BTreeSet<_>>(), expected, "{query}, {limit} a page");
            assert!(newest.is_sorted_by(|a, b| a > b), "{query}: newest first");
            let oldest = scene.all(&format!("{query}&order=oldest"), limit).await;
            assert!(oldest.iter().rev().eq(newest.iter()), "{query}: the same backwards");
        }
    }
}

async fn times_narrow_down_and_a_day_is_the_most_without_a_key(scene: &Scene) {
    let all = scene.all("provider=parcelx", 100).await;
    let answer = scene.list("provider=parcelx").await.expect(200).body;
    let time = |name: &str| {
        let text = answer["range"][name].as_str().unwrap();
        bson::DateTime::parse_rfc3339_str(text).unwrap().timestamp_millis()
    };
    assert_eq!(time("to") - time("from"), 86_400_000, "it says what it looked at");
    assert_eq!(
        scene.list(&format!("userId={}", scene.asha.user_id)).await.expect(200).body["range"]["from"],
        Value::Null
    );
    for (query, expected) in [
        ("from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z", 0),
        ("from=2020-01-01T00:00:00Z", all.len()),
        ("from=2020-01-01T00:00:00Z&order=oldest", 0),
        ("to=2020-01-01T00:00:00Z", 0),
        ("to=2999-01-01T00:00:00Z", 0),
        ("to=2999-01-01T00:00:00Z&order=oldest", 0),
    ] {
        assert_eq!(scene.all(query, 100).await.len(), expected, "{query}");
    }
    let user = &scene.asha.user_id;
    let long = format!("userId={user}&from=2020-01-01T00:00:00Z&to=2999-01-01T00:00:00Z");
    assert_eq!(scene.all(&long, 100).await, scene.all(&format!("userId={user}"), 100).await, "a key needs no day");
}

async fn what_is_no_question_is_refused(scene: &Scene) {
    for (query, field) in [
        ("limit=0", "limit:range"),
        ("limit=-1", "limit:type"),
        ("limit=1000000000", "limit:range"),
        ("httpStatus=99", "httpStatus:range"),
        ("errorClass=bad", "errorClass:unknown_value"),
        ("order=random", "order:unknown_value"),
        ("from=yesterday", "from:format"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to:range"),
        ("from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "to:range"),
        ("cursor=abc", "cursor:format"),
        ("password=x", "password:unknown"),
    ] {
        assert_eq!(scene.list(query).await.expect(422).blamed(), [field], "{query}");
    }
    // A cursor goes with who asked, and for what.
    let next = scene.list("provider=parcelx&limit=1").await.expect(200).body["nextCursor"].clone();
    let next = next.as_str().unwrap();
    let other = scene.app.user(Role::Auditor).await;
    let path = format!("/audit/provider-requests?provider=parcelx&cursor={next}");
    assert_eq!(scene.app.get(&other, &path).await.expect(422).blamed(), ["cursor:format"]);
    assert_eq!(scene.list(&format!("provider=paygate&cursor={next}")).await.expect(422).blamed(), ["cursor:format"]);
    scene.list(&format!("provider=parcelx&limit=5&cursor={next}")).await.expect(200);
    // What could be a query of ours is text.
    assert_eq!(scene.list("userId[$ne]=x").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(scene.list("userId=%7B%22$ne%22:1%7D").await.expect(200).body["items"], json!([]));
}

async fn every_question_is_answered_by_an_index(scene: &Scene) {
    let [confirmed, ..] = &scene.orders;
    let user = &scene.asha.user_id;
    for query in [
        format!("orderId={confirmed}"),
        format!("userId={user}"),
        "clientOrderId=c-1".into(),
        "correlationId=rqs_1".into(),
        "awb=1".into(),
        "provider=parcelx".into(),
        "operation=create_order".into(),
        "accountId=parcelx/default".into(),
        "outcome=done".into(),
        "errorClass=fatal".into(),
        "httpStatus=500".into(),
        format!("userId={user}&outcome=done&from=2020-01-01T00:00:00Z"),
        format!("awb=1&userId={user}"),
        "order=oldest".into(),
    ] {
        let db = scene.app.db();
        db.run_command(doc! { "profile": 2 }).await.unwrap();
        scene.list(&query).await.expect(200);
        db.run_command(doc! { "profile": 0 }).await.unwrap();
        let about = doc! { "ns": { "$regex": "\\.provider_" }, "op": { "$in": ["query", "command", "getmore"] } };
        let carried_out = scene.app.all("system.profile", about).await;
        assert!(!carried_out.is_empty(), "{query} asked nothing");
        for operation in carried_out {
            let plan = operation.get_str("planSummary").unwrap_or("none");
            let indexed = plan.starts_with("IXSCAN") || plan.starts_with("IDHACK");
            assert!(indexed && !plan.contains("COLLSCAN"), "{query}: {plan} in {operation}");
            assert!(!operation.get_bool("hasSortStage").unwrap_or(false), "{query} sorts: {operation}");
        }
        db.collection::<Document>("system.profile").drop().await.unwrap();
    }
}

async fn one_call_is_shown_with_its_answers_and_without_secrets(scene: &Scene) {
    let [_, _, twice, _] = &scene.orders;
    let ids = scene.all(&format!("orderId={twice}&operation=create_order&order=oldest"), 100).await;
    let call = scene.app.get(&scene.auditor, &format!("/audit/provider-requests/{}", ids[0])).await.expect(200).body;
    assert_eq!(
        (&call["requestRefId"], &call["orderId"], &call["method"]),
        (&json!(ids[0]), &json!(twice), &json!("POST"))
    );
    let headers = call["headers"].as_object().unwrap();
    assert!(headers.values().any(|value| value == "[credential]"), "they are named, and not shown: {headers:?}");
    assert_eq!(call["body"]["consignee_name"], "[string 8]");
    let answer = &call["responses"][0];
    assert_eq!(
        (&answer["httpStatus"], &answer["outcome"], &answer["errorClass"]),
        (&json!(500), &json!("unknown"), &json!("unknown"))
    );
    let path = format!("/audit/provider-responses/{}", answer["responseRefId"].as_str().unwrap());
    let alone = scene.app.get(&scene.auditor, &path).await.expect(200).body;
    assert_eq!(&alone, answer);
    for path in ["/audit/provider-requests/req_1", "/audit/provider-responses/res_1", "/audit/orders/ord_1"] {
        assert_eq!(scene.app.get(&scene.auditor, path).await.expect(404).code(), "audit.not_found");
    }
}

impl Scene {
    /// Pages of a list: what each has, and whether it says that it is not full.
    async fn pages(&self, query: &str, limit: usize) -> Vec<(Vec<String>, bool)> {
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.list(&format!("{query}&limit={limit}{cursor}")).await.expect(200).body;
            let ids =
                page["items"].as_array().unwrap().iter().map(|item| item["requestRefId"].as_str().unwrap().to_owned());
            pages.push((ids.collect(), page["partial"] == true));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return pages,
            }
        }
    }
}

async fn a_call_with_several_answers_is_listed_once_at_the_first(scene: &Scene) {
    let app = &scene.app;
    let model = app.all("provider_response_logs", doc! { "orderId": &scene.orders[0] }).await.remove(0);
    let request = app.all("provider_request_logs", doc! { "orderId": &scene.orders[0] }).await.remove(0);
    let answers = app.db().collection::<Document>("provider_response_logs");
    let requests = app.db().collection::<Document>("provider_request_logs");
    // Seven calls are answered one after the other, then all but the last once more, and the first a third time.
    let at = model.get_datetime("receivedAt").unwrap().timestamp_millis() - 60_000;
    let call = |n: i64| first_id_at("req", at + 1_000 * n);
    let answer = |n: i64, to: i64| {
        let mut answer = model.clone();
        let id = first_id_at("res", at + 1_000 * n);
        answer
            .extend(doc! { "_id": id, "requestRefId": call(to), "awb": "AWB-TWICE", "httpStatus": 299, "late": n > 7 });
        answer
    };
    for n in 1..=7 {
        let mut request = request.clone();
        request.insert("_id", call(n));
        requests.insert_one(request).await.unwrap();
        answers.insert_one(answer(n, n)).await.unwrap();
    }
    for (n, to) in [(8, 1), (9, 2), (10, 3), (11, 4), (12, 5), (13, 6), (14, 1)] {
        answers.insert_one(answer(n, to)).await.unwrap();
    }
    let calls = |numbers: &[i64]| numbers.iter().map(|n| call(*n)).collect::<Vec<_>>();
    let day = |from: i64, to: i64| {
        let time = |n: i64| Rfc3339Time(bson::DateTime::from_millis(at + 1_000 * n)).to_string();
        format!("from={}&to={}", time(from), time(to))
    };
    for (query, order, expected) in [
        ("awb=AWB-TWICE".to_owned(), "newest", calls(&[1, 6, 5, 4, 3, 2, 7])),
        ("awb=AWB-TWICE".to_owned(), "oldest", calls(&[1, 2, 3, 4, 5, 6, 7])),
        (format!("httpStatus=299&{}", day(0, 60)), "newest", calls(&[1, 6, 5, 4, 3, 2, 7])),
        (format!("httpStatus=299&{}", day(0, 60)), "oldest", calls(&[1, 2, 3, 4, 5, 6, 7])),
        // Only answers within the time count.
        (format!("httpStatus=299&{}", day(6, 12)), "newest", calls(&[4, 3, 2, 1, 7, 6])),
        (format!("awb=AWB-TWICE&{}", day(6, 12)), "oldest", calls(&[6, 7, 1, 2, 3, 4])),
    ] {
        for limit in [1, 2, 3, 100] {
            let pages = scene.pages(&format!("{query}&order={order}"), limit).await;
            let context = format!("{query} {order} {limit}");
            assert_eq!(pages.iter().flat_map(|(ids, _)| ids.clone()).collect::<Vec<_>>(), expected, "{context}");
            let (last, full) = pages.split_last().unwrap();
            assert!(full.iter().all(|(ids, partial)| ids.len() == limit || *partial), "{context}: {pages:?}");
            assert!(!last.1, "{context}");
        }
    }
    // All answers are shown with the call, and an answer outlives its request.
    let listed = scene.list("awb=AWB-TWICE&limit=1").await.expect(200).body["items"][0].clone();
    assert_eq!(listed["responses"].as_array().unwrap().len(), 3);
    assert!(listed["sentAt"].is_string());
    requests.delete_one(doc! { "_id": call(1) }).await.unwrap();
    let without = scene.list("awb=AWB-TWICE&limit=1").await.expect(200).body["items"][0].clone();
    assert_eq!((&without["requestRefId"], &without["sentAt"]), (&json!(call(1)), &Value::Null));
    for name in ["orderId", "userId", "accountId", "jobId", "workerId", "correlationId", "responses"] {
        assert_eq!(without[name], listed[name], "{name}");
    }
    // One that comes while somebody pages takes no call out of the pages that follow.
    let first = scene.list("awb=AWB-TWICE&limit=2").await.expect(200).body;
    let now = app.app.clock.now().timestamp_millis() - at;
    answers.insert_one(answer(now / 1_000 + 2, 3)).await.unwrap();
    let rest = format!("awb=AWB-TWICE&limit=100&cursor={}", first["nextCursor"].as_str().unwrap());
    let rest = scene.list(&rest).await.expect(200).body;
    let rest: Vec<&Value> = rest["items"].as_array().unwrap().iter().map(|item| &item["requestRefId"]).collect();
    assert_eq!(json!(rest), json!(calls(&[5, 4, 3, 2, 7])));
    answers.delete_many(doc! { "awb": "AWB-TWICE" }).await.unwrap();
    requests.delete_many(doc! { "_id": { "$in": calls(&[1, 2, 3, 4, 5, 6, 7]) } }).await.unwrap();
}

#[tokio::test]
async fn an_order_has_one_story() {
    let scene = Scene::set().await;
    let [_, _, twice, _] = &scene.orders;
    scene.app.cancel(&scene.asha, "c-3").await.expect(202);
    scene.app.run_jobs_to_the_end().await;
    let story = scene.app.get(&scene.auditor, &format!("/audit/orders/{twice}")).await.expect(200).body;
    let entries = story["entries"].as_array().unwrap();
    assert!(entries.is_sorted_by_key(|entry| entry["at"].as_str().unwrap().to_owned()), "in time order");
    let of = |source: &str| -> Vec<&str> {
        let entries = entries.iter().filter(|entry| entry["source"] == source);
        entries.map(|entry| entry["name"].as_str().unwrap()).collect()
    };
    assert_eq!(of("event"), ["OrderCreated", "OrderConfirmed", "CancellationRequested", "OrderCancelled"]);
    assert_eq!(of("ledger"), ["freight_hold", "freight_capture", "freight_refund"]);
    assert_eq!(of("request"), ["create_order", "look_up_order", "create_order", "cancel_order"]);
    assert_eq!(of("response").len(), 4);
    let created = entries.iter().find(|entry| entry["name"] == "OrderCreated").unwrap();
    assert_eq!((&created["actor"]["kind"], &created["actor"]["id"]), (&json!("user"), &json!(scene.asha.user_id)));
    assert_eq!((&story["status"], &story["userId"]), (&json!("cancelled"), &json!(scene.asha.user_id)));
    // A merchant sees its own, without what is ours.
    let own = scene.app.get(&scene.asha, &format!("/orders/{twice}/timeline")).await.expect(200).text;
    assert!(!own.contains("wrk_") && !own.contains("accountId"), "{own}");
    scene.app.get(&scene.asha, &format!("/audit/orders/{twice}")).await.expect(403);
    scene.app.finish().await;
}

async fn of_a_long_story_the_latest_is_told(scene: &Scene) {
    let [order, ..] = &scene.orders;
    let (app, story, timeline) = (&scene.app, format!("/audit/orders/{order}"), format!("/orders/{order}/timeline"));
    let read = async |user: &User, path: &str| app.get(user, path).await.expect(200).body;
    let truncated = async || {
        (
            read(&scene.auditor, &story).await["truncated"].clone(),
            read(&scene.asha, &timeline).await["truncated"].clone(),
        )
    };
    assert_eq!(truncated().await, (json!(false), json!(false)));

    for (collection, prefix, field, source) in [
        ("events", "evt", "subjectId", "event"),
        ("provider_request_logs", "req", "orderId", "request"),
        ("provider_response_logs", "res", "orderId", "response"),
        ("ledger_transactions", "txn", "referenceId", "ledger"),
        ("audit_events", "aud", "resourceId", "audit"),
    ] {
        let records = app.db().collection::<Document>(collection);
        let model = app.all(collection, doc! { field: order }).await.remove(0);
        let older = |n: u64| {
            let mut older = model.clone();
            older.insert("_id", format!("{prefix}_0000{n:028}"));
            // Unique in the ledger.
            if collection == "ledger_transactions" {
                older.insert("referenceId", format!("{order}#{n}"));
                older.remove("walletSeq");
            }
            older
        };
        let told = async || {
            let story = read(&scene.auditor, &story).await;
            let entries = story["entries"].as_array().unwrap();
            let ids = entries.iter().filter(|entry| entry["source"] == source);
            let ids: Vec<String> = ids.map(|entry| entry["recordId"].as_str().unwrap().to_owned()).collect();
            (ids, story["truncated"].clone())
        };
        let before = told().await.0;
        // As many older ones as are told just so, then one more. (Looking at the story is told of, too.)
        let there = records.count_documents(doc! { field: order }).await.unwrap();
        records.insert_many((1..=500 - there).map(older)).await.unwrap();
        let (ids, cut) = told().await;
        assert_eq!((ids.len(), cut), (500, json!(false)), "{collection}");
        records.insert_one(older(0)).await.unwrap();
        let (ids, cut) = told().await;
        assert_eq!((ids.len(), cut), (500, json!(true)), "{collection}");
        assert!(!ids.contains(&format!("{prefix}_0000{:028}", 0)), "{collection}: the oldest is left out");
        assert!(before.iter().all(|id| ids.contains(id)), "{collection}: the latest are told");
        let shown = read(&scene.asha, &timeline).await;
        let to_merchants = !matches!(source, "ledger" | "audit");
        assert_eq!(shown["truncated"], to_merchants, "{collection}");
        if source == "event" {
            let names: Vec<&Value> = shown["items"].as_array().unwrap().iter().map(|item| &item["name"]).collect();
            assert!(names.contains(&&json!("OrderConfirmed")), "the latest");
        }
        records.delete_many(doc! { "_id": { "$regex": format!("^{prefix}_0000") } }).await.unwrap();
    }
}

async fn who_looks_and_who_is_turned_away_is_on_record(scene: &Scene) {
    let app = &scene.app;
    scene.list("provider=parcelx").await.expect(200);
    app.get(&scene.auditor, &format!("/audit/orders/{}", scene.orders[0])).await.expect(200);
    app.get(&scene.auditor, "/audit/orders/ord_1").await.expect(404);
    app.get(&scene.asha, "/audit/provider-requests").await.expect(403);
    let auditor = doc! { "actor.id": &scene.auditor.user_id };
    let looked = app.all("audit_events", auditor).await;
    let said: Vec<(&str, &str, &str)> = looked
        .iter()
        .map(|event| {
            (event.get_str("action").unwrap(), event.get_str("resourceId").unwrap(), event.get_str("outcome").unwrap())
        })
        .collect();
    assert_eq!(
        said,
        [
            ("request.read", "/audit/provider-requests", "done"),
            ("request.read", &*scene.orders[0], "done"),
            ("request.read", "ord_1", "failed"),
        ]
    );
    assert_eq!(looked[0].get_document("after").unwrap().get_str("query").unwrap(), "provider=parcelx");
    assert!(looked.iter().all(|event| event.get_document("actor").unwrap().get_str("requestId").is_ok()));
    crate::support::eventually("the refusal is written down", std::time::Duration::from_secs(10), async || {
        let denied = doc! { "outcome": "denied", "actor.id": &scene.asha.user_id };
        app.all("audit_events", denied).await.len() == 1
    })
    .await;
}

async fn the_redaction_policy_is_what_the_logs_go_by(scene: &Scene) {
    let policy = scene.app.get(&scene.auditor, "/audit/redaction-policy").await.expect(200).body;
    let operations = policy["operations"].as_array().unwrap();
    let named: BTreeSet<_> = operations
        .iter()
        .map(|operation| (operation["provider"].as_str().unwrap(), operation["operation"].as_str().unwrap()))
        .collect();
    let of_orders = PROVIDERS
        .iter()
        .flat_map(|provider| provider.operations.iter().map(|(operation, _)| (provider.name, operation.as_str())));
    let of_services = [(PAYMENT_GATEWAY.name, PAYMENT_GATEWAY.operations), (VERIFIER.name, VERIFIER.operations)];
    let of_services =
        of_services.into_iter().flat_map(|(name, all)| all.iter().map(move |(operation, _)| (name, *operation)));
    let of_ours = [("alerts", "post_alert"), ("smtp", "send_mail"), ("webhooks", "deliver_event")];
    assert_eq!(named, of_orders.chain(of_services).chain(of_ours).collect());
    // Whatever is stored whole is named for its operation.
    for log in scene.app.all("provider_request_logs", doc! {}).await {
        let of = |name: &str| log.get_str(name).unwrap().to_owned();
        let allowed = operations.iter().find(|o| o["provider"] == of("provider") && o["operation"] == of("operation"));
        let allowed = allowed.unwrap_or_else(|| panic!("no policy for {log}"));
        let mut whole = Vec::new();
        leaves(log.get("body").unwrap(), String::new(), &mut whole);
        for path in whole {
            let listed = |list: &Value| list.as_array().unwrap().iter().any(|entry| *entry == json!(path));
            assert!(listed(&allowed["request"]) || listed(&allowed["freeText"]), "{path} of {}", of("operation"));
        }
    }
}

/// Paths of values that are stored as they were.
fn leaves(value: &bson::Bson, path: String, found: &mut Vec<String>) {
    match value {
        bson::Bson::Document(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(value, path, found);
            }
        }
        bson::Bson::Array(entries) => entries.iter().for_each(|entry| leaves(entry, format!("{path}[]"), found)),
        bson::Bson::Null => {}
        bson::Bson::String(text) if text.starts_with('[') && text.ends_with(']') => {}
        _ => found.push(path),
    }
}
