//! Every read of checkouts. A finder takes who asks, always.

use bson::{Document, doc};
use mongodb::{Collection, Database, error::Result};

use super::model::{CHECKOUTS, Checkout, CheckoutStatus};
use crate::platform::{
    mongo::{Index, READ_TIME_MAX},
    walk::{Direction, Paged, STAGES, TimeRange, Walk, given, paged},
};

/// Reads checkouts; they are written by commands only.
#[derive(Clone, Debug)]
pub struct CheckoutStore {
    db: Database,
}

/// Whose checkouts are read.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// Those that this user asked for.
    Buyer(&'a str),
    /// Those of this merchant's products.
    Seller(&'a str),
}

impl<'a> Whose<'a> {
    const fn field(self) -> (&'static str, &'a str) {
        match self {
            Self::Buyer(id) => ("userId", id),
            Self::Seller(id) => ("sellerId", id),
        }
    }
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct CheckoutFilter {
    /// The asker's id.
    pub client_order_id: Option<String>,
    /// Status.
    pub status: Option<CheckoutStatus>,
}

impl CheckoutStore {
    /// Collections of this module.
    pub const COLLECTIONS: &[&str] = &[CHECKOUTS];

    /// A store over `db`.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    /// Indexes of this module.
    #[must_use]
    pub fn indexes() -> Vec<Index> {
        vec![
            Index::new(CHECKOUTS, "idempotency", doc! { "userId": 1, "clientOrderId": 1 }).unique(),
            Index::new(CHECKOUTS, "external_payment", doc! { "externalPayment": 1 })
                .unique()
                .partial(doc! { "externalPayment": { "$exists": true } }),
            Index::new(CHECKOUTS, "buyer", doc! { "userId": 1, "_id": -1 }),
            Index::new(CHECKOUTS, "seller", doc! { "sellerId": 1, "_id": -1 }),
        ]
    }

    fn checkouts(&self) -> Collection<Checkout> {
        self.db.collection(CHECKOUTS)
    }

    /// A checkout of the buyer or the seller.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn find(&self, whose: Whose<'_>, checkout_id: &str) -> Result<Option<Checkout>> {
        let (field, id) = whose.field();
        self.checkouts().find_one(doc! { "_id": checkout_id, field: id }).max_time(READ_TIME_MAX).await
    }

    /// Checkouts of the buyer or the seller, newest first, older than `before_id`. What no index narrows down is compared checkout
    /// by checkout, so many a page and no more.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn list(
        &self,
        whose: Whose<'_>,
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
            walk.go_in_stages(&self.db, range, direction, before_id, take, &STAGES).await?
        };
        Ok(paged(found.found, limit, found.ended_at, |checkout: &Checkout| &checkout.id))
    }
}
