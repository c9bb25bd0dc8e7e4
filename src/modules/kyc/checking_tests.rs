//! Decisions by findings, check by check, and by all checks together.

use bson::DateTime;

use super::{
    checking::{ChecksOutcome, conclude, give_up, next_check, sum},
    model::{Application, Check, CheckStatus, Requirement},
};
use crate::modules::providers::{
    Failure,
    checks::{CheckFinding, CheckKind},
};

const NOW: DateTime = DateTime::from_millis(1_767_225_600_000);
const THRESHOLD: u8 = 85;
/// Statuses by weight: the first wins.
const BY_WEIGHT: [CheckStatus; 6] = [
    CheckStatus::Pending,
    CheckStatus::Failed,
    CheckStatus::Unavailable,
    CheckStatus::Inconclusive,
    CheckStatus::NameMismatch,
    CheckStatus::Passed,
];

fn check(kind: CheckKind, status: CheckStatus) -> Check {
    let code = (status == CheckStatus::Failed).then(|| format!("{}.no_good", kind.as_str()));
    let message = code.as_ref().map(|_| format!("Their {} is no good.", kind.as_str()));
    Check { status, code, message, ..Check::pending(kind, &format!("chk_{}", kind.as_str())) }
}

/// An application with checks in these states, in the order in which they are made.
fn with(statuses: &[CheckStatus]) -> Application {
    let checks = CheckKind::ALL.into_iter().zip(statuses).map(|(kind, status)| check(kind, *status)).collect();
    Application { checks, legal_name: Some("Asha Rao".into()), ..Application::new("usr_1", NOW) }
}

/// Every combination of so many states.
fn combinations(length: usize) -> Vec<Vec<CheckStatus>> {
    (0..length).fold(vec![Vec::new()], |shorter, _| {
        let longer = |start: &Vec<CheckStatus>| BY_WEIGHT.map(|status| [start.as_slice(), &[status]].concat());
        shorter.iter().flat_map(longer).collect()
    })
}

fn failure() -> Failure {
    Failure::new("provider.said_so", "They said so.")
}

fn requirement(field: &str, kind: &str) -> Requirement {
    let (code, reason) = (format!("{kind}.no_good"), format!("Their {kind} is no good."));
    Requirement { field: field.into(), code, reason }
}

#[test]
fn of_every_combination_the_weightiest_check_wins() {
    for statuses in (1..=CheckKind::ALL.len()).flat_map(combinations) {
        let application = with(&statuses);
        let heaviest = BY_WEIGHT.into_iter().find(|status| statuses.contains(status)).expect("one of them");
        let expected = match heaviest {
            CheckStatus::Pending => ChecksOutcome::GoOn,
            CheckStatus::Failed => {
                let all = [("pan", "pan"), ("gstin", "gstin"), ("bankAccount", "bank_account")];
                let failed = all.into_iter().zip(&statuses).filter(|(_, status)| **status == CheckStatus::Failed);
                ChecksOutcome::Failed(failed.map(|((field, kind), _)| requirement(field, kind)).collect())
            }
            CheckStatus::Unavailable => ChecksOutcome::Unclear("The verification provider could not be asked."),
            CheckStatus::Inconclusive => {
                ChecksOutcome::Unclear("The verification provider's answer can't be judged by rule.")
            }
            CheckStatus::NameMismatch => ChecksOutcome::Unclear("A name differs."),
            CheckStatus::Passed => ChecksOutcome::Passed,
        };
        assert_eq!(sum(&application), expected, "{statuses:?}");
    }
}

#[test]
fn only_what_was_checked_has_passed() {
    assert!(matches!(sum(&with(&[])), ChecksOutcome::Unclear(_)), "nobody looked at anything");
    let passed =
        (1..=CheckKind::ALL.len()).flat_map(combinations).filter(|all| sum(&with(all)) == ChecksOutcome::Passed);
    let passed: Vec<_> = passed.collect();
    assert_eq!(passed, [vec![CheckStatus::Passed], vec![CheckStatus::Passed; 2], vec![CheckStatus::Passed; 3]]);
}

#[test]
fn the_first_check_that_is_pending_is_made_next() {
    for statuses in (0..=CheckKind::ALL.len()).flat_map(combinations) {
        let first = statuses.iter().position(|status| *status == CheckStatus::Pending);
        let application = with(&statuses);
        let next = next_check(&application).map(|check| check.kind);
        assert_eq!(next, first.map(|position| CheckKind::ALL[position]), "{statuses:?}");
    }
}

