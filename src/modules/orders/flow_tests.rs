//! The next step of an order, and what follows from each answer: decision tables. Invariants are in `flow_invariant_tests`.

use std::{collections::BTreeMap, time::Duration};

use bson::DateTime;

use super::{
    CANCEL_KIND, CREATE_KIND, SETTLING_DELAY,
    flow::*,
    model::{
        Cancellation, CancellationStatus, Order, OrderStatus, ProviderRefs, ProviderSyncStatus, Uncertain, fingerprint,
        fingerprint_version,
    },
};
use crate::modules::{
    audit::{Call, ErrorClass},
    providers::{
        AttemptDecision, Configured, Detail, Failure, Operation, Outcome, ParcelDimensions, Party, PaymentMode, Placed,
        ProviderSettings, Providers, Retry, Service, Shipment, ShipmentItem, StoredFailure, Timing, call_job::NextStep,
    },
    queue::{Backoff, Job, JobEnd, JobState, QueueConfig},
};

/// When every decision in these tests is made: well after everything else happened.
pub(super) const NOW: DateTime = DateTime::from_millis(1_767_225_600_000);
pub(super) const TOKEN: &str = "lease-1";
const DAY_MS: i64 = 24 * 3_600_000;

pub(super) fn before_now(ms: i64) -> DateTime {
    DateTime::from_millis(NOW.timestamp_millis() - ms)
}

fn party(name: &str) -> Party {
    Party {
        name: name.into(),
        phone: "9876543210".into(),
        email: None,
        line1: "12 MG Road".into(),
        line2: None,
        city: "Bengaluru".into(),
        state: "Karnataka".into(),
        pincode: "560001".into(),
        country: "IN".into(),
    }
}

/// The providers as they are where nobody sets anything.
pub(super) fn providers() -> Providers {
    let address = || ("BASE_URL", "https://carrier.example".to_owned().into());
    Providers::new(
        |_| ProviderSettings::new(vec![address()]),
        |_, name| QueueConfig::named(name),
        Duration::from_secs(20),
    )
}

pub(super) fn carrier() -> Configured {
    providers().get("parcelx").expect("the carrier").clone()
}

pub(super) fn detail() -> Detail {
    Detail::Shipment(shipment())
}

pub(super) fn shipment() -> Shipment {
    Shipment {
        service: Service::Surface,
        payment_mode: PaymentMode::Prepaid,
        currency: "INR".into(),
        cod_amount: 0,
        weight_grams: 450,
        dimensions_cm: ParcelDimensions { length: 20, width: 15, height: 8 },
        consignee: party("Asha Rao"),
        pickup: party("Kiran Stores"),
        items: vec![ShipmentItem { sku: "TS-BLK-M".into(), name: "T-shirt".into(), quantity: 2, unit_price: 49900 }],
    }
}

/// An order as it is right after it was taken.
pub(super) fn order() -> Order {
    Order {
        id: "ord_1".into(),
        order_number: "0000-0000-0001".into(),
        user_id: "usr_1".into(),
        tenant_id: None,
        client_order_id: "c-1001".into(),
        provider: "parcelx".into(),
        status: OrderStatus::Created,
        provider_sync_status: ProviderSyncStatus::Pending,
        provider_request_ref_id: None,
        provider_response_ref_id: None,
        detail: detail(),
        account_id: Some("parcelx/default".into()),
        reference: None,
        refs: ProviderRefs::default(),
        checkout_id: None,
        replaced_by: None,
        live_reference: None,
        own_account: false,
        followed: None,
        unfinished: false,
        charge: None,
        billing: None,
        cancellation: None,
        failure: None,
        comment: None,
        attempts: 0,
        events: 0,
        job_id: "job_create".into(),
        uncertain: None,
        doubted: false,
        open_call: None,
        fingerprint_version: fingerprint_version(),
        fingerprint: fingerprint("parcelx", &detail()),
        correlation_id: "rqs_create".into(),
        created_at: before_now(60_000),
        updated_at: before_now(60_000),
    }
}

