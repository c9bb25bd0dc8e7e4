//! How attempts begin and end, decided over a view without a database.

use std::sync::Arc;

use bson::{Bson, Document, doc};

use super::{
    SETTLING_DELAY,
    commands_tests::{appended, decide, event_types, find_job, view_of},
    flow::{AtProvider, OrderJobKind},
    flow_tests::{
        NOW, Said, TOKEN, active_job, before_now, call, cancellation, carrier, failure, job_in, order, placed,
        uncertain,
    },
    jobs::{OrderCall, OrderJob},
    model::{CancellationStatus, Order, OrderStatus, ProviderRefs, ProviderSyncStatus, Uncertain},
};
use crate::{
    modules::{
        audit::{ErrorClass, ProviderResponseLog, REQUEST_LOGS, RESPONSE_LOGS},
        kyc::KycGate,
        providers::{
            Operation, Outcome, StoredFailure,
            call_job::{AttemptFailed, BeginAttempt, BegunCall, CallConcluded, CallJob},
        },
        queue::{Attempt, Conclusion, Job, JobEnd, JobError, JobState},
    },
    platform::{
        batch::{Key, View},
        clock::Clock,
        exchange::ResponseRecord,
    },
};

pub(super) fn order_job(kind: OrderJobKind) -> Arc<OrderJob> {
    Arc::new(OrderJob {
        kind,
        at: carrier(),
        settling_delay: SETTLING_DELAY,
        clock: Clock::default(),
        gate: KycGate::new(false),
    })
}

fn begin(kind: OrderJobKind) -> BeginAttempt<OrderJob> {
    BeginAttempt {
        call_job: order_job(kind),
        subject_id: "ord_1".into(),
        job_id: active_job(kind).id,
        token: TOKEN.into(),
        worker_id: "wrk_1".into(),
        account_id: "parcelx/default".into(),
        binds: false,
        request_ref_id: "req_new".into(),
        closing_response_id: "res_closing".into(),
        event_id: "evt_1".into(),
    }
}

/// An order whose call is under way, as [`BeginAttempt`] leaves it.
fn calling(operation: Operation, kind: OrderJobKind) -> Order {
    let mut order = Order { open_call: Some(call(operation, kind)), ..order() };
    match kind {
        OrderJobKind::Create => {
            order.provider_request_ref_id = Some("req_open".into());
            order.provider_sync_status = ProviderSyncStatus::InProgress;
            order.attempts = 1;
        }
        OrderJobKind::Cancel => {
            order.status = OrderStatus::Confirmed;
            order.reference = Some("PX0001".into());
            let mut cancellation = cancellation(CancellationStatus::InProgress);
            cancellation.request_ref_id = Some("req_open".into());
            order.cancellation = Some(cancellation);
        }
    }
    order
}

fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap_or_else(|error| panic!("{field}: {error}"))
}

/// The operation of the call that an attempt begins with.
fn operation(begun: Result<Box<BegunCall<OrderJob>>, Attempt>) -> Option<Operation> {
    begun.ok().map(|begun| begun.asked.operation)
}

