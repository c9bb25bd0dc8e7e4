//! Changes of endpoints and deliveries by their owners, each in one transaction with the audit event that tells of it.

use bson::{Document, doc};

use super::{
    REPLAY_KIND,
    error::WebhookError,
    failure_streak,
    model::{Delivery, DisabledReason, ENDPOINTS, Endpoint, EndpointStatus, EventToDeliver, Replay},
    owner::{tenant_of, user_of},
    payload::TEST_TYPE,
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, record_event},
        queue::{Job, JobState, QueueConfig},
    },
    platform::{
        batch::{Command, Key, View},
        identity::Actor,
        sealing::Sealed,
    },
};

/// The author of a change to endpoints, with the id of its audit event.
#[derive(Debug)]
pub(super) struct EndpointAuthor {
    pub(super) owner_id: String,
    pub(super) actor: Actor,
    /// Id of the audit event, new.
    pub(super) event_id: String,
}

impl EndpointAuthor {
    fn record(
        &self,
        view: &mut View,
        action: &str,
        about: (&str, &str),
        before: Option<Document>,
        after: Option<Document>,
    ) {
        let event = AuditEvent::new(AuditOutcome::Done, self.actor.clone(), action, about, view.now())
            .with_id(self.event_id.clone())
            .of_user(user_of(&self.owner_id).map(str::to_owned))
            .before(before)
            .after(after);
        record_event(view, &event);
    }

    /// An endpoint of the owner's that nobody has deleted in this transaction.
    fn endpoint(&self, view: &View, endpoint_id: &str) -> Result<Endpoint, WebhookError> {
        let mine = find_endpoint_in(view, endpoint_id).filter(|endpoint| endpoint.owner_id == self.owner_id);
        mine.ok_or(WebhookError::NoEndpoint)
    }

    fn correlation_id(&self) -> &str {
        self.actor.request_id.as_deref().unwrap_or_default()
    }
}

fn find_endpoint_in(view: &View, endpoint_id: &str) -> Option<Endpoint> {
    let is_removed = view.removed_from(ENDPOINTS).any(|removed| removed == endpoint_id);
    view.by_id::<Endpoint>(endpoint_id).filter(|_| !is_removed)
}

/// The endpoint as it is on record: no secret, nobody's words, and of the URL, which may hold a secret, the host.
fn endpoint_document(endpoint: &Endpoint) -> Document {
    let url = reqwest::Url::parse(&endpoint.url).ok();
    let mut told = doc! {
        "host": url.and_then(|url| url.host_str().map(str::to_owned)),
        "types": &endpoint.types,
        "status": endpoint.status.as_str(),
        "disabledReason": endpoint.disabled_reason.map(DisabledReason::as_str),
        "secretsVersion": endpoint.secrets_version,
    };
    told.extend(tenant_of(&endpoint.owner_id).map(|tenant_id| ("tenantId".to_owned(), tenant_id.into())));
    told
}

fn enabled(endpoint: Endpoint) -> Result<Endpoint, WebhookError> {
    if endpoint.status == EndpointStatus::Enabled { Ok(endpoint) } else { Err(WebhookError::Disabled) }
}

/// Adds an endpoint, unless it is there.
#[derive(Debug)]
pub(super) struct CreateEndpoint {
    pub(super) by: EndpointAuthor,
    /// As it will be stored, but for its slot and its times.
    pub(super) endpoint: Endpoint,
}

impl Command for CreateEndpoint {
    type Reply = Result<Endpoint, WebhookError>;

    fn reads(&self) -> Vec<Key> {
        let slots = Endpoint::slots().map(|slot| Endpoint::slot_key(&self.by.owner_id, &slot));
        slots.chain([Key::id(ENDPOINTS, &*self.endpoint.id)]).collect()
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        if let Some(endpoint) = find_endpoint_in(view, &self.endpoint.id) {
            return Ok(endpoint);
        }
        let is_free = |slot: &String| !view.contains(&Endpoint::slot_key(&self.by.owner_id, slot));
        let slot = Endpoint::slots().find(is_free).ok_or(WebhookError::TooMany)?;
        let now = view.now();
        let endpoint = Endpoint { slot, created_at: now, updated_at: now, ..self.endpoint.clone() };
        view.insert(&endpoint);
        let about = ("webhook_endpoint", &*endpoint.id);
        self.by.record(view, "webhook_endpoint.created", about, None, Some(endpoint_document(&endpoint)));
        Ok(endpoint)
    }
}

