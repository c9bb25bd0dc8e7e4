//! A history of provider calls to measure on: one call every few seconds, as our adapter and our logs write them down.
//!
//! Everything follows from a call's number, so that it can be made by several tasks at once and asked for again without
//! being remembered.

use std::sync::LazyLock;

use bson::{Bson, DateTime, Document, doc};
use serde_json::{Value, json};
use waybill::{
    modules::{
        audit::{AuditEvent, AuditOutcome, Call, ErrorClass, ProviderRequestLog, ProviderResponseLog, Verdict},
        events::Event,
        providers::{
            CancellableOrders, Detail, Operation, OrderProvider, OrderToPlace, ParcelDimensions, Party, PaymentMode,
            PlacedOrder, Provider, Service, Shipment, ShipmentItem,
            registry::parcelx::{self, ParcelX},
        },
    },
    platform::{
        exchange::{Prepared, RequestRecord, ResponseRecord},
        identity::Actor,
        ids::first_id_at,
    },
};

/// Between two calls: 25,000 a day, so a million of them are forty days.
const STEP_MS: i64 = 3_456;
/// Of so many calls the last is about the order of the one before.
const CALLS_PER_ORDER: u64 = 8;
/// Calls of one merchant, on average.
const CALLS_PER_USER: u64 = 500;
/// One audit event and one event to so many calls.
pub const CALLS_PER_EVENT: u64 = 5;
/// Of so many calls there is one who looks: a longer history has more of them, not busier ones.
const CALLS_PER_READER: u64 = 500;

/// Calls up to a moment.
#[derive(Clone, Debug)]
pub struct History {
    pub calls: u64,
    /// When the last was made, ms.
    pub ended_ms: i64,
    /// Orders that are more than calls: the latest ones are these.
    pub placed: Vec<String>,
}

/// What was called, and how it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    Done,
    Found,
    Absent,
    Throttled,
    Broken,
    Refused,
    Unanswered,
}

/// Numbers that look random and are always the same for the same seed (splitmix64).
#[must_use]
pub const fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An id as ours are, of a time and a number.
fn id_at(prefix: &str, ms: i64, number: u64) -> String {
    let time = first_id_at(prefix, ms);
    let (time, _) = time.split_at(prefix.len() + 13);
    format!("{time}7{:03x}8{:015x}", number % 0x1000, mixed(number) >> 4)
}

/// The merchant of this rank, from 0: the most orders first.
#[must_use]
pub fn user(rank: u64) -> String {
    id_at("usr", 1_700_000_000_000, rank)
}

/// One of those who look, from 0.
#[must_use]
pub fn reader(number: u64) -> String {
    id_at("usr", 1_600_000_000_000, number)
}

impl History {
    #[must_use]
    pub const fn orders(&self) -> u64 {
        self.calls - self.calls / CALLS_PER_ORDER
    }