pub(super) fn cancellation(status: CancellationStatus) -> Cancellation {
    Cancellation {
        status,
        reason: Some("Customer changed their mind".into()),
        requested_at: before_now(30_000),
        request_ref_id: None,
        response_ref_id: None,
        job_id: None,
        failure: None,
        correlation_id: "rqs_cancel".into(),
    }
}

pub(super) fn uncertain(since: DateTime) -> Uncertain {
    Uncertain { request_ref_id: "req_lost".into(), since, last: false, refusal: None }
}

/// A job that was never attempted.
pub(super) fn fresh_job(kind: OrderJobKind) -> Job {
    let carrier = carrier();
    let (id, queue, name) = match kind {
        OrderJobKind::Create => ("job_create", carrier.create, CREATE_KIND),
        OrderJobKind::Cancel => ("job_cancel", carrier.cancel, CANCEL_KIND),
    };
    Job::new(id.into(), &queue, name, bson::doc! { "orderId": "ord_1" }, "rqs_job", before_now(60_000))
}

/// A job in its first attempt, held under [`TOKEN`].
pub(super) fn active_job(kind: OrderJobKind) -> Job {
    Job {
        state: JobState::Active,
        attempts: 1,
        lease_token: Some(TOKEN.into()),
        lease_owner: Some("wrk_1".into()),
        lease_until: Some(NOW),
        ..fresh_job(kind)
    }
}

pub(super) fn placed(cancelled: bool) -> Placed {
    Placed {
        reference: "PX0001".into(),
        courier_name: Some("Delhivery".into()),
        provider_order_id: Some("77".into()),
        cancelled,
        unfinished: false,
    }
}

pub(super) fn failure() -> Failure {
    Failure::new("provider.said_so", "They said so.")
}

pub(super) fn timing() -> Timing {
    let backoff = Backoff { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(300) };
    Timing { now: NOW, jitter: 1.0, backoff }
}

/// A call that is under way.
pub(super) fn call(operation: Operation, kind: OrderJobKind) -> Call {
    Call {
        request_ref_id: "req_open".into(),
        order_id: Some("ord_1".into()),
        user_id: "usr_1".into(),
        client_order_id: Some("c-1001".into()),
        resource_id: None,
        provider: "parcelx".into(),
        operation: operation.as_str().into(),
        attempt: 1,
        job_id: active_job(kind).id,
        worker_id: "wrk_1".into(),
        account_id: "parcelx/default".into(),
        correlation_id: "rqs_job".into(),
        sent_at: before_now(40_000),
    }
}

/// An operation and what became of it.
pub(super) type Said = (Operation, Outcome<AtProvider>);

pub(super) fn follow_at(
    order: &mut Order,
    kind: OrderJobKind,
    job: &Job,
    said: &Said,
    timing: Timing,
) -> AttemptDecision {
    let (asked, outcome) = said;
    follow(order, kind, &OrderAnswered { job, call: &call(*asked, kind), asked, outcome, timing }, SETTLING_DELAY)
}

pub(super) fn followed(order: &mut Order, kind: OrderJobKind, job: &Job, said: &Said) -> AttemptDecision {
    follow_at(order, kind, job, said, timing())
}

/// The call that an attempt makes now, or the event with which it ends without one.
pub(super) fn stepped(order: &Order, kind: OrderJobKind) -> Result<Operation, Option<&'static str>> {
    match next_step(&mut order.clone(), kind) {
        NextStep::Call(operation) => Ok(operation),
        NextStep::End(decision) => Err(decision.event),
        NextStep::Fail(error) => panic!("{error:?}"),
    }
}

const RETRIES: [(&str, Retry); 3] = [
    ("failed", Retry::Counted),
    ("not_connected", Retry::Deferred),
    ("throttled", Retry::Throttled(Duration::from_secs(30))),
];

