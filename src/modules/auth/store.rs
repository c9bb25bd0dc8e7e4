//! Every query of this module, and the indexes it needs.

use bson::{DateTime, Document, doc};
use futures_util::{FutureExt, TryStreamExt};
use mongodb::{
    ClientSession, Collection, Database,
    error::Result,
    options::{ReadConcern, TransactionOptions},
};

use super::model::{Session, User};
use crate::{
    modules::audit::{self, AUDIT_EVENTS, AuditEvent},
    platform::{
        batch::Key,
        mongo::{self, Index, is_duplicate_key},
    },
};

pub(super) const USERS: &str = "users";
pub(super) const SESSIONS: &str = "sessions";

/// The key of a user, for transactions that need to know that there is one.
#[must_use]
pub fn user_key(user_id: &str) -> Key {
    Key::id(USERS, user_id)
}

/// Whether there is such a user.
///
/// # Errors
/// What the driver says.
pub async fn user_exists(db: &Database, user_id: &str) -> Result<bool> {
    let users = db.collection::<bson::RawDocumentBuf>(USERS);
    let found = users.find_one(doc! { "_id": user_id });
    Ok(found.projection(doc! { "_id": 1 }).await?.is_some())
}

/// The id of the user with this e-mail address, as it is stored.
///
/// # Errors
/// What the driver says.
pub async fn user_id_of(db: &Database, email: &str) -> Result<Option<String>> {
    Ok(db.collection::<User>(USERS).find_one(with_email(email)).await?.map(|user| user.id))
}

/// Who has this address, in its normal form. Domains in other scripts were stored as they were typed once.
fn with_email(email: &str) -> Document {
    let typed = email.rsplit_once('@').filter(|(_, domain)| domain.contains("xn--"));
    match typed.map(|(local, domain)| (local, idna::domain_to_unicode(domain))) {
        Some((local, (domain, Ok(())))) => doc! { "email": { "$in": [email, format!("{local}@{domain}")] } },
        _ => doc! { "email": email },
    }
}

/// The collections of this module.
pub const COLLECTIONS: &[&str] = &[USERS, SESSIONS];

/// A family that is still being refreshed while it ends needs a second look, rarely a third.
const REVOKE_PASSES_MAX: usize = 8;

/// The indexes of this module.
#[must_use]
pub fn indexes() -> Vec<Index> {
    vec![
        Index::new(USERS, "users_email", doc! { "email": 1 }).unique(),
        Index::new(SESSIONS, "sessions_family", doc! { "familyId": 1 }),
        Index::new(SESSIONS, "sessions_user", doc! { "userId": 1 }),
        Index::new(SESSIONS, "sessions_expiry", doc! { "expiresAt": 1 }).expires(),
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
        self.users().find_one(doc! { "_id": user_id }).await
    }

    pub(super) async fn find_user_by_email(&self, email: &str) -> Result<Option<User>> {
        self.users().find_one(with_email(email)).await
    }

    /// Replaces the hash of the same password; does nothing when the password was changed meanwhile.
    pub(super) async fn rehash(&self, user: &User, hash: &str, now: DateTime) -> Result<()> {
        let guard = doc! { "_id": &user.id, "passwordVersion": user.password_version };
        let update = doc! { "$set": { "passwordHash": hash, "updatedAt": now } };
        self.users().update_one(guard, update).await.map(drop)
    }

    /// Does nothing when it is there already: the id follows from the token, so it is the same session.
    pub(super) async fn ensure_session(&self, session: &Session) -> Result<()> {
        unless_duplicate(self.sessions().insert_one(session).await).map(drop)
    }

    pub(super) async fn find_session(&self, id: &str) -> Result<Option<Session>> {
        self.sessions().find_one(doc! { "_id": id }).await
    }

    /// A session and the one that was chosen to follow from it, which is one of `derivable` but for changes of the
    /// secret.
    pub(super) async fn find_pair(&self, id: &str, derivable: &[String]) -> Result<(Option<Session>, Option<Session>)> {
        let ids: Vec<_> = derivable.iter().map(String::as_str).chain([id]).collect();
        let mut found: Vec<Session> = self.sessions().find(doc! { "_id": { "$in": ids } }).await?.try_collect().await?;
        let mut take = |id: &str| found.iter().position(|session| session.id == id).map(|at| found.swap_remove(at));
        let Some(token) = take(id) else { return Ok((None, None)) };
        let successor = match &token.successor_id {
            None => None,
            Some(chosen) if derivable.contains(chosen) => take(chosen),
            Some(chosen) => self.find_session(chosen).await?,
        };
        Ok((Some(token), successor))
    }

    /// Marks a session used, and chooses its successor, unless it is used or ended. Who was first shows on the next
    /// look: a write that found nothing to do is acknowledged after the one that did it.
    pub(super) async fn mark_used(&self, id: &str, successor_id: &str, now: DateTime) -> Result<()> {
        let guard = doc! { "_id": id, "usedAt": null, "revokedAt": null };
        let update = doc! { "$set": { "usedAt": now, "successorId": successor_id } };
        self.sessions().update_one(guard, update).await.map(drop)
    }

    /// Ends all sessions of a family, in one transaction with the audit event that says so. False, and no event, where they
    /// had ended before.
    pub(super) async fn revoke_family(&self, family_id: &str, now: DateTime, event: &AuditEvent) -> Result<bool> {
        let mut session = self.db.client().start_session().await?;
        let options =
            TransactionOptions::builder().read_concern(ReadConcern::snapshot()).write_concern(mongo::durable()).build();
        let transaction = session.start_transaction().with_options(options);
        let live = doc! { "familyId": family_id, "revokedAt": null };
        let run = transaction.and_run((self, live, event), |session, (store, live, event)| {
            store.end_recorded(session, live.clone(), now, event).boxed()
        });
        let ended = run.await?;
        self.revoke("familyId", family_id, now).await?;
        Ok(ended)
    }

    /// One run of that transaction.
    async fn end_recorded(
        &self,
        session: &mut ClientSession,
        live: Document,
        now: DateTime,
        event: &AuditEvent,
    ) -> Result<bool> {
        let end = doc! { "$set": { "revokedAt": now } };
        if self.sessions().update_many(live, end).session(&mut *session).await?.modified_count == 0 {
            return Ok(false);
        }
        audit::journal().insert(&self.db, session, AUDIT_EVENTS, &[event]).await?;
        Ok(true)
    }

    /// Ends all sessions of a user.
    pub(super) async fn revoke_user(&self, user_id: &str, now: DateTime) -> Result<()> {
        self.revoke("userId", user_id, now).await
    }

    /// Repeats until there is nothing left to end. A refresh stores a successor and then looks whether the token
    /// it follows has been ended; a pass may have gone by before the successor was there, but then it ended the
    /// token, so either the refresh sees that or the next pass sees the successor.
    async fn revoke(&self, field: &str, value: &str, now: DateTime) -> Result<()> {
        for _ in 0..REVOKE_PASSES_MAX {
            let live = doc! { field: value, "revokedAt": null };
            let ended = self.sessions().update_many(live, doc! { "$set": { "revokedAt": now } }).await?;
            if ended.modified_count == 0 {
                break;
            }
        }
        Ok(())
    }
}

fn unless_duplicate<T>(inserted: Result<T>) -> Result<bool> {
    match inserted {
        Ok(_) => Ok(true),
        Err(error) if is_duplicate_key(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
