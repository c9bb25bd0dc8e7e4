//! What holds for the way of every order, whatever is answered: over all states and outcomes.

use std::time::Duration;

use bson::doc;

use super::{
    SETTLING_DELAY,
    flow::*,
    flow_tests::*,
    model::{CancellationStatus, Order, OrderFailure, OrderStatus, ProviderSyncStatus},
    transitions::{OrderCommand, next},
};
use crate::{
    modules::{
        audit::ErrorClass,
        providers::{CreateOutcome, LookUpOutcome, Operation, PlacedShipment, Repeat},
        queue::{JobEnd, JobError},
    },
    platform::clock::after,
};

const ERRANDS: [Errand; 2] = [Errand::Create, Errand::Cancel];
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
                    order.refs.awb = awb;
                    all.push(order);
                }
            }
        }
    }
    all
}

/// Every order in every errand, with every answer to the call that it makes and to the cancellation that may come
/// meanwhile: before, errand, outcome, after, what followed.
fn every_answered_call() -> Vec<(Order, Errand, Outcome, Order, Followed)> {
    let mut all = Vec::new();
    for (order, errand) in every_order().into_iter().flat_map(|order| ERRANDS.map(|errand| (order.clone(), errand))) {
        let Step::Call(operation) = next_step(&order, errand) else { continue };
        let meanwhile = order
            .cancellation
            .is_none()
            .then(|| Order { cancellation: Some(cancellation(CancellationStatus::Requested)), ..order.clone() });
        for before in [Some(order), meanwhile].into_iter().flatten() {
            for (_, outcome) in outcomes(operation) {
                for (last, day) in [(false, false), (false, true), (true, false), (true, true)] {
                    let mut order = before.clone();
                    let job = job_in(errand, last, day);
                    let followed = follow(&mut order, errand, &job, &outcome, &circumstances());
                    all.push((before.clone(), errand, outcome.clone(), order, followed));
                }
            }
        }
    }
    assert!(all.len() > 4_000, "{} cases are not every case", all.len());
    all
}

#[test]
fn nothing_is_sent_or_called_off_while_an_earlier_create_is_uncertain() {
    for order in every_order().into_iter().filter(|order| order.uncertain.is_some()) {
        for errand in ERRANDS {
            let step = next_step(&order, errand);
            let allowed = [Step::Call(Operation::LookUp), Step::TooLate, Step::Nothing];
            assert!(allowed.contains(&step), "{errand:?} {step:?} {order:#?}");
        }
    }
}

#[test]
fn an_uncertain_order_counts_as_unplaced_only_after_a_settled_absence() {
    let mut unplaced = 0;
    for (before, _, outcome, after, followed) in every_answered_call() {
        let Some(since) = before.uncertain.as_ref().map(|uncertain| uncertain.since) else { continue };
        let JobEnd::Done { result: Some(result) } = &followed.end else { continue };
        if result.get_bool("placed").is_ok_and(|placed| !placed) {
            assert_eq!(outcome, Outcome::LookUp(LookUpOutcome::Absent), "{before:#?}");
            assert_eq!((since, after.uncertain), (before_now(60_000), None));
            unplaced += 1;
        }
    }
    assert!(unplaced > 0, "it is never called off at all");
}

#[test]
fn doubt_ends_only_with_an_answer_about_the_order() {
    for (before, errand, outcome, after, _) in every_answered_call() {
        let said = matches!(
            outcome,
            Outcome::Create(CreateOutcome::Placed(_))
                | Outcome::LookUp(LookUpOutcome::Found(_) | LookUpOutcome::Absent)
        );
        let begins = matches!(outcome, Outcome::Create(CreateOutcome::Unknown(_)));
        match (&before.uncertain, &after.uncertain) {
            (Some(_), None) => assert!(said, "{errand:?} {outcome:?}"),
            (None, Some(uncertain)) => {
                assert!(begins, "{errand:?} {outcome:?}");
                assert_eq!(uncertain.since, NOW);
            }
            (before, after) => assert_eq!(before, after, "{errand:?} {outcome:?}"),
        }
    }
}

#[test]
fn statuses_change_along_the_table_and_each_change_has_its_event() {
    for (before, errand, outcome, after, followed) in every_answered_call() {
        let case = format!("{errand:?} {outcome:?} {before:#?}");
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
        for errand in ERRANDS {
            assert_eq!(next_step(&before, errand), Step::Nothing);
            for (name, outcome) in Operation::ALL.into_iter().flat_map(outcomes) {
                let mut order = before.clone();
                let _ = follow(&mut order, errand, &job_in(errand, true, true), &outcome, &circumstances());
                assert_eq!(order.status, OrderStatus::Cancelled, "{errand:?} {name}");
            }
        }
        for change in [cancel_unplaced, too_late] {
            let mut order = before.clone();
            let _ = change(&mut order);
            assert_eq!(order.status, OrderStatus::Cancelled);
        }
        for errand in ERRANDS {
            let mut order = before.clone();
            let _ = give_up(&mut order, errand, &failure(), ErrorClass::Unknown);
            assert_eq!(order.status, OrderStatus::Cancelled);
        }
    }
}

