//! How attempts begin and end, decided over a view without a database.

use std::sync::Arc;

use bson::{Bson, Document, doc};

use super::{
    PAYMENTS_QUEUE,
    commands_tests::{appended, decide, event_types},
    flow::PaymentJobKind,
    flow_tests::{
        MONEY, NOW, Said, TOKEN, active_job, call, disputed, failure, found, in_status, operation, started, topup,
    },
    jobs::TopupJob,
    model::{OpenCalls, Topup, TopupStatus},
    payee::Payees,
};
use crate::{
    modules::{
        audit::{REQUEST_LOGS, RESPONSE_LOGS},
        providers::{
            Outcome, ProviderSettings, Retry,
            call_job::{AttemptFailed, BeginAttempt, BegunCall, CallConcluded},
            payments::GatewayPaymentStatus,
            registry::PAYMENT_GATEWAY,
        },
        queue::{Attempt, Conclusion, Job, JobEnd, JobError, JobState, QueueConfig},
        wallet::{LedgerTransaction, Wallet},
    },
    platform::{batch::View, exchange::ResponseRecord, money::Currency},
};

fn topup_job(kind: PaymentJobKind) -> Arc<TopupJob> {
    let gateway = (PAYMENT_GATEWAY.adapter)(&ProviderSettings::new(vec![(
        "BASE_URL",
        "https://pay.example/v1".to_owned().into(),
    )]));
    Arc::new(TopupJob { kind, gateway, queue: QueueConfig::named(PAYMENTS_QUEUE), payees: Payees::none() })
}

fn begin(kind: PaymentJobKind) -> BeginAttempt<TopupJob> {
    BeginAttempt {
        account_id: "paygate/default".into(),
        call_job: topup_job(kind),
        subject_id: "top_1".into(),
        job_id: active_job(kind).id,
        token: TOKEN.into(),
        worker_id: "wrk_1".into(),
        binds: false,
        request_ref_id: "req_new".into(),
        closing_response_id: "res_closing".into(),
        event_id: "evt_1".into(),
    }
}

/// A top-up whose call is under way.
fn calling(before: Topup, kind: PaymentJobKind) -> Topup {
    let open_calls = match kind {
        PaymentJobKind::Start => OpenCalls { start: Some(call(kind)), ..OpenCalls::default() },
        PaymentJobKind::Check => OpenCalls { check: Some(call(kind)), ..OpenCalls::default() },
    };
    Topup { open_calls, provider_request_ref_id: Some("req_open".into()), ..before }
}

fn view_of(topup: &Topup, jobs: &[&Job]) -> View {
    let mut view = View::new(NOW);
    view.put_read(topup);
    jobs.iter().for_each(|job| view.put_read(*job));
    view
}

fn stored(view: &View) -> Topup {
    view.by_id("top_1").expect("the top-up")
}

fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap_or_else(|error| panic!("{field}: {error}"))
}

fn concluded((kind, outcome): Said) -> CallConcluded<TopupJob> {
    CallConcluded {
        call_job: topup_job(kind),
        subject_id: "top_1".into(),
        asked: MONEY,
        call: call(kind),
        prefetch: Vec::new(),
        record: ResponseRecord { http_status: Some(200), headers: doc! {}, body: Bson::Null, latency_ms: 12 },
        outcome,
        response_id: "res_1".into(),
        event_id: "evt_1".into(),
        jitter: 1.0,
    }
}

fn failed(kind: PaymentJobKind) -> AttemptFailed<TopupJob> {
    AttemptFailed {
        call_job: topup_job(kind),
        subject_id: "top_1".into(),
        error: JobError::new("panic", "queue.panicked", "It panicked."),
        worker_id: "wrk_1".into(),
        closing_response_id: "res_closing".into(),
        event_id: "evt_1".into(),
        jitter: 1.0,
    }
}

fn conclude(view: &mut View, conclusion: &dyn Conclusion, job: &Job) -> JobEnd {
    conclusion.conclude(view, job).end
}

