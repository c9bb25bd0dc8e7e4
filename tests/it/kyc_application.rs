//! An application until it is handed in: filled in piece by piece, and locked from then on. What may be written into its
//! fields is in `kyc_form.rs`, what is asked for again in `kyc_clarification.rs`.

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, TestApp, User,
    drive::{remove, set},
    kyc,
};

/// Everything that can be filled in.
pub const FIELDS: [&str; 7] = ["businessType", "legalName", "pan", "gstin", "aadhaar", "bankAccount", "address"];

/// `field:locked` for each of these, as [`Answer::blamed`] gives them.
pub fn locked(fields: &[&str]) -> Vec<String> {
    let mut blamed: Vec<_> = fields.iter().map(|field| format!("{field}:locked")).collect();
    blamed.sort();
    blamed
}

fn request_id(answer: &Answer) -> String {
    answer.headers["x-request-id"].to_str().unwrap().to_owned()
}

fn is_replay(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

fn text<'a>(document: &'a Document, path: &str) -> &'a str {
    let (field, rest) = path.split_once('.').unwrap_or((path, ""));
    if rest.is_empty() {
        return document.get_str(field).unwrap_or_else(|error| panic!("{field}: {error}: {document}"));
    }
    text(document.get_document(field).unwrap_or_else(|error| panic!("{field}: {error}: {document}")), rest)
}

impl TestApp {
    pub async fn save(&self, user: &User, change: Value) -> Answer {
        self.put(user, "/kyc", &change).await
    }

    /// What is stored of a merchant's application.
    pub async fn stored_kyc(&self, user: &User) -> Option<Document> {
        self.all("kyc_applications", doc! { "userId": &user.user_id }).await.pop()
    }

    /// Events about a merchant's application, oldest first.
    pub async fn kyc_events(&self, user: &User) -> Vec<Document> {
        let about = doc! { "userId": &user.user_id, "type": { "$regex": "^Kyc" } };
        self.all("events", about).await
    }

    /// These events, and an audit record for each that says the same; every one begins where the one before ended.
    pub async fn expect_kyc_history(&self, user: &User, expected: &[&str]) -> Vec<Document> {
        let events = self.kyc_events(user).await;
        assert_eq!(events.iter().map(|event| text(event, "type")).collect::<Vec<_>>(), expected);
        let about = doc! { "userId": &user.user_id, "resourceType": "kyc_application", "before": { "$ne": null } };
        let records = self.all("audit_events", about).await;
        assert_eq!(records.len(), events.len(), "{records:?}");
        let mut state = "not_started".to_owned();
        for event in &events {
            let body = text(event, "_id").strip_prefix("evt_").unwrap();
            let record = records.iter().find(|record| text(record, "_id") == format!("aud_{body}"));
            let record = record.unwrap_or_else(|| panic!("nobody wrote down {event}"));
            assert_eq!(record.get_document("actor").unwrap(), event.get_document("actor").unwrap());
            // The reason has a place of its own there.
            let mut said = event.get_document("data").unwrap().clone();
            assert_eq!(record.get("reason"), said.remove("reason").as_ref());
            assert_eq!(record.get_document("after").unwrap(), &said);
            assert_eq!((text(record, "resourceId"), text(record, "outcome")), (text(event, "subjectId"), "done"));
            let action = text(record, "action").strip_prefix("kyc.").unwrap().replace('_', "");
            assert_eq!(format!("kyc{action}"), text(event, "type").to_lowercase());
            assert_eq!(text(record, "before.state"), state, "{event}");
            state = text(event, "data.state").to_owned();
        }
        assert_eq!(self.kyc(user).await["state"], *state);
        events
    }
}