#[test]
fn a_call_begins_with_its_log_and_a_note_on_the_order() {
    let mut view = view_of(&order(), &[&active_job(OrderJobKind::Create)]);
    let Ok(begun) = decide(&mut view, &begin(OrderJobKind::Create)) else { panic!("no call") };
    let BegunCall { logged, call, asked, prefetch } = *begun;
    assert!(prefetch.is_empty(), "this order costs nothing");
    assert_eq!(asked.operation, Operation::Create);
    assert_eq!(logged.outbound().body.as_ref().expect("a body")["client_order_id"], "ord_1");
    let logs = appended(&view, REQUEST_LOGS);
    assert_eq!(logs.len(), 1);
    for (field, expected) in [
        ("_id", "req_new"),
        ("orderId", "ord_1"),
        ("userId", "usr_1"),
        ("clientOrderId", "c-1001"),
        ("provider", "parcelx"),
        ("operation", "create_order"),
        ("jobId", "job_create"),
        ("workerId", "wrk_1"),
        ("accountId", "parcelx/default"),
        ("method", "POST"),
        ("url", "https://carrier.example/order/create_order"),
        ("correlationId", "rqs_job"),
    ] {
        assert_eq!(text(&logs[0], field), expected, "{field}");
    }
    assert_eq!((logs[0].get_i32("attempt").ok(), logs[0].get_datetime("sentAt").ok()), (Some(1), Some(&NOW)));
    assert_eq!(text(logs[0].get_document("body").expect("a body"), "consignee_name"), "[string 8]");
    assert_eq!(text(logs[0].get_document("headers").expect("headers"), "access-token"), "[credential]");
    let stored = view.by_id::<Order>("ord_1").expect("the order");
    assert_eq!(stored.open_call, Some(call));
    assert_eq!(
        (stored.provider_sync_status, stored.provider_request_ref_id.as_deref(), stored.attempts, stored.updated_at),
        (ProviderSyncStatus::InProgress, Some("req_new"), 1, NOW)
    );
    assert_eq!((appended(&view, RESPONSE_LOGS).len(), event_types(&view).len()), (0, 0));
}

#[test]
fn a_call_that_an_earlier_submission_began_is_left_to_the_next_attempt() {
    for (kind, order) in [
        (OrderJobKind::Create, order()),
        (OrderJobKind::Create, Order { uncertain: Some(uncertain(before_now(60_000))), ..order() }),
        (OrderJobKind::Cancel, Order { open_call: None, ..calling(Operation::Cancel, OrderJobKind::Cancel) }),
    ] {
        let mut view = view_of(&order, &[&active_job(kind)]);
        assert!(decide(&mut view, &begin(kind)).is_ok());
        let stored = view.by_id::<Order>("ord_1").expect("the order");
        assert!(matches!(decide(&mut view, &begin(kind)), Err(Attempt::LeaseLost)), "{kind:?}");
        assert_eq!(appended(&view, REQUEST_LOGS).len(), 1, "{kind:?}: it is logged once");
        assert_eq!(appended(&view, RESPONSE_LOGS).len(), 0, "its own call is not closed");
        assert_eq!(view.by_id::<Order>("ord_1"), Some(stored), "nothing is counted twice");
    }
}

#[test]
fn what_a_cancel_and_a_look_up_note_on_the_order() {
    let confirmed = Order { open_call: None, ..calling(Operation::Cancel, OrderJobKind::Cancel) };
    let mut asked = confirmed.clone();
    asked.cancellation = Some(cancellation(CancellationStatus::Requested));
    let mut view = view_of(&asked, &[&active_job(OrderJobKind::Cancel)]);
    assert_eq!(operation(decide(&mut view, &begin(OrderJobKind::Cancel))), Some(Operation::Cancel));
    let stored = view.by_id::<Order>("ord_1").expect("the order");
    let noted = stored.cancellation.expect("a cancellation");
    assert_eq!((noted.status, noted.request_ref_id.as_deref()), (CancellationStatus::InProgress, Some("req_new")));
    assert_eq!((stored.provider_request_ref_id, stored.attempts), (asked.provider_request_ref_id, asked.attempts));

    let unsure = Order { uncertain: Some(uncertain(before_now(60_000))), attempts: 1, ..order() };
    let mut view = view_of(&unsure, &[&active_job(OrderJobKind::Create)]);
    assert_eq!(operation(decide(&mut view, &begin(OrderJobKind::Create))), Some(Operation::LookUp));
    let stored = view.by_id::<Order>("ord_1").expect("the order");
    assert_eq!(stored.provider_request_ref_id.as_deref(), Some("req_new"));
    assert_eq!(stored.attempts, 1, "a look-up tries to place nothing");
}

