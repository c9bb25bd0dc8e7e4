//! API keys: what they open, what they don't, and how they end.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    time::Duration,
};

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::{modules::auth::Scope, platform::identity::Role};

use crate::{
    roles::rule,
    support::{Answer, PASSWORD, TestApp, User, eventually, orders::order},
};

const SOON: Duration = Duration::from_secs(20);

/// What takes a token and is for people alone, whatever the scopes of a key.
const NOT_WITH_KEYS: &[(&str, &str)] = &[
    ("POST", "/auth/password"),
    ("POST", "/auth/email/send-verification"),
    ("GET", "/auth/me/mail"),
    ("PUT", "/auth/me/mail"),
    ("PATCH", "/auth/me"),
    ("POST", "/auth/api-keys"),
    ("GET", "/auth/api-keys"),
    ("DELETE", "/auth/api-keys/{keyId}"),
    ("POST", "/auth/totp"),
    ("DELETE", "/auth/totp"),
    ("POST", "/auth/totp/confirm"),
    ("POST", "/auth/totp/recovery-codes"),
    ("GET", "/users"),
    ("GET", "/users/{userId}"),
    ("PATCH", "/users/{userId}"),
    ("POST", "/users/{userId}/end-sessions"),
    ("POST", "/users/{userId}/reset-password"),
    ("DELETE", "/users/{userId}/totp"),
    ("GET", "/users/{userId}/api-keys"),
    ("DELETE", "/users/{userId}/api-keys/{keyId}"),
    ("GET", "/kyc"),
    ("PUT", "/kyc"),
    ("GET", "/kyc/documents"),
    ("POST", "/kyc/documents"),
    ("GET", "/kyc/documents/{documentId}"),
    ("DELETE", "/kyc/documents/{documentId}"),
    ("POST", "/kyc/submit"),
    ("POST", "/kyc/erasure"),
    ("GET", "/kyc/applications"),
    ("GET", "/kyc/applications/{userId}"),
    ("POST", "/kyc/applications/{userId}/decision"),
    ("POST", "/kyc/applications/{userId}/erasure"),
    ("POST", "/orders/{orderId}/retry"),
    ("POST", "/orders/{orderId}/mark-failed"),
    ("GET", "/search"),
    ("POST", "/audit/legal-holds"),
    ("DELETE", "/audit/legal-holds/{holdId}"),
    ("POST", "/provider-accounts"),
    ("PUT", "/provider-accounts/{accountId}"),
    ("DELETE", "/provider-accounts/{accountId}"),
    ("POST", "/provider-accounts/{accountId}/activate"),
    ("POST", "/provider-accounts/{accountId}/test"),
    ("POST", "/tenants"),
    ("PATCH", "/tenants/{tenantId}"),
    ("PUT", "/tenants/{tenantId}/members/{userId}"),
    ("DELETE", "/tenants/{tenantId}/members/{userId}"),
];

/// Asks for a key with the right password, where the body has none.
async fn make(app: &TestApp, user: &User, body: &Value) -> Answer {
    let mut body = body.clone();
    body.as_object_mut().unwrap().entry("currentPassword").or_insert(json!(PASSWORD));
    app.post(user, "/auth/api-keys", &body).await
}

/// A key of the user's with these scopes, as a user who shows it, and its id.
async fn key(app: &TestApp, user: &User, scopes: &[Scope]) -> (User, String) {
    let made = make(app, user, &json!({ "name": "Server", "scopes": scopes })).await.expect(201).body;
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (User { token: text("key"), ..user.clone() }, text("keyId"))
}

async fn revoke(app: &TestApp, user: &User, key_id: &str) -> Answer {
    app.request(Method::DELETE, &format!("/auth/api-keys/{key_id}"), Some(&user.token), None).await
}

/// What a key of a role meets at a route.
async fn met(app: &TestApp, method: &Method, path: &str, user: &User) -> (u16, String) {
    let answer = app.request(method.clone(), path, Some(&user.token), None).await;
    (answer.status.as_u16(), answer.code().to_owned())
}

