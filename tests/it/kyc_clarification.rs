//! What is asked for again: only that is open, and only that is checked again.

use bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::modules::kyc::identifiers::check_character;

use crate::{
    kyc_application::locked,
    support::{
        TestApp, User,
        drive::{remove, set},
        kyc,
    },
};

const OTHER_AADHAAR: &str = "234567890124";

/// An account that nobody has asked about yet.
fn other_account() -> Value {
    json!({ "accountNumber": "123456789013", "ifsc": "HDFC0000123" })
}

/// What a merchant has to change, as `field:code`.
fn required(application: &Value) -> Vec<String> {
    let asked = application["requirements"].as_array().unwrap().iter();
    asked.map(|one| format!("{}:{}", one["field"].as_str().unwrap(), one["code"].as_str().unwrap())).collect()
}

/// Checks as stored: kind, status and reference.
fn checks(stored: &Document) -> Vec<(String, String, String)> {
    let text = |check: &Document, field: &str| check.get_str(field).unwrap().to_owned();
    let checks = stored.get_array("checks").unwrap().iter().map(|check| check.as_document().unwrap());
    checks.map(|check| (text(check, "kind"), text(check, "status"), text(check, "reference"))).collect()
}

impl TestApp {
    /// A merchant of whom something is asked, because a check failed in this way.
    async fn asked_by_check(&self, application: &Value, operation: &str, mode: &str) -> User {
        self.idcheck.misbehave(operation, mode, 1).await;
        let user = self.applicant(application).await;
        self.run_jobs_to_the_end().await;
        assert_eq!(self.kyc(&user).await["state"], "needs_clarification");
        user
    }

    /// A merchant whose documents a reviewer asks for these things.
    async fn asked_by_reviewer(&self, application: &Value, fields: &[&str]) -> User {
        let user = self.applicant(application).await;
        let asked: Vec<_> = fields
            .iter()
            .map(|field| json!({ "field": field, "code": "field.unclear", "reason": "This can't be read." }))
            .collect();
        let decision = json!({ "decision": "clarify", "reason": "Please look again.", "requirements": asked });
        self.decide(&self.admin().await, &user, &decision).await.expect(200);
        user
    }

    /// How often the verification provider was asked about what.
    async fn calls(&self) -> Value {
        self.idcheck.books().await["callsByOperation"].clone()
    }
}

#[tokio::test]
async fn what_passed_is_kept_and_what_changed_is_asked_again() {
    let app = TestApp::start().await;
    let user = app.asked_by_check(&kyc::individual(), "penny_drop", "invalid").await;
    let asked = app.kyc(&user).await;
    assert_eq!(required(&asked), ["bankAccount:bank.account_not_found"]);
    assert!(asked["nextStep"].as_str().unwrap().contains("requirements"), "{asked}");
    let before = checks(&app.stored_kyc(&user).await.unwrap());
    assert_eq!(app.calls().await, json!({ "pan": 1, "gstin": 0, "penny_drop": 1 }));

    let changed = app.save(&user, json!({ "bankAccount": other_account() })).await.expect(200).body;
    assert_eq!((&changed["state"], &changed["checks"].as_array().unwrap().len()), (&json!("needs_clarification"), &1));
    assert_eq!(required(&changed), required(&asked), "it is asked for until it is handed in");
    let again = app.submit(&user).await.expect(202).body;
    assert_eq!((&again["submission"], &again["requirements"]), (&json!(2), &json!([])));
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc(&user).await["state"], "verified");

    let after = checks(&app.stored_kyc(&user).await.unwrap());
    assert_eq!(before[0], after[0], "the same check of the same PAN");
    assert_eq!((&*before[1].0, &*before[1].1), ("bank_account", "failed"));
    assert_eq!((&*after[1].0, &*after[1].1), ("bank_account", "passed"));
    assert_ne!(before[1].2, after[1].2, "another question has another reference");
    assert_eq!(app.calls().await, json!({ "pan": 1, "gstin": 0, "penny_drop": 2 }));
    let known: Vec<_> = app.idcheck.checks().await;
    assert_eq!(known.len(), 3);
    assert!(known.iter().all(|check| check["calls"] == 1 && check["done"] == true), "{known:?}");
    app.expect_kyc_history(
        &user,
        &[
            "KycDraftSaved",
            "KycDocumentAdded",
            "KycDocumentAdded",
            "KycDocumentAdded",
            "KycSubmitted",
            "KycClarificationNeeded",
            "KycDraftSaved",
            "KycSubmitted",
            "KycVerified",
        ],
    )
    .await;
    assert_eq!(app.all("jobs", doc! { "kind": "verify-application" }).await.len(), 2, "a job per submission");
    app.finish().await;
}

