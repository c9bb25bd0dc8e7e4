//! Faults on request, each of them but those of downloads.

use super::*;

#[tokio::test]
async fn every_mode_does_what_it_says() {
    // operation, mode, HTTP status, docflows afterwards, words in the answer
    for (operation, mode, http, docflows, words) in [
        ("place", "refuse", 400, 0, r#"{"message":"The object is not in the register"}"#),
        ("place", "duplicate", 409, 0, r#"{"message":"A docflow with this requestId exists"}"#),
        ("place", "not_found", 404, 0, r#"{"message":"#),
        ("place", "other_docflow", 202, 1, r#"{"docflowId":"df-7-of-somebody-else","state":"queued"}"#),
        ("place", "no_docflow_id", 202, 1, r#"{"state":"queued"}"#),
        ("place", "odd_state", 202, 1, r#""state":"on_the_way""#),
        ("look_up", "absent", 200, 1, r#"{"items":[]}"#),
        (
            "look_up",
            "other_docflow",
            200,
            1,
            r#"[{"docflowId":"df-7-of-somebody-else","requestId":"7-of-somebody-else""#,
        ),
        ("look_up", "no_docflow_id", 200, 1, r#"[{"requestId":"x-1","state":"queued"}]"#),
        ("look_up", "odd_state", 200, 1, r#""state":"on_the_way""#),
        ("poll", "not_found", 404, 1, r#"{"message":"#),
        ("poll", "other_docflow", 200, 1, r#""requestId":"7-of-somebody-else""#),
        ("poll", "odd_state", 200, 1, r#""state":"on_the_way""#),
        ("download", "not_found", 404, 1, r#"{"message":"#),
        ("download", "html", 200, 1, "<!doctype html>"),
    ] {
        let stand = Rosreestr::new();
        stand.rule(json!({"operation": operation, "mode": mode, "times": 1})).await;
        let placed = seen(stand.place("x-1").await).await;
        let id = stand.docflows("x-1").await[0]["docflowId"].as_str().unwrap_or_default().to_owned();
        let (status, answer) = match operation {
            "place" => placed,
            "look_up" => seen(stand.look_up("x-1").await).await,
            "poll" => seen(stand.poll(&id).await).await,
            _ => seen(stand.download(&id, "1").await).await,
        };
        assert_eq!(status, http, "{operation} {mode}");
        assert!(answer.contains(words), "{operation} {mode}: {answer}");
        assert_eq!(stand.books().await["docflows"], docflows, "{operation} {mode}");
    }
}

#[tokio::test]
async fn a_rule_may_ask_what_a_call_is_about() {
    let stand = Rosreestr::new();
    let id = stand.completed().await;
    for (wanted, polled, downloaded) in [
        (json!({"requestId": "x-1"}), 403, 403),
        (json!({"cadastralNumber": NUMBER}), 403, 403),
        (json!({"docflowId": id}), 403, 403),
        (json!({"fileId": "1"}), 200, 403),
        (json!({"account": "one"}), 403, 403),
        (json!({"account": "two"}), 200, 200),
        (json!({"requestId": "x-2"}), 200, 200),
    ] {
        let mut rule = wanted.clone();
        rule["mode"] = json!("403");
        stand.rule(rule).await;
        assert_eq!(stand.poll(&id).await.status(), polled, "{wanted}");
        assert_eq!(stand.download(&id, "1").await.status(), downloaded, "{wanted}");
        stand.call("DELETE", "/_control/rules", None).await;
    }
}
