//! What can go wrong with a call whatever the provider: on the way, at a gateway, by a limit.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use crate::{
    answer::{Answer, Refusal},
    server::HangUp,
};

/// Longest that a call is kept without an answer.
const HANG: Duration = Duration::from_secs(120);
/// One blank a second before the answer: longer in all than a client should wait, 30 s.
const TRICKLE: Duration = Duration::from_secs(1);
const TRICKLES: u32 = 45;
/// More than any answer has a right to be.
const HUGE_BYTES: usize = 2 * 1024 * 1024;
/// The beginning of an answer to a call that was not done.
const HALF_AN_ANSWER: &str = r#"{"data":{"id":"#;

/// How a call goes wrong. The call is done only where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Done and answered properly; for latency alone.
    Ok,
    /// 200 with a page instead of JSON.
    Html,
    /// 502 with a page.
    #[serde(rename = "html_502")]
    Html502,
    /// 200 with a body that ends in the middle; the content length is that of what is sent.
    Truncated,
    /// Done; the answer ends in the middle.
    TruncatedAfterWork,
    /// 429 with `Retry-After`.
    #[serde(rename = "429")]
    TooManyRequests,
    #[serde(rename = "500")]
    InternalError,
    /// Done, then 500.
    #[serde(rename = "500_after_work")]
    InternalErrorAfterWork,
    #[serde(rename = "401")]
    Unauthorized,
    #[serde(rename = "403")]
    Forbidden,
    /// No answer, until the client leaves.
    Hang,
    /// Done, then no answer.
    HangAfterWork,
    /// The connection is closed without an answer.
    Drop,
    /// Done, then the connection is closed without an answer.
    DropAfterWork,
    /// Done; the answer is right and 2 MiB long.
    Huge,
    /// Done; head of the answer at once, the body only after 45 s of blanks.
    SlowBody,
    /// 307 to another path, where the call would be done.
    Redirect,
}

impl Transport {
    /// Whether the answer is made out of the real one, so that the work cannot be left out.
    pub fn needs_work(self) -> bool {
        matches!(self, Self::Ok | Self::TruncatedAfterWork | Self::Huge | Self::SlowBody)
    }

    /// Whether the call is done, unless a rule says otherwise.
    pub fn works(self) -> bool {
        let after_work = matches!(self, Self::InternalErrorAfterWork | Self::HangAfterWork | Self::DropAfterWork);
        self.needs_work() || after_work
    }

    /// Answers the call. `worked` is the proper answer, where the work was done.
    pub async fn respond(
        self,
        worked: Option<Answer>,
        retry_after_seconds: u64,
        moved_to: &str,
        refuse: impl Fn(Refusal) -> Answer,
    ) -> Response {
        let proper = || worked.clone().unwrap_or_else(|| refuse(Refusal::SimulatorFailed));
        match self {
            Self::Ok => proper().into_response(),
            Self::Html => Answer::page(StatusCode::OK, "Maintenance").into_response(),
            Self::Html502 => Answer::page(StatusCode::BAD_GATEWAY, "502 Bad Gateway").into_response(),
            Self::Truncated | Self::TruncatedAfterWork => truncated(worked),
            Self::TooManyRequests => refuse(Refusal::TooManyRequests).retry_after(retry_after_seconds).into_response(),
            Self::InternalError | Self::InternalErrorAfterWork => refuse(Refusal::InternalError).into_response(),
            Self::Unauthorized => refuse(Refusal::Unauthorized).into_response(),
            Self::Forbidden => refuse(Refusal::Forbidden).into_response(),
            Self::Hang | Self::HangAfterWork => {
                tokio::time::sleep(HANG).await;
                HangUp::response()
            }
            Self::Drop | Self::DropAfterWork => HangUp::response(),
            Self::Huge => {
                let answer = proper();
                let (content_type, text) = answer.text();
                let padding = " ".repeat(HUGE_BYTES);
                (answer.status, [(header::CONTENT_TYPE, content_type)], text + &padding).into_response()
            }
            Self::SlowBody => slow(&proper()),
            Self::Redirect => {
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, moved_to.to_owned())]).into_response()
            }
        }
    }
}

fn truncated(worked: Option<Answer>) -> Response {
    let Some(answer) = worked else {
        return ([(header::CONTENT_TYPE, "application/json")], HALF_AN_ANSWER).into_response();
    };
    let (content_type, whole) = answer.text();
    let half: String = whole.chars().take(whole.chars().count() / 2).collect();
    (answer.status, [(header::CONTENT_TYPE, content_type)], half).into_response()
}

fn slow(answer: &Answer) -> Response {
    let (content_type, whole) = answer.text();
    let chunks = stream::unfold((0, Some(whole)), |(sent, whole)| async move {
        if sent < TRICKLES {
            tokio::time::sleep(TRICKLE).await;
            return Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), (sent + 1, whole)));
        }
        whole.map(|whole| (Ok(Bytes::from(whole)), (sent, None)))
    });
    (answer.status, [(header::CONTENT_TYPE, content_type)], Body::from_stream(chunks)).into_response()
}