#[derive(Debug, Default)]
pub(super) struct EndpointChange {
    pub(super) url: Option<String>,
    pub(super) types: Option<Vec<String>>,
    pub(super) description: Option<Option<String>>,
    pub(super) status: Option<EndpointStatus>,
}

/// Changes an endpoint. What is the same already is no change.
#[derive(Debug)]
pub(super) struct ChangeEndpoint {
    pub(super) by: EndpointAuthor,
    pub(super) endpoint_id: String,
    pub(super) change: EndpointChange,
}

impl Command for ChangeEndpoint {
    type Reply = Result<Endpoint, WebhookError>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ENDPOINTS, &*self.endpoint_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut endpoint = self.by.endpoint(view, &self.endpoint_id)?;
        let before = endpoint.clone();
        let EndpointChange { url, types, description, status } = &self.change;
        endpoint.url = url.as_ref().unwrap_or(&endpoint.url).clone();
        endpoint.types = types.as_ref().unwrap_or(&endpoint.types).clone();
        endpoint.description = description.as_ref().unwrap_or(&endpoint.description).clone();
        if let Some(status) = status.filter(|status| *status != endpoint.status) {
            endpoint.status = status;
            endpoint.disabled_reason = (status == EndpointStatus::Disabled).then_some(DisabledReason::Owner);
        }
        if endpoint == before {
            return Ok(endpoint);
        }
        if (&endpoint.url, endpoint.status) != (&before.url, before.status) {
            // Whatever was wrong may be mended.
            endpoint.trouble = None;
        }
        endpoint.updated_at = view.now();
        view.update(&endpoint);
        let changed: Vec<&str> = [
            ("url", endpoint.url != before.url),
            ("types", endpoint.types != before.types),
            ("description", endpoint.description != before.description),
            ("status", endpoint.status != before.status),
        ]
        .into_iter()
        .filter_map(|(name, is_other)| is_other.then_some(name))
        .collect();
        let mut after = endpoint_document(&endpoint);
        after.insert("changed", changed);
        let about = ("webhook_endpoint", &*endpoint.id);
        self.by.record(view, "webhook_endpoint.changed", about, Some(endpoint_document(&before)), Some(after));
        Ok(endpoint)
    }
}

/// Deletes an endpoint with its secrets. Deliveries that wait fail when their time comes.
#[derive(Debug)]
pub(super) struct DeleteEndpoint {
    pub(super) by: EndpointAuthor,
    pub(super) endpoint_id: String,
}

impl Command for DeleteEndpoint {
    type Reply = Result<(), WebhookError>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ENDPOINTS, &*self.endpoint_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let endpoint = self.by.endpoint(view, &self.endpoint_id)?;
        view.remove(ENDPOINTS, &endpoint.id);
        let about = ("webhook_endpoint", &*endpoint.id);
        self.by.record(view, "webhook_endpoint.deleted", about, Some(endpoint_document(&endpoint)), None);
        Ok(())
    }
}

/// Gives an endpoint other secrets.
#[derive(Debug)]
pub(super) struct RotateSecret {
    pub(super) by: EndpointAuthor,
    pub(super) endpoint_id: String,
    /// Those that were read, with a new one.
    pub(super) secrets: Sealed,
    pub(super) seen_version: i64,
    pub(super) grace_hours: i64,
}

impl Command for RotateSecret {
    type Reply = Result<Endpoint, WebhookError>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ENDPOINTS, &*self.endpoint_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut endpoint = self.by.endpoint(view, &self.endpoint_id)?;
        if endpoint.secrets_version != self.seen_version {
            return Err(WebhookError::RotatedMeanwhile);
        }
        let before = endpoint_document(&endpoint);
        endpoint.secrets = self.secrets.clone();
        endpoint.secrets_version += 1;
        endpoint.updated_at = view.now();
        view.update(&endpoint);
        let mut after = endpoint_document(&endpoint);
        after.insert("graceHours", self.grace_hours);
        let about = ("webhook_endpoint", &*endpoint.id);
        self.by.record(view, "webhook_endpoint.secret_rotated", about, Some(before), Some(after));
        Ok(endpoint)
    }
}

/// Has something posted to an endpoint that is no event.
#[derive(Debug)]
pub(super) struct TestEndpoint {
    pub(super) by: EndpointAuthor,
    pub(super) endpoint_id: String,
    pub(super) queue: QueueConfig,
    /// Stands for the event that there is none of.
    pub(super) webhook_id: String,
    pub(super) job_id: String,
}

