//! The worker's times and counts, and the queues that they make.

use std::time::Duration;

use clap::Args;

use super::Config;
use crate::{
    modules::{
        kyc::KYC_QUEUE,
        providers::{
            BASE_URL, Declaration, Providers,
            registry::{PAYMENT_GATEWAY, VERIFIER},
        },
        queue::{Backoff, QueueConfig, WorkerSettings},
        wallet::topups::PAYMENTS_QUEUE,
    },
    platform::ids::new_id,
};

/// What comes after the last call at SIGTERM, when nobody says otherwise: its answer is written down.
const AFTER_THE_CALL: Duration = Duration::from_secs(5);

/// Times and counts of the worker.
#[derive(Clone, Debug, Args)]
pub struct WorkerArgs {
    /// Jobs that one worker runs at once, per queue.
    #[arg(long, env = "WORKER_CONCURRENCY", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Attempts of a job.
    #[arg(long, env = "MAX_ATTEMPTS", default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub max_attempts: i32,
    /// First delay of the exponential backoff.
    #[arg(long, env = "BACKOFF_BASE_MS", default_value_t = 2_000)]
    pub backoff_base_ms: u64,
    /// Longest delay of the backoff.
    #[arg(long, env = "BACKOFF_MAX_MS", default_value_t = 300_000)]
    pub backoff_max_ms: u64,
    /// A provider call without an answer by then is lost.
    #[arg(long, env = "CALL_DEADLINE_MS", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(10..=120_000))]
    pub call_deadline_ms: u64,
    /// "No record" in a look-up counts only this long after the create was sent.
    #[arg(long, env = "SETTLING_DELAY_MS", default_value_t = 5_000)]
    pub settling_delay_ms: u64,
    /// A silent worker's jobs return after this long.
    #[arg(long, env = "LEASE_MS", default_value_t = 30_000)]
    pub lease_ms: u64,
    /// Leases are extended this often.
    #[arg(long, env = "HEARTBEAT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub heartbeat_ms: u64,
    /// Without a wake-up, queues are looked at this often.
    #[arg(long, env = "POLL_MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub poll_ms: u64,
    /// What runs at SIGTERM has this long; by default five seconds longer than the slowest of
    /// its providers may take to answer. Whoever stops the process (Kubernetes, systemd, compose) has to wait for longer than that.
    #[arg(long, env = "SHUTDOWN_MS")]
    pub shutdown_ms: Option<u64>,
    /// Workers of this process call their provider with this account only, and no other provider.
    #[arg(long, env = "PROVIDER_ACCOUNT")]
    pub provider_account: Option<String>,
    /// Two handlers count every event (tests only; debug builds).
    #[arg(long, env = "WAYBILL_COUNT_EFFECTS", hide = true)]
    pub count_effects: bool,
}

impl WorkerArgs {
    /// What all queues that call providers have in common.
    fn apply_to(&self, queue: &mut QueueConfig) {
        queue.concurrency = usize::from(self.concurrency);
        queue.max_attempts = self.max_attempts;
        queue.backoff = Backoff {
            base: Duration::from_millis(self.backoff_base_ms),
            factor: 2,
            max: Duration::from_millis(self.backoff_max_ms.max(self.backoff_base_ms)),
        };
        queue.timeout = Duration::from_millis(self.call_deadline_ms) + Duration::from_secs(40);
    }
}

impl Config {
    /// The providers of orders with these settings.
    #[must_use]
    pub fn order_providers(&self) -> Providers {
        let call_deadline = Duration::from_millis(self.worker.call_deadline_ms);
        let queue = |provider: &'static Declaration, name| {
            let mut queue = QueueConfig { route: provider.name, ..QueueConfig::named(name) };
            self.worker.apply_to(&mut queue);
            queue
        };
        Providers::new(|provider| self.providers.of(provider.name), queue, call_deadline)
    }

    /// The queue of payments with these settings.
    #[must_use]
    pub fn payments_queue(&self) -> QueueConfig {
        let mut queue = QueueConfig { route: PAYMENT_GATEWAY.name, ..QueueConfig::named(PAYMENTS_QUEUE) };
        self.worker.apply_to(&mut queue);
        queue
    }

    /// The queue of applications to check with these settings.
    #[must_use]
    pub fn kyc_queue(&self) -> QueueConfig {
        let mut queue = QueueConfig { route: VERIFIER.name, ..QueueConfig::named(KYC_QUEUE) };
        self.worker.apply_to(&mut queue);
        queue
    }

    /// How long the slowest of the providers that this installation calls may take to answer.
    pub(super) fn longest_call(&self) -> Duration {
        let providers = self.order_providers();
        let called = providers.all().filter(|at| self.providers.of(at.declaration.name).text(BASE_URL).is_some());
        let all_others = Duration::from_millis(self.worker.call_deadline_ms);
        let mail = self.mail.smtp_url.as_ref().map(|_| self.mail.deadline());
        called.map(|at| at.call_deadline).chain(mail).fold(all_others, Duration::max)
    }

    /// See [`Config::drain_ms`].
    #[must_use]
    pub const fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// How long what runs has at SIGTERM.
    #[must_use]
    pub fn shutdown(&self) -> Duration {
        self.worker.shutdown_ms.map_or_else(|| self.longest_call() + AFTER_THE_CALL, Duration::from_millis)
    }

    /// Settings of a new worker.
    #[must_use]
    pub fn worker_settings(&self) -> WorkerSettings {
        let worker = &self.worker;
        WorkerSettings {
            worker_id: new_id("wrk"),
            lease: Duration::from_millis(worker.lease_ms),
            heartbeat: Duration::from_millis(worker.heartbeat_ms),
            poll: Duration::from_millis(worker.poll_ms),
            shutdown: self.shutdown(),
        }
    }
}
