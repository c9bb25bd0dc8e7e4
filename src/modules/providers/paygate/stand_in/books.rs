//! The gateway's books: what it was asked to do and what it did, per reference.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use axum::{body::Bytes, http::StatusCode};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use time::OffsetDateTime;

use super::{
    answers::{payment_not_found, refusal},
    contract::{CURRENCIES, Create, Refund},
};
use crate::{answer::Answer, stand::Books};

/// Callbacks kept per payment; all are counted.
const CALLBACKS_MAX: usize = 1_000;

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for the payer.
    Created,
    Paid,
    /// The payer tried in vain.
    Failed,
    /// Nobody paid in time.
    Expired,
}

impl Status {
    /// As the gateway words it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Paid => "paid",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// Actions of a payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayerAction {
    Pay,
    /// The payer tries in vain.
    Fail,
    /// Time runs out before its time; nobody is called back.
    Expire,
}

impl PayerAction {
    fn leads_to(self) -> Status {
        match self {
            Self::Pay => Status::Paid,
            Self::Fail => Status::Failed,
            Self::Expire => Status::Expired,
        }
    }

    /// The event's name, and the status it tells of; `None` where nobody is told.
    pub fn event(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Pay => Some(("payment.paid", "paid")),
            Self::Fail => Some(("payment.failed", "failed")),
            Self::Expire => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Payment {
    /// The gateway's name for it.
    pub id: String,
    /// As it was asked for.
    pub create: Create,
    settled: Status,
}

impl Payment {
    /// Where it stands now.
    pub fn status(&self) -> Status {
        let in_time = OffsetDateTime::now_utc() < self.create.expires_at;
        if self.settled == Status::Created && !in_time { Status::Expired } else { self.settled }
    }

    /// As the gateway shows it; its pages are below `home`.
    pub fn shown(&self, home: &str) -> Value {
        json!({
            "paymentId": self.id,
            "reference": self.create.reference,
            "status": self.status().word(),
            "amount": self.create.amount,
            "currency": self.create.currency,
            "paymentUrl": format!("{home}/pay/{}", self.id),
            "expiresAt": self.create.expires_at_text,
        })
    }

    /// Whether the payer may try.
    pub fn is_payable(&self) -> bool {
        matches!(self.status(), Status::Created | Status::Failed)
    }
}

/// The payment of a create call.
#[derive(Debug)]
pub struct Placed<'a> {
    pub payment: &'a Payment,
    /// Whether this call made it.
    pub is_new: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    Valid,
    /// With a key nobody agreed upon.
    WrongSecret,
    /// Not at all.
    None,
    /// Ten minutes ago.
    Stale,
    /// As agreed; then the amount is changed.
    AlteredBody,
}

/// A callback that was sent, once.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    pub event_id: String,
    /// `payment.paid`, ...
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub sign: Sign,
    /// The status it was answered with; null where there was no answer.
    pub answer: Option<u16>,
}

/// A payment that went back, or was to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refunded {
    /// The gateway's name for it.
    pub refund_id: String,
    /// The client's reference of it.
    pub reference: String,
    /// Whether the payer's bank took it.
    pub failed: bool,
    pub calls: u64,
    payment_id: String,
    amount: i64,
    currency: String,
}

impl Refunded {
    /// As the gateway shows it.
    pub fn shown(&self) -> Value {
        json!({
            "refundId": self.refund_id,
            "reference": self.reference,
            "paymentId": self.payment_id,
            "status": if self.failed { "failed" } else { "refunded" },
            "amount": self.amount,
            "currency": self.currency,
        })
    }
}

/// All calls and callbacks of one reference.
#[derive(Default)]
struct Entry {
    create_calls: u64,
    look_up_calls: u64,
    payment: Option<Payment>,
    refunds: Vec<Refunded>,
    callbacks: Vec<Sent>,
    last_body: Option<Box<RawValue>>,
}

