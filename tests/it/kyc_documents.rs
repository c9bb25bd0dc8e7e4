//! Documents of an application: taken by what they are, kept sealed, shown to whom they belong. Large, broken and cut off
//! uploads are in `kyc_uploads.rs`.

use bson::{Document, doc};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::json;
use waybill::platform::identity::Role;

use crate::support::{Answer, TestApp, User, kyc};

/// The form of [`form`].
pub const FORM: &str = "multipart/form-data; boundary=between-two-parts";

const JPEG: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9";

/// A form, part by part: what follows `form-data; ` in its head, and its content.
pub fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, content) in parts {
        let head = format!("--between-two-parts\r\nContent-Disposition: form-data; {head}\r\n\r\n");
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    body.extend(b"--between-two-parts--\r\n");
    body
}

/// A form as browsers send it.
pub fn upload_of(kind: &str, file_name: &str, media_type: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("name=\"file\"; filename=\"{file_name}\"\r\nContent-Type: {media_type}");
    form(&[("name=\"kind\"", kind.as_bytes()), (&head, content)])
}

struct File {
    status: StatusCode,
    headers: HeaderMap,
    content: Vec<u8>,
}

impl TestApp {
    pub async fn post_form(&self, user: &User, body: Vec<u8>) -> Answer {
        self.send(Method::POST, "/kyc/documents", Some(user), Some(FORM), body).await
    }

    /// A new document; gives its path.
    async fn added(&self, user: &User, kind: &str, content: impl Into<Vec<u8>>) -> String {
        let document = self.upload(user, kind, content).await.expect(201).body;
        format!("/kyc/documents/{}", document["documentId"].as_str().unwrap())
    }

    async fn fetch(&self, user: &User, path: &str) -> File {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(&user.token);
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        File { status, headers, content: response.bytes().await.unwrap().to_vec() }
    }

    async fn delete(&self, user: &User, path: &str) -> Answer {
        self.request(Method::DELETE, path, Some(&user.token), None).await
    }

    /// How many documents a merchant has: listed, with content, and as events tell it.
    async fn documents_of(&self, user: &User) -> (usize, usize, usize) {
        let listed = self.get(user, "/kyc/documents").await.expect(200).body["items"].as_array().unwrap().len();
        let contents = self.all("kyc_documents", doc! { "userId": &user.user_id }).await.len();
        let events = self.kyc_events(user).await;
        let happened = |kind: &str| events.iter().filter(|event| event.get_str("type").unwrap() == kind).count();
        (listed, contents, happened("KycDocumentAdded") - happened("KycDocumentRemoved"))
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_document_is_told_by_its_content() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let pdf = kyc::pdf("a scan");
    for (kind, name, claimed, content, media_type) in [
        ("pan_card", "card.pdf", "application/pdf", &*pdf, "application/pdf"),
        ("pan_card", "card.exe", "text/html", kyc::PNG, "image/png"),
        ("pan_card", "../../etc/passwd", "nonsense", JPEG, "image/jpeg"),
        ("address_proof", "bill.png", "image/png", &pdf, "application/pdf"),
        ("gst_certificate", "", "", JPEG, "image/jpeg"),
        ("cancelled_cheque", "चेक.png", "image/jpeg", kyc::PNG, "image/png"),
    ] {
        let added = app.post_form(&user, upload_of(kind, name, claimed, content)).await.expect(201).body;
        assert_eq!((&added["kind"], &added["mediaType"]), (&json!(kind), &json!(media_type)), "{name}");
        assert_eq!(added["bytes"], content.len());
        let mut members: Vec<_> = added.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["bytes", "documentId", "kind", "mediaType", "uploadedAt"]);
    }
    assert_eq!(app.documents_of(&user).await, (6, 6, 6));
    app.finish().await;
}

