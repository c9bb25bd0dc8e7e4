//! Making and revoking keys, each in one transaction with its audit event.

use bson::doc;

use super::{
    super::{
        model::User,
        store::{API_KEYS, TOTP, user_key},
        totp::{SecondFactorProof, spend},
        trail,
    },
    model::{ApiKey, KEYS_MAX},
};
use crate::{
    modules::audit::record_event,
    platform::{
        batch::{Command, Entity, Key, View},
        clock::Rfc3339Time,
        identity::Actor,
        ids::sibling_id,
    },
};

impl Entity for ApiKey {
    const COLLECTION: &'static str = API_KEYS;

    fn id(&self) -> &str {
        &self.id
    }
}

/// Why a key was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotMade {
    /// The user has as many as anybody may have.
    TooMany,
    /// The proof of the second factor was used before.
    Spent,
}

/// Adds a key.
pub(super) struct MakeKey {
    pub(super) key: ApiKey,
    /// Of which secret, and what was shown; none where the user has no second factor.
    pub(super) second_factor: Option<(String, SecondFactorProof)>,
    pub(super) actor: Actor,
}

impl Command for MakeKey {
    type Reply = Result<(), NotMade>;

    fn reads(&self) -> Vec<Key> {
        let totp = self.second_factor.as_ref().map(|_| Key::id(TOTP, &*self.key.user_id));
        [user_key(&self.key.user_id), Key::id(API_KEYS, &*self.key.id)].into_iter().chain(totp).collect()
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let Self { key, second_factor, actor } = self;
        if view.contains(&Key::id(API_KEYS, &*key.id)) {
            return Ok(());
        }
        let user = view.by_id::<User>(&key.user_id).filter(|user| user.api_keys < KEYS_MAX);
        let mut user = user.ok_or(NotMade::TooMany)?;
        if let Some(shown) = second_factor {
            spend(view, &key.user_id, shown).ok_or(NotMade::Spent)?;
        }
        user.api_keys += 1;
        view.update(&user);
        view.insert(key);
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let after = doc! { "scopes": scopes, "expiresAt": key.expires_at.map(|at| Rfc3339Time(at).to_string()) };
        let event = trail::of_key("api_key.created", key, actor, view.now()).after(after);
        record_event(view, &event.with_id(sibling_id("aud", &key.id)));
        Ok(())
    }
}

/// Ends a key, and records it; its user counts one less, which the caller stores.
pub(in super::super) fn end_key(view: &mut View, key: ApiKey, actor: &Actor, event_id: &str) -> ApiKey {
    let key = key.revoked(view.now());
    view.update(&key);
    let event = trail::of_key("api_key.revoked", &key, actor, view.now());
    record_event(view, &event.with_id(event_id.to_owned()));
    key
}

/// Revokes a key of a user; none where the user has no such key. Doing it again changes nothing.
pub(super) struct RevokeKey {
    pub(super) key_id: String,
    pub(super) user_id: String,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl Command for RevokeKey {
    type Reply = Option<ApiKey>;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.user_id), Key::id(API_KEYS, &*self.key_id)]
    }

    fn decide(&self, view: &mut View) -> Option<ApiKey> {
        let key = view.by_id::<ApiKey>(&self.key_id).filter(|key| key.user_id == self.user_id)?;
        if key.revoked_at.is_some() {
            return Some(key);
        }
        if let Some(mut user) = view.by_id::<User>(&self.user_id) {
            user.api_keys -= 1;
            view.update(&user);
        }
        Some(end_key(view, key, &self.actor, &self.event_id))
    }
}
