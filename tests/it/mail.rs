//! Mail: what arrives, what a mail server can do to it, and what is on record. The server is a stand-in that speaks SMTP.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::{app::App, modules::notifications::MAIL_QUEUE, platform::identity::Role};

use crate::{
    support::{
        TestApp, User, eventually,
        mailbox::{Mailbox, SENDER},
        process::Launch,
        test_config, unique,
    },
    tenants::{join, tenant},
};

/// Longer than the pause before a mail is tried again.
const LATER: Duration = Duration::from_secs(31);

/// A merchant whose order the carrier has refused; what follows from that has not happened yet.
async fn refused(app: &TestApp) -> (User, String) {
    let user = app.merchant().await;
    let client_order_id = unique("c");
    app.misbehave_for(&client_order_id, "create", "refuse", Some(1)).await;
    let order_id = app.created(&user, &client_order_id).await;
    // Where several do this at once, whose job it is may be run by another.
    eventually("it has failed", Duration::from_secs(30), async || {
        app.run_jobs().await;
        app.order(&user, &order_id).await["status"] == "failed"
    })
    .await;
    (user, order_id)
}

fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap_or_default()
}

/// The jobs of a user's mails, but for that of a welcome, which comes to nothing: an operator has made the user.
async fn mail_jobs(app: &TestApp, user: &User) -> Vec<Document> {
    app.all("jobs", doc! { "queue": MAIL_QUEUE, "owner": &user.user_id, "payload.handler": { "$ne": "welcome-mail" } })
        .await
}

/// State of the only one, attempts, and the code of its last error.
async fn job(app: &TestApp, user: &User) -> (String, i32, String) {
    let jobs = mail_jobs(app, user).await;
    assert_eq!(jobs.len(), 1);
    let code = jobs[0].get_document("lastError").map(|error| text(error, "code").to_owned());
    (text(&jobs[0], "state").to_owned(), jobs[0].get_i32("attempts").unwrap(), code.unwrap_or_default())
}

/// Outcomes of the conversations about a user's mails, oldest first.
async fn outcomes(app: &TestApp, user: &User) -> Vec<String> {
    let answers = app.all("provider_response_logs", doc! { "userId": &user.user_id, "provider": "smtp" }).await;
    answers.iter().map(|answer| text(answer, "outcome").to_owned()).collect()
}

#[tokio::test]
async fn a_failed_order_and_a_paid_topup_are_told_of_once() {
    let mailbox = Mailbox::open();
    let app = mailbox.app(&[]).await;
    let (user, order_id) = refused(&app).await;
    let topup_id = app.pending(&user, "t-1").await;
    app.tell(&topup_id, "pay", json!({})).await;
    app.relay_and_run().await;

    let order = app.order(&user, &order_id).await;
    let price = app.quote(&user).await;
    let price = format!("{}.{:02} INR", price / 100, price % 100);
    let mails = mailbox.mails_about(&user.email, "order-failed-mail").await;
    assert_eq!(mails.len(), 1, "{mails:?}");
    let mail = &mails[0];
    let client_order_id = order["clientOrderId"].as_str().unwrap();
    assert_eq!(mail["subject"], format!("Order {client_order_id} has failed"));
    assert_eq!((&mail["from"], &mail["headerTo"]), (&json!(SENDER), &json!(format!("Test User <{}>", user.email))));
    assert_eq!(mail["headers"]["Auto-Submitted"], "auto-generated");
    let reason = order["failure"]["message"].as_str().unwrap();
    for said in [&mail["text"], &mail["html"]].map(|said| said.as_str().unwrap().replace("&#x2f;", "/")) {
        for part in ["Hello Test User", client_order_id, &price, reason, "https://waybill.example"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("{{") && !said.contains("https://waybill.example/."), "{said}");
    }
    let paid = mailbox.mails_about(&user.email, "topup-paid-mail").await;
    assert_eq!(paid.iter().map(|mail| &mail["subject"]).collect::<Vec<_>>(), ["500.00 INR are in your wallet"]);

    // On record like a provider's call, without a word of it.
    let filter = doc! { "provider": "smtp", "orderId": &order_id };
    let requests = app.all("provider_request_logs", filter.clone()).await;
    let answers = app.all("provider_response_logs", filter).await;
    assert_eq!((requests.len(), answers.len()), (1, 1));
    let sent = requests[0].get_document("body").unwrap();
    let domain = "@waybill.example";
    assert_eq!(format!("{}{domain}", text(sent, "mailId")), mail["messageId"].as_str().unwrap());
    assert_eq!((text(sent, "letter"), text(sent, "topic")), ("order-failed-mail", "orders"));
    let answer = answers[0].get_document("body").unwrap();
    assert_eq!((text(answer, "step"), answer.get_i64("code").ok()), ("message", Some(250)), "{answer}");
    for stored in [format!("{requests:?}{answers:?}"), format!("{:?}", app.all("mails", doc! {}).await)] {
        for word in [&*user.email, "Test User", "Hello", "secret"] {
            assert!(!stored.contains(word), "{word}: {stored}");
        }
    }

    // Whoever runs the job again sends nothing.
    for job in mail_jobs(&app, &user).await {
        app.update_one("jobs", doc! { "_id": text(&job, "_id") }, doc! { "state": "ready", "turn": &user.user_id })
            .await;
    }
    app.relay_and_run().await;
    assert_eq!(mailbox.books().await["mails"], 2);
    assert_eq!(outcomes(&app, &user).await, ["done", "done"]);
    app.finish().await;
}

