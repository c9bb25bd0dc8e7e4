//! Files of extracts: readable as what they claim to be, of any size. Each names an owner, so that it shows where one is
//! stored or logged in clear.

use std::fmt::Write;

use axum::http::HeaderValue;
use serde::Deserialize;

use crate::payload::Payload;

const OWNER: &str = "IVANOV IVAN IVANOVICH";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Pdf,
    Xml,
    Zip,
    Signature,
}

impl Kind {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Xml => "application/xml",
            Self::Zip => "application/zip",
            Self::Signature => "application/pkcs7-signature",
        }
    }

    /// Bytes before and after a filling of that length.
    fn frame(self, about: &str, filling: usize) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Pdf => pdf(about, filling),
            Self::Xml => (format!("{}<!--\n", xml(about)).into(), b"-->\n".to_vec()),
            Self::Zip => zip(&xml(about), filling),
            Self::Signature => (b"-----BEGIN PKCS7-----\n".to_vec(), b"-----END PKCS7-----\n".to_vec()),
        }
    }
}

/// The file that is asked for; at least as long as its kind needs.
pub fn make(spec: &FileSpec, cadastral_number: &str) -> Payload {
    let about = format!("{cadastral_number} {OWNER}");
    let (head, tail) = spec.kind.frame(&about, 0);
    let filling = spec.bytes.saturating_sub(head.len() + tail.len());
    let (head, tail) = spec.kind.frame(&about, filling);
    let content_type = spec.content_type.as_deref().and_then(|asked| HeaderValue::from_str(asked).ok());
    let content_type = content_type.unwrap_or_else(|| HeaderValue::from_static(spec.kind.content_type()));
    Payload::filled(content_type, head.into(), filling, tail.into())
}

fn xml(about: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<extract about=\"{about}\"/>\n")
}

/// One empty page, the filling in a stream that nothing refers to. Numbers have ten digits, so that their size does not
/// change the length.
fn pdf(about: &str, filling: usize) -> (Vec<u8>, Vec<u8>) {
    let mut head = format!("%PDF-1.7\n% {about}\n");
    let mut tail = "\nendstream\nendobj\n".to_owned();
    let stream = format!("<</Length {filling:010}>>\nstream\n");
    let page = "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<<>>>>\nendobj\n";
    let objects =
        ["<</Type/Catalog/Pages 2 0 R>>\nendobj\n", "<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n", page, &stream];
    let mut table = "xref\n0 5\n0000000000 65535 f \n".to_owned();
    for (number, object) in (1..).zip(objects) {
        let _ = writeln!(table, "{:010} 00000 n ", head.len());
        let _ = write!(head, "{number} 0 obj\n{object}");
    }
    let start = head.len() + filling + tail.len();
    let _ = write!(tail, "{table}trailer\n<</Size 5/Root 1 0 R>>\nstartxref\n{start:010}\n%%EOF\n");
    (head.into(), tail.into())
}

/// One file, not compressed; the filling lies between it and the directory.
fn zip(content: &str, filling: usize) -> (Vec<u8>, Vec<u8>) {
    const NAME: &str = "extract.xml";
    let long = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let size = long(content.len());
    // Version, flags, method, time, date (1980-01-01), checksum, sizes, lengths of name and extra.
    let entry = [
        &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0],
        crc32(content.as_bytes()).to_le_bytes().as_slice(),
        &size,
        &size,
        &[11, 0, 0, 0],
    ]
    .concat();
    let head = [b"PK\x03\x04", entry.as_slice(), NAME.as_bytes(), content.as_bytes()].concat();
    // Version that made it; behind the entry: comment, disk, attributes, where the entry is.
    let directory = [b"PK\x01\x02\x14\x00", entry.as_slice(), &[0; 14], NAME.as_bytes()].concat();
    let (length, start) = (long(directory.len()), long(head.len() + filling));
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", length.as_slice(), &start, &[0; 2]].concat();
    (head, [directory, end].concat())
}

pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSpec {
    pub kind: Kind,
    pub name: String,
    #[serde(default = "usual_bytes")]
    pub bytes: usize,
    /// Its place in the list, from 1.
    pub id: Option<String>,
    /// That of its kind.
    pub content_type: Option<String>,
}

pub(super) fn usual_bytes() -> usize {
    20_000
}
