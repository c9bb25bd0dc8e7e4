//! State machine of checkouts: one exhaustive table, printed in docs/checkout.md.

use super::model::CheckoutStatus;
use crate::platform::state_table;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckoutCommand {
    Pay,
    /// It is not paid and won't be.
    FailPayment,
    /// Everything that follows from it is done.
    Complete,
    /// A part of what follows came to nothing, or nobody knows.
    GiveUp,
    /// Fulfilment has begun again.
    Resume,
    /// Its orders are to be cancelled first.
    RequestCancel,
    /// It is taken back.
    Cancel,
}

impl CheckoutCommand {
    pub const ALL: [Self; 7] =
        [Self::Pay, Self::FailPayment, Self::Complete, Self::GiveUp, Self::Resume, Self::RequestCancel, Self::Cancel];
}

/// Where `command` leads from `status`; `None` where it is not allowed.
#[must_use]
pub const fn next(status: CheckoutStatus, command: CheckoutCommand) -> Option<CheckoutStatus> {
    use CheckoutCommand as C;
    use CheckoutStatus as S;
    match (status, command) {
        (S::Pending, C::Pay) => Some(S::Paid),
        (S::Pending, C::FailPayment) => Some(S::PaymentFailed),
        (S::Paid | S::NeedsAttention | S::Cancelling, C::Complete) => Some(S::Completed),
        (S::Paid | S::Completed | S::NeedsAttention | S::Cancelling, C::GiveUp) => Some(S::NeedsAttention),
        (S::Paid | S::NeedsAttention | S::Cancelling, C::Resume) => Some(S::Paid),
        (S::Paid | S::Completed | S::NeedsAttention, C::RequestCancel) => Some(S::Cancelling),
        (S::Pending | S::Paid | S::NeedsAttention | S::Cancelling, C::Cancel) => Some(S::Cancelled),
        (S::Pending, C::Complete | C::GiveUp | C::Resume | C::RequestCancel)
        | (S::Paid | S::NeedsAttention | S::Cancelling, C::Pay | C::FailPayment)
        | (S::Cancelling, C::RequestCancel)
        | (S::Completed, C::Pay | C::FailPayment | C::Complete | C::Resume | C::Cancel)
        | (S::PaymentFailed | S::Cancelled, _) => None,
    }
}

/// The table, as printed in docs/checkout.md.
#[must_use]
pub fn table() -> String {
    state_table::markdown("status", &CheckoutStatus::ALL, &CheckoutCommand::ALL, CheckoutStatus::as_str, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_docs_is_this_one() {
        let page = include_str!("../../../docs/checkout.md");
        assert!(page.contains(&table()), "docs/checkout.md lacks the current table:\n{}", table());
    }
}
