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

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProviderSession {
    #[serde(rename = "_id")]
    account_id: String,
    held: Option<HeldToken>,
    /// The token is to be renewed, as soon as it is needed.
    renew: bool,
    /// A login without an answer on record yet.
    open_call: Option<Call>,
    /// Until when others wait for that login.
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

impl Entity for ProviderSession {
    const COLLECTION: &'static str = SESSIONS;

    fn id(&self) -> &str {
        &self.account_id
    }
}

impl ProviderSession {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderSessionState {
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
    sessions: Collection<ProviderSession>,
    keys: Arc<SealingKeys>,
    clock: Clock,
    turns: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Sessions {
    pub(super) fn new(db: &Database, keys: Arc<SealingKeys>, clock: Clock) -> Self {
        Self { sessions: db.collection(SESSIONS), keys, clock, turns: Arc::default() }
    }

    /// A lock per account: tasks of this process ask for its token one after the other.
    #[must_use]
    pub fn turn(&self, account_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.turns.lock().entry(account_id.to_owned()).or_default())
    }

    async fn find(&self, account_id: &str) -> Result<ProviderSession> {
        let found = self.sessions.find_one(doc! { "_id": account_id }).max_time(READ_TIME_MAX).await?;
        Ok(found.unwrap_or_default())
    }

    /// How the session of an account stands whose credentials have this version.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn state(&self, account_id: &str, version: i64) -> Result<ProviderSessionState> {
        let (session, now) = (self.find(account_id).await?, self.clock.now());
        Ok(match session.serving(version, now) {
            Some(_) if session.is_due(now) => ProviderSessionState::Due,
            Some(_) => ProviderSessionState::Serves,
            None => ProviderSessionState::None,
        })
    }

    /// Adds the token of an account's session, where it has one: to be asked for right before a call, and not to be kept. Gives
    /// the name of the session.
    ///
    /// # Errors
    /// Errors of the database driver.
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
    /// Errors of the database driver.
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
    pub credentials_version: i64,
    pub prepared: Prepared,
    pub call: Call,
    /// For the log that closes a login which was left open.
    pub closing_response_id: String,
    /// Others wait for so long.
    pub patience: Duration,
}

#[derive(Debug)]
pub enum BegunLogIn {
    /// The request may be sent.
    Logged(Logged),
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
        let found = view.by_id::<ProviderSession>(&self.call.account_id);
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

pub struct EndLogIn {
    pub call: Call,
    pub credentials_version: i64,
    /// The answer as stored.
    pub record: ResponseRecord,
    /// The meaning of the answer.
    pub verdict: Verdict,
    /// For the answer's log.
    pub response_id: String,
    /// The token, and its lifetime.
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
        let session = view.by_id::<ProviderSession>(&self.call.account_id);
        let is_ours = |session: &ProviderSession| {
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
    #[must_use]
    pub const fn new(token: SecretString, lasts: Duration) -> Self {
        Self { token, lasts }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;
    use crate::platform::exchange::{Outbound, Redaction};

    const PATIENCE: Duration = Duration::from_secs(10);
    const LASTS: Duration = Duration::from_secs(1_000);

    fn at(seconds: i64) -> DateTime {
        DateTime::from_millis(seconds * 1_000)
    }

    fn call(number: i64) -> Call {
        Call {
            request_ref_id: format!("req_{number}"),
            order_id: None,
            user_id: String::new(),
            client_order_id: None,
            resource_id: Some("acc_1".into()),
            provider: "provider".into(),
            operation: "log_in".into(),
            attempt: 1,
            job_id: "job_1".into(),
            worker_id: "wrk_1".into(),
            account_id: "acc_1".into(),
            correlation_id: "rqs_1".into(),
            sent_at: at(0),
        }
    }

    fn view(seconds: i64, session: Option<&ProviderSession>) -> View {
        let mut view = View::new(at(seconds));
        match session {
            Some(session) => view.put_read(session),
            None => view.put_absent(Key::id(SESSIONS, "acc_1")),
        }
        view
    }

    /// How a login begins at that second, with what is stored then and the requests that were closed for it.
    fn begins(
        seconds: i64,
        version: i64,
        session: Option<&ProviderSession>,
    ) -> (BegunLogIn, Option<ProviderSession>, Vec<String>) {
        let outbound = Outbound {
            provider: "provider",
            operation: "log_in",
            method: Method::POST,
            url: "https://provider.example".into(),
            body: None,
            redaction: &Redaction::NOTHING,
        };
        let begin = BeginLogIn {
            credentials_version: version,
            prepared: Prepared::new(outbound, &[]),
            call: call(seconds),
            closing_response_id: format!("res_closing_{seconds}"),
            patience: PATIENCE,
        };
        let mut view = view(seconds, session);
        let begun = begin.decide(&mut view);
        let closed = view.appended_to(audit::RESPONSE_LOGS);
        let closed = closed.map(|log| log.get_str("requestRefId").expect("an id").to_owned()).collect();
        (begun, view.by_id("acc_1"), closed)
    }

    /// The session after the login `number` has brought a token, or nothing.
    fn ends(seconds: i64, number: i64, session: &ProviderSession, brought: bool) -> ProviderSession {
        let keys = SealingKeys::new(&SecretString::from("0".repeat(64)), None).expect("a key");
        let end = EndLogIn {
            call: call(number),
            credentials_version: 1,
            record: ResponseRecord { http_status: Some(200), headers: doc! {}, body: bson::Bson::Null, latency_ms: 1 },
            verdict: Verdict::done("done"),
            response_id: format!("res_{number}"),
            token: brought.then(|| (keys.seal("place", b"token"), LASTS)),
        };
        let mut view = view(seconds, Some(session));
        view.put_absent(Key::id(audit::RESPONSE_LOGS, &*end.response_id));
        end.decide(&mut view);
        assert_eq!(view.appended_to(audit::RESPONSE_LOGS).count(), 1, "on record in any case");
        view.by_id("acc_1").expect("a session")
    }

    #[test]
    fn one_logs_in_at_a_time_and_what_a_dead_worker_left_open_is_closed() {
        let (begun, session, _) = begins(0, 1, None);
        let session = session.expect("a session");
        assert!(matches!(begun, BegunLogIn::Logged(_)));
        assert!(matches!(begins(9, 1, Some(&session)).0, BegunLogIn::Busy));
        let (begun, again, closed) = begins(10, 1, Some(&session));
        assert!(matches!(begun, BegunLogIn::Logged(_)));
        assert_eq!(closed, ["req_0"]);
        let again = again.expect("a session");
        assert_eq!(ends(11, 0, &again, true), again, "too late: somebody else logs in");
        assert!(ends(11, 10, &again, true).serving(1, at(12)).is_some());
    }

    #[test]
    fn a_token_is_renewed_before_it_ends_and_meanwhile_the_old_one_serves() {
        let open = begins(0, 1, None).1.expect("a session");
        let session = ends(0, 0, &open, true);
        assert!(matches!(begins(899, 1, Some(&session)).0, BegunLogIn::Serves));
        assert!(matches!(begins(899, 2, Some(&session)).0, BegunLogIn::Logged(_)), "of other credentials");
        let (begun, renewing, _) = begins(900, 1, Some(&session));
        let renewing = renewing.expect("a session");
        assert!(matches!(begun, BegunLogIn::Logged(_)));
        assert!(matches!(begins(901, 1, Some(&renewing)).0, BegunLogIn::Serves));
        let failed = ends(902, 900, &renewing, false);
        assert!(!failed.is_due(at(961)) && failed.is_due(at(962)), "not again at once");
        assert!(failed.serving(1, at(969)).is_some() && failed.serving(1, at(970)).is_none());
        let refused = ProviderSession { renew: true, ..session };
        assert!(refused.serving(1, at(1)).is_none());
        let renewed = ends(2, 1, &begins(1, 1, Some(&refused)).1.expect("a session"), true);
        assert!(renewed.held.as_ref().is_some_and(|held| held.after_refusal) && !renewed.renew);
    }
}
