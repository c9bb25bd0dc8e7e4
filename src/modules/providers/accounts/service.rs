//! Accounts for those who call providers and for those who look after them.

use std::{collections::HashMap, sync::Arc};

use bson::{DateTime, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Result, options::Hint};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::{
    model::{ACCOUNTS, AccountStatus, ProviderAccount, is_default_account, open, seal},
    sessions::{SESSIONS, Sessions},
};
use crate::{
    modules::providers::{AccountLimits, AccountSecrets, dispatch::AccountFacts, registry},
    platform::{
        clock::Clock,
        mongo::{Index, READ_TIME_MAX, is_duplicate_key},
        sealing::{Sealed, SealingKeys},
        walk::{Paged, paged},
    },
};

/// Holds all that a process has in mind of accounts, so that following them reads no document.
const FACTS: &str = "facts";
/// Default label of the account that the environment names.
const DEFAULT_LABEL: &str = "From the environment";

pub const COLLECTIONS: &[&str] = &[ACCOUNTS, SESSIONS];

#[must_use]
pub fn indexes() -> Vec<Index> {
    let keys = doc! {
        "provider": 1, "status": 1, "_id": 1, "ownerUserId": 1, "credentialsVersion": 1, "limits": 1,
    };
    vec![Index::new(ACCOUNTS, FACTS, keys)]
}

#[derive(Clone, Debug)]
pub struct EnvironmentAccount {
    pub secrets: AccountSecrets,
    pub limits: AccountLimits,
}

/// Stored facts of an account that workers need.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredFacts {
    #[serde(rename = "_id")]
    id: String,
    provider: String,
    status: AccountStatus,
    owner_user_id: Option<String>,
    limits: AccountLimits,
}

#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    pub provider: Option<String>,
    pub status: Option<AccountStatus>,
    pub after: Option<String>,
}

/// Accounts, in the database and in the environment.
#[derive(Clone, Debug)]
pub struct Accounts {
    accounts: Collection<ProviderAccount>,
    keys: Arc<SealingKeys>,
    clock: Clock,
    environment: Arc<HashMap<String, EnvironmentAccount>>,
    /// Whether the accounts of the environment are in the database.
    listed: Arc<OnceCell<()>>,
    /// Tokens of those whose providers want a login.
    pub sessions: Sessions,
}

impl Accounts {
    /// Accounts in `db`, whose credentials `keys` open, and those that the environment names, by id.
    #[must_use]
    pub fn new(
        db: &Database,
        keys: Arc<SealingKeys>,
        clock: Clock,
        environment: HashMap<String, EnvironmentAccount>,
    ) -> Self {
        Self {
            accounts: db.collection(ACCOUNTS),
            sessions: Sessions::new(db, Arc::clone(&keys), clock.clone()),
            keys,
            clock,
            environment: Arc::new(environment),
            listed: Arc::default(),
        }
    }

