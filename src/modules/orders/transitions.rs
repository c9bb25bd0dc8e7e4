//! State machine of orders: one exhaustive table, printed in WORKFLOW.md.

use super::model::OrderStatus;
use crate::platform::state_table;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderCommand {
    /// The merchant asks for a cancellation.
    RequestCancel,
    Accept,
    /// The provider refuses for good.
    Refuse,
    /// Every attempt is used up, or a person has to look.
    GiveUp,
    /// Nothing was placed and nothing will be: the cancellation is done.
    CancelUnplaced,
    /// The provider has cancelled it.
    CancelPlaced,
    /// A person has it placed again.
    Resend,
    Begin,
    Deliver,
    /// It came to nothing at the provider, for good.
    Fail,
    /// The provider has had it for too long, or no longer says how it is getting on.
    LoseTrack,
    /// A person has made sure that it came to nothing.
    MarkFailed,
}

impl OrderCommand {
    /// Every command, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::RequestCancel,
        Self::Accept,
        Self::Refuse,
        Self::GiveUp,
        Self::CancelUnplaced,
        Self::CancelPlaced,
        Self::Resend,
        Self::Begin,
        Self::Deliver,
        Self::Fail,
        Self::LoseTrack,
        Self::MarkFailed,
    ];
}

/// Where `command` leads from `status`; `None` where it is not allowed.
#[must_use]
pub const fn next(status: OrderStatus, command: OrderCommand) -> Option<OrderStatus> {
    use OrderCommand as C;
    use OrderStatus as S;
    match (status, command) {
        (S::Created, C::RequestCancel) => Some(S::Created),
        (S::Created, C::Refuse) => Some(S::Failed),
        (S::NeedsAttention, C::RequestCancel) => Some(S::NeedsAttention),
        (S::Created | S::NeedsAttention, C::Accept) => Some(S::Confirmed),
        (S::Created | S::NeedsAttention, C::GiveUp) => Some(S::NeedsAttention),
        (S::Created | S::NeedsAttention, C::CancelUnplaced | C::CancelPlaced) => Some(S::Cancelled),
        (S::NeedsAttention | S::Failed, C::Resend) => Some(S::Created),
        (S::NeedsAttention, C::MarkFailed) => Some(S::Failed),
        (S::Confirmed, C::RequestCancel) => Some(S::Confirmed),
        (S::Confirmed, C::CancelPlaced) => Some(S::Cancelled),
        (S::Confirmed, C::Begin) => Some(S::InProgress),
        (S::Confirmed | S::InProgress, C::Deliver) => Some(S::Delivered),
        (S::Confirmed | S::InProgress, C::Fail) => Some(S::Failed),
        (S::Confirmed | S::InProgress, C::LoseTrack) => Some(S::NeedsAttention),
        (S::Created, C::Resend | C::Begin | C::Deliver | C::Fail | C::LoseTrack | C::MarkFailed)
        | (S::NeedsAttention, C::Refuse | C::Begin | C::Deliver | C::Fail | C::LoseTrack)
        | (S::Confirmed, C::Accept | C::Refuse | C::GiveUp | C::CancelUnplaced | C::Resend | C::MarkFailed)
        | (
            S::InProgress,
            C::RequestCancel
            | C::Accept
            | C::Refuse
            | C::GiveUp
            | C::CancelUnplaced
            | C::CancelPlaced
            | C::Resend
            | C::Begin
            | C::MarkFailed,
        )
        | (
            S::Failed,
            C::RequestCancel
            | C::Accept
            | C::Refuse
            | C::GiveUp
            | C::CancelUnplaced
            | C::CancelPlaced
            | C::Begin
            | C::Deliver
            | C::Fail
            | C::LoseTrack
            | C::MarkFailed,
        )
        | (S::Cancelled | S::Delivered, _) => None,
    }
}

/// The table, as printed in WORKFLOW.md.
#[must_use]
pub fn table() -> String {
    state_table::markdown("status", &OrderStatus::ALL, &OrderCommand::ALL, OrderStatus::as_str, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_workflow_is_this_one() {
        let page = include_str!("../../../WORKFLOW.md");
        assert!(page.contains(&table()), "WORKFLOW.md lacks the current table:\n{}", table());
    }

    #[test]
    fn what_was_cancelled_stays_cancelled() {
        assert!(OrderCommand::ALL.iter().all(|command| next(OrderStatus::Cancelled, *command).is_none()));
    }

    #[test]
    fn nothing_that_may_exist_at_the_provider_is_cancelled_as_unplaced() {
        for status in OrderStatus::ALL {
            let allowed = next(status, OrderCommand::CancelUnplaced).is_some();
            assert_eq!(allowed, matches!(status, OrderStatus::Created | OrderStatus::NeedsAttention), "{status:?}");
        }
    }
}
