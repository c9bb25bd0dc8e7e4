//! Every read of checkouts. A finder takes who asks, always.

use std::collections::HashSet;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Collection, Database, error::Result};
use serde::Deserialize;

use super::{
    fulfilment::{FULFILMENT, FulfilmentSettings},
    model::{CHECKOUTS, CUSTOMERS, Checkout, CheckoutStatus},
};
use crate::platform::{
    mongo::{Index, READ_TIME_MAX},
    walk::{Direction, Paged, STAGES, TimeRange, Walk, given, paged},
};

/// Reads checkouts; they are written by commands only.
#[derive(Clone, Debug)]
pub struct CheckoutStore {
    db: Database,
}

#[derive(Clone, Copy, Debug)]
pub enum CheckoutOwner<'a> {
    /// Checkouts that this user created.
    Buyer(&'a str),
    /// Checkouts of this merchant's products.
    Seller(&'a str),
}

impl<'a> CheckoutOwner<'a> {
    const fn field(self) -> (&'static str, &'a str) {
        match self {
            Self::Buyer(id) => ("userId", id),
            Self::Seller(id) => ("sellerId", id),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct CheckoutFilter {
    /// The asker's id.
    pub client_order_id: Option<String>,
    pub status: Option<CheckoutStatus>,
}

/// A past checkout: its buyer, seller and items.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PastCart {
    pub(super) user_id: String,
    pub(super) seller_id: String,
    pub(super) status: CheckoutStatus,
    pub(super) items: Vec<PastItem>,
}

/// One line of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PastItem {
    pub(super) product_id: String,
}

impl PastCart {
    /// Whether it was paid, and not given back.
    pub(super) const fn is_bought(&self) -> bool {
        matches!(self.status, CheckoutStatus::Paid | CheckoutStatus::NeedsAttention | CheckoutStatus::Completed)
    }

    /// Its products, as often as they have lines.
    pub(super) fn products(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|item| item.product_id.as_str())
    }

    fn fields() -> Document {
        doc! { "userId": 1, "sellerId": 1, "status": 1, "items.productId": 1 }
    }
}

impl CheckoutStore {
    pub const COLLECTIONS: &[&str] = &[CHECKOUTS, CUSTOMERS, FULFILMENT];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(CHECKOUTS, "idempotency", doc! { "userId": 1, "clientOrderId": 1 }).unique(),
            Index::new(CHECKOUTS, "external_payment", doc! { "externalPayment": 1 })
                .unique()
                .partial(doc! { "externalPayment": { "$exists": true } }),
            Index::new(CHECKOUTS, "buyer", doc! { "userId": 1, "_id": -1 }),
            Index::new(CHECKOUTS, "products", doc! { "userId": 1, "items.productId": 1 }),
            Index::new(CHECKOUTS, "seller", doc! { "sellerId": 1, "_id": -1 }),
        ]
    }

    pub(super) const fn db(&self) -> &Database {
        &self.db
    }

    fn checkouts(&self) -> Collection<Checkout> {
        self.db.collection(CHECKOUTS)
    }

    /// A merchant's fulfilment settings.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub(super) async fn fulfilment(&self, seller_id: &str) -> Result<Option<FulfilmentSettings>> {
        self.db.collection(FULFILMENT).find_one(doc! { "_id": seller_id }).max_time(READ_TIME_MAX).await
    }

    /// A checkout of the buyer or the seller.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find(&self, whose: CheckoutOwner<'_>, checkout_id: &str) -> Result<Option<Checkout>> {
        let (field, id) = whose.field();
        self.checkouts().find_one(doc! { "_id": checkout_id, field: id }).max_time(READ_TIME_MAX).await
    }

    pub(super) async fn carts(&self, checkout_ids: &[String]) -> Result<Vec<PastCart>> {
        let checkouts = self.db.collection::<PastCart>(CHECKOUTS);
        let these = checkouts.find(doc! { "_id": { "$in": checkout_ids } });
        these.projection(PastCart::fields()).max_time(READ_TIME_MAX).await?.try_collect().await
    }

    /// The latest checkouts of each of these users, at most `each`, the latest first.
    pub(super) async fn latest_carts(&self, user_ids: &[String], each: i64) -> Result<Vec<PastCart>> {
        let users: Vec<Document> = user_ids.iter().map(|id| doc! { "_id": id }).collect();
        let pipeline = [
            doc! { "$documents": users },
            doc! { "$lookup": { "from": CHECKOUTS, "localField": "_id", "foreignField": "userId", "as": "cart", "pipeline": [
                { "$sort": { "_id": -1 } },
                { "$limit": each },
                { "$project": PastCart::fields() },
            ] } },
            doc! { "$unwind": "$cart" },
            doc! { "$replaceRoot": { "newRoot": "$cart" } },
        ];
        let found = self.db.aggregate(pipeline).max_time(READ_TIME_MAX).with_type::<PastCart>();
        found.await?.try_collect().await
    }

    /// The products of this list that the user has ever bought.
    pub(super) async fn asked_for(&self, user_id: &str, product_ids: &[String]) -> Result<HashSet<String>> {
        if product_ids.is_empty() {
            return Ok(HashSet::new());
        }
        let products: Vec<Document> = product_ids.iter().map(|id| doc! { "_id": id }).collect();
        let pipeline = [
            doc! { "$documents": products },
            doc! { "$lookup": { "from": CHECKOUTS, "localField": "_id", "foreignField": "items.productId", "as": "cart", "pipeline": [
                { "$match": { "userId": user_id } },
                { "$limit": 1 },
                { "$project": { "_id": 1 } },
            ] } },
            doc! { "$match": { "cart": { "$ne": [] } } },
        ];
        let found = self.db.aggregate(pipeline).max_time(READ_TIME_MAX).await?;
        found.map_ok(|product| product.get_str("_id").unwrap_or_default().to_owned()).try_collect().await
    }

    /// Checkouts of the buyer or the seller, newest first, older than `before_id`. What no index narrows down is compared checkout
    /// by checkout, so many a page and no more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list(
        &self,
        whose: CheckoutOwner<'_>,
        filter: &CheckoutFilter,
        before_id: Option<&str>,
        limit: usize,
    ) -> Result<Paged<Checkout>> {
        let (field, id) = whose.field();
        let index = if field == "userId" { "buyer" } else { "seller" };
        let status = filter.status.map(CheckoutStatus::as_str);
        let rest: Document = given(&[("status", status), ("clientOrderId", filter.client_order_id.as_deref())]);
        let is_indexed = rest.is_empty();
        let walk = Walk { collection: CHECKOUTS, prefix: "chk", index, key: doc! { field: id }, rest };
        let (range, direction, take) = (TimeRange::default(), Direction::Newest, limit + 1);
        let found = if is_indexed {
            walk.go(&self.db, range, direction, before_id, take, None).await?
        } else {
            walk.find_in_stages(&self.db, range, direction, before_id, take, &STAGES).await?
        };
        Ok(paged(found.found, limit, found.ended_at, |checkout: &Checkout| &checkout.id))
    }
}
