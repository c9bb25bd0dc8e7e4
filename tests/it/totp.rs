//! Second factors: begun, confirmed, asked for, guessed at, lost, required.

use std::time::Duration;

use bson::doc;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};
use waybill::platform::identity::Role;

use crate::support::{Answer, PASSWORD, TestApp, User, read};

const STEP: Duration = Duration::from_secs(30);

/// What an authenticator with this secret shows.
fn code(app: &TestApp, secret: &str) -> String {
    let totp = Builder::new().with_secret(Secret::try_from_base32(secret).unwrap()).build().unwrap();
    totp.generate((app.app.clock.now_ms() / 1000) as u64).to_string()
}

/// A well-formed code that it doesn't show, now or soon.
fn wrong_code(app: &TestApp, secret: &str) -> String {
    let totp = Builder::new().with_secret(Secret::try_from_base32(secret).unwrap()).build().unwrap();
    let now = (app.app.clock.now_ms() / 1000) as u64;
    let shown: Vec<_> = (0..7).map(|step| totp.generate(now + 30 * step - 90).to_string()).collect();
    (0..).map(|n| format!("{n:06}")).find(|code| !shown.contains(code)).unwrap()
}

async fn login(app: &TestApp, user: &User, password: &str, otp: Option<&str>) -> Answer {
    let body = json!({ "email": user.email, "password": password, "otp": otp });
    app.request(Method::POST, "/auth/login", None, Some(&body)).await
}

fn signed_in(user: &User, tokens: &Value) -> User {
    User { token: tokens["accessToken"].as_str().unwrap().into(), ..user.clone() }
}

async fn begin(app: &TestApp, user: &User) -> String {
    let begun = app.post(user, "/auth/totp", &json!({ "currentPassword": PASSWORD })).await.expect(200);
    assert_eq!(begun.headers["cache-control"], "no-store");
    let secret = begun.body["secret"].as_str().unwrap().to_owned();
    assert!(begun.body["uri"].as_str().unwrap().contains(&format!("secret={secret}")), "{}", begun.text);
    secret
}

async fn confirm(app: &TestApp, user: &User, code: &str) -> Answer {
    app.post(user, "/auth/totp/confirm", &json!({ "code": code })).await
}

async fn remove(app: &TestApp, user: &User, password: &str, code: &str) -> Answer {
    let body = json!({ "currentPassword": password, "code": code });
    app.request(Method::DELETE, "/auth/totp", Some(&user.token), Some(&body)).await
}

