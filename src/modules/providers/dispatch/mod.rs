//! With which account of its provider a job runs, and whether it runs now: breakers, throttles, places and rates of accounts,
//! shared by all workers through one small document per account. It is never part of the lanes' transactions.
//!
//! What is decided once for everybody (places, send times) the database decides by its own clock; ends of throttles and
//! probes, which are seconds away, are compared with the workers' clocks, as leases are. An account without limits whose
//! calls succeed writes nothing. Redis has no part in it.

mod places;
mod room;
mod sign;
mod state;
mod store;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bson::{DateTime, doc};
use mongodb::Database;
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use tokio::time::timeout;

pub use room::{Class, Limits};
pub use state::{AccountState, Breaker, BreakerReason, BreakerState, Probe};

use self::{
    places::Places,
    room::Ask,
    sign::Throttles,
    state::{Change, Heard, Sign, Standing},
    store::{STATES, StateStore},
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, AuditStore},
        providers::outcome::Outcome,
        queue::{Candidate, Dispatch, Permit, QueueStore, Waker},
    },
    platform::{
        clock::{Clock, after},
        exchange::Answer,
        identity::Actor,
        ids::new_id,
    },
};

/// What is known of an account is read again after this long.
const FRESH: Duration = Duration::from_secs(1);
/// What concerns the account must not hold up an answer for longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Accounts that take jobs in one round of one queue; the next round asks others.
const CANDIDATES_MAX: usize = 16;
/// That an account is in use is written down this often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Deferred jobs are made due a thousand at a time, at most so many times.
const PROMOTE_PAGES: usize = 200;
/// So often, a second apart, it is tried to put on record that a breaker opened.
const RECORD_TRIES: usize = 60;

/// Why a breaker opened, as auditors read it.
const REFUSED: &str = "The provider refused our credentials.";

/// What is configured of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    /// `parcelx/default`, `acc_...`
    pub account_id: String,
    /// The provider's name: the route of its pool.
    pub provider: String,
    /// The merchant whose account it is: it takes that merchant's jobs only.
    pub owner_user_id: Option<String>,
    /// Whether it takes new jobs. What it has placed it may finish.
    pub active: bool,
    /// What it allows.
    pub limits: Limits,
    /// Counts changes of its credentials.
    pub credentials_version: i64,
}

impl AccountFacts {
    /// An account of the platform without limits.
    #[must_use]
    pub fn new(account_id: &str, provider: &str) -> Self {
        Self {
            account_id: account_id.to_owned(),
            provider: provider.to_owned(),
            owner_user_id: None,
            active: true,
            limits: Limits::default(),
            credentials_version: 0,
        }
    }

    /// Route of the jobs that any account like this may take: those of the platform share a pool, a merchant has one of his
    /// own.
    fn pool(&self) -> String {
        pool(&self.provider, self.owner_user_id.as_deref())
    }
}

/// Route of jobs of `provider` that no account is bound to yet; for a merchant who has accounts of his own, theirs.
#[must_use]
pub fn pool(provider: &str, owner_user_id: Option<&str>) -> String {
    owner_user_id.map_or_else(|| provider.to_owned(), |owner| format!("{provider}/{owner}"))
}

/// A queue whose jobs need an account.
#[derive(Clone, Copy, Debug)]
pub struct ServedQueue {
    /// Its name.
    pub queue: &'static str,
    /// Whom its jobs call.
    pub provider: &'static str,
    /// Its share of an account's room.
    pub class: Class,
}

/// What a [`Dispatcher`] is made of.
pub struct DispatchParts {
    /// Where states are.
    pub db: Database,
    /// Makes deferred jobs due.
    pub queue_store: QueueStore,
    /// Keeps on record that credentials were refused.
    pub audit: AuditStore,
    /// Wakes workers.
    pub waker: Waker,
    /// Time.
    pub clock: Clock,
    /// Places of a silent worker come free after this long, as its jobs do.
    pub lease: Duration,
    /// Queues whose jobs need an account.
    pub queues: Vec<ServedQueue>,
    /// Accounts there are.
    pub accounts: Vec<AccountFacts>,
    /// The one account that workers of this process use; all of them where there is none.
    pub only: Option<String>,
}

