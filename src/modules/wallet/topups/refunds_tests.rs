//! Giving a payment back, decided over a view without a database.

use std::sync::Arc;

use bson::{Bson, doc};

use super::{
    PAYMENTS_QUEUE, REFUND_KIND,
    commands_tests::{appended, decide, event_types},
    flow_tests::{MONEY, NOW, TOKEN, failure, in_status},
    model::{Refund, RefundStatus, Topup, TopupStatus},
    payee::Payees,
    refunds::RefundJob,
};
use crate::{
    modules::{
        audit::RESPONSE_LOGS,
        providers::{
            Outcome, ProviderSettings, Retry,
            call_job::{AttemptFailed, BeginAttempt, BegunCall, CallConcluded, CallJob},
            payments::{self, LOOK_UP_REFUND, REFUND_PAYMENT},
            registry::PAYMENT_GATEWAY,
        },
        queue::{Conclusion, Job, JobEnd, JobError, JobState, QueueConfig},
        wallet::{Account, LedgerReference, LedgerTransaction},
    },
    platform::{batch::View, exchange::ResponseRecord, identity::Actor},
};

fn refund_job() -> Arc<RefundJob> {
    let settings = ProviderSettings::new(vec![("BASE_URL", "https://pay.example/v1".to_owned().into())]);
    let gateway = (PAYMENT_GATEWAY.adapter)(&settings);
    Arc::new(RefundJob { gateway, queue: QueueConfig::named(PAYMENTS_QUEUE), payees: Payees::none() })
}

fn job() -> Job {
    let queue = QueueConfig::named(PAYMENTS_QUEUE);
    Job {
        state: JobState::Active,
        attempts: 1,
        lease_token: Some(TOKEN.into()),
        lease_owner: Some("wrk_1".into()),
        lease_until: Some(NOW),
        ..Job::new("job_refund".into(), &queue, REFUND_KIND, doc! { "topupId": "top_1" }, "rqs_1", NOW)
    }
}

/// A paid payment for a checkout that is to go back.
fn refunding(in_doubt: bool) -> Topup {
    let refund = Refund {
        status: RefundStatus::Requested,
        number: 0,
        in_doubt,
        refund_id: None,
        job_id: "job_refund".into(),
        failure: None,
        transaction_id: None,
        requested_at: NOW,
    };
    Topup { checkout_id: Some("chk_1".into()), refund: Some(refund), ..in_status(TopupStatus::Paid) }
}

fn view_of(topup: &Topup) -> View {
    let mut view = View::new(NOW);
    view.put_read(topup);
    view.put_read(&job());
    view
}

/// Begins an attempt; gives what it asks, or nothing where it ends at once.
fn attempt(view: &mut View) -> Option<BegunCall<RefundJob>> {
    let begin = BeginAttempt {
        account_id: "paygate/default".into(),
        call_job: refund_job(),
        subject_id: "top_1".into(),
        job_id: "job_refund".into(),
        token: TOKEN.into(),
        worker_id: "wrk_1".into(),
        binds: false,
        request_ref_id: "req_new".into(),
        closing_response_id: "res_closing".into(),
        event_id: "evt_0".into(),
    };
    decide(view, &begin).ok().map(|begun| *begun)
}

/// Ends the attempt that `begun` began.
fn conclude(
    view: &mut View,
    begun: BegunCall<RefundJob>,
    outcome: Outcome<Option<payments::GatewayRefund>>,
    job: &Job,
) -> JobEnd {
    let concluded = CallConcluded {
        call_job: refund_job(),
        subject_id: "top_1".into(),
        asked: begun.asked,
        call: begun.call,
        prefetch: Vec::new(),
        record: ResponseRecord { http_status: Some(200), headers: doc! {}, body: Bson::Null, latency_ms: 12 },
        outcome,
        response_id: "res_1".into(),
        event_id: "evt_1".into(),
        jitter: 1.0,
    };
    concluded.conclude(view, job).end
}

fn stored(view: &View) -> (Topup, Refund) {
    let topup = view.by_id::<Topup>("top_1").expect("the payment");
    let refund = topup.refund.clone().expect("a refund");
    (topup, refund)
}

fn found(status: payments::GatewayRefundStatus) -> Outcome<Option<payments::GatewayRefund>> {
    Outcome::Done(Some(payments::GatewayRefund { refund_id: "ref_1".into(), status }))
}

