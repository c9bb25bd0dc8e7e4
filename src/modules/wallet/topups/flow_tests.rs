//! Decisions by answers, without a database.

use std::time::Duration;

use bson::{DateTime, doc};

use super::{
    CHECK_KIND, PAYMENTS_QUEUE, START_KIND,
    flow::{PaymentAnswered, PaymentJobKind, follow, give_up, has_to_call, try_again},
    model::{OpenCalls, Topup, TopupStatus},
};
use crate::{
    modules::{
        audit::{Call, ErrorClass},
        providers::{
            AttemptDecision, Failure, Outcome, Retry, StoredFailure, Timing,
            payments::{GatewayPayment, GatewayPaymentStatus, LOOK_UP_PAYMENT, START_PAYMENT},
        },
        queue::{Backoff, Job, JobEnd, JobState, QueueConfig},
        wallet::LedgerRefusal,
    },
    platform::money::{Currency, Money},
};

pub(super) const NOW: DateTime = DateTime::from_millis(1_767_225_600_000);
/// Of jobs in these tests that a worker holds.
pub(super) const TOKEN: &str = "lease-1";
pub(super) const MONEY: Money = Money::new(50_000, Currency::INR);

pub(super) fn at(ms: i64) -> DateTime {
    DateTime::from_millis(NOW.timestamp_millis() + ms)
}

/// A top-up that nothing has happened to.
pub(super) fn topup() -> Topup {
    Topup {
        id: "top_1".into(),
        user_id: "usr_1".into(),
        client_topup_id: "t-1001".into(),
        checkout_id: None,
        provider: "paygate".into(),
        status: TopupStatus::Created,
        amount: MONEY.amount,
        currency: MONEY.currency,
        payment_id: None,
        payment_url: None,
        failure: None,
        disputed: false,
        transaction_id: None,
        provider_request_ref_id: None,
        provider_response_ref_id: None,
        start_job_id: "job_start".into(),
        check_job_id: "job_check".into(),
        open_calls: OpenCalls::default(),
        refund: None,
        events: 0,
        correlation_id: "rqs_1".into(),
        expires_at: at(600_000),
        last_look_at: None,
        created_at: at(-60_000),
        updated_at: at(-60_000),
    }
}

pub(super) fn in_status(status: TopupStatus) -> Topup {
    let created = topup();
    let started = Topup {
        payment_id: Some("pay_1".into()),
        payment_url: Some("https://pay.example/1".into()),
        ..created.clone()
    };
    let failed = |code: &str| {
        Some(StoredFailure { class: ErrorClass::Fatal, code: code.into(), message: "They said so.".into() })
    };
    match status {
        TopupStatus::Created => created,
        TopupStatus::Pending | TopupStatus::Expired => Topup { status, ..started },
        TopupStatus::Paid => Topup { status, transaction_id: Some("txn_before".into()), ..started },
        TopupStatus::Failed => Topup { status, failure: failed("topups.declined"), ..started },
        TopupStatus::NeedsAttention => Topup { status, failure: failed("provider.said_so"), ..created },
    }
}

/// A top-up that is left to a person.
pub(super) fn disputed() -> Topup {
    Topup { disputed: true, ..in_status(TopupStatus::NeedsAttention) }
}

pub(super) fn active_job(kind: PaymentJobKind) -> Job {
    let (id, name) = match kind {
        PaymentJobKind::Start => ("job_start", START_KIND),
        PaymentJobKind::Check => ("job_check", CHECK_KIND),
    };
    let queue = QueueConfig::named(PAYMENTS_QUEUE);
    Job {
        state: JobState::Active,
        attempts: 1,
        lease_token: Some(TOKEN.into()),
        lease_owner: Some("wrk_1".into()),
        lease_until: Some(NOW),
        ..Job::new(id.into(), &queue, name, doc! { "topupId": "top_1" }, "rqs_1", at(-60_000))
    }
}

