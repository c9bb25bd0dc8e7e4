//! What follows from the verification provider's answers. Pure.

use bson::DateTime;

use super::{
    model::{Application, Check, CheckStatus, Requirement},
    names::similarity_percent,
};
use crate::modules::providers::{
    Failure,
    idcheck::{CheckKind, Finding},
};

/// Writes what was found into the check of `kind`. `threshold_percent`: a name that is less similar is left to a person.
/// Nothing for what is to be asked again.
pub fn conclude(
    application: &mut Application,
    kind: CheckKind,
    finding: &Finding,
    threshold_percent: u8,
    now: DateTime,
) {
    let applicant = application.legal_name.clone().unwrap_or_default();
    let Some(check) = application.checks.iter_mut().find(|check| check.kind == kind) else { return };
    check.checked_at = Some(now);
    match finding {
        Finding::Confirmed { name, transfer } => {
            let similarity = similarity_percent(&applicant, name);
            let passed = similarity >= threshold_percent;
            check.status = if passed { CheckStatus::Passed } else { CheckStatus::NameMismatch };
            check.name_similarity_percent = Some(i32::from(similarity));
            check.name_found = Some(name.clone());
            check.transfer.clone_from(transfer);
            check.code = (!passed).then(|| "name.differs".into());
            check.message = (!passed).then(|| "It is under another name than the application.".into());
        }
        Finding::Refuted(failure) => fail(check, CheckStatus::Failed, failure),
        Finding::Inconclusive(failure) => fail(check, CheckStatus::Inconclusive, failure),
        Finding::Retryable(failure, _) | Finding::Unauthorized(failure) => {
            fail(check, CheckStatus::Unavailable, failure)
        }
    }
}

fn fail(check: &mut Check, status: CheckStatus, failure: &Failure) {
    check.status = status;
    check.code = Some(failure.code.into());
    check.message = Some(failure.message.clone());
}

/// Every check that was not made can't be made now: the provider is away.
pub fn give_up(application: &mut Application, failure: &Failure, now: DateTime) {
    for check in application.checks.iter_mut().filter(|check| check.status == CheckStatus::Pending) {
        check.checked_at = Some(now);
        fail(check, CheckStatus::Unavailable, failure);
    }
}

/// The next check to make.
#[must_use]
pub fn next_check(application: &Application) -> Option<&Check> {
    application.checks.iter().find(|check| check.status == CheckStatus::Pending)
}

/// What all checks together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// There are more to make.
    GoOn,
    /// Everything passed.
    Passed,
    /// Some failed for good: the merchant has to change something.
    Failed(Vec<Requirement>),
    /// A person has to look; why.
    Unclear(&'static str),
}

/// Adds up the checks.
#[must_use]
pub fn sum(application: &Application) -> Sum {
    let has = |status| application.checks.iter().any(|check| check.status == status);
    if application.checks.is_empty() {
        Sum::Unclear("Nothing was checked.")
    } else if has(CheckStatus::Pending) {
        Sum::GoOn
    } else if has(CheckStatus::Failed) {
        let failed = application.checks.iter().filter(|check| check.status == CheckStatus::Failed);
        Sum::Failed(failed.map(requirement).collect())
    } else if has(CheckStatus::Unavailable) {
        Sum::Unclear("The verification provider could not be asked.")
    } else if has(CheckStatus::Inconclusive) {
        Sum::Unclear("The verification provider's answer can't be judged by rule.")
    } else if has(CheckStatus::NameMismatch) {
        Sum::Unclear("A name differs.")
    } else {
        Sum::Passed
    }
}

fn requirement(check: &Check) -> Requirement {
    let field = match check.kind {
        CheckKind::Pan => "pan",
        CheckKind::Gstin => "gstin",
        CheckKind::BankAccount => "bankAccount",
    };
    Requirement {
        field: field.into(),
        code: check.code.clone().unwrap_or_default(),
        reason: check.message.clone().unwrap_or_default(),
    }
}
