//! Receivers that do anything but answer, and workers that are killed at a delivery's begin and end.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{FLAGS, Posting, errors};
use crate::support::{
    process::Launch,
    receiver::{Receiver, Reply},
};

#[tokio::test]
async fn only_a_2xx_within_the_deadline_counts_whatever_else_is_answered() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let (endpoint_id, _) = posting.endpoint(&receiver, &[]).await;
    let path = format!("/webhook-endpoints/{endpoint_id}");
    let raw = |text: &str| Reply::Raw(text.to_owned());
    let mut calls = 0;
    for (reply, status, http_status, error) in [
        (Reply::Status(204), "delivered", Some(204), "-"),
        (
            raw(
                "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            ),
            "pending",
            Some(302),
            "webhooks.redirected",
        ),
        (Reply::Status(400), "pending", Some(400), "webhooks.refused"),
        (Reply::Hang, "pending", None, "webhooks.timed_out"),
        (Reply::NeverRead, "pending", None, "webhooks.timed_out"),
        (Reply::Drop, "pending", None, "webhooks.connection_lost"),
        (raw("HTTP/1.1 200"), "pending", None, "webhooks.connection_lost"),
        (raw("no http at all\r\n\r\n"), "pending", None, "webhooks.connection_lost"),
        // The status is what counts, and of the rest little is read.
        (Reply::Bytes(10_000_000), "delivered", Some(200), "-"),
        (Reply::Drip, "delivered", Some(200), "-"),
        (raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut"), "delivered", Some(200), "-"),
        (
            raw("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnope"),
            "delivered",
            Some(200),
            "-",
        ),
        (raw("HTTP/1.1 503 Busy\r\ncontent-length: 100\r\n\r\ncut"), "pending", Some(503), "webhooks.refused"),
    ] {
        receiver.always(reply.clone());
        let began = Instant::now();
        let delivery = posting.ask(&format!("{path}/test"), 202).await;
        posting.app.worker.run_due().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{reply:?} took {:?}", began.elapsed());
        let delivery = posting.get(&format!("/webhook-deliveries/{}", delivery["deliveryId"].as_str().unwrap())).await;
        let attempt = &delivery["attempts"][0];
        assert_eq!((&delivery["status"], errors(&delivery)), (&json!(status), vec![error.to_owned()]), "{reply:?}");
        assert_eq!(attempt["httpStatus"], json!(http_status), "{reply:?}");
        calls += 1;
        // Everything that failed before is forgotten, so that nothing is held back.
        posting.patch(&path, json!({ "status": "disabled" }), 200).await;
        posting.patch(&path, json!({ "status": "enabled" }), 200).await;
    }
    let (requests, answers) = (posting.requests().await, posting.answers().await);
    // Of those that failed first, some may be tried again by now.
    assert!(requests.len() >= calls && requests.len() == answers.len(), "every call is on record and closed");
    let stored = answers.iter().map(|answer| bson::serialize_to_vec(answer).unwrap().len()).max().unwrap();
    assert!(stored < 4_000, "{stored} bytes of an answer are stored");
    posting.app.finish().await;
}

/// At least once, and under one id: who deduplicates by it gets it once.
#[tokio::test]
async fn a_worker_that_is_killed_in_a_delivery_leaves_it_to_the_next_one() {
    for point in ["claimed", "request_logged", "sent", "before_completion", "after_completion"] {
        let (posting, receiver) = (Posting::start().await, Receiver::start().await);
        let (endpoint_id, _) = posting.endpoint(&receiver, &[]).await;
        let flags = [FLAGS, &["--lease-ms=3100", "--heartbeat-ms=200", "--poll-ms=50"]].concat();
        posting.ask(&format!("/webhook-endpoints/{endpoint_id}/test"), 202).await;
        // A slow answer, so that it is killed with the call under way.
        receiver.does(move |nth| if point == "sent" && nth == 0 { Reply::Hang } else { Reply::Status(200) });
        let mut killed = Launch::worker(&posting.app, &flags).crash_at(point).spawn();
        killed.crash().await;
        let mut next = Launch::worker(&posting.app, &flags).start().await;
        crate::support::eventually("it is delivered", Duration::from_secs(30), async || {
            posting.delivery().await["status"] == "delivered"
        })
        .await;
        next.terminate().await;
        let received = receiver.received();
        let expected = match point {
            "claimed" | "request_logged" | "after_completion" => 1,
            _ => 2,
        };
        assert_eq!(received.len(), expected, "{point}");
        assert!(received.iter().all(|one| one.id() == received[0].id() && one.body == received[0].body), "{point}");
        assert_eq!(posting.requests().await.len(), posting.answers().await.len(), "{point}");
        posting.app.finish().await;
    }
}
