//! The outcome of every answer, over every status and body.

use std::collections::BTreeMap;

use super::*;
use crate::modules::providers::status_tests::statuses;

fn of_start(answer: &Answer) -> String {
    start(answer).or_repeat().in_words(|payment| format!("{:?}", payment.status))
}

fn of_look_up(answer: &Answer) -> String {
    let outcome = look_up(answer).or_repeat();
    outcome.in_words(|found| found.as_ref().map_or_else(|| "absent".into(), |payment| format!("{:?}", payment.status)))
}

fn changed(field: &str, value: Value) -> AnswerBody {
    AnswerBody::Json(body(|body| body[field] = value))
}

fn error(code: &str) -> AnswerBody {
    AnswerBody::Json(json!({ "error": { "code": code, "message": "Because." } }))
}

const UNUSABLE: &str = "counted provider.unexpected_answer";
const OTHER_REFERENCE: &str = "counted provider.wrong_reference";
const OTHER_AMOUNT: &str = "counted provider.wrong_amount";
const NOT_JSON: &str = "counted provider.not_json";
const CONTRADICTORY: &str = "counted provider.contradiction";

/// Every body these tests know, by name, and what it means with a 2xx: the same for a start and for a look-up.
fn bodies() -> Vec<(&'static str, AnswerBody, &'static str)> {
    vec![
        ("created", AnswerBody::Json(body(|_| {})), "Created"),
        ("paid", changed("status", json!("paid")), "Paid"),
        ("failed", changed("status", json!("failed")), "Failed"),
        ("expired", changed("status", json!("expired")), "Expired"),
        ("status of tomorrow", changed("status", json!("refunded")), "Unknown"),
        ("status in capitals", changed("status", json!("PAID")), "Unknown"),
        ("no page", changed("paymentUrl", Value::Null), "Created"),
        ("more than we know", changed("fee", json!(5)), "Created"),
        ("status is a number", changed("status", json!(1)), UNUSABLE),
        ("no status", changed("status", Value::Null), UNUSABLE),
        ("other reference", changed("reference", json!("top_0198f0c2b1e07c3e8a41b5d0f3a2c4e7")), OTHER_REFERENCE),
        ("reference in capitals", changed("reference", json!(REFERENCE.to_uppercase())), OTHER_REFERENCE),
        ("no reference", changed("reference", Value::Null), UNUSABLE),
        ("reference is a list", changed("reference", json!([REFERENCE])), UNUSABLE),
        ("reference with a blank", changed("reference", json!(format!("{REFERENCE} "))), "Created"),
        ("other amount", changed("amount", json!(50_001)), OTHER_AMOUNT),
        ("other currency", changed("currency", json!("USD")), OTHER_AMOUNT),
        ("amount is 0", changed("amount", json!(0)), UNUSABLE),
        ("amount is negative", changed("amount", json!(-50_000)), UNUSABLE),
        ("amount is fractional", changed("amount", json!(50_000.5)), UNUSABLE),
        ("amount is a float", changed("amount", json!(50_000.0)), "Created"),
        ("amount is text", changed("amount", json!("50000")), "Created"),
        ("amount is other text", changed("amount", json!("500.00")), OTHER_AMOUNT),
        ("amount is in words", changed("amount", json!("50,000")), UNUSABLE),
        ("amount is huge", changed("amount", json!(u64::MAX)), UNUSABLE),
        ("amount is over our limit", changed("amount", json!(1_000_000_000_000_001_i64)), UNUSABLE),
        ("no amount", changed("amount", Value::Null), UNUSABLE),
        ("currency in small letters", changed("currency", json!("inr")), UNUSABLE),
        ("currency of no country", changed("currency", json!("ZZZ")), UNUSABLE),
        ("no currency", changed("currency", Value::Null), UNUSABLE),
        ("no id", changed("paymentId", Value::Null), UNUSABLE),
        ("empty id", changed("paymentId", json!("")), UNUSABLE),
        ("id is a number", changed("paymentId", json!(7)), "Created"),
        ("id is none", changed("paymentId", json!("N/A")), UNUSABLE),
        ("id is nought", changed("paymentId", json!(0)), UNUSABLE),
        ("id is a novel", changed("paymentId", json!("x".repeat(65))), UNUSABLE),
        ("id with a line end", changed("paymentId", json!("pay\n1")), UNUSABLE),
        ("a list of one", AnswerBody::Json(json!([body(|_| {})])), "Created"),
        ("a list of two", AnswerBody::Json(json!([body(|_| {}), body(|_| {})])), UNUSABLE),
        ("null", AnswerBody::Json(Value::Null), UNUSABLE),
        ("nothing", AnswerBody::Json(json!({})), UNUSABLE),
        ("not JSON", AnswerBody::NotJson, NOT_JSON),
        ("contradictory", AnswerBody::Contradictory, CONTRADICTORY),
        ("unsupported currency", error("unsupported_currency"), UNUSABLE),
        ("reference conflict", error("reference_conflict"), UNUSABLE),
        ("payment not found", error("payment_not_found"), UNUSABLE),
        ("error without a code", AnswerBody::Json(json!({ "error": { "message": "No." } })), UNUSABLE),
        ("error is text", AnswerBody::Json(json!({ "error": "payment_not_found" })), UNUSABLE),
        ("error code is a novel", error(&"x".repeat(65)), UNUSABLE),
        ("errors", AnswerBody::Json(json!({ "errors": { "amount": ["is too small"] } })), UNUSABLE),
    ]
}

