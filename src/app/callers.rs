//! The handlers of jobs that call a provider, put together.

use std::{sync::Arc, time::Duration};

use mongodb::Database;

use crate::{
    config::{Config, Secrets},
    modules::{
        audit::AuditStore,
        kyc::{KycGate, VerifyApplication},
        orders::{self, OrderJobs},
        providers::{
            AccountStore, AccountWatch, Accounts,
            call_job::CallJobHandler,
            default_account,
            payments::PaymentGateway,
            registry::{PAYMENT_GATEWAY, VERIFIER},
        },
        queue::{JobHandler, QueueStore},
        wallet::topups::{self, TopupJobs},
    },
    platform::{batch::Lane, clock::Clock, exchange::Exchange},
};

/// The payment gateway, where one is configured.
pub(super) fn gateway(config: &Config) -> Option<Arc<dyn PaymentGateway>> {
    config.providers.of_service(PAYMENT_GATEWAY).map(|settings| (PAYMENT_GATEWAY.adapter)(&settings))
}

/// The handlers of every kind that somebody here can run.
pub(super) fn handlers(
    config: &Config,
    secrets: &Secrets,
    gateway: Option<Arc<dyn PaymentGateway>>,
    lane: &Lane,
    db: &Database,
    clock: &Clock,
    queue_store: &QueueStore,
) -> reqwest::Result<Vec<Arc<dyn JobHandler>>> {
    let exchange = Exchange::new(Duration::from_millis(config.worker.call_deadline_ms))?;
    let accounts = Accounts::new(config.providers.accounts());
    // Each with a store of its own: it remembers when the account's row of refusals was ended.
    let watch = |account_id: &str, queues: &[&'static str]| {
        let audit = AuditStore::new(db.clone());
        AccountWatch::new(account_id, queues, AccountStore::new(db), queue_store.clone(), audit, clock.clone())
    };
    let mut handlers = Vec::new();
    for provider in config.order_providers().all() {
        let account = default_account(provider.declaration.name);
        handlers.extend(orders::handlers(OrderJobs {
            gate: KycGate::new(config.kyc_required),
            lane: lane.clone(),
            exchange: Exchange::new(provider.call_deadline)?,
            accounts: accounts.clone(),
            account: watch(&account, &[provider.create.name, provider.cancel.name]),
            provider: provider.clone(),
            settling_delay: Duration::from_millis(config.worker.settling_delay_ms),
            clock: clock.clone(),
        }));
    }
    if let Some(gateway) = gateway {
        let queue = config.payments_queue();
        let account = watch(&default_account(PAYMENT_GATEWAY.name), &[queue.name]);
        let (lane, exchange, accounts) = (lane.clone(), exchange.clone(), accounts.clone());
        handlers.extend(topups::handlers(TopupJobs { lane, exchange, gateway, accounts, account, queue }));
    }
    if let Some(settings) = config.providers.of_service(VERIFIER) {
        let provider = (VERIFIER.adapter)(&settings);
        let queue = config.kyc_queue();
        handlers.push(Arc::new(CallJobHandler {
            account: watch(&default_account(VERIFIER.name), &[queue.name]),
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
