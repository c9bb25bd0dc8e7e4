//! A file in an answer: taken in piece by piece, handed on to where it is kept, never in memory as a whole.

use std::io::Write;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use reqwest::header::{self, HeaderMap};
use sha2::{Digest, Sha256};

pub const PIECE_BYTES: usize = 1024 * 1024;
/// Bytes at either end by which it is told whether a file is whole.
const END_BYTES: usize = 1024;

#[async_trait]
pub trait FileSink: Send {
    /// Keeps the next piece: [`PIECE_BYTES`], but for the last one.
    ///
    /// # Errors
    /// Why it could not be kept; the file is given up then.
    async fn put(&mut self, piece: Bytes) -> Result<(), String>;

    /// The file is given up: nothing of it need be kept.
    async fn discard(&mut self);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// It is as large as this at most.
    pub bytes_max: u64,
    /// It is said to be a page, or JSON: else what comes as one says something instead.
    pub is_page: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFile {
    pub bytes: u64,
    /// Its digest, in hex.
    pub sha256: String,
}

/// Why a file was not taken in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Over the limit.
    TooLarge,
    /// In a coding that can't be taken off.
    Coding,
    /// It ends before its end, though its length was announced so.
    Cut,
    /// By the one who was to keep it.
    NotKept(String),
}

pub(super) struct FileReceiver<'a> {
    sink: &'a mut dyn FileSink,
    bytes_max: u64,
    coding: Coding,
    pending: Vec<u8>,
    bytes: u64,
    digest: Sha256,
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// Content codings that are decoded. No request asks for them; some servers use them all the same.
enum Coding {
    None,
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
    Unknown,
}

impl Coding {
    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let names = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        let names: Vec<_> =
            names.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect();
        match names.iter().map(String::as_str).filter(|name| *name != "identity").collect::<Vec<_>>()[..] {
            [] => Self::None,
            ["gzip" | "x-gzip"] => Self::Gzip(MultiGzDecoder::new(Vec::new())),
            ["deflate"] => Self::Deflate(ZlibDecoder::new(Vec::new())),
            _ => Self::Unknown,
        }
    }

    /// Adds what `bytes` are to `to`.
    fn decode_into(&mut self, bytes: &[u8], to: &mut Vec<u8>) -> Result<(), NotTaken> {
        let coding = |_| NotTaken::Coding;
        match self {
            Self::None => to.extend_from_slice(bytes),
            Self::Gzip(decoder) => {
                decoder.write_all(bytes).and_then(|()| decoder.flush()).map_err(coding)?;
                to.append(decoder.get_mut());
            }
            Self::Deflate(decoder) => {
                decoder.write_all(bytes).and_then(|()| decoder.flush()).map_err(coding)?;
                to.append(decoder.get_mut());
            }
            Self::Unknown => return Err(NotTaken::Coding),
        }
        Ok(())
    }

    /// Adds what is left; an error where there should be more.
    fn finish(&mut self, to: &mut Vec<u8>) -> Result<(), NotTaken> {
        let rest = match self {
            Self::None | Self::Unknown => return Ok(()),
            Self::Gzip(decoder) => decoder.try_finish().map(|()| decoder.get_mut()),
            Self::Deflate(decoder) => decoder.try_finish().map(|()| decoder.get_mut()),
        };
        to.append(rest.map_err(|_| NotTaken::Coding)?);
        Ok(())
    }
}

/// Whether what is of this type is a page, or JSON.
#[must_use]
pub fn is_page(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "text/html" || essence == "application/json" || essence.ends_with("+json")
}

/// Whether an answer with these headers is the file that is asked for.
pub(super) fn is_file(status: u16, headers: &HeaderMap, expected: Expected) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    status == 200 && (expected.is_page || !is_page(content_type))
}

/// Whether a file that begins like one of its kind ends like one: what cuts an answer may announce the length that is left.
///
/// Ends: ISO 32000-2, section 7.5.5; ZIP application note, section 4.3.16; RFC 7468, section 2.
fn ends_as_it_begins(head: &[u8], tail: &[u8]) -> bool {
    let holds = |end: &[u8]| tail.windows(end.len()).any(|window| window == end);
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if head.starts_with(b"%PDF-") {
        holds(b"%%EOF")
    } else if head.starts_with(b"PK\x03\x04") {
        holds(b"PK\x05\x06")
    } else if text.starts_with(b"<") {
        tail.trim_ascii_end().ends_with(b">")
    } else {
        !text.starts_with(b"-----BEGIN ") || holds(b"-----END ")
    }
}

