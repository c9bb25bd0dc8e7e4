//! Uploads that are large, broken, or cut off: every client gets its answer, and nothing is left of them.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    kyc_documents::{FORM, form, upload_of},
    support::{TestApp, User, eventually, kyc, process::Launch},
};

const LARGEST: usize = 5 * 1024 * 1024;
const HUGE: usize = 50 * 1024 * 1024;
/// What is cut off is noticed by then.
const SOON: Duration = Duration::from_secs(20);

/// A PDF of so many bytes.
fn pdf_of(bytes: usize) -> Vec<u8> {
    let mut pdf = kyc::pdf("");
    let room = bytes - pdf.len();
    pdf.splice(9..9, std::iter::repeat_n(b'x', room));
    pdf
}

fn head(user: &User, length: &str) -> String {
    format!(
        "POST /kyc/documents HTTP/1.1\r\nHost: waybill\r\nAuthorization: Bearer {}\r\nContent-Type: {FORM}\r\nConnection: close\r\n{length}\r\n\r\n",
        user.token
    )
}

async fn connect(base: &str) -> TcpStream {
    TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap()
}

/// A client that sends everything before it listens, as simple ones do. Gives the answer; fails where the connection is
/// reset before all is said.
async fn say_all_then_listen(base: &str, head: String, body: Vec<u8>, chunked: bool) -> String {
    let (mut reading, mut writing) = connect(base).await.into_split();
    writing.write_all(head.as_bytes()).await.unwrap();
    let sent = if chunked { send_chunks(&mut writing, &body).await } else { writing.write_all(&body).await };
    sent.expect("all of it is taken");
    heard(&mut reading).await
}

async fn send_chunks(writing: &mut OwnedWriteHalf, body: &[u8]) -> std::io::Result<()> {
    for chunk in body.chunks(100_000) {
        writing.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
        writing.write_all(chunk).await?;
        writing.write_all(b"\r\n").await?;
    }
    writing.write_all(b"0\r\n\r\n").await
}

async fn heard(reading: &mut OwnedReadHalf) -> String {
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(30), reading.read_to_end(&mut answer)).await.expect("an end");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    end.unwrap_or_else(|error| panic!("{error} behind {answer:?}"));
    answer
}

impl TestApp {
    /// Nobody's application, no content, no event.
    async fn expect_no_upload(&self) {
        for collection in ["kyc_applications", "kyc_documents", "events", "audit_events"] {
            // That the merchant was made, and that somebody was turned away, is on record.
            let others =
                doc! { "action": { "$nin": ["user.created", "request.denied"] }, "type": { "$ne": "UserCreated" } };
            let found = self.all(collection, others).await;
            assert_eq!(found, Vec::<Document>::new(), "{collection}");
        }
    }
}

#[tokio::test]
async fn the_largest_document_is_taken_and_a_byte_more_is_not() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let refused = app.upload(&user, "pan_card", pdf_of(LARGEST + 1)).await.expect(413);
    assert_eq!(refused.code(), "request.too_large");
    app.expect_no_upload().await;
    let largest = pdf_of(LARGEST);
    let added = app.upload(&user, "pan_card", largest.clone()).await.expect(201).body;
    assert_eq!(added["bytes"], LARGEST);
    let path = format!("/kyc/documents/{}", added["documentId"].as_str().unwrap());
    let request = app.client.get(format!("{}{path}", app.base)).bearer_auth(&user.token);
    assert!(request.send().await.unwrap().bytes().await.unwrap() == largest, "the same bytes");
    app.upload(&user, "pan_card", largest).await.expect(200);
    // All ten may be that large, many at once.
    let uploads = (0..9).map(|n| {
        let mut pdf = pdf_of(LARGEST);
        pdf[10] = b'0' + n;
        app.upload(&user, "address_proof", pdf)
    });
    for answer in join_all(uploads).await {
        // Who finds no turn is told to come again.
        assert!(matches!(answer.status.as_u16(), 201 | 503), "{}", answer.text);
    }
    app.finish().await;
}