/// What a mail server does at a step to one merchant's mail, once or always; and what becomes of it.
struct Case {
    operation: &'static str,
    mode: &'static str,
    times: Option<u32>,
    first: (&'static str, &'static str),
    then: (&'static str, usize),
    outcomes: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        operation: "message",
        mode: "451",
        times: Some(1),
        first: ("ready", "mail.try_later"),
        then: ("done", 1),
        outcomes: &["retryable", "done"],
    },
    Case {
        operation: "rcpt",
        mode: "550",
        times: None,
        first: ("dead", "mail.refused"),
        then: ("dead", 0),
        outcomes: &["fatal"],
    },
    Case {
        operation: "data",
        mode: "hang",
        times: Some(1),
        first: ("ready", "mail.broken_off"),
        then: ("done", 1),
        outcomes: &["retryable", "done"],
    },
    Case {
        operation: "message",
        mode: "hang_after_work",
        times: Some(1),
        first: ("ready", "mail.unknown"),
        then: ("done", 1),
        outcomes: &["unknown", "done"],
    },
    Case {
        operation: "message",
        mode: "drop_after_work",
        times: Some(1),
        first: ("ready", "mail.unknown"),
        then: ("done", 1),
        outcomes: &["unknown", "done"],
    },
    Case {
        operation: "message",
        mode: "drop",
        times: Some(1),
        first: ("ready", "mail.unknown"),
        then: ("done", 1),
        outcomes: &["unknown", "done"],
    },
];

#[tokio::test]
async fn what_a_mail_server_does_decides_whether_a_mail_is_tried_again() {
    let mailbox = Mailbox::open();
    mailbox.deduplicate().await;
    let app = mailbox.app(&["--mail-concurrency=8"]).await;
    let users = join_all(CASES.iter().map(|case| {
        let (app, mailbox) = (&app, &mailbox);
        async move {
            let (user, _) = refused(app).await;
            let rule = json!({
                "operation": case.operation, "mode": case.mode, "times": case.times, "recipient": user.email,
            });
            mailbox.rule(rule).await;
            user
        }
    }))
    .await;
    app.relay_and_run().await;
    for (case, user) in CASES.iter().zip(&users) {
        let (state, attempts, code) = job(&app, user).await;
        assert_eq!((&*state, attempts, &*code), (case.first.0, 1, case.first.1), "{}", case.mode);
    }
    app.app.clock.advance(LATER);
    app.relay_and_run().await;
    for (case, user) in CASES.iter().zip(&users) {
        assert_eq!(job(&app, user).await.0, case.then.0, "{}", case.mode);
        assert_eq!(mailbox.mails_to(&user.email).await.len(), case.then.1, "{} {}", case.operation, case.mode);
        assert_eq!(outcomes(&app, user).await, case.outcomes, "{}", case.mode);
    }
    // Two servers' answers were lost after they had taken the mail: each came twice under one Message-ID.
    assert_eq!(mailbox.books().await["repeated"], 2);
    let refusal = app.all("provider_response_logs", doc! { "outcome": "fatal", "provider": "smtp" }).await;
    let answer = refusal[0].get_document("body").unwrap();
    assert_eq!((text(answer, "step"), answer.get_i64("code").ok()), ("rcpt", Some(550)));
    assert!(!text(answer, "text").contains('@'), "the server repeated the address: {answer}");
    app.finish().await;
}

