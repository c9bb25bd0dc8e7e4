//! What is delivered, to whom, in which order, and what people may do about it.

use bson::doc;
use serde_json::{Value, json};
use waybill::platform::{clock::Rfc3339Time, identity::Role};

use super::{Posting, errors};
use crate::support::receiver::{Receiver, Reply};

#[tokio::test]
async fn what_happens_to_an_order_arrives_signed_and_is_on_record() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let (endpoint_id, secret) = posting.endpoint(&receiver, &["order.created", "order.confirmed"]).await;
    let (stranger, elsewhere) = (posting.app.merchant().await, Receiver::start().await);
    posting.app.post(&stranger, "/webhook-endpoints", &json!({ "url": elsewhere.url })).await.expect(201);
    let order_id = posting.app.created(&posting.user, "c-1").await;
    posting.run().await;
    let received = receiver.received();
    assert_eq!(receiver.types(), ["order.created", "order.confirmed"], "in their order");
    let events = posting.app.all("events", doc! { "subjectId": &order_id }).await;
    let reference = posting.app.order(&posting.user, &order_id).await["reference"].clone();
    for (received, event) in received.iter().zip(&events) {
        assert!(received.is_signed_by(&secret) && !received.is_signed_by("whsec_AAAA"));
        assert_eq!(received.id(), event.get_str("_id").unwrap());
        assert_eq!(received.header("content-type"), "application/json");
        let at = Rfc3339Time(*event.get_datetime("at").unwrap()).to_string();
        assert_eq!(received.json()["timestamp"], at);
    }
    assert_eq!(
        received[1].json()["data"],
        json!({ "orderId": order_id, "clientOrderId": "c-1", "provider": "parcelx", "status": "confirmed", "reference": reference, "failureCode": null })
    );
    assert!(elsewhere.types().iter().all(|kind| kind.starts_with("kyc.")), "of the stranger's own only");

    let deliveries = posting.deliveries(&format!("endpointId={endpoint_id}&status=delivered")).await;
    assert_eq!(deliveries.len(), 2);
    let delivery = &deliveries[0];
    assert_eq!((&delivery["type"], &delivery["eventId"]), (&json!("order.created"), &json!(received[0].id())));
    assert_eq!((&delivery["attempts"][0]["httpStatus"], errors(delivery)), (&json!(200), vec!["-".to_owned()]));
    let path = format!("/webhook-deliveries/{}", delivery["deliveryId"].as_str().unwrap());
    assert_eq!(&posting.get(&path).await, delivery);
    for path in [path.clone(), format!("{path}/retry")] {
        let method = if path.ends_with("retry") { reqwest::Method::POST } else { reqwest::Method::GET };
        let answer = posting.app.request(method, &path, Some(&stranger.token), None).await.expect(404);
        assert_eq!(answer.code(), "webhooks.no_delivery");
    }
    assert_eq!(
        posting.app.get(&stranger, &format!("/webhook-deliveries?endpointId={endpoint_id}")).await.body["items"],
        json!([])
    );

    let auditor = posting.app.user(Role::Auditor).await;
    let found = format!("/audit/provider-requests?provider=webhooks&userId={}", posting.user.user_id);
    let found = posting.app.get(&auditor, &found).await.expect(200).body;
    assert_eq!(found["items"].as_array().unwrap().len(), 2, "{found}");
    let of_user = doc! { "provider": "webhooks", "userId": &posting.user.user_id };
    let request = &posting.app.all("provider_request_logs", of_user).await[0];
    assert_eq!(request.get_str("resourceId").unwrap(), delivery["deliveryId"]);
    assert_eq!(request.get_document("headers").unwrap().get_str("webhook-signature").unwrap(), "[credential]");
    assert!(!request.get_str("url").unwrap().contains("hook"), "{request}");
    assert_eq!(request.get_document("body").unwrap().get_str("type").unwrap(), "order.created");
    let policy = posting.app.get(&auditor, "/audit/redaction-policy").await.body;
    assert!(policy["operations"].as_array().unwrap().iter().any(|entry| entry["operation"] == "deliver_event"));
    posting.app.finish().await;
}

#[tokio::test]
async fn while_a_secret_rotates_both_sign() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let (endpoint_id, first) = posting.endpoint(&receiver, &[]).await;
    let path = format!("/webhook-endpoints/{endpoint_id}");
    let rotated = posting.post(&format!("{path}/rotate-secret"), json!({ "graceHours": 2 }), 200).await;
    let second = rotated["secret"].as_str().unwrap();
    let test = posting.ask(&format!("{path}/test"), 202).await;
    posting.run().await;
    let received = receiver.received().pop().unwrap();
    assert!(received.is_signed_by(&first) && received.is_signed_by(second));
    assert_eq!(
        (received.json()["type"].as_str(), received.id()),
        (Some("webhook.test"), test["eventId"].as_str().unwrap())
    );
    assert_eq!(received.json()["data"], json!({ "endpointId": endpoint_id }));
    posting.app.app.clock.advance(std::time::Duration::from_secs(2 * 3_600 + 1));
    posting.ask(&format!("{path}/test"), 202).await;
    posting.run().await;
    let received = receiver.received().pop().unwrap();
    assert!(!received.is_signed_by(&first) && received.is_signed_by(second));
    posting.app.finish().await;
}

