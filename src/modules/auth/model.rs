//! Users, and the rules of their fields. No IO, no clock.

use bson::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use validator::ValidationError;

use super::mail_topics::MailTopics;
use crate::platform::{
    error::FieldError,
    http::checks::fault,
    identity::{Role, tokens::AccessToken},
    text::{free_text, holds_unseen, normal_email},
};

/// The longest e-mail address that can be delivered to (RFC 5321, path of 256 with its brackets).
pub(super) const EMAIL_CHARS_MAX: usize = 254;
/// Long enough for every name; short enough to be shown.
pub(super) const NAME_CHARS_MAX: usize = 120;
/// Below this, guessing offline is cheap whatever the hash.
pub(super) const PASSWORD_CHARS_MIN: usize = 10;
/// Passphrases fit; at four bytes each these are 512 bytes.
pub(super) const PASSWORD_CHARS_MAX: usize = 128;
const PASSWORD_BYTES_MAX: usize = 512;
/// Recovery codes have 19 characters.
const OTP_BYTES_MAX: usize = 64;
/// Ours have 70 characters; longer strings are not worth a look.
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
    /// Grows where whoever came in has to come in again: with a change of the password (not with a rehash) or the role, when
    /// the user is disabled, and when all sessions are ended. Sessions and access tokens of an older version are void.
    pub access_version: i64,
    /// When it grew last.
    pub access_changed_at: Option<DateTime>,
    pub role: Role,
    /// The tenant that it belongs to; none for most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_since: Option<DateTime>,
    /// Set: can neither sign in nor refresh.
    pub disabled_at: Option<DateTime>,
    /// When somebody showed to read what is sent to the address; none for those from before anybody was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified_at: Option<DateTime>,
    /// Letters that the user wants.
    #[serde(default)]
    pub mail: MailTopics,
    #[serde(default)]
    pub events: i64,
    /// Since when a second factor is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp_since: Option<DateTime>,
    /// How many API keys the user has that are not revoked.
    #[serde(default)]
    pub api_keys: i32,
    pub created_at: DateTime,
    /// Last change of anything.
    pub updated_at: DateTime,
}

impl User {
    #[must_use]
    pub fn access_token(&self) -> AccessToken {
        AccessToken {
            user_id: self.id.clone(),
            role: self.role,
            access_version: self.access_version,
            tenant_id: self.tenant_id.clone(),
            only: None,
        }
    }

    /// Makes sessions and access tokens of before void.
    pub(super) fn end_access(&mut self, now: DateTime) {
        self.access_version += 1;
        self.access_changed_at = Some(now);
        self.updated_at = now;
    }
}

#[cfg(test)]
impl User {
    /// Somebody for tests of decisions.
    pub(super) fn of_a_test(role: Role) -> Self {
        let at = DateTime::from_millis(0);
        Self {
            id: "usr_1".into(),
            email: "a@example.com".into(),
            name: "A".into(),
            password_hash: "old".into(),
            access_version: 4,
            access_changed_at: None,
            role,
            tenant_id: None,
            tenant_since: None,
            disabled_at: None,
            email_verified_at: None,
            mail: MailTopics::default(),
            events: 1,
            totp_since: None,
            api_keys: 0,
            created_at: at,
            updated_at: at,
        }
    }
}

impl std::fmt::Debug for User {
    /// Ids only: what else there is must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("role", &self.role).finish_non_exhaustive()
    }
}

/// A deliverable address in its normal form.
pub(super) fn check_email(email: &str) -> Result<(), ValidationError> {
    if email.chars().count() > EMAIL_CHARS_MAX {
        Err(fault("length", format!("must have at most {EMAIL_CHARS_MAX} characters")))
    } else if normal_email(email).as_deref() != Some(email) {
        Err(fault("email", "must be an e-mail address"))
    } else {
        Ok(())
    }
}

/// A name in its normal form.
pub(super) fn check_name(name: &str) -> Result<(), ValidationError> {
    if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
        Err(fault("length", format!("must have between 1 and {NAME_CHARS_MAX} characters")))
    } else if holds_unseen(name) {
        Err(fault("characters", "must not hold control characters or others that nobody can see"))
    } else {
        free_text(name)
    }
}

/// A password that somebody wants to have.
pub(super) fn check_new_password(password: &SecretString) -> Result<(), ValidationError> {
    let password = password.expose_secret();
    if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&password.chars().count()) {
        let message = format!("must have between {PASSWORD_CHARS_MIN} and {PASSWORD_CHARS_MAX} characters");
        Err(fault("length", message))
    } else if password.contains('\0') {
        Err(fault("characters", "must not contain the character NUL"))
    } else {
        Ok(())
    }
}

/// A password that somebody claims to have: any that is short enough to be hashed. What is wrong with it is
/// nobody's business.
pub(super) fn check_presented_password(password: &SecretString) -> Result<(), ValidationError> {
    check_bytes(password, PASSWORD_BYTES_MAX)
}

/// A code of an authenticator, or a recovery code, that somebody claims to have.
pub(super) fn check_otp(code: &SecretString) -> Result<(), ValidationError> {
    check_bytes(code, OTP_BYTES_MAX)
}

/// A refresh token that somebody claims to have.
pub(super) fn check_presented_token(token: &SecretString) -> Result<(), ValidationError> {
    check_bytes(token, REFRESH_TOKEN_BYTES_MAX)
}

fn check_bytes(text: &SecretString, bytes_max: usize) -> Result<(), ValidationError> {
    if (1..=bytes_max).contains(&text.expose_secret().len()) {
        Ok(())
    } else {
        Err(fault("length", format!("must have between 1 and {bytes_max} bytes")))
    }
}

/// Faults of a new user's fields; empty if there are none.
pub(super) fn check_new_user(email: &str, password: &SecretString, name: &str) -> Vec<FieldError> {
    [("email", check_email(email)), ("password", check_new_password(password)), ("name", check_name(name))]
        .into_iter()
        .filter_map(|(field, checked)| checked.err().map(|error| (field, error)))
        .map(|(field, error)| FieldError::new(field, error.code, error.message.unwrap_or_default()))
        .collect()
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