/// Every outcome of an operation, by a name for tables.
pub(super) fn outcomes(operation: Operation) -> Vec<(&'static str, Outcome<AtProvider>)> {
    let at_carrier = |cancelled| Outcome::Done(AtProvider::Placed(placed(cancelled)));
    let mut all = vec![("unauthorized", Outcome::Unauthorized(failure()))];
    all.extend(RETRIES.map(|(name, how)| (name, Outcome::Retryable(failure(), how))));
    all.extend(match operation {
        Operation::Create => vec![
            ("placed", at_carrier(false)),
            ("placed/cancelled", at_carrier(true)),
            ("unknown", Outcome::Unknown(failure())),
            ("refused", Outcome::Refused(failure())),
        ],
        Operation::LookUp => vec![
            ("found", at_carrier(false)),
            ("found/cancelled", at_carrier(true)),
            ("absent", Outcome::Done(AtProvider::Absent)),
        ],
        Operation::Cancel => {
            vec![("cancelled", Outcome::Done(AtProvider::Cancelled)), ("refused", Outcome::Refused(failure()))]
        }
        Operation::Poll | Operation::Fetch | Operation::Finish | Operation::LogIn => Vec::new(),
    });
    all
}

/// A job on its last attempt, or one that was deferred for a day.
pub(super) fn job_in(kind: OrderJobKind, last: bool, day: bool) -> Job {
    let mut job = active_job(kind);
    if last {
        job.attempts = job.max_attempts;
    }
    if day {
        job.deferring_since = Some(before_now(DAY_MS));
    }
    job
}

#[test]
fn the_next_step_follows_from_what_is_known() {
    use CancellationStatus::{InProgress, NeedsAttention as Stuck, Refused, Requested};
    use OrderJobKind::{Cancel, Create};
    use OrderStatus as S;
    let (unplaced, too_late, nothing) = (Err(Some("OrderCancelled")), Err(Some("CancellationRefused")), Err(None));
    for (kind, status, asked, unsure, awb, step) in [
        (Create, S::Created, None, false, false, Ok(Operation::Create)),
        (Create, S::Created, None, true, false, Ok(Operation::LookUp)),
        (Create, S::Created, Some(Requested), true, false, Ok(Operation::LookUp)),
        (Create, S::Created, Some(Requested), false, false, unplaced),
        (Create, S::Created, Some(InProgress), false, false, unplaced),
        (Create, S::Created, Some(Refused), false, false, Ok(Operation::Create)),
        (Create, S::Confirmed, None, false, true, nothing),
        (Create, S::NeedsAttention, None, true, false, nothing),
        (Create, S::NeedsAttention, Some(Requested), true, false, nothing),
        (Create, S::Failed, None, false, false, nothing),
        (Create, S::Cancelled, None, false, false, nothing),
        (Cancel, S::Confirmed, Some(Requested), false, true, Ok(Operation::Cancel)),
        (Cancel, S::Confirmed, Some(InProgress), false, true, Ok(Operation::Cancel)),
        (Cancel, S::NeedsAttention, Some(Requested), false, false, Ok(Operation::LookUp)),
        (Cancel, S::NeedsAttention, Some(Requested), true, false, Ok(Operation::LookUp)),
        // The number is that of an earlier shipment; a later create may have made another one.
        (Cancel, S::NeedsAttention, Some(Requested), true, true, Ok(Operation::LookUp)),
        (Cancel, S::Created, Some(Requested), false, false, Ok(Operation::LookUp)),
        (Cancel, S::Failed, Some(InProgress), false, true, too_late),
        (Cancel, S::Failed, Some(Requested), false, false, too_late),
        (Cancel, S::Confirmed, None, false, true, nothing),
        (Cancel, S::Confirmed, Some(Refused), false, true, nothing),
        (Cancel, S::Confirmed, Some(Stuck), false, true, nothing),
        (Cancel, S::Cancelled, Some(CancellationStatus::Done), false, true, nothing),
        (Cancel, S::Cancelled, Some(Requested), false, true, nothing),
    ] {
        let mut order = Order { status, cancellation: asked.map(cancellation), ..order() };
        order.uncertain = unsure.then(|| uncertain(before_now(60_000)));
        order.reference = awb.then(|| "PX0001".into());
        let found = stepped(&order, kind);
        assert_eq!(found, step, "{kind:?} {status:?} {asked:?}, unsure: {unsure}, awb: {awb}");
    }
}