    /// Audit events, and as many events.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.calls / CALLS_PER_EVENT
    }

    /// When this call was made, ms.
    #[must_use]
    pub fn at(&self, call: u64) -> i64 {
        self.ended_ms - (self.calls - 1 - call) as i64 * STEP_MS
    }

    /// When the order was created, ms.
    fn ordered_at(&self, order: u64) -> i64 {
        self.at(order + order / (CALLS_PER_ORDER - 1)) - 40
    }

    #[must_use]
    pub fn order(&self, order: u64) -> String {
        let latest = self.orders() - self.placed.len() as u64;
        match order.checked_sub(latest) {
            Some(nth) => self.placed[nth as usize].clone(),
            None => id_at("ord", self.ordered_at(order), order),
        }
    }

    /// Whose it is. A longer history is one of more merchants, not of larger ones: what is measured is whether a question
    /// costs more because of what others have.
    #[must_use]
    pub const fn owner(&self, order: u64) -> u64 {
        mixed(order) % (self.calls / CALLS_PER_USER + 1)
    }

    /// Its merchant's name for it; now and then two merchants have the same.
    #[must_use]
    pub fn client_order(order: u64) -> String {
        format!("SO-2026-{:07}", order - order % 3)
    }

    #[must_use]
    pub fn awb(order: u64) -> String {
        format!("{}", 20_400_000_000_000 + order)
    }

    /// The request that created it.
    #[must_use]
    pub fn correlation(&self, order: u64) -> String {
        id_at("rqs", self.ordered_at(order), order)
    }

    /// A call and its answer.
    #[must_use]
    pub fn call(&self, number: u64) -> (ProviderRequestLog, ProviderResponseLog) {
        let follows = number % CALLS_PER_ORDER == CALLS_PER_ORDER - 1;
        let order = number - number / CALLS_PER_ORDER - u64::from(follows);
        let chance = mixed(number ^ 0x5eed) % 1_000;
        let (provider, account, operation) = match (follows, chance) {
            (false, 0..10) => ("idcheck", "idcheck/default", "verify_pan"),
            (false, 10..25) => ("paygate", "paygate/default", "start_payment"),
            (false, _) => (parcelx::NAME, "parcelx/default", "create_order"),
            (true, 0..400) => (parcelx::NAME, "parcelx/default", "look_up_order"),
            (true, _) => (parcelx::NAME, "parcelx/default", "cancel_order"),
        };
        let went = went(operation, mixed(number ^ 0xfa11) % 1_000);
        let call = self.keys(number, order, (provider, account, operation));
        let (sent, said) = records(&call, order, went);
        let received = DateTime::from_millis(call.sent_at.timestamp_millis() + said.latency_ms);
        let response_id = id_at("res", received.timestamp_millis(), number);
        let request = ProviderRequestLog::new(&call, &sent);
        (request, ProviderResponseLog::new(response_id, &call, &said, verdict(went, operation, order), received))
    }

    fn keys(&self, number: u64, order: u64, (provider, account, operation): (&str, &str, &str)) -> Call {
        let (at, carries) = (self.at(number), provider == parcelx::NAME);
        Call {
            request_ref_id: id_at("req", at, number),
            order_id: carries.then(|| self.order(order)),
            user_id: user(self.owner(order)),
            client_order_id: carries.then(|| Self::client_order(order)),
            resource_id: (!carries).then(|| id_at("top", at - 30, number)),
            provider: provider.into(),
            operation: operation.into(),
            attempt: 1,
            job_id: id_at("job", at - 40, number),
            worker_id: id_at("wrk", 1_760_000_000_000, number / 250_000),
            account_id: account.into(),
            correlation_id: self.correlation(order),
            sent_at: DateTime::from_millis(at),
        }
    }

    /// Something that one of the staff looked at, or was not allowed to.
    #[must_use]
    pub fn event(&self, number: u64) -> AuditEvent {
        let call = number * CALLS_PER_EVENT;
        let (at, order) = (self.at(call) + 1, call - call / CALLS_PER_ORDER);
        let chance = mixed(number ^ 0xe7) % 1_000;
        let (action, outcome, status) = match chance {
            0..10 => ("request.denied", AuditOutcome::Denied, 403),
            10..20 => ("request.read", AuditOutcome::Failed, 404),
            20..50 => ("kyc.approved", AuditOutcome::Done, 200),
            _ => ("request.read", AuditOutcome::Done, 200),
        };
        AuditEvent {
            id: id_at("aud", at, number),
            actor: Actor {
                kind: "user".into(),
                id: reader(mixed(number) % (self.calls / CALLS_PER_READER + 1)),
                role: Some("auditor".into()),
                address: Some("192.0.2.17".into()),
                request_id: Some(self.event_request(number)),
                key_id: None,
            },
            action: action.into(),
            resource_type: "route".into(),
            resource_id: self.order(order),
            user_id: Some(user(self.owner(order))),
            outcome,
            reason: None,
            before: None,
            after: Some(doc! { "method": "GET", "route": "/audit/orders/{orderId}", "status": status }),
            at: DateTime::from_millis(at),
        }
    }

    /// Something that happened to the order that the audit event of this number is about.
    #[must_use]
    pub fn happened(&self, number: u64) -> Event {
        let call = number * CALLS_PER_EVENT;
        let (at, order) = (self.at(call) + 2, call - call / CALLS_PER_ORDER);
        let owner = user(self.owner(order));
        Event {
            id: id_at("evt", at, number),
            kind: "OrderCreated".into(),
            subject_id: self.order(order),
            seq: 1,
            user_id: owner.clone(),
            actor: Actor {
                kind: "user".into(),
                id: owner,
                role: Some("merchant".into()),
                address: Some("192.0.2.18".into()),
                request_id: Some(self.correlation(order)),
                key_id: None,
            },
            data: doc! { "clientOrderId": Self::client_order(order), "provider": parcelx::NAME, "charge": 5_900_i64 },
            at: DateTime::from_millis(at),
        }
    }

    #[must_use]
    pub fn event_request(&self, number: u64) -> String {
        id_at("rqs", self.at(number * CALLS_PER_EVENT), number ^ 0xe0e0)
    }
}

