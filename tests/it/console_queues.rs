//! The console's queues: what is seen, what can be done, by several people at once and with very much of it.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Browser, TestApp, User};

const QUEUE: &str = "parcelx-orders-queue";
/// Of a page of ten thousand dead jobs, as the server takes it.
const PAGE_TIME_MAX: Duration = Duration::from_millis(300);

/// An order whose job has died; gives the ids of both.
async fn dead_job(app: &TestApp, merchant: &User, name: &str) -> (String, String) {
    app.misbehave_for(name, "create", "refuse", Some(1)).await;
    let order_id = app.created(merchant, name).await;
    app.run_jobs().await;
    let job = app.create_job(&order_id).await;
    assert_eq!(job.get_str("state").unwrap(), "dead");
    (order_id, job.get_str("_id").unwrap().to_owned())
}

#[tokio::test]
async fn a_dead_job_is_looked_at_and_run_again_once() {
    let app = TestApp::start().await;
    let (merchant, admin) = (app.merchant().await, app.admin().await);
    let (order_id, job_id) = dead_job(&app, &merchant, "c-1").await;
    // Whatever is stored is text.
    let hostile = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";
    app.request(
        reqwest::Method::PATCH,
        &format!("/orders/{order_id}/comment"),
        Some(&admin.token),
        Some(&json!({ "comment": hostile })),
    )
    .await
    .expect(200);
    let jobs = app.db().collection::<Document>("jobs");
    let message = doc! { "$set": { "lastError.message": hostile, "lastError.code": hostile } };
    jobs.update_one(doc! { "_id": &job_id }, message).await.unwrap();
    let browser = Browser::of(&app, &admin).await;
    let back = format!("/admin/jobs/{job_id}");
    for page in [back.clone(), format!("/admin/queues/{QUEUE}?state=dead"), "/admin/queues".to_owned()] {
        browser.get(&page).await.expect(200).hides("<script>alert").hides("<img");
    }
    browser
        .get(&format!("/admin/queues/{QUEUE}?errorCode=%3Cscript%3E&state=dead"))
        .await
        .expect(200)
        .hides("<script>\"");
    browser.get(&back).await.shows("&lt;script&gt;alert").shows(&order_id).shows("attempt 1 ended");

    // Two people at once: one does it, the other is told what has become of it, on the page where they are.
    let other = Browser::of(&app, &app.admin().await).await;
    let fields = [("jobId", &*job_id), ("back", &*back)];
    let (one, two) = tokio::join!(browser.act("retry-job", &fields), other.act("retry-job", &fields));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 409], "{} {}", one.text, two.text);
    let refused = if one.status == 409 { one } else { two };
    refused.shows("Only dead jobs can be run again").shows(&job_id).shows("queues.not_dead");
    app.run_jobs().await;
    browser.get(&back).await.shows("state-done");

    // What is no longer there is said where it was tried.
    let delete = [("jobId", &*job_id), ("queue", QUEUE), ("confirmed", "yes"), ("back", &*back)];
    assert_eq!(browser.act("delete-job", &delete).await.to(), format!("/admin/queues/{QUEUE}"));
    browser.act("retry-job", &fields).await.expect(404).shows("There is no such job");
    browser.get(&back).await.expect(404).shows("There is no such job");
    browser.get("/admin/queues/nope").await.expect(404).shows("There is no queue of this name");
    browser.get(&format!("/admin/queues/{QUEUE}?state=asleep")).await.expect(422).shows("state");
    app.finish().await;
}

