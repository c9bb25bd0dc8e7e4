//! Deliveries that fail: when they are made again, when they are given up, and that nobody else waits for them.

use std::time::{Duration, Instant};

use bson::doc;
use serde_json::json;

use super::{Posting, errors, wait_s};
use crate::support::receiver::{Receiver, Reply};

#[tokio::test]
async fn a_delivery_is_retried_by_the_schedule_and_then_given_up() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    posting.endpoint(&receiver, &["order.created"]).await;
    receiver.does(|nth| Reply::Status(if nth < 2 { 500 } else { 200 }));
    posting.app.created(&posting.user, "c-1").await;
    posting.run().await;
    for (attempts, schedule_s) in [(1, 5..=6), (2, 300..=330)] {
        let waiting = posting.delivery().await;
        assert_eq!(errors(&waiting), vec!["webhooks.refused"; attempts]);
        assert!(schedule_s.contains(&wait_s(&waiting)), "{waiting}");
        posting.run_after(*schedule_s.end() as u64 + 1).await;
    }
    let done = posting.delivery().await;
    assert_eq!((&done["status"], &done["nextAttemptAt"], errors(&done).len()), (&json!("delivered"), &json!(null), 3));
    let received = receiver.received();
    assert!(received.iter().all(|one| one.id() == received[0].id()), "one webhook-id");
    let stamps: Vec<i64> = received.iter().map(|one| one.header("webhook-timestamp").parse().unwrap()).collect();
    assert!(stamps[1] - stamps[0] >= 5 && stamps[2] - stamps[1] >= 300, "fresh time stamps: {stamps:?}");

    receiver.always(Reply::Status(404));
    posting.app.created(&posting.user, "c-2").await;
    posting.run().await;
    for hours in [1, 1, 1, 3, 6, 11, 16, 22, 27] {
        posting.run_after(hours * 3_600).await;
    }
    let given_up = posting.deliveries("status=failed").await.pop().expect("it is given up");
    assert_eq!((errors(&given_up).len(), &given_up["nextAttemptAt"]), (10, &json!(null)));
    assert_eq!(posting.requests().await.len(), 3 + 10);
    posting.app.finish().await;
}

#[tokio::test]
async fn an_endpoint_that_says_gone_or_fails_for_five_days_is_disabled() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let (gone, _) = posting.endpoint(&receiver, &["order.created"]).await;
    receiver.always(Reply::Status(410));
    posting.app.created(&posting.user, "c-1").await;
    posting.run().await;
    let shown = posting.get(&format!("/webhook-endpoints/{gone}")).await;
    assert_eq!((&shown["status"], &shown["disabledReason"]), (&json!("disabled"), &json!("gone")));
    assert_eq!((posting.delivery().await["status"].as_str(), receiver.received().len()), (Some("failed"), 1));
    let retry = format!("/webhook-deliveries/{}/retry", posting.delivery().await["deliveryId"].as_str().unwrap());
    assert_eq!(posting.ask(&retry, 409).await["code"], "webhooks.endpoint_disabled");
    posting.app.created(&posting.user, "c-2").await;
    posting.run().await;
    assert_eq!(posting.deliveries("").await.len(), 1, "nothing more is made for it");
    posting.delete(&format!("/webhook-endpoints/{gone}"), 204).await;
    assert_eq!(posting.ask(&retry, 409).await["code"], "webhooks.endpoint_deleted");

    let failing = Receiver::start().await;
    failing.always(Reply::Status(503));
    let (endpoint_id, _) = posting.endpoint(&failing, &["order.created"]).await;
    for day in 0..6 {
        posting.app.created(&posting.user, &format!("d-{day}")).await;
        posting.run().await;
        posting.run_after(86_400).await;
    }
    let shown = posting.get(&format!("/webhook-endpoints/{endpoint_id}")).await;
    assert_eq!((&shown["status"], &shown["disabledReason"]), (&json!("disabled"), &json!("failing")));
    posting.run_after(3 * 86_400).await;
    let deliveries = posting.deliveries(&format!("endpointId={endpoint_id}")).await;
    assert!(deliveries.iter().all(|delivery| delivery["status"] == "failed"), "{deliveries:?}");
    let events = posting.app.all("events", doc! { "type": "WebhookDisabled" }).await;
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.get_str("subjectId").unwrap(),
                event.get_document("data").unwrap().get_str("disabledReason").unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [(&*gone, "gone"), (&*endpoint_id, "failing")]);
    assert_eq!(posting.app.all("audit_events", doc! { "action": "webhook_endpoint.disabled" }).await.len(), 2);

    failing.always(Reply::Status(200));
    let path = format!("/webhook-endpoints/{endpoint_id}");
    let enabled = posting.patch(&path, json!({ "status": "enabled" }), 200).await;
    assert_eq!((&enabled["disabledReason"], &enabled["failingSince"]), (&json!(null), &json!(null)));
    posting.ask(&format!("{path}/test"), 202).await;
    posting.run().await;
    assert_eq!(posting.deliveries("status=delivered").await.len(), 1);
    posting.app.finish().await;
}

