//! The console's orders, search, logs and proofs.

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{Browser, TestApp, User, seals::seal_all};

/// Look-ups are given up after a day: hours between them keep that short.
const HOURS: &[&str] = &["--backoff-base-ms=21600000", "--backoff-max-ms=21600000"];

/// An order whose provider never answers clearly; nobody knows whether it has it.
async fn stuck(app: &TestApp, merchant: &User, name: &str, mode: &str) -> String {
    app.misbehave_for(name, "create", mode, Some(1)).await;
    app.carrier.misbehave_always("track", "500").await;
    let order_id = app.created(merchant, name).await;
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(merchant, &order_id).await["status"], "needs_attention");
    order_id
}

#[tokio::test]
async fn an_order_that_needs_attention_is_decided_with_a_reason() {
    let app = TestApp::with(HOURS).await;
    let (merchant, admin, auditor) = (app.merchant().await, app.admin().await, app.user(Role::Auditor).await);
    let before = app.balance(&merchant).await;
    let order_id = stuck(&app, &merchant, "c-1", "500").await;
    assert_ne!(app.balance(&merchant).await, before, "what it costs is held");

    let reader = Browser::of(&app, &auditor).await;
    reader.get("/admin/attention").await.expect(200).shows(&order_id);
    reader.act("mark-failed", &[("orderId", &*order_id), ("reason", "x"), ("confirmed", "yes")]).await.expect(403);

    let browser = Browser::of(&app, &admin).await;
    let page = browser.get("/admin/attention").await.expect(200).shows(&order_id).shows("Mark failed and release");
    assert!(page.text.contains("c-1"));
    let back = format!("/admin/orders/{order_id}");
    let fields = [("orderId", &*order_id), ("back", &*back)];
    browser.act("mark-failed", &fields).await.expect(200).shows("name=\"reason\"").shows("came to nothing?");
    let empty = [fields.to_vec(), vec![("confirmed", "yes"), ("reason", "x")]].concat();
    browser.act("mark-failed", &empty).await.expect(422).shows("reason").shows("Yes, do it");
    let whole = [fields.to_vec(), vec![("confirmed", "yes"), ("reason", "No record, by <b>telephone</b>.")]].concat();
    // Where the books don't allow it, it is refused and can be tried again.
    let holds = app.db().collection::<bson::Document>("holds");
    let hold = holds.find_one_and_delete(doc! { "referenceId": &order_id }).await.unwrap().expect("a hold");
    browser.act("mark-failed", &whole).await.expect(409).shows("orders.not_settled").shows("nothing was changed");
    assert_eq!(app.order(&merchant, &order_id).await["status"], "needs_attention");
    holds.insert_one(hold).await.unwrap();
    assert_eq!(browser.act("mark-failed", &whole).await.to(), back);
    let page = browser.get(&back).await.expect(200).shows("what it cost went back").shows("order.marked_failed");
    page.shows("&lt;b&gt;telephone").shows("freight_release").hides("<b>telephone");
    let order = app.order(&merchant, &order_id).await;
    assert_eq!((&order["status"], &order["failure"]["code"]), (&json!("failed"), &json!("orders.marked_failed")));
    assert_eq!(app.balance(&merchant).await, before);

    // It is decided: a second time the page stays and says so.
    browser.act("mark-failed", &whole).await.expect(409).shows("Only an order that needs attention").shows(&order_id);
    let events = app.get(&auditor, &format!("/audit/events?resourceId={order_id}")).await.expect(200).body;
    let acts: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| event["action"].clone()).collect();
    assert_eq!(acts.iter().filter(|act| **act == "order.marked_failed").count(), 1, "{acts:?}");

    // Another one is found to be at the provider after all.
    let other = stuck(&app, &merchant, "c-2", "500_after_work").await;
    app.carrier.behave().await;
    // A day of look-ups has gone by, and with it the session.
    let browser = Browser::of(&app, &admin).await;
    let retry = [("orderId", &*other), ("confirmed", "yes"), ("reason", "It is back."), ("back", "/admin/attention")];
    assert_eq!(browser.act("retry-order", &retry).await.to(), "/admin/attention");
    browser.get("/admin/attention").await.shows("is tried again by job_").hides("c-2</dd>");
    app.run_jobs_to_the_end().await;
    assert_eq!(app.order(&merchant, &other).await["status"], "confirmed");
    let browser = Browser::of(&app, &admin).await;
    browser.act("retry-order", &retry).await.expect(409).shows("Only dead jobs");
    app.finish().await;
}

/// Kinds and ids that a search gives.
fn hits(found: &Value) -> Vec<String> {
    let text = |hit: &Value, field: &str| hit[field].as_str().unwrap().to_owned();
    found["items"].as_array().unwrap().iter().map(|hit| format!("{} {}", text(hit, "kind"), text(hit, "id"))).collect()
}

