//! Changes that are allowed, missing fields, contradictions.

use bson::DateTime;
use secrecy::SecretString;

use super::{
    draft::{
        DOCUMENTS_MAX, DraftChange, FieldChange, defects, documents_are_open, has_room, locked_fields, open_numbers,
    },
    identifiers::{Holder, Pan},
    model::{
        AadhaarRef, Address, Application, BankAccount, Check, CheckStatus, DocumentEntry, DocumentKind, KycState,
        Requirement, SealedNumber, field_place,
    },
};
use crate::{modules::providers::checks::CheckKind, platform::sealing::SealingKeys};

const NOW: DateTime = DateTime::from_millis(1_800_000_000_000);
const ID: &str = "kyc_1";

fn keys() -> SealingKeys {
    SealingKeys::new(&SecretString::from("a".repeat(64)), None).expect("a key")
}

fn sealed(field: &str, number: &str) -> SealedNumber {
    SealedNumber { masked: "XXXX".into(), sealed: keys().seal(&field_place(ID, field), number.as_bytes()) }
}

fn document(kind: DocumentKind) -> DocumentEntry {
    DocumentEntry {
        id: format!("doc_{}", kind.as_str()),
        kind,
        media_type: "application/pdf".into(),
        bytes: 1,
        sha256: kind.as_str().into(),
        uploaded_at: NOW,
    }
}

fn address(state: &str) -> Address {
    Address {
        line1: "12 MG Road".into(),
        line2: None,
        city: "Bengaluru".into(),
        state: state.into(),
        pincode: "560001".into(),
    }
}

/// Everything that a company has to hand in.
fn company() -> Application {
    Application {
        id: ID.into(),
        business_type: Some(Holder::Company),
        legal_name: Some("Blue Kite Private Limited".into()),
        pan: Some(sealed("pan", "AAGCB7383J")),
        gstin: Some(sealed("gstin", "29AAGCB7383J1Z4")),
        bank_account: Some(BankAccount { number: sealed("accountNumber", "123456789012"), ifsc: "HDFC0000123".into() }),
        address: Some(address("Karnataka")),
        documents: DocumentKind::ALL.map(document).to_vec(),
        ..Application::new("usr_1", NOW)
    }
}

fn individual() -> Application {
    Application {
        business_type: Some(Holder::Individual),
        pan: Some(sealed("pan", "ABCPR1234F")),
        gstin: None,
        aadhaar: Some(AadhaarRef { last4: "7058".into(), reference: "adr_1".into() }),
        ..company()
    }
}

/// Defects as `field:code`.
fn found(application: &Application) -> Vec<String> {
    let numbers = open_numbers(application, &keys()).expect("opens");
    defects(application, &numbers).iter().map(|defect| format!("{}:{}", defect.field, defect.code)).collect()
}

#[test]
fn what_is_complete_has_no_defects() {
    assert_eq!(found(&company()), [""; 0]);
    assert_eq!(found(&individual()), [""; 0]);
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let empty = Application { id: ID.into(), ..Application::new("usr_1", NOW) };
    let documents = ["documents.pan_card", "documents.cancelled_cheque", "documents.address_proof"];
    let fields = ["businessType", "legalName", "pan", "bankAccount", "address"];
    let all = |names: &[&str]| names.iter().map(|name| format!("{name}:required")).collect::<Vec<_>>();
    assert_eq!(found(&empty), all(&[&fields[..], &documents[..]].concat()));
    let company = Application { gstin: None, ..company() };
    assert_eq!(found(&company), ["gstin:required"]);
    let individual = Application { aadhaar: None, ..individual() };
    assert_eq!(found(&individual), ["aadhaar:required"]);
}

#[test]
fn a_certificate_goes_with_a_gstin() {
    let mut company = company();
    company.documents.retain(|document| document.kind != DocumentKind::GstCertificate);
    assert_eq!(found(&company), ["documents.gst_certificate:required"]);
}

#[test]
fn what_contradicts_is_named() {
    let with = |change: fn(&mut Application)| {
        let mut application = company();
        change(&mut application);
        found(&application)
    };
    assert_eq!(with(|a| a.business_type = Some(Holder::Trust)), ["pan:business_type_differs"]);
    assert_eq!(with(|a| a.pan = Some(sealed("pan", "AAFCU0939F"))), ["gstin:pan_differs"]);
    assert_eq!(with(|a| a.address = Some(address("Kerala"))), ["gstin:state_differs"]);
    assert_eq!(with(|a| a.aadhaar = individual().aadhaar), ["aadhaar:not_applicable"]);
}

