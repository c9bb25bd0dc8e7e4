//! The console: coming in, staying in, and forms of one's own.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use totp_rs::{Builder, Secret};
use waybill::platform::identity::Role;

use crate::support::{Browser, JWT_SECRET, PASSWORD, TestApp};

const QUEUE: &str = "parcelx-orders-queue";
const MINUTE: Duration = Duration::from_secs(60);

async fn is_paused(app: &TestApp) -> bool {
    let admin = app.admin().await;
    app.get(&admin, &format!("/queues/{QUEUE}")).await.expect(200).body["paused"] == true
}

#[tokio::test]
async fn a_second_factor_is_set_up_on_a_page_and_asked_for_on_another() {
    let app = TestApp::with(&["--staff-totp=required"]).await;
    let auditor = app.user(Role::Auditor).await;
    let browser = Browser::new(&app);
    let own_page = browser.sign_in(&auditor.email, PASSWORD).await.to().to_owned();
    assert_eq!(own_page, "/admin/my/second-factor");
    browser.get("/admin/logs").await.expect(403).shows("auth.token_limited");
    browser.get(&own_page).await.expect(200);
    let wrong = [("currentPassword", "not this one"), ("back", &*own_page)];
    browser.act("begin-totp", &wrong).await.expect(422).shows("auth.wrong_password");
    let begun = browser.act("begin-totp", &[("currentPassword", PASSWORD), ("back", &own_page)]).await.expect(200);
    let of_secret =
        |page: &str| page.split("id=\"secret\" tabindex=\"0\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let totp = Builder::new().with_secret(Secret::try_from_base32(of_secret(&begun.text)).unwrap()).build().unwrap();
    let code = totp.generate((app.app.clock.now_ms() / 1000) as u64).to_string();
    let confirmed = browser.act("confirm-totp", &[("code", &*code), ("back", &own_page)]).await.expect(200);
    let codes = of_secret(&confirmed.text);
    assert_eq!(codes.lines().count(), 10, "{codes}");
    browser.get("/admin/logs").await.to(); // its session has ended too

    let asked = browser.sign_in(&auditor.email, PASSWORD).await.expect(401).shows("Code from your authenticator");
    let (token, step) = (asked.field("token").unwrap(), asked.field("step").unwrap());
    let answered = async |code: &str| {
        browser.send("/admin/sign-in", &[("token", &token), ("step", &step), ("otp", code)], &[]).await
    };
    answered("000000").await.expect(401).shows("role=\"alert\"");
    // Whoever has come by the first step has come by nothing: it opens in its own browser alone.
    let thief = Browser::new(&app);
    let own = thief.get("/admin/sign-in").await.field("token").unwrap();
    for token in [&own, &token] {
        let fields = [("token", &**token), ("step", &step), ("otp", codes.lines().nth(1).unwrap())];
        thief.send("/admin/sign-in", &fields, &[]).await.expect(403).shows("name=\"password\"");
    }
    assert_eq!(answered(codes.lines().next().unwrap()).await.to(), "/admin");
    browser.get("/admin/logs").await.expect(200);
    browser.get(&own_page).await.expect(200).shows("Get other recovery codes");
    let fields = [("currentPassword", PASSWORD), ("code", codes.lines().nth(2).unwrap()), ("back", &*own_page)];
    let renewed = browser.act("renew-codes", &fields).await.expect(200);
    assert_eq!(of_secret(&renewed.text).lines().count(), 10);
    assert_ne!(of_secret(&renewed.text), codes);

    // A key is made with the password too.
    let merchant = app.merchant().await;
    let browser = Browser::new(&app);
    browser.sign_in(&merchant.email, PASSWORD).await;
    browser.get("/admin/my/keys").await.expect(200).shows("name=\"currentPassword\"").hides("name=\"code\"");
    let form = |password| {
        [("name", "Server"), ("scopes", "orders:read"), ("currentPassword", password), ("back", "/admin/my/keys")]
    };
    browser.act("create-key", &form("not this one")).await.expect(422).shows("auth.wrong_password");
    browser.act("create-key", &form(PASSWORD)).await.expect(200).shows("wb_live_");
    app.finish().await;
}

#[tokio::test]
async fn who_knows_the_password_comes_in_and_every_page_is_guarded() {
    let app = TestApp::start().await;
    let (admin, auditor, customer) = (app.admin().await, app.user(Role::Auditor).await, app.user(Role::Customer).await);
    let browser = Browser::new(&app);
    let first = browser.get("/admin/queues?x=1").await;
    assert_eq!(first.to(), "/admin/sign-in?next=%2Fadmin%2Fqueues%3Fx%3D1");
    let page = browser.get(first.to()).await.expect(200).shows("Password").hides("Sign out");
    let page = page.shows("queues?x=1\">Go on</a>");
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(page.headers[name], value);
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.text.contains("style=") && !page.text.contains("onclick"), "nothing inline");
    assert!(
        page.text.matches("<script").count() == 1 && page.text.contains("defer></script>"),
        "one script, by address"
    );

    browser.sign_in(&admin.email, "wrong-password").await.expect(401).shows("role=\"alert\"").shows(&admin.email);
    browser.sign_in("nobody", "x").await.expect(422);
    browser.sign_in(&customer.email, PASSWORD).await.expect(403).shows("nothing here for your role");
    let hostile = [("token", "0"), ("email", &*admin.email), ("password", PASSWORD)];
    browser.send("/admin/sign-in", &hostile, &[]).await.expect(403).shows("expired");

    let token = browser.get("/admin/sign-in?next=//evil.example").await.field("token").unwrap();
    let fields = [("token", &*token), ("next", "//evil.example"), ("email", &*admin.email), ("password", PASSWORD)];
    let came_in = browser.send("/admin/sign-in", &fields, &[]).await;
    assert_eq!(came_in.to(), "/admin");
    let cookies: Vec<_> = came_in.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).collect();
    let session = cookies.iter().find(|cookie| cookie.starts_with("__Host-waybill-console=")).expect("a session");
    for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
        assert!(session.contains(attribute), "{session}");
    }
    assert!(!session.contains("Max-Age"), "it goes with the browser");
    assert!(cookies.iter().any(|cookie| cookie.starts_with("waybill_device=") && cookie.contains("Path=/admin")));
    browser.get("/admin/queues").await.expect(200).shows(QUEUE).shows("production").shows("nobody works this queue");
    browser.get("/admin/nothing").await.expect(404).shows("no page under this address");
    assert_eq!(browser.get("/admin/sign-in").await.to(), "/admin");

    let other = Browser::of(&app, &auditor).await;
    other.get("/admin/queues").await.expect(403).shows("Your role does not allow this");
    other.act("pause-queue", &[("queue", QUEUE), ("confirmed", "yes")]).await.expect(403);
    assert_eq!(other.follow("/admin/live/queues").await.status(), 404);
    assert!(!is_paused(&app).await);

    // In one's own folder, and by its content's name.
    let style = page.text.split("href=\"").find_map(|part| part.split('"').next().filter(|a| a.ends_with(".css")));
    let style = browser.get(&style.unwrap().replace("&#x2f;", "/")).await.expect(200);
    assert!(style.headers["cache-control"].to_str().unwrap().contains("immutable"));
    app.finish().await;
}