#[tokio::test]
async fn what_only_claims_to_be_a_document_is_refused() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let page = b"<html><script>alert(1)</script></html>";
    let behind = |signature: &[u8]| [signature, page].concat();
    let cut = &kyc::PNG[..kyc::PNG.len() - 1];
    for (what, content) in [
        ("a page", page.to_vec()),
        ("a page behind a PNG's signature", behind(&kyc::PNG[..8])),
        ("a page behind a PNG's head", behind(&kyc::PNG[..33])),
        ("a page behind a PNG", behind(kyc::PNG)),
        ("a page behind a JPEG's signature", behind(b"\xff\xd8\xff")),
        ("a page behind a PDF's signature", behind(b"%PDF-1.7\n")),
        ("a page before a PDF", [page, &*kyc::pdf("x")].concat()),
        ("a PNG that ends too early", cut.to_vec()),
        ("a picture of another kind", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec()),
        ("a program", b"\x7fELF\x02\x01\x01".to_vec()),
        ("an archive", b"PK\x03\x04".to_vec()),
        ("text", b"my PAN card".to_vec()),
        ("nothing", Vec::new()),
    ] {
        for (name, claimed) in [("card.png", "image/png"), ("card.pdf", "application/pdf")] {
            let answer = app.post_form(&user, upload_of("pan_card", name, claimed, &content)).await.expect(422);
            assert_eq!(
                (answer.code(), answer.blamed()),
                ("request.invalid", vec!["file:content".to_owned()]),
                "{what}"
            );
        }
    }
    for collection in ["kyc_applications", "kyc_documents", "events"] {
        let found = app.all(collection, doc! { "type": { "$ne": "UserCreated" } }).await;
        assert_eq!(found, Vec::<Document>::new(), "{collection}");
    }
    app.finish().await;
}

#[tokio::test]
async fn documents_begin_a_draft_and_are_listed() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let mut added = Vec::new();
    for kind in ["address_proof", "pan_card", "address_proof"] {
        app.app.clock.advance(std::time::Duration::from_secs(1));
        added.push(app.upload(&user, kind, kyc::pdf(&format!("{kind} {}", added.len()))).await.expect(201).body);
    }
    let shown = app.kyc(&user).await;
    assert_eq!((&shown["state"], &shown["documents"]), (&json!("draft"), &json!(added)));
    assert_eq!(app.get(&user, "/kyc/documents").await.expect(200).body, json!({ "items": added, "nextCursor": null }));
    app.expect_kyc_history(&user, &["KycDocumentAdded"; 3]).await;
    app.save(&user, json!({ "legalName": "Asha Rao" })).await.expect(200);
    assert_eq!(app.kyc(&user).await["documents"], json!(added));
    app.finish().await;
}

#[tokio::test]
async fn a_document_is_shown_to_its_owner_and_harms_nobody() {
    let app = TestApp::start().await;
    let (user, stranger) = (app.newcomer().await, app.newcomer().await);
    let pdf = kyc::pdf("a scan \u{1f4c4}");
    for (kind, content, media_type, name) in [
        ("pan_card", kyc::PNG, "image/png", "pan_card.png"),
        ("address_proof", &*pdf, "application/pdf", "address_proof.pdf"),
        ("gst_certificate", JPEG, "image/jpeg", "gst_certificate.jpg"),
    ] {
        let path = app.added(&user, kind, content).await;
        let file = app.fetch(&user, &path).await;
        assert_eq!((file.status, &*file.content), (StatusCode::OK, content));
        for (header, value) in [
            ("content-type", media_type),
            ("content-disposition", &*format!("attachment; filename=\"{name}\"")),
            ("content-length", &content.len().to_string()),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(file.headers[header], value, "{kind}: {header}");
        }
        let theirs = app.get(&stranger, &path).await.expect(404);
        let nobodys = app.get(&stranger, "/kyc/documents/doc_00000000000000000000000000000000").await.expect(404);
        assert_eq!((theirs.code(), &theirs.body["detail"]), (nobodys.code(), &nobodys.body["detail"]));
        app.delete(&stranger, &path).await.expect(404);
        for role in [Role::Finance, Role::Auditor] {
            assert_eq!(app.get(&app.user(role).await, &path).await.expect(403).code(), "auth.forbidden");
        }
        app.request(Method::GET, &path, None, None).await.expect(401);
    }
    for id in ["x", "..%2F..%2Fkyc", "doc_%00", "%FF"] {
        app.get(&user, &format!("/kyc/documents/{id}")).await.expect(404);
    }
    assert_eq!(app.all("audit_events", doc! { "action": "kyc.document_read" }).await, [], "one's own is one's own");
    app.finish().await;
}

