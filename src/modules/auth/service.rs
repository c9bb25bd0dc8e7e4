//! The use cases: who comes in, who stays, who goes.

use std::sync::Arc;

use axum::http::HeaderMap;
use mongodb::Database;
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::{
    attempts::{AttemptCounter, AttemptLimits, AttemptSource, Attempts},
    commands::{AddUser, ChangePassword, EndSession, OpenSession, PasswordKept, PasswordProof, Rename},
    device::DeviceKeys,
    error::AuthError,
    links::LinkKeys,
    mail_topics::MailTopics,
    model::{User, check_new_user},
    password::{HashPurpose, HashingPermit, PasswordCost, Passwords},
    session::{RefreshKeys, RefreshTokenState, Session, judge},
    store::Store,
    totp::{SecondFactor, SecondFactorProof, TOTP_ROUTES},
    trail,
};
use crate::{
    modules::audit::{Refusals, Sender},
    platform::{
        batch::Lane,
        clock::Clock,
        identity::{Actor, Caller, CurrentUser, Revocations, Role, bearer_token, tokens::TokenKeys},
        ids::new_id,
        rate_limit::RateLimiter,
        text::{normal, normal_email},
    },
};

/// A refresh looks and writes once when alone. Others who refresh the same token at the same time do so first, and cost a look
/// at most each time.
const REFRESH_LOOKS_MAX: usize = 8;

/// So often are a user's keys looked up to be revoked, where others are made meanwhile.
const KEY_LOOKS_MAX: usize = 4;

/// Resets that are looked into at once, after their answer.
const RESETS_MAX: usize = 64;

/// Tokens of a sign-in.
#[derive(Debug)]
pub struct Tokens {
    /// `usr_...`
    pub user_id: String,
    /// For the next [`crate::platform::identity::ACCESS_TOKEN_TTL`].
    pub access: SecretString,
    /// Good once, for the next pair.
    pub refresh: SecretString,
    /// The only routes that the access token opens; none where it opens what the role may do.
    pub only: Option<&'static str>,
    /// `Set-Cookie` for a device on which the user has not signed in before.
    pub device_cookie: Option<String>,
}

/// Parts of an [`AuthService`].
#[derive(Debug)]
pub struct AuthParts {
    /// Where users and sessions are.
    pub db: Database,
    pub lane: Lane,
    /// Records refused requests.
    pub refusals: Refusals,
    /// The database's.
    pub clock: Clock,
    /// Keys of access tokens; every process needs the same.
    pub tokens: Arc<TokenKeys>,
    /// Counts attempts.
    pub limiter: RateLimiter,
    /// Keys of refresh tokens; every process needs the same.
    pub refresh_keys: RefreshKeys,
    /// Keys of device cookies; every process needs the same.
    pub device_keys: DeviceKeys,
    /// Keys of links in letters; every process needs the same.
    pub link_keys: LinkKeys,
    /// Access tokens that are void before they expire.
    pub revocations: Revocations,
    /// How many attempts there are.
    pub limits: AttemptLimits,
    /// Cost of hashing a password.
    pub password_cost: PasswordCost,
    pub second_factor: SecondFactor,
}

/// Users, passwords and sessions.
#[derive(Debug)]
pub struct AuthService {
    pub(super) store: Store,
    pub(super) lane: Lane,
    pub(super) refusals: Refusals,
    pub(super) clock: Clock,
    pub(super) tokens: Arc<TokenKeys>,
    pub(super) attempts: Attempts,
    pub(super) passwords: Passwords,
    refresh_keys: RefreshKeys,
    pub(super) device_keys: DeviceKeys,
    pub(super) link_keys: LinkKeys,
    /// Room for resets that somebody has asked for and was answered about.
    pub(super) resets: Arc<Semaphore>,
    revocations: Revocations,
    pub(super) second_factor: SecondFactor,
}

impl AuthService {
    #[must_use]
    pub fn new(parts: AuthParts) -> Self {
        Self {
            store: Store::new(parts.db),
            lane: parts.lane,
            refusals: parts.refusals,
            clock: parts.clock,
            tokens: parts.tokens,
            attempts: Attempts::new(parts.limiter, parts.limits),
            passwords: Passwords::new(parts.password_cost),
            refresh_keys: parts.refresh_keys,
            device_keys: parts.device_keys,
            link_keys: parts.link_keys,
            resets: Arc::new(Semaphore::new(RESETS_MAX)),
            revocations: parts.revocations,
            second_factor: parts.second_factor,
        }
    }

