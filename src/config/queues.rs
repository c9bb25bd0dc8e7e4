//! Queues and the worker, as they are configured.

use std::time::Duration;

use super::Config;
use crate::{
    modules::{
        kyc::KYC_QUEUE,
        notifications,
        providers::{
            BASE_URL, Declaration, Providers,
            registry::{PAYMENT_GATEWAY, VERIFIER},
        },
        queue::{QueueConfig, WorkerSettings},
        wallet::topups::PAYMENTS_QUEUE,
        webhooks::WEBHOOK_DELIVERIES_QUEUE,
    },
    platform::ids::new_id,
};

/// Default time after the last call at SIGTERM, in which its answer is stored.
const AFTER_THE_CALL: Duration = Duration::from_secs(5);

impl Config {
    /// The queue of mail with these settings.
    #[must_use]
    pub fn mail_queue(&self) -> QueueConfig {
        notifications::queue(usize::from(self.mail.mail_concurrency), self.mail.deadline())
    }
}

impl Config {
    /// The queue of webhook deliveries with these settings.
    #[must_use]
    pub fn webhooks_queue(&self) -> QueueConfig {
        QueueConfig {
            concurrency: usize::from(self.webhooks.webhook_concurrency),
            max_attempts: self.webhooks.webhook_retries_ms.len() as i32 + 1,
            timeout: self.webhooks.deadline() + Duration::from_secs(40),
            // Deliveries themselves say what became of them.
            keep_done_count: 1_000,
            ..QueueConfig::named(WEBHOOK_DELIVERIES_QUEUE)
        }
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