#[test]
fn a_call_left_open_by_a_dead_worker_is_closed_first() {
    let since =
        |order: &Order| order.uncertain.as_ref().map(|uncertain| (uncertain.request_ref_id.clone(), uncertain.since));
    let before = Some(("req_lost".to_owned(), before_now(60_000)));
    let now = Some(("req_open".to_owned(), NOW));
    for (open, kind, unsure, (class, doubt, sync, step)) in [
        (
            Operation::Create,
            OrderJobKind::Create,
            false,
            ("unknown", now, ProviderSyncStatus::Unknown, Operation::LookUp),
        ),
        (
            Operation::LookUp,
            OrderJobKind::Create,
            true,
            ("retryable", before, ProviderSyncStatus::InProgress, Operation::LookUp),
        ),
        (
            Operation::Cancel,
            OrderJobKind::Cancel,
            false,
            ("retryable", None, ProviderSyncStatus::Pending, Operation::Cancel),
        ),
    ] {
        let mut left = calling(open, kind);
        left.uncertain = unsure.then(|| uncertain(before_now(60_000)));
        let mut view = view_of(&left, &[&active_job(kind)]);
        assert_eq!(operation(decide(&mut view, &begin(kind))), Some(step), "{open:?}");
        let closing = appended(&view, RESPONSE_LOGS);
        assert_eq!(closing.len(), 1, "{open:?}");
        for (field, expected) in [
            ("_id", "res_closing"),
            ("requestRefId", "req_open"),
            ("operation", open.as_str()),
            ("outcome", class),
            ("errorClass", class),
            ("errorCode", "exchange.no_answer"),
        ] {
            assert_eq!(text(&closing[0], field), expected, "{open:?}");
        }
        for field in ["httpStatus", "body", "awb"] {
            assert_eq!(closing[0].get(field), Some(&Bson::Null), "{open:?} {field}: null, not absent");
        }
        assert_eq!(
            (closing[0].get_i64("latencyMs").ok(), closing[0].get_bool("late").ok()),
            (Some(40_000), Some(false))
        );
        let stored = view.by_id::<Order>("ord_1").expect("the order");
        assert_eq!((since(&stored), stored.provider_sync_status), (doubt, sync), "{open:?}");
        assert_eq!(stored.open_call.map(|call| call.request_ref_id).as_deref(), Some("req_new"), "{open:?}");
    }
}

#[test]
fn without_the_lease_nothing_begins() {
    let held = active_job(OrderJobKind::Create);
    let of_another = Some("lease-2".to_owned());
    let ended = |ended_by| Job { state: JobState::Done, lease_token: None, ended_by, ..held.clone() };
    for (name, job) in [
        ("gone", None),
        ("given back", Some(Job { state: JobState::Ready, lease_token: None, ..held.clone() })),
        ("taken over", Some(Job { lease_token: of_another.clone(), ..held.clone() })),
        ("ended by another", Some(ended(of_another.clone()))),
        ("ended by itself", Some(ended(Some(TOKEN.into())))),
    ] {
        let left = calling(Operation::Create, OrderJobKind::Create);
        let mut view = view_of(&left, &job.iter().collect::<Vec<_>>());
        assert!(matches!(decide(&mut view, &begin(OrderJobKind::Create)), Err(Attempt::LeaseLost)), "{name}");
        assert_eq!((view.by_id::<Order>("ord_1"), find_job(&view, "job_create")), (Some(left), job), "{name}");
        let written = [REQUEST_LOGS, RESPONSE_LOGS].map(|logs| appended(&view, logs).len());
        assert_eq!((written, event_types(&view).len()), ([0, 0], 0), "{name}");
    }
}

