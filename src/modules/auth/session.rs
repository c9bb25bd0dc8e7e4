//! Sign-ins: what is stored of them, and what a presented refresh token means. No IO, no clock.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::model::User;
use crate::platform::{
    clock::after,
    secret::{MacKey, derive_key, sha256_hex},
};

/// A session ends so long after its sign-in, however often it is refreshed.
pub(super) const SESSION_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// For so long after a refresh its repetition gets the same answer: a mobile client that lost the first one has
/// asked again by then.
pub(super) const REPEAT_WINDOW: Duration = Duration::from_secs(30);

const ID_PREFIX: &str = "ses_";
const ID_BYTES: usize = 16;
const GENERATION_BYTES: usize = 4;
const NAMED_BYTES: usize = ID_BYTES + GENERATION_BYTES;
const MAC_BYTES: usize = 32;

/// A sign-in and all refresh tokens that follow from it, of which one is live; collection `sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// `ses_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// `usr_...`
    pub user_id: String,
    /// [`User::access_version`] at the sign-in.
    pub access_version: i64,
    /// Number of the live token; the first is 1.
    pub generation: u32,
    pub key_id: String,
    pub rotated_at: DateTime,
    /// When the session was ended: sign-out, reuse, change of the password, or by an administrator.
    pub ended_at: Option<DateTime>,
    pub created_at: DateTime,
    /// Not good from then on; the document goes away soon after.
    pub expires_at: DateTime,
    /// When it was last used, where it is a browser's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<DateTime>,
}

impl Session {
    /// A new one, whose first token is made by the key with the id `key_id`.
    pub(super) fn new(id: String, user: &User, key_id: &str, now: DateTime) -> Self {
        Self {
            id,
            user_id: user.id.clone(),
            access_version: user.access_version,
            generation: 1,
            key_id: key_id.to_owned(),
            rotated_at: now,
            ended_at: None,
            created_at: now,
            expires_at: after(now, SESSION_TTL),
            seen_at: None,
        }
    }

    /// The same with the next token.
    pub(super) fn rotated(&self, key_id: &str, now: DateTime) -> Self {
        Self { generation: self.generation + 1, key_id: key_id.to_owned(), rotated_at: now, ..self.clone() }
    }
}

/// The content of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedToken {
    /// `ses_...`
    pub session_id: String,
    pub generation: u32,
    pub key_id: String,
}

/// State of a presented refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshTokenState {
    /// Of a session that is forgotten, or that we did not make this token for.
    Unknown,
    /// Too old.
    Expired,
    /// Spent or ended: two parties hold it, or it was signed out. The session must end.
    Reused,
    /// The live one: exchange it for the next.
    Fresh,
    /// The one before the live one, exchanged a moment ago: answer with the live one.
    Repeat,
    /// The same, but the live one was made under a key that we don't have (yet, or any more). Whoever has it can answer.
    Foreign,
}

/// Judges a presented token by its session, whether we have the key of the session's live token, and the time.
#[must_use]
pub fn judge(session: Option<&Session>, presented: &PresentedToken, has_key: bool, now: DateTime) -> RefreshTokenState {
    let Some(session) = session else { return RefreshTokenState::Unknown };
    if session.expires_at <= now {
        return RefreshTokenState::Expired;
    }
    if session.ended_at.is_some() {
        return RefreshTokenState::Reused;
    }
    match session.generation.checked_sub(presented.generation) {
        None => RefreshTokenState::Unknown,
        Some(0) if presented.key_id == session.key_id => RefreshTokenState::Fresh,
        Some(0) => RefreshTokenState::Unknown,
        Some(1) if after(session.rotated_at, REPEAT_WINDOW) >= now => {
            if has_key {
                RefreshTokenState::Repeat
            } else {
                RefreshTokenState::Foreign
            }
        }
        Some(_) => RefreshTokenState::Reused,
    }
}

/// A key under which refresh tokens are made, with its id.
#[derive(Debug)]
struct RefreshKey {
    id: String,
    mac: MacKey,
}

impl RefreshKey {
    fn derive(secret: &SecretString) -> Self {
        let key = derive_key(secret, "waybill refresh tokens v2");
        let mut id = sha256_hex(&key);
        id.truncate(8);
        Self { id, mac: MacKey::new(&key) }
    }
}

/// Keys under which refresh tokens are made: today's, and the one before, so that a session outlives a change of the secret.
/// The same in all processes, but for the minutes in which the secret is changed. A token names its session and its number, and
/// nobody without a key can make one: what we did not make is told from what was spent without asking the database.
#[derive(Debug)]
pub struct RefreshKeys {
    current: RefreshKey,
    previous: Option<RefreshKey>,
}

impl RefreshKeys {
    /// Keys of their own, derived from the secrets that sign access tokens.
    #[must_use]
    pub fn derive(secret: &SecretString, previous: Option<&SecretString>) -> Self {
        Self { current: RefreshKey::derive(secret), previous: previous.map(RefreshKey::derive) }
    }

    /// The key that makes new tokens.
    pub(super) fn current_id(&self) -> &str {
        &self.current.id
    }

    fn all(&self) -> impl Iterator<Item = &RefreshKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    fn key(&self, id: &str) -> Option<&RefreshKey> {
        self.all().find(|key| key.id == id)
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.key(id).is_some()
    }

    /// The live token of a session, the same every time; none where its key is not here.
    pub(super) fn token(&self, session: &Session) -> Option<SecretString> {
        let key = self.key(&session.key_id)?;
        let mut bytes = hex::decode(session.id.strip_prefix(ID_PREFIX)?).ok()?;
        bytes.extend(session.generation.to_be_bytes());
        let mac = key.mac.mac(&bytes);
        bytes.extend(mac);
        Some(SecretString::from(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The content of a token; none if it is not ours.
    pub(super) fn read(&self, token: &SecretString) -> Option<PresentedToken> {
        let bytes = URL_SAFE_NO_PAD.decode(token.expose_secret()).ok()?;
        if bytes.len() != NAMED_BYTES + MAC_BYTES {
            return None;
        }
        let (named, mac) = bytes.split_at(NAMED_BYTES);
        let key = self.all().find(|key| key.mac.mac(named).ct_eq(mac).into())?;
        let (id, generation) = named.split_at(ID_BYTES);
        Some(PresentedToken {
            session_id: format!("{ID_PREFIX}{}", hex::encode(id)),
            generation: u32::from_be_bytes(generation.try_into().ok()?),
            key_id: key.id.clone(),
        })
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
