//! Stored types, the rules of their fields, and what a presented refresh token means. No IO, no clock.

use std::{borrow::Cow, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::DateTime;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use validator::ValidationError;

use crate::platform::{
    clock::after,
    error::FieldError,
    identity::Role,
    secret::{derive_key, hmac_sha256, sha256_hex},
    text::{free_text, holds_unseen, normal_email},
};

/// Lifetime of a refresh token.
pub(super) const REFRESH_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// For so long after a refresh its repetition gets the same answer: a mobile client that lost the first one has
/// asked again by then.
pub(super) const REPEAT_WINDOW: Duration = Duration::from_secs(30);

/// The longest e-mail address that can be delivered to (RFC 5321, path of 256 with its brackets).
pub(super) const EMAIL_CHARS_MAX: usize = 254;
/// Long enough for every name; short enough to be shown.
pub(super) const NAME_CHARS_MAX: usize = 120;
/// Below this, guessing offline is cheap whatever the hash.
pub(super) const PASSWORD_CHARS_MIN: usize = 10;
/// Passphrases fit; at four bytes each these are 512 bytes.
pub(super) const PASSWORD_CHARS_MAX: usize = 128;
const PASSWORD_BYTES_MAX: usize = 512;
/// Ours have 43 characters; longer strings are not worth a look-up.
const REFRESH_TOKEN_BYTES_MAX: usize = 512;

/// Somebody who can sign in; collection `users`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// `usr_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// In its normal form; unique.
    pub email: String,
    /// As shown to people.
    pub name: String,
    /// PHC string.
    pub password_hash: String,
    /// Grows with every change of the password (not with a rehash); sessions of another version are void.
    pub password_version: i64,
    /// What the user is there for.
    pub role: Role,
    /// Set: can neither sign in nor refresh.
    pub disabled_at: Option<DateTime>,
    /// When the user came.
    pub created_at: DateTime,
    /// Last change of anything.
    pub updated_at: DateTime,
}

impl std::fmt::Debug for User {
    /// Ids only: what else there is must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("role", &self.role).finish_non_exhaustive()
    }
}

/// One refresh token; collection `sessions`. The tokens that follow from one sign-in are a family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// SHA-256 of the token, in hex.
    #[serde(rename = "_id")]
    pub id: String,
    /// `ses_...`
    pub family_id: String,
    /// `usr_...`
    pub user_id: String,
    /// [`User::password_version`] at the sign-in.
    pub password_version: i64,
    /// When the token was made.
    pub created_at: DateTime,
    /// When it was exchanged for its successor.
    pub used_at: Option<DateTime>,
    /// Id of that successor, chosen with `used_at`; there may be no such session yet.
    pub successor_id: Option<String>,
    /// When it was ended: sign-out, reuse, change of the password.
    pub revoked_at: Option<DateTime>,
    /// Not good from then on; the document goes away soon after.
    pub expires_at: DateTime,
}

impl Session {
    /// The first session of a new family, for the token with the hash `id`.
    pub(super) fn first(id: String, family_id: String, user: &User, now: DateTime) -> Self {
        Self {
            id,
            family_id,
            user_id: user.id.clone(),
            password_version: user.password_version,
            created_at: now,
            used_at: None,
            successor_id: None,
            revoked_at: None,
            expires_at: after(now, REFRESH_TTL),
        }
    }

    /// What follows this session, for the token with the hash `id`.
    pub(super) fn successor(&self, id: String, now: DateTime) -> Self {
        Self {
            id,
            family_id: self.family_id.clone(),
            user_id: self.user_id.clone(),
            password_version: self.password_version,
            created_at: now,
            used_at: None,
            successor_id: None,
            revoked_at: None,
            expires_at: after(now, REFRESH_TTL),
        }
    }
}

/// What a presented refresh token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Never seen, or so long ago that it is forgotten.
    Unknown,
    /// Too old.
    Expired,
    /// Spent or ended: two parties hold it, or it was signed out. The family must end.
    Reused(&'a Session),
    /// Good, and not used yet: mark it used.
    Fresh,
    /// Marked used a moment ago, its successor not stored yet, by somebody who is at it or who died: store it.
    HalfDone {
        /// The token presented.
        token: &'a Session,
        /// The successor that was chosen, one of ours.
        successor_id: &'a str,
    },
    /// Used a moment ago, and nobody used the successor (given here): answer with that.
    Repeat(&'a Session),
    /// Used a moment ago for a successor that we can't derive: chosen under a key that we don't have (yet, or any
    /// more). Whoever has it can answer; another successor would fork the family.
    Foreign,
}

/// Judges a presented token by its document, the ids of the successors that we can derive, the document of the
/// successor that was chosen, and the time.
#[must_use]
pub fn judge<'a>(
    token: Option<&'a Session>,
    derivable: &[String],
    successor: Option<&'a Session>,
    now: DateTime,
) -> Verdict<'a> {
    let Some(token) = token else { return Verdict::Unknown };
    if token.expires_at <= now {
        return Verdict::Expired;
    }
    if token.revoked_at.is_some() {
        return Verdict::Reused(token);
    }
    let Some(used_at) = token.used_at else { return Verdict::Fresh };
    if after(used_at, REPEAT_WINDOW) < now {
        return Verdict::Reused(token);
    }
    if successor.is_some_and(|next| next.used_at.is_some() || next.revoked_at.is_some()) {
        return Verdict::Reused(token);
    }
    match (&token.successor_id, successor) {
        (Some(chosen), next) if derivable.contains(chosen) => {
            next.map_or(Verdict::HalfDone { token, successor_id: chosen }, Verdict::Repeat)
        }
        _ => Verdict::Foreign,
    }
}