#[tokio::test]
async fn a_draft_is_filled_in_piece_by_piece() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let nothing = app.kyc(&user).await;
    assert_eq!(
        (&nothing["state"], &nothing["updatedAt"], &nothing["pan"]),
        (&json!("not_started"), &Value::Null, &Value::Null)
    );
    assert_eq!(app.stored_kyc(&user).await, None, "to look is not to begin");

    let whole = kyc::individual();
    let mut shown = Value::Null;
    for field in ["legalName", "pan", "aadhaar", "bankAccount", "address", "businessType"] {
        shown = app.save(&user, json!({ field: whole[field] })).await.expect(200).body;
        assert_eq!(shown["state"], "draft", "{field}");
    }
    assert_eq!(app.kyc(&user).await, shown);
    assert_eq!((&shown["legalName"], &shown["businessType"]), (&json!("Asha Rao"), &json!("individual")));
    assert_eq!((&shown["pan"], &shown["aadhaar"]), (&json!("XXXXXX234F"), &json!("XXXX-XXXX-7058")));
    assert_eq!(shown["bankAccount"], json!({ "accountNumber": "XXXXXXXX9012", "ifsc": "HDFC0000123" }));
    assert_eq!((&shown["address"], &shown["gstin"]), (&whole["address"], &Value::Null));

    // null empties a field, also one that is empty; what is not there stays.
    let cleared =
        app.save(&user, json!({ "aadhaar": null, "bankAccount": null, "gstin": null })).await.expect(200).body;
    assert_eq!((&cleared["aadhaar"], &cleared["bankAccount"]), (&Value::Null, &Value::Null));
    for field in ["legalName", "businessType", "pan", "address"] {
        assert_eq!(cleared[field], shown[field], "{field}");
    }
    let events = app.expect_kyc_history(&user, &["KycDraftSaved"; 7]).await;
    let changed: Vec<_> =
        events.iter().map(|event| event.get_document("data").unwrap().get_array("fields").unwrap()).collect();
    assert_eq!(*changed[0], vec!["legalName".into()]);
    assert_eq!(*changed[6], vec!["aadhaar".into(), "bankAccount".into()], "what was empty did not change");
    app.finish().await;
}

#[tokio::test]
async fn what_is_said_again_is_no_change() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    app.save(&user, json!({})).await.expect(200);
    let filled_in = app.save(&user, kyc::individual()).await.expect(200).body;
    let stored = app.stored_kyc(&user).await;
    app.app.clock.advance(std::time::Duration::from_secs(60));
    let mut otherwise = kyc::individual();
    for (pointer, spelling) in [
        ("/pan", json!(" abcpr1234f ")),
        ("/aadhaar", json!("9999-4105-7058")),
        ("/legalName", json!("  Asha Rao ")),
        ("/address/state", json!("KA")),
        ("/bankAccount/ifsc", json!("hdfc0000123")),
    ] {
        set(&mut otherwise, pointer, spelling);
    }
    for again in [kyc::individual(), otherwise, json!({}), json!({ "pan": kyc::PAN }), json!({ "gstin": null })] {
        assert_eq!(app.save(&user, again.clone()).await.expect(200).body, filled_in, "{again}");
    }
    assert_eq!(app.stored_kyc(&user).await, stored, "not even sealed again");
    app.expect_kyc_history(&user, &["KycDraftSaved"; 2]).await;
    let other = json!({ "accountNumber": "123456789013", "ifsc": "HDFC0000123" });
    app.save(&user, json!({ "bankAccount": other })).await.expect(200);
    app.expect_kyc_history(&user, &["KycDraftSaved"; 3]).await;
    app.finish().await;
}

#[tokio::test]
async fn at_once_a_draft_is_begun_once() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let whole = kyc::individual();
    let pieces: Vec<_> = FIELDS.iter().filter(|field| whole.get(**field).is_some()).collect();
    let saving = pieces.iter().map(|field| app.save(&user, json!({ **field: whole[**field] })));
    let uploading =
        ["pan_card", "cancelled_cheque", "address_proof"].map(|kind| app.upload(&user, kind, kyc::pdf(kind)));
    let (saved, uploaded) = tokio::join!(join_all(saving), join_all(uploading));
    saved.into_iter().for_each(|answer| drop(answer.expect(200)));
    uploaded.into_iter().for_each(|answer| drop(answer.expect(201)));
    assert_eq!(app.all("kyc_applications", doc! {}).await.len(), 1);
    app.submit(&user).await.expect(202);
    assert_eq!(app.kyc_events(&user).await.len(), pieces.len() + 3 + 1);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc(&user).await["state"], "verified");
    app.finish().await;
}