#[test]
fn a_call_begins_with_its_log_and_a_note_on_the_top_up() {
    for (kind, method, url) in [
        (PaymentJobKind::Start, "POST", "https://pay.example/v1/payments"),
        (PaymentJobKind::Check, "GET", "https://pay.example/v1/payments?reference=top_1"),
    ] {
        let mut view = view_of(&topup(), &[&active_job(kind)]);
        let Ok(begun) = decide(&mut view, &begin(kind)) else { panic!("no call") };
        let BegunCall { logged, call, asked, .. } = *begun;
        assert_eq!((logged.outbound().url.as_str(), asked), (url, MONEY));
        let logs = appended(&view, REQUEST_LOGS);
        assert_eq!(logs.len(), 1);
        for (field, expected) in [
            ("_id", "req_new"),
            ("resourceId", "top_1"),
            ("userId", "usr_1"),
            ("provider", "paygate"),
            ("operation", operation(kind)),
            ("accountId", "paygate/default"),
            ("method", method),
            ("url", url),
            ("correlationId", "rqs_1"),
        ] {
            assert_eq!(text(&logs[0], field), expected, "{field}");
        }
        for field in ["orderId", "clientOrderId"] {
            assert_eq!(logs[0].get(field), Some(&Bson::Null), "{field}: null, not absent");
        }
        assert_eq!(text(logs[0].get_document("headers").expect("headers"), "authorization"), "[credential]");
        let topup = stored(&view);
        assert_eq!(topup.provider_request_ref_id.as_deref(), Some("req_new"));
        let (mine, other) = match kind {
            PaymentJobKind::Start => (topup.open_calls.start, topup.open_calls.check),
            PaymentJobKind::Check => (topup.open_calls.check, topup.open_calls.start),
        };
        assert_eq!((mine, other), (Some(call), None));
    }
}

#[test]
fn the_gateway_is_told_our_reference_amount_and_time() {
    let mut view = view_of(&topup(), &[&active_job(PaymentJobKind::Start)]);
    let Ok(begun) = decide(&mut view, &begin(PaymentJobKind::Start)) else { panic!("no call") };
    let body = begun.logged.outbound().body.as_ref().expect("a body");
    assert_eq!(
        (&body["reference"], &body["amount"], &body["currency"]),
        (&"top_1".into(), &50_000.into(), &"INR".into())
    );
    assert_eq!(body["expiresAt"], "2026-01-01T00:10:00.000Z");
}

#[test]
fn a_call_left_open_by_a_dead_worker_is_closed_first() {
    for kind in [PaymentJobKind::Start, PaymentJobKind::Check] {
        let mut view = view_of(&calling(topup(), kind), &[&active_job(kind)]);
        assert!(decide(&mut view, &begin(kind)).is_ok());
        let closing = appended(&view, RESPONSE_LOGS);
        assert_eq!(closing.len(), 1, "{kind:?}");
        for (field, expected) in [
            ("_id", "res_closing"),
            ("requestRefId", "req_open"),
            ("resourceId", "top_1"),
            ("operation", operation(kind)),
            ("outcome", "retryable"),
            ("errorCode", "exchange.no_answer"),
        ] {
            assert_eq!(text(&closing[0], field), expected, "{kind:?}");
        }
        assert_eq!(closing[0].get_i64("latencyMs").ok(), Some(40_000));
    }
    // A call of the other job is its own business.
    let mut view = view_of(&calling(topup(), PaymentJobKind::Start), &[&active_job(PaymentJobKind::Check)]);
    assert!(decide(&mut view, &begin(PaymentJobKind::Check)).is_ok());
    assert!(appended(&view, RESPONSE_LOGS).is_empty());
    let open = stored(&view).open_calls;
    assert!(open.start.is_some() && open.check.is_some());
}

#[test]
fn what_has_ended_is_settled_without_a_call_and_open_calls_are_closed() {
    for (kind, before) in [
        (PaymentJobKind::Start, in_status(TopupStatus::Paid)),
        (PaymentJobKind::Start, in_status(TopupStatus::Pending)),
        (PaymentJobKind::Start, Topup { expires_at: NOW, ..topup() }),
        (PaymentJobKind::Check, in_status(TopupStatus::Paid)),
        (PaymentJobKind::Check, Topup { payment_id: None, ..in_status(TopupStatus::Failed) }),
        (PaymentJobKind::Check, disputed()),
    ] {
        let job = active_job(kind);
        let mut view = view_of(&calling(before.clone(), kind), &[&job]);
        assert!(matches!(decide(&mut view, &begin(kind)), Err(Attempt::Settled)), "{kind:?} {:?}", before.status);
        assert_eq!(view.by_id::<Job>(&job.id).map(|job| job.state), Some(JobState::Done));
        assert_eq!((appended(&view, REQUEST_LOGS).len(), appended(&view, RESPONSE_LOGS).len()), (0, 1));
        let after = stored(&view);
        assert_eq!((after.status, after.open_calls), (before.status, OpenCalls::default()));
    }
}