/// One call in a hundred fails, in one way or another.
fn went(operation: &str, chance: u64) -> Went {
    match (operation, chance) {
        (_, 0..4) => Went::Broken,
        (_, 4..6) => Went::Unanswered,
        (_, 6..9) => Went::Throttled,
        (_, 9..12) => Went::Refused,
        ("look_up_order", 12..300) => Went::Absent,
        ("look_up_order", _) => Went::Found,
        _ => Went::Done,
    }
}

fn verdict(went: Went, operation: &str, order: u64) -> Verdict {
    let failed = |outcome, class, code, message: &str| Verdict {
        outcome,
        error_class: Some(class),
        error_code: Some(code),
        error_message: Some(message.into()),
        awb: None,
    };
    let well = |outcome, awb| Verdict { outcome, error_class: None, error_code: None, error_message: None, awb };
    match went {
        Went::Done => well("done", (operation == "create_order").then(|| History::awb(order))),
        Went::Found => well("found", Some(History::awb(order))),
        Went::Absent => well("absent", None),
        Went::Throttled => failed("retryable", ErrorClass::Retryable, "provider.throttled", "Too many requests."),
        Went::Broken => failed("unknown", ErrorClass::Unknown, "provider.unexpected", "Answered with 500."),
        Went::Unanswered => failed("unknown", ErrorClass::Unknown, "exchange.timed_out", "No answer in time."),
        Went::Refused => failed("fatal", ErrorClass::Fatal, "provider.refused", "Consignee pincode is not serviceable"),
    }
}

/// What is stored of a carrier's create: our adapter makes it, once, because all are alike but for their references.
static CREATE: LazyLock<RequestRecord> = LazyLock::new(|| {
    let party = |name: &str, city: &str, state: &str, pincode: &str| Party {
        name: name.into(),
        phone: "9876543210".into(),
        email: None,
        line1: "12 MG Road".into(),
        line2: None,
        city: city.into(),
        state: state.into(),
        pincode: pincode.into(),
        country: "IN".into(),
    };
    let shipment = Shipment {
        service: Service::Surface,
        payment_mode: PaymentMode::Prepaid,
        currency: "INR".into(),
        cod_amount: 0,
        weight_grams: 450,
        dimensions_cm: ParcelDimensions { length: 20, width: 15, height: 8 },
        consignee: party("Asha Rao", "Bengaluru", "Karnataka", "560001"),
        pickup: party("Kiran Stores", "New Delhi", "Delhi", "110020"),
        items: vec![ShipmentItem { sku: "TS-BLK-M".into(), name: "T-shirt".into(), quantity: 2, unit_price: 49_900 }],
    };
    let order = OrderToPlace { order_id: "ord_1", client_order_id: "c-1", detail: &Detail::Shipment(shipment) };
    let (carrier, headers) = (carrier(), carrier().credential_headers());
    Prepared::new(carrier.create_request(&order).expect("a shipment"), headers).record
});

