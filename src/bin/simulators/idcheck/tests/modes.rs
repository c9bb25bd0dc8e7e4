//! Findings and faults on request, each of them.

use super::*;

/// Enough for a call in memory; a mode that hangs does not get done in it.
const PATIENCE: Duration = Duration::from_millis(200);

/// A mode, and what it does to one call: HTTP status (0: hung up), whether it is done, parts of the answer.
type Case = (&'static str, u16, bool, &'static [&'static str]);

/// What no operation does differently.
const EVERYWHERE: &[Case] = &[
    ("unprocessable", 422, false, &[r#""code":"invalid_"#, "cannot be processed"]),
    ("server_error", 500, false, &[r#""code":"internal""#]),
    ("done_then_error", 500, true, &[r#""code":"internal""#]),
    ("drop_before", 0, false, &[]),
    ("drop_after", 0, true, &[]),
    ("throttle", 429, false, &[r#""code":"too_many_requests""#]),
    ("unauthorized", 401, false, &[r#""code":"invalid_key""#]),
    ("not_json", 200, false, &["<!doctype html>"]),
    ("cut_off", 200, true, &["{\""]),
    ("wrong_reference", 200, true, &[r#""reference":"chk_00000000000000000000000000000000""#, "ASHA RAO"]),
    ("huge", 200, true, &[r#""padding":"xxxx"#, "ASHA RAO"]),
    ("ok", 200, true, &["ASHA RAO"]),
];

const OF_PANS: &[Case] = &[
    ("invalid", 200, true, &[r#""status":"invalid""#, r#""registered_name":null"#]),
    ("inactive", 200, true, &[r#""status":"inactive""#, r#""registered_name":null"#]),
    ("no_name", 200, true, &[r#""status":"valid""#, r#""registered_name":null"#]),
    ("name_mismatch", 200, true, &[r#""status":"valid""#, r#""registered_name":"VIKRAM CHAUDHARY""#]),
    ("echo_pan", 400, false, &[r#""code":"invalid_request""#, "pan ABCPE1234F of Asha Rao"]),
];

const OF_GSTINS: &[Case] = &[
    ("invalid", 200, true, &[r#""status":"not_found""#, r#""legal_name":null"#, r#""trade_name":null"#]),
    ("inactive", 200, true, &[r#""status":"cancelled""#, r#""legal_name":"ASHA RAO""#]),
    ("suspended", 200, true, &[r#""status":"suspended""#, r#""legal_name":"ASHA RAO""#]),
    ("no_name", 200, true, &[r#""status":"active""#, r#""legal_name":null"#, r#""trade_name":null"#]),
    ("name_mismatch", 200, true, &[r#""legal_name":"VIKRAM CHAUDHARY""#, r#""trade_name":"VIKRAM CHAUDHARY""#]),
    ("echo_pan", 400, false, &["gstin 27ABCPE1234F1Z5 of Asha Rao"]),
];

const OF_DROPS: &[Case] = &[
    ("invalid", 200, true, &["Account does not exist"]),
    ("inactive", 200, true, &["Account is blocked"]),
    ("blocked", 200, true, &["Account is blocked"]),
    ("nre", 200, true, &["NRE account"]),
    ("bank_offline", 200, false, &["Beneficiary bank offline"]),
    ("npci_unavailable", 200, false, &["NPCI unavailable"]),
    ("odd_message", 200, true, &["Remitter response M7"]),
    ("no_name", 200, true, &["Verified", r#""account_exists":true"#, r#""name_at_bank":null"#]),
    ("name_mismatch", 200, true, &["Verified", r#""name_at_bank":"VIKRAM CHAUDHARY""#]),
    ("echo_pan", 400, false, &["account_number 001234567890 HDFC0001234 of Asha Rao"]),
];

#[tokio::test]
async fn every_mode_does_what_it_says() {
    for (what, operation, cases) in
        [(PANS, "pan", OF_PANS), (GSTINS, "gstin", OF_GSTINS), (DROPS, "penny_drop", OF_DROPS)]
    {
        for (mode, http, done, parts) in cases.iter().chain(EVERYWHERE) {
            let stand = Stand::with_rule(json!({"operation": operation, "mode": mode, "times": 1})).await;
            let (status, answer) = seen(stand.usual(what, 1).await).await;
            assert_eq!(status, *http, "{what} {mode}");
            for part in *parts {
                assert!(answer.contains(part), "{what} {mode}: {answer}");
            }
            assert_eq!(answer.len() > 10 * 1024 * 1024, *mode == "huge", "{what} {mode}");
            let json = serde_json::from_str::<Value>(&answer).is_ok();
            assert_eq!(json, !["drop_before", "drop_after", "not_json", "cut_off"].contains(mode), "{what} {mode}");
            let check = stand.check(1).await;
            assert_eq!((&check["calls"], &check["done"]), (&json!(1), &json!(done)), "{what} {mode}");
            // The rule is used up. What was done stays done, what was not is done now.
            let again = stand.usual(what, 1).await;
            assert_eq!(again.status(), StatusCode::OK, "{what} {mode}");
            let again = read(again).await;
            assert_eq!(again["reference"], reference(1), "{what} {mode}");
            let check = stand.check(1).await;
            assert_eq!(check["result"], again, "{what} {mode}");
            assert_eq!(stand.deposits().await["repeated"], json!([]), "{what} {mode}");
        }
    }
}

#[tokio::test]
async fn a_rupee_moves_only_to_an_account_that_is_there() {
    for (mode, rupees) in [
        ("ok", 1),
        ("no_name", 1),
        ("name_mismatch", 1),
        ("done_then_error", 1),
        ("drop_after", 1),
        ("cut_off", 1),
        ("wrong_reference", 1),
        ("invalid", 0),
        ("inactive", 0),
        ("blocked", 0),
        ("nre", 0),
        ("odd_message", 0),
        ("bank_offline", 0),
        ("npci_unavailable", 0),
        ("server_error", 0),
        ("drop_before", 0),
        ("not_json", 0),
    ] {
        let stand = Stand::with_rule(json!({"operation": "penny_drop", "mode": mode})).await;
        for _ in 0..2 {
            let (_, answer) = seen(stand.usual(DROPS, 1).await).await;
            if answer.contains(r#""account_exists":false"#) {
                assert!(answer.contains(r#""utr":null"#) && answer.contains(r#""amount_deposited":0,"#), "{answer}");
            }
        }
        assert_eq!(stand.deposits().await, json!({"done": rupees, "repeated": []}), "{mode}");
    }
}

#[tokio::test]
async fn a_finding_stays_found() {
    let stand = Stand::with_rule(json!({"operation": "pan", "mode": "inactive", "times": 1})).await;
    let found = read(stand.usual(PANS, 1).await).await;
    assert_eq!(found["status"], "inactive");
    assert_eq!(read(stand.usual(PANS, 1).await).await, found);
    assert_eq!(read(stand.usual(PANS, 2).await).await["status"], "valid", "another reference looks anew");
}

#[tokio::test]
async fn a_call_that_hangs_is_done() {
    for what in [PANS, GSTINS, DROPS] {
        let stand = Stand::with_rule(json!({"operation": "any", "mode": "hang", "times": 1})).await;
        assert!(tokio::time::timeout(PATIENCE, stand.usual(what, 1)).await.is_err(), "{what}");
        assert_eq!(stand.check(1).await["done"], true, "{what}");
        assert_eq!(read(stand.usual(what, 1).await).await, stand.check(1).await["result"], "{what}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_the_latency_does_not_stop_the_transfer() {
    let stand = Stand::with_rule(json!({"mode": "ok", "latencyMs": 300})).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), stand.usual(DROPS, 1)).await.is_err());
    assert_eq!(stand.deposits().await["done"], 0);
    for _ in 0..100 {
        if stand.deposits().await["done"] == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the rupee never moved");
}

#[tokio::test]
async fn a_throttled_call_is_told_when_to_come_back() {
    let stand = Stand::with_rule(json!({"mode": "throttle"})).await;
    assert_eq!(stand.usual(PANS, 1).await.headers()["retry-after"], "1");
}

#[tokio::test]
async fn whose_it_is_can_be_told() {
    let stand = Stand::with_rule(json!({"mode": "name_mismatch", "name": "Ravi Menon"})).await;
    assert_eq!(read(stand.usual(PANS, 1).await).await["registered_name"], "Ravi Menon");
    assert_eq!(read(stand.usual(GSTINS, 2).await).await["trade_name"], "Ravi Menon");
    assert_eq!(read(stand.usual(DROPS, 3).await).await["name_at_bank"], "Ravi Menon");
}

#[tokio::test]
async fn rules_match_by_operation_and_reference() {
    let stand = Stand::with_rule(json!({"operation": "gstin", "mode": "server_error", "times": 2})).await;
    stand.rule(json!({"reference": reference(2), "mode": "unauthorized"})).await;
    assert_eq!(stand.usual(PANS, 1).await.status(), 200);
    for status in [500, 500, 200] {
        assert_eq!(stand.usual(GSTINS, 3).await.status(), status);
    }
    assert_eq!(stand.usual(DROPS, 2).await.status(), 401);

    let rules = stand.get("/_control/rules").await;
    assert_eq!(
        rules,
        json!([
            {"operation": "gstin", "mode": "server_error", "reference": null, "name": null, "timesLeft": 0,
                "applied": 2, "probability": 1.0, "latencyMs": 0},
            {"operation": "any", "mode": "unauthorized", "reference": reference(2), "name": null, "timesLeft": null,
                "applied": 1, "probability": 1.0, "latencyMs": 0},
        ])
    );
    stand.send("DELETE", "/_control/rules", None, None).await;
    assert_eq!(stand.get("/_control/rules").await, json!([]));
    assert_eq!(stand.usual(DROPS, 2).await.status(), 200);
}

#[tokio::test]
async fn rules_that_cannot_be_are_refused() {
    let stand = Stand::new();
    for wrong in [
        json!({}),
        json!({"mode": "no_such_mode"}),
        json!({"mode": "ok", "operation": "aadhaar"}),
        json!({"mode": "ok", "nonsense": 1}),
        json!({"mode": "ok", "times": -1}),
        json!({"mode": "ok", "probability": 1.5}),
        json!({"mode": "ok", "latencyMs": 999_999_999}),
        json!({"mode": "nre"}),
        json!({"mode": "bank_offline", "operation": "pan"}),
        json!({"mode": "suspended", "operation": "any"}),
        json!({"mode": "no_name", "name": "Ravi Menon"}),
    ] {
        assert_eq!(stand.control("rules", &wrong).await.status(), StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    assert_eq!(stand.get("/_control/rules").await, json!([]));
}

#[test]
fn a_probability_is_a_share_of_the_calls() {
    let mut rules = Rules::default();
    rules.add(serde_json::from_value(json!({"mode": "hang", "probability": 0.25, "times": 1})).unwrap()).unwrap();
    rules.add(serde_json::from_value(json!({"mode": "throttle"})).unwrap()).unwrap();
    let subject = Subject { operation: Operation::Pan, reference: reference(1) };
    let mut pick = |roll: f64| rules.pick(&subject, || roll).unwrap().mode;
    assert_eq!(pick(0.25), faults::Mode::Throttle, "a lost roll is left to the rules behind");
    assert_eq!(pick(0.24), faults::Mode::Hang, "a lost roll uses up nothing");
    assert_eq!(pick(0.24), faults::Mode::Throttle, "used up");
}
