//! A record with the rule by which it is sealed.

use bson::RawDocument;

use super::scope::Scope;

/// A record to be sealed or checked.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Its collection, and what of it is personal.
    pub scope: &'a Scope,
    /// Its `_id`.
    pub id: &'a str,
    /// As it is stored.
    pub document: &'a RawDocument,
}

/// Says which one it is, not what it says.
impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("collection", &self.scope.collection())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
