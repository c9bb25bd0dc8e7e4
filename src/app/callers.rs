//! The handlers of jobs that call a provider, put together.

use std::{sync::Arc, time::Duration};

use mongodb::Database;

use crate::{
    config::{Config, Secrets},
    modules::{
        audit::AuditStore,
        kyc::{KycGate, VerifyApplication},
        orders::{self, OrderFiles, OrderJobs},
        providers::{
            Accounts, Dispatcher, RATE_PER_SECOND,
            call_job::CallJobHandler,
            default_account,
            dispatch::{AccountFacts, Class, DispatchParts, Limits, ServedQueue},
            payments::PaymentGateway,
            registry::{PAYMENT_GATEWAY, VERIFIER},
        },
        queue::{JobHandler, QueueStore, Waker},
        wallet::topups::{self, TopupJobs},
    },
    platform::{batch::Lane, clock::Clock, exchange::Exchange},
};

/// The payment gateway, where one is configured.
pub(super) fn gateway(config: &Config) -> Option<Arc<dyn PaymentGateway>> {
    config.providers.of_service(PAYMENT_GATEWAY).map(|settings| (PAYMENT_GATEWAY.adapter)(&settings))
}

/// What decides with which accounts jobs run: so far, those of the environment.
pub(super) fn dispatcher(
    config: &Config,
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
    let configured = config.providers.accounts();
    let mut accounts = Vec::new();
    for provider in config.order_providers().all() {
        let (name, declared) = (provider.declaration.name, provider.declaration.limits);
        queues.push(served(provider.create.name, name, Class::Placing));
        queues.push(served(provider.cancel.name, name, Class::TakingBack));
        let account_id = default_account(name);
        if configured.contains_key(&account_id) {
            let rate = config.providers.of(name).number(RATE_PER_SECOND);
            let rate_per_second = rate.and_then(|rate| u32::try_from(rate).ok()).or(declared.rate_per_second);
            let limits = Limits { concurrency: declared.concurrency, rate_per_second };
            accounts.push(AccountFacts { limits, ..AccountFacts::new(&account_id, name) });
        }
    }
    for name in [PAYMENT_GATEWAY.name, VERIFIER.name] {
        let account_id = default_account(name);
        accounts.extend(configured.contains_key(&account_id).then(|| AccountFacts::new(&account_id, name)));
    }
    Dispatcher::new(DispatchParts {
        db: db.clone(),
        queue_store: queue_store.clone(),
        audit: AuditStore::new(db.clone()),
        waker: waker.clone(),
        clock: clock.clone(),
        lease: Duration::from_millis(config.worker.lease_ms),
        queues,
        accounts,
        only: config.worker.provider_account.clone(),
    })
}

/// The handlers of every kind that somebody here can run.
pub(super) fn handlers(
    config: &Config,
    secrets: &Secrets,
    gateway: Option<Arc<dyn PaymentGateway>>,
    lane: &Lane,
    clock: &Clock,
    dispatch: &Dispatcher,
    files: &OrderFiles,
) -> reqwest::Result<Vec<Arc<dyn JobHandler>>> {
    let exchange = Exchange::new(Duration::from_millis(config.worker.call_deadline_ms))?;
    let accounts = Accounts::new(config.providers.accounts());
    let mut handlers = Vec::new();
    for provider in config.order_providers().all() {
        handlers.extend(orders::handlers(OrderJobs {
            gate: KycGate::new(config.kyc_required),
            lane: lane.clone(),
            exchange: Exchange::new(provider.call_deadline)?,
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
        let dispatch = dispatch.clone();
        handlers.extend(topups::handlers(TopupJobs { lane, exchange, gateway, accounts, dispatch, queue }));
    }
    if let Some(settings) = config.providers.of_service(VERIFIER) {
        let provider = (VERIFIER.adapter)(&settings);
        let queue = config.kyc_queue();
        handlers.push(Arc::new(CallJobHandler {
            dispatch: dispatch.clone(),
            files: None,
            accounts,
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
