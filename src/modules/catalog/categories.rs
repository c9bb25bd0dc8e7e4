//! How many products each category has, kept by what relays events, in its transaction: counting them when somebody asks would look at
//! every product.
//!
//! The category under which a product is counted stands in a document of its own. So events may come twice, late and in any order: each makes the counts
//! agree with the product as it is then.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use bson::{Document, doc};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::model::{PRODUCTS, ProductStatus};
use crate::{
    modules::events::{Consumer, EventHead},
    platform::mongo::{Index, READ_TIME_MAX, durable},
};

/// Products that are offered, and as what they are counted.
pub(super) const COUNTED: &str = "category_products";
/// How many there are: `{_id, sellerId, category, count}`; of all merchants together under no seller.
pub(super) const COUNTS: &str = "category_counts";
/// Categories that an answer lists: those with the most products.
const CATEGORIES_MAX: i64 = 500;
/// Products that are counted in one transaction.
const PAGE: i64 = 500;
/// The seller of what all merchants have together.
const EVERYBODY: &str = "";

/// Seller and category of a product; products without a category are on no shelf.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shelf {
    seller_id: String,
    category: Option<String>,
}

/// How many products a category has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CategoryCount {
    /// The category; none of those that are in none.
    pub category: Option<String>,
    /// Products that are offered.
    pub count: i64,
}

/// A document that says on which shelf it is.
#[derive(Deserialize)]
struct ShelvedProduct {
    #[serde(rename = "_id")]
    id: String,
    #[serde(flatten)]
    shelf: Shelf,
}

impl Shelf {
    /// The id of its count. Categories are never empty.
    fn id(&self) -> String {
        let category = self.category.as_deref().map(|category| format!("/{category}"));
        format!("{}{}", self.seller_id, category.unwrap_or_default())
    }

    /// The same of all merchants.
    fn of_everybody(&self) -> Self {
        Self { seller_id: EVERYBODY.into(), category: self.category.clone() }
    }
}

pub(super) fn indexes() -> Vec<Index> {
    vec![Index::new(COUNTS, "most", doc! { "sellerId": 1, "count": -1, "category": 1 })]
}

/// How many products each category has, those with the most first.
pub(super) async fn read(db: &Database, seller_id: Option<&str>) -> Result<Vec<CategoryCount>> {
    let counts = db.collection::<CategoryCount>(COUNTS);
    let of_seller = counts.find(doc! { "sellerId": seller_id.unwrap_or(EVERYBODY) });
    let most = of_seller.sort(doc! { "count": -1, "category": 1 }).limit(CATEGORIES_MAX).max_time(READ_TIME_MAX);
    most.await?.try_collect().await
}

#[derive(Clone, Copy, Debug)]
pub struct CountCategories;

#[async_trait]
impl Consumer for CountCategories {
    fn name(&self) -> &'static str {
        "categories"
    }

    fn wants(&self, kind: &str) -> bool {
        matches!(kind, "ProductCreated" | "ProductChanged")
    }

    async fn take(&self, db: &Database, session: &mut ClientSession, heads: &[EventHead]) -> Result<Vec<&'static str>> {
        let ids: BTreeSet<&str> = heads.iter().map(|head| &*head.subject_id).collect();
        recount(db, session, &ids.into_iter().collect::<Vec<_>>()).await?;
        Ok(Vec::new())
    }
}

/// Makes the counts agree with these products.
async fn recount(db: &Database, session: &mut ClientSession, product_ids: &[&str]) -> Result<()> {
    let these = doc! { "_id": { "$in": product_ids } };
    let mut offered = these.clone();
    offered.insert("status", ProductStatus::Active.as_str());
    let now = shelves(db, session, PRODUCTS, offered).await?;
    let before = shelves(db, session, COUNTED, these).await?;
    let changes = CountChanges::between(&before, &now);
    run(db, session, doc! { "update": COUNTED, "updates": changes.counted }).await?;
    run(db, session, doc! { "delete": COUNTED, "deletes": changes.gone }).await?;
    run(db, session, doc! { "update": COUNTS, "updates": changes.counts }).await?;
    run(db, session, doc! { "delete": COUNTS, "deletes": changes.empty }).await
}

/// Counts products that are there from before they were counted, beside whatever else runs.
///
/// # Errors
/// Errors of the database driver.
pub async fn count_new_products(db: &Database) -> Result<()> {
    let products = db.collection::<Document>(PRODUCTS);
    let offered = products.count_documents(doc! { "status": ProductStatus::Active.as_str() }).await?;
    if offered == db.collection::<Document>(COUNTED).count_documents(doc! {}).await? {
        return Ok(());
    }
    let mut behind = String::new();
    loop {
        let page = products.find(doc! { "_id": { "$gt": &behind } }).sort(doc! { "_id": 1 }).limit(PAGE);
        let page: Vec<Document> = page.projection(doc! { "_id": 1 }).await?.try_collect().await?;
        let ids: Vec<&str> = page.iter().filter_map(|product| product.get_str("_id").ok()).collect();
        let Some(last) = ids.last() else { return Ok(()) };
        behind = (*last).to_owned();
        let mut session = db.client().start_session().await?;
        let transaction = session.start_transaction().write_concern(durable());
        transaction.and_run((db, &ids), |session, (db, ids)| recount(db, session, ids).boxed()).await?;
    }
}