#[tokio::test]
async fn a_failed_check_opens_its_field_and_no_other() {
    let app = TestApp::start().await;
    let user = app.asked_by_check(&kyc::individual(), "penny_drop", "blocked").await;
    let stored = app.stored_kyc(&user).await;
    let mut whole = kyc::individual();
    for (pointer, value) in [
        ("/bankAccount", other_account()),
        ("/legalName", json!("Usha Rao")),
        ("/pan", json!("ABCPR9999F")),
        ("/aadhaar", json!(OTHER_AADHAAR)),
        ("/address/line1", json!("13 MG Road")),
        ("/gstin", json!(kyc::COMPANY_GSTIN)),
        ("/businessType", json!("firm")),
    ] {
        set(&mut whole, pointer, value);
    }
    let refused = app.save(&user, whole).await.expect(409);
    assert_eq!((refused.code(), &refused.body["state"]), ("kyc.field_locked", &json!("needs_clarification")));
    let others = ["aadhaar", "address", "businessType", "gstin", "legalName", "pan"];
    assert_eq!(refused.blamed(), locked(&others));
    for field in others {
        let emptied = app.save(&user, json!({ field: null })).await;
        // There is no GSTIN to empty.
        assert_eq!(emptied.blamed(), if field == "gstin" { vec![] } else { locked(&[field]) });
    }
    assert_eq!(app.stored_kyc(&user).await, stored);

    // A client that always sends everything is understood, in any spelling.
    let mut repeated = kyc::individual();
    set(&mut repeated, "/bankAccount", other_account());
    set(&mut repeated, "/pan", json!("abcpr1234f"));
    set(&mut repeated, "/address/state", json!("KA"));
    let saved = app.save(&user, repeated.clone()).await.expect(200).body;
    assert_eq!(saved["bankAccount"]["accountNumber"], "XXXXXXXX9013");
    let events = app.kyc_events(&user).await;
    let data = events.last().unwrap().get_document("data").unwrap();
    assert_eq!(*data.get_array("fields").unwrap(), vec!["bankAccount".into()]);
    app.save(&user, repeated).await.expect(200);
    assert_eq!(app.kyc_events(&user).await.len(), events.len());
    app.save(&user, json!({ "bankAccount": null })).await.expect(200);
    assert_eq!(app.submit(&user).await.expect(422).blamed(), ["bankAccount:required"]);
    app.finish().await;
}

#[tokio::test]
async fn who_somebody_is_opens_as_one_thing() {
    let app = TestApp::start().await;
    let user = app.asked_by_check(&kyc::company(), "pan", "inactive").await;
    assert_eq!(required(&app.kyc(&user).await), ["pan:pan.inactive"]);
    let refused = app.save(&user, json!({ "bankAccount": other_account(), "address": null })).await.expect(409);
    assert_eq!(refused.blamed(), locked(&["bankAccount"]));
    // It was an individual all along.
    let mut individual = kyc::individual();
    set(&mut individual, "/gstin", Value::Null);
    let changed = app.save(&user, individual).await.expect(200).body;
    assert_eq!(
        (&changed["pan"], &changed["gstin"], &changed["checks"][0]["check"]),
        (&json!("XXXXXX234F"), &Value::Null, &json!("bank_account"))
    );
    app.submit(&user).await.expect(202);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc(&user).await["state"], "under_review", "the account is under the company's name");
    assert_eq!(
        app.calls().await,
        json!({ "pan": 2, "gstin": 1, "penny_drop": 1 }),
        "what is known of the account is compared with the new name"
    );

    app.finish().await;
}

