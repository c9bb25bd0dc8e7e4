//! Users by their API keys. A good key is remembered for a minute, with what its user is, so a request costs two hashes and a
//! look into a map; what ends a user's access or a key is learned as for access tokens (`Revocations`).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use bson::DateTime;
use mongodb::Database;
use parking_lot::RwLock;
use secrecy::SecretString;

use super::{
    super::{
        access_check::AsUser,
        attempts::{AttemptLimits, Attempts},
        error::AuthError,
        store::Store,
        totp::{SecondFactor, SecondFactorProof},
        users::Requester,
    },
    commands::{MakeKey, NotMade, RevokeKey},
    model::{ApiKey, KeyFault, REVOKED, id_of, is_hash_of, new_key},
    scopes::Scope,
};
use crate::platform::{
    batch::Lane,
    clock::Clock,
    error::{AppError, FieldError},
    identity::{Actor, ApiKeyUser, ApiKeys, CurrentUser, KeyRequest, Revocations, tokens::AccessToken},
    ids::new_id,
    rate_limit::RateLimiter,
};

/// A key is looked up again after so long; well below the time for which revocations are remembered.
const FRESH_MS: i64 = 60_000;
/// When a key was used is written down so often.
const NOTE_EVERY_MS: i64 = 60_000;
/// Keys that a process remembers.
const KNOWN_MAX: usize = 10_000;

/// A key that was good when it was read.
#[derive(Debug)]
struct CachedKey {
    key: ApiKey,
    access: AccessToken,
    read_at_ms: i64,
    used_at_ms: AtomicI64,
}

/// Parts of a [`KeyRing`].
#[derive(Debug)]
pub struct KeyRingParts {
    /// Where keys and users are.
    pub db: Database,
    pub lane: Lane,
    /// The database's.
    pub clock: Clock,
    /// Learns of every key that is revoked.
    pub revocations: Revocations,
    /// Counts looks for keys that nobody here knows.
    pub limiter: RateLimiter,
    /// How many of them there are.
    pub limits: AttemptLimits,
    pub second_factor: SecondFactor,
}

/// Everybody's keys.
#[derive(Clone, Debug)]
pub struct KeyRing {
    store: Store,
    lane: Lane,
    clock: Clock,
    revocations: Revocations,
    attempts: Arc<Attempts>,
    second_factor: SecondFactor,
    known: Arc<RwLock<HashMap<String, Arc<CachedKey>>>>,
}

impl KeyRing {
    #[must_use]
    pub fn new(parts: KeyRingParts) -> Self {
        Self {
            store: Store::new(parts.db),
            lane: parts.lane,
            clock: parts.clock,
            revocations: parts.revocations,
            attempts: Arc::new(Attempts::new(parts.limiter, parts.limits)),
            second_factor: parts.second_factor,
            known: Arc::default(),
        }
    }

    /// Makes a key for whoever asks and has shown to be the user, which uses up what was shown of a second factor; gives it with
    /// what is stored of it. It is not to be had again.
    ///
    /// # Errors
    /// [`AuthError::TooManyKeys`], [`AuthError::Invalid`], [`AuthError::WrongCode`], [`AuthError::Revoked`].
    pub(super) async fn make(
        &self,
        asking: &CurrentUser,
        second_factor: Option<(String, SecondFactorProof)>,
        name: String,
        mut scopes: Vec<Scope>,
        expires_at: Option<DateTime>,
    ) -> Result<(SecretString, ApiKey), AuthError> {
        let now = self.clock.now();
        if expires_at.is_some_and(|at| at <= now) {
            return Err(AuthError::Invalid(vec![FieldError::new("expiresAt", "range", "must be in the future")]));
        }
        scopes.sort_unstable();
        scopes.dedup();
        let id = new_id("key");
        let (shown, hash) = new_key(&id);
        let key = ApiKey {
            id,
            user_id: asking.user_id.clone(),
            name,
            hash,
            scopes,
            role: asking.role,
            expires_at,
            last_used_at: None,
            revoked_at: None,
            forget_at: None,
            created_at: now,
        };
        let make = MakeKey { key: key.clone(), second_factor, actor: Actor::from(asking) };
        self.lane.submit(AsUser::new(asking, make)).await??.map_err(|why| match why {
            NotMade::TooMany => AuthError::TooManyKeys,
            NotMade::Spent => AuthError::WrongCode,
        })?;
        tracing::info!(user.id = key.user_id, key.id = key.id, "API key made");
        Ok((shown, key))
    }

    /// Keys of a user that are not revoked, newest first.
    ///
    /// # Errors
    /// [`AuthError::Database`].
    pub async fn list(&self, user_id: &str) -> Result<Vec<ApiKey>, AuthError> {
        Ok(self.store.list_keys(user_id).await?)
    }

    /// The same, of a user who is to be there.
    ///
    /// # Errors
    /// [`AuthError::NoUser`], [`AuthError::Database`].
    pub(super) async fn list_of_user(&self, user_id: &str) -> Result<Vec<ApiKey>, AuthError> {
        let keys = self.list(user_id).await?;
        if keys.is_empty() && self.store.find_user(user_id).await?.is_none() {
            return Err(AuthError::NoUser);
        }
        Ok(keys)
    }

