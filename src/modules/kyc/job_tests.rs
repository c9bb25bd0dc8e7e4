//! Decisions by answers to verification jobs, over a view without a database.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bson::{Bson, DateTime, Document, doc};

use super::{
    KYC_QUEUE, VERIFY_KIND, VerifyApplication,
    identifiers::Holder,
    job::CheckCall,
    model::{
        Application, BankAccount, Check, CheckStatus, KycState, Requirement, ReviewDecision, SealedNumber, field_place,
    },
};
use crate::{
    modules::{
        audit::{AUDIT_EVENTS, Call, RESPONSE_LOGS},
        events::EVENTS,
        providers::{
            Failure, Outcome, ProviderSettings, Retry,
            call_job::{BeginAttempt, CallConcluded},
            checks::{CheckFinding, CheckKind},
            registry::VERIFIER,
        },
        queue::{Concluded, Conclusion, Job, JobEnd, JobError, JobState, QueueConfig},
    },
    platform::{
        batch::{Command, View},
        exchange::ResponseRecord,
        sealing::SealingKeys,
    },
};

pub(super) const NOW: DateTime = DateTime::from_millis(1_767_225_600_000);
/// Of jobs in these tests that a worker holds.
pub(super) const TOKEN: &str = "lease-1";
pub(super) const NAME: &str = "Blue Kite Private Limited";

static KEYS: LazyLock<Arc<SealingKeys>> =
    LazyLock::new(|| Arc::new(SealingKeys::new(&"0".repeat(64).into(), None).expect("a key")));

pub(super) fn at(ms: i64) -> DateTime {
    DateTime::from_millis(NOW.timestamp_millis() + ms)
}

/// A company's application that was handed in, with every check still to be made.
pub(super) fn submitted() -> Application {
    let id = Application::id_of("usr_1");
    let sealed = |field: &str, number: &str| SealedNumber {
        masked: "XXXX".into(),
        sealed: KEYS.seal(&field_place(&id, field), number.as_bytes()),
    };
    Application {
        state: KycState::Submitted,
        business_type: Some(Holder::Company),
        legal_name: Some(NAME.into()),
        pan: Some(sealed("pan", "AAGCB7383J")),
        gstin: Some(sealed("gstin", "29AAGCB7383J1Z4")),
        bank_account: Some(BankAccount { number: sealed("accountNumber", "123456789012"), ifsc: "HDFC0000123".into() }),
        provider: Some("idcheck".into()),
        checks: CheckKind::ALL.map(|kind| Check::pending(kind, &format!("chk_{}", kind.as_str()))).into(),
        submission: 1,
        job_id: Some("job_1".into()),
        submitted_at: Some(at(-60_000)),
        ..Application::new("usr_1", at(-120_000))
    }
}

/// The same with the first checks in these states; the rest is pending.
pub(super) fn checked(statuses: &[CheckStatus]) -> Application {
    let mut application = submitted();
    for (check, status) in application.checks.iter_mut().zip(statuses) {
        check.status = *status;
    }
    application
}

/// The same with the last check alone still to be made.
pub(super) fn nearly_checked() -> Application {
    checked(&[CheckStatus::Passed; 2])
}

pub(super) fn job() -> Job {
    let queue = QueueConfig::named(KYC_QUEUE);
    let payload = doc! { "applicationId": Application::id_of("usr_1") };
    Job::new("job_1".into(), &queue, VERIFY_KIND, payload, "rqs_1", at(-60_000))
}

pub(super) fn active_job() -> Job {
    Job {
        state: JobState::Active,
        attempts: 1,
        lease_token: Some(TOKEN.into()),
        lease_owner: Some("wrk_1".into()),
        lease_until: Some(NOW),
        ..job()
    }
}

pub(super) fn last_attempt() -> Job {
    let job = active_job();
    Job { attempts: job.max_attempts, ..job }
}

pub(super) fn dead_job() -> Job {
    Job { state: JobState::Dead, ..job() }
}

/// Decides; what the test has not put there is absent.
pub(super) fn decide<C: Command>(view: &mut View, command: &C) -> C::Reply {
    command.decide(view)
}

pub(super) fn appended(view: &View, collection: &str) -> Vec<Document> {
    view.appended_to(collection).map(|raw| Document::try_from(raw.clone()).expect("a document")).collect()
}

/// Texts in `field` of what a view would append to a collection.
pub(super) fn texts(view: &View, collection: &str, field: &str) -> Vec<String> {
    appended(view, collection).iter().map(|document| text(document, field).to_owned()).collect()
}

pub(super) fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap_or_else(|error| panic!("{field}: {error}"))
}

