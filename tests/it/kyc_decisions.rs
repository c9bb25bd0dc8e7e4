//! Decisions of reviewers: against each other, against the verification provider, by two; and erasing what is left.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join;
use serde_json::{Value, json};

use crate::support::{TestApp, User, eventually, kyc};

const SOON: Duration = Duration::from_secs(20);
/// The bank may take its time.
const PATIENT: &[&str] = &["--call-deadline-ms=6000", "--lease-ms=12000"];

fn word(decision: &str) -> Value {
    let mut word = json!({ "decision": decision, "reason": format!("I {decision} this.") });
    if decision == "clarify" {
        word["requirements"] =
            json!([{ "field": "documents.address_proof", "code": "document.illegible", "reason": "Can't be read." }]);
    }
    word
}

/// Actions of the audit records about an application, oldest first.
async fn actions(app: &TestApp, user: &User) -> Vec<String> {
    let id = app.application(user).await.get_str("_id").unwrap().to_owned();
    let audit = app.all("audit_events", doc! { "resourceId": id }).await;
    audit.iter().map(|record| record.get_str("action").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_decision_is_made_once() {
    let app = TestApp::start().await;
    let (admin, other) = (app.admin().await, app.admin().await);
    for (first, state) in [("approve", "verified"), ("reject", "rejected"), ("clarify", "needs_clarification")] {
        let user = app.applicant(&kyc::individual()).await;
        let decided = app.decide(&admin, &user, &word(first)).await.expect(200).body;
        let pan = decided["pan"].as_str().unwrap();
        assert_eq!((&decided["state"], &pan[..6], pan.len()), (&json!(state), "XXXXXX", 10), "{first}");
        assert_eq!(
            (&decided["decision"]["decision"], &decided["decision"]["by"]),
            (&json!(first), &json!(admin.user_id))
        );
        for second in ["approve", "clarify"] {
            let refused = app.decide(&other, &user, &word(second)).await.expect(409);
            assert_eq!(
                (refused.code(), &refused.body["state"]),
                ("kyc.not_decidable", &json!(state)),
                "{first} {second}"
            );
        }
        let shown = app.kyc(&user).await;
        assert_eq!(shown["decisionReason"], format!("I {first} this."));
        assert!(!shown.to_string().contains(&admin.user_id), "who it was is not the merchant's business");
        assert_eq!(shown["requirements"].as_array().unwrap().len(), usize::from(first == "clarify"));
    }
    app.run_jobs().await;
    assert_eq!(app.idcheck.books().await["references"], 0, "nobody checks what is decided");
    app.finish().await;
}

#[tokio::test]
async fn what_was_handed_in_since_the_reviewer_looked_is_not_decided() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let user = app.applicant(&kyc::individual()).await;
    app.decide(&admin, &user, &word("clarify")).await.expect(200);
    app.upload(&user, "address_proof", kyc::pdf("a clearer one")).await.expect(201);
    assert_eq!(app.submit(&user).await.expect(202).body["submission"], 2);
    let stale = json!({ "decision": "reject", "reason": "Illegible.", "submission": 1 });
    let refused = app.decide(&admin, &user, &stale).await.expect(409);
    assert_eq!((refused.code(), &refused.body["submission"]), ("kyc.changed", &json!(2)));
    assert_eq!(app.kyc_state(&user).await, "submitted");
    let fresh = json!({ "decision": "approve", "reason": "Clear now.", "submission": 2 });
    assert_eq!(app.decide(&admin, &user, &fresh).await.expect(200).body["state"], "verified");
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn of_two_reviewers_at_the_same_time_one_wins() {
    let app = TestApp::start().await;
    let (admin, other) = (app.admin().await, app.admin().await);
    for _ in 0..10 {
        let user = app.applicant(&kyc::individual()).await;
        let (approve, reject) = (word("approve"), word("reject"));
        let (one, two) = join(app.decide(&admin, &user, &approve), app.decide(&other, &user, &reject)).await;
        let (state, action) =
            if one.status == 200 { ("verified", "kyc.approved") } else { ("rejected", "kyc.rejected") };
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!((statuses, app.kyc_state(&user).await), ([200, 409], state.to_owned()));
        let decisions: Vec<_> = actions(&app, &user).await.split_off(5);
        assert_eq!(decisions, [action]);
    }
    app.run_jobs().await;
    app.finish().await;
}

/// Somebody decides while the bank is being asked; gives what it came to.
async fn decided_meanwhile(app: &TestApp, admin: &User, user: &User, said: &str) -> Document {
    let reference = app.reference(user, "bank_account").await;
    let slow = json!({ "operation": "penny_drop", "reference": reference, "mode": "ok", "latencyMs": 2000 });
    app.idcheck.rule(slow).await;
    let calls = async || app.idcheck.books().await["callsByOperation"]["penny_drop"].as_u64().unwrap();
    let before = calls().await;
    join(app.run_jobs(), async {
        eventually("the bank is asked", SOON, async || calls().await > before).await;
        app.decide(admin, user, &word(said)).await.expect(200);
    })
    .await;
    app.application(user).await
}

#[tokio::test]
async fn an_answer_after_the_decision_is_logged_and_changes_nothing() {
    let app = TestApp::with(PATIENT).await;
    let admin = app.admin().await;
    for (said, state) in [("approve", "verified"), ("reject", "rejected"), ("clarify", "needs_clarification")] {
        let user = app.applicant(&kyc::individual()).await;
        let application = decided_meanwhile(&app, &admin, &user, said).await;
        assert_eq!(application.get_str("state").unwrap(), state);
        let bank = application.get_array("checks").unwrap()[1].as_document().unwrap();
        assert_eq!(bank.get_str("status").unwrap(), "pending", "{said}: what came late is not written into it");
        assert_eq!(app.answers_about(&user).await, [None, None], "{said}: both answers are on record");
        let answer = app.all("provider_response_logs", doc! { "operation": "penny_drop" }).await.pop().unwrap();
        assert_eq!(application.get_str("providerResponseRefId").unwrap(), answer.get_str("_id").unwrap());
        let job = app.kyc_job(&user).await;
        assert_eq!(job.get_str("state").unwrap(), "done", "{said}");
        assert_eq!(job.get_document("result").unwrap(), &doc! { "state": state });
        assert_eq!(app.kyc_event_types(&user).await.len(), 6, "{said}: nothing follows from it");
        assert_eq!(app.retry_checks(&admin, &user).await.expect(409).code(), "queues.not_dead");
    }
    app.finish().await;
}

#[tokio::test]
async fn an_answer_about_what_was_handed_in_before_does_not_count() {
    let app = TestApp::with(PATIENT).await;
    let admin = app.admin().await;
    let user = app.applicant(&kyc::individual()).await;
    let first_job = app.kyc_job(&user).await.get_str("_id").unwrap().to_owned();
    let reference = app.reference(&user, "bank_account").await;
    let slow = json!({ "operation": "penny_drop", "reference": reference, "mode": "blocked", "latencyMs": 2000 });
    app.idcheck.rule(slow).await;
    let asked = async || app.idcheck.books().await["callsByOperation"]["penny_drop"] == 1;
    join(app.run_jobs(), async {
        eventually("the bank is asked", SOON, asked).await;
        let asked = json!([{ "field": "bankAccount", "code": "bank.other", "reason": "Another account, please." }]);
        let clarify = json!({ "decision": "clarify", "reason": "Not this account.", "requirements": asked });
        app.decide(&admin, &user, &clarify).await.expect(200);
        let account = json!({ "accountNumber": "987654321098", "ifsc": "HDFC0000123" });
        app.put(&user, "/kyc", &json!({ "bankAccount": account })).await.expect(200);
        app.submit(&user).await.expect(202);
        // Another worker takes the new submission to its end, while the old call is still under way.
        let other = app.app.worker();
        eventually("it is verified", SOON, async || {
            other.run_due().await;
            app.kyc_state(&user).await == "verified"
        })
        .await;
    })
    .await;
    let shown = app.kyc(&user).await;
    assert_eq!((&shown["state"], &shown["requirements"]), (&json!("verified"), &json!([])), "{shown}");
    let old = app.all("jobs", doc! { "_id": first_job }).await.pop().unwrap();
    assert_eq!(old.get_str("state").unwrap(), "done");
    let answers = app.answers_about(&user).await;
    assert!(answers.contains(&Some("bank.account_blocked".into())), "it is on record: {answers:?}");
    app.finish().await;
}

#[tokio::test]
async fn two_have_to_approve_where_that_is_the_rule() {
    let app = TestApp::with(&["--kyc-four-eyes=true", "--idcheck-base-url="]).await;
    let (first, second) = (app.admin().await, app.admin().await);
    let user = app.applicant(&kyc::individual()).await;
    let list = async |reviewer: &User| {
        app.get(reviewer, "/kyc/applications?state=under_review").await.expect(200).body["items"][0].clone()
    };
    assert_eq!(list(&second).await["awaitsSecondApproval"], false);
    let proposed = app.decide(&first, &user, &word("approve")).await.expect(200).body;
    assert_eq!((&proposed["state"], &proposed["decision"]), (&json!("under_review"), &Value::Null));
    assert_eq!(proposed["firstApproval"]["by"], json!(first.user_id));
    assert_eq!(list(&second).await["awaitsSecondApproval"], true);
    assert_eq!(app.kyc(&user).await["decisionReason"], Value::Null, "not yet the merchant's business");
    let again = app.decide(&first, &user, &word("approve")).await.expect(409);
    assert_eq!(again.code(), "kyc.second_person_needed");

    // Asked for something, it begins anew.
    app.decide(&second, &user, &word("clarify")).await.expect(200);
    app.submit(&user).await.expect(202);
    assert_eq!(list(&second).await["awaitsSecondApproval"], false);
    app.decide(&second, &user, &word("approve")).await.expect(200);
    app.decide(&second, &user, &word("approve")).await.expect(409);
    let verified = app.decide(&first, &user, &word("approve")).await.expect(200).body;
    assert_eq!((&verified["state"], &verified["decision"]["by"]), (&json!("verified"), &json!(first.user_id)));
    assert_eq!(verified["firstApproval"]["by"], json!(second.user_id));

    // Two at the same time are two; one is enough to reject.
    let user = app.applicant(&kyc::individual()).await;
    let approve = word("approve");
    let (one, two) = join(app.decide(&first, &user, &approve), app.decide(&second, &user, &approve)).await;
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200));
    assert_eq!(app.kyc_state(&user).await, "verified");
    let user = app.applicant(&kyc::individual()).await;
    assert_eq!(app.decide(&first, &user, &word("reject")).await.expect(200).body["state"], "rejected");
    app.finish().await;
}