#[tokio::test]
async fn a_form_counts_for_the_session_of_its_page_alone() {
    let app = TestApp::start().await;
    let (admin, other) = (app.admin().await, app.admin().await);
    let (browser, theirs) = (Browser::of(&app, &admin).await, Browser::of(&app, &other).await);
    let fields = |token: &str| {
        let fields = [("queue", QUEUE), ("confirmed", "yes"), ("back", "/admin/queues"), ("token", token)];
        fields.map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let pause = async |token: &str, headers: &[(&str, &str)]| {
        let fields = fields(token);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        browser.send("/admin/do/pause-queue", &fields, headers).await
    };
    for token in ["", "0", &theirs.token()] {
        pause(token, &[]).await.expect(403).shows("nothing was changed");
    }
    let own = browser.token();
    for headers in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "https://evil.example")],
        [("origin", "null")],
    ] {
        pause(&own, &headers).await.expect(403);
    }
    let body = browser.send("/admin/do/pause-queue", &[("token", &own)], &[("content-type", "text/plain")]).await;
    assert!(body.status.is_client_error());
    assert!(!is_paused(&app).await);

    // Asked first; then done, and what is on record of it is named.
    let asked = browser.act("pause-queue", &[("queue", QUEUE), ("back", "/admin/queues")]).await.expect(200);
    asked.shows("Pause parcelx-orders-queue?").shows("name=\"confirmed\" value=\"yes\"");
    assert!(!is_paused(&app).await);
    let origin = app.base.clone();
    let done = pause(&own, &[("origin", &origin)]).await;
    assert_eq!(done.to(), "/admin/queues");
    let page = browser.get("/admin/queues").await.expect(200).shows("is paused: what runs is finished");
    let request_id = page.text.split("/admin/audit?requestId=").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let events = app.get(&admin, &format!("/audit/events?requestId={request_id}")).await.expect(200).body;
    assert_eq!(events["items"][0]["action"], "queue.paused");
    assert_eq!(events["items"][0]["actor"]["id"], json!(admin.user_id));
    browser.get("/admin/queues").await.hides("is paused: what runs");
    assert!(is_paused(&app).await);

    // A page that was there before the secret was changed still works, for as long as the one before is known.
    let previous = format!("--jwt-secret-previous={JWT_SECRET}");
    let changed = app.beside(&["--jwt-secret=the-secret-after-the-secret-after-it", &previous]).await;
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields(&own)).finish();
    let request =
        app.client.post(format!("{}/admin/do/resume-queue", changed.base)).header("cookie", browser.cookies());
    request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap();
    assert!(!is_paused(&app).await);
    app.finish().await;
}

