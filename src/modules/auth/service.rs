//! The use cases: who comes in, who stays, who goes.

use std::{net::IpAddr, sync::Arc};

use mongodb::Database;
use secrecy::SecretString;

use super::{
    attempts::{Attempts, Limits},
    commands::{AddUser, ChangePassword, OpenSession, Rename},
    error::AuthError,
    model::{RefreshKeys, Session, User, Verdict, check_new_user, judge, new_refresh_token, token_id},
    password::{Passwords, Turn, is_outdated},
    store::Store,
    trail,
};
use crate::{
    modules::audit::{Refusals, Sender},
    platform::{
        batch::Lane,
        clock::Clock,
        identity::{Actor, Caller, CurrentUser, Role, TokenKeys},
        ids::new_id,
        rate_limit::RateLimiter,
        text::{normal, normal_email},
    },
};

/// A refresh looks, does one thing and looks again: three looks when alone. Others who refresh the same token at
/// the same time do part of the work, and cost a look at most each time.
const REFRESH_LOOKS_MAX: usize = 8;

/// What somebody who came in holds.
#[derive(Debug)]
pub struct Tokens {
    /// `usr_...`
    pub user_id: String,
    /// For the next [`crate::platform::identity::ACCESS_TOKEN_TTL`].
    pub access: SecretString,
    /// Good once, for the next pair.
    pub refresh: SecretString,
}

/// What [`AuthService`] is made of.
#[derive(Debug)]
pub struct AuthParts {
    /// Where users and sessions are.
    pub db: Database,
    /// Writes there.
    pub lane: Lane,
    /// Who was turned away.
    pub refusals: Refusals,
    /// The database's.
    pub clock: Clock,
    /// Those of access tokens; every process needs the same.
    pub tokens: Arc<TokenKeys>,
    /// Counts attempts.
    pub limiter: RateLimiter,
    /// Those of refresh tokens; every process needs the same.
    pub refresh_keys: RefreshKeys,
    /// How many attempts there are.
    pub limits: Limits,
}

/// Users, passwords and sessions.
#[derive(Debug)]
pub struct AuthService {
    store: Store,
    lane: Lane,
    refusals: Refusals,
    clock: Clock,
    tokens: Arc<TokenKeys>,
    attempts: Attempts,
    passwords: Passwords,
    refresh_keys: RefreshKeys,
}

impl AuthService {
    /// A service of these parts.
    #[must_use]
    pub fn new(parts: AuthParts) -> Self {
        let AuthParts { db, lane, refusals, clock, tokens, limiter, refresh_keys, limits } = parts;
        let (store, attempts) = (Store::new(db), Attempts::new(limiter, limits));
        Self { store, lane, refusals, clock, tokens, attempts, passwords: Passwords::new(), refresh_keys }
    }

    /// Lets a new merchant in. The fields have been checked at the edge.
    ///
    /// # Errors
    /// [`AuthError::EmailTaken`], [`AuthError::TooManyAttempts`], [`AuthError::Busy`].
    pub async fn register(
        &self,
        email: &str,
        password: &SecretString,
        name: &str,
        caller: &Caller,
    ) -> Result<Tokens, AuthError> {
        self.attempts.take_registration(caller.address).await?;
        let by_itself = |user_id: &str| caller.user(user_id, Some(Role::Merchant));
        let user = self.add_user(email, password, name, Role::Merchant, by_itself).await?;
        self.open_session(&user, caller).await
    }

    /// Makes a user of any role, for whoever has the command line; gives an access token too.
    ///
    /// # Errors
    /// [`AuthError::Invalid`], [`AuthError::EmailTaken`].
    pub async fn create_user(
        &self,
        email: &str,
        password: &SecretString,
        name: &str,
        role: Role,
    ) -> Result<(User, String), AuthError> {
        let email = normal_email(email).unwrap_or_else(|| email.to_owned());
        let name = normal(name);
        let wrong = check_new_user(&email, password, &name);
        if !wrong.is_empty() {
            return Err(AuthError::Invalid(wrong));
        }
        let by_operator = |_: &str| Actor::command_line("user create");
        let user = self.add_user(&email, password, &name, role, by_operator).await?;
        let access = self.tokens.issue(&user.id, user.role, self.clock.now_ms())?;
        Ok((user, access))
    }

