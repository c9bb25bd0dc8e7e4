//! Behaviour that all stand-ins share, seen at a provider that counts. A mode that does not do what it says makes every test
//! that relies on it worthless.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::MethodFilter,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    answer::{Answer, Refusal},
    contract::{Deviating, Deviation, read_json},
    rules::{Fault, Mode, NewRule, OwnMode, Rules, Subject, Work},
    server,
    stand::{Books, Call, Provider, Stand, World},
    testing::{Caller, PATIENCE, bytes, read, seen, text},
    transport::Transport,
};

/// A provider that counts how often it was asked and how often it did something.
#[derive(Default)]
struct Counter {
    noted: u64,
    done: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Add,
    Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Own {
    Doubled,
    Refused,
    RefusedAfterWork,
}

impl OwnMode for Own {
    type Operation = Operation;

    fn work(self) -> Work {
        match self {
            Self::Doubled => Work::Needed,
            Self::Refused => Work::LeftOut,
            Self::RefusedAfterWork => Work::Done,
        }
    }

    fn only_for(self) -> Option<Operation> {
        (self == Self::Doubled).then_some(Operation::Add)
    }
}

impl Provider for Counter {
    const NAME: &'static str = "counter";
    const API: &'static str = "/v9";
    const CALLS: &'static [(MethodFilter, &'static str, Operation)] =
        &[(MethodFilter::POST, "/adding", Operation::Add), (MethodFilter::GET, "/looking", Operation::Look)];
    const ENTRIES: &'static str = "counts";
    const SUBJECT: &'static [&'static str] = &["by"];

    type Mode = Own;
    type Request = Operation;

    fn credentials(headers: &HeaderMap) -> Option<String> {
        headers.get("x-key")?.to_str().ok().map(str::to_owned)
    }

    fn read(&mut self, operation: Operation, call: &Call) -> Result<(Operation, Subject), Deviating> {
        self.noted += 1;
        if operation == Operation::Look {
            return Ok((operation, vec![]));
        }
        let body = read_json(&call.headers, &call.body);
        let body = body.map_err(|deviation| Deviating { reference: None, deviations: vec![deviation] })?;
        Ok((operation, vec![("by", body["by"].clone())]))
    }

    async fn work(stand: &Stand<Self>, _: &Operation, _: &Fault<Own>) -> Answer {
        let counter = &mut stand.lock().provider;
        counter.done += 1;
        Answer::json(StatusCode::CREATED, json!({"done": counter.done}))
    }

    fn reply(mode: Own, _: &Operation, _: Option<&str>, worked: Option<Answer>) -> Answer {
        let refused = Answer::json(StatusCode::CONFLICT, json!("refused"));
        match mode {
            Own::Doubled => worked.unwrap().with(|body| body["done"] = json!(2 * body["done"].as_u64().unwrap())),
            Own::Refused | Own::RefusedAfterWork => refused,
        }
    }

    fn object(deviations: &[Deviation]) -> Answer {
        Answer::json(StatusCode::BAD_REQUEST, json!(deviations))
    }

    fn refuse(refusal: Refusal, message: Option<&str>) -> Answer {
        Answer::json(refusal.status(), json!(message.unwrap_or("no")))
    }
}

impl Books for Counter {
    fn totals(&self) -> Value {
        json!({"noted": self.noted, "done": self.done})
    }

    fn entry(&self, reference: &str) -> Option<Value> {
        (reference == "done").then(|| json!({"is": "done", "count": self.done}))
    }