impl<'a> FileReceiver<'a> {
    pub(super) fn new(sink: &'a mut dyn FileSink, bytes_max: u64, headers: &HeaderMap) -> Self {
        let (coding, digest) = (Coding::of(headers), Sha256::new());
        let (pending, head, tail) = (Vec::new(), Vec::new(), Vec::new());
        Self { sink, bytes_max, coding, pending, bytes: 0, digest, head, tail }
    }

    pub(super) async fn take(&mut self, bytes: &[u8]) -> Result<(), NotTaken> {
        self.coding.decode_into(bytes, &mut self.pending)?;
        self.flush_pending(PIECE_BYTES).await
    }

    /// Refuses a file that is announced to be over the limit, before anything of it is taken.
    pub(super) fn announced(&self, headers: &HeaderMap) -> Result<(), NotTaken> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.bytes_max) { Err(NotTaken::TooLarge) } else { Ok(()) }
    }

    pub(super) async fn discard(&mut self) {
        self.sink.discard().await;
    }

    pub(super) async fn finish(&mut self) -> Result<ReceivedFile, NotTaken> {
        self.coding.finish(&mut self.pending)?;
        self.flush_pending(1).await?;
        if !ends_as_it_begins(&self.head, &self.tail) {
            return Err(NotTaken::Cut);
        }
        Ok(ReceivedFile { bytes: self.bytes, sha256: hex::encode(std::mem::take(&mut self.digest).finalize()) })
    }

    /// Hands on what is pending while that is `at_least` so much.
    async fn flush_pending(&mut self, at_least: usize) -> Result<(), NotTaken> {
        if self.bytes + self.pending.len() as u64 > self.bytes_max {
            return Err(NotTaken::TooLarge);
        }
        while self.pending.len() >= at_least {
            let rest = self.pending.split_off(self.pending.len().min(PIECE_BYTES));
            let piece = Bytes::from(std::mem::replace(&mut self.pending, rest));
            self.bytes += piece.len() as u64;
            self.digest.update(&piece);
            self.head.extend(piece.iter().take(END_BYTES - self.head.len()));
            self.tail.extend_from_slice(&piece[piece.len().saturating_sub(END_BYTES)..]);
            self.tail.drain(..self.tail.len().saturating_sub(END_BYTES));
            self.sink.put(piece).await.map_err(NotTaken::NotKept)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
    use reqwest::header::HeaderValue;

    use super::*;

    #[derive(Default)]
    struct Kept {
        pieces: Vec<usize>,
        content: Vec<u8>,
        full: bool,
    }

    #[async_trait]
    impl FileSink for Kept {
        async fn put(&mut self, piece: Bytes) -> Result<(), String> {
            self.pieces.push(piece.len());
            self.content.extend_from_slice(&piece);
            if self.full { Err("no room".into()) } else { Ok(()) }
        }

        async fn discard(&mut self) {
            self.content.clear();
        }
    }

    fn headers(coding: &str) -> HeaderMap {
        [(header::CONTENT_ENCODING, HeaderValue::from_str(coding).expect("a value"))].into_iter().collect()
    }

    fn content() -> Vec<u8> {
        (0..2 * PIECE_BYTES + 5).map(|at| (at % 251) as u8).collect()
    }

    /// As it comes: in pieces of the network's.
    async fn taken(kept: &mut Kept, bytes: &[u8], max: u64, headers: &HeaderMap) -> Result<ReceivedFile, NotTaken> {
        let mut intake = FileReceiver::new(kept, max, headers);
        for piece in bytes.chunks(60_000) {
            intake.take(piece).await?;
        }
        intake.finish().await
    }

    #[tokio::test]
    async fn a_file_is_handed_on_in_pieces_and_counted() {
        let (content, mut kept) = (content(), Kept::default());
        let received = taken(&mut kept, &content, content.len() as u64, &HeaderMap::new()).await.expect("taken");
        assert_eq!(kept.pieces, [PIECE_BYTES, PIECE_BYTES, 5]);
        assert!(kept.content == content && received.bytes == content.len() as u64);
        assert_eq!(received.sha256, crate::platform::secret::sha256_hex(&content));
    }

    #[tokio::test]
    async fn what_is_over_the_limit_is_given_up_before_it_is_there() {
        let (content, mut kept) = (content(), Kept::default());
        let limit = content.len() as u64 - 1;
        assert_eq!(taken(&mut kept, &content, limit, &HeaderMap::new()).await, Err(NotTaken::TooLarge));
        let announced = |length: u64| {
            let length = [(header::CONTENT_LENGTH, HeaderValue::from(length))].into_iter().collect();
            FileReceiver::new(&mut Kept::default(), limit, &HeaderMap::new()).announced(&length)
        };
        assert_eq!((announced(limit), announced(limit + 1)), (Ok(()), Err(NotTaken::TooLarge)));
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; 20 * PIECE_BYTES]).expect("zeros");
        let (bomb, mut kept) = (bomb.finish().expect("packed"), Kept::default());
        assert_eq!(taken(&mut kept, &bomb, 1_000_000, &headers("gzip")).await, Err(NotTaken::TooLarge));
        assert!(kept.content.len() <= 1_000_000);
    }

    #[tokio::test]
    async fn codings_that_nobody_asked_for_are_taken_off() {
        let content = content();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&content).expect("packed");
        let gzip = gzip.finish().expect("packed");
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&content).expect("packed");
        let zlib = zlib.finish().expect("packed");
        for (coding, packed) in
            [("gzip", &gzip), ("X-GZIP, identity", &gzip), ("deflate", &zlib), ("identity", &content)]
        {
            let mut kept = Kept::default();
            let received = taken(&mut kept, packed, u64::MAX, &headers(coding)).await.expect(coding);
            assert!(kept.content == content && received.bytes == content.len() as u64, "{coding}");
        }
        let cut = &gzip[..gzip.len() - 9];
        for (coding, packed) in [("br", &*content), ("gzip, gzip", &gzip), ("gzip", &content), ("gzip", cut)] {
            let outcome = taken(&mut Kept::default(), packed, u64::MAX, &headers(coding)).await;
            assert_eq!(outcome, Err(NotTaken::Coding), "{coding}");
        }
    }

    #[tokio::test]
    async fn a_file_that_ends_before_its_end_is_none() {
        for (whole, cut) in [
            ("%PDF-1.7 ... %%EOF\r\n", "%PDF-1.7 ... %%E"),
            ("PK\u{3}\u{4}...PK\u{5}\u{6}..", "PK\u{3}\u{4}...PK"),
            ("\u{feff}<?xml?><a>..</a>\n", "\u{feff}<?xml?><a>..</a"),
            ("-----BEGIN PKCS7-----\n..\n-----END PKCS7-----\n", "-----BEGIN PKCS7-----\n..\n-----EN"),
        ] {
            let outcome = |content: &'static str| async move {
                taken(&mut Kept::default(), content.as_bytes(), u64::MAX, &HeaderMap::new())
                    .await
                    .map(|file| file.bytes)
            };
            assert_eq!(outcome(whole).await, Ok(whole.len() as u64), "{whole}");
            assert_eq!(outcome(cut).await, Err(NotTaken::Cut), "{cut}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_given_up() {
        let mut kept = Kept { full: true, ..Kept::default() };
        let outcome = taken(&mut kept, &content(), u64::MAX, &HeaderMap::new()).await;
        assert_eq!((outcome, kept.pieces.len()), (Err(NotTaken::NotKept("no room".into())), 1));
    }

    #[test]
    fn a_page_or_json_is_no_file_unless_it_was_said_to_be_one() {
        let expected = |is_page| Expected { bytes_max: 1, is_page };
        let is = |status, content_type: &str, page| {
            let value = HeaderValue::from_str(content_type).expect("a value");
            is_file(status, &[(header::CONTENT_TYPE, value)].into_iter().collect(), expected(page))
        };
        let of = |status, content_type: &str| is(status, content_type, false);
        for content_type in ["application/pdf", "text/xml; charset=utf-8", "application/octet-stream", "nonsense"] {
            assert!(of(200, content_type) && !of(404, content_type) && !of(206, content_type), "{content_type}");
        }
        for content_type in ["text/html", "TEXT/HTML; charset=utf-8", "application/json", "application/problem+json"] {
            assert!(!of(200, content_type), "{content_type}");
            assert!(is(200, content_type, true) && !is(502, content_type, true), "{content_type}");
        }
        assert!(is_file(200, &HeaderMap::new(), expected(false)));
    }
}