#[test]
fn without_the_lease_or_the_top_up_nothing_begins() {
    let held = active_job(PaymentJobKind::Start);
    for job in [
        Job { state: JobState::Ready, lease_token: None, ..held.clone() },
        Job { lease_token: Some("lease-2".into()), ..held.clone() },
    ] {
        let mut view = view_of(&topup(), &[&job]);
        assert!(matches!(decide(&mut view, &begin(PaymentJobKind::Start)), Err(Attempt::LeaseLost)));
        assert_eq!((stored(&view), appended(&view, REQUEST_LOGS).len()), (topup(), 0));
    }
    let mut view = View::new(NOW);
    view.put_read(&held);
    assert!(matches!(decide(&mut view, &begin(PaymentJobKind::Start)), Err(Attempt::Settled)));
    assert_eq!(view.by_id::<Job>(&held.id).map(|job| job.state), Some(JobState::Dead));
}

#[test]
fn an_answer_is_written_down_with_what_follows_from_it() {
    let retryable = Outcome::Retryable(failure(), Retry::Counted);
    for (said, status, event, word) in [
        (started(GatewayPaymentStatus::Created), TopupStatus::Pending, Some("TopupStarted"), "done"),
        (started(GatewayPaymentStatus::Paid), TopupStatus::Paid, Some("TopupPaid"), "done"),
        (found(GatewayPaymentStatus::Paid), TopupStatus::Paid, Some("TopupPaid"), "found"),
        ((PaymentJobKind::Check, Outcome::Done(None)), TopupStatus::Expired, Some("TopupExpired"), "absent"),
        ((PaymentJobKind::Start, retryable), TopupStatus::Created, None, "retryable"),
        ((PaymentJobKind::Start, Outcome::Refused(failure())), TopupStatus::Failed, Some("TopupFailed"), "fatal"),
    ] {
        let job = active_job(said.0);
        let mut view = view_of(&calling(topup(), said.0), &[&job]);
        conclude(&mut view, &concluded(said.clone()), &job);
        let after = stored(&view);
        assert_eq!((after.status, &after.open_calls), (status, &OpenCalls::default()), "{said:?}");
        assert_eq!(after.provider_response_ref_id.as_deref(), Some("res_1"));
        assert_eq!(event_types(&view), event.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{said:?}");
        let answers = appended(&view, RESPONSE_LOGS);
        assert_eq!((answers.len(), text(&answers[0], "outcome")), (1, word), "{said:?}");
        assert_eq!((text(&answers[0], "requestRefId"), text(&answers[0], "resourceId")), ("req_open", "top_1"));
        if status == TopupStatus::Paid {
            let booked = view.find::<LedgerTransaction>(&Topup::reference("top_1").key()).expect("a booking");
            assert_eq!((after.transaction_id.as_ref(), booked.id.as_str()), (Some(&booked.id), "txn_1"));
            let wallet = view.by_id::<Wallet>(&Wallet::id_of("usr_1", Currency::INR)).expect("a wallet");
            assert_eq!(wallet.available, MONEY.amount);
        }
    }
}

#[test]
fn an_answer_that_comes_late_changes_nothing_but_the_log() {
    let conclusion = concluded(found(GatewayPaymentStatus::Paid));
    let mut view = view_of(&calling(topup(), PaymentJobKind::Check), &[]);
    conclusion.conclude_late(&mut view);
    let answers = appended(&view, RESPONSE_LOGS);
    assert_eq!((answers.len(), answers[0].get_bool("late").ok()), (1, Some(true)));
    assert_eq!(stored(&view), calling(topup(), PaymentJobKind::Check));
}

#[test]
fn an_attempt_that_broke_is_tried_again_and_given_up_in_the_end() {
    for kind in [PaymentJobKind::Start, PaymentJobKind::Check] {
        let job = active_job(kind);
        let mut view = view_of(&calling(topup(), kind), &[&job]);
        let end = conclude(&mut view, &failed(kind), &job);
        assert!(matches!(end, JobEnd::Retry { counts: true, .. }), "{end:?}");
        assert_eq!(appended(&view, RESPONSE_LOGS).len(), 1, "its call is closed");
        let after = stored(&view);
        assert_eq!((after.status, after.open_calls), (TopupStatus::Created, OpenCalls::default()));

        let last = Job { attempts: job.max_attempts, ..job };
        let mut view = view_of(&topup(), &[&last]);
        assert_eq!(conclude(&mut view, &failed(kind), &last).as_str(), "dead");
        let after = stored(&view);
        assert_eq!(after.status, TopupStatus::NeedsAttention);
        assert_eq!(after.failure.expect("a failure").code, "queue.attempts_used_up");
        assert_eq!(event_types(&view), ["TopupNeedsAttention"]);
    }
}
