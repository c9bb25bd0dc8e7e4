//! Analytics: what orders and checkouts came to, by day, merchant and provider, counted from events as they are relayed.
//!
//! Invariant: each event is counted once, in the transaction that takes it from the outbox, and counting all events anew comes to
//! the same numbers. Collections: `analytics_daily`, and `analytics_recent` while they are counted anew. They hold ids and sums,
//! nothing personal; neither sealed nor purged.

mod count;
mod http;
mod rebuild;
mod store;

pub use self::{
    http::{AnalyticsReader, router},
    rebuild::{RebuildError, Rebuilt, rebuild},
    store::{Analytics, COLLECTIONS, indexes},
};