#[tokio::test]
async fn every_route_asks_for_one_scope_or_lets_no_key_in() {
    let app = TestApp::start().await;
    let description = app.request(Method::GET, "/openapi.json", None, None).await.expect(200).body;
    // Keys with one scope and with all but one are of two users of a role: nobody has room for all of them.
    let mut users: HashMap<&str, [User; 3]> = HashMap::new();
    let mut keys: HashMap<(&str, &str), [User; 2]> = HashMap::new();
    let mut refused = Vec::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        let concrete = path.replace("{queue}", "parcelx-orders-queue").replace(['{', '}'], "");
        for (method, operation) in operations.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let Some(role) = rule(&method, path).flatten().map(|roles| roles[0]) else { continue };
            if let Entry::Vacant(place) = users.entry(role.as_str()) {
                let [one, other, third] = [app.user(role).await, app.user(role).await, app.user(role).await];
                let (all, _) = key(&app, &third, &Scope::ALL).await;
                place.insert([one, other, all]);
            }
            let [one, other, all] = &users[role.as_str()];
            let named = format!("{method} {path}");
            let described = operation["security"].as_array().unwrap().iter().find_map(|way| way["api_key"][0].as_str());
            let Some(scope) = Scope::of_route(method.as_str(), path) else {
                assert_eq!(described, None, "{named}");
                assert_eq!(met(&app, &method, &concrete, all).await, (403, "auth.not_with_key".into()), "{named}");
                refused.push((method.to_string(), path.clone()));
                continue;
            };
            assert_eq!(described, Some(scope.as_str()), "{named}");
            if let Entry::Vacant(place) = keys.entry((role.as_str(), scope.as_str())) {
                let others: Vec<_> = Scope::ALL.into_iter().filter(|other| *other != scope).collect();
                let two = [key(&app, one, &[scope]).await.0, key(&app, other, &others).await.0];
                place.insert(two);
            }
            let [with, without] = &keys[&(role.as_str(), scope.as_str())];
            assert_eq!(met(&app, &method, &concrete, without).await, (403, "auth.scope_missing".into()), "{named}");
            let (status, code) = met(&app, &method, &concrete, with).await;
            assert!(status < 500 && !matches!(status, 401 | 403), "{named} with its scope: {status} {code}");
        }
    }
    let mut expected: Vec<_> = NOT_WITH_KEYS.iter().map(|(method, path)| ((*method).into(), (*path).into())).collect();
    refused.sort();
    expected.sort();
    assert_eq!(refused, expected, "a route without a scope is for people alone: is it?");
    let used: HashSet<_> = keys.keys().map(|(_, scope)| *scope).collect();
    assert_eq!(used.len(), Scope::ALL.len(), "every scope opens something");
    app.finish().await;
}

#[tokio::test]
async fn a_key_is_shown_once_asks_like_its_user_and_is_revoked_everywhere() {
    let app = TestApp::start().await;
    let other = app.beside(&[]).await;
    let following = other.app.users.clone();
    let following = tokio::spawn(async move { following.follow_access().await });
    other.app.clock.sync(other.db()).await.unwrap();
    let (merchant, stranger) = (app.merchant().await, app.merchant().await);
    let scopes = json!(["orders:write", "orders:read", "orders:read"]);
    let made = make(&app, &merchant, &json!({ "name": " Warehouse ", "scopes": scopes })).await.expect(201);
    assert_eq!(made.headers["cache-control"], "no-store");
    let (text, key_id) = (made.body["key"].as_str().unwrap(), made.body["keyId"].as_str().unwrap());
    let server = User { token: text.into(), ..merchant.clone() };
    for app in [&app, &other] {
        app.get(&server, "/orders").await.expect(200);
        assert_eq!(app.get(&server, "/wallet").await.expect(403).code(), "auth.scope_missing");
    }
    let created = other.create(&server, "c-1").await.expect(201).body;
    app.create(&merchant, "c-1").await.expect(200);
    assert_eq!(app.get(&stranger, &format!("/orders/{}", created["orderId"].as_str().unwrap())).await.status, 404);
    app.run_jobs().await;
    let events = app.all("events", doc! { "type": "OrderCreated", "actor.keyId": key_id }).await;
    assert_eq!(events.len(), 1, "who did it, and with which key");

    // Stored as a hash; the text of it is nowhere.
    let secret = &text[42..94];
    for collection in app.db().list_collection_names().await.unwrap() {
        let stored = app.all(&collection, doc! {}).await;
        assert!(!stored.iter().any(|document| document.to_string().contains(secret)), "{collection}");
    }
    let listed = || async { app.get(&merchant, "/auth/api-keys").await.expect(200).body["items"].clone() };
    eventually("its use is on record", SOON, async || listed().await[0]["lastUsedAt"].is_string()).await;
    let one = &listed().await[0];
    assert_eq!((&one["name"], &one["scopes"]), (&json!("Warehouse"), &json!(["orders:read", "orders:write"])));
    assert!(one.get("key").is_none() && one.get("hash").is_none());
    let first = one["lastUsedAt"].as_str().unwrap().to_owned();
    app.get(&server, "/orders").await.expect(200);
    app.app.clock.advance(Duration::from_secs(61));
    app.get(&server, "/orders").await.expect(200);
    eventually("a minute later again", SOON, async || listed().await[0]["lastUsedAt"] != *first).await;

    assert_eq!(revoke(&app, &stranger, key_id).await.expect(404).code(), "auth.no_such_key");
    assert_eq!(revoke(&app, &server, key_id).await.expect(403).code(), "auth.not_with_key");
    for _ in 0..2 {
        revoke(&app, &merchant, key_id).await.expect(204);
    }
    assert_eq!(app.get(&server, "/orders").await.expect(401).code(), "auth.key_revoked");
    eventually("the other process learns of it", SOON, async || other.get(&server, "/orders").await.status == 401)
        .await;
    assert_eq!(listed().await, json!([]));
    let recorded = app.all("audit_events", doc! { "resourceType": "api_key" }).await;
    let actions: Vec<_> = recorded.iter().map(|event| event.get_str("action").unwrap()).collect();
    assert_eq!(actions, ["api_key.created", "api_key.revoked"]);
    assert!(recorded.iter().all(|event| event.get_str("resourceId").unwrap() == key_id));
    following.abort();
    app.finish().await;
}