#[tokio::test]
async fn deliveries_to_a_disabled_or_deleted_endpoint_fail_uncalled() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    receiver.always(Reply::Status(500));
    let mut paths = Vec::new();
    for _ in 0..2 {
        let (endpoint_id, _) = posting.endpoint(&receiver, &["order.created"]).await;
        paths.push(format!("/webhook-endpoints/{endpoint_id}"));
    }
    posting.app.created(&posting.user, "c-1").await;
    posting.run().await;
    assert_eq!(receiver.received().len(), 2);
    posting.patch(&paths[0], json!({ "status": "disabled" }), 200).await;
    posting.delete(&paths[1], 204).await;
    posting.run_after(60).await;
    let mut last: Vec<_> =
        posting.deliveries("status=failed").await.iter().map(|delivery| errors(delivery).pop()).collect();
    last.sort();
    assert_eq!(last, [Some("webhooks.endpoint_deleted".into()), Some("webhooks.endpoint_disabled".into())]);
    assert_eq!(receiver.received().len(), 2);
    posting.app.finish().await;
}

#[tokio::test]
async fn retry_after_of_an_endpoint_is_kept_and_then_one_call_is_made() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let (endpoint_id, _) = posting.endpoint(&receiver, &["order.created"]).await;
    let busy = "HTTP/1.1 429 Busy\r\nretry-after: 120\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    receiver.always(Reply::Raw(busy.into()));
    posting.app.created(&posting.user, "c-0").await;
    posting.run().await;
    assert!((119..=121).contains(&wait_s(&posting.delivery().await)));
    for n in 1..4 {
        posting.app.created(&posting.user, &format!("c-{n}")).await;
    }
    posting.run_after(60).await;
    assert_eq!(receiver.received().len(), 1, "no other delivery goes there either");
    let held = posting.get(&format!("/webhook-endpoints/{endpoint_id}")).await;
    assert!(held["heldUntil"].is_string() && held["failingSince"].is_string(), "{held}");
    receiver.always(Reply::Status(500));
    posting.app.app.clock.advance(Duration::from_secs(61));
    posting.app.worker.run_due().await;
    assert_eq!(receiver.received().len(), 2, "one call finds out");
    receiver.always(Reply::Status(200));
    posting.run_after(400).await;
    assert_eq!(posting.deliveries("status=delivered").await.len(), 4, "and then all go");
    posting.app.finish().await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_no_other_and_few_calls_are_made_to_it() {
    let posting = Posting::with(&["--webhook-deadline-ms=1500", "--webhook-concurrency=12"]).await;
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.always(Reply::Hang);
    let (endpoint_id, _) = posting.endpoint(&hanging, &["order.created"]).await;
    posting.endpoint(&good, &["order.created"]).await;
    for n in 0..40 {
        posting.app.created(&posting.user, &format!("c-{n}")).await;
    }
    posting.relay.pass().await.unwrap();
    let worker = posting.app.start_worker();
    let began = Instant::now();
    crate::support::eventually("the good one has all", Duration::from_secs(30), async || good.received().len() == 40)
        .await;
    let took = began.elapsed();
    crate::support::eventually("calls are held back", Duration::from_secs(30), async || {
        posting.get(&format!("/webhook-endpoints/{endpoint_id}")).await["heldUntil"].is_string()
    })
    .await;
    worker.stop().await;
    assert!(hanging.at_once_max() <= 8, "{} at once", hanging.at_once_max());
    assert!(hanging.received().len() <= 12, "{} calls in vain", hanging.received().len());
    // The hanging one takes a second and a half for each call.
    assert!(took < Duration::from_secs(10), "{took:?}");
    let attempts: usize = posting
        .deliveries(&format!("endpointId={endpoint_id}"))
        .await
        .iter()
        .map(|delivery| delivery["attempts"].as_array().unwrap().len())
        .sum();
    assert_eq!(attempts, hanging.received().len(), "those that wait have used up nothing");

    hanging.always(Reply::Status(200));
    for _ in 0..3 {
        posting.run_after(400).await;
    }
    assert_eq!(posting.deliveries(&format!("endpointId={endpoint_id}&status=delivered")).await.len(), 40);
    posting.app.finish().await;
}

#[tokio::test]
async fn first_attempts_keep_the_order_of_events_and_retries_hold_up_none() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    posting.endpoint(&receiver, &["order.created", "order.confirmed", "order.cancelled"]).await;
    receiver.does(|nth| Reply::Status(if nth == 0 { 500 } else { 200 }));
    let order_id = posting.app.created(&posting.user, "c-1").await;
    posting.app.run_jobs().await;
    posting.app.cancel(&posting.user, "c-1").await.expect(202);
    posting.app.run_jobs().await;
    assert_eq!(posting.app.order(&posting.user, &order_id).await["status"], "cancelled");
    posting.run().await;
    assert_eq!(receiver.types(), ["order.created", "order.confirmed", "order.cancelled"]);
    posting.run_after(10).await;
    assert_eq!(receiver.types()[3..], ["order.created"], "its retry came behind");
    posting.app.finish().await;
}
