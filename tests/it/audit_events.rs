//! Who did what and who looked: found by every key, and complete.

use std::collections::BTreeSet;

use bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{TestApp, User, eventually, kyc};

impl TestApp {
    /// Audit events, as an auditor finds them, newest first: action, resource, outcome.
    async fn trail(&self, auditor: &User, query: &str) -> Vec<(String, String, String)> {
        let page = self.get(auditor, &format!("/audit/events?limit=100&{query}")).await.expect(200).body;
        let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| (text(item, "action"), text(item, "resourceId"), text(item, "outcome"))).collect()
    }

    /// Ids of everything that a query finds, page after page.
    async fn trail_ids(&self, auditor: &User, query: &str, limit: usize) -> Vec<String> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/audit/events?{query}&limit={limit}{cursor}");
            let page = self.get(auditor, &path).await.expect(200).body;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            found.extend(items.iter().map(|item| item["eventId"].as_str().unwrap().to_owned()));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    /// Ids in both books of what is like this; `event` none where no event can be.
    async fn in_the_books(&self, audit: Document, event: Option<Document>) -> BTreeSet<String> {
        let mut found = self.all("audit_events", audit).await;
        if let Some(event) = event {
            found.extend(self.all("events", event).await);
        }
        found.iter().map(|record| record.get_str("_id").unwrap().to_owned()).collect()
    }
}

/// Where a record is in time: events and audit events have ids of the same kind.
fn body(id: &str) -> &str {
    id.split_once('_').unwrap().1
}

