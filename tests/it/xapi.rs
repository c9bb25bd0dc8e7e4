//! Sales to an ERP: taken, placed once whatever happens on the way, and taken back only while nothing was sent.

use std::time::Duration;

use bson::{Bson, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    TestApp, User,
    drive::set,
    eventually, orders,
    process::Launch,
    stand::{Stand, document_number},
};

const SOON: Duration = Duration::from_secs(20);

impl TestApp {
    fn erp(&self) -> Stand {
        Stand::beside(&self.carrier, "xapi")
    }

    async fn sold(&self, user: &User, client_order_id: &str) -> String {
        let order = self.post(user, "/orders/create", &orders::sale(client_order_id)).await.expect(201).body;
        order["orderId"].as_str().unwrap().to_owned()
    }

    async fn at_erp(&self, order_id: &str) -> Value {
        self.erp().entry("orders", document_number(order_id)).await
    }

    /// The first `times` calls of `operation` for an order behave like `mode`.
    async fn erp_misbehaves(&self, order_id: &str, operation: &str, mode: &str, times: Option<u32>) {
        let number = document_number(order_id);
        let rule = json!({ "operation": operation, "externalDocumentNumber": number, "mode": mode, "times": times });
        self.erp().rule(rule).await;
    }

    /// Moves the clock and runs what is due then.
    async fn later(&self, seconds: u64) {
        self.app.clock.advance(Duration::from_secs(seconds));
        self.run_jobs().await;
    }
}

fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap_or("-")
}

#[tokio::test]
async fn a_sale_is_placed_and_answered_with_its_lines() {
    // An answer may take longer than a lease usually is.
    let app = TestApp::with(&["--lease-ms=5000", "--xapi-call-deadline-ms=6000"]).await;
    // It costs nothing, so no money is needed.
    let (user, other) = (app.merchant_with(0).await, app.merchant_with(0).await);
    let sent = orders::sale("s-1");

    let created = app.post(&user, "/orders/create", &sent).await.expect(201).body;
    let path = format!("/orders/{}", created["orderId"].as_str().unwrap());
    assert_eq!(
        (&created["status"], &created["charge"], &created["reference"]),
        (&json!("created"), &Value::Null, &Value::Null)
    );
    app.run_jobs().await;

    let order = app.get(&user, &path).await.expect(200).body;
    assert_eq!((&order["status"], &order["providerSyncStatus"]), (&json!("confirmed"), &json!("synced")));
    assert_eq!(order["sale"], sent["sale"], "as it was sent");
    assert!(order.get("shipment").is_none(), "{order}");
    assert_eq!((&order["provider"], &order["accountId"]), (&json!("xapi"), &json!("xapi/default")));
    let theirs = app.at_erp(created["orderId"].as_str().unwrap()).await;
    assert_eq!((&theirs["calls"], &theirs["orders"][0]["orderNo"]), (&json!({ "create": 1 }), &order["reference"]));
    assert_eq!(
        (&theirs["lastBody"]["totalAmount"], &theirs["lastBody"]["customer"]["salutation"]),
        (&json!(4488), &json!("FRAU"))
    );
    assert_eq!(theirs["lastBody"]["shippingAddress"], theirs["lastBody"]["billingAddress"]);
    app.get(&other, &path).await.expect(404);
    let listed = app.get(&user, "/orders?provider=xapi").await.expect(200).body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(app.get(&user, "/orders?provider=parcelx").await.expect(200).body["items"], json!([]));
    assert_eq!(app.balance(&user).await, (0, 0));

    let mut spelled = sent.clone();
    set(&mut spelled, "/sale/orderedAt", json!("2026-11-29T11:00:00+01:00"));
    set(&mut spelled, "/sale/customer/phone", json!("0049 30 123456"));
    let replay = app.post(&user, "/orders/create", &spelled).await.expect(200);
    assert_eq!(replay.body["orderId"], created["orderId"]);
    set(&mut spelled, "/sale/lines/0/quantity", json!(3));
    let other = app.post(&user, "/orders/create", &spelled).await.expect(422);
    assert_eq!(other.code(), "orders.idempotency_mismatch");
    app.finish().await;
}

