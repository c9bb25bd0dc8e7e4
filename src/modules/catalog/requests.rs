//! Requests of merchants and buyers, and their rules.

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError};

use super::{
    commands::ProductChange,
    model::{MovementKind, PRICES_MAX, PieceDimensions, PieceParcel, Product, ProductStatus, STOCK_MAX, terms},
    service::NewMovement,
};
use crate::platform::{
    http::{
        checks::{client_id, fault, fault_of, harmless, nullable, nullable_lines},
        cursor,
    },
    ids::is_id,
    money::{Currency, Money},
    text::{free_text, lines},
};

/// Ten million in the major unit, as items of orders: a hundred lines of ten thousand such pieces are one amount at most.
const PRICE_MAX: i64 = 1_000_000_000;
const LOW_STOCK_AT: i64 = 5;
const DESCRIPTION_CHARS_MAX: usize = 4_000;

/// A price of one piece.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceRequest {
    /// Minor units.
    #[validate(range(min = 1, max = PRICE_MAX))]
    #[schema(example = 49_900, minimum = 1, maximum = 1_000_000_000)]
    amount: i64,
    /// ISO 4217.
    currency: Currency,
}

impl From<PriceRequest> for Money {
    fn from(price: PriceRequest) -> Self {
        Self::new(price.amount, price.currency)
    }
}

fn all(prices: Vec<PriceRequest>) -> Vec<Money> {
    prices.into_iter().map(Into::into).collect()
}

/// Outer dimensions of one piece in its parcel.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ParcelDimensionsRequest {
    /// Centimetres.
    #[validate(range(min = 1, max = 300))]
    #[schema(minimum = 1, maximum = 300)]
    length: i32,
    /// Centimetres.
    #[validate(range(min = 1, max = 300))]
    #[schema(minimum = 1, maximum = 300)]
    width: i32,
    /// Centimetres.
    #[validate(range(min = 1, max = 300))]
    #[schema(minimum = 1, maximum = 300)]
    height: i32,
}

/// Parcel of one piece.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ParcelRequest {
    /// Grams, packed.
    #[validate(range(min = 1, max = 100_000))]
    #[schema(minimum = 1, maximum = 100_000)]
    weight_grams: i64,
    #[validate(nested)]
    dimensions_cm: ParcelDimensionsRequest,
}

impl From<ParcelRequest> for PieceParcel {
    fn from(request: ParcelRequest) -> Self {
        let ParcelDimensionsRequest { length, width, height } = request.dimensions_cm;
        Self { weight_grams: request.weight_grams, dimensions_cm: PieceDimensions { length, width, height } }
    }
}

/// `POST /products`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateProductRequest {
    /// Your article number; it stays, and no other product of yours has it.
    #[validate(length(min = 1, max = 64), custom(function = "article_number"))]
    #[schema(min_length = 1, max_length = 64)]
    sku: String,
    #[validate(length(min = 1, max = 200), custom(function = "free_text"))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[serde(default, deserialize_with = "lines")]
    #[validate(custom(function = "long_text"))]
    #[schema(max_length = 4000)]
    description: Option<String>,
    /// A category of yours; it is compared as it is written.
    #[validate(length(max = 60), custom(function = "free_text"))]
    #[schema(max_length = 60)]
    category: Option<String>,
    #[validate(nested)]
    price: PriceRequest,
    /// The same in other currencies, each once.
    #[validate(nested, length(max = PRICES_MAX))]
    #[schema(max_items = 10)]
    prices: Option<Vec<PriceRequest>>,
    /// Stock below which there is an event `StockLow`; 0 is never.
    #[validate(range(min = 0, max = STOCK_MAX))]
    #[schema(default = 5, minimum = 0, maximum = 1_000_000_000)]
    low_stock_at: Option<i64>,
    #[validate(nested)]
    parcel: Option<ParcelRequest>,
}

impl CreateProductRequest {
    /// The product, but for its id, its owner and its times.
    pub(super) fn into_product(self) -> Product {
        let unset = DateTime::from_millis(0);
        Product {
            id: String::new(),
            seller_id: String::new(),
            tenant_id: None,
            sku: self.sku,
            name: self.name,
            description: given(self.description),
            category: given(self.category),
            price: self.price.into(),
            prices: all(self.prices.unwrap_or_default()),
            low_stock_at: self.low_stock_at.unwrap_or(LOW_STOCK_AT),
            parcel: self.parcel.map(Into::into),
            status: ProductStatus::Active,
            terms: Vec::new(),
            stock: 0,
            movements: 0,
            is_low: false,
            events: 0,
            created_at: unset,
            updated_at: unset,
        }
    }
}