/// Gives the user a second factor: its secret, and the recovery codes.
async fn enrol(app: &TestApp, user: &User) -> (String, Vec<String>) {
    let secret = begin(app, user).await;
    let confirmed = confirm(app, user, &code(app, &secret)).await.expect(200).body;
    let codes = confirmed["recoveryCodes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned());
    (secret, codes.collect())
}

/// What is on record about the user's second factor.
async fn recorded(app: &TestApp, user: &User) -> Vec<String> {
    let events = doc! { "userId": &user.user_id, "action": { "$regex": "^user\\.totp" } };
    let events = app.all("audit_events", events).await;
    events.iter().map(|event| event.get_str("action").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_second_factor_is_begun_confirmed_asked_for_and_removed() {
    let app = TestApp::start().await;
    let merchant = app.merchant().await;
    assert_eq!(confirm(&app, &merchant, "000000").await.expect(409).code(), "auth.totp_not_begun");
    assert_eq!(remove(&app, &merchant, PASSWORD, "000000").await.expect(409).code(), "auth.totp_off");
    let guess = app.post(&merchant, "/auth/totp", &json!({ "currentPassword": "not this one" })).await.expect(422);
    assert_eq!(guess.code(), "auth.wrong_password");
    let before = begin(&app, &merchant).await;
    let secret = begin(&app, &merchant).await;
    assert_ne!(secret, before);
    for wrong in [code(&app, &before), wrong_code(&app, &secret)] {
        assert_eq!(confirm(&app, &merchant, &wrong).await.expect(422).code(), "auth.wrong_code");
    }
    login(&app, &merchant, PASSWORD, None).await.expect(200);
    app.app.clock.advance(Duration::from_secs(61 * 60));
    assert_eq!(confirm(&app, &merchant, &code(&app, &secret)).await.expect(409).code(), "auth.totp_not_begun");

    let (secret, recovery) = enrol(&app, &merchant).await;
    assert_eq!(recovery.len(), 10);
    app.get(&merchant, "/wallet").await.expect(401);
    let used = code(&app, &secret);
    assert_eq!(
        login(&app, &merchant, "not this one", Some(&used)).await.expect(401).code(),
        "auth.invalid_credentials"
    );
    assert_eq!(login(&app, &merchant, "not this one", None).await.expect(401).code(), "auth.invalid_credentials");
    assert_eq!(login(&app, &merchant, PASSWORD, None).await.expect(401).code(), "auth.otp_required");
    assert_eq!(login(&app, &merchant, PASSWORD, Some(&used)).await.expect(401).code(), "auth.wrong_otp", "spent");

    // Ten at once with one code: one comes in.
    app.app.clock.advance(STEP);
    let next = code(&app, &secret);
    let mut tokens = Value::Null;
    for answer in join_all((0..10).map(|_| login(&app, &merchant, PASSWORD, Some(&next)))).await {
        match answer.status.as_u16() {
            200 if tokens.is_null() => tokens = answer.body,
            _ => assert_eq!(answer.expect(401).code(), "auth.wrong_otp"),
        }
    }
    let there = signed_in(&merchant, &tokens);
    assert!(app.get(&there, "/auth/me").await.expect(200).body["totpSince"].is_string());
    let again = app.post(&there, "/auth/totp", &json!({ "currentPassword": PASSWORD })).await.expect(409);
    assert_eq!(again.code(), "auth.totp_on");
    let typed = recovery[4].to_uppercase().replace('-', "");
    login(&app, &merchant, PASSWORD, Some(&typed)).await.expect(200);
    assert_eq!(login(&app, &merchant, PASSWORD, Some(&recovery[4])).await.expect(401).code(), "auth.wrong_otp");

    // Another password leaves it as it is.
    let change = json!({ "currentPassword": PASSWORD, "newPassword": "battery staple" });
    app.post(&there, "/auth/password", &change).await.expect(204);
    assert_eq!(login(&app, &merchant, "battery staple", None).await.expect(401).code(), "auth.otp_required");
    let tokens = login(&app, &merchant, "battery staple", Some(&recovery[5])).await.expect(200).body;
    let there = signed_in(&merchant, &tokens);
    assert_eq!(remove(&app, &there, PASSWORD, &recovery[6]).await.expect(422).code(), "auth.wrong_password");
    assert_eq!(remove(&app, &there, "battery staple", &recovery[5]).await.expect(422).code(), "auth.wrong_code");
    remove(&app, &there, "battery staple", &recovery[6]).await.expect(204);
    app.get(&there, "/wallet").await.expect(401);
    login(&app, &merchant, "battery staple", None).await.expect(200);

    let actions = ["user.totp_begun", "user.totp_begun", "user.totp_begun", "user.totp_confirmed", "user.totp_removed"];
    assert_eq!(recorded(&app, &merchant).await, actions);
    let opened = app.all("audit_events", doc! { "after.secondFactor": { "$exists": true } }).await;
    let how: Vec<_> = opened.iter().map(|event| event.get_document("after").unwrap().clone()).collect();
    let by = |factor: &str, left: i64| doc! { "secondFactor": factor, "recoveryCodesLeft": left };
    assert_eq!(how, [by("code", 10), by("recovery_code", 9), by("recovery_code", 8)]);
    app.finish().await;
}

#[tokio::test]
async fn recovery_codes_are_renewed_and_keys_made_with_a_code() {
    let app = TestApp::start().await;
    let merchant = app.merchant().await;
    let renew = async |user: &User, password: &str, code: &str| {
        let body = json!({ "currentPassword": password, "code": code });
        app.post(user, "/auth/totp/recovery-codes", &body).await
    };
    assert_eq!(renew(&merchant, PASSWORD, "000000").await.expect(409).code(), "auth.totp_off");
    let (secret, lost) = enrol(&app, &merchant).await;
    app.app.clock.advance(STEP);
    let there = login(&app, &merchant, PASSWORD, Some(&code(&app, &secret))).await.expect(200).body;
    let there = signed_in(&merchant, &there);
    assert_eq!(renew(&there, "not this one", &lost[0]).await.expect(422).code(), "auth.wrong_password");
    let wrong = wrong_code(&app, &secret);
    assert_eq!(renew(&there, PASSWORD, &wrong).await.expect(422).code(), "auth.wrong_code");
    app.app.clock.advance(STEP);
    let shown = code(&app, &secret);
    // Two at once with one code: one is answered.
    let (one, other) = tokio::join!(renew(&there, PASSWORD, &shown), renew(&there, PASSWORD, &shown));
    let (renewed, refused) = if one.status == 200 { (one, other) } else { (other, one) };
    assert_eq!(refused.expect(422).code(), "auth.wrong_code");
    let renewed = renewed.expect(200);
    assert_eq!(renewed.headers["cache-control"], "no-store");
    let codes: Vec<_> = renewed.body["recoveryCodes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    assert_eq!(codes.len(), 10);
    assert_eq!(login(&app, &merchant, PASSWORD, Some(&lost[1])).await.expect(401).code(), "auth.wrong_otp", "void");
    login(&app, &merchant, PASSWORD, Some(codes[1])).await.expect(200);
    app.get(&there, "/auth/me").await.expect(200);
    let event = app.all("audit_events", doc! { "action": "user.recovery_codes_renewed" }).await.remove(0);
    assert_eq!(event.get_document("after").unwrap(), &doc! { "secondFactor": "code", "recoveryCodesLeft": 10_i64 });

    // A key outlives the session: the password alone makes none here, and a code makes one key.
    let make = async |code: Value| {
        let body = json!({ "name": "Server", "scopes": ["orders:read"], "currentPassword": PASSWORD, "code": code });
        app.post(&there, "/auth/api-keys", &body).await
    };
    assert_eq!(make(Value::Null).await.expect(422).blamed(), ["code:required"]);
    assert_eq!(make(json!(wrong_code(&app, &secret))).await.expect(422).code(), "auth.wrong_code");
    make(json!(codes[2])).await.expect(201);
    assert_eq!(make(json!(codes[2])).await.expect(422).code(), "auth.wrong_code");
    app.finish().await;
}

#[tokio::test]
async fn the_secret_is_sealed_under_a_key_that_can_be_changed() {
    let app = TestApp::start().await;
    let merchant = app.merchant().await;
    let (secret, recovery) = enrol(&app, &merchant).await;
    let plain = Secret::try_from_base32(&secret).unwrap();
    let stored = bson::serialize_to_vec(&app.all("totp", doc! {}).await[0]).unwrap();
    let holds = |part: &[u8]| stored.windows(part.len()).any(|window| window == part);
    assert!(!holds(plain.as_bytes()) && !holds(secret.as_bytes()) && !holds(recovery[0].as_bytes()));
    let [old, new] = ["0".repeat(64), "1".repeat(64)];
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["keys", "rotate"]).env("MONGODB_URI", &app.mongodb_uri);
    let output = program.env("SEALING_KEY", &new).env("SEALING_KEY_PREVIOUS", &old).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let other = app.beside(&[&format!("--sealing-key={new}")]).await;
    other.app.clock.advance(STEP);
    login(&other, &merchant, PASSWORD, Some(&code(&other, &secret))).await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn whoever_knows_the_password_guesses_few_codes_from_wherever() {
    let app = TestApp::start().await;
    let merchant = app.merchant().await;
    let (secret, recovery) = enrol(&app, &merchant).await;
    let first = login(&app, &merchant, PASSWORD, Some(&recovery[0])).await.expect(200);
    let cookie = first.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..20 {
        let wrong = wrong_code(&app, &secret);
        assert_eq!(login(&app, &merchant, PASSWORD, Some(&wrong)).await.expect(401).code(), "auth.wrong_otp");
    }
    app.app.clock.advance(STEP);
    let right = code(&app, &secret);
    let shut_out = login(&app, &merchant, PASSWORD, Some(&right)).await.expect(429);
    assert_eq!(shut_out.code(), "auth.too_many_attempts");
    assert!(shut_out.headers.contains_key("retry-after"));
    // Nor from a device that has signed in before: whoever has the password can have as many of these as they like.
    let body = json!({ "email": merchant.email, "password": PASSWORD, "otp": right }).to_string();
    let request = app.client.post(format!("{}/auth/login", app.base)).header("cookie", cookie);
    read(request.header("content-type", "application/json").body(body).send().await.unwrap()).await.expect(429);
    let refused = app.all("audit_events", doc! { "after.because": "wrong_code", "userId": &merchant.user_id }).await;
    assert!(!refused.is_empty(), "guesses are on record, while there is room");
    app.finish().await;
}

#[tokio::test]
async fn staff_that_has_to_have_a_second_factor_signs_in_without_only_to_begin() {
    let app = TestApp::with(&["--staff-totp=required"]).await;
    let (admin, finance, merchant) = (app.admin().await, app.user(Role::Finance).await, app.merchant().await);
    let tokens = login(&app, &merchant, PASSWORD, None).await.expect(200).body;
    assert_eq!(tokens["only"], Value::Null);
    app.get(&signed_in(&merchant, &tokens), "/wallet").await.expect(200);

    // A key that was made before it had to.
    let key = json!({ "name": "Books", "scopes": ["finance:read"], "currentPassword": PASSWORD });
    let key = app.post(&finance, "/auth/api-keys", &key).await.expect(201).body;
    let server = User { token: key["key"].as_str().unwrap().into(), ..finance.clone() };
    assert_eq!(app.get(&server, "/finance/ledger").await.expect(403).code(), "auth.totp_required");

    let limited = login(&app, &finance, PASSWORD, None).await.expect(200).body;
    let refresh = json!({ "refreshToken": limited["refreshToken"] });
    let refreshed = app.request(Method::POST, "/auth/refresh", None, Some(&refresh)).await.expect(200).body;
    for tokens in [&limited, &refreshed] {
        assert_eq!(tokens["only"], "/auth/totp");
        let there = signed_in(&finance, tokens);
        for path in ["/finance/ledger", "/auth/me", "/auth/api-keys", "/rates"] {
            assert_eq!(app.get(&there, path).await.expect(403).code(), "auth.token_limited", "{path}");
        }
        let change = json!({ "currentPassword": PASSWORD, "newPassword": "battery staple" });
        app.post(&there, "/auth/password", &change).await.expect(403);
    }
    let (secret, recovery) = enrol(&app, &signed_in(&finance, &refreshed)).await;
    app.get(&signed_in(&finance, &refreshed), "/auth/totp").await.expect(405);
    app.app.clock.advance(STEP);
    let tokens = login(&app, &finance, PASSWORD, Some(&code(&app, &secret))).await.expect(200).body;
    assert_eq!(tokens["only"], Value::Null);
    app.get(&signed_in(&finance, &tokens), "/finance/ledger").await.expect(200);
    app.get(&server, "/finance/ledger").await.expect(200);

    // Another password by an administrator leaves the second factor; only taking it away does.
    let path = |what: &str| format!("/users/{}/{what}", finance.user_id);
    let reset = app.post(&admin, &path("reset-password"), &json!({})).await.expect(200).body;
    let temporary = reset["temporaryPassword"].as_str().unwrap();
    assert_eq!(login(&app, &finance, temporary, None).await.expect(401).code(), "auth.otp_required");
    let there = signed_in(&finance, &login(&app, &finance, temporary, Some(&recovery[0])).await.expect(200).body);
    let delete = async |path: &str| app.request(Method::DELETE, path, Some(&admin.token), None).await;
    for _ in 0..2 {
        delete(&path("totp")).await.expect(204);
    }
    app.get(&there, "/finance/ledger").await.expect(401);
    assert_eq!(app.get(&server, "/finance/ledger").await.expect(403).code(), "auth.totp_required");
    assert_eq!(login(&app, &finance, temporary, None).await.expect(200).body["only"], "/auth/totp");
    assert_eq!(delete(&format!("/users/{}/totp", admin.user_id)).await.expect(409).code(), "users.own_account");
    delete("/users/usr_1/totp").await.expect(404);
    assert_eq!(recorded(&app, &finance).await, ["user.totp_begun", "user.totp_confirmed", "user.totp_reset"]);

    // And from the command line, where no administrator is left.
    let there = signed_in(&admin, &login(&app, &admin, PASSWORD, None).await.expect(200).body);
    enrol(&app, &there).await;
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["user", "reset-totp", "--user", &admin.email]).env("MONGODB_URI", &app.mongodb_uri);
    assert!(program.output().await.unwrap().status.success());
    assert_eq!(login(&app, &admin, PASSWORD, None).await.expect(200).body["only"], "/auth/totp");
    app.finish().await;
}
