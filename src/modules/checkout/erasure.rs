//! Erasing who bought: names, addresses and telephone numbers of checkouts.

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;

use super::model::CHECKOUTS;
use crate::modules::audit::retention::{Belonging, Eraser, ErasureError, ErasureSubject};

fn filter_of(subject: &ErasureSubject) -> Document {
    match subject {
        ErasureSubject::User(id) => doc! { "userId": id },
        ErasureSubject::Order { id, .. } => doc! { "_id": id },
    }
}

/// Orders that carry out checkouts of the subject: who gets it is named there too.
///
/// # Errors
/// Errors of the database driver.
pub async fn orders_of(db: &Database, subject: &ErasureSubject) -> mongodb::error::Result<Vec<String>> {
    let mut filter = filter_of(subject);
    filter.insert("parts", doc! { "$exists": true });
    let found = db.collection::<Document>(CHECKOUTS).find(filter).projection(doc! { "parts.orders": 1 }).await?;
    let found: Vec<Document> = found.try_collect().await?;
    let parts = found.iter().filter_map(|checkout| checkout.get_array("parts").ok()).flatten();
    let orders = parts.filter_map(|part| part.as_document()?.get_array("orders").ok()).flatten();
    Ok(orders.filter_map(Bson::as_str).map(str::to_owned).collect())
}

/// Erases what is personal in checkouts that the subject asked for, or in the one that it is, unless a hold covers it; gives how many.
/// Goods, money and states stay.
///
/// # Errors
/// [`ErasureError`].
pub async fn erase(
    db: &Database,
    eraser: &Eraser,
    subject: &ErasureSubject,
    reason: &str,
    now: DateTime,
) -> Result<u64, ErasureError> {
    let mut filter = filter_of(subject);
    filter.insert("erasedAt", Bson::Null);
    let mut found =
        db.collection::<Document>(CHECKOUTS).find(filter).projection(doc! { "userId": 1, "parts": 1 }).await?;
    let mut erased = 0;
    while let Some(checkout) = found.try_next().await? {
        let (Ok(id), Ok(user_id)) = (checkout.get_str("_id"), checkout.get_str("userId")) else { continue };
        let mut set =
            doc! { "customer": Bson::Null, "shippingAddress": Bson::Null, "cancelReason": Bson::Null, "erasedAt": now };
        // A provider may have named somebody in its refusal.
        let parts = checkout.get_array("parts").cloned().unwrap_or_default();
        for (at, part) in parts.iter().enumerate() {
            if part.as_document().is_some_and(|part| part.get_document("failure").is_ok()) {
                set.insert(format!("parts.{at}.failure.message"), Bson::Null);
            }
        }
        let named = Belonging { collection: CHECKOUTS, filter: doc! { "_id": id }, set: Some(set) };
        eraser.erase_belongings(subject, reason, (id, user_id), &[named]).await?;
        erased += 1;
    }
    Ok(erased)
}
