//! Decisions of reviewers.

use bson::{DateTime, doc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    commands::{ApplicationChange, ChangedApplication, record},
    error::KycError,
    model::{Application, Requirement, ReviewDecision},
    transitions::{KycCommand, next},
};
use crate::{
    modules::{
        events::Actor,
        queue::{Job, JobEnd, JobState, settle_job},
    },
    platform::batch::{Command, Key, View},
};

/// A reviewer's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Verdict)]
pub enum ReviewAction {
    /// The merchant is known.
    Approve,
    /// Refused.
    Reject,
    /// Something has to be changed or added.
    Clarify,
    /// Was verified; no new business for now.
    Suspend,
    /// The suspension is lifted.
    Reinstate,
}

impl ReviewAction {
    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Clarify => "clarify",
            Self::Suspend => "suspend",
            Self::Reinstate => "reinstate",
        }
    }

    const fn command(self) -> KycCommand {
        match self {
            Self::Approve => KycCommand::Approve,
            Self::Reject => KycCommand::Reject,
            Self::Clarify => KycCommand::Clarify,
            Self::Suspend => KycCommand::Suspend,
            Self::Reinstate => KycCommand::Reinstate,
        }
    }

    /// Event and action.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Approve => ("KycApproved", "kyc.approved"),
            Self::Reject => ("KycRejected", "kyc.rejected"),
            Self::Clarify => ("KycClarificationAsked", "kyc.clarification_asked"),
            Self::Suspend => ("KycSuspended", "kyc.suspended"),
            Self::Reinstate => ("KycReinstated", "kyc.reinstated"),
        }
    }
}

pub(super) struct DecideApplication {
    pub(super) user_id: String,
    pub(super) verdict: ReviewAction,
    pub(super) reason: String,
    pub(super) requirements: Vec<Requirement>,
    /// The submission that the reviewer has seen; a later one is not decided.
    pub(super) submission: Option<i32>,
    /// Two reviewers have to approve.
    pub(super) four_eyes: bool,
    pub(super) actor: Actor,
    pub(super) event_id: String,
}

impl DecideApplication {
    fn decision(&self, now: DateTime) -> ReviewDecision {
        ReviewDecision {
            decision: self.verdict.as_str().into(),
            by: self.actor.id.clone(),
            reason: self.reason.clone(),
            at: now,
        }
    }

    /// The first of two approvals: the application waits for the second.
    fn propose(&self, view: &mut View, mut application: Application) -> ChangedApplication {
        let before = application.state;
        application.first_approval = Some(self.decision(view.now()));
        application.state = next(before, KycCommand::Refer).unwrap_or(before);
        application.updated_at = view.now();
        stop_checks(view, &application);
        let happened = ApplicationChange {
            kind: "KycApprovalProposed",
            action: "kyc.approval_proposed",
            before: Some(before),
            reason: Some(&self.reason),
            ..ApplicationChange::default()
        };
        record(view, &mut application, &self.event_id, &self.actor, happened);
        view.update(&application);
        Ok(Box::new(application))
    }
}

/// Ends a job that waits to make checks; one that runs finds out by itself that it is too late, and so does one that has
/// to close the call of a dead worker.
fn stop_checks(view: &mut View, application: &Application) {
    if application.open_call.is_some() {
        return;
    }
    let job = application.job_id.as_ref().and_then(|id| view.by_id::<Job>(id));
    if let Some(job) = job.filter(|job| job.state == JobState::Ready) {
        settle_job(view, job, &JobEnd::Done { result: Some(doc! { "state": application.state.as_str() }) });
    }
}

impl Command for DecideApplication {
    type Reply = ChangedApplication;

    fn reads(&self) -> Vec<Key> {
        vec![Application::key(&self.user_id)]
    }

    fn decide(&self, view: &mut View) -> ChangedApplication {
        let found = view.find::<Application>(&Application::key(&self.user_id));
        // Other ids with the same body lead to the same application.
        let Some(mut application) = found.filter(|application| application.user_id == self.user_id) else {
            return Err(KycError::NotFound);
        };
        let before = application.state;
        let Some(state) = next(before, self.verdict.command()) else { return Err(KycError::NotDecidable(before)) };
        if self.submission.is_some_and(|seen| seen != application.submission) {
            return Err(KycError::Changed(application.submission));
        }
        if self.actor.id == application.user_id {
            return Err(KycError::OwnApplication);
        }
        let suspended_by_me = application.decision.as_ref().is_some_and(|decision| decision.by == self.actor.id);
        if self.four_eyes && self.verdict == ReviewAction::Reinstate && suspended_by_me {
            return Err(KycError::SecondPersonNeeded);
        }
        if self.four_eyes && self.verdict == ReviewAction::Approve {
            match &application.first_approval {
                None => return self.propose(view, application),
                Some(first) if first.by == self.actor.id => return Err(KycError::SecondPersonNeeded),
                Some(_) => {}
            }
        }
        let now = view.now();
        application.state = state;
        application.decision = Some(self.decision(now));
        application.paper_was_asked_for = false;
        application.first_approval = application.first_approval.filter(|_| self.verdict == ReviewAction::Approve);
        application.requirements.clone_from(&self.requirements);
        application.updated_at = now;
        stop_checks(view, &application);
        let (kind, action) = self.verdict.names();
        let asked: Vec<_> = self.requirements.iter().map(|asked| &*asked.field).collect();
        let happened = ApplicationChange {
            kind,
            action,
            before: Some(before),
            reason: Some(&self.reason),
            data: doc! { "requirements": asked },
        };
        record(view, &mut application, &self.event_id, &self.actor, happened);
        view.update(&application);
        Ok(Box::new(application))
    }
}
