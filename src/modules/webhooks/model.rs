//! Stored types.

use std::time::Duration;

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{failure_streak::FailureStreak, owner::user_of};
use crate::{
    modules::{
        audit::Call,
        events::{EVENTS, Event},
        queue::{Job, QueueConfig},
    },
    platform::{
        batch::{Entity, Key},
        ids::{sibling_id, time_of_id},
        sealing::Sealed,
        secret::sha256_hex,
    },
};

/// Where events are posted to.
pub const ENDPOINTS: &str = "webhook_endpoints";
/// Deliveries, pending and ended.
pub const DELIVERIES: &str = "webhook_deliveries";
/// Endpoints of one owner: each costs a delivery per event.
pub const ENDPOINTS_MAX: usize = 20;
/// Attempts that a delivery shows, the latest: the schedule has ten, and people may ask for more.
const ATTEMPTS_SHOWN: usize = 30;

/// Status of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStatus {
    /// They are.
    Enabled,
    /// They are not, and what waited has failed.
    Disabled,
}

impl EndpointStatus {
    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// Reason for which an endpoint is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// Its owner wanted it so.
    Owner,
    /// It answered 410.
    Gone,
    /// Nothing could be delivered for five days.
    Failing,
    /// It came with the tenant, as a sample, and nobody has enabled it.
    Sample,
}

impl DisabledReason {
    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Gone => "gone",
            Self::Failing => "failing",
            Self::Sample => "sample",
        }
    }
}

/// Events of a range of time that are being delivered again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// From then on.
    pub from: DateTime,
    /// Before then.
    pub to: DateTime,
    /// Only what could not be delivered.
    pub only_failed: bool,
    /// The event, or delivery, that it has come to.
    pub after: Option<String>,
    /// Deliveries begun so far.
    pub count: i64,
}

/// An address to which events are posted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `whe_...`
    #[serde(rename = "_id")]
    pub id: String,
    /// The owner: a merchant or a tenant.
    pub owner_id: String,
    /// The user who made it; none for old endpoints, which their owner made.
    #[serde(default)]
    pub created_by: Option<String>,
    /// Its place among its owner's, of which there are [`ENDPOINTS_MAX`].
    pub slot: String,
    pub url: String,
    /// Types of events; all of them where there are none.
    pub types: Vec<String>,
    /// Its owner's words.
    pub description: Option<String>,
    /// Status of an endpoint.
    pub status: EndpointStatus,
    /// Why not.
    pub disabled_reason: Option<DisabledReason>,
    /// Signing secrets, see [`super::EndpointSecrets`].
    pub secrets: Sealed,
    /// Grows whenever the secrets are changed.
    pub secrets_version: i64,
    /// Failures with no success since.
    pub trouble: Option<FailureStreak>,
    /// A replay under way.
    pub replay: Option<Replay>,
    #[serde(default)]
    pub events: i64,
    pub created_at: DateTime,
    /// Last change by its owner, or to its status.
    pub updated_at: DateTime,
}

impl Endpoint {
    /// An enabled endpoint for all types of events, before it has its slot.
    #[must_use]
    pub fn new(id: String, owner_id: &str, created_by: &str, url: &str, secrets: Sealed, now: DateTime) -> Self {
        Self {
            id,
            owner_id: owner_id.to_owned(),
            created_by: Some(created_by.to_owned()),
            slot: String::new(),
            url: url.to_owned(),
            types: Vec::new(),
            description: None,
            status: EndpointStatus::Enabled,
            disabled_reason: None,
            secrets,
            secrets_version: 1,
            trouble: None,
            replay: None,
            events: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// The key of a place among an owner's endpoints.
    #[must_use]
    pub fn slot_key(owner_id: &str, slot: &str) -> Key {
        Key::unique(ENDPOINTS, &["ownerId", "slot"], vec![owner_id.into(), slot.into()])
    }

    /// All places that an owner has.
    pub fn slots() -> impl Iterator<Item = String> {
        (0..ENDPOINTS_MAX).map(|number| format!("{number:02}"))
    }

    /// Whether events of this type are posted to it.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.status == EndpointStatus::Enabled
            && (self.types.is_empty() || self.types.iter().any(|known| known == kind))
    }

    /// The user who gets mail about it: its owner, or the maker of a tenant's endpoint.
    #[must_use]
    pub fn user_id(&self) -> &str {
        user_of(&self.owner_id).or(self.created_by.as_deref()).unwrap_or(&self.owner_id)
    }

    /// Whether calls are held back.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.retry_at.is_some())
    }
}

impl Entity for Endpoint {
    const COLLECTION: &'static str = ENDPOINTS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        vec![Self::slot_key(&self.owner_id, &self.slot)]
    }
}

/// Status of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// An attempt will be made.
    Pending,
    /// The endpoint has answered 2xx.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryStatus {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAttempt {
    pub at: DateTime,
    /// Status of the answer, if there was one.
    pub http_status: Option<i32>,
    /// Code of what went wrong.
    pub error: Option<String>,
    /// From sending to the answer; none where nobody knows.
    pub latency_ms: Option<i64>,
}

