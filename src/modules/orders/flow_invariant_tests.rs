//! Invariants of every order, whatever is answered: over all states and outcomes.

use std::time::Duration;

use bson::doc;

use super::{
    SETTLING_DELAY,
    flow::*,
    flow_tests::*,
    model::{CancellationStatus, Order, OrderStatus, ProviderSyncStatus},
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        audit::ErrorClass,
        providers::{AttemptDecision, Operation, Outcome, Placed, Retry, StoredFailure, Timing, call_job::NextStep},
        queue::{JobEnd, JobError},
    },
    platform::clock::after,
};

const KINDS: [OrderJobKind; 2] = [OrderJobKind::Create, OrderJobKind::Cancel];
const ASKED: [Option<CancellationStatus>; 6] = [
    None,
    Some(CancellationStatus::Requested),
    Some(CancellationStatus::InProgress),
    Some(CancellationStatus::Done),
    Some(CancellationStatus::Refused),
    Some(CancellationStatus::NeedsAttention),
];
const SYNCS: [ProviderSyncStatus; 6] = [
    ProviderSyncStatus::Pending,
    ProviderSyncStatus::InProgress,
    ProviderSyncStatus::Retrying,
    ProviderSyncStatus::Unknown,
    ProviderSyncStatus::Synced,
    ProviderSyncStatus::Failed,
];

/// Every combination of what a decision looks at, also those that never come about.
fn every_order() -> Vec<Order> {
    let mut all = Vec::new();
    for status in OrderStatus::ALL {
        for asked in ASKED {
            for since in [None, Some(before_now(60_000)), Some(before_now(1_000))] {
                for awb in [None, Some("PX0001".to_owned())] {
                    let mut order = Order { status, cancellation: asked.map(cancellation), ..order() };
                    order.uncertain = since.map(uncertain);
                    order.reference = awb;
                    let refused = StoredFailure { class: ErrorClass::Fatal, code: "a.b".into(), message: "c".into() };
                    let mut with_refusal = order.clone();
                    with_refusal.cancellation.iter_mut().for_each(|it| it.failure = Some(refused.clone()));
                    all.extend([order, with_refusal]);
                }
            }
        }
    }
    all
}

/// Every order in every kind, with every answer to the call that it makes and to the cancellation that may come
/// meanwhile: before, kind, outcome, after, what followed.
fn every_answered_call() -> Vec<(Order, OrderJobKind, Said, Order, AttemptDecision)> {
    let mut all = Vec::new();
    for (order, kind) in every_order().into_iter().flat_map(|order| KINDS.map(|kind| (order.clone(), kind))) {
        let Ok(operation) = stepped(&order, kind) else { continue };
        let meanwhile = order
            .cancellation
            .is_none()
            .then(|| Order { cancellation: Some(cancellation(CancellationStatus::Requested)), ..order.clone() });
        for before in [Some(order), meanwhile].into_iter().flatten() {
            for (_, outcome) in outcomes(operation) {
                for (last, day) in [(false, false), (false, true), (true, false), (true, true)] {
                    let mut order = before.clone();
                    let job = job_in(kind, last, day);
                    let said = (operation, outcome.clone());
                    let followed = followed(&mut order, kind, &job, &said);
                    all.push((before.clone(), kind, said, order, followed));
                }
            }
        }
    }
    assert!(all.len() > 2_000, "{} cases are not every case", all.len());
    all
}

#[test]
fn nothing_is_sent_or_called_off_while_an_earlier_create_is_uncertain() {
    for order in every_order().into_iter().filter(|order| order.uncertain.is_some()) {
        for kind in KINDS {
            let step = stepped(&order, kind);
            let allowed = [Ok(Operation::LookUp), Err(Some("CancellationRefused")), Err(None)];
            assert!(allowed.contains(&step), "{kind:?} {step:?} {order:#?}");
        }
    }
}

