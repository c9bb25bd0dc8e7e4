//! The outcome of every answer, over every kind, status and body.

use std::collections::BTreeSet;

use super::*;
use crate::modules::providers::{Failure, reading::sentences, status_tests::statuses};

fn of(kind: CheckKind, answer: &Answer) -> String {
    read(kind, answer).or_repeat().in_words(|finding| match finding {
        CheckFinding::Confirmed { .. } => "confirmed".into(),
        CheckFinding::Refuted(failure) => format!("refuted {}", failure.code),
        CheckFinding::Inconclusive(failure) => format!("inconclusive {}", failure.code),
    })
}

const CONFIRMED: &str = "confirmed";
const ODD: &str = "inconclusive idcheck.odd_answer";
const UNUSABLE: &str = "counted provider.unexpected_answer";
const OTHER_REFERENCE: &str = "counted provider.wrong_reference";
const NOT_JSON: &str = "counted provider.not_json";

/// A body's name, the body, and what it means with a 2xx.
type Row = (String, Value, &'static str);

fn row(name: &str, body: Value, ok: &'static str) -> Row {
    (name.to_owned(), body, ok)
}

/// Answers of a register: its words, and what spoils any of them.
fn of_register(kind: CheckKind, words: &[(&str, &'static str)]) -> Vec<Row> {
    let status = |status: Value| body(kind, |body| body["status"] = status);
    let mut rows = vec![
        row("status of tomorrow", status(json!("merged")), ODD),
        row("status in capitals", status(json!("VALID ACTIVE INVALID")), ODD),
        row("empty status", status(json!("")), ODD),
        row("status is a number", status(json!(1)), UNUSABLE),
        row("status is a flag", status(json!(true)), UNUSABLE),
        row("no status", status(Value::Null), UNUSABLE),
    ];
    for (word, ok) in words {
        rows.push((format!("status {word}"), status(json!(word)), ok));
    }
    rows
}

fn of_bank() -> Vec<Row> {
    let kind = CheckKind::BankAccount;
    let with = |field: &str, value: Value| body(kind, |body| body[field] = value);
    let mut rows = vec![
        row("no utr", with("utr", Value::Null), CONFIRMED),
        row("no amount", with("amount_deposited", Value::Null), CONFIRMED),
        row("existence is a text", with("account_exists", json!("true")), CONFIRMED),
        row("existence is a number", with("account_exists", json!(1)), CONFIRMED),
        row("existence is odd", with("account_exists", json!("perhaps")), UNUSABLE),
        row(
            "existence is none",
            body(kind, |body| {
                body["account_exists"] = json!("0");
                body["message"] = json!("Account does not exist");
            }),
            NOT_FOUND,
        ),
        row("no existence", with("account_exists", Value::Null), UNUSABLE),
        row("message is a number", with("message", json!(1)), UNUSABLE),
        row("no message", with("message", Value::Null), UNUSABLE),
    ];
    for (message, exists, not) in MESSAGES {
        rows.push((format!("exists: {message}"), with("message", json!(message)), exists));
        rows.push((format!("exists not: {message}"), not_dropped(message), not));
    }
    rows
}

const BLOCKED: &str = "refuted bank.account_blocked";
const NRE: &str = "refuted bank.nre_account";
const NOT_FOUND: &str = "refuted bank.account_not_found";
const INVALID: &str = "refuted bank.invalid_account";
const OFFLINE: &str = "counted bank.offline";
const UNAVAILABLE: &str = "counted bank.network_unavailable";

/// Messages of banks, and their meaning where the account exists and where it does not.
const MESSAGES: &[(&str, &str, &str)] = &[
    ("Verified", CONFIRMED, ODD),
    (" VERIFIED. ", CONFIRMED, ODD),
    ("Account is blocked", BLOCKED, BLOCKED),
    ("ACCOUNT BLOCKED/FROZEN", BLOCKED, BLOCKED),
    ("Account blocked, credits are not allowed", BLOCKED, BLOCKED),
    ("NRE account", NRE, NRE),
    ("Account is an nre-account.", NRE, NRE),
    ("Account does not exist", ODD, NOT_FOUND),
    ("The account number DOES NOT EXIST at this branch", ODD, NOT_FOUND),
    ("Invalid account number", ODD, INVALID),
    ("Beneficiary bank offline", ODD, OFFLINE),
    ("beneficiary bank is OFFLINE.", ODD, OFFLINE),
    ("NPCI unavailable", ODD, UNAVAILABLE),
    ("Npci Unavailable, try later", ODD, UNAVAILABLE),
    // None of these is a yes or a no by rule.
    ("Not verified", ODD, ODD),
    ("Unverified", ODD, ODD),
    ("Verified, but the name differs", ODD, ODD),
    ("Account is not blocked", ODD, ODD),
    ("Account isn't blocked", ODD, ODD),
    ("Account unblocked", ODD, ODD),
    ("Not an NRE account", ODD, ODD),
    ("Non-NRE account", ODD, ODD),
    ("Account of Mr Andre", ODD, ODD),
    ("Branch does not exist", ODD, ODD),
    ("Account exists", ODD, ODD),
    ("Account is dormant", ODD, ODD),
    ("", ODD, ODD),
    ("\u{0}", ODD, ODD),
];

/// Every body these tests know for a kind.
fn bodies(kind: CheckKind) -> Vec<Row> {
    let mut rows = match kind {
        CheckKind::Pan => of_register(
            kind,
            &[
                ("valid", CONFIRMED),
                ("invalid", "refuted pan.invalid"),
                ("inactive", "refuted pan.inactive"),
                ("active", ODD),
                ("not_found", ODD),
            ],
        ),
        CheckKind::Gstin => of_register(
            kind,
            &[
                ("active", CONFIRMED),
                ("not_found", "refuted gstin.not_found"),
                ("cancelled", "refuted gstin.cancelled"),
                ("suspended", "refuted gstin.suspended"),
                ("valid", ODD),
                ("inactive", ODD),
            ],
        ),
        CheckKind::BankAccount => of_bank(),
    };
    let with = |field: &str, value: Value| body(kind, |body| body[field] = value);
    let name = name_field(kind);
    rows.extend([
        row("confirmed", body(kind, |_| {}), CONFIRMED),
        row("more than we know", with("score", json!(5)), CONFIRMED),
        row("no name", with(name, Value::Null), ODD),
        row("blank name", with(name, json!(" \n\u{0}")), ODD),
        row("name without a letter", with(name, json!("-- 1 --")), ODD),
        row("name is a number", with(name, json!(7)), ODD),
        row("name is a list", with(name, json!([REGISTERED])), ODD),
        row("other reference", with("reference", json!(REFERENCE.replace("e6", "e7"))), OTHER_REFERENCE),
        row("reference in capitals", with("reference", json!(REFERENCE.to_uppercase())), OTHER_REFERENCE),
        row("reference with a blank", with("reference", json!(format!("{REFERENCE} "))), CONFIRMED),
        row("empty reference", with("reference", json!("")), UNUSABLE),
        row("reference is none", with("reference", json!("N/A")), UNUSABLE),
        row("no reference", with("reference", Value::Null), UNUSABLE),
        row("reference is a list", with("reference", json!([REFERENCE])), UNUSABLE),
        row("a list of one", json!([body(kind, |_| {})]), CONFIRMED),
        row("a list of two", json!([body(kind, |_| {}), body(kind, |_| {})]), UNUSABLE),
        row("null", Value::Null, UNUSABLE),
        row("nothing", json!({}), UNUSABLE),
        row("only a reference", json!({ "reference": REFERENCE }), UNUSABLE),
        row("invalid_ifsc", error("invalid_ifsc", "Because."), UNUSABLE),
        row("invalid_account", error("invalid_account", "Because."), UNUSABLE),
        row("invalid_pan", error("invalid_pan", "Because."), UNUSABLE),
        row("reference_conflict", error("reference_conflict", "Because."), UNUSABLE),
        row("invalid_key", error("invalid_key", "Because."), UNUSABLE),
        row("internal", error("internal", "Because."), UNUSABLE),
        row("INVALID_IFSC", error("INVALID_IFSC", "Because."), UNUSABLE),
        row("error without a code", json!({ "error": { "message": "No." } }), UNUSABLE),
        row("error is text", json!({ "error": "invalid_account" }), UNUSABLE),
        row("error code is a novel", error(&"x".repeat(65), "Because."), UNUSABLE),
    ]);
    rows
}

/// Bodies in which the provider itself objects.
const OBJECTIONS: [&str; 7] =
    ["invalid_ifsc", "invalid_account", "invalid_pan", "reference_conflict", "invalid_key", "internal", "INVALID_IFSC"];
/// The outcome of `status` with the body `name`, which means `ok` with a 2xx.
fn expected(kind: CheckKind, status: u16, name: &str, body: &Value, ok: &'static str) -> &'static str {
    match status {
        200..=299 => ok,
        403 if name == "not JSON" => "counted provider.blocked",
        401 | 403 => "unauthorized provider.unauthorized",
        429 => "in 5 s provider.throttled",
        100..=199 | 300..=399 | 408 | 425 => "counted provider.unexpected_status",
        500.. => "counted provider.server_error",
        400 | 422 if kind == CheckKind::BankAccount && name == "invalid_ifsc" => "refuted bank.invalid_ifsc",
        400 | 422 if kind == CheckKind::BankAccount && name == "invalid_account" => "refuted bank.invalid_account",
        _ if OBJECTIONS.contains(&name) => ODD,
        // Words are enough where it is about what was sent.
        400 | 422 if sentences(body).is_some() => ODD,
        _ => UNUSABLE,
    }
}

#[test]
fn every_status_with_every_body_is_in_the_table() {
    for kind in CheckKind::ALL {
        let names: BTreeSet<_> = bodies(kind).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), bodies(kind).len(), "a name is in the table twice");
        assert!(OBJECTIONS.iter().all(|name| names.contains(*name)));
        for (name, body, ok) in bodies(kind) {
            for status in statuses() {
                let found = of(kind, &http(status, body.clone()));
                assert_eq!(found, expected(kind, status, &name, &body, ok), "{kind:?} {status} {name}");
            }
        }
    }
}

#[test]
fn without_an_answer_a_check_is_asked_again() {
    for kind in CheckKind::ALL {
        for (answer, expected) in [
            (Answer::NotSent(NotSent::NotConnected), "deferred exchange.not_connected"),
            (Answer::NotSent(NotSent::NoTime), "deferred exchange.no_time"),
            (Answer::NotSent(NotSent::NoCredentials), "unauthorized provider.no_credentials"),
            (Answer::Lost(Lost::TimedOut), "counted exchange.timed_out"),
            (Answer::Lost(Lost::ConnectionLost), "counted exchange.connection_lost"),
            (Answer::Lost(Lost::TooLarge), "counted exchange.answer_too_large"),
        ] {
            assert_eq!(of(kind, &answer), expected, "{kind:?} {answer:?}");
        }
    }
}

#[test]
fn what_is_not_json_is_judged_by_its_status_alone() {
    for kind in CheckKind::ALL {
        for status in statuses() {
            let answer = Answer::Http { status, retry_after: None, body: AnswerBody::NotJson };
            let expected = match expected(kind, status, "not JSON", &Value::Null, NOT_JSON) {
                UNUSABLE => NOT_JSON,
                other => other,
            };
            assert_eq!(of(kind, &answer), expected, "{kind:?} {status}");
        }
    }
}

#[test]
fn a_throttled_account_waits_as_long_as_it_is_told_to() {
    for kind in CheckKind::ALL {
        for (retry_after, expected) in [(None, 5), (Some(0), 0), (Some(7), 7), (Some(3600), 3600)] {
            let retry_after = retry_after.map(Duration::from_secs);
            let body = AnswerBody::Json(error("too_many_requests", "Slow down."));
            let answer = Answer::Http { status: 429, retry_after, body };
            assert_eq!(of(kind, &answer), format!("in {expected} s provider.throttled"), "{kind:?}");
        }
    }
}

#[test]
fn an_answer_to_another_kind_of_question_confirms_nothing() {
    for asked in CheckKind::ALL {
        for answered in CheckKind::ALL.into_iter().filter(|answered| *answered != asked) {
            let found = of(asked, &http(200, body(answered, |_| {})));
            assert!([ODD, UNUSABLE].contains(&&*found), "{asked:?} {answered:?}: {found}");
        }
    }
}

#[test]
fn what_they_name_is_taken_over() {
    for kind in CheckKind::ALL {
        let transfer = (kind == CheckKind::BankAccount).then(|| UTR.to_owned());
        let expected = CheckFinding::Confirmed { name: REGISTERED.into(), transfer };
        assert!(read(kind, &http(200, body(kind, |_| {}))) == Outcome::Done(expected), "{kind:?}");
    }
}

#[test]
fn a_name_is_printable_on_one_line_and_short() {
    for kind in CheckKind::ALL {
        for (written, taken) in [
            ("  Asha Rao ", "Asha Rao".to_owned()),
            ("ASHA\t \u{7} RAO\r\n", "ASHA RAO".into()),
            ("A\u{0}sha", "Asha".into()),
            ("आशा राव", "आशा राव".into()),
            (&"é".repeat(1000), "é".repeat(200)),
            (&format!("{} Rao", "x".repeat(199)), "x".repeat(199)),
        ] {
            let answer = http(200, body(kind, |body| body[name_field(kind)] = json!(written)));
            let Outcome::Done(CheckFinding::Confirmed { name, .. }) = read(kind, &answer) else {
                panic!("{kind:?} {written}")
            };
            assert_eq!(name, taken);
        }
    }
}

#[test]
fn a_transfer_has_a_sane_number_or_none() {
    let kind = CheckKind::BankAccount;
    for (utr, is_taken) in [
        (json!("U1"), true),
        (json!("9".repeat(64)), true),
        (json!("9".repeat(65)), false),
        (json!(""), false),
        (json!("U 1"), false),
        (json!("U\n1"), false),
        (json!("Ü1"), false),
        (json!("N/A"), false),
        (json!(0), false),
        (Value::Null, false),
    ] {
        let answer = http(200, body(kind, |body| body["utr"] = utr.clone()));
        let Outcome::Done(CheckFinding::Confirmed { transfer, .. }) = read(kind, &answer) else { panic!("{utr}") };
        assert_eq!(transfer.as_deref(), utr.as_str().filter(|_| is_taken), "{utr}");
    }
}

#[test]
fn what_they_say_is_kept_for_whoever_has_to_look() {
    let bank = CheckKind::BankAccount;
    let long = format!("e: {}", "é".repeat(297));
    for (kind, answer, kept) in [
        (CheckKind::Pan, http(422, error("invalid_pan", "Bad PAN abcde1234f")), "invalid_pan: Bad PAN [number]"),
        (CheckKind::Gstin, http(409, error("reference_conflict", " ")), "reference_conflict"),
        (bank, http(400, error("e", &"é".repeat(1000))), &*long),
        (bank, http(200, not_dropped("Dormant\u{7} 5010 0012 3456")), "The account does not exist: Dormant [number]"),
        (bank, http(200, body(bank, |body| body["message"] = json!("Dormant"))), "The account exists: Dormant"),
        (CheckKind::Pan, http(200, body(CheckKind::Pan, |body| body["status"] = json!("x"))), "Unknown status: x"),
    ] {
        let expected = Failure { code: "idcheck.odd_answer", message: kept.to_owned() };
        assert_eq!(read(kind, &answer), Outcome::Done(CheckFinding::Inconclusive(expected)));
    }
}