#[tokio::test]
async fn a_provider_takes_its_own_kind_of_orders_and_every_fault_is_named() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let (sale, shipment) = (orders::sale("s-1"), orders::order("c-1"));
    let blamed = async |body: &Value| app.post(&user, "/orders/create", body).await.expect(422).blamed();
    let mut body = sale.clone();
    body["shipment"] = shipment["shipment"].clone();
    assert_eq!(blamed(&body).await, ["shipment:unexpected"]);
    let mut body = shipment.clone();
    body["sale"] = sale["sale"].clone();
    assert_eq!(blamed(&body).await, ["sale:unexpected"]);
    assert_eq!(blamed(&json!({ "clientOrderId": "s-1", "provider": "xapi" })).await, ["sale:required"]);
    let mut body = sale.clone();
    set(&mut body, "/sale/customer/lastName", json!("x".repeat(51)));
    set(&mut body, "/sale/billingAddress/line1", json!("x".repeat(101)));
    set(&mut body, "/sale/billingAddress/line2", json!("x".repeat(51)));
    set(&mut body, "/sale/billingAddress/city", json!("x".repeat(31)));
    set(&mut body, "/sale/lines/1/name", json!("x".repeat(101)));
    set(&mut body, "/sale/lines/0/quantity", json!(0));
    set(&mut body, "/sale/orderedAt", json!("29.11.2026"));
    assert_eq!(
        blamed(&body).await,
        [
            "sale.billingAddress.city:length",
            "sale.billingAddress.line1:length",
            "sale.billingAddress.line2:length",
            "sale.customer.lastName:length",
            "sale.lines[0].quantity:range",
            "sale.lines[1].name:length",
            "sale.orderedAt:format",
        ]
    );
    assert!(app.all("orders", doc! {}).await.is_empty());
    app.finish().await;
}

/// How the first create misbehaves; HTTP status, class and code of its answer's log; creates in the end, and what becomes of
/// the order.
type Case = (&'static str, Option<i32>, &'static str, &'static str, i64, &'static str);

const CASES: &[Case] = &[
    ("refuse", Some(400), "fatal", "provider.refused", 1, "failed"),
    ("429", Some(429), "retryable", "provider.throttled", 2, "confirmed"),
    // Not executed, but nobody could know.
    ("500", Some(500), "unknown", "provider.server_error", 2, "confirmed"),
    ("html", Some(200), "unknown", "provider.not_json", 2, "confirmed"),
    ("hang", None, "unknown", "exchange.timed_out", 2, "confirmed"),
    ("drop", None, "unknown", "exchange.connection_lost", 2, "confirmed"),
    ("duplicate", Some(409), "unknown", "provider.already_exists", 2, "confirmed"),
    // Executed, but nobody could know.
    ("500_after_work", Some(500), "unknown", "provider.server_error", 1, "confirmed"),
    ("drop_after_work", None, "unknown", "exchange.connection_lost", 1, "confirmed"),
    ("hang_after_work", None, "unknown", "exchange.timed_out", 1, "confirmed"),
    ("truncated_after_work", Some(201), "unknown", "provider.not_json", 1, "confirmed"),
    ("other_order", Some(201), "unknown", "provider.wrong_order", 1, "confirmed"),
    ("no_order_no", Some(201), "unknown", "provider.no_order_number", 1, "confirmed"),
    ("odd_status", Some(201), "unknown", "provider.unclear_status", 1, "confirmed"),
    // There, but not alive.
    ("cancelled", Some(201), "unknown", "provider.cancelled_there", 1, "needs_attention"),
];