#[tokio::test]
async fn who_is_suspended_orders_nothing_until_that_is_lifted() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let user = app.merchant().await;
    app.confirmed(&user, "before").await;
    app.decide(&admin, &user, &word("suspend")).await.expect(200);
    let refused = app.create(&user, "meanwhile").await.expect(403);
    assert_eq!((refused.code(), &refused.body["state"]), ("kyc.not_verified", &json!("suspended")));
    let topup = json!({ "clientTopupId": "t-1", "amount": { "amount": 50_000, "currency": "INR" } });
    assert_eq!(app.post(&user, "/wallet/topups", &topup).await.expect(403).code(), "kyc.not_verified");
    assert_eq!(app.create(&user, "before").await.expect(200).headers["idempotent-replayed"], "true");
    app.submit(&user).await.expect(409);
    app.decide(&admin, &user, &word("suspend")).await.expect(409);
    app.decide(&admin, &user, &word("reinstate")).await.expect(200);
    app.confirmed(&user, "meanwhile").await;
    app.decide(&admin, &user, &word("suspend")).await.expect(200);
    assert_eq!(app.decide(&admin, &user, &word("reject")).await.expect(200).body["state"], "rejected");
    app.decide(&admin, &user, &word("reinstate")).await.expect(409);
    app.create(&user, "after").await.expect(403);
    app.finish().await;
}

