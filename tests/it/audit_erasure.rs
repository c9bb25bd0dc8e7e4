//! What is personal in the records of a user or an order is erased; records and seals stay what they were, and whoever
//! reads them is shown that something was erased.

use std::process::Output;

use bson::{Bson, Document, doc};
use serde_json::{Value, json};
use tokio::process::Command;
use waybill::{
    modules::audit::{proof::Scopes, verification::verify_export},
    platform::{identity::Role, ids::new_id},
};

use crate::support::{
    TestApp, User, kyc,
    retention::{AUDIT, REQUESTS, RESPONSES, values_at, verify},
    seals::{public_keys, seal_all, write_records},
};

const REASON: &str = "Erasure asked for in ticket 12.";

/// `waybill audit erase`, as an operator runs it.
async fn erase(app: &TestApp, args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["audit", "erase", "--reason", REASON]).args(args);
    program.env("MONGODB_URI", &app.mongodb_uri).env("SEALING_KEY", "0".repeat(64)).output().await.unwrap()
}

/// How many fields an erasure has erased; it went well.
#[track_caller]
fn fields(output: &Output) -> u64 {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), &*err), (Some(0), ""), "{out}");
    out.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Why an erasure was refused.
#[track_caller]
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two merchants with a confirmed and a refused order each, money that finance booked, and an application that was read.
struct Scene {
    app: TestApp,
    admin: User,
    auditor: User,
    finance: User,
    asha: User,
    kiran: User,
    /// Asha's: confirmed, refused. Kiran's: confirmed.
    orders: [String; 3],
    booked: String,
}

fn recharge(user: &User) -> Value {
    json!({ "clientReference": "NEFT-1", "kind": "recharge", "userId": user.user_id, "reason": "From Asha's father",
        "amount": { "amount": 100, "currency": "INR" } })
}

impl Scene {
    async fn set() -> Self {
        let app = TestApp::start().await;
        let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
        let (finance, kiran) = (app.user(Role::Finance).await, app.merchant().await);
        let asha = app.applicant(&kyc::individual()).await;
        let reject = json!({ "decision": "approve", "reason": "Known to us as Asha." });
        app.decide(&admin, &asha, &reject).await.expect(200);
        app.credit(&asha, 1_000_000).await;
        let booked = app.post(&finance, "/finance/transactions", &recharge(&asha)).await.expect(201).body;
        let first = app.confirmed(&asha, "c-1").await;
        app.carrier.misbehave("create", "refuse_422", 1).await;
        let refused = app.created(&asha, "c-2").await;
        app.run_jobs().await;
        let other = app.confirmed(&kiran, "c-1").await;
        let booked = booked["transactionId"].as_str().unwrap().to_owned();
        Self { app, admin, auditor, finance, asha, kiran, orders: [first, refused, other], booked }
    }

    /// What every personal path says in the records that a filter finds, by collection.
    async fn personal(&self, filter: impl Fn(&str) -> Document) -> Vec<(String, Bson)> {
        let mut found = Vec::new();
        for scope in Scopes::standard().today() {
            for path in scope.personal() {
                for (at, value) in values_at(&self.app, scope.collection(), path, filter(scope.collection())).await {
                    found.push((format!("{} {at}", scope.collection()), value));
                }
            }
        }
        found
    }

    async fn texts_of_asha(&self) -> Vec<(String, Bson)> {
        let personal = self.personal(|_| doc! { "userId": &self.asha.user_id }).await;
        personal.into_iter().filter(|(_, value)| value.as_document().is_none()).collect()
    }

    async fn get(&self, user: &User, path: &str) -> Value {
        self.app.get(user, path).await.expect(200).body
    }
}

