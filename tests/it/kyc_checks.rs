//! What the verification provider may answer, and what becomes of the application.

use std::time::Duration;

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, User, drive::closed_port, kyc};

/// Hanging is not long, and nothing comes due again because the machine is slow.
const QUICK: &[&str] = &["--call-deadline-ms=1500", "--backoff-base-ms=60000"];
/// Longer than anything is put off that uses up no attempt.
const DEFERRED: Duration = Duration::from_secs(25 * 3600);

/// Operation, what the stand-in does, where that leads, and what the merchant is asked to change.
type Row = (&'static str, &'static str, &'static str, Option<(&'static str, &'static str)>);

const FINDINGS: &[Row] = &[
    ("pan", "ok", "verified", None),
    ("pan", "invalid", "needs_clarification", Some(("pan", "pan.invalid"))),
    ("pan", "inactive", "needs_clarification", Some(("pan", "pan.inactive"))),
    ("pan", "unprocessable", "under_review", None),
    ("pan", "echo_pan", "under_review", None),
    ("pan", "no_name", "under_review", None),
    ("pan", "name_mismatch", "under_review", None),
    ("gstin", "ok", "verified", None),
    ("gstin", "invalid", "needs_clarification", Some(("gstin", "gstin.not_found"))),
    ("gstin", "inactive", "needs_clarification", Some(("gstin", "gstin.cancelled"))),
    ("gstin", "suspended", "needs_clarification", Some(("gstin", "gstin.suspended"))),
    ("gstin", "unprocessable", "under_review", None),
    ("gstin", "echo_pan", "under_review", None),
    ("gstin", "no_name", "under_review", None),
    ("gstin", "name_mismatch", "under_review", None),
    ("penny_drop", "ok", "verified", None),
    ("penny_drop", "invalid", "needs_clarification", Some(("bankAccount", "bank.account_not_found"))),
    ("penny_drop", "inactive", "needs_clarification", Some(("bankAccount", "bank.account_blocked"))),
    ("penny_drop", "blocked", "needs_clarification", Some(("bankAccount", "bank.account_blocked"))),
    ("penny_drop", "nre", "needs_clarification", Some(("bankAccount", "bank.nre_account"))),
    ("penny_drop", "unprocessable", "needs_clarification", Some(("bankAccount", "bank.invalid_account"))),
    ("penny_drop", "odd_message", "under_review", None),
    ("penny_drop", "echo_pan", "under_review", None),
    ("penny_drop", "no_name", "under_review", None),
    ("penny_drop", "name_mismatch", "under_review", None),
];

/// Operation, what the stand-in does, and the code under which that is logged: nothing that can be judged.
fn faults() -> Vec<(&'static str, &'static str, &'static str)> {
    let everywhere = [
        ("500", "provider.server_error"),
        ("500_after_work", "provider.server_error"),
        ("hang_after_work", "exchange.timed_out"),
        ("drop", "exchange.connection_lost"),
        ("drop_after_work", "exchange.connection_lost"),
        ("429", "provider.throttled"),
        ("html", "provider.not_json"),
        ("truncated_after_work", "provider.not_json"),
        ("wrong_reference", "provider.wrong_reference"),
        ("huge", "exchange.answer_too_large"),
    ];
    let of_banks = [("bank_offline", "bank.offline"), ("npci_unavailable", "bank.network_unavailable")];
    let mut faults = of_banks.map(|(mode, code)| ("penny_drop", mode, code)).to_vec();
    for operation in ["pan", "gstin", "penny_drop"] {
        faults.extend(everywhere.map(|(mode, code)| (operation, mode, code)));
    }
    faults
}

/// Companies that have handed in, one for every fault.
async fn afflicted(app: &TestApp, times: Option<u32>) -> Vec<(User, &'static str, String)> {
    let mut afflicted = Vec::new();
    for (operation, mode, code) in faults() {
        let user = app.applicant(&kyc::company()).await;
        app.check_misbehaves(&user, operation, mode, times).await;
        afflicted.push((user, code, format!("{operation} {mode}")));
    }
    afflicted
}

/// Asserts on the stand-in's books: so many rupees, never two under one reference.
async fn expect_deposits(app: &TestApp, expected: usize) {
    let deposits = app.idcheck.books().await["deposits"].clone();
    assert_eq!(deposits, json!({ "done": expected, "repeated": [] }));
}

#[tokio::test]
async fn every_finding_leads_where_it_should() {
    let app = TestApp::start().await;
    let mut applicants = Vec::new();
    for (operation, mode, ..) in FINDINGS {
        let user = app.applicant(&kyc::company()).await;
        app.check_misbehaves(&user, operation, mode, Some(1)).await;
        applicants.push(user);
    }
    app.run_jobs().await;
    for ((operation, mode, state, asked), user) in FINDINGS.iter().zip(&applicants) {
        let (shown, context) = (app.kyc(user).await, format!("{operation} {mode}"));
        assert_eq!(shown["state"], *state, "{context}: {shown}");
        let requirements = shown["requirements"].as_array().unwrap();
        let asked_of = |requirement: &Value| {
            assert!(requirement["reason"].as_str().unwrap().len() > 10, "{context}: {requirement}");
            [requirement["field"].clone(), requirement["code"].clone()]
        };
        let asked: Vec<_> = asked.iter().map(|(field, code)| [json!(field), json!(code)]).collect();
        assert_eq!(requirements.iter().map(asked_of).collect::<Vec<_>>(), asked, "{context}");
        assert!(!shown.to_string().contains("VIKRAM"), "{context}: a register's name is not the merchant's business");
        assert_eq!(app.answers_about(user).await.len(), 3, "{context}: whatever one finds, the others are made");
        let job = app.kyc_job(user).await;
        assert_eq!(job.get_str("state").unwrap(), "done", "{context}");
        let second = match *state {
            "verified" => "KycVerified",
            "under_review" => "KycReferred",
            _ => "KycClarificationNeeded",
        };
        assert_eq!(app.kyc_event_types(user).await.split_off(5), ["KycSubmitted", second], "{context}");
    }
    let books = app.idcheck.books().await;
    assert_eq!((&books["references"], &books["conflicts"]), (&json!(3 * FINDINGS.len()), &json!(0)));
    app.finish().await;
}

#[tokio::test]
async fn whatever_goes_wrong_on_the_way_is_asked_again() {
    let app = TestApp::with(QUICK).await;
    let afflicted = afflicted(&app, Some(1)).await;
    app.run_jobs_to_the_end().await;
    for (user, code, context) in &afflicted {
        assert_eq!(app.kyc_state(user).await, "verified", "{context}");
        let answers = app.answers_about(user).await;
        assert!(answers.iter().flatten().any(|said| said == code), "{context}: {answers:?}");
        assert!(answers.len() >= 4 && answers.last() == Some(&None), "{context}: {answers:?}");
    }
    expect_deposits(&app, afflicted.len()).await;
    app.finish().await;
}

#[tokio::test]
async fn what_never_behaves_is_left_to_a_person_and_run_again_by_an_operator() {
    let app = TestApp::with(&[QUICK, &["--max-attempts=2"]].concat()).await;
    let admin = app.admin().await;
    let afflicted = afflicted(&app, None).await;
    // While nothing but misbehaviour is seen, one probe is made at a time.
    for _ in 0..300 {
        app.run_jobs().await;
        if app.all("kyc_applications", doc! { "state": "submitted" }).await.is_empty() {
            break;
        }
        app.app.clock.advance(DEFERRED);
    }
    for (user, code, context) in &afflicted {
        let (shown, job) = (app.kyc(user).await, app.kyc_job(user).await);
        assert_eq!((&shown["state"], &shown["requirements"]), (&json!("under_review"), &json!([])), "{context}");
        let statuses: Vec<_> = shown["checks"].as_array().unwrap().iter().map(|check| &check["status"]).collect();
        assert_eq!(*statuses.last().unwrap(), "unavailable", "{context}");
        let error = job.get_document("lastError").unwrap();
        assert_eq!((job.get_str("state").unwrap(), error.get_str("code").unwrap()), ("dead", *code), "{context}");
    }
    app.idcheck.behave().await;
    for (user, _, context) in &afflicted {
        app.retry_checks(&admin, user).await.expect(200);
        assert_eq!(app.kyc_state(user).await, "submitted", "{context}");
        let again = app.retry_checks(&admin, user).await.expect(409);
        assert_eq!(again.code(), "queues.not_dead", "{context}");
    }
    app.run_jobs_to_the_end().await;
    for (user, _, context) in &afflicted {
        assert_eq!(app.kyc_state(user).await, "verified", "{context}");
        let events = ["KycSubmitted", "KycReferred", "KycRechecked", "KycVerified"];
        assert_eq!(app.kyc_event_types(user).await.split_off(5), events, "{context}");
        app.answers_about(user).await;
    }
    expect_deposits(&app, afflicted.len()).await;
    app.finish().await;
}

#[tokio::test]
async fn not_connected_uses_up_no_attempt_and_is_given_up_after_a_day() {
    let url = format!("--idcheck-base-url=http://127.0.0.1:{}/idcheck/v1", closed_port());
    let app = TestApp::with(&[&url, "--max-attempts=1", "--backoff-base-ms=60000"]).await;
    let user = app.applicant(&kyc::individual()).await;
    for deferrals in 1..=3 {
        app.run_jobs().await;
        let job = app.kyc_job(&user).await;
        assert_eq!((job.get_i32("attempts").unwrap(), job.get_i32("deferrals").unwrap()), (0, deferrals));
        assert_eq!(app.kyc_state(&user).await, "submitted");
        app.app.clock.advance(Duration::from_secs(3600));
    }
    app.app.clock.advance(DEFERRED);
    app.run_jobs().await;
    assert_eq!(app.kyc_state(&user).await, "under_review");
    assert_eq!(app.answers_about(&user).await, vec![Some("exchange.not_connected".to_owned()); 4]);
    app.finish().await;
}

#[tokio::test]
async fn refused_credentials_leave_it_to_a_person_and_stop_the_account() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    app.idcheck.misbehave_always("pan", "401").await;
    let mut applicants = Vec::new();
    for n in 1..=3 {
        let user = app.applicant(&kyc::individual()).await;
        app.run_jobs().await;
        assert_eq!(app.kyc_state(&user).await, "under_review");
        let job = app.kyc_job(&user).await;
        assert_eq!((job.get_str("state").unwrap(), job.get_i32("attempts").unwrap()), ("dead", 1));
        assert_eq!(app.answers_about(&user).await, [Some("provider.unauthorized".to_owned())]);
        assert_eq!(app.breakers(&admin, "kyc-verification-queue").await, ["idcheck/default open credentials"], "{n}");
        assert_eq!(app.breakers(&admin, "payments-queue").await, ["paygate/default closed -"], "another account");
        app.resume(&admin, "kyc-verification-queue").await;
        applicants.push(user);
    }
    app.idcheck.behave().await;
    let path = "/queues/kyc-verification-queue/retry-dead";
    let retried = app.request(Method::POST, path, Some(&admin.token), None).await.expect(200).body;
    assert_eq!((&retried["retried"], &retried["refused"]), (&json!(3), &json!(0)));
    app.run_jobs().await;
    for user in &applicants {
        assert_eq!(app.kyc_state(user).await, "verified");
    }
    expect_deposits(&app, 3).await;
    app.finish().await;
}

