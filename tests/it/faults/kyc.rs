//! A worker is killed while it has an application checked.

use std::time::Duration;

use bson::doc;
use futures_util::future::join_all;
use serde_json::json;
use waybill::{
    modules::kyc::KYC_QUEUE,
    platform::{clock::after, crash::OF_JOBS},
};

use super::{FAST, settled, text};
use crate::support::{TestApp, User, kyc, process::Launch, server, servers::Mongod};

/// Requests that were closed because their worker ended without an answer.
async fn abandoned(app: &TestApp, user: &User) -> usize {
    let filter = doc! { "userId": &user.user_id, "errorCode": "exchange.no_answer" };
    app.all("provider_response_logs", filter).await.len()
}

/// An application of which the bank account alone is still to be checked; slowly enough for a worker that is to be killed
/// at this point.
async fn nearly_checked(app: &TestApp, point: &str) -> User {
    let user = app.applicant(&kyc::individual()).await;
    assert_eq!(app.worker.run_due().await, 1);
    if point == "sent" {
        app.idcheck.rule(json!({ "operation": "penny_drop", "mode": "ok", "latencyMs": 800, "times": 1 })).await;
    }
    user
}

async fn work(app: &TestApp, flags: &[&str]) {
    let mut healthy = Launch::worker(app, flags).start().await;
    settled(app).await;
    healthy.terminate().await;
}

#[tokio::test]
async fn an_application_is_verified_although_the_worker_is_killed_at_any_point() {
    let mongod = Mongod::with(&["transactionLifetimeLimitSeconds=1"]).await;
    let points = OF_JOBS.iter().filter(|point| **point != "looking_up");
    join_all(points.map(|point| verified_despite(point, &mongod))).await;
}

async fn verified_despite(point: &str, mongod: &Mongod) {
    let uri = if point == "before_commit" { mongod.uri() } else { server("MONGODB_URI") };
    let app = TestApp::on(&uri, FAST).await;
    let user = nearly_checked(&app, point).await;
    Launch::worker(&app, FAST).crash_at(point).spawn().crash().await;
    let sent = app.idcheck.books().await["callsByOperation"]["penny_drop"].clone();
    let died_before_sending =
        matches!(point, "claimed" | "before_commit" | "after_commit" | "request_logged" | "sending");
    assert_eq!(sent, json!(i32::from(!died_before_sending)), "{point}");

    work(&app, FAST).await;
    assert_eq!(app.kyc_state(&user).await, "verified", "{point}");
    let open = usize::from(!matches!(point, "claimed" | "before_commit" | "after_completion"));
    assert_eq!(abandoned(&app, &user).await, open, "{point}");
    assert_eq!(app.answers_about(&user).await.len(), 2 + open, "{point}: an answer for every request");
    let books = app.idcheck.books().await;
    assert_eq!(books["deposits"], json!({ "done": 1, "repeated": [] }), "{point}");
    assert_eq!(books["references"], 2, "{point}: asked again, it is asked under the same reference");
    assert_eq!(app.kyc_event_types(&user).await.split_off(4), ["KycSubmitted", "KycVerified"], "{point}: once");
    app.finish().await;
}

#[tokio::test]
async fn a_killed_workers_call_is_closed_after_a_decision_too() {
    let app = TestApp::with(FAST).await;
    let (user, admin) = (nearly_checked(&app, "sent").await, app.admin().await);
    Launch::worker(&app, FAST).crash_at("sent").spawn().crash().await;
    // Its lease is over, and nobody has the job yet.
    let later = after(app.app.clock.now(), Duration::from_secs(2));
    assert_eq!(app.app.queue_store.reclaim_expired(KYC_QUEUE, later).await.unwrap(), 1);
    let rejected = json!({ "decision": "reject", "reason": "Known to us." });
    app.decide(&admin, &user, &rejected).await.expect(200);
    work(&app, FAST).await;
    assert_eq!((app.kyc_state(&user).await, abandoned(&app, &user).await), ("rejected".to_owned(), 1));
    assert_eq!(app.answers_about(&user).await.len(), 2);
    assert_eq!(text(&app.kyc_job(&user).await, "state"), "done");
    assert_eq!(app.idcheck.books().await["callsByOperation"]["penny_drop"], 1, "it is not asked again");
    app.finish().await;
}

#[tokio::test]
async fn when_every_attempt_ends_with_a_dead_worker_a_person_has_to_look() {
    let flags = [FAST, &["--max-attempts=1"]].concat();
    let app = TestApp::with(&flags).await;
    let (user, admin) = (nearly_checked(&app, "answered").await, app.admin().await);
    Launch::worker(&app, &flags).crash_at("answered").spawn().crash().await;
    work(&app, &flags).await;
    assert_eq!((app.kyc_state(&user).await, abandoned(&app, &user).await), ("under_review".to_owned(), 1));
    let job = app.kyc_job(&user).await;
    assert_eq!(
        (text(&job, "state"), text(job.get_document("lastError").unwrap(), "code")),
        ("dead", "queue.workers_died")
    );
    app.retry_checks(&admin, &user).await.expect(200);
    work(&app, &flags).await;
    assert_eq!(app.kyc_state(&user).await, "verified");
    assert_eq!(app.idcheck.books().await["deposits"], json!({ "done": 1, "repeated": [] }));
    app.finish().await;
}
