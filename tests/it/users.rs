//! Containing an account that somebody else has got hold of.

use std::time::Duration;

use bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::{
    openapi::ROUTES,
    roles::rule,
    support::{Answer, PASSWORD, TestApp, User, eventually},
};

const SOON: Duration = Duration::from_secs(20);

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    app.request(Method::POST, path, None, Some(&body)).await
}

async fn login(app: &TestApp, user: &User, password: &str) -> Answer {
    post(app, "/auth/login", json!({ "email": user.email, "password": password })).await
}

/// Signs in, and gives the user with that token, and the refresh token's body.
async fn signed_in(app: &TestApp, user: &User) -> (User, Value) {
    let tokens = login(app, user, PASSWORD).await.expect(200).body;
    let token = tokens["accessToken"].as_str().unwrap().to_owned();
    (User { token, ..user.clone() }, json!({ "refreshToken": tokens["refreshToken"] }))
}

async fn patch(app: &TestApp, admin: &User, user: &User, body: Value) -> Answer {
    app.request(Method::PATCH, &format!("/users/{}", user.user_id), Some(&admin.token), Some(&body)).await
}

/// Actions on record about a user, by somebody else.
async fn recorded(app: &TestApp, user: &User) -> Vec<String> {
    let others =
        doc! { "userId": &user.user_id, "action": { "$regex": "^user\\." }, "actor.id": { "$ne": "user create" } };
    let events = app.all("audit_events", others).await;
    events.iter().map(|event| event.get_str("action").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_stolen_account_is_shut_within_seconds_in_every_process() {
    let app = TestApp::start().await;
    let other = app.beside(&[]).await;
    let following = other.app.users.clone();
    let following = tokio::spawn(async move { following.follow_access().await });
    other.app.clock.sync(other.db()).await.unwrap();
    let (admin, merchant) = (app.admin().await, app.merchant().await);
    let (thief, refresh) = signed_in(&app, &merchant).await;
    other.get(&thief, "/wallet").await.expect(200);

    let found = app.get(&admin, &format!("/users?email={}", merchant.email.to_uppercase())).await.expect(200).body;
    let found = found["items"].as_array().unwrap().clone();
    assert_eq!((found.len(), &found[0]["userId"], &found[0]["disabled"]), (1, &json!(merchant.user_id), &json!(false)));
    let disabled = patch(&app, &admin, &merchant, json!({ "disabled": true })).await.expect(200).body;
    assert_eq!((&disabled["disabled"], &disabled["role"]), (&json!(true), &json!("merchant")));
    // Here at once; elsewhere soon. Redis has no part in it.
    assert_eq!(app.get(&thief, "/wallet").await.expect(401).code(), "auth.token_revoked");
    eventually("the other process learns of it", SOON, async || other.get(&thief, "/wallet").await.status == 401).await;
    assert_eq!(post(&app, "/auth/refresh", refresh.clone()).await.expect(403).code(), "auth.account_disabled");
    assert_eq!(login(&app, &merchant, PASSWORD).await.expect(403).code(), "auth.account_disabled");

    patch(&app, &admin, &merchant, json!({ "disabled": true })).await.expect(200);
    patch(&app, &admin, &merchant, json!({ "disabled": false })).await.expect(200);
    let (owner, _) = signed_in(&app, &merchant).await;
    app.get(&owner, "/wallet").await.expect(200);
    other.get(&owner, "/wallet").await.expect(200);
    assert_eq!(post(&app, "/auth/refresh", refresh).await.expect(401).code(), "auth.refresh_reused", "ended is ended");
    assert_eq!(app.get(&thief, "/wallet").await.expect(401).code(), "auth.token_revoked");
    assert_eq!(recorded(&app, &merchant).await, ["user.disabled", "user.enabled"], "each once");
    following.abort();
    app.finish().await;
}

#[tokio::test]
async fn sessions_end_passwords_are_reset_and_roles_change() {
    let app = TestApp::start().await;
    let (admin, finance) = (app.admin().await, app.user(Role::Finance).await);
    let path = |what: &str| format!("/users/{}/{what}", finance.user_id);
    let (there, refresh) = signed_in(&app, &finance).await;
    app.post(&admin, &path("end-sessions"), &json!({})).await.expect(204);
    app.get(&there, "/finance/ledger").await.expect(401);
    assert_eq!(post(&app, "/auth/refresh", refresh).await.expect(401).code(), "auth.refresh_reused");

    let (there, _) = signed_in(&app, &finance).await;
    let reset = app.post(&admin, &path("reset-password"), &json!({})).await.expect(200);
    assert_eq!(reset.headers["cache-control"], "no-store");
    app.get(&there, "/finance/ledger").await.expect(401);
    login(&app, &finance, PASSWORD).await.expect(401);
    let temporary = reset.body["temporaryPassword"].as_str().unwrap();
    let tokens = login(&app, &finance, temporary).await.expect(200).body;
    let there = User { token: tokens["accessToken"].as_str().unwrap().into(), ..finance.clone() };
    app.get(&there, "/finance/ledger").await.expect(200);

    let changed = patch(&app, &admin, &finance, json!({ "role": "auditor" })).await.expect(200).body;
    assert_eq!((&changed["role"], &changed["disabled"]), (&json!("auditor"), &json!(false)));
    app.get(&there, "/finance/ledger").await.expect(401);
    let tokens = login(&app, &finance, temporary).await.expect(200).body;
    let there = User { token: tokens["accessToken"].as_str().unwrap().into(), ..finance.clone() };
    app.get(&there, "/audit/events").await.expect(200);
    assert_eq!(recorded(&app, &finance).await, ["user.sessions_ended", "user.password_reset", "user.role_changed"]);
    let role = app.all("audit_events", doc! { "action": "user.role_changed" }).await.remove(0);
    let states = [role.get_document("before").unwrap(), role.get_document("after").unwrap()];
    assert_eq!(states.map(|state| state.get_str("role").unwrap()), ["finance", "auditor"]);
    let everything = app.all("audit_events", doc! {}).await;
    assert!(!everything.iter().any(|event| event.to_string().contains(temporary)), "no record has the password");
    app.finish().await;
}

#[tokio::test]
async fn what_can_not_be_changed_is_said() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let nobody = User { user_id: "usr_1".into(), ..admin.clone() };
    assert_eq!(patch(&app, &admin, &nobody, json!({ "disabled": true })).await.expect(404).code(), "users.not_found");
    app.get(&admin, "/users/usr_1").await.expect(404);
    for (user, status, code) in [(&nobody, 404, "users.not_found"), (&admin, 409, "users.own_account")] {
        for what in ["end-sessions", "reset-password"] {
            let path = format!("/users/{}/{what}", user.user_id);
            assert_eq!(app.post(&admin, &path, &json!({})).await.expect(status).code(), code, "{path}");
        }
    }
    for body in [json!({ "disabled": true }), json!({ "role": "merchant" })] {
        assert_eq!(patch(&app, &admin, &admin, body).await.expect(409).code(), "users.own_account");
    }
    for (body, blamed) in [
        (json!({ "role": "root" }), "role"),
        (json!({ "disabled": "yes" }), "disabled"),
        (json!({ "email": "a@example.com" }), "email"),
    ] {
        let answer = patch(&app, &admin, &admin, body).await.expect(422);
        assert!(answer.blamed()[0].starts_with(blamed), "{}", answer.text);
    }
    for query in ["limit=0", "limit=101", "cursor=x", "role=root", "disabled=maybe", "name=a"] {
        app.get(&admin, &format!("/users?{query}")).await.expect(422);
    }
    app.finish().await;
}

#[tokio::test]
async fn listing_users_is_paged_newest_first_and_recorded() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let mut made = vec![admin.user_id.clone()];
    for role in [Role::Merchant, Role::Finance, Role::Merchant] {
        made.insert(0, app.user(role).await.user_id);
    }
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|user| user["userId"].as_str().unwrap().to_owned()).collect()
    };
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&admin, &format!("/users?limit=3{cursor}")).await.expect(200).body;
        seen.extend(ids(&page));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, made);
    let disabled = User { user_id: made[2].clone(), ..admin.clone() };
    patch(&app, &admin, &disabled, json!({ "disabled": true })).await.expect(200);
    for (query, expected) in [
        ("role=merchant", vec![&made[0], &made[2]]),
        ("disabled=true", vec![&made[2]]),
        ("disabled=false&role=merchant", vec![&made[0]]),
        ("email=nobody@example.com", vec![]),
    ] {
        let page = app.get(&admin, &format!("/users?{query}")).await.expect(200).body;
        assert_eq!(ids(&page).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let one = app.get(&admin, &format!("/users/{}", made[1])).await.expect(200);
    assert_eq!((&one.body["role"], one.text.contains("argon2")), (&json!("finance"), false));
    let read = app.all("audit_events", doc! { "action": "request.read", "userId": &made[1] }).await;
    assert_eq!(read.len(), 1, "whom it is about");
    assert!(app.all("audit_events", doc! { "action": "request.read" }).await.len() >= 7, "lists too");
    app.finish().await;
}

/// Whose token may be used at a route that staff write by, what is sent, and how often its work is done again.
fn staff_writes(
    job_id: &str,
    hold_id: &str,
    transaction_id: &str,
    account_id: &str,
    order_id: &str,
    tenant_id: &str,
    merchant: &User,
) -> Vec<(&'static str, String, String, Value)> {
    let user_id = &merchant.user_id;
    let to = |method: &'static str, route: &str, id: &str, body: Value| {
        let open = route.find('{').map(|start| &route[start..=route.find('}').unwrap()]);
        let path = open.map_or_else(|| route.to_owned(), |open| route.replace(open, id));
        (method, route.to_owned(), path.replace("{userId}", user_id), body)
    };
    let none = json!({});
    let queue = "parcelx-orders-queue";
    vec![
        to(
            "post",
            "/finance/transactions",
            "",
            json!({ "clientReference": "late", "kind": "recharge", "userId": user_id,
                "amount": { "amount": 1000, "currency": "INR" }, "reason": "Not any more." }),
        ),
        to(
            "post",
            "/finance/transactions/{transactionId}/reverse",
            transaction_id,
            json!({ "clientReference": "late", "reason": "Not any more." }),
        ),
        to(
            "post",
            "/kyc/applications/{userId}/decision",
            user_id,
            json!({ "decision": "suspend", "reason": "Not any more." }),
        ),
        to("post", "/kyc/applications/{userId}/erasure", user_id, json!({ "reason": "Not any more." })),
        to("post", "/audit/legal-holds", "", json!({ "kind": "user", "id": user_id, "reason": "Not any more." })),
        to("delete", "/audit/legal-holds/{holdId}", hold_id, json!({ "reason": "Not any more." })),
        to("patch", "/orders/{orderId}/comment", order_id, json!({ "comment": "Late." })),
        to("post", "/orders/{orderId}/mark-failed", order_id, json!({ "reason": "Not any more." })),
        to("post", "/orders/{orderId}/retry", order_id, json!({ "reason": "Not any more." })),
        to(
            "post",
            "/provider-accounts",
            "",
            json!({ "provider": "parcelx", "label": "Late", "credentials": { "accessKey": "u", "secretKey": "p" } }),
        ),
        to("put", "/provider-accounts/{accountId}", account_id, json!({ "label": "Late" })),
        to("delete", "/provider-accounts/{accountId}", account_id, none.clone()),
        to("post", "/provider-accounts/{accountId}/activate", account_id, none.clone()),
        to("post", "/provider-accounts/{accountId}/test", account_id, none.clone()),
        to("delete", "/queues/jobs/{jobId}", job_id, none.clone()),
        to("post", "/queues/jobs/{jobId}/retry", job_id, none.clone()),
        to("post", "/queues/{queue}/pause", queue, none.clone()),
        to("post", "/queues/{queue}/resume", queue, none.clone()),
        to("post", "/queues/{queue}/retry-dead", queue, none.clone()),
        to("post", "/queues/{queue}/delete-dead", queue, none.clone()),
        to("post", "/schedules/{name}/run", "ledger-check", none.clone()),
        to("post", "/schedules/{name}/pause", "ledger-check", none.clone()),
        to("post", "/schedules/{name}/resume", "ledger-check", none.clone()),
        to("post", "/tenants", "", json!({ "slug": "late", "name": "Late" })),
        to("patch", "/tenants/{tenantId}", tenant_id, json!({ "name": "Late" })),
        to("put", "/tenants/{tenantId}/members/{userId}", tenant_id, none.clone()),
        to("delete", "/tenants/{tenantId}/members/{userId}", tenant_id, none.clone()),
        to("patch", "/users/{userId}", user_id, json!({ "disabled": true })),
        to("post", "/users/{userId}/end-sessions", user_id, none.clone()),
        to("post", "/users/{userId}/reset-password", user_id, none.clone()),
        to("delete", "/users/{userId}/totp", user_id, none.clone()),
        to("delete", "/users/{userId}/api-keys/{keyId}", user_id, none),
    ]
}

