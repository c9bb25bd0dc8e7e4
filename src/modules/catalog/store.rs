//! Every read of products and movements.

use std::collections::HashMap;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database,
    error::Result,
    options::{DatabaseOptions, Hint, ReadConcern},
};

use super::{
    categories::{self, COUNTED, COUNTS, CategoryCount},
    model::{MOVEMENTS, MovementKind, PRODUCTS, Product, ProductStatus, StockMovement, terms},
};
use crate::platform::{
    mongo::{Index, READ_TIME_MAX},
    walk::{Direction, Paged, STAGES, TimeRange, Walk, paged},
};

/// Reads products and movements; they are written by commands only.
#[derive(Clone, Debug)]
pub struct CatalogStore {
    db: Database,
    /// The same, for reads in a snapshot, which may choose no read concern of their own.
    snapshots: Database,
}

#[derive(Clone, Debug, Default)]
pub struct ProductFilter {
    pub words: Option<String>,
    pub category: Option<String>,
    pub seller_id: Option<String>,
    /// Also those that are not offered any more.
    pub archived: bool,
}

impl CatalogStore {
    pub const COLLECTIONS: &[&str] = &[PRODUCTS, MOVEMENTS, COUNTED, COUNTS];

    /// A store over `db`.
    #[must_use]
    pub fn new(db: Database) -> Self {
        // A snapshot session leaves a read concern as it is where there is one, and our client has one.
        let options = DatabaseOptions::builder().read_concern(ReadConcern::snapshot()).build();
        let snapshots = db.client().database_with_options(db.name(), options);
        Self { db, snapshots }
    }

    /// Indexes of this module. None has a field that a movement of stock changes.
    #[must_use]
    pub fn indexes() -> Vec<Index> {
        let own = vec![
            Index::new(PRODUCTS, "sku", doc! { "sellerId": 1, "sku": 1 }).unique(),
            Index::new(PRODUCTS, "offered", doc! { "status": 1, "_id": -1 }),
            Index::new(PRODUCTS, "seller", doc! { "sellerId": 1, "_id": -1 }),
            Index::new(PRODUCTS, "category", doc! { "status": 1, "category": 1, "_id": -1 }),
            Index::new(PRODUCTS, "seller_category", doc! { "sellerId": 1, "status": 1, "category": 1, "_id": -1 }),
            Index::new(PRODUCTS, "terms", doc! { "terms": 1, "_id": -1 }),
            Index::new(MOVEMENTS, "reference", doc! { "productId": 1, "referenceType": 1, "referenceId": 1 }).unique(),
            Index::new(MOVEMENTS, "product", doc! { "productId": 1, "seq": 1 }).unique(),
        ];
        [own, categories::indexes()].concat()
    }

    fn products(&self) -> Collection<Product> {
        self.db.collection(PRODUCTS)
    }