    /// Lets a new merchant in. The fields have been checked at the edge.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] where the password is a common one, [`AuthError::EmailTaken`], [`AuthError::TooManyAttempts`],
    /// [`AuthError::Busy`].
    pub async fn register(
        &self,
        email: &str,
        password: &SecretString,
        name: &str,
        role: Role,
        caller: &Caller,
    ) -> Result<Tokens, AuthError> {
        self.attempts.take_registration(caller.address).await?;
        let by_itself = |user_id: &str| caller.user(user_id, Some(role));
        let user = self.add_user(email, password, name, role, by_itself).await?;
        let tokens = self.open_session(&user, None, caller).await?;
        Ok(Tokens { device_cookie: Some(self.device_keys.cookie(&user.id)), ..tokens })
    }

    /// Makes a user of any role, for whoever has the command line; gives an access token too, which opens what [`Self::only`] says.
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
        let access = self.tokens.issue(self.second_factor.access_token(&user), self.clock.now_ms())?;
        Ok((user, access))
    }

    /// The only routes that the user's access tokens open; none where they open what the role may do.
    #[must_use]
    pub fn only(&self, user: &User) -> Option<&'static str> {
        self.second_factor.is_missing(user).then_some(TOTP_ROUTES)
    }

    /// Lets somebody in who knows the password, and has the second factor where there is one. What the request presents besides (a device cookie, an access token) says whether
    /// it counts with strangers' attempts.
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`]; to who knows the password [`AuthError::Disabled`], [`AuthError::OtpRequired`],
    /// [`AuthError::WrongOtp`]; [`AuthError::TooManyAttempts`], [`AuthError::Busy`].
    pub async fn login(
        &self,
        email: &str,
        password: &SecretString,
        otp: Option<&SecretString>,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Result<Tokens, AuthError> {
        let outcome = self.try_login(email, password, otp, headers, caller).await;
        metrics::counter!("waybill_logins_total", "result" => login_label(&outcome)).increment(1);
        outcome
    }

    /// Exchanges a refresh token for the next pair; see [`judge`] for what counts as a repetition. What we did not make, or what
    /// is asked for too often, never reaches the database.
    ///
    /// # Errors
    /// [`AuthError::InvalidRefresh`]; [`AuthError::RefreshReused`], and the session has ended;
    /// [`AuthError::Disabled`], [`AuthError::TooManyAttempts`].
    pub async fn refresh(&self, token: &SecretString, caller: &Caller) -> Result<Tokens, AuthError> {
        self.attempts.take_session_request(caller.address).await?;
        let presented = self.refresh_keys.read(token).ok_or(AuthError::InvalidRefresh)?;
        self.attempts.take_of_session(&presented.session_id).await?;
        for _ in 0..REFRESH_LOOKS_MAX {
            let session = self.store.find_session(&presented.session_id).await?.ok_or(AuthError::InvalidRefresh)?;
            let user = self.store.find_user(&session.user_id).await?.ok_or(AuthError::InvalidRefresh)?;
            if user.disabled_at.is_some() {
                return Err(AuthError::Disabled);
            }
            let (now, has_key) = (self.clock.now(), self.refresh_keys.has(&session.key_id));
            let verdict = judge(Some(&session), &presented, has_key, now);
            let live = match verdict {
                // Where the version has grown, the session is void and may not have been marked as ended yet.
                RefreshTokenState::Fresh | RefreshTokenState::Repeat
                    if user.access_version != session.access_version =>
                {
                    return self.refuse_spent(&session, caller).await;
                }
                RefreshTokenState::Fresh => session.rotated(self.refresh_keys.current_id(), now),
                RefreshTokenState::Repeat => session.clone(),
                RefreshTokenState::Reused => return self.refuse_spent(&session, caller).await,
                RefreshTokenState::Unknown | RefreshTokenState::Expired => return Err(AuthError::InvalidRefresh),
                RefreshTokenState::Foreign => {
                    tracing::warn!(
                        session.id = session.id,
                        "a refresh token was used under a secret that this process doesn't have"
                    );
                    return Err(AuthError::InvalidRefresh);
                }
            };
            if verdict == RefreshTokenState::Repeat || self.store.rotate(&session, &live).await? {
                return self.pair(&user, &live);
            }
        }
        Err(AuthError::Busy)
    }

    /// Ends the session of a refresh token, whatever its state; what we did not make has none.
    ///
    /// # Errors
    /// [`AuthError::Database`], [`AuthError::TooManyAttempts`].
    pub async fn logout(&self, token: &SecretString, caller: &Caller) -> Result<(), AuthError> {
        self.attempts.take_session_request(caller.address).await?;
        let Some(presented) = self.refresh_keys.read(token) else { return Ok(()) };
        self.attempts.take_of_session(&presented.session_id).await?;
        let session = self.store.find_session(&presented.session_id).await?;
        let Some(session) = session.filter(|session| session.ended_at.is_none()) else { return Ok(()) };
        let actor = caller.user(&session.user_id, None);
        let event = trail::of_session("session.ended", &session, actor, self.clock.now());
        self.lane.submit(EndSession { session_id: session.id.clone(), event }).await?;
        tracing::info!(user.id = session.user_id, session.id = session.id, "signed out");
        Ok(())
    }

    /// Changes the password and ends every session of the user, and API keys where `revokes_keys`. Guessing the current one counts as signing in.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`], also when somebody else changed it first; [`AuthError::UserGone`],
    /// [`AuthError::Disabled`], [`AuthError::TooManyAttempts`], [`AuthError::Busy`].
    pub async fn change_password(
        &self,
        asking: &CurrentUser,
        current: &SecretString,
        new: &SecretString,
        revokes_keys: bool,
    ) -> Result<(), AuthError> {
        let user = self.active_user(&asking.user_id).await?;
        let actor = Actor::from(asking);
        let turn = self.check_password(&user, current, &actor).await?;
        let (turn, hash) = turn.hash_new(new, "newPassword", (&user.email, &user.name)).await?;
        drop(turn);
        let changed = self.store_password(&user, PasswordProof::Password, hash, revokes_keys, actor).await?;
        changed.ok_or(AuthError::WrongPassword).map(drop)
    }

    /// Goes on where whoever has signed in knows the password.
    pub(super) async fn check_password(
        &self,
        user: &User,
        password: &SecretString,
        actor: &Actor,
    ) -> Result<HashingPermit, AuthError> {
        // Strangers' guesses are not the user's.
        let counters = self.attempts.counters(AttemptSource::Known(&user.id));
        let (turn, matches) = self.verify(Some(user), password, &counters, actor).await?;
        if matches { Ok(turn) } else { Err(AuthError::WrongPassword) }
    }

    /// Stores a new password and ends every session, and API keys where `revokes_keys`; none where somebody else was faster.
    pub(super) async fn store_password(
        &self,
        user: &User,
        shown: PasswordProof,
        hash: String,
        revokes_keys: bool,
        actor: Actor,
    ) -> Result<Option<User>, AuthError> {
        for _ in 0..KEY_LOOKS_MAX {
            let keys = if revokes_keys { Some(self.store.list_keys(&user.id).await?) } else { None };
            let change = ChangePassword {
                user_id: user.id.clone(),
                access_version: user.access_version,
                shown,
                hash: hash.clone(),
                keys: keys.map(|keys| keys.into_iter().map(|key| (key.id, new_id("aud"))).collect()),
                actor: actor.clone(),
                event_id: new_id("aud"),
            };
            match self.lane.submit(change).await? {
                Ok(user) => {
                    tracing::info!(user.id = user.id, "password changed");
                    // What is remembered of the user's keys is void with the user's access.
                    self.ended(&user).await;
                    return Ok(Some(user));
                }
                Err(PasswordKept::OtherAccess) => return Ok(None),
                Err(PasswordKept::OtherKeys) => {}
            }
        }
        Err(AuthError::Busy)
    }

    /// Has it known that the user's access was ended. The change has made the sessions void; this only says so in each of them:
    /// failing here would make the client try again with what is no longer good.
    pub(super) async fn ended(&self, user: &User) {
        let now = self.clock.now();
        self.revocations.note(&user.id, user.access_version, now.timestamp_millis());
        if let Err(error) = self.store.end_sessions(&user.id, now).await {
            tracing::warn!(user.id = user.id, %error, "void sessions were not marked as ended");
        }
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
        let turn = self.passwords.turn(HashPurpose::Registration).await?;
        let (turn, password_hash) = turn.hash_new(password, "password", (email, name)).await?;
        drop(turn);
        let now = self.clock.now();
        let user = User {
            id: new_id("usr"),
            email: email.to_owned(),
            name: name.to_owned(),
            password_hash,
            access_version: 0,
            access_changed_at: None,
            role,
            tenant_id: None,
            tenant_since: None,
            disabled_at: None,
            email_verified_at: None,
            mail: MailTopics::default(),
            events: 0,
            totp_since: None,
            api_keys: 0,
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

    async fn try_login(
        &self,
        email: &str,
        password: &SecretString,
        otp: Option<&SecretString>,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Result<Tokens, AuthError> {
        let user = self.store.find_user_by_email(email).await?;
        let device = user.as_ref().and_then(|user| self.device_keys.device_of(headers, &user.id));
        let known = device.clone().or_else(|| user.as_ref().and_then(|user| self.session_of(headers, user)));
        let stranger = AttemptSource::Stranger { email, address: caller.address };
        let counters = self.attempts.counters(known.as_deref().map_or(stranger, AttemptSource::Known));
        let actor = caller.anonymous();
        let (turn, matches) = self.verify(user.as_ref(), password, &counters, &actor).await?;
        let Some(user) = user.filter(|_| matches) else { return Err(AuthError::InvalidCredentials) };
        if user.disabled_at.is_some() {
            return Err(AuthError::Disabled);
        }
        if self.passwords.is_outdated(&user.password_hash) {
            let (_, hash) = turn.hash(password).await?;
            self.store.rehash(&user, &hash, self.clock.now()).await?;
        }
        let second_factor = match (user.totp_since, otp) {
            (None, _) => None,
            (Some(_), None) => return Err(AuthError::OtpRequired),
            (Some(_), Some(otp)) => Some(self.prove(&user, otp, &actor).await?.ok_or(AuthError::WrongOtp)?),
        };
        let tokens = self.open_session(&user, second_factor, caller).await?;
        Ok(Tokens { device_cookie: device.is_none().then(|| self.device_keys.cookie(&user.id)), ..tokens })
    }

    /// The session of an access token of `user`, under whose name the user's own attempts count.
    fn session_of(&self, headers: &HeaderMap, user: &User) -> Option<String> {
        let token = self.tokens.verify(bearer_token(headers)?).ok()?;
        (token.user_id == user.id && token.access_version == user.access_version).then(|| user.id.clone())
    }

    /// Whether the password is right, and the counting that goes with the answer.
    async fn verify(
        &self,
        user: Option<&User>,
        password: &SecretString,
        counters: &[AttemptCounter],
        actor: &Actor,
    ) -> Result<(HashingPermit, bool), AuthError> {
        // Who is refused anyway must not take others' places in the queue for a turn.
        self.attempts.check(counters).await?;
        let turn = self.passwords.turn(HashPurpose::Account).await?;
        self.attempts.take(counters).await?;
        let (turn, matches) = turn.verify(password, user.map(|user| user.password_hash.as_str())).await?;
        if matches {
            self.attempts.give_back_attempt(counters).await;
        } else {
            tracing::info!(user.id = user.map(|user| user.id.as_str()), "wrong password");
            if let Some(user) = user {
                let refused = trail::wrong_password(user, actor, self.clock.now());
                self.refusals.note(Sender::user(&user.id, user.role), refused);
            }
        }
        Ok((turn, matches))
    }

    /// Ends the session of a token that must not be good any more. That is on record; where the session had ended before, that
    /// the token was refused is, as far as there is room.
    async fn refuse_spent(&self, session: &Session, caller: &Caller) -> Result<Tokens, AuthError> {
        let event = trail::spent_token("session.reused", session, caller, self.clock.now());
        let ends = session.ended_at.is_none();
        if ends && self.lane.submit(EndSession { session_id: session.id.clone(), event }).await? {
            tracing::warn!(
                user.id = session.user_id,
                session.id = session.id,
                "a refresh token was presented again; its session has ended"
            );
        } else {
            let refused = trail::spent_token("session.refused", session, caller, self.clock.now());
            // Whoever has an old token can present it without end, and is a stranger all the same.
            self.refusals.note(Sender::Stranger, refused);
        }
        Err(AuthError::RefreshReused)
    }

    async fn open_session(
        &self,
        user: &User,
        second_factor: Option<(String, SecondFactorProof)>,
        caller: &Caller,
    ) -> Result<Tokens, AuthError> {
        let session = Session::new(new_id("ses"), user, self.refresh_keys.current_id(), self.clock.now());
        let actor = caller.user(&user.id, Some(user.role));
        if !self.lane.submit(OpenSession { session: session.clone(), actor, second_factor }).await? {
            return Err(AuthError::WrongOtp);
        }
        tracing::info!(user.id = user.id, session.id = session.id, "signed in");
        self.pair(user, &session)
    }

    fn pair(&self, user: &User, session: &Session) -> Result<Tokens, AuthError> {
        let only = self.only(user);
        let access = self.tokens.issue(self.second_factor.access_token(user), self.clock.now_ms())?;
        let refresh = self.refresh_keys.token(session).ok_or(AuthError::InvalidRefresh)?;
        Ok(Tokens { user_id: user.id.clone(), access: access.into(), refresh, only, device_cookie: None })
    }

    pub(super) async fn active_user(&self, user_id: &str) -> Result<User, AuthError> {
        let user = self.store.find_user(user_id).await?.ok_or(AuthError::UserGone)?;
        if user.disabled_at.is_some() { Err(AuthError::Disabled) } else { Ok(user) }
    }
}

const fn login_label(outcome: &Result<Tokens, AuthError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(AuthError::InvalidCredentials) => "wrong",
        Err(AuthError::Disabled) => "disabled",
        Err(AuthError::OtpRequired) => "otp_required",
        Err(AuthError::WrongOtp) => "wrong_otp",
        Err(AuthError::TooManyAttempts { .. }) => "limited",
        Err(AuthError::Busy) => "busy",
        Err(_) => "error",
    }
}
