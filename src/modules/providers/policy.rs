//! What may be stored of calls, as the adapters themselves declare it: nothing is written down twice.

use super::{Operation, idcheck, parcelx, paygate};
use crate::platform::exchange::Redaction;

/// What may be stored of one operation of one provider.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// As in logs.
    pub provider: &'static str,
    /// As in logs.
    pub operation: &'static str,
    /// The allow-lists.
    pub redaction: &'static Redaction,
}

/// The policies of all adapters.
#[must_use]
pub fn policies() -> Vec<Policy> {
    let carrier = Operation::ALL.map(|operation| Policy {
        provider: parcelx::NAME,
        operation: operation.as_str(),
        redaction: parcelx::redaction(operation),
    });
    let payments = paygate::REDACTIONS.iter().map(|(operation, redaction)| Policy {
        provider: paygate::NAME,
        operation,
        redaction,
    });
    let checks = idcheck::CheckKind::ALL.map(|kind| Policy {
        provider: idcheck::NAME,
        operation: kind.operation(),
        redaction: idcheck::REDACTION,
    });
    carrier.into_iter().chain(payments).chain(checks).collect()
}
