//! Misbehaviour on request: rules that match calls, and what a matched call is answered.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answers::{Natural, Refusal};
use crate::{
    rules::{self, Own},
    server::HangUp,
};

/// Longest that a call is kept without an answer.
const HANG: Duration = Duration::from_secs(120);
/// More than any answer of the gateway has a right to be.
const HUGE_BYTES: usize = 2 * 1024 * 1024;

/// The gateway's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST payments`
    Create,
    /// `GET payments`
    LookUp,
}

/// How a call goes wrong. Unless it says otherwise, nothing is done and only the answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Done and answered properly; for latency alone.
    Ok,
    /// 422 with a data error.
    Refuse,
    /// 400 with a data error.
    #[serde(rename = "refuse_400")]
    Refuse400,
    /// 200 with a page instead of JSON.
    #[serde(alias = "garbage")]
    Html,
    /// 502 with a page.
    #[serde(rename = "html_502")]
    Html502,
    /// Done; the answer is JSON that ends in the middle; the content length is that of what is sent.
    Truncated,
    /// 429 with `Retry-After`.
    #[serde(rename = "429")]
    TooManyRequests,
    /// 500.
    #[serde(rename = "500")]
    InternalError,
    /// Done, then 500.
    #[serde(rename = "500_after_work")]
    InternalErrorAfterWork,
    /// 401.
    #[serde(rename = "401")]
    Unauthorized,
    /// 403.
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
    /// 409 `reference_conflict`.
    Conflict,
    /// 404 `payment_not_found`.
    NotFound,
    /// Done; the answer is about another reference.
    WrongReference,
    /// Done; the answer names another amount.
    WrongAmount,
    /// Done; the answer names an amount with a fraction.
    FractionalAmount,
    /// Done; the answer has a status nobody agreed upon.
    UnknownStatus,
    /// Done; the answer has no `paymentUrl`.
    NoPage,
    /// Done; the answer is right and 2 MiB long.
    Huge,
    /// Done; paid and called back before the answer, which says `paid`. For creates.
    CallbackBeforeAnswer,
    /// The same, but the answer says `created`: it was written before. For creates.
    CallbackBeforeStaleAnswer,
}

/// What an answer says that comes after its callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallsBack {
    /// What is true by then.
    ThenAnswers,
    /// What was true before.
    ThenAnswersAsBefore,
}

impl Mode {
    /// Whether the payment is paid and called back within the call.
    pub fn calls_back(self) -> Option<CallsBack> {
        match self {
            Self::CallbackBeforeAnswer => Some(CallsBack::ThenAnswers),
            Self::CallbackBeforeStaleAnswer => Some(CallsBack::ThenAnswersAsBefore),
            _ => None,
        }
    }

    /// Whether the answer is made out of the real one, so that the work cannot be left out.
    fn needs_work(self) -> bool {
        use Mode::{FractionalAmount, Huge, NoPage, Ok, Truncated, UnknownStatus, WrongAmount, WrongReference};
        matches!(self, Ok | Truncated | WrongReference | WrongAmount | FractionalAmount | UnknownStatus | NoPage | Huge)
            || self.calls_back().is_some()
    }

    fn works(self) -> bool {
        use Mode::{DropAfterWork, HangAfterWork, InternalErrorAfterWork};
        self.needs_work() || matches!(self, DropAfterWork | HangAfterWork | InternalErrorAfterWork)
    }
}

/// What a rule asks for here. Absent and null mean the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    operation: Option<Operation>,
    reference: Option<String>,
    amount: Option<i64>,
    mode: Mode,
    retry_after_seconds: Option<u64>,
    message: Option<String>,
    after_work: Option<bool>,
}

/// What a rule in force says here.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    operation: Option<Operation>,
    reference: Option<String>,
    /// The payment's amount: a client that makes its references itself does not know them beforehand.
    amount: Option<i64>,
    mode: Mode,
    retry_after_seconds: u64,
    message: Option<String>,
    after_work: bool,
}

/// What a call is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What is asked.
    pub operation: Operation,
    /// The client's reference.
    pub reference: String,
    /// The amount last sent with that reference, as far as known.
    pub amount: Option<i64>,
}

impl Own for Rule {
    type Asked = Asked;
    type Subject = Subject;
    type Fault = Fault;

    fn accept(asked: Asked) -> Result<Self, String> {
        if asked.after_work == Some(false) && asked.mode.needs_work() {
            return Err("this mode answers out of the work, which cannot be left out".to_owned());
        }
        if asked.mode.calls_back().is_some() && asked.operation != Some(Operation::Create) {
            return Err("this mode is for creates: say so".to_owned());
        }
        Ok(Self {
            operation: asked.operation,
            reference: asked.reference,
            amount: asked.amount,
            mode: asked.mode,
            retry_after_seconds: asked.retry_after_seconds.unwrap_or(1),
            message: asked.message,
            after_work: asked.after_work.unwrap_or(asked.mode.works()),
        })
    }

