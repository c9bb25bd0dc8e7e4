//! Fulfilment of paid checkouts: a sale in the merchant's ERP, and a parcel at its carrier, as the merchant has set up. Each is an
//! order of the merchant's like any other.
//!
//! Invariants: of each part there is at most one order that lives, in the transaction that links it both ways: the checkout names the
//! order, the order the checkout. What a part is at follows from its order as it stands, not from the event that brings the news, so
//! events may come twice and in any order. What was, or may have been, placed is never placed twice: another order takes the place of
//! one that came to nothing, which is not sent again then.

mod cancellation;
mod compose;
mod follow;
mod http;
mod parts;
mod retry;
mod send;
mod settings;
mod settle;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_world;

pub use follow::FollowOrders;
pub use http::router;
pub use parts::{Part, PartFailure, PartKind, PartStatus};
pub use settings::FULFILMENT;

pub(super) use cancellation::{TakenBack, take_back};
pub(super) use retry::FulfilAgain;
pub(super) use send::Fulfil;
pub(super) use settings::{FulfilmentSettings, SetUp};
