//! What letters are needed for: another password for who forgot it, an address that is shown to be read, and which letters
//! somebody wants. What letters say is in `mail`.

use std::{collections::BTreeMap, time::Duration};

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use waybill::{
    modules::{
        auth::{LinkKeys, MailTopic, User as StoredUser},
        events::Event,
    },
    platform::identity::Role,
};

use crate::support::{Answer, JWT_SECRET, PASSWORD, TestApp, User, eventually, mailbox::Mailbox, read, unique};

const SOON: Duration = Duration::from_secs(10);
const NEW_PASSWORD: &str = "another horse, same battery";

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    app.request(Method::POST, path, None, Some(&body)).await
}

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    post(app, "/auth/login", json!({ "email": email, "password": password })).await
}

async fn forgot(app: &TestApp, email: &str) -> Answer {
    post(app, "/auth/password/forgot", json!({ "email": email })).await
}

async fn reset(app: &TestApp, token: &str, password: &str) -> Answer {
    post(app, "/auth/password/reset", json!({ "token": token, "password": password })).await
}

async fn verify(app: &TestApp, token: &str) -> Answer {
    post(app, "/auth/email/verify", json!({ "token": token })).await
}

async fn send_form(app: &TestApp, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = app.client.post(format!("{}{path}", app.base)).body(body);
    read(request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap()).await
}

async fn page(app: &TestApp, path: &str, status: u16) -> String {
    let answer = app.request(Method::GET, path, None, None).await;
    expect_page(answer, status)
}

/// Nothing on a page comes from elsewhere, and where it leads to learns nothing of its address.
#[track_caller]
fn expect_page(answer: Answer, status: u16) -> String {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    for rule in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule) && !policy.contains("unsafe"), "{policy}");
    }
    assert!(!answer.text.contains("http") && !answer.text.contains("<script"), "{}", answer.text);
    answer.text
}

fn keys() -> LinkKeys {
    LinkKeys::derive(&JWT_SECRET.into(), None)
}

async fn stored(app: &TestApp, user_id: &str) -> StoredUser {
    let user = app.all("users", doc! { "_id": user_id }).await.remove(0);
    bson::deserialize_from_document(user).unwrap()
}

async fn events(app: &TestApp, user_id: &str, kind: &str) -> Vec<Event> {
    let events = app.all("events", doc! { "subjectId": user_id, "type": kind }).await;
    events.into_iter().map(|event| bson::deserialize_from_document(event).unwrap()).collect()
}

fn token_of(path: &str) -> String {
    path.split_once("?token=").expect("a link").1.to_owned()
}

/// What the letter about `asked` holds.
async fn reset_token(app: &TestApp, asked: &Event) -> String {
    token_of(&keys().password_reset(&stored(app, &asked.user_id).await, asked, asked.at).expect("a link"))
}

/// Asks for a link, and gives what its letter holds.
async fn asked_for(app: &TestApp, user: &User) -> String {
    let before = events(app, &user.user_id, "PasswordResetRequested").await.len();
    forgot(app, &user.email).await.expect(204);
    eventually("it is recorded", SOON, async || {
        events(app, &user.user_id, "PasswordResetRequested").await.len() > before
    })
    .await;
    reset_token(app, &events(app, &user.user_id, "PasswordResetRequested").await[before]).await
}

async fn verification_token(app: &TestApp, user_id: &str) -> String {
    let created = events(app, user_id, "UserCreated").await.remove(0);
    token_of(&keys().email_verification(&stored(app, user_id).await, created.at, created.at).expect("a link"))
}

async fn unsubscribe_path(app: &TestApp, user_id: &str, topic: MailTopic) -> String {
    keys().unsubscribe(&stored(app, user_id).await, topic).expect("a link")
}

async fn me(app: &TestApp, user: &User) -> Value {
    app.get(user, "/auth/me").await.expect(200).body
}

async fn recorded(app: &TestApp, user_id: &str, action: &str) -> Vec<Document> {
    app.all("audit_events", doc! { "userId": user_id, "action": action }).await
}

