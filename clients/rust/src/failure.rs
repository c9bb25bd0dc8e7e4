//! Errors.

use std::{error::Error as _, fmt, time::Duration};

use serde::Deserialize;

use crate::answer::Answer;

/// Why there is no success.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The API refused.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Nothing came back, or nothing that can be read: it is not known whether the request was carried out, and the same ids
    /// find out.
    #[error("no answer after {attempts} attempt(s): {reason}")]
    NoAnswer {
        /// So often it was tried.
        attempts: u32,
        /// Reason of the last failure.
        reason: String,
    },
    /// The request, or the answer, can't be used; asking again changes nothing.
    #[error("{0}")]
    Unusable(String),
}

/// A refusal by the API (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// `module.reason`, stable; `http.<status>` where something in between answered.
    pub code: String,
    /// A sentence for people: the cause, and the remedy.
    pub detail: String,
    /// To quote when asking for help.
    pub request_id: Option<String>,
    /// Fields that are to blame.
    pub errors: Vec<FieldProblem>,
    /// When to try again, where the server says so.
    pub retry_after: Option<Duration>,
}

/// The fault of a field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FieldProblem {
    /// Its path: `shipment.consignee.pincode`.
    pub field: String,
    /// A code for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// The body of a problem.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    code: Option<String>,
    detail: Option<String>,
    request_id: Option<String>,
    errors: Vec<FieldProblem>,
}

impl Problem {
    pub(crate) fn of(answer: &Answer) -> Self {
        let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
        let status = answer.status;
        let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
        Self {
            status,
            code: body.code.unwrap_or_else(|| format!("http.{status}")),
            detail: body.detail.unwrap_or_else(|| "what answered says nothing that Waybill would".into()),
            request_id: body.request_id.or_else(|| answer.header("x-request-id").map(str::to_owned)),
            errors: body.errors,
            retry_after: seconds.map(Duration::from_secs),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {}): {}", self.code, self.status, self.detail)
    }
}

impl Failure {
    pub(crate) const fn no_answer(reason: String) -> Self {
        Self::NoAnswer { attempts: 1, reason }
    }

    /// Whether another attempt may be answered otherwise.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            Self::NoAnswer { .. } => true,
            Self::Unusable(_) => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            _ => None,
        }
    }

    pub(crate) fn after(self, attempts: u32) -> Self {
        match self {
            Self::NoAnswer { reason, .. } => Self::NoAnswer { attempts, reason },
            other => other,
        }
    }
}

impl From<reqwest::Error> for Failure {
    /// In words, down to the cause; without the address, which may hold what is nobody's business.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            reason = format!("{reason}: {deeper}");
            cause = deeper.source();
        }
        if error.is_builder() { Self::Unusable(reason) } else { Self::no_answer(reason) }
    }
}
