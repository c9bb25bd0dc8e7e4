//! How attempts begin and end, decided over a view without a database.

use std::sync::Arc;

use bson::{Bson, Document, doc};

use super::{
    PAYMENTS_QUEUE,
    commands_tests::{appended, decide, event_types},
    flow::{Errand, Outcome},
    flow_tests::{MONEY, NOW, TOKEN, active_job, at, disputed, failure, found, in_status, started, topup},
    jobs::TopupJob,
    model::{OpenCalls, Topup, TopupStatus},
};
use crate::{
    modules::{
        audit::{Call, REQUEST_LOGS, RESPONSE_LOGS},
        providers::{
            Repeat,
            call_job::{AttemptFailed, BeginAttempt, Begun, BegunCall, CallConcluded, CallJob},
            paygate::{LOOK_UP_PAYMENT, PayGate, PaymentLookUp, PaymentStatus, START_PAYMENT, StartOutcome},
        },
        queue::{Conclusion, Job, JobEnd, JobError, JobState, QueueConfig},
        wallet::{LedgerTransaction, Wallet},
    },
    platform::{batch::View, exchange::ResponseRecord, money::Currency},
};

fn topup_job(errand: Errand) -> Arc<TopupJob> {
    let keys = ["key", "secret"].map(|key| key.to_owned().into());
    let gateway = Arc::new(PayGate::new("https://pay.example/v1", &keys[0], &keys[1]));
    Arc::new(TopupJob { errand, gateway, queue: QueueConfig::named(PAYMENTS_QUEUE) })
}

/// What its calls are called in logs and metrics.
fn operation(errand: Errand) -> &'static str {
    match errand {
        Errand::Start => START_PAYMENT,
        Errand::Check => LOOK_UP_PAYMENT,
    }
}

fn begin(errand: Errand) -> BeginAttempt<TopupJob> {
    BeginAttempt {
        call_job: topup_job(errand),
        subject_id: "top_1".into(),
        job_id: active_job(errand).id,
        token: TOKEN.into(),
        worker_id: "wrk_1".into(),
        request_ref_id: "req_new".into(),
        closing_response_id: "res_closing".into(),
    }
}

fn call(errand: Errand) -> Call {
    Call {
        request_ref_id: "req_open".into(),
        order_id: None,
        user_id: "usr_1".into(),
        client_order_id: None,
        resource_id: Some("top_1".into()),
        provider: "paygate".into(),
        operation: operation(errand).into(),
        attempt: 1,
        job_id: active_job(errand).id,
        worker_id: "wrk_1".into(),
        account_id: "paygate/default".into(),
        correlation_id: "rqs_1".into(),
        sent_at: at(-40_000),
    }
}