/// Everything the database has, as text.
async fn dump(app: &TestApp) -> String {
    let mut dump = String::new();
    // The service's own key is nobody's.
    for name in app.db().list_collection_names().await.unwrap().into_iter().filter(|name| name != "kyc_keys") {
        for document in app.all(&name, doc! {}).await {
            dump.push_str(&format!("{name} {document}\n"));
        }
    }
    dump
}

fn erasure() -> Value {
    json!({ "reason": "The merchant asks for it." })
}

#[tokio::test]
async fn what_is_personal_of_a_rejected_application_is_erased_on_request() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    for by_owner in [true, false] {
        let user = app.applicant(&kyc::company()).await;
        app.check_misbehaves(&user, "gstin", "name_mismatch", Some(1)).await;
        app.run_jobs().await;
        assert_eq!(app.kyc_state(&user).await, "under_review");
        let review = format!("/kyc/applications/{}", user.user_id);
        let seen = app.get(&admin, &review).await.expect(200).body;
        let document = format!("/kyc/documents/{}", seen["documents"][0]["documentId"].as_str().unwrap());
        app.decide(&admin, &user, &word("reject")).await.expect(200);
        assert!(dump(&app).await.contains("Blue Kite"), "the dump sees what is there");

        let (who, path) = if by_owner { (&user, "/kyc/erasure".into()) } else { (&admin, format!("{review}/erasure")) };
        for _ in 0..2 {
            assert_eq!(app.post(who, &path, &erasure()).await.expect(204).text, "");
        }
        let dump = dump(&app).await;
        kyc::assert_impersonal(&dump);
        for left in ["XXXXXX383J", "1Z4", "9012", "wrappedKey", "I reject this."] {
            assert!(!app.application(&user).await.to_string().contains(left), "{left} is left");
        }
        assert!(!dump.contains("wrappedKey"), "no document is left");
        let shown = app.kyc(&user).await;
        assert_eq!(
            (&shown["state"], &shown["legalName"], &shown["documents"]),
            (&json!("rejected"), &Value::Null, &json!([]))
        );
        for reader in [&user, &admin] {
            assert_eq!(app.get(reader, &document).await.expect(404).code(), "kyc.document_not_found");
        }
        let seen = app.get(&admin, &review).await.expect(200).body;
        assert!(seen["erasedAt"].is_string() && seen["checkResults"] == json!([]), "{seen}");
        assert_eq!((&seen["submission"], &seen["decision"]["reason"]), (&json!(1), &json!("[erased]")));

        let record = doc! { "action": "kyc.erased", "userId": &user.user_id };
        let records = app.all("audit_events", record).await;
        assert_eq!(records.len(), 1, "once");
        let (actor, after) = (records[0].get_document("actor").unwrap(), records[0].get_document("after").unwrap());
        assert_eq!((actor.get_str("id").unwrap(), after.get_i64("documents").unwrap()), (&*who.user_id, 4));
        assert_eq!(records[0].get_str("reason").unwrap(), "The merchant asks for it.");
        assert_eq!(app.kyc_event_types(&user).await.last().unwrap(), "KycErased");
        app.put(&user, "/kyc", &json!({ "legalName": "Another" })).await.expect(409);
    }
    app.finish().await;
}