#[test]
fn attempts_that_need_no_call_end_at_once() {
    use CancellationStatus::{Done, Refused, Requested};
    let asked = |status| Order { status, cancellation: Some(cancellation(Requested)), ..order() };
    let (cancelled, refused) = (Some("OrderCancelled"), Some("CancellationRefused"));
    for (name, kind, order, (job, status, cancellation, event)) in [
        (
            "called off",
            OrderJobKind::Create,
            asked(OrderStatus::Created),
            (JobState::Done, OrderStatus::Cancelled, Some(Done), cancelled),
        ),
        (
            "placed already",
            OrderJobKind::Create,
            Order { status: OrderStatus::Confirmed, ..order() },
            (JobState::Done, OrderStatus::Confirmed, None, None),
        ),
        (
            "not to be cancelled any more",
            OrderJobKind::Cancel,
            asked(OrderStatus::Failed),
            (JobState::Dead, OrderStatus::Failed, Some(Refused), refused),
        ),
        (
            "nothing asked",
            OrderJobKind::Cancel,
            Order { status: OrderStatus::Confirmed, ..order() },
            (JobState::Done, OrderStatus::Confirmed, None, None),
        ),
    ] {
        let mut view = view_of(&order, &[&active_job(kind)]);
        assert!(matches!(decide(&mut view, &begin(kind)), Err(Attempt::Settled)), "{name}");
        let stored = view.by_id::<Order>("ord_1").expect("the order");
        let ended = find_job(&view, &active_job(kind).id).expect("the job");
        assert_eq!((ended.state, ended.ended_by.as_deref(), stored.status), (job, Some(TOKEN), status), "{name}");
        assert_eq!(stored.cancellation.map(|cancellation| cancellation.status), cancellation, "{name}");
        assert_eq!(event_types(&view), event.into_iter().collect::<Vec<_>>(), "{name}");
        assert_eq!(appended(&view, REQUEST_LOGS).len(), 0, "{name}");
        // A second submission finds its own end.
        assert!(matches!(decide(&mut view, &begin(kind)), Err(Attempt::LeaseLost)), "{name}");
        assert_eq!(event_types(&view).len(), usize::from(event.is_some()), "{name}");
    }
}

#[test]
fn a_job_without_its_order_is_dead() {
    let mut view = View::new(NOW);
    view.put_read(&active_job(OrderJobKind::Create));
    assert!(matches!(decide(&mut view, &begin(OrderJobKind::Create)), Err(Attempt::Settled)));
    let job = find_job(&view, "job_create").expect("the job");
    assert_eq!((job.state, job.last_error.map(|error| error.code).as_deref()), (JobState::Dead, Some("orders.gone")));
}

#[test]
fn a_shipment_without_a_number_is_not_cancelled_by_guess() {
    let step = |operation| order_job(OrderJobKind::Cancel).outbound(&order(), operation);
    assert!(step(Operation::Cancel).is_none() && step(Operation::LookUp).is_some());
}

fn concluded(kind: OrderJobKind, (asked, outcome): Said) -> CallConcluded<OrderJob> {
    CallConcluded {
        call_job: order_job(kind),
        subject_id: "ord_1".into(),
        call: call(asked, kind),
        asked: OrderCall { operation: asked, reference: None, is_page: false },
        prefetch: Vec::new(),
        record: ResponseRecord { http_status: Some(200), headers: doc! {}, body: Bson::Null, latency_ms: 12 },
        outcome,
        response_id: "res_new".into(),
        event_id: "evt_1".into(),
        jitter: 0.0,
    }
}

fn accepted() -> Said {
    (Operation::Create, Outcome::Done(AtProvider::Placed(placed(false))))
}

