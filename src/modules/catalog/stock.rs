//! The decision of the stock ledger, purely over a [`View`]: the only way in. Moves stock and says so, or refuses and changes
//! nothing.

use bson::doc;

use super::model::{MovementKind, Product, STOCK_MAX, StockMovement};
use crate::{
    modules::events::{self, Event},
    platform::{batch::View, identity::Actor, ids::sibling_id},
};

/// The reason of a stock movement. It moves stock once: a unique index over product, kind of thing and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockReference {
    /// `client`, `checkout`.
    pub kind_of_thing: &'static str,
    /// The thing's id, with what of it.
    pub id: String,
}

/// A movement that is to be made.
#[derive(Clone, Debug)]
pub struct StockEntry<'a> {
    /// `mov_...`, made before the transaction's first try.
    pub movement_id: &'a str,
    pub kind: MovementKind,
    /// Pieces; above zero they come in.
    pub delta: i64,
    /// Reason of the movement. The caller has checked that it has not moved this stock before.
    pub reference: StockReference,
    /// The merchant's words.
    pub reason: Option<&'a str>,
    pub actor: &'a Actor,
}

/// Why nothing was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StockRefusal {
    /// More would go than is there.
    #[error("only {available} are there")]
    Short { available: i64 },
    /// Zero, or more than fits.
    #[error("the stock would not be between 0 and {STOCK_MAX}")]
    Range,
}

/// Moves the stock of `product`, which has been read in this transaction and is written here.
///
/// # Errors
/// [`StockRefusal`].
pub fn move_stock(
    view: &mut View,
    product: &mut Product,
    entry: &StockEntry<'_>,
) -> Result<StockMovement, StockRefusal> {
    let after =
        product.stock.checked_add(entry.delta).filter(|after| *after <= STOCK_MAX).ok_or(StockRefusal::Range)?;
    if entry.delta == 0 {
        return Err(StockRefusal::Range);
    }
    if after < 0 {
        return Err(StockRefusal::Short { available: product.stock });
    }
    let was_low = product.is_low;
    product.stock = after;
    product.is_low = after < product.low_stock_at;
    product.movements += 1;
    product.updated_at = view.now().max(product.updated_at);
    let moved = StockMovement {
        id: entry.movement_id.to_owned(),
        product_id: product.id.clone(),
        seller_id: product.seller_id.clone(),
        seq: product.movements,
        kind: entry.kind,
        delta: entry.delta,
        after,
        reference_type: entry.reference.kind_of_thing.to_owned(),
        reference_id: entry.reference.id.clone(),
        reason: entry.reason.map(str::to_owned),
        // Movements are kept for ever; from where somebody bought is nobody's business then.
        actor: Actor { address: None, ..entry.actor.clone() },
        at: product.updated_at,
    };
    if product.is_low && !was_low {
        record(view, product, &sibling_id("evt", entry.movement_id), "StockLow", &[], entry.actor);
    }
    view.insert(&moved);
    view.update(product);
    Ok(moved)
}

/// Records what happened to a product, which is to be written afterwards.
pub(super) fn record(
    view: &mut View,
    product: &mut Product,
    event_id: &str,
    kind: &str,
    changed: &[&str],
    actor: &Actor,
) {
    product.events += 1;
    let mut data =
        doc! { "status": product.status.as_str(), "stock": product.stock, "lowStockAt": product.low_stock_at };
    data.extend(product.tenant_id.as_ref().map(|tenant_id| ("tenantId".to_owned(), tenant_id.into())));
    if !changed.is_empty() {
        data.insert("changed", changed.to_vec());
    }
    let event = Event {
        id: event_id.to_owned(),
        kind: kind.into(),
        subject_id: product.id.clone(),
        user_id: product.seller_id.clone(),
        seq: product.events,
        actor: actor.clone(),
        data,
        at: view.now(),
    };
    events::record(view, &event);
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, Document};

    use super::*;
    use crate::{
        modules::{catalog::model::ProductStatus, events::EVENTS},
        platform::money::{Currency, Money},
    };

    fn product(stock: i64) -> Product {
        let now = DateTime::from_millis(1_000);
        let mut product = Product {
            id: "prd_1".into(),
            seller_id: "usr_1".into(),
            tenant_id: None,
            sku: "A-1".into(),
            name: "Book".into(),
            description: None,
            category: None,
            price: Money::new(100, Currency::INR),
            prices: Vec::new(),
            low_stock_at: 5,
            parcel: None,
            status: ProductStatus::Active,
            terms: Vec::new(),
            stock,
            movements: 0,
            is_low: false,
            events: 0,
            created_at: now,
            updated_at: now,
        };
        product.derive();
        product
    }

    fn moved(view: &mut View, product: &mut Product, number: u32, delta: i64) -> Result<StockMovement, StockRefusal> {
        let entry = StockEntry {
            movement_id: &format!("mov_{number}"),
            kind: MovementKind::Correction,
            delta,
            reference: StockReference { kind_of_thing: "client", id: number.to_string() },
            reason: Some("Counted."),
            actor: &Actor::system("test"),
        };
        move_stock(view, product, &entry)
    }

    #[test]
    fn stock_is_the_sum_and_never_below_zero() {
        let mut view = View::new(DateTime::from_millis(2_000));
        let mut product = product(0);
        view.put_read(&product);
        for (number, delta, expected) in [
            (1, 10, Ok((1, 10))),
            (2, -11, Err(StockRefusal::Short { available: 10 })),
            (3, 0, Err(StockRefusal::Range)),
            (4, STOCK_MAX - 9, Err(StockRefusal::Range)),
            (5, i64::MAX, Err(StockRefusal::Range)),
            (6, i64::MIN, Err(StockRefusal::Short { available: 10 })),
            (7, -10, Ok((2, 0))),
        ] {
            let before = product.clone();
            let outcome = moved(&mut view, &mut product, number, delta).map(|moved| (moved.seq, moved.after));
            assert_eq!(outcome, expected, "{delta}");
            if expected.is_err() {
                assert_eq!(product, before, "{delta} changes nothing");
            }
        }
        assert_eq!(view.by_id::<Product>("prd_1"), Some(product));
    }

    #[test]
    fn low_stock_is_told_once_each_time_it_gets_low() {
        let mut view = View::new(DateTime::from_millis(2_000));
        let mut product = product(0);
        view.put_read(&product);
        let mut told = Vec::new();
        for (number, delta) in [(1, 4), (2, 4), (3, -3), (4, -1), (5, -1), (6, 2), (7, -1), (8, -1)] {
            moved(&mut view, &mut product, number, delta).expect("there is enough");
            told.push(view.appended_to(EVENTS).count());
        }
        // 4, 8, 5, 4 (low), 3, 5, 4 (low), 3
        assert_eq!(told, [0, 0, 0, 1, 1, 1, 2, 2]);
        let last: Document = view.appended_to(EVENTS).last().expect("an event").clone().try_into().expect("BSON");
        assert_eq!((last.get_str("type").expect("a type"), last.get_i64("seq").expect("a number")), ("StockLow", 2));
    }
}
