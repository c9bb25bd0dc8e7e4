//! State machine of top-ups: one exhaustive table.

use super::model::TopupStatus;

/// A change of a top-up's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopupCommand {
    /// The gateway has the payment.
    Start,
    /// The gateway refuses it for good.
    Refuse,
    /// The money is there and credited.
    Pay,
    /// The payer tried in vain.
    Fail,
    /// Its time is over and nobody paid.
    Expire,
    /// Every attempt is used up, or our credentials are refused.
    GiveUp,
    /// Money is there that can't be credited as it was asked for, or more than was.
    Dispute,
    /// A person has it tried again.
    Retry,
}

impl TopupCommand {
    pub const ALL: [Self; 8] =
        [Self::Start, Self::Refuse, Self::Pay, Self::Fail, Self::Expire, Self::GiveUp, Self::Dispute, Self::Retry];
}

/// Where `command` leads from `status`; `None` where it is not allowed.
#[must_use]
pub const fn next(status: TopupStatus, command: TopupCommand) -> Option<TopupStatus> {
    use TopupCommand as C;
    use TopupStatus as S;
    match (status, command) {
        (S::Created, C::Start) => Some(S::Pending),
        (S::Created, C::Retry) => Some(S::Created),
        (S::Pending, C::Start | C::Retry) => Some(S::Pending),
        (S::Created, C::Refuse) => Some(S::Failed),
        // The gateway had it already.
        (S::Pending, C::Refuse) => None,
        (S::Created | S::Pending, C::Fail) => Some(S::Failed),
        (S::Created | S::Pending, C::Expire) => Some(S::Expired),
        (S::Created | S::Pending, C::GiveUp) => Some(S::NeedsAttention),

        (S::NeedsAttention, C::Fail) => Some(S::Failed),
        (S::NeedsAttention, C::Expire) => Some(S::Expired),
        (S::NeedsAttention, C::GiveUp) => Some(S::NeedsAttention),
        (S::NeedsAttention, C::Retry) => Some(S::Created),
        (S::NeedsAttention, C::Start | C::Refuse) => None,

        // The payer may have tried again on the same page: whether in vain is not known where nobody answers.
        (S::Failed | S::Expired, C::GiveUp) => Some(S::NeedsAttention),
        (S::Failed, C::Start | C::Refuse | C::Fail | C::Expire | C::Retry) => None,

        (S::Expired, C::Start | C::Refuse | C::Fail | C::Expire | C::Retry) => None,

        // Money that arrived is money that arrived, whatever we thought before.
        (S::Created | S::Pending | S::Failed | S::Expired | S::NeedsAttention, C::Pay) => Some(S::Paid),
        // What is paid can be paid once more.
        (_, C::Dispute) => Some(S::NeedsAttention),

        (S::Paid, C::Start | C::Refuse | C::Pay | C::Fail | C::Expire | C::GiveUp | C::Retry) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use TopupStatus as S;
        // Start, Refuse, Pay, Fail, Expire, GiveUp, Dispute, Retry
        let (pay, need) = (Some(S::Paid), Some(S::NeedsAttention));
        let (fail, expire, none) = (Some(S::Failed), Some(S::Expired), None);
        let table = [
            (S::Created, [Some(S::Pending), fail, pay, fail, expire, need, need, Some(S::Created)]),
            (S::Pending, [Some(S::Pending), none, pay, fail, expire, need, need, Some(S::Pending)]),
            (S::Paid, [none, none, none, none, none, none, need, none]),
            (S::Failed, [none, none, pay, none, none, need, need, none]),
            (S::Expired, [none, none, pay, none, none, need, need, none]),
            (S::NeedsAttention, [none, none, pay, fail, expire, need, need, Some(S::Created)]),
        ];
        assert_eq!(table.map(|(status, _)| status), S::ALL);
        for (status, row) in table {
            assert_eq!(TopupCommand::ALL.map(|command| next(status, command)), row, "{status:?}");
        }
    }

    #[test]
    fn a_paid_payment_stays_paid_and_any_other_can_still_be_paid() {
        for status in TopupStatus::ALL {
            let paid = status == TopupStatus::Paid;
            assert_eq!(next(status, TopupCommand::Pay).is_none(), paid, "{status:?}");
            if paid {
                let leads_out = TopupCommand::ALL.into_iter().filter(|command| next(status, *command).is_some());
                assert_eq!(leads_out.collect::<Vec<_>>(), [TopupCommand::Dispute]);
            }
        }
    }
}
