//! What may happen to a checkout in which status: one exhaustive table, printed in ARCHITECTURE.md.

use super::model::CheckoutStatus;
use crate::platform::state_table;

/// What happens to a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckoutCommand {
    /// It is paid.
    Pay,
    /// It is not paid and won't be.
    FailPayment,
    /// Everything that follows from it is done.
    Complete,
    /// Who asked for it takes it back.
    Cancel,
}

impl CheckoutCommand {
    /// Every command.
    pub const ALL: [Self; 4] = [Self::Pay, Self::FailPayment, Self::Complete, Self::Cancel];
}

/// Where `command` leads from `status`; `None` where it is not allowed.
#[must_use]
pub const fn next(status: CheckoutStatus, command: CheckoutCommand) -> Option<CheckoutStatus> {
    use CheckoutCommand as C;
    use CheckoutStatus as S;
    match (status, command) {
        (S::Pending, C::Pay) => Some(S::Paid),
        (S::Pending, C::FailPayment) => Some(S::PaymentFailed),
        (S::Paid, C::Complete) => Some(S::Completed),
        (S::Pending | S::Paid, C::Cancel) => Some(S::Cancelled),
        (S::Pending, C::Complete) | (S::Paid, C::Pay | C::FailPayment) => None,
        (S::Completed | S::PaymentFailed | S::Cancelled, C::Pay | C::FailPayment | C::Complete | C::Cancel) => None,
    }
}

/// The table, as printed in ARCHITECTURE.md.
#[must_use]
pub fn table() -> String {
    state_table::markdown("status", &CheckoutStatus::ALL, &CheckoutCommand::ALL, CheckoutStatus::as_str, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_architecture_is_this_one() {
        let page = include_str!("../../../ARCHITECTURE.md");
        assert!(page.contains(&table()), "ARCHITECTURE.md lacks the current table:\n{}", table());
    }
}
