//! Every query of this module, and the indexes it needs.

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Result};
use serde::Deserialize;

use super::{
    api_keys::{ApiKey, Scope},
    model::User,
    session::Session,
    totp::Totp,
};
use crate::platform::{
    batch::Key,
    identity::Role,
    mongo::{Index, READ_TIME_MAX},
};

pub(super) const USERS: &str = "users";
pub(super) const SESSIONS: &str = "sessions";
pub(super) const API_KEYS: &str = "api_keys";
pub(super) const TOTP: &str = "totp";

/// The key of a user, for transactions that need to know that there is one.
#[must_use]
pub fn user_key(user_id: &str) -> Key {
    Key::id(USERS, user_id)
}

/// The user with this id.
///
/// # Errors
/// Errors of the database driver.
pub async fn find_user(db: &Database, user_id: &str) -> Result<Option<User>> {
    db.collection::<User>(USERS).find_one(doc! { "_id": user_id }).max_time(READ_TIME_MAX).await
}

/// Users who want reports and may come in, by id behind `after`; `limit` at most.
///
/// # Errors
/// Errors of the database driver.
pub async fn users_who_want_reports(db: &Database, after: &str, limit: usize) -> Result<Vec<User>> {
    let wanting = doc! { "mail.reports": true, "_id": { "$gt": after }, "disabledAt": null };
    let users = db.collection::<User>(USERS);
    let found = users.find(wanting).sort(doc! { "_id": 1 }).limit(limit as i64).max_time(READ_TIME_MAX);
    found.await?.try_collect().await
}

/// Whether there is such a user.
///
/// # Errors
/// Errors of the database driver.
pub async fn user_exists(db: &Database, user_id: &str) -> Result<bool> {
    let users = db.collection::<bson::RawDocumentBuf>(USERS);
    let found = users.find_one(doc! { "_id": user_id }).max_time(READ_TIME_MAX);
    Ok(found.projection(doc! { "_id": 1 }).await?.is_some())
}

/// The id of the user with this e-mail address, as it is stored.
///
/// # Errors
/// Errors of the database driver.
pub async fn user_id_of(db: &Database, email: &str) -> Result<Option<String>> {
    Ok(find_user_by_email(db, email).await?.map(|user| user.id))
}

/// The user with this e-mail address, in its normal form.
///
/// # Errors
/// Errors of the database driver.
pub async fn find_user_by_email(db: &Database, email: &str) -> Result<Option<User>> {
    db.collection::<User>(USERS).find_one(with_email(email)).max_time(READ_TIME_MAX).await
}

/// Matches users with this address, in its normal form. Domains in other scripts were once stored as typed.
fn with_email(email: &str) -> Document {
    let typed = email.rsplit_once('@').filter(|(_, domain)| domain.contains("xn--"));
    match typed.map(|(local, domain)| (local, idna::domain_to_unicode(domain))) {
        Some((local, (domain, Ok(())))) => doc! { "email": { "$in": [email, format!("{local}@{domain}")] } },
        _ => doc! { "email": email },
    }
}

/// The scopes of an API key; none where there is no such key.
///
/// # Errors
/// What the driver says.
pub async fn scopes_of_key(db: &Database, key_id: &str) -> Result<Vec<Scope>> {
    let key = db.collection::<ApiKey>(API_KEYS).find_one(doc! { "_id": key_id }).max_time(READ_TIME_MAX).await?;
    Ok(key.map(|key| key.scopes).unwrap_or_default())
}

/// Before everything that has a time.
const EPOCH: DateTime = DateTime::from_millis(0);

pub const COLLECTIONS: &[&str] = &[USERS, SESSIONS, API_KEYS, TOTP];

#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    pub email: Option<String>,
    pub role: Option<Role>,
    /// Disabled, or not.
    pub disabled: Option<bool>,
    pub tenant_id: Option<String>,
    pub after: Option<String>,
}

/// A user whose access version has grown.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccessChange {
    #[serde(rename = "_id")]
    pub(super) user_id: String,
    pub(super) access_version: i64,
    pub(super) access_changed_at: DateTime,
}

