//! Outcomes of every status with every body.

use std::collections::BTreeMap;

use super::*;

fn placed(placed: &Placed) -> String {
    if placed.cancelled { "found, cancelled" } else { "found" }.into()
}

fn create(answer: &Answer) -> String {
    adapter().read_create(ORDER_ID, answer).in_words(placed)
}

fn look_up(answer: &Answer) -> String {
    let outcome = adapter().read_look_up(ORDER_ID, answer).or_repeat();
    outcome.in_words(|found| found.as_ref().map_or_else(|| "absent".into(), placed))
}

#[test]
fn without_an_answer_it_matters_whether_the_request_may_have_arrived() {
    for (answer, of_create, of_look_up) in [
        (Answer::NotSent(NotSent::NotConnected), "deferred exchange.not_connected", "deferred exchange.not_connected"),
        (Answer::NotSent(NotSent::NoTime), "deferred exchange.no_time", "deferred exchange.no_time"),
        (Answer::Lost(Lost::TimedOut), "unknown exchange.timed_out", "counted exchange.timed_out"),
        (Answer::Lost(Lost::ConnectionLost), "unknown exchange.connection_lost", "counted exchange.connection_lost"),
        (Answer::Lost(Lost::TooLarge), "unknown exchange.answer_too_large", "counted exchange.answer_too_large"),
    ] {
        assert_eq!([create(&answer), look_up(&answer)], [of_create, of_look_up], "{answer:?}");
    }
}

/// Outcomes of a 2xx by its body. Columns: create, look-up.
const OK: &[(&str, [&str; 2])] = &[
    ("order", ["found", NO_LIST]),
    ("order, in capitals", ["found", NO_LIST]),
    ("order, number in blanks", ["found", NO_LIST]),
    ("order, released", ["found", NO_LIST]),
    ("order, cancelled", ["found, cancelled", NO_LIST]),
    ("order, cancelled as in America", ["found, cancelled", NO_LIST]),
    ("order, odd status", ["unknown provider.unclear_status", NO_LIST]),
    ("order, no status", ["unknown provider.unclear_status", NO_LIST]),
    ("order, status is a number", ["unknown provider.unclear_status", NO_LIST]),
    ("order, number of theirs is a number", ["found", NO_LIST]),
    ("order, no number of theirs", ["unknown provider.no_order_number", NO_LIST]),
    ("order, nothing for a number of theirs", ["unknown provider.no_order_number", NO_LIST]),
    ("order, a page for a number of theirs", ["unknown provider.no_order_number", NO_LIST]),
    ("order, of another", ["unknown provider.wrong_order", NO_LIST]),
    ("order, of our whole id", ["unknown provider.wrong_order", NO_LIST]),
    ("order, of a number", ["unknown provider.wrong_order", NO_LIST]),
    ("order, of nobody", [NO_ORDER, NO_LIST]),
    ("order, and an error", CONTRADICTION),
    ("order, in a list of one", ["found", NO_LIST]),
    ("found", [NO_ORDER, "found"]),
    ("found, in capitals", [NO_ORDER, "found"]),
    ("found, not in a list", [NO_ORDER, "found"]),
    ("found, cancelled", [NO_ORDER, "found, cancelled"]),
    ("found, odd status", [NO_ORDER, "counted provider.unclear_status"]),
    ("found, no number of theirs", [NO_ORDER, "counted provider.no_order_number"]),
    ("found, behind another", [NO_ORDER, "found"]),
    ("found, another only", [NO_ORDER, "counted provider.wrong_order"]),
    ("found, of nobody", [NO_ORDER, NO_LIST]),
    ("found, two", [NO_ORDER, "counted provider.contradiction"]),
    ("found, a text", [NO_ORDER, NO_LIST]),
    ("absent", [NO_ORDER, "absent"]),
    ("absent, and an error", CONTRADICTION),
    ("value is null", [NO_ORDER, NO_LIST]),
    ("value is a text", [NO_ORDER, NO_LIST]),
    ("BadRequest", CONTRADICTION),
    ("BadRequest alone", CONTRADICTION),
    ("Application", CONTRADICTION),
    ("Application, in small letters", CONTRADICTION),
    ("DuplicateDocument", CONTRADICTION),
    ("Authentication", CONTRADICTION),
    ("Authorization", CONTRADICTION),
    ("Internal", CONTRADICTION),
    ("BadRequest, and an order", CONTRADICTION),
    ("another code", CONTRADICTION),
    ("words only", CONTRADICTION),
    ("an empty object", [NO_ORDER, NO_LIST]),
    ("a list", [NO_ORDER, NO_LIST]),
    ("a number", [NO_ORDER, NO_LIST]),
    ("null", [NO_ORDER, NO_LIST]),
    ("not JSON", ["unknown provider.not_json", "counted provider.not_json"]),
    ("contradictory", CONTRADICTION),
];
const NO_ORDER: &str = "unknown provider.unexpected_answer";
const NO_LIST: &str = "counted provider.unexpected_answer";
const CONTRADICTION: [&str; 2] = ["unknown provider.contradiction", "counted provider.contradiction"];
const UNEXPECTED: [&str; 2] = [NO_ORDER, NO_LIST];