    fn entries(&self) -> Vec<Value> {
        vec![json!({"is": "noted", "count": self.noted}), json!({"is": "done", "count": self.done})]
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn counter() -> Caller {
    let world = World { base: "/ns/a", callbacks: None };
    Caller::of(&Stand::new(Counter::default(), &world, Some("dev")), "x-key", "dev")
}

impl Caller {
    async fn add(&self) -> Response {
        self.post("/v9/adding", &json!({"by": 1})).await
    }

    async fn done(&self) -> Value {
        self.books().await["done"].clone()
    }

    async fn comes_to_be_done(&self) {
        let done = async {
            while self.done().await != 1 {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(Duration::from_secs(10), done).await.expect("it is done all the same");
    }
}

#[tokio::test]
async fn every_mode_does_what_it_says() {
    // mode, HTTP status (0: hung up), how often it is done, a word in the answer
    for (mode, http, done, word) in [
        ("ok", 201, 1, r#"{"done":1}"#),
        ("html", 200, 0, "<!doctype html>"),
        ("html_502", 502, 0, "502 Bad Gateway"),
        ("truncated", 200, 0, "{\""),
        ("truncated_after_work", 201, 1, "{\"don"),
        ("429", 429, 0, "no"),
        ("500", 500, 0, "no"),
        ("500_after_work", 500, 1, "no"),
        ("401", 401, 0, "no"),
        ("503", 503, 0, "no"),
        ("403", 403, 0, "no"),
        ("html_403", 403, 0, "<!doctype html>"),
        ("drop", 0, 0, ""),
        ("drop_after_work", 0, 1, ""),
        ("huge", 201, 1, r#"{"done":1}"#),
        ("redirect", 307, 0, ""),
        ("doubled", 201, 1, r#"{"done":2}"#),
        ("refused", 409, 0, "refused"),
        ("refused_after_work", 409, 1, "refused"),
    ] {
        let counter = counter();
        counter.rule(json!({"operation": "add", "mode": mode, "times": 1})).await;
        let (status, body) = seen(counter.add().await).await;
        assert_eq!(status, http, "{mode}");
        assert!(body.contains(word), "{mode}: {body}");
        assert_eq!(body.len() > 2 * 1024 * 1024, mode == "huge", "{mode}");
        let json = serde_json::from_str::<Value>(&body).is_ok();
        let is_json = !["html", "html_403", "html_502", "drop", "drop_after_work", "redirect"].contains(&mode);
        assert_eq!(json, is_json && !mode.starts_with("truncated"), "{mode}: {body}");
        assert_eq!(counter.done().await, done, "{mode}");
        assert_eq!(counter.books().await["noted"], 1, "{mode}");
        assert_eq!(counter.add().await.status(), 201, "{mode}: the rule is used up");
    }
}

#[tokio::test]
async fn modes_that_keep_the_client_waiting() {
    for (mode, done) in [("hang", 0), ("hang_after_work", 1)] {
        let counter = counter();
        counter.rule(json!({"mode": mode})).await;
        assert!(tokio::time::timeout(PATIENCE, counter.add()).await.is_err(), "{mode}");
        assert_eq!(counter.done().await, done, "{mode}");
    }
    let counter = counter();
    counter.rule(json!({"mode": "slow_body"})).await;
    let head = tokio::time::timeout(PATIENCE, counter.add()).await.unwrap();
    assert_eq!(head.status(), StatusCode::CREATED);
    assert!(tokio::time::timeout(PATIENCE, text(head)).await.is_err());
    assert_eq!(counter.done().await, 1);
}

#[tokio::test]
async fn an_answer_is_cut_short() {
    for (mode, promised, whole) in [("truncated_after_work", "5", true), ("cut_after_work", "10", false)] {
        let counter = counter();
        counter.rule(json!({"mode": mode})).await;
        let answer = counter.add().await;
        assert_eq!(answer.headers()["content-length"], promised, "{mode}");
        assert_eq!(bytes(answer).await, ("{\"don".into(), whole), "{mode}");
        assert_eq!(counter.done().await, 1, "{mode}");
    }
}

#[tokio::test]
async fn the_work_may_come_after_the_answer() {
    for (mode, status) in [("500", 500), ("drop_after_work", 0), ("refused_after_work", 409)] {
        let counter = counter();
        counter.rule(json!({"operation": "add", "mode": mode, "workAfterMs": 50})).await;
        assert_eq!(seen(counter.add().await).await.0, status, "{mode}");
        assert_eq!(counter.done().await, 0, "{mode}");
        counter.comes_to_be_done().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_the_latency_does_not_stop_the_work() {
    let counter = counter();
    counter.rule(json!({"operation": "add", "mode": "ok", "latencyMs": 300})).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), counter.add()).await.is_err());
    assert_eq!(counter.done().await, 0);
    counter.comes_to_be_done().await;
}

#[tokio::test]
async fn a_followed_redirect_shows_in_the_books() {
    let counter = counter();
    counter.rule(json!({"mode": "redirect"})).await;
    let redirect = counter.call("POST", "/v9/adding?a=b", Some(&json!({}))).await;
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(location, "/ns/a/counter/moved/v9/adding?a=b", "in the same namespace, with its query");
    let path = location.strip_prefix("/ns/a/counter").unwrap();
    assert_eq!(counter.post(path, &json!({})).await.status(), 201, "no faults there");
    assert_eq!((counter.done().await, counter.books().await["noted"].clone()), (json!(1), json!(2)));
}

#[tokio::test]
async fn credentials_are_checked_first() {
    let counter = counter();
    counter.rule(json!({"mode": "403", "times": 1})).await;
    for (key, status) in [(None, 401), (Some(""), 401), (Some("other"), 401), (Some("dev"), 403), (Some("dev"), 201)] {
        let caller = counter.with_credentials(key.map(|key| ("x-key", key.to_owned())));
        assert_eq!(caller.add().await.status(), status, "{key:?}");
    }
    for (expected, status) in
        [(json!("right"), 401), (json!(["right", "left"]), 401), (Value::Null, 201), (json!(["right", "dev"]), 201)]
    {
        counter.control("credentials", &json!({"expected": expected})).await;
        assert_eq!(counter.add().await.status(), status, "{expected}");
    }
    let books = counter.books().await;
    assert_eq!((&books["unauthorized"], &books["calls"], &books["noted"]), (&json!(5), &json!(9), &json!(4)));
}

#[tokio::test]
async fn a_rule_may_ask_for_an_account() {
    let counter = counter();
    counter.rule(json!({"account": "one", "mode": "403"})).await;
    for (key, status) in [("one:a", 403), ("one:b", 403), ("two:a", 201), ("dev", 201)] {
        counter.control("credentials", &json!({"expected": null})).await;
        let caller = counter.with_credentials(Some(("x-key", key.to_owned())));
        assert_eq!(caller.add().await.status(), status, "{key}");
    }
}

#[tokio::test]
async fn the_books_count_and_forget() {
    let counter = counter();
    counter.add().await;
    counter.get("/v9/looking").await;
    counter.call("POST", "/v9/adding", None).await;
    assert_eq!(counter.call("GET", "/v9/nothing", None).await.status(), 404);
    let violation = json!({"operation": "add", "reference": null, "field": "content-type",
        "problem": "must be application/json"});
    let totals = json!({"calls": 3, "callsByOperation": {"add": 2, "look": 1}, "unauthorized": 0, "noted": 3, "done": 2,
        "violations": [violation]});
    assert_eq!(counter.books().await, totals);
    let (noted, done) = (json!({"is": "noted", "count": 3}), json!({"is": "done", "count": 2}));
    assert_eq!(counter.get("/_books/counts").await, json!([noted, done]));
    assert_eq!(counter.get("/_books/counts?is=done").await, json!([done]));
    assert_eq!(counter.get("/_books/counts/done").await, done);
    assert_eq!(counter.call("GET", "/_books/counts/other", None).await.status(), 404);

    counter.rule(json!({"mode": "500", "times": 0})).await;
    assert_eq!(counter.call("DELETE", "/_books", None).await.status(), 204);
    let totals = json!({"calls": 0, "callsByOperation": {"add": 0, "look": 0}, "unauthorized": 0, "noted": 0, "done": 0,
        "violations": []});
    assert_eq!(counter.books().await, totals);
    assert_eq!(counter.get("/_control/rules").await.as_array().unwrap().len(), 1, "rules stay");
}

#[tokio::test]
async fn rules_match_by_operation_and_by_what_a_call_is_about() {
    let counter = counter();
    counter.rule(json!({"operation": "add", "by": 1, "mode": "500", "times": 2})).await;
    counter.rule(json!({"operation": "any", "by": null, "mode": "403", "times": 3})).await;
    for (by, status) in [(2, 403), (1, 500), (1, 500), (1, 403)] {
        assert_eq!(counter.post("/v9/adding", &json!({"by": by})).await.status(), status, "{by}");
    }
    assert_eq!(counter.call("GET", "/v9/looking", None).await.status(), 403);
    assert_eq!(counter.add().await.status(), 201, "both are used up");
    counter.rule(json!({"mode": "500"})).await;
    assert_eq!(
        counter.get("/_control/rules").await,
        json!([
            {"operation": "add", "mode": "500", "by": 1, "timesLeft": 0, "applied": 2, "probability": 1.0,
                "latencyMs": 0, "retryAfterSeconds": 1, "message": null, "afterWork": false},
            {"operation": null, "mode": "403", "timesLeft": 0, "applied": 3, "probability": 1.0,
                "latencyMs": 0, "retryAfterSeconds": 1, "message": null, "afterWork": false},
            {"operation": null, "mode": "500", "timesLeft": null, "applied": 0, "probability": 1.0,
                "latencyMs": 0, "retryAfterSeconds": 1, "message": null, "afterWork": false},
        ])
    );
    counter.call("DELETE", "/_control/rules", None).await;
    assert_eq!(counter.get("/_control/rules").await, json!([]));
    assert_eq!(counter.add().await.status(), 201);
}

#[tokio::test]
async fn rules_carry_their_own_settings() {
    let counter = counter();
    counter.rule(json!({"mode": "429", "retryAfterSeconds": 7, "message": "slow down", "times": 1})).await;
    let throttled = counter.add().await;
    assert_eq!(throttled.headers()["retry-after"], "7");
    assert_eq!(read(throttled).await, "slow down");
    counter.rule(json!({"mode": "429", "times": 1})).await;
    assert_eq!(counter.add().await.headers()["retry-after"], "1");
    for mode in ["429", "503"] {
        for sent in [json!([]), json!(["soon", "Thu, 01 Jan 1970 00:00:00 GMT"]), json!(["99999999999999999999"])] {
            counter.rule(json!({"mode": mode, "retryAfter": sent, "times": 1})).await;
            let refused = counter.add().await;
            let seen = refused.headers().get_all("retry-after").iter().map(|value| value.to_str().unwrap());
            assert_eq!(json!(seen.collect::<Vec<_>>()), sent, "{mode}");
        }
    }
    counter.rule(json!({"mode": "html", "afterWork": true, "times": 1})).await;
    assert_eq!(counter.add().await.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(counter.done().await, 1);
    counter.rule(json!({"mode": "refused_after_work", "afterWork": false, "times": 1})).await;
    assert_eq!(counter.add().await.status(), 409);
    assert_eq!(counter.done().await, 1);
}

#[tokio::test]
async fn rules_that_cannot_be_are_refused() {
    let counter = counter();
    for wrong in [
        json!({}),
        json!({"mode": "no_such_mode"}),
        json!({"mode": "ok", "operation": "subtract"}),
        json!({"mode": "500", "nonsense": 1}),
        json!({"mode": "ok", "times": -1}),
        json!({"mode": "500", "probability": 1.5}),
        json!({"mode": "500", "latencyMs": 999_999_999}),
        json!({"mode": "ok", "afterWork": false}),
        json!({"mode": "doubled", "operation": "add", "afterWork": false}),
        json!({"mode": "doubled"}),
        json!({"mode": "ok", "workAfterMs": 1}),
        json!({"mode": "500", "workAfterMs": 999_999_999}),
        json!({"mode": "500", "workAfterMs": 1, "afterWork": true}),
        json!({"mode": "429", "retryAfter": ["1\n"]}),
        json!({"mode": "doubled", "operation": "look"}),
    ] {
        assert_eq!(counter.control("rules", &wrong).await.status(), StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    assert_eq!(counter.get("/_control/rules").await, json!([]));
}

#[test]
fn a_probability_is_a_share_of_the_calls() {
    let mut rules = Rules::<Own>::default();
    for rule in [json!({"mode": "hang", "probability": 0.25, "times": 1}), json!({"mode": "429"})] {
        let rule: NewRule<Own> = serde_json::from_value(rule).unwrap();
        rules.add(rule, &[]).unwrap();
    }
    let mut pick = |roll: f64| rules.pick(Operation::Add, &vec![], || roll).mode;
    let (hang, throttled) = (Mode::Transport(Transport::Hang), Mode::Transport(Transport::TooManyRequests));
    assert_eq!(pick(0.25), throttled, "a lost roll is left to the rules behind");
    assert_eq!(pick(0.24), hang, "a lost roll uses up nothing");
    assert_eq!(pick(0.24), throttled, "used up");
}

/// This cannot be seen without a socket: the connection closes with not a byte written.
#[tokio::test]
async fn a_dropped_call_is_closed_without_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let counter = counter();
    counter.rule(json!({"mode": "drop", "times": 1})).await;
    let serving = tokio::spawn(server::serve(listener, counter.router.clone()));
    let request = "GET /counter/v9/looking HTTP/1.1\r\nhost: test\r\nx-key: dev\r\nconnection: close\r\n\r\n";
    for answered in [false, true] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 201"), answered, "{answer:?}");
        assert_eq!(answer.is_empty(), !answered);
    }
    serving.abort();
}

#[tokio::test]
async fn calls_are_counted_by_account_and_second() {
    let counter = counter();
    counter.control("credentials", &json!({"expected": ["one:a", "two:a"]})).await;
    let [one, two, wrong] =
        ["one:a", "two:a", "two:b"].map(|key| counter.with_credentials(Some(("x-key", key.to_owned()))));
    counter.rule(json!({"account": "one", "mode": "ok", "latencyMs": 20})).await;
    tokio::join!(one.add(), one.add(), two.add());
    two.add().await;
    wrong.add().await;
    counter.rule(json!({"mode": "drop"})).await;
    two.add().await;
    let traffic = counter.get("/_traffic").await;
    let accounts = json!({
        "one": {"calls": 2, "atOnce": 2, "inASecond": 2},
        "two": {"calls": 4, "atOnce": 1, "inASecond": 4},
    });
    assert_eq!(traffic["accounts"], accounts);
    let calls = traffic["calls"].as_array().unwrap();
    let statuses: Vec<_> = calls.iter().map(|call| call["status"].clone()).collect();
    assert_eq!(json!(statuses), json!([201, 201, 201, 201, 401, null]));
    assert!(calls.iter().all(|call| call["operation"] == "add" && call["tookMicros"].is_u64()), "{traffic}");
    assert!(calls[0]["tookMicros"].as_u64().unwrap() >= 20_000, "{traffic}");
    assert!(calls.is_sorted_by_key(|call| call["atMicros"].as_u64().unwrap()), "{traffic}");

    counter.call("DELETE", "/_books", None).await;
    assert_eq!(counter.get("/_traffic").await, json!({"accounts": {}, "calls": []}));
}

#[tokio::test]
async fn a_call_is_open_until_its_client_leaves() {
    let counter = counter();
    counter.rule(json!({"mode": "hang", "times": 1})).await;
    counter.rule(json!({"mode": "slow_body"})).await;
    let hanging = tokio::time::timeout(PATIENCE, counter.add());
    let both = async {
        let slow = counter.add().await;
        assert_eq!(counter.get("/_traffic").await["accounts"][""]["atOnce"], 2);
        slow
    };
    let (left, slow) = tokio::join!(hanging, both);
    assert!(left.is_err());
    drop(slow);
    counter.call("DELETE", "/_books", None).await;
    assert_eq!(counter.get("/_traffic").await["accounts"], json!({}), "none is open any more");
}
