//! The outcome table of DESIGN.md over every status and every body.

use super::*;
use std::collections::BTreeMap;

fn shipment(shipment: &Placed) -> String {
    if shipment.cancelled { "found, cancelled" } else { "found" }.into()
}

fn create(answer: &Answer) -> String {
    adapter().read_create(ORDER_ID, answer).in_words(shipment)
}

fn cancel(answer: &Answer) -> String {
    adapter().read_cancel(answer).or_repeat().in_words(|()| "cancelled".into())
}

fn look_up(answer: &Answer) -> String {
    let outcome = adapter().read_look_up(ORDER_ID, answer).or_repeat();
    outcome.in_words(|found| found.as_ref().map_or_else(|| "absent".into(), shipment))
}

/// Outcomes of a 2xx by its body. Columns: create, cancel, look-up.
const OK: &[(&str, [&str; 3])] = &[
    ("placed", ["found", "cancelled", "counted provider.no_awb"]),
    ("placed, awb is a number", ["found", "cancelled", "counted provider.no_awb"]),
    ("placed, names no order", ["found", "cancelled", "counted provider.no_awb"]),
    ("placed, names nobody", ["found", "cancelled", "counted provider.no_awb"]),
    ("placed, other order", ["unknown provider.wrong_order", "cancelled", "counted provider.no_awb"]),
    ("placed, order is a number", ["unknown provider.wrong_order", "cancelled", "counted provider.no_awb"]),
    ("placed, order is a list", ["unknown provider.wrong_order", "cancelled", "counted provider.no_awb"]),
    ("placed, order is a novel", ["unknown provider.wrong_order", "cancelled", "counted provider.no_awb"]),
    ("placed, no awb", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("placed, blank awb", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("placed, awb is a novel", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("placed, awb is nought", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("placed, awb is not available", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("placed, awb is a dash", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("placed, awb is a page", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("placed, no data", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("placed, cancelled", ["found, cancelled", "cancelled", "counted provider.no_awb"]),
    ("placed, cancelled number", ["found, cancelled", "cancelled", "counted provider.no_awb"]),
    ("placed, cancelled nested", ["found, cancelled", "cancelled", "counted provider.no_awb"]),
    ("placed, cancelled fraction", ["found, cancelled", "cancelled", "counted provider.no_awb"]),
    ("placed, cancelled by title", ["found, cancelled", "cancelled", "counted provider.no_awb"]),
    ("placed, cancelled by a title alone", ["found, cancelled", "cancelled", "counted provider.no_awb"]),
    ("placed, cancelled in a list", ["found, cancelled", "cancelled", "counted provider.no_awb"]),
    ("placed, cancelled and booked", ["unknown provider.unclear_status", "cancelled", "counted provider.no_awb"]),
    ("placed, code is a list", ["unknown provider.unclear_status", "cancelled", "counted provider.no_awb"]),
    ("placed, code is odd", ["unknown provider.unclear_status", "cancelled", "counted provider.no_awb"]),
    ("placed, code is blank", ["found", "cancelled", "counted provider.no_awb"]),
    ("placed, booked", ["found", "cancelled", "counted provider.no_awb"]),
    ("placed, data is a list of one", ["found", "cancelled", "counted provider.no_awb"]),
    ("placed, data is a list of two", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("placed, awb is long", ["found", "cancelled", "counted provider.no_awb"]),
    ("tracked", ["unknown provider.no_awb", "cancelled", "found"]),
    ("tracked, names no order", ["unknown provider.no_awb", "cancelled", "found"]),
    ("tracked, other order", ["unknown provider.no_awb", "cancelled", "counted provider.wrong_order"]),
    ("tracked, no awb", ["unknown provider.no_awb", "cancelled", "counted provider.no_awb"]),
    ("tracked, cancelled", ["unknown provider.no_awb", "cancelled", "found, cancelled"]),
    ("tracked, cancelled by title", ["unknown provider.no_awb", "cancelled", "found, cancelled"]),
    ("tracked, maybe cancelled", ["unknown provider.no_awb", "cancelled", "counted provider.unclear_status"]),
    ("tracked, booked and maybe cancelled", ["unknown provider.no_awb", "cancelled", "found"]),
    ("tracked, booked and cancelled", ["unknown provider.no_awb", "cancelled", "counted provider.unclear_status"]),
    ("tracked, no status", ["unknown provider.no_awb", "cancelled", "found"]),
    ("tracked, several statuses", ["unknown provider.no_awb", "cancelled", "counted provider.unclear_status"]),
    ("refused", REFUSED),
    ("refused by a word", REFUSED),
    ("refused by a number", REFUSED),
    (
        "refused with a shipment",
        ["unknown provider.contradiction", "fatal provider.refused", "counted provider.contradiction"],
    ),
    ("refused, map of lists", REFUSED),
    ("refused, errors", REFUSED),
    ("refused, list", REFUSED),
    ("refused, blank", NO_REASON),
    ("refused, empty list", NO_REASON),
    ("refused, list of numbers", NO_REASON),
    ("refused, object", REFUSED),
    ("refused, object of nothing", NO_REASON),
    ("refused, null", NO_REASON),
    ("refused, no message", NO_REASON),
    (
        "already exists",
        ["unknown provider.already_exists", "fatal provider.refused", "counted provider.look_up_refused"],
    ),
    ("duplicate", ["unknown provider.already_exists", "fatal provider.refused", "counted provider.look_up_refused"]),
    ("something went wrong", VAGUE),
    ("try again", VAGUE),
    ("no record found", ["fatal provider.refused", "fatal provider.refused", "absent"]),
    ("already cancelled", ["fatal provider.refused", "cancelled", "counted provider.look_up_refused"]),
    ("no record found, or so", VAGUE),
    ("not JSON", NOT_JSON),
    ("contradictory", unclear(["unknown provider.contradiction", "counted provider.contradiction"])),
    ("a list", UNEXPECTED),
    ("a number", UNEXPECTED),
    ("a text", UNEXPECTED),
    ("null", UNEXPECTED),
    ("no status", UNEXPECTED),
    ("a list of one", ["found", "cancelled", "counted provider.no_awb"]),
    ("status is another number", UNEXPECTED),
    ("status is a text", ["found", "cancelled", "counted provider.no_awb"]),
    ("status is a number", ["found", "cancelled", "counted provider.no_awb"]),
];
const REFUSED: [&str; 3] = ["fatal provider.refused", "fatal provider.refused", "counted provider.look_up_refused"];
const NO_REASON: [&str; 3] = unclear(["unknown provider.no_reason", "counted provider.no_reason"]);
const NOT_JSON: [&str; 3] = unclear(["unknown provider.not_json", "counted provider.not_json"]);
const UNEXPECTED: [&str; 3] = unclear(["unknown provider.unexpected_answer", "counted provider.unexpected_answer"]);
const VAGUE: [&str; 3] =
    ["unknown provider.vague_refusal", "counted provider.vague_refusal", "counted provider.look_up_refused"];

/// Outcomes of an unreadable answer: unknown after a create, repeated otherwise.
const fn unclear([of_create, of_others]: [&str; 2]) -> [&str; 3] {
    [of_create, of_others, of_others]
}

/// Bodies that refuse and give no reason.
const NO_REASON_GIVEN: [&str; 6] = [
    "refused, blank",
    "refused, empty list",
    "refused, list of numbers",
    "refused, object of nothing",
    "refused, null",
    "refused, no message",
];
/// Bodies that say neither yes nor no.
const SILENT: [&str; 4] = ["a list", "a number", "null", "a text"];

/// Outcomes of any other status. `None`: as with a 2xx, by its body.
fn by_status(status: u16, body: &str) -> Option<[&'static str; 3]> {
    let row = OK.iter().find(|(name, _)| *name == body).map(|(_, row)| *row);
    match status {
        200..=299 => None,
        403 if body == "not JSON" => Some(unclear(["unknown provider.blocked", "counted provider.blocked"])),
        401 | 403 => Some(["unauthorized provider.unauthorized"; 3]),
        429 => Some(["in 5 s provider.throttled"; 3]),
        100..=199 | 300..=399 | 408 | 425 => {
            Some(unclear(["unknown provider.unexpected_status", "counted provider.unexpected_status"]))
        }
        500.. => Some(unclear(["unknown provider.server_error", "counted provider.server_error"])),
        _ if ["not JSON", "contradictory"].contains(&body) => None,
        // A refusal counts on all others; absence is not believed of these two.
        400 | 422 if body == "no record found" => Some(REFUSED),
        // These two are refusals without a reason, and without a word that we understand.
        400 | 422 if ["no status", "status is another number"].contains(&body) => {
            Some(["unknown provider.contradiction", REFUSED[1], "counted provider.contradiction"])
        }
        400 | 422 if NO_REASON_GIVEN.contains(&body) || SILENT.contains(&body) => Some(REFUSED),
        _ if row == Some(UNEXPECTED) || row.is_some_and(|row| row[1] == "cancelled" && row[0] != REFUSED[0]) => {
            Some(UNEXPECTED)
        }
        _ => None,
    }
}

#[test]
fn every_status_with_every_body_is_in_the_table() {
    let table: BTreeMap<&str, [&str; 3]> = OK.iter().copied().collect();
    assert_eq!(table.len(), OK.len(), "a body is in the table twice");
    assert_eq!(bodies().len(), OK.len(), "a body is missing in the table");
    for (name, body) in bodies() {
        for status in statuses() {
            let expected = by_status(status, name).unwrap_or_else(|| table[name]);
            let answer = http(status, &body);
            assert_eq!([create(&answer), cancel(&answer), look_up(&answer)], expected, "{status} {name}");
        }
    }
}

#[test]
fn a_throttled_account_waits_as_long_as_it_is_told_to() {
    for (retry_after, expected) in [(None, 5), (Some(0), 0), (Some(7), 7), (Some(3600), 3600)] {
        let answer =
            Answer::Http { status: 429, retry_after: retry_after.map(Duration::from_secs), body: AnswerBody::NotJson };
        let expected = format!("in {expected} s provider.throttled");
        assert_eq!([create(&answer), cancel(&answer), look_up(&answer)], [&*expected; 3], "{retry_after:?}");
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
fn placed_is_only_what_names_our_order_or_none_and_a_shipment() {
    for (name, answer) in every_answer() {
        let placed = matches!(adapter().read_create(ORDER_ID, &answer), Outcome::Done(_));
        let Answer::Http { status, body: AnswerBody::Json(body), .. } = &answer else {
            assert!(!placed, "{name}");
            continue;
        };
        if !placed {
            continue;
        }
        let body = if body.is_array() { &body[0] } else { body };
        let data = if body["data"].is_array() { &body["data"][0] } else { &body["data"] };
        let named = &data["client_order_id"];
        assert!(named.is_null() || named == ORDER_ID || named == " ", "{name}");
        assert!(data["awb_number"].to_string().contains(|c| ('1'..='9').contains(&c)), "{name}");
        assert!((200..=299).contains(status) && body["status"] != false, "{name}");
    }
}

/// Whether the words decide with this status, and it is not about the question.
fn may_be_absent(status: u16) -> bool {
    matches!(status, 200..=299 | 400..=499) && ![400, 401, 403, 408, 422, 425, 429].contains(&status)
}

#[test]
fn absent_is_only_a_clear_no_record() {
    let mut absences = 0;
    for (name, answer) in every_answer() {
        let absent = adapter().read_look_up(ORDER_ID, &answer) == Outcome::Done(None);
        let clear = match &answer {
            Answer::Http { status, body: AnswerBody::Json(body), .. } if may_be_absent(*status) => {
                body["status"] == false
                    && body["responsemsg"].as_str().is_some_and(|text| text.to_lowercase() == "no record found.")
                    && body["data"].is_null()
            }
            _ => false,
        };
        assert_eq!(absent, clear, "{name}");
        absences += usize::from(absent);
    }
    let expected = statuses().filter(|status| may_be_absent(*status)).count();
    assert_eq!(absences, expected, "one body on every one of these");
}

#[test]
fn refused_credentials_are_never_taken_for_anything_else() {
    for (name, answer) in every_answer() {
        // A page with 403 is a firewall's.
        let blocked = matches!(answer, Answer::Http { status: 403, body: AnswerBody::NotJson, .. });
        let expected = !blocked
            && matches!(answer, Answer::NotSent(NotSent::NoCredentials) | Answer::Http { status: 401 | 403, .. });
        let found = [create(&answer), cancel(&answer), look_up(&answer)].map(|class| class.starts_with("unauthorized"));
        assert_eq!(found, [expected; 3], "{name}");
    }
}

#[test]
fn their_breakdown_refuses_nothing() {
    for (name, answer) in every_answer() {
        if matches!(answer, Answer::Lost(_) | Answer::Http { status: 500.., .. }) {
            assert!(create(&answer).starts_with("unknown "), "{name}");
            assert!(cancel(&answer).starts_with("counted "), "{name}");
            assert!(look_up(&answer).starts_with("counted "), "{name}");
        }
    }
}

#[test]
fn what_they_name_is_taken_over() {
    let answer = http(200, &placed(|_| {}));
    assert_eq!(
        adapter().read_create(ORDER_ID, &answer),
        Outcome::Done(Placed {
            reference: "PX0001".into(),
            courier_name: Some("Delhivery Surface".into()),
            provider_order_id: Some("77".into()),
            ..Placed::default()
        })
    );
    let answer = http(200, &tracked(|body| body["awb_number"] = json!(" PX0002 ")));
    assert_eq!(
        adapter().read_look_up(ORDER_ID, &answer),
        Outcome::Done(Some(Placed { reference: "PX0002".into(), ..Placed::default() }))
    );
}

#[test]
fn what_they_say_is_kept_short_and_printable() {
    for (message, kept) in [
        (json!(["Invalid mobile.", 5, "Invalid pincode."]), "Invalid mobile.; Invalid pincode.".to_owned()),
        (json!({ "mobile": ["Invalid 9876543210."] }), "mobile: Invalid [number]".into()),
        (json!("bell\u{7} and\nline"), "bell and line".into()),
        (json!("é".repeat(1000)), "é".repeat(300)),
    ] {
        let answer = http(200, &refused(message));
        assert_eq!(
            adapter().read_create(ORDER_ID, &answer),
            Outcome::Refused(Failure { code: "provider.refused", message: kept })
        );
    }
}
