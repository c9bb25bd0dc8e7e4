//! The daily report of a merchant's stock, and its movements of that day, as a file.

use bson::DateTime;

use super::{letter_data::away, report_file::ReportFile};
use crate::{
    modules::{
        auth::User,
        catalog::{CatalogStore, MovementKind, Product, ProductFilter, StockMovement},
        events::HandlerError,
    },
    platform::{
        cells::{number, text},
        identity::Role,
    },
};

/// Products, and movements, read at a time.
const AT_ONCE: usize = 500;
/// Movements read for one file: of products beyond them it says what there is now, and nothing of what moved it.
const MOVEMENTS_MAX: usize = 100_000;
const COLUMNS: [&str; 10] =
    ["sku", "name", "status", "stock", "lowStockAt", "low", "received", "sold", "returned", "corrected"];

/// A file, and what the mail says of it.
pub(super) struct StockReport {
    pub(super) file: ReportFile,
    /// Products of which little is left.
    pub(super) low: usize,
    /// Of some products what moved them is left out.
    pub(super) is_partial: bool,
}

/// Sums of a product's movements on a day. Pure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StockChanges {
    received: i64,
    sold: i64,
    returned: i64,
    corrected: i64,
    /// Stock at the end of the day, once a movement has told.
    stock: Option<i64>,
}

impl StockChanges {
    /// Takes a movement, newest first; false where it is from before the day, so that no further one matters.
    fn take(&mut self, moved: &StockMovement, (from, to): (DateTime, DateTime)) -> bool {
        if moved.at >= to {
            return true;
        }
        self.stock.get_or_insert(moved.after);
        if moved.at < from {
            return false;
        }
        let (sum, by) = match moved.kind {
            MovementKind::Receipt => (&mut self.received, moved.delta),
            MovementKind::Sale => (&mut self.sold, -moved.delta),
            MovementKind::Return => (&mut self.returned, moved.delta),
            MovementKind::Correction => (&mut self.corrected, moved.delta),
        };
        *sum += by;
        true
    }
}

/// The merchant's products that were there at the end of the day, newest first.
pub(super) async fn write(
    catalog: &CatalogStore,
    user: &User,
    day: (DateTime, DateTime),
) -> Result<StockReport, HandlerError> {
    let mut report = StockReport { file: ReportFile::new(COLUMNS)?, low: 0, is_partial: false };
    if user.role != Role::Merchant {
        return Ok(report);
    }
    let filter = ProductFilter { seller_id: Some(user.id.clone()), archived: true, ..ProductFilter::default() };
    let (mut before, mut left): (Option<String>, _) = (None, MOVEMENTS_MAX);
    loop {
        let page = catalog.list(&filter, before.as_deref(), AT_ONCE).await.map_err(|error| away(&error))?;
        for product in page.shown.iter().filter(|product| product.created_at < day.1) {
            let moved = stock_changes_of_day(catalog, product, day, &mut left).await?;
            report.add(product, moved)?;
        }
        before = page.next;
        if before.is_none() || report.file.is_cut() {
            return Ok(report);
        }
    }
}

/// Stock movements of a product on a day; none where `left`, the number of movements that may still be read, is used up.
async fn stock_changes_of_day(
    catalog: &CatalogStore,
    product: &Product,
    day: (DateTime, DateTime),
    left: &mut usize,
) -> Result<Option<StockChanges>, HandlerError> {
    let mut moved = StockChanges::default();
    if product.updated_at < day.0 {
        return Ok(Some(StockChanges { stock: Some(product.stock), ..moved }));
    }
    let mut before = None;
    while *left > 0 {
        let page = catalog.movements(&product.id, before, AT_ONCE).await.map_err(|error| away(&error))?;
        let has_more = page.len() > AT_ONCE;
        for one in page.iter().take(AT_ONCE) {
            *left = left.saturating_sub(1);
            if !moved.take(one, day) {
                return Ok(Some(moved));
            }
            before = Some(one.seq);
        }
        if !has_more {
            return Ok(Some(moved));
        }
    }
    Ok(None)
}

impl StockReport {
    fn add(&mut self, product: &Product, moved: Option<StockChanges>) -> Result<(), HandlerError> {
        self.is_partial |= moved.is_none();
        // Without any movement up to then, nothing had come in.
        let stock = moved.map_or(product.stock, |moved| moved.stock.unwrap_or_default());
        let is_low = stock < product.low_stock_at;
        let cell = |value: fn(StockChanges) -> i64| moved.map_or_else(|| "".into(), |moved| number(value(moved)));
        self.file.add([
            text(&product.sku),
            text(&product.name),
            product.status.as_str().into(),
            number(stock),
            number(product.low_stock_at),
            if is_low { "yes" } else { "no" }.into(),
            cell(|moved| moved.received),
            cell(|moved| moved.sold),
            cell(|moved| moved.returned),
            cell(|moved| moved.corrected),
        ])?;
        self.low += usize::from(is_low && !self.file.is_cut());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::identity::Actor;

    fn movement(at: i64, kind: MovementKind, delta: i64, after: i64) -> StockMovement {
        StockMovement {
            id: format!("mov_{at}"),
            product_id: "prd_1".into(),
            seller_id: "usr_1".into(),
            seq: at,
            kind,
            delta,
            after,
            reference_type: "client".into(),
            reference_id: at.to_string(),
            reason: None,
            actor: Actor::system("test"),
            at: DateTime::from_millis(at),
        }
    }

    #[test]
    fn a_day_has_its_own_movements_and_ends_with_their_stock() {
        use MovementKind::{Correction, Receipt, Return, Sale};
        let day = (DateTime::from_millis(10), DateTime::from_millis(20));
        // Newest first: after the day, its last and first moment, and before it.
        let all = [
            (20, Sale, -1, 11),
            (19, Return, 2, 12),
            (16, Correction, -3, 10),
            (15, Sale, -4, 13),
            (12, Sale, -1, 17),
            (10, Receipt, 10, 18),
            (9, Receipt, 8, 8),
        ];
        let taken = |all: &[(i64, MovementKind, i64, i64)]| {
            let mut moved = StockChanges::default();
            let more = all.iter().map(|&(at, kind, delta, after)| moved.take(&movement(at, kind, delta, after), day));
            (more.collect::<Vec<_>>().last() == Some(&true), moved)
        };
        let expected = StockChanges { received: 10, sold: 5, returned: 2, corrected: -3, stock: Some(12) };
        assert_eq!(taken(&all), (false, expected));
        assert_eq!(taken(&all[..6]), (true, expected), "older ones may follow");
        assert_eq!(taken(&all[..1]), (true, StockChanges::default()), "nothing was there yet");
        assert_eq!(
            taken(&all[6..]),
            (false, StockChanges { stock: Some(8), ..StockChanges::default() }),
            "a quiet day"
        );
    }
}
