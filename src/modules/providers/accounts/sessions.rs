//! Sessions with providers that give a token for credentials: one per account, shared by all workers.
//!
//! One login at a time and account: the session says who is at it, and until when. A token is sealed before it reaches a
//! transaction, is opened right before a call, and belongs to one version of the account's credentials. It is renewed when a
//! tenth of its time is left, and once where a call is refused with it before that.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bson::{DateTime, doc};
use mongodb::{Collection, Database, error::Result};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    modules::{
        audit::{self, Call, ErrorClass, ProviderResponseLog, Verdict},
        providers::{AccountSecrets, Token},
    },
    platform::{
        batch::{Command, Entity, Key, View},
        clock::{Clock, after},
        exchange::{Logged, Prepared, ResponseRecord},
        mongo::READ_TIME_MAX,
        rewrap::{Rotation, SealedField},
        sealing::{Sealed, SealingKeys},
    },
};

pub(super) const SESSIONS: &str = "provider_sessions";
/// A token that ends sooner than this is not used for another call: it could end on the way.
const SPARE: Duration = Duration::from_secs(30);
/// After a login that failed although the token still holds, the next one is not tried before.
const NEXT_RENEWAL: Duration = Duration::from_secs(60);
/// A token that is refused so soon after it was asked for because another one was refused is not the reason.
const RENEWED_IN_VAIN: Duration = Duration::from_secs(600);

/// A session as stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Session {
    #[serde(rename = "_id")]
    account_id: String,
    held: Option<HeldToken>,
    /// The token is to be renewed, as soon as it is needed.
    renew: bool,
    /// A login that has no answer on record yet,
    open_call: Option<Call>,
    /// and until when others wait for it.
    open_until: Option<DateTime>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeldToken {
    token: Sealed,
    /// The login that brought it.
    request_ref_id: String,
    credentials_version: i64,
    obtained_at: DateTime,
    expires_at: DateTime,
    renew_at: DateTime,
    /// The one before was refused.
    after_refusal: bool,
}

impl Entity for Session {
    const COLLECTION: &'static str = SESSIONS;

    fn id(&self) -> &str {
        &self.account_id
    }
}

impl Session {
    /// The token, where it serves for calls with the credentials of `version`.
    fn serving(&self, version: i64, now: DateTime) -> Option<&HeldToken> {
        let serves = |held: &&HeldToken| held.credentials_version == version && after(now, SPARE) < held.expires_at;
        self.held.as_ref().filter(serves).filter(|_| !self.renew)
    }

    fn is_due(&self, now: DateTime) -> bool {
        self.held.as_ref().is_none_or(|held| held.renew_at <= now)
    }
}

fn place(account_id: &str) -> String {
    format!("{SESSIONS}/{account_id}/held.token")
}

/// Wraps the tokens of all sessions under today's key.
pub(super) async fn rotate(rotation: &mut Rotation<'_>) -> Result<()> {
    rotation.field(&SealedField { collection: SESSIONS, path: "held.token", place }).await
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// There is a token to call with.
    Serves,
    /// The same, but it should be renewed.
    Due,
    /// There is none.
    None,
}

/// Sessions of accounts. Cloning gives the same ones.
#[derive(Clone, Debug)]
pub struct Sessions {
    sessions: Collection<Session>,
    keys: Arc<SealingKeys>,
    clock: Clock,
    turns: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Sessions {
    pub(super) fn new(db: &Database, keys: Arc<SealingKeys>, clock: Clock) -> Self {
        Self { sessions: db.collection(SESSIONS), keys, clock, turns: Arc::default() }
    }

    /// Those of this process who want a token of an account ask for it one after the other.
    #[must_use]
    pub fn turn(&self, account_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.turns.lock().entry(account_id.to_owned()).or_default())
    }

    async fn find(&self, account_id: &str) -> Result<Session> {
        let found = self.sessions.find_one(doc! { "_id": account_id }).max_time(READ_TIME_MAX).await?;
        Ok(found.unwrap_or_default())
    }

    /// How the session of an account stands whose credentials have this version.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn state(&self, account_id: &str, version: i64) -> Result<SessionState> {
        let (session, now) = (self.find(account_id).await?, self.clock.now());
        Ok(match session.serving(version, now) {
            Some(_) if session.is_due(now) => SessionState::Due,
            Some(_) => SessionState::Serves,
            None => SessionState::None,
        })
    }

    /// Adds the token of an account's session, where it has one: to be asked for right before a call, and not to be kept. Gives
    /// the name of the session.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn complete(&self, account_id: &str, secrets: &mut AccountSecrets) -> Result<Option<String>> {
        let session = self.find(account_id).await?;
        let Some(held) = session.serving(secrets.version(), self.clock.now()) else { return Ok(None) };
        let Ok(plain) = self.keys.open(&place(account_id), &held.token) else {
            tracing::error!(account.id = account_id, "the token of a session can't be opened");
            return Ok(None);
        };
        *secrets = std::mem::take(secrets).with_token(String::from_utf8_lossy(&plain).into_owned().into());
        Ok(Some(held.request_ref_id.clone()))
    }

    /// A call in the session of this name was refused: whether a new token is worth a try, which is asked for then.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn refuse(&self, account_id: &str, name: &str) -> Result<bool> {
        let session = self.find(account_id).await?;
        let Some(held) = session.held.filter(|held| held.request_ref_id == name) else { return Ok(true) };
        if held.after_refusal && self.clock.now() < after(held.obtained_at, RENEWED_IN_VAIN) {
            return Ok(false);
        }
        let same = doc! { "_id": account_id, "held.requestRefId": name };
        self.sessions.update_one(same, doc! { "$set": { "renew": true } }).await.map(|_| true)
    }

    /// Seals what a login has brought.
    #[must_use]
    pub fn seal(&self, account_id: &str, token: &Token) -> (Sealed, Duration) {
        (self.keys.seal(&place(account_id), token.token.expose_secret().as_bytes()), token.lasts)
    }
}