#[tokio::test]
async fn a_key_ends_with_its_time_its_users_role_or_its_user() {
    let app = TestApp::start().await;
    let (admin, merchant) = (app.admin().await, app.merchant().await);
    let (server, _) = key(&app, &merchant, &[Scope::AccountRead]).await;
    let expires_at = bson::DateTime::from_millis(app.app.clock.now_ms() + 30_000).try_to_rfc3339_string().unwrap();
    let body = json!({ "name": "Short", "scopes": ["account:read"], "expiresAt": expires_at });
    let made = make(&app, &merchant, &body).await.expect(201).body;
    let short = User { token: made["key"].as_str().unwrap().into(), ..merchant.clone() };
    for user in [&server, &short] {
        assert_eq!(app.get(user, "/auth/me").await.expect(200).body["userId"], merchant.user_id);
    }
    app.app.clock.advance(Duration::from_secs(31));
    assert_eq!(app.get(&short, "/auth/me").await.expect(401).code(), "auth.key_expired");

    let change = async |body: Value| {
        let path = format!("/users/{}", merchant.user_id);
        app.request(Method::PATCH, &path, Some(&admin.token), Some(&body)).await.expect(200);
    };
    change(json!({ "disabled": true })).await;
    assert_eq!(app.get(&server, "/auth/me").await.expect(403).code(), "auth.account_disabled");
    change(json!({ "disabled": false })).await;
    app.get(&server, "/auth/me").await.expect(200);
    let login = json!({ "email": merchant.email, "password": PASSWORD });
    let tokens = app.request(Method::POST, "/auth/login", None, Some(&login)).await.expect(200).body;
    let there = User { token: tokens["accessToken"].as_str().unwrap().into(), ..merchant.clone() };
    let password = json!({ "currentPassword": PASSWORD, "newPassword": "battery staple" });
    app.post(&there, "/auth/password", &password).await.expect(204);
    app.get(&server, "/auth/me").await.expect(200);
    let login = json!({ "email": merchant.email, "password": "battery staple" });
    let tokens = app.request(Method::POST, "/auth/login", None, Some(&login)).await.expect(200).body;
    let there = User { token: tokens["accessToken"].as_str().unwrap().into(), ..merchant.clone() };
    // A token alone makes no key.
    for (wrong, blamed) in
        [(json!({ "currentPassword": PASSWORD }), "currentPassword:wrong"), (json!({}), "currentPassword:required")]
    {
        let mut body = json!({ "name": "Thief", "scopes": ["orders:read"] });
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert_eq!(app.post(&there, "/auth/api-keys", &body).await.expect(422).blamed(), [blamed]);
    }
    change(json!({ "role": "auditor" })).await;
    assert_eq!(app.get(&server, "/auth/me").await.expect(401).code(), "auth.key_revoked");
    app.finish().await;
}