#[tokio::test]
async fn nothing_else_is_erased() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let stranger = app.newcomer().await;
    for (state, words) in [
        ("not_started", None),
        ("draft", None),
        ("submitted", Some(&[][..])),
        ("needs_clarification", Some(&["clarify"])),
        ("verified", Some(&["approve"])),
        ("suspended", Some(&["approve", "suspend"])),
    ] {
        let user = match words {
            Some(_) => app.applicant(&kyc::individual()).await,
            None => app.newcomer().await,
        };
        if state == "draft" {
            app.complete(&user, &kyc::individual()).await;
        }
        for said in words.unwrap_or_default() {
            app.decide(&admin, &user, &word(said)).await.expect(200);
        }
        let by_admin = format!("/kyc/applications/{}/erasure", user.user_id);
        for (who, path) in [(&user, "/kyc/erasure"), (&admin, &*by_admin)] {
            let refused = app.post(who, path, &erasure()).await;
            let expected = if state == "not_started" { (404, "kyc.not_found") } else { (409, "kyc.not_erasable") };
            assert_eq!((refused.status.as_u16(), refused.code()), expected, "{state}");
            for reason in [json!({}), json!({ "reason": "no" })] {
                app.post(who, path, &reason).await.expect(422);
            }
        }
        for nobody in [&user, &stranger] {
            app.post(nobody, &by_admin, &erasure()).await.expect(403);
        }
        assert_eq!(app.kyc_state(&user).await, state);
        assert_eq!(app.kyc(&user).await["documents"].as_array().unwrap().is_empty(), state == "not_started");
    }
    assert_eq!(app.all("audit_events", doc! { "action": "kyc.erased" }).await, []);
    app.run_jobs().await;
    app.finish().await;
}