#[tokio::test]
async fn a_users_records_say_nothing_personal_and_are_what_they_were() {
    let scene = Scene::set().await;
    let (app, asha) = (&scene.app, &scene.asha.user_id);
    seal_all(app).await;
    let of_others = |_: &str| doc! { "userId": &scene.kiran.user_id };
    let others = scene.personal(of_others).await;
    let before = scene.texts_of_asha().await;
    for place in [
        "provider_request_logs body.consignee_name",
        "provider_response_logs errorMessage",
        "provider_request_logs body.consignee_state",
        "provider_request_logs body.products[].product_sku",
        "provider_response_logs body.responsemsg",
        "events actor.address",
        "events data.reason",
        "audit_events reason",
        "ledger_transactions actor.address",
        "ledger_transactions reason",
    ] {
        assert!(before.iter().any(|(at, _)| at == place), "the scene has nothing at {place}");
    }
    // Of what she did elsewhere, her address.
    app.get(&scene.asha, "/audit/events").await.expect(403);
    let turned_away = doc! { "action": "request.denied", "actor.id": asha };
    crate::support::eventually("the refusal is on record", std::time::Duration::from_secs(10), async || {
        !app.all(AUDIT, turned_away.clone()).await.is_empty()
    })
    .await;

    let erased = fields(&erase(app, &["--user", asha]).await);
    assert_eq!(erased, before.len() as u64 + 1);
    assert_eq!(scene.texts_of_asha().await, []);
    let denied = app.all(AUDIT, turned_away).await.remove(0);
    assert!(denied.get_document("actor").unwrap().get_document("address").unwrap().get_bool("erased").unwrap());
    assert_eq!(scene.personal(of_others).await, others, "nobody else's");
    assert_eq!(verify(app).await, Ok(()));
    // What was not sealed yet is sealed as if nothing had happened.
    seal_all(app).await;
    assert_eq!(verify(app).await, Ok(()));

    let events = app.all(AUDIT, doc! { "action": "audit.erased" }).await;
    assert_eq!(events.len(), 5, "one a collection, of so few records");
    let counted: i64 = events.iter().map(|event| event.get_document("after").unwrap().get_i64("fields").unwrap()).sum();
    assert_eq!(counted as u64, erased);
    for event in &events {
        assert_eq!((event.get_str("resourceId").unwrap(), event.get_str("reason").unwrap()), (&**asha, REASON));
    }
    assert_eq!(fields(&erase(app, &["--user", asha]).await), 0, "a second time there is nothing");
    assert_eq!(app.all(AUDIT, doc! { "action": "audit.erased" }).await, events);
    scene.app.finish().await;
}

#[tokio::test]
async fn who_reads_what_was_erased_is_shown_so() {
    let scene = Scene::set().await;
    let (app, asha, auditor) = (&scene.app, &scene.asha.user_id, &scene.auditor);
    seal_all(app).await;
    assert!(fields(&erase(app, &["--user", asha]).await) > 0);
    let erased = json!("[erased]");

    let calls = scene.get(auditor, &format!("/audit/provider-requests?orderId={}", scene.orders[1])).await;
    let request = calls["items"][0]["requestRefId"].as_str().unwrap();
    let call = scene.get(auditor, &format!("/audit/provider-requests/{request}")).await;
    assert_eq!(call["body"]["consignee_name"]["erased"], true);
    assert_eq!(call["responses"][0]["errorMessage"], erased);
    let response = call["responses"][0]["responseRefId"].as_str().unwrap();
    let answer = scene.get(auditor, &format!("/audit/provider-responses/{response}")).await;
    assert_eq!(answer["errorMessage"], erased);

    let story = scene.get(auditor, &format!("/audit/orders/{}", scene.orders[1])).await;
    let entries = story["entries"].as_array().unwrap();
    let of = |source: &str| entries.iter().find(|entry| entry["source"] == source).unwrap();
    assert_eq!(of("event")["actor"]["address"], erased);
    assert_eq!(of("response")["detail"]["errorMessage"], erased);
    assert_eq!(of("ledger")["actor"]["address"], erased);
    let trail = scene.get(auditor, &format!("/audit/events?userId={asha}&action=kyc.approved")).await;
    assert_eq!((&trail["items"][0]["reason"], &trail["items"][0]["actor"]["address"]), (&erased, &erased));
    let trail = scene.get(auditor, &format!("/audit/events?userId={asha}&action=KycApproved")).await;
    assert_eq!(trail["items"][0]["reason"], erased);
    let proof = scene.get(auditor, &format!("/audit/proofs/{request}")).await;
    assert!(!proof.to_string().contains("Asha"), "{proof}");

    let ledger = scene.get(&scene.finance, &format!("/finance/ledger?userId={asha}")).await;
    let booked =
        ledger["items"].as_array().unwrap().iter().find(|item| item["transactionId"] == *scene.booked).unwrap();
    assert_eq!(booked["reason"], erased);
    let export = app.get(&scene.finance, &format!("/finance/ledger/export?userId={asha}")).await.expect(200);
    assert!(export.text.contains("[erased]") && !export.text.contains("father"));
    for path in ["/wallet/ledger", "/wallet/statement", "/orders", "/kyc"] {
        scene.get(&scene.asha, path).await;
    }
    scene.get(&scene.asha, &format!("/orders/{}/timeline", scene.orders[0])).await;
    scene.get(&scene.admin, &format!("/kyc/applications/{asha}")).await;
    let checked = scene.get(&scene.finance, "/finance/reconciliation").await;
    assert_eq!(checked["differences"], json!([]));

    // Requests that are repeated are what they were, and what follows from them goes on.
    let again = app.post(&scene.finance, "/finance/transactions", &recharge(&scene.asha)).await.expect(200).body;
    assert_eq!(again["transactionId"], *scene.booked);
    let other = json!({ "clientReference": "NEFT-1", "kind": "recharge", "userId": asha, "reason": "From Asha's father",
        "amount": { "amount": 101, "currency": "INR" } });
    assert_eq!(
        app.post(&scene.finance, "/finance/transactions", &other).await.expect(422).code(),
        "finance.idempotency_mismatch"
    );
    let reversal = json!({ "clientReference": "REV-1", "reason": "A mistake" });
    app.post(&scene.finance, &format!("/finance/transactions/{}/reverse", scene.booked), &reversal).await.expect(201);
    app.create(&scene.asha, "c-1").await.expect(200);
    app.cancel(&scene.asha, "c-1").await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.order(&scene.asha, &scene.orders[0]).await["status"], "cancelled");
    scene.app.finish().await;
}

