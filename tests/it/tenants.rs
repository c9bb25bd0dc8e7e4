//! Tenants: a manager sees the members' orders and wallets, and nobody else's.

use bson::doc;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::identity::Role;

use crate::support::{Answer, PASSWORD, TestApp, User};

async fn act(app: &TestApp, user: &User, method: Method, path: &str, body: Option<Value>) -> Answer {
    app.request(method, path, Some(&user.token), body.as_ref()).await
}

pub async fn tenant(app: &TestApp, admin: &User, slug: &str) -> String {
    let body = json!({ "slug": slug, "name": "Kiran Stores" });
    let created = act(app, admin, Method::POST, "/tenants", Some(body)).await.expect(201).body;
    created["tenantId"].as_str().unwrap().to_owned()
}

/// The user as a member, signed in again.
pub async fn join(app: &TestApp, admin: &User, tenant_id: &str, user: &User) -> User {
    let path = format!("/tenants/{tenant_id}/members/{}", user.user_id);
    act(app, admin, Method::PUT, &path, None).await.expect(200);
    signed_in(app, user).await
}

pub async fn signed_in(app: &TestApp, user: &User) -> User {
    let body = json!({ "email": user.email, "password": PASSWORD });
    let tokens = app.request(Method::POST, "/auth/login", None, Some(&body)).await.expect(200).body;
    User { token: tokens["accessToken"].as_str().unwrap().to_owned(), ..user.clone() }
}

