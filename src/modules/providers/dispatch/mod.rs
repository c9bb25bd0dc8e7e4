//! With which account of its provider a job runs, and whether it runs now: breakers, throttles, places and rates of accounts,
//! shared by all workers through one small document per account. It is never part of the lanes' transactions.
//!
//! Decisions for everybody (places, send times) are the database's, by its own clock; ends of throttles and
//! probes, which are seconds away, are compared with the workers' clocks, as leases are. An account without limits whose
//! calls succeed writes nothing. Redis has no part in it.

mod facts;
mod granted_room;
mod room;
mod sign;
mod state;
mod state_cache;
mod store;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bson::{DateTime, doc};
use mongodb::Database;
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use tokio::time::timeout;

pub use facts::{AccountFacts, ServedQueue, pool};
pub use room::Class;
pub(super) use sign::is_fault;
pub use state::{AccountState, Breaker, BreakerReason, BreakerState, Probe};

use self::{
    granted_room::Places,
    room::{OrderRoom, RoomRequest},
    state::{AnsweredCall, Availability, BreakerChange, HealthSignal},
    state_cache::KnownStates,
    store::{STATES, StateStore},
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, AuditStore},
        providers::{AccountLimits, outcome::Outcome},
        queue::{Candidate, Dispatch, Permit, QueueStore, Waker},
    },
    platform::{
        clock::{Clock, after},
        exchange::Answer,
        identity::Actor,
        ids::new_id,
    },
};

/// Longest wait for updates of an account's state, which must not hold up an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Accounts that take jobs in one round of one queue; the next round asks others.
const CANDIDATES_MAX: usize = 16;
/// Deferred jobs are made due a thousand at a time, at most so many times.
const PROMOTE_PAGES: usize = 200;
/// So often, a second apart, it is tried to put on record that a breaker opened.
const RECORD_TRIES: usize = 60;

/// Why a breaker opened, as auditors read it.
const REFUSED: &str = "The provider refused our credentials.";

/// Parts of a [`Dispatcher`].
pub struct DispatchParts {
    pub db: Database,
    /// Makes deferred jobs due.
    pub queue_store: QueueStore,
    /// Keeps on record that credentials were refused.
    pub audit: AuditStore,
    pub waker: Waker,
    pub clock: Clock,
    /// Places of a silent worker come free after this long, as its jobs do.
    pub lease: Duration,
    /// Queues whose jobs need an account.
    pub queues: Vec<ServedQueue>,
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
    queue_store: QueueStore,
    audit: AuditStore,
    waker: Waker,
    clock: Clock,
    lease: Duration,
    queues: Vec<ServedQueue>,
    accounts: Mutex<Arc<Vec<AccountFacts>>>,
    only: Option<String>,
    known: KnownStates,
    places: Places,
}

/// An account as operators see it.
#[derive(Clone, Debug)]
pub struct AccountOverview {
    pub account_id: String,
    /// A merchant's own, with credentials that only the merchant can mend.
    pub is_own: bool,
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
    pub const COLLECTIONS: &[&str] = &[STATES];

    /// Puts it together.
    #[must_use]
    pub fn new(parts: DispatchParts) -> Self {
        let DispatchParts { db, queue_store, audit, waker, clock, lease, queues, accounts, only } = parts;
        let states = StateStore::new(&db);
        Self {
            inner: Arc::new(Inner {
                places: Places::new(states.clone(), lease),
                known: KnownStates::new(states, clock.clone()),
                queue_store,
                audit,
                waker,
                clock,
                lease,
                queues,
                accounts: Mutex::new(Arc::new(accounts)),
                only,
            }),
        }
    }

    /// Takes over what is configured now.
    pub fn set_accounts(&self, accounts: Vec<AccountFacts>) {
        *self.inner.accounts.lock() = Arc::new(accounts);
    }

    /// Whether a merchant has an account of its own with a provider, for its new orders.
    #[must_use]
    pub fn has_own_account(&self, provider: &str, user_id: &str) -> bool {
        let accounts = self.inner.accounts.lock().clone();
        let is_own = |account: &AccountFacts| account.owner_user_id.as_deref() == Some(user_id);
        accounts.iter().any(|account| account.active && account.provider == provider && is_own(account))
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
        let breaker = self.inner.known.get(&permit.account_id).breaker;
        permit.probe.is_some() || !breaker.is_open() || breaker.epoch < permit.epoch
    }