#[tokio::test]
async fn a_session_ends_idle_or_old_or_when_somebody_ends_it() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let idle = Browser::of(&app, &admin).await;
    app.app.clock.advance(29 * MINUTE);
    idle.get("/admin/queues").await.expect(200);
    app.app.clock.advance(31 * MINUTE);
    let late = idle.act("pause-queue", &[("queue", QUEUE), ("confirmed", "yes")]).await.expect(401);
    late.shows("nothing was changed").shows("name=\"password\"");
    assert!(idle.get("/admin/queues").await.to().starts_with("/admin/sign-in"));
    assert_eq!(idle.follow("/admin/live/queues").await.status(), 401);
    assert!(!is_paused(&app).await);

    let busy = Browser::of(&app, &admin).await;
    for _ in 0..28 {
        app.app.clock.advance(25 * MINUTE);
        busy.get("/admin/queues").await.expect(200);
    }
    app.app.clock.advance(25 * MINUTE);
    assert!(busy.get("/admin/queues").await.to().starts_with("/admin/sign-in"), "after twelve hours");

    let out = Browser::of(&app, &admin).await;
    let kept = out.cookies();
    let token = out.token();
    assert_eq!(out.send("/admin/sign-out", &[("token", &token)], &[]).await.to(), "/admin/sign-in");
    let copied = app.client.get(format!("{}/admin/queues", app.base)).header("cookie", kept).send().await.unwrap();
    assert!(copied.url().path().starts_with("/admin/sign-in"), "the cookie is good for nothing now");

    let ended = Browser::of(&app, &admin).await;
    let (boss, path) = (app.admin().await, format!("/users/{}/end-sessions", admin.user_id));
    app.request(Method::POST, &path, Some(&boss.token), None).await.expect(204);
    assert!(ended.get("/admin/queues").await.to().starts_with("/admin/sign-in"));
    app.finish().await;
}
