//! The job that has an application checked: one call per attempt, one check after the other.

use std::sync::Arc;

use bson::{DateTime, doc};
use secrecy::{ExposeSecret, SecretString};

use super::{
    VERIFY_KIND,
    checking::{conclude, give_up, next_check},
    commands::{ApplicationChange, record},
    draft::open_numbers,
    model::{Application, CheckStatus, KycState},
    submission::{refer_to_person, settle},
    transitions::{KycCommand, next},
};
use crate::{
    modules::{
        audit::{Call, ErrorClass, Verdict},
        providers::{
            AttemptDecision, Failure, Outcome, Provider, Retry,
            call_job::{Answered, Author, CallJob, CallSubject, NextStep},
            checks::{CheckFinding, CheckKind, CheckRequest, Inquiry, Verifier},
            job_error,
        },
        queue::{Job, JobEnd, JobError, QueueConfig, RetryRefused},
    },
    platform::{
        batch::View,
        exchange::{Answer, Outbound},
        sealing::{OpenError, SealingKeys},
    },
};

pub struct VerifyApplication {
    /// Speaks the provider's words.
    pub provider: Arc<dyn Verifier>,
    /// Opens the numbers that are sent.
    pub keys: Arc<SealingKeys>,
    /// A name that is less similar is left to a person.
    pub name_match_min_percent: u8,
    /// [`super::KYC_QUEUE`].
    pub queue: QueueConfig,
}

#[derive(Clone, Debug)]
pub struct CheckCall {
    kind: CheckKind,
    reference: String,
    submission: i32,
}

impl VerifyApplication {
    fn request(
        &self,
        application: &Application,
        kind: CheckKind,
        reference: &str,
    ) -> Result<Option<Outbound>, OpenError> {
        let numbers = open_numbers(application, &self.keys)?;
        let text = |number: &Option<SecretString>| number.as_ref().map(|number| number.expose_secret().to_owned());
        let (pan, gstin, account) = (text(&numbers.pan), text(&numbers.gstin), text(&numbers.account_number));
        let inquiry = match kind {
            CheckKind::Pan => pan.as_deref().map(|pan| Inquiry::Pan { pan }),
            CheckKind::Gstin => gstin.as_deref().map(|gstin| Inquiry::Gstin { gstin }),
            CheckKind::BankAccount => account
                .as_deref()
                .zip(application.bank_account.as_ref())
                .map(|(account_number, account)| Inquiry::BankAccount { account_number, ifsc: &account.ifsc }),
        };
        let named = inquiry.zip(application.legal_name.as_deref());
        Ok(named.map(|(inquiry, name)| self.provider.request(&CheckRequest { reference, name, inquiry })))
    }

    /// Decides by the checks made so far.
    fn settle(&self, view: &mut View, application: &mut Application, by: Author<'_>) -> AttemptDecision {
        if next_check(application).is_some() {
            return JobEnd::Retry { at: view.now(), error: None, counts: false }.into();
        }
        settle(view, application, by.event_id, by.actor);
        done(application).into()
    }
}

/// Nobody can be asked: a person has to look, and an operator may have it tried again.
fn leave(
    view: &mut View,
    application: &mut Application,
    failure: &Failure,
    class: ErrorClass,
    by: Author<'_>,
) -> AttemptDecision {
    give_up(application, failure, view.now());
    application.updated_at = view.now();
    refer_to_person(view, application, by.event_id, by.actor, "The verification provider could not be asked.");
    JobEnd::Dead { error: job_error(class, failure) }.into()
}

fn done(application: &Application) -> JobEnd {
    JobEnd::Done { result: Some(doc! { "state": application.state.as_str() }) }
}

impl CallJob for VerifyApplication {
    type Subject = Application;
    type CallSpec = CheckCall;
    type Done = CheckFinding;

