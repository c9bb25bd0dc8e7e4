//! How attempts begin and end, decided over a view without a database.

use std::sync::Arc;

use bson::{Bson, Document, doc};

use super::{
    CANCEL_QUEUE, OrderQueues, SETTLING_DELAY,
    attempt::{AttemptFailed, BeginAttempt, Begun, BegunCall, CallConcluded},
    commands_tests::{appended, decide, event_types, find_job, view_of},
    flow::{Errand, Outcome},
    flow_tests::{NOW, TOKEN, active_job, before_now, cancellation, failure, order, placed, uncertain},
    model::{CancellationStatus, Order, OrderStatus, ProviderRefs, ProviderSyncStatus, Uncertain},
};
use crate::{
    modules::{
        audit::{Call, ErrorClass, REQUEST_LOGS, RESPONSE_LOGS, Verdict},
        providers::{CancelOutcome, CreateOutcome, LookUpOutcome, Operation, parcelx::ParcelX},
        queue::{Conclusion, Job, JobEnd, JobError, JobState},
    },
    platform::{batch::View, exchange::ResponseRecord},
};

fn begin(errand: Errand) -> BeginAttempt {
    let keys = ["access", "secret"].map(|key| key.to_owned().into());
    BeginAttempt {
        order_id: "ord_1".into(),
        errand,
        job_id: active_job(errand).id,
        token: TOKEN.into(),
        worker_id: "wrk_1".into(),
        provider: Arc::new(ParcelX::new("https://carrier.example", &keys[0], &keys[1])),
        queues: OrderQueues::default(),
        request_ref_id: "req_new".into(),
        closing_response_id: "res_closing".into(),
        cancel_job_id: "job_cancel_new".into(),
        event_id: "evt_1".into(),
    }
}

fn call(operation: Operation, errand: Errand) -> Call {
    Call {
        request_ref_id: "req_open".into(),
        order_id: Some("ord_1".into()),
        user_id: "usr_1".into(),
        client_order_id: Some("c-1001".into()),
        resource_id: None,
        provider: "parcelx".into(),
        operation: operation.as_str().into(),
        attempt: 1,
        job_id: active_job(errand).id,
        worker_id: "wrk_1".into(),
        account_id: "parcelx/default".into(),
        correlation_id: "rqs_job".into(),
        sent_at: before_now(40_000),
    }
}

