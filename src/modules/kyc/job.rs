//! The job that has an application checked: one call per attempt, one check after the other.

use std::sync::Arc;

use async_trait::async_trait;
use bson::{DateTime, doc};
use secrecy::{ExposeSecret, SecretString};

use super::{
    VERIFY_KIND,
    checking::{conclude, give_up, next_check},
    commands::{Happened, record},
    draft::open_numbers,
    model::{Application, CheckStatus, KycState},
    submission::{refer, settle},
    transitions::{KycCommand, next},
};
use crate::{
    modules::{
        audit::{Call, ErrorClass, Verdict},
        events::Actor,
        providers::{
            AccountNews, Failure, NextTry, Repeat,
            call_job::{Answered, CallJob, Concerned, Step},
            idcheck::{CheckKind, Finding, IdCheck, Inquiry, Question},
            job_error,
        },
        queue::{Concluded, Job, JobEnd, JobError, QueueConfig, RetryRefused},
    },
    platform::{
        batch::View,
        exchange::{Answer, Credentials, Outbound},
        sealing::{OpenError, SealingKeys},
    },
};

/// Has applications checked.
pub struct VerifyApplication {
    /// Speaks the provider's words.
    pub provider: Arc<IdCheck>,
    /// Opens the numbers that are sent.
    pub keys: Arc<SealingKeys>,
    /// A name that is less similar is left to a person.
    pub name_match_min_percent: u8,
    /// [`super::KYC_QUEUE`].
    pub queue: QueueConfig,
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
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
        let name = application.legal_name.as_deref().unwrap_or_default();
        Ok(inquiry.map(|inquiry| self.provider.request(&Question { reference, name, inquiry })))
    }

    /// What the checks, as they stand, lead to.
    fn settle(&self, view: &mut View, mut application: Application, answered: &Answered<'_, Self>) -> Concluded {
        if next_check(&application).is_some() {
            view.update(&application);
            let end = JobEnd::Retry { at: view.now(), error: None, counts: false };
            return Concluded { end, wake: Some(self.queue.name) };
        }
        settle(view, &mut application, answered.event_id, answered.actor);
        view.update(&application);
        done(&application).into()
    }

    /// Nobody can be asked: a person has to look, and an operator may have it tried again.
    fn leave(&self, view: &mut View, mut application: Application, failure: &Failure, event_id: &str, actor: &Actor) {
        give_up(&mut application, failure, view.now());
        application.updated_at = view.now();
        refer(view, &mut application, event_id, actor, "The verification provider could not be asked.");
        view.update(&application);
    }
}

fn happened<'a>(kind: &'static str, action: &'static str, before: KycState, reason: &'a str) -> Happened<'a> {
    Happened { kind, action, before: Some(before), reason: Some(reason), ..Happened::default() }
}

fn done(application: &Application) -> JobEnd {
    JobEnd::Done { result: Some(doc! { "state": application.state.as_str() }) }
}

#[async_trait]
impl CallJob for VerifyApplication {
    type Subject = Application;
    type Asked = Asked;
    type Outcome = Finding;