#[test]
fn an_answer_is_written_with_what_follows_from_it() {
    let mut view = view_of(&calling(Operation::Create, OrderJobKind::Create), &[]);
    let ended = concluded(OrderJobKind::Create, accepted()).conclude(&mut view, &active_job(OrderJobKind::Create));
    assert_eq!((ended.end.as_str(), ended.wake), ("done", Vec::new()));
    let stored = view.by_id::<Order>("ord_1").expect("the order");
    assert_eq!((stored.status, stored.provider_sync_status), (OrderStatus::Confirmed, ProviderSyncStatus::Synced));
    assert_eq!((stored.open_call, stored.provider_response_ref_id.as_deref()), (None, Some("res_new")));
    let courier_name = Some("Delhivery".into());
    assert_eq!(stored.reference.as_deref(), Some("PX0001"));
    assert_eq!(stored.refs, ProviderRefs { courier_name, provider_order_id: Some("77".into()) });
    let logs = appended(&view, RESPONSE_LOGS);
    assert_eq!(logs.len(), 1);
    for (field, expected) in [("_id", "res_new"), ("requestRefId", "req_open"), ("outcome", "done"), ("awb", "PX0001")]
    {
        assert_eq!(text(&logs[0], field), expected, "{field}");
    }
    assert_eq!((logs[0].get_bool("late").ok(), logs[0].get_i64("latencyMs").ok()), (Some(false), Some(12)));
    assert_eq!(event_types(&view), ["OrderConfirmed"]);
}

#[test]
fn the_end_of_a_create_starts_the_cancel_that_waits_for_it() {
    for (said, end) in [(accepted(), "done"), ((Operation::Create, Outcome::Unauthorized(failure())), "dead")] {
        let mut waiting = calling(Operation::Create, OrderJobKind::Create);
        waiting.cancellation = Some(cancellation(CancellationStatus::Requested));
        let mut view = view_of(&waiting, &[]);
        let ended = concluded(OrderJobKind::Create, said).conclude(&mut view, &active_job(OrderJobKind::Create));
        assert_eq!((ended.end.as_str(), ended.wake), (end, vec!["parcelx-order-cancellation-queue"]));
        let started = find_job(&view, "job_1").expect("the cancel job");
        assert_eq!(
            (&*started.queue, &*started.correlation_id, started.run_at),
            ("parcelx-order-cancellation-queue", "rqs_cancel", NOW)
        );
        let noted = view.by_id::<Order>("ord_1").and_then(|order| order.cancellation).expect("a cancellation");
        assert_eq!((noted.status, noted.job_id.as_deref()), (CancellationStatus::Requested, Some("job_1")));
    }
}

/// The view of a cancel job, of an order that was given up and whose create has left a dead job.
fn given_up() -> (View, Job) {
    let mut order = calling(Operation::LookUp, OrderJobKind::Cancel);
    order.status = OrderStatus::NeedsAttention;
    order.reference = None;
    let error = JobError::new("unknown", "provider.server_error", "Answered 500.");
    let dead = Job { state: JobState::Dead, last_error: Some(error), ..active_job(OrderJobKind::Create) };
    assert_eq!(order_job(OrderJobKind::Cancel).prefetch(&order), [Key::id("jobs", &*dead.id)]);
    (view_of(&order, &[&dead]), dead)
}

#[test]
fn a_cancel_that_finds_out_what_became_of_a_create_settles_its_dead_job() {
    for (found, status) in [
        (AtProvider::Placed(placed(false)), OrderStatus::Confirmed),
        (AtProvider::Placed(placed(true)), OrderStatus::Cancelled),
        (AtProvider::Absent, OrderStatus::Cancelled),
    ] {
        let (mut view, dead) = given_up();
        let said = (Operation::LookUp, Outcome::Done(found));
        let _ = concluded(OrderJobKind::Cancel, said).conclude(&mut view, &active_job(OrderJobKind::Cancel));
        assert_eq!(view.by_id::<Order>("ord_1").expect("the order").status, status);
        let create = find_job(&view, &dead.id).expect("the create's job");
        assert_eq!((create.state, create.last_error), (JobState::Done, None), "{status:?}");
    }
    let (mut view, dead) = given_up();
    let said = (Operation::LookUp, Outcome::Unauthorized(failure()));
    let _ = concluded(OrderJobKind::Cancel, said).conclude(&mut view, &active_job(OrderJobKind::Cancel));
    assert_eq!(find_job(&view, &dead.id), Some(dead), "nobody knows");
}

