//! Health signals of accounts, and growing pauses for an account that throttles again and again.

use std::time::Duration;

use bson::DateTime;

use super::state::HealthSignal;
use crate::{
    modules::{
        providers::outcome::{Outcome, Retry},
        queue::Backoff,
    },
    platform::{
        clock::after,
        exchange::{Answer, AnswerBody, Lost, NotSent},
    },
};

/// An account that is throttled again and again waits for this long at least, whatever it is told.
const THROTTLED_AGAIN: Backoff = Backoff { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(300) };

/// Throttles in a row, as this process saw them.
#[derive(Debug)]
pub(super) struct Throttles {
    row: i32,
    until: DateTime,
}

impl Default for Throttles {
    fn default() -> Self {
        Self { row: 0, until: DateTime::MIN }
    }
}

impl Throttles {
    /// Until when to wait after an answer at `now` that asks for `told`. Answers to calls that were under way don't lengthen
    /// the row.
    fn wait(&mut self, now: DateTime, told: Duration) -> DateTime {
        self.row += i32::from(self.until <= now);
        let wait = told.max(THROTTLED_AGAIN.delay(self.row, 0.0));
        self.until = self.until.max(after(now, wait));
        after(now, wait)
    }

    /// Another answer came at `now`.
    fn end(&mut self, now: DateTime) {
        if self.until <= now {
            self.row = 0;
        }
    }

    /// The signal of an answer at `now`.
    pub(super) fn sign<T>(&mut self, answer: &Answer, outcome: &Outcome<T>, now: DateTime) -> HealthSignal {
        match (outcome, answer) {
            (Outcome::Retryable(_, Retry::Throttled(told)), _) => HealthSignal::Throttled(self.wait(now, *told)),
            (Outcome::Unauthorized(_), _) => HealthSignal::Refused,
            (Outcome::Done(_) | Outcome::Refused(_), _) => {
                self.end(now);
                HealthSignal::Alive
            }
            _ if is_fault(answer) => HealthSignal::Fault,
            _ => HealthSignal::Other,
        }
    }
}

/// Whether the provider can't be reached, or is broken. A page with 403 is a firewall's.
pub(in super::super) fn is_fault(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::NotSent(NotSent::NotConnected)
            | Answer::Lost(Lost::TimedOut | Lost::ConnectionLost)
            | Answer::Http { status: 500.., .. }
            | Answer::Http { status: 403, body: AnswerBody::NotJson, .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::providers::outcome::Failure;

    #[test]
    fn who_throttles_again_and_again_is_asked_less_and_less() {
        let at = DateTime::from_millis;
        let mut throttles = Throttles::default();
        let mut wait =
            |ms, told_s| (throttles.wait(at(ms), Duration::from_secs(told_s)).timestamp_millis() - ms) / 1_000;
        assert_eq!([wait(0, 0), wait(10, 0), wait(20, 0)], [1, 1, 1], "calls that were under way together");
        assert_eq!([wait(2_000, 0), wait(5_000, 0), wait(10_000, 0)], [2, 4, 8]);
        assert_eq!(wait(30_000, 120), 120, "as long as it is told");
        throttles.end(at(40_000));
        assert_eq!(throttles.row, 5, "an answer to a call that was under way");
        throttles.end(at(200_000));
        assert_eq!(throttles.wait(at(200_000), Duration::ZERO), at(201_000));
    }

    #[test]
    fn what_is_not_answered_or_answered_by_a_broken_server_is_a_fault() {
        let http = |status, body| Answer::Http { status, retry_after: None, body };
        let page = || AnswerBody::NotJson;
        let json = || AnswerBody::Json(serde_json::json!({}));
        let failure = || Failure::new("x", "y");
        let unknown = || Outcome::<()>::Unknown(failure());
        let now = DateTime::from_millis(0);
        let sign = |answer: Answer, outcome: Outcome<()>| Throttles::default().sign(&answer, &outcome, now);
        for answer in [
            Answer::NotSent(NotSent::NotConnected),
            Answer::Lost(Lost::TimedOut),
            Answer::Lost(Lost::ConnectionLost),
            http(500, json()),
            http(503, page()),
            http(403, page()),
        ] {
            assert_eq!(sign(answer.clone(), unknown()), HealthSignal::Fault, "{answer:?}");
            let repeated = Outcome::Retryable(failure(), Retry::Counted);
            assert_eq!(sign(answer.clone(), repeated), HealthSignal::Fault, "{answer:?}");
        }
        for answer in
            [Answer::NotSent(NotSent::NoTime), Answer::Lost(Lost::TooLarge), http(200, page()), http(408, json())]
        {
            assert_eq!(sign(answer.clone(), unknown()), HealthSignal::Other, "{answer:?}");
        }
        assert_eq!(sign(http(403, json()), Outcome::Unauthorized(failure())), HealthSignal::Refused);
        assert_eq!(sign(http(422, json()), Outcome::Refused(failure())), HealthSignal::Alive);
        assert_eq!(sign(http(200, json()), Outcome::Done(())), HealthSignal::Alive);
    }
}
