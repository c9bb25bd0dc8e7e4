//! The choice of deliveries that are made now, so that an endpoint that hangs, fails or has a long backlog holds up nobody.
//!
//! Deliveries of endpoints that work share one route, and cost nothing for it. What an endpoint can't take now, because calls to it
//! are held back (see [`super::failure_streak`]) or as many as may be are under way here, moves to a route of its endpoint's own. From
//! there a worker takes no more than it has room for, and while calls are held back one, when its time has come.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::seq::SliceRandom;

use super::{WEBHOOK_DELIVERIES_QUEUE, store::WebhookStore};
use crate::{
    modules::queue::{Candidate, Dispatch, Permit},
    platform::{clock::Clock, ids::is_id},
};

/// Calls to one endpoint at once, per process.
const IN_FLIGHT_MAX: usize = 8;
/// Endpoints whose own routes one round looks at; the next round takes others.
const OWN_ROUTES_MAX: usize = 16;
/// Marks permits that have to be given back here.
const PLACE: &str = "webhooks";

/// Calls to endpoints that are under way in this process. Cloning gives the same.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Mutex<HashMap<String, usize>>>);

/// One call that is under way, until this is dropped.
pub(super) struct InFlightCall {
    all: InFlight,
    endpoint_id: String,
}

impl InFlight {
    pub(super) fn take(&self, endpoint_id: &str) -> Option<InFlightCall> {
        let mut all = self.0.lock();
        let taken = all.entry(endpoint_id.to_owned()).or_default();
        if *taken >= IN_FLIGHT_MAX {
            return None;
        }
        *taken += 1;
        Some(InFlightCall { all: self.clone(), endpoint_id: endpoint_id.to_owned() })
    }

    fn room(&self, endpoint_id: &str) -> usize {
        IN_FLIGHT_MAX - self.0.lock().get(endpoint_id).copied().unwrap_or_default().min(IN_FLIGHT_MAX)
    }
}

impl Drop for InFlightCall {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        if let Some(taken) = all.get_mut(&self.endpoint_id) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.endpoint_id);
            }
        }
    }
}

/// Decides about the queue of deliveries, and leaves the others to whoever does so else.
pub struct WebhookDispatch {
    /// Of all other queues.
    pub others: Arc<dyn Dispatch>,
    /// Knows which endpoints are held back.
    pub store: WebhookStore,
    pub clock: Clock,
    /// That of the deliveries' handler.
    pub in_flight: InFlight,
}

impl WebhookDispatch {
    async fn own_routes(&self, routes: &[String]) -> Vec<Candidate> {
        let mut ids: Vec<&str> = routes.iter().map(String::as_str).collect();
        ids.shuffle(&mut rand::rng());
        ids.truncate(OWN_ROUTES_MAX);
        let held = match self.store.held_until(&ids).await {
            Ok(held) => held,
            Err(error) => {
                tracing::debug!(%error, "endpoints can't be read");
                return Vec::new();
            }
        };
        let now = self.clock.now();
        let candidates = ids.into_iter().filter_map(|id| {
            let held_until = held.get(id);
            let may_call = held_until.is_none_or(|until| *until <= now) && self.in_flight.room(id) > 0;
            let candidate = || Candidate {
                account_id: id.to_owned(),
                routes: vec![id.to_owned()],
                is_probe: held_until.is_some(),
                ..Candidate::default()
            };
            may_call.then(candidate)
        });
        candidates.collect()
    }
}

#[async_trait]
impl Dispatch for WebhookDispatch {
    async fn candidates(&self, queue: &str, ready: &[String]) -> Vec<Candidate> {
        if queue != WEBHOOK_DELIVERIES_QUEUE {
            return self.others.candidates(queue, ready).await;
        }
        let (own, shared): (Vec<String>, Vec<String>) = ready.iter().cloned().partition(|route| is_id("whe", route));
        let shared = self.others.candidates(queue, &shared).await;
        // Where workers are there for one account of a provider only, they do nothing else.
        if shared.is_empty() {
            return Vec::new();
        }
        let mut candidates = if own.is_empty() { Vec::new() } else { self.own_routes(&own).await };
        // The last one has what the others leave.
        candidates.extend(shared.into_iter().filter(|candidate| !candidate.routes.is_empty()));
        candidates
    }

    async fn admit(&self, queue: &str, candidate: &Candidate, worker_id: &str, wanted: usize) -> Vec<Permit> {
        if queue != WEBHOOK_DELIVERIES_QUEUE || candidate.account_id.is_empty() {
            return self.others.admit(queue, candidate, worker_id, wanted).await;
        }
        let room = if candidate.is_probe { 1 } else { self.in_flight.room(&candidate.account_id) };
        let permit = Permit { place: Some(PLACE.into()), ..Permit::default() };
        vec![permit; wanted.min(room)]
    }

    async fn release(&self, permits: &[Permit]) {
        let others: Vec<Permit> =
            permits.iter().filter(|permit| permit.place.as_deref() != Some(PLACE)).cloned().collect();
        self.others.release(&others).await;
    }

    async fn extend(&self, worker_id: &str) {
        self.others.extend(worker_id).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_so_many_places_and_gives_them_back() {
        let all = InFlight::default();
        let taken: Vec<_> = (0..IN_FLIGHT_MAX).filter_map(|_| all.take("a")).collect();
        assert_eq!((taken.len(), all.room("a"), all.take("a").is_some()), (IN_FLIGHT_MAX, 0, false));
        assert!(all.take("b").is_some(), "another one's are free");
        drop(taken);
        assert_eq!((all.room("a"), all.0.lock().len()), (IN_FLIGHT_MAX, 0), "nothing is left behind");
    }
}
