//! What follows from a paid checkout: one sale, one parcel, whoever is killed or refuses, and stock and money back once.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::{StreamExt, future::join_all, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use waybill::platform::identity::Role;

use crate::{
    checkout::cart,
    support::{
        Answer, TestApp, User,
        drive::set,
        eventually,
        process::Launch,
        seals::seal_all,
        stand::{Stand, document_number},
    },
};

const PRICE: i64 = 1_450_000;
/// On a starved machine the transaction that makes two orders takes longer than heart-beats of a short lease are apart, and conflicts with each.
const FAST: &[&str] = &["--poll-ms=50", "--backoff-base-ms=50", "--settling-delay-ms=200", "--lease-ms=10000"];
const SOON: Duration = Duration::from_secs(60);

fn settings() -> Value {
    json!({
        "erp": { "provider": "xapi" }, "carrier": { "provider": "parcelx", "service": "surface" },
        "pickup": {
            "name": "Kiran Stores", "phone": "+91 98123 45678", "email": null, "line1": "Plot 7", "line2": null,
            "city": "New Delhi", "state": "Delhi", "pincode": "110020", "country": "IN",
        },
    })
}

fn indian_cart(client_order_id: &str, lines: &[(&str, i64)]) -> Value {
    let mut body = cart(client_order_id, lines);
    body["shippingAddress"] = json!({ "phone": "98765 43210", "line1": "12 MG Road", "city": "Bengaluru",
        "pincode": "560001", "country": "IN" });
    body
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value}"))
}

fn statuses(checkout: &Value) -> (&str, Vec<&str>) {
    let parts = checkout["parts"].as_array().unwrap();
    (text(checkout, "/status"), parts.iter().map(|part| text(part, "/status")).collect())
}

impl TestApp {
    async fn set_up(&self, seller: &User, body: &Value) -> Answer {
        self.put(seller, "/fulfilment", body).await
    }

    /// A product that can be sent.
    async fn packed(&self, seller: &User, sku: &str, stock: i64) -> String {
        let product_id = self.stocked(seller, sku, stock).await;
        let parcel =
            json!({ "parcel": { "weightGrams": 400, "dimensionsCm": { "length": 10, "width": 10, "height": 8 } } });
        let path = format!("/products/{product_id}");
        self.request(Method::PATCH, &path, Some(&seller.token), Some(&parcel)).await.expect(200);
        product_id
    }

    async fn bought(&self, buyer: &User, client_order_id: &str, product_id: &str) -> String {
        let body = indian_cart(client_order_id, &[(product_id, 2)]);
        text(&self.post(buyer, "/checkout", &body).await.expect(202).body, "/checkoutId").to_owned()
    }

    async fn checkout(&self, user: &User, checkout_id: &str) -> Value {
        self.get(user, &format!("/checkouts/{checkout_id}")).await.expect(200).body
    }

    async fn checkout_events(&self, checkout_id: &str) -> Vec<String> {
        let events = self.all("events", doc! { "subjectId": checkout_id }).await;
        events.iter().map(|event| event.get_str("type").unwrap().to_owned()).collect()
    }

    /// Orders of a checkout as stored, and what each provider has of them.
    async fn carried_out(&self, checkout_id: &str) -> (Vec<Document>, usize) {
        let orders = self.all("orders", doc! { "checkoutId": checkout_id }).await;
        let mut alive = 0;
        for order in &orders {
            let id = order.get_str("_id").unwrap();
            let theirs = match order.get_str("provider").unwrap() {
                "xapi" => Stand::beside(&self.carrier, "xapi").orders_of(id).await,
                _ => self.carrier.shipments_of(id).await,
            };
            alive += theirs.iter().filter(|one| one["cancelled"] != true).count();
        }
        (orders, alive)
    }
}