async fn order_ids(app: &TestApp, reader: &User, tenant_id: &str, query: &str) -> Vec<String> {
    let page = app.get(reader, &format!("/tenants/{tenant_id}/orders{query}")).await.expect(200).body;
    page["items"].as_array().unwrap().iter().map(|order| order["orderId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_manager_sees_what_members_did_as_members_and_nothing_else() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let (ours, theirs) = (tenant(&app, &admin, "ours").await, tenant(&app, &admin, "theirs").await);
    let merchant = app.merchant().await;
    let before = app.created(&merchant, "c-before").await;
    let member = join(&app, &admin, &ours, &merchant).await;
    let manager = join(&app, &admin, &ours, &app.user(Role::Manager).await).await;
    let foreign = join(&app, &admin, &theirs, &app.user(Role::Manager).await).await;
    let loner = app.user(Role::Manager).await;
    let stranger = app.merchant().await;
    app.created(&stranger, "c-1").await;
    let first = app.created(&member, "c-1").await;
    let second = app.created(&member, "c-2").await;

    assert_eq!(order_ids(&app, &manager, &ours, "").await, [second.clone(), first.clone()]);
    assert_eq!(
        order_ids(&app, &manager, &ours, "?clientOrderId=c-1&status=created").await,
        std::slice::from_ref(&first)
    );
    let page = app.get(&manager, &format!("/tenants/{ours}/orders?limit=1")).await.expect(200).body;
    assert_eq!(page["items"][0]["userId"], json!(member.user_id));
    let cursor = page["nextCursor"].as_str().unwrap();
    assert_eq!(
        order_ids(&app, &manager, &ours, &format!("?limit=1&cursor={cursor}")).await,
        std::slice::from_ref(&first)
    );
    // Members see their own only, those of before too.
    let own = app.get(&member, "/orders").await.expect(200).body;
    assert_eq!(own["items"].as_array().unwrap().len(), 3);
    assert_eq!(own["items"][2]["orderId"], json!(before));

    let members = app.get(&manager, &format!("/tenants/{ours}/members")).await.expect(200).body;
    assert_eq!(members["items"].as_array().unwrap().len(), 2);
    let wallet =
        app.get(&manager, &format!("/tenants/{ours}/members/{}/wallet", member.user_id)).await.expect(200).body;
    assert_eq!(wallet["userId"], json!(member.user_id));
    let listed = app.get(&manager, "/tenants").await.expect(200).body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);

    // Whose tenant it is not, is told that there is none.
    for reader in [&foreign, &loner] {
        for path in ["", "/orders", "/members", &format!("/members/{}/wallet", member.user_id)] {
            let answer = app.get(reader, &format!("/tenants/{ours}{path}")).await.expect(404);
            assert_eq!(answer.code(), "tenants.not_found", "{path}");
        }
    }
    let path = format!("/tenants/{ours}/members/{}/wallet", stranger.user_id);
    assert_eq!(app.get(&manager, &path).await.expect(404).code(), "users.not_found", "no member of it");

    // What was done here stays here, and what is done elsewhere is not seen.
    let path = format!("/tenants/{ours}/members/{}", member.user_id);
    act(&app, &admin, Method::DELETE, &path, None).await.expect(204);
    let moved = join(&app, &admin, &theirs, &member).await;
    let third = app.created(&moved, "c-3").await;
    assert_eq!(order_ids(&app, &manager, &ours, "").await, [second, first]);
    assert_eq!(order_ids(&app, &foreign, &theirs, "").await, [third]);
    let read = app.all("audit_events", doc! { "action": "request.read", "actor.id": &manager.user_id }).await;
    assert!(read.len() >= 5, "what a manager reads is on record");
    app.finish().await;
}

#[tokio::test]
async fn tenants_are_made_and_changed_by_administrators() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let tenant_id = tenant(&app, &admin, "kiran").await;
    let body = json!({ "slug": "kiran", "name": "Another" });
    assert_eq!(act(&app, &admin, Method::POST, "/tenants", Some(body)).await.expect(409).code(), "tenants.slug_taken");
    let path = format!("/tenants/{tenant_id}");
    let got = app.get(&admin, &path).await.expect(200).body;
    assert_eq!(got["settings"], json!({ "timezone": "UTC", "supportEmail": null }));
    let change = json!({ "settings": { "timezone": "Asia/Kolkata", "supportEmail": "help@example.com" } });
    let changed = act(&app, &admin, Method::PATCH, &path, Some(change.clone())).await.expect(200).body;
    assert_eq!((&changed["settings"], &changed["name"]), (&change["settings"], &json!("Kiran Stores")));
    for (body, blamed) in [
        (json!({ "slug": "Bad Slug", "name": "" }), vec!["name:length", "slug:format"]),
        (json!({ "slug": "ok", "name": "A\u{202E}B" }), vec!["name:characters"]),
        (
            json!({ "slug": "ok", "name": "A", "settings": { "timezone": "Mars/Olympus" } }),
            vec!["settings.timezone:format"],
        ),
    ] {
        let refused = act(&app, &admin, Method::POST, "/tenants", Some(body)).await.expect(422);
        assert_eq!(refused.blamed(), blamed);
    }
    let user = app.merchant().await;
    let other = tenant(&app, &admin, "other").await;
    join(&app, &admin, &tenant_id, &user).await;
    let twice = format!("/tenants/{tenant_id}/members/{}", user.user_id);
    act(&app, &admin, Method::PUT, &twice, None).await.expect(200);
    let elsewhere = format!("/tenants/{other}/members/{}", user.user_id);
    let refused = act(&app, &admin, Method::PUT, &elsewhere, None).await.expect(409);
    assert_eq!(refused.code(), "tenants.other_tenant");
    act(&app, &admin, Method::DELETE, &elsewhere, None).await.expect(404);
    let nobody = format!("/tenants/{tenant_id}/members/usr_0198f0c2b1e07c3e8a41b5d0f3a2c4e6");
    act(&app, &admin, Method::PUT, &nobody, None).await.expect(404);
    let of_tenants = app
        .all("audit_events", doc! { "action": { "$in": ["tenant.created", "tenant.updated", "user.tenant_changed"] } })
        .await;
    let actions: Vec<_> = of_tenants.iter().map(|event| event.get_str("action").unwrap()).collect();
    assert_eq!(actions, ["tenant.created", "tenant.updated", "tenant.created", "user.tenant_changed"]);
    assert_eq!(app.all("events", doc! { "type": "TenantCreated" }).await.len(), 2);
    app.finish().await;
}
