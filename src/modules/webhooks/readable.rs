//! Events that an API key may read. With `webhooks:write` alone it could have everything posted to a server of its own.

use mongodb::Database;

use super::{
    error::WebhookError,
    owner::{Owner, is_tenant},
    payload,
};
use crate::modules::auth::{Scope, scopes_of_key};

/// Events that the caller may read: a person everything of the owner's, an API key what its scopes open elsewhere too. What is
/// posted at a key's wish is read with it.
#[derive(Clone, Debug)]
pub(super) struct Readable {
    /// Of the key; none for a person.
    scopes: Option<Vec<Scope>>,
    is_tenant: bool,
}

impl Readable {
    pub(super) async fn of(owner: &Owner, db: &Database) -> mongodb::error::Result<Self> {
        let scopes = match &owner.user.key_id {
            Some(key_id) => Some(scopes_of_key(db, key_id).await?),
            None => None,
        };
        Ok(Self { scopes, is_tenant: is_tenant(&owner.id) })
    }

    /// Whether events of this type are among it; the scope that is missing, where they are not.
    pub(super) fn check(&self, outside: &str) -> Result<(), WebhookError> {
        let Some(scopes) = &self.scopes else { return Ok(()) };
        match payload::scope_of(outside, self.is_tenant) {
            Some(scope) if !scopes.contains(&scope) => Err(WebhookError::NoScope(scope)),
            _ => Ok(()),
        }
    }

    /// The same of all that an endpoint wants, where none are named of everything.
    pub(super) fn check_all(&self, types: &[String]) -> Result<(), WebhookError> {
        if types.is_empty() {
            return payload::known().iter().try_for_each(|kind| self.check(kind));
        }
        types.iter().try_for_each(|kind| self.check(kind))
    }
}