#[tokio::test]
async fn who_sends_far_too_much_gets_the_answer() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let huge = upload_of("pan_card", "card.pdf", "application/pdf", &pdf_of(HUGE));
    let answer = app.post_form(&user, huge.clone()).await.expect(413);
    assert_eq!(answer.code(), "request.too_large");
    for (what, length, chunked) in [
        ("with its length", format!("Content-Length: {}", huge.len()), false),
        ("in chunks", "Transfer-Encoding: chunked".to_owned(), true),
    ] {
        let answer = say_all_then_listen(&app.base, head(&user, &length), huge.clone(), chunked).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{what}: {answer}");
        assert!(answer.contains("request.too_large"), "{what}: {answer}");
    }
    app.expect_no_upload().await;
    app.upload(&user, "pan_card", kyc::PNG).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn a_wrong_form_is_read_to_its_end_before_it_is_refused() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let file = pdf_of(LARGEST);
    let (kind, part) = (("name=\"kind\"", b"pan_card".as_slice()), ("name=\"file\"; filename=\"f\"", &*file));
    for (what, parts, status) in [
        ("an unknown part", [("name=\"note\"", b"x".as_slice()), part], 422),
        ("a part twice", [part, part], 413),
        ("a kind that is too long", [("name=\"kind\"", &file[..10_000]), part], 422),
        ("another kind", [("name=\"kind\"", b"passport".as_slice()), part], 422),
        ("all in order", [kind, part], 201),
    ] {
        for chunked in [false, true] {
            let body = form(&parts);
            let length =
                if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {}", body.len()) };
            let answer = say_all_then_listen(&app.base, head(&user, &length), body, chunked).await;
            let expected = if status == 201 && chunked { 200 } else { status };
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{what}, {length}: {answer}");
        }
    }
    let no_form = head(&user, "Transfer-Encoding: chunked").replace(FORM, "application/pdf");
    let answer = say_all_then_listen(&app.base, no_form, file, true).await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    app.finish().await;
}