#[tokio::test]
async fn a_paid_checkout_becomes_a_sale_and_a_parcel() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(10 * PRICE).await);
    let nothing = app.get(&seller, "/fulfilment").await.expect(200).body;
    assert_eq!(nothing, json!({ "erp": null, "carrier": null, "pickup": null, "updatedAt": null }));
    for (pointer, value, blamed) in [
        ("/erp/provider", json!("parcelx"), "erp.provider:kind"),
        ("/carrier/provider", json!("xapi"), "carrier.provider:kind"),
        ("/carrier/provider", json!("nobody"), "carrier.provider:unknown_value"),
        ("/pickup", Value::Null, "pickup:required"),
        ("/pickup/phone", json!("12"), "pickup.phone:format"),
        ("/pickup/state", json!("Kerala"), "pickup.state:pincode_differs"),
        ("/warehouse", json!({}), "warehouse:unknown"),
    ] {
        let mut body = settings();
        set(&mut body, pointer, value);
        let refused = app.set_up(&seller, &body).await.expect(422);
        assert_eq!(refused.blamed(), [blamed]);
    }
    let set_up = app.set_up(&seller, &settings()).await.expect(200).body;
    assert_eq!(text(&set_up, "/pickup/phone"), "9812345678");
    assert_eq!(app.set_up(&seller, &settings()).await.expect(200).body, set_up, "the same again is no change");
    assert_eq!(app.get(&seller, "/fulfilment").await.expect(200).body, set_up);
    let acts = app.all("audit_events", doc! { "action": "fulfilment.changed" }).await;
    assert!(acts.len() == 1 && !format!("{acts:?}").contains("Kiran"), "{acts:?}");

    let product_id = app.packed(&seller, "A-1", 5).await;
    let before = app.balance(&seller).await.0;
    let checkout_id = app.bought(&buyer, "k-1", &product_id).await;
    app.run_jobs().await;
    app.relay_and_run().await;
    let checkout = app.checkout(&seller, &checkout_id).await;
    assert_eq!(statuses(&checkout), ("completed", vec!["confirmed", "confirmed"]));
    let (orders, alive) = app.carried_out(&checkout_id).await;
    assert_eq!((orders.len(), alive), (2, 2));
    for (part, at) in [("erp", 0), ("carrier", 1)] {
        let shown = &checkout["parts"][at];
        assert_eq!((text(shown, "/part"), &shown["orderId"]), (part, &checkout["orders"][at]));
        let order = app.order(&seller, text(shown, "/orderId")).await;
        assert_eq!((text(&order, "/checkoutId"), text(&order, "/status")), (&*checkout_id, "confirmed"));
        assert_eq!(text(&order, "/clientOrderId"), format!("{checkout_id}:{part}"));
    }
    let parcel = app.order(&seller, text(&checkout, "/parts/1/orderId")).await;
    let shipment = &parcel["shipment"];
    assert_eq!((&shipment["weightGrams"], &shipment["dimensionsCm"]["height"]), (&json!(800), &json!(16)));
    assert_eq!((text(shipment, "/consignee/name"), text(shipment, "/consignee/phone")), ("Eva Muster", "9876543210"));
    let paid = before - app.balance(&seller).await.0;
    assert_eq!(json!(paid), parcel["charge"]["amount"], "the merchant pays for the parcel");
    assert_eq!(app.checkout_events(&checkout_id).await, ["CheckoutCreated", "CheckoutPaid", "CheckoutCompleted"]);
    // The ids are nobody else's; the merchant's own server may repeat the request, and not change it.
    let reserved = json!({ "clientOrderId": format!("{checkout_id}:other"), "provider": "parcelx",
        "shipment": crate::support::orders::order("c-1")["shipment"] });
    let refused = app.post(&seller, "/orders/create", &reserved).await.expect(422);
    assert_eq!(refused.blamed(), ["clientOrderId:reserved"]);
    let mut again = reserved;
    set(&mut again, "/clientOrderId", json!(format!("{checkout_id}:carrier")));
    let refused = app.post(&seller, "/orders/create", &again).await.expect(422);
    assert_eq!(refused.code(), "orders.idempotency_mismatch");
    let path = format!("/checkouts/{checkout_id}/fulfil");
    assert_eq!(app.post(&seller, &path, &Value::Null).await.expect(409).code(), "checkout.not_fulfillable");
    assert_eq!(app.post(&app.merchant().await, &path, &Value::Null).await.expect(404).code(), "checkout.not_found");

    // A merchant who is erased leaves no warehouse behind, neither in the settings nor in what was sent from there.
    seal_all(&app).await;
    let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["audit", "erase", "--reason", "Asked for.", "--user", &seller.user_id]);
    let output =
        program.env("MONGODB_URI", &app.mongodb_uri).env("SEALING_KEY", "0".repeat(64)).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let left = app.get(&seller, "/fulfilment").await.expect(200).body;
    assert_eq!((&left["pickup"], text(&left, "/carrier/provider")), (&Value::Null, "parcelx"));
    let parcel = app.order(&seller, text(&checkout, "/parts/1/orderId")).await;
    assert_eq!(
        (text(&parcel, "/shipment/pickup/line1"), text(&parcel, "/shipment/consignee/name")),
        ("erased", "Eva Muster")
    );
    for collection in app.db().list_collection_names().await.unwrap() {
        let stored = format!("{:?}", app.all(&collection, doc! {}).await);
        assert!(!["Kiran Stores", "9812345678", "Plot 7"].iter().any(|word| stored.contains(word)), "{collection}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_part_that_fails_is_told_and_sent_again() {
    let app = TestApp::start().await;
    // Too little for the parcel, and the ERP refuses.
    let (seller, buyer) = (app.merchant_with(100).await, app.customer(10 * PRICE).await);
    app.set_up(&seller, &settings()).await.expect(200);
    let product_id = app.packed(&seller, "A-1", 5).await;
    Stand::beside(&app.carrier, "xapi").rule(json!({ "operation": "create", "mode": "refuse", "times": 1 })).await;
    let checkout_id = app.bought(&buyer, "k-1", &product_id).await;
    app.relay_and_run().await;
    let checkout = app.checkout(&seller, &checkout_id).await;
    assert_eq!(statuses(&checkout), ("needs_attention", vec!["failed", "failed"]));
    assert_eq!(text(&checkout, "/parts/0/reason/code"), "provider.refused");
    assert_eq!(text(&checkout, "/parts/1/reason/code"), "wallet.insufficient_funds");
    // What the merchant lacks is no customer's business.
    let shown = app.checkout(&buyer, &checkout_id).await;
    assert_eq!((&shown["parts"][0]["reason"], &shown["parts"][1]["reason"]), (&Value::Null, &Value::Null));

    let finance = app.user(Role::Finance).await;
    let recharge = json!({ "clientReference": "f-1", "kind": "recharge", "userId": seller.user_id,
        "amount": { "amount": PRICE, "currency": "INR" }, "reason": "By transfer." });
    app.post(&finance, "/finance/transactions", &recharge).await.expect(201);
    let path = format!("/checkouts/{checkout_id}/fulfil");
    let again = join_all((0..4).map(|_| app.post(&seller, &path, &Value::Null))).await;
    let mut answers: Vec<_> = again.iter().map(|answer| answer.status.as_u16()).collect();
    answers.sort_unstable();
    assert_eq!(answers, [200, 200, 200, 202]);
    app.relay_and_run().await;
    let checkout = app.checkout(&seller, &checkout_id).await;
    assert_eq!(statuses(&checkout), ("completed", vec!["confirmed", "confirmed"]));
    let (orders, alive) = app.carried_out(&checkout_id).await;
    assert_eq!((orders.len(), alive), (3, 2), "the refused one, and its successor");
    let refused = orders.iter().find(|order| order.get_str("status").unwrap() == "failed").unwrap();
    assert_eq!(refused.get_str("replacedBy").unwrap(), text(&checkout, "/parts/0/orderId"));
    // An operator can't have the first one sent beside the second.
    let admin = app.user(Role::Admin).await;
    let retry = format!("/queues/jobs/{}/retry", refused.get_str("jobId").unwrap());
    app.post(&admin, &retry, &Value::Null).await.expect(409);
    assert_eq!(
        app.checkout_events(&checkout_id).await,
        ["CheckoutCreated", "CheckoutPaid", "CheckoutNeedsAttention", "CheckoutResumed", "CheckoutCompleted"]
    );
    app.finish().await;
}

#[tokio::test]
async fn what_is_known_to_nobody_is_found_and_not_placed_twice() {
    let app = TestApp::start().await;
    let (seller, buyer) = (app.merchant().await, app.customer(10 * PRICE).await);
    app.set_up(&seller, &settings()).await.expect(200);
    let product_id = app.packed(&seller, "A-1", 5).await;
    // The carrier has it, and its answer is lost.
    app.carrier.misbehave("create", "drop_after_work", 1).await;
    let checkout_id = app.bought(&buyer, "k-1", &product_id).await;
    app.run_jobs_to_the_end().await;
    app.relay_and_run().await;
    assert_eq!(statuses(&app.checkout(&seller, &checkout_id).await), ("completed", vec!["confirmed", "confirmed"]));
    assert_eq!(app.carried_out(&checkout_id).await.1, 2);

    // Who gets it is erased wherever it is.
    seal_all(&app).await;
    let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["audit", "erase", "--reason", "Asked for.", "--order", &checkout_id]);
    let output =
        program.env("MONGODB_URI", &app.mongodb_uri).env("SEALING_KEY", "0".repeat(64)).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    for collection in
        ["checkouts", "orders", "provider_request_logs", "provider_response_logs", "events", "audit_events"]
    {
        let stored = format!("{:?}", app.all(collection, doc! {}).await);
        let mut personal = ["Muster", "eva@example.com", "9876543210", "12 MG Road"].iter();
        assert!(!personal.any(|personal| stored.contains(personal)), "{collection}: {stored}");
    }
    let parcel = text(&app.checkout(&seller, &checkout_id).await, "/parts/1/orderId").to_owned();
    let parcel = app.order(&seller, &parcel).await;
    assert_eq!((text(&parcel, "/shipment/consignee/name"), text(&parcel, "/status")), ("erased", "confirmed"));
    app.finish().await;
}

