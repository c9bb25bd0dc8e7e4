//! Accounts at providers: who may do what with them, and that nobody ever reads their credentials.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use waybill::platform::identity::Role;

use crate::support::{
    Answer, Browser, TestApp, User,
    process::Launch,
    seals::seal_all,
    secrets::{Search, Secret},
};

const ENVIRONMENT: &str = "/provider-accounts/parcelx%2Fdefault";

fn account(username: &str, password: &str) -> Value {
    json!({ "provider": "parcelx", "label": "One", "credentials": { "accessKey": username, "secretKey": password } })
}

impl TestApp {
    async fn write(&self, method: Method, user: &User, path: &str, body: Option<&Value>) -> Answer {
        self.request(method, path, Some(&user.token), body).await
    }

    /// A new account; gives its id.
    async fn new_account(&self, admin: &User, body: &Value) -> String {
        let added = self.post(admin, "/provider-accounts", body).await.expect(201).body;
        added["accountId"].as_str().unwrap().to_owned()
    }

    async fn listed(&self, user: &User, query: &str) -> Vec<String> {
        let page = self.get(user, &format!("/provider-accounts?{query}")).await.expect(200).body;
        let items = page["items"].as_array().unwrap();
        items.iter().map(|account| account["accountId"].as_str().unwrap().to_owned()).collect()
    }

    /// What is on record of an account: action and what was changed.
    async fn recorded(&self, account_id: &str) -> Vec<String> {
        let events = self.all("audit_events", doc! { "resourceId": account_id }).await;
        let told = |event: &Document| {
            let changed = event.get_document("after").unwrap().get_array("changed").cloned().unwrap_or_default();
            let changed: Vec<_> = changed.iter().map(|name| name.as_str().unwrap()).collect();
            format!("{} {}", event.get_str("action").unwrap(), changed.join(",")).trim().to_owned()
        };
        events.iter().map(told).collect()
    }

    /// The user name and the password that calls are made with.
    async fn at_hand(&self, account_id: &str) -> Option<(i64, String, String)> {
        let at_hand = self.app.accounts.secrets(account_id).await.unwrap()?;
        let secret = |field: &str| at_hand.get(field).unwrap().to_owned();
        Some((at_hand.version(), secret("accessKey"), secret("secretKey")))
    }
}

