//! Payments for top-ups of wallets and for checkouts, in our own words, and what a payment gateway's adapter has to do.
//!
//! A payment is started under our reference, which is the gateway's idempotency key: starting it again is the same as starting
//! it once. So is giving it back, under a reference of its own.

use std::fmt;

use bson::DateTime;
use thiserror::Error;

use super::{Outcome, Provider};
use crate::platform::{
    exchange::{Answer, Outbound},
    money::Money,
};

pub const START_PAYMENT: &str = "start_payment";
/// Asks for a payment by our reference; as in logs.
pub const LOOK_UP_PAYMENT: &str = "look_up_payment";
/// Gives a payment back to its payer; as in logs.
pub const REFUND_PAYMENT: &str = "refund_payment";
/// Asks for a refund by our reference; as in logs.
pub const LOOK_UP_REFUND: &str = "look_up_refund";

/// A payment as it is sent to the gateway.
#[derive(Clone, Copy, Debug)]
pub struct PaymentToStart<'a> {
    /// Our id: its idempotency key, and the name by which we look it up again.
    pub reference: &'a str,
    pub amount: Money,
    /// Description for the payer; cut after 200 characters.
    pub description: &'a str,
    /// From then on it can't be paid any more.
    pub expires_at: DateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayPaymentStatus {
    /// Waits for the payer.
    Created,
    /// The gateway has the money.
    Paid,
    /// The payer tried in vain.
    Failed,
    /// Nobody paid in time.
    Expired,
    /// A word that we don't know.
    Unknown,
}

/// A payment that exists at the gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewayPayment {
    /// The gateway's name for it.
    pub payment_id: String,
    pub status: GatewayPaymentStatus,
    pub amount: Money,
    /// The page on which it is paid, where the gateway names one that a browser may be sent to.
    pub payment_url: Option<String>,
}

/// Without the page's address, so that no log line can hold it.
impl fmt::Debug for GatewayPayment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payment")
            .field("payment_id", &self.payment_id)
            .field("status", &self.status)
            .field("amount", &self.amount)
            .field("payment_url", &self.payment_url.as_ref().map(|_| "[capability]"))
            .finish()
    }
}

/// A refund as it is sent to the gateway.
#[derive(Clone, Copy, Debug)]
pub struct RefundToSend<'a> {
    /// Our id: its idempotency key, and the name by which we look it up again.
    pub reference: &'a str,
    /// The gateway's name for the payment.
    pub payment_id: &'a str,
    pub amount: Money,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayRefundStatus {
    /// The money is on its way.
    Pending,
    /// The payer has the money.
    Refunded,
    /// The payer's bank did not take it: the gateway has the money still.
    Failed,
    /// A word that we don't know.
    Unknown,
}

/// A refund that exists at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRefund {
    /// The gateway's name for it.
    pub refund_id: String,
    pub status: GatewayRefundStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackKind {
    /// `payment.paid`
    Paid,
    /// `payment.failed`
    Failed,
    /// A word that we don't know: acknowledge it, do nothing.
    Unknown,
}

/// A callback that the gateway signed just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The gateway's id of the event: the same when it tells the same again.
    pub event_id: String,
    pub kind: CallbackKind,
    pub reference: String,
    /// The payment as of then. Its amount is what the gateway says; that it is ours is for the caller to check.
    pub payment: GatewayPayment,
}

/// Why a callback is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CallbackRefused {
    /// There is no signature, or not one in the agreed form.
    #[error("the callback is not signed")]
    Unsigned,
    /// The gateway did not sign this body.
    #[error("the callback's signature is wrong")]
    BadSignature,
    /// It was signed too long ago, or in the future.
    #[error("the callback's time is off")]
    Stale,
    /// The gateway signed it, but this part of it can't be used.
    #[error("the callback can't be read: {0}")]
    Unreadable(&'static str),
}

pub trait PaymentGateway: Provider + fmt::Debug {
    /// The request that starts a payment, or finds the one that was started before.
    fn start_request(&self, payment: &PaymentToStart<'_>) -> Outbound;

    /// The request that asks for a payment by our reference.
    fn look_up_request(&self, reference: &str) -> Outbound;

    /// Reads the answer to a start of the payment of `amount` under `reference`: done where it exists, now or
    /// since an earlier start.
    fn read_start(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<GatewayPayment>;

    /// Reads the answer to a look-up of the payment of `amount` under `reference`; none is a clear "no such
    /// payment".
    fn read_look_up(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<Option<GatewayPayment>>;

    /// The request that gives a payment back, or finds that it was given back before.
    fn refund_request(&self, refund: &RefundToSend<'_>) -> Outbound;

    /// The request that asks for a refund by our reference.
    fn look_up_refund_request(&self, reference: &str) -> Outbound;

    /// Reads the answer to a refund of `amount` under `reference`: done where it exists, now or since an earlier request.
    fn read_refund(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<GatewayRefund>;

    /// Reads the answer to a look-up of a refund; none is a clear "no such refund".
    fn read_refund_look_up(&self, reference: &str, amount: Money, answer: &Answer) -> Outcome<Option<GatewayRefund>>;

    /// Reads a callback, if the gateway sent it just now. `signature` is its header of that,
    /// `body` what came, byte by byte.
    ///
    /// # Errors
    /// Why it is not believed or not understood. Only [`CallbackRefused::Unreadable`] was signed by the gateway.
    fn verify_callback(&self, signature: Option<&str>, body: &[u8], now_ms: i64) -> Result<Callback, CallbackRefused>;

    /// The header that carries the signature of a callback.
    fn signature_header(&self) -> &'static str;
}