/// An order whose call is under way, as [`BeginAttempt`] leaves it.
fn calling(operation: Operation, errand: Errand) -> Order {
    let mut order = Order { open_call: Some(call(operation, errand)), ..order() };
    match errand {
        Errand::Create => {
            order.provider_request_ref_id = Some("req_open".into());
            order.provider_sync_status = ProviderSyncStatus::InProgress;
            order.attempts = 1;
        }
        Errand::Cancel => {
            order.status = OrderStatus::Confirmed;
            order.refs.awb = Some("PX0001".into());
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
fn operation(begun: Begun) -> Option<Operation> {
    match begun {
        Begun::Call(begun) => Some(begun.operation),
        Begun::Settled | Begun::LeaseLost => None,
    }
}

#[test]
fn a_call_begins_with_its_log_and_a_note_on_the_order() {
    let mut view = view_of(&order(), &[&active_job(Errand::Create)]);
    let Begun::Call(begun) = decide(&mut view, &begin(Errand::Create)) else { panic!("no call") };
    let BegunCall { logged, call, operation, order_created_at, charge } = *begun;
    assert!(charge.is_none(), "this order costs nothing");
    assert_eq!((operation, order_created_at), (Operation::Create, before_now(60_000)));
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
fn a_transaction_that_was_committed_after_all_gives_the_same_call_again() {
    for (errand, order) in [
        (Errand::Create, order()),
        (Errand::Create, Order { uncertain: Some(uncertain(before_now(60_000))), ..order() }),
        (Errand::Cancel, Order { open_call: None, ..calling(Operation::Cancel, Errand::Cancel) }),
    ] {
        let mut view = view_of(&order, &[&active_job(errand)]);
        let Begun::Call(begun) = decide(&mut view, &begin(errand)) else { panic!("no call") };
        let BegunCall { call, operation, .. } = *begun;
        let stored = view.by_id::<Order>("ord_1").expect("the order");
        let Begun::Call(again) = decide(&mut view, &begin(errand)) else { panic!("no call the second time") };
        assert_eq!((&again.call, again.operation), (&call, operation));
        assert_eq!(again.logged.outbound().operation, operation.as_str());
        assert_eq!(appended(&view, REQUEST_LOGS).len(), 1, "{operation:?} is logged once");
        assert_eq!(appended(&view, RESPONSE_LOGS).len(), 0, "its own call is not closed");
        assert_eq!(view.by_id::<Order>("ord_1"), Some(stored), "nothing is counted twice");
    }
}

#[test]
fn what_a_cancel_and_a_look_up_note_on_the_order() {
    let confirmed = Order { open_call: None, ..calling(Operation::Cancel, Errand::Cancel) };
    let mut asked = confirmed.clone();
    asked.cancellation = Some(cancellation(CancellationStatus::Requested));
    let mut view = view_of(&asked, &[&active_job(Errand::Cancel)]);
    assert_eq!(operation(decide(&mut view, &begin(Errand::Cancel))), Some(Operation::Cancel));
    let stored = view.by_id::<Order>("ord_1").expect("the order");
    let noted = stored.cancellation.expect("a cancellation");
    assert_eq!((noted.status, noted.request_ref_id.as_deref()), (CancellationStatus::InProgress, Some("req_new")));
    assert_eq!((stored.provider_request_ref_id, stored.attempts), (asked.provider_request_ref_id, asked.attempts));

    let unsure = Order { uncertain: Some(uncertain(before_now(60_000))), attempts: 1, ..order() };
    let mut view = view_of(&unsure, &[&active_job(Errand::Create)]);
    assert_eq!(operation(decide(&mut view, &begin(Errand::Create))), Some(Operation::LookUp));
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
    for (open, errand, unsure, (class, doubt, sync, step)) in [
        (Operation::Create, Errand::Create, false, ("unknown", now, ProviderSyncStatus::Unknown, Operation::LookUp)),
        (
            Operation::LookUp,
            Errand::Create,
            true,
            ("retryable", before, ProviderSyncStatus::InProgress, Operation::LookUp),
        ),
        (Operation::Cancel, Errand::Cancel, false, ("retryable", None, ProviderSyncStatus::Pending, Operation::Cancel)),
    ] {
        let mut left = calling(open, errand);
        left.uncertain = unsure.then(|| uncertain(before_now(60_000)));
        let mut view = view_of(&left, &[&active_job(errand)]);
        assert_eq!(operation(decide(&mut view, &begin(errand))), Some(step), "{open:?}");
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
    let held = active_job(Errand::Create);
    let of_another = Some("lease-2".to_owned());
    for (name, job, settled) in [
        ("gone", None, false),
        ("given back", Some(Job { state: JobState::Ready, lease_token: None, ..held.clone() }), false),
        ("taken over", Some(Job { lease_token: of_another.clone(), ..held.clone() }), false),
        (
            "ended by another",
            Some(Job { state: JobState::Done, lease_token: None, ended_by: of_another, ..held.clone() }),
            false,
        ),
        (
            "ended by itself",
            Some(Job { state: JobState::Done, lease_token: None, ended_by: Some(TOKEN.into()), ..held }),
            true,
        ),
    ] {
        let left = calling(Operation::Create, Errand::Create);
        let mut view = view_of(&left, &job.iter().collect::<Vec<_>>());
        let begun = decide(&mut view, &begin(Errand::Create));
        assert_eq!(matches!(begun, Begun::Settled), settled, "{name}");
        assert_eq!(matches!(begun, Begun::LeaseLost), !settled, "{name}");
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
    for (name, errand, order, (job, status, cancellation, event)) in [
        (
            "called off",
            Errand::Create,
            asked(OrderStatus::Created),
            (JobState::Done, OrderStatus::Cancelled, Some(Done), cancelled),
        ),
        (
            "placed already",
            Errand::Create,
            Order { status: OrderStatus::Confirmed, ..order() },
            (JobState::Done, OrderStatus::Confirmed, None, None),
        ),
        (
            "not to be cancelled any more",
            Errand::Cancel,
            asked(OrderStatus::Failed),
            (JobState::Dead, OrderStatus::Failed, Some(Refused), refused),
        ),
        (
            "nothing asked",
            Errand::Cancel,
            Order { status: OrderStatus::Confirmed, ..order() },
            (JobState::Done, OrderStatus::Confirmed, None, None),
        ),
    ] {
        let mut view = view_of(&order, &[&active_job(errand)]);
        assert!(matches!(decide(&mut view, &begin(errand)), Begun::Settled), "{name}");
        let stored = view.by_id::<Order>("ord_1").expect("the order");
        let ended = find_job(&view, &active_job(errand).id).expect("the job");
        assert_eq!((ended.state, ended.ended_by.as_deref(), stored.status), (job, Some(TOKEN), status), "{name}");
        assert_eq!(stored.cancellation.map(|cancellation| cancellation.status), cancellation, "{name}");
        assert_eq!(event_types(&view), event.into_iter().collect::<Vec<_>>(), "{name}");
        assert_eq!(appended(&view, REQUEST_LOGS).len(), 0, "{name}");
        // The transaction runs again and finds its own end.
        assert!(matches!(decide(&mut view, &begin(errand)), Begun::Settled), "{name}");
        assert_eq!(event_types(&view).len(), usize::from(event.is_some()), "{name}");
    }
}

#[test]
fn a_job_without_its_order_is_dead() {
    let mut view = View::new(NOW);
    view.put_read(&active_job(Errand::Create));
    assert!(matches!(decide(&mut view, &begin(Errand::Create)), Begun::Settled));
    let job = find_job(&view, "job_create").expect("the job");
    assert_eq!((job.state, job.last_error.map(|error| error.code).as_deref()), (JobState::Dead, Some("orders.gone")));
}

fn concluded(errand: Errand, operation: Operation, outcome: Outcome) -> CallConcluded {
    CallConcluded {
        charge: None,
        order_id: "ord_1".into(),
        errand,
        call: call(operation, errand),
        record: ResponseRecord { http_status: Some(200), headers: doc! {}, body: Bson::Null, latency_ms: 12 },
        outcome,
        verdict: Verdict {
            outcome: "tested",
            error_class: None,
            error_code: None,
            error_message: None,
            awb: Some("PX0001".into()),
        },
        response_id: "res_new".into(),
        cancel_job_id: "job_cancel_new".into(),
        event_id: "evt_1".into(),
        jitter: 0.0,
        settling_delay: SETTLING_DELAY,
        queues: OrderQueues::default(),
    }
}

#[test]
fn an_answer_is_written_with_what_follows_from_it() {
    let mut view = view_of(&calling(Operation::Create, Errand::Create), &[]);
    let outcome = Outcome::Create(CreateOutcome::Placed(placed(false)));
    let ended = concluded(Errand::Create, Operation::Create, outcome).conclude(&mut view, &active_job(Errand::Create));
    assert_eq!((ended.end.as_str(), ended.wake), ("done", None));
    let stored = view.by_id::<Order>("ord_1").expect("the order");
    assert_eq!((stored.status, stored.provider_sync_status), (OrderStatus::Confirmed, ProviderSyncStatus::Synced));
    assert_eq!((stored.open_call, stored.provider_response_ref_id.as_deref()), (None, Some("res_new")));
    let courier_name = Some("Delhivery".into());
    assert_eq!(
        stored.refs,
        ProviderRefs { awb: Some("PX0001".into()), courier_name, provider_order_id: Some("77".into()) }
    );
    let logs = appended(&view, RESPONSE_LOGS);
    assert_eq!(logs.len(), 1);
    for (field, expected) in
        [("_id", "res_new"), ("requestRefId", "req_open"), ("outcome", "tested"), ("awb", "PX0001")]
    {
        assert_eq!(text(&logs[0], field), expected, "{field}");
    }
    assert_eq!((logs[0].get_bool("late").ok(), logs[0].get_i64("latencyMs").ok()), (Some(false), Some(12)));
    assert_eq!(event_types(&view), ["OrderConfirmed"]);
}

#[test]
fn the_end_of_a_create_starts_the_cancel_that_waits_for_it() {
    for (outcome, last, kind) in
        [(CreateOutcome::Placed(placed(false)), false, "done"), (CreateOutcome::Unauthorized(failure()), false, "dead")]
    {
        let mut waiting = calling(Operation::Create, Errand::Create);
        waiting.cancellation = Some(cancellation(CancellationStatus::Requested));
        let mut view = view_of(&waiting, &[]);
        let job = super::flow_tests::job_in(Errand::Create, last, false);
        let ended = concluded(Errand::Create, Operation::Create, Outcome::Create(outcome)).conclude(&mut view, &job);
        assert_eq!((ended.end.as_str(), ended.wake), (kind, Some(CANCEL_QUEUE)));
        let started = find_job(&view, "job_cancel_new").expect("the cancel job");
        assert_eq!((&*started.queue, &*started.correlation_id, started.run_at), (CANCEL_QUEUE, "rqs_cancel", NOW));
        let noted = view.by_id::<Order>("ord_1").and_then(|order| order.cancellation).expect("a cancellation");
        assert_eq!((noted.status, noted.job_id.as_deref()), (CancellationStatus::Requested, Some("job_cancel_new")));
    }
}

#[test]
fn an_answer_is_linked_where_its_request_is_and_closes_no_other_call() {
    let mut view = view_of(&calling(Operation::Cancel, Errand::Cancel), &[]);
    let outcome = || Outcome::Cancel(CancelOutcome::Cancelled);
    let _ = concluded(Errand::Cancel, Operation::Cancel, outcome()).conclude(&mut view, &active_job(Errand::Cancel));
    let stored = view.by_id::<Order>("ord_1").expect("the order");
    assert_eq!((stored.open_call, stored.provider_response_ref_id), (None, None));
    assert_eq!(stored.cancellation.and_then(|cancellation| cancellation.response_ref_id).as_deref(), Some("res_new"));

    let mut other = calling(Operation::Cancel, Errand::Cancel);
    if let Some(call) = &mut other.open_call {
        call.request_ref_id = "req_other".into();
    }
    let mut view = view_of(&other, &[]);
    let _ = concluded(Errand::Cancel, Operation::Cancel, outcome()).conclude(&mut view, &active_job(Errand::Cancel));
    assert_eq!(view.by_id::<Order>("ord_1").and_then(|order| order.open_call), other.open_call);
}

#[test]
fn a_late_answer_is_kept_as_late_and_changes_nothing_else() {
    let order =
        Order { uncertain: Some(Uncertain { request_ref_id: "req_open".into(), since: NOW, last: false }), ..order() };
    let job = Job { lease_token: Some("lease-2".into()), ..active_job(Errand::Create) };
    let mut view = view_of(&order, &[&job]);
    let outcome = Outcome::Create(CreateOutcome::Placed(placed(false)));
    let late = concluded(Errand::Create, Operation::Create, outcome);
    late.conclude_late(&mut view);
    let logs = appended(&view, RESPONSE_LOGS);
    assert_eq!(logs.len(), 1);
    assert_eq!((text(&logs[0], "_id"), logs[0].get_bool("late").ok()), ("res_new", Some(true)));
    assert_eq!((view.by_id::<Order>("ord_1"), find_job(&view, "job_create")), (Some(order), Some(job)));
    assert_eq!((event_types(&view).len(), find_job(&view, "job_cancel_new")), (0, None));
}

#[test]
fn a_late_answer_that_is_on_record_is_not_written_again() {
    let late = concluded(Errand::Create, Operation::Create, Outcome::Create(CreateOutcome::Unknown(failure())));
    let on_record = crate::modules::audit::ProviderResponseLog::new(
        "res_new".into(),
        &late.call,
        &late.record,
        late.verdict.clone(),
        NOW,
    );
    let mut view = View::new(NOW);
    view.put_read(&on_record);
    late.conclude_late(&mut view);
    assert_eq!(appended(&view, RESPONSE_LOGS).len(), 0);
}

#[test]
fn an_answer_about_an_order_that_is_gone_is_kept() {
    let gone = concluded(Errand::Create, Operation::LookUp, Outcome::LookUp(LookUpOutcome::Absent));
    let mut view = View::new(NOW);
    gone.reads().into_iter().for_each(|key| view.put_absent(key));
    assert_eq!(gone.conclude(&mut view, &active_job(Errand::Create)).end.as_str(), "dead");
    assert_eq!(appended(&view, RESPONSE_LOGS).len(), 1);
}

#[test]
fn an_attempt_that_broke_off_closes_its_call_and_is_counted() {
    use OrderStatus::{Confirmed, Created, NeedsAttention};
    let error = JobError::new("panic", "queue.panic", "index out of bounds");
    let gave_up = Some("OrderNeedsAttention");
    let stuck = Some("CancellationNeedsAttention");
    for (errand, open, last, asked, (status, sync, end, event, cancel_job)) in [
        (Errand::Create, true, false, false, (Created, ProviderSyncStatus::Unknown, "retry", None, false)),
        (Errand::Create, false, false, false, (Created, ProviderSyncStatus::InProgress, "retry", None, false)),
        (Errand::Create, true, true, false, (NeedsAttention, ProviderSyncStatus::Failed, "dead", gave_up, false)),
        (Errand::Create, true, true, true, (NeedsAttention, ProviderSyncStatus::Failed, "dead", gave_up, true)),
        (Errand::Cancel, true, false, true, (Confirmed, ProviderSyncStatus::Pending, "retry", None, false)),
        (Errand::Cancel, true, true, true, (Confirmed, ProviderSyncStatus::Pending, "dead", stuck, false)),
    ] {
        let case = format!("{errand:?}, open: {open}, last: {last}, asked: {asked}");
        let operation = if errand == Errand::Create { Operation::Create } else { Operation::Cancel };
        let mut broken = calling(operation, errand);
        if !open {
            broken.open_call = None;
        }
        if asked && errand == Errand::Create {
            broken.cancellation = Some(cancellation(CancellationStatus::Requested));
        }
        let mut view = view_of(&broken, &[]);
        let failed = AttemptFailed {
            order_id: "ord_1".into(),
            errand,
            error: error.clone(),
            worker_id: "wrk_1".into(),
            closing_response_id: "res_closing".into(),
            cancel_job_id: "job_cancel_new".into(),
            event_id: "evt_1".into(),
            jitter: 1.0,
            queues: OrderQueues::default(),
        };
        let ended = failed.conclude(&mut view, &super::flow_tests::job_in(errand, last, false));
        assert_eq!(ended.end.as_str(), end, "{case}");
        if let JobEnd::Retry { at, error: why, counts } = ended.end {
            assert_eq!((at, why.as_ref(), counts), (before_now(-2_000), Some(&error), true), "{case}");
        }
        let stored = view.by_id::<Order>("ord_1").expect("the order");
        assert_eq!((stored.status, stored.provider_sync_status, &stored.open_call), (status, sync, &None), "{case}");
        assert_eq!(stored.uncertain.is_some(), open && errand == Errand::Create, "{case}");
        assert_eq!(
            stored.failure.map(|failure| failure.class),
            (event == gave_up).then_some(ErrorClass::Unknown),
            "{case}"
        );
        assert_eq!(appended(&view, RESPONSE_LOGS).len(), usize::from(open), "{case}");
        assert_eq!(
            (event_types(&view).first().map(String::as_str), ended.wake.is_some()),
            (event, cancel_job),
            "{case}"
        );
        assert_eq!(find_job(&view, "job_cancel_new").is_some(), cancel_job, "{case}");
    }
}
