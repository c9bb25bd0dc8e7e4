//! Who is not verified creates no orders and tops nothing up; who is, does.

use std::process::Stdio;

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};
use waybill::platform::identity::Role;

use crate::{
    kyc_application::applicant_in,
    support::{
        Answer, JWT_SECRET, PASSWORD, TestApp, User,
        drive::{changed, closed_port},
        kyc, unique,
    },
};

/// What business writes.
const WRITTEN: [&str; 7] = ["orders", "topups", "jobs", "events", "holds", "ledger_transactions", "wallets"];

impl TestApp {
    /// Everything that business writes, as it is.
    async fn business(&self) -> Vec<(&'static str, Vec<Document>)> {
        let mut all = Vec::new();
        for collection in WRITTEN {
            all.push((collection, self.all(collection, doc! {}).await));
        }
        all
    }

    /// Neither an order nor a top-up; nothing of either is stored.
    async fn expect_shut(&self, user: &User, state: &str) {
        let before = self.business().await;
        let shown = self.kyc(user).await;
        for refused in [self.create(user, "c-1").await, self.request_topup(user, "t-1", 50_000).await] {
            let refused = refused.expect(403);
            assert_eq!((refused.code(), &refused.body["state"]), ("kyc.not_verified", &json!(state)));
            assert_eq!(refused.body["nextStep"], shown["nextStep"]);
            assert!(!refused.body["nextStep"].as_str().unwrap().is_empty());
        }
        assert_eq!(self.business().await, before, "{state}");
    }

    /// The ids that were refused are as good as new.
    async fn expect_open(&self, user: &User) {
        assert_eq!(self.kyc(user).await["state"], "verified");
        self.create(user, "c-1").await.expect(201);
        self.request_topup(user, "t-1", 50_000).await.expect(201);
        self.create(user, "c-1").await.expect(200);
        self.request_topup(user, "t-1", 50_000).await.expect(200);
    }

    async fn decided(&self, user: &User, decision: &str) {
        let body = json!({ "decision": decision, "reason": "As it is." });
        self.decide(&self.admin().await, user, &body).await.expect(200);
    }

    /// Brings an application to its good end, from wherever it is.
    async fn verify(&self, user: &User, state: &str) {
        match state {
            "not_started" | "draft" => {
                self.complete(user, &kyc::individual()).await;
                self.submit(user).await.expect(202);
            }
            "needs_clarification" => drop(self.submit(user).await.expect(202)),
            "under_review" => self.decided(user, "approve").await,
            "suspended" => self.decided(user, "reinstate").await,
            _ => {}
        }
        self.run_jobs_to_the_end().await;
    }
}

