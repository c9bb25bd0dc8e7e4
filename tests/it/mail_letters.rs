//! What letters say, over what really happens. How they are sent is in `mail.rs`.

use serde_json::{Value, json};

use crate::support::{
    TestApp, User, kyc,
    mailbox::Mailbox,
    receiver::{Receiver, Reply},
};

/// The only letter of this name that came for a user; both its texts hold these.
async fn told(mailbox: &Mailbox, user: &User, letter: &str, parts: &[&str]) -> Value {
    let mut mails = mailbox.mails_about(&user.email, letter).await;
    assert_eq!(mails.len(), 1, "{letter}: {mails:?}");
    let mail = mails.remove(0);
    for said in [&mail["text"], &mail["html"]].map(|said| said.as_str().unwrap().replace("&#x2f;", "/")) {
        for part in ["Hello Test User", "https://waybill.example"].iter().chain(parts) {
            assert!(said.contains(part), "{letter}: {part} in {said}");
        }
        assert!(!said.contains("{%") && !said.contains("{{"), "{said}");
    }
    mail
}

async fn applied(app: &TestApp, admin: &User, decision: Value) -> User {
    let user = app.applicant(&kyc::individual()).await;
    app.decide(admin, &user, &decision).await.expect(200);
    user
}

#[tokio::test]
async fn applicants_are_told_what_was_decided() {
    let mailbox = Mailbox::open();
    let app = mailbox.app(&[]).await;
    let admin = app.admin().await;
    let asked =
        json!([{ "field": "documents.address_proof", "code": "document.illegible", "reason": "It is <blurred>." }]);
    let approved = applied(&app, &admin, json!({ "decision": "approve", "reason": "Good." })).await;
    let rejected = applied(&app, &admin, json!({ "decision": "reject", "reason": "Not a business." })).await;
    let clarify = json!({ "decision": "clarify", "reason": "One more thing.", "requirements": asked });
    let clarified = applied(&app, &admin, clarify).await;
    app.relay_and_run().await;
    told(&mailbox, &approved, "kyc-verified-mail", &["is verified"]).await;
    told(&mailbox, &rejected, "kyc-rejected-mail", &["Not a business."]).await;
    let mail =
        told(&mailbox, &clarified, "kyc-needs-clarification-mail", &["documents.address_proof", "One more thing."])
            .await;
    assert!(mail["text"].as_str().unwrap().contains("It is <blurred>."));
    assert!(mail["html"].as_str().unwrap().contains("It is &lt;blurred&gt;."), "{}", mail["html"]);
    app.finish().await;
}

#[tokio::test]
async fn merchants_are_told_of_a_disabled_endpoint_and_of_an_order_in_doubt() {
    let mailbox = Mailbox::open();
    let app = mailbox.app(&["--webhook-allow-private=true", "--webhook-deadline-ms=400"]).await;
    let (user, receiver) = (app.merchant().await, Receiver::start().await);
    receiver.always(Reply::Status(410));
    let made = app.post(&user, "/webhook-endpoints", &json!({ "url": receiver.url, "types": ["topup.paid"] })).await;
    let endpoint_id = made.expect(201).body["endpointId"].as_str().unwrap().to_owned();
    let test = format!("/webhook-endpoints/{endpoint_id}/test");
    app.request(reqwest::Method::POST, &test, Some(&user.token), None).await.expect(202);
    app.relay_and_run().await;
    told(&mailbox, &user, "webhook-disabled-mail", &[&endpoint_id, "127.0.0.1", "it answered 410"]).await;

    app.misbehave_for("c-1", "create", "401", Some(1)).await;
    let order_id = app.created(&user, "c-1").await;
    app.relay_and_run().await;
    assert_eq!(app.order(&user, &order_id).await["status"], "needs_attention");
    let price = app.quote(&user).await;
    let price = format!("{}.{:02} INR", price / 100, price % 100);
    told(&mailbox, &user, "order-needs-attention-mail", &["c-1", &price, "stay set aside"]).await;
    app.finish().await;
}