    /// All accounts that can be called from here, as they are now; read from one index.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn facts(&self) -> Result<Vec<AccountFacts>> {
        self.ensure_listed().await?;
        self.known_facts().await
    }

    /// The same, for somebody who looks and changes nothing: accounts of the environment are not listed for that.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn known_facts(&self) -> Result<Vec<AccountFacts>> {
        let fields = doc! { "provider": 1, "status": 1, "ownerUserId": 1, "limits": 1 };
        let accounts = self.accounts.clone_with_type::<StoredFacts>();
        let found = accounts.find(doc! { "provider": { "$gt": "" } }).projection(fields);
        let mut found = found.hint(Hint::Name(FACTS.into())).max_time(READ_TIME_MAX).await?;
        let mut known: HashMap<_, _> =
            self.of_environment().into_iter().map(|facts| (facts.account_id.clone(), facts)).collect();
        while let Some(stored) = found.try_next().await? {
            // One that only others' environment names can't be called from here.
            if is_default_account(&stored.id) && !known.contains_key(&stored.id) {
                continue;
            }
            let facts = AccountFacts {
                active: stored.status == AccountStatus::Active,
                owner_user_id: stored.owner_user_id,
                limits: self.limits(&stored.id, &stored.provider, stored.limits),
                ..AccountFacts::new(&stored.id, &stored.provider)
            };
            known.insert(stored.id, facts);
        }
        Ok(known.into_values().collect())
    }

    /// The limits of an account, where it has its own.
    #[must_use]
    pub fn limits(&self, account_id: &str, provider: &str, own: AccountLimits) -> AccountLimits {
        let environment = self.environment.get(account_id).map(|account| account.limits).unwrap_or_default();
        let declared = registry::find(provider).map(|provider| provider.limits).unwrap_or_default();
        own.or(environment).or(declared)
    }

    /// The accounts of the environment, as long as nothing else is known of them.
    #[must_use]
    pub fn of_environment(&self) -> Vec<AccountFacts> {
        let facts = |id: &String| {
            let provider = id.split_once('/').map_or("", |(provider, _)| provider);
            let limits = self.limits(id, provider, AccountLimits::default());
            AccountFacts { limits, ..AccountFacts::new(id, provider) }
        };
        self.environment.keys().map(facts).collect()
    }

    /// Has the accounts of the environment in the database, once, so that they are listed and can be deactivated: those of
    /// providers of orders.
    async fn ensure_listed(&self) -> Result<()> {
        let list_all = async || {
            let all = self.of_environment();
            for facts in all.into_iter().filter(|facts| registry::find(&facts.provider).is_some()) {
                self.ensure_one_listed(facts).await?;
            }
            Ok(())
        };
        self.listed.get_or_try_init(list_all).await.map(drop)
    }

    async fn ensure_one_listed(&self, facts: AccountFacts) -> Result<()> {
        let now = self.clock.now();
        let account = ProviderAccount {
            id: facts.account_id,
            provider: facts.provider,
            label: DEFAULT_LABEL.into(),
            status: AccountStatus::Active,
            credentials: None,
            credentials_version: 0,
            limits: AccountLimits::default(),
            owner_user_id: None,
            comment: None,
            test: None,
            created_at: now,
            updated_at: now,
        };
        let absent = doc! { "_id": &account.id, "provider": { "$exists": false } };
        let fields = bson::serialize_to_document(&account)?;
        match self.accounts.update_one(absent, doc! { "$set": fields }).upsert(true).await {
            Err(error) if !is_duplicate_key(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The credentials of an account, as they are now: to be asked for right before a call, and not to be kept. None where
    /// there is no such account, or its credentials can't be opened; the log says why.
    ///
    /// # Errors
    /// What the driver says: nothing is known of the credentials.
    pub async fn secrets(&self, account_id: &str) -> Result<Option<AccountSecrets>> {
        if is_default_account(account_id) {
            return Ok(self.environment.get(account_id).map(|account| account.secrets.clone()));
        }
        let Some(SealedCredentials { credentials: Some(sealed), credentials_version }) =
            self.sealed(account_id).await?
        else {
            tracing::error!(account.id = account_id, "there are no credentials of this account");
            return Ok(None);
        };
        let opened = open(&self.keys, account_id, &sealed);
        let opened =
            opened.inspect_err(|error| tracing::error!(account.id = account_id, %error, "credentials can't be opened"));
        Ok(opened.ok().map(|secrets| secrets.with_version(credentials_version)))
    }

    /// Whether an account has other credentials by now than those of `version`: what is said of the old ones says nothing of
    /// these.
    pub async fn has_newer(&self, account_id: &str, version: i64) -> bool {
        !is_default_account(account_id)
            && matches!(self.sealed(account_id).await, Ok(Some(sealed)) if sealed.credentials_version > version)
    }

    async fn sealed(&self, account_id: &str) -> Result<Option<SealedCredentials>> {
        let accounts = self.accounts.clone_with_type::<SealedCredentials>();
        let found = accounts.find_one(doc! { "_id": account_id });
        found.projection(doc! { "_id": 0, "credentials": 1, "credentialsVersion": 1 }).max_time(READ_TIME_MAX).await
    }

    #[must_use]
    pub fn now(&self) -> DateTime {
        self.clock.now()
    }

    #[must_use]
    pub fn seal(&self, account_id: &str, secrets: &AccountSecrets) -> Sealed {
        seal(&self.keys, account_id, secrets)
    }

    /// One account.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find(&self, account_id: &str) -> Result<Option<ProviderAccount>> {
        if is_default_account(account_id) {
            self.ensure_listed().await?;
        }
        self.accounts.find_one(doc! { "_id": account_id, "provider": { "$gt": "" } }).max_time(READ_TIME_MAX).await
    }

    /// Accounts, those of the environment first, then the newest.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list(&self, filter: &AccountFilter, limit: usize) -> Result<Paged<ProviderAccount>> {
        self.ensure_listed().await?;
        let provider = filter.provider.as_ref().map_or(doc! { "$gt": "" }, |name| doc! { "$eq": name });
        let mut query = doc! { "provider": provider };
        query.extend(filter.status.map(|status| ("status".to_owned(), status.as_str().into())));
        query.extend(filter.after.as_ref().map(|after| ("_id".to_owned(), doc! { "$lt": after }.into())));
        let found = self.accounts.find(query).sort(doc! { "_id": -1 }).limit(limit as i64 + 1).max_time(READ_TIME_MAX);
        Ok(paged(found.await?.try_collect().await?, limit, None, |account: &ProviderAccount| &account.id))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SealedCredentials {
    credentials: Option<Sealed>,
    credentials_version: i64,
}