#[tokio::test]
async fn handing_in_names_all_that_is_missing_or_contradicts() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let early = app.submit(&user).await.expect(409);
    assert_eq!((early.code(), &early.body["state"]), ("kyc.not_submittable", &json!("not_started")));
    let papers =
        ["documents.address_proof:required", "documents.cancelled_cheque:required", "documents.pan_card:required"];
    let gst_paper = "documents.gst_certificate:required";
    let own = ["address:required", "bankAccount:required", "businessType:required"];
    let names = ["legalName:required", "pan:required"];
    let mut other_pan = kyc::company();
    set(&mut other_pan, "/gstin", json!("27AAPFU0939F1ZV"));
    let mut everything = kyc::company();
    for (pointer, value) in [
        ("/gstin", json!("27AAPFU0939F1ZV")),
        ("/aadhaar", json!(kyc::AADHAAR)),
        ("/pan", json!(kyc::PAN)),
        ("/bankAccount", Value::Null),
    ] {
        set(&mut everything, pointer, value);
    }
    let mut elsewhere = kyc::company();
    set(&mut elsewhere, "/address/state", json!("Delhi"));
    set(&mut elsewhere, "/address/pincode", json!("110020"));
    for (application, blamed) in [
        (json!({}), [&own[..], &names, &papers].concat()),
        (json!({ "businessType": "individual" }), [&["aadhaar:required"], &own[..2], &names, &papers].concat()),
        (json!({ "businessType": "firm" }), [&["gstin:required"], &own[..2], &names, &papers].concat()),
        (
            json!({ "businessType": "individual", "gstin": kyc::COMPANY_GSTIN }),
            [&["aadhaar:required", gst_paper], &own[..2], &names, &papers].concat(),
        ),
        (kyc::individual(), papers.to_vec()),
        (kyc::company(), [&[gst_paper], &papers[..]].concat()),
        (other_pan, [&["gstin:pan_differs", "gstin:state_differs", gst_paper], &papers[..]].concat()),
        (elsewhere, [&["gstin:state_differs", gst_paper], &papers[..]].concat()),
        (
            everything,
            [
                &["aadhaar:not_applicable", "bankAccount:required", "gstin:pan_differs", "gstin:state_differs"],
                &["pan:business_type_differs", gst_paper][..],
                &papers,
            ]
            .concat(),
        ),
    ] {
        let user = app.newcomer().await;
        app.save(&user, application.clone()).await.expect(200);
        let before = app.stored_kyc(&user).await;
        let refused = app.submit(&user).await.expect(422);
        assert_eq!(refused.code(), "kyc.incomplete");
        let mut blamed = blamed;
        blamed.sort_unstable();
        assert_eq!(refused.blamed(), blamed, "{application}");
        for secret in [kyc::PAN, kyc::COMPANY_PAN, kyc::ACCOUNT_NUMBER, "AAPFU0939F"] {
            assert!(!refused.text.contains(secret), "{}", refused.text);
        }
        assert_eq!(app.stored_kyc(&user).await, before);
        app.expect_kyc_history(&user, &["KycDraftSaved"]).await;
    }
    assert_eq!(app.all("jobs", doc! {}).await, []);
    app.finish().await;
}

#[tokio::test]
async fn every_missing_paper_is_named_by_its_kind() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    app.save(&user, kyc::company()).await.expect(200);
    let mut missing = vec!["pan_card", "gst_certificate", "cancelled_cheque", "address_proof"];
    while let Some(kind) = missing.pop() {
        app.upload(&user, kind, kyc::pdf(kind)).await.expect(201);
        let answer = app.submit(&user).await;
        let mut expected: Vec<_> = missing.iter().map(|kind| format!("documents.{kind}:required")).collect();
        expected.sort();
        assert_eq!(answer.blamed(), expected);
        answer.expect(if missing.is_empty() { 202 } else { 422 });
    }
    app.run_jobs_to_the_end().await;
    assert_eq!(app.kyc(&user).await["state"], "verified");
    assert_eq!(app.idcheck.books().await["callsByOperation"], json!({ "pan": 1, "gstin": 1, "penny_drop": 1 }));
    app.finish().await;
}

