//! Numbers of persons and businesses are nowhere in the clear: not in the database, not in logs, not in answers to those
//! who have no business with them.

use std::time::Duration;

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::{identity::Role, ids::is_id};

use crate::{
    kyc_documents::{FORM, upload_of},
    support::{
        TestApp, User,
        drive::set,
        eventually, kyc,
        process::Launch,
        secrets::{Search, Secret},
    },
};

const PATIENCE: Duration = Duration::from_secs(60);
const QUEUE: &str = "kyc-verification-queue";

/// For the numbers of [`kyc::individual`] and [`kyc::company`].
fn search() -> Search {
    let numbers = [kyc::PAN, kyc::COMPANY_PAN, kyc::COMPANY_GSTIN, kyc::ACCOUNT_NUMBER, kyc::AADHAAR];
    Search::of(&numbers.map(|value| Secret { kind: "a number", value: value.to_owned() }))
}

/// None of the numbers is in these bytes.
#[track_caller]
fn expect_clean(what: &str, bytes: &[u8]) {
    search().expect_clean(what, bytes);
}

impl TestApp {
    /// Of an Aadhaar number only its end is kept, and what two persons with the same number don't share.
    async fn expect_random_reference(&self, user: &User, application: &Value) {
        let twin = self.newcomer().await;
        self.save(&twin, application.clone()).await.expect(200);
        let mut references = Vec::new();
        for user in [user, &twin] {
            let kept = self.stored_kyc(user).await.unwrap().get_document("aadhaar").unwrap().clone();
            assert_eq!(kept.keys().collect::<Vec<_>>(), ["last4", "reference"]);
            assert_eq!(kept.get_str("last4").unwrap(), &kyc::AADHAAR[8..]);
            references.push(kept.get_str("reference").unwrap().to_owned());
        }
        assert!(references.iter().all(|reference| is_id("adr", reference)) && references[0] != references[1]);
    }

    /// No answer to these requests has one of the numbers.
    async fn expect_clean_answers(&self, user: &User, paths: &[&str]) {
        for path in paths {
            expect_clean(path, self.get(user, path).await.expect(200).text.as_bytes());
        }
    }

    /// Answers to what is malformed repeat nothing of it.
    async fn send_what_is_malformed(&self, user: &User) {
        let number: Value = serde_json::from_str(kyc::AADHAAR).unwrap();
        for change in [
            json!({ "aadhaar": number }),
            json!({ "aadhaar": { "number": kyc::AADHAAR } }),
            json!({ "aadhaar": [kyc::AADHAAR] }),
            json!({ "aadhaar": format!("{}0", kyc::AADHAAR) }),
            json!({ "aadhaarNumber": kyc::AADHAAR, "panNumber": kyc::PAN }),
            json!({ "businessType": format!("expected {}", kyc::AADHAAR) }),
            json!({ "address": kyc::AADHAAR }),
            json!({ "pan": kyc::AADHAAR, "gstin": kyc::PAN }),
            json!({ "bankAccount": { "accountNumber": kyc::PAN, "ifsc": kyc::ACCOUNT_NUMBER } }),
            json!([kyc::AADHAAR, kyc::PAN]),
            json!(kyc::AADHAAR),
        ] {
            let answer = self.save(user, change.clone()).await.expect(422);
            expect_clean(&format!("the answer to {change}"), answer.text.as_bytes());
        }
        let whole = kyc::individual().to_string();
        for broken in
            [&whole[..whole.len() - 1], &whole.replace(':', ";"), &format!("{whole}x"), &whole.replace('"', "'")]
        {
            let answer = self.send(Method::PUT, "/kyc", Some(user), Some("application/json"), broken.to_owned()).await;
            expect_clean("the answer to broken JSON", answer.expect(400).text.as_bytes());
        }
        let text = self.send(Method::PUT, "/kyc", Some(user), Some("text/plain"), whole.clone()).await.expect(415);
        let anonymous = self.send(Method::PUT, "/kyc", None, Some("application/json"), whole).await.expect(401);
        let query = self.get(user, &format!("/kyc?aadhaar={0}&pan={1}", kyc::AADHAAR, kyc::PAN)).await.expect(422);
        let path = self.get(user, &format!("/kyc/documents/{}", kyc::AADHAAR)).await.expect(404);
        let nowhere = self.get(user, &format!("/kyc/{}/{}", kyc::AADHAAR, kyc::PAN)).await.expect(404);
        let kind = upload_of(kyc::AADHAAR, &format!("{}.pdf", kyc::AADHAAR), "application/pdf", kyc::PNG);
        let kind = self.send(Method::POST, "/kyc/documents", Some(user), Some(FORM), kind).await.expect(422);
        for answer in [text, anonymous, query, path, nowhere, kind] {
            expect_clean("an answer", answer.text.as_bytes());
        }
        // A name of a field is repeated to who sent it, and to nobody else.
        self.save(user, json!({ kyc::AADHAAR: true })).await.expect(422);
    }

    /// Fills in, with papers on which everything can be read, and hands in.
    async fn applies(&self, user: &User, application: &Value) {
        self.save(user, application.clone()).await.expect(200);
        let kinds = ["pan_card", "gst_certificate", "cancelled_cheque", "address_proof"];
        for kind in kinds.into_iter().filter(|kind| *kind != "gst_certificate" || application.get("gstin").is_some()) {
            let name = format!("{} {}.pdf", kyc::PAN, kyc::AADHAAR);
            let scan = kyc::pdf(&format!("{kind} {application}"));
            self.post_form(user, upload_of(kind, &name, "application/pdf", &scan)).await.expect(201);
        }
        self.submit(user).await.expect(202);
    }
}

fn spelled(pointer: &str, spelling: &str) -> Value {
    let mut application = kyc::individual();
    set(&mut application, pointer, json!(spelling));
    application
}

