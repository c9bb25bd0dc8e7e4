//! Holding checkouts against their bookings, against the stock that they moved and against the orders that carry them out.

use bson::{Bson, Document, doc};
use mongodb::{ClientSession, Database, error::Result};

use crate::{
    modules::{
        catalog::MOVEMENTS,
        checkout::{CHECKOUTS, Checkout, PaymentMethod, PaymentStatus},
        orders::ORDERS,
        wallet::{Account, LEDGER},
    },
    platform::differences::{Difference, Differences, aggregate, differ, merge, number, sorted},
};

/// Every checkout has taken the stock that its status says, and from its buyer's wallet or at the gateway the money, which is owed to
/// its merchant.
///
/// # Errors
/// What the driver says.
pub(super) async fn check_checkouts(
    db: &Database,
    session: &mut ClientSession,
    to: &mut impl Differences,
) -> Result<()> {
    check_bookings(db, session, to).await?;
    check_movements(db, session, to).await?;
    check_orders(db, session, to).await
}

fn read(checkout: &Document, key: &str, to: &mut impl Differences) -> Option<Checkout> {
    let read = bson::deserialize_from_document::<Checkout>(checkout.clone()).ok();
    if read.is_none() {
        to.add(Difference::new("checkout.readable", key, "a checkout", "something else"));
    }
    read
}

/// Payments from wallets and at the gateway were booked once, of the buyer, and so were refunds.
async fn check_bookings(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let of_kind = |kind: &str| {
        let of_merchant = doc! { "$eq": [{ "$indexOfBytes": ["$$this.account", "payable.merchant:"] }, 0] };
        let lines = doc! { "$filter": { "input": "$lines", "cond": of_merchant } };
        let sum = doc! { "$sum": { "$map": { "input": lines, "in": "$$this.amount" } } };
        doc! { "$sum": { "$cond": [{ "$eq": ["$referenceKind", kind] }, sum, 0_i64] } }
    };
    let sums = vec![
        doc! { "$match": { "referenceType": "checkout" } },
        doc! { "$group": { "_id": "$referenceId", "paid": of_kind("payment"), "refunded": of_kind("refund"),
        "buyers": { "$addToSet": { "$concat": ["$userId", " ", "$currency"] } },
        "accounts": { "$push": "$lines.account" } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let booked = aggregate(db, LEDGER, sums, session).await?;
    let checkouts = sorted(db, CHECKOUTS, doc! {}, session).await?;
    let mut count = 0;
    merge(session, booked, checkouts, |key, booked, checkout| {
        let empty = Document::new();
        let booked = booked.unwrap_or(&empty);
        let Some(checkout) = checkout else {
            return to.add(Difference::new("checkout.exists", key, "a checkout", "none"));
        };
        count += 1;
        let Some(checkout) = read(checkout, key, to) else { return };
        let is_here = checkout.payment.method != PaymentMethod::External;
        let (paid, refunded) = match checkout.payment.status {
            PaymentStatus::Paid if is_here => (checkout.total, 0),
            // What came too late was never the merchant's.
            PaymentStatus::Refunding | PaymentStatus::Refunded if checkout.payment.transaction_id.is_none() => (0, 0),
            PaymentStatus::Refunding | PaymentStatus::Refunded => (checkout.total, -checkout.total),
            _ => (0, 0),
        };
        differ(to, "checkout.paid", key, paid, number(booked, "paid"));
        differ(to, "checkout.refunded", key, refunded, number(booked, "refunded"));
        let buyers = booked.get_array("buyers").cloned().unwrap_or_default();
        let expected = format!("{} {}", checkout.user_id, checkout.currency.code());
        if buyers.iter().any(|buyer| buyer.as_str() != Some(&*expected)) {
            to.add(Difference::new("checkout.buyer", key, expected, "another"));
        }
        let merchant = Account::merchant(&checkout.seller_id).to_string();
        let accounts = booked.get_array("accounts").into_iter().flatten().filter_map(Bson::as_array).flatten();
        let mut merchants =
            accounts.filter_map(Bson::as_str).filter(|account| account.starts_with("payable.merchant:"));
        if let Some(other) = merchants.find(|account| **account != *merchant) {
            to.add(Difference::new("checkout.merchant", key, &merchant, other));
        }
    })
    .await?;
    to.looked_at(CHECKOUTS, count);
    Ok(())
}

/// As many pieces have left the stock as were bought; none where they came back.
async fn check_movements(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let sums = vec![
        doc! { "$match": { "kind": { "$in": ["sale", "return"] } } },
        doc! { "$group": { "_id": { "checkout": "$referenceId", "product": "$productId" },
        "delta": { "$sum": "$delta" }, "sold": { "$sum": { "$min": ["$delta", 0_i64] } } } },
        doc! { "$group": { "_id": "$_id.checkout",
        "products": { "$push": { "id": "$_id.product", "delta": "$delta", "sold": "$sold" } } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let moved = aggregate(db, MOVEMENTS, sums, session).await?;
    let checkouts = sorted(db, CHECKOUTS, doc! {}, session).await?;
    merge(session, moved, checkouts, |key, moved, checkout| {
        let Some(checkout) = checkout else {
            return to.add(Difference::new("checkout.exists", key, "a checkout", "none"));
        };
        // What can't be read was named before.
        let Ok(checkout) = bson::deserialize_from_document::<Checkout>(checkout.clone()) else { return };
        let empty = Vec::new();
        let moved = moved.and_then(|moved| moved.get_array("products").ok()).unwrap_or(&empty);
        let of = |product_id: &str, field| {
            let mut products = moved.iter().filter_map(Bson::as_document);
            let product = products.find(|product| product.get_str("id").ok() == Some(product_id));
            product.map_or(0, |product| number(product, field))
        };
        let quantities = checkout.quantities();
        differ(to, "checkout.products", key, quantities.len(), moved.len());
        for (product_id, quantity) in quantities {
            let subject = format!("{key} {product_id}");
            let left = if checkout.status.holds_stock() { -quantity } else { 0 };
            differ(to, "checkout.sold", &subject, -quantity, of(product_id, "sold"));
            differ(to, "checkout.stock", &subject, left, of(product_id, "delta"));
        }
    })
    .await
}

/// Checkouts and the orders that carry them out name each other.
async fn check_orders(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let of_checkouts = vec![
        doc! { "$match": { "checkoutId": { "$exists": true } } },
        doc! { "$group": { "_id": "$checkoutId", "orders": { "$push": "$_id" } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let orders = aggregate(db, ORDERS, of_checkouts, session).await?;
    let checkouts = sorted(db, CHECKOUTS, doc! {}, session).await?;
    merge(session, orders, checkouts, |key, orders, checkout| {
        let Some(checkout) = checkout else {
            return to.add(Difference::new("checkout.exists", key, "a checkout", "none"));
        };
        // What can't be read was named before.
        let Ok(checkout) = bson::deserialize_from_document::<Checkout>(checkout.clone()) else { return };
        let named = orders.and_then(|orders| orders.get_array("orders").ok()).into_iter().flatten();
        let mut there: Vec<_> = named.filter_map(Bson::as_str).collect();
        let mut expected: Vec<_> = checkout.orders().map(String::as_str).collect();
        there.sort_unstable();
        expected.sort_unstable();
        differ(to, "checkout.orders", key, expected.join(" "), there.join(" "));
    })
    .await
}
