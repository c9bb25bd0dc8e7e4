//! Every collection and index of the database.

use mongodb::Database;

use crate::{
    modules::{
        alerts::AlertStore,
        audit::{AuditStore, retention, seals::SealStore},
        auth,
        catalog::{self, CatalogStore},
        checkout::CheckoutStore,
        events::{EventStore, analytics},
        kyc::KycStore,
        notifications,
        orders::OrderStore,
        providers::{Dispatcher, accounts},
        queue::QueueStore,
        schedules::ScheduleStore,
        tenants,
        wallet::{WalletStore, rates, topups::TopupStore},
        webhooks::WebhookStore,
    },
    platform::{
        batch,
        mongo::{self, Index},
        singleton::SINGLETONS,
    },
};

/// Every collection, for `migrate`.
#[must_use]
pub fn collections() -> Vec<&'static str> {
    [
        auth::COLLECTIONS,
        OrderStore::COLLECTIONS,
        EventStore::COLLECTIONS,
        analytics::COLLECTIONS,
        QueueStore::COLLECTIONS,
        AuditStore::COLLECTIONS,
        SealStore::COLLECTIONS,
        retention::COLLECTIONS,
        Dispatcher::COLLECTIONS,
        accounts::COLLECTIONS,
        WalletStore::COLLECTIONS,
        TopupStore::COLLECTIONS,
        KycStore::COLLECTIONS,
        CatalogStore::COLLECTIONS,
        CheckoutStore::COLLECTIONS,
        WebhookStore::COLLECTIONS,
        rates::COLLECTIONS,
        ScheduleStore::COLLECTIONS,
        notifications::COLLECTIONS,
        tenants::COLLECTIONS,
        AlertStore::COLLECTIONS,
        batch::COLLECTIONS,
        &[SINGLETONS],
    ]
    .concat()
}

/// Collections of which nobody knows anything any more. Data beside them has older shapes.
const OLDER_COLLECTIONS: &[&str] = &["late_records", "audit_sealer"];

/// Indexes that nothing uses any more.
const OLDER_INDEXES: &[(&str, &str)] = &[("jobs", "claim")];

/// Every index, for `migrate`.
#[must_use]
pub fn indexes() -> Vec<Index> {
    [
        auth::indexes(),
        OrderStore::indexes(),
        EventStore::indexes(),
        analytics::indexes(),
        QueueStore::indexes(),
        AuditStore::indexes(),
        SealStore::indexes(),
        retention::indexes(),
        WalletStore::indexes(),
        TopupStore::indexes(),
        KycStore::indexes(),
        CatalogStore::indexes(),
        CheckoutStore::indexes(),
        WebhookStore::indexes(),
        rates::indexes(),
        accounts::indexes(),
        ScheduleStore::indexes(),
        notifications::indexes(),
        tenants::indexes(),
        batch::indexes(),
    ]
    .concat()
}

/// Creates what is missing in the database.
///
/// # Errors
/// What the driver says; and that its data is of an older version, by name.
pub async fn migrate(db: &Database) -> mongodb::error::Result<()> {
    let names = db.list_collection_names().await?;
    if let Some(older) = OLDER_COLLECTIONS.iter().find(|older| names.iter().any(|name| name == *older)) {
        return Err(mongodb::error::Error::custom(format!(
            "the database {} has the collection {older}, which an unreleased version wrote; its records were sealed in another way. \
             Use a new database",
            db.name()
        )));
    }
    if SealStore::new(db.clone()).has_unreleased_seals().await? {
        return Err(mongodb::error::Error::custom(format!(
            "the seals of the database {} (audit_seals) are those of an unreleased version: their hashes are binaries, and were made in another \
             way. This version can't verify or continue them. Use a new database",
            db.name()
        )));
    }
    mongo::ensure_indexes(db, &collections(), &indexes()).await?;
    mongo::drop_indexes(db, OLDER_INDEXES).await?;
    catalog::count_new_products(db).await?;
    rates::ensure_defaults(db).await
}
