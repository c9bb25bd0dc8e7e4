//! The use cases of webhooks, one method each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bson::DateTime;
use secrecy::SecretString;

use super::{
    DELIVERIES_KEPT,
    changes::{
        ChangeEndpoint, CreateEndpoint, DeleteEndpoint, EndpointAuthor, EndpointChange, RetryDelivery, RotateSecret,
        StartReplay, TestEndpoint,
    },
    dispatch::{InFlight, WebhookDispatch},
    error::WebhookError,
    model::{Delivery, Endpoint, Replay},
    owner::Owner,
    readable::Readable,
    secrets::{EndpointSecrets, new_secret},
    store::{DeliveryFilter, WebhookStore},
};
use crate::{
    modules::{
        events::{Actor, Event},
        queue::{Dispatch, QueueConfig, Waker},
    },
    platform::{
        batch::Lane,
        clock::Clock,
        exchange::{AddressPolicy, check_url},
        ids::new_id,
        sealing::SealingKeys,
        walk::{Paged, TimeRange, Walked},
    },
};

/// Webhooks, as the API offers them.
#[derive(Clone, Debug)]
pub struct WebhookService {
    pub lane: Lane,
    pub store: WebhookStore,
    pub keys: Arc<SealingKeys>,
    pub waker: Waker,
    /// [`super::WEBHOOK_DELIVERIES_QUEUE`].
    pub queue: QueueConfig,
    /// Addresses that may be called.
    pub reach: AddressPolicy,
    pub clock: Clock,
    /// Nothing is written before.
    pub indexes_present: Arc<AtomicBool>,
    /// Calls to endpoints that are under way in this process.
    pub in_flight: InFlight,
}

/// A range of time that can't be replayed: the field that is wrong, and what it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RangeFault(pub(super) &'static str, pub(super) &'static str);

fn by(owner: &Owner) -> EndpointAuthor {
    EndpointAuthor { owner_id: owner.id.clone(), actor: Actor::from(&owner.user), event_id: new_id("aud") }
}

impl WebhookService {
    /// Decides which deliveries are made now, and leaves other queues to `others`.
    #[must_use]
    pub fn dispatch(&self, others: Arc<dyn Dispatch>) -> WebhookDispatch {
        WebhookDispatch {
            others,
            store: self.store.clone(),
            clock: self.clock.clone(),
            in_flight: self.in_flight.clone(),
        }
    }

    fn ensure_ready(&self) -> Result<(), WebhookError> {
        if self.indexes_present.load(Ordering::Relaxed) { Ok(()) } else { Err(WebhookError::NotReady) }
    }

    /// The URL as it is stored and called.
    fn read_url(&self, url: &str) -> Result<String, WebhookError> {
        check_url(url, self.reach).map(String::from).map_err(WebhookError::Url)
    }

    /// Adds an endpoint; gives its secret, which is not shown again.
    pub(super) async fn create(
        &self,
        owner: &Owner,
        url: &str,
        types: Vec<String>,
        description: Option<String>,
    ) -> Result<(Endpoint, SecretString), WebhookError> {
        self.readable(owner).await?.check_all(&types)?;
        let url = self.read_url(url)?;
        self.ensure_ready()?;
        let (id, secret) = (new_id("whe"), new_secret());
        let secrets = EndpointSecrets::of(&secret).seal(&self.keys, &id);
        let endpoint = Endpoint::new(id, &owner.id, &owner.user.user_id, &url, secrets, self.clock.now());
        let endpoint = Endpoint { types, description, ..endpoint };
        Ok((self.lane.submit(CreateEndpoint { by: by(owner), endpoint }).await??, secret))
    }

    /// The events that the caller may read.
    pub(super) async fn readable(&self, owner: &Owner) -> Result<Readable, WebhookError> {
        Ok(Readable::of(owner, self.store.db()).await?)
    }

    pub(super) async fn change(
        &self,
        owner: &Owner,
        endpoint_id: String,
        change: EndpointChange,
    ) -> Result<Endpoint, WebhookError> {
        if owner.user.key_id.is_some() && (change.url.is_some() || change.types.is_some()) {
            // Another address gets what waits already, and what is sent again of the last month: events of any type.
            let types = change.types.as_deref().filter(|_| change.url.is_none()).unwrap_or_default();
            self.readable(owner).await?.check_all(types)?;
        }
        let url = change.url.as_deref().map(|url| self.read_url(url)).transpose()?;
        let change = EndpointChange { url, ..change };
        let endpoint = self.lane.submit(ChangeEndpoint { by: by(owner), endpoint_id, change }).await??;
        self.waker.wake(self.queue.name);
        Ok(endpoint)
    }

    pub(super) async fn delete(&self, owner: &Owner, endpoint_id: String) -> Result<(), WebhookError> {
        self.lane.submit(DeleteEndpoint { by: by(owner), endpoint_id }).await?
    }

