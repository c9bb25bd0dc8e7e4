//! Declarations: everything that the rest of the program knows of a provider.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Operation, OrderProvider, kind::ProviderKind};
use crate::{
    modules::queue::{Backoff, QueueConfig},
    platform::exchange::{Outbound, Redaction},
};

/// How an order's price comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PricedBy {
    /// By the rate card in force: of a fresh installation this one, as JSON.
    RateCard(&'static str),
    /// It costs the merchant nothing.
    Nothing,
}

/// A setting of a provider's own, besides its address, its credentials and its rate.
#[derive(Clone, Copy, Debug)]
pub struct SettingDeclaration {
    /// Its name after the provider's: `POLL_MS`.
    pub name: &'static str,
    /// Where nobody sets it.
    pub default: Option<&'static str>,
    /// A line for `--help`.
    pub help: &'static str,
}

/// Settings of a provider's queues that differ from the defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueuePolicy {
    pub max_attempts: Option<i32>,
    /// Between attempts.
    pub backoff: Option<Backoff>,
    /// An attempt is given up after this long.
    pub timeout: Option<Duration>,
    /// So many done jobs are kept, however old they are.
    pub keep_done_count: Option<u64>,
}

/// Longer than anything here is kept.
const FOR_EVER: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl QueuePolicy {
    /// Nothing differs.
    pub const SAME: Self = Self { max_attempts: None, backoff: None, timeout: None, keep_done_count: None };

    /// Makes `queue` differ.
    pub fn apply_to(&self, queue: &mut QueueConfig) {
        queue.max_attempts = self.max_attempts.unwrap_or(queue.max_attempts);
        queue.backoff = self.backoff.unwrap_or(queue.backoff);
        queue.timeout = self.timeout.unwrap_or(queue.timeout);
        if let Some(count) = self.keep_done_count {
            (queue.keep_done_for, queue.keep_done_count) = (FOR_EVER, count);
        }
    }
}

/// Limits of an account, over all workers; none where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountLimits {
    /// Calls at once.
    pub concurrency: Option<u32>,
    /// Calls in any second.
    pub rate_per_second: Option<u32>,
    /// Orders in progress.
    pub open_orders: Option<u32>,
}

impl AccountLimits {
    /// These, and where they say nothing, `other` ones.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            concurrency: self.concurrency.or(other.concurrency),
            rate_per_second: self.rate_per_second.or(other.rate_per_second),
            open_orders: self.open_orders.or(other.open_orders),
        }
    }
}

/// A part of an account's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialField {
    /// As in requests: `accessKey`.
    pub name: &'static str,
    /// Its name in the environment, after the provider's: `ACCESS_KEY`.
    pub env: &'static str,
}

/// A provider of orders.
pub struct Declaration {
    /// As in orders, logs and paths: lower case letters and digits.
    pub name: &'static str,
    /// As people write it.
    pub title: &'static str,
    pub kind: ProviderKind,
    /// Places orders: `<name>-orders-queue`.
    pub create_queue: &'static str,
    /// Takes them back: `<name>-order-cancellation-queue`.
    pub cancel_queue: &'static str,
    /// Settings of both queues that differ from the defaults.
    pub queue_policy: QueuePolicy,
    /// An answer is lost after this long, where the operator says nothing else of this provider; the setting for all where it
    /// is none.
    pub call_deadline: Option<Duration>,
    pub priced_by: PricedBy,
    pub operations: &'static [(Operation, &'static Redaction)],
    /// Where it is, with its version; none where an operator has to say so.
    pub base_url: Option<&'static str>,
    /// Where its stand-in is, below the address of the stand-ins.
    pub stand_in: &'static str,
    /// Fields of its accounts' credentials.
    pub credential_fields: &'static [CredentialField],
    /// Default limits of its accounts.
    pub limits: AccountLimits,
    pub settings: &'static [SettingDeclaration],
    /// Speaks its words.
    pub adapter: fn(&ProviderSettings) -> Arc<dyn OrderProvider>,
}

impl Declaration {
    /// A call to it. Of an operation that it does not declare nothing is stored.
    #[must_use]
    pub fn outbound(&self, operation: Operation, method: Method, url: String, body: Option<Value>) -> Outbound {
        let declared = self.operations.iter().find(|(known, _)| *known == operation);
        let redaction = declared.map_or(&Redaction::NOTHING, |(_, redaction)| *redaction);
        Outbound { provider: self.name, operation: operation.as_str(), method, url, body, redaction }
    }
}

impl std::fmt::Debug for Declaration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Declaration").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A secret between a provider and us that is no account's, such as the one that signs its callbacks.
#[derive(Clone, Copy, Debug)]
pub struct SecretDeclaration {
    /// Its name after the provider's: `WEBHOOK_SECRET`.
    pub name: &'static str,
    /// It has to be as long at least.
    pub bytes_min: usize,
    /// A line for `--help`.
    pub help: &'static str,
}

/// A provider of something else than orders, which an installation may be without; `A` is what its adapter has to do.
pub struct ServiceDeclaration<A: ?Sized + 'static> {
    /// As in what it did, logs and paths: lower case letters and digits.
    pub name: &'static str,
    /// As people write it.
    pub title: &'static str,
    /// The part that does not work without it.
    pub without: &'static str,
    /// Where its stand-in is, below the address of the stand-ins.
    pub stand_in: &'static str,
    /// Fields of its account's credentials.
    pub credential_fields: &'static [CredentialField],
    pub operations: &'static [(&'static str, &'static Redaction)],
    pub secrets: &'static [SecretDeclaration],
    /// Speaks its words.
    pub adapter: fn(&ProviderSettings) -> Arc<A>,
}

/// The settings of one provider, as the operator has set them.
#[derive(Clone, Debug, Default)]
pub struct ProviderSettings {
    values: Vec<(&'static str, SecretString)>,
}

impl ProviderSettings {
    /// Settings by what comes after the provider's name; empty ones are none.
    #[must_use]
    pub fn new(values: Vec<(&'static str, SecretString)>) -> Self {
        Self { values: values.into_iter().filter(|(_, value)| !value.expose_secret().is_empty()).collect() }
    }

    /// Where the provider is, without a slash at the end; empty where nobody said so.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.text(BASE_URL).unwrap_or_default().trim_end_matches('/').to_owned()
    }

    /// How long an answer is waited for; none where nobody said so.
    #[must_use]
    pub fn call_deadline(&self) -> Option<Duration> {
        self.number(CALL_DEADLINE_MS).map(Duration::from_millis)
    }

    /// The value of the setting `name`.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.secret(name).map(ExposeSecret::expose_secret)
    }

    /// A number that was checked when the program started.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The secret under `name`.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&SecretString> {
        self.values.iter().find(|(set, _)| *set == name).map(|(_, value)| value)
    }
}

/// Every provider's setting of its address.
pub const BASE_URL: &str = "BASE_URL";
/// Every provider's setting of how long an answer is waited for.
pub const CALL_DEADLINE_MS: &str = "CALL_DEADLINE_MS";
/// Every provider's setting of calls a second with the account of the environment.
pub const RATE_PER_SECOND: &str = "RATE_PER_SECOND";