/// Keys from which refresh tokens follow from their predecessors: today's, and the one before, so that a family
/// outlives a change of the secret. The same in all processes, but for the minutes in which the secret is changed.
#[derive(Debug)]
pub struct RefreshKeys {
    current: SecretBox<[u8; 32]>,
    previous: Option<SecretBox<[u8; 32]>>,
}

impl RefreshKeys {
    /// Keys of their own, derived from the secrets that sign access tokens.
    #[must_use]
    pub fn derive(secret: &SecretString, previous: Option<&SecretString>) -> Self {
        let derive = |secret| SecretBox::new(Box::new(derive_key(secret, "waybill refresh tokens v1")));
        Self { current: derive(secret), previous: previous.map(derive) }
    }

    /// The successors that `presented` may have, today's first.
    pub(super) fn successors(&self, presented: &SecretString) -> Vec<SecretString> {
        let keys = std::iter::once(&self.current).chain(&self.previous);
        keys.map(|key| successor_token(key.expose_secret(), presented)).collect()
    }
}

/// A refresh token for a new family: 256 random bits.
pub(super) fn new_refresh_token() -> SecretString {
    encode_token(&rand::random::<[u8; 32]>())
}

/// The one successor of `presented` under `key`: nobody without it can compute it, and we can do so again.
fn successor_token(key: &[u8; 32], presented: &SecretString) -> SecretString {
    encode_token(&hmac_sha256(key, presented.expose_secret().as_bytes()))
}

/// Under which id a token is stored.
pub(super) fn token_id(token: &SecretString) -> String {
    sha256_hex(token.expose_secret().as_bytes())
}

fn encode_token(bytes: &[u8; 32]) -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(bytes))
}

/// A deliverable address in its normal form.
pub(super) fn check_email(email: &str) -> Result<(), ValidationError> {
    if email.chars().count() > EMAIL_CHARS_MAX {
        Err(refuse("length", format!("must have at most {EMAIL_CHARS_MAX} characters")))
    } else if normal_email(email).as_deref() != Some(email) {
        Err(refuse("email", "must be an e-mail address"))
    } else {
        Ok(())
    }
}

/// A name in its normal form.
pub(super) fn check_name(name: &str) -> Result<(), ValidationError> {
    if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
        Err(refuse("length", format!("must have between 1 and {NAME_CHARS_MAX} characters")))
    } else if holds_unseen(name) {
        Err(refuse("characters", "must not hold control characters or others that nobody can see"))
    } else {
        free_text(name)
    }
}

/// A password that somebody wants to have.
pub(super) fn check_new_password(password: &SecretString) -> Result<(), ValidationError> {
    let password = password.expose_secret();
    if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&password.chars().count()) {
        let message = format!("must have between {PASSWORD_CHARS_MIN} and {PASSWORD_CHARS_MAX} characters");
        Err(refuse("length", message))
    } else if password.contains('\0') {
        Err(refuse("characters", "must not contain the character NUL"))
    } else {
        Ok(())
    }
}

/// A password that somebody claims to have: any that is short enough to be hashed. What is wrong with it is
/// nobody's business.
pub(super) fn check_presented_password(password: &SecretString) -> Result<(), ValidationError> {
    check_bytes(password, PASSWORD_BYTES_MAX)
}

/// A refresh token that somebody claims to have.
pub(super) fn check_presented_token(token: &SecretString) -> Result<(), ValidationError> {
    check_bytes(token, REFRESH_TOKEN_BYTES_MAX)
}

fn check_bytes(text: &SecretString, bytes_max: usize) -> Result<(), ValidationError> {
    if (1..=bytes_max).contains(&text.expose_secret().len()) {
        Ok(())
    } else {
        Err(refuse("length", format!("must have between 1 and {bytes_max} bytes")))
    }
}

/// What is wrong with a new user's fields; empty where nothing is.
pub(super) fn check_new_user(email: &str, password: &SecretString, name: &str) -> Vec<FieldError> {
    [("email", check_email(email)), ("password", check_new_password(password)), ("name", check_name(name))]
        .into_iter()
        .filter_map(|(field, checked)| checked.err().map(|error| (field, error)))
        .map(|(field, error)| FieldError::new(field, error.code, error.message.unwrap_or_default()))
        .collect()
}

fn refuse(code: &'static str, message: impl Into<Cow<'static, str>>) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