/// `cancel`: whether a cancellation is asked for; `last`: the last attempt runs; `day`: deferred for a day already.
/// The rest is what the order and the job look like afterwards.
const CREATE_CALLED: &str = "
    answer           cancel last day status          sync     cancellation unsure job         event
    placed           no     *    *   confirmed       synced   -            no     done        OrderConfirmed
    placed           yes    *    *   confirmed       synced   requested    no     done+cancel OrderConfirmed
    placed/cancelled no     *    *   needs_attention failed   -            no     dead        OrderNeedsAttention
    placed/cancelled yes    *    *   cancelled       synced   done         no     done        OrderCancelled
    unknown          no     no   *   created         unknown  -            yes    retry       -
    unknown          yes    no   *   created         unknown  requested    yes    retry       -
    unknown          no     yes  no  created         unknown  -            yes    deferred    -
    unknown          yes    yes  no  created         unknown  requested    yes    deferred    -
    unknown          no     yes  yes needs_attention failed   -            yes    dead        OrderNeedsAttention
    unknown          yes    yes  yes needs_attention failed   requested    yes    dead+cancel OrderNeedsAttention
    refused          no     *    *   failed          failed   -            no     dead        OrderFailed
    refused          yes    *    *   cancelled       synced   done         no     done        OrderCancelled
    unauthorized     no     *    *   needs_attention failed   -            no     dead        OrderNeedsAttention
    unauthorized     yes    *    *   needs_attention failed   requested    no     dead+cancel OrderNeedsAttention
    failed           no     no   *   created         retrying -            no     retry       -
    failed           no     yes  *   needs_attention failed   -            no     dead        OrderNeedsAttention
    failed           yes    *    *   cancelled       synced   done         no     done        OrderCancelled
    not_connected    no     *    no  created         retrying -            no     deferred    -
    not_connected    no     *    yes needs_attention failed   -            no     dead        OrderNeedsAttention
    not_connected    yes    *    *   cancelled       synced   done         no     done        OrderCancelled
    throttled        no     *    no  created         retrying -            no     deferred    -
    throttled        no     *    yes needs_attention failed   -            no     dead        OrderNeedsAttention
    throttled        yes    *    *   cancelled       synced   done         no     done        OrderCancelled
";

/// The create job looks up what became of an unclear create, long ago.
const LOOKED_UP: &str = "
    answer          cancel last day status          sync     cancellation unsure job         event
    found           no     *    *   confirmed       synced   -            no     done        OrderConfirmed
    found           yes    *    *   confirmed       synced   requested    no     done+cancel OrderConfirmed
    found/cancelled no     *    *   needs_attention failed   -            no     dead        OrderNeedsAttention
    found/cancelled yes    *    *   cancelled       synced   done         no     done        OrderCancelled
    absent          no     *    *   created         retrying -            no     goes_on     -
    absent          yes    *    *   cancelled       synced   done         no     done        OrderCancelled
    unauthorized    no     *    *   needs_attention failed   -            yes    dead        OrderNeedsAttention
    unauthorized    yes    *    *   needs_attention failed   requested    yes    dead+cancel OrderNeedsAttention
    failed          no     *    no  created         unknown  -            yes    deferred    -
    failed          yes    *    no  created         unknown  requested    yes    deferred    -
    failed          no     *    yes needs_attention failed   -            yes    dead        OrderNeedsAttention
    failed          yes    *    yes needs_attention failed   requested    yes    dead+cancel OrderNeedsAttention
    not_connected   no     *    no  created         unknown  -            yes    deferred    -
    not_connected   yes    *    no  created         unknown  requested    yes    deferred    -
    not_connected   no     *    yes needs_attention failed   -            yes    dead        OrderNeedsAttention
    not_connected   yes    *    yes needs_attention failed   requested    yes    dead+cancel OrderNeedsAttention
    throttled       no     *    no  created         unknown  -            yes    deferred    -
    throttled       yes    *    no  created         unknown  requested    yes    deferred    -
    throttled       no     *    yes needs_attention failed   -            yes    dead        OrderNeedsAttention
    throttled       yes    *    yes needs_attention failed   requested    yes    dead+cancel OrderNeedsAttention