pub(super) fn payment(status: GatewayPaymentStatus) -> GatewayPayment {
    let payment_url = Some("https://pay.example/1".into());
    GatewayPayment { payment_id: "pay_1".into(), status, amount: MONEY, payment_url }
}

pub(super) fn failure() -> Failure {
    Failure::new("provider.said_so", "They said so.")
}

/// The kind of job, and the outcome of its call.
pub(super) type Said = (PaymentJobKind, Outcome<Option<GatewayPayment>>);

pub(super) fn started(status: GatewayPaymentStatus) -> Said {
    (PaymentJobKind::Start, Outcome::Done(Some(payment(status))))
}

pub(super) fn found(status: GatewayPaymentStatus) -> Said {
    (PaymentJobKind::Check, Outcome::Done(Some(payment(status))))
}

/// A call that is under way.
pub(super) fn call(kind: PaymentJobKind) -> Call {
    Call {
        request_ref_id: "req_open".into(),
        order_id: None,
        user_id: "usr_1".into(),
        client_order_id: None,
        resource_id: Some("top_1".into()),
        provider: "paygate".into(),
        operation: operation(kind).into(),
        attempt: 1,
        job_id: active_job(kind).id,
        worker_id: "wrk_1".into(),
        account_id: "paygate/default".into(),
        correlation_id: "rqs_1".into(),
        sent_at: at(-40_000),
    }
}

/// The name of its calls in logs and metrics.
pub(super) const fn operation(kind: PaymentJobKind) -> &'static str {
    match kind {
        PaymentJobKind::Start => START_PAYMENT,
        PaymentJobKind::Check => LOOK_UP_PAYMENT,
    }
}

/// The decision, on whatever attempt.
fn followed_with(
    topup: &mut Topup,
    job: &Job,
    (kind, outcome): &Said,
    credit: impl FnOnce(&mut Topup) -> Result<String, LedgerRefusal>,
) -> AttemptDecision {
    let backoff = Backoff { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(300) };
    let timing = Timing { now: NOW, jitter: 1.0, backoff };
    follow(topup, *kind, &PaymentAnswered { job, call: &call(*kind), asked: &MONEY, outcome, timing }, credit)
}

/// The same; the wallet takes everything.
fn followed(topup: &mut Topup, job: &Job, said: &Said) -> AttemptDecision {
    followed_with(topup, job, said, |_| Ok("txn_1".into()))
}

fn first(topup: &mut Topup, said: &Said) -> AttemptDecision {
    followed(topup, &active_job(said.0), said)
}

fn last(topup: &mut Topup, said: &Said) -> AttemptDecision {
    let job = active_job(said.0);
    followed(topup, &Job { attempts: job.max_attempts, ..job }, said)
}

fn code(topup: &Topup) -> Option<&str> {
    topup.failure.as_ref().map(|failure| failure.code.as_str())
}

#[test]
fn a_started_payment_waits_for_its_payer() {
    let mut topup = topup();
    let AttemptDecision { end, event } = first(&mut topup, &started(GatewayPaymentStatus::Created));
    assert_eq!((end.as_str(), event), ("done", Some("TopupStarted")));
    assert_eq!(
        (topup.status, topup.payment_id.as_deref(), topup.payment_url.as_deref(), topup.updated_at),
        (TopupStatus::Pending, Some("pay_1"), Some("https://pay.example/1"), NOW)
    );
}

