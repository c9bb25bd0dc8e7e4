//! Changes of products by merchants, each in one transaction with its event.

use bson::doc;

use super::{
    error::CatalogError,
    model::{MovementKind, PieceParcel, Product, ProductStatus, StockMovement},
    stock::{StockEntry, StockReference, StockRefusal, move_stock, record},
};
use crate::{
    modules::audit::{AuditEvent, AuditOutcome, record_event},
    platform::{
        batch::{Command, Key, View},
        identity::Actor,
        money::Money,
    },
};

pub(super) struct CreateProduct {
    /// As it will be stored, but for what follows from the rest, and its times.
    pub(super) product: Product,
    pub(super) event_id: String,
    pub(super) actor: Actor,
}

impl Command for CreateProduct {
    type Reply = Result<Product, CatalogError>;

    fn reads(&self) -> Vec<Key> {
        vec![Product::sku_key(&self.product.seller_id, &self.product.sku)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        if let Some(other) = view.find::<Product>(&self.reads()[0]) {
            return Err(CatalogError::SkuTaken { product_id: other.id });
        }
        let now = view.now();
        let mut product = Product { created_at: now, updated_at: now, ..self.product.clone() };
        if let Some(number) = product.second_price() {
            return Err(CatalogError::SecondPrice(number));
        }
        product.derive();
        record(view, &mut product, &self.event_id, "ProductCreated", &[], &self.actor);
        view.insert(&product);
        Ok(product)
    }

    fn bytes(&self) -> usize {
        self.product.description.as_ref().map_or(0, String::len)
    }
}

/// Changes of a product; absent fields stay.
#[derive(Debug, Default)]
pub(super) struct ProductChange {
    pub(super) name: Option<String>,
    pub(super) description: Option<Option<String>>,
    pub(super) category: Option<Option<String>>,
    pub(super) price: Option<Money>,
    pub(super) prices: Option<Vec<Money>>,
    pub(super) low_stock_at: Option<i64>,
    pub(super) parcel: Option<Option<PieceParcel>>,
    pub(super) status: Option<ProductStatus>,
}

/// Changes a product. What is the same already is no change.
pub(super) struct ChangeProduct {
    pub(super) seller_id: String,
    pub(super) product_id: String,
    pub(super) change: ProductChange,
    pub(super) event_id: String,
    pub(super) actor: Actor,
}

/// Replaces a field where another value is given, and notes its name.
fn put<T: Clone + PartialEq>(field: &mut T, given: Option<&T>, name: &'static str, changed: &mut Vec<&'static str>) {
    if let Some(given) = given.filter(|given| *given != field) {
        field.clone_from(given);
        changed.push(name);
    }
}

fn own(view: &View, seller_id: &str, product_id: &str) -> Result<Product, CatalogError> {
    let product = view.by_id::<Product>(product_id).filter(|product| product.seller_id == seller_id);
    product.ok_or(CatalogError::NotFound)
}

impl Command for ChangeProduct {
    type Reply = Result<Product, CatalogError>;

    fn reads(&self) -> Vec<Key> {
        vec![Product::key(&self.product_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut product = own(view, &self.seller_id, &self.product_id)?;
        let ProductChange { name, description, category, price, prices, low_stock_at, parcel, status } = &self.change;
        let mut changed = Vec::new();
        put(&mut product.name, name.as_ref(), "name", &mut changed);
        put(&mut product.description, description.as_ref(), "description", &mut changed);
        put(&mut product.category, category.as_ref(), "category", &mut changed);
        put(&mut product.price, price.as_ref(), "price", &mut changed);
        put(&mut product.prices, prices.as_ref(), "prices", &mut changed);
        put(&mut product.low_stock_at, low_stock_at.as_ref(), "lowStockAt", &mut changed);
        put(&mut product.parcel, parcel.as_ref(), "parcel", &mut changed);
        put(&mut product.status, status.as_ref(), "status", &mut changed);
        if changed.is_empty() {
            return Ok(product);
        }
        if let Some(number) = product.second_price() {
            return Err(CatalogError::SecondPrice(number));
        }
        product.derive();
        product.updated_at = view.now().max(product.updated_at);
        record(view, &mut product, &self.event_id, "ProductChanged", &changed, &self.actor);
        view.update(&product);
        Ok(product)
    }

    fn bytes(&self) -> usize {
        self.change.description.iter().flatten().map(String::len).sum()
    }
}

/// Moves stock as the merchant says, or finds that it was done.
pub(super) struct MoveStock {
    pub(super) seller_id: String,
    pub(super) product_id: String,
    pub(super) client_reference: String,
    pub(super) kind: MovementKind,
    pub(super) delta: i64,
    pub(super) reason: String,
    pub(super) movement_id: String,
    pub(super) audit_id: String,
    pub(super) actor: Actor,
}

/// Of movements that merchants name.
const CLIENT: &str = "client";

impl MoveStock {
    fn reference(&self) -> Key {
        StockMovement::reference_key(&self.product_id, CLIENT, &self.client_reference)
    }

    fn is(&self, moved: &StockMovement) -> bool {
        moved.kind == self.kind && moved.delta == self.delta && moved.reason.as_deref() == Some(&*self.reason)
    }

    /// Counting differently than the books is on record with its reason.
    fn audit(&self, view: &mut View, moved: &StockMovement) {
        let event = AuditEvent::new(
            AuditOutcome::Done,
            self.actor.clone(),
            "stock.corrected",
            ("product", &self.product_id),
            view.now(),
        )
        .with_id(self.audit_id.clone())
        .of_user(self.seller_id.clone())
        .because(self.reason.clone())
        .before(doc! { "stock": moved.after - moved.delta })
        .after(doc! { "stock": moved.after, "movementId": &moved.id });
        record_event(view, &event);
    }
}

impl Command for MoveStock {
    /// The movement, and whether it was there.
    type Reply = Result<(StockMovement, bool), CatalogError>;

    fn reads(&self) -> Vec<Key> {
        vec![Product::key(&self.product_id), self.reference()]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let mut product = own(view, &self.seller_id, &self.product_id)?;
        match view.find::<StockMovement>(&self.reference()) {
            Some(moved) if self.is(&moved) => return Ok((moved, true)),
            Some(_) => return Err(CatalogError::IdempotencyMismatch),
            None => {}
        }
        let entry = StockEntry {
            movement_id: &self.movement_id,
            kind: self.kind,
            delta: self.delta,
            reference: StockReference { kind_of_thing: CLIENT, id: self.client_reference.clone() },
            reason: Some(&self.reason),
            actor: &self.actor,
        };
        let moved = move_stock(view, &mut product, &entry).map_err(|refusal| match refusal {
            StockRefusal::Short { available } => CatalogError::BelowZero { available },
            StockRefusal::Range => CatalogError::TooMany,
        })?;
        if moved.kind == MovementKind::Correction {
            self.audit(view, &moved);
        }
        Ok((moved, false))
    }
}