    /// Gives an endpoint a new secret, and gives it; those before sign for so long.
    pub(super) async fn rotate_secret(
        &self,
        owner: &Owner,
        endpoint_id: String,
        grace_hours: u32,
    ) -> Result<(Endpoint, SecretString), WebhookError> {
        let endpoint = self.get(owner, &endpoint_id).await?;
        let (secret, grace) = (new_secret(), Duration::from_secs(u64::from(grace_hours) * 3_600));
        let secrets = EndpointSecrets::open(&self.keys, &endpoint.id, &endpoint.secrets)?;
        let secrets = secrets.rotated(&secret, grace, self.clock.now()).seal(&self.keys, &endpoint.id);
        let command = RotateSecret {
            by: by(owner),
            endpoint_id,
            secrets,
            seen_version: endpoint.secrets_version,
            grace_hours: i64::from(grace_hours),
        };
        Ok((self.lane.submit(command).await??, secret))
    }

    /// One of the caller's endpoints.
    pub(super) async fn get(&self, owner: &Owner, endpoint_id: &str) -> Result<Endpoint, WebhookError> {
        self.store.find_endpoint(&owner.id, endpoint_id).await?.ok_or(WebhookError::NoEndpoint)
    }

    /// The caller's endpoints, the oldest first.
    pub(super) async fn list(&self, owner: &Owner) -> Result<Vec<Endpoint>, WebhookError> {
        Ok(self.store.list_endpoints(&owner.id).await?)
    }

    /// Has something posted that is no event.
    pub(super) async fn test(&self, owner: &Owner, endpoint_id: String) -> Result<Delivery, WebhookError> {
        let queue = self.queue.clone();
        let (webhook_id, job_id) = (new_id("evt"), new_id("job"));
        let delivery =
            self.lane.submit(TestEndpoint { by: by(owner), endpoint_id, queue, webhook_id, job_id }).await??;
        self.waker.wake(self.queue.name);
        Ok(delivery)
    }

    pub(super) fn range(&self, from: DateTime, to: Option<DateTime>) -> Result<(DateTime, DateTime), RangeFault> {
        let now = self.clock.now();
        let to = to.unwrap_or(now).min(now);
        let kept_ms = DELIVERIES_KEPT.as_millis() as i64;
        if from.timestamp_millis() < now.timestamp_millis() - kept_ms {
            Err(RangeFault("from", "must be at most 30 days ago"))
        } else if from >= to {
            Err(RangeFault("from", "must be before `to`, and before now"))
        } else {
            Ok((from, to))
        }
    }

    /// Begins to deliver again what happened in a range of time.
    pub(super) async fn replay(
        &self,
        owner: &Owner,
        endpoint_id: String,
        (from, to): (DateTime, DateTime),
        only_failed: bool,
    ) -> Result<Endpoint, WebhookError> {
        let replay = Replay { from, to, only_failed, after: None, count: 0 };
        let (queue, job_id) = (self.queue.clone(), new_id("job"));
        let endpoint = self.lane.submit(StartReplay { by: by(owner), endpoint_id, replay, queue, job_id }).await??;
        self.waker.wake(self.queue.name);
        Ok(endpoint)
    }

    /// One of the caller's deliveries.
    pub(super) async fn get_delivery(&self, owner: &Owner, delivery_id: &str) -> Result<Delivery, WebhookError> {
        self.store.find_delivery(&owner.id, delivery_id).await?.ok_or(WebhookError::NoDelivery)
    }

    /// The caller's deliveries, those of the newest events first.
    pub(super) async fn list_deliveries(
        &self,
        owner: &Owner,
        filter: &DeliveryFilter,
        limit: usize,
    ) -> Result<Paged<Delivery>, WebhookError> {
        Ok(self.store.list_deliveries(&owner.id, filter, limit).await?)
    }

    /// Has a delivery made again, or now.
    pub(super) async fn retry(&self, owner: &Owner, delivery_id: String) -> Result<Delivery, WebhookError> {
        let (queue, job_id) = (self.queue.clone(), new_id("job"));
        let delivery = self.lane.submit(RetryDelivery { by: by(owner), delivery_id, queue, job_id }).await??;
        self.waker.wake(self.queue.name);
        Ok(delivery)
    }

    /// The caller's events, oldest first, and the cursor of the next page.
    pub(super) async fn list_events(
        &self,
        owner: &Owner,
        from: Option<DateTime>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Event>, Option<String>), WebhookError> {
        let range = TimeRange { from, to: None };
        let Walked { found, ended_at } = self.store.events(&owner.id, range, after, limit).await?;
        let next = if found.len() == limit { found.last().map(|event| event.id.clone()) } else { ended_at };
        Ok((found, next))
    }
}
