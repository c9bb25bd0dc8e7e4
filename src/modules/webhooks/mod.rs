//! Outgoing webhooks after the Standard Webhooks specification: what happened to what is a merchant's is posted, signed, to the
//! endpoints that it names, and what happened to orders of a tenant to those that its manager names.
//!
//! Invariants: an event leads to one delivery per endpoint that wants it, written in the relay's transaction; the ids of both
//! make the delivery's, so that it is the same however often that runs. Every attempt is on record before it leaves and closed
//! in the end, like a call to a provider. A delivery is made at least once, under one `webhook-id`: its event's. It goes to the public
//! internet alone ([`crate::platform::exchange::AddressPolicy`]), and says only what the API shows its owner. Secrets are sealed, and
//! shown once. While its merchant is disabled, nothing is posted: what would have been fails, and can be replayed. One endpoint that hangs or fails holds up nobody: see [`dispatch`].
//!
//! Collections: `webhook_endpoints`, `webhook_deliveries` (kept for [`DELIVERIES_KEPT`] after their last change). Jobs, on
//! `webhook-deliveries-queue`: `deliver-event` and `replay-endpoint`. Event: `WebhookDisabled`.

mod attempt;
mod changes;
mod consumer;
mod deliveries_http;
mod dispatch;
mod endpoints_http;
mod error;
mod failure_streak;
mod judge;
mod model;
mod owner;
mod payload;
mod readable;
mod replay;
mod requests;
mod sample;
mod secrets;
mod service;
mod store;

use utoipa_axum::router::OpenApiRouter;

pub use attempt::DeliverEvent;
pub use consumer::WebhookConsumer;
pub use dispatch::{InFlight, WebhookDispatch};
pub use error::WebhookError;
pub use model::{
    DELIVER_KIND, DELIVERIES, DELIVERIES_KEPT, Delivery, DeliveryStatus, DisabledReason, ENDPOINTS, Endpoint,
    EndpointStatus, REPLAY_KIND, WEBHOOK_DELIVERIES_QUEUE,
};
pub use payload::POLICY;
pub use replay::ReplayEndpoint;
pub use sample::SampleEndpoint;
pub use secrets::{EndpointSecrets, new_secret, rotate};
pub use service::WebhookService;
pub use store::WebhookStore;

pub fn router(service: WebhookService) -> OpenApiRouter {
    endpoints_http::router().merge(deliveries_http::router()).with_state(service)
}
