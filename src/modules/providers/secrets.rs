//! Credentials of accounts at providers.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::platform::exchange::Credentials;

/// An account's credentials by field; empty ones are none.
#[derive(Clone, Debug, Default)]
pub struct AccountSecrets {
    fields: BTreeMap<String, SecretString>,
    version: i64,
    token: Option<SecretString>,
}

impl AccountSecrets {
    /// The value of `field`.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty())
    }

    /// HTTP Basic with what is under these two fields (RFC 7617); none where one is not there, or the user name has a colon,
    /// which would end it.
    #[must_use]
    pub fn basic(&self, username: &str, password: &str) -> Option<Credentials> {
        let username = self.get(username).filter(|name| !name.contains(':'))?;
        let token = STANDARD.encode(format!("{username}:{}", self.get(password)?));
        let mut value = HeaderValue::from_str(&format!("Basic {token}")).ok()?;
        value.set_sensitive(true);
        Some(vec![(AUTHORIZATION, value)])
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(field, secret)| (field.as_str(), secret.expose_secret()))
    }

    /// The token of a login, where the provider wants one.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(ExposeSecret::expose_secret)
    }

    /// The same in a session.
    #[must_use]
    pub fn with_token(self, token: SecretString) -> Self {
        Self { token: Some(token), ..self }
    }

    /// HTTP Bearer with the token (RFC 6750); none without one.
    #[must_use]
    pub fn bearer(&self) -> Option<Credentials> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.token()?)).ok()?;
        value.set_sensitive(true);
        Some(vec![(AUTHORIZATION, value)])
    }

    /// Counts the changes of the account's credentials; 0 where environment variables have them.
    #[must_use]
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// The same as what the account has after so many changes.
    #[must_use]
    pub fn with_version(self, version: i64) -> Self {
        Self { version, ..self }
    }
}

impl<K: Into<String>> FromIterator<(K, SecretString)> for AccountSecrets {
    fn from_iter<I: IntoIterator<Item = (K, SecretString)>>(fields: I) -> Self {
        let fields = fields.into_iter().map(|(field, secret)| (field.into(), secret)).collect();
        Self { fields, version: 0, token: None }
    }
}
