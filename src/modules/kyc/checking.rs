//! Decides by the verification provider's answers. Pure.

use bson::DateTime;

use super::{
    model::{Application, Check, CheckStatus, Requirement},
    names::similarity_percent,
};
use crate::modules::providers::{
    Failure,
    checks::{CheckFinding, CheckKind},
};

/// Writes what was found into the check of `kind`. `threshold_percent`: a name that is less similar is left to a person.
pub fn conclude(
    application: &mut Application,
    kind: CheckKind,
    finding: &CheckFinding,
    threshold_percent: u8,
    now: DateTime,
) {
    let applicant = application.legal_name.clone().unwrap_or_default();
    let Some(check) = application.checks.iter_mut().find(|check| check.kind == kind) else { return };
    check.checked_at = Some(now);
    match finding {
        CheckFinding::Confirmed { name, transfer } => {
            check.transfer.clone_from(transfer);
            compare_names(check, name, &applicant, threshold_percent);
        }
        CheckFinding::Refuted(failure) => fail(check, CheckStatus::Failed, failure),
        CheckFinding::Inconclusive(failure) => fail(check, CheckStatus::Inconclusive, failure),
    }
}

/// Judges a number that is good by whose it is.
fn compare_names(check: &mut Check, found: &str, applicant: &str, threshold_percent: u8) {
    let similarity = similarity_percent(applicant, found);
    check.name_found = Some(found.to_owned());
    let passed = similarity >= threshold_percent;
    check.status = if passed { CheckStatus::Passed } else { CheckStatus::NameMismatch };
    check.name_similarity_percent = Some(i32::from(similarity));
    check.code = (!passed).then(|| "name.differs".into());
    check.message = (!passed).then(|| "It is under another name than the application.".into());
}

/// A check as it stands when its number is handed in again, unchanged, under the name `applicant`. What is known stays
/// known, and is compared with the name of today: nobody pays for it twice. What could not be told is asked for under its
/// reference, which the provider knows; what was no good, under `reference`, as if for the first time.
#[must_use]
pub fn again(check: &Check, reference: &str, applicant: &str, threshold_percent: u8) -> Check {
    match (check.status, &check.name_found) {
        (CheckStatus::Passed | CheckStatus::NameMismatch, Some(found)) => {
            let mut known = check.clone();
            compare_names(&mut known, found, applicant, threshold_percent);
            known
        }
        // A name that was found and is not there is asked for again, as what could not be told.
        (CheckStatus::Passed | CheckStatus::NameMismatch, None)
        | (CheckStatus::Pending | CheckStatus::Inconclusive | CheckStatus::Unavailable, _) => {
            Check::pending(check.kind, &check.reference)
        }
        (CheckStatus::Failed, _) => Check::pending(check.kind, reference),
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

#[must_use]
pub fn next_check(application: &Application) -> Option<&Check> {
    application.checks.iter().find(|check| check.status == CheckStatus::Pending)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChecksOutcome {
    /// There are more to make.
    GoOn,
    Passed,
    /// Some failed for good: the merchant has to change something.
    Failed(Vec<Requirement>),
    /// A person has to look; why.
    Unclear(&'static str),
}

#[must_use]
pub fn sum(application: &Application) -> ChecksOutcome {
    let has = |status| application.checks.iter().any(|check| check.status == status);
    if application.checks.is_empty() {
        ChecksOutcome::Unclear("Nothing was checked.")
    } else if has(CheckStatus::Pending) {
        ChecksOutcome::GoOn
    } else if has(CheckStatus::Failed) {
        let failed = application.checks.iter().filter(|check| check.status == CheckStatus::Failed);
        ChecksOutcome::Failed(failed.map(requirement).collect())
    } else if has(CheckStatus::Unavailable) {
        ChecksOutcome::Unclear("The verification provider could not be asked.")
    } else if has(CheckStatus::Inconclusive) {
        ChecksOutcome::Unclear("The verification provider's answer can't be judged by rule.")
    } else if has(CheckStatus::NameMismatch) {
        ChecksOutcome::Unclear("A name differs.")
    } else {
        ChecksOutcome::Passed
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
