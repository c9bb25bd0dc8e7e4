//! Erasing who bought: names, addresses and telephone numbers of checkouts.

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;

use super::model::CHECKOUTS;
use crate::modules::audit::retention::{Belonging, Eraser, ErasureError, Subject};

/// Erases what is personal in checkouts that the subject asked for, or in the one that it is, unless a hold covers it; gives how many.
/// Goods, money and states stay.
///
/// # Errors
/// [`ErasureError`].
pub async fn erase(
    db: &Database,
    eraser: &Eraser,
    subject: &Subject,
    reason: &str,
    now: DateTime,
) -> Result<u64, ErasureError> {
    let mut filter = match subject {
        Subject::User(id) => doc! { "userId": id },
        Subject::Order { id, .. } => doc! { "_id": id },
    };
    filter.insert("erasedAt", Bson::Null);
    let mut found = db.collection::<Document>(CHECKOUTS).find(filter).projection(doc! { "userId": 1 }).await?;
    let mut erased = 0;
    while let Some(checkout) = found.try_next().await? {
        let (Ok(id), Ok(user_id)) = (checkout.get_str("_id"), checkout.get_str("userId")) else { continue };
        let set =
            doc! { "customer": Bson::Null, "shippingAddress": Bson::Null, "cancelReason": Bson::Null, "erasedAt": now };
        let named = Belonging { collection: CHECKOUTS, filter: doc! { "_id": id }, set: Some(set) };
        eraser.erase_belongings(subject, reason, (id, user_id), &[named]).await?;
        erased += 1;
    }
    Ok(erased)
}