#[test]
fn an_answer_says_what_it_says_whoever_asked() {
    use GatewayPaymentStatus as P;
    use TopupStatus as S;
    for (outcome, status, event) in [
        (started(P::Created), S::Pending, "TopupStarted"),
        (started(P::Unknown), S::Pending, "TopupStarted"),
        (started(P::Paid), S::Paid, "TopupPaid"),
        (started(P::Failed), S::Failed, "TopupFailed"),
        (started(P::Expired), S::Expired, "TopupExpired"),
        (found(P::Paid), S::Paid, "TopupPaid"),
        (found(P::Failed), S::Failed, "TopupFailed"),
        (found(P::Expired), S::Expired, "TopupExpired"),
        ((PaymentJobKind::Check, Outcome::Done(None)), S::Expired, "TopupExpired"),
    ] {
        let mut topup = topup();
        let followed = first(&mut topup, &outcome);
        // What came to nothing is looked at once more.
        let end = if outcome.0 == PaymentJobKind::Check && status != S::Paid { "retry" } else { "done" };
        assert_eq!((topup.status, followed.end.as_str(), followed.event), (status, end, Some(event)), "{outcome:?}");
        assert_eq!(topup.transaction_id.is_some(), status == S::Paid, "{outcome:?}");
    }
}

#[test]
fn an_answer_that_comes_after_the_callback_undoes_nothing() {
    for status in [TopupStatus::Paid, TopupStatus::Failed, TopupStatus::Expired] {
        for outcome in [
            started(GatewayPaymentStatus::Created),
            (PaymentJobKind::Start, Outcome::Retryable(failure(), Retry::Counted)),
            (PaymentJobKind::Start, Outcome::Unauthorized(failure())),
        ] {
            let before = Topup { payment_url: None, payment_id: None, ..in_status(status) };
            let mut topup = before.clone();
            let followed = last(&mut topup, &outcome);
            let page = matches!(outcome.1, Outcome::Done(_));
            assert_eq!((topup.status, topup.failure, followed.event), (status, before.failure, None), "{outcome:?}");
            assert_eq!((topup.transaction_id, topup.payment_url.is_some()), (before.transaction_id, page));
            assert_eq!(followed.end.as_str(), "done", "{status:?} {outcome:?}");
        }
    }
}

#[test]
fn money_is_credited_wherever_it_finds_the_top_up_but_once() {
    for status in TopupStatus::ALL {
        for outcome in [started(GatewayPaymentStatus::Paid), found(GatewayPaymentStatus::Paid)] {
            let mut topup = in_status(status);
            let mut booked = 0;
            let followed = followed_with(&mut topup, &active_job(outcome.0), &outcome, |topup| {
                booked += 1;
                assert_eq!(topup.money(), MONEY);
                Ok("txn_1".into())
            });
            let before = status == TopupStatus::Paid;
            assert_eq!((topup.status, booked), (TopupStatus::Paid, i32::from(!before)), "{status:?}");
            assert_eq!(topup.transaction_id.as_deref(), Some(if before { "txn_before" } else { "txn_1" }));
            assert_eq!((topup.failure, followed.event), (None, (!before).then_some("TopupPaid")), "{status:?}");
        }
    }
}

#[test]
fn money_that_the_wallet_can_not_take_is_left_to_a_person() {
    let mut topup = in_status(TopupStatus::Pending);
    let outcome = found(GatewayPaymentStatus::Paid);
    let followed =
        followed_with(&mut topup, &active_job(PaymentJobKind::Check), &outcome, |_| Err(LedgerRefusal::Overflow));
    assert_eq!((topup.status, topup.disputed), (TopupStatus::NeedsAttention, true));
    assert_eq!(code(&topup), Some("topups.not_credited"));
    assert_eq!((followed.end.as_str(), followed.event), ("dead", Some("TopupNeedsAttention")));
    // From here on nothing touches it.
    for outcome in [outcome, found(GatewayPaymentStatus::Created), started(GatewayPaymentStatus::Paid)] {
        let before = topup.clone();
        let followed = first(&mut topup, &outcome);
        assert_eq!((&topup.status, &topup.failure, followed.event), (&before.status, &before.failure, None));
        assert_eq!(topup.transaction_id, None, "{outcome:?}");
    }
}

