//! Faults on request, each of them.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::server::{self, HangUp};

/// Enough for a call in memory; a mode that hangs does not get done in it.
const PATIENCE: Duration = Duration::from_millis(200);

/// Every mode on a create: HTTP status (0: hung up), `status` of the answer where it is JSON,
/// shipments in the books, and a word in the answer.
#[tokio::test]
async fn every_mode_of_a_create_does_what_it_says() {
    let cases = [
        ("ok", 200, Some(true), 1, "Order Placed Successfully."),
        ("refuse", 200, Some(false), 0, r#""responsemsg":"Pincode not serviceable""#),
        ("refuse_array", 200, Some(false), 0, r#""responsemsg":["Pincode not serviceable"]"#),
        ("refuse_400", 400, Some(false), 0, "Invalid pincode"),
        ("refuse_422", 422, Some(false), 0, "Invalid pincode"),
        ("html", 200, None, 0, "<!doctype html>"),
        ("html_502", 502, None, 0, "502 Bad Gateway"),
        ("truncated", 200, None, 0, r#"{"data""#),
        ("429", 429, Some(false), 0, "Too many requests"),
        ("500", 500, Some(false), 0, "Internal server error"),
        ("500_after_work", 500, Some(false), 1, "Internal server error"),
        ("401", 401, Some(false), 0, "Invalid access token"),
        ("403", 403, Some(false), 0, "Account suspended"),
        ("drop", 0, None, 0, ""),
        ("drop_after_work", 0, None, 1, ""),
        ("already_cancelled", 200, Some(true), 1, r#""status_code":"227""#),
        ("wrong_order", 200, Some(true), 1, r#""client_order_id":"ord_of-somebody-else""#),
        ("already_exists", 200, Some(false), 0, "Order already exists"),
        ("already_exists_after_work", 200, Some(false), 1, "Order already exists"),
        ("deduplicate", 200, Some(true), 1, "Order Placed Successfully."),
        ("something_went_wrong", 200, Some(false), 0, "Something went wrong, please try again"),
        ("no_awb", 200, Some(true), 1, r#""client_order_id":"ord_1""#),
        ("not_found", 404, Some(false), 0, "Not found"),
        ("huge", 200, Some(true), 1, "xxxx"),
        ("redirect", 307, None, 0, ""),
    ];
    for (mode, http, status, shipments, word) in cases {
        let stand = Stand::new();
        stand.rule(json!({"operation": "create", "mode": mode, "times": 1})).await;
        let response = stand.create("ord_1").await;
        let hung_up = response.extensions().get::<HangUp>().is_some();
        assert_eq!(if hung_up { 0 } else { response.status().as_u16() }, http, "{mode}");
        let body = bytes(response).await;
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains(word), "{mode}: {text}");
        let json = serde_json::from_slice::<Value>(&body).ok();
        assert_eq!(json.as_ref().and_then(|json| json["status"].as_bool()), status, "{mode}");
        let named = json.as_ref().is_some_and(|json| json["data"]["awb_number"].is_string());
        assert_eq!(named, status == Some(true) && mode != "no_awb", "{mode}");
        assert_eq!(body.len() > 2 * 1024 * 1024, mode == "huge", "{mode}");

        let entry = stand.get("/_books/orders/ord_1").await;
        assert_eq!(entry["createCalls"], 1, "{mode}");
        assert_eq!(entry["shipments"].as_array().unwrap().len(), shipments, "{mode}");
        // The rule is used up.
        assert_eq!(read(stand.create("ord_1").await).await["status"], true, "{mode}");
    }
}

#[tokio::test]
async fn modes_that_keep_the_client_waiting() {
    for (mode, shipments) in [("hang", 0), ("hang_after_work", 1)] {
        let stand = Stand::new();
        stand.rule(json!({"mode": mode})).await;
        assert!(tokio::time::timeout(PATIENCE, stand.create("ord_1")).await.is_err(), "{mode}");
        assert_eq!(stand.get("/_books").await["shipments"], shipments, "{mode}");
    }
    let stand = Stand::new();
    stand.rule(json!({"mode": "slow_body"})).await;
    let head = tokio::time::timeout(PATIENCE, stand.create("ord_1")).await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert!(tokio::time::timeout(PATIENCE, bytes(head)).await.is_err());
    assert_eq!(stand.get("/_books").await["shipments"], 1);
}

#[tokio::test]
async fn a_client_that_leaves_during_the_latency_has_its_shipment_booked() {
    let stand = Stand::new();
    stand.rule(json!({"operation": "create", "mode": "ok", "latencyMs": 300})).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), stand.create("ord_1")).await.is_err());
    assert_eq!(stand.get("/_books").await["shipments"], 0);
    for _ in 0..100 {
        if stand.get("/_books").await["shipments"] == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the shipment was never booked");
}

#[tokio::test]
async fn modes_of_a_cancel_and_of_a_look_up() {
    // operation, mode, HTTP status, word in the answer, shipment cancelled afterwards
    let cases = [
        ("cancel", "500", 500, "Internal server error", false),
        ("cancel", "500_after_work", 500, "Internal server error", true),
        ("cancel", "already_cancelled", 200, "Order already cancelled", true),
        ("cancel", "not_found", 404, "Not found", false),
        ("cancel", "refuse", 200, "Pincode not serviceable", false),
        ("track", "500", 500, "Internal server error", false),
        ("track", "html", 200, "<!doctype html>", false),
        ("track", "not_found", 404, "Not found", false),
        ("track", "wrong_order", 200, r#""client_order_id":"ord_of-somebody-else""#, false),
        ("track", "wrong_order", 200, r#""awb_number":"000000000000""#, false),
        ("track", "already_cancelled", 200, r#""status_code":"227""#, false),
        ("track", "huge", 200, r#""client_order_id":"ord_1""#, false),
    ];
    for (operation, mode, http, word, cancelled) in cases {
        let stand = Stand::new();
        let awb = stand.book("ord_1").await;
        stand.rule(json!({"operation": operation, "mode": mode})).await;
        let response = match operation {
            "cancel" => stand.cancel(&awb).await,
            _ => stand.track("ord_1").await,
        };
        assert_eq!(response.status(), http, "{operation} {mode}");
        let body = bytes(response).await;
        assert!(String::from_utf8_lossy(&body).contains(word), "{operation} {mode}");
        let entry = stand.get("/_books/orders/ord_1").await;
        assert_eq!(entry["shipments"][0]["cancelled"], cancelled, "{operation} {mode}");
    }
}

#[tokio::test]
async fn rules_match_by_operation_reference_and_invoice() {
    let stand = Stand::new();
    stand.rule(json!({"operation": "create", "invoiceNumber": "inv-ord_1", "mode": "500", "times": 2})).await;
    stand.rule(json!({"operation": "track", "invoiceNumber": "inv-ord_1", "mode": "html", "times": 1})).await;
    stand.rule(json!({"operation": "cancel", "clientOrderId": "ord_1", "mode": "403", "times": 1})).await;
    stand.rule(json!({"clientOrderId": "ord_early", "mode": "500"})).await;

    assert_eq!(stand.create("ord_2").await.status(), 200);
    for status in [500, 500, 200] {
        assert_eq!(stand.create("ord_1").await.status(), status);
    }
    // The invoice number is remembered from creates, failed ones included.
    let found = stand.track("ord_1").await;
    assert_eq!(found.headers()["content-type"], "text/html; charset=utf-8");
    let found = read(stand.track("ord_1").await).await;
    let awb = found["awb_number"].as_str().unwrap();
    assert_eq!(stand.cancel(awb).await.status(), 403);
    assert_eq!(stand.cancel(awb).await.status(), 200);
    // A look-up by a reference never seen before matches too.
    assert_eq!(stand.track("ord_early").await.status(), 500);

    let rules = stand.get("/_control/rules").await;
    assert_eq!(rules[0]["timesLeft"], 0);
    assert_eq!(rules[0]["applied"], 2);
    assert_eq!(rules[3]["timesLeft"], Value::Null);
    stand.call("DELETE", "/_control/rules", None).await;
    assert_eq!(stand.get("/_control/rules").await, json!([]));
    assert_eq!(stand.track("ord_early").await.status(), 200);
}

#[tokio::test]
async fn rules_carry_their_own_settings() {
    let stand = Stand::new();
    stand.rule(json!({"mode": "429", "retryAfterSeconds": 7, "message": "slow down", "times": 1})).await;
    let throttled = stand.create("ord_1").await;
    assert_eq!(throttled.headers()["retry-after"], "7");
    assert_eq!(read(throttled).await["responsemsg"], "slow down");

    stand.rule(json!({"mode": "html", "afterWork": true, "times": 1})).await;
    assert_eq!(stand.create("ord_2").await.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(stand.get("/_books/orders/ord_2").await["shipments"].as_array().unwrap().len(), 1);

    stand.rule(json!({"mode": "500", "probability": 0.0})).await;
    assert_eq!(stand.create("ord_3").await.status(), 200);

    for wrong in [
        json!({"mode": "no_such_mode"}),
        json!({"mode": "500", "nonsense": 1}),
        json!({"mode": "500", "probability": 1.5}),
        json!({"mode": "500", "latencyMs": 999_999_999}),
        json!({"mode": "ok", "afterWork": false}),
    ] {
        let response = stand.call("POST", "/_control/rules", Some(&wrong)).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

#[test]
fn a_probability_is_a_share_of_the_calls() {
    let mut rules = Rules::default();
    let rule = json!({"mode": "500", "probability": 0.25, "times": 1});
    rules.add(serde_json::from_value(rule).unwrap()).unwrap();
    let subject = Subject { operation: Operation::Create, client_order_id: None, invoice_number: None };
    assert!(rules.pick(&subject, || 0.25).is_none(), "a lost roll");
    assert!(rules.pick(&subject, || 0.24).is_some(), "a lost roll uses up nothing");
    assert!(rules.pick(&subject, || 0.24).is_none(), "used up");
}

#[tokio::test]
async fn a_followed_redirect_shows_in_the_books() {
    let stand = Stand::new();
    stand.rule(json!({"operation": "create", "mode": "redirect"})).await;
    let redirect = stand.create("ord_1").await;
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    let path = location.strip_prefix("/parcelx").unwrap();
    let followed = read(stand.call("POST", path, Some(&create_body("ord_1"))).await).await;
    assert_eq!(followed["status"], true);
    let entry = stand.get("/_books/orders/ord_1").await;
    assert_eq!(entry["createCalls"], 2);
    assert_eq!(entry["shipments"].as_array().unwrap().len(), 1);

    stand.rule(json!({"operation": "track", "mode": "redirect"})).await;
    let redirect = stand.track("ord_1").await;
    let location = redirect.headers()["location"].to_str().unwrap();
    assert!(location.ends_with("/track_order?channel_order_no=ord_1"), "{location}");
}

#[tokio::test]
async fn a_deduplicating_carrier_answers_with_the_first_shipment_as_it_stands() {
    let stand = Stand::new();
    let first = stand.book("ord_1").await;
    stand.cancel(&first).await;
    stand.rule(json!({"operation": "create", "mode": "deduplicate"})).await;
    let again = read(stand.create("ord_1").await).await;
    assert_eq!(again["status"], true);
    assert_eq!(again["data"]["awb_number"], *first);
    assert_eq!(again["data"]["status_code"], "227");
    assert_eq!(stand.get("/_books").await["duplicates"], 0);
}

/// What cannot be seen without a socket: the connection closes with not a byte written.
#[tokio::test]
async fn a_dropped_call_is_closed_without_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stand = Stand::new();
    stand.rule(json!({"mode": "drop", "times": 1})).await;
    let serving = tokio::spawn(server::serve(listener, stand.0.clone()));

    let token = BASE64.encode("key:secret");
    let request = format!(
        "GET /parcelx/api/v3/track_order?awb=1 HTTP/1.1\r\nhost: test\r\naccess-token: {token}\r\nconnection: close\r\n\r\n"
    );
    for answered in [false, true] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 200"), answered, "{answer:?}");
        assert_eq!(answer.is_empty(), !answered);
    }
    serving.abort();
}
