//! The platform under all modules: no business words here.
//!
//! `error` and `http` are the edge, `identity` says who is asking, `mongo` and `redis` are the two
//! stores, `batch` is group commit, `exchange` is the only outbound HTTP client, and the rest are
//! small tools. Nothing in here knows an order, a wallet or a carrier.

pub mod batch;
pub mod cells;
pub mod clock;
pub mod crash;
pub mod differences;
pub mod erased;
pub mod error;
pub mod exchange;
pub mod http;
pub mod identity;
pub mod ids;
pub mod india;
pub mod json;
pub mod kept_secret;
pub mod metrics;
pub mod money;
pub mod mongo;
pub mod open_files;
pub mod orphans;
pub mod process_metrics;
pub mod rate_limit;
pub mod redis;
pub mod rewrap;
pub mod scrub;
pub mod sealing;
pub mod secret;
pub mod singleton;
pub mod state_table;
pub mod text;
pub mod traces;
pub mod walk;