";

/// The cancel job of an order that was given up looks it up first.
const LOOKED_UP_TO_CANCEL: &str = "
    answer          cancel last day status          sync   cancellation    unsure job      event
    found           yes    *    *   confirmed       synced in_progress     no     goes_on  OrderConfirmed
    found/cancelled yes    *    *   cancelled       synced done            no     done     OrderCancelled
    absent          yes    *    *   cancelled       synced done            no     done     OrderCancelled
    unauthorized    yes    *    *   needs_attention failed needs_attention yes    dead     CancellationNeedsAttention
    failed          yes    *    no  needs_attention failed in_progress     yes    deferred -
    failed          yes    *    yes needs_attention failed needs_attention yes    dead     CancellationNeedsAttention
    not_connected   yes    *    no  needs_attention failed in_progress     yes    deferred -
    not_connected   yes    *    yes needs_attention failed needs_attention yes    dead     CancellationNeedsAttention
    throttled       yes    *    no  needs_attention failed in_progress     yes    deferred -
    throttled       yes    *    yes needs_attention failed needs_attention yes    dead     CancellationNeedsAttention
";

const CANCEL_CALLED: &str = "
    answer        cancel last day status    sync   cancellation    unsure job      event
    cancelled     yes    *    *   cancelled synced done            no     done     OrderCancelled
    refused       yes    *    *   confirmed synced in_progress     no     goes_on  -
    unauthorized  yes    *    *   confirmed synced needs_attention no     dead     CancellationNeedsAttention
    failed        yes    *    no  confirmed synced in_progress     no     deferred -
    failed        yes    *    yes confirmed synced in_progress     no     goes_on  -
    not_connected yes    *    no  confirmed synced in_progress     no     deferred -
    not_connected yes    *    yes confirmed synced needs_attention no     dead     CancellationNeedsAttention
    throttled     yes    *    no  confirmed synced in_progress     no     deferred -
    throttled     yes    *    yes confirmed synced needs_attention no     dead     CancellationNeedsAttention
";

/// The carrier has refused a cancel: before money is kept or given back, it is looked up.
const REFUSAL_CHECKED: &str = "
    answer          cancel last day status    sync   cancellation    unsure job      event
    found           yes    *    *   confirmed synced refused         no     dead     CancellationRefused
    found/cancelled yes    *    *   cancelled synced done            no     done     OrderCancelled
    absent          yes    *    *   confirmed synced needs_attention no     dead     CancellationNeedsAttention
    unauthorized    yes    *    *   confirmed synced needs_attention no     dead     CancellationNeedsAttention
    failed          yes    *    no  confirmed synced in_progress     no     deferred -
    failed          yes    *    yes confirmed synced needs_attention no     dead     CancellationNeedsAttention
    not_connected   yes    *    no  confirmed synced in_progress     no     deferred -
    not_connected   yes    *    yes confirmed synced needs_attention no     dead     CancellationNeedsAttention
    throttled       yes    *    no  confirmed synced in_progress     no     deferred -
    throttled       yes    *    yes confirmed synced needs_attention no     dead     CancellationNeedsAttention
";

