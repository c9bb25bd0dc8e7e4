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
            AccountStore, AccountWatch, Carrier, Provider, call_job::CallJobHandler, idcheck::IdCheck,
            parcelx::ParcelX, paygate::PayGate,
        },
        queue::{JobHandler, QueueStore},
        wallet::topups::{self, TopupJobs},
    },
    platform::{batch::Lane, clock::Clock, exchange::Exchange},
};

/// The payment gateway, where one is configured.
pub(super) fn gateway(secrets: &Secrets) -> Option<Arc<PayGate>> {
    let access = secrets.paygate.as_ref()?;
    Some(Arc::new(PayGate::new(&access.base_url, &access.api_key, &access.webhook_secret)))
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
    // Each with a store of its own: it remembers when the account's row of refusals was ended.
    let watch = |account_id: &str, queues: &[&'static str]| {
        let audit = AuditStore::new(db.clone());
        AccountWatch::new(account_id, queues, AccountStore::new(db), queue_store.clone(), audit, clock.clone())
    };
    let carrier: Arc<dyn Carrier> =
        Arc::new(ParcelX::new(&config.parcelx_base_url, &secrets.parcelx_access_key, &secrets.parcelx_secret_key));
    let queues = config.order_queues();
    let mut handlers = orders::handlers(OrderJobs {
        gate: KycGate::new(config.kyc_required),
        lane: lane.clone(),
        exchange: exchange.clone(),
        account: watch(carrier.account_id(), &[queues.create.name, queues.cancel.name]),
        carrier,
        queues,
        settling_delay: Duration::from_millis(config.worker.settling_delay_ms),
        clock: clock.clone(),
    });
    if let Some(gateway) = gateway {
        let queue = config.payments_queue();
        let account = watch(gateway.account_id(), &[queue.name]);
        let (lane, exchange) = (lane.clone(), exchange.clone());
        handlers.extend(topups::handlers(TopupJobs { lane, exchange, gateway, account, queue }));
    }
    if let Some(access) = &secrets.idcheck {
        let provider = Arc::new(IdCheck::new(&access.base_url, &access.api_key));
        let queue = config.kyc_queue();
        handlers.push(Arc::new(CallJobHandler {
            account: watch(provider.account_id(), &[queue.name]),
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
