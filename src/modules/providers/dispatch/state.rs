//! State of an account: its breaker, its throttle, and the probe that tries whether its provider is back. Pure.

use std::time::Duration;

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::clock::after;

/// A breaker opens when calls about so many different subjects failed, with no success in between: one poisonous order, sent
/// again and again, opens nothing.
const FAILURES_MAX: usize = 3;
/// Wait before the first probe of an open breaker.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest wait between two probes.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15);
/// A breaker that opens again so soon after it closed goes on with the waits it had.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// State of a breaker, as shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls are made.
    #[default]
    Closed,
    /// No calls are made.
    Open,
    /// One call is made, to see whether the provider is back.
    HalfOpen,
}

/// Reason for which a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerReason {
    /// Calls were not answered, or by a broken server.
    Unreachable,
    /// The account's credentials were refused; only a person closes it.
    Credentials,
}

/// Stops calls while they would be in vain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Breaker {
    /// Closed or open.
    pub state: BreakerState,
    /// Why it is open.
    pub reason: Option<BreakerReason>,
    /// Counts how often it was closed. Answers to calls of an earlier period change nothing.
    pub epoch: i64,
    /// Different subjects whose calls failed since the last success.
    pub failures: Vec<String>,
    pub opened_at: Option<DateTime>,
    pub closed_at: Option<DateTime>,
    /// When the next probe may be made; none where a person has to close it.
    pub retry_at: Option<DateTime>,
    /// How often it has opened in a row.
    pub tries: i32,
}

/// The right to try whether the provider is back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Token of the probe whose answer counts.
    pub token: String,
    /// Until then.
    pub until: DateTime,
}

/// The state of an account, shared by all workers. Places and send times stand in the same document; only the database
/// changes those, see [`super::room`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountState {
    #[serde(rename = "_id")]
    pub account_id: String,
    /// Counts changes of what is in here.
    pub revision: i64,
    /// Whether calls are made.
    pub breaker: Breaker,
    /// No calls until then. It stays until a probe has been answered.
    pub throttled_until: Option<DateTime>,
    /// The probe that tries whether the provider is back.
    pub probe: Option<Probe>,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<DateTime>,
}

/// Whether an account takes jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// As many as it has room for.
    Free,
    Probe,
    /// None.
    Away,
}

/// A sign of an account's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HealthSignal {
    /// The provider is there and answers.
    Alive,
    /// It can't be reached, or is broken.
    Fault,
    /// It refuses the credentials.
    Refused,
    /// It wants no calls until then.
    Throttled(DateTime),
    /// Nothing.
    Other,
}

/// The call that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnsweredCall<'a> {
    pub(super) epoch: i64,
    pub(super) probe: Option<&'a str>,
    pub(super) subject_id: &'a str,
}

/// Change of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerChange {
    None,
    Opened(BreakerReason),
    Closed,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.state != BreakerState::Closed
    }
}

impl AccountState {
    /// Nothing is known of this account.
    pub(super) fn of(account_id: &str) -> Self {
        Self { account_id: account_id.to_owned(), ..Self::default() }
    }

    /// As operators see it.
    #[must_use]
    pub fn shown(&self, now: DateTime) -> BreakerState {
        if !self.breaker.is_open() {
            BreakerState::Closed
        } else if self.availability(now) == Availability::Probe || self.is_probed(now) {
            BreakerState::HalfOpen
        } else {
            BreakerState::Open
        }
    }