#[tokio::test]
async fn an_orders_records_are_erased_apart_from_the_others() {
    let scene = Scene::set().await;
    let (app, [order, refused, _]) = (&scene.app, &scene.orders);
    app.get(&scene.auditor, &format!("/audit/orders/{order}")).await.expect(200);
    let about = |id: &str, collection: &str| match collection {
        "events" => doc! { "subjectId": id },
        AUDIT => doc! { "resourceId": id, "action": { "$ne": "audit.erased" } },
        "ledger_transactions" => doc! { "referenceId": id },
        _ => doc! { "orderId": id },
    };
    let (own, other) = (scene.personal(|c| about(order, c)).await, scene.personal(|c| about(refused, c)).await);
    assert!(own.len() > 4 && own.iter().any(|(at, _)| at == "audit_events actor.address"), "{own:?}");
    seal_all(app).await;
    assert_eq!(fields(&erase(app, &["--order", order]).await), own.len() as u64);
    let left = scene.personal(|c| about(order, c)).await;
    assert!(left.len() == own.len() && left.iter().all(|(_, value)| value.as_document().is_some()), "{left:?}");
    assert_eq!(scene.personal(|c| about(refused, c)).await, other);
    assert_eq!(verify(app).await, Ok(()));
    assert_eq!(fields(&erase(app, &["--order", order]).await), 0);
    scene.get(&scene.auditor, &format!("/audit/orders/{order}")).await;
    scene.app.finish().await;
}

/// What a chain export says after it was checked with public keys alone.
async fn exported(app: &TestApp, auditor: &User) -> String {
    let export = app.get(auditor, "/audit/export").await.expect(200).text;
    let report = verify_export(export.as_bytes(), &public_keys(), Vec::new(), |_| {}).expect("it can be checked");
    assert_eq!(report.finding, None);
    export
}

