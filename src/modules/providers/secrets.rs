//! What proves to a provider who we are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use secrecy::{ExposeSecret, SecretString};

/// An account's credentials by field; empty ones are none.
#[derive(Clone, Debug, Default)]
pub struct AccountSecrets(BTreeMap<String, SecretString>);

impl AccountSecrets {
    /// What is under `field`.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty())
    }
}

impl<K: Into<String>> FromIterator<(K, SecretString)> for AccountSecrets {
    fn from_iter<I: IntoIterator<Item = (K, SecretString)>>(fields: I) -> Self {
        Self(fields.into_iter().map(|(field, secret)| (field.into(), secret)).collect())
    }
}

/// The accounts whose credentials are known here.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Those of the environment, by account.
    environment: Arc<HashMap<String, AccountSecrets>>,
}

impl Accounts {
    /// The accounts that the environment names.
    #[must_use]
    pub fn new(environment: HashMap<String, AccountSecrets>) -> Self {
        Self { environment: Arc::new(environment) }
    }

    /// The credentials of an account, asked for right before a call. None where they are not known.
    #[allow(clippy::unused_async)]
    pub async fn secrets(&self, account_id: &str) -> Option<AccountSecrets> {
        self.environment.get(account_id).cloned()
    }
}

/// The account of a provider that the environment names.
#[must_use]
pub fn default_account(provider: &str) -> String {
    format!("{provider}/default")
}