#[test]
fn an_uncertain_order_counts_as_unplaced_only_after_a_settled_absence() {
    let mut unplaced = 0;
    for (before, _, said, after, followed) in every_answered_call() {
        let Some(since) = before.uncertain.as_ref().map(|uncertain| uncertain.since) else { continue };
        let JobEnd::Done { result: Some(result) } = &followed.end else { continue };
        if result.get_bool("placed").is_ok_and(|placed| !placed) {
            assert_eq!(said, (Operation::LookUp, Outcome::Done(AtProvider::Absent)), "{before:#?}");
            assert_eq!((since, after.uncertain), (before_now(60_000), None));
            unplaced += 1;
        }
    }
    assert!(unplaced > 0, "it is never called off at all");
}

#[test]
fn doubt_ends_only_with_an_answer_about_the_order() {
    for (before, kind, said, after, _) in every_answered_call() {
        let ends = matches!(said.1, Outcome::Done(AtProvider::Placed(_) | AtProvider::Absent));
        let begins = matches!(said, (Operation::Create, Outcome::Unknown(_)));
        match (&before.uncertain, &after.uncertain) {
            (Some(_), None) => assert!(ends, "{kind:?} {said:?}"),
            (None, Some(uncertain)) => {
                assert!(begins, "{kind:?} {said:?}");
                assert_eq!(uncertain.since, NOW);
            }
            (before, after) => assert_eq!(before, after, "{kind:?} {said:?}"),
        }
    }
}

#[test]
fn statuses_change_along_the_table_and_each_change_has_its_event() {
    for (before, kind, said, after, followed) in every_answered_call() {
        let case = format!("{kind:?} {said:?} {before:#?}");
        let reachable = |to| OrderCommand::ALL.iter().any(|command| next(before.status, *command) == Some(to));
        assert!(after.status == before.status || reachable(after.status), "{:?} {case}", after.status);
        let asked = |order: &Order| order.cancellation.as_ref().map(|cancellation| cancellation.status);
        let expected = match (before.status == after.status, after.status, asked(&after)) {
            (false, OrderStatus::Confirmed, _) => Some("OrderConfirmed"),
            (false, OrderStatus::Failed, _) => Some("OrderFailed"),
            (false, OrderStatus::NeedsAttention, _) => Some("OrderNeedsAttention"),
            (false, OrderStatus::Cancelled, Some(CancellationStatus::Done)) => Some("OrderCancelled"),
            (false, to, asked) => panic!("nobody leads to {to:?}, {asked:?}: {case}"),
            (true, _, Some(CancellationStatus::Refused)) if asked(&before) != asked(&after) => {
                Some("CancellationRefused")
            }
            (true, _, Some(CancellationStatus::NeedsAttention)) if asked(&before) != asked(&after) => {
                Some("CancellationNeedsAttention")
            }
            (true, ..) => None,
        };
        // An order whose placing the table does not know (confirmed, no number) may end its cancellation only.
        let odd = before.status != OrderStatus::Created && before.status != OrderStatus::NeedsAttention;
        if !(odd && followed.event == Some("OrderCancelled") && asked(&after) == Some(CancellationStatus::Done)) {
            assert_eq!(followed.event, expected, "{case}");
        }
    }
}

#[test]
fn no_answer_leads_out_of_cancelled() {
    for before in every_order().into_iter().filter(|order| order.status == OrderStatus::Cancelled) {
        for kind in KINDS {
            assert_eq!(stepped(&before, kind), Err(None));
            for operation in Operation::ALL {
                for (name, outcome) in outcomes(operation) {
                    let mut order = before.clone();
                    let _ = followed(&mut order, kind, &job_in(kind, true, true), &(operation, outcome));
                    assert_eq!(order.status, OrderStatus::Cancelled, "{kind:?} {operation:?} {name}");
                }
            }
        }
        let mut order = before.clone();
        let _ = cancel_unplaced(&mut order);
        assert_eq!(order.status, OrderStatus::Cancelled);
        for kind in KINDS {
            let mut order = before.clone();
            let _ = give_up(&mut order, kind, &failure(), ErrorClass::Unknown);
            assert_eq!(order.status, OrderStatus::Cancelled);
        }
    }
}