#[tokio::test]
async fn a_form_that_is_not_as_agreed_is_refused() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let kind = ("name=\"kind\"", b"pan_card".as_slice());
    let file = ("name=\"file\"; filename=\"card.png\"", kyc::PNG);
    for (parts, blamed) in [
        (vec![], vec!["file:required", "kind:required"]),
        (vec![kind], vec!["file:required"]),
        (vec![file], vec!["kind:required"]),
        (vec![kind, kind, file], vec!["kind:duplicate"]),
        (vec![kind, file, file], vec!["file:duplicate"]),
        (vec![kind, file, ("name=\"note\"", b"hello")], vec!["note:unknown"]),
        (vec![("name=\"Kind\"", b"pan_card"), file], vec!["Kind:unknown"]),
        (vec![("filename=\"x\"", b"pan_card"), file], vec![":unknown"]),
        (vec![("name=\"kind\"", b"passport"), file], vec!["kind:unknown_value"]),
        (vec![("name=\"kind\"", b"PAN_CARD"), file], vec!["kind:unknown_value"]),
        (vec![("name=\"kind\"", b""), file], vec!["kind:unknown_value"]),
        (vec![("name=\"kind\"", b"\xff\xfe"), file], vec!["kind:type"]),
        (vec![("name=\"kind\"", &[b'x'; 257]), file], vec!["kind:length"]),
        (vec![kind, ("name=\"file\"", b"")], vec!["file:content"]),
    ] {
        let answer = app.post_form(&user, form(&parts)).await.expect(422);
        assert_eq!(
            (answer.code(), answer.blamed()),
            ("request.invalid", blamed.iter().map(ToString::to_string).collect())
        );
    }
    app.expect_no_upload().await;
    // A file first, and no file name.
    app.post_form(&user, form(&[("name=\"file\"", kyc::PNG), kind])).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let body = upload_of("pan_card", "card.png", "image/png", kyc::PNG);
    for content_type in [
        None,
        Some("application/json"),
        Some("image/png"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data"),
        Some("multipart/mixed; boundary=between-two-parts"),
    ] {
        let answer =
            app.send(Method::POST, "/kyc/documents", Some(&user), content_type, body.clone()).await.expect(415);
        assert_eq!(answer.code(), "request.media_type", "{content_type:?}");
    }
    for other in ["another", "", "between-two-part", "\"between-two-parts \""] {
        let content_type = format!("multipart/form-data; boundary={other}");
        let answer = app.send(Method::POST, "/kyc/documents", Some(&user), Some(&content_type), body.clone()).await;
        let answer = answer.expect(400);
        assert!(["request.cut_off", "request.not_a_form"].contains(&answer.code()), "{}", answer.text);
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    for (what, broken) in [
        ("nothing", String::new()),
        ("no end", text.replace("--between-two-parts--", "")),
        ("half of the end", text.replace("--between-two-parts--\r\n", "--between-two-p")),
        ("no head", text.replace("Content-Disposition: form-data; ", "")),
        ("no blank line", text.replace("\r\n\r\n", "\r\n")),
        ("JSON", json!({ "kind": "pan_card" }).to_string()),
    ] {
        let answer = app.post_form(&user, broken.into_bytes()).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text);
        answer.expect(400);
    }
    app.send(Method::POST, "/kyc/documents", None, Some(FORM), body.clone()).await.expect(401);
    app.expect_no_upload().await;
    app.post_form(&user, body).await.expect(201);
    app.finish().await;
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_nothing_and_blocks_nobody() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let body = upload_of("pan_card", "card.pdf", "application/pdf", &pdf_of(1_000_000));
    // More of them than are taken at once.
    for n in 0..14 {
        let length =
            if n % 2 == 0 { format!("Content-Length: {}", body.len()) } else { "Transfer-Encoding: chunked".into() };
        let mut stream = connect(&app.base).await;
        stream.write_all(head(&user, &length).as_bytes()).await.unwrap();
        let part = &body[..body.len() * n / 14];
        let _ = if n % 2 == 0 {
            stream.write_all(part).await
        } else {
            stream.write_all(&[format!("{:x}\r\n", body.len()).as_bytes(), part].concat()).await
        };
        match n % 3 {
            0 => drop(stream),
            1 => {
                // Not even a farewell: the connection is reset.
                stream.set_zero_linger().unwrap();
                drop(stream);
            }
            _ => {
                let (mut reading, mut writing) = stream.into_split();
                writing.shutdown().await.unwrap();
                let mut answer = String::new();
                let _ = reading.read_to_string(&mut answer).await;
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
            }
        }
    }
    // Nobody waits for those who left.
    eventually("there is room again", SOON, async || app.upload(&user, "pan_card", kyc::PNG).await.status == 201).await;
    let stored = app.all("kyc_documents", doc! {}).await;
    assert_eq!(stored.len(), 1);
    app.expect_kyc_history(&user, &["KycDocumentAdded"]).await;
    app.finish().await;
}

#[tokio::test]
async fn what_is_too_large_takes_no_memory() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let mut api = Launch::api(&app, &[]).start().await;
    let small = upload_of("pan_card", "card.png", "image/png", kyc::PNG);
    let length = format!("Content-Length: {}", small.len());
    say_all_then_listen(&api.base, head(&user, &length), small, false).await;
    let before = api.memory_peak_kib();
    let huge = upload_of("pan_card", "card.pdf", "application/pdf", &pdf_of(HUGE));
    for chunked in [false, true] {
        let length =
            if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {}", huge.len()) };
        let sending = (0..4).map(|_| say_all_then_listen(&api.base, head(&user, &length), huge.clone(), chunked));
        for answer in join_all(sending).await {
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        }
    }
    let taken = (api.memory_peak_kib() - before) / 1024;
    // Four files of the largest size, and what reading them takes.
    assert!(taken < 80, "400 MiB were sent, and {taken} MiB more memory was taken");
    api.terminate().await;
    app.finish().await;
}