#[test]
fn a_payment_without_a_page_is_started_again() {
    let payment = GatewayPayment { payment_url: None, ..payment(GatewayPaymentStatus::Created) };
    let no_page = (PaymentJobKind::Start, Outcome::Done(Some(payment)));
    let mut topup = topup();
    assert!(matches!(first(&mut topup, &no_page).end, JobEnd::Retry { counts: true, .. }));
    assert_eq!((topup.status, topup.payment_id.as_deref()), (TopupStatus::Created, Some("pay_1")));
    assert_eq!(last(&mut topup, &no_page).event, Some("TopupNeedsAttention"));
    assert_eq!((topup.status, code(&topup)), (TopupStatus::NeedsAttention, Some("provider.no_page")));
}

#[test]
fn what_is_unclear_is_tried_again_until_the_attempts_are_used_up() {
    let retry = |how| Outcome::Retryable(failure(), how);
    let unclear = [
        (retry(Retry::Counted), true, 2_000),
        (Outcome::Unknown(failure()), true, 2_000),
        (retry(Retry::Deferred), false, 2_000),
        (retry(Retry::Throttled(Duration::from_secs(30))), false, 31_000),
    ];
    let refused_look_up = (PaymentJobKind::Check, Outcome::Refused(failure()), true, 2_000);
    let both = |(outcome, counts, delay_ms): (Outcome<_>, _, _)| {
        [PaymentJobKind::Start, PaymentJobKind::Check].map(|kind| (kind, outcome.clone(), counts, delay_ms))
    };
    for (kind, outcome, counts, delay_ms) in unclear.into_iter().flat_map(both).chain([refused_look_up]) {
        let said = (kind, outcome);
        let mut topup = topup();
        let decision = first(&mut topup, &said);
        let JobEnd::Retry { at: when, error: Some(error), counts: counted } = decision.end else {
            panic!("{said:?} is not tried again");
        };
        assert_eq!((when, counted, &*error.class), (at(delay_ms), counts, "retryable"), "{said:?}");
        assert_eq!((topup.status, topup.failure.as_ref(), decision.event), (TopupStatus::Created, None, None));
        let job = active_job(kind);
        let used_up = Job { attempts: job.max_attempts, deferring_since: Some(at(-86_400_000)), ..job };
        let decision = followed(&mut topup, &used_up, &said);
        assert_eq!((decision.end.as_str(), decision.event), ("dead", Some("TopupNeedsAttention")), "{said:?}");
        assert_eq!((topup.status, code(&topup)), (TopupStatus::NeedsAttention, Some("provider.said_so")));
    }
    let mut topup = topup();
    assert!(matches!(first(&mut topup, &found(GatewayPaymentStatus::Unknown)).end, JobEnd::Retry { counts: true, .. }));
    assert_eq!(topup.status, TopupStatus::Created, "a word that we don't know moves nothing");
}

#[test]
fn refusals_end_at_once() {
    for (outcome, status, event) in [
        ((PaymentJobKind::Start, Outcome::Refused(failure())), TopupStatus::Failed, "TopupFailed"),
        ((PaymentJobKind::Start, Outcome::Unauthorized(failure())), TopupStatus::NeedsAttention, "TopupNeedsAttention"),
        ((PaymentJobKind::Check, Outcome::Unauthorized(failure())), TopupStatus::NeedsAttention, "TopupNeedsAttention"),
    ] {
        let mut topup = topup();
        let followed = first(&mut topup, &outcome);
        assert_eq!((topup.status, code(&topup)), (status, Some("provider.said_so")), "{outcome:?}");
        assert_eq!((followed.end.as_str(), followed.event), ("dead", Some(event)), "{outcome:?}");
    }
}

