//! What reviewers and auditors see of applications, and what is written down of their looking.

use std::time::Duration;

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{TestApp, User, kyc};

const LIST: &str = "/kyc/applications";
/// Between two applications.
const APART: Duration = Duration::from_secs(10);

fn path_of(user: &User) -> String {
    format!("{LIST}/{}", user.user_id)
}

fn word(decision: &str) -> Value {
    let mut word = json!({ "decision": decision, "reason": "Looked at it." });
    if decision == "clarify" {
        word["requirements"] =
            json!([{ "field": "documents.address_proof", "code": "document.illegible", "reason": "Can't be read." }]);
    }
    word
}

fn users(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["userId"].as_str().unwrap().to_owned()).collect()
}

async fn listed(app: &TestApp, reviewer: &User, query: &str) -> Vec<String> {
    users(&app.get(reviewer, &format!("{LIST}{query}")).await.expect(200).body)
}

/// Everything a list has, read in pages.
async fn paged(app: &TestApp, reviewer: &User, query: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    for _ in 0..20 {
        let page = app.get(reviewer, &format!("{LIST}?{query}{cursor}")).await.expect(200).body;
        all.extend(users(&page));
        let Some(next) = page["nextCursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
    panic!("the pages don't come to an end");
}

/// Applications in several states, oldest first; each was handed in some seconds after the one before.
async fn applicants(app: &TestApp, admin: &User) -> Vec<(User, &'static str)> {
    let mut applicants = Vec::new();
    for (state, words) in [
        ("submitted", &[][..]),
        ("verified", &["approve"]),
        ("rejected", &["reject"]),
        ("submitted", &[]),
        ("needs_clarification", &["clarify"]),
        ("suspended", &["approve", "suspend"]),
        ("submitted", &[]),
    ] {
        let user = app.applicant(&kyc::individual()).await;
        for said in words {
            app.decide(admin, &user, &word(said)).await.expect(200);
        }
        applicants.push((user, state));
        app.app.clock.advance(APART);
    }
    // Neither of these was ever handed in.
    app.merchant().await;
    let draft = app.newcomer().await;
    app.complete(&draft, &kyc::individual()).await;
    applicants
}

#[tokio::test]
async fn applications_are_listed_longest_waiting_first_and_by_state() {
    let app = TestApp::start().await;
    let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
    let applicants = applicants(&app, &admin).await;
    let ids: Vec<_> = applicants.iter().map(|(user, _)| user.user_id.clone()).collect();
    for reviewer in [&admin, &auditor] {
        assert_eq!(listed(&app, reviewer, "").await, ids);
    }
    for state in ["submitted", "verified", "rejected", "needs_clarification", "suspended", "under_review", "draft"] {
        let expected = applicants.iter().filter(|(_, its)| *its == state).map(|(user, _)| user.user_id.clone());
        let expected: Vec<_> = expected.collect();
        assert_eq!(listed(&app, &admin, &format!("?state={state}")).await, expected, "{state}");
        assert_eq!(paged(&app, &admin, &format!("state={state}&limit=2")).await, expected, "{state}");
    }
    let page = app.get(&admin, LIST).await.expect(200).body;
    for (position, item) in page["items"].as_array().unwrap().iter().enumerate() {
        let waited = 10 * (ids.len() - position) as i64;
        let age = item["ageSeconds"].as_i64().unwrap();
        assert!((waited..waited + 60).contains(&age), "{position}: {age} s");
        assert_eq!((&item["legalName"], &item["submission"]), (&json!("Asha Rao"), &json!(1)));
        assert_eq!(item["state"], applicants[position].1);
        assert!(item.get("pan").is_none(), "a list has no numbers: {item}");
    }
    // Handed in again, it is the youngest.
    let (clarified, _) = &applicants[4];
    app.submit(clarified).await.expect(202);
    let mut moved = ids.clone();
    moved.remove(4);
    moved.push(ids[4].clone());
    assert_eq!(listed(&app, &admin, "").await, moved);
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn a_list_is_read_in_pages_and_between_two_times() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let ids: Vec<_> = applicants(&app, &admin).await.into_iter().map(|(user, _)| user.user_id).collect();
    for limit in 1..=8 {
        assert_eq!(paged(&app, &admin, &format!("limit={limit}")).await, ids, "{limit} a page");
    }
    let page = app.get(&admin, &format!("{LIST}?limit=7")).await.expect(200).body;
    assert_eq!(page["nextCursor"], Value::Null, "nothing is left");

    let page = app.get(&admin, LIST).await.expect(200).body;
    let times: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["submittedAt"].clone()).collect();
    let (second, fifth) = (times[1].as_str().unwrap(), times[4].as_str().unwrap());
    assert_eq!(listed(&app, &admin, &format!("?from={second}")).await, ids[1..], "from then on");
    assert_eq!(listed(&app, &admin, &format!("?to={fifth}")).await, ids[..4], "before then");
    let between = format!("from={second}&to={fifth}");
    assert_eq!(listed(&app, &admin, &format!("?{between}")).await, ids[1..4]);
    assert_eq!(paged(&app, &admin, &format!("{between}&limit=1")).await, ids[1..4]);
    assert_eq!(paged(&app, &admin, &format!("{between}&state=submitted&limit=1")).await, ids[3..4]);

    // All at the same time: pages neither lose nor repeat one.
    let applications = app.db().collection::<bson::Document>("kyc_applications");
    let handed_in = doc! { "submittedAt": { "$ne": null } };
    applications.update_many(handed_in, doc! { "$set": { "submittedAt": app.app.clock.now() } }).await.unwrap();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(paged(&app, &admin, "limit=2").await, sorted);
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn what_a_list_can_not_be_asked_is_refused() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    for _ in 0..2 {
        app.applicant(&kyc::individual()).await;
    }
    let page = app.get(&admin, &format!("{LIST}?limit=1")).await.expect(200).body;
    let ours = page["nextCursor"].as_str().unwrap().to_owned();
    let jobs = app.get(&admin, "/queues/kyc-verification-queue/jobs?limit=1").await.expect(200).body;
    let of_jobs = jobs["nextCursor"].as_str().expect("another page").to_owned();
    for (query, blamed) in [
        ("limit=0".to_owned(), "limit:range"),
        ("limit=101".to_owned(), "limit:range"),
        ("limit=1000000000".to_owned(), "limit:range"),
        ("limit=-1".to_owned(), "limit:type"),
        ("limit=ten".to_owned(), "limit:type"),
        ("cursor=garbage".to_owned(), "cursor:format"),
        ("cursor=".to_owned(), "cursor:format"),
        (format!("cursor={of_jobs}"), "cursor:format"),
        (format!("cursor={}", &ours[1..]), "cursor:format"),
        ("state=done".to_owned(), "state:unknown_value"),
        ("from=yesterday".to_owned(), "from:format"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z".to_owned(), "to:range"),
        ("from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z".to_owned(), "to:range"),
        ("colour=red".to_owned(), "colour:unknown"),
    ] {
        let refused = app.get(&admin, &format!("{LIST}?{query}")).await.expect(422);
        assert_eq!(refused.blamed(), [blamed], "{query}");
    }
    let read = doc! { "action": "kyc.applications_listed" };
    assert_eq!(app.all("audit_events", read).await.len(), 1, "what was refused was not read");
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn a_reviewer_sees_whole_numbers_and_an_auditor_masked_ones() {
    let app = TestApp::start().await;
    let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
    let user = app.applicant(&kyc::company()).await;
    app.check_misbehaves(&user, "gstin", "name_mismatch", Some(1)).await;
    app.run_jobs().await;
    for (reviewer, pan, gstin, account) in [
        (&admin, kyc::COMPANY_PAN, kyc::COMPANY_GSTIN, kyc::ACCOUNT_NUMBER),
        (&auditor, "XXXXXX383J", "29XXXXXXXXXX1Z4", "XXXXXXXX9012"),
    ] {
        let seen = app.get(reviewer, &path_of(&user)).await.expect(200).body;
        assert_eq!((&seen["pan"], &seen["gstin"]), (&json!(pan), &json!(gstin)));
        assert_eq!(seen["bankAccount"], json!({ "accountNumber": account, "ifsc": "HDFC0000123" }));
        assert_eq!((&seen["userId"], &seen["state"]), (&json!(user.user_id), &json!("under_review")));
        assert_eq!(
            (&seen["provider"], &seen["decision"], &seen["erasedAt"]),
            (&json!("idcheck"), &json!(null), &json!(null))
        );
        assert_eq!(seen["documents"].as_array().unwrap().len(), 4);
        let results = seen["checkResults"].as_array().unwrap();
        let statuses: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["passed", "name_mismatch", "passed"]);
        assert_eq!(
            (&results[1]["nameFound"], &results[1]["code"]),
            (&json!("VIKRAM CHAUDHARY"), &json!("name.differs"))
        );
        assert!(results[2]["transfer"].as_str().unwrap().starts_with("IDCH"), "{}", results[2]);
    }
    for path in [path_of(&user), LIST.to_owned()] {
        for role in [Role::Merchant, Role::Finance] {
            app.get(&app.user(role).await, &path).await.expect(403);
        }
        app.get(&user, &path).await.expect(403);
        app.request(Method::GET, &path, None, None).await.expect(401);
    }
    let draft = app.newcomer().await;
    for unknown in [&*draft.user_id, "usr_00000000000000000000000000000000", "nobody", "%00", "a%20b"] {
        let answer = app.get(&admin, &format!("{LIST}/{unknown}")).await.expect(404);
        assert_eq!(answer.code(), "kyc.not_found", "{unknown}");
    }
    app.finish().await;
}

#[tokio::test]
async fn every_look_is_on_record_with_who_looked_at_what() {
    let app = TestApp::start().await;
    let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
    let user = app.applicant(&kyc::individual()).await;
    let application_id = app.application(&user).await.get_str("_id").unwrap().to_owned();
    let seen = app.get(&admin, &path_of(&user)).await.expect(200).body;
    let document_id = seen["documents"][0]["documentId"].as_str().unwrap().to_owned();
    let document = app.get(&admin, &format!("/kyc/documents/{document_id}")).await.expect(200);
    assert_eq!(document.text.as_bytes(), kyc::pdf("pan_card"));
    app.get(&auditor, &path_of(&user)).await.expect(200);
    app.get(&auditor, &format!("{LIST}?state=submitted")).await.expect(200);
    app.get(&admin, LIST).await.expect(200);
    // These see nothing, so there is nothing to write down.
    app.get(&auditor, &format!("/kyc/documents/{document_id}")).await.expect(403);
    app.get(&admin, "/kyc/documents/doc_nothing").await.expect(404);
    app.get(&admin, &format!("{LIST}/usr_nobody")).await.expect(404);
    app.get(&user, &format!("/kyc/documents/{document_id}")).await.expect(200);

    let looks = app.all(
        "audit_events",
        doc! { "action": { "$in": [
            "kyc.application_read", "kyc.document_read", "kyc.applications_listed",
        ] } },
    );
    let owner = Some(&*user.user_id);
    let expected = [
        (&admin, "kyc.application_read", "kyc_application", &*application_id, owner),
        (&admin, "kyc.document_read", "kyc_document", &*document_id, owner),
        (&auditor, "kyc.application_read", "kyc_application", &*application_id, owner),
        (&auditor, "kyc.applications_listed", "kyc_applications", "submitted", None),
        (&admin, "kyc.applications_listed", "kyc_applications", "any", None),
    ];
    let looks = looks.await;
    assert_eq!(looks.len(), expected.len());
    for (look, (who, action, resource_type, resource_id, owner)) in looks.iter().zip(expected) {
        let actor = look.get_document("actor").unwrap();
        let text = |field: &str| look.get_str(field).unwrap();
        assert_eq!((actor.get_str("id").unwrap(), text("action")), (&*who.user_id, action));
        assert_eq!((text("resourceType"), text("resourceId")), (resource_type, resource_id));
        assert_eq!((look.get_str("userId").ok(), text("outcome")), (owner, "done"));
        assert!(actor.get_str("address").is_ok() && actor.get_str("requestId").is_ok(), "{look}");
    }
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn nothing_is_shown_that_can_not_be_written_down() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let user = app.applicant(&kyc::individual()).await;
    let seen = app.get(&admin, &path_of(&user)).await.expect(200).body;
    let document = format!("/kyc/documents/{}", seen["documents"][0]["documentId"].as_str().unwrap());
    let refuse = async |validator: bson::Document| {
        app.db().run_command(doc! { "collMod": "audit_events", "validator": validator }).await.unwrap();
    };
    refuse(doc! { "nobody": { "$exists": true } }).await;
    for path in [path_of(&user), LIST.to_owned(), document.clone()] {
        let answer = app.get(&admin, &path).await;
        assert_eq!(answer.status, 500, "{path}: {}", answer.text);
        kyc::assert_impersonal(&answer.text);
        assert!(!answer.text.contains("%PDF"), "{path}");
    }
    // What the merchant sees of its own is written down nowhere.
    app.get(&user, &document).await.expect(200);
    refuse(doc! {}).await;
    for path in [path_of(&user), LIST.to_owned(), document] {
        app.get(&admin, &path).await.expect(200);
    }
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn a_decision_has_a_reason_and_asks_for_what_there_is() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let user = app.applicant(&kyc::individual()).await;
    let before = app.application(&user).await;
    let asks = |field: &str, code: &str, reason: &str| {
        let asked = json!([{ "field": field, "code": code, "reason": reason }]);
        json!({ "decision": "clarify", "reason": "Looked at it.", "requirements": asked })
    };
    let with = |change: Value| {
        let mut body = word("approve");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let one = json!({ "field": "pan", "code": "pan.odd", "reason": "It is odd." });
    for (body, blamed) in [
        (with(json!({ "reason": "ab" })), "reason:length"),
        (with(json!({ "reason": "   ab   " })), "reason:length"),
        (with(json!({ "reason": "x".repeat(501) })), "reason:length"),
        (with(json!({ "reason": "be\u{7}ll" })), "reason:format"),
        (json!({ "decision": "approve" }), "reason:required"),
        (json!({ "reason": "Looked at it." }), "decision:required"),
        (with(json!({ "decision": "verify" })), "decision:unknown_value"),
        (with(json!({ "submission": "one" })), "submission:type"),
        (with(json!({ "colour": "red" })), "colour:unknown"),
        (with(json!({ "requirements": [one] })), "requirements:not_applicable"),
        (with(json!({ "decision": "reject", "requirements": [one] })), "requirements:not_applicable"),
        (with(json!({ "decision": "suspend", "requirements": [one] })), "requirements:not_applicable"),
        (with(json!({ "decision": "clarify" })), "requirements:required"),
        (with(json!({ "decision": "clarify", "requirements": vec![one.clone(); 21] })), "requirements:length"),
        (asks("bankAccount.ifsc", "bank.odd", "It is odd."), "requirements[0].field:unknown_value"),
        (asks("documents.passport", "document.odd", "It is odd."), "requirements[0].field:unknown_value"),
        (asks("state", "state.odd", "It is odd."), "requirements[0].field:unknown_value"),
        (asks("pan", "", "It is odd."), "requirements[0].code:format"),
        (asks("pan", "Pan Odd", "It is odd."), "requirements[0].code:format"),
        (asks("pan", &"x".repeat(65), "It is odd."), "requirements[0].code:format"),
        (asks("pan", "pan.odd", "no"), "requirements[0].reason:length"),
    ] {
        let refused = app.decide(&admin, &user, &body).await.expect(422);
        assert_eq!(refused.blamed(), [blamed], "{body}");
    }
    assert_eq!(app.application(&user).await, before);
    for role in [Role::Merchant, Role::Finance, Role::Auditor] {
        app.decide(&app.user(role).await, &user, &word("approve")).await.expect(403);
    }
    let stranger = User { user_id: "usr_00000000000000000000000000000000".into(), ..user.clone() };
    assert_eq!(app.decide(&admin, &stranger, &word("approve")).await.expect(404).code(), "kyc.not_found");
    let sibling = User { user_id: user.user_id.replace("usr_", "kyc_"), ..user.clone() };
    assert_eq!(app.decide(&admin, &sibling, &word("approve")).await.expect(404).code(), "kyc.not_found");
    let longest = with(json!({ "reason": "x".repeat(500), "submission": 1 }));
    assert_eq!(app.decide(&admin, &user, &longest).await.expect(200).body["state"], "verified");
    app.run_jobs().await;
    app.finish().await;
}