#[test]
fn no_order_and_no_cancellation_is_left_without_a_job() {
    for (before, kind, said, after, followed) in every_answered_call() {
        let case = format!("{kind:?} {said:?} {before:#?}");
        let goes_on = matches!(followed.end, JobEnd::Retry { .. });
        // The cancel job meets an order that is still `created` only where the create job died outside of the flow.
        if kind == OrderJobKind::Create {
            assert_eq!(goes_on, after.status == OrderStatus::Created, "{case}");
        }
        // What the create job leaves behind gets a job of its own; the cancel job leaves nothing.
        let waits = !goes_on && after.cancellation_pending();
        assert_eq!(starts_cancel(&after, &followed.end), waits, "{case}");
        assert!(kind == OrderJobKind::Create || !waits, "{case}");
        let mut carried_out = after.clone();
        carried_out.cancellation.iter_mut().for_each(|cancellation| cancellation.job_id = Some("job_cancel".into()));
        assert!(!starts_cancel(&carried_out, &followed.end), "{case}: one job is enough");
    }
}

#[test]
fn a_cancel_never_makes_an_order_uncertain() {
    for (before, _, said, after, _) in every_answered_call() {
        if said.0 == Operation::Cancel {
            assert_ne!(after.provider_sync_status, ProviderSyncStatus::Unknown, "{said:?}");
            assert_eq!(after.uncertain, before.uncertain, "{said:?}");
        }
    }
}

#[test]
fn a_cancelled_order_shows_no_work_and_no_failure() {
    for sync in SYNCS {
        let failed = StoredFailure { class: ErrorClass::Unknown, code: "a.b".into(), message: "c".into() };
        let mut order = Order { provider_sync_status: sync, failure: Some(failed), ..order() };
        order.cancellation = Some(cancellation(CancellationStatus::Requested));
        let followed = cancel_unplaced(&mut order);
        let never_sent = sync == ProviderSyncStatus::Pending;
        let expected = if never_sent { ProviderSyncStatus::Pending } else { ProviderSyncStatus::Synced };
        assert_eq!((order.status, order.provider_sync_status), (OrderStatus::Cancelled, expected), "{sync:?}");
        assert_eq!((order.failure, followed.event), (None, Some("OrderCancelled")));
        assert_eq!(followed.end, JobEnd::Done { result: Some(doc! { "status": "cancelled", "placed": false }) });
        let cancellation = order.cancellation.expect("it was asked for");
        assert_eq!((cancellation.status, cancellation.failure), (CancellationStatus::Done, None));
    }
}

#[test]
fn a_cancellation_that_comes_too_late_is_refused_and_says_why() {
    let mut order = Order { status: OrderStatus::Failed, ..order() };
    order.cancellation = Some(cancellation(CancellationStatus::InProgress));
    let NextStep::End(followed) = next_step(&mut order, OrderJobKind::Cancel) else { panic!("it is cancelled") };
    let error = JobError::new("fatal", "orders.not_cancellable", "The order can't be cancelled any more.");
    assert_eq!((followed.end, followed.event), (JobEnd::Dead { error }, Some("CancellationRefused")));
    assert_eq!((order.status, order.failure), (OrderStatus::Failed, None));
    let cancellation = order.cancellation.expect("it was asked for");
    assert_eq!(cancellation.status, CancellationStatus::Refused);
    assert_eq!(cancellation.failure.map(|failure| failure.code).as_deref(), Some("orders.not_cancellable"));
}

#[test]
fn giving_up_names_the_failure_where_it_belongs() {
    let expected = Some(StoredFailure {
        class: ErrorClass::Unknown,
        code: "provider.said_so".into(),
        message: "They said so.".into(),
    });
    let dead = JobEnd::Dead { error: JobError::new("unknown", "provider.said_so", "They said so.") };
    let mut created = order();
    let followed = give_up(&mut created, OrderJobKind::Create, &failure(), ErrorClass::Unknown);
    assert_eq!((followed.end, created.failure), (dead.clone(), expected.clone()));
    let mut confirmed = Order { status: OrderStatus::Confirmed, ..order() };
    confirmed.cancellation = Some(cancellation(CancellationStatus::InProgress));
    let followed = give_up(&mut confirmed, OrderJobKind::Cancel, &failure(), ErrorClass::Unknown);
    assert_eq!((followed.end, &confirmed.failure), (dead, &None), "the order itself has not failed");
    assert_eq!(confirmed.cancellation.and_then(|cancellation| cancellation.failure), expected);
}