    /// A product, whosever it is.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn find(&self, product_id: &str) -> Result<Option<Product>> {
        self.products().find_one(doc! { "_id": product_id }).max_time(READ_TIME_MAX).await
    }

    /// Products, newest first, older than `before_id`. What no index narrows down is compared product by product, so many a page
    /// and no more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn list(&self, filter: &ProductFilter, before_id: Option<&str>, limit: usize) -> Result<Paged<Product>> {
        let (walk, take) = (filter.walk(), limit + 1);
        let (range, direction) = (TimeRange::default(), Direction::Newest);
        let found = if walk.rest.is_empty() {
            walk.go(&self.db, range, direction, before_id, take, None).await?
        } else {
            walk.find_in_stages(&self.db, range, direction, before_id, take, &STAGES).await?
        };
        Ok(paged(found.found, limit, found.ended_at, |product: &Product| &product.id))
    }

    /// How many products each category has, those with the most first.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn categories(&self, seller_id: Option<&str>) -> Result<Vec<CategoryCount>> {
        categories::read(&self.db, seller_id).await
    }

    /// The products of this list that are on offer, by id.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn offered(&self, product_ids: &[String]) -> Result<HashMap<String, Product>> {
        if product_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let offered = doc! { "_id": { "$in": product_ids }, "status": ProductStatus::Active.as_str() };
        let found = self.products().find(offered).hint(Hint::Name("_id_".into())).max_time(READ_TIME_MAX).await?;
        found.map_ok(|product| (product.id.clone(), product)).try_collect().await
    }

    /// Ids of the checkouts that took something of these products, of each product those among its latest movements, at most `each`.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn latest_sales(&self, product_ids: &[String], each: i64) -> Result<Vec<String>> {
        let products: Vec<Document> = product_ids.iter().map(|id| doc! { "_id": id }).collect();
        let pipeline = [
            doc! { "$documents": products },
            doc! { "$lookup": { "from": MOVEMENTS, "localField": "_id", "foreignField": "productId", "as": "moved", "pipeline": [
                { "$sort": { "seq": -1 } },
                { "$limit": each },
                { "$match": { "kind": MovementKind::Sale.as_str() } },
                { "$project": { "referenceId": 1 } },
            ] } },
            doc! { "$unwind": "$moved" },
            doc! { "$group": { "_id": "$moved.referenceId" } },
        ];
        let found = self.db.aggregate(pipeline).max_time(READ_TIME_MAX).await?;
        found.map_ok(|sale| sale.get_str("_id").unwrap_or_default().to_owned()).try_collect().await
    }

    /// Movements of a product, newest first, numbered below `before_seq`; one more than `limit` where there are more.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub async fn movements(
        &self,
        product_id: &str,
        before_seq: Option<i64>,
        limit: usize,
    ) -> Result<Vec<StockMovement>> {
        let mut query = doc! { "productId": product_id };
        query.extend(before_seq.map(|seq| ("seq".to_owned(), doc! { "$lt": seq }.into())));
        let movements = self.db.collection::<StockMovement>(MOVEMENTS);
        let found = movements.find(query).hint(Hint::Name("product".into())).sort(doc! { "seq": -1 });
        found.limit(limit as i64 + 1).max_time(READ_TIME_MAX).await?.try_collect().await
    }

    /// For reads in a snapshot.
    pub(super) const fn snapshots(&self) -> &Database {
        &self.snapshots
    }

    /// A session whose reads all see the same moment, that of the first one.
    pub(super) async fn snapshot(&self) -> Result<ClientSession> {
        self.db.client().start_session().snapshot(true).await
    }
}

impl ProductFilter {
    fn walk(&self) -> Walk {
        let mut rest = Document::new();
        let mut key = Document::new();
        let status = (!self.archived).then(|| ProductStatus::Active.as_str());
        let mut words = self.words.as_deref().map(|words| terms([words].into_iter())).unwrap_or_default();
        // The longest word is the one that the fewest products have, as far as anybody can tell.
        words.sort_by_key(|word| word.chars().count());
        let index = if let Some(word) = words.pop() {
            key.insert("terms", word);
            if !words.is_empty() {
                rest.insert("$and", [doc! { "terms": { "$all": words } }]);
            }
            "terms"
        } else {
            match (&self.seller_id, &self.category, status) {
                (Some(_), Some(_), Some(_)) => "seller_category",
                (Some(_), _, _) => "seller",
                (None, Some(_), _) => "category",
                (None, None, _) => "offered",
            }
        };
        let fields =
            [("sellerId", self.seller_id.as_deref()), ("status", status), ("category", self.category.as_deref())];
        for (field, value) in fields {
            let Some(value) = value else { continue };
            let leads = match index {
                "seller_category" => true,
                "seller" => field == "sellerId",
                "category" => field != "sellerId",
                "offered" => field == "status",
                _ => false,
            };
            if leads {
                key.insert(field, value)
            } else {
                rest.insert(field, value)
            };
        }
        Walk { collection: PRODUCTS, prefix: "prd", index, key, rest }
    }
}
