//! Composition of catalog and checkout.

use std::{sync::Arc, time::Duration};

use mongodb::Database;

use crate::{
    config::Config,
    modules::{
        catalog::{CatalogService, CatalogStore},
        checkout::{self, CheckoutPayments, CheckoutService, CheckoutStore},
        orders::OrderService,
        providers::registry::PAYMENT_GATEWAY,
        wallet::topups::{Payees, PaymentSettings},
    },
    platform::batch::Lane,
};

/// Payees of gateway payments besides wallets.
pub(super) fn payees(config: &Config) -> Payees {
    let checkouts = CheckoutPayments { queue: checkout::queue(), payments: config.payments_queue() };
    Payees { checkouts: Arc::new(checkouts) }
}

/// The catalog and checkouts, as the API offers them.
pub(super) fn services(
    config: &Config,
    db: &Database,
    lane: &Lane,
    orders: &OrderService,
) -> (CatalogService, CheckoutService) {
    let catalog = CatalogService {
        lane: lane.clone(),
        store: CatalogStore::new(db.clone()),
        indexes_present: Arc::clone(&orders.indexes_present),
    };
    let checkouts = CheckoutService {
        lane: lane.clone(),
        gate: orders.gate,
        store: CheckoutStore::new(db.clone()),
        orders: orders.clone(),
        waker: orders.waker.clone(),
        queue: checkout::queue(),
        gateway: config.providers.of_service(PAYMENT_GATEWAY).map(|_| PaymentSettings {
            provider: PAYMENT_GATEWAY.name,
            queue: config.payments_queue(),
            expires_in: Duration::from_millis(config.topup_expires_ms),
        }),
        payments: config.payments_queue(),
        indexes_present: Arc::clone(&orders.indexes_present),
    };
    (catalog, checkouts)
}
