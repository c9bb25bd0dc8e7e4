//! Signing in, staying in, and getting thrown out.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use bson::{Document, doc};
use futures_util::{TryStreamExt, future::join_all};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::{
    identity::Role,
    secret::{derive_key, hmac_sha256, sha256_hex},
};

use crate::support::{Answer, JWT_SECRET, PASSWORD, TestApp, User, unique};

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    app.request(Method::POST, path, None, Some(&body)).await
}

async fn register(app: &TestApp, email: &str) -> Value {
    post(app, "/auth/register", json!({ "email": email, "password": PASSWORD, "name": "Asha Rao" }))
        .await
        .expect(201)
        .body
}

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    post(app, "/auth/login", json!({ "email": email, "password": password })).await
}

async fn refresh(app: &TestApp, tokens: &Value) -> Answer {
    post(app, "/auth/refresh", json!({ "refreshToken": tokens["refreshToken"] })).await
}

/// Sessions that can still be refreshed.
async fn live(app: &TestApp) -> usize {
    app.all("sessions", doc! { "endedAt": null }).await.len()
}

#[tokio::test]
async fn the_whole_way_of_an_account() {
    let app = TestApp::start().await;
    let email = format!("{}@example.com", unique("asha"));
    let answer = post(
        &app,
        "/auth/register",
        json!({ "email": format!("  {} ", email.to_uppercase()), "password": PASSWORD, "name": " Asha " }),
    );
    let answer = answer.await.expect(201);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let registered = answer.body;
    assert_eq!((&registered["tokenType"], &registered["expiresIn"]), (&json!("Bearer"), &json!(900)));
    let token = registered["accessToken"].as_str().unwrap();
    let again =
        post(&app, "/auth/register", json!({ "email": email, "password": PASSWORD, "name": "B" })).await.expect(409);
    assert_eq!((again.code(), again.blamed()), ("auth.email_taken", vec!["email:taken".to_owned()]));

    let me = app.request(Method::GET, "/auth/me", Some(token), None).await.expect(200).body;
    assert_eq!((&me["email"], &me["name"], &me["role"]), (&json!(email), &json!("Asha"), &json!("merchant")));
    assert_eq!(me["userId"], registered["userId"]);
    let renamed =
        app.request(Method::PATCH, "/auth/me", Some(token), Some(&json!({ "name": "Asha Rao" }))).await.expect(200);
    assert_eq!(renamed.body["name"], "Asha Rao");
    let promoted =
        app.request(Method::PATCH, "/auth/me", Some(token), Some(&json!({ "name": "A", "role": "admin" }))).await;
    assert_eq!(promoted.expect(422).blamed(), ["role:unknown"]);

    let second = login(&app, &email.to_uppercase(), PASSWORD).await.expect(200).body;
    assert_eq!(second["userId"], registered["userId"]);
    let change = |current: &str| json!({ "currentPassword": current, "newPassword": "battery staple" });
    let wrong =
        app.request(Method::POST, "/auth/password", Some(token), Some(&change("not this one"))).await.expect(422);
    assert_eq!(wrong.code(), "auth.wrong_password");
    app.request(Method::POST, "/auth/password", Some(token), Some(&change(PASSWORD))).await.expect(204);
    assert_eq!(live(&app).await, 0, "signed out everywhere");
    for tokens in [&registered, &second] {
        assert_eq!(refresh(&app, tokens).await.expect(401).code(), "auth.refresh_reused");
    }
    assert_eq!(login(&app, &email, PASSWORD).await.expect(401).code(), "auth.invalid_credentials");

    let third = login(&app, &email, "battery staple").await.expect(200).body;
    for _ in 0..2 {
        post(&app, "/auth/logout", json!({ "refreshToken": third["refreshToken"] })).await.expect(204);
    }
    post(&app, "/auth/logout", json!({ "refreshToken": "unknown" })).await.expect(204);
    assert_eq!(refresh(&app, &third).await.expect(401).code(), "auth.refresh_reused");
    assert_eq!(refresh(&app, &json!({ "refreshToken": "unknown" })).await.expect(401).code(), "auth.invalid_refresh");
    app.finish().await;
}

