//! Decisions of reviewers, over a view without a database.

use bson::doc;

use super::{
    ReviewAction,
    error::KycError,
    job_tests::{NOW, active_job, appended, at, decide, job, recorded, stored, submitted, text, view_of},
    model::{Application, CheckStatus, KycState, Requirement, ReviewDecision},
    review::DecideApplication,
};
use crate::{
    modules::{
        audit::{AUDIT_EVENTS, Call},
        events::{Actor, EVENTS},
        queue::{Job, JobState},
    },
    platform::batch::View,
};

const VERDICTS: [ReviewAction; 5] = [
    ReviewAction::Approve,
    ReviewAction::Reject,
    ReviewAction::Clarify,
    ReviewAction::Suspend,
    ReviewAction::Reinstate,
];

fn reviewer(id: &str) -> Actor {
    Actor { kind: "user".into(), role: Some("admin".into()), ..Actor::worker(id, "rqs_9") }
}

fn asked(field: &str) -> Requirement {
    Requirement { field: field.into(), code: "document.illegible".into(), reason: "It can't be read.".into() }
}

/// A word of the reviewer `usr_9`.
fn says(verdict: ReviewAction) -> DecideApplication {
    let requirements = if verdict == ReviewAction::Clarify { vec![asked("documents.pan_card")] } else { Vec::new() };
    DecideApplication {
        user_id: "usr_1".into(),
        verdict,
        reason: "I have looked at it.".into(),
        requirements,
        submission: None,
        four_eyes: false,
        actor: reviewer("usr_9"),
        event_id: "evt_9".into(),
    }
}

/// An approval where two have to approve.
fn approves(id: &str) -> DecideApplication {
    DecideApplication {
        four_eyes: true,
        actor: reviewer(id),
        event_id: format!("evt_{id}"),
        ..says(ReviewAction::Approve)
    }
}

fn in_state(state: KycState) -> Application {
    Application { state, requirements: vec![asked("pan")], ..submitted() }
}

/// The reply in a word; the view shows the rest.
fn decided(view: &mut View, word: &DecideApplication) -> Result<KycState, String> {
    match decide(view, word) {
        Ok(application) => {
            assert_eq!(*application, stored(view), "the answer is what is stored");
            Ok(application.state)
        }
        Err(KycError::NotFound) => Err("not found".into()),
        Err(KycError::NotDecidable(state)) => Err(format!("not decidable {}", state.as_str())),
        Err(KycError::Changed(submission)) => Err(format!("changed {submission}")),
        Err(KycError::SecondPersonNeeded) => Err("second person".into()),
        Err(other) => Err(other.to_string()),
    }
}

/// Where a verdict leads, as people are told.
fn leads_to(verdict: ReviewAction, state: KycState) -> Option<KycState> {
    use KycState as S;
    match (verdict, state) {
        (ReviewAction::Approve, S::Submitted | S::UnderReview) | (ReviewAction::Reinstate, S::Suspended) => {
            Some(S::Verified)
        }
        (ReviewAction::Reject, S::Submitted | S::UnderReview | S::NeedsClarification | S::Suspended) => {
            Some(S::Rejected)
        }
        (ReviewAction::Clarify, S::Submitted | S::UnderReview) => Some(S::NeedsClarification),
        (ReviewAction::Suspend, S::Verified) => Some(S::Suspended),
        _ => None,
    }
}

/// The event and the action of a verdict.
const fn names(verdict: ReviewAction) -> &'static str {
    match verdict {
        ReviewAction::Approve => "KycApproved kyc.approved",
        ReviewAction::Reject => "KycRejected kyc.rejected",
        ReviewAction::Clarify => "KycClarificationAsked kyc.clarification_asked",
        ReviewAction::Suspend => "KycSuspended kyc.suspended",
        ReviewAction::Reinstate => "KycReinstated kyc.reinstated",
    }
}

#[test]
fn every_verdict_in_every_state() {
    for verdict in VERDICTS {
        for state in KycState::ALL {
            let (word, before, context) = (says(verdict), in_state(state), format!("{verdict:?} {state:?}"));
            let mut view = view_of(&before, &job());
            let reply = decided(&mut view, &word);
            let Some(to) = leads_to(verdict, state) else {
                assert_eq!(reply, Err(format!("not decidable {}", state.as_str())), "{context}");
                assert_eq!((stored(&view), recorded(&view).len()), (before, 0), "{context}: nothing is written");
                assert_eq!(view.by_id::<Job>("job_1"), Some(job()), "{context}");
                continue;
            };
            assert_eq!((reply, recorded(&view)), (Ok(to), vec![names(verdict).to_owned()]), "{context}");
            let after = stored(&view);
            let decision = ReviewDecision {
                decision: verdict.as_str().into(),
                by: "usr_9".into(),
                reason: "I have looked at it.".into(),
                at: NOW,
            };
            assert_eq!((after.decision, after.updated_at), (Some(decision), NOW), "{context}");
            assert_eq!(after.requirements, word.requirements, "{context}: what was asked before is over");
            assert_eq!((after.submission, after.checks), (before.submission, before.checks), "{context}");
        }
    }
}

