//! Checkouts: products are bought, all of a cart or none of it.
//!
//! Invariants: (userId, clientOrderId) is one checkout, for ever. A checkout, the stock that it takes, its money, its events and its
//! job are in one transaction, which has read the products: no more is sold than is there, at the price that the same snapshot shows.
//! An external payment pays one checkout of its seller, ever. A checkout is cancelled once: its stock comes back once, and its money
//! goes back once. Its state changes only along [`transitions::next`], with an event. What a payment at the gateway does to it is in
//! that payment's transaction: it is paid once, and money that comes after its end goes back to the payer.
//!
//! Buyers: a customer, with the own wallet or at the gateway; or a merchant's own server, for a customer that it names, who has paid
//! elsewhere or pays at the gateway.
//!
//! Products that others bought too are recommended (`recommendations/`). Customers' profiles (`customers.rs`) are theirs
//! alone.
//!
//! Collections: `checkouts`, `customers`, `fulfilment_settings`. Jobs: `fulfil-checkout` on `checkouts-queue`; payments and refunds are
//! `wallet::topups`'. Events: `CheckoutCreated, CheckoutPaid, CheckoutPaymentFailed, CheckoutPaidLate, CheckoutRefunded,
//! CheckoutCompleted, CheckoutNeedsAttention, CheckoutResumed, CheckoutCancellationRequested, CheckoutCancellationRefused,
//! CheckoutCancelled`; they belong to the seller.

mod commands;
mod customers;
mod customers_http;
mod erasure;
mod error;
mod events;
mod fulfilment;
mod gateway;
mod http;
mod jobs;
mod model;
mod recommendations;
mod requests;
mod reversal;
mod service;
mod store;
pub mod transitions;

#[cfg(test)]
mod gateway_tests;

use utoipa_axum::router::OpenApiRouter;

pub use customers::erase_profile;
pub use erasure::{erase, orders_of};
pub use error::{CheckoutError, Shortage};
pub use fulfilment::{FULFILMENT, FollowOrders, Part, PartFailure, PartKind, PartStatus, router as fulfilment_router};
pub use gateway::CheckoutPayments;
pub use jobs::{FulfilCheckouts, queue};
pub use model::{
    CHECKOUTS, CHECKOUTS_QUEUE, Checkout, CheckoutCancellation, CheckoutCancellationStatus, CheckoutItem,
    CheckoutStatus, FULFIL_KIND, PaymentMethod, PaymentStatus, Priority,
};
pub use recommendations::{ForgetRecommendations, Recommendations, router as recommendations_router};
pub use service::CheckoutService;
pub use store::{CheckoutOwner, CheckoutStore};

pub fn router(service: CheckoutService) -> OpenApiRouter {
    http::router().merge(customers_http::router()).with_state(service)
}
