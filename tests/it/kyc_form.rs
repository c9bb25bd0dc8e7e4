//! What may be written into an application: everything that is malformed is named, nothing of it is repeated or stored.

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::modules::kyc::identifiers::{check_character, verhoeff_check_digit};

use crate::support::{
    Answer, TestApp,
    drive::{remove, set},
    kyc,
};

/// The individual's application with one value changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut application = kyc::individual();
    set(&mut application, pointer, value);
    application
}

/// Twelve digits with the right check digit.
fn aadhaar(first11: &str) -> String {
    format!("{first11}{}", verhoeff_check_digit(first11).unwrap())
}

fn gstin(first14: &str) -> String {
    format!("{first14}{}", check_character(first14).unwrap())
}

/// Nothing of what was sent is in the answer; what is shorter may be in it by chance.
fn expect_silent(answer: &Answer, value: &Value) {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for word in text.split(['"', ' ', '`']).filter(|word| word.chars().count() > 5 && *word != "expected") {
        assert!(!answer.text.contains(word), "{word}: {}", answer.text);
    }
}

impl TestApp {
    /// Nobody's application, no event, no record.
    async fn expect_no_trace(&self) {
        for collection in ["kyc_applications", "kyc_documents", "events", "audit_events", "jobs"] {
            // That the merchant was made is on record.
            let found = self
                .all(collection, doc! { "action": { "$ne": "user.created" }, "type": { "$ne": "UserCreated" } })
                .await;
            assert_eq!(found, [], "{collection}");
        }
    }

    /// Every one of these values is refused, and this is said of it.
    async fn expect_refused(&self, values: &[(&str, Value, &str)]) {
        let user = self.newcomer().await;
        for (pointer, value, blamed) in values {
            let answer = self.save(&user, with(pointer, value.clone())).await.expect(422);
            assert_eq!((answer.code(), answer.blamed()), ("request.invalid", vec![(*blamed).to_owned()]), "{value}");
            expect_silent(&answer, value);
        }
        self.expect_no_trace().await;
    }
}

#[tokio::test]
async fn all_that_is_malformed_is_named_at_once() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let wrong = json!({
        "businessType": "company", "legalName": "Asha\u{7}Rao", "pan": "ABCXR1234F", "gstin": "27AAPFU0939F1ZW",
        "aadhaar": "999941057059", "bankAccount": { "accountNumber": "12345678", "ifsc": "HDFC1000123" },
        "address": { "line1": "x".repeat(121), "line2": "\t", "city": "Benga\u{1b}luru", "state": "Bavaria", "pincode": "012345" },
    });
    let answer = app.save(&user, wrong.clone()).await.expect(422);
    let blamed = [
        "aadhaar",
        "address.city",
        "address.line1",
        "address.line2",
        "address.pincode",
        "address.state",
        "bankAccount.accountNumber",
        "bankAccount.ifsc",
        "gstin",
        "legalName",
        "pan",
    ];
    assert_eq!(answer.blamed(), blamed.map(|field| format!("{field}:format")));
    for pointer in [
        "/legalName",
        "/pan",
        "/gstin",
        "/aadhaar",
        "/bankAccount/accountNumber",
        "/bankAccount/ifsc",
        "/address/line1",
        "/address/state",
        "/address/pincode",
    ] {
        expect_silent(&answer, wrong.pointer(pointer).unwrap());
    }
    app.expect_no_trace().await;

    // What is there stays, also where half of a request is fine.
    app.save(&user, kyc::individual()).await.expect(200);
    let stored = app.stored_kyc(&user).await;
    app.save(&user, json!({ "legalName": "Usha Rao", "pan": "ABCPR1234", "address": null })).await.expect(422);
    assert_eq!(app.stored_kyc(&user).await, stored);
    app.finish().await;
}

#[tokio::test]
async fn malformed_tax_numbers_are_refused() {
    let app = TestApp::start().await;
    let mut refused = Vec::new();
    for (pan, blamed) in [
        (json!(""), "pan:format"),
        (json!("ABCPR1234"), "pan:format"),
        (json!("ABCPR1234FF"), "pan:format"),
        (json!("ABCXR1234F"), "pan:format"),
        (json!("ABCP11234F"), "pan:format"),
        (json!("ABCPR12345"), "pan:format"),
        (json!("ABCPR-1234-F"), "pan:format"),
        (json!("ABCPR 1234F"), "pan:format"),
        (json!("ABCPR१२३४F"), "pan:format"),
        (json!("АВСРR1234F"), "pan:format"),
        (json!("ABCPR1234F\u{0}"), "pan:format"),
        (json!(1234), "pan:type"),
        (json!({ "$ne": null }), "pan:type"),
        (json!([kyc::PAN]), "pan:type"),
        (json!(true), "pan:type"),
    ] {
        refused.push(("/pan", pan, blamed));
    }
    for (gstin, blamed) in [
        (json!("29AAGCB7383J1Z5"), "gstin:format"),
        (json!("29AAGCB7383J1Z"), "gstin:format"),
        (json!("29AAGCB7383J1Z44"), "gstin:format"),
        (json!(gstin("29AAGCB7383J0Z")), "gstin:format"),
        (json!(gstin("29AAGCB7383J1Y")), "gstin:format"),
        (json!(gstin("00AAGCB7383J1Z")), "gstin:format"),
        (json!(gstin("39AAGCB7383J1Z")), "gstin:format"),
        (json!(gstin("96AAGCB7383J1Z")), "gstin:format"),
        (json!(gstin("98AAGCB7383J1Z")), "gstin:format"),
        (json!(gstin("29AAGXB7383J1Z")), "gstin:format"),
        (json!("२९AAGCB7383J1Z4"), "gstin:format"),
        (json!(29), "gstin:type"),
    ] {
        refused.push(("/gstin", gstin, blamed));
    }
    app.expect_refused(&refused).await;
    app.finish().await;
}