#[tokio::test]
async fn a_revoked_token_changes_nothing_in_an_uninformed_process() {
    let app = TestApp::start().await;
    let (admin, finance, merchant) = (app.admin().await, app.user(Role::Finance).await, app.merchant().await);
    app.carrier.misbehave("create", "refuse", 1).await;
    let order_id = app.created(&merchant, "c-1").await;
    app.run_jobs().await;
    let job = app.create_job(&order_id).await;
    assert_eq!(job.get_str("state").unwrap(), "dead");
    let hold = json!({ "kind": "user", "id": finance.user_id, "reason": "A court asks." });
    let hold = app.post(&admin, "/audit/legal-holds", &hold).await.expect(201).body;
    let booking = json!({ "clientReference": "early", "kind": "recharge", "userId": merchant.user_id,
        "amount": { "amount": 1000, "currency": "INR" }, "reason": "In time." });
    let booked = app.post(&finance, "/finance/transactions", &booking).await.expect(201).body;
    let account =
        json!({ "provider": "parcelx", "label": "In time", "credentials": { "accessKey": "u", "secretKey": "p" } });
    let account = app.post(&admin, "/provider-accounts", &account).await.expect(201).body;
    let tenant = json!({ "slug": "in-time", "name": "In time" });
    let tenant = app.post(&admin, "/tenants", &tenant).await.expect(201).body;
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let key = json!({ "name": "In time", "scopes": ["orders:read"], "currentPassword": PASSWORD });
    let key = app.post(&merchant, "/auth/api-keys", &key).await.expect(201).body;
    let mut writes = staff_writes(
        job.get_str("_id").unwrap(),
        &text(&hold, "holdId"),
        &text(&booked, "transactionId"),
        &text(&account, "accountId"),
        &order_id,
        &text(&tenant, "tenantId"),
        &merchant,
    );

    writes.iter_mut().for_each(|(_, _, path, _)| {
        *path = path.replace("{keyId}", &text(&key, "keyId")).replace("/delete-dead", "/delete-dead?kind=create-order");
    });
    let mut known: Vec<_> = writes.iter().map(|(method, route, _, _)| (*method, route.as_str())).collect();
    let staff_only = |method: &str, path: &str| {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        method != Method::GET
            && rule(&method, path).flatten().is_some_and(|roles| roles.iter().all(|role| role.is_staff()))
    };
    let mut there: Vec<_> = ROUTES.iter().map(|(method, path, _)| (*method, *path)).collect();
    there.retain(|(method, path)| staff_only(method, path));
    known.sort_unstable();
    there.sort_unstable();
    assert_eq!(known, there, "every write of staff is tried");

    // What is written meanwhile: attempts in vain, and nothing else.
    let collections = [
        "ledger_transactions",
        "kyc_applications",
        "legal_holds",
        "jobs",
        "queues",
        "users",
        "api_keys",
        "events",
        "provider_accounts",
        "orders",
        "schedules",
        "schedule_runs",
        "tenants",
    ];
    let state = async || {
        let mut all: Vec<Vec<Document>> = Vec::new();
        for collection in collections {
            all.push(app.all(collection, doc! {}).await);
        }
        let done = doc! { "outcome": "done", "action": { "$not": { "$regex": "^request\\." } } };
        all.push(app.all("audit_events", done).await);
        all
    };
    let now = bson::DateTime::now();
    for (stop, back, status) in [
        (doc! { "disabledAt": now }, doc! { "disabledAt": bson::Bson::Null }, 403),
        (doc! { "role": "auditor" }, doc! {}, 401),
        (doc! { "accessVersion": 1_i64 }, doc! { "accessVersion": 0_i64 }, 401),
    ] {
        for user in [&admin, &finance] {
            app.update_one("users", doc! { "_id": &user.user_id }, stop.clone()).await;
        }
        let before = state().await;
        for (method, route, path, body) in &writes {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let user = if path.starts_with("/finance") { &finance } else { &admin };
            let answer = app.request(method, path, Some(&user.token), Some(body)).await;
            assert_eq!(answer.status.as_u16(), status, "{route} after {stop}: {}", answer.text);
        }
        assert!(state().await == before, "after {stop}");
        for (user, role) in [(&admin, "admin"), (&finance, "finance")] {
            let mut back = back.clone();
            back.insert("role", role);
            app.update_one("users", doc! { "_id": &user.user_id }, back).await;
        }
    }
    app.finish().await;
}

