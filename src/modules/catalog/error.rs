//! How a use case of the catalog may fail.

use super::model::STOCK_MAX;
use crate::platform::{
    batch::LaneError,
    error::{AppError, ErrorKind, FieldError},
};

/// Each variant is a decision for the caller.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Absent, or somebody else's.
    #[error("there is no such product")]
    NotFound,
    /// The merchant has a product of this article number.
    #[error("the sku is taken")]
    SkuTaken { product_id: String },
    /// There would be two prices in one currency.
    #[error("the price {0} is in a currency that has one")]
    SecondPrice(usize),
    /// The name stands for another movement: use a new one.
    #[error("the clientReference stands for another movement")]
    IdempotencyMismatch,
    /// More would go than is there.
    #[error("the stock would be below zero")]
    BelowZero { available: i64 },
    /// There would be more than anybody has.
    #[error("the stock would be too large")]
    TooMany,
    /// Unique indexes are missing. Run `waybill migrate`.
    #[error("required indexes are missing")]
    NotReady,
    /// The batch lane could not carry it out.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
}

impl From<CatalogError> for AppError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound => Self::new(ErrorKind::NotFound, "catalog.not_found", "There is no such product."),
            CatalogError::SkuTaken { product_id } => Self::new(
                ErrorKind::Conflict,
                "catalog.sku_taken",
                "You have a product with this sku; change that one, or choose another sku.",
            )
            .with("productId", product_id),
            CatalogError::SecondPrice(number) => {
                let message = "has the currency of `price`, or of one before it";
                Self::invalid(vec![FieldError::new(format!("prices[{number}].currency"), "duplicate", message)])
            }
            CatalogError::IdempotencyMismatch => Self::new(
                ErrorKind::Invalid,
                "catalog.idempotency_mismatch",
                "This clientReference was used for another movement of this product; use a new one for a new movement.",
            ),
            CatalogError::BelowZero { available } => {
                let detail = format!("Only {available} are there; stock can't be below zero.");
                Self::new(ErrorKind::Conflict, "catalog.below_zero", detail).with("available", available)
            }
            CatalogError::TooMany => Self::new(
                ErrorKind::Conflict,
                "catalog.too_many",
                format!("There may be at most {STOCK_MAX} pieces of a product."),
            ),
            CatalogError::NotReady => Self::not_migrated(),
            CatalogError::Lane(error) => error.into(),
            CatalogError::Database(error) => error.into(),
        }
    }
}