#[tokio::test]
async fn where_a_business_is_registered_goes_with_its_registration() {
    let app = TestApp::start().await;
    let user = app.asked_by_check(&kyc::company(), "gstin", "suspended").await;
    let mut moved = kyc::company();
    remove(&mut moved, "/bankAccount");
    set(&mut moved, "/address/state", json!("Delhi"));
    set(&mut moved, "/address/pincode", json!("110020"));
    set(&mut moved, "/gstin", json!(format!("07AAGCB7383J1Z{}", check_character("07AAGCB7383J1Z").unwrap())));
    app.save(&user, moved).await.expect(200);
    app.submit(&user).await.expect(202);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc(&user).await["state"], "verified");
    assert_eq!(app.calls().await, json!({ "pan": 1, "gstin": 2, "penny_drop": 1 }));
    app.finish().await;
}

#[tokio::test]
async fn a_name_that_changes_is_compared_with_what_is_known_and_costs_nothing() {
    let app = TestApp::start().await;
    for (name, state) in [("Rao, Asha", "verified"), ("Meera Iyer", "under_review")] {
        let user = app.asked_by_check(&kyc::individual(), "pan", "invalid").await;
        assert_eq!(app.kyc(&user).await["checks"].as_array().unwrap().len(), 2);
        let renamed = app.save(&user, json!({ "legalName": name })).await.expect(200).body;
        assert_eq!(renamed["checks"].as_array().unwrap().len(), 1, "of the PAN nothing is known");
        let before = app.calls().await["penny_drop"].clone();
        app.submit(&user).await.expect(202);
        app.run_jobs_to_the_end().await;
        assert_eq!(app.calls().await["penny_drop"], before, "the account is the one that was checked");
        assert_eq!(app.kyc(&user).await["state"], state, "{name}");
    }
    app.finish().await;
}

#[tokio::test]
async fn who_tries_out_numbers_does_not_do_it_at_our_cost() {
    let app = TestApp::start().await;
    app.idcheck.misbehave_always("pan", "invalid").await;
    let user = app.applicant(&kyc::individual()).await;
    for submission in 1..=5 {
        app.run_jobs_to_the_end().await;
        let asked = app.kyc(&user).await;
        assert_eq!((&asked["state"], &asked["submission"]), (&json!("needs_clarification"), &json!(submission)));
        app.submit(&user).await.expect(202);
    }
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc(&user).await["state"], "under_review", "a person looks");
    assert_eq!(app.calls().await, json!({ "pan": 5, "gstin": 0, "penny_drop": 1 }));
    app.finish().await;
}

#[tokio::test]
async fn a_reviewer_opens_what_is_asked_for() {
    let app = TestApp::start().await;
    let all = ["aadhaar", "address", "bankAccount", "businessType", "gstin", "legalName", "pan"];
    for (asked, open) in [
        ("documents.address_proof", &[][..]),
        ("address", &["address", "gstin"]),
        ("bankAccount", &["bankAccount"]),
        ("legalName", &["aadhaar", "businessType", "gstin", "legalName", "pan"]),
        ("gstin", &["aadhaar", "address", "businessType", "gstin", "legalName", "pan"]),
    ] {
        let user = app.asked_by_reviewer(&kyc::company(), &[asked]).await;
        assert_eq!(required(&app.kyc(&user).await), [format!("{asked}:field.unclear")]);
        let mut other = kyc::individual();
        for (pointer, value) in [
            ("/bankAccount", other_account()),
            ("/address/city", json!("Mysuru")),
            ("/gstin", json!("27AAPFU0939F1ZV")),
        ] {
            set(&mut other, pointer, value);
        }
        let closed: Vec<_> = all.into_iter().filter(|field| !open.contains(field)).collect();
        let refused = app.save(&user, other.clone()).await.expect(409);
        assert_eq!(refused.blamed(), locked(&closed), "{asked}");
        for field in open {
            app.save(&user, json!({ *field: other[*field] })).await.expect(200);
        }
    }
    app.run_jobs_to_the_end().await;
    assert_eq!(app.calls().await, json!({ "pan": 0, "gstin": 0, "penny_drop": 0 }), "a person was faster");
    app.finish().await;
}