#[tokio::test]
async fn no_number_is_in_the_database_or_in_anybodys_view() {
    let app = TestApp::start().await;
    let (person, company, admin, auditor) =
        (app.newcomer().await, app.newcomer().await, app.admin().await, app.user(Role::Auditor).await);
    app.send_what_is_malformed(&person).await;
    app.applies(&person, &spelled("/aadhaar", "9999-4105-7058")).await;
    app.save(&company, spelled("/aadhaar", "9999 4105 7058")).await.expect(200);
    app.save(&company, json!({ "aadhaar": null })).await.expect(200);
    app.applies(&company, &kyc::company()).await;
    app.save(&company, kyc::company()).await.expect(409);
    app.run_jobs_to_the_end().await;
    // Both have the same account: a person decides about the second.
    for (user, state) in [(&person, "verified"), (&company, "under_review")] {
        assert_eq!(app.kyc(user).await["state"], state);
        app.credit(user, 1_000_000).await;
        app.expect_clean_answers(user, &["/kyc", "/kyc/documents"]).await;
        let review = format!("/kyc/applications/{}", user.user_id);
        app.expect_clean_answers(&auditor, &[&review]).await;
        let shown = app.get(&admin, &review).await.expect(200);
        assert!(shown.text.contains(kyc::ACCOUNT_NUMBER), "who reviews has to see it");
        assert!(!shown.text.contains(kyc::AADHAAR), "nobody has it");
    }
    app.expect_random_reference(&person, &kyc::individual()).await;
    let order_id = app.created(&person, "c-1").await;
    app.run_jobs().await;
    app.expect_clean_answers(&person, &[&format!("/orders/{order_id}/timeline"), &format!("/orders/{order_id}")]).await;
    app.expect_clean_answers(&admin, &["/queues", &format!("/queues/{QUEUE}/jobs"), "/kyc/applications"]).await;
    for job in app.all("jobs", doc! { "queue": QUEUE }).await {
        app.expect_clean_answers(&admin, &[&format!("/queues/jobs/{}", job.get_str("_id").unwrap())]).await;
    }
    let metrics = app.request(Method::GET, "/metrics", None, None).await;
    expect_clean("metrics", metrics.text.as_bytes());
    let logs = app.all("provider_request_logs", doc! { "provider": "idcheck" }).await;
    assert_eq!(logs.len(), 5);
    assert!(logs.iter().all(|log| !log.to_string().to_lowercase().contains("rao")), "names are personal too: {logs:?}");
    assert!(app.expect_clean_database(&search(), &[]).await > 50);
    app.finish().await;
}

#[tokio::test]
async fn a_provider_that_repeats_what_it_was_sent_gives_nothing_away() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    for (operation, mode) in [
        ("pan", "echo_pan"),
        ("gstin", "echo_pan"),
        ("penny_drop", "echo_pan"),
        ("pan", "unprocessable"),
        ("gstin", "truncated_after_work"),
        ("penny_drop", "odd_message"),
        ("any", "html"),
        ("any", "500"),
        ("any", "401"),
    ] {
        app.idcheck.misbehave(operation, mode, 2).await;
        let user = app.newcomer().await;
        app.applies(&user, &kyc::company()).await;
        app.run_jobs_to_the_end().await;
        app.idcheck.behave().await;
        app.expect_clean_answers(&user, &["/kyc"]).await;
        let left = app.kyc(&user).await["state"].clone();
        assert!(
            ["verified", "under_review", "needs_clarification"].contains(&left.as_str().unwrap()),
            "{mode}: {left}"
        );
    }
    app.expect_clean_answers(&admin, &["/queues", &format!("/queues/{QUEUE}/jobs?limit=100")]).await;
    app.expect_clean_database(&search(), &[]).await;
    app.finish().await;
}

#[tokio::test]
async fn a_process_that_logs_everything_logs_no_number() {
    let mut app = TestApp::start().await;
    let (person, company) = (app.newcomer().await, app.newcomer().await);
    let flags = ["--poll-ms=50", "--backoff-base-ms=50"];
    let mut process = Launch::all(&app, &flags).env("RUST_LOG", "trace").start().await;
    let ours = std::mem::replace(&mut app.base, process.base.clone());
    app.idcheck.misbehave("pan", "echo_pan", 1).await;
    app.idcheck.misbehave("penny_drop", "500", 1).await;
    app.send_what_is_malformed(&person).await;
    app.applies(&person, &spelled("/aadhaar", "9999 4105 7058")).await;
    eventually("the first one waits for a person", PATIENCE, async || {
        app.kyc(&person).await["state"] == "under_review"
    })
    .await;
    app.applies(&company, &kyc::company()).await;
    eventually("the second one, with the same account, too", PATIENCE, async || {
        app.kyc(&company).await["state"] == "under_review"
    })
    .await;
    // Sealed values that can't be opened are a fault of ours, and logged as one.
    let broken = app.newcomer().await;
    app.save(&broken, kyc::individual()).await.expect(200);
    let elsewhere = app.stored_kyc(&person).await.unwrap().get_document("pan").unwrap().clone();
    app.update_one("kyc_applications", doc! { "userId": &broken.user_id }, doc! { "pan": elsewhere }).await;
    app.save(&broken, kyc::individual()).await.expect(500);
    app.submit(&broken).await.expect(500);
    process.terminate().await;
    let log = process.log();
    assert!(log.contains("TRACE") && log.contains("request failed"), "it logs everything");
    expect_clean("the log", log.as_bytes());
    assert!(!log.contains("Asha Rao") && !log.contains("Blue Kite"), "names are personal too");
    app.expect_clean_database(&search(), &[]).await;
    app.base = ours;
    app.finish().await;
}