#[tokio::test]
async fn cancelling_takes_the_parcel_back_with_stock_and_money() {
    let app = TestApp::start().await;
    let beside = app.beside(&[]).await;
    let (seller, buyer) = (app.merchant().await, app.customer(10 * PRICE).await);
    let mut carrier_only = settings();
    carrier_only["erp"] = Value::Null;
    app.set_up(&seller, &carrier_only).await.expect(200);
    let product_id = app.packed(&seller, "A-1", 8).await;
    let before = app.balance(&seller).await;
    let checkout_id = app.bought(&buyer, "k-1", &product_id).await;
    app.relay_and_run().await;
    assert_eq!(statuses(&app.checkout(&buyer, &checkout_id).await), ("completed", vec!["confirmed"]));
    let cancel = json!({ "clientOrderId": "k-1" });
    let asked = join_all((0..6).map(|n| {
        let (app, buyer, cancel) = (if n % 2 == 0 { &app } else { &beside }, &buyer, &cancel);
        async move { app.post(buyer, "/checkout/cancel", cancel).await }
    }));
    let asked = asked.await;
    let mut answers: Vec<_> = asked.iter().map(|answer| answer.status.as_u16()).collect();
    answers.sort_unstable();
    assert_eq!(answers, [200, 200, 200, 200, 200, 202]);
    assert_eq!(statuses(&asked[0].body), ("cancelling", vec!["cancelling"]));
    assert_eq!(app.stock_of(&buyer, &product_id).await, 6, "not before the carrier has given it back");
    app.relay_and_run().await;
    let checkout = app.checkout(&buyer, &checkout_id).await;
    assert_eq!(statuses(&checkout), ("cancelled", vec!["cancelled"]));
    assert_eq!((text(&checkout, "/payment/status"), text(&checkout, "/cancellation/status")), ("refunded", "done"));
    assert_eq!((app.stock_of(&buyer, &product_id).await, app.balance(&buyer).await), (8, (10 * PRICE, 0)));
    assert_eq!(app.balance(&seller).await, before);
    assert_eq!(app.carried_out(&checkout_id).await.1, 0);
    app.post(&buyer, "/checkout/cancel", &cancel).await.expect(200);

    // What was picked up stays.
    let checkout_id = app.bought(&buyer, "k-2", &product_id).await;
    app.relay_and_run().await;
    let order_id = text(&app.checkout(&seller, &checkout_id).await, "/orders/0").to_owned();
    let awb = text(&app.order(&seller, &order_id).await, "/reference").to_owned();
    app.carrier.set_status(&awb, "picked_up").await;
    app.post(&buyer, "/checkout/cancel", &json!({ "clientOrderId": "k-2" })).await.expect(202);
    app.relay_and_run().await;
    let checkout = app.checkout(&seller, &checkout_id).await;
    assert_eq!(statuses(&checkout), ("completed", vec!["confirmed"]));
    assert_eq!(text(&checkout, "/cancellation/status"), "refused");
    assert!(checkout["parts"][0]["reason"]["message"].is_string(), "{checkout}");
    assert_eq!((app.stock_of(&buyer, &product_id).await, app.balance(&buyer).await), (6, (8 * PRICE, 0)));

    // A sale that the ERP has is not given back, and nothing else is touched then.
    app.set_up(&seller, &settings()).await.expect(200);
    let checkout_id = app.bought(&buyer, "k-3", &product_id).await;
    app.relay_and_run().await;
    let refused = app.post(&buyer, "/checkout/cancel", &json!({ "clientOrderId": "k-3" })).await.expect(409);
    assert_eq!(refused.code(), "checkout.not_cancellable");
    assert_eq!(app.carried_out(&checkout_id).await.1, 2);
    beside.finish_unchecked().await;
    app.finish().await;
}