#[tokio::test]
async fn a_new_password_revokes_all_keys_where_it_is_told_to() {
    let app = TestApp::start().await;
    let merchant = app.merchant().await;
    let (one, one_id) = key(&app, &merchant, &[Scope::AccountRead]).await;
    let (other, other_id) = key(&app, &merchant, &[Scope::AccountRead]).await;
    revoke(&app, &merchant, &one_id).await.expect(204);
    let (third, third_id) = key(&app, &merchant, &[Scope::AccountRead]).await;
    app.get(&third, "/auth/me").await.expect(200);
    let change = json!({ "currentPassword": PASSWORD, "newPassword": "battery staple", "revokeApiKeys": true });
    app.post(&merchant, "/auth/password", &change).await.expect(204);
    for server in [&one, &other, &third] {
        assert_eq!(app.get(server, "/auth/me").await.expect(401).code(), "auth.key_revoked");
    }
    let user = app.all("users", doc! { "_id": &merchant.user_id }).await.remove(0);
    assert_eq!(user.get_i32("apiKeys").unwrap(), 0);
    let revoked = app.all("audit_events", doc! { "action": "api_key.revoked" }).await;
    let mut revoked: Vec<_> = revoked.iter().map(|event| event.get_str("resourceId").unwrap()).collect();
    revoked.sort_unstable();
    let mut all = [&*one_id, &*other_id, &*third_id];
    all.sort_unstable();
    assert_eq!(revoked, all, "each once");
    app.finish().await;
}

