//! Requests to IDCheck, and the parts of them and of its answers that are stored or printed.

use super::*;
use crate::platform::exchange::Prepared;

/// Values that must be in no record and no log line.
const PERSONAL: [&str; 6] = [PAN, GSTIN, ACCOUNT, APPLICANT, REGISTERED, TRADE];

fn assert_impersonal(text: &str) {
    let text = text.to_lowercase();
    for personal in PERSONAL {
        assert!(!text.contains(&personal.to_lowercase()), "{personal} is in {text}");
    }
}

fn call(kind: CheckKind) -> Outbound {
    adapter().request(&question(kind))
}

#[test]
fn a_question_is_written_as_the_contract_wants_it() {
    // Written from the contract, by hand.
    for (kind, url, body) in [
        (
            CheckKind::Pan,
            "https://idcheck.example/idcheck/v1/pan-verifications",
            r#"{"reference": "chk_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "pan": "ABCDE1234F", "name": "asha rao"}"#,
        ),
        (
            CheckKind::Gstin,
            "https://idcheck.example/idcheck/v1/gstin-verifications",
            r#"{"reference": "chk_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "gstin": "29ABCDE1234F1Z5", "name": "asha rao"}"#,
        ),
        (
            CheckKind::BankAccount,
            "https://idcheck.example/idcheck/v1/penny-drops",
            r#"{"reference": "chk_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "account_number": "50100012345678",
                "ifsc": "HDFC0001234", "name": "asha rao"}"#,
        ),
    ] {
        let outbound = call(kind);
        assert_eq!((outbound.method, &*outbound.url), (Method::POST, url));
        assert_eq!(outbound.body, Some(serde_json::from_str(body).expect("JSON")));
    }
}

#[test]
fn every_call_says_whose_and_what_it_is() {
    let calls = CheckKind::ALL.map(call);
    assert_eq!(calls.each_ref().map(|call| call.provider), ["idcheck"; 3]);
    assert_eq!(calls.map(|call| call.operation), ["verify_pan", "verify_gstin", "penny_drop"]);
    assert_eq!(CheckKind::ALL.map(CheckKind::operation), ["verify_pan", "verify_gstin", "penny_drop"]);
    assert_eq!(adapter().name(), "idcheck");
}

#[test]
fn a_kind_has_one_word() {
    assert_eq!(CheckKind::ALL.map(CheckKind::as_str), ["pan", "gstin", "bank_account"]);
    for kind in CheckKind::ALL {
        assert_eq!(question(kind).inquiry.kind(), kind);
        assert_eq!(serde_json::to_value(kind).expect("JSON"), json!(kind.as_str()));
        assert_eq!(serde_json::from_value::<CheckKind>(json!(kind.as_str())).expect("a kind"), kind);
    }
}

#[test]
fn the_key_has_its_header_and_can_not_be_printed() {
    let of = |key: &str| -> AccountSecrets { [(super::super::API_KEY, key.to_owned().into())].into_iter().collect() };
    let credentials = adapter().sign(&of(API_KEY)).expect("credentials");
    let [(name, value)] = &credentials[..] else { panic!("one header: {credentials:?}") };
    assert_eq!((name.as_str(), value.to_str().expect("text")), ("x-api-key", API_KEY));
    assert!(value.is_sensitive());
    assert_eq!(adapter().credential_headers(), [name.as_str()]);
    let printed = format!("{:?} {credentials:?}", adapter());
    assert!(!printed.contains("hush-hush"), "{printed}");

    assert!(adapter().sign(&of("two\nlines")).is_none());
}

#[test]
fn a_record_of_a_question_keeps_its_reference_alone() {
    for kind in CheckKind::ALL {
        let record = Prepared::new(call(kind), adapter().credential_headers()).record;
        assert_eq!(record.headers.get_str("x-api-key").ok(), Some("[credential]"));
        assert_eq!(record.body.as_document().expect("a document").get_str("reference").ok(), Some(REFERENCE));
        let stored = format!("{} {} {}", record.url, record.headers, record.body);
        assert_impersonal(&stored);
        assert!(!stored.contains(IFSC), "{stored}");
    }
}

#[test]
fn a_record_of_an_answer_explains_it_and_names_nobody() {
    for kind in CheckKind::ALL {
        let redaction = call(kind).redaction;
        let repeats = body(kind, |body| {
            body["pan"] = json!(PAN);
            body["gstin"] = json!(GSTIN);
            body["account_number"] = json!(ACCOUNT);
            body["ifsc"] = json!(IFSC);
            body["name"] = json!(APPLICANT);
            body[PAN] = json!([{ "status": REGISTERED, "message": REGISTERED }]);
        });
        let stored = redaction.response_body(&repeats).to_string();
        assert_impersonal(&stored);
        assert!(!stored.contains(IFSC), "{stored}");
        let kept: &[&str] = match kind {
            CheckKind::Pan => &[REFERENCE, "valid"],
            CheckKind::Gstin => &[REFERENCE, "active"],
            CheckKind::BankAccount => &[REFERENCE, UTR, "\"account_exists\": true", "\"amount_deposited\": 1"],
        };
        assert!(kept.iter().all(|text| stored.contains(text)), "{stored}");
    }
}

/// Messages of a provider that repeat what it was sent.
fn tactless() -> [String; 7] {
    [
        format!("Cannot verify this for {APPLICANT}"),
        format!("Account of {REGISTERED}"),
        format!("Bad PAN {PAN}"),
        format!("gstin={};", GSTIN.to_lowercase()),
        format!("Account {ACCOUNT} is odd"),
        "Account 5010 0012 3456 78 is odd".into(),
        "Ask asha@example.com".into(),
    ]
}

#[test]
fn what_they_say_is_stored_and_printed_without_names_and_numbers() {
    for kind in CheckKind::ALL {
        for said in tactless() {
            for (status, answer) in [(422, error("invalid", &said)), (200, not_dropped(&said))] {
                let stored = call(kind).redaction.response_body(&answer).to_string();
                let printed = format!("{:?}", read(kind, &http(status, answer)));
                for text in [stored, printed] {
                    assert_impersonal(&text);
                    assert!(!text.contains("5010 0012") && !text.contains("asha@"), "{text}");
                }
            }
        }
    }
}

#[test]
fn questions_and_findings_are_printed_without_names_and_numbers() {
    for kind in CheckKind::ALL {
        let printed = format!("{:?} {:?}", question(kind), read(kind, &http(200, body(kind, |_| {}))));
        assert_impersonal(&printed);
        assert!(!printed.contains(IFSC), "{printed}");
        for text in [REFERENCE, kind.as_str(), "Confirmed"] {
            assert!(printed.contains(text), "{printed}");
        }
    }
}
