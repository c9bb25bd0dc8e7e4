//! What an answer says of the whole account: a 429 holds its queues, credentials that are refused again and again pause
//! them. Written down beside the answer, and never in its way.

use std::time::Duration;

use bson::doc;

use super::{
    accounts::{AUTH_FAILURES_MAX, AccountStore},
    outcome::{Outcome, Retry},
};
use crate::{
    modules::{
        audit::{AuditEvent, AuditOutcome, AuditStore},
        queue::QueueStore,
    },
    platform::{clock::Clock, identity::Actor},
};

/// What concerns the account must not hold up an answer for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a queue is paused, as operators and auditors read it.
const REFUSED: &str = "The provider refused our credentials three times in a row.";

/// Watches one account and holds its queues.
#[derive(Clone, Debug)]
pub struct AccountWatch {
    account_id: String,
    queues: Vec<&'static str>,
    accounts: AccountStore,
    queue_store: QueueStore,
    audit: AuditStore,
    clock: Clock,
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
        Self { account_id: account_id.to_owned(), queues: queues.to_vec(), accounts, queue_store, audit, clock }
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
                self.queue_store.throttle(&self.queues, self.clock.now(), *wait).await
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
            Outcome::Done(_) | Outcome::Refused(_) => self.accounts.end_auth_failures(account).await,
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