#[tokio::test]
async fn a_customer_tops_up_unverified_as_long_as_little_comes_together() {
    let app = TestApp::start().await;
    let email = format!("{}@example.com", unique("buyer"));
    let body = json!({ "email": email, "password": PASSWORD, "name": "Buyer", "role": "customer" });
    let tokens = app.request(Method::POST, "/auth/register", None, Some(&body)).await.expect(201).body;
    let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
    let buyer = User { user_id: text("userId"), email, token: text("accessToken") };
    assert_eq!(app.get(&buyer, "/auth/me").await.expect(200).body["role"], "customer");

    let refused = app.request_topup(&buyer, "t-1", 1_000_001).await.expect(403);
    assert_eq!(refused.code(), "topups.over_limit");
    assert_eq!(refused.body["limit"], json!({ "amount": 1_000_000, "currency": "INR" }));
    let euros = json!({ "clientTopupId": "t-3", "amount": { "amount": 1, "currency": "EUR" } });
    assert_eq!(app.post(&buyer, "/wallet/topups", &euros).await.expect(403).code(), "topups.over_limit");
    app.credit(&buyer, 600_000).await;
    app.request_topup(&buyer, "t-1", 400_001).await.expect(403);
    app.request_topup(&buyer, "t-1", 300_000).await.expect(201);
    // What may come of an open one counts.
    app.request_topup(&buyer, "t-2", 100_001).await.expect(403);
    app.request_topup(&buyer, "t-2", 100_000).await.expect(201);
    // What was acknowledged is replayed, whatever else there is by now.
    app.request_topup(&buyer, "t-1", 300_000).await.expect(200);
    assert_eq!(app.balance(&buyer).await, (600_000, 0));
    app.create(&buyer, "c-1").await.expect(403);
    let known = app.user(Role::Customer).await;
    app.app.grant_kyc(&known.user_id).await.unwrap();
    app.request_topup(&known, "t-1", 2_000_000).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn whoever_is_not_verified_waits_at_the_gate() {
    let app = TestApp::start().await;
    for state in ["not_started", "under_review", "needs_clarification", "suspended", "rejected", "submitted"] {
        let user = applicant_in(&app, state).await;
        app.credit(&user, 1_000_000).await;
        app.expect_shut(&user, state).await;
        if state == "rejected" {
            continue;
        }
        app.verify(&user, state).await;
        app.expect_open(&user).await;
        app.run_jobs().await;
    }
    app.finish().await;
}

#[tokio::test]
async fn a_draft_opens_no_gate_however_complete_it_is() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    app.credit(&user, 1_000_000).await;
    app.save(&user, json!({})).await.expect(200);
    app.expect_shut(&user, "draft").await;
    app.complete(&user, &kyc::individual()).await;
    app.expect_shut(&user, "draft").await;
    app.submit(&user).await.expect(202);
    app.expect_shut(&user, "submitted").await;
    app.run_jobs_to_the_end().await;
    app.expect_open(&user).await;
    // Somebody else's application is no ticket.
    app.expect_shut(&app.newcomer().await, "not_started").await;
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn a_state_that_nobody_knows_opens_no_gate() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for state in ["Verified", "verified ", "pre_verified", ""] {
        app.update_one("kyc_applications", doc! { "userId": &user.user_id }, doc! { "state": state }).await;
        let refused = app.create(&user, "c-1").await.expect(403);
        assert_eq!((refused.code(), &refused.body["state"]), ("kyc.not_verified", &json!("under_review")), "{state}");
    }
    app.update_one("kyc_applications", doc! { "userId": &user.user_id }, doc! { "state": "verified" }).await;
    app.create(&user, "c-1").await.expect(201);
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn what_was_acknowledged_stays_so_while_suspended() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let (first, second) = (app.created(&user, "c-1").await, app.confirmed(&user, "c-2").await);
    let topup_id = app.pending(&user, "t-1").await;
    let waiting = app.created(&user, "c-3").await;
    app.decided(&user, "suspend").await;
    for (name, order_id) in [("c-1", &first), ("c-2", &second), ("c-3", &waiting)] {
        let replay = app.create(&user, name).await.expect(200);
        assert_eq!(
            (&replay.headers["idempotent-replayed"], &replay.body["orderId"]),
            (&"true".parse().unwrap(), &json!(order_id))
        );
    }
    assert_eq!(app.request_topup(&user, "t-1", 50_000).await.expect(200).body["topupId"], json!(topup_id));
    let other = changed("c-1", "/shipment/weightGrams", json!(451));
    assert_eq!(app.post(&user, "/orders/create", &other).await.expect(422).code(), "orders.idempotency_mismatch");
    let refused = app.create(&user, "c-4").await.expect(403);
    assert_eq!((refused.code(), &refused.body["state"]), ("kyc.not_verified", &json!("suspended")));
    assert!(refused.body["detail"].as_str().unwrap().contains("suspended"), "{}", refused.text);
    assert_eq!(app.request_topup(&user, "t-2", 50_000).await.expect(403).code(), "kyc.not_verified");

    // What is under way comes to its end: parcels, payments, cancellations.
    app.run_jobs().await;
    assert_eq!(app.order(&user, &waiting).await["status"], "confirmed");
    app.tell(&topup_id, "pay", json!({})).await;
    assert_eq!(app.topup(&user, &topup_id).await["status"], "paid");
    app.cancel(&user, "c-2").await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.order(&user, &second).await["status"], "cancelled");
    app.decided(&user, "reinstate").await;
    app.create(&user, "c-4").await.expect(201);
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn from_the_moment_of_a_suspension_nothing_new_comes_in() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let admin = app.admin().await;
    let names: Vec<_> = (0..30).map(|n| format!("c-{n}")).collect();
    let creating = join_all(names.iter().map(|name| app.create(&user, name)));
    let suspending = async {
        let body = json!({ "decision": "suspend", "reason": "At once." });
        app.decide(&admin, &user, &body).await.expect(200);
        // Whoever asks after the answer is refused.
        app.create(&user, "late").await.expect(403);
    };
    let (answers, ()) = tokio::join!(creating, suspending);
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 201 | 403)), "{answers:?}");
    assert_eq!(app.all("orders", doc! {}).await.len(), created);
    assert_eq!(app.all("holds", doc! {}).await.len(), created);
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn without_required_verification_only_the_suspended_are_kept_out() {
    let app = TestApp::with(&["--kyc-required=false"]).await;
    let suspended = applicant_in(&app, "suspended").await;
    app.credit(&suspended, 1_000_000).await;
    app.create(&suspended, "c-1").await.expect(403);
    app.request_topup(&suspended, "t-1", 50_000).await.expect(403);
    for state in ["not_started", "rejected"] {
        let user = applicant_in(&app, state).await;
        app.credit(&user, 1_000_000).await;
        app.create(&user, "c-1").await.expect(201);
        app.request_topup(&user, "t-1", 50_000).await.expect(201);
        assert_eq!(app.kyc(&user).await["state"], state);
    }
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn form_comes_before_the_gate_and_the_gate_before_money() {
    let app = TestApp::start().await;
    let (unknown, poor) = (app.newcomer().await, app.merchant_with(0).await);
    let malformed = changed("c-1", "/shipment/consignee/pincode", json!("x"));
    let no_amount = json!({ "clientTopupId": "t-1", "amount": { "amount": 0, "currency": "INR" } });
    for user in [&unknown, &poor] {
        for (path, body) in [("/orders/create", &malformed), ("/wallet/topups", &no_amount)] {
            assert_eq!(app.post(user, path, body).await.expect(422).code(), "request.invalid");
        }
        app.post_text(user, "/orders/create", "{").await.expect(400);
    }
    assert_eq!(app.create(&unknown, "c-1").await.expect(403).code(), "kyc.not_verified");
    app.create(&poor, "c-1").await.expect(402);
    app.request_topup(&poor, "t-1", 50_000).await.expect(201);
    app.request(reqwest::Method::POST, "/orders/create", None, Some(&malformed)).await.expect(401);
    assert_eq!(app.create(&app.admin().await, "c-1").await.expect(403).code(), "auth.forbidden");
    app.run_jobs().await;
    app.finish().await;
}

/// `waybill user create`, as an operator runs it; what it prints last.
async fn create_user(app: &TestApp, email: &str, role: &str, more: &[&str]) -> Result<Value, String> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["user", "create", "--email", email, "--role", role]).args(more);
    // Redis is not needed.
    program.env("REDIS_URL", format!("redis://127.0.0.1:{}", closed_port())).env("JWT_SECRET", JWT_SECRET);
    program.env("MONGODB_URI", &app.mongodb_uri);
    // As in a container without a shell.
    program.args(["--password", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = program.spawn().unwrap();
    program.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).await.unwrap();
    let output = program.wait_with_output().await.unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let printed = String::from_utf8(output.stdout).unwrap();
    Ok(serde_json::from_str(printed.lines().last().unwrap()).unwrap())
}

