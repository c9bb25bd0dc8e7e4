//! Composition: job handlers, event handlers and consumers.

use std::{sync::Arc, time::Duration};

use mongodb::Database;

use super::shop;
use crate::{
    config::{Config, StartupSecrets},
    modules::{
        audit::AuditStore,
        catalog::CountCategories,
        events::{Consumer, EventHandler, analytics::Analytics},
        kyc::{KycGate, VerifyApplication},
        notifications::{MailHandler, Mailer},
        orders::{self, OrderJobs, OrderService},
        providers::{
            Accounts, Dispatcher,
            call_handler::CallJobHandler,
            dispatch::{Class, DispatchParts, ServedQueue},
            payments::PaymentGateway,
            registry::{PAYMENT_GATEWAY, VERIFIER},
        },
        queue::{JobHandler, QueueStore, Waker},
        wallet::topups::{self, TopupJobs},
        webhooks::WebhookConsumer,
    },
    platform::{batch::Lane, clock::Clock, exchange::ExchangeClient},
};

pub(super) fn gateway(config: &Config) -> Option<Arc<dyn PaymentGateway>> {
    config.providers.of_service(PAYMENT_GATEWAY).map(|settings| (PAYMENT_GATEWAY.adapter)(&settings))
}

/// The dispatcher of jobs over provider accounts: those of the environment until the others are known.
pub(super) fn dispatcher(
    config: &Config,
    accounts: &Accounts,
    db: &Database,
    clock: &Clock,
    queue_store: &QueueStore,
    waker: &Waker,
) -> Dispatcher {
    let served = |queue, provider, class| ServedQueue { queue, provider, class };
    let mut queues = vec![
        served(config.payments_queue().name, PAYMENT_GATEWAY.name, Class::Placing),
        served(config.kyc_queue().name, VERIFIER.name, Class::Placing),
    ];
    for provider in config.order_providers().all() {
        let name = provider.declaration.name;
        queues.push(served(provider.create.name, name, Class::Placing));
        queues.push(served(provider.cancel.name, name, Class::TakingBack));
    }
    Dispatcher::new(DispatchParts {
        db: db.clone(),
        queue_store: queue_store.clone(),
        audit: AuditStore::new(db.clone()),
        waker: waker.clone(),
        clock: clock.clone(),
        lease: Duration::from_millis(config.worker.lease_ms),
        queues,
        accounts: accounts.of_environment(),
        only: config.worker.provider_account.clone(),
    })
}

/// All event handlers.
pub(super) fn event_handlers(
    config: &Config,
    secrets: &StartupSecrets,
    db: &Database,
    mailer: Option<&Mailer>,
) -> Vec<Arc<dyn EventHandler>> {
    let operator = secrets.mail.as_ref().and_then(|mail| mail.alert_to.as_ref());
    let letters = mailer.into_iter().flat_map(|mailer| MailHandler::all(mailer, &config.mail_queue(), operator));
    let letters = letters.map(|letter| Arc::new(letter) as Arc<dyn EventHandler>);
    letters.chain(counting_effects(config, db)).collect()
}

#[cfg(debug_assertions)]
fn counting_effects(config: &Config, db: &Database) -> Vec<Arc<dyn EventHandler>> {
    let two = crate::modules::events::CountEffects::two(db).map(|one| Arc::new(one) as Arc<dyn EventHandler>);
    two.into_iter().filter(|_| config.worker.count_effects).collect()
}

#[cfg(not(debug_assertions))]
const fn counting_effects(_: &Config, _: &Database) -> Vec<Arc<dyn EventHandler>> {
    Vec::new()
}

/// Consumers, which run in the transaction that relays an event.
pub(super) fn consumers(config: &Config, clock: &Clock) -> Vec<Arc<dyn Consumer>> {
    vec![
        Arc::new(Analytics),
        Arc::new(CountCategories),
        Arc::new(WebhookConsumer::new(config.webhooks_queue(), clock.clone())),
    ]
}

/// The handlers of every kind that somebody here can run.
pub(super) fn handlers(
    config: &Config,
    secrets: &StartupSecrets,
    accounts: &Accounts,
    gateway: Option<Arc<dyn PaymentGateway>>,
    lane: &Lane,
    clock: &Clock,
    orders: &OrderService,
) -> reqwest::Result<Vec<Arc<dyn JobHandler>>> {
    let OrderService { dispatch, files, .. } = orders;
    let exchange = ExchangeClient::new(Duration::from_millis(config.worker.call_deadline_ms))?;
    let mut handlers = Vec::new();
    for provider in config.order_providers().all() {
        handlers.extend(orders::handlers(OrderJobs {
            gate: KycGate::new(config.kyc_required),
            lane: lane.clone(),
            exchange: ExchangeClient::new(provider.call_deadline)?,
            accounts: accounts.clone(),
            dispatch: dispatch.clone(),
            provider: provider.clone(),
            settling_delay: Duration::from_millis(config.worker.settling_delay_ms),
            clock: clock.clone(),
            files: Arc::new(files.clone()),
        }));
    }
    if let Some(gateway) = gateway {
        let queue = config.payments_queue();
        let (lane, exchange, accounts) = (lane.clone(), exchange.clone(), accounts.clone());
        let (dispatch, payees) = (dispatch.clone(), shop::payees(config));
        handlers.extend(topups::handlers(TopupJobs { lane, exchange, gateway, accounts, dispatch, queue, payees }));
    }
    if let Some(settings) = config.providers.of_service(VERIFIER) {
        let provider = (VERIFIER.adapter)(&settings);
        let queue = config.kyc_queue();
        handlers.push(Arc::new(CallJobHandler {
            dispatch: dispatch.clone(),
            files: None,
            accounts: accounts.clone(),
            job: Arc::new(VerifyApplication {
                provider,
                keys: Arc::clone(&secrets.sealing),
                name_match_min_percent: config.kyc_name_match_min_percent,
                queue,
            }),
            lane: lane.clone(),
            exchange,
        }));
    }
    Ok(handlers)
}
