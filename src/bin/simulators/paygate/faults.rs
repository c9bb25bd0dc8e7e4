//! Misbehaviour on request: rules that match calls, and what a matched call is answered.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answers::{Natural, Refusal};
use crate::server::HangUp;

/// Longest that a call is kept without an answer.
const HANG: Duration = Duration::from_secs(120);
/// More than any answer of the gateway has a right to be.
const HUGE_BYTES: usize = 2 * 1024 * 1024;
const RULES_MAX: usize = 10_000;
const LATENCY_MAX_MS: u64 = 120_000;

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

/// A rule, as asked for. Absent and null mean the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRule {
    operation: Option<Operation>,
    reference: Option<String>,
    amount: Option<i64>,
    mode: Mode,
    times: Option<u64>,
    probability: Option<f64>,
    latency_ms: Option<u64>,
    retry_after_seconds: Option<u64>,
    message: Option<String>,
    after_work: Option<bool>,
}

/// A rule in force.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    operation: Option<Operation>,
    reference: Option<String>,
    /// The payment's amount: a client that makes its references itself does not know them beforehand.
    amount: Option<i64>,
    mode: Mode,
    /// How often it still applies; null is always.
    times_left: Option<u64>,
    /// How often it has applied.
    applied: u64,
    probability: f64,
    latency_ms: u64,
    retry_after_seconds: u64,
    message: Option<String>,
    after_work: bool,
}

impl TryFrom<NewRule> for Rule {
    type Error = String;

    fn try_from(new: NewRule) -> Result<Self, String> {
        let probability = new.probability.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&probability) {
            return Err("probability must be between 0 and 1".to_owned());
        }
        let latency_ms = new.latency_ms.unwrap_or(0);
        if latency_ms > LATENCY_MAX_MS {
            return Err(format!("latencyMs must be at most {LATENCY_MAX_MS}"));
        }
        if new.after_work == Some(false) && new.mode.needs_work() {
            return Err("this mode answers out of the work, which cannot be left out".to_owned());
        }
        if new.mode.calls_back().is_some() && new.operation != Some(Operation::Create) {
            return Err("this mode is for creates: say so".to_owned());
        }
        Ok(Self {
            operation: new.operation,
            reference: new.reference,
            amount: new.amount,
            mode: new.mode,
            times_left: new.times,
            applied: 0,
            probability,
            latency_ms,
            retry_after_seconds: new.retry_after_seconds.unwrap_or(1),
            message: new.message,
            after_work: new.after_work.unwrap_or(new.mode.works()),
        })
    }
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

impl Rule {
    fn matches(&self, subject: &Subject) -> bool {
        self.times_left != Some(0)
            && self.operation.is_none_or(|operation| operation == subject.operation)
            && self.reference.as_ref().is_none_or(|reference| *reference == subject.reference)
            && (self.amount.is_none() || self.amount == subject.amount)
    }
}

/// The rules in force, in the order in which they were made.
#[derive(Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Adds a rule behind the others.
    pub fn add(&mut self, new: NewRule) -> Result<Rule, String> {
        if self.0.len() >= RULES_MAX {
            return Err(format!("there are {RULES_MAX} rules already"));
        }
        let rule = Rule::try_from(new)?;
        self.0.push(rule.clone());
        Ok(rule)
    }

    /// All of them, used-up ones included.
    pub fn list(&self) -> &[Rule] {
        &self.0
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Uses the first rule that matches and, where it has a probability, wins its roll. A lost roll uses up nothing and
    /// leaves the call to the rules behind.
    pub fn pick(&mut self, subject: &Subject, mut roll: impl FnMut() -> f64) -> Option<Fault> {
        let rule = self
            .0
            .iter_mut()
            .find(|rule| rule.matches(subject) && (rule.probability >= 1.0 || roll() < rule.probability))?;
        rule.applied += 1;
        rule.times_left = rule.times_left.map(|left| left.saturating_sub(1));
        Some(Fault {
            operation: subject.operation,
            mode: rule.mode,
            latency_ms: rule.latency_ms,
            retry_after_seconds: rule.retry_after_seconds,
            message: rule.message.clone(),
            after_work: rule.after_work,
        })
    }
}

/// What happens to one call.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The call's operation.
    pub operation: Operation,
    /// What goes wrong.
    pub mode: Mode,
    /// Whether the work is done all the same.
    pub after_work: bool,
    latency_ms: u64,
    retry_after_seconds: u64,
    message: Option<String>,
}

impl Fault {
    /// Nothing goes wrong.
    pub fn none(operation: Operation) -> Self {
        Self { operation, mode: Mode::Ok, after_work: true, latency_ms: 0, retry_after_seconds: 0, message: None }
    }

    /// How long the call waits before anything is done.
    pub fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
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