#[tokio::test]
async fn words_of_providers_are_erased_wherever_they_stand() {
    let app = TestApp::start().await;
    let (asha, auditor) = (app.merchant().await, app.user(Role::Auditor).await);
    // The carrier has the order, and tells its story when it is looked up.
    app.carrier.misbehave("create", "drop_after_work", 1).await;
    let order = app.created(&asha, "c-1").await;
    app.run_jobs_to_the_end().await;
    let told = doc! { "orderId": &order, "operation": "look_up_order", "outcome": "found" };
    for path in [
        "body.data.0.status_title",
        "body.data.0.status_location",
        "body.current_status.status_title",
        "body.responsemsg",
    ] {
        app.update_one(RESPONSES, told.clone(), doc! { path: "Delivered to Asha Rao" }).await;
    }
    // Scans further down the list count as well, and what stands there need not be text.
    let scan = doc! { "status_title": ["Left with Asha Rao"], "status_location": Bson::Null };
    let pushed = doc! { "$push": { "body.data": scan } };
    app.db().collection::<Document>(RESPONSES).update_one(told.clone(), pushed).await.unwrap();
    seal_all(&app).await;
    let before = exported(&app, &auditor).await;
    assert!(before.contains("Asha Rao") && before.contains("Karnataka") && before.contains("560001"));
    assert!(before.contains("\"salts\":\""), "a salt for each record");

    assert!(fields(&erase(&app, &["--order", &order]).await) > 0);
    let about = |collection: &str| match collection {
        REQUESTS | RESPONSES => doc! { "orderId": &order },
        "events" => doc! { "subjectId": &order },
        _ => doc! { "_id": Bson::Null },
    };
    for collection in [REQUESTS, RESPONSES, "events"] {
        for record in app.all(collection, about(collection)).await {
            let record = record.to_string();
            for word in ["Asha", "Karnataka", "560001", "110020", "Delhi", "TS-BLK-M"] {
                assert!(!record.contains(word), "{word} in {record}");
            }
        }
    }
    let answer = app.all(RESPONSES, told).await.remove(0);
    assert_eq!(
        (answer.get_str("awb").is_ok(), answer.get_str("outcome").unwrap()),
        (true, "found"),
        "how it ended stays"
    );
    assert_eq!(verify(&app).await, Ok(()));
    seal_all(&app).await;
    let after = exported(&app, &auditor).await;
    assert!(!after.contains("Asha Rao"));
    for line in after.lines().filter(|line| line.contains(&order) && line.contains("\"erased\"")) {
        let salts = &serde_json::from_str::<Value>(line).unwrap()["salts"];
        assert!(
            !salts.is_string() && salts.get("body.data.1.status_title").is_none(),
            "no salt of what is erased: {salts}"
        );
    }
    app.finish().await;
}

/// What no list in the audit knows: a provider's calls, as they would be stored.
#[tokio::test]
async fn a_new_providers_records_are_erased_but_for_what_it_declares() {
    let scene = Scene::set().await;
    let app = &scene.app;
    let order = &scene.orders[0];
    let body = doc! {
        "receiver": { "fullName": "Asha Rao", "lines": ["12 MG Road", ["Bengaluru"]] }, "note": "for Asha", "weight": 450,
        "flags": [true, { "said": "Asha" }], "nothing": Bson::Null,
    };
    let request_id = new_id("req");
    for collection in [REQUESTS, RESPONSES] {
        let mut record = app.all(collection, doc! { "orderId": order }).await.remove(0);
        if collection == REQUESTS {
            record.insert("_id", &request_id);
        } else {
            record.extend(doc! { "_id": new_id("res"), "requestRefId": &request_id });
        }
        record.extend(doc! { "provider": "postx", "operation": "announce", "body": body.clone() });
        write_records(app, collection, &[record]).await;
    }
    // Nor need a body be an object; and one may be long, so long that one transaction does not take all of them.
    let rows = vec![Bson::from(vec![Bson::from("Asha"); 100]); 40];
    let answer = app.all(RESPONSES, doc! { "provider": "postx" }).await.remove(0);
    let bodies = std::iter::once(Bson::from("Asha Rao")).chain(std::iter::repeat_n(Bson::from(rows), 6));
    let answers: Vec<_> = bodies
        .map(|body| {
            let mut answer = answer.clone();
            answer.extend(doc! { "_id": new_id("res"), "body": body });
            answer
        })
        .collect();
    write_records(app, RESPONSES, &answers).await;
    seal_all(app).await;
    assert!(fields(&erase(app, &["--order", order]).await) > 24_000);
    for collection in [REQUESTS, RESPONSES] {
        for record in app.all(collection, doc! { "provider": "postx" }).await {
            let record = record.to_string();
            for word in ["Asha", "MG Road", "Bengaluru", "\"weight\": 450"] {
                assert!(!record.contains(word), "{word} in {}", &record[..2_000.min(record.len())]);
            }
        }
    }
    // Of a provider that declares what is not personal, that stays.
    let create = doc! { "orderId": order, "operation": "create_order" };
    let body = app.all(REQUESTS, create.clone()).await.remove(0).get_document("body").unwrap().clone();
    assert_eq!(body.get_str("client_order_id").unwrap(), order);
    assert!(body.get_str("order_amount").is_ok() && body.get_document("consignee_name").is_ok(), "{body}");
    let events = app.all(AUDIT, doc! { "action": "audit.erased", "after.collection": RESPONSES }).await;
    assert!(events.len() > 1, "more than one transaction");
    assert_eq!(verify(app).await, Ok(()));
    assert_eq!(fields(&erase(app, &["--order", order]).await), 0);
    scene.app.finish().await;
}