#[test]
fn a_decision_is_on_record_with_actor_reason_and_both_states() {
    let mut view = view_of(&in_state(KycState::UnderReview), &job());
    assert_eq!(decided(&mut view, &says(ReviewAction::Clarify)), Ok(KycState::NeedsClarification));
    let (event, audit) = (&appended(&view, EVENTS)[0], &appended(&view, AUDIT_EVENTS)[0]);
    for document in [event, audit] {
        let actor = document.get_document("actor").expect("an actor");
        assert_eq!((text(actor, "id"), text(actor, "role"), text(actor, "requestId")), ("usr_9", "admin", "rqs_9"));
    }
    assert_eq!((text(audit, "reason"), text(audit, "userId")), ("I have looked at it.", "usr_1"));
    assert_eq!(audit.get_document("before").ok(), Some(&doc! { "state": "under_review" }));
    let after = audit.get_document("after").expect("after");
    assert_eq!((text(after, "state"), after.get_i32("submission").ok()), ("needs_clarification", Some(1)));
    assert_eq!(after.get_array("requirements").expect("fields"), &["documents.pan_card".into()]);
    assert_eq!((text(audit, "_id"), text(event, "_id")), ("aud_9", "evt_9"));
}

#[test]
fn only_what_the_reviewer_has_seen_is_decided() {
    for (seen, reply) in [
        (None, Ok(KycState::Verified)),
        (Some(3), Ok(KycState::Verified)),
        (Some(2), Err("changed 3".to_owned())),
        (Some(4), Err("changed 3".to_owned())),
    ] {
        let before = Application { submission: 3, ..in_state(KycState::UnderReview) };
        let mut view = view_of(&before, &job());
        let word = DecideApplication { submission: seen, ..says(ReviewAction::Approve) };
        assert_eq!(decided(&mut view, &word), reply, "{seen:?}");
        assert_eq!(stored(&view) == before, reply.is_err(), "{seen:?}");
    }
    // What can't be decided any more is the more important news.
    let mut view = view_of(&Application { submission: 3, ..in_state(KycState::Verified) }, &job());
    let word = DecideApplication { submission: Some(2), ..says(ReviewAction::Approve) };
    assert_eq!(decided(&mut view, &word), Err("not decidable verified".into()));
}

#[test]
fn nobody_and_somebody_else_s_id_is_not_found() {
    let mut view = View::new(NOW);
    assert_eq!(decided(&mut view, &says(ReviewAction::Approve)), Err("not found".into()));
    for user_id in ["kyc_1", "ord_1", "1"] {
        let mut view = view_of(&in_state(KycState::UnderReview), &job());
        let word = DecideApplication { user_id: user_id.into(), ..says(ReviewAction::Approve) };
        assert_eq!(decided(&mut view, &word), Err("not found".into()), "{user_id}");
        assert_eq!(recorded(&view), Vec::<String>::new(), "{user_id}");
    }
}

fn state_of(view: &View) -> JobState {
    view.by_id::<Job>("job_1").expect("the job").state
}

#[test]
fn a_job_that_waits_is_ended_and_one_that_runs_finds_out_by_itself() {
    let dead = Job { state: JobState::Dead, ..job() };
    for verdict in [ReviewAction::Approve, ReviewAction::Reject, ReviewAction::Clarify] {
        for state in [KycState::Submitted, KycState::UnderReview] {
            let waits = Job { run_at: at(60_000), attempts: 3, ..job() };
            let mut view = view_of(&in_state(state), &waits);
            let to = decided(&mut view, &says(verdict)).expect("decided");
            let ended = view.by_id::<Job>("job_1").expect("the job");
            let result = Some(doc! { "state": to.as_str() });
            assert_eq!((ended.state, ended.result), (JobState::Done, result), "{verdict:?}");
            for other in [active_job(), dead.clone()] {
                let mut view = view_of(&in_state(state), &other);
                assert_eq!(decided(&mut view, &says(verdict)), Ok(to), "{verdict:?}");
                assert_eq!(view.by_id::<Job>("job_1"), Some(other), "{verdict:?}");
            }
        }
    }
}

#[test]
fn a_job_that_has_to_close_a_call_is_left_to_do_so() {
    let call = Call {
        request_ref_id: "req_open".into(),
        order_id: None,
        user_id: "usr_1".into(),
        client_order_id: None,
        resource_id: Some("kyc_1".into()),
        provider: "idcheck".into(),
        operation: "verify_pan".into(),
        attempt: 1,
        job_id: "job_1".into(),
        worker_id: "wrk_1".into(),
        account_id: "idcheck/default".into(),
        correlation_id: "rqs_1".into(),
        sent_at: at(-40_000),
    };
    // Its worker was killed, its lease is over, and nobody has it yet.
    let before = Application { open_call: Some(call), ..submitted() };
    for word in
        [says(ReviewAction::Approve), says(ReviewAction::Reject), says(ReviewAction::Clarify), approves("usr_8")]
    {
        let mut view = view_of(&before, &Job { attempts: 1, ..job() });
        decided(&mut view, &word).expect("decided");
        assert_eq!(state_of(&view), JobState::Ready, "{:?}: every request gets an answer on record", word.verdict);
        assert_eq!(stored(&view).open_call, before.open_call);
    }
}

