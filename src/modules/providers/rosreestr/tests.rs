//! Requests to the gateway, and the meaning of its answers.

use serde_json::json;

use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::{
    modules::providers::{Detail, Extract, ExtractType, NamedFile},
    platform::exchange::{NotSent, Prepared},
};

const ORDER: &str = "ord_0192d4a1c2b37d3e8f9a0b1c2d3e4f5a";
const DOCFLOW: &str = "3f2a9c";

fn adapter() -> Rosreestr {
    Rosreestr::new("https://gateway.example/rosreestr/v1/", PollSchedule { every: Duration::from_secs(30) })
}

fn http(status: u16, body: Value) -> Answer {
    Answer::Http { status, retry_after: None, body: AnswerBody::Json(body) }
}

fn file(bytes: u64) -> Answer {
    let body = AnswerBody::File(ReceivedFile { bytes, sha256: "ab".repeat(32) });
    Answer::Http { status: 200, retry_after: None, body }
}

fn secrets(username: &str, password: &str) -> AccountSecrets {
    [(USERNAME, username.to_owned().into()), (PASSWORD, password.to_owned().into())].into_iter().collect()
}

#[test]
fn an_order_is_sent_character_for_character() {
    let detail =
        Detail::Extract(Extract { cadastral_number: "50:33:0000000:098325".into(), kind: ExtractType::Ownership });
    let order = OrderToPlace { order_id: ORDER, client_order_id: "x-1", detail: &detail };
    let sent = adapter().create_request(&order).expect("an extract");
    assert_eq!(
        (&sent.method, &*sent.url),
        (&Method::POST, "https://gateway.example/rosreestr/v1/docflows/object_request")
    );
    let body =
        json!({ "requestId": ORDER, "options": { "type": "ownership", "cadastralNumber": "50:33:0000000:098325" } });
    assert_eq!(sent.body, Some(body));
    let record = Prepared::new(sent, adapter().credential_headers()).record;
    let stored = record.body.as_document().and_then(|body| body.get_document("options").ok()).expect("options");
    assert_eq!(stored.get_str("cadastralNumber").ok(), Some("50:33:0000000:098325"));
    assert_eq!(record.headers.get_str("authorization").ok(), Some("[credential]"));
}

#[test]
fn what_they_name_is_a_part_of_a_path_and_no_more() {
    let url = |outbound: Outbound| outbound.url.replace("https://gateway.example/rosreestr/v1", "");
    assert_eq!(url(adapter().look_up_request(ORDER)), format!("/docflows?requestId={ORDER}"));
    assert_eq!(url(adapter().poll_request("a-1_b.c")), "/docflows/a-1_b.c");
    assert_eq!(url(adapter().poll_request("../x?y#z")), "/docflows/..%2Fx%3Fy%23z");
    assert_eq!(url(adapter().file_request("d", "ф/../1 %")), "/docflows/d/files/%D1%84%2F..%2F1%20%25");
}

#[test]
fn an_account_signs_with_its_name_and_password() {
    let signed = adapter().sign(&secrets("user1", "pass:word")).expect("credentials");
    assert_eq!(signed[0].0, "authorization");
    assert_eq!(
        signed[0].1.to_str().ok(),
        Some(&*format!("Basic {}", base64::Engine::encode(&STANDARD, "user1:pass:word")))
    );
    for incomplete in [secrets("", "password"), secrets("user1", ""), secrets("a:b", "password")] {
        assert!(adapter().sign(&incomplete).is_none());
    }
}

#[test]
fn an_answer_to_a_create_is_a_docflow_or_a_reason_to_look() {
    for (answer, meaning) in [
        (http(202, json!({ "docflowId": DOCFLOW, "state": "queued" })), "placed 3f2a9c"),
        (http(200, json!({ "docflowId": 77 })), "placed 77"),
        (http(202, json!({ "state": "queued" })), "unknown provider.no_docflow"),
        (http(202, json!({ "docflowId": "" })), "unknown provider.no_docflow"),
        (http(202, json!({ "docflowId": "<b>1</b>" })), "unknown provider.no_docflow"),
        (http(400, json!({ "message": "No such object" })), "fatal provider.refused"),
        (http(422, json!({})), "fatal provider.refused"),
        (http(409, json!({ "message": "A docflow with this requestId exists" })), "unknown provider.already_exists"),
        (http(404, json!({ "message": "?" })), "unknown provider.unexpected_answer"),
        (http(401, json!({ "message": "Who?" })), "unauthorized provider.unauthorized"),
        (http(500, json!({ "message": "Oops" })), "unknown provider.server_error"),
        (http(429, json!({})), "in 5 s provider.throttled"),
        (Answer::Lost(Lost::TimedOut), "unknown exchange.timed_out"),
        (Answer::NotSent(NotSent::NotConnected), "deferred exchange.not_connected"),
    ] {
        let outcome = adapter().read_create(ORDER, &answer);
        assert_eq!(outcome.in_words(|placed| format!("placed {}", placed.reference)), meaning, "{answer:?}");
    }
}

