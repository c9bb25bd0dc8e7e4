//! How docflows go on.

use std::time::Duration;

use super::*;

async fn states(stand: &Rosreestr, id: &str, polls: usize) -> Vec<String> {
    let mut states = Vec::new();
    for _ in 0..polls {
        states.push(stand.polled(id).await["state"].as_str().unwrap().to_owned());
    }
    states
}

#[tokio::test]
async fn the_usual_course_ends_with_a_file() {
    let stand = Rosreestr::new();
    let id = stand.placed("x-1").await;
    let queued = json!({"docflowId": id, "requestId": "x-1", "state": "queued", "error": null, "files": []});
    assert_eq!(stand.polled(&id).await, queued);
    assert_eq!(stand.download(&id, "1").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(states(&stand, &id, 2).await, ["sent", "completed"]);
    let file = json!({"id": "1", "name": "Выписка из ЕГРН.pdf", "contentType": "application/pdf"});
    assert_eq!(stand.polled(&id).await["files"], json!([file]));
    assert_eq!(stand.download(&id, "1").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_course_goes_by_polls() {
    let steps = json!([
        {"state": "sent"}, {"state": "suspended", "afterPolls": 2}, {"state": "completed", "afterPolls": 1},
        {"state": "verified", "afterPolls": 1},
    ]);
    let stand = Rosreestr::with_course(json!({"steps": steps})).await;
    let id = stand.placed("x-1").await;
    stand.look_up("x-1").await;
    assert_eq!(states(&stand, &id, 6).await, ["sent", "sent", "suspended", "completed", "verified", "verified"]);
    let names: Vec<_> =
        stand.polled(&id).await["files"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["Выписка из ЕГРН.pdf", "Выписка из ЕГРН.pdf.sig"]);
}

#[tokio::test]
async fn a_course_goes_by_time() {
    let steps = json!([{"state": "sent", "afterMs": 60_000}, {"state": "completed"}]);
    let stand = Rosreestr::with_course(json!({"steps": steps})).await;
    let id = stand.placed("x-1").await;
    assert_eq!(states(&stand, &id, 2).await, ["queued", "queued"]);
    let steps = json!([{"state": "sent", "afterMs": 20, "afterPolls": 1}, {"state": "suspended", "afterMs": 60_000}]);
    assert_eq!(stand.control("courses", &json!({"steps": steps})).await.status(), StatusCode::NO_CONTENT);
    let id = stand.placed("x-2").await;
    let sent = async {
        while stand.polled(&id).await["state"] != "sent" {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(10), sent).await.unwrap();
}

#[tokio::test]
async fn a_course_may_be_that_of_one_number() {
    let stand = Rosreestr::new();
    let none =
        |number: &str| json!({"cadastralNumber": number, "steps": [{"state": "error"}], "error": "there is none"});
    for course in [none(NUMBER), none("01:02:12345:1"), json!({"cadastralNumber": "01:02:12345:1", "steps": []})] {
        assert_eq!(stand.control("courses", &course).await.status(), StatusCode::NO_CONTENT);
    }
    let id = stand.placed("x-1").await;
    let failed = stand.polled(&id).await;
    assert_eq!(
        (&failed["state"], &failed["error"], &failed["files"]),
        (&json!("error"), &json!("there is none"), &json!([]))
    );
    let mut other = request("x-2");
    other["options"]["cadastralNumber"] = json!("01:02:12345:1");
    stand.post("/v1/docflows/object_request", &other).await;
    let id = stand.docflows("x-2").await[0]["docflowId"].as_str().unwrap().to_owned();
    assert_eq!(states(&stand, &id, 3).await, ["queued"; 3], "the latest of it");
}

#[tokio::test]
async fn where_a_docflow_stands_can_be_said() {
    let stand = Rosreestr::new();
    let id = stand.placed("x-1").await;
    for state in ["suspended", "completed", "error", "verified"] {
        let set = stand.control("docflows/X-1", &json!({"state": state})).await;
        assert_eq!(set.status(), StatusCode::OK);
        assert_eq!(states(&stand, &id, 3).await, [state; 3]);
    }
    assert_eq!(stand.control("docflows/x-2", &json!({"state": "sent"})).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        stand.control("docflows/x-1", &json!({"state": "lost"})).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

#[tokio::test]
async fn courses_that_cannot_be_are_refused() {
    let stand = Rosreestr::new();
    for course in [
        json!({"steps": [{"state": "lost"}]}),
        json!({"steps": vec![json!({"state": "sent"}); 101]}),
        json!({"files": [{"kind": "pdf"}]}),
        json!({"files": [{"kind": "pdf", "name": "x", "bytes": 2_000_000_000}]}),
        json!({"nonsense": 1}),
    ] {
        assert_eq!(stand.control("courses", &course).await.status(), StatusCode::UNPROCESSABLE_ENTITY, "{course}");
    }
}
