//! An account as stored.

use std::collections::BTreeMap;

use bson::DateTime;
use secrecy::{SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    modules::{
        audit::Call,
        providers::{AccountLimits, AccountSecrets, registry},
    },
    platform::{
        batch::Entity,
        ids::is_id,
        rewrap::{Rotation, SealedField},
        sealing::{OpenError, Sealed, SealingKeys},
    },
};

pub(super) const ACCOUNTS: &str = "provider_accounts";
pub const CREDENTIAL_CHARS_MAX: usize = 512;
const DEFAULT: &str = "/default";

#[must_use]
pub fn default_account(provider: &str) -> String {
    format!("{provider}{DEFAULT}")
}

#[must_use]
pub fn is_default_account(account_id: &str) -> bool {
    account_id.ends_with(DEFAULT)
}

#[must_use]
pub fn is_account_id(id: &str) -> bool {
    is_id("acc", id) || id.strip_suffix(DEFAULT).is_some_and(|provider| registry::find(provider).is_some())
}

/// Status of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// It takes orders.
    Active,
    /// It takes nothing new, and finishes what was placed with it.
    Inactive,
}

impl AccountStatus {
    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderAccount {
    /// `acc_...`, or `<provider>/default` for the one that environment variables make.
    #[serde(rename = "_id")]
    pub id: String,
    /// The provider: `parcelx`, ...
    pub provider: String,
    /// Its name for operators.
    pub label: String,
    pub status: AccountStatus,
    /// Sealed; none where environment variables have them.
    pub credentials: Option<Sealed>,
    /// Grows whenever the credentials are changed.
    pub credentials_version: i64,
    pub limits: AccountLimits,
    /// The merchant whose orders alone it is used for.
    pub owner_user_id: Option<String>,
    /// Operators' words.
    pub comment: Option<String>,
    /// The latest test call.
    #[serde(default)]
    pub test: Option<AccountTest>,
    pub created_at: DateTime,
    /// Last change.
    pub updated_at: DateTime,
}

/// A test call as stored with its account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountTest {
    /// Start of the call.
    pub at: DateTime,
    /// The call, as long as it has no answer on record.
    pub open_call: Option<Call>,
}

impl ProviderAccount {
    /// One that has done nothing yet.
    #[cfg(test)]
    pub(super) fn of_a_test(provider: &str, at: DateTime) -> Self {
        Self {
            id: "acc_1".into(),
            provider: provider.into(),
            label: "One".into(),
            status: AccountStatus::Active,
            credentials: None,
            credentials_version: 1,
            limits: AccountLimits::default(),
            owner_user_id: None,
            comment: None,
            test: None,
            created_at: at,
            updated_at: at,
        }
    }

    /// The test call that has no answer on record.
    pub(super) fn open_test(&self) -> Option<&Call> {
        self.test.as_ref()?.open_call.as_ref()
    }
}

impl Entity for ProviderAccount {
    const COLLECTION: &'static str = ACCOUNTS;

    fn id(&self) -> &str {
        &self.id
    }
}

fn credentials_place(account_id: &str) -> String {
    format!("{ACCOUNTS}/{account_id}/credentials")
}

pub(super) fn seal(keys: &SealingKeys, account_id: &str, secrets: &AccountSecrets) -> Sealed {
    let exposed: BTreeMap<&str, &str> = secrets.iter().collect();
    let plain = Zeroizing::new(serde_json::to_vec(&exposed).expect("texts by name have JSON"));
    keys.seal(&credentials_place(account_id), &plain)
}

pub(super) fn open(keys: &SealingKeys, account_id: &str, sealed: &Sealed) -> Result<AccountSecrets, OpenError> {
    let plain = keys.open(&credentials_place(account_id), sealed)?;
    let fields: BTreeMap<String, SecretString> = serde_json::from_slice(&plain).map_err(|_| OpenError::Damaged)?;
    Ok(fields.into_iter().collect())
}

/// Wraps the credentials of all accounts under today's key.
pub(super) async fn rotate(rotation: &mut Rotation<'_>) -> mongodb::error::Result<()> {
    rotation.field(&SealedField { collection: ACCOUNTS, path: "credentials", place: credentials_place }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> SealingKeys {
        SealingKeys::new(&"a".repeat(64).into(), None).expect("a key")
    }

    #[test]
    fn credentials_are_opened_by_their_account_only() {
        let secrets: AccountSecrets = [("username", "user"), ("password", "pass \"word\"\u{20ac}")]
            .map(|(field, secret)| (field, secret.into()))
            .into_iter()
            .collect();
        let sealed = seal(&keys(), "acc_1", &secrets);
        let opened = open(&keys(), "acc_1", &sealed).expect("opens");
        assert!(opened.iter().eq(secrets.iter()));
        assert_eq!(open(&keys(), "acc_2", &sealed).err(), Some(OpenError::Damaged), "moved to another account");
        assert!(!format!("{secrets:?} {sealed:?}").contains("pass "), "nothing is printed");
    }

    #[test]
    fn ids_of_accounts_are_recognised() {
        let made = format!("acc_{}", "0".repeat(32));
        let default = default_account(registry::PROVIDERS[0].name);
        for id in [&made, &default] {
            assert!(is_account_id(id), "{id}");
            assert_eq!(is_default_account(id), id == &default);
        }
        for id in ["", "acc_1", "/default", "nobody/default", &format!("{default}/default"), "{$ne:1}"] {
            assert!(!is_account_id(id), "{id}");
        }
    }
}
