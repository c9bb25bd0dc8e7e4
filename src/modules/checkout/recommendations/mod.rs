//! Recommendations: what others who bought the same have bought too.
//!
//! A buyer is a customer with an account: a merchant's server that checks out for customers that it names counts for nobody, because its
//! account stands for many people. Recommended is what at least two other buyers have bought who also bought something of the caller's;
//! what was given back does not count, and who bought it is told to nobody. Everything is read from checkouts and the ledger of stock along
//! their indexes, so much of it and no more, however much the caller or the others have bought: the latest purchases decide. What the caller
//! ever asked for is left out at every answer, whatever the cache holds.

mod cache;
mod finding;
mod http;

pub use self::{cache::ForgetRecommendations, finding::Recommendations, http::router};
