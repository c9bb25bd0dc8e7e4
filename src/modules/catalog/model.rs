//! Products and movements of their stock, as stored. Pure.

use std::collections::BTreeSet;

use bson::DateTime;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use utoipa::ToSchema;

use crate::platform::{
    batch::{Entity, Key},
    identity::Actor,
    money::{Currency, Money},
};

/// Products of merchants.
pub const PRODUCTS: &str = "products";
/// Movements of stock.
pub const MOVEMENTS: &str = "stock_movements";

/// Pieces of one product that one line of a checkout may take: as many as an order's item.
pub const QUANTITY_MAX: i64 = 10_000;
/// Pieces that there may be of one product, and that one movement may move.
pub(super) const STOCK_MAX: i64 = 1_000_000_000;
/// Words by which a product is found: those of its names first, then those of its description.
const TERMS_MAX: usize = 60;
const TERM_CHARS_MAX: usize = 40;
/// Prices in other currencies.
pub(super) const PRICES_MAX: u64 = 10;

/// Status of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProductStatus {
    /// Listed, and can be bought.
    Active,
    /// Neither; its history stays.
    Archived,
}

impl ProductStatus {
    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Archived => "archived",
        }
    }
}

/// Outer dimensions of one piece in its parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceDimensions {
    /// Centimetres.
    pub length: i32,
    /// Centimetres.
    pub width: i32,
    /// Centimetres.
    pub height: i32,
}

/// Parcel of one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PieceParcel {
    /// Grams, packed.
    pub weight_grams: i64,
    /// Outer dimensions.
    pub dimensions_cm: PieceDimensions,
}

/// Something that a merchant sells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// `prd_...`
    #[serde(rename = "_id")]
    pub id: String,
    pub seller_id: String,
    /// The tenant that the merchant belonged to when it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The merchant's article number; unique per merchant, for ever.
    pub sku: String,
    /// As shown to buyers.
    pub name: String,
    /// More words.
    pub description: Option<String>,
    /// One of the merchant's.
    pub category: Option<String>,
    pub price: Money,
    /// The same in other currencies, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<Money>,
    /// Below this there is little left; 0 is never.
    pub low_stock_at: i64,
    /// Parcel of one piece.
    pub parcel: Option<PieceParcel>,
    pub status: ProductStatus,
    /// By which it is found; see [`terms`].
    pub terms: Vec<String>,
    /// Pieces that are there: the sum of its movements.
    pub stock: i64,
    /// Movements so far.
    pub movements: i64,
    /// Whether `stock` is below `low_stock_at`.
    pub is_low: bool,
    /// Events of it so far.
    pub events: i64,
    pub created_at: DateTime,
    /// Last change of anything.
    pub updated_at: DateTime,
}

impl Product {
    /// The key of a merchant's article number.
    #[must_use]
    pub fn sku_key(seller_id: &str, sku: &str) -> Key {
        Key::unique(PRODUCTS, &["sellerId", "sku"], vec![seller_id.to_owned(), sku.to_owned()])
    }

    #[must_use]
    pub fn key(product_id: &str) -> Key {
        Key::id(PRODUCTS, product_id)
    }

    /// Price of one piece in `currency`, in minor units; none where it is not sold in it.
    #[must_use]
    pub fn price_in(&self, currency: Currency) -> Option<i64> {
        let all = std::iter::once(&self.price).chain(&self.prices);
        all.into_iter().find(|price| price.currency == currency).map(|price| price.amount)
    }

    /// The position of a further price in a currency that has one already.
    pub(super) fn second_price(&self) -> Option<usize> {
        let before = |number: usize| std::iter::once(&self.price).chain(&self.prices[..number]);
        (0..self.prices.len()).find(|&number| before(number).any(|it| it.currency == self.prices[number].currency))
    }

    /// Whether so many pieces may come in.
    #[must_use]
    pub fn has_room_for(&self, quantity: i64) -> bool {
        self.stock.checked_add(quantity).is_some_and(|stock| stock <= STOCK_MAX)
    }