pub(super) fn view_of(application: &Application, job: &Job) -> View {
    let mut view = View::new(NOW);
    view.put_read(application);
    view.put_read(job);
    view
}

pub(super) fn stored(view: &View) -> Application {
    view.by_id(&Application::id_of("usr_1")).expect("the application")
}

pub(super) fn verifier() -> Arc<VerifyApplication> {
    Arc::new(VerifyApplication {
        provider: (VERIFIER.adapter)(&ProviderSettings::new(vec![(
            "BASE_URL",
            "https://idcheck.example/v1".to_owned().into(),
        )])),
        keys: Arc::clone(&KEYS),
        name_match_min_percent: 85,
        queue: QueueConfig::named(KYC_QUEUE),
    })
}

pub(super) fn begin() -> BeginAttempt<VerifyApplication> {
    BeginAttempt {
        account_id: "idcheck/default".into(),
        call_job: verifier(),
        subject_id: Application::id_of("usr_1"),
        job_id: "job_1".into(),
        token: TOKEN.into(),
        worker_id: "wrk_1".into(),
        binds: false,
        request_ref_id: "req_1".into(),
        closing_response_id: "res_closing".into(),
        event_id: "evt_1".into(),
    }
}

/// A call that is under way.
#[derive(Clone)]
pub(super) struct Calling {
    /// As the begin left it.
    pub(super) application: Application,
    pub(super) call: Call,
    asked: CheckCall,
}

pub(super) fn calling(application: &Application) -> Calling {
    let mut view = view_of(application, &active_job());
    let Ok(begun) = decide(&mut view, &begin()) else { panic!("no call") };
    Calling { application: stored(&view), call: begun.call, asked: begun.asked }
}

/// Concludes a call with what was found: over the application as it stands by now.
fn conclude(
    calling: &Calling,
    application: &Application,
    job: &Job,
    outcome: Outcome<CheckFinding>,
) -> (View, Concluded) {
    let concluded = CallConcluded {
        call_job: verifier(),
        subject_id: application.id.clone(),
        asked: calling.asked.clone(),
        call: calling.call.clone(),
        record: ResponseRecord { http_status: Some(200), headers: doc! {}, body: Bson::Null, latency_ms: 12 },
        outcome,
        prefetch: Vec::new(),
        response_id: "res_1".into(),
        event_id: "evt_1".into(),
        jitter: 1.0,
    };
    let mut view = view_of(application, job);
    let end = concluded.conclude(&mut view, job);
    (view, end)
}

/// Calls about an application as it is and concludes.
pub(super) fn answered(application: &Application, job: &Job, outcome: Outcome<CheckFinding>) -> (View, Concluded) {
    let calling = calling(application);
    conclude(&calling, &calling.application, job, outcome)
}

pub(super) fn failure() -> Failure {
    Failure::new("provider.said_so", "They said so.")
}

pub(super) fn confirmed(name: &str) -> Outcome<CheckFinding> {
    Outcome::Done(CheckFinding::Confirmed { name: name.into(), transfer: Some("UTR1".into()) })
}

fn refuted() -> Outcome<CheckFinding> {
    Outcome::Done(CheckFinding::Refuted(failure()))
}

fn inconclusive() -> Outcome<CheckFinding> {
    Outcome::Done(CheckFinding::Inconclusive(failure()))
}

/// One of each.
fn findings() -> Vec<Outcome<CheckFinding>> {
    vec![
        confirmed("BLUE KITE PVT LTD"),
        confirmed("VIKRAM CHAUDHARY"),
        refuted(),
        inconclusive(),
        Outcome::Retryable(failure(), Retry::Counted),
        Outcome::Retryable(failure(), Retry::Deferred),
        Outcome::Retryable(failure(), Retry::Throttled(Duration::from_secs(1))),
        Outcome::Unauthorized(failure()),
    ]
}

/// Events and audit records of a view, as `event action`.
pub(super) fn recorded(view: &View) -> Vec<String> {
    let (events, actions) = (texts(view, EVENTS, "type"), texts(view, AUDIT_EVENTS, "action"));
    assert_eq!(events.len(), actions.len(), "an audit record for every event");
    events.iter().zip(&actions).map(|(event, action)| format!("{event} {action}")).collect()
}

const VERIFIED: &str = "KycVerified kyc.verified";
pub(super) const REFERRED: &str = "KycReferred kyc.referred";
const CLARIFY: &str = "KycClarificationNeeded kyc.clarification_needed";