    fn kind(&self) -> &'static str {
        VERIFY_KIND
    }

    fn queue(&self) -> &QueueConfig {
        &self.queue
    }

    fn subject_field(&self) -> &'static str {
        "applicationId"
    }

    fn gone(&self) -> JobError {
        JobError::new("payload", "kyc.gone", "The application is not there.")
    }

    fn account_id(&self) -> &str {
        self.provider.account_id()
    }

    fn credential_headers(&self) -> &'static [&'static str] {
        self.provider.credential_headers()
    }

    async fn credentials(&self) -> Option<Credentials> {
        self.provider.credentials().await
    }

    fn concerns(&self, application: &Application) -> Concerned {
        Concerned {
            user_id: application.user_id.clone(),
            resource_id: Some(application.id.clone()),
            ..Concerned::default()
        }
    }

    fn step(&self, application: &Application, job: &Job, _: DateTime) -> Step<Asked> {
        let wanted = application.state == KycState::Submitted && application.job_id.as_deref() == Some(&*job.id);
        let Some(check) = next_check(application).filter(|_| wanted) else {
            return Step::End(done(application));
        };
        let asked = Asked { kind: check.kind, reference: check.reference.clone(), submission: application.submission };
        match self.request(application, check.kind, &check.reference) {
            Ok(Some(outbound)) => Step::Call { outbound, asked },
            // What is to be checked was there when it was handed in, and is locked since.
            Ok(None) => {
                Step::Fail(JobError::new("payload", "kyc.nothing_to_check", "The number to check is not there."))
            }
            // Another worker may have the key, or this one may get it.
            Err(error) => Step::Fail(JobError::new("retryable", "kyc.sealed", error.to_string())),
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

    fn read(&self, _: &str, asked: &Asked, answer: &Answer) -> Finding {
        self.provider.read(asked.kind, &asked.reference, answer)
    }

    fn describe(&self, finding: &Finding) -> (Verdict, AccountNews) {
        let (outcome, failed, news) = match finding {
            Finding::Confirmed { .. } => ("done", None, AccountNews::Accepted),
            // The provider did what it was asked to: the answer is not the one that the merchant hoped for.
            Finding::Refuted(failure) => ("done", Some((None, failure)), AccountNews::Accepted),
            Finding::Inconclusive(failure) => {
                ("unknown", Some((Some(ErrorClass::Unknown), failure)), AccountNews::Accepted)
            }
            Finding::Retryable(failure, repeat) => {
                let news = match repeat {
                    Repeat::Throttled(wait) => AccountNews::Throttled(*wait),
                    Repeat::Counted | Repeat::NotConnected => AccountNews::None,
                };
                ("retryable", Some((Some(ErrorClass::Retryable), failure)), news)
            }
            Finding::Unauthorized(failure) => ("fatal", Some((Some(ErrorClass::Fatal), failure)), AccountNews::Refused),
        };
        // What they say in their own words may name somebody: it is with the check, not in the logs.
        let own_words = matches!(finding, Finding::Inconclusive(_));
        let verdict = Verdict {
            outcome,
            error_class: failed.and_then(|(class, _)| class),
            error_code: failed.map(|(_, failure)| failure.code),
            error_message: failed.filter(|_| !own_words).map(|(_, failure)| failure.message.clone()),
            awb: None,
        };
        (verdict, news)
    }

    fn follow(&self, view: &mut View, mut application: Application, answered: &Answered<'_, Self>) -> Concluded {
        let Answered { job, asked, outcome, .. } = answered;
        let now = view.now();
        // A person has decided meanwhile, or it was handed in again: the answer is on record, and that is all.
        if application.state != KycState::Submitted
            || application.submission != asked.submission
            || application.job_id.as_deref() != Some(&*job.id)
        {
            view.update(&application);
            return done(&application).into();
        }
        match outcome {
            Finding::Retryable(failure, repeat) => {
                if let Some(NextTry { at, counts }) = repeat.next_try(job, self.queue.backoff, answered.jitter, now) {
                    view.update(&application);
                    let error = Some(job_error(ErrorClass::Retryable, failure));
                    return JobEnd::Retry { at, error, counts }.into();
                }
                self.leave(view, application, failure, answered.event_id, answered.actor);
                JobEnd::Dead { error: job_error(ErrorClass::Retryable, failure) }.into()
            }
            Finding::Unauthorized(failure) => {
                self.leave(view, application, failure, answered.event_id, answered.actor);
                JobEnd::Dead { error: job_error(ErrorClass::Fatal, failure) }.into()
            }
            Finding::Confirmed { .. } | Finding::Refuted(_) | Finding::Inconclusive(_) => {
                conclude(&mut application, asked.kind, outcome, self.name_match_min_percent, now);
                application.updated_at = now;
                self.settle(view, application, answered)
            }
        }
    }

    fn give_up(&self, view: &mut View, application: Application, error: &JobError, event_id: &str, actor: &Actor) {
        let failure = Failure::new("queue.attempts_used_up", &error.message);
        self.leave(view, application, &failure, event_id, actor);
    }

    fn revive(
        &self,
        view: &mut View,
        mut application: Application,
        job: &Job,
        actor: &Actor,
        event_id: &str,
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
        view.update(&application);
        record(
            view,
            &application,
            event_id,
            actor,
            happened("KycRechecked", "kyc.rechecked", before, "The checks run again."),
        );
        Ok(())
    }
}
