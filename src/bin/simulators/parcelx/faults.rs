//! Misbehaviour on request: rules that match calls, and what a matched call is answered.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answers::{self, Refusal};
use crate::{
    rules::{self, Own},
    server::HangUp,
};

/// Where a `redirect` leads: the same API, with no rules applied.
pub const MOVED_TO: &str = "/moved/api/v3";

/// Longest that a call is kept without an answer.
const HANG: Duration = Duration::from_secs(120);
/// One blank a second before the answer: longer in all than a client should wait, 30 s.
const TRICKLE: Duration = Duration::from_secs(1);
const TRICKLES: u32 = 45;
/// More than any answer of the carrier has a right to be.
const HUGE_BYTES: usize = 2 * 1024 * 1024;

const OTHER_ORDER: &str = "ord_of-somebody-else";
const OTHER_AWB: &str = "000000000000";

/// The carrier's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `create_order`
    Create,
    /// `cancel_order`
    Cancel,
    /// `track_order`
    Track,
}

/// How a call goes wrong. Unless it says otherwise, nothing is done and only the answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Done and answered properly; for latency alone.
    Ok,
    /// 200 `status:false` with a data error as text.
    Refuse,
    /// The same with the message as an array.
    RefuseArray,
    /// 400 `status:false`.
    #[serde(rename = "refuse_400")]
    Refuse400,
    /// 422 `status:false`.
    #[serde(rename = "refuse_422")]
    Refuse422,
    /// 200 with a page instead of JSON.
    Html,
    /// 502 with a page.
    #[serde(rename = "html_502")]
    Html502,
    /// 200 with JSON that ends in the middle; the content length is that of what is sent.
    Truncated,
    /// 429 with `Retry-After`.
    #[serde(rename = "429")]
    TooManyRequests,
    /// 500 `status:false`.
    #[serde(rename = "500")]
    InternalError,
    /// Done, then 500.
    #[serde(rename = "500_after_work")]
    InternalErrorAfterWork,
    /// 401 `status:false`.
    #[serde(rename = "401")]
    Unauthorized,
    /// 403 `status:false`.
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
    /// Done; the answer says the order is cancelled, and it is.
    AlreadyCancelled,
    /// Done; the answer is about another order and another shipment.
    WrongOrder,
    /// `status:false`, "Order already exists".
    AlreadyExists,
    /// Done, then the same.
    AlreadyExistsAfterWork,
    /// A second create of a reference answers with the first shipment, as it stands.
    Deduplicate,
    /// 200 `status:false` that says nothing.
    SomethingWentWrong,
    /// Done; the answer is a success without an `awb_number`.
    NoAwb,
    /// 404 `status:false`.
    NotFound,
    /// Done; the answer is right and 2 MiB long.
    Huge,
    /// Done; head of the answer at once, the body only after 45 s of blanks.
    SlowBody,
    /// 307 to another path, where the call would be done.
    Redirect,
}

impl Mode {
    /// Whether the answer is made out of the real one, so that the work cannot be left out.
    fn needs_work(self) -> bool {
        use Mode::{AlreadyCancelled, Deduplicate, Huge, NoAwb, Ok, SlowBody, WrongOrder};
        matches!(self, Ok | AlreadyCancelled | WrongOrder | Deduplicate | NoAwb | Huge | SlowBody)
    }

    fn works(self) -> bool {
        use Mode::{AlreadyExistsAfterWork, DropAfterWork, HangAfterWork, InternalErrorAfterWork};
        self.needs_work()
            || matches!(self, AlreadyExistsAfterWork | DropAfterWork | HangAfterWork | InternalErrorAfterWork)
    }
}

/// What a rule asks for here. Absent and null mean the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    operation: Option<Operation>,
    invoice_number: Option<String>,
    client_order_id: Option<String>,
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
    invoice_number: Option<String>,
    client_order_id: Option<String>,
    mode: Mode,
    retry_after_seconds: u64,
    message: Option<String>,
    after_work: bool,
}

/// What a call is about, as far as known.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What is asked.
    pub operation: Operation,
    /// The client's reference.
    pub client_order_id: Option<String>,
    /// The invoice number last sent with that reference.
    pub invoice_number: Option<String>,
}

impl Own for Rule {
    type Asked = Asked;
    type Subject = Subject;
    type Fault = Fault;

    fn accept(asked: Asked) -> Result<Self, String> {
        if asked.after_work == Some(false) && asked.mode.needs_work() {
            return Err("this mode answers out of the work, which cannot be left out".to_owned());
        }
        Ok(Self {
            operation: asked.operation,
            invoice_number: asked.invoice_number,
            client_order_id: asked.client_order_id,
            mode: asked.mode,
            retry_after_seconds: asked.retry_after_seconds.unwrap_or(1),
            message: asked.message,
            after_work: asked.after_work.unwrap_or(asked.mode.works()),
        })
    }