fn carrier() -> ParcelX {
    ParcelX::new("https://app.parcelx.in/api/v3")
}

/// What the carrier says when it has placed an order, as it is stored.
static PLACED: LazyLock<Document> = LazyLock::new(|| {
    let said = json!({"status": true, "responsemsg": "Order Placed Successfully.", "data": {
        "awb_number": "20400000000000", "order_number": "PX20400000000000", "job_id": null, "lrnum": "",
        "waybills_num_json": null, "lable_data": null, "routing_code": "NDL/01", "payment_mode": "Prepaid",
        "client_order_id": "ord_1", "partner_display_name": "Delhivery", "courier_code": "PXDEL01", "pickup_id": null,
        "courier_name": "Delhivery"}});
    stored(Operation::Create, &said)
});

fn stored(operation: Operation, said: &Value) -> Document {
    let declared = parcelx::DECLARATION.operations.iter().find(|(known, _)| *known == operation);
    match declared.expect("a declared operation").1.response_body(said) {
        Bson::Document(body) => body,
        other => unreachable!("an object is stored as one: {other}"),
    }
}

fn records(call: &Call, order: u64, went: Went) -> (RequestRecord, ResponseRecord) {
    let order_id = call.order_id.clone().unwrap_or_default();
    let (carrier, headers) = (carrier(), &["access-token"]);
    let sent = match &*call.operation {
        "create_order" => {
            let mut sent = CREATE.clone();
            if let Bson::Document(body) = &mut sent.body {
                body.insert("client_order_id", &order_id);
                body.insert("invoice_number", History::client_order(order));
            }
            sent
        }
        "look_up_order" => Prepared::new(carrier.look_up_request(&order_id), headers).record,
        "cancel_order" => {
            let awb = History::awb(order);
            let placed = PlacedOrder { reference: Some(&awb), ..PlacedOrder::default() };
            Prepared::new(carrier.cancel_request(&placed).expect("a shipment with a number"), headers).record
        }
        operation => RequestRecord {
            method: "POST".into(),
            url: format!("https://{}.example/v1/{operation}", call.provider),
            headers: doc! { "content-type": "application/json", "authorization": "[credential]" },
            body: doc! { "reference": &call.resource_id, "amount": 50_000_i64, "pan": "[string 10]" }.into(),
        },
    };
    let body = match (went, &*call.operation) {
        (Went::Unanswered | Went::Broken, _) => Bson::Null,
        (Went::Done, "create_order") => {
            let mut body = PLACED.clone();
            if let Ok(data) = body.get_document_mut("data") {
                data.insert("awb_number", History::awb(order));
                data.insert("order_number", format!("PX{}", History::awb(order)));
                data.insert("client_order_id", &order_id);
            }
            body.into()
        }
        (Went::Found, _) => doc! {
            "status": true, "awb_number": History::awb(order), "client_order_id": &order_id,
            "current_status": { "status_title": "Order Placed", "status_code": "101", "status_location": "New Delhi" },
            "data": [{ "status_title": "Order Placed", "event_date": "2026-01-01 10:00:00", "remark": "[string 0]" }],
        }
        .into(),
        (Went::Done, _) => doc! { "status": true, "responsemsg": "Order cancelled successfully" }.into(),
        (Went::Absent, _) => doc! { "status": false, "responsemsg": "No record found" }.into(),
        _ => doc! { "status": false, "responsemsg": "Consignee pincode is not serviceable" }.into(),
    };
    let http_status = match went {
        Went::Unanswered => None,
        Went::Broken => Some(500),
        Went::Throttled => Some(429),
        Went::Refused => Some(422),
        Went::Done | Went::Found | Went::Absent => Some(200),
    };
    let headers = doc! {
        "content-type": "application/json", "content-length": "512", "date": "Thu, 01 Jan 2026 10:00:00 GMT",
    };
    let latency_ms = 40 + (mixed(order) % 200) as i64;
    (sent, ResponseRecord { http_status, headers, body, latency_ms })
}
