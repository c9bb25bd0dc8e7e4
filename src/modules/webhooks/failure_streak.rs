//! Endpoints that fail: when calls are held back, and when it is given up. Pure.

use std::time::Duration;

use bson::DateTime;
use serde::{Deserialize, Serialize};

use crate::platform::clock::after;

/// Calls are held back once so many different deliveries have failed with no success in between: one event that an endpoint
/// can't take holds nothing back.
const FAILURES_MAX: usize = 3;
/// Wait before the first call to an endpoint that is held back.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest wait between two such calls: long enough that thousands of dead endpoints cost little.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// An endpoint to which nothing could be delivered for so long is disabled.
const FAILING_MAX: Duration = Duration::from_secs(5 * 86_400);

/// Failures of an endpoint with no success since. An endpoint that works has none, so that a success writes nothing here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureStreak {
    pub since: DateTime,
    /// Different deliveries that failed, as far as they count.
    pub deliveries: Vec<String>,
    /// Calls are held back, and then one is made; none where they are not.
    pub retry_at: Option<DateTime>,
    /// How often that one has failed.
    pub tries: i32,
}

/// Whether an attempt may call the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallPermission {
    /// Call.
    Free,
    /// Call, to see whether the endpoint is back. Nobody else does before then.
    Probe {
        /// The probe's time.
        until: DateTime,
    },
    /// Wait.
    Held,
}

/// Whether a call may be made now that takes `at_most`.
pub(super) fn call_permission(trouble: Option<&FailureStreak>, now: DateTime, at_most: Duration) -> CallPermission {
    match trouble.and_then(|trouble| trouble.retry_at) {
        None => CallPermission::Free,
        Some(at) if at <= now => CallPermission::Probe { until: after(now, at_most) },
        Some(_) => CallPermission::Held,
    }
}

/// A delivery has failed; `wait` is how long the endpoint wants to be left alone. Calls that were under way when it was decided to
/// hold back change nothing.
pub(super) fn failed(
    trouble: &mut Option<FailureStreak>,
    delivery_id: &str,
    was_probe: bool,
    wait: Option<Duration>,
    now: DateTime,
) {
    let trouble =
        trouble.get_or_insert_with(|| FailureStreak { since: now, deliveries: Vec::new(), retry_at: None, tries: 0 });
    if trouble.deliveries.len() < FAILURES_MAX && trouble.deliveries.iter().all(|known| known != delivery_id) {
        trouble.deliveries.push(delivery_id.to_owned());
    }
    let begins = trouble.retry_at.is_none() && (trouble.deliveries.len() >= FAILURES_MAX || wait.is_some());
    if begins || was_probe {
        trouble.tries = trouble.tries.saturating_add(1);
        let doublings = (trouble.tries - 1).clamp(0, 20).unsigned_abs();
        let pause = RETRY_AFTER.saturating_mul(1 << doublings).min(RETRY_AFTER_MAX);
        trouble.retry_at = Some(after(now, pause.max(wait.unwrap_or_default())));
    }
}

/// Whether an endpoint has failed for so long that it is disabled.
pub(super) fn is_failing_for_too_long(trouble: Option<&FailureStreak>, now: DateTime) -> bool {
    trouble.is_some_and(|trouble| after(trouble.since, FAILING_MAX) <= now)
}

/// Somebody wants a call to be made now: the next one is.
pub(super) fn try_now(trouble: &mut Option<FailureStreak>, now: DateTime) {
    if let Some(trouble) = trouble {
        trouble.retry_at = trouble.retry_at.map(|at| at.min(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime {
        DateTime::from_millis(ms)
    }

    #[test]
    fn only_failures_of_different_deliveries_hold_calls_back() {
        let mut trouble = None;
        for n in 0..9 {
            failed(&mut trouble, "poison", false, None, at(n));
        }
        failed(&mut trouble, "second", false, None, at(10));
        assert_eq!(call_permission(trouble.as_ref(), at(10), RETRY_AFTER), CallPermission::Free);
        failed(&mut trouble, "third", false, None, at(20));
        assert_eq!(call_permission(trouble.as_ref(), at(1_019), RETRY_AFTER), CallPermission::Held);
        assert_eq!(
            call_permission(trouble.as_ref(), at(1_020), RETRY_AFTER),
            CallPermission::Probe { until: at(2_020) }
        );
        let held = trouble.clone();
        failed(&mut trouble, "under way", false, None, at(500));
        assert_eq!(trouble, held, "what was under way changes nothing");
        try_now(&mut trouble, at(100));
        assert!(matches!(call_permission(trouble.as_ref(), at(100), RETRY_AFTER), CallPermission::Probe { .. }));
    }

    #[test]
    fn each_probe_that_fails_is_followed_by_a_longer_wait() {
        let mut trouble = None;
        for name in ["a", "b", "c"] {
            failed(&mut trouble, name, false, None, at(0));
        }
        let mut now = 0;
        let waits: Vec<_> = std::iter::repeat_with(|| {
            let retry_at = trouble.as_ref().and_then(|trouble| trouble.retry_at).expect("held").timestamp_millis();
            let wait = (retry_at - now) / 1_000;
            now = retry_at;
            failed(&mut trouble, "a", true, None, at(now));
            wait
        })
        .take(11)
        .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn an_endpoint_that_wants_to_be_left_alone_is() {
        let mut trouble = None;
        failed(&mut trouble, "a", false, Some(Duration::from_secs(60)), at(0));
        assert_eq!(call_permission(trouble.as_ref(), at(59_999), RETRY_AFTER), CallPermission::Held);
        failed(&mut trouble, "a", true, Some(Duration::from_secs(1)), at(60_000));
        assert_eq!(
            call_permission(trouble.as_ref(), at(61_999), RETRY_AFTER),
            CallPermission::Held,
            "at least the wait of the second try"
        );
    }

    #[test]
    fn after_five_days_without_a_success_it_is_given_up() {
        let mut trouble = None;
        failed(&mut trouble, "a", false, None, at(0));
        let days = |n: i64| at(n * 86_400_000);
        failed(&mut trouble, "b", false, None, days(4));
        assert!(!is_failing_for_too_long(trouble.as_ref(), at(5 * 86_400_000 - 1)));
        assert!(is_failing_for_too_long(trouble.as_ref(), days(5)));
        assert!(!is_failing_for_too_long(None, days(5)));
    }
}
