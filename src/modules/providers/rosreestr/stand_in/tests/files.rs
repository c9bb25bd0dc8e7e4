//! Downloads of files.

use sha2::{Digest, Sha256};

use super::*;

fn position(all: &[u8], part: &[u8]) -> usize {
    all.windows(part.len()).rposition(|window| window == part).unwrap()
}

#[tokio::test]
async fn a_file_is_what_it_claims_to_be() {
    let files = json!([
        {"kind": "pdf", "name": "a.pdf", "bytes": 1_000}, {"kind": "xml", "name": "a.xml", "bytes": 200_000},
        {"kind": "zip", "name": "a.zip", "bytes": 70_000},
    ]);
    let stand = Rosreestr::with_course(json!({"files": files})).await;
    let id = stand.completed().await;
    let books = stand.docflows("x-1").await;
    for (number, (content_type, length, begin, end)) in (1..).zip([
        ("application/pdf", 1_000, "%PDF-1.7\n", "\n%%EOF\n"),
        ("application/xml", 200_000, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<extract about=\"50:33:", "-->\n"),
        ("application/zip", 70_000, "PK\x03\x04", "\0\0"),
        ("application/pkcs7-signature", 2_000, "-----BEGIN PKCS7-----\n", "-----END PKCS7-----\n"),
    ]) {
        let answer = stand.download(&id, &number.to_string()).await;
        assert_eq!(answer.headers()["content-type"], content_type);
        assert_eq!(answer.headers()["content-length"], length.to_string());
        let (all, whole) = bytes(answer).await;
        assert!(whole && all.len() == length, "{content_type}: {}", all.len());
        assert!(all.starts_with(begin.as_bytes()) && all.ends_with(end.as_bytes()), "{content_type}");
        let shown = &books[0]["files"][number - 1];
        assert_eq!(shown["sha256"], hex::encode(Sha256::digest(&all)), "{content_type}");
        assert_eq!(shown["bytes"], length, "{content_type}");
        let named = content_type.ends_with("signature") || position(&all, b"IVANOV IVAN IVANOVICH") > 0;
        assert!(named, "{content_type}");
    }
    assert_eq!(stand.docflows("x-1").await[0]["files"][0]["downloads"], 1);
}

#[tokio::test]
async fn tables_of_pdf_and_zip_point_at_what_is_there() {
    let files = json!([{"kind": "pdf", "name": "a", "bytes": 100_000}, {"kind": "zip", "name": "a", "bytes": 100_000}]);
    let stand = Rosreestr::with_course(json!({"files": files})).await;
    let id = stand.completed().await;
    let (pdf, _) = bytes(stand.download(&id, "1").await).await;
    let start = position(&pdf, b"startxref\n") + 10;
    let table: usize = std::str::from_utf8(&pdf[start..start + 10]).unwrap().parse().unwrap();
    assert!(pdf[table..].starts_with(b"xref\n"));
    let object: usize = std::str::from_utf8(&pdf[table + 49..table + 59]).unwrap().parse().unwrap();
    assert!(pdf[object..].starts_with(b"2 0 obj\n"));

    let (zip, _) = bytes(stand.download(&id, "2").await).await;
    let end = zip.len() - 22;
    let directory = u32::from_le_bytes(zip[end + 16..end + 20].try_into().unwrap());
    assert!(
        zip[end..].starts_with(b"PK\x05\x06") && zip[usize::try_from(directory).unwrap()..].starts_with(b"PK\x01\x02")
    );
    // What every CRC-32 gives for these digits.
    assert_eq!(super::super::files::crc32(b"123456789"), 0xcbf4_3926);
}

#[tokio::test]
async fn a_large_file_has_no_two_parts_alike() {
    let size = 50 * 1024 * 1024;
    let stand = Rosreestr::with_course(json!({"files": [{"kind": "xml", "name": "a", "bytes": size}]})).await;
    let id = stand.completed().await;
    let (all, whole) = bytes(stand.download(&id, "1").await).await;
    assert!(whole && all.len() == size);
    let blocks: std::collections::HashSet<_> = all.chunks(64 * 1024).map(|block| &block[..1024]).collect();
    assert_eq!(blocks.len(), size / (64 * 1024));
}

#[tokio::test]
async fn names_ids_and_types_may_be_hostile() {
    let file = json!({
        "kind": "pdf", "name": "../../etc/passwd\r\nSet-Cookie: a=b", "id": "../2?x=#", "contentType": "text/html\n<script>",
    });
    let stand = Rosreestr::with_course(json!({"files": [file]})).await;
    let id = stand.completed().await;
    let shown = &stand.polled(&id).await["files"][0];
    for field in ["name", "id", "contentType"] {
        assert_eq!(shown[field], file[field]);
    }
    let answer = stand.download(&id, "..%2F2%3Fx=%23").await;
    assert_eq!(
        (answer.status(), &answer.headers()["content-type"]),
        (StatusCode::OK, &"application/pdf".parse().unwrap())
    );
}

#[tokio::test]
async fn downloads_go_wrong() {
    let stand = Rosreestr::new();
    let id = stand.completed().await;
    let sha256 = stand.docflows("x-1").await[0]["files"][0]["sha256"].clone();
    for (mode, promised, sent, ends, same) in [
        ("ok", 20_000, 20_000, true, true),
        ("cut_after_work", 20_000, 10_000, false, false),
        ("truncated_after_work", 10_000, 10_000, true, false),
        ("huge", 20_000 + 2 * 1024 * 1024, 20_000 + 2 * 1024 * 1024, true, false),
        ("changed_file", 20_000, 20_000, true, false),
        ("ok", 20_000, 20_000, true, true),
    ] {
        stand.rule(json!({"operation": "download", "docflowId": id, "fileId": "1", "mode": mode, "times": 1})).await;
        let answer = stand.download(&id, "1").await;
        assert_eq!(answer.headers()["content-length"], promised.to_string(), "{mode}");
        let (all, whole) = bytes(answer).await;
        assert_eq!((all.len(), whole), (sent, ends), "{mode}");
        assert_eq!(sha256 == hex::encode(Sha256::digest(&all)), same, "{mode}");
    }
}

#[tokio::test]
async fn a_slow_download_is_one_call_until_it_ends() {
    let stand = Rosreestr::new();
    let id = stand.completed().await;
    stand.rule(json!({"operation": "download", "mode": "slow_body"})).await;
    let slow = stand.download(&id, "1").await;
    stand.poll(&id).await;
    assert_eq!(stand.get("/_traffic").await["accounts"]["one"]["atOnce"], 2);
    assert!(tokio::time::timeout(crate::testing::PATIENCE, bytes(slow)).await.is_err());
    stand.call("DELETE", "/_books", None).await;
    assert_eq!(stand.get("/_traffic").await["accounts"], json!({}), "the client left");
}
