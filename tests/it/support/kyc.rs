//! Applications of tests, and the verification provider's stand-in.

use bson::{Document, doc};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use super::{Answer, Carrier, TestApp, User, read};

/// Where the carrier's API is in the stand-ins' process.
const CARRIER: &str = "/parcelx/api/v3";

pub const PAN: &str = "ABCPR1234F";
pub const AADHAAR: &str = "999941057058";
pub const ACCOUNT_NUMBER: &str = "123456789012";
/// Of a company in Karnataka, with the state code 29.
pub const COMPANY_PAN: &str = "AAGCB7383J";
pub const COMPANY_GSTIN: &str = "29AAGCB7383J1Z4";

pub const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\nIDATx\x9cc\
\xf8\x0f\0\x01\x01\x01\0\x1b\xb6\xeeV\0\0\0\0IEND\xaeB`\x82";

/// A PDF that says `words`, so that two of them differ.
pub fn pdf(words: &str) -> Vec<u8> {
    format!("%PDF-1.4\n{words}\n%%EOF\n").into_bytes()
}

pub fn individual() -> Value {
    json!({
        "businessType": "individual", "legalName": "Asha Rao", "pan": PAN, "aadhaar": AADHAAR,
        "bankAccount": { "accountNumber": ACCOUNT_NUMBER, "ifsc": "HDFC0000123" },
        "address": { "line1": "12 MG Road", "line2": null, "city": "Bengaluru", "state": "Karnataka", "pincode": "560001" },
    })
}

pub fn company() -> Value {
    json!({
        "businessType": "company", "legalName": "Blue Kite Private Limited", "pan": COMPANY_PAN, "gstin": COMPANY_GSTIN,
        "bankAccount": { "accountNumber": ACCOUNT_NUMBER, "ifsc": "HDFC0000123" },
        "address": { "line1": "12 MG Road", "city": "Bengaluru", "state": "Karnataka", "pincode": "560001" },
    })
}

/// The application with numbers that the applicants before the `nth` don't have, where it has the usual ones.
fn with_own_numbers(application: &Value, nth: usize) -> Value {
    let mut application = application.clone();
    for usual in [PAN, COMPANY_PAN] {
        let number: usize = usual[5..9].parse().unwrap();
        let own = format!("{}{:04}{}", &usual[..5], (number + nth) % 10_000, &usual[9..]);
        if application["pan"] == usual {
            application["pan"] = json!(own);
        }
        let gstin = application["gstin"].as_str().filter(|gstin| nth > 0 && gstin.contains(usual)).map(str::to_owned);
        if let Some(gstin) = gstin {
            let first14 = format!("{}{own}{}", &gstin[..2], &gstin[12..14]);
            application["gstin"] = json!(format!("{first14}{}", check_character(&first14)));
        }
    }
    if application["bankAccount"]["accountNumber"] == ACCOUNT_NUMBER {
        let number: usize = ACCOUNT_NUMBER.parse().unwrap();
        application["bankAccount"]["accountNumber"] = json!((number + 1_000 * nth).to_string());
    }
    application
}

/// The last character of a GSTIN: weights of one and two in turn, digits in base 36 added up.
fn check_character(first14: &str) -> char {
    let sum: u32 = first14
        .chars()
        .enumerate()
        .map(|(at, c)| {
            let product = c.to_digit(36).unwrap() * (1 + at as u32 % 2);
            product / 36 + product % 36
        })
        .sum();
    char::from_digit((36 - sum % 36) % 36, 36).unwrap().to_ascii_uppercase()
}

/// Of the PAN of [`individual`], in Karnataka.
pub const GSTIN: &str = "29ABCPR1234F1ZU";

/// What is nobody's business: of [`individual`] and [`company`], in lower case, with the stand-in's own invention.
const PERSONAL: [&str; 10] = [
    "asha rao",
    "blue kite",
    "vikram",
    "abcpr1234f",
    "aagcb7383j",
    "999941057058",
    "9999 4105 7058",
    "123456789012",
    "12 mg road",
    "hdfc0000123",
];

/// Asserts that nothing of [`PERSONAL`] is in `text`.
#[track_caller]
pub fn assert_impersonal(text: &str) {
    let text = text.to_lowercase();
    for personal in PERSONAL {
        assert!(!text.contains(personal), "{personal} is in {text}");
    }
}

/// The verification provider's stand-in, in the carrier's process.
pub struct IdCheck {
    url: String,
    client: reqwest::Client,
}

/// Settings for the verification provider beside the carrier whose base URL this is.
pub fn idcheck_flags(carrier: &str) -> Vec<String> {
    let Some(root) = carrier.strip_suffix(CARRIER) else { return Vec::new() };
    vec![format!("--idcheck-base-url={root}/idcheck/v1"), "--idcheck-api-key=dev".to_owned()]
}

impl IdCheck {
    pub fn beside(carrier: &Carrier) -> Self {
        let base = carrier.base_url();
        let root = base.strip_suffix(CARRIER).expect("the carrier's path");
        Self { url: format!("{root}/idcheck"), client: carrier.client.clone() }
    }

    /// Adds a rule; see the stand-ins' `rules`, `transport` and the provider's `modes`.
    pub async fn rule(&self, rule: Value) {
        let request = self.client.post(format!("{}/_control/rules", self.url));
        let response = request.header("content-type", "application/json").body(rule.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 201, "{rule}");
    }

    /// `times` calls of `operation` (pan, gstin, penny_drop, any) behave like `mode`.
    pub async fn misbehave(&self, operation: &str, mode: &str, times: u32) {
        self.rule(json!({ "operation": operation, "mode": mode, "times": times })).await;
    }

    /// Every call of `operation` behaves like `mode` until [`IdCheck::behave`].
    pub async fn misbehave_always(&self, operation: &str, mode: &str) {
        self.rule(json!({ "operation": operation, "mode": mode })).await;
    }

    /// Forgets the rules.
    pub async fn behave(&self) {
        self.client.delete(format!("{}/_control/rules", self.url)).send().await.unwrap();
    }

    pub async fn books(&self) -> Value {
        self.read("/_books").await
    }

    /// Every check it was asked for.
    pub async fn checks(&self) -> Vec<Value> {
        self.read("/_books/checks").await.as_array().cloned().unwrap_or_default()
    }

    async fn read(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default()
    }
}

impl TestApp {
    /// A new merchant of whom nothing is known.
    pub async fn newcomer(&self) -> User {
        self.user(Role::Merchant).await
    }

    pub async fn put(&self, user: &User, path: &str, body: &Value) -> Answer {
        self.request(Method::PUT, path, Some(&user.token), Some(body)).await
    }

    /// The application as its merchant sees it.
    pub async fn kyc(&self, user: &User) -> Value {
        self.get(user, "/kyc").await.expect(200).body
    }

    pub async fn upload(&self, user: &User, kind: &str, content: impl Into<Vec<u8>>) -> Answer {
        let file = Part::bytes(content.into()).file_name("file").mime_str("application/octet-stream").unwrap();
        let form = Form::new().text("kind", kind.to_owned()).part("file", file);
        let request = self.client.post(format!("{}/kyc/documents", self.base)).bearer_auth(&user.token);
        read(request.multipart(form).send().await.expect("the api answers")).await
    }

    /// Fills in everything and adds every document, so that it can be handed in. The first applicant of a test has these numbers,
    /// each further one its own.
    pub async fn complete(&self, user: &User, application: &Value) {
        let nth = self.applicants.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.complete_as_it_is(user, &with_own_numbers(application, nth)).await;
    }

    /// The same with exactly these numbers.
    pub async fn complete_as_it_is(&self, user: &User, application: &Value) {
        self.put(user, "/kyc", application).await.expect(200);
        for kind in ["pan_card", "gst_certificate", "cancelled_cheque", "address_proof"] {
            if kind != "gst_certificate" || application.get("gstin").is_some() {
                self.upload(user, kind, pdf(kind)).await.expect(201);
            }
        }
    }

    pub async fn submit(&self, user: &User) -> Answer {
        self.request(Method::POST, "/kyc/submit", Some(&user.token), None).await
    }

    /// A merchant whose application is handed in, and not checked yet.
    pub async fn applicant(&self, application: &Value) -> User {
        let user = self.newcomer().await;
        self.complete(&user, application).await;
        self.submit(&user).await.expect(202);
        user
    }

    pub async fn decide(&self, reviewer: &User, user: &User, decision: &Value) -> Answer {
        self.post(reviewer, &format!("/kyc/applications/{}/decision", user.user_id), decision).await
    }

    pub async fn application(&self, user: &User) -> Document {
        let mut found = self.all("kyc_applications", doc! { "userId": &user.user_id }).await;
        assert_eq!(found.len(), 1);
        found.pop().unwrap()
    }

    pub async fn kyc_state(&self, user: &User) -> String {
        self.kyc(user).await["state"].as_str().unwrap().to_owned()
    }

    /// The job of the latest submission.
    pub async fn kyc_job(&self, user: &User) -> Document {
        let application = self.application(user).await;
        let id = application.get_str("jobId").unwrap();
        self.all("jobs", doc! { "_id": id }).await.pop().expect("every submission has its job")
    }

    /// Types of the events about an application, oldest first.
    pub async fn kyc_event_types(&self, user: &User) -> Vec<String> {
        let application = self.application(user).await;
        let events = self.all("events", doc! { "subjectId": application.get_str("_id").unwrap() }).await;
        events.iter().map(|event| event.get_str("type").unwrap().to_owned()).collect()
    }

    /// Our reference of a check: `pan`, `gstin`, `bank_account`.
    pub async fn reference(&self, user: &User, check: &str) -> String {
        let application = self.application(user).await;
        let mut checks = application.get_array("checks").unwrap().iter().map(|check| check.as_document().unwrap());
        let found = checks.find(|found| found.get_str("kind").unwrap() == check).expect("the check");
        found.get_str("reference").unwrap().to_owned()
    }

    /// `times` calls (or all) of `operation` about this application behave like `mode`.
    pub async fn check_misbehaves(&self, user: &User, operation: &str, mode: &str, times: Option<u32>) {
        let check = if operation == "penny_drop" { "bank_account" } else { operation };
        let reference = self.reference(user, check).await;
        let rule = json!({ "operation": operation, "reference": reference, "mode": mode, "times": times });
        self.idcheck.rule(rule).await;
    }

    /// Codes of the answers about an application, as logged, oldest first; null for a good one. Asserts that every request
    /// has its answer, that both say what they are about, and nothing else.
    pub async fn answers_about(&self, user: &User) -> Vec<Option<String>> {
        let application = self.application(user).await;
        let about = doc! { "resourceId": application.get_str("_id").unwrap(), "userId": &user.user_id };
        let requests = self.all("provider_request_logs", about.clone()).await;
        let answers = self.all("provider_response_logs", about).await;
        let ids = |logs: &[Document], field: &str| -> Vec<String> {
            logs.iter().map(|log| log.get_str(field).unwrap().to_owned()).collect()
        };
        let mut answered = ids(&answers, "requestRefId");
        answered.sort();
        answered.dedup();
        assert_eq!(answered, ids(&requests, "_id"), "an answer for every request");
        requests.iter().chain(&answers).for_each(|log| assert_impersonal(&log.to_string()));
        answers.iter().map(|answer| answer.get_str("errorCode").ok().map(str::to_owned)).collect()
    }

    /// Has a dead verification job tried again.
    pub async fn retry_checks(&self, admin: &User, user: &User) -> Answer {
        let job = self.kyc_job(user).await;
        let path = format!("/queues/jobs/{}/retry", job.get_str("_id").unwrap());
        self.request(Method::POST, &path, Some(&admin.token), None).await
    }
}