    /// Lets somebody in who knows the password.
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`], [`AuthError::Disabled`] (to who knows the password),
    /// [`AuthError::TooManyAttempts`], [`AuthError::Busy`].
    pub async fn login(&self, email: &str, password: &SecretString, caller: &Caller) -> Result<Tokens, AuthError> {
        let outcome = self.try_login(email, password, caller).await;
        metrics::counter!("waybill_logins_total", "result" => login_label(&outcome)).increment(1);
        outcome
    }

    /// Exchanges a refresh token for the next pair; see [`judge`] for what counts as a repetition.
    ///
    /// Every step is a write that changes nothing when it was made already, followed by another look, so any number
    /// of calls with one token end at the same successor, wherever one of them stops.
    ///
    /// # Errors
    /// [`AuthError::InvalidRefresh`]; [`AuthError::RefreshReused`], and the family has ended;
    /// [`AuthError::Disabled`].
    pub async fn refresh(&self, presented: &SecretString, caller: &Caller) -> Result<Tokens, AuthError> {
        let (session, next) = self.advance(presented, caller).await?;
        let user = self.store.find_user(&session.user_id).await?.ok_or(AuthError::InvalidRefresh)?;
        if user.disabled_at.is_some() {
            return Err(AuthError::Disabled);
        }
        // The password was changed and the sessions have not been ended yet, or were opened just then.
        if user.password_version != session.password_version {
            self.refuse_spent(&session, caller).await?;
            return Err(AuthError::RefreshReused);
        }
        self.pair(&user, next)
    }

    /// Ends the family of a refresh token, whatever its state; an unknown token has none.
    ///
    /// # Errors
    /// [`AuthError::Database`].
    pub async fn logout(&self, presented: &SecretString, caller: &Caller) -> Result<(), AuthError> {
        if let Some(session) = self.store.find_session(&token_id(presented)).await? {
            let now = self.clock.now();
            let ended = trail::of_session("session.ended", &session, caller.user(&session.user_id, None), now);
            self.store.revoke_family(&session.family_id, now, &ended).await?;
            tracing::info!(user.id = session.user_id, session.id = session.family_id, "signed out");
        }
        Ok(())
    }

    /// Changes the password and ends every session of the user. Guessing the current one counts as signing in.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`], also when somebody else changed it first; [`AuthError::UserGone`],
    /// [`AuthError::Disabled`], [`AuthError::TooManyAttempts`], [`AuthError::Busy`].
    pub async fn change_password(
        &self,
        asking: &CurrentUser,
        current: &SecretString,
        new: &SecretString,
    ) -> Result<(), AuthError> {
        let user = self.active_user(&asking.user_id).await?;
        self.attempts.check_address(asking.address).await?;
        let actor = Actor::from(asking);
        let (turn, matches) = self.verify(Some(&user), &user.email, current, asking.address, &actor).await?;
        if !matches {
            return Err(AuthError::WrongPassword);
        }
        let (turn, hash) = turn.hash(new).await?;
        drop(turn);
        let change = ChangePassword {
            user_id: user.id.clone(),
            version: user.password_version,
            hash,
            actor,
            event_id: new_id("aud"),
        };
        if !self.lane.submit(change).await? {
            return Err(AuthError::WrongPassword);
        }
        tracing::info!(user.id = user.id, "password changed");
        // The change has made the sessions void; this only says so in each of them. Failing here would make the
        // client try again with a password that is no longer the current one.
        if let Err(error) = self.store.revoke_user(&user.id, self.clock.now()).await {
            tracing::warn!(user.id = user.id, %error, "sessions of an older password were not marked as ended");
        }
        Ok(())
    }

    /// The user behind an access token.
    ///
    /// # Errors
    /// [`AuthError::UserGone`], [`AuthError::Disabled`].
    pub async fn me(&self, user_id: &str) -> Result<User, AuthError> {
        self.active_user(user_id).await
    }

    /// Gives the user another name. The field has been checked at the edge.
    ///
    /// # Errors
    /// [`AuthError::UserGone`], [`AuthError::Disabled`].
    pub async fn rename(&self, asking: &CurrentUser, name: &str) -> Result<User, AuthError> {
        let rename = Rename {
            user_id: asking.user_id.clone(),
            name: name.to_owned(),
            actor: Actor::from(asking),
            event_id: new_id("aud"),
        };
        match self.lane.submit(rename).await? {
            Some(user) => Ok(user),
            None => self.active_user(&asking.user_id).await,
        }
    }

    async fn add_user(
        &self,
        email: &str,
        password: &SecretString,
        name: &str,
        role: Role,
        actor: impl FnOnce(&str) -> Actor,
    ) -> Result<User, AuthError> {
        // Saves the hash in the common case; the unique index decides.
        if self.store.find_user_by_email(email).await?.is_some() {
            return Err(AuthError::EmailTaken);
        }
        let (turn, password_hash) = self.passwords.turn().await?.hash(password).await?;
        drop(turn);
        let now = self.clock.now();
        let user = User {
            id: new_id("usr"),
            email: email.to_owned(),
            name: name.to_owned(),
            password_hash,
            password_version: 1,
            role,
            disabled_at: None,
            created_at: now,
            updated_at: now,
        };
        let actor = actor(&user.id);
        if !self.lane.submit(AddUser { user: user.clone(), actor }).await? {
            return Err(AuthError::EmailTaken);
        }
        tracing::info!(user.id = user.id, user.role = role.as_str(), "user created");
        Ok(user)
    }

    async fn try_login(&self, email: &str, password: &SecretString, caller: &Caller) -> Result<Tokens, AuthError> {
        // Who is refused anyway must not take others' places in the queue for a turn.
        self.attempts.check_address(caller.address).await?;
        let user = self.store.find_user_by_email(email).await?;
        let actor = caller.anonymous();
        let (turn, matches) = self.verify(user.as_ref(), email, password, caller.address, &actor).await?;
        let Some(user) = user.filter(|_| matches) else { return Err(AuthError::InvalidCredentials) };
        if user.disabled_at.is_some() {
            return Err(AuthError::Disabled);
        }
        if is_outdated(&user.password_hash) {
            let (_, hash) = turn.hash(password).await?;
            self.store.rehash(&user, &hash, self.clock.now()).await?;
        }
        self.open_session(&user, caller).await
    }

    /// Whether the password is right, and the counting that goes with the answer: before it for the account,
    /// while holding the turn for the address.
    async fn verify(
        &self,
        user: Option<&User>,
        email: &str,
        password: &SecretString,
        address: Option<IpAddr>,
        actor: &Actor,
    ) -> Result<(Turn, bool), AuthError> {
        let turn = self.passwords.turn().await?;
        self.attempts.check_address(address).await?;
        self.attempts.take_account(email).await?;
        let (turn, matches) = turn.verify(password, user.map(|user| user.password_hash.as_str())).await?;
        if matches {
            self.attempts.forgive_account(email).await;
        } else {
            self.attempts.count_wrong(address).await;
            tracing::info!(user.id = user.map(|user| user.id.as_str()), "wrong password");
            if let Some(user) = user {
                let refused = trail::wrong_password(user, actor, self.clock.now());
                self.refusals.note(Sender::user(&user.id, user.role), refused);
            }
        }
        Ok((turn, matches))
    }

    /// Brings the session of `presented` to where its successor is stored, live and unused, and gives the successor.
    async fn advance(&self, presented: &SecretString, caller: &Caller) -> Result<(Session, SecretString), AuthError> {
        let (id, now) = (token_id(presented), self.clock.now());
        let successors = self.refresh_keys.successors(presented);
        let derivable: Vec<_> = successors.iter().map(token_id).collect();
        for _ in 0..REFRESH_LOOKS_MAX {
            let (token, successor) = self.store.find_pair(&id, &derivable).await?;
            match judge(token.as_ref(), &derivable, successor.as_ref(), now) {
                Verdict::Unknown | Verdict::Expired => return Err(AuthError::InvalidRefresh),
                Verdict::Foreign => {
                    tracing::warn!(
                        session.id = token.map(|token| token.family_id),
                        "a refresh token was used under a secret that this process doesn't have"
                    );
                    return Err(AuthError::InvalidRefresh);
                }
                Verdict::Reused(session) => {
                    self.refuse_spent(session, caller).await?;
                    tracing::warn!(
                        user.id = session.user_id,
                        session.id = session.family_id,
                        "a refresh token was presented again; its family has ended"
                    );
                    return Err(AuthError::RefreshReused);
                }
                Verdict::Fresh => self.store.mark_used(&id, &derivable[0], now).await?,
                Verdict::HalfDone { token, successor_id } => {
                    self.store.ensure_session(&token.successor(successor_id.to_owned(), now)).await?;
                }
                Verdict::Repeat(session) => {
                    let mut ours = successors.into_iter().zip(&derivable);
                    let next = ours.find_map(|(next, id)| (*id == session.id).then_some(next));
                    return next.map(|next| (session.clone(), next)).ok_or(AuthError::InvalidRefresh);
                }
            }
        }
        Err(AuthError::Busy)
    }

    /// Ends the family of a token that must not be good any more. That is on record; where the family had ended before, that
    /// the token was refused is, as far as there is room.
    async fn refuse_spent(&self, session: &Session, caller: &Caller) -> Result<(), AuthError> {
        let now = self.clock.now();
        let reused = trail::spent_token("session.reused", session, caller, now);
        if !self.store.revoke_family(&session.family_id, now, &reused).await? {
            let refused = trail::spent_token("session.refused", session, caller, now);
            // Whoever has an old token can present it without end, and is a stranger all the same.
            self.refusals.note(Sender::Stranger, refused);
        }
        Ok(())
    }

    async fn open_session(&self, user: &User, caller: &Caller) -> Result<Tokens, AuthError> {
        let refresh = new_refresh_token();
        let family_id = new_id("ses");
        tracing::info!(user.id = user.id, session.id = family_id, "signed in");
        let session = Session::first(token_id(&refresh), family_id, user, self.clock.now());
        self.lane.submit(OpenSession { session, actor: caller.user(&user.id, Some(user.role)) }).await?;
        self.pair(user, refresh)
    }

    fn pair(&self, user: &User, refresh: SecretString) -> Result<Tokens, AuthError> {
        let access = self.tokens.issue(&user.id, user.role, self.clock.now_ms())?;
        Ok(Tokens { user_id: user.id.clone(), access: access.into(), refresh })
    }

    async fn active_user(&self, user_id: &str) -> Result<User, AuthError> {
        let user = self.store.find_user(user_id).await?.ok_or(AuthError::UserGone)?;
        if user.disabled_at.is_some() { Err(AuthError::Disabled) } else { Ok(user) }
    }
}

const fn login_label(outcome: &Result<Tokens, AuthError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(AuthError::InvalidCredentials) => "wrong",
        Err(AuthError::Disabled) => "disabled",
        Err(AuthError::TooManyAttempts { .. }) => "limited",
        Err(AuthError::Busy) => "busy",
        Err(_) => "error",
    }
}