#[test]
fn a_name_passes_from_the_threshold_on() {
    // 3 of 20 differ: 85 percent.
    let (applicant, found) = ("ABCDEFGHIJKLMNOPQRST", "ABCDEFGHIJKLMNOPQXYZ");
    for kind in CheckKind::ALL {
        for (threshold, status) in [
            (1, CheckStatus::Passed),
            (84, CheckStatus::Passed),
            (85, CheckStatus::Passed),
            (86, CheckStatus::NameMismatch),
            (100, CheckStatus::NameMismatch),
        ] {
            let mut application = with(&[CheckStatus::Pending; 3]);
            application.legal_name = Some(applicant.into());
            let finding = CheckFinding::Confirmed { name: found.into(), transfer: None };
            conclude(&mut application, kind, &finding, threshold, NOW);
            let check = application.check(kind).expect("the check");
            assert_eq!((check.status, check.name_similarity_percent), (status, Some(85)), "{threshold}");
            assert_eq!((check.name_found.as_deref(), check.checked_at), (Some(found), Some(NOW)));
            let differs = status == CheckStatus::NameMismatch;
            assert_eq!(check.code.as_deref(), differs.then_some("name.differs"), "{threshold}");
            assert_eq!(check.message.is_some(), differs, "{threshold}");
        }
    }
}

#[test]
fn a_name_written_otherwise_is_the_same_and_one_that_is_missing_is_none() {
    for (applicant, found, status) in [
        (Some("Asha Rao"), "RAO ASHA", CheckStatus::Passed),
        (Some("Kiran Stores Pvt Ltd"), "KIRAN STORES PRIVATE LIMITED", CheckStatus::Passed),
        (Some("Asha Rao"), "ASHA R", CheckStatus::NameMismatch),
        (None, "ASHA RAO", CheckStatus::NameMismatch),
    ] {
        let mut application = with(&[CheckStatus::Pending]);
        application.legal_name = applicant.map(Into::into);
        let finding = CheckFinding::Confirmed { name: found.into(), transfer: Some("UTR1".into()) };
        conclude(&mut application, CheckKind::Pan, &finding, THRESHOLD, NOW);
        let check = &application.checks[0];
        assert_eq!((check.status, check.transfer.as_deref()), (status, Some("UTR1")), "{applicant:?} {found}");
    }
}

#[test]
fn every_other_finding_is_written_down_in_its_own_words() {
    for kind in CheckKind::ALL {
        for (finding, status) in [
            (CheckFinding::Refuted(failure()), CheckStatus::Failed),
            (CheckFinding::Inconclusive(failure()), CheckStatus::Inconclusive),
        ] {
            let mut application = with(&[CheckStatus::Pending; 3]);
            conclude(&mut application, kind, &finding, THRESHOLD, NOW);
            for check in &application.checks {
                if check.kind == kind {
                    assert_eq!((check.status, check.checked_at), (status, Some(NOW)), "{finding:?}");
                    assert_eq!(check.code.as_deref(), Some("provider.said_so"));
                    assert_eq!(check.message.as_deref(), Some("They said so."));
                    assert_eq!((&check.name_found, &check.transfer), (&None, &None));
                } else {
                    assert_eq!(*check, Check::pending(check.kind, &check.reference), "{finding:?}: another's");
                }
            }
        }
    }
}

#[test]
fn what_was_not_to_be_checked_is_not_written_down() {
    let before = with(&[CheckStatus::Pending, CheckStatus::Passed]);
    let mut application = before.clone();
    let finding = CheckFinding::Confirmed { name: "ASHA RAO".into(), transfer: None };
    conclude(&mut application, CheckKind::BankAccount, &finding, THRESHOLD, NOW);
    assert_eq!(application, before);
}

#[test]
fn giving_up_is_about_what_is_pending_alone() {
    for statuses in combinations(CheckKind::ALL.len()) {
        let before = with(&statuses);
        let mut application = before.clone();
        give_up(&mut application, &failure(), NOW);
        for (check, was) in application.checks.iter().zip(&before.checks) {
            if was.status == CheckStatus::Pending {
                assert_eq!((check.status, check.checked_at), (CheckStatus::Unavailable, Some(NOW)));
                assert_eq!(check.code.as_deref(), Some("provider.said_so"));
                assert_eq!(check.reference, was.reference);
            } else {
                assert_eq!(check, was, "{statuses:?}");
            }
        }
        assert_eq!(next_check(&application), None);
    }
}