#[tokio::test]
async fn malformed_numbers_of_persons_are_refused() {
    let app = TestApp::start().await;
    let mut refused = Vec::new();
    for number in [
        "".to_owned(),
        // Another check digit, and two neighbours swapped.
        "999941057059".into(),
        "999941507058".into(),
        "99994105705".into(),
        "9999410570580".into(),
        aadhaar("19994105705"),
        aadhaar("09994105705"),
        "9999 41057058".into(),
        "9999  4105 7058".into(),
        "9999.4105.7058".into(),
        "9999\u{a0}4105\u{a0}7058".into(),
        "XXXX-XXXX-7058".into(),
        "९९९९४१०५७०५८".into(),
        "999941057058 999941057058".into(),
    ] {
        refused.push(("/aadhaar", json!(number), "aadhaar:format"));
    }
    let number: Value = serde_json::from_str(kyc::AADHAAR).unwrap();
    let float: Value = serde_json::from_str("999941057058.0").unwrap();
    for wrong in [number.clone(), float, json!([kyc::AADHAAR]), json!({ "number": number })] {
        refused.push(("/aadhaar", wrong, "aadhaar:type"));
    }
    app.expect_refused(&refused).await;
    app.finish().await;
}

#[tokio::test]
async fn malformed_accounts_are_refused() {
    let app = TestApp::start().await;
    let (account, ifsc) = ("/bankAccount/accountNumber", "/bankAccount/ifsc");
    let mut refused = Vec::new();
    for number in
        ["", "12345678", "1234567890123456789", "1234 5678 9012", "12345678901A", "１２３４５６７８９", "-123456789"]
    {
        refused.push((account, json!(number), "bankAccount.accountNumber:format"));
    }
    for code in ["", "HDFC1000123", "HDFC000012", "HDFC00001234", "HDF00000123", "HDFC0000 123", "HDFC000012é"] {
        refused.push((ifsc, json!(code), "bankAccount.ifsc:format"));
    }
    refused.extend([
        (account, json!(123_456_789_012_i64), "bankAccount.accountNumber:type"),
        (account, Value::Null, "bankAccount.accountNumber:type"),
        (ifsc, json!(5), "bankAccount.ifsc:type"),
        ("/bankAccount", json!("123456789012"), "bankAccount:type"),
        ("/bankAccount", json!(["123456789012", "HDFC0000123"]), "bankAccount:type"),
        ("/bankAccount", json!({ "accountNumber": "123456789012" }), "bankAccount.ifsc:required"),
        ("/bankAccount", json!({ "ifsc": "HDFC0000123" }), "bankAccount.accountNumber:required"),
        ("/bankAccount/swift", json!("HDFCINBB"), "bankAccount.swift:unknown"),
    ]);
    app.expect_refused(&refused).await;
    app.finish().await;
}

