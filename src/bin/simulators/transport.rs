//! Faults of calls whatever the provider: on the way, at a gateway, by a limit.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::{
    answer::{Answer, Refusal},
    payload::Payload,
    server::HangUp,
};

/// Longest that a call is kept without an answer.
const HANG: Duration = Duration::from_secs(120);
/// Longer than a client should wait for the end of an answer, 30 s.
const TRICKLE: Duration = Duration::from_secs(45);
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
    /// Done; the connection is closed in the middle of the answer.
    CutAfterWork,
    /// 429 with `Retry-After`.
    #[serde(rename = "429")]
    TooManyRequests,
    #[serde(rename = "500")]
    InternalError,
    /// Done, then 500.
    #[serde(rename = "500_after_work")]
    InternalErrorAfterWork,
    #[serde(rename = "503")]
    Unavailable,
    #[serde(rename = "401")]
    Unauthorized,
    #[serde(rename = "403")]
    Forbidden,
    /// 403 with a page, as a firewall answers.
    #[serde(rename = "html_403")]
    Html403,
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
    /// Done; head of the answer at once, the body bit by bit over 45 s.
    SlowBody,
    /// 307 to another path, where the call would be done.
    Redirect,
}

impl Transport {
    /// Whether the answer is made out of the real one, so that the work cannot be left out.
    pub fn needs_work(self) -> bool {
        matches!(self, Self::Ok | Self::TruncatedAfterWork | Self::CutAfterWork | Self::Huge | Self::SlowBody)
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
        retry_after: Vec<HeaderValue>,
        moved_to: &str,
        refuse: impl Fn(Refusal) -> Answer,
    ) -> Response {
        let refused = |refusal| refuse(refusal).retry_after(retry_after.clone());
        let proper = || worked.clone().unwrap_or_else(|| refuse(Refusal::SimulatorFailed));
        let changed = |change: fn(Payload) -> Payload| {
            let answer = proper();
            (answer.status, change(answer.payload())).into_response()
        };
        match self {
            Self::Ok => proper().into_response(),
            Self::Html => Answer::page(StatusCode::OK, "Maintenance").into_response(),
            Self::Html502 => Answer::page(StatusCode::BAD_GATEWAY, "502 Bad Gateway").into_response(),
            Self::Html403 => Answer::page(StatusCode::FORBIDDEN, "Request blocked").into_response(),
            Self::Truncated | Self::TruncatedAfterWork if worked.is_some() => changed(Payload::halved),
            Self::Truncated | Self::TruncatedAfterWork => {
                Payload::of("application/json", HALF_AN_ANSWER).into_response()
            }
            Self::CutAfterWork => changed(Payload::cut),
            Self::TooManyRequests => refused(Refusal::TooManyRequests).into_response(),
            Self::InternalError | Self::InternalErrorAfterWork => refused(Refusal::InternalError).into_response(),
            Self::Unavailable => {
                let mut answer = refused(Refusal::InternalError);
                answer.status = StatusCode::SERVICE_UNAVAILABLE;
                answer.into_response()
            }
            Self::Unauthorized => refused(Refusal::Unauthorized).into_response(),
            Self::Forbidden => refused(Refusal::Forbidden).into_response(),
            Self::Hang | Self::HangAfterWork => {
                tokio::time::sleep(HANG).await;
                HangUp::response()
            }
            Self::Drop | Self::DropAfterWork => HangUp::response(),
            Self::Huge => changed(|payload| payload.padded(HUGE_BYTES)),
            Self::SlowBody => changed(|payload| payload.slow(TRICKLE)),
            Self::Redirect => {
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, moved_to.to_owned())]).into_response()
            }
        }
    }
}
