//! A buyer as the checkout names it: the address may belong to no account.

/// Somebody who has bought something.
#[derive(Clone)]
pub struct Buyer {
    pub(super) name: String,
    pub(super) email: String,
    /// The user who asked for the checkout: the buyer's own account, or the merchant's.
    pub(super) asked_by: String,
}

impl std::fmt::Debug for Buyer {
    /// Shows no name and no address: it may reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buyer").field("asked_by", &self.asked_by).finish_non_exhaustive()
    }
}