#[test]
fn a_refund_is_asked_for_once_and_then_looked_up() {
    for (in_doubt, operation, url) in [
        (false, REFUND_PAYMENT, "https://pay.example/v1/refunds"),
        (true, LOOK_UP_REFUND, "https://pay.example/v1/refunds?reference=rfd_10"),
    ] {
        let mut view = view_of(&refunding(in_doubt));
        let begun = attempt(&mut view).expect("a call");
        let outbound = begun.logged.outbound();
        assert_eq!((outbound.operation, &*outbound.url), (operation, url));
        if let Some(body) = &outbound.body {
            let expected =
                serde_json::json!({ "reference": "rfd_10", "paymentId": "pay_1", "amount": 50_000, "currency": "INR" });
            assert_eq!(*body, expected);
        }
    }
    // A worker that died in the call leaves doubt.
    let mut view = view_of(&refunding(false));
    attempt(&mut view).expect("a call");
    let died = AttemptFailed {
        call_job: refund_job(),
        subject_id: "top_1".into(),
        error: JobError::new("panic", "queue.panicked", "It panicked."),
        worker_id: "wrk_1".into(),
        closing_response_id: "res_closing".into(),
        event_id: "evt_1".into(),
        jitter: 1.0,
    };
    assert_eq!(died.conclude(&mut view, &job()).end.as_str(), "retry");
    assert!(stored(&view).1.in_doubt);
    assert_eq!(appended(&view, RESPONSE_LOGS).len(), 1, "its call is closed");
}

#[test]
fn an_answer_about_a_refund_is_followed() {
    use payments::GatewayRefundStatus as G;
    let retryable = || Outcome::Retryable(failure(), Retry::Counted);
    // The answer, how the job ends, where the refund is then, whether it is in doubt, and the event.
    for (outcome, end, status, in_doubt, event) in [
        (found(G::Refunded), "done", RefundStatus::Done, true, Some("PaymentRefunded")),
        (found(G::Pending), "retry", RefundStatus::Requested, true, None),
        (found(G::Unknown), "retry", RefundStatus::Requested, true, None),
        (found(G::Failed), "dead", RefundStatus::NeedsAttention, false, Some("PaymentRefundNeedsAttention")),
        (Outcome::Done(None), "retry", RefundStatus::Requested, false, None),
        (retryable(), "retry", RefundStatus::Requested, false, None),
        (Outcome::Unknown(failure()), "retry", RefundStatus::Requested, true, None),
        (Outcome::Refused(failure()), "dead", RefundStatus::NeedsAttention, false, Some("PaymentRefundNeedsAttention")),
        (
            Outcome::Unauthorized(failure()),
            "dead",
            RefundStatus::NeedsAttention,
            false,
            Some("PaymentRefundNeedsAttention"),
        ),
    ] {
        let mut view = view_of(&refunding(false));
        let begun = attempt(&mut view).expect("a call");
        let said = format!("{outcome:?}");
        assert_eq!(conclude(&mut view, begun, outcome, &job()).as_str(), end, "{said}");
        let (topup, refund) = stored(&view);
        assert_eq!((refund.status, refund.in_doubt), (status, in_doubt), "{said}");
        assert_eq!((topup.status, &topup.open_calls.refund), (TopupStatus::Paid, &None), "{said}");
        assert_eq!(event_types(&view), event.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{said}");
        let booked = view.find::<LedgerTransaction>(&LedgerReference::new("topup", "top_1", "refund").key());
        assert_eq!(booked.is_some(), status == RefundStatus::Done, "{said}");
        if let Some(booked) = booked {
            let sums = [Account::SettlementCash, Account::refunds()].map(|account| booked.sum_of(&account));
            assert_eq!(sums, [MONEY.amount, -MONEY.amount]);
            assert_eq!(refund.transaction_id, Some(booked.id));
            // What has ended is not asked for again.
            assert!(attempt(&mut view_of(&topup)).is_none());
        }
    }
}

#[test]
fn attempts_that_are_used_up_are_left_to_a_person_who_has_it_tried_again() {
    let mut view = view_of(&refunding(false));
    let begun = attempt(&mut view).expect("a call");
    let last = Job { attempts: job().max_attempts, ..job() };
    assert_eq!(conclude(&mut view, begun, Outcome::Unknown(failure()), &last).as_str(), "dead");
    let (topup, refund) = stored(&view);
    assert_eq!((refund.status, refund.in_doubt), (RefundStatus::NeedsAttention, true));
    let actor = Actor::system("test");
    let by = crate::modules::providers::call_job::Author { actor: &actor, event_id: "evt_2" };
    assert!(refund_job().revive(&mut view, topup, &job(), by).is_ok());
    let (topup, refund) = stored(&view);
    assert_eq!((refund.status, refund.in_doubt), (RefundStatus::Requested, true), "it is looked up first");
    // One that the gateway has ended is another one when it is tried again.
    let mut view = view_of(&refunding(false));
    let begun = attempt(&mut view).expect("a call");
    conclude(&mut view, begun, found(payments::GatewayRefundStatus::Failed), &job());
    let (failed, _) = stored(&view);
    assert!(refund_job().revive(&mut view, failed, &job(), by).is_ok());
    assert_ne!(stored(&view).0.refund_reference(), topup.refund_reference());
    let done = Refund { status: RefundStatus::Done, ..stored(&view).1 };
    let done = Topup { refund: Some(done), ..topup };
    assert!(refund_job().revive(&mut view_of(&done), done, &job(), by).is_err());
}