#[tokio::test]
async fn handed_in_twice_is_handed_in_once() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    app.complete(&user, &kyc::individual()).await;
    let first = app.submit(&user).await.expect(202);
    assert!(!is_replay(&first) && first.body["submission"] == 1 && first.body["state"] == "submitted");
    let again = app.submit(&user).await.expect(200);
    assert!(is_replay(&again));
    assert_eq!(again.body, first.body);
    app.run_jobs_to_the_end().await;
    let late = app.submit(&user).await.expect(200);
    assert!(is_replay(&late) && late.body["state"] == "verified" && late.body["submission"] == 1);

    let hasty = app.newcomer().await;
    app.complete(&hasty, &kyc::individual()).await;
    let answers = join_all((0..20).map(|_| app.submit(&hasty))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 202 && !is_replay(answer)).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200 && is_replay(answer)).count(), 19);
    let events = app.kyc_events(&hasty).await;
    assert_eq!(events.iter().filter(|event| text(event, "type") == "KycSubmitted").count(), 1);
    let stored = app.stored_kyc(&hasty).await.unwrap();
    let jobs = app.all("jobs", doc! { "payload.applicationId": text(&stored, "_id") }).await;
    assert_eq!((jobs.len(), text(&jobs[0], "_id")), (1, text(&stored, "jobId")));
    assert_eq!(stored.get_i32("submission").unwrap(), 1);
    app.run_jobs_to_the_end().await;
    assert_eq!(app.idcheck.books().await["callsByOperation"], json!({ "pan": 2, "gstin": 0, "penny_drop": 2 }));
    app.finish().await;
}

/// A merchant whose application is in this state, by the shortest way.
pub async fn applicant_in(app: &TestApp, state: &str) -> User {
    let admin = app.admin().await;
    let user = app.newcomer().await;
    let decide = async |decision: &str| {
        app.decide(&admin, &user, &json!({ "decision": decision, "reason": "As it is." })).await.expect(200);
    };
    if state == "not_started" {
        return user;
    }
    app.complete(&user, &kyc::individual()).await;
    if state != "draft" {
        app.submit(&user).await.expect(202);
    }
    match state {
        "draft" | "submitted" => {}
        "under_review" | "needs_clarification" => {
            let mode = if state == "under_review" { "name_mismatch" } else { "invalid" };
            app.idcheck.misbehave("penny_drop", mode, 1).await;
            app.run_jobs_to_the_end().await;
        }
        "rejected" => decide("reject").await,
        "verified" | "suspended" => {
            app.run_jobs_to_the_end().await;
            if state == "suspended" {
                decide("suspend").await;
            }
        }
        unknown => panic!("there is no state {unknown}"),
    }
    assert_eq!(app.kyc(&user).await["state"], state);
    user
}