#[tokio::test]
async fn what_passed_is_not_checked_again_and_what_was_changed_is() {
    let app = TestApp::start().await;
    let user = app.applicant(&kyc::company()).await;
    app.check_misbehaves(&user, "penny_drop", "blocked", Some(1)).await;
    app.run_jobs().await;
    assert_eq!(app.kyc_state(&user).await, "needs_clarification");
    let first = app.reference(&user, "bank_account").await;
    let locked = app.put(&user, "/kyc", &json!({ "legalName": "Red Kite Private Limited" })).await.expect(409);
    assert_eq!((locked.code(), locked.blamed()), ("kyc.field_locked", vec!["legalName:locked".into()]));
    let account = json!({ "bankAccount": { "accountNumber": "987654321098", "ifsc": "HDFC0000124" } });
    app.put(&user, "/kyc", &account).await.expect(200);
    assert_eq!(app.submit(&user).await.expect(202).body["submission"], 2);
    app.run_jobs().await;
    assert_eq!(app.kyc_state(&user).await, "verified");
    let books = app.idcheck.books().await;
    assert_eq!(books["callsByOperation"], json!({ "pan": 1, "gstin": 1, "penny_drop": 2 }));
    assert_ne!(app.reference(&user, "bank_account").await, first, "another question has a reference of its own");
    expect_deposits(&app, 1).await;
    app.finish().await;
}

