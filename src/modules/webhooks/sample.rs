//! The sample endpoint of a new tenant: disabled, for its manager to change.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    changes::{CreateEndpoint, EndpointAuthor},
    error::WebhookError,
    model::{DisabledReason, Endpoint, EndpointStatus},
    secrets::{EndpointSecrets, new_secret},
};
use crate::{
    modules::events::{Actor, Event, EventHandler, HandlerAttempt, HandlerError},
    platform::{batch::Lane, ids::sibling_id, sealing::SealingKeys},
};

/// Nobody's, for ever (RFC 2606).
const URL: &str = "https://webhooks.example.com/waybill";
const DESCRIPTION: &str = "A sample, switched off. To use it, give it a url of yours, ask for its secret with rotate-secret, and set status to enabled.";

/// Gives a new tenant its sample.
pub struct SampleEndpoint {
    pub lane: Lane,
    pub keys: Arc<SealingKeys>,
}

impl SampleEndpoint {
    /// The same however often it is made: its id is made of the event's.
    fn of(&self, event: &Event) -> Endpoint {
        let id = sibling_id("whe", &event.id);
        let secrets = EndpointSecrets::of(&new_secret()).seal(&self.keys, &id);
        Endpoint {
            description: Some(DESCRIPTION.into()),
            status: EndpointStatus::Disabled,
            disabled_reason: Some(DisabledReason::Sample),
            ..Endpoint::new(id, &event.subject_id, &event.user_id, URL, secrets, event.at)
        }
    }
}

#[async_trait]
impl EventHandler for SampleEndpoint {
    fn name(&self) -> &'static str {
        "tenant-sample-endpoint"
    }

    fn wants(&self, kind: &str) -> bool {
        kind == "TenantCreated"
    }

    async fn handle(&self, event: &Event, attempt: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
        let by = EndpointAuthor {
            owner_id: event.subject_id.clone(),
            actor: Actor::worker(&attempt.lease.worker_id, &attempt.job.correlation_id),
            event_id: sibling_id("aud", &event.id),
        };
        match self.lane.submit(CreateEndpoint { by, endpoint: self.of(event) }).await {
            // Whoever has made twenty by now needs no sample.
            Ok(Ok(_) | Err(WebhookError::TooMany)) => Ok(()),
            Ok(Err(error)) => Err(HandlerError::later("webhooks.no_sample", error)),
            Err(error) => Err(HandlerError::later("webhooks.no_sample", error)),
        }
    }
}