    /// Revokes a key of a user: here at once, elsewhere within seconds. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`AuthError::NoKey`], [`AuthError::Revoked`].
    pub async fn revoke(&self, by: Requester<'_>, user_id: &str, key_id: &str) -> Result<(), AuthError> {
        let revoke = |actor| RevokeKey {
            key_id: key_id.to_owned(),
            user_id: user_id.to_owned(),
            actor,
            event_id: new_id("aud"),
        };
        let revoked = match by {
            Requester::User(user) => self.lane.submit(AsUser::new(user, revoke(Actor::from(user)))).await??,
            Requester::CommandLine(command) => self.lane.submit(revoke(Actor::command_line(command))).await?,
        };
        let key = revoked.ok_or(AuthError::NoKey)?;
        self.revocations.note(&key.id, REVOKED, self.clock.now_ms());
        self.known.write().remove(&key.id);
        tracing::info!(user.id = key.user_id, key.id = key.id, "API key revoked");
        Ok(())
    }

    async fn find(&self, key: &str, address: Option<IpAddr>) -> Result<Arc<CachedKey>, AuthError> {
        let key_id = id_of(key).ok_or(AuthError::InvalidKey)?;
        let now = self.clock.now();
        if let Some(known) = self.remembered(&key_id, now) {
            return if is_hash_of(&known.key.hash, key) { Ok(known) } else { Err(AuthError::InvalidKey) };
        }
        self.attempts.take_key_look_up(address).await?;
        let stored = self.store.find_key(&key_id).await?.filter(|stored| is_hash_of(&stored.hash, key));
        let stored = stored.ok_or(AuthError::InvalidKey)?;
        let user = self.store.find_user(&stored.user_id).await?.ok_or(AuthError::InvalidKey)?;
        stored.is_good_for(&user, now).map_err(AuthError::Key)?;
        if self.second_factor.is_missing(&user) {
            return Err(AuthError::TotpRequired);
        }
        let used_at_ms = stored.last_used_at.map_or(i64::MIN, DateTime::timestamp_millis);
        let known = Arc::new(CachedKey {
            key: stored,
            access: user.access_token(),
            read_at_ms: now.timestamp_millis(),
            used_at_ms: AtomicI64::new(used_at_ms),
        });
        self.remember(key_id, Arc::clone(&known), now);
        Ok(known)
    }

    /// The cached key, if neither it nor its user has changed since.
    fn remembered(&self, key_id: &str, now: DateTime) -> Option<Arc<CachedKey>> {
        let known = self.known.read().get(key_id).cloned()?;
        let ended = self.revocations.void(key_id, 0)
            || self.revocations.void(&known.access.user_id, known.access.access_version);
        (known.is_fresh(now) && !ended).then_some(known)
    }

    fn remember(&self, key_id: String, known: Arc<CachedKey>, now: DateTime) {
        let mut all = self.known.write();
        if all.len() >= KNOWN_MAX {
            all.retain(|_, known| known.is_fresh(now));
            if all.len() >= KNOWN_MAX {
                all.clear();
            }
        }
        all.insert(key_id, known);
    }

    /// Notes that the key is in use, now and then, and has nobody wait for it.
    fn note_use(&self, known: &CachedKey, now: DateTime) {
        let (last, now_ms) = (known.used_at_ms.load(Ordering::Relaxed), now.timestamp_millis());
        let is_due = now_ms.saturating_sub(last) >= NOTE_EVERY_MS;
        if is_due && known.used_at_ms.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (store, key_id) = (self.store.clone(), known.key.id.clone());
            tokio::spawn(async move {
                if let Err(error) = store.note_key_used(&key_id, now, NOTE_EVERY_MS).await {
                    tracing::debug!(key.id = key_id, %error, "that a key was used could not be written down");
                }
            });
        }
    }

    async fn open(&self, key: &str, asked: KeyRequest<'_>) -> Result<ApiKeyUser, AuthError> {
        let known = self.find(key, asked.address).await?;
        let now = self.clock.now();
        if known.key.has_expired(now) {
            return Err(AuthError::Key(KeyFault::Expired));
        }
        let scope = Scope::of_route(asked.method.as_str(), asked.route).ok_or(AuthError::NotWithKey)?;
        if !known.key.scopes.contains(&scope) {
            return Err(AuthError::NoScope(scope));
        }
        self.note_use(&known, now);
        Ok(ApiKeyUser { key_id: known.key.id.clone(), access: known.access.clone() })
    }
}

impl CachedKey {
    fn is_fresh(&self, now: DateTime) -> bool {
        (0..FRESH_MS).contains(&now.timestamp_millis().saturating_sub(self.read_at_ms))
    }
}

#[async_trait]
impl ApiKeys for KeyRing {
    async fn user_of(&self, key: &str, asked: KeyRequest<'_>) -> Result<ApiKeyUser, AppError> {
        Ok(self.open(key, asked).await?)
    }
}
