//! What merchants sell and what is bought, put together.

use std::sync::{Arc, atomic::AtomicBool};

use mongodb::Database;

use crate::{
    modules::{
        catalog::{CatalogService, CatalogStore},
        checkout::{self, CheckoutService, CheckoutStore},
        kyc::KycGate,
        queue::Waker,
    },
    platform::batch::Lane,
};

/// The catalog and checkouts, as the API offers them.
pub(super) fn services(
    db: &Database,
    lane: &Lane,
    gate: KycGate,
    waker: &Waker,
    indexes_present: &Arc<AtomicBool>,
) -> (CatalogService, CheckoutService) {
    let catalog = CatalogService {
        lane: lane.clone(),
        store: CatalogStore::new(db.clone()),
        indexes_present: Arc::clone(indexes_present),
    };
    let checkouts = CheckoutService {
        lane: lane.clone(),
        gate,
        store: CheckoutStore::new(db.clone()),
        waker: waker.clone(),
        queue: checkout::queue(),
        indexes_present: Arc::clone(indexes_present),
    };
    (catalog, checkouts)
}
