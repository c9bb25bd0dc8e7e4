//! Books of the stand-in.

use super::*;

#[tokio::test]
async fn an_order_is_there_once_and_found_again() {
    let stand = XApi::new();
    assert_eq!(stand.found("S-1").await, json!([]));
    let created = stand.create("S-1").await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let created = read(created).await;
    assert_eq!((&created["externalDocumentNumber"], &created["status"]), (&json!("S-1"), &json!("Open")));
    assert!(created["orderNo"].as_str().unwrap().starts_with("SO-"));
    assert_eq!(stand.found("s-1").await, json!([created]), "without regard to case");

    let again = stand.create("s-1").await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    assert_eq!(read(again).await["error"]["code"], "Application_DuplicateDocument");
    let entry = stand.entry("S-1").await;
    assert_eq!(entry["calls"], json!({"create": 2, "look_up": 2}));
    assert_eq!(entry["lastBody"], order("s-1"));
    assert_eq!(entry["orders"].as_array().unwrap().len(), 1);
    let totals = stand.books().await;
    assert_eq!(
        (&totals["numbers"], &totals["orders"], &totals["duplicates"], &totals["conflicts"]),
        (&json!(1), &json!(1), &json!(0), &json!(1))
    );
}

#[tokio::test]
async fn each_account_has_its_own_orders() {
    let stand = XApi::new();
    let other = stand.of("branch");
    stand.create("S-1").await;
    assert_eq!(other.found("S-1").await, json!([]));
    assert_eq!(other.create("S-1").await.status(), StatusCode::CREATED);
    assert_ne!(other.found("S-1").await, stand.found("S-1").await);
    let totals = stand.books().await;
    assert_eq!((&totals["orders"], &totals["duplicates"], &totals["conflicts"]), (&json!(2), &json!(1), &json!(0)));
    let entry = stand.entry("S-1").await;
    assert_eq!((&entry["orders"][0]["account"], &entry["orders"][1]["account"]), (&json!("shop"), &json!("branch")));
    stand.call("DELETE", "/_books", None).await;
    assert_eq!(stand.found("S-1").await, json!([]));
}

#[tokio::test]
async fn what_happens_to_an_order_can_be_said() {
    let stand = XApi::new();
    stand.create("S-1").await;
    for (number, status, http) in
        [("S-1", "Released", 200), ("s-1", "Cancelled", 200), ("S-1", "Lost", 422), ("S-2", "Released", 404)]
    {
        let set = stand.control(&format!("orders/{number}"), &json!({"status": status})).await;
        assert_eq!(set.status(), http, "{number} {status}");
        if http == 200 {
            assert_eq!(stand.found("S-1").await[0]["status"], status);
        }
    }
}