#[test]
fn a_look_up_finds_ours_or_a_clear_nothing() {
    let item = |id: &str, request: &str| json!({ "docflowId": id, "requestId": request, "state": "sent" });
    for (answer, meaning) in [
        (http(200, json!({ "items": [item(DOCFLOW, ORDER)] })), "found 3f2a9c"),
        (http(200, json!({ "items": [item("other", "ord_2"), item(DOCFLOW, ORDER)] })), "found 3f2a9c"),
        (http(200, json!({ "items": [{ "docflowId": DOCFLOW }] })), "found 3f2a9c"),
        (http(200, json!({ "items": [] })), "absent"),
        (http(200, json!({ "items": [item("other", "ord_2")] })), "unknown provider.wrong_order"),
        (http(200, json!({ "items": [item("a", ORDER), item("b", ORDER)] })), "unknown provider.contradiction"),
        (http(200, json!({ "items": [item("", ORDER)] })), "unknown provider.unexpected_answer"),
        (http(200, json!({ "items": null })), "unknown provider.unexpected_answer"),
        (http(200, json!([])), "unknown provider.unexpected_answer"),
        (http(404, json!({ "message": "There is no such docflow" })), "unknown provider.look_up_refused"),
        (http(500, json!({})), "unknown provider.server_error"),
    ] {
        let outcome = adapter().read_look_up(ORDER, &answer);
        let words = outcome.in_words(|found| {
            found.as_ref().map_or_else(|| "absent".into(), |placed| format!("found {}", placed.reference))
        });
        assert_eq!(words, meaning, "{answer:?}");
    }
}

#[test]
fn a_poll_tells_how_it_is_getting_on_and_nothing_is_guessed() {
    let body =
        |state: &str, files: Value| json!({ "docflowId": DOCFLOW, "state": state, "error": null, "files": files });
    let one = || json!([{ "id": "1", "name": "a.pdf", "contentType": "application/pdf" }]);
    for (answer, meaning) in [
        (http(200, body("queued", json!([]))), "waiting"),
        (http(200, body("sent", json!([]))), "working"),
        (http(200, body("SUSPENDED", json!([]))), "working"),
        (http(200, body("on_the_way", json!([]))), "unclear"),
        (http(200, body("", one())), "unclear"),
        (http(200, body("completed", one())), "complete"),
        (http(200, body("completed", json!([]))), "working"),
        (http(200, json!({ "docflowId": DOCFLOW, "state": "completed" })), "working"),
        (http(200, body("completed", json!({}))), "unknown provider.unexpected_answer"),
        (http(200, body("completed", json!([{ "name": "a" }]))), "unknown provider.unexpected_answer"),
        (http(200, body("completed", json!([{ "id": ".." }]))), "unknown provider.unexpected_answer"),
        (http(200, body("verified", json!(vec![json!({ "id": 1 }); 101]))), "unknown provider.unexpected_answer"),
        (http(200, body("error", json!([]))), "ended_in_error"),
        (http(200, json!({ "docflowId": "other", "state": "sent" })), "unknown provider.wrong_order"),
        (http(200, json!({ "state": "sent" })), "unknown provider.no_docflow"),
        (http(404, json!({ "message": "There is no such docflow" })), "fatal provider.poll_refused"),
        (http(503, json!({})), "unknown provider.server_error"),
    ] {
        let outcome = adapter().read_poll(DOCFLOW, &answer);
        assert_eq!(outcome.in_words(|progress| progress.as_str().to_owned()), meaning, "{answer:?}");
    }
}

#[test]
fn files_are_named_once_and_a_reason_is_told() {
    let listed = json!([
        { "id": "1", "name": "a.pdf", "contentType": "application/pdf" },
        { "id": 2, "name": 5, "contentType": null },
        { "id": "1", "name": "again.pdf" },
    ]);
    let body = json!({ "docflowId": DOCFLOW, "state": "verified", "files": listed });
    let named = |id: &str, name: &str, content_type: &str| NamedFile {
        id: id.into(),
        name: name.into(),
        content_type: content_type.into(),
    };
    let files = vec![named("1", "a.pdf", "application/pdf"), named("2", "", "")];
    assert_eq!(adapter().read_poll(DOCFLOW, &http(200, body)), Outcome::Done(Progress::Complete { files, last: true }));
    let failed = |error: Value| {
        let body = json!({ "docflowId": DOCFLOW, "state": "error", "error": error });
        adapter().read_poll(DOCFLOW, &http(200, body))
    };
    assert_eq!(failed(json!(" Not there ")), Outcome::Done(Progress::Failed("Not there".into())));
    assert_eq!(failed(Value::Null), Outcome::Done(Progress::Failed("The register gave no reason.".into())));
}

#[test]
fn a_file_is_a_file_with_something_in_it() {
    for (answer, meaning) in [
        (file(5), "5 bytes"),
        (file(0), "unknown provider.empty_file"),
        (Answer::Lost(Lost::TooLarge), "fatal provider.file_too_large"),
        (Answer::Lost(Lost::NotKept), "unknown exchange.not_kept"),
        (Answer::Lost(Lost::ConnectionLost), "unknown exchange.connection_lost"),
        (http(200, json!({ "message": "not ready" })), "unknown provider.no_file"),
        (http(404, json!({ "message": "There is no such file" })), "unknown provider.no_file"),
        (http(404, json!({})), "unknown provider.unexpected_answer"),
        (http(401, json!({})), "unauthorized provider.unauthorized"),
        (http(500, json!({})), "unknown provider.server_error"),
    ] {
        let outcome = adapter().read_file(&answer);
        assert_eq!(outcome.in_words(|file| format!("{} bytes", file.bytes)), meaning, "{answer:?}");
    }
}