/// The rows of a table by answer and circumstances, `*` spelled out.
fn rows(table: &str) -> BTreeMap<(String, bool, bool, bool), String> {
    let mut rows = BTreeMap::new();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()).skip(1) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let either = |cell: &str| match cell {
            "yes" => vec![true],
            "no" => vec![false],
            "*" => vec![true, false],
            other => panic!("{other:?} in {line}"),
        };
        for cancel in either(cells[1]) {
            for last in either(cells[2]) {
                for day in either(cells[3]) {
                    let key = (cells[0].to_owned(), cancel, last, day);
                    let before = rows.insert(key, cells[4..].join(" "));
                    assert_eq!(before, None, "two rows for one case: {line}");
                }
            }
        }
    }
    rows
}

/// An order and what followed, in the words of the tables.
fn in_words(order: &Order, followed: &AttemptDecision) -> String {
    let word = |value: serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let job = match &followed.end {
        JobEnd::Done { .. } => "done",
        JobEnd::Dead { .. } => "dead",
        JobEnd::Retry { counts: true, error: Some(_), .. } => "retry",
        JobEnd::Retry { counts: false, error: Some(_), .. } => "deferred",
        JobEnd::Next { .. } | JobEnd::Retry { counts: false, error: None, .. } => "goes_on",
        JobEnd::Retry { counts: true, error: None, .. } => "retry_without_a_reason",
    };
    [
        order.status.as_str().to_owned(),
        word(serde_json::json!(order.provider_sync_status)),
        word(serde_json::json!(order.cancellation.as_ref().map(|cancellation| cancellation.status))),
        if order.uncertain.is_some() { "yes" } else { "no" }.into(),
        format!("{job}{}", if starts_cancel(order, &followed.end) { "+cancel" } else { "" }),
        followed.event.unwrap_or("-").into(),
    ]
    .join(" ")
}

/// Has every answer to `operation` checked in all circumstances; `order_for` gives the order as it was called for.
fn check(table: &str, kind: OrderJobKind, operation: Operation, order_for: impl Fn() -> Order) {
    let mut rows = rows(table);
    let scene = order_for();
    assert_eq!(stepped(&scene, kind), Ok(operation), "the scene is set wrongly");
    for (name, outcome) in outcomes(operation) {
        for (cancel, last, day) in [0, 1, 2, 3, 4, 5, 6, 7].map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0)) {
            let mut order = order_for();
            match kind {
                // It may be asked for while the call is under way.
                OrderJobKind::Create => {
                    order.cancellation = cancel.then(|| cancellation(CancellationStatus::Requested))
                }
                OrderJobKind::Cancel if !cancel => continue,
                OrderJobKind::Cancel => {}
            }
            let said = (operation, outcome.clone());
            let decision = followed(&mut order, kind, &job_in(kind, last, day), &said);
            let case = (name.to_owned(), cancel, last, day);
            let expected = rows.remove(&case).unwrap_or_else(|| panic!("no row for {case:?}"));
            assert_eq!(in_words(&order, &decision), expected, "{case:?}");
            assert_eq!(order.updated_at, NOW, "{case:?}");
        }
    }
    assert!(rows.is_empty(), "rows about nothing: {rows:?}");
}

#[test]
fn what_follows_from_a_create() {
    check(CREATE_CALLED, OrderJobKind::Create, Operation::Create, || Order {
        provider_sync_status: ProviderSyncStatus::InProgress,
        ..order()
    });
}

#[test]
fn what_follows_from_a_look_up() {
    check(LOOKED_UP, OrderJobKind::Create, Operation::LookUp, || Order {
        provider_sync_status: ProviderSyncStatus::Unknown,
        uncertain: Some(uncertain(before_now(60_000))),
        ..order()
    });
}

#[test]
fn what_follows_from_the_look_up_of_an_order_that_was_given_up() {
    check(LOOKED_UP_TO_CANCEL, OrderJobKind::Cancel, Operation::LookUp, || Order {
        status: OrderStatus::NeedsAttention,
        provider_sync_status: ProviderSyncStatus::Failed,
        uncertain: Some(uncertain(before_now(60_000))),
        failure: Some(StoredFailure { class: ErrorClass::Unknown, code: "a.b".into(), message: "c".into() }),
        cancellation: Some(cancellation(CancellationStatus::InProgress)),
        ..order()
    });
}