    /// Makes what follows from the other fields agree with them.
    pub(super) fn derive(&mut self) {
        let names = [Some(&self.sku), Some(&self.name), self.category.as_ref(), self.description.as_ref()];
        self.terms = terms(names.into_iter().flatten().map(String::as_str));
        self.is_low = self.stock < self.low_stock_at;
    }
}

impl Entity for Product {
    const COLLECTION: &'static str = PRODUCTS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        vec![Self::sku_key(&self.seller_id, &self.sku)]
    }
}

/// Words of texts as they are looked for: compatibility forms and case don't count, each once, in their order.
pub(super) fn terms<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for text in texts {
        let plain: String = text.nfkc().collect::<String>().to_lowercase();
        for word in plain.split(|c: char| !c.is_alphanumeric() && !is_mark(c)).filter(|word| !word.is_empty()) {
            let word: String = word.chars().take(TERM_CHARS_MAX).collect();
            if found.len() < TERMS_MAX && seen.insert(word.clone()) {
                found.push(word);
            }
        }
    }
    found
}

/// Marks of scripts in which letters carry them, such as the vowels of Devanagari: no end of a word.
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

/// Kind of a stock movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// Goods came in.
    Receipt,
    /// A checkout took them.
    Sale,
    /// A checkout gave them back.
    Return,
    /// The merchant has counted.
    Correction,
}

impl MovementKind {
    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Sale => "sale",
            Self::Return => "return",
            Self::Correction => "correction",
        }
    }
}

/// One movement of one product. Never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockMovement {
    /// `mov_...`
    #[serde(rename = "_id")]
    pub id: String,
    pub product_id: String,
    pub seller_id: String,
    /// Its number among the product's, from 1 without gaps.
    pub seq: i64,
    pub kind: MovementKind,
    /// Pieces; above zero they came in. Never zero.
    pub delta: i64,
    /// The product's stock after it.
    pub after: i64,
    /// `client` of what the merchant moved, else `checkout`.
    pub reference_type: String,
    /// The merchant's id of it, or the checkout's, with what of it.
    pub reference_id: String,
    /// The merchant's words.
    pub reason: Option<String>,
    /// Actor of the movement.
    pub actor: Actor,
    pub at: DateTime,
}

impl StockMovement {
    /// The key of what moved a product's stock.
    #[must_use]
    pub fn reference_key(product_id: &str, kind_of_thing: &str, id: &str) -> Key {
        const FIELDS: &[&str] = &["productId", "referenceType", "referenceId"];
        Key::unique(MOVEMENTS, FIELDS, vec![product_id.to_owned(), kind_of_thing.to_owned(), id.to_owned()])
    }
}

impl Entity for StockMovement {
    const COLLECTION: &'static str = MOVEMENTS;

    fn id(&self) -> &str {
        &self.id
    }

    fn unique_keys(&self) -> Vec<Key> {
        vec![Self::reference_key(&self.product_id, &self.reference_type, &self.reference_id)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_alike_is_one_term() {
        for (text, expected) in [
            ("Rolex Submariner, ROLEX", vec!["rolex", "submariner"]),
            ("A-1/b_2", vec!["a", "1", "b", "2"]),
            ("ＷＡＴＣＨ ﬁne", vec!["watch", "fine"]),
            ("हिन्दी किताब", vec!["हिन्दी", "किताब"]),
            ("Größe", vec!["größe"]),
            (" ,;- ", vec![]),
        ] {
            assert_eq!(terms([text].into_iter()), expected, "{text}");
        }
    }

    #[test]
    fn terms_are_few_and_short() {
        let long = (0..200).map(|n| format!("{n}{}", "x".repeat(100))).collect::<Vec<_>>().join(" ");
        let found = terms([long.as_str()].into_iter());
        assert_eq!(found.len(), TERMS_MAX);
        assert!(found.iter().all(|word| word.chars().count() == TERM_CHARS_MAX));
    }
}
