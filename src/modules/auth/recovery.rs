//! The use cases of links in letters: another password for who forgot it, an address that is shown to be read, and which letters
//! somebody wants.

use std::{net::IpAddr, sync::Arc};

use secrecy::SecretString;

use super::{
    commands::PasswordProof,
    error::AuthError,
    links::{Link, LinkPurpose},
    mail_commands::{AskForReset, AskForVerification, ChangeMail, VerifyEmail},
    mail_topics::{MailChange, MailTopic, MailTopics},
    model::User,
    password::HashPurpose,
    service::AuthService,
};
use crate::platform::{
    identity::{Actor, Caller, CurrentUser},
    ids::new_id,
};

impl AuthService {
    /// Has somebody with this address sent a link to set another password, if there is anybody. Looks after it has answered:
    /// neither the answer nor its time tells.
    ///
    /// # Errors
    /// [`AuthError::TooManyAttempts`], [`AuthError::Busy`].
    pub async fn request_password_reset(&self, email: &str, caller: &Caller) -> Result<(), AuthError> {
        self.attempts.count_letter("reset", email, caller.address).await?;
        let room = Arc::clone(&self.resets).try_acquire_owned().map_err(|_| AuthError::Busy)?;
        let (store, lane, email, actor) = (self.store.clone(), self.lane.clone(), email.to_owned(), caller.anonymous());
        tokio::spawn(async move {
            let asked = async {
                let Some(user) = store.find_user_by_email(&email).await? else { return Ok::<_, AuthError>(()) };
                let asked =
                    lane.submit(AskForReset { user_id: user.id.clone(), actor, event_id: new_id("evt") }).await?;
                if asked {
                    tracing::info!(user.id = user.id, "password reset asked for");
                }
                Ok(())
            };
            if let Err(error) = asked.await {
                tracing::error!(%error, "a password reset that was asked for could not be recorded");
            }
            drop(room);
        });
        Ok(())
    }

    /// The user who may set another password by this link.
    ///
    /// # Errors
    /// [`AuthError::InvalidLink`].
    pub async fn user_to_reset(&self, token: &SecretString) -> Result<User, AuthError> {
        self.linked(token, LinkPurpose::PasswordReset).await
    }

    /// Sets another password by a link, and ends every session, and API keys where `revokes_keys`; gives a `Set-Cookie` for the device, so that strangers' guesses
    /// don't shut the owner out of it. The link is spent.
    ///
    /// # Errors
    /// [`AuthError::InvalidLink`], [`AuthError::Invalid`] where the password is a common one, [`AuthError::Busy`].
    pub async fn reset_password(
        &self,
        token: &SecretString,
        password: &SecretString,
        revokes_keys: bool,
        caller: &Caller,
    ) -> Result<String, AuthError> {
        let user = self.user_to_reset(token).await?;
        let turn = self.passwords.turn(HashPurpose::Account).await?;
        let (turn, hash) = turn.hash_new(password, "password", (&user.email, &user.name)).await?;
        drop(turn);
        let actor = caller.user(&user.id, Some(user.role));
        let set = self.store_password(&user, PasswordProof::Link, hash, revokes_keys, actor).await?;
        let user = set.ok_or(AuthError::InvalidLink)?;
        self.attempts.clear_wrong_passwords(&user.email, caller.address).await;
        Ok(self.device_keys.cookie(&user.id))
    }

    /// Has the user sent a link to verify the address.
    ///
    /// # Errors
    /// [`AuthError::EmailVerified`], [`AuthError::UserGone`], [`AuthError::Disabled`], [`AuthError::TooManyAttempts`].
    pub async fn request_verification(&self, asking: &CurrentUser) -> Result<(), AuthError> {
        let user = self.active_user(&asking.user_id).await?;
        if user.email_verified_at.is_some() {
            return Err(AuthError::EmailVerified);
        }
        // Who asks is known, and offices share an address.
        self.attempts.count_letter("verification", &user.id, None::<IpAddr>).await?;
        let ask = AskForVerification { user_id: user.id, actor: Actor::from(asking), event_id: new_id("evt") };
        self.lane.submit(ask).await?;
        Ok(())
    }

