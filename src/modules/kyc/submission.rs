//! Handing an application in, and what its checks lead to.

use std::sync::Arc;

use bson::{Document, doc};

use super::{
    VERIFY_KIND,
    checking::{ChecksOutcome, again, next_check, sum},
    commands::{ApplicationChange, application, record},
    draft::{defects, open_numbers},
    error::KycError,
    model::{Application, Check, KycState},
    papers::{paper_ids, replace_papers},
    transitions::{KycCommand, next},
};
use crate::{
    modules::{
        events::Actor,
        providers::{checks::CheckKind, registry::VERIFIER},
        queue::{Job, QueueConfig},
    },
    platform::{
        batch::{Command, Key, View},
        sealing::SealingKeys,
        secret::MacKey,
    },
};

/// Name in place of the provider where a person checks.
pub const MANUAL: &str = "manual";

/// From the next submission on a person looks: who tries out numbers must not do it at our cost.
const CHECKED_SUBMISSIONS_MAX: i32 = 5;

/// Hands an application in: everything is looked at once, the fields lock, and the checks begin.
pub(super) struct Submit {
    pub(super) user_id: String,
    pub(super) keys: Arc<SealingKeys>,
    /// Hashes the numbers, so that other accounts' are found.
    pub(super) papers_key: MacKey,
    /// Where the checks are made; none where persons make them.
    pub(super) queue: Option<QueueConfig>,
    /// A name that is less similar is left to a person.
    pub(super) name_match_min_percent: u8,
    pub(super) actor: Actor,
    pub(super) correlation_id: String,
    pub(super) job_id: String,
    pub(super) check_references: [String; CheckKind::ALL.len()],
    pub(super) event_ids: [String; 2],
}

impl Submit {
    /// Keeps what is known of what stands in the application, and adds what is still to be checked.
    fn plan_checks(&self, application: &mut Application) {
        let references = CheckKind::ALL.into_iter().zip(&self.check_references);
        let has_gstin = application.gstin.is_some();
        let needed = references.filter(|(kind, _)| *kind != CheckKind::Gstin || has_gstin);
        let name = application.legal_name.clone().unwrap_or_default();
        let planned = needed.map(|(kind, reference)| match application.check(kind) {
            Some(check) => again(check, reference, &name, self.name_match_min_percent),
            None => Check::pending(kind, reference),
        });
        application.checks = planned.collect();
    }

    /// Begins the checks; or settles it at once, where there is nobody to ask or nothing to be asked.
    fn start(&self, view: &mut View, application: &mut Application) {
        let refer_because = |view: &mut View, application: &mut Application, why| {
            refer_to_person(view, application, &self.event_ids[1], &self.actor, why);
        };
        let now = view.now();
        application.job_id = None;
        let Some(queue) = &self.queue else {
            application.checks.clear();
            application.provider = Some(MANUAL.into());
            return refer_because(view, application, "There is no verification provider.");
        };
        application.provider = Some(VERIFIER.name.into());
        self.plan_checks(application);
        if application.submission > CHECKED_SUBMISSIONS_MAX {
            return refer_because(view, application, "It was handed in too often to be checked once more.");
        }
        if next_check(application).is_none() {
            return settle(view, application, &self.event_ids[1], &self.actor);
        }
        application.job_id = Some(self.job_id.clone());
        let payload = doc! { "applicationId": &application.id };
        let job = Job::new(self.job_id.clone(), queue, VERIFY_KIND, payload, &self.correlation_id, now);
        view.insert(&job.owned_by(&application.user_id));
    }
}

/// Decides once all checks are made.
pub(super) fn settle(view: &mut View, application: &mut Application, event_id: &str, actor: &Actor) {
    let before = application.state;
    let (command, kind, action, reason) = match sum(application) {
        ChecksOutcome::GoOn => return,
        ChecksOutcome::Unclear(why) => return refer_to_person(view, application, event_id, actor, why),
        ChecksOutcome::Passed if application.papers_shared => {
            let why = "Every check passed; another account has handed in the same numbers.";
            return refer_to_person(view, application, event_id, actor, why);
        }
        // No check looks at papers: who has asked for one has to see it.
        ChecksOutcome::Passed if application.paper_was_asked_for => {
            return refer_to_person(
                view,
                application,
                event_id,
                actor,
                "Every check passed; a reviewer has asked for a paper.",
            );
        }
        ChecksOutcome::Passed => (KycCommand::Pass, "KycVerified", "kyc.verified", "Every check passed."),
        ChecksOutcome::Failed(requirements) => {
            application.requirements = requirements;
            (KycCommand::Fail, "KycClarificationNeeded", "kyc.clarification_needed", "A check failed.")
        }
    };
    application.state = next(before, command).expect("checks are settled of what is submitted");
    let fields: Vec<_> = application.requirements.iter().map(|asked| &*asked.field).collect();
    let data = if fields.is_empty() {
        Document::new()
    } else {
        doc! { "requirements": fields }
    };
    let happened = ApplicationChange { kind, action, before: Some(before), reason: Some(reason), data };
    record(view, application, event_id, actor, happened);
}

impl Command for Submit {
    /// The application, and whether it had been handed in before.
    type Reply = Result<(Box<Application>, bool), KycError>;

    fn reads(&self) -> Vec<Key> {
        vec![Application::key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let (mut application, _) = application(view, &self.user_id);
        let before = application.state;
        let Some(state) = next(before, KycCommand::Submit) else {
            return match before {
                // A client that lost the answer asks again.
                KycState::Submitted | KycState::UnderReview => Ok((Box::new(application), true)),
                KycState::Verified if application.submission > 0 => Ok((Box::new(application), true)),
                _ => Err(KycError::NotSubmittable(before)),
            };
        };
        let numbers = open_numbers(&application, &self.keys)?;
        let defects = defects(&application, &numbers);
        if !defects.is_empty() {
            return Err(KycError::Incomplete(defects));
        }
        let now = view.now();
        let papers = paper_ids(&self.papers_key, &application, &numbers);
        application.papers_shared = replace_papers(view, &mut application, papers);
        application.state = state;
        application.submission += 1;
        application.paper_was_asked_for |=
            application.requirements.iter().any(|asked| asked.field.starts_with("documents."));
        application.requirements.clear();
        application.first_approval = None;
        application.submitted_at = Some(now);
        application.updated_at = now;
        let submitted = ApplicationChange {
            kind: "KycSubmitted",
            action: "kyc.submitted",
            before: Some(before),
            ..ApplicationChange::default()
        };
        record(view, &mut application, &self.event_ids[0], &self.actor, submitted);
        self.start(view, &mut application);
        view.update(&application);
        Ok((Box::new(application), false))
    }
}

/// Leaves an application to a person; does nothing where one has decided.
pub(super) fn refer_to_person(
    view: &mut View,
    application: &mut Application,
    event_id: &str,
    actor: &Actor,
    reason: &str,
) {
    let before = application.state;
    let Some(state) = next(before, KycCommand::Refer) else { return };
    application.state = state;
    let referred = ApplicationChange {
        kind: "KycReferred",
        action: "kyc.referred",
        before: Some(before),
        reason: Some(reason),
        ..ApplicationChange::default()
    };
    record(view, application, event_id, actor, referred);
}