#[test]
fn retries_wait_for_as_long_as_they_should() {
    let run_at = |outcome: Outcome<AtProvider>, attempts: i32, deferrals: i32, jitter: f64| {
        let mut job = active_job(OrderJobKind::Create);
        (job.attempts, job.deferrals) = (attempts, deferrals);
        let at = Timing { jitter, ..timing() };
        match follow_at(&mut order(), OrderJobKind::Create, &job, &(Operation::Create, outcome), at).end {
            JobEnd::Retry { at, .. } => at.timestamp_millis() - NOW.timestamp_millis(),
            other => panic!("{other:?}"),
        }
    };
    let unknown = || Outcome::Unknown(failure());
    let unconnected = || Outcome::Retryable(failure(), Retry::Deferred);
    let throttled = || Outcome::Retryable(failure(), Retry::Throttled(Duration::from_secs(30)));
    let at_once = || Outcome::Retryable(failure(), Retry::Throttled(Duration::ZERO));
    for (name, outcome, attempts, deferrals, jitter, wait_ms) in [
        ("first failure, least", unknown(), 1, 0, 0.0, 1_000),
        ("first failure, most", unknown(), 1, 0, 1.0, 2_000),
        ("fourth failure", unknown(), 4, 0, 1.0, 16_000),
        ("deferrals don't lengthen the wait after a failure", unknown(), 1, 6, 1.0, 2_000),
        ("first time not connected", unconnected(), 1, 0, 1.0, 2_000),
        ("third time not connected", unconnected(), 1, 2, 1.0, 8_000),
        ("not connected for long", unconnected(), 1, 500, 1.0, 300_000),
        ("throttled, least", throttled(), 1, 0, 0.0, 30_000),
        ("throttled again, most", throttled(), 1, 4, 1.0, 31_000),
        ("throttled in no time, the third time", at_once(), 1, 2, 0.0, 4_000),
    ] {
        assert_eq!(run_at(outcome, attempts, deferrals, jitter), wait_ms, "{name}");
    }
}

#[test]
fn an_absence_counts_from_the_settling_delay_on() {
    for (waited_ms, settled) in [(0, false), (4_999, false), (5_000, true), (60_000, true)] {
        let since = before_now(waited_ms);
        let mut order = Order { uncertain: Some(uncertain(since)), ..order() };
        let absent = (Operation::LookUp, Outcome::Done(AtProvider::Absent));
        let followed = followed(&mut order, OrderJobKind::Create, &active_job(OrderJobKind::Create), &absent);
        let at = if settled { NOW } else { after(since, SETTLING_DELAY) };
        assert_eq!(followed.end, JobEnd::Retry { at, error: None, counts: false }, "{waited_ms}");
        assert_eq!(
            (order.uncertain.is_none(), stepped(&order, OrderJobKind::Create) == Ok(Operation::Create)),
            (settled, settled)
        );
    }
}

#[test]
fn a_look_up_names_less_and_takes_nothing_away() {
    let mut order = Order { uncertain: Some(uncertain(before_now(60_000))), ..order() };
    order.learn(&placed(false));
    let found = Placed { reference: "PX0002".into(), ..Placed::default() };
    let found = (Operation::LookUp, Outcome::Done(AtProvider::Placed(found)));
    let followed = followed(&mut order, OrderJobKind::Create, &active_job(OrderJobKind::Create), &found);
    let refs = &order.refs;
    assert_eq!(
        [&order.reference, &refs.courier_name, &refs.provider_order_id].map(|name| name.as_deref()),
        [Some("PX0002"), Some("Delhivery"), Some("77")]
    );
    assert_eq!(followed.end, JobEnd::Done { result: Some(doc! { "status": "confirmed", "reference": "PX0002" }) });
}

