//! Topics of letters, and those that a user wants. No IO, no clock.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailTopic {
    /// The account itself: its password, its address. Always sent.
    Account,
    /// Orders that failed or need attention, and what one has bought.
    Orders,
    /// Money that came in.
    Payments,
    /// Decisions about an application.
    Kyc,
    /// Endpoints that were disabled.
    Webhooks,
    /// Sales to customers.
    Sales,
    /// Products of which little is left.
    Stock,
    /// Reports by the calendar.
    Reports,
}

impl MailTopic {
    /// Topics that a user may turn off.
    pub const CHOSEN: [Self; 7] =
        [Self::Orders, Self::Payments, Self::Kyc, Self::Webhooks, Self::Sales, Self::Stock, Self::Reports];

    /// As in settings of users and in links.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Kyc => "kyc",
            Self::Webhooks => "webhooks",
            Self::Sales => "sales",
            Self::Stock => "stock",
            Self::Reports => "reports",
        }
    }
}

/// Letters that a user wants, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MailTopics {
    /// See [`MailTopic::Orders`].
    pub orders: bool,
    /// See [`MailTopic::Payments`].
    pub payments: bool,
    /// See [`MailTopic::Kyc`].
    pub kyc: bool,
    /// See [`MailTopic::Webhooks`].
    pub webhooks: bool,
    /// See [`MailTopic::Sales`].
    pub sales: bool,
    /// See [`MailTopic::Stock`].
    pub stock: bool,
    /// See [`MailTopic::Reports`]; not unless somebody asks for them.
    pub reports: bool,
}

impl Default for MailTopics {
    fn default() -> Self {
        Self { orders: true, payments: true, kyc: true, webhooks: true, sales: true, stock: true, reports: false }
    }
}

impl MailTopics {
    /// Whether the user wants letters about it.
    #[must_use]
    pub const fn wants(&self, topic: MailTopic) -> bool {
        match topic {
            MailTopic::Account => true,
            MailTopic::Orders => self.orders,
            MailTopic::Payments => self.payments,
            MailTopic::Kyc => self.kyc,
            MailTopic::Webhooks => self.webhooks,
            MailTopic::Sales => self.sales,
            MailTopic::Stock => self.stock,
            MailTopic::Reports => self.reports,
        }
    }

    /// The same, but for what is given.
    #[must_use]
    pub(super) fn with(mut self, change: MailChange) -> Self {
        let MailChange { orders, payments, kyc, webhooks, sales, stock, reports } = change;
        for (topic, wanted) in [
            (&mut self.orders, orders),
            (&mut self.payments, payments),
            (&mut self.kyc, kyc),
            (&mut self.webhooks, webhooks),
            (&mut self.sales, sales),
            (&mut self.stock, stock),
            (&mut self.reports, reports),
        ] {
            *topic = wanted.unwrap_or(*topic);
        }
        self
    }
}

/// A user's changes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MailChange {
    pub(super) orders: Option<bool>,
    pub(super) payments: Option<bool>,
    pub(super) kyc: Option<bool>,
    pub(super) webhooks: Option<bool>,
    pub(super) sales: Option<bool>,
    pub(super) stock: Option<bool>,
    pub(super) reports: Option<bool>,
}

impl MailChange {
    /// No more letters about `topic`; nothing where they are always sent.
    pub(super) fn without(topic: MailTopic) -> Self {
        let no = |other: MailTopic| (topic == other).then_some(false);
        Self {
            orders: no(MailTopic::Orders),
            payments: no(MailTopic::Payments),
            kyc: no(MailTopic::Kyc),
            webhooks: no(MailTopic::Webhooks),
            sales: no(MailTopic::Sales),
            stock: no(MailTopic::Stock),
            reports: no(MailTopic::Reports),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_and_the_account_is_always_written_to() {
        let usual = MailTopics::default();
        let wanted = |topics: MailTopics| MailTopic::CHOSEN.map(|topic| topics.wants(topic));
        assert_eq!(wanted(usual), [true, true, true, true, true, true, false]);
        let changed = usual.with(MailChange { reports: Some(true), kyc: Some(false), ..MailChange::default() });
        assert_eq!(wanted(changed), [true, true, false, true, true, true, true]);
        for topic in MailTopic::CHOSEN {
            let without = changed.with(MailChange::without(topic));
            let expected = MailTopic::CHOSEN.map(|other| other != topic && changed.wants(other));
            assert_eq!(wanted(without), expected, "{topic:?}");
        }
        assert_eq!(changed.with(MailChange::without(MailTopic::Account)), changed);
        let none = MailTopic::CHOSEN.into_iter().fold(changed, |topics, topic| topics.with(MailChange::without(topic)));
        assert!(none.wants(MailTopic::Account));
    }
}
