//! Faults on request, each of them.

use super::*;

#[tokio::test]
async fn every_mode_does_what_it_says() {
    // operation, mode, HTTP status, orders afterwards, words in the answer
    for (operation, mode, http, orders, words) in [
        ("create", "refuse", 400, 0, "BadRequest_InvalidItem"),
        ("create", "duplicate", 409, 0, "Application_DuplicateDocument"),
        ("create", "capitals", 201, 1, r#""externalDocumentNumber":"S-1A""#),
        ("create", "cancelled", 201, 1, r#""status":"Cancelled""#),
        ("create", "other_order", 201, 1, r#""orderNo":"SO-7-OTHER""#),
        ("create", "no_order_no", 201, 1, r#"{"externalDocumentNumber":"s-1a","status":"Open"}"#),
        ("create", "odd_status", 201, 1, r#""status":"Pending Prepayment""#),
        ("look_up", "refuse", 400, 1, "BadRequest_InvalidItem"),
        ("look_up", "absent", 200, 1, r#"{"value":[]}"#),
        ("look_up", "capitals", 200, 1, r#""externalDocumentNumber":"S-1A""#),
        ("look_up", "other_order", 200, 1, r#""externalDocumentNumber":"7-of-somebody-else""#),
        ("look_up", "other_order_too", 200, 1, r#"{"value":[{"externalDocumentNumber":"7-of-somebody-else""#),
        ("look_up", "no_order_no", 200, 1, r#"[{"externalDocumentNumber":"s-1a","status":"Open"}]"#),
        ("look_up", "odd_status", 200, 1, r#""status":"Pending Prepayment""#),
    ] {
        let stand = XApi::new();
        stand.rule(json!({"operation": operation, "mode": mode, "times": 1})).await;
        let created = seen(stand.create("s-1a").await).await;
        let (status, answer) = if operation == "create" { created } else { seen(stand.look_up("s-1a").await).await };
        assert_eq!(status, http, "{operation} {mode}");
        assert!(answer.contains(words), "{operation} {mode}: {answer}");
        assert_eq!(stand.books().await["orders"], orders, "{operation} {mode}");
    }
}

#[tokio::test]
async fn a_message_may_begin_with_a_code() {
    for (mode, message, http, code, words) in [
        ("refuse", "Internal_Error: try later", 400, "Internal_Error", "try later"),
        ("refuse", "the invoice number is used", 400, "BadRequest_InvalidItem", "the invoice number is used"),
        ("refuse", "Not_a code: x", 400, "BadRequest_InvalidItem", "Not_a code: x"),
        ("403", "Authorization_Licence: expired", 403, "Authorization_Licence", "expired"),
        ("500", "Application_Deadlock: again", 500, "Application_Deadlock", "again"),
    ] {
        let stand = XApi::new();
        stand.rule(json!({"mode": mode, "message": message, "afterWork": true})).await;
        let (status, answer) = seen(stand.create("S-1").await).await;
        assert_eq!(status, http, "{message}");
        assert_eq!(answer, json!({"error": {"code": code, "message": words}}).to_string());
        assert_eq!(stand.books().await["orders"], 1, "{message}");
    }
}

#[tokio::test]
async fn work_that_is_late_finds_the_number_taken() {
    let stand = XApi::new();
    stand.rule(json!({"mode": "500", "workAfterMs": 30, "times": 1})).await;
    assert_eq!(stand.create("S-1").await.status(), 500);
    assert_eq!(stand.found("S-1").await, json!([]));
    assert_eq!(stand.create("S-1").await.status(), 201);
    let conflict = async {
        while stand.books().await["conflicts"] != 1 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), conflict).await.unwrap();
    assert_eq!(stand.books().await["orders"], 1);
}

#[tokio::test]
async fn a_rule_may_ask_for_a_number_or_an_account() {
    let stand = XApi::new();
    stand.rule(json!({"externalDocumentNumber": "S-2", "mode": "403"})).await;
    stand.rule(json!({"account": "branch", "mode": "429"})).await;
    for (user, number, status) in [("shop", "S-1", 201), ("shop", "S-2", 403), ("branch", "S-1", 429)] {
        assert_eq!(stand.of(user).create(number).await.status(), status, "{user} {number}");
    }
}