#[tokio::test]
async fn a_paper_that_is_asked_for_can_be_replaced() {
    let app = TestApp::start().await;
    let user = app.asked_by_reviewer(&kyc::individual(), &["documents.address_proof"]).await;
    let before = app.kyc(&user).await;
    for document in before["documents"].as_array().unwrap() {
        let path = format!("/kyc/documents/{}", document["documentId"].as_str().unwrap());
        let removed = app.request(Method::DELETE, &path, Some(&user.token), None).await;
        if document["kind"] == "address_proof" {
            removed.expect(204);
        } else {
            let field = format!("documents.{}", document["kind"].as_str().unwrap());
            assert_eq!(removed.expect(409).blamed(), locked(&[&field]));
        }
    }
    assert_eq!(app.submit(&user).await.expect(422).blamed(), ["documents.address_proof:required"]);
    app.upload(&user, "address_proof", kyc::pdf("legible")).await.expect(201);
    // More may be shown than was asked for.
    app.upload(&user, "cancelled_cheque", kyc::pdf("another cheque")).await.expect(201);
    let again = app.submit(&user).await.expect(202).body;
    assert_eq!((&again["submission"], again["documents"].as_array().unwrap().len()), (&json!(2), 4));
    assert_eq!(app.upload(&user, "address_proof", kyc::pdf("late")).await.expect(409).code(), "kyc.field_locked");
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc(&user).await["state"], "under_review", "who asked for it has to see it");
    assert_eq!(app.calls().await, json!({ "pan": 1, "gstin": 0, "penny_drop": 1 }));
    app.finish().await;
}

#[tokio::test]
async fn handed_in_unchanged_only_what_failed_is_asked_again() {
    let app = TestApp::start().await;
    let user = app.asked_by_check(&kyc::individual(), "pan", "invalid").await;
    let before = checks(&app.stored_kyc(&user).await.unwrap());
    app.submit(&user).await.expect(202);
    app.run_jobs_to_the_end().await;
    let after = checks(&app.stored_kyc(&user).await.unwrap());
    assert_ne!(before[0].2, after[0].2, "under the old reference the answer would be the old one");
    assert_eq!(before[1], after[1]);
    assert_eq!(app.calls().await, json!({ "pan": 2, "gstin": 0, "penny_drop": 1 }));
    assert_eq!(app.kyc(&user).await["state"], "verified");
    app.finish().await;
}

#[tokio::test]
async fn who_moves_to_another_state_may_register_there() {
    let app = TestApp::start().await;
    let user = app.asked_by_reviewer(&kyc::company(), &["address"]).await;
    let mut delhi = kyc::company()["address"].clone();
    delhi["state"] = json!("Delhi");
    delhi["pincode"] = json!("110020");
    app.save(&user, json!({ "address": delhi })).await.expect(200);
    assert_eq!(app.submit(&user).await.expect(422).blamed(), ["gstin:state_differs"]);
    let registered = format!("07AAGCB7383J1Z{}", check_character("07AAGCB7383J1Z").unwrap());
    app.save(&user, json!({ "gstin": registered })).await.expect(200);
    app.submit(&user).await.expect(202);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc(&user).await["state"], "verified");
    app.finish().await;
}

#[tokio::test]
async fn ten_locked_papers_leave_room_for_one_of_another_kind() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    app.complete(&user, &kyc::individual()).await;
    for n in 0..7 {
        app.upload(&user, "address_proof", kyc::pdf(&n.to_string())).await.expect(201);
    }
    assert_eq!(app.upload(&user, "gst_certificate", kyc::PNG).await.expect(409).code(), "kyc.too_many_documents");
    app.idcheck.misbehave("pan", "invalid", 1).await;
    app.submit(&user).await.expect(202);
    app.run_jobs_to_the_end().await;
    // It was a company all along, and that needs one more paper.
    let mut company = kyc::company();
    for same in ["/bankAccount", "/address"] {
        remove(&mut company, same);
    }
    set(&mut company, "/aadhaar", Value::Null);
    app.save(&user, company).await.expect(200);
    assert_eq!(app.submit(&user).await.expect(422).blamed(), ["documents.gst_certificate:required"]);
    assert_eq!(app.upload(&user, "pan_card", kyc::PNG).await.expect(409).code(), "kyc.too_many_documents");
    app.upload(&user, "gst_certificate", kyc::PNG).await.expect(201);
    assert_eq!(
        app.upload(&user, "gst_certificate", kyc::pdf("more")).await.expect(409).code(),
        "kyc.too_many_documents"
    );
    app.submit(&user).await.expect(202);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc(&user).await["state"], "under_review", "the account is another's");
    app.finish().await;
}
