//! What an answer means, in our words.

use std::time::Duration;

use crate::platform::scrub::scrub;

/// A shipment that exists at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedShipment {
    /// Air waybill number: the provider's name for it.
    pub awb: String,
    /// Who carries it.
    pub courier_name: Option<String>,
    /// The provider's order number.
    pub provider_order_id: Option<String>,
    /// It exists, but as a cancelled one.
    pub cancelled: bool,
}

/// What went wrong, for logs and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `provider.refused`, ...
    pub code: &'static str,
    /// What the provider said, or what happened; at most 300 characters.
    pub message: String,
}

impl Failure {
    /// Names what went wrong; the message is scrubbed, see [`scrub`].
    pub fn new(code: &'static str, message: impl AsRef<str>) -> Self {
        Self { code, message: scrub(message.as_ref()) }
    }
}

/// How an operation that may be repeated is to be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// After backoff; the attempt is used up.
    Counted,
    /// Not connected: after backoff; no attempt is used up.
    NotConnected,
    /// Throttled: not before this long, for the whole account; no attempt is used up.
    Throttled(Duration),
}

/// What became of a create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// Accepted; the answer is about our order.
    Placed(PlacedShipment),
    /// Provably not executed.
    Retryable(Failure, Repeat),
    /// It may have been executed.
    Unknown(Failure),
    /// Refused for good.
    Refused(Failure),
    /// Our credentials were refused.
    Unauthorized(Failure),
}

/// What became of a cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// Cancelled now or before.
    Cancelled,
    /// Not known or not done; asking again is safe.
    Retryable(Failure, Repeat),
    /// Refused for good: picked up, unknown there.
    Refused(Failure),
    /// Our credentials were refused.
    Unauthorized(Failure),
}

/// What a look-up says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookUpOutcome {
    /// It exists.
    Found(PlacedShipment),
    /// A clear "no record".
    Absent,
    /// The look-up itself failed and says nothing about the order.
    Failed(Failure, Repeat),
    /// Our credentials were refused.
    Unauthorized(Failure),
}
