//! How attempts to have an application checked begin, break and are repeated, decided over a view without a database.

use super::{
    KYC_QUEUE,
    job_tests::{
        NAME, NOW, REFERRED, active_job, answered, appended, at, begin, calling, checked, confirmed, dead_job, decide,
        decided_meanwhile, failure, last_attempt, nearly_checked, recorded, stored, submitted, text, verifier, view_of,
        without_links,
    },
    model::{APPLICATIONS, Application, CheckStatus, KycState, ReviewDecision, SealedNumber, field_place},
};
use crate::{
    modules::{
        audit::{Call, REQUEST_LOGS, RESPONSE_LOGS},
        events::Actor,
        providers::{
            Outcome, Retry,
            call_job::{AttemptFailed, Author, CallJob},
            checks::CheckKind,
        },
        queue::{Attempt, Conclusion, Job, JobEnd, JobError, JobState},
    },
    platform::{batch::View, sealing::SealingKeys},
};

fn broken(application: &Application, job: &Job) -> (View, JobEnd) {
    let failed = AttemptFailed {
        call_job: verifier(),
        subject_id: application.id.clone(),
        error: JobError::new("lease", "queue.workers_died", "Every attempt ended with a worker that died."),
        worker_id: "wrk_1".into(),
        closing_response_id: "res_closing".into(),
        event_id: "evt_1".into(),
        jitter: 1.0,
    };
    let mut view = view_of(application, job);
    let end = failed.conclude(&mut view, job).end;
    (view, end)
}

const fn by(actor: &Actor) -> Author<'_> {
    Author { actor, event_id: "evt_2" }
}

#[test]
fn an_attempt_begins_with_its_log_and_asks_the_next_check() {
    for (statuses, operation, url) in [
        (&[][..], "verify_pan", "https://idcheck.example/v1/pan-verifications"),
        (&[CheckStatus::Passed], "verify_gstin", "https://idcheck.example/v1/gstin-verifications"),
        (&[CheckStatus::Failed, CheckStatus::NameMismatch], "penny_drop", "https://idcheck.example/v1/penny-drops"),
    ] {
        let mut view = view_of(&checked(statuses), &active_job());
        let Ok(begun) = decide(&mut view, &begin()) else { panic!("no call") };
        assert_eq!(begun.logged.outbound().url, url);
        let body = begun.logged.outbound().body.clone().expect("a body");
        let asked_about = CheckKind::ALL[statuses.len()];
        assert_eq!(
            (&body["reference"], &body["name"]),
            (&format!("chk_{}", asked_about.as_str()).into(), &NAME.into())
        );
        let log = appended(&view, REQUEST_LOGS).remove(0);
        for (field, expected) in [
            ("_id", "req_1"),
            ("operation", operation),
            ("resourceId", "kyc_1"),
            ("userId", "usr_1"),
            ("provider", "idcheck"),
            ("accountId", "idcheck/default"),
            ("correlationId", "rqs_1"),
        ] {
            assert_eq!(text(&log, field), expected, "{field}");
        }
        for personal in [NAME, "AAGCB7383J", "123456789012"] {
            assert!(!log.to_string().contains(personal), "{log}");
        }
        let after = stored(&view);
        assert_eq!(after.open_call, Some(begun.call));
        assert_eq!(after.provider_request_ref_id.as_deref(), Some("req_1"));
        assert_eq!(after.provider_response_ref_id, None);
    }
}

fn left_open(application: &Application) -> Application {
    let call = Call { request_ref_id: "req_open".into(), ..calling(application).call };
    Application {
        open_call: Some(Call { sent_at: at(-40_000), ..call }),
        provider_request_ref_id: Some("req_open".into()),
        ..application.clone()
    }
}

fn assert_closed(view: &View, context: &str) {
    let closing = appended(view, RESPONSE_LOGS);
    assert_eq!(closing.len(), 1, "{context}");
    for (field, expected) in [
        ("_id", "res_closing"),
        ("requestRefId", "req_open"),
        ("resourceId", "kyc_1"),
        ("outcome", "retryable"),
        ("errorCode", "exchange.no_answer"),
    ] {
        assert_eq!(text(&closing[0], field), expected, "{context}");
    }
}

#[test]
fn a_call_left_open_by_a_killed_worker_is_closed_and_asked_again() {
    let mut view = view_of(&left_open(&submitted()), &active_job());
    let Ok(begun) = decide(&mut view, &begin()) else { panic!("no call") };
    assert_closed(&view, "begun again");
    let body = begun.logged.outbound().body.clone().expect("a body");
    assert_eq!(body["reference"], "chk_pan", "under the same reference");
    assert_eq!(stored(&view).open_call, Some(begun.call));
}

#[test]
fn what_is_decided_is_settled_without_a_call_and_open_calls_are_closed() {
    let (calling, open) = (calling(&submitted()), left_open(&submitted()));
    for before in decided_meanwhile(&calling) {
        let Application { open_call, provider_request_ref_id, .. } = open.clone();
        let before = Application { open_call, provider_request_ref_id, ..before };
        let mut view = view_of(&before, &active_job());
        assert!(matches!(decide(&mut view, &begin()), Err(Attempt::Settled)), "{:?}", before.state);
        assert_closed(&view, before.state.as_str());
        assert_eq!(appended(&view, REQUEST_LOGS), []);
        assert_eq!(view.by_id::<Job>("job_1").map(|job| job.state), Some(JobState::Done), "{:?}", before.state);
        assert_eq!((stored(&view).state, stored(&view).checks), (before.state, before.checks));
    }
}

