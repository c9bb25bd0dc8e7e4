//! Callbacks that are verified, and their content.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;

const NOW_S: i64 = 1_767_225_600;
const NOW_MS: i64 = NOW_S * 1000 + 250;

/// A callback's body as the gateway writes it, with `change` made to it.
fn event(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut event = json!({
        "eventId": "pev_0001", "type": "payment.paid", "createdAt": "2026-01-01T00:00:00Z",
        "payment": {
            "paymentId": "pay_0001", "reference": REFERENCE, "status": "paid", "amount": 50_000, "currency": "INR",
        },
    });
    change(&mut event);
    event.to_string().into_bytes()
}

/// The signature, made of the contract and not of our code.
fn v1(secret: &str, time: &str, body: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

fn header(time: i64, body: &[u8]) -> String {
    format!("t={time},v1={}", v1(SECRET, &time.to_string(), body))
}

fn verify(header: &str, body: &[u8]) -> Result<Callback, CallbackRefused> {
    adapter().verify_callback(Some(header), body, NOW_MS)
}

/// Verifies a body that is signed properly.
fn signed(body: &[u8]) -> Result<Callback, CallbackRefused> {
    verify(&header(NOW_S, body), body)
}

#[test]
fn a_signed_callback_is_read() {
    let payment = GatewayPayment { payment_url: None, ..payment(GatewayPaymentStatus::Paid) };
    let expected =
        Callback { event_id: "pev_0001".into(), kind: CallbackKind::Paid, reference: REFERENCE.into(), payment };
    assert_eq!(signed(&event(|_| {})), Ok(expected.clone()));

    let failed = event(|event| {
        event["type"] = json!("payment.failed");
        event["payment"]["status"] = json!("failed");
    });
    let payment = GatewayPayment { status: GatewayPaymentStatus::Failed, ..expected.payment.clone() };
    assert_eq!(signed(&failed), Ok(Callback { kind: CallbackKind::Failed, payment, ..expected.clone() }));

    let news = event(|event| event["type"] = json!("payment.refunded"));
    assert_eq!(signed(&news), Ok(Callback { kind: CallbackKind::Unknown, ..expected }));
}

#[test]
fn the_signature_is_that_of_the_contract() {
    // printf '1767225600.{}' | openssl dgst -sha256 -hmac whsec-hush-hush
    let known = "c8d2791530a9e95c10274eb62657f98ed1a4e61722060b73adbe47714c2cc175";
    assert_eq!(v1(SECRET, "1767225600", b"{}"), known);
    let read = verify(&format!("t=1767225600,v1={known}"), b"{}");
    assert_eq!(read, Err(CallbackRefused::Unreadable("eventId")), "it was the gateway that signed this");
}

#[test]
fn one_changed_bit_anywhere_makes_a_signature_worthless() {
    let body = event(|_| {});
    let header = header(NOW_S, &body);
    for at in 0..body.len() {
        let mut altered = body.clone();
        altered[at] ^= 1;
        assert_eq!(verify(&header, &altered), Err(CallbackRefused::BadSignature), "byte {at}");
    }
    assert_eq!(verify(&header, &body[..body.len() - 1]), Err(CallbackRefused::BadSignature));
    assert_eq!(verify(&header, &[&body[..], b"\n"].concat()), Err(CallbackRefused::BadSignature));
    // The time is signed too: nobody makes an old callback new.
    let later = header.replace(&NOW_S.to_string(), &(NOW_S + 1).to_string());
    assert_eq!(verify(&later, &body), Err(CallbackRefused::BadSignature));
    let padded = header.replace("t=", "t=0");
    assert_eq!(verify(&padded, &body), Err(CallbackRefused::BadSignature));
}

#[test]
fn only_our_secret_signs() {
    let body = event(|_| {});
    for secret in ["", "whsec", "whsec-hush-hush ", API_KEY] {
        let header = format!("t={NOW_S},v1={}", v1(secret, &NOW_S.to_string(), &body));
        assert_eq!(verify(&header, &body), Err(CallbackRefused::BadSignature), "{secret:?}");
    }
    let no_secret = PayGate::new("https://gateway.example", &String::new().into());
    let header = format!("t={NOW_S},v1={}", v1("", &NOW_S.to_string(), &body));
    assert_eq!(no_secret.verify_callback(Some(&header), &body, NOW_MS), Err(CallbackRefused::BadSignature));
}

#[test]
fn a_callback_is_of_now() {
    let body = event(|_| {});
    for (seconds, verdict) in [
        (0, None),
        (-299, None),
        (300, None),
        (-300, Some(CallbackRefused::Stale)),
        (-301, Some(CallbackRefused::Stale)),
        (-600, Some(CallbackRefused::Stale)),
        (301, Some(CallbackRefused::Stale)),
        (86_400, Some(CallbackRefused::Stale)),
        (-NOW_S, Some(CallbackRefused::Stale)),
        (999_999_999_999 - NOW_S, Some(CallbackRefused::Stale)),
    ] {
        assert_eq!(verify(&header(NOW_S + seconds, &body), &body).err(), verdict, "{seconds} s");
    }
}

#[test]
fn a_header_has_one_time_and_signatures_in_the_agreed_form() {
    let body = event(|_| {});
    let (time, right) = (NOW_S.to_string(), v1(SECRET, &NOW_S.to_string(), &body));
    let wrong = v1("another secret", &time, &body);
    for (header, verdict) in [
        (format!("t={time},v1={right}"), None),
        (format!("v1={right},t={time}"), None),
        (format!("t={time}, v1={right} "), None),
        (format!("t={time},v1={wrong},v1={right}"), None),
        (format!("t={time},v1={right},v1={wrong}"), None),
        (format!("t={time},v0=x,v1={right},v2=later"), None),
        (format!("t={time},v1={wrong}"), Some(CallbackRefused::BadSignature)),
        (format!("t={time},v1={wrong},v1={wrong}"), Some(CallbackRefused::BadSignature)),
        (String::new(), Some(CallbackRefused::Unsigned)),
        (right.clone(), Some(CallbackRefused::Unsigned)),
        (format!("t={time}"), Some(CallbackRefused::Unsigned)),
        (format!("v1={right}"), Some(CallbackRefused::Unsigned)),
        (format!("t={time},v2={right}"), Some(CallbackRefused::Unsigned)),
        (format!("t={time},v1="), Some(CallbackRefused::Unsigned)),
        (format!("t={time},v1={}", &right[..62]), Some(CallbackRefused::Unsigned)),
        (format!("t={time},v1={right}00"), Some(CallbackRefused::Unsigned)),
        (format!("t={time},v1={}", "z".repeat(64)), Some(CallbackRefused::Unsigned)),
        (format!("t={time},v1={right},"), Some(CallbackRefused::Unsigned)),
        (format!("t={time},t={time},v1={right}"), Some(CallbackRefused::Unsigned)),
        (format!("t=,v1={right}"), Some(CallbackRefused::Unsigned)),
        (format!("t=-{time},v1={right}"), Some(CallbackRefused::Unsigned)),
        (format!("t=+{time},v1={right}"), Some(CallbackRefused::Unsigned)),
        (format!("t={time}.5,v1={right}"), Some(CallbackRefused::Unsigned)),
        (format!("t={},v1={right}", "9".repeat(13)), Some(CallbackRefused::Unsigned)),
        (format!("t={},v1={right}", "9".repeat(30)), Some(CallbackRefused::Unsigned)),
        (format!("t={time},v1={right}{}", ",v0=x".repeat(100)), Some(CallbackRefused::Unsigned)),
        (format!("t={time},v1={right},v0={}", "x".repeat(1_000_000)), Some(CallbackRefused::Unsigned)),
    ] {
        let shown: String = header.chars().take(200).collect();
        assert_eq!(verify(&header, &body).err(), verdict, "{shown}");
    }
    assert_eq!(adapter().verify_callback(None, &body, NOW_MS), Err(CallbackRefused::Unsigned));
}

#[test]
fn nothing_is_read_before_its_signature_and_no_time_before_it_either() {
    let garbage = b"{ not JSON";
    let old = NOW_S - 3600;
    let forged = |time: i64| format!("t={time},v1={}", v1("another secret", &time.to_string(), garbage));
    assert_eq!(verify(&forged(NOW_S), garbage), Err(CallbackRefused::BadSignature));
    assert_eq!(verify(&forged(old), garbage), Err(CallbackRefused::BadSignature));
    assert_eq!(verify(&header(old, garbage), garbage), Err(CallbackRefused::Stale));
    assert_eq!(verify(&header(NOW_S, garbage), garbage), Err(CallbackRefused::Unreadable("body")));
}

#[test]
fn a_part_that_can_not_be_used_is_named() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 21] = [
        ("eventId", |event| event["eventId"] = Value::Null),
        ("eventId", |event| event["eventId"] = json!("")),
        ("eventId", |event| event["eventId"] = json!("x".repeat(65))),
        ("eventId", |event| event["eventId"] = json!("pev 1")),
        ("type", |event| event["type"] = json!(1)),
        ("payment", |event| drop(event.as_object_mut().and_then(|event| event.remove("payment")))),
        ("payment", |event| event["payment"] = json!("pay_0001")),
        ("payment", |event| event["payment"] = json!([])),
        ("eventId", |event| event["eventId"] = json!("N/A")),
        ("reference", |event| event["payment"]["reference"] = json!(true)),
        ("paymentId", |event| event["payment"]["paymentId"] = Value::Null),
        ("status", |event| event["payment"]["status"] = Value::Null),
        ("amount", |event| event["payment"]["amount"] = json!(-1)),
        ("amount", |event| event["payment"]["amount"] = json!(0.5)),
        ("amount", |event| event["payment"]["amount"] = json!("a lot")),
        ("currency", |event| event["payment"]["currency"] = json!("rupees")),
        // These contradict themselves.
        ("status", |event| event["payment"]["status"] = json!("created")),
        ("status", |event| event["payment"]["status"] = json!("settled")),
        ("status", |event| event["payment"]["status"] = json!("failed")),
        ("status", |event| event["type"] = json!("payment.failed")),
        ("eventId", |event| *event = json!([])),
    ];
    for (part, change) in cases {
        let body = event(change);
        let shown = String::from_utf8_lossy(&body);
        assert_eq!(signed(&body), Err(CallbackRefused::Unreadable(part)), "{shown}");
    }
}

