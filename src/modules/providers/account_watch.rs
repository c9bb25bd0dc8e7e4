//! What an answer says of the whole account: a 429 holds its queues, credentials that are refused again and again pause
//! them. Written down beside the answer, and never in its way.

use std::{sync::Arc, time::Duration};

use bson::{DateTime, doc};
use parking_lot::Mutex;

use super::{
    accounts::{AUTH_FAILURES_MAX, AccountStore},
    outcome::{Outcome, Retry},
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, AuditStore},
        queue::{Backoff, QueueStore},
    },
    platform::{
        clock::{Clock, after},
        identity::Actor,
    },
};

/// What concerns the account must not hold up an answer for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a queue is paused, as operators and auditors read it.
const REFUSED: &str = "The provider refused our credentials three times in a row.";

/// An account that is throttled again and again waits for this long at least, whatever it is told.
const THROTTLED_AGAIN: Backoff = Backoff { base: Duration::from_secs(2), factor: 2, max: Duration::from_secs(300) };

/// Throttles in a row, as this process saw them.
#[derive(Debug)]
struct Throttles {
    row: i32,
    until: DateTime,
}

impl Throttles {
    /// How long to wait after an answer at `now` that asks for `told`. Answers to calls that were under way don't lengthen the
    /// row.
    fn wait(&mut self, now: DateTime, told: Duration) -> Duration {
        self.row += i32::from(self.until <= now);
        let wait = told.max(THROTTLED_AGAIN.delay(self.row, 0.0));
        self.until = self.until.max(after(now, wait));
        wait
    }

    /// Another answer came at `now`.
    fn end(&mut self, now: DateTime) {
        if self.until <= now {
            self.row = 0;
        }
    }
}

/// Watches one account and holds its queues.
#[derive(Clone, Debug)]
pub struct AccountWatch {
    account_id: String,
    queues: Vec<&'static str>,
    accounts: AccountStore,
    queue_store: QueueStore,
    audit: AuditStore,
    clock: Clock,
    throttles: Arc<Mutex<Throttles>>,
}

impl AccountWatch {
    /// A watch over the account whose calls the jobs of `queues` make. `accounts` is for this account alone.
    #[must_use]
    pub fn new(
        account_id: &str,
        queues: &[&'static str],
        accounts: AccountStore,
        queue_store: QueueStore,
        audit: AuditStore,
        clock: Clock,
    ) -> Self {
        let throttles = Arc::new(Mutex::new(Throttles { row: 0, until: DateTime::MIN }));
        let (account_id, queues) = (account_id.to_owned(), queues.to_vec());
        Self { account_id, queues, accounts, queue_store, audit, clock, throttles }
    }

    /// Writes down what an answer says of the account; in vain where the database does not answer.
    pub async fn heed<T: Sync>(&self, outcome: &Outcome<T>) {
        let account = self.account_id.as_str();
        match tokio::time::timeout(PATIENCE, self.write_down(outcome)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(account, %error, "the account's state could not be written down"),
            Err(_) => tracing::warn!(account, "the account's state could not be written down in time"),
        }
    }

    async fn write_down<T: Sync>(&self, outcome: &Outcome<T>) -> mongodb::error::Result<()> {
        let account = self.account_id.as_str();
        match outcome {
            Outcome::Retryable(_, Retry::Throttled(wait)) => {
                let now = self.clock.now();
                let wait = self.throttles.lock().wait(now, *wait);
                self.queue_store.throttle(&self.queues, now, wait).await
            }
            Outcome::Unauthorized(_) => {
                let count = self.accounts.count_auth_failure(account).await?;
                if count < AUTH_FAILURES_MAX {
                    return Ok(());
                }
                tracing::error!(account, count, "credentials refused again and again: pausing the account's queues");
                let mut result = Ok(());
                for queue in &self.queues {
                    result = result.and(self.queue_store.set_paused(queue, Some(REFUSED)).await);
                }
                // Answers to calls that were under way then find the queues paused.
                if count == AUTH_FAILURES_MAX {
                    for queue in &self.queues {
                        result = result.and(self.audit.record(&self.paused(queue)).await);
                    }
                }
                result
            }
            Outcome::Done(_) | Outcome::Refused(_) => {
                self.throttles.lock().end(self.clock.now());
                self.accounts.end_auth_failures(account).await
            }
            Outcome::Retryable(..) | Outcome::Unknown(_) => Ok(()),
        }
    }

    /// What is on record of a pause.
    fn paused(&self, queue: &str) -> AuditEvent {
        let actor = Actor::system(&self.account_id);
        AuditEvent::new(AuditOutcome::Done, actor, "queue.paused", ("queue", queue), self.clock.now())
            .because(REFUSED.to_owned())
            .after(doc! { "paused": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_throttles_again_and_again_is_asked_less_and_less() {
        let at = DateTime::from_millis;
        let mut throttles = Throttles { row: 0, until: DateTime::MIN };
        let mut wait = |ms, told_s| throttles.wait(at(ms), Duration::from_secs(told_s)).as_secs();
        assert_eq!([wait(0, 0), wait(10, 0), wait(20, 0)], [1, 1, 1], "calls that were under way together");
        assert_eq!([wait(2_000, 0), wait(5_000, 0), wait(10_000, 0)], [2, 4, 8]);
        assert_eq!(wait(30_000, 120), 120, "as long as it is told");
        throttles.end(at(40_000));
        assert_eq!(throttles.row, 5, "an answer to a call that was under way");
        throttles.end(at(200_000));
        assert_eq!(throttles.wait(at(200_000), Duration::ZERO).as_secs(), 1);
    }
}
