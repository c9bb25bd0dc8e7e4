//! What should not be asked of audit lists, what should not get into logs, and a provider that says too much.

use std::time::Duration;

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{
    TestApp, eventually, kyc,
    liar::{Liar, Said},
    process::Launch,
};

const PATIENCE: Duration = Duration::from_secs(60);
const LISTS: [&str; 2] = ["/audit/provider-requests", "/audit/events"];
/// A new line that looks like one of a log, and what clears a screen, colours it and names its window.
const NASTY: &str =
    "x\r\n2026-01-01T00:00:00Z ERROR injected\n\u{1b}[2J\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}31m\u{0}y";

#[tokio::test]
async fn what_is_no_question_is_refused_by_every_list() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    for list in LISTS {
        for (query, blamed) in [
            ("limit=0", "limit:range"),
            ("limit=-1", "limit:type"),
            ("limit=1000000000", "limit:range"),
            ("limit=99999999999999999999", "limit:type"),
            ("limit=abc", "limit:type"),
            ("limit=", "limit:type"),
            ("limit=1.5", "limit:type"),
            ("limit=5&limit=6", "limit:duplicate"),
            ("order=random", "order:unknown_value"),
            ("outcome=maybe", if list == LISTS[1] { "outcome:unknown_value" } else { "" }),
            ("from=yesterday", "from:format"),
            ("to=2026-13-01T00:00:00Z", "to:format"),
            ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to:range"),
            ("from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "to:range"),
            ("password=x", "password:unknown"),
            ("userid=x", "userid:unknown"),
            ("userId[$ne]=x", "userId[$ne]:unknown"),
            ("cursor=", "cursor:format"),
            ("cursor=abc", "cursor:format"),
            ("cursor=%00", "cursor:format"),
        ] {
            let answer = app.get(&auditor, &format!("{list}?{query}")).await;
            if blamed.is_empty() {
                answer.expect(200);
            } else {
                assert_eq!(answer.expect(422).blamed(), [blamed], "{list}?{query}");
            }
        }
        let long = "x".repeat(5_000);
        assert_eq!(app.get(&auditor, &format!("{list}?userId={long}")).await.expect(422).blamed(), ["userId:length"]);
        // What could be a query of ours is text, and finds nothing.
        let found = app.get(&auditor, &format!("{list}?userId=%7B%22$ne%22:1%7D")).await.expect(200);
        assert_eq!(found.body["items"], json!([]));
    }
    app.finish().await;
}

/// An empty filter would be no narrower than none, but taken for one that few records share.
#[tokio::test]
async fn an_empty_filter_is_refused_by_every_list_and_export() {
    let app = TestApp::start().await;
    let auditor = app.user(Role::Auditor).await;
    let calls =
        ["orderId", "userId", "clientOrderId", "correlationId", "awb", "provider", "operation", "accountId", "outcome"];
    let exported = ["orderId", "userId", "clientOrderId", "provider", "operation", "awb", "correlationId"];
    for (path, filters) in [
        (LISTS[0], &calls[..]),
        (LISTS[1], &["resourceId", "requestId", "actorId", "userId", "action"]),
        ("/audit/export", &exported),
    ] {
        for filter in filters {
            let answer = app.get(&auditor, &format!("{path}?{filter}=")).await.expect(422);
            assert_eq!(answer.blamed(), [format!("{filter}:length")], "{path}");
        }
    }
    app.get(&auditor, "/audit/export?collection=").await.expect(422);
    app.finish().await;
}

