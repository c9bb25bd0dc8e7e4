//! Changes by administrators to others' accounts: find them, revoke what a thief could use, let the owner in again.

use std::{sync::Arc, time::Duration};

use bson::DateTime;
use mongodb::Database;
use secrecy::SecretString;

use super::{
    access_check::AsUser,
    api_keys::REVOKED,
    commands::{ChangeUser, UserChange, UserNotChanged},
    error::AuthError,
    model::User,
    password::{HashPurpose, PasswordCost, Passwords},
    store::{AccessChange, KeyRevocation, Store, UserFilter},
};
use crate::platform::{
    batch::{Lane, PATIENCE},
    clock::Clock,
    identity::{Actor, CurrentUser, Revocations, Role, tokens::ACCESS_TOKEN_TTL},
    ids::new_id,
    secret::random_letters,
    text::normal_email,
    walk::{Paged, paged},
};

/// How often a process looks whose access was ended.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// A change is looked for so long after its time: it is committed later than it was decided.
const OVERLAP: Duration = Duration::from_secs(3 * PATIENCE.as_secs());
/// Tokens of before a change have expired so long after it.
const REMEMBERED: Duration = Duration::from_secs(ACCESS_TOKEN_TTL.as_secs() + 60);

#[derive(Clone, Copy, Debug)]
pub enum Requester<'a> {
    /// Somebody who has to be what the token or key says still: an administrator, or the owner.
    User(&'a CurrentUser),
    /// An operator on the machine, by the name of the command.
    CommandLine(&'static str),
}

/// Everybody's accounts.
#[derive(Clone, Debug)]
pub struct Users {
    store: Store,
    lane: Lane,
    clock: Clock,
    passwords: Arc<Passwords>,
    revocations: Revocations,
    sends_mail: bool,
}

impl Users {
    /// Accounts in `db`, changed through `lane`; `revocations` learns of every change. Links are sent
    /// only where mail is.
    #[must_use]
    pub fn new(db: Database, lane: Lane, clock: Clock, revocations: Revocations, sends_mail: bool) -> Self {
        Self {
            store: Store::new(db),
            lane,
            clock,
            passwords: Arc::new(Passwords::new(PasswordCost::default())),
            revocations,
            sends_mail,
        }
    }

    /// Users, newest first.
    ///
    /// # Errors
    /// [`AuthError::Database`].
    pub async fn list(&self, filter: &UserFilter, limit: usize) -> Result<Paged<User>, AuthError> {
        Ok(paged(self.store.list_users(filter, limit).await?, limit, None, |user| &user.id))
    }

    /// One user.
    ///
    /// # Errors
    /// [`AuthError::NoUser`], [`AuthError::Database`].
    pub async fn get(&self, user_id: &str) -> Result<User, AuthError> {
        self.store.find_user(user_id).await?.ok_or(AuthError::NoUser)
    }

    /// The user with this id or e-mail address.
    ///
    /// # Errors
    /// As [`Users::get`].
    pub async fn get_by_name(&self, name: &str) -> Result<User, AuthError> {
        match normal_email(name) {
            Some(email) => self.store.find_user_by_email(&email).await?.ok_or(AuthError::NoUser),
            None => self.get(name).await,
        }
    }

    /// Gives a user another role, disables the user or lets it in again; what is none stays. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`AuthError::NoUser`], [`AuthError::OwnAccount`], [`AuthError::Revoked`].
    pub async fn update(
        &self,
        by: Requester<'_>,
        user_id: &str,
        role: Option<Role>,
        disabled: Option<bool>,
    ) -> Result<User, AuthError> {
        self.change(by, user_id, UserChange::Update { role, disabled }).await
    }

    /// Ends every session of a user.
    ///
    /// # Errors
    /// As [`Users::update`].
    pub async fn end_sessions(&self, by: Requester<'_>, user_id: &str) -> Result<User, AuthError> {
        self.change(by, user_id, UserChange::EndSessions).await
    }

    /// Gives a user a random password in place of the own one, and ends every session; gives that password. With `send_link` the
    /// user is sent a link to set another one.
    ///
    /// # Errors
    /// As [`Users::update`], [`AuthError::Busy`], and [`AuthError::NoMail`] where no link can be sent.
    pub async fn reset_password(
        &self,
        by: Requester<'_>,
        user_id: &str,
        send_link: bool,
    ) -> Result<SecretString, AuthError> {
        if send_link && !self.sends_mail {
            return Err(AuthError::NoMail);
        }
        let password = random_password();
        let (turn, hash) = self.passwords.turn(HashPurpose::Account).await?.hash(&password).await?;
        drop(turn);
        self.change(by, user_id, UserChange::ResetPassword { hash, send_link }).await?;
        Ok(password)
    }

    /// Takes away a user's second factor, for who has lost it with the recovery codes, and ends every session. Doing it again
    /// changes nothing.
    ///
    /// # Errors
    /// As [`Users::update`].
    pub async fn reset_totp(&self, by: Requester<'_>, user_id: &str) -> Result<User, AuthError> {
        self.change(by, user_id, UserChange::ResetTotp).await
    }

    /// Has a user belong to a tenant, which is there; doing it again changes nothing.
    ///
    /// # Errors
    /// As [`Users::update`], and [`AuthError::OtherTenant`].
    pub async fn join(&self, by: Requester<'_>, user_id: &str, tenant_id: &str) -> Result<User, AuthError> {
        self.change(by, user_id, UserChange::Join { tenant_id: tenant_id.to_owned() }).await
    }

    /// Has a member of a tenant no longer belong to it.
    ///
    /// # Errors
    /// As [`Users::update`]; [`AuthError::NoUser`] where it is no member.
    pub async fn leave(&self, by: Requester<'_>, user_id: &str, tenant_id: &str) -> Result<User, AuthError> {
        self.change(by, user_id, UserChange::Leave { tenant_id: tenant_id.to_owned() }).await
    }

    /// Members of a tenant, newest first.
    ///
    /// # Errors
    /// [`AuthError::Database`].
    pub async fn members(
        &self,
        tenant_id: &str,
        after: Option<String>,
        limit: usize,
    ) -> Result<Paged<User>, AuthError> {
        let filter = UserFilter { tenant_id: Some(tenant_id.to_owned()), after, ..UserFilter::default() };
        self.list(&filter, limit).await
    }

    /// A member of a tenant.
    ///
    /// # Errors
    /// [`AuthError::NoUser`] where it is none, [`AuthError::Database`].
    pub async fn member(&self, tenant_id: &str, user_id: &str) -> Result<User, AuthError> {
        let user = self.get(user_id).await?;
        if user.tenant_id.as_deref() == Some(tenant_id) { Ok(user) } else { Err(AuthError::NoUser) }
    }

    /// How many members a tenant has.
    ///
    /// # Errors
    /// [`AuthError::Database`].
    pub async fn count_members(&self, tenant_id: &str) -> Result<u64, AuthError> {
        Ok(self.store.count_members(tenant_id).await?)
    }

    async fn change(&self, by: Requester<'_>, user_id: &str, change: UserChange) -> Result<User, AuthError> {
        let actor = match by {
            Requester::User(admin) => Actor::from(admin),
            Requester::CommandLine(command) => Actor::command_line(command),
        };
        let event_ids = [new_id("aud"), new_id("aud")];
        let command = ChangeUser { user_id: user_id.to_owned(), change, actor, event_ids };
        let changed = match by {
            Requester::User(admin) => self.lane.submit(AsUser::new(admin, command)).await??,
            Requester::CommandLine(_) => self.lane.submit(command).await?,
        };
        let (user, access_ended) = changed.map_err(|refused| match refused {
            UserNotChanged::NoUser => AuthError::NoUser,
            UserNotChanged::OwnAccount => AuthError::OwnAccount,
            UserNotChanged::OtherTenant => AuthError::OtherTenant,
            UserNotChanged::NoMember => AuthError::NoUser,
        })?;
        if access_ended {
            let now = self.clock.now();
            self.revocations.note(&user.id, user.access_version, now.timestamp_millis());
            // The version has made the sessions void; this only says so in each of them.
            if let Err(error) = self.store.end_sessions(&user.id, now).await {
                tracing::warn!(user.id = user.id, %error, "void sessions were not marked as ended");
            }
        }
        Ok(user)
    }

    async fn ended(&self, since: DateTime) -> Result<(Vec<AccessChange>, Vec<KeyRevocation>), AuthError> {
        Ok((self.store.access_changes(since).await?, self.store.key_revocations(since).await?))
    }

    /// Keeps learning whose access was ended through other processes, and which API keys were revoked, for as long as it is polled. With the database away the
    /// list stays as it is: what could be done meanwhile needs the database too.
    pub async fn follow_access(&self) {
        while !self.clock.is_synced() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut followed_until: Option<DateTime> = None;
        loop {
            let now = self.clock.now();
            let remembered = before(now, REMEMBERED);
            let since = followed_until.map_or(remembered, |until| before(until, OVERLAP));
            match self.ended(since).await {
                Ok((changes, keys)) => {
                    for key in keys {
                        self.revocations.note(&key.key_id, REVOKED, key.revoked_at.timestamp_millis());
                    }
                    for change in changes {
                        let at_ms = change.access_changed_at.timestamp_millis();
                        self.revocations.note(&change.user_id, change.access_version, at_ms);
                    }
                    followed_until = Some(now);
                }
                Err(error) => tracing::debug!(%error, "whose access was ended can't be read"),
            }
            self.revocations.forget_before(remembered.timestamp_millis());
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }
}

fn before(at: DateTime, by: Duration) -> DateTime {
    DateTime::from_millis(at.timestamp_millis() - by.as_millis() as i64)
}

/// A hundred random bits, as people can read them out.
fn random_password() -> SecretString {
    let letters = random_letters(20);
    let groups: Vec<_> = letters.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
    SecretString::from(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn reset_passwords_are_acceptable_and_new() {
        let [one, two] = [random_password(), random_password()];
        assert_ne!(one.expose_secret(), two.expose_secret());
        assert_eq!(one.expose_secret().len(), 24);
        assert!(super::super::model::check_new_password(&one).is_ok());
    }
}
