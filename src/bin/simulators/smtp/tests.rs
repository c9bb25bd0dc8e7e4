#![allow(clippy::unwrap_used)]

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;

use super::Posts;

const MAIL: &str = "From: Shop <shop@example.com>\r\nTo: =?utf-8?q?J=C3=B6rg?= <j@example.com>\r\n\
    Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: quoted-printable\r\n\r\n.dot =E2=82=AC\r\n--b\r\nContent-Type: text/html\r\n\r\n\
    <p onclick=\"x\">Hi</p>\r\n--b--\r\n";

/// A client that says one line and reads one answer.
struct Client(BufReader<TcpStream>);

struct World {
    posts: Posts,
    address: String,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (posts, address) = (Posts::default(), listener.local_addr().unwrap().to_string());
        tokio::spawn(posts.clone().serve(listener));
        Self { posts, address }
    }

    async fn connect(&self) -> Client {
        let mut client = Client(BufReader::new(TcpStream::connect(&self.address).await.unwrap()));
        assert_eq!(client.answer().await, "220");
        client
    }

    async fn signed_in(&self, name: &str) -> Client {
        let mut client = self.connect().await;
        let plain = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("\0{name}\0secret"));
        assert_eq!(client.say("EHLO me").await, "250");
        assert_eq!(client.say(&format!("AUTH PLAIN {plain}")).await, "235");
        client
    }

    async fn http(&self, name: &str, method: &str, path: &str, body: Value) -> (StatusCode, String) {
        let router: Router = self.posts.router(&format!("/ns/{name}"));
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let response = router.oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        let status = response.status();
        (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    async fn read(&self, name: &str, path: &str) -> Value {
        serde_json::from_str(&self.http(name, "GET", path, Value::Null).await.1).unwrap()
    }

    async fn rule(&self, name: &str, rule: Value) {
        assert_eq!(self.http(name, "POST", "/mail/_control/rules", rule).await.0, StatusCode::CREATED);
    }
}

impl Client {
    /// The code of an answer; empty where the connection has ended.
    async fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap_or_default();
            if line.get(3..4) != Some("-") {
                return line.get(..3).unwrap_or_default().to_owned();
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.answer().await
    }

    /// Answers to `MAIL`, `RCPT`, `DATA` and the mail, as far as they are good.
    async fn post(&mut self, to: &str, mail: &str) -> Vec<String> {
        let mut answers = Vec::new();
        let stuffed = mail.replace("\r\n.", "\r\n..");
        let lines = ["MAIL FROM:<shop@example.com>", &format!("RCPT TO:<{to}>"), "DATA", &format!("{stuffed}.")];
        for line in lines {
            answers.push(self.say(line).await);
            if !matches!(answers.last().unwrap().as_bytes().first(), Some(b'2' | b'3')) {
                break;
            }
        }
        answers
    }
}

#[tokio::test]
async fn a_mail_is_kept_as_a_reader_sees_it() {
    let world = World::start().await;
    let mut client = world.signed_in("one").await;
    assert_eq!(client.post("j@example.com", MAIL).await, ["250", "250", "354", "250"]);
    assert_eq!(client.say("QUIT").await, "221");
    let mails = world.read("one", "/mail/_books/mails?to=j@example.com").await;
    let mail = &mails[0];
    assert_eq!((&mail["subject"], &mail["text"]), (&json!("Grüße"), &json!(".dot €")));
    assert_eq!((&mail["messageId"], &mail["headerTo"]), (&json!("1@example.com"), &json!("Jörg <j@example.com>")));
    assert_eq!(mail["to"], json!(["j@example.com"]));
    assert_eq!(world.read("one", "/mail/_books/mails?to=k@example.com").await, json!([]));
    assert_eq!(world.read("two", "/mail/_books").await["mails"], 0, "another namespace");
    let (_, list) = world.http("one", "GET", "/mail", Value::Null).await;
    assert!(list.contains("/ns/one/mail/1") && list.contains("Grüße"), "{list}");
    let (_, page) = world.http("one", "GET", "/mail/1", Value::Null).await;
    assert!(page.contains("<iframe sandbox") && !page.contains("onclick"), "{page}");
    let (_, html) = world.http("one", "GET", "/mail/1/html", Value::Null).await;
    assert!(html.contains("onclick"), "as it came, where it may do nothing");
    let (_, raw) = world.http("one", "GET", "/mail/1/raw", Value::Null).await;
    assert_eq!(raw, MAIL);
    assert_eq!(world.http("one", "GET", "/mail/2", Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn commands_come_in_their_order() {
    let world = World::start().await;
    let mut client = world.connect().await;
    for (line, code) in [
        ("RCPT TO:<j@example.com>", "503"),
        ("DATA", "503"),
        ("MAIL FROM:nobody", "501"),
        ("MAIL FROM:<a@example.com> SIZE=99999999", "552"),
        ("mail from:<a@example.com>", "250"),
        ("MAIL FROM:<b@example.com>", "503"),
        ("RSET", "250"),
        ("RCPT TO:<j@example.com>", "503"),
        ("NOOP", "250"),
        ("STARTTLS", "500"),
        ("AUTH CRAM-MD5", "504"),
        ("AUTH PLAIN !!!", "501"),
        ("HELO me", "250"),
        ("QUIT", "221"),
    ] {
        assert_eq!(client.say(line).await, code, "{line}");
    }
}

#[tokio::test]
async fn rules_say_what_goes_wrong() {
    let world = World::start().await;
    world.rule("one", json!({ "operation": "rcpt", "mode": "550", "recipient": "gone@example.com" })).await;
    world.rule("one", json!({ "operation": "message", "mode": "451", "times": 1 })).await;
    world.rule("one", json!({ "operation": "message", "mode": "drop_after_work", "times": 1 })).await;
    world.rule("one", json!({ "operation": "mail", "mode": "drop", "times": 1 })).await;
    let kept = async || world.read("one", "/mail/_books").await["mails"].clone();
    assert_eq!(world.signed_in("one").await.post("j@example.com", MAIL).await, [""], "dropped");
    let mut client = world.signed_in("one").await;
    assert_eq!(client.post("gone@example.com", MAIL).await, ["250", "550"]);
    assert_eq!(client.say("RSET").await, "250");
    assert_eq!(client.post("j@example.com", MAIL).await, ["250", "250", "354", "451"]);
    assert_eq!(kept().await, 0);
    assert_eq!(client.post("j@example.com", MAIL).await, ["250", "250", "354", ""], "dropped, and kept");
    assert_eq!(kept().await, 1);
    for mode in ["html_502", "429", "nonsense"] {
        let refused = world.http("one", "POST", "/mail/_control/rules", json!({ "mode": mode })).await;
        assert_eq!(refused.0, StatusCode::UNPROCESSABLE_ENTITY, "{mode}");
    }
}

#[tokio::test]
async fn who_deduplicates_keeps_one_of_a_message_id() {
    let world = World::start().await;
    let on = json!({ "on": true });
    assert_eq!(world.http("one", "PUT", "/mail/_control/deduplicate", on).await.0, StatusCode::NO_CONTENT);
    for name in ["one", "two"] {
        let mut client = world.signed_in(name).await;
        for _ in 0..2 {
            assert_eq!(client.post("j@example.com", MAIL).await, ["250", "250", "354", "250"]);
        }
        let books = world.read(name, "/mail/_books").await;
        let mails = if name == "one" { 1 } else { 2 };
        assert_eq!((&books["mails"], &books["repeated"]), (&json!(mails), &json!(1)), "{name}");
    }
}