#[tokio::test]
async fn a_cursor_goes_with_who_asked_and_for_what() {
    let app = TestApp::start().await;
    let merchant = app.merchant().await;
    let (auditor, other, admin) = (app.user(Role::Auditor).await, app.user(Role::Auditor).await, app.admin().await);
    for n in 0..3 {
        app.confirmed(&merchant, &format!("c-{n}")).await;
    }
    let query = format!("userId={}", merchant.user_id);
    let mut cursors = Vec::new();
    for list in LISTS {
        let page = app.get(&auditor, &format!("{list}?{query}&limit=1")).await.expect(200).body;
        let cursor = page["nextCursor"].as_str().unwrap().to_owned();
        let refused = async |user, query: &str, cursor: &str| {
            let answer = app.get(user, &format!("{list}?{query}&cursor={cursor}")).await;
            assert_eq!(answer.expect(422).blamed(), ["cursor:format"], "{list}?{query}");
        };
        for user in [&other, &admin] {
            refused(user, &query, &cursor).await;
        }
        for changed in [
            format!("userId={}", other.user_id),
            format!("{query}&order=oldest"),
            format!("{query}&outcome=done"),
            format!("{query}&from=2020-01-01T00:00:00Z"),
            "limit=1".to_owned(),
        ] {
            refused(&auditor, &changed, &cursor).await;
        }
        for at in [0, cursor.len() / 2, cursor.len() - 1] {
            let mut tampered = cursor.clone().into_bytes();
            tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
            refused(&auditor, &query, std::str::from_utf8(&tampered).unwrap()).await;
        }
        refused(&auditor, &query, &cursor[..cursor.len() - 4]).await;
        refused(&auditor, &query, &format!("{cursor}AAAA")).await;
        app.get(&auditor, &format!("{list}?{query}&limit=7&cursor={cursor}")).await.expect(200);
        cursors.push(cursor);
    }
    for (list, cursor) in [(LISTS[0], &cursors[1]), (LISTS[1], &cursors[0])] {
        let answer = app.get(&auditor, &format!("{list}?{query}&cursor={cursor}")).await;
        assert_eq!(answer.expect(422).blamed(), ["cursor:format"], "of the other list");
    }
    app.finish().await;
}

/// Neither drives a terminal nor splits a line.
#[track_caller]
fn expect_plain(what: &str, text: &str) {
    let drives = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(drives), "{what} drives a terminal: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")), "{what} has a line of others' making");
}

#[tokio::test]
async fn nothing_from_outside_splits_a_line_or_drives_a_terminal() {
    let mut app = TestApp::start().await;
    let liar = Liar::start().await;
    let flags = [liar.flags(), vec!["--poll-ms=50".to_owned(), "--backoff-base-ms=50".to_owned()]].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut process = Launch::all(&app, &flags).env("RUST_LOG", "trace").start().await;
    let ours = std::mem::replace(&mut app.base, process.base.clone());
    let (merchant, finance, auditor) =
        (app.merchant().await, app.user(Role::Finance).await, app.user(Role::Auditor).await);
    // Heads of requests: no client of ours would send these.
    let host = process.base.strip_prefix("http://").unwrap();
    for name in ["X-Request-Id", "User-Agent", "Referer", "X-Forwarded-For", "Authorization"] {
        for value in
            ["abc\u{1b}[31mdefghi", "abcdefgh\rinjected", "abcdefgh\u{9b}31m", "abcdefgh\u{0}", "%0d%0ainjected-id"]
        {
            let head = format!(
                "GET /audit/events?x={value} HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\nConnection: close\r\n\r\n"
            );
            let answer = app.exchange_raw(head.as_bytes()).await;
            assert!(!answer.contains('\u{1b}') && !answer.to_lowercase().contains("x-request-id: abc"), "{answer}");
        }
    }
    // Texts: refused, or stored without it.
    let amount = json!({ "amount": 1000, "currency": "INR" });
    let booking = json!({
        "clientReference": "f-1", "kind": "recharge", "userId": merchant.user_id, "amount": amount, "reason": NASTY,
    });
    app.post(&finance, "/finance/transactions", &booking).await.expect(422);
    app.request(Method::PATCH, "/auth/me", Some(&merchant.token), Some(&json!({ "name": NASTY }))).await.expect(422);
    app.post(&merchant, "/orders/cancel", &json!({ "clientOrderId": "c-1", "reason": NASTY })).await.expect(422);
    let mut application = kyc::individual();
    application["legalName"] = json!(NASTY);
    app.save_as_newcomer(&application).await;
    // Providers: in words, in names, in what is refused.
    for (n, status) in [200, 400, 422, 500].into_iter().enumerate() {
        liar.says(move |asked| {
            let mut body = asked.honest();
            body["responsemsg"] = json!(NASTY);
            body["error"] = json!({ "code": NASTY, "message": NASTY });
            body["status"] = if status == 200 { body["status"].clone() } else { json!(false) };
            body["data"]["courier_name"] = json!(NASTY);
            body["data"]["order_number"] = json!(NASTY);
            body[NASTY] = json!(NASTY);
            Said::json(status, &body)
        });
        let order_id = app.created(&merchant, &format!("c-{n}")).await;
        let topup_id = app.requested(&merchant, &format!("t-{n}")).await;
        eventually("both have an answer", PATIENCE, async || {
            let of = async |about| !app.all("provider_response_logs", about).await.is_empty();
            of(doc! { "orderId": &order_id }).await && of(doc! { "resourceId": &topup_id }).await
        })
        .await;
        for path in [format!("/audit/orders/{order_id}"), format!("/audit/provider-requests?orderId={order_id}")] {
            let answer = app.get(&auditor, &path).await.expect(200);
            expect_plain(&path, &answer.text);
            expect_plain_within(&path, &answer.body);
        }
    }
    let events = app.get(&auditor, "/audit/events?limit=100").await.expect(200);
    expect_plain_within("/audit/events", &events.body);
    let statement = "/wallet/statement?from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z&format=csv";
    let csv = app.get(&merchant, statement).await.expect(200).text.replace("\r\n", "\n");
    assert!(csv.lines().count() > 4, "{csv}");
    expect_plain("the statement", &csv);
    process.terminate().await;
    expect_plain("the log", &process.log());
    assert!(process.log().contains("TRACE"));
    app.base = ours;
    app.finish_unchecked().await;
}