#[test]
fn a_failed_look_up_keeps_the_reason_of_a_refused_cancel() {
    let refusal =
        StoredFailure { class: ErrorClass::Fatal, code: "provider.refused".into(), message: "Too late.".into() };
    let mut order = calling(Operation::LookUp, OrderJobKind::Cancel);
    order.cancellation.iter_mut().for_each(|cancellation| cancellation.failure = Some(refusal.clone()));
    let mut view = view_of(&order, &[]);
    let said = (Operation::LookUp, Outcome::Unauthorized(failure()));
    let ended = concluded(OrderJobKind::Cancel, said).conclude(&mut view, &active_job(OrderJobKind::Cancel));
    assert!(matches!(ended.end, JobEnd::Dead { error } if error.code == failure().code), "operators see both");
    let noted = view.by_id::<Order>("ord_1").and_then(|order| order.cancellation).expect("a cancellation");
    assert_eq!((noted.status, noted.failure), (CancellationStatus::NeedsAttention, Some(refusal)));
}

#[test]
fn an_order_that_is_counted_binds_its_job_to_the_account_with_its_call() {
    for (binds, route) in [(false, "parcelx"), (true, "parcelx/default")] {
        let job = Job { route: "parcelx".into(), ..active_job(OrderJobKind::Create) };
        let mut view = view_of(&order(), &[&job]);
        assert!(decide(&mut view, &BeginAttempt { binds, ..begin(OrderJobKind::Create) }).is_ok());
        assert_eq!(find_job(&view, &job.id).expect("the job").route, route);
    }
}

#[test]
fn an_answer_is_linked_where_its_request_is_and_closes_no_other_call() {
    let mut view = view_of(&calling(Operation::Cancel, OrderJobKind::Cancel), &[]);
    let cancelled = || concluded(OrderJobKind::Cancel, (Operation::Cancel, Outcome::Done(AtProvider::Cancelled)));
    let _ = cancelled().conclude(&mut view, &active_job(OrderJobKind::Cancel));
    let stored = view.by_id::<Order>("ord_1").expect("the order");
    assert_eq!((stored.open_call, stored.provider_response_ref_id), (None, None));
    assert_eq!(stored.cancellation.and_then(|cancellation| cancellation.response_ref_id).as_deref(), Some("res_new"));

    let mut other = calling(Operation::Cancel, OrderJobKind::Cancel);
    if let Some(call) = &mut other.open_call {
        call.request_ref_id = "req_other".into();
    }
    let mut view = view_of(&other, &[]);
    let _ = cancelled().conclude(&mut view, &active_job(OrderJobKind::Cancel));
    assert_eq!(view.by_id::<Order>("ord_1").and_then(|order| order.open_call), other.open_call);
}

#[test]
fn a_late_answer_is_kept_as_late_and_changes_nothing_else() {
    let order = Order {
        uncertain: Some(Uncertain { request_ref_id: "req_open".into(), since: NOW, last: false, refusal: None }),
        ..order()
    };
    let job = Job { lease_token: Some("lease-2".into()), ..active_job(OrderJobKind::Create) };
    let mut view = view_of(&order, &[&job]);
    let late = concluded(OrderJobKind::Create, accepted());
    late.conclude_late(&mut view);
    let logs = appended(&view, RESPONSE_LOGS);
    assert_eq!(logs.len(), 1);
    assert_eq!((text(&logs[0], "_id"), logs[0].get_bool("late").ok()), ("res_new", Some(true)));
    assert_eq!((view.by_id::<Order>("ord_1"), find_job(&view, "job_create")), (Some(order), Some(job)));
    assert_eq!((event_types(&view).len(), find_job(&view, "job_1")), (0, None));
}

#[test]
fn a_late_answer_that_is_on_record_is_not_written_again() {
    let late = concluded(OrderJobKind::Create, (Operation::Create, Outcome::Unknown(failure())));
    let on_record = ProviderResponseLog::new("res_new".into(), &late.call, &late.record, late.verdict(), NOW);
    let mut view = View::new(NOW);
    view.put_read(&on_record);
    late.conclude_late(&mut view);
    assert_eq!(appended(&view, RESPONSE_LOGS).len(), 0);
}

