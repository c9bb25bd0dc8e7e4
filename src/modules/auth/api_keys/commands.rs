//! Making and revoking keys, each in one transaction with its audit event.

use bson::doc;

use super::{
    super::{
        model::User,
        store::{API_KEYS, user_key},
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

/// Adds a key; false where its user has as many as anybody may have.
pub(super) struct MakeKey {
    pub(super) key: ApiKey,
    pub(super) actor: Actor,
}

impl Command for MakeKey {
    type Reply = bool;

    fn reads(&self) -> Vec<Key> {
        vec![user_key(&self.key.user_id), Key::id(API_KEYS, &*self.key.id)]
    }

    fn decide(&self, view: &mut View) -> bool {
        let Self { key, actor } = self;
        if view.contains(&Key::id(API_KEYS, &*key.id)) {
            return true;
        }
        let Some(mut user) = view.by_id::<User>(&key.user_id).filter(|user| user.api_keys < KEYS_MAX) else {
            return false;
        };
        user.api_keys += 1;
        view.update(&user);
        view.insert(key);
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let after = doc! { "scopes": scopes, "expiresAt": key.expires_at.map(|at| Rfc3339Time(at).to_string()) };
        let event = trail::of_key("api_key.created", key, actor, view.now()).after(after);
        record_event(view, &event.with_id(sibling_id("aud", &key.id)));
        true
    }
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
        let key = key.revoked(view.now());
        view.update(&key);
        if let Some(mut user) = view.by_id::<User>(&self.user_id) {
            user.api_keys -= 1;
            view.update(&user);
        }
        let event = trail::of_key("api_key.revoked", &key, &self.actor, view.now());
        record_event(view, &event.with_id(self.event_id.clone()));
        Some(key)
    }
}
