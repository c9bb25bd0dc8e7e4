//! What alerts are judged by, and who looks.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use bson::DateTime;

use super::{App, BuildError, gauges::Standing};
use crate::{
    config::Config,
    modules::{
        alerts::{self, AlertStore, AlertWatch, Channel, Reading},
        audit::AuditStore,
        notifications,
        providers::dispatch::BreakerState,
        webhooks,
    },
    platform::{
        batch::Lane,
        clock::Clock,
        error::AppError,
        exchange::{Exchange, Reach, system_look_up},
        singleton::Singleton,
    },
};

/// A process that was silent for so long is not on duty any more: longer than from one look to the next.
const DUTY: Duration = Duration::from_secs(100);
/// Failures are counted over so long.
const LATELY_MS: i64 = 15 * 60_000;
/// Of the answers of that time so many are counted, the latest.
const ANSWERS_MAX: i64 = 2_000;
/// A provider that was called less often has no rate.
const CALLS_MIN: i64 = 20;

/// Who looks after alerts.
pub(super) fn watch(
    config: &Config,
    channels: Vec<Channel>,
    db: &mongodb::Database,
    lane: &Lane,
    clock: &Clock,
) -> Result<AlertWatch, BuildError> {
    Ok(AlertWatch {
        store: AlertStore::new(db.clone()),
        lane: lane.clone(),
        lease: Singleton::new(db.clone(), "alerts").lasting(DUTY),
        clock: clock.clone(),
        exchange: Exchange::to_others(config.alerts.deadline(), Reach::Anywhere, system_look_up())?,
        channels,
        public_url: config.mail.public_url.clone().unwrap_or_default(),
    })
}

impl App {
    /// Looks at everything that rules are about, once a minute, if no other process does. The first look is a minute after the start, when workers
    /// have said that they are there.
    pub async fn watch_alerts(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = tokio::time::sleep(alerts::EVERY) => {}
                () = &mut shutdown => break,
            }
            let looked = async { if self.alerts.is_on_duty().await? { self.check_alerts().await } else { Ok(0) } };
            tokio::select! {
                looked = looked => if let Err(error) = looked {
                    tracing::warn!(%error, "nobody could look whether there is something to alert of");
                },
                () = &mut shutdown => break,
            }
        }
        let _ = self.alerts.lease.release().await;
    }

    /// Looks once, whoever's turn it is; gives how many alerts fired or were resolved.
    ///
    /// # Errors
    /// The database is away, or took too long.
    pub async fn check_alerts(&self) -> Result<usize, AppError> {
        self.alerts.heed(self.readings().await?).await
    }

    async fn readings(&self) -> mongodb::error::Result<Vec<Reading>> {
        let standing = self.standing().await?;
        let lately = DateTime::from_millis(self.clock.now_ms() - LATELY_MS);
        let mut readings = of_standing(&standing);
        for queue in &standing.queues {
            if queue.summary.dead > 0 {
                let died = self.queue_store.count_died(queue.name, lately).await?;
                readings.push(reading("jobs-die", queue.name, died as f64));
            }
            for account in self.dispatch.overview(queue.name).await? {
                let is_known = readings.iter().any(|known| known.about == account.account_id);
                if account.breaker != BreakerState::Closed && !account.is_own && !is_known {
                    readings.push(reading("breaker-open", &account.account_id, 1.0));
                }
            }
        }
        let outcomes = AuditStore::new(self.db.clone()).count_outcomes(lately, ANSWERS_MAX).await?;
        let mut by_provider: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
        // Others' servers are no providers of ours.
        let others = [webhooks::POLICY.provider, alerts::POLICY.provider];
        for of in outcomes.into_iter().filter(|of| !others.contains(&&*of.provider)) {
            let (all, failed, unknown) = by_provider.entry(of.provider).or_default();
            *all += of.count;
            *failed += if matches!(&*of.outcome, "retryable" | "unknown") { of.count } else { 0 };
            *unknown += if of.outcome == "unknown" { of.count } else { 0 };
        }
        for (provider, (all, failed, unknown)) in by_provider {
            if all >= CALLS_MIN {
                readings.push(reading("provider-fails", &provider, failed as f64 / all as f64));
            }
            // Of mail it is not asked whether it was carried out.
            if provider != notifications::POLICY.provider {
                readings.push(reading("unknown-outcomes", &provider, unknown as f64));
            }
        }
        Ok(readings)
    }
}

fn reading(rule: &'static str, about: &str, value: f64) -> Reading {
    Reading { rule, about: about.to_owned(), value, note: None }
}

/// What follows from how everything stands. Without any worker all queues wait, which is one alert and not one for each.
fn of_standing(standing: &Standing) -> Vec<Reading> {
    let is_nobody_there = standing.workers_alive == 0;
    let mut readings = vec![
        reading("no-worker", "workers", f64::from(u8::from(is_nobody_there))),
        reading("needs-attention", "orders", standing.needing_attention as f64),
        reading("sealer-behind", "audit", standing.seal_queue_age_ms as f64 / 1_000.0),
        reading("relay-behind", "events", standing.relay_lag.as_secs_f64()),
    ];
    for queue in &standing.queues {
        let is_worked = queue.workers > 0;
        readings.push(reading("queue-paused", queue.name, f64::from(u8::from(queue.is_paused))));
        if !is_worked && !is_nobody_there {
            readings.push(reading("queue-unworked", queue.name, queue.summary.ready as f64));
        }
        if is_worked && !queue.is_paused {
            readings.push(reading("jobs-wait", queue.name, queue.oldest_due_ms as f64 / 1_000.0));
        }
    }
    readings.extend(standing.schedules.iter().map(|schedule| Reading {
        note: schedule.alert.as_ref().map(|alert| format!("{}: {alert}", schedule.name)),
        ..reading("books-differ", schedule.name, f64::from(u8::from(schedule.alert.is_some())))
    }));
    readings
}
