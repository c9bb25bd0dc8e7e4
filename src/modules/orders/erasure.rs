//! Erasing who gets it from orders that carry checkouts out: these are a customer's name and address, which the merchant did not write.

use bson::{Bson, Document, doc};
use mongodb::Database;

use super::model::{ORDERS, Order, OrderStatus};
use crate::modules::{
    audit::retention::{Belonging, Eraser, ErasureError, Subject},
    providers::Detail,
};

/// What stands where something was.
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
    let subject = Subject::Order { id: order.id.clone(), user_id: order.user_id.clone() };
    eraser.erase(&subject, reason).await?;
    if let Some(set) = without_receiver(&order.detail) {
        let named = Belonging { collection: ORDERS, filter: doc! { "_id": order_id }, set: Some(set) };
        eraser.erase_belongings(&subject, reason, (&order.id, &order.user_id), &[named]).await?;
    }
    Ok(true)
}

/// What is set of an order's detail; none where nothing is left to erase. What is priced by stays.
fn without_receiver(detail: &Detail) -> Option<Document> {
    let mut set = Document::new();
    let mut erase = |party: &str, fields: &[&str]| {
        set.extend(fields.iter().map(|field| (format!("detail.{party}.{field}"), ERASED.into())));
    };
    match detail {
        Detail::Shipment(shipment) if shipment.consignee.name != ERASED => {
            erase("shipment.consignee", &["name", "phone", "line1"]);
            set.extend(["email", "line2"].map(|field| (format!("detail.shipment.consignee.{field}"), Bson::Null)));
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