#[tokio::test]
async fn a_key_has_nothing_posted_that_it_does_not_read() {
    let app = TestApp::start().await;
    let merchant = app.merchant().await;
    app.create(&merchant, "c-1").await.expect(201);
    let (plain, _) = key(&app, &merchant, &[Scope::WebhooksRead, Scope::WebhooksWrite]).await;
    let reading = [Scope::WebhooksRead, Scope::WebhooksWrite, Scope::OrdersRead];
    let (reading, _) = key(&app, &merchant, &reading).await;
    let endpoint = |types: Value| json!({ "url": "https://hooks.example.com/waybill", "types": types });
    for (user, types, scope) in [
        (&plain, json!(["order.created"]), "orders:read"),
        (&plain, json!([]), "orders:read"),
        (&reading, json!([]), "wallet:read"),
        (&reading, json!(["order.created", "checkout.paid"]), "checkouts:read"),
        (&reading, json!(["product.stock_low"]), "catalog:read"),
    ] {
        let refused = app.post(user, "/webhook-endpoints", &endpoint(types)).await.expect(403);
        assert!(refused.code() == "auth.scope_missing" && refused.text.contains(scope), "{}", refused.text);
    }
    app.post(&plain, "/webhook-endpoints", &endpoint(json!(["kyc.verified"]))).await.expect(201);
    let made = app.post(&reading, "/webhook-endpoints", &endpoint(json!(["order.created"]))).await.expect(201).body;
    let path = format!("/webhook-endpoints/{}", made["endpointId"].as_str().unwrap());
    let patch =
        async |user: &User, change: Value| app.request(Method::PATCH, &path, Some(&user.token), Some(&change)).await;
    for change in [json!({ "url": "https://thief.example.com/" }), json!({ "types": ["order.failed"] })] {
        assert_eq!(patch(&plain, change).await.expect(403).code(), "auth.scope_missing");
    }
    patch(&plain, json!({ "status": "disabled" })).await.expect(200);
    // Another address would get what waits, and what is sent again: also what is not among the types any more.
    for change in [json!({}), json!({ "types": ["kyc.verified"] })] {
        let mut change = change;
        change["url"] = json!("https://hooks.example.com/other");
        assert_eq!(patch(&reading, change).await.expect(403).code(), "auth.scope_missing");
    }
    assert_eq!(patch(&reading, json!({ "types": [] })).await.expect(403).code(), "auth.scope_missing");
    patch(&merchant, json!({ "types": [] })).await.expect(200);
    assert_eq!(
        patch(&reading, json!({ "url": "https://thief.example.com/" })).await.expect(403).code(),
        "auth.scope_missing"
    );

    let events = async |user: &User| {
        let found = app.get(user, "/webhook-events").await.expect(200).body;
        let kinds = found["items"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap().to_owned());
        kinds.collect::<Vec<_>>()
    };
    for (user, kinds) in [
        (&merchant, &["kyc.verified", "order.created"][..]),
        (&reading, &["kyc.verified", "order.created"]),
        (&plain, &["kyc.verified"]),
    ] {
        assert_eq!(events(user).await, kinds);
    }
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn a_key_that_was_revoked_books_nothing_though_nobody_told_this_process() {
    let app = TestApp::start().await;
    let (finance, merchant) = (app.user(Role::Finance).await, app.merchant().await);
    let (server, key_id) = key(&app, &finance, &[Scope::FinanceWrite, Scope::FinanceRead]).await;
    let booking = |reference: &str| {
        json!({ "clientReference": reference, "kind": "recharge", "userId": merchant.user_id,
            "amount": { "amount": 1000, "currency": "INR" }, "reason": "By transfer." })
    };
    app.post(&server, "/finance/transactions", &booking("b-1")).await.expect(201);
    let wallet = format!("/finance/wallets/{}", merchant.user_id);
    app.get(&server, &wallet).await.expect(200);
    let read = app.all("audit_events", doc! { "action": "request.read", "actor.keyId": &key_id }).await;
    assert_eq!(read.len(), 1, "what was read is on record with the key");
    app.update_one("api_keys", doc! { "_id": &key_id }, doc! { "revokedAt": bson::DateTime::now() }).await;
    app.get(&server, &wallet).await.expect(200);
    let late = app.post(&server, "/finance/transactions", &booking("b-2")).await.expect(401);
    assert_eq!(late.code(), "auth.token_revoked");
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_key_or_no_good_request_for_one_is_told_so() {
    let app = TestApp::start().await;
    let (admin, merchant) = (app.admin().await, app.merchant().await);
    for (body, blamed) in [
        (json!({ "name": "A", "scopes": [] }), "scopes:length"),
        (json!({ "name": "A", "scopes": ["orders:all"] }), "scopes[0]:unknown_value"),
        (json!({ "name": "", "scopes": ["orders:read"] }), "name:length"),
        (json!({ "name": "x".repeat(61), "scopes": ["orders:read"] }), "name:length"),
        (json!({ "name": "pin 9999 4105 7058", "scopes": ["orders:read"] }), "name:format"),
        (json!({ "name": "A", "scopes": ["orders:read"], "expiresAt": "2026-01-01T00:00:00Z" }), "expiresAt:range"),
        (json!({ "name": "A", "scopes": ["orders:read"], "role": "admin" }), "role:unknown"),
    ] {
        assert_eq!(make(&app, &merchant, &body).await.expect(422).blamed(), [blamed], "{body}");
    }
    let mut made = Vec::new();
    for _ in 0..20 {
        made.push(key(&app, &merchant, &[Scope::OrdersRead]).await);
    }
    let body = json!({ "name": "One more", "scopes": ["orders:read"] });
    assert_eq!(make(&app, &merchant, &body).await.expect(409).code(), "auth.too_many_keys");
    let (one, two) = (&made[0], &made[1]);
    revoke(&app, &merchant, &one.1).await.expect(204);
    make(&app, &merchant, &body).await.expect(201);

    // An administrator sees and revokes others'; from the command line too.
    let path = format!("/users/{}/api-keys", merchant.user_id);
    assert_eq!(app.get(&admin, &path).await.expect(200).body["items"].as_array().unwrap().len(), 20);
    app.get(&admin, "/users/usr_1/api-keys").await.expect(404);
    app.get(&merchant, &path).await.expect(403);
    let delete =
        async |key_id: &str| app.request(Method::DELETE, &format!("{path}/{key_id}"), Some(&admin.token), None).await;
    app.get(&two.0, "/orders").await.expect(200);
    delete(&two.1).await.expect(204);
    app.get(&two.0, "/orders").await.expect(401);
    delete("key_1").await.expect(404);
    let run = async |args: &[&str]| {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
        let program = program.arg("user").args(args).args(["--user", &merchant.email]);
        let output = program.env("MONGODB_URI", &app.mongodb_uri).output().await.unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert!(run(&["revoke-api-key", "--key", &made[2].1]).await.0);
    assert_eq!(run(&["api-keys"]).await.1.lines().count(), 18);
    assert!(!run(&["revoke-api-key", "--key", "key_1"]).await.0);

    // One letter of the secret is another, with the check that belongs to it; and what never was one.
    let text = &made[3].0.token;
    let other = if text.ends_with('0') { "1" } else { "0" };
    let typo = format!("{}{other}", &text[..text.len() - 1]);
    for no_key in [typo.as_str(), "wb_live_", "wb_live_x"] {
        let user = User { token: no_key.into(), ..merchant.clone() };
        assert_eq!(app.get(&user, "/orders").await.expect(401).code(), "auth.invalid_key");
    }
    app.create(&User { token: made[3].0.token.clone(), ..merchant.clone() }, "c-1").await.expect(403);
    assert_eq!(app.post(&made[3].0, "/orders/create", &order("c-1")).await.code(), "auth.scope_missing");
    app.finish().await;
}