    /// Writes down what an answer says of the account; in vain where the database does not answer.
    pub async fn heed<T: Sync>(&self, permit: &Permit, subject_id: &str, answer: &Answer, outcome: &Outcome<T>) {
        let account = permit.account_id.as_str();
        if account.is_empty() {
            return;
        }
        let now = self.inner.clock.now();
        let sign = self.inner.known.sign(account, permit.epoch, answer, outcome);
        metrics::counter!("waybill_account_calls_total", "account" => account.to_owned(), "answer" => sign.as_str())
            .increment(1);
        let heard = AnsweredCall { epoch: permit.epoch, probe: permit.probe.as_deref(), subject_id };
        match timeout(PATIENCE, self.inner.known.change(account, |state| state.heed(heard, sign, now))).await {
            Ok(Ok(change)) => self.inner.follow(account, change),
            Ok(Err(error)) => tracing::warn!(account, %error, "the account's state could not be written down"),
            Err(_) => tracing::warn!(account, "the account's state could not be written down in time"),
        }
    }

    /// A person lets the accounts of a queue go on: breakers close and throttles end, in every process.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn resume(&self, queue: &str) -> mongodb::error::Result<()> {
        let Some(served) = self.inner.served(queue) else { return Ok(()) };
        let accounts = self.inner.accounts.lock().clone();
        let ids: Vec<&str> =
            accounts.iter().filter(|a| a.provider == served.provider).map(|a| &*a.account_id).collect();
        for account_id in self.inner.known.states.find(&ids).await?.into_keys() {
            self.close(&account_id).await?;
        }
        Ok(())
    }

    /// A person lets one account go on, by new credentials for instance.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn close(&self, account_id: &str) -> mongodb::error::Result<()> {
        let now = self.inner.clock.now();
        self.inner.known.change(account_id, |state| state.resume(now)).await?;
        self.inner.follow(account_id, BreakerChange::Closed);
        Ok(())
    }

    /// States of these accounts; without a state, calls are made.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn states(&self, account_ids: &[&str]) -> mongodb::error::Result<HashMap<String, AccountState>> {
        self.inner.known.states.find(account_ids).await
    }

    /// When each provider was last called, with any account of it; none where nothing is known of that.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn last_used(&self) -> mongodb::error::Result<BTreeMap<String, Option<DateTime>>> {
        let accounts = self.inner.accounts.lock().clone();
        let ids: Vec<&str> = accounts.iter().map(|account| &*account.account_id).collect();
        let states = self.inner.known.states.find(&ids).await?;
        let mut last_used: BTreeMap<String, Option<DateTime>> = BTreeMap::new();
        for account in accounts.iter() {
            let used = states.get(&account.account_id).and_then(|state| state.last_used_at);
            let latest = last_used.entry(account.provider.clone()).or_default();
            *latest = (*latest).max(used);
        }
        Ok(last_used)
    }

    /// The accounts that jobs of a queue run with: those of the platform, and of merchants' own those that take none.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn overview(&self, queue: &str) -> mongodb::error::Result<Vec<AccountOverview>> {
        let Some(served) = self.inner.served(queue) else { return Ok(Vec::new()) };
        let accounts = self.inner.accounts.lock().clone();
        let of_queue: Vec<_> = accounts.iter().filter(|account| account.provider == served.provider).collect();
        let ids: Vec<&str> = of_queue.iter().map(|account| &*account.account_id).collect();
        let mut states = self.inner.known.states.find(&ids).await?;
        let now = self.inner.clock.now();
        let overview = of_queue.into_iter().filter_map(|account| {
            let state = states.remove(&account.account_id).unwrap_or_default();
            let is_shown = account.owner_user_id.is_none() || state.availability(now) != Availability::Free;
            is_shown.then(|| AccountOverview {
                account_id: account.account_id.clone(),
                is_own: account.owner_user_id.is_some(),
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

    fn limits(&self, account_id: &str) -> AccountLimits {
        self.account(account_id, |account| account.limits).unwrap_or_default()
    }

    /// Room for new orders at an account that may have `limit` in progress; none where there is none, or nobody says so. Orders
    /// in progress are those whose job is bound to the account and has not ended.
    async fn opening(&self, queue: &str, account_id: &str, limit: u32) -> Option<OrderRoom> {
        // In this order: what ends in between is noticed when room is granted.
        let counting = async {
            let ended = self.known.states.ended(account_id).await?;
            let open = self.queue_store.count_bound(queue, account_id, limit).await?;
            mongodb::error::Result::Ok((ended, open))
        };
        match timeout(PATIENCE, counting).await {
            Ok(Ok((ended, open))) => {
                let left = i64::from(limit) - i64::try_from(open).unwrap_or(i64::MAX);
                (left > 0).then_some(OrderRoom { left, ended })
            }
            Ok(Err(error)) => {
                tracing::warn!(account = account_id, %error, "no room: orders in progress can't be counted");
                None
            }
            Err(_) => None,
        }
    }

    /// Acts on a change of a breaker, beside the answer.
    fn follow(&self, account_id: &str, change: BreakerChange) {
        match change {
            BreakerChange::None => {}
            BreakerChange::Opened(BreakerReason::Unreachable) => {
                tracing::warn!(account = account_id, "the provider can't be reached: no calls but probes");
            }
            BreakerChange::Opened(BreakerReason::Credentials) => {
                tracing::error!(account = account_id, "credentials refused: no calls until a person acts");
                self.record_refusal(account_id);
            }
            BreakerChange::Closed => {
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

    async fn begin_probe(&self, account_id: &str) -> Option<Permit> {
        let token = new_id("prb");
        let now = self.clock.now();
        // A call may take longer than a lease is at first.
        let until = after(now, 2 * self.lease);
        let probing =
            self.known.change(account_id, |state| (state.begin_probe(&token, now, until), state.breaker.epoch));
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
            epoch: self.known.get(account_id).breaker.epoch,
            ..Permit::default()
        }
    }

    async fn drop_probe(&self, account_id: &str, token: &str) {
        match timeout(PATIENCE, self.known.change(account_id, |state| state.drop_probe(token))).await {
            Ok(Ok(())) => {}
            _ => tracing::warn!(account = account_id, "a probe could not be given back; its time will end"),
        }
    }
}

impl HealthSignal {
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
        let mut able: Vec<(&str, Vec<(Vec<String>, bool)>)> = Vec::new();
        for account in accounts.iter().filter(|account| account.provider == served.provider) {
            if inner.only.as_ref().is_some_and(|only| *only != account.account_id) {
                continue;
            }
            let mut new = Vec::new();
            if account.active {
                new.push(account.pool());
            }
            if account.active && account.owner_user_id.is_none() {
                // Jobs from before there were accounts.
                new.push(String::new());
            }
            let bound = account.account_id.clone();
            let mut parts = if account.limits.open_orders.is_some() && served.class == Class::Placing {
                vec![(vec![bound], false), (new, true)]
            } else {
                new.push(bound);
                vec![(new, false)]
            };
            parts.iter_mut().for_each(|(routes, _)| routes.retain(|route| is_ready(route)));
            parts.retain(|(routes, _)| !routes.is_empty());
            if !parts.is_empty() {
                able.push((&account.account_id, parts));
            }
        }
        able.shuffle(&mut rand::rng());
        able.truncate(CANDIDATES_MAX);
        inner.known.refresh(&able.iter().map(|(account_id, _)| *account_id).collect::<Vec<_>>()).await;
        let now = inner.clock.now();
        let mut candidates = Vec::new();
        for (account_id, parts) in able {
            let is_probe = match inner.known.availability(account_id, now) {
                Availability::Free => false,
                Availability::Probe => true,
                Availability::Away => continue,
            };
            let of_account = parts.into_iter().map(|(routes, opens)| Candidate {
                account_id: account_id.to_owned(),
                routes,
                is_probe,
                opens,
            });
            candidates.extend(of_account);
        }
        candidates
    }

    async fn admit(&self, queue: &str, candidate: &Candidate, worker_id: &str, wanted: usize) -> Vec<Permit> {
        let inner = &self.inner;
        let account_id = candidate.account_id.as_str();
        let Some(served) = inner.served(queue) else { return vec![Permit::default(); wanted] };
        let limits = inner.limits(account_id);
        let opening = match limits.open_orders.filter(|_| candidate.opens) {
            Some(limit) => {
                let Some(opening) = inner.opening(queue, account_id, limit).await else { return Vec::new() };
                Some(opening)
            }
            None => None,
        };
        let (first, wanted) = if candidate.is_probe {
            let Some(permit) = inner.begin_probe(account_id).await else { return Vec::new() };
            (permit, 1)
        } else {
            (inner.permit(account_id), wanted)
        };
        if limits.concurrency.is_none() && limits.rate_per_second.is_none() && opening.is_none() {
            inner.known.touch(account_id);
            return vec![first; wanted];
        }
        let grant = new_id("plc");
        let ask =
            RoomRequest { limits, opening, class: served.class, worker_id, grant: &grant, wanted, lease: inner.lease };
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