impl Command for TestEndpoint {
    type Reply = Result<Delivery, WebhookError>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ENDPOINTS, &*self.endpoint_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut endpoint = enabled(self.by.endpoint(view, &self.endpoint_id)?)?;
        let now = view.now();
        wake_waiting_job(view, &mut endpoint);
        let correlation_id = self.by.correlation_id();
        let about = EventToDeliver { event_id: &self.webhook_id, kind: TEST_TYPE, at: now, correlation_id };
        let (delivery, job) = Delivery::new(&endpoint, &about, &self.queue, self.job_id.clone(), now);
        view.insert(&delivery);
        view.insert(&job);
        let about = ("webhook_endpoint", &*endpoint.id);
        self.by.record(view, "webhook_endpoint.tested", about, None, Some(doc! { "deliveryId": &delivery.id }));
        Ok(delivery)
    }
}

/// Somebody waits for the next call, also where calls are held back.
fn wake_waiting_job(view: &mut View, endpoint: &mut Endpoint) {
    if endpoint.is_held() {
        failure_streak::try_now(&mut endpoint.trouble, view.now());
        view.update(endpoint);
    }
}

/// Has a delivery made again, or now rather than later.
#[derive(Debug)]
pub(super) struct RetryDelivery {
    pub(super) by: EndpointAuthor,
    pub(super) delivery_id: String,
    pub(super) queue: QueueConfig,
    pub(super) job_id: String,
}

impl RetryDelivery {
    /// The job that makes it already: it runs now, unless it waits for the delivery before it.
    fn run_now_if_free(view: &mut View, delivery: &mut Delivery, endpoint: &Endpoint, mut job: Job) {
        let waits = job.line.as_ref().is_some_and(|line| line.after.is_some());
        if job.state != JobState::Ready || waits {
            return;
        }
        let now = view.now();
        job.route = if endpoint.is_held() { endpoint.id.clone() } else { String::new() };
        job.schedule(job.run_at.min(now), now);
        view.update(&job);
        delivery.next_attempt_at = Some(now);
        delivery.updated_at = now;
    }
}

impl Command for RetryDelivery {
    type Reply = Result<Delivery, WebhookError>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(super::DELIVERIES, &*self.delivery_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mine = view.by_id::<Delivery>(&self.delivery_id).filter(|delivery| delivery.owner_id == self.by.owner_id);
        let mut delivery = mine.ok_or(WebhookError::NoDelivery)?;
        let mut endpoint = enabled(find_endpoint_in(view, &delivery.endpoint_id).ok_or(WebhookError::Deleted)?)?;
        let now = view.now();
        let job = view.by_id::<Job>(&delivery.job_id);
        wake_waiting_job(view, &mut endpoint);
        match job.filter(|job| matches!(job.state, JobState::Ready | JobState::Active)) {
            Some(job) => Self::run_now_if_free(view, &mut delivery, &endpoint, job),
            None => {
                delivery.begin_again(self.job_id.clone(), now);
                view.insert(&delivery.job(&endpoint, &self.queue, self.by.correlation_id(), now));
            }
        }
        view.update(&delivery);
        let about = ("webhook_delivery", &*delivery.id);
        self.by.record(view, "webhook_delivery.retried", about, None, Some(doc! { "endpointId": &endpoint.id }));
        Ok(delivery)
    }
}

/// Begins to deliver again what happened in a range of time.
#[derive(Debug)]
pub(super) struct StartReplay {
    pub(super) by: EndpointAuthor,
    pub(super) endpoint_id: String,
    pub(super) replay: Replay,
    pub(super) queue: QueueConfig,
    pub(super) job_id: String,
}

impl Command for StartReplay {
    type Reply = Result<Endpoint, WebhookError>;

    fn reads(&self) -> Vec<Key> {
        vec![Key::id(ENDPOINTS, &*self.endpoint_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut endpoint = enabled(self.by.endpoint(view, &self.endpoint_id)?)?;
        if endpoint.replay.is_some() {
            return Err(WebhookError::ReplayUnderWay);
        }
        endpoint.replay = Some(self.replay.clone());
        view.update(&endpoint);
        let payload = doc! { "endpointId": &endpoint.id };
        let (correlation_id, now) = (self.by.correlation_id(), view.now());
        let job = Job::new(self.job_id.clone(), &self.queue, REPLAY_KIND, payload, correlation_id, now);
        view.insert(&job.owned_by(&endpoint.id));
        let Replay { from, to, only_failed, .. } = self.replay;
        let after = doc! { "from": from, "to": to, "onlyFailed": only_failed };
        self.by.record(view, "webhook_endpoint.replayed", ("webhook_endpoint", &*endpoint.id), None, Some(after));
        Ok(endpoint)
    }
}
