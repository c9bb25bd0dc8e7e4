//! Endpoints: made, changed, listed and deleted by their owners alone, with secrets that are shown once.

use bson::doc;
use reqwest::Method;
use serde_json::json;
use waybill::platform::clock::Rfc3339Time;

use super::Posting;
use crate::support::receiver::Receiver;

#[tokio::test]
async fn an_endpoint_is_its_owners_and_its_secret_is_shown_once() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let body = json!({
        "url": receiver.url, "types": ["order.failed", "order.created", "order.failed"], "description": "The shop's own.",
    });
    let made = posting.post("/webhook-endpoints", body, 201).await;
    let path = format!("/webhook-endpoints/{}", made["endpointId"].as_str().unwrap());
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_") && secret.len() > 40, "{secret}");
    assert_eq!(made["types"], json!(["order.created", "order.failed"]));
    let shown = posting.get(&path).await;
    assert_eq!((&shown["status"], &shown["description"]), (&json!("enabled"), &json!("The shop's own.")));
    assert_eq!(posting.get("/webhook-endpoints").await["items"], json!([shown]));
    assert!(shown.get("secret").is_none());

    let changed = posting.patch(&path, json!({ "types": [], "description": null, "status": "disabled" }), 200).await;
    assert_eq!(
        (&changed["types"], &changed["description"], &changed["disabledReason"]),
        (&json!([]), &json!(null), &json!("owner"))
    );
    let again = posting.patch(&path, json!({ "status": "disabled" }), 200).await;
    assert_eq!(again["updatedAt"], changed["updatedAt"], "the same already");
    let rotated = posting.post(&format!("{path}/rotate-secret"), json!({ "graceHours": 1 }), 200).await;
    assert_ne!(rotated["secret"], secret);

    let stranger = posting.app.merchant().await;
    for (method, path, body) in [
        (Method::GET, path.clone(), None),
        (Method::PATCH, path.clone(), Some(json!({ "status": "enabled" }))),
        (Method::DELETE, path.clone(), None),
        (Method::POST, format!("{path}/rotate-secret"), Some(json!({}))),
        (Method::POST, format!("{path}/test"), None),
        (Method::POST, format!("{path}/replay"), Some(json!({ "from": shown["createdAt"] }))),
    ] {
        let answer = posting.app.request(method.clone(), &path, Some(&stranger.token), body.as_ref()).await.expect(404);
        assert_eq!(answer.code(), "webhooks.no_endpoint", "{method} {path}");
    }
    assert_eq!(posting.app.get(&stranger, "/webhook-endpoints").await.expect(200).body["items"], json!([]));

    posting.delete(&path, 204).await;
    posting.delete(&path, 404).await;
    let audited = posting.app.all("audit_events", doc! { "resourceType": "webhook_endpoint" }).await;
    let actions: Vec<_> = audited.iter().map(|event| event.get_str("action").unwrap()).collect();
    let all = ["created", "changed", "secret_rotated", "deleted"].map(|verb| format!("webhook_endpoint.{verb}"));
    assert_eq!(actions, all);
    for event in &audited {
        let told = event.to_string();
        assert!(!told.contains("whsec_") && !told.contains("/hook") && !told.contains("shop"), "{told}");
        assert_eq!(event.get_str("userId").unwrap(), posting.user.user_id);
    }
    posting.app.finish().await;
}

#[tokio::test]
async fn what_is_not_acceptable_is_named_and_there_are_twenty_at_most() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let app = &posting.app;
    for (body, blamed) in [
        (json!({}), vec!["url:required"]),
        (json!({ "url": "hook" }), vec!["url:format"]),
        (json!({ "url": "ftp://127.0.0.1/" }), vec!["url:format"]),
        (json!({ "url": "http://user:pass@127.0.0.1/" }), vec!["url:format"]),
        (json!({ "url": receiver.url, "types": ["order.eaten"] }), vec!["types[0]:unknown_value"]),
        (json!({ "url": receiver.url, "types": ["order.created", "webhook.test"] }), vec!["types[1]:unknown_value"]),
        (json!({ "url": receiver.url, "description": "x".repeat(201) }), vec!["description:length"]),
        (json!({ "url": receiver.url, "description": "key sk_live_51H8xQ2eZvKYlo2C" }), vec!["description:format"]),
        (json!({ "url": receiver.url, "secret": "mine" }), vec!["secret:unknown"]),
    ] {
        let refused = app.post(&posting.user, "/webhook-endpoints", &body).await.expect(422);
        assert_eq!(refused.blamed(), blamed, "{body}");
    }
    let (endpoint_id, _) = posting.endpoint(&receiver, &[]).await;
    let path = format!("/webhook-endpoints/{endpoint_id}");
    let at = |days: i64| {
        let at = app.app.clock.now().timestamp_millis() - days * 86_400_000;
        Rfc3339Time(bson::DateTime::from_millis(at)).to_string()
    };
    for (path, body, blamed) in [
        (format!("{path}/rotate-secret"), json!({ "graceHours": 169 }), "graceHours:range"),
        (format!("{path}/replay"), json!({ "from": at(31) }), "from:range"),
        (format!("{path}/replay"), json!({ "from": at(-1) }), "from:range"),
        (format!("{path}/replay"), json!({ "from": at(1), "to": at(2) }), "from:range"),
        (format!("{path}/replay"), json!({}), "from:required"),
    ] {
        assert_eq!(app.post(&posting.user, &path, &body).await.expect(422).blamed(), [blamed], "{path} {body}");
    }
    for _ in 1..20 {
        posting.endpoint(&receiver, &[]).await;
    }
    let body = json!({ "url": receiver.url });
    let refused = app.post(&posting.user, "/webhook-endpoints", &body).await.expect(409);
    assert_eq!(refused.code(), "webhooks.too_many_endpoints");
    posting.delete(&path, 204).await;
    posting.endpoint(&receiver, &[]).await;
    let other = app.merchant().await;
    app.post(&other, "/webhook-endpoints", &body).await.expect(201);
    posting.app.finish().await;
}

#[tokio::test]
async fn secrets_are_sealed_and_wrapped_again_under_a_new_key() {
    let (posting, receiver) = (Posting::start().await, Receiver::start().await);
    let (endpoint_id, secret) = posting.endpoint(&receiver, &[]).await;
    let stored = posting.app.all("webhook_endpoints", doc! {}).await.pop().unwrap();
    assert!(!stored.to_string().contains(&secret[6..20]), "{stored}");
    let uri = &posting.app.mongodb_uri;
    let (old, new) = ("0".repeat(64), "b".repeat(64));
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"))
        .args(["keys", "rotate"])
        .env("MONGODB_URI", uri)
        .env("SEALING_KEY", &new)
        .env("SEALING_KEY_PREVIOUS", &old)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rewrapped = posting.app.all("webhook_endpoints", doc! {}).await.pop().unwrap();
    assert_ne!(rewrapped.get_document("secrets").unwrap(), stored.get_document("secrets").unwrap());
    let beside = posting.app.beside(&["--webhook-allow-private=true", &format!("--sealing-key={new}")]).await;
    posting.ask(&format!("/webhook-endpoints/{endpoint_id}/test"), 202).await;
    while beside.worker.run_due().await > 0 {}
    assert!(receiver.received()[0].is_signed_by(&secret), "the new key alone opens it");
    posting.app.finish().await;
}