#[test]
fn the_answer_to_the_last_check_decides() {
    use KycState as S;
    for (finding, state, check, end, record) in [
        (confirmed("BLUE KITE PVT LTD"), S::Verified, CheckStatus::Passed, "done", VERIFIED),
        (confirmed("VIKRAM CHAUDHARY"), S::UnderReview, CheckStatus::NameMismatch, "done", REFERRED),
        (refuted(), S::NeedsClarification, CheckStatus::Failed, "done", CLARIFY),
        (inconclusive(), S::UnderReview, CheckStatus::Inconclusive, "done", REFERRED),
        (Outcome::Unauthorized(failure()), S::UnderReview, CheckStatus::Unavailable, "dead", REFERRED),
    ] {
        let (view, concluded) = answered(&nearly_checked(), &active_job(), finding.clone());
        let after = stored(&view);
        assert_eq!((after.state, after.checks[2].status), (state, check), "{finding:?}");
        assert_eq!((concluded.end.as_str(), concluded.wake), (end, Vec::new()), "{finding:?}");
        assert_eq!(recorded(&view), [record], "{finding:?}");
        let asked = Requirement {
            field: "bankAccount".into(),
            code: "provider.said_so".into(),
            reason: "They said so.".into(),
        };
        let asked = if state == S::NeedsClarification { vec![asked] } else { Vec::new() };
        assert_eq!(after.requirements, asked, "{finding:?}");
        assert_eq!((after.open_call, after.updated_at), (None, NOW));
        assert_eq!(after.provider_response_ref_id.as_deref(), Some("res_1"));
        if let JobEnd::Done { result } = concluded.end {
            assert_eq!(result, Some(doc! { "state": state.as_str() }), "{finding:?}");
        }
    }
}

#[test]
fn a_change_says_who_did_it_and_what_it_was() {
    let (view, _) = answered(&nearly_checked(), &active_job(), refuted());
    let (event, audit) = (&appended(&view, EVENTS)[0], &appended(&view, AUDIT_EVENTS)[0]);
    let data = event.get_document("data").expect("data");
    assert_eq!((text(event, "_id"), text(event, "subjectId"), text(event, "userId")), ("evt_1", "kyc_1", "usr_1"));
    assert_eq!((text(data, "state"), text(data, "reason")), ("needs_clarification", "A check failed."));
    assert_eq!(data.get_array("requirements").expect("fields"), &[Bson::from("bankAccount")]);
    assert_eq!((text(audit, "_id"), text(audit, "outcome")), ("aud_1", "done"));
    assert_eq!((text(audit, "resourceType"), text(audit, "resourceId")), ("kyc_application", "kyc_1"));
    assert_eq!(audit.get_document("before").expect("before"), &doc! { "state": "submitted" });
    assert_eq!(text(audit, "reason"), "A check failed.");
    let mut said = data.clone();
    said.remove("reason");
    assert_eq!(audit.get_document("after").expect("after"), &said);
    for document in [event, audit] {
        let actor = document.get_document("actor").expect("an actor");
        assert_eq!((text(actor, "kind"), text(actor, "id"), text(actor, "requestId")), ("worker", "wrk_1", "rqs_1"));
        assert!(!document.to_string().contains(NAME), "{document}");
    }
}

#[test]
fn an_answer_before_the_last_one_leads_to_the_next_check() {
    for (position, kind) in CheckKind::ALL.into_iter().enumerate().take(2) {
        for (finding, status) in [
            (confirmed("BLUE KITE PVT LTD"), CheckStatus::Passed),
            (confirmed("VIKRAM CHAUDHARY"), CheckStatus::NameMismatch),
            (refuted(), CheckStatus::Failed),
            (inconclusive(), CheckStatus::Inconclusive),
        ] {
            let before = checked(&[CheckStatus::Passed; 2][..position]);
            let (view, concluded) = answered(&before, &active_job(), finding.clone());
            let after = stored(&view);
            let found = after.check(kind).expect("the check");
            assert_eq!((after.state, found.status), (KycState::Submitted, status), "{kind:?} {finding:?}");
            assert_eq!(concluded.end, JobEnd::Retry { at: NOW, error: None, counts: false }, "{finding:?}");
            assert_eq!((concluded.wake, recorded(&view)), (vec![KYC_QUEUE], Vec::new()));
        }
    }
}

#[test]
fn what_an_earlier_check_found_counts_in_the_end() {
    for (earlier, state) in [
        (CheckStatus::Failed, KycState::NeedsClarification),
        (CheckStatus::Inconclusive, KycState::UnderReview),
        (CheckStatus::NameMismatch, KycState::UnderReview),
    ] {
        let (view, _) = answered(&checked(&[earlier, CheckStatus::Passed]), &active_job(), confirmed(NAME));
        assert_eq!(stored(&view).state, state, "{earlier:?}");
    }
    let (view, _) = answered(&checked(&[CheckStatus::Failed; 2]), &active_job(), refuted());
    let fields: Vec<_> = stored(&view).requirements.into_iter().map(|asked| asked.field).collect();
    assert_eq!(fields, ["pan", "gstin", "bankAccount"], "all that is wrong is named at once");
}