/// Decides with which accounts jobs run. Cloning gives the same one.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    states: StateStore,
    queue_store: QueueStore,
    audit: AuditStore,
    waker: Waker,
    clock: Clock,
    lease: Duration,
    queues: Vec<ServedQueue>,
    accounts: Mutex<Arc<Vec<AccountFacts>>>,
    only: Option<String>,
    known: Mutex<HashMap<String, Known>>,
    places: Places,
    /// One change at a time: of many answers that say the same, the first changes something.
    changing: tokio::sync::Mutex<()>,
}

/// What this process knows of an account.
#[derive(Default)]
struct Known {
    state: AccountState,
    seen: Option<Instant>,
    throttles: Throttles,
    /// This process was asked not to call before, in that period of the breaker: it holds also where nobody could be told.
    throttled_here: Option<(i64, DateTime)>,
    touched: Option<Instant>,
}

/// An account as operators see it.
#[derive(Clone, Debug)]
pub struct AccountOverview {
    /// The account.
    pub account_id: String,
    /// Whether calls are made.
    pub breaker: BreakerState,
    /// Why not.
    pub reason: Option<BreakerReason>,
    /// When a probe may be made.
    pub retry_at: Option<DateTime>,
    /// The provider asked not to be called before.
    pub throttled_until: Option<DateTime>,
}

impl Dispatcher {
    /// Collections of this module.
    pub const COLLECTIONS: &[&str] = &[STATES];

    /// Puts it together.
    #[must_use]
    pub fn new(parts: DispatchParts) -> Self {
        let DispatchParts { db, queue_store, audit, waker, clock, lease, queues, accounts, only } = parts;
        let states = StateStore::new(&db);
        Self {
            inner: Arc::new(Inner {
                places: Places::new(states.clone(), lease),
                states,
                queue_store,
                audit,
                waker,
                clock,
                lease,
                queues,
                accounts: Mutex::new(Arc::new(accounts)),
                only,
                known: Mutex::default(),
                changing: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Takes over what is configured now.
    pub fn set_accounts(&self, accounts: Vec<AccountFacts>) {
        *self.inner.accounts.lock() = Arc::new(accounts);
    }

    /// Waits for the moment at which a call with `permit` may be sent; whether there was one.
    pub async fn wait_to_send(&self, permit: &Permit) -> bool {
        self.inner.places.wait_to_send(permit, self.inner.limits(&permit.account_id)).await
    }

    /// Whether the place of `permit` outlasts `needed` from now; extends it if it must.
    pub async fn holds_place(&self, permit: &Permit, needed: Duration) -> bool {
        self.inner.places.last(permit, needed).await
    }

    /// Whether calls with `permit` still make sense: jobs that were claimed before a breaker opened need not find out for
    /// themselves.
    #[must_use]
    pub fn still_serves(&self, permit: &Permit) -> bool {
        let known = self.inner.known.lock();
        let Some(known) = known.get(&permit.account_id) else { return true };
        let breaker = &known.state.breaker;
        permit.probe.is_some() || !breaker.is_open() || breaker.epoch < permit.epoch
    }

    /// Writes down what an answer says of the account; in vain where the database does not answer.
    pub async fn heed<T: Sync>(&self, permit: &Permit, subject_id: &str, answer: &Answer, outcome: &Outcome<T>) {
        let account = permit.account_id.as_str();
        if account.is_empty() {
            return;
        }
        let now = self.inner.clock.now();
        let sign = {
            let mut known = self.inner.known.lock();
            let known = known.entry(account.to_owned()).or_default();
            let sign = known.throttles.sign(answer, outcome, now);
            if let Sign::Throttled(until) = sign {
                known.throttled_here = Some((permit.epoch, until));
            }
            sign
        };
        metrics::counter!("waybill_account_calls_total", "account" => account.to_owned(), "answer" => sign.as_str())
            .increment(1);
        // What is said of a password that was changed meanwhile says nothing of the new one.
        if sign == Sign::Refused && permit.credentials_version < self.inner.credentials_version(account) {
            return;
        }
        let heard = Heard { epoch: permit.epoch, probe: permit.probe.as_deref(), subject_id };
        match timeout(PATIENCE, self.inner.change(account, |state| state.heed(heard, sign, now))).await {
            Ok(Ok(change)) => self.inner.follow(account, change),
            Ok(Err(error)) => tracing::warn!(account, %error, "the account's state could not be written down"),
            Err(_) => tracing::warn!(account, "the account's state could not be written down in time"),
        }
    }

    /// A person lets the accounts of a queue go on: breakers close and throttles end, in every process.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn resume(&self, queue: &str) -> mongodb::error::Result<()> {
        let Some(served) = self.inner.served(queue) else { return Ok(()) };
        let accounts = self.inner.accounts.lock().clone();
        let ids: Vec<&str> =
            accounts.iter().filter(|a| a.provider == served.provider).map(|a| &*a.account_id).collect();
        for account_id in self.inner.states.find(&ids).await?.into_keys() {
            self.close(&account_id).await?;
        }
        Ok(())
    }

    /// A person lets one account go on, by new credentials for instance.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn close(&self, account_id: &str) -> mongodb::error::Result<()> {
        let now = self.inner.clock.now();
        self.inner.change(account_id, |state| state.resume(now)).await?;
        self.inner.follow(account_id, Change::Closed);
        Ok(())
    }

    /// What is known of these accounts; of those that are not in here, nothing: calls are made.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn states(&self, account_ids: &[&str]) -> mongodb::error::Result<HashMap<String, AccountState>> {
        self.inner.states.find(account_ids).await
    }

    /// The accounts that jobs of a queue run with: those of the platform, and of merchants' own those that take none.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn overview(&self, queue: &str) -> mongodb::error::Result<Vec<AccountOverview>> {
        let Some(served) = self.inner.served(queue) else { return Ok(Vec::new()) };
        let accounts = self.inner.accounts.lock().clone();
        let of_queue: Vec<_> = accounts.iter().filter(|account| account.provider == served.provider).collect();
        let ids: Vec<&str> = of_queue.iter().map(|account| &*account.account_id).collect();
        let mut states = self.inner.states.find(&ids).await?;
        let now = self.inner.clock.now();
        let overview = of_queue.into_iter().filter_map(|account| {
            let state = states.remove(&account.account_id).unwrap_or_default();
            let is_shown = account.owner_user_id.is_none() || state.standing(now) != Standing::Free;
            is_shown.then(|| AccountOverview {
                account_id: account.account_id.clone(),
                breaker: state.shown(now),
                reason: state.breaker.reason,
                retry_at: state.breaker.retry_at,
                throttled_until: state.throttled_until.filter(|until| *until > now),
            })
        });
        Ok(overview.collect())
    }
}