/// A key that is not good any more.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyRevocation {
    #[serde(rename = "_id")]
    pub(super) key_id: String,
    pub(super) revoked_at: DateTime,
}

#[must_use]
pub fn indexes() -> Vec<Index> {
    vec![
        Index::new(USERS, "users_email", doc! { "email": 1 }).unique(),
        // Followed every second by every API process: few users are in it, and no document is read.
        Index::new(USERS, "users_access_changed", doc! { "accessChangedAt": 1, "accessVersion": 1, "_id": 1 })
            .partial(doc! { "accessChangedAt": { "$gt": EPOCH } }),
        Index::new(USERS, "users_reports", doc! { "mail.reports": 1, "_id": 1 }).partial(doc! { "mail.reports": true }),
        Index::new(USERS, "users_role", doc! { "role": 1, "_id": -1 }),
        Index::new(USERS, "users_tenant", doc! { "tenantId": 1, "_id": -1 })
            .partial(doc! { "tenantId": { "$exists": true } }),
        Index::new(USERS, "users_disabled", doc! { "disabledAt": 1, "_id": -1 })
            .partial(doc! { "disabledAt": { "$gt": EPOCH } }),
        Index::new(SESSIONS, "sessions_user", doc! { "userId": 1 }),
        Index::new(SESSIONS, "sessions_expiry", doc! { "expiresAt": 1 }).expires(),
        Index::new(API_KEYS, "api_keys_user", doc! { "userId": 1, "_id": -1 }),
        // Followed every second, as changes of access are.
        Index::new(API_KEYS, "api_keys_revoked", doc! { "revokedAt": 1, "_id": 1 })
            .partial(doc! { "revokedAt": { "$gt": EPOCH } }),
        Index::new(API_KEYS, "api_keys_forgotten", doc! { "forgetAt": 1 }).expires(),
    ]
}

/// Users and sessions.
#[derive(Clone, Debug)]
pub(super) struct Store {
    db: Database,
}

impl Store {
    pub(super) const fn new(db: Database) -> Self {
        Self { db }
    }

    fn users(&self) -> Collection<User> {
        self.db.collection(USERS)
    }

    fn sessions(&self) -> Collection<Session> {
        self.db.collection(SESSIONS)
    }

    pub(super) async fn find_user(&self, user_id: &str) -> Result<Option<User>> {
        find_user(&self.db, user_id).await
    }

    pub(super) async fn find_user_by_email(&self, email: &str) -> Result<Option<User>> {
        self.users().find_one(with_email(email)).max_time(READ_TIME_MAX).await
    }

    /// Users, newest first; one more than `limit` where there are more.
    pub(super) async fn list_users(&self, filter: &UserFilter, limit: usize) -> Result<Vec<User>> {
        let mut query = Document::new();
        if let Some(email) = &filter.email {
            query.extend(with_email(email));
        }
        if let Some(role) = filter.role {
            query.insert("role", role.as_str());
        }
        if let Some(disabled) = filter.disabled {
            query.insert(
                "disabledAt",
                if disabled {
                    doc! { "$gt": EPOCH }
                } else {
                    doc! { "$eq": null }
                },
            );
        }
        if let Some(tenant_id) = &filter.tenant_id {
            query.insert("tenantId", tenant_id);
        }
        if let Some(after) = &filter.after {
            query.insert("_id", doc! { "$lt": after });
        }
        let users = self.users();
        let found = users.find(query).sort(doc! { "_id": -1 }).limit(limit as i64 + 1).max_time(READ_TIME_MAX);
        found.await?.try_collect().await
    }

    /// How many users belong to a tenant.
    pub(super) async fn count_members(&self, tenant_id: &str) -> Result<u64> {
        self.users().count_documents(doc! { "tenantId": tenant_id }).max_time(READ_TIME_MAX).await
    }