/// A top-up whose call is under way.
fn calling(before: Topup, errand: Errand) -> Topup {
    let open_calls = match errand {
        Errand::Start => OpenCalls { start: Some(call(errand)), check: None },
        Errand::Check => OpenCalls { start: None, check: Some(call(errand)) },
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

fn concluded(errand: Errand, outcome: Outcome) -> CallConcluded<TopupJob> {
    let call_job = topup_job(errand);
    CallConcluded {
        verdict: call_job.describe(&outcome).0,
        call_job,
        subject_id: "top_1".into(),
        asked: MONEY,
        call: call(errand),
        record: ResponseRecord { http_status: Some(200), headers: doc! {}, body: Bson::Null, latency_ms: 12 },
        outcome,
        response_id: "res_1".into(),
        event_id: "evt_1".into(),
        jitter: 1.0,
    }
}

fn failed(errand: Errand) -> AttemptFailed<TopupJob> {
    AttemptFailed {
        call_job: topup_job(errand),
        subject_id: "top_1".into(),
        error: JobError::new("panic", "queue.panicked", "It panicked."),
        worker_id: "wrk_1".into(),
        closing_response_id: "res_closing".into(),
        event_id: "evt_1".into(),
        jitter: 1.0,
    }
}

/// Reads what the conclusion names and concludes.
fn conclude(view: &mut View, conclusion: &dyn Conclusion, job: &Job) -> JobEnd {
    conclusion.reads().into_iter().for_each(|key| view.put_absent(key));
    conclusion.conclude(view, job).end
}

#[test]
fn a_call_begins_with_its_log_and_a_note_on_the_top_up() {
    for (errand, method, url) in [
        (Errand::Start, "POST", "https://pay.example/v1/payments"),
        (Errand::Check, "GET", "https://pay.example/v1/payments?reference=top_1"),
    ] {
        let mut view = view_of(&topup(), &[&active_job(errand)]);
        let Begun::Call(begun) = decide(&mut view, &begin(errand)) else { panic!("no call") };
        let BegunCall { logged, call, asked } = *begun;
        assert_eq!((logged.outbound().url.as_str(), asked), (url, MONEY));
        let logs = appended(&view, REQUEST_LOGS);
        assert_eq!(logs.len(), 1);
        for (field, expected) in [
            ("_id", "req_new"),
            ("resourceId", "top_1"),
            ("userId", "usr_1"),
            ("provider", "paygate"),
            ("operation", operation(errand)),
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
        let (mine, other) = match errand {
            Errand::Start => (topup.open_calls.start, topup.open_calls.check),
            Errand::Check => (topup.open_calls.check, topup.open_calls.start),
        };
        assert_eq!((mine, other), (Some(call), None));
    }
}

#[test]
fn the_gateway_is_told_our_reference_amount_and_time() {
    let mut view = view_of(&topup(), &[&active_job(Errand::Start)]);
    let Begun::Call(begun) = decide(&mut view, &begin(Errand::Start)) else { panic!("no call") };
    let body = begun.logged.outbound().body.as_ref().expect("a body");
    assert_eq!(
        (&body["reference"], &body["amount"], &body["currency"]),
        (&"top_1".into(), &50_000.into(), &"INR".into())
    );
    assert_eq!(body["expiresAt"], "2026-01-01T00:10:00.000Z");
}

#[test]
fn a_transaction_that_was_committed_after_all_gives_the_same_call_again() {
    for errand in [Errand::Start, Errand::Check] {
        let mut view = view_of(&topup(), &[&active_job(errand)]);
        let Begun::Call(first) = decide(&mut view, &begin(errand)) else { panic!("no call") };
        let before = stored(&view);
        let Begun::Call(again) = decide(&mut view, &begin(errand)) else { panic!("no call the second time") };
        assert_eq!(again.call, first.call);
        assert_eq!((appended(&view, REQUEST_LOGS).len(), appended(&view, RESPONSE_LOGS).len()), (1, 0));
        assert_eq!(stored(&view), before);
    }
}

#[test]
fn a_call_that_was_begun_in_time_is_made_though_the_time_is_over_when_its_commit_is_known() {
    let mut view = view_of(&topup(), &[&active_job(Errand::Start)]);
    let Begun::Call(first) = decide(&mut view, &begin(Errand::Start)) else { panic!("no call") };
    let mut later = View::new(at(600_000));
    later.put_read(&stored(&view));
    later.put_read(&active_job(Errand::Start));
    let Begun::Call(again) = decide(&mut later, &begin(Errand::Start)) else { panic!("no call the second time") };
    assert_eq!(again.call, first.call);
    assert_eq!(again.logged.outbound().body, first.logged.outbound().body);
    assert!(appended(&later, REQUEST_LOGS).is_empty() && appended(&later, RESPONSE_LOGS).is_empty());
}

#[test]
fn a_call_that_was_begun_is_closed_where_the_top_up_ended_before_its_commit_was_known() {
    for errand in [Errand::Start, Errand::Check] {
        let job = active_job(errand);
        let mut view = view_of(&topup(), &[&job]);
        assert!(matches!(decide(&mut view, &begin(errand)), Begun::Call(_)));
        let paid = Topup { open_calls: stored(&view).open_calls, ..in_status(TopupStatus::Paid) };
        let mut later = view_of(&paid, &[&job]);
        assert!(matches!(decide(&mut later, &begin(errand)), Begun::Settled), "{errand:?}");
        assert_eq!(later.by_id::<Job>(&job.id).map(|job| job.state), Some(JobState::Done));
        let closing = appended(&later, RESPONSE_LOGS);
        assert_eq!((closing.len(), appended(&later, REQUEST_LOGS).len()), (1, 0));
        assert_eq!((text(&closing[0], "_id"), text(&closing[0], "requestRefId")), ("res_closing", "req_new"));
        let after = stored(&later);
        assert_eq!((after.status, after.open_calls), (TopupStatus::Paid, OpenCalls::default()));
    }
}

#[test]
fn a_call_left_open_by_a_dead_worker_is_closed_first() {
    for errand in [Errand::Start, Errand::Check] {
        let mut view = view_of(&calling(topup(), errand), &[&active_job(errand)]);
        assert!(matches!(decide(&mut view, &begin(errand)), Begun::Call(_)));
        let closing = appended(&view, RESPONSE_LOGS);
        assert_eq!(closing.len(), 1, "{errand:?}");
        for (field, expected) in [
            ("_id", "res_closing"),
            ("requestRefId", "req_open"),
            ("resourceId", "top_1"),
            ("operation", operation(errand)),
            ("outcome", "retryable"),
            ("errorCode", "exchange.no_answer"),
        ] {
            assert_eq!(text(&closing[0], field), expected, "{errand:?}");
        }
        assert_eq!(closing[0].get_i64("latencyMs").ok(), Some(40_000));
    }
    // A call of the other job is its own business.
    let mut view = view_of(&calling(topup(), Errand::Start), &[&active_job(Errand::Check)]);
    assert!(matches!(decide(&mut view, &begin(Errand::Check)), Begun::Call(_)));
    assert!(appended(&view, RESPONSE_LOGS).is_empty());
    let open = stored(&view).open_calls;
    assert!(open.start.is_some() && open.check.is_some());
}

#[test]
fn what_has_ended_is_settled_without_a_call_and_open_calls_are_closed() {
    for (errand, before) in [
        (Errand::Start, in_status(TopupStatus::Paid)),
        (Errand::Start, in_status(TopupStatus::Pending)),
        (Errand::Start, Topup { expires_at: NOW, ..topup() }),
        (Errand::Check, in_status(TopupStatus::Paid)),
        (Errand::Check, in_status(TopupStatus::Expired)),
        (Errand::Check, Topup { payment_id: None, ..in_status(TopupStatus::Failed) }),
        (Errand::Check, disputed()),
    ] {
        let job = active_job(errand);
        let mut view = view_of(&calling(before.clone(), errand), &[&job]);
        assert!(matches!(decide(&mut view, &begin(errand)), Begun::Settled), "{errand:?} {:?}", before.status);
        assert_eq!(view.by_id::<Job>(&job.id).map(|job| job.state), Some(JobState::Done));
        assert_eq!((appended(&view, REQUEST_LOGS).len(), appended(&view, RESPONSE_LOGS).len()), (0, 1));
        let after = stored(&view);
        assert_eq!((after.status, after.open_calls), (before.status, OpenCalls::default()));
        assert!(matches!(decide(&mut view, &begin(errand)), Begun::Settled), "its own end is success");
        assert_eq!(appended(&view, RESPONSE_LOGS).len(), 1);
    }
}

#[test]
fn without_the_lease_or_the_top_up_nothing_begins() {
    let held = active_job(Errand::Start);
    for job in [
        Job { state: JobState::Ready, lease_token: None, ..held.clone() },
        Job { lease_token: Some("lease-2".into()), ..held.clone() },
    ] {
        let mut view = view_of(&topup(), &[&job]);
        assert!(matches!(decide(&mut view, &begin(Errand::Start)), Begun::LeaseLost));
        assert_eq!((stored(&view), appended(&view, REQUEST_LOGS).len()), (topup(), 0));
    }
    let mut view = View::new(NOW);
    view.put_read(&held);
    assert!(matches!(decide(&mut view, &begin(Errand::Start)), Begun::Settled));
    assert_eq!(view.by_id::<Job>(&held.id).map(|job| job.state), Some(JobState::Dead));
}

#[test]
fn an_answer_is_written_down_with_what_follows_from_it() {
    for (errand, outcome, status, event, said) in [
        (Errand::Start, started(PaymentStatus::Created), TopupStatus::Pending, Some("TopupStarted"), "done"),
        (Errand::Start, started(PaymentStatus::Paid), TopupStatus::Paid, Some("TopupPaid"), "done"),
        (Errand::Check, found(PaymentStatus::Paid), TopupStatus::Paid, Some("TopupPaid"), "found"),
        (Errand::Check, Outcome::LookUp(PaymentLookUp::Absent), TopupStatus::Expired, Some("TopupExpired"), "absent"),
        (
            Errand::Start,
            Outcome::Start(StartOutcome::Retryable(failure(), Repeat::Counted)),
            TopupStatus::Created,
            None,
            "retryable",
        ),
        (
            Errand::Start,
            Outcome::Start(StartOutcome::Refused(failure())),
            TopupStatus::Failed,
            Some("TopupFailed"),
            "fatal",
        ),
    ] {
        let job = active_job(errand);
        let mut view = view_of(&calling(topup(), errand), &[&job]);
        conclude(&mut view, &concluded(errand, outcome.clone()), &job);
        let after = stored(&view);
        assert_eq!((after.status, &after.open_calls), (status, &OpenCalls::default()), "{outcome:?}");
        assert_eq!(after.provider_response_ref_id.as_deref(), Some("res_1"));
        assert_eq!(event_types(&view), event.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{outcome:?}");
        let answers = appended(&view, RESPONSE_LOGS);
        assert_eq!((answers.len(), text(&answers[0], "outcome")), (1, said), "{outcome:?}");
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
    let conclusion = concluded(Errand::Check, found(PaymentStatus::Paid));
    let mut view = view_of(&calling(topup(), Errand::Check), &[]);
    conclusion.conclude_late(&mut view);
    let answers = appended(&view, RESPONSE_LOGS);
    assert_eq!((answers.len(), answers[0].get_bool("late").ok()), (1, Some(true)));
    assert_eq!(stored(&view), calling(topup(), Errand::Check));
}

#[test]
fn an_attempt_that_broke_is_tried_again_and_given_up_in_the_end() {
    for errand in [Errand::Start, Errand::Check] {
        let job = active_job(errand);
        let mut view = view_of(&calling(topup(), errand), &[&job]);
        let end = conclude(&mut view, &failed(errand), &job);
        assert!(matches!(end, JobEnd::Retry { counts: true, .. }), "{end:?}");
        assert_eq!(appended(&view, RESPONSE_LOGS).len(), 1, "its call is closed");
        let after = stored(&view);
        assert_eq!((after.status, after.open_calls), (TopupStatus::Created, OpenCalls::default()));

        let last = Job { attempts: job.max_attempts, ..job };
        let mut view = view_of(&topup(), &[&last]);
        assert_eq!(conclude(&mut view, &failed(errand), &last).as_str(), "dead");
        let after = stored(&view);
        assert_eq!(after.status, TopupStatus::NeedsAttention);
        assert_eq!(after.failure.expect("a failure").code, "queue.attempts_used_up");
        assert_eq!(event_types(&view), ["TopupNeedsAttention"]);
    }
}