#[test]
fn no_order_and_no_cancellation_is_left_without_a_job() {
    for (before, errand, outcome, after, followed) in every_answered_call() {
        let case = format!("{errand:?} {outcome:?} {before:#?}");
        let goes_on = matches!(followed.end, JobEnd::Retry { .. });
        // The cancel job meets an order that is still `created` only where the create job died outside of the flow.
        if errand == Errand::Create {
            assert_eq!(goes_on, after.status == OrderStatus::Created, "{case}");
        }
        assert!(goes_on || followed.start_cancel || !after.cancellation_pending(), "{case}");
        assert!(!(followed.start_cancel && (goes_on || !after.cancellation_pending())), "{case}");
    }
}

#[test]
fn a_cancel_never_makes_an_order_uncertain() {
    for (before, _, outcome, after, _) in every_answered_call() {
        if matches!(outcome, Outcome::Cancel(_)) {
            assert_ne!(after.provider_sync_status, ProviderSyncStatus::Unknown, "{outcome:?}");
            assert_eq!(after.uncertain, before.uncertain, "{outcome:?}");
        }
    }
}

#[test]
fn a_cancelled_order_shows_no_work_and_no_failure() {
    for sync in SYNCS {
        let failed = OrderFailure { class: ErrorClass::Unknown, code: "a.b".into(), message: "c".into() };
        let mut order = Order { provider_sync_status: sync, failure: Some(failed), ..order() };
        order.cancellation = Some(cancellation(CancellationStatus::Requested));
        let followed = cancel_unplaced(&mut order);
        let never_sent = sync == ProviderSyncStatus::Pending;
        let expected = if never_sent { ProviderSyncStatus::Pending } else { ProviderSyncStatus::Synced };
        assert_eq!((order.status, order.provider_sync_status), (OrderStatus::Cancelled, expected), "{sync:?}");
        assert_eq!((order.failure, followed.event, followed.start_cancel), (None, Some("OrderCancelled"), false));
        assert_eq!(followed.end, JobEnd::Done { result: Some(doc! { "status": "cancelled", "placed": false }) });
        let cancellation = order.cancellation.expect("it was asked for");
        assert_eq!((cancellation.status, cancellation.failure), (CancellationStatus::Done, None));
    }
}

#[test]
fn a_cancellation_that_comes_too_late_is_refused_and_says_why() {
    let mut order = Order { status: OrderStatus::Failed, ..order() };
    order.cancellation = Some(cancellation(CancellationStatus::InProgress));
    let followed = too_late(&mut order);
    let error = JobError::new("fatal", "orders.not_cancellable", "The order can't be cancelled any more.");
    assert_eq!((followed.end, followed.event), (JobEnd::Dead { error }, Some("CancellationRefused")));
    assert_eq!((order.status, order.failure), (OrderStatus::Failed, None));
    let cancellation = order.cancellation.expect("it was asked for");
    assert_eq!(cancellation.status, CancellationStatus::Refused);
    assert_eq!(cancellation.failure.map(|failure| failure.code).as_deref(), Some("orders.not_cancellable"));
}

#[test]
fn giving_up_names_the_failure_where_it_belongs() {
    let expected = Some(OrderFailure {
        class: ErrorClass::Unknown,
        code: "provider.said_so".into(),
        message: "They said so.".into(),
    });
    let dead = JobEnd::Dead { error: JobError::new("unknown", "provider.said_so", "They said so.") };
    let mut created = order();
    let followed = give_up(&mut created, Errand::Create, &failure(), ErrorClass::Unknown);
    assert_eq!((followed.end, created.failure), (dead.clone(), expected.clone()));
    let mut confirmed = Order { status: OrderStatus::Confirmed, ..order() };
    confirmed.cancellation = Some(cancellation(CancellationStatus::InProgress));
    let followed = give_up(&mut confirmed, Errand::Cancel, &failure(), ErrorClass::Unknown);
    assert_eq!((followed.end, &confirmed.failure), (dead, &None), "the order itself has not failed");
    assert_eq!(confirmed.cancellation.and_then(|cancellation| cancellation.failure), expected);
}