#[test]
fn the_last_create_is_looked_up_once_more_and_nothing_is_sent_after_it() {
    let mut order = order();
    let mut job = super::flow_tests::job_in(OrderJobKind::Create, true, false);
    let unknown = (Operation::Create, Outcome::Unknown(failure()));
    let decision = followed(&mut order, OrderJobKind::Create, &job, &unknown);
    assert!(matches!(decision.end, JobEnd::Retry { counts: false, .. }), "{decision:?}");
    job.end(&decision.end, NOW);
    job.attempts += 1;
    assert_eq!(stepped(&order, OrderJobKind::Create), Ok(Operation::LookUp));

    let mut found = order.clone();
    let look_up = |at_carrier| (Operation::LookUp, Outcome::Done(at_carrier));
    let _ = followed(&mut found, OrderJobKind::Create, &job, &look_up(AtProvider::Placed(placed(false))));
    assert_eq!(found.status, OrderStatus::Confirmed);

    let later = Timing { now: after(NOW, Duration::from_secs(60)), ..timing() };
    let decision = follow_at(&mut order, OrderJobKind::Create, &job, &look_up(AtProvider::Absent), later);
    assert!(matches!(decision.end, JobEnd::Dead { .. }), "{decision:?}");
    assert_eq!((order.status, order.uncertain), (OrderStatus::NeedsAttention, None));
}

#[test]
fn a_refusal_after_an_earlier_create_is_final_if_neither_is_found() {
    let refused = (Operation::Create, Outcome::Refused(failure()));
    let look_up = |at_carrier| (Operation::LookUp, Outcome::Done(at_carrier));
    let job = active_job(OrderJobKind::Create);
    let mut sent_before = Order { doubted: true, ..order() };
    let decision = followed(&mut sent_before, OrderJobKind::Create, &job, &refused);
    assert_eq!(decision.end, JobEnd::Retry { at: NOW, error: None, counts: false });
    assert_eq!(stepped(&sent_before, OrderJobKind::Create), Ok(Operation::LookUp));

    let mut found = sent_before.clone();
    let _ = followed(&mut found, OrderJobKind::Create, &job, &look_up(AtProvider::Placed(placed(false))));
    assert_eq!(found.status, OrderStatus::Confirmed, "the earlier one is there");

    let mut absent = sent_before;
    let later = Timing { now: after(NOW, Duration::from_secs(60)), ..timing() };
    let decision = follow_at(&mut absent, OrderJobKind::Create, &job, &look_up(AtProvider::Absent), later);
    assert_eq!((absent.status, decision.event), (OrderStatus::Failed, Some("OrderFailed")));
    assert_eq!(absent.failure, Some(StoredFailure::new(ErrorClass::Fatal, &failure())), "what the refusal said");

    let mut first = Order { attempts: 2, ..order() };
    let _ = followed(&mut first, OrderJobKind::Create, &job, &refused);
    assert_eq!(first.status, OrderStatus::Failed, "what was sent before was answered clearly");
}

#[test]
fn a_refused_cancel_keeps_its_reason_and_can_be_requested_again() {
    let found = |awb: &str, cancelled| {
        let shipment = Placed { reference: awb.into(), ..placed(cancelled) };
        (Operation::LookUp, Outcome::Done(AtProvider::Placed(shipment)))
    };
    for (said, status, code) in [
        (found("PX0001", false), CancellationStatus::Refused, Some("provider.said_so")),
        (found("PX0001", true), CancellationStatus::Done, None),
        (found("PX0002", false), CancellationStatus::NeedsAttention, Some("provider.other_shipment")),
        (found("PX0002", true), CancellationStatus::NeedsAttention, Some("provider.other_shipment")),
        (
            (Operation::LookUp, Outcome::Done(AtProvider::Absent)),
            CancellationStatus::NeedsAttention,
            Some("provider.no_record"),
        ),
    ] {
        let mut order = refused();
        let _ = followed(&mut order, OrderJobKind::Cancel, &active_job(OrderJobKind::Cancel), &said);
        assert_eq!(order.reference.as_deref(), Some("PX0001"), "{said:?}");
        let cancellation = order.cancellation.as_mut().expect("it was asked for");
        let found = cancellation.failure.take().map(|failure| failure.code);
        assert_eq!((cancellation.status, found.as_deref()), (status, code), "{said:?}");
        cancellation.status = CancellationStatus::Requested;
        if order.status == OrderStatus::Confirmed {
            assert_eq!(stepped(&order, OrderJobKind::Cancel), Ok(Operation::Cancel), "{said:?}");
        }
    }
}