/// Bodies in which the gateway itself objects.
const OBJECTIONS: [&str; 3] = ["unsupported currency", "reference conflict", "payment not found"];
/// Bodies with words that come from anybody.
const WORDS: [&str; 4] = ["error without a code", "error is text", "error code is a novel", "errors"];

/// Outcomes of a start and a look-up for `status` with the body `name`, which means `ok` with a 2xx.
fn expected(status: u16, name: &str, ok: &'static str) -> [&'static str; 2] {
    let objects = OBJECTIONS.contains(&name);
    match status {
        200..=299 => [ok; 2],
        403 if name == "not JSON" => ["counted provider.blocked"; 2],
        401 | 403 => ["unauthorized provider.unauthorized"; 2],
        429 => ["in 5 s provider.throttled"; 2],
        100..=199 | 300..=399 | 408 | 425 => ["counted provider.unexpected_status"; 2],
        500.. => ["counted provider.server_error"; 2],
        _ if name == "not JSON" => [NOT_JSON; 2],
        _ if name == "contradictory" => [CONTRADICTORY; 2],
        400 | 422 if objects || WORDS.contains(&name) => ["fatal provider.refused", "counted provider.look_up_refused"],
        409 if name == "reference conflict" => ["fatal provider.reference_conflict", UNUSABLE],
        404 if name == "payment not found" => [UNUSABLE, "absent"],
        _ if objects => ["fatal provider.refused", UNUSABLE],
        _ => [UNUSABLE; 2],
    }
}

#[test]
fn every_status_with_every_body_is_in_the_table() {
    let names: BTreeMap<_, _> = bodies().into_iter().map(|(name, ..)| (name, ())).collect();
    assert_eq!(names.len(), bodies().len(), "a name is in the table twice");
    assert!(OBJECTIONS.iter().all(|name| names.contains_key(name)));
    for (name, body, ok) in bodies() {
        for status in statuses() {
            let answer = http(status, &body);
            assert_eq!([of_start(&answer), of_look_up(&answer)], expected(status, name, ok), "{status} {name}");
        }
    }
}

/// Outcomes of a refund and of its look-up for an answer.
fn of_refund(answer: &Answer) -> [String; 2] {
    let refund = adapter().read_refund(REFERENCE, money(50_000), answer);
    let found = adapter().read_refund_look_up(REFERENCE, money(50_000), answer);
    let word = |refund: &GatewayRefund| format!("{:?}", refund.status);
    [refund.in_words(word), found.or_repeat().in_words(|found| found.as_ref().map_or_else(|| "absent".into(), word))]
}

#[test]
fn money_that_leaves_is_never_called_not_sent_for_want_of_an_answer() {
    let refund = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({ "refundId": "ref_0001", "reference": REFERENCE, "paymentId": "pay_0001",
            "status": "refunded", "amount": 50_000, "currency": "INR" });
        change(&mut body);
        AnswerBody::Json(body)
    };
    let with = |field: &'static str, value: Value| refund(&move |body| body[field] = value.clone());
    let both = |word: &str| [word.to_owned(), word.to_owned()];
    let unclear = |code: &str| [format!("unknown {code}"), format!("counted {code}")];
    for (status, body, expected) in [
        (201, with("status", json!("refunded")), both("Refunded")),
        (200, with("status", json!("pending")), both("Pending")),
        (200, with("status", json!("failed")), both("Failed")),
        (200, with("status", json!("reversed")), both("Unknown")),
        (200, with("status", Value::Null), unclear("provider.unexpected_answer")),
        (200, with("refundId", Value::Null), unclear("provider.unexpected_answer")),
        (200, with("amount", json!(50_001)), unclear("provider.wrong_amount")),
        (200, with("currency", json!("USD")), unclear("provider.wrong_amount")),
        (200, with("reference", json!("rfd_0198")), unclear("provider.wrong_reference")),
        (404, error("refund_not_found"), ["unknown provider.unexpected_answer".into(), "absent".into()]),
        (404, error("payment_not_found"), ["fatal provider.refused".into(), UNUSABLE.into()]),
        (409, error("reference_conflict"), ["fatal provider.reference_conflict".into(), UNUSABLE.into()]),
        (422, error("already_refunded"), ["fatal provider.refused".into(), "counted provider.look_up_refused".into()]),
        (500, AnswerBody::NotJson, unclear("provider.server_error")),
        (200, AnswerBody::NotJson, unclear("provider.not_json")),
    ] {
        assert_eq!(of_refund(&http(status, &body)), expected, "{status} {body:?}");
    }
    for (lost, code) in [(Lost::TimedOut, "exchange.timed_out"), (Lost::ConnectionLost, "exchange.connection_lost")] {
        assert_eq!(of_refund(&Answer::Lost(lost)), unclear(code));
    }
}