#[tokio::test]
async fn where_tls_is_required_nothing_is_said_without_it() {
    let mailbox = Mailbox::open();
    let flags = mailbox.flags();
    let insisting = format!("{}/?tls=required", flags[0]);
    let app = TestApp::with(&[&*insisting, &flags[1], &flags[2], &flags[3]]).await;
    let (user, _) = refused(&app).await;
    app.relay_and_run().await;
    assert_eq!(job(&app, &user).await, ("ready".into(), 1, "mail.broken_off".into()));
    assert_eq!(mailbox.books().await["steps"], json!({}), "not even a password");
    let answers = app.all("provider_response_logs", doc! { "provider": "smtp" }).await;
    assert_eq!(text(answers[0].get_document("body").unwrap(), "step"), "starttls");
    app.finish().await;
}

#[tokio::test]
async fn a_worker_that_is_killed_leaves_no_mail_unsent_and_none_doubled() {
    join_all(["request_logged", "answered"].map(sent_despite)).await;
}

async fn sent_despite(point: &str) {
    let mailbox = Mailbox::open();
    mailbox.deduplicate().await;
    let app = mailbox.app(&[]).await;
    let (user, _) = refused(&app).await;
    let flags = mailbox.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Launch::worker(&app, &flags).crash_at(point).spawn().crash().await;
    let was_sent = usize::from(point == "answered");
    assert_eq!(mailbox.mails_to(&user.email).await.len(), was_sent, "{point}");
    let open = app.all("provider_request_logs", doc! { "provider": "smtp" }).await;
    assert_eq!((open.len(), outcomes(&app, &user).await.len()), (1, 0), "{point}: on record before anything is said");
    app.app.clock.advance(LATER);
    app.relay_and_run().await;
    assert_eq!(mailbox.mails_to(&user.email).await.len(), 1, "{point}");
    assert_eq!(outcomes(&app, &user).await, ["unknown", "done"], "{point}");
    assert_eq!(mailbox.books().await["repeated"], was_sent, "{point}");
    app.finish().await;
}

#[tokio::test]
async fn who_is_disabled_gets_no_mail() {
    let mailbox = Mailbox::open();
    let app = mailbox.app(&[]).await;
    let (user, _) = refused(&app).await;
    app.update_one("users", doc! { "_id": &user.user_id }, doc! { "disabledAt": app.app.clock.now() }).await;
    app.relay_and_run().await;
    assert_eq!(job(&app, &user).await, ("done".into(), 1, String::new()));
    assert_eq!((mailbox.books().await["mails"].clone(), outcomes(&app, &user).await.len()), (json!(0), 0));
    app.finish().await;
}