#[tokio::test]
async fn a_misbehaving_create_is_told_apart_and_never_doubled() {
    let app = TestApp::with(&["--xapi-call-deadline-ms=1000"]).await;
    let user = app.merchant().await;
    let mut sold = Vec::new();
    for (mode, ..) in CASES {
        let order_id = app.sold(&user, mode).await;
        app.erp_misbehaves(&order_id, "create", mode, Some(1)).await;
        sold.push(order_id);
    }
    let unclear = app.sold(&user, "internal").await;
    let number = document_number(&unclear);
    let message = "Internal_Error: try later";
    let rule = json!({ "operation": "create", "externalDocumentNumber": number, "mode": "refuse", "message": message,
        "afterWork": true, "times": 1 });
    app.erp().rule(rule).await;
    let capitals = app.sold(&user, "capitals").await;
    for operation in ["create", "look_up"] {
        let mode = if operation == "create" { "drop_after_work" } else { "capitals" };
        app.erp_misbehaves(&capitals, operation, mode, None).await;
    }

    app.run_jobs_to_the_end().await;

    let others = [(&unclear, "provider.vague_refusal", Some(400)), (&capitals, "exchange.connection_lost", None)]
        .map(|(order_id, code, http)| (("-", http, "unknown", code, 1, "confirmed"), order_id));
    for ((mode, http, class, code, creates, status), order_id) in CASES.iter().copied().zip(&sold).chain(others) {
        let order = app.order(&user, order_id).await;
        assert_eq!(order["status"], status, "{mode}: {order}");
        let answers = app.answers(order_id).await;
        let first = &answers[0];
        let first_http = first.get("httpStatus").and_then(Bson::as_i32);
        assert_eq!((first_http, text(first, "errorClass"), text(first, "errorCode")), (http, class, code), "{mode}");
        let theirs = app.at_erp(order_id).await;
        assert_eq!(theirs["calls"]["create"], creates, "{mode}");
        let operations: Vec<_> = answers.iter().map(|answer| text(answer, "operation")).collect();
        if class == "unknown" && status == "confirmed" {
            assert_eq!(operations[1], "look_up_order", "{mode}: {operations:?}");
            assert_eq!(order["reference"], theirs["orders"][0]["orderNo"], "{mode}");
        }
        if status == "failed" {
            assert_eq!(order["failure"]["message"], "BadRequest_InvalidItem: The item does not exist", "{mode}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn five_creates_at_most_with_a_look_up_between_any_two() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.sold(&user, "s-1").await;
    app.erp_misbehaves(&order_id, "create", "500", None).await;

    app.run_jobs_to_the_end().await;

    let order = app.order(&user, &order_id).await;
    assert_eq!((&order["status"], &order["attempts"]), (&json!("needs_attention"), &json!(5)), "{order}");
    let answers = app.answers(&order_id).await;
    let said: Vec<_> = answers.iter().map(|answer| (text(answer, "operation"), text(answer, "outcome"))).collect();
    let creates: Vec<usize> = (0..said.len()).filter(|at| said[*at].0 == "create_order").collect();
    assert_eq!(creates.len(), 5, "{said:?}");
    for pair in creates.windows(2) {
        let between = &said[pair[0] + 1..pair[1]];
        assert!(between.contains(&("look_up_order", "absent")), "{said:?}");
    }
    assert_eq!(said.last(), Some(&("look_up_order", "absent")), "the last one is looked up too");
    let job = app.create_job(&order_id).await;
    assert_eq!(text(&job, "state"), "dead", "it stays for a person");

    // A person has it sent again.
    app.erp().behave().await;
    let retry = format!("/queues/jobs/{}/retry", text(&job, "_id"));
    app.request(Method::POST, &retry, Some(&app.admin().await.token), None).await.expect(200);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    app.finish().await;
}

#[tokio::test]
async fn work_that_is_done_some_seconds_after_a_500_is_not_done_twice() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.sold(&user, "s-1").await;
    let number = document_number(&order_id);
    let rule = json!({ "operation": "create", "externalDocumentNumber": number, "mode": "500", "times": 1,
        "workAfterMs": 1500 });
    app.erp().rule(rule).await;
    app.run_jobs().await;
    app.later(2).await;
    let answers = app.answers(&order_id).await;
    assert_eq!(answers.iter().map(|answer| text(answer, "outcome")).collect::<Vec<_>>(), ["unknown", "absent"]);
    eventually("the work is done", SOON, async || !app.at_erp(&order_id).await["orders"][0].is_null()).await;

    app.run_jobs_to_the_end().await;

    assert_eq!(app.order(&user, &order_id).await["status"], "confirmed");
    assert_eq!(app.at_erp(&order_id).await["calls"]["create"], 1, "an absence counts only after the settling delay");
    app.finish().await;
}

#[tokio::test]
async fn what_the_erp_has_cancelled_needs_a_person() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.sold(&user, "s-1").await;
    app.erp_misbehaves(&order_id, "create", "drop_after_work", Some(1)).await;
    app.run_jobs().await;
    let path = format!("orders/{}", document_number(&order_id));
    app.erp().control(&path, json!({ "status": "Cancelled" }), 200).await;
    app.run_jobs_to_the_end().await;
    let order = app.order(&user, &order_id).await;
    assert_eq!(
        (&order["status"], &order["failure"]["code"]),
        (&json!("needs_attention"), &json!("provider.cancelled_there"))
    );
    assert_eq!(app.at_erp(&order_id).await["calls"]["create"], 1, "nothing is sent again by itself");
    app.finish().await;
}

#[tokio::test]
async fn what_was_sent_is_not_taken_back() {
    let app = TestApp::start().await;
    let (user, other) = (app.merchant().await, app.merchant().await);
    let refused = async |client_order_id: &str| {
        let answer = app.cancel(&user, client_order_id).await.expect(409);
        assert_eq!(answer.code(), "orders.not_cancellable", "{client_order_id}");
    };

    let unsent = app.sold(&user, "unsent").await;
    app.cancel(&other, "unsent").await.expect(404);
    let cancelled = app.cancel(&user, "unsent").await.expect(202).body;
    assert_eq!((&cancelled["status"], &cancelled["cancellation"]["status"]), (&json!("cancelled"), &json!("done")));
    app.run_jobs().await;
    assert!(app.at_erp(&unsent).await.is_null(), "nobody was called");
    app.cancel(&user, "unsent").await.expect(200);

    app.sold(&user, "placed").await;
    app.run_jobs().await;
    refused("placed").await;

    // Provably not executed, and waiting for its next attempt.
    let throttled = app.sold(&user, "throttled").await;
    app.erp_misbehaves(&throttled, "create", "429", Some(1)).await;
    app.run_jobs().await;
    app.cancel(&user, "throttled").await.expect(202);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &throttled).await["status"], "cancelled");
    assert_eq!(app.at_erp(&throttled).await["orders"], json!([]));

    // Nobody knows.
    let unclear = app.sold(&user, "unclear").await;
    app.erp_misbehaves(&unclear, "create", "drop_after_work", Some(1)).await;
    app.run_jobs().await;
    refused("unclear").await;
    app.run_jobs_to_the_end().await;
    refused("unclear").await;
    assert_eq!(app.order(&user, &unclear).await["cancellation"], Value::Null);

    // Given up, and not there.
    let given_up = app.sold(&user, "given-up").await;
    app.erp_misbehaves(&given_up, "create", "500", None).await;
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &given_up).await["status"], "needs_attention");
    app.cancel(&user, "given-up").await.expect(202);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &given_up).await["status"], "cancelled");

    // Given up, and there after all.
    let hidden = app.sold(&user, "hidden").await;
    app.erp_misbehaves(&hidden, "create", "drop_after_work", Some(1)).await;
    app.erp_misbehaves(&hidden, "look_up", "absent", None).await;
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&user, &hidden).await["status"], "needs_attention");
    app.erp().behave().await;
    app.cancel(&user, "hidden").await.expect(202);
    app.run_jobs_to_the_end().await;
    let order = app.order(&user, &hidden).await;
    assert_eq!(
        (&order["status"], &order["cancellation"]["status"]),
        (&json!("confirmed"), &json!("refused")),
        "{order}"
    );

    // Under way.
    let under_way = app.sold(&user, "under-way").await;
    let number = document_number(&under_way);
    app.erp().rule(json!({ "externalDocumentNumber": number, "mode": "ok", "latencyMs": 700 })).await;
    let worker = app.worker.clone();
    let attempt = tokio::spawn(async move { worker.run_due().await });
    eventually("the call is under way", SOON, async || app.at_erp(&under_way).await["calls"]["create"] == 1).await;
    refused("under-way").await;
    attempt.await.unwrap();
    assert_eq!(app.order(&user, &under_way).await["status"], "confirmed");
    app.finish().await;
}