/// One event for one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// `whd_...`, made of the event's id and the endpoint's; sorts by the event's time.
    #[serde(rename = "_id")]
    pub id: String,
    pub endpoint_id: String,
    pub owner_id: String,
    /// The event: the `webhook-id`.
    pub event_id: String,
    /// `order.created`, ...
    #[serde(rename = "type")]
    pub kind: String,
    pub event_at: DateTime,
    pub status: DeliveryStatus,
    /// Attempts that ended, the latest last.
    pub attempts: Vec<DeliveryAttempt>,
    /// When the next one may be made; none where there is none to be made.
    pub next_attempt_at: Option<DateTime>,
    pub job_id: String,
    /// The call under way.
    pub open_call: Option<Call>,
    /// When it was first to be made.
    pub created_at: DateTime,
    /// Last change.
    pub updated_at: DateTime,
}

impl Delivery {
    #[must_use]
    pub fn id_of(event_id: &str, endpoint_id: &str) -> String {
        let digest = sha256_hex(format!("{event_id} {endpoint_id}").as_bytes());
        let sibling = sibling_id("whd", event_id);
        // What is no id of ours carries no time.
        if time_of_id(event_id).is_some() {
            format!("{}{}", &sibling[..16], &digest[..20])
        } else {
            format!("whd_{}", &digest[..32])
        }
    }

    /// A delivery to be made at once, with its job.
    #[must_use]
    pub fn new(
        endpoint: &Endpoint,
        about: &EventToDeliver<'_>,
        queue: &QueueConfig,
        job_id: String,
        now: DateTime,
    ) -> (Self, Job) {
        let delivery = Self {
            id: Self::id_of(about.event_id, &endpoint.id),
            endpoint_id: endpoint.id.clone(),
            owner_id: endpoint.owner_id.clone(),
            event_id: about.event_id.to_owned(),
            kind: about.kind.to_owned(),
            event_at: about.at,
            status: DeliveryStatus::Pending,
            attempts: Vec::new(),
            next_attempt_at: Some(now),
            job_id,
            open_call: None,
            created_at: now,
            updated_at: now,
        };
        let job = delivery.job(endpoint, queue, about.correlation_id, now);
        (delivery, job)
    }

    #[must_use]
    pub fn job(&self, endpoint: &Endpoint, queue: &QueueConfig, correlation_id: &str, now: DateTime) -> Job {
        let payload = bson::doc! { "deliveryId": &self.id, "eventId": &self.event_id, "ownerId": &self.owner_id };
        let mut job = Job::new(self.job_id.clone(), queue, super::DELIVER_KIND, payload, correlation_id, now)
            .owned_by(&endpoint.id);
        if endpoint.is_held() {
            job.route = endpoint.id.clone();
        }
        job
    }

    /// Begins anew, with another job.
    pub fn begin_again(&mut self, job_id: String, now: DateTime) {
        self.status = DeliveryStatus::Pending;
        self.next_attempt_at = Some(now);
        self.job_id = job_id;
        self.updated_at = now;
    }

    pub fn attempted(&mut self, attempt: DeliveryAttempt) {
        self.attempts.push(attempt);
        let beyond = self.attempts.len().saturating_sub(ATTEMPTS_SHOWN);
        self.attempts.drain(..beyond);
    }

    /// No further attempt is made.
    pub fn end(&mut self, status: DeliveryStatus, now: DateTime) {
        self.status = status;
        self.next_attempt_at = None;
        self.updated_at = now;
    }
}

impl Entity for Delivery {
    const COLLECTION: &'static str = DELIVERIES;

    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Clone, Copy, Debug)]
pub struct EventToDeliver<'a> {
    /// `evt_...`
    pub event_id: &'a str,
    /// `order.created`, ...
    pub kind: &'a str,
    pub at: DateTime,
    pub correlation_id: &'a str,
}

/// An event as commands read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct StoredEvent(pub(super) Event);

impl Entity for StoredEvent {
    const COLLECTION: &'static str = EVENTS;

    fn id(&self) -> &str {
        &self.0.id
    }
}

pub const WEBHOOK_DELIVERIES_QUEUE: &str = "webhook-deliveries-queue";

pub const DELIVER_KIND: &str = "deliver-event";

/// Kind of the jobs that deliver again what happened in a range of time.
pub const REPLAY_KIND: &str = "replay-endpoint";

/// Deliveries are kept so long after their last change: as long as anybody may ask for a replay of what they were about.
pub const DELIVERIES_KEPT: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::ids::{is_id, new_id};

    #[test]
    fn an_event_has_one_delivery_per_endpoint_sorted_by_its_time() {
        let (event, later) = (new_id("evt"), new_id("evt"));
        let id = Delivery::id_of(&event, "whe_1");
        assert!(is_id("whd", &id) && time_of_id(&id) == time_of_id(&event), "{id}");
        assert_eq!(Delivery::id_of(&event, "whe_1"), id);
        assert_ne!(Delivery::id_of(&event, "whe_2"), id);
        assert_ne!(Delivery::id_of(&later, "whe_1"), id);
        assert!(is_id("whd", &Delivery::id_of("evt_1", "whe_1")));
    }
}
