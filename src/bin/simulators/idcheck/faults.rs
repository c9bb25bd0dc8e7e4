//! Misbehaviour on request, and findings other than the usual one: what a rule matches, and what a matched call is
//! answered.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    answers::{self, Finding, Natural, Refusal, Standing},
    contract::{Operation, Request},
};
use crate::{
    rules::{self, Own},
    server::HangUp,
};

/// Longest that a call is kept without an answer.
const HANG: Duration = Duration::from_secs(120);
/// More than any answer of the provider has a right to be.
const HUGE_BYTES: usize = 10 * 1024 * 1024;
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

const OTHER_REFERENCE: &str = "chk_00000000000000000000000000000000";
const OTHER_NAME: &str = "VIKRAM CHAUDHARY";

/// The operations that a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// PANs.
    Pan,
    /// GSTINs.
    Gstin,
    /// Accounts.
    PennyDrop,
    /// All of these.
    #[default]
    Any,
}

impl Scope {
    fn covers(self, operation: Operation) -> bool {
        match self {
            Self::Pan => operation == Operation::Pan,
            Self::Gstin => operation == Operation::Gstin,
            Self::PennyDrop => operation == Operation::PennyDrop,
            Self::Any => true,
        }
    }
}

/// What becomes of a call. Unless it says otherwise, the call is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Found good and answered properly; for latency alone.
    Ok,
    /// Found not to exist.
    Invalid,
    /// Found deactivated, cancelled or blocked.
    Inactive,
    /// Found suspended. For GSTINs.
    Suspended,
    /// Found blocked. For penny drops, like the four that follow.
    Blocked,
    /// Found to be an NRE account.
    Nre,
    /// Not done, which the answer says with 200: the bank is offline.
    BankOffline,
    /// Not done, which the answer says with 200: NPCI is unavailable.
    NpciUnavailable,
    /// Found not to exist, in words nobody agreed upon.
    OddMessage,
    /// Found good, with no name on record.
    NoName,
    /// Found good, under another person's name.
    NameMismatch,
    /// Not done; 422 for the identifier.
    Unprocessable,
    /// Not done; 500.
    ServerError,
    /// 500 all the same.
    DoneThenError,
    /// No answer, until the client leaves.
    Hang,
    /// Not done; the connection is closed without an answer.
    DropBefore,
    /// The connection is closed without an answer.
    DropAfter,
    /// Not done; 429 with `Retry-After`.
    Throttle,
    /// Not done; 401.
    Unauthorized,
    /// Not done; 200 with a page instead of JSON.
    NotJson,
    /// The answer is JSON that ends in the middle; the content length is that of what is sent.
    CutOff,
    /// The answer is about another reference.
    WrongReference,
    /// The answer is right and 10 MiB long.
    Huge,
    /// Not done; 400 with a message that repeats what was sent.
    EchoPan,
}

impl Mode {
    /// How the identifier is found to stand; `None` where nobody looks.
    fn standing(self) -> Option<Standing> {
        use Mode::{DropBefore, EchoPan, NotJson, ServerError, Throttle, Unauthorized, Unprocessable};
        match self {
            Unprocessable | ServerError | DropBefore | Throttle | Unauthorized | NotJson | EchoPan => None,
            Self::Invalid => Some(Standing::Absent),
            Self::Inactive | Self::Blocked => Some(Standing::Inactive),
            Self::Suspended => Some(Standing::Suspended),
            Self::Nre => Some(Standing::Nre),
            Self::BankOffline => Some(Standing::BankOffline),
            Self::NpciUnavailable => Some(Standing::NpciUnavailable),
            Self::OddMessage => Some(Standing::Odd),
            _ => Some(Standing::Good),
        }
    }

    /// The only operation that has words for it.
    fn only_for(self) -> Option<(Scope, &'static str)> {
        use Mode::{BankOffline, Blocked, NpciUnavailable, Nre, OddMessage};
        match self {
            Self::Suspended => Some((Scope::Gstin, "gstin")),
            Blocked | Nre | BankOffline | NpciUnavailable | OddMessage => Some((Scope::PennyDrop, "penny_drop")),
            _ => None,
        }
    }
}

/// What a rule asks for here. Absent and null mean the default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    operation: Option<Scope>,
    reference: Option<String>,
    mode: Mode,
    name: Option<String>,
}

/// What a rule in force says here.
#[derive(Clone, Serialize)]
pub struct Rule {
    operation: Scope,
    reference: Option<String>,
    mode: Mode,
    /// Whose the identifier is found to be.
    name: Option<String>,
}