#[tokio::test]
async fn accounts_are_added_changed_and_taken_out_of_use_on_record() {
    let app = TestApp::start().await;
    let (admin, auditor, merchant) = (app.admin().await, app.user(Role::Auditor).await, app.merchant().await);
    let mut body = account("user-one", "pass-one");
    body["comment"] = json!("first line\nsecond line");
    body["ownerUserId"] = json!(merchant.user_id);
    body["limits"] = json!({ "concurrency": 2, "ratePerSecond": 10 });
    let added = app.post(&admin, "/provider-accounts", &body).await.expect(201).body;
    let id = added["accountId"].as_str().unwrap().to_owned();
    let path = format!("/provider-accounts/{id}");
    let expected = json!({
        "accountId": id, "provider": "parcelx", "label": "One", "status": "active", "breaker": "closed",
        "limits": { "concurrency": 2, "ratePerSecond": 10, "openOrders": null }, "comment": "first line\nsecond line",
        "ownerUserId": merchant.user_id, "credentialsVersion": 1, "lastUsedAt": null,
        "createdAt": added["createdAt"], "updatedAt": added["createdAt"],
    });
    assert_eq!(added, expected);
    assert_eq!(app.get(&auditor, &path).await.expect(200).body, expected);

    let change = json!({ "label": "Two", "comment": null, "limits": { "concurrency": null, "openOrders": 7 } });
    let changed = app.write(Method::PUT, &admin, &path, Some(&change)).await.expect(200).body;
    assert_eq!(
        (&changed["label"], &changed["comment"], &changed["status"]),
        (&json!("Two"), &json!(null), &json!("active"))
    );
    assert_eq!(changed["limits"], json!({ "concurrency": null, "ratePerSecond": 10, "openOrders": 7 }));
    app.write(Method::PUT, &admin, &path, Some(&change)).await.expect(200);

    for _ in 0..2 {
        app.write(Method::DELETE, &admin, &path, None).await.expect(204);
    }
    assert_eq!(app.get(&admin, &path).await.expect(200).body["status"], "inactive");
    assert_eq!(app.listed(&auditor, "status=active&provider=parcelx").await, ["parcelx/default"]);
    let active = app.post(&admin, &format!("{path}/activate"), &json!({})).await.expect(200).body;
    assert_eq!(active["status"], "active");
    let actions = [
        "provider_account.created",
        "provider_account.changed label,comment,limits.concurrency,limits.openOrders",
        "provider_account.deactivated status",
        "provider_account.activated status",
    ];
    assert_eq!(app.recorded(&id).await, actions, "each change once");
    let about = format!("/audit/events?userId={}&action=provider_account.created", merchant.user_id);
    let seen = app.get(&auditor, &about).await.expect(200).body;
    assert_eq!(seen["items"][0]["actor"]["id"], json!(admin.user_id), "{seen}");

    for (method, path) in [
        (Method::GET, "/provider-accounts/acc_1"),
        (Method::PUT, "/provider-accounts/acc_1"),
        (Method::DELETE, "/provider-accounts/nobody%2Fdefault"),
        (Method::POST, "/provider-accounts/acc_1/activate"),
    ] {
        let body = (method == Method::PUT).then(|| json!({}));
        let answer = app.write(method, &admin, path, body.as_ref()).await.expect(404);
        assert_eq!(answer.code(), "provider_accounts.not_found", "{path}");
    }
    // What nobody has set is as the provider has it for all its accounts.
    let other = json!({ "provider": "xapi", "label": "ERP", "credentials": { "username": "u", "password": "p" },
        "limits": { "ratePerSecond": 2 } });
    let other = app.post(&admin, "/provider-accounts", &other).await.expect(201).body;
    assert_eq!(other["limits"], json!({ "concurrency": 5, "ratePerSecond": 2, "openOrders": null }));
    let unusable = json!({ "provider": "xapi", "label": "ERP", "credentials": { "username": "a:b", "password": "p" } });
    let refused = app.post(&admin, "/provider-accounts", &unusable).await.expect(422);
    assert_eq!(refused.blamed(), ["credentials.username:unusable"], "a colon ends the name in HTTP Basic");
    for owner in [&admin.user_id, "usr_00000000000000000000000000000000"] {
        body["ownerUserId"] = json!(owner);
        let refused = app.post(&admin, "/provider-accounts", &body).await.expect(422);
        assert_eq!(refused.blamed(), ["ownerUserId:provider_accounts.no_such_merchant"]);
    }
    app.finish().await;
}