#[test]
fn an_answer_about_an_order_that_is_gone_is_kept() {
    let gone = concluded(OrderJobKind::Create, (Operation::LookUp, Outcome::Done(AtProvider::Absent)));
    let mut view = View::new(NOW);
    assert_eq!(gone.conclude(&mut view, &active_job(OrderJobKind::Create)).end.as_str(), "dead");
    assert_eq!(appended(&view, RESPONSE_LOGS).len(), 1);
}

#[test]
fn an_attempt_that_broke_off_closes_its_call_and_is_counted() {
    use OrderStatus::{Cancelled, Confirmed, Created, NeedsAttention};
    let error = JobError::new("panic", "queue.panic", "index out of bounds");
    let gave_up = Some("OrderNeedsAttention");
    let stuck = Some("CancellationNeedsAttention");
    for (kind, open, last, asked, (status, sync, end, event, cancel_job)) in [
        (OrderJobKind::Create, true, false, false, (Created, ProviderSyncStatus::Unknown, "retry", None, false)),
        (OrderJobKind::Create, false, false, false, (Created, ProviderSyncStatus::InProgress, "retry", None, false)),
        (OrderJobKind::Create, true, true, false, (NeedsAttention, ProviderSyncStatus::Failed, "dead", gave_up, false)),
        (OrderJobKind::Create, true, true, true, (NeedsAttention, ProviderSyncStatus::Failed, "dead", gave_up, true)),
        // Nothing was sent: the cancellation that waits for it needs no call.
        (
            OrderJobKind::Create,
            false,
            true,
            true,
            (Cancelled, ProviderSyncStatus::Synced, "done", Some("OrderCancelled"), false),
        ),
        (OrderJobKind::Cancel, true, false, true, (Confirmed, ProviderSyncStatus::Pending, "retry", None, false)),
        (OrderJobKind::Cancel, true, true, true, (Confirmed, ProviderSyncStatus::Pending, "dead", stuck, false)),
    ] {
        let case = format!("{kind:?}, open: {open}, last: {last}, asked: {asked}");
        let operation = if kind == OrderJobKind::Create { Operation::Create } else { Operation::Cancel };
        let mut broken = calling(operation, kind);
        if !open {
            broken.open_call = None;
        }
        if asked && kind == OrderJobKind::Create {
            broken.cancellation = Some(cancellation(CancellationStatus::Requested));
        }
        let mut view = view_of(&broken, &[]);
        let failed = AttemptFailed {
            call_job: order_job(kind),
            subject_id: "ord_1".into(),
            error: error.clone(),
            worker_id: "wrk_1".into(),
            closing_response_id: "res_closing".into(),
            event_id: "evt_1".into(),
            jitter: 1.0,
        };
        let ended = failed.conclude(&mut view, &job_in(kind, last, false));
        assert_eq!(ended.end.as_str(), end, "{case}");
        if let JobEnd::Retry { at, error: why, counts } = ended.end {
            assert_eq!((at, why.as_ref(), counts), (before_now(-2_000), Some(&error), true), "{case}");
        }
        let stored = view.by_id::<Order>("ord_1").expect("the order");
        assert_eq!((stored.status, stored.provider_sync_status, &stored.open_call), (status, sync, &None), "{case}");
        assert_eq!(stored.uncertain.is_some(), open && kind == OrderJobKind::Create, "{case}");
        assert_eq!(
            stored.failure.map(|failure| failure.class),
            (event == gave_up).then_some(ErrorClass::Unknown),
            "{case}"
        );
        assert_eq!(appended(&view, RESPONSE_LOGS).len(), usize::from(open), "{case}");
        assert_eq!(
            (event_types(&view).first().map(String::as_str), !ended.wake.is_empty()),
            (event, cancel_job),
            "{case}"
        );
        assert_eq!(find_job(&view, "job_1").is_some(), cancel_job, "{case}");
    }
}
