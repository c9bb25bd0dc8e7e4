//! State machine of applications: one exhaustive table, printed in docs/kyc.md.

use super::model::KycState;
use crate::platform::state_table;

/// A change of an application's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KycCommand {
    /// The merchant fills it in.
    Save,
    /// The merchant hands it in.
    Submit,
    /// Every automatic check passed.
    Pass,
    /// The checks leave it to a person.
    Refer,
    /// A check failed for good: the merchant has to change something.
    Fail,
    /// An operator has the checks run again.
    Recheck,
    Approve,
    Reject,
    /// A reviewer asks the merchant for something.
    Clarify,
    /// A reviewer suspends the merchant.
    Suspend,
    /// A reviewer lifts the suspension.
    Reinstate,
    /// The merchant is known already: an operator on the machine says so.
    Grant,
    Erase,
}

impl KycCommand {
    pub const ALL: [Self; 13] = [
        Self::Save,
        Self::Submit,
        Self::Pass,
        Self::Refer,
        Self::Fail,
        Self::Recheck,
        Self::Approve,
        Self::Reject,
        Self::Clarify,
        Self::Suspend,
        Self::Reinstate,
        Self::Grant,
        Self::Erase,
    ];
}

/// Where `command` leads from `state`; `None` where it is not allowed.
#[must_use]
pub const fn next(state: KycState, command: KycCommand) -> Option<KycState> {
    use KycCommand as C;
    use KycState as S;
    match (state, command) {
        (S::NotStarted, C::Save) => Some(S::Draft),
        (S::NotStarted | S::Draft, C::Grant) => Some(S::Verified),
        (
            S::NotStarted,
            C::Submit
            | C::Pass
            | C::Refer
            | C::Fail
            | C::Recheck
            | C::Approve
            | C::Reject
            | C::Clarify
            | C::Suspend
            | C::Reinstate
            | C::Erase,
        ) => None,

        (S::Draft | S::NeedsClarification, C::Save) => Some(state),
        (S::Draft | S::NeedsClarification, C::Submit) => Some(S::Submitted),
        // Who never answers must not wait for ever.
        (S::NeedsClarification, C::Reject) => Some(S::Rejected),
        (S::NeedsClarification, C::Grant) => None,
        (S::Draft, C::Reject) => None,
        (
            S::Draft | S::NeedsClarification,
            C::Pass | C::Refer | C::Fail | C::Recheck | C::Approve | C::Clarify | C::Suspend | C::Reinstate | C::Erase,
        ) => None,

        (S::Submitted, C::Pass) => Some(S::Verified),
        (S::Submitted, C::Refer) => Some(S::UnderReview),
        (S::Submitted, C::Fail) => Some(S::NeedsClarification),
        // What comes after a person has decided is too late.
        (S::UnderReview, C::Pass | C::Refer | C::Fail) => None,
        (S::Submitted | S::UnderReview, C::Recheck) => Some(S::Submitted),
        (S::Submitted | S::UnderReview, C::Approve) => Some(S::Verified),
        (S::Submitted | S::UnderReview, C::Reject) => Some(S::Rejected),
        (S::Submitted | S::UnderReview, C::Clarify) => Some(S::NeedsClarification),
        (S::Submitted | S::UnderReview, C::Save | C::Submit | C::Suspend | C::Reinstate | C::Grant | C::Erase) => None,

        (S::Verified, C::Suspend) => Some(S::Suspended),
        (S::Suspended, C::Reinstate) => Some(S::Verified),
        (S::Suspended, C::Reject) => Some(S::Rejected),
        (S::Verified, C::Reject | C::Reinstate) | (S::Suspended, C::Suspend) => None,
        (
            S::Verified | S::Suspended,
            C::Save
            | C::Submit
            | C::Pass
            | C::Refer
            | C::Fail
            | C::Recheck
            | C::Approve
            | C::Clarify
            | C::Grant
            | C::Erase,
        ) => None,

        (S::Rejected, C::Erase) => Some(S::Rejected),
        (
            S::Rejected,
            C::Save
            | C::Submit
            | C::Pass
            | C::Refer
            | C::Fail
            | C::Recheck
            | C::Approve
            | C::Reject
            | C::Clarify
            | C::Suspend
            | C::Reinstate
            | C::Grant,
        ) => None,
    }
}

/// The table, as printed in docs/kyc.md.
#[must_use]
pub fn table() -> String {
    state_table::markdown("state", &KycState::ALL, &KycCommand::ALL, KycState::as_str, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_docs_is_this_one() {
        let page = include_str!("../../../docs/kyc.md");
        assert!(page.contains(&table()), "docs/kyc.md lacks the current table:\n{}", table());
    }

    #[test]
    fn only_a_person_or_every_check_makes_verified() {
        for state in KycState::ALL {
            for command in KycCommand::ALL {
                let verifies = next(state, command) == Some(KycState::Verified);
                let allowed = matches!(
                    command,
                    KycCommand::Pass | KycCommand::Approve | KycCommand::Reinstate | KycCommand::Grant
                );
                assert!(!verifies || allowed, "{state:?} {command:?}");
            }
        }
    }

    #[test]
    fn what_was_handed_in_is_locked_until_somebody_asks_for_more() {
        for state in KycState::ALL {
            let open = matches!(state, KycState::NotStarted | KycState::Draft | KycState::NeedsClarification);
            assert_eq!(next(state, KycCommand::Save).is_some(), open, "{state:?}");
        }
    }

    #[test]
    fn only_what_is_rejected_is_erased_and_nothing_leads_out_of_it() {
        for state in KycState::ALL {
            assert_eq!(next(state, KycCommand::Erase).is_some(), state == KycState::Rejected, "{state:?}");
        }
        assert!(
            KycCommand::ALL
                .iter()
                .all(|command| next(KycState::Rejected, *command).is_none_or(|to| to == KycState::Rejected))
        );
    }
}