#[tokio::test]
async fn operators_contain_an_account_from_the_command_line() {
    let app = TestApp::start().await;
    let merchant = app.merchant().await;
    let run = async |args: &[&str]| -> (bool, Vec<Value>) {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
        let output = program.arg("user").args(args).env("MONGODB_URI", &app.mongodb_uri).output().await.unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    };
    let (_, disabled) = run(&["disable", "--user", &merchant.email]).await;
    assert_eq!((&disabled[0]["userId"], &disabled[0]["disabled"]), (&json!(merchant.user_id), &json!(true)));
    login(&app, &merchant, PASSWORD).await.expect(403);
    let (_, listed) = run(&["list", "--disabled"]).await;
    assert_eq!(listed.iter().map(|user| &user["email"]).collect::<Vec<_>>(), [&json!(merchant.email)]);
    run(&["enable", "--user", &merchant.user_id]).await;
    let (_, reset) = run(&["reset-password", "--user", &merchant.user_id]).await;
    login(&app, &merchant, reset[0]["temporaryPassword"].as_str().unwrap()).await.expect(200);
    assert!(run(&["end-sessions", "--user", &merchant.user_id]).await.0);
    assert!(run(&["set-role", "--user", &merchant.user_id, "--role", "auditor"]).await.0);
    assert!(!run(&["disable", "--user", "nobody@example.com"]).await.0);
    let actions = ["user.disabled", "user.enabled", "user.password_reset", "user.sessions_ended", "user.role_changed"];
    assert_eq!(recorded(&app, &merchant).await, actions);
    let by = app.all("audit_events", doc! { "action": "user.role_changed" }).await.remove(0);
    let actor = by.get_document("actor").unwrap();
    assert_eq!((actor.get_str("kind").unwrap(), actor.get_str("id").unwrap()), ("command_line", "user set-role"));
    app.finish().await;
}
