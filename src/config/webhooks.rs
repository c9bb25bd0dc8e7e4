//! Settings of outgoing webhooks.

use std::time::Duration;

use clap::{ArgAction, Args, Subcommand};
use secrecy::SecretString;

use super::RemoteArgs;
use crate::platform::exchange::AddressPolicy;

/// Settings of outgoing webhooks.
#[derive(Clone, Debug, Args)]
pub struct WebhookArgs {
    /// Let webhooks go to this machine and to private networks, by http too: true or false. For development.
    #[arg(long, env = "WEBHOOK_ALLOW_PRIVATE", default_value_t = false, action = ArgAction::Set)]
    pub webhook_allow_private: bool,
    /// A delivery without an answer by then has failed.
    #[arg(long, env = "WEBHOOK_DEADLINE_MS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub webhook_deadline_ms: u64,
    /// Delays between the attempts of a delivery, separated by commas; it is given up after the last one.
    #[arg(
        long,
        env = "WEBHOOK_RETRIES_MS",
        value_delimiter = ',',
        default_value = "5000,300000,1800000,7200000,18000000,36000000,50400000,72000000,86400000",
        value_parser = clap::value_parser!(u64).range(1..=604_800_000)
    )]
    pub webhook_retries_ms: Vec<u64>,
    /// Deliveries that one worker makes at once. They wait for others' servers, and cost little meanwhile.
    #[arg(long, env = "WEBHOOK_CONCURRENCY", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub webhook_concurrency: u16,
}

/// `waybill webhooks ...`
#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// For developers: post what happens from now on to a program on this machine, signed like a webhook. It asks the API, so
    /// nothing has to reach this machine; stop with Ctrl-C.
    Listen(ListenArgs),
}

/// `waybill webhooks listen`
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Where to post, e.g. `http://localhost:3000/hook`.
    #[arg(long)]
    pub forward: String,
    /// The API, asked as a merchant.
    #[command(flatten)]
    pub api: RemoteArgs,
    /// Types of events, separated by commas; by default all.
    #[arg(long, value_delimiter = ',')]
    pub types: Vec<String>,
    /// Sign with this secret (`whsec_...`) instead of a new one.
    #[arg(long, env = "WAYBILL_WEBHOOK_SECRET", hide_env_values = true)]
    pub secret: Option<SecretString>,
}

impl WebhookArgs {
    /// Addresses that may be called.
    #[must_use]
    pub const fn reach(&self) -> AddressPolicy {
        if self.webhook_allow_private { AddressPolicy::Anywhere } else { AddressPolicy::Public }
    }

    /// See [`WebhookArgs::webhook_deadline_ms`].
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_millis(self.webhook_deadline_ms)
    }

    /// See [`WebhookArgs::webhook_retries_ms`].
    #[must_use]
    pub fn retries(&self) -> Vec<Duration> {
        self.webhook_retries_ms.iter().copied().map(Duration::from_millis).collect()
    }
}