    fn matches(&self, subject: &Subject) -> bool {
        let same = |asked: &Option<String>, is: &Option<String>| asked.is_none() || asked == is;
        self.operation.is_none_or(|operation| operation == subject.operation)
            && same(&self.client_order_id, &subject.client_order_id)
            && same(&self.invoice_number, &subject.invoice_number)
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

    /// Answers the call. `natural` is the proper answer, if the work was done; `path` is where in the
    /// API the call went, `base` where the carrier is.
    pub async fn respond(self, natural: Option<Value>, base: &str, path: &str) -> Response {
        use Operation::{Cancel, Create, Track};
        let or = |fallback: &str| self.message.clone().unwrap_or_else(|| fallback.to_owned());
        let refuse = |status: StatusCode, fallback: &str| Refusal::text(&or(fallback)).with(status).into_response();
        let proper =
            natural.unwrap_or_else(|| json!({"status": true, "responsemsg": "Order Placed Successfully.", "data": {}}));
        match self.mode {
            Mode::Ok | Mode::Deduplicate => Json(proper).into_response(),
            Mode::Refuse => refuse(StatusCode::OK, "Pincode not serviceable"),
            Mode::RefuseArray => Refusal::of(vec![or("Pincode not serviceable")]).into_response(),
            Mode::Refuse400 => refuse(StatusCode::BAD_REQUEST, "Invalid pincode"),
            Mode::Refuse422 => refuse(StatusCode::UNPROCESSABLE_ENTITY, "Invalid pincode"),
            Mode::Html => page(StatusCode::OK, "Maintenance"),
            Mode::Html502 => page(StatusCode::BAD_GATEWAY, "502 Bad Gateway"),
            Mode::Truncated => truncated(&proper),
            Mode::TooManyRequests => {
                let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "Too many requests");
                let seconds = HeaderValue::from(self.retry_after_seconds);
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
                response
            }
            Mode::InternalError | Mode::InternalErrorAfterWork => {
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
            }
            Mode::Unauthorized => refuse(StatusCode::UNAUTHORIZED, "Invalid access token"),
            Mode::Forbidden => refuse(StatusCode::FORBIDDEN, "Account suspended"),
            Mode::Hang | Mode::HangAfterWork => {
                tokio::time::sleep(HANG).await;
                HangUp::response()
            }
            Mode::Drop | Mode::DropAfterWork => HangUp::response(),
            Mode::AlreadyCancelled => match self.operation {
                Create => Json(proper).into_response(),
                Cancel => refuse(StatusCode::OK, "Order already cancelled"),
                Track => Json(shown_cancelled(proper)).into_response(),
            },
            Mode::WrongOrder => Json(about_another_order(proper)).into_response(),
            Mode::AlreadyExists | Mode::AlreadyExistsAfterWork => refuse(StatusCode::OK, "Order already exists"),
            Mode::SomethingWentWrong => refuse(StatusCode::OK, "Something went wrong, please try again"),
            Mode::NoAwb => Json(without_awb(proper)).into_response(),
            Mode::NotFound if self.message.is_none() => answers::not_found(),
            Mode::NotFound => refuse(StatusCode::NOT_FOUND, ""),
            Mode::Huge => Json(padded(proper)).into_response(),
            Mode::SlowBody => slow(&proper),
            Mode::Redirect => {
                let location = format!("{base}{MOVED_TO}{path}");
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
            }
        }
    }
}

fn page(status: StatusCode, title: &str) -> Response {
    (status, Html(format!("<!doctype html><title>{title}</title><h1>{title}</h1>\n"))).into_response()
}

fn truncated(proper: &Value) -> Response {
    let whole = proper.to_string();
    let half: String = whole.chars().take(whole.chars().count() / 2).collect();
    ([(header::CONTENT_TYPE, "application/json")], half).into_response()
}

fn slow(proper: &Value) -> Response {
    let whole = proper.to_string();
    let chunks = stream::unfold((0, Some(whole)), |(sent, whole)| async move {
        if sent < TRICKLES {
            tokio::time::sleep(TRICKLE).await;
            return Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), (sent + 1, whole)));
        }
        whole.map(|whole| (Ok(Bytes::from(whole)), (sent, None)))
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(chunks)).into_response()
}

/// The part of an answer that names the shipment: `data` of a create, the top level of a look-up.
fn naming_part(proper: &mut Value) -> Option<&mut Map<String, Value>> {
    let part = if proper["data"].is_object() { &mut proper["data"] } else { proper };
    part.as_object_mut()
}

fn about_another_order(mut proper: Value) -> Value {
    if let Some(part) = naming_part(&mut proper) {
        for (field, other) in [("client_order_id", OTHER_ORDER), ("awb_number", OTHER_AWB)] {
            if let Some(value) = part.get_mut(field) {
                *value = json!(other);
            }
        }
    }
    proper
}

fn without_awb(mut proper: Value) -> Value {
    if let Some(part) = naming_part(&mut proper) {
        part.remove("awb_number");
    }
    proper
}

fn shown_cancelled(mut proper: Value) -> Value {
    if let Some(current) = proper.get_mut("current_status") {
        let (title, code) = super::books::Status::Cancelled.words();
        current["status_title"] = json!(title);
        current["status_code"] = json!(code);
    }
    proper
}

fn padded(mut proper: Value) -> Value {
    proper["padding"] = json!("x".repeat(HUGE_BYTES));
    proper
}