/// Where callbacks go.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Absolute.
    pub url: String,
    /// The key they are signed with.
    pub secret: String,
}

/// The gateway: its books, and how it calls back.
pub struct Gateway {
    pub books: Payments,
    pub client: Client,
    pub callbacks: Option<Target>,
    /// How long after its creation a payment is paid by itself.
    pub auto_after: Option<Duration>,
}

/// The gateway's books.
#[derive(Default)]
pub struct Payments {
    entries: BTreeMap<String, Entry>,
    by_id: HashMap<String, String>,
    /// References of payments by those of their refunds.
    by_refund: HashMap<String, String>,
    callbacks_sent: u64,
    callbacks_accepted: u64,
}

impl Payments {
    /// Notes a create call under its reference, whatever becomes of it.
    pub fn note_create(&mut self, reference: Option<&str>, body: &Bytes) {
        let Some(reference) = reference else {
            return;
        };
        let entry = self.entries.entry(reference.to_owned()).or_default();
        entry.create_calls += 1;
        entry.last_body = serde_json::from_slice(body).ok();
    }

    /// Notes a look-up; gives the amount last asked for under that reference.
    pub fn note_look_up(&mut self, reference: &str) -> Option<i64> {
        let entry = self.entries.get_mut(reference)?;
        entry.look_up_calls += 1;
        let body: Value = serde_json::from_str(entry.last_body.as_ref()?.get()).ok()?;
        body["amount"].as_i64()
    }

    /// Books a payment, or finds the one of that reference.
    pub fn create(&mut self, create: &Create) -> Result<Placed<'_>, Answer> {
        let entry = self.entries.entry(create.reference.clone()).or_default();
        if let Some(payment) = &entry.payment {
            let same = payment.create.amount == create.amount && payment.create.currency == create.currency;
            if !same {
                let message = "A payment of another amount has this reference";
                return Err(refusal(StatusCode::CONFLICT, "reference_conflict", message));
            }
        } else if !CURRENCIES.iter().any(|(code, _)| *code == create.currency) {
            let message = format!("{} is not supported", create.currency);
            return Err(refusal(StatusCode::UNPROCESSABLE_ENTITY, "unsupported_currency", &message));
        } else if create.expires_at <= OffsetDateTime::now_utc() {
            let message = "expiresAt is in the past";
            return Err(refusal(StatusCode::UNPROCESSABLE_ENTITY, "expires_in_past", message));
        }
        let is_new = entry.payment.is_none();
        let payment = entry.payment.get_or_insert_with(|| {
            let id = format!("pay_{}", hex::encode(rand::random::<[u8; 12]>()));
            self.by_id.insert(id.clone(), create.reference.clone());
            Payment { id, create: create.clone(), settled: Status::Created }
        });
        Ok(Placed { payment, is_new })
    }

    /// Gives a payment back, or finds that it was given back. `fails` where the payer's bank won't take it.
    pub fn refund(&mut self, refund: &Refund, fails: bool) -> Result<(&Refunded, bool), Answer> {
        let conflict = |message| Err(refusal(StatusCode::CONFLICT, "reference_conflict", message));
        let Some(reference) = self.by_id.get(&refund.payment_id) else { return Err(payment_not_found(None)) };
        let known = self.by_refund.get(&refund.reference);
        if known.is_some_and(|known| known != reference) {
            return conflict("A refund of another payment has this reference");
        }
        let entry = self.entries.entry(reference.clone()).or_default();
        let Some(payment) = &entry.payment else { return Err(payment_not_found(None)) };
        if payment.create.amount != refund.amount || payment.create.currency != refund.currency {
            return conflict("The payment is over another amount");
        }
        if let Some(at) = entry.refunds.iter().position(|known| known.reference == refund.reference) {
            entry.refunds[at].calls += 1;
            return Ok((&entry.refunds[at], false));
        }
        let refuse = |code, message| Err(refusal(StatusCode::UNPROCESSABLE_ENTITY, code, message));
        if payment.settled != Status::Paid {
            return refuse("not_paid", "The payment is not paid");
        }
        if entry.refunds.iter().any(|known| !known.failed) {
            return refuse("already_refunded", "The payment was given back before");
        }
        self.by_refund.insert(refund.reference.clone(), reference.clone());
        entry.refunds.push(Refunded {
            refund_id: format!("ref_{}", hex::encode(rand::random::<[u8; 12]>())),
            reference: refund.reference.clone(),
            failed: fails,
            calls: 1,
            payment_id: refund.payment_id.clone(),
            amount: refund.amount,
            currency: refund.currency.clone(),
        });
        Ok((entry.refunds.last().expect("it was pushed"), true))
    }

    pub fn refund_of(&self, reference: &str) -> Option<&Refunded> {
        let entry = self.entries.get(self.by_refund.get(reference)?)?;
        entry.refunds.iter().find(|refund| refund.reference == reference)
    }

    pub fn payment(&self, reference: &str) -> Option<&Payment> {
        self.entries.get(reference)?.payment.as_ref()
    }

    pub fn reference_of(&self, payment_id: &str) -> Option<&str> {
        self.by_id.get(payment_id).map(String::as_str)
    }

    /// Lets something happen to a payment. Once paid it stays paid.
    pub fn settle(&mut self, reference: &str, deed: PayerAction) -> Option<&Payment> {
        let payment = self.entries.get_mut(reference)?.payment.as_mut()?;
        if payment.settled != Status::Paid {
            payment.settled = deed.leads_to();
        }
        Some(payment)
    }

    pub fn note_callback(&mut self, reference: &str, sent: Sent) {
        self.callbacks_sent += 1;
        self.callbacks_accepted += u64::from(sent.answer.is_some_and(|status| (200..300).contains(&status)));
        // The books may have been cleared since.
        if let Some(entry) = self.entries.get_mut(reference)
            && entry.callbacks.len() < CALLBACKS_MAX
        {
            entry.callbacks.push(sent);
        }
    }

    /// The callbacks of a reference, oldest first.
    pub fn callbacks(&self, reference: &str) -> &[Sent] {
        self.entries.get(reference).map_or(&[], |entry| &entry.callbacks)
    }
}

