//! What letters say, over what really happens. How they are sent is in `mail.rs`.

use bson::doc;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::{
    checkout::cart,
    support::{
        TestApp, User, kyc,
        mailbox::Mailbox,
        receiver::{Receiver, Reply},
        unique,
    },
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

/// A cart of one piece for somebody called Test User.
fn cart_for(client_order_id: &str, product_id: &str, email: &str) -> Value {
    let mut body = cart(client_order_id, &[(product_id, 1)]);
    body["customer"] = json!({ "name": "Test User", "email": email });
    body
}

#[tokio::test]
async fn who_buys_and_who_sells_are_told_once_each() {
    let mailbox = Mailbox::open();
    let app = mailbox.app(&[]).await;
    let (seller, buyer, quiet) = (app.merchant().await, app.user(Role::Customer).await, app.user(Role::Customer).await);
    let (guest, product_id) = (unique("guest") + "@example.com", app.stocked(&seller, "W-1", 9).await);
    for user in [&buyer, &quiet] {
        app.credit(user, 100_000_000).await;
    }
    let no_orders = json!({ "orders": false });
    app.request(Method::PUT, "/auth/me/mail", Some(&quiet.token), Some(&no_orders)).await.expect(200);
    // Nine pieces go, most of them in one transaction, and the sixth makes it low.
    let names: Vec<_> = (1..=7).map(|number| format!("k-{number}")).collect();
    let bought = join_all(names.iter().map(|name| {
        let body = cart_for(name, &product_id, &buyer.email);
        let (app, buyer) = (&app, &buyer);
        async move { app.post(buyer, "/checkout", &body).await.expect(202).body }
    }))
    .await;
    app.post(&quiet, "/checkout", &cart_for("q-1", &product_id, &quiet.email)).await.expect(202);
    let mut elsewhere = cart_for("s-1", &product_id, &guest);
    elsewhere["payment"] = json!({ "method": "external", "paymentId": "p-1" });
    let outside = app.post(&seller, "/checkout", &elsewhere).await.expect(202).body;
    // One is taken back, and of five it is not known any more who bought, before anybody was told.
    app.post(&buyer, "/checkout/cancel", &json!({ "clientOrderId": "k-1" })).await.expect(202);
    for name in ["k-3", "k-4", "k-5", "k-6", "k-7"] {
        let erased = doc! { "customer": null, "shippingAddress": null };
        app.update_one("checkouts", doc! { "clientOrderId": name }, erased).await;
    }
    app.relay_and_run().await;

    let number = |checkout: &Value| checkout["orderNumber"].as_str().unwrap().to_owned();
    told(&mailbox, &buyer, "checkout-cancelled-mail", &[&number(&bought[0]), "back in the wallet"]).await;
    let parts = [&*number(&bought[1]), "1 x ", "(W-1)", "Hauptstr. 4", "10115 Berlin"];
    let paid = told(&mailbox, &buyer, "checkout-paid-mail", &parts).await;
    assert!(paid["headers"]["List-Unsubscribe"].as_str().unwrap().contains("/unsubscribe?token="));
    told(&mailbox, &buyer, "checkout-completed-mail", &[&number(&bought[1])]).await;
    // Nobody's account: told all the same, and why.
    let user = User { email: guest.clone(), ..buyer.clone() };
    let paid = told(&mailbox, &user, "checkout-paid-mail", &[&number(&outside), "was given for an order"]).await;
    assert!(paid["headers"].get("List-Unsubscribe").is_none(), "{paid}");
    assert_eq!(mailbox.mails_to(&quiet.email).await.len(), 0, "who wants no mail about orders gets none");
    // Seven are told of as sold: not what was taken back, nor what the merchant's own server checked out.
    let sold = mailbox.mails_about(&seller.email, "sale-mail").await;
    assert_eq!(sold.len(), 7);
    assert!(sold.iter().all(|mail| !mail["text"].as_str().unwrap().contains("Berlin")), "{sold:?}");
    let low = app.all("events", doc! { "type": "StockLow" }).await;
    assert_eq!(low.len(), 1, "once, though nine were bought: {low:?}");
    told(&mailbox, &seller, "stock-low-mail", &["(W-1)", "only 1 is left", "below 5"]).await;
    // What was not paid.
    let mut declined = cart_for("k-8", &product_id, &buyer.email);
    declined["payment"] = json!({ "method": "gateway" });
    let declined = app.post(&buyer, "/checkout", &declined).await.expect(202).body;
    let topup_id = app.pending(&seller, "t-1").await;
    let stored = app.all("checkouts", doc! { "clientOrderId": "k-8" }).await.remove(0);
    let payment = stored.get_document("payment").unwrap().get_str("gatewayPayment").unwrap();
    for failing in [payment, &*topup_id] {
        assert_eq!(app.tell(failing, "fail", json!({})).await, [200]);
    }
    app.relay_and_run().await;
    let parts = [&*number(&declined), "was not paid", "Nothing was paid for it"];
    told(&mailbox, &buyer, "checkout-payment-failed-mail", &parts).await;
    told(&mailbox, &seller, "topup-failed-mail", &["t-1", "500.00 INR", "nothing has reached your wallet"]).await;
    for collection in ["provider_request_logs", "provider_response_logs", "mails", "jobs", "events"] {
        let stored = format!("{:?}", app.all(collection, doc! {}).await);
        assert!(
            !["Test User", "Hauptstr", &*guest, &*buyer.email].iter().any(|word| stored.contains(word)),
            "{collection}"
        );
    }
    app.finish().await;
}