#[tokio::test]
async fn one_address_registers_once() {
    let app = TestApp::start().await;
    let body = json!({ "email": "asha@example.com", "password": PASSWORD, "name": "Asha" });
    let answers = join_all((0..6).map(|_| post(&app, "/auth/register", body.clone()))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
    assert_eq!(app.all("users", doc! {}).await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn one_mailbox_is_one_account_however_it_is_written() {
    let app = TestApp::start().await;
    let kate = register(&app, "kate@example.com").await;
    for same in ["KATE@EXAMPLE.COM", " kate@ｅｘａｍｐｌｅ.com", "kate@example。com"] {
        let body = json!({ "email": same, "password": PASSWORD, "name": "Kate" });
        assert_eq!(post(&app, "/auth/register", body).await.expect(409).code(), "auth.email_taken", "{same}");
        assert_eq!(login(&app, same, PASSWORD).await.expect(200).body["userId"], kate["userId"], "{same}");
    }
    for other in ["\u{212a}ate@example.com", "ka\u{ad}te@example.com", "kate@exam\u{ad}ple.com", "ｋate@example.com"] {
        let body = json!({ "email": other, "password": PASSWORD, "name": "Kate" });
        assert_eq!(post(&app, "/auth/register", body).await.expect(422).blamed(), ["email:email"], "{other}");
        assert_eq!(login(&app, other, PASSWORD).await.expect(422).blamed(), ["email:email"], "{other}");
    }
    // As accounts were stored once.
    let old = register(&app, "eva@exämple.com").await;
    assert_eq!(app.all("users", doc! { "email": "eva@xn--exmple-cua.com" }).await.len(), 1);
    let users = app.db().collection::<bson::Document>("users");
    let typed = doc! { "$set": { "email": "eva@exämple.com" } };
    users.update_one(doc! { "email": "eva@xn--exmple-cua.com" }, typed).await.unwrap();
    assert_eq!(login(&app, "Eva@EXÄMPLE.com", PASSWORD).await.expect(200).body["userId"], old["userId"]);
    let again = json!({ "email": "eva@exämple.com", "password": PASSWORD, "name": "Eva" });
    assert_eq!(post(&app, "/auth/register", again).await.expect(409).code(), "auth.email_taken");
    app.finish().await;
}

#[tokio::test]
async fn fields_that_are_not_acceptable_are_named() {
    let app = TestApp::start().await;
    for (path, body, blamed) in [
        (
            "/auth/register",
            json!({ "email": "nobody", "password": "short", "name": " " }),
            vec!["email:email", "name:length", "password:length"],
        ),
        ("/auth/register", json!({ "email": "a@example.com", "password": PASSWORD }), vec!["name:required"]),
        (
            "/auth/register",
            json!({ "email": "a@example.com", "password": PASSWORD, "name": "A", "role": "admin" }),
            vec!["role:unknown_value"],
        ),
        (
            "/auth/register",
            json!({ "email": "a@example.com", "password": "correct\u{0}horse", "name": "A" }),
            vec!["password:characters"],
        ),
        (
            "/auth/register",
            json!({ "email": "a@example.com", "password": "x".repeat(129), "name": "A" }),
            vec!["password:length"],
        ),
        (
            "/auth/register",
            json!({ "email": "a@example.com", "password": PASSWORD, "name": "A\u{0}" }),
            vec!["name:characters"],
        ),
        ("/auth/login", json!({ "email": "a@example.com" }), vec!["password:required"]),
        ("/auth/login", json!({ "email": "a@example.com", "password": 5 }), vec!["password:type"]),
        ("/auth/refresh", json!({ "refreshToken": "" }), vec!["refreshToken:length"]),
        ("/auth/refresh", json!({ "refreshToken": "x".repeat(513) }), vec!["refreshToken:length"]),
        ("/auth/logout", json!({}), vec!["refreshToken:required"]),
    ] {
        let answer = post(&app, path, body.clone()).await.expect(422);
        assert_eq!(answer.blamed(), blamed, "{path} {body}");
        assert!(!answer.text.contains("horse"), "passwords are never repeated");
    }
    assert!(app.all("users", doc! {}).await.is_empty());
    app.finish().await;
}

#[tokio::test]
async fn a_refresh_repeated_in_time_gets_the_same_successor() {
    let app = TestApp::start().await;
    let first = register(&app, "asha@example.com").await;
    let second = refresh(&app, &first).await.expect(200).body;
    assert_ne!(second["refreshToken"], first["refreshToken"]);
    app.app.clock.advance(Duration::from_secs(25));
    assert_eq!(refresh(&app, &first).await.expect(200).body["refreshToken"], second["refreshToken"]);
    assert_eq!(live(&app).await, 1);
    app.app.clock.advance(Duration::from_secs(10));
    assert_eq!(refresh(&app, &first).await.expect(401).code(), "auth.refresh_reused", "too late for a repetition");
    assert_eq!(refresh(&app, &second).await.expect(401).code(), "auth.refresh_reused", "the family has ended");
    assert_eq!(live(&app).await, 0);
    app.finish().await;
}

#[tokio::test]
async fn a_token_presented_again_after_its_successor_was_used_ends_the_family() {
    let app = TestApp::start().await;
    let first = register(&app, "asha@example.com").await;
    let other = login(&app, "asha@example.com", PASSWORD).await.expect(200).body;
    let second = refresh(&app, &first).await.expect(200).body;
    let third = refresh(&app, &second).await.expect(200).body;
    assert_eq!(refresh(&app, &first).await.expect(401).code(), "auth.refresh_reused");
    assert_eq!(refresh(&app, &third).await.expect(401).code(), "auth.refresh_reused");
    refresh(&app, &other).await.expect(200);
    assert_eq!(live(&app).await, 1, "another sign-in is another family");
    app.finish().await;
}

#[tokio::test]
async fn fifty_refreshes_at_once_are_one() {
    let app = TestApp::start().await;
    let mut tokens = register(&app, "asha@example.com").await;
    for _ in 0..5 {
        let answers = join_all((0..50).map(|_| refresh(&app, &tokens))).await;
        let successors: BTreeSet<_> = answers
            .into_iter()
            .map(|answer| answer.expect(200).body["refreshToken"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(successors.len(), 1, "one successor for all");
        assert_eq!((live(&app).await, app.all("sessions", doc! {}).await.len()), (1, 1), "one document");
        tokens = json!({ "refreshToken": successors.first().unwrap() });
    }
    app.finish().await;
}

#[tokio::test]
async fn a_changed_secret_does_not_fork_a_family() {
    let old = TestApp::start().await;
    let flags = ["--jwt-secret=the-secret-after-the-secret-after-it", &format!("--jwt-secret-previous={JWT_SECRET}")];
    let new = TestApp::over(old.mongodb_uri.clone(), old.redis_url.clone(), &flags).await;
    // How many are live, and the number of the live token.
    let sessions = async || {
        let session = old.all("sessions", doc! {}).await.remove(0);
        (live(&old).await, session.get_i64("generation").unwrap())
    };
    let first = register(&old, "asha@example.com").await;

    // Chosen under the old secret: who has both knows it.
    let second = refresh(&old, &first).await.expect(200).body;
    assert_eq!(refresh(&new, &first).await.expect(200).body["refreshToken"], second["refreshToken"]);
    assert_eq!(sessions().await, (1, 2));

    // Chosen under the new one: who has the old one alone refuses, stores nothing and ends nothing.
    let third = refresh(&new, &second).await.expect(200).body;
    assert_eq!(refresh(&old, &second).await.expect(401).code(), "auth.invalid_refresh");
    assert_eq!(sessions().await, (1, 3));
    assert_eq!(refresh(&new, &second).await.expect(200).body["refreshToken"], third["refreshToken"]);

    // Both at once: one of them chooses.
    let both = (0..50).map(|n| refresh(if n % 2 == 0 { &old } else { &new }, &third));
    let mut successors = BTreeSet::new();
    for answer in join_all(both).await {
        match answer.status.as_u16() {
            200 => drop(successors.insert(answer.body["refreshToken"].as_str().unwrap().to_owned())),
            _ => assert_eq!(answer.expect(401).code(), "auth.invalid_refresh"),
        }
    }
    assert_eq!(successors.len(), 1, "one successor for all");
    assert_eq!(sessions().await, (1, 4));

    // A reuse is a reuse to whoever knows the token.
    let fourth = json!({ "refreshToken": successors.first().unwrap() });
    refresh(&new, &fourth).await.expect(200);
    assert_eq!(refresh(&old, &third).await.expect(401).code(), "auth.invalid_refresh");
    assert_eq!(sessions().await, (1, 5));
    assert_eq!(refresh(&new, &third).await.expect(401).code(), "auth.refresh_reused");
    assert_eq!(sessions().await, (0, 5));
    new.finish().await;
    old.finish().await;
}

#[tokio::test]
async fn an_access_token_expires_by_the_shared_clock() {
    let app = TestApp::start().await;
    let tokens = register(&app, "asha@example.com").await;
    let me = async |tokens: &Value| {
        app.request(Method::GET, "/auth/me", Some(tokens["accessToken"].as_str().unwrap()), None).await
    };
    app.app.clock.advance(Duration::from_secs(15 * 60));
    me(&tokens).await.expect(200);
    app.app.clock.advance(Duration::from_secs(7));
    assert_eq!(me(&tokens).await.expect(401).code(), "auth.token_expired");
    me(&refresh(&app, &tokens).await.expect(200).body).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn bodies_are_short() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    for path in ["/auth/register", "/auth/login", "/auth/refresh", "/auth/logout", "/auth/password"] {
        for (bytes, status, code) in [(8 * 1024, 422, "request.invalid"), (8 * 1024 + 1, 413, "request.too_large")] {
            let body = format!("{:bytes$}", "{}");
            assert_eq!(app.post_text(&user, path, body).await.expect(status).code(), code, "{path}");
        }
    }
    app.finish().await;
}

/// Signs in from an address behind a trusted proxy, with a header.
async fn login_from(app: &TestApp, address: &str, email: &str, password: &str, header: (&str, &str)) -> Answer {
    let request = app.client.post(format!("{}/auth/login", app.base)).header("x-forwarded-for", address);
    let body = json!({ "email": email, "password": password }).to_string();
    let request = request.header(header.0, header.1).header("content-type", "application/json").body(body);
    crate::support::read(request.send().await.expect("the api answers")).await
}

#[tokio::test]
async fn twenty_wrong_passwords_shut_out_who_guesses_and_not_the_owner() {
    let app = TestApp::with(&["--trusted-proxies=127.0.0.1"]).await;
    let (asha, ravi) = ("asha@example.com", "ravi@example.com");
    let registered = register(&app, asha).await;
    register(&app, ravi).await;
    let (guesser, home, nothing) = ("203.0.113.7", "203.0.113.8", ("x-nothing", ""));
    let first = login_from(&app, home, asha, PASSWORD, nothing).await.expect(200);
    let cookie = first.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("waybill_device=") && cookie.contains("HttpOnly"), "{cookie}");
    let device = cookie.split(';').next().unwrap().to_owned();
    for guess in 0..20 {
        let answer = login_from(&app, guesser, asha, &format!("guess {guess}"), nothing).await.expect(401);
        assert_eq!(answer.code(), "auth.invalid_credentials");
    }
    for password in ["one more guess", PASSWORD] {
        let answer = login_from(&app, guesser, asha, password, nothing).await.expect(429);
        assert_eq!(answer.code(), "auth.too_many_attempts");
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=45).contains(&wait), "one more every 45 s, not {wait}");
    }
    // Others behind the same address, the owner from elsewhere, and the owner even there: on a device, in a session.
    login_from(&app, guesser, ravi, PASSWORD, nothing).await.expect(200);
    login_from(&app, home, asha, PASSWORD, nothing).await.expect(200);
    let bearer = format!("Bearer {}", registered["accessToken"].as_str().unwrap());
    for header in [("cookie", &*device), ("authorization", &bearer)] {
        let answer = login_from(&app, guesser, asha, PASSWORD, header).await.expect(200);
        assert_eq!(answer.headers.contains_key("set-cookie"), header.0 != "cookie", "a device has one cookie");
        login_from(&app, guesser, ravi, "not this one", header).await.expect(401);
    }
    // What the owner has is of no use for another account, nor for guessing without end.
    for guess in 0..20 {
        login_from(&app, guesser, asha, &format!("guess {guess}"), ("cookie", &device)).await.expect(401);
    }
    login_from(&app, guesser, asha, PASSWORD, ("cookie", &device)).await.expect(429);
    let body = json!({ "currentPassword": PASSWORD, "newPassword": "battery staple" });
    let token = registered["accessToken"].as_str();
    app.request(Method::POST, "/auth/password", token, Some(&body)).await.expect(204);
    app.finish().await;
}

#[tokio::test]
async fn common_passwords_are_refused_wherever_somebody_takes_one() {
    let app = TestApp::start().await;
    let body = json!({ "email": "asha@example.com", "password": "Password123!", "name": "Asha" });
    assert_eq!(post(&app, "/auth/register", body).await.expect(422).blamed(), ["password:common"]);
    assert!(app.all("users", doc! {}).await.is_empty());
    let user = app.merchant().await;
    let change = json!({ "currentPassword": PASSWORD, "newPassword": "qwertyuiop12" });
    assert_eq!(app.post(&user, "/auth/password", &change).await.expect(422).blamed(), ["newPassword:common"]);
    let created = app.app.auth.create_user("ravi@example.com", &"1234567890".into(), "Ravi", Role::Admin).await;
    assert!(matches!(created, Err(waybill::modules::auth::AuthError::Invalid(_))));
    app.finish().await;
}

#[tokio::test]
async fn refreshing_and_signing_out_have_limits() {
    let app = TestApp::with(&["--rate-limit=on"]).await;
    let tokens = register(&app, "asha@example.com").await;
    let mut live = tokens.clone();
    for _ in 0..59 {
        live = refresh(&app, &live).await.expect(200).body;
    }
    let other = login(&app, "asha@example.com", PASSWORD).await.expect(200).body;
    let forged = json!({ "refreshToken": "A".repeat(70) });
    for _ in 0..3 {
        assert_eq!(refresh(&app, &forged).await.expect(401).code(), "auth.invalid_refresh");
        post(&app, "/auth/logout", forged.clone()).await.expect(204);
    }
    refresh(&app, &live).await.expect(200);
    for path in ["/auth/refresh", "/auth/logout"] {
        let answer = post(&app, path, json!({ "refreshToken": tokens["refreshToken"] })).await.expect(429);
        assert_eq!(answer.code(), "auth.too_many_attempts");
        assert!(answer.headers.contains_key("retry-after"));
    }
    refresh(&app, &other).await.expect(200);
    assert_eq!(app.all("sessions", doc! {}).await.len(), 2, "a document each sign-in, however often it is refreshed");
    app.finish().await;
}

#[tokio::test]
async fn a_session_ends_after_thirty_days_however_often_it_is_refreshed() {
    let app = TestApp::start().await;
    let mut tokens = register(&app, "asha@example.com").await;
    for _ in 0..29 {
        app.app.clock.advance(Duration::from_secs(24 * 3600));
        tokens = refresh(&app, &tokens).await.expect(200).body;
    }
    app.app.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(refresh(&app, &tokens).await.expect(401).code(), "auth.invalid_refresh");
    app.finish().await;
}

#[tokio::test]
async fn guesses_at_once_do_not_get_past_the_limit() {
    let app = TestApp::start().await;
    register(&app, "asha@example.com").await;
    let names: Vec<_> = (0..60).map(|guess| format!("guess {guess}")).collect();
    let answers = join_all(names.iter().map(|guess| login(&app, "asha@example.com", guess))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status.as_u16() == status).count();
    assert!(count(401) <= 20, "{} passwords were tried", count(401));
    assert_eq!(count(401) + count(429) + count(503), 60);
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_account_and_a_wrong_password_look_the_same() {
    let app = TestApp::start().await;
    register(&app, "asha@example.com").await;
    let mut said = Vec::new();
    for email in ["asha@example.com", "nobody@example.com"] {
        let mut body = login(&app, email, "not this one").await.expect(401).body;
        body["requestId"] = Value::Null;
        said.push(body);
    }
    assert_eq!(said[0], said[1]);
    app.finish().await;
}

#[tokio::test]
async fn a_disabled_account_is_out() {
    let app = TestApp::start().await;
    let tokens = register(&app, "asha@example.com").await;
    app.update_one("users", doc! { "email": "asha@example.com" }, doc! { "disabledAt": bson::DateTime::now() }).await;
    assert_eq!(login(&app, "asha@example.com", PASSWORD).await.expect(403).code(), "auth.account_disabled");
    assert_eq!(login(&app, "asha@example.com", "not this one").await.expect(401).code(), "auth.invalid_credentials");
    assert_eq!(refresh(&app, &tokens).await.expect(403).code(), "auth.account_disabled");
    let token = tokens["accessToken"].as_str().unwrap();
    assert_eq!(
        app.request(Method::GET, "/auth/me", Some(token), None).await.expect(403).code(),
        "auth.account_disabled"
    );
    app.finish().await;
}

/// A token made by hand, signed with HMAC-SHA-256 whatever its header says.
fn token(secret: &str, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let signature = B64.encode(hmac_sha256(secret.as_bytes(), signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn header(alg: &str, secret: &str) -> Value {
    json!({ "alg": alg, "typ": "JWT", "kid": &sha256_hex(secret.as_bytes())[..8] })
}

fn claims(user: &User, role: &str, expires_in: i64) -> Value {
    let now = bson::DateTime::now().timestamp_millis() / 1000;
    json!({ "iss": "waybill", "aud": "waybill-api", "sub": user.user_id, "role": role, "iat": now - 1000, "exp": now + expires_in })
}

#[tokio::test]
async fn forged_and_foreign_tokens_open_nothing() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let good = claims(&user, "merchant", 600);
    let valid = token(JWT_SECRET, &header("HS256", JWT_SECRET), &good);
    app.request(Method::GET, "/auth/me", Some(&valid), None).await.expect(200);

    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        token(JWT_SECRET, &header("HS256", JWT_SECRET), &claims)
    };
    let other = "other-secret-other-secret-other-secret-other";
    let parts: Vec<_> = valid.split('.').collect();
    let admin = B64.encode(claims(&user, "admin", 600).to_string());
    let none = format!("{}.{}.", B64.encode(header("none", JWT_SECRET).to_string()), parts[1]);
    for (what, bad, code) in [
        ("none", none.clone(), "auth.invalid_token"),
        ("none, with a signature", format!("{none}{}", parts[2]), "auth.invalid_token"),
        ("another algorithm", token(JWT_SECRET, &header("HS512", JWT_SECRET), &good), "auth.invalid_token"),
        ("another key under our id", token(other, &header("HS256", JWT_SECRET), &good), "auth.invalid_token"),
        ("another key under its id", token(other, &header("HS256", other), &good), "auth.invalid_token"),
        ("no key id", token(JWT_SECRET, &json!({ "alg": "HS256", "typ": "JWT" }), &good), "auth.invalid_token"),
        ("a better role", format!("{}.{admin}.{}", parts[0], parts[2]), "auth.invalid_token"),
        ("a role that isn't one", with("role", json!("root")), "auth.invalid_token"),
        ("another audience", with("aud", json!("other")), "auth.invalid_token"),
        ("another issuer", with("iss", json!("other")), "auth.invalid_token"),
        ("no end", with("exp", Value::Null), "auth.invalid_token"),
        ("expired", with("exp", json!(good["iat"])), "auth.token_expired"),
        ("cut off", valid[..valid.len() - 4].to_owned(), "auth.invalid_token"),
        ("not a token", "a.b.c".into(), "auth.invalid_token"),
        ("of somebody who is gone", with("sub", json!("usr_1")), "auth.invalid_token"),
    ] {
        let answer = app.request(Method::GET, "/auth/me", Some(&bad), None).await.expect(401);
        assert_eq!(answer.code(), code, "{what}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{what}");
    }
    for (name, value) in [
        ("authorization", format!("Basic {valid}")),
        ("authorization", "Bearer".into()),
        ("cookie", format!("token={valid}")),
    ] {
        let answer = app.client.get(format!("{}/auth/me", app.base)).header(name, value).send().await.unwrap();
        assert_eq!(crate::support::read(answer).await.expect(401).code(), "auth.required");
    }
    let in_query = app.request(Method::GET, &format!("/auth/me?access_token={valid}"), None, None).await;
    assert_eq!(in_query.expect(401).code(), "auth.required");
    app.finish().await;
}

#[tokio::test]
async fn tokens_of_the_secret_before_are_accepted() {
    let before = "the-secret-before-the-secret-before-it";
    let app = TestApp::with(&[&format!("--jwt-secret-previous={before}")]).await;
    let user = app.merchant().await;
    for (secret, status) in [(JWT_SECRET, 200), (before, 200), ("a-secret-that-nobody-ever-had-in-here", 401)] {
        let token = token(secret, &header("HS256", secret), &claims(&user, "merchant", 600));
        app.request(Method::GET, "/auth/me", Some(&token), None).await.expect(status);
    }
    app.finish().await;
}

#[tokio::test]
async fn secrets_are_nowhere_in_the_database() {
    let app = TestApp::start().await;
    let registered = register(&app, "asha@example.com").await;
    let refreshed = refresh(&app, &registered).await.expect(200).body;
    login(&app, "asha@example.com", "a wrong password").await.expect(401);
    let user = User {
        user_id: registered["userId"].as_str().unwrap().into(),
        email: "asha@example.com".into(),
        token: registered["accessToken"].as_str().unwrap().into(),
    };
    app.app.grant_kyc(&user.user_id).await.unwrap();
    app.credit(&user, 100_000).await;
    app.confirmed(&user, "c-1").await;
    let mut everything = String::new();
    for name in app.db().list_collection_names().await.unwrap() {
        let documents: Vec<Document> =
            app.db().collection::<Document>(&name).find(doc! {}).await.unwrap().try_collect().await.unwrap();
        documents.iter().for_each(|document| everything.push_str(&format!("{name}: {document}\n")));
    }
    assert!(everything.contains("users: ") && everything.contains("provider_request_logs: "));
    let token = |tokens: &Value, name: &str| tokens[name].as_str().unwrap().to_owned();
    for (what, secret) in [
        ("password", PASSWORD.to_owned()),
        ("wrong password", "a wrong password".into()),
        ("access token", token(&registered, "accessToken")),
        ("its signature", token(&registered, "accessToken").rsplit('.').next().unwrap().to_owned()),
        ("refresh token", token(&registered, "refreshToken")),
        ("its successor", token(&refreshed, "refreshToken")),
        ("signing secret", JWT_SECRET.into()),
        ("the carrier's token", base64::engine::general_purpose::STANDARD.encode("key:secret")),
    ] {
        assert!(!everything.contains(&secret), "the {what} is in the database");
    }
    assert!(app.all("users", doc! {}).await[0].get_str("passwordHash").unwrap().starts_with("$argon2id$"));
    let shown = format!("{:?}", app.app.auth);
    let key = format!("{:?}", derive_key(&JWT_SECRET.into(), "waybill refresh tokens v1"));
    assert!(shown.contains("refresh_keys") && !shown.contains(&key) && !shown.contains(JWT_SECRET), "{shown}");
    app.finish().await;
}

#[tokio::test]
async fn a_role_opens_its_own_doors_only() {
    let app = TestApp::start().await;
    for role in [Role::Merchant, Role::Finance, Role::Auditor, Role::Admin] {
        let user = app.user(role).await;
        app.get(&user, "/auth/me").await.expect(200);
        let orders = app.get(&user, "/orders").await;
        let queues = app.get(&user, "/queues").await;
        assert_eq!(orders.status == 200, role == Role::Merchant, "{role:?}");
        assert_eq!(queues.status == 200, role == Role::Admin, "{role:?}");
        for answer in [orders, queues].into_iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.expect(403).code(), "auth.forbidden");
        }
    }
    app.finish().await;
}
