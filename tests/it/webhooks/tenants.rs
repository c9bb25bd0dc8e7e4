//! Endpoints of tenants, and of merchants who are shut out.

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use super::{Posting, errors};
use crate::{
    support::{User, receiver::Receiver},
    tenants::{join, signed_in, tenant},
};

/// What was posted, as type, order and member.
fn posted(receiver: &Receiver) -> Vec<(String, String, Value)> {
    let told = |body: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&body["type"]), text(&body["data"]["orderId"]), body["data"]["userId"].clone())
    };
    receiver.received().iter().map(|posted| told(&posted.json())).collect()
}

async fn endpoints(posting: &Posting, user: &User) -> Vec<Value> {
    posting.app.get(user, "/webhook-endpoints").await.expect(200).body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_manager_has_what_members_do_in_the_tenant_posted_and_nothing_else() {
    let (posting, receiver, own) = (Posting::start().await, Receiver::start().await, Receiver::start().await);
    let app = &posting.app;
    let admin = app.admin().await;
    let (ours, theirs) = (tenant(app, &admin, "ours").await, tenant(app, &admin, "theirs").await);
    posting.run().await;
    posting.endpoint(&own, &["order.created"]).await;
    let member = join(app, &admin, &ours, &posting.user).await;
    let manager = join(app, &admin, &ours, &app.user(Role::Manager).await).await;
    let foreign = join(app, &admin, &theirs, &app.user(Role::Manager).await).await;
    let loner = app.user(Role::Manager).await;

    // A new tenant has a sample, however often it is made.
    let again = doc! { "state": "ready", "attempts": 0, "turn": "", "maxAttempts": 4 };
    app.update_one("jobs", doc! { "payload.handler": "tenant-sample-endpoint" }, again).await;
    posting.run().await;
    let samples = endpoints(&posting, &manager).await;
    assert_eq!(samples.len(), 1);
    let sample = &samples[0];
    let told = (&sample["status"], &sample["disabledReason"], &sample["tenantId"]);
    assert_eq!(told, (&json!("disabled"), &json!("sample"), &json!(ours)));
    let path = format!("/webhook-endpoints/{}", sample["endpointId"].as_str().unwrap());
    let on = json!({ "url": receiver.url, "types": ["order.created"], "status": "enabled" });
    app.request(Method::PATCH, &path, Some(&manager.token), Some(&on)).await.expect(200);

    let first = app.created(&member, "c-1").await;
    let stranger = app.merchant().await;
    app.created(&stranger, "c-1").await;
    posting.run().await;
    let of_first = ("order.created".to_owned(), first.clone(), json!(member.user_id));
    assert_eq!(posted(&receiver), std::slice::from_ref(&of_first));
    assert_eq!(posted(&own).len(), 1, "the member's own endpoint has it too");
    assert_eq!(posted(&own)[0].2, Value::Null, "who knows whose it is");
    let log =
        posting.requests().await.into_iter().find(|log| log.get_str("accountId").ok() == sample["endpointId"].as_str());
    assert_eq!(log.unwrap().get_str("userId").unwrap(), member.user_id, "it is about the member");

    // What the one sees, the other does not.
    let delivery = app.get(&manager, "/webhook-deliveries").await.expect(200).body["items"][0].clone();
    let delivery_path = format!("/webhook-deliveries/{}", delivery["deliveryId"].as_str().unwrap());
    app.get(&manager, &delivery_path).await.expect(200);
    for stranger in [&foreign, &member] {
        for path in [&path, &delivery_path] {
            app.get(stranger, path).await.expect(404);
        }
        app.request(Method::DELETE, &path, Some(&stranger.token), None).await.expect(404);
    }
    assert_eq!(endpoints(&posting, &foreign).await.len(), 1, "their own sample");
    assert_eq!(app.get(&foreign, "/webhook-events").await.expect(200).body["items"], json!([]));
    assert_eq!(app.get(&loner, "/webhook-endpoints").await.expect(404).code(), "webhooks.no_tenant");

    // Who leaves takes nothing along, and leaves what was done here.
    let leave = format!("/tenants/{ours}/members/{}", member.user_id);
    app.request(Method::DELETE, &leave, Some(&admin.token), None).await.expect(204);
    let moved = join(app, &admin, &theirs, &member).await;
    app.created(&moved, "c-2").await;
    app.cancel(&moved, "c-1").await.expect(202);
    posting.run().await;
    assert_eq!(posted(&receiver), std::slice::from_ref(&of_first));
    let kinds = |events: Value| -> Vec<String> {
        events["items"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    let ours_seen = kinds(app.get(&manager, "/webhook-events?limit=100").await.expect(200).body);
    assert_eq!(ours_seen, ["order.created", "order.confirmed", "order.cancellation_requested", "order.cancelled"]);
    let theirs_seen = kinds(app.get(&foreign, "/webhook-events?limit=100").await.expect(200).body);
    assert_eq!(theirs_seen, ["order.created", "order.confirmed"]);
    let replay = json!({ "from": sample["createdAt"] });
    app.post(&manager, &format!("{path}/replay"), &replay).await.expect(202);
    posting.run().await;
    assert_eq!(posted(&receiver), [of_first.clone(), of_first], "the tenant's, and no other's");
    let read = app.all("audit_events", doc! { "action": "request.read", "actor.id": &manager.user_id }).await;
    assert!(read.iter().any(|read| read.get_document("after").unwrap().get_str("route").unwrap() == "/webhook-events"));
    let changed =
        app.all("audit_events", doc! { "action": "webhook_endpoint.changed", "actor.id": &manager.user_id }).await;
    assert_eq!(changed[0].get_document("after").unwrap().get_str("tenantId").unwrap(), ours);
    posting.app.finish().await;
}

#[tokio::test]
async fn nothing_is_posted_for_a_merchant_who_is_disabled_until_it_is_replayed() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let (endpoint_id, _) = posting.endpoint(&receiver, &["order.created"]).await;
    let admin = posting.app.admin().await;
    posting.app.created(&posting.user, "c-1").await;
    let path = format!("/users/{}", posting.user.user_id);
    let disable = async |disabled: bool| {
        let body = json!({ "disabled": disabled });
        posting.app.request(Method::PATCH, &path, Some(&admin.token), Some(&body)).await.expect(200);
    };
    disable(true).await;
    posting.run().await;
    assert!(posting.requests().await.is_empty() && receiver.received().is_empty());
    disable(false).await;
    let user = signed_in(&posting.app, &posting.user).await;
    let posting = Posting { user, ..posting };
    let delivery = posting.delivery().await;
    assert_eq!(
        (&delivery["status"], errors(&delivery)),
        (&json!("failed"), vec!["webhooks.owner_disabled".to_owned()])
    );
    let endpoint = posting.get(&format!("/webhook-endpoints/{endpoint_id}")).await;
    assert_eq!((&endpoint["status"], &endpoint["failingSince"]), (&json!("enabled"), &Value::Null));
    let replay = json!({ "from": endpoint["createdAt"], "onlyFailed": true });
    posting.post(&format!("/webhook-endpoints/{endpoint_id}/replay"), replay, 202).await;
    posting.run().await;
    assert_eq!((posted(&receiver).len(), &posting.delivery().await["status"]), (1, &json!("delivered")));
    posting.app.finish().await;
}