#[tokio::test]
async fn accounts_are_listed_page_by_page_and_the_environments_with_them() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let mut all = vec!["parcelx/default".to_owned()];
    for _ in 0..3 {
        all.insert(1, app.new_account(&admin, &account("user", "password")).await);
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page =
            app.get(&admin, &format!("/provider-accounts?provider=parcelx&limit=1{cursor}")).await.expect(200).body;
        seen.push(page["items"][0]["accountId"].as_str().unwrap().to_owned());
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, all);
    app.write(Method::DELETE, &admin, &format!("/provider-accounts/{}", all[1]), None).await.expect(204);
    for (query, expected) in [
        ("provider=parcelx", vec![&all[0], &all[1], &all[2], &all[3]]),
        ("status=inactive", vec![&all[1]]),
        ("provider=parcelx&status=active", vec![&all[0], &all[2], &all[3]]),
    ] {
        assert_eq!(app.listed(&admin, query).await.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for query in ["limit=0", "cursor=x", "status=gone", "provider=paygate", "ownerUserId=usr_1"] {
        app.get(&admin, &format!("/provider-accounts?{query}")).await.expect(422);
    }

    // Its credentials are where they are; all else of it can be changed.
    let environment = app.get(&admin, ENVIRONMENT).await.expect(200).body;
    assert_eq!((&environment["status"], &environment["credentialsVersion"]), (&json!("active"), &json!(0)));
    let credentials = json!({ "credentials": { "accessKey": "another", "secretKey": "one" } });
    let refused = app.write(Method::PUT, &admin, ENVIRONMENT, Some(&credentials)).await.expect(409);
    assert_eq!(refused.code(), "provider_accounts.from_environment");
    let label = json!({ "label": "The first" });
    app.write(Method::PUT, &admin, "/provider-accounts/parcelx/default", Some(&label)).await.expect(200);
    app.write(Method::DELETE, &admin, "/provider-accounts/parcelx/default", None).await.expect(204);
    let other = app.beside(&[]).await;
    let status = async |app: &TestApp| {
        let facts = app.app.accounts.facts().await.unwrap();
        facts.iter().find(|facts| facts.account_id == all[0]).map(|facts| facts.active)
    };
    let first = other.app.accounts.of_environment();
    assert!(
        first.iter().any(|facts| facts.account_id == all[0] && facts.active),
        "until the database says something else"
    );
    assert_eq!(status(&other).await, Some(false));
    assert_eq!(other.get(&admin, ENVIRONMENT).await.expect(200).body["label"], "The first");
    app.post(&admin, "/provider-accounts/parcelx/default/activate", &json!({})).await.expect(200);
    assert_eq!(app.at_hand("nobody/default").await, None, "nobody has set it here");
    app.finish().await;
}

#[tokio::test]
async fn other_credentials_are_used_at_once_everywhere_and_close_the_breaker() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let id = app.new_account(&admin, &account("user-one", "pass-one")).await;
    let path = format!("/provider-accounts/{id}");
    let other = app.beside(&[]).await;
    assert_eq!(other.at_hand(&id).await, Some((1, "user-one".into(), "pass-one".into())));
    let refused = |reason: &str| doc! { "state": "open", "epoch": 3_i64, "reason": reason, "failures": [], "tries": 1 };
    let states = app.db().collection::<Document>("provider_account_states");
    states
        .insert_one(doc! { "_id": &id, "breaker": refused("credentials"), "lastUsedAt": bson::DateTime::now() })
        .await
        .unwrap();
    assert_eq!(app.get(&admin, &path).await.expect(200).body["breaker"], "open");
    let words = json!({ "label": "Not the point" });
    assert_eq!(app.write(Method::PUT, &admin, &path, Some(&words)).await.expect(200).body["breaker"], "open");

    let credentials = json!({ "credentials": { "accessKey": "user-two", "secretKey": " pass:two\u{20ac}" } });
    let changed = app.write(Method::PUT, &admin, &path, Some(&credentials)).await.expect(200).body;
    assert_eq!((&changed["credentialsVersion"], &changed["breaker"]), (&json!(2), &json!("closed")));
    assert!(changed["lastUsedAt"].is_string());
    assert_eq!(other.at_hand(&id).await, Some((2, "user-two".into(), " pass:two\u{20ac}".into())));
    // The same again is another version: whoever sends it wants it to be tried.
    let again = app.write(Method::PUT, &admin, &path, Some(&credentials)).await.expect(200).body;
    assert_eq!(again["credentialsVersion"], 3);
    app.update_one("provider_account_states", doc! { "_id": &id }, doc! { "breaker": refused("credentials") }).await;
    let active = app.post(&admin, &format!("{path}/activate"), &json!({})).await.expect(200).body;
    assert_eq!(active["breaker"], "closed");

    for (credentials, blamed) in [
        (json!({ "accessKey": "user-three" }), "credentials.secretKey:required"),
        (json!({ "accessKey": "u", "secretKey": "p", "pin": "1" }), "credentials.pin:unknown"),
        (json!({ "accessKey": "u", "secretKey": "a\nb" }), "credentials.secretKey:characters"),
        (json!({ "accessKey": "u", "secretKey": "" }), "credentials.secretKey:length"),
    ] {
        let body = json!({ "credentials": credentials });
        assert_eq!(app.write(Method::PUT, &admin, &path, Some(&body)).await.expect(422).blamed(), [blamed]);
    }
    assert_eq!(other.at_hand(&id).await.unwrap().0, 3);

    // What was given up by its owner it may still finish with.
    app.write(Method::DELETE, &admin, &path, None).await.expect(204);
    assert_eq!(other.at_hand(&id).await.unwrap().1, "user-two");
    app.finish().await;
}