    fn kind(&self) -> &'static str {
        VERIFY_KIND
    }

    fn queue(&self) -> &QueueConfig {
        &self.queue
    }

    fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    fn subject_field(&self) -> &'static str {
        "applicationId"
    }

    fn gone(&self) -> (&'static str, &'static str) {
        ("kyc.gone", "The application is not there.")
    }

    fn concerns(&self, application: &Application) -> CallSubject {
        CallSubject {
            user_id: application.user_id.clone(),
            resource_id: Some(application.id.clone()),
            ..CallSubject::default()
        }
    }

    fn step(&self, application: &mut Application, job: &Job, _: DateTime) -> NextStep<(Outbound, CheckCall)> {
        let wanted = application.state == KycState::Submitted && application.job_id.as_deref() == Some(&*job.id);
        let Some(check) = next_check(application).filter(|_| wanted) else {
            return NextStep::End(done(application).into());
        };
        let asked =
            CheckCall { kind: check.kind, reference: check.reference.clone(), submission: application.submission };
        match self.request(application, check.kind, &check.reference) {
            Ok(Some(outbound)) => NextStep::Call((outbound, asked)),
            // What is to be checked was there when it was handed in, and is locked since.
            Ok(None) => {
                NextStep::Fail(JobError::new("payload", "kyc.nothing_to_check", "The number to check is not there."))
            }
            // Another worker may have the key, or this one may get it.
            Err(error) => NextStep::Fail(JobError::new("retryable", "kyc.sealed", error.to_string())),
        }
    }

    fn open_call<'a>(&self, application: &'a mut Application) -> &'a mut Option<Call> {
        &mut application.open_call
    }

    fn link(&self, application: &mut Application, call: &Call, response_id: Option<&str>, now: DateTime) {
        match response_id {
            None => {
                application.provider_request_ref_id = Some(call.request_ref_id.clone());
                application.provider_response_ref_id = None;
            }
            Some(id) if application.provider_request_ref_id.as_deref() == Some(&*call.request_ref_id) => {
                application.provider_response_ref_id = Some(id.to_owned());
            }
            Some(_) => {}
        }
        application.updated_at = now;
    }

    fn read(&self, _: &Job, _: &str, asked: &CheckCall, answer: &Answer) -> Outcome<CheckFinding> {
        self.provider.read(asked.kind, &asked.reference, answer)
    }

    fn describe(&self, _: &CheckCall, finding: &CheckFinding) -> Verdict {
        match finding {
            CheckFinding::Confirmed { .. } => Verdict::done("done"),
            // The provider did what it was asked to: the answer is not the one that the merchant hoped for.
            CheckFinding::Refuted(failure) => Verdict {
                error_code: Some(failure.code),
                error_message: Some(failure.message.clone()),
                ..Verdict::done("done")
            },
            // What they say in their own words may name somebody: it is with the check, not in the logs.
            CheckFinding::Inconclusive(failure) => {
                Verdict { error_message: None, ..Verdict::failed(ErrorClass::Unknown, failure.code, "") }
            }
        }
    }

    fn follow(
        &self,
        view: &mut View,
        application: &mut Application,
        answered: &Answered<'_, CheckCall, CheckFinding>,
        by: Author<'_>,
    ) -> AttemptDecision {
        let Answered { job, asked, outcome, timing, .. } = answered;
        // A person has decided meanwhile, or it was handed in again: the answer is on record, and that is all.
        if application.state != KycState::Submitted
            || application.submission != asked.submission
            || application.job_id.as_deref() != Some(&*job.id)
        {
            return done(application).into();
        }
        let (failure, how) = match outcome {
            Outcome::Done(finding) => {
                conclude(application, asked.kind, finding, self.name_match_min_percent, timing.now);
                application.updated_at = timing.now;
                return self.settle(view, application, by);
            }
            Outcome::Refused(failure) | Outcome::Unauthorized(failure) => {
                return leave(view, application, failure, ErrorClass::Fatal, by);
            }
            Outcome::Retryable(failure, how) => (failure, *how),
            Outcome::Unknown(failure) => (failure, Retry::Counted),
        };
        match how.end(job, ErrorClass::Retryable, failure, timing) {
            Some(end) => end.into(),
            None => leave(view, application, failure, ErrorClass::Retryable, by),
        }
    }

    fn give_up(
        &self,
        view: &mut View,
        application: &mut Application,
        failure: &Failure,
        by: Author<'_>,
    ) -> AttemptDecision {
        leave(view, application, failure, ErrorClass::Unknown, by)
    }

    /// The next check is not waited for.
    fn write(
        &self,
        view: &mut View,
        application: Application,
        decision: &AttemptDecision,
        _: Author<'_>,
    ) -> Option<&'static str> {
        view.update(&application);
        matches!(decision.end, JobEnd::Retry { error: None, .. }).then_some(self.queue.name)
    }

    fn revive(
        &self,
        view: &mut View,
        mut application: Application,
        job: &Job,
        by: Author<'_>,
    ) -> Result<(), RetryRefused> {
        if application.job_id.as_deref() != Some(&*job.id) {
            return Err(RetryRefused {
                reason: "The application was handed in again since; that has a job of its own.",
            });
        }
        let before = application.state;
        let state = next(before, KycCommand::Recheck);
        application.state =
            state.ok_or(RetryRefused { reason: "The application is decided, or with the merchant." })?;
        if application.first_approval.is_some() {
            return Err(RetryRefused { reason: "A reviewer has approved already; the second one decides." });
        }
        for check in application.checks.iter_mut().filter(|check| check.status == CheckStatus::Unavailable) {
            check.status = CheckStatus::Pending;
        }
        application.updated_at = view.now();
        let happened = ApplicationChange {
            kind: "KycRechecked",
            action: "kyc.rechecked",
            before: Some(before),
            reason: Some("The checks run again."),
            ..ApplicationChange::default()
        };
        record(view, &mut application, by.event_id, by.actor, happened);
        view.update(&application);
        Ok(())
    }
}