#[tokio::test]
async fn a_worker_that_is_killed_between_sending_and_the_answer_places_it_once() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let order_id = app.sold(&user, "s-1").await;
    app.erp().rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 800, "times": 1 })).await;
    Launch::worker(&app, &[]).crash_at("sent").spawn().crash().await;
    eventually("the work is done", SOON, async || !app.at_erp(&order_id).await["orders"][0].is_null()).await;

    // Past the lease.
    app.later(60).await;
    app.run_jobs_to_the_end().await;

    let order = app.order(&user, &order_id).await;
    assert_eq!((&order["status"], &order["attempts"]), (&json!("confirmed"), &json!(1)), "{order}");
    let theirs = app.at_erp(&order_id).await;
    assert_eq!((&theirs["calls"]["create"], theirs["orders"].as_array().unwrap().len()), (&json!(1), 1));
    app.finish().await;
}

#[tokio::test]
async fn an_erp_sees_five_calls_at_once_and_ten_a_second_at_most_whoever_works() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    app.erp().rule(json!({ "mode": "ok", "latencyMs": 600 })).await;
    let mut sold = Vec::new();
    for number in 0..24 {
        sold.push(app.sold(&user, &format!("s-{number}")).await);
    }
    let workers = [Launch::worker(&app, &[]).start().await, Launch::worker(&app, &[]).start().await];
    eventually("all are placed", SOON, async || {
        app.all("orders", doc! { "status": "confirmed" }).await.len() == sold.len()
    })
    .await;
    for mut worker in workers {
        worker.terminate().await;
    }
    let traffic = app.erp().traffic().await["accounts"]["shop"].clone();
    assert_eq!(traffic["calls"], 24);
    let most = |of: &str| traffic[of].as_u64().unwrap();
    assert!((2..=5).contains(&most("atOnce")) && most("inASecond") <= 10, "{traffic}");
    app.finish().await;
}