#[test]
fn without_an_answer_a_payment_is_started_again() {
    for (answer, expected) in [
        (Answer::NotSent(NotSent::NotConnected), "deferred exchange.not_connected"),
        (Answer::NotSent(NotSent::NoTime), "deferred exchange.no_time"),
        (Answer::NotSent(NotSent::NoCredentials), "unauthorized provider.no_credentials"),
        (Answer::Lost(Lost::TimedOut), "counted exchange.timed_out"),
        (Answer::Lost(Lost::ConnectionLost), "counted exchange.connection_lost"),
        (Answer::Lost(Lost::TooLarge), "counted exchange.answer_too_large"),
    ] {
        assert_eq!([of_start(&answer), of_look_up(&answer)], [expected; 2], "{answer:?}");
    }
}

#[test]
fn a_throttled_account_waits_as_long_as_it_is_told_to() {
    for (retry_after, expected) in [(None, 5), (Some(0), 0), (Some(7), 7), (Some(3600), 3600)] {
        let retry_after = retry_after.map(Duration::from_secs);
        let answer = Answer::Http { status: 429, retry_after, body: AnswerBody::NotJson };
        let expected = format!("in {expected} s provider.throttled");
        assert_eq!([of_start(&answer), of_look_up(&answer)], [&*expected; 2], "{retry_after:?}");
    }
}

#[test]
fn what_they_name_is_taken_over() {
    let answer = http(201, &AnswerBody::Json(body(|_| {})));
    assert_eq!(start(&answer), Outcome::Done(payment(GatewayPaymentStatus::Created)));
    let answer = http(200, &changed("status", json!("paid")));
    assert_eq!(look_up(&answer), Outcome::Done(Some(payment(GatewayPaymentStatus::Paid))));
}

#[test]
fn a_page_is_one_that_a_browser_may_be_sent_to() {
    let of_length = |length: usize| format!("https://pay.example/{}", "x".repeat(length - 20));
    for (url, is_page) in [
        (PAGE.to_owned(), true),
        ("http://127.0.0.1:4900/paygate/pay/pay_1".into(), true),
        ("HTTPS://pay.example/p".into(), true),
        (of_length(500), true),
        (of_length(501), false),
        ("javascript:alert(1)//https://".into(), false),
        ("data:text/html,x".into(), false),
        ("ftp://pay.example/p".into(), false),
        ("//pay.example/p".into(), false),
        ("/p".into(), false),
        ("https://".into(), false),
        (" https://pay.example/p".into(), false),
        ("java\nscript:alert(1)".into(), false),
        ("https://pay.example/\np".into(), false),
        (String::new(), false),
    ] {
        let Outcome::Done(payment) = start(&http(201, &changed("paymentUrl", json!(url)))) else {
            panic!("{url}: a page is not what makes a payment");
        };
        assert_eq!(payment.payment_url, is_page.then(|| url.clone()), "{url}");
    }
    let Outcome::Done(payment) = start(&http(201, &changed("paymentUrl", json!(5)))) else { panic!() };
    assert_eq!(payment.payment_url, None);
}

#[test]
fn what_they_say_is_kept_short_and_printable() {
    for (error, kept) in [
        (json!({ "code": "invalid", "message": "bell\u{7} and\nline" }), "invalid: bell and line".to_owned()),
        (json!({ "code": "invalid", "message": "call 9876543210" }), "invalid: call [number]".into()),
        (json!({ "code": "invalid", "message": " " }), "invalid".into()),
        (json!({ "code": "invalid", "message": 5 }), "invalid".into()),
        (json!({ "code": "e", "message": "é".repeat(1000) }), format!("e: {}", "é".repeat(297))),
    ] {
        let answer = http(422, &AnswerBody::Json(json!({ "error": error })));
        assert_eq!(start(&answer), Outcome::Refused(Failure { code: "provider.refused", message: kept }));
    }
}