#[test]
fn what_is_unclear_is_asked_again_until_the_attempts_are_used_up() {
    for (repeat, counts, delay_ms) in [
        (Retry::Counted, true, 2_000),
        (Retry::Deferred, false, 2_000),
        (Retry::Throttled(Duration::from_secs(30)), false, 31_000),
    ] {
        let finding = Outcome::Retryable(failure(), repeat);
        let before = calling(&submitted());
        let (view, concluded) = conclude(&before, &before.application, &active_job(), finding.clone());
        let error = Some(JobError::new("retryable", "provider.said_so", "They said so."));
        assert_eq!(concluded.end, JobEnd::Retry { at: at(delay_ms), error, counts }, "{repeat:?}");
        let after = stored(&view);
        assert_eq!((after.state, &after.checks), (KycState::Submitted, &before.application.checks), "{repeat:?}");
        assert_eq!((recorded(&view).len(), after.open_call), (0, None));

        let used_up = Job { deferring_since: Some(at(-86_400_000)), ..last_attempt() };
        let (view, concluded) = answered(&nearly_checked(), &used_up, finding);
        let after = stored(&view);
        assert_eq!((after.state, concluded.end.as_str()), (KycState::UnderReview, "dead"), "{repeat:?}");
        let statuses: Vec<_> = after.checks.iter().map(|check| check.status).collect();
        assert_eq!(statuses, [CheckStatus::Passed, CheckStatus::Passed, CheckStatus::Unavailable], "{repeat:?}");
        assert_eq!((recorded(&view), after.requirements), (vec![REFERRED.to_owned()], Vec::new()));
    }
}

/// Applications as people may leave them while an answer is on its way.
pub(super) fn decided_meanwhile(calling: &Calling) -> Vec<Application> {
    let decision = ReviewDecision { decision: "approve".into(), by: "usr_9".into(), reason: "Known.".into(), at: NOW };
    let base = calling.application.clone();
    let in_state = |state| Application { state, decision: Some(decision.clone()), ..base.clone() };
    let asked = Requirement { field: "pan".into(), code: "pan.illegible".into(), reason: "Can't be read.".into() };
    vec![
        in_state(KycState::Verified),
        in_state(KycState::Suspended),
        in_state(KycState::Rejected),
        Application { requirements: vec![asked], ..in_state(KycState::NeedsClarification) },
        Application { state: KycState::UnderReview, first_approval: Some(decision.clone()), ..base.clone() },
        // Erased.
        Application { checks: Vec::new(), legal_name: None, pan: None, ..in_state(KycState::Rejected) },
        // Handed in again.
        Application { submission: 2, job_id: Some("job_2".into()), ..base },
    ]
}

/// The same without what an answer may always touch.
pub(super) fn without_links(application: &Application) -> Application {
    let application = application.clone();
    Application { open_call: None, provider_response_ref_id: None, updated_at: NOW, ..application }
}

#[test]
fn an_answer_after_a_persons_decision_is_logged_and_changes_nothing() {
    let calling = calling(&submitted());
    for before in decided_meanwhile(&calling) {
        for finding in findings() {
            for job in [active_job(), last_attempt()] {
                let (view, concluded) = conclude(&calling, &before, &job, finding.clone());
                let (after, context) = (stored(&view), format!("{:?} {finding:?}", before.state));
                assert_eq!(without_links(&after), without_links(&before), "{context}");
                assert_eq!((after.open_call, after.provider_response_ref_id.as_deref()), (None, Some("res_1")));
                let result = Some(doc! { "state": before.state.as_str() });
                assert_eq!((concluded.end, recorded(&view).len()), (JobEnd::Done { result }, 0), "{context}");
                assert_eq!(texts(&view, RESPONSE_LOGS, "requestRefId"), ["req_1"], "{context}");
            }
        }
    }
}

#[test]
fn an_old_answer_does_not_touch_the_call_of_a_new_submission() {
    let calling = calling(&submitted());
    let newer = Call { request_ref_id: "req_2".into(), job_id: "job_2".into(), ..calling.call.clone() };
    let before = Application {
        submission: 2,
        job_id: Some("job_2".into()),
        open_call: Some(newer.clone()),
        provider_request_ref_id: Some("req_2".into()),
        ..calling.application.clone()
    };
    for finding in findings() {
        let (view, concluded) = conclude(&calling, &before, &active_job(), finding);
        assert_eq!(
            (stored(&view), concluded.end.as_str()),
            (Application { updated_at: NOW, ..before.clone() }, "done")
        );
    }
}