#[test]
fn only_what_was_asked_for_is_open_and_what_goes_with_it() {
    const FIELDS: [&str; 7] = ["businessType", "legalName", "pan", "gstin", "aadhaar", "bankAccount", "address"];
    let open = |asked: &str| {
        let requirement = Requirement { field: asked.into(), code: "x".into(), reason: "y".into() };
        let application =
            Application { state: KycState::NeedsClarification, requirements: vec![requirement], ..company() };
        let locked: Vec<_> = locked_fields(&application, &FIELDS).into_iter().map(|locked| locked.field).collect();
        FIELDS.into_iter().filter(|field| !locked.iter().any(|locked| locked == field)).collect::<Vec<_>>()
    };
    assert_eq!(open("bankAccount"), ["bankAccount"]);
    assert_eq!(open("address"), ["gstin", "address"]);
    assert_eq!(open("pan"), ["businessType", "legalName", "pan", "gstin", "aadhaar", "address"]);
    assert_eq!(open("gstin"), ["businessType", "legalName", "pan", "gstin", "aadhaar", "address"]);
    assert_eq!(open("documents.pan_card"), [""; 0]);
}

#[test]
fn documents_are_added_while_open_and_taken_away_only_where_asked_for() {
    for state in KycState::ALL {
        let requirement = Requirement { field: "documents.pan_card".into(), code: "x".into(), reason: "y".into() };
        let application = Application { state, requirements: vec![requirement], ..company() };
        let drafting = matches!(state, KycState::NotStarted | KycState::Draft);
        let clarifying = state == KycState::NeedsClarification;
        let may = |kind, removes| documents_are_open(&application, kind, removes);
        assert_eq!(may(DocumentKind::AddressProof, false), drafting || clarifying, "{state:?}");
        assert_eq!(may(DocumentKind::AddressProof, true), drafting, "{state:?}");
        assert_eq!(may(DocumentKind::PanCard, true), drafting || clarifying, "{state:?}");
    }
}

#[test]
fn ten_papers_are_enough_unless_one_of_another_kind_is_to_be_shown() {
    for state in KycState::ALL {
        let room = |documents: usize, kind| {
            let documents = vec![document(DocumentKind::AddressProof); documents];
            has_room(&Application { state, documents, ..company() }, kind)
        };
        let clarifying = state == KycState::NeedsClarification;
        assert!(room(DOCUMENTS_MAX - 1, DocumentKind::AddressProof), "{state:?}");
        assert!(!room(DOCUMENTS_MAX, DocumentKind::AddressProof), "{state:?}");
        assert_eq!(room(DOCUMENTS_MAX, DocumentKind::PanCard), clarifying, "{state:?}");
    }
}

#[test]
fn repeating_what_is_there_is_no_change() {
    let application = company();
    let same = DraftChange {
        business_type: FieldChange::Set(Holder::Company),
        legal_name: FieldChange::Set("Blue Kite Private Limited".into()),
        pan: FieldChange::Set(sealed("pan", "AAGCB7383J")),
        gstin: FieldChange::Set(sealed("gstin", "29AAGCB7383J1Z4")),
        aadhaar: FieldChange::Clear,
        bank_account: FieldChange::Set(BankAccount {
            number: sealed("accountNumber", "123456789012"),
            ifsc: "HDFC0000123".into(),
        }),
        address: FieldChange::Set(address("Karnataka")),
    };
    let left = same.without_repetition(&application, &keys()).expect("opens");
    assert_eq!(left.fields(), [""; 0]);
    let other = DraftChange { pan: FieldChange::Set(sealed("pan", "AAFCU0939F")), aadhaar: FieldChange::Keep, ..same };
    assert_eq!(other.without_repetition(&application, &keys()).expect("opens").fields(), ["pan"]);
}

#[test]
fn checks_are_kept_but_for_what_was_changed() {
    let passed = |kind| Check { status: CheckStatus::Passed, ..Check::pending(kind, "chk_1") };
    let checked = Application { checks: CheckKind::ALL.map(passed).to_vec(), ..company() };
    let kept = |change: DraftChange| {
        let mut application = checked.clone();
        change.apply(&mut application, NOW);
        application.checks.iter().map(|check| check.kind).collect::<Vec<_>>()
    };
    let account = DraftChange { bank_account: FieldChange::Clear, ..DraftChange::default() };
    assert_eq!(kept(account), [CheckKind::Pan, CheckKind::Gstin]);
    let name = DraftChange { legal_name: FieldChange::Set("Red Kite".into()), ..DraftChange::default() };
    assert_eq!(kept(name.clone()), CheckKind::ALL, "what is known is compared with the new name");
    let open = |status| {
        let check = |kind| Check { status, ..Check::pending(kind, "chk_1") };
        let mut application = Application { checks: CheckKind::ALL.map(check).to_vec(), ..company() };
        name.apply(&mut application, NOW);
        application.checks.len()
    };
    for status in [CheckStatus::Pending, CheckStatus::Failed, CheckStatus::Inconclusive, CheckStatus::Unavailable] {
        assert_eq!(open(status), 0, "{status:?} was asked for under the old name");
    }
    let address = DraftChange { address: FieldChange::Clear, ..DraftChange::default() };
    assert_eq!(kept(address), CheckKind::ALL);
}

#[test]
fn the_numbers_of_these_tests_are_well_formed() {
    for pan in ["AAGCB7383J", "AAFCU0939F", "ABCPR1234F"] {
        assert!(Pan::parse(pan).is_ok(), "{pan}");
    }
}
