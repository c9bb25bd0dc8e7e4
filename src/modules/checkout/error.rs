//! How a use case of checkouts may fail.

use serde::Serialize;

use super::{fulfilment::PartKind, model::CheckoutStatus};
use crate::{
    modules::wallet::LedgerRefusal,
    platform::{
        batch::LaneError,
        error::{AppError, ErrorKind, FieldError},
    },
};

/// A product of which there is too little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortage {
    pub product_id: String,
    /// Pieces that all lines together ask for.
    pub requested: i64,
    pub available: i64,
}

/// Each variant is a decision for the caller.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The id stands for another checkout: use a new one.
    #[error("the clientOrderId stands for another checkout")]
    IdempotencyMismatch,
    /// Some lines can't be bought, or not together: each is named.
    #[error("some lines can't be bought")]
    Cart(Vec<FieldError>),
    /// There is too little of some products; nothing was taken.
    #[error("out of stock")]
    OutOfStock(Vec<Shortage>),
    /// The merchant may not sell.
    #[error("the seller is not verified")]
    SellerNotVerified,
    /// The wallet has too little, or can't take the money back.
    #[error(transparent)]
    Unpaid(#[from] LedgerRefusal),
    /// The external payment has paid another checkout.
    #[error("the payment was used")]
    PaymentUsed,
    /// The caller can't use this payment method.
    #[error("this is not a way to pay here")]
    Method(FieldError),
    #[error("no payment gateway is configured")]
    NoGateway,
    /// Absent, or somebody else's.
    #[error("there is no such checkout")]
    NotFound,
    /// It can't be taken back in this status.
    #[error("it can't be cancelled in the status {}", .0.as_str())]
    NotCancellable(CheckoutStatus),
    /// A part of it can't be taken back any more; nothing was.
    #[error("its {} part can't be taken back", .0.as_str())]
    PartStays(PartKind),
    /// Nothing of it can be sent in this status.
    #[error("nothing can be sent in the status {}", .0.as_str())]
    NotFulfillable(CheckoutStatus),
    /// No part of it came to nothing.
    #[error("there is nothing to send again")]
    NothingToFulfil,
    /// Too many orders were made for a part.
    #[error("too many orders were made")]
    TooManyOrders,
    /// There would be more of a product than anybody has.
    #[error("the stock would be too large")]
    StockFull,
    /// Unique indexes are missing. Run `waybill migrate`.
    #[error("required indexes are missing")]
    NotReady,
    /// The batch lane could not carry it out.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
}

impl From<CheckoutError> for AppError {
    fn from(error: CheckoutError) -> Self {
        let conflict = |code, detail: &'static str| Self::new(ErrorKind::Conflict, code, detail);
        match error {
            CheckoutError::IdempotencyMismatch => Self::new(
                ErrorKind::Invalid,
                "checkout.idempotency_mismatch",
                "This clientOrderId was used for a checkout with another content; use a new one for a new checkout.",
            ),
            CheckoutError::Cart(fields) => Self::invalid(fields),
            CheckoutError::OutOfStock(items) => {
                conflict("checkout.out_of_stock", "There is too little of some products; nothing was taken.")
                    .with("items", items)
            }
            CheckoutError::SellerNotVerified => {
                conflict("checkout.seller_not_verified", "The merchant can't sell at the moment.")
            }
            CheckoutError::Unpaid(refusal) => refusal.into(),
            CheckoutError::PaymentUsed => {
                conflict("checkout.payment_used", "This paymentId has paid another checkout; a payment pays once.")
            }
            CheckoutError::Method(field) => Self::invalid(vec![field]),
            CheckoutError::NoGateway => Self::new(
                ErrorKind::Invalid,
                "checkout.gateway_not_available",
                "No payment gateway is configured here; pay in another way.",
            ),
            CheckoutError::NotFound => {
                Self::new(ErrorKind::NotFound, "checkout.not_found", "There is no such checkout.")
            }
            CheckoutError::NotCancellable(status) => Self::new(
                ErrorKind::Conflict,
                "checkout.not_cancellable",
                format!("A checkout in the status {} can't be cancelled.", status.as_str()),
            ),
            CheckoutError::PartStays(kind) => Self::new(
                ErrorKind::Conflict,
                "checkout.not_cancellable",
                format!("Its {} part can't be taken back any more; nothing was.", kind.as_str()),
            ),
            CheckoutError::NotFulfillable(status) => Self::new(
                ErrorKind::Conflict,
                "checkout.not_fulfillable",
                format!("Nothing of a checkout in the status {} can be sent again.", status.as_str()),
            ),
            CheckoutError::NothingToFulfil => conflict(
                "checkout.nothing_to_fulfil",
                "Whether the provider has the order is not known; an operator finds out.",
            ),
            CheckoutError::TooManyOrders => {
                conflict("checkout.too_many_orders", "Too many orders were made for it already.")
            }
            CheckoutError::StockFull => {
                conflict("checkout.stock_full", "The merchant's stock can't take the goods back; ask the merchant.")
            }
            CheckoutError::NotReady => Self::not_migrated(),
            CheckoutError::Lane(error) => error.into(),
            CheckoutError::Database(error) => error.into(),
        }
    }
}
