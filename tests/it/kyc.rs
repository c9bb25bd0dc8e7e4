//! The way of an application, from the first field to the first order.

use serde_json::{Value, json};

use crate::support::{TestApp, kyc};

#[tokio::test]
async fn an_individual_is_verified_by_its_papers_and_creates_an_order() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    app.credit(&user, 100_000).await;
    assert_eq!(app.kyc(&user).await["state"], "not_started");
    let refused = app.create(&user, "c-1").await.expect(403);
    assert_eq!((refused.code(), &refused.body["state"]), ("kyc.not_verified", &json!("not_started")));
    app.complete(&user, &kyc::individual()).await;
    let shown = app.kyc(&user).await;
    assert_eq!(shown["state"], "draft");
    assert_eq!((&shown["pan"], &shown["aadhaar"]), (&json!("XXXXXX234F"), &json!("XXXX-XXXX-7058")));
    assert_eq!(shown["bankAccount"]["accountNumber"], "XXXXXXXX9012");
    app.submit(&user).await.expect(202);
    app.run_jobs_to_the_end().await;
    let verified = app.kyc(&user).await;
    assert_eq!((&verified["state"], &verified["requirements"]), (&json!("verified"), &json!([])), "{verified}");
    let checks: Vec<&Value> = verified["checks"].as_array().unwrap().iter().map(|check| &check["status"]).collect();
    assert_eq!(checks, [&json!("passed"); 2]);
    app.create(&user, "c-1").await.expect(201);
    app.run_jobs_to_the_end().await;
    app.finish().await;
}
