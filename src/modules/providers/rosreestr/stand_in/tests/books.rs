//! Books of the stand-in.

use super::*;

#[tokio::test]
async fn a_docflow_is_there_once_and_found_again() {
    let stand = Rosreestr::new();
    assert_eq!(read(stand.look_up("x-1").await).await, json!({"items": []}));
    let id = stand.placed("x-1").await;
    let again = stand.place("X-1").await;
    assert_eq!(again.status(), StatusCode::CONFLICT, "without regard to case");
    assert!(read(again).await["message"].is_string());
    let found = json!({"docflowId": id, "requestId": "x-1", "state": "queued"});
    assert_eq!(read(stand.look_up("X-1").await).await, json!({"items": [found]}));

    let entry = stand.get("/_books/docflows/x-1").await;
    assert_eq!(entry["calls"], json!({"place": 2, "look_up": 2}));
    assert_eq!(entry["lastBody"], request("X-1"));
    let docflow = &entry["docflows"][0];
    for (field, value) in [
        ("docflowId", id.as_str()),
        ("account", "one"),
        ("type", "base"),
        ("cadastralNumber", NUMBER),
        ("state", "queued"),
    ] {
        assert_eq!(docflow[field], value);
    }
    let totals = stand.books().await;
    let of = |name: &str| totals[name].as_u64().unwrap();
    let seen = ["numbers", "docflows", "duplicates", "conflicts", "foreign"].map(of);
    assert_eq!(seen, [1, 1, 0, 1, 0]);
}

#[tokio::test]
async fn a_docflow_is_there_for_its_account_only() {
    let stand = Rosreestr::new();
    let id = stand.completed().await;
    let other = stand.of("two");
    assert_eq!(read(other.look_up("x-1").await).await, json!({"items": []}));
    assert_eq!(other.poll(&id).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(other.download(&id, "1").await.status(), StatusCode::NOT_FOUND);
    assert_ne!(other.placed("x-1").await, id, "the same request id is another docflow there");
    let totals = stand.books().await;
    assert_eq!((&totals["docflows"], &totals["duplicates"], &totals["foreign"]), (&json!(2), &json!(1), &json!(2)));
    assert_eq!(stand.docflows("x-1").await[1]["account"], "two");
    assert_eq!(stand.poll(&id).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn clearing_forgets_docflows_and_keeps_courses() {
    let stand = Rosreestr::with_course(json!({"steps": [{"state": "error"}], "error": "no"})).await;
    let id = stand.placed("x-1").await;
    stand.call("DELETE", "/_books", None).await;
    assert_eq!(stand.poll(&id).await.status(), StatusCode::NOT_FOUND);
    let id = stand.placed("x-1").await;
    assert_eq!(stand.polled(&id).await["error"], "no");
}