#[tokio::test]
async fn what_a_reviewer_reads_is_written_down() {
    let app = TestApp::start().await;
    let (user, admin) = (app.newcomer().await, app.admin().await);
    let path = app.added(&user, "pan_card", kyc::PNG).await;
    let file = app.fetch(&admin, &path).await;
    assert_eq!((file.status, &*file.content), (StatusCode::OK, kyc::PNG));
    let records = app.all("audit_events", doc! { "action": "kyc.document_read" }).await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(format!("/kyc/documents/{}", record.get_str("resourceId").unwrap()), path);
    assert_eq!(record.get_str("resourceType").unwrap(), "kyc_document");
    assert_eq!((record.get_str("userId").unwrap(), record.get_str("outcome").unwrap()), (&*user.user_id, "done"));
    let actor = record.get_document("actor").unwrap();
    assert_eq!((actor.get_str("id").unwrap(), actor.get_str("role").unwrap()), (&*admin.user_id, "admin"));
    assert_eq!(actor.get_str("requestId").unwrap(), file.headers["x-request-id"]);
    app.get(&admin, "/kyc/documents/doc_00000000000000000000000000000000").await.expect(404);
    app.delete(&admin, &path).await.expect(403);
    app.upload(&admin, "pan_card", kyc::PNG).await.expect(403);
    assert_eq!(app.all("audit_events", doc! { "action": "kyc.document_read" }).await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn the_same_content_again_is_the_same_document() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let first = app.upload(&user, "pan_card", kyc::PNG).await.expect(201);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let replays = async || {
        let again = app.upload(&user, "pan_card", kyc::PNG).await.expect(200);
        assert_eq!((&again.headers["idempotent-replayed"], &again.body), (&"true".parse().unwrap(), &first.body));
    };
    replays().await;
    assert_eq!(app.documents_of(&user).await, (1, 1, 1));
    // The same paper may show two things; two merchants may have the same.
    let other_kind = app.upload(&user, "address_proof", kyc::PNG).await.expect(201).body;
    assert_ne!(other_kind["documentId"], first.body["documentId"]);
    app.upload(&app.newcomer().await, "pan_card", kyc::PNG).await.expect(201);
    let at_once = join_all((0..5).map(|_| app.upload(&user, "gst_certificate", kyc::PNG))).await;
    assert_eq!(at_once.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(at_once.iter().filter(|answer| answer.status == 200).count(), 4);
    assert_eq!(app.documents_of(&user).await, (3, 3, 3));

    app.upload(&user, "cancelled_cheque", kyc::PNG).await.expect(201);
    app.save(&user, kyc::individual()).await.expect(200);
    app.submit(&user).await.expect(202);
    replays().await;
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn there_are_ten_at_most() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let mut paths = Vec::new();
    for n in 0..10 {
        paths.push(app.added(&user, "address_proof", kyc::pdf(&n.to_string())).await);
    }
    let refused = app.upload(&user, "pan_card", kyc::PNG).await.expect(409);
    assert_eq!(refused.code(), "kyc.too_many_documents");
    app.upload(&user, "address_proof", kyc::pdf("3")).await.expect(200);
    app.delete(&user, &paths[4]).await.expect(204);
    app.upload(&user, "pan_card", kyc::PNG).await.expect(201);
    assert_eq!(app.documents_of(&user).await, (10, 10, 10));

    let hasty = app.newcomer().await;
    let answers = join_all((0..12).map(|n| app.upload(&hasty, "address_proof", kyc::pdf(&n.to_string())))).await;
    let statuses = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((statuses(201), statuses(409)), (10, 2), "{answers:?}");
    assert_eq!(app.documents_of(&hasty).await, (10, 10, 10));
    assert_eq!(app.kyc(&hasty).await["state"], "draft");
    app.finish().await;
}

#[tokio::test]
async fn what_is_removed_is_gone() {
    let app = TestApp::start().await;
    let (user, admin) = (app.newcomer().await, app.admin().await);
    let kept = app.added(&user, "pan_card", kyc::PNG).await;
    let gone = app.added(&user, "pan_card", JPEG).await;
    let answer = app.delete(&user, &gone).await.expect(204);
    assert_eq!(answer.text, "");
    assert_eq!(app.documents_of(&user).await, (1, 1, 1));
    for who in [&user, &admin] {
        app.get(who, &gone).await.expect(404);
    }
    app.delete(&user, &gone).await.expect(404);
    app.expect_kyc_history(&user, &["KycDocumentAdded", "KycDocumentAdded", "KycDocumentRemoved"]).await;
    let again = app.added(&user, "pan_card", JPEG).await;
    assert_ne!(again, gone, "an id is used once");

    let at_once = join_all((0..5).map(|_| app.delete(&user, &again))).await;
    assert_eq!(at_once.iter().filter(|answer| answer.status == 204).count(), 1);
    assert_eq!(at_once.iter().filter(|answer| answer.status == 404).count(), 4);
    for kind in ["cancelled_cheque", "address_proof"] {
        app.added(&user, kind, kyc::pdf(kind)).await;
    }
    app.save(&user, kyc::individual()).await.expect(200);
    app.submit(&user).await.expect(202);
    assert_eq!(app.delete(&user, &kept).await.expect(409).code(), "kyc.field_locked");
    assert_eq!(app.fetch(&user, &kept).await.content, kyc::PNG);
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn a_document_is_in_before_the_application_is_handed_in_or_not_at_all() {
    let app = TestApp::start().await;
    for _ in 0..5 {
        let user = app.newcomer().await;
        app.complete(&user, &kyc::individual()).await;
        let uploads = join_all((0..4).map(|n| app.upload(&user, "address_proof", kyc::pdf(&n.to_string()))));
        let (uploaded, submitted) = tokio::join!(uploads, app.submit(&user));
        submitted.expect(202);
        assert!(uploaded.iter().all(|answer| matches!(answer.status.as_u16(), 201 | 409)), "{uploaded:?}");
        let there = 3 + uploaded.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(app.documents_of(&user).await, (there, there, there));
        let events = app.kyc_events(&user).await;
        let states = events.iter().map(|event| event.get_document("data").unwrap().get_str("state").unwrap());
        assert_eq!(states.filter(|state| *state == "submitted").count(), 1, "nothing comes after it");
    }
    app.run_jobs_to_the_end().await;
    app.finish().await;
}

#[tokio::test]
async fn what_is_stored_is_sealed() {
    let app = TestApp::start().await;
    let user = app.newcomer().await;
    let words = "the quick brown fox jumps over the lazy dog";
    let path = app.added(&user, "address_proof", kyc::pdf(words)).await;
    let stored = app.all("kyc_documents", doc! {}).await;
    let bytes = bson::serialize_to_vec(&stored[0]).unwrap();
    for part in [words, "%PDF", "%%EOF", "quick"] {
        assert!(!contains(&bytes, part.as_bytes()), "{part}");
    }
    // Moved to another record, it can't be opened: neither its bytes nor a fault are shown.
    let other = app.added(&user, "pan_card", kyc::pdf("a card")).await;
    let id = |path: &str| path.strip_prefix("/kyc/documents/").unwrap().to_owned();
    let moved = stored[0].get("content").unwrap().clone();
    app.update_one("kyc_documents", doc! { "_id": id(&other) }, doc! { "content": moved }).await;
    let broken = app.get(&user, &other).await.expect(500);
    assert!(!broken.text.contains("seal") && !broken.text.contains(words), "{}", broken.text);
    assert_eq!(app.fetch(&user, &path).await.content, kyc::pdf(words));
    app.finish().await;
}