#[tokio::test]
async fn nothing_is_erased_under_a_hold() {
    let scene = Scene::set().await;
    let (app, asha, order) = (&scene.app, &*scene.asha.user_id, &*scene.orders[0]);
    let before = scene.personal(|_| doc! {}).await;
    for (kind, id, refused, allowed) in [
        ("user", asha, vec![["--user", asha], ["--order", order]], vec![]),
        ("order", order, vec![["--user", asha], ["--order", order]], vec![["--order", &*scene.orders[2]]]),
    ] {
        let hold = app.hold(&scene.admin, kind, id).await.expect(201).body;
        for args in refused {
            let why = refusal(&erase(app, &args).await);
            assert!(why.contains("legal hold") && why.contains(hold["holdId"].as_str().unwrap()), "{args:?}: {why}");
            let tried = app.all(AUDIT, doc! { "action": "audit.erased", "resourceId": args[1] }).await.pop().unwrap();
            assert_eq!((tried.get_str("outcome").unwrap(), tried.get_str("reason").unwrap()), ("failed", REASON));
            assert_eq!(tried.get_document("after").unwrap(), &doc! { "holdId": hold["holdId"].as_str().unwrap() });
        }
        if kind == "user" {
            let bookkeeping = ["audit.hold_placed", "audit.hold_released", "audit.erased"];
            let personal = scene.personal(|_| doc! { "action": { "$nin": bookkeeping } }).await;
            assert_eq!(personal, before, "nothing was erased");
        }
        for args in allowed {
            assert!(fields(&erase(app, &args).await) > 0);
        }
        app.release(&scene.admin, &hold).await.expect(200);
    }
    // What an administrator did to what is under a hold stays, too.
    let hold = app.hold(&scene.admin, "user", asha).await.expect(201).body;
    assert!(refusal(&erase(app, &["--user", &scene.admin.user_id]).await).contains("legal hold"));
    app.release(&scene.admin, &hold).await.expect(200);
    assert!(fields(&erase(app, &["--user", &scene.admin.user_id]).await) > 0);
    assert!(fields(&erase(app, &["--user", asha]).await) > 0);
    seal_all(app).await;
    assert_eq!(verify(app).await, Ok(()));
    scene.app.finish().await;
}

#[tokio::test]
async fn an_erasure_names_what_is_wrong_with_it() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    assert!(refusal(&erase(&app, &["--user", "usr_1"]).await).contains("there is no user usr_1"));
    assert!(refusal(&erase(&app, &["--order", &user.user_id]).await).contains("there is no order"));
    for args in [vec![], vec!["--user", "a", "--order", "b"], vec!["--user", "a", "--reason", "x"]] {
        assert_eq!(erase(&app, &args).await.status.code(), Some(2), "{args:?}");
    }
    let program = Command::new(env!("CARGO_BIN_EXE_waybill"))
        .args(["audit", "erase", "--user", &user.user_id, "--reason", REASON])
        .env("MONGODB_URI", &app.mongodb_uri)
        .env("SEALING_KEY", "1".repeat(64))
        .output();
    seal_all(&app).await;
    assert!(refusal(&program.await.unwrap()).contains("commitment secret"), "another key would make other commitments");
    assert_eq!(app.all(AUDIT, doc! { "action": "audit.erased" }).await, []);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_sealed_and_erased_side_by_side() {
    let scene = Scene::set().await;
    let app = &scene.app;
    let erasing = async {
        let mut total = 0;
        for _ in 0..6 {
            total += fields(&erase(app, &["--user", &scene.asha.user_id]).await);
        }
        total
    };
    let sealing = async {
        for n in 0..12 {
            app.get(&scene.asha, "/audit/events").await.expect(403);
            app.created(&scene.asha, &format!("s-{n}")).await;
            seal_all(app).await;
        }
    };
    let (total, ()) = futures_util::future::join(erasing, sealing).await;
    assert!(total > 0);
    app.run_jobs().await;
    seal_all(app).await;
    assert_eq!(verify(app).await, Ok(()));
    for collection in [REQUESTS, RESPONSES] {
        assert!(!app.all(collection, doc! { "userId": &scene.asha.user_id }).await.is_empty());
    }
    scene.app.finish().await;
}