#[tokio::test]
async fn an_individual_may_drop_a_registration_that_is_no_good() {
    let app = TestApp::start().await;
    let mut application = kyc::individual();
    application["gstin"] = json!(kyc::GSTIN);
    let user = app.applicant(&application).await;
    app.check_misbehaves(&user, "gstin", "inactive", Some(1)).await;
    app.run_jobs().await;
    assert_eq!(app.kyc_state(&user).await, "needs_clarification");
    app.put(&user, "/kyc", &json!({ "gstin": null })).await.expect(200);
    app.submit(&user).await.expect(202);
    app.run_jobs().await;
    assert_eq!(app.kyc_state(&user).await, "verified", "everything that is left has passed before");
    expect_deposits(&app, 1).await;
    app.finish().await;
}

#[tokio::test]
async fn how_similar_a_name_has_to_be_is_a_setting() {
    for (flags, state) in [(&[][..], "under_review"), (&["--kyc-name-match-min-percent=75"], "verified")] {
        let app = TestApp::with(flags).await;
        let user = app.applicant(&kyc::individual()).await;
        // 75 percent of the applicant's.
        app.idcheck.rule(json!({ "operation": "pan", "mode": "name_mismatch", "message": "ASHA R" })).await;
        app.run_jobs().await;
        assert_eq!(app.kyc_state(&user).await, state);
        let admin = app.admin().await;
        let seen = app.get(&admin, &format!("/kyc/applications/{}", user.user_id)).await.expect(200).body;
        let pan = &seen["checkResults"][0];
        assert_eq!((&pan["nameFound"], &pan["nameSimilarityPercent"]), (&json!("ASHA R"), &json!(75)), "{pan}");
        app.finish().await;
    }
}

