//! Sessions of browsers. They begin as every sign-in does; then a cookie stands for them, which is exchanged for nothing and ends
//! with them.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::DateTime;
use secrecy::SecretString;
use subtle::ConstantTimeEq;

use super::{
    commands::EndSession,
    error::AuthError,
    model::User,
    service::AuthService,
    session::{RefreshKeys, Session},
    store::Store,
    totp::SecondFactor,
    trail,
};
use crate::platform::{
    batch::Lane,
    clock::{Clock, after},
    identity::{Caller, tokens::TokenKeys},
    secret::{MacKey, derive_key},
};

/// Longest session of a browser, however busy.
const BROWSER_TTL: Duration = Duration::from_secs(12 * 60 * 60);
/// A session without requests ends after this long.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// A request is noted where the one that was noted last is older.
const NOTED_EVERY: Duration = Duration::from_secs(60);

const ID_PREFIX: &str = "ses_";
const ID_BYTES: usize = 16;
const MAC_BYTES: usize = 32;

#[derive(Debug)]
pub struct BrowserSession {
    /// `ses_...`
    pub id: String,
    pub user: User,
    /// The access token that requests on behalf of the user carry.
    pub access: SecretString,
    /// It opens nothing but the way to a second factor.
    pub is_limited: bool,
    /// Token in every form of this session's pages (CSRF).
    pub form_token: String,
    /// The token of forms from before the secret was changed, while that one is known.
    earlier_form_token: Option<String>,
    session: Session,
}

/// Begins, finds and ends the sessions of browsers.
#[derive(Clone, Debug)]
pub struct BrowserSessions {
    store: Store,
    lane: Lane,
    clock: Clock,
    tokens: Arc<TokenKeys>,
    second_factor: SecondFactor,
    refresh_keys: Arc<RefreshKeys>,
    keys: Arc<[MacKey]>,
}

impl AuthService {
    /// Its sessions, as browsers have them; keys of their own are derived from the secrets that sign access tokens.
    #[must_use]
    pub fn browser_sessions(&self, secret: &SecretString, previous: Option<&SecretString>) -> BrowserSessions {
        let key = |secret| MacKey::new(&derive_key(secret, "waybill browser sessions v1"));
        BrowserSessions {
            store: self.store.clone(),
            lane: self.lane.clone(),
            clock: self.clock.clone(),
            tokens: Arc::clone(&self.tokens),
            second_factor: self.second_factor.clone(),
            refresh_keys: Arc::new(RefreshKeys::derive(secret, previous)),
            keys: std::iter::once(secret).chain(previous).map(key).collect(),
        }
    }
}

impl BrowserSessions {
    /// Makes the session of a refresh token, which nobody else may hold, a browser's; gives the value of its cookie.
    ///
    /// # Errors
    /// [`AuthError::InvalidRefresh`] where it has ended.
    pub async fn begin(&self, refresh: &SecretString) -> Result<String, AuthError> {
        let presented = self.refresh_keys.read(refresh).ok_or(AuthError::InvalidRefresh)?;
        let now = self.clock.now();
        if !self.store.touch_session(&presented.session_id, now, after(now, BROWSER_TTL)).await? {
            return Err(AuthError::InvalidRefresh);
        }
        self.cookie(&presented.session_id).ok_or(AuthError::InvalidRefresh)
    }

    /// The session behind a cookie, where it has not ended and is not too old. Of those that go on without anybody at the browser (a
    /// board that follows queues) is no note made.
    ///
    /// # Errors
    /// [`AuthError::Database`].
    pub async fn find(&self, cookie: &str, somebody_is_there: bool) -> Result<Option<BrowserSession>, AuthError> {
        let Some(id) = self.read(cookie) else { return Ok(None) };
        let now = self.clock.now();
        let Some(session) = self.store.find_session(&id).await? else { return Ok(None) };
        let Some(seen_at) = session.seen_at.filter(|_| is_live(&session, now)) else { return Ok(None) };
        let Some(user) = self.store.find_user(&session.user_id).await? else { return Ok(None) };
        if user.disabled_at.is_some() || user.access_version != session.access_version {
            return Ok(None);
        }
        if somebody_is_there
            && after(seen_at, NOTED_EVERY) <= now
            && !self.store.touch_session(&id, now, session.expires_at).await?
        {
            return Ok(None);
        }
        let access = self.tokens.issue(self.second_factor.access_token(&user), self.clock.now_ms())?.into();
        let form_token = |key: &MacKey| hex::encode(key.mac(format!("form {id}").as_bytes()));
        let (form_token, earlier_form_token) = (form_token(&self.keys[0]), self.keys.get(1).map(form_token));
        let is_limited = self.second_factor.is_missing(&user);
        Ok(Some(BrowserSession { id, user, access, is_limited, form_token, earlier_form_token, session }))
    }

    /// Signs out.
    ///
    /// # Errors
    /// [`AuthError::Database`].
    pub async fn end(&self, session: &BrowserSession, caller: &Caller) -> Result<(), AuthError> {
        let actor = caller.user(&session.user.id, Some(session.user.role));
        let event = trail::of_session("session.ended", &session.session, actor, self.clock.now());
        self.lane.submit(EndSession { session_id: session.id.clone(), event }).await?;
        tracing::info!(user.id = session.user.id, session.id = session.id, "signed out");
        Ok(())
    }

    fn cookie(&self, session_id: &str) -> Option<String> {
        let mut bytes = hex::decode(session_id.strip_prefix(ID_PREFIX)?).ok()?;
        let mac = self.keys[0].mac(&bytes);
        bytes.extend(mac);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    fn read(&self, cookie: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        if bytes.len() != ID_BYTES + MAC_BYTES {
            return None;
        }
        let (id, mac) = bytes.split_at(ID_BYTES);
        let is_ours = self.keys.iter().any(|key| key.mac(id).as_slice().ct_eq(mac).into());
        is_ours.then(|| format!("{ID_PREFIX}{}", hex::encode(id)))
    }
}

impl BrowserSession {
    #[must_use]
    pub fn is_own_form(&self, token: &str) -> bool {
        let own = std::iter::once(&self.form_token).chain(&self.earlier_form_token);
        own.map(|own| own.as_bytes().ct_eq(token.as_bytes())).any(bool::from)
    }
}

/// Whether a browser's session goes on.
fn is_live(session: &Session, now: DateTime) -> bool {
    let Some(seen_at) = session.seen_at else { return false };
    session.ended_at.is_none() && session.expires_at > now && after(seen_at, IDLE_MAX) > now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::identity::Role;

    #[test]
    fn a_browsers_session_ends_idle_or_old_or_when_it_is_ended() {
        let at = |minutes: i64| DateTime::from_millis(minutes * 60_000);
        let fresh = Session::new("ses_1".into(), &User::of_a_test(Role::Admin), "key", at(0));
        let seen = Session { seen_at: Some(at(10)), expires_at: at(60), ..fresh.clone() };
        for (session, minute, live) in [
            (fresh, 1, false),
            (seen.clone(), 39, true),
            (seen.clone(), 40, false),
            (Session { seen_at: Some(at(59)), ..seen.clone() }, 59, true),
            (Session { seen_at: Some(at(59)), ..seen.clone() }, 60, false),
            (Session { ended_at: Some(at(11)), ..seen }, 12, false),
        ] {
            assert_eq!(is_live(&session, at(minute)), live, "{minute}: {session:?}");
        }
    }
}
