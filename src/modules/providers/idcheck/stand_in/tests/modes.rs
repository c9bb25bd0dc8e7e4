//! Findings and faults on request, each of them.

use super::*;

/// A mode, and what it does to one call: HTTP status (0: hung up), whether it is done, parts of the answer.
type Case = (&'static str, u16, bool, &'static [&'static str]);

/// Cases that are the same for every operation.
const EVERYWHERE: &[Case] = &[
    ("unprocessable", 422, false, &[r#""code":"invalid_"#, "cannot be processed"]),
    ("wrong_reference", 200, true, &[r#""reference":"chk_1f0e4c52a7b34d5e9c60718293a4b5c6""#, "ASHA RAO"]),
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
            let stand = IdCheck::with_rule(json!({"operation": operation, "mode": mode, "times": 1})).await;
            let (status, answer) = seen(stand.usual(what, 1).await).await;
            assert_eq!(status, *http, "{what} {mode}");
            for part in *parts {
                assert!(answer.contains(part), "{what} {mode}: {answer}");
            }
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
        ("500_after_work", 1),
        ("drop_after_work", 1),
        ("wrong_reference", 1),
        ("invalid", 0),
        ("inactive", 0),
        ("blocked", 0),
        ("nre", 0),
        ("odd_message", 0),
        ("bank_offline", 0),
        ("npci_unavailable", 0),
        ("500", 0),
        ("drop", 0),
    ] {
        let stand = IdCheck::with_rule(json!({"operation": "penny_drop", "mode": mode})).await;
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
    let stand = IdCheck::with_rule(json!({"operation": "pan", "mode": "inactive", "times": 1})).await;
    let found = read(stand.usual(PANS, 1).await).await;
    assert_eq!(found["status"], "inactive");
    assert_eq!(read(stand.usual(PANS, 1).await).await, found);
    assert_eq!(read(stand.usual(PANS, 2).await).await["status"], "valid", "another reference looks anew");
}

#[tokio::test]
async fn whose_it_is_can_be_told() {
    let stand = IdCheck::with_rule(json!({"mode": "name_mismatch", "message": "Ravi Menon"})).await;
    assert_eq!(read(stand.usual(PANS, 1).await).await["registered_name"], "Ravi Menon");
    assert_eq!(read(stand.usual(GSTINS, 2).await).await["trade_name"], "Ravi Menon");
    assert_eq!(read(stand.usual(DROPS, 3).await).await["name_at_bank"], "Ravi Menon");
}

#[tokio::test]
async fn a_finding_has_its_operation_and_a_call_its_reference() {
    let stand = IdCheck::new();
    for (mode, operation, status) in [
        ("nre", "any", 422),
        ("bank_offline", "pan", 422),
        ("suspended", "any", 422),
        ("suspended", "gstin", 201),
        ("nre", "penny_drop", 201),
    ] {
        let rule = json!({"mode": mode, "operation": operation, "times": 0});
        assert_eq!(stand.control("rules", &rule).await.status(), status, "{mode} {operation}");
    }
    stand.rule(json!({"reference": reference(2), "mode": "403"})).await;
    assert_eq!(stand.usual(PANS, 1).await.status(), 200);
    assert_eq!(stand.usual(DROPS, 2).await.status(), 403);
}