#[tokio::test]
async fn killed_anywhere_there_is_one_sale_and_one_parcel() {
    // How many workers get there, one after the other. Two at once: leases end where many processes have to share a core.
    let points =
        [("claimed", 2), ("request_logged", 1), ("sent", 1), ("before_completion", 2), ("after_completion", 2)];
    let all = stream::iter(points.into_iter().map(fulfilled_despite));
    all.buffer_unordered(2).collect::<Vec<()>>().await;
}

async fn fulfilled_despite((point, times): (&str, usize)) {
    let app = TestApp::with(FAST).await;
    let (seller, buyer) = (app.merchant().await, app.customer(10 * PRICE).await);
    app.set_up(&seller, &settings()).await.expect(200);
    let product_id = app.packed(&seller, "A-1", 5).await;
    let checkout_id = app.bought(&buyer, "k-1", &product_id).await;
    if point == "sent" {
        app.carrier.rule(json!({ "operation": "create", "mode": "ok", "latencyMs": 800, "times": 1 })).await;
    }
    for _ in 0..times {
        Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;
    }
    let mut workers = [Launch::worker(&app, FAST).start().await, Launch::worker(&app, FAST).start().await];
    eventually("it is completed", SOON, async || app.checkout(&seller, &checkout_id).await["status"] == "completed")
        .await;
    eventually("its jobs are done", SOON, async || {
        let open = doc! { "state": { "$in": ["ready", "active"] } };
        app.all("jobs", open).await.is_empty() && app.all("outbox", doc! {}).await.is_empty()
    })
    .await;
    for worker in &mut workers {
        worker.terminate().await;
    }
    let (orders, alive) = app.carried_out(&checkout_id).await;
    assert_eq!((orders.len(), alive), (2, 2), "{point}");
    let completed = app.checkout_events(&checkout_id).await;
    assert_eq!(completed.iter().filter(|kind| *kind == "CheckoutCompleted").count(), 1, "{point}");
    for order in &orders {
        let id = order.get_str("_id").unwrap();
        if order.get_str("provider").unwrap() == "xapi" {
            let theirs = Stand::beside(&app.carrier, "xapi").entry("orders", document_number(id)).await;
            assert_eq!(theirs["orders"].as_array().map(Vec::len), Some(1), "{point}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn a_cancellation_beside_two_workers_gives_back_once() {
    let app = TestApp::with(FAST).await;
    let (seller, buyer) = (app.merchant().await, app.customer(100 * PRICE).await);
    let mut carrier_only = settings();
    carrier_only["erp"] = Value::Null;
    app.set_up(&seller, &carrier_only).await.expect(200);
    let product_id = app.packed(&seller, "A-1", 100).await;
    let before = app.balance(&seller).await;
    let mut doomed = Launch::worker(&app, FAST).start().await;
    let mut worker = Launch::worker(&app, FAST).start().await;
    // At each step between payment and completion.
    let reached = async |checkout_id: &str, step: usize| match step {
        0 => true,
        1 => !app.all("orders", doc! { "checkoutId": checkout_id }).await.is_empty(),
        2 => app.carried_out(checkout_id).await.1 == 1,
        _ => app.checkout(&seller, checkout_id).await["status"] == "completed",
    };
    let checkouts = join_all((0..8).map(|n| {
        let (app, buyer, product_id, reached) = (&app, &buyer, &product_id, &reached);
        async move {
            let name = format!("k-{n}");
            let checkout_id = app.bought(buyer, &name, product_id).await;
            eventually("it is so far", SOON, async || reached(&checkout_id, n % 4).await).await;
            let answer = app.post(buyer, "/checkout/cancel", &json!({ "clientOrderId": name })).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            checkout_id
        }
    }));
    let checkouts = checkouts.await;
    doomed.kill().await;
    eventually("all are cancelled", SOON, async || {
        app.all("checkouts", doc! { "status": "cancelled" }).await.len() == checkouts.len()
    })
    .await;
    eventually("its jobs are done", SOON, async || {
        let open = doc! { "state": { "$in": ["ready", "active"] } };
        app.all("jobs", open).await.is_empty() && app.all("outbox", doc! {}).await.is_empty()
    })
    .await;
    worker.terminate().await;
    assert_eq!((app.stock_of(&buyer, &product_id).await, app.balance(&buyer).await), (100, (100 * PRICE, 0)));
    assert_eq!(app.balance(&seller).await, before);
    for checkout_id in &checkouts {
        assert_eq!(app.carried_out(checkout_id).await.1, 0);
        let events = app.checkout_events(checkout_id).await;
        assert_eq!(events.iter().filter(|kind| *kind == "CheckoutCancelled").count(), 1, "{events:?}");
    }
    app.finish().await;
}
