//! Orders: taken from merchants idempotently, carried to a provider, and taken back.
//!
//! Invariants: an acknowledged order is in the database with its job and its event. One (userId, clientOrderId) is one
//! order, for ever. A create leaves for the provider only when no earlier one may have been executed: after an unclear
//! answer there is a look-up first. An order's state changes only along [`transitions::next`], in one transaction with the event
//! that says so, the logs, and the job.
//!
//! Collections: `orders`, `order_file_pieces` (sealed contents of their files). Jobs: `create-order` on `<provider>-orders-queue`, `cancel-order` on
//! `<provider>-order-cancellation-queue`. Events: `OrderCreated, OrderConfirmed, OrderFailed, OrderNeedsAttention, OrderResent,
//! OrderInProgress, OrderDelivered, CancellationRequested, OrderCancelled, CancellationRefused, CancellationNeedsAttention`.

mod attention;
mod charging;
mod commands;
mod comment;
mod erasure;
mod error;
mod file_http;
mod file_names;
mod files;
mod flow;
mod http;
mod jobs;
mod model;
mod new_order;
mod placing;
mod polling;
mod request;
mod service;
mod store;
mod tenant_http;
pub mod transitions;

#[cfg(test)]
mod attempt_tests;
#[cfg(test)]
mod charging_tests;
#[cfg(test)]
mod commands_tests;
#[cfg(test)]
mod flow_invariant_tests;
#[cfg(test)]
mod flow_tests;
#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod journey_tests;
#[cfg(test)]
mod polling_tests;
#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod retry_tests;

use std::time::Duration;

pub use attention::attention_router;
pub use charging::{HoldAction, due, is_settled};
pub use commands::{CancelOrder, CancelOrderTemplate, CreateOrder, OrderReply};
pub use comment::comment_router;
pub use erasure::{erase_pickups, erase_receiver};
pub use error::OrderError;
pub use files::{OrderFiles, PIECES, erase as erase_files, rotate};
pub use http::router;
pub use jobs::{OrderJobs, handlers};
pub use model::{CancellationStatus, ORDERS, Order, OrderStatus, ProviderSyncStatus};
pub use new_order::NewOrder;
pub use new_order::{OrderIds, OrderOrigin, PartOf};
pub use placing::{PlacementTerms, address_fault, read_order};
pub use request::PartyRequest;
pub use service::OrderService;
pub use store::{OrderFilter, OrderStore};
pub use tenant_http::tenant_router;

/// Kind of the jobs that place orders.
pub const CREATE_KIND: &str = "create-order";
/// Kind of the jobs that take them back.
pub const CANCEL_KIND: &str = "cancel-order";
/// An absence in a look-up counts only this long after the create was sent: the provider may still be at it.
pub const SETTLING_DELAY: Duration = Duration::from_secs(5);
