//! The worker's times and counts, and the queues that they make.

use std::time::Duration;

use clap::Args;

use crate::modules::queue::{Backoff, QueueConfig};

/// Times and counts of the worker.
#[derive(Clone, Debug, Args)]
pub struct WorkerArgs {
    /// Jobs that one worker runs at once, per queue.
    #[arg(long, env = "WORKER_CONCURRENCY", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=1024))]
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
    /// Time for running jobs to end after SIGTERM; by default five seconds longer than the slowest of
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
    /// Settings that all queues of provider calls share.
    pub(super) fn apply_to(&self, queue: &mut QueueConfig) {
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