#[tokio::test]
async fn without_a_provider_a_person_checks() {
    let app = TestApp::with(&["--idcheck-base-url="]).await;
    let (user, admin) = (app.newcomer().await, app.admin().await);
    app.credit(&user, 100_000).await;
    app.complete(&user, &kyc::individual()).await;
    let handed_in = app.submit(&user).await.expect(202).body;
    assert_eq!((&handed_in["state"], &handed_in["checks"]), (&json!("under_review"), &json!([])));
    assert_eq!(app.submit(&user).await.expect(200).headers["idempotent-replayed"], "true");
    assert_eq!(app.create(&user, "c-1").await.expect(403).body["state"], "under_review");
    let seen = app.get(&admin, &format!("/kyc/applications/{}", user.user_id)).await.expect(200).body;
    assert_eq!((&seen["provider"], &seen["checkResults"]), (&json!("manual"), &json!([])));
    assert_eq!(app.all("jobs", doc! {}).await, []);
    let approved = json!({ "decision": "approve", "reason": "Seen the papers." });
    assert_eq!(app.decide(&admin, &user, &approved).await.expect(200).body["state"], "verified");
    app.confirmed(&user, "c-1").await;
    assert_eq!(app.kyc_event_types(&user).await.split_off(4), ["KycSubmitted", "KycReferred", "KycApproved"]);
    assert_eq!(app.idcheck.books().await["references"], 0);
    app.finish().await;
}
