//! The use cases of the catalog, one method each.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    categories::CategoryCount,
    commands::{ChangeProduct, CreateProduct, MoveStock, ProductChange},
    error::CatalogError,
    model::{MovementKind, Product, ProductStatus, StockMovement},
    store::{CatalogStore, ProductFilter},
};
use crate::platform::{
    batch::Lane,
    identity::{Actor, CurrentUser, Role},
    ids::{is_id, new_id},
    walk::Paged,
};

/// The catalog, as the API offers it.
#[derive(Clone, Debug)]
pub struct CatalogService {
    pub lane: Lane,
    pub store: CatalogStore,
    /// Nothing is written before.
    pub indexes_present: Arc<AtomicBool>,
}

/// How stock is to be moved, after validation.
#[derive(Debug)]
pub(super) struct NewMovement {
    pub(super) client_reference: String,
    pub(super) kind: MovementKind,
    pub(super) delta: i64,
    pub(super) reason: String,
}

/// Whether `user` sees of a product what is the merchant's business: its owner and those who look after everything.
pub(super) fn sees_business_fields(user: &CurrentUser, product: &Product) -> bool {
    product.seller_id == user.user_id || matches!(user.role, Role::Admin | Role::Auditor)
}

impl CatalogService {
    fn ensure_ready(&self) -> Result<(), CatalogError> {
        if self.indexes_present.load(Ordering::Relaxed) { Ok(()) } else { Err(CatalogError::NotReady) }
    }

    /// Adds a product of the caller's; whose it is and its id are put in.
    pub(super) async fn create(&self, user: &CurrentUser, product: Product) -> Result<Product, CatalogError> {
        self.ensure_ready()?;
        let product = Product {
            id: new_id("prd"),
            seller_id: user.user_id.clone(),
            tenant_id: user.tenant_id.clone(),
            ..product
        };
        self.lane.submit(CreateProduct { product, event_id: new_id("evt"), actor: Actor::from(user) }).await?
    }

    /// Changes a product of the caller's.
    pub(super) async fn change(
        &self,
        user: &CurrentUser,
        product_id: String,
        change: ProductChange,
    ) -> Result<Product, CatalogError> {
        self.ensure_ready()?;
        let (seller_id, actor) = (user.user_id.clone(), Actor::from(user));
        self.lane.submit(ChangeProduct { seller_id, product_id, change, event_id: new_id("evt"), actor }).await?
    }

    /// Moves the stock of a product of the caller's; `true` where it was moved before.
    pub(super) async fn move_stock(
        &self,
        user: &CurrentUser,
        product_id: String,
        new: NewMovement,
    ) -> Result<(StockMovement, bool), CatalogError> {
        self.ensure_ready()?;
        let NewMovement { client_reference, kind, delta, reason } = new;
        let command = MoveStock {
            seller_id: user.user_id.clone(),
            product_id,
            client_reference,
            kind,
            delta,
            reason,
            movement_id: new_id("mov"),
            audit_id: new_id("aud"),
            actor: Actor::from(user),
        };
        self.lane.submit(command).await?
    }

    /// A product that is offered; for who sees all of it, also one that is not any more.
    pub(super) async fn get(&self, user: &CurrentUser, product_id: &str) -> Result<Product, CatalogError> {
        let found = if is_id("prd", product_id) { self.store.find(product_id).await? } else { None };
        let shown =
            found.filter(|product| product.status == ProductStatus::Active || sees_business_fields(user, product));
        shown.ok_or(CatalogError::NotFound)
    }

    /// Products that are offered, newest first; of the caller's own, those that are not any more too.
    pub(super) async fn list(
        &self,
        user: &CurrentUser,
        filter: ProductFilter,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Paged<Product>, CatalogError> {
        let archived = filter.seller_id.as_deref() == Some(&*user.user_id);
        Ok(self.store.list(&ProductFilter { archived, ..filter }, before_id, limit).await?)
    }

    /// How many products each category has.
    pub(super) async fn categories(&self, seller_id: Option<&str>) -> Result<Vec<CategoryCount>, CatalogError> {
        Ok(self.store.categories(seller_id).await?)
    }

    /// Movements of a product, newest first, for who sees all of it; and whether there are more.
    pub(super) async fn movements(
        &self,
        user: &CurrentUser,
        product_id: &str,
        before_seq: Option<i64>,
        limit: usize,
    ) -> Result<(Product, Vec<StockMovement>, bool), CatalogError> {
        let product = self.get(user, product_id).await?;
        if !sees_business_fields(user, &product) {
            return Err(CatalogError::NotFound);
        }
        let mut found = self.store.movements(product_id, before_seq, limit).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((product, found, more))
    }
}