/// No text is none.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// `PATCH /products/{productId}`. What is left out stays; `null` takes away.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChangeProductRequest {
    #[validate(length(min = 1, max = 200), custom(function = "free_text"))]
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable_lines")]
    #[validate(custom(function = "long_text"))]
    #[schema(value_type = Option<String>, max_length = 4000)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[validate(length(max = 60), custom(function = "free_text"))]
    #[schema(value_type = Option<String>, max_length = 60)]
    category: Option<Option<String>>,
    /// Price of purchases from now on.
    #[validate(nested)]
    price: Option<PriceRequest>,
    /// All prices in other currencies from now on.
    #[serde(default, deserialize_with = "nullable")]
    #[validate(nested, length(max = PRICES_MAX))]
    #[schema(value_type = Option<Vec<PriceRequest>>, max_items = 10)]
    prices: Option<Option<Vec<PriceRequest>>>,
    #[validate(range(min = 0, max = STOCK_MAX))]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    low_stock_at: Option<i64>,
    #[serde(default, deserialize_with = "nullable")]
    #[validate(nested)]
    #[schema(value_type = Option<ParcelRequest>)]
    parcel: Option<Option<ParcelRequest>>,
    /// `archived`: it is not listed and can't be bought any more.
    status: Option<ProductStatus>,
}

impl ChangeProductRequest {
    pub(super) fn into_change(self) -> ProductChange {
        ProductChange {
            name: self.name,
            description: self.description.map(given),
            category: self.category.map(given),
            price: self.price.map(Into::into),
            prices: self.prices.map(|prices| all(prices.unwrap_or_default())),
            low_stock_at: self.low_stock_at,
            parcel: self.parcel.map(|parcel| parcel.map(Into::into)),
            status: self.status,
        }
    }
}

/// Movements that merchants make.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OwnMovementKind {
    /// Goods came in.
    Receipt,
    /// You have counted.
    Correction,
}

/// `POST /products/{productId}/stock`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "receipts_come_in"))]
pub(super) struct MoveStockRequest {
    /// Your id of the movement: for one product the same id is the same movement, for ever.
    #[validate(custom(function = "client_id"))]
    #[schema(example = "in-1001", min_length = 1, max_length = 128)]
    client_reference: String,
    /// Pieces that came in, or, below zero, that are gone. Not 0.
    #[validate(range(min = -STOCK_MAX, max = STOCK_MAX), custom(function = "not_zero"))]
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000)]
    delta: i64,
    /// By default a receipt above zero and a correction below.
    kind: Option<OwnMovementKind>,
    /// The reason; a correction is on record with it.
    #[validate(length(min = 3, max = 300), custom(function = "reason"))]
    #[schema(min_length = 3, max_length = 300)]
    reason: String,
}

impl MoveStockRequest {
    pub(super) fn into_movement(self) -> NewMovement {
        let kind = match self.kind {
            Some(OwnMovementKind::Correction) => MovementKind::Correction,
            None if self.delta < 0 => MovementKind::Correction,
            Some(OwnMovementKind::Receipt) | None => MovementKind::Receipt,
        };
        NewMovement { client_reference: self.client_reference, kind, delta: self.delta, reason: self.reason }
    }
}

/// `GET /products`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListProductsQuery {
    /// Products on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    pub(super) limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "product_cursor"))]
    pub(super) cursor: Option<String>,
    /// Words that all occur in sku, name, category or description; case does not count.
    #[validate(length(min = 1, max = 100), custom(function = "words"))]
    #[param(min_length = 1, max_length = 100)]
    pub(super) q: Option<String>,
    /// Products of this category, as it is written.
    #[validate(length(min = 1, max = 60))]
    #[param(min_length = 1, max_length = 60)]
    pub(super) category: Option<String>,
    /// Merchant, `usr_...`; your own products include those that are archived.
    #[validate(custom(function = "seller"))]
    pub(super) seller_id: Option<String>,
}

/// `GET /products/categories`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CategoriesQuery {
    /// Merchant, `usr_...`.
    #[validate(custom(function = "seller"))]
    pub(super) seller_id: Option<String>,
}

/// `GET /products/{productId}/movements`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListMovementsQuery {
    /// Movements on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    pub(super) limit: Option<usize>,
    /// `nextCursor` of the page before.
    pub(super) cursor: Option<String>,
}

fn long_text(text: &str) -> Result<(), ValidationError> {
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(fault("length", format!("must have at most {DESCRIPTION_CHARS_MAX} characters")));
    }
    free_text(text)
}

/// Article numbers of trade have twelve digits too, as Aadhaar numbers have.
fn article_number(text: &str) -> Result<(), ValidationError> {
    if text.bytes().all(|b| b.is_ascii_digit()) { Ok(()) } else { free_text(text) }
}

/// Auditors read it.
fn reason(text: &str) -> Result<(), ValidationError> {
    free_text(text)?;
    harmless(text)
}

fn not_zero(delta: i64) -> Result<(), ValidationError> {
    if delta == 0 { Err(fault("range", "must not be 0")) } else { Ok(()) }
}

fn receipts_come_in(request: &MoveStockRequest) -> Result<(), ValidationError> {
    if matches!(request.kind, Some(OwnMovementKind::Receipt)) && request.delta < 0 {
        return Err(fault_of("delta", "range", "must be above 0 for a receipt"));
    }
    Ok(())
}

fn words(text: &str) -> Result<(), ValidationError> {
    if terms([text].into_iter()).is_empty() { Err(fault("format", "must hold a letter or a digit")) } else { Ok(()) }
}

fn product_cursor(cursor: &str) -> Result<(), ValidationError> {
    cursor::check_id("prd", cursor)
}

fn seller(id: &str) -> Result<(), ValidationError> {
    if is_id("usr", id) { Ok(()) } else { Err(fault("format", "must be a merchant's id, usr_...")) }
}
