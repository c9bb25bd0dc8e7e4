//! The carrier's books: what it was asked to do and what it did, per `client_order_id`.

use std::collections::{BTreeMap, HashMap};

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use time::{OffsetDateTime, UtcOffset};

use super::{
    contract::{Create, Lookup, Request},
    modes::Mode,
};
use crate::stand::Books;

/// Where a shipment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, not yet handed over.
    Booked,
    /// Handed over; from here on it cannot be cancelled.
    PickedUp,
    InTransit,
    Delivered,
    /// Cancelled before it was picked up.
    Cancelled,
}

impl Status {
    /// Title and code, as the carrier words them.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Booked => ("Booked", "221"),
            Self::PickedUp => ("Picked Up", "230"),
            Self::InTransit => ("In Transit", "223"),
            Self::Delivered => ("Delivered", "226"),
            Self::Cancelled => ("Cancelled", "227"),
        }
    }
}

/// One status a shipment has had.
#[derive(Clone, Debug)]
pub struct Scan {
    pub status: Status,
    /// Indian time, `YYYY-MM-DD HH:MM:SS`.
    pub event_date: String,
}

/// A shipment somebody pays for.
#[derive(Clone, Debug)]
pub struct Shipment {
    /// The carrier's number for it.
    pub awb: String,
    /// The client's reference, as sent.
    pub client_order_id: String,
    /// Oldest first, never empty.
    pub scans: Vec<Scan>,
}

impl Shipment {
    pub fn status(&self) -> Status {
        self.scans.last().map_or(Status::Booked, |scan| scan.status)
    }

    fn set(&mut self, status: Status) {
        self.scans.push(Scan { status, event_date: now_in_india() });
    }

    /// As the books show it.
    pub fn summary(&self) -> Value {
        let status = self.status();
        json!({"awb": self.awb, "status": status, "cancelled": status == Status::Cancelled})
    }
}

/// All calls and shipments of one `client_order_id`.
#[derive(Default)]
struct Order {
    invoice_number: Option<String>,
    create_calls: u64,
    cancel_calls: u64,
    track_calls: u64,
    shipments: Vec<Shipment>,
    last_body: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// Cancelled by this call.
    Done,
    /// There is no such shipment.
    Unknown,
    /// It had been cancelled before.
    Already,
    /// Picked up or later.
    TooLate,
}

/// The carrier's books.
#[derive(Default)]
pub struct Shipments {
    orders: BTreeMap<String, Order>,
    by_awb: HashMap<String, String>,
    /// AWBs made so far by this process: never reset, so that no AWB is given out twice.
    awbs: u64,
    awb_prefix: Option<u32>,
}

impl Shipments {
    /// Notes a call under its order, whatever becomes of it; gives the order's reference and the invoice number last sent
    /// with it, as far as known.
    pub fn note(&mut self, request: &Request, body: &Bytes) -> (Option<String>, Option<String>) {
        let id = match request {
            Request::Create(create) => create.client_order_id.clone(),
            Request::Cancel(awb) | Request::Track(Lookup::Awb(awb)) => self.by_awb.get(awb).cloned(),
            Request::Track(Lookup::ClientOrderId(id)) => Some(id.clone()),
        };
        let order = match (&id, request) {
            (Some(id), Request::Create(_)) => Some(self.orders.entry(id.clone()).or_default()),
            (Some(id), _) => self.orders.get_mut(id),
            (None, _) => None,
        };
        let Some(order) = order else {
            return (id, None);
        };
        match request {
            Request::Create(create) => {
                order.create_calls += 1;
                order.last_body = serde_json::from_slice(body).ok();
                if create.invoice_number.is_some() {
                    order.invoice_number.clone_from(&create.invoice_number);
                }
            }
            Request::Cancel(_) => order.cancel_calls += 1,
            Request::Track(_) => order.track_calls += 1,
        }
        (id, order.invoice_number.clone())
    }

    /// Books one more shipment. The mode may have it cancelled at once, or deduplicated.
    pub fn create(&mut self, create: &Create, mode: Option<Mode>) -> &Shipment {
        let id = create.client_order_id.clone().unwrap_or_default();
        let awb = self.next_awb();
        let order = self.orders.entry(id.clone()).or_default();
        if mode != Some(Mode::Deduplicate) || order.shipments.is_empty() {
            let mut shipment = Shipment { awb: awb.clone(), client_order_id: id.clone(), scans: Vec::new() };
            shipment.set(Status::Booked);
            if mode == Some(Mode::AlreadyCancelled) {
                shipment.set(Status::Cancelled);
            }
            order.shipments.push(shipment);
            self.by_awb.insert(awb, id);
        }
        let shown = if mode == Some(Mode::Deduplicate) { 0 } else { order.shipments.len() - 1 };
        &order.shipments[shown]
    }

