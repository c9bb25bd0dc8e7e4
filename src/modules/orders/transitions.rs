//! What may happen to an order in which state: one exhaustive table, printed in ARCHITECTURE.md.

use super::model::OrderStatus;
use crate::platform::state_table;

/// What happens to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderCommand {
    /// The merchant asks for a cancellation.
    RequestCancel,
    /// A worker calls the provider to place it, or to look it up.
    Place,
    /// The provider has it.
    Accept,
    /// The provider refuses for good.
    Refuse,
    /// It will be tried again.
    Retry,
    /// Every attempt is used up, or a person has to look.
    GiveUp,
    /// Nothing was placed and nothing will be: the cancellation is done.
    CancelUnplaced,
    /// The provider has cancelled it.
    CancelPlaced,
    /// The cancellation was refused or given up.
    KeepAfterCancel,
    /// A person has it placed again.
    Resend,
}

impl OrderCommand {
    /// Every command, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::RequestCancel,
        Self::Place,
        Self::Accept,
        Self::Refuse,
        Self::Retry,
        Self::GiveUp,
        Self::CancelUnplaced,
        Self::CancelPlaced,
        Self::KeepAfterCancel,
        Self::Resend,
    ];
}

/// Where `command` leads from `status`; `None` where it is not allowed.
#[must_use]
pub const fn next(status: OrderStatus, command: OrderCommand) -> Option<OrderStatus> {
    use OrderCommand as C;
    use OrderStatus as S;
    match (status, command) {
        (S::Created, C::RequestCancel | C::Place | C::Retry) => Some(S::Created),
        (S::Created, C::Accept) => Some(S::Confirmed),
        (S::Created, C::Refuse) => Some(S::Failed),
        (S::Created, C::GiveUp) => Some(S::NeedsAttention),
        (S::Created, C::CancelUnplaced | C::CancelPlaced) => Some(S::Cancelled),
        (S::Created, C::KeepAfterCancel | C::Resend) => None,

        (S::NeedsAttention, C::RequestCancel | C::Retry | C::GiveUp | C::KeepAfterCancel) => Some(S::NeedsAttention),
        (S::NeedsAttention, C::Accept) => Some(S::Confirmed),
        (S::NeedsAttention, C::CancelUnplaced | C::CancelPlaced) => Some(S::Cancelled),
        (S::NeedsAttention, C::Resend) => Some(S::Created),
        (S::NeedsAttention, C::Place | C::Refuse) => None,

        (S::Failed, C::Resend) => Some(S::Created),
        (
            S::Failed,
            C::RequestCancel
            | C::Place
            | C::Accept
            | C::Refuse
            | C::Retry
            | C::GiveUp
            | C::CancelUnplaced
            | C::CancelPlaced
            | C::KeepAfterCancel,
        ) => None,

        // At the provider and not picked up yet: it can be taken back.
        (
            S::Confirmed
            | S::Pending
            | S::Booked
            | S::PickupScheduled
            | S::OutForPickup
            | S::PickupFailed
            | S::OnHold
            | S::Unknown,
            command,
        ) => match command {
            C::RequestCancel | C::Retry | C::KeepAfterCancel => Some(status),
            C::CancelPlaced => Some(S::Cancelled),
            C::Place | C::Accept | C::Refuse | C::GiveUp | C::CancelUnplaced | C::Resend => None,
        },

        // At its end. A cancellation that was under way is refused.
        (S::Delivered | S::RtoDelivered | S::Lost | S::Damaged, command) => match command {
            C::KeepAfterCancel | C::Retry => Some(status),
            C::RequestCancel
            | C::Place
            | C::Accept
            | C::Refuse
            | C::GiveUp
            | C::CancelUnplaced
            | C::CancelPlaced
            | C::Resend => None,
        },

        // On its way. A cancellation that was under way may still come to its own end.
        (
            S::PickedUp
            | S::InTransit
            | S::OutForDelivery
            | S::DeliveryFailed
            | S::RtoInitiated
            | S::RtoInTransit
            | S::RtoOutForDelivery,
            command,
        ) => match command {
            C::KeepAfterCancel | C::Retry => Some(status),
            C::CancelPlaced => Some(S::Cancelled),
            C::RequestCancel | C::Place | C::Accept | C::Refuse | C::GiveUp | C::CancelUnplaced | C::Resend => None,
        },

        (
            S::Cancelled,
            C::RequestCancel
            | C::Place
            | C::Accept
            | C::Refuse
            | C::Retry
            | C::GiveUp
            | C::CancelUnplaced
            | C::CancelPlaced
            | C::KeepAfterCancel
            | C::Resend,
        ) => None,
    }
}

/// The table, as printed in ARCHITECTURE.md.
#[must_use]
pub fn table() -> String {
    state_table::markdown("status", &OrderStatus::ALL, &OrderCommand::ALL, OrderStatus::as_str, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_architecture_is_this_one() {
        let page = include_str!("../../../ARCHITECTURE.md");
        assert!(page.contains(&table()), "ARCHITECTURE.md lacks the current table:\n{}", table());
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
