//! Configuration of accounts, and which queues need one.

use super::room::Class;
use crate::modules::providers::AccountLimits;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    /// `parcelx/default`, `acc_...`
    pub account_id: String,
    /// The provider's name: the route of its pool.
    pub provider: String,
    /// The merchant whose account it is: it takes that merchant's jobs only.
    pub owner_user_id: Option<String>,
    /// Whether it takes new jobs. What it has placed it may finish.
    pub active: bool,
    pub limits: AccountLimits,
}

impl AccountFacts {
    /// An account of the platform without limits.
    #[must_use]
    pub fn new(account_id: &str, provider: &str) -> Self {
        Self {
            account_id: account_id.to_owned(),
            provider: provider.to_owned(),
            owner_user_id: None,
            active: true,
            limits: AccountLimits::default(),
        }
    }

    /// Route of the jobs that any account like this may take: those of the platform share a pool, a merchant has one of his
    /// own.
    pub(super) fn pool(&self) -> String {
        pool(&self.provider, self.owner_user_id.as_deref())
    }
}

/// Route of jobs of `provider` that no account is bound to yet; for a merchant who has accounts of his own, theirs.
#[must_use]
pub fn pool(provider: &str, owner_user_id: Option<&str>) -> String {
    owner_user_id.map_or_else(|| provider.to_owned(), |owner| format!("{provider}/{owner}"))
}

/// A queue whose jobs need an account.
#[derive(Clone, Copy, Debug)]
pub struct ServedQueue {
    pub queue: &'static str,
    /// The provider that its jobs call.
    pub provider: &'static str,
    /// Its share of an account's room.
    pub class: Class,
}