/// No text of it, once it is read, drives a terminal.
#[track_caller]
fn expect_plain_within(what: &str, value: &Value) {
    match value {
        Value::String(text) => assert!(!text.contains(char::is_control), "{what}: {text:?}"),
        Value::Array(entries) => entries.iter().for_each(|entry| expect_plain_within(what, entry)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            assert!(!name.contains(char::is_control), "{what}: {name:?}");
            expect_plain_within(what, value);
        }),
        _ => {}
    }
}

impl TestApp {
    /// What nobody may write down as it is.
    async fn save_as_newcomer(&self, application: &Value) {
        let user = self.newcomer().await;
        self.put(&user, "/kyc", application).await.expect(422);
    }
}

#[tokio::test]
async fn a_provider_that_says_too_much_takes_no_memory_and_holds_nothing_up() {
    const ANSWER_BYTES: usize = 10 * 1024 * 1024;
    let mut app = TestApp::start().await;
    let liar = Liar::start().await;
    let more = [
        "--poll-ms=50",
        "--backoff-base-ms=50",
        "--settling-delay-ms=200",
        // What is measured here is not how fast a busy machine is.
        "--call-deadline-ms=9000",
        "--lease-ms=30000",
    ];
    let more = more.map(str::to_owned);
    let flags = [liar.flags(), more.to_vec()].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut process = Launch::all(&app, &flags).start().await;
    let ours = std::mem::replace(&mut app.base, process.base.clone());
    let merchant = app.merchant().await;
    let first = app.created(&merchant, "c-first").await;
    eventually("an ordinary order is there", PATIENCE, async || {
        app.order(&merchant, &first).await["status"] == "confirmed"
    })
    .await;
    let before = process.memory_peak_kib();
    for is_json in [true, false] {
        let padding = "x".repeat(ANSWER_BYTES);
        let whole = if is_json { format!("{{\"status\":true,\"padding\":\"{padding}\"}}") } else { padding };
        liar.says(move |_| Said { body: whole.clone().into_bytes(), ..Said::json(200, &json!({})) });
        let mut orders = Vec::new();
        for n in 0..8 {
            orders.push(app.created(&merchant, &format!("c-{is_json}-{n}")).await);
        }
        for order_id in &orders {
            eventually("every order has its answer", PATIENCE, async || !app.answers(order_id).await.is_empty()).await;
            let answer = app.answers(order_id).await.remove(0);
            assert_eq!(answer.get_i32("httpStatus").unwrap(), 200);
            assert_eq!(answer.get_str("errorCode").unwrap(), "exchange.answer_too_large");
            assert_eq!(answer.get_str("outcome").unwrap(), "unknown");
            let size = bson::serialize_to_vec(&answer).unwrap().len();
            assert!(size < 4_096, "what is logged of it is short: {size}");
        }
        liar.says(|asked| Said::json(200, &asked.honest()));
        for order_id in &orders {
            eventually("every order is looked up and sent again", PATIENCE, async || {
                app.order(&merchant, order_id).await["status"] == "confirmed"
            })
            .await;
        }
    }
    let taken = (process.memory_peak_kib() - before) / 1024;
    assert!(taken < 60, "more than 160 MiB were answered, and {taken} MiB more memory was taken");
    process.terminate().await;
    app.base = ours;
    app.finish_unchecked().await;
}