#[tokio::test]
async fn whatever_has_the_name_is_found_by_who_may_see_it() {
    let app = TestApp::start().await;
    let (merchant, stranger, admin) = (app.merchant().await, app.merchant().await, app.admin().await);
    let (auditor, customer) = (app.user(Role::Auditor).await, app.user(Role::Customer).await);
    let order_id = app.confirmed(&merchant, "c-1").await;
    let order = app.order(&merchant, &order_id).await;
    let job_id = app.create_job(&order_id).await.get_str("_id").unwrap().to_owned();
    let text = |field: &str| order[field].as_str().unwrap().to_owned();
    let request_id = text("providerRequestRefId");
    let transaction = app.all("ledger_transactions", doc! { "referenceId": &order_id }).await;
    let transaction = transaction[0].get_str("_id").unwrap().to_owned();
    let own = vec![format!("order {order_id}")];
    for (name, of_admin, of_auditor, of_merchant) in [
        (order_id.clone(), own.clone(), own.clone(), own.clone()),
        (text("orderNumber"), own.clone(), own.clone(), own.clone()),
        (text("orderNumber").to_lowercase(), own.clone(), own.clone(), own.clone()),
        ("c-1".to_owned(), own.clone(), own.clone(), own.clone()),
        (text("reference"), own.clone(), own.clone(), own.clone()),
        (job_id.clone(), vec![format!("job {job_id}")], vec![], vec![]),
        (
            request_id.clone(),
            vec![format!("provider request {request_id}")],
            vec![format!("provider request {request_id}")],
            vec![],
        ),
        (
            transaction.clone(),
            vec![],
            vec![format!("transaction {transaction}")],
            vec![format!("transaction {transaction}")],
        ),
        (merchant.user_id.clone(), vec![format!("user {}", merchant.user_id)], vec![], vec![]),
        (merchant.email.to_uppercase(), vec![format!("user {}", merchant.user_id)], vec![], vec![]),
        ("nothing".to_owned(), vec![], vec![], vec![]),
    ] {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("q", &name).finish();
        for (user, expected) in [
            (&admin, &of_admin),
            (&auditor, &of_auditor),
            (&merchant, &of_merchant),
            (&stranger, &vec![]),
            (&customer, &vec![]),
        ] {
            let found = app.get(user, &format!("/search?{query}")).await.expect(200).body;
            assert_eq!(hits(&found), *expected, "{name} by {}", user.email);
        }
    }
    assert_eq!(app.get(&admin, "/search?q=ab").await.expect(422).blamed(), ["q:length"]);
    let browser = Browser::of(&app, &admin).await;
    browser.get("/admin/search?q=c-1").await.expect(200).shows(&format!("/admin/orders/{order_id}"));
    browser.get("/admin/search?q=%3Cscript%3E").await.expect(200).shows("Nothing has this id").hides("<script>\"");
    browser.get("/admin/search?q=a").await.expect(200).shows("role=\"alert\"");
    browser.get("/admin/search").await.expect(200).shows("Any id, number or e-mail address");
    app.finish().await;
}

#[tokio::test]
async fn pages_of_records_show_calls_side_by_side_and_check_their_proofs() {
    let app = TestApp::start().await;
    let (merchant, admin) = (app.merchant().await, app.admin().await);
    let order_id = app.confirmed(&merchant, "c-1").await;
    let order = app.order(&merchant, &order_id).await;
    let request_id = order["providerRequestRefId"].as_str().unwrap().to_owned();
    // Whatever a provider says is text, and every number is what it was.
    let logs = app.db().collection::<bson::Document>("provider_response_logs");
    let hostile =
        doc! { "$set": { "body": { "said": "</pre><script>alert(1)</script>", "big": 9_007_199_254_740_993_i64 } } };
    logs.update_one(doc! { "requestRefId": &request_id }, hostile).await.unwrap();
    let browser = Browser::of(&app, &admin).await;
    for page in [
        "/admin/orders".to_owned(),
        "/admin/orders?status=confirmed&provider=parcelx".to_owned(),
        format!("/admin/orders/{order_id}"),
        "/admin/logs".to_owned(),
        format!("/admin/logs?orderId={order_id}&outcome=done"),
        format!("/admin/logs/{request_id}"),
        format!("/admin/audit?userId={}", merchant.user_id),
    ] {
        let shown = browser.get(&page).await.expect(200).hides("<script>alert");
        assert!(shown.text.contains(&order_id), "{page}");
    }
    browser.get(&format!("/admin/logs/{request_id}")).await.shows("9007199254740993").shows("aria-label=\"Response\"");
    browser.get("/admin/logs/req_nothing").await.expect(404).shows("There is no such");
    browser.get("/admin/orders/ord_nothing").await.expect(404).shows("There is no such order");
    browser.get("/admin/logs?httpStatus=abc").await.expect(422).shows("httpStatus");

    seal_all(&app).await;
    browser.get(&format!("/admin/audit/{request_id}")).await.expect(200).shows("It is what was sealed");
    let answer = logs.find_one(doc! { "requestRefId": &request_id }).await.unwrap().unwrap();
    let answer_id = answer.get_str("_id").unwrap().to_owned();
    browser.get(&format!("/admin/audit/{answer_id}")).await.expect(200).shows("It is what was sealed");
    logs.update_one(doc! { "_id": &answer_id }, doc! { "$set": { "httpStatus": 418 } }).await.unwrap();
    browser.get(&format!("/admin/audit/{answer_id}")).await.shows("is not the one that was sealed");
    browser.get("/admin/seals").await.expect(200).shows("Check them now");
    browser.get("/admin/seals/check").await.expect(200).shows("record_changed");
    let export = browser.get(&format!("/admin/file/audit-export?orderId={order_id}&format=ndjson")).await.expect(200);
    assert!(export.text.contains(&order_id) && export.headers["content-type"] == "application/x-ndjson");

    for window in ["", "?window=day", "?window=month"] {
        let page = browser.get(&format!("/admin{window}")).await.expect(200).shows("Orders that need a person");
        page.shows("parcelx").shows("<polyline").shows("100.0 %");
    }
    browser.get("/admin?window=year").await.expect(422);
    browser.get("/admin/providers").await.expect(200).shows("parcelx&#x2f;default").shows("state-closed");
    browser.get("/admin/providers/parcelx%2Fdefault").await.expect(200).shows("create_order");
    let nobody = app.user(Role::Merchant).await;
    app.request(Method::GET, "/overview", Some(&nobody.token), None).await.expect(403);
    app.finish_unchecked().await;
}