/// All that the database's log has of this database since a moment.
async fn oplog(app: &TestApp, since: bson::Timestamp) -> Vec<Document> {
    let log = app.db().client().database("local").collection::<Document>("oplog.rs");
    let found: Vec<Document> = log.find(doc! { "ts": { "$gte": since } }).await.unwrap().try_collect().await.unwrap();
    let name = app.db().name();
    found.into_iter().filter(|entry| entry.to_string().contains(name)).collect()
}

#[tokio::test]
async fn credentials_are_nowhere_in_clear_neither_in_the_oplog_nor_in_exports() {
    let app = TestApp::start().await;
    let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
    let log = app.db().client().database("local").collection::<Document>("oplog.rs");
    let last = log.find_one(doc! {}).sort(doc! { "$natural": -1 }).await.unwrap().unwrap();
    let secrets: Vec<_> = ["user", "pass", "other-user", "other-pass", "refused-user", "refused-pass"]
        .map(|name| Secret { kind: name, value: format!("{name}-of-nobody-4711") })
        .into();
    let search = Search::of(&secrets);
    let value = |at: usize| secrets[at].value.as_str();
    let id = app.new_account(&admin, &account(value(0), value(1))).await;
    let path = format!("/provider-accounts/{id}");
    let change = json!({ "credentials": { "accessKey": value(2), "secretKey": value(3) } });
    let answers = [
        app.write(Method::PUT, &admin, &path, Some(&change)).await.expect(200),
        app.post(
            &admin,
            "/provider-accounts",
            &json!({ "provider": "parcelx", "credentials": { value(4): value(5) } }),
        )
        .await
        .expect(422),
        app.write(Method::PUT, &admin, &path, Some(&json!({ "credentials": [value(4), value(5)] }))).await.expect(422),
        app.get(&admin, "/provider-accounts").await.expect(200),
        app.get(&auditor, &path).await.expect(200),
    ];
    for answer in answers {
        // The name of a field that nothing here has is repeated to who sent it, and to nobody else.
        let text = answer.text.replace(value(4), "");
        search.expect_clean("an answer", text.as_bytes());
    }
    assert_eq!(seal_all(&app).await.seals, 1);
    for export in ["/audit/export", "/audit/export?format=csv&scope=audit_events", "/audit/events"] {
        let answer = app.get(&auditor, export).await;
        search.expect_clean(export, answer.text.as_bytes());
    }
    assert!(app.get(&auditor, "/audit/export").await.expect(200).text.contains("provider_account.changed"));
    assert!(app.expect_clean_database(&search, &[]).await > 5);
    let entries = oplog(&app, last.get_timestamp("ts").unwrap()).await;
    assert!(entries.iter().any(|entry| entry.to_string().contains(&id)), "the account is in it");
    for entry in &entries {
        search.expect_clean("the oplog", &bson::serialize_to_vec(entry).unwrap());
    }

    // Moved to another account they can't be opened.
    let other = app.new_account(&admin, &account("another", "account")).await;
    let moved = app.all("provider_accounts", doc! { "_id": &id }).await.remove(0);
    let moved = doc! { "credentials": moved.get_document("credentials").unwrap() };
    app.update_one("provider_accounts", doc! { "_id": &other }, moved).await;
    assert_eq!((app.at_hand(&other).await, app.at_hand(&id).await.is_some()), (None, true));
    app.finish().await;
}

