//! What follows from answers, decided without a database.

use std::time::Duration;

use bson::{DateTime, doc};

use super::{
    CHECK_KIND, PAYMENTS_QUEUE, START_KIND,
    flow::{Circumstances, Errand, Followed, Outcome, follow, give_up, has_to_call, try_again},
    model::{OpenCalls, Topup, TopupFailure, TopupStatus},
};
use crate::{
    modules::{
        audit::ErrorClass,
        providers::{
            Failure, Repeat,
            paygate::{Payment, PaymentLookUp, PaymentStatus, StartOutcome},
        },
        queue::{Backoff, Job, JobEnd, JobState, QueueConfig},
        wallet::Refusal,
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
        correlation_id: "rqs_1".into(),
        expires_at: at(600_000),
        created_at: at(-60_000),
        updated_at: at(-60_000),
    }
}

/// A top-up in a status, as it gets there.
pub(super) fn in_status(status: TopupStatus) -> Topup {
    let created = topup();
    let started = Topup {
        payment_id: Some("pay_1".into()),
        payment_url: Some("https://pay.example/1".into()),
        ..created.clone()
    };
    let failed = |code: &str| {
        Some(TopupFailure { class: ErrorClass::Fatal, code: code.into(), message: "They said so.".into() })
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

pub(super) fn active_job(errand: Errand) -> Job {
    let (id, kind) = match errand {
        Errand::Start => ("job_start", START_KIND),
        Errand::Check => ("job_check", CHECK_KIND),
    };
    let queue = QueueConfig::named(PAYMENTS_QUEUE);
    Job {
        state: JobState::Active,
        attempts: 1,
        lease_token: Some(TOKEN.into()),
        lease_owner: Some("wrk_1".into()),
        lease_until: Some(NOW),
        ..Job::new(id.into(), &queue, kind, doc! { "topupId": "top_1" }, "rqs_1", at(-60_000))
    }
}

pub(super) fn payment(status: PaymentStatus) -> Payment {
    let payment_url = Some("https://pay.example/1".into());
    Payment { payment_id: "pay_1".into(), status, amount: MONEY, payment_url }
}

pub(super) fn failure() -> Failure {
    Failure::new("provider.said_so", "They said so.")
}

pub(super) fn started(status: PaymentStatus) -> Outcome {
    Outcome::Start(StartOutcome::Started(payment(status)))
}

pub(super) fn found(status: PaymentStatus) -> Outcome {
    Outcome::LookUp(PaymentLookUp::Found(payment(status)))
}

fn errand_of(outcome: &Outcome) -> Errand {
    match outcome {
        Outcome::Start(_) => Errand::Start,
        Outcome::LookUp(_) => Errand::Check,
    }
}

fn circumstances() -> Circumstances {
    let backoff = Backoff { base: Duration::from_secs(2), max: Duration::from_secs(300) };
    Circumstances { now: NOW, jitter: 1.0, backoff }
}

/// What follows, on whatever attempt; the wallet takes everything.
fn followed(topup: &mut Topup, job: &Job, outcome: &Outcome) -> Followed {
    follow(topup, job, outcome, &circumstances(), |_| Ok("txn_1".into()))
}

fn first(topup: &mut Topup, outcome: &Outcome) -> Followed {
    followed(topup, &active_job(errand_of(outcome)), outcome)
}

fn last(topup: &mut Topup, outcome: &Outcome) -> Followed {
    let job = active_job(errand_of(outcome));
    followed(topup, &Job { attempts: job.max_attempts, ..job }, outcome)
}

fn code(topup: &Topup) -> Option<&str> {
    topup.failure.as_ref().map(|failure| failure.code.as_str())
}

#[test]
fn a_started_payment_waits_for_its_payer() {
    let mut topup = topup();
    let Followed { end, event } = first(&mut topup, &started(PaymentStatus::Created));
    assert_eq!((end.as_str(), event), ("done", Some("TopupStarted")));
    assert_eq!(
        (topup.status, topup.payment_id.as_deref(), topup.payment_url.as_deref(), topup.updated_at),
        (TopupStatus::Pending, Some("pay_1"), Some("https://pay.example/1"), NOW)
    );
}

#[test]
fn an_answer_says_what_it_says_whoever_asked() {
    use PaymentStatus as P;
    use TopupStatus as S;
    for (outcome, status, event) in [
        (started(P::Created), S::Pending, "TopupStarted"),
        (started(P::Unknown), S::Pending, "TopupStarted"),
        (started(P::Paid), S::Paid, "TopupPaid"),
        (started(P::Failed), S::Failed, "TopupFailed"),
        (started(P::Expired), S::Expired, "TopupExpired"),
        (found(P::Created), S::Expired, "TopupExpired"),
        (found(P::Paid), S::Paid, "TopupPaid"),
        (found(P::Failed), S::Failed, "TopupFailed"),
        (found(P::Expired), S::Expired, "TopupExpired"),
        (Outcome::LookUp(PaymentLookUp::Absent), S::Expired, "TopupExpired"),
    ] {
        let mut topup = topup();
        let followed = first(&mut topup, &outcome);
        assert_eq!((topup.status, followed.end.as_str(), followed.event), (status, "done", Some(event)), "{outcome:?}");
        assert_eq!(topup.transaction_id.is_some(), status == S::Paid, "{outcome:?}");
    }
}

#[test]
fn an_answer_that_comes_after_the_callback_undoes_nothing() {
    for status in [TopupStatus::Paid, TopupStatus::Failed, TopupStatus::Expired] {
        for outcome in [
            started(PaymentStatus::Created),
            Outcome::Start(StartOutcome::Retryable(failure(), Repeat::Counted)),
            Outcome::Start(StartOutcome::Unauthorized(failure())),
        ] {
            let before = Topup { payment_url: None, payment_id: None, ..in_status(status) };
            let mut topup = before.clone();
            let followed = last(&mut topup, &outcome);
            let page = matches!(outcome, Outcome::Start(StartOutcome::Started(_)));
            assert_eq!((topup.status, topup.failure, followed.event), (status, before.failure, None), "{outcome:?}");
            assert_eq!((topup.transaction_id, topup.payment_url.is_some()), (before.transaction_id, page));
            assert_eq!(followed.end.as_str(), "done", "{status:?} {outcome:?}");
        }
    }
}

#[test]
fn money_is_credited_wherever_it_finds_the_top_up_but_once() {
    for status in TopupStatus::ALL {
        for outcome in [started(PaymentStatus::Paid), found(PaymentStatus::Paid)] {
            let mut topup = in_status(status);
            let mut booked = 0;
            let followed = follow(&mut topup, &active_job(errand_of(&outcome)), &outcome, &circumstances(), |topup| {
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
    let outcome = found(PaymentStatus::Paid);
    let followed =
        follow(&mut topup, &active_job(Errand::Check), &outcome, &circumstances(), |_| Err(Refusal::Overflow));
    assert_eq!((topup.status, topup.disputed), (TopupStatus::NeedsAttention, true));
    assert_eq!(code(&topup), Some("topups.not_credited"));
    assert_eq!((followed.end.as_str(), followed.event), ("dead", Some("TopupNeedsAttention")));
    // From here on nothing touches it.
    for outcome in [outcome, found(PaymentStatus::Created), started(PaymentStatus::Paid)] {
        let before = topup.clone();
        let followed = first(&mut topup, &outcome);
        assert_eq!((&topup.status, &topup.failure, followed.event), (&before.status, &before.failure, None));
        assert_eq!(topup.transaction_id, None, "{outcome:?}");
    }
}

#[test]
fn a_payment_without_a_page_is_started_again() {
    let no_page =
        Outcome::Start(StartOutcome::Started(Payment { payment_url: None, ..payment(PaymentStatus::Created) }));
    let mut topup = topup();
    assert!(matches!(first(&mut topup, &no_page).end, JobEnd::Retry { counts: true, .. }));
    assert_eq!((topup.status, topup.payment_id.as_deref()), (TopupStatus::Created, Some("pay_1")));
    assert_eq!(last(&mut topup, &no_page).event, Some("TopupNeedsAttention"));
    assert_eq!((topup.status, code(&topup)), (TopupStatus::NeedsAttention, Some("provider.no_page")));
}

#[test]
fn what_is_unclear_is_tried_again_until_the_attempts_are_used_up() {
    let repeats = [
        (Repeat::Counted, true, 2_000),
        (Repeat::NotConnected, false, 2_000),
        (Repeat::Throttled(Duration::from_secs(30)), false, 31_000),
    ];
    for (repeat, counts, delay_ms) in repeats {
        for outcome in [
            Outcome::Start(StartOutcome::Retryable(failure(), repeat)),
            Outcome::LookUp(PaymentLookUp::Failed(failure(), repeat)),
        ] {
            let mut topup = topup();
            let followed = first(&mut topup, &outcome);
            let JobEnd::Retry { at: when, error: Some(error), counts: counted } = followed.end else {
                panic!("{outcome:?} is not tried again");
            };
            assert_eq!((when, counted, &*error.class), (at(delay_ms), counts, "retryable"), "{outcome:?}");
            assert_eq!((topup.status, topup.failure.as_ref(), followed.event), (TopupStatus::Created, None, None));
            let job = active_job(errand_of(&outcome));
            let used_up = Job { attempts: job.max_attempts, deferring_since: Some(at(-86_400_000)), ..job };
            let end = self::followed(&mut topup, &used_up, &outcome);
            assert_eq!((end.end.as_str(), end.event), ("dead", Some("TopupNeedsAttention")), "{outcome:?}");
            assert_eq!((topup.status, code(&topup)), (TopupStatus::NeedsAttention, Some("provider.said_so")));
        }
    }
    let mut topup = topup();
    assert!(matches!(first(&mut topup, &found(PaymentStatus::Unknown)).end, JobEnd::Retry { counts: true, .. }));
    assert_eq!(topup.status, TopupStatus::Created, "a word that we don't know moves nothing");
}

#[test]
fn refusals_end_at_once() {
    for (outcome, status, event) in [
        (Outcome::Start(StartOutcome::Refused(failure())), TopupStatus::Failed, "TopupFailed"),
        (Outcome::Start(StartOutcome::Unauthorized(failure())), TopupStatus::NeedsAttention, "TopupNeedsAttention"),
        (Outcome::LookUp(PaymentLookUp::Unauthorized(failure())), TopupStatus::NeedsAttention, "TopupNeedsAttention"),
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
        (S::Expired, false, false),
        (S::NeedsAttention, false, true),
    ] {
        let topup = in_status(status);
        assert_eq!(has_to_call(&topup, Errand::Start, before), start, "{status:?}");
        assert_eq!(has_to_call(&topup, Errand::Check, after), check, "{status:?}");
        assert!(!has_to_call(&topup, Errand::Start, after), "{status:?}: too late to be paid");
    }
    assert!(!has_to_call(&disputed(), Errand::Check, after), "left to a person");
    let refused = Topup { payment_id: None, ..in_status(S::Failed) };
    assert!(!has_to_call(&refused, Errand::Check, after), "there is no payment that could have been paid");
}

#[test]
fn a_payment_that_failed_stays_failed_unless_it_was_paid_after_all() {
    for (status, expected) in [
        (PaymentStatus::Created, TopupStatus::Failed),
        (PaymentStatus::Failed, TopupStatus::Failed),
        (PaymentStatus::Expired, TopupStatus::Failed),
        (PaymentStatus::Paid, TopupStatus::Paid),
    ] {
        let mut topup = in_status(TopupStatus::Failed);
        let followed = first(&mut topup, &found(status));
        assert_eq!((topup.status, followed.end.as_str()), (expected, "done"), "{status:?}");
        assert_eq!(followed.event, (expected == TopupStatus::Paid).then_some("TopupPaid"));
    }
}

#[test]
fn giving_up_a_start_leaves_a_payment_that_has_started_alone() {
    for status in TopupStatus::ALL.into_iter().filter(|status| *status != TopupStatus::Created) {
        let mut topup = in_status(status);
        let followed = give_up(&mut topup, Errand::Start, &failure(), ErrorClass::Retryable);
        assert_eq!((&topup, followed.end.as_str(), followed.event), (&in_status(status), "done", None));
    }
}

#[test]
fn a_person_may_have_it_tried_again_until_it_has_ended() {
    use TopupStatus as S;
    for errand in [Errand::Start, Errand::Check] {
        for status in [S::Paid, S::Failed, S::Expired] {
            let mut topup = in_status(status);
            assert_eq!(try_again(&mut topup, errand, NOW), Err("The top-up has ended."), "{status:?}");
            assert_eq!(topup, in_status(status));
        }
        assert!(try_again(&mut disputed(), errand, NOW).is_err());
        let mut topup = in_status(S::NeedsAttention);
        assert_eq!(try_again(&mut topup, errand, NOW), Ok(()));
        assert_eq!((topup.status, topup.failure, topup.updated_at), (S::Created, None, NOW));
    }
    let lost = Topup { status: S::NeedsAttention, ..in_status(S::Pending) };
    let mut topup = lost.clone();
    assert_eq!(try_again(&mut topup, Errand::Start, NOW), Err("The payment is started already."));
    assert_eq!(try_again(&mut topup, Errand::Check, NOW), Ok(()));
    assert_eq!(topup.status, S::Pending);
    let mut late = in_status(S::NeedsAttention);
    assert!(try_again(&mut late, Errand::Start, at(600_000)).is_err());
    assert_eq!(try_again(&mut late, Errand::Check, at(600_000)), Ok(()));
}