#[test]
fn without_a_job_there_is_nothing_to_end() {
    for job_id in [None, Some("job_deleted".to_owned())] {
        let mut view = view_of(&Application { job_id, ..in_state(KycState::UnderReview) }, &job());
        assert_eq!(decided(&mut view, &says(ReviewAction::Approve)), Ok(KycState::Verified));
        assert_eq!(state_of(&view), JobState::Ready, "another's");
    }
}

#[test]
fn two_have_to_approve_where_that_is_the_rule() {
    for state in [KycState::Submitted, KycState::UnderReview] {
        let mut view = view_of(&in_state(state), &job());
        assert_eq!(decided(&mut view, &approves("usr_8")), Ok(KycState::UnderReview), "{state:?}");
        assert_eq!(recorded(&view), ["KycApprovalProposed kyc.approval_proposed"]);
        assert_eq!(state_of(&view), JobState::Done, "what two people look at is not checked any further");
        let proposed = stored(&view);
        let by = |decision: &Option<ReviewDecision>| decision.as_ref().map(|decision| decision.by.clone());
        assert_eq!((by(&proposed.first_approval), &proposed.decision), (Some("usr_8".into()), &None));

        let again = DecideApplication { event_id: "evt_again".into(), ..approves("usr_8") };
        assert_eq!(decided(&mut view, &again), Err("second person".into()));
        assert_eq!((stored(&view), recorded(&view).len()), (proposed, 1), "the same person does not count twice");

        assert_eq!(decided(&mut view, &approves("usr_7")), Ok(KycState::Verified));
        assert_eq!(recorded(&view)[1..], ["KycApproved kyc.approved"]);
        let after = stored(&view);
        assert_eq!((by(&after.first_approval), by(&after.decision)), (Some("usr_8".into()), Some("usr_7".into())));
    }
}

#[test]
fn one_is_enough_for_everything_but_an_approval() {
    for verdict in VERDICTS.into_iter().filter(|verdict| *verdict != ReviewAction::Approve) {
        for state in KycState::ALL {
            let Some(to) = leads_to(verdict, state) else { continue };
            let mut view = view_of(&in_state(state), &job());
            let word = DecideApplication { four_eyes: true, ..says(verdict) };
            assert_eq!(decided(&mut view, &word), Ok(to), "{verdict:?} {state:?}");
            assert_eq!(recorded(&view), [names(verdict)], "{verdict:?} {state:?}");
        }
    }
    for state in KycState::ALL {
        if leads_to(ReviewAction::Approve, state).is_none() {
            let mut view = view_of(&in_state(state), &job());
            assert_eq!(decided(&mut view, &approves("usr_8")), Err(format!("not decidable {}", state.as_str())));
        }
    }
}

#[test]
fn a_first_approval_ends_with_another_word() {
    for verdict in [ReviewAction::Clarify, ReviewAction::Reject] {
        let mut view = view_of(&in_state(KycState::UnderReview), &job());
        decided(&mut view, &approves("usr_8")).expect("the first");
        decided(&mut view, &DecideApplication { four_eyes: true, ..says(verdict) }).expect("another word");
        assert_eq!(stored(&view).first_approval, None, "{verdict:?}");
    }
    // An approval of what was handed in before is none of what was handed in since.
    let mut view = view_of(&in_state(KycState::UnderReview), &job());
    let seen = DecideApplication { submission: Some(2), ..approves("usr_8") };
    assert_eq!(decided(&mut view, &seen), Err("changed 1".into()));
    assert_eq!(stored(&view).first_approval, None);
}

#[test]
fn where_one_is_enough_an_earlier_first_approval_is_no_obstacle() {
    let mut view = view_of(&in_state(KycState::UnderReview), &job());
    decided(&mut view, &approves("usr_9")).expect("the first, while two were the rule");
    let alone = DecideApplication { event_id: "evt_later".into(), ..says(ReviewAction::Approve) };
    assert_eq!(decided(&mut view, &alone), Ok(KycState::Verified));
}

#[test]
fn checks_that_were_not_made_do_not_keep_a_person_from_deciding() {
    for status in [CheckStatus::Pending, CheckStatus::Failed, CheckStatus::Unavailable] {
        let mut before = in_state(KycState::UnderReview);
        before.checks.iter_mut().for_each(|check| check.status = status);
        let mut view = view_of(&before, &job());
        assert_eq!(decided(&mut view, &says(ReviewAction::Approve)), Ok(KycState::Verified), "{status:?}");
        assert_eq!(stored(&view).checks, before.checks, "{status:?}: what was found stays on record");
    }
}
