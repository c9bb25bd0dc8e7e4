//! The stored parts of all calls, collected from the adapters' declarations.

use super::registry::{PAYMENT_GATEWAY, PROVIDERS, VERIFIER};
use crate::platform::exchange::Redaction;

/// The stored part of one operation of one provider.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// As in logs.
    pub provider: &'static str,
    /// As in logs.
    pub operation: &'static str,
    pub redaction: &'static Redaction,
}

#[must_use]
pub fn policies() -> Vec<Policy> {
    let orders = PROVIDERS.iter().flat_map(|provider| {
        provider.operations.iter().map(|(operation, redaction)| Policy {
            provider: provider.name,
            operation: operation.as_str(),
            redaction,
        })
    });
    let of = |provider, operations: &'static [(&'static str, &'static Redaction)]| {
        operations.iter().map(move |(operation, redaction)| Policy { provider, operation, redaction })
    };
    let payments = of(PAYMENT_GATEWAY.name, PAYMENT_GATEWAY.operations);
    let checks = of(VERIFIER.name, VERIFIER.operations);
    orders.chain(payments).chain(checks).collect()
}

/// Paths of bodies that stay when the records of such a call are erased. Of an operation that no adapter has, none.
#[must_use]
pub fn not_personal(provider: &str, operation: &str) -> &'static [&'static str] {
    let of_call = |policy: &Policy| (policy.provider, policy.operation) == (provider, operation);
    policies().into_iter().find(of_call).map_or(&[], |policy| policy.redaction.not_personal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A provider may write a name wherever it writes words.
    #[test]
    fn what_stays_when_a_record_is_erased_is_no_free_text() {
        for Policy { provider, operation, redaction } in policies() {
            let Redaction { not_personal, request, response, free_text, query: _ } = redaction;
            for path in *not_personal {
                let elsewhere = [*request, response, free_text].concat();
                assert!(!elsewhere.contains(path), "{provider} {operation}: {path} stands in two lists");
            }
        }
        assert!(not_personal("parcelx", "create_order").contains(&"order_amount"));
        assert!(not_personal("parcelx", "another").is_empty() && not_personal("another", "create_order").is_empty());
    }
}
