//! Requests to PayGate, and their stored parts.

use bson::Bson;

use super::*;
use crate::platform::exchange::Prepared;

fn to_start(description: &str) -> PaymentToStart<'_> {
    PaymentToStart {
        reference: REFERENCE,
        amount: money(50_000),
        description,
        expires_at: bson::DateTime::from_millis(1_767_227_400_000),
    }
}

fn start_of(description: &str) -> Outbound {
    adapter().start_request(&to_start(description))
}

#[test]
fn a_start_is_written_as_the_contract_wants_it() {
    let outbound = start_of("Wallet top-up");
    assert_eq!((outbound.method, &*outbound.url), (Method::POST, "https://gateway.example/v1/payments"));
    // Written from the contract, by hand.
    let expected = r#"{"reference": "top_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "amount": 50000, "currency": "INR",
        "description": "Wallet top-up", "expiresAt": "2026-01-01T00:30:00.000Z"}"#;
    assert_eq!(outbound.body, Some(serde_json::from_str(expected).expect("JSON")));
}

#[test]
fn amounts_are_whole_minor_units_of_any_size_and_currency() {
    for (amount, code) in [(1, "INR"), (9_007_199_254_740_993, "INR"), (5, "JPY"), (1_000, "KWD")] {
        let currency = Currency::from_code(code).expect("a currency");
        let payment = PaymentToStart { amount: Money::new(amount, currency), ..to_start("x") };
        let body = adapter().start_request(&payment).body.expect("a body");
        assert_eq!((&body["amount"], &body["currency"]), (&json!(amount), &json!(code)));
    }
}

#[test]
fn a_description_is_cut_between_characters() {
    let body = start_of(&"é".repeat(1000)).body.expect("a body");
    assert_eq!(body["description"], "é".repeat(200));
}

#[test]
fn a_look_up_carries_the_reference_and_nothing_else() {
    let outbound = adapter().look_up_request(REFERENCE);
    let url = format!("https://gateway.example/v1/payments?reference={REFERENCE}");
    assert_eq!((outbound.method, outbound.url, outbound.body), (Method::GET, url, None));
    let odd = adapter().look_up_request("a b&reference=c#d");
    assert_eq!(odd.url, "https://gateway.example/v1/payments?reference=a+b%26reference%3Dc%23d");
}

fn refund() -> Outbound {
    adapter().refund_request(&RefundToSend { reference: REFERENCE, payment_id: "pay_0001", amount: money(50_000) })
}

#[test]
fn a_refund_is_written_as_the_contract_wants_it() {
    let outbound = refund();
    assert_eq!((outbound.method, &*outbound.url), (Method::POST, "https://gateway.example/v1/refunds"));
    let expected = json!({ "reference": REFERENCE, "paymentId": "pay_0001", "amount": 50_000, "currency": "INR" });
    assert_eq!(outbound.body, Some(expected));
    let outbound = adapter().look_up_refund_request(REFERENCE);
    let url = format!("https://gateway.example/v1/refunds?reference={REFERENCE}");
    assert_eq!((outbound.method, outbound.url, outbound.body), (Method::GET, url, None));
}

#[test]
fn every_call_says_whose_and_what_it_is() {
    let adapter = adapter();
    let look_ups = [adapter.look_up_request(REFERENCE), adapter.look_up_refund_request(REFERENCE)];
    let calls: Vec<_> = [start_of("x"), refund()].into_iter().chain(look_ups).collect();
    assert!(calls.iter().all(|call| call.provider == "paygate"));
    let operations: Vec<_> = calls.iter().map(|call| call.operation).collect();
    assert_eq!(operations, ["start_payment", "refund_payment", "look_up_payment", "look_up_refund"]);
    assert!(operations.iter().all(|operation| DECLARATION.operations.iter().any(|(name, _)| name == operation)));
    assert_eq!(adapter.name(), "paygate");
}

#[test]
fn the_key_is_a_bearer_token_and_no_secret_can_be_printed() {
    let of = |key: &str| -> AccountSecrets { [(super::super::API_KEY, key.to_owned().into())].into_iter().collect() };
    let credentials = adapter().sign(&of(API_KEY)).expect("credentials");
    let [(name, value)] = &credentials[..] else { panic!("one header: {credentials:?}") };
    assert_eq!((name.as_str(), value.to_str().expect("text")), ("authorization", "Bearer pk-hush-hush"));
    assert!(value.is_sensitive());
    assert_eq!(adapter().credential_headers(), [name.as_str()]);
    let printed = format!("{:?} {credentials:?}", adapter());
    assert!(!printed.contains("hush-hush"), "{printed}");

    assert!(adapter().sign(&of("two\nlines")).is_none());
}

#[test]
fn a_record_keeps_what_is_needed_to_find_and_explain_a_call() {
    let record = Prepared::new(start_of("Top-up for +91-98765-43210"), adapter().credential_headers()).record;
    assert_eq!((&*record.method, &*record.url), ("POST", "https://gateway.example/v1/payments"));
    assert_eq!(record.headers.get_str("authorization").ok(), Some("[credential]"));
    assert_eq!(
        record.body,
        Bson::Document(bson::doc! {
            "reference": REFERENCE, "amount": 50_000_i64, "currency": "INR",
            "description": "Top-up for [number]", "expiresAt": "2026-01-01T00:30:00.000Z",
        })
    );
    let record = Prepared::new(adapter().look_up_request(REFERENCE), &[]).record;
    assert!(record.url.ends_with(REFERENCE), "{}", record.url);
    assert_eq!(record.body, Bson::Null);
}

#[test]
fn the_page_of_a_payment_is_in_no_record_and_no_log_line() {
    let answer = body(|body| body["payer"] = json!({ "name": "Asha Rao" }));
    let look_ups = [adapter().look_up_request(REFERENCE), adapter().look_up_refund_request(REFERENCE)];
    for call in [start_of("x"), refund()].into_iter().chain(look_ups) {
        let stored = call.redaction.response_body(&answer).to_string();
        for text in ["capability", "Asha Rao"] {
            assert!(!stored.contains(text), "{}: {stored}", call.operation);
        }
        for text in ["pay_0001", REFERENCE, "created", "INR"] {
            assert!(stored.contains(text), "{}: {text} is not in {stored}", call.operation);
        }
        let said = json!({ "error": { "code": "unsupported_currency", "message": "Ask asha@example.com about XYZ" } });
        let stored = call.redaction.response_body(&said).to_string();
        assert!(stored.contains("unsupported_currency") && stored.contains("about XYZ"), "{stored}");
        assert!(!stored.contains("asha"), "{stored}");
    }
    let outcome = start(&http(201, &AnswerBody::Json(body(|_| {}))));
    let printed = format!("{outcome:?}");
    assert!(printed.contains("pay_0001"), "{printed}");
    assert!(!printed.contains(PAGE), "{printed}");
}