#[tokio::test]
async fn a_change_of_the_sealing_key_wraps_credentials_again() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let id = app.new_account(&admin, &account("user-one", "pass-one")).await;
    app.get(&admin, ENVIRONMENT).await.expect(200);
    let (old, new) = ("0".repeat(64), "1".repeat(64));
    let alone = app.beside(&[&*format!("--sealing-key={new}")]).await;
    assert_eq!(alone.at_hand(&id).await, None);
    let program = Command::new(env!("CARGO_BIN_EXE_waybill"))
        .args(["keys", "rotate"])
        .env("MONGODB_URI", &app.mongodb_uri)
        .env("SEALING_KEY", &new)
        .env("SEALING_KEY_PREVIOUS", &old)
        .output()
        .await
        .unwrap();
    let out = String::from_utf8_lossy(&program.stdout).into_owned();
    assert!(program.status.success() && out.starts_with("1 value(s) wrapped"), "{out}");
    assert_eq!(alone.at_hand(&id).await, Some((1, "user-one".into(), "pass-one".into())));
    app.finish().await;
}

#[tokio::test]
async fn a_test_call_shows_whether_an_account_works_and_is_on_record() {
    let app = TestApp::start().await;
    let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
    let test = async |account: &str| app.post(&admin, &format!("/provider-accounts/{account}/test"), &json!({})).await;
    app.request(Method::POST, &format!("{ENVIRONMENT}/test"), Some(&auditor.token), None).await.expect(403);
    assert_eq!(test("acc_1").await.expect(404).code(), "provider_accounts.not_found");
    // Its breaker is open: whether the provider is back is what is to be found out.
    let states = app.db().collection::<Document>("provider_account_states");
    let open = doc! { "$set": { "breaker": { "state": "open", "reason": "credentials" } } };
    states.update_one(doc! { "_id": "parcelx/default" }, open).upsert(true).await.unwrap();
    for account in ["parcelx/default", "xapi/default", "rosreestr/default"] {
        let tested = test(account).await.expect(200).body;
        assert_eq!(
            (&tested["works"], &tested["outcome"], &tested["errorClass"]),
            (&json!(true), &json!("absent"), &json!(null)),
            "{tested}"
        );
        let request = tested["requestRefId"].as_str().unwrap();
        let call = app.get(&auditor, &format!("/audit/provider-requests/{request}")).await.expect(200).body;
        assert_eq!(
            (&call["accountId"], &call["operation"], &call["responses"][0]["outcome"]),
            (&json!(account), &json!("look_up_order"), &json!("absent"))
        );
        let events = app.get(&auditor, &format!("/audit/events?resourceId={}", account.replace('/', "%2F"))).await;
        let event = &events.expect(200).body["items"][0];
        assert_eq!(
            (&event["action"], &event["actor"]["id"], &event["after"]["requestRefId"]),
            (&json!("provider_account.tested"), &json!(admin.user_id), &json!(request))
        );
    }
    let state = states.find_one(doc! { "_id": "parcelx/default" }).await.unwrap().unwrap();
    assert_eq!(state.get_document("breaker").unwrap().get_str("state").unwrap(), "open", "a test closes no breaker");

    // Too soon is said before a place and a time to send are taken.
    let before = states.find_one(doc! { "_id": "xapi/default" }).await.unwrap();
    test("xapi/default").await.expect(429);
    assert_eq!(states.find_one(doc! { "_id": "xapi/default" }).await.unwrap(), before);
    let soon = test("parcelx/default").await.expect(429);
    assert_eq!(soon.code(), "provider_accounts.tested_lately");
    assert!(soon.headers.contains_key("retry-after"));
    // Two at once make one call.
    app.app.clock.advance(std::time::Duration::from_secs(11));
    app.carrier.misbehave_always("track", "401").await;
    let (one, two) = tokio::join!(test("parcelx/default"), test("parcelx/default"));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429]);
    let tested = if one.status == 200 { one.body } else { two.body };
    assert_eq!(
        (&tested["works"], &tested["errorClass"], &tested["errorCode"], &tested["httpStatus"]),
        (&json!(false), &json!("fatal"), &json!("provider.unauthorized"), &json!(401)),
        "{tested}"
    );
    for (mode, class) in [("500", "retryable"), ("html", "retryable")] {
        app.app.clock.advance(std::time::Duration::from_secs(11));
        app.carrier.behave().await;
        app.carrier.misbehave_always("track", mode).await;
        let tested = test("parcelx/default").await.expect(200).body;
        assert_eq!((&tested["works"], &tested["errorClass"]), (&json!(false), &json!(class)), "{mode}: {tested}");
    }
    app.carrier.behave().await;

    // On its page: how it went, how long it took, and where the call is.
    app.app.clock.advance(std::time::Duration::from_secs(11));
    let browser = Browser::of(&app, &admin).await;
    browser.get("/admin/providers/parcelx%2Fdefault").await.expect(200).shows("Test it");
    let fields = [("accountId", "parcelx/default"), ("back", "/admin/providers/parcelx%2Fdefault")];
    let page = browser.act("test-account", &fields).await.expect(200).shows("It works.").shows("/admin/logs/req_");
    page.shows(" ms</dd>").shows("absent");
    browser.act("test-account", &fields).await.expect(429).shows("was tested a moment ago");
    Browser::of(&app, &auditor).await.get("/admin/providers/parcelx%2Fdefault").await.expect(200).hides("Test it");

    // A job looks after each, so that a call whose process died gets its answer on record: here all have one.
    let answers = app.all("provider_response_logs", doc! {}).await.len();
    app.run_jobs_to_the_end().await;
    assert_eq!(app.all("provider_response_logs", doc! {}).await.len(), answers);
    let jobs = app.all("jobs", doc! { "kind": "close-account-test" }).await;
    assert_eq!((jobs.len(), answers), (answers, app.all("provider_request_logs", doc! {}).await.len()));
    assert!(jobs.iter().all(|job| job.get_str("state").unwrap() == "done"), "{jobs:?}");
    app.finish().await;
}

