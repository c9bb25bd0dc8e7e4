//! The cache while its database is away, and the route over it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    body::Body,
    http::{Request, StatusCode, header},
};
use bson::DateTime;
use http_body_util::BodyExt;
use secrecy::SecretString;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{RateCard, RateCards, router, tests::card};
use crate::platform::{
    clock::Clock,
    http::{Edge, finish},
    identity::{
        Gate, Revocations, Role,
        tokens::{AccessToken, TokenKeys},
    },
};

/// Younger than any limit.
const FRESH: Duration = Duration::ZERO;
/// Old enough to be looked at again in the background.
const AGING: Duration = Duration::from_secs(11);
/// Too old to be served before a look.
const STALE: Duration = Duration::from_secs(61);

async fn current_id(rates: &RateCards) -> Option<String> {
    rates.current("parcelx").await.expect("an answer").map(|card| card.id().to_owned())
}

#[tokio::test]
async fn fresh_cards_are_served_from_memory() {
    let rates = RateCards::remembering(vec![card()], FRESH).await;
    let one = rates.parcels("parcelx").await.expect("an answer").expect("a card");
    let other = rates.clone().parcels("parcelx").await.expect("an answer").expect("a card");
    assert!(Arc::ptr_eq(&one, &other));
    assert!(rates.current("nobody").await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_card_comes_into_force_while_it_is_in_memory() {
    let soon = DateTime::from_millis(Clock::default().now_ms() + 60_000);
    let next = RateCard { id: "parcelx-2".into(), version: 2, effective_from: soon, ..card() };
    let rates = RateCards::remembering(vec![next, card()], FRESH).await;
    assert_eq!(current_id(&rates).await.as_deref(), Some("parcelx-1"));
    rates.clock().advance(Duration::from_secs(61));
    assert_eq!(current_id(&rates).await.as_deref(), Some("parcelx-2"));
}

#[tokio::test]
async fn a_look_that_fails_keeps_the_old_cards_and_puts_the_next_one_off() {
    for age in [AGING, STALE] {
        let rates = RateCards::remembering(vec![card()], age).await;
        assert_eq!(current_id(&rates).await.as_deref(), Some("parcelx-1"));
        let looked_ago = rates.looked_ago().await.expect("cards are there");
        assert!(looked_ago < Duration::from_secs(10), "{looked_ago:?}");
    }
}

#[tokio::test]
async fn without_any_cards_the_failure_shows_and_callers_share_one_look() {
    let rates = RateCards::remembering(Vec::new(), FRESH).await;
    let asked = Instant::now();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let rates = rates.clone();
            tokio::spawn(async move { rates.current("parcelx").await.is_err() })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.expect("no panic"));
    }
    // Each look takes 300 ms, and only one is made at a time.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

const PARCEL: &str = "weightGrams=450&length=20&width=15&height=8&pickupPincode=110020&pickupState=Delhi\
                      &deliveryPincode=560001&deliveryState=Karnataka";

async fn get(rates: RateCards, query: &str) -> (StatusCode, Value, Option<String>) {
    let keys = TokenKeys::new(&SecretString::from("secret"), None, Clock::default());
    let access =
        AccessToken { user_id: "usr_1".into(), role: Role::Auditor, access_version: 0, tenant_id: None, only: None };
    let token = keys.issue(access, Clock::default().now_ms()).expect("signing works");
    let (routes, _) = router(rates).split_for_parts();
    let gate = Gate { tokens: Arc::new(keys), revocations: Revocations::default(), api_keys: None, limits: None };
    let service = finish(routes.layer(Extension(gate)), Edge::default());
    let request = Request::get(format!("/rates?{query}")).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let response = service.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let (status, retry_after) = (response.status(), retry_after.map(str::to_owned));
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"), retry_after)
}

async fn quoted(query: &str) -> Value {
    let (status, body, _) = get(RateCards::remembering(vec![card()], FRESH).await, query).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

#[tokio::test]
async fn a_quote_names_every_service_and_how_its_price_came_about() {
    let rate = |service: &str, freight: i64| {
        json!({"provider": "parcelx", "service": service, "zone": "C", "chargeableWeightGrams": 500, "slabs": 1,
            "freight": freight, "codFee": 0, "total": {"amount": freight, "currency": "INR"}, "rateCard": "parcelx-1"})
    };
    assert_eq!(quoted(PARCEL).await, json!({"items": [rate("surface", 5_000), rate("air", 7_000)]}));
    let one = quoted(&format!("{PARCEL}&provider=parcelx&service=air&paymentMode=prepaid&codAmount=0")).await;
    assert_eq!(one, json!({"items": [rate("air", 7_000)]}));
    let cod = quoted(&format!("{PARCEL}&service=air&paymentMode=cod&codAmount=200000")).await;
    assert_eq!(cod["items"][0]["codFee"], 4_000);
    assert_eq!(cod["items"][0]["total"]["amount"], 11_000);
}

#[tokio::test]
async fn parameters_are_read_strictly() {
    let with = |name: &str, value: &str| {
        let others = PARCEL.split('&').filter(|pair| !pair.starts_with(&format!("{name}=")));
        others.map(str::to_owned).chain([format!("{name}={value}")]).collect::<Vec<_>>().join("&")
    };
    let without = |name: &str| {
        let others = PARCEL.split('&').filter(|pair| !pair.starts_with(&format!("{name}=")));
        others.collect::<Vec<_>>().join("&")
    };
    let mut cases: Vec<(String, &str, &str)> = PARCEL
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| (without(name), name, "required"))
        .collect();
    for (name, value, code) in [
        ("colour", "red", "unknown"),
        ("provider", "nobody", "unknown_value"),
        ("service", "sea", "unknown_value"),
        ("paymentMode", "later", "unknown_value"),
        ("weightGrams", "0", "range"),
        ("weightGrams", "100001", "range"),
        ("weightGrams", "half", "type"),
        ("length", "0", "range"),
        ("width", "301", "range"),
        ("height", "1.5", "type"),
        ("pickupPincode", "010020", "format"),
        ("deliveryPincode", "56000", "format"),
        ("pickupState", "", "length"),
        ("pickupState", "%20", "blank"),
        ("deliveryState", "a%00b", "characters"),
        ("deliveryState", "Delhi", "pincode_differs"),
        ("pickupState", "Dehli", "pincode_differs"),
        ("deliveryPincode", "100001", "no_place"),
        ("codAmount", "5", "cod"),
        ("codAmount", "-1", "range"),
        ("codAmount", "1000000001", "range"),
    ] {
        cases.push((with(name, value), name, code));
    }
    let long = "x".repeat(81);
    cases.push((with("deliveryState", &long), "deliveryState", "length"));
    cases.push((format!("{PARCEL}&paymentMode=cod"), "codAmount", "cod"));
    cases.push((format!("{PARCEL}&length=20"), "length", "duplicate"));
    for (query, field, code) in cases {
        let (status, body, _) = get(RateCards::remembering(vec![card()], FRESH).await, &query).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {body}");
        let named = body["errors"].as_array().expect("errors").iter();
        let named: Vec<_> = named.map(|error| (error["field"].clone(), error["code"].clone())).collect();
        assert!(named.contains(&(json!(field), json!(code))), "{query}: {named:?}");
    }
}

/// A state that decided the price let a merchant write itself a cheaper one.
#[tokio::test]
async fn a_price_depends_on_pincodes_and_not_on_what_is_written_beside_them() {
    let to = |pincode: &str, state: &str| {
        let parcel = PARCEL.replace("deliveryPincode=560001", &format!("deliveryPincode={pincode}"));
        parcel.replace("deliveryState=Karnataka", &format!("deliveryState={state}"))
    };
    for (pincode, states, zone) in [
        ("781001", &["Assam", "AS", "assam."][..], "E"),
        ("795001", &["Manipur"], "E"),
        ("194101", &["Ladakh", "J%26K", "Jammu%20%26%20Kashmir"], "E"),
        ("560001", &["Karnataka", "KA"], "C"),
        ("500001", &["Telangana", "Telengana", "Andhra%20Pradesh"], "C"),
        ("605001", &["Pondicherry", "Tamilnadu"], "D"),
        ("751001", &["Odisha", "Orissa"], "D"),
    ] {
        for state in states {
            assert_eq!(quoted(&to(pincode, state)).await["items"][0]["zone"], zone, "{pincode} {state}");
        }
        let rates = RateCards::remembering(vec![card()], FRESH).await;
        let (status, body, _) = get(rates, &to(pincode, "Delhi")).await;
        assert_eq!((status, &body["errors"][0]["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("deliveryState")));
    }
}

#[tokio::test]
async fn without_a_card_in_effect_it_is_worth_trying_again() {
    let later = DateTime::from_millis(Clock::default().now_ms() + 60_000);
    let rates = RateCards::remembering(vec![RateCard { effective_from: later, ..card() }], FRESH).await;
    let (status, body, retry_after) = get(rates, PARCEL).await;
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("rates.unavailable")));
    assert!(retry_after.is_some());
}