/// Begins a login, unless there is a token that needs no renewal, or somebody else is at it.
pub struct BeginLogIn {
    /// The version of the account's credentials.
    pub credentials_version: i64,
    /// The request.
    pub prepared: Prepared,
    /// Its log.
    pub call: Call,
    /// For the log that closes a login which was left open.
    pub closing_response_id: String,
    /// Others wait for so long.
    pub patience: Duration,
}

/// What became of it.
#[derive(Debug)]
pub enum BegunLogIn {
    /// The request may be sent.
    Logged(Logged),
    /// There is a token.
    Serves,
    /// Somebody else is at it.
    Busy,
}

impl Command for BeginLogIn {
    type Reply = BegunLogIn;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(SESSIONS, &*self.call.account_id)]
    }

    fn decide(&self, view: &mut View) -> BegunLogIn {
        let now = view.now();
        let found = view.by_id::<Session>(&self.call.account_id);
        let mut session = found.clone().unwrap_or_default();
        let serves = session.serving(self.credentials_version, now).is_some();
        if serves && !session.is_due(now) {
            return BegunLogIn::Serves;
        }
        if session.open_until.is_some_and(|until| until > now) {
            return if serves { BegunLogIn::Serves } else { BegunLogIn::Busy };
        }
        if let Some(call) = session.open_call.take() {
            let id = self.closing_response_id.clone();
            let log = ProviderResponseLog::without_answer(id, &call, ErrorClass::Retryable, now);
            audit::record_response(view, &log);
        }
        let logged = audit::record_request(view, &self.call, self.prepared.clone());
        session.account_id.clone_from(&self.call.account_id);
        session.open_call = Some(Call { sent_at: now, ..self.call.clone() });
        session.open_until = Some(after(now, self.patience));
        if found.is_some() {
            view.update(&session)
        } else {
            view.insert(&session)
        }
        BegunLogIn::Logged(logged)
    }
}

/// Ends a login.
pub struct EndLogIn {
    /// The login.
    pub call: Call,
    /// The version of the credentials that it was made with.
    pub credentials_version: i64,
    /// What is stored of the answer.
    pub record: ResponseRecord,
    /// What the answer means.
    pub verdict: Verdict,
    /// For the answer's log.
    pub response_id: String,
    /// What it brought, and how long that lasts.
    pub token: Option<(Sealed, Duration)>,
}

impl Command for EndLogIn {
    type Reply = ();

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(SESSIONS, &*self.call.account_id), Key::id(audit::RESPONSE_LOGS, &*self.response_id)]
    }

    fn decide(&self, view: &mut View) {
        let now = view.now();
        if view.by_id::<ProviderResponseLog>(&self.response_id).is_some() {
            return;
        }
        let session = view.by_id::<Session>(&self.call.account_id);
        let is_ours = |session: &Session| {
            session.open_call.as_ref().is_some_and(|open| open.request_ref_id == self.call.request_ref_id)
        };
        let ours = session.filter(is_ours);
        let log =
            ProviderResponseLog::new(self.response_id.clone(), &self.call, &self.record, self.verdict.clone(), now);
        audit::record_response(view, &ProviderResponseLog { late: ours.is_none(), ..log });
        // Somebody else has closed it, and logs in.
        let Some(mut session) = ours else { return };
        (session.open_call, session.open_until) = (None, None);
        match (&self.token, &mut session.held) {
            (Some((token, lasts)), held) => {
                *held = Some(HeldToken {
                    token: token.clone(),
                    request_ref_id: self.call.request_ref_id.clone(),
                    credentials_version: self.credentials_version,
                    obtained_at: now,
                    expires_at: after(now, *lasts),
                    renew_at: after(now, *lasts - *lasts / 10),
                    after_refusal: session.renew,
                });
                session.renew = false;
            }
            (None, Some(held)) => held.renew_at = after(now, NEXT_RENEWAL),
            (None, None) => {}
        }
        view.update(&session);
    }
}

/// A token that a login has brought.
impl Token {
    /// A token that lasts so long.
    #[must_use]
    pub const fn new(token: SecretString, lasts: Duration) -> Self {
        Self { token, lasts }
    }
}