/// An answer but for what is every request's own.
fn alike(answer: Answer) -> (u16, Value, BTreeMap<String, String>) {
    let own = |name: &str| matches!(name, "x-request-id" | "date" | "content-length");
    let headers = answer.headers.iter().filter(|(name, _)| !own(name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let mut body = answer.body;
    if body.is_object() {
        body["requestId"] = Value::Null;
    }
    (answer.status.as_u16(), body, headers)
}

#[tokio::test]
async fn who_forgot_the_password_sets_another_by_a_link_once() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let session = login(&app, &user.email, PASSWORD).await.expect(200).body;
    let nothing = verify(&app, "x").await.expect(422);
    for guess in 0..20 {
        login(&app, &user.email, &format!("guess {guess}")).await.expect(401);
    }
    login(&app, &user.email, PASSWORD).await.expect(429);

    let token = asked_for(&app, &user).await;
    let path = format!("/auth/password/reset?token={token}");
    for _ in 0..2 {
        let form = page(&app, &path, 200).await;
        assert!(form.contains(&format!("name=\"token\" value=\"{token}\"")) && form.contains("name=\"password\""));
    }
    assert_eq!(reset(&app, &token, "Password123!").await.expect(422).blamed(), ["password:common"]);
    let again = send_form(&app, "/auth/password/reset?", &[("token", &token), ("password", "Password123!")]).await;
    assert!(expect_page(again, 422).contains(&token), "the form is shown again");
    let short = send_form(&app, "/auth/password/reset?", &[("token", &token), ("password", "short")]).await;
    assert!(expect_page(short, 422).contains("between 10 and 128"));
    assert_eq!(me(&app, &user).await["emailVerifiedAt"], Value::Null);

    let done = reset(&app, &token, NEW_PASSWORD).await.expect(204);
    assert!(done.headers["set-cookie"].to_str().unwrap().starts_with("waybill_device="));
    let refresh = json!({ "refreshToken": session["refreshToken"] });
    assert_eq!(post(&app, "/auth/refresh", refresh).await.expect(401).code(), "auth.refresh_reused");
    login(&app, &user.email, PASSWORD).await.expect(401);
    let tokens = login(&app, &user.email, NEW_PASSWORD).await.expect(200).body;
    let user = User { token: tokens["accessToken"].as_str().unwrap().to_owned(), ..user };
    assert!(me(&app, &user).await["emailVerifiedAt"].is_string(), "the letter was read");

    let used = reset(&app, &token, "yet another horse battery").await.expect(422);
    assert_eq!((used.code(), alike(used.clone())), ("auth.invalid_link", alike(nothing)));
    let refused = page(&app, &path, 422).await;
    assert!(!refused.contains(&token) && !refused.contains("<form"));
    login(&app, &user.email, NEW_PASSWORD).await.expect(200);

    let record = recorded(&app, &user.user_id, "user.password_reset").await;
    assert_eq!(record.len(), 1);
    assert_eq!(record[0].get_document("actor").unwrap().get_str("id").unwrap(), user.user_id);
    let changed = events(&app, &user.user_id, "PasswordChanged").await;
    assert_eq!(changed[0].data, doc! { "by": "link" });
    let seqs: Vec<_> = app.all("events", doc! { "subjectId": &user.user_id }).await;
    let seqs: Vec<_> = seqs.iter().map(|event| event.get_i64("seq").unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3]);
    for name in app.db().list_collection_names().await.unwrap().iter().filter(|name| *name != "users") {
        let found = app.all(name, doc! {}).await;
        let said = |secret: &str| found.iter().any(|document| document.to_string().contains(secret));
        assert!(!said(&token) && !said(&user.email) && !said(NEW_PASSWORD), "{name}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_new_password_by_a_link_ends_keys_unless_they_are_kept() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let key = json!({ "name": "Server", "scopes": ["account:read"], "currentPassword": PASSWORD });
    let key = app.post(&user, "/auth/api-keys", &key).await.expect(201).body;
    let server = User { token: key["key"].as_str().unwrap().to_owned(), ..user.clone() };
    let token = asked_for(&app, &user).await;
    let fields = [("token", &*token), ("password", NEW_PASSWORD), ("keepApiKeys", "true")];
    expect_page(send_form(&app, "/auth/password/reset?", &fields).await, 200);
    app.get(&server, "/auth/me").await.expect(200);
    let token = asked_for(&app, &user).await;
    assert!(page(&app, &format!("/auth/password/reset?token={token}"), 200).await.contains("name=\"keepApiKeys\""));
    reset(&app, &token, "yet another horse battery").await.expect(204);
    assert_eq!(app.get(&server, "/auth/me").await.expect(401).code(), "auth.key_revoked");
    assert_eq!(recorded(&app, &user.user_id, "api_key.revoked").await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn nobody_learns_whether_an_address_is_known() {
    let app = TestApp::start().await;
    let (known, disabled) = (app.merchant().await, app.merchant().await);
    app.update_one("users", doc! { "_id": &disabled.user_id }, doc! { "disabledAt": bson::DateTime::now() }).await;
    let emails = [known.email.as_str(), &disabled.email, "nobody@example.com"];
    for status in [[204; 5].as_slice(), &[429; 2]].concat() {
        let mut answers = Vec::new();
        for email in emails {
            let mut answer = forgot(&app, email).await.expect(status);
            if let Some(wait) = answer.headers.remove("retry-after") {
                assert!(
                    (1..=720).contains(&wait.to_str().unwrap().parse::<u64>().unwrap()),
                    "one more every 12 minutes"
                );
            }
            answers.push(alike(answer));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    eventually("those of the known one are recorded", SOON, async || {
        events(&app, &known.user_id, "PasswordResetRequested").await.len() == 5
    })
    .await;
    assert_eq!(app.all("events", doc! { "type": "PasswordResetRequested" }).await.len(), 5, "nobody else's");
    app.finish().await;
}

#[tokio::test]
async fn what_is_not_good_any_more_is_refused_in_the_same_words() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(app.merchant().await);
    }
    let [disabled, changed, ended, late] = &users[..] else { unreachable!() };
    let nothing = alike(reset(&app, "x", NEW_PASSWORD).await.expect(422));
    let refused = async |what: &str, token: &str| {
        assert_eq!(alike(reset(&app, token, NEW_PASSWORD).await), nothing, "{what}");
        page(&app, &format!("/auth/password/reset?token={token}"), 422).await;
    };

    let token = asked_for(&app, disabled).await;
    let path = format!("/users/{}", disabled.user_id);
    for is_disabled in [true, false] {
        let body = json!({ "disabled": is_disabled });
        app.request(Method::PATCH, &path, Some(&admin.token), Some(&body)).await.expect(200);
        refused("disabled, and enabled again", &token).await;
    }
    let token = asked_for(&app, changed).await;
    let change = json!({ "currentPassword": PASSWORD, "newPassword": "battery staple" });
    app.post(changed, "/auth/password", &change).await.expect(204);
    refused("changed by the owner", &token).await;
    let asked = events(&app, &changed.user_id, "PasswordResetRequested").await.remove(0);
    assert!(
        keys().password_reset(&stored(&app, &changed.user_id).await, &asked, asked.at).is_none(),
        "a letter that is late"
    );
    let token = asked_for(&app, ended).await;
    app.post(&admin, &format!("/users/{}/end-sessions", ended.user_id), &json!({})).await.expect(204);
    refused("sessions ended", &token).await;

    let token = asked_for(&app, late).await;
    let verification = verification_token(&app, &late.user_id).await;
    refused("for another purpose", &verification).await;
    let unsubscribe = unsubscribe_path(&app, &late.user_id, MailTopic::Reports).await;
    refused("for yet another", &token_of(&unsubscribe)).await;
    let (head, tail) = token.split_at(20);
    let flipped = if tail.starts_with('A') { 'B' } else { 'A' };
    refused("tampered with", &format!("{head}{flipped}{}", &tail[1..])).await;
    for token in [&token, &token_of(&unsubscribe)] {
        verify(&app, token).await.expect(422);
        page(&app, &format!("/auth/email/verify?token={token}"), 422).await;
    }
    for token in [&token, &verification] {
        expect_page(send_form(&app, &format!("/unsubscribe?token={token}"), &[]).await, 422);
        page(&app, &format!("/unsubscribe?token={token}"), 422).await;
    }
    app.app.clock.advance(Duration::from_secs(3_599));
    page(&app, &format!("/auth/password/reset?token={token}"), 200).await;
    app.app.clock.advance(Duration::from_secs(1));
    refused("an hour later", &token).await;
    app.app.clock.advance(Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(verify(&app, &verification).await.expect(422).code(), "auth.invalid_link");
    assert_eq!(recorded(&app, &late.user_id, "user.password_reset").await.len(), 0);
    app.finish().await;
}

#[tokio::test]
async fn of_many_resets_at_once_one_sets_a_password() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let tokens = [asked_for(&app, &user).await, asked_for(&app, &user).await];
    assert_ne!(tokens[0], tokens[1]);
    let passwords: Vec<_> = (0..8).map(|n| format!("{n} horses, same battery")).collect();
    let resets = passwords.iter().enumerate().map(|(n, password)| reset(&app, &tokens[n % 2], password));
    let answers = join_all(resets).await;
    let set: Vec<_> = passwords.iter().zip(&answers).filter(|(_, answer)| answer.status == 204).collect();
    let [(set, _)] = set[..] else { panic!("one was set, not {}", set.len()) };
    let set = set.clone();
    for answer in answers.into_iter().filter(|answer| answer.status != 204) {
        assert_eq!(answer.expect(422).code(), "auth.invalid_link");
    }
    login(&app, &user.email, &set).await.expect(200);
    for token in &tokens {
        reset(&app, token, NEW_PASSWORD).await.expect(422);
    }
    assert_eq!(recorded(&app, &user.user_id, "user.password_reset").await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn an_address_is_verified_by_a_button_and_not_by_opening_the_link() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin().await, app.merchant().await);
    for _ in 0..5 {
        app.post(&user, "/auth/email/send-verification", &json!({})).await.expect(204);
    }
    let limited = app.post(&user, "/auth/email/send-verification", &json!({})).await.expect(429);
    assert_eq!(limited.code(), "auth.too_many_attempts");
    assert_eq!(events(&app, &user.user_id, "EmailVerificationRequested").await.len(), 5);

    let token = verification_token(&app, &user.user_id).await;
    let path = format!("/auth/email/verify?token={token}");
    for _ in 0..2 {
        assert!(page(&app, &path, 200).await.contains(&token));
    }
    assert_eq!(me(&app, &user).await["emailVerifiedAt"], Value::Null);
    expect_page(send_form(&app, "/auth/email/verify?", &[("token", &token)]).await, 200);
    let verified = me(&app, &user).await["emailVerifiedAt"].clone();
    assert!(verified.is_string());
    for _ in 0..2 {
        verify(&app, &token).await.expect(204);
    }
    assert!(!page(&app, &path, 200).await.contains("<form"), "nothing is left to do");
    let shown = app.get(&admin, &format!("/users/{}", user.user_id)).await.expect(200).body;
    assert_eq!((&shown["emailVerifiedAt"], &me(&app, &user).await["emailVerifiedAt"]), (&verified, &verified));
    let again = app.post(&user, "/auth/email/send-verification", &json!({})).await.expect(409);
    assert_eq!(again.code(), "auth.email_verified");
    assert_eq!(recorded(&app, &user.user_id, "user.email_verified").await.len(), 1);

    // Users from before anybody was asked to.
    let old = app.merchant().await;
    let fields = doc! { "$unset": { "emailVerifiedAt": 1, "mail": 1, "events": 1 } };
    app.db().collection::<Document>("users").update_one(doc! { "_id": &old.user_id }, fields).await.unwrap();
    login(&app, &old.email, PASSWORD).await.expect(200);
    assert_eq!(me(&app, &old).await["emailVerifiedAt"], Value::Null);
    app.finish().await;
}

#[tokio::test]
async fn letters_are_chosen_and_left_with_one_click() {
    let app = TestApp::start().await;
    let (user, other) = (app.merchant().await, app.merchant().await);
    let chosen = async |user: &User| app.get(user, "/auth/me/mail").await.expect(200).body;
    let choose = async |body: Value| app.request(Method::PUT, "/auth/me/mail", Some(&user.token), Some(&body)).await;
    let usual = json!({ "orders": true, "payments": true, "kyc": true, "webhooks": true, "sales": true, "stock": true, "reports": false });
    assert_eq!(chosen(&user).await, usual);
    let changed = choose(json!({ "kyc": false, "reports": true })).await.expect(200).body;
    let mut expected = usual.clone();
    (expected["kyc"], expected["reports"]) = (json!(false), json!(true));
    assert_eq!((&changed, &chosen(&user).await), (&expected, &expected));
    assert_eq!(choose(json!({})).await.expect(200).body, expected);
    assert_eq!(
        choose(json!({ "account": false, "kyc": "no" })).await.expect(422).blamed(),
        ["account:unknown", "kyc:type"]
    );

    let path = unsubscribe_path(&app, &user.user_id, MailTopic::Reports).await;
    app.app.clock.advance(Duration::from_secs(2 * 365 * 24 * 3_600));
    assert!(page(&app, &path, 200).await.contains("reports"));
    assert_eq!(chosen(&user).await, expected, "opening it changes nothing");
    for _ in 0..2 {
        let gone = send_form(&app, &path, &[("List-Unsubscribe", "One-Click")]).await;
        assert!(expect_page(gone, 200).contains("no more mail about reports"));
    }
    assert_eq!((chosen(&user).await["reports"].clone(), chosen(&other).await), (json!(false), usual));
    assert_eq!(app.request(Method::POST, &path[..path.len() - 4], None, None).await.status, 422);
    let record = recorded(&app, &user.user_id, "user.mail_changed").await;
    let reports = |event: &Document, side: &str| event.get_document(side).unwrap().get_bool("reports").unwrap();
    let told: Vec<_> = record.iter().map(|event| (reports(event, "before"), reports(event, "after"))).collect();
    assert_eq!(told, [(false, true), (true, false)], "what changed nothing is not on record");
    app.finish().await;
}

#[tokio::test]
async fn an_administrator_sends_a_link_and_learns_no_password() {
    let app = Mailbox::open().app(&[]).await;
    let (admin, finance) = (app.admin().await, app.user(Role::Finance).await);
    let path = format!("/users/{}/reset-password", finance.user_id);
    let shown = app.post(&admin, &path, &json!({})).await.expect(200).body;
    assert!(shown["temporaryPassword"].is_string() && shown["linkSent"] == false, "{shown}");
    assert!(events(&app, &finance.user_id, "PasswordResetRequested").await.is_empty());
    let sent = app.post(&admin, &format!("{path}?sendLink=true"), &json!({})).await.expect(200).body;
    assert_eq!(sent, json!({ "userId": finance.user_id, "temporaryPassword": null, "linkSent": true }));
    let temporary = shown["temporaryPassword"].as_str().unwrap();
    login(&app, &finance.email, temporary).await.expect(401);
    let asked = events(&app, &finance.user_id, "PasswordResetRequested").await.remove(0);
    assert_eq!((asked.data.get_str("by").unwrap(), &asked.actor.id), ("admin", &admin.user_id));
    let token = reset_token(&app, &asked).await;
    reset(&app, &token, NEW_PASSWORD).await.expect(204);
    login(&app, &finance.email, NEW_PASSWORD).await.expect(200);
    let by: Vec<_> = events(&app, &finance.user_id, "PasswordChanged").await;
    assert_eq!(by.iter().map(|event| event.data.get_str("by").unwrap()).collect::<Vec<_>>(), ["admin", "link"]);
    app.finish().await;
}

/// The newest mail of this letter to somebody: its text, and the path of the link in it, if any.
async fn read_mail(mailbox: &Mailbox, email: &str, letter: &str) -> (Value, Option<String>) {
    let mail = mailbox.mails_about(email, letter).await.pop().unwrap_or_else(|| panic!("no {letter}"));
    let link = |line: &str| line.strip_prefix("https://waybill.example").map(str::to_owned);
    let path = mail["text"].as_str().unwrap().lines().find_map(link);
    (mail, path)
}

#[tokio::test]
async fn from_the_mailbox_to_a_verified_account_with_a_new_password() {
    let mailbox = Mailbox::open();
    let app = mailbox.app(&[]).await;
    let (email, admin) = (format!("{}@example.com", unique("asha")), app.admin().await);
    let body = json!({ "email": email, "password": PASSWORD, "name": "Asha Rao" });
    let registered = post(&app, "/auth/register", body).await.expect(201).body;
    let text = |field: &str| registered[field].as_str().unwrap().to_owned();
    let user = User { user_id: text("userId"), email: email.clone(), token: text("accessToken") };
    app.relay_and_run().await;
    let (welcome, path) = read_mail(&mailbox, &email, "welcome-mail").await;
    assert!(welcome["headers"]["List-Unsubscribe"].is_null(), "it is about the account");
    page(&app, &path.clone().expect("a link"), 200).await;
    expect_page(send_form(&app, "/auth/email/verify", &[("token", &token_of(&path.unwrap()))]).await, 200);
    assert!(me(&app, &user).await["emailVerifiedAt"].is_string());
    assert!(mailbox.mails_to(&admin.email).await.is_empty(), "an operator tells whom it gives an account");

    asked_for(&app, &user).await;
    app.relay_and_run().await;
    let (_, path) = read_mail(&mailbox, &email, "password-reset-mail").await;
    let token = token_of(&path.expect("a link"));
    reset(&app, &token, NEW_PASSWORD).await.expect(204);
    let again = reset(&app, &token, PASSWORD).await.expect(422);
    assert_eq!(again.code(), "auth.invalid_link");
    login(&app, &email, NEW_PASSWORD).await.expect(200);
    app.relay_and_run().await;
    let (changed, path) = read_mail(&mailbox, &email, "password-changed-mail").await;
    assert!(path.is_none() && changed["subject"] == "Your password was changed", "{changed}");

    // Who comes too late gets no link that is over, and nobody a link for what has happened since.
    asked_for(&app, &user).await;
    app.app.clock.advance(Duration::from_secs(3_600));
    let by_admin = format!("/users/{}/reset-password?sendLink=true", user.user_id);
    app.post(&admin, &by_admin, &json!({})).await.expect(200);
    app.relay_and_run().await;
    let links = mailbox.mails_about(&email, "password-reset-mail").await;
    assert_eq!(links.len(), 2, "{links:?}");
    let (by_admin, path) = read_mail(&mailbox, &email, "password-reset-mail").await;
    assert!(by_admin["text"].as_str().unwrap().contains("an administrator has reset your password"));
    reset(&app, &token_of(&path.expect("a link")), "one more horse battery").await.expect(204);

    // No link is anywhere but in the mailbox.
    for name in app.db().list_collection_names().await.unwrap() {
        let found = app.all(&name, doc! {}).await;
        assert!(!found.iter().any(|document| document.to_string().contains(&token)), "{name}");
    }
    app.finish().await;
}

#[tokio::test]
async fn letters_that_nobody_wants_are_not_sent() {
    let mailbox = Mailbox::open();
    let app = mailbox.app(&[]).await;
    let user = app.merchant().await;
    let paid = async |name: &str| {
        let topup_id = app.pending(&user, name).await;
        app.tell(&topup_id, "pay", json!({})).await;
        app.relay_and_run().await;
        mailbox.mails_about(&user.email, "topup-paid-mail").await
    };
    let mail = paid("t-1").await.remove(0);
    let headers = &mail["headers"];
    assert_eq!(headers["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click");
    let link = headers["List-Unsubscribe"].as_str().unwrap().trim_matches(['<', '>']).to_owned();
    let said = mail["text"].as_str().unwrap();
    assert!(said.contains(&link), "{said}");
    let path = link.strip_prefix("https://waybill.example").expect("ours");
    expect_page(send_form(&app, path, &[("List-Unsubscribe", "One-Click")]).await, 200);
    assert_eq!(paid("t-2").await.len(), 1, "the first alone");
    let wanted = json!({ "payments": true });
    app.request(Method::PUT, "/auth/me/mail", Some(&user.token), Some(&wanted)).await.expect(200);
    assert_eq!(paid("t-3").await.len(), 2, "what was not wanted is not sent later");
    app.finish().await;
}