#[test]
fn numbers_that_are_gone_or_can_not_be_opened_fail_the_attempt() {
    let other = SealingKeys::new(&"1".repeat(64).into(), None).expect("a key");
    let foreign = SealedNumber { masked: "X".into(), sealed: other.seal(&field_place("kyc_1", "pan"), b"AAGCB7383J") };
    for (application, code) in [
        (Application { pan: None, ..submitted() }, "kyc.nothing_to_check"),
        (Application { pan: Some(foreign), ..submitted() }, "kyc.sealed"),
    ] {
        // Another worker may have the key; in the end a person looks, see below.
        let mut view = view_of(&application, &active_job());
        let begun = decide(&mut view, &begin());
        assert!(matches!(&begun, Err(Attempt::Failed(error)) if error.code == code), "{code}");
        assert_eq!((stored(&view), view.by_id::<Job>("job_1")), (application, Some(active_job())), "{code}");
        let (before, actor) = (stored(&view), Actor::command_line("test"));
        assert_eq!(verifier().revive(&mut view, before, &dead_job(), by(&actor)), Ok(()), "{code}");
    }
}

#[test]
fn an_attempt_that_broke_is_repeated_and_left_to_a_person_in_the_end() {
    let (view, end) = broken(&left_open(&submitted()), &active_job());
    assert!(matches!(end, JobEnd::Retry { counts: true, .. }), "{end:?}");
    assert_closed(&view, "repeated");
    assert_eq!((stored(&view).state, stored(&view).open_call), (KycState::Submitted, None));

    let (view, end) = broken(&left_open(&submitted()), &last_attempt());
    assert_closed(&view, "given up");
    let after = stored(&view);
    assert_eq!(
        (end.as_str(), after.state, recorded(&view)),
        ("dead", KycState::UnderReview, vec![REFERRED.to_owned()])
    );
    for check in &after.checks {
        let code = check.code.as_deref();
        assert_eq!((check.status, code), (CheckStatus::Unavailable, Some("queue.attempts_used_up")));
    }
}

#[test]
fn an_attempt_that_broke_after_a_person_has_decided_changes_nothing() {
    let calling = calling(&submitted());
    for before in decided_meanwhile(&calling) {
        let (view, _) = broken(&before, &last_attempt());
        let after = stored(&view);
        assert_eq!(without_links(&after), without_links(&before), "{:?}", before.state);
        assert_eq!((after.open_call, recorded(&view).len()), (None, 0), "{:?}", before.state);
    }
}

#[test]
fn a_person_has_the_checks_run_again() {
    let (view, _) = answered(&nearly_checked(), &last_attempt(), Outcome::Retryable(failure(), Retry::Counted));
    let given_up = stored(&view);
    assert_eq!(given_up.state, KycState::UnderReview);
    let mut view = view_of(&given_up, &dead_job());
    let actor = Actor::command_line("test");
    assert_eq!(verifier().revive(&mut view, given_up, &dead_job(), by(&actor)), Ok(()));
    let after = stored(&view);
    let statuses: Vec<_> = after.checks.iter().map(|check| check.status).collect();
    assert_eq!(statuses, [CheckStatus::Passed, CheckStatus::Passed, CheckStatus::Pending], "what passed is kept");
    assert_eq!(after.checks[2].reference, "chk_bank_account", "asked under the same reference");
    assert_eq!((after.state, after.submission), (KycState::Submitted, 1));
    assert_eq!(recorded(&view), ["KycRechecked kyc.rechecked"]);
    let (view, concluded) = answered(&after, &active_job(), confirmed(NAME));
    assert_eq!((stored(&view).state, concluded.end.as_str()), (KycState::Verified, "done"));
}

#[test]
fn checks_are_not_run_again_where_they_decide_nothing() {
    let given_up = || Application { state: KycState::UnderReview, ..checked(&[CheckStatus::Unavailable; 3]) };
    let approval = ReviewDecision { decision: "approve".into(), by: "usr_9".into(), reason: "Known.".into(), at: NOW };
    let mut refused = vec![
        Application { first_approval: Some(approval), ..given_up() },
        Application { job_id: Some("job_2".into()), submission: 2, ..given_up() },
        Application { job_id: None, ..given_up() },
    ];
    for state in KycState::ALL {
        if !matches!(state, KycState::Submitted | KycState::UnderReview) {
            refused.push(Application { state, ..given_up() });
        }
    }
    for before in refused {
        let mut view = view_of(&before, &dead_job());
        let actor = Actor::command_line("test");
        let answer = verifier().revive(&mut view, before.clone(), &dead_job(), by(&actor));
        assert!(answer.is_err(), "{:?}", before.state);
        assert_eq!((stored(&view), recorded(&view).len()), (before, 0));
    }
}

#[test]
fn a_job_without_its_application_dies_alone() {
    let mut view = View::new(NOW);
    view.put_read(&active_job());
    assert!(matches!(decide(&mut view, &begin()), Err(Attempt::Settled)));
    let job = view.by_id::<Job>("job_1").expect("the job");
    assert_eq!((job.state, job.last_error.map(|error| error.code)), (JobState::Dead, Some("kyc.gone".into())));
    assert_eq!(verifier().queue().name, KYC_QUEUE);
    assert_eq!((verifier().subject_field(), APPLICATIONS), ("applicationId", "kyc_applications"));
}