#[tokio::test]
async fn templates_are_replaced_by_files_and_tried_at_the_start() {
    let folder = std::env::temp_dir().join(unique("templates"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("order-failed.txt"), "Subject: Ach, {{ clientOrderId }}\n\n{{ reason }}\n").unwrap();
    let mailbox = Mailbox::open();
    let flag = format!("--mail-templates={}", folder.display());
    let flags = mailbox.flags().into_iter().chain([flag.clone()]).collect::<Vec<_>>();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let built =
        App::build(test_config("mongodb://127.0.0.1:1/none", "redis://127.0.0.1:1", "p", "http://127.0.0.1:1", &flags));
    let complaint = built.await.err().expect("it does not start").to_string();
    assert!(complaint.starts_with(&format!("{}/order-failed.txt:3: ", folder.display())), "{complaint}");

    std::fs::write(folder.join("order-failed.txt"), "Subject: Ach, {{ clientOrderId }}\n\n{{ name }}!\n").unwrap();
    let app = mailbox.app(&[&flag]).await;
    let (user, order_id) = refused(&app).await;
    app.relay_and_run().await;
    let client_order_id = app.order(&user, &order_id).await["clientOrderId"].as_str().unwrap().to_owned();
    let mails = mailbox.mails_to(&user.email).await;
    let said = |field: &str| mails[0][field].as_str().unwrap().to_owned();
    assert_eq!((said("subject"), said("text")), (format!("Ach, {client_order_id}"), "Test User!\r\n".into()));
    assert!(said("html").contains("will not be carried out"), "what is not replaced stays");
    std::fs::remove_dir_all(folder).unwrap();
    app.finish().await;
}

#[tokio::test]
async fn without_a_mail_server_nothing_waits_for_one() {
    let app = TestApp::start().await;
    let ((user, _), admin) = (refused(&app).await, app.admin().await);
    app.relay_and_run().await;
    assert_eq!(mail_jobs(&app, &user).await.len(), 0);
    let link = format!("/users/{}/reset-password?sendLink=true", user.user_id);
    assert_eq!(app.post(&admin, &link, &json!({})).await.expect(409).code(), "users.no_mail");
    app.get(&user, "/auth/me").await.expect(200); // still signed in
    let stats: Value = app.get(&admin, "/events/stats").await.expect(200).body;
    let handlers = stats["handlers"].as_array().unwrap();
    assert!(handlers.iter().all(|handler| !handler["name"].as_str().unwrap().ends_with("-mail")), "{stats}");
    assert_eq!(stats["pending"], 0);
    app.finish().await;
}

/// What `schedule` came to, run now.
async fn run_schedule(app: &TestApp, admin: &User, schedule: &str) -> Value {
    app.request(Method::POST, &format!("/schedules/{schedule}/run"), Some(&admin.token), None).await.expect(202);
    app.relay_and_run().await;
    app.get(admin, &format!("/schedules/{schedule}/runs")).await.expect(200).body["items"][0].clone()
}

#[tokio::test]
async fn yesterdays_reports_come_once_to_those_who_have_asked() {
    const DAY_MS: i64 = 86_400_000;
    let mailbox = Mailbox::open();
    let app = mailbox.app(&[]).await;
    let (reader, other, admin) = (app.merchant().await, app.merchant().await, app.admin().await);
    let tenant_id = tenant(&app, &admin, "ours").await;
    let member = join(&app, &admin, &tenant_id, &app.merchant().await).await;
    let manager = join(&app, &admin, &tenant_id, &app.user(Role::Manager).await).await;
    for user in [&reader, &other, &member] {
        app.created(user, "-1").await;
    }
    let product_id = app.stocked(&reader, "W-1", 7).await;
    app.move_stock(&reader, &product_id, "counted", -3).await.expect(201);
    app.stocked(&reader, "W-2", 5).await;
    let order = app.all("orders", doc! { "userId": &reader.user_id }).await.pop().unwrap();
    let reports = json!({ "reports": true });
    for user in [&reader, &manager] {
        app.request(Method::PUT, "/auth/me/mail", Some(&user.token), Some(&reports)).await.expect(200);
    }
    // Noon of the day after.
    let created_ms = order.get_datetime("createdAt").unwrap().timestamp_millis();
    let noon_ms = (created_ms / DAY_MS + 1) * DAY_MS + DAY_MS / 2;
    app.app.clock.advance(Duration::from_millis((noon_ms - app.app.clock.now_ms()) as u64));
    let run = run_schedule(&app, &admin, "daily-order-report").await;
    assert_eq!((&run["result"]["readers"], &run["result"]["jobs"]), (&json!(2), &json!(2)), "{run}");

    let mails = mailbox.mails_about(&reader.email, "daily-orders-mail").await;
    assert_eq!(mails.len(), 1);
    let file = &mails[0]["attachments"][0];
    assert_eq!(file["name"], format!("orders-{}.csv", run["result"]["day"].as_str().unwrap()));
    let rows: Vec<&str> = file["text"].as_str().unwrap().lines().collect();
    assert_eq!(rows.len(), 2, "the other merchant's is not in it: {rows:?}");
    assert!(rows[0].starts_with("orderNumber,clientOrderId,"), "{rows:?}");
    assert!(rows[1].starts_with(&format!("{},'-1,", text(&order, "orderNumber"))), "no cell is a formula: {rows:?}");
    assert!(mails[0]["headers"]["List-Unsubscribe"].as_str().unwrap().contains("/unsubscribe?token="));
    assert_eq!(mailbox.mails_about(&other.email, "daily-orders-mail").await.len(), 0);

    // A manager has those of the tenant's members.
    let mails = mailbox.mails_about(&manager.email, "daily-orders-mail").await;
    let rows: Vec<&str> = mails[0]["attachments"][0]["text"].as_str().unwrap().lines().collect();
    assert!(rows.len() == 2 && rows[1].ends_with(&member.user_id), "{rows:?}");
    assert!(mails[0]["text"].as_str().unwrap().contains("your tenant's members"), "{}", mails[0]["text"]);

    // Stock at the end of that day, whatever has moved since; who sells nothing gets no mail.
    app.move_stock(&reader, &product_id, "today", 100).await.expect(201);
    let run = run_schedule(&app, &admin, "daily-stock-report").await;
    let mails = mailbox.mails_about(&reader.email, "daily-stock-mail").await;
    assert_eq!(mails.len(), 1, "{run}");
    assert!(mails[0]["subject"].as_str().unwrap().ends_with(": 1 low"), "{}", mails[0]["subject"]);
    let name = "Rolex Submariner Date";
    assert_eq!(
        mails[0]["attachments"][0]["text"].as_str().unwrap().lines().collect::<Vec<_>>(),
        [
            "sku,name,status,stock,lowStockAt,low,received,sold,returned,corrected",
            &format!("W-2,{name},active,5,5,no,5,0,0,0"),
            &format!("W-1,{name},active,4,5,yes,7,0,0,-3"),
        ]
    );
    assert_eq!(mailbox.mails_about(&manager.email, "daily-stock-mail").await.len(), 0);

    // Run again it makes jobs, which send nothing.
    let again = run_schedule(&app, &admin, "daily-order-report").await;
    assert_eq!(again["result"]["jobs"], 2);
    assert_eq!(mailbox.mails_about(&reader.email, "daily-orders-mail").await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_difference_is_told_to_who_runs_the_service() {
    let mailbox = Mailbox::open();
    let operator = format!("{}@example.com", unique("ops"));
    let app = mailbox.app(&[&format!("--alert-mail-to=Night watch <{operator}>")]).await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    app.update_one("wallets", doc! { "userId": &user.user_id }, doc! { "available": 1_i64 }).await;
    app.beat(&[]).await;
    let run = run_schedule(&app, &admin, "ledger-check").await;
    for told in [1, 0] {
        assert_eq!(app.app.check_alerts().await.unwrap(), told);
        app.relay_and_run().await;
    }
    let mails = mailbox.mails_about(&operator, "alert-mail").await;
    assert_eq!(mails.len(), 1, "{run}");
    let expected = (json!("Waybill: alert books-differ, ledger-check"), json!(format!("Night watch <{operator}>")));
    assert_eq!((&mails[0]["subject"], &mails[0]["headerTo"]), (&expected.0, &expected.1));
    assert!(mails[0]["text"].as_str().unwrap().contains("The books differ in 2 place(s)"));
    // Once the books agree again it is over, and that is told too.
    app.update_one("schedule_runs", doc! { "schedule": "ledger-check" }, doc! { "alert": null }).await;
    for told in [0, 1] {
        assert_eq!(app.app.check_alerts().await.unwrap(), told);
        app.relay_and_run().await;
        app.app.clock.advance(std::time::Duration::from_secs(301));
    }
    let mails = mailbox.mails_about(&operator, "alert-mail").await;
    let subjects: Vec<_> = mails.iter().map(|mail| mail["subject"].as_str().unwrap()).collect();
    assert!(subjects.contains(&"Waybill: resolved books-differ, ledger-check"), "{subjects:?}");
    app.finish_unchecked().await;
}
