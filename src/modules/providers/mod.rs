//! Outside services. An adapter builds requests, reads answers and classifies errors; it never sees the
//! database and never sends: [`crate::platform::exchange`] does.
//!
//! Invariants: a provider's secrets are fetched right before sending and never stored. What an adapter does not
//! understand is `unknown`, never a guess. Collection: `provider_accounts` (refused credentials in a row).

mod account_watch;
mod accounts;
mod attempt;
pub mod call_job;
pub mod idcheck;
mod objection;
mod outcome;
pub mod parcelx;
pub mod paygate;
mod policy;
mod reading;
mod shipment;
#[cfg(test)]
mod status_tests;
mod transport;

use async_trait::async_trait;

use crate::platform::exchange::{Answer, Credentials, Outbound};

pub use account_watch::AccountWatch;
pub use accounts::{AUTH_FAILURES_MAX, AccountStore};
pub use outcome::{Decision, Failure, Outcome, PlacedShipment, Retry, StoredFailure, Timing, job_error};
pub use policy::{Policy, not_personal, policies};
pub use shipment::{Dimensions, Item, Party, PaymentMode, ProviderName, Service, Shipment};

/// What a provider is asked to do; the names are those in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Places the order.
    Create,
    /// Takes it back.
    Cancel,
    /// Asks what became of it.
    LookUp,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 3] = [Self::Create, Self::Cancel, Self::LookUp];

    /// As in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create_order",
            Self::Cancel => "cancel_order",
            Self::LookUp => "look_up_order",
        }
    }

    /// Whether doing it twice is the same as doing it once.
    #[must_use]
    pub const fn is_safe_to_repeat(self) -> bool {
        match self {
            Self::Create => false,
            Self::Cancel | Self::LookUp => true,
        }
    }
}

/// What a provider is told of an order.
#[derive(Clone, Copy, Debug)]
pub struct OrderToPlace<'a> {
    /// Our id: the reference by which we look it up again.
    pub order_id: &'a str,
    /// The merchant's id.
    pub client_order_id: &'a str,
    /// What is to be carried.
    pub shipment: &'a Shipment,
}

/// An outside service.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// The account that is used, as in logs.
    fn account_id(&self) -> &str;

    /// Names of the headers that [`Provider::credentials`] will bring.
    fn credential_headers(&self) -> &'static [&'static str];

    /// Proof of who we are, made right before sending. `None` where it can't be had; nothing is sent then.
    async fn credentials(&self) -> Option<Credentials>;
}

/// A provider that carries orders.
pub trait Carrier: Provider {
    /// The request that places the order.
    fn create_request(&self, order: &OrderToPlace<'_>) -> Outbound;

    /// The request that cancels the shipment `awb`.
    fn cancel_request(&self, awb: &str) -> Outbound;

    /// The request that asks for an order by our reference.
    fn look_up_request(&self, order_id: &str) -> Outbound;

    /// What the answer to a create means for the order `order_id`.
    fn read_create(&self, order_id: &str, answer: &Answer) -> Outcome<PlacedShipment>;

    /// What the answer to a cancel means: done where it is cancelled, now or before.
    fn read_cancel(&self, answer: &Answer) -> Outcome<()>;

    /// What the answer to a look-up means for the order `order_id`; none is a clear "no record".
    fn read_look_up(&self, order_id: &str, answer: &Answer) -> Outcome<Option<PlacedShipment>>;
}