impl Inner {
    fn served(&self, queue: &str) -> Option<ServedQueue> {
        self.queues.iter().find(|served| served.queue == queue).copied()
    }

    fn account<T>(&self, account_id: &str, read: impl Fn(&AccountFacts) -> T) -> Option<T> {
        let accounts = self.accounts.lock().clone();
        accounts.iter().find(|account| account.account_id == account_id).map(read)
    }

    fn limits(&self, account_id: &str) -> Limits {
        self.account(account_id, |account| account.limits).unwrap_or_default()
    }

    fn credentials_version(&self, account_id: &str) -> i64 {
        self.account(account_id, |account| account.credentials_version).unwrap_or_default()
    }

    /// Reads what is known of these accounts, unless it was read just now.
    async fn refresh(&self, account_ids: &[&str]) {
        let stale: Vec<&str> = {
            let known = self.known.lock();
            let is_fresh =
                |id: &&&str| known.get(**id).and_then(|known| known.seen).is_some_and(|seen| seen.elapsed() < FRESH);
            account_ids.iter().filter(|id| !is_fresh(id)).copied().collect()
        };
        if stale.is_empty() {
            return;
        }
        let mut states = match timeout(PATIENCE, self.states.find(&stale)).await {
            Ok(Ok(states)) => states,
            Ok(Err(error)) => return tracing::debug!(%error, "states of accounts can't be read"),
            Err(_) => return,
        };
        for id in stale {
            self.learn(states.remove(id).unwrap_or_else(|| AccountState::of(id)));
        }
    }

    fn learn(&self, state: AccountState) {
        let now = self.clock.now();
        let shown = state.shown(now);
        let mut known = self.known.lock();
        let known = known.entry(state.account_id.clone()).or_default();
        // What was read before another change of ours is older than what we know.
        if state.revision < known.state.revision {
            return;
        }
        let open = match shown {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 0.5,
            BreakerState::Open => 1.0,
        };
        metrics::gauge!("waybill_account_breaker_open", "account" => state.account_id.clone()).set(open);
        known.state = state;
        known.seen = Some(Instant::now());
    }