#[tokio::test]
async fn what_was_done_to_an_application_is_found_by_every_key() {
    let app = TestApp::start().await;
    let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
    let user = app.applicant(&kyc::individual()).await;
    let reject = json!({ "decision": "reject", "reason": "A forgery." });
    let decided = app.decide(&admin, &user, &reject).await.expect(200);
    let request_id = decided.headers["x-request-id"].to_str().unwrap();
    let application = format!("kyc_{}", user.user_id.strip_prefix("usr_").unwrap());
    let rejected = ("kyc.rejected".to_owned(), application.clone(), "done".to_owned());
    // A change of an application is an event too, and that is shown beside its audit event.
    let event = ("KycRejected".to_owned(), application.clone(), "done".to_owned());
    for (query, shown) in [
        (format!("resourceId={application}"), vec![&rejected, &event]),
        (format!("userId={}", user.user_id), vec![&rejected, &event]),
        (format!("actorId={}", admin.user_id), vec![&rejected, &event]),
        (format!("requestId={request_id}"), vec![&rejected, &event]),
        ("action=kyc.rejected".to_owned(), vec![&rejected]),
        ("action=KycRejected".to_owned(), vec![&event]),
        (format!("actorId={}&outcome=done&userId={}", admin.user_id, user.user_id), vec![&rejected, &event]),
    ] {
        let found = app.trail(&auditor, &query).await;
        assert!(shown.iter().all(|shown| found.contains(shown)), "{query}: {found:?}");
        let backwards = app.trail(&auditor, &format!("{query}&order=oldest")).await;
        // Asking is on record too, as a reading of what is the user's.
        let asked = |(action, ..): &&(String, String, String)| action != "request.read";
        assert!(found.iter().filter(asked).eq(backwards.iter().rev().filter(asked)), "{query}, oldest first");
    }
    for query in ["action=kyc.approved", "userId=usr_nobody", "outcome=denied&action=kyc.rejected"] {
        assert!(app.trail(&auditor, query).await.iter().all(|found| *found != rejected), "{query}");
    }
    let path = format!("/audit/events?requestId={request_id}");
    let both = app.get(&auditor, &path).await.expect(200).body["items"].as_array().unwrap().clone();
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(body(both[0]["eventId"].as_str().unwrap()), body(both[1]["eventId"].as_str().unwrap()), "one change");
    assert_eq!((&both[0]["before"], &both[1]["before"]["state"]), (&Value::Null, &json!("submitted")));
    for record in both {
        assert_eq!((&record["reason"], &record["after"]["state"]), (&json!("A forgery."), &json!("rejected")));
        assert_eq!((&record["actor"]["id"], &record["actor"]["role"]), (&json!(admin.user_id), &json!("admin")));
        assert_eq!(
            (&record["actor"]["address"], &record["resourceType"]),
            (&json!("127.0.0.1"), &json!("kyc_application"))
        );
        assert_eq!(record["userId"], json!(user.user_id));
    }
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn auditors_write_nothing_and_it_is_known_that_they_tried() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    let (merchant, admin) = (app.merchant().await, app.admin().await);
    for (method, path, body) in [
        (Method::POST, "/orders/create".to_owned(), json!({})),
        (Method::POST, "/finance/transactions".to_owned(), json!({})),
        (Method::POST, format!("/kyc/applications/{}/decision", merchant.user_id), json!({})),
        (Method::POST, "/queues/parcelx-orders-queue/pause".to_owned(), Value::Null),
    ] {
        app.request(method, &path, Some(&auditor.token), Some(&body)).await.expect(403);
    }
    let denied = format!("actorId={}&outcome=denied", auditor.user_id);
    eventually("four refusals are on record", std::time::Duration::from_secs(10), async || {
        app.trail(&admin, &denied).await.len() == 4
    })
    .await;
    // A stranger is turned away too, and has no name.
    app.request(Method::GET, "/audit/events", None, None).await.expect(401);
    eventually("the stranger is on record", std::time::Duration::from_secs(10), async || {
        let found = app.trail(&admin, "outcome=denied&resourceId=/audit/events").await;
        found == [("request.denied".to_owned(), "/audit/events".to_owned(), "denied".to_owned())]
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn what_comes_from_outside_is_kept_as_harmless_text() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    let nasty = "userId=%1b[31mred%0d%0aX-Evil:%20yes&action=%3Cscript%3E";
    app.get(&auditor, &format!("/audit/events?{nasty}")).await.expect(200);
    let page = app.get(&auditor, &format!("/audit/events?actorId={}", auditor.user_id)).await.expect(200);
    assert!(!page.text.contains(['\u{1b}', '\r', '\n']), "{}", page.text);
    let hidden = "userId=[29]&action=%3Cscript%3E";
    assert_eq!(page.body["items"][0]["after"]["query"], json!(hidden), "what would drive a terminal is not kept");
    app.finish().await;
}

#[tokio::test]
async fn orders_and_what_was_read_are_one_trail_in_the_order_of_time() {
    let app = TestApp::start().await;
    let (asha, kiran, admin) = (app.merchant().await, app.merchant().await, app.admin().await);
    let order_id = app.confirmed(&asha, "c-1").await;
    app.get(&admin, &format!("/audit/orders/{order_id}")).await.expect(200);
    app.confirmed(&kiran, "c-1").await;
    let cancelled = app.cancel(&asha, "c-1").await.expect(202);
    app.run_jobs_to_the_end().await;
    app.applicant(&kyc::individual()).await;
    app.run_jobs().await;
    let request_id = cancelled.headers["x-request-id"].to_str().unwrap();
    let worker = app.all("events", doc! { "type": "OrderConfirmed" }).await[0].get_document("actor").unwrap().clone();
    let worker = worker.get_str("id").unwrap();
    let (user, other) = (&asha.user_id, &kiran.user_id);
    // Who asks leaves traces of asking: what was there before is asked for.
    let now = app.app.clock.now();
    let to = now.try_to_rfc3339_string().unwrap();
    let from = bson::DateTime::from_millis(now.timestamp_millis() - 86_400_000).try_to_rfc3339_string().unwrap();
    for (query, audit, event) in [
        (format!("resourceId={order_id}"), doc! { "resourceId": &order_id }, Some(doc! { "subjectId": &order_id })),
        (format!("userId={user}"), doc! { "userId": user }, Some(doc! { "userId": user })),
        (format!("actorId={other}"), doc! { "actor.id": other }, Some(doc! { "actor.id": other })),
        (format!("actorId={worker}"), doc! { "actor.id": worker }, Some(doc! { "actor.id": worker })),
        (
            format!("requestId={request_id}"),
            doc! { "actor.requestId": request_id },
            Some(doc! { "actor.requestId": request_id }),
        ),
        (format!("from={from}"), doc! {}, Some(doc! {})),
        (format!("from={from}&outcome=done"), doc! { "outcome": "done" }, Some(doc! {})),
        (format!("from={from}&outcome=failed"), doc! { "outcome": "failed" }, None),
        (format!("from={from}&action=OrderConfirmed"), doc! { "action": "-" }, Some(doc! { "type": "OrderConfirmed" })),
        (format!("from={from}&action=request.read"), doc! { "action": "request.read" }, None),
        (
            format!("userId={user}&resourceId={order_id}&action=OrderCancelled"),
            doc! { "action": "-" },
            Some(doc! { "userId": user, "subjectId": &order_id, "type": "OrderCancelled" }),
        ),
    ] {
        let expected = app.in_the_books(audit, event).await;
        let query = format!("{query}&to={to}");
        for limit in [1, 2, 100] {
            let newest = app.trail_ids(&admin, &format!("{query}&order=newest"), limit).await;
            assert!(newest.is_sorted_by(|a, b| body(a) > body(b) || (body(a) == body(b) && a > b)), "{query}");
            let oldest = app.trail_ids(&admin, &format!("{query}&order=oldest"), limit).await;
            assert!(oldest.iter().rev().eq(newest.iter()), "{query}: the same backwards");
            let newest: BTreeSet<String> = newest.into_iter().collect();
            let asked_before = |id: &String| newest.contains(id) || body(id) >= body(&first_id_at("aud", now));
            assert!(newest.is_subset(&expected) && expected.iter().all(asked_before), "{query}, {limit} a page");
        }
    }
    app.finish().await;
}

fn first_id_at(prefix: &str, time: bson::DateTime) -> String {
    waybill::platform::ids::first_id_at(prefix, time.timestamp_millis())
}

#[tokio::test]
async fn an_event_is_told_as_what_was_done() {
    let app = TestApp::start().await;
    let (user, auditor) = (app.merchant().await, app.user(Role::Auditor).await);
    let created = app.create(&user, "c-1").await.expect(201);
    let order_id = created.body["orderId"].as_str().unwrap();
    let page = app.get(&auditor, &format!("/audit/events?resourceId={order_id}")).await.expect(200).body;
    let stored = app.all("events", doc! { "subjectId": order_id }).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let mut shown = page["items"][0].clone();
    assert!(shown["at"].take().is_string());
    assert_eq!(
        shown,
        json!({
            "eventId": stored[0].get_str("_id").unwrap(), "at": null, "action": "OrderCreated", "resourceType": "order",
            "resourceId": order_id, "userId": user.user_id, "outcome": "done", "reason": null, "before": null,
            "actor": {
                "kind": "user", "id": user.user_id, "role": "merchant", "address": "127.0.0.1",
                "requestId": created.headers["x-request-id"].to_str().unwrap(), "keyId": null,
            },
            "after": {
                "ageMs": 0, "clientOrderId": "c-1", "provider": "parcelx", "status": "created", "reference": null, "failureCode": null,
            },
        })
    );
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn a_list_stays_whole_while_more_is_written() {
    let app = TestApp::start().await;
    let (user, auditor) = (app.merchant().await, app.user(Role::Auditor).await);
    let mut before = Vec::new();
    for n in 0..4 {
        before.push(app.created(&user, &format!("c-{n}")).await);
    }
    let query = format!("actorId={}&action=OrderCreated&limit=1", user.user_id);
    let (mut newest, mut oldest) = (Vec::new(), Vec::new());
    for (order, found) in [("newest", &mut newest), ("oldest", &mut oldest)] {
        let mut cursor = String::new();
        for n in 0..20 {
            let path = format!("/audit/events?{query}&order={order}{cursor}");
            let page = app.get(&auditor, &path).await.expect(200).body;
            found
                .extend(page["items"].as_array().unwrap().iter().map(|i| i["resourceId"].as_str().unwrap().to_owned()));
            if n < 3 {
                app.created(&user, &format!("c-{order}-{n}")).await;
            }
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
    assert!(newest.iter().eq(before.iter().rev()), "newest first: what was there when it began");
    assert_eq!((oldest.len(), &oldest[..4]), (10, &before[..]), "oldest first: with what came meanwhile");
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn a_page_that_has_looked_at_enough_ends_early_in_both_books() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    // One of what is looked for, behind more than a page looks at, in each book; what is younger is in one book only.
    let actor = doc! { "kind": "worker", "id": "wrk_1", "role": null, "address": null, "requestId": "rqs_12345678" };
    let began = app.app.clock.now_ms() - 60_000;
    let id = |prefix: &str, n: i64| format!("{prefix}_{began:012x}{n:020x}");
    let audit = |n: i64, outcome: &str| {
        doc! {
            "_id": id("aud", n), "actor": &actor, "action": "request.read", "resourceType": "route", "resourceId": "x",
            "userId": null, "outcome": outcome, "reason": null, "before": null, "after": null, "at": app.app.clock.now(),
        }
    };
    let event = |n: i64, user: &str| {
        doc! {
            "_id": id("evt", n), "actor": &actor, "type": "OrderCreated", "subjectId": "ord_1", "userId": user, "data": {},
            "at": app.app.clock.now(),
        }
    };
    let fill = async |collection: &str, records: Vec<Document>| {
        app.db().collection(collection).insert_many(records).await.unwrap();
    };
    let mut records: Vec<Document> = (1..=4_500).map(|n| event(n, "usr_1")).collect();
    records.push(event(0, "usr_2"));
    fill("events", records).await;
    let mut records: Vec<Document> = (1..=4_200).map(|n| audit(n, "done")).collect();
    records.push(audit(0, "failed"));
    fill("audit_events", records).await;
    for (query, expected) in [
        ("actorId=wrk_1&userId=usr_2", vec![id("evt", 0)]),
        ("actorId=wrk_1&outcome=failed", vec![id("aud", 0)]),
        ("actorId=wrk_1&action=request.read&outcome=failed", vec![id("aud", 0)]),
        ("actorId=wrk_1&outcome=denied", vec![]),
        ("actorId=wrk_1&userId=usr_2&action=OrderCreated&outcome=done", vec![id("evt", 0)]),
    ] {
        let first = app.get(&auditor, &format!("/audit/events?{query}")).await.expect(200).body;
        assert_eq!((&first["items"], &first["partial"]), (&json!([]), &json!(true)), "{query}");
        assert_eq!(app.trail_ids(&auditor, query, 10).await, expected, "{query}");
        assert_eq!(app.trail_ids(&auditor, &format!("{query}&order=oldest"), 10).await, expected, "{query}, oldest");
    }
    // Where every record of the key matches, pages are full, and together they are all there is.
    let all = app.trail_ids(&auditor, "actorId=wrk_1", 100).await;
    assert_eq!(all.len(), 4_501 + 4_201);
    assert!(all.is_sorted_by(|a, b| body(a) > body(b) || (body(a) == body(b) && a > b)));
    app.db().collection::<Document>("events").delete_many(doc! { "subjectId": "ord_1" }).await.unwrap();
    app.finish().await;
}

#[tokio::test]
async fn every_question_about_events_is_answered_by_an_index() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    let db = app.db();
    let both = ["audit_events", "events"];
    for (query, asked) in [
        ("", &both[..]),
        ("resourceId=x", &both),
        ("requestId=x", &both),
        ("actorId=x", &both),
        ("userId=x", &both),
        ("outcome=done", &both),
        ("actorId=x&userId=y&order=oldest", &both),
        ("action=x.y", &both[..1]),
        ("outcome=denied", &both[..1]),
        ("actorId=x&action=y.z", &both[..1]),
        ("resourceId=x&outcome=failed", &both[..1]),
        ("action=OrderCreated", &both[1..]),
        ("userId=x&action=OrderCreated&order=oldest", &both[1..]),
    ] {
        db.run_command(doc! { "profile": 2 }).await.unwrap();
        app.get(&auditor, &format!("/audit/events?{query}")).await.expect(200);
        db.run_command(doc! { "profile": 0 }).await.unwrap();
        let mut looked_at = BTreeSet::new();
        let about =
            doc! { "ns": { "$regex": "\\.(audit_)?events$" }, "op": { "$in": ["query", "command", "getmore"] } };
        for operation in app.all("system.profile", about).await {
            let plan = operation.get_str("planSummary").unwrap_or("none");
            assert!(plan.starts_with("IXSCAN"), "{query}: {plan} in {operation}");
            assert!(!operation.get_bool("hasSortStage").unwrap_or(false), "{query} sorts");
            looked_at.insert(operation.get_str("ns").unwrap().rsplit_once('.').unwrap().1.to_owned());
        }
        assert!(looked_at.iter().eq(asked), "{query} looked at {looked_at:?}");
        db.collection::<Document>("system.profile").drop().await.unwrap();
    }
    app.finish().await;
}