#[test]
fn retries_wait_for_as_long_as_they_should() {
    let run_at = |outcome: CreateOutcome, attempts: i32, deferrals: i32, jitter: f64| {
        let mut job = active_job(Errand::Create);
        (job.attempts, job.deferrals) = (attempts, deferrals);
        let at = Circumstances { jitter, ..circumstances() };
        match follow(&mut order(), Errand::Create, &job, &Outcome::Create(outcome), &at).end {
            JobEnd::Retry { at, .. } => at.timestamp_millis() - NOW.timestamp_millis(),
            other => panic!("{other:?}"),
        }
    };
    let unknown = || CreateOutcome::Unknown(failure());
    let unconnected = || CreateOutcome::Retryable(failure(), Repeat::NotConnected);
    let throttled = || CreateOutcome::Retryable(failure(), Repeat::Throttled(Duration::from_secs(30)));
    for (name, outcome, attempts, deferrals, jitter, wait_ms) in [
        ("first failure, least", unknown(), 1, 0, 0.0, 1_000),
        ("first failure, most", unknown(), 1, 0, 1.0, 2_000),
        ("fourth failure", unknown(), 4, 0, 1.0, 16_000),
        ("deferrals don't lengthen the wait after a failure", unknown(), 1, 6, 1.0, 2_000),
        ("first time not connected", unconnected(), 1, 0, 1.0, 2_000),
        ("third time not connected", unconnected(), 1, 2, 1.0, 8_000),
        ("not connected for long", unconnected(), 1, 500, 1.0, 300_000),
        ("throttled, least", throttled(), 1, 0, 0.0, 30_000),
        ("throttled again, most", throttled(), 1, 9, 1.0, 31_000),
    ] {
        assert_eq!(run_at(outcome, attempts, deferrals, jitter), wait_ms, "{name}");
    }
}

#[test]
fn an_absence_counts_from_the_settling_delay_on() {
    for (waited_ms, settled) in [(0, false), (4_999, false), (5_000, true), (60_000, true)] {
        let since = before_now(waited_ms);
        let mut order = Order { uncertain: Some(uncertain(since)), ..order() };
        let absent = Outcome::LookUp(LookUpOutcome::Absent);
        let followed = follow(&mut order, Errand::Create, &active_job(Errand::Create), &absent, &circumstances());
        let at = if settled { NOW } else { after(since, SETTLING_DELAY) };
        assert_eq!(followed.end, JobEnd::Retry { at, error: None, counts: false }, "{waited_ms}");
        assert_eq!(
            (order.uncertain.is_none(), next_step(&order, Errand::Create) == Step::Call(Operation::Create)),
            (settled, settled)
        );
    }
}

#[test]
fn a_look_up_names_less_and_takes_nothing_away() {
    let mut order = Order { uncertain: Some(uncertain(before_now(60_000))), ..order() };
    order.refs.learn(&placed(false));
    let found = PlacedShipment { awb: "PX0002".into(), courier_name: None, provider_order_id: None, cancelled: false };
    let outcome = Outcome::LookUp(LookUpOutcome::Found(found));
    let followed = follow(&mut order, Errand::Create, &active_job(Errand::Create), &outcome, &circumstances());
    let refs = &order.refs;
    assert_eq!(
        [&refs.awb, &refs.courier_name, &refs.provider_order_id].map(|name| name.as_deref()),
        [Some("PX0002"), Some("Delhivery"), Some("77")]
    );
    assert_eq!(followed.end, JobEnd::Done { result: Some(doc! { "status": "confirmed", "awb": "PX0002" }) });
}

#[test]
fn the_last_create_is_looked_up_once_more_and_nothing_is_sent_after_it() {
    let mut order = order();
    let mut job = super::flow_tests::job_in(Errand::Create, true, false);
    let unknown = Outcome::Create(CreateOutcome::Unknown(failure()));
    let followed = follow(&mut order, Errand::Create, &job, &unknown, &circumstances());
    assert!(matches!(followed.end, JobEnd::Retry { counts: false, .. }), "{followed:?}");
    job.end(&followed.end, NOW);
    job.attempts += 1;
    assert_eq!(next_step(&order, Errand::Create), Step::Call(Operation::LookUp));

    let mut found = order.clone();
    let outcome = Outcome::LookUp(LookUpOutcome::Found(placed(false)));
    let _ = follow(&mut found, Errand::Create, &job, &outcome, &circumstances());
    assert_eq!(found.status, OrderStatus::Confirmed);

    let later = Circumstances { now: crate::platform::clock::after(NOW, Duration::from_secs(60)), ..circumstances() };
    let absent = Outcome::LookUp(LookUpOutcome::Absent);
    let followed = follow(&mut order, Errand::Create, &job, &absent, &later);
    assert!(matches!(followed.end, JobEnd::Dead { .. }), "{followed:?}");
    assert_eq!((order.status, order.uncertain), (OrderStatus::NeedsAttention, None));
}
