//! Whom and what a reading was about: found by the user, and kept by a hold on the order.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};
use serde_json::Value;
use waybill::platform::identity::Role;

use crate::support::{
    Answer, TestApp, User,
    retention::{AUDIT, THIRTY_DAYS, backdate, ids, verify},
    seals::seal_all,
};

/// Two merchants' orders, and everybody who looks at them.
struct Scene {
    app: TestApp,
    admin: User,
    auditor: User,
    finance: User,
    asha: User,
    /// Asha's, Asha's and Kiran's.
    orders: Vec<String>,
}

impl Scene {
    async fn set() -> Self {
        let app = TestApp::with(THIRTY_DAYS).await;
        let (admin, auditor, finance) =
            (app.admin().await, app.user(Role::Auditor).await, app.user(Role::Finance).await);
        let (asha, kiran) = (app.merchant().await, app.merchant().await);
        let mut orders = Vec::new();
        for (user, name) in [(&asha, "c-1"), (&asha, "c-2"), (&kiran, "c-1")] {
            orders.push(app.confirmed(user, name).await);
        }
        // The purge goes from the oldest seal to the first that is not old enough.
        backdate(&app, 50).await;
        seal_all(&app).await;
        Self { app, admin, auditor, finance, asha, orders }
    }

    async fn get(&self, path: &str) -> Value {
        self.read(path).await.body
    }

    async fn read(&self, path: &str) -> Answer {
        let reader = if path.starts_with("/finance") { &self.finance } else { &self.auditor };
        self.app.get(reader, path).await.expect(200)
    }

    /// What a record of a reading says that it was about: order and user.
    async fn about(&self, path: &str) -> (Option<String>, Option<String>) {
        let request = self.read(path).await.headers["x-request-id"].to_str().unwrap().to_owned();
        let read = doc! { "action": "request.read", "actor.requestId": request };
        let records = self.app.all(AUDIT, read).await;
        assert_eq!(records.len(), 1, "{path}");
        let after = records[0].get_document("after").unwrap();
        let text = |of: &Document, field: &str| of.get(field).and_then(Bson::as_str).map(str::to_owned);
        (text(after, "orderId"), text(&records[0], "userId"))
    }

    /// Paths under which the first order, and nothing but what is its, is read.
    async fn readings(&self) -> Vec<String> {
        let order = &self.orders[0];
        let calls = self.get(&format!("/audit/provider-requests?orderId={order}")).await;
        let request = calls["items"][0]["requestRefId"].as_str().unwrap();
        let response = calls["items"][0]["responses"][0]["responseRefId"].as_str().unwrap();
        let event = ids(&self.app, "events", doc! { "subjectId": order }).await.remove(0);
        let booked = ids(&self.app, "ledger_transactions", doc! { "referenceId": order }).await.remove(0);
        let mut paths = vec![
            format!("/audit/provider-requests?orderId={order}"),
            format!("/audit/provider-requests?userId={}&clientOrderId=c-1", self.asha.user_id),
            format!("/audit/provider-requests/{request}"),
            format!("/audit/provider-responses/{response}"),
            format!("/audit/orders/{order}"),
            format!("/audit/events?resourceId={order}"),
            format!("/audit/export?orderId={order}&userId={}", self.asha.user_id),
            format!("/finance/ledger?referenceId={order}"),
            format!("/finance/transactions/{booked}"),
        ];
        paths.extend([request, response, &event, &booked].map(|id| format!("/audit/proofs/{id}")));
        paths
    }
}

#[tokio::test]
async fn a_reading_names_the_order_and_whose_it_is() {
    let scene = Scene::set().await;
    let (asha, order) = (&scene.asha.user_id, &scene.orders[0]);
    let readings = scene.readings().await;
    for path in &readings {
        assert_eq!(scene.about(path).await, (Some(order.clone()), Some(asha.clone())), "{path}");
    }
    let nobody = format!("usr_{}", "0".repeat(32));
    for (path, about) in [
        (format!("/audit/provider-requests?userId={asha}"), (None, Some(asha.clone()))),
        (format!("/audit/provider-requests?userId={nobody}"), (None, Some(nobody.clone()))),
        (format!("/audit/events?userId={asha}"), (None, Some(asha.clone()))),
        (format!("/finance/wallets/{asha}"), (None, Some(asha.clone()))),
        (format!("/finance/ledger?userId={asha}"), (None, Some(asha.clone()))),
        (format!("/finance/ledger/export?userId={asha}"), (None, Some(asha.clone()))),
        // About several people's, or about nobody's.
        ("/audit/provider-requests".to_owned(), (None, None)),
        ("/audit/seals".to_owned(), (None, None)),
        ("/finance/trial-balance".to_owned(), (None, None)),
        ("/audit/provider-requests?orderId=999941057058".to_owned(), (None, None)),
    ] {
        assert_eq!(scene.about(&path).await, about, "{path}");
    }
    // Who looked at what is Asha's is found by asking for Asha.
    let page = scene.get(&format!("/audit/events?userId={asha}&action=request.read&limit=100")).await;
    let items = page["items"].as_array().unwrap();
    let found: BTreeSet<&str> = items.iter().map(|item| item["after"]["route"].as_str().unwrap()).collect();
    let expected = [
        "/audit/events",
        "/audit/export",
        "/audit/orders/{orderId}",
        "/audit/proofs/{recordId}",
        "/audit/provider-requests",
        "/audit/provider-requests/{requestRefId}",
        "/audit/provider-responses/{responseRefId}",
        "/finance/ledger",
        "/finance/ledger/export",
        "/finance/transactions/{transactionId}",
        "/finance/wallets/{userId}",
    ];
    assert!(found.iter().eq(expected.iter()), "{found:?}");
    scene.app.finish().await;
}

#[tokio::test]
async fn a_hold_on_an_order_keeps_the_records_of_who_read_it() {
    let scene = Scene::set().await;
    let app = &scene.app;
    let readings = scene.readings().await;
    for path in &readings {
        scene.about(path).await;
    }
    for path in ["/audit/events", "/audit/seals"] {
        scene.get(path).await;
    }
    scene.get(&format!("/audit/provider-requests?orderId={}", scene.orders[2])).await;
    backdate(app, 40).await;
    seal_all(app).await;
    let hold = app.hold(&scene.admin, "order", &scene.orders[0]).await.expect(201).body;
    let reads = doc! { "action": "request.read" };
    let before = ids(app, AUDIT, reads.clone()).await;
    let about = doc! { "action": "request.read", "$or": [
    { "after.orderId": &scene.orders[0] }, { "resourceId": &scene.orders[0] }] };
    let covered = ids(app, AUDIT, about).await;
    assert!(covered.len() > readings.len() && before.len() > covered.len() + 2, "{covered:?}");
    app.app.purger().unwrap().run().await.unwrap().unwrap();
    assert_eq!(ids(app, AUDIT, reads.clone()).await, covered, "those stay, and no others");
    assert_eq!(verify(app).await, Ok(()));
    app.release(&scene.admin, &hold).await.expect(200);
    app.app.purger().unwrap().run().await.unwrap().unwrap();
    assert_eq!(ids(app, AUDIT, reads).await, [""; 0]);
    seal_all(app).await;
    assert_eq!(verify(app).await, Ok(()));
    scene.app.finish().await;
}
