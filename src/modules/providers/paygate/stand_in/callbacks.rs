//! Callbacks: signed, and sent again until somebody takes them. On request signed badly, or sent more than once.

use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, redirect};
use serde::Serialize;
use serde_json::{Number, Value, json};
use sha2::Sha256;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::books::{Gateway, PayerAction, Payment, Sent, Sign, Target};
use crate::stand::Stand;

/// How often one delivery is tried.
const TRIES_MAX: u32 = 5;
/// Pause after the first try; it doubles with each.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How old a stale signature is.
const STALE_SECONDS: i64 = 600;

/// Steps of a payment, and their callbacks.
pub struct Plan {
    pub deed: PayerAction,
    pub deliver: bool,
    pub sign: Sign,
    /// Deliveries of the very same event.
    pub times: u32,
    /// All of them at the same time.
    pub at_once: bool,
    /// Whether each is tried again until it is taken.
    pub retry: bool,
    /// Another amount than the payment's, told in the callback only.
    pub amount: Option<Number>,
    /// The event's id; a new one where it is not given.
    pub event_id: Option<String>,
    /// The time in the signature; now where it is not given.
    pub signed_at_seconds: Option<i64>,
}

impl Plan {
    /// It happens and is told as agreed.
    pub fn of(deed: PayerAction) -> Self {
        Self {
            deed,
            deliver: true,
            sign: Sign::Valid,
            times: 1,
            at_once: false,
            retry: true,
            amount: None,
            event_id: None,
            signed_at_seconds: None,
        }
    }
}

/// Why a plan cannot be carried out; nothing has happened then, except where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such payment.
    NoPayment,
    /// It happened, but nobody was told: nobody said where callbacks go.
    NoTarget,
}

impl Problem {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoPayment => "there is no such payment",
            Self::NoTarget => "no callback address is set: nobody was told",
        }
    }

    /// As the control API answers it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoPayment => StatusCode::NOT_FOUND,
            Self::NoTarget => StatusCode::CONFLICT,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The event; null where there was none to tell.
    pub event_id: Option<String>,
    /// The status of each answer, in order; null where there was none.
    pub answers: Vec<Option<u16>>,
}

/// An event and its body, which is the same each time it is sent.
struct Event {
    id: String,
    kind: &'static str,
    body: String,
    /// The same with another amount.
    altered: String,
}

/// A client without proxies and redirects: a callback goes where it was told to, or nowhere.
pub fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(PATIENCE).build();
    client.expect("TLS can be set up")
}

/// Lets a deed happen and tells it; in a task of its own, so that it ends even if nobody waits for it.
pub async fn carry_out(stand: &Stand<Gateway>, reference: &str, plan: Plan) -> Result<Told, Problem> {
    let (client, target, event) = {
        let gateway = &mut stand.lock().provider;
        let (client, target) = (gateway.client.clone(), gateway.callbacks.clone());
        let payment = gateway.books.settle(reference, plan.deed).ok_or(Problem::NoPayment)?;
        (client, target, Event::about(payment, &plan))
    };
    let Some(event) = event.filter(|_| plan.deliver) else {
        return Ok(Told { event_id: None, answers: Vec::new() });
    };
    let target = target.ok_or(Problem::NoTarget)?;
    let event_id = Some(event.id.clone());
    let delivery = Delivery { stand: stand.clone(), client, target, reference: reference.to_owned(), event, plan };
    let answers = tokio::spawn(delivery.all()).await.unwrap_or_default();
    Ok(Told { event_id, answers })
}

impl Event {
    fn about(payment: &Payment, plan: &Plan) -> Option<Self> {
        let (kind, status) = plan.deed.event()?;
        let id = plan.event_id.clone().unwrap_or_else(|| format!("pev_{}", hex::encode(rand::random::<[u8; 12]>())));
        let mut body = json!({
            "eventId": id,
            "type": kind,
            "createdAt": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "payment": {
                "paymentId": payment.id,
                "reference": payment.create.reference,
                "status": status,
                "amount": payment.create.amount,
                "currency": payment.create.currency,
            },
        });
        if let Some(amount) = &plan.amount {
            body["payment"]["amount"] = Value::Number(amount.clone());
        }
        let told = body.to_string();
        body["payment"]["amount"] = json!(payment.create.amount.saturating_mul(10));
        Some(Self { id, kind, body: told, altered: body.to_string() })
    }
}

struct Delivery {
    stand: Stand<Gateway>,
    client: Client,
    target: Target,
    reference: String,
    event: Event,
    plan: Plan,
}

impl Delivery {
    async fn all(self) -> Vec<Option<u16>> {
        if self.plan.at_once {
            return future::join_all((0..self.plan.times).map(|_| self.once())).await.concat();
        }
        let mut answers = Vec::new();
        for _ in 0..self.plan.times {
            answers.extend(self.once().await);
        }
        answers
    }

    async fn once(&self) -> Vec<Option<u16>> {
        let tries = if self.plan.retry { TRIES_MAX } else { 1 };
        let mut answers = Vec::new();
        for attempt in 0..tries {
            if attempt > 0 {
                tokio::time::sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
            }
            let answer = self.send().await;
            answers.push(answer);
            if answer.is_some_and(|status| (200..300).contains(&status)) {
                break;
            }
        }
        answers
    }

    async fn send(&self) -> Option<u16> {
        let Event { id, kind, body, altered } = &self.event;
        let sign = self.plan.sign;
        let now = self.plan.signed_at_seconds.unwrap_or_else(|| OffsetDateTime::now_utc().unix_timestamp());
        let secret = self.target.secret.as_str();
        let signature = match sign {
            Sign::Valid | Sign::AlteredBody => Some(signature(secret, now, body)),
            Sign::WrongSecret => Some(signature(&format!("not {secret}"), now, body)),
            Sign::Stale => Some(signature(secret, now - STALE_SECONDS, body)),
            Sign::None => None,
        };
        let sent_body = if sign == Sign::AlteredBody { altered } else { body };
        let mut request = self.client.post(&self.target.url).header("content-type", "application/json");
        if let Some(signature) = signature {
            request = request.header("paygate-signature", signature);
        }
        let answer = match request.body(sent_body.clone()).send().await {
            Ok(response) => Some(response.status().as_u16()),
            Err(error) => {
                tracing::warn!(%error, "a callback was not answered");
                None
            }
        };
        let sent = Sent { event_id: id.clone(), kind, sign, answer };
        self.stand.lock().provider.books.note_callback(&self.reference, sent);
        answer
    }
}

/// The header: a time, and the HMAC-SHA-256 of that time, a dot and the body.
pub fn signature(secret: &str, seconds: i64, body: &str) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}