#[tokio::test]
async fn what_was_handed_in_is_locked_in_every_state() {
    let app = TestApp::start().await;
    for state in ["under_review", "verified", "rejected", "suspended", "submitted"] {
        let user = applicant_in(&app, state).await;
        let (stored, events) = (app.stored_kyc(&user).await, app.kyc_events(&user).await);
        let refused = async |change: Value, fields: &[&str]| {
            let answer = app.save(&user, change.clone()).await.expect(409);
            assert_eq!((answer.code(), &answer.body["state"]), ("kyc.field_locked", &json!(state)), "{change}");
            assert_eq!(answer.blamed(), locked(fields), "{state}: {change}");
        };
        // Of what is locked nothing is said, not even whether it was repeated.
        let mut whole = kyc::individual();
        let filled_in: Vec<_> = FIELDS.into_iter().filter(|field| *field != "gstin").collect();
        refused(whole.clone(), &filled_in).await;
        set(&mut whole, "/gstin", Value::Null);
        refused(whole.clone(), &FIELDS).await;
        for field in FIELDS {
            refused(json!({ field: null }), &[field]).await;
        }
        remove(&mut whole, "/address");
        set(&mut whole, "/pan", json!("ABCPR9999F"));
        refused(whole, &["aadhaar", "bankAccount", "businessType", "gstin", "legalName", "pan"]).await;
        refused(json!({}), &[]).await;
        app.save(&user, json!({ "pan": "nonsense" })).await.expect(422);

        let document = app.kyc(&user).await["documents"][0].clone();
        let path = format!("/kyc/documents/{}", document["documentId"].as_str().unwrap());
        let kept = app.request(Method::DELETE, &path, Some(&user.token), None).await.expect(409);
        assert_eq!((kept.code(), kept.blamed()), ("kyc.field_locked", locked(&["documents.pan_card"])), "{state}");
        let added = app.upload(&user, "address_proof", kyc::pdf("another")).await.expect(409);
        assert_eq!(
            (added.code(), added.blamed()),
            ("kyc.field_locked", locked(&["documents.address_proof"])),
            "{state}"
        );
        assert_eq!((app.stored_kyc(&user).await, app.kyc_events(&user).await), (stored, events), "{state}");
    }
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn every_change_has_one_event_and_one_record_of_who_asked_for_it() {
    let app = TestApp::start().await;
    let (user, admin) = (app.newcomer().await, app.admin().await);
    let mut asked = Vec::new();
    asked.push(app.save(&user, kyc::individual()).await.expect(200));
    for kind in ["pan_card", "cancelled_cheque", "address_proof", "address_proof"] {
        asked.push(app.upload(&user, kind, kyc::pdf(&format!("{kind} {}", asked.len()))).await.expect(201));
    }
    let path = format!("/kyc/documents/{}", asked[4].body["documentId"].as_str().unwrap());
    asked.push(app.request(Method::DELETE, &path, Some(&user.token), None).await.expect(204));
    app.idcheck.misbehave("pan", "name_mismatch", 1).await;
    asked.push(app.submit(&user).await.expect(202));
    let checked_for = request_id(&asked[6]);
    app.run_jobs_to_the_end().await;
    let mut reviewed = Vec::new();
    for decision in ["approve", "suspend", "reinstate"] {
        let body = json!({ "decision": decision, "reason": "Seen in person." });
        reviewed.push(app.decide(&admin, &user, &body).await.expect(200));
    }
    let events = app
        .expect_kyc_history(
            &user,
            &[
                &["KycDraftSaved"][..],
                &["KycDocumentAdded"; 4],
                &["KycDocumentRemoved", "KycSubmitted", "KycReferred", "KycApproved", "KycSuspended", "KycReinstated"],
            ]
            .concat(),
        )
        .await;
    let merchants = asked.iter().map(|answer| ("user", user.user_id.clone(), request_id(answer)));
    let admins = reviewed.iter().map(|answer| ("user", admin.user_id.clone(), request_id(answer)));
    let worker = ("worker", text(&events[7], "actor.id").to_owned(), checked_for);
    let expected: Vec<_> = merchants.chain([worker]).chain(admins).collect();
    for (event, (kind, id, request)) in events.iter().zip(expected) {
        assert_eq!((text(event, "actor.kind"), text(event, "actor.id")), (kind, &*id), "{event}");
        assert_eq!(text(event, "actor.requestId"), request, "{event}");
        if kind == "user" {
            assert_eq!(text(event, "actor.address"), "127.0.0.1", "{event}");
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn nobody_else_sees_or_changes_an_application() {
    let app = TestApp::start().await;
    let (user, stranger) = (app.applicant(&kyc::individual()).await, app.newcomer().await);
    let own = app.kyc(&user).await;
    let theirs = app.kyc(&stranger).await;
    assert_eq!(
        (&theirs["state"], &theirs["legalName"], &theirs["documents"]),
        (&json!("not_started"), &Value::Null, &json!([]))
    );
    assert_eq!(app.get(&stranger, "/kyc/documents").await.expect(200).body, json!({ "items": [], "nextCursor": null }));
    for path in ["/kyc?userId=", "/kyc/documents?userId="] {
        let answer = app.get(&stranger, &format!("{path}{}", user.user_id)).await.expect(422);
        assert_eq!(answer.blamed(), ["userId:unknown"]);
    }
    assert_eq!(app.save(&stranger, json!({ "userId": user.user_id })).await.expect(422).blamed(), ["userId:unknown"]);
    for path in ["/kyc/applications", &format!("/kyc/applications/{}", user.user_id)] {
        app.get(&stranger, path).await.expect(403);
    }
    app.save(&stranger, json!({ "legalName": "Somebody Else" })).await.expect(200);
    app.submit(&stranger).await.expect(422);
    assert_eq!(app.kyc(&user).await, own);
    app.run_jobs_to_the_end().await;
    assert_eq!(
        (&app.kyc(&user).await["state"], &app.kyc(&stranger).await["state"]),
        (&json!("verified"), &json!("draft"))
    );
    app.finish().await;
}
