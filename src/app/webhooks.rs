//! Outgoing webhooks, put together.

use std::sync::{Arc, atomic::AtomicBool};

use mongodb::Database;

use crate::{
    config::{Config, StartupSecrets},
    modules::{
        events::EventHandler,
        queue::{JobHandler, Waker},
        webhooks::{DeliverEvent, InFlight, ReplayEndpoint, SampleEndpoint, WebhookService, WebhookStore},
    },
    platform::{
        batch::Lane,
        clock::Clock,
        exchange::{ExchangeClient, system_look_up},
    },
};

/// The service behind the routes of webhooks.
pub(super) fn service(
    config: &Config,
    secrets: &StartupSecrets,
    db: &Database,
    lane: &Lane,
    clock: &Clock,
    waker: &Waker,
    indexes_present: &Arc<AtomicBool>,
) -> WebhookService {
    WebhookService {
        lane: lane.clone(),
        store: WebhookStore::new(db.clone()),
        keys: Arc::clone(&secrets.sealing),
        waker: waker.clone(),
        queue: config.webhooks_queue(),
        reach: config.webhooks.reach(),
        clock: clock.clone(),
        indexes_present: Arc::clone(indexes_present),
        in_flight: InFlight::default(),
    }
}

/// The handler that gives a new tenant a sample endpoint.
pub(super) fn sample_endpoint(secrets: &StartupSecrets, lane: &Lane) -> Arc<dyn EventHandler> {
    Arc::new(SampleEndpoint { lane: lane.clone(), keys: Arc::clone(&secrets.sealing) })
}

pub(super) fn handlers(
    config: &Config,
    service: &WebhookService,
    lane: &Lane,
) -> reqwest::Result<Vec<Arc<dyn JobHandler>>> {
    let (settings, queue) = (&config.webhooks, service.queue.clone());
    Ok(vec![
        Arc::new(ReplayEndpoint { store: service.store.clone(), queue: queue.clone() }),
        Arc::new(DeliverEvent {
            lane: lane.clone(),
            exchange: ExchangeClient::to_others(settings.deadline(), service.reach, system_look_up())?,
            keys: Arc::clone(&service.keys),
            clock: service.clock.clone(),
            queue,
            retries: settings.retries().into(),
            in_flight: service.in_flight.clone(),
        }),
    ])
}