    fn is_probed(&self, now: DateTime) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.until > now)
    }

    pub(super) fn availability(&self, now: DateTime) -> Availability {
        let not_before = if self.breaker.is_open() {
            self.breaker.retry_at.unwrap_or(DateTime::MAX)
        } else {
            match self.throttled_until {
                None => return Availability::Free,
                Some(until) => until,
            }
        };
        if not_before <= now && !self.is_probed(now) { Availability::Probe } else { Availability::Away }
    }

    /// Takes the right to probe; whether it was to be had.
    pub(super) fn begin_probe(&mut self, token: &str, now: DateTime, until: DateTime) -> bool {
        let is_due = self.availability(now) == Availability::Probe;
        if is_due {
            self.probe = Some(Probe { token: token.to_owned(), until });
        }
        is_due
    }

    /// The probe made no call: somebody else may.
    pub(super) fn drop_probe(&mut self, token: &str) {
        self.probe.take_if(|probe| probe.token == token);
    }

    pub(super) fn heed(&mut self, call: AnsweredCall<'_>, sign: HealthSignal, now: DateTime) -> BreakerChange {
        let was_open = self.breaker.is_open();
        let probes = match (call.probe, &self.probe) {
            (None, _) => false,
            (Some(token), Some(probe)) if probe.token == token => true,
            // It took longer than it had.
            (Some(_), _) => return BreakerChange::None,
        };
        if call.epoch != self.breaker.epoch {
            return BreakerChange::None;
        }
        if probes {
            self.probe = None;
            self.throttled_until = None;
        }
        match sign {
            HealthSignal::Refused if self.breaker.reason == Some(BreakerReason::Credentials) => BreakerChange::None,
            HealthSignal::Refused => self.open(BreakerReason::Credentials, now),
            HealthSignal::Throttled(until) => {
                self.throttled_until = self.throttled_until.max(Some(until));
                if probes && was_open { self.close(now) } else { BreakerChange::None }
            }
            HealthSignal::Fault | HealthSignal::Other if probes && was_open => {
                self.open(BreakerReason::Unreachable, now)
            }
            HealthSignal::Fault if !was_open => self.fail(call.subject_id, now),
            HealthSignal::Alive if probes && was_open => self.close(now),
            HealthSignal::Alive if !was_open => {
                self.breaker.failures.clear();
                BreakerChange::None
            }
            HealthSignal::Fault | HealthSignal::Alive | HealthSignal::Other => BreakerChange::None,
        }
    }

    fn fail(&mut self, subject_id: &str, now: DateTime) -> BreakerChange {
        let failures = &mut self.breaker.failures;
        if failures.iter().all(|known| known != subject_id) {
            failures.push(subject_id.to_owned());
        }
        if failures.len() < FAILURES_MAX { BreakerChange::None } else { self.open(BreakerReason::Unreachable, now) }
    }

    fn open(&mut self, reason: BreakerReason, now: DateTime) -> BreakerChange {
        let breaker = &mut self.breaker;
        let goes_on = breaker.is_open() || breaker.closed_at.is_some_and(|at| after(at, AGAIN_WITHIN) > now);
        breaker.tries = if goes_on { breaker.tries.saturating_add(1) } else { 1 };
        let doublings = (breaker.tries - 1).clamp(0, 10).unsigned_abs();
        let wait = RETRY_AFTER.saturating_mul(1 << doublings).min(RETRY_AFTER_MAX);
        breaker.retry_at = (reason != BreakerReason::Credentials).then(|| after(now, wait));
        let change = if breaker.reason == Some(reason) { BreakerChange::None } else { BreakerChange::Opened(reason) };
        if !breaker.is_open() {
            breaker.opened_at = Some(now);
        }
        breaker.state = BreakerState::Open;
        breaker.reason = Some(reason);
        breaker.failures.clear();
        self.probe = None;
        change
    }

    fn close(&mut self, now: DateTime) -> BreakerChange {
        let breaker = &mut self.breaker;
        breaker.state = BreakerState::Closed;
        breaker.reason = None;
        breaker.epoch += 1;
        breaker.failures.clear();
        breaker.closed_at = Some(now);
        breaker.retry_at = None;
        self.probe = None;
        BreakerChange::Closed
    }

    /// A person lets it go on: nothing of what was learned before holds any more.
    pub(super) fn resume(&mut self, now: DateTime) {
        let _ = self.close(now);
        self.breaker.tries = 0;
        self.breaker.closed_at = None;
        self.breaker.opened_at = None;
        self.throttled_until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime {
        DateTime::from_millis(ms)
    }

    fn call(subject_id: &str, epoch: i64) -> AnsweredCall<'_> {
        AnsweredCall { epoch, probe: None, subject_id }
    }

    fn probe(epoch: i64) -> AnsweredCall<'static> {
        AnsweredCall { epoch, probe: Some("token"), subject_id: "probed" }
    }

    fn open_at_0() -> AccountState {
        let mut state = AccountState::of("a");
        let changes = ["x", "y", "z"].map(|subject| state.heed(call(subject, 0), HealthSignal::Fault, at(0)));
        assert_eq!(changes[2], BreakerChange::Opened(BreakerReason::Unreachable));
        state
    }

    #[test]
    fn three_different_subjects_open_it_and_one_poisonous_order_does_not() {
        let mut state = AccountState::of("a");
        for _ in 0..10 {
            assert_eq!(state.heed(call("poison", 0), HealthSignal::Fault, at(0)), BreakerChange::None);
        }
        state.heed(call("another", 0), HealthSignal::Fault, at(0));
        assert_eq!(state.availability(at(0)), Availability::Free);
        state.heed(call("well", 0), HealthSignal::Alive, at(0));
        assert!(state.breaker.failures.is_empty(), "a success begins anew");
        state.heed(call("poison", 0), HealthSignal::Fault, at(0));
        state.heed(call("another", 0), HealthSignal::Other, at(0));
        state.heed(call("third", 0), HealthSignal::Fault, at(0));
        assert_eq!(state.availability(at(0)), Availability::Free);
        let state = open_at_0();
        assert_eq!((state.availability(at(999)), state.shown(at(999))), (Availability::Away, BreakerState::Open));
        assert_eq!(
            (state.availability(at(1_000)), state.shown(at(1_000))),
            (Availability::Probe, BreakerState::HalfOpen)
        );
    }

    #[test]
    fn one_probe_at_a_time_closes_it_or_waits_for_longer() {
        let mut state = open_at_0();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..6 {
            let retry_at = state.breaker.retry_at.expect("a next probe").timestamp_millis();
            waits.push((retry_at - now) / 1_000);
            now = retry_at;
            assert!(state.begin_probe("token", at(now), at(now + 5_000)));
            assert!(!state.begin_probe("second", at(now), at(now + 5_000)), "one at a time");
            assert_eq!(state.shown(at(now)), BreakerState::HalfOpen);
            assert_eq!(state.heed(probe(0), HealthSignal::Fault, at(now)), BreakerChange::None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
        now += 15_000;
        assert!(state.begin_probe("token", at(now), at(now + 5_000)));
        assert_eq!(
            state.heed(call("late", 0), HealthSignal::Alive, at(now)),
            BreakerChange::None,
            "an answer from before it opened"
        );
        assert_eq!(state.heed(probe(0), HealthSignal::Alive, at(now)), BreakerChange::Closed);
        assert_eq!((state.availability(at(now)), state.breaker.epoch), (Availability::Free, 1));
        for subject in ["x", "y", "z"] {
            assert_eq!(
                state.heed(call(subject, 0), HealthSignal::Fault, at(now)),
                BreakerChange::None,
                "from before it closed"
            );
        }
        for subject in ["x", "y", "z"] {
            state.heed(call(subject, 1), HealthSignal::Fault, at(now));
        }
        assert_eq!(state.breaker.retry_at, Some(at(now + 15_000)), "it had hardly closed");
    }

    #[test]
    fn a_probe_whose_worker_died_makes_way_and_its_late_answer_says_nothing() {
        let mut state = open_at_0();
        assert!(state.begin_probe("token", at(1_000), at(6_000)));
        assert!(!state.begin_probe("second", at(5_999), at(9_000)));
        assert!(state.begin_probe("second", at(6_000), at(11_000)));
        assert_eq!(state.heed(probe(0), HealthSignal::Alive, at(6_001)), BreakerChange::None);
        state.drop_probe("token");
        assert!(state.probe.is_some(), "another's");
        state.drop_probe("second");
        assert_eq!(state.availability(at(6_002)), Availability::Probe);
    }

    #[test]
    fn refused_credentials_open_the_breaker_until_a_person_closes_it() {
        let mut state = AccountState::of("a");
        let refused = BreakerChange::Opened(BreakerReason::Credentials);
        assert_eq!(state.heed(call("x", 0), HealthSignal::Refused, at(0)), refused);
        assert_eq!(state.heed(call("y", 0), HealthSignal::Refused, at(0)), BreakerChange::None, "it was under way");
        assert_eq!(state.availability(at(i64::MAX / 2)), Availability::Away);
        state.resume(at(10));
        assert_eq!(
            state.heed(call("z", 0), HealthSignal::Refused, at(11)),
            BreakerChange::None,
            "asked before the resume"
        );
        assert_eq!(state.heed(call("z", 1), HealthSignal::Refused, at(11)), refused, "again after the resume");
        let mut away = open_at_0();
        assert_eq!(away.heed(call("x", 0), HealthSignal::Refused, at(0)), refused, "though it was open");
    }

    #[test]
    fn a_throttle_ends_with_one_probe() {
        let mut state = AccountState::of("a");
        state.heed(call("x", 0), HealthSignal::Throttled(at(5_000)), at(0));
        state.heed(call("y", 0), HealthSignal::Throttled(at(3_000)), at(0));
        state.heed(call("z", 0), HealthSignal::Alive, at(0));
        assert_eq!((state.availability(at(4_999)), state.shown(at(0))), (Availability::Away, BreakerState::Closed));
        assert!(state.begin_probe("token", at(5_000), at(9_000)));
        assert_eq!(state.availability(at(5_000)), Availability::Away);
        state.heed(probe(0), HealthSignal::Throttled(at(8_000)), at(5_100));
        assert_eq!(state.availability(at(7_999)), Availability::Away);
        assert!(state.begin_probe("token", at(8_000), at(9_000)));
        state.heed(probe(0), HealthSignal::Alive, at(8_100));
        assert_eq!(state.availability(at(8_100)), Availability::Free);
        let mut state = open_at_0();
        assert!(state.begin_probe("token", at(1_000), at(6_000)));
        assert_eq!(
            state.heed(probe(0), HealthSignal::Throttled(at(9_000)), at(1_100)),
            BreakerChange::Closed,
            "it is back"
        );
        assert_eq!(state.availability(at(8_999)), Availability::Away);
    }

    #[test]
    fn a_resume_leaves_nothing() {
        let mut state = open_at_0();
        state.heed(call("x", 0), HealthSignal::Throttled(at(3_600_000)), at(0));
        state.resume(at(5));
        let epoch_1 = Breaker { epoch: 1, ..Breaker::default() };
        assert_eq!(state, AccountState { breaker: epoch_1, ..AccountState::of("a") });
    }
}
