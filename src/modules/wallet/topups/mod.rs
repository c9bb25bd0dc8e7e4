//! Payments through a payment gateway: top-ups, which fill the user's wallet, and payments for checkouts. One record, one way: how
//! they are started, told of, looked up and given back differs in nothing but who gets the money ([`Payee`]).
//!
//! Invariants: one (userId, clientTopupId) is one top-up, for ever. The gateway knows a top-up by its id, which is its
//! idempotency key, so a start is safe to repeat. A paid top-up is credited exactly once, however often and in whatever
//! order the gateway tells of it: the ledger's reference (topup, id, payment) is booked once. Nothing of a callback is
//! believed before its signature, and one event is taken once (provider, eventId). A top-up's status changes only along
//! [`transitions::next`], in one transaction with the event that says so, the logs, and the job. Money that came but could
//! not be credited as it was asked for is disputed: no automatism touches that top-up any more, because a person may have
//! booked it by hand. Nothing is ever deleted.
//!
//! The effect of a payment on a checkout is in the payment's own transaction, so neither is ahead of the other. All of a payment can be
//! given back to its payer, once; money that leaves is looked up before it is asked for again, though asking is idempotent.
//!
//! A top-up whose time is over is looked up until the gateway says what came of it, and once more a day later. Another
//! payment for a paid top-up is disputed too.
//!
//! Collections: `topups` (payments for checkouts too), `open_topups` (what customers who are not verified may still pay),
//! `payment_callbacks`. Jobs, on `payments-queue`: `start-payment`, `check-payment`, which looks a payment up when its time is over,
//! and `refund-payment`. Events: `TopupRequested, TopupStarted, TopupPaid, TopupFailed, TopupExpired, TopupNeedsAttention,
//! TopupRetried`; of payments for checkouts `PaymentRequested` and so on, and `PaymentRefundRequested, PaymentRefunded,
//! PaymentRefundNeedsAttention`.

mod callback;
mod commands;
mod error;
mod flow;
mod http;
mod jobs;
mod model;
mod payee;
mod refunds;
mod service;
mod store;
pub mod transitions;
mod webhook;

#[cfg(test)]
mod attempt_tests;
#[cfg(test)]
mod callback_tests;
#[cfg(test)]
mod commands_tests;
#[cfg(test)]
mod flow_tests;
#[cfg(test)]
mod refunds_tests;

pub use commands::{CheckoutToPay, PaymentSettings, begin_for_checkout, begin_refund, drop_payment, request_refund};
pub use error::{CallbackError, TopupError};
pub use http::router;
pub use jobs::{TopupJobs, handlers};
pub use model::{CALLBACKS, CallbackOutcome, Refund, RefundStatus, TOPUPS, Topup, TopupStatus};
pub use payee::{Payee, Payees};
pub use service::{NewTopup, TopupService};
pub use store::TopupStore;
pub use webhook::router as webhook_router;

/// Starts payments and looks them up.
pub const PAYMENTS_QUEUE: &str = "payments-queue";
pub const START_KIND: &str = "start-payment";
/// Kind of the jobs that look at a payment when its time is over.
pub const CHECK_KIND: &str = "check-payment";
/// Kind of the jobs that give payments back.
pub const REFUND_KIND: &str = "refund-payment";
