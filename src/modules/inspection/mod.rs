//! What operators look at and act on: the routes of `/queues`.
//!
//! Invariants: administrators only. A job is run again only if its subject allows it, decided in the transaction that
//! revives it; only what has ended can be deleted.

mod queues;

pub use queues::{QueueBoard, queue_router};
