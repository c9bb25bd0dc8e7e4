//! The handlers of jobs that call a provider, put together.

use std::{sync::Arc, time::Duration};

use mongodb::Database;
use secrecy::SecretString;

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
            idcheck::{self, IdCheck},
            paygate::{self, PayGate},
        },
        queue::{JobHandler, QueueStore},
        wallet::topups::{self, TopupJobs},
    },
    platform::{batch::Lane, clock::Clock, exchange::Exchange},
};

/// The payment gateway, where one is configured.
pub(super) fn gateway(secrets: &Secrets) -> Option<Arc<PayGate>> {
    let access = secrets.paygate.as_ref()?;
    Some(Arc::new(PayGate::new(&access.base_url, &access.webhook_secret)))
}

/// The accounts whose credentials are in the environment.
fn accounts(config: &Config, secrets: &Secrets) -> Accounts {
    let mut accounts = config.providers.accounts();
    let mut add = |provider, field: &'static str, secret: &SecretString| {
        accounts.insert(default_account(provider), [(field, secret.clone())].into_iter().collect());
    };
    if let Some(access) = &secrets.paygate {
        add(paygate::NAME, paygate::API_KEY, &access.api_key);
    }
    if let Some(access) = &secrets.idcheck {
        add(idcheck::NAME, idcheck::API_KEY, &access.api_key);
    }
    Accounts::new(accounts)
}

/// The handlers of every kind that somebody here can run.
pub(super) fn handlers(
    config: &Config,
    secrets: &Secrets,
    gateway: Option<Arc<PayGate>>,
    lane: &Lane,
    db: &Database,
    clock: &Clock,
    queue_store: &QueueStore,
) -> reqwest::Result<Vec<Arc<dyn JobHandler>>> {
    let exchange = Exchange::new(Duration::from_millis(config.worker.call_deadline_ms))?;
    let accounts = accounts(config, secrets);
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
        let account = watch(&default_account(paygate::NAME), &[queue.name]);
        let (lane, exchange, accounts) = (lane.clone(), exchange.clone(), accounts.clone());
        handlers.extend(topups::handlers(TopupJobs { lane, exchange, gateway, accounts, account, queue }));
    }
    if let Some(access) = &secrets.idcheck {
        let provider = Arc::new(IdCheck::new(&access.base_url));
        let queue = config.kyc_queue();
        handlers.push(Arc::new(CallJobHandler {
            account: watch(&default_account(idcheck::NAME), &[queue.name]),
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
