//! Answers.

use reqwest::{Response, header::HeaderMap};
use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Failure, Problem};

/// Longer answers are read by [`crate::Waybill::open`].
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    pub(crate) items: Vec<Value>,
    pub(crate) next_cursor: Option<String>,
}

impl Answer {
    pub(crate) async fn read(mut response: Response) -> Result<Self, Failure> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Failure::Unusable(format!("the answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status, headers, body })
    }

    /// A header, where it is there and readable.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the same was asked for before.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.header("idempotent-replayed").is_some()
    }

    /// The body as JSON; null where there is none.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`] where it is none: what stands between may answer in words of its own.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        let body: &[u8] = if self.body.is_empty() { b"null" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| Failure::no_answer(format!("what came can't be read: {error}")))
    }

    /// A success, or the problem that it is.
    pub(crate) fn or_problem(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(Failure::Problem(Box::new(Problem::of(&self)))) }
    }

    pub(crate) fn page(&self) -> Result<Page, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| Failure::Unusable("the answer is no page of a list".into()))
    }
}