#[tokio::test]
async fn malformed_names_and_addresses_are_refused() {
    let app = TestApp::start().await;
    let long = "ा".repeat(121);
    let mut refused = Vec::new();
    for (pointer, blamed) in [
        ("/legalName", "legalName:format"),
        ("/address/line1", "address.line1:format"),
        ("/address/line2", "address.line2:format"),
        ("/address/city", "address.city:format"),
    ] {
        for text in
            ["", "   ", &long, "Asha\u{0}Rao", "Asha\nRao", "Asha\u{1b}[31mRao", "Asha\u{7f}Rao", "Asha\u{85}Rao"]
        {
            refused.push((pointer, json!(text), blamed));
        }
    }
    for state in ["", "Bavaria", "29", "XX", "Karnataka\u{0}x", &"Karnataka".repeat(1_000)] {
        refused.push(("/address/state", json!(state), "address.state:format"));
    }
    for pincode in ["", "012345", "56001", "5600011", "56000a", "560-001", "५६०००१", "560001\n"] {
        refused.push(("/address/pincode", json!(pincode), "address.pincode:format"));
    }
    refused.extend([
        ("/legalName", json!({ "first": "Asha" }), "legalName:type"),
        ("/address", json!("12 MG Road"), "address:type"),
        ("/address/pincode", json!(560_001), "address.pincode:type"),
        ("/address/pincode", json!("540001"), "address.pincode:no_place"),
        ("/address/pincode", json!("110020"), "address.state:pincode_differs"),
        ("/address/state", json!("Kerala"), "address.state:pincode_differs"),
        ("/address/country", json!("IN"), "address.country:unknown"),
        ("/businessType", json!("Individual"), "businessType:unknown_value"),
        ("/businessType", json!({ "individual": null }), "businessType:type"),
        // The sentence about it says "expected" too.
        ("/businessType", json!("expected 999941057058"), "businessType:unknown_value"),
        ("/businessType", json!("x`, expected 999941057058"), "businessType:unknown_value"),
    ]);
    app.expect_refused(&refused).await;
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_application_is_refused() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    for field in [
        "panNumber",
        "PAN",
        "aadhaarNumber",
        "state",
        "submission",
        "documents",
        "requirements",
        "_id",
        "userId",
        "",
        "$set",
    ] {
        let answer = app.save(&user, json!({ "legalName": "Asha Rao", field: kyc::AADHAAR })).await.expect(422);
        assert_eq!(answer.blamed(), [format!("{field}:unknown")]);
        expect_silent(&answer, &json!(kyc::AADHAAR));
    }
    for mandatory in ["line1", "city", "state", "pincode"] {
        let mut application = kyc::individual();
        remove(&mut application, &format!("/address/{mandatory}"));
        let answer = app.save(&user, application).await.expect(422);
        assert_eq!(answer.blamed(), [format!("address.{mandatory}:required")]);
    }
    let json_text = Some("application/json");
    let whole = kyc::individual().to_string();
    for (body, content_type, status) in [
        ("null".to_owned(), json_text, 422),
        ("[]".into(), json_text, 422),
        (format!("[{whole}]"), json_text, 422),
        (whole.replacen('{', "{\"pan\":null,", 1), json_text, 422),
        (whole[..whole.len() - 1].to_owned(), json_text, 400),
        (String::new(), json_text, 400),
        (whole.clone(), Some("text/plain"), 415),
        (whole.clone(), None, 415),
        (format!("{whole}{}", " ".repeat(300 * 1024)), json_text, 413),
    ] {
        let answer = app.send(Method::PUT, "/kyc", Some(&user), content_type, body.clone()).await.expect(status);
        for secret in [kyc::AADHAAR, kyc::PAN, kyc::ACCOUNT_NUMBER] {
            assert!(!answer.text.contains(secret), "{}", answer.text);
        }
    }
    app.expect_no_trace().await;
    app.finish().await;
}

#[tokio::test]
async fn usual_spellings_are_understood() {
    let app = TestApp::start().await;
    for (pointer, spelling, shown) in [
        ("/pan", json!(" abcpr1234f\n"), json!("XXXXXX234F")),
        ("/gstin", json!("29aagcb7383j1z4"), json!("29XXXXXXXXXX1Z4")),
        ("/gstin", json!(gstin("97AAGCB7383J9Z")), json!(format!("97XXXXXXXXXX{}", &gstin("97AAGCB7383J9Z")[12..]))),
        ("/aadhaar", json!("9999 4105 7058"), json!("XXXX-XXXX-7058")),
        ("/aadhaar", json!(" 9999-4105-7058 "), json!("XXXX-XXXX-7058")),
        ("/aadhaar", json!(aadhaar("23456789012")), json!(format!("XXXX-XXXX-{}", &aadhaar("23456789012")[8..]))),
        ("/bankAccount/accountNumber", json!("000000001"), json!("XXXXX0001")),
        ("/bankAccount/accountNumber", json!("123456789012345678"), json!("XXXXXXXXXXXXXX5678")),
        ("/bankAccount/ifsc", json!("hdfc0abc12d"), json!("HDFC0ABC12D")),
        ("/address/state", json!("J & K"), json!("Jammu and Kashmir")),
        ("/address/state", json!("tamilnadu"), json!("Tamil Nadu")),
        ("/address/line2", json!(" 2nd floor "), json!("2nd floor")),
        ("/legalName", json!("आ".repeat(120)), json!("आ".repeat(120))),
        ("/legalName", json!("O'Brien & Søns (Pvt.) Ltd <b>"), json!("O'Brien & Søns (Pvt.) Ltd <b>")),
        ("/businessType", json!("body_of_individuals"), json!("body_of_individuals")),
    ] {
        let user = app.newcomer().await;
        let mut application = with(pointer, spelling.clone());
        match spelling.as_str() {
            Some("J & K") => set(&mut application, "/address/pincode", json!("190001")),
            Some("tamilnadu") => set(&mut application, "/address/pincode", json!("600001")),
            _ => {}
        }
        app.save(&user, application).await.expect(200);
        assert_eq!(app.kyc(&user).await.pointer(pointer), Some(&shown), "{spelling}");
    }
    app.finish().await;
}