    fn known(&self, account_id: &str) -> AccountState {
        let known = self.known.lock();
        known.get(account_id).map_or_else(|| AccountState::of(account_id), |known| known.state.clone())
    }

    fn standing(&self, account_id: &str, now: DateTime) -> Standing {
        let known = self.known.lock();
        let Some(known) = known.get(account_id) else { return Standing::Free };
        let holds = |(epoch, until)| epoch == known.state.breaker.epoch && until > now;
        if known.throttled_here.is_some_and(holds) { Standing::Away } else { known.state.standing(now) }
    }

    /// Changes an account's state, unless that would change nothing of what is known.
    async fn change<T>(&self, account_id: &str, change: impl Fn(&mut AccountState) -> T) -> mongodb::error::Result<T> {
        let would = || {
            let known = self.known(account_id);
            let mut state = known.clone();
            let said = change(&mut state);
            (state != known, said)
        };
        if let (false, said) = would() {
            return Ok(said);
        }
        let _one = self.changing.lock().await;
        let (changes, said) = would();
        if !changes {
            return Ok(said);
        }
        let (state, said) = self.states.change(account_id, change).await?;
        self.learn(state);
        Ok(said)
    }

    /// What follows from a change of a breaker, beside the answer.
    fn follow(&self, account_id: &str, change: Change) {
        match change {
            Change::None => {}
            Change::Opened(BreakerReason::Unreachable) => {
                tracing::warn!(account = account_id, "the provider can't be reached: no calls but probes");
            }
            Change::Opened(BreakerReason::Credentials) => {
                tracing::error!(account = account_id, "credentials refused: no calls until a person acts");
                self.record_refusal(account_id);
            }
            Change::Closed => {
                tracing::info!(account = account_id, "calls are made again");
                self.promote(account_id);
            }
        }
    }

