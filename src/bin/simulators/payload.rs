//! Bodies of answers, as large as they like: what is not given is made up while it is sent.

use std::{cmp::min, io, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use sha2::{Digest, Sha256};

/// No two blocks of a filling are alike, so that it shows if a client swaps them.
const BLOCK: usize = 64 * 1024;
/// How many pieces a slow body comes in, at most.
const PIECES: usize = 45;

/// Bytes with a content type: a head, a filling of that length, a tail.
#[derive(Clone, Debug)]
pub struct Payload {
    content_type: HeaderValue,
    head: Bytes,
    filling: usize,
    /// Another seed, another filling.
    pub seed: u64,
    tail: Bytes,
    sent: usize,
    /// The length that the header promises.
    promised: usize,
    /// How it is sent: so much at once, with a pause in front of each piece.
    piece: usize,
    pause: Duration,
}

impl Payload {
    pub fn of(content_type: &'static str, text: impl Into<Bytes>) -> Self {
        Self::filled(HeaderValue::from_static(content_type), text.into(), 0, Bytes::new())
    }

    pub fn filled(content_type: HeaderValue, head: Bytes, filling: usize, tail: Bytes) -> Self {
        let len = head.len() + filling + tail.len();
        let (seed, piece, pause) = (rand::random(), BLOCK, Duration::ZERO);
        Self { content_type, head, filling, seed, tail, sent: len, promised: len, piece, pause }
    }

    pub fn len(&self) -> usize {
        self.head.len() + self.filling + self.tail.len()
    }

    /// Ends in the middle; the content length is that of what is sent.
    pub fn halved(self) -> Self {
        let half = self.len() / 2;
        Self { sent: half, promised: half, ..self }
    }

    /// The connection is closed in the middle.
    pub fn cut(self) -> Self {
        Self { sent: self.len() / 2, ..self }
    }

    /// With that many blanks at its end.
    pub fn padded(self, blanks: usize) -> Self {
        let tail = [self.tail.as_ref(), &vec![b' '; blanks]].concat();
        let len = self.len() + blanks;
        Self { tail: tail.into(), sent: len, promised: len, ..self }
    }

    /// Takes that long.
    pub fn slow(self, time: Duration) -> Self {
        let piece = self.len().div_ceil(PIECES).max(1);
        let pieces = u32::try_from(self.len().div_ceil(piece)).unwrap_or(1).max(1);
        Self { piece, pause: time / pieces, ..self }
    }

    /// In hexadecimal digits.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for from in (0..self.len()).step_by(BLOCK) {
            hash.update(self.slice(from, min(from + BLOCK, self.len())));
        }
        hex::encode(hash.finalize())
    }

    fn slice(&self, from: usize, to: usize) -> Vec<u8> {
        let filled = self.head.len() + self.filling;
        let mut slice = Vec::with_capacity(to - from);
        loop {
            let at = from + slice.len();
            if at >= to {
                return slice;
            }
            let part = |part: &[u8], skipped: usize, end: usize| part[skipped..skipped + min(to, end) - at].to_vec();
            slice.extend(if at < self.head.len() {
                part(&self.head, at, self.head.len())
            } else if at < filled {
                let (block, skipped) = ((at - self.head.len()) / BLOCK, (at - self.head.len()) % BLOCK);
                part(&self.block(block), skipped, min(filled, at + BLOCK - skipped))
            } else {
                part(&self.tail, at - filled, self.len())
            });
        }
    }

    fn block(&self, number: usize) -> Vec<u8> {
        let line = format!("{:016x} {number:014x}\n", self.seed);
        line.as_bytes().repeat(BLOCK / line.len())
    }

    async fn next(self, from: usize) -> Option<(io::Result<Vec<u8>>, (Self, usize))> {
        if from >= self.sent {
            // An error instead of the end closes the connection; once is enough.
            let closed = io::Error::from(io::ErrorKind::ConnectionAborted);
            let after = Self { promised: self.sent, ..self.clone() };
            return (self.sent < self.promised).then_some((Err(closed), (after, from)));
        }
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        let to = min(from + self.piece, self.sent);
        Some((Ok(self.slice(from, to)), (self, to)))
    }
}

impl IntoResponse for Payload {
    fn into_response(self) -> Response {
        let headers =
            [(header::CONTENT_TYPE, self.content_type.clone()), (header::CONTENT_LENGTH, self.promised.into())];
        let pieces = stream::unfold((self, 0), |(payload, from)| payload.next(from));
        (headers, Body::from_stream(pieces)).into_response()
    }
}