#[tokio::test]
async fn a_killed_test_call_ends_on_record_and_is_not_in_the_way() {
    let app = TestApp::start().await;
    let (admin, auditor) = (app.admin().await, app.user(Role::Auditor).await);
    app.carrier.misbehave_always("track", "hang").await;
    let mut doomed = Launch::api(&app, &[]).crash_at("looking_up").start().await;
    let test = format!("{}{ENVIRONMENT}/test", doomed.base);
    let request = app.client.post(test).bearer_auth(&admin.token).header("content-type", "application/json");
    assert!(request.body("{}").send().await.is_err());
    doomed.crash().await;
    app.carrier.behave().await;

    let again = async || app.post(&admin, &format!("{ENVIRONMENT}/test"), &json!({})).await;
    assert_eq!(again().await.expect(429).code(), "provider_accounts.tested_lately", "it may be under way");
    app.run_jobs_to_the_end().await;
    let [request] = &*app.all("provider_request_logs", doc! {}).await else { panic!("one call was begun") };
    let request = request.get_str("_id").unwrap();
    let call = app.get(&auditor, &format!("/audit/provider-requests/{request}")).await.expect(200).body;
    let [answer] = &**call["responses"].as_array().unwrap() else { panic!("one end: {call}") };
    assert_eq!((&answer["errorClass"], &answer["errorCode"]), (&json!("retryable"), &json!("exchange.no_answer")));
    assert_eq!(again().await.expect(200).body["works"], true);
    app.finish().await;
}
