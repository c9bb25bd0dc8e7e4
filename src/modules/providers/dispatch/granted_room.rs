//! The places and send times that this process holds.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{sleep, sleep_until, timeout};

use super::{
    room::{Class, RoomRequest},
    store::StateStore,
};
use crate::{
    modules::{providers::AccountLimits, queue::Permit},
    platform::ids::new_id,
};

/// The database has this long to say whether there is room.
const PATIENCE: Duration = Duration::from_secs(2);
/// A call that has missed its time gets another one so often.
const SEND_TRIES: usize = 10;
/// Where no send time is to be had, it is asked again after this long.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A place that would not outlast what comes is made so much longer than that, as leases are.
const LENGTHENING: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct GrantedPlaces {
    account_id: String,
    worker_id: String,
    count: usize,
    valid_until: Instant,
}

/// Room that was granted and not given back, by grant.
pub(super) struct Places {
    states: StateStore,
    lease: Duration,
    held: Mutex<HashMap<String, GrantedPlaces>>,
}

impl Places {
    pub(super) fn new(states: StateStore, lease: Duration) -> Self {
        Self { states, lease, held: Mutex::default() }
    }

    /// Asks for room, and gives as many permits like `first` as there is room for.
    pub(super) async fn ask(&self, first: &Permit, ask: &RoomRequest<'_>) -> Vec<Permit> {
        let asked = Instant::now();
        let grant = match timeout(PATIENCE, self.states.grant(&first.account_id, ask)).await {
            Ok(Ok(grant)) => grant,
            Ok(Err(error)) => {
                tracing::warn!(account = first.account_id, %error, "no room: the database does not say");
                return Vec::new();
            }
            // What was granted all the same comes free with its lease.
            Err(_) => return Vec::new(),
        };
        let count = usize::try_from(grant.count).unwrap_or_default();
        if count == 0 {
            return Vec::new();
        }
        let worker_id = ask.worker_id.to_owned();
        let mut permit = Permit { worker_id: worker_id.clone(), ..first.clone() };
        permit.opens = ask.opening.is_some();
        if ask.keeps_place() {
            let (account_id, valid_until) = (first.account_id.clone(), asked + self.lease);
            self.held.lock().insert(ask.grant.to_owned(), GrantedPlaces { account_id, worker_id, count, valid_until });
            permit.place = Some(ask.grant.to_owned());
        }
        let mut permits = vec![permit; count];
        if let Some(rate) = ask.limits.rate_per_second {
            for (permit, times) in permits.iter_mut().zip(grant.send_times(rate, asked, Instant::now())) {
                permit.send_between = Some(times);
            }
        }
        permits
    }

    /// Gives a permit's place back.
    pub(super) async fn release(&self, permit: &Permit) {
        let Some(grant) = &permit.place else { return };
        let left = {
            let mut held = self.held.lock();
            let Some(place) = held.get_mut(grant) else { return };
            place.count = place.count.saturating_sub(1);
            let left = place.count;
            if left == 0 {
                held.remove(grant);
            }
            left
        };
        // In vain, it comes free with the next heart-beat, or with its lease.
        match timeout(PATIENCE, self.states.leave(&permit.account_id, grant, left)).await {
            Ok(Ok(())) => {}
            _ => tracing::warn!(account = permit.account_id, "a place could not be given back; its lease will end"),
        }
    }

    /// Keeps what a worker holds.
    pub(super) async fn extend(&self, worker_id: &str) {
        let grants: Vec<String> = {
            let held = self.held.lock();
            held.iter().filter(|(_, held)| held.worker_id == worker_id).map(|(grant, _)| grant.clone()).collect()
        };
        join_all(grants.iter().map(|grant| self.extend_grant(grant, self.lease))).await;
    }

    async fn extend_grant(&self, grant: &str, lease: Duration) {
        let Some(GrantedPlaces { account_id, count, .. }) = self.held.lock().get(grant).cloned() else { return };
        let asked = Instant::now();
        let valid_until = match timeout(PATIENCE, self.states.extend(&account_id, grant, count, lease)).await {
            Ok(Ok(true)) => Some(asked + lease),
            // Somebody else has it.
            Ok(Ok(false)) => None,
            Ok(Err(error)) => return tracing::warn!(account = account_id, %error, "places could not be extended"),
            Err(_) => return tracing::warn!(account = account_id, "places could not be extended in time"),
        };
        if let Some(held) = self.held.lock().get_mut(grant) {
            held.valid_until = valid_until.map_or(asked, |until| until.max(held.valid_until));
        }
    }

    /// Whether a permit's place lasts for `needed` from now on; extends it if it must.
    pub(super) async fn last(&self, permit: &Permit, needed: Duration) -> bool {
        let Some(grant) = &permit.place else { return true };
        let lasts = || self.held.lock().get(grant).is_some_and(|held| held.valid_until > Instant::now() + needed);
        if !lasts() {
            self.extend_grant(grant, self.lease.max(needed + LENGTHENING)).await;
        }
        lasts()
    }

    /// Waits for a permit's time to send, or for another one where that has passed; whether there was one.
    pub(super) async fn wait_to_send(&self, permit: &Permit, limits: AccountLimits) -> bool {
        let Some(mut times) = permit.send_between else { return true };
        let Some(rate) = limits.rate_per_second else { return true };
        let limits = AccountLimits { concurrency: None, ..limits };
        for _ in 0..SEND_TRIES {
            let (earliest, latest) = times;
            sleep_until(earliest.into()).await;
            if Instant::now() <= latest {
                return true;
            }
            let (worker_id, grant, class) = (permit.worker_id.as_str(), new_id("plc"), Class::TakingBack);
            let ask =
                RoomRequest { limits, opening: None, class, worker_id, grant: &grant, wanted: 1, lease: self.lease };
            let asked = Instant::now();
            match timeout(PATIENCE, self.states.grant(&permit.account_id, &ask)).await {
                Ok(Ok(grant)) if grant.count > 0 => times = grant.send_times(rate, asked, Instant::now())[0],
                _ => sleep(ASK_AGAIN_AFTER).await,
            }
        }
        false
    }
}