impl Books for Gateway {
    fn totals(&self) -> Value {
        let payments = || self.books.entries.values().filter_map(|entry| entry.payment.as_ref());
        let with = |status: Status| payments().filter(|payment| payment.status() == status).count();
        json!({
            "payments": payments().count(),
            "paid": with(Status::Paid),
            "failed": with(Status::Failed),
            "refunded": self.books.entries.values().flat_map(|entry| &entry.refunds).filter(|one| !one.failed).count(),
            "callbacksSent": self.books.callbacks_sent,
            "callbacksAccepted": self.books.callbacks_accepted,
        })
    }

    fn entry(&self, reference: &str) -> Option<Value> {
        self.books.entries.get(reference).map(|entry| entry_view(reference, entry))
    }

    fn entries(&self) -> Vec<Value> {
        self.books.entries.iter().map(|(reference, entry)| entry_view(reference, entry)).collect()
    }

    fn clear(&mut self) {
        self.books = Payments::default();
    }
}

fn entry_view(reference: &str, entry: &Entry) -> Value {
    let payment = entry.payment.as_ref().map(|payment| {
        json!({
            "paymentId": payment.id,
            "status": payment.status(),
            "amount": payment.create.amount,
            "currency": payment.create.currency,
        })
    });
    json!({
        "reference": reference,
        "createCalls": entry.create_calls,
        "lookUpCalls": entry.look_up_calls,
        "payment": payment,
        "refunds": entry.refunds,
        "callbacks": entry.callbacks,
        "lastBody": entry.last_body,
    })
}
