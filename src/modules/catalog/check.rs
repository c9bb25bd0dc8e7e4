//! Checking stock against itself: what products say against the sum of their movements, and each movement against the one before.
//! As with the ledger, all of a check reads one snapshot, and holds two documents of it at a time.

use bson::doc;
use mongodb::{ClientSession, Database, error::Result};

use super::{
    model::{MOVEMENTS, PRODUCTS, Product},
    store::CatalogStore,
};
use crate::platform::differences::{Difference, Differences, aggregate, differ, id, merge, number, sorted};

/// Checks every product and every movement.
///
/// # Errors
/// Errors of the database driver.
pub async fn check_stock(store: &CatalogStore, to: &mut impl Differences) -> Result<()> {
    let mut session = store.snapshot().await?;
    check_products(store.snapshots(), &mut session, to).await?;
    check_chains(store.snapshots(), &mut session, to).await
}

/// Every product is the sum of its movements.
async fn check_products(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let sums = vec![
        doc! { "$group": {
            "_id": "$productId",
            "stock": { "$sum": "$delta" },
            "count": { "$sum": 1_i64 },
            "newest": { "$max": { "seq": "$seq", "after": "$after" } },
        } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let sums = aggregate(db, MOVEMENTS, sums, session).await?;
    let products = sorted(db, PRODUCTS, doc! {}, session).await?;
    let (mut movements, mut count) = (0, 0);
    merge(session, sums, products, |key, sums, product| {
        let empty = bson::Document::new();
        let sums = sums.unwrap_or(&empty);
        movements += number(sums, "count").unsigned_abs();
        let Some(product) = product else {
            return to.add(Difference::new("product.exists", key, "a product", "none"));
        };
        count += 1;
        let Ok(product) = bson::deserialize_from_document::<Product>(product.clone()) else {
            return to.add(Difference::new("product.readable", key, "a product", "something else"));
        };
        differ(to, "product.stock", key, number(sums, "stock"), product.stock);
        differ(to, "product.movements", key, number(sums, "count"), product.movements);
        let newest = sums.get_document("newest").cloned().unwrap_or_default();
        differ(to, "product.stock_after", key, number(&newest, "after"), product.stock);
        differ(to, "product.is_low", key, product.stock < product.low_stock_at, product.is_low);
        if product.stock < 0 {
            to.add(Difference::new("product.below_zero", key, "0 or more", product.stock));
        }
    })
    .await?;
    to.looked_at(MOVEMENTS, movements);
    to.looked_at(PRODUCTS, count);
    Ok(())
}

/// A product's movements are numbered from 1 without gaps, and each says what there was after it.
async fn check_chains(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let pipeline = vec![
        doc! { "$project": { "productId": 1, "seq": 1, "after": 1, "delta": 1 } },
        doc! { "$setWindowFields": { "partitionBy": "$productId", "sortBy": { "seq": 1 }, "output": {
            "position": { "$documentNumber": {} },
            "before": { "$shift": { "output": "$after", "by": -1, "default": 0_i64 } },
        } } },
        doc! { "$set": { "expected": { "$add": ["$before", "$delta"] } } },
        doc! { "$match": { "$expr": { "$or": [
            { "$ne": ["$position", "$seq"] },
            { "$ne": ["$expected", "$after"] },
            { "$lt": ["$after", 0] },
        ] } } },
    ];
    let mut wrong = aggregate(db, MOVEMENTS, pipeline, session).await?;
    while let Some(moved) = wrong.next(session).await.transpose()? {
        differ(to, "movement.sequence", id(&moved), number(&moved, "position"), number(&moved, "seq"));
        differ(to, "movement.after", id(&moved), number(&moved, "expected"), number(&moved, "after"));
        if number(&moved, "after") < 0 {
            to.add(Difference::new("movement.below_zero", id(&moved), "0 or more", number(&moved, "after")));
        }
    }
    Ok(())
}
