//! Cached states of accounts: as they were a second ago, or as this process has changed them since.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bson::DateTime;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    sign::Throttles,
    state::{AccountState, Availability, BreakerState, HealthSignal},
    store::StateStore,
};
use crate::{
    modules::providers::outcome::Outcome,
    platform::{clock::Clock, exchange::Answer},
};

/// Age at which a cached state is read again.
const FRESH: Duration = Duration::from_secs(1);
/// A read of states may take this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// That an account is in use is written down this often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// The cached state of an account.
#[derive(Default)]
struct KnownAccount {
    state: AccountState,
    seen: Option<Instant>,
    throttles: Throttles,
    /// This process was asked not to call before, in that period of the breaker: it holds also where nobody could be told.
    throttled_here: Option<(i64, DateTime)>,
    touched: Option<Instant>,
}

/// All of it, and the way to the database.
pub(super) struct KnownStates {
    pub(super) states: StateStore,
    clock: Clock,
    known: Mutex<HashMap<String, KnownAccount>>,
    /// One change at a time: of many answers that say the same, the first changes something.
    changing: tokio::sync::Mutex<()>,
}

impl KnownStates {
    pub(super) fn new(states: StateStore, clock: Clock) -> Self {
        Self { states, clock, known: Mutex::default(), changing: tokio::sync::Mutex::default() }
    }

    /// The signal of an answer to a call of that period.
    pub(super) fn sign<T>(&self, account_id: &str, epoch: i64, answer: &Answer, outcome: &Outcome<T>) -> HealthSignal {
        let now = self.clock.now();
        let mut known = self.known.lock();
        let known = known.entry(account_id.to_owned()).or_default();
        let sign = known.throttles.sign(answer, outcome, now);
        if let HealthSignal::Throttled(until) = sign {
            known.throttled_here = Some((epoch, until));
        }
        sign
    }

    /// Reads what is known of these accounts, unless it was read just now.
    pub(super) async fn refresh(&self, account_ids: &[&str]) {
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

    pub(super) fn get(&self, account_id: &str) -> AccountState {
        let known = self.known.lock();
        known.get(account_id).map_or_else(|| AccountState::of(account_id), |known| known.state.clone())
    }

    pub(super) fn availability(&self, account_id: &str, now: DateTime) -> Availability {
        let known = self.known.lock();
        let Some(known) = known.get(account_id) else { return Availability::Free };
        let holds = |(epoch, until)| epoch == known.state.breaker.epoch && until > now;
        if known.throttled_here.is_some_and(holds) { Availability::Away } else { known.state.availability(now) }
    }

    /// Changes an account's state, unless that would change nothing of what is known.
    pub(super) async fn change<T>(
        &self,
        account_id: &str,
        change: impl Fn(&mut AccountState) -> T,
    ) -> mongodb::error::Result<T> {
        let would = || {
            let known = self.get(account_id);
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

    /// Says now and then that an account is in use.
    pub(super) fn touch(&self, account_id: &str) {
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
}