/// Outcomes of a 4xx by its body, where the status does not say more.
fn refused(body: &str) -> [&'static str; 2] {
    match body {
        "BadRequest" | "BadRequest alone" | "Application" | "Application, in small letters" => {
            ["fatal provider.refused", "counted provider.look_up_refused"]
        }
        "DuplicateDocument" => ["unknown provider.already_exists", "counted provider.look_up_refused"],
        "Authentication" | "Authorization" => ["unauthorized provider.unauthorized"; 2],
        "Internal" => ["unknown provider.vague_refusal", "counted provider.vague_refusal"],
        "order, and an error" => [CONTRADICTION[0], "counted provider.vague_refusal"],
        "BadRequest, and an order" => [CONTRADICTION[0], "counted provider.look_up_refused"],
        "absent, and an error" => ["unknown provider.vague_refusal", "counted provider.vague_refusal"],
        "not JSON" => ["unknown provider.not_json", "counted provider.not_json"],
        "contradictory" => CONTRADICTION,
        _ => UNEXPECTED,
    }
}

/// Bodies that are refusals with a code of a known kind.
fn has_known_code(body: &str) -> bool {
    !["not JSON", "contradictory"].contains(&body) && refused(body) != UNEXPECTED
}

fn expected(status: u16, body: &str, ok: &BTreeMap<&str, [&'static str; 2]>) -> [&'static str; 2] {
    match status {
        200..=299 => ok[body],
        403 if body == "not JSON" => ["unknown provider.blocked", "counted provider.blocked"],
        401 | 403 if !has_known_code(body) => ["unauthorized provider.unauthorized"; 2],
        429 => ["in 5 s provider.throttled"; 2],
        100..=199 | 300..=399 | 408 | 425 => {
            ["unknown provider.unexpected_status", "counted provider.unexpected_status"]
        }
        500.. => ["unknown provider.server_error", "counted provider.server_error"],
        // What names an order beside words without a code is about what was sent as little as all others.
        _ => refused(body),
    }
}

#[test]
fn every_status_with_every_body_is_in_the_table() {
    let table: BTreeMap<&str, [&'static str; 2]> = OK.iter().copied().collect();
    assert_eq!(table.len(), OK.len(), "a body is in the table twice");
    assert_eq!(bodies().len(), OK.len(), "a body is missing in the table");
    for (name, body) in bodies() {
        for status in statuses() {
            let answer = http(status, &body);
            let found = [create(&answer), look_up(&answer)];
            assert_eq!(found, expected(status, name, &table), "{status} {name}");
        }
    }
}

#[test]
fn a_create_is_sent_again_only_when_it_was_provably_not_executed() {
    for (name, answer) in every_answer() {
        let retryable = matches!(adapter().read_create(ORDER_ID, &answer), Outcome::Retryable(..));
        let proven = matches!(
            answer,
            Answer::NotSent(NotSent::NotConnected | NotSent::NoTime) | Answer::Http { status: 429, .. }
        );
        assert_eq!(retryable, proven, "{name}");
    }
}

#[test]
fn a_create_is_refused_for_good_only_with_a_code_about_what_was_sent() {
    for (name, answer) in every_answer() {
        let is_refused = matches!(adapter().read_create(ORDER_ID, &answer), Outcome::Refused(_));
        let is_objection = match &answer {
            Answer::Http { status: 400..=499, body: AnswerBody::Json(body), .. } => {
                let code = body["error"]["code"].as_str().unwrap_or_default().to_lowercase();
                let is_ours = body["orderNo"].is_null() && !code.ends_with("duplicatedocument");
                is_ours && (code.starts_with("badrequest") || code.starts_with("application"))
            }
            _ => false,
        };
        let says_more = ["408 ", "425 ", "429 "].iter().any(|status| name.starts_with(status));
        assert_eq!(is_refused, is_objection && !says_more, "{name}");
    }
}

#[test]
fn absent_is_only_an_empty_list() {
    let mut absences = 0;
    for (name, answer) in every_answer() {
        let absent = adapter().read_look_up(ORDER_ID, &answer) == Outcome::Done(None);
        let clear = matches!(&answer, Answer::Http { status: 200..=299, body: AnswerBody::Json(body), .. }
            if *body == json!({ "value": [] }));
        assert_eq!(absent, clear, "{name}");
        absences += usize::from(absent);
    }
    assert_eq!(absences, statuses().filter(|status| (200..=299).contains(status)).count());
}

#[test]
fn what_they_name_is_taken_over() {
    let named = |reference: &str| Placed { reference: reference.into(), ..Placed::default() };
    let created = http(201, &AnswerBody::Json(order(|_| {})));
    assert_eq!(adapter().read_create(ORDER_ID, &created), Outcome::Done(named("SO-000123")));
    let found = http(200, &AnswerBody::Json(json!({ "value": [with("orderNo", json!(77))] })));
    assert_eq!(adapter().read_look_up(ORDER_ID, &found), Outcome::Done(Some(named("77"))));
}

#[test]
fn what_they_say_is_kept() {
    let answer = http(400, &AnswerBody::Json(refusal("BadRequest_InvalidItem")));
    let Outcome::Refused(failure) = adapter().read_create(ORDER_ID, &answer) else { panic!("it is refused") };
    assert_eq!(failure.message, "BadRequest_InvalidItem: Item A-1 is blocked.");
}
