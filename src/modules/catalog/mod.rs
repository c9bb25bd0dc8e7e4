//! The catalog: what merchants sell, and how much of it there is.
//!
//! Invariants: a product's `stock` is the sum of its movements and never below zero; its movements are numbered from 1 without
//! gaps, each says what there was after it, and none is ever changed or deleted. A reference moves a product's stock once. Stock
//! changes only by [`stock::move_stock`], over a product that the same transaction has read: many movements of one product share a
//! transaction of the group commit.
//!
//! How many products each category has follows from events, a moment later.
//!
//! Collections: `products`, `stock_movements`, `category_products`, `category_counts`. Events: `ProductCreated`, `ProductChanged`, `StockLow` (once each time that the stock
//! falls below `lowStockAt`).

mod categories;
mod check;
mod commands;
mod error;
mod http;
mod model;
mod requests;
mod service;
mod stock;
mod store;

pub use categories::{CategoryCount, CountCategories, count_new_products};
pub use check::check_stock;
pub use error::CatalogError;
pub use http::{ProductResponse, router};
pub use model::{
    MOVEMENTS, MovementKind, PRODUCTS, PieceDimensions, PieceParcel, Product, ProductStatus, QUANTITY_MAX,
    StockMovement,
};
pub use service::CatalogService;
pub use stock::{StockEntry, StockReference, StockRefusal, move_stock};
pub use store::{CatalogStore, ProductFilter};