/// Statements that make the counts agree.
#[derive(Debug, Default, PartialEq)]
struct CountChanges {
    counted: Vec<Document>,
    gone: Vec<Document>,
    counts: Vec<Document>,
    empty: Vec<Document>,
}

impl CountChanges {
    fn between(before: &HashMap<String, Shelf>, now: &HashMap<String, Shelf>) -> Self {
        let (mut changes, mut by) = (Self::default(), BTreeMap::<Shelf, i64>::new());
        let mut add = |shelf: &Shelf, count: i64| {
            for shelf in [shelf.clone(), shelf.of_everybody()] {
                *by.entry(shelf).or_default() += count;
            }
        };
        for (id, shelf) in now.iter().filter(|(id, shelf)| before.get(*id) != Some(shelf)) {
            add(shelf, 1);
            let counted = doc! { "_id": id, "sellerId": &shelf.seller_id, "category": &shelf.category };
            changes.counted.push(doc! { "q": { "_id": id }, "u": counted, "upsert": true });
        }
        for (id, shelf) in before.iter().filter(|(id, shelf)| now.get(*id) != Some(shelf)) {
            add(shelf, -1);
            if !now.contains_key(id) {
                changes.gone.push(doc! { "q": { "_id": id }, "limit": 1 });
            }
        }
        for (shelf, count) in by.into_iter().filter(|(_, count)| *count != 0) {
            let (id, kept) = (shelf.id(), doc! { "sellerId": shelf.seller_id, "category": shelf.category });
            let update = doc! { "$setOnInsert": kept, "$inc": { "count": count } };
            changes.counts.push(doc! { "q": { "_id": &id }, "u": update, "upsert": true });
            if count < 0 {
                changes.empty.push(doc! { "q": { "_id": id, "count": 0 }, "limit": 1 });
            }
        }
        changes
    }
}

/// On which shelves these are, by id.
async fn shelves(
    db: &Database,
    session: &mut ClientSession,
    collection: &str,
    filter: Document,
) -> Result<HashMap<String, Shelf>> {
    let found = find::<ShelvedProduct>(db, session, collection, filter).await?;
    Ok(found.into_iter().map(|at| (at.id, at.shelf)).collect())
}

async fn find<T: DeserializeOwned + Send + Sync>(
    db: &Database,
    session: &mut ClientSession,
    collection: &str,
    filter: Document,
) -> Result<Vec<T>> {
    let documents = db.collection::<T>(collection);
    let found = documents.find(filter).projection(doc! { "sellerId": 1, "category": 1 });
    let mut found = found.batch_size(1_000).session(&mut *session).await?;
    let mut all = Vec::new();
    let mut stream = found.stream(session);
    while let Some(one) = stream.next().await.transpose()? {
        all.push(one);
    }
    Ok(all)
}

/// Runs a command of several statements, unless it has none.
async fn run(db: &Database, session: &mut ClientSession, command: Document) -> Result<()> {
    let is_empty = command.values().filter_map(|value| value.as_array()).all(Vec::is_empty);
    if is_empty {
        return Ok(());
    }
    let reply = db.run_command(command).session(session).await?;
    match reply.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
        Some(error) => Err(Error::custom(format!("counts of categories: {error}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelves(all: &[(&str, &str, Option<&str>)]) -> HashMap<String, Shelf> {
        let shelf = |seller: &str, category: Option<&str>| Shelf {
            seller_id: seller.into(),
            category: category.map(str::to_owned),
        };
        all.iter().map(|(id, seller, category)| ((*id).to_owned(), shelf(seller, *category))).collect()
    }

    fn added(changes: &CountChanges) -> Vec<(String, i64)> {
        let text = |count: &Document| count.get_document("q").and_then(|q| q.get_str("_id")).expect("an id").to_owned();
        let by = |count: &Document| {
            let update = count.get_document("u").expect("an update");
            update.get_document("$inc").and_then(|by| by.get_i64("count")).expect("a number")
        };
        changes.counts.iter().map(|count| (text(count), by(count))).collect()
    }

    #[test]
    fn what_changed_is_counted_once() {
        let none = shelves(&[]);
        let two = shelves(&[("p", "a", Some("x")), ("q", "a", None)]);
        let created = CountChanges::between(&none, &two);
        let expected = [("", 1), ("/x", 1), ("a", 1), ("a/x", 1)].map(|(id, by)| (id.to_owned(), by));
        assert_eq!((added(&created), created.counted.len(), created.empty.len()), (expected.to_vec(), 2, 0));
        assert_eq!(CountChanges::between(&two, &two), CountChanges::default());
        let moved = CountChanges::between(&two, &shelves(&[("p", "a", None), ("q", "a", None)]));
        let expected = [("", 1), ("/x", -1), ("a", 1), ("a/x", -1)].map(|(id, by)| (id.to_owned(), by));
        assert_eq!((added(&moved), moved.gone.len(), moved.empty.len()), (expected.to_vec(), 0, 2));
        let gone = CountChanges::between(&two, &shelves(&[("q", "a", None)]));
        assert_eq!((added(&gone).len(), gone.gone.len(), gone.counted.len()), (2, 1, 0));
        // Two that change shelves cancel each other out.
        let crossed = CountChanges::between(&two, &shelves(&[("p", "a", None), ("q", "a", Some("x"))]));
        assert_eq!((added(&crossed).len(), crossed.counted.len()), (0, 2));
    }
}
