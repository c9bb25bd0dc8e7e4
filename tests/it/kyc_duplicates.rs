//! The same papers in another account's application.

use bson::doc;
use futures_util::future::join_all;
use secrecy::SecretString;
use serde_json::{Value, json};
use waybill::{
    modules::kyc,
    platform::{rewrap::Rotation, sealing::SealingKeys},
};

use crate::support::{TestApp, User, kyc::individual};

/// Hands in exactly these papers.
async fn hand_in(app: &TestApp, application: &Value) -> User {
    let user = app.newcomer().await;
    app.complete_as_it_is(&user, application).await;
    app.submit(&user).await.expect(202);
    app.run_jobs().await;
    user
}

async fn review(app: &TestApp, admin: &User, user: &User) -> Value {
    app.get(admin, &format!("/kyc/applications/{}", user.user_id)).await.expect(200).body
}

/// Somebody else's papers, but for these fields.
fn other(changes: &[(&str, Value)]) -> Value {
    let mut application = individual();
    application["pan"] = json!("ABCPR9999F");
    application["bankAccount"] = json!({ "accountNumber": "999999999999", "ifsc": "ICIC0000123" });
    for (pointer, value) in changes {
        *application.pointer_mut(pointer).unwrap() = value.clone();
    }
    application
}

#[tokio::test]
async fn a_suspended_merchant_is_not_verified_under_another_account() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let first = hand_in(&app, &individual()).await;
    assert_eq!(app.kyc_state(&first).await, "verified", "the first with these papers");
    assert_eq!(review(&app, &admin, &first).await["linkedAccounts"], json!([]));
    app.decide(&admin, &first, &json!({ "decision": "suspend", "reason": "Parcels of stones." })).await.expect(200);
    // One of the numbers is enough, however it is written.
    for (changes, shared) in [
        (vec![("/pan", individual()["pan"].clone())], vec!["pan"]),
        (
            vec![
                ("/bankAccount", json!({ "accountNumber": "000123456789012", "ifsc": "HDFC0999999" })),
                ("/pan", json!("ABCPR9998F")),
            ],
            vec!["bankAccount"],
        ),
    ] {
        let again = hand_in(&app, &other(&changes)).await;
        assert_eq!(app.kyc_state(&again).await, "under_review", "{changes:?}");
        let seen = review(&app, &admin, &again).await;
        let suspended = json!({ "userId": first.user_id, "state": "suspended", "shared": shared });
        assert_eq!(seen["linkedAccounts"], json!([suspended]), "{changes:?}");
        assert_eq!(seen["checkResults"].as_array().unwrap().len(), 2, "they were made: a person has to decide by them");
        let own = app.kyc(&again).await;
        assert!(!own.to_string().contains(&first.user_id), "the merchant is told of nobody");
    }
    let linked = review(&app, &admin, &first).await;
    assert_eq!(linked["linkedAccounts"].as_array().unwrap().len(), 2, "seen from both sides");
    let list = app.get(&admin, "/kyc/applications?state=under_review").await.expect(200).body;
    assert!(list["items"].as_array().unwrap().iter().all(|item| item["papersShared"] == true), "{list}");
    // Nobody else is concerned, and the reviewer decides.
    let stranger =
        hand_in(&app, &other(&[("/pan", json!("ABCPR9997F")), ("/bankAccount/accountNumber", json!("999999999998"))]))
            .await;
    assert_eq!(app.kyc_state(&stranger).await, "verified");
    app.finish().await;
}

#[tokio::test]
async fn of_equal_applications_at_once_at_most_one_verifies_by_itself() {
    let app = TestApp::start().await;
    let mut users = Vec::new();
    for _ in 0..4 {
        let user = app.newcomer().await;
        app.complete_as_it_is(&user, &individual()).await;
        users.push(user);
    }
    join_all(users.iter().map(|user| app.submit(user))).await.into_iter().for_each(|answer| drop(answer.expect(202)));
    app.run_jobs().await;
    let mut states = Vec::new();
    for user in &users {
        states.push(app.kyc_state(user).await);
    }
    states.sort();
    assert_eq!(states, ["under_review", "under_review", "under_review", "verified"]);
    app.finish().await;
}

#[tokio::test]
async fn whoever_was_rejected_is_found_after_everything_was_erased() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let user = hand_in(&app, &individual()).await;
    let stored = app.all("kyc_papers", doc! { "userIds": &user.user_id }).await;
    assert_eq!(stored.len(), 2);
    let shown = format!("{stored:?}");
    assert!(!shown.contains("ABCPR1234F") && !shown.contains("123456789012"), "{shown}");
    app.decide(&admin, &user, &json!({ "decision": "suspend", "reason": "Parcels of stones." })).await.expect(200);
    app.decide(&admin, &user, &json!({ "decision": "reject", "reason": "Parcels of stones." })).await.expect(200);
    app.post(&user, "/kyc/erasure", &json!({ "reason": "Please." })).await.expect(204);
    assert!(app.all("kyc_papers", doc! { "userIds": &user.user_id }).await.is_empty());
    // The hashes go too, in three years: the database removes what nobody has.
    let left = app.all("kyc_papers", doc! {}).await;
    let in_two_years = app.app.clock.now_ms() + 2 * 366 * 86_400_000;
    let goes = |paper: &bson::Document| paper.get_datetime("emptiedAt").unwrap().timestamp_millis();
    assert!(left.len() == 2 && left.iter().all(|paper| goes(paper) > in_two_years), "{left:?}");
    assert!(app.application(&user).await.get_array("papers").unwrap().is_empty());
    let next = hand_in(&app, &individual()).await;
    assert_eq!(app.kyc_state(&next).await, "under_review");
    let linked = review(&app, &admin, &next).await["linkedAccounts"].clone();
    let rejected = json!({ "userId": user.user_id, "state": "rejected", "shared": ["bankAccount", "pan"] });
    assert_eq!(linked, json!([rejected]));
    app.finish().await;
}

#[tokio::test]
async fn a_changed_sealing_key_leaves_the_links_alone() {
    let app = TestApp::start().await;
    hand_in(&app, &individual()).await;
    let (old, new) = ("0".repeat(64), "7".repeat(64));
    let keys = SealingKeys::new(&SecretString::from(new.clone()), Some(&SecretString::from(old))).unwrap();
    let mut rotation = Rotation::new(app.db(), &keys, |_, _| {});
    kyc::rotate(&mut rotation).await.unwrap();
    assert_eq!(rotation.total().failed, 0);
    drop(rotation);
    let after = app.beside(&[&format!("--sealing-key={new}")]).await;
    let again = hand_in(&after, &individual()).await;
    assert_eq!(after.kyc_state(&again).await, "under_review");
    app.finish().await;
}