#[test]
fn a_callback_says_its_own_amount() {
    let other = event(|event| event["payment"]["amount"] = json!(1));
    let callback = signed(&other).expect("it is signed");
    assert_eq!(callback.payment.amount, money(1), "whether that is our amount is for the caller to judge");
}

#[test]
fn a_callback_is_read_like_an_answer_and_a_contradictory_one_is_not() {
    let plain = String::from_utf8(event(|_| {})).expect("text");
    let expected = signed(plain.as_bytes()).expect("it is signed");
    let in_lists = event(|event| event["payment"] = json!([event["payment"]]));
    let with_text = event(|event| event["payment"]["amount"] = json!("50000.0"));
    let twice = plain.replacen("\"amount\":", "\"amount\":50000,\"amount\":", 1);
    for body in [format!("\u{feff}{plain}").into_bytes(), in_lists, with_text, twice.clone().into_bytes()] {
        assert_eq!(signed(&body), Ok(expected.clone()), "{}", String::from_utf8_lossy(&body));
    }
    for (one, other) in [
        ("\"amount\":50000", "\"amount\":50000,\"amount\":1"),
        ("\"status\":\"paid\"", "\"status\":\"failed\",\"status\":\"paid\""),
        ("\"type\":", "\"type\":\"payment.failed\",\"type\":"),
    ] {
        let body = plain.replacen(one, other, 1);
        assert_ne!(body, plain);
        assert_eq!(signed(body.as_bytes()), Err(CallbackRefused::Unreadable("body")), "{body}");
    }
}