    fn matches(&self, subject: &Subject) -> bool {
        self.operation.is_none_or(|operation| operation == subject.operation)
            && self.reference.as_ref().is_none_or(|reference| *reference == subject.reference)
            && (self.amount.is_none() || self.amount == subject.amount)
    }

    fn fault(&self, subject: &Subject, latency: Duration) -> Fault {
        Fault {
            operation: subject.operation,
            mode: self.mode,
            latency,
            retry_after_seconds: self.retry_after_seconds,
            message: self.message.clone(),
            after_work: self.after_work,
        }
    }
}

/// A rule, as asked for.
pub type NewRule = rules::NewRule<Rule>;

/// The rules in force.
pub type Rules = rules::Rules<Rule>;

/// What happens to one call.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The call's operation.
    pub operation: Operation,
    /// What goes wrong.
    pub mode: Mode,
    /// Whether the work is done all the same.
    pub after_work: bool,
    latency: Duration,
    retry_after_seconds: u64,
    message: Option<String>,
}

impl Fault {
    /// Nothing goes wrong.
    pub fn none(operation: Operation) -> Self {
        Self {
            operation,
            mode: Mode::Ok,
            after_work: true,
            latency: Duration::ZERO,
            retry_after_seconds: 0,
            message: None,
        }
    }

    /// How long the call waits before anything is done.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// Answers the call. `natural` is the proper answer, if the work was done.
    pub async fn respond(self, natural: Option<Natural>) -> Response {
        let refuse = |status: StatusCode, code, fallback: &str| {
            Refusal::new(status, code, self.message.as_deref().unwrap_or(fallback)).into_response()
        };
        let natural = natural.unwrap_or_else(|| Natural { status: StatusCode::OK, body: json!({}) });
        match self.mode {
            Mode::Ok | Mode::CallbackBeforeAnswer | Mode::CallbackBeforeStaleAnswer => natural.into_response(),
            Mode::Refuse => {
                refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_data", "The payer's bank is not supported")
            }
            Mode::Refuse400 => refuse(StatusCode::BAD_REQUEST, "invalid_request", "Invalid amount"),
            Mode::Html => page(StatusCode::OK, "Maintenance"),
            Mode::Html502 => page(StatusCode::BAD_GATEWAY, "502 Bad Gateway"),
            Mode::Truncated => truncated(&natural),
            Mode::TooManyRequests => {
                let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests");
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after_seconds));
                response
            }
            Mode::InternalError | Mode::InternalErrorAfterWork => {
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Internal error")
            }
            Mode::Unauthorized => refuse(StatusCode::UNAUTHORIZED, "invalid_token", "The access token is not valid"),
            Mode::Forbidden => refuse(StatusCode::FORBIDDEN, "account_suspended", "The account is suspended"),
            Mode::Hang | Mode::HangAfterWork => {
                tokio::time::sleep(HANG).await;
                HangUp::response()
            }
            Mode::Drop | Mode::DropAfterWork => HangUp::response(),
            Mode::Conflict => Refusal::reference_conflict().into_response(),
            Mode::NotFound => Refusal::payment_not_found().into_response(),
            Mode::WrongReference => with(natural, "reference", |_| json!("top_of-somebody-else")),
            Mode::WrongAmount => with(natural, "amount", |amount| json!(amount.as_i64().unwrap_or_default() + 1)),
            Mode::FractionalAmount => {
                with(natural, "amount", |amount| json!(amount.as_f64().unwrap_or_default() + 0.5))
            }
            Mode::UnknownStatus => with(natural, "status", |_| json!("under_review")),
            Mode::NoPage => with(natural, "paymentUrl", |_| Value::Null),
            Mode::Huge => {
                let mut natural = natural;
                natural.body["padding"] = json!("x".repeat(HUGE_BYTES));
                natural.into_response()
            }
        }
    }
}

/// The answer with one field changed, where it has that field.
fn with(mut natural: Natural, field: &str, change: impl FnOnce(&Value) -> Value) -> Response {
    if let Some(value) = natural.body.get_mut(field) {
        *value = change(value);
    }
    natural.into_response()
}

fn page(status: StatusCode, title: &str) -> Response {
    (status, Html(format!("<!doctype html><title>{title}</title><h1>{title}</h1>\n"))).into_response()
}

fn truncated(natural: &Natural) -> Response {
    let whole = natural.body.to_string();
    let half: String = whole.chars().take(whole.chars().count() / 2).collect();
    (natural.status, [(header::CONTENT_TYPE, "application/json")], half).into_response()
}