/// What a call is about.
pub struct Subject {
    /// What is asked.
    pub operation: Operation,
    /// The client's reference.
    pub reference: String,
}

impl Own for Rule {
    type Asked = Asked;
    type Subject = Subject;
    type Fault = Fault;

    fn accept(asked: Asked) -> Result<Self, String> {
        let operation = asked.operation.unwrap_or_default();
        if let Some((scope, word)) = asked.mode.only_for()
            && scope != operation
        {
            return Err(format!("this mode is for {word}: say so"));
        }
        if asked.name.is_some() && asked.mode != Mode::NameMismatch {
            return Err("name is for name_mismatch".to_owned());
        }
        Ok(Self { operation, reference: asked.reference, mode: asked.mode, name: asked.name })
    }

    fn matches(&self, subject: &Subject) -> bool {
        self.operation.covers(subject.operation)
            && self.reference.as_ref().is_none_or(|reference| *reference == subject.reference)
    }

    fn fault(&self, subject: &Subject, latency: Duration) -> Fault {
        Fault { operation: subject.operation, mode: self.mode, latency, name: self.name.clone() }
    }
}

/// A rule, as asked for.
pub type NewRule = rules::NewRule<Rule>;

/// The rules in force.
pub type Rules = rules::Rules<Rule>;

/// What happens to one call.
pub struct Fault {
    /// The call's operation.
    pub operation: Operation,
    /// What becomes of it.
    pub mode: Mode,
    /// How long the call waits before anything is done.
    pub latency: Duration,
    name: Option<String>,
}

impl Fault {
    /// Nothing goes wrong.
    pub fn none(operation: Operation) -> Self {
        Self { operation, mode: Mode::Ok, latency: Duration::ZERO, name: None }
    }

    /// What is found where nothing was found before; `None` where nothing is done.
    pub fn finding(&self, request: &Request) -> Option<Finding> {
        let name = match self.mode {
            Mode::NoName => None,
            Mode::NameMismatch => Some(self.name.clone().unwrap_or_else(|| OTHER_NAME.to_owned())),
            _ => Some(request.name.to_uppercase()),
        };
        self.mode.standing().map(|standing| Finding { standing, name })
    }

    /// Answers the call. `natural` is the proper answer, if the work was done.
    pub async fn respond(self, natural: Option<Natural>, request: &Request) -> Response {
        match natural {
            Some(natural) => self.respond_after(natural).await,
            None => self.respond_instead(request),
        }
    }

    async fn respond_after(self, natural: Natural) -> Response {
        match self.mode {
            Mode::DoneThenError => Refusal::internal().into_response(),
            Mode::Hang => {
                tokio::time::sleep(HANG).await;
                HangUp::response()
            }
            Mode::DropAfter => HangUp::response(),
            Mode::CutOff => cut_off(&natural),
            Mode::WrongReference => with(natural, "reference", OTHER_REFERENCE),
            Mode::Huge => with(natural, "padding", &"x".repeat(HUGE_BYTES)),
            _ => natural.into_response(),
        }
    }

    fn respond_instead(self, request: &Request) -> Response {
        match self.mode {
            Mode::Unprocessable => {
                let field = self.operation.identifier();
                let message = format!("{} cannot be processed", field.name);
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, field.code, &message).into_response()
            }
            Mode::ServerError => Refusal::internal().into_response(),
            Mode::DropBefore => HangUp::response(),
            Mode::Throttle => {
                let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests");
                ([(header::RETRY_AFTER, RETRY_AFTER)], refusal).into_response()
            }
            Mode::Unauthorized => answers::invalid_key(),
            Mode::NotJson => Html("<!doctype html><title>Maintenance</title><h1>Maintenance</h1>\n").into_response(),
            Mode::EchoPan => Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", &echo(request)).into_response(),
            _ => answers::simulator_failed(),
        }
    }
}

/// A message as no provider should write it.
fn echo(request: &Request) -> String {
    let Request { operation, identifier, ifsc, name, .. } = request;
    let sent = format!("{identifier} {ifsc}");
    format!("Cannot verify {} {} of {name}", operation.identifier().name, sent.trim())
}

/// The answer with one field changed or added.
fn with(mut natural: Natural, field: &str, value: &str) -> Response {
    natural.body[field] = json!(value);
    natural.into_response()
}

fn cut_off(natural: &Natural) -> Response {
    let whole = natural.body.to_string();
    let half: String = whole.chars().take(whole.chars().count() / 2).collect();
    (natural.status, [(header::CONTENT_TYPE, "application/json")], half).into_response()
}