#[test]
fn what_is_unclear_is_put_off_where_it_is_safe_to_repeat() {
    let unsure = Order { uncertain: Some(uncertain(before_now(60_000))), ..order() };
    let confirmed = Order {
        status: OrderStatus::Confirmed,
        cancellation: Some(cancellation(CancellationStatus::InProgress)),
        ..order()
    };
    for (kind, order, operation, outcome) in [
        (OrderJobKind::Create, &unsure, Operation::LookUp, Outcome::Unknown(failure())),
        (OrderJobKind::Create, &unsure, Operation::LookUp, Outcome::Refused(failure())),
        (OrderJobKind::Cancel, &confirmed, Operation::Cancel, Outcome::Unknown(failure())),
    ] {
        for last in [false, true] {
            let [(mut unclear, said), (mut failed, expected)] =
                [outcome.clone(), Outcome::Retryable(failure(), Retry::Deferred)].map(|outcome| {
                    let mut after = order.clone();
                    let decision = followed(&mut after, kind, &job_in(kind, last, false), &(operation, outcome));
                    (after, decision)
                });
            assert_eq!((&mut unclear, said), (&mut failed, expected), "{operation:?} {outcome:?}");
        }
    }
}

#[test]
fn what_follows_from_a_cancel() {
    check(CANCEL_CALLED, OrderJobKind::Cancel, Operation::Cancel, || Order {
        status: OrderStatus::Confirmed,
        provider_sync_status: ProviderSyncStatus::Synced,
        reference: Some("PX0001".into()),
        cancellation: Some(cancellation(CancellationStatus::InProgress)),
        ..order()
    });
}

/// A confirmed order whose cancel the carrier has refused.
pub(super) fn refused() -> Order {
    let mut order = Order {
        status: OrderStatus::Confirmed,
        provider_sync_status: ProviderSyncStatus::Synced,
        reference: Some("PX0001".into()),
        cancellation: Some(cancellation(CancellationStatus::InProgress)),
        ..order()
    };
    let refusal = (Operation::Cancel, Outcome::Refused(failure()));
    let decision = followed(&mut order, OrderJobKind::Cancel, &active_job(OrderJobKind::Cancel), &refusal);
    assert_eq!(decision.end, JobEnd::Retry { at: NOW, error: None, counts: false });
    order
}

#[test]
fn what_follows_from_a_cancel_that_was_refused() {
    check(REFUSAL_CHECKED, OrderJobKind::Cancel, Operation::LookUp, refused);
}

#[test]
fn a_cancel_that_is_given_up_is_looked_up_first() {
    for (cancelled_there, status, code) in
        [(true, CancellationStatus::Done, None), (false, CancellationStatus::NeedsAttention, Some("provider.said_so"))]
    {
        let mut order = refused();
        order.cancellation.iter_mut().for_each(|cancellation| cancellation.failure = None);
        let mut job = job_in(OrderJobKind::Cancel, false, true);
        let failed = (Operation::Cancel, Outcome::Retryable(failure(), Retry::Counted));
        let decision = followed(&mut order, OrderJobKind::Cancel, &job, &failed);
        job.end(&decision.end, NOW);
        assert_eq!(job.deferring_since, None, "the look-up has a day of its own");
        assert_eq!(stepped(&order, OrderJobKind::Cancel), Ok(Operation::LookUp));
        let found = (Operation::LookUp, Outcome::Done(AtProvider::Placed(placed(cancelled_there))));
        let _ = followed(&mut order, OrderJobKind::Cancel, &job, &found);
        let cancellation = order.cancellation.expect("it was asked for");
        assert_eq!(cancellation.status, status);
        assert_eq!(cancellation.failure.map(|failure| failure.code).as_deref(), code);
    }
}