    fn record_refusal(&self, account_id: &str) {
        let actor = Actor::system(account_id);
        let resource = ("provider_account", account_id);
        let event =
            AuditEvent::new(AuditOutcome::Done, actor, "provider_account.breaker_opened", resource, self.clock.now())
                .because(REFUSED.to_owned())
                .after(doc! { "breaker": "open", "reason": "credentials" });
        let audit = self.audit.clone();
        tokio::spawn(async move {
            for _ in 0..RECORD_TRIES {
                match timeout(PATIENCE, audit.record(&event)).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => tracing::warn!(%error, "refused credentials are not on record yet"),
                    Err(_) => tracing::warn!("refused credentials are not on record yet"),
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }

    /// Jobs that wait because the account's provider was away need not wait any longer.
    fn promote(&self, account_id: &str) {
        let Some((provider, routes)) = self.account(account_id, |account| {
            (account.provider.clone(), vec![account.pool(), account.account_id.clone()])
        }) else {
            return;
        };
        let (store, waker, clock) = (self.queue_store.clone(), self.waker.clone(), self.clock.clone());
        let queues: Vec<_> = self.queues.iter().filter(|served| served.provider == provider).copied().collect();
        tokio::spawn(async move {
            for queue in queues {
                for _ in 0..PROMOTE_PAGES {
                    match store.promote_deferred(queue.queue, &routes, clock.now()).await {
                        Ok(0) => break,
                        Ok(_) => waker.wake(queue.queue),
                        Err(error) => {
                            // They come due by themselves.
                            tracing::warn!(%error, "deferred jobs could not be made due");
                            break;
                        }
                    }
                }
                waker.wake(queue.queue);
            }
        });
    }

    /// Says now and then that an account is in use.
    fn touch(&self, account_id: &str) {
        {
            let mut known = self.known.lock();
            let touched = &mut known.entry(account_id.to_owned()).or_default().touched;
            if touched.is_some_and(|at| at.elapsed() < TOUCH_EVERY) {
                return;
            }
            *touched = Some(Instant::now());
        }
        let (states, account_id) = (self.states.clone(), account_id.to_owned());
        tokio::spawn(async move {
            if let Err(error) = states.touch(&account_id).await {
                tracing::debug!(%error, "that an account is in use could not be written down");
            }
        });
    }

    /// The permit of a probe, where it was to be had.
    async fn begin_probe(&self, account_id: &str) -> Option<Permit> {
        let token = new_id("prb");
        let now = self.clock.now();
        let until = after(now, self.lease);
        let probing = self.change(account_id, |state| (state.begin_probe(&token, now, until), state.breaker.epoch));
        match timeout(PATIENCE, probing).await {
            Ok(Ok((true, epoch))) => Some(Permit { epoch, probe: Some(token), ..self.permit(account_id) }),
            Ok(Ok((false, _))) => None,
            Ok(Err(error)) => {
                tracing::warn!(account = account_id, %error, "no probe could be begun");
                None
            }
            Err(_) => None,
        }
    }

    fn permit(&self, account_id: &str) -> Permit {
        Permit {
            account_id: account_id.to_owned(),
            epoch: self.known(account_id).breaker.epoch,
            credentials_version: self.credentials_version(account_id),
            ..Permit::default()
        }
    }

    async fn drop_probe(&self, account_id: &str, token: &str) {
        match timeout(PATIENCE, self.change(account_id, |state| state.drop_probe(token))).await {
            Ok(Ok(())) => {}
            _ => tracing::warn!(account = account_id, "a probe could not be given back; its time will end"),
        }
    }
}

impl Sign {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "answered",
            Self::Fault => "unreachable",
            Self::Refused => "credentials_refused",
            Self::Throttled(_) => "throttled",
            Self::Other => "unclear",
        }
    }
}

#[async_trait]
impl Dispatch for Dispatcher {
    async fn candidates(&self, queue: &str, ready: &[String]) -> Vec<Candidate> {
        let inner = &self.inner;
        let Some(served) = inner.served(queue) else {
            let all = Candidate { routes: ready.to_vec(), ..Candidate::default() };
            return if inner.only.is_some() { Vec::new() } else { vec![all] };
        };
        let is_ready = |route: &str| ready.iter().any(|ready| ready == route);
        let accounts = inner.accounts.lock().clone();
        let mut able: Vec<(&str, Vec<String>)> = Vec::new();
        for account in accounts.iter().filter(|account| account.provider == served.provider) {
            if inner.only.as_ref().is_some_and(|only| *only != account.account_id) {
                continue;
            }
            let mut routes = Vec::new();
            if account.active {
                routes.push(account.pool());
            }
            if account.active && account.owner_user_id.is_none() {
                // Jobs from before there were accounts.
                routes.push(String::new());
            }
            routes.push(account.account_id.clone());
            routes.retain(|route| is_ready(route));
            if !routes.is_empty() {
                able.push((&account.account_id, routes));
            }
        }
        able.shuffle(&mut rand::rng());
        able.truncate(CANDIDATES_MAX);
        inner.refresh(&able.iter().map(|(account_id, _)| *account_id).collect::<Vec<_>>()).await;
        let now = inner.clock.now();
        let candidates = able.into_iter().filter_map(|(account_id, routes)| {
            let is_probe = match inner.standing(account_id, now) {
                Standing::Free => false,
                Standing::Probe => true,
                Standing::Away => return None,
            };
            Some(Candidate { account_id: account_id.to_owned(), routes, is_probe })
        });
        candidates.collect()
    }

    async fn admit(&self, queue: &str, candidate: &Candidate, worker_id: &str, wanted: usize) -> Vec<Permit> {
        let inner = &self.inner;
        let account_id = candidate.account_id.as_str();
        let Some(served) = inner.served(queue) else { return vec![Permit::default(); wanted] };
        let limits = inner.limits(account_id);
        let (first, wanted) = if candidate.is_probe {
            let Some(permit) = inner.begin_probe(account_id).await else { return Vec::new() };
            (permit, 1)
        } else {
            (inner.permit(account_id), wanted)
        };
        if limits.are_none() {
            inner.touch(account_id);
            return vec![first; wanted];
        }
        let grant = new_id("plc");
        let ask = Ask { limits, class: served.class, worker_id, grant: &grant, wanted, lease: inner.lease };
        let permits = inner.places.ask(&first, &ask).await;
        if permits.is_empty()
            && let Some(token) = &first.probe
        {
            inner.drop_probe(account_id, token).await;
        }
        permits
    }

    async fn release(&self, permits: &[Permit]) {
        for permit in permits {
            self.inner.places.release(permit).await;
            // An answer has ended it, where there was one.
            if let Some(token) = &permit.probe {
                self.inner.drop_probe(&permit.account_id, token).await;
            }
        }
    }

    async fn extend(&self, worker_id: &str) {
        self.inner.places.extend(worker_id).await;
    }
}
