//! Who has bought something, as the checkout names it: an address that may be nobody's account.

/// Somebody who has bought something.
#[derive(Clone)]
pub struct Buyer {
    pub(super) name: String,
    pub(super) email: String,
    /// The user who asked for the checkout: the buyer's own account, or the merchant's.
    pub(super) asked_by: String,
}

impl std::fmt::Debug for Buyer {
    /// What else there is must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buyer").field("asked_by", &self.asked_by).finish_non_exhaustive()
    }
}