#[tokio::test]
async fn an_operator_makes_users_that_are_ready_to_go() {
    let app = TestApp::start().await;
    let known = ["--kyc-verified", "--credit", "INR:1000000"];
    let user_of = |created: &Value, email: &str| User {
        user_id: created["userId"].as_str().unwrap().to_owned(),
        email: email.to_owned(),
        token: created["accessToken"].as_str().unwrap().to_owned(),
    };
    for _ in 0..2 {
        let email = format!("{}@example.com", unique("merchant"));
        let user = user_of(&create_user(&app, &email, "merchant", &known).await.unwrap(), &email);
        app.expect_open(&user).await;
        app.expect_kyc_history(&user, &["KycGranted"]).await;
        assert_eq!(app.save(&user, kyc::individual()).await.expect(409).code(), "kyc.field_locked");
        let again = create_user(&app, &email, "merchant", &known).await.unwrap_err();
        assert!(!again.is_empty());
        app.expect_kyc_history(&user, &["KycGranted"]).await;
    }
    for (role, may) in
        [(Role::Finance, "/finance/reconciliation"), (Role::Auditor, "/kyc/applications"), (Role::Admin, "/queues")]
    {
        for _ in 0..2 {
            let email = format!("{}@example.com", unique(role.as_str()));
            let user = user_of(&create_user(&app, &email, role.as_str(), &["--kyc-verified"]).await.unwrap(), &email);
            let own: Answer = app.get(&user, "/auth/me").await.expect(200);
            assert_eq!(own.body["role"], role.as_str());
            app.get(&user, may).await.expect(200);
        }
    }
    let email = format!("{}@example.com", unique("merchant"));
    // Where staff has to have a second factor, the token that is printed is good for getting one.
    let required = ["--staff-totp", "required"];
    let made = create_user(&app, &format!("{}@example.com", unique("auditor")), "auditor", &required).await.unwrap();
    assert_eq!(made["only"], "/auth/totp");
    let auditor = user_of(&made, "");
    assert_eq!(app.get(&auditor, "/kyc/applications").await.expect(403).code(), "auth.token_limited");
    app.post(&auditor, "/auth/totp", &json!({ "currentPassword": PASSWORD })).await.expect(200);
    let made = create_user(&app, &format!("{}@example.com", unique("merchant")), "merchant", &required).await.unwrap();
    assert_eq!(made["only"], Value::Null);

    let unknown = user_of(&create_user(&app, &email, "merchant", &known[1..]).await.unwrap(), &email);
    app.expect_shut(&unknown, "not_started").await;
    app.run_jobs().await;
    app.finish().await;
}