    /// Users whose access version has grown since then.
    pub(super) async fn access_changes(&self, since: DateTime) -> Result<Vec<AccessChange>> {
        let users = self.db.collection::<AccessChange>(USERS);
        let changes = users.find(doc! { "accessChangedAt": { "$gte": since } });
        changes
            .projection(doc! { "accessVersion": 1, "accessChangedAt": 1 })
            .max_time(READ_TIME_MAX)
            .await?
            .try_collect()
            .await
    }

    fn api_keys(&self) -> Collection<ApiKey> {
        self.db.collection(API_KEYS)
    }

    pub(super) async fn find_key(&self, key_id: &str) -> Result<Option<ApiKey>> {
        self.api_keys().find_one(doc! { "_id": key_id }).max_time(READ_TIME_MAX).await
    }

    pub(super) async fn find_totp(&self, user_id: &str) -> Result<Option<Totp>> {
        self.db.collection(TOTP).find_one(doc! { "_id": user_id }).max_time(READ_TIME_MAX).await
    }

    /// Keys of a user that are not revoked, newest first. There are few.
    pub(super) async fn list_keys(&self, user_id: &str) -> Result<Vec<ApiKey>> {
        let live = doc! { "userId": user_id, "revokedAt": null };
        self.api_keys().find(live).sort(doc! { "_id": -1 }).max_time(READ_TIME_MAX).await?.try_collect().await
    }

    /// Notes when a key was used; does nothing where another process has said so within `every_ms`.
    pub(super) async fn note_key_used(&self, key_id: &str, now: DateTime, every_ms: i64) -> Result<()> {
        let before = DateTime::from_millis(now.timestamp_millis() - every_ms);
        let stale = doc! { "_id": key_id, "$or": [{ "lastUsedAt": null }, { "lastUsedAt": { "$lte": before } }] };
        self.api_keys().update_one(stale, doc! { "$set": { "lastUsedAt": now } }).await.map(drop)
    }

    /// Keys that were revoked since then, with the time.
    pub(super) async fn key_revocations(&self, since: DateTime) -> Result<Vec<KeyRevocation>> {
        let keys = self.db.collection::<KeyRevocation>(API_KEYS);
        let revoked = keys.find(doc! { "revokedAt": { "$gte": since } }).projection(doc! { "revokedAt": 1 });
        revoked.max_time(READ_TIME_MAX).await?.try_collect().await
    }

    /// Replaces the hash of the same password; does nothing when the password was changed meanwhile.
    pub(super) async fn rehash(&self, user: &User, hash: &str, now: DateTime) -> Result<()> {
        let guard = doc! { "_id": &user.id, "passwordHash": &user.password_hash };
        let update = doc! { "$set": { "passwordHash": hash, "updatedAt": now } };
        self.users().update_one(guard, update).await.map(drop)
    }

    pub(super) async fn find_session(&self, id: &str) -> Result<Option<Session>> {
        self.sessions().find_one(doc! { "_id": id }).max_time(READ_TIME_MAX).await
    }

    /// Stores the next token of a session in place of the live one; false where that is not the live one any more.
    pub(super) async fn rotate(&self, session: &Session, next: &Session) -> Result<bool> {
        let guard = doc! { "_id": &session.id, "generation": i64::from(session.generation), "endedAt": null };
        let rotated = doc! {
            "generation": i64::from(next.generation), "keyId": &next.key_id, "rotatedAt": next.rotated_at,
        };
        Ok(self.sessions().update_one(guard, doc! { "$set": rotated }).await?.matched_count > 0)
    }

    /// Makes a session that goes on a browser's, or says that the browser is there.
    pub(super) async fn touch_session(&self, id: &str, now: DateTime, expires_at: DateTime) -> Result<bool> {
        let live = doc! { "_id": id, "endedAt": null };
        let seen = doc! { "seenAt": now, "expiresAt": expires_at };
        Ok(self.sessions().update_one(live, doc! { "$set": seen }).await?.matched_count > 0)
    }

    pub(super) async fn end_sessions(&self, user_id: &str, now: DateTime) -> Result<()> {
        let live = doc! { "userId": user_id, "endedAt": null };
        self.sessions().update_many(live, doc! { "$set": { "endedAt": now } }).await.map(drop)
    }
}