#[test]
fn who_has_to_call() {
    use TopupStatus as S;
    let (before, after) = (at(599_999), at(600_000));
    for (status, start, check) in [
        (S::Created, true, true),
        (S::Pending, false, true),
        (S::Paid, false, false),
        (S::Failed, false, true),
        (S::Expired, false, true),
        (S::NeedsAttention, false, true),
    ] {
        let topup = in_status(status);
        assert_eq!(has_to_call(&topup, PaymentJobKind::Start, before), start, "{status:?}");
        assert_eq!(has_to_call(&topup, PaymentJobKind::Check, after), check, "{status:?}");
        assert!(!has_to_call(&topup, PaymentJobKind::Start, after), "{status:?}: too late to be paid");
    }
    assert!(!has_to_call(&disputed(), PaymentJobKind::Check, after), "left to a person");
    let refused = Topup { payment_id: None, ..in_status(S::Failed) };
    assert!(!has_to_call(&refused, PaymentJobKind::Check, after), "there is no payment that could have been paid");
}

/// When the check looks again, in seconds from now; none where it is done.
fn looks_again_in(topup: &mut Topup, said: &Said) -> Option<i64> {
    match first(topup, said).end {
        JobEnd::Retry { at, error: None, counts: false } => {
            Some((at.timestamp_millis() - NOW.timestamp_millis()) / 1_000)
        }
        JobEnd::Done { .. } => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_payment_is_looked_at_until_the_gateway_says_what_came_of_it() {
    for (overdue_s, again_in_s) in [(0, 60), (300, 300), (7_200, 3_600), (259_199, 3_600)] {
        let mut open = Topup { expires_at: at(-1_000 * overdue_s), ..in_status(TopupStatus::Pending) };
        assert_eq!(looks_again_in(&mut open, &found(GatewayPaymentStatus::Created)), Some(again_in_s), "{overdue_s}");
        assert_eq!((open.status, open.last_look_at), (TopupStatus::Pending, None), "not ended by us");
    }
    let mut open = Topup { expires_at: at(-259_200_000), ..in_status(TopupStatus::Pending) };
    let given_up = first(&mut open, &found(GatewayPaymentStatus::Created));
    assert_eq!((given_up.end.as_str(), given_up.event), ("dead", Some("TopupNeedsAttention")));
    assert_eq!((open.status, code(&open)), (TopupStatus::NeedsAttention, Some("topups.still_open")));
}

#[test]
fn what_came_to_nothing_is_looked_at_once_more_a_day_later() {
    for (said, status) in [
        (found(GatewayPaymentStatus::Expired), TopupStatus::Expired),
        (found(GatewayPaymentStatus::Failed), TopupStatus::Failed),
        ((PaymentJobKind::Check, Outcome::Done(None)), TopupStatus::Expired),
    ] {
        let mut topup = in_status(TopupStatus::Pending);
        assert_eq!(looks_again_in(&mut topup, &said), Some(86_400), "{said:?}");
        assert_eq!((topup.status, topup.last_look_at), (status, Some(at(86_400_000))), "{said:?}");
        assert!(has_to_call(&topup, PaymentJobKind::Check, at(86_400_000)), "{said:?}");
        let settled = topup.clone();
        assert_eq!(looks_again_in(&mut topup, &said), None, "{said:?}: that was the last time");
        assert_eq!(topup.status, status);
        // Late money, and nobody who answers.
        let mut late = settled.clone();
        assert_eq!(first(&mut late, &found(GatewayPaymentStatus::Paid)).event, Some("TopupPaid"), "{said:?}");
        let mut unheard = settled;
        let unclear = (PaymentJobKind::Check, Outcome::Unknown(failure()));
        assert_eq!(last(&mut unheard, &unclear).event, Some("TopupNeedsAttention"), "{said:?}");
    }
}

#[test]
fn a_second_payment_is_disputed_and_credited_to_nobody() {
    let second = GatewayPayment { payment_id: "pay_2".into(), ..payment(GatewayPaymentStatus::Paid) };
    for kind in [PaymentJobKind::Start, PaymentJobKind::Check] {
        let mut topup = in_status(TopupStatus::Paid);
        let said = (kind, Outcome::Done(Some(second.clone())));
        let followed = followed_with(&mut topup, &active_job(kind), &said, |_| panic!("credited twice"));
        assert_eq!((followed.end.as_str(), followed.event), ("dead", Some("TopupNeedsAttention")), "{kind:?}");
        assert_eq!((topup.status, topup.disputed), (TopupStatus::NeedsAttention, true));
        assert_eq!((code(&topup), topup.transaction_id.as_deref()), (Some("topups.paid_twice"), Some("txn_before")));
    }
    // The payment that is credited is the one that was paid, not the one that was tried first.
    let mut topup = in_status(TopupStatus::Failed);
    first(&mut topup, &(PaymentJobKind::Check, Outcome::Done(Some(second.clone()))));
    assert_eq!((topup.status, topup.payment_id.as_deref()), (TopupStatus::Paid, Some("pay_2")));
    let again = first(&mut topup, &(PaymentJobKind::Check, Outcome::Done(Some(second))));
    assert_eq!((topup.status, again.event), (TopupStatus::Paid, None), "told twice is not paid twice");
}

#[test]
fn a_payment_that_failed_stays_failed_unless_it_was_paid_after_all() {
    for (status, expected) in [
        (GatewayPaymentStatus::Created, TopupStatus::Failed),
        (GatewayPaymentStatus::Failed, TopupStatus::Failed),
        (GatewayPaymentStatus::Expired, TopupStatus::Failed),
        (GatewayPaymentStatus::Paid, TopupStatus::Paid),
    ] {
        let mut topup = in_status(TopupStatus::Failed);
        let followed = first(&mut topup, &found(status));
        let end = if expected == TopupStatus::Paid { "done" } else { "retry" };
        assert_eq!((topup.status, followed.end.as_str()), (expected, end), "{status:?}");
        assert_eq!(followed.event, (expected == TopupStatus::Paid).then_some("TopupPaid"));
    }
}

#[test]
fn giving_up_a_start_leaves_a_payment_that_has_started_alone() {
    for status in TopupStatus::ALL.into_iter().filter(|status| *status != TopupStatus::Created) {
        let mut topup = in_status(status);
        let followed = give_up(&mut topup, PaymentJobKind::Start, &failure(), ErrorClass::Retryable, NOW);
        assert_eq!((&topup, followed.end.as_str(), followed.event), (&in_status(status), "done", None));
    }
}

#[test]
fn a_person_may_have_it_tried_again_until_it_has_ended() {
    use TopupStatus as S;
    for kind in [PaymentJobKind::Start, PaymentJobKind::Check] {
        for status in [S::Paid, S::Failed, S::Expired] {
            let mut topup = in_status(status);
            assert_eq!(try_again(&mut topup, kind, NOW), Err("The top-up has ended."), "{status:?}");
            assert_eq!(topup, in_status(status));
        }
        assert!(try_again(&mut disputed(), kind, NOW).is_err());
        let mut topup = in_status(S::NeedsAttention);
        assert_eq!(try_again(&mut topup, kind, NOW), Ok(()));
        assert_eq!((topup.status, topup.failure, topup.updated_at), (S::Created, None, NOW));
    }
    let lost = Topup { status: S::NeedsAttention, ..in_status(S::Pending) };
    let mut topup = lost.clone();
    assert_eq!(try_again(&mut topup, PaymentJobKind::Start, NOW), Err("The payment is started already."));
    assert_eq!(try_again(&mut topup, PaymentJobKind::Check, NOW), Ok(()));
    assert_eq!(topup.status, S::Pending);
    let mut late = in_status(S::NeedsAttention);
    assert!(try_again(&mut late, PaymentJobKind::Start, at(600_000)).is_err());
    assert_eq!(try_again(&mut late, PaymentJobKind::Check, at(600_000)), Ok(()));
}
