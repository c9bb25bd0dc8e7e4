//! API keys: what is stored of them, how they are written, and what a stored one is good for. No IO, no clock.

use std::time::Duration;

use bson::{Binary, DateTime, spec::BinarySubtype};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{super::model::User, scopes::Scope};
use crate::platform::{
    clock::after,
    identity::{API_KEY_PREFIX, Role},
    secret::random_letters,
};

/// Keys of one user that are not revoked.
pub(in super::super) const KEYS_MAX: i32 = 20;
/// A revoked key is kept for so long, for whoever asks what it was.
const REMEMBERED: Duration = Duration::from_secs(90 * 24 * 60 * 60);
pub(super) const NAME_CHARS_MAX: usize = 60;

const ID_PREFIX: &str = "key_";
const ID_CHARS: usize = 32;
/// Five bits each: 260 in all. Nobody guesses that, so a fast hash keeps it as well as a slow one would, and every request
/// computes it. Without a key of the service's, changing the service's secrets leaves clients' keys alone.
const SECRET_CHARS: usize = 52;
const CHECK_CHARS: usize = 8;

/// A key; collection `api_keys`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// `key_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// `usr_...`
    pub user_id: String,
    /// The owner's words.
    pub name: String,
    /// SHA-256 of the whole key.
    pub hash: Binary,
    /// Its scopes, without duplicates.
    pub scopes: Vec<Scope>,
    /// The user's role when the key was made; the key is invalid while the user has another role.
    pub role: Role,
    /// Not good from then on.
    pub expires_at: Option<DateTime>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<DateTime>,
    /// Not good any more.
    pub revoked_at: Option<DateTime>,
    /// The document goes away then; of one that is not revoked, never.
    pub forget_at: Option<DateTime>,
    pub created_at: DateTime,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ApiKey {
    /// Whether it opens anything for `user`, as both are stored, at `now`.
    pub(in super::super) fn is_good_for(&self, user: &User, now: DateTime) -> Result<(), KeyFault> {
        if self.revoked_at.is_some() || self.user_id != user.id || self.role != user.role {
            Err(KeyFault::Revoked)
        } else if user.disabled_at.is_some() {
            Err(KeyFault::Disabled)
        } else if self.has_expired(now) {
            Err(KeyFault::Expired)
        } else {
            Ok(())
        }
    }

    pub(super) fn has_expired(&self, now: DateTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The same, revoked.
    pub(super) fn revoked(self, now: DateTime) -> Self {
        Self { revoked_at: Some(now), forget_at: Some(after(now, REMEMBERED)), ..self }
    }
}

/// Why a key opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// It was revoked, or its user has another role.
    Revoked,
    Disabled,
    Expired,
}

/// A new key as its owner gets it, with its id and what is stored of it.
pub(super) fn new_key(id: &str) -> (SecretString, Binary) {
    let named = format!("{API_KEY_PREFIX}{}_{}", id.trim_start_matches(ID_PREFIX), random_letters(SECRET_CHARS));
    let key = SecretString::from(format!("{named}{}", check(&named)));
    let hash = Binary { subtype: BinarySubtype::Generic, bytes: digest(key.expose_secret()).to_vec() };
    (key, hash)
}

/// The id of a key that is written as ours are: what is mistyped or made up at random is found without asking the database.
pub(super) fn id_of(key: &str) -> Option<String> {
    let body = key.strip_prefix(API_KEY_PREFIX)?;
    if body.len() != ID_CHARS + 1 + SECRET_CHARS + CHECK_CHARS || !key.is_ascii() {
        return None;
    }
    let (named, given) = key.split_at(key.len() - CHECK_CHARS);
    let id = &body[..ID_CHARS];
    let is_id = id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) && body.as_bytes()[ID_CHARS] == b'_';
    (is_id && check(named) == given).then(|| format!("{ID_PREFIX}{id}"))
}

/// Whether the key is the one that `hash` was made of, in constant time.
pub(super) fn is_hash_of(hash: &Binary, key: &str) -> bool {
    digest(key).as_slice().ct_eq(&hash.bytes).into()
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// So that a scanner can tell a key from a text that only looks like one.
fn check(named: &str) -> String {
    hex::encode(&digest(named)[..CHECK_CHARS / 2])
}

/// Among revocations a key is a thing whose version is 0 until it is revoked.
pub(in super::super) const REVOKED: i64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{ids::new_id, scrub};

    fn key(user: &User) -> ApiKey {
        ApiKey {
            id: "key_1".into(),
            user_id: user.id.clone(),
            name: "A".into(),
            hash: new_key(&new_id("key")).1,
            scopes: vec![Scope::OrdersRead],
            role: user.role,
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
            forget_at: None,
            created_at: DateTime::from_millis(0),
        }
    }

    #[test]
    fn a_key_names_itself_and_every_change_of_it_is_noticed() {
        let id = new_id("key");
        let (key, hash) = new_key(&id);
        let text = key.expose_secret();
        assert_eq!((id_of(text), is_hash_of(&hash, text)), (Some(id), true));
        assert!(scrub::contains_key(text) && !scrub::scrub(&format!("used {text} today")).contains(&text[8..]));
        for position in 0..text.len() {
            let mut other = text.to_owned();
            other.replace_range(position..=position, if &text[position..=position] == "a" { "b" } else { "a" });
            assert!(id_of(&other).is_none() && !is_hash_of(&hash, &other), "{position}");
        }
        for odd in ["", "wb_live_", "wb_live_é", &text[1..], &text[..text.len() - 1], &format!("{text}0")] {
            assert_eq!(id_of(odd), None, "{odd}");
        }
        assert_ne!(new_key(&new_id("key")).1, hash);
    }

    #[test]
    fn a_key_is_good_for_its_user_in_its_role_until_it_ends() {
        let at = DateTime::from_millis;
        let user = User::of_a_test(Role::Merchant);
        let good = key(&user);
        assert!(good.is_good_for(&user, at(5)).is_ok());
        let until = ApiKey { expires_at: Some(at(5)), ..good.clone() };
        assert!(until.is_good_for(&user, at(4)).is_ok());
        assert!(matches!(until.is_good_for(&user, at(5)), Err(KeyFault::Expired)));
        let revoked = good.clone().revoked(at(1));
        assert!(matches!(revoked.is_good_for(&user, at(5)), Err(KeyFault::Revoked)));
        for other in [User::of_a_test(Role::Admin), User { id: "usr_2".into(), ..user.clone() }] {
            assert!(matches!(good.is_good_for(&other, at(5)), Err(KeyFault::Revoked)));
        }
        let disabled = User { disabled_at: Some(at(1)), ..user };
        assert!(matches!(good.is_good_for(&disabled, at(5)), Err(KeyFault::Disabled)));
    }
}