    /// Cancels a shipment that has not been picked up.
    pub fn cancel(&mut self, awb: &str) -> Cancellation {
        let Some(shipment) = self.shipment_mut(awb) else {
            return Cancellation::Unknown;
        };
        match shipment.status() {
            Status::Booked => {
                shipment.set(Status::Cancelled);
                Cancellation::Done
            }
            Status::Cancelled => Cancellation::Already,
            Status::PickedUp | Status::InTransit | Status::Delivered => Cancellation::TooLate,
        }
    }

    /// The shipment looked up. Of several under one reference: the last that is not cancelled, or
    /// the last.
    pub fn find(&self, lookup: &Lookup) -> Option<&Shipment> {
        match lookup {
            Lookup::Awb(awb) => {
                let order = self.orders.get(self.by_awb.get(awb)?)?;
                order.shipments.iter().find(|shipment| shipment.awb == *awb)
            }
            Lookup::ClientOrderId(id) => {
                let shipments = &self.orders.get(id)?.shipments;
                let live = shipments.iter().rev().find(|shipment| shipment.status() != Status::Cancelled);
                live.or(shipments.last())
            }
        }
    }

    /// Moves a shipment to a status; `None` if there is no such shipment.
    pub fn set_status(&mut self, awb: &str, status: Status) -> Option<Value> {
        let shipment = self.shipment_mut(awb)?;
        shipment.set(status);
        Some(shipment.summary())
    }

    fn shipment_mut(&mut self, awb: &str) -> Option<&mut Shipment> {
        let order = self.orders.get_mut(self.by_awb.get(awb)?)?;
        order.shipments.iter_mut().find(|shipment| shipment.awb == awb)
    }

    /// Twelve digits, of which the first five differ between runs: clients that outlive a run of the
    /// stand-in must not meet an AWB again.
    fn next_awb(&mut self) -> String {
        let prefix = *self.awb_prefix.get_or_insert_with(|| rand::random_range(10_000..100_000));
        self.awbs += 1;
        format!("{prefix}{:07}", self.awbs)
    }
}

impl Books for Shipments {
    fn totals(&self) -> Value {
        let per_order = || self.orders.values().map(|order| order.shipments.len());
        let shipments = self.orders.values().flat_map(|order| &order.shipments);
        json!({
            "orders": self.orders.len(),
            "shipments": per_order().sum::<usize>(),
            "duplicates": per_order().map(|shipments| shipments.saturating_sub(1)).sum::<usize>(),
            "cancelled": shipments.filter(|shipment| shipment.status() == Status::Cancelled).count(),
        })
    }

    fn entry(&self, client_order_id: &str) -> Option<Value> {
        self.orders.get(client_order_id).map(|order| order_entry(client_order_id, order))
    }

    fn entries(&self) -> Vec<Value> {
        self.orders.iter().map(|(id, order)| order_entry(id, order)).collect()
    }

    fn alive(&self, client_order_id: &str) -> usize {
        let shipments = self.orders.get(client_order_id).map(|order| order.shipments.as_slice()).unwrap_or_default();
        shipments.iter().filter(|shipment| shipment.status() != Status::Cancelled).count()
    }

    /// Forgets everything, except which AWBs were given out.
    fn clear(&mut self) {
        *self = Self { awbs: self.awbs, awb_prefix: self.awb_prefix, ..Self::default() };
    }
}

fn order_entry(client_order_id: &str, order: &Order) -> Value {
    json!({
        "clientOrderId": client_order_id,
        "invoiceNumber": order.invoice_number,
        "createCalls": order.create_calls,
        "cancelCalls": order.cancel_calls,
        "trackCalls": order.track_calls,
        "shipments": order.shipments.iter().map(Shipment::summary).collect::<Vec<_>>(),
        "lastBody": order.last_body,
    })
}

fn now_in_india() -> String {
    let offset = UtcOffset::from_hms(5, 30, 0).unwrap_or(UtcOffset::UTC);
    let now = OffsetDateTime::now_utc().to_offset(offset);
    let (date, time) = (now.date(), now.time());
    let (hour, minute, second) = time.as_hms();
    format!("{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}", date.year(), u8::from(date.month()), date.day())
}