#[tokio::test]
async fn ten_thousand_dead_jobs_are_paged_counted_and_dealt_with_by_filter() {
    let app = TestApp::start().await;
    let (merchant, admin) = (app.merchant().await, app.admin().await);
    let (_, job_id) = dead_job(&app, &merchant, "c-1").await;
    let jobs = app.db().collection::<Document>("jobs");
    let dead = jobs.find_one(doc! { "_id": &job_id }).await.unwrap().unwrap();
    let copies = (0..10_000).map(|n| {
        let mut copy = dead.clone();
        copy.insert("_id", waybill::platform::ids::new_id("job"));
        copy.insert("payload", doc! { "orderId": format!("ord_{n}") });
        let code = if n % 100 == 0 { "test.rare" } else { "test.frequent" };
        copy.insert("lastError", doc! { "class": "fatal", "code": code, "message": "No." });
        copy
    });
    jobs.insert_many(copies).await.unwrap();
    let browser = Browser::of(&app, &admin).await;
    let path = format!("/admin/queues/{QUEUE}?state=dead");
    browser.get(&path).await.expect(200);
    let mut next = path.clone();
    // Of several, so that what else the machine does is not counted.
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let page = browser.get(&next).await.expect(200);
        fastest = fastest.min(began.elapsed());
        assert_eq!(page.text.matches("/admin/jobs/job_").count(), 50);
        let link = page.text.split("rel=\"next\" href=\"").nth(1).expect("more").split('"').next().unwrap();
        next = link.replace("&amp;", "&").replace("&#x2f;", "/");
    }
    println!("a page of 50 of 10,001 dead jobs took {fastest:?}");
    assert!(fastest < PAGE_TIME_MAX, "a page took {fastest:?}");
    browser.get("/admin/queues").await.expect(200).shows("10\u{202f}001").shows("at most 0 per minute, now 0");

    let rare = [("queue", QUEUE), ("errorCode", "test.rare"), ("back", &*path)];
    browser.act("delete-dead", &rare).await.expect(200).shows("Delete 100 dead jobs of parcelx-orders-queue?");
    assert_eq!(app.all("jobs", doc! { "lastError.code": "test.rare" }).await.len(), 100, "it was only asked");
    let confirmed = [rare.to_vec(), vec![("confirmed", "yes")]].concat();
    assert_eq!(browser.act("delete-dead", &confirmed).await.to(), path);
    browser.get(&path).await.shows("100 jobs are deleted; 0 were not reached");
    assert!(app.all("jobs", doc! { "lastError.code": "test.rare" }).await.is_empty());
    // All of them are deleted where that is what somebody has said, of as many as were there then.
    let whole = format!("/queues/{QUEUE}/delete-dead");
    let refused = app.post(&admin, &whole, &json!({})).await.expect(422);
    assert_eq!(refused.blamed(), ["all:required", "expected:required"]);
    for query in ["all=true", "all=false&expected=9901", "expected=9901"] {
        app.post(&admin, &format!("{whole}?{query}"), &json!({})).await.expect(422);
    }
    for query in ["all=true&expected=9900", "errorCode=test.frequent&expected=1"] {
        let refused = app.post(&admin, &format!("{whole}?{query}"), &json!({})).await.expect(409);
        assert_eq!(refused.code(), "queues.count_changed");
    }
    let all = [("queue", QUEUE), ("all", "true"), ("back", &*path)];
    let asked = browser.act("delete-dead", &all).await.expect(200).shows("Delete 9901 dead jobs");
    assert_eq!(asked.field("expected").as_deref(), Some("9901"));
    let stale = [all.to_vec(), vec![("expected", "9900"), ("confirmed", "yes")]].concat();
    browser.act("delete-dead", &stale).await.expect(409).shows("There are 9901 such jobs now, not 9900");
    assert_eq!(app.all("jobs", doc! { "state": "dead" }).await.len(), 9901, "nothing was deleted");
    let retry = [("queue", QUEUE), ("kind", "nothing-of-this-kind"), ("back", &*path)];
    browser.act("retry-dead", &retry).await.expect(200).shows("Run 0 dead jobs of parcelx-orders-queue again?");
    jobs.delete_many(doc! { "lastError.code": "test.frequent" }).await.unwrap();
    app.finish().await;
}

/// How often the database was asked for boards.
async fn looks(app: &TestApp) -> f64 {
    let text = app.client.get(format!("{}/metrics", app.base)).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with("waybill_queue_board_looks_total "));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn many_open_boards_cost_one_question_a_second() {
    let app = TestApp::start().await;
    let merchant = app.merchant().await;
    app.created(&merchant, "c-1").await;
    let browser = Browser::of(&app, &app.admin().await).await;
    let (before, began) = (looks(&app).await, Instant::now());
    let boards = join_all((0..500).map(|_| browser.follow("/admin/live/queues"))).await;
    for board in &boards {
        assert_eq!(board.status(), 200);
        assert_eq!(board.headers()["content-type"], "text/event-stream");
        assert_eq!(board.headers()["x-accel-buffering"], "no");
        assert_eq!(board.headers()["cache-control"], "no-store, no-transform");
    }
    let told = join_all(boards.into_iter().map(async |mut board| {
        let mut text = String::new();
        while text.matches("event: queues").count() < 3 {
            text.push_str(std::str::from_utf8(&board.chunk().await.unwrap().unwrap()).unwrap());
        }
        text
    }))
    .await;
    let asked = looks(&app).await - before;
    // Where something between holds streams back, a page asks for the news alone.
    let once = browser.get("/admin/live/queues?once=yes").await.expect(200);
    assert!(once.text.contains(&format!("\"name\":\"{QUEUE}\"")), "{}", once.text);
    let seconds = began.elapsed().as_secs_f64();
    assert!((3.0..=seconds + 2.0).contains(&asked), "{asked} questions in {seconds} s for 500 boards");
    for text in told {
        assert!(text.starts_with(": "), "it begins at once, with nothing: {text}");
        assert!(text.contains(&format!("{{\"name\":\"{QUEUE}\",\"ready\":1,")), "{text}");
    }
    app.finish().await;
}