    /// The user whose address this link verifies, or has verified.
    ///
    /// # Errors
    /// [`AuthError::InvalidLink`].
    pub async fn user_to_verify(&self, token: &SecretString) -> Result<User, AuthError> {
        self.linked(token, LinkPurpose::EmailVerification).await
    }

    /// Notes that what is sent to the user's address is read. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`AuthError::InvalidLink`].
    pub async fn verify_email(&self, token: &SecretString, caller: &Caller) -> Result<(), AuthError> {
        let user = self.user_to_verify(token).await?;
        let actor = caller.user(&user.id, Some(user.role));
        let verify = VerifyEmail { user_id: user.id, email: user.email, actor, event_id: new_id("aud") };
        if self.lane.submit(verify).await? { Ok(()) } else { Err(AuthError::InvalidLink) }
    }

    /// Letters that the user wants.
    ///
    /// # Errors
    /// [`AuthError::UserGone`], [`AuthError::Disabled`].
    pub async fn mail_topics(&self, user_id: &str) -> Result<MailTopics, AuthError> {
        Ok(self.active_user(user_id).await?.mail)
    }

    /// Changes what is given of which letters the user wants.
    ///
    /// # Errors
    /// As [`AuthService::mail_topics`].
    pub(super) async fn change_mail(&self, asking: &CurrentUser, change: MailChange) -> Result<MailTopics, AuthError> {
        self.active_user(&asking.user_id).await?;
        self.store_mail(&asking.user_id, change, Actor::from(asking)).await?.ok_or(AuthError::UserGone)
    }

    /// The topic that the link unsubscribes from.
    ///
    /// # Errors
    /// [`AuthError::InvalidLink`].
    pub fn topic_to_unsubscribe(&self, token: &SecretString) -> Result<MailTopic, AuthError> {
        self.unsubscribing(token).map(|(_, topic)| topic)
    }

    /// Sends the user no more letters about what the link names. Doing it again changes nothing; of an account that is disabled,
    /// too: letters are no access.
    ///
    /// # Errors
    /// [`AuthError::InvalidLink`].
    pub async fn unsubscribe(&self, token: &SecretString, caller: &Caller) -> Result<MailTopic, AuthError> {
        let (link, topic) = self.unsubscribing(token)?;
        let actor = caller.user(&link.user_id, None);
        self.store_mail(&link.user_id, MailChange::without(topic), actor).await?.ok_or(AuthError::InvalidLink)?;
        Ok(topic)
    }

    fn unsubscribing(&self, token: &SecretString) -> Result<(Link, MailTopic), AuthError> {
        let link = self.link_keys.read(token).ok_or(AuthError::InvalidLink)?;
        match link.purpose() {
            LinkPurpose::Unsubscribe(topic) => Ok((link, topic)),
            LinkPurpose::PasswordReset | LinkPurpose::EmailVerification => Err(AuthError::InvalidLink),
        }
    }

    async fn store_mail(
        &self,
        user_id: &str,
        change: MailChange,
        actor: Actor,
    ) -> Result<Option<MailTopics>, AuthError> {
        let change = ChangeMail { user_id: user_id.to_owned(), change, actor, event_id: new_id("aud") };
        Ok(self.lane.submit(change).await?)
    }

    async fn linked(&self, token: &SecretString, purpose: LinkPurpose) -> Result<User, AuthError> {
        let link = self.link_keys.read(token).filter(|link| link.purpose() == purpose);
        let link = link.filter(|link| !link.is_over(self.clock.now())).ok_or(AuthError::InvalidLink)?;
        let user = self.store.find_user(&link.user_id).await?;
        user.filter(|user| user.disabled_at.is_none() && link.fits(user)).ok_or(AuthError::InvalidLink)
    }
}
