//! Erasing people from orders that carry checkouts out: who gets it, a customer's name and address, which the merchant did not write;
//! and where it is picked up, which is copied from the merchant's settings.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;

use super::model::{ORDERS, Order, OrderStatus};
use crate::modules::{
    audit::retention::{Belonging, Eraser, ErasureError, ErasureSubject},
    providers::Detail,
};

/// Replacement of erased text.
const ERASED: &str = "erased";

/// Erases the receiver of an order, and what is personal in the logs of its calls, unless a hold covers it. Not of one that is still to be
/// placed: whether it was done.
///
/// # Errors
/// [`ErasureError`].
pub async fn erase_receiver(
    db: &Database,
    eraser: &Eraser,
    order_id: &str,
    reason: &str,
) -> Result<bool, ErasureError> {
    let Some(order) = db.collection::<Order>(ORDERS).find_one(doc! { "_id": order_id }).await? else {
        return Ok(true);
    };
    if order.status == OrderStatus::Created {
        return Ok(false);
    }
    let subject = ErasureSubject::Order { id: order.id.clone(), user_id: order.user_id.clone() };
    eraser.erase(&subject, reason).await?;
    if let Some(set) = without_receiver(&order.detail) {
        let named = Belonging { collection: ORDERS, filter: doc! { "_id": order_id }, set: Some(set) };
        eraser.erase_belongings(&subject, reason, (&order.id, &order.user_id), &[named]).await?;
    }
    Ok(true)
}

/// Erases where orders that carry out the subject's sales are picked up, unless a hold covers one; gives of how many, and how many are
/// still to be placed, which keep it.
///
/// # Errors
/// [`ErasureError`].
pub async fn erase_pickups(
    db: &Database,
    eraser: &Eraser,
    subject: &ErasureSubject,
    reason: &str,
) -> Result<(u64, u64), ErasureError> {
    let ErasureSubject::User(user_id) = subject else { return Ok((0, 0)) };
    let theirs = doc! { "userId": user_id, "checkoutId": { "$type": "string" },
    "detail.shipment.pickup.name": { "$exists": true, "$ne": ERASED } };
    let orders = db.collection::<Document>(ORDERS);
    let mut found = orders.find(theirs).projection(doc! { "status": 1 }).await?;
    let (mut erased, mut under_way) = (0, 0);
    while let Some(order) = found.try_next().await? {
        let Ok(id) = order.get_str("_id") else { continue };
        if order.get_str("status").is_ok_and(|status| status == OrderStatus::Created.as_str()) {
            under_way += 1;
            continue;
        }
        let set = without_party("detail.shipment.pickup");
        let named = Belonging { collection: ORDERS, filter: doc! { "_id": id }, set: Some(set) };
        eraser.erase_belongings(subject, reason, (id, user_id), &[named]).await?;
        erased += 1;
    }
    Ok((erased, under_way))
}

/// The update that erases a party of a shipment.
fn without_party(party: &str) -> Document {
    let erased = ["name", "phone", "line1"].map(|field| (format!("{party}.{field}"), Bson::from(ERASED)));
    erased.into_iter().chain(["email", "line2"].map(|field| (format!("{party}.{field}"), Bson::Null))).collect()
}

/// Whether people were erased from what the order is about: a provider can't do anything with it any more.
pub(super) fn is_erased(detail: &Detail) -> bool {
    match detail {
        Detail::Shipment(shipment) => [&shipment.consignee, &shipment.pickup].iter().any(|party| party.name == ERASED),
        Detail::Sale(sale) => sale.customer.last_name == ERASED,
        Detail::Extract(_) => false,
    }
}

/// The update that erases the receiver of an order; none where nothing is left to erase. Fields that the price depends on stay.
fn without_receiver(detail: &Detail) -> Option<Document> {
    let mut set = Document::new();
    let mut erase = |party: &str, fields: &[&str]| {
        set.extend(fields.iter().map(|field| (format!("detail.{party}.{field}"), ERASED.into())));
    };
    match detail {
        Detail::Shipment(shipment) if shipment.consignee.name != ERASED => {
            return Some(without_party("detail.shipment.consignee"));
        }
        Detail::Sale(sale) if sale.customer.last_name != ERASED => {
            erase("sale.customer", &["firstName", "lastName", "email", "phone"]);
            erase("sale.billingAddress", &["line1"]);
            set.insert("detail.sale.billingAddress.line2", Bson::Null);
            if sale.shipping_address.is_some() {
                set.insert("detail.sale.shippingAddress.line1", ERASED);
                set.insert("detail.sale.shippingAddress.line2", Bson::Null);
            }
        }
        Detail::Shipment(_) | Detail::Sale(_) | Detail::Extract(_) => return None,
    }
    Some(set)
}
