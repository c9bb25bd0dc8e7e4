//! What merchants sell and what is bought, put together.

use std::sync::Arc;

use mongodb::Database;

use crate::{
    modules::{
        catalog::{CatalogService, CatalogStore},
        checkout::{self, CheckoutService, CheckoutStore},
        orders::OrderService,
    },
    platform::batch::Lane,
};

/// The catalog and checkouts, as the API offers them.
pub(super) fn services(db: &Database, lane: &Lane, orders: &OrderService) -> (CatalogService, CheckoutService) {
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
        indexes_present: Arc::clone(&orders.indexes_present),
    };
    (catalog, checkouts)
}