#[tokio::test]
async fn a_delivery_retried_by_a_person_has_the_same_id_and_bytes() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    posting.endpoint(&receiver, &["order.created"]).await;
    receiver.does(|nth| Reply::Status(if nth == 0 { 500 } else { 200 }));
    posting.app.created(&posting.user, "c-1").await;
    posting.run().await;
    let waiting = posting.delivery().await;
    assert_eq!((&waiting["status"], errors(&waiting)), (&json!("pending"), vec!["webhooks.refused".to_owned()]));
    let retry = format!("/webhook-deliveries/{}/retry", waiting["deliveryId"].as_str().unwrap());
    posting.ask(&retry, 202).await;
    posting.run().await;
    assert_eq!(posting.delivery().await["status"], "delivered", "now rather than later");
    let again = posting.ask(&retry, 202).await;
    assert_eq!(again["status"], "pending");
    posting.run().await;
    let received = receiver.received();
    assert_eq!(received.len(), 3, "delivered again");
    assert!(received.iter().all(|one| (one.id(), &one.body) == (received[0].id(), &received[0].body)));
    let done = posting.delivery().await;
    assert_eq!((&done["status"], errors(&done).len()), (&json!("delivered"), 3));
    posting.app.finish().await;
}

#[tokio::test]
async fn a_range_of_time_is_replayed_whole_or_only_what_failed() {
    let (posting, receiver) = (Posting::with(&["--webhook-retries-ms=1000"]).await, Receiver::start().await);
    let from = Rfc3339Time(posting.app.app.clock.now()).to_string();
    for n in 0..3 {
        posting.app.created(&posting.user, &format!("c-{n}")).await;
    }
    posting.run().await;
    let (endpoint_id, _) = posting.endpoint(&receiver, &["order.created"]).await;
    let path = format!("/webhook-endpoints/{endpoint_id}");
    receiver.does(|nth| Reply::Status(if nth % 2 == 0 { 500 } else { 200 }));
    posting.post(&format!("{path}/replay"), json!({ "from": from }), 202).await;
    let refused =
        posting.app.post(&posting.user, &format!("{path}/replay"), &json!({ "from": from })).await.expect(409);
    assert_eq!(refused.code(), "webhooks.replay_under_way");
    posting.run().await;
    receiver.always(Reply::Status(500));
    for _ in 0..3 {
        posting.run_after(10).await;
    }
    let of =
        |deliveries: &[Value], status: &str| deliveries.iter().filter(|delivery| delivery["status"] == status).count();
    let deliveries = posting.deliveries("").await;
    let (failed, delivered) = (of(&deliveries, "failed"), of(&deliveries, "delivered"));
    assert!(failed > 0 && failed + delivered == 3, "what happened before there was the endpoint: {deliveries:?}");

    receiver.always(Reply::Status(200));
    let before = receiver.received().len();
    posting.post(&format!("{path}/replay"), json!({ "from": from, "onlyFailed": true }), 202).await;
    posting.run().await;
    assert_eq!(receiver.received().len() - before, failed);
    posting.post(&format!("{path}/replay"), json!({ "from": from }), 202).await;
    posting.run().await;
    assert_eq!(receiver.received().len() - before, failed + 3, "all of them again");
    assert_eq!(of(&posting.deliveries("").await, "delivered"), 3, "each is one delivery");
    assert_eq!(posting.get(&path).await["replay"], json!(null));
    posting.app.finish().await;
}

#[tokio::test]
async fn events_are_listed_for_who_would_rather_ask() {
    let posting = Posting::start().await;
    let from = Rfc3339Time(posting.app.app.clock.now()).to_string().replace('+', "%2B");
    posting.app.confirmed(&posting.user, "c-1").await;
    let all = posting.get(&format!("/webhook-events?from={from}")).await;
    let types: Vec<_> = all["items"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!((types, &all["nextCursor"]), (vec!["order.created", "order.confirmed"], &json!(null)));
    let first = posting.get(&format!("/webhook-events?from={from}&limit=1")).await;
    let next = first["nextCursor"].as_str().unwrap();
    let second = posting.get(&format!("/webhook-events?from={from}&limit=1&cursor={next}")).await;
    assert_eq!(second["items"][0], all["items"][1]);
    let stranger = posting.app.merchant().await;
    let theirs = posting.app.get(&stranger, "/webhook-events?limit=100").await.expect(200).body;
    assert!(!theirs.to_string().contains("order."), "{theirs}");
    posting.app.finish().await;
}
