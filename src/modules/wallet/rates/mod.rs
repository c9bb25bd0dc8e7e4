//! Prices of orders: versioned rate cards, and quotes for parcels and fixed fees.
//!
//! Invariants: a card is never changed; a new price is a new version. The card in force is the highest version of the
//! provider that is in effect. [`quote`] is pure, and the pricing that it gives names its card, so a price can be worked
//! out again later. A card that passed [`RateCard::check`] prices every parcel that the API lets in.
//!
//! Collection: `rate_cards`.

mod cache;
mod card;
mod cards;
mod fees;
mod http;
mod quote;
mod store;

#[cfg(test)]
mod edge_tests;
#[cfg(test)]
mod tests;

pub use cache::RateCards;
pub use card::{CodFee, RateCard, Services, SlabPrice, Zone, ZonePrices};
pub use cards::{Card, in_force, parse_card};
pub use fees::FeeCard;
pub use http::router;
pub use quote::{PricedParcel, Pricing, Quote, QuoteError, quote, zone_between};
pub use store::{COLLECTIONS, RateCardError, ensure_defaults, indexes, insert_card};
